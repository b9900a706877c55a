//! What makes a query another one.

use serde_json::{Value, json};

use crate::world::World;

/// Whether `changes` of the key result change the fingerprint of one with `query`.
fn check(query: &str, changes: Value, changed: bool) {
    let mut world = World::new(json!({"bigQuery": {"query": query}}));
    let before = world.fingerprint();
    assert_eq!(before, world.fingerprint());
    world.changes(changes.clone());
    assert_eq!(world.fingerprint() != before, changed, "{query} with {changes}");
}

fn period(start: &str, end: &str, zone: Option<&str>) -> Value {
    json!({"period": {"startDate": start, "endDate": end, "timeZone": zone}})
}

#[test]
fn each_input_of_the_query_counts() {
    let query = |query: &str, parameters: Value| json!({"bigQuery": {"query": query, "parameters": parameters}});
    let parameter = |name: &str, kind: &str, value: &str| json!([{"name": name, "type": kind, "value": value}]);
    check("SELECT 1", query("SELECT 1", json!([])), false);
    check("SELECT 1", query("SELECT  1", json!([])), true);
    check("SELECT 1", query("SELECT 1", parameter("a", "INT64", "1")), true);
    let mut world = World::new(query("SELECT @a", parameter("a", "INT64", "1")));
    let before = world.fingerprint();
    for other in [parameter("b", "INT64", "1"), parameter("a", "FLOAT64", "1"), parameter("a", "INT64", "2")] {
        world.changes(query("SELECT @a", other));
        assert_ne!(world.fingerprint(), before);
    }
    world.changes(query("SELECT @a", parameter("a", "INT64", "1")));
    assert_eq!(world.fingerprint(), before);
}

#[test]
fn nothing_but_the_query_counts() {
    for changes in [
        json!({"title": "x"}),
        json!({"measure": {"reach": {"target": 7}}}),
        json!({"unit": "EUR"}),
        json!({"interval": "2h"}),
        json!({"thresholds": {"behind": 1}}),
        json!({"lifecycle": "Postponed"}),
        json!({"bigQuery": {"query": "SELECT 1", "connectionRef": {"name": "warehouse"}}}),
    ] {
        check("SELECT 1", changes, false);
    }
}

#[test]
fn the_period_counts_where_it_is_mentioned() {
    let (later_start, later_end) = (period("2026-01-02", "2026-04-11", None), period("2026-01-01", "2026-04-12", None));
    let zone = period("2026-01-01", "2026-04-11", Some("Europe/Paris"));
    for query in ["SELECT 1", "SELECT '@period_start @today' -- @period_end", "SELECT @now", "SELECT @period_started"] {
        check(query, later_start.clone(), false);
        check(query, later_end.clone(), false);
        check(query, zone.clone(), false);
    }
    check("SELECT @period_start", later_start.clone(), true);
    check("SELECT @PERIOD_START", later_start.clone(), true);
    check("SELECT @period_start", later_end.clone(), false);
    check("SELECT @period_end", later_end, true);
    check("SELECT @period_end", later_start, false);
    check("SELECT @today", zone, true);
}

#[test]
fn the_connection_counts() {
    let world = World::new(json!({}));
    let before = world.fingerprint();
    let check = |changed: bool, change: fn(&mut World)| {
        let mut world = world.clone();
        change(&mut world);
        assert_eq!(world.fingerprint() != before, changed);
    };
    check(true, |world| world.connection.metadata.uid = Some("another".to_owned()));
    check(true, |world| world.connection.spec.project_id = "another".to_owned());
    check(true, |world| world.connection.spec.location = Some("EU".to_owned()));
    check(true, |world| world.connection.spec.default_dataset = Some("sales".to_owned()));
    check(false, |world| world.connection.spec.display_name = Some("another".to_owned()));
    check(false, |world| world.connection.spec.default = Some(true));
    check(false, |world| world.connection.metadata.name = Some("renamed".to_owned()));
}

#[test]
fn inputs_do_not_run_into_one_another() {
    let fingerprint = |location: &str, dataset: &str| {
        let mut world = World::new(json!({}));
        world.connection.spec.location = Some(location.to_owned());
        world.connection.spec.default_dataset = Some(dataset.to_owned());
        world.fingerprint()
    };
    assert_ne!(fingerprint("EU", "a"), fingerprint("EUa", ""));
    assert_eq!(fingerprint("EU", "a").len(), 32);
}
