//! Each moment in an object's life, judged by both: what Flux waits for, and what Argo CD shows.

use std::time::Duration;

use kube::{Resource, api::DeleteParams, core::NamespaceResourceScope};
use okr_operator::api::{BigQueryConnection, MeasuredStatus, ObjectiveStatus, OkrKeyResult, OkrObjective, Time};
use serde_json::{Value, json};

use crate::{
    period,
    programs::{argo, kstatus},
    reach, stored, stubbed,
    support::{
        bigquery_stub::Reply,
        cluster::{Sandbox, as_the_operator, await_some, truth},
        examples::day,
    },
};

/// Flux and Argo CD say this of the object now, the latter with these words.
async fn judged<K>(sandbox: &Sandbox, name: &str, flux: &str, argo_cd: &str, words: &str)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let object = stored::<K>(sandbox, name).await.expect("it is there");
    let (by_flux, by_argo) = (kstatus(&object), argo(&object));
    assert_eq!(
        (by_flux.word.as_str(), by_argo.word.as_str()),
        (flux, argo_cd),
        "{name}: {}; {}; {object:#}",
        by_flux.message,
        by_argo.message
    );
    assert!(by_argo.message.contains(words), "{name}: {}", by_argo.message);
}

fn number(value: &str) -> Reply {
    Reply::number("INT64", value)
}

/// `objective` goes by key results that nobody has to query.
fn checked_in(objective: &str, value: u32) -> Value {
    json!({
        "objectiveRef": {"name": objective}, "measure": {"percent": {}}, "period": period(-50, 50),
        "manual": {"value": value, "asOf": day(0).to_string()},
    })
}

#[tokio::test]
async fn brand_new_nothing_is_ready_and_deleted_it_is_gone_at_once() {
    let (sandbox, _stub) = stubbed("new", number("47")).await;
    sandbox.apply::<OkrObjective>("grow", json!({"period": period(-50, 50)})).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let nothing = "has said nothing of it yet";
    judged::<BigQueryConnection>(&sandbox, "warehouse", "InProgress", "Progressing", nothing).await;
    judged::<OkrObjective>(&sandbox, "grow", "InProgress", "Progressing", nothing).await;
    judged::<OkrKeyResult>(&sandbox, "kr", "InProgress", "Progressing", nothing).await;

    let _operator = sandbox.operator();
    sandbox.await_reason("kr", "Synced").await;
    sandbox.await_connection("warehouse", "Connected").await;
    sandbox.await_objective("grow", "is decided", |status| !status.measured.conditions.is_empty()).await;
    judged::<BigQueryConnection>(&sandbox, "warehouse", "Current", "Healthy", "").await;
    judged::<OkrObjective>(&sandbox, "grow", "Current", "Healthy", "NotStarted").await;
    judged::<OkrKeyResult>(&sandbox, "kr", "Current", "Healthy", "Behind. The last query gave a value.").await;

    let delete = DeleteParams::default();
    sandbox.api::<OkrKeyResult>().delete("kr", &delete).await.unwrap();
    sandbox.api::<OkrObjective>().delete("grow", &delete).await.unwrap();
    sandbox.api::<BigQueryConnection>().delete("warehouse", &delete).await.unwrap();
    assert_eq!(stored::<OkrKeyResult>(&sandbox, "kr").await, None);
    assert_eq!(stored::<OkrObjective>(&sandbox, "grow").await, None);
    assert_eq!(stored::<BigQueryConnection>(&sandbox, "warehouse").await, None);
}

