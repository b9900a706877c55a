//! A real API server, a namespace for each test, and an operator of the test's own that works in it.
//!
//! `make test` starts the servers and says in the environment where they are (see `dev/launch`).

use std::{fmt::Debug, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use okr_operator::{
    api::{BigQueryConnection, Condition, MeasuredStatus, OkrKeyResult, crd},
    controller::{self, Fatal, Settings},
    domain::{judgement::Gaps, number::integer},
    metrics::Metrics,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{sync::OnceCell, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

/// Long enough for a machine that is busy with other tests; a condition that comes true is seen at once.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace that ends with the test. Nothing waits for that: the API server takes 5 s to remove one.
pub struct Sandbox {
    pub client: Client,
    pub namespace: String,
}

/// A namespace of the test's own, on a server that knows our kinds.
pub async fn sandbox(prefix: &str) -> Sandbox {
    // The provider is the process's; whichever test comes first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.expect("KUBECONFIG names the test's API server: run `make test`");
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED.get_or_init(|| install_crds(client.clone())).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let new = Namespace {
        metadata: ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    let namespace = namespaces.create(&PostParams::default(), &new).await.unwrap().name_any();
    Sandbox { client, namespace }
}

async fn install_crds(client: Client) {
    let crds: Api<CustomResourceDefinition> = Api::all(client);
    for crd in crd::all() {
        let name = crd.name_any();
        crds.patch(&name, &PatchParams::apply("tests").force(), &Patch::Apply(&crd)).await.unwrap();
        await_some(&format!("CRD {name} is established"), || async {
            let conditions = crds.get(&name).await.unwrap().status?.conditions?;
            conditions.iter().find(|condition| condition.type_ == "Established" && condition.status == "True").cloned()
        })
        .await;
    }
}

/// Asks until there is an answer.
pub async fn await_some<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain: {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Sandbox {
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates or changes an object, as `kubectl apply` does. `spec` holds what a manifest's `spec:` does.
    pub async fn apply<K>(&self, name: &str, spec: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let object = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec,
        });
        self.api::<K>().patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(object)).await.unwrap()
    }

    /// A connection to `endpoint` without credentials.
    pub async fn connect(&self, name: &str, endpoint: &str) -> BigQueryConnection {
        let spec = json!({"projectId": "demo", "endpoint": endpoint, "credentials": {"none": {}}});
        self.apply(name, spec).await
    }

    /// A merge patch, as `kubectl patch` or `kubectl annotate` sends it.
    pub async fn patch<K>(&self, name: &str, patch: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
    }

    pub async fn status(&self, name: &str) -> MeasuredStatus {
        self.api::<OkrKeyResult>().get(name).await.unwrap().status.unwrap_or_default()
    }

    /// Waits until the key result's status is as `want` says, and returns it.
    pub async fn await_status(&self, name: &str, what: &str, want: impl Fn(&MeasuredStatus) -> bool) -> MeasuredStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(name).await;
            if want(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited in vain until {name} {what}; its status is {status:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until `Ready` shows `reason` for the present generation.
    pub async fn await_reason(&self, name: &str, reason: &str) -> MeasuredStatus {
        let generation = self.api::<OkrKeyResult>().get(name).await.unwrap().metadata.generation;
        self.await_status(name, &format!("is {reason}"), |status| {
            status.observed_generation == generation
                && condition(&status.conditions, "Ready").is_some_and(|ready| ready.reason == reason)
        })
        .await
    }

    /// Waits until a connection's `Ready` shows `reason`, and returns that condition.
    pub async fn await_connection(&self, name: &str, reason: &str) -> Condition {
        await_some(&format!("connection {name} is {reason}"), || async {
            let connection = self.api::<BigQueryConnection>().get(name).await.unwrap();
            let status = connection.status.unwrap_or_default();
            let observed = status.observed_generation == connection.metadata.generation;
            condition(&status.conditions, "Ready").filter(|ready| observed && ready.reason == reason).cloned()
        })
        .await
    }

    /// An operator that works in this namespace alone, until it is stopped or dropped.
    pub fn operator(&self) -> Operator {
        self.operator_with(|_| {})
    }

    /// The same, with settings changed by `change`.
    pub fn operator_with(&self, change: impl FnOnce(&mut Settings)) -> Operator {
        let mut settings = Settings {
            gaps: Gaps { behind: integer(0), at_risk: integer(25) },
            shared_connection_namespaces: Vec::new(),
            allowed_endpoints: vec!["127.0.0.1".to_owned()],
            allowed_token_hosts: vec!["127.0.0.1".to_owned()],
            namespaces: vec![self.namespace.clone()],
            max_concurrent_syncs: 32,
        };
        change(&mut settings);
        let metrics = Arc::new(Metrics::default());
        let shutdown = CancellationToken::new();
        let run = controller::run(self.client.clone(), settings, Arc::clone(&metrics), shutdown.clone());
        Operator { metrics, shutdown, task: tokio::spawn(run) }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let namespace = self.namespace.clone();
        // The test's runtime ends with the test, and the client's sockets with it: both are made anew.
        let delete = async move {
            let namespaces: Api<Namespace> = Api::all(Client::try_default().await?);
            namespaces.delete(&namespace, &DeleteParams::background()).await
        };
        let _ = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(delete)
        })
        .join();
    }
}

/// A running operator.
pub struct Operator {
    pub metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Fatal>>,
}

impl Operator {
    /// Stops as on SIGTERM.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        (&mut self.task).await.expect("the operator does not panic").expect("the operator stops in order");
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.task.abort();
    }
}

/// The condition of type `kind`.
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// The status of a condition, or "absent".
pub fn truth<'a>(conditions: &'a [Condition], kind: &str) -> &'a str {
    condition(conditions, kind).map_or("absent", |condition| condition.status.as_str())
}
