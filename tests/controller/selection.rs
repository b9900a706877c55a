//! `--namespaces`: Roles instead of ClusterRoles, and namespaces that are not there yet.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    core::PartialObjectMeta,
};
use okr_operator::api::{BigQueryConnection, OkrKeyResult};
use serde_json::json;

use crate::{
    reach, stubbed,
    support::{
        bigquery_stub::Reply,
        cluster::{Sandbox, await_some, impersonate, sandbox},
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

#[tokio::test]
async fn a_status_that_others_wrote_into_is_repaired() {
    let (sandbox, stub) = stubbed("forged", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    let good = sandbox.await_reason("kr", "Synced").await;
    let forge = async |status: serde_json::Value| {
        let api: Api<PartialObjectMeta<OkrKeyResult>> = Api::namespaced(sandbox.client.clone(), &sandbox.namespace);
        let patch = Patch::Merge(json!({"status": status}));
        api.patch_status("kr", &PatchParams::default(), &patch).await.unwrap();
        // Our own types cannot hold every time that the API server takes.
        await_some("the status can be read", || async { sandbox.api::<OkrKeyResult>().get("kr").await.ok() }).await;
    };
    for forged in [
        json!({"nextSyncTime": "9999-12-31T23:59:59Z"}),
        json!({"okrStatus": "OnTrack", "progressPercent": "100", "score": "1.00"}),
        json!({"conditions": [], "observedGeneration": 999}),
        json!({"explanation": "All is well.", "targetText": "1"}),
    ] {
        forge(forged.clone()).await;
        sandbox
            .await_status("kr", &format!("is as before {forged}"), |status| {
                let same = |a: &okr_operator::api::MeasuredStatus| {
                    (
                        a.next_sync_time.clone(),
                        a.okr_status,
                        a.progress_percent.clone(),
                        a.explanation.clone(),
                        a.observed_generation,
                    )
                };
                same(status) == same(&good) && status.conditions.len() == good.conditions.len()
            })
            .await;
    }
    // A last attempt in the year 9999 would hold the next for ever.
    stub.forget();
    forge(json!({"lastSyncTime": "9999-01-01T00:00:00Z", "valueTime": "9999-01-01T00:00:00Z"})).await;
    sandbox
        .await_status("kr", "is synced again", |status| {
            status.last_sync_time.as_ref().is_some_and(|time| crate::seconds_ago(time) >= 0)
        })
        .await;
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
