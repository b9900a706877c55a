//! How a status follows from the numbers, in one sentence fit to be read aloud.

use jiff::civil::Date;
use num_traits::{Signed, Zero};

use crate::api::{CheckIn, Decimal, Duration, Lifecycle, Measure, ObjectiveRef, OkrStatus, Period, StatusFrom};

use super::{
    child::{self, Child},
    judgement::{Gaps, in_force},
    measured::Measured,
    number::{Exact, difference, two_places},
    objective::ObjectiveProblem,
    reason::Reason,
    status::Standing,
};

/// What the sentence is made of.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub measured: &'a Measured<'a>,
    /// The value as BigQuery or a person wrote it.
    pub value: Option<&'a str>,
    pub progress: Option<&'a Exact>,
    pub expected: Option<&'a Exact>,
    pub computed: Option<OkrStatus>,
    pub gaps: &'a Gaps,
    pub today: Option<Date>,
    /// When the value was read, where the last attempt gave no newer one.
    pub value_of: Option<&'a str>,
    /// The connection's least interval, where it is longer than the one asked for.
    pub raised_to: Option<Duration>,
}

pub fn sentence(facts: &Facts<'_>) -> String {
    let mut parts = Vec::new();
    let measured = facts.measured;
    parts.extend(lifecycle(measured.lifecycle, measured.period, facts.today));
    parts.push(match facts.value {
        None => without_value(facts),
        Some(value) => with_value(facts, value),
    });
    parts.extend(check_in(measured.lifecycle, measured.check_in, facts.today));
    parts.extend(facts.raised_to.map(|least| {
        format!("the interval of {} is raised to the connection's least, {least}", facts.measured.interval)
    }));
    parts.extend(idle_children(measured.idle_children));
    parts.extend(objective_problem(measured.objective_problem, measured.objective, measured.namespace));
    match facts.value_of {
        Some(time) => format!("Value of {time}: {}.", parts.join("; ")),
        None => one_sentence(&parts),
    }
}

/// `parts` as one sentence.
pub(super) fn one_sentence(parts: &[String]) -> String {
    format!("{}.", capitalised(&parts.join("; ")))
}

fn idle_children(count: usize) -> Option<String> {
    match count {
        0 => None,
        1 => Some("1 child counts for nothing, because the objective has a measure of its own".to_owned()),
        _ => Some(format!("{count} children count for nothing, because the objective has a measure of its own")),
    }
}

pub(super) fn objective_problem(
    problem: Option<ObjectiveProblem>,
    objective: Option<&ObjectiveRef>,
    namespace: &str,
) -> Option<String> {
    Some(problem?.text(objective?, namespace))
}

pub(super) fn lifecycle(lifecycle: Lifecycle, period: Option<&Period>, today: Option<Date>) -> Option<String> {
    let start = period.map(|period| period.start_date);
    match (lifecycle, today, start) {
        (Lifecycle::Closed, Some(today), _) => Some(format!("closed on {today}")),
        (Lifecycle::Closed, None, _) => Some("closed".to_owned()),
        (Lifecycle::Postponed, _, _) => Some("postponed".to_owned()),
        (Lifecycle::Active, Some(today), Some(start)) if today < start.0 => Some(format!("not started before {start}")),
        (Lifecycle::Active, _, _) => None,
    }
}

fn without_value(facts: &Facts<'_>) -> String {
    match (facts.expected, expected_on(facts.measured.period, facts.today)) {
        (Some(expected), Some(today)) => {
            format!("there is no value yet, and {} % progress is expected on {today}", two_places(expected))
        }
        _ => "there is no value yet".to_owned(),
    }
}

fn with_value(facts: &Facts<'_>, value: &str) -> String {
    let unit = facts.measured.unit.map(|unit| format!(" {unit}")).unwrap_or_default();
    let status = facts.computed.map_or("not decided", OkrStatus::name);
    match facts.measured.measure {
        Measure::Percent(_) => by_expected(facts, &format!("{value} % is done")),
        Measure::Reach(reach) => by_expected(facts, &format!("{value} of {}{unit}", reach.target)),
        Measure::Increase(increase) => {
            by_expected(facts, &format!("{value}{unit} on the way from {} to {}", increase.from, increase.target))
        }
        Measure::Decrease(decrease) => {
            by_expected(facts, &format!("{value}{unit} on the way from {} to {}", decrease.from, decrease.target))
        }
        Measure::StayBelow(bound) => {
            let kept = by_bound(facts, "below", &bound.target, bound.risk_threshold.as_ref());
            format!("{value}{unit} {kept}: {status}")
        }
        Measure::StayAbove(bound) => {
            let kept = by_bound(facts, "above", &bound.target, bound.risk_threshold.as_ref());
            format!("{value}{unit} {kept}: {status}")
        }
        Measure::StayBetween(bounds) => {
            let word = if facts.computed == Some(OkrStatus::OnTrack) { "is" } else { "is not" };
            format!("{value}{unit} {word} between {} and {}: {status}", bounds.lower, bounds.upper)
        }
        Measure::Baseline(_) => format!("{value}{unit} is recorded without a target: {status}"),
    }
}

