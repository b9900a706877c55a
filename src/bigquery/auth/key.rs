//! A service account's key: what it must look like, and the token for it.
//!
//! yup-oauth2 makes the assertion and the request. Around it: its answers are not trusted to be tokens, and nothing
//! that it keeps is used.

use std::{fmt, panic::AssertUnwindSafe};

use futures::FutureExt;
use http::Uri;
use jiff::Timestamp;
use rustls::{
    crypto::ring::sign::RsaSigningKey,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use serde_json::Value;
use tokio::time::Instant;
use yup_oauth2::{AccessToken, ServiceAccountAuthenticator};

use super::{Token, TokenError, call, is_email};
use crate::bigquery::endpoint::host_is_among;

/// Google's hosts to which a key file may send an assertion without being allowed by name.
const GOOGLE_TOKEN_HOSTS: [&str; 4] =
    ["oauth2.googleapis.com", "sts.googleapis.com", "www.googleapis.com", "accounts.google.com"];

/// A service account's key file, checked as far as that goes without asking Google.
#[derive(Clone)]
pub struct ServiceAccountKey(Box<yup_oauth2::ServiceAccountKey>);

/// In our own words: nothing of the key file is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key is not a JSON object")]
    NotJson,
    #[error("the key's `type` is not `service_account`")]
    NotServiceAccount,
    #[error("the key has no text at `{0}`")]
    Missing(&'static str),
    #[error("the key's `client_email` is not an e-mail address")]
    ClientEmail,
    #[error("the key's `private_key` is not a readable RSA key in PEM form")]
    PrivateKey,
    #[error("the key's `token_uri` is not an https URL of Google's or of an allowed token host")]
    TokenUri,
}

impl ServiceAccountKey {
    /// `allowed_token_hosts` (each `host` or `host:port`) are those that may stand in `token_uri` besides Google's, also with plain http.
    pub fn parse(bytes: &[u8], allowed_token_hosts: &[String]) -> Result<Self, KeyError> {
        let key: Value = serde_json::from_slice(bytes).map_err(|_| KeyError::NotJson)?;
        if !key.is_object() {
            return Err(KeyError::NotJson);
        }
        if key["type"] != "service_account" {
            return Err(KeyError::NotServiceAccount);
        }
        let client_email = text(&key, "client_email")?;
        let private_key = text(&key, "private_key")?;
        let token_uri = text(&key, "token_uri")?;
        if !is_email(&client_email) {
            return Err(KeyError::ClientEmail);
        }
        if !is_rsa_key(&private_key) {
            return Err(KeyError::PrivateKey);
        }
        if !is_allowed(&token_uri, allowed_token_hosts) {
            return Err(KeyError::TokenUri);
        }
        Ok(Self(Box::new(yup_oauth2::ServiceAccountKey {
            key_type: Some("service_account".to_owned()),
            client_email,
            private_key,
            token_uri,
            project_id: None,
            private_key_id: None,
            client_id: None,
            auth_uri: None,
            auth_provider_x509_cert_url: None,
            client_x509_cert_url: None,
        })))
    }

    pub fn principal(&self) -> &str {
        &self.0.client_email
    }

    pub(super) async fn request_token(&self, scopes: &[String], deadline: Instant) -> Result<Token, TokenError> {
        let request = async {
            // Made anew for each request, so that nothing of its own cache is ever used: that keeps an
            // error in JSON as if it were a token. Its roots and sockets go with it.
            let authenticator = ServiceAccountAuthenticator::builder(*self.0.clone()).build().await?;
            authenticator.token(scopes).await
        };
        // It panics over an `expires_in` beyond its calendar: an answer must not end the process.
        let request = AssertUnwindSafe(request).catch_unwind();
        match tokio::time::timeout_at(deadline, request).await {
            Ok(Ok(Ok(access))) => token(&access),
            Ok(Ok(Err(error))) => Err(from_yup(&error)),
            Ok(Err(_)) => Err(TokenError::Unavailable(call::TOKEN_ENDPOINT.not_a_token)),
            Err(_) => Err(TokenError::Unavailable(call::TOKEN_ENDPOINT.silent)),
        }
    }
}

impl fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceAccountKey").field(&self.principal()).finish()
    }
}

fn text(key: &Value, name: &'static str) -> Result<String, KeyError> {
    let text = key[name].as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or(KeyError::Missing(name))
}

/// The same two steps as yup-oauth2 takes before it signs.
fn is_rsa_key(pem: &str) -> bool {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).is_ok_and(|key| RsaSigningKey::new(&key).is_ok())
}

/// A key file comes from whoever wrote the Secret, and an assertion sent to them would be theirs to use.
/// Parsed by the type that later connects, so that what was checked is what is called.
fn is_allowed(token_uri: &str, allowed_hosts: &[String]) -> bool {
    let Ok(uri) = token_uri.parse::<Uri>() else {
        return false;
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return false;
    };
    let standard_port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return false,
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let port = authority.port_u16().unwrap_or(standard_port);
    let is_google = GOOGLE_TOKEN_HOSTS.iter().any(|host| host.eq_ignore_ascii_case(authority.host()));
    (is_google && scheme == "https" && port == 443) || host_is_among(allowed_hosts, authority.host(), Some(port))
}

/// yup-oauth2 takes an error in JSON for a token without a text.
fn token(access: &AccessToken) -> Result<Token, TokenError> {
    let expires = access.expiration_time().map(|at| Timestamp::from_second(at.unix_timestamp()));
    match expires.transpose() {
        Ok(expires) => Token::new(access.token().unwrap_or_default(), expires, &call::TOKEN_ENDPOINT),
        Err(_) => Err(TokenError::Unavailable(call::TOKEN_ENDPOINT.not_a_token)),
    }
}

