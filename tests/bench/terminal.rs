//! `kubectl okr`: the list of ten thousand, and the check of a thousand manifests.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use kube::{Resource, api::ListParams, core::Request};
use okr_operator::api::OkrKeyResult;

use crate::{memory::MANY, progress, table::Row, world::Fleet};

const TIMES: usize = 5;
const MANIFESTS: usize = 1000;

pub async fn rows(fleet: &Fleet) -> Vec<Row> {
    let pages = pages(fleet).await;
    let okr = || Command::new(env!("CARGO_BIN_EXE_kubectl-okr"));
    let list = longest(okr, &["list", "-n", &fleet.namespace], MANY + 1);
    let get = longest(|| Command::new("kubectl"), &["get", "okrkr", "-n", &fleet.namespace], MANY + 1);
    let folder = manifests();
    let check = longest(okr, &["check", "-f", &folder], 0);
    let what = format!(
        "10,000 key results with 24 points of history each, into a pipe; to get the same pages and to drop them takes {:.2} s, kubectl get okrkr {:.2} s",
        pages.as_secs_f64(),
        get.as_secs_f64()
    );
    vec![
        row("kubectl okr list", &what, list, 2),
        row("kubectl okr check", "1,000 manifests in a folder, offline", check, 1),
    ]
}

/// What the API server and the line alone take: the longest of several times to fetch what a list fetches, unread.
async fn pages(fleet: &Fleet) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..TIMES {
        let (began, mut parameters) = (Instant::now(), ListParams::default().limit(500));
        loop {
            let path = OkrKeyResult::url_path(&(), Some(&fleet.namespace));
            let request = Request::new(path).list(&parameters).expect("a request");
            let page = fleet.client.request_text(request).await.expect("a page");
            // The metadata come last.
            match page.rsplit_once("\"continue\":\"").and_then(|(_, rest)| rest.split('"').next()) {
                Some(token) if !token.is_empty() => parameters = parameters.continue_token(token),
                _ => break,
            }
        }
        longest = longest.max(began.elapsed());
    }
    longest
}

fn row(what: &'static str, conditions: &str, took: Duration, seconds: u64) -> Row {
    Row {
        what,
        conditions: format!("{conditions}; the longest of {TIMES} runs of the program"),
        target: if seconds == 1 { "1 s" } else { "2 s" },
        measured: format!("{:.2} s", took.as_secs_f64()),
        met: Some(took <= Duration::from_secs(seconds)),
    }
}

/// The longest of several runs, each of which succeeds and prints so many lines.
fn longest(program: impl Fn() -> Command, arguments: &[&str], lines: usize) -> Duration {
    let run = |_| {
        let began = Instant::now();
        let output = program().args(arguments).stderr(Stdio::inherit()).output().expect("it runs");
        let took = began.elapsed();
        assert!(output.status.success(), "{arguments:?} ended with {}", output.status);
        assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), lines);
        progress(&format!("{}: {:.2} s", arguments[0], took.as_secs_f64()));
        took
    };
    (0..TIMES).map(run).max().unwrap_or_default()
}

/// A folder with the first key result of the examples, a thousand times.
fn manifests() -> String {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/20-sales.yaml");
    let example = std::fs::read_to_string(example).expect("the example is there");
    let first = example.split("\n---").next().unwrap_or_default();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-manifests");
    std::fs::create_dir_all(&folder).expect("a folder for the manifests");
    for number in 0..MANIFESTS {
        let manifest = first.replacen("name: converted-leads", &format!("name: leads-{number}"), 1);
        assert!(manifest.contains("name: leads-"), "the example has its name");
        std::fs::write(folder.join(format!("{number}.yaml")), manifest).expect("a manifest is written");
    }
    folder.to_str().expect("a path in UTF-8").to_owned()
}
