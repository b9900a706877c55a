//! How far a value is, and how far it should be: SPEC 2's formulas, exact.

use jiff::civil::Date;
use num_traits::Zero;

use crate::api::{Expected, Measure, Percent, Period};

use super::number::{Exact, integer};

/// Where the way to a target begins and ends.
pub(super) fn way(measure: &Measure) -> Option<(Exact, Exact)> {
    match measure {
        Measure::Percent(_) => Some((Exact::zero(), integer(100))),
        Measure::Reach(reach) => Some((Exact::zero(), (&reach.target).into())),
        Measure::Increase(increase) => Some(((&increase.from).into(), (&increase.target).into())),
        Measure::Decrease(decrease) => Some(((&decrease.from).into(), (&decrease.target).into())),
        Measure::StayBelow(_) | Measure::StayAbove(_) | Measure::StayBetween(_) | Measure::Baseline(_) => None,
    }
}

/// `(value - from) / (target - from) * 100`. None where from and target are equal, which admission refuses.
fn share(value: &Exact, (from, target): &(Exact, Exact)) -> Option<Exact> {
    let length = target - from;
    (!length.is_zero()).then(|| (value - from) / length * integer(100))
}

/// Progress in percent, not clamped; for measures that only keep a bound 100 while on track, else 0; none for a baseline.
pub fn progress(measure: &Measure, value: &Exact) -> Option<Exact> {
    let all_or_nothing = |kept: bool| Some(if kept { integer(100) } else { Exact::zero() });
    match measure {
        Measure::Percent(_) | Measure::Reach(_) | Measure::Increase(_) | Measure::Decrease(_) => {
            share(value, &way(measure)?)
        }
        Measure::StayBelow(bound) => all_or_nothing(*value < (&bound.target).into()),
        Measure::StayAbove(bound) => all_or_nothing(*value > (&bound.target).into()),
        Measure::StayBetween(bounds) => {
            all_or_nothing(*value >= (&bounds.lower).into() && *value <= (&bounds.upper).into())
        }
        Measure::Baseline(_) => None,
    }
}

/// The progress expected on `today`, in percent: 0 on the first day, 100 on the last and after. None for measures that
/// are not judged by it.
pub fn expected(measure: &Measure, period: &Period, expected: Option<&Expected>, today: Date) -> Option<Exact> {
    let way = way(measure)?;
    let (start, end) = (period.start_date.0, period.end_date.0);
    if today <= start {
        return Some(Exact::zero());
    }
    if today >= end {
        return Some(integer(100));
    }
    let phases = expected.map(|expected| expected.phases.as_slice()).unwrap_or_default();
    let mut from = (start, way.0.clone());
    let mut to = (end, way.1.clone());
    for phase in phases {
        if phase.date.0 <= today {
            from = (phase.date.0, (&phase.target).into());
        } else {
            to = (phase.date.0, (&phase.target).into());
            break;
        }
    }
    let value = &from.1 + (&to.1 - &from.1) * Exact::new(days(from.0, today).into(), days(from.0, to.0).into());
    share(&value, &way)
}

/// A roll-up has no measure: its progress is its value.
pub const ROLLED_UP: Measure = Measure::Percent(Percent {});

/// The same of a roll-up: along a straight line.
pub fn expected_of_roll_up(period: &Period, today: Date) -> Option<Exact> {
    expected(&ROLLED_UP, period, None, today)
}

/// The target in words, as the column shows it.
pub fn target_text(measure: &Measure) -> Option<String> {
    match measure {
        Measure::Percent(_) => Some("100 %".to_owned()),
        Measure::Reach(reach) => Some(reach.target.to_string()),
        Measure::Increase(increase) => Some(increase.target.to_string()),
        Measure::Decrease(decrease) => Some(decrease.target.to_string()),
        Measure::StayBelow(bound) => Some(format!("below {}", bound.target)),
        Measure::StayAbove(bound) => Some(format!("above {}", bound.target)),
        Measure::StayBetween(bounds) => Some(format!("{} to {}", bounds.lower, bounds.upper)),
        Measure::Baseline(_) => None,
    }
}

fn days(from: Date, to: Date) -> i64 {
    (to - from).get_days().into()
}
