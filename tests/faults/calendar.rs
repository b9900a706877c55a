//! What the calendar does to the clock: ends of months and of years, leap days, and clocks that are put forward or back.
//!
//! Several days go by in small steps, as they do for the running operator, but by a clock of our own.

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date, tz::TimeZone};
use okr_operator::{
    api::Duration,
    domain::{
        pass::Pass,
        schedule::{Slots, Why},
    },
};
use serde_json::json;

use crate::world::{World, hours, measured, minutes, seconds};

/// A day and the two around it, of a key result whose period has a hundred days with that one in the middle.
struct Days {
    zone: TimeZone,
    middle: Date,
    world: World,
    slots: Slots,
    syncs: Vec<Timestamp>,
    /// Each expected progress that was shown, with the time of its first writing.
    expected: Vec<(Timestamp, String)>,
}

impl Days {
    fn around(zone: &str, middle: &str, uid: &str, interval_hours: u64) -> Self {
        let middle: Date = middle.parse().unwrap();
        let (start, end) = (middle - 50.days(), middle + 50.days());
        let period = json!({"startDate": start.to_string(), "endDate": end.to_string(), "timeZone": zone});
        let mut world = World::new(json!({"period": period, "interval": format!("{interval_hours}h")}));
        world.key_result.metadata.uid = Some(uid.to_owned());
        let zone = TimeZone::get(zone).unwrap();
        world.now = (middle - 2.days()).at(12, 0, 0, 0).to_zoned(zone.clone()).unwrap().timestamp();
        let slots = Slots::new(uid, Duration::from_secs(interval_hours * 3600));
        Self { zone, middle, world, slots, syncs: Vec::new(), expected: Vec::new() }
    }

    fn today(&self) -> Date {
        self.world.now.to_zoned(self.zone.clone()).date()
    }

    /// What is to be done at this moment is done.
    fn look(&mut self) {
        for _ in 0..3 {
            match self.world.pass() {
                Pass::Wait(_) => break,
                Pass::Decide => self.world.decides(),
                Pass::Attempt { why, .. } => {
                    assert!(
                        self.syncs.is_empty() == (why == Why::New) && matches!(why, Why::New | Why::Slot),
                        "{why:?}"
                    );
                    self.syncs.push(self.world.now);
                    self.world.tries(measured("1"));
                }
            }
        }
        assert!(matches!(self.world.pass(), Pass::Wait(_)), "it never comes to rest at {}", self.world.now);
        let expected = self.world.status().expected_progress_percent.clone().unwrap();
        if self.expected.last().is_none_or(|(_, last)| *last != expected) {
            self.expected.push((self.world.now, expected));
        }
    }

    /// Small steps around midnight, larger ones elsewhere.
    fn step(&self) -> SignedDuration {
        let soon = (self.world.now + minutes(10)).to_zoned(self.zone.clone());
        if soon.date() != self.today() || soon.hour() == 0 { minutes(2) } else { minutes(12) }
    }

    fn live(&mut self) {
        let end = self.middle + 2.days();
        while self.today() <= end {
            self.look();
            self.the_day_is_right();
            self.world.wait(self.step());
        }
    }

    /// From 00:15 on the status is of today.
    fn the_day_is_right(&self) {
        let now = self.world.now;
        let start = now.to_zoned(self.zone.clone()).start_of_day().unwrap().timestamp();
        let days = |date: Date| (date - (self.middle - 50.days())).get_days().to_string();
        let shown = &self.expected.last().unwrap().1;
        let is_of_today = *shown == days(self.today());
        assert!(is_of_today || now.duration_since(start) < minutes(15), "{shown} percent at {now} ({})", self.today());
    }

    fn every_slot_had_its_sync(&self) {
        let (first, rest) = self.syncs.split_first().unwrap();
        let mut slot = self.slots.after(*first);
        for sync in rest {
            assert!(slot <= *sync && sync.duration_since(slot) <= minutes(12), "slot {slot}, sync {sync}");
            slot = self.slots.after(slot);
        }
        assert!(slot >= self.world.now - minutes(12), "no sync for slot {slot} by {}", self.world.now);
    }

    /// One step for each day that was, also where the calendar leaves one out.
    fn expected_progress_moved_once_a_day(&self) {
        let days: Vec<Date> = self.expected.iter().map(|(at, _)| at.to_zoned(self.zone.clone()).date()).collect();
        assert!(days.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", self.expected);
        let mut all = Vec::new();
        let mut moment = self.expected[0].0;
        while moment < self.world.now {
            all.push(moment.to_zoned(self.zone.clone()).date());
            moment += hours(1);
        }
        all.dedup();
        assert_eq!(days, all);
    }
}

/// Whatever the interval.
fn check(zone: &str, middle: &str) {
    for (uid, interval_hours) in [("a", 1), ("d", 24)] {
        let mut days = Days::around(zone, middle, uid, interval_hours);
        days.live();
        days.every_slot_had_its_sync();
        days.expected_progress_moved_once_a_day();
    }
}

#[test]
fn at_a_months_and_a_years_end_each_slot_has_one_sync_and_each_day_its_progress() {
    for middle in ["2026-04-30", "2026-11-30", "2026-12-31"] {
        check("Europe/Paris", middle);
    }
}

#[test]
fn a_leap_day_is_a_day() {
    for zone in ["UTC", "America/New_York"] {
        check(zone, "2028-02-29");
    }
    check("UTC", "2027-02-28");
}

#[test]
fn a_clock_put_forward_skips_no_slot_and_no_day() {
    check("Europe/Paris", "2026-03-29");
    check("America/New_York", "2026-03-08");
    // By half an hour.
    check("Australia/Lord_Howe", "2026-10-04");
    // At midnight: the day begins at 01:00.
    check("Africa/Cairo", "2026-04-24");
}

#[test]
fn a_clock_put_back_doubles_no_slot_and_no_day() {
    check("Europe/Paris", "2026-10-25");
    check("America/New_York", "2026-11-01");
    check("Australia/Lord_Howe", "2026-04-05");
    // At midnight: its last hour comes twice.
    check("Africa/Cairo", "2026-10-30");
}

#[test]
fn a_zone_that_leaves_a_day_out_goes_on_with_the_next() {
    check("Pacific/Apia", "2011-12-31");
}

#[test]
fn an_operator_that_was_away_over_a_clock_change_makes_up_for_it_once() {
    for (zone, middle) in [("Europe/Paris", "2026-03-29"), ("Europe/Paris", "2026-10-25")] {
        let mut days = Days::around(zone, middle, "a", 1);
        days.look();
        days.world.wait(hours(48));
        days.look();
        assert_eq!(days.syncs.len(), 2);
        days.world.wait(seconds(1));
        days.look();
        assert_eq!(days.syncs.len(), 2, "and no slot that was missed is made up for besides");
        days.the_day_is_right();
    }
}
