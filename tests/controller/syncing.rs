//! When a query is sent, when it is not, and what is written.

use std::time::Duration;

use kube::{Client, Config};
use okr_operator::api::{BigQueryConnection, MeasuredStatus, OkrKeyResult, OkrStatus};
use serde_json::json;

use crate::{
    day, dry_runs, emulator, period, reach, refresh, runs, seldom, stubbed,
    support::{
        bigquery_stub::{Reply, Stub},
        cluster::{await_some, condition, sandbox, truth},
    },
};

#[tokio::test]
async fn a_key_result_is_synced_at_once_and_judged() {
    let sandbox = sandbox("sync").await;
    let _operator = sandbox.operator();
    sandbox.connect("warehouse", &emulator()).await;
    sandbox.apply::<OkrKeyResult>("leads", reach("SELECT 47")).await;
    let status = sandbox.await_reason("leads", "Synced").await;
    assert_eq!(status.okr_status, Some(OkrStatus::Behind));
    assert_eq!(status.value.as_deref(), Some("47"));
    assert_eq!(status.progress_percent.as_deref(), Some("47"));
    assert_eq!(status.expected_progress_percent.as_deref(), Some("50"));
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(status.connection.unwrap().name, "warehouse");
    assert_eq!(status.query_fingerprint, status.attempted_fingerprint);
    assert_eq!(status.history.len(), 1);
    assert!(status.next_sync_time.unwrap().0 > status.last_sync_time.unwrap().0);
    assert_eq!(truth(&status.conditions, "Ready"), "True");
    assert_eq!(truth(&status.conditions, "OnTrack"), "False");
    assert_eq!(truth(&status.conditions, "Fresh"), "True");
    assert_eq!(truth(&status.conditions, "Reconciling"), "absent");
    let explanation = status.explanation.unwrap();
    let want = format!("47 of 100 is 47 % progress, where 50 % is expected on {}: 3 points behind", day(0));
    assert!(explanation.starts_with(&want), "{explanation}");
}

#[tokio::test]
async fn parameters_and_the_period_reach_the_query() {
    let sandbox = sandbox("sync").await;
    let _operator = sandbox.operator();
    sandbox.connect("warehouse", &emulator()).await;
    let query = "SELECT DATE_DIFF(@period_end, @period_start, DAY) + @more -- not @this";
    let mut spec = reach(query);
    spec["bigQuery"]["parameters"] = json!([
        {"name": "more", "type": "INT64", "value": "3"},
        {"name": "unused", "type": "STRING", "value": "x"},
    ]);
    sandbox.apply::<OkrKeyResult>("days", spec).await;
    let status = sandbox.await_reason("days", "Synced").await;
    assert_eq!(status.value.as_deref(), Some("103"));
}

#[tokio::test]
async fn a_routine_sync_costs_one_write_no_read_and_one_call() {
    let (sandbox, stub) = stubbed("cost", Reply::number("INT64", "47")).await;
    for index in 0..5 {
        sandbox.apply::<OkrKeyResult>(&format!("kr-{index}"), reach("SELECT 47")).await;
    }
    let operator = sandbox.operator();
    for index in 0..5 {
        sandbox.await_reason(&format!("kr-{index}"), "Synced").await;
    }
    operator.stop().await;
    // With an interval of an hour every slot has come by then.
    for index in 0..5 {
        sandbox.backdate(&format!("kr-{index}")).await;
    }
    stub.forget();
    let user = format!("routine-{}", sandbox.namespace);
    let operator = sandbox.operator_as(&user).await;
    for index in 0..5 {
        sandbox
            .await_status(&format!("kr-{index}"), "is synced again", |status| {
                status.value_time.as_ref().is_some_and(|time| crate::seconds_ago(time) < 3600)
            })
            .await;
    }
    // Anything more than these would come at once; it has a second to do so.
    tokio::time::sleep(Duration::from_secs(1)).await;
    operator.stop().await;
    assert_eq!(stub.count("jobs.query"), 5, "one query each");
    assert_eq!(stub.requests().len(), 5, "and no other call: {:?}", stub.requests());
    let calls = sandbox.audited(&user, "okrkeyresults");
    let of = |verb: &str| calls.iter().filter(|call| call.verb == verb).count();
    assert_eq!((of("update"), of("get"), of("patch"), of("create")), (5, 0, 0, 0), "{calls:#?}");
    assert!(calls.iter().filter(|call| call.verb == "update").all(|call| call.subresource == "status"));
}

