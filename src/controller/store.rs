//! What exists, in memory: small enough for ten thousand key results in one small pod.
//!
//! A key result or an objective is read a few times an hour and kept all the time, so it is kept as compressed text and
//! unpacked at each look (some 20 µs). Connections are few and are looked at by every key result: they are kept as they are.
//!
//! The store is fed by the watch, and by our own writes, which know what the watch will show: the echo of a write is
//! neither decoded nor looked at again.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Debug,
    marker::PhantomData,
    sync::{Arc, Mutex},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Resource, ResourceExt,
    api::ObjectMeta,
    core::{NamespaceResourceScope, object::HasStatus},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Value, value::RawValue};
use tokio::sync::watch;

use crate::{
    api::{
        BigQueryConnection, BigQuerySource, ConnectionChoice, ConnectionRef, OkrKeyResult, OkrObjective,
        RECONCILE_AT_ANNOTATION, REFRESH_ANNOTATION,
    },
    domain::child::Child,
    view::reading::{CopiedLabels, Reading},
};

use super::{
    Objects,
    apply::FIELD_MANAGER,
    lock,
    queue::{Key, Kind},
    tree::{Door, Referral, Tree},
    watch::Watched,
};

/// A kind whose objects are kept.
pub trait Keep:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: Serialize + PartialEq + Send + Sync>
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
    + Send
    + Sync
    + 'static
{
    const KIND: Kind;
    /// The form in which an object is kept.
    type Kept: Kept<Self>;

    /// Where the objects of this kind are.
    fn watched(objects: &Objects) -> &Watched<Self>;
    /// `json` is the same object; `labels` are those that metrics show of it.
    fn keep(&self, json: &[u8], labels: &CopiedLabels) -> Self::Kept;

    /// The objective it refers to, if any, and what it brings along.
    fn referral(&self) -> Option<Referral> {
        None
    }

    /// Of an objective: who may refer to it.
    fn door(&self) -> Option<Door> {
        None
    }
}

/// The form in which an object `K` is kept.
pub trait Kept<K>: Send + Sync {
    fn restore(&self) -> Option<K>;
    /// The resourceVersion, which can be had without unpacking anything.
    fn resource_version(&self) -> Option<u64>;
    /// What it was last seen to ask for.
    fn asks(&self) -> Option<&Asks> {
        None
    }
}

/// The annotations that ask for a sync, and of which object.
#[derive(Debug)]
pub struct Asks {
    uid: Option<String>,
    annotations: BTreeMap<String, String>,
}

impl Asks {
    fn of(meta: &ObjectMeta) -> Option<Box<Self>> {
        let asking = |name: &str| Some((name.to_owned(), meta.annotations.as_ref()?.get(name)?.clone()));
        let annotations: BTreeMap<String, String> =
            [REFRESH_ANNOTATION, RECONCILE_AT_ANNOTATION].into_iter().filter_map(asking).collect();
        (!annotations.is_empty()).then(|| Box::new(Self { uid: meta.uid.clone(), annotations }))
    }

    /// Gives the same object what was asked of it and is not served yet, unless something newer is asked.
    fn carry_into(&self, metadata: &mut ObjectMeta, echoes: &Echoes) {
        if self.uid != metadata.uid {
            return;
        }
        for (name, value) in &self.annotations {
            let echo = echoes.of(name);
            let present = metadata.annotations.as_ref().and_then(|annotations| annotations.get(name));
            if echo != Some(value.as_str()) && (present.is_none() || present.map(String::as_str) == echo) {
                metadata.annotations.get_or_insert_default().insert(name.clone(), value.clone());
            }
        }
    }
}

/// Of two of the same API server the greater one is the newer; one that is no number passes for the oldest.
pub fn resource_version(text: Option<&str>) -> Option<u64> {
    text?.parse().ok()
}

impl Keep for BigQueryConnection {
    const KIND: Kind = Kind::Connection;
    type Kept = Arc<Self>;