#[tokio::test]
async fn a_first_sync_and_a_changed_query_are_waited_for_and_a_routine_sync_is_not() {
    let slow = |value| Reply::slow(Duration::from_secs(6), number(value)).dry_run(number(value));
    let (sandbox, stub) = stubbed("syncing", slow("47")).await;
    let _operator = sandbox.operator();
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    stub.until("jobs.query", 1).await;
    judged::<OkrKeyResult>(&sandbox, "kr", "InProgress", "Progressing", "").await;
    sandbox.await_reason("kr", "Synced").await;
    judged::<OkrKeyResult>(&sandbox, "kr", "Current", "Healthy", "Behind").await;

    sandbox.patch::<OkrKeyResult>("kr", json!({"spec": {"bigQuery": {"query": "SELECT 48"}}})).await;
    judged::<OkrKeyResult>(&sandbox, "kr", "InProgress", "Progressing", "").await;
    stub.until("jobs.query", 2).await;
    judged::<OkrKeyResult>(&sandbox, "kr", "InProgress", "Progressing", "").await;
    let is_done = |status: &MeasuredStatus| {
        status.observed_generation == Some(2) && truth(&status.conditions, "Reconciling") == "absent"
    };
    let before = sandbox.await_status("kr", "is synced", is_done).await;
    judged::<OkrKeyResult>(&sandbox, "kr", "Current", "Healthy", "Behind").await;

    sandbox.backdate("kr").await;
    stub.until("jobs.query", 3).await;
    judged::<OkrKeyResult>(&sandbox, "kr", "Current", "Healthy", "Behind").await;
    sandbox.await_status("kr", "is synced again", |status| status.last_sync_time > before.last_sync_time).await;
    judged::<OkrKeyResult>(&sandbox, "kr", "Current", "Healthy", "Behind").await;
}

#[tokio::test]
async fn what_fails_for_now_is_waited_for() {
    let (sandbox, stub) = stubbed("passing", number("47")).await;
    let down = || Reply::error(503, "backendError", "Try again").dry_run(number("47"));
    stub.on("SELECT 'down'", down());
    let key = json!({
        "projectId": "demo", "endpoint": stub.endpoint(),
        "credentials": {"serviceAccountKey": {"secretRef": {"name": "nowhere", "key": "key.json"}}},
    });
    sandbox.apply::<BigQueryConnection>("keyless", key).await;
    let through = |query: &str, connection: &str| {
        let mut spec = reach(query);
        spec["bigQuery"]["connectionRef"] = json!({"name": connection});
        spec
    };
    sandbox.apply::<OkrKeyResult>("down", through("SELECT 'down'", "warehouse")).await;
    sandbox.apply::<OkrKeyResult>("held", through("SELECT 1", "keyless")).await;
    sandbox.apply::<OkrKeyResult>("waiting", through("SELECT 1", "absent")).await;
    sandbox.apply::<OkrKeyResult>("had-a-value", through("SELECT 'had'", "warehouse")).await;
    let _operator = sandbox.operator();
    sandbox.await_connection("keyless", "SecretNotFound").await;
    judged::<BigQueryConnection>(&sandbox, "keyless", "InProgress", "Progressing", "nowhere").await;
    sandbox.await_reason("down", "Unavailable").await;
    judged::<OkrKeyResult>(&sandbox, "down", "InProgress", "Progressing", "tried again soon").await;
    sandbox.await_reason("held", "ConnectionNotReady").await;
    judged::<OkrKeyResult>(&sandbox, "held", "InProgress", "Progressing", "see its own conditions").await;
    sandbox.await_reason("waiting", "ConnectionNotFound").await;
    judged::<OkrKeyResult>(&sandbox, "waiting", "InProgress", "Progressing", "").await;

    // With a value of the same query one failure changes nothing. The third in a row is said, without a promise to pass.
    sandbox.await_reason("had-a-value", "Synced").await;
    stub.on("SELECT 'had'", down());
    sandbox.backdate("had-a-value").await;
    sandbox.await_status("had-a-value", "failed once", |status| status.consecutive_failures == Some(1)).await;
    judged::<OkrKeyResult>(&sandbox, "had-a-value", "Current", "Healthy", "Behind").await;
    let api = sandbox.api::<OkrKeyResult>();
    // As if a second failure had been an hour ago. The operator may write meanwhile.
    await_some("the second failure is written", || async {
        let mut object = api.get("had-a-value").await.unwrap();
        let status = object.status.as_mut()?;
        status.consecutive_failures = Some(2);
        let earlier = |time: &mut Time| time.0 -= jiff::SignedDuration::from_hours(1);
        status.last_sync_time.iter_mut().chain(status.next_sync_time.iter_mut()).for_each(earlier);
        api.replace_status("had-a-value", &as_the_operator(), &object).await.ok()
    })
    .await;
    sandbox.await_reason("had-a-value", "Unavailable").await;
    judged::<OkrKeyResult>(&sandbox, "had-a-value", "InProgress", "Degraded", "tried again soon").await;
}

