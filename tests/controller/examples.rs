//! The examples: they end in the same state whatever happens on the way.

use std::collections::BTreeMap;

use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use okr_operator::api::{BigQueryConnection, OkrKeyResult, OkrObjective};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    day, emulator,
    support::cluster::{Sandbox, await_some, condition, sandbox},
};

/// All objects of `examples/`, with a period around today as `make demo` gives them.
fn manifests() -> Vec<Value> {
    let paths = std::fs::read_dir("examples").unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.filter(|path| path.is_file()).collect();
    files.sort();
    let text: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let text = text
        .join("\n---\n")
        .replace("2026-10-01", &day(-45).to_string())
        .replace("2026-11-15", &day(0).to_string())
        .replace("2026-12-31", &day(45).to_string())
        .replace("http://127.0.0.1:9050", &emulator());
    serde_saphyr::from_multiple::<Value>(&text).unwrap()
}

async fn apply(sandbox: &Sandbox) {
    for manifest in manifests() {
        let patch = |mut manifest: Value| {
            manifest["metadata"]["namespace"] = sandbox.namespace.as_str().into();
            Patch::Apply(manifest)
        };
        let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
        let parameters = PatchParams::apply("tests").force();
        match manifest["kind"].as_str().unwrap() {
            "BigQueryConnection" => {
                sandbox.api::<BigQueryConnection>().patch(&name, &parameters, &patch(manifest)).await.unwrap();
            }
            "OkrKeyResult" => {
                sandbox.api::<OkrKeyResult>().patch(&name, &parameters, &patch(manifest)).await.unwrap();
            }
            "OkrObjective" => {
                sandbox.api::<OkrObjective>().patch(&name, &parameters, &patch(manifest)).await.unwrap();
            }
            _ => {}
        }
    }
}

/// What each key result came to, once all are decided.
async fn outcome(sandbox: &Sandbox) -> BTreeMap<String, String> {
    await_some("all examples are decided", || async {
        let all = sandbox.api::<OkrKeyResult>().list(&ListParams::default()).await.unwrap();
        let outcome = all.items.iter().map(|key_result| {
            let status = key_result.status.as_ref()?;
            let reason = &condition(&status.conditions, "Ready")?.reason;
            let settled = ["Synced", "Manual", "TableNotFound"].contains(&reason.as_str());
            let text = format!("{:?} {:?} {:?} {reason}", status.okr_status?, status.value, status.progress_percent);
            settled.then(|| (key_result.name_any(), text))
        });
        outcome.collect::<Option<BTreeMap<_, _>>>().filter(|outcome| outcome.len() == 12)
    })
    .await
}

async fn load_sample_data() {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "jobComplete")]
        job_complete: bool,
    }
    let query = std::fs::read_to_string("dev/sample-data/quarter.sql").unwrap();
    let url = format!("{}/bigquery/v2/projects/demo/queries", emulator());
    let body = serde_json::json!({"query": query, "useLegacySql": false, "timeoutMs": 60000});
    let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    assert!(answer.error_for_status().unwrap().json::<Answer>().await.unwrap().job_complete);
}

#[tokio::test]
async fn deleting_and_applying_them_again_around_a_restart_ends_in_the_same_state() {
    let sandbox = sandbox("examples").await;
    load_sample_data().await;
    let operator = sandbox.operator();
    apply(&sandbox).await;
    let first = outcome(&sandbox).await;
    for (name, want) in [
        ("converted-leads", "Behind Some(\"2350\") Some(\"47\") Synced"),
        ("churn", "AtRisk Some(\"7.6\") Some(\"13.33\") Synced"),
        ("availability", "OnTrack Some(\"99.95\") Some(\"100\") Synced"),
        ("interviews", "OnTrack Some(\"11\") Some(\"55\") Manual"),
        ("promoter-score", "InProgress Some(\"38.5\") None Synced"),
        ("broken-on-purpose", "NotStarted None None TableNotFound"),
    ] {
        assert_eq!(first[name], want, "{name}");
    }
    for (name, what, percent) in [
        ("grow-pipeline", "is 40 % of 47 and 60 % of 40", "42.8"),
        ("healthy-growth", "is 60 % of that and 40 % of 40", "41.68"),
    ] {
        sandbox
            .await_objective(name, what, |status| status.measured.progress_percent.as_deref() == Some(percent))
            .await;
    }
    let all = ListParams::default();
    sandbox.api::<OkrKeyResult>().delete_collection(&DeleteParams::default(), &all).await.unwrap();
    sandbox.api::<BigQueryConnection>().delete_collection(&DeleteParams::default(), &all).await.unwrap();
    apply(&sandbox).await;
    operator.stop().await;
    let _operator = sandbox.operator();
    assert_eq!(outcome(&sandbox).await, first);
    sandbox.api::<OkrKeyResult>().delete_collection(&DeleteParams::default(), &all).await.unwrap();
    apply(&sandbox).await;
    assert_eq!(outcome(&sandbox).await, first);
}
