//! Alert rules, the Grafana dashboard and their docs: that promtool takes them, that they fire when they should, and that they
//! ask for metrics that exist. That `docs/metrics.md` lists what is served is tested in `tests/controller/metrics.rs`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const ALERTS: &str = "charts/okr-operator/files/alerts.yaml";
const DASHBOARD: &str = "charts/okr-operator/files/grafana.json";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// A file of this test run.
fn temporary(name: &str, content: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn promtool(arguments: &[&str], file: &Path) {
    let output = Command::new("promtool").args(arguments).arg(file).output();
    let output = output.expect("promtool is on PATH: run `make test`");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "promtool {} {}: {}",
        arguments.join(" "),
        file.display(),
        String::from_utf8_lossy(&said)
    );
}

fn rules() -> Vec<Value> {
    let file = yaml(&read(ALERTS));
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The panels, also those within rows.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let outer = dashboard["panels"].as_array().unwrap().clone();
    let inner = outer.iter().filter_map(|panel| panel["panels"].as_array()).flatten().cloned().collect::<Vec<_>>();
    outer.into_iter().chain(inner).filter(|panel| panel["type"] != "row").collect()
}

/// What the panels ask, with the variables as Grafana fills them in, and the panel's title.
fn panel_expressions() -> Vec<(String, String)> {
    let expression = |panel: &Value, target: &Value| {
        let expression = text(&target["expr"]).replace("$__rate_interval", "5m");
        (
            text(&panel["title"]).to_owned(),
            expression.replace("$namespace", "sales|finance").replace("$objective", ".*"),
        )
    };
    let panels = panels();
    let targets =
        panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap().iter().map(move |target| (panel, target)));
    targets.map(|(panel, target)| expression(panel, target)).collect()
}

/// The names of our metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("okr_")).map(str::to_owned).collect()
}

/// Of docs/metrics.md: the names that series have.
fn documented() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for row in read("docs/metrics.md").lines().filter_map(|line| line.strip_prefix("| `")) {
        let Some((name, rest)) = row.split_once("` | ").filter(|(name, _)| name.starts_with("okr_")) else { continue };
        let suffixes: &[&str] = if rest.starts_with("histogram") { &["_bucket", "_sum", "_count"] } else { &[""] };
        names.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
    }
    assert!(names.len() > 20, "{names:?}");
    names
}

#[track_caller]
fn check_exists(what: &str, asked: &str) {
    let (asked, documented) = (metrics_in(asked), documented());
    let missing: Vec<&String> = asked.difference(&documented).collect();
    assert!(missing.is_empty(), "{what} asks for {missing:?}, which docs/metrics.md does not have");
}

#[test]
fn promtool_has_nothing_against_the_rules() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &root().join(ALERTS));
}

#[test]
fn alerts_fire_when_they_should() {
    let rules = root().join(ALERTS);
    let mut tested = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("tests/alerts")).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read_to_string(&path).unwrap();
        let fires = content
            .split("alertname: ")
            .skip(1)
            .filter(|rest| rest.lines().nth(1).is_some_and(|line| line.contains("exp_alerts")));
        tested.extend(fires.map(|rest| rest.lines().next().unwrap().to_owned()));
        let name = format!("alerts-{}", path.file_name().unwrap().to_string_lossy());
        promtool(&["test", "rules"], &temporary(&name, &content.replace("RULES", &rules.to_string_lossy())));
    }
    let all: BTreeSet<String> = rules_named().collect();
    assert_eq!(tested, all, "alerts that a test makes fire, and those that there are");
}

fn rules_named() -> impl Iterator<Item = String> {
    rules().into_iter().map(|rule| text(&rule["alert"]).to_owned())
}

#[test]
fn every_alert_is_explained_and_has_what_people_need() {
    let docs = read("docs/alerts.md");
    for rule in rules() {
        let alert = text(&rule["alert"]);
        assert!(["warning", "critical"].contains(&text(&rule["labels"]["severity"])), "{alert}");
        for annotation in ["summary", "description"] {
            assert!(!text(&rule["annotations"][annotation]).is_empty(), "{alert}");
        }
        let anchor = alert.to_ascii_lowercase();
        assert!(text(&rule["annotations"]["runbook_url"]).ends_with(&format!("/docs/alerts.md#{anchor}")), "{alert}");
        let (_, section) =
            docs.split_once(&format!("\n## {alert}\n")).unwrap_or_else(|| panic!("docs/alerts.md lacks {alert}"));
        let section = section.split("\n## ").next().unwrap();
        assert!(section.contains("**Means**") && section.contains("**Do**"), "{alert}");
        let row = format!("| [{alert}](#{anchor}) | {} | ", text(&rule["labels"]["severity"]));
        assert!(docs.contains(&row), "docs/alerts.md has no row {row}");
        check_exists(alert, text(&rule["expr"]));
    }
    let sections = docs.lines().filter_map(|line| line.strip_prefix("## Okr")).map(|rest| format!("Okr{rest}"));
    assert_eq!(sections.collect::<BTreeSet<_>>(), rules_named().collect(), "a section without an alert");
}

