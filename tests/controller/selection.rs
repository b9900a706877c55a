//! `--namespaces`: Roles instead of ClusterRoles, and namespaces that are not there yet.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    core::PartialObjectMeta,
};
use okr_operator::api::{BigQueryConnection, MeasuredStatus, OkrKeyResult};
use serde_json::json;

use crate::{
    reach, runs, stubbed,
    support::{
        bigquery_stub::Reply,
        cluster::{Sandbox, await_some, condition, impersonate, sandbox, truth},
    },
};

/// What the operator needs in a namespace of `--namespaces`, as README lists it.
async fn allow(sandbox: &Sandbox, user: &str) {
    let rules = json!([
        {"apiGroups": ["okr-operator.dev"], "resources": ["okrkeyresults", "okrobjectives", "bigqueryconnections"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["okr-operator.dev"], "resources": ["okrkeyresults/status", "okrobjectives/status", "bigqueryconnections/status"], "verbs": ["update"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
    ]);
    sandbox.allow(user, rules).await;
}

#[tokio::test]
async fn roles_suffice_and_a_namespace_that_is_not_there_holds_up_nobody() {
    let (sandbox, stub) = stubbed("selection", Reply::number("INT64", "47")).await;
    let user = format!("operator-{}", sandbox.namespace);
    let late = format!("{}-late", sandbox.namespace);
    allow(&sandbox, &user).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let operator = sandbox.operator_through(impersonate(&user, &[]).await, |settings| {
        settings.namespaces = vec![sandbox.namespace.clone(), late.clone()];
    });
    sandbox.await_reason("kr", "Synced").await;
    let metric =
        |namespace: &str, value: u8| format!("okr_operator_namespace_unavailable{{namespace=\"{namespace}\"}} {value}");
    let shows = async |namespace: &str, value: u8| {
        let line = metric(namespace, value);
        await_some(&line, || async { operator.metrics.text().unwrap().contains(&line).then_some(()) }).await;
    };
    shows(&late, 1).await;
    shows(&sandbox.namespace, 0).await;

    let namespaces: Api<Namespace> = Api::all(sandbox.client.clone());
    let metadata = ObjectMeta { name: Some(late.clone()), ..ObjectMeta::default() };
    namespaces.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await.unwrap();
    let second = Sandbox { client: sandbox.client.clone(), namespace: late.clone() };
    allow(&second, &user).await;
    second.connect("warehouse", &stub.endpoint()).await;
    second.apply::<OkrKeyResult>("kr", reach("SELECT 48")).await;
    second.await_reason("kr", "Synced").await;
    shows(&late, 0).await;
}

#[tokio::test]
async fn rights_that_come_one_after_the_other_make_no_key_result_lose_its_connection() {
    let (sandbox, _stub) = stubbed("rights", Reply::number("INT64", "47")).await;
    let user = format!("operator-{}", sandbox.namespace);
    let kinds = json!(["okrkeyresults", "okrobjectives"]);
    let reads = json!([{"apiGroups": ["okr-operator.dev"], "resources": kinds, "verbs": ["list", "watch"]}]);
    sandbox.allow(&user, reads).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator_through(impersonate(&user, &[]).await, |settings| {
        settings.namespaces = vec![sandbox.namespace.clone()];
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    allow(&sandbox, &user).await;
    let status = sandbox.await_reason("kr", "Synced").await;
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    let mut writes = sandbox.audited(&user, "okrkeyresults");
    writes.retain(|call| call.subresource == "status");
    assert_eq!(writes.len(), 1, "its first status is that of its first sync: {ready:?} {writes:?}");
}

#[tokio::test]
async fn a_namespace_that_does_not_exist_is_told_of_also_by_whom_may_read_everything() {
    let (sandbox, _stub) = stubbed("absent", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let operator = sandbox.operator_with(|settings| settings.namespaces.push("no-such-namespace".to_owned()));
    sandbox.await_reason("kr", "Synced").await;
    let line = "okr_operator_namespace_unavailable{namespace=\"no-such-namespace\"} 1";
    await_some(line, || async { operator.metrics.text().unwrap().contains(line).then_some(()) }).await;
}

#[tokio::test]
async fn two_operators_share_a_cluster() {
    let (first, stub) = stubbed("first", Reply::number("INT64", "47")).await;
    let second = sandbox("second").await;
    second.connect("warehouse", &stub.endpoint()).await;
    let [one, other] = ["one", "other"].map(|name| format!("{name}-{}", first.namespace));
    let _one = first.operator_as(&one).await;
    let _other = second.operator_as(&other).await;
    for sandbox in [&first, &second] {
        sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
        sandbox.await_reason("kr", "Synced").await;
    }
    assert_eq!(second.audited(&one, "okrkeyresults"), []);
    assert_eq!(first.audited(&other, "okrkeyresults"), []);
}

/// Changes the status by hand.
async fn forge(sandbox: &Sandbox, name: &str, status: &serde_json::Value) {
    let api: Api<PartialObjectMeta<OkrKeyResult>> = Api::namespaced(sandbox.client.clone(), &sandbox.namespace);
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn a_status_that_others_wrote_into_is_repaired() {
    let (sandbox, _stub) = stubbed("forged", Reply::number("INT64", "47")).await;
    let _operator = sandbox.operator();
    let cases = [
        ("next", json!({"nextSyncTime": "9999-12-31T23:59:59Z"})),
        ("numbers", json!({"okrStatus": "OnTrack", "progressPercent": "100", "score": "1.00"})),
        ("conditions", json!({"conditions": [], "observedGeneration": 999})),
        ("words", json!({"explanation": "All is well.", "targetText": "1"})),
        ("value", json!({"value": "4096", "valueTime": "2026-01-01T00:00:00Z"})),
        // A last attempt in the year 9999 would hold the next for ever.
        ("times", json!({"lastSyncTime": "9999-01-01T00:00:00Z", "valueTime": "9999-01-01T00:00:00Z"})),
    ];
    for (name, forged) in cases {
        sandbox.apply::<OkrKeyResult>(name, reach("SELECT 47")).await;
        let good = sandbox.await_reason(name, "Synced").await;
        forge(&sandbox, name, &forged).await;
        // Our own types cannot hold every time that the API server takes.
        await_some(&format!("{name} is as before {forged}"), || async {
            let status = sandbox.api::<OkrKeyResult>().get(name).await.ok()?.status?;
            let same = |status: &MeasuredStatus| {
                let MeasuredStatus { value, next_sync_time, okr_status, progress_percent, explanation, .. } = status;
                let facts = (value.clone(), okr_status.to_owned(), progress_percent.clone(), explanation.clone());
                (facts, next_sync_time.clone(), status.target_text.clone(), status.observed_generation)
            };
            let is_fresh = truth(&status.conditions, "Fresh") == "True";
            let is_past = status.last_sync_time.as_ref().is_some_and(|time| crate::seconds_ago(time) >= 0);
            (is_fresh && is_past && same(&status) == same(&good) && status.conditions.len() == good.conditions.len())
                .then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_value_that_others_wrote_is_never_fresh_and_read_anew_at_once() {
    let (sandbox, stub) = stubbed("forged-value", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let operator = sandbox.operator();
    let good = sandbox.await_reason("kr", "Synced").await;
    operator.stop().await;
    // All that it says fits: only managedFields tell whose it is.
    forge(&sandbox, "kr", &json!({"value": "4096"})).await;
    stub.on("SELECT 47", Reply::number("INT64", "47").delay(Duration::from_secs(2)));
    stub.forget();
    let operator = sandbox.operator();
    let doubted =
        sandbox.await_status("kr", "is doubted", |status| truth(&status.conditions, "Fresh") == "False").await;
    assert_eq!(doubted.value.as_deref(), Some("4096"), "nothing is lost that was written");
    assert_eq!(condition(&doubted.conditions, "Fresh").unwrap().reason, "QueryChanged");
    assert_eq!(truth(&doubted.conditions, "Reconciling"), "True");
    let mended = sandbox.await_status("kr", "is mended", |status| status.value == good.value).await;
    assert_eq!((truth(&mended.conditions, "Fresh"), truth(&mended.conditions, "Reconciling")), ("True", "absent"));
    assert_eq!(runs(&stub, "SELECT 47"), 1);
    // From then on it is ours again.
    operator.stop().await;
    stub.forget();
    let _operator = sandbox.operator();
    sandbox.apply::<OkrKeyResult>("another", reach("SELECT 46")).await;
    sandbox.await_reason("another", "Synced").await;
    assert_eq!(runs(&stub, "SELECT 47"), 0);
}

#[tokio::test]
async fn a_connection_shared_by_labels_that_nobody_may_read_says_so() {
    let (sandbox, stub) = stubbed("labels", Reply::number("INT64", "47")).await;
    let allowed = json!({"from": "Selector", "selector": {"matchLabels": {"team": "sales"}}});
    let spec = json!({
        "projectId": "demo", "endpoint": stub.endpoint(), "credentials": {"none": {}}, "allowedNamespaces": allowed,
    });
    sandbox.apply::<BigQueryConnection>("shared", spec).await;
    let _operator = sandbox.operator();
    sandbox.await_connection_saying("shared", "Connected", "selector of allowedNamespaces admits nobody").await;
    sandbox.await_connection_saying("warehouse", "Connected", "Queries run in project demo.").await;
}
