//! That the witness would tell: each invariant, broken once.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use okr_operator::api::OkrKeyResult;
use serde_json::{Value, json};

use crate::{
    plan::Fault,
    proxy::{NEVER_RETURNED, Passage},
    witness::{Causes, Warehouse, Witness, judge_leaders},
    workload::{Book, FORGED, Touch},
};

const SQL: &str = "SELECT total FROM counts WHERE key = 'faults-a/kr-1#1'";
const OTHER_SQL: &str = "SELECT total FROM counts WHERE key = 'faults-a/kr-1#2'";

/// So many seconds into a day long gone.
fn at(seconds: i64) -> Timestamp {
    Timestamp::constant(1_767_225_600, 0) + SignedDuration::from_secs(seconds)
}

fn witness() -> (Witness, Arc<Warehouse>) {
    let warehouse = Arc::new(Warehouse::default());
    (Witness::blind(Arc::clone(&warehouse)), warehouse)
}

/// A key result; its second generation has another query.
fn state(generation: i64, observed: i64, value: &str, value_time: Timestamp, fresh: bool) -> OkrKeyResult {
    let condition = |kind: &str, truth: bool, reason: &str| {
        json!({"type": kind, "status": if truth { "True" } else { "False" }, "reason": reason, "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": observed})
    };
    let time = Timestamp::from_second(value_time.as_second()).unwrap().to_string();
    serde_json::from_value(json!({
        "apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrKeyResult",
        "metadata": {"namespace": "faults-a", "name": "kr-1", "uid": "u", "generation": generation},
        "spec": {"measure": {"reach": {"target": 100}}, "interval": "1m",
            "bigQuery": {"query": if generation == 1 { SQL } else { OTHER_SQL }}},
        "status": {"observedGeneration": observed, "value": value, "valueTime": time, "lastSyncTime": time,
            "conditions": [condition("Ready", true, "Synced"), condition("Fresh", fresh, "Current")]},
    }))
    .unwrap()
}

fn sees(witness: &Witness, what: &str) {
    let violations = witness.violations();
    assert!(violations.iter().any(|violation| violation.contains(what)), "{what}: {violations:?}");
}

