//! One look at an object: a write, an attempt, or a wait. An unchanged pass writes nothing.

use jiff::Timestamp;
use okr_operator::domain::{
    Reason,
    choice::NoConnection,
    pass::Pass,
    schedule::{How, Why, day_pass},
};
use serde_json::json;

use crate::{
    conditions::{brought_to, reasons_of_measured},
    world::{World, hours, midnight, minutes, noon, seconds, time},
};

#[test]
fn an_unchanged_pass_writes_nothing() {
    for reason in reasons_of_measured() {
        let mut world = brought_to(reason);
        world.decides();
        let written = world.status().clone();
        assert_eq!(world.next(None), written, "{reason:?}, at the same time");
        world.wait(seconds(20));
        assert_eq!(world.next(None), written, "{reason:?}, a little later");
        assert_ne!(world.pass(), Pass::Decide, "{reason:?}");
    }
}

#[test]
fn a_pass_that_waits_knows_until_when() {
    for reason in reasons_of_measured() {
        let mut world = brought_to(reason);
        world.decides();
        match world.pass() {
            Pass::Wait(Some(moment)) => assert!(moment > world.now && moment <= world.now + hours(24), "{reason:?}"),
            Pass::Wait(None) => assert_eq!(reason, Reason::InvalidTimeZone, "no day is known there"),
            Pass::Attempt { .. } => assert!(matches!(reason, Reason::QueryChanged | Reason::Resumed), "{reason:?}"),
            Pass::Decide => panic!("{reason:?} was decided"),
        }
    }
}

#[test]
fn a_new_one_is_first_written_by_its_sync() {
    let mut world = World::new(json!({}));
    world.key_result.status = Some(serde_json::from_value(json!({"observedGeneration": -1})).unwrap());
    assert_eq!(world.pass(), Pass::Attempt { at: world.now, why: Why::New, how: How::CheckedQuery });
    assert_eq!(world.next(None), *world.status());
    world.measures("1");
    assert!(matches!(world.pass(), Pass::Wait(_)));
}

#[test]
fn a_new_one_that_is_held_says_so() {
    let check = |change: fn(&mut World), want: &str| {
        let mut world = World::new(json!({}));
        change(&mut world);
        assert_eq!(world.pass(), Pass::Decide);
        world.decides();
        assert_eq!(world.ready_text(), want);
        assert!(matches!(world.pass(), Pass::Wait(_)));
    };
    check(|world| world.changes(json!({"suspend": true})), "True Suspended");
    check(|world| world.ready = false, "False ConnectionNotReady, Reconciling");
    check(|world| world.within_budget = false, "False BudgetExhausted");
    check(
        |world| {
            let reason = Reason::ConnectionNotFound;
            world.no_connection = Some(NoConnection { reason, message: "in words".to_owned() });
        },
        "False ConnectionNotFound, Reconciling",
    );
}

/// When the usual key result's day is written.
fn day_pass_of(world: &World, n: i64) -> Timestamp {
    day_pass(world.measured().uid, crate::world::day(n), &jiff::tz::TimeZone::UTC).unwrap()
}

#[test]
fn a_new_day_is_written_within_its_first_quarter_of_an_hour() {
    let mut passes: Vec<i64> = (0..500)
        .map(|n| {
            let mut world = World::new(json!({}));
            world.key_result.metadata.uid = Some(format!("uid {n}"));
            day_pass_of(&world, 51).duration_since(midnight(51)).as_secs()
        })
        .collect();
    passes.sort_unstable();
    assert!(passes[0] >= 0 && passes[499] < 15 * 60);
    passes.dedup();
    assert!(passes.len() > 200, "spread: {passes:?}");

    // An interval so long that no slot comes first, and no staleness.
    let mut world = World::synced(json!({"interval": "168h"}), "1");
    let day_pass = day_pass_of(&world, 51);
    assert_eq!(world.pass(), Pass::Wait(Some(day_pass)));
    for now in [midnight(51), day_pass - seconds(1)] {
        world.now = now;
        assert_eq!(world.pass(), Pass::Wait(Some(day_pass)), "at {now}");
    }
    world.now = day_pass;
    assert_eq!(world.pass(), Pass::Decide);
    world.decides();
    assert_eq!(world.status().expected_progress_percent.as_deref(), Some("51"));
    assert_eq!(world.pass(), Pass::Wait(Some(day_pass_of(&world, 52))));
}

