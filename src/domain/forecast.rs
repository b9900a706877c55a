//! Where a history leads if it goes on as it did. For show only: no status follows from it, so floats will do.
//!
//! A function of history, measure and period, never of the present moment: an unchanged object keeps its forecast.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::api::{Date, Forecast, ForecastMethod, HistoryPoint, Measure, Period};

use super::{
    calendar::{self, start_of_day},
    number::{self, Exact, two_places},
    progress,
};

/// Fewer points, or points of less than a tenth of the period, would make a guess.
const LEAST_POINTS: usize = 5;
const LEAST_PART: i32 = 10;

/// Twice as many would take four times as long, at each look at each of ten thousand objects, and move the median little.
const MOST_POINTS: usize = 60;

/// A value at a moment, in seconds since the first.
#[derive(Debug, Clone, Copy)]
struct Point {
    seconds: f64,
    value: f64,
}

/// The forecast for something with a measure of its own; `zone` is that of the period. None where it would be a guess,
/// where a value is no finite number, once the period is over, and for a baseline, which leads nowhere.
pub fn forecast(history: &[HistoryPoint], measure: &Measure, period: &Period, zone: &TimeZone) -> Option<Forecast> {
    if matches!(measure, Measure::Baseline(_)) {
        return None;
    }
    let line = Line::through(history, period, zone)?;
    line.forecast(measure, line.value_at_end(), zone)
}

/// The forecast for a roll-up, whose history is its progress: that stays within 0 and 100.
pub fn of_roll_up(history: &[HistoryPoint], period: &Period, zone: &TimeZone) -> Option<Forecast> {
    let line = Line::through(history, period, zone)?;
    line.forecast(&progress::ROLLED_UP, line.value_at_end().clamp(0.0, 100.0), zone)
}

/// From the last value on, as steep as the history was: a count would otherwise be seen to fall where it rose faster
/// before.
struct Line {
    last_time: Timestamp,
    last: f64,
    /// Per second: the median of the slopes between all pairs of points, which a few wild values do not move.
    slope: f64,
    /// From the last point to the end of the period's last day.
    seconds_left: f64,
}

impl Line {
    fn through(history: &[HistoryPoint], period: &Period, zone: &TimeZone) -> Option<Self> {
        let start = start_of_day(period.start_date.0, zone)?;
        let end = start_of_day(period.end_date.0.tomorrow().ok()?, zone)?;
        let history: Vec<&HistoryPoint> = history.iter().filter(|point| point.time.0 >= start).collect();
        let (first, last) = (history.first()?.time.0, history.last()?.time.0);
        let enough = last.duration_since(first) >= end.duration_since(start) / LEAST_PART;
        if history.len() < LEAST_POINTS || !enough || last >= end {
            return None;
        }
        let point = |point: &&HistoryPoint| {
            let seconds = point.time.0.duration_since(first).as_secs_f64();
            let value: f64 = point.value.parse().ok()?;
            value.is_finite().then_some(Point { seconds, value })
        };
        // The latest, and back from it every second or so where there are many.
        let step = history.len().div_ceil(MOST_POINTS);
        let points = history.iter().rev().step_by(step).rev().map(point).collect::<Option<Vec<Point>>>()?;
        Some(Self {
            last_time: last,
            last: points.last()?.value,
            slope: median_slope(&points)?,
            seconds_left: end.duration_since(last).as_secs_f64(),
        })
    }

    fn value_at_end(&self) -> f64 {
        self.last + self.slope * self.seconds_left
    }

    fn forecast(&self, measure: &Measure, end_value: f64, zone: &TimeZone) -> Option<Forecast> {
        let way = progress::way(measure);
        // From what is not yet rounded: on a way from 10,000,000 to 10,000,500 the six digits shown are none of progress.
        let end_progress_percent = way.as_ref().and_then(|_| {
            let progress = progress::progress(measure, &Exact::from_float(end_value)?)?;
            Some(two_places(&progress))
        });
        let end_value = shown(end_value)?;
        let reaches_target_on =
            way.and_then(|(from, target)| self.reaches(number::to_f64(&target)?, target > from, zone));
        Some(Forecast { end_value, end_progress_percent, reaches_target_on, method: ForecastMethod::TheilSen })
    }

    /// The day on which `target` is reached, if it is not yet and will be within the period.
    fn reaches(&self, target: f64, upwards: bool, zone: &TimeZone) -> Option<Date> {
        let reached = if upwards { self.last >= target } else { self.last <= target };
        let seconds = (target - self.last) / self.slope;
        if reached || !(0.0..self.seconds_left).contains(&seconds) {
            return None;
        }
        let moment = calendar::after(self.last_time, SignedDuration::try_from_secs_f64(seconds).ok()?);
        Some(Date(calendar::day(moment, zone)))
    }
}

fn median_slope(points: &[Point]) -> Option<f64> {
    let mut slopes: Vec<f64> = Vec::with_capacity(points.len() * points.len() / 2);
    for (index, a) in points.iter().enumerate() {
        let later = points.iter().skip(index + 1);
        slopes.extend(later.filter(|b| b.seconds > a.seconds).map(|b| (b.value - a.value) / (b.seconds - a.seconds)));
    }
    if slopes.is_empty() {
        return None;
    }
    let count = slopes.len();
    let (below, middle, _) = slopes.select_nth_unstable_by(count / 2, f64::total_cmp);
    let middle = *middle;
    if count % 2 == 1 {
        return Some(middle);
    }
    let other = below.iter().copied().max_by(f64::total_cmp)?;
    Some(f64::midpoint(other, middle))
}

/// Rounded to six significant digits; without an exponent where people would write none. None for infinities.
fn shown(value: f64) -> Option<String> {
    let rounded: f64 = format!("{value:.5e}").parse().ok().filter(|value: &f64| value.is_finite())?;
    Some(if rounded == 0.0 {
        "0".to_owned()
    } else if (1e-6..1e15).contains(&rounded.abs()) {
        rounded.to_string()
    } else {
        format!("{rounded:E}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_values_are_shown_with_six_significant_digits() {
        let check = |value: f64, want: &str| assert_eq!(shown(value).as_deref(), Some(want), "{value}");
        check(62.0, "62");
        check(0.1 + 0.2, "0.3");
        check(1_234_567.8, "1234570");
        check(-99.949_999_99, "-99.95");
        check(-0.0, "0");
        check(0.000_012_345_678, "0.0000123457");
        check(1.5e300, "1.5E300");
        assert_eq!(shown(f64::NAN), None);
        assert_eq!(shown(f64::INFINITY), None);
    }
}
