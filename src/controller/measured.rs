//! The loop of whatever has a value of its own, key results and objectives with a measure: gather, decide, apply.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{BigQueryConnection, Bytes, ConnectionChoice, MeasuredStatus, OkrKeyResult},
    bigquery,
    domain::{
        Measured, Reason,
        choice::{self, NoConnection, Seeker},
        connection, event,
        measured::{NotMeasured, Source},
        pass::{self, Pass, Turn},
        schedule::{self, How, Plan, Route, Through, Why},
        status::{self, Attempt, Outcome},
    },
    exchange::{self, reasons},
};

use super::{
    Context, Objects, lock,
    queue::{Job, Key, Kind, Lane, Priority},
    store::Keep,
    writes::Unwritten,
};

/// What a worker has at hand without a query that runs is looked at again after this long: it may be about to send one.
pub const AT_HAND: Duration = Duration::from_secs(1);

/// What waits for its turn or its answer is looked at again this often: with slow queries its value goes stale and its day
/// ends.
const WHILE_UNDER_WAY: Duration = Duration::from_secs(60);

/// A kind whose objects may have a value of their own.
pub trait Measurable: Keep {
    /// The object as the decisions see it.
    fn measured(&self) -> Result<Measured<'_>, NotMeasured>;
    /// The part of its status that is decided from the value.
    fn decided(status: &Self::Status) -> &MeasuredStatus;
    /// Its whole status with that part.
    fn status_of(key: &Key, decided: MeasuredStatus, context: &Context) -> Self::Status;
    /// Whether what its status says of its children is not that of now.
    fn children_changed(&self, key: &Key, context: &Context) -> bool;
}

impl Measurable for OkrKeyResult {
    fn measured(&self) -> Result<Measured<'_>, NotMeasured> {
        self.try_into()
    }

    fn decided(status: &MeasuredStatus) -> &MeasuredStatus {
        status
    }

    fn status_of(_: &Key, decided: MeasuredStatus, _: &Context) -> MeasuredStatus {
        decided
    }

    fn children_changed(&self, _: &Key, _: &Context) -> bool {
        false
    }
}

/// Decides what is to be done about the object now, and asks for it. Returns when to look again, if time alone can change
/// anything.
pub fn look<K: Measurable>(key: &Key, context: &Context) -> Option<Duration> {
    let Some(object) = context.current::<K>(key) else {
        // Gone, on its way out, or not to be understood any more: nothing is wanted for it.
        context.forget(key);
        return None;
    };
    let now = crate::clock::now();
    let connections = context.all_connections();
    let (measured, route) = gather(context, key, &object, &connections)?;
    let rest = context.writes.left_alone(key, object.meta());
    if let Some(running) = context.queue.running(key) {
        let Some(query) = &running.query else {
            // It may be about to send what it saw before this change, or write what came of a query.
            return Some(AT_HAND);
        };
        if query.uid != measured.uid {
            running.cancel.cancel();
            // The worker's end wakes the object made anew under the name.
            return None;
        }
        if !is_wanted(&query.fingerprint, &measured, &route, now) {
            running.cancel.cancel();
        }
        if rest.is_some() {
            return rest;
        }
        // A new target or a rest counts before the query has ended. Most end within the minute, and their write tells of
        // what only aged.
        let age = query.since.elapsed();
        let ends_soon = age < WHILE_UNDER_WAY;
        if pass::must_decide(&measured, &route, &context.settings.gaps, now, ends_soon)
            || (!ends_soon && object.children_changed(key, context))
        {
            running.want_decision();
        }
        return Some(if ends_soon { WHILE_UNDER_WAY.saturating_sub(age) } else { WHILE_UNDER_WAY });
    }
    if rest.is_some() {
        return rest;
    }
    // Not all that is due is sent soon: what waits is decided for itself once it has waited for a while.
    let waits_long = context.queue.waits_since(key).is_some_and(|since| since.elapsed() >= WHILE_UNDER_WAY);
    let turn = if waits_long { Turn::Later } else { Turn::Soon };
    match pass::pass(&measured, &route, &context.settings.gaps, now, context.last_asked(measured.uid), turn) {
        Pass::Wait(_) if object.children_changed(key, context) => {
            context.queue.push(key.clone(), Lane::Unlimited, None, Priority::Asked);
        }
        Pass::Decide => context.queue.push(key.clone(), Lane::Unlimited, None, Priority::Asked),
        Pass::Attempt { why, .. } => {
            let (lane, limit) = lane(&route);
            context.queue.push(key.clone(), lane, limit, priority(why));
        }
        Pass::Wait(moment) => {
            context.queue.remove(key);
            return moment.map(|moment| super::until(moment, now));
        }
    }
    Some(WHILE_UNDER_WAY)
}

