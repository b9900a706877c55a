//! The loop of `BigQueryConnection`: reads its Secret, builds its client, checks it, and writes what it found.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::{
    api::{BigQueryConnection, BigQueryConnectionStatus, NamespacesFrom, RECONCILE_AT_ANNOTATION, REFRESH_ANNOTATION},
    bigquery,
    domain::{
        conditions::SATURATED,
        connection::{self, Checks, ConnectionReason, DOUBTS_APART, Load, Verdict},
    },
    exchange::reasons,
};

use super::{
    Context, access,
    links::{Announced, BuiltFrom},
    queue::{Backlog, Job, Key, Kind, Lane, Priority},
    store::is_leaving,
    writes::Unwritten,
};

/// SPEC 1: a Secret is read every minute, and every 15 s while its connection is not Ready.
const READ_WHILE_READY: SignedDuration = SignedDuration::from_secs(60);
const READ_WHILE_NOT_READY: SignedDuration = SignedDuration::from_secs(15);
/// SPEC 1: principal, counts and times are written at most every 30 s.
const FACTS_APART: SignedDuration = SignedDuration::from_secs(30);
/// How long to wait for more key results to take to a connection before they are counted.
const COUNT_AFTER: SignedDuration = SignedDuration::from_secs(2);

/// Decides whether the connection is to be examined now. Returns when to look again.
pub fn look(key: &Key, context: &Context) -> Option<Duration> {
    let Some(connection) = context.store::<BigQueryConnection>().get(key) else {
        context.forget(key);
        context.links.keep(&context.all_connections());
        context.wake_users(key);
        return None;
    };
    if is_leaving(&connection) {
        // A finalizer may hold it for long: nobody is to wait for that.
        context.queue.remove(key);
        context.wake_users(key);
        return None;
    }
    let now = crate::clock::now();
    if let Some(wait) = context.writes.left_alone(key, &connection.metadata) {
        return Some(wait);
    }
    let due = next_look(context, &connection, now);
    if due > now {
        return Some(super::until(due, now));
    }
    context.queue.push(key.clone(), Lane::Unlimited, None, Priority::New);
    None
}

/// When the connection is looked at next: not after `now` means now.
fn next_look(context: &Context, connection: &BigQueryConnection, now: Timestamp) -> Timestamp {
    let link = context.links.of(connection);
    let read = link.secret_read_at.filter(|read| link.knows(connection) && link.unwritten.is_none() && *read <= now);
    let Some(read) = read else { return now };
    // What an annotation asks for is answered by one look; a second apart in case that look wrote nothing.
    let asked = connection::is_asked(connection).then_some(read + SignedDuration::from_secs(1));
    let is_fine = link.is_ready() || connection.spec.is_suspended();
    let secret = read + if is_fine { READ_WHILE_READY } else { READ_WHILE_NOT_READY };
    let check = (link.client.is_some() && !connection.spec.is_suspended())
        .then(|| connection::next_check(connection, link.checks, link.known.proven_at, now));
    let count = link.links_changed_at.map(|changed| {
        let allowed = link.facts_written_at.map_or(changed, |written| written + FACTS_APART);
        allowed.max(changed + COUNT_AFTER)
    });
    [asked, Some(secret), check.map(|check| check.max(read + SignedDuration::from_secs(1))), count]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(secret)
}

/// Takes a connection from the queue.
pub async fn work(job: &Job, context: &Context) {
    let Some(connection) = context.current(&job.key) else { return };
    let looking = context.links.of(&connection).looking;
    let _one_at_a_time = looking.lock().await;
    examine(context, &job.key, false).await;
}

/// Has the connection looked at after a query's failure, at most once a minute. Returns whether it is Ready after all.
pub async fn doubt(context: &Context, connection: &BigQueryConnection) -> bool {
    let looking = context.links.of(connection).looking;
    let _one_at_a_time = looking.lock().await;
    let now = crate::clock::now();
    let link = context.links.of(connection);
    // One in the future is of before the clock was put back.
    let last = link.checks.last.max(link.doubted_at).filter(|last| *last <= now);
    if last.is_none_or(|last| last + DOUBTS_APART <= now) {
        let key = Key::of(Kind::Connection, connection);
        context.links.change(connection, |link| link.doubted_at = Some(now));
        examine(context, &key, true).await;
        // It may be looked at again sooner than it seemed.
        context.wake(key);
    }
    context.links.of(connection).is_ready()
}

/// Has the connection checked in the background, after a query's failure that may be everybody's: one check asks for all.
pub fn suspect(context: &Context, connection: &BigQueryConnection) {
    let now = crate::clock::now();
    context.links.change(connection, |link| link.checks.suspected_at = Some(now));
    context.wake(Key::of(Kind::Connection, connection));
}

