//! Workload identity federation: a token of another issuer, from a file, against one of Google's (RFC 8693).
//!
//! The configuration comes from whoever wrote the Secret, the file from whoever runs the operator. So the one decides
//! neither which file is read beyond the folder meant for it, nor where what is in it is sent. Calls of our own:
//! yup-oauth2's flow reads any file and fetches any URL.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use reqwest::Url;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{
    SCOPE_CLOUD_PLATFORM, Token, TokenError,
    call::{self, Answer, TOKEN_ENDPOINT},
    impersonation, is_service_account,
};
use crate::bigquery::endpoint::host_is_among;

const STS_HOST: &str = "sts.googleapis.com";
const IAM_CREDENTIALS_HOST: &str = "iamcredentials.googleapis.com";
/// Kubernetes' own tokens have one or two KiB; SAML assertions some more.
const LARGEST_FILE: u64 = 64 * 1024;
const NO_SUBJECT_TOKEN: &str = "the subject token's file holds no token";

/// A configuration of type `external_account`, checked as far as that goes without asking Google.
///
/// It holds no secret: the subject token is read anew for each request.
#[derive(Debug, Clone)]
pub struct ExternalAccount(Box<Configuration>);

#[derive(Debug, Clone)]
struct Configuration {
    audience: String,
    subject_token_type: String,
    token_url: Url,
    impersonated: Option<Impersonated>,
    folder: PathBuf,
    file: PathBuf,
    format: Format,
}

#[derive(Debug, Clone)]
struct Impersonated {
    url: Url,
    email: String,
}

#[derive(Debug, Clone)]
enum Format {
    Text,
    Json { field: String },
}

/// In our own words: nothing of the configuration is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExternalAccountError {
    #[error("the configuration is not a JSON object")]
    NotJson,
    #[error("the configuration's `type` is not `external_account`")]
    NotExternalAccount,
    #[error("the configuration has no text at `{0}`")]
    Missing(&'static str),
    #[error("the configuration's `token_url` is not an https URL of sts.googleapis.com or of an allowed token host")]
    TokenUrl,
    #[error(
        "the configuration's `service_account_impersonation_url` is not generateAccessToken of a service account at \
         https://iamcredentials.googleapis.com or at an allowed token host"
    )]
    ImpersonationUrl,
    #[error("the configuration's `credential_source` has to be a `file`, with a `format` or without, and nothing else")]
    Source,
    #[error(
        "the configuration's `credential_source.format` is neither `text` nor `json` with a `subject_token_field_name`"
    )]
    Format,
    #[error("the folder for external accounts' files cannot be read")]
    Folder,
    #[error("the configuration's `credential_source.file` is outside the folder for external accounts' files")]
    FileOutside,
    #[error("the configuration's `credential_source.file` is not a readable file")]
    File,
}

impl ExternalAccount {
    /// `folder` is the one whose files may be read; a relative `file` is taken from there. `allowed_token_hosts`
    /// (each `host` or `host:port`) may stand in the URLs besides Google's, also with plain http.
    pub fn parse(bytes: &[u8], folder: &Path, allowed_token_hosts: &[String]) -> Result<Self, ExternalAccountError> {
        let config: Value = serde_json::from_slice(bytes).map_err(|_| ExternalAccountError::NotJson)?;
        if !config.is_object() {
            return Err(ExternalAccountError::NotJson);
        }
        if config["type"] != "external_account" {
            return Err(ExternalAccountError::NotExternalAccount);
        }
        let token_url = text(&config, "token_url")?;
        let token_url = allowed_url(&token_url, STS_HOST, allowed_token_hosts).ok_or(ExternalAccountError::TokenUrl)?;
        let (file, format) = source(&config["credential_source"])?;
        locate(folder, &file)?;
        Ok(Self(Box::new(Configuration {
            audience: text(&config, "audience")?,
            subject_token_type: text(&config, "subject_token_type")?,
            token_url,
            impersonated: impersonated(&config["service_account_impersonation_url"], allowed_token_hosts)?,
            folder: folder.to_owned(),
            file,
            format,
        })))
    }

    /// The account of `service_account_impersonation_url`. Without one it is the subject token that says who acts.
    pub fn principal(&self) -> Option<&str> {
        self.0.impersonated.as_ref().map(|impersonated| impersonated.email.as_str())
    }

    pub(super) async fn request_token(
        &self,
        http: &reqwest::Client,
        scopes: &[String],
        deadline: Instant,
    ) -> Result<Token, TokenError> {
        let Some(impersonated) = &self.0.impersonated else {
            return self.exchange(http, scopes, deadline).await;
        };
        let federated = self.exchange(http, &[SCOPE_CLOUD_PLATFORM.to_owned()], deadline).await?;
        let url = impersonated.url.clone();
        Ok(impersonation::request_token(http, url, &federated.header, scopes, deadline).await?)
    }

