//! Who of several operators may sync and write: the holder of a Lease. This owns the Lease and the judgement of who holds
//! it; what to do with leadership is the rest of the controller's.
//!
//! Wall clocks of two machines are never compared. The leader counts from the start of its last successful renewal, a
//! standby from when it saw the Lease change, each by its own monotonic clock:
//!
//! ```text
//! leader    renews                    leads no more        its last write is given up
//!           0 s        2 s ...        10 s                 14 s
//! standby      sees the renewal                               15 s after it saw it: takes over
//! ```
//!
//! Every write of the Lease is for the Lease as it was read, so of several that take it one succeeds. A standby that
//! does not see renewals can therefore try to take over, but not succeed.
//!
//! The monotonic clock stands still while a whole machine sleeps. A leader that wakes up believes for up to 10 s that it
//! leads, and learns better by its next renewal; meanwhile the resourceVersion keeps its status writes from undoing any.

use std::{
    pin::pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::StreamExt;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{causes::chain, domain::hash};

use super::{
    apply::{self, ApplyError},
    lock,
    store::resource_version,
    watch::Retries,
};

/// How often the leader renews, and how soon a call that failed is made again.
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// How long a renewal lets its holder lead, from when it was sent. Four renewals may fail before.
const LEAD_FOR: Duration = Duration::from_secs(10);

/// How long the others leave an unchanged Lease to its holder, from when they saw it change.
const LEASE_DURATION: Duration = Duration::from_secs(15);

/// A Lease that claims to hold for longer than this was not written by an operator of any version; it would keep
/// everybody from leading until a person finds it.
const LONGEST_DURATION: Duration = Duration::from_secs(60);

/// What a released Lease says of its duration, as client-go's do. An empty holder beside another duration was edited by
/// hand, and the holder may not know yet.
const RELEASED_SECONDS: i32 = 1;

/// How long a write may go on after its reign has ended: the others wait [`LEASE_DURATION`] less [`LEAD_FOR`], which is
/// 5 s, and one of them is for the write's way and for clocks that run unequally fast.
const WRITE_SLACK: Duration = Duration::from_secs(4);

/// One call about the Lease. Not much longer than the rhythm of renewals: several must fit into [`LEAD_FOR`].
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// The Lease is read when the watch has shown nothing for so long. While somebody renews and the watch works, it shows
/// something every [`RENEW_EVERY`].
const POLL_AFTER: Duration = Duration::from_secs(3);

/// An error of the watch this long after the one before is another failure. Retries are at most half a minute apart, and
/// what a retry lists first is no sign that it will watch.
const WATCH_RECOVERED_AFTER: Duration = Duration::from_secs(90);

/// All calls of a release together; the process is about to end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Who wants to hold which Lease.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub namespace: String,
    /// The Lease's.
    pub name: String,
    /// What the Lease names as its holder. No two processes may share one, see [`identity`].
    pub identity: String,
}

/// A name for this process that no other one has: the host's, which is the pod's, and what chance adds.
pub fn identity() -> String {
    let host = apply::reporting_instance();
    let chance = std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_or_else(
        |_| hash::hex(&[&host, &std::process::id().to_string(), &crate::clock::now().as_nanosecond().to_string()], 32),
        |uuid| uuid.trim().to_owned(),
    );
    format!("{host}_{chance}")
}

/// Whether this process may sync and write. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leadership(watch::Receiver<Option<Reign>>);

impl Leadership {
    /// Of a process that is alone.
    pub fn always() -> Self {
        Self(watch::channel(Some(Reign::until(Ends::Never))).1)
    }

    pub fn is_leading(&self) -> bool {
        self.reign().is_some()
    }

    /// The present reign, where this process leads.
    pub fn reign(&self) -> Option<Reign> {
        self.0.borrow().clone().filter(Reign::is_leading)
    }

    /// Waits until this process leads: not at all where it does.
    pub async fn acquired(&self) -> Reign {
        let mut reigns = self.0.clone();
        if let Ok(reign) = reigns.wait_for(|reign| reign.as_ref().is_some_and(Reign::is_leading)).await
            && let Some(reign) = reign.clone()
        {
            return reign;
        }
        // The election has ended: nobody is going to lead here.
        std::future::pending().await
    }
}

