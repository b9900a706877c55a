//! Every way in which a query can fail: a reason of its own, a sentence that says what to do, and never a number.

use std::time::Duration;

use okr_operator::api::{BigQueryConnection, MeasuredStatus, OkrKeyResult, OkrStatus};
use serde_json::{Value, json};

use crate::{
    emulator, reach, refresh, runs, seldom, stubbed,
    support::{
        bigquery_stub::{Reply, Stub},
        cluster::{Sandbox, condition, sandbox, truth},
    },
};

/// The key result fails for `reason`, shows no number, and says `words`.
async fn check(sandbox: &Sandbox, name: &str, reason: &str, words: &str) -> MeasuredStatus {
    let status = sandbox.await_reason(name, reason).await;
    let ready = condition(&status.conditions, "Ready").unwrap();
    assert_eq!(ready.status, "False", "{name}");
    assert!(ready.message.contains(words), "{name}: {}", ready.message);
    assert_eq!((&status.value, &status.progress_percent, &status.score), (&None, &None, &None), "{name}");
    assert_eq!(status.okr_status, Some(OkrStatus::NotStarted), "{name}");
    assert_eq!(truth(&status.conditions, "OnTrack"), "Unknown", "{name}");
    assert_eq!(truth(&status.conditions, "Fresh"), "absent", "{name}");
    status
}

#[tokio::test]
async fn the_real_server_refuses_what_it_can_and_a_good_one_beside_is_not_held_up() {
    let sandbox = sandbox("refused").await;
    let _operator = sandbox.operator();
    sandbox.connect("warehouse", &emulator()).await;
    let cases = [
        ("syntax", "SELEC 1", "QueryInvalid", "correct spec.bigQuery.query"),
        ("missing-table", "SELECT COUNT(*) FROM nowhere.leeds", "TableNotFound", "nowhere"),
        ("dml", "DELETE FROM x.y WHERE TRUE", "", ""),
        ("ddl", "CREATE TABLE x.y (z INT64)", "", ""),
        ("script", "DECLARE x INT64 DEFAULT 1; SELECT x", "QueryNotSelect", "only reading is allowed"),
        ("no-rows", "SELECT 1 FROM UNNEST([1]) WHERE FALSE", "NoRows", "exactly one"),
        ("two-rows", "SELECT x FROM UNNEST([1, 2]) AS x", "TooManyRows", "exactly one"),
        ("two-columns", "SELECT 1, 2", "TooManyColumns", "exactly one column"),
        ("null", "SELECT CAST(NULL AS INT64)", "NullValue", "COALESCE"),
        ("text", "SELECT 'many'", "NotNumeric", "CAST"),
        ("nan", "SELECT CAST('NaN' AS FLOAT64)", "NotFinite", "SAFE_DIVIDE"),
        ("infinity", "SELECT CAST('Infinity' AS FLOAT64)", "NotFinite", "infinity"),
        ("range", "SELECT RANGE(DATE '2026-01-01', DATE '2026-02-01')", "NotNumeric", "INT64"),
        ("parameter", "SELECT @unknown", "QueryInvalid", "parameters"),
    ];
    for (name, query, ..) in cases {
        sandbox.apply::<OkrKeyResult>(name, reach(query)).await;
    }
    sandbox.apply::<OkrKeyResult>("good", reach("SELECT 100")).await;
    sandbox.await_reason("good", "Synced").await;
    for (name, _, reason, words) in cases {
        if reason.is_empty() {
            // Which of the two it is depends on whether the table exists.
            let status =
                sandbox.await_status(name, "fails", |status| truth(&status.conditions, "Ready") == "False").await;
            let reason = &condition(&status.conditions, "Ready").unwrap().reason;
            assert!(["QueryNotSelect", "TableNotFound"].contains(&reason.as_str()), "{name}: {reason}");
            assert_eq!(status.value, None);
        } else {
            check(&sandbox, name, reason, words).await;
        }
    }
}