    async fn exchange(
        &self,
        http: &reqwest::Client,
        scopes: &[String],
        deadline: Instant,
    ) -> Result<Token, TokenError> {
        let config = &self.0;
        let subject_token = self.subject_token(deadline).await?;
        let scope = scopes.join(" ");
        let request = http.post(config.token_url.clone()).form(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", &config.audience),
            ("scope", &scope),
            ("subject_token_type", &config.subject_token_type),
            ("subject_token", &subject_token),
        ]);
        let answer = call::send(request, deadline, &TOKEN_ENDPOINT).await?;
        refusal(&answer).map_or_else(|| answer.token(&TOKEN_ENDPOINT), Err)
    }

    async fn subject_token(&self, deadline: Instant) -> Result<String, TokenError> {
        let Configuration { folder, file, format, .. } = self.0.as_ref().clone();
        let read = tokio::task::spawn_blocking(move || {
            let bytes = read(&folder, &file)?;
            token_in(&bytes, &format).ok_or(TokenError::Unavailable(NO_SUBJECT_TOKEN))
        });
        match timeout_at(deadline, read).await {
            Ok(Ok(token)) => token,
            Ok(Err(_)) | Err(_) => Err(TokenError::Unavailable("the subject token's file could not be read in time")),
        }
    }
}

fn text(config: &Value, name: &'static str) -> Result<String, ExternalAccountError> {
    let text = config[name].as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or(ExternalAccountError::Missing(name))
}

/// Parsed by the type that later connects, so that what was checked is what is called.
fn allowed_url(text: &str, google: &str, allowed_hosts: &[String]) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let (host, port) = (url.host_str()?, url.port_or_known_default());
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let is_google = url.scheme() == "https" && host == google && port == Some(443);
    let is_allowed = matches!(url.scheme(), "https" | "http") && host_is_among(allowed_hosts, host, port);
    (is_plain && (is_google || is_allowed)).then_some(url)
}

fn impersonated(url: &Value, allowed_hosts: &[String]) -> Result<Option<Impersonated>, ExternalAccountError> {
    if url.is_null() {
        return Ok(None);
    }
    let url = url.as_str().and_then(|text| allowed_url(text, IAM_CREDENTIALS_HOST, allowed_hosts));
    let url = url.filter(|url| url.query().is_none()).ok_or(ExternalAccountError::ImpersonationUrl)?;
    let email = url.path().strip_prefix("/v1/projects/-/serviceAccounts/");
    let email = email.and_then(|rest| rest.strip_suffix(impersonation::METHOD)).map(|email| email.replace("%40", "@"));
    let email = email.filter(|email| is_service_account(email)).ok_or(ExternalAccountError::ImpersonationUrl)?;
    Ok(Some(Impersonated { url, email }))
}

/// What names any other source beside the file is refused as well, as is what Google may come to add.
fn source(source: &Value) -> Result<(PathBuf, Format), ExternalAccountError> {
    let members = source.as_object().ok_or(ExternalAccountError::Source)?;
    let is_known = members.keys().all(|name| matches!(name.as_str(), "file" | "format"));
    let file = source["file"].as_str().filter(|file| is_known && !file.is_empty());
    let file = file.ok_or(ExternalAccountError::Source)?;
    let format = &source["format"];
    let format = match (format["type"].as_str(), format["subject_token_field_name"].as_str()) {
        _ if format.is_null() => Format::Text,
        (Some("text"), _) => Format::Text,
        (Some("json"), Some(field)) => Format::Json { field: field.to_owned() },
        _ => return Err(ExternalAccountError::Format),
    };
    Ok((PathBuf::from(file), format))
}

/// Where the file really is. Kubernetes' own volumes are made of symbolic links: these may lead about, inside the folder.
fn locate(folder: &Path, file: &Path) -> Result<PathBuf, ExternalAccountError> {
    let path = folder.join(file);
    let climbs = file.components().any(|part| part == Component::ParentDir);
    // By the names alone, so that nobody learns what else there is on this machine.
    if climbs || !path.starts_with(folder) {
        return Err(ExternalAccountError::FileOutside);
    }
    let folder = folder.canonicalize().map_err(|_| ExternalAccountError::Folder)?;
    let path = path.canonicalize().map_err(|_| ExternalAccountError::File)?;
    if !path.starts_with(&folder) {
        return Err(ExternalAccountError::FileOutside);
    }
    // Before it is opened: a pipe would wait for its writer.
    if path.is_file() { Ok(path) } else { Err(ExternalAccountError::File) }
}

