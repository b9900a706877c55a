//! The controller: one loop per kind that decides and enqueues, a few workers that gather, decide and apply.
//!
//! | step | where |
//! |---|---|
//! | watch | [`watch`] |
//! | decide whether there is something to do | `reconcile` in [`key_result`] and [`connection`] |
//! | wait for a turn | [`queue`] |
//! | read a Secret, make a client of it | [`access`], kept in [`links`] |
//! | check a connection, send a query | `work` in [`connection`] and [`key_result`] |
//! | write a status, tell of an event | [`writes`], which alone calls [`apply`] |

mod access;
mod apply;
mod connection;
mod key_result;
mod links;
mod pace;
mod queue;
mod reasons;
mod watch;
mod writes;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::{
    Client, Resource,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::{
        Controller,
        controller::{Action, Error as ControllerError},
    },
};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{BigQueryConnection, OkrKeyResult},
    bigquery,
    domain::{connection as connection_domain, judgement::Gaps},
    metrics::Metrics,
};

use self::{
    links::Links,
    queue::{Key, Kind, Queue},
    watch::{Namespaces, Watched},
    writes::Writes,
};

/// An object that is kept even where its text does not fit our types: one bad object must not hide the others.
type Guarded<K> = DeserializeGuard<K>;

/// What is said on the command line.
#[derive(Debug, Clone)]
pub struct Settings {
    pub gaps: Gaps,
    /// Namespaces whose shared connections are found without being named.
    pub shared_connection_namespaces: Vec<String>,
    pub allowed_endpoints: Vec<String>,
    pub allowed_token_hosts: Vec<String>,
    /// Namespaces whose connections may use the operator's own identity.
    pub ambient_identity_namespaces: Vec<String>,
    /// Where Google's services are that no Secret names.
    pub google: bigquery::Endpoints,
    /// Where the subject tokens of external accounts are; None where there are none.
    pub external_account_folder: Option<PathBuf>,
    /// Where to work; empty means everywhere.
    pub namespaces: Vec<String>,
    pub max_concurrent_syncs: u16,
}

