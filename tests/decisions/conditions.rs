//! Conditions: SPEC 3's classes and SPEC 5's rules.

use okr_operator::{
    api::MeasuredStatus,
    domain::{Reason, choice::NoConnection, reason::Class, status::Outcome},
};
use serde_json::json;

use crate::world::{World, failed, hours, measured, minutes, noon, ready_text, time};

/// The reasons that something measured shows.
pub fn reasons_of_measured() -> impl Iterator<Item = Reason> {
    Reason::ALL.into_iter().filter(|reason| !reason.is_of_a_roll_up())
}

/// A key result that has been brought to `reason` in the way that leads to it.
pub fn brought_to(reason: Reason) -> World {
    let mut world = World::synced(json!({"measure": {"percent": {}}}), "50");
    world.wait(hours(3));
    match reason {
        Reason::Synced => world.measures("51"),
        Reason::ConnectionNotFound | Reason::ConnectionNotShared | Reason::AmbiguousConnection => {
            world.no_connection = Some(NoConnection { reason, message: "in words".to_owned() });
            world.decides();
        }
        Reason::ConnectionNotReady => {
            world.ready = false;
            world.decides();
        }
        Reason::BudgetExhausted => {
            world.within_budget = false;
            world.decides();
        }
        Reason::InvalidTimeZone => {
            world.changes(
                json!({"period": {"startDate": "2026-01-01", "endDate": "2026-04-11", "timeZone": "No/Where"}}),
            );
            world.decides();
        }
        Reason::QueryChanged => {
            world.changes(json!({"bigQuery": {"query": "SELECT 2"}}));
            world.decides();
        }
        Reason::Resumed => {
            world.changes(json!({"suspend": true}));
            world.decides();
            world.changes(json!({"suspend": false}));
            world.decides();
        }
        Reason::NotStarted => {
            world.now = noon(-20);
            world.status_mut().query_fingerprint = None;
            world.status_mut().value = None;
            world.tries(Outcome::DryRunPassed);
        }
        Reason::PeriodEnded => {
            world.now = noon(120);
            world.measures("100");
        }
        Reason::Closed => {
            world.changes(json!({"lifecycle": "Closed"}));
            world.decides();
        }
        Reason::Postponed => {
            world.changes(json!({"lifecycle": "Postponed"}));
            world.decides();
        }
        Reason::Suspended => {
            world.changes(json!({"suspend": true}));
            world.decides();
        }
        Reason::ConnectionSuspended => {
            world.connection.spec.suspend = Some(true);
            world.decides();
        }
        Reason::Manual => {
            world.changes(json!({"bigQuery": null, "manual": {"value": 50, "asOf": "2026-02-18"}}));
            world.decides();
        }
        Reason::RateLimited
        | Reason::Timeout
        | Reason::Unavailable
        | Reason::UndecodableResponse
        | Reason::QueryInvalid
        | Reason::QueryNotSelect
        | Reason::TooManyColumns
        | Reason::NotNumeric
        | Reason::OverByteLimit
        | Reason::TableNotFound
        | Reason::PermissionDenied
        | Reason::AuthenticationFailed
        | Reason::NoRows
        | Reason::TooManyRows
        | Reason::NullValue
        | Reason::NotFinite
        | Reason::QuotaExceeded => {
            for _ in 0..3 {
                world.fails(reason);
            }
        }
        Reason::RolledUp | Reason::NoKeyResults | Reason::WeightsAboveHundred | Reason::Cycle => {
            panic!("only objectives are rolled up")
        }
    }
    world
}

#[test]
fn every_reason_shows_as_its_class_says() {
    for reason in reasons_of_measured() {
        let world = brought_to(reason);
        let name = reason.name();
        let want = match reason.class() {
            Class::Good => "True Synced".to_owned(),
            Class::Waiting => format!("False {name}, Reconciling"),
            // The fingerprint has a value already.
            Class::Passing | Class::Data => format!("False {name}"),
            Class::PersonMustAct => format!("False {name}, Stalled"),
            Class::UnderWay if reason == Reason::Resumed => "True Suspended, Reconciling Resumed".to_owned(),
            Class::UnderWay => format!("True Synced, Reconciling {name}"),
            Class::Rest => format!("True {name}"),
        };
        assert_eq!(world.ready_text(), want);
        let fresh = world.condition("Fresh").map(|fresh| fresh.status.as_str());
        let want = match reason.class() {
            Class::Rest if reason != Reason::Manual => None,
            // Its Ready still says Suspended.
            Class::UnderWay if reason == Reason::Resumed => None,
            Class::Good | Class::Rest => Some("True"),
            _ => Some("False"),
        };
        assert_eq!(fresh, want, "Fresh of {name}");
        well_formed(world.status(), 0);
        assert!(world.condition("OnTrack").is_some());
    }
}

