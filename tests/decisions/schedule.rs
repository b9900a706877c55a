//! When a query is sent, why, and what keeps it from being sent.

use jiff::{SignedDuration, Timestamp};
use okr_operator::{
    api::Duration,
    domain::{
        Reason,
        choice::NoConnection,
        pass::Pass,
        schedule::{How, Plan, Slots, Why, still_answers},
        status::{Attempt, Outcome},
    },
};
use serde_json::json;

use crate::world::{UID, World, hours, midnight, minutes, noon, seconds, time};

/// The next attempt.
#[track_caller]
fn attempt(world: &World) -> (Timestamp, Why, How) {
    match world.plan() {
        Plan::Attempt { at, why, how } => (at, why, how),
        Plan::Hold { reason, .. } => panic!("held: {reason:?}"),
    }
}

#[track_caller]
fn check_now(world: &World, why: Why, how: How) {
    assert_eq!(attempt(world), (world.now, why, how));
}

#[track_caller]
fn check_held(world: &World, reason: Reason, until: Option<Timestamp>) {
    match world.plan() {
        Plan::Hold { reason: held, until: end, .. } => assert_eq!((held, end), (reason, until)),
        Plan::Attempt { at, why, .. } => panic!("not held: {why:?} at {at}"),
    }
}

/// `hash(uid) mod min(interval, 1h)`.
fn spread() -> SignedDuration {
    let epoch = Timestamp::UNIX_EPOCH;
    World::slots(3600).after(epoch - seconds(1)).duration_since(epoch)
}

fn slot_after(time: Timestamp) -> Timestamp {
    World::slots(3600).after(time)
}

#[test]
fn no_slot_is_missed_or_doubled() {
    for interval in [60, 300, 3600, 7 * 24 * 3600] {
        let slots = World::slots(interval);
        let mut slot = slots.after(noon(50));
        for _ in 0..100 {
            let next = slots.after(slot);
            assert_eq!(next.duration_since(slot), seconds(interval as i64));
            // What ran within the second of its slot does not run again in it.
            assert_eq!(slots.after(slot + SignedDuration::from_millis(999)), next);
            assert_eq!(slots.after(next - SignedDuration::from_nanos(1)), next);
            slot = next;
        }
    }
}

#[test]
fn a_thousand_slots_spread_over_the_hour() {
    let mut minutes = [0; 60];
    for n in 0..1000 {
        let slots = Slots::new(&format!("uid {n}"), Duration::from_secs(3600));
        let into_the_hour = slots.after(midnight(0)).duration_since(midnight(0)).as_secs();
        minutes[usize::try_from(into_the_hour / 60 % 60).unwrap()] += 1;
    }
    assert!(minutes.iter().all(|count| (4..=35).contains(count)), "{minutes:?}");
}

#[test]
fn a_new_one_is_checked_and_queried_at_once() {
    check_now(&World::new(json!({})), Why::New, How::CheckedQuery);
}

#[test]
fn a_good_one_runs_at_its_slots() {
    let mut world = World::synced(json!({}), "1");
    for _ in 0..50 {
        let slot = slot_after(world.now);
        assert_eq!(attempt(&world), (slot, Why::Slot, How::Query));
        assert_eq!(world.status().next_sync_time.as_ref().unwrap().0, slot);
        world.now = slot + seconds(2);
        world.measures("1");
    }
}

#[test]
fn what_was_missed_is_made_up_for_once() {
    let mut world = World::synced(json!({}), "1").later(hours(30));
    assert_eq!(attempt(&world).0, slot_after(noon(50)));
    world.measures("1");
    assert_eq!(attempt(&world).0, slot_after(world.now));
}

#[test]
fn an_attempt_with_another_fingerprint_comes_at_once() {
    let mut world = World::synced(json!({}), "1").later(minutes(1));
    world.changes(json!({"bigQuery": {"query": "SELECT 2"}}));
    check_now(&world, Why::QueryChanged, How::CheckedQuery);
    world.decides();
    assert_eq!(world.ready_text(), "True Synced, Reconciling QueryChanged");
    check_now(&world, Why::QueryChanged, How::CheckedQuery);
    world.measures("2");
    assert_eq!(world.ready_text(), "True Synced");
    assert_eq!(attempt(&world).1, Why::Slot);
}

