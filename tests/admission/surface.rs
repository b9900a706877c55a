//! What `kubectl` shows of the kinds, what their status is, and that every manifest of ours is accepted.

use http::{Request, header::CONTENT_TYPE};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use kube::{
    Client, Resource, ResourceExt,
    api::{ListParams, PostParams},
    core::NamespaceResourceScope,
};
use okr_operator::api::{BigQueryConnection, BigQueryConnectionStatus, MeasuredStatus, OkrKeyResult, OkrStatus, crd};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::cluster::{Sandbox, sandbox};

/// What `kubectl` writes, as text: what people asked for, and what it says beside it.
struct Said {
    output: String,
    aside: String,
}

async fn kubectl(arguments: &[&str]) -> Said {
    let output = Command::new("kubectl").args(arguments).output().await.expect("kubectl is in PATH: run `make test`");
    let said =
        Said { output: String::from_utf8(output.stdout).unwrap(), aside: String::from_utf8(output.stderr).unwrap() };
    assert!(output.status.success(), "kubectl {}: {}", arguments.join(" "), said.aside);
    said
}

async fn connection(sandbox: &Sandbox, name: &str) -> BigQueryConnection {
    sandbox.connect(name, "http://127.0.0.1:9050").await
}

async fn key_result(sandbox: &Sandbox, name: &str, owner: &str, objective: &str) -> OkrKeyResult {
    let spec = json!({
        "owner": owner, "objectiveRef": {"name": objective},
        "measure": {"baseline": {}}, "bigQuery": {"query": "SELECT 1"},
    });
    sandbox.apply(name, spec).await
}

#[tokio::test]
async fn a_new_object_is_seen_as_undecided() {
    let sandbox = sandbox("admission").await;
    let key_result = key_result(&sandbox, "new", "growth-team", "grow").await;
    assert_eq!(key_result.status.unwrap().observed_generation, Some(-1));
    let connection = connection(&sandbox, "new").await;
    assert_eq!(connection.status.unwrap().observed_generation, Some(-1));
}

/// Replaces the status by way of an object whose spec differs too.
async fn put_status(client: &Client, url: &str, change: impl Fn(&mut Value)) -> (Value, Value) {
    let stored: Value = client.request(Request::get(url).body(Vec::new()).unwrap()).await.unwrap();
    let mut changed = stored.clone();
    change(&mut changed);
    let request = Request::put(format!("{url}/status")).header(CONTENT_TYPE, "application/json");
    let answer = client.request(request.body(serde_json::to_vec(&changed).unwrap()).unwrap()).await.unwrap();
    (stored, answer)
}

fn url<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(sandbox: &Sandbox, name: &str) -> String {
    format!("{}/{name}", K::url_path(&(), Some(&sandbox.namespace)))
}

#[tokio::test]
async fn a_write_of_the_status_leaves_the_spec_alone() {
    let sandbox = sandbox("admission").await;
    key_result(&sandbox, "one", "growth-team", "grow").await;
    connection(&sandbox, "one").await;
    for (url, field) in
        [(url::<OkrKeyResult>(&sandbox, "one"), "title"), (url::<BigQueryConnection>(&sandbox, "one"), "displayName")]
    {
        let (before, after) = put_status(&sandbox.client, &url, |object| {
            object["spec"][field] = json!("Changed");
            object["metadata"]["labels"] = json!({"changed": "yes"});
            object["status"] = json!({"observedGeneration": 1});
        })
        .await;
        assert_eq!(after["spec"], before["spec"], "{url}");
        assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"], "{url}");
        assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"], "{url}");
        assert_eq!(after["status"], json!({"observedGeneration": 1}), "{url}");
    }
}

