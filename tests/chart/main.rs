//! The chart: what it renders, what it refuses, and that real programs take it. Needs helm, kubectl and kubeconform on PATH and
//! an API server: `dev/launch run .cache/run/chart -- cargo test --test chart`.
//!
//! Each file of `values/` is a set of values; `snapshots/` has what it renders, written anew by `make install`.

#[path = "../support/helm.rs"]
mod helm;

mod accepted;
mod refused;
mod rendered;
mod works;
mod written;

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use serde_json::Value;

use helm::{CHART, apply, documents, is_hook, must, objects, render, root, run, yaml};

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
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

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
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
