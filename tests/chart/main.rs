//! The chart: what it renders, what it refuses, and that real programs take it. Needs helm, kubectl and kubeconform on PATH and
//! an API server: `dev/launch run .cache/run/chart -- cargo test --test chart`.
//!
//! Each file of `values/` is a set of values; `snapshots/` has what it renders, written anew by `make install`.

mod accepted;
mod refused;
mod rendered;
mod works;
mod written;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use serde_json::Value;

const CHART: &str = "charts/okr-operator";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// What a program writes to standard output, or to standard error where it fails.
fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
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
fn must(program: &str, arguments: &[&str], input: &str) -> String {
    run(program, arguments, input).unwrap_or_else(|said| panic!("{program} {}: {said}", arguments.join(" ")))
}

/// What `helm template` makes of the chart with values from a file, and with more as `--set` takes them.
fn render(arguments: &[&str]) -> Result<String, String> {
    let template = ["template", "okr-operator", CHART, "--namespace=okr-system", "--kube-version=1.33.0"];
    run("helm", &[&template, arguments].concat(), "")
}

/// A set of values, and what it renders.
struct Set {
    name: String,
    file: String,
    rendered: String,
}

fn sets() -> &'static [Set] {
    static SETS: LazyLock<Vec<Set>> = LazyLock::new(|| {
        let entries = std::fs::read_dir(root().join("tests/chart/values")).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| set(file)).collect()
    });
    &SETS
}

fn set(file: &Path) -> Set {
    let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
    let file = file.to_str().unwrap().to_owned();
    let rendered = render(&["--values", &file]).unwrap_or_else(|said| panic!("{name}: {said}"));
    Set { name, file, rendered }
}

/// The documents of a stream of YAML, with their text.
fn documents(stream: &str) -> Vec<(String, Value)> {
    let documents = format!("\n{stream}");
    let parsed = documents.split("\n---\n").map(|text| (text.trim().to_owned(), yaml(text)));
    parsed.filter(|(_, object)| object.is_object()).collect()
}

fn objects(stream: &str) -> Vec<Value> {
    documents(stream).into_iter().map(|(_, object)| object).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn is_hook(object: &Value) -> bool {
    object["metadata"]["annotations"]["helm.sh/hook"].is_string()
}

/// Holds a generated file to what it should be, or writes it: `make install`.
#[track_caller]
fn check_current(path: &str, wanted: &str) {
    let file = root().join(path);
    if std::env::var("OKR_WRITE_DOCS").is_ok() {
        std::fs::write(file, wanted).unwrap();
        return;
    }
    let there = std::fs::read_to_string(file).unwrap_or_default();
    if there != wanted {
        let first = there.lines().zip(wanted.lines()).position(|(there, wanted)| there != wanted);
        let line = first.unwrap_or_else(|| there.lines().count().min(wanted.lines().count()));
        let [is, should] = [&there, wanted].map(|text| text.lines().nth(line).unwrap_or("(the end)").to_owned());
        panic!("{path} is not current from line {} on: run `make install`\n- {is}\n+ {should}", line + 1);
    }
}
