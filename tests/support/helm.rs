//! helm and kubectl, and what they say of the chart.

#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this")]

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

pub const CHART: &str = "charts/okr-operator";

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a program writes to standard output, or to standard error where it fails.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let command = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = command.unwrap_or_else(|error| panic!("{program} is on PATH: run `make test` ({error})"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A program that ends early reads no more; what it says is the better error.
    let feed = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    if output.status.success() { Ok(out) } else { Err(format!("{err}{out}")) }
}

#[track_caller]
pub fn must(program: &str, arguments: &[&str], input: &str) -> String {
    run(program, arguments, input).unwrap_or_else(|said| panic!("{program} {}: {said}", arguments.join(" ")))
}

/// What `helm template` makes of the chart with values from a file, and with more as `--set` takes them.
pub fn render(arguments: &[&str]) -> Result<String, String> {
    let template = ["template", "okr-operator", CHART, "--namespace=okr-system", "--kube-version=1.33.0"];
    run("helm", &[&template, arguments].concat(), "")
}

pub fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// The documents of a stream of YAML, with their text.
pub fn documents(stream: &str) -> Vec<(String, Value)> {
    let documents = format!("\n{stream}");
    let parsed = documents.split("\n---\n").map(|text| (text.trim().to_owned(), yaml(text)));
    parsed.filter(|(_, object)| object.is_object()).collect()
}

pub fn objects(stream: &str) -> Vec<Value> {
    documents(stream).into_iter().map(|(_, object)| object).collect()
}

pub fn is_hook(object: &Value) -> bool {
    object["metadata"]["annotations"]["helm.sh/hook"].is_string()
}

pub fn apply(manifest: &str) {
    // As the other tests that share this API server.
    let arguments = ["apply", "--server-side", "--force-conflicts", "--field-manager=tests", "-f", "-"];
    must("kubectl", &arguments, manifest);
}

/// A kubeconfig with a token of the ServiceAccount, whose namespace is its own as in a pod.
pub fn kubeconfig(namespace: &str, account: &str) -> String {
    let token = must("kubectl", &["create", "token", account, "--namespace", namespace], "");
    let config = must("kubectl", &["config", "view", "--raw", "--minify", "-o", "json"], "");
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    config["contexts"][0]["context"]["namespace"] = json!(namespace);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{namespace}.kubeconfig"));
    std::fs::write(&file, config.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}
