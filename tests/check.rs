//! `kubectl okr check` as people run it: each mistake of `tests/check/mistakes` gets the sentence that stands beside it.

mod support;

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use okr_operator::plugin::check::{Checker, Finding, Report};
use support::bigquery_stub::{Reply, Stub};

/// Before the words that a finding on this line has.
const MARK: &str = " # <- ";

fn report(name: &str, text: &str) -> Report {
    let mut checker = Checker::new("default");
    checker.read(name, text);
    checker.finish()
}

/// The sentences that are wanted, with their lines.
fn wanted(text: &str) -> Vec<(usize, &str)> {
    let lines = text.lines().enumerate();
    lines.filter_map(|(index, line)| Some((index + 1, line.split_once(MARK)?.1))).collect()
}

#[test]
fn each_mistake_gets_the_sentence_beside_it() {
    let mut wrong = Vec::new();
    let mut files = 0;
    for entry in std::fs::read_dir("tests/check/mistakes").unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let found = report(&name, &text);
        let wanted = wanted(&text);
        let is_found = |(line, words): &(usize, &str)| {
            let said = |finding: &&Finding| format!("{}: {}", finding.field, finding.message).contains(words);
            found.findings.iter().filter(|finding| finding.line == *line).any(|finding| said(&finding))
        };
        let as_wanted = !wanted.is_empty()
            && wanted.len() == found.findings.len()
            && found.unchecked.is_empty()
            && wanted.iter().all(is_found);
        if !as_wanted {
            wrong.push(format!("{name}\n  wanted: {wanted:?}\n  found: {:#?} {:?}", found.findings, found.unchecked));
        }
        files += 1;
    }
    assert!(wrong.is_empty(), "{} of {files} files:\n{}", wrong.len(), wrong.join("\n"));
    assert!(files > 60);
}

fn kubectl_okr(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-okr"));
    command.arg("check").args(arguments);
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    said(kubectl_okr(arguments).output().unwrap())
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_examples_pass() {
    let (code, out, aside) = run(&["-f", "examples/"]);
    assert_eq!((code, out.as_str()), (0, ""), "{aside}");
    assert!(aside.ends_with("0 findings; left alone: 1 Namespace\n"), "{aside}");
    for entry in std::fs::read_dir("examples/connections").unwrap() {
        let path = entry.unwrap().path();
        let (code, out, _) = run(&["-f", path.to_str().unwrap()]);
        assert_eq!((code, out.as_str()), (0, ""), "{path:?}");
    }
}

/// A folder of its own for a test.
fn folder(name: &str) -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("check-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

const GOOD: &str = "apiVersion: okr-operator.dev/v1alpha1
kind: OkrKeyResult
metadata: {name: good}
spec:
  measure: {baseline: {}}
  bigQuery: {query: SELECT 1}
";

fn check_file(name: &str, content: &[u8], want: i32, words: &str) {
    let folder = folder(name);
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    let (code, out, aside) = run(&["-f", path.to_str().unwrap()]);
    assert_eq!(code, want, "{name}: {out}{aside}");
    assert!(format!("{out}{aside}").contains(words), "{name}: {out}{aside}");
}

#[test]
fn files_that_are_no_manifests_get_a_sentence_and_an_exit_code() {
    check_file("empty.yaml", b"", 0, "0 objects checked");
    check_file("comment.yaml", b"# nothing\n---\n# here\n", 0, "0 objects checked");
    check_file("binary.yaml", b"\x7fELF\x00\x01", 2, "is a binary file");
    check_file("latin.yaml", b"a: 1\nb: caf\xe9\n", 2, "is not UTF-8 text (line 2)");
    check_file("utf16.yaml", b"\xff\xfea\x00", 2, "is UTF-16");
    check_file("prose.yaml", b"This is a text.\n", 2, "is no manifest");
    check_file("values.yaml", b"replicas: 3\n", 2, "apiVersion and kind are missing");
    check_file("template.yaml", b"kind: OkrKeyResult\nmetadata:\n  name: {{ .Values.x }}\n", 2, "render it first");
    let templates = "a: {{ .x }}\n---\n{{- if .y }}\nb: 1\n---\n".to_owned() + GOOD;
    check_file("mixed.yaml", templates.as_bytes(), 2, "1 object checked");
    check_file("mixed.yaml", templates.as_bytes(), 2, "mixed.yaml:1 is a template");
    // What a chart that is rendered has for Prometheus.
    let alert = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nspec:\n  text: |\n    {{ $labels.x }}: {{ $value }}\n---\n".to_owned() + GOOD;
    check_file("alert.yaml", alert.as_bytes(), 0, "1 object checked, 0 findings; left alone: 1 PrometheusRule");
    let generated = GOOD.replace("{name: good}", "{generateName: good-}");
    let twice = format!("{generated}---\n{generated}");
    check_file("generated.yaml", twice.as_bytes(), 0, "2 objects checked, 0 findings");
    check_file("broken.yaml", b"a: [1, 2\nb: }\n", 1, "this is no YAML");
    check_file(
        "other.yaml",
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad Name}\n",
        0,
        "left alone: 1 ConfigMap",
    );
    check_file("bom.yaml", format!("\u{feff}{GOOD}").as_bytes(), 0, "1 object checked, 0 findings");
    check_file("crlf.yaml", GOOD.replace('\n', "\r\n").as_bytes(), 0, "1 object checked, 0 findings");
    let unquoted = format!("{GOOD}  period: {{startDate: 2026-10-01, endDate: \"2026-12-31\"}}\n");
    check_file("dates.yaml", unquoted.as_bytes(), 0, "note: 1 date without quotes, the first in ");
    check_file("dates.yaml", unquoted.as_bytes(), 0, "dates.yaml:7: Flux reads them as points in time");
    let (code, _, aside) = run(&["-f", "no/such/file.yaml"]);
    assert_eq!(code, 2);
    assert!(aside.contains("no/such/file.yaml cannot be read"), "{aside}");
    assert_eq!(run(&[]).0, 2);
}

#[test]
fn json_is_checked_too() {
    let object = r#"{"apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrKeyResult", "metadata": {"name": "a"},
	"spec": {"measure": {"reach": {"target": 99.5}}, "bigQuery": {"query": "SELECT 1\n-- \u00e9 \/"}}}"#;
    let two = format!("{object}\n{}", object.replace("\"a\"", "\"b\""));
    check_file(
        "two.json",
        two.as_bytes(),
        1,
        "two.json:2:43: OkrKeyResult/a: spec.measure.reach.target: write \"99.5\"",
    );
}