#[test]
fn what_is_no_query_is_decided_without_one() {
    for changes in [
        json!({"measure": {"reach": {"target": 7}}}),
        json!({"period": {"startDate": "2026-01-02", "endDate": "2026-04-12"}}),
        json!({"thresholds": {"behind": 1}}),
        json!({"override": {"okrStatus": "OnTrack", "note": "x", "until": "2026-12-31"}}),
    ] {
        let mut world = World::synced(json!({}), "1").later(minutes(1));
        world.changes(changes);
        assert_eq!(attempt(&world), (slot_after(noon(50)), Why::Slot, How::Query));
        assert_eq!(world.pass(), Pass::Decide);
    }
}

#[test]
fn a_rest_that_ends_resumes_at_once() {
    let rests = [
        (json!({"suspend": true}), json!({"suspend": false}), Reason::Suspended),
        (json!({"lifecycle": "Closed"}), json!({"lifecycle": "Active"}), Reason::Closed),
        (json!({"lifecycle": "Postponed"}), json!({"lifecycle": "Active"}), Reason::Postponed),
    ];
    for (rest, end, reason) in rests {
        let mut world = World::synced(json!({}), "1").later(minutes(1));
        world.changes(rest);
        check_held(&world, reason, None);
        world.decides();
        assert_eq!(world.ready_text(), format!("True {}", reason.name()));
        assert_eq!(world.status().next_sync_time, None);
        world.wait(hours(5));
        check_held(&world, reason, None);
        world.changes(end);
        check_now(&world, Why::Resumed, How::Query);
        world.decides();
        assert_eq!(world.ready_text(), format!("True {}, Reconciling Resumed", reason.name()));
        check_now(&world, Why::Resumed, How::Query);
        world.measures("1");
        assert_eq!(world.ready_text(), "True Synced");
    }
}

#[test]
fn a_suspended_connection_holds_at_once_and_resumes_at_once() {
    let mut world = World::synced(json!({}), "1").later(minutes(1));
    world.connection.spec.suspend = Some(true);
    check_held(&world, Reason::ConnectionSuspended, None);
    assert_eq!(world.pass(), Pass::Decide);
    world.decides();
    world.connection.spec.suspend = None;
    check_now(&world, Why::Resumed, How::Query);
}

#[test]
fn the_order_of_reasons() {
    let mut world = World::synced(json!({}), "1").at(noon(200));
    world.within_budget = false;
    world.status_mut().value_time = None;
    check_held(&world, Reason::BudgetExhausted, Some(midnight(201) + spread()));
    world.ready = false;
    check_held(&world, Reason::ConnectionNotReady, None);
    world.connection.spec.suspend = Some(true);
    check_held(&world, Reason::ConnectionSuspended, None);
    let mut ended = world.clone();
    ended.measures("1");
    check_held(&ended, Reason::PeriodEnded, None);
    ended.changes(json!({"period": {"startDate": "2026-01-01", "endDate": "2026-04-11", "timeZone": "x"}}));
    check_held(&ended, Reason::InvalidTimeZone, None);
    ended.changes(json!({"suspend": true}));
    check_held(&ended, Reason::Suspended, None);
    ended.changes(json!({"lifecycle": "Postponed"}));
    check_held(&ended, Reason::Postponed, None);
    ended.changes(json!({"lifecycle": "Closed"}));
    check_held(&ended, Reason::Closed, None);
}

#[test]
fn a_refresh_is_served_once() {
    let mut world = World::synced(json!({}), "1").later(minutes(1));
    world.refreshes("a");
    check_now(&world, Why::Refresh, How::Query);
    world.measures("2");
    assert_eq!(world.status().last_handled_refresh.as_deref(), Some("a"));
    assert_eq!(attempt(&world).1, Why::Slot);
    world.refreshes("a");
    assert_eq!(attempt(&world).1, Why::Slot, "equal to its echo");
    world.key_result.metadata.annotations = None;
    assert_eq!(attempt(&world).1, Why::Slot, "removed");
    world.decides();
    assert_eq!(world.status().last_handled_refresh.as_deref(), Some("a"), "an absent one leaves its echo");
    world.refreshes("");
    check_now(&world, Why::Refresh, How::Query);
    world.fails(Reason::NoRows);
    assert_eq!(world.status().last_handled_refresh.as_deref(), Some(""), "whatever the outcome");
    world.annotates("reconcile.fluxcd.io/requestedAt", "2026-02-20T12:00:00Z");
    check_now(&world, Why::Refresh, How::Query);
    world.measures("2");
    assert_eq!(world.status().last_handled_reconcile_at.as_deref(), Some("2026-02-20T12:00:00Z"));
    assert_eq!(attempt(&world).1, Why::Slot);
}

