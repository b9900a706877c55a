//! The page of one object.

use serde_json::json;

use crate::world::{connection, key_result, objective, site, words};

#[tokio::test]
async fn a_detail_shows_the_arithmetic_the_query_and_its_job() {
    let site = site([
        key_result(
            "sales",
            "leads",
            json!({"spec": {"weight": 40, "description": "Why it matters.", "links": [{"title": "Plan", "url": "https://example.com/plan"}]}}),
        ),
        connection("sales", "warehouse", "Warehouse EU"),
    ]);
    let page = site.page("/keyresults/sales/leads").await;
    let said = words(&page);
    for part in [
        "Why it matters.",
        "Progress (2,350 − 0) / (5,000 − 0) × 100 = 47 %",
        "Expected progress 45 of 91 days = 49.45 %",
        "Gap 49.45 − 47 = 2.45 percentage points",
        "Behind above 0, At Risk above 25",
        "Weight 40 % of its objective",
        "SELECT COUNT(*) FROM sales.leads",
        "1.1 GiB, not from the cache",
        "840 ms",
        "Synced",
        "kind: OkrKeyResult",
        "Plan",
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    assert!(
        page.contains("https://console.cloud.google.com/bigquery?project=billing-project&#38;j=bq%3AEU%3Ajob_abc&#38;page=queryresults"),
        "{page}"
    );
}

#[tokio::test]
async fn the_chart_says_each_point_in_words_and_as_a_table() {
    let site = site([key_result("sales", "leads", json!({}))]);
    let page = site.page("/keyresults/sales/leads").await;
    assert!(
        page.contains("tabindex=\"0\" role=\"img\" aria-label=\"2026-10-20 08:00 UTC: 1,200 leads, 24 % progress\""),
        "{page}"
    );
    assert_eq!(page.matches("class=\"point\"").count(), 3);
    for class in
        ["zone at-risk", "zone behind", "zone on-track", "class=\"expected\"", "class=\"target\"", "class=\"now\""]
    {
        assert!(page.contains(class), "{class}");
    }
    assert!(words(&page).contains("2026-10-20 08:00 UTC 1,200 24 %"), "{}", words(&page));
    assert!(!page.contains("NaN") && !page.contains("inf,"));
}

#[tokio::test]
async fn every_kind_of_measure_has_its_chart() {
    for (measure, zones) in [
        (json!({"percent": {}}), 3),
        (json!({"increase": {"from": 100, "target": 5000}}), 3),
        (json!({"decrease": {"from": 5000, "target": 100}}), 3),
        (json!({"stayBelow": {"target": 100}}), 2),
        (json!({"stayBelow": {"target": 100, "riskThreshold": 3000}}), 3),
        (json!({"stayAbove": {"target": 3000, "riskThreshold": 1000}}), 3),
        (json!({"stayBetween": {"lower": 10, "upper": 20}}), 3),
        (json!({"baseline": {}}), 0),
    ] {
        let change = json!({"spec": {"measure": {"reach": null}}});
        let mut object = key_result("sales", "leads", change);
        crate::world::merge(&mut object["spec"]["measure"], measure.clone());
        let page = site([object]).page("/keyresults/sales/leads").await;
        assert_eq!(page.matches("<polygon class=\"zone").count(), zones, "{measure}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{measure}");
    }
}

#[tokio::test]
async fn values_that_fit_on_no_sheet_leave_out_the_chart_and_nothing_else() {
    let history = json!([{"time": "2026-10-02T08:00:00Z", "value": "-1.7E308"}, {"time": "2026-11-02T08:00:00Z", "value": "1.7E308"}, {"time": "2026-11-03T08:00:00Z", "value": "NaN"}]);
    let site = site([key_result("sales", "leads", json!({"status": {"history": history}}))]);
    let page = site.page("/keyresults/sales/leads").await;
    assert!(!page.contains("<svg class=\"chart\""));
    assert!(words(&page).contains("How the status follows"));
}

#[tokio::test]
async fn the_yaml_is_a_manifest_to_apply() {
    let query = "SELECT 1\nFROM t -- \"quoted\": yes";
    let object = key_result("sales", "leads", json!({"spec": {"bigQuery": {"query": query}}}));
    let spec = object["spec"].clone();
    let page = site([object]).page("/keyresults/sales/leads").await;
    let yaml = page.split("aria-label=\"The object as YAML\"><code>").nth(1).unwrap().split("</code>").next().unwrap();
    let yaml = yaml
        .replace("&#60;", "<")
        .replace("&#62;", ">")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#38;", "&");
    let manifest: okr_operator::api::OkrKeyResult = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(manifest.metadata.name.as_deref(), Some("leads"));
    assert_eq!(manifest.spec, serde_json::from_value(spec).unwrap());
    assert!(yaml.starts_with("apiVersion: okr-operator.dev/v1alpha1\nkind: OkrKeyResult\n"), "{yaml}");
    assert!(!yaml.contains("status") && !yaml.contains("uid"), "{yaml}");
}

#[tokio::test]
async fn an_objective_lists_what_counts_for_it() {
    let children = json!([
        {"kind": "OkrKeyResult", "namespace": "sales", "name": "leads", "okrStatus": "Behind", "weightPercent": "60", "progressPercent": "47", "contribution": "28.2"},
        {"kind": "OkrObjective", "namespace": "sales", "name": "sub", "okrStatus": "Postponed", "notCounted": "it is postponed"}
    ]);
    let history =
        json!([{"time": "2026-10-02T08:00:00Z", "value": "10"}, {"time": "2026-11-02T08:00:00Z", "value": "60"}]);
    let site = site([objective("sales", "grow", json!({"status": {"children": children, "history": history}}))]);
    let page = site.page("/objectives/sales/grow").await;
    let said = words(&page);
    assert!(said.contains("sales/leads Behind 60 % 47 % 28.2"), "{said}");
    assert!(said.contains("sales/sub Postponed it is postponed"), "{said}");
    assert!(page.contains("href=\"../../keyresults/sales/leads\""));
    assert_eq!(page.matches("<polygon class=\"zone").count(), 3);
}

#[tokio::test]
async fn a_point_of_a_roll_up_says_its_progress_once() {
    let history = json!([{"time": "2026-10-02T08:00:00Z", "value": "10"}]);
    let site = site([objective("sales", "grow", json!({"status": {"history": history}}))]);
    let page = site.page("/objectives/sales/grow").await;
    assert!(page.contains("aria-label=\"2026-10-02 08:00 UTC: 10 % progress\""), "{page}");
}

#[tokio::test]
async fn a_check_in_says_whether_it_counts() {
    let check_in = |until: &str| json!({"okrStatus": "OnTrack", "until": until, "note": "All is well."});
    for (spec, want) in [
        (json!({"override": check_in("2026-11-15")}), "Checked in as On Track until 2026-11-15: All is well."),
        (json!({"override": check_in("2026-11-14")}), "A check-in as On Track ended on 2026-11-14: All is well."),
        // Noon in UTC is the next day on Kiritimati.
        (
            json!({"override": check_in("2026-11-15"), "period": {"timeZone": "Pacific/Kiritimati"}}),
            "A check-in as On Track ended on 2026-11-15",
        ),
        (
            json!({"override": check_in("2026-11-20"), "lifecycle": "Postponed"}),
            "A check-in as On Track until 2026-11-20 does not count now",
        ),
        (
            json!({"override": check_in("2026-11-20"), "period": {"startDate": "2026-11-16"}}),
            "A check-in as On Track until 2026-11-20 does not count now",
        ),
    ] {
        let said =
            words(&site([key_result("sales", "leads", json!({"spec": spec}))]).page("/keyresults/sales/leads").await);
        assert!(said.contains(want), "{want} is not in: {said}");
    }
}

#[tokio::test]
async fn what_is_closed_counts_the_days_to_its_closing() {
    let status =
        json!({"okrStatus": "Closed", "okrStatusSince": "2026-10-11T08:00:00Z", "expectedProgressPercent": "10.99"});
    let site = site([key_result("sales", "leads", json!({"spec": {"lifecycle": "Closed"}, "status": status}))]);
    let said = words(&site.page("/keyresults/sales/leads").await);
    assert!(said.contains("Expected progress 10 of 91 days = 10.99 %"), "{said}");
}

#[tokio::test]
async fn a_forecast_is_drawn_on_the_last_day_too() {
    let history: Vec<_> =
        (1..=15).map(|day| json!({"time": format!("2026-11-{day:02}T10:00:00Z"), "value": day.to_string()})).collect();
    let change = json!({"spec": {"period": {"endDate": "2026-11-15"}}, "status": {"history": history}});
    let page = site([key_result("sales", "leads", change)]).page("/keyresults/sales/leads").await;
    assert!(page.contains("<polyline class=\"forecast\"") && page.contains("class=\"now\""), "{page}");
    assert!(page.contains(">Nov 15</text>") && !page.contains(">Nov 16</text>"), "{page}");
}

#[tokio::test]
async fn a_forecast_is_said_and_dashed() {
    // Fifty a day, for twelve days of 91.
    let history: Vec<_> = (1..=12)
        .map(|day| json!({"time": format!("2026-11-{day:02}T00:00:00Z"), "value": (1000 + 50 * day).to_string()}))
        .collect();
    let object = |change| {
        let mut object = key_result("sales", "leads", json!({"status": {"history": history}}));
        crate::world::merge(&mut object, change);
        site([object])
    };
    let page = object(json!({})).page("/keyresults/sales/leads").await;
    assert!(page.contains("<polyline class=\"forecast\""));
    assert!(
        words(&page).contains("If it goes on as it did: 4,100 leads at the end, which is 82 % progress."),
        "{}",
        words(&page)
    );
    let closed = object(json!({"spec": {"lifecycle": "Closed"}, "status": {"okrStatus": "Closed"}}));
    assert!(!closed.page("/keyresults/sales/leads").await.contains("<polyline class=\"forecast\""));
}