    fn watched(objects: &Objects) -> &Watched<Self> {
        &objects.connections
    }

    fn keep(&self, _json: &[u8], _labels: &CopiedLabels) -> Arc<Self> {
        Arc::new(self.clone())
    }
}

impl Kept<BigQueryConnection> for Arc<BigQueryConnection> {
    fn restore(&self) -> Option<BigQueryConnection> {
        Some(BigQueryConnection::clone(self))
    }

    fn resource_version(&self) -> Option<u64> {
        resource_version(self.metadata.resource_version.as_deref())
    }
}

impl Keep for OkrKeyResult {
    const KIND: Kind = Kind::KeyResult;
    type Kept = PackedObject;

    fn watched(objects: &Objects) -> &Watched<Self> {
        &objects.key_results
    }

    fn keep(&self, json: &[u8], labels: &CopiedLabels) -> PackedObject {
        let chosen = self.status.as_ref().and_then(|status| status.connection.as_ref());
        let reading = Reading::of_key_result(self, labels);
        PackedObject::new(&self.metadata, self.spec.big_query.as_ref(), chosen, reading, json)
    }

    fn referral(&self) -> Option<Referral> {
        let reference = self.spec.objective_ref.as_ref()?;
        Some(Referral::new(reference, Child::of_key_result(self)))
    }
}

impl Keep for OkrObjective {
    const KIND: Kind = Kind::Objective;
    type Kept = PackedObject;

    fn watched(objects: &Objects) -> &Watched<Self> {
        &objects.objectives
    }

    fn keep(&self, json: &[u8], labels: &CopiedLabels) -> PackedObject {
        let chosen = self.status.as_ref().and_then(|status| status.measured.connection.as_ref());
        let reading = Reading::of_objective(self, labels);
        PackedObject::new(&self.metadata, self.spec.big_query.as_ref(), chosen, reading, json)
    }

    fn referral(&self) -> Option<Referral> {
        let reference = self.spec.parent_ref.as_ref()?;
        Some(Referral::new(reference, Child::of_objective(self)))
    }

    fn door(&self) -> Option<Door> {
        Some(Door { allowed: self.spec.allowed_namespaces.clone(), rolls_up: self.spec.measure.is_none() })
    }
}

/// A key result or an objective, with what is asked of all of them at once beside it.
pub struct PackedObject {
    /// The uid of the connection in use.
    pub chosen_uid: Option<Box<str>>,
    pub reference: Reference,
    /// As the API server counts; None where it gave none.
    resource_version: Option<u64>,
    /// What metrics say of it: every object is asked at every scrape.
    pub reading: Arc<Reading>,
    pub packed: Packed,
    asks: Option<Box<Asks>>,
}

impl PackedObject {
    fn new(
        meta: &ObjectMeta,
        source: Option<&BigQuerySource>,
        chosen: Option<&ConnectionChoice>,
        reading: Reading,
        json: &[u8],
    ) -> Self {
        Self {
            chosen_uid: chosen.map(|chosen| chosen.uid.as_str().into()),
            reference: match source {
                None => Reference::None,
                Some(source) => match &source.connection_ref {
                    None => Reference::Any,
                    Some(reference) => Reference::Named(Box::new(reference.clone())),
                },
            },
            resource_version: resource_version(meta.resource_version.as_deref()),
            reading: Arc::new(reading),
            packed: Packed::new(json),
            asks: Asks::of(meta),
        }
    }
}

impl<K: DeserializeOwned> Kept<K> for PackedObject {
    fn restore(&self) -> Option<K> {
        self.packed.unpack()
    }

    fn resource_version(&self) -> Option<u64> {
        self.resource_version
    }

    fn asks(&self) -> Option<&Asks> {
        self.asks.as_deref()
    }
}

/// Which connection something asks for.
pub enum Reference {
    /// It has no query.
    None,
    /// Whichever is found.
    Any,
    Named(Box<ConnectionRef>),
}