#[test]
fn a_folder_is_read_as_kubectl_reads_it() {
    let folder = folder("folder");
    std::fs::create_dir_all(folder.join("deep")).unwrap();
    std::fs::write(folder.join("a.yaml"), GOOD).unwrap();
    std::fs::write(folder.join("b.png"), b"\x89PNG\x00").unwrap();
    std::fs::write(folder.join("README"), "text").unwrap();
    std::fs::write(folder.join("deep/c.yml"), GOOD.replace("name: good", "name: better")).unwrap();
    let path = folder.to_str().unwrap();
    assert!(run(&["-f", path]).2.starts_with("1 object checked, 0 findings"));
    assert!(run(&["-R", "-f", path]).2.starts_with("2 objects checked, 0 findings"));
}

/// What names a pipe, or a file without an end, must not wait for it or read it all.
#[test]
fn pipes_in_a_folder_are_passed_over_and_a_device_has_an_end() {
    let folder = folder("pipes");
    std::fs::write(folder.join("a.yaml"), GOOD).unwrap();
    assert!(Command::new("mkfifo").arg(folder.join("b.yaml")).status().unwrap().success());
    std::os::unix::fs::symlink("c.yaml", folder.join("c.yaml")).unwrap();
    std::os::unix::fs::symlink("..", folder.join("up")).unwrap();
    let (code, _, aside) = run(&["-R", "-f", folder.to_str().unwrap()]);
    assert_eq!(code, 2, "{aside}");
    assert!(aside.contains("c.yaml cannot be read") && aside.contains("1 object checked, 0 findings"), "{aside}");
    let (code, _, aside) = run(&["-f", "/dev/zero"]);
    assert!(code == 2 && aside.contains("is larger than 64 MiB"), "{aside}");
}

