//! Connections: their Secret, their check, and what their state means for key results.

use std::time::Duration;

use okr_operator::api::{BigQueryConnection, OkrKeyResult};
use serde_json::{Value, json};

use crate::{
    dry_runs, key_file, reach, refresh, runs, seldom, stubbed,
    support::{
        bigquery_stub::{Reply, Stub, TokenMode},
        cluster::{await_some, impersonate, sandbox, truth},
    },
    with_key,
};

#[tokio::test]
async fn a_key_in_a_secret_connects_and_a_query_carries_its_token() {
    let sandbox = sandbox("key").await;
    let stub = Stub::start().await;
    stub.require_token("ya29.test-");
    stub.otherwise(Reply::number("INT64", "47"));
    sandbox.put_secret("google", "key.json", &key_file(&stub)).await;
    sandbox.apply::<BigQueryConnection>("warehouse", with_key(&stub)).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    let ready = sandbox.await_connection("warehouse", "Connected").await;
    assert!(ready.message.contains("demo"), "{}", ready.message);
    sandbox.await_reason("kr", "Synced").await;
    assert_eq!(stub.count("token"), 1, "one token serves both");
    let connection: BigQueryConnection = sandbox.api().get("warehouse").await.unwrap();
    let status = connection.status.unwrap();
    assert!(status.principal.unwrap().contains('@'));
    assert_eq!(truth(&status.conditions, "Stalled"), "absent");
}

#[tokio::test]
async fn what_is_wrong_with_a_secret_is_said_and_mended_without_a_restart() {
    let sandbox = sandbox("secret").await;
    let stub = Stub::start().await;
    stub.otherwise(Reply::number("INT64", "47"));
    sandbox.apply::<BigQueryConnection>("warehouse", with_key(&stub)).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    let secret_text = "TOP-SECRET-TEXT";
    let said = async |reason: &str, words: &str, beside: &str| {
        // The Secret is read every 15 s; asking for a refresh reads it at once.
        let again = refresh(&format!("{reason} {words}"));
        sandbox.patch::<BigQueryConnection>("warehouse", again).await;
        let ready = sandbox.await_connection_saying("warehouse", reason, words).await;
        assert_eq!(ready.status, "False");
        assert!(!ready.message.contains(secret_text), "{}", ready.message);
        let connection: BigQueryConnection = sandbox.api().get("warehouse").await.unwrap();
        assert_eq!(truth(&connection.status.unwrap().conditions, beside), "True", "{reason}");
    };
    said("SecretNotFound", "kubectl -n", "Reconciling").await;
    sandbox.await_reason("kr", "ConnectionNotReady").await;
    sandbox.put_secret("google", "other.json", b"{}").await;
    said("SecretKeyMissing", "key.json", "Reconciling").await;
    sandbox.put_secret("google", "key.json", secret_text.as_bytes()).await;
    said("CredentialsInvalid", "not a JSON object", "Stalled").await;
    let mut key: Value = serde_json::from_slice(&key_file(&stub)).unwrap();
    key["private_key"] = json!(format!("-----BEGIN PRIVATE KEY-----\n{secret_text}\n-----END PRIVATE KEY-----\n"));
    sandbox.put_secret("google", "key.json", &serde_json::to_vec(&key).unwrap()).await;
    said("CredentialsInvalid", "private_key", "Stalled").await;
    let mut key: Value = serde_json::from_slice(&key_file(&stub)).unwrap();
    key["token_uri"] = json!("https://tokens.example.com/token");
    sandbox.put_secret("google", "key.json", &serde_json::to_vec(&key).unwrap()).await;
    said("CredentialsInvalid", "token_uri", "Stalled").await;
    assert_eq!(stub.count("token") + stub.count("jobs.query"), 0);
    sandbox.put_secret("google", "key.json", &key_file(&stub)).await;
    // Nobody asks: the Secret is read again within 15 s, and the key result follows.
    sandbox.await_connection("warehouse", "Connected").await;
    sandbox.await_reason("kr", "Synced").await;
}

