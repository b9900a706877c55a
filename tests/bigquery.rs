//! `bigquery` against a real server: an emulator where it can say a thing, a stub of ours where it cannot.
//!
//! `OKR_BIGQUERY_ENDPOINT` is the emulator's `http://host:port`, with the project `demo`;
//! `OKR_RSA_KEY` the path of an RSA key in PKCS #8 PEM form.

mod support;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use okr_operator::bigquery::{
    Answer, Client, Credentials, DatasetRef, Destination, Endpoint, Error, ErrorKind, Parameter, Query, SCOPE,
    ServiceAccountKey, TokenSource, http_client,
};
use serde_json::{Value, json};
use support::bigquery_stub::{Recorded, Reply, Stub, TokenMode};
use tokio_util::sync::CancellationToken;

fn destination(endpoint: &str) -> Destination {
    Destination {
        endpoint: Endpoint::parse(endpoint).unwrap(),
        project_id: "demo".to_owned(),
        billing_project_id: "demo".to_owned(),
        location: None,
        default_dataset: None,
    }
}

fn client_of(destination: Destination, credentials: Credentials) -> Client {
    let tokens = TokenSource::new(credentials, vec![SCOPE.to_owned()]);
    Client::new(destination, Arc::new(tokens), http_client().unwrap())
}

fn client(stub: &Stub) -> Client {
    client_of(destination(&stub.endpoint()), Credentials::None)
}

fn rsa_key() -> String {
    let path = std::env::var("OKR_RSA_KEY").expect("OKR_RSA_KEY is the path of an RSA key in PEM form");
    std::fs::read_to_string(path).unwrap()
}

/// A client whose tokens come from the stub, which accepts no others.
fn client_with_key(stub: &Stub) -> Client {
    client_with_scope(stub, SCOPE)
}

fn client_with_scope(stub: &Stub, scope: &str) -> Client {
    stub.require_token("ya29.test-");
    let key = ServiceAccountKey::parse(&stub.key_file(&rsa_key()), &[stub.host()]).unwrap();
    let tokens = TokenSource::new(Credentials::ServiceAccountKey(key), vec![scope.to_owned()]);
    Client::new(destination(&stub.endpoint()), Arc::new(tokens), http_client().unwrap())
}

fn query(sql: &str) -> Query<'_> {
    Query {
        sql,
        parameters: Vec::new(),
        labels: BTreeMap::new(),
        maximum_bytes_billed: 10 * 1024 * 1024 * 1024,
        timeout: Duration::from_secs(60),
    }
}

fn query_for(sql: &str, timeout: Duration) -> Query<'_> {
    Query { timeout, ..query(sql) }
}

async fn run(client: &Client, sql: &str) -> Result<Answer, Error> {
    client.run(&query(sql), &CancellationToken::new()).await
}

#[track_caller]
fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.err().expect("this fails").kind
}

/// What a stub's reply comes to, in a run.
async fn run_of(reply: Reply) -> Result<Answer, Error> {
    let stub = Stub::start().await;
    stub.on("Q", reply);
    run(&client(&stub), "Q").await
}

async fn dry_run_of(reply: Reply) -> Result<u64, Error> {
    let stub = Stub::start().await;
    stub.on("Q", reply);
    let dry_run = client(&stub).dry_run(&query("Q")).await?;
    Ok(dry_run.bytes_processed)
}

mod emulator {
    use super::*;

    fn client() -> Client {
        let endpoint =
            std::env::var("OKR_BIGQUERY_ENDPOINT").expect("OKR_BIGQUERY_ENDPOINT is the emulator's http://host:port");
        client_of(destination(&endpoint), Credentials::None)
    }

    /// The value, in a dry run and a run.
    async fn check(sql: &str, want: Result<&str, ErrorKind>) {
        let client = client();
        let answer = run(&client, sql).await;
        assert_eq!(
            answer.as_ref().map(|answer| answer.value.as_str()).map_err(|error| error.kind),
            want,
            "{sql}: {answer:?}"
        );
    }

    /// What a dry run finds, a run finds too: a routine sync has no dry run before it.
    async fn check_both(sql: &str, want: ErrorKind) {
        let client = client();
        let dry_run = client.dry_run(&query(sql)).await;
        assert_eq!(kind(dry_run), want, "dry run of {sql}");
        assert_eq!(kind(run(&client, sql).await), want, "run of {sql}");
    }

    #[tokio::test]
    async fn the_check_passes() {
        client().check().await.unwrap();
    }

    #[tokio::test]
    async fn a_number_is_exactly_what_bigquery_wrote() {
        check("SELECT 42", Ok("42")).await;
        check("SELECT -9223372036854775808", Ok("-9223372036854775808")).await;
        check("SELECT NUMERIC '99.95'", Ok("99.95")).await;
        check("SELECT 0.1", Ok("0.1")).await;
        check("SELECT COUNT(*) FROM UNNEST([1, 2, 3])", Ok("3")).await;
        check("WITH a AS (SELECT 1 AS x) SELECT x FROM a", Ok("1")).await;
    }