#[test]
fn a_query_under_way_serves_no_later_request() {
    let mut world = World::synced(json!({}), "1").later(minutes(1));
    world.refreshes("a");
    let attempt_a = world.attempt(crate::world::measured("2"));
    world.refreshes("b");
    world.key_result.status = Some(world.next(Some(&attempt_a)));
    assert_eq!(world.status().last_handled_refresh.as_deref(), Some("a"));
    check_now(&world, Why::Refresh, How::Query);
}

#[test]
fn what_sends_nothing_echoes_at_once() {
    let check = |change: fn(&mut World), ready: &str| {
        let mut world = World::synced(json!({}), "1").later(minutes(1));
        change(&mut world);
        world.refreshes("a");
        assert_eq!(world.pass(), Pass::Decide);
        world.decides();
        assert_eq!(world.status().last_handled_refresh.as_deref(), Some("a"), "{ready}");
        assert_eq!(world.ready_text(), ready);
        assert!(matches!(world.pass(), Pass::Wait(_)));
    };
    check(|world| world.changes(json!({"suspend": true})), "True Suspended");
    check(|world| world.changes(json!({"lifecycle": "Closed"})), "True Closed");
    check(|world| world.connection.spec.suspend = Some(true), "True ConnectionSuspended");
    check(|world| world.ready = false, "False ConnectionNotReady, Reconciling");
    check(|world| world.within_budget = false, "False BudgetExhausted");
    check(
        |world| world.changes(json!({"bigQuery": null, "manual": {"value": 1, "asOf": "2026-02-01"}})),
        "True Manual",
    );
}

#[test]
fn asked_queries_are_ten_seconds_apart() {
    let mut world = World::synced(json!({}), "1").later(minutes(1));
    world.last_asked = Some(world.now - seconds(4));
    world.refreshes("a");
    assert_eq!(attempt(&world), (world.now + seconds(6), Why::Refresh, How::Query));
    assert_eq!(world.pass(), Pass::Wait(Some(world.now + seconds(6))));
    world.changes(json!({"bigQuery": {"query": "SELECT 2"}}));
    assert_eq!(attempt(&world), (world.now + seconds(6), Why::QueryChanged, How::CheckedQuery));
    world.decides();
    assert_eq!(world.pass(), Pass::Wait(Some(world.now + seconds(6))));
    world.wait(seconds(6));
    check_now(&world, Why::QueryChanged, How::CheckedQuery);
}

#[test]
fn passing_failures_are_retried_soon_within_a_fifth() {
    let check = |interval: &str, failures: u32, want: Option<SignedDuration>| {
        let mut world = World::synced(json!({"interval": interval}), "1");
        // Right after a slot, so that the next is an interval away.
        let interval = world.key_result.spec.interval.unwrap().as_secs();
        world.now = World::slots(interval).after(world.now);
        world.measures("1");
        for _ in 0..failures {
            world.fails(Reason::Timeout);
        }
        let (at, why, kind) = attempt(&world);
        assert_eq!(kind, How::Query);
        match want {
            Some(want) => {
                let wait = at.duration_since(world.now);
                assert_eq!(why, Why::Retry, "{failures}");
                assert!(wait >= want * 4 / 5 && wait <= want * 6 / 5, "{wait:?} after {failures}");
            }
            None => assert_eq!((at, why), (World::slots(interval).after(world.now), Why::Slot)),
        }
        assert_eq!(world.status().next_sync_time.as_ref().unwrap().0.as_second(), at.as_second());
    };
    for interval in ["1h", "2h"] {
        check(interval, 1, Some(minutes(1)));
        check(interval, 2, Some(minutes(4)));
        check(interval, 3, Some(minutes(15)));
    }
    check("1h", 4, None);
    check("2h", 4, Some(minutes(20)));
    check("168h", 1000, Some(minutes(20)));
    check("5m", 1, Some(minutes(1)));
    check("5m", 3, None);
}

#[test]
fn a_retry_that_had_to_wait_is_due_once_its_slot_comes() {
    let mut world = World::synced(json!({}), "1");
    world.now = slot_after(world.now);
    world.fails(Reason::Timeout);
    let slot = slot_after(world.now);
    world.now = slot - seconds(1);
    let (at, why, _) = attempt(&world);
    assert!(at < world.now && why == Why::Retry, "{at} {why:?}");
    world.now = slot + minutes(20);
    assert_eq!(attempt(&world), (slot, Why::Slot, How::Query));
}

#[test]
fn what_failed_together_is_not_retried_together() {
    let mut waits: Vec<i64> = (0..100)
        .map(|n| {
            let mut world = World::new(json!({"interval": "168h"}));
            world.key_result.metadata.uid = Some(format!("uid {n}"));
            world.fails(Reason::Unavailable);
            attempt(&world).0.duration_since(world.now).as_secs()
        })
        .collect();
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 15, "{waits:?}");
}