#[tokio::test]
async fn a_restart_queries_nothing_that_is_not_due() {
    let (sandbox, stub) = stubbed("restart", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let operator = sandbox.operator();
    let before = sandbox.await_reason("kr", "Synced").await;
    operator.stop().await;
    stub.forget();
    let _operator = sandbox.operator();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stub.requests().len(), 0, "neither a query nor a check: {:?}", stub.requests());
    assert_eq!(sandbox.status("kr").await, before);
}

#[tokio::test]
async fn a_query_changed_while_the_operator_was_down_is_synced_at_once() {
    let sandbox = sandbox("down").await;
    let stub = Stub::start().await;
    stub.on("SELECT 1 AS old", Reply::number("INT64", "1"));
    stub.on("SELECT 2 AS new", Reply::number("INT64", "2"));
    sandbox.connect("warehouse", &stub.endpoint()).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 1 AS old")).await;
    let operator = sandbox.operator();
    sandbox.await_reason("kr", "Synced").await;
    operator.stop().await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 2 AS new")).await;
    let _operator = sandbox.operator();
    let status = sandbox.await_status("kr", "has the new value", |status| status.value.as_deref() == Some("2")).await;
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!((dry_runs(&stub, "SELECT 2 AS new"), runs(&stub, "SELECT 2 AS new")), (1, 1));
    assert_eq!(truth(&status.conditions, "Reconciling"), "absent");
}

