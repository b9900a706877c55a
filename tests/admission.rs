//! What the API server accepts and refuses, and in which words.

mod support;

use okr_operator::api::OkrKeyResult;
use serde_json::json;
use support::cluster::sandbox;

#[tokio::test]
async fn a_new_object_is_seen_as_undecided() {
    let sandbox = sandbox("admission").await;
    let spec = json!({"measure": {"baseline": {}}, "bigQuery": {"query": "SELECT 1"}});
    let created: OkrKeyResult = sandbox.apply("new", spec).await;
    assert_eq!(created.status.unwrap().observed_generation, Some(-1));
}