fn read(folder: &Path, file: &Path) -> Result<Vec<u8>, TokenError> {
    let not_readable = |_| TokenError::Unavailable("the subject token's file cannot be read");
    let path = match locate(folder, file) {
        Ok(path) => path,
        Err(ExternalAccountError::FileOutside) => return Err(TokenError::refused("subject_token_file_outside_folder")),
        Err(_) => return Err(TokenError::Unavailable("the subject token's file cannot be read")),
    };
    let file = File::open(&path).map_err(not_readable)?;
    // A link put there since would have been followed.
    let (opened, there) = (file.metadata().map_err(not_readable)?, fs::symlink_metadata(&path).map_err(not_readable)?);
    if (opened.dev(), opened.ino()) != (there.dev(), there.ino()) {
        return Err(TokenError::Unavailable("the subject token's file changed while it was opened"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(not_readable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(TokenError::Unavailable("the subject token's file is larger than 64 KiB"));
    }
    Ok(bytes)
}

fn token_in(bytes: &[u8], format: &Format) -> Option<String> {
    let token = match format {
        Format::Text => std::str::from_utf8(bytes).ok()?.trim().to_owned(),
        Format::Json { field } => {
            let json: Value = serde_json::from_slice(bytes).ok()?;
            json.get(field)?.as_str()?.to_owned()
        }
    };
    (!token.is_empty()).then_some(token)
}

/// STS answers as RFC 6749 says; what stands before it, as Google's other services.
fn refusal(answer: &Answer) -> Option<TokenError> {
    if answer.is_failure() {
        return Some(TokenError::Unavailable(TOKEN_ENDPOINT.failed));
    }
    let body = answer.json();
    if let Some(code) = body["error"].as_str() {
        return Some(TokenError::from_code(code));
    }
    let status = body["error"]["status"].as_str().filter(|_| answer.status.is_client_error())?;
    Some(TokenError::from_code(&status.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_subject_token_is_the_files_text_or_a_member_of_its_json() {
        let json = |field: &str| Format::Json { field: field.to_owned() };
        assert_eq!(token_in(b" abc\n", &Format::Text).as_deref(), Some("abc"));
        assert_eq!(token_in(br#"{"t": "abc"}"#, &json("t")).as_deref(), Some("abc"));
        for (bytes, format) in [
            (&b""[..], Format::Text),
            (b"\n", Format::Text),
            (b"\xff", Format::Text),
            (b"{}", json("t")),
            (br#"{"t": 7}"#, json("t")),
            (br#"{"t": ""}"#, json("t")),
            (b"[]", json("t")),
            (b"abc", json("t")),
        ] {
            assert_eq!(token_in(bytes, &format), None);
        }
    }

    #[test]
    fn an_exchange_goes_to_google_or_to_an_allowed_host_alone() {
        let hosts = ["tokens.example.com".to_owned(), "127.0.0.1:9000".to_owned()];
        let is_allowed = |url: &str| allowed_url(url, STS_HOST, &hosts).is_some();
        for url in [
            "https://sts.googleapis.com/v1/token",
            "https://STS.googleapis.com:443/v1/token",
            "http://127.0.0.1:9000/token",
            "https://tokens.example.com:8443/token",
        ] {
            assert!(is_allowed(url), "{url}");
        }
        for url in [
            "http://sts.googleapis.com/v1/token",
            "https://sts.googleapis.com:8443/v1/token",
            "https://sts.googleapis.com.evil.example/",
            "https://sts.googleapis.com./v1/token",
            "https://sts.googleapis.com@evil.example/",
            "https://user@sts.googleapis.com/",
            "https://evil.example\\@sts.googleapis.com/",
            "https://evil.example/?https://sts.googleapis.com",
            "http://127.0.0.1:9001/token",
            "http://169.254.169.254/token",
            "file:///etc/passwd",
            "sts.googleapis.com",
            "",
        ] {
            assert!(!is_allowed(url), "{url}");
        }
    }

    #[test]
    fn an_impersonation_url_names_a_service_account_and_the_one_method() {
        let account = |url: Value| impersonated(&url, &[]).map(|found| found.map(|found| found.email));
        let url =
            |rest: &str| json!(format!("https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{rest}"));
        let email = "okr@demo.iam.gserviceaccount.com".to_owned();
        assert_eq!(account(url(&format!("{email}:generateAccessToken"))), Ok(Some(email)));
        assert_eq!(account(Value::Null), Ok(None));
        for wrong in [
            url("okr@demo.iam.gserviceaccount.com:signBlob"),
            url("okr@demo.iam.gserviceaccount.com:generateAccessToken?a=b"),
            url("a/b@c:generateAccessToken"),
            url("nobody:generateAccessToken"),
            json!("https://sts.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken"),
            json!(""),
            json!(7),
        ] {
            assert_eq!(account(wrong.clone()), Err(ExternalAccountError::ImpersonationUrl), "{wrong}");
        }
    }
}