    #[tokio::test]
    async fn the_job_is_told() {
        let answer = run(&client(), "SELECT 42").await.unwrap();
        assert_eq!(answer.kind, "INTEGER");
        assert!(!answer.job.job_id.is_empty());
        assert!(answer.job.duration > Duration::ZERO);
    }

    #[tokio::test]
    async fn floats_have_exponents_and_may_not_be_finite() {
        let answer = run(&client(), "SELECT 1e300").await.unwrap();
        assert_eq!(answer.value.parse::<f64>().unwrap(), 1e300);
        for text in ["NaN", "inf", "-inf"] {
            check(&format!("SELECT CAST('{text}' AS FLOAT64)"), Err(ErrorKind::NotFinite)).await;
        }
    }

    #[tokio::test]
    async fn what_is_not_one_value_is_named() {
        check("SELECT CAST(NULL AS INT64)", Err(ErrorKind::NullValue)).await;
        check("SELECT 1 AS x UNION ALL SELECT 2", Err(ErrorKind::TooManyRows)).await;
        check("SELECT x FROM UNNEST(GENERATE_ARRAY(1, 100)) AS x", Err(ErrorKind::TooManyRows)).await;
        check("SELECT 1 AS x FROM UNNEST([1]) WHERE FALSE", Err(ErrorKind::NoRows)).await;
    }

    #[tokio::test]
    async fn what_is_not_one_number_is_named() {
        check_both("SELECT 1, 2", ErrorKind::TooManyColumns).await;
        check_both("SELECT 'text'", ErrorKind::NotNumeric).await;
        check_both("SELECT DATE '2026-10-01'", ErrorKind::NotNumeric).await;
        check_both("SELECT RANGE(DATE '2026-01-01', DATE '2026-02-01')", ErrorKind::NotNumeric).await;
        check_both("SELECT [1, 2]", ErrorKind::NotNumeric).await;
        check_both("SELECT STRUCT(1)", ErrorKind::NotNumeric).await;
    }

    #[tokio::test]
    async fn what_is_not_one_select_is_named_by_its_dry_run() {
        let client = client();
        for sql in [
            "CREATE TABLE local.never (a INT64)",
            "CREATE SCHEMA never",
            "SELECT 1; SELECT 2",
            "DECLARE x INT64 DEFAULT 1; SELECT x",
            "BEGIN SELECT 1; END",
            "",
        ] {
            assert_eq!(kind(client.dry_run(&query(sql)).await), ErrorKind::NotSelect, "{sql}");
        }
    }

    #[tokio::test]
    async fn dml_is_no_select_for_a_dry_run_nor_after_a_run() {
        let client = client();
        assert_eq!(kind(run(&client, "CREATE OR REPLACE TABLE local.dml (a INT64)").await), ErrorKind::NotSelect);
        check_both("INSERT INTO local.dml VALUES (1)", ErrorKind::NotSelect).await;
        check("SELECT COUNT(*) FROM local.dml", Ok("1")).await;
    }