#[tokio::test]
async fn a_changed_target_is_decided_again_without_a_query() {
    let (sandbox, stub) = stubbed("target", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    let before = sandbox.await_reason("kr", "Synced").await;
    stub.forget();
    let decided = async |what: &str, patch, want: OkrStatus| {
        sandbox.patch::<OkrKeyResult>("kr", json!({"spec": patch})).await;
        let status = sandbox.await_status("kr", what, |status| status.okr_status == Some(want)).await;
        assert_eq!(status.last_sync_time, before.last_sync_time);
        assert_eq!(truth(&status.conditions, "Ready"), "True");
    };
    decided("has a lower target", json!({"measure": {"reach": {"target": 90}}}), OkrStatus::OnTrack).await;
    decided("has a shorter period", json!({"period": period(-50, 1)}), OkrStatus::AtRisk).await;
    decided("has other thresholds", json!({"thresholds": {"atRisk": 60}}), OkrStatus::Behind).await;
    let check_in = json!({"okrStatus": "OnTrack", "note": "A large order comes in", "until": day(3).to_string()});
    decided("is checked in", json!({"override": check_in}), OkrStatus::OnTrack).await;
    decided("is postponed", json!({"lifecycle": "Postponed"}), OkrStatus::Postponed).await;
    assert_eq!(stub.count("jobs.query") + stub.count("jobs.insert"), 0);
    assert_eq!(sandbox.status("kr").await.computed_status, Some(OkrStatus::Behind));
}

#[tokio::test]
async fn a_refresh_is_served_once_and_echoed() {
    let (sandbox, stub) = stubbed("refresh", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    sandbox.await_reason("kr", "Synced").await;
    let annotate = async |annotations| {
        sandbox.patch::<OkrKeyResult>("kr", json!({"metadata": {"annotations": annotations}})).await;
    };
    stub.otherwise(Reply::number("INT64", "50"));
    annotate(json!({"okr-operator.dev/refresh": "now, please"})).await;
    let status = sandbox
        .await_status("kr", "echoes", |status| status.last_handled_refresh.as_deref() == Some("now, please"))
        .await;
    assert_eq!(status.value.as_deref(), Some("50"));
    assert_eq!(runs(&stub, "SELECT 47"), 2);
    // Taking the annotation away asks for nothing; another one asks once more, yet 10 s after the first at the earliest.
    annotate(json!({"okr-operator.dev/refresh": null})).await;
    annotate(json!({"reconcile.fluxcd.io/requestedAt": "2026-11-24T07:00:00Z"})).await;
    // Served even if it is gone by then.
    annotate(json!({"reconcile.fluxcd.io/requestedAt": null})).await;
    let status = sandbox
        .await_status("kr", "echoes Flux", |status| {
            status.last_handled_reconcile_at.as_deref() == Some("2026-11-24T07:00:00Z")
        })
        .await;
    assert_eq!(status.last_handled_refresh.as_deref(), Some("now, please"), "an absent annotation leaves its echo");
    assert_eq!(runs(&stub, "SELECT 47"), 3);
    assert_eq!(dry_runs(&stub, "SELECT 47"), 1, "only the new query was checked");
}

#[tokio::test]
async fn what_rests_echoes_a_refresh_at_once_and_sends_nothing() {
    let (sandbox, stub) = stubbed("rest", Reply::number("INT64", "47")).await;
    let mut spec = reach("SELECT 47");
    spec["suspend"] = json!(true);
    sandbox.apply::<OkrKeyResult>("kr", spec).await;
    let _operator = sandbox.operator();
    let status = sandbox.await_reason("kr", "Suspended").await;
    assert_eq!(truth(&status.conditions, "Ready"), "True");
    sandbox.patch::<OkrKeyResult>("kr", refresh("1")).await;
    sandbox.await_status("kr", "echoes", |status| status.last_handled_refresh.as_deref() == Some("1")).await;
    assert_eq!(runs(&stub, "SELECT 47"), 0);
    sandbox.patch::<OkrKeyResult>("kr", json!({"spec": {"suspend": false}})).await;
    sandbox.await_reason("kr", "Synced").await;
    assert_eq!(runs(&stub, "SELECT 47"), 1);
}

#[tokio::test]
async fn before_the_start_a_query_is_checked_and_not_run() {
    let sandbox = sandbox("start").await;
    let stub = Stub::start().await;
    stub.otherwise(Reply::number("INT64", "47"));
    stub.on("SELECT wrong", Reply::error(400, "invalidQuery", "Unrecognized name: wrong at [1:8]"));
    sandbox.connect("warehouse", &stub.endpoint()).await;
    let mut good = reach("SELECT 47");
    good["period"] = period(5, 50);
    let mut wrong = reach("SELECT wrong");
    wrong["period"] = period(5, 50);
    sandbox.apply::<OkrKeyResult>("good", good).await;
    sandbox.apply::<OkrKeyResult>("wrong", wrong).await;
    let _operator = sandbox.operator();
    let status = sandbox.await_reason("good", "NotStarted").await;
    assert_eq!(truth(&status.conditions, "Ready"), "True");
    assert_eq!(status.okr_status, Some(OkrStatus::NotStarted));
    assert!(status.next_sync_time.unwrap().0.to_string().starts_with(&day(5).to_string()));
    sandbox.await_reason("wrong", "QueryInvalid").await;
    assert_eq!((dry_runs(&stub, "SELECT 47"), runs(&stub, "SELECT 47"), runs(&stub, "SELECT wrong")), (1, 0, 0));
    // The start moved into the past: the query runs at once.
    sandbox.patch::<OkrKeyResult>("good", json!({"spec": {"period": period(-5, 50)}})).await;
    sandbox.await_reason("good", "Synced").await;
}

#[tokio::test]
async fn after_the_end_one_last_value_is_read() {
    let (sandbox, stub) = stubbed("end", Reply::number("INT64", "120")).await;
    let mut spec = reach("SELECT 120");
    spec["period"] = period(-90, -1);
    sandbox.apply::<OkrKeyResult>("kr", spec).await;
    let _operator = sandbox.operator();
    let status = sandbox.await_reason("kr", "PeriodEnded").await;
    assert_eq!(status.value.as_deref(), Some("120"));
    assert_eq!(status.okr_status, Some(OkrStatus::OnTrack));
    assert_eq!(status.next_sync_time, None);
    assert_eq!(runs(&stub, "SELECT 120"), 1);
}

#[tokio::test]
async fn an_answer_to_a_query_that_was_changed_meanwhile_is_dropped() {
    let sandbox = sandbox("changed").await;
    let stub = Stub::start().await;
    stub.on("SELECT 1 AS old", Reply::slow(Duration::from_secs(120), Reply::number("INT64", "1")).answering_at_once());
    stub.on("SELECT 2 AS new", Reply::number("INT64", "2"));
    sandbox.connect("warehouse", &stub.endpoint()).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 1 AS old")).await;
    let _operator = sandbox.operator();
    stub.until("jobs.query", 1).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 2 AS new")).await;
    let status = sandbox.await_reason("kr", "Synced").await;
    assert_eq!(status.value.as_deref(), Some("2"));
    assert_eq!(status.history.len(), 1, "the old answer left no trace: {:?}", status.history);
    assert_eq!(stub.cancelled().len(), 1, "the old job was cancelled at BigQuery");
}

#[tokio::test]
async fn deleting_or_suspending_cancels_a_running_query() {
    let (sandbox, stub) =
        stubbed("cancel", Reply::slow(Duration::from_secs(120), Reply::number("INT64", "1")).answering_at_once()).await;
    for name in ["deleted", "suspended", "closed"] {
        sandbox.apply::<OkrKeyResult>(name, reach(&format!("SELECT '{name}'"))).await;
    }
    let _operator = sandbox.operator();
    stub.until("jobs.query", 3).await;
    sandbox.api::<OkrKeyResult>().delete("deleted", &Default::default()).await.unwrap();
    sandbox.patch::<OkrKeyResult>("suspended", json!({"spec": {"suspend": true}})).await;
    sandbox.patch::<OkrKeyResult>("closed", json!({"spec": {"lifecycle": "Closed"}})).await;
    sandbox.await_reason("suspended", "Suspended").await;
    sandbox.await_reason("closed", "Closed").await;
    await_some("three jobs are cancelled", || async { (stub.cancelled().len() == 3).then_some(()) }).await;
    assert_eq!(sandbox.status("suspended").await.value, None);
}

#[tokio::test]
async fn what_ends_a_running_query_shows_before_bigquery_has_answered() {
    let (sandbox, stub) = stubbed("ends", Reply::number("INT64", "47")).await;
    let names = ["suspended", "closed", "changed"];
    for name in names {
        sandbox.apply::<OkrKeyResult>(name, seldom("SELECT 47")).await;
    }
    let _operator = sandbox.operator();
    for name in names {
        sandbox.await_reason(name, "Synced").await;
    }
    stub.on("SELECT 47", Reply::slow(Duration::from_secs(9), Reply::number("INT64", "94")));
    for name in names {
        sandbox.patch::<OkrKeyResult>(name, refresh("1")).await;
    }
    stub.until("jobs.query", 6).await;
    let sent = std::time::Instant::now();
    sandbox.patch::<OkrKeyResult>("suspended", json!({"spec": {"suspend": true}})).await;
    sandbox.patch::<OkrKeyResult>("closed", json!({"spec": {"lifecycle": "Closed"}})).await;
    sandbox.patch::<OkrKeyResult>("changed", json!({"spec": {"bigQuery": {"query": "SELECT 48"}}})).await;
    sandbox.await_reason("suspended", "Suspended").await;
    sandbox.await_reason("closed", "Closed").await;
    let old = |status: &MeasuredStatus| truth(&status.conditions, "Fresh") == "False";
    let changed = sandbox.await_status("changed", "is of another query", old).await;
    assert!(sent.elapsed() < Duration::from_secs(5), "not before the answer: {:?}", sent.elapsed());
    assert_eq!(condition(&changed.conditions, "Reconciling").unwrap().reason, "QueryChanged");
    assert_eq!(changed.last_handled_refresh, None, "it is served by the new query");
    let served = |status: &MeasuredStatus| status.last_handled_refresh.as_deref() == Some("1");
    sandbox.await_status("changed", "is synced anew", served).await;
    assert_eq!(runs(&stub, "SELECT 48"), 1);
    for name in names {
        assert_eq!(sandbox.status(name).await.value.as_deref(), Some("47"), "{name}");
    }
}

#[tokio::test]
async fn a_connection_that_fails_meanwhile_holds_nothing_that_was_sent() {
    let (sandbox, stub) = stubbed("sent", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", seldom("SELECT 47")).await;
    let _operator = sandbox.operator();
    sandbox.await_reason("kr", "Synced").await;
    stub.on("SELECT 47", Reply::slow(Duration::from_secs(9), Reply::number("INT64", "94")));
    sandbox.patch::<OkrKeyResult>("kr", refresh("1")).await;
    stub.until("jobs.query", 2).await;
    stub.on("SELECT 1", Reply::error(403, "accessDenied", "Access Denied: Project demo"));
    sandbox.patch::<BigQueryConnection>("warehouse", refresh("1")).await;
    sandbox.await_connection("warehouse", "PermissionDenied").await;
    let target = json!({"spec": {"measure": {"reach": {"target": 188}}}});
    sandbox.patch::<OkrKeyResult>("kr", target).await;
    sandbox.patch::<OkrKeyResult>("kr", refresh("2")).await;
    let status = sandbox.await_status("kr", "has the new target", |status| status.observed_generation == Some(2)).await;
    assert_eq!((status.progress_percent.as_deref(), status.last_handled_refresh.as_deref()), (Some("25"), None));
    assert_eq!(condition(&status.conditions, "Ready").unwrap().reason, "Synced");
    // The later request comes to nothing, and is told so.
    let status = sandbox.await_reason("kr", "ConnectionNotReady").await;
    assert_eq!((status.value.as_deref(), status.last_handled_refresh.as_deref()), (Some("94"), Some("2")));
}

#[tokio::test]
async fn a_target_changed_while_the_query_runs_counts_at_once_and_for_its_answer() {
    let sandbox = sandbox("meanwhile").await;
    let stub = Stub::start().await;
    stub.on("SELECT 47", Reply::slow(Duration::from_secs(2), Reply::number("INT64", "47")));
    sandbox.connect("warehouse", &stub.endpoint()).await;
    sandbox.apply::<OkrKeyResult>("kr", seldom("SELECT 47")).await;
    let _operator = sandbox.operator();
    let target = |target| json!({"spec": {"measure": {"reach": {"target": target}}}});
    stub.until("jobs.query", 1).await;
    sandbox.patch::<OkrKeyResult>("kr", target(94)).await;
    let status = sandbox.await_reason("kr", "Synced").await;
    assert_eq!(status.progress_percent.as_deref(), Some("50"));
    assert_eq!((status.okr_status, runs(&stub, "SELECT 47")), (Some(OkrStatus::OnTrack), 1));

    stub.on("SELECT 47", Reply::slow(Duration::from_secs(9), Reply::number("INT64", "94")));
    sandbox.patch::<OkrKeyResult>("kr", refresh("1")).await;
    stub.until("jobs.query", 2).await;
    let sent = std::time::Instant::now();
    sandbox.patch::<OkrKeyResult>("kr", target(188)).await;
    let status = sandbox.await_status("kr", "has the new target", |status| status.observed_generation == Some(3)).await;
    assert!(sent.elapsed() < Duration::from_secs(5), "not before the answer: {:?}", sent.elapsed());
    assert_eq!((status.progress_percent.as_deref(), status.okr_status), (Some("25"), Some(OkrStatus::Behind)));
    assert_eq!((status.last_handled_refresh, status.value.as_deref()), (None, Some("47")), "of before the answer");
    let served = |status: &MeasuredStatus| status.last_handled_refresh.as_deref() == Some("1");
    let status = sandbox.await_status("kr", "is refreshed", served).await;
    assert_eq!((status.progress_percent.as_deref(), status.okr_status), (Some("50"), Some(OkrStatus::OnTrack)));
    assert_eq!(runs(&stub, "SELECT 47"), 2);
}

#[tokio::test]
async fn a_name_of_253_characters_with_dots_works() {
    let (sandbox, stub) = stubbed("long", Reply::number("INT64", "1")).await;
    let name = format!("{}.{}", "a-b.".repeat(50), "c".repeat(52)).replace("..", ".");
    let name = format!("{name}{}", "d".repeat(253 - name.len()));
    sandbox.apply::<OkrKeyResult>(&name, reach("SELECT 1")).await;
    let _operator = sandbox.operator();
    let status = sandbox.await_reason(&name, "Synced").await;
    assert_eq!(status.okr_status, Some(OkrStatus::AtRisk));
    let label =
        stub.requests().iter().find(|request| request.call == "jobs.query").unwrap().body["labels"]["name"].clone();
    assert_eq!(label.as_str().unwrap().len(), 63);
    let note = sandbox.await_event(&name, "AtRisk").await;
    assert!(note.contains("AtRisk"), "{note}");
}

#[tokio::test]
async fn a_value_checked_in_by_people_needs_no_connection() {
    let sandbox = sandbox("manual").await;
    let _operator = sandbox.operator();
    let manual = |value: &str, as_of| {
        json!({
            "measure": {"reach": {"target": 20}}, "period": period(-50, 50),
            "manual": {"value": value, "asOf": day(as_of).to_string()},
        })
    };
    sandbox.apply::<OkrKeyResult>("kr", manual("11", -1)).await;
    let status = sandbox.await_reason("kr", "Manual").await;
    assert_eq!((status.value.as_deref(), status.okr_status), (Some("11"), Some(OkrStatus::OnTrack)));
    assert_eq!(truth(&status.conditions, "Fresh"), "True");
    assert_eq!((status.last_sync_time, status.next_sync_time), (None, None));
    sandbox.apply::<OkrKeyResult>("kr", manual("11.5", -30)).await;
    let status = sandbox.await_status("kr", "is stale", |status| truth(&status.conditions, "Fresh") == "False").await;
    assert_eq!(status.value.as_deref(), Some("11.5"));
    assert_eq!(condition(&status.conditions, "Fresh").unwrap().reason, "Stale");
}

#[tokio::test]
async fn a_write_by_somebody_else_meanwhile_costs_no_second_query() {
    let sandbox = sandbox("conflict").await;
    let stub = Stub::start().await;
    stub.on("SELECT 47", Reply::slow(Duration::from_secs(2), Reply::number("INT64", "47")));
    sandbox.connect("warehouse", &stub.endpoint()).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    stub.until("jobs.query", 1).await;
    // Labels are changed all the time until the write is through, so that it meets a conflict sooner or later.
    for index in 0..60 {
        sandbox.patch::<OkrKeyResult>("kr", json!({"metadata": {"labels": {"index": index.to_string()}}})).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sandbox.await_reason("kr", "Synced").await;
    assert_eq!(runs(&stub, "SELECT 47"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_has_nothing_to_tell_is_no_failure() {
    let (sandbox, _stub) = stubbed("silence", Reply::number("INT64", "47")).await;
    let mut config = Config::infer().await.unwrap();
    // Before the API server's first bookmark.
    config.read_timeout = Some(Duration::from_secs(2));
    let operator = sandbox.operator_through(Client::try_from(config).unwrap(), |_| {});
    sandbox.await_connection("warehouse", "Connected").await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let metrics = operator.metrics.text().unwrap();
    for kind in ["BigQueryConnection", "OkrKeyResult", "OkrObjective"] {
        assert!(metrics.contains(&format!("okr_operator_watch_failures_total{{kind=\"{kind}\"}} 0\n")), "{metrics}");
    }
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    sandbox.await_reason("kr", "Synced").await;
}
