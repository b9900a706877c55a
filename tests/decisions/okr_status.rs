//! okrStatus: which of several voices counts, and since when.

use okr_operator::{
    api::OkrStatus::{self, AtRisk, Behind, Closed, NotStarted, OnTrack, Postponed},
    domain::Reason,
};
use serde_json::{Value, json};

use crate::world::{World, hours, midnight, noon, seconds};

/// What counts, and what the numbers say.
fn check(changes: Value, day: i64, value: Option<&str>, want: (OkrStatus, OkrStatus)) {
    let mut world = World::new(changes.clone()).at(noon(day));
    match value {
        Some(value) => world.measures(value),
        None => world.fails(Reason::NoRows),
    }
    let status = world.status();
    assert_eq!((status.okr_status.unwrap(), status.computed_status.unwrap()), want, "{changes} on day {day}");
}

#[test]
fn the_first_that_applies_counts() {
    let check_in = || json!({"okrStatus": "OnTrack", "note": "promised", "until": "2026-02-20"});
    let with = |lifecycle: &str, day: i64, value: Option<&str>, want| {
        let changes = json!({"measure": {"percent": {}}, "lifecycle": lifecycle, "override": check_in()});
        check(changes, day, value, want);
    };
    with("Active", 50, Some("1"), (OnTrack, AtRisk));
    with("Active", 51, Some("1"), (AtRisk, AtRisk));
    with("Active", 50, None, (OnTrack, NotStarted));
    with("Active", 51, None, (NotStarted, NotStarted));
    with("Active", -1, None, (NotStarted, NotStarted));
    check(json!({"measure": {"stayBelow": {"target": 1}}}), -1, Some("7"), (NotStarted, AtRisk));
    check(json!({"measure": {"percent": {}}}), 0, Some("0"), (OnTrack, OnTrack));
    check(json!({"measure": {"percent": {}}}), 1, Some("0"), (Behind, Behind));
}

#[test]
fn the_lifecycle_counts_before_everything() {
    for (lifecycle, want) in [("Closed", Closed), ("Postponed", Postponed)] {
        let check_in = json!({"okrStatus": "OnTrack", "note": "promised", "until": "2026-12-31"});
        for day in [-10, 50, 200] {
            let mut world = World::synced(json!({"measure": {"percent": {}}}), "1").at(noon(day));
            world.changes(json!({"lifecycle": lifecycle, "override": check_in}));
            world.decides();
            assert_eq!(world.status().okr_status, Some(want), "on day {day}");
            let computed = if day == -10 { OnTrack } else { AtRisk };
            assert_eq!(world.status().computed_status, Some(computed), "on day {day}");
        }
    }
}

#[test]
fn days_are_those_of_the_zone() {
    let period = json!({"startDate": "2026-01-01", "endDate": "2026-04-11", "timeZone": "Pacific/Auckland"});
    let changes = json!({"measure": {"percent": {}}, "period": period,
        "override": {"okrStatus": "AtRisk", "note": "x", "until": "2026-02-20"}});
    // 23:59:59 and 00:00 of 2026-02-20/21 in Auckland, 13 hours ahead.
    let end = midnight(51) - hours(13);
    let status = |now| {
        let mut world = World::new(changes.clone()).at(now);
        world.measures("100");
        world.status().okr_status
    };
    assert_eq!(status(end - seconds(1)), Some(AtRisk));
    assert_eq!(status(end), Some(OnTrack));
}

#[test]
fn closing_freezes_the_value_and_the_day() {
    let mut world = World::synced(json!({"measure": {"percent": {}}}), "40");
    world.changes(json!({"lifecycle": "Closed"}));
    world.decides();
    let closed = world.status().clone();
    assert_eq!(closed.okr_status, Some(Closed));
    assert_eq!(closed.expected_progress_percent.as_deref(), Some("50"));
    assert_eq!(
        closed.explanation.as_deref(),
        Some(
            "Closed on 2026-02-20; 40 % is done, where 50 % is expected on 2026-02-20: 10 points behind, more than 0 but not more than 25, so Behind."
        )
    );
    for _ in 0..100 {
        world.wait(hours(25));
        world.decides();
        assert_eq!(*world.status(), closed);
    }
    // A corrected target counts, with the frozen value and day.
    world.changes(json!({"measure": {"reach": {"target": 400}}}));
    world.decides();
    assert_eq!(world.status().progress_percent.as_deref(), Some("10"));
    assert_eq!(world.status().expected_progress_percent.as_deref(), Some("50"));
    assert_eq!(world.status().computed_status, Some(AtRisk));
}