    #[tokio::test]
    async fn a_wrong_query_is_refused_with_bigquerys_words() {
        check_both("SELEC 1", ErrorKind::QueryInvalid).await;
        check("SELECT 1/0", Err(ErrorKind::QueryInvalid)).await;
        let error = run(&client(), "SELEC 1").await.unwrap_err();
        assert_eq!(error.detail.as_deref(), Some(r#"Syntax error: Unexpected identifier "SELEC" at [1:1]"#));
    }

    #[tokio::test]
    async fn missing_and_foreign_tables_are_told_apart() {
        check_both("SELECT COUNT(*) FROM local.nothing", ErrorKind::TableNotFound).await;
        check_both("SELECT COUNT(*) FROM nowhere.nothing", ErrorKind::TableNotFound).await;
        check_both("SELECT COUNT(*) FROM foreign.sales.leads", ErrorKind::PermissionDenied).await;
    }

    #[tokio::test]
    async fn bare_names_are_looked_up_in_the_default_dataset() {
        let mut destination = client().destination().clone();
        destination.default_dataset = Some(DatasetRef::parse("local", "demo").unwrap());
        let client = client_of(destination, Credentials::None);
        run(&client, "CREATE OR REPLACE TABLE local.bare AS SELECT 7 AS x").await.unwrap_err();
        assert_eq!(run(&client, "SELECT x FROM bare").await.unwrap().value, "7");
    }

    #[tokio::test]
    async fn parameters_of_all_nine_types_are_bound() {
        let typed = [
            ("STRING", "it's", "'it\\'s'"),
            ("INT64", "-5", "-5"),
            ("FLOAT64", "1.5", "1.5"),
            ("NUMERIC", "99.95", "NUMERIC '99.95'"),
            ("BIGNUMERIC", "0.000000000001", "BIGNUMERIC '0.000000000001'"),
            ("BOOL", "true", "TRUE"),
            ("DATE", "2026-10-01", "DATE '2026-10-01'"),
            ("DATETIME", "2026-10-01 12:30:00", "DATETIME '2026-10-01 12:30:00'"),
            ("TIMESTAMP", "2026-10-01 12:30:00+00:00", "TIMESTAMP '2026-10-01 12:30:00+00:00'"),
        ];
        let conditions: Vec<String> = typed.iter().map(|(kind, _, literal)| format!("@p_{kind} = {literal}")).collect();
        let sql = format!("SELECT COUNTIF({}) FROM UNNEST([1])", conditions.join(" AND "));
        let parameters = typed.iter().map(|(kind, value, _)| Parameter {
            name: format!("p_{kind}"),
            kind,
            value: (*value).to_owned(),
        });
        let query = Query { parameters: parameters.collect(), ..query(&sql) };
        client().dry_run(&query).await.unwrap();
        let answer = client().run(&query, &CancellationToken::new()).await.unwrap();
        assert_eq!(answer.value, "1");
    }

    #[tokio::test]
    async fn labels_and_limits_are_accepted() {
        let labels = BTreeMap::from([("managed-by".to_owned(), "okr-operator".to_owned())]);
        let query = Query { labels, ..query("SELECT 1") };
        client().dry_run(&query).await.unwrap();
        client().run(&query, &CancellationToken::new()).await.unwrap();
    }
}

mod request {
    use super::*;

    fn full_query() -> Query<'static> {
        Query {
            sql: "SELECT 42 -- full",
            parameters: vec![Parameter {
                name: "period_start".to_owned(),
                kind: "DATE",
                value: "2026-10-01".to_owned(),
            }],
            labels: BTreeMap::from([("managed-by".to_owned(), "okr-operator".to_owned())]),
            maximum_bytes_billed: 10_737_418_240,
            timeout: Duration::from_secs(60),
        }
    }

    fn full_destination(stub: &Stub) -> Destination {
        Destination {
            billing_project_id: "payer".to_owned(),
            location: Some("europe-west1".to_owned()),
            default_dataset: Some(DatasetRef::parse("sales", "demo").unwrap()),
            ..destination(&stub.endpoint())
        }
    }

    fn parameters() -> Value {
        json!([{"name": "period_start", "parameterType": {"type": "DATE"}, "parameterValue": {"value": "2026-10-01"}}])
    }

    async fn only_request(client: &Client, stub: &Stub, query: &Query<'_>) -> Recorded {
        stub.on(query.sql, Reply::number("INT64", "42"));
        client.run(query, &CancellationToken::new()).await.unwrap();
        let [request] = stub.requests().try_into().expect("a routine run is one call");
        request
    }

    #[tokio::test]
    async fn a_routine_run_is_one_call_with_all_that_the_contract_says() {
        let stub = Stub::start().await;
        let client = client_of(full_destination(&stub), Credentials::None);
        let request = only_request(&client, &stub, &full_query()).await;
        assert_eq!((request.call, request.method), ("jobs.query", "POST"));
        assert_eq!(request.path, "/bigquery/v2/projects/payer/queries");
        assert!(request.query.is_empty());
        assert_eq!(request.user_agent, concat!("okr-operator/", env!("CARGO_PKG_VERSION")));
        assert!(!request.has_authorization);
        assert_eq!(
            request.body,
            json!({
                "query": "SELECT 42 -- full",
                "useLegacySql": false,
                "useQueryCache": true,
                "maxResults": 2,
                "maximumBytesBilled": "10737418240",
                "timeoutMs": 10_000,
                "parameterMode": "NAMED",
                "queryParameters": parameters(),
                "labels": {"managed-by": "okr-operator"},
                "location": "europe-west1",
                "defaultDataset": {"projectId": "demo", "datasetId": "sales"},
                "connectionProperties": [{"key": "dataset_project_id", "value": "demo"}],
            })
        );
    }

    #[tokio::test]
    async fn what_is_not_set_is_not_sent() {
        let stub = Stub::start().await;
        let query = query_for("SELECT 7", Duration::from_millis(1500));
        let request = only_request(&client(&stub), &stub, &query).await;
        assert_eq!(
            request.body,
            json!({
                "query": "SELECT 7", "useLegacySql": false, "useQueryCache": true, "maxResults": 2,
                "maximumBytesBilled": "10737418240", "timeoutMs": 1500,
            })
        );
    }

    #[tokio::test]
    async fn a_dry_run_is_an_inserted_job_that_is_not_run() {
        let stub = Stub::start().await;
        stub.on("SELECT 42 -- full", Reply::number("INT64", "42").bytes(1000));
        let client = client_of(full_destination(&stub), Credentials::None);
        let dry_run = client.dry_run(&full_query()).await.unwrap();
        assert_eq!(dry_run.bytes_processed, 1000);
        let [request] = stub.requests().try_into().expect("a dry run is one call");
        assert_eq!((request.call, request.path.as_str()), ("jobs.insert", "/bigquery/v2/projects/payer/jobs"));
        assert_eq!(
            request.body,
            json!({
                "jobReference": {"projectId": "payer", "location": "europe-west1"},
                "configuration": {
                    "dryRun": true,
                    "labels": {"managed-by": "okr-operator"},
                    "query": {
                        "query": "SELECT 42 -- full",
                        "useLegacySql": false,
                        "parameterMode": "NAMED",
                        "queryParameters": parameters(),
                        "defaultDataset": {"projectId": "demo", "datasetId": "sales"},
                        "connectionProperties": [{"key": "dataset_project_id", "value": "demo"}],
                    },
                },
            })
        );
    }

    #[tokio::test]
    async fn the_check_is_a_dry_run_of_select_1() {
        let stub = Stub::start().await;
        client(&stub).check().await.unwrap();
        let [request] = stub.requests().try_into().expect("a check is one call");
        assert_eq!(request.call, "jobs.insert");
        assert_eq!(
            request.body["configuration"],
            json!({"dryRun": true, "query": {"query": "SELECT 1", "useLegacySql": false}})
        );
    }
}

mod answer {
    use super::*;

