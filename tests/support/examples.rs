//! The examples, as `make demo` applies them.

use kube::api::{Patch, PatchParams};
use okr_operator::api::{BigQueryConnection, OkrKeyResult, OkrObjective};
use serde::Deserialize;
use serde_json::Value;

use super::cluster::Sandbox;

/// The real BigQuery server that `make test` starts.
pub fn emulator() -> String {
    std::env::var("OKR_BIGQUERY_ENDPOINT").expect("the BigQuery server's address: run `make test`")
}

/// Today in UTC, plus so many days.
#[expect(clippy::disallowed_methods, reason = "a test of the running operator shares its clock")]
pub fn day(offset: i64) -> jiff::civil::Date {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    today + jiff::Span::new().days(offset)
}

/// The files of `examples/` by name, with a period around today as `make demo` gives them.
pub fn files() -> Vec<(String, String)> {
    let paths = std::fs::read_dir("examples").unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.filter(|path| path.is_file()).collect();
    files.sort();
    let text = |file: &std::path::Path| {
        std::fs::read_to_string(file)
            .unwrap()
            .replace("2026-10-01", &day(-45).to_string())
            .replace("2026-11-15", &day(0).to_string())
            .replace("2026-12-31", &day(45).to_string())
            .replace("http://127.0.0.1:9050", &emulator())
    };
    files.iter().map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), text(file))).collect()
}

/// All their objects.
pub fn manifests() -> Vec<Value> {
    let texts: Vec<String> = files().into_iter().map(|(_, text)| text).collect();
    serde_saphyr::from_multiple::<Value>(&texts.join("\n---\n")).unwrap()
}

/// Applies them to a namespace of the test's own.
pub async fn apply(sandbox: &Sandbox) {
    for manifest in manifests() {
        let patch = |mut manifest: Value| {
            manifest["metadata"]["namespace"] = sandbox.namespace.as_str().into();
            Patch::Apply(manifest)
        };
        let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
        let parameters = PatchParams::apply("tests").force();
        match manifest["kind"].as_str().unwrap() {
            "BigQueryConnection" => {
                sandbox.api::<BigQueryConnection>().patch(&name, &parameters, &patch(manifest)).await.unwrap();
            }
            "OkrKeyResult" => {
                sandbox.api::<OkrKeyResult>().patch(&name, &parameters, &patch(manifest)).await.unwrap();
            }
            "OkrObjective" => {
                sandbox.api::<OkrObjective>().patch(&name, &parameters, &patch(manifest)).await.unwrap();
            }
            _ => {}
        }
    }
}

/// Loads what they ask for into the BigQuery server.
pub async fn load_sample_data() {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "jobComplete")]
        job_complete: bool,
    }
    let query = std::fs::read_to_string("dev/sample-data/quarter.sql").unwrap();
    let url = format!("{}/bigquery/v2/projects/demo/queries", emulator());
    let body = serde_json::json!({"query": query, "useLegacySql": false, "timeoutMs": 60000});
    let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    assert!(answer.error_for_status().unwrap().json::<Answer>().await.unwrap().job_complete);
}
