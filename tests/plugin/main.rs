//! `kubectl okr` as a program, against a real API server.

#[path = "../support/mod.rs"]
mod support;

mod completing;
mod docs;
mod failures;
mod shown;
mod syncs;

use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{cluster::Sandbox, examples::day};

/// What a run of the program came to.
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_kubectl-okr"))
}

/// Runs the program in the sandbox's namespace. It may take a while, and what it asks for is answered by tasks of the test.
async fn okr(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let mut command = program();
    command.args(arguments).args(["-n", &sandbox.namespace]);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap().into()
}

/// From so many days ago to so many from now.
fn period(start: i64, end: i64) -> Value {
    json!({"startDate": day(start).to_string(), "endDate": day(end).to_string()})
}

/// A key result of `objective` with a value in percent that somebody checked in today.
fn checked_in(objective: &str, value: u32) -> Value {
    json!({
        "objectiveRef": {"name": objective}, "measure": {"percent": {}}, "period": period(-50, 50), "owner": "sales-team",
        "manual": {"value": value, "asOf": day(0).to_string()},
    })
}
