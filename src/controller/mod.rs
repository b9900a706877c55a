//! The controller: one loop per kind that decides and enqueues, a few workers that gather, decide and apply.
//!
//! | step | where |
//! |---|---|
//! | watch, and keep what exists | [`watch`], [`store`] |
//! | look at each object when something changed or its time has come | [`agenda`] |
//! | know what counts for which objective | [`tree`] |
//! | decide whether there is something to do | `look` in [`measured`], [`objective`] and [`connection`] |
//! | wait for a turn | [`queue`] |
//! | read a Secret, make a client of it | [`access`], kept in [`links`] |
//! | check a connection, send a query | `work` in [`connection`] and [`measured`] |
//! | write a status, tell of an event | [`writes`], by [`apply`] |
//! | show what exists to the dashboard | [`catalog`] |
//! | be the one that may do so | [`leadership`], which calls [`apply`] for its Lease |

mod access;
mod agenda;
mod apply;
mod catalog;
mod connection;
pub mod leadership;
mod links;
mod measured;
mod objective;
mod pace;
mod queue;
mod store;
mod tree;
mod watch;
mod writes;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::{sync::watch as changes, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{BigQueryConnection, OkrKeyResult, OkrObjective},
    bigquery,
    domain::{connection as connection_domain, judgement::Gaps, reason::Class, status::Outcome},
    metrics::Metrics,
    view::{
        catalog::Catalog,
        reading::{CopiedLabels, Reading},
    },
};

use self::{
    leadership::{Candidate, Leadership, Reign},
    links::Links,
    queue::{Key, Kind, Queue},
    store::{Keep, PackedObject, Reference, Store},
    tree::{Labels, Tree},
    watch::{Namespaces, Watched},
    writes::{Unwritten, Writes},
};

pub use watch::READ_TIMEOUT;

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
    /// Which labels of objects metrics show.
    pub copied_labels: CopiedLabels,
    /// Who is to lead; None where this process is alone.
    pub candidate: Option<Candidate>,
}

/// Why the controller cannot go on. The process ends, and whatever runs it starts it anew.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error("the machine's root certificates cannot be read")]
    Http(#[source] reqwest::Error),
    #[error("the API server has refused for five minutes to let {0} be watched; see the errors above")]
    Refused(&'static str),
    #[error("the watch of {0} ended")]
    Ended(&'static str),
    #[error("a task of the operator panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// What all loops and workers share during one reign: a process that leads again starts from what the objects say.
struct Context {
    client: Client,
    http: reqwest::Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    queue: Arc<Queue>,
    links: Links,
    objects: Arc<Objects>,
    writes: Writes,
    /// When a refresh or a change last sent a query, by uid.
    asked: Mutex<HashMap<String, Timestamp>>,
    unwritten: measured::UnwrittenAttempts,
    /// When what a person must mend was last tried, to the exact moment: a status has whole seconds.
    tried: Mutex<HashMap<Key, Timestamp>>,
    /// When the reign began.
    began: Timestamp,
    reign: Reign,
}

/// What is watched for as long as the process lives, whether it leads or stands by.
struct Objects {
    key_results: Arc<Watched<OkrKeyResult>>,
    objectives: Arc<Watched<OkrObjective>>,
    connections: Arc<Watched<BigQueryConnection>>,
    tree: Arc<Tree>,
    /// Counts every change of them.
    changes: Arc<changes::Sender<u64>>,
    /// None where namespaces may not be watched: then nobody's labels are known.
    namespaces: Option<Arc<Namespaces>>,
}

/// What the controller and the rest of the process tell each other.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// Fired by the controller once it knows all that exists: from then on this process can take over.
    pub listed: CancellationToken,
    /// Fired from outside: the controller is to stop.
    pub shutdown: CancellationToken,
}

/// What exists, watched from now on.
pub struct Watching {
    objects: Arc<Objects>,
    watches: JoinSet<Fatal>,
    changes: changes::Receiver<u64>,
}

/// Begins to watch all that decisions are made from, whether this process leads or stands by.
pub fn watch(client: &Client, settings: &Settings, metrics: &Arc<Metrics>) -> Watching {
    let mut watches = JoinSet::new();
    let (sender, changes) = changes::channel(0);
    let objects = Arc::new(watch_all(client, settings, metrics, sender, &mut watches));
    Watching { objects, watches, changes }
}

impl Watching {
    /// The same for whoever only reads it.
    pub fn catalog(&self, signals: &Signals) -> Arc<dyn Catalog> {
        let (objects, changes) = (Arc::clone(&self.objects), self.changes.clone());
        Arc::new(catalog::Shown { objects, changes, listed: signals.listed.clone() })
    }

    /// What metrics say of every key result and objective, as they are when asked for.
    pub fn readings(&self) -> impl Fn() -> Vec<Arc<Reading>> + Send + Sync + 'static {
        let objects = Arc::clone(&self.objects);
        move || {
            let reading = |_: &Key, kept: &PackedObject| Some(Arc::clone(&kept.reading));
            let Objects { key_results, objectives, .. } = &*objects;
            let mut readings = objectives.store.filter_map(reading);
            readings.extend(key_results.store.filter_map(reading));
            readings
        }
    }

    /// The namespaces that hold key results or objectives, as they are when asked for.
    pub fn namespaces(&self) -> impl Fn() -> BTreeSet<String> + Send + Sync + 'static {
        let objects = Arc::clone(&self.objects);
        move || {
            let namespace = |key: &Key, _: &PackedObject| Some(key.namespace.clone());
            let Objects { key_results, objectives, .. } = &*objects;
            let all = [key_results.store.filter_map(namespace), objectives.store.filter_map(namespace)];
            all.into_iter().flatten().collect()
        }
    }
}

