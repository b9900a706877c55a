//! When a query is sent, and what keeps it from being sent: SPEC 3's order of reasons and SPEC 4.
//!
//! Everything is computed from the object and its status on every pass, so a restart or a failover changes nothing.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use crate::api::{BigQueryConnection, BigQuerySource, Duration, Lifecycle, Period, Time};

use super::{
    calendar::{self, after, start_of_day},
    choice::NoConnection,
    conditions, fingerprint, hash,
    measured::{Measured, Source},
    reason::{Class, Reason},
    status::Attempt,
};

/// Queries asked for by a refresh or a change are at least this far apart per key result (SPEC 4).
const ASKED_APART: SignedDuration = SignedDuration::from_secs(10);

/// Passing failures are retried this long after the one before (SPEC 4); later ones after [`PASSING_LATER`].
const PASSING_STEPS: [SignedDuration; 3] =
    [SignedDuration::from_mins(1), SignedDuration::from_mins(4), SignedDuration::from_mins(15)];
const PASSING_LATER: SignedDuration = SignedDuration::from_mins(20);

/// What a person must mend is tried again this long after the failure (SPEC 3), later at each slot.
const MEND_STEPS: [SignedDuration; 3] =
    [SignedDuration::from_mins(1), SignedDuration::from_mins(5), SignedDuration::from_mins(15)];

/// A last attempt further in the future than clocks may differ by was written by nobody of ours, and would hold the next
/// for ever.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(5);

const HOUR: Duration = Duration::from_secs(3600);

/// The connection a key result goes through, as it stands now.
#[derive(Debug, Clone)]
pub struct Through<'a> {
    pub connection: &'a BigQueryConnection,
    /// Of the key result's present query through it, see [`fingerprint`]: computed once, asked for often.
    pub fingerprint: String,
    /// Whether its last check passed.
    pub ready: bool,
    /// Whether the bytes of its day allow another query.
    pub within_budget: bool,
    /// When its spec, its Secret or its readiness last changed, as far as this process saw it.
    pub changed_at: Option<Timestamp>,
    /// When the attempt was sent that failed by what a person must mend, as far as this process knows: what changed since may
    /// have mended it.
    pub tried_at: Option<Timestamp>,
}

/// The choice of a connection. A manual value needs none.
pub type Route<'a> = Result<Through<'a>, NoConnection>;

/// What to do about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing is sent, for this reason; `until` is when that ends by itself.
    Hold { reason: Reason, message: String, until: Option<Timestamp> },
    /// The next attempt, due once `at` is not in the future.
    Attempt { at: Timestamp, why: Why, how: How },
}

/// Why an attempt is made, in the order in which they are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// There was no attempt yet.
    New,
    /// Another query than the last attempt's, or another spec after a failure that a person had to mend.
    QueryChanged,
    /// What held the query is over.
    Resumed,
    /// An annotation asks for it.
    Refresh,
    /// A slot has come.
    Slot,
    /// The last attempt failed.
    Retry,
}

/// How far an attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Only the free dry run: the period has not begun.
    DryRun,
    /// A dry run, and the query if it passes.
    CheckedQuery,
    /// The query alone, as at every routine sync.
    Query,
}

impl Plan {
    pub fn held(&self) -> Option<(Reason, &str)> {
        match self {
            Plan::Hold { reason, message, .. } => Some((*reason, message)),
            Plan::Attempt { .. } => None,
        }
    }

    /// When the next attempt is planned.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        match self {
            Plan::Hold { until, .. } => *until,
            Plan::Attempt { at, .. } => Some(*at),
        }
    }

    /// The reason of a sync that a change or the end of a rest leaves outstanding.
    pub fn outstanding(&self) -> Option<Reason> {
        match self {
            Plan::Attempt { why: Why::QueryChanged, .. } => Some(Reason::QueryChanged),
            Plan::Attempt { why: Why::Resumed, .. } => Some(Reason::Resumed),
            Plan::Attempt { why: Why::New | Why::Refresh | Why::Slot | Why::Retry, .. } | Plan::Hold { .. } => None,
        }
    }

    fn hold(reason: Reason) -> Self {
        Plan::Hold { reason, message: reason.sentence().to_owned(), until: None }
    }
}

