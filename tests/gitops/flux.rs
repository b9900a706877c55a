//! The real kustomize-controller applies our kinds from git and waits for them.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use okr_operator::api::{OkrKeyResult, OkrObjective, OkrStatus};
use serde_json::{Value, json};

use crate::{
    fleet::{Fleet, now},
    period,
    programs::kstatus,
    stored,
    support::{
        bigquery_stub::{Reply, Stub},
        cluster::{condition, sandbox},
        examples,
    },
};

const DOCUMENTED: &str = "gitops/flux/kustomizations.yaml";
const BROKEN: &str = "60-broken.yaml";

/// The folder that holds the operator's release. Helm is not here: what its chart brings first stands in for it.
fn release(fleet: &Fleet<'_>) {
    for crd in std::fs::read_dir("crds").unwrap() {
        let path = crd.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        fleet.write(&format!("okr-operator/{name}"), &std::fs::read_to_string(path).unwrap());
    }
}

/// A Kustomization that waits for a folder.
fn waiting_for(path: &str, timeout: &str) -> Value {
    json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": path},
        "spec": {
            "sourceRef": {"kind": "GitRepository", "name": "fleet"}, "path": format!("./{path}"), "prune": true,
            "interval": "10m", "wait": true, "timeout": timeout,
        },
    })
}

