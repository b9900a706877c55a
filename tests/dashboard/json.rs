//! JSON for programs, and badges.

use serde_json::{Value, json};

use crate::world::{connection, key_result, objective, site};

#[tokio::test]
async fn lists_have_the_same_filters_and_pages_as_the_page() {
    let site = site((0..7).map(|number| key_result("sales", &format!("kr-{number}"), json!({}))).chain([
        key_result(
            "shop",
            "orders",
            json!({"status": {"okrStatus": "OnTrack", "value": "4000", "progressPercent": "80"}}),
        ),
        connection("sales", "warehouse", "Warehouse EU"),
    ]));
    let all = site.json("/api/v1/keyresults").await;
    assert_eq!(
        (all["total"].as_u64(), all["page"].as_u64(), all["items"].as_array().unwrap().len()),
        (Some(8), Some(1), 8)
    );
    let first = &all["items"][0];
    assert_eq!(first["okrStatus"], "Behind");
    assert_eq!(first["source"]["connection"]["displayName"], "Warehouse EU");
    assert_eq!(first["valueTime"], "2026-11-15T11:00:00Z");
    let page = site.json("/api/v1/keyresults?limit=3&page=3").await;
    assert_eq!((page["pages"].as_u64(), page["items"].as_array().unwrap().len()), (Some(3), 2));
    assert_eq!(page["items"][1]["name"], "orders");
    assert_eq!(site.json("/api/v1/keyresults?status=OnTrack").await["total"], 1);
    assert_eq!(site.json("/api/v1/keyresults?namespace=shop&limit=0").await["items"][0]["name"], "orders");
    assert_eq!(site.json("/api/v1/connections?text=warehouse").await["items"][0]["ready"], "True");
}

#[tokio::test]
async fn a_filter_that_is_not_understood_is_no_filter_for_everything() {
    let site = site([key_result("sales", "leads", json!({}))]);
    for (query, parameter) in
        [("status=Nonsense", "status"), ("connection=x", "connection"), ("connection=a/b/c", "connection")]
    {
        for list in ["objectives", "keyresults"] {
            let answer = site.get(&format!("/api/v1/{list}?{query}")).await;
            assert_eq!(answer.status, 400, "{query}");
            assert!(answer.text.contains(&format!("The parameter {parameter} is ")), "{}", answer.text);
        }
    }
    assert_eq!(site.json("/api/v1/keyresults?status=&connection=").await["total"], 1);
    let document = site.json("/api/v1/openapi.json").await;
    let parameters = document["paths"]["/api/v1/keyresults"]["get"]["parameters"].as_array().unwrap();
    let status = parameters.iter().find(|parameter| parameter["name"] == "status").unwrap();
    assert!(status["schema"]["enum"].as_array().unwrap().contains(&json!("Stale")), "{status}");
}

#[tokio::test]
async fn answers_fit_their_openapi_document() {
    let site = site([
        objective("sales", "grow", json!({})),
        key_result("sales", "leads", json!({"spec": {"objectiveRef": {"name": "grow"}}})),
        key_result(
            "sales",
            "by-hand",
            json!({"spec": {"bigQuery": null, "manual": {"value": 1, "asOf": "2026-11-01"}}}),
        ),
        key_result("sales", "broken", json!({"spec": {"measure": 7}})),
        connection("sales", "warehouse", "Warehouse EU"),
        json!({"kind": "BigQueryConnection", "metadata": {"name": "odd", "namespace": "sales"}}),
    ]);
    let document = site.json("/api/v1/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 3);
    for (path, operations) in paths {
        let schema = &operations["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let answer = site.json(path).await;
        assert!(!answer["items"].as_array().unwrap().is_empty(), "{path}");
        fits(&document, schema, &answer, path);
    }
}

/// As much of JSON Schema as the document uses: references, alternatives, types, required and known properties.
#[track_caller]
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    assert!(matches(document, schema, value), "{at}: {value} does not fit {schema}");
}

fn matches(document: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        return matches(document, target.expect("every reference leads somewhere"), value);
    }
    for alternatives in ["oneOf", "anyOf"] {
        if let Some(list) = schema[alternatives].as_array() {
            return list.iter().any(|schema| matches(document, schema, value));
        }
    }
    if let Some(constant) = schema.get("const") {
        return constant == value;
    }
    if let Some(list) = schema["enum"].as_array() {
        return list.contains(value);
    }
    let has_type = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => panic!("{kind}: what type is that?"),
    };
    let of_type = match &schema["type"] {
        Value::String(kind) => has_type(kind),
        Value::Array(kinds) => kinds.iter().any(|kind| has_type(kind.as_str().unwrap())),
        _ => panic!("{schema} has no type"),
    };
    let items = value.as_array().is_none_or(|items| items.iter().all(|item| matches(document, &schema["items"], item)));
    let required = schema["required"]
        .as_array()
        .is_none_or(|names| names.iter().all(|name| value.get(name.as_str().unwrap()).is_some()));
    let known = value.as_object().is_none_or(|object| {
        object.iter().all(|(name, value)| {
            let property = &schema["properties"][name];
            !property.is_null() && matches(document, property, value)
        })
    });
    of_type && items && required && known
}

#[tokio::test]
async fn a_badge_says_title_status_and_progress() {
    let site = site([
        key_result("sales", "leads", json!({"spec": {"title": "Leads & more"}})),
        objective("sales", "grow", json!({})),
        key_result("sales", "broken", json!({"spec": {"measure": 7}})),
    ]);
    let answer = site.get("/badges/sales/leads.svg").await;
    assert_eq!(answer.headers["content-type"], "image/svg+xml");
    assert!(answer.text.contains("aria-label=\"Leads &#38; more: Behind 47 %\""), "{}", answer.text);
    assert!(site.page("/badges/sales/grow.svg").await.contains("On Track 60 %"));
    assert!(site.page("/badges/sales/broken.svg").await.contains("unreadable"));
    assert_eq!(site.get("/badges/sales/leads.png").await.status, 404);
}
