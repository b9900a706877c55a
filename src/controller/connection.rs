//! The loop of `BigQueryConnection`: reads its Secret, builds its client, checks it, and writes what it found.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, runtime::controller::Action};

use crate::{
    api::{BigQueryConnection, BigQueryConnectionStatus, Credentials, Scope, SecretKeyRef},
    bigquery::{self, Destination, Endpoint, TokenSource},
    domain::{
        connection::{self, Checks, ConnectionReason, Verdict},
        hash,
    },
};

use super::{
    Context, Guarded, Infallible, Unwritten,
    queue::{Job, Key, Kind, Lane, Priority},
    reasons,
};

/// SPEC 1: a Secret is read every minute, and every 15 s while its connection is not Ready.
const READ_WHILE_READY: SignedDuration = SignedDuration::from_secs(60);
const READ_WHILE_NOT_READY: SignedDuration = SignedDuration::from_secs(15);
/// SPEC 1: principal, counts and times are written at most every 30 s.
const FACTS_APART: SignedDuration = SignedDuration::from_secs(30);
/// SPEC 1: a query's failure has the connection checked at most once a minute.
const DOUBTS_APART: SignedDuration = SignedDuration::from_mins(1);
/// How long to wait for more key results to take to a connection before they are counted.
const COUNT_AFTER: SignedDuration = SignedDuration::from_secs(2);
const SECRET_TIMEOUT: Duration = Duration::from_secs(30);

/// Decides whether the connection is to be looked at now.
pub async fn reconcile(object: Arc<Guarded<BigQueryConnection>>, context: Arc<Context>) -> Result<Action, Infallible> {
    let Some(connection) = context.readable(&object) else { return Ok(Action::await_change()) };
    let key = Key::of(Kind::Connection, connection);
    if context.is_outdated(&connection.metadata) {
        return Ok(Action::await_change());
    }
    let now = crate::clock::now();
    let announced = context.links.change(&key, connection, |link| {
        std::mem::replace(&mut link.announced_generation, connection.metadata.generation)
    });
    if announced != connection.metadata.generation {
        // Another spec may be another choice for any key result.
        context.kick_key_results(|_| true);
    }
    let due = next_look(&context, &key, connection, now);
    if due > now {
        return Ok(Action::requeue(super::until(due, now)));
    }
    context.queue.push(key, Lane::Unlimited, None, Priority::New);
    Ok(Action::await_change())
}

/// When the connection is looked at next: not after `now` means now.
fn next_look(context: &Context, key: &Key, connection: &BigQueryConnection, now: Timestamp) -> Timestamp {
    let link = context.links.of(key, connection);
    let Some(read) = link.secret_read_at.filter(|_| link.settled) else { return now };
    // What is asked for by a change or an annotation is answered by one look; a second apart in case that look wrote nothing.
    let asked = connection::is_asked(connection).then_some(read + SignedDuration::from_secs(1));
    let secret = read + if link.ready { READ_WHILE_READY } else { READ_WHILE_NOT_READY };
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
    examine(context, &job.key, false).await;
}

/// Doubts the connection after a query's failure. Returns whether it is Ready after all.
pub async fn doubt(context: &Context, key: &Key) -> bool {
    examine(context, key, true).await;
    context.connection(key).is_some_and(|connection| context.links.of(key, &connection).ready)
}

/// Looks at the Secret, at the connection itself where that is due, and writes the status where it changed.
async fn examine(context: &Context, key: &Key, doubted: bool) {
    let Some(connection) = context.connection(key) else { return };
    let checking = context.links.of(key, &connection).checking;
    let _one_at_a_time = checking.lock().await;
    let now = crate::clock::now();
    let link = context.links.of(key, &connection);
    if doubted && link.checks.last.is_some_and(|last| last + DOUBTS_APART > now) {
        return;
    }
    let verdict = inspect(context, key, &connection, doubted).await;
    settle(context, key, &connection, verdict).await;
}

/// What there is to say about the connection; None where nothing new was asked.
async fn inspect(context: &Context, key: &Key, connection: &BigQueryConnection, doubted: bool) -> Option<Verdict> {
    let now = crate::clock::now();
    context.links.change(key, connection, |link| link.secret_read_at = Some(now));
    if connection.spec.is_suspended() {
        let message = "The connection is suspended; nothing is sent through it.".to_owned();
        return Some(Verdict::new(ConnectionReason::Suspended, message));
    }
    let (client, is_new) = match client(context, key, connection).await {
        Ok(client) => client,
        Err(verdict) => {
            context.links.change(key, connection, |link| {
                link.client = None;
                link.built_from = None;
            });
            return Some(verdict);
        }
    };
    let link = context.links.of(key, connection);
    let due = connection::next_check(connection, link.checks, link.known.proven_at, now) <= now;
    // After a restart the first client is new, yet the status tells what the last check found.
    let changed = is_new && link.settled;
    if !(due || changed || doubted) {
        return None;
    }
    Some(check(context, key, connection, &client).await)
}

