//! The one place that writes to the API server: a whole status, the events about its transitions, and the Lease. It reads
//! an object only where a write of its status met a conflict.

use std::{fmt::Debug, time::Duration};

use http::{HeaderValue, header::ACCEPT};
use jiff::Timestamp;
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client, Resource,
    api::PostParams,
    core::{NamespaceResourceScope, Request},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::domain::{event::Transition, hash};

use super::store::Arrived;

/// The client retries overload by itself for minutes; a worker has better things to do.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Whose the statuses are, as managedFields tell.
pub const FIELD_MANAGER: &str = "okr-operator";

/// Who an event comes from.
const REPORTER: &str = "okr-operator.dev/okr-operator";

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("the object was changed since it was read")]
    Conflict,
    #[error("the object is gone")]
    Gone,
    #[error("the API server did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// Its words are left out: where it finds a status invalid they quote it, and with it what BigQuery said.
    #[error("the API server refused the write with {code} ({reason})")]
    Refused { code: u16, reason: String },
    #[error("the API server failed or could not be reached")]
    Failed(#[source] kube::Error),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusUpdate<'a, S> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Guard<'a>,
    status: &'a S,
}

/// The write holds for this very object as it was read, or not at all.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Guard<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
    resource_version: &'a str,
}

/// Replaces the status of `object` as it was read, whole, in no longer than `limit`. Returns the new resourceVersion.
pub async fn status<K, S>(client: &Client, object: &K, status: &S, limit: Duration) -> Result<String, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    S: Serialize,
{
    let meta = object.meta();
    let (name, namespace) = (meta.name.as_deref().unwrap_or_default(), meta.namespace.as_deref().unwrap_or_default());
    let update = StatusUpdate {
        api_version: &K::api_version(&()),
        kind: &K::kind(&()),
        metadata: Guard {
            name,
            namespace,
            uid: meta.uid.as_deref().unwrap_or_default(),
            resource_version: meta.resource_version.as_deref().unwrap_or_default(),
        },
        status,
    };
    let write = async {
        let update = serde_json::to_vec(&update).map_err(kube::Error::SerdeError)?;
        let request = Request::new(K::url_path(&(), Some(namespace)));
        let ours = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = request.replace_subresource("status", name, &ours, update);
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(ACCEPT, METADATA_ALONE);
        client.request::<Written>(request).await
    };
    let written = in_time(limit, write).await?;
    // Without one it is no answer of the API server's: what became of the write is looked up, as after a conflict.
    written.metadata.resource_version.ok_or(ApplyError::Conflict)
}

/// An object comes back without what was just sent: <https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches>.
const METADATA_ALONE: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// What is read of it.
#[derive(Deserialize)]
struct Written {
    metadata: WrittenMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMetadata {
    resource_version: Option<String>,
}

/// What the API server has under the object's name, which may be another one; None where there is nothing.
pub async fn newest<K>(client: &Client, object: &K) -> Result<Option<K>, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let meta = object.meta();
    let api: Api<Arrived<K>> = Api::namespaced(client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let newest = in_time(CALL_TIMEOUT, api.get_opt(meta.name.as_deref().unwrap_or_default())).await?;
    // One that cannot be read any more is none that a status could be decided on.
    Ok(newest.and_then(|newest| newest.read().ok()).map(|(newest, _)| newest))
}

/// Tells of a transition, in no longer than `limit`. An event is a courtesy: its failure is the caller's to log, not to repeat.
pub async fn event<K>(client: &Client, object: &K, transition: &Transition, limit: Duration) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let meta = object.meta();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let now = crate::clock::now();
    let event = Event {
        metadata: ObjectMeta {
            name: Some(event_name(meta.name.as_deref().unwrap_or_default(), transition.reason, now)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        action: Some(transition.action.to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(cut(&transition.note, LONGEST_NOTE)),
        reason: Some(transition.reason.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            resource_version: meta.resource_version.clone(),
            uid: meta.uid.clone(),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(reporting_instance()),
        type_: Some(if transition.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    };
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    in_time(limit, api.create(&PostParams::default(), &event)).await.map(|_| ())
}

/// Creates the Lease. A conflict means that it is there already.
pub async fn create_lease(api: &Api<Lease>, lease: &Lease, limit: Duration) -> Result<Lease, ApplyError> {
    in_time(limit, api.create(&PostParams::default(), lease)).await
}

/// Replaces the Lease as it was read: its uid and resourceVersion make a lost race a conflict.
pub async fn replace_lease(api: &Api<Lease>, lease: &Lease, limit: Duration) -> Result<Lease, ApplyError> {
    let name = lease.metadata.name.as_deref().unwrap_or_default();
    in_time(limit, api.replace(name, &PostParams::default(), lease)).await
}

/// The API server's bound for a note.
const LONGEST_NOTE: usize = 1024;

/// Named like those of other controllers, by object and moment. A name has 253 characters at most, all of which the
/// object's may take.
fn event_name(object: &str, reason: &str, now: Timestamp) -> String {
    let object = cut(object, 253 - 17);
    let moment = hash::hex(&[reason, &now.as_nanosecond().to_string()], 16);
    format!("{}.{moment}", object.trim_end_matches(['.', '-']))
}

fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

/// The pod's name, which is its host's; else that of the program.
pub fn reporting_instance() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "okr-operator".to_owned())
}

/// Makes a call that takes no longer than `limit`.
pub async fn in_time<T>(limit: Duration, call: impl Future<Output = kube::Result<T>>) -> Result<T, ApplyError> {
    let error = match tokio::time::timeout(limit, call).await {
        Err(_) => return Err(ApplyError::TimedOut(limit)),
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => error,
    };
    Err(match error {
        kube::Error::Api(status) => match status.code {
            404 => ApplyError::Gone,
            409 => ApplyError::Conflict,
            // Asked again as it is, it would say the same again.
            400 | 403 | 413 | 422 => ApplyError::Refused { code: status.code, reason: status.reason.clone() },
            _ => ApplyError::Failed(kube::Error::Api(status)),
        },
        error => ApplyError::Failed(error),
    })
}