/// An object as compressed JSON.
#[derive(Clone)]
pub struct Packed(Arc<[u8]>);

impl Packed {
    fn new(json: &[u8]) -> Self {
        Self(lz4_flex::compress_prepend_size(json).into())
    }

    /// The object's JSON; None where what is kept cannot be read.
    pub fn json(&self) -> Option<Vec<u8>> {
        lz4_flex::decompress_size_prepended(&self.0).ok()
    }

    fn unpack<K: DeserializeOwned>(&self) -> Option<K> {
        serde_json::from_slice(&self.json()?).ok()
    }
}

/// All objects of one kind.
pub struct Store<K: Keep> {
    contents: Mutex<Contents<K>>,
    tree: Arc<Tree>,
    changes: Arc<watch::Sender<u64>>,
    labels: Arc<CopiedLabels>,
}

struct Contents<K: Keep> {
    objects: HashMap<Key, K::Kept>,
    /// The resourceVersions that our own writes made or met, until the watch shows them.
    ahead: HashMap<Key, u64>,
}

impl<K: Keep> Store<K> {
    /// An empty one, which tells `tree` of the references that its objects make, and counts every change in `changes`.
    pub fn new(tree: &Arc<Tree>, changes: &Arc<watch::Sender<u64>>) -> Self {
        let contents = Mutex::new(Contents { objects: HashMap::new(), ahead: HashMap::new() });
        Self { contents, tree: Arc::clone(tree), changes: Arc::clone(changes), labels: Arc::default() }
    }

    /// The same, of whose objects metrics show `labels`.
    pub fn showing(self, labels: &Arc<CopiedLabels>) -> Self {
        Self { labels: Arc::clone(labels), ..self }
    }

    /// The object; None where it is gone or unreadable.
    pub fn get(&self, key: &Key) -> Option<K> {
        lock(&self.contents).objects.get(key).and_then(Kept::restore)
    }

    /// Whether the object is still that of this resourceVersion.
    pub fn is_at(&self, key: &Key, version: Option<&str>) -> bool {
        let version = resource_version(version);
        version.is_some() && lock(&self.contents).objects.get(key).and_then(Kept::resource_version) == version
    }

    /// What `pick` makes of one object.
    pub fn pick<T>(&self, key: &Key, pick: impl FnOnce(&K::Kept) -> T) -> Option<T> {
        lock(&self.contents).objects.get(key).map(pick)
    }

    /// What `pick` makes of each object.
    pub fn filter_map<T>(&self, mut pick: impl FnMut(&Key, &K::Kept) -> Option<T>) -> Vec<T> {
        lock(&self.contents).objects.iter().filter_map(|(key, kept)| pick(key, kept)).collect()
    }

    /// Takes what the watch shows. Returns whether it is news: the echo of a write of ours, or what was before it, is none.
    pub fn put(&self, arrived: &Arrived<K>) -> (Key, bool) {
        let key = Key::of(K::KIND, arrived);
        let version = resource_version(arrived.metadata.resource_version.as_deref());
        let read = {
            let mut contents = lock(&self.contents);
            if contents.knows(&key, version) {
                return (key, false);
            }
            let asks = contents.objects.get(&key).and_then(Kept::asks);
            asks.map(|asks| arrived.metadata_after(asks))
        };
        match arrived.read_with(read.as_ref().unwrap_or(&arrived.metadata)) {
            Ok((object, json)) => {
                let kept = object.keep(json.as_bytes(), &self.labels);
                let mut contents = lock(&self.contents);
                // A write may have come in between.
                if contents.knows(&key, version) {
                    return (key, false);
                }
                contents.objects.insert(key.clone(), kept);
                self.place(&key, Some(&object));
            }
            Err(error) => {
                tracing::warn!(
                    kind = %K::kind(&()),
                    namespace = key.namespace,
                    name = key.name,
                    error,
                    "left alone: it was stored under another version of its definition; correct and apply it again"
                );
                let mut contents = lock(&self.contents);
                if contents.knows(&key, version) {
                    return (key, false);
                }
                contents.remove(&key);
                self.place(&key, None);
            }
        }
        (key, true)
    }

