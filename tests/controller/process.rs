//! The operator as a process: its commands, its signals, its ports and its log.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    time::Duration,
};

use kube::ResourceExt;
use okr_operator::api::{OkrKeyResult, crd};
use serde_json::json;

use crate::{
    reach, stubbed,
    support::{
        bigquery_stub::{Reply, Stub},
        cluster::{Sandbox, await_some, sandbox},
        examples::day,
    },
};

fn operator() -> Command {
    Command::new(env!("CARGO_BIN_EXE_okr-operator"))
}

/// A running `okr-operator run`, and where its health and metrics, and its dashboard, are.
pub struct Process {
    child: Child,
    pub address: String,
    dashboard: String,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Process {
    pub fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let mut child = operator()
            .args([
                "run",
                "--metrics-address=127.0.0.1:0",
                "--dashboard-address=127.0.0.1:0",
                "--allowed-endpoints=127.0.0.1",
                "--log-format=json",
            ])
            .args(arguments)
            .env("OKR_OPERATOR_NAMESPACES", &sandbox.namespace)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        let mut until_it_says = |field: &str| loop {
            let begin = first.len();
            assert_ne!(log.read_line(&mut first).unwrap(), 0, "it ended before it listened: {first}");
            let line: serde_json::Value = serde_json::from_str(&first[begin..]).unwrap();
            if let Some(content) = line["fields"][field].as_str() {
                return content.to_owned();
            }
        };
        let (address, dashboard) = (until_it_says("address"), until_it_says("url"));
        let log = std::thread::spawn(move || {
            let mut rest = String::new();
            log.read_to_string(&mut rest).unwrap();
            first + &rest
        });
        Self { child, address, dashboard, log: Some(log) }
    }

