//! Calls to Google's token services that yup-oauth2 does not make, or not within limits.

use http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use reqwest::RequestBuilder;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{Token, TokenError};
use crate::{bigquery::answer::read, clock};

/// Who is asked, in the words of its failures.
pub(super) struct Service {
    pub(super) unreachable: &'static str,
    pub(super) silent: &'static str,
    pub(super) failed: &'static str,
    pub(super) not_a_token: &'static str,
}

pub(super) const TOKEN_ENDPOINT: Service = Service {
    unreachable: "the token endpoint could not be reached",
    silent: "the token endpoint did not answer in time",
    failed: "the token endpoint failed",
    not_a_token: "the token endpoint's answer is not a token",
};
pub(super) const METADATA_SERVER: Service = Service {
    unreachable: "the metadata server could not be reached",
    silent: "the metadata server did not answer in time",
    failed: "the metadata server failed",
    not_a_token: "the metadata server's answer is not a token",
};
pub(super) const IAM_CREDENTIALS: Service = Service {
    unreachable: "the IAM Credentials API could not be reached",
    silent: "the IAM Credentials API did not answer in time",
    failed: "the IAM Credentials API failed",
    not_a_token: "the IAM Credentials API's answer is not a token",
};

/// One answer of at most 1 MiB.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    /// Seconds. STS leaves it out where the token lives as long as the subject token.
    expires_in: Option<i64>,
    token_type: Option<String>,
}

/// Whatever the status. Texts of errors are left where they are: they can quote what was sent.
pub(super) async fn send(request: RequestBuilder, deadline: Instant, service: &Service) -> Result<Answer, TokenError> {
    let answer = async {
        let unreachable = |_| TokenError::Unavailable(service.unreachable);
        let response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response).await.map_err(unreachable)?;
        let body = body.ok_or(TokenError::Unavailable(service.not_a_token))?;
        Ok(Answer { status, headers, body })
    };
    timeout_at(deadline, answer).await.unwrap_or(Err(TokenError::Unavailable(service.silent)))
}

impl Answer {
    /// What passes by itself.
    pub(super) fn is_failure(&self) -> bool {
        self.status.is_server_error()
            || matches!(self.status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
    }

    /// Null where it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// As RFC 6749 writes tokens.
    pub(super) fn token(&self, service: &Service) -> Result<Token, TokenError> {
        let not_a_token = TokenError::Unavailable(service.not_a_token);
        let Ok(answer) = serde_json::from_slice::<TokenAnswer>(&self.body) else {
            return Err(not_a_token);
        };
        let is_bearer = answer.token_type.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
        let expires = answer.expires_in.map(in_seconds);
        if !self.status.is_success() || !is_bearer || expires == Some(None) {
            return Err(not_a_token);
        }
        Token::new(&answer.access_token, expires.flatten(), service)
    }
}

/// None beyond the calendar.
fn in_seconds(seconds: i64) -> Option<Timestamp> {
    clock::now().checked_add(SignedDuration::from_secs(seconds)).ok()
}