/// Why the controller cannot go on. The process ends, and whatever runs it starts it anew.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error("the machine's root certificates cannot be read")]
    Http(#[source] reqwest::Error),
    #[error("watching {0} has failed for five minutes; see the errors above")]
    Watch(&'static str),
    #[error("the watch of {0} ended")]
    Ended(&'static str),
    #[error("a task of the operator panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// Reconciling itself cannot fail: what can is data, or is retried by a worker.
type Infallible = std::convert::Infallible;

/// What all loops and workers share.
struct Context {
    client: Client,
    http: reqwest::Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    queue: Arc<Queue>,
    links: Links,
    key_results: Watched<OkrKeyResult>,
    connections: Watched<BigQueryConnection>,
    /// None where namespaces may not be watched: then nobody's labels are known.
    namespaces: Option<Namespaces>,
    writes: Writes,
    /// When a refresh or a change last sent a query, by uid.
    asked: Mutex<HashMap<String, Timestamp>>,
    unwritten: key_result::UnwrittenAttempts,
}

/// Runs until `shutdown` fires, or until something cannot be mended from within.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), Fatal> {
    let scopes = watch::scopes(&settings.namespaces);
    let (health, failed) = watch::Health::new();
    let (key_results, key_result_loops) = watch::watched::<OkrKeyResult>(&client, &scopes, &health);
    let (connections, connection_loops) = watch::watched::<BigQueryConnection>(&client, &scopes, &health);
    let mut tasks = JoinSet::new();
    let (namespaces, namespace_changes) = match settings.namespaces.as_slice() {
        [] => Some(watch::namespaces(&client, &health)).unzip(),
        [..] => (None, None),
    };
    let context = Arc::new(Context {
        http: crate::bigquery::http_client().map_err(Fatal::Http)?,
        queue: Arc::new(Queue::new(usize::from(settings.max_concurrent_syncs))),
        links: Links::default(),
        writes: Writes::new(client.clone(), Arc::clone(&metrics)),
        asked: Mutex::default(),
        unwritten: key_result::UnwrittenAttempts::default(),
        client,
        settings,
        metrics,
        key_results,
        connections,
        namespaces,
    });
    context.metrics.watch_queue(&context.queue);

    if let Some(changes) = namespace_changes {
        let context = Arc::clone(&context);
        tasks.spawn(async move {
            changes
                .for_each(|namespace| {
                    context.kick_namespace(&namespace);
                    std::future::ready(())
                })
                .await;
            Fatal::Ended("namespaces")
        });
    }
    for one in connection_loops {
        let context = Arc::clone(&context);
        tasks.spawn(drive(
            "BigQueryConnections",
            one,
            connection::reconcile,
            connection::forget,
            Kind::Connection,
            context,
        ));
    }
    for one in key_result_loops {
        let context = Arc::clone(&context);
        tasks.spawn(async move {
            context.connections_known().await;
            drive("OkrKeyResults", one, key_result::reconcile, key_result::forget, Kind::KeyResult, context).await
        });
    }
    for _ in 0..context.settings.max_concurrent_syncs {
        tasks.spawn(worker(Arc::clone(&context)));
    }

    let ended = tokio::select! {
        () = shutdown.cancelled() => None,
        kind = failed => Some(Fatal::Watch(kind.unwrap_or("objects"))),
        ended = tasks.join_next() => ended.map(|ended| ended.unwrap_or_else(Fatal::Panicked)),
    };
    // Also after what cannot be mended: a query left alone would run on at BigQuery, and once more after the restart.
    stop(&context).await;
    ended.map_or(Ok(()), Err)
}

/// Takes and does work, for ever.
async fn worker(context: Arc<Context>) -> Fatal {
    loop {
        let job = context.queue.take().await;
        match job.key.kind {
            Kind::Connection => connection::work(&job, &context).await,
            Kind::KeyResult => key_result::work(&job, &context).await,
        }
        let key = job.key.clone();
        drop(job);
        // Whatever came of it, the object is looked at again: for its next moment, or for what came up meanwhile.
        context.kick(&key);
    }
}

/// How long running queries may take to end by themselves or to be cancelled at BigQuery when the process stops: a
/// jobs.query blocks for up to 10 s, and only then the job's id is known.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

async fn stop(context: &Context) {
    context.queue.close();
    context.queue.cancel_all();
    if tokio::time::timeout(STOP_TIMEOUT, context.queue.idle()).await.is_err() {
        tracing::warn!("stopped while queries were still running");
    }
}

/// Runs one loop of kube-runtime's controller.
async fn drive<K, R, F>(
    kind_name: &'static str,
    one: watch::Loop<K>,
    reconcile: R,
    forget: fn(&Context, &Key),
    kind: Kind,
    context: Arc<Context>,
) -> Fatal
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
    R: FnMut(Arc<Guarded<K>>, Arc<Context>) -> F,
    F: Future<Output = Result<Action, Infallible>> + Send + 'static,
{
    let never = |_: Arc<Guarded<K>>, error: &Infallible, _: Arc<Context>| match *error {};
    Controller::for_stream(one.objects, one.store)
        .reconcile_on(one.kicks)
        .run(reconcile, never, Arc::clone(&context))
        .for_each(|result| {
            match result {
                Ok(_) => {}
                Err(ControllerError::ObjectNotFound(gone)) => {
                    let key = Key { kind, namespace: gone.namespace.unwrap_or_default(), name: gone.name };
                    forget(&context, &key);
                }
                // Logged where the watch is.
                Err(ControllerError::QueueError(_) | ControllerError::RunnerError(_)) => {}
                Err(ControllerError::ReconcilerFailed(never, _)) => match never {},
            }
            std::future::ready(())
        })
        .await;
    Fatal::Ended(kind_name)
}

impl Context {
    /// The object, where its text fits our types and it is not being deleted.
    fn readable<'a, K: Resource<DynamicType = ()>>(&self, object: &'a Guarded<K>) -> Option<&'a K> {
        match &object.0 {
            Ok(object) if object.meta().deletion_timestamp.is_some() => None,
            Ok(object) => Some(object),
            Err(error) => {
                tracing::warn!(
                    kind = %K::kind(&()),
                    namespace = error.metadata.namespace,
                    name = error.metadata.name,
                    error = error.error,
                    "left alone: it was stored under another version of its definition; correct and apply it again"
                );
                None
            }
        }
    }

    /// The key result as the watch shows it; None where it is gone, unreadable or older than our own last write.
    fn key_result(&self, key: &Key) -> Option<OkrKeyResult> {
        self.current(key, self.key_results.get(&key.namespace, &key.name)?)
    }

    /// The same of a connection.
    fn connection(&self, key: &Key) -> Option<BigQueryConnection> {
        self.current(key, self.connections.get(&key.namespace, &key.name)?)
    }

    fn current<K: Resource<DynamicType = ()> + Clone>(&self, key: &Key, object: Arc<Guarded<K>>) -> Option<K> {
        self.readable(&object).filter(|object| !self.writes.is_outdated(key, object.meta())).cloned()
    }

    /// Waits until all connections, and the labels that they select namespaces by, have been listed. Key results that
    /// were decided before would lose their connection, and be synced once more when it appears.
    async fn connections_known(&self) {
        self.connections.listed().await;
        if let Some(namespaces) = &self.namespaces {
            namespaces.listed().await;
        }
    }

    fn all_connections(&self) -> Connections {
        Connections(self.connections.all())
    }

    fn namespace_labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.namespaces.as_ref()?.labels(namespace)
    }

    /// How many key results use `connection`; None until they have been listed.
    fn linked_key_results(&self, connection: &BigQueryConnection) -> Option<u32> {
        let uses = |key_result: &Arc<Guarded<OkrKeyResult>>| {
            let status = key_result.0.as_ref().ok().and_then(|key_result| key_result.status.as_ref());
            let chosen = status.and_then(|status| status.connection.as_ref());
            chosen.is_some_and(|chosen| Some(&chosen.uid) == connection.metadata.uid.as_ref())
        };
        let count = || self.key_results.all().iter().filter(|one| uses(one)).count();
        self.key_results.is_listed().then(|| u32::try_from(count()).unwrap_or(u32::MAX))
    }

    /// The object is gone: what was remembered of it goes too.
    fn forget(&self, key: &Key) {
        self.queue.cancel(key);
        self.writes.forget(key);
    }

    fn last_asked(&self, uid: &str) -> Option<Timestamp> {
        lock(&self.asked).get(uid).copied()
    }

    fn asked(&self, uid: &str, now: Timestamp) {
        let mut asked = lock(&self.asked);
        // Those of long ago mean nothing any more.
        asked.retain(|_, last| now.duration_since(*last) < SignedDuration::from_mins(1));
        asked.insert(uid.to_owned(), now);
    }

    /// Counts what a finished query read. It also proves its connection.
    fn count_bytes(&self, connection: &BigQueryConnection, bytes: u64) {
        let now = crate::clock::now();
        self.metrics.bytes_processed.inc_by(bytes);
        self.links.change(connection, |link| {
            link.known.bytes_today = connection_domain::bytes_of_day(&link.known, now).saturating_add(bytes);
            link.known.proven_at = Some(now);
            // The row of failed checks is broken.
            link.checks.failures = 0;
        });
    }

    /// Has the object looked at again.
    fn kick(&self, key: &Key) {
        match key.kind {
            Kind::Connection => self.connections.kick(&key.namespace, &key.name),
            Kind::KeyResult => self.key_results.kick(&key.namespace, &key.name),
        }
    }

    /// Has the key results of one namespace looked at again.
    fn kick_namespace(&self, namespace: &str) {
        self.kick_key_results(|key_result| key_result.metadata.namespace.as_deref() == Some(namespace));
    }

    /// Has the key results looked at again whose choice `connection` may be. Many connections begin at the same time:
    /// were all key results meant each time, the queue of those to be looked at would grow to the product of both.
    fn kick_users(&self, connection: &Key) {
        let found_from = |namespace: &str| {
            namespace == connection.namespace
                || self.settings.shared_connection_namespaces.contains(&connection.namespace)
        };
        self.kick_key_results(|key_result| {
            let namespace = key_result.metadata.namespace.as_deref().unwrap_or_default();
            match key_result.spec.big_query.as_ref().map(|source| &source.connection_ref) {
                None => false,
                Some(None) => found_from(namespace),
                Some(Some(reference)) => {
                    reference.name == connection.name
                        && reference.namespace.as_deref().unwrap_or(namespace) == connection.namespace
                }
            }
        });
    }

    fn kick_key_results(&self, concerned: impl Fn(&OkrKeyResult) -> bool) {
        for key_result in self.key_results.all().iter().filter_map(|key_result| key_result.0.as_ref().ok()) {
            if concerned(key_result) {
                self.kick(&Key::of(Kind::KeyResult, key_result));
            }
        }
    }
}

/// All connections that exist at a moment.
struct Connections(Vec<Arc<Guarded<BigQueryConnection>>>);

impl Connections {
    /// Those whose text fits our types.
    fn readable(&self) -> Vec<&BigQueryConnection> {
        self.0.iter().filter_map(|connection| connection.0.as_ref().ok()).collect()
    }
}

/// How long to wait from `now` until `moment`; a whole millisecond more, so as not to wake before it.
fn until(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(now)).unwrap_or_default() + Duration::from_millis(1)
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// A panic while the lock was held ends the process anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