#[tokio::test]
async fn the_other_failures_of_the_service_have_reasons_of_their_own() {
    let sandbox = sandbox("service").await;
    let stub = Stub::start().await;
    let connection = json!({
        "projectId": "demo", "endpoint": stub.endpoint(), "credentials": {"none": {}},
        "limits": {"queryTimeout": "2s", "maximumBytesBilled": "1Gi", "maxConcurrentQueries": 50},
    });
    sandbox.apply::<BigQueryConnection>("warehouse", connection).await;
    let number = || Reply::number("INT64", "1");
    let at_query = |reply: Reply| reply.dry_run(number());
    let cases = [
        ("insert", Reply::statement("INSERT"), "QueryNotSelect", "only reading is allowed"),
        ("not-json", at_query(Reply::raw(200, "text/html", "<html>")), "UndecodableResponse", "tried again soon"),
        ("huge", at_query(Reply::raw(200, "application/json", vec![b' '; 5 << 20])), "UndecodableResponse", "1 MiB"),
        ("slow", Reply::slow(Duration::from_secs(60), number()), "Timeout", "queryTimeout"),
        ("bytes", number().bytes(2 << 30), "OverByteLimit", "maximumBytesBilled"),
        (
            "denied",
            Reply::error(403, "accessDenied", "Access Denied: Table demo:a.b"),
            "PermissionDenied",
            "dataViewer",
        ),
        ("quota", at_query(Reply::error(403, "quotaExceeded", "Quota exceeded")), "QuotaExceeded", "next slot"),
        ("rate", at_query(Reply::error(403, "rateLimitExceeded", "Slow down")), "RateLimited", "slow down"),
        ("down", at_query(Reply::error(503, "backendError", "Try again")), "Unavailable", "tried again soon"),
        ("gateway", at_query(Reply::raw(502, "text/html", "<h1>Bad Gateway</h1>")), "Unavailable", "tried again soon"),
        ("unauthorized", Reply::error(401, "authError", "Invalid Credentials"), "AuthenticationFailed", "credentials"),
        ("array", Reply::array("INT64", &["1", "2"]), "NotNumeric", "INT64"),
    ];
    for (name, reply, ..) in &cases {
        stub.on(&format!("SELECT '{name}'"), reply.clone());
    }
    let _operator = sandbox.operator();
    sandbox.await_connection("warehouse", "Connected").await;
    for (name, ..) in &cases {
        sandbox.apply::<OkrKeyResult>(name, reach(&format!("SELECT '{name}'"))).await;
    }
    for (name, _, reason, words) in &cases {
        let status = check(&sandbox, name, reason, words).await;
        assert_eq!(status.consecutive_failures, Some(1), "{name}");
    }
    assert_eq!(stub.cancelled().len(), 1, "the slow job was cancelled");
    assert_eq!(
        sandbox.await_connection("warehouse", "Connected").await.status,
        "True",
        "the connection itself is fine"
    );
}