#[test]
fn the_days_first_sync_writes_it_too() {
    let mut world = World::synced(json!({"interval": "168h"}), "1").at(midnight(51));
    world.refreshes("a");
    assert!(matches!(world.pass(), Pass::Attempt { why: Why::Refresh, .. }), "without a write of its own");
    world.measures("1");
    assert_eq!(world.status().expected_progress_percent.as_deref(), Some("51"));
    world.wait(seconds(1));
    assert!(matches!(world.pass(), Pass::Wait(_)));
}

#[test]
fn a_change_of_spec_is_decided_at_once_even_at_midnight() {
    let mut world = World::synced(json!({"interval": "168h"}), "1").at(midnight(51));
    world.changes(json!({"title": "Another"}));
    assert_eq!(world.pass(), Pass::Decide);
}

#[test]
fn fresh_turns_stale_by_a_timer_of_its_own() {
    let mut world = World::synced(json!({}), "1");
    world.ready = false;
    world.wait(hours(1));
    world.decides();
    assert_eq!(world.pass(), Pass::Wait(Some(noon(50) + hours(2))));
    world.now = noon(50) + hours(2);
    assert_eq!(world.pass(), Pass::Decide);
    world.decides();
    assert_eq!(world.condition("Fresh").unwrap().reason, "Stale");
    assert!(matches!(world.pass(), Pass::Wait(_)));
}

#[test]
fn after_a_downtime_the_sync_at_hand_writes_what_grew_old() {
    let mut world = World::synced(json!({}), "1");
    world.wait(hours(72));
    assert!(matches!(world.pass(), Pass::Attempt { why: Why::Slot, .. }), "a new day, and stale");
    assert_eq!(world.pass_in_queue(), Pass::Decide, "where it has to wait");
    let mut waiting = World { key_result: world.key_result.clone(), ..World::new(json!({})) }.at(world.now);
    waiting.decides();
    assert_eq!(waiting.condition("Fresh").unwrap().reason, "Stale");
    assert!(matches!(waiting.pass_in_queue(), Pass::Attempt { why: Why::Slot, .. }));
    world.measures("2");
    assert!(matches!(world.pass(), Pass::Wait(_)));
    assert_eq!(world.condition("Fresh").unwrap().reason, "Current");
}

#[test]
fn what_did_not_only_grow_old_is_written_before_its_sync() {
    let check = |change: fn(&mut World)| {
        let mut world = World::synced(json!({}), "1");
        world.wait(hours(72));
        change(&mut world);
        assert_eq!(world.pass(), Pass::Decide);
    };
    check(|world| world.changes(json!({"title": "Another"})));
    check(|world| world.changes(json!({"bigQuery": {"query": "SELECT 2"}})));
    check(|world| world.connection.spec.project_id = "another-project".to_owned());
}

#[test]
fn clock_changes_neither_skip_nor_double_a_day() {
    let check = |zone: &str, from: &str, days: usize| {
        let period = json!({"startDate": "2000-01-01", "endDate": "2099-12-31", "timeZone": zone});
        let mut world = World::new(json!({"period": period, "bigQuery": null,
            "manual": {"value": 1, "asOf": "2000-01-01", "validFor": "1h"}}))
        .at(time(from));
        world.decides();
        let mut written = Vec::new();
        for _ in 0..days {
            let Pass::Wait(Some(moment)) = world.pass() else { panic!("{:?}", world.pass()) };
            world.now = moment;
            let before = world.status().clone();
            assert_eq!(world.pass(), Pass::Decide, "{zone} at {moment}");
            world.decides();
            assert_ne!(before, *world.status());
            let zoned = moment.to_zoned(jiff::tz::TimeZone::get(zone).unwrap());
            assert!(moment.duration_since(zoned.start_of_day().unwrap().timestamp()) < minutes(15), "{zoned}");
            written.push(zoned.date());
        }
        assert!(written.is_sorted_by(|a, b| a < b), "{written:?}");
        written
    };
    let last = |days: Vec<jiff::civil::Date>| days.last().unwrap().to_string();
    assert_eq!(last(check("Europe/Paris", "2026-03-27T12:00:00Z", 4)), "2026-03-31");
    assert_eq!(last(check("Europe/Paris", "2026-10-23T12:00:00Z", 4)), "2026-10-27");
    assert_eq!(last(check("UTC", "2028-02-27T12:00:00Z", 3)), "2028-03-01");
    assert_eq!(last(check("America/Sao_Paulo", "2018-11-02T12:00:00Z", 3)), "2018-11-05");
    assert_eq!(last(check("Africa/Cairo", "2026-04-22T12:00:00Z", 3)), "2026-04-25");
    assert_eq!(last(check("Pacific/Apia", "2011-12-29T00:00:00Z", 3)), "2012-01-01");
}