#[test]
fn the_dashboard_imports_anywhere_and_asks_for_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    assert_eq!(dashboard["id"], Value::Null);
    assert_eq!(dashboard["uid"], "okr-operator");
    assert!(dashboard.get("__inputs").is_none() && dashboard.get("__requires").is_none());
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap().iter().chain(&panels()) {
        ids.insert(panel["id"].as_u64().unwrap());
    }
    assert_eq!(ids.len(), dashboard["panels"].as_array().unwrap().len(), "ids are unique");
    for panel in panels() {
        let title = text(&panel["title"]);
        assert!(!text(&panel["description"]).is_empty(), "{title}");
        for place in panel["targets"].as_array().unwrap().iter().chain([&panel]) {
            assert_eq!(place["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables.iter().map(|variable| text(&variable["name"])).collect();
    assert_eq!(names, ["datasource", "namespace", "objective"]);
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        check_exists("a variable", text(&variable["query"]["query"]));
    }
    for (title, expression) in panel_expressions() {
        check_exists(&title, &expression);
    }
}

#[test]
fn promtool_parses_every_expression_of_the_dashboard_and_the_docs() {
    let mut expressions: Vec<String> = panel_expressions().into_iter().map(|(_, expression)| expression).collect();
    assert!(expressions.iter().all(|expression| !expression.contains('$')), "a variable that this test does not know");
    let docs = read("docs/metrics.md");
    let (_, questions) = docs.split_once("| question | PromQL |").unwrap();
    let questions: Vec<&str> =
        questions.lines().filter_map(|row| row.split_once("? | `")?.1.strip_suffix("` |")).collect();
    assert!(questions.len() >= 5, "{questions:?}");
    for question in questions {
        check_exists("docs/metrics.md", question);
        expressions.push(question.to_owned());
    }
    let rule = |(number, expression): (usize, &String)| serde_json::json!({"record": format!("panel:{number}"), "expr": expression});
    let rules: Vec<Value> = expressions.iter().enumerate().map(rule).collect();
    // JSON is YAML too.
    let file = serde_json::json!({"groups": [{"name": "expressions", "rules": rules}]});
    promtool(&["check", "rules", "--lint=none"], &temporary("expressions.yaml", &file.to_string()));
}

#[test]
fn the_table_of_key_results_is_in_the_order_of_what_needs_people_first() {
    let expressions = panel_expressions();
    let (_, order) = expressions.iter().find(|(title, _)| title == "Key results, the worst first").unwrap();
    let labels = |name: &str| format!("namespace=\"sales\",name=\"{name}\"");
    let mut input = Vec::new();
    let mut put = |name: &str, status: &str, numbers: Option<(&'static str, &'static str)>| {
        let pod = "pod=\"a\"";
        input.push((format!("okr_key_result_status{{{},status=\"{status}\",{pod}}}", labels(name)), "1"));
        if let Some((expected, progress)) = numbers {
            input.push((format!("okr_key_result_expected_progress_ratio{{{},{pod}}}", labels(name)), expected));
            input.push((format!("okr_key_result_progress_ratio{{{},{pod}}}", labels(name)), progress));
        }
    };
    put("risky", "AtRisk", Some(("0.5", "0.25")));
    put("far-too-low", "AtRisk", Some(("0.5", "-90")));
    put("limit", "AtRisk", None);
    put("behind", "Behind", Some(("0.5", "0.25")));
    put("ahead", "OnTrack", Some(("0.5", "90")));
    let want = [("far-too-low", "AtRisk", 74.0), ("risky", "AtRisk", 70.25), ("limit", "AtRisk", 70.0)];
    let want = want.into_iter().chain([("behind", "Behind", 60.25), ("ahead", "OnTrack", 46.0)]);
    let samples: Vec<Value> = want
        .map(|(name, status, value)| {
            serde_json::json!({"labels": format!("{{{},status=\"{status}\"}}", labels(name)), "value": value})
        })
        .collect();
    let input: Vec<Value> =
        input.iter().map(|(series, value)| serde_json::json!({"series": series, "values": value})).collect();
    let test = serde_json::json!({"tests": [{
        "interval": "1m", "input_series": input,
        "promql_expr_test": [{"expr": order, "eval_time": "0m", "exp_samples": samples}],
    }]});
    promtool(&["test", "rules"], &temporary("order.yaml", &test.to_string()));
}

#[test]
fn the_example_of_alertmanager_sends_every_alert_to_a_receiver_that_exists() {
    let docs = read("docs/alerts.md");
    let (_, rest) = docs.split_once("```yaml\n").unwrap();
    let example = yaml(rest.split("```").next().unwrap());
    let receivers: BTreeSet<&str> =
        example["receivers"].as_array().unwrap().iter().map(|receiver| text(&receiver["name"])).collect();
    let route = &example["route"];
    let routes = route["routes"].as_array().unwrap();
    for receiver in routes.iter().chain([route]).map(|route| text(&route["receiver"])) {
        assert!(receivers.contains(receiver), "{receiver}");
    }
    for receiver in example["receivers"].as_array().unwrap() {
        let slack = &receiver["slack_configs"][0];
        assert!(
            text(&slack["channel"]).starts_with('#') && text(&slack["api_url_file"]).starts_with('/'),
            "{receiver}"
        );
    }
    let matchers = routes.iter().flat_map(|route| route["matchers"].as_array().unwrap());
    for matcher in matchers.map(text) {
        let (label, rest) = matcher.split_once(' ').unwrap();
        let (operator, value) = rest.split_once(' ').unwrap();
        assert!(["=", "!=", "=~", "!~"].contains(&operator), "{matcher}");
        assert!(value.starts_with('"') && value.ends_with('"'), "{matcher}");
        assert!(["alertname", "namespace", "label_team"].contains(&label), "{matcher}");
    }
}
