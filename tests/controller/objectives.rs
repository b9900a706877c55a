//! Objectives: rolled up from what refers to them, or measured like a key result.

use kube::api::{DeleteParams, PostParams};
use okr_operator::api::{ObjectiveStatus, OkrKeyResult, OkrObjective, OkrStatus};
use serde_json::{Value, json};

use crate::{
    day, period, reach, refresh, runs, stubbed,
    support::{
        bigquery_stub::Reply,
        cluster::{Sandbox, condition, sandbox},
    },
};

/// A key result that counts for `objective`: `value` percent, checked in today.
fn checked_in(objective: &str, value: u32) -> Value {
    json!({
        "objectiveRef": {"name": objective}, "measure": {"percent": {}}, "period": period(-50, 50),
        "manual": {"value": value, "asOf": day(0).to_string()},
    })
}

fn progress(status: &ObjectiveStatus) -> Option<&str> {
    status.measured.progress_percent.as_deref()
}

async fn await_progress(sandbox: &Sandbox, name: &str, percent: &str) -> ObjectiveStatus {
    sandbox.await_objective(name, &format!("has {percent} %"), |status| progress(status) == Some(percent)).await
}

async fn await_ready(sandbox: &Sandbox, name: &str, reason: &str) -> ObjectiveStatus {
    let is_so = |status: &ObjectiveStatus| {
        condition(&status.measured.conditions, "Ready").is_some_and(|ready| ready.reason == reason)
    };
    sandbox.await_objective(name, &format!("is {reason}"), is_so).await
}

#[tokio::test]
async fn it_follows_its_children_as_they_change_come_and_go() {
    let sandbox = sandbox("rollup").await;
    let _operator = sandbox.operator();
    sandbox.apply::<OkrObjective>("grow", json!({"period": period(-50, 50)})).await;
    let status = await_ready(&sandbox, "grow", "NoKeyResults").await;
    assert_eq!((status.measured.okr_status, progress(&status)), (Some(OkrStatus::NotStarted), None));
    sandbox.apply::<OkrKeyResult>("leads", checked_in("grow", 30)).await;
    let status = await_progress(&sandbox, "grow", "30").await;
    assert_eq!(status.measured.okr_status, Some(OkrStatus::Behind), "50 are expected");
    sandbox.apply::<OkrKeyResult>("partners", checked_in("grow", 80)).await;
    let status = await_progress(&sandbox, "grow", "55").await;
    assert_eq!(status.measured.okr_status, Some(OkrStatus::OnTrack));
    let named: Vec<_> =
        status.children.iter().map(|child| (child.name.as_str(), child.contribution.as_deref())).collect();
    assert_eq!(named, [("leads", Some("15")), ("partners", Some("40"))], "the worst first");
    sandbox.apply::<OkrKeyResult>("leads", checked_in("grow", 31)).await;
    await_progress(&sandbox, "grow", "55.5").await;
    sandbox.api::<OkrKeyResult>().delete("leads", &DeleteParams::default()).await.unwrap();
    let status = await_progress(&sandbox, "grow", "80").await;
    assert_eq!(status.child_count, Some(1));
    sandbox.apply::<OkrKeyResult>("partners", checked_in("another", 80)).await;
    await_ready(&sandbox, "grow", "NoKeyResults").await;
}

#[tokio::test]
async fn ten_levels_are_one_exact_sum() {
    let sandbox = sandbox("levels").await;
    let _operator = sandbox.operator();
    for level in 0..10 {
        let mut spec = json!({"period": period(-50, 50)});
        if level > 0 {
            spec["parentRef"] = json!({"name": format!("level-{}", level - 1)});
        }
        sandbox.apply::<OkrObjective>(&format!("level-{level}"), spec).await;
    }
    let mut third = checked_in("level-9", 1);
    third["measure"] = json!({"reach": {"target": 3}});
    sandbox.apply::<OkrKeyResult>("third", third.clone()).await;
    await_progress(&sandbox, "level-0", "33.33").await;
    third["manual"]["value"] = json!(3);
    sandbox.apply::<OkrKeyResult>("third", third).await;
    await_progress(&sandbox, "level-0", "100").await;
}

