//! refresh and doctor.

use std::{path::PathBuf, sync::Arc};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use okr_operator::api::OkrKeyResult;
use serde_json::json;

use crate::{
    Run, checked_in, okr, period, program,
    support::{
        bigquery_stub::{Reply, Stub},
        cluster::{Sandbox, await_some, sandbox},
    },
};

#[tokio::test]
async fn a_refresh_waits_and_its_exit_code_says_what_came_of_it() {
    let sandbox = Arc::new(sandbox("refresh").await);
    let stub = Stub::start().await;
    stub.otherwise(Reply::number("INT64", "4200"));
    sandbox.connect("warehouse", &stub.endpoint()).await;
    let _operator = sandbox.operator();
    let reach = |query: &str| json!({"measure": {"reach": {"target": 5000}}, "period": period(-50, 50), "bigQuery": {"query": query}});
    sandbox.apply::<OkrKeyResult>("good", reach("SELECT total FROM leads")).await;
    sandbox.apply::<OkrKeyResult>("manual", checked_in("grow", 30)).await;
    sandbox.await_reason("good", "Synced").await;
    sandbox.await_reason("manual", "Manual").await;

    let run = okr(&sandbox, &["refresh", "good"]).await;
    assert_eq!((run.code, run.out.as_str()), (0, "okrkeyresult/good refresh asked for\n"), "{}", run.err);
    let asked = sandbox.api::<OkrKeyResult>().get("good").await.unwrap();
    let managers = asked.managed_fields().iter().filter_map(|entry| entry.manager.as_deref()).collect::<Vec<_>>();
    assert!(managers.contains(&"kubectl-okr"), "managedFields say who asked: {managers:?}");
    // Both while the query may not be sent yet: the second takes the place of the first, and one sync serves them.
    for run in <[_; 2]>::from(tokio::join!(
        okr(&sandbox, &["refresh", "--all", "--wait"]),
        okr(&sandbox, &["refresh", "good", "--wait"]),
    )) {
        assert_eq!((run.code, run.out.as_str()), (0, "okrkeyresult/good synced: 4,200, On Track\n"), "{}", run.err);
    }
    let run = okr(&sandbox, &["refresh", "manual", "--wait"]).await;
    assert!(run.code == 1 && run.out.starts_with("okrkeyresult/manual at rest: Manual"), "{}", run.out);

    // Ready holds meanwhile, with the value of before.
    stub.otherwise(Reply::error(503, "backendError", "Error encountered during execution"));
    let run = okr(&sandbox, &["refresh", "good", "--wait"]).await;
    assert!(run.code == 1 && run.out.contains("failed for now"), "{}", run.out);
    assert!(run.out.contains("the value of before stays (4,200)"), "{}", run.out);

    stub.otherwise(Reply::error(404, "notFound", "Not found: Table demo:sales.leeds"));
    let run = okr(&sandbox, &["refresh", "good", "--wait"]).await;
    assert!(run.code == 1 && run.out.contains("failed: TableNotFound"), "{}", run.out);
}

#[tokio::test]
async fn a_refresh_that_nobody_serves_is_told_in_time() {
    let sandbox = sandbox("nobody").await;
    sandbox.apply::<OkrKeyResult>("leads", checked_in("grow", 30)).await;
    let run = okr(&sandbox, &["refresh", "leads", "--wait", "--timeout", "1"]).await;
    assert!(run.code == 2 && run.out.contains("not synced in time"), "{} {}", run.out, run.err);
}

#[tokio::test]
async fn a_doctor_names_what_is_wrong() {
    let sandbox = sandbox("doctor").await;
    let stub = Stub::start().await;
    stub.on("SELECT 1", Reply::error(403, "accessDenied", "Permission bigquery.jobs.create denied"));
    sandbox.connect("warehouse", &stub.endpoint()).await;
    let _operator = sandbox.operator();
    sandbox.await_connection("warehouse", "PermissionDenied").await;
    let run = okr(&sandbox, &["doctor"]).await;
    assert_eq!(run.code, 1, "{}", run.out);
    assert!(run.out.contains("✔ definition OkrKeyResult: it is there, and that of this version"), "{}", run.out);
    let connection = format!("✘ connection {}/warehouse: PermissionDenied", sandbox.namespace);
    assert!(run.out.contains(&connection), "{}", run.out);
}

/// As a chart installs it; nothing here runs pods.
async fn deploy(sandbox: &Sandbox) {
    let labels = json!({"app.kubernetes.io/name": "okr-operator", "app.kubernetes.io/version": "1.4.0"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "okrs", "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"app": "okrs"}},
            "template": {
                "metadata": {"labels": {"app": "okrs"}},
                "spec": {"serviceAccountName": "keeper", "containers": [{"name": "operator", "image": "none"}]},
            },
        },
    });
    let parameters = PatchParams::apply("tests");
    sandbox.api::<Deployment>().patch("okrs", &parameters, &Patch::Apply(&deployment)).await.unwrap();
}

