//! What the layers may know of one another, who may write, and what must agree with what.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use okr_operator::{
    api::crd,
    config::{Arguments, RunArguments},
    domain::{
        Reason,
        connection::{ConnectionReason, SaturatedReason},
        objective::ObjectiveProblem,
    },
};

/// The Rust files of a folder of `src`, with what they say outside comments.
fn code(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(&root().join("src").join(folder), &mut files);
    assert!(!files.is_empty(), "src/{folder} is empty");
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            files.push((path, lines.collect::<Vec<_>>().join("\n")));
        }
    }
}

/// The places of `code` that say one of `words`, as whole words.
fn mentions(code: &[(PathBuf, String)], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in code {
        for (number, line) in text.lines().enumerate() {
            found.extend(words.iter().filter(|word| says(line, word)).map(|word| {
                let path = path.strip_prefix(root()).unwrap().display();
                format!("{path} says {word} in its code line {}: {}", number + 1, line.trim())
            }));
        }
    }
    found
}

fn says(line: &str, word: &str) -> bool {
    let within = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(within);
        let after = line[at + word.len()..].chars().next().is_some_and(within);
        !before && !after
    })
}

#[track_caller]
fn check_silent(folder: &str, words: &[&str]) {
    let found = mentions(&code(folder), words);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn decisions_know_no_client_no_clock_and_no_chance() {
    check_silent(
        "domain",
        &[
            "Client",
            "Api",
            "kube_client",
            "reqwest",
            "http",
            "tokio",
            "async",
            "await",
            "clock",
            "Timestamp::now",
            "Zoned::now",
            "SystemTime",
            "Instant",
            "Uuid",
            "rand",
            "RandomState",
            "thread_rng",
            "std::env",
            "std::fs",
            "std::net",
            "crate::bigquery",
            "bigquery::Error",
            "crate::controller",
            "crate::metrics",
            "crate::config",
            "tracing",
        ],
    );
}

#[test]
fn bigquery_knows_no_kubernetes_and_no_decision() {
    check_silent(
        "bigquery",
        &["kube", "k8s_openapi", "crate::api", "crate::domain", "crate::controller", "OkrKeyResult", "Reason"],
    );
}

#[test]
fn the_read_model_knows_no_page_no_client_and_no_clock() {
    check_silent(
        "view",
        &[
            "http",
            "axum",
            "askama",
            "reqwest",
            "kube",
            "Client",
            "Api",
            "spawn",
            "async",
            "await",
            "clock",
            "Timestamp::now",
            "SystemTime",
            "Instant",
            "std::env",
            "std::fs",
            "crate::bigquery",
            "crate::controller",
            "crate::dashboard",
            "crate::metrics",
            "crate::config",
            "tracing",
        ],
    );
}

/// The modules of the crate's root that a folder's code names, by path or in a `use crate::{...}`.
fn known(folder: &str) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for (_, text) in code(folder) {
        for (at, start) in text.match_indices("crate::") {
            let rest = &text[at + start.len()..];
            let Some(listed) = rest.strip_prefix('{') else {
                known.insert(name(rest));
                continue;
            };
            let mut depth = 0;
            let mut is_first = true;
            for (at, c) in listed.char_indices() {
                if is_first && depth == 0 && c.is_alphabetic() {
                    known.insert(name(&listed[at..]));
                    is_first = false;
                }
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => is_first = true,
                    _ => {}
                }
            }
        }
    }
    known
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[track_caller]
fn check_knows(folder: &str, most: &[&str]) {
    let known = known(folder);
    let more: Vec<&String> = known.iter().filter(|module| !most.contains(&module.as_str())).collect();
    assert!(more.is_empty(), "src/{folder} knows {more:?}");
}

#[test]
fn each_layer_knows_those_below_it() {
    check_knows("api", &["api"]);
    check_knows("bigquery", &["bigquery", "clock"]);
    check_knows("domain", &["api", "domain"]);
    check_knows("exchange", &["api", "bigquery", "domain", "exchange"]);
    check_knows("view", &["api", "domain", "view"]);
    check_knows("dashboard", &["api", "causes", "clock", "dashboard", "http", "view"]);
    check_knows("metrics", &["metrics", "view"]);
    check_knows(
        "plugin",
        &["api", "bigquery", "causes", "clock", "domain", "exchange", "kubeconfig", "plugin", "view"],
    );
    assert!(known("plugin").contains("exchange"), "what stands in braces is read");
}

