//! What `helm test` runs, and a release from its beginning to its end. That the operator's own rights are enough, and none too
//! many, is `tests/rbac.rs`.

use std::process::Command;

use serde_json::json;

use crate::{CHART, accepted::prepare, apply, documents, helm::kubeconfig, must, root, text};

/// What `helm test` runs, with the rights of its pod: the release `namespace` in a namespace of the same name.
fn examine(namespace: &str, settings: &str) -> String {
    let settings = format!("crds.enabled=false,userRoles.enabled=false,{settings}");
    let rendered = must("helm", &["template", namespace, CHART, "--namespace", namespace, "--set", &settings], "");
    let rendered = documents(&rendered);
    let (pods, others): (Vec<_>, Vec<_>) = rendered.iter().partition(|(_, object)| object["kind"] == "Pod");
    apply(&others.into_iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join("\n---\n"));
    let (_, pod) = pods.into_iter().next().expect("a pod");
    let arguments = pod["spec"]["containers"][0]["args"].as_array().unwrap().iter().map(text);
    let config = kubeconfig(namespace, &format!("{namespace}-okr-operator-test"));
    let doctor =
        Command::new(env!("CARGO_BIN_EXE_okr-operator")).args(arguments).env("KUBECONFIG", config).output().unwrap();
    let told = String::from_utf8(doctor.stdout).unwrap();
    // What may not be looked at is not known, and begins with this sign.
    assert!(!told.lines().any(|line| line.starts_with('?')), "{told}");
    // The pods of this API server run nowhere.
    let idle = format!("✘ operator {namespace}/{namespace}-okr-operator: 0 of 1 replicas are ready");
    assert!(told.lines().any(|line| line == idle), "{told}");
    told
}

#[track_caller]
fn assert_tells(told: &str, begins: &str) {
    assert!(told.lines().any(|line| line.starts_with(begins)), "no {begins:?} in:\n{told}");
}

fn make_namespace(name: &str) {
    apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string());
}

#[test]
fn the_doctor_of_the_test_may_look_at_everything() {
    prepare();
    make_namespace("chart-doctor");
    let told = examine("chart-doctor", "scope=Cluster");
    assert_tells(&told, "✔ definition OkrKeyResult: it is there, and that of this version");
    assert_tells(&told, "✔ rights of chart-doctor/chart-doctor-okr-operator: ");
}

/// With no right beyond its namespaces, of which its own may be one.
#[test]
fn the_doctor_of_some_namespaces_looks_at_those() {
    prepare();
    let (own, other) = ("chart-doctor-of-some", "chart-doctor-other");
    make_namespace(own);
    make_namespace(other);
    let key_result = json!({
        "apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrKeyResult", "metadata": {"name": "leads", "namespace": other},
        "spec": {"title": "Leads", "measure": {"baseline": {}}, "manual": {"value": 5, "asOf": "2026-11-01"}},
    });
    apply(&key_result.to_string());
    let told = examine(own, &format!("scope=Namespaces,watchNamespaces={{{own},{other}}}"));
    assert_tells(&told, "• definition OkrKeyResult: it is there; whether it is that of this version");
    let rights = format!("✔ rights of {own}/{own}-okr-operator: ");
    assert_tells(&told, &rights);
    assert_tells(&told, "✔ numbers: 1 object, all read in time");

    must("kubectl", &["delete", "role", "--namespace", other, &format!("{own}-okr-operator")], "");
    let config = kubeconfig(own, &format!("{own}-okr-operator-test"));
    let doctor = Command::new(env!("CARGO_BIN_EXE_okr-operator"))
        .args(["doctor", "--operator-namespace", own])
        .env("KUBECONFIG", config)
        .output()
        .unwrap();
    let told = String::from_utf8(doctor.stdout).unwrap();
    let wrong = rights.replace('✔', "✘") + "it may not list okrkeyresults in namespace " + other;
    assert_tells(&told, &wrong);
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
