//! On Track, Behind or At Risk: SPEC 2's table and worked cases, through the whole decision.

use okr_operator::{
    api::{MeasuredStatus, OkrStatus},
    domain::number::{integer, parse, two_places},
};
use serde_json::{Value, json};

use crate::world::{World, noon};

fn verdict(changes: Value, day: i64, value: &str) -> MeasuredStatus {
    let mut world = World::new(changes).at(noon(day));
    world.measures(value);
    world.status().clone()
}

/// `want` is okrStatus, progress and expected progress.
fn check(changes: Value, day: i64, value: &str, want: &str) {
    let status = verdict(changes.clone(), day, value);
    let part = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let got = format!(
        "{} {} of {}",
        status.okr_status.unwrap().name(),
        part(&status.progress_percent),
        part(&status.expected_progress_percent)
    );
    assert_eq!(got, want, "{value} on day {day} of {changes}");
    assert_eq!(status.okr_status, status.computed_status, "nothing else speaks");
}

#[test]
fn the_worked_cases_of_the_specification() {
    let percent =
        |value: &str, expected: i64, want: &str| check(json!({"measure": {"percent": {}}}), expected, value, want);
    percent("47", 52, "Behind 47 of 52");
    percent("33", 33, "OnTrack 33 of 33");
    percent("32.9", 33, "Behind 32.9 of 33");
    percent("25", 50, "Behind 25 of 50");
    percent("24.9", 50, "AtRisk 24.9 of 50");
    percent("56", 82, "AtRisk 56 of 82");
    check(json!({"measure": {"increase": {"from": 100, "target": 200}}}), 20, "90", "AtRisk -10 of 20");
}

#[test]
fn the_line_begins_on_the_first_day_and_ends_on_the_last() {
    let percent = |day: i64, value: &str, want: &str| check(json!({"measure": {"percent": {}}}), day, value, want);
    percent(0, "0", "OnTrack 0 of 0");
    percent(1, "0", "Behind 0 of 1");
    percent(99, "99", "OnTrack 99 of 99");
    percent(100, "99.999", "Behind 100 of 100");
    percent(100, "100", "OnTrack 100 of 100");
    percent(101, "100", "OnTrack 100 of 100");
    percent(3000, "120", "OnTrack 120 of 100");
}

#[test]
fn progress_by_measure() {
    let on = |measure: Value, value: &str, want: &str| check(json!({"measure": measure}), 50, value, want);
    on(json!({"reach": {"target": 5000}}), "2500", "OnTrack 50 of 50");
    on(json!({"reach": {"target": 5000}}), "2499", "Behind 49.98 of 50");
    on(json!({"reach": {"target": "0.5"}}), "0.25", "OnTrack 50 of 50");
    on(json!({"reach": {"target": 10}}), "-1", "AtRisk -10 of 50");
    on(json!({"increase": {"from": -100, "target": 100}}), "0", "OnTrack 50 of 50");
    on(json!({"increase": {"from": 10, "target": 20}}), "30", "OnTrack 200 of 50");
    on(json!({"decrease": {"from": 200, "target": 100}}), "150", "OnTrack 50 of 50");
    on(json!({"decrease": {"from": 200, "target": 100}}), "151", "Behind 49 of 50");
    on(json!({"decrease": {"from": 200, "target": 100}}), "210", "AtRisk -10 of 50");
    on(json!({"decrease": {"from": 10, "target": -10}}), "-10", "OnTrack 100 of 50");
}

#[test]
fn control_measures_at_their_bounds() {
    let on = |measure: Value, value: &str, want: &str| {
        check(json!({"measure": measure, "period": null}), 50, value, want);
    };
    let below = || json!({"stayBelow": {"target": 10}});
    on(below(), "9.99", "OnTrack 100 of -");
    on(below(), "10", "AtRisk 0 of -");
    on(below(), "11", "AtRisk 0 of -");
    let below = || json!({"stayBelow": {"target": 10, "riskThreshold": 20}});
    on(below(), "9.99", "OnTrack 100 of -");
    on(below(), "10", "Behind 0 of -");
    on(below(), "19.99", "Behind 0 of -");
    on(below(), "20", "AtRisk 0 of -");
    let above = || json!({"stayAbove": {"target": 10}});
    on(above(), "10.01", "OnTrack 100 of -");
    on(above(), "10", "AtRisk 0 of -");
    on(above(), "9", "AtRisk 0 of -");
    let above = || json!({"stayAbove": {"target": 10, "riskThreshold": 5}});
    on(above(), "10.01", "OnTrack 100 of -");
    on(above(), "10", "Behind 0 of -");
    on(above(), "5.01", "Behind 0 of -");
    on(above(), "5", "AtRisk 0 of -");
    let between = || json!({"stayBetween": {"lower": "10", "upper": "20"}});
    on(between(), "10", "OnTrack 100 of -");
    on(between(), "20", "OnTrack 100 of -");
    on(between(), "9.999", "AtRisk 0 of -");
    on(between(), "20.001", "AtRisk 0 of -");
    on(json!({"stayBetween": {"lower": "7", "upper": "7"}}), "7.0", "OnTrack 100 of -");
    on(json!({"baseline": {}}), "7", "InProgress - of -");
}

