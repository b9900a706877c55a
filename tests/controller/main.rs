//! The operator at work: a real API server, a real BigQuery server where it can say a thing, a stub where it cannot.

#[path = "../support/mod.rs"]
mod support;

mod connections;
mod examples;
mod failures;
mod identities;
mod metrics;
mod objectives;
mod process;
mod races;
mod selection;
mod syncing;
mod unfit;

use serde_json::{Value, json};
use support::{
    bigquery_stub::Stub,
    cluster::stubbed,
    examples::{day, emulator},
};

/// A service account key whose tokens come from the stub.
fn key_file(stub: &Stub) -> Vec<u8> {
    stub.key_file(&rsa_key())
}

/// An RSA key in PEM form.
fn rsa_key() -> String {
    let path = std::env::var("OKR_RSA_KEY").expect("an RSA key in PEM form: run `make test`");
    std::fs::read_to_string(path).unwrap()
}

/// A connection whose service account key is entry `key.json` of Secret `google`.
fn with_key(stub: &Stub) -> Value {
    json!({
        "projectId": "demo", "endpoint": stub.endpoint(),
        "credentials": {"serviceAccountKey": {"secretRef": {"name": "google", "key": "key.json"}}},
    })
}

/// A key result to reach 100 in a period that is half over.
fn reach(query: &str) -> Value {
    json!({"measure": {"reach": {"target": 100}}, "period": period(-50, 50), "bigQuery": {"query": query}})
}

/// The same once a week: hardly ever does a slot fall into a test and ask anew.
fn seldom(query: &str) -> Value {
    let mut spec = reach(query);
    spec["interval"] = json!("168h");
    spec
}

/// The patch that asks for a sync.
fn refresh(value: &str) -> Value {
    json!({"metadata": {"annotations": {"okr-operator.dev/refresh": value}}})
}

/// From so many days ago to so many from now.
fn period(start: i64, end: i64) -> Value {
    json!({"startDate": day(start).to_string(), "endDate": day(end).to_string()})
}

/// How often a query was run, dry runs aside.
fn runs(stub: &Stub, sql: &str) -> usize {
    calls(stub, "jobs.query", |body| body["query"] == sql)
}

/// How often a query was checked by a dry run.
fn dry_runs(stub: &Stub, sql: &str) -> usize {
    calls(stub, "jobs.insert", |body| body["configuration"]["query"]["query"] == sql)
}

fn calls(stub: &Stub, call: &str, concerned: impl Fn(&Value) -> bool) -> usize {
    stub.requests().iter().filter(|request| request.call == call && concerned(&request.body)).count()
}

#[expect(clippy::disallowed_methods, reason = "a test of the running operator shares its clock")]
fn seconds_ago(time: &okr_operator::api::Time) -> i64 {
    jiff::Timestamp::now().duration_since(time.0).as_secs()
}