#[test]
fn what_a_person_must_mend_is_tried_seldom_and_checked_first() {
    let mut world = World::synced(json!({}), "1");
    world.now = slot_after(world.now);
    let begin = world.now;
    for wait in [minutes(1), minutes(5), minutes(15)] {
        world.fails(Reason::TableNotFound);
        assert_eq!(attempt(&world), (world.now + wait, Why::Retry, How::CheckedQuery));
        world.wait(wait);
    }
    for slot in 1..4 {
        world.fails(Reason::TableNotFound);
        assert_eq!(attempt(&world), (begin + hours(slot), Why::Slot, How::CheckedQuery));
        world.now = begin + hours(slot);
    }
    world.measures("1");
    assert_eq!(attempt(&world).2, How::Query);
}

#[test]
fn what_was_mended_is_tried_at_once() {
    let broken = || {
        let mut world = World::synced(json!({}), "1");
        world.fails(Reason::PermissionDenied);
        world.later(seconds(30))
    };
    assert_eq!(attempt(&broken()).1, Why::Retry);
    let mut world = broken();
    world.changes(json!({"title": "Another"}));
    check_now(&world, Why::QueryChanged, How::CheckedQuery);
    world.decides();
    assert_eq!(world.ready_text(), "False PermissionDenied, Reconciling QueryChanged");
    check_now(&world, Why::QueryChanged, How::CheckedQuery);
    let mut world = broken();
    world.changed_at = Some(world.now);
    check_now(&world, Why::Resumed, How::CheckedQuery);
    world.changed_at = Some(noon(50) - seconds(1));
    assert_eq!(attempt(&world).1, Why::Retry, "changed before the failure");
    world.tried_at = Some(noon(50) - seconds(2));
    assert_eq!(attempt(&world).1, Why::Resumed, "changed while the query ran");
    world.tried_at = Some(noon(50) - seconds(1));
    assert_eq!(attempt(&world).1, Why::Retry, "changed before the query was sent");
    // Other failures wait for their own time.
    let mut world = World::synced(json!({}), "1");
    world.fails(Reason::NoRows);
    world.changed_at = Some(world.now + seconds(1));
    world.changes(json!({"title": "Another"}));
    world.wait(seconds(2));
    assert_eq!(attempt(&world).1, Why::Slot);
}

#[test]
fn the_data_is_looked_at_again_at_the_next_slot() {
    for reason in [Reason::NoRows, Reason::TooManyRows, Reason::NullValue, Reason::NotFinite, Reason::QuotaExceeded] {
        let mut world = World::synced(json!({}), "1");
        world.fails(reason);
        assert_eq!(attempt(&world), (slot_after(world.now), Why::Slot, How::Query), "{reason:?}");
    }
}

#[test]
fn a_connection_that_is_not_ready_shows_at_the_own_slot_only() {
    let mut world = World::synced(json!({}), "1").later(seconds(1));
    world.ready = false;
    let slot = slot_after(world.now);
    assert_eq!(attempt(&world).0, slot);
    assert!(matches!(world.pass(), Pass::Wait(_)));
    world.now = slot - seconds(1);
    assert!(matches!(world.pass(), Pass::Wait(_)));
    world.now = slot;
    check_held(&world, Reason::ConnectionNotReady, None);
    assert_eq!(world.pass(), Pass::Decide);
    world.decides();
    // It stays, whatever the slots say, until the connection is Ready.
    world.wait(minutes(1));
    check_held(&world, Reason::ConnectionNotReady, None);
    assert!(matches!(world.pass(), Pass::Wait(_)));
    world.ready = true;
    check_now(&world, Why::Resumed, How::Query);
}

#[test]
fn a_connection_that_was_mended_before_the_slot_shows_nowhere() {
    let mut world = World::synced(json!({}), "1").later(seconds(1));
    world.ready = false;
    assert!(matches!(world.pass(), Pass::Wait(_)));
    world.ready = true;
    assert!(matches!(world.pass(), Pass::Wait(_)));
    assert_eq!(attempt(&world).1, Why::Slot);
}

#[test]
fn a_request_of_before_the_clock_was_put_back_holds_up_no_other() {
    let mut world = World::synced(json!({}), "1").later(minutes(1));
    world.refreshes("again");
    world.last_asked = Some(world.now - seconds(1));
    assert_eq!(attempt(&world).0, world.now + seconds(9));
    world.last_asked = Some(world.now + hours(1));
    check_now(&world, Why::Refresh, How::Query);
}

