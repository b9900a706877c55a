//! The life of an installation, on a real cluster with the real image: installed, upgraded, killed, rolled back, removed and
//! installed again. `make e2e` runs it; see `dev/README.md` for which cluster.
//!
//! What BigQuery was asked is the stub's record: while it lives, no sync is missed and none is repeated.

#[path = "../support/mod.rs"]
mod support;

mod world;

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Namespace, Pod, Secret},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use okr_operator::api::{BigQueryConnection, crd};

use support::{helm, prometheus::Prometheus};
use world::{DAILIES, HOME, RELEASE, TENANT, World, kubectl, now, okr, progress, until};

/// On the node of this project's tests; elsewhere it is told and not held (`OKR_E2E_NUMBERS`).
const INSTALL_LIMIT: Duration = Duration::from_secs(10);
const HANDOVER_LIMIT: Duration = Duration::from_secs(2);
const FAILOVER_LIMIT: Duration = Duration::from_secs(20);

fn hold(what: &str, took: Duration, limit: Duration) {
    progress(&format!("{what}: {:.2} s (at most {} s)", took.as_secs_f64(), limit.as_secs()));
    let is_held = std::env::var_os("OKR_E2E_NUMBERS").is_some();
    assert!(!is_held || took <= limit, "{what} took {took:?}, and may take {limit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_an_installation() {
    let world = World::new().await;
    let first_release = first_release();

    progress("installed without the definitions, it says so and waits for them");
    world.helm(&["install", RELEASE, &first_release, "--create-namespace"], &["--set=crds.enabled=false"]);
    let waiting = until("the log says what is missing", || async {
        let log = logs();
        log.contains("the cluster has no such kind, install the definitions").then_some(())
    });
    waiting.await;
    let installed = Instant::now();
    world.helm(&["upgrade", RELEASE, &first_release, "--wait", "--timeout=2m"], &[]);
    world.leader().await;
    progress(&format!("with the definitions it leads after {:.1} s", installed.elapsed().as_secs_f64()));
    world.helm(&["uninstall", RELEASE, "--wait"], &[]);
    remove_definitions(&world).await;
    // With its Lease: uninstalling takes the right to release it away before the process has ended, and the next one would
    // wait until it expires.
    kubectl(&["delete", "namespace", HOME, "--timeout=60s"], "");

    let installed = Instant::now();
    let notes = world.helm(&["install", RELEASE, &first_release, "--create-namespace", "--wait", "--timeout=2m"], &[]);
    world.leader().await;
    hold("from helm install to a leader that is ready", installed.elapsed(), INSTALL_LIMIT);
    assert!(notes.contains("The next three commands"), "{notes}");

    progress("a connection and key results: values appear");
    kubectl(&["apply", "-f", "-"], &world.tenant().to_string());
    world.until_all_have_values().await;
    let begun = now();
    let mut killed = Vec::new();
    secrets_stay_secret(&world).await;

    progress("upgraded to this chart, with changed definitions and a second replica");
    let chart = helm::CHART;
    world.helm(&["upgrade", RELEASE, chart, "--wait", "--timeout=3m"], &["--set=replicas=2"]);
    assert_definitions_are(&world, true).await;

    progress("helm test, and kubectl okr, say that all is well");
    let tested = world.helm(&["test", RELEASE, "--logs"], &[]);
    assert!(tested.contains("✔ operator okr-system/okr-operator: 2 of 2 replicas are ready"), "{tested}");
    let doctor = okr(&["doctor"]).output().unwrap();
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert!(said.contains("✔ rights of okr-system/okr-operator") && said.contains("leads"), "{said}");
    the_dashboard_opens().await;

    progress("a rolling update hands over");
    let reigns = world.watch_lease();
    world.helm(
        &["upgrade", RELEASE, chart, "--wait", "--timeout=3m"],
        &["--set=replicas=2,podAnnotations.round=second"],
    );
    until("the old pods are gone", || async { (pods(&world).await.len() == 2).then_some(()) }).await;
    hold("without a leader in a rolling update", reigns.longest_gap().expect("another leads"), HANDOVER_LIMIT);

    progress("the leader's process is killed");
    let (leader, holder) = (world.leader().await, world.holder().await);
    killed.push(now());
    let kill = Instant::now();
    kill_process(&leader);
    until("the other leads", || async { world.holder().await.filter(|now| Some(now) != holder.as_ref()) }).await;
    hold("from the kill of the leader to the next", kill.elapsed(), FAILOVER_LIMIT);

    progress("the leader's pod is deleted");
    killed.push(now());
    kubectl(&["-n", HOME, "delete", "pod", &world.leader().await, "--wait=false"], "");
    until("two are ready again", || async { (ready(&world).await == 2).then_some(()) }).await;

    progress("rolled back to the first release, and upgraded again");
    world.helm(&["rollback", RELEASE, "1", "--wait", "--timeout=3m"], &[]);
    assert_definitions_are(&world, false).await;
    world.leader().await;
    world.helm(&["upgrade", RELEASE, chart, "--wait", "--timeout=3m"], &["--set=replicas=2"]);
    world.leader().await;
    metrics_are_scraped(&world).await;

    // A slot is judged a minute after it: until all of the last step's have gone by.
    progress("two more minutes of routine");
    tokio::time::sleep(Duration::from_secs(125)).await;
    let judged = world.judge_slots(begun, &killed).await;
    progress(&format!("{judged} slots, each with its query and none with two"));
    let log = logs();
    assert!(log.contains("okr-operator runs"), "{log}");
    assert_is_clean(&log);

    progress("uninstalled: what people wrote stays, and namespaces can go");
    // A last value may be written while the operator ends.
    let written = async || {
        let all = world.key_results().await.into_values();
        all.map(|object| {
            let is_measured = object.status.is_some_and(|status| status.value.is_some());
            (
                object.metadata.uid,
                object.metadata.generation,
                object.metadata.deletion_timestamp,
                object.spec,
                is_measured,
            )
        })
        .collect::<Vec<_>>()
    };
    let before = written().await;
    world.helm(&["uninstall", RELEASE, "--wait", "--timeout=1m"], &[]);
    assert_eq!(written().await, before, "no key result was touched");
    a_namespace_goes(&world).await;

    progress("installed again: nothing is asked that is not due");
    world.stub.forget();
    world.helm(&["install", RELEASE, chart, "--wait", "--timeout=2m"], &[]);
    world.leader().await;
    until("the pulses go on", || async { (world.stub.count("jobs.query") >= world::PULSES).then_some(()) }).await;
    let asked = world.stub.requests();
    let daily = |text: &str| (0..DAILIES).any(|number| text == format!("SELECT {}", 1000 + number));
    let of_dailies = asked.iter().filter(|request| request.body["query"].as_str().is_some_and(daily)).count();
    assert_eq!(of_dailies, 0, "a key result that is due once a day was asked again");

    progress("narrowed to one namespace it works, and helm test says so");
    let narrow = format!("--set=scope=Namespaces,watchNamespaces={{{TENANT}}}");
    world.helm(&["upgrade", RELEASE, chart, "--wait", "--timeout=2m"], &[&narrow]);
    world.leader().await;
    world.stub.forget();
    until("the pulses go on", || async { (world.stub.count("jobs.query") >= world::PULSES).then_some(()) }).await;
    let tested = world.helm(&["test", RELEASE, "--logs"], &[]);
    let rights = format!(
        "✔ rights of {HOME}/{RELEASE}: it may read the three kinds, write their status and tell events in {TENANT}"
    );
    assert!(tested.contains(&rights), "{tested}");

    progress("removed with its definitions: nothing hangs");
    world.helm(&["uninstall", RELEASE, "--wait", "--timeout=1m"], &[]);
    let removed = Instant::now();
    remove_definitions(&world).await;
    kubectl(&["delete", "namespace", TENANT, HOME, "--timeout=60s"], "");
    progress(&format!("all gone after {:.1} s", removed.elapsed().as_secs_f64()));
}

/// This chart with the definitions of the first release, which `tests/fixtures/` keeps.
fn first_release() -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("first-release");
    let _ = std::fs::remove_dir_all(&folder);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    copy(&root.join(helm::CHART), &folder);
    copy(&root.join("tests/fixtures/first-release"), &folder.join("files/crds"));
    folder.to_str().unwrap().to_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Whether the definitions are those of this version, or of the first release.
async fn assert_definitions_are(world: &World, current: bool) {
    let api: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    for wanted in crd::all() {
        let there = api.get(&wanted.name_any()).await.unwrap();
        let is_current = there.spec.versions[0].schema == wanted.spec.versions[0].schema;
        assert_eq!(is_current, current, "the definition {}", wanted.name_any());
    }
}

async fn remove_definitions(world: &World) {
    let api: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    for crd in crd::all() {
        api.delete(&crd.name_any(), &DeleteParams::default()).await.unwrap();
    }
    until("the definitions are gone", || async {
        let left = api.list(&ListParams::default()).await.unwrap();
        let ours = left.items.iter().any(|crd| crd.spec.group == okr_operator::api::GROUP);
        (!ours).then_some(())
    })
    .await;
}

async fn pods(world: &World) -> Vec<Pod> {
    let ours = ListParams::default().labels("app.kubernetes.io/name=okr-operator,app.kubernetes.io/component=operator");
    world.api::<Pod>(HOME).list(&ours).await.unwrap().items
}

async fn ready(world: &World) -> i32 {
    let deployment = world.api::<Deployment>(HOME).get(RELEASE).await.unwrap();
    deployment.status.and_then(|status| status.ready_replicas).unwrap_or_default()
}

/// What the pods that are there have logged.
fn logs() -> String {
    let label = "app.kubernetes.io/component=operator";
    // None yet where no container has started.
    helm::run("kubectl", &["-n", HOME, "logs", "--selector", label, "--tail=-1", "--prefix"], "").unwrap_or_default()
}

/// SIGKILL to the process of a pod: by the command in `OKR_E2E_KILL`, which is given namespace and name, where there is one.
fn kill_process(pod: &str) {
    match std::env::var("OKR_E2E_KILL") {
        Ok(command) => {
            let status = Command::new("sh").args(["-c", &format!("{command} {HOME} {pod}")]).status().unwrap();
            assert!(status.success(), "OKR_E2E_KILL could not kill {pod}");
        }
        Err(_) => drop(kubectl(&["-n", HOME, "delete", "pod", pod, "--grace-period=0", "--force"], "")),
    }
}

const KEY: &str = "MIIEvQIBADANBgkqhkiG9w0-nobody-may-see-this";

/// A Secret whose key is no key: what is said of it shows nothing of it.
async fn secrets_stay_secret(world: &World) {
    let secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "reader", "namespace": TENANT},
        "stringData": {"key.json": serde_json::json!({
            "type": "service_account", "client_email": "reader@demo.iam.gserviceaccount.com", "private_key_id": "1",
            "private_key": format!("-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n"),
            "token_uri": "https://oauth2.googleapis.com/token",
        }).to_string()},
    });
    let connection = serde_json::json!({
        "apiVersion": "okr-operator.dev/v1alpha1", "kind": "BigQueryConnection",
        "metadata": {"name": "by-key", "namespace": TENANT},
        "spec": {"projectId": "demo", "credentials": {"serviceAccountKey": {"secretRef": {"name": "reader", "key": "key.json"}}}},
    });
    kubectl(&["apply", "-f", "-"], &secret.to_string());
    kubectl(&["apply", "-f", "-"], &connection.to_string());
    until("the key is found to be none", || async {
        let connection = world.api::<BigQueryConnection>(TENANT).get("by-key").await.unwrap();
        let conditions = connection.status?.conditions;
        assert_is_clean(&serde_json::to_string(&conditions).unwrap());
        conditions.iter().any(|condition| condition.reason == "CredentialsInvalid").then_some(())
    })
    .await;
    assert_is_clean(&kubectl(&["-n", TENANT, "get", "events", "-o", "json"], ""));
    // While the pod is there that read it.
    assert_is_clean(&logs());
    // With it pulses would have to choose between two connections when they are made anew.
    kubectl(&["-n", TENANT, "delete", "bqc/by-key", "secret/reader"], "");
    assert!(world.api::<Secret>(TENANT).get_opt("reader").await.unwrap().is_none());
}

