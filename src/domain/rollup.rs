//! The status of an objective without a measure of its own, whole: what its children come to, and what the numbers say
//! today. SPEC 6.

use std::{collections::HashSet, hash::Hash};

use jiff::Timestamp;
use kube::{Resource, ResourceExt};

use crate::api::{
    ChildStatus, Lifecycle, MeasuredStatus, ObjectiveStatus, OkrObjective, OkrStatus, RECONCILE_AT_ANNOTATION,
    REFRESH_ANNOTATION, StatusFrom,
};

use super::{
    calendar::{self, after, start_of_day, whole_seconds},
    child::{Family, Kind, Part, Sum, WeightsAboveHundred, frozen_progress},
    conditions::{Following, READY, STALLED, Truth},
    explanation::{self, RollUpFacts},
    forecast, history,
    judgement::{self, Gaps, WORST_FIRST},
    number::{Exact, clamp_percent, integer, rounded, two_places},
    objective::ObjectiveProblem,
    pass::Pass,
    progress,
    reason::{Class, Reason},
    schedule, status,
};

/// The API's bound for the list in a status.
pub const MOST_CHILDREN: usize = 1000;

/// What the status of a roll-up is decided from.
#[derive(Debug, Clone, Copy)]
pub struct RollUp<'a> {
    /// One without `spec.measure`; its status is as it was last written, and nothing in it is trusted to be well formed.
    pub objective: &'a OkrObjective,
    /// What is below it.
    pub family: &'a Family,
    /// The names of the cycle that it is part of, see [`cycle`].
    pub cycle: Option<&'a [String]>,
    /// What is wrong with its parentRef.
    pub objective_problem: Option<ObjectiveProblem>,
}

/// The status of an object that has none.
static NO_STATUS: std::sync::LazyLock<ObjectiveStatus> = std::sync::LazyLock::new(ObjectiveStatus::default);

impl<'a> RollUp<'a> {
    fn before(&self) -> &'a ObjectiveStatus {
        self.objective.status.as_ref().unwrap_or(&NO_STATUS)
    }

    fn lifecycle(&self) -> Lifecycle {
        self.objective.spec.lifecycle.unwrap_or_default()
    }

    fn uid(&self) -> &'a str {
        self.objective.meta().uid.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &'a str {
        self.objective.meta().namespace.as_deref().unwrap_or_default()
    }

    fn is_frozen(&self) -> bool {
        status::is_frozen(&self.before().measured, self.lifecycle())
    }
}

/// Looks at an objective that is rolled up: it is decided, or nothing happens before a moment. It never leads to an
/// attempt.
pub fn pass(roll_up: &RollUp<'_>, operator: &Gaps, now: Timestamp) -> Pass {
    if must_decide(roll_up, operator, now) { Pass::Decide } else { Pass::Wait(next_moment(roll_up, now)) }
}

/// Whether the status that was written is not that of now. What only the time brings, a new day or the begin of a child's
/// period, is written at a moment of its own, so that midnight does not write every objective at the same time.
fn must_decide(roll_up: &RollUp<'_>, operator: &Gaps, now: Timestamp) -> bool {
    let before = roll_up.before();
    if next(roll_up, operator, now) == *before {
        return false;
    }
    let changed = before.measured.observed_generation != Some(generation(roll_up.objective));
    let awhile_ago = after(now, -schedule::day_spread(roll_up.uid()));
    changed || next_as_of(roll_up, operator, now, awhile_ago) != *before
}

/// The next moment at which time alone changes something.
fn next_moment(roll_up: &RollUp<'_>, now: Timestamp) -> Option<Timestamp> {
    let spread = schedule::day_spread(roll_up.uid());
    let days = calendar::zone(roll_up.objective.spec.period.as_ref()).into_iter().flat_map(|zone| {
        let today = calendar::day(now, &zone);
        let days = [Some(today), today.tomorrow().ok()];
        days.into_iter().flatten().filter_map(move |day| start_of_day(day, &zone))
    });
    days.chain(roll_up.family.beginnings()).map(|moment| after(moment, spread)).filter(|moment| *moment > now).min()
}

