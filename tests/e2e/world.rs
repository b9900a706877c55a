//! A cluster with pods, Helm, and a BigQuery that pods reach.

use std::{
    collections::BTreeMap,
    net::{IpAddr, UdpSocket},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    runtime::{WatchStreamExt, watcher},
};
use okr_operator::{api::OkrKeyResult, domain::schedule::Slots};
use serde_json::{Value, json};

use crate::support::{
    bigquery_stub::{Reply, Stub},
    examples::day,
    helm,
};

pub const RELEASE: &str = "okr-operator";
pub const HOME: &str = "okr-system";
pub const TENANT: &str = "okr-e2e";

/// Synced every minute, each at a slot of its own.
pub const PULSES: usize = 20;
/// Synced once in a day: within this test only when they are new.
pub const DAILIES: usize = 5;

/// For what a person would wait for too.
const PATIENCE: Duration = Duration::from_secs(120);

/// How late after its slot a query may start (SPEC 4).
const LATEST: SignedDuration = SignedDuration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "the edge of the test")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// What a step tells the person who waits.
pub fn progress(text: &str) {
    eprintln!("e2e: {text}");
}

pub struct World {
    pub client: Client,
    pub stub: Stub,
    /// The same moment on both clocks: the stub's record has instants, slots are times.
    epoch: (Instant, Timestamp),
}

impl World {
    pub async fn new() -> Self {
        // The provider is the process's.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await.expect("KUBECONFIG names a cluster with nodes: run `make e2e`");
        // What is removed in the end must have been made by this test.
        let there = Api::<CustomResourceDefinition>::all(client.clone()).list(&ListParams::default()).await.unwrap();
        let ours = there.items.iter().any(|crd| crd.spec.group == okr_operator::api::GROUP);
        assert!(
            !ours,
            "the cluster of KUBECONFIG has okr-operator's definitions: this test would delete every object of theirs"
        );
        let stub = Stub::start_at(address_for_pods(&client).await).await;
        stub.compute(|query| match query.strip_prefix("SELECT ").and_then(|number| number.parse::<u32>().ok()) {
            Some(number) => Reply::number("INT64", &number.to_string()),
            None => Reply::error(400, "invalidQuery", "Syntax error"),
        });
        stub.otherwise(Reply::number("INT64", "1"));
        Self { client, stub, epoch: (Instant::now(), now()) }
    }

    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A command of Helm about the release, which must succeed: to install or to upgrade it also gets where the stub is.
    pub fn helm(&self, command: &[&str], more: &[&str]) -> String {
        let stub = format!("--set=allowedEndpoints={{{}}}", self.bigquery());
        let values: &[&str] = if ["install", "upgrade"].contains(&command[0]) { &[&stub] } else { &[] };
        helm::must("helm", &[command, &["--namespace", HOME], values, more].concat(), "")
    }

    /// Where pods find the stub: by a name, so that the image has to resolve one.
    fn bigquery(&self) -> String {
        let (_, port) = self.stub_address();
        format!("bigquery.{TENANT}.svc:{port}")
    }

    fn stub_address(&self) -> (String, u16) {
        let host = self.stub.host();
        let (address, port) = host.rsplit_once(':').expect("an address and a port");
        (address.to_owned(), port.parse().expect("a port"))
    }