    pub async fn get(&self, path: &str) -> String {
        reqwest::get(format!("http://{}{path}", self.address)).await.unwrap().text().await.unwrap()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// SIGTERM; the exit code and the log.
    fn terminate(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        let code = self.child.wait().unwrap().code();
        (code, self.log.take().unwrap().join().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_serves_health_and_metrics_and_ends_in_order() {
    let sandbox = sandbox("process").await;
    let stub = Stub::start().await;
    stub.otherwise(Reply::number("INT64", "47").bytes(1000));
    stub.on("SELECT 'slow'", Reply::slow(Duration::from_secs(300), Reply::number("INT64", "1")).answering_at_once());
    sandbox.connect("warehouse", &stub.endpoint()).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    sandbox.apply::<OkrKeyResult>("slow", reach("SELECT 'slow'")).await;
    let process = Process::start(&sandbox, &["--log-filter=debug"]);
    sandbox.await_reason("kr", "Synced").await;
    let written = sandbox.api::<OkrKeyResult>().get("kr").await.unwrap();
    let of_status = written.managed_fields().iter().filter(|entry| entry.subresource.as_deref() == Some("status"));
    let managed: Vec<_> =
        of_status.map(|entry| (entry.manager.as_deref(), entry.fields_v1.clone().unwrap().0)).collect();
    assert_eq!(
        managed,
        [(Some("okr-operator"), json!({"f:status": {}}))],
        "managedFields say whose the status is, in few words"
    );
    stub.until("jobs.query", 2).await;
    assert_eq!(process.get("/healthz").await, "ok");
    assert_eq!(process.get("/readyz").await, "ok");
    for line in [
        "okr_operator_syncs_total{outcome=\"measured\",reason=\"Synced\"} 1",
        "okr_operator_status_writes_total{kind=\"OkrKeyResult\",result=\"written\"} 1",
        "okr_operator_query_processed_bytes_total 1000",
        "okr_operator_queue_depth 0",
    ] {
        // The status is seen before the answer to its write is counted.
        await_some(line, || async { process.get("/metrics").await.contains(line).then_some(()) }).await;
    }
    sandbox.backdate("kr").await;
    let line = "okr_operator_sync_lateness_seconds_count 1";
    await_some(line, || async { process.get("/metrics").await.contains(line).then_some(()) }).await;
    let (code, log) = process.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(stub.cancelled().len(), 1, "the running job was cancelled at BigQuery");
    assert!(log.contains("stopping"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_an_error_reach_neither_log_nor_metric_nor_event() {
    let sandbox = sandbox("rows").await;
    let stub = Stub::start().await;
    let query = "SELECT ERROR(TO_JSON_STRING(t)) FROM sales.customers AS t";
    let row = "Jane Doe, 5000 EUR";
    let error = Reply::error(400, "invalidQuery", &format!("{{\"name\":\"{row}\"}}"));
    stub.on(query, error.dry_run(Reply::number("INT64", "1")));
    sandbox.connect("warehouse", &stub.endpoint()).await;
    sandbox.apply::<OkrKeyResult>("kr", reach(query)).await;
    let process = Process::start(&sandbox, &["--log-filter=trace"]);
    let status = sandbox.await_reason("kr", "QueryInvalid").await;
    assert!(serde_json::to_string(&status).unwrap().contains(row), "its own condition says it");
    let note = sandbox.await_event("kr", "QueryInvalid").await;
    let metrics = process.get("/metrics").await;
    let (_, log) = process.terminate();
    for (what, text) in [("event", &note), ("metrics", &metrics), ("log", &log)] {
        assert!(!text.contains("Jane"), "{what}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_under_way_may_end_and_its_value_is_written_before_the_process_stops() {
    let (sandbox, stub) = stubbed("finish", Reply::slow(Duration::from_secs(4), Reply::number("INT64", "47"))).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let process = Process::start(&sandbox, &[]);
    stub.until("jobs.query", 1).await;
    let (code, log) = process.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(sandbox.status("kr").await.value.as_deref(), Some("47"));
    assert_eq!(stub.cancelled().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_at_once() {
    let (sandbox, stub) = stubbed("signals", Reply::slow(Duration::from_secs(300), Reply::number("INT64", "47"))).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let process = Process::start(&sandbox, &[]);
    stub.until("jobs.query", 1).await;
    process.signal("TERM");
    await_some("it says that it stops", || async { process.get("/readyz").await.contains("stopping").then_some(()) })
        .await;
    let started = std::time::Instant::now();
    let (code, _) = process.terminate();
    assert_eq!(code, Some(1));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_one_works_and_the_other_takes_over() {
    let (sandbox, stub) = stubbed("replicas", Reply::number("INT64", "47")).await;
    let lease = format!("--lease-name={}", sandbox.namespace);
    let replica = || Process::start(&sandbox, &["--leader-election", &lease]);
    let leads = async |process: &Process| {
        let line = "okr_operator_leader 1";
        await_some(line, || async { process.get("/metrics").await.contains(line).then_some(()) }).await;
    };
    let first = replica();
    leads(&first).await;
    let second = replica();
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    sandbox.await_reason("kr", "Synced").await;
    assert_eq!(second.get("/readyz").await, "ok", "a standby is ready");
    let standby = second.get("/metrics").await;
    assert!(standby.contains("okr_operator_leader 0"));
    assert!(!standby.contains("okr_key_result_") && !standby.contains("okr_bigquery_connection"), "{standby}");
    let line = format!("okr_key_result_value{{namespace=\"{}\",name=\"kr\"}} 47", sandbox.namespace);
    let tells = async |process: &Process| {
        await_some(&line, || async { process.get("/metrics").await.contains(&line).then_some(()) }).await;
    };
    tells(&first).await;

    let (code, log) = first.terminate();
    let released = std::time::Instant::now();
    assert_eq!(code, Some(0), "{log}");
    leads(&second).await;
    tells(&second).await;
    // Within 2 s on a machine that is not busy (the benchmark measures it); nobody would have to see a release after 15 s.
    assert!(released.elapsed() < Duration::from_secs(10), "{:?}", released.elapsed());

    let third = replica();
    await_some("the third stands by", || async { (third.get("/readyz").await == "ok").then_some(()) }).await;
    second.signal("KILL");
    let killed = std::time::Instant::now();
    leads(&third).await;
    assert!(killed.elapsed() < Duration::from_secs(30), "{:?}", killed.elapsed());
    sandbox.apply::<OkrKeyResult>("new", reach("SELECT 'new'")).await;
    sandbox.await_reason("new", "Synced").await;
    assert_eq!(crate::runs(&stub, "SELECT 47"), 1, "nothing that was not due was asked again");
}

#[test]
fn crd_prints_what_is_in_the_repository() {
    let output = operator().arg("crd").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    for crd in crd::all() {
        let file = std::fs::read_to_string(format!("crds/{}", crd::file_name(&crd))).unwrap();
        assert!(printed.contains(&file), "crds/ is not current: run `make crds`");
    }
}

#[test]
fn a_broken_kubeconfig_shows_no_token() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken.kubeconfig");
    std::fs::write(&file, "users:\n- user:\n    token: not-to-be-told\n   name: [\n").unwrap();
    let output = operator().args(["run", "--metrics-address=127.0.0.1:0"]).env("KUBECONFIG", &file).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the kubeconfig is not the YAML of one") && !said.contains("not-to-be-told"), "{said}");
}

#[test]
fn what_is_wrong_on_the_command_line_is_said() {
    let check = |arguments: &[&str], kubeconfig: &str, code: i32, want: &str| {
        let output = operator().arg("run").args(arguments).env("KUBECONFIG", kubeconfig).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(want), "{said}");
    };
    let refused = |argument: &str, want: &str| check(&[argument], "", 2, want);
    refused("--at-risk-threshold=-1", "must not be below 0");
    refused("--behind-threshold=many", "is not a decimal");
    refused("--behind-threshold=30", "must not be above --at-risk-threshold");
    refused("--log-filter=,,=,", "--log-filter");
    refused("--log-format=xml", "json, text");
    refused("--metrics-address=8080", "--metrics-address");
    for exposed in ["0.0.0.0:8081", "[::]:8081", "10.0.0.7:8081"] {
        refused(&format!("--dashboard-address={exposed}"), "add --dashboard-auth=token, or --dashboard-auth=none");
    }
    refused("--dashboard-address=8081", "neither an address with a port");
    refused("--dashboard-auth=password", "token, none");
    refused("--dashboard-host=okr.example.com:443", "has a port");
    refused("--dashboard-host=https://okr.example.com", "without scheme and path");
    refused("--max-concurrent-syncs=0", "--max-concurrent-syncs");
    refused("--namespaces=sales,Marketing", "\"Marketing\" is not a name");
    refused("--allowed-endpoints=http://bigquery", "without scheme and path");
    refused("--allowed-token-hosts=host:port", "is not a host");
    refused("--leader-election=maybe", "--leader-election");
    refused("--lease-name=", "is not a name");
    refused("--metrics-labels=team,a b", "is not the name of a Kubernetes label");
    refused("--metrics-labels=cost-center,cost.center", "would both become the label label_cost_center");
    refused("--interval=1h", "unexpected argument");
    check(&["--metrics-address=127.0.0.1:0"], "/nowhere", 1, "set KUBECONFIG");
    let nowhere = |arguments: &[&str]| check(arguments, "/nowhere", 1, "set KUBECONFIG");
    nowhere(&["--dashboard-address=0.0.0.0:8081", "--dashboard-auth=token", "--public-badges"]);
    nowhere(&["--dashboard-address=[::ffff:127.0.0.1]:8081"]);
    nowhere(&["--dashboard-address=off", "--dashboard-host=okr.example.com,Dashboard,[fd00::1]"]);
}

#[tokio::test]
async fn the_dashboard_shows_to_each_token_what_its_user_may_list() {
    let sandbox = sandbox("process-dashboard").await;
    let spec = json!({"title": "Ask customers", "measure": {"baseline": {}}, "manual": {"value": 1, "asOf": day(0).to_string()}});
    sandbox.apply::<OkrKeyResult>("kr", spec).await;
    let (reader, nobody) = (sandbox.token("reader").await, sandbox.token("nobody").await);
    let user = format!("system:serviceaccount:{}:reader", sandbox.namespace);
    let kinds = ["okrkeyresults", "okrobjectives", "bigqueryconnections"];
    sandbox.allow(&user, json!([{"apiGroups": ["okr-operator.dev"], "resources": kinds, "verbs": ["list"]}])).await;
    let process = Process::start(&sandbox, &["--dashboard-auth=token"]);
    sandbox.await_reason("kr", "Manual").await;
    let ask = |path: &str, token: Option<&str>| {
        let request = reqwest::Client::new().get(format!("{}{path}", process.dashboard));
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        }
    };
    let (code, page) = ask("", Some(&reader)).await;
    assert!(code == 200 && page.contains("Ask customers"), "{code} {page}");
    for (path, token, want) in [
        ("", None, 401),
        ("api/v1/keyresults", None, 401),
        ("", Some("made up"), 401),
        ("", Some(nobody.as_str()), 403),
    ] {
        let (code, page) = ask(path, token).await;
        assert!(code == want && !page.contains("Ask customers"), "/{path} with {token:?}: {code} {page}");
    }
    let (code, log) = process.terminate();
    assert_eq!(code, Some(0));
    assert!(!log.contains(&reader), "no token is logged");
}