/// The plan for `measured` at `now`. `last_asked` is when a refresh or a change last sent a query in this process.
pub fn plan(measured: &Measured<'_>, route: &Route<'_>, now: Timestamp, last_asked: Option<Timestamp>) -> Plan {
    match measured.lifecycle {
        Lifecycle::Closed => return Plan::hold(Reason::Closed),
        Lifecycle::Postponed => return Plan::hold(Reason::Postponed),
        Lifecycle::Active => {}
    }
    if measured.suspended {
        return Plan::hold(Reason::Suspended);
    }
    let Some(zone) = calendar::zone(measured.period) else { return invalid_time_zone(measured) };
    match measured.source {
        Source::BigQuery(_) => {}
        Source::Manual(_) => return plan_manual(measured, &zone, now),
    }
    let planning = Planning { measured, zone: &zone, now, last_asked };
    match route {
        Err(_) if planning.has_last_value(None) => Plan::hold(Reason::PeriodEnded),
        Err(NoConnection { reason, message }) => Plan::Hold { reason: *reason, message: message.clone(), until: None },
        Ok(through) => planning.through(through),
    }
}

fn invalid_time_zone(measured: &Measured<'_>) -> Plan {
    Plan::Hold { reason: Reason::InvalidTimeZone, message: no_time_zone(measured.period), until: None }
}

/// Our words for a period whose time zone does not exist.
pub(super) fn no_time_zone(period: Option<&Period>) -> String {
    let name = period.and_then(|period| period.time_zone.as_deref()).unwrap_or_default();
    format!("spec.period.timeZone {name:?} is not an IANA time zone: write one such as Europe/Paris.")
}

fn plan_manual(measured: &Measured<'_>, zone: &TimeZone, now: Timestamp) -> Plan {
    let today = calendar::day(now, zone);
    match measured.period {
        Some(period) if today < period.start_date.0 => Plan::Hold {
            reason: Reason::NotStarted,
            message: "The period has not begun.".to_owned(),
            until: start_of_day(period.start_date.0, zone),
        },
        Some(period) if today > period.end_date.0 => Plan::hold(Reason::PeriodEnded),
        _ => Plan::hold(Reason::Manual),
    }
}

/// The plan of something with a query.
struct Planning<'a> {
    measured: &'a Measured<'a>,
    zone: &'a TimeZone,
    now: Timestamp,
    last_asked: Option<Timestamp>,
}

