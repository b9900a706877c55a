//! Identities and tokens: which there are, and when a token is asked for, kept and renewed.
//!
//! A refusal or an answer without a token is kept nowhere, and one request at a time is under way.
//!
//! | module | owns |
//! |---|---|
//! | `key` | a service account's key |
//! | `metadata` | the machine's own identity |
//! | `external_account` | a token of another issuer against one of Google's |
//! | `user` | a person's own identity, as gcloud keeps it |
//! | `impersonation` | acting as another account, on top of each |
//! | `call` | limits and words of the calls that yup-oauth2 does not make |

mod call;
mod external_account;
mod impersonation;
mod key;
mod metadata;
mod user;

use std::{fmt, sync::OnceLock, time::Duration};

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::Mutex, time::Instant};

pub use self::{
    external_account::{ExternalAccount, ExternalAccountError},
    impersonation::IMPERSONATION_DENIED,
    key::{KeyError, ServiceAccountKey},
    user::{AuthorizedUser, UserError},
};
use super::error::{Error, ErrorKind};
use crate::clock;

/// jobs.insert and jobs.cancel take no narrower scope.
pub const SCOPE: &str = "https://www.googleapis.com/auth/bigquery";
/// For tables over Google Sheets, beside [`SCOPE`].
pub const SCOPE_DRIVE: &str = "https://www.googleapis.com/auth/drive.readonly";
/// What a token needs that is only used to get another account's.
const SCOPE_CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Google answers in well under a second; a query's first call waits for this. For all calls that one token takes.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// A token this near its end is not sent any more: clocks differ, and calls take time.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug, Clone)]
pub enum Credentials {
    /// No token at all: for emulators.
    None,
    ServiceAccountKey(ServiceAccountKey),
    /// The machine's own identity, from the metadata server.
    WorkloadIdentity,
    ExternalAccount(ExternalAccount),
    /// For people at the terminal; the operator takes none.
    AuthorizedUser(AuthorizedUser),
}

impl Credentials {
    /// The account BigQuery sees, as far as the credentials themselves say: see also [`TokenSource::principal`].
    pub fn principal(&self) -> Option<&str> {
        match self {
            Self::None | Self::WorkloadIdentity | Self::AuthorizedUser(_) => None,
            Self::ServiceAccountKey(key) => Some(key.principal()),
            Self::ExternalAccount(account) => account.principal(),
        }
    }
}

/// Where those of Google's services are that no key or configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// A host, with a port if it is not 80: as in Google's GCE_METADATA_HOST.
    pub metadata: String,
    /// Scheme, host and port.
    pub iam_credentials: String,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            metadata: "metadata.google.internal".to_owned(),
            iam_credentials: "https://iamcredentials.googleapis.com".to_owned(),
        }
    }
}

/// An account to be impersonated is not named by an e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the service account is not an e-mail address")]
pub struct ServiceAccountError;

/// Hands out tokens for one set of credentials, and keeps the current one in memory.
pub struct TokenSource {
    credentials: Credentials,
    scopes: Vec<String>,
    impersonated: Option<String>,
    endpoints: Endpoints,
    time_limit: Duration,
    /// The metadata server's account, once it has been told.
    machine: OnceLock<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// The credentials' own token, where another account is impersonated with it.
    own: Option<Token>,
    failed: Option<(Instant, TokenError)>,
}

