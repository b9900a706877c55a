//! What the chart makes of values.

use std::collections::BTreeSet;

use clap::Parser;
use okr_operator::{
    api::crd,
    config::{Arguments, Command},
};
use serde_json::Value;

use crate::{
    CHART, Set, check_current, documents, is_hook, must, objects, of_kind, read, render, root, sets, text, yaml,
};

#[test]
fn every_set_of_values_renders_as_it_did() {
    let mut names = BTreeSet::new();
    for set in sets() {
        let file = format!("{}.yaml", set.name);
        check_current(&format!("tests/chart/snapshots/{file}"), &snapshot(set));
        names.insert(file);
    }
    assert!(names.len() >= 12, "{names:?}");
    let entries = std::fs::read_dir(root().join("tests/chart/snapshots")).unwrap();
    let there: BTreeSet<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there, names, "a snapshot without values, or the other way round");
}

/// Without the bodies of what other tests compare with its source, and, but of the defaults, without the roles of the
/// test, which are always the same.
fn snapshot(set: &Set) -> String {
    let told = |object: &Value| set.name == "defaults" || !is_hook(object) || object["kind"] == "Pod";
    let told = documents(&set.rendered).into_iter().filter(|(_, object)| told(object));
    let shortened = told.map(|(text, object)| {
        let body = match object["kind"].as_str() {
            Some("CustomResourceDefinition") => "\nspec:\n",
            Some("ConfigMap") => "\ndata:\n",
            Some("PrometheusRule") => "\nspec:\n",
            Some(_) | None => return text,
        };
        match text.split_once(body) {
            Some((head, _)) => format!("{head}{body}  ..."),
            None => text,
        }
    });
    let shortened: Vec<String> = shortened.collect();
    format!("{}\n", shortened.join("\n---\n").trim_start_matches("---\n"))
}

#[test]
fn helm_lint_has_nothing_to_say() {
    for set in sets() {
        must("helm", &["lint", "--strict", "--quiet", "--kube-version=1.33.0", CHART, "--values", &set.file], "");
    }
}

#[test]
fn the_definitions_are_those_of_the_types() {
    let crds = crd::all();
    for keep in [true, false] {
        let rendered = objects(&render(&["--set", &format!("crds.keep={keep}")]).unwrap());
        let rendered: Vec<&Value> = of_kind(&rendered, "CustomResourceDefinition").collect();
        assert_eq!(rendered.len(), crds.len());
        for crd in &crds {
            let wanted = serde_json::to_value(crd).unwrap();
            let name = &wanted["metadata"]["name"];
            let there = rendered.iter().find(|there| there["metadata"]["name"] == *name).unwrap();
            assert!(there["spec"] == wanted["spec"], "{name}");
            let policy = &there["metadata"]["annotations"]["helm.sh/resource-policy"];
            assert_eq!(policy == "keep", keep, "{name}: {policy}");
        }
    }
}

#[test]
fn chart_and_operator_are_of_one_version() {
    let chart = yaml(&read("charts/okr-operator/Chart.yaml"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], chart["appVersion"]);
}

#[test]
fn the_operator_takes_the_arguments_that_it_is_given() {
    for set in sets() {
        let rendered = objects(&set.rendered);
        let deployment = of_kind(&rendered, "Deployment").next().unwrap();
        let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
        let words = std::iter::once("okr-operator").chain(arguments.iter().map(text));
        let arguments = Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{}: {error}", set.name));
        let Command::Run(run) = arguments.command else { panic!("{}: it does not run", set.name) };
        assert!(run.leader_election, "{}", set.name);
        assert_eq!(run.lease_name, text(&deployment["metadata"]["name"]), "{}", set.name);
    }
}

#[test]
fn the_alerts_are_those_of_the_file_and_point_to_the_runbook_of_the_values() {
    let mine = "https://wiki.example.com/okr";
    let of_values = format!("metrics.prometheusRule.runbookUrl={mine}");
    for (url, settings) in [("https://okr-operator.dev/docs/alerts.md", vec![]), (mine, vec!["--set", &of_values])] {
        let settings = [vec!["--set", "metrics.prometheusRule.enabled=true"], settings].concat();
        let rendered = objects(&render(&settings).unwrap());
        let rule = of_kind(&rendered, "PrometheusRule").next().unwrap();
        let file = read("charts/okr-operator/files/alerts.yaml");
        let wanted = yaml(&file.replace("https://okr-operator.dev/docs/alerts.md", url));
        assert_eq!(rule["spec"], wanted);
    }
    let rendered = objects(&render(&["--set", "metrics.grafanaDashboard.enabled=true"]).unwrap());
    let dashboard = text(&of_kind(&rendered, "ConfigMap").next().unwrap()["data"]["okr-operator.json"]);
    assert_eq!(dashboard.trim(), read("charts/okr-operator/files/grafana.json").trim());
}