/// How long the last writes may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes what is known of the connections before this process ends: above all the bytes of the day, which would count for
/// nothing after it. Nothing else may be at work any more.
pub async fn leave(context: &Context) {
    let connections = context.all_connections();
    // The others were not looked at yet, and have nothing to say.
    let known = connections.iter().filter(|connection| context.links.of(connection).knows(connection));
    let settled = known.map(|connection| {
        context.links.change(connection, |link| link.facts_written_at = None);
        settle(context, connection, None)
    });
    if tokio::time::timeout(LEAVE_TIMEOUT, futures::future::join_all(settled)).await.is_err() {
        tracing::warn!("not every connection's bytes of the day could be written");
    }
}

/// Looks at the Secret, at the connection itself where that is due, and writes the status where it changed. Only for
/// the holder of the link's `looking`.
async fn examine(context: &Context, key: &Key, doubted: bool) {
    let Some(connection) = context.current(key) else { return };
    let verdict = inspect(context, &connection, doubted).await;
    settle(context, &connection, verdict).await;
}

/// What there is to say about the connection; None where nothing new was asked.
async fn inspect(context: &Context, connection: &BigQueryConnection, doubted: bool) -> Option<Verdict> {
    let now = crate::clock::now();
    context.links.change(connection, |link| link.secret_read_at = Some(now));
    if connection.spec.is_suspended() {
        let message = "The connection is suspended; nothing is sent through it.".to_owned();
        return Some(Verdict::new(ConnectionReason::Suspended, message));
    }
    let (client, is_new) = match client(context, connection).await {
        Ok(client) => client,
        // What was read a minute ago still counts while the API server does not answer.
        Err(verdict) if verdict.reason == ConnectionReason::Unavailable && has_client(context, connection) => {
            return None;
        }
        Err(verdict) => {
            context.links.change(connection, |link| {
                link.client = None;
                link.built_from = None;
            });
            return Some(verdict);
        }
    };
    let link = context.links.of(connection);
    let due = connection::next_check(connection, link.checks, link.known.proven_at, now) <= now;
    // After a restart the first client is new, yet the status tells what the last check found.
    let changed = is_new && link.announced.is_some();
    if !(due || changed || doubted) {
        return None;
    }
    Some(check(context, connection, &client).await)
}

/// Whether there is a client for the connection's present spec.
fn has_client(context: &Context, connection: &BigQueryConnection) -> bool {
    let built_from = context.links.of(connection).built_from;
    built_from.is_some_and(|built_from| built_from.generation == connection.metadata.generation)
}

/// Asks BigQuery, free of charge, and remembers what it said.
async fn check(context: &Context, connection: &BigQueryConnection, client: &bigquery::Client) -> Verdict {
    let result = client.check().await;
    let now = crate::clock::now();
    let principal = context.links.change(connection, |link| {
        // The machine's own identity is known from its first token on.
        link.known.principal = client.principal().map(str::to_owned);
        let failures = if result.is_ok() { 0 } else { link.checks.failures + 1 };
        link.checks = Checks { last: Some(now), failures, suspected_at: None };
        if result.is_ok() {
            link.known.bytes_today = connection::bytes_of_day(&link.known, now);
            link.known.proven_at = Some(now);
        }
        link.known.principal.clone()
    });
    match result {
        Ok(()) => {
            let who = principal.map(|principal| format!(" as {principal}")).unwrap_or_default();
            let project = &client.destination().billing_project_id;
            let message = format!("Queries run in project {project}{who}.{}", shared_in_vain(context, connection));
            Verdict::new(ConnectionReason::Connected, message)
        }
        Err(error) => reasons::verdict(&error, &client.destination().billing_project_id, principal.as_deref()),
    }
}

/// Said where the labels are not known by which others are admitted.
fn shared_in_vain(context: &Context, connection: &BigQueryConnection) -> &'static str {
    let from = connection.spec.allowed_namespaces.as_ref().and_then(|allowed| allowed.from);
    if context.objects.namespaces.is_none() && from == Some(NamespacesFrom::Selector) {
        " Its selector of allowedNamespaces admits nobody: this operator works in --namespaces, and reads no namespace's labels."
    } else {
        ""
    }
}