/// What holds for every status that was written in `generation`, or in any for 0.
pub fn well_formed(status: &MeasuredStatus, generation: i64) {
    let has = |kind: &str| status.conditions.iter().filter(|condition| condition.type_ == kind).count();
    assert_eq!(has("Ready"), 1, "{status:?}");
    assert_eq!(has("OnTrack"), 1);
    assert!(has("Stalled") + has("Reconciling") <= 1, "never both");
    assert!(status.observed_generation.is_some());
    for condition in &status.conditions {
        assert_eq!(condition.observed_generation, status.observed_generation, "{}", condition.type_);
        if generation != 0 {
            assert_eq!(condition.observed_generation, Some(generation));
        }
        let known = ["Ready", "Stalled", "Reconciling", "OnTrack", "Fresh"];
        assert!(known.contains(&condition.type_.as_str()), "what others wrote goes");
    }
}

#[test]
fn passing_failures_show_at_the_third_in_a_row() {
    for reason in [Reason::RateLimited, Reason::Timeout, Reason::Unavailable, Reason::UndecodableResponse] {
        let mut world = World::synced(json!({}), "50");
        for want in ["True Synced", "True Synced", "False", "False"] {
            world.wait(minutes(1));
            world.fails(reason);
            assert!(world.ready_text().starts_with(want), "{} failures", world.status().consecutive_failures.unwrap());
        }
        world.wait(minutes(1));
        world.measures("50");
        assert_eq!(world.ready_text(), "True Synced");
        assert_eq!(world.status().consecutive_failures, None);
        world.fails(reason);
        assert_eq!(world.ready_text(), "True Synced", "counted anew after a good one");
    }
}

#[test]
fn only_a_value_of_the_same_query_keeps_ready_through_a_passing_failure() {
    let mut world = World::new(json!({}));
    world.fails(Reason::Timeout);
    assert_eq!(world.ready_text(), "False Timeout, Reconciling", "a new one");
    let mut world = World::synced(json!({}), "50");
    world.changes(json!({"bigQuery": {"query": "SELECT 2"}}));
    world.fails(Reason::Timeout);
    assert_eq!(world.ready_text(), "False Timeout, Reconciling", "a changed one");
    let mut world = World::synced(json!({}), "50");
    world.fails(Reason::NoRows);
    world.fails(Reason::Timeout);
    assert_eq!(world.ready_text(), "False Timeout", "one that was not Ready");
}

#[test]
fn observed_generation_is_set_with_every_outcome() {
    let mut world = World::new(json!({}));
    for outcome in [measured("1"), failed(Reason::NoRows), failed(Reason::QueryInvalid), failed(Reason::Timeout)] {
        world.changes(json!({"title": "Another"}));
        world.tries(outcome);
        well_formed(world.status(), world.key_result.metadata.generation.unwrap());
    }
}

#[test]
fn a_routine_sync_flips_nothing() {
    let mut world = World::synced(json!({}), "50");
    let before = world.status().conditions.clone();
    for _ in 0..20 {
        world.wait(hours(1));
        world.measures("60");
        let after = &world.status().conditions;
        assert_eq!(after.len(), before.len());
        for (before, after) in before.iter().zip(after) {
            assert_eq!(before.type_, after.type_);
            assert_eq!(before.status, after.status);
            assert_eq!(before.last_transition_time, after.last_transition_time);
        }
    }
}

#[test]
fn transition_times_move_only_with_the_status() {
    let mut world = World::synced(json!({}), "50");
    let since = |world: &World, kind: &str| world.condition(kind).map(|condition| condition.last_transition_time.0);
    world.wait(hours(1));
    world.fails(Reason::NoRows);
    assert_eq!(since(&world, "Ready"), Some(noon(50) + hours(1)));
    assert_eq!(since(&world, "OnTrack"), Some(noon(50)));
    world.wait(hours(1));
    world.fails(Reason::TableNotFound);
    assert_eq!(since(&world, "Ready"), Some(noon(50) + hours(1)), "still False");
    assert_eq!(since(&world, "Stalled"), Some(noon(50) + hours(2)));
    world.wait(hours(1));
    world.fails(Reason::QueryInvalid);
    assert_eq!(since(&world, "Stalled"), Some(noon(50) + hours(2)));
    world.wait(hours(1));
    world.measures("10");
    assert_eq!(since(&world, "Ready"), Some(noon(50) + hours(4)));
    assert_eq!(since(&world, "Stalled"), None);
    assert_eq!(since(&world, "OnTrack"), Some(noon(50) + hours(4)));
}

#[test]
fn on_track_says_what_counts() {
    let check = |value: &str, lifecycle: &str, want: (&str, &str)| {
        let mut world = World::synced(json!({"measure": {"percent": {}}}), value);
        world.changes(json!({"lifecycle": lifecycle}));
        world.decides();
        let condition = world.condition("OnTrack").unwrap();
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), want);
    };
    check("50", "Active", ("True", "OnTrack"));
    check("49", "Active", ("False", "Behind"));
    check("0", "Active", ("False", "AtRisk"));
    check("50", "Closed", ("Unknown", "Closed"));
    check("50", "Postponed", ("Unknown", "Postponed"));
    let mut world = World::new(json!({}));
    world.fails(Reason::NoRows);
    assert_eq!(world.condition("OnTrack").unwrap().status, "Unknown");
}