    /// Gives an object that a write met what was asked of it before and is not served yet, though its annotation is gone.
    pub fn carry_asks(&self, key: &Key, met: &mut K) {
        let echoes = met.status().and_then(|status| Echoes::deserialize(serde_json::to_value(status).ok()?).ok());
        let contents = lock(&self.contents);
        if let Some(asks) = contents.objects.get(key).and_then(Kept::asks) {
            asks.carry_into(met.meta_mut(), &echoes.unwrap_or_default());
        }
    }

    /// Takes what a write of ours made or met, before the watch shows it: no decision is made on an older object.
    pub fn advance(&self, key: &Key, object: &K) {
        let version = resource_version(object.meta().resource_version.as_deref());
        let (Some(version), Ok(json)) = (version, serde_json::to_vec(object)) else { return };
        let kept = object.keep(&json, &self.labels);
        let mut contents = lock(&self.contents);
        // It may be gone meanwhile, or there may be another of its name.
        let Some(shown) = contents.objects.get(key).and_then(Kept::resource_version).filter(|shown| *shown <= version)
        else {
            return;
        };
        // Also where the write changed nothing there: an older definition that knows less would else be written to for ever.
        contents.objects.insert(key.clone(), kept);
        if shown < version {
            contents.ahead.insert(key.clone(), version);
        }
        self.place(key, Some(object));
    }

    /// Takes the end that the watch shows of an object. Returns its key, and whether it is gone: there may be another of its
    /// name, which a write of ours met.
    pub fn remove(&self, ended: &Arrived<K>) -> (Key, bool) {
        let key = Key::of(K::KIND, ended);
        let mut contents = lock(&self.contents);
        if contents.knows(&key, resource_version(ended.metadata.resource_version.as_deref())) {
            return (key, false);
        }
        contents.remove(&key);
        self.place(&key, None);
        (key, true)
    }

    /// Tells the tree of the object, or that it is gone. The contents stay locked meanwhile: what the watch shows and what
    /// was written must not overtake one another.
    fn place(&self, key: &Key, object: Option<&K>) {
        self.changes.send_modify(|number| *number += 1);
        // One on its way out counts no more, and nobody counts for it.
        let object = object.filter(|object| !is_leaving(*object));
        if K::KIND == Kind::Connection {
            return;
        }
        self.tree.refer(key, object.and_then(K::referral));
        if K::KIND == Kind::Objective {
            self.tree.open(key, object.and_then(K::door));
        }
    }

    /// Removes the objects of `namespace` (None: of all) that are not among `listed`, and returns their keys.
    pub fn retain(&self, namespace: Option<&str>, listed: &HashSet<Key>) -> Vec<Key> {
        let mut contents = lock(&self.contents);
        let within = |key: &Key| namespace.is_none_or(|namespace| key.namespace == namespace);
        let objects = contents.objects.keys();
        let gone: Vec<Key> = objects.filter(|key| within(key) && !listed.contains(*key)).cloned().collect();
        for key in &gone {
            contents.remove(key);
            self.place(key, None);
        }
        // A list that was once long leaves no room behind it.
        contents.objects.shrink_to_fit();
        gone
    }
}

impl<K: Keep> Contents<K> {
    /// Whether what the watch shows is not newer than what a write of ours has shown before.
    fn knows(&mut self, key: &Key, shown: Option<u64>) -> bool {
        let Some(ahead) = self.ahead.get(key) else { return false };
        let is_known = shown.is_some_and(|shown| shown <= *ahead);
        if shown.is_none_or(|shown| shown >= *ahead) {
            self.ahead.remove(key);
        }
        is_known
    }

    fn remove(&mut self, key: &Key) {
        self.objects.remove(key);
        self.ahead.remove(key);
    }
}

