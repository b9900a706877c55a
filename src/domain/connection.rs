//! Whether a connection works: when it is checked, and the status that follows.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use kube::ResourceExt;

use crate::api::{
    BigQueryConnection, BigQueryConnectionStatus, Condition, RECONCILE_AT_ANNOTATION, REFRESH_ANNOTATION, Time,
};

use super::{
    calendar::{self, whole_seconds},
    conditions::{self, Following, READY, RECONCILING, SATURATED, STALLED, Truth},
    event::Transition,
    schedule,
};

/// A reason of the `Ready` condition of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionReason {
    Connected,
    Suspended,
    SecretNotFound,
    SecretNotReadable,
    SecretKeyMissing,
    CredentialsInvalid,
    CredentialsRefused,
    EndpointNotAllowed,
    AmbientIdentityNotAllowed,
    ProjectNotFound,
    ApiDisabled,
    PermissionDenied,
    Unavailable,
}

impl ConnectionReason {
    pub const ALL: [ConnectionReason; 13] = [
        ConnectionReason::Connected,
        ConnectionReason::Suspended,
        ConnectionReason::SecretNotFound,
        ConnectionReason::SecretNotReadable,
        ConnectionReason::SecretKeyMissing,
        ConnectionReason::CredentialsInvalid,
        ConnectionReason::CredentialsRefused,
        ConnectionReason::EndpointNotAllowed,
        ConnectionReason::AmbientIdentityNotAllowed,
        ConnectionReason::ProjectNotFound,
        ConnectionReason::ApiDisabled,
        ConnectionReason::PermissionDenied,
        ConnectionReason::Unavailable,
    ];

    /// The one name in conditions, events and metrics.
    pub fn name(self) -> &'static str {
        match self {
            ConnectionReason::Connected => "Connected",
            ConnectionReason::Suspended => "Suspended",
            ConnectionReason::SecretNotFound => "SecretNotFound",
            ConnectionReason::SecretNotReadable => "SecretNotReadable",
            ConnectionReason::SecretKeyMissing => "SecretKeyMissing",
            ConnectionReason::CredentialsInvalid => "CredentialsInvalid",
            ConnectionReason::CredentialsRefused => "CredentialsRefused",
            ConnectionReason::EndpointNotAllowed => "EndpointNotAllowed",
            ConnectionReason::AmbientIdentityNotAllowed => "AmbientIdentityNotAllowed",
            ConnectionReason::ProjectNotFound => "ProjectNotFound",
            ConnectionReason::ApiDisabled => "ApiDisabled",
            ConnectionReason::PermissionDenied => "PermissionDenied",
            ConnectionReason::Unavailable => "Unavailable",
        }
    }

    /// The condition that stands beside Ready=False: what may come right by itself is Reconciling, the rest Stalled.
    fn beside(self) -> Option<&'static str> {
        match self {
            ConnectionReason::Connected | ConnectionReason::Suspended => None,
            ConnectionReason::SecretNotFound | ConnectionReason::SecretKeyMissing | ConnectionReason::Unavailable => {
                Some(RECONCILING)
            }
            ConnectionReason::SecretNotReadable
            | ConnectionReason::CredentialsInvalid
            | ConnectionReason::CredentialsRefused
            | ConnectionReason::EndpointNotAllowed
            | ConnectionReason::AmbientIdentityNotAllowed
            | ConnectionReason::ProjectNotFound
            | ConnectionReason::ApiDisabled
            | ConnectionReason::PermissionDenied => Some(STALLED),
        }
    }

    fn is_ready(self) -> bool {
        self.beside().is_none()
    }
}

/// A reason of the `Saturated` condition: what lets too little through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SaturatedReason {
    /// The limits of the connection or of the operator.
    DueWorkWaits,
    /// BigQuery, which asked for fewer requests.
    RateLimited,
}

impl SaturatedReason {
    pub const ALL: [SaturatedReason; 2] = [SaturatedReason::DueWorkWaits, SaturatedReason::RateLimited];

    pub fn name(self) -> &'static str {
        match self {
            SaturatedReason::DueWorkWaits => "DueWorkWaits",
            SaturatedReason::RateLimited => "RateLimited",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub reason: ConnectionReason,
    /// In our own words: what it means and what to do.
    pub message: String,
    /// In the words of whoever found the fault, such as BigQuery's. A check asks for `SELECT 1`, so no rows of anybody can
    /// be in them.
    pub detail: Option<String>,
}

impl Verdict {
    pub fn new(reason: ConnectionReason, message: String) -> Self {
        Self { reason, message, detail: None }
    }

    fn text(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{} Details: {detail}", self.message),
            None => self.message.clone(),
        }
    }
}

/// What is known of a connection beside its verdict. Counted by this process, and taken over from the status at start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub principal: Option<String>,
    pub linked_key_results: u32,
    /// Bytes of the queries of the UTC day of `proven_at`.
    pub bytes_today: u64,
    /// The last passed check or good query.
    pub proven_at: Option<Timestamp>,
}