struct Token {
    /// The value of the header `Authorization`.
    header: HeaderValue,
    /// None where nobody said: then it is used until it is refused.
    expires: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenError {
    /// With the OAuth error code, such as `invalid_grant`, or a word of our own, where there is one.
    Refused(Option<String>),
    Unavailable(&'static str),
}

impl TokenSource {
    pub fn new(credentials: Credentials, scopes: Vec<String>) -> Self {
        Self {
            credentials,
            scopes,
            impersonated: None,
            endpoints: Endpoints::default(),
            time_limit: TOKEN_TIMEOUT,
            machine: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    /// Acts as this account, by its e-mail address. Without credentials there is nothing to do so with: no token is sent.
    pub fn impersonating(self, service_account: &str) -> Result<Self, ServiceAccountError> {
        if !is_service_account(service_account) {
            return Err(ServiceAccountError);
        }
        Ok(Self { impersonated: Some(service_account.to_owned()), ..self })
    }

    pub fn with_endpoints(self, endpoints: Endpoints) -> Self {
        Self { endpoints, ..self }
    }

    /// For all calls that one token takes; 10 s unless set.
    pub fn with_time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    /// The account BigQuery sees. Of the machine's own identity it is known from the first token on, if the metadata server tells.
    pub fn principal(&self) -> Option<&str> {
        let impersonated = self.impersonated.as_deref().filter(|_| !matches!(self.credentials, Credentials::None));
        impersonated.or(self.credentials.principal()).or(self.machine.get().map(String::as_str))
    }

    /// The value of the header `Authorization`; none without credentials. It is another one than `refused`:
    /// a new one, or the one that another task has had since.
    pub(super) async fn authorization(
        &self,
        http: &reqwest::Client,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, TokenError> {
        if matches!(self.credentials, Credentials::None) {
            return Ok(None);
        }
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(header) = state.current(refused) {
            return Ok(Some(header));
        }
        // Whoever waited while a request failed shares that failure. Else the last of ten would wait
        // through ten time limits, one after the other.
        if let Some((at, error)) = &state.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        (state.token, state.failed) = (None, None);
        match self.request_token(http, &mut state.own).await {
            Ok(token) => {
                let header = token.header.clone();
                state.token = Some(token);
                Ok(Some(header))
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// `own` is the credentials' own token, kept from one impersonation to the next.
    async fn request_token(&self, http: &reqwest::Client, own: &mut Option<Token>) -> Result<Token, TokenError> {
        let deadline = Instant::now() + self.time_limit;
        let Some(email) = &self.impersonated else {
            return self.request_own(http, &self.scopes, deadline).await;
        };
        let url = impersonation::url(&self.endpoints.iam_credentials, email)?;
        let impersonate = async |own: HeaderValue| {
            impersonation::request_token(http, url.clone(), &own, &self.scopes, deadline).await
        };
        if let Some(kept) = own.take_if(|token| token.is_current()) {
            let header = kept.header.clone();
            match impersonate(header).await {
                // Revoked before its end: once more with a new one.
                Err(impersonation::Denied::Bearer) => {}
                answer => {
                    *own = Some(kept);
                    return Ok(answer?);
                }
            }
        }
        *own = None;
        let new = self.request_own(http, &[SCOPE_CLOUD_PLATFORM.to_owned()], deadline).await?;
        let answer = impersonate(new.header.clone()).await;
        if !matches!(answer, Err(impersonation::Denied::Bearer)) {
            *own = Some(new);
        }
        Ok(answer?)
    }

    async fn request_own(
        &self,
        http: &reqwest::Client,
        scopes: &[String],
        deadline: Instant,
    ) -> Result<Token, TokenError> {
        match &self.credentials {
            // Has been answered before.
            Credentials::None => Err(TokenError::Unavailable("there are no credentials to ask with")),
            Credentials::ServiceAccountKey(key) => key.request_token(scopes, deadline).await,
            Credentials::ExternalAccount(account) => account.request_token(http, scopes, deadline).await,
            Credentials::AuthorizedUser(user) => user.request_token(http, deadline).await,
            Credentials::WorkloadIdentity => {
                let (token, ()) = tokio::join!(
                    metadata::request_token(&self.endpoints.metadata, scopes, deadline),
                    self.ask_who(deadline)
                );
                token
            }
        }
    }

    /// Asks the metadata server whose tokens it gives out, if that is to be shown and not known yet.
    async fn ask_who(&self, deadline: Instant) {
        if self.principal().is_none()
            && let Some(email) = metadata::request_email(&self.endpoints.metadata, deadline).await
        {
            // Set before only by a request that this one waited for.
            let _ = self.machine.set(email);
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { credentials, scopes, impersonated, endpoints, time_limit, machine: _, state: _ } = self;
        f.debug_struct("TokenSource")
            .field("credentials", credentials)
            .field("scopes", scopes)
            .field("impersonated", impersonated)
            .field("endpoints", endpoints)
            .field("time_limit", time_limit)
            .finish()
    }
}

impl State {
    fn current(&self, refused: Option<&HeaderValue>) -> Option<HeaderValue> {
        let token = self.token.as_ref().filter(|token| token.is_current())?;
        (Some(&token.header) != refused).then(|| token.header.clone())
    }
}

impl Token {
    fn new(text: &str, expires: Option<Timestamp>, service: &call::Service) -> Result<Self, TokenError> {
        let value = HeaderValue::from_str(&format!("Bearer {text}")).ok().filter(|_| !text.is_empty());
        let mut header = value.ok_or(TokenError::Unavailable(service.not_a_token))?;
        // Its Debug then leaves the token out.
        header.set_sensitive(true);
        Ok(Self { header, expires })
    }

    fn is_current(&self) -> bool {
        self.expires.is_none_or(|expires| clock::now().duration_until(expires) > MARGIN)
    }
}

impl TokenError {
    fn refused(code: &str) -> Self {
        Self::Refused(Some(code.to_owned()))
    }

    /// Not every flow passes on the HTTP status: codes that speak of the server stand for a 5xx.
    fn from_code(code: &str) -> Self {
        match code {
            "server_error"
            | "temporarily_unavailable"
            | "internal_failure"
            | "internal_error"
            | "backend_error"
            | "slow_down"
            | "rate_limit_exceeded" => Self::Unavailable(call::TOKEN_ENDPOINT.failed),
            code => {
                // RFC 6749's codes are such words; anything else is free text.
                let is_word =
                    code.len() <= 40 && !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                Self::Refused(is_word.then(|| code.to_owned()))
            }
        }
    }
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Refused(code) => Self::new(ErrorKind::CredentialsRefused, code.as_deref().unwrap_or_default()),
            TokenError::Unavailable(what) => Self::new(ErrorKind::Unavailable, what),
        }
    }
}

/// Enough to be shown in a message and a status: one word with an @, of the length RFC 5321 allows.
fn is_email(text: &str) -> bool {
    text.len() <= 254 && text.contains('@') && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Enough to stand in a URL besides: nothing that ends a segment or begins another part.
fn is_service_account(email: &str) -> bool {
    let is_name = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    is_email(email) && email.split_once('@').is_some_and(|(name, domain)| is_name(name) && is_name(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_of_a_refusal_is_passed_on() {
        let refused = |code: &str| TokenError::Refused(Some(code.to_owned()));
        assert_eq!(TokenError::from_code("invalid_grant"), refused("invalid_grant"));
        assert_eq!(TokenError::from_code("disabled_client"), refused("disabled_client"));
        assert_eq!(TokenError::from_code("Bad Request"), TokenError::Refused(None));
        assert_eq!(TokenError::from_code(""), TokenError::Refused(None));
        assert_eq!(TokenError::from_code(&"a".repeat(41)), TokenError::Refused(None));
        assert!(matches!(TokenError::from_code("internal_failure"), TokenError::Unavailable(_)));
    }

    #[test]
    fn an_account_to_impersonate_is_one_plain_address() {
        let check =
            |email: &str| TokenSource::new(Credentials::WorkloadIdentity, Vec::new()).impersonating(email).is_ok();
        assert!(check("okr@demo.iam.gserviceaccount.com"));
        assert!(check("123456-compute@developer.gserviceaccount.com"));
        for email in
            ["", "okr", "@b", "a@", "a@b@c", "a/b@c", "a%2Fb@c", "a@b?c", "a@b#c", "a@b:c", "ä@b", "a b@c", "../a@b/.."]
        {
            assert!(!check(email), "{email}");
        }
    }
}