/// An object on its way from the API server to the store. One that does not fit our types must not hide the others, and
/// what others wrote into a status is decided anew, whatever it is.
#[derive(Debug, Clone)]
pub struct Arrived<K> {
    metadata: ObjectMeta,
    /// Whether the last one to write its status was somebody else.
    is_foreign: bool,
    text: Box<RawValue>,
    kind: PhantomData<fn() -> K>,
}

/// What of an object is read. The rest, above all what managedFields say of every field, which is larger than most of our
/// objects, is skipped before anything is made of it: ten thousand objects an hour are decoded here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a, M> {
    api_version: Option<String>,
    kind: Option<String>,
    #[serde(default)]
    metadata: M,
    #[serde(borrow)]
    spec: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Annotations,
    managed_fields: Vec<Manager>,
}

/// Who wrote what of an object: <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>. A
/// status has one owner, as it is atomic.
#[derive(Deserialize)]
struct Manager {
    manager: Option<String>,
    subresource: Option<String>,
}

impl Manager {
    fn is_foreign(&self) -> bool {
        self.subresource.as_deref() == Some("status") && self.manager.as_deref() != Some(FIELD_MANAGER)
    }
}

/// Those that ask for something.
#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "okr-operator.dev/refresh")]
    refresh: Option<String>,
    #[serde(rename = "reconcile.fluxcd.io/requestedAt")]
    reconcile_at: Option<String>,
}

impl From<WireMetadata> for ObjectMeta {
    fn from(wire: WireMetadata) -> Self {
        let Annotations { refresh, reconcile_at } = wire.annotations;
        let asking = [(REFRESH_ANNOTATION, refresh), (RECONCILE_AT_ANNOTATION, reconcile_at)];
        let annotations: BTreeMap<String, String> =
            asking.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        Self {
            name: wire.name,
            namespace: wire.namespace,
            uid: wire.uid,
            resource_version: wire.resource_version,
            generation: wire.generation,
            creation_timestamp: wire.creation_timestamp,
            deletion_timestamp: wire.deletion_timestamp,
            labels: wire.labels,
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            ..Self::default()
        }
    }
}

/// What a status says to have served.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Echoes {
    last_handled_refresh: Option<String>,
    last_handled_reconcile_at: Option<String>,
}

impl Echoes {
    fn of(&self, annotation: &str) -> Option<&str> {
        match annotation {
            REFRESH_ANNOTATION => self.last_handled_refresh.as_deref(),
            _ => self.last_handled_reconcile_at.as_deref(),
        }
    }
}

/// The same as our types read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Slim<'a> {
    api_version: Option<String>,
    kind: Option<String>,
    metadata: &'a ObjectMeta,
    spec: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a RawValue>,
}

impl<'de, K> Deserialize<'de> for Arrived<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let wire: Wire<'_, WireMetadata> = serde_json::from_str(text.get()).map_err(serde::de::Error::custom)?;
        let is_foreign = wire.metadata.managed_fields.iter().any(Manager::is_foreign);
        Ok(Self { metadata: wire.metadata.into(), is_foreign, text, kind: PhantomData })
    }
}

impl<K: DeserializeOwned> Arrived<K> {
    /// The object, and the same as JSON without what nobody reads; or why it does not fit our types.
    pub fn read(&self) -> Result<(K, String), String> {
        self.read_with(&self.metadata)
    }

    /// The metadata, with what was asked for before and is still to be served, though the annotation is gone (SPEC 4).
    fn metadata_after(&self, asks: &Asks) -> ObjectMeta {
        let mut metadata = self.metadata.clone();
        asks.carry_into(&mut metadata, &self.echoes());
        metadata
    }

    fn echoes(&self) -> Echoes {
        let wire: Option<Wire<'_, IgnoredAny>> = serde_json::from_str(self.text.get()).ok();
        let status = wire.and_then(|wire| wire.status);
        status.and_then(|status| serde_json::from_str(status.get()).ok()).unwrap_or_default()
    }