#[test]
fn what_else_changes_around_midnight_does_not_wait_for_the_days_pass() {
    // A uid whose day is written late, and a value that turns stale before that.
    let mut world = World::new(json!({"interval": "1h"}));
    for n in 0.. {
        world.key_result.metadata.uid = Some(format!("uid {n}"));
        if day_pass_of(&world, 51) > midnight(51) + minutes(3) {
            break;
        }
    }
    world.now = midnight(51) + minutes(2) - hours(2);
    world.measures("1");
    world.ready = false;
    world.wait(hours(1));
    world.decides();
    world.now = midnight(51) + minutes(2);
    assert_eq!(world.pass(), Pass::Decide);
    world.decides();
    assert_eq!(world.condition("Fresh").unwrap().reason, "Stale");
}

/// Lives through `hours` by timers alone. Returns the attempts and the writes without one.
fn live(world: &mut World, hours: i64) -> (usize, usize) {
    let end = world.now + crate::world::hours(hours);
    let (mut attempts, mut writes) = (0, 0);
    loop {
        match world.pass() {
            Pass::Decide => {
                writes += 1;
                world.decides();
            }
            Pass::Attempt { .. } => {
                attempts += 1;
                // A query takes its time.
                world.wait(seconds(1));
                world.measures("1");
            }
            Pass::Wait(Some(moment)) if moment <= end => world.now = moment,
            Pass::Wait(_) => {
                world.now = end;
                return (attempts, writes);
            }
        }
    }
}

#[test]
fn ten_days_cost_one_query_an_hour_and_one_more_write_a_day_at_most() {
    for n in 0..10 {
        let mut world = World::new(json!({})).at(midnight(10) + minutes(20));
        world.key_result.metadata.uid = Some(format!("uid {n}"));
        let (attempts, writes) = live(&mut world, 240);
        assert!((240..=242).contains(&attempts), "{attempts} attempts of uid {n}");
        assert!(writes <= 10, "{writes} writes of uid {n}");
    }
}

#[test]
fn a_whole_life_by_timers_alone() {
    let mut world = World::new(json!({})).at(noon(-2));
    assert_eq!(world.pass(), Pass::Attempt { at: world.now, why: Why::New, how: How::DryRun });
    world.tries(okr_operator::domain::status::Outcome::DryRunPassed);
    let (attempts, writes) = live(&mut world, 35);
    assert_eq!((attempts, writes, world.ready_text().as_str()), (0, 0, "True NotStarted"));
    let (attempts, _) = live(&mut world, 101 * 24 - 24 + 1 + 24 * 3);
    assert!((100 * 24..=102 * 24).contains(&attempts), "{attempts}");
    assert_eq!(world.ready_text(), "True PeriodEnded");
    let (attempts, writes) = live(&mut world, 24 * 30);
    assert_eq!((attempts, writes), (0, 0), "what ended stays as it is");
}

#[test]
fn what_is_about_to_be_sent_is_not_decided_before() {
    let mut world = World::new(json!({}));
    world.measures("47");
    world.changes(json!({"title": "Another"}));
    world.wait(hours(1));
    assert_eq!(world.pass(), Pass::Decide);
    assert!(matches!(world.pass_at_its_turn(), Pass::Attempt { why: Why::Slot, .. }));
}
