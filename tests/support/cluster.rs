//! A real API server, a namespace for each test, and an operator of the test's own that works in it.
//!
//! `make test` starts the servers and says in the environment where they are (see `dev/launch`).

use std::{fmt::Debug, sync::Arc, time::Duration};

use http::{Response, StatusCode};
use jiff::SignedDuration;
use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        authorization::v1::SubjectAccessReview,
        core::v1::{Namespace, Secret, ServiceAccount},
        events::v1::Event,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
    client::Body,
    core::NamespaceResourceScope,
};
use okr_operator::{
    api::{BigQueryConnection, Condition, MeasuredStatus, ObjectiveStatus, OkrKeyResult, OkrObjective, Time, crd},
    bigquery,
    controller::{self, Fatal, Settings, Signals},
    domain::{judgement::Gaps, number::integer},
    metrics::Metrics,
    view::{catalog::Catalog, reading::CopiedLabels},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{sync::OnceCell, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::bigquery_stub::{Reply, Stub};

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

/// The same, with a connection to a stub that gives every query the same answer.
pub async fn stubbed(prefix: &str, reply: Reply) -> (Sandbox, Stub) {
    let sandbox = sandbox(prefix).await;
    let stub = Stub::start().await;
    stub.otherwise(reply);
    sandbox.connect("warehouse", &stub.endpoint()).await;
    (sandbox, stub)
}

async fn install_crds(client: Client) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crd::all() {
        let name = crd.name_any();
        crds.patch(&name, &PatchParams::apply("tests").force(), &Patch::Apply(&crd)).await.unwrap();
        await_some(&format!("CRD {name} is established"), || async {
            let conditions = crds.get(&name).await.unwrap().status?.conditions?;
            conditions.iter().find(|condition| condition.type_ == "Established" && condition.status == "True").cloned()
        })
        .await;
    }
    // Established is written a moment before the server knows it itself.
    await_some("the kinds are served", || async {
        let one = ListParams::default().limit(1);
        Api::<OkrKeyResult>::all(client.clone()).list(&one).await.ok()?;
        Api::<OkrObjective>::all(client.clone()).list(&one).await.ok()?;
        Api::<BigQueryConnection>::all(client.clone()).list(&one).await.ok()
    })
    .await;
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

/// Of a status that the operator is to take for its own.
pub fn as_the_operator() -> PostParams {
    PostParams { field_manager: Some("okr-operator".to_owned()), ..PostParams::default() }
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

    /// A Secret with one entry, in the place of one that is there.
    pub async fn put_secret(&self, name: &str, key: &str, content: &[u8]) {
        let secret = Secret {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            data: Some([(key.to_owned(), ByteString(content.to_vec()))].into()),
            ..Secret::default()
        };
        let secrets = self.api::<Secret>();
        let _ = secrets.delete(name, &DeleteParams::default()).await;
        secrets.create(&PostParams::default(), &secret).await.unwrap();
    }

    /// Allows `user` in this namespace what `rules`, as a Role has them, say, and no more than that.
    pub async fn allow(&self, user: &str, rules: Value) {
        let (roles, bindings) = (self.api::<Role>(), self.api::<RoleBinding>());
        grant(&self.client, Some(&self.namespace), roles, bindings, user, rules).await;
    }

    /// The same in all namespaces.
    pub async fn allow_everywhere(&self, user: &str, rules: Value) {
        let roles: Api<ClusterRole> = Api::all(self.client.clone());
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client.clone());
        grant(&self.client, None, roles, bindings, user, rules).await;
    }

    /// A token of a new ServiceAccount, as `kubectl create token` makes it. RBAC knows it as
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub async fn token(&self, name: &str) -> String {
        let accounts = self.api::<ServiceAccount>();
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        accounts
            .create(&PostParams::default(), &ServiceAccount { metadata, ..ServiceAccount::default() })
            .await
            .unwrap();
        let spec = TokenRequestSpec { audiences: Vec::new(), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap();
        answer.status.unwrap().token
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

    /// Waits until the objective's status is as `want` says, and returns it.
    pub async fn await_objective(
        &self,
        name: &str,
        what: &str,
        want: impl Fn(&ObjectiveStatus) -> bool,
    ) -> ObjectiveStatus {
        await_some(&format!("objective {name} {what}"), || async {
            let status = self.api::<OkrObjective>().get(name).await.unwrap().status.unwrap_or_default();
            want(&status).then_some(status)
        })
        .await
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
        self.await_connection_saying(name, reason, "").await
    }

    /// Waits until a connection's `Ready` shows `reason` and says `words`.
    pub async fn await_connection_saying(&self, name: &str, reason: &str, words: &str) -> Condition {
        await_some(&format!("connection {name} is {reason} and says {words}"), || async {
            let connection = self.api::<BigQueryConnection>().get(name).await.unwrap();
            let status = connection.status.unwrap_or_default();
            let observed = status.observed_generation == connection.metadata.generation;
            let ready = condition(&status.conditions, "Ready")?;
            (observed && ready.reason == reason && ready.message.contains(words)).then(|| ready.clone())
        })
        .await
    }

    /// Moves the times of the last attempt and of the next one an hour back, as if that long had gone by since.
    pub async fn backdate(&self, name: &str) {
        let api = self.api::<OkrKeyResult>();
        let mut object = api.get(name).await.unwrap();
        let status = object.status.as_mut().unwrap();
        let earlier = |time: &mut Time| time.0 -= SignedDuration::from_hours(1);
        status.last_sync_time.iter_mut().for_each(earlier);
        status.value_time.iter_mut().for_each(earlier);
        status.next_sync_time.iter_mut().for_each(earlier);
        status.history.iter_mut().map(|point| &mut point.time).for_each(earlier);
        api.replace_status(name, &as_the_operator(), &object).await.unwrap();
    }

    /// Waits for an event about `object` with this reason, and returns its note.
    pub async fn await_event(&self, object: &str, reason: &str) -> String {
        await_some(&format!("an event {reason} about {object}"), || async {
            let events = self.api::<Event>().list(&ListParams::default()).await.unwrap();
            let concerned = |event: &Event| {
                event.reason.as_deref() == Some(reason)
                    && event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref()) == Some(object)
            };
            events.items.into_iter().find(concerned).and_then(|event| event.note)
        })
        .await
    }

    /// The calls that `user` made about `resource` in this namespace, from the API server's own record.
    pub fn audited(&self, user: &str, resource: &str) -> Vec<Call> {
        let log = std::env::var("OKR_AUDIT_LOG").expect("the API server's audit log: run `make test`");
        let text = std::fs::read_to_string(log).unwrap();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events
            .filter(|event| {
                event["impersonatedUser"]["username"] == user
                    && event["objectRef"]["resource"] == resource
                    && event["objectRef"]["namespace"] == self.namespace.as_str()
            })
            .map(|event| Call {
                verb: event["verb"].as_str().unwrap_or_default().to_owned(),
                subresource: event["objectRef"]["subresource"].as_str().unwrap_or_default().to_owned(),
                name: event["objectRef"]["name"].as_str().unwrap_or_default().to_owned(),
                code: event["responseStatus"]["code"].as_i64().unwrap_or_default(),
            })
            .collect()
    }

    /// An operator that the API server's record shows as `user`, with the rights of an administrator.
    pub async fn operator_as(&self, user: &str) -> Operator {
        self.operator_through(impersonate(user, &["system:masters"]).await, |_| {})
    }

    /// An operator that works in this namespace alone, until it is stopped or dropped.
    pub fn operator(&self) -> Operator {
        self.operator_with(|_| {})
    }

    /// The same, with settings changed by `change`.
    pub fn operator_with(&self, change: impl FnOnce(&mut Settings)) -> Operator {
        self.operator_through(self.client.clone(), change)
    }

    pub fn operator_through(&self, client: Client, change: impl FnOnce(&mut Settings)) -> Operator {
        let mut settings = Settings {
            gaps: Gaps { behind: integer(0), at_risk: integer(25) },
            shared_connection_namespaces: Vec::new(),
            allowed_endpoints: vec!["127.0.0.1".to_owned()],
            allowed_token_hosts: vec!["127.0.0.1".to_owned()],
            ambient_identity_namespaces: Vec::new(),
            google: bigquery::Endpoints::default(),
            external_account_folder: None,
            namespaces: vec![self.namespace.clone()],
            max_concurrent_syncs: 32,
            copied_labels: CopiedLabels::default(),
            candidate: None,
        };
        change(&mut settings);
        let metrics = Arc::new(Metrics::default());
        let signals = Signals::default();
        let shutdown = signals.shutdown.clone();
        let watching = controller::watch(&client, &settings, &metrics);
        let catalog = watching.catalog(&signals);
        metrics.read_from(watching.readings(), settings.copied_labels.clone(), Arc::clone(&catalog));
        let run = controller::run(client, settings, Arc::clone(&metrics), signals, watching);
        Operator { metrics, catalog, shutdown, task: tokio::spawn(run) }
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

/// A call as the API server recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub verb: String,
    pub subresource: String,
    pub name: String,
    pub code: i64,
}

/// A client that acts as somebody else.
pub async fn impersonate(user: &str, groups: &[&str]) -> Client {
    let mut config = Config::infer().await.unwrap();
    config.auth_info.impersonate = Some(user.to_owned());
    config.auth_info.impersonate_groups = Some(groups.iter().map(|&group| group.to_owned()).collect());
    Client::try_from(config).unwrap()
}

/// Waits until the API server has learned of it, which it does by a watch.
async fn grant<R, B>(
    client: &Client,
    namespace: Option<&str>,
    roles: Api<R>,
    bindings: Api<B>,
    user: &str,
    rules: Value,
) where
    R: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    B: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let role = json!({
        "apiVersion": R::api_version(&()), "kind": R::kind(&()), "metadata": {"name": user}, "rules": rules,
    });
    let group = R::group(&());
    let binding = json!({
        "apiVersion": B::api_version(&()), "kind": B::kind(&()), "metadata": {"name": user},
        "roleRef": {"apiGroup": group, "kind": R::kind(&()), "name": user},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    });
    let ours = PatchParams::apply("tests").force();
    roles.patch(user, &ours, &Patch::Apply(role)).await.unwrap();
    bindings.patch(user, &ours, &Patch::Apply(binding)).await.unwrap();

    let last = |list: &Value| list.as_array().unwrap().last().unwrap().clone();
    let rule = last(&rules);
    let (resource, verb) = (last(&rule["resources"]), last(&rule["verbs"]));
    let (resource, subresource) =
        resource.as_str().unwrap().split_once('/').unwrap_or((resource.as_str().unwrap(), ""));
    let attributes = json!({
        "namespace": namespace, "group": last(&rule["apiGroups"]), "resource": resource, "subresource": subresource,
        "verb": verb, "name": rule.get("resourceNames").map(last),
    });
    let review = json!({"metadata": {}, "spec": {"user": user, "resourceAttributes": attributes}});
    let review: SubjectAccessReview = serde_json::from_value(review).unwrap();
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    await_some(&format!("{user} may {attributes}"), || async {
        let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
        answer.status?.allowed.then_some(())
    })
    .await;
}

/// What the API server answers when it fails or refuses.
pub fn failure(code: StatusCode) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code.as_u16(),
        "reason": "Test", "message": "refused by the test",
    });
    Response::builder().status(code).body(Body::from(serde_json::to_vec(&status).unwrap())).unwrap()
}

/// A running operator.
pub struct Operator {
    pub metrics: Arc<Metrics>,
    /// What the dashboard reads.
    pub catalog: Arc<dyn Catalog>,
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