#[test]
fn a_connection_changed_before_the_clock_was_put_back_is_not_tried_again_and_again() {
    let mut world = World::synced(json!({}), "1").later(minutes(1));
    world.fails(Reason::PermissionDenied);
    world.changed_at = Some(world.now + hours(1));
    world.tried_at = Some(world.now);
    assert_eq!(attempt(&world.later(seconds(30))).1, Why::Retry);
}

#[test]
fn without_a_connection_nothing_is_compared() {
    for reason in [Reason::ConnectionNotFound, Reason::ConnectionNotShared, Reason::AmbiguousConnection] {
        let mut world = World::synced(json!({}), "1").later(minutes(1));
        let attempted = world.status().attempted_fingerprint.clone();
        world.no_connection = Some(NoConnection { reason, message: "in words".to_owned() });
        world.changes(json!({"bigQuery": {"query": "SELECT 2"}}));
        check_held(&world, reason, None);
        world.decides();
        assert_eq!(world.condition("Ready").unwrap().message, "in words");
        assert_eq!(world.status().attempted_fingerprint, attempted);
        assert_eq!(world.status().consecutive_failures, None, "a held sync is no attempt");
        world.changes(json!({"bigQuery": {"query": "SELECT 1"}}));
        world.no_connection = None;
        check_now(&world, Why::Resumed, How::Query);
    }
}

#[test]
fn a_used_up_budget_holds_until_the_next_day_in_utc() {
    let mut world = World::synced(json!({}), "1");
    world.within_budget = false;
    assert_eq!(attempt(&world).1, Why::Slot, "shown at the own slot");
    world.now = slot_after(world.now);
    let until = midnight(51) + spread();
    check_held(&world, Reason::BudgetExhausted, Some(until));
    world.decides();
    assert_eq!(world.ready_text(), "False BudgetExhausted");
    assert_eq!(world.status().next_sync_time.as_ref().unwrap().0, until);
    let mut raised = world.clone();
    raised.within_budget = true;
    check_now(&raised, Why::Resumed, How::Query);
    world.now = midnight(51);
    world.within_budget = true;
    assert_eq!(attempt(&world), (until, Why::Slot, How::Query));
    world.now = until;
    world.measures("1");
    assert_eq!(world.ready_text(), "True Synced");
}

#[test]
fn before_the_start_only_a_dry_run_is_made() {
    let period = json!({"startDate": "2026-01-01", "endDate": "2026-04-11", "timeZone": "America/New_York"});
    let mut world = World::new(json!({"period": period})).at(noon(-20));
    check_now(&world, Why::New, How::DryRun);
    world.fails(Reason::QueryInvalid);
    assert_eq!(world.ready_text(), "False QueryInvalid, Stalled");
    assert_eq!(attempt(&world), (world.now + minutes(1), Why::Retry, How::DryRun));
    world.wait(minutes(1));
    world.tries(Outcome::DryRunPassed);
    assert_eq!(world.ready_text(), "True NotStarted");
    assert_eq!(world.status().consecutive_failures, None);
    let first = midnight(0) + hours(5) + spread();
    check_held(&world, Reason::NotStarted, Some(first));
    assert_eq!(world.status().next_sync_time.as_ref().unwrap().0, first);
    world.changes(json!({"bigQuery": {"query": "SELECT 2"}}));
    check_now(&world, Why::QueryChanged, How::DryRun);
    world.tries(Outcome::DryRunPassed);
    world.now = first - seconds(1);
    check_held(&world, Reason::NotStarted, Some(first));
    world.now = first;
    check_now(&world, Why::Resumed, How::CheckedQuery);
    world.measures("1");
    assert_eq!(attempt(&world).1, Why::Slot);
}

#[test]
fn a_moved_start_resumes_at_once() {
    let mut world = World::new(json!({})).at(noon(-20));
    world.tries(Outcome::DryRunPassed);
    world.changes(json!({"period": {"startDate": "2025-12-01", "endDate": "2026-04-11"}}));
    check_now(&world, Why::Resumed, How::CheckedQuery);
    let mut world = World::synced(json!({}), "1");
    world.changes(json!({"period": {"startDate": "2026-03-01", "endDate": "2026-04-11"}}));
    check_held(&world, Reason::NotStarted, Some(midnight(59) + spread()));
}

