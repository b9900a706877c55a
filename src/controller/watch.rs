//! What is watched for as long as the process lives, and how long a watch may fail.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{NamespaceResourceScope, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, Event, watcher},
    },
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    causes::{causes, chain},
    metrics::Metrics,
};

use super::{
    Fatal,
    agenda::Agenda,
    lock,
    queue::Key,
    store::{Arrived, Keep, Store},
};

/// What the API server refuses for longer than this is not going to be mended by waiting: the process ends, loudly. That it
/// is away ends nothing: a process that is started again and again would be asleep when it comes back.
const LONGEST_REFUSAL: Duration = Duration::from_secs(300);

/// A call to the API server that says nothing for this long is given up. A watch mostly says something every minute, a bookmark,
/// but no API server promises that.
pub const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// After an outage a watch may have to be retried twice: an API server that has just started knows no resourceVersion of
/// before. What changes is not to wait for long all the same.
const LONGEST_RETRY: Duration = Duration::from_secs(8);

/// A watch that nobody refused for this long has recovered: retries are at most [`LONGEST_RETRY`] apart, and a list that
/// hangs is an error after [`READ_TIMEOUT`].
const RECOVERED_AFTER: Duration = Duration::from_secs(180);

/// What the API server refuses for this long is not ours to read; it learns of a new Role within a second or two. Until
/// then nothing is decided: a key result whose connection is refused a moment longer than itself would seem to have none.
const RIGHTS_ARE_KNOWN: Duration = Duration::from_secs(5);

/// The kind of namespaces, as logs and metrics name it.
pub const NAMESPACE: &str = "Namespace";

/// How often to look whether a namespace has come to exist.
const NAMESPACE_AGAIN: Duration = Duration::from_secs(60);

/// The objects of one kind, and when each is looked at next.
pub struct Watched<K: Keep> {
    pub store: Store<K>,
    pub agenda: Arc<Agenda>,
    scopes: BTreeMap<Scope, Listed>,
}

/// A namespace, or all.
type Scope = Option<String>;

/// Fires once the store holds all that exists, or once it is known that the namespace cannot be read.
type Listed = CancellationToken;

impl<K: Keep> Watched<K> {
    pub fn new(scopes: &BTreeSet<Scope>, store: Store<K>, agenda: &Arc<Agenda>) -> Self {
        let scopes = scopes.iter().map(|scope| (scope.clone(), Listed::new())).collect();
        Self { store, agenda: Arc::clone(agenda), scopes }
    }

    /// Waits until the objects that exist have been listed: until then one that is missing may only be unknown.
    pub async fn listed(&self) {
        for listed in self.scopes.values() {
            listed.cancelled().await;
        }
    }

    /// Begins to watch, in every scope.
    pub fn watch(self: &Arc<Self>, client: &Client, metrics: &Arc<Metrics>, tasks: &mut JoinSet<Fatal>) {
        for (scope, listed) in &self.scopes {
            let api: Api<Arrived<K>> = match scope {
                None => Api::all(client.clone()),
                Some(namespace) => Api::namespaced(client.clone(), namespace),
            };
            let watched = Arc::clone(self);
            let follow = Follow { scope: scope.clone(), listed: listed.clone(), metrics: Arc::clone(metrics) };
            tasks.spawn(async move { follow.run(api, &watched).await });
        }
    }

    /// Has the objects looked at again that `concerned` picks.
    pub fn wake_where(&self, concerned: impl Fn(&Key, &K::Kept) -> bool) {
        self.agenda.wake_all(self.store.filter_map(|key, kept| concerned(key, kept).then(|| key.clone())));
    }

    fn take(&self, scope: &Scope, listing: &mut HashSet<Key>, event: Event<Arrived<K>>) {
        match event {
            Event::Init => listing.clear(),
            Event::InitApply(object) => {
                let (key, _) = self.store.put(&object);
                listing.insert(key.clone());
                // News or not: a list is rare, and nobody knows what was missed before it.
                self.agenda.wake(key);
            }
            Event::InitDone => {
                let gone = self.store.retain(scope.as_deref(), listing);
                *listing = HashSet::new();
                self.agenda.wake_all(gone);
            }
            Event::Apply(object) => {
                let (key, is_news) = self.store.put(&object);
                if is_news {
                    self.agenda.wake(key);
                }
            }
            Event::Delete(object) => {
                let (key, is_gone) = self.store.remove(&object);
                if is_gone {
                    self.agenda.wake(key);
                }
            }
        }
    }
}

/// The waits between retries: kube-runtime's own, which grow to half a minute, cut.
#[derive(Default)]
pub(super) struct Retries(watcher::DefaultBackoff);