/// What is shown comes from the read model; only the check decides, as the operator would.
#[test]
fn of_the_plugin_only_the_check_decides() {
    let is_check = |path: &Path| path.strip_prefix(root()).is_ok_and(|path| path.starts_with("src/plugin/check"));
    let shown: Vec<_> = code("plugin").into_iter().filter(|(path, _)| !is_check(path)).collect();
    let found = mentions(&shown, &["domain", "bigquery", "exchange"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_dashboard_reads_and_does_no_more() {
    check_silent(
        "dashboard",
        &["crate::controller", "crate::domain", "crate::bigquery", "crate::metrics", "crate::config"],
    );
}

#[test]
fn what_joins_decisions_and_bigquery_sends_nothing() {
    check_silent(
        "exchange",
        &["Client", "Api", "reqwest", "async", "await", "clock", "crate::controller", "crate::plugin"],
    );
}

#[test]
fn the_plugin_knows_no_controller() {
    check_silent("plugin", &["crate::controller", "crate::dashboard", "crate::metrics", "crate::config"]);
}

#[test]
fn the_resources_know_no_decision() {
    check_silent(
        "api",
        &["crate::domain", "crate::bigquery", "crate::controller", "crate::metrics", "tokio", "reqwest"],
    );
}

/// One TLS stack, rustls with ring: deny.toml says it to cargo-deny, this says it where that is not installed.
#[test]
fn there_is_one_tls_stack() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let names: BTreeSet<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(names.contains("rustls") && names.contains("ring"), "Cargo.lock is read");
    let deny = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let banned: Vec<&str> =
        deny.lines().filter_map(|line| line.trim().strip_prefix("{ crate = \"")?.strip_suffix("\" },")).collect();
    for stack in ["openssl-sys", "native-tls", "aws-lc-sys"] {
        assert!(banned.contains(&stack), "deny.toml bans {stack}");
    }
    let found: Vec<&&str> = banned.iter().filter(|name| names.contains(**name)).collect();
    assert!(found.is_empty(), "Cargo.lock holds {found:?}");
}

#[test]
fn only_one_module_writes_to_the_api_server() {
    let writes = [
        "create",
        "create_subresource",
        "create_token_request",
        "replace",
        "replace_status",
        "replace_scale",
        "replace_subresource",
        "patch",
        "patch_status",
        "patch_scale",
        "patch_metadata",
        "patch_subresource",
        "delete",
        "delete_collection",
        "evict",
    ];
    // To create a review is to ask a question: the API server answers it and keeps nothing. It may create nothing else.
    let reviews = root().join("src/dashboard/reviews.rs");
    let doctor = root().join("src/plugin/doctor.rs");
    // The plugin acts for the person at the terminal, and writes the annotation that asks for a sync.
    let refresh = root().join("src/plugin/refresh.rs");
    let asks = |path: &Path, write: &str| match write {
        "create" => *path == *reviews || *path == *doctor,
        "patch_metadata" => *path == *refresh,
        _ => false,
    };
    let mut found = Vec::new();
    for (path, text) in code("").iter().filter(|(path, _)| !path.ends_with("src/controller/apply.rs")) {
        for write in writes.into_iter().filter(|write| !asks(path, write)) {
            let call = format!(".{write}(");
            let calls = text.match_indices(&call).map(|(at, call)| &text[at + call.len()..]);
            // A text's own replace takes what it looks for: a quote or a list of characters.
            let of_api = calls.filter(|arguments| write != "replace" || !arguments.starts_with(['\'', '"', '[']));
            found.extend(of_api.map(|arguments| {
                format!("{}: {write}({}", path.display(), arguments.lines().next().unwrap_or_default())
            }));
        }
    }
    assert!(found.is_empty(), "only src/controller/apply.rs writes:\n{}", found.join("\n"));
    let text = std::fs::read_to_string(reviews).unwrap();
    let asked: Vec<&str> = text.lines().filter(|line| line.contains("ask(client, ")).collect();
    let of_reviews = |line: &&str| line.contains("&TokenReview {") || line.contains("&SubjectAccessReview {");
    assert_eq!(text.matches(".create(").count(), 1, "one place asks");
    assert!(asked.len() == 2 && asked.iter().all(of_reviews), "only reviews are asked: {asked:?}");
    let text = std::fs::read_to_string(doctor).unwrap();
    let made: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("let review = ")).collect();
    assert!(made.iter().all(|made| made.contains("SubjectAccessReview {")), "only reviews are asked: {made:?}");
    let count = |what: &str| text.matches(what).count();
    assert_eq!((count(".create("), count("&review)")), (made.len(), made.len()), "only reviews are asked");
    let text = std::fs::read_to_string(refresh).unwrap();
    assert_eq!((text.matches(".patch_metadata(").count(), text.matches("{REFRESH_ANNOTATION: token}").count()), (1, 1));
    let apply = std::fs::read_to_string(root().join("src/controller/apply.rs")).unwrap();
    assert!(apply.contains(".replace_subresource(\"status\""), "a status is replaced whole");
    assert!(!apply.contains(".patch"), "a status is replaced whole");
}

#[test]
fn the_crds_equal_the_types() {
    // Helm reads no file outside the chart.
    for folder in ["crds", "charts/okr-operator/files/crds"] {
        let mut wanted = Vec::new();
        for crd in crd::all() {
            let name = crd::file_name(&crd);
            let written = std::fs::read_to_string(root().join(folder).join(&name)).unwrap_or_default();
            assert!(written == crd::yaml(&crd), "{folder}/{name} is not what the types say: run make crds");
            assert!(!written.contains("{{"), "{folder}/{name}: Helm would take that for a template");
            wanted.push(name);
        }
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        let mut there: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        wanted.sort();
        there.sort();
        assert_eq!(there, wanted, "a file of {folder}/ without a type, or the other way round: run make crds");
    }
}

#[test]
fn every_flag_has_a_variable() {
    let command = <RunArguments as clap::Args>::augment_args(clap::Command::new("run"));
    let mut flags = 0;
    for argument in command.get_arguments() {
        let Some(flag) = argument.get_long() else { panic!("{} is no flag", argument.get_id()) };
        let want = format!("OKR_OPERATOR_{}", flag.to_ascii_uppercase().replace('-', "_"));
        let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
        assert_eq!(variable.as_deref(), Some(want.as_str()), "--{flag}");
        flags += 1;
    }
    assert!(flags > 5);
    Arguments::command().debug_assert();
}

#[test]
fn the_readme_names_every_flag_status_and_reason() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let command = <RunArguments as clap::Args>::augment_args(clap::Command::new("run"));
    let flags = command.get_arguments().filter_map(|argument| argument.get_long()).map(|flag| format!("`--{flag}`"));
    let reasons = Reason::ALL.iter().map(|reason| format!("`{}`", reason.name()));
    let reasons = reasons.chain(ConnectionReason::ALL.iter().map(|reason| format!("`{}`", reason.name())));
    let reasons = reasons.chain(SaturatedReason::ALL.iter().map(|reason| format!("`{}`", reason.name())));
    let reasons = reasons.chain(ObjectiveProblem::ALL.iter().map(|problem| format!("`{}`", problem.name())));
    let statuses = ["NotStarted", "InProgress", "OnTrack", "Behind", "AtRisk", "Postponed", "Closed"];
    let statuses = statuses.iter().map(|status| format!("`{status}`"));
    let missing: Vec<String> = flags.chain(reasons).chain(statuses).filter(|name| !readme.contains(name)).collect();
    assert!(missing.is_empty(), "README.md does not name {missing:?}");
}