#[test]
fn after_the_end_one_sync_must_succeed() {
    let mut world = World::synced(json!({}), "1").at(midnight(101) - seconds(1));
    world.measures("2");
    assert_eq!(attempt(&world).1, Why::Slot, "the last second of the last day is no end");
    let slot = attempt(&world).0;
    world.now = slot;
    world.fails(Reason::NoRows);
    assert_eq!(attempt(&world), (slot_after(slot), Why::Slot, How::Query));
    world.now = slot_after(slot);
    world.measures("3");
    check_held(&world, Reason::PeriodEnded, None);
    assert_eq!(world.ready_text(), "True PeriodEnded");
    assert_eq!(world.status().next_sync_time, None);
    world.wait(hours(1000));
    check_held(&world, Reason::PeriodEnded, None);
}

#[test]
fn after_the_end_a_refresh_asks_for_one_more() {
    let mut world = World::synced(json!({}), "1").at(noon(110));
    world.measures("2");
    world.wait(hours(1));
    world.refreshes("late data");
    assert_eq!(attempt(&world).0, world.now);
    world.fails(Reason::NoRows);
    assert_eq!(attempt(&world).1, Why::Slot, "slots go on until one succeeds");
    world.wait(hours(2));
    world.measures("3");
    check_held(&world, Reason::PeriodEnded, None);
    world.changes(json!({"bigQuery": {"query": "SELECT 2"}}));
    check_now(&world, Why::QueryChanged, How::CheckedQuery);
    world.measures("4");
    check_held(&world, Reason::PeriodEnded, None);
    let mut late = World::new(json!({})).at(noon(110));
    check_now(&late, Why::New, How::CheckedQuery);
    late.measures("5");
    check_held(&late, Reason::PeriodEnded, None);
}

#[test]
fn a_moved_end_resumes_at_once() {
    let mut world = World::synced(json!({}), "1").at(noon(110));
    world.measures("2");
    world.decides();
    world.changes(json!({"period": {"startDate": "2026-01-01", "endDate": "2026-12-31"}}));
    check_now(&world, Why::Resumed, How::Query);
}

#[test]
fn a_period_that_ended_needs_no_connection() {
    let mut world = World::synced(json!({}), "1").at(noon(110));
    world.measures("2");
    world.no_connection = Some(NoConnection { reason: Reason::ConnectionNotFound, message: String::new() });
    check_held(&world, Reason::PeriodEnded, None);
}

#[test]
fn a_manual_value_rests() {
    let manual = json!({"bigQuery": null, "manual": {"value": 1, "asOf": "2026-01-01"}});
    check_held(&World::new(manual.clone()).at(noon(-5)), Reason::NotStarted, Some(midnight(0)));
    check_held(&World::new(manual.clone()).at(noon(0)), Reason::Manual, None);
    check_held(&World::new(manual.clone()).at(noon(100)), Reason::Manual, None);
    check_held(&World::new(manual).at(noon(101)), Reason::PeriodEnded, None);
}

#[test]
fn the_connection_raises_a_shorter_interval() {
    let world = |interval: &str, least: &str| {
        let mut world = World::new(json!({"interval": interval}));
        world.connection.spec.limits = Some(serde_json::from_value(json!({"minInterval": least})).unwrap());
        world.measures("1");
        world
    };
    assert_eq!(attempt(&world("1m", "5m")).0, World::slots(300).after(noon(50)));
    assert_eq!(attempt(&world("10m", "5m")).0, World::slots(600).after(noon(50)));
    assert_eq!(attempt(&world("1h", "168h")).0, World::slots(168 * 3600).after(noon(50)));
    let explanation = world("1h", "168h").status().explanation.clone().unwrap();
    assert!(explanation.ends_with("the interval of 1h is raised to the connection's least, 168h."), "{explanation}");
}

#[test]
fn clock_changes_move_the_start_with_the_zone() {
    let start = |zone: &str, date: &str| {
        let period = json!({"startDate": date, "endDate": "2099-12-31", "timeZone": zone});
        let mut world = World::new(json!({"period": period})).at(time("1990-01-01T00:00:00Z"));
        world.tries(Outcome::DryRunPassed);
        match world.plan() {
            Plan::Hold { reason: Reason::NotStarted, until: Some(until), .. } => (until - spread()).to_string(),
            plan => panic!("{plan:?}"),
        }
    };
    assert_eq!(start("Europe/Paris", "2026-03-29"), "2026-03-28T23:00:00Z");
    assert_eq!(start("Europe/Paris", "2026-03-30"), "2026-03-29T22:00:00Z");
    assert_eq!(start("Europe/Paris", "2028-02-29"), "2028-02-28T23:00:00Z");
    // Days without a midnight.
    assert_eq!(start("America/Sao_Paulo", "2018-11-04"), "2018-11-04T03:00:00Z");
    assert_eq!(start("Africa/Cairo", "2026-04-24"), "2026-04-23T22:00:00Z");
    // A day that never was.
    assert_eq!(start("Pacific/Apia", "2011-12-30"), "2011-12-30T10:00:00Z");
}