#[track_caller]
fn assert_is_clean(text: &str) {
    assert!(!text.contains("nobody-may-see-this"), "a key is shown: {text}");
}

/// `kubectl okr dashboard` forwards a port to a page that shows the key results.
async fn the_dashboard_opens() {
    let mut child = okr(&["dashboard", "--no-open"]).process_group(0).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap_or_else(|| panic!("{line}"));
    let page = reqwest::get(address).await.unwrap().text().await.unwrap();
    assert!(page.contains("pulse-0"), "{page}");
    // As Ctrl-C does at a terminal: kubectl, which forwards, ends too.
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-s", "INT", "--", &group]).status().unwrap().success());
    child.wait().unwrap();
}

/// A real Prometheus reads every key result from the leader, through the API server's proxy.
async fn metrics_are_scraped(world: &World) {
    let path = format!("/api/v1/namespaces/{HOME}/pods/{}:8080/proxy/metrics", world.leader().await);
    helm::must("promtool", &["check", "metrics"], &kubectl(&["get", "--raw", &path], ""));
    let mut proxy = Command::new("kubectl").args(["proxy", "--port=0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(proxy.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (_, address) = line.trim().split_once("Starting to serve on ").unwrap_or_else(|| panic!("{line}"));
    let prometheus = Prometheus::start("e2e", address, &path);
    until("Prometheus has every key result", || async {
        let values = prometheus.query("okr_key_result_value").await.len();
        (values == world::PULSES + DAILIES).then_some(())
    })
    .await;
    assert_eq!(prometheus.query("okr_operator_leader == 1").await.len(), 1);
    prometheus.assert_healthy().await;
    proxy.kill().unwrap();
    proxy.wait().unwrap();
}

/// A namespace with a key result is deleted while nobody is there who could finalize anything.
async fn a_namespace_goes(world: &World) {
    let name = "okr-e2e-gone";
    let key_result = serde_json::json!({
        "apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrKeyResult", "metadata": {"name": "last", "namespace": name},
        "spec": {"title": "Last", "measure": {"baseline": {}}, "bigQuery": {"query": "SELECT 1"}},
    });
    kubectl(&["create", "namespace", name], "");
    kubectl(&["apply", "-f", "-"], &key_result.to_string());
    kubectl(&["delete", "namespace", name, "--timeout=60s"], "");
    assert!(Api::<Namespace>::all(world.client.clone()).get_opt(name).await.unwrap().is_none());
}
