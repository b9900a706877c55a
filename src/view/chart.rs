//! A history as a chart, in days and values: the points, the line they should follow, and what lies on either side of
//! it. Where that is drawn on a page is not decided here. Floating point is for drawing alone.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::{
    api::{Expected, Forecast, HistoryPoint, Measure, OkrStatus, Period, Phase},
    domain::{
        calendar,
        judgement::Gaps,
        number::{self, Exact, two_places},
        progress,
    },
};

/// Somewhere on a chart: seconds since the epoch, and a value.
pub type Place = (f64, f64);

#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// The first and last second shown.
    pub times: (f64, f64),
    /// Where its days begin and end.
    pub zone: TimeZone,
    /// The least and the greatest value shown.
    pub values: (f64, f64),
    pub points: Vec<Point>,
    /// Where the value should be. Empty for measures that have no way to a target.
    pub expected: Vec<Place>,
    /// The areas in which a value means a status, from the worst to the best; each a polygon.
    pub zones: Vec<Zone>,
    pub target: Option<f64>,
    /// From the last point to where the history leads.
    pub forecast: Option<(Place, Place)>,
    pub now: Option<f64>,
}

/// A past value.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub time: Timestamp,
    /// As BigQuery wrote it.
    pub value: String,
    /// In percent. None for a baseline.
    pub progress: Option<String>,
    pub at: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    pub okr_status: OkrStatus,
    pub corners: Vec<Place>,
}

/// What a chart is made from.
#[derive(Debug, Clone, Copy)]
pub struct Drawn<'a> {
    pub measure: &'a Measure,
    pub history: &'a [HistoryPoint],
    pub period: Option<&'a Period>,
    pub expected: Option<&'a Expected>,
    pub gaps: &'a Gaps,
    pub forecast: Option<&'a Forecast>,
    pub now: Timestamp,
}

/// The past values that are numbers, with their progress.
pub fn points(measure: &Measure, history: &[HistoryPoint]) -> Vec<Point> {
    let read = |point: &HistoryPoint| {
        let exact = number::parse(&point.value)?;
        let at = (seconds(point.time.0), float(&exact)?);
        let progress = progress::progress(measure, &exact).as_ref().map(two_places);
        Some(Point { time: point.time.0, value: point.value.clone(), progress, at })
    };
    history.iter().filter_map(read).collect()
}

/// None where there is nothing to draw, or nothing that fits on paper.
pub fn chart(drawn: &Drawn<'_>) -> Option<Chart> {
    let points = points(drawn.measure, drawn.history);
    let zone = calendar::zone(drawn.period)?;
    let days = drawn.period.and_then(|period| {
        let day = |date: Date| calendar::start_of_day(date, &zone).map(seconds);
        // The last day is a part of the period. Its last second, so that the axis does not end with the day after.
        Some((day(period.start_date.0)?, day(period.end_date.0.tomorrow().ok()?)? - 1.0))
    });
    let (first, last) = (points.first()?.at.0, points.last()?.at.0);
    let times = match days {
        Some((start, end)) => (start.min(first), end.max(last)),
        // A lone point stands in the middle of two days.
        None if first == last => (first - DAY, last + DAY),
        None => (first, last),
    };
    let way = way(drawn.measure);
    let forecast = drawn.forecast.zip(days).and_then(|(forecast, (_, end))| {
        let value = forecast.end_value.parse::<f64>().ok()?;
        let from = points.last()?.at;
        (end > from.0).then_some((from, (end, value)))
    });
    let expected = match (way, drawn.period) {
        (Some(way), Some(period)) => expected_line(period, drawn.expected, way, times, &zone),
        _ => Vec::new(),
    };
    let bounds = bounds(drawn.measure);
    let all = points
        .iter()
        .map(|point| point.at.1)
        .chain(expected.iter().map(|place| place.1))
        .chain(bounds.iter().map(|(bound, _)| *bound))
        .chain(forecast.map(|(_, (_, value))| value));
    let values = padded(all)?;
    let zones = match way {
        Some(way) if !expected.is_empty() => zones_along(&expected, way, drawn.gaps, values),
        _ => zones_between(drawn.measure, &bounds, times, values),
    };
    let now = Some(seconds(drawn.now)).filter(|now| (times.0..=times.1).contains(now));
    let target = way.map(|(_, target)| target);
    Some(Chart { times, zone, values, points, expected, zones, target, forecast, now })
}

const DAY: f64 = 86_400.0;

fn seconds(time: Timestamp) -> f64 {
    time.as_second() as f64
}

fn float(exact: &Exact) -> Option<f64> {
    num_traits::ToPrimitive::to_f64(exact).filter(|value| value.is_finite())
}

fn decimal(decimal: &crate::api::Decimal) -> f64 {
    float(&decimal.into()).unwrap_or_default()
}

