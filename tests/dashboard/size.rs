//! Ten thousand key results: `cargo test --release --test dashboard size -- --nocapture` prints how long a page takes.

use std::time::Instant;

use serde_json::{Value, json};

use crate::world::{connection, key_result, objective, site};

/// Without optimization ten thousand take half a minute, and the size of a page hardly differs.
const OF_EACH_NAMESPACE: usize = if cfg!(debug_assertions) { 100 } else { 1000 };

/// Ten namespaces of 30 objectives; each key result with a query of 500 bytes and 24 points of history.
fn many() -> Vec<Value> {
    let mut objects = Vec::new();
    let history: Vec<Value> = (0..24)
        .map(|day| json!({"time": format!("2026-10-{:02}T08:00:00Z", day + 1), "value": (day * 50).to_string()}))
        .collect();
    for namespace in (0..10).map(|number| format!("team-{number}")) {
        objects.push(connection(&namespace, "warehouse", "Warehouse EU"));
        for number in 0..30 {
            objects.push(objective(&namespace, &format!("objective-{number}"), json!({})));
        }
        for number in 0..OF_EACH_NAMESPACE {
            let change = json!({
                "spec": {
                    "title": format!("Convert five thousand leads of segment {number}"),
                    "owner": format!("owner-{}", number % 300),
                    "objectiveRef": {"name": format!("objective-{}", number % 40)},
                    "bigQuery": {"query": "SELECT COUNT(*) FROM sales.leads WHERE x = 1 ".repeat(11)}
                },
                "status": {"history": history, "value": (2000 + number).to_string()}
            });
            objects.push(key_result(&namespace, &format!("key-result-{number}"), change));
        }
    }
    objects
}

#[tokio::test]
async fn a_page_of_thousands_is_below_200_kilobytes() {
    let site = site(many());
    for address in ["/", "/?page=7", "/?text=segment+77", "/api/v1/keyresults"] {
        let start = Instant::now();
        let page = site.page(address).await;
        println!("{address}: {} bytes in {} ms", page.len(), start.elapsed().as_millis());
        assert!(page.len() < 200_000, "{address} is {} bytes", page.len());
    }
}
