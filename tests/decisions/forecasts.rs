//! Forecasts: where a history leads, and where that would be a guess.

use okr_operator::{
    api::{Forecast, HistoryPoint, Measure, Period, Time},
    domain::forecast,
};
use serde_json::{Value, json};

use crate::{
    rollups::Tree,
    world::{World, hours, noon},
};

fn period() -> Period {
    serde_json::from_value(json!({"startDate": "2026-01-01", "endDate": "2026-04-11"})).unwrap()
}

/// Values at noon of days.
fn points(values: &[(i64, &str)]) -> Vec<HistoryPoint> {
    values.iter().map(|(n, value)| HistoryPoint { time: Time(noon(*n)), value: (*value).to_owned() }).collect()
}

/// One value a day from `first` on.
fn daily(first: i64, values: &[&str]) -> Vec<HistoryPoint> {
    points(&values.iter().enumerate().map(|(n, value)| (first + i64::try_from(n).unwrap(), *value)).collect::<Vec<_>>())
}

fn text(forecast: Option<Forecast>) -> String {
    let Some(forecast) = forecast else { return "none".to_owned() };
    let progress = forecast.end_progress_percent.map(|progress| format!(" {progress} %")).unwrap_or_default();
    let reaches = forecast.reaches_target_on.map(|day| format!(" on {day}")).unwrap_or_default();
    format!("{}{progress}{reaches}", forecast.end_value)
}

#[track_caller]
fn check(measure: Value, history: &[HistoryPoint], want: &str) {
    let read: Measure = serde_json::from_value(measure.clone()).unwrap();
    let got = forecast::forecast(history, &read, &period(), &jiff::tz::TimeZone::UTC);
    assert_eq!(text(got), want, "{measure}");
}

