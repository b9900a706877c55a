//! The machine's own identity: the default service account of the metadata server.
//!
//! Calls of our own: yup-oauth2's flow reads bodies of any size, follows no rule about who answers, and does not look at the status.

use std::time::Duration;

use http::StatusCode;
use reqwest::{RequestBuilder, redirect};
use tokio::time::Instant;

use super::{
    Token, TokenError,
    call::{self, Answer, METADATA_SERVER},
    is_email,
};

/// Google's own header, on requests and on answers: a page or a proxy that answers in its place does not have it.
const FLAVOR: &str = "metadata-flavor";
/// It is only shown: a token does not wait for it any longer.
const EMAIL_TIMEOUT: Duration = Duration::from_secs(2);

/// `host` as in Google's GCE_METADATA_HOST: a name or an address, with a port if it is not 80.
pub(super) async fn request_token(host: &str, scopes: &[String], deadline: Instant) -> Result<Token, TokenError> {
    let request = get(host, "token")?.query(&[("scopes", scopes.join(","))]);
    let answer = call::send(request, deadline, &METADATA_SERVER).await?;
    if answer.is_failure() {
        return Err(TokenError::Unavailable(METADATA_SERVER.failed));
    }
    if !is_of_google(&answer) {
        return Err(TokenError::Unavailable("what answers at the metadata server's address is another server"));
    }
    match answer.status {
        StatusCode::NOT_FOUND => Err(TokenError::refused("no_default_service_account")),
        status if status.is_client_error() => Err(TokenError::refused("metadata_server_refused")),
        _ => answer.token(&METADATA_SERVER),
    }
}

/// Best effort: it is only shown.
pub(super) async fn request_email(host: &str, deadline: Instant) -> Option<String> {
    let deadline = deadline.min(Instant::now() + EMAIL_TIMEOUT);
    let answer = call::send(get(host, "email").ok()?, deadline, &METADATA_SERVER).await.ok()?;
    let email = std::str::from_utf8(&answer.body).ok()?.trim();
    (answer.status.is_success() && is_of_google(&answer) && is_email(email)).then(|| email.to_owned())
}

fn get(host: &str, what: &str) -> Result<RequestBuilder, TokenError> {
    // A client of its own, made once an hour: whatever proxy is set for other calls must not see this one, which
    // is about this machine. Plain http needs no root certificates.
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .tls_built_in_root_certs(false)
        .build()
        .map_err(|_| TokenError::Unavailable(METADATA_SERVER.unreachable))?;
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/{what}");
    Ok(client.get(url).header(FLAVOR, "Google"))
}

fn is_of_google(answer: &Answer) -> bool {
    answer.headers.get(FLAVOR).is_some_and(|flavor| flavor == "Google")
}
