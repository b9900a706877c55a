//! What is watched and kept in memory, and how long a watch may fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, channel::mpsc, stream::BoxStream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{NamespaceResourceScope, PartialObjectMeta},
    runtime::{
        PredicateConfig, WatchStreamExt, predicates,
        reflector::{self, ObjectRef, Store},
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Guarded, chain, lock};

/// A watch that fails for longer than this is not going to be mended by waiting: the process ends, loudly.
const LONGEST_FAILURE: Duration = Duration::from_secs(300);

/// A watch without an error for this long has recovered: retries are at most half a minute apart.
const RECOVERED_AFTER: Duration = Duration::from_secs(90);

/// The objects of one kind, one store for each namespace that is worked in, or one for all.
pub struct Watched<K: Resource<DynamicType = ()> + 'static> {
    scopes: BTreeMap<Option<String>, Scope<K>>,
}

struct Scope<K: Resource<DynamicType = ()> + 'static> {
    store: Store<Guarded<K>>,
    kicks: Kicks<K>,
    listed: Listed,
}

/// Fires once the store holds all that exists. `Store::wait_until_ready` wakes one waiter only, and that is the
/// controller's own.
type Listed = CancellationToken;

fn tell_listed<T>(listed: &Listed) -> impl FnMut(&watcher::Result<watcher::Event<T>>) + use<T> {
    let listed = listed.clone();
    move |event| {
        if let Ok(watcher::Event::InitDone) = event {
            listed.cancel();
        }
    }
}

type Kicks<K> = mpsc::UnboundedSender<ObjectRef<Guarded<K>>>;

/// What one controller loop runs on.
pub struct Loop<K: Resource<DynamicType = ()> + 'static> {
    pub objects: BoxStream<'static, watcher::Result<Guarded<K>>>,
    pub store: Store<Guarded<K>>,
    /// Objects to be looked at again.
    pub kicks: mpsc::UnboundedReceiver<ObjectRef<Guarded<K>>>,
}

impl<K> Watched<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + 'static,
{
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Guarded<K>>> {
        self.scope(namespace)?.store.get(&ObjectRef::new(name).within(namespace))
    }

    pub fn all(&self) -> Vec<Arc<Guarded<K>>> {
        self.scopes.values().flat_map(|scope| scope.store.state()).collect()
    }

    /// Waits until the objects that exist have been listed: until then one that is missing may only be unknown.
    pub async fn listed(&self) {
        for scope in self.scopes.values() {
            scope.listed.cancelled().await;
        }
    }

    pub fn is_listed(&self) -> bool {
        self.scopes.values().all(|scope| scope.listed.is_cancelled())
    }

    /// Has the object looked at again.
    pub fn kick(&self, namespace: &str, name: &str) {
        if let Some(scope) = self.scope(namespace) {
            // The receiver ends with its loop, and the process with that.
            let _ = scope.kicks.unbounded_send(ObjectRef::new(name).within(namespace));
        }
    }

    fn scope(&self, namespace: &str) -> Option<&Scope<K>> {
        self.scopes.get(&None).or_else(|| self.scopes.get(&Some(namespace.to_owned())))
    }
}

/// Each namespace to work in, once, or all together.
pub fn scopes(namespaces: &[String]) -> BTreeSet<Option<String>> {
    match namespaces {
        [] => [None].into(),
        some => some.iter().cloned().map(Some).collect(),
    }
}

/// Begins to watch a kind.
pub fn watched<K>(client: &Client, scopes: &BTreeSet<Option<String>>, health: &Health) -> (Watched<K>, Vec<Loop<K>>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let mut watched = BTreeMap::new();
    let mut loops = Vec::new();
    for scope in scopes {
        let api: Api<Guarded<K>> = match scope {
            None => Api::all(client.clone()),
            Some(namespace) => Api::namespaced(client.clone(), namespace),
        };
        let (store, writer) = reflector::store();
        let (kicks, receiver) = mpsc::unbounded();
        let listed = Listed::new();
        let objects = health
            .observe(watcher(api, watcher::Config::default()).default_backoff(), kind_name::<K>())
            .modify(drop_what_nobody_reads)
            .reflect(writer)
            .inspect(tell_listed(&listed))
            .touched_objects()
            .boxed();
        watched.insert(scope.clone(), Scope { store: store.clone(), kicks, listed });
        loops.push(Loop { objects, store, kicks: receiver });
    }
    (Watched { scopes: watched }, loops)
}