/// `side` is below or above.
fn by_bound(facts: &Facts<'_>, side: &str, target: &Decimal, risk: Option<&Decimal>) -> String {
    match (facts.computed, risk) {
        (Some(OkrStatus::OnTrack), _) => format!("is {side} {target}"),
        (Some(OkrStatus::Behind), Some(risk)) => format!("is not {side} {target}, but {side} {risk}"),
        (_, Some(risk)) => format!("is not {side} {target}, nor {side} {risk}"),
        (_, None) => format!("is not {side} {target}"),
    }
}

fn by_expected(facts: &Facts<'_>, done: &str) -> String {
    let is_percent = matches!(facts.measured.measure, Measure::Percent(_));
    let progress = facts.progress.map(two_places).unwrap_or_default();
    let done = if is_percent { done.to_owned() } else { format!("{done} is {progress} % progress") };
    let expected_on = expected_on(facts.measured.period, facts.today);
    let (Some(expected), Some(today), Some(progress)) = (facts.expected, expected_on, facts.progress) else {
        return done;
    };
    format!("{done}, {}", against(progress, expected, today, facts.gaps, facts.computed))
}

/// How `progress` lies to what is expected `on` a day, and the status that follows.
pub(super) fn against(
    progress: &Exact,
    expected: &Exact,
    on: Date,
    gaps: &Gaps,
    computed: Option<OkrStatus>,
) -> String {
    let gap = difference(expected, progress);
    let (behind, at_risk) = (two_places(&gaps.behind), two_places(&gaps.at_risk));
    let points = points(&gap.abs());
    let distance = if gap.is_positive() {
        format!("{points} behind")
    } else if gap.is_zero() {
        "exactly that".to_owned()
    } else {
        format!("{points} ahead")
    };
    let verdict = match computed {
        Some(OkrStatus::AtRisk) => format!("more than {at_risk}, so AtRisk"),
        Some(OkrStatus::Behind) => format!("more than {behind} but not more than {at_risk}, so Behind"),
        Some(other) => format!("so {}", other.name()),
        None => "not decided".to_owned(),
    };
    format!("where {} % is expected on {on}: {distance}, {verdict}", two_places(expected))
}

/// The day of the expectation: today, or the nearest day of the period, on which the same is expected. So a sentence
/// before the start and after the end stays as it is from day to day.
pub(super) fn expected_on(period: Option<&Period>, today: Option<Date>) -> Option<Date> {
    let today = today?;
    Some(period.map_or(today, |period| today.max(period.start_date.0).min(period.end_date.0)))
}

/// A gap too small to show must not read as none.
fn points(gap: &Exact) -> String {
    let text = two_places(gap);
    match text.as_str() {
        "0" if !gap.is_zero() => "less than 0.01 points".to_owned(),
        "1" => "1 point".to_owned(),
        _ => format!("{text} points"),
    }
}

pub(super) fn check_in(lifecycle: Lifecycle, check_in: Option<&CheckIn>, today: Option<Date>) -> Option<String> {
    let check_in = check_in?;
    if lifecycle != Lifecycle::Active || !in_force(check_in, today?) {
        return None;
    }
    let status = OkrStatus::from(check_in.okr_status).name();
    Some(format!("checked in as {status} until {}: {}", check_in.until, check_in.note.trim_end_matches('.')))
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// What the sentence of a roll-up is made of.
pub(super) struct RollUpFacts<'a> {
    pub standing: &'a Standing<'a>,
    pub gaps: &'a Gaps,
    pub computed: Option<OkrStatus>,
    /// Of its Ready condition.
    pub reason: Reason,
    /// The names of the cycle that it is part of.
    pub cycle: &'a [String],
    pub status_from: StatusFrom,
    pub children: &'a [child::Part<'a>],
    pub worst: Option<&'a Child>,
    /// How many children have a value that is not fresh.
    pub stale: u32,
    /// How many children the status does not list.
    pub unlisted: usize,
    pub objective_problem: Option<ObjectiveProblem>,
    pub objective: Option<&'a ObjectiveRef>,
    pub namespace: &'a str,
}