impl Iterator for Retries {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|wait| wait.min(LONGEST_RETRY))
    }
}

impl Backoff for Retries {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// One watch.
struct Follow {
    scope: Scope,
    listed: Listed,
    metrics: Arc<Metrics>,
}

impl Follow {
    /// Ends with a failure that waiting does not mend.
    async fn run<K: Keep>(self, api: Api<Arrived<K>>, watched: &Watched<K>) -> Fatal {
        let kind = kind_name::<K>();
        self.metrics.watches(kind);
        let mut events = watcher(api, watcher::Config::default()).backoff(Retries::default()).boxed();
        let mut refusals = Refusals::default();
        let mut listing = HashSet::new();
        let mut refused_since = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    refusals = Refusals::default();
                    let is_listed = matches!(event, Event::InitDone);
                    watched.take(&self.scope, &mut listing, event);
                    if is_listed {
                        self.listed.cancel();
                        if refused_since.take().is_some() {
                            tracing::info!(kind, namespace = self.scope, "the namespace can be read now");
                            self.tell(kind, true);
                        }
                    }
                }
                // Someone may yet make the namespace, or give us the rights in it: the others are not to wait for that.
                Err(error) if self.scope.is_some() && is_out_of_reach(&error) => {
                    let since = refused_since.get_or_insert_with(|| {
                        tracing::warn!(
                            kind,
                            namespace = self.scope,
                            error = chain(&error),
                            "a namespace of --namespaces cannot be read: it does not exist yet, the operator has no Role in it, or the definitions are not installed; it is tried again"
                        );
                        self.tell(kind, false);
                        Instant::now()
                    });
                    if since.elapsed() >= RIGHTS_ARE_KNOWN {
                        self.listed.cancel();
                    }
                }
                Err(error) => {
                    if let Some(fatal) = refusals.meet(kind, &error, &self.metrics) {
                        return fatal;
                    }
                }
            }
        }
        Fatal::Ended(kind)
    }

    fn tell(&self, kind: &'static str, readable: bool) {
        if let Some(namespace) = &self.scope {
            self.metrics.namespace_readable(namespace, kind, readable);
        }
    }
}

/// What the API server says of a namespace that is not there, or not ours to read.
fn is_out_of_reach(error: &watcher::Error) -> bool {
    matches!(code(error), Some(403 | 404))
}

/// Whether an open watch had nothing to tell until [`READ_TIMEOUT`]: where nothing happens that is no failure. If the API server is
/// gone, the next attempt to watch says so.
fn is_silence(error: &watcher::Error) -> bool {
    let timed_out = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    };
    matches!(error, watcher::Error::WatchFailed(_)) && causes(error).any(timed_out)
}

/// What to do about an error of a watch in all namespaces, where that is known.
fn advice(error: &watcher::Error) -> &'static str {
    match code(error) {
        Some(403) => {
            ": the operator's ServiceAccount needs a ClusterRole that lets it list and watch this kind, or --namespaces with a Role in each"
        }
        Some(404) => {
            ": the cluster has no such kind, install the definitions: the chart does with crds.enabled=true, or okr-operator crd | kubectl apply --server-side -f -"
        }
        _ => "",
    }
}

/// The HTTP status of the API server's answer.
fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        watcher::Error::WatchError(status) => Some(status.code),
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => None,
    }
}

/// Each namespace to work in, once, or all together.
pub fn scopes(namespaces: &[String]) -> BTreeSet<Scope> {
    match namespaces {
        [] => [None].into(),
        some => some.iter().cloned().map(Some).collect(),
    }
}

/// Says of a namespace that it does not exist, and when it does. An empty list alone does not tell.
pub async fn until_it_exists(client: Client, namespace: String, metrics: Arc<Metrics>) {
    let api: Api<Namespace> = Api::all(client);
    let mut told = false;
    loop {
        match tokio::time::timeout(READ_TIMEOUT, api.get_metadata_opt(&namespace)).await {
            Ok(Ok(None)) => {
                metrics.namespace_readable(&namespace, NAMESPACE, false);
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        namespace,
                        "a namespace of --namespaces does not exist; it is picked up when it does"
                    );
                }
            }
            Ok(Ok(Some(_))) => {
                if told {
                    metrics.namespace_readable(&namespace, NAMESPACE, true);
                    tracing::info!(namespace, "the namespace exists now");
                }
                return;
            }
            // Without the right to ask, the watches tell.
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => return,
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(NAMESPACE_AGAIN).await;
    }
}

/// The labels of all namespaces.
#[derive(Default)]
pub struct Namespaces {
    labels: Mutex<BTreeMap<String, Arc<BTreeMap<String, String>>>>,
    listed: Listed,
}