impl Planning<'_> {
    fn through(&self, through: &Through<'_>) -> Plan {
        let fingerprint = through.fingerprint.as_str();
        if self.has_last_value(Some(fingerprint)) {
            return Plan::hold(Reason::PeriodEnded);
        }
        if through.connection.spec.is_suspended() {
            return Plan::hold(Reason::ConnectionSuspended);
        }
        let first_query = self.first_query(through);
        let begun = first_query.is_none_or(|first_query| self.now >= first_query);
        if !begun && self.dry_run_passed(fingerprint) {
            let message = Reason::NotStarted.sentence().to_owned();
            return Plan::Hold { reason: Reason::NotStarted, message, until: first_query };
        }
        let (at, why) = self.next(through, fingerprint);
        let due = at <= self.now;
        let was = ready_reason(self.measured);
        // It shows at the key result's own slot, and stays until the connection is Ready again.
        if !through.ready && (due || was == Some(Reason::ConnectionNotReady)) {
            return Plan::hold(Reason::ConnectionNotReady);
        }
        if begun && !through.within_budget && (due || was == Some(Reason::BudgetExhausted)) {
            let until = self.next_budget(through);
            let message = Reason::BudgetExhausted.sentence().to_owned();
            return Plan::Hold { reason: Reason::BudgetExhausted, message, until };
        }
        Plan::Attempt { at, why, how: self.how(begun, fingerprint) }
    }

    fn how(&self, begun: bool, fingerprint: &str) -> How {
        let has_value_of_it = self.measured.status.query_fingerprint.as_deref() == Some(fingerprint);
        let was_wrong = last_failure(self.measured).is_some_and(|reason| reason.class() == Class::PersonMustAct);
        match (begun, has_value_of_it && !was_wrong) {
            (false, _) => How::DryRun,
            (true, false) => How::CheckedQuery,
            (true, true) => How::Query,
        }
    }

    /// When the next attempt is due, and why.
    fn next(&self, through: &Through<'_>, fingerprint: &str) -> (Timestamp, Why) {
        let (measured, status) = (self.measured, self.measured.status);
        // One in the future is of before the clock was put back.
        let last_asked = self.last_asked.filter(|last| *last <= self.now);
        let asked = last_asked.map_or(self.now, |last| after(last, ASKED_APART).max(self.now));
        // An attempt is always written with its Ready: without one it is none of ours, and nothing would wake for its slot.
        let decided = conditions::find(&status.conditions, conditions::READY).is_some();
        let ours = |last: &Time| decided && has_been(last, self.now);
        let Some(Time(last)) = status.last_sync_time.clone().filter(ours) else {
            return (self.first(through), Why::New);
        };
        let failure = last_failure(measured);
        let must_mend = failure.is_some_and(|reason| reason.class() == Class::PersonMustAct);
        let marked = outstanding_reason(measured);
        if status.attempted_fingerprint.as_deref() != Some(fingerprint)
            || marked == Some(Reason::QueryChanged)
            || (must_mend && status.observed_generation != Some(measured.generation))
        {
            return (asked, Why::QueryChanged);
        }
        // A period that ended goes on resting: the request is served as any other is.
        if refresh_wanted(measured) && ready_reason(measured) == Some(Reason::PeriodEnded) && self.period_is_over() {
            return (asked, Why::Refresh);
        }
        if marked == Some(Reason::Resumed) || ready_reason(measured).is_some_and(Reason::holds) {
            return (self.now, Why::Resumed);
        }
        if refresh_wanted(measured) {
            return (asked, Why::Refresh);
        }
        // As with requests: one in the future would count again and again.
        let changed_at = through.changed_at.filter(|changed| *changed <= self.now);
        if must_mend && changed_at.is_some_and(|changed| changed > through.tried_at.unwrap_or(last)) {
            return (self.now, Why::Resumed);
        }
        let slots = Slots::new(measured.uid, interval(measured, Some(through.connection)));
        let slot = slots.after(last);
        let retry = match failure.map(|reason| (reason, reason.class())) {
            Some((_, Class::Passing)) => self.passing_retry(last, slots.interval),
            Some((_, Class::PersonMustAct)) => step(&MEND_STEPS, self.failures()).map(|wait| after(last, wait)),
            Some((Reason::BudgetExhausted, _)) => return self.after_budget(through, last, slot),
            Some(_) | None => None,
        };
        match retry {
            // Once its slot has come it is due like any other: retries wait behind all that is.
            Some(retry) if retry < slot && self.now < slot => (retry, Why::Retry),
            _ => (slot, Why::Slot),
        }
    }

    /// The first attempt is due at once, but after a used-up budget spread like any other.
    fn first(&self, through: &Through<'_>) -> Timestamp {
        match (ready_reason(self.measured), utc_midnight(self.now)) {
            (Some(Reason::BudgetExhausted), Some(midnight)) => after(midnight, self.spread(through)).max(self.now),
            _ => self.now,
        }
    }

    fn failures(&self) -> u32 {
        self.measured.status.consecutive_failures.unwrap_or_default()
    }

    /// 1, 4 and 15 minutes, then every 20 where slots are further apart than an hour; each plus or minus a fifth, so that
    /// what failed together is not tried together.
    fn passing_retry(&self, last: Timestamp, interval: Duration) -> Option<Timestamp> {
        let failures = self.failures();
        let later = (interval > HOUR).then_some(PASSING_LATER);
        let wait = step(&PASSING_STEPS, failures).or(later)?;
        let spread = hash::number(&[self.measured.uid, &failures.to_string()]) % 401;
        let thousandths = 800 + i32::try_from(spread).expect("at most 400");
        Some(after(last, wait * thousandths / 1000))
    }

    /// Once the budget allows it again: at once where it was raised, spread over the new day's first hour where a new
    /// day freed it.
    fn after_budget(&self, through: &Through<'_>, last: Timestamp, slot: Timestamp) -> (Timestamp, Why) {
        match utc_midnight(self.now) {
            Some(midnight) if last < midnight => (after(midnight, self.spread(through)), Why::Slot),
            Some(_) => (self.now, Why::Resumed),
            None => (slot, Why::Slot),
        }
    }

    fn next_budget(&self, through: &Through<'_>) -> Option<Timestamp> {
        utc_midnight(after(self.now, SignedDuration::from_hours(24)))
            .map(|midnight| after(midnight, self.spread(through)))
    }

    /// `hash(uid) mod min(interval, 1h)`.
    fn spread(&self, through: &Through<'_>) -> SignedDuration {
        let most = interval(self.measured, Some(through.connection)).min(HOUR);
        Slots::new(self.measured.uid, most).phase()
    }

    /// 00:00 of the start date plus the spread.
    fn first_query(&self, through: &Through<'_>) -> Option<Timestamp> {
        let start = start_of_day(self.measured.period?.start_date.0, self.zone)?;
        Some(after(start, self.spread(through)))
    }

    fn dry_run_passed(&self, fingerprint: &str) -> bool {
        let status = self.measured.status;
        status.attempted_fingerprint.as_deref() == Some(fingerprint) && self.failures() == 0
    }

    fn period_is_over(&self) -> bool {
        self.measured.period.is_some_and(|period| calendar::day(self.now, self.zone) > period.end_date.0)
    }

    /// After the end date slots go on until one sync succeeds; a refresh or a changed query asks for one more in the
    /// same way. Without a connection no fingerprint is compared.
    fn has_last_value(&self, fingerprint: Option<&str>) -> bool {
        let (measured, status) = (self.measured, self.measured.status);
        let Some(period) = measured.period else { return false };
        let read_after_end =
            |time: &Time| has_been(time, self.now) && calendar::day(time.0, self.zone) > period.end_date.0;
        let same = |of: &Option<String>| match fingerprint {
            Some(fingerprint) => of.as_deref() == Some(fingerprint),
            None => of.is_some(),
        };
        self.period_is_over()
            && status.value.is_some()
            && status.value_time.as_ref().is_some_and(read_after_end)
            && self.failures() == 0
            && same(&status.query_fingerprint)
            && same(&status.attempted_fingerprint)
            && !refresh_wanted(measured)
    }
}