#[tokio::test]
async fn a_secret_that_may_not_be_read_is_said() {
    let sandbox = sandbox("forbidden").await;
    let stub = Stub::start().await;
    sandbox.put_secret("google", "key.json", &key_file(&stub)).await;
    sandbox.apply::<BigQueryConnection>("warehouse", with_key(&stub)).await;
    let user = format!("limited-{}", sandbox.namespace);
    // All that the operator needs in a namespace, but for Secrets.
    let rules = json!([
        {"apiGroups": ["okr-operator.dev"], "resources": ["bigqueryconnections", "okrkeyresults", "okrobjectives"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["okr-operator.dev"], "resources": ["bigqueryconnections/status", "okrkeyresults/status", "okrobjectives/status"], "verbs": ["update"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
    ]);
    sandbox.allow(&user, rules).await;
    let _operator = sandbox.operator_through(impersonate(&user, &["system:authenticated"]).await, |_| {});
    let ready = sandbox.await_connection("warehouse", "SecretNotReadable").await;
    assert!(ready.message.contains("the verb get on secrets"), "{}", ready.message);
    let calls = sandbox.audited(&user, "secrets");
    assert!(calls.iter().all(|call| call.verb == "get"), "Secrets are read by get alone: {calls:?}");
    assert!(!calls.is_empty());
}

#[tokio::test]
async fn a_connection_that_appears_later_is_used_at_once() {
    let sandbox = sandbox("later").await;
    let stub = Stub::start().await;
    stub.otherwise(Reply::number("INT64", "47"));
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let mut elsewhere = reach("SELECT 47");
    elsewhere["bigQuery"]["connectionRef"] = json!({"name": "warehouse", "namespace": "somebody-else"});
    sandbox.apply::<OkrKeyResult>("elsewhere", elsewhere).await;
    let _operator = sandbox.operator();
    let status = sandbox.await_reason("kr", "ConnectionNotFound").await;
    assert_eq!(truth(&status.conditions, "Reconciling"), "True");
    sandbox.await_reason("elsewhere", "ConnectionNotShared").await;
    sandbox.connect("warehouse", &stub.endpoint()).await;
    sandbox.await_reason("kr", "Synced").await;
    // A second one makes no difference to a choice that was made, but to one that is to be made.
    sandbox.connect("another", &stub.endpoint()).await;
    sandbox.apply::<OkrKeyResult>("new", reach("SELECT 48")).await;
    let status = sandbox.await_reason("new", "AmbiguousConnection").await;
    assert_eq!(truth(&status.conditions, "Stalled"), "True");
    assert_eq!(sandbox.status("kr").await.connection.unwrap().name, "warehouse");
    sandbox.patch::<BigQueryConnection>("another", json!({"spec": {"default": true}})).await;
    let status = sandbox.await_reason("new", "Synced").await;
    assert_eq!(status.connection.unwrap().name, "another");
    // The one that was chosen goes away: what remains is chosen, and another connection is another query.
    sandbox.api::<BigQueryConnection>().delete("warehouse", &Default::default()).await.unwrap();
    sandbox
        .await_status("kr", "moves", |status| {
            status.connection.as_ref().is_some_and(|chosen| chosen.name == "another")
                && truth(&status.conditions, "Ready") == "True"
                && truth(&status.conditions, "Reconciling") == "absent"
        })
        .await;
}

#[tokio::test]
async fn a_suspended_connection_rests_its_key_results_and_resumes_them_at_once() {
    let (sandbox, stub) = stubbed("suspend", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    sandbox.await_reason("kr", "Synced").await;
    sandbox.patch::<BigQueryConnection>("warehouse", json!({"spec": {"suspend": true}})).await;
    let status = sandbox.await_reason("kr", "ConnectionSuspended").await;
    assert_eq!((truth(&status.conditions, "Ready"), truth(&status.conditions, "Fresh")), ("True", "absent"));
    assert_eq!(sandbox.await_connection("warehouse", "Suspended").await.status, "True");
    sandbox.patch::<BigQueryConnection>("warehouse", json!({"spec": {"suspend": false}})).await;
    sandbox.await_reason("kr", "Synced").await;
    assert_eq!(runs(&stub, "SELECT 47"), 2);
}

#[tokio::test]
async fn what_is_wrong_with_a_project_names_the_account_and_the_command_that_mends_it() {
    let sandbox = sandbox("project").await;
    let denied = "Access Denied: Project demo: User does not have bigquery.jobs.create permission in project demo.";
    let disabled = "BigQuery API has not been used in project demo before or it is disabled.";
    let cases = [
        ("denied", Reply::error(403, "accessDenied", denied), "PermissionDenied", "--role=roles/bigquery.jobUser"),
        ("missing", Reply::error(404, "notFound", "Not found: Project demo"), "ProjectNotFound", "spec.projectId"),
        ("disabled", Reply::error(403, "accessNotConfigured", disabled), "ApiDisabled", "gcloud services enable"),
        ("unauthorized", Reply::error(401, "authError", "Invalid Credentials"), "CredentialsRefused", "key"),
    ];
    let mut stubs = Vec::new();
    for (name, reply, ..) in &cases {
        let stub = Stub::start().await;
        stub.on("SELECT 1", reply.clone());
        sandbox.put_secret(name, "key.json", &key_file(&stub)).await;
        let mut spec = with_key(&stub);
        spec["credentials"]["serviceAccountKey"]["secretRef"]["name"] = json!(name);
        sandbox.apply::<BigQueryConnection>(name, spec).await;
        stubs.push(stub);
    }
    let refused = Stub::start().await;
    refused.tokens(TokenMode::Refuse("invalid_grant".into()));
    sandbox.put_secret("refused", "key.json", &key_file(&refused)).await;
    let mut spec = with_key(&refused);
    spec["credentials"]["serviceAccountKey"]["secretRef"]["name"] = json!("refused");
    sandbox.apply::<BigQueryConnection>("refused", spec).await;
    let other_host = json!({"projectId": "demo", "endpoint": "http://10.1.2.3", "credentials": {"none": {}}});
    sandbox.apply::<BigQueryConnection>("other-host", other_host).await;

    let _operator = sandbox.operator();
    for (name, _, reason, words) in &cases {
        let ready = sandbox.await_connection(name, reason).await;
        assert!(ready.message.contains(words), "{name}: {}", ready.message);
        assert!(ready.message.contains('@'), "{name} names the account: {}", ready.message);
        let note = sandbox.await_event(name, reason).await;
        assert!(ready.message.starts_with(&note), "{name}: {note}");
    }
    sandbox.await_connection("refused", "CredentialsRefused").await;
    let ready = sandbox.await_connection("other-host", "EndpointNotAllowed").await;
    assert!(ready.message.contains("--allowed-endpoints"), "{}", ready.message);
}

#[tokio::test]
async fn a_connection_that_fails_holds_its_key_results_and_the_query_is_not_blamed() {
    let (sandbox, stub) = stubbed("doubt", Reply::number("INT64", "47")).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let operator = sandbox.operator();
    sandbox.await_reason("kr", "Synced").await;
    operator.stop().await;
    let denied = || Reply::error(403, "accessDenied", "Access Denied: Project demo");
    stub.on("SELECT 1", denied());
    stub.otherwise(denied());
    sandbox.backdate("kr").await;
    let _operator = sandbox.operator();
    let status = sandbox.await_reason("kr", "ConnectionNotReady").await;
    assert_eq!(status.value.as_deref(), Some("47"));
    assert_eq!(truth(&status.conditions, "Reconciling"), "True");
    sandbox.await_connection("warehouse", "PermissionDenied").await;
    stub.on("SELECT 1", Reply::number("INT64", "1"));
    stub.otherwise(Reply::number("INT64", "48"));
    sandbox.patch::<BigQueryConnection>("warehouse", refresh("1")).await;
    let status = sandbox.await_reason("kr", "Synced").await;
    assert_eq!(status.value.as_deref(), Some("48"));
}

#[tokio::test]
async fn a_deleted_secret_is_noticed_and_its_return_too() {
    let (sandbox, stub) = (sandbox("deleted").await, Stub::start().await);
    stub.otherwise(Reply::number("INT64", "47"));
    sandbox.put_secret("google", "key.json", &key_file(&stub)).await;
    sandbox.apply::<BigQueryConnection>("warehouse", with_key(&stub)).await;
    let _operator = sandbox.operator();
    sandbox.await_connection("warehouse", "Connected").await;
    sandbox.api::<k8s_openapi::api::core::v1::Secret>().delete("google", &Default::default()).await.unwrap();
    let again = refresh("1");
    sandbox.patch::<BigQueryConnection>("warehouse", again).await;
    sandbox.await_connection("warehouse", "SecretNotFound").await;
    // With the very same content: nobody asks, and it is read again within 15 s.
    sandbox.put_secret("google", "key.json", &key_file(&stub)).await;
    sandbox.await_connection("warehouse", "Connected").await;
}

#[tokio::test]
async fn a_changed_secret_drops_no_query_in_flight() {
    let (sandbox, stub) = (sandbox("rotation").await, Stub::start().await);
    stub.require_token("ya29.test-");
    stub.on("SELECT 47", Reply::slow(Duration::from_secs(6), Reply::number("INT64", "47")));
    sandbox.put_secret("google", "key.json", &key_file(&stub)).await;
    sandbox.apply::<BigQueryConnection>("warehouse", with_key(&stub)).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    stub.until("jobs.query", 1).await;
    let mut rotated: Value = serde_json::from_slice(&key_file(&stub)).unwrap();
    rotated["private_key_id"] = json!("2");
    sandbox.put_secret("google", "key.json", &serde_json::to_vec(&rotated).unwrap()).await;
    let again = refresh("1");
    sandbox.patch::<BigQueryConnection>("warehouse", again).await;
    stub.until("token", 2).await;
    let status = sandbox.await_reason("kr", "Synced").await;
    assert_eq!((status.value.as_deref(), runs(&stub, "SELECT 47"), stub.cancelled().len()), (Some("47"), 1, 0));
}

#[tokio::test]
async fn a_hundred_key_results_that_start_at_once_make_one_token_request() {
    let (sandbox, stub) = (sandbox("hundred").await, Stub::start().await);
    stub.require_token("ya29.test-");
    stub.otherwise(Reply::number("INT64", "47"));
    sandbox.put_secret("google", "key.json", &key_file(&stub)).await;
    let mut spec = with_key(&stub);
    spec["limits"] = json!({"maxConcurrentQueries": 100});
    sandbox.apply::<BigQueryConnection>("warehouse", spec).await;
    let spec = seldom("SELECT 47");
    for index in 0..100 {
        sandbox.apply::<OkrKeyResult>(&format!("kr-{index}"), spec.clone()).await;
    }
    let _operator = sandbox.operator_with(|settings| settings.max_concurrent_syncs = 200);
    for index in 0..100 {
        sandbox.await_reason(&format!("kr-{index}"), "Synced").await;
    }
    assert_eq!((stub.count("token"), stub.count("jobs.query")), (1, 100));
}

#[tokio::test]
async fn the_bytes_of_the_day_survive_a_restart() {
    let (sandbox, stub) = (sandbox("bytes").await, Stub::start().await);
    stub.otherwise(Reply::number("INT64", "47").bytes(600 << 20));
    let mut spec = json!({"projectId": "demo", "endpoint": stub.endpoint(), "credentials": {"none": {}}});
    spec["limits"] = json!({"maximumBytesPerDay": "500Mi"});
    sandbox.apply::<BigQueryConnection>("warehouse", spec).await;
    sandbox.apply::<OkrKeyResult>("first", reach("SELECT 1 AS first")).await;
    let operator = sandbox.operator();
    sandbox.await_reason("first", "Synced").await;
    // The last thing it does is to write them.
    operator.stop().await;
    let connection: BigQueryConnection = sandbox.api().get("warehouse").await.unwrap();
    assert_eq!(connection.status.unwrap().bytes_today, Some(600 << 20));
    sandbox.apply::<OkrKeyResult>("second", reach("SELECT 2 AS second")).await;
    let _operator = sandbox.operator();
    sandbox.await_reason("second", "BudgetExhausted").await;
    assert_eq!(runs(&stub, "SELECT 2 AS second"), 0);
}

#[tokio::test]
async fn bytes_count_where_the_answer_is_no_number_too() {
    let (sandbox, stub) = stubbed("paid", Reply::rows(&[("f0_", "INT64")], &[]).bytes(600 << 20)).await;
    sandbox.apply::<OkrKeyResult>("kr", reach("SELECT 47")).await;
    let _operator = sandbox.operator();
    sandbox.await_reason("kr", "NoRows").await;
    let again = refresh("1");
    sandbox.patch::<BigQueryConnection>("warehouse", again).await;
    await_some("the bytes are counted", || async {
        let connection: BigQueryConnection = sandbox.api().get("warehouse").await.unwrap();
        connection.status?.bytes_today.filter(|bytes| *bytes == 600 << 20)
    })
    .await;
    assert_eq!(stub.count("jobs.query"), 1);
}

#[tokio::test]
async fn queries_that_find_nobody_have_their_connection_checked_once() {
    let (sandbox, stub) = stubbed("outage", Reply::number("INT64", "47")).await;
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        sandbox.apply::<OkrKeyResult>(name, reach(&format!("SELECT '{name}'"))).await;
    }
    let operator = sandbox.operator();
    for name in names {
        sandbox.await_reason(name, "Synced").await;
    }
    operator.stop().await;
    stub.forget();
    let down = || Reply::error(503, "backendError", "Try again");
    stub.on("SELECT 1", down());
    stub.otherwise(down());
    for name in names {
        sandbox.backdate(name).await;
    }
    let _operator = sandbox.operator();
    for name in names {
        let status = sandbox.await_status(name, "has failed", |status| status.consecutive_failures == Some(1)).await;
        // The first failure of a connection, and of a query, is no news.
        assert_eq!(truth(&status.conditions, "Ready"), "True");
    }
    await_some("the connection is checked", || async { (dry_runs(&stub, "SELECT 1") > 0).then_some(()) }).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((dry_runs(&stub, "SELECT 1"), stub.count("jobs.query")), (1, names.len()));
    assert_eq!(sandbox.await_connection("warehouse", "Connected").await.status, "True");
}
