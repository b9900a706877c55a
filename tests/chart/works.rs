//! What `helm test` runs, and a release from its beginning to its end. That the operator's own rights are enough, and none too
//! many, is `tests/rbac.rs`.

use std::process::Command;

use serde_json::json;

use crate::{CHART, accepted::prepare, apply, documents, helm::kubeconfig, must, root};

/// What `helm test` runs, with the rights of its pod.
#[test]
fn the_doctor_of_the_test_may_look_at_everything() {
    prepare();
    let namespace = "chart-doctor";
    apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}).to_string());
    let settings = "crds.enabled=false,userRoles.enabled=false";
    let rendered = must("helm", &["template", namespace, CHART, "--namespace", namespace, "--set", settings], "");
    let rendered = documents(&rendered).into_iter().filter(|(_, object)| object["kind"] != "Pod");
    apply(&rendered.map(|(text, _)| text).collect::<Vec<_>>().join("\n---\n"));
    let name = format!("{namespace}-okr-operator");
    let config = kubeconfig(namespace, &format!("{name}-test"));
    let doctor = Command::new(env!("CARGO_BIN_EXE_okr-operator"))
        .args(["doctor", "--operator-namespace", namespace, "--lease-name", &name])
        .env("KUBECONFIG", config)
        .output();
    let told = String::from_utf8(doctor.unwrap().stdout).unwrap();
    // What may not be looked at is not known, and begins with this sign.
    assert!(!told.lines().any(|line| line.starts_with('?')), "{told}");
    // The pods of this API server run nowhere.
    for known in [
        "✔ definition OkrKeyResult: ".to_owned(),
        format!("✘ operator {namespace}/{name}: 0 of 1 replicas are ready"),
        format!("✔ rights of {namespace}/{name}: "),
    ] {
        assert!(told.lines().any(|line| line.starts_with(&known)), "no {known:?} in:\n{told}");
    }
}

/// Nothing runs its pods here: that they work is for a cluster with nodes to say.
#[test]
fn a_release_is_installed_upgraded_and_uninstalled_and_the_definitions_stay() {
    prepare();
    let release = ["kept", "--namespace=chart-release", "--set=userRoles.enabled=false"];
    let with = |verb: &str, more: &[&str]| must("helm", &[&[verb, release[0], release[1]], more].concat(), "");
    // The tests beside this one have made the definitions already.
    with("install", &[CHART, release[2], "--create-namespace", "--take-ownership"]);
    let upgraded = with("upgrade", &[CHART, release[2], "--set=replicas=2"]);
    assert!(upgraded.contains("The next three commands"), "{upgraded}");
    let names = ["get", "deployment,service,poddisruptionbudget,role", "--namespace=chart-release", "-o", "name"];
    let there = must("kubectl", &names, "");
    assert_eq!(there.lines().count(), 4, "{there}");
    with("uninstall", &[]);
    let gone = must("kubectl", &names, "");
    assert_eq!(gone, "", "uninstalling leaves nothing else");
    for file in std::fs::read_dir(root().join("crds")).unwrap() {
        must("kubectl", &["get", "-f", file.unwrap().path().to_str().unwrap()], "");
    }
}