/// Every rule of every role that a set of values renders, with the set, the kind and the name.
fn rules() -> Vec<(String, Value, Value)> {
    let mut rules = Vec::new();
    for set in sets() {
        for role in objects(&set.rendered).into_iter().filter(|object| object["rules"].is_array()) {
            for rule in role["rules"].as_array().unwrap() {
                let name = format!("{}: {} {}", set.name, text(&role["kind"]), text(&role["metadata"]["name"]));
                rules.push((name, role.clone(), rule.clone()));
            }
        }
    }
    rules
}

fn has(rule: &Value, list: &str, word: &str) -> bool {
    rule[list].as_array().unwrap().iter().any(|one| one == word)
}

#[test]
fn secrets_are_got_and_no_more_and_nothing_is_said_with_a_star() {
    let mut secrets = 0;
    for (name, _, rule) in rules() {
        assert!(!rule.to_string().contains('*'), "{name}: {rule}");
        if has(&rule, "resources", "secrets") {
            secrets += 1;
            assert_eq!(rule["verbs"], serde_json::json!(["get"]), "{name}");
        }
    }
    assert!(secrets > 0);
}

#[test]
fn nothing_that_is_aggregated_creates_connections() {
    let writes = ["create", "update", "patch"];
    for (name, role, rule) in rules() {
        let aggregated = role["metadata"]["labels"].as_object().unwrap().keys().any(|key| key.contains("aggregate-to"));
        let writes =
            has(&rule, "resources", "bigqueryconnections") && writes.iter().any(|verb| has(&rule, "verbs", verb));
        assert!(!(aggregated && writes), "{name}: {rule}");
        assert_eq!(writes, name.ends_with("-connections"), "{name}: {rule}");
    }
}

#[test]
fn where_it_works_in_namespaces_its_own_rights_are_roles() {
    let scoped =
        ["--set", "scope=Namespaces,watchNamespaces={sales,finance},userRoles.enabled=false,crds.enabled=false"];
    let rendered = objects(&render(&scoped).unwrap());
    let of_cluster = rendered.iter().filter(|object| object["metadata"]["namespace"].is_null());
    assert_eq!(of_cluster.map(|object| text(&object["kind"])).collect::<Vec<_>>(), Vec::<&str>::new());
    let roles: BTreeSet<&str> = of_kind(&rendered, "Role").map(|role| text(&role["metadata"]["namespace"])).collect();
    assert_eq!(roles, BTreeSet::from(["finance", "okr-system", "sales"]));
}

#[test]
fn a_pod_is_the_operators_by_one_label_and_the_tests_by_another() {
    let rendered = objects(&render(&["--set", "replicas=2,networkPolicy.enabled=true"]).unwrap());
    let selects = |object: &Value| match text(&object["kind"]) {
        "Service" => Some(object["spec"]["selector"].clone()),
        "Deployment" | "PodDisruptionBudget" => Some(object["spec"]["selector"]["matchLabels"].clone()),
        "NetworkPolicy" => Some(object["spec"]["podSelector"]["matchLabels"].clone()),
        _ => None,
    };
    let selectors: Vec<Value> = rendered.iter().filter_map(selects).collect();
    assert_eq!(selectors.len(), 4);
    let operator = &of_kind(&rendered, "Deployment").next().unwrap()["spec"]["template"]["metadata"]["labels"];
    let test = &of_kind(&rendered, "Pod").find(|pod| is_hook(pod)).unwrap()["metadata"]["labels"];
    for selector in selectors {
        let matches = |labels: &Value| selector.as_object().unwrap().iter().all(|(key, value)| labels[key] == *value);
        assert!(matches(operator) && !matches(test), "{selector}");
    }
}
