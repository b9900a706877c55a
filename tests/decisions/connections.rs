//! Whether a connection works: when it is checked, and what its status says.

use jiff::Timestamp;
use okr_operator::{
    api::BigQueryConnection,
    domain::connection::{
        Checks,
        ConnectionReason::{self, *},
        Known, Load, SaturatedReason, Verdict, bytes_of_day, known_from, next, next_check, saturate,
    },
};
use serde_json::json;

use crate::world::{connection, hours, midnight, minutes, noon, seconds};

/// The connection after a verdict, the `failures`-th failure in a row.
fn after(mut connection: BigQueryConnection, reason: ConnectionReason, failures: u32) -> BigQueryConnection {
    let verdict = Verdict::new(reason, "in words".to_owned());
    let checks = Checks { last: Some(noon(50)), failures, suspected_at: None };
    connection.status = Some(next(&connection, Some(&verdict), &Known::default(), checks, noon(50)));
    connection
}

fn warehouse() -> BigQueryConnection {
    connection("sales", "warehouse", json!({}))
}

fn conditions(connection: &BigQueryConnection) -> String {
    let conditions = &connection.status.as_ref().unwrap().conditions;
    let texts = conditions.iter().map(|condition| {
        assert_eq!(condition.observed_generation, connection.metadata.generation);
        format!("{} {} {}", condition.type_, condition.status, condition.reason)
    });
    texts.collect::<Vec<_>>().join(", ")
}

#[test]
fn every_reason_shows_as_the_specification_says() {
    let check = |reason: ConnectionReason, beside: Option<&str>| {
        let name = reason.name();
        let want = match beside {
            None => format!("Ready True {name}"),
            Some(beside) => format!("Ready False {name}, {beside} True {name}"),
        };
        assert_eq!(conditions(&after(warehouse(), reason, 1)), want);
    };
    check(Connected, None);
    check(Suspended, None);
    for reason in [SecretNotFound, SecretKeyMissing, Unavailable] {
        check(reason, Some("Reconciling"));
    }
    for reason in [
        SecretNotReadable,
        CredentialsInvalid,
        CredentialsRefused,
        EndpointNotAllowed,
        ProjectNotFound,
        ApiDisabled,
        PermissionDenied,
    ] {
        check(reason, Some("Stalled"));
    }
}

#[test]
fn unavailable_shows_at_the_third_in_a_row() {
    let mut connection = after(warehouse(), Connected, 0);
    for (failures, want) in [
        (1, "Ready True Connected"),
        (2, "Ready True Connected"),
        (3, "Ready False Unavailable, Reconciling True Unavailable"),
        (4, "Ready False Unavailable, Reconciling True Unavailable"),
    ] {
        connection = after(connection, Unavailable, failures);
        assert_eq!(conditions(&connection), want);
    }
}

#[test]
fn a_failed_check_is_repeated_after_1_and_2_minutes_and_then_every_5() {
    let check = |failures: u32, want: Timestamp| {
        let connection = after(warehouse(), PermissionDenied, failures);
        let checks = Checks { last: Some(noon(50)), failures, suspected_at: None };
        assert_eq!(next_check(&connection, checks, None, noon(50)), want, "{failures}");
    };
    check(1, noon(50) + minutes(1));
    check(2, noon(50) + minutes(2));
    check(3, noon(50) + minutes(5));
    check(1000, noon(50) + minutes(5));
}

#[test]
fn a_passed_check_or_a_good_query_counts_for_an_hour() {
    let connection = after(warehouse(), Connected, 0);
    let checks = Checks { last: Some(noon(50)), failures: 0, suspected_at: None };
    let now = noon(50) + minutes(30);
    assert_eq!(next_check(&connection, checks, None, now), noon(50) + hours(1));
    assert_eq!(next_check(&connection, checks, Some(now), now), now + hours(1));
    assert_eq!(next_check(&connection, Checks::default(), None, now), now, "a new process without a proof");
    assert_eq!(next_check(&warehouse(), checks, None, now), now, "a new connection");
}

#[test]
fn a_change_or_a_request_is_checked_at_once_and_once() {
    let checks = Checks { last: Some(noon(50)), failures: 1, suspected_at: None };
    let now = noon(50) + seconds(1);
    let mut connection = after(warehouse(), Connected, 0);
    connection.metadata.generation = Some(2);
    assert_eq!(next_check(&connection, checks, None, now), now);
    let mut connection = after(warehouse(), Connected, 0);
    connection.metadata.annotations = Some([("okr-operator.dev/refresh".to_owned(), "a".to_owned())].into());
    assert_eq!(next_check(&connection, checks, None, now), now);
    let connection = after(connection, Unavailable, 1);
    assert_eq!(connection.status.as_ref().unwrap().last_handled_refresh.as_deref(), Some("a"));
    assert!(next_check(&connection, checks, None, now) > now);
}

#[test]
fn bytes_count_for_their_day_in_utc() {
    let mut connection = after(warehouse(), Connected, 0);
    let known = Known { bytes_today: 7, proven_at: Some(midnight(51) - seconds(1)), ..Known::default() };
    assert_eq!(bytes_of_day(&known, midnight(51) - seconds(1)), 7);
    assert_eq!(bytes_of_day(&known, midnight(51)), 0);
    let status = next(&connection, None, &known, Checks::default(), midnight(51) - seconds(1));
    assert_eq!(status.bytes_today, Some(7));
    connection.status = Some(status.clone());
    assert_eq!(known_from(&status), known, "another process goes on from the status");
    assert_eq!(next(&connection, None, &known, Checks::default(), midnight(51) - seconds(1)), status);
}

