//! The chart's rights, proven least: the operator runs as the ServiceAccount of the chart, with the arguments of its Deployment,
//! through all it does. By the API server's own record no call was refused, and no rule went unused.
//!
//! A program of its own: here the operator works in the whole cluster.

mod support;

use std::{
    collections::BTreeSet,
    fmt::Debug,
    path::PathBuf,
    process::{Child, Command},
    time::Duration,
};

use kube::{Resource, core::NamespaceResourceScope};
use okr_operator::api::{BigQueryConnection, OkrKeyResult, OkrObjective};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::{
    bigquery_stub::{Reply, Stub},
    cluster::{PATIENCE, Sandbox, await_some, sandbox},
    examples::day,
    helm,
};

/// Two operators of the whole cluster would write over each other.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A permission: group, resource with its subresource, verb, and the namespace where a Role gives it; None for everywhere.
type Right = (String, String, String, Option<String>);

/// The chart as installed for the ServiceAccount of a release.
struct Installed<'a> {
    home: &'a Sandbox,
    arguments: Vec<String>,
    rights: BTreeSet<Right>,
    kubeconfig: PathBuf,
}

/// Where the chart's ServiceAccount is known, and as what.
fn user(home: &Sandbox) -> String {
    format!("system:serviceaccount:{}:okr-operator", home.namespace)
}

impl<'a> Installed<'a> {
    /// Applies the ServiceAccount and the rights of the chart, as it is rendered for `values`.
    fn new(home: &'a Sandbox, values: &[String]) -> Self {
        let namespace = format!("--namespace={}", home.namespace);
        let mut arguments = vec![namespace.as_str(), "--set=crds.enabled=false,userRoles.enabled=false"];
        arguments.extend(values.iter().map(String::as_str));
        let objects = helm::objects(&helm::render(&arguments).unwrap());
        let objects: Vec<Value> = objects.into_iter().filter(|object| !helm::is_hook(object)).collect();
        let mut rights = BTreeSet::new();
        for object in &objects {
            let kind = object["kind"].as_str().unwrap();
            if ["ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"].contains(&kind) {
                helm::apply(&object.to_string());
            }
            if kind.ends_with("Role") {
                rights.extend(granted(object));
            }
        }
        await_rights(home, &rights);
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
        let arguments = arguments.iter().map(|argument| argument.as_str().unwrap().to_owned()).collect();
        let kubeconfig = helm::kubeconfig(&home.namespace, "okr-operator").into();
        Self { home, arguments, rights, kubeconfig }
    }

    /// One of the Deployment's processes, on ports of its own.
    fn process(&self) -> Process {
        let log = self.kubeconfig.with_extension("log");
        let open = || std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let own_ports = ["--metrics-address=127.0.0.1:0", "--dashboard-address=127.0.0.1:0"];
        let is_address = |argument: &&String| {
            argument.starts_with("--metrics-address") || argument.starts_with("--dashboard-address")
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_okr-operator"));
        command.args(self.arguments.iter().filter(|argument| !is_address(argument))).args(own_ports);
        let child = command.env("KUBECONFIG", &self.kubeconfig).stderr(open()).spawn().unwrap();
        Process { child, log }
    }

    /// What the API server says that was done: every call in it was allowed.
    fn used(&self) -> BTreeSet<Right> {
        let log = std::fs::read_to_string(
            std::env::var("OKR_AUDIT_LOG").expect("the API server's audit log: run `make test`"),
        );
        let user = user(self.home);
        let mut used = BTreeSet::new();
        for line in log.unwrap().lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let asked = &event["objectRef"];
            if event["user"]["username"] != user.as_str() || !asked.is_object() {
                continue;
            }
            let decision = &event["annotations"]["authorization.k8s.io/decision"];
            assert_eq!(decision, "allow", "a call was refused: {} {}", event["verb"], event["requestURI"]);
            // What every ServiceAccount may do is no right of the chart.
            let reason = event["annotations"]["authorization.k8s.io/reason"].as_str().unwrap();
            assert!(reason.contains("okr-operator"), "allowed by others than the chart: {reason}");
            let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
            let resource = match asked["subresource"].as_str() {
                Some(subresource) => format!("{}/{subresource}", text("resource")),
                None => text("resource"),
            };
            let namespace = reason.contains("RoleBinding \"").then(|| text("namespace"));
            let namespace = namespace.filter(|_| !reason.contains("ClusterRoleBinding"));
            used.insert((text("apiGroup"), resource, event["verb"].as_str().unwrap().to_owned(), namespace));
        }
        used
    }

    #[track_caller]
    fn check(&self) {
        // Its log is no witness: in namespaces that other tests leave, on their way out, nobody may create an event.
        let used = self.used();
        let unused: Vec<&Right> = self.rights.difference(&used).collect();
        assert!(unused.is_empty(), "rules of the chart that nothing needs: {unused:#?}");
    }
}