/// Runs until it is told to stop, or until something cannot be mended from within.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    signals: Signals,
    watching: Watching,
) -> Result<(), Fatal> {
    let http = crate::bigquery::http_client().map_err(Fatal::Http)?;
    let Watching { objects, mut watches, changes: _ } = watching;
    tokio::select! {
        () = objects.listed() => {
            signals.listed.cancel();
            // That all is known is news to open pages too.
            objects.changes.send_modify(|number| *number += 1);
        }
        () = signals.shutdown.cancelled() => return Ok(()),
        fatal = ended(&mut watches) => return Err(fatal),
    }
    // Only now: who does not know what exists had better not lead.
    let release = CancellationToken::new();
    let (leadership, election) = match settings.candidate.clone() {
        None => (Leadership::always(), None),
        Some(candidate) => {
            let (leadership, election) = leadership::elect(&client, candidate, release.clone());
            (leadership, Some(tokio::spawn(election)))
        }
    };
    let new_context = |reign: Reign| Context {
        http: http.clone(),
        queue: Arc::new(Queue::new(usize::from(settings.max_concurrent_syncs))),
        links: Links::default(),
        writes: Writes::new(client.clone(), Arc::clone(&metrics), reign.clone()),
        asked: Mutex::default(),
        unwritten: measured::UnwrittenAttempts::default(),
        tried: Mutex::default(),
        began: crate::clock::now(),
        client: client.clone(),
        settings: settings.clone(),
        metrics: Arc::clone(&metrics),
        objects: Arc::clone(&objects),
        reign,
    };
    let result = loop {
        let reign = tokio::select! {
            reign = leadership.acquired() => reign,
            () = signals.shutdown.cancelled() => break Ok(()),
            fatal = ended(&mut watches) => break Err(fatal),
        };
        let end = rule(Arc::new(new_context(reign)), &mut watches, &signals.shutdown).await;
        if let End::Stop(result) = end {
            break result;
        }
    };
    // After the last write: from here on another may lead.
    release.cancel();
    if let Some(election) = election {
        // It has a deadline of its own.
        election.await.map_err(Fatal::Panicked)?;
    }
    result
}

