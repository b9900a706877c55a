//! How a status follows from the numbers, in one sentence fit to be read aloud.

use jiff::civil::Date;
use num_traits::{Signed, Zero};

use crate::api::{Decimal, Duration, Lifecycle, Measure, OkrStatus};

use super::{
    judgement::{Gaps, in_force},
    measured::Measured,
    number::{Exact, two_places},
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
    parts.extend(lifecycle(facts));
    parts.push(match facts.value {
        None => without_value(facts),
        Some(value) => with_value(facts, value),
    });
    parts.extend(check_in(facts));
    parts.extend(facts.raised_to.map(|least| {
        format!("the interval of {} is raised to the connection's least, {least}", facts.measured.interval)
    }));
    let text = parts.join("; ");
    match facts.value_of {
        Some(time) => format!("Value of {time}: {text}."),
        None => format!("{}.", capitalised(&text)),
    }
}

fn lifecycle(facts: &Facts<'_>) -> Option<String> {
    let start = facts.measured.period.map(|period| period.start_date);
    match (facts.measured.lifecycle, facts.today, start) {
        (Lifecycle::Closed, Some(today), _) => Some(format!("closed on {today}")),
        (Lifecycle::Closed, None, _) => Some("closed".to_owned()),
        (Lifecycle::Postponed, _, _) => Some("postponed".to_owned()),
        (Lifecycle::Active, Some(today), Some(start)) if today < start.0 => Some(format!("not started before {start}")),
        (Lifecycle::Active, _, _) => None,
    }
}

fn without_value(facts: &Facts<'_>) -> String {
    match (facts.expected, expected_on(facts)) {
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
    let (Some(expected), Some(today), Some(progress)) = (facts.expected, expected_on(facts), facts.progress) else {
        return done;
    };
    let gap = expected - progress;
    let gaps = facts.gaps;
    let (behind, at_risk) = (two_places(&gaps.behind), two_places(&gaps.at_risk));
    let points = points(&gap.abs());
    let distance = if gap.is_positive() {
        format!("{points} behind")
    } else if gap.is_zero() {
        "exactly that".to_owned()
    } else {
        format!("{points} ahead")
    };
    let verdict = match facts.computed {
        Some(OkrStatus::AtRisk) => format!("more than {at_risk}, so AtRisk"),
        Some(OkrStatus::Behind) => format!("more than {behind} but not more than {at_risk}, so Behind"),
        Some(other) => format!("so {}", other.name()),
        None => "not decided".to_owned(),
    };
    format!("{done}, where {} % is expected on {today}: {distance}, {verdict}", two_places(expected))
}

/// The day of the expectation: today, or the nearest day of the period, on which the same is expected. So a sentence
/// before the start and after the end stays as it is from day to day.
fn expected_on(facts: &Facts<'_>) -> Option<Date> {
    let today = facts.today?;
    Some(facts.measured.period.map_or(today, |period| today.max(period.start_date.0).min(period.end_date.0)))
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

fn check_in(facts: &Facts<'_>) -> Option<String> {
    let check_in = facts.measured.check_in?;
    if facts.measured.lifecycle != Lifecycle::Active || !in_force(check_in, facts.today?) {
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