/// The fingerprint of `measured` through `connection`.
pub fn fingerprint(measured: &Measured<'_>, source: &BigQuerySource, connection: &BigQueryConnection) -> String {
    let uid = connection.metadata.uid.as_deref().unwrap_or_default();
    fingerprint::of(source, measured.period, uid, &connection.spec)
}

/// The interval that counts: the connection may ask for a longer one.
pub fn interval(measured: &Measured<'_>, connection: Option<&BigQueryConnection>) -> Duration {
    let least = connection.map(|connection| connection.spec.min_interval());
    measured.interval.max(least.unwrap_or(measured.interval))
}

/// Whether a time of a status can be of a sync of ours: one that is yet to come was written by somebody else.
pub(super) fn has_been(time: &Time, now: Timestamp) -> bool {
    time.0 <= after(now, CLOCKS_APART)
}

/// Whether an annotation asks for a sync: it is present and differs from its echo.
pub fn refresh_wanted(measured: &Measured<'_>) -> bool {
    asks(measured.refresh, measured.status.last_handled_refresh.as_deref())
        || asks(measured.reconcile_at, measured.status.last_handled_reconcile_at.as_deref())
}

/// SPEC 4's rule for one annotation. Its removal, or a value equal to its echo, asks for nothing.
pub fn asks(annotation: Option<&str>, echo: Option<&str>) -> bool {
    annotation.is_some() && annotation != echo
}