#[tokio::test]
async fn a_doctor_looks_at_the_operator_and_its_rights() {
    let sandbox = sandbox("operator").await;
    deploy(&sandbox).await;
    sandbox.apply::<OkrKeyResult>("leads", checked_in("grow", 30)).await;
    let run = okr(&sandbox, &["doctor", "--operator-namespace", &sandbox.namespace]).await;
    let namespace = &sandbox.namespace;
    assert_eq!(run.code, 1, "{}", run.out);
    for part in [
        format!("✘ operator {namespace}/okrs: it is of version 1.4.0"),
        format!("✘ operator {namespace}/okrs: 0 of 1 replicas are ready"),
        format!("✘ rights of {namespace}/keeper: it may not "),
        "update okrkeyresults/status".to_owned(),
    ] {
        assert!(run.out.contains(&part), "{part}: {}", run.out);
    }
    let may = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let kinds = ["okrkeyresults", "okrobjectives", "bigqueryconnections"];
    let statuses = ["okrkeyresults/status", "okrobjectives/status", "bigqueryconnections/status"];
    let rules = json!([
        may("okr-operator.dev", &kinds, &["list", "watch"]),
        may("okr-operator.dev", &statuses, &["update"]),
        may("events.k8s.io", &["events"], &["create"]),
    ]);
    sandbox.allow_everywhere(&format!("system:serviceaccount:{namespace}:keeper"), rules).await;
    await_some("the rights are known", || async {
        let run = okr(&sandbox, &["doctor", "--operator-namespace", namespace]).await;
        run.out.contains(&format!("✔ rights of {namespace}/keeper")).then_some(())
    })
    .await;
}

/// `okr-operator doctor`, as `helm test` runs it: what others wrote is told, and is no fault of the installation.
#[tokio::test]
async fn an_installation_that_looks_at_itself_is_not_failed_by_a_key_result() {
    let sandbox = sandbox("examined").await;
    let _operator = sandbox.operator();
    sandbox.apply::<OkrKeyResult>("lost", json!({
        "title": "Lost", "measure": {"baseline": {}}, "bigQuery": {"query": "SELECT 1", "connectionRef": {"name": "nowhere"}},
    })).await;
    sandbox.await_reason("lost", "ConnectionNotFound").await;
    let examine = async || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_okr-operator"));
        command.args(["doctor", "--operator-namespace", &sandbox.namespace]);
        tokio::task::spawn_blocking(move || Run::from(command.output().unwrap())).await.unwrap()
    };
    let run = examine().await;
    assert!(run.code == 1 && run.out.contains("✘ operator: no Deployment with the label"), "{}", run.out);
    deploy(&sandbox).await;
    let account = format!("system:serviceaccount:{}:keeper", sandbox.namespace);
    let every = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    sandbox.allow_everywhere(&account, every).await;
    // Nothing runs pods here: what a kubelet would say of it.
    sandbox.token("keeper").await;
    let pod = await_some("its pod is there", || async {
        let pods = sandbox.api::<Pod>().list(&ListParams::default().labels("app=okrs")).await.unwrap();
        pods.items.into_iter().next()
    })
    .await;
    let runs = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    let parameters = PatchParams::default();
    sandbox.api::<Pod>().patch_status(&pod.name_any(), &parameters, &Patch::Merge(runs)).await.unwrap();
    let run =
        await_some("all of the installation is well", || async { Some(examine().await).filter(|run| run.code == 0) });
    let run = run.await;
    assert!(run.out.contains("ConnectionNotFound"), "{}", run.out);
}

#[tokio::test]
async fn the_dashboard_is_reached_through_kubectl() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = sandbox("forward").await;
    let namespace = sandbox.namespace.clone();
    let run = okr(&sandbox, &["dashboard", "--no-open", "--operator-namespace", &namespace]).await;
    assert!(run.code == 2 && run.err.contains("no Deployment with the label"), "{}", run.err);
    deploy(&sandbox).await;
    // One that says what it was asked for, and that it forwards.
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&namespace);
    std::fs::create_dir_all(&folder).unwrap();
    let kubectl = folder.join("kubectl");
    let script = "#!/bin/sh\necho \"$@\" >&2\necho 'Forwarding from 127.0.0.1:40123 -> 8081'\necho 'Handling connection for 40123'\n";
    std::fs::write(&kubectl, script).unwrap();
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = program();
    command.args(["dashboard", "--no-open", "--operator-namespace", &namespace]).env("PATH", &folder);
    let run: Run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap().into();
    assert_eq!(run.code, 0, "{}", run.err);
    let asked = format!("port-forward --address 127.0.0.1 -n {namespace} deployment/okrs :8081");
    assert!(run.err.contains(&asked), "{}", run.err);
    assert!(run.out.contains("is at http://127.0.0.1:40123/ until"), "{}", run.out);

    let container = json!([{"name": "operator", "image": "none", "args": ["run", "--dashboard-address=off"]}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": container}}}});
    sandbox.api::<Deployment>().patch("okrs", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let run = okr(&sandbox, &["dashboard", "--no-open", "--operator-namespace", &namespace]).await;
    assert!(run.code == 2 && run.err.contains("serves no dashboard"), "{}", run.err);
}