/// One more each day, up to 21 on day 20; 80.5 days are left from then to the end of day 100.
fn rising() -> Vec<HistoryPoint> {
    let values: Vec<String> = (1..=21).map(|n| n.to_string()).collect();
    daily(0, &values.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_straight_line_goes_on_to_the_end_of_the_last_day() {
    check(json!({"reach": {"target": 203}}), &rising(), "101.5 50 %");
    check(json!({"percent": {}}), &rising(), "101.5 101.5 % on 2026-04-10");
    check(json!({"reach": {"target": 50}}), &rising(), "101.5 203 % on 2026-02-19");
    check(json!({"increase": {"from": 1, "target": 202}}), &rising(), "101.5 50 %");
    check(json!({"decrease": {"from": 1, "target": -10}}), &rising(), "101.5 -913.64 %");
}

#[test]
fn down_to_a_target() {
    let falling = daily(0, &["100", "99", "98", "97", "96", "95", "94", "93", "92", "91", "90", "89"]);
    check(json!({"decrease": {"from": 100, "target": 50}}), &falling, "-0.5 201 % on 2026-02-20");
    check(json!({"decrease": {"from": 100, "target": 89}}), &falling, "-0.5 913.64 %");
}

#[test]
fn bounds_have_an_end_value_alone() {
    check(json!({"stayBelow": {"target": 90}}), &rising(), "101.5");
    check(json!({"stayAbove": {"target": 90, "riskThreshold": 10}}), &rising(), "101.5");
    check(json!({"stayBetween": {"lower": 1, "upper": 2}}), &rising(), "101.5");
}

#[test]
fn a_target_that_is_reached_already_is_not_reached_again() {
    check(json!({"reach": {"target": 21}}), &rising(), "101.5 483.33 %");
    check(json!({"reach": {"target": 20}}), &rising(), "101.5 507.5 %");
}

#[test]
fn a_few_wild_values_do_not_matter() {
    let mut history = rising();
    history[5].value = "1000000".to_owned();
    history[11].value = "-1000000".to_owned();
    check(json!({"reach": {"target": 203}}), &history, "101.5 50 %");
}

#[test]
fn what_stands_still_stays() {
    let still = daily(0, &["7"; 12]);
    check(json!({"reach": {"target": 70}}), &still, "7 10 %");
}

#[test]
fn too_little_is_a_guess() {
    let reach = || json!({"reach": {"target": 203}});
    check(reach(), &[], "none");
    check(reach(), &points(&[(0, "1"), (7, "8"), (14, "15"), (20, "21")]), "none");
    check(reach(), &points(&[(0, "1"), (7, "8"), (14, "15"), (18, "19"), (20, "21")]), "101.5 50 %");
    // Eleven days are a tenth of the 101 from the start to the end of the last; ten are not.
    check(reach(), &rising()[..11], "none");
    check(reach(), &rising()[..12], "101.5 50 %");
    check(json!({"baseline": {}}), &rising(), "none");
}

#[test]
fn what_is_no_finite_number_leads_nowhere() {
    for value in ["NaN", "Infinity", "1e400", "much", ""] {
        let mut history = rising();
        history[3].value = value.to_owned();
        check(json!({"percent": {}}), &history, "none");
    }
    let mut huge = daily(0, &["-1e308"; 6]);
    huge.extend(daily(6, &["1e308"; 6]));
    check(json!({"percent": {}}), &huge, "none");
}

#[test]
fn only_points_of_the_period_count() {
    let mut before = daily(-20, &["500"; 20]);
    before.extend(rising());
    check(json!({"reach": {"target": 203}}), &before, "101.5 50 %");
    check(json!({"percent": {}}), &daily(90, &["1"; 12]), "none");
}

#[test]
fn of_many_points_the_latest_counts() {
    for count in [59i64, 60, 61, 95] {
        let values: Vec<String> = (1..=count).map(|n| n.to_string()).collect();
        let mut history = daily(0, &values.iter().map(String::as_str).collect::<Vec<_>>());
        history.last_mut().unwrap().value = "1000".to_owned();
        // The median is not moved by it, but what follows begins there.
        let end = 1000.0 + (101.5 - (count as f64));
        check(json!({"stayBelow": {"target": 90}}), &history, &end.to_string());
    }
}

#[test]
fn days_are_those_of_the_zone() {
    let measure: Measure = serde_json::from_value(json!({"reach": {"target": "50.6"}})).unwrap();
    let forecast_in = |zone: &str| {
        let mut period = period();
        period.time_zone = Some(zone.to_owned());
        let zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap();
        forecast::forecast(&rising(), &measure, &period, &zone).unwrap().reaches_target_on.unwrap().to_string()
    };
    assert_eq!(forecast_in("UTC"), "2026-02-20");
    assert_eq!(forecast_in("America/Sao_Paulo"), "2026-02-19");
}

#[test]
fn it_is_written_with_the_value_and_stays_while_nothing_changes() {
    let mut world = World::new(json!({})).at(noon(0));
    for day in 0..=20 {
        world.now = noon(day);
        world.measures(&(day + 1).to_string());
    }
    let written = world.status().forecast.clone();
    assert_eq!(text(written.clone()), "101.5 101.5 % on 2026-04-10");
    for later in [1, 20, 24 * 30] {
        assert_eq!(world.clone().later(hours(later)).next(None).forecast, written, "{later} hours later");
    }
    world.changes(json!({"lifecycle": "Closed"}));
    world.decides();
    assert_eq!(world.status().forecast, None, "nothing goes on");
}

#[test]
fn what_others_wrote_into_it_goes() {
    let mut world = World::synced(json!({}), "1");
    let foreign = json!({"endValue": "1", "method": "TheilSen"});
    world.status_mut().forecast = Some(serde_json::from_value(foreign).unwrap());
    world.decides();
    assert_eq!(world.status().forecast, None);
}

#[test]
fn a_roll_up_has_one_of_its_progress_up_to_a_hundred() {
    let mut tree = Tree::new(json!({}), &[]);
    for day in 0..=20 {
        tree.now = noon(day);
        let child = crate::rollups::key_result("c", json!({}), &(day * 2).to_string(), tree.now);
        tree.children.insert("grow".to_owned(), vec![child.into()]);
        tree.decides();
    }
    let forecast = tree.status().measured.forecast.clone();
    assert_eq!(text(forecast), "100 100 % on 2026-02-20");
}
