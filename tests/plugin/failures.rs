//! What is said, and the exit code, where nothing can be found out.

use std::path::PathBuf;

use okr_operator::api::OkrKeyResult;
use serde_json::{Value, json};

use crate::{
    Run, checked_in, okr, program,
    support::cluster::{await_some, sandbox},
};

/// Runs the program with a kubeconfig of the test's own.
fn with_kubeconfig(name: &str, kubeconfig: &Value, arguments: &[&str]) -> Run {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.kubeconfig"));
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    program().args(arguments).arg("--kubeconfig").arg(&file).output().unwrap().into()
}

pub fn kubeconfig(server: &str, user: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    })
}

#[test]
fn without_a_cluster_it_says_which_one_it_tried() {
    let run = with_kubeconfig("nowhere", &kubeconfig("http://127.0.0.1:9", &json!({})), &["list"]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("the cluster at http://127.0.0.1:9 cannot be reached"), "{}", run.err);
    let run: Run =
        program().args(["list"]).env("KUBECONFIG", "/nonexistent").env("HOME", "/nonexistent").output().unwrap().into();
    assert_eq!(run.code, 2);
    assert!(run.err.contains("no cluster is configured: set KUBECONFIG"), "{}", run.err);
    let run =
        with_kubeconfig("context", &kubeconfig("http://127.0.0.1:9", &json!({})), &["list", "--context", "other"]);
    assert!(run.code == 2 && run.err.contains("the kubeconfig has no context other"), "{}", run.err);
    let run: Run = program().args(["list", "--kubeconfig", "/nonexistent"]).output().unwrap().into();
    assert!(run.code == 2 && run.err.contains("the kubeconfig cannot be used: failed to read"), "{}", run.err);
    assert_eq!(run.err.matches("os error 2").count(), 1, "{}", run.err);
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("broken.kubeconfig");
    std::fs::write(&file, "users:\n- name: u\n  user:\n    token: s3cret\n  x: [\n").unwrap();
    let run: Run = program().args(["list", "--kubeconfig"]).arg(&file).output().unwrap().into();
    assert!(run.code == 2 && run.err.contains("see its line 5, column 6"), "{}", run.err);
    assert!(!run.err.contains("s3cret"), "{}", run.err);
    for namespace in ["a b", "../a", "A", "-"] {
        let run: Run = program().args(["list", &format!("--namespace={namespace}")]).output().unwrap().into();
        assert!(run.code == 2 && run.err.contains("a namespace has a name of lower-case letters"), "{}", run.err);
    }
}

/// An API server that answers every request like this.
fn answering(code: u16, body: &Value) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = body.to_string();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let head = format!(
                "HTTP/1.1 {code} x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    format!("http://{address}")
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "code": code,
        "message": "the server could not find the requested resource", "details": {}})
}

#[test]
fn a_cluster_without_our_kinds_is_told_from_one_that_does_not_know_us() {
    let server = answering(404, &status(404, "NotFound"));
    let run = with_kubeconfig("kinds", &kubeconfig(&server, &json!({})), &["list"]);
    assert!(
        run.code == 2 && run.err.contains("the cluster has no OkrObjective: install the definitions"),
        "{}",
        run.err
    );
    let server = answering(401, &status(401, "Unauthorized"));
    let run = with_kubeconfig("unknown", &kubeconfig(&server, &json!({})), &["list"]);
    assert!(run.code == 2 && run.err.contains("does not know who you are"), "{}", run.err);
    let server = answering(503, &status(503, "ServiceUnavailable"));
    let run = with_kubeconfig("busy", &kubeconfig(&server, &json!({})), &["list"]);
    assert_eq!(run.code, 2, "{}", run.err);
}

#[tokio::test]
async fn who_may_not_list_is_told_what_to_ask_for() {
    let sandbox = sandbox("forbidden").await;
    let token = sandbox.token("nobody").await;
    let cluster = kube::Config::infer().await.unwrap();
    let file = std::fs::read_to_string(std::env::var("KUBECONFIG").unwrap()).unwrap();
    let mut kubeconfig: Value = serde_saphyr::from_str(&file).unwrap();
    kubeconfig["users"][0]["user"] = json!({"token": token});
    let namespace = sandbox.namespace.clone();
    let runs = tokio::task::spawn_blocking(move || {
        [
            with_kubeconfig("nobody", &kubeconfig, &["list", "-n", &namespace]),
            with_kubeconfig("nobody-all", &kubeconfig, &["list", "-A"]),
        ]
    });
    let [one, all] = runs.await.unwrap();
    assert_eq!((one.code, all.code), (2, 2));
    let want = format!("you may not list okrobjectives in namespace {}", sandbox.namespace);
    assert!(one.err.contains(&want), "{}", one.err);
    assert!(all.err.contains("in all namespaces: ask for that right, or name a namespace with -n"), "{}", all.err);
    assert!(!one.err.contains(&token) && !all.err.contains(&token), "{} is not for anybody", cluster.cluster_url);
}