impl Namespaces {
    pub fn labels(&self, namespace: &str) -> Option<Arc<BTreeMap<String, String>>> {
        lock(&self.labels).get(namespace).cloned()
    }

    /// Waits until the namespaces that exist have been listed.
    pub async fn listed(&self) {
        self.listed.cancelled().await;
    }

    /// Watches for ever; `changed` is told of each namespace whose labels are new.
    pub async fn watch(&self, client: Client, metrics: &Metrics, changed: impl Fn(&str)) -> Fatal {
        let kind = NAMESPACE;
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
        let mut events = watcher(api, watcher::Config::default()).backoff(Retries::default()).boxed();
        let mut refusals = Refusals::default();
        let mut listing = HashSet::new();
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    if let Some(fatal) = refusals.meet(kind, &error, metrics) {
                        return fatal;
                    }
                    continue;
                }
            };
            refusals = Refusals::default();
            match event {
                Event::Init => listing.clear(),
                Event::InitApply(namespace) => {
                    listing.insert(namespace.name_any());
                    self.put(&namespace, &changed);
                }
                Event::InitDone => {
                    lock(&self.labels).retain(|name, _| listing.contains(name));
                    self.listed.cancel();
                }
                Event::Apply(namespace) => self.put(&namespace, &changed),
                Event::Delete(namespace) => {
                    lock(&self.labels).remove(&namespace.name_any());
                }
            }
        }
        Fatal::Ended(kind)
    }

    fn put(&self, namespace: &PartialObjectMeta<Namespace>, changed: impl Fn(&str)) {
        let name = namespace.name_any();
        let labels = Arc::new(namespace.metadata.labels.clone().unwrap_or_default());
        let before = lock(&self.labels).insert(name.clone(), Arc::clone(&labels));
        if before != Some(labels) {
            changed(&name);
        }
    }
}

fn kind_name<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        std::borrow::Cow::Owned(_) => "objects",
    }
}

/// Refusals of a watch that follow on one another. A watch is judged by them: one that works may be quiet for hours.
#[derive(Debug, Default)]
struct Refusals(Option<(Instant, Instant)>);

impl Refusals {
    /// Tells of an error; returns what ends the process where it has been refused for too long.
    fn meet(&mut self, kind: &'static str, error: &watcher::Error, metrics: &Metrics) -> Option<Fatal> {
        if is_silence(error) {
            tracing::debug!(kind, "a watch said nothing for long; it is opened again");
            return None;
        }
        metrics.watch_failed(kind);
        tracing::warn!(kind, error = chain(error), "a watch failed; it is tried again{}", advice(error));
        let is_refused = matches!(code(error), Some(401 | 403 | 404));
        (is_refused && self.again(Instant::now()) > LONGEST_REFUSAL).then_some(Fatal::Refused(kind))
    }

    /// Counts one more refusal; returns for how long they have been coming.
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
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_namespace_named_twice_is_watched_once() {
        assert_eq!(scopes(&["a".to_owned(), "b".to_owned(), "a".to_owned()]).len(), 2);
        assert_eq!(scopes(&[]), [None].into());
    }

    #[test]
    fn no_retry_waits_for_long() {
        let waits: Vec<Duration> = Retries::default().take(20).collect();
        assert!(waits[0] < Duration::from_secs(2), "{waits:?}");
        assert_eq!(waits.iter().max(), Some(&LONGEST_RETRY));
    }

    #[test]
    fn refusals_that_keep_coming_add_up_and_single_ones_do_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut refusals = Refusals::default();
        assert_eq!(refusals.again(at(0)), Duration::ZERO);
        assert_eq!(refusals.again(at(60)), Duration::from_secs(60));
        assert_eq!(refusals.again(at(200)), Duration::from_secs(200));
        assert_eq!(refusals.again(at(380)), Duration::ZERO, "it had recovered in between");
    }

    #[test]
    fn refusals_end_the_process_and_outages_do_not() {
        let begun = Instant::now().checked_sub(LONGEST_REFUSAL + Duration::from_secs(1)).unwrap();
        let answer = |code| {
            let status = Status { code, ..Status::default() };
            watcher::Error::WatchStartFailed(kube::Error::Api(status.boxed()))
        };
        for (code, ends) in
            [(401, true), (403, true), (404, true), (410, false), (429, false), (500, false), (503, false)]
        {
            let mut refusals = Refusals(Some((begun, Instant::now())));
            assert_eq!(refusals.meet("Namespace", &answer(code), &Metrics::default()).is_some(), ends, "{code}");
        }
    }
}
