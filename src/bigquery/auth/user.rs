//! A person's own identity: what `gcloud auth application-default login` leaves on a machine.

use std::fmt;

use serde_json::Value;
use tokio::time::Instant;

use super::{
    Token, TokenError,
    call::{self, TOKEN_ENDPOINT},
};

/// Where Google renews tokens. A file that names another place is not followed.
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";

/// A file of the type `authorized_user`.
#[derive(Clone)]
pub struct AuthorizedUser {
    client_id: String,
    client_secret: String,
    refresh_token: String,
}

/// In our own words: nothing of the file is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("the file is not a JSON object")]
    NotJson,
    #[error("the file's `type` is not `authorized_user`")]
    NotUser,
    #[error("the file has no text at `{0}`")]
    Missing(&'static str),
}

impl AuthorizedUser {
    pub fn parse(bytes: &[u8]) -> Result<Self, UserError> {
        let file: Value = serde_json::from_slice(bytes).map_err(|_| UserError::NotJson)?;
        if !file.is_object() {
            return Err(UserError::NotJson);
        }
        if file["type"] != "authorized_user" {
            return Err(UserError::NotUser);
        }
        let text = |name: &'static str| file[name].as_str().map(str::to_owned).ok_or(UserError::Missing(name));
        Ok(Self {
            client_id: text("client_id")?,
            client_secret: text("client_secret")?,
            refresh_token: text("refresh_token")?,
        })
    }

    pub(super) async fn request_token(&self, http: &reqwest::Client, deadline: Instant) -> Result<Token, TokenError> {
        let request = http.post(TOKEN_URL).form(&[
            ("grant_type", "refresh_token"),
            ("client_id", &self.client_id),
            ("client_secret", &self.client_secret),
            ("refresh_token", &self.refresh_token),
        ]);
        let answer = call::send(request, deadline, &TOKEN_ENDPOINT).await?;
        if answer.is_failure() {
            return Err(TokenError::Unavailable(TOKEN_ENDPOINT.failed));
        }
        match answer.json()["error"].as_str() {
            Some(code) => Err(TokenError::from_code(code)),
            None => answer.token(&TOKEN_ENDPOINT),
        }
    }
}

impl fmt::Debug for AuthorizedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client_id: _, client_secret: _, refresh_token: _ } = self;
        f.write_str("AuthorizedUser")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_gcloud_is_read_and_never_shown() {
        let file = br#"{"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "s3cret"}"#;
        assert_eq!(format!("{:?}", AuthorizedUser::parse(file).unwrap()), "AuthorizedUser");
        let error = |text: &str| AuthorizedUser::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error("[]"), UserError::NotJson);
        assert_eq!(error(r#"{"type": "service_account"}"#), UserError::NotUser);
        assert_eq!(error(r#"{"type": "authorized_user", "client_id": "a"}"#), UserError::Missing("client_secret"));
    }
}