fn manifest(kind: &str, name: &str, spec: Value) -> String {
    json!({
        "apiVersion": "okr-operator.dev/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": "okr-demo"},
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_become_ready_when_every_query_works_and_stay_as_they_are() {
    let sandbox = sandbox("fleet").await;
    crate::sample_data().await;
    let fleet = Fleet::start(&sandbox).await;
    release(&fleet);
    for (name, text) in examples::files().into_iter().filter(|(name, _)| name != BROKEN) {
        fleet.write(&format!("okrs/{name}"), &text);
    }
    fleet.publish().await;
    fleet.kustomizations(DOCUMENTED).await;
    fleet.await_ready("okr-operator", "True", "Applied revision").await;

    // Everything is applied, and nobody has asked BigQuery: Flux waits.
    fleet.await_condition("okrs", "Healthy", "Unknown", "Running health checks").await;
    let is_there = || async { stored::<OkrKeyResult>(&sandbox, "interviews").await };
    let waits = fleet.until("the last example is applied", is_there).await;
    assert_eq!(kstatus(&waits).word, "InProgress");
    tokio::time::sleep(Duration::from_secs(7)).await; // more than Flux lets pass between two looks
    assert_eq!(fleet.condition("okrs", "Ready").await.unwrap()["status"], "Unknown");

    let _operator = sandbox.operator();
    fleet.await_ready("okrs", "True", "Applied revision").await;
    let churn = sandbox.status("churn").await;
    assert_eq!(churn.okr_status, Some(OkrStatus::AtRisk), "an OKR at risk holds up nothing");

    // Nothing is applied over and over: neither side sees a change of the other's.
    let names = ["churn", "converted-leads", "interviews", "latency", "promoter-score"];
    let versions = async || {
        let mut versions = Vec::new();
        for name in names {
            let object = stored::<OkrKeyResult>(&sandbox, name).await.unwrap();
            let metadata = &object["metadata"];
            // A slot may come meanwhile.
            let synced = object["status"]["lastSyncTime"].clone();
            versions.push((metadata["generation"].clone(), metadata["resourceVersion"].clone(), synced));
        }
        let objective = stored::<OkrObjective>(&sandbox, "healthy-growth").await.unwrap();
        (versions, objective["metadata"]["generation"].clone())
    };
    let (before, objective_before) = versions().await;
    for _ in 0..3 {
        fleet.reconcile("okrs").await;
        fleet.await_ready("okrs", "True", "Applied revision").await;
    }
    let (after, objective_after) = versions().await;
    assert_eq!(objective_after, objective_before);
    for (name, (before, after)) in names.iter().zip(before.iter().zip(&after)) {
        assert_eq!(after.0, before.0, "{name}: its spec is as it was");
        assert!(
            after.1 == before.1 || after.2 != before.2,
            "{name}: only a sync may have written: {before:?}, {after:?}"
        );
    }

    // A refresh as Flux asks for one: the very text comes back, and it is Current again.
    let request = now();
    let annotation = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": request}}});
    sandbox.patch::<OkrKeyResult>("converted-leads", annotation).await;
    let echoes = |status: &okr_operator::api::MeasuredStatus| {
        status.last_handled_reconcile_at.as_deref() == Some(request.as_str())
    };
    let served = sandbox.await_status("converted-leads", "echoes", echoes).await;
    assert_eq!(kstatus(&stored::<OkrKeyResult>(&sandbox, "converted-leads").await.unwrap()).word, "Current");
    fleet.reconcile("okrs").await;
    fleet.await_ready("okrs", "True", "Applied revision").await;
    let later = sandbox.status("converted-leads").await;
    assert_eq!(later.last_handled_reconcile_at, served.last_handled_reconcile_at, "the echo stays");

    // Nothing of ours holds up a deletion.
    fleet.remove("okrs/50-manual.yaml");
    let revision = fleet.publish().await;
    fleet.reconcile("okrs").await;
    fleet.await_ready("okrs", "True", &revision).await;
    assert_eq!(stored::<OkrKeyResult>(&sandbox, "interviews").await, None);
}

/// The first block of docs/gitops.md is a part of the file that the test above applies.
#[test]
fn the_page_shows_the_manifest_itself() {
    let page = std::fs::read_to_string("docs/gitops.md").unwrap();
    let (_, after) = page.split_once("```yaml\n").unwrap();
    let (block, _) = after.split_once("```").unwrap();
    assert!(std::fs::read_to_string(DOCUMENTED).unwrap().contains(block), "{block}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_query_fails_early_and_a_commit_mends_it() {
    let sandbox = sandbox("broken").await;
    crate::sample_data().await;
    let fleet = Fleet::start(&sandbox).await;
    for (name, text) in examples::files().into_iter().filter(|(name, _)| name == BROKEN || name == "10-connection.yaml")
    {
        fleet.write(&format!("okrs/{name}"), &text);
    }
    fleet.publish().await;
    let _operator = sandbox.operator();
    let started = Instant::now();
    fleet.kustomization(waiting_for("okrs", "10m")).await;
    let message = fleet.await_ready("okrs", "False", "failed early due to stalled resources").await;
    assert!(started.elapsed() < Duration::from_secs(90), "well before the timeout: {:?}", started.elapsed());
    assert!(message.contains("broken-on-purpose"), "{message}");

    // Flux does not show our message, so these do.
    let status = sandbox.await_reason("broken-on-purpose", "TableNotFound").await;
    assert!(condition(&status.conditions, "Ready").unwrap().message.contains("leeds"));
    sandbox.await_event("broken-on-purpose", "TableNotFound").await;

    let (_, text) = examples::files().into_iter().find(|(name, _)| name == BROKEN).unwrap();
    fleet.write(&format!("okrs/{BROKEN}"), &text.replace("sales.leeds", "sales.leads"));
    let revision = fleet.publish().await;
    fleet.await_ready("okrs", "True", &revision).await;
    assert_eq!(sandbox.status("broken-on-purpose").await.consecutive_failures, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_gate_holds_a_release_while_a_key_result_is_at_risk() {
    let sandbox = sandbox("release").await;
    let stub = Stub::start().await;
    stub.otherwise(Reply::number("INT64", "10"));
    let fleet = Fleet::start(&sandbox).await;
    release(&fleet);
    let connection = json!({"projectId": "demo", "endpoint": stub.endpoint(), "credentials": {"none": {}}});
    fleet.write("error-budget/connection.yaml", &manifest("BigQueryConnection", "warehouse", connection));
    let budget = json!({
        "title": "Keep half of the error budget", "measure": {"stayAbove": {"target": 50, "riskThreshold": 20}},
        "period": period(-50, 50), "bigQuery": {"query": "SELECT budget"},
    });
    fleet.write("error-budget/key-result.yaml", &manifest("OkrKeyResult", "error-budget", budget));
    let release_map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "release", "namespace": "okr-demo"},
        "data": {"version": "2.4.0"},
    });
    fleet.write("release/release.yaml", &release_map.to_string());
    fleet.publish().await;
    fleet.kustomization(waiting_for("okr-operator", "5m")).await;
    let _operator = sandbox.operator();
    fleet.kustomizations("gitops/flux/release-gate.yaml").await;
    let message = fleet.await_ready("error-budget", "False", "OkrKeyResult").await;
    assert!(message.contains("error-budget"), "{message}");
    fleet.await_ready("release", "False", "error-budget").await;
    assert!(sandbox.api::<ConfigMap>().get_opt("release").await.unwrap().is_none(), "the release is held");

    stub.otherwise(Reply::number("INT64", "80"));
    let refresh = json!({"metadata": {"annotations": {"okr-operator.dev/refresh": now()}}});
    sandbox.patch::<OkrKeyResult>("error-budget", refresh).await;
    sandbox.await_status("error-budget", "recovers", |status| status.okr_status == Some(OkrStatus::OnTrack)).await;
    fleet.reconcile("error-budget").await;
    fleet.await_ready("error-budget", "True", "").await;
    fleet.await_ready("release", "True", "").await;
    assert!(sandbox.api::<ConfigMap>().get_opt("release").await.unwrap().is_some());
}
