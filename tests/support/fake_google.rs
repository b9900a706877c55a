//! Google's token services on a port of this machine: the token endpoint, the metadata server, STS and the IAM
//! Credentials API's generateAccessToken.
//!
//! It checks what it is sent as Google does, refuses what is wrong in Google's words, and keeps its complaint, so that
//! a test can tell a refusal it asked for from one it earned. Tokens are `ya29.KIND-1`, `ya29.KIND-2`, ... where KIND is
//! `key`, `metadata`, `sts` or `iam`.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{self, RawQuery, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::Response,
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use okr_operator::bigquery::Endpoints;
use rustls::{
    crypto::ring::{default_provider, sign::RsaSigningKey},
    pki_types::{PrivateKeyDer, alg_id, pem::PemObject},
    sign::SigningKey,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Whose key file this hands out.
pub const KEY_ACCOUNT: &str = "okr@demo.iam.gserviceaccount.com";
/// The metadata server's.
pub const MACHINE_ACCOUNT: &str = "node@demo.iam.gserviceaccount.com";
/// The one that may be impersonated; any other is not found.
pub const READER_ACCOUNT: &str = "reader@demo.iam.gserviceaccount.com";
/// The one that an external account's own URL names.
pub const FEDERATED_ACCOUNT: &str = "federated@demo.iam.gserviceaccount.com";
pub const SUBJECT_TOKEN: &str = "subject.token-of.another-issuer";
const AUDIENCE: &str = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k";
const SUBJECT_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";
const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
const FLAVOR: &str = "metadata-flavor";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    Token,
    MetadataToken,
    MetadataEmail,
    Sts,
    GenerateAccessToken,
    /// A path that none of Google's services has, such as where a redirect leads.
    Other,
}

/// What a call is answered, after it has been checked.
#[derive(Debug, Clone)]
pub enum Mode {
    Issue,
    /// Seconds.
    IssueFor(i64),
    /// As the service does for an identity without the right.
    Refuse,
    Raw(u16, &'static str),
    /// 302 to another path of this server.
    Redirect,
    Hang,
    /// Of the metadata server: without its header.
    Unmarked,
}

#[derive(Debug, Clone)]
pub struct Recorded {
    pub call: Call,
    pub scopes: Vec<String>,
}

pub struct FakeGoogle {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    address: SocketAddr,
    private_key_pem: String,
    /// As in a certificate: SubjectPublicKeyInfo, DER.
    public_key: Vec<u8>,
    modes: Mutex<HashMap<Call, Mode>>,
    calls: Mutex<Vec<Recorded>>,
    complaints: Mutex<Vec<String>>,
    assertion: Mutex<String>,
    numbers: Mutex<HashMap<&'static str, usize>>,
    /// What was issued and not revoked, with its scopes.
    tokens: Mutex<HashMap<String, Vec<String>>>,
}

impl FakeGoogle {
    pub async fn start(private_key_pem: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let key = PrivateKeyDer::from_pem_slice(private_key_pem.as_bytes()).unwrap();
        let public_key = RsaSigningKey::new(&key).unwrap().public_key().unwrap().to_vec();
        let shared = Arc::new(Shared {
            address,
            private_key_pem: private_key_pem.to_owned(),
            public_key,
            modes: Mutex::default(),
            calls: Mutex::default(),
            complaints: Mutex::default(),
            assertion: Mutex::default(),
            numbers: Mutex::default(),
            tokens: Mutex::default(),
        });
        let default = "/computeMetadata/v1/instance/service-accounts/default";
        let router = Router::new()
            .route("/token", post(token))
            .route(&format!("{default}/token"), get(metadata_token))
            .route(&format!("{default}/email"), get(metadata_email))
            .route("/v1/token", post(sts))
            .route("/v1/projects/-/serviceAccounts/{account_and_method}", post(generate_access_token))
            .fallback(other)
            .method_not_allowed_fallback(other)
            .with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, server }
    }