/// Whether an attempt that could not be written is as good as a new one: of the same query, with no request or slot since.
pub fn still_answers(attempt: &Attempt, measured: &Measured<'_>, through: &Through<'_>, now: Timestamp) -> bool {
    attempt.fingerprint == through.fingerprint
        && attempt.refresh.as_deref() == measured.refresh
        && attempt.reconcile_at.as_deref() == measured.reconcile_at
        && Slots::new(measured.uid, interval(measured, Some(through.connection))).after(attempt.ended) > now
}

/// The reason of the last attempt's failure; None after a success. A passing failure that left Ready=True shows its
/// reason nowhere: any reason of that class stands for it.
pub fn last_failure(measured: &Measured<'_>) -> Option<Reason> {
    if measured.status.consecutive_failures.unwrap_or_default() == 0 {
        // Not an attempt, yet its end is spread in a way of its own.
        return ready_reason(measured).filter(|reason| *reason == Reason::BudgetExhausted);
    }
    match ready_reason(measured) {
        Some(Reason::Synced) | None => Some(Reason::Unavailable),
        Some(reason) => Some(reason),
    }
}

/// The reason that the `Ready` condition shows.
pub fn ready_reason(measured: &Measured<'_>) -> Option<Reason> {
    conditions::find(&measured.status.conditions, conditions::READY).and_then(|ready| Reason::from_name(&ready.reason))
}

/// The sync that an earlier pass left outstanding.
fn outstanding_reason(measured: &Measured<'_>) -> Option<Reason> {
    conditions::find(&measured.status.conditions, conditions::RECONCILING)
        .and_then(|reconciling| Reason::from_name(&reconciling.reason))
        .filter(|reason| reason.class() == Class::UnderWay)
}

/// The times `k * interval + hash(uid) mod interval` since the epoch: spread evenly, and the same after every restart.
#[derive(Debug, Clone, Copy)]
pub struct Slots {
    interval: Duration,
    phase: i64,
}

impl Slots {
    pub fn new(uid: &str, interval: Duration) -> Self {
        // At most a century: an object stored under an older definition may hold anything.
        let seconds = interval.as_secs().clamp(1, 100 * 366 * 24 * 3600);
        let phase = hash::number(&[uid]) % seconds;
        Self { interval: Duration::from_secs(seconds), phase: i64::try_from(phase).expect("below a century") }
    }

    /// The first slot after `time`.
    pub fn after(&self, time: Timestamp) -> Timestamp {
        let interval = i64::try_from(self.interval.as_secs()).expect("at most a century");
        let passed = (time.as_second() - self.phase).div_euclid(interval);
        let next = (passed + 1) * interval + self.phase;
        Timestamp::from_second(next).unwrap_or(Timestamp::MAX)
    }

    fn phase(&self) -> SignedDuration {
        SignedDuration::from_secs(self.phase)
    }
}

/// When the new day is written where no sync does it first: within the first quarter of an hour, in the zone.
pub fn day_pass(uid: &str, today: Date, zone: &TimeZone) -> Option<Timestamp> {
    start_of_day(today, zone).map(|start| after(start, day_spread(uid)))
}

/// How long after a moment that is the same for many objects one of them is written: hash(uid) within a quarter of an
/// hour.
pub fn day_spread(uid: &str) -> SignedDuration {
    // One minute of the quarter is left for the writes themselves.
    SignedDuration::from_secs(i64::try_from(hash::number(&[uid, "day"]) % (14 * 60)).expect("below 840"))
}

fn step(steps: &[SignedDuration], failures: u32) -> Option<SignedDuration> {
    steps.get(usize::try_from(failures).ok()?.checked_sub(1)?).copied()
}

fn utc_midnight(time: Timestamp) -> Option<Timestamp> {
    start_of_day(calendar::day(time, &TimeZone::UTC), &TimeZone::UTC)
}