/// kube's own words quote what a login program printed.
#[test]
fn a_login_program_that_fails_shows_no_token() {
    for (name, script, want) in [
        ("login-fails", "echo s3cret; exit 3", "the login program of the kubeconfig (exec) ended with exit status: 3"),
        ("login-talks", "echo 'a new version is out'; echo '{\"token\": \"s3cret\"'", "is no ExecCredential"),
    ] {
        let exec = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
            "interactiveMode": "Never"}});
        let run = with_kubeconfig(name, &kubeconfig("https://127.0.0.1:9", &exec), &["list"]);
        assert!(run.code == 2 && run.err.contains(want), "{}", run.err);
        assert!(!run.err.contains("s3cret"), "{}", run.err);
    }
}

#[test]
fn what_is_no_answer_is_told_from_no_answer() {
    let server = answering(200, &json!("<html>Sign in</html>"));
    let run = with_kubeconfig("proxy", &kubeconfig(&server, &json!({})), &["list"]);
    assert!(run.code == 2 && run.err.contains("is there a proxy in between?"), "{}", run.err);
}

/// As Kubernetes grants one object: by its name, for whoever asks for no more.
#[tokio::test]
async fn who_may_see_one_object_is_shown_that_one() {
    let sandbox = sandbox("one").await;
    sandbox.apply::<OkrKeyResult>("leads", checked_in("grow", 30)).await;
    let token = sandbox.token("reader").await;
    let rules = json!([{"apiGroups": ["okr-operator.dev"], "resources": ["okrkeyresults"], "resourceNames": ["leads"], "verbs": ["list"]}]);
    sandbox.allow(&format!("system:serviceaccount:{}:reader", sandbox.namespace), rules).await;
    let file = std::fs::read_to_string(std::env::var("KUBECONFIG").unwrap()).unwrap();
    let mut kubeconfig: Value = serde_saphyr::from_str(&file).unwrap();
    kubeconfig["users"][0]["user"] = json!({"token": token});
    let run = async |name: &'static str, arguments: &[&'static str]| {
        let (kubeconfig, namespace) = (kubeconfig.clone(), sandbox.namespace.clone());
        let arguments = arguments.to_vec();
        let run = move || with_kubeconfig(name, &kubeconfig, &[arguments, vec!["-n", &namespace]].concat());
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    let shown = await_some("the right is known", || async {
        Some(run("one", &["describe", "kr/leads"]).await).filter(|run| run.code == 0)
    });
    assert!(shown.await.out.contains("leads"));
    // Of a bare name's two kinds one may be looked at, and has it.
    assert_eq!(run("one-bare", &["describe", "leads"]).await.code, 0);
    let other = run("one-other", &["describe", "others"]).await;
    assert!(other.code == 2 && other.err.contains("you may not list"), "{}", other.err);
    let run = run("one-all", &["list"]).await;
    assert!(run.code == 2 && run.err.contains("you may not list"), "{}", run.err);
}

#[tokio::test]
async fn an_empty_namespace_and_an_unknown_name_are_told() {
    let sandbox = sandbox("empty").await;
    let run = okr(&sandbox, &["list"]).await;
    assert_eq!((run.code, run.out.as_str()), (0, ""), "{}", run.err);
    assert!(run.err.contains("There are no objectives or key results in namespace"), "{}", run.err);
    let run = okr(&sandbox, &["describe", "nothing"]).await;
    assert!(run.code == 2 && run.err.contains("there is no key result or objective nothing"), "{}", run.err);
    let run = okr(&sandbox, &["describe", "a,metadata.name=b"]).await;
    assert!(run.code == 2 && run.err.contains("there is no key result or objective a,metadata.name=b"), "{}", run.err);
    let run = okr(&sandbox, &["chart", "pod/nothing"]).await;
    assert!(run.code == 2 && run.err.contains("write keyresult/NAME or objective/NAME"), "{}", run.err);
}