/// The status that follows on the objective's: equal to it where nothing is to be written.
pub fn next(roll_up: &RollUp<'_>, operator: &Gaps, now: Timestamp) -> ObjectiveStatus {
    next_as_of(roll_up, operator, now, now)
}

/// The same with everything as it is at `now`, but judged at `judged_at`.
///
/// What a closed one has come to stays as it was written: progress, of which two places are stored, the day, and the
/// children.
pub fn next_as_of(roll_up: &RollUp<'_>, operator: &Gaps, now: Timestamp, judged_at: Timestamp) -> ObjectiveStatus {
    let (before, spec, lifecycle) = (roll_up.before(), &roll_up.objective.spec, roll_up.lifecycle());
    let generation = generation(roll_up.objective);
    let following = Following { before: &before.measured.conditions, generation, now: &whole_seconds(now) };
    let period = spec.period.as_ref();
    let zone = calendar::zone(period);
    let sum = roll_up.family.sum(judged_at);
    let frozen = roll_up.is_frozen();

    let mut status = without_query(&before.measured);
    status.observed_generation = Some(generation);
    let annotation = |name: &str| roll_up.objective.annotations().get(name).map(String::as_str);
    status::echo(&mut status, annotation(REFRESH_ANNOTATION), annotation(RECONCILE_AT_ANNOTATION));

    let today = status::judged_day(&status, lifecycle, zone.as_ref(), judged_at);
    let progress = if frozen { frozen_progress(&before.measured) } else { progress_of(roll_up, &sum) };
    let expected = period.zip(today).and_then(|(period, today)| progress::expected_of_roll_up(period, today));
    let gaps = Gaps::of(spec.thresholds.as_ref(), operator);
    let worst = worst(&sum.children);
    let computed = computed(roll_up, progress.as_ref(), expected.as_ref(), worst, &gaps);
    let standing = status::Standing {
        lifecycle,
        period,
        check_in: spec.check_in.as_ref(),
        today,
        computed,
        progress: progress.as_ref(),
        expected: expected.as_ref(),
    };
    status::stand(&mut status, &standing, judged_at);
    record(&mut status, roll_up, judged_at);
    status.forecast = period
        .zip(zone.as_ref())
        .filter(|_| lifecycle == Lifecycle::Active)
        .and_then(|(period, zone)| forecast::of_roll_up(&status.history, period, zone));

    let mut next = if frozen { before.clone() } else { listed(roll_up, &sum) };
    let (reason, message) = verdict(roll_up, &sum, zone.is_some(), next.child_count.unwrap_or_default());
    let ready: Truth = (reason.class() == Class::Rest).into();
    let mut conditions = vec![following.condition(READY, ready, reason.name(), &message)];
    if ready == Truth::False {
        conditions.push(following.condition(STALLED, Truth::True, reason.name(), &message));
    }
    conditions.push(status::on_track(&status, &following));
    status.conditions = conditions;
    status.explanation = Some(explanation::roll_up(&RollUpFacts {
        standing: &standing,
        gaps: &gaps,
        computed: status.computed_status,
        reason,
        cycle: roll_up.cycle.unwrap_or_default(),
        status_from: spec.status_from.unwrap_or_default(),
        children: &sum.children,
        worst: worst.map(|worst| worst.child),
        stale: next.stale_children.unwrap_or_default(),
        unlisted: sum.children.len().saturating_sub(MOST_CHILDREN),
        objective_problem: roll_up.objective_problem,
        objective: spec.parent_ref.as_ref(),
        namespace: roll_up.namespace(),
    }));
    next.measured = status;
    next
}

/// The status of an objective with a measure of its own: `measured`, and its children, which count for nothing.
pub fn with_measure(measured: MeasuredStatus, family: &Family) -> ObjectiveStatus {
    let children = family
        .children()
        .map(|child| Part {
            child,
            progress: child.progress.as_ref().map(clamp_percent),
            not_counted: None,
            share: None,
        })
        .collect();
    let why = |_: &Part<'_>| Some("the objective has a measure of its own");
    ObjectiveStatus { measured, ..list(children, why) }
}