/// A pull request of a stranger is checked too.
#[test]
fn hostile_text_is_neither_obeyed_by_a_terminal_nor_by_github() {
    let path = folder("hostile").join("a.yaml");
    let text = GOOD
        .replace("good", r#""a\e[31m\n::error::x\u202e""#)
        .replace("  measure", "  \"b\\n::error::y\": 1\n  measure");
    let other = "---\napiVersion: v1\nkind: \"Pod\\e[31m\\n::error::z\"\nmetadata: {name: x}\n";
    std::fs::write(&path, text + other).unwrap();
    for format in ["text", "github"] {
        let (code, out, aside) = run(&["-f", path.to_str().unwrap(), "-o", format]);
        assert_eq!(code, 1);
        let all = format!("{out}{aside}");
        assert!(!all.contains(['\u{1b}', '\u{202e}']), "{all:?}");
        let orders = all.lines().filter(|line| line.starts_with("::"));
        assert_eq!(orders.count(), if format == "github" { 2 } else { 0 }, "{all}");
        assert_eq!(all.lines().count(), 3, "{all}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn findings_that_cannot_be_written_are_not_found_out() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = kubectl_okr(&["-f", "examples", "-o", "json"]).stdout(full).output().unwrap();
    let (code, _, aside) = said(output);
    assert!(code == 2 && aside.contains("the findings cannot be written"), "{aside}");
}

#[test]
fn ten_megabytes_are_no_trouble() {
    let many: Vec<String> = (0..50)
        .map(|i| format!("{}  description: {}\n", GOOD.replace("good", &format!("n{i}")), "x".repeat(4000)))
        .collect();
    let padding =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: large}}\ndata:\n  a: {}\n", "y".repeat(10 << 20));
    check_file(
        "large.yaml",
        format!("{}---\n{padding}", many.join("---\n")).as_bytes(),
        0,
        "50 objects checked, 0 findings",
    );
}

#[test]
fn findings_are_written_for_programs_too() {
    let file = "tests/check/mistakes/percent-sign.yaml";
    let (code, out, _) = run(&["-f", file, "-o", "json"]);
    let findings: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 1);
    let want = serde_json::json!({
        "file": file, "line": 8, "column": 15, "object": "OkrKeyResult/leads", "field": "spec.measure.reach.target",
        "by": "ApiServer",
    });
    let mut got = findings[0].clone();
    got.as_object_mut().unwrap().remove("message");
    assert_eq!(got, want);
    let (code, out, _) = run(&["-f", file, "-o", "github"]);
    assert_eq!(code, 1);
    assert!(
        out.starts_with(&format!("::error file={file},line=8,col=15,title=OkrKeyResult/leads::spec.measure")),
        "{out}"
    );
    assert!(out.contains("\"75%25\""), "{out}");
    assert_eq!(run(&["-f", "examples", "-o", "json"]).1, "[]\n");
}