/// The labels of all namespaces.
pub struct Namespaces {
    store: Store<PartialObjectMeta<Namespace>>,
    listed: Listed,
}

impl Namespaces {
    pub fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        let found = self.store.get(&ObjectRef::new(namespace))?;
        Some(found.metadata.labels.clone().unwrap_or_default())
    }

    /// Waits until the namespaces that exist have been listed.
    pub async fn listed(&self) {
        self.listed.cancelled().await;
    }
}

/// Begins to watch the labels of all namespaces. The stream names each namespace whose labels changed.
pub fn namespaces(client: &Client, health: &Health) -> (Namespaces, BoxStream<'static, String>) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let (store, writer) = reflector::store();
    let listed = Listed::new();
    // A namespace that changes often changes its annotations or status; the memory of its labels must outlast that.
    let for_a_day = PredicateConfig::default().ttl(Duration::from_secs(24 * 3600));
    let changes = health
        .observe(watcher(api, watcher::Config::default()).default_backoff(), "Namespaces")
        .modify(drop_what_nobody_reads)
        .reflect(writer)
        .inspect(tell_listed(&listed))
        .touched_objects()
        .predicate_filter(predicates::labels, for_a_day)
        .filter_map(|namespace| std::future::ready(namespace.ok().map(|namespace| namespace.name_any())))
        .boxed();
    (Namespaces { store, listed }, changes)
}

/// managedFields alone are larger than most of our objects.
fn drop_what_nobody_reads<K: Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
    object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
}

fn kind_name<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        std::borrow::Cow::Owned(_) => "objects",
    }
}

/// Tells when a watch has failed for too long. A watch is judged by its errors: one that works may be quiet for hours.
#[derive(Clone)]
pub struct Health(Arc<Mutex<Option<oneshot::Sender<&'static str>>>>);

impl Health {
    /// The receiver gets the kind whose watch failed for too long.
    pub fn new() -> (Self, oneshot::Receiver<&'static str>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(sender)))), receiver)
    }

    fn observe<S, T>(&self, stream: S, kind: &'static str) -> impl Stream<Item = watcher::Result<T>> + use<S, T>
    where
        S: Stream<Item = watcher::Result<T>>,
    {
        let health = self.clone();
        let mut failure = Failure::default();
        stream.inspect(move |event| match event {
            Ok(_) => failure = Failure::default(),
            Err(error) => {
                tracing::warn!(kind, error = chain(error), "a watch failed; it is tried again");
                if failure.again(Instant::now()) > LONGEST_FAILURE
                    && let Some(sender) = lock(&health.0).take()
                {
                    // Nobody listens any more only where the process ends already.
                    let _ = sender.send(kind);
                }
            }
        })
    }
}

/// Errors of a watch that follow on one another.
#[derive(Debug, Default)]
struct Failure(Option<(Instant, Instant)>);

impl Failure {
    /// Counts one more error; returns for how long they have been coming.
    fn again(&mut self, now: Instant) -> Duration {
        let first = match self.0 {
            Some((first, last)) if now.duration_since(last) < RECOVERED_AFTER => first,
            _ => now,
        };
        self.0 = Some((first, now));
        now.duration_since(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_named_twice_is_watched_once() {
        assert_eq!(scopes(&["a".to_owned(), "b".to_owned(), "a".to_owned()]).len(), 2);
        assert_eq!(scopes(&[]), [None].into());
    }

    #[test]
    fn errors_that_keep_coming_add_up_and_single_ones_do_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut failure = Failure::default();
        assert_eq!(failure.again(at(0)), Duration::ZERO);
        assert_eq!(failure.again(at(60)), Duration::from_secs(60));
        assert_eq!(failure.again(at(120)), Duration::from_secs(120));
        assert_eq!(failure.again(at(300)), Duration::ZERO, "it had recovered in between");
    }
}