/// The checks of this process: none yet after a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checks {
    pub last: Option<Timestamp>,
    /// Failed ones since the last good one.
    pub failures: u32,
    /// When a query last failed in a way that says nothing of whose fault it is.
    pub suspected_at: Option<Timestamp>,
}

/// The due queries of a connection, as the queue sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    pub waiting: usize,
    /// How long the oldest has waited.
    pub oldest: Option<SignedDuration>,
    /// When one that had waited longer than [`LATE`] was last seen, still waiting or at its start.
    pub late_at: Option<Timestamp>,
    /// Whether BigQuery asked for fewer requests, and still gets fewer.
    pub slowed: bool,
}

/// SPEC 4: while due queries fit, none starts later than its slot by more than a minute.
pub const LATE: SignedDuration = SignedDuration::from_mins(1);
/// `Saturated` ends only after so long without a late query: many slots may fall into one minute and few into the next.
const CALM: SignedDuration = SignedDuration::from_mins(5);

/// SPEC 1: a failed check is repeated after 1 and 2 minutes, then every 5.
const CHECK_STEPS: [SignedDuration; 2] = [SignedDuration::from_mins(1), SignedDuration::from_mins(2)];
const CHECK_LATER: SignedDuration = SignedDuration::from_mins(5);
/// SPEC 1: a passed one every hour.
const CHECK_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// SPEC 1: `Unavailable` turns Ready False only at the third in a row.
const UNAVAILABLE_SHOWN: u32 = 3;
/// SPEC 1: a query's failure has the connection checked at most once a minute.
pub const DOUBTS_APART: SignedDuration = SignedDuration::from_mins(1);

/// When the next check is due: not after `now` means now.
pub fn next_check(
    connection: &BigQueryConnection,
    checks: Checks,
    proven_at: Option<Timestamp>,
    now: Timestamp,
) -> Timestamp {
    if is_asked(connection) {
        return now;
    }
    // Times from the future are of before the clock was put back, or come from a status that others wrote into.
    let [last, proven_at] = [checks.last, proven_at].map(|time| time.filter(|time| *time <= now));
    match (last, checks.failures) {
        (Some(last), failures @ 1..) => {
            let index = usize::try_from(failures - 1).unwrap_or(usize::MAX);
            calendar::after(last, CHECK_STEPS.get(index).copied().unwrap_or(CHECK_LATER))
        }
        (_, _) if !is_ready(connection) => now,
        (last, _) => {
            let Some(proven) = last.max(proven_at) else { return now };
            let routine = calendar::after(proven, CHECK_AGAIN);
            // One check for all that failed, and none where a query went well since.
            let suspected = checks.suspected_at.filter(|suspected| *suspected > proven);
            let asked = suspected
                .map(|suspected| last.map_or(suspected, |last| suspected.max(calendar::after(last, DOUBTS_APART))));
            asked.map_or(routine, |asked| asked.min(routine))
        }
    }
}

/// Whether the last written status says Ready.
pub fn is_ready(connection: &BigQueryConnection) -> bool {
    connection.status.as_ref().is_some_and(|status| conditions::is_true(&status.conditions, READY))
}

/// Whether a change of the spec or an annotation asks for a check, or there was none yet.
pub fn is_asked(connection: &BigQueryConnection) -> bool {
    let status = connection.status.as_ref();
    let decided = status.and_then(|status| conditions::find(&status.conditions, READY)).is_some();
    let observed = status.and_then(|status| status.observed_generation);
    !decided || observed != connection.metadata.generation || refresh_wanted(connection)
}

/// Whether an annotation asks for a check: it is present and differs from its echo.
fn refresh_wanted(connection: &BigQueryConnection) -> bool {
    let status = connection.status.as_ref();
    let asks = |name: &str, echo: Option<&String>| {
        schedule::asks(connection.annotations().get(name).map(String::as_str), echo.map(String::as_str))
    };
    asks(REFRESH_ANNOTATION, status.and_then(|status| status.last_handled_refresh.as_ref()))
        || asks(RECONCILE_AT_ANNOTATION, status.and_then(|status| status.last_handled_reconcile_at.as_ref()))
}

/// The bytes that still count at `now`: those of the same UTC day.
pub fn bytes_of_day(known: &Known, now: Timestamp) -> u64 {
    let day = |time: Timestamp| calendar::day(time, &TimeZone::UTC);
    if known.proven_at.is_some_and(|proven| day(proven) == day(now)) { known.bytes_today } else { 0 }
}

/// What an earlier process had counted.
pub fn known_from(status: &BigQueryConnectionStatus) -> Known {
    Known {
        principal: status.principal.clone(),
        linked_key_results: status.linked_key_results.unwrap_or_default(),
        bytes_today: status.bytes_today.unwrap_or_default(),
        proven_at: status.last_check_time.as_ref().map(|time| time.0),
    }
}