#[tokio::test]
async fn a_write_of_the_spec_leaves_the_status_alone() {
    let sandbox = sandbox("admission").await;
    let mut key_result = key_result(&sandbox, "one", "growth-team", "grow").await;
    key_result.status = Some(MeasuredStatus { okr_status: Some(OkrStatus::OnTrack), ..MeasuredStatus::default() });
    key_result.metadata.managed_fields = None;
    let stored = sandbox.api::<OkrKeyResult>().replace("one", &PostParams::default(), &key_result).await.unwrap();
    assert_eq!(stored.status.unwrap().okr_status, None);

    let mut connection = connection(&sandbox, "one").await;
    connection.status = Some(BigQueryConnectionStatus { bytes_today: Some(1), ..BigQueryConnectionStatus::default() });
    connection.metadata.managed_fields = None;
    let stored = sandbox.api::<BigQueryConnection>().replace("one", &PostParams::default(), &connection).await.unwrap();
    assert_eq!(stored.status.unwrap().bytes_today, None);
}

#[tokio::test]
async fn key_results_are_found_by_owner_objective_and_status() {
    let sandbox = sandbox("admission").await;
    for (name, owner, objective, status) in [
        ("one", "growth-team", "grow", "OnTrack"),
        ("two", "growth-team", "keep", "AtRisk"),
        ("three", "finance-team", "keep", "AtRisk"),
    ] {
        key_result(&sandbox, name, owner, objective).await;
        put_status(&sandbox.client, &url::<OkrKeyResult>(&sandbox, name), |object| {
            object["status"] = json!({"okrStatus": status});
        })
        .await;
    }
    for (selector, want) in [
        ("spec.owner=growth-team", vec!["one", "two"]),
        ("spec.owner!=growth-team", vec!["three"]),
        ("spec.objectiveRef.name=keep", vec!["three", "two"]),
        ("status.okrStatus=OnTrack", vec!["one"]),
        ("spec.owner=growth-team,status.okrStatus=AtRisk", vec!["two"]),
    ] {
        let found = sandbox.api::<OkrKeyResult>().list(&ListParams::default().fields(selector)).await.unwrap();
        let names: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, want, "{selector}");
    }
}

/// The columns that `kubectl get` prints, which three spaces part.
fn columns(output: &str) -> Vec<&str> {
    output.lines().next().unwrap_or_default().split("   ").map(str::trim).filter(|column| !column.is_empty()).collect()
}

#[tokio::test]
async fn the_columns_are_those_of_spec() {
    let sandbox = sandbox("admission").await;
    key_result(&sandbox, "one", "growth-team", "grow").await;
    connection(&sandbox, "one").await;
    let get = |kind: &'static str, options: &'static [&'static str]| {
        let arguments = [&["get", kind, "--namespace", &sandbox.namespace], options].concat();
        async move { kubectl(&arguments).await.output }
    };
    let short = ["NAME", "STATUS", "VALUE", "TARGET", "PROGRESS", "EXPECTED", "READY", "LAST SYNC", "AGE"];
    let wide = [&short[..], &["CONNECTION", "NEXT SYNC", "BYTES", "REASON", "OWNER"]].concat();
    assert_eq!(columns(&get("okrkr", &[]).await), short);
    assert_eq!(columns(&get("okrkr", &["-o", "wide"]).await), wide);
    let short = ["NAME", "DISPLAY NAME", "PROJECT", "READY", "LINKED", "AGE"];
    let wide = [&short[..], &["REASON", "PRINCIPAL", "BYTES TODAY"]].concat();
    assert_eq!(columns(&get("bqc", &[]).await), short);
    assert_eq!(columns(&get("bqc", &["-o", "wide"]).await), wide);
}

#[tokio::test]
async fn a_future_sync_is_printed_as_it_is() {
    let sandbox = sandbox("admission").await;
    key_result(&sandbox, "one", "growth-team", "grow").await;
    put_status(&sandbox.client, &url::<OkrKeyResult>(&sandbox, "one"), |object| {
        object["status"] = json!({
            "okrStatus": "Behind", "value": "2350", "targetText": "5000", "progressPercent": "47",
            "expectedProgressPercent": "52", "nextSyncTime": "2999-01-01T00:00:00Z",
            "connection": {"namespace": "sales", "name": "warehouse", "uid": "1"},
            "lastQuery": {"bytesProcessed": 1_048_576, "cacheHit": false, "durationMs": 20},
        });
    })
    .await;
    let said = kubectl(&["get", "okrkr", "one", "--namespace", &sandbox.namespace, "-o", "wide", "--no-headers"]).await;
    let shown: Vec<&str> = said.output.split_whitespace().filter(|cell| !cell.ends_with('s')).collect();
    let want =
        ["one", "Behind", "2350", "5000", "47", "52", "warehouse", "2999-01-01T00:00:00Z", "1048576", "growth-team"];
    assert_eq!(shown, want, "{}", said.output);
}