#[test]
fn a_restart_sends_nothing_that_is_not_due() {
    let mut world = World::synced(json!({}), "1");
    world.measures("2");
    let slot = attempt(&world).0;
    // Nothing but the object is known to another process.
    let text = serde_json::to_string(&world.key_result).unwrap();
    world.key_result = serde_json::from_str(&text).unwrap();
    world.last_asked = None;
    world.now = slot - seconds(1);
    assert!(matches!(world.pass(), Pass::Wait(Some(moment)) if moment <= slot));
    assert_eq!(world.measured().uid, UID);
}

#[test]
fn requests_after_the_end_are_ten_seconds_apart_and_flip_nothing() {
    let mut world = World::synced(json!({}), "1").at(noon(110));
    world.measures("2");
    let rest = world.status().clone();
    world.wait(hours(5));
    world.refreshes("a");
    world.last_asked = Some(world.now - seconds(4));
    assert_eq!(attempt(&world), (world.now + seconds(6), Why::Refresh, How::Query));
    assert_eq!(world.next(None), rest, "no write before the sync");
    world.measures("2");
    assert_eq!(world.ready_text(), "True PeriodEnded");
}

#[test]
fn a_first_sync_that_was_held_is_under_way_once_it_is_not() {
    let check = |rest: serde_json::Value, end: serde_json::Value, want: &str| {
        let mut world = World::new(rest);
        world.decides();
        world.changes(end);
        check_now(&world, Why::New, How::CheckedQuery);
        assert_eq!(world.pass(), Pass::Decide);
        world.decides();
        assert_eq!(world.ready_text(), want);
        assert!(matches!(world.pass(), Pass::Attempt { why: Why::New, .. }));
        world.measures("1");
        assert_eq!(world.ready_text(), "True Synced");
    };
    check(json!({"suspend": true}), json!({"suspend": false}), "True Suspended, Reconciling Resumed");
    check(
        json!({"bigQuery": null, "manual": {"value": 1, "asOf": "2026-02-18"}}),
        json!({"bigQuery": {"query": "SELECT 1"}, "manual": null}),
        "True Manual, Reconciling QueryChanged",
    );
}

#[test]
fn a_first_sync_that_waited_for_its_connection_needs_no_write_of_its_own() {
    let mut world = World::new(json!({}));
    world.ready = false;
    world.decides();
    world.ready = true;
    assert_eq!(world.pass(), Pass::Attempt { at: world.now, why: Why::New, how: How::CheckedQuery });
}

#[test]
fn first_syncs_held_by_the_budget_are_spread_over_the_new_day() {
    let mut world = World::new(json!({}));
    world.within_budget = false;
    world.decides();
    let until = midnight(51) + spread();
    check_held(&world, Reason::BudgetExhausted, Some(until));
    let mut raised = world.clone();
    raised.within_budget = true;
    check_now(&raised, Why::New, How::CheckedQuery);
    world.within_budget = true;
    world.now = midnight(51);
    assert_eq!(attempt(&world), (until, Why::New, How::CheckedQuery));
    assert!(matches!(world.pass(), Pass::Wait(_)));
}

#[test]
fn a_last_sync_that_is_none_of_ours_holds_nothing() {
    let mut world = World::synced(json!({}), "1");
    for future in ["2026-02-20T12:05:01Z", "2999-01-01T00:00:00Z", "9999-12-30T22:00:00Z"] {
        world.status_mut().last_sync_time = Some(okr_operator::api::Time(time(future)));
        check_now(&world, Why::New, How::Query);
    }
    // Clocks of two leaders may differ a little.
    world.status_mut().last_sync_time = Some(okr_operator::api::Time(noon(50) + minutes(5)));
    assert_eq!(attempt(&world).1, Why::Slot);
    // A reason that this version does not know is no cause to ask anew: a newer one may have written it.
    world.status_mut().conditions[0].reason = "Whatever".to_owned();
    assert_eq!(attempt(&world).1, Why::Slot);
    world.status_mut().conditions.clear();
    check_now(&world, Why::New, How::Query);
    assert!(matches!(world.pass(), Pass::Attempt { .. }));
}

