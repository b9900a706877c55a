//! Events: transitions, and nothing that repeats.

use okr_operator::{
    api::MeasuredStatus,
    domain::{Reason, event, status::Outcome},
};
use serde_json::json;

use crate::world::{World, failed, hours, measured};

/// The events of one write, such as `Warning Behind`.
fn events(before: &MeasuredStatus, after: &MeasuredStatus) -> Vec<String> {
    let kind = |warning: bool| if warning { "Warning" } else { "Normal" };
    event::transitions(before, after).iter().map(|event| format!("{} {}", kind(event.warning), event.reason)).collect()
}

fn told(world: &mut World, change: impl FnOnce(&mut World)) -> Vec<String> {
    let before = world.key_result.status.clone().unwrap_or_default();
    change(world);
    events(&before, world.status())
}

#[track_caller]
fn check(world: &mut World, outcome: Outcome, want: &[&str]) {
    assert_eq!(told(world, |world| world.tries(outcome)), want);
}

#[test]
fn the_first_decision_is_told_only_where_it_is_bad() {
    check(&mut World::new(json!({})), measured("100"), &[]);
    check(&mut World::new(json!({})), measured("49"), &["Warning Behind"]);
    check(&mut World::new(json!({})), measured("0"), &["Warning AtRisk"]);
    check(&mut World::new(json!({})), failed(Reason::TableNotFound), &["Warning TableNotFound"]);
    let mut suspended = World::new(json!({"suspend": true}));
    assert!(told(&mut suspended, World::decides).is_empty());
}

#[test]
fn each_change_is_told_once() {
    let mut world = World::synced(json!({}), "100");
    check(&mut world, measured("100"), &[]);
    check(&mut world, measured("49"), &["Warning Behind"]);
    check(&mut world, measured("48"), &[]);
    check(&mut world, measured("1"), &["Warning AtRisk"]);
    check(&mut world, measured("100"), &["Normal OnTrack"]);
    check(&mut world, failed(Reason::NoRows), &["Warning NoRows"]);
    check(&mut world, failed(Reason::QueryInvalid), &[]);
    check(&mut world, failed(Reason::NoRows), &[]);
    check(&mut world, measured("0"), &["Warning AtRisk", "Normal Synced"]);
}

#[test]
fn passing_failures_are_told_once_they_show() {
    let mut world = World::synced(json!({}), "100");
    check(&mut world, failed(Reason::Timeout), &[]);
    check(&mut world, failed(Reason::Timeout), &[]);
    check(&mut world, failed(Reason::Timeout), &["Warning Timeout"]);
    check(&mut world, failed(Reason::Timeout), &[]);
    check(&mut world, measured("100"), &["Normal Synced"]);
}

#[test]
fn a_connection_that_fails_and_a_used_up_budget_are_not_told() {
    let mut world = World::synced(json!({}), "100").later(hours(2));
    world.ready = false;
    assert!(told(&mut world, World::decides).is_empty());
    assert_eq!(world.ready_text(), "False ConnectionNotReady, Reconciling");
    world.ready = true;
    assert!(told(&mut world, World::decides).is_empty());
    check(&mut world, measured("100"), &[]);
    world.wait(hours(2));
    world.within_budget = false;
    assert!(told(&mut world, World::decides).is_empty());
    assert_eq!(world.ready_text(), "False BudgetExhausted");
    world.within_budget = true;
    check(&mut world, measured("100"), &[]);
}

#[test]
fn an_event_says_what_changed_in_our_own_words() {
    let mut world = World::synced(json!({}), "100");
    let before = world.status().clone();
    world.measures("49");
    let [event] = &event::transitions(&before, world.status())[..] else { panic!("one event") };
    assert_eq!(
        event.note,
        "Changed from OnTrack to Behind. 49 of 100 is 49 % progress, where 50 % is expected on 2026-02-20: 1 point behind, more than 0 but not more than 25, so Behind."
    );
    let before = world.status().clone();
    world.fails(Reason::QueryInvalid);
    let [event] = &event::transitions(&before, world.status())[..] else { panic!("one event") };
    assert_eq!(event.note, Reason::QueryInvalid.sentence());
    assert_eq!(event.action, "Sync");
}

#[test]
fn a_failure_behind_a_connection_that_was_not_ready_is_told() {
    let mut world = World::new(json!({}));
    world.ready = false;
    assert!(told(&mut world, World::decides).is_empty());
    world.ready = true;
    check(&mut world, failed(Reason::TableNotFound), &["Warning TableNotFound"]);
    check(&mut world, failed(Reason::TableNotFound), &[]);
}