/// The status that follows. Without a new verdict the conditions stay; without any there is nothing to say yet.
pub fn next(
    connection: &BigQueryConnection,
    verdict: Option<&Verdict>,
    known: &Known,
    checks: Checks,
    now: Timestamp,
) -> BigQueryConnectionStatus {
    let before = connection.status.clone().unwrap_or_default();
    let mut status = BigQueryConnectionStatus {
        principal: known.principal.clone(),
        linked_key_results: Some(known.linked_key_results),
        bytes_today: Some(bytes_of_day(known, now)),
        last_check_time: known.proven_at.map(whole_seconds),
        ..before.clone()
    };
    let Some(verdict) = verdict else {
        return if before.conditions.is_empty() { before } else { status };
    };
    let annotation = |name: &str| connection.annotations().get(name).cloned();
    status.last_handled_refresh = annotation(REFRESH_ANNOTATION).or(before.last_handled_refresh);
    status.last_handled_reconcile_at = annotation(RECONCILE_AT_ANNOTATION).or(before.last_handled_reconcile_at);
    status.observed_generation = connection.metadata.generation;
    status.conditions = verdict_conditions(connection, &before.conditions, verdict, checks, &whole_seconds(now));
    status
}

/// Says in `status`, that of `connection`, whether due work exceeds what is let through. The condition is there only
/// while it is True, and only while the connection is in use.
pub fn saturate(status: &mut BigQueryConnectionStatus, connection: &BigQueryConnection, load: &Load, now: Timestamp) {
    status.conditions.retain(|condition| condition.type_ != SATURATED);
    let in_use = !connection.spec.is_suspended() && conditions::is_true(&status.conditions, READY);
    let late = load.late_at.is_some_and(|late| now < calendar::after(late, CALM));
    if !(in_use && late) {
        return;
    }
    let before = connection.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let waits = load.oldest.is_some_and(|oldest| oldest > LATE);
    let limited_before =
        conditions::find(before, SATURATED).is_some_and(|before| before.reason == SaturatedReason::RateLimited.name());
    // After the last late query it goes on saying what it said.
    let reason = if load.slowed || (limited_before && !waits) {
        SaturatedReason::RateLimited
    } else {
        SaturatedReason::DueWorkWaits
    };
    let now = whole_seconds(now);
    let following = Following { before, generation: connection.metadata.generation.unwrap_or_default(), now: &now };
    let message = saturated_message(reason, load, connection.spec.max_concurrent_queries());
    status.conditions.push(following.condition(SATURATED, Truth::True, reason.name(), &message));
}

fn saturated_message(reason: SaturatedReason, load: &Load, at_once: usize) -> String {
    let what = match load.oldest {
        Some(oldest) if oldest > LATE => {
            format!("Due queries that wait: {}, the oldest for {} min.", load.waiting, oldest.as_mins())
        }
        Some(_) | None => "Due queries lately began more than a minute after their slots.".to_owned(),
    };
    let advice = match reason {
        SaturatedReason::DueWorkWaits => format!(
            "Raise spec.limits.maxConcurrentQueries (now {at_once}), or lengthen the intervals of its key results. If \
             that does not help, raise the operator's --max-concurrent-syncs."
        ),
        SaturatedReason::RateLimited => "BigQuery asks for fewer requests: lengthen the intervals of its key results, \
             or have the project's quota raised."
            .to_owned(),
    };
    format!("{what} {advice}")
}

/// The event that a change of Ready deserves. The first verdict is no change where it is good.
pub fn transition(
    before: &BigQueryConnectionStatus,
    after: &BigQueryConnectionStatus,
    verdict: &Verdict,
) -> Option<Transition> {
    let is_true = |status: &BigQueryConnectionStatus| conditions::is_true(&status.conditions, READY);
    let is_new = before.conditions.is_empty();
    let (was, is) = (is_new || is_true(before), is_true(after));
    let note = verdict.message.clone();
    (was != is).then(|| Transition { warning: !is, reason: verdict.reason.name(), action: "Check", note })
}

fn verdict_conditions(
    connection: &BigQueryConnection,
    before: &[Condition],
    verdict: &Verdict,
    checks: Checks,
    now: &Time,
) -> Vec<Condition> {
    let following = Following { before, generation: connection.metadata.generation.unwrap_or_default(), now };
    let blip = verdict.reason == ConnectionReason::Unavailable && checks.failures < UNAVAILABLE_SHOWN;
    let connected = |ready: &&Condition| ready.reason == ConnectionReason::Connected.name();
    if let Some(ready) = conditions::find(before, READY).filter(connected).filter(|_| blip) {
        return vec![following.condition(READY, Truth::True, &ready.reason, &ready.message)];
    }
    let (reason, text) = (verdict.reason, verdict.text());
    let ready = following.condition(READY, reason.is_ready().into(), reason.name(), &text);
    let beside = reason.beside().map(|kind| following.condition(kind, Truth::True, reason.name(), &verdict.message));
    std::iter::once(ready).chain(beside).collect()
}