#[tokio::test]
async fn what_a_person_must_mend_fails_with_our_message() {
    let (sandbox, stub) = stubbed("stalled", number("47")).await;
    stub.on("SELECT 1 FORM x", Reply::error(400, "invalidQuery", "Syntax error: Unexpected keyword FORM"));
    sandbox.apply::<OkrKeyResult>("broken", reach("SELECT 1 FORM x")).await;
    sandbox.apply::<OkrObjective>("own-query", reach("SELECT 1 FORM x")).await;
    sandbox.connect("elsewhere", "http://10.255.255.1:9050").await;
    for (name, parent) in [("chicken", "egg"), ("egg", "chicken")] {
        sandbox.apply::<OkrObjective>(name, json!({"parentRef": {"name": parent}})).await;
    }
    sandbox.patch::<BigQueryConnection>("warehouse", json!({"spec": {"default": true}})).await;
    let _operator = sandbox.operator();
    sandbox.await_reason("broken", "QueryInvalid").await;
    judged::<OkrKeyResult>(&sandbox, "broken", "Failed", "Degraded", "Unexpected keyword FORM").await;
    sandbox.await_event("broken", "QueryInvalid").await;
    let stalls = |status: &ObjectiveStatus| truth(&status.measured.conditions, "Stalled") == "True";
    sandbox.await_objective("own-query", "stalls", stalls).await;
    judged::<OkrObjective>(&sandbox, "own-query", "Failed", "Degraded", "Unexpected keyword FORM").await;
    sandbox.await_objective("egg", "stalls", stalls).await;
    judged::<OkrObjective>(&sandbox, "egg", "Failed", "Degraded", "chicken").await;
    sandbox.await_connection("elsewhere", "EndpointNotAllowed").await;
    judged::<BigQueryConnection>(&sandbox, "elsewhere", "Failed", "Degraded", "10.255.255.1").await;

    sandbox.patch::<OkrKeyResult>("broken", json!({"spec": {"bigQuery": {"query": "SELECT 47"}}})).await;
    sandbox.await_reason("broken", "Synced").await;
    judged::<OkrKeyResult>(&sandbox, "broken", "Current", "Healthy", "Behind").await;
}

#[tokio::test]
async fn no_rows_keep_flux_waiting_and_are_degraded() {
    let (sandbox, _stub) = stubbed("data", Reply::rows(&[("f0_", "INT64")], &[]).dry_run(number("1"))).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 1 FROM UNNEST([])")).await;
    let _operator = sandbox.operator();
    sandbox.await_reason("kr", "NoRows").await;
    judged::<OkrKeyResult>(&sandbox, "kr", "InProgress", "Degraded", "exactly one").await;
}

#[tokio::test]
async fn rest_is_ready_and_healthy_and_never_suspended() {
    let (sandbox, stub) = stubbed("rest", number("47")).await;
    let paused = json!({
        "projectId": "demo", "endpoint": stub.endpoint(), "credentials": {"none": {}}, "suspend": true,
    });
    sandbox.patch::<BigQueryConnection>("warehouse", json!({"spec": {"default": true}})).await;
    sandbox.apply::<BigQueryConnection>("paused", paused).await;
    let with = |field: &str, value: Value| {
        let mut spec = reach("SELECT 47");
        spec[field] = value;
        spec
    };
    let through_paused = json!({"query": "SELECT 47", "connectionRef": {"name": "paused"}});
    let cases = [
        ("suspended", with("suspend", json!(true)), "Suspended"),
        ("postponed", with("lifecycle", json!("Postponed")), "Postponed"),
        ("closed", with("lifecycle", json!("Closed")), "Closed"),
        ("future", with("period", period(5, 50)), "NotStarted"),
        ("past", with("period", period(-50, -5)), "PeriodEnded"),
        ("held", with("bigQuery", through_paused), "ConnectionSuspended"),
        ("manual", checked_in("grow", 80), "Manual"),
    ];
    for (name, spec, _) in &cases {
        sandbox.apply::<OkrKeyResult>(name, spec.clone()).await;
    }
    for (name, lifecycle) in [("grow", "Active"), ("later", "Postponed"), ("done", "Closed")] {
        sandbox.apply::<OkrObjective>(name, json!({"period": period(-50, 50), "lifecycle": lifecycle})).await;
    }
    let _operator = sandbox.operator();
    for (name, _, reason) in &cases {
        sandbox.await_reason(name, reason).await;
        judged::<OkrKeyResult>(&sandbox, name, "Current", "Healthy", "").await;
    }
    for name in ["grow", "later", "done"] {
        sandbox.await_objective(name, "is decided", |status| !status.measured.conditions.is_empty()).await;
        judged::<OkrObjective>(&sandbox, name, "Current", "Healthy", "").await;
    }
    sandbox.await_connection("paused", "Suspended").await;
    judged::<BigQueryConnection>(&sandbox, "paused", "Current", "Healthy", "").await;
}

