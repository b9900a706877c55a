//! Measures, their numbers, periods, phases and thresholds: SPEC section 2.

use http::{Request, header::CONTENT_TYPE};
use kube::{
    Resource,
    api::{Patch, PatchParams},
};
use okr_operator::api::OkrKeyResult;
use serde_json::{Value, json};

use super::key_result::{OTHERS, check_key_results, check_within};
use crate::{ACCEPTED, answer, support::cluster::sandbox};

#[tokio::test]
async fn exactly_one_known_measure() {
    const ONE: &str = "spec.measure: Invalid value: set exactly one of percent, reach, increase, decrease, stayBelow, stayAbove, stayBetween, baseline";
    check_key_results(&[
        ("measure: {percent: {}}", ACCEPTED),
        ("measure: {reach: {target: 5}}", ACCEPTED),
        ("measure: {increase: {from: 5, target: 6}}", ACCEPTED),
        ("measure: {decrease: {from: 6, target: 5}}", ACCEPTED),
        ("measure: {stayBelow: {target: 5}}", ACCEPTED),
        ("measure: {stayAbove: {target: 5}}", ACCEPTED),
        ("measure: {stayBetween: {lower: 5, upper: 6}}", ACCEPTED),
        ("measure: {baseline: {}}", ACCEPTED),
        ("measure: {percent: null, baseline: {}}", ACCEPTED),
        ("measure: {}", ONE),
        ("measure: {percent: {}, baseline: {}}", ONE),
        ("measure: {reach: {target: 5}, stayBelow: {target: 5}}", ONE),
        ("measure: null", "spec.measure: Required value"),
        ("measure: percent", r#"spec.measure in body must be of type object: "string""#),
        ("measure: {growth: {target: 5}}", r#"unknown field "spec.measure.growth""#),
        ("measure: {baseline: {}, growth: {target: 5}}", r#"unknown field "spec.measure.growth""#),
        ("measure: {percent: {target: 5}}", r#"unknown field "spec.measure.percent.target""#),
    ])
    .await;
}

#[tokio::test]
async fn an_unknown_measure_is_refused_however_it_is_sent() {
    let sandbox = sandbox("admission").await;
    let object = json!({
        "apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrKeyResult", "metadata": {"name": "unknown"},
        "spec": {"measure": {"growth": {}}, "bigQuery": {"query": "SELECT 1"}},
    });
    // A client that does not ask for unknown fields to be refused: they are dropped, and no measure is left.
    let url = OkrKeyResult::url_path(&(), Some(&sandbox.namespace));
    let create =
        Request::post(format!("{url}?dryRun=All&fieldValidation=Ignore")).header(CONTENT_TYPE, "application/json");
    let create = create.body(serde_json::to_vec(&object).unwrap()).unwrap();
    let error = sandbox.client.request::<Value>(create).await.unwrap_err();
    assert!(error.to_string().contains("spec.measure: Invalid value: set exactly one of percent, reach"), "{error}");
    // A server-side apply, as of Flux.
    let apply = PatchParams { dry_run: true, ..PatchParams::apply("tests") };
    let error = sandbox.api::<OkrKeyResult>().patch("unknown", &apply, &Patch::Apply(object)).await.unwrap_err();
    assert!(error.to_string().contains(".spec.measure.growth: field not declared in schema"), "{error}");
}

#[tokio::test]
async fn a_target_lies_on_the_side_its_measure_names() {
    const REACH: &str = "spec.measure.reach: Invalid value: reach: target must be above 0; to go down use decrease";
    const INCREASE: &str = "spec.measure.increase: Invalid value: increase: target must be above from (compared as doubles: values that agree in their first 15 digits count as equal); to go down use decrease";
    const DECREASE: &str = "spec.measure.decrease: Invalid value: decrease: target must be below from (compared as doubles: values that agree in their first 15 digits count as equal); to go up use increase";
    const BELOW: &str =
        "spec.measure.stayBelow: Invalid value: stayBelow: riskThreshold must be above target (compared as doubles";
    const ABOVE: &str =
        "spec.measure.stayAbove: Invalid value: stayAbove: riskThreshold must be below target (compared as doubles";
    const BETWEEN: &str = "spec.measure.stayBetween: Invalid value: stayBetween: lower must not be above upper (compared as doubles: write equal bounds alike";
    check_key_results(&[
        (r#"measure: {reach: {target: "0.00000000000000000000000000000000000001"}}"#, ACCEPTED),
        ("measure: {reach: {target: 0}}", REACH),
        (r#"measure: {reach: {target: "0.00"}}"#, REACH),
        (r#"measure: {reach: {target: "-0"}}"#, REACH),
        ("measure: {reach: {target: -5}}", REACH),
        (r#"measure: {reach: {target: "-0.1"}}"#, REACH),
        ("measure: {increase: {from: -5, target: -4}}", ACCEPTED),
        // As text, 9 is above 10.
        (r#"measure: {increase: {from: "9", target: 10}}"#, ACCEPTED),
        ("measure: {increase: {from: 5, target: 4}}", INCREASE),
        (r#"measure: {increase: {from: 5, target: "5.0"}}"#, INCREASE),
        (r#"measure: {increase: {from: "1", target: "1.00000000000000000001"}}"#, INCREASE),
        (r#"measure: {decrease: {from: 10, target: "9"}}"#, ACCEPTED),
        ("measure: {decrease: {from: 5, target: 6}}", DECREASE),
        ("measure: {decrease: {from: 5, target: 5}}", DECREASE),
        ("measure: {stayBelow: {target: 5, riskThreshold: 6}}", ACCEPTED),
        ("measure: {stayBelow: {target: -5}}", ACCEPTED),
        ("measure: {stayBelow: {target: 5, riskThreshold: 5}}", BELOW),
        ("measure: {stayBelow: {target: 5, riskThreshold: 4}}", BELOW),
        ("measure: {stayAbove: {target: 5, riskThreshold: 4}}", ACCEPTED),
        ("measure: {stayAbove: {target: 5, riskThreshold: 5}}", ABOVE),
        ("measure: {stayAbove: {target: 5, riskThreshold: 6}}", ABOVE),
        ("measure: {stayBetween: {lower: -5, upper: 5}}", ACCEPTED),
        (r#"measure: {stayBetween: {lower: 5, upper: "5"}}"#, ACCEPTED),
        ("measure: {stayBetween: {lower: 5, upper: 4}}", BETWEEN),
        // The two are one double, and the lower is above the upper.
        (r#"measure: {stayBetween: {lower: "1.00000000000000000001", upper: "1"}}"#, BETWEEN),
    ])
    .await;
}

#[tokio::test]
async fn a_field_that_a_measure_needs_is_named() {
    check_key_results(&[
        ("measure: {reach: {}}", "spec.measure.reach.target: Required value"),
        ("measure: {reach: {target: null}}", "spec.measure.reach.target: Required value"),
        ("measure: {increase: {target: 5}}", "spec.measure.increase.from: Required value"),
        ("measure: {decrease: {from: 5}}", "spec.measure.decrease.target: Required value"),
        ("measure: {stayBelow: {riskThreshold: 5}}", "spec.measure.stayBelow.target: Required value"),
        ("measure: {stayAbove: {}}", "spec.measure.stayAbove.target: Required value"),
        ("measure: {stayBetween: {lower: 5}}", "spec.measure.stayBetween.upper: Required value"),
    ])
    .await;
}

#[tokio::test]
async fn numbers_are_integers_or_quoted_decimals() {
    const WORDS: &str = r#"spec.measure.stayBelow.target: Invalid value: must be an integer or a quoted decimal such as "99.95": at most 39 digits and 38 decimals, without separators, exponent or unit"#;
    const FLOAT: &str = r#"spec.measure.stayBelow.target in body must be of type integer,string: "number""#;
    let (nines, ones) = ("9".repeat(39), "1".repeat(38));
    check_within(
        "measure: {stayBelow: {target: …}}",
        &[
            ("5000", ACCEPTED),
            ("-5000", ACCEPTED),
            (r#""5000""#, ACCEPTED),
            (r#""99.95""#, ACCEPTED),
            (&format!("\"{nines}.{ones}\""), ACCEPTED),
            (&format!("\"-{nines}.{ones}\""), ACCEPTED),
            ("9223372036854775807", ACCEPTED),
            // What JSON and YAML take for an integer is one.
            ("5000.0", ACCEPTED),
            ("5e3", ACCEPTED),
            ("99.95", FLOAT),
            ("9223372036854775808", FLOAT),
            (&nines, FLOAT),
            ("true", r#"must be of type integer,string: "boolean""#),
            ("[5]", r#"must be of type integer,string: "array""#),
            (&format!("\"{nines}9\""), WORDS),
            (&format!("\"1.{ones}1\""), WORDS),
            (r#""5e3""#, WORDS),
            (r#""5,000""#, WORDS),
            (r#""99,95""#, WORDS),
            (r#""5 %""#, WORDS),
            (r#""+5""#, WORDS),
            (r#"".5""#, WORDS),
            (r#""5.""#, WORDS),
            (r#""""#, WORDS),
            (r#""NaN""#, WORDS),
            (r#""Infinity""#, WORDS),
            (r#""0x10""#, WORDS),
            ("many", WORDS),
        ],
    )
    .await;
}

#[tokio::test]
async fn every_number_is_refused_in_words_alone() {
    let sandbox = sandbox("admission").await;
    for (spec, field) in [
        ("measure: {reach: {target: many}}", "measure.reach.target"),
        ("measure: {increase: {from: many, target: 5}}", "measure.increase.from"),
        ("measure: {decrease: {from: 5, target: many}}", "measure.decrease.target"),
        ("measure: {stayBelow: {target: 5, riskThreshold: many}}", "measure.stayBelow.riskThreshold"),
        ("measure: {stayAbove: {target: many, riskThreshold: 5}}", "measure.stayAbove.target"),
        ("measure: {stayBetween: {lower: many, upper: 5}}", "measure.stayBetween.lower"),
        ("thresholds: {behind: many, atRisk: 5}", "thresholds.behind"),
        ("thresholds: {atRisk: many}", "thresholds.atRisk"),
        ("manual: {value: many, asOf: 2026-10-01}, bigQuery: null", "manual.value"),
        (
            "measure: {reach: {target: 5}}, expected: {phases: [{date: 2026-11-01, target: many}]}",
            "expected.phases[0].target",
        ),
    ] {
        let answer = answer::<OkrKeyResult>(&sandbox, &OTHERS, spec).await;
        assert!(answer.contains(&format!("spec.{field}: Invalid value: must be an integer or a quoted")), "{answer}");
        assert!(!answer.contains("evaluating rule"), "{answer}");
    }
}

#[tokio::test]
async fn numbers_are_stored_as_typed() {
    let sandbox = sandbox("admission").await;
    let widest = format!("-{}.{}", "9".repeat(39), "1".repeat(38));
    let spec = json!({"measure": {"stayBetween": {"lower": widest, "upper": 5}}, "bigQuery": {"query": "SELECT 1"}});
    let _: OkrKeyResult = sandbox.apply("typed", spec.clone()).await;
    let url = format!("{}/typed", OkrKeyResult::url_path(&(), Some(&sandbox.namespace)));
    let stored: Value = sandbox.client.request(Request::get(url).body(Vec::new()).unwrap()).await.unwrap();
    assert_eq!(stored["spec"], spec);
}

#[tokio::test]
async fn a_period_is_required_where_progress_is_expected() {
    const PERIOD: &str = "spec: Invalid value: period {startDate, endDate} is required for the measures percent, reach, increase and decrease";
    check_key_results(&[
        ("period: null, measure: {percent: {}}", PERIOD),
        ("period: null, measure: {reach: {target: 5}}", PERIOD),
        ("period: null, measure: {increase: {from: 5, target: 6}}", PERIOD),
        ("period: null, measure: {decrease: {from: 6, target: 5}}", PERIOD),
        ("period: null, measure: {stayBelow: {target: 5}}", ACCEPTED),
        ("period: null, measure: {stayAbove: {target: 5}}", ACCEPTED),
        ("period: null, measure: {stayBetween: {lower: 5, upper: 6}}", ACCEPTED),
        ("period: null, measure: {baseline: {}}", ACCEPTED),
    ])
    .await;
}

#[tokio::test]
async fn a_period_has_two_real_days_in_order() {
    const ORDER: &str = "spec.period: Invalid value: endDate must be after startDate";
    check_key_results(&[
        // Without quotes: YAML takes these for dates, the API server for text.
        ("period: {startDate: 2026-10-01, endDate: 2026-10-02}", ACCEPTED),
        (r#"period: {startDate: "2028-02-29", endDate: "2028-03-01", timeZone: Europe/Paris}"#, ACCEPTED),
        ("period: {startDate: 2026-10-01, endDate: 2026-10-01}", ORDER),
        ("period: {startDate: 2026-10-01, endDate: 2026-09-30}", ORDER),
        ("period: {startDate: 2026-10-01}", "spec.period.endDate: Required value"),
        ("period: {endDate: 2026-10-01}", "spec.period.startDate: Required value"),
        ("period: {startDate: 2026-02-29, endDate: 2026-12-31}", "spec.period.startDate in body must be of type date"),
        ("period: {startDate: 2026-10-01, endDate: 2026-13-01}", "spec.period.endDate in body must be of type date"),
        ("period: {startDate: 2026-9-1, endDate: 2026-12-31}", "spec.period.startDate in body must be of type date"),
        ("period: {startDate: 01.10.2026, endDate: 2026-12-31}", "spec.period.startDate in body must be of type date"),
        (
            r#"period: {startDate: "2026-10-01T00:00:00Z", endDate: 2026-12-31}"#,
            "spec.period.startDate in body must be of type date",
        ),
        (r#"period: {startDate: 2026-10-01, endDate: 2026-12-31, timeZone: ""}"#, "spec.period.timeZone"),
    ])
    .await;
}

#[tokio::test]
async fn phases_ascend_within_the_period() {
    const INSIDE: &str = "spec: Invalid value: the dates of expected.phases must lie between period.startDate and period.endDate, both excluded";
    const ASCEND: &str = "spec.expected: Invalid value: the dates of expected.phases must be strictly ascending";
    let phases = |count: i32| -> String {
        (1..=count).map(|day| format!("{{date: 2026-11-{day:02}, target: {day}}}")).collect::<Vec<_>>().join(", ")
    };
    check_within(
        "measure: {reach: {target: 100}}, expected: {phases: […]}",
        &[
            ("{date: 2026-10-02, target: 1}", ACCEPTED),
            ("{date: 2026-12-30, target: 1}", ACCEPTED),
            // A plan may go down and above the target.
            (r#"{date: 2026-10-02, target: 150}, {date: 2026-10-03, target: "-1.5"}"#, ACCEPTED),
            (&phases(24), ACCEPTED),
            (&phases(25), "spec.expected.phases: Too many: 25: must have at most 24 items"),
            ("", "spec.expected.phases in body should have at least 1 items"),
            ("{date: 2026-10-01, target: 1}", INSIDE),
            ("{date: 2026-12-31, target: 1}", INSIDE),
            ("{date: 2026-09-30, target: 1}", INSIDE),
            ("{date: 2027-01-01, target: 1}", INSIDE),
            ("{date: 2026-11-02, target: 1}, {date: 2026-11-01, target: 2}", ASCEND),
            ("{date: 2026-11-01, target: 1}, {date: 2026-11-01, target: 2}", ASCEND),
            ("{date: 2026-11-31, target: 1}", "spec.expected.phases[0].date in body must be of type date"),
            ("{date: 2026-11-01}", "spec.expected.phases[0].target: Required value"),
            ("{target: 1}", "spec.expected.phases[0].date: Required value"),
        ],
    )
    .await;
}

#[tokio::test]
async fn phases_go_with_measures_that_have_a_way_to_go() {
    const ONLY: &str = "spec: Invalid value: expected.phases goes with the measures reach, increase and decrease only";
    check_within(
        "measure: {…}, expected: {phases: [{date: 2026-11-01, target: 5}]}",
        &[
            ("reach: {target: 9}", ACCEPTED),
            ("increase: {from: 1, target: 9}", ACCEPTED),
            ("decrease: {from: 9, target: 1}", ACCEPTED),
            ("percent: {}", ONLY),
            ("stayBelow: {target: 9}", ONLY),
            ("stayAbove: {target: 9}", ONLY),
            ("stayBetween: {lower: 1, upper: 9}", ONLY),
            ("baseline: {}", ONLY),
        ],
    )
    .await;
    check_key_results(&[("measure: {reach: {target: 9}}, expected: {}", "spec.expected.phases: Required value")]).await;
}

#[tokio::test]
async fn thresholds_are_gaps_in_order() {
    const ORDER: &str = "spec.thresholds: Invalid value: thresholds.behind must not be above thresholds.atRisk (compared as doubles: write equal ones alike";
    check_key_results(&[
        ("thresholds: {}", ACCEPTED),
        ("thresholds: {behind: 0, atRisk: 0}", ACCEPTED),
        (r#"thresholds: {behind: "9.5", atRisk: 10}"#, ACCEPTED),
        ("thresholds: {behind: 200}", ACCEPTED),
        ("thresholds: {atRisk: 5}", ACCEPTED),
        ("thresholds: {behind: 10, atRisk: 9}", ORDER),
        (r#"thresholds: {behind: "1.00000000000000000001", atRisk: "1"}"#, ORDER),
        ("thresholds: {behind: -1}", "spec.thresholds.behind: Invalid value: must not be below 0"),
        (r#"thresholds: {atRisk: "-0.5"}"#, "spec.thresholds.atRisk: Invalid value: must not be below 0"),
        ("thresholds: {behind: 9.5}", r#"spec.thresholds.behind in body must be of type integer,string: "number""#),
    ])
    .await;
}