/// Takes an object from the queue: runs its query if one is due, and writes what that and the day make of its status.
pub async fn work<K: Measurable>(job: &Job, context: &Context) {
    let Some(mut object) = context.current::<K>(&job.key) else { return };
    let tried = attempt(job, context, &object).await;
    job.answered();
    let attempt = match tried {
        Tried::NotNow => return,
        Tried::NotNeeded => None,
        Tried::Done(attempt) => Some(attempt),
    };
    // While the query ran the object may have changed: a new target counts at once, a new query makes this answer void,
    // and an object made anew under the name starts afresh.
    if !context.store::<K>().is_at(&job.key, object.meta().resource_version.as_deref()) {
        let is_same = |now: &K| now.meta().uid == object.meta().uid;
        let Some(now) = context.current(&job.key).filter(is_same) else { return };
        object = now;
    }
    settle(context, &job.key, object, attempt).await;
}

/// Writes what the day, and the attempt if there was one, make of the object's status.
async fn settle<K: Measurable>(context: &Context, key: &Key, mut object: K, attempt: Option<Attempt>) {
    loop {
        let status = match decide(context, key, &object, attempt.as_ref()) {
            Decided::Write(status) => status,
            Decided::Nothing => return,
            Decided::NotYet => return context.unwritten.keep(key, &object, attempt),
        };
        match context.write(key, &mut object, status).await {
            Ok(before) => return tell(context, &object, before.as_ref()).await,
            Err(Unwritten::Deposed) => return,
            Err(Unwritten::Failed) => return context.unwritten.keep(key, &object, attempt),
            // A failure is no loss, and better looked at anew.
            Err(Unwritten::Gone | Unwritten::Refused) => {
                let good = attempt.filter(|attempt| matches!(attempt.outcome, Outcome::Measured { .. }));
                return context.unwritten.keep(key, &object, good);
            }
            Err(Unwritten::Changed(newer)) => object = *newer,
        }
    }
}

/// What is to be written of an object.
enum Decided<S> {
    Write(S),
    /// Nothing changes, or the attempt is not the object's any more.
    Nothing,
    /// Its connection was changed and not looked at since.
    NotYet,
}

fn decide<K: Measurable>(context: &Context, key: &Key, object: &K, attempt: Option<&Attempt>) -> Decided<K::Status> {
    let connections = context.all_connections();
    let Some((measured, route)) = gather(context, key, object, &connections) else { return Decided::NotYet };
    let now = crate::clock::now();
    if attempt.is_some_and(|attempt| !is_wanted(&attempt.fingerprint, &measured, &route, now)) {
        return Decided::Nothing;
    }
    let decided = status::next(&measured, &route, attempt, &context.settings.gaps, now);
    if decided == *measured.status && !object.children_changed(key, context) {
        return Decided::Nothing;
    }
    Decided::Write(K::status_of(key, decided, context))
}

/// Has the connections counted that something took to or left.
fn count_links(context: &Context, before: Option<&ConnectionChoice>, now: Option<&ConnectionChoice>) {
    if before == now {
        return;
    }
    for ConnectionChoice { namespace, name, uid: _ } in before.into_iter().chain(now) {
        let key = Key::new(Kind::Connection, namespace, name);
        if let Some(connection) = context.current::<BigQueryConnection>(&key) {
            let now = crate::clock::now();
            context.links.change(&connection, |link| link.links_changed_at.get_or_insert(now).to_owned());
            context.wake(key);
        }
    }
}

/// Tells of what was written over `before`.
pub async fn tell<K: Measurable>(context: &Context, object: &K, before: Option<&K::Status>) {
    let (before, Some(status)) = (before.map(K::decided), object.status().map(K::decided)) else { return };
    count_links(context, before.and_then(|before| before.connection.as_ref()), status.connection.as_ref());
    let transitions = event::transitions(before.unwrap_or(&MeasuredStatus::default()), status);
    context.writes.tell(object, transitions).await;
}