#[tokio::test]
async fn a_change_of_one_of_fifty_children_is_one_write() {
    let sandbox = sandbox("fifty").await;
    let operator = sandbox.operator_as("objectives-fifty").await;
    sandbox.apply::<OkrObjective>("grow", json!({"period": period(-50, 50)})).await;
    for index in 0..50 {
        sandbox.apply::<OkrKeyResult>(&format!("kr-{index}"), checked_in("grow", 50)).await;
    }
    sandbox
        .await_objective("grow", "counts fifty", |status| {
            status.child_count == Some(50) && progress(status) == Some("50")
        })
        .await;
    let writes = || {
        let calls = sandbox.audited("objectives-fifty", "okrobjectives");
        calls.iter().filter(|call| call.subresource == "status" && call.code == 200).count()
    };
    let before = writes();
    sandbox.apply::<OkrKeyResult>("kr-7", checked_in("grow", 100)).await;
    await_progress(&sandbox, "grow", "51").await;
    // What changes nothing for the objective: the same value, another title.
    sandbox.patch::<OkrKeyResult>("kr-8", json!({"spec": {"title": "Another title"}})).await;
    sandbox.await_status("kr-8", "knows its title", |status| status.observed_generation == Some(2)).await;
    sandbox.apply::<OkrKeyResult>("kr-9", checked_in("grow", 100)).await;
    await_progress(&sandbox, "grow", "52").await;
    operator.stop().await;
    assert_eq!(writes() - before, 2);
}

#[tokio::test]
async fn a_cycle_is_named_and_stops_no_other_objective() {
    let sandbox = sandbox("cycle").await;
    let _operator = sandbox.operator();
    for (name, parent) in [("a", "b"), ("b", "c"), ("c", "a"), ("apart", "nothing")] {
        let spec = json!({"period": period(-50, 50), "parentRef": {"name": parent}});
        sandbox.apply::<OkrObjective>(name, spec).await;
    }
    sandbox.apply::<OkrKeyResult>("kr", checked_in("apart", 60)).await;
    for name in ["a", "b", "c"] {
        let status = await_ready(&sandbox, name, "Cycle").await;
        let stalled = condition(&status.measured.conditions, "Stalled").expect("a person must act");
        let names = ["a", "b", "c"].map(|name| format!("{}/{name}", sandbox.namespace));
        assert!(names.iter().all(|name| stalled.message.contains(name)), "{}", stalled.message);
    }
    let status = await_progress(&sandbox, "apart", "60").await;
    assert!(status.measured.explanation.unwrap().contains("ObjectiveNotFound"));
    sandbox.patch::<OkrObjective>("c", json!({"spec": {"parentRef": null}})).await;
    for name in ["a", "b", "c"] {
        sandbox
            .await_objective(name, "is in no cycle any more", |status| {
                condition(&status.measured.conditions, "Ready").is_some_and(|ready| ready.status == "True")
            })
            .await;
    }
}

#[tokio::test]
async fn another_namespace_counts_where_it_is_admitted() {
    let (board, team) = (sandbox("board").await, sandbox("team").await);
    let namespaces = vec![board.namespace.clone(), team.namespace.clone()];
    let _operator = board.operator_with(|settings| settings.namespaces = namespaces);
    board.apply::<OkrObjective>("company", json!({"period": period(-50, 50)})).await;
    let mut spec = checked_in("company", 70);
    spec["objectiveRef"]["namespace"] = json!(board.namespace);
    team.apply::<OkrKeyResult>("kr", spec).await;
    let says = |words: &'static str| {
        move |status: &okr_operator::api::MeasuredStatus| {
            status.explanation.as_ref().is_some_and(|text| text.contains(words))
        }
    };
    let status = team.await_status("kr", "is not shared", says("ObjectiveNotShared")).await;
    assert_eq!(condition(&status.conditions, "Ready").unwrap().status, "True");
    let admitting = json!({"spec": {"allowedNamespaces": {"from": "All"}}});
    board.patch::<OkrObjective>("company", admitting).await;
    await_progress(&board, "company", "70").await;
    team.await_status("kr", "counts", |status| !says("counts for no objective")(status)).await;
    board.api::<OkrObjective>().delete("company", &DeleteParams::default()).await.unwrap();
    team.await_status("kr", "counts for nothing", says("counts for no objective")).await;
}