fn watch_all(
    client: &Client,
    settings: &Settings,
    metrics: &Arc<Metrics>,
    changes: changes::Sender<u64>,
    watches: &mut JoinSet<Fatal>,
) -> Objects {
    let scopes = watch::scopes(&settings.namespaces);
    let (tree, changes) = (Arc::<Tree>::default(), Arc::new(changes));
    let labels = Arc::new(settings.copied_labels.clone());
    let objects = Objects {
        key_results: Arc::new(Watched::new(&scopes, Store::new(&tree, &changes).showing(&labels), &tree.key_results)),
        objectives: Arc::new(Watched::new(&scopes, Store::new(&tree, &changes).showing(&labels), &tree.objectives)),
        connections: Arc::new(Watched::new(&scopes, Store::new(&tree, &changes), &Arc::default())),
        tree,
        changes,
        namespaces: settings.namespaces.is_empty().then(Arc::default),
    };
    // Until this process leads nothing is looked at.
    objects.close_agendas();
    objects.key_results.watch(client, metrics, watches);
    objects.objectives.watch(client, metrics, watches);
    objects.connections.watch(client, metrics, watches);
    if let Some(labels) = &objects.namespaces {
        let (client, metrics) = (client.clone(), Arc::clone(metrics));
        let (labels, tree) = (Arc::clone(labels), Arc::clone(&objects.tree));
        let (key_results, objectives) = (Arc::clone(&objects.key_results), Arc::clone(&objects.objectives));
        watches.spawn(async move {
            let changed = |name: &str| {
                key_results.wake_where(|key, _| key.namespace == name);
                objectives.wake_where(|key, _| key.namespace == name);
                tree.relabelled(name);
            };
            labels.watch(client, &metrics, changed).await
        });
    }
    for namespace in scopes.into_iter().flatten() {
        metrics.namespace_readable(&namespace, watch::NAMESPACE, true);
        let exists = watch::until_it_exists(client.clone(), namespace, Arc::clone(metrics));
        // With the watches' set, so that it ends with them; and none of it is to end before.
        watches.spawn(exists.then(|()| std::future::pending()));
    }
    objects
}

/// Why a reign has ended.
enum End {
    /// The process ends with it.
    Stop(Result<(), Fatal>),
    /// Somebody else leads, or nobody.
    Deposed,
}

/// Decides and syncs for as long as this process leads.
async fn rule(context: Arc<Context>, watches: &mut JoinSet<Fatal>, shutdown: &CancellationToken) -> End {
    context.metrics.leads(true);
    context.metrics.watch_queue(&context.queue);
    let mut tasks = JoinSet::new();
    context.objects.open_agendas();
    context.objects.wake_all();
    let each = Arc::clone(&context);
    tasks.spawn(async move { each.objects.follow_clock().await });
    let each = Arc::clone(&context);
    tasks.spawn(async move {
        each.objects.connections.agenda.keep(|key| connection::look(key, &each)).await;
        Fatal::Ended("BigQueryConnections")
    });
    let each = Arc::clone(&context);
    tasks.spawn(async move {
        each.objects.key_results.agenda.keep(|key| measured::look::<OkrKeyResult>(key, &each)).await;
        Fatal::Ended("OkrKeyResults")
    });
    let each = Arc::clone(&context);
    tasks.spawn(async move {
        each.objects.objectives.agenda.keep(|key| objective::look(key, &each)).await;
        Fatal::Ended("OkrObjectives")
    });
    for _ in 0..context.settings.max_concurrent_syncs {
        tasks.spawn(worker(Arc::clone(&context)));
    }
    let end = tokio::select! {
        biased;
        () = context.reign.ended().cancelled_owned() => End::Deposed,
        () = shutdown.cancelled() => End::Stop(Ok(())),
        fatal = ended(&mut tasks) => End::Stop(Err(fatal)),
        fatal = ended(watches) => End::Stop(Err(fatal)),
    };
    if matches!(end, End::Deposed) {
        // At once: whoever leads now tells of the objects.
        context.metrics.leads(false);
    }
    context.queue.close();
    // Also after what cannot be mended: a query left alone would run on at BigQuery, and once more after the restart.
    if matches!(end, End::Stop(_)) {
        finish(&context).await;
    }
    cancel_the_rest(&context).await;
    if matches!(end, End::Stop(_)) {
        connection::leave(&context).await;
    }
    // The agendas outlive this reign: a task of it that still runs would take from them what the next one is to look at.
    tasks.shutdown().await;
    context.objects.close_agendas();
    context.metrics.leads(false);
    end
}

/// The end of a task that should not end.
async fn ended(tasks: &mut JoinSet<Fatal>) -> Fatal {
    match tasks.join_next().await {
        Some(Ok(fatal)) => fatal,
        Some(Err(panic)) => Fatal::Panicked(panic),
        None => std::future::pending().await,
    }
}