/// One time of leading without a gap. Once over it stays over: when the process leads again, that is another reign.
#[derive(Debug, Clone)]
pub struct Reign(Arc<Term>);

#[derive(Debug)]
struct Term {
    ends: Mutex<Ends>,
    ended: CancellationToken,
}

#[derive(Debug, Clone, Copy)]
enum Ends {
    Never,
    At(Instant),
    Over,
}

impl Ends {
    fn remaining(self, now: Instant) -> Duration {
        match self {
            Self::Never => Duration::MAX,
            Self::At(end) => end.saturating_duration_since(now),
            Self::Over => Duration::ZERO,
        }
    }
}

impl Reign {
    fn until(ends: Ends) -> Self {
        Self(Arc::new(Term { ends: Mutex::new(ends), ended: CancellationToken::new() }))
    }

    /// A comparison with the clock and nothing else: no task has to run for a reign to end.
    pub fn is_leading(&self) -> bool {
        self.remaining() > Duration::ZERO
    }

    /// How long the reign lasts at least, unless the Lease is taken away by hand; zero once it is over.
    pub fn remaining(&self) -> Duration {
        let ends = lock(&self.0.ends);
        ends.remaining(Instant::now())
    }

    /// How long a write that is sent now may take, `most` at most; None where it must not be sent. The next leader
    /// begins after that, so it reads what the write left.
    pub fn write_timeout(&self, most: Duration) -> Option<Duration> {
        let remaining = self.remaining();
        (remaining > Duration::ZERO).then(|| remaining.saturating_add(WRITE_SLACK).min(most))
    }

    /// Fires when the reign ends.
    pub fn ended(&self) -> CancellationToken {
        // A child: whoever cancels it ends nobody else's reign.
        self.0.ended.child_token()
    }

    /// Moves the end; false where the reign was over before.
    fn extend(&self, end: Instant) -> bool {
        let mut ends = lock(&self.0.ends);
        // Read with the lock held: whoever saw the reign over saw so before, and will not see it otherwise.
        let now = Instant::now();
        match *ends {
            Ends::At(before) if now < before => {
                *ends = Ends::At(end.max(before));
                true
            }
            Ends::At(_) | Ends::Over => false,
            Ends::Never => true,
        }
    }

    /// Ends the reign; true for the first that does.
    fn end(&self) -> bool {
        let before = std::mem::replace(&mut *lock(&self.0.ends), Ends::Over);
        self.0.ended.cancel();
        !matches!(before, Ends::Over)
    }

    /// Tells those who wait when the reign's time is up. A task of its own, as the election may hang in a call.
    async fn guard(self) {
        loop {
            let ends = *lock(&self.0.ends);
            let Ends::At(end) = ends else { return };
            tokio::select! {
                () = self.0.ended.cancelled() => return,
                () = tokio::time::sleep_until(end.into()) => {}
            }
            if !self.is_leading() {
                if self.end() {
                    tracing::warn!("this process leads no longer: the lease was not renewed for {LEAD_FOR:?}");
                }
                return;
            }
        }
    }
}

/// Takes part in the election for as long as the future is polled. It is ready only once `release` has fired and the
/// Lease has been let go; whoever fires it has ended its writes before. Dropped, it ends the reign without a release.
pub fn elect(
    client: &Client,
    candidate: Candidate,
    release: CancellationToken,
) -> (Leadership, impl Future<Output = ()> + Send + 'static) {
    let (reigns, leadership) = watch::channel(None);
    let now = Instant::now();
    let election = Election {
        api: Api::namespaced(client.clone(), &candidate.namespace),
        candidate,
        seen: None,
        heard_at: now,
        renewed_at: now,
        not_before: now,
        contended: false,
        reign: None,
        reigns,
        failure: None,
        watch_failed_at: None,
    };
    (Leadership(leadership), election.run(release))
}

