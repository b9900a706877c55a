//! The next status, whole: what an attempt brought, what holds the next one, and what the numbers say today.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use crate::api::{CheckIn, Condition, ConnectionChoice, LastQuery, Lifecycle, MeasuredStatus, OkrStatus, Period, Time};

use super::{
    calendar::{self, start_of_day, whole_seconds},
    conditions::{self, FRESH, Following, ON_TRACK, READY, RECONCILING, STALLED, Truth},
    explanation::{self, Facts},
    forecast, history,
    judgement::{self, Gaps},
    measured::{Measured, Source},
    number::{self, Exact, two_places},
    progress,
    reason::{Class, Reason},
    schedule::{self, Plan, Route, Through, Why, has_been},
};

/// SPEC 3: a passing failure leaves Ready=True until the third in a row.
const PASSING_FAILURES_SHOWN: u32 = 3;

/// SPEC 2: a manual value is fresh for two weeks unless told otherwise.
const DEFAULT_VALID_FOR: SignedDuration = SignedDuration::from_hours(336);

/// An attempt to read the value, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Of the query that was sent.
    pub fingerprint: String,
    /// The annotations seen when it was sent: these are served by it, later ones are not.
    pub refresh: Option<String>,
    pub reconcile_at: Option<String>,
    pub ended: Timestamp,
    pub outcome: Outcome,
}

/// What came of an attempt. A failure is data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Measured {
        value: String,
        query: LastQuery,
    },
    /// The period has not begun; the query is fine.
    DryRunPassed,
    /// `message` may hold BigQuery's own words: it goes into the object's own condition and nowhere else.
    Failed {
        reason: Reason,
        message: String,
    },
}

/// The status that follows on `measured.status`: equal to it where nothing is to be written.
///
/// A new object that is neither held nor attempted has nothing to say yet and keeps its empty status.
pub fn next(
    measured: &Measured<'_>,
    route: &Route<'_>,
    attempt: Option<&Attempt>,
    operator: &Gaps,
    now: Timestamp,
) -> MeasuredStatus {
    next_as_of(measured, route, attempt, operator, now, now)
}

/// The same with everything as it is at `now`, but judged on the day of `judged_at`.
pub fn next_as_of(
    measured: &Measured<'_>,
    route: &Route<'_>,
    attempt: Option<&Attempt>,
    operator: &Gaps,
    now: Timestamp,
    judged_at: Timestamp,
) -> MeasuredStatus {
    let before = measured.status;
    let following = Following { before: &before.conditions, generation: measured.generation, now: &whole_seconds(now) };
    let mut status = before.clone();
    let zone = calendar::zone(measured.period);
    restart_history(&mut status, measured);
    take_manual_value(&mut status, measured, zone.as_ref());
    // No sync of ours was then: the last attempt is the latest that the value can be of.
    if matches!(measured.source, Source::BigQuery(_)) && !status.value_time.iter().all(|time| has_been(time, now)) {
        status.value_time = status.last_sync_time.clone().filter(|time| has_been(time, now));
    }
    // The answer to a query that was under way when somebody put the object to rest is dropped (SPEC 4).
    let is_wanted = measured.lifecycle == Lifecycle::Active
        && !measured.suspended
        && matches!(measured.source, Source::BigQuery(_));
    if let Some(attempt) = attempt.filter(|_| is_wanted) {
        take_attempt(&mut status, measured, attempt, &following);
    }

    let planned_by = |status: &MeasuredStatus| schedule::plan(&Measured { status, ..*measured }, route, now, None);
    let mut plan = planned_by(&status);
    if plan.held().is_some() {
        echo(&mut status, measured.refresh, measured.reconcile_at);
        // With the request gone the end of the period is all that is left to say.
        let without_request = planned_by(&status);
        if without_request.held().is_some_and(|(reason, _)| reason == Reason::PeriodEnded) {
            plan = without_request;
        }
    }
    let Some(ready) = ready(&plan, &status, &following) else { return before.clone() };
    status.observed_generation = Some(measured.generation);
    if let Some(planned) = planned(&plan) {
        status.next_sync_time = planned.map(whole_seconds);
    }
    status.connection = chosen(measured, route);

    let numbers = numbers(&status, measured, operator, zone.as_ref(), judged_at);
    judge(&mut status, measured, &numbers, judged_at);
    status.target_text = progress::target_text(measured.measure);
    let fresh = fresh(&status, measured, route, &ready, now);
    let stale = fresh.as_ref().is_some_and(|(truth, ..)| *truth == Truth::False);
    let is_ready = ready.status == Truth::True.name();
    let aged = stale || !is_ready || status.consecutive_failures.unwrap_or_default() > 0;
    status.explanation = Some(explain(&status, measured, route, &numbers, aged));

    status.forecast = measured
        .period
        .zip(zone.as_ref())
        .filter(|_| measured.lifecycle == Lifecycle::Active)
        .and_then(|(period, zone)| forecast::forecast(&status.history, measured.measure, period, zone));

    let mut all = vec![ready.clone()];
    all.extend(progress_of_work(&plan, &ready, &status, &following));
    all.push(on_track(&status, &following));
    all.extend(fresh.map(|(truth, reason, message)| following.condition(FRESH, truth, reason, message)));
    status.conditions = all;
    status
}