/// The object and its way to BigQuery. None while its connection was not looked at as it is now, which is told of once it
/// was.
fn gather<'a, K: Measurable>(
    context: &Context,
    key: &Key,
    object: &'a K,
    connections: &'a [Arc<BigQueryConnection>],
) -> Option<(Measured<'a>, Route<'a>)> {
    let mut measured = match object.measured() {
        Ok(measured) => measured,
        // It was one of its own until a moment ago: the next look finds it rolled up.
        Err(NotMeasured::RolledUp) => return None,
        Err(error @ NotMeasured::NoSource) => {
            tracing::warn!(kind = %K::kind(&()), namespace = key.namespace, name = key.name, %error, "left alone");
            return None;
        }
    };
    let Objects { tree, .. } = &*context.objects;
    if measured.objective.is_some() {
        measured.objective_problem = tree.problem(key, &context.labels());
    }
    if K::KIND == Kind::Objective {
        measured.idle_children = tree.child_count(key, &context.labels());
    }
    let Source::BigQuery(source) = measured.source else {
        let none = NoConnection { reason: Reason::Manual, message: String::new() };
        return Some((measured, Err(none)));
    };
    let labels = context.namespace_labels(measured.namespace);
    let kept = measured.status.connection.as_ref();
    let seeker = Seeker { namespace: measured.namespace, labels: labels.as_deref(), source, kept };
    let connections: Vec<&BigQueryConnection> = connections.iter().map(AsRef::as_ref).collect();
    match choice::choose(seeker, &connections, &context.settings.shared_connection_namespaces) {
        Err(none) => Some((measured, Err(none))),
        Ok(connection) => {
            let budget = connection.spec.maximum_bytes_per_day();
            let now = crate::clock::now();
            let tried_at = context.tried(key);
            let fingerprint = schedule::fingerprint(&measured, source, connection);
            let running = context.queue.running(key).and_then(|running| running.query);
            // Nothing holds what is under way: the answer tells what became of it.
            let under_way = running.is_some_and(|query| query.fingerprint == fingerprint && query.uid == measured.uid);
            context.links.change(connection, |link| {
                let is_known = link.knows(connection) || connection.spec.is_suspended();
                let allows = |budget: Bytes| connection::bytes_of_day(&link.known, now) < budget.0;
                let through = Through {
                    connection,
                    fingerprint,
                    ready: under_way || link.is_ready(),
                    within_budget: under_way || budget.is_none_or(allows),
                    changed_at: link.changed_at,
                    tried_at,
                };
                is_known.then_some((measured, Ok(through)))
            })
        }
    }
}

/// Whether the query that runs or was answered is still the object's, and nobody put the object to rest meanwhile.
fn is_wanted(fingerprint: &str, measured: &Measured<'_>, route: &Route<'_>, now: Timestamp) -> bool {
    let rests = matches!(
        schedule::plan(measured, route, now, None),
        Plan::Hold { reason: Reason::Closed | Reason::Postponed | Reason::Suspended | Reason::ConnectionSuspended, .. }
    );
    let present = route.as_ref().ok().map(|through| through.fingerprint.as_str());
    present == Some(fingerprint) && !rests
}

fn lane(route: &Route<'_>) -> (Lane, Option<usize>) {
    match route {
        Ok(Through { connection, .. }) => (Lane::of(connection), Some(connection.spec.max_concurrent_queries())),
        Err(_) => (Lane::Unlimited, None),
    }
}

fn priority(why: Why) -> Priority {
    match why {
        Why::New => Priority::New,
        Why::QueryChanged | Why::Resumed | Why::Refresh => Priority::Asked,
        Why::Slot => Priority::Due,
        Why::Retry => Priority::Retry,
    }
}

/// What became of the wish to query.
enum Tried {
    /// Nothing is to be written: not due any more, cancelled, or the connection changed under it.
    NotNow,
    /// The status is to be decided without a query.
    NotNeeded,
    Done(Attempt),
}