/// Whether an objective with a measure of its own has to be written because of its children alone. A new one is first
/// written by its first sync.
pub fn children_changed(status: &ObjectiveStatus, family: &Family) -> bool {
    if status.measured.conditions.is_empty() {
        return false;
    }
    let next = with_measure(MeasuredStatus::default(), family);
    let ObjectiveStatus { measured: _, child_count, stale_children, children } = &next;
    *child_count != status.child_count || *stale_children != status.stale_children || *children != status.children
}

/// The objectives of the cycle that `of` is part of, in the order of their references, the least first. None where it is in
/// none, also if it only hangs below one. An objective that refers to itself is a cycle of one.
///
/// `parent_of` gives the objective that another's parentRef names: None where there is none, where it does not admit the
/// other, and where it has a measure of its own, because that rolls up nothing.
pub fn cycle<K: Clone + Ord + Hash>(of: &K, parent_of: impl Fn(&K) -> Option<K>) -> Option<Vec<K>> {
    let mut seen = HashSet::from([of.clone()]);
    let mut names = vec![of.clone()];
    while let Some(parent) = parent_of(names.last()?) {
        if parent == *of {
            let least = names.iter().enumerate().min_by_key(|(_, name)| *name).map_or(0, |(index, _)| index);
            names.rotate_left(least);
            return Some(names);
        }
        if !seen.insert(parent.clone()) {
            return None;
        }
        names.push(parent);
    }
    None
}

fn generation(objective: &OkrObjective) -> i64 {
    objective.meta().generation.unwrap_or_default()
}

/// What an objective that had a measure of its own keeps of it: nothing that came from a query.
fn without_query(before: &MeasuredStatus) -> MeasuredStatus {
    let rolled_up_before = before.history_of.as_deref() == Some(history::ROLL_UP);
    MeasuredStatus {
        okr_status: before.okr_status,
        okr_status_since: before.okr_status_since.clone(),
        computed_status: before.computed_status,
        last_handled_refresh: before.last_handled_refresh.clone(),
        last_handled_reconcile_at: before.last_handled_reconcile_at.clone(),
        history: if rolled_up_before { before.history.clone() } else { Vec::new() },
        history_of: Some(history::ROLL_UP.to_owned()),
        ..MeasuredStatus::default()
    }
}

/// What the children come to, where there is such a thing. Without a period there is no progress (SPEC 6).
fn progress_of(roll_up: &RollUp<'_>, sum: &Sum<'_>) -> Option<Exact> {
    if roll_up.objective.spec.period.is_none() || roll_up.cycle.is_some() {
        return None;
    }
    let progress = sum.progress.clone().ok().flatten()?;
    // One that is being closed is judged by what will be read back.
    Some(if roll_up.lifecycle() == Lifecycle::Closed { rounded(&progress) } else { progress })
}

/// By section 2's rule from progress, or the worst child's status. None where nothing new can be said: on a day that
/// nobody can name, once closed, and of what is a part of itself, whose status would be its own cause.
fn computed(
    roll_up: &RollUp<'_>,
    progress: Option<&Exact>,
    expected: Option<&Exact>,
    worst: Option<&Part<'_>>,
    gaps: &Gaps,
) -> Option<OkrStatus> {
    let by_progress = roll_up.objective.spec.status_from.unwrap_or_default() == StatusFrom::Progress;
    match progress {
        Some(progress) if by_progress => Some(judgement::by_gap(progress, expected?, gaps)),
        _ if roll_up.is_frozen() || roll_up.cycle.is_some() => None,
        Some(_) | None => Some(worst.map_or(OkrStatus::NotStarted, status_of)),
    }
}

/// Adds the day's point of progress: from the first day on, and after the last only where progress still changes, so that
/// an objective whose period is over is not written every day.
fn record(status: &mut MeasuredStatus, roll_up: &RollUp<'_>, now: Timestamp) {
    let period = roll_up.objective.spec.period.as_ref();
    let (Some(progress), Some(period), Some(zone)) = (&status.progress_percent, period, calendar::zone(period)) else {
        return;
    };
    let today = calendar::day(now, &zone);
    let known = status.history.last().is_some_and(|last| last.value == *progress);
    let over = today > period.end_date.0 && known;
    if roll_up.lifecycle() == Lifecycle::Active && today >= period.start_date.0 && !over {
        let progress = progress.clone();
        history::record_daily(&mut status.history, &progress, now, &zone);
    }
}

