//! Argo CD's engine over what nobody expects, the refresh action, and why no application is for ever out of sync.

use std::process::Command;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use okr_operator::api::{BigQueryConnection, OkrKeyResult, OkrObjective, crd};
use serde_json::{Value, json};

use crate::{
    programs::{ARGOCD_CM, action, action_of, argo, scratch},
    reach, stored, stubbed,
    support::{
        bigquery_stub::Reply,
        cluster::{Sandbox, sandbox},
        examples,
    },
};

const REFRESH: &str = "okr-operator.dev/refresh";

/// The spec of a sample of each kind, with what Lua could mistake: empty objects and lists, and whole numbers.
fn kinds() -> [(&'static str, Value); 3] {
    [
        ("BigQueryConnection", json!({"projectId": "demo", "credentials": {"workloadIdentity": {}}, "scopes": []})),
        ("OkrObjective", json!({"title": "Grow", "links": [], "allowedNamespaces": {}})),
        (
            "OkrKeyResult",
            json!({"measure": {"percent": {}}, "weight": 40, "links": [], "bigQuery": {"query": "SELECT 1"}}),
        ),
    ]
}

fn object(kind: &str, spec: &Value, status: Value) -> Value {
    json!({
        "apiVersion": "okr-operator.dev/v1alpha1", "kind": kind, "spec": spec, "status": status,
        "metadata": {"name": "kr", "namespace": "sales", "generation": 2},
    })
}

#[test]
fn no_object_however_odd_makes_the_health_check_fail() {
    let condition = |kind: &str, status: Value| json!({"type": kind, "status": status, "message": format!("{kind}.")});
    let ready = || condition("Ready", json!("True"));
    let with = |conditions: Value| json!({"observedGeneration": 2, "conditions": conditions});
    let cases = [
        (Value::Null, "Progressing", "said nothing"),
        (json!({}), "Progressing", "said nothing"),
        (json!([]), "Progressing", "said nothing"),
        (json!("broken"), "Progressing", "said nothing"),
        (json!(7), "Progressing", "said nothing"),
        (json!({"observedGeneration": -1}), "Progressing", "said nothing"),
        (json!({"observedGeneration": {}}), "Progressing", "said nothing"),
        (json!({"observedGeneration": 1, "conditions": [ready()]}), "Progressing", "latest change"),
        (with(Value::Null), "Progressing", "not said yet"),
        (with(json!([])), "Progressing", "not said yet"),
        (with(json!({})), "Progressing", "not said yet"),
        (with(json!("Ready")), "Progressing", "not said yet"),
        (with(json!([null, 7, "Ready", [], {}, {"type": {}}, {"type": 1}])), "Progressing", "not said yet"),
        (with(json!([null, ready()])), "Healthy", "Ready."),
        (with(json!([condition("Ready", json!("Unknown"))])), "Progressing", "Ready."),
        (with(json!([condition("Ready", json!(true))])), "Progressing", "Ready."),
        (with(json!([condition("Ready", json!("False"))])), "Degraded", "Ready."),
        (with(json!([{"type": "Ready", "status": "False", "message": {"a": 1}}])), "Degraded", "not ready"),
        (with(json!([{"type": "Ready", "status": "True"}])), "Healthy", "It works."),
        (with(json!([ready(), condition("Reconciling", json!("True"))])), "Progressing", "Reconciling."),
        (with(json!([ready(), condition("Stalled", json!("True"))])), "Degraded", "Ready."),
        (with(json!([condition("Stalled", json!("True"))])), "Degraded", "Stalled."),
        (with(json!([ready(), condition("Stalled", json!("False"))])), "Healthy", "Ready."),
        (json!({"observedGeneration": 2, "okrStatus": ["AtRisk"], "conditions": [ready()]}), "Healthy", "Ready."),
    ];
    for (kind, spec) in kinds() {
        for (status, word, words) in &cases {
            let mut object = object(kind, &spec, status.clone());
            if status.is_null() {
                object.as_object_mut().unwrap().remove("status");
            }
            let verdict = argo(&object);
            assert_eq!(verdict.word, *word, "{status}: {}", verdict.message);
            assert!(verdict.message.contains(words), "{status}: {}", verdict.message);
        }
    }
    let at_risk = json!({"observedGeneration": 2, "okrStatus": "AtRisk", "conditions": [ready()]});
    for (kind, spec) in kinds() {
        let mut object = object(kind, &spec, at_risk.clone());
        object["metadata"].as_object_mut().unwrap().remove("generation");
        assert_eq!(argo(&object).word, "Progressing", "without a generation");
        object["metadata"]["generation"] = json!(2);
        object["metadata"]["annotations"] = json!({"okr-operator.dev/degraded-when": "AtRisk"});
        let verdict = argo(&object);
        assert_eq!(verdict.word, "Degraded", "without numbers: {}", verdict.message);
    }
}

#[test]
fn the_refresh_action_changes_one_annotation_and_nothing_else() {
    let parse = |time: &str| time.parse::<jiff::Timestamp>().unwrap();
    for (kind, spec) in kinds() {
        for annotations in [Value::Null, json!({}), json!({REFRESH: "before", "other": "stays"})] {
            let mut before = object(kind, &spec, json!({"history": [], "conditions": []}));
            if !annotations.is_null() {
                before["metadata"]["annotations"] = annotations;
            }
            let (operation, mut after) = action(&before, "refresh").unwrap();
            assert_eq!(operation, "patch");
            let time = after["metadata"]["annotations"][REFRESH].take();
            assert_ne!(parse(time.as_str().unwrap()).as_second(), 0, "a time, to the second");
            // What it was before is all that may differ.
            before["metadata"]["annotations"][REFRESH] = Value::Null;
            assert_eq!(after, before);
        }
    }
    let mut large = object("OkrKeyResult", &kinds()[2].1, json!({}));
    large["spec"]["measure"] = json!({"reach": {"target": 9_007_199_254_740_993_i64}});
    let refusal = action(&large, "refresh").unwrap_err();
    assert!(refusal.contains("quote it in the manifest"), "{refusal}");
    large["spec"]["measure"] = json!({"reach": {"target": "9007199254740993"}});
    action(&large, "refresh").unwrap();
    assert!(action(&large, "delete").is_err(), "there is no other");
}

/// The engine has no way of its own to be asked for the list: the script runs as if it were an action.
#[test]
fn the_refresh_action_is_offered() {
    let discovery = std::fs::read_to_string("gitops/argocd/actions/discovery.lua").unwrap();
    let lua =
        format!("local found = (function()\n{discovery}\nend)()\nobj.metadata.labels = found.refresh\nreturn obj\n");
    let lua: String = lua.lines().map(|line| format!("        {line}\n")).collect();
    let cm = format!(
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  resource.customizations.actions.okr-operator.dev_OkrKeyResult: |\n    \
         discovery.lua: return {{}}\n    definitions:\n    - name: discover\n      action.lua: |\n{lua}"
    );
    let sample = object("OkrKeyResult", &kinds()[2].1, json!({}));
    let (_, found) = action_of(&scratch("discovery.yaml", &cm), &sample, "discover").unwrap();
    assert_eq!(found["metadata"]["labels"]["displayName"], "Refresh");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refresh_action_is_served() {
    let (sandbox, stub) = stubbed("action", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    sandbox.apply::<OkrObjective>("grow", json!({})).await;
    let _operator = sandbox.operator();
    sandbox.await_reason("kr", "Synced").await;
    sandbox.await_connection("warehouse", "Connected").await;
    sandbox.await_objective("grow", "is decided", |status| !status.measured.conditions.is_empty()).await;
    let asked = async |object: Option<Value>| {
        let (_, after) = action(&object.unwrap(), "refresh").unwrap();
        let annotations = after["metadata"]["annotations"].clone();
        let time = annotations[REFRESH].as_str().unwrap().to_owned();
        (json!({"metadata": {"annotations": annotations}}), Some(time))
    };
    let (patch, time) = asked(stored::<OkrKeyResult>(&sandbox, "kr").await).await;
    sandbox.patch::<OkrKeyResult>("kr", patch).await;
    sandbox.await_status("kr", "echoes", |status| status.last_handled_refresh == time).await;
    assert_eq!(stub.requests().iter().filter(|request| request.body["query"] == "SELECT 47").count(), 2);
    let (patch, time) = asked(stored::<OkrObjective>(&sandbox, "grow").await).await;
    sandbox.patch::<OkrObjective>("grow", patch).await;
    sandbox.await_objective("grow", "echoes", |status| status.measured.last_handled_refresh == time).await;
    let (patch, time) = asked(stored::<BigQueryConnection>(&sandbox, "warehouse").await).await;
    sandbox.patch::<BigQueryConnection>("warehouse", patch).await;
    crate::support::cluster::await_some("the connection echoes", || async {
        let status = sandbox.api::<BigQueryConnection>().get("warehouse").await.unwrap().status?;
        (status.last_handled_refresh == time).then_some(())
    })
    .await;
}

async fn stored_like(sandbox: &Sandbox, manifest: &Value) -> Option<Value> {
    let name = manifest["metadata"]["name"].as_str().unwrap();
    match manifest["kind"].as_str().unwrap() {
        "BigQueryConnection" => stored::<BigQueryConnection>(sandbox, name).await,
        "OkrKeyResult" => stored::<OkrKeyResult>(sandbox, name).await,
        "OkrObjective" => stored::<OkrObjective>(sandbox, name).await,
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_what_was_applied_so_nothing_is_out_of_sync() {
    let sandbox = sandbox("drift").await;
    crate::sample_data().await;
    examples::apply(&sandbox).await;
    let _operator = sandbox.operator();
    let mut compared = 0;
    for manifest in examples::manifests() {
        let is_decided = || async {
            let object = stored_like(&sandbox, &manifest).await?;
            (object["status"]["observedGeneration"] == 1).then_some(object)
        };
        if stored_like(&sandbox, &manifest).await.is_none() {
            assert_eq!(manifest["kind"], "Namespace");
            continue;
        }
        let object = crate::support::cluster::await_some("it is decided", is_decided).await;
        assert_eq!(object["spec"], manifest["spec"], "{}", manifest["metadata"]["name"]);
        let metadata = &object["metadata"];
        assert_eq!((&metadata["labels"], &metadata["generation"]), (&manifest["metadata"]["labels"], &json!(1)));
        for field in ["annotations", "finalizers", "ownerReferences"] {
            assert_eq!(metadata.get(field), None, "{}", manifest["metadata"]["name"]);
        }
        let (_, after) = action(&object, "refresh").unwrap();
        assert_eq!(after["spec"], manifest["spec"], "the refresh action keeps the spec");
        compared += 1;
    }
    assert!(compared > 10, "{compared}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routine_sync_changes_only_what_argo_cd_is_told_to_ignore() {
    let (sandbox, stub) = stubbed("volatile", Reply::number("INT64", "60")).await;
    let mut spec = reach("SELECT 47");
    spec["objectiveRef"] = json!({"name": "grow"});
    sandbox.apply::<OkrObjective>("grow", json!({"period": crate::period(-50, 50)})).await;
    sandbox.apply::<OkrKeyResult>("kr", spec).await;
    let _operator = sandbox.operator();
    sandbox.await_reason("kr", "Synced").await;
    let has = |percent: &'static str| {
        move |status: &okr_operator::api::ObjectiveStatus| status.measured.progress_percent.as_deref() == Some(percent)
    };
    sandbox.await_objective("grow", "is rolled up", has("60")).await;
    let seen = async || {
        let key_result = stored::<OkrKeyResult>(&sandbox, "kr").await.unwrap();
        let objective = stored::<OkrObjective>(&sandbox, "grow").await.unwrap();
        (without_volatile(key_result), without_volatile(objective))
    };
    let before = seen().await;
    stub.otherwise(Reply::number("INT64", "70"));
    sandbox.backdate("kr").await;
    sandbox.await_objective("grow", "is rolled up anew", has("70")).await;
    assert_eq!(seen().await, before);
}

/// What is left when Argo CD has left out what it is told to, and what it leaves out of everything.
fn without_volatile(mut object: Value) -> Value {
    let ignored: Value =
        serde_saphyr::from_str(&std::fs::read_to_string("gitops/argocd/ignore-updates.yaml").unwrap()).unwrap();
    let pointers = ignored["jsonPointers"].as_array().unwrap().iter().map(|pointer| pointer.as_str().unwrap());
    for pointer in pointers.chain(["/metadata/resourceVersion", "/metadata/managedFields"]) {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field);
    }
    let paths = json!([".status.conditions[]? | select(.type == \"OnTrack\") | .message"]);
    assert_eq!(ignored["jqPathExpressions"], paths, "this test knows no other");
    for condition in object["status"]["conditions"].as_array_mut().unwrap() {
        if condition["type"] == "OnTrack" {
            condition.as_object_mut().unwrap().remove("message");
        }
    }
    object
}

#[test]
fn every_ignored_field_is_one_of_a_status() {
    let ignored: Value =
        serde_saphyr::from_str(&std::fs::read_to_string("gitops/argocd/ignore-updates.yaml").unwrap()).unwrap();
    let crds: Vec<Value> = crd::all().iter().map(|crd| serde_json::to_value(crd).unwrap()).collect();
    let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
    for pointer in ignored["jsonPointers"].as_array().unwrap() {
        let field = pointer.as_str().unwrap().strip_prefix("/status/").unwrap();
        assert!(crds.iter().any(|crd| crd.pointer(status).unwrap().get(field).is_some()), "{field}");
    }
}

/// With its annotation, in a wave before the release.
#[tokio::test]
async fn the_documented_gate_is_accepted() {
    let sandbox = sandbox("gate").await;
    let text = std::fs::read_to_string("gitops/argocd/release-gate.yaml").unwrap();
    let manifests = serde_saphyr::from_multiple::<Value>(&text).unwrap();
    let gate = &manifests[0];
    sandbox.apply::<OkrKeyResult>("error-budget", gate["spec"].clone()).await;
    let wave = |manifest: &Value| -> i32 {
        manifest["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"].as_str().unwrap().parse().unwrap()
    };
    assert!(manifests[1..].iter().all(|manifest| wave(manifest) > wave(gate)));
    let mut at_risk = gate.clone();
    at_risk["metadata"]["generation"] = json!(1);
    at_risk["status"] = json!({
        "observedGeneration": 1, "okrStatus": "AtRisk", "conditions": [{"type": "Ready", "status": "True"}],
    });
    assert_eq!(argo(&at_risk).word, "Degraded");
    at_risk["status"]["okrStatus"] = json!("Behind");
    assert_eq!(argo(&at_risk).word, "Healthy");
}

/// Both ways of docs/gitops.md, by kubectl itself.
#[tokio::test]
async fn the_patch_is_installed_as_documented() {
    let sandbox = sandbox("argocd").await;
    let kubectl = |arguments: &[&str]| {
        let output = Command::new("kubectl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let map = json!({"metadata": {"name": "argocd-cm"}, "data": {"url": "https://argocd.example.com"}});
    let map: ConfigMap = serde_json::from_value(map).unwrap();
    sandbox.api::<ConfigMap>().create(&PostParams::default(), &map).await.unwrap();
    let namespace = sandbox.namespace.as_str();
    kubectl(&["patch", "-n", namespace, "configmap", "argocd-cm", "--type=merge", "--patch-file", ARGOCD_CM]);
    let by_patch = sandbox.api::<ConfigMap>().get("argocd-cm").await.unwrap().data.unwrap();

    let folder = scratch("kustomize", "").with_extension("d");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(ARGOCD_CM, folder.join("argocd-cm.yaml")).unwrap();
    let base = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}, "data": {"url": "https://argocd.example.com"},
    });
    std::fs::write(folder.join("install.yaml"), base.to_string()).unwrap();
    let kustomization = "namespace: argocd\nresources: [install.yaml]\npatches:\n- path: argocd-cm.yaml\n";
    std::fs::write(folder.join("kustomization.yaml"), kustomization).unwrap();
    let by_kustomize: ConfigMap = serde_saphyr::from_str(&kubectl(&["kustomize", folder.to_str().unwrap()])).unwrap();
    assert_eq!(by_kustomize.data.unwrap(), by_patch);
    assert_eq!(by_patch["url"], "https://argocd.example.com", "what was there stays");
    assert_eq!(by_patch.len(), 1 + 3 * 3);
}
