//! `kubectl okr check` refuses what the API server refuses, and nothing else. All the cases of this folder are asked of
//! both; here are the examples, the mistakes of `tests/check`, and changes to the examples that nobody thought of.

use http::{Request, header::CONTENT_TYPE};
use okr_operator::plugin::check::{By, Checker};
use serde_json::{Value, json};

use crate::support::cluster::{Sandbox, sandbox};

/// What `kubectl okr check` says that the API server refuses.
pub fn refusals(manifest: &str) -> Vec<String> {
    let mut checker = Checker::new("default");
    checker.read("case", manifest);
    let report = checker.finish();
    let refused = report.findings.iter().filter(|finding| finding.by == By::ApiServer);
    refused.map(|finding| format!("{}: {}", finding.field, finding.message)).chain(report.unchecked).collect()
}

/// Why the API server refuses an object that is to be created in the sandbox; None where it takes it.
async fn refused(sandbox: &Sandbox, mut object: Value) -> Option<String> {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("namespace").is_none_or(Value::is_string)
    {
        metadata.insert("namespace".to_owned(), json!(sandbox.namespace));
    }
    let plural = match object["kind"].as_str() {
        Some("BigQueryConnection") => "bigqueryconnections",
        Some("OkrObjective") => "okrobjectives",
        _ => "okrkeyresults",
    };
    let url = format!(
        "/apis/okr-operator.dev/v1alpha1/namespaces/{}/{plural}?dryRun=All&fieldValidation=Strict",
        sandbox.namespace
    );
    let request = Request::post(url).header(CONTENT_TYPE, "application/json");
    match sandbox.client.request::<Value>(request.body(serde_json::to_vec(&object).unwrap()).unwrap()).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) => Some(status.message),
        Err(error) => panic!("no answer: {error}"),
    }
}

/// A generator of numbers that are the same on each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

/// The paths of all values in an object, as JSON pointers.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = format!("{at}/{}", escaped(key));
                found.push(path.clone());
                pointers(value, &path, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{at}/{index}");
                found.push(path.clone());
                pointers(item, &path, found);
            }
        }
        _ => {}
    }
}

/// Changes one thing somewhere, and says what.
fn mutate(object: &mut Value, chance: &mut Chance) -> String {
    let mut paths = Vec::new();
    pointers(object, "", &mut paths);
    // Another apiVersion or kind is another address, which no manifest decides for itself.
    paths.retain(|path| path != "/apiVersion" && path != "/kind" && path != "/metadata/namespace");
    let path = paths[chance.below(paths.len())].clone();
    let (parent, key) = path.rsplit_once('/').unwrap();
    if chance.below(4) == 0 {
        match object.pointer_mut(parent).unwrap() {
            Value::Object(fields) => {
                fields.remove(&key.replace("~1", "/"));
                return format!("without {path}");
            }
            Value::Array(items) => {
                let item = items[key.parse::<usize>().unwrap()].clone();
                items.push(item);
                return format!("{path} twice");
            }
            _ => {}
        }
    }
    if chance.below(6) == 0
        && let Some(fields) = object.pointer_mut(parent).and_then(Value::as_object_mut)
    {
        fields.insert(format!("{key}s"), json!("x"));
        return format!("with {path}s");
    }
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(101),
        json!(99.5),
        json!(1e30),
        json!(""),
        json!(" "),
        json!("text"),
        json!("99.5"),
        json!("-3"),
        json!("5,000"),
        json!("1h"),
        json!("90"),
        json!("0s"),
        json!("200h"),
        json!("1d"),
        json!("2026-13-01"),
        json!("2026-12-31"),
        json!("2020-01-01"),
        json!("31.12.2026"),
        json!("10Gi"),
        json!("Closed"),
        json!("x".repeat(64)),
        json!("x".repeat(300)),
        json!("é".repeat(5000)),
        json!("X_y"),
        json!("a.b"),
        json!("https://a.example"),
        json!([]),
        json!([1]),
        json!(["a", "a"]),
        json!({}),
        json!({"name": "a"}),
        json!({"target": 5}),
        json!([{"name": "a"}, {"name": "a"}]),
        json!(i64::MAX),
        json!(u64::MAX),
    ];
    let value = values[chance.below(values.len())].clone();
    let said = format!("{path} = {value:.60}");
    *object.pointer_mut(&path).unwrap() = value;
    said
}