#[tokio::test]
async fn one_word_lists_every_kind() {
    let sandbox = sandbox("admission").await;
    key_result(&sandbox, "one", "growth-team", "grow").await;
    connection(&sandbox, "two").await;
    let want = "bigqueryconnection.okr-operator.dev/two\nokrkeyresult.okr-operator.dev/one\n";
    for kinds in ["okr", "bqc,okrkr", "bigqueryconnections,okrkeyresults"] {
        let said = kubectl(&["get", kinds, "--namespace", &sandbox.namespace, "-o", "name"]).await;
        assert_eq!(said.output, want, "{kinds}");
    }
}

#[tokio::test]
async fn kubectl_explains_the_measures() {
    // Only for the CRDs.
    let _sandbox = sandbox("admission").await;
    let explained = kubectl(&["explain", "okrkr.spec.measure"]).await.output;
    for measure in ["percent", "reach", "increase", "decrease", "stayBelow", "stayAbove", "stayBetween", "baseline"] {
        let mut lines = explained.lines().skip_while(|line| *line != format!("  {measure}\t<Object>"));
        assert!(lines.nth(1).is_some_and(|description| description.trim().len() > 20), "{measure}: {explained}");
    }
    let explained = kubectl(&["explain", "okrkr.spec.measure.reach"]).await.output;
    assert!(explained.contains("  target\t<Object> -required-\n    The value to reach"), "{explained}");
}

/// The paths of properties without a description, or with one too short to say anything.
fn unexplained(schema: &JSONSchemaProps, path: &str, found: &mut Vec<String>) {
    for (name, property) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        if property.description.as_deref().is_none_or(|description| description.len() < 4) {
            found.push(path.clone());
        }
        unexplained(property, &path, found);
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &property.items {
            unexplained(items, &format!("{path}[]"), found);
        }
    }
}

#[test]
fn every_field_has_a_description() {
    let mut found = Vec::new();
    for crd in crd::all() {
        for version in crd.spec.versions {
            let schema = version.schema.and_then(|schema| schema.open_api_v3_schema).expect("a schema");
            assert!(schema.description.is_some());
            unexplained(&schema, &crd.spec.names.kind, &mut found);
        }
    }
    assert!(found.is_empty(), "without a description: {found:#?}");
}

#[tokio::test]
async fn the_api_server_takes_the_crds_without_a_warning() {
    let _sandbox = sandbox("admission").await;
    let said = kubectl(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "crds/",
    ]);
    let said = said.await;
    assert_eq!(said.aside, "");
    assert_eq!(said.output.lines().count(), crd::all().len(), "{}", said.output);
}

#[tokio::test]
async fn every_example_is_accepted() {
    let _sandbox = sandbox("admission").await;
    kubectl(&["apply", "--server-side", "-f", "examples/00-namespace.yaml"]).await;
    for mode in [&["--server-side"][..], &[]] {
        let arguments =
            [&["apply", "--dry-run=server", "--validate=strict", "--recursive", "-f", "examples/"], mode].concat();
        let said = kubectl(&arguments).await;
        // The namespace was not made by a client-side apply, which kubectl remarks on.
        let warnings: Vec<&str> = said.aside.lines().filter(|line| !line.contains("namespaces/okr-demo")).collect();
        assert!(warnings.is_empty(), "{warnings:#?}");
        let files =
            ["examples", "examples/connections"].into_iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
        let manifests: usize = files
            .map(|file| file.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| std::fs::read_to_string(path).unwrap().matches("\nkind: ").count())
            .sum();
        assert_eq!(said.output.lines().count(), manifests, "{}", said.output);
    }
}