/// Asks BigQuery, free of charge, and remembers what it said.
async fn check(context: &Context, key: &Key, connection: &BigQueryConnection, client: &bigquery::Client) -> Verdict {
    let result = client.check().await;
    let now = crate::clock::now();
    let principal = context.links.change(key, connection, |link| {
        let failures = if result.is_ok() { 0 } else { link.checks.failures + 1 };
        link.checks = Checks { last: Some(now), failures };
        if result.is_ok() {
            link.known.bytes_today = connection::bytes_of_day(&link.known, now);
            link.known.proven_at = Some(now);
        }
        link.known.principal.clone()
    });
    match result {
        Ok(()) => {
            let who = principal.map(|principal| format!(" as {principal}")).unwrap_or_default();
            let message = format!("Queries run in project {}{who}.", client.destination().billing_project_id);
            Verdict::new(ConnectionReason::Connected, message)
        }
        Err(error) => reasons::verdict(&error, &client.destination().billing_project_id, principal.as_deref()),
    }
}

/// Writes the status where it changed, and tells the key results what concerns them.
async fn settle(context: &Context, key: &Key, connection: &BigQueryConnection, verdict: Option<Verdict>) {
    let mut connection = connection.clone();
    loop {
        let now = crate::clock::now();
        let linked = context.linked_key_results(&connection);
        let link = context.links.change(key, &connection, |link| {
            link.known.linked_key_results = linked;
            link.links_changed_at = None;
            link.clone()
        });
        let status = connection::next(&connection, verdict.as_ref(), &link.known, link.checks, now);
        let before = connection.status.clone().unwrap_or_default();
        let only_facts = status.conditions == before.conditions
            && status.observed_generation == before.observed_generation
            && status.last_handled_refresh == before.last_handled_refresh
            && status.last_handled_reconcile_at == before.last_handled_reconcile_at;
        let too_soon = link.facts_written_at.is_some_and(|written| written + FACTS_APART > now);
        if status != before && !(only_facts && too_soon) {
            match context.write(&connection, &status).await {
                Ok(()) => {}
                Err(Unwritten::Gone) => return,
                // The verdict is of another spec; the watch brings this one.
                Err(Unwritten::Changed(newer)) if newer.metadata.generation != connection.metadata.generation => return,
                Err(Unwritten::Changed(newer)) => {
                    connection = *newer;
                    continue;
                }
            }
            tell(context, &connection, &status, verdict.as_ref()).await;
            if only_facts {
                context.links.change(key, &connection, |link| link.facts_written_at = Some(now));
            }
        }
        connection.status = Some(status);
        announce(context, key, &connection, now);
        return;
    }
}

async fn tell(
    context: &Context,
    connection: &BigQueryConnection,
    status: &BigQueryConnectionStatus,
    verdict: Option<&Verdict>,
) {
    let before = connection.status.clone().unwrap_or_default();
    let transition = verdict.and_then(|verdict| connection::transition(&before, status, verdict));
    context.tell(connection, transition).await;
}

/// Has the key results looked at again after a change that may concern them.
fn announce(context: &Context, key: &Key, connection: &BigQueryConnection, now: Timestamp) {
    let ready = connection::is_ready(connection);
    let news = context.links.change(key, connection, |link| {
        if link.settled && link.ready != ready {
            link.changed_at = Some(now);
        }
        let news = !link.settled || link.announced_change != link.changed_at;
        link.announced_change = link.changed_at;
        link.settled = true;
        link.ready = ready;
        news
    });
    if news {
        context.kick_key_results(|_| true);
    }
}

/// The client for the connection as it is, and whether it was built anew.
async fn client(
    context: &Context,
    key: &Key,
    connection: &BigQueryConnection,
) -> Result<(Arc<bigquery::Client>, bool), Verdict> {
    let destination = destination(context, connection)?;
    let generation = connection.metadata.generation.unwrap_or_default();
    let (credentials, secret) = credentials(context, connection).await?;
    let link = context.links.of(key, connection);
    if let Some(client) = link.client
        && link.built_from.as_ref() == Some(&(generation, secret.clone()))
    {
        return Ok((client, false));
    }
    let principal = credentials.principal().map(str::to_owned);
    let tokens = Arc::new(TokenSource::new(credentials, scopes(&connection.spec.scopes)));
    let client = Arc::new(bigquery::Client::new(destination, tokens, context.http.clone()));
    context.links.change(key, connection, |link| {
        if link.settled {
            link.changed_at = Some(crate::clock::now());
        }
        link.client = Some(Arc::clone(&client));
        link.built_from = Some((generation, secret));
        link.known.principal = principal;
    });
    Ok((client, true))
}

