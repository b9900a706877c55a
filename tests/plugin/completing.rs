//! Names from the cluster, in the middle of a line.

use std::{
    net::TcpListener,
    path::PathBuf,
    time::{Duration, Instant},
};

use okr_operator::api::{OkrKeyResult, OkrObjective};
use serde_json::json;

use crate::{
    Run, checked_in,
    failures::kubeconfig,
    period, program,
    support::cluster::{Sandbox, sandbox},
};

/// What is offered for the last of `words`, a line each.
async fn offered(sandbox: &Sandbox, words: &[&str]) -> String {
    let mut command = program();
    command.args(["__complete", "--", "-n", &sandbox.namespace]).args(words);
    let run: Run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap().into();
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    run.out
}

#[tokio::test]
async fn names_of_the_cluster_are_offered_where_a_command_takes_them() {
    let sandbox = sandbox("complete").await;
    sandbox.apply::<OkrObjective>("leadership", json!({"period": period(-50, 50), "title": "Lead"})).await;
    for name in ["leads", "partners"] {
        sandbox.apply::<OkrKeyResult>(name, checked_in("leadership", 30)).await;
    }
    assert_eq!(offered(&sandbox, &["describe", "l"]).await, "leads\tkey result\nleadership\tobjective\n:4\n");
    assert_eq!(offered(&sandbox, &["chart", "leads", "kr/p"]).await, "kr/partners\tkey result\n:4\n");
    assert_eq!(offered(&sandbox, &["refresh", "objective/"]).await, "objective/leadership\tobjective\n:4\n");
    assert_eq!(offered(&sandbox, &["describe", "pod/"]).await, ":4\n");

    // A shell's own script asks through the environment.
    let mut command = program();
    command.env("KUBECTL_OKR_COMPLETE", "fish").args(["--", "kubectl-okr", "-n", &sandbox.namespace, "describe", "p"]);
    let run: Run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap().into();
    assert_eq!((run.code, run.out.as_str()), (0, "partners\tkey result\n"), "{}", run.err);
}

#[test]
fn a_cluster_that_does_not_answer_offers_nothing_and_is_not_waited_for() {
    // Connections are taken, and nobody says a word.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("silent.kubeconfig");
    std::fs::write(&file, kubeconfig(&server, &json!({})).to_string()).unwrap();
    let began = Instant::now();
    let mut command = program();
    let run: Run =
        command.args(["__complete", "--", "--kubeconfig"]).arg(&file).args(["describe", "l"]).output().unwrap().into();
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, ":4\n", ""));
    // Nor is a login program, which may never end.
    let exec = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sleep", "args": ["20"]}});
    std::fs::write(&file, kubeconfig("https://127.0.0.1:9", &exec).to_string()).unwrap();
    let mut command = program();
    let run: Run =
        command.args(["__complete", "--", "--kubeconfig"]).arg(&file).args(["describe", "l"]).output().unwrap().into();
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, ":4\n", ""));
    // It gives up after a second; the machine may be busy.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