#[test]
fn closing_freezes_a_manual_value_too() {
    let manual = |value: &str| json!({"value": value, "asOf": "2026-02-01"});
    let mut world = World::new(json!({"measure": {"percent": {}}, "bigQuery": null, "manual": manual("40")}));
    world.decides();
    world.changes(json!({"lifecycle": "Closed"}));
    world.decides();
    world.wait(hours(24));
    world.changes(json!({"manual": manual("90")}));
    world.decides();
    assert_eq!(world.status().value.as_deref(), Some("40"));
    world.changes(json!({"lifecycle": "Active"}));
    world.decides();
    assert_eq!(world.status().value.as_deref(), Some("90"), "reopened");
    assert_eq!(world.status().okr_status, Some(OnTrack));
}

#[test]
fn a_status_is_as_old_as_its_last_change() {
    let mut world = World::synced(json!({"measure": {"percent": {}}}), "50");
    let since = |world: &World| world.status().okr_status_since.clone().unwrap().0;
    assert_eq!(since(&world), noon(50));
    world.wait(hours(1));
    world.measures("60");
    assert_eq!(since(&world), noon(50), "still OnTrack");
    world.wait(hours(1));
    world.measures("40");
    assert_eq!(since(&world), noon(50) + hours(2), "now Behind");
    world.wait(hours(1));
    world.fails(Reason::NoRows);
    world.wait(hours(24));
    world.decides();
    assert_eq!(since(&world), noon(50) + hours(2), "still Behind");
}

#[test]
fn a_failure_leaves_the_value_and_the_new_day_is_judged_by_it() {
    let mut world = World::synced(json!({"measure": {"percent": {}}}), "50").later(hours(24));
    world.fails(Reason::NoRows);
    let status = world.status();
    assert_eq!(status.value.as_deref(), Some("50"));
    assert_eq!(status.value_time.as_ref().unwrap().0, noon(50));
    assert_eq!(status.okr_status, Some(Behind));
    assert_eq!(
        status.explanation.as_deref(),
        Some(
            "Value of 2026-02-20T12:00:00Z: 50 % is done, where 51 % is expected on 2026-02-21: 1 point behind, more than 0 but not more than 25, so Behind."
        )
    );
}

#[test]
fn a_check_in_is_told_of() {
    let check_in = json!({"okrStatus": "OnTrack", "note": "The deal is signed.", "until": "2026-02-28"});
    let world = World::synced(json!({"measure": {"percent": {}}, "override": check_in}), "1");
    let explanation = world.status().explanation.clone().unwrap();
    assert!(
        explanation.ends_with("more than 25, so AtRisk; checked in as OnTrack until 2026-02-28: The deal is signed."),
        "{explanation}"
    );
}

#[test]
fn a_time_zone_that_does_not_exist_changes_no_status() {
    let mut world = World::synced(json!({"measure": {"percent": {}}}), "50").later(hours(48));
    world.changes(json!({"period": {"startDate": "2026-01-01", "endDate": "2026-04-11", "timeZone": "Mars/Olympus"}}));
    world.decides();
    assert_eq!(world.status().okr_status, Some(OnTrack));
    assert_eq!(world.ready_text(), "False InvalidTimeZone, Stalled");
}

#[test]
fn an_answer_that_comes_after_the_rest_began_is_dropped() {
    for rest in [json!({"lifecycle": "Closed"}), json!({"lifecycle": "Postponed"}), json!({"suspend": true})] {
        let mut world = World::synced(json!({}), "40").later(hours(1));
        world.changes(rest);
        let decided = world.next(None);
        world.measures("90");
        assert_eq!(*world.status(), decided);
        assert_eq!(world.status().value.as_deref(), Some("40"));
    }
}

#[test]
fn a_reopened_key_result_is_not_closed_even_where_no_day_is_known() {
    let mut world = World::synced(json!({"lifecycle": "Active"}), "50");
    world.changes(json!({"lifecycle": "Closed"}));
    world.decides();
    world.changes(json!({
        "lifecycle": "Active",
        "period": {"startDate": "2026-01-01", "endDate": "2026-04-11", "timeZone": "Mars/Olympus"},
    }));
    world.decides();
    assert_eq!(world.status().okr_status, Some(OnTrack));
}

#[test]
fn no_time_is_told_of_a_value_that_is_none() {
    let mut world = World::synced(json!({"measure": {"baseline": {}}}), "50");
    world.status_mut().value = Some("fifty".to_owned());
    world.fails(Reason::NoRows);
    assert_eq!(world.status().explanation.as_deref(), Some("There is no value yet."));
}