struct Election {
    api: Api<Lease>,
    candidate: Candidate,
    seen: Option<Seen>,
    /// When the Lease was last shown or read.
    heard_at: Instant,
    /// When the last successful renewal was sent.
    renewed_at: Instant,
    /// When the next call may be made.
    not_before: Instant,
    /// Whether the last write met a conflict.
    contended: bool,
    reign: Option<Reign>,
    reigns: watch::Sender<Option<Reign>>,
    /// Of the last call, if it failed; each is logged once.
    failure: Option<(Verb, Option<u16>)>,
    watch_failed_at: Option<Instant>,
}

/// The Lease as it was last seen.
struct Seen {
    /// None where there is none.
    lease: Option<Lease>,
    /// When it may be taken, unless it changes until then.
    free_at: Instant,
}

/// What a Lease says about who holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder<'a> {
    Us,
    Other(&'a str),
    /// Let go by its holder, or never held.
    Released,
    /// Deleted, or its holder removed by hand: whoever held it may not know yet.
    Nobody,
}

impl<'a> Holder<'a> {
    fn of(lease: Option<&'a Lease>, identity: &str) -> Self {
        let Some(lease) = lease else { return Self::Nobody };
        let Some(spec) = &lease.spec else { return Self::Released };
        match spec.holder_identity.as_deref().unwrap_or_default() {
            "" if spec.renew_time.is_none() => Self::Released,
            "" if spec.lease_duration_seconds.is_some_and(|seconds| seconds <= RELEASED_SECONDS) => Self::Released,
            "" => Self::Nobody,
            holder if holder == identity => Self::Us,
            holder => Self::Other(holder),
        }
    }
}

/// What the Lease's Role must allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Create,
    Update,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Create => "create",
            Self::Update => "update",
        }
    }
}

type Failed = (Verb, ApplyError);

impl Election {
    async fn run(mut self, release: CancellationToken) {
        let changes = watcher::watch_object(self.api.clone(), &self.candidate.name).backoff(Retries::default());
        let mut changes = pin!(changes);
        loop {
            tokio::select! {
                () = release.cancelled() => break,
                Some(change) = changes.next() => self.hear(change),
                () = tokio::time::sleep_until(self.due().into()) => tokio::select! {
                    // A write that is dropped here may still arrive: the release reads the Lease first.
                    () = release.cancelled() => break,
                    () = self.act() => {}
                },
            }
        }
        self.release().await;
    }

    /// When to call the API server next.
    fn due(&self) -> Instant {
        let wanted = match &self.seen {
            None => self.not_before,
            Some(seen) if self.is_leading() && self.holder(seen) == Holder::Us => self.renewed_at + RENEW_EVERY,
            Some(seen) => seen.free_at.min(self.heard_at + POLL_AFTER),
        };
        wanted.max(self.not_before)
    }

    /// Takes or renews the Lease where it may be taken, else reads it.
    async fn act(&mut self) {
        let start = Instant::now();
        let done = match &self.seen {
            Some(seen) if seen.free_at <= start => self.claim(start).await,
            _ => self.look().await,
        };
        if let Err((verb, error)) = done {
            self.not_before = start + RENEW_EVERY;
            self.failed(verb, &error);
        }
    }

    async fn look(&mut self) -> Result<(), Failed> {
        let lease = apply::in_time(CALL_TIMEOUT, self.api.get_opt(&self.candidate.name)).await;
        self.observe(lease.map_err(|error| (Verb::Get, error))?);
        self.recovered(Verb::Get);
        Ok(())
    }

    async fn claim(&mut self, start: Instant) -> Result<(), Failed> {
        let present = self.seen.as_ref().and_then(|seen| seen.lease.as_ref());
        let lease = claimed(present, &self.candidate, MicroTime(crate::clock::now()));
        let (verb, written) = match present {
            None => (Verb::Create, apply::create_lease(&self.api, &lease, CALL_TIMEOUT).await),
            Some(_) => (Verb::Update, apply::replace_lease(&self.api, &lease, CALL_TIMEOUT).await),
        };
        match (verb, written) {
            (_, Ok(lease)) => {
                self.contended = false;
                self.recovered(verb);
                self.observe(Some(lease));
                self.lead(start);
                Ok(())
            }
            // Somebody else was faster, or a call of our own whose answer was lost did arrive.
            (_, Err(ApplyError::Conflict)) | (Verb::Update, Err(ApplyError::Gone)) => {
                // Once more at once, as one's own reign may depend on it; then in the usual rhythm.
                if std::mem::replace(&mut self.contended, true) {
                    self.not_before = start + RENEW_EVERY;
                }
                self.look().await
            }
            (verb, Err(error)) => Err((verb, error)),
        }
    }

