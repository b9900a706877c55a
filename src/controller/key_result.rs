//! The loop of `OkrKeyResult`: gather, decide, apply.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::{
    api::{BigQueryConnection, BigQuerySource, ConnectionChoice, LastQuery, MeasuredStatus, OkrKeyResult, Time},
    bigquery,
    domain::{
        Measured, Reason, calendar,
        choice::{self, NoConnection, Seeker},
        connection, event, labels,
        measured::Source,
        parameters,
        pass::{self, Pass, Turn},
        schedule::{self, How, Plan, Route, Through, Why},
        status::{self, Attempt, Outcome},
    },
};

use super::{
    Context,
    lock,
    queue::{Job, Key, Kind, Lane, Priority},
    reasons,
    writes::Unwritten,
};

/// What a worker took is looked at again after this long: by then it is known which query runs.
const JUST_TAKEN: Duration = Duration::from_secs(1);

/// What waits for its turn is looked at again this often: behind slow queries its value goes stale and its day ends.
const WHILE_IN_QUEUE: Duration = Duration::from_secs(60);

/// Decides what is to be done about the key result now, and asks for it. Returns when to look again, if time alone can
/// change anything.
pub fn look(key: &Key, context: &Context) -> Option<Duration> {
    let Some(key_result) = context.current::<OkrKeyResult>(key) else {
        // Gone, on its way out, or not to be understood any more: nothing is wanted for it.
        context.forget(key);
        return None;
    };
    let now = crate::clock::now();
    if let Some(wait) = context.writes.left_alone(key, &key_result.metadata, now) {
        return Some(wait);
    }
    let connections = context.all_connections();
    let (measured, route) = gather(context, &key_result, &connections)?;
    if let Some(running) = context.queue.running(key) {
        let Some(query) = running.query else {
            // A worker has just taken it, and may send what it saw before this change.
            return Some(JUST_TAKEN);
        };
        if query.uid != measured.uid || !is_wanted(&query.fingerprint, &measured, &route, now) {
            running.cancel.cancel();
        }
        return None;
    }
    // Not all that is due is sent soon: what waits is decided for itself once it has waited for a while.
    let waits_long = context.queue.waits_since(key).is_some_and(|since| since.elapsed() >= WHILE_IN_QUEUE);
    let turn = if waits_long { Turn::Later } else { Turn::Soon };
    match pass::pass(&measured, &route, &context.settings.gaps, now, context.last_asked(measured.uid), turn) {
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
    Some(WHILE_IN_QUEUE)
}

/// Takes a key result from the queue: runs its query if one is due, and writes what that and the day make of its status.
pub async fn work(job: &Job, context: &Context) {
    let Some(mut key_result) = context.current::<OkrKeyResult>(&job.key) else { return };
    let attempt = match attempt(job, context, &key_result).await {
        Tried::NotNow => return,
        Tried::NotNeeded => None,
        Tried::Done(attempt) => Some(attempt),
    };
    // While the query ran the object may have changed: a new target counts at once, a new query makes this answer void,
    // and an object made anew under the name starts afresh.
    if !context.store::<OkrKeyResult>().is_at(&job.key, key_result.metadata.resource_version.as_deref()) {
        let uid = key_result.metadata.uid;
        let Some(now) = context.current(&job.key).filter(|now: &OkrKeyResult| now.metadata.uid == uid) else { return };
        key_result = now;
    }
    loop {
        let Some(status) = decide(context, &key_result, attempt.as_ref()) else { return };
        match context.write(&job.key, &mut key_result, status).await {
            Ok(before) => return tell(context, &key_result, &before.unwrap_or_default()).await,
            Err(Unwritten::Gone | Unwritten::Deposed) => return,
            Err(Unwritten::Refused) => return context.unwritten.keep(&job.key, &key_result, attempt),
            Err(Unwritten::Changed(newer)) => key_result = *newer,
        }
    }
}

/// The status to write; None where nothing changes, or where the attempt is not the object's any more.
fn decide(context: &Context, key_result: &OkrKeyResult, attempt: Option<&Attempt>) -> Option<MeasuredStatus> {
    let connections = context.all_connections();
    let (measured, route) = gather(context, key_result, &connections)?;
    let now = crate::clock::now();
    if attempt.is_some_and(|attempt| !is_wanted(&attempt.fingerprint, &measured, &route, now)) {
        return None;
    }
    let status = status::next(&measured, &route, attempt, &context.settings.gaps, now);
    (status != *measured.status).then_some(status)
}

/// Has the connections counted that something took to or left.
fn count_links(context: &Context, before: Option<&ConnectionChoice>, now: Option<&ConnectionChoice>) {
    if before == now {
        return;
    }
    for ConnectionChoice { namespace, name, uid: _ } in before.into_iter().chain(now) {
        let key = Key { kind: Kind::Connection, namespace: namespace.clone(), name: name.clone() };
        if let Some(connection) = context.current::<BigQueryConnection>(&key) {
            let now = crate::clock::now();
            context.links.change(&connection, |link| link.links_changed_at.get_or_insert(now).to_owned());
            context.wake(key);
        }
    }
}

/// Tells of what was written over `before`.
async fn tell(context: &Context, key_result: &OkrKeyResult, before: &MeasuredStatus) {
    let Some(status) = &key_result.status else { return };
    count_links(context, before.connection.as_ref(), status.connection.as_ref());
    context.writes.tell(key_result, event::transitions(before, status)).await;
}

/// The key result and its way to BigQuery. None while its connection was not looked at as it is now, which is told of once it was.
fn gather<'a>(
    context: &Context,
    key_result: &'a OkrKeyResult,
    connections: &'a [Arc<BigQueryConnection>],
) -> Option<(Measured<'a>, Route<'a>)> {
    let measured = match Measured::try_from(key_result) {
        Ok(measured) => measured,
        Err(error) => {
            tracing::warn!(namespace = key_result.namespace(), name = key_result.name_any(), %error, "left alone");
            return None;
        }
    };
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
            context.links.change(connection, |link| {
                let is_known = link.knows(connection) || connection.spec.is_suspended();
                let through = Through {
                    connection,
                    fingerprint: schedule::fingerprint(&measured, source, connection),
                    ready: link.is_ready(),
                    within_budget: budget.is_none_or(|budget| connection::bytes_of_day(&link.known, now) < budget.0),
                    changed_at: link.changed_at,
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
async fn attempt(job: &Job, context: &Context, key_result: &OkrKeyResult) -> Tried {
    let connections = context.all_connections();
    let Some((measured, route)) = gather(context, key_result, &connections) else { return Tried::NotNow };
    let now = crate::clock::now();
    // Its turn in the lane of its connection has come, or it has been decided that it waits too long for that.
    let turn = if job.lane == Lane::Unlimited { Turn::Later } else { Turn::Now };
    let pass = pass::pass(&measured, &route, &context.settings.gaps, now, context.last_asked(measured.uid), turn);
    let (at, why, how) = match pass {
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
    let Some(query) = query(&measured, source, through.connection, now) else { return Tried::NotNow };
    // The last look before it is sent: the clock alone ends a reign.
    if !context.reign.is_leading() {
        return Tried::NotNow;
    }
    match why {
        Why::QueryChanged | Why::Refresh => context.asked(measured.uid, now),
        Why::Slot => note_lateness(job, context, through.connection, at, now),
        Why::New | Why::Resumed | Why::Retry => {}
    }
    let answer = send(job, context, &client, &query, how).await;
    note(job, context, through.connection, &answer);
    let outcome = match judge(context, through.connection, &client, answer).await {
        Some(outcome) => outcome,
        None => return Tried::NotNow,
    };
    count(context, &outcome);
    Tried::Done(Attempt {
        fingerprint: through.fingerprint,
        refresh: measured.refresh.map(str::to_owned),
        reconcile_at: measured.reconcile_at.map(str::to_owned),
        ended: crate::clock::now(),
        outcome,
    })
}

fn query<'a>(
    measured: &Measured<'_>,
    source: &'a BigQuerySource,
    connection: &BigQueryConnection,
    now: Timestamp,
) -> Option<bigquery::Query<'a>> {
    let zone = calendar::zone(measured.period)?;
    // Whole seconds are enough for anybody, and give the query cache a chance within one.
    let Time(now_in_seconds) = calendar::whole_seconds(now);
    let parameters = parameters::bind(source, measured.period, calendar::day(now, &zone), now_in_seconds);
    let parameter = |bound: parameters::Bound| bigquery::Parameter {
        name: bound.name,
        kind: bound.kind.name(),
        value: bound.value,
    };
    Some(bigquery::Query {
        sql: &source.query,
        parameters: parameters.into_iter().map(parameter).collect(),
        labels: labels::of(measured.namespace, measured.name),
        maximum_bytes_billed: connection.spec.maximum_bytes_billed().0,
        timeout: connection.spec.query_timeout().into(),
    })
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
        How::DryRun => {
            dry_run(job, client, query).await?;
            return Ok(None);
        }
        How::CheckedQuery => dry_run(job, client, query).await?,
        How::Query => {}
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
        Ok(Some(answer)) => Some(measured(answer)),
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

fn measured(answer: bigquery::Answer) -> Outcome {
    let bigquery::Answer { value, kind: _, job } = answer;
    let bigquery::Job { job_id, location, bytes_processed, cache_hit, duration } = job;
    Outcome::Measured {
        value,
        query: LastQuery {
            job_id: Some(job_id).filter(|id| !id.is_empty()),
            location,
            bytes_processed,
            cache_hit,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        },
    }
}

fn count(context: &Context, outcome: &Outcome) {
    let reason = match outcome {
        Outcome::Measured { .. } => Reason::Synced,
        Outcome::DryRunPassed => Reason::NotStarted,
        Outcome::Failed { reason, .. } => *reason,
    };
    context.metrics.sync(reason.name());
}

/// Good answers whose status the API server refused, with the uid of their object: what was paid for is not asked again
/// when the object is next tried. A failure is no loss, and better looked at anew.
#[derive(Debug, Default)]
pub struct UnwrittenAttempts(Mutex<HashMap<Key, (String, Attempt)>>);

impl UnwrittenAttempts {
    fn keep(&self, key: &Key, key_result: &OkrKeyResult, attempt: Option<Attempt>) {
        let good = attempt.filter(|attempt| matches!(attempt.outcome, Outcome::Measured { .. }));
        if let (Some(uid), Some(attempt)) = (key_result.uid(), good) {
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
