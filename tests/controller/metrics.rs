//! What is served to Prometheus: of a running operator, against docs/metrics.md and promtool.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
    sync::Arc,
};

use kube::api::DeleteParams;
use okr_operator::{
    api::{BigQueryConnection, OkrKeyResult, OkrObjective},
    metrics::Metrics,
    view::reading::CopiedLabels,
};
use serde_json::json;

use crate::{
    period,
    process::Process,
    reach, stubbed,
    support::{
        bigquery_stub::Reply,
        cluster::{await_some, sandbox},
        prometheus::Prometheus,
    },
};

/// The samples of `name`, without its name.
fn samples(metrics: &Metrics, name: &str) -> BTreeSet<String> {
    let text = metrics.text().unwrap();
    let sample = |line: &str| line.strip_prefix(name).filter(|rest| rest.starts_with('{')).map(str::to_owned);
    text.lines().filter_map(sample).collect()
}

async fn await_sample(metrics: &Arc<Metrics>, name: &str, sample: &str) {
    await_some(&format!("{name}{sample}"), || async { samples(metrics, name).contains(sample).then_some(()) }).await;
}

/// What `promtool check metrics` has against a text.
fn check(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is on PATH: run `make test`");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A metric's type and labels, those of every histogram aside.
type Described = BTreeMap<String, (String, BTreeSet<String>)>;

/// The metrics of a text in Prometheus' format.
fn described(text: &str) -> Described {
    let mut found = Described::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
            found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let name = of_histogram.filter(|name| found.contains_key(*name)).unwrap_or(name);
            let (_, labels) = found.get_mut(name).unwrap_or_else(|| panic!("{name} is not described"));
            let Some((_, rest)) = line.split_once('{') else { continue };
            // No value of this test has a comma, a brace or a quote.
            let pairs = rest[..rest.find('}').unwrap()].split(',');
            let keys = pairs.map(|pair| pair.split_once('=').unwrap().0.to_owned());
            labels.extend(keys.filter(|key| key != "le"));
        }
    }
    found
}