/// Takes and does work, for ever.
async fn worker(context: Arc<Context>) -> Fatal {
    loop {
        let job = context.queue.take().await;
        match job.key.kind {
            Kind::Connection => connection::work(&job, &context).await,
            Kind::KeyResult => measured::work::<OkrKeyResult>(&job, &context).await,
            Kind::Objective => objective::work(&job, &context).await,
        }
        let key = job.key.clone();
        drop(job);
        // Whatever came of it, the object is looked at again: for its next moment, or for what came up meanwhile.
        context.wake(key);
    }
}

/// How long running queries may take to end by themselves when the process stops. A jobs.query blocks for up to 10 s, and
/// only then the job's id is known, by which it can be cancelled.
const FINISH_TIMEOUT: Duration = Duration::from_secs(12);

/// How long the rest may take to be cancelled at BigQuery. With what connections write last, the release of the Lease and the
/// runtime's end it is together below the 30 s that a pod has by default.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(9);

/// Lets what runs end by itself, for a while, as long as this process leads.
async fn finish(context: &Context) {
    tokio::select! {
        () = context.queue.idle() => {}
        () = tokio::time::sleep(FINISH_TIMEOUT) => {}
        () = context.reign.ended().cancelled_owned() => {}
    }
}

async fn cancel_the_rest(context: &Context) {
    context.queue.cancel_all();
    if tokio::time::timeout(CANCEL_TIMEOUT, context.queue.idle()).await.is_err() {
        tracing::warn!("queries were still running when this process stopped to work");
    }
}

/// How often the clocks are compared, and by how much one must have jumped.
const CLOCKS_COMPARED: Duration = Duration::from_secs(10);
const CLOCKS_JUMP: SignedDuration = SignedDuration::from_secs(2);

impl Objects {
    /// Has everything looked at again.
    fn wake_all(&self) {
        self.connections.wake_where(|_, _| true);
        self.key_results.wake_where(|_, _| true);
        self.objectives.wake_where(|_, _| true);
    }

    fn open_agendas(&self) {
        self.connections.agenda.open();
        self.key_results.agenda.open();
        self.objectives.agenda.open();
    }

    fn close_agendas(&self) {
        self.connections.agenda.close();
        self.key_results.agenda.close();
        self.objectives.agenda.close();
    }

    /// Slots go by the wall clock and waits by the monotonic one, which stands still while a machine sleeps and knows of no
    /// correction. Where one jumps past the other, all is looked at again. Never returns.
    async fn follow_clock(&self) -> Fatal {
        let clocks = || (crate::clock::now(), Instant::now());
        let (mut wall, mut monotonic) = clocks();
        loop {
            tokio::time::sleep(CLOCKS_COMPARED).await;
            let (wall_now, monotonic_now) = clocks();
            if let Some(jump) = jump(wall_now.duration_since(wall), monotonic_now - monotonic) {
                tracing::warn!(seconds = jump.as_secs(), "the clock jumped: everything is looked at again");
                self.wake_all();
            }
            (wall, monotonic) = (wall_now, monotonic_now);
        }
    }

    /// Waits until all that exists has been listed. Key results that were decided before would lose their connection, and
    /// be synced once more when it appears.
    async fn listed(&self) {
        self.key_results.listed().await;
        self.objectives.listed().await;
        self.connections.listed().await;
        if let Some(namespaces) = &self.namespaces {
            namespaces.listed().await;
        }
    }
}

impl Context {
    fn store<K: Keep>(&self) -> &Store<K> {
        &K::watched(&self.objects).store
    }

    /// The object as it is now; None where it is gone, on its way out or unreadable.
    fn current<K: Keep>(&self, key: &Key) -> Option<K> {
        self.store::<K>().get(key).filter(|object| !store::is_leaving(object))
    }

    /// Writes a status that was decided on `object`, which has it then. Returns the one before.
    async fn write<K: Keep>(
        &self,
        key: &Key,
        object: &mut K,
        status: K::Status,
    ) -> Result<Option<K::Status>, Unwritten<K>> {
        let version = match self.writes.status(key, object, &status).await {
            Ok(version) => Some(version),
            Err(Unwritten::Changed(mut newer)) => {
                self.store().carry_asks(key, &mut *newer);
                self.store().advance(key, &*newer);
                // The watch will bring it as something known.
                self.wake(key.clone());
                if newer.meta().uid != object.meta().uid {
                    return Err(Unwritten::Gone);
                }
                // Otherwise it was written before, and only the answer to that was lost.
                if newer.status() != Some(&status) {
                    return Err(Unwritten::Changed(newer));
                }
                newer.meta().resource_version.clone()
            }
            Err(unwritten) => return Err(unwritten),
        };
        object.meta_mut().resource_version = version;
        let before = object.status_mut().take();
        *object.status_mut() = Some(status);
        self.store().advance(key, object);
        Ok(before)
    }

