//! refresh and doctor.

use std::sync::Arc;

use okr_operator::api::OkrKeyResult;
use serde_json::json;

use crate::{
    checked_in, okr, period,
    support::{
        bigquery_stub::{Reply, Stub},
        cluster::sandbox,
    },
};

#[tokio::test]
async fn a_refresh_waits_and_its_exit_code_says_what_came_of_it() {
    let sandbox = Arc::new(sandbox("refresh").await);
    let stub = Stub::start().await;
    stub.otherwise(Reply::number("INT64", "4200"));
    sandbox.connect("warehouse", &stub.endpoint()).await;
    let _operator = sandbox.operator();
    let reach = |query: &str| json!({"measure": {"reach": {"target": 5000}}, "period": period(-50, 50), "bigQuery": {"query": query}});
    sandbox.apply::<OkrKeyResult>("good", reach("SELECT total FROM leads")).await;
    sandbox.apply::<OkrKeyResult>("manual", checked_in("grow", 30)).await;
    sandbox.await_reason("good", "Synced").await;
    sandbox.await_reason("manual", "Manual").await;

    let run = okr(&sandbox, &["refresh", "good"]).await;
    assert_eq!((run.code, run.out.as_str()), (0, "okrkeyresult/good refresh asked for\n"), "{}", run.err);
    let run = okr(&sandbox, &["refresh", "--all", "--wait"]).await;
    assert_eq!((run.code, run.out.as_str()), (0, "okrkeyresult/good synced: 4,200, On Track\n"), "{}", run.err);
    let run = okr(&sandbox, &["refresh", "manual", "--wait"]).await;
    assert!(run.code == 1 && run.out.starts_with("okrkeyresult/manual at rest: Manual"), "{}", run.out);

    stub.otherwise(Reply::error(404, "notFound", "Not found: Table demo:sales.leeds"));
    let run = okr(&sandbox, &["refresh", "good", "--wait"]).await;
    assert!(run.code == 1 && run.out.contains("failed: TableNotFound"), "{}", run.out);
}

#[tokio::test]
async fn a_refresh_that_nobody_serves_is_told_in_time() {
    let sandbox = sandbox("nobody").await;
    sandbox.apply::<OkrKeyResult>("leads", checked_in("grow", 30)).await;
    let run = okr(&sandbox, &["refresh", "leads", "--wait", "--timeout", "1"]).await;
    assert!(run.code == 2 && run.out.contains("not synced in time"), "{} {}", run.out, run.err);
}

#[tokio::test]
async fn a_doctor_names_what_is_wrong() {
    let sandbox = sandbox("doctor").await;
    let stub = Stub::start().await;
    stub.on("SELECT 1", Reply::error(403, "accessDenied", "Permission bigquery.jobs.create denied"));
    sandbox.connect("warehouse", &stub.endpoint()).await;
    let _operator = sandbox.operator();
    sandbox.await_connection("warehouse", "PermissionDenied").await;
    let run = okr(&sandbox, &["doctor"]).await;
    assert_eq!(run.code, 1, "{}", run.out);
    assert!(run.out.contains("✔ definition OkrKeyResult: it is there, and that of this version"), "{}", run.out);
    let connection = format!("✘ connection {}/warehouse: PermissionDenied", sandbox.namespace);
    assert!(run.out.contains(&connection), "{}", run.out);
}