#[test]
fn fresh_ends_after_two_intervals_or_with_another_query() {
    let mut world = World::synced(json!({"interval": "2h"}), "50");
    let fresh = |world: &World| {
        let next = world.next(None);
        let fresh = next.conditions.into_iter().find(|condition| condition.type_ == "Fresh");
        fresh.map(|fresh| format!("{} {}", fresh.status, fresh.reason))
    };
    assert_eq!(fresh(&world), Some("True Current".to_owned()));
    world.now = noon(50) + hours(4) - minutes(1);
    assert_eq!(fresh(&world), Some("True Current".to_owned()));
    world.now = noon(50) + hours(4);
    assert_eq!(fresh(&world), Some("False Stale".to_owned()));
    world.now = noon(50);
    world.changes(json!({"bigQuery": {"query": "SELECT 2"}}));
    assert_eq!(fresh(&world), Some("False QueryChanged".to_owned()));
    let explanation = world.next(None).explanation.unwrap();
    assert!(explanation.starts_with("Value of 2026-02-20T12:00:00Z: "), "{explanation}");
    assert_eq!(fresh(&World::new(json!({}))), None, "no value");
}

#[test]
fn a_value_that_is_no_querys_is_fresh_nowhere() {
    let no_connection = || NoConnection { reason: Reason::ConnectionNotFound, message: "in words".to_owned() };
    let fresh = |world: &World| {
        let next = world.next(None);
        let fresh = next.conditions.into_iter().find(|condition| condition.type_ == "Fresh").unwrap();
        (fresh.status, fresh.reason)
    };
    let mut world = World::synced(json!({}), "50").later(minutes(1));
    world.no_connection = Some(no_connection());
    assert_eq!(fresh(&world), ("True".to_owned(), "Current".to_owned()), "nothing is compared");
    world.status_mut().query_fingerprint = None;
    assert_eq!(fresh(&world), ("False".to_owned(), "QueryChanged".to_owned()));
    // Nor is it the last value of a period that ended.
    let mut ended = World::synced(json!({"period": {"startDate": "2026-01-01", "endDate": "2026-02-19"}}), "50");
    ended.wait(minutes(1));
    ended.no_connection = Some(no_connection());
    assert_eq!(ended.plan().held().unwrap().0, Reason::PeriodEnded);
    ended.status_mut().query_fingerprint = None;
    assert_eq!(ended.plan().held().unwrap().0, Reason::ConnectionNotFound);
}

#[test]
fn a_manual_value_is_fresh_for_its_own_time() {
    let manual = |valid_for: Option<&str>| json!({"value": 50, "asOf": "2026-02-20", "validFor": valid_for});
    let period = json!({"startDate": "2026-01-01", "endDate": "2026-04-11", "timeZone": "Europe/Paris"});
    let check = |valid_for: Option<&str>, now: &str, want: &str| {
        let changes = json!({"bigQuery": null, "manual": manual(valid_for), "period": period});
        let mut world = World::new(changes).at(time(now));
        world.decides();
        assert_eq!(world.ready_text(), "True Manual");
        assert_eq!(world.condition("Fresh").unwrap().reason, want, "at {now}");
        assert_eq!(world.status().value_time.as_ref().unwrap().0, time("2026-02-19T23:00:00Z"));
    };
    check(None, "2026-03-05T22:59:59Z", "Current");
    check(None, "2026-03-05T23:00:00Z", "Stale");
    check(Some("24h"), "2026-02-20T22:59:59Z", "Current");
    check(Some("24h"), "2026-02-20T23:00:00Z", "Stale");
}

#[test]
fn what_others_wrote_into_the_conditions_goes() {
    let mut world = World::synced(json!({}), "50");
    let mut foreign = world.condition("Ready").unwrap().clone();
    foreign.type_ = "Foreign".to_owned();
    world.status_mut().conditions.push(foreign);
    well_formed(&world.next(None), 1);
}

#[test]
fn bigquerys_words_stand_in_the_objects_own_condition_only() {
    let mut world = World::synced(json!({}), "50");
    world.fails(Reason::QueryInvalid);
    let texts = |status: &MeasuredStatus, kind: &str| {
        status.conditions.iter().find(|condition| condition.type_ == kind).unwrap().message.clone()
    };
    assert_eq!(texts(world.status(), "Ready"), "QueryInvalid in words");
    assert!(!world.status().explanation.clone().unwrap().contains("in words"));
    assert_eq!(ready_text(world.status()), "False QueryInvalid, Stalled");
}
