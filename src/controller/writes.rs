//! Statuses on their way to the API server: conflicts, outages and refusals.
//!
//! The calls themselves are in [`apply`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use kube::{Client, Resource, ResourceExt, api::ObjectMeta, core::NamespaceResourceScope};

use crate::{causes::chain, domain::event::Transition, metrics::Metrics};

use super::{
    apply::{self, ApplyError},
    leadership::Reign,
    lock,
    queue::Key,
    store::Keep,
};

/// What was written, or could not be.
pub struct Writes {
    client: Client,
    metrics: Arc<Metrics>,
    reign: Reign,
    resting: Mutex<HashMap<Key, Rest>>,
}

/// Why a status was not written.
pub enum Unwritten<K> {
    /// The object was deleted, or made anew under its name.
    Gone,
    /// Here it is as it is now, or another one of its name: decide again.
    Changed(Box<K>),
    /// The API server would say the same again; the object is left alone for a while.
    Refused,
    /// The API server does not take it now, and may take those of other objects; this one is left alone for a moment.
    Failed,
    /// This process leads no longer: what is to be written is another's to decide.
    Deposed,
}

/// Why nothing is written to an object for a while.
struct Rest {
    uid: Option<String>,
    /// Of the object whose status was refused: a change of it ends the rest. None of one that is gone: what a watch tells
    /// of it late is only its past.
    resource_version: Option<String>,
    /// How often it was found so.
    times: usize,
    until: Instant,
}

/// What an object is left alone for.
#[derive(Clone, Copy)]
enum Why {
    Failed,
    RefusedOrGone,
}

impl Rest {
    fn covers(&self, meta: &ObjectMeta) -> bool {
        self.uid == meta.uid && (self.resource_version.is_none() || self.resource_version == meta.resource_version)
    }
}

/// A status that is refused mostly stays refused until a person mends the object, its definition or our rights. But an
/// API server that has just started answers 403 until it knows its roles: the first refusals are not taken at their
/// word. Later ones wait as long as the last.
const LEFT_ALONE: [Duration; 3] = [Duration::from_secs(20), Duration::from_mins(2), Duration::from_mins(15)];

/// How long a worker waits for one object's status to be taken. What fails may be a webhook's for one namespace alone: the
/// others are not to wait for that.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the object is left alone then.
const AGAIN_AFTER: Duration = Duration::from_secs(20);

impl Writes {
    pub fn new(client: Client, metrics: Arc<Metrics>, reign: Reign) -> Self {
        Self { client, metrics, reign, resting: Mutex::default() }
    }

    /// Writes a status that was decided on `object`, and tries for a while where the API server does not take it. Returns the
    /// object's new resourceVersion.
    pub async fn status<K: Keep>(&self, key: &Key, object: &K, status: &K::Status) -> Result<String, Unwritten<K>> {
        let began = Instant::now();
        let mut wait = Duration::from_secs(1);
        loop {
            let Some(limit) = self.reign.write_timeout(apply::CALL_TIMEOUT) else { return Err(Unwritten::Deposed) };
            let error = match apply::status(&self.client, object, status, limit).await {
                Ok(version) => {
                    self.metrics.written(&K::kind(&()), "written");
                    lock(&self.resting).remove(key);
                    return Ok(version);
                }
                Err(ApplyError::Gone) => return Err(self.gone(key, object)),
                Err(error @ ApplyError::Refused { .. }) => {
                    self.metrics.written(&K::kind(&()), "refused");
                    let wait = self.leave_alone(Why::RefusedOrGone, key, object.meta(), object.resource_version());
                    tracing::error!(
                        kind = %K::kind(&()),
                        namespace = object.namespace(),
                        name = object.name_any(),
                        error = chain(&error),
                        "a status was refused; the object is left alone for {} s or until it changes",
                        wait.as_secs()
                    );
                    return Err(Unwritten::Refused);
                }
                Err(ApplyError::Conflict) => {
                    self.metrics.written(&K::kind(&()), "conflict");
                    match apply::newest(&self.client, object).await {
                        Ok(None) => return Err(self.gone(key, object)),
                        // Nothing to decide anew: somebody in between answers so, a webhook for example.
                        Ok(Some(newer)) if newer.resource_version() == object.resource_version() => {
                            ApplyError::Conflict
                        }
                        Ok(Some(newer)) => return Err(Unwritten::Changed(Box::new(newer))),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.metrics.written(&K::kind(&()), "failed");
            let is_over = began.elapsed() + wait > PATIENCE;
            let next = if is_over { AGAIN_AFTER } else { wait };
            tracing::warn!(
                kind = %K::kind(&()),
                namespace = object.namespace(),
                name = object.name_any(),
                error = chain(&error),
                "a status could not be written; trying again in {} s",
                next.as_secs()
            );
            if is_over {
                self.leave_alone(Why::Failed, key, object.meta(), object.resource_version());
                return Err(Unwritten::Failed);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.reign.ended().cancelled_owned() => return Err(Unwritten::Deposed),
            }
            wait *= 2;
        }
    }

    /// Writes events about transitions. They are a courtesy: one that fails is not repeated.
    pub async fn tell<K>(&self, object: &K, transitions: impl IntoIterator<Item = Transition>)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        for transition in transitions {
            let Some(limit) = self.reign.write_timeout(apply::CALL_TIMEOUT) else { return };
            if let Err(error) = apply::event(&self.client, object, &transition, limit).await {
                tracing::warn!(
                    kind = %K::kind(&()),
                    namespace = object.namespace(),
                    name = object.name_any(),
                    reason = transition.reason,
                    error = chain(&error),
                    "an event could not be written"
                );
            }
        }
    }

    /// How long the object is left alone from now, because its status was not taken or it is gone.
    pub fn left_alone(&self, key: &Key, meta: &ObjectMeta) -> Option<Duration> {
        let mut resting = lock(&self.resting);
        let rest = resting.get(key)?;
        if !rest.covers(meta) {
            resting.remove(key);
            return None;
        }
        let left = rest.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left + Duration::from_millis(1))
    }

    /// The watch knows no such object any more: what was remembered of it goes too.
    pub fn forget(&self, key: &Key) {
        lock(&self.resting).remove(key);
    }

    /// The watch may take minutes to say so too, and until then the object looks as if it were there and due. It is left
    /// alone meanwhile; not forgotten, because a 404 may come from anything in between.
    fn gone<K: Keep>(&self, key: &Key, object: &K) -> Unwritten<K> {
        self.leave_alone(Why::RefusedOrGone, key, object.meta(), None);
        Unwritten::Gone
    }

    /// Returns for how long.
    fn leave_alone(&self, why: Why, key: &Key, meta: &ObjectMeta, resource_version: Option<String>) -> Duration {
        let mut resting = lock(&self.resting);
        let (now, before) = (Instant::now(), resting.get(key).filter(|rest| rest.covers(meta)));
        let times = before.map_or(0, |rest| rest.times);
        let (wait, times) = match why {
            // A mere failure is no refusal, and does not count as one.
            Why::Failed => (AGAIN_AFTER, times),
            Why::RefusedOrGone => {
                // What is refused during a rest is no second refusal: a query that ran has brought its answer.
                let rests = before.is_some_and(|rest| rest.until > now);
                let times = if rests { times.max(1) } else { times + 1 };
                (LEFT_ALONE[(times - 1).min(LEFT_ALONE.len() - 1)], times)
            }
        };
        let until = now + wait;
        resting.insert(key.clone(), Rest { uid: meta.uid.clone(), resource_version, times, until });
        wait
    }
}