#[test]
fn times_and_intervals_at_their_ends_do_not_panic() {
    for now in [Timestamp::MIN, Timestamp::MAX, time("9999-12-30T00:00:00Z"), noon(50)] {
        for last in [Timestamp::MIN, Timestamp::MAX] {
            for interval in [0, 1, 168 * 3600, u64::MAX] {
                let mut world = World::synced(json!({"interval": "1h"}), "1");
                world.key_result.spec.interval = Some(Duration::from_secs(interval));
                world.fails(Reason::Timeout);
                world.status_mut().last_sync_time = Some(okr_operator::api::Time(last));
                world.status_mut().value_time = Some(okr_operator::api::Time(last));
                world.now = now;
                world.last_asked = Some(last);
                world.refreshes("a");
                world.pass();
                world.decides();
                world.within_budget = false;
                world.pass();
                world.decides();
            }
        }
    }
}

#[test]
fn a_proof_of_a_connection_from_the_future_is_none() {
    use okr_operator::domain::connection::{self, Checks, ConnectionReason, Known, Verdict};
    let mut connection = crate::world::connection("sales", "warehouse", json!({}));
    let verdict = Verdict::new(ConnectionReason::Connected, String::new());
    let status = connection::next(&connection, Some(&verdict), &Known::default(), Checks::default(), noon(50));
    connection.status = Some(status);
    let next = |proven| connection::next_check(&connection, Checks::default(), Some(proven), noon(50));
    assert_eq!(next(noon(50) - minutes(1)), noon(50) + minutes(59));
    assert_eq!(next(Timestamp::MAX), noon(50));
}

#[test]
fn only_zones_of_iana_are_zones() {
    let check = |zone: &str, known: bool| {
        let world =
            World::new(json!({"period": {"startDate": "2026-01-01", "endDate": "2026-04-11", "timeZone": zone}}));
        assert_eq!(world.plan().held().is_none(), known, "{zone:?}");
    };
    for zone in ["UTC", "Etc/UTC", "Europe/Paris", "europe/paris", "America/Argentina/Buenos_Aires", "Etc/GMT+12"] {
        check(zone, true);
    }
    for zone in ["Mars/Olympus", "", " ", "+02:00", "CET-1CEST", "Etc/Unknown", "../etc/localtime", "Europe/Paris "] {
        check(zone, false);
    }
}

#[test]
fn a_request_after_the_end_that_cannot_be_served_flips_nothing() {
    let check = |change: fn(&mut World)| {
        let mut world = World::synced(json!({}), "1").at(noon(110));
        world.measures("2");
        change(&mut world);
        world.refreshes("a");
        world.decides();
        assert_eq!(world.ready_text(), "True PeriodEnded");
        assert_eq!(world.status().last_handled_refresh.as_deref(), Some("a"));
        assert!(matches!(world.pass(), Pass::Wait(_)));
    };
    check(|world| world.ready = false);
    check(|world| world.within_budget = false);
    check(|world| {
        let reason = Reason::ConnectionNotFound;
        world.no_connection = Some(NoConnection { reason, message: "in words".to_owned() });
    });
}

#[test]
fn an_attempt_that_was_not_written_counts_until_something_else_is_asked_for() {
    let counts = |world: &World, attempt: &Attempt| {
        still_answers(attempt, &world.measured(), world.route().as_ref().unwrap(), world.now)
    };
    let mut world = World::new(json!({"interval": "1h"}));
    let attempt = world.attempt(crate::world::measured("47"));
    assert!(counts(&world, &attempt));
    world.changes(json!({"title": "Another"}));
    assert!(counts(&world, &attempt));
    world.refreshes("a");
    assert!(!counts(&world, &attempt));
    let mut world = World::new(json!({"interval": "1h"}));
    world.changes(json!({"bigQuery": {"query": "SELECT 2"}}));
    assert!(!counts(&world, &attempt));
    let mut world = World::new(json!({"interval": "1h"}));
    world.wait(hours(1));
    assert!(!counts(&world, &attempt), "a slot has come");
}

#[test]
fn a_value_time_that_is_yet_to_come_is_mended() {
    let mut world = World::synced(json!({"period": {"startDate": "2026-01-01", "endDate": "2026-02-20"}}), "1");
    let last = world.status().last_sync_time.clone();
    world.status_mut().value_time = Some(okr_operator::api::Time(time("9998-12-30T00:00:00Z")));
    // Not the last value, which would end all queries.
    world = world.later(hours(24));
    let (_, why, _) = attempt(&world);
    assert_eq!(why, Why::Slot);
    world.decides();
    assert_eq!(world.status().value_time, last);
}
