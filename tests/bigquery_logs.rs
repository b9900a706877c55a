//! No token, assertion or key reaches a log, at any level and with any filter.
//!
//! A process of its own: the subscriber is global. `OKR_RSA_KEY` is the path of an RSA key in PEM form.

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use okr_operator::bigquery::{
    Client, Credentials, Destination, Endpoint, Query, SCOPE, ServiceAccountKey, TokenSource, http_client,
};
use support::{
    bigquery_stub::{Reply, Stub, TokenMode},
    log::Log,
};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn no_secret_is_logged_even_at_the_level_trace() {
    let log = Log::of_everything();

    let stub = Stub::start().await;
    stub.require_token("ya29.test-2");
    stub.on("Q", Reply::slow(Duration::from_secs(60), Reply::null("INT64")));
    let pem = std::fs::read_to_string(std::env::var("OKR_RSA_KEY").expect("OKR_RSA_KEY is the path of a key")).unwrap();
    let key = ServiceAccountKey::parse(&stub.key_file(&pem), &[stub.host()]).unwrap();
    let tokens = Arc::new(TokenSource::new(Credentials::ServiceAccountKey(key), vec![SCOPE.to_owned()]));
    let destination = Destination {
        endpoint: Endpoint::parse(&stub.endpoint()).unwrap(),
        project_id: "demo".to_owned(),
        billing_project_id: "demo".to_owned(),
        location: None,
        default_dataset: None,
    };
    let client = Client::new(destination, tokens, http_client().unwrap());
    // A first token, a refused one, a renewed one, a cancelled job, a refused grant: all that handles secrets.
    client.check().await.unwrap();
    let query = Query {
        sql: "Q",
        parameters: Vec::new(),
        labels: BTreeMap::new(),
        maximum_bytes_billed: 1,
        timeout: Duration::from_secs(1),
    };
    client.run(&query, &CancellationToken::new()).await.unwrap_err();
    stub.require_token("ya29.other");
    stub.tokens(TokenMode::Refuse("invalid_grant".to_owned()));
    let error = client.check().await.unwrap_err();
    tracing::error!(?client, ?error, %error, "what a careless line would print");
    log::info!("a line through the log crate");

    let text = log.text();
    assert!(text.contains("a line through the log crate"), "the bridge works");
    assert!(text.contains("TRACE"), "the level is as low as it gets");
    assert!(text.contains("okr@demo.iam.gserviceaccount.com"), "the careless line is there");
    let key_line = pem.lines().nth(1).unwrap();
    // "eyJ" begins every assertion: `{"` in base64.
    for secret in ["ya29.", "eyJ", "assertion", "PRIVATE KEY", key_line] {
        let at = text.find(secret).map(|at| text[..at].lines().count());
        assert_eq!(at, None, "{secret} is in line {at:?} of the log");
    }
}