#[test]
fn control_measures_expect_nothing_even_with_a_period() {
    check(json!({"measure": {"stayBelow": {"target": 10}}}), 50, "9", "OnTrack 100 of -");
    check(json!({"measure": {"baseline": {}}}), 50, "9", "InProgress - of -");
}

#[test]
fn phases_replace_the_line() {
    let phased = |day: i64, value: &str, want: &str| {
        let phases = json!([{"date": "2026-01-11", "target": 400}, {"date": "2026-03-02", "target": 500}]);
        let changes = json!({"measure": {"reach": {"target": 1000}}, "expected": {"phases": phases}});
        check(changes, day, value, want);
    };
    phased(0, "0", "OnTrack 0 of 0");
    phased(5, "200", "OnTrack 20 of 20");
    phased(10, "400", "OnTrack 40 of 40");
    phased(35, "450", "OnTrack 45 of 45");
    phased(60, "499", "Behind 49.9 of 50");
    phased(80, "750", "OnTrack 75 of 75");
    phased(100, "1000", "OnTrack 100 of 100");
    let way = json!({"increase": {"from": 100, "target": 200}});
    let phases = json!([{"date": "2026-02-20", "target": 110}]);
    check(json!({"measure": way, "expected": {"phases": phases}}), 50, "110", "OnTrack 10 of 10");
    let way = json!({"decrease": {"from": 200, "target": 100}});
    let phases = json!([{"date": "2026-02-20", "target": 190}]);
    check(json!({"measure": way, "expected": {"phases": phases}}), 75, "150", "Behind 50 of 55");
}

#[test]
fn each_threshold_is_set_by_itself() {
    let check = |thresholds: Value, operator: (i64, i64), gap: i64, want: OkrStatus| {
        let mut world = World::new(json!({"measure": {"percent": {}}, "thresholds": thresholds}));
        world.gaps.behind = integer(operator.0);
        world.gaps.at_risk = integer(operator.1);
        world.measures(&(50 - gap).to_string());
        assert_eq!(world.status().okr_status, Some(want), "gap {gap}, {thresholds}, operator {operator:?}");
    };
    check(json!({}), (0, 25), 0, OkrStatus::OnTrack);
    check(json!({}), (0, 25), 1, OkrStatus::Behind);
    check(json!({}), (5, 10), 5, OkrStatus::OnTrack);
    check(json!({}), (5, 10), 6, OkrStatus::Behind);
    check(json!({}), (5, 10), 10, OkrStatus::Behind);
    check(json!({}), (5, 10), 11, OkrStatus::AtRisk);
    check(json!({"behind": 8}), (5, 10), 8, OkrStatus::OnTrack);
    check(json!({"behind": 8}), (5, 10), 11, OkrStatus::AtRisk);
    check(json!({"atRisk": 40}), (5, 10), 6, OkrStatus::Behind);
    check(json!({"atRisk": 40}), (5, 10), 40, OkrStatus::Behind);
    check(json!({"atRisk": 40}), (5, 10), 41, OkrStatus::AtRisk);
    check(json!({"behind": 0, "atRisk": 0}), (5, 10), 1, OkrStatus::AtRisk);
}

#[test]
fn fractions_are_compared_exactly() {
    // A third of 100 days is no whole day: 33 days expect 33 percent, and 1 of 3 is a little more.
    check(json!({"measure": {"reach": {"target": 3}}}), 33, "1", "OnTrack 33.33 of 33");
    let thirty = json!({"startDate": "2026-01-01", "endDate": "2026-01-31"});
    // On day 10 of 30 a third is expected, exactly.
    check(json!({"measure": {"reach": {"target": 3}}, "period": thirty}), 10, "1", "OnTrack 33.33 of 33.33");
    let almost = format!("0.{}", "9".repeat(38));
    check(json!({"measure": {"reach": {"target": 3}}, "period": thirty}), 10, &almost, "Behind 33.33 of 33.33");
    // 39 digits and 38 decimals: as doubles all of these would be equal.
    let wide = |last: &str| format!("{}.{}{last}", "4".repeat(39), "0".repeat(37));
    let target = wide("5");
    check(json!({"measure": {"stayBelow": {"target": target}}}), 50, &wide("4"), "OnTrack 100 of -");
    check(json!({"measure": {"stayBelow": {"target": target}}}), 50, &wide("5"), "AtRisk 0 of -");
    check(json!({"measure": {"stayAbove": {"target": target}}}), 50, &wide("6"), "OnTrack 100 of -");
}

#[test]
fn a_float_is_the_decimal_that_bigquery_wrote() {
    check(json!({"measure": {"percent": {}}}), 50, "5.0E1", "OnTrack 50 of 50");
    check(json!({"measure": {"percent": {}}}), 50, "49.999999999999996", "Behind 50 of 50");
    check(json!({"measure": {"stayAbove": {"target": 1}}}), 50, "1.0E300", "OnTrack 100 of -");
    check(json!({"measure": {"stayAbove": {"target": 1}}}), 50, "-1.7976931348623157E308", "AtRisk 0 of -");
    check(json!({"measure": {"stayAbove": {"target": 0}}}), 50, "4.9E-324", "OnTrack 100 of -");
    let status = verdict(json!({"measure": {"percent": {}}}), 50, "1.0E300");
    assert_eq!(status.progress_percent, Some(format!("1{}", "0".repeat(300))));
    assert_eq!(status.score.as_deref(), Some("1"));
    assert_eq!(status.value.as_deref(), Some("1.0E300"), "exactly as BigQuery wrote it");
}