    /// A name for the stub in the cluster's DNS.
    fn name(&self) -> [Value; 2] {
        let (address, port) = self.stub_address();
        let metadata = |labels: Value| json!({"name": "bigquery", "namespace": TENANT, "labels": labels});
        [
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata(json!({})),
                "spec": {"clusterIP": "None", "ports": [{"port": port}]},
            }),
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": metadata(json!({"kubernetes.io/service-name": "bigquery"})),
                "addressType": "IPv4", "endpoints": [{"addresses": [address]}], "ports": [{"port": port}],
            }),
        ]
    }

    /// The connection and the key results.
    pub fn tenant(&self) -> Value {
        let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "okr-operator.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": TENANT}, "spec": spec});
        let key_result = |name: &str, number: usize, interval: &str| {
            object(
                "OkrKeyResult",
                name,
                json!({
                    "title": name, "measure": {"reach": {"target": 50}}, "interval": interval,
                    "period": {"startDate": day(-45).to_string(), "endDate": day(45).to_string()},
                    "objectiveRef": {"name": "grow"}, "bigQuery": {"query": format!("SELECT {number}")},
                }),
            )
        };
        let connection = json!({
            "projectId": "demo", "endpoint": format!("http://{}", self.bigquery()), "credentials": {"none": {}}, "limits": {"minInterval": "1m"},
        });
        let mut items = vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TENANT}}),
            object("BigQueryConnection", "warehouse", connection),
            object("OkrObjective", "grow", json!({"title": "Grow"})),
        ];
        items.extend(self.name());
        items.extend((0..PULSES).map(|number| key_result(&format!("pulse-{number}"), number, "1m")));
        items.extend((0..DAILIES).map(|number| key_result(&format!("daily-{number}"), 1000 + number, "24h")));
        json!({"apiVersion": "v1", "kind": "List", "items": items})
    }

    pub async fn key_results(&self) -> BTreeMap<String, OkrKeyResult> {
        let all = self.api::<OkrKeyResult>(TENANT).list(&ListParams::default()).await.unwrap();
        all.items.into_iter().map(|object| (object.name_any(), object)).collect()
    }

    /// Waits until every key result shows the number that its query returns.
    pub async fn until_all_have_values(&self) {
        until("every key result has its value", || async {
            let all = self.key_results().await;
            let value = |object: &OkrKeyResult| object.status.as_ref().and_then(|status| status.value.clone());
            let is_right = |object: &OkrKeyResult| {
                let wanted = object.spec.big_query.as_ref().and_then(|source| source.query.strip_prefix("SELECT "));
                value(object).as_deref() == wanted
            };
            (all.len() == PULSES + DAILIES && all.values().all(is_right)).then_some(())
        })
        .await;
    }

    pub async fn holder(&self) -> Option<String> {
        let lease = self.api::<Lease>(HOME).get_opt(RELEASE).await.unwrap()?;
        lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
    }

    /// The pod that leads. An identity is the pod's name and a number.
    pub async fn leader(&self) -> String {
        until("somebody leads", || async {
            let holder = self.holder().await?;
            let name = holder.split('_').next()?.to_owned();
            let pod = self.api::<Pod>(HOME).get_opt(&name).await.unwrap()?;
            pod.metadata.deletion_timestamp.is_none().then_some(name)
        })
        .await
    }

    /// From now on, who holds the Lease and since when, as a watch tells it.
    pub fn watch_lease(&self) -> Reigns {
        let (sender, reigns) = std::sync::mpsc::channel();
        let changes = watcher::watch_object(self.api::<Lease>(HOME), RELEASE).default_backoff();
        let task = tokio::spawn(async move {
            let mut changes = std::pin::pin!(changes);
            let mut last = None;
            while let Some(change) = changes.next().await {
                let Ok(lease) = change else { continue };
                let holder = lease.and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty());
                if last.as_ref() != Some(&holder) {
                    last = Some(holder.clone());
                    if sender.send((Instant::now(), holder)).is_err() {
                        return;
                    }
                }
            }
        });
        Reigns { reigns, task }
    }

    /// When each query was sent for its value, by its text.
    fn queries(&self) -> BTreeMap<String, Vec<Timestamp>> {
        let mut queries: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
        let (instant, time) = self.epoch;
        for request in self.stub.requests() {
            if request.call == "jobs.query" {
                let since = SignedDuration::try_from(request.at.duration_since(instant)).unwrap();
                let text = request.body["query"].as_str().unwrap().to_owned();
                queries.entry(text).or_default().push(time + since);
            }
        }
        queries
    }

    /// Every slot between `from` and now has its query, in time, and none has two. One whose answer could not be written
    /// may run once more: only for slots within half a minute of a moment in `killed`. Returns how many slots there were.
    pub async fn judge_slots(&self, from: Timestamp, killed: &[Timestamp]) -> usize {
        let (queries, end) = (self.queries(), now());
        let mut judged = 0;
        for (name, object) in self.key_results().await.into_iter().filter(|(name, _)| name.starts_with("pulse-")) {
            let slots = Slots::new(&object.uid().unwrap(), "1m".parse().unwrap());
            let sent = &queries[&object.spec.big_query.as_ref().unwrap().query];
            let mut slot = slots.after(from);
            while slot + LATEST < end {
                let of_slot = sent.iter().filter(|at| (slot..slot + LATEST).contains(*at)).count();
                let near_a_kill =
                    killed.iter().any(|killed| killed.duration_since(slot).abs() < SignedDuration::from_secs(30));
                assert!(
                    of_slot == 1 || (near_a_kill && of_slot == 2),
                    "{name}: {of_slot} queries for its slot {slot}; sent {sent:?}"
                );
                judged += 1;
                slot = slots.after(slot);
            }
        }
        judged
    }
}

/// A watch of the Lease.
pub struct Reigns {
    reigns: std::sync::mpsc::Receiver<(Instant, Option<String>)>,
    task: tokio::task::JoinHandle<()>,
}

impl Reigns {
    /// The longest time without a holder between two of them.
    pub fn longest_gap(self) -> Option<Duration> {
        self.task.abort();
        let changes: Vec<(Instant, Option<String>)> = self.reigns.try_iter().collect();
        let gaps = changes.windows(2).filter(|pair| pair[0].1.is_none() && pair[1].1.is_some());
        gaps.map(|pair| pair[1].0.duration_since(pair[0].0)).max()
    }
}

/// Asks until there is an answer.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain: {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// An address of this machine that pods reach: `OKR_E2E_HOST`, or the one from which it reaches the cluster's nodes.
async fn address_for_pods(client: &Client) -> IpAddr {
    if let Ok(host) = std::env::var("OKR_E2E_HOST") {
        return host.parse().expect("OKR_E2E_HOST is an IP address");
    }
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap();
    let addresses = nodes.items.into_iter().filter_map(|node| node.status?.addresses).flatten();
    let node =
        addresses.into_iter().find(|address| address.type_ == "InternalIP").expect("a node with an address").address;
    // Nothing is sent: to connect is to choose a route.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect((node.as_str(), 9)).unwrap();
    socket.local_addr().unwrap().ip()
}

/// A command of the person at the terminal, which must succeed.
pub fn kubectl(arguments: &[&str], input: &str) -> String {
    helm::must("kubectl", arguments, input)
}

/// `kubectl okr` as built for this test.
pub fn okr(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-okr"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