#[test]
fn standard_input_is_read_and_a_closed_pipe_is_no_panic() {
    use std::io::Write;
    let mut child = kubectl_okr(&["-f", "-", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let text = GOOD.replace("baseline", "baselin");
    child.stdin.take().unwrap().write_all(format!("{text}---\n").repeat(500).as_bytes()).unwrap();
    let (code, _, aside) = said(child.wait_with_output().unwrap());
    assert_eq!(code, 1, "{aside}");
    assert!(!aside.contains("panicked"), "{aside}");
}

/// A connection to the stub, and a key result for each query.
fn manifests(stub: &Stub, queries: &[&str]) -> String {
    let connection = format!(
        "apiVersion: okr-operator.dev/v1alpha1
kind: BigQueryConnection
metadata: {{name: stub}}
spec: {{projectId: demo, endpoint: \"{}\", credentials: {{none: {{}}}}, limits: {{maximumBytesBilled: 1M}}}}
",
        stub.endpoint()
    );
    let key_result = |(index, query): (usize, &&str)| {
        format!(
            "---
apiVersion: okr-operator.dev/v1alpha1
kind: OkrKeyResult
metadata: {{name: n{index}}}
spec:
  measure: {{stayBelow: {{target: 10}}}}
  bigQuery: {{query: \"{query}\"}}
"
        )
    };
    connection + &queries.iter().enumerate().map(key_result).collect::<String>()
}

async fn run_with(stub: &Stub, queries: &[&str], arguments: &[&str]) -> (i32, String, String) {
    let folder = folder(&format!("run-{}", stub.host().replace(':', "-")));
    let path = folder.join("run.yaml");
    std::fs::write(&path, manifests(stub, queries)).unwrap();
    let mut command = kubectl_okr(&["-f", path.to_str().unwrap()]);
    command.args(arguments).env_remove("GOOGLE_APPLICATION_CREDENTIALS").env("HOME", &folder);
    said(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_shows_what_the_operator_would_write() {
    let stub = Stub::start().await;
    stub.on("SELECT 7", Reply::number("INT64", "7").bytes(1000));
    let (code, out, aside) = run_with(&stub, &["SELECT 7"], &["--run"]).await;
    assert_eq!(code, 0, "{out}{aside}");
    for words in [
        "OkrKeyResult/n0: Synced: The last query gave a value.",
        "status OnTrack, value 7, target below 10, progress 100 %, read 1000 bytes in",
        "7 is below 10: OnTrack.",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert_eq!((stub.count("jobs.insert"), stub.count("jobs.query")), (1, 1), "the dry run comes first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_sends_no_query() {
    let stub = Stub::start().await;
    stub.on("SELECT 7", Reply::number("INT64", "7").bytes(1000));
    let (code, out, aside) = run_with(&stub, &["SELECT 7"], &["--run=dry"]).await;
    assert_eq!(code, 0, "{out}{aside}");
    assert!(out.contains("DryRunPassed: The query would do.\n  it would read 1000 bytes"), "{out}");
    assert_eq!(stub.count("jobs.query"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_would_not_do_is_a_finding_in_the_operators_words() {
    let stub = Stub::start().await;
    stub.on("SELECT 1", Reply::number("INT64", "1").bytes(2_000_000));
    stub.on("SELECT x", Reply::error(400, "invalidQuery", "Unrecognized name: x at [1:8]"));
    stub.on("SELECT n", Reply::null("INT64"));
    let (code, out, aside) = run_with(&stub, &["SELECT 1", "SELECT x", "SELECT n"], &["--run", "-o", "json"]).await;
    assert_eq!(code, 1, "{out}{aside}");
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    let reasons: Vec<&str> =
        said["runs"].as_array().unwrap().iter().map(|run| run["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["OverByteLimit", "QueryInvalid", "NullValue"]);
    assert!(out.contains("Unrecognized name: x"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn local_credentials_go_where_the_command_line_says() {
    let stub = Stub::start().await;
    let file = folder("credentials").join("user.json");
    let user = r#"{"type": "authorized_user", "client_id": "a", "client_secret": "s3cret", "refresh_token": "s3cret"}"#;
    std::fs::write(&file, user).unwrap();
    let text = manifests(&stub, &["SELECT 7"]).replace("{none: {}}", "{workloadIdentity: {}}");
    let path = folder("credentials-run").join("run.yaml");
    std::fs::write(&path, text).unwrap();
    let arguments = ["-f", path.to_str().unwrap(), "--run", "--credentials", file.to_str().unwrap()];
    let mut command = kubectl_okr(&arguments);
    let (code, out, aside) = said(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap());
    assert_eq!(code, 2, "{out}{aside}");
    assert!(out.contains("EndpointNotAllowed") && out.contains("gets none of your credentials"), "{out}");
    assert!(!format!("{out}{aside}").contains("s3cret"));
    assert!(stub.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_it_says_how_to_get_some() {
    let stub = Stub::start().await;
    let (code, out, aside) = run_with(&stub, &["SELECT 7"], &["--run", "--project=p"]).await;
    assert_eq!(code, 2, "{out}{aside}");
    assert!(out.contains("run gcloud auth application-default login, or give --credentials=FILE"), "{out}");
}

/// As a step of CI leaves it that had no credentials to give.
#[test]
fn an_empty_variable_for_credentials_is_none() {
    let output = kubectl_okr(&["-f", "examples/"]).env("GOOGLE_APPLICATION_CREDENTIALS", "").output().unwrap();
    let (code, _, aside) = said(output);
    assert_eq!(code, 0, "{aside}");
}
