//! Past values: few enough to keep in the object, enough to draw a line.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::api::{HistoryPoint, Measure, Period};

use super::calendar::{self, whole_seconds};

/// SPEC 2: at most this many points.
pub const MOST_POINTS: usize = 120;

/// Adds a value read at `time`. A point is added when at least a hundredth of the period (without one: a day) lies
/// between it and the point before the last; else it takes the last one's place.
pub fn record(history: &mut Vec<HistoryPoint>, value: &str, time: Timestamp, period: Option<&Period>) {
    let point = HistoryPoint { time: whole_seconds(time), value: value.to_owned() };
    // What came after it was corrected, or was written by others: points ascend.
    history.retain(|before| before.time < point.time);
    let apart = match history.as_slice() {
        [.., before_last, _] => point.time.0.duration_since(before_last.time.0) >= spacing(period),
        _ => true,
    };
    if !apart {
        history.pop();
    }
    history.push(point);
    while history.len() > MOST_POINTS {
        thin(history);
    }
}

/// SPEC 6: one point of progress a day, in `zone`. A change within the day takes the place of that day's point.
pub fn record_daily(history: &mut Vec<HistoryPoint>, value: &str, time: Timestamp, zone: &TimeZone) {
    let today = calendar::day(time, zone);
    let same = |point: &&HistoryPoint| calendar::day(point.time.0, zone) == today && point.value == value;
    let unchanged = history.iter().find(same).cloned();
    // What came after it was written by others: points ascend.
    history.retain(|before| calendar::day(before.time.0, zone) < today);
    history.push(unchanged.unwrap_or_else(|| HistoryPoint { time: whole_seconds(time), value: value.to_owned() }));
    while history.len() > MOST_POINTS {
        thin(history);
    }
}

/// What the points of a roll-up are recorded for; see [`basis`].
pub const ROLL_UP: &str = "rollUp";

/// What the points were recorded for. Points of another kind of measure, start value or unit cannot be compared.
pub fn basis(measure: &Measure, unit: Option<&str>) -> String {
    let kind = match measure {
        Measure::Percent(_) => "percent".to_owned(),
        Measure::Reach(_) => "reach".to_owned(),
        Measure::Increase(increase) => format!("increase from {}", increase.from),
        Measure::Decrease(decrease) => format!("decrease from {}", decrease.from),
        Measure::StayBelow(_) => "stayBelow".to_owned(),
        Measure::StayAbove(_) => "stayAbove".to_owned(),
        Measure::StayBetween(_) => "stayBetween".to_owned(),
        Measure::Baseline(_) => "baseline".to_owned(),
    };
    match unit {
        Some(unit) => format!("{kind}, {unit}"),
        None => kind,
    }
}

/// Drops every second point and keeps the first and the latest.
fn thin(history: &mut Vec<HistoryPoint>) {
    let last = history.len() - 1;
    let mut index = 0;
    history.retain(|_| {
        let keep = index % 2 == 0 || index == last;
        index += 1;
        keep
    });
}

fn spacing(period: Option<&Period>) -> SignedDuration {
    let days = period.map_or(100, |period| i64::from((period.end_date.0 - period.start_date.0).get_days()));
    SignedDuration::from_hours(24 * days) / 100
}