    async fn check(reply: Reply, want: ErrorKind) {
        assert_eq!(kind(run_of(reply).await), want);
    }

    /// What an error is, in a run and in a dry run.
    async fn check_both(reply: Reply, want: ErrorKind) {
        assert_eq!(kind(dry_run_of(reply.clone()).await), want);
        check(reply, want).await;
    }

    #[tokio::test]
    async fn a_number_comes_with_its_job() {
        let answer = run_of(Reply::number("NUMERIC", "99.95").bytes(1_048_576).cache_hit()).await.unwrap();
        assert_eq!((answer.value.as_str(), answer.kind.as_str()), ("99.95", "NUMERIC"));
        assert_eq!((answer.job.job_id.as_str(), answer.job.location.as_deref()), ("job_1", Some("US")));
        assert_eq!((answer.job.bytes_processed, answer.job.cache_hit), (1_048_576, true));
    }

    #[tokio::test]
    async fn numbers_of_every_size_stay_as_they_are() {
        let big = "578960446186580977117854925043439539266.34992332820282019728792003956564819967";
        let fraction = "1.12345678901234567890123456789012345678";
        for (kind, value) in
            [("BIGNUMERIC", big), ("BIGNUMERIC", fraction), ("FLOAT64", "1.0E300"), ("INT64", "-9223372036854775808")]
        {
            assert_eq!(run_of(Reply::number(kind, value)).await.unwrap().value, value);
        }
    }

    #[tokio::test]
    async fn what_is_not_a_finite_number_is_named() {
        check(Reply::null("INT64"), ErrorKind::NullValue).await;
        for text in ["NaN", "Infinity", "-Infinity"] {
            check(Reply::number("FLOAT64", text), ErrorKind::NotFinite).await;
        }
        check(Reply::number("INT64", "1.9"), ErrorKind::Undecodable).await;
        check(Reply::rows(&[("a", "INT64")], &[]), ErrorKind::NoRows).await;
        check(Reply::rows(&[("a", "INT64")], &[&[json!("1")], &[json!("2")]]), ErrorKind::TooManyRows).await;
        check_both(
            Reply::rows(&[("a", "INT64"), ("b", "INT64")], &[&[json!("1"), json!("2")]]),
            ErrorKind::TooManyColumns,
        )
        .await;
        check_both(Reply::number("STRING", "42"), ErrorKind::NotNumeric).await;
        check_both(Reply::number("RANGE", "[2026-01-01, 2026-02-01)"), ErrorKind::NotNumeric).await;
        check_both(Reply::rows(&[("a", "STRUCT")], &[&[json!({"f": [{"v": "1"}]})]]), ErrorKind::NotNumeric).await;
        check_both(Reply::array("INT64", &["1", "2"]), ErrorKind::NotNumeric).await;
    }