/// What the tokens are good for.
fn scopes(more: &[Scope]) -> Vec<String> {
    let more = more.iter().map(|scope| match scope {
        Scope::DriveReadonly => bigquery::SCOPE_DRIVE,
    });
    std::iter::once(bigquery::SCOPE).chain(more).map(str::to_owned).collect()
}

fn destination(context: &Context, connection: &BigQueryConnection) -> Result<Destination, Verdict> {
    let spec = &connection.spec;
    let refused = |message: String| Verdict::new(ConnectionReason::EndpointNotAllowed, message);
    let endpoint = match &spec.endpoint {
        None => Endpoint::google(),
        Some(text) => {
            let endpoint =
                Endpoint::parse(text).map_err(|error| refused(format!("spec.endpoint cannot be used: {error}.")))?;
            if !endpoint.is_among(&context.settings.allowed_endpoints) {
                return Err(refused(format!(
                    "spec.endpoint {text} is not among the operator's --allowed-endpoints: ask its administrator to add the host."
                )));
            }
            endpoint
        }
    };
    let dataset = spec.default_dataset.as_deref().map(|text| bigquery::DatasetRef::parse(text, &spec.project_id));
    let default_dataset = dataset.transpose().map_err(|error| {
        Verdict::new(ConnectionReason::ProjectNotFound, format!("spec.defaultDataset cannot be used: {error}."))
    })?;
    Ok(Destination {
        endpoint,
        project_id: spec.project_id.clone(),
        billing_project_id: spec.billing_project_id.clone().unwrap_or_else(|| spec.project_id.clone()),
        location: spec.location.clone(),
        default_dataset,
    })
}

/// The credentials, and a hash of where they came from that tells a changed Secret.
async fn credentials(
    context: &Context,
    connection: &BigQueryConnection,
) -> Result<(bigquery::Credentials, String), Verdict> {
    match &connection.spec.credentials {
        Credentials::None(_) => Ok((bigquery::Credentials::None, String::new())),
        Credentials::ServiceAccountKey(key) => {
            let reference = &key.secret_ref;
            let bytes = secret_entry(context, connection, reference).await?;
            let parsed = bigquery::ServiceAccountKey::parse(&bytes, &context.settings.allowed_token_hosts);
            let parsed = parsed.map_err(|error| {
                let message = format!(
                    "Key {} of Secret {} is not a usable service account key: {error}. Put the JSON file that gcloud iam service-accounts keys create made into it.",
                    reference.key, reference.name
                );
                Verdict::new(ConnectionReason::CredentialsInvalid, message)
            })?;
            let hash = hash::hex_of_bytes(&bytes, 64);
            Ok((bigquery::Credentials::ServiceAccountKey(parsed), hash))
        }
    }
}

/// One entry of a Secret, read by name: nothing of it is kept here.
async fn secret_entry(
    context: &Context,
    connection: &BigQueryConnection,
    reference: &SecretKeyRef,
) -> Result<Vec<u8>, Verdict> {
    let namespace = connection.metadata.namespace.as_deref().unwrap_or_default();
    let SecretKeyRef { name, key } = reference;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let secret = match tokio::time::timeout(SECRET_TIMEOUT, secrets.get_opt(name)).await {
        Ok(Ok(Some(secret))) => secret,
        Ok(Ok(None)) => {
            return Err(Verdict::new(
                ConnectionReason::SecretNotFound,
                format!(
                    "There is no Secret {name} in namespace {namespace}: create it with: kubectl -n {namespace} create secret generic {name} --from-file={key}=KEY_FILE.json."
                ),
            ));
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            return Err(Verdict::new(
                ConnectionReason::SecretNotReadable,
                format!(
                    "The operator may not read Secret {name} in namespace {namespace}: its role needs the verb get on secrets there."
                ),
            ));
        }
        Ok(Err(_)) | Err(_) => {
            return Err(Verdict::new(
                ConnectionReason::Unavailable,
                format!(
                    "Secret {name} in namespace {namespace} could not be read from the API server; it is tried again."
                ),
            ));
        }
    };
    secret.data.and_then(|mut data| data.remove(key)).map(|bytes| bytes.0).ok_or_else(|| {
        Verdict::new(
            ConnectionReason::SecretKeyMissing,
            format!("Secret {name} in namespace {namespace} has no key {key}: add it, or correct spec.credentials.serviceAccountKey.secretRef.key."),
        )
    })
}

/// A connection was deleted.
pub fn forget(context: &Context, key: &Key) {
    context.queue.cancel(key);
    context.links.forget(key);
    context.kick_key_results(|_| true);
}