#[test]
fn without_a_verdict_a_new_connection_is_not_written() {
    let connection = warehouse();
    let status = next(&connection, None, &Known::default(), Checks::default(), noon(50));
    assert_eq!(status, okr_operator::api::BigQueryConnectionStatus::default());
}

#[test]
fn what_fails_through_a_connection_asks_for_one_check_of_it() {
    let connection = after(warehouse(), Connected, 0);
    let check = |last: Timestamp, suspected: Timestamp, proven: Option<Timestamp>, want: Timestamp| {
        let checks = Checks { last: Some(last), failures: 0, suspected_at: Some(suspected) };
        assert_eq!(next_check(&connection, checks, proven, noon(50) + minutes(40)), want);
    };
    let suspected = noon(50) + minutes(30);
    check(noon(50), suspected, None, suspected);
    check(suspected - seconds(20), suspected, None, suspected + seconds(40));
    check(noon(50), suspected, Some(suspected + seconds(1)), suspected + seconds(1) + hours(1));
    check(suspected + seconds(1), suspected, None, suspected + seconds(1) + hours(1));
    // A process that checked nothing yet trusts the last proof.
    let checks = Checks { suspected_at: Some(suspected), ..Checks::default() };
    assert_eq!(next_check(&connection, checks, Some(noon(50)), suspected), suspected);
}

#[test]
fn failing_checks_follow_their_own_steps_however_much_fails_meanwhile() {
    let connection = after(warehouse(), Connected, 0);
    for (failures, wait) in [(1, 1), (2, 2), (3, 5)] {
        let checks = Checks { last: Some(noon(50)), failures, suspected_at: Some(noon(50) + seconds(5)) };
        assert_eq!(next_check(&connection, checks, None, noon(50) + seconds(6)), noon(50) + minutes(wait));
    }
}

#[test]
fn a_check_of_before_the_clock_was_put_back_is_no_check() {
    let connection = after(warehouse(), Connected, 0);
    for failures in [0, 1] {
        let checks = Checks { last: Some(noon(50) + minutes(60)), failures, suspected_at: None };
        assert_eq!(next_check(&connection, checks, None, noon(50)), noon(50));
    }
}

/// `Saturated` of a connection with this load at a moment; None where it is absent.
fn saturated(connection: &mut BigQueryConnection, load: Load, now: Timestamp) -> Option<(String, String)> {
    let mut status = connection.status.clone().unwrap();
    saturate(&mut status, connection, &load, now);
    let found = status.conditions.iter().find(|condition| condition.type_ == "Saturated");
    let found = found.map(|condition| {
        assert_eq!(condition.status, "True");
        (condition.reason.clone(), condition.message.clone())
    });
    connection.status = Some(status);
    found
}

#[test]
fn due_work_that_does_not_fit_is_said_with_what_to_do() {
    let mut connection = after(warehouse(), Connected, 0);
    let now = noon(50);
    let load = Load { waiting: 12, oldest: Some(minutes(3)), late_at: Some(now), slowed: false };
    let (reason, message) = saturated(&mut connection, load, now).unwrap();
    assert_eq!(reason, SaturatedReason::DueWorkWaits.name());
    assert!(message.starts_with(
        "Due queries that wait: 12, the oldest for 3 min. Raise spec.limits.maxConcurrentQueries (now 8)"
    ));
    let (reason, message) = saturated(&mut connection, Load { slowed: true, ..load }, now).unwrap();
    assert_eq!(reason, SaturatedReason::RateLimited.name());
    assert!(message.contains("quota"), "{message}");
}

#[test]
fn what_waits_for_less_than_a_minute_saturates_nothing() {
    let mut connection = after(warehouse(), Connected, 0);
    let load = Load { waiting: 12, oldest: Some(seconds(59)), late_at: None, slowed: true };
    assert_eq!(saturated(&mut connection, load, noon(50)), None);
}

#[test]
fn saturation_ends_after_five_calm_minutes() {
    let mut connection = after(warehouse(), Connected, 0);
    let load = Load { late_at: Some(noon(50)), ..Load::default() };
    let since = |connection: &BigQueryConnection| {
        let conditions = &connection.status.as_ref().unwrap().conditions;
        conditions.iter().find(|condition| condition.type_ == "Saturated").unwrap().last_transition_time.0
    };
    saturated(&mut connection, Load { slowed: true, ..load }, noon(50)).unwrap();
    let (reason, message) = saturated(&mut connection, load, noon(50) + minutes(4)).unwrap();
    assert_eq!(reason, "RateLimited", "it goes on saying what it said");
    assert!(message.starts_with("Due queries lately began"), "{message}");
    assert_eq!(since(&connection), noon(50));
    assert_eq!(saturated(&mut connection, load, noon(50) + minutes(5)), None);
}

#[test]
fn what_is_not_in_use_is_not_saturated() {
    let load = Load { waiting: 1, oldest: Some(minutes(3)), late_at: Some(noon(50)), slowed: false };
    assert_eq!(saturated(&mut after(warehouse(), PermissionDenied, 1), load, noon(50)), None);
    let mut suspended = connection("sales", "warehouse", json!({"suspend": true}));
    suspended = after(suspended, Suspended, 0);
    assert_eq!(saturated(&mut suspended, load, noon(50)), None);
}