/// What the `Ready` condition says, and in which words. A closed one rests, whatever its children are.
fn verdict(roll_up: &RollUp<'_>, sum: &Sum<'_>, zone_exists: bool, child_count: u32) -> (Reason, String) {
    let said = |reason: Reason| (reason, reason.sentence().to_owned());
    let good = if child_count == 0 { Reason::NoKeyResults } else { Reason::RolledUp };
    match roll_up.cycle {
        _ if roll_up.lifecycle() == Lifecycle::Closed => said(good),
        Some(names) => {
            (Reason::Cycle, format!("{} The cycle: {}.", Reason::Cycle.sentence(), explanation::names(names)))
        }
        None if !zone_exists => {
            (Reason::InvalidTimeZone, schedule::no_time_zone(roll_up.objective.spec.period.as_ref()))
        }
        None if sum.progress.is_err() => said(Reason::WeightsAboveHundred),
        None => said(good),
    }
}

/// The worst child, by SPEC 6's order; the first by name of those that are equally bad.
fn worst<'a>(children: &'a [Part<'a>]) -> Option<&'a Part<'a>> {
    children.iter().min_by_key(|standing| order(standing))
}

/// What has not been decided has no value yet.
fn status_of(part: &Part<'_>) -> OkrStatus {
    part.child.okr_status.unwrap_or(OkrStatus::NotStarted)
}

fn order<'a>(part: &Part<'a>) -> (usize, &'a str, &'a str, Kind) {
    let status = status_of(part);
    let rank = WORST_FIRST.iter().position(|other| *other == status).unwrap_or(WORST_FIRST.len());
    (rank, &part.child.namespace, &part.child.name, part.child.kind)
}

/// The children as the status lists them.
fn listed(roll_up: &RollUp<'_>, sum: &Sum<'_>) -> ObjectiveStatus {
    let why_none = if roll_up.cycle.is_some() {
        Some("the objectives are a cycle")
    } else if sum.progress == Err(WeightsAboveHundred) {
        Some("the weights are above 100 in sum")
    } else if roll_up.objective.spec.period.is_none() {
        Some("the objective has no period")
    } else {
        None
    };
    let why = |part: &Part<'_>| {
        let own = part.not_counted;
        let left_out = part.share.is_none().then_some("the weights of the others leave nothing of 100");
        own.or(why_none).or(left_out)
    };
    list(sum.children.clone(), why)
}

fn list(mut children: Vec<Part<'_>>, why: impl Fn(&Part<'_>) -> Option<&'static str>) -> ObjectiveStatus {
    children.sort_by(|a, b| order(a).cmp(&order(b)));
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    ObjectiveStatus {
        measured: MeasuredStatus::default(),
        child_count: Some(number(children.len())),
        stale_children: Some(number(children.iter().filter(|part| part.child.stale).count())),
        children: children.iter().take(MOST_CHILDREN).map(|part| child_status(part, why(part))).collect(),
    }
}

fn child_status(part: &Part<'_>, not_counted: Option<&str>) -> ChildStatus {
    let counts = not_counted.is_none();
    // A child without a value counts with 0.
    let progress = part.progress.clone().or_else(|| counts.then(|| integer(0)));
    let share = part.share.filter(|_| counts);
    let of_hundred = |part: u64, sum: u64| Exact::new_raw((part * 100).into(), sum.into());
    let contribution = share
        .zip(progress.as_ref())
        .map(|((part, sum), progress)| Exact::new_raw(progress.numer() * part, progress.denom() * sum));
    ChildStatus {
        kind: part.child.kind.name().to_owned(),
        namespace: part.child.namespace.to_string(),
        name: part.child.name.to_string(),
        okr_status: part.child.okr_status,
        weight_percent: share.map(|(part, sum)| two_places(&of_hundred(part, sum))),
        progress_percent: progress.as_ref().map(two_places),
        contribution: contribution.as_ref().map(two_places),
        not_counted: not_counted.map(str::to_owned),
    }
}
