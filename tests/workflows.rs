//! What CI runs is there, and is pinned.

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

/// The workflows and the actions of our own, each with its name and its text.
fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in [".github/workflows", ".github/actions/prepare"] {
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            files.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(files.len() >= 3, "ci, release and what they share");
    files
}

fn parsed(name: &str, text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every value of `key`, however deep.
fn values<'a>(tree: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match tree {
        Value::Object(fields) => {
            found.extend(fields.get(key));
            fields.values().for_each(|field| values(field, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| values(item, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn texts(tree: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    values(tree, key, &mut found);
    found.into_iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

fn targets() -> BTreeSet<String> {
    let makefile = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile")).unwrap();
    let rules = makefile.lines().filter(|line| !line.starts_with(['#', '\t', '.']));
    rules.filter_map(|line| line.split_once(':')).map(|(target, _)| target.to_owned()).collect()
}

#[test]
fn what_ci_makes_is_in_the_makefile() {
    let targets = targets();
    let mut made = BTreeSet::new();
    for (name, text) in files() {
        for command in texts(&parsed(&name, &text), "run") {
            let commands = command.lines().filter_map(|line| line.trim().strip_prefix("make "));
            made.extend(commands.flat_map(str::split_whitespace).map(str::to_owned));
        }
    }
    let missing: Vec<&String> = made.difference(&targets).collect();
    assert!(missing.is_empty(), "CI makes {missing:?}, which the Makefile does not know");
    for target in ["lint", "test", "gitops", "e2e", "deny"] {
        assert!(made.contains(target), "CI makes {target}");
    }
}

/// A tag can be moved to other code, a commit cannot. The comment is for people, and for tools that propose newer ones.
#[test]
fn actions_of_others_are_pinned_to_commits() {
    for (name, text) in files() {
        for action in texts(&parsed(&name, &text), "uses") {
            if action.starts_with("./") {
                continue;
            }
            let (_, commit) = action.split_once('@').expect("an action has a version");
            let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
            assert!(is_commit, "{name}: {action} is not pinned to a commit");
            let line = format!("uses: {action}");
            let comments = text.split(&line).skip(1).map(|rest| rest.lines().next().unwrap_or_default());
            for comment in comments {
                assert!(comment.starts_with(" # v"), "{name}: {action} does not say its version");
            }
        }
    }
}

#[test]
fn workflows_may_read_unless_a_job_says_more() {
    for (name, text) in files().into_iter().filter(|(name, _)| name.contains("/workflows/")) {
        let workflow = parsed(&name, &text);
        assert_eq!(workflow["permissions"], serde_json::json!({ "contents": "read" }), "{name}");
        for step in workflow["jobs"].as_object().unwrap().values().flat_map(|job| job["steps"].as_array()).flatten() {
            if step["uses"].as_str().is_some_and(|action| action.starts_with("actions/checkout@")) {
                assert_eq!(step["with"]["persist-credentials"], false, "{name}: a checkout leaves no token behind");
            }
            // An expression in a script is pasted into it, whatever somebody wrote into a title or a branch's name.
            let script = step["run"].as_str().unwrap_or_default();
            assert!(!script.contains("${{"), "{name}: pass it by env: {script}");
        }
    }
}
