//! Connections shared between namespaces. The operator here works in the whole cluster, as namespaces' labels can only be
//! known there; so these tests have a program of their own, and run one after the other.

mod support;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use okr_operator::api::{BigQueryConnection, OkrKeyResult};
use serde_json::{Value, json};
use support::{
    bigquery_stub::{Reply, Stub},
    cluster::{Sandbox, condition, sandbox, truth},
};

/// An operator of the whole cluster would decide for the other test too.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What others may do with the connection of `owner`, and how `guest` fares.
struct Neighbours {
    owner: Sandbox,
    guest: Sandbox,
    stub: Stub,
}

impl Neighbours {
    async fn meet() -> Self {
        let stub = Stub::start().await;
        stub.otherwise(Reply::number("INT64", "47"));
        Self { owner: sandbox("owner").await, guest: sandbox("guest").await, stub }
    }

    async fn share(&self, allowed: Value) {
        let spec = json!({
            "projectId": "demo", "endpoint": self.stub.endpoint(), "credentials": {"none": {}},
            "allowedNamespaces": allowed, "default": true,
        });
        self.owner.apply::<BigQueryConnection>("warehouse", spec).await;
    }

    async fn label_guest(&self, labels: Value) {
        let namespaces: Api<Namespace> = Api::all(self.guest.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        namespaces.patch(&self.guest.namespace, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A key result that names the owner's connection.
    fn by_name(&self) -> Value {
        let mut spec = self.by_chance();
        spec["bigQuery"]["connectionRef"] = json!({"name": "warehouse", "namespace": self.owner.namespace});
        spec
    }

    fn by_chance(&self) -> Value {
        json!({"measure": {"baseline": {}}, "bigQuery": {"query": "SELECT 47"}})
    }
}

#[tokio::test]
async fn whom_a_connection_admits_is_decided_again_at_once() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let neighbours = Neighbours::meet().await;
    let Neighbours { owner, guest, .. } = &neighbours;
    // Only the other namespaces of this test concern this operator: earlier ones are on their way out.
    let _operator = guest.operator_with(|settings| settings.namespaces.clear());
    guest.apply::<OkrKeyResult>("by-name", neighbours.by_name()).await;
    let missing = guest.await_reason("by-name", "ConnectionNotShared").await;
    neighbours.share(json!({"from": "Selector", "selector": {"matchLabels": {"okr": "yes"}}})).await;
    owner.await_connection("warehouse", "Connected").await;
    let mut refused = neighbours.by_name();
    refused["title"] = json!("decided again, with the connection there");
    guest.apply::<OkrKeyResult>("by-name", refused).await;
    let hidden = guest.await_reason("by-name", "ConnectionNotShared").await;
    let message =
        |status: &okr_operator::api::MeasuredStatus| condition(&status.conditions, "Ready").unwrap().message.clone();
    assert_eq!(message(&missing), message(&hidden), "nobody learns whether it exists");

    neighbours.label_guest(json!({"okr": "yes"})).await;
    let status = guest.await_reason("by-name", "Synced").await;
    assert_eq!(status.connection.unwrap().namespace, owner.namespace);
    neighbours.label_guest(json!({"okr": null})).await;
    let status = guest.await_reason("by-name", "ConnectionNotShared").await;
    assert_eq!((status.value.as_deref(), truth(&status.conditions, "Reconciling")), (Some("47"), "True"));
    neighbours.share(json!({"from": "All"})).await;
    guest.await_reason("by-name", "Synced").await;
    neighbours.share(json!({"from": "Same"})).await;
    guest.await_reason("by-name", "ConnectionNotShared").await;

    // Marked All and default it still captures nobody who does not name it.
    neighbours.share(json!({"from": "All"})).await;
    guest.await_reason("by-name", "Synced").await;
    guest.apply::<OkrKeyResult>("by-chance", neighbours.by_chance()).await;
    guest.await_reason("by-chance", "ConnectionNotFound").await;
}

#[tokio::test]
async fn one_shared_from_a_listed_namespace_is_found_without_a_name() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let neighbours = Neighbours::meet().await;
    let Neighbours { owner, guest, .. } = &neighbours;
    let shared = owner.namespace.clone();
    let _operator = guest.operator_with(|settings| {
        settings.namespaces = vec![shared.clone(), guest.namespace.clone()];
        settings.shared_connection_namespaces = vec![shared];
    });
    guest.apply::<OkrKeyResult>("by-chance", neighbours.by_chance()).await;
    guest.await_reason("by-chance", "ConnectionNotFound").await;
    neighbours.share(json!({"from": "All"})).await;
    let status = guest.await_reason("by-chance", "Synced").await;
    assert_eq!(status.connection.unwrap().namespace, owner.namespace);
    // One of its own would be preferred, but a choice stays while it is usable.
    guest.connect("own", &neighbours.stub.endpoint()).await;
    guest.await_connection("own", "Connected").await;
    guest.apply::<OkrKeyResult>("later", neighbours.by_chance()).await;
    let status = guest.await_reason("later", "Synced").await;
    assert_eq!(status.connection.unwrap().name, "own");
    assert_eq!(guest.status("by-chance").await.connection.unwrap().namespace, owner.namespace);
}