    #[tokio::test]
    async fn a_statement_type_is_believed_and_a_schema_is_enough_without_one() {
        check_both(Reply::statement("INSERT"), ErrorKind::NotSelect).await;
        check_both(Reply::number("INT64", "1").statement_type(Some("SCRIPT")), ErrorKind::NotSelect).await;
        assert_eq!(run_of(Reply::number("INT64", "1").statement_type(None)).await.unwrap().value, "1");
        assert_eq!(dry_run_of(Reply::number("INT64", "1").statement_type(None)).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_query_over_its_limit_is_refused_before_and_at_its_run() {
        check_both(Reply::number("INT64", "1").bytes(10 * 1024 * 1024 * 1024 + 1), ErrorKind::OverByteLimit).await;
        check(
            Reply::error(500, "bytesBilledLimitExceeded", "Query exceeded limit for bytes billed: 1"),
            ErrorKind::OverByteLimit,
        )
        .await;
        let at_the_limit = Reply::number("INT64", "1").bytes(10 * 1024 * 1024 * 1024);
        dry_run_of(at_the_limit.clone()).await.unwrap();
        run_of(at_the_limit).await.unwrap();
    }

    #[tokio::test]
    async fn googles_errors_are_told_apart() {
        let error = Reply::error;
        check_both(error(400, "invalidQuery", "Syntax error"), ErrorKind::QueryInvalid).await;
        check_both(error(403, "responseTooLarge", "Response too large to return"), ErrorKind::QueryInvalid).await;
        check_both(
            error(404, "notFound", "Not found: Table demo:d.t was not found in location US"),
            ErrorKind::TableNotFound,
        )
        .await;
        check_both(error(404, "notFound", "Not found: Project nowhere"), ErrorKind::ProjectNotFound).await;
        check_both(
            error(
                403,
                "accessDenied",
                "Access Denied: Project demo: User does not have bigquery.jobs.create permission in project demo.",
            ),
            ErrorKind::PermissionDenied,
        )
        .await;
        check_both(
            error(403, "accessNotConfigured", "BigQuery API has not been used in project 1 before or it is disabled."),
            ErrorKind::ApiDisabled,
        )
        .await;
        check_both(error(403, "quotaExceeded", "Quota exceeded"), ErrorKind::QuotaExceeded).await;
        check_both(error(403, "rateLimitExceeded", "Exceeded rate limits"), ErrorKind::RateLimited).await;
        check_both(error(503, "backendError", "Error encountered during execution"), ErrorKind::Unavailable).await;
        check_both(error(400, "timeout", "The job timed out"), ErrorKind::Timeout).await;
        check_both(error(401, "authError", "Invalid Credentials"), ErrorKind::Unauthorized).await;
        let details = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}]);
        check_both(error(403, "forbidden", "disabled").details(details), ErrorKind::ApiDisabled).await;
    }

    #[tokio::test]
    async fn a_wish_to_wait_is_passed_on_and_bounded() {
        let wait = |reply| async { run_of(reply).await.unwrap_err().retry_after };
        let limited = || Reply::error(429, "rateLimitExceeded", "Exceeded rate limits");
        assert_eq!(wait(limited().retry_after(7)).await, Some(Duration::from_secs(7)));
        assert_eq!(wait(limited().retry_after(u64::MAX)).await, Some(Duration::from_secs(3600)));
        assert_eq!(wait(limited()).await, None);
        assert_eq!(wait(limited().header("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")).await, None);
        assert_eq!(wait(Reply::raw(503, "text/html", "<html>").retry_after(3)).await, Some(Duration::from_secs(3)));
    }

    #[tokio::test]
    async fn what_is_not_bigquerys_answer_is_undecodable_or_unavailable() {
        check_both(Reply::raw(200, "application/json", "{\"jobComplete\": tr"), ErrorKind::Undecodable).await;
        check_both(Reply::raw(200, "text/html", "<html>Sign in</html>"), ErrorKind::Undecodable).await;
        check_both(Reply::raw(200, "application/json", "{}"), ErrorKind::Undecodable).await;
        check_both(Reply::raw(200, "application/json", ""), ErrorKind::Undecodable).await;
        check_both(Reply::raw(404, "text/html", "<html>"), ErrorKind::Undecodable).await;
        check_both(Reply::raw(502, "text/html", "<html>"), ErrorKind::Unavailable).await;
    }

    #[tokio::test]
    async fn an_answer_of_5_mb_is_cut_off() {
        // Good in all else, as an answer to a run and to a dry run.
        let schema = json!({"fields": [{"name": "a", "type": "INTEGER"}]});
        let body = |padding: usize| {
            json!({
                "jobReference": {"jobId": "j"}, "jobComplete": true, "schema": schema, "rows": [{"f": [{"v": "42"}]}],
                "statistics": {"query": {"schema": schema}}, "padding": "x".repeat(padding),
            })
            .to_string()
        };
        assert_eq!(run_of(Reply::raw(200, "application/json", body(1_000_000))).await.unwrap().value, "42");
        check_both(Reply::raw(200, "application/json", body(5_000_000)), ErrorKind::Undecodable).await;
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let elsewhere = Stub::start().await;
        let stub = Stub::start().await;
        stub.on("Q", Reply::redirect(&format!("{}/bigquery/v2/projects/demo/queries", elsewhere.endpoint())));
        assert_eq!(kind(run(&client_with_key(&stub), "Q").await), ErrorKind::Undecodable);
        assert!(elsewhere.requests().is_empty());
    }

    #[tokio::test]
    async fn nobody_at_home_is_unavailable_with_the_cause() {
        // A port that was free a moment ago.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let endpoint = format!("http://{address}");
        let error = run(&client_of(destination(&endpoint), Credentials::None), "Q").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.detail.unwrap().contains("refused"));
    }
}