/// Argo CD takes its scripts from one ConfigMap; each is written once in gitops/argocd, for all kinds.
#[test]
fn argo_cds_patch_holds_the_scripts_beside_it() {
    let folder = root().join("gitops/argocd");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let indented = |text: &str, spaces: usize| {
        let line = |line: &str| {
            if line.is_empty() { "\n".to_owned() } else { format!("{:spaces$}{line}\n", "", spaces = spaces) }
        };
        text.lines().map(line).collect::<String>()
    };
    let actions = format!(
        "discovery.lua: |\n{}definitions:\n- name: refresh\n  action.lua: |\n{}",
        indented(&read("actions/discovery.lua"), 2),
        indented(&read("actions/refresh.lua"), 4),
    );
    let customizations =
        [("health", read("health.lua")), ("actions", actions), ("ignoreResourceUpdates", read("ignore-updates.yaml"))];
    let mut wanted =
        "# For Argo CD's own ConfigMap: docs/gitops.md. Generated from the files beside it by make docs.\n\
        apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\ndata:\n"
            .to_owned();
    for crd in crd::all() {
        for (what, content) in &customizations {
            wanted += &format!("  resource.customizations.{what}.{}_{}: |\n", crd.spec.group, crd.spec.names.kind);
            wanted += &indented(content, 4);
        }
    }
    let file = folder.join("argocd-cm.yaml");
    if std::env::var("OKR_WRITE_DOCS").is_ok() {
        std::fs::write(&file, wanted).unwrap();
    } else {
        assert!(wanted == read("argocd-cm.yaml"), "gitops/argocd/argocd-cm.yaml is not that of its sources: make docs");
    }
}