/// Runs the query if one is due.
async fn attempt<K: Measurable>(job: &Job, context: &Context, object: &K) -> Tried {
    let connections = context.all_connections();
    let Some((measured, route)) = gather(context, &job.key, object, &connections) else { return Tried::NotNow };
    let now = crate::clock::now();
    // Its turn in the lane of its connection has come, or it has been decided that it waits too long for that.
    let turn = if job.lane == Lane::Unlimited { Turn::Later } else { Turn::Now };
    let pass = pass::pass(&measured, &route, &context.settings.gaps, now, context.last_asked(measured.uid), turn);
    let (at, why, how) = match pass {
        // Nothing is due, but what is told of the children has changed.
        Pass::Wait(_) if object.children_changed(&job.key, context) => return Tried::NotNeeded,
        Pass::Wait(_) => return Tried::NotNow,
        Pass::Decide => return Tried::NotNeeded,
        Pass::Attempt { at, why, how } => (at, why, how),
    };
    // What came up since the job was asked for waits for its turn among the queries of its connection.
    if lane(&route).0 != job.lane {
        return Tried::NotNow;
    }
    let (Source::BigQuery(source), Ok(through)) = (measured.source, route) else { return Tried::NotNow };
    let Some(client) = context.links.of(through.connection).client else { return Tried::NotNow };
    job.runs(measured.uid, &through.fingerprint);
    if let Some(unwritten) = context.unwritten.take(&job.key, &measured)
        && schedule::still_answers(&unwritten, &measured, &through, now)
    {
        return Tried::Done(unwritten);
    }
    let Some(query) = exchange::query(&measured, source, through.connection, now) else { return Tried::NotNow };
    // The clock alone ends a reign.
    if !context.reign.is_leading() {
        return Tried::NotNow;
    }
    tracing::debug!(kind = %K::kind(&()), namespace = measured.namespace, name = measured.name, ?why, ?how, "a query is sent");
    match why {
        Why::QueryChanged | Why::Refresh => context.asked(measured.uid, now),
        Why::Slot => note_lateness(job, context, through.connection, at, now),
        Why::New | Why::Resumed | Why::Retry => {}
    }
    let answered = async {
        let answer = send(job, context, &client, &query, how).await;
        let ended = crate::clock::now();
        note(job, context, through.connection, &answer);
        judge(context, through.connection, &client, answer).await.map(|outcome| (ended, outcome))
    };
    let Some((ended, outcome)) = deciding_meanwhile(job, context, object, answered).await else {
        return Tried::NotNow;
    };
    context.note_outcome(&job.key, now, &outcome);
    count(context, &outcome);
    Tried::Done(Attempt {
        fingerprint: through.fingerprint,
        refresh: measured.refresh.map(str::to_owned),
        reconcile_at: measured.reconcile_at.map(str::to_owned),
        ended,
        outcome,
    })
}

/// Waits for what comes of the object's query. What changes meanwhile and needs no answer is decided at once.
async fn deciding_meanwhile<K: Measurable, T>(
    job: &Job,
    context: &Context,
    object: &K,
    answered: impl Future<Output = T>,
) -> T {
    // Ends the decisions, yet none that is being written.
    let over = CancellationToken::new();
    let answered = async {
        let _over = over.clone().drop_guard();
        answered.await
    };
    let decisions = async {
        while let Some(()) = over.run_until_cancelled(job.until_decision_is_wanted()).await
            && context.reign.is_leading()
        {
            let is_same = |now: &K| now.meta().uid == object.meta().uid;
            let Some(now) = context.current(&job.key).filter(is_same) else { continue };
            if context.writes.left_alone(&job.key, now.meta()).is_none() {
                settle(context, &job.key, now, None).await;
            }
            // Where it was not taken, a look knows when to try again.
            context.wake(job.key.clone());
        }
    };
    tokio::join!(answered, decisions).0
}

/// The dry run, the query, or one after the other. None after a dry run that was all there was to do.
async fn send(
    job: &Job,
    context: &Context,
    client: &bigquery::Client,
    query: &bigquery::Query<'_>,
    how: How,
) -> Result<Option<bigquery::Answer>, bigquery::Error> {
    match how {
        How::DryRun => return dry_run(job, client, query).await.map(|()| None),
        How::CheckedQuery => dry_run(job, client, query).await?,
        How::Query => client.authorize(&job.cancel).await?,
    }
    // That may have taken longer than the reign.
    if !context.reign.is_leading() {
        return Err(bigquery::ErrorKind::Cancelled.into());
    }
    let started = std::time::Instant::now();
    let answer = client.run(query, &job.cancel).await;
    context.metrics.query_seconds.observe(started.elapsed().as_secs_f64());
    answer.map(Some)
}