mod slow {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn under_way(total: Duration) -> Reply {
        Reply::slow(total, Reply::number("INT64", "42")).answering_at_once()
    }

    #[tokio::test]
    async fn a_query_that_ends_within_the_first_wait_needs_no_poll() {
        let stub = Stub::start().await;
        stub.on("Q", Reply::slow(Duration::from_millis(300), Reply::number("INT64", "42")));
        assert_eq!(run(&client(&stub), "Q").await.unwrap().value, "42");
        assert_eq!(stub.requests().len(), 1);
    }

    #[tokio::test]
    async fn a_query_above_10_s_is_polled_at_its_location() {
        let stub = Stub::start().await;
        stub.on("Q", Reply::slow(Duration::from_millis(10_500), Reply::number("INT64", "42")));
        let destination = Destination { location: Some("europe-west1".to_owned()), ..destination(&stub.endpoint()) };
        let answer = run(&client_of(destination, Credentials::None), "Q").await.unwrap();
        assert_eq!(answer.value, "42");
        assert!(answer.job.duration > Duration::from_secs(10));
        let [start, poll] = stub.requests().try_into().expect("one call and one poll");
        assert_eq!(start.body["timeoutMs"], 10_000);
        assert_eq!(
            (poll.call, poll.path.as_str()),
            ("jobs.getQueryResults", "/bigquery/v2/projects/demo/queries/job_1")
        );
        assert_eq!(poll.query["location"], "europe-west1");
        assert_eq!((poll.query["timeoutMs"].as_str(), poll.query["maxResults"].as_str()), ("10000", "2"));
        assert!(stub.cancelled().is_empty());
    }

    #[tokio::test]
    async fn failing_polls_are_repeated_for_the_job_runs_on() {
        let stub = Stub::start().await;
        stub.on("Q", under_way(Duration::from_millis(100)).failing_polls(2));
        assert_eq!(run(&client(&stub), "Q").await.unwrap().value, "42");
        assert_eq!(stub.count("jobs.getQueryResults"), 3);
    }

    #[tokio::test]
    async fn a_poll_that_comes_too_often_is_repeated_when_it_may_be() {
        let stub = Stub::start().await;
        let limited = Reply::error(429, "rateLimitExceeded", "Exceeded rate limits").retry_after(3);
        stub.on("Q", under_way(Duration::from_millis(100)).failing_polls(1).polls_failing_with(limited));
        let started = std::time::Instant::now();
        assert_eq!(run(&client(&stub), "Q").await.unwrap().value, "42");
        assert!(started.elapsed() >= Duration::from_secs(3), "{:?}", started.elapsed());
        assert_eq!((stub.count("jobs.query"), stub.count("jobs.getQueryResults")), (1, 2));
        assert!(stub.cancelled().is_empty(), "what runs and costs is not given up");
    }

    #[tokio::test]
    async fn a_server_that_does_not_wait_is_not_asked_without_pause() {
        let stub = Stub::start().await;
        let reply = under_way(Duration::from_millis(2500)).with_polls_answering_at_once();
        stub.on("Q", reply);
        assert_eq!(run(&client(&stub), "Q").await.unwrap().value, "42");
        assert!((2..=4).contains(&stub.count("jobs.getQueryResults")));
    }

    #[tokio::test]
    async fn a_job_that_cannot_be_watched_is_cancelled() {
        let stub = Stub::start().await;
        stub.on("Q", under_way(LONG).failing_polls(usize::MAX));
        assert_eq!(kind(run(&client(&stub), "Q").await), ErrorKind::Unavailable);
        assert_eq!(stub.count("jobs.getQueryResults"), 4);
        assert_eq!(stub.cancelled(), ["job_1"]);
    }

    #[tokio::test]
    async fn a_query_that_fails_late_fails_as_itself() {
        let stub = Stub::start().await;
        let failure = Reply::error(400, "invalidQuery", "division by zero: 1 / 0");
        stub.on("Q", Reply::slow(Duration::from_millis(50), failure).answering_at_once());
        let error = run(&client(&stub), "Q").await.unwrap_err();
        assert_eq!((error.kind, error.detail.as_deref()), (ErrorKind::QueryInvalid, Some("division by zero: 1 / 0")));
    }

