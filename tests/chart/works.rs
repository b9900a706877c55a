//! The operator at work with the arguments and the rights that the chart gives it, and a release from its beginning to its end.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    CHART,
    accepted::{apply, prepare},
    documents, must, root, run, text,
};

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A kubeconfig with a token of the ServiceAccount, whose namespace is its own as in a pod.
fn kubeconfig(namespace: &str, account: &str) -> String {
    let token = must("kubectl", &["create", "token", account, "--namespace", namespace], "");
    let config = must("kubectl", &["config", "view", "--raw", "--minify", "-o", "json"], "");
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    config["contexts"][0]["context"]["namespace"] = json!(namespace);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{namespace}.kubeconfig"));
    std::fs::write(&file, config.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

/// `settings`: as `--set` takes them; `more` is checked while it runs, and gets its log.
fn check_works(namespace: &str, settings: &str, more: impl Fn(&str)) {
    prepare();
    apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}).to_string());
    let settings = format!("crds.enabled=false,userRoles.enabled=false,allowedEndpoints={{127.0.0.1}},{settings}");
    let template = ["template", namespace, CHART, "--namespace", namespace, "--skip-tests", "--set", &settings];
    let rendered = documents(&must("helm", &template, ""));
    let (deployments, others): (Vec<_>, Vec<_>) =
        rendered.into_iter().partition(|(_, object)| object["kind"] == "Deployment");
    apply(&others.into_iter().map(|(text, _)| text).collect::<Vec<_>>().join("\n---\n"));
    let pod = &deployments[0].1["spec"]["template"]["spec"];
    let arguments = pod["containers"][0]["args"].as_array().unwrap().iter().map(|argument| match text(argument) {
        argument if argument.starts_with("--metrics-address=") => "--metrics-address=127.0.0.1:0",
        argument if argument.starts_with("--dashboard-address=") => "--dashboard-address=127.0.0.1:0",
        argument => argument,
    });
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{namespace}.log"));
    let operator = Command::new(env!("CARGO_BIN_EXE_okr-operator"))
        .args(arguments)
        .env("KUBECONFIG", kubeconfig(namespace, text(&pod["serviceAccountName"])))
        .stderr(std::fs::File::create(&log).unwrap())
        .stdout(Stdio::null())
        .spawn();
    let _operator = Process(operator.unwrap());

    let endpoint = std::env::var("OKR_BIGQUERY_ENDPOINT").expect("a BigQuery server: run `make test`");
    let object = |kind: &str, name: &str, spec: Value| {
        let metadata = json!({"name": name, "namespace": namespace});
        apply(
            &json!({"apiVersion": "okr-operator.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
                .to_string(),
        );
    };
    let none = json!({"projectId": "demo", "endpoint": endpoint, "credentials": {"none": {}}, "default": true});
    object("BigQueryConnection", "works", none);
    let secret = json!({"serviceAccountKey": {"secretRef": {"name": "key", "key": "key.json"}}});
    object("BigQueryConnection", "keyed", json!({"projectId": "demo", "credentials": secret}));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": namespace}, "stringData": {"key.json": "{}"},
    });
    apply(&secret.to_string());
    let measure = json!({
        "title": "One", "measure": {"stayAbove": {"target": 40}}, "bigQuery": {"query": "SELECT 42"},
    });
    object("OkrKeyResult", "one", measure);
    let objective = json!({"title": "All", "statusFrom": "KeyResults"});
    object("OkrObjective", "all", objective);

    let told = || std::fs::read_to_string(&log).unwrap();
    let wait = |what: &str, condition: &str| {
        let wait = ["wait", what, &format!("--for=jsonpath={condition}"), "--timeout=90s", "--namespace", namespace];
        run("kubectl", &wait, "").unwrap_or_else(|said| panic!("{what}: {said}\n{}", told()));
    };
    wait("okrkr/one", "{.status.value}=42");
    wait("okrobj/all", "{.status.conditions[?(@.type==\"Ready\")].reason}=NoKeyResults");
    // It read the Secret, and what is in it is no key.
    wait("bqc/keyed", "{.status.conditions[?(@.type==\"Ready\")].reason}=CredentialsInvalid");
    // An event of the transition, which is told after it.
    let event =
        ["wait", "events.events.k8s.io", "--for=create", "--field-selector=regarding.name=keyed", "--timeout=60s"];
    run("kubectl", &[&event[..], &["--namespace", namespace]].concat(), "")
        .unwrap_or_else(|said| panic!("no event: {said}\n{}", told()));
    more(&told());
    // As the API server says it of who has no right.
    assert!(!told().contains(" cannot "), "{}", told());
}

#[test]
fn the_rights_of_a_cluster_are_enough() {
    check_works("chart-cluster", "replicas=1", |_| {});
}

#[test]
fn the_rights_of_an_exposed_dashboard_are_enough() {
    let settings = "dashboard.expose.enabled=true,dashboard.expose.hosts={okr.example.com}";
    check_works("chart-exposed", settings, |log| {
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let url = lines.map(|line| line["fields"]["url"].clone()).find(Value::is_string).expect("it is served");
        let url = format!("{}api/v1/keyresults", text(&url));
        let ask =
            |more: &[&str]| must("curl", &[&["--silent", "--write-out", "%{http_code}", &url], more].concat(), "");
        let refused = ask(&[]);
        assert!(refused.ends_with("401"), "{refused}");
        let token =
            must("kubectl", &["create", "token", "chart-exposed-okr-operator", "--namespace=chart-exposed"], "");
        let shown = ask(&["--header", &format!("Authorization: Bearer {}", token.trim())]);
        assert!(shown.ends_with("200") && shown.contains("chart-exposed"), "{shown}");
    });
}

#[test]
fn the_rights_of_namespaces_are_enough() {
    check_works("chart-namespaces", "scope=Namespaces,watchNamespaces={chart-namespaces}", |_| {});
}

#[test]
fn secrets_of_some_namespaces_are_enough() {
    check_works("chart-secrets", "secrets.namespaces={chart-secrets}", |_| {});
}

/// What `helm test` runs, with the rights of its pod; only what the person at a terminal may do is not for it to have.
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
    let doctor = Command::new(env!("CARGO_BIN_EXE_kubectl-okr"))
        .args(["doctor", "--operator-namespace", namespace, "--lease-name", &name])
        .env("KUBECONFIG", config)
        .output();
    let told = String::from_utf8(doctor.unwrap().stdout).unwrap();
    // What may not be looked at is not known, and begins with this sign. There may be no connections yet.
    let expected = ["? your rights: you may not patch", "? connections: there are none"];
    let is_expected = |line: &str| expected.iter().any(|expected| line.starts_with(expected));
    assert!(told.lines().filter(|line| line.starts_with('?')).all(is_expected), "{told}");
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