/// A running operator that is stopped with the test.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// What it logged of this field, once it has.
    async fn logged(&self, field: &str) -> String {
        await_some(&format!("it logs {field}"), || async {
            let log = std::fs::read_to_string(&self.log).unwrap();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.filter_map(|line| line["fields"][field].as_str().map(str::to_owned)).next_back()
        })
        .await
    }

    /// SIGTERM, so that it releases its Lease; waits for the end.
    fn terminate(mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The API server learns of new rules by a watch: one that it did not know yet would be no fault of the chart.
fn await_rights(home: &Sandbox, rights: &BTreeSet<Right>) {
    let user = format!("--as={}", user(home));
    for (group, resource, verb, namespace) in rights {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let mut what = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        match (resource, namespace) {
            ("leases", _) if verb != "create" => what += "/okr-operator",
            ("namespaces", Some(namespace)) => what += &format!("/{namespace}"),
            _ => {}
        }
        let (subresource, namespace) = (
            format!("--subresource={subresource}"),
            format!("--namespace={}", namespace.as_ref().unwrap_or(&home.namespace)),
        );
        let question = ["auth", "can-i", verb, &what, &subresource, &namespace, &user];
        let known = (0..50).any(|_| helm::run("kubectl", &question, "").is_ok());
        assert!(known, "the ServiceAccount may not {}", question.join(" "));
    }
}

/// The rules of a Role or ClusterRole, one right each.
fn granted(role: &Value) -> Vec<Right> {
    let texts = |list: &Value| {
        list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
    let mut rights = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    rights.push((group.clone(), resource.clone(), verb, namespace.clone()));
                }
            }
        }
    }
    rights
}

/// A key result with a connection that has a key in a Secret, an objective above both, and a change that is told of.
async fn work(tenant: &Sandbox, stub: &Stub) {
    let key = std::fs::read_to_string(std::env::var("OKR_RSA_KEY").expect("an RSA key in PEM form: run `make test`"))
        .unwrap();
    tenant.put_secret("reader", "key.json", &stub.key_file(&key)).await;
    let spec = json!({
        "projectId": "demo", "endpoint": stub.endpoint(),
        "credentials": {"serviceAccountKey": {"secretRef": {"name": "reader", "key": "key.json"}}},
    });
    tenant.apply::<BigQueryConnection>("warehouse", spec).await;
    let period = json!({"startDate": day(-45).to_string(), "endDate": day(45).to_string()});
    tenant.apply::<OkrObjective>("grow", json!({"title": "Grow", "period": period})).await;
    let spec = json!({
        "title": "Leads", "period": period, "measure": {"reach": {"target": 100}}, "objectiveRef": {"name": "grow"},
        "bigQuery": {"query": "SELECT 60"},
    });
    tenant.apply::<OkrKeyResult>("leads", spec).await;
    tenant.await_reason("leads", "Synced").await;
    tenant.await_objective("grow", "is rolled up", |status| status.measured.progress_percent.is_some()).await;
    let harder = json!({"spec": {"measure": {"reach": {"target": 1000}}}});
    tenant.patch::<OkrKeyResult>("leads", harder).await;
    tenant.await_event("leads", "AtRisk").await;
}

/// Changes a kind's object, each time in what a status follows from and at once in what it does not: until, of two that write at
/// the same moment, the operator is the one that is refused and has to read what is there.
async fn contend<K>(tenant: &Sandbox, name: &str, spec: impl Fn(u32) -> Value)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    for round in 0.. {
        tenant.patch::<K>(name, json!({"spec": spec(round)})).await;
        for label in 0..5 {
            tenant.patch::<K>(name, json!({"metadata": {"labels": {"contended": format!("{round}-{label}")}}})).await;
        }
    }
}

/// Everything that the operator does, until no rule is left unused.
async fn check(home: &Sandbox, tenant: &Sandbox, values: &[String]) {
    let stub = Stub::start().await;
    stub.otherwise(Reply::number("INT64", "60"));
    let allowed = format!("--set=allowedEndpoints={{{0}}},allowedTokenHosts={{{0}}}", stub.host());
    let installed = Installed::new(home, &[values, &[allowed]].concat());
    let first = installed.process();
    work(tenant, &stub).await;
    let standby = installed.process();
    if values.iter().any(|value| value.contains("dashboard.expose.enabled=true")) {
        let (url, client) = (first.logged("url").await, reqwest::Client::new());
        assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
        let reader = client.get(&url).bearer_auth(tenant.token("reader").await);
        assert_eq!(
            reader.send().await.unwrap().status(),
            403,
            "the API server knows the token, and that it may list nothing"
        );
    }
    let all_used = async {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline && !installed.rights.is_subset(&installed.used()) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = all_used => {}
        () = contend::<OkrKeyResult>(tenant, "leads", |round| json!({"unit": format!("leads {round}")})) => {}
        () = contend::<OkrObjective>(tenant, "grow", |round| json!({"weight": round % 100})) => {}
        () = contend::<BigQueryConnection>(tenant, "warehouse", |round| json!({"limits": {"maxConcurrentQueries": 1 + round % 8}})) => {}
    }
    first.terminate();
    tenant.patch::<OkrKeyResult>("leads", json!({"spec": {"measure": {"reach": {"target": 60}}}})).await;
    tenant
        .await_status("leads", "is decided by the one that took over", |status| {
            status.target_text.as_deref() == Some("60")
        })
        .await;
    standby.terminate();
    installed.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_whole_cluster_with_an_exposed_dashboard() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let (home, tenant) = (sandbox("rbac").await, sandbox("rbac-tenant").await);
    check(&home, &tenant, &["--set=dashboard.expose.enabled=true,dashboard.expose.hosts={okr.example.com}".to_owned()])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_secrets_of_some_namespaces() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let (home, tenant) = (sandbox("rbac").await, sandbox("rbac-tenant").await);
    check(&home, &tenant, &[format!("--set=secrets.namespaces={{{}}}", tenant.namespace)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_one_namespace_without_any_right_of_the_cluster() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let (home, tenant) = (sandbox("rbac").await, sandbox("rbac-tenant").await);
    check(&home, &tenant, &[format!("--set=scope=Namespaces,watchNamespaces={{{}}}", tenant.namespace)]).await;
}
