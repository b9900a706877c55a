//! Objectives: SPEC section 6. What they share with key results is refused in the same words.

use okr_operator::api::OkrObjective;

use crate::{ACCEPTED, check, support::cluster::sandbox};

const PERIOD: (&str, &str) = ("period", "{startDate: 2026-10-01, endDate: 2026-12-31}");

async fn check_objectives(cases: &[(&str, &str)]) {
    let sandbox = sandbox("admission").await;
    check::<OkrObjective>(&sandbox, &[PERIOD], cases).await;
}

/// The same, with a measure of its own and a manual value.
async fn check_measured(cases: &[(&str, &str)]) {
    let sandbox = sandbox("admission").await;
    let others = [PERIOD, ("measure", "{reach: {target: 100}}"), ("manual", "{value: 5, asOf: 2026-10-01}")];
    check::<OkrObjective>(&sandbox, &others, cases).await;
}

#[tokio::test]
async fn an_objective_needs_nothing() {
    check_objectives(&[
        ("", ACCEPTED),
        ("period: null", ACCEPTED),
        ("title: Grow the pipeline, owner: growth-team, description: More of it", ACCEPTED),
        ("statusFrom: KeyResults", ACCEPTED),
        ("statusFrom: Progress", ACCEPTED),
        (
            "statusFrom: Children",
            r#"spec.statusFrom: Unsupported value: "Children": supported values: "Progress", "KeyResults""#,
        ),
        ("lifecycle: Closed", ACCEPTED),
        ("thresholds: {behind: 5, atRisk: 20}", ACCEPTED),
        ("thresholds: {behind: 20, atRisk: 5}", "thresholds.behind must not be above thresholds.atRisk"),
        ("override: {okrStatus: OnTrack, note: Seen, until: 2026-10-31}", ACCEPTED),
        ("override: {okrStatus: OnTrack, until: 2026-10-31}", "spec.override.note: Required value"),
        ("links: [{title: Plan, url: \"https://example.com/plan\"}]", ACCEPTED),
        ("links: [{title: Plan, url: \"http://example.com/plan\"}]", "spec.links[0].url"),
        ("period: {startDate: 2026-10-01, endDate: 2026-10-01}", "endDate must be after startDate"),
    ])
    .await;
}

#[tokio::test]
async fn what_it_counts_for() {
    check_objectives(&[
        ("parentRef: {name: company}", ACCEPTED),
        ("parentRef: {name: company, namespace: board}", ACCEPTED),
        ("parentRef: {}", "spec.parentRef.name: Required value"),
        ("parentRef: {name: \"\"}", "spec.parentRef.name in body should be at least 1"),
        ("weight: 0", ACCEPTED),
        ("weight: 100", ACCEPTED),
        ("weight: 101", "spec.weight in body should be less than or equal to 100"),
        ("weight: -1", "spec.weight in body should be greater than or equal to 0"),
        ("weight: 1.5", r#"spec.weight in body must be of type integer: "number""#),
    ])
    .await;
}

#[tokio::test]
async fn who_may_refer_to_it() {
    check_objectives(&[
        ("allowedNamespaces: {from: Same}", ACCEPTED),
        ("allowedNamespaces: {from: All}", ACCEPTED),
        ("allowedNamespaces: {from: Selector, selector: {matchLabels: {team: sales}}}", ACCEPTED),
        ("allowedNamespaces: {from: Selector}", "spec.allowedNamespaces"),
        ("allowedNamespaces: {from: All, selector: {matchLabels: {team: sales}}}", "spec.allowedNamespaces"),
        ("allowedNamespaces: {from: Some}", r#"spec.allowedNamespaces.from: Unsupported value: "Some""#),
    ])
    .await;
}

#[tokio::test]
async fn a_roll_up_takes_nothing_of_a_query() {
    const SOURCE: &str = "spec: Invalid value: an objective with a measure of its own takes exactly one of bigQuery and manual; one without is rolled up and takes neither";
    const QUERY: &str = "spec: Invalid value: unit, interval, expected and suspend go with a measure of the objective's own: an objective that is rolled up sends no query";
    check_objectives(&[
        ("bigQuery: {query: SELECT 1}", SOURCE),
        ("manual: {value: 5, asOf: 2026-10-01}", SOURCE),
        ("bigQuery: {query: SELECT 1}, manual: {value: 5, asOf: 2026-10-01}", SOURCE),
        ("unit: leads", QUERY),
        ("interval: 1h", QUERY),
        ("expected: {phases: [{date: 2026-11-01, target: 30}]}", QUERY),
        ("suspend: true", QUERY),
        ("suspend: false", QUERY),
    ])
    .await;
}

#[tokio::test]
async fn a_measure_of_its_own_comes_with_one_source_of_its_value() {
    const SOURCE: &str = "spec: Invalid value: an objective with a measure of its own takes exactly one of bigQuery and manual; one without is rolled up and takes neither";
    check_measured(&[
        ("", ACCEPTED),
        ("manual: null, bigQuery: {query: SELECT 1}", ACCEPTED),
        ("manual: null", SOURCE),
        ("bigQuery: {query: SELECT 1}", SOURCE),
        ("unit: leads, interval: 2h, suspend: true", ACCEPTED),
        ("interval: 59s", "spec.interval: Invalid value: must be from 1m to 168h"),
        ("expected: {phases: [{date: 2026-11-01, target: 30}]}", ACCEPTED),
        (
            "expected: {phases: [{date: 2026-12-31, target: 30}]}",
            "the dates of expected.phases must lie between period.startDate and period.endDate, both excluded",
        ),
        (
            "measure: {percent: {}}, expected: {phases: [{date: 2026-11-01, target: 30}]}",
            "expected.phases goes with the measures reach, increase and decrease only",
        ),
        (
            "statusFrom: KeyResults",
            "statusFrom goes with objectives that are rolled up: one with a measure of its own is judged by that",
        ),
        (
            "period: null",
            "period {startDate, endDate} is required for the measures percent, reach, increase and decrease",
        ),
        ("period: null, measure: {stayBelow: {target: 10}}", ACCEPTED),
        ("period: null, measure: {baseline: {}}", ACCEPTED),
        ("measure: {reach: {target: 0}}", "reach: target must be above 0; to go down use decrease"),
        ("measure: {reach: {target: 5}, percent: {}}", "spec.measure"),
    ])
    .await;
}