#[test]
fn the_score_is_progress_from_0_to_1() {
    let check = |measure: Value, value: &str, want: Option<&str>| {
        assert_eq!(verdict(json!({"measure": measure}), 50, value).score.as_deref(), want, "{value} of {measure}");
    };
    check(json!({"percent": {}}), "75", Some("0.75"));
    check(json!({"percent": {}}), "120", Some("1"));
    check(json!({"percent": {}}), "-3", Some("0"));
    check(json!({"reach": {"target": 3}}), "2", Some("0.67"));
    check(json!({"percent": {}}), "12.5", Some("0.12"));
    check(json!({"percent": {}}), "13.5", Some("0.14"));
    check(json!({"stayBelow": {"target": 3}}), "2", Some("1"));
    check(json!({"baseline": {}}), "2", None);
}

#[test]
fn the_target_in_words() {
    let check = |measure: Value, want: Option<&str>| {
        assert_eq!(verdict(json!({"measure": measure}), 50, "1").target_text.as_deref(), want, "{measure}");
    };
    check(json!({"percent": {}}), Some("100 %"));
    check(json!({"reach": {"target": 5000}}), Some("5000"));
    check(json!({"increase": {"from": 1, "target": "2.50"}}), Some("2.50"));
    check(json!({"decrease": {"from": 2, "target": 1}}), Some("1"));
    check(json!({"stayBelow": {"target": 3, "riskThreshold": 4}}), Some("below 3"));
    check(json!({"stayAbove": {"target": "99.95"}}), Some("above 99.95"));
    check(json!({"stayBetween": {"lower": 10, "upper": 20}}), Some("10 to 20"));
    check(json!({"baseline": {}}), None);
}

#[test]
fn numbers_are_shown_with_two_places_half_even() {
    let check = |text: &str, want: &str| assert_eq!(two_places(&parse(text).unwrap()), want, "{text}");
    check("0.005", "0");
    check("0.015", "0.02");
    check("0.025", "0.02");
    check("0.0250000000000001", "0.03");
    check("-0.015", "-0.02");
    check("-0.005", "0");
    check("2.675", "2.68");
    check("1.50", "1.5");
    check("100", "100");
    check("-1000.10", "-1000.1");
}

#[test]
fn the_explanation_is_one_sentence_with_the_arithmetic() {
    let check = |changes: Value, day: i64, value: &str, want: &str| {
        assert_eq!(verdict(changes, day, value).explanation.as_deref(), Some(want));
    };
    check(
        json!({"measure": {"reach": {"target": 5000}}, "unit": "leads"}),
        52,
        "2350",
        "2350 of 5000 leads is 47 % progress, where 52 % is expected on 2026-02-22: 5 points behind, more than 0 but not more than 25, so Behind.",
    );
    check(
        json!({"measure": {"percent": {}}}),
        82,
        "56",
        "56 % is done, where 82 % is expected on 2026-03-24: 26 points behind, more than 25, so AtRisk.",
    );
    check(
        json!({"measure": {"increase": {"from": 100, "target": 200}}, "unit": "EUR"}),
        20,
        "121",
        "121 EUR on the way from 100 to 200 is 21 % progress, where 20 % is expected on 2026-01-21: 1 point ahead, so OnTrack.",
    );
    check(
        json!({"measure": {"percent": {}}}),
        50,
        "50",
        "50 % is done, where 50 % is expected on 2026-02-20: exactly that, so OnTrack.",
    );
    check(
        json!({"measure": {"percent": {}}}),
        50,
        "49.999",
        "49.999 % is done, where 50 % is expected on 2026-02-20: less than 0.01 points behind, more than 0 but not more than 25, so Behind.",
    );
    check(
        json!({"measure": {"stayBelow": {"target": 300, "riskThreshold": 400}}, "unit": "ms"}),
        50,
        "350",
        "350 ms is not below 300, but below 400: Behind.",
    );
    check(json!({"measure": {"stayAbove": {"target": "99.9"}}}), 50, "99.8", "99.8 is not above 99.9: AtRisk.");
    check(json!({"measure": {"stayBetween": {"lower": 1, "upper": 2}}}), 50, "2", "2 is between 1 and 2: OnTrack.");
    check(
        json!({"measure": {"baseline": {}}, "unit": "users"}),
        50,
        "7",
        "7 users is recorded without a target: InProgress.",
    );
    check(
        json!({"measure": {"stayBetween": {"lower": 1, "upper": 2}}, "interval": "1m"}),
        50,
        "3",
        "3 is not between 1 and 2: AtRisk; the interval of 1m is raised to the connection's least, 5m.",
    );
}