/// Every object of `examples/` and a few that have the fields that those lack.
fn seeds() -> Vec<Value> {
    let mut texts = Vec::new();
    for folder in ["examples", "examples/connections"] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                texts.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    texts.sort();
    let objects = serde_saphyr::from_multiple::<Value>(&texts.join("\n---\n")).unwrap();
    let ours = objects.into_iter().filter(|object| object["kind"] != "Namespace");
    let full = json!({
        "apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrKeyResult",
        "metadata": {"name": "full", "labels": {"team": "a"}, "annotations": {"a.example/b": "c"}},
        "spec": {
            "title": "a", "owner": "b", "weight": 5, "unit": "EUR", "interval": "1h30m", "lifecycle": "Active",
            "objectiveRef": {"name": "a", "namespace": "b"}, "suspend": false,
            "period": {"startDate": "2026-10-01", "endDate": "2026-12-31", "timeZone": "Europe/Paris"},
            "measure": {"increase": {"from": "1.5", "target": 9}},
            "expected": {"phases": [{"date": "2026-11-01", "target": 3}, {"date": "2026-12-01", "target": "4.5"}]},
            "thresholds": {"behind": 5, "atRisk": "20.5"},
            "override": {"okrStatus": "OnTrack", "note": "n", "until": "2026-11-30"},
            "links": [{"title": "t", "url": "https://a.example/b"}],
            "bigQuery": {
                "connectionRef": {"name": "a", "namespace": "b"}, "query": "SELECT @p",
                "parameters": [{"name": "p", "type": "INT64", "value": "1"}],
            },
        },
        "status": {"value": "1", "observedGeneration": 1},
    });
    let connection = json!({
        "apiVersion": "okr-operator.dev/v1alpha1", "kind": "BigQueryConnection", "metadata": {"name": "full"},
        "spec": {
            "projectId": "p", "billingProjectId": "q", "location": "EU", "defaultDataset": "d", "default": true,
            "credentials": {"serviceAccountKey": {"secretRef": {"name": "a", "key": "b"}}},
            "impersonate": {"serviceAccount": "a@b.example"}, "scopes": ["drive.readonly"],
            "allowedNamespaces": {"from": "Selector", "selector": {
                "matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}],
            }},
            "limits": {
                "maximumBytesBilled": "10Gi", "maximumBytesPerDay": 1000, "maxConcurrentQueries": 8, "queryTimeout": "60s",
                "minInterval": "5m",
            },
        },
    });
    ours.chain([full, connection]).collect()
}

#[tokio::test]
async fn check_agrees_on_what_nobody_thought_of() {
    let sandbox = sandbox("admission").await;
    let mut chance = Chance(7);
    let mut wrong = Vec::new();
    let mut refusals_seen = 0;
    for (index, seed) in seeds().into_iter().cycle().take(1200).enumerate() {
        let mut object = seed;
        let mut changes = vec![mutate(&mut object, &mut chance)];
        if index % 3 == 0 {
            changes.push(mutate(&mut object, &mut chance));
        }
        let answer = refused(&sandbox, object.clone()).await;
        let offline = refusals(&object.to_string());
        refusals_seen += usize::from(answer.is_some());
        if answer.is_some() == offline.is_empty() {
            wrong.push(format!(
                "{} of {}\n  {answer:.300?}\n  check: {offline:?}",
                changes.join(", "),
                object["metadata"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!((300..1100).contains(&refusals_seen), "{refusals_seen} of 1200 are refused");
}

/// The verdict of `kubectl create --dry-run=server` on a file, which reads YAML in its own way.
async fn kubectl_accepts(sandbox: &Sandbox, file: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap();
    let here = text.replace("namespace: sales", &format!("namespace: {}", sandbox.namespace));
    let here = here.replace("namespace: finance", &format!("namespace: {}", sandbox.namespace));
    let here = here.replace("namespace: okr-demo", &format!("namespace: {}", sandbox.namespace));
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(file.replace('/', "-"));
    std::fs::write(&path, here).unwrap();
    let arguments = ["create", "--dry-run=server", "--validate=strict", "--namespace", &sandbox.namespace, "-f"];
    let output = tokio::process::Command::new("kubectl").args(arguments).arg(&path).output().await.unwrap();
    output.status.success()
}

#[tokio::test]
async fn check_agrees_with_kubectl_on_every_file() {
    let sandbox = sandbox("admission").await;
    let mut wrong = Vec::new();
    for folder in ["examples", "examples/connections", "tests/check/mistakes", "tests/check/readings"] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let Some(file) = path.to_str().filter(|file| file.ends_with(".yaml")) else { continue };
            let offline = refusals(&std::fs::read_to_string(file).unwrap());
            // The namespace that the examples make is not there for a dry run, and its name is taken on other servers.
            if file.contains("00-namespace") {
                continue;
            }
            if kubectl_accepts(&sandbox, file).await != offline.is_empty() {
                wrong.push(format!("{file}: check says {offline:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