    /// Leads for a while from `start`, when the renewal that succeeded was sent.
    fn lead(&mut self, start: Instant) {
        self.renewed_at = start;
        let end = start + LEAD_FOR;
        if self.reign.as_ref().is_some_and(|reign| reign.extend(end)) {
            return;
        }
        self.depose("the lease was not renewed in time");
        let reign = Reign::until(Ends::At(end));
        // Where the process was suspended meanwhile; the next renewal is due already.
        if !reign.is_leading() {
            return;
        }
        tracing::info!(lease = self.candidate.name, identity = self.candidate.identity, "this process leads");
        tokio::spawn(reign.clone().guard());
        self.reign = Some(reign.clone());
        self.reigns.send_replace(Some(reign));
    }

    /// Takes note of the Lease as it is; None where there is none.
    fn observe(&mut self, lease: Option<Lease>) {
        let now = Instant::now();
        self.heard_at = now;
        let identity = self.candidate.identity.clone();
        let holder = Holder::of(lease.as_ref(), &identity);
        let unchanged = self.seen.as_ref().filter(|seen| spec(seen.lease.as_ref()) == spec(lease.as_ref()));
        let free_at = match holder {
            Holder::Us | Holder::Released => now,
            // Nobody else holds it: it is written anew, and the others leave us the time to.
            Holder::Nobody if self.is_leading() => now,
            // The first look of the first operator.
            Holder::Nobody if self.seen.is_none() && lease.is_none() => now,
            Holder::Nobody | Holder::Other(_) => {
                unchanged.map_or_else(|| now + claimed_duration(lease.as_ref()), |seen| seen.free_at)
            }
        };
        match holder {
            Holder::Us | Holder::Nobody => {}
            Holder::Released => self.depose("the lease was released by somebody else"),
            Holder::Other(other) => {
                self.depose("somebody else holds the lease");
                let before = self.seen.as_ref().map(|seen| self.holder(seen));
                if before != Some(holder) {
                    tracing::info!(lease = self.candidate.name, holder = other, "another process leads");
                }
            }
        }
        self.seen = Some(Seen { lease, free_at });
    }

    fn hear(&mut self, change: watcher::Result<Option<Lease>>) {
        match change {
            Ok(lease) => {
                let seen = self.seen.as_ref().and_then(|seen| seen.lease.as_ref());
                // Else a write or a read of ours has shown it already, or something newer.
                if lease.as_ref().zip(seen).is_none_or(|(lease, seen)| version(lease) > version(seen)) {
                    self.observe(lease);
                }
            }
            Err(error) => {
                let now = Instant::now();
                let before = self.watch_failed_at;
                self.watch_failed_at = Some(now);
                if before.is_none_or(|before| now.duration_since(before) > WATCH_RECOVERED_AFTER) {
                    tracing::warn!(
                        lease = self.candidate.name,
                        namespace = self.candidate.namespace,
                        error = chain(&error),
                        "the watch of the lease failed (it needs list and watch on leases.coordination.k8s.io); \
                         until it is back a release is seen up to {POLL_AFTER:?} late"
                    );
                }
            }
        }
    }

