//! What one look at an object leads to: a write, an attempt, or a wait.

use jiff::{SignedDuration, Timestamp};

use crate::api::MeasuredStatus;

use super::{
    calendar::{self, start_of_day},
    conditions::{self, READY, RECONCILING, STALLED},
    judgement::Gaps,
    measured::Measured,
    schedule::{self, How, Plan, Route, Why},
    status,
};

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The status is to be decided again and written, without a query.
    Decide,
    /// A query is due since `at`.
    Attempt { at: Timestamp, why: Why, how: How },
    /// Nothing before this moment; None where only a change of some object can lead to anything.
    Wait(Option<Timestamp>),
}

/// When what is due is going to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// At once: its own write will say all there is to say.
    Now,
    /// Within the minute.
    Soon,
    /// Nobody knows.
    Later,
}

/// Looks at `measured`. See [`schedule::plan`] for `last_asked`.
pub fn pass(
    measured: &Measured<'_>,
    route: &Route<'_>,
    operator: &Gaps,
    now: Timestamp,
    last_asked: Option<Timestamp>,
    turn: Turn,
) -> Pass {
    let plan = schedule::plan(measured, route, now, last_asked);
    let due = match plan {
        Plan::Attempt { at, why, how } if at <= now => Some(Pass::Attempt { at, why, how }),
        Plan::Attempt { .. } | Plan::Hold { .. } => None,
    };
    if let (Some(attempt), Turn::Now) = (due, turn) {
        return attempt;
    }
    if must_decide(measured, route, operator, now, due.is_some() && turn == Turn::Soon) {
        return Pass::Decide;
    }
    due.unwrap_or_else(|| Pass::Wait(next_moment(measured, route, &plan, now)))
}

/// Whether the status that was written is not that of now. It needs no sync for that, nor waits for one that runs.
///
/// Only because of a new day it is not written at once, but by the day's first sync or at a moment of its own, so that
/// midnight does not write ten thousand objects at the same time. Nor is it where a sync is at hand that writes all the
/// same: after a downtime ten thousand are due and stale.
pub fn must_decide(
    measured: &Measured<'_>,
    route: &Route<'_>,
    operator: &Gaps,
    now: Timestamp,
    sync_at_hand: bool,
) -> bool {
    let as_of = |judged_at: Timestamp| status::next_as_of(measured, route, None, operator, now, judged_at);
    let next = as_of(now);
    if next == *measured.status || (sync_at_hand && only_aged(measured.status, &next)) {
        return false;
    }
    let changed = measured.status.observed_generation != Some(measured.generation);
    changed || day_before_its_pass(measured, now).is_none_or(|yesterday| as_of(yesterday) != *measured.status)
}

/// Whether nothing differs but what follows from the time: no change of spec or connection, no request, and nothing that
/// tells of the pipeline.
fn only_aged(before: &MeasuredStatus, next: &MeasuredStatus) -> bool {
    let same_condition = |kind| conditions::find(&before.conditions, kind) == conditions::find(&next.conditions, kind);
    before.observed_generation == next.observed_generation
        && before.connection == next.connection
        && before.last_handled_refresh == next.last_handled_refresh
        && before.last_handled_reconcile_at == next.last_handled_reconcile_at
        && [READY, STALLED, RECONCILING].into_iter().all(same_condition)
}

/// The last second of yesterday, while today is not yet to be written.
fn day_before_its_pass(measured: &Measured<'_>, now: Timestamp) -> Option<Timestamp> {
    let zone = calendar::zone(measured.period)?;
    let today = calendar::day(now, &zone);
    let pass = schedule::day_pass(measured.uid, today, &zone)?;
    let start = start_of_day(today, &zone)?;
    (now < pass).then(|| calendar::after(start, SignedDuration::from_secs(-1)))
}

/// The next moment at which time alone changes something.
fn next_moment(measured: &Measured<'_>, route: &Route<'_>, plan: &Plan, now: Timestamp) -> Option<Timestamp> {
    let zone = calendar::zone(measured.period);
    let day_pass = zone.and_then(|zone| {
        let today = calendar::day(now, &zone);
        let tomorrow = today.tomorrow().ok()?;
        [today, tomorrow]
            .into_iter()
            .filter_map(|day| schedule::day_pass(measured.uid, day, &zone))
            .find(|pass| *pass > now)
    });
    let stale = status::fresh_until(measured.status, measured, route);
    [plan.next_attempt(), day_pass, stale].into_iter().flatten().filter(|moment| *moment > now).min()
}
