//! Pages with something of everything on them, from objects that no API server need hold.

use okr_operator::dashboard::gate::{Access, Gate};
use serde_json::{Value, json};

use crate::{
    browser::{listed, serve},
    world::{Site, condition, connection, key_result, merge, objective},
};

/// The dashboard, as it is served on loopback.
pub fn guarded(site: &Site) -> axum::Router {
    let gate = Gate { hosts: Vec::new(), public_badges: false, listed: listed(), access: Access::Everyone };
    gate.guard(site.router.clone())
}

pub async fn dashboard(site: &Site) -> String {
    serve(guarded(site)).await
}

/// Every status, every trouble, a tree of three levels, and more rows than one page has.
pub fn objects() -> Vec<Value> {
    let history: Vec<Value> = (1..=12)
        .map(|day| json!({"time": format!("2026-11-{day:02}T00:00:00Z"), "value": (1000 + 50 * day).to_string()}))
        .collect();
    let failing = condition("Ready", "False", "TableNotFound", "There is no table sales.leads.");
    let stale = condition("Fresh", "False", "Stale", "The value is two intervals old.");
    let in_status =
        |status: &str, progress: &str| json!({"status": {"okrStatus": status, "progressPercent": progress}});
    let child = |name: &str, change: Value| {
        let mut object = key_result("sales", name, json!({"spec": {"objectiveRef": {"name": "pipeline"}}}));
        merge(&mut object, change);
        object
    };
    let full = json!({
        "spec": {
            "weight": 40, "description": "Why it matters.", "objectiveRef": {"name": "pipeline"},
            "links": [{"title": "Plan", "url": "https://example.com/plan"}],
            "override": {"okrStatus": "OnTrack", "note": "A large order comes in.", "until": "2026-11-20"},
            "bigQuery": {"parameters": [{"name": "segment", "type": "STRING", "value": "new"}]},
        },
        "status": {"history": history},
    });
    let children = json!([
        {"kind": "OkrKeyResult", "namespace": "sales", "name": "full", "weightPercent": "40", "contribution": "18.8", "progressPercent": "47", "okrStatus": "Behind"},
    ]);
    let mut objects = vec![
        connection("sales", "warehouse", "Warehouse EU"),
        objective("sales", "growth", json!({"spec": {"title": "Grow, and stay healthy"}})),
        objective(
            "sales",
            "pipeline",
            json!({
                "spec": {"parentRef": {"name": "growth"}},
                "status": {"okrStatus": "Behind", "progressPercent": "44", "children": children, "history": history},
            }),
        ),
        key_result("sales", "full", full),
        child("at-risk", in_status("AtRisk", "12")),
        child("on-track", in_status("OnTrack", "80")),
        child(
            "not-started",
            json!({"spec": {"period": {"startDate": "2026-12-01"}}, "status": {"okrStatus": "NotStarted", "computedStatus": "NotStarted", "value": null, "progressPercent": null, "expectedProgressPercent": "0", "history": null, "explanation": "The period begins on 2026-12-01."}}),
        ),
        child(
            "in-progress",
            json!({"spec": {"measure": {"baseline": {}, "reach": null}}, "status": {"okrStatus": "InProgress"}}),
        ),
        child("postponed", json!({"spec": {"lifecycle": "Postponed"}, "status": {"okrStatus": "Postponed"}})),
        child("closed", json!({"spec": {"lifecycle": "Closed"}, "status": {"okrStatus": "Closed"}})),
        child(
            "failing",
            json!({"status": {"conditions": [failing, stale.clone()], "valueTime": "2026-11-15T03:00:00Z"}}),
        ),
        child("stale", json!({"status": {"conditions": [stale]}})),
        child("manual", json!({"spec": {"bigQuery": null, "manual": {"value": "11", "asOf": "2026-11-15"}}})),
        key_result("sales", "loose", json!({})),
    ];
    objects.extend((0..45).map(|number| key_result("support", &format!("many-{number:02}"), json!({}))));
    objects
}