/// Points of another measure, start value or unit cannot stand beside the new ones.
fn restart_history(status: &mut MeasuredStatus, measured: &Measured<'_>) {
    let basis = history::basis(measured.measure, measured.unit);
    if status.history_of.as_deref() != Some(basis.as_str()) {
        status.history.clear();
        status.history_of = Some(basis);
    }
}

fn take_manual_value(status: &mut MeasuredStatus, measured: &Measured<'_>, zone: Option<&TimeZone>) {
    let Source::Manual(manual) = measured.source else { return };
    let frozen = is_frozen(status, measured.lifecycle);
    let Some(as_of) = zone.and_then(|zone| start_of_day(manual.as_of.0, zone)).filter(|_| !frozen) else { return };
    // No query stands behind the value any more.
    status.query_fingerprint = None;
    status.attempted_fingerprint = None;
    status.last_sync_time = None;
    status.last_query = None;
    status.consecutive_failures = None;
    let value = manual.value.to_string();
    let known = status.value.as_deref() == Some(&value) && status.value_time.as_ref() == Some(&Time(as_of));
    // No sync would bring the value back into a history that begins anew.
    if !known || status.history.is_empty() {
        history::record(&mut status.history, &value, as_of, measured.period);
        status.value = Some(value);
        status.value_time = Some(whole_seconds(as_of));
    }
}

fn take_attempt(status: &mut MeasuredStatus, measured: &Measured<'_>, attempt: &Attempt, following: &Following<'_>) {
    status.attempted_fingerprint = Some(attempt.fingerprint.clone());
    status.last_sync_time = Some(whole_seconds(attempt.ended));
    status.observed_generation = Some(measured.generation);
    echo(status, attempt.refresh.as_deref(), attempt.reconcile_at.as_deref());
    let ready = match &attempt.outcome {
        Outcome::Measured { value, query } => {
            status.value = Some(value.clone());
            status.value_time = Some(whole_seconds(attempt.ended));
            status.query_fingerprint = Some(attempt.fingerprint.clone());
            status.last_query = Some(query.clone());
            status.consecutive_failures = None;
            history::record(&mut status.history, value, attempt.ended, measured.period);
            ready_with(Truth::True, Reason::Synced, Reason::Synced.sentence(), following)
        }
        Outcome::DryRunPassed => {
            status.consecutive_failures = None;
            ready_with(Truth::True, Reason::NotStarted, Reason::NotStarted.sentence(), following)
        }
        Outcome::Failed { reason, message } => {
            let failures = status.consecutive_failures.unwrap_or_default().saturating_add(1);
            status.consecutive_failures = Some(failures);
            let stays = reason.class() == Class::Passing
                && failures < PASSING_FAILURES_SHOWN
                && conditions::is_true(following.before, READY)
                && status.query_fingerprint.as_deref() == Some(attempt.fingerprint.as_str());
            if stays {
                ready_with(Truth::True, Reason::Synced, Reason::Synced.sentence(), following)
            } else {
                ready_with(Truth::False, *reason, message, following)
            }
        }
    };
    // The sync's own write ends what an earlier pass left outstanding.
    status.conditions = vec![ready];
}