    #[tokio::test]
    async fn a_job_stopped_by_someone_else_is_unavailable() {
        let stub = Stub::start().await;
        let stopped = Reply::error(499, "stopped", "Job execution was cancelled: User requested cancellation");
        stub.on("Q", Reply::slow(Duration::from_millis(50), stopped).answering_at_once());
        assert_eq!(kind(run(&client(&stub), "Q").await), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_query_over_its_time_is_cancelled() {
        let stub = Stub::start().await;
        stub.on("Q", Reply::slow(LONG, Reply::number("INT64", "42")));
        let started = Instant::now();
        let timeout = Duration::from_secs(2);
        let outcome = client(&stub).run(&query_for("Q", timeout), &CancellationToken::new()).await;
        assert_eq!(kind(outcome), ErrorKind::Timeout);
        assert!((timeout..timeout * 4).contains(&started.elapsed()));
        assert_eq!(stub.cancelled(), ["job_1"]);
        let cancel = stub.requests().pop().unwrap();
        assert_eq!(
            (cancel.call, cancel.path.as_str()),
            ("jobs.cancel", "/bigquery/v2/projects/demo/jobs/job_1/cancel")
        );
        assert_eq!(cancel.query["location"], "US");
    }

    #[tokio::test]
    async fn a_cancelled_run_sends_nothing_if_it_had_not_begun() {
        let stub = Stub::start().await;
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert_eq!(kind(client(&stub).run(&query("SELECT 1"), &cancel).await), ErrorKind::Cancelled);
        assert!(stub.requests().is_empty());
    }

    #[tokio::test]
    async fn a_cancelled_run_sends_nothing_if_it_still_waits_for_a_token() {
        let stub = Stub::start().await;
        stub.tokens(TokenMode::Hang);
        let client = client_with_key(&stub);
        let cancel = CancellationToken::new();
        let query = query("SELECT 1");
        let (outcome, ()) = tokio::join!(client.run(&query, &cancel), async {
            stub.until("token", 1).await;
            cancel.cancel();
        });
        assert_eq!(kind(outcome), ErrorKind::Cancelled);
        assert_eq!(stub.count("jobs.query"), 0);
    }

    #[tokio::test]
    async fn a_run_cancelled_between_polls_cancels_its_job_at_once() {
        let stub = Stub::start().await;
        stub.on("Q", under_way(LONG));
        let client = client(&stub);
        let cancel = CancellationToken::new();
        let query = query("Q");
        let (outcome, at) = tokio::join!(client.run(&query, &cancel), async {
            stub.until("jobs.getQueryResults", 1).await;
            cancel.cancel();
            Instant::now()
        });
        assert_eq!(kind(outcome), ErrorKind::Cancelled);
        assert!(at.elapsed() < Duration::from_secs(5), "a poll would have held on for 10 s");
        assert_eq!(stub.cancelled(), ["job_1"]);
    }

    #[tokio::test]
    async fn a_run_cancelled_while_blocked_waits_for_the_jobs_id() {
        let stub = Stub::start().await;
        stub.on("Q", Reply::slow(LONG, Reply::number("INT64", "42")));
        let client = client(&stub);
        let cancel = CancellationToken::new();
        let query = query_for("Q", Duration::from_secs(2));
        let (outcome, ()) = tokio::join!(client.run(&query, &cancel), async {
            stub.until("jobs.query", 1).await;
            cancel.cancel();
        });
        assert_eq!(kind(outcome), ErrorKind::Cancelled);
        assert_eq!(stub.cancelled(), ["job_1"]);
        assert_eq!(stub.count("jobs.getQueryResults"), 0);
    }

    #[tokio::test]
    async fn an_answer_that_comes_after_the_cancellation_is_dropped() {
        // What it read is told all the same, for the day's budget.
        let replies = [
            (Reply::number("INT64", "42").bytes(7), Some(7)),
            (Reply::error(400, "invalidQuery", "Syntax error"), None),
        ];
        for (reply, read) in replies {
            let stub = Stub::start().await;
            stub.on("Q", reply.delay(Duration::from_millis(300)));
            let client = client(&stub);
            let cancel = CancellationToken::new();
            let query = query("Q");
            let (outcome, ()) = tokio::join!(client.run(&query, &cancel), async {
                stub.until("jobs.query", 1).await;
                cancel.cancel();
            });
            let error = outcome.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Cancelled);
            assert_eq!(error.job.map(|job| job.bytes_processed), read);
            assert_eq!(stub.requests().len(), 1);
        }
    }
}

mod tokens {
    use super::*;

    #[tokio::test]
    async fn a_token_is_asked_for_once_and_sent_with_every_call() {
        let stub = Stub::start().await;
        let client = client_with_key(&stub);
        client.check().await.unwrap();
        client.check().await.unwrap();
        run(&client, "SELECT 1").await.unwrap();
        assert_eq!(stub.count("token"), 1);
        assert!(
            stub.requests().iter().filter(|request| request.call != "token").all(|request| request.has_authorization)
        );
    }

    #[tokio::test]
    async fn ten_first_calls_at_once_make_one_token_request() {
        let stub = Stub::start().await;
        let client = client_with_key(&stub);
        let outcomes = join_all((0..10).map(|_| run(&client, "SELECT 1"))).await;
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!((stub.count("token"), stub.count("jobs.query")), (1, 10));
    }

