//! The examples: they end in the same state whatever happens on the way.

use std::collections::BTreeMap;

use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use okr_operator::api::{BigQueryConnection, OkrKeyResult};

use crate::support::{
    cluster::{Sandbox, await_some, condition, sandbox},
    examples::{apply, load_sample_data},
};

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