/// Says which requests have been served. An absent annotation leaves its echo.
pub(super) fn echo(status: &mut MeasuredStatus, refresh: Option<&str>, reconcile_at: Option<&str>) {
    if let Some(refresh) = refresh {
        status.last_handled_refresh = Some(refresh.to_owned());
    }
    if let Some(reconcile_at) = reconcile_at {
        status.last_handled_reconcile_at = Some(reconcile_at.to_owned());
    }
}

fn ready_with(truth: Truth, reason: Reason, message: &str, following: &Following<'_>) -> Condition {
    following.condition(READY, truth, reason.name(), message)
}

/// `Ready` by what holds the next attempt, else as the last attempt left it.
fn ready(plan: &Plan, status: &MeasuredStatus, following: &Following<'_>) -> Option<Condition> {
    if let Some((reason, message)) = plan.held() {
        return Some(ready_with((reason.class() == Class::Rest).into(), reason, message, following));
    }
    let last = conditions::find(&status.conditions, READY)?;
    Some(Condition { observed_generation: Some(following.generation), ..last.clone() })
}

/// `Stalled` or `Reconciling`, never both.
fn progress_of_work(
    plan: &Plan,
    ready: &Condition,
    status: &MeasuredStatus,
    following: &Following<'_>,
) -> Option<Condition> {
    if let Some(reason) = plan.outstanding() {
        return Some(following.condition(RECONCILING, Truth::True, reason.name(), reason.sentence()));
    }
    let shown = Reason::from_name(&ready.reason);
    // Held since it was made, or without a query until now. What waited for its connection is Reconciling already.
    if matches!(plan, Plan::Attempt { why: Why::New, .. })
        && shown.is_none_or(|reason| reason.class() != Class::Waiting && reason != Reason::BudgetExhausted)
    {
        let had_none = shown.is_some_and(|reason| reason == Reason::Manual || reason.is_of_a_roll_up());
        let reason = if had_none { Reason::QueryChanged } else { Reason::Resumed };
        return Some(following.condition(RECONCILING, Truth::True, reason.name(), reason.sentence()));
    }
    let reason = shown.filter(|_| ready.status != Truth::True.name())?;
    let has_value_of_it =
        status.query_fingerprint.is_some() && status.query_fingerprint == status.attempted_fingerprint;
    let kind = match reason.class() {
        Class::Waiting => RECONCILING,
        Class::Passing if !has_value_of_it => RECONCILING,
        Class::PersonMustAct => STALLED,
        Class::Passing | Class::Good | Class::Data | Class::UnderWay | Class::Rest => return None,
    };
    Some(following.condition(kind, Truth::True, reason.name(), &ready.message))
}

/// The planned retry or slot, if any. What is due at once is under way rather than planned. None where what was said
/// stays: a request alone is worth no write before its sync.
fn planned(plan: &Plan) -> Option<Option<Timestamp>> {
    match plan {
        Plan::Attempt { at, why: Why::Slot | Why::Retry, .. } => Some(Some(*at)),
        Plan::Attempt { why: Why::QueryChanged | Why::Resumed, .. } => Some(None),
        Plan::Attempt { why: Why::New | Why::Refresh, .. } => None,
        Plan::Hold { until, .. } => Some(*until),
    }
}

/// The choice that stays while it is usable. Where none is, the last one is forgotten.
fn chosen(measured: &Measured<'_>, route: &Route<'_>) -> Option<ConnectionChoice> {
    match (measured.source, route) {
        (Source::Manual(_), _) => None,
        (Source::BigQuery(_), Ok(Through { connection, .. })) => Some(ConnectionChoice {
            namespace: connection.metadata.namespace.clone().unwrap_or_default(),
            name: connection.metadata.name.clone().unwrap_or_default(),
            uid: connection.metadata.uid.clone().unwrap_or_default(),
        }),
        (Source::BigQuery(_), Err(_)) => None,
    }
}