/// Writes the status where it changed, and tells the key results what concerns them.
async fn settle(context: &Context, connection: &BigQueryConnection, verdict: Option<Verdict>) {
    let key = Key::of(Kind::Connection, connection);
    let generation = connection.metadata.generation;
    let unwritten = context.links.change(connection, |link| link.unwritten.take());
    let verdict = verdict.or(unwritten.filter(|(of, _)| *of == generation).map(|(_, verdict)| verdict));
    // What this process first says of it is news where it was changed since anybody said something.
    let observed = connection.status.as_ref().and_then(|status| status.observed_generation);
    let changed_before = observed != generation;
    let mut connection = connection.clone();
    loop {
        let now = crate::clock::now();
        let linked = context.linked_key_results(&connection);
        let link = context.links.change(&connection, |link| {
            link.known.linked_key_results = linked;
            link.links_changed_at = None;
            link.clone()
        });
        let mut status = connection::next(&connection, verdict.as_ref(), &link.known, link.checks, now);
        connection::saturate(&mut status, &connection, &load(context, &connection, now), now);
        let before = connection.status.clone().unwrap_or_default();
        let only_facts = say_the_same(&status, &before)
            && status.observed_generation == before.observed_generation
            && status.last_handled_refresh == before.last_handled_refresh
            && status.last_handled_reconcile_at == before.last_handled_reconcile_at;
        let too_soon = link.facts_written_at.is_some_and(|written| written <= now && written + FACTS_APART > now);
        if status != before && !(only_facts && too_soon) {
            match context.write(&key, &mut connection, status.clone()).await {
                Ok(_) => {
                    let transition =
                        verdict.as_ref().and_then(|verdict| connection::transition(&before, &status, verdict));
                    context.writes.tell(&connection, transition).await;
                    if only_facts {
                        context.links.change(&connection, |link| link.facts_written_at = Some(now));
                    }
                }
                Err(Unwritten::Gone | Unwritten::Deposed) => return,
                // Its key results are to know all the same.
                Err(Unwritten::Refused | Unwritten::Failed) => {
                    let unwritten = verdict.clone().map(|verdict| (generation, verdict));
                    context.links.change(&connection, |link| link.unwritten = unwritten);
                    connection.status = Some(status);
                }
                // A verdict on an earlier spec says nothing of this one, and answers nothing that was asked since.
                Err(Unwritten::Changed(newer)) if asks_anew(&connection, &newer) => return,
                Err(Unwritten::Changed(newer)) => {
                    connection = *newer;
                    continue;
                }
            }
        } else {
            connection.status = Some(status);
        }
        announce(context, &key, &connection, changed_before, now);
        return;
    }
}

/// The due queries of the connection.
fn load(context: &Context, connection: &BigQueryConnection, now: Timestamp) -> Load {
    let Backlog { waiting, oldest, slowed } = context.queue.backlog(&Lane::of(connection), Instant::now());
    let oldest = oldest.and_then(|oldest| SignedDuration::try_from(oldest).ok());
    let is_late = oldest.is_some_and(|oldest| oldest > connection::LATE);
    let late_at = context.links.change(connection, |link| {
        link.late_at = if is_late { Some(now) } else { link.late_at };
        link.late_at
    });
    Load { waiting, oldest, late_at, slowed }
}

/// Whether the conditions are the same but for `Saturated`, whose words change with the numbers in them.
fn say_the_same(one: &BigQueryConnectionStatus, other: &BigQueryConnectionStatus) -> bool {
    let verdict = |status: &BigQueryConnectionStatus| {
        let mut conditions = status.conditions.clone();
        conditions.retain(|condition| condition.type_ != SATURATED);
        conditions
    };
    verdict(one) == verdict(other)
}

/// Whether `newer` asks for a look of its own.
fn asks_anew(connection: &BigQueryConnection, newer: &BigQueryConnection) -> bool {
    let asked = |connection: &BigQueryConnection| {
        [REFRESH_ANNOTATION, RECONCILE_AT_ANNOTATION].map(|name| connection.annotations().get(name).cloned())
    };
    newer.metadata.generation != connection.metadata.generation || asked(newer) != asked(connection)
}

/// Has the key results that may use the connection looked at again where its spec, Secret or readiness is news to them.
/// `changed_before` is whether its spec changed before this process, or this reign, saw it.
fn announce(context: &Context, key: &Key, connection: &BigQueryConnection, changed_before: bool, now: Timestamp) {
    let is_news = context.links.change(connection, |link| {
        let announced = Announced {
            generation: connection.metadata.generation,
            built_from: link.built_from.clone(),
            ready: connection::is_ready(connection),
        };
        let before = link.announced.take();
        link.announced = Some(announced);
        if before.as_ref().map_or(changed_before, |before| Some(before) != link.announced.as_ref()) {
            link.changed_at = Some(now);
        }
        before != link.announced
    });
    if is_news {
        context.wake_users(key);
    }
}

/// The client for the connection as it is, and whether it was built anew.
async fn client(context: &Context, connection: &BigQueryConnection) -> Result<(Arc<bigquery::Client>, bool), Verdict> {
    let destination = access::destination(context, connection)?;
    let (tokens, secret) = access::tokens(context, connection).await?;
    let built_from = Some(BuiltFrom { generation: connection.metadata.generation, secret });
    let link = context.links.of(connection);
    if let Some(client) = link.client.filter(|_| link.built_from == built_from) {
        return Ok((client, false));
    }
    let client = Arc::new(bigquery::Client::new(destination, Arc::new(tokens), context.http.clone()));
    context.links.change(connection, |link| {
        link.known.principal = client.principal().map(str::to_owned);
        link.client = Some(Arc::clone(&client));
        link.built_from = built_from;
    });
    Ok((client, true))
}