    fn read_with(&self, metadata: &ObjectMeta) -> Result<(K, String), String> {
        let Wire { api_version, kind, metadata: IgnoredAny, spec, status } =
            serde_json::from_str(self.text.get()).map_err(|error| error.to_string())?;
        let slim = Slim { api_version, kind, metadata, spec, status };
        let slim = serde_json::to_string(&slim).map_err(|error| error.to_string())?;
        match serde_json::from_str(&slim) {
            Ok(object) if !self.is_foreign => Ok((object, slim)),
            read => self.mend(&slim, read.err()),
        }
    }

    /// The same of an object whose status others wrote, or of one that does not fit our types because of this error.
    fn mend(&self, slim: &str, misfit: Option<serde_json::Error>) -> Result<(K, String), String> {
        let mut value: Value = serde_json::from_str(slim).map_err(|error| error.to_string())?;
        let mut dropped = if self.is_foreign { drop_origin(&mut value) } else { Vec::new() };
        if misfit.is_some() {
            dropped.extend(drop_what_does_not_fit::<K>(&mut value));
        }
        let object = K::deserialize(&value).map_err(|error| misfit.unwrap_or(error).to_string())?;
        if !dropped.is_empty() {
            tracing::warn!(
                namespace = self.metadata.namespace.as_deref(),
                name = self.metadata.name.as_deref(),
                fields = ?dropped,
                "status fields that the operator did not write are decided anew"
            );
        }
        Ok((object, value.to_string()))
    }
}

/// What its value came from cannot be known of a status that others wrote: without it the value is not Fresh, and is read
/// anew at once. Drops it, and returns the names.
fn drop_origin(object: &mut Value) -> Vec<String> {
    let Some(Value::Object(status)) = object.get_mut("status") else { return Vec::new() };
    let names = ["queryFingerprint", "attemptedFingerprint"];
    names.into_iter().filter(|name| status.remove(*name).is_some()).map(str::to_owned).collect()
}

/// Drops the fields of the status that do not fit our types, and returns their names: every one of them is optional.
fn drop_what_does_not_fit<K: DeserializeOwned>(object: &mut Value) -> Vec<String> {
    let Some(Value::Object(status)) = object.get_mut("status").map(Value::take) else { return Vec::new() };
    let (mut fitting, mut dropped) = (serde_json::Map::new(), Vec::new());
    for (name, content) in status {
        object["status"] = Value::Object([(name.clone(), content.clone())].into_iter().collect());
        if K::deserialize(&*object).is_ok() {
            fitting.insert(name, content);
        } else {
            dropped.push(name);
        }
    }
    object["status"] = Value::Object(fitting);
    dropped
}