/// Whether its numbers are those of the day on which it was closed, because that has been written.
pub(super) fn is_frozen(status: &MeasuredStatus, lifecycle: Lifecycle) -> bool {
    lifecycle == Lifecycle::Closed && status.okr_status == Some(OkrStatus::Closed)
}

/// The day of `now` in `zone`, or that of closing.
pub(super) fn judged_day(
    status: &MeasuredStatus,
    lifecycle: Lifecycle,
    zone: Option<&TimeZone>,
    now: Timestamp,
) -> Option<Date> {
    let frozen = is_frozen(status, lifecycle);
    let moment = status.okr_status_since.as_ref().filter(|_| frozen).map_or(now, |since| since.0);
    zone.map(|zone| calendar::day(moment, zone))
}

/// The numbers of today, or of the day of closing.
struct Numbers {
    today: Option<Date>,
    value: Option<Exact>,
    progress: Option<Exact>,
    expected: Option<Exact>,
    gaps: Gaps,
}

fn numbers(
    status: &MeasuredStatus,
    measured: &Measured<'_>,
    operator: &Gaps,
    zone: Option<&TimeZone>,
    now: Timestamp,
) -> Numbers {
    let today = judged_day(status, measured.lifecycle, zone, now);
    let value = status.value.as_deref().and_then(number::parse);
    let progress = value.as_ref().and_then(|value| progress::progress(measured.measure, value));
    let expected = measured
        .period
        .zip(today)
        .and_then(|(period, today)| progress::expected(measured.measure, period, measured.expected, today));
    Numbers { today, value, progress, expected, gaps: Gaps::of(measured.thresholds, operator) }
}

fn judge(status: &mut MeasuredStatus, measured: &Measured<'_>, numbers: &Numbers, now: Timestamp) {
    let Numbers { today, value, progress, expected, gaps } = numbers;
    let computed = judgement::computed(measured.measure, value.as_ref(), progress.as_ref(), expected.as_ref(), gaps);
    let standing = Standing {
        lifecycle: measured.lifecycle,
        period: measured.period,
        check_in: measured.check_in,
        today: *today,
        computed,
        progress: progress.as_ref(),
        expected: expected.as_ref(),
    };
    stand(status, &standing, now);
}

/// What an okrStatus follows from, once the numbers have been judged.
pub(super) struct Standing<'a> {
    pub lifecycle: Lifecycle,
    pub period: Option<&'a Period>,
    pub check_in: Option<&'a CheckIn>,
    pub today: Option<Date>,
    /// None where nothing can be said.
    pub computed: Option<OkrStatus>,
    pub progress: Option<&'a Exact>,
    pub expected: Option<&'a Exact>,
}

/// Sets okrStatus and since when it is so, computedStatus, the percentages and the score.
pub(super) fn stand(status: &mut MeasuredStatus, standing: &Standing<'_>, now: Timestamp) {
    let Standing { lifecycle, period, check_in, today, computed, progress, expected } = *standing;
    // On a day that nobody can name nothing new is said.
    let computed = computed.or(status.computed_status).unwrap_or(OkrStatus::NotStarted);
    let okr_status = judgement::okr_status(lifecycle, period, check_in, Some(computed), today)
        // Both were the lifecycle's word, which is Active now.
        .or(status.okr_status.filter(|before| !matches!(before, OkrStatus::Closed | OkrStatus::Postponed)))
        .unwrap_or(computed);
    if status.okr_status != Some(okr_status) || status.okr_status_since.is_none() {
        status.okr_status_since = Some(whole_seconds(now));
    }
    status.okr_status = Some(okr_status);
    status.computed_status = Some(computed);
    status.progress_percent = progress.map(two_places);
    status.expected_progress_percent = expected.map(two_places);
    status.score = progress.map(|progress| two_places(&judgement::score(progress)));
}