    /// Host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn endpoints(&self) -> Endpoints {
        Endpoints { metadata: self.host(), iam_credentials: self.url("") }
    }

    pub fn key_file(&self) -> Vec<u8> {
        let key = json!({
            "type": "service_account", "project_id": "demo", "private_key_id": "1",
            "private_key": self.shared.private_key_pem, "client_email": KEY_ACCOUNT, "token_uri": self.url("/token"),
        });
        key.to_string().into_bytes()
    }

    /// As gcloud writes it for a file of plain text.
    pub fn external_account(&self, file: &Path) -> Value {
        json!({
            "type": "external_account", "universe_domain": "googleapis.com", "audience": AUDIENCE,
            "subject_token_type": SUBJECT_TOKEN_TYPE, "token_url": self.url("/v1/token"),
            "credential_source": {"file": file, "format": {"type": "text"}},
        })
    }

    pub fn impersonation_url(&self, account: &str) -> String {
        self.url(&format!("/v1/projects/-/serviceAccounts/{account}:generateAccessToken"))
    }

    /// From now on.
    pub fn on(&self, call: Call, mode: Mode) {
        self.shared.modes.lock().unwrap().insert(call, mode);
    }

    pub fn count(&self, call: Call) -> usize {
        self.calls().iter().filter(|recorded| recorded.call == call).count()
    }

    /// All that ask for a token.
    pub fn token_requests(&self) -> usize {
        self.calls().iter().filter(|recorded| !matches!(recorded.call, Call::MetadataEmail | Call::Other)).count()
    }

    pub fn calls(&self) -> Vec<Recorded> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// What was wrong with the calls.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.complaints.lock().unwrap().clone()
    }

    /// The last good one.
    pub fn assertion(&self) -> String {
        self.shared.assertion.lock().unwrap().clone()
    }

    /// Every token that begins so is accepted no more.
    pub fn revoke(&self, prefix: &str) {
        self.shared.tokens.lock().unwrap().retain(|token, _| !token.starts_with(prefix));
    }
}

impl Drop for FakeGoogle {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    /// Records the call; what it is answered in place of a token, if anything. `wrong` is what is wrong with it.
    async fn judge(&self, call: Call, scopes: Vec<String>, wrong: Result<(), String>) -> Result<i64, Response> {
        self.calls.lock().unwrap().push(Recorded { call, scopes });
        if let Err(wrong) = wrong {
            self.complaints.lock().unwrap().push(format!("{call:?}: {wrong}"));
            return Err(refusal(call));
        }
        let mode = self.modes.lock().unwrap().get(&call).cloned().unwrap_or(Mode::Issue);
        match mode {
            Mode::Issue | Mode::Unmarked => Ok(3599),
            Mode::IssueFor(seconds) => Ok(seconds),
            Mode::Refuse => Err(refusal(call)),
            Mode::Raw(status, body) => Err(answer(status, body.to_owned())),
            Mode::Redirect => {
                let mut response = answer(302, String::new());
                response.headers_mut().insert(header::LOCATION, "/elsewhere".parse().unwrap());
                Err(response)
            }
            Mode::Hang => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Err(answer(500, String::new()))
            }
        }
    }

    fn issue(&self, kind: &'static str, scopes: Vec<String>) -> String {
        let mut numbers = self.numbers.lock().unwrap();
        let number = numbers.entry(kind).or_default();
        *number += 1;
        let token = format!("ya29.{kind}-{number}");
        self.tokens.lock().unwrap().insert(token.clone(), scopes);
        token
    }

    /// The claims of an assertion, if it is good.
    fn claims(&self, form: &HashMap<String, String>) -> Result<Value, String> {
        expect(form, "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")?;
        let assertion = form.get("assertion").ok_or("no assertion")?;
        let (signed, signature) = assertion.rsplit_once('.').ok_or("not a JWT")?;
        let (head, claims) = signed.split_once('.').ok_or("not a JWT")?;
        let (head, claims) = (decode_json(head)?, decode_json(claims)?);
        if head["alg"] != "RS256" {
            return Err(format!("signed with {}", head["alg"]));
        }
        let algorithms = default_provider().signature_verification_algorithms;
        let rs256 = algorithms.all.iter().find(|known| known.signature_alg_id() == alg_id::RSA_PKCS1_SHA256).unwrap();
        // An RSA key of 2048 bits or more has its numbers after 24 bytes about its kind.
        let verified = rs256.verify_signature(&self.public_key[24..], signed.as_bytes(), &decode(signature)?);
        verified.map_err(|_| "the signature is not the key's")?;
        if claims["iss"] != KEY_ACCOUNT || claims["aud"] != format!("http://{}/token", self.address) {
            return Err(format!("iss {} and aud {}", claims["iss"], claims["aud"]));
        }
        let now = now().as_second();
        let (issued, expires) = (claims["iat"].as_i64().ok_or("no iat")?, claims["exp"].as_i64().ok_or("no exp")?);
        if expires - issued > 3600 || issued > now + 5 || expires <= now {
            return Err(format!("iat {issued} and exp {expires} at {now}"));
        }
        assertion.clone_into(&mut self.assertion.lock().unwrap());
        Ok(claims)
    }
}

