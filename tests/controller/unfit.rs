//! Clusters that the operator cannot work in: it says which, and what to do.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
};

/// An API server of Kubernetes 1.`minor` that answers everything but its version with `code`; its kubeconfig.
async fn api_server(minor: &str, code: u16) -> std::path::PathBuf {
    let version = json!({
        "major": "1", "minor": minor, "gitVersion": format!("v1.{minor}.7"), "gitCommit": "", "gitTreeState": "", "buildDate": "",
        "goVersion": "", "compiler": "", "platform": "",
    });
    let refusal = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "No", "code": code});
    let status = StatusCode::from_u16(code).unwrap();
    let router = Router::new()
        .route("/version", get(move || async move { ([(CONTENT_TYPE, "application/json")], version.to_string()) }));
    let router =
        router.fallback(move || async move { (status, [(CONTENT_TYPE, "application/json")], refusal.to_string()) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "it", "user": {}}],
    });
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("unfit-{minor}-{code}.kubeconfig"));
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    file
}

fn operator(kubeconfig: &Path) -> tokio::process::Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_okr-operator"));
    command.args(["run", "--metrics-address=127.0.0.1:0", "--dashboard-address=off", "--log-format=json"]);
    command.env("KUBECONFIG", kubeconfig).stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    command
}

#[tokio::test]
async fn one_that_is_too_old_is_refused_at_once() {
    for minor in ["32", "30+"] {
        let output = operator(&api_server(minor, 404).await).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let want = format!("the API server is Kubernetes v1.{minor}.7, and okr-operator needs 1.33 or later");
        assert!(said.contains(&want), "{said}");
    }
}

#[tokio::test]
async fn one_without_the_definitions_or_the_rights_is_waited_for_and_said() {
    for (code, want) in [
        (404, "the cluster has no such kind, install the definitions"),
        (403, "the operator's ServiceAccount needs a ClusterRole"),
    ] {
        let mut operator = operator(&api_server("33+", code).await).spawn().unwrap();
        let mut log = BufReader::new(operator.stderr.take().unwrap()).lines();
        let told = async {
            loop {
                let line = log.next_line().await.unwrap().expect("it does not end");
                let line: Value = serde_json::from_str(&line).unwrap();
                if line["fields"]["message"].as_str().is_some_and(|message| message.contains(want)) {
                    return line["fields"]["kind"].as_str().map(str::to_owned);
                }
            }
        };
        let kind = tokio::time::timeout(std::time::Duration::from_secs(20), told).await.expect(want);
        assert!(kind.is_some(), "it says of which kind");
        assert!(operator.try_wait().unwrap().is_none(), "it waits");
    }
}
