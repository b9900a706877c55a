//! Days and their beginnings in a time zone.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use crate::api::{Period, Time};

/// The IANA time zone of a period, UTC where none is named. None where the name is unknown.
///
/// The database is the one compiled in: the same name means the same days on every machine.
pub fn zone(period: Option<&Period>) -> Option<TimeZone> {
    match period.and_then(|period| period.time_zone.as_deref()) {
        None => Some(TimeZone::UTC),
        Some(name) => jiff::tz::TimeZoneDatabase::bundled().get(name).ok().filter(|zone| !zone.is_unknown()),
    }
}

/// The calendar day at `time`.
pub fn day(time: Timestamp, zone: &TimeZone) -> Date {
    time.to_zoned(zone.clone()).date()
}

/// 00:00 of `date`; where a clock change leaves that out, the first moment of the day.
pub fn start_of_day(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    date.to_zoned(zone.clone()).ok().and_then(|noon| noon.start_of_day().ok()).map(|start| start.timestamp())
}

/// `time` plus `duration`, which `+` would panic on beyond year 9999: times in a status may be anybody's.
pub fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    let end = if duration.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    time.checked_add(duration).unwrap_or(end)
}

/// Kubernetes writes whole seconds; a status built from anything finer would differ from itself once read back.
pub fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).expect("the second of a timestamp is a timestamp"))
}

/// A time as people read it: 2026-11-24T07:00:00Z.
pub fn text(time: Timestamp) -> String {
    whole_seconds(time).0.to_string()
}