#[tokio::test]
async fn a_raised_limit_of_the_connection_is_tried_at_once() {
    let sandbox = sandbox("raised").await;
    let stub = Stub::start().await;
    stub.on("SELECT 47", Reply::number("INT64", "47").bytes(2 << 30));
    let connection = |limit: &str| {
        json!({
            "projectId": "demo", "endpoint": stub.endpoint(), "credentials": {"none": {}},
            "limits": {"maximumBytesBilled": limit},
        })
    };
    sandbox.apply::<BigQueryConnection>("warehouse", connection("1Gi")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    sandbox.await_reason("kr", "OverByteLimit").await;
    assert_eq!(runs(&stub, "SELECT 47"), 0, "the dry run knows the bytes");
    sandbox.apply::<BigQueryConnection>("warehouse", connection("4Gi")).await;
    sandbox.await_reason("kr", "Synced").await;
}

#[tokio::test]
async fn the_last_good_value_stays_on_failure() {
    let sandbox = sandbox("stays").await;
    let stub = Stub::start().await;
    stub.on("SELECT 47", Reply::number("NUMERIC", "47.000"));
    sandbox.connect("warehouse", &stub.endpoint()).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    let before = sandbox.await_reason("kr", "Synced").await;
    assert_eq!(before.value.as_deref(), Some("47.000"), "exactly as BigQuery wrote it");
    let secret = "Division by zero; the row was Jane Doe, 5000 EUR";
    stub.on("SELECT 47", Reply::error(400, "invalidQuery", secret));
    sandbox.patch::<OkrKeyResult>("kr", refresh("1")).await;
    let status = sandbox.await_reason("kr", "QueryInvalid").await;
    assert_eq!((&status.value, &status.value_time), (&before.value, &before.value_time));
    assert_eq!((status.okr_status, &status.history), (before.okr_status, &before.history));
    assert_eq!(status.last_handled_refresh.as_deref(), Some("1"));
    assert_eq!(truth(&status.conditions, "Stalled"), "True");
    assert_eq!(truth(&status.conditions, "Fresh"), "True");
    let read = before.value_time.unwrap().0;
    assert!(status.explanation.as_ref().unwrap().starts_with(&format!("Value of {read}: 47.000 of 100")));
    // BigQuery's words stand in the key result's own condition, and nowhere else.
    assert!(condition(&status.conditions, "Ready").unwrap().message.contains(secret));
    let note = sandbox.await_event("kr", "QueryInvalid").await;
    assert!(!note.contains("Jane"), "{note}");
    // A person mends the query: it is synced at once, and checked first.
    stub.on("SELECT 48", Reply::number("INT64", "48"));
    sandbox.patch::<OkrKeyResult>("kr", json!({"spec": {"bigQuery": {"query": "SELECT 48"}}})).await;
    let status = sandbox.await_reason("kr", "Synced").await;
    assert_eq!((status.value.as_deref(), status.consecutive_failures), (Some("48"), None));
    assert_eq!(truth(&status.conditions, "Stalled"), "absent");
    sandbox.await_event("kr", "Synced").await;
}

#[tokio::test]
async fn a_time_zone_that_does_not_exist_is_said_and_can_be_mended() {
    let (sandbox, stub) = stubbed("zone", Reply::number("INT64", "47")).await;
    let mut spec = reach("SELECT 47");
    spec["period"]["timeZone"] = json!("Europe/Atlantis");
    sandbox.apply::<OkrKeyResult>("kr", spec).await;
    let _operator = sandbox.operator();
    let status = check(&sandbox, "kr", "InvalidTimeZone", "Europe/Atlantis").await;
    assert_eq!(truth(&status.conditions, "Stalled"), "True");
    assert_eq!(runs(&stub, "SELECT 47"), 0);
    sandbox.patch::<OkrKeyResult>("kr", json!({"spec": {"period": {"timeZone": "Europe/Paris"}}})).await;
    sandbox.await_reason("kr", "Synced").await;
}

#[tokio::test]
async fn slow_queries_of_one_connection_do_not_hold_up_another() {
    let sandbox = sandbox("lanes").await;
    let (slow, fast) = (Stub::start().await, Stub::start().await);
    slow.otherwise(Reply::slow(Duration::from_secs(300), Reply::number("INT64", "1")));
    fast.otherwise(Reply::number("INT64", "2"));
    let connection = |stub: &Stub, limit: u32| {
        json!({
            "projectId": "demo", "endpoint": stub.endpoint(), "credentials": {"none": {}},
            "limits": {"maxConcurrentQueries": limit},
        })
    };
    sandbox.apply::<BigQueryConnection>("slow", connection(&slow, 2)).await;
    sandbox.apply::<BigQueryConnection>("fast", connection(&fast, 2)).await;
    let through = |connection: &str| -> Value {
        let mut spec = reach("SELECT 47");
        spec["bigQuery"]["connectionRef"] = json!({"name": connection});
        spec
    };
    let _operator = sandbox.operator();
    for index in 0..10 {
        sandbox.apply::<OkrKeyResult>(&format!("slow-{index}"), through("slow")).await;
    }
    slow.until("jobs.query", 2).await;
    for index in 0..10 {
        sandbox.apply::<OkrKeyResult>(&format!("fast-{index}"), through("fast")).await;
    }
    for index in 0..10 {
        sandbox.await_reason(&format!("fast-{index}"), "Synced").await;
    }
    assert_eq!(slow.count("jobs.query"), 2, "no more than maxConcurrentQueries");
}

#[tokio::test]
async fn a_used_up_budget_holds_queries_until_it_is_raised() {
    let sandbox = sandbox("budget").await;
    let stub = Stub::start().await;
    stub.otherwise(Reply::number("INT64", "1").bytes(600 << 20));
    let connection = |budget: &str| {
        json!({
            "projectId": "demo", "endpoint": stub.endpoint(), "credentials": {"none": {}},
            "limits": {"maximumBytesPerDay": budget, "maxConcurrentQueries": 1},
        })
    };
    sandbox.apply::<BigQueryConnection>("warehouse", connection("1Gi")).await;
    for name in ["a", "b", "c"] {
        sandbox.apply::<OkrKeyResult>(name, reach(&format!("SELECT '{name}'"))).await;
    }
    let _operator = sandbox.operator();
    let exhausted = async || {
        let mut names = Vec::new();
        for name in ["a", "b", "c"] {
            let status = sandbox.await_status(name, "is decided", |status| !status.conditions.is_empty()).await;
            let ready = condition(&status.conditions, "Ready").unwrap();
            if ready.reason == "BudgetExhausted" {
                assert_eq!(ready.status, "False");
                assert!(status.next_sync_time.is_some());
                names.push(name);
            }
        }
        names
    };
    assert_eq!(exhausted().await.len(), 1, "two queries of 600 MiB use up 1 GiB");
    assert_eq!(stub.count("jobs.query"), 2);
    sandbox.apply::<BigQueryConnection>("warehouse", connection("10Gi")).await;
    for name in ["a", "b", "c"] {
        sandbox.await_reason(name, "Synced").await;
    }
}

#[tokio::test]
async fn a_connection_that_is_asked_to_slow_down_pauses_and_another_goes_on() {
    let sandbox = sandbox("paced").await;
    let (limited, other) = (Stub::start().await, Stub::start().await);
    let number = || Reply::number("INT64", "1");
    let slow_down = Reply::error(429, "rateLimitExceeded", "Exceeded rate limits").retry_after(8);
    limited.otherwise(number());
    limited.on("SELECT 'first'", slow_down.dry_run(number()));
    other.otherwise(number());
    sandbox.connect("limited", &limited.endpoint()).await;
    sandbox.connect("other", &other.endpoint()).await;
    let through = |connection: &str, query: &str| -> Value {
        let mut spec = seldom(query);
        spec["bigQuery"]["connectionRef"] = json!({"name": connection});
        spec
    };
    let _operator = sandbox.operator();
    sandbox.apply::<OkrKeyResult>("first", through("limited", "SELECT 'first'")).await;
    limited.until("jobs.query", 1).await;
    let paused = std::time::Instant::now();
    sandbox.await_reason("first", "RateLimited").await;
    for name in ["second", "third"] {
        sandbox.apply::<OkrKeyResult>(name, through("limited", &format!("SELECT '{name}'"))).await;
    }
    sandbox.apply::<OkrKeyResult>("beside", through("other", "SELECT 1")).await;
    sandbox.await_reason("beside", "Synced").await;
    assert_eq!(limited.count("jobs.query"), 1, "nothing is sent during the pause");
    for name in ["second", "third"] {
        sandbox.await_reason(name, "Synced").await;
    }
    assert!(paused.elapsed() >= Duration::from_secs(8), "{:?}", paused.elapsed());
    assert_eq!(runs(&limited, "SELECT 'first'"), 1, "what was limited waits for its own retry");
}