async fn token(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let claims = shared.claims(&pairs(&String::from_utf8_lossy(&body)));
    let scopes = claims.as_ref().map(|claims| words(claims["scope"].as_str().unwrap_or_default(), ' '));
    let scopes = scopes.unwrap_or_default();
    let wrong = claims.and_then(|_| some(&scopes));
    match shared.judge(Call::Token, scopes.clone(), wrong).await {
        Ok(seconds) => oauth_token(&shared.issue("key", scopes), seconds),
        Err(response) => response,
    }
}

async fn sts(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let form = pairs(&String::from_utf8_lossy(&body));
    let scopes = words(form.get("scope").map_or("", String::as_str), ' ');
    let wrong = expect(&form, "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
        .and_then(|()| expect(&form, "requested_token_type", "urn:ietf:params:oauth:token-type:access_token"))
        .and_then(|()| expect(&form, "audience", AUDIENCE))
        .and_then(|()| expect(&form, "subject_token_type", SUBJECT_TOKEN_TYPE))
        .and_then(|()| expect(&form, "subject_token", SUBJECT_TOKEN))
        .and_then(|()| some(&scopes));
    match shared.judge(Call::Sts, scopes.clone(), wrong).await {
        Ok(seconds) => oauth_token(&shared.issue("sts", scopes), seconds),
        Err(response) => response,
    }
}

async fn metadata_token(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = pairs(query.as_deref().unwrap_or_default());
    let scopes = words(query.get("scopes").map_or("", String::as_str), ',');
    let wrong = marked(&headers).and_then(|()| some(&scopes));
    let response = match shared.judge(Call::MetadataToken, scopes.clone(), wrong).await {
        Ok(seconds) => oauth_token(&shared.issue("metadata", scopes), seconds),
        Err(response) => response,
    };
    shared.mark(response, Call::MetadataToken)
}

async fn metadata_email(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let response = match shared.judge(Call::MetadataEmail, Vec::new(), marked(&headers)).await {
        Ok(_) => answer(200, MACHINE_ACCOUNT.to_owned()),
        Err(response) => response,
    };
    shared.mark(response, Call::MetadataEmail)
}

impl Shared {
    fn mark(&self, mut response: Response, call: Call) -> Response {
        if !matches!(self.modes.lock().unwrap().get(&call), Some(Mode::Unmarked)) {
            response.headers_mut().insert(FLAVOR, "Google".parse().unwrap());
        }
        response
    }
}

async fn generate_access_token(
    State(shared): State<Arc<Shared>>,
    extract::Path(account_and_method): extract::Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let call = Call::GenerateAccessToken;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let scopes: Vec<String> = serde_json::from_value(body["scope"].clone()).unwrap_or_default();
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let granted = bearer.and_then(|bearer| shared.tokens.lock().unwrap().get(bearer).cloned());
    let Some(granted) = granted else {
        // Not a complaint: a token may be revoked at any time.
        shared.calls.lock().unwrap().push(Recorded { call, scopes });
        return google_error(401, "UNAUTHENTICATED", json!([]));
    };
    let wrong = match account_and_method.split_once(':') {
        _ if !granted.iter().any(|scope| scope == CLOUD_PLATFORM) => Err(format!("a bearer for {granted:?}")),
        _ if body["lifetime"] != "3600s" => Err(format!("lifetime {}", body["lifetime"])),
        Some((READER_ACCOUNT | FEDERATED_ACCOUNT, "generateAccessToken")) => some(&scopes),
        _ => {
            shared.calls.lock().unwrap().push(Recorded { call, scopes });
            return google_error(404, "NOT_FOUND", json!([]));
        }
    };
    match shared.judge(call, scopes.clone(), wrong).await {
        Ok(seconds) => {
            let expires = now() + SignedDuration::from_secs(seconds);
            let token = shared.issue("iam", scopes);
            answer(200, json!({"accessToken": token, "expireTime": expires.to_string()}).to_string())
        }
        Err(response) => response,
    }
}

async fn other(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    shared.calls.lock().unwrap().push(Recorded { call: Call::Other, scopes: Vec::new() });
    shared.complaints.lock().unwrap().push(format!("{} is nowhere", uri.path()));
    answer(404, "<html>".to_owned())
}

fn refusal(call: Call) -> Response {
    match call {
        Call::Token => answer(400, json!({"error": "invalid_grant", "error_description": "secret words"}).to_string()),
        Call::Sts => answer(400, json!({"error": "invalid_target", "error_description": "secret words"}).to_string()),
        Call::MetadataToken | Call::MetadataEmail | Call::Other => answer(403, "secret words".to_owned()),
        Call::GenerateAccessToken => google_error(
            403,
            "PERMISSION_DENIED",
            json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "IAM_PERMISSION_DENIED",
                "domain": "iam.googleapis.com", "metadata": {"permission": "iam.serviceAccounts.getAccessToken"}}]),
        ),
    }
}