    #[tokio::test]
    async fn a_token_near_its_end_is_replaced() {
        let stub = Stub::start().await;
        stub.tokens(TokenMode::IssueFor(59));
        let client = client_with_key(&stub);
        client.check().await.unwrap();
        let so_far = stub.count("token");
        client.check().await.unwrap();
        assert_eq!(stub.count("token"), so_far + 1);
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once() {
        let stub = Stub::start().await;
        let client = client_with_key(&stub);
        client.check().await.unwrap();
        stub.require_token("ya29.test-2");
        run(&client, "SELECT 1").await.unwrap();
        assert_eq!((stub.count("token"), stub.count("jobs.query")), (2, 2));
    }

    #[tokio::test]
    async fn ten_refusals_at_once_make_one_token_request() {
        let stub = Stub::start().await;
        let client = client_with_key(&stub);
        client.check().await.unwrap();
        stub.require_token("ya29.test-2");
        let outcomes = join_all((0..10).map(|_| run(&client, "SELECT 1"))).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(stub.count("token"), 2);
    }

    #[tokio::test]
    async fn a_second_refusal_is_the_outcome() {
        let stub = Stub::start().await;
        let client = client_with_key(&stub);
        stub.require_token("ya29.other");
        assert_eq!(kind(run(&client, "SELECT 1").await), ErrorKind::Unauthorized);
        assert_eq!((stub.count("token"), stub.count("jobs.query")), (2, 2));
    }

    #[tokio::test]
    async fn a_refused_grant_is_told_by_its_code_and_does_not_stick() {
        let stub = Stub::start().await;
        stub.tokens(TokenMode::Refuse("invalid_grant".to_owned()));
        let client = client_with_key(&stub);
        let error = client.check().await.unwrap_err();
        assert_eq!((error.kind, error.detail.as_deref()), (ErrorKind::CredentialsRefused, Some("invalid_grant")));
        assert_eq!(stub.count("jobs.insert"), 0);
        stub.tokens(TokenMode::Issue);
        client.check().await.unwrap();
    }

    #[tokio::test]
    async fn a_key_revoked_meanwhile_is_told_as_refused() {
        let stub = Stub::start().await;
        let client = client_with_key(&stub);
        client.check().await.unwrap();
        stub.require_token("ya29.other");
        stub.tokens(TokenMode::Refuse("invalid_grant".to_owned()));
        assert_eq!(kind(client.check().await), ErrorKind::CredentialsRefused);
    }

    #[tokio::test]
    async fn an_answer_without_a_token_is_unavailable_and_does_not_stick() {
        let stub = Stub::start().await;
        let client = client_with_key(&stub);
        let answers = [
            (500, r#"{"error": {"code": 500, "message": "backend", "status": "INTERNAL"}}"#),
            (500, r#"{"error": "internal_failure"}"#),
            (503, "<html>"),
            (200, "{}"),
            (200, r#"{"access_token": ""}"#),
            (200, r#"{"access_token": "line\nbreak", "expires_in": 3600}"#),
            (200, r#"{"access_token": "t", "expires_in": 9223372036854775807}"#),
            (200, r#"{"access_token": "t", "expires_in": 3600, "token_type": "mac"}"#),
            (200, "[]"),
        ];
        for (status, body) in answers {
            stub.tokens(TokenMode::Raw { status, body: body.to_owned() });
            let error = client.check().await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable, "{body}");
            assert!(error.detail.unwrap().starts_with("the token endpoint") || body.contains("mac"), "{body}");
        }
        assert_eq!(stub.count("jobs.insert"), 0);
        stub.tokens(TokenMode::Issue);
        client.check().await.unwrap();
    }

    #[tokio::test]
    async fn a_silent_token_endpoint_is_given_up_after_10_s_by_all_who_wait() {
        let stub = Stub::start().await;
        stub.tokens(TokenMode::Hang);
        let client = client_with_key(&stub);
        let started = Instant::now();
        let outcomes = join_all((0..10).map(|_| client.check())).await;
        assert!(outcomes.into_iter().all(|outcome| kind(outcome) == ErrorKind::Unavailable));
        assert!((10..19).contains(&started.elapsed().as_secs()));
        assert_eq!(stub.count("token"), 1);
    }

    #[tokio::test]
    async fn a_token_of_another_scope_is_no_permission() {
        let stub = Stub::start().await;
        let client = client_with_scope(&stub, "https://www.googleapis.com/auth/drive.readonly");
        assert_eq!(kind(client.check().await), ErrorKind::PermissionDenied);
    }
}

#[tokio::test]
async fn the_stub_delays_and_overrides_dry_runs_alone() {
    let stub = Stub::start().await;
    let reply = Reply::number("INT64", "42").delay_dry_run(Duration::from_secs(2));
    stub.on("Q", reply.dry_run(Reply::error(404, "notFound", "Not found: Table demo:d.t")));
    let client = client(&stub);
    let started = Instant::now();
    run(&client, "Q").await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(kind(client.dry_run(&query("Q")).await), ErrorKind::TableNotFound);
    assert!(started.elapsed() >= Duration::from_secs(2));
}