#[tokio::test]
async fn a_value_of_the_very_query_is_fine() {
    let (witness, warehouse) = witness();
    warehouse.answered(SQL, 1, at(0));
    warehouse.answered(OTHER_SQL, 2, at(60));
    witness.shown(&state(1, 1, "1", at(1), true));
    // The query changed, and the operator did not know yet; then it did.
    witness.shown(&state(2, 1, "1", at(1), true));
    witness.shown(&state(2, 2, "1", at(1), false));
    witness.shown(&state(2, 2, "2", at(61), true));
    assert_eq!(witness.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_value_of_another_query_is_seen() {
    let (witness, warehouse) = witness();
    warehouse.answered(SQL, 1, at(0));
    witness.shown(&state(1, 1, "1", at(1), true));
    witness.shown(&state(2, 2, "1", at(1), true));
    sees(&witness, "Fresh, yet BigQuery never returned it for this query");
}

#[tokio::test]
async fn a_number_out_of_an_error_is_seen() {
    let (witness, warehouse) = witness();
    warehouse.answered(SQL, 1, at(0));
    witness.shown(&state(1, 1, NEVER_RETURNED, at(1), false));
    sees(&witness, "a value that BigQuery never returned for this object");
}

#[tokio::test]
async fn a_value_that_people_wrote_is_seen_once_the_operator_calls_it_fresh() {
    let (witness, _) = witness();
    let mut forged = state(1, 1, FORGED, at(1), true);
    let by = |manager: &str| serde_json::from_value(json!([{"manager": manager, "subresource": "status"}])).unwrap();
    forged.metadata.managed_fields = by("kubectl-edit");
    witness.shown(&forged);
    assert_eq!(witness.violations(), Vec::<String>::new());
    forged.metadata.managed_fields = by("okr-operator");
    witness.shown(&forged);
    sees(&witness, "Fresh, yet people wrote it");
}

#[tokio::test]
async fn an_older_status_is_seen() {
    let (witness, warehouse) = witness();
    warehouse.answered(SQL, 1, at(0));
    warehouse.answered(SQL, 2, at(60));
    witness.shown(&state(1, 1, "2", at(61), true));
    witness.shown(&state(1, 1, "1", at(1), true));
    sees(&witness, "a status older than one already written");
}

/// Two runs of the query so far apart, with what `causes` says between.
async fn two_runs(seconds: i64, losses: Vec<Timestamp>, book: &Book, bigquery: Vec<Passage>) -> Vec<String> {
    let (witness, warehouse) = witness();
    // Known by its uid, so that its slots are.
    witness.shown(&state(1, 1, "1", at(1), false));
    let before = witness.violations().len();
    // A minute in which no slot lies between the two: they are found, as the hash of the uid is not ours to choose.
    let slots = okr_operator::domain::schedule::Slots::new("u", okr_operator::api::Duration::from_secs(60));
    let first = slots.after(at(0)) + SignedDuration::from_secs(31);
    warehouse.answered(SQL, 3, first);
    warehouse.answered(SQL, 4, first + SignedDuration::from_secs(seconds));
    let causes = Causes::new(book, losses, bigquery, Vec::new());
    witness.judge_queries(&causes);
    witness.violations().split_off(before)
}

#[tokio::test]
async fn a_query_for_no_reason_is_seen_and_one_for_a_reason_is_fine() {
    let none = Book::default();
    assert_ne!(two_runs(20, Vec::new(), &none, Vec::new()).await, Vec::<String>::new(), "no slot, no cause");
    assert_eq!(two_runs(60, Vec::new(), &none, Vec::new()).await, Vec::<String>::new(), "a slot lies between");
    let place = ("faults-a".to_owned(), "kr-1".to_owned());
    let slots = okr_operator::domain::schedule::Slots::new("u", okr_operator::api::Duration::from_secs(60));
    let between = slots.after(at(0)) + SignedDuration::from_secs(40);
    let touched = Book::default();
    touched.touches.lock().unwrap().push(Touch { place: place.clone(), began: between, done: between });
    assert_eq!(two_runs(20, Vec::new(), &touched, Vec::new()).await, Vec::<String>::new(), "somebody asked");
    let early = Book::default();
    let minute_before = between - SignedDuration::from_secs(70);
    early.touches.lock().unwrap().push(Touch { place, began: minute_before, done: minute_before });
    assert_eq!(two_runs(20, Vec::new(), &early, Vec::new()).await, Vec::<String>::new(), "a deaf watch told late");
    assert_eq!(two_runs(20, vec![between], &none, Vec::new()).await, Vec::<String>::new(), "the answer was lost");
    let failed = Passage { at: between, path: String::new(), sql: Some(SQL.to_owned()), fault: Some(Fault::Half) };
    assert_eq!(two_runs(20, Vec::new(), &none, vec![failed]).await, Vec::<String>::new(), "the answer was cut");
}

#[tokio::test]
async fn a_cause_is_one_of_one_query() {
    let (witness, warehouse) = witness();
    witness.shown(&state(1, 1, "1", at(1), false));
    let slots = okr_operator::domain::schedule::Slots::new("u", okr_operator::api::Duration::from_secs(60));
    let first = slots.after(at(0)) + SignedDuration::from_secs(31);
    let after = |seconds| first + SignedDuration::from_secs(seconds);
    for seconds in [0, 5, 10] {
        warehouse.answered(SQL, 3, after(seconds));
    }
    let book = Book::default();
    let place = ("faults-a".to_owned(), "kr-1".to_owned());
    book.touches.lock().unwrap().push(Touch { place, began: after(-1), done: after(-1) });
    let before = witness.violations().len();
    witness.judge_queries(&Causes::new(&book, Vec::new(), Vec::new(), Vec::new()));
    let [violation] = &witness.violations()[before..] else { panic!("{:?}", witness.violations()) };
    assert!(violation.contains(&after(10).to_string()), "{violation}");
}

fn audited(user: &str, resource: &str, subresource: Value, seconds: i64) -> String {
    let time = at(seconds).to_string();
    json!({"verb": "update", "impersonatedUser": {"username": user}, "responseStatus": {"code": 200},
        "objectRef": {"resource": resource, "subresource": subresource},
        "requestReceivedTimestamp": time, "stageTimestamp": time})
    .to_string()
}

#[tokio::test]
async fn a_write_by_who_does_not_lead_is_seen() {
    let lease = |user: &str, seconds: i64| audited(user, "leases", Value::Null, seconds);
    let write = |user: &str, seconds: i64| audited(user, "okrkeyresults", json!("status"), seconds);
    let lines = [lease("operator-a", 0), write("operator-a", 1), lease("operator-b", 20), write("operator-b", 21)];
    let (good, _) = witness();
    let (writes, reigns) = judge_leaders(&lines.join("\n"), &good);
    assert_eq!((writes.len(), reigns.len(), good.violations()), (2, 2, Vec::new()));
    let (bad, _) = witness();
    judge_leaders(&[lines.join("\n"), write("operator-a", 22)].join("\n"), &bad);
    sees(&bad, "while operator-b held the Lease");
    // Nobody else leads, and it does not either.
    let (late, _) = witness();
    judge_leaders(&[lines.join("\n"), write("operator-b", 34)].join("\n"), &late);
    sees(&late, "had last renewed the Lease");
}