fn google_error(code: u16, status: &str, details: Value) -> Response {
    let error = json!({"code": code, "message": "secret words", "status": status, "details": details});
    answer(code, json!({"error": error}).to_string())
}

fn oauth_token(token: &str, seconds: i64) -> Response {
    let body = json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"});
    answer(200, body.to_string())
}

fn answer(status: u16, body: String) -> Response {
    let response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    response.header(header::CONTENT_TYPE, "application/json; charset=UTF-8").body(Body::from(body)).unwrap()
}

fn expect(form: &HashMap<String, String>, name: &str, want: &str) -> Result<(), String> {
    if form.get(name).is_some_and(|value| value == want) { Ok(()) } else { Err(format!("{name} is not {want}")) }
}

fn some(scopes: &[String]) -> Result<(), String> {
    if scopes.is_empty() { Err("no scope".to_owned()) } else { Ok(()) }
}

fn marked(headers: &HeaderMap) -> Result<(), String> {
    if headers.get(FLAVOR).is_some_and(|flavor| flavor == "Google") { Ok(()) } else { Err("no flavor".to_owned()) }
}

fn words(text: &str, separator: char) -> Vec<String> {
    text.split(separator).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn pairs(text: &str) -> HashMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://fake/?{text}")).unwrap();
    url.query_pairs().into_owned().collect()
}

/// With padding or without.
fn decode(text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| "not base64".to_owned())
}

fn decode_json(text: &str) -> Result<Value, String> {
    serde_json::from_slice(&decode(text)?).map_err(|_| "not JSON".to_owned())
}

#[expect(clippy::disallowed_methods, reason = "a server has a clock of its own")]
fn now() -> Timestamp {
    Timestamp::now()
}
