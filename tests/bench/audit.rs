//! The calls that the API server took, from its own record.

use std::{
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::Value;

/// A place in the audit log.
#[derive(Debug, Clone, Copy)]
pub struct Mark(u64);

/// One call.
#[derive(Debug)]
pub struct Call {
    pub verb: String,
    /// Such as `okrkeyresults/status`.
    pub resource: String,
    pub code: i64,
    /// When it was answered.
    pub at: Timestamp,
}

impl Call {
    pub fn is_key_result_write(&self) -> bool {
        self.verb == "update" && self.resource == "okrkeyresults/status" && self.code == 200
    }
}

/// The end of the log as it is now.
pub fn mark() -> Mark {
    Mark(log().metadata().expect("the audit log's length").len())
}

/// What was answered in `namespace` since `mark`, in order.
pub fn since(mark: Mark, namespace: &str) -> Vec<Call> {
    let mut log = log();
    log.seek(SeekFrom::Start(mark.0)).expect("a place in the audit log");
    let lines = BufReader::new(log).lines().map_while(Result::ok);
    let events = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let mut calls: Vec<Call> =
        events.filter(|event| event["objectRef"]["namespace"] == namespace).filter_map(|event| call(&event)).collect();
    calls.sort_by_key(|call| call.at);
    calls
}

/// Waits until all key results of `namespace` have been sent to whoever began to list them after `mark`: only then it watches
/// for changes. How idle it seems until then says nothing.
pub async fn until_listed(mark: Mark, namespace: &str) {
    let watches = |call: &Call| call.verb == "watch" && call.resource == "okrkeyresults";
    let deadline = Instant::now() + Duration::from_secs(300);
    while !since(mark, namespace).iter().any(watches) {
        assert!(Instant::now() < deadline, "the key results of {namespace} were not listed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The rate of the calls from the first to the last, per second.
pub fn rate(calls: &[&Call]) -> f64 {
    let (Some(first), Some(last)) = (calls.first(), calls.last()) else { return 0.0 };
    (calls.len() - 1) as f64 / last.at.duration_since(first.at).as_secs_f64()
}

fn call(event: &Value) -> Option<Call> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let resource = match object["subresource"].as_str() {
        Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
        None => text(&object["resource"]),
    };
    Some(Call {
        verb: text(&event["verb"]),
        resource,
        code: event["responseStatus"]["code"].as_i64().unwrap_or_default(),
        at: event["stageTimestamp"].as_str()?.parse().ok()?,
    })
}

fn log() -> File {
    let path = std::env::var("OKR_AUDIT_LOG").expect("the API server's audit log: run `make bench`");
    File::open(path).expect("the audit log")
}
