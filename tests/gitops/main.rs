//! What Flux's and Argo CD's own programs say of our objects, at every moment of their life: `make gitops`.

#[path = "../support/mod.rs"]
mod support;

mod argo;
mod fleet;
mod flux;
mod moments;
mod programs;

use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject},
    core::NamespaceResourceScope,
};
use serde_json::{Value, json};
use support::{
    cluster::{Sandbox, stubbed},
    examples::day,
};

/// A key result to reach 100 in a period that is half over: 50 are expected.
fn reach(query: &str) -> Value {
    json!({"measure": {"reach": {"target": 100}}, "period": period(-50, 50), "bigQuery": {"query": query}})
}

/// From so many days ago to so many from now.
fn period(start: i64, end: i64) -> Value {
    json!({"startDate": day(start).to_string(), "endDate": day(end).to_string()})
}

/// An object as the API server gives it to anyone, if it is there.
async fn stored<K>(sandbox: &Sandbox, name: &str) -> Option<Value>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let kind = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(sandbox.client.clone(), &sandbox.namespace, &kind);
    api.get_opt(name).await.unwrap().map(|object| serde_json::to_value(object).unwrap())
}

/// Loads what the examples ask for, once: the BigQuery server fails where two load the same tables at a time.
async fn sample_data() {
    static LOADED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    LOADED.get_or_init(support::examples::load_sample_data).await;
}