#[tokio::test]
async fn one_with_a_query_of_its_own_is_a_key_result_until_it_is_rolled_up() {
    let (sandbox, stub) = stubbed("own", Reply::number("INT64", "47")).await;
    let _operator = sandbox.operator();
    sandbox.apply::<OkrKeyResult>("kr", checked_in("grow", 80)).await;
    let own = reach("SELECT 47");
    sandbox.apply::<OkrObjective>("grow", own).await;
    let status = await_ready(&sandbox, "grow", "Synced").await;
    assert_eq!((status.measured.value.as_deref(), progress(&status)), (Some("47"), Some("47")));
    assert_eq!((status.child_count, runs(&stub, "SELECT 47")), (Some(1), 1));
    assert!(status.children.iter().all(|child| child.not_counted.is_some()), "{:?}", status.children);
    sandbox.apply::<OkrKeyResult>("kr", checked_in("grow", 90)).await;
    let follows = |status: &ObjectiveStatus| status.children[0].progress_percent.as_deref() == Some("90");
    sandbox.await_objective("grow", "tells of its child", follows).await;
    assert_eq!(runs(&stub, "SELECT 47"), 1, "without a query");
    let rolled_up = json!({"spec": {"measure": null, "bigQuery": null}});
    sandbox.patch::<OkrObjective>("grow", rolled_up).await;
    let status = await_progress(&sandbox, "grow", "90").await;
    assert_eq!((status.measured.value, status.measured.connection, status.measured.last_query), (None, None, None));
    assert_eq!(runs(&stub, "SELECT 47"), 1);
}

#[tokio::test]
async fn a_status_that_others_wrote_is_decided_anew_and_a_refresh_is_echoed() {
    let sandbox = sandbox("forged").await;
    let _operator = sandbox.operator();
    sandbox.apply::<OkrObjective>("grow", json!({"period": period(-50, 50)})).await;
    sandbox.apply::<OkrKeyResult>("kr", checked_in("grow", 60)).await;
    await_progress(&sandbox, "grow", "60").await;
    let api = sandbox.api::<OkrObjective>();
    let mut forged = api.get("grow").await.unwrap();
    let status = forged.status.as_mut().unwrap();
    status.measured.progress_percent = Some("99".to_owned());
    status.children.clear();
    api.replace_status("grow", &PostParams::default(), &forged).await.unwrap();
    let is_repaired = |status: &ObjectiveStatus| progress(status) == Some("60") && status.children.len() == 1;
    sandbox.await_objective("grow", "is repaired", is_repaired).await;
    let again = refresh("now");
    sandbox.patch::<OkrObjective>("grow", again).await;
    let echoed = |status: &ObjectiveStatus| status.measured.last_handled_refresh.as_deref() == Some("now");
    sandbox.await_objective("grow", "echoes the refresh", echoed).await;
}

#[tokio::test]
async fn weights_above_a_hundred_are_said() {
    let sandbox = sandbox("weights").await;
    let _operator = sandbox.operator();
    sandbox.apply::<OkrObjective>("grow", json!({"period": period(-50, 50)})).await;
    for (name, weight) in [("one", 60), ("two", 50)] {
        let mut spec = checked_in("grow", 60);
        spec["weight"] = json!(weight);
        sandbox.apply::<OkrKeyResult>(name, spec).await;
    }
    let status = await_ready(&sandbox, "grow", "WeightsAboveHundred").await;
    assert_eq!(progress(&status), None);
    sandbox.patch::<OkrKeyResult>("two", json!({"spec": {"weight": 40}})).await;
    await_progress(&sandbox, "grow", "60").await;
}

#[tokio::test]
async fn what_is_applied_together_is_not_told_before_it_has_its_first_values() {
    let slow = Reply::slow(std::time::Duration::from_secs(2), Reply::number("INT64", "60"));
    let (sandbox, _stub) = stubbed("together", slow).await;
    let _operator = sandbox.operator();
    sandbox.apply::<OkrObjective>("grow", json!({"period": period(-50, 50)})).await;
    for name in ["leads", "partners"] {
        let mut spec = reach("SELECT 60");
        spec["objectiveRef"] = json!({"name": "grow"});
        sandbox.apply::<OkrKeyResult>(name, spec).await;
    }
    let status = await_progress(&sandbox, "grow", "60").await;
    assert_eq!(status.measured.okr_status, Some(OkrStatus::OnTrack));
    // It has been so since it was first decided: nothing was told before.
    let ready = condition(&status.measured.conditions, "Ready").map(|ready| ready.last_transition_time.clone());
    assert_eq!(status.measured.okr_status_since, ready);
}
