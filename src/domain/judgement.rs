//! On Track, Behind or At Risk: where every okrStatus is decided.

use jiff::civil::Date;

use crate::api::{CheckIn, Lifecycle, Measure, OkrStatus, Period, Thresholds};

use super::number::{self, Exact, clamp_percent};

/// The gaps behind expected progress, in percentage points, above which a status worsens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gaps {
    /// `Behind` above this.
    pub behind: Exact,
    /// `AtRisk` above this.
    pub at_risk: Exact,
}

impl Default for Gaps {
    /// Those of an operator whose flags set none: Behind above 0, AtRisk above 25 (SPEC 3).
    fn default() -> Self {
        Self { behind: number::integer(0), at_risk: number::integer(25) }
    }
}

impl Gaps {
    /// Each threshold by itself: the spec's, else the operator's.
    pub fn of(thresholds: Option<&Thresholds>, operator: &Gaps) -> Self {
        let behind = thresholds.and_then(|thresholds| thresholds.behind.as_ref());
        let at_risk = thresholds.and_then(|thresholds| thresholds.at_risk.as_ref());
        Self {
            behind: behind.map_or_else(|| operator.behind.clone(), Exact::from),
            at_risk: at_risk.map_or_else(|| operator.at_risk.clone(), Exact::from),
        }
    }
}

/// The status that the numbers alone give: `NotStarted` without a value. None where it cannot be said, because the
/// day is not known in a time zone that does not exist.
pub fn computed(
    measure: &Measure,
    value: Option<&Exact>,
    progress: Option<&Exact>,
    expected: Option<&Exact>,
    gaps: &Gaps,
) -> Option<OkrStatus> {
    let Some(value) = value else { return Some(OkrStatus::NotStarted) };
    match measure {
        Measure::Percent(_) | Measure::Reach(_) | Measure::Increase(_) | Measure::Decrease(_) => {
            Some(by_gap(progress?, expected?, gaps))
        }
        Measure::StayBelow(bound) => {
            let risk = bound.risk_threshold.as_ref().map(Exact::from);
            Some(by_bound(*value < (&bound.target).into(), risk.is_some_and(|risk| *value < risk)))
        }
        Measure::StayAbove(bound) => {
            let risk = bound.risk_threshold.as_ref().map(Exact::from);
            Some(by_bound(*value > (&bound.target).into(), risk.is_some_and(|risk| *value > risk)))
        }
        Measure::StayBetween(bounds) => {
            Some(by_bound(*value >= (&bounds.lower).into() && *value <= (&bounds.upper).into(), false))
        }
        Measure::Baseline(_) => Some(OkrStatus::InProgress),
    }
}

/// SPEC 2, with gap = expected - progress: gap > atRisk: AtRisk; behind < gap <= atRisk: Behind; else OnTrack. Compared
/// as exact fractions.
pub fn by_gap(progress: &Exact, expected: &Exact, gaps: &Gaps) -> OkrStatus {
    if *progress < expected - &gaps.at_risk {
        OkrStatus::AtRisk
    } else if *progress < expected - &gaps.behind {
        OkrStatus::Behind
    } else {
        OkrStatus::OnTrack
    }
}

fn by_bound(kept: bool, within_risk: bool) -> OkrStatus {
    match (kept, within_risk) {
        (true, _) => OkrStatus::OnTrack,
        (false, true) => OkrStatus::Behind,
        (false, false) => OkrStatus::AtRisk,
    }
}

/// The status that counts, the first that applies: lifecycle, before the start, a check-in in force, the numbers.
///
/// `today` is None in a time zone that does not exist: then only the lifecycle can be told.
pub fn okr_status(
    lifecycle: Lifecycle,
    period: Option<&Period>,
    check_in: Option<&CheckIn>,
    computed: Option<OkrStatus>,
    today: Option<Date>,
) -> Option<OkrStatus> {
    match lifecycle {
        Lifecycle::Closed => return Some(OkrStatus::Closed),
        Lifecycle::Postponed => return Some(OkrStatus::Postponed),
        Lifecycle::Active => {}
    }
    let today = today?;
    if period.is_some_and(|period| today < period.start_date.0) {
        return Some(OkrStatus::NotStarted);
    }
    match check_in.filter(|check_in| in_force(check_in, today)) {
        Some(check_in) => Some(check_in.okr_status.into()),
        None => computed,
    }
}

/// The statuses that a child's may give to its objective, the worst first (SPEC 6); `Closed` and `Postponed` only where
/// there is no other.
pub const WORST_FIRST: [OkrStatus; 7] = [
    OkrStatus::AtRisk,
    OkrStatus::Behind,
    OkrStatus::OnTrack,
    OkrStatus::InProgress,
    OkrStatus::NotStarted,
    OkrStatus::Closed,
    OkrStatus::Postponed,
];

/// A check-in counts up to and including its last day.
pub fn in_force(check_in: &CheckIn, today: Date) -> bool {
    today <= check_in.until.0
}

/// Progress from 0 to 1.
pub fn score(progress: &Exact) -> Exact {
    let progress = clamp_percent(progress);
    Exact::new_raw(progress.numer().clone(), progress.denom() * 100)
}
