//! Acting as another service account: generateAccessToken of the IAM Credentials API.

use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Token, TokenError,
    call::{self, Answer, IAM_CREDENTIALS},
};

/// The code of a refusal for want of roles/iam.serviceAccountTokenCreator on the account.
pub const IMPERSONATION_DENIED: &str = "iam_service_accounts_get_access_token";

/// What accounts without a policy of their own may ask for at most.
const LIFETIME: &str = "3600s";
pub(super) const METHOD: &str = ":generateAccessToken";

pub(super) enum Denied {
    /// The token that was sent is not accepted any more.
    Bearer,
    Because(TokenError),
}

impl From<Denied> for TokenError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Bearer => Self::refused("unauthenticated"),
            Denied::Because(error) => error,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenerateAccessToken {
    access_token: String,
    expire_time: Timestamp,
}

/// `base` is scheme, host and port; `email` has been checked.
pub(super) fn url(base: &str, email: &str) -> Result<Url, TokenError> {
    let text = format!("{}/v1/projects/-/serviceAccounts/{email}{METHOD}", base.trim_end_matches('/'));
    text.parse().map_err(|_| TokenError::Unavailable("the address of the IAM Credentials API is not a URL"))
}

/// `bearer` is the value of the header `Authorization`, for a token of the scope cloud-platform.
pub(super) async fn request_token(
    http: &reqwest::Client,
    url: Url,
    bearer: &HeaderValue,
    scopes: &[String],
    deadline: Instant,
) -> Result<Token, Denied> {
    let request = http
        .post(url)
        .header(header::AUTHORIZATION, bearer.clone())
        .json(&json!({"scope": scopes, "lifetime": LIFETIME}));
    let answer = call::send(request, deadline, &IAM_CREDENTIALS).await.map_err(Denied::Because)?;
    if answer.status == StatusCode::UNAUTHORIZED {
        return Err(Denied::Bearer);
    }
    token(&answer).map_err(Denied::Because)
}

fn token(answer: &Answer) -> Result<Token, TokenError> {
    if answer.status.is_success() {
        let Ok(GenerateAccessToken { access_token, expire_time }) = serde_json::from_slice(&answer.body) else {
            return Err(TokenError::Unavailable(IAM_CREDENTIALS.not_a_token));
        };
        return Token::new(&access_token, Some(expire_time), &IAM_CREDENTIALS);
    }
    if answer.is_failure() {
        return Err(TokenError::Unavailable(IAM_CREDENTIALS.failed));
    }
    let body = answer.json();
    // A proxy's page accuses nobody.
    if !answer.status.is_client_error() || !body["error"].is_object() {
        return Err(TokenError::Unavailable(IAM_CREDENTIALS.not_a_token));
    }
    Err(TokenError::refused(match answer.status {
        StatusCode::FORBIDDEN if is_disabled(&body) => "iam_credentials_api_disabled",
        StatusCode::FORBIDDEN => IMPERSONATION_DENIED,
        StatusCode::NOT_FOUND => "service_account_not_found",
        _ => "iam_credentials_refused",
    }))
}

fn is_disabled(body: &Value) -> bool {
    let details = body["error"]["details"].as_array();
    details.is_some_and(|details| details.iter().any(|detail| detail["reason"] == "SERVICE_DISABLED"))
}
