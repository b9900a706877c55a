//! What is generated from the chart: the table of its README, and `gitops/install`.

use serde_json::Value;

use crate::{check_current, read, render, yaml};

#[test]
fn the_readme_has_every_value() {
    let path = "charts/okr-operator/README.md";
    let text = read(path);
    let (before, rest) = text.split_once("<!-- values -->\n").expect("the table has a beginning");
    let (_, after) = rest.split_once("<!-- end -->").expect("the table has an end");
    let mut table = "| value | default | meaning |\n|---|---|---|\n".to_owned();
    for (path, default, meaning) in described(&read("charts/okr-operator/values.yaml")) {
        let default = if default.len() > 60 { "see values.yaml".to_owned() } else { format!("`{default}`") };
        table += &format!("| `{path}` | {default} | {} |\n", meaning.replace('|', "\\|"));
    }
    check_current(path, &format!("{before}<!-- values -->\n{table}<!-- end -->{after}"));
}

/// Path, default and description of every value with a comment that begins with `# --`, in the order of the file.
fn described(values: &str) -> Vec<(String, String, String)> {
    let defaults = yaml(values);
    let (mut found, mut path, mut comment) = (Vec::new(), Vec::<(usize, String)>::new(), None::<String>);
    for line in values.lines() {
        let indent = line.len() - line.trim_start().len();
        let content = line.trim_start();
        if let Some(begins) = content.strip_prefix("# -- ") {
            comment = Some(begins.to_owned());
        } else if let (Some(goes_on), Some(comment)) = (content.strip_prefix("# "), &mut comment) {
            *comment += &format!(" {goes_on}");
        } else if let Some((key, _)) = content.split_once(':').filter(|_| !content.starts_with('#')) {
            path.retain(|(outer, _)| *outer < indent);
            path.push((indent, key.to_owned()));
            let Some(comment) = comment.take() else { continue };
            let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
            let default = names.iter().fold(&defaults, |value, name| &value[name]);
            found.push((names.join("."), default.to_string(), comment));
        }
    }
    let mut undescribed = Vec::new();
    check_described(&defaults, "", &found, &mut undescribed);
    assert!(undescribed.is_empty(), "values.yaml says nothing of {undescribed:?}");
    found
}

fn check_described(value: &Value, path: &str, found: &[(String, String, String)], undescribed: &mut Vec<String>) {
    if found.iter().any(|(described, _, _)| described == path) {
        return;
    }
    match value.as_object().filter(|map| !map.is_empty()) {
        Some(map) => map.iter().for_each(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            check_described(value, &path, found, undescribed);
        }),
        None => undescribed.push(path.to_owned()),
    }
}

#[test]
fn the_manifest_to_apply_is_the_charts() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: okr-system\n  labels:\n    \
                     pod-security.kubernetes.io/enforce: restricted\n";
    let rendered = render(&["--skip-tests"]).unwrap();
    // Nothing of this comes by Helm.
    let of_helm = |line: &&str| {
        let said = line.trim_start();
        ["# Source: ", "helm.sh/chart: ", "app.kubernetes.io/managed-by: "].iter().any(|word| said.starts_with(word))
    };
    let lines: Vec<&str> = rendered.lines().filter(|line| !of_helm(line)).collect();
    // What Helm keeps, Argo CD and Flux keep too.
    let kept = "  annotations:\n    argocd.argoproj.io/sync-options: Prune=false,Delete=false\n    \
                kustomize.toolkit.fluxcd.io/prune: disabled\n";
    let lines = lines.join("\n").replace("  annotations:\n    helm.sh/resource-policy: keep\n", kept);
    let namespace = namespace.replace("  labels:", &format!("{kept}  labels:"));
    let first = "# Generated from charts/okr-operator with its defaults: `make install`. Do not edit.\n";
    check_current("gitops/install/install.yaml", &format!("{first}{namespace}{lines}\n"));
}