/// The rows of docs/metrics.md: `` | `name` | type | `label`, `label` | unit | meaning | ``.
fn documented() -> Described {
    let text = std::fs::read_to_string("docs/metrics.md").unwrap();
    let row = |line: &str| {
        let line = line.strip_prefix("| `okr_")?;
        let cells: Vec<&str> = line.split(" | ").collect();
        let [name, kind, labels, _unit, _meaning] = cells[..] else { panic!("not five cells: {line}") };
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((format!("okr_{}", name.trim_end_matches('`')), (kind.to_owned(), labels)))
    };
    text.lines().filter_map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_what_is_documented() {
    let (sandbox, _stub) = stubbed("metrics-docs", Reply::number("INT64", "47")).await;
    let objective = json!({"title": "Company", "period": period(-50, 50)});
    sandbox.apply::<OkrObjective>("company", objective).await;
    let measured = json!({
        "title": "Grow", "parentRef": {"name": "company"}, "period": period(-50, 50),
        "measure": {"reach": {"target": 100}}, "bigQuery": {"query": "SELECT 47"},
    });
    sandbox.apply::<OkrObjective>("grow", measured).await;
    let mut key_result = reach("SELECT 47");
    key_result["objectiveRef"] = json!({"name": "company"});
    sandbox.apply::<OkrKeyResult>("kr", key_result).await;
    let process = Process::start(&sandbox, &[]);
    for sign in
        ["okr_key_result_fresh{", "okr_objective_fresh{", "okr_bigquery_connection_ready{", "okr_objective_status{"]
    {
        await_some(sign, || async { process.get("/metrics").await.contains(sign).then_some(()) }).await;
    }
    let text = process.get("/metrics").await;
    check(&text);
    let (served, documented) = (described(&text), documented());
    let names = |described: &Described| described.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&served), names(&documented), "served on the left, docs/metrics.md on the right");
    for (name, of_it) in &served {
        assert_eq!(of_it, &documented[name], "{name}: served on the left, docs/metrics.md on the right");
    }

    let client = reqwest::Client::new();
    let asked = client.get(format!("http://{}/metrics", process.address));
    let answer = asked.header("Accept", "application/openmetrics-text;version=1.0.0;q=0.6").send().await.unwrap();
    let format = answer.headers()["content-type"].to_str().unwrap().to_owned();
    let open_metrics = answer.text().await.unwrap();
    assert!(format.starts_with("application/openmetrics-text; version=1.0.0"), "{format}");
    assert!(open_metrics.contains("# UNIT okr_key_result_progress_ratio ratio\n"), "{open_metrics}");
    assert!(open_metrics.ends_with("\n# EOF\n"), "{open_metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn series_say_what_the_status_says_and_go_with_their_object() {
    let (sandbox, stub) = stubbed("metrics-series", Reply::number("FLOAT64", "47.5")).await;
    stub.on("SELECT NULL", Reply::error(400, "invalidQuery", "no").dry_run(Reply::number("INT64", "1")));
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47.5")).await;
    sandbox.apply::<OkrKeyResult>("broken", reach("SELECT NULL")).await;
    let operator = sandbox.operator();
    let metrics = &operator.metrics;
    let namespace = &sandbox.namespace;
    let of = |name: &str| format!("{{namespace=\"{namespace}\",name=\"{name}\"}}");
    await_sample(metrics, "okr_key_result_value", &format!("{} 47.5", of("kr"))).await;
    await_sample(metrics, "okr_bigquery_connection_ready", &format!("{} 1", of("warehouse"))).await;
    sandbox.await_reason("broken", "QueryInvalid").await;
    let not_started = format!("{{namespace=\"{namespace}\",name=\"broken\",status=\"NotStarted\"}} 1.0");
    await_sample(metrics, "okr_key_result_status", &not_started).await;

    let status = sandbox.status("kr").await;
    let seconds = format!("{}.0", status.value_time.unwrap().0.as_second());
    let only = |sample: String| BTreeSet::from([sample]);
    assert_eq!(samples(metrics, "okr_key_result_progress_ratio"), only(format!("{} 0.475", of("kr"))));
    assert_eq!(samples(metrics, "okr_key_result_value"), only(format!("{} 47.5", of("kr"))), "none without a value");
    assert_eq!(samples(metrics, "okr_key_result_value_timestamp_seconds"), only(format!("{} {seconds}", of("kr"))));
    assert_eq!(samples(metrics, "okr_key_result_fresh"), only(format!("{} 1.0", of("kr"))));
    let current = format!("{{namespace=\"{namespace}\",name=\"kr\",status=\"Behind\"}} 1.0");
    assert_eq!(samples(metrics, "okr_key_result_status"), [current, not_started].into(), "the current one");
    let expected = status.expected_progress_percent.unwrap();
    assert_eq!(samples(metrics, "okr_key_result_expected_progress_ratio").len(), 2, "{expected}");

    for name in ["kr", "broken"] {
        sandbox.api::<OkrKeyResult>().delete(name, &DeleteParams::default()).await.unwrap();
    }
    sandbox.api::<BigQueryConnection>().delete("warehouse", &DeleteParams::default()).await.unwrap();
    await_some("no series is left", || async {
        let text = metrics.text().unwrap();
        (!text.contains("okr_key_result") && !text.contains("okr_bigquery_connection_ready")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_what_is_served_and_can_judge_it() {
    let (sandbox, _stub) = stubbed("metrics-prometheus", Reply::number("FLOAT64", "47.5")).await;
    let mut odd = reach("SELECT 47.5");
    odd["owner"] = json!("The \"A\"\\team\nof 1, {2}");
    sandbox.apply::<OkrKeyResult>("kr", odd.clone()).await;
    let process = Process::start(&sandbox, &["--metrics-labels=spec.owner"]);
    let prometheus = Prometheus::start("controller", &process.address, "/metrics");
    let found = prometheus.await_series("okr_key_result_value").await;
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let labels = [
        label("namespace", &sandbox.namespace),
        label("name", "kr"),
        label("owner", odd["owner"].as_str().unwrap()),
        label("instance", &process.address),
        label("job", "okr-operator"),
    ];
    assert_eq!(found, [(labels.into(), "47.5".to_owned())]);
    let found = prometheus.await_series("okr_operator_leader == 1").await;
    assert_eq!(found[0].0["namespace"], "okr-system", "what has no namespace of its own gets the target's");
    let histogram = "histogram_quantile(0.5, okr_operator_query_seconds_bucket)";
    prometheus.await_series(histogram).await;
    prometheus.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_copied_escaped_and_told_apart_by_namespace() {
    let (sandbox, other) = (sandbox("metrics-one").await, sandbox("metrics-two").await);
    let spec = |value: i64| {
        json!({
            "title": "Odd", "owner": "The \"A\"\\team\nof 1, {2}", "objectiveRef": {"name": "grow", "namespace": "company"},
            "measure": {"baseline": {}}, "manual": {"value": value, "asOf": crate::support::examples::day(0).to_string()},
        })
    };
    sandbox.apply::<OkrKeyResult>("kr", spec(1)).await;
    other.apply::<OkrKeyResult>("kr", spec(2)).await;
    let labels = json!({"metadata": {"labels": {"example.com/costCenter": "7.a"}}});
    sandbox.patch::<OkrKeyResult>("kr", labels).await;
    let operator = sandbox.operator_with(|settings| {
        settings.namespaces.push(other.namespace.clone());
        settings.copied_labels = CopiedLabels::new(["example.com/costCenter", "spec.owner"]).unwrap();
    });
    let sample = |namespace: &str, copied: &str, value: u8| {
        let owner = r#"owner="The \"A\"\\team\nof 1, {2}""#;
        format!("{{namespace=\"{namespace}\",name=\"kr\",objective=\"company/grow\",{copied}{owner}}} {value}.0")
    };
    let cost_center = "label_example_com_cost_center=\"7.a\",";
    for sample in [sample(&sandbox.namespace, cost_center, 1), sample(&other.namespace, "", 2)] {
        await_sample(&operator.metrics, "okr_key_result_value", &sample).await;
    }
    check(&operator.metrics.text().unwrap());
    operator.stop().await;
}
