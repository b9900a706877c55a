//! Things that happen at the same time: changes during checks and queries, a slow or failing API server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Method, Request, StatusCode};
use kube::{Client, api::DeleteParams, client::Body};
use okr_operator::api::{BigQueryConnection, OkrKeyResult};
use serde_json::json;

use crate::{
    key_file, reach, refresh, runs, seldom, stubbed,
    support::{
        bigquery_stub::{Reply, Stub},
        cluster::{Sandbox, await_some, condition, failure, sandbox, truth},
    },
    with_key,
};

/// What becomes of a call on its way to the API server.
enum Way {
    Through,
    /// After a while.
    Late(Duration),
    /// It never arrives; this is the answer.
    Refused(StatusCode),
    /// It arrives, and its answer is lost.
    AnswerLost,
    /// It arrives as the definition of an older release leaves it: without this field of the status.
    Without(&'static str),
}

/// `request` without `field` of the status that it writes.
async fn pruned(request: Request<Body>, field: &str) -> Request<Body> {
    let (head, body) = request.into_parts();
    let mut object: serde_json::Value = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap();
    object["status"].as_object_mut().unwrap().remove(field).unwrap();
    Request::from_parts(head, Body::from(serde_json::to_vec(&object).unwrap()))
}

/// A client whose calls go the way that `way` says.
fn through(sandbox: &Sandbox, way: impl Fn(&Method, &str) -> Way + Send + Sync + 'static) -> Client {
    let (client, way) = (sandbox.client.clone(), Arc::new(way));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, way) = (client.clone(), Arc::clone(&way));
        async move {
            let uri = request.uri().to_string();
            match way(request.method(), &uri) {
                Way::Through => client.send(request).await,
                Way::Late(wait) => {
                    tokio::time::sleep(wait).await;
                    client.send(request).await
                }
                Way::Refused(code) => Ok(failure(code)),
                Way::Without(field) => client.send(pruned(request, field).await).await,
                Way::AnswerLost => client.send(request).await.map(|_| failure(StatusCode::INTERNAL_SERVER_ERROR)),
            }
        }
    });
    Client::new(service, "default")
}

/// A client whose first write of the status of `kr` goes the way that `way` says.
fn first_write(sandbox: &Sandbox, way: impl Fn() -> Way + Send + Sync + 'static) -> Client {
    let writes = AtomicUsize::new(0);
    through(sandbox, move |method, uri| match method == Method::PUT && uri.contains("/kr/status") {
        true if writes.fetch_add(1, Ordering::Relaxed) == 0 => way(),
        _ => Way::Through,
    })
}

fn is_list(method: &Method, uri: &str, resource: &str) -> bool {
    method == Method::GET && uri.contains(&format!("/{resource}?")) && !uri.contains("watch=true")
}

/// The same account's key; another `note` makes it another file.
async fn put_key(sandbox: &Sandbox, stub: &Stub, note: &str) {
    let mut key: serde_json::Value = serde_json::from_slice(&key_file(stub)).unwrap();
    key["private_key_id"] = json!(note);
    sandbox.put_secret("google", "key.json", &serde_json::to_vec(&key).unwrap()).await;
}

async fn connect_with_key(sandbox: &Sandbox, stub: &Stub) {
    put_key(sandbox, stub, "1").await;
    sandbox.apply::<BigQueryConnection>("warehouse", with_key(stub)).await;
}