/// Texts of errors are left where they are: they quote what the endpoint said.
fn from_yup(error: &yup_oauth2::Error) -> TokenError {
    match error {
        // It does not pass on the HTTP status.
        yup_oauth2::Error::AuthError(error) => TokenError::from_code(error.error.as_str()),
        yup_oauth2::Error::HttpError(_) | yup_oauth2::Error::HttpClientError(_) => {
            TokenError::Unavailable(call::TOKEN_ENDPOINT.unreachable)
        }
        yup_oauth2::Error::JSONError(_) | yup_oauth2::Error::MissingAccessToken => {
            TokenError::Unavailable(call::TOKEN_ENDPOINT.not_a_token)
        }
        yup_oauth2::Error::UserError(_)
        | yup_oauth2::Error::LowLevelError(_)
        | yup_oauth2::Error::StorageError(_)
        | yup_oauth2::Error::CredentialSourceError(_) => TokenError::Unavailable("no token could be asked for"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{Credentials, SCOPE, TokenSource},
        *,
    };

    const EC_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2\nOF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r\n1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G\n-----END PRIVATE KEY-----\n";

    /// An RSA key in PKCS #8 form, made for the tests: see `OKR_RSA_KEY` in tests/bigquery.rs.
    fn rsa_key() -> String {
        let path = std::env::var("OKR_RSA_KEY").expect("OKR_RSA_KEY is the path of an RSA key in PEM form");
        std::fs::read_to_string(path).unwrap()
    }

    fn key_with(changes: Value) -> Vec<u8> {
        let mut key = json!({
            "type": "service_account", "project_id": "demo", "private_key_id": "1", "private_key": rsa_key(),
            "client_email": "okr@demo.iam.gserviceaccount.com", "token_uri": "https://oauth2.googleapis.com/token",
        });
        key.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        key.to_string().into_bytes()
    }

    #[track_caller]
    fn check(changes: Value, want: Result<(), KeyError>) {
        let hosts = ["127.0.0.1:9000".to_owned(), "tokens.example.com".to_owned()];
        assert_eq!(ServiceAccountKey::parse(&key_with(changes), &hosts).map(|_| ()), want);
    }

    #[test]
    fn a_key_of_google_is_accepted_and_names_its_account() {
        let key = ServiceAccountKey::parse(&key_with(json!({})), &[]).unwrap();
        assert_eq!(key.principal(), "okr@demo.iam.gserviceaccount.com");
    }

    #[test]
    fn what_is_not_a_service_accounts_key_is_refused() {
        for bytes in [&b"{\"a\": secret"[..], b"", b"[]", b"\"text\"", b"\xff"] {
            assert_eq!(ServiceAccountKey::parse(bytes, &[]).map(|_| ()), Err(KeyError::NotJson));
        }
        check(json!({"type": "authorized_user"}), Err(KeyError::NotServiceAccount));
        check(json!({"type": null}), Err(KeyError::NotServiceAccount));
        for name in ["client_email", "private_key", "token_uri"] {
            check(json!({name: null}), Err(KeyError::Missing(name)));
            check(json!({name: ""}), Err(KeyError::Missing(name)));
            check(json!({name: 7}), Err(KeyError::Missing(name)));
        }
        check(json!({"client_email": "a b@c"}), Err(KeyError::ClientEmail));
        check(json!({"client_email": "nobody"}), Err(KeyError::ClientEmail));
    }

    #[test]
    fn a_private_key_is_read_when_the_file_is() {
        check(json!({"private_key": "secret"}), Err(KeyError::PrivateKey));
        check(json!({"private_key": EC_KEY}), Err(KeyError::PrivateKey));
        check(json!({"private_key": rsa_key().replace('\n', "")}), Err(KeyError::PrivateKey));
        check(json!({"private_key": &rsa_key()[..400]}), Err(KeyError::PrivateKey));
    }

    #[test]
    fn an_assertion_goes_to_google_or_to_an_allowed_host_alone() {
        let check = |uri: &str, want| check(json!({"token_uri": uri}), want);
        check("https://www.googleapis.com/oauth2/v4/token", Ok(()));
        check("https://accounts.google.com:443/o/oauth2/token", Ok(()));
        check("https://OAUTH2.googleapis.com/token", Ok(()));
        check("http://127.0.0.1:9000/token", Ok(()));
        check("https://127.0.0.1:9000/token", Ok(()));
        check("http://tokens.example.com/token", Ok(()));
        check("https://tokens.example.com:8443/token", Ok(()));
        for uri in [
            "http://oauth2.googleapis.com/token",
            "https://oauth2.googleapis.com:8443/token",
            "https://oauth2.googleapis.com.evil.example/token",
            "https://oauth2.googleapis.com./token",
            "https://oauth2.googleapis.com@evil.example/token",
            "https://evil.example\\@oauth2.googleapis.com/token",
            "https://evil.example/?https://oauth2.googleapis.com/token",
            "http://127.0.0.1:9001/token",
            "ftp://tokens.example.com/token",
            "file:///etc/passwd",
            "/token",
            "oauth2.googleapis.com",
            "secret text",
        ] {
            check(uri, Err(KeyError::TokenUri));
        }
    }

    #[test]
    fn what_is_printed_has_no_key_in_it() {
        let key = ServiceAccountKey::parse(&key_with(json!({})), &[]).unwrap();
        let credentials = Credentials::ServiceAccountKey(key);
        let printed = format!("{credentials:?} {:?}", TokenSource::new(credentials.clone(), vec![SCOPE.to_owned()]));
        assert!(printed.contains("okr@demo"), "{printed}");
        assert!(!printed.contains("PRIVATE KEY"), "{printed}");
        assert!(!printed.contains(rsa_key().lines().nth(1).unwrap()), "{printed}");
    }
}