impl<K: Resource<DynamicType = ()>> Resource for Arrived<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Whether an object is on its way out: nothing is wanted for it any more.
pub fn is_leaving(object: &impl ResourceExt) -> bool {
    object.meta().deletion_timestamp.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key_result(name: &str, status: &Value) -> Value {
        json!({
            "apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrKeyResult",
            "metadata": {
                "name": name, "namespace": "sales", "uid": name, "resourceVersion": "7", "generation": 3,
                "managedFields": [{"manager": "kubectl"}],
                "annotations": {"okr-operator.dev/refresh": "1", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
            },
            "spec": {"measure": {"reach": {"target": "99.950"}}, "bigQuery": {"query": "SELECT 1", "connectionRef": {"name": "warehouse"}}},
            "status": status,
        })
    }

    fn arrive(object: &Value) -> Arrived<OkrKeyResult> {
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn an_object_comes_out_as_it_went_in_but_for_what_nobody_reads() {
        let store = Store::<OkrKeyResult>::new(&Arc::default(), &Arc::default());
        let status = json!({"value": "47.10", "connection": {"namespace": "sales", "name": "warehouse", "uid": "u"},
            "history": [{"time": "2026-10-01T00:00:00Z", "value": "1e-3"}]});
        let key = store.put(&arrive(&key_result("kr", &status))).0;
        let mut want = key_result("kr", &status);
        want["metadata"].as_object_mut().unwrap().remove("managedFields");
        want["metadata"]["annotations"] = json!({"okr-operator.dev/refresh": "1"});
        assert_eq!(serde_json::to_value(store.get(&key).unwrap()).unwrap(), want);
        let chosen = store.filter_map(|_, kept| kept.chosen_uid.clone());
        assert_eq!(chosen, ["u".into()]);
    }

    #[test]
    fn what_others_wrote_into_a_status_is_dropped_and_the_rest_stays() {
        let store = Store::<OkrKeyResult>::new(&Arc::default(), &Arc::default());
        let status = json!({
            "value": "47", "valueTime": "yesterday", "okrStatus": "Fine", "nextSyncTime": "9999-12-31T23:59:59Z",
            "conditions": [{"type": "Ready"}], "mood": "good",
        });
        let key = store.put(&arrive(&key_result("kr", &status))).0;
        let kept = serde_json::to_value(store.get(&key).unwrap()).unwrap();
        assert_eq!(kept["status"], json!({"value": "47"}));
        assert_eq!(kept["metadata"]["generation"], 3);
    }

    #[test]
    fn what_a_value_came_from_is_not_believed_where_others_wrote_the_status() {
        let store = Store::<OkrKeyResult>::new(&Arc::default(), &Arc::default());
        let status = json!({"value": "47", "queryFingerprint": "q", "attemptedFingerprint": "a"});
        let of_value = json!({"value": "47"});
        let by = |manager: &str, subresource: &str| json!({"manager": manager, "subresource": subresource});
        for (managers, want) in [
            (json!([by("okr-operator", "status"), {"manager": "kubectl"}, by("kubectl", "scale")]), &status),
            (json!([by("okr-operator", "status"), by("kubectl-edit", "status")]), &of_value),
            (json!([by("kubectl-edit", "status")]), &of_value),
        ] {
            let mut object = key_result("kr", &status);
            object["metadata"]["managedFields"] = managers;
            let key = store.put(&arrive(&object)).0;
            assert_eq!(&serde_json::to_value(store.get(&key).unwrap().status).unwrap(), want);
        }
    }

    #[test]
    fn a_spec_that_does_not_fit_takes_the_place_of_one_that_did() {
        let store = Store::<OkrKeyResult>::new(&Arc::default(), &Arc::default());
        let good = key_result("kr", &json!({}));
        let key = store.put(&arrive(&good)).0;
        let mut bad = good;
        bad["spec"]["measure"] = json!("reach");
        assert_eq!(store.put(&arrive(&bad)).0, key);
        assert!(store.get(&key).is_none());
    }

    #[test]
    fn what_a_list_leaves_out_is_gone_within_its_namespace_only() {
        let store = Store::<OkrKeyResult>::new(&Arc::default(), &Arc::default());
        let [first, second] = ["a", "b"].map(|name| store.put(&arrive(&key_result(name, &json!({})))).0);
        assert_eq!(store.retain(Some("other"), &HashSet::new()), []);
        assert_eq!(store.retain(Some("sales"), &[first.clone()].into()), [second]);
        assert_eq!(store.filter_map(|key, _| Some(key.clone())), [first]);
    }

    fn at(version: u64, value: &str) -> Arrived<OkrKeyResult> {
        let mut object = key_result("kr", &json!({"value": value}));
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        arrive(&object)
    }

    fn value(store: &Store<OkrKeyResult>, key: &Key) -> Option<String> {
        store.get(key)?.status?.value
    }

    #[test]
    fn the_echo_of_a_write_is_no_news_and_what_came_before_it_changes_nothing() {
        let store = Store::<OkrKeyResult>::new(&Arc::default(), &Arc::default());
        let (key, is_news) = store.put(&at(7, "1"));
        assert!(is_news);
        store.advance(&key, &at(9, "2").read().unwrap().0);
        assert_eq!(value(&store, &key).as_deref(), Some("2"));
        for (version, is_news) in [(8, false), (9, false), (9, true), (10, true)] {
            assert_eq!(store.put(&at(version, "3")).1, is_news, "{version}");
        }
        assert_eq!(value(&store, &key).as_deref(), Some("3"));
    }

    #[test]
    fn a_request_stays_until_it_is_served_though_its_annotation_goes() {
        let store = Store::<OkrKeyResult>::new(&Arc::default(), &Arc::default());
        let asked = |version: u64, uid: &str, annotations: Value, status: Value| {
            let mut object = key_result("kr", &status);
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            object["metadata"]["uid"] = json!(uid);
            object["metadata"]["annotations"] = annotations;
            let (key, _) = store.put(&arrive(&object));
            let annotations = store.get(&key).unwrap().metadata.annotations.unwrap_or_default();
            annotations.get(REFRESH_ANNOTATION).cloned()
        };
        assert_eq!(asked(1, "u", json!({REFRESH_ANNOTATION: "a"}), json!({})).as_deref(), Some("a"));
        assert_eq!(asked(2, "u", json!({}), json!({"lastHandledRefresh": "before"})).as_deref(), Some("a"));
        assert_eq!(asked(3, "u", json!({REFRESH_ANNOTATION: "b"}), json!({})).as_deref(), Some("b"));
        assert_eq!(asked(4, "u", json!({}), json!({"lastHandledRefresh": "b"})), None, "it was served");
        assert_eq!(asked(5, "u", json!({REFRESH_ANNOTATION: "c"}), json!({})).as_deref(), Some("c"));
        let put_back = (json!({REFRESH_ANNOTATION: "b"}), json!({"lastHandledRefresh": "b"}));
        assert_eq!(asked(6, "u", put_back.0, put_back.1).as_deref(), Some("c"), "what it has again is served already");
        let mut met = key_result("kr", &json!({"lastHandledRefresh": "b"}));
        met["metadata"]["annotations"] = json!({});
        met["metadata"]["uid"] = json!("u");
        let mut met = arrive(&met).read().unwrap().0;
        store.carry_asks(&Key::of(Kind::KeyResult, &met), &mut met);
        assert_eq!(met.metadata.annotations.unwrap()[REFRESH_ANNOTATION], "c", "a write met it without");
        assert_eq!(asked(7, "another of its name", json!({}), json!({})), None);
    }

    #[test]
    fn a_write_to_what_is_gone_or_newer_by_now_brings_nothing_back() {
        let store = Store::<OkrKeyResult>::new(&Arc::default(), &Arc::default());
        let written = at(9, "2").read().unwrap().0;
        let (key, _) = store.put(&at(7, "1"));
        store.remove(&at(8, "1"));
        store.advance(&key, &written);
        assert!(store.get(&key).is_none());
        store.put(&at(12, "another of its name"));
        store.advance(&key, &written);
        assert_eq!(value(&store, &key).as_deref(), Some("another of its name"));
        assert!(store.put(&at(13, "4")).1);
    }

    #[test]
    fn a_late_watch_does_not_bring_back_what_a_write_met_another_in_the_place_of() {
        let store = Store::<OkrKeyResult>::new(&Arc::default(), &Arc::default());
        let (key, _) = store.put(&at(7, "1"));
        store.advance(&key, &at(12, "another of its name").read().unwrap().0);
        assert!(!store.put(&at(8, "2")).1);
        assert!(!store.remove(&at(9, "2")).1);
        assert!(!store.put(&at(10, "another, as it was made")).1);
        assert_eq!(value(&store, &key).as_deref(), Some("another of its name"));
        assert!(store.remove(&at(13, "gone as well")).1);
        assert!(store.get(&key).is_none());
    }
}