    /// Those that can be chosen: one on its way out is none.
    fn all_connections(&self) -> Vec<Arc<BigQueryConnection>> {
        let stays = |_: &Key, connection: &Arc<BigQueryConnection>| {
            (!store::is_leaving(&**connection)).then(|| Arc::clone(connection))
        };
        self.objects.connections.store.filter_map(stays)
    }

    /// What is known of the labels of namespaces.
    fn labels(&self) -> impl Labels {
        |namespace: &str| self.namespace_labels(namespace)
    }

    fn namespace_labels(&self, namespace: &str) -> Option<Arc<BTreeMap<String, String>>> {
        self.objects.namespaces.as_ref()?.labels(namespace)
    }

    /// How many key results, and objectives with a query of their own, use `connection`.
    fn linked_key_results(&self, connection: &BigQueryConnection) -> u32 {
        let uid = connection.metadata.uid.as_deref();
        let uses = |_: &Key, object: &PackedObject| (object.chosen_uid.as_deref() == uid).then_some(());
        let Objects { key_results, objectives, .. } = &*self.objects;
        let users = key_results.store.filter_map(uses).len() + objectives.store.filter_map(uses).len();
        u32::try_from(users).unwrap_or(u32::MAX)
    }

    /// The object is gone: what was remembered of it goes too.
    fn forget(&self, key: &Key) {
        self.queue.cancel(key);
        self.writes.forget(key);
        self.unwritten.forget(key);
        lock(&self.tried).remove(key);
    }

    fn tried(&self, key: &Key) -> Option<Timestamp> {
        lock(&self.tried).get(key).copied()
    }

    /// Remembers what was sent at `sent`, where it came to what a person must mend.
    fn note_outcome(&self, key: &Key, sent: Timestamp, outcome: &Outcome) {
        let mut tried = lock(&self.tried);
        if matches!(outcome, Outcome::Failed { reason, .. } if reason.class() == Class::PersonMustAct) {
            tried.insert(key.clone(), sent);
        } else {
            tried.remove(key);
        }
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
    fn wake(&self, key: Key) {
        match key.kind {
            Kind::Connection => self.objects.connections.agenda.wake(key),
            Kind::KeyResult => self.objects.key_results.agenda.wake(key),
            Kind::Objective => self.objects.objectives.agenda.wake(key),
        }
    }

    /// Has those looked at again whose choice `connection` may be.
    fn wake_users(&self, connection: &Key) {
        let found_from = |namespace: &str| {
            namespace == connection.namespace
                || self.settings.shared_connection_namespaces.contains(&connection.namespace)
        };
        let concerned = |key: &Key, object: &PackedObject| match &object.reference {
            Reference::None => false,
            Reference::Any => found_from(&key.namespace),
            Reference::Named(reference) => {
                reference.name == connection.name
                    && reference.namespace.as_ref().unwrap_or(&key.namespace) == &connection.namespace
            }
        };
        self.objects.key_results.wake_where(concerned);
        self.objects.objectives.wake_where(concerned);
    }
}

/// By how much one clock, which went on by `wall`, jumped past the other, which went on by `monotonic`; None where it did not.
fn jump(wall: SignedDuration, monotonic: Duration) -> Option<SignedDuration> {
    let jump = wall - SignedDuration::try_from(monotonic).ok()?;
    (jump.abs() > CLOCKS_JUMP).then_some(jump)
}

/// How long to wait from `now` until `moment`; a whole millisecond more, so as not to wake before it.
fn until(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(now)).unwrap_or_default() + Duration::from_millis(1)
}

/// A panic while the lock was held ends the process anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_drift_do_not_jump() {
        let ten = Duration::from_secs(10);
        let wall = SignedDuration::from_millis;
        assert_eq!(jump(wall(10_900), ten), None);
        assert_eq!(jump(wall(8_100), ten), None);
        assert_eq!(jump(wall(3_610_000), ten), Some(SignedDuration::from_hours(1)), "the machine slept");
        assert_eq!(jump(wall(-3_590_000), ten), Some(SignedDuration::from_hours(-1)), "it was put back");
    }
}
