//! A real Prometheus that scrapes one target and evaluates the chart's alert rules.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::cluster::await_some;

/// It is stopped when dropped.
pub struct Prometheus {
    child: Child,
    url: String,
    folder: PathBuf,
}

impl Prometheus {
    /// Scrapes `path` at `address` every second, as the chart's ServiceMonitor has it: the operator's own labels win over
    /// those of the target.
    pub fn start(name: &str, address: &str, path: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("prometheus-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/okr-operator/files/alerts.yaml");
        let target = json!({"targets": [address], "labels": {"namespace": "okr-system"}});
        let scrape =
            json!({"job_name": "okr-operator", "honor_labels": true, "metrics_path": path, "static_configs": [target]});
        let intervals = json!({"scrape_interval": "1s", "evaluation_interval": "1s"});
        let configuration = json!({"global": intervals, "rule_files": [rules], "scrape_configs": [scrape]});
        std::fs::write(folder.join("prometheus.yml"), configuration.to_string()).unwrap();
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"])
            .current_dir(&folder)
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("prometheus is on PATH: run `make test` ({error})"));
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut said = Vec::new();
        let url = loop {
            let line = log.next().unwrap_or_else(|| panic!("prometheus ended: {said:#?}"));
            if let Some((_, address)) = line.split_once("msg=\"Listening on\" component=web address=") {
                break format!("http://{address}");
            }
            said.push(line);
        };
        // A full pipe would hold it up.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, url, folder }
    }

    /// What an instant query finds: labels, without the metric's name, and value, of each series.
    pub async fn query(&self, expression: &str) -> Vec<(BTreeMap<String, String>, String)> {
        let answer = self.get("query", &[("query", expression)]).await;
        let series = answer["result"].as_array().cloned().unwrap_or_default();
        let read = |series: Value| {
            let mut labels: BTreeMap<String, String> = serde_json::from_value(series["metric"].clone()).unwrap();
            labels.remove("__name__");
            (labels, series["value"][1].as_str().unwrap().to_owned())
        };
        series.into_iter().map(read).collect()
    }

    /// Waits until a query finds something.
    pub async fn await_series(&self, expression: &str) -> Vec<(BTreeMap<String, String>, String)> {
        await_some(expression, || async { Some(self.query(expression).await).filter(|found| !found.is_empty()) }).await
    }

    /// Waits until every rule was evaluated, and asserts that none failed, nor the last scrape.
    pub async fn assert_healthy(&self) {
        let rules = await_some("every rule is evaluated", || async {
            let answer = self.get("rules", &[]).await;
            let groups = answer["groups"].as_array().cloned().unwrap_or_default();
            let rules: Vec<Value> =
                groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
            (!rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown")).then_some(rules)
        })
        .await;
        for rule in rules {
            assert_eq!(rule["health"], "ok", "{}: {}", rule["name"], rule["lastError"]);
        }
        let targets = self.get("targets", &[]).await;
        let target = &targets["activeTargets"][0];
        assert_eq!((&target["health"], &target["lastError"]), (&json!("up"), &json!("")));
    }

    /// The `data` of an answer; null where it has none yet.
    async fn get(&self, what: &str, parameters: &[(&str, &str)]) -> Value {
        let request = reqwest::Client::new().get(format!("{}/api/v1/{what}", self.url)).query(parameters);
        // Until it has read its files it answers with a text.
        let answer = request.send().await.unwrap().json::<Value>().await.unwrap_or_default();
        assert_ne!(answer["status"], "error", "{what} {parameters:?}: {answer}");
        answer["data"].clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