#[tokio::test]
async fn at_risk_is_ready_and_healthy_unless_a_release_waits_for_it() {
    let (sandbox, stub) = stubbed("gate", number("1")).await;
    stub.on("SELECT 'behind'", number("40"));
    stub.on("SELECT 'on track'", number("90"));
    for (name, query) in [("risk", "SELECT 'risk'"), ("behind", "SELECT 'behind'"), ("fine", "SELECT 'on track'")] {
        sandbox.apply::<OkrKeyResult>(name, reach(query)).await;
    }
    sandbox.apply::<OkrObjective>("grow", json!({"period": period(-50, 50)})).await;
    sandbox.apply::<OkrKeyResult>("counts", checked_in("grow", 1)).await;
    let _operator = sandbox.operator();
    for name in ["risk", "behind", "fine"] {
        sandbox.await_reason(name, "Synced").await;
    }
    sandbox.await_connection("warehouse", "Connected").await;
    sandbox
        .await_objective("grow", "is rolled up", |status| status.measured.progress_percent.as_deref() == Some("1"))
        .await;
    judged::<OkrKeyResult>(&sandbox, "risk", "Current", "Healthy", "AtRisk").await;
    judged::<OkrKeyResult>(&sandbox, "behind", "Current", "Healthy", "Behind").await;
    judged::<OkrObjective>(&sandbox, "grow", "Current", "Healthy", "AtRisk").await;

    let gate = |value: &str| json!({"metadata": {"annotations": {"okr-operator.dev/degraded-when": value}}});
    let cases = [
        ("AtRisk", ["Degraded", "Healthy", "Healthy", "Degraded"], "1 % progress, 50 % expected"),
        ("Behind", ["Degraded", "Degraded", "Healthy", "Degraded"], "degraded-when says Behind"),
        ("at-risk", ["Degraded", "Degraded", "Degraded", "Degraded"], "must be AtRisk or Behind, not \"at-risk\""),
        ("", ["Degraded", "Degraded", "Degraded", "Degraded"], "must be AtRisk or Behind, not \"\""),
    ];
    for (value, [risk, behind, fine, objective], words) in cases {
        for name in ["risk", "behind", "fine"] {
            sandbox.patch::<OkrKeyResult>(name, gate(value)).await;
        }
        sandbox.patch::<OkrObjective>("grow", gate(value)).await;
        sandbox.patch::<BigQueryConnection>("warehouse", gate(value)).await;
        judged::<OkrKeyResult>(&sandbox, "risk", "Current", risk, words).await;
        judged::<OkrKeyResult>(&sandbox, "behind", "Current", behind, "").await;
        judged::<OkrKeyResult>(&sandbox, "fine", "Current", fine, "").await;
        judged::<OkrObjective>(&sandbox, "grow", "Current", objective, words).await;
        judged::<BigQueryConnection>(&sandbox, "warehouse", "Current", "Healthy", "").await;
    }
    // An annotation is no change of what is asked for.
    let object = stored::<OkrKeyResult>(&sandbox, "risk").await.unwrap();
    assert_eq!(object["metadata"]["generation"], 1);
}