/// Where the way to a target begins and ends.
fn way(measure: &Measure) -> Option<(f64, f64)> {
    match measure {
        Measure::Percent(_) => Some((0.0, 100.0)),
        Measure::Reach(reach) => Some((0.0, decimal(&reach.target))),
        Measure::Increase(increase) => Some((decimal(&increase.from), decimal(&increase.target))),
        Measure::Decrease(decrease) => Some((decimal(&decrease.from), decimal(&decrease.target))),
        Measure::StayBelow(_) | Measure::StayAbove(_) | Measure::StayBetween(_) | Measure::Baseline(_) => None,
    }
}

/// Where a bound divides values, with the status below it; the greatest last. What lies above the last is in
/// [`above`].
fn bounds(measure: &Measure) -> Vec<(f64, OkrStatus)> {
    use OkrStatus::{AtRisk, Behind, OnTrack};
    match measure {
        Measure::StayBelow(bound) => {
            let risk = bound.risk_threshold.as_ref().map(|risk| (decimal(risk), Behind));
            std::iter::once((decimal(&bound.target), OnTrack)).chain(risk).collect()
        }
        Measure::StayAbove(bound) => match &bound.risk_threshold {
            Some(risk) => vec![(decimal(risk), AtRisk), (decimal(&bound.target), Behind)],
            None => vec![(decimal(&bound.target), AtRisk)],
        },
        Measure::StayBetween(between) => {
            vec![(decimal(&between.lower), AtRisk), (decimal(&between.upper), OnTrack)]
        }
        Measure::Percent(_)
        | Measure::Reach(_)
        | Measure::Increase(_)
        | Measure::Decrease(_)
        | Measure::Baseline(_) => Vec::new(),
    }
}

/// The status above all bounds.
fn above(measure: &Measure) -> OkrStatus {
    if matches!(measure, Measure::StayAbove(_)) { OkrStatus::OnTrack } else { OkrStatus::AtRisk }
}

fn expected_line(
    period: &Period,
    expected: Option<&Expected>,
    (from, target): (f64, f64),
    times: (f64, f64),
    zone: &TimeZone,
) -> Vec<Place> {
    let day = |date: Date| calendar::start_of_day(date, zone).map(seconds);
    let (Some(start), Some(end)) = (day(period.start_date.0), day(period.end_date.0)) else { return Vec::new() };
    let phases = expected.map(|expected| expected.phases.as_slice()).unwrap_or_default();
    let phase = |phase: &Phase| Some((day(phase.date.0)?, decimal(&phase.target)));
    let mut line = vec![(times.0, from), (start, from)];
    line.extend(phases.iter().filter_map(phase));
    line.extend([(end, target), (times.1, target)]);
    line.dedup();
    line
}

/// Beside the expected line: the gaps are percentage points of the way.
fn zones_along(expected: &[Place], (from, target): (f64, f64), gaps: &Gaps, values: (f64, f64)) -> Vec<Zone> {
    let behind_by = |gap: &Exact| {
        let distance = float(gap).unwrap_or_default() / 100.0 * (target - from);
        expected.iter().map(|(time, value)| (*time, value - distance)).collect::<Vec<_>>()
    };
    let (behind, at_risk) = (behind_by(&gaps.behind), behind_by(&gaps.at_risk));
    let (best, worst) = if target > from { (values.1, values.0) } else { (values.0, values.1) };
    let edge = |value: f64| expected.iter().map(|(time, _)| (*time, value)).collect::<Vec<_>>();
    let between = |one: &[Place], other: &[Place]| one.iter().chain(other.iter().rev()).copied().collect();
    vec![
        Zone { okr_status: OkrStatus::AtRisk, corners: between(&at_risk, &edge(worst)) },
        Zone { okr_status: OkrStatus::Behind, corners: between(&behind, &at_risk) },
        Zone { okr_status: OkrStatus::OnTrack, corners: between(&behind, &edge(best)) },
    ]
}

fn zones_between(measure: &Measure, bounds: &[(f64, OkrStatus)], times: (f64, f64), values: (f64, f64)) -> Vec<Zone> {
    if bounds.is_empty() {
        return Vec::new();
    }
    let mut low = values.0;
    let top = (values.1, above(measure));
    let zones = bounds.iter().chain([&top]).map(|&(high, okr_status)| {
        let corners = vec![(times.0, low), (times.1, low), (times.1, high), (times.0, high)];
        low = high;
        Zone { okr_status, corners }
    });
    zones.collect()
}

/// The least and the greatest with a little room. None for what is wider than numbers are.
fn padded(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (least, greatest) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| (least.min(value), greatest.max(value)));
    let room = match (greatest - least) * 0.06 {
        0.0 => (least.abs() * 0.1).max(1.0),
        room => room,
    };
    let (low, high) = (least - room, greatest + room);
    (low.is_finite() && high.is_finite() && (high - low).is_finite() && high > low).then_some((low, high))
}
