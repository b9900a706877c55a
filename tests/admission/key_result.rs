//! Key results, their measures apart: SPEC section 2, and their query in section 3.

use http::{Request, header::CONTENT_TYPE};
use kube::{
    Resource,
    api::{Patch, PatchParams},
};
use okr_operator::api::OkrKeyResult;
use serde_json::{Value, json};

use crate::{ACCEPTED, check, support::cluster::sandbox};

/// Enough for a key result that is accepted.
pub(super) const OTHERS: [(&str, &str); 3] = [
    ("measure", "{baseline: {}}"),
    ("period", "{startDate: 2026-10-01, endDate: 2026-12-31}"),
    ("bigQuery", "{query: SELECT 1}"),
];

pub(super) async fn check_key_results(cases: &[(&str, &str)]) {
    let sandbox = sandbox("admission").await;
    check::<OkrKeyResult>(&sandbox, &OTHERS, cases).await;
}

/// The same, with each case put in the place of `…`.
pub(super) async fn check_within(spec: &str, cases: &[(&str, &str)]) {
    let specs: Vec<String> = cases.iter().map(|(inside, _)| spec.replace('…', inside)).collect();
    let wants = cases.iter().map(|(_, want)| *want);
    check_key_results(&specs.iter().map(String::as_str).zip(wants).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn a_weight_is_an_integer_up_to_100() {
    check_key_results(&[
        ("weight: 0", ACCEPTED),
        ("weight: 100", ACCEPTED),
        ("weight: null", ACCEPTED),
        ("weight: 101", "spec.weight in body should be less than or equal to 100"),
        ("weight: -1", "spec.weight in body should be greater than or equal to 0"),
        ("weight: 1.5", r#"spec.weight in body must be of type integer: "number""#),
        (r#"weight: "40""#, r#"spec.weight in body must be of type integer: "string""#),
    ])
    .await;
}

#[tokio::test]
async fn an_override_says_what_why_and_until_when() {
    check_key_results(&[
        ("override: {okrStatus: OnTrack, note: Seen, until: 2026-10-31}", ACCEPTED),
        ("override: {okrStatus: Behind, note: Seen, until: 2026-10-31}", ACCEPTED),
        ("override: {okrStatus: AtRisk, note: Seen, until: 2026-10-31}", ACCEPTED),
        ("override: {note: Seen, until: 2026-10-31}", "spec.override.okrStatus: Required value"),
        ("override: {okrStatus: OnTrack, until: 2026-10-31}", "spec.override.note: Required value"),
        (
            "override: {okrStatus: OnTrack, note: \"\", until: 2026-10-31}",
            "spec.override.note in body should be at least 1",
        ),
        ("override: {okrStatus: OnTrack, note: Seen}", "spec.override.until: Required value"),
        ("override: {okrStatus: OnTrack, note: Seen, until: soon}", "spec.override.until in body must be of type date"),
        (
            "override: {okrStatus: Closed, note: Seen, until: 2026-10-31}",
            r#"spec.override.okrStatus: Unsupported value: "Closed": supported values: "OnTrack", "Behind", "AtRisk""#,
        ),
    ])
    .await;
}

#[tokio::test]
async fn the_value_comes_from_a_query_or_a_person() {
    const ONE: &str =
        "spec: Invalid value: set exactly one of bigQuery (a query provides the value) and manual (a person does)";
    check_key_results(&[
        ("bigQuery: {query: SELECT 1, connectionRef: {name: warehouse}}", ACCEPTED),
        ("bigQuery: null, manual: {value: 5, asOf: 2026-10-01}", ACCEPTED),
        (r#"bigQuery: null, manual: {value: "-5.5", asOf: 2026-10-01, note: Counted, validFor: 720h}"#, ACCEPTED),
        ("bigQuery: null", ONE),
        ("bigQuery: {query: SELECT 1}, manual: {value: 5, asOf: 2026-10-01}", ONE),
        ("bigQuery: null, manual: {value: 5}", "spec.manual.asOf: Required value"),
        ("bigQuery: null, manual: {asOf: 2026-10-01}", "spec.manual.value: Required value"),
        ("bigQuery: null, manual: {value: 5, asOf: today}", "spec.manual.asOf in body must be of type date"),
        (
            "bigQuery: null, manual: {value: 5.5, asOf: 2026-10-01}",
            r#"spec.manual.value in body must be of type integer,string: "number""#,
        ),
        (
            "bigQuery: null, manual: {value: 5, asOf: 2026-10-01, validFor: 0h}",
            "spec.manual.validFor: Invalid value: must be at least 1m",
        ),
        (
            "bigQuery: null, manual: {value: 5, asOf: 2026-10-01, validFor: 14d}",
            "spec.manual.validFor: Invalid value: must be hours, minutes and seconds",
        ),
        ("bigQuery: {query: SELECT 1, connectionRef: {}}", "spec.bigQuery.connectionRef.name: Required value"),
    ])
    .await;
}

#[tokio::test]
async fn an_interval_is_from_a_minute_to_a_week() {
    const RANGE: &str = "spec.interval: Invalid value: must be from 1m to 168h";
    const WORDS: &str = "spec.interval: Invalid value: must be hours, minutes and seconds, in this order, such as 1h, 90m or 1h30m; without fractions, and days as hours: 24h";
    check_key_results(&[
        ("interval: 1m", ACCEPTED),
        ("interval: 60s", ACCEPTED),
        ("interval: 1h30m", ACCEPTED),
        ("interval: 168h", ACCEPTED),
        ("interval: 59s", RANGE),
        ("interval: 0h", RANGE),
        ("interval: 169h", RANGE),
        ("interval: 168h1s", RANGE),
        ("interval: hourly", WORDS),
        ("interval: 1d", WORDS),
        ("interval: 1.5h", WORDS),
        ("interval: -1h", WORDS),
        ("interval: 30m1h", WORDS),
        ("interval: 1 h", WORDS),
        ("interval: \"60\"", WORDS),
        ("interval: 60", r#"spec.interval in body must be of type string: "integer""#),
    ])
    .await;
}

#[tokio::test]
async fn a_query_is_at_most_32_kib_long() {
    const EMPTY: &str = "spec.bigQuery.query: Invalid value: query is empty: write one GoogleSQL SELECT";
    const LONG: &str = "spec.bigQuery.query: Invalid value: query must be at most 32 KiB (32768 bytes)";
    let query = |text: &str| format!("bigQuery: {{query: \"{text}\"}}");
    check_key_results(&[
        (&query(&"x".repeat(32_768)), ACCEPTED),
        (&query(&"é".repeat(16_384)), ACCEPTED),
        (&query(&"é".repeat(16_385)), LONG),
        (&query(&"€".repeat(11_000)), LONG),
        (&query(&"x".repeat(32_769)), "spec.bigQuery.query: Too long: may not be more than 32768 bytes"),
        (&query(""), EMPTY),
        (&query(" \\n\\t"), EMPTY),
        ("bigQuery: {}", "spec.bigQuery.query: Required value"),
    ])
    .await;
}

#[tokio::test]
async fn parameters_have_names_of_their_own_and_text_for_values() {
    const BUILT_IN: &str = "spec.bigQuery.parameters[0]: Invalid value: period_start, period_end, today and now are built in: choose another parameter name";
    const NAME: &str = "spec.bigQuery.parameters[0].name: Invalid value: must be the parameter's name without @: letters, digits and underscores, a digit not first";
    let types = ["STRING", "INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC", "BOOL", "DATE", "DATETIME", "TIMESTAMP"];
    let of_each_type: Vec<String> =
        types.iter().map(|kind| format!("{{name: a_{kind}, type: {kind}, value: x}}")).collect();
    check_within(
        "bigQuery: {query: SELECT @a, parameters: […]}",
        &[
            (&of_each_type.join(", "), ACCEPTED),
            (r#"{name: a, type: STRING, value: ""}"#, ACCEPTED),
            ("{name: period_start, type: DATE, value: x}", BUILT_IN),
            ("{name: Period_End, type: DATE, value: x}", BUILT_IN),
            ("{name: TODAY, type: DATE, value: x}", BUILT_IN),
            ("{name: now, type: DATE, value: x}", BUILT_IN),
            ("{name: nowadays, type: DATE, value: x}", ACCEPTED),
            (
                "{name: a, type: STRING, value: x}, {name: a, type: STRING, value: x}",
                r#"spec.bigQuery.parameters[1]: Duplicate value: {"name":"a"}"#,
            ),
            (
                "{name: a, type: STRING, value: x}, {name: A, type: STRING, value: x}",
                "spec.bigQuery.parameters: Invalid value: names must differ by more than upper and lower case",
            ),
            ("{name: \"@a\", type: STRING, value: x}", NAME),
            ("{name: 1a, type: STRING, value: x}", NAME),
            ("{name: a-b, type: STRING, value: x}", NAME),
            (
                "{name: a, type: TEXT, value: x}",
                r#"parameters[0].type: Unsupported value: "TEXT": supported values: "STRING", "INT64""#,
            ),
            (
                "{name: a, type: string, value: x}",
                r#"parameters[0].type: Unsupported value: "string": supported values: "STRING""#,
            ),
            ("{name: a, type: INT64, value: 5}", r#"parameters[0].value in body must be of type string: "integer""#),
            ("{name: a, type: BOOL, value: true}", r#"parameters[0].value in body must be of type string: "boolean""#),
            ("{name: a, type: BOOL}", "spec.bigQuery.parameters[0].value: Required value"),
            ("{name: a, value: x}", "spec.bigQuery.parameters[0].type: Required value"),
            ("{type: BOOL, value: x}", "spec.bigQuery.parameters[0].name: Required value"),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_people_read_and_follow() {
    const HTTPS: &str =
        "spec.links[0].url: Invalid value: must be an https address without spaces, such as https://example.com/plan";
    let long = |length: usize| format!("title: {}", "é".repeat(length));
    check_key_results(&[
        ("title: null, owner: null", ACCEPTED),
        (&long(253), ACCEPTED),
        (&long(254), "spec.title: Too long"),
        ("title: 5", r#"spec.title in body must be of type string: "integer""#),
        ("links: [{title: Plan, url: \"https://example.com/plan?x=1#y\"}]", ACCEPTED),
        ("links: [{title: Plan, url: \"http://example.com\"}]", HTTPS),
        ("links: [{title: Plan, url: \"javascript:alert(1)\"}]", HTTPS),
        ("links: [{title: Plan, url: \"https://example.com/a b\"}]", HTTPS),
        ("links: [{url: \"https://example.com\"}]", "spec.links[0].title: Required value"),
        ("links: [{title: Plan}]", "spec.links[0].url: Required value"),
    ])
    .await;
}

#[tokio::test]
async fn lifecycle_and_references() {
    let name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    check_key_results(&[
        ("lifecycle: Active", ACCEPTED),
        ("lifecycle: Closed", ACCEPTED),
        ("lifecycle: Postponed", ACCEPTED),
        (
            "lifecycle: Done",
            r#"spec.lifecycle: Unsupported value: "Done": supported values: "Active", "Closed", "Postponed""#,
        ),
        (&format!("objectiveRef: {{name: {name}, namespace: other}}"), ACCEPTED),
        (
            &format!("objectiveRef: {{name: {name}x}}"),
            "spec.objectiveRef.name: Too long: may not be more than 253 bytes",
        ),
        ("objectiveRef: {}", "spec.objectiveRef.name: Required value"),
        ("objectiveRef: {name: \"\"}", "spec.objectiveRef.name in body should be at least 1 chars long"),
        ("objectiveRef: grow", r#"spec.objectiveRef in body must be of type object: "string""#),
        (&format!("bigQuery: {{query: SELECT 1, connectionRef: {{name: {name}, namespace: other}}}}"), ACCEPTED),
        ("suspend: \"true\"", r#"spec.suspend in body must be of type boolean: "string""#),
    ])
    .await;
}

#[tokio::test]
async fn a_name_may_have_253_characters_and_dots() {
    let sandbox = sandbox("admission").await;
    let name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    let spec = json!({"measure": {"baseline": {}}, "bigQuery": {"query": "SELECT 1"}});
    let stored: OkrKeyResult = sandbox.apply(&name, spec).await;
    assert_eq!(stored.metadata.name, Some(name));
}

#[tokio::test]
async fn a_title_of_null_is_no_title() {
    let sandbox = sandbox("admission").await;
    let object = json!({
        "apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrKeyResult", "metadata": {"name": "untitled"},
        "spec": {"title": null, "measure": {"baseline": {}}, "bigQuery": {"query": "SELECT 1"}},
    });
    let url = OkrKeyResult::url_path(&(), Some(&sandbox.namespace));
    let create = Request::post(url).header(CONTENT_TYPE, "application/json");
    let create = create.body(serde_json::to_vec(&object).unwrap()).unwrap();
    let stored: Value = sandbox.client.request(create).await.unwrap();
    assert_eq!(stored["spec"].get("title"), None);
    // A server-side apply keeps a null, and the API server names the field.
    let apply = PatchParams { dry_run: true, ..PatchParams::apply("tests") };
    let error = sandbox.api::<OkrKeyResult>().patch("untitled", &apply, &Patch::Apply(object)).await.unwrap_err();
    assert!(error.to_string().contains(r#"spec.title in body must be of type string: "null""#), "{error}");
}