    /// Lets the Lease go, where it is held.
    async fn release(&mut self) {
        // First of all: from here on the others may lead.
        if let Some(reign) = self.reign.take() {
            reign.end();
        }
        let released = tokio::time::timeout(RELEASE_TIMEOUT, async {
            loop {
                self.look().await?;
                let Some(lease) = self.seen.as_ref().filter(|seen| self.holder(seen) == Holder::Us) else {
                    return Ok(false);
                };
                let Some(lease) = &lease.lease else { return Ok(false) };
                let free = released(lease, MicroTime(crate::clock::now()));
                match apply::replace_lease(&self.api, &free, CALL_TIMEOUT).await {
                    Ok(_) => return Ok(true),
                    Err(ApplyError::Conflict | ApplyError::Gone) => {}
                    Err(error) => return Err((Verb::Update, error)),
                }
            }
        })
        .await;
        match released {
            Ok(Ok(true)) => tracing::info!(lease = self.candidate.name, "the lease is released"),
            Ok(Ok(false)) => {}
            Ok(Err((verb, error))) => self.failed(verb, &error),
            Err(_) => self.failed(Verb::Update, &ApplyError::TimedOut(RELEASE_TIMEOUT)),
        }
    }

    fn is_leading(&self) -> bool {
        self.reign.as_ref().is_some_and(Reign::is_leading)
    }

    fn holder<'a>(&self, seen: &'a Seen) -> Holder<'a> {
        Holder::of(seen.lease.as_ref(), &self.candidate.identity)
    }

    /// Ends the reign, if there is one.
    fn depose(&mut self, why: &'static str) {
        if self.reign.take().is_some_and(|reign| reign.end()) {
            tracing::warn!(lease = self.candidate.name, "this process leads no longer: {why}");
        }
    }

    /// Logged when it begins, and not again with every try.
    fn failed(&mut self, verb: Verb, error: &ApplyError) {
        let code = match error {
            ApplyError::Refused { code, .. } => Some(*code),
            ApplyError::Gone => Some(404),
            ApplyError::Conflict | ApplyError::TimedOut(_) | ApplyError::Failed(_) => None,
        };
        let before = self.failure;
        self.failure = Some((verb, code));
        if self.failure == before {
            return;
        }
        let Candidate { namespace, name, .. } = &self.candidate;
        let verb = verb.name();
        match code {
            Some(403) => tracing::error!(
                verb,
                resource = "leases.coordination.k8s.io",
                namespace,
                name,
                "may not {verb} leases.coordination.k8s.io in namespace {namespace}: without a Role there that allows \
                 get, list, watch, create and update this process cannot lead"
            ),
            Some(404) => {
                tracing::error!(namespace, name, "the lease cannot be created: there is no namespace {namespace}");
            }
            _ => tracing::warn!(
                verb,
                namespace,
                name,
                error = chain(error),
                "the lease cannot be read or written; tried again every {RENEW_EVERY:?}"
            ),
        }
    }

    /// A call succeeded. That the Lease can be read says nothing of whether it can be written.
    fn recovered(&mut self, verb: Verb) {
        let mended = |(failed, _)| verb != Verb::Get || failed == Verb::Get;
        if self.failure.is_some_and(mended) {
            self.failure = None;
            tracing::info!(lease = self.candidate.name, "the lease can be read and written again");
        }
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        // Nobody renews any more.
        self.depose("its election ended");
    }
}

/// The Lease as the candidate writes it to take or renew it, by client-go's conventions.
fn claimed(present: Option<&Lease>, candidate: &Candidate, now: MicroTime) -> Lease {
    let mut lease = present.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(candidate.name.clone()),
            namespace: Some(candidate.namespace.clone()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    let renewed = Holder::of(present, &candidate.identity) == Holder::Us;
    let spec = lease.spec.get_or_insert_default();
    if !renewed {
        spec.acquire_time = Some(now.clone());
        spec.lease_transitions = Some(match present {
            None => 0,
            Some(_) => spec.lease_transitions.unwrap_or(0).max(0).saturating_add(1),
        });
    }
    spec.holder_identity = Some(candidate.identity.clone());
    spec.lease_duration_seconds = Some(i32::try_from(LEASE_DURATION.as_secs()).unwrap_or(i32::MAX));
    spec.renew_time = Some(now);
    lease
}

/// The Lease as its holder lets it go, by client-go's conventions.
fn released(held: &Lease, now: MicroTime) -> Lease {
    let mut lease = held.clone();
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(RELEASED_SECONDS);
    spec.acquire_time = Some(now.clone());
    spec.renew_time = Some(now);
    lease
}

fn spec(lease: Option<&Lease>) -> Option<&LeaseSpec> {
    lease.and_then(|lease| lease.spec.as_ref())
}

/// How long the Lease is left to its holder: as long as it says, within reason.
fn claimed_duration(lease: Option<&Lease>) -> Duration {
    let seconds = spec(lease).and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).clamp(LEASE_DURATION, LONGEST_DURATION)
}

