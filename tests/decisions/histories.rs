//! Past values.

use okr_operator::api::{HistoryPoint, Time};
use okr_operator::domain::{Reason, history};
use serde_json::json;

use crate::world::{World, hours, minutes, noon};

fn values(world: &World) -> Vec<&str> {
    world.status().history.iter().map(|point| point.value.as_str()).collect()
}

#[test]
fn a_point_is_added_a_hundredth_of_the_period_after_the_one_before_the_last() {
    // A hundredth of the period is a day.
    let mut world = World::synced(json!({}), "1");
    world.wait(hours(1));
    world.measures("2");
    assert_eq!(values(&world), ["1", "2"]);
    world.wait(hours(22));
    world.measures("3");
    assert_eq!(values(&world), ["1", "3"], "23 hours after the first");
    world.wait(hours(1));
    world.measures("4");
    assert_eq!(values(&world), ["1", "3", "4"]);
    world.wait(hours(22));
    world.measures("5");
    assert_eq!(values(&world), ["1", "3", "5"], "23 hours after the second");
    world.wait(hours(1));
    world.measures("6");
    assert_eq!(values(&world), ["1", "3", "5", "6"]);
}

#[test]
fn without_a_period_points_are_a_day_apart() {
    let mut world = World::synced(json!({"measure": {"baseline": {}}, "period": null}), "1");
    for hour in 0..48 {
        world.wait(hours(1));
        world.measures(&hour.to_string());
    }
    assert_eq!(values(&world), ["1", "22", "45", "47"]);
}

#[test]
fn over_120_every_second_older_point_goes() {
    let mut world = World::new(json!({"measure": {"baseline": {}}, "period": null})).at(noon(0));
    let mut most = 0;
    for day in 0..1000 {
        world.now = noon(day);
        world.measures(&day.to_string());
        let history = &world.status().history;
        assert_eq!(history[0].value, "0", "the first stays");
        assert_eq!(history.last().unwrap().value, day.to_string(), "the latest is there");
        assert!(history.len() <= history::MOST_POINTS);
        assert!(history.is_sorted_by(|a, b| a.time < b.time));
        most = most.max(history.len());
    }
    assert_eq!(most, history::MOST_POINTS);
}

#[test]
fn a_failure_adds_no_point() {
    let mut world = World::synced(json!({}), "1").later(hours(48));
    world.fails(Reason::NoRows);
    world.decides();
    assert_eq!(values(&world), ["1"]);
}

#[test]
fn another_measure_start_or_unit_begins_anew() {
    let check = |changes: serde_json::Value, cleared: bool| {
        let mut world = World::synced(json!({"measure": {"increase": {"from": 1, "target": 9}}, "unit": "EUR"}), "1");
        world.wait(minutes(1));
        world.changes(changes.clone());
        world.decides();
        assert_eq!(world.status().history.is_empty(), cleared, "{changes}");
        assert_eq!(world.status().value.as_deref(), Some("1"), "the value stays");
    };
    check(json!({"measure": {"increase": {"from": 2, "target": 9}}}), true);
    check(json!({"measure": {"increase": {"from": 1, "target": 10}}}), false);
    check(json!({"measure": {"reach": {"target": 9}}}), true);
    check(json!({"unit": "USD"}), true);
    check(json!({"unit": null}), true);
    check(json!({"title": "Another", "bigQuery": {"query": "SELECT 2"}}), false);
}

#[test]
fn a_manual_value_for_an_earlier_day_takes_the_place_of_what_came_after() {
    let manual = |value: i64, as_of: &str| json!({"bigQuery": null, "manual": {"value": value, "asOf": as_of}});
    let mut world = World::new(manual(1, "2026-02-01"));
    world.decides();
    world.changes(manual(2, "2026-02-11"));
    world.decides();
    world.changes(manual(3, "2026-02-18"));
    world.decides();
    assert_eq!(values(&world), ["1", "2", "3"]);
    world.changes(manual(4, "2026-02-18"));
    world.decides();
    assert_eq!(values(&world), ["1", "2", "4"]);
    world.changes(manual(5, "2026-02-05"));
    world.decides();
    assert_eq!(values(&world), ["1", "5"]);
}

#[test]
fn points_of_the_future_and_too_many_points_go() {
    let point = |n: i64, value: &str| HistoryPoint { time: Time(noon(n)), value: value.to_owned() };
    let mut world = World::synced(json!({}), "1");
    world.status_mut().history.extend([point(900, "x"), point(901, "y")]);
    world.wait(hours(1));
    world.measures("2");
    assert_eq!(values(&world), ["1", "2"]);
    world.status_mut().history = (-5000..0).map(|n| point(n, "x")).collect();
    world.measures("3");
    assert!(world.status().history.len() <= history::MOST_POINTS);
    assert_eq!(values(&world).last(), Some(&"3"));
}

#[test]
fn a_manual_value_is_in_a_history_that_begins_anew() {
    let mut world = World::new(json!({"bigQuery": null, "manual": {"value": 1, "asOf": "2026-02-01"}}));
    world.decides();
    world.changes(json!({"unit": "EUR"}));
    world.decides();
    assert_eq!(values(&world), ["1"]);
}