/// A dry run leaves nothing behind at BigQuery: once it is not wanted any more, nobody waits for it.
async fn dry_run(job: &Job, client: &bigquery::Client, query: &bigquery::Query<'_>) -> Result<(), bigquery::Error> {
    tokio::select! {
        biased;
        () = job.cancel.cancelled() => Err(bigquery::ErrorKind::Cancelled.into()),
        answer = client.dry_run(query) => answer.map(drop),
    }
}

/// How late a due query starts. Only what it waited in the queue tells of limits: after a downtime all are late.
fn note_lateness(job: &Job, context: &Context, connection: &BigQueryConnection, slot: Timestamp, now: Timestamp) {
    context.metrics.sync_lateness_seconds.observe(now.duration_since(slot).as_secs_f64());
    if job
        .waited
        .and_then(|waited| waited.try_into().ok())
        .is_some_and(|waited: SignedDuration| waited > connection::LATE)
    {
        context.links.change(connection, |link| link.late_at = Some(now));
    }
}

/// What an answer says of its connection, whatever it says of the query.
fn note(
    job: &Job,
    context: &Context,
    connection: &BigQueryConnection,
    answer: &Result<Option<bigquery::Answer>, bigquery::Error>,
) {
    let finished = match answer {
        Ok(answer) => answer.as_ref().map(|answer| &answer.job),
        Err(error) if error.kind == bigquery::ErrorKind::RateLimited => return job.slow_lane(error.retry_after),
        Err(error) => error.job.as_deref(),
    };
    if let Some(finished) = finished {
        context.count_bytes(connection, finished.bytes_processed);
    }
    if answer.as_ref().is_err_and(|error| error.kind == bigquery::ErrorKind::Unavailable) {
        super::connection::suspect(context, connection);
    }
    // A failure without a job may come from anything in between, which tells nothing of BigQuery's limits.
    if answer.is_ok() || finished.is_some() {
        job.quicken_lane();
    }
}

/// The outcome. None where the query was cancelled, or where it failed because its connection does not work: then the
/// connection says why, and the key result is held by it.
async fn judge(
    context: &Context,
    connection: &BigQueryConnection,
    client: &Arc<bigquery::Client>,
    answer: Result<Option<bigquery::Answer>, bigquery::Error>,
) -> Option<Outcome> {
    match answer {
        Ok(None) => Some(Outcome::DryRunPassed),
        Ok(Some(answer)) => Some(exchange::measured(answer)),
        Err(error) => {
            if reasons::doubts_connection(error.kind) {
                let ready = super::connection::doubt(context, connection).await;
                let now = context.links.of(connection).client;
                // With another Secret the query deserves another try.
                let renewed = now.is_some_and(|now| !Arc::ptr_eq(&now, client));
                if !ready || renewed {
                    return None;
                }
            }
            reasons::outcome(&error)
        }
    }
}

fn count(context: &Context, outcome: &Outcome) {
    let (outcome, reason) = match outcome {
        Outcome::Measured { .. } => ("measured", Reason::Synced),
        Outcome::DryRunPassed => ("checked", Reason::NotStarted),
        Outcome::Failed { reason, .. } => ("failed", *reason),
    };
    context.metrics.sync(outcome, reason.name());
}

/// Answers whose status could not be written, with the uid of their object: what was paid for is not asked again when the
/// object is next tried.
#[derive(Debug, Default)]
pub struct UnwrittenAttempts(Mutex<HashMap<Key, (String, Attempt)>>);

impl UnwrittenAttempts {
    fn keep(&self, key: &Key, object: &impl ResourceExt, attempt: Option<Attempt>) {
        if let (Some(uid), Some(attempt)) = (object.uid(), attempt) {
            lock(&self.0).insert(key.clone(), (uid, attempt));
        }
    }

    fn take(&self, key: &Key, measured: &Measured<'_>) -> Option<Attempt> {
        let (uid, attempt) = lock(&self.0).remove(key)?;
        (uid == measured.uid).then_some(attempt)
    }

    pub fn forget(&self, key: &Key) {
        lock(&self.0).remove(key);
    }
}