fn version(lease: &Lease) -> Option<u64> {
    resource_version(lease.metadata.resource_version.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "pod-a_1";

    fn candidate() -> Candidate {
        Candidate { namespace: "okr".to_owned(), name: "lease".to_owned(), identity: OURS.to_owned() }
    }

    fn lease(holder: &str, seconds: i32) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(seconds),
            lease_transitions: Some(4),
            acquire_time: Some(time(1)),
            renew_time: Some(time(2)),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    fn time(second: i64) -> MicroTime {
        MicroTime(jiff::Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn who_holds_a_lease() {
        let of = |lease: Lease| format!("{:?}", Holder::of(Some(&lease), OURS));
        assert_eq!(Holder::of(None, OURS), Holder::Nobody);
        assert_eq!(of(lease(OURS, 15)), "Us");
        assert_eq!(of(lease("pod-b_1", 15)), "Other(\"pod-b_1\")");
        assert_eq!(of(lease("", 1)), "Released");
        assert_eq!(of(lease("", 15)), "Nobody", "edited by hand: its holder may not know yet");
        assert_eq!(of(Lease::default()), "Released", "never held");
    }

    #[test]
    fn a_lease_is_left_to_its_holder_for_as_long_as_it_says_within_reason() {
        let of = |seconds| claimed_duration(Some(&lease("pod-b_1", seconds))).as_secs();
        assert_eq!([of(1), of(15), of(30), of(i32::MAX), of(-5)], [15, 15, 30, 60, 15]);
        assert_eq!(claimed_duration(None), LEASE_DURATION);
    }

    #[test]
    fn a_renewal_is_no_transition_and_a_takeover_is() {
        let of = |lease: Lease| {
            let spec = claimed(Some(&lease), &candidate(), time(9)).spec.unwrap();
            assert_eq!((spec.holder_identity.as_deref(), spec.lease_duration_seconds), (Some(OURS), Some(15)));
            assert_eq!(spec.renew_time, Some(time(9)));
            (spec.lease_transitions, spec.acquire_time)
        };
        assert_eq!(of(lease(OURS, 15)), (Some(4), Some(time(1))));
        assert_eq!(of(lease("pod-b_1", 15)), (Some(5), Some(time(9))));
        assert_eq!(of(lease("", 1)), (Some(5), Some(time(9))));
        assert_eq!(claimed(None, &candidate(), time(9)).spec.unwrap().lease_transitions, Some(0));
    }

    #[test]
    fn a_reign_ends_by_the_clock_alone_and_is_never_revived() {
        let reign = Reign::until(Ends::At(Instant::now() + Duration::from_millis(20)));
        assert!(reign.is_leading() && reign.write_timeout(Duration::from_secs(30)) > Some(WRITE_SLACK));
        std::thread::sleep(Duration::from_millis(25));
        assert!(!reign.is_leading());
        assert!(!reign.extend(Instant::now() + LEAD_FOR), "a renewal whose answer comes too late");
        assert!(!reign.is_leading());
        assert_eq!(reign.write_timeout(Duration::from_secs(30)), None);
    }

    #[test]
    fn a_process_that_is_alone_always_leads() {
        let reign = Leadership::always().reign().expect("it leads");
        assert_eq!(reign.write_timeout(Duration::from_secs(30)), Some(Duration::from_secs(30)));
    }

    #[test]
    fn no_two_identities_are_the_same() {
        assert_ne!(identity(), identity());
    }

    #[test]
    fn the_others_wait_for_longer_than_a_leader_leads_and_writes() {
        assert!(LEAD_FOR + WRITE_SLACK < LEASE_DURATION);
        assert!(RENEW_EVERY + 2 * CALL_TIMEOUT < LEAD_FOR, "one call may hang");
    }
}