impl RollUpFacts<'_> {
    fn is_closed(&self) -> bool {
        self.standing.lifecycle == Lifecycle::Closed
    }
}

pub(super) fn roll_up(facts: &RollUpFacts<'_>) -> String {
    let standing = facts.standing;
    let mut parts = Vec::new();
    parts.extend(lifecycle(standing.lifecycle, standing.period, standing.today));
    parts.push(rolled_up(facts));
    parts.extend(check_in(standing.lifecycle, standing.check_in, standing.today));
    // Nothing follows from the children of a closed one any more.
    if !facts.is_closed() {
        parts.extend(match facts.stale {
            0 => None,
            1 => Some("the value of 1 child is not fresh".to_owned()),
            count => Some(format!("the values of {count} children are not fresh")),
        });
        parts.extend((facts.unlisted > 0).then(|| format!("{} more children are not listed", facts.unlisted)));
    }
    parts.extend(objective_problem(facts.objective_problem, facts.objective, facts.namespace));
    one_sentence(&parts)
}

fn rolled_up(facts: &RollUpFacts<'_>) -> String {
    let standing = facts.standing;
    let worst = || match facts.worst {
        Some(child) if matches!(facts.computed, Some(OkrStatus::Closed | OkrStatus::Postponed)) => {
            format!("no child is worked on, so {}", child.okr_status.map_or("NotStarted", OkrStatus::name))
        }
        Some(child) => format!(
            "the worst child is {}/{}, so {}",
            child.namespace,
            child.name,
            facts.computed.map_or("not decided", OkrStatus::name)
        ),
        None => "no key result or objective refers to it, so NotStarted".to_owned(),
    };
    let Some(progress) = standing.progress else {
        return match (facts.reason, facts.children.len()) {
            _ if facts.is_closed() => "there was no progress".to_owned(),
            (Reason::Cycle, _) => {
                format!("there is no progress, because it is a part of itself: {}", names(facts.cycle))
            }
            (_, 0) => worst(),
            (Reason::WeightsAboveHundred, _) => {
                format!("there is no progress, because the weights are above 100 in sum; {}", worst())
            }
            _ if standing.period.is_none() => format!("without a period there is no progress; {}", worst()),
            _ => format!("none of the children counts for progress; {}", worst()),
        };
    };
    let done = if facts.is_closed() {
        format!("progress is frozen at {} %", two_places(progress))
    } else {
        format!("{} {} % progress", sum(facts.children), two_places(progress))
    };
    match (facts.status_from, standing.expected, expected_on(standing.period, standing.today)) {
        (StatusFrom::KeyResults, ..) if facts.is_closed() => done,
        (StatusFrom::KeyResults, ..) => format!("{done}; {}", worst()),
        (StatusFrom::Progress, Some(expected), Some(on)) => {
            format!("{done}, {}", against(progress, expected, on, facts.gaps, facts.computed))
        }
        (StatusFrom::Progress, ..) => done,
    }
}

/// As many terms of a sum as can be followed by ear.
const MOST_TERMS: usize = 4;

/// The arithmetic of a roll-up, up to its result.
fn sum(children: &[child::Part<'_>]) -> String {
    let counting: Vec<_> = children.iter().filter_map(|child| Some((child, child.share?))).collect();
    if counting.len() > MOST_TERMS {
        return format!("{} of {} children count and give", counting.len(), children.len());
    }
    let mut terms: Vec<(&str, String)> = counting
        .into_iter()
        .map(|(child, (part, of))| {
            let weight = two_places(&Exact::new_raw((part * 100).into(), of.into()));
            let progress = child.progress.as_ref().map_or_else(|| "0".to_owned(), two_places);
            (&*child.child.name, format!("{weight} % of {progress}"))
        })
        .collect();
    terms.sort();
    let terms: Vec<String> = terms.into_iter().map(|(_, term)| term).collect();
    let verb = if terms.len() == 1 { "gives" } else { "give" };
    format!("{} {verb}", list(&terms))
}

/// As many names as can be followed by ear.
const MOST_NAMES: usize = 10;

/// `names` as a list, shortened where there are many.
pub(super) fn names(names: &[String]) -> String {
    match names.len().checked_sub(MOST_NAMES) {
        None | Some(0) => list(names),
        Some(more) => format!("{} and {more} more", names[..MOST_NAMES].join(", ")),
    }
}

fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