fn explain(
    status: &MeasuredStatus,
    measured: &Measured<'_>,
    route: &Route<'_>,
    numbers: &Numbers,
    aged: bool,
) -> String {
    let value_of =
        status.value_time.as_ref().filter(|_| aged && numbers.value.is_some()).map(|time| calendar::text(time.0));
    let connection = route.as_ref().ok().map(|through| through.connection);
    let interval = schedule::interval(measured, connection);
    let has_query = matches!(measured.source, Source::BigQuery(_));
    explanation::sentence(&Facts {
        measured,
        value: status.value.as_deref().filter(|_| numbers.value.is_some()),
        progress: numbers.progress.as_ref(),
        expected: numbers.expected.as_ref(),
        computed: status.computed_status,
        gaps: &numbers.gaps,
        today: numbers.today,
        value_of: value_of.as_deref(),
        raised_to: (has_query && interval > measured.interval).then_some(interval),
    })
}

pub(super) fn on_track(status: &MeasuredStatus, following: &Following<'_>) -> Condition {
    let okr_status = status.okr_status.unwrap_or(OkrStatus::NotStarted);
    let truth = match okr_status {
        OkrStatus::OnTrack => Truth::True,
        OkrStatus::Behind | OkrStatus::AtRisk => Truth::False,
        OkrStatus::NotStarted | OkrStatus::InProgress | OkrStatus::Postponed | OkrStatus::Closed => Truth::Unknown,
    };
    let message = match (&status.progress_percent, &status.expected_progress_percent) {
        (Some(progress), Some(expected)) => format!("{progress} % progress, {expected} % expected."),
        (Some(progress), None) => format!("{progress} % progress."),
        (None, _) => String::new(),
    };
    following.condition(ON_TRACK, truth, okr_status.name(), &message)
}

/// Whether the value is that of the present query and recent. Absent without a value and at rest.
fn fresh(
    status: &MeasuredStatus,
    measured: &Measured<'_>,
    route: &Route<'_>,
    ready: &Condition,
    now: Timestamp,
) -> Option<(Truth, &'static str, &'static str)> {
    // By what Ready says, not by the plan: a rest whose end is under way still shows, and nothing flips before its sync.
    let at_rest = Reason::from_name(&ready.reason)
        .is_some_and(|reason| reason.class() == Class::Rest && reason != Reason::Manual);
    let end = fresh_until(status, measured, route)?;
    if at_rest {
        return None;
    }
    let is_of_the_query = match (measured.source, &status.query_fingerprint, route) {
        (Source::Manual(_), ..) => true,
        // It is not known to be any query's, whatever the connection.
        (Source::BigQuery(_), None, _) => false,
        (Source::BigQuery(_), Some(fingerprint), Ok(through)) => *fingerprint == through.fingerprint,
        // Without a connection nothing is compared.
        (Source::BigQuery(_), Some(_), Err(_)) => true,
    };
    if !is_of_the_query {
        return Some((Truth::False, "QueryChanged", "The value is that of another query or connection."));
    }
    Some(if now >= end {
        (Truth::False, "Stale", "The value is older than two intervals, or than a manual value's validFor.")
    } else {
        (Truth::True, "Current", "The value is recent.")
    })
}

/// When the value stops being fresh: two intervals after it was read; a manual value's own validFor.
pub fn fresh_until(status: &MeasuredStatus, measured: &Measured<'_>, route: &Route<'_>) -> Option<Timestamp> {
    status.value.as_ref()?;
    let value_time = status.value_time.as_ref()?.0;
    let valid = match measured.source {
        Source::Manual(manual) => manual.valid_for.map_or(DEFAULT_VALID_FOR, seconds),
        Source::BigQuery(_) => {
            let connection = route.as_ref().ok().map(|through| through.connection);
            seconds(schedule::interval(measured, connection)) * 2
        }
    };
    Some(calendar::after(value_time, valid))
}

fn seconds(duration: crate::api::Duration) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4))
}