#[tokio::test]
async fn key_results_wait_until_the_connections_are_known() {
    let (sandbox, stub) = stubbed("listing", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let operator = sandbox.operator();
    let before = sandbox.await_reason("kr", "Synced").await;
    operator.stop().await;
    stub.forget();
    let client = through(&sandbox, |method, uri| match is_list(method, uri, "bigqueryconnections") {
        true => Way::Late(Duration::from_secs(2)),
        false => Way::Through,
    });
    let _operator = sandbox.operator_through(client, |_| {});
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(sandbox.status("kr").await, before);
    assert_eq!(stub.requests().len(), 0, "{:?}", stub.requests());
}

#[tokio::test]
async fn a_connection_changed_during_its_check_is_checked_again_and_nothing_goes_the_old_way() {
    let (sandbox, stub) = stubbed("rebuilt", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    sandbox.await_reason("kr", "Synced").await;
    stub.on("SELECT 1", Reply::number("INT64", "1").delay(Duration::from_secs(2)));
    stub.forget();
    sandbox.patch::<BigQueryConnection>("warehouse", refresh("1")).await;
    stub.until("jobs.insert", 1).await;
    sandbox.patch::<BigQueryConnection>("warehouse", json!({"spec": {"projectId": "other"}})).await;
    let checked = || stub.requests().iter().any(|request| request.path.contains("/projects/other/jobs"));
    await_some("the changed connection is observed", || async {
        let connection: BigQueryConnection = sandbox.api().get("warehouse").await.unwrap();
        (connection.status?.observed_generation == connection.metadata.generation).then_some(())
    })
    .await;
    assert!(checked(), "observed, yet not checked: {:?}", stub.requests());
    sandbox
        .await_status("kr", "is synced again", |status| {
            status.last_query.is_some() && runs(&stub, "SELECT 47") > 0 && truth(&status.conditions, "Fresh") == "True"
        })
        .await;
    let old_way: Vec<_> = stub
        .requests()
        .into_iter()
        .filter(|request| request.call == "jobs.query" && request.path.contains("/projects/demo/"))
        .collect();
    assert_eq!(old_way.len(), 0, "{old_way:?}");
}

#[tokio::test]
async fn a_doubted_connection_that_is_fine_costs_no_second_query() {
    let (sandbox, stub) = stubbed("doubted", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let operator = sandbox.operator();
    sandbox.await_reason("kr", "Synced").await;
    operator.stop().await;
    sandbox.backdate("kr").await;
    stub.forget();
    stub.otherwise(Reply::error(403, "accessDenied", "Access Denied: Table demo:a.b"));
    let _operator = sandbox.operator();
    sandbox.await_reason("kr", "PermissionDenied").await;
    assert_eq!(runs(&stub, "SELECT 47"), 1);
}

#[tokio::test]
async fn another_key_in_the_secret_retries_what_a_person_had_to_mend() {
    let sandbox = sandbox("rotated").await;
    let stub = Stub::start().await;
    stub.otherwise(Reply::error(403, "accessDenied", "Access Denied: Table demo:a.b"));
    connect_with_key(&sandbox, &stub).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    sandbox.await_reason("kr", "PermissionDenied").await;
    // The change must be later than the failure by the clock of statuses, which has whole seconds.
    tokio::time::sleep(Duration::from_secs(2)).await;
    stub.otherwise(Reply::number("INT64", "47"));
    put_key(&sandbox, &stub, "2").await;
    sandbox.patch::<BigQueryConnection>("warehouse", refresh("1")).await;
    let changed = tokio::time::Instant::now();
    sandbox.await_reason("kr", "Synced").await;
    assert!(changed.elapsed() < Duration::from_secs(30), "not at once, but by a retry");
}

#[tokio::test]
async fn a_connection_mended_while_the_query_fails_is_tried_at_once() {
    let (sandbox, stub) = stubbed("mended", Reply::number("INT64", "47")).await;
    let limit = |bytes: &str| json!({"spec": {"limits": {"maximumBytesBilled": bytes}}});
    sandbox.patch::<BigQueryConnection>("warehouse", limit("1Ki")).await;
    let large = Reply::number("INT64", "47").bytes(5000).delay(Duration::from_secs(3));
    stub.on("SELECT 47", large.dry_run(Reply::number("INT64", "47")));
    let _operator = sandbox.operator();
    sandbox.await_connection("warehouse", "Connected").await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    stub.until("jobs.query", 1).await;
    sandbox.patch::<BigQueryConnection>("warehouse", limit("1Mi")).await;
    sandbox.await_reason("kr", "OverByteLimit").await;
    let failed = tokio::time::Instant::now();
    sandbox.await_reason("kr", "Synced").await;
    assert!(failed.elapsed() < Duration::from_secs(30), "not at once, but by a retry");
    assert_eq!(runs(&stub, "SELECT 47"), 2);
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_for_a_moment_holds_nothing() {
    let sandbox = sandbox("blip").await;
    let stub = Stub::start().await;
    stub.otherwise(Reply::number("INT64", "47"));
    connect_with_key(&sandbox, &stub).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reads);
    let client = through(&sandbox, move |_, uri| match uri.contains("/secrets/") {
        true if counted.fetch_add(1, Ordering::Relaxed) == 1 => Way::Refused(StatusCode::INTERNAL_SERVER_ERROR),
        _ => Way::Through,
    });
    let _operator = sandbox.operator_through(client, |_| {});
    sandbox.await_reason("kr", "Synced").await;
    sandbox.patch::<BigQueryConnection>("warehouse", refresh("1")).await;
    await_some("the Secret is read again", || async { (reads.load(Ordering::Relaxed) > 1).then_some(()) }).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    sandbox.patch::<OkrKeyResult>("kr", json!({"spec": {"bigQuery": {"query": "SELECT 48"}}})).await;
    let status = sandbox.await_status("kr", "is looked at", |status| status.observed_generation == Some(2)).await;
    assert_ne!(condition(&status.conditions, "Ready").unwrap().reason, "ConnectionNotReady");
    sandbox.await_reason("kr", "Synced").await;
    assert_eq!(runs(&stub, "SELECT 48"), 1);
}

#[tokio::test]
async fn what_a_dry_run_found_is_dropped_when_the_key_result_was_suspended_meanwhile() {
    let sandbox = sandbox("dropped").await;
    let stub = Stub::start().await;
    let refused = Reply::error(400, "invalidQuery", "Unrecognized name: wrong at [1:8]");
    stub.otherwise(refused.delay(Duration::from_secs(2)));
    sandbox.connect("warehouse", &stub.endpoint()).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT wrong")).await;
    let _operator = sandbox.operator();
    // The first is the connection's own.
    await_some("a dry run is under way", || async { (crate::dry_runs(&stub, "SELECT wrong") == 1).then_some(()) })
        .await;
    sandbox.patch::<OkrKeyResult>("kr", json!({"spec": {"suspend": true}})).await;
    let status = sandbox.await_reason("kr", "Suspended").await;
    assert_eq!((status.consecutive_failures, status.last_sync_time), (None, None));
}

#[tokio::test]
async fn a_status_that_is_not_taken_holds_up_nobody_else() {
    // Invalid for good, and as long as a webhook of its namespace is down.
    for (code, prefix, seconds) in
        [(StatusCode::UNPROCESSABLE_ENTITY, "invalid", 10), (StatusCode::INTERNAL_SERVER_ERROR, "webhook", 15)]
    {
        let (sandbox, stub) = stubbed(prefix, Reply::number("INT64", "47")).await;
        sandbox.apply::<OkrKeyResult>("bad", reach("SELECT 47")).await;
        let client = through(&sandbox, move |method, uri| match method == Method::PUT && uri.contains("/bad/status") {
            true => Way::Refused(code),
            false => Way::Through,
        });
        let _operator = sandbox.operator_through(client, |settings| settings.max_concurrent_syncs = 1);
        await_some("the query ran", || async { (runs(&stub, "SELECT 47") == 1).then_some(()) }).await;
        sandbox.apply::<OkrKeyResult>("good", reach("SELECT 48")).await;
        let good = sandbox.await_reason("good", "Synced");
        tokio::time::timeout(Duration::from_secs(seconds), good).await.expect("not held up");
        assert_eq!(runs(&stub, "SELECT 47"), 1, "and it is not asked again and again");
    }
}

#[tokio::test]
async fn what_could_not_be_written_for_long_is_written_later_without_another_query() {
    for (reply, reason) in [(Reply::number("INT64", "47"), "Synced"), (Reply::null("INT64"), "NullValue")] {
        let (sandbox, stub) = stubbed("outage", reply).await;
        sandbox.apply::<OkrKeyResult>("kr", seldom("SELECT 47")).await;
        let began = std::time::Instant::now();
        let client = through(&sandbox, move |method, uri| match method == Method::PUT && uri.contains("/kr/status") {
            true if began.elapsed() < Duration::from_secs(15) => Way::Refused(StatusCode::INTERNAL_SERVER_ERROR),
            _ => Way::Through,
        });
        let _operator = sandbox.operator_through(client, |_| {});
        await_some("the query ran", || async { (runs(&stub, "SELECT 47") == 1).then_some(()) }).await;
        sandbox.await_reason("kr", reason).await;
        assert_eq!(runs(&stub, "SELECT 47"), 1, "{reason}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_while_its_connection_is_looked_at_anew_is_not_lost() {
    let (sandbox, stub) = stubbed("edited", Reply::number("INT64", "47")).await;
    let operator = sandbox.operator();
    sandbox.await_connection("warehouse", "Connected").await;
    let slow = Reply::number("INT64", "47").delay(Duration::from_secs(2)).dry_run(Reply::number("INT64", "47"));
    stub.on("SELECT 47", slow);
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    stub.until("jobs.query", 1).await;
    // The check of what it is now ends after the query.
    stub.on("SELECT 1", Reply::number("INT64", "1").delay_dry_run(Duration::from_secs(4)));
    sandbox.patch::<BigQueryConnection>("warehouse", json!({"spec": {"description": "Ours"}})).await;
    let status = sandbox.await_reason("kr", "Synced").await;
    assert_eq!((status.value.as_deref(), runs(&stub, "SELECT 47")), (Some("47"), 1));
    operator.stop().await;
    assert_eq!(runs(&stub, "SELECT 47"), 1, "it was paid for once");
}

#[tokio::test]
async fn a_connection_that_a_finalizer_keeps_is_gone_for_its_key_results() {
    let (sandbox, _stub) = stubbed("finalizer", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    sandbox.await_reason("kr", "Synced").await;
    let finalizers = |finalizers: serde_json::Value| json!({"metadata": {"finalizers": finalizers}});
    sandbox.patch::<BigQueryConnection>("warehouse", finalizers(json!(["example.com/slow"]))).await;
    let api = sandbox.api::<BigQueryConnection>();
    api.delete("warehouse", &DeleteParams::default()).await.unwrap();
    sandbox.await_reason("kr", "ConnectionNotFound").await;
    sandbox.patch::<BigQueryConnection>("warehouse", finalizers(json!(null))).await;
}

#[tokio::test]
async fn a_stray_refusal_is_not_taken_at_its_word() {
    let (sandbox, stub) = stubbed("stray", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    // As an API server answers that has just started and does not know its roles yet.
    let client = first_write(&sandbox, || Way::Refused(StatusCode::FORBIDDEN));
    let _operator = sandbox.operator_through(client, |_| {});
    assert_eq!(sandbox.await_reason("kr", "Synced").await.value.as_deref(), Some("47"));
    assert_eq!(runs(&stub, "SELECT 47"), 1, "what was answered before is written");
}

#[tokio::test]
async fn what_was_refused_is_written_later_without_another_query() {
    let (sandbox, stub) = stubbed("refused", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let client = first_write(&sandbox, || Way::Refused(StatusCode::UNPROCESSABLE_ENTITY));
    let _operator = sandbox.operator_through(client, |_| {});
    await_some("the query ran", || async { (runs(&stub, "SELECT 47") == 1).then_some(()) }).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(sandbox.status("kr").await.conditions.is_empty());
    sandbox.patch::<OkrKeyResult>("kr", json!({"spec": {"title": "Mended"}})).await;
    assert_eq!(sandbox.await_reason("kr", "Synced").await.value.as_deref(), Some("47"));
    assert_eq!(runs(&stub, "SELECT 47"), 1);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_counted_once() {
    let (sandbox, stub) = stubbed("lost", Reply::rows(&[("f0_", "INT64")], &[])).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let client = first_write(&sandbox, || Way::AnswerLost);
    let operator = sandbox.operator_through(client, |_| {});
    sandbox.await_reason("kr", "NoRows").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    operator.stop().await;
    assert_eq!(sandbox.status("kr").await.consecutive_failures, Some(1));
    assert_eq!(runs(&stub, "SELECT 47"), 1);
}

#[tokio::test]
async fn a_definition_that_knows_less_is_not_written_to_again_and_again() {
    let (sandbox, _stub) = stubbed("pruned", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let writes = Arc::new(AtomicUsize::new(0));
    let operator = || {
        let writes = Arc::clone(&writes);
        let client = through(&sandbox, move |method, uri| match method == Method::PUT && uri.contains("/kr/status") {
            true => {
                writes.fetch_add(1, Ordering::Relaxed);
                Way::Without("explanation")
            }
            false => Way::Through,
        });
        sandbox.operator_through(client, |_| {})
    };
    let first = operator();
    sandbox.await_reason("kr", "Synced").await;
    first.stop().await;
    // This one reads what the definition has left.
    writes.store(0, Ordering::Relaxed);
    let _second = operator();
    await_some("it is written", || async { (writes.load(Ordering::Relaxed) > 0).then_some(()) }).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(writes.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_conflict_with_nothing_is_an_outage_like_any_other() {
    let (sandbox, stub) = stubbed("webhook-409", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&writes);
    let client = through(&sandbox, move |method, uri| match method == Method::PUT && uri.contains("/kr/status") {
        true if counted.fetch_add(1, Ordering::Relaxed) < 3 => Way::Refused(StatusCode::CONFLICT),
        _ => Way::Through,
    });
    let began = std::time::Instant::now();
    let _operator = sandbox.operator_through(client, |_| {});
    sandbox.await_reason("kr", "Synced").await;
    assert!(began.elapsed() > Duration::from_secs(3), "it was hurried: {:?}", began.elapsed());
    assert_eq!((writes.load(Ordering::Relaxed), runs(&stub, "SELECT 47")), (4, 1));
}

#[tokio::test]
async fn what_is_refused_while_its_query_runs_is_not_twice_refused_by_its_answer() {
    let (sandbox, stub) = stubbed("once", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", seldom("SELECT 47")).await;
    let until = Arc::new(std::sync::Mutex::new(None));
    let refused_until = Arc::clone(&until);
    let client = through(&sandbox, move |method, uri| {
        let refused = refused_until.lock().unwrap().is_some_and(|until| std::time::Instant::now() < until);
        match method == Method::PUT && uri.contains("/kr/status") && refused {
            true => Way::Refused(StatusCode::FORBIDDEN),
            false => Way::Through,
        }
    });
    let _operator = sandbox.operator_through(client, |_| {});
    sandbox.await_reason("kr", "Synced").await;
    stub.on("SELECT 47", Reply::slow(Duration::from_secs(4), Reply::number("INT64", "94")));
    sandbox.patch::<OkrKeyResult>("kr", refresh("1")).await;
    stub.until("jobs.query", 2).await;
    *until.lock().unwrap() = Some(std::time::Instant::now() + Duration::from_secs(8));
    sandbox.patch::<OkrKeyResult>("kr", json!({"spec": {"measure": {"reach": {"target": 188}}}})).await;
    let sent = std::time::Instant::now();
    let served = |status: &okr_operator::api::MeasuredStatus| status.last_handled_refresh.as_deref() == Some("1");
    let status = sandbox.await_status("kr", "has the answer", served).await;
    assert!(sent.elapsed() < Duration::from_secs(40), "as if it were twice refused: {:?}", sent.elapsed());
    assert_eq!((status.progress_percent.as_deref(), runs(&stub, "SELECT 47")), (Some("50"), 2));
}
