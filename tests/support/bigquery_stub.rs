//! BigQuery's REST API on a port of this machine, with scripted answers.
//!
//! It answers as Google's reference documents (revision 20260811 of the discovery document): bodies,
//! statuses, errors in Google's shape, 64-bit numbers as texts, no `rows` where there are none. A query is
//! found by its text; what it then does is a [`Reply`]. Every request is recorded.
//!
//! ```ignore
//! let stub = Stub::start().await;
//! stub.on("SELECT 42", Reply::number("INT64", "42"));
//! stub.on("SELECT slow", Reply::slow(Duration::from_secs(3), Reply::number("INT64", "1")));
//! // ... point a client at stub.endpoint() ...
//! assert_eq!(stub.count("jobs.query"), 1);
//! ```

// An axum response is the answer here, in both arms.
#![allow(clippy::result_large_err)]

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::Response,
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

const SCOPES_OF_JOBS: [&str; 2] =
    ["https://www.googleapis.com/auth/bigquery", "https://www.googleapis.com/auth/cloud-platform"];
const SCOPES_OF_QUERIES: [&str; 3] = [
    "https://www.googleapis.com/auth/bigquery",
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/cloud-platform.read-only",
];

/// What the stub says about one query.
#[derive(Clone)]
pub struct Reply {
    outcome: Outcome,
    statement_type: Option<String>,
    bytes_processed: u64,
    cache_hit: bool,
    delay: Duration,
    dry_run_delay: Duration,
    dry_run: Option<Box<Reply>>,
    headers: Vec<(String, String)>,
}

#[derive(Clone)]
enum Outcome {
    Table {
        schema: Option<Value>,
        rows: Vec<Value>,
    },
    Error {
        status: u16,
        error: Value,
    },
    Raw {
        status: u16,
        content_type: String,
        body: Bytes,
    },
    Slow {
        total: Duration,
        waits: bool,
        polls_wait: bool,
        failing_polls: usize,
        poll_failure: Box<Reply>,
        then: Box<Reply>,
    },
}

impl Reply {
    fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            statement_type: Some("SELECT".to_owned()),
            bytes_processed: 0,
            cache_hit: false,
            delay: Duration::ZERO,
            dry_run_delay: Duration::ZERO,
            dry_run: None,
            headers: Vec::new(),
        }
    }

    /// One row of one column; `kind` as GoogleSQL names it.
    pub fn number(kind: &str, value: &str) -> Self {
        Self::rows(&[("f0_", kind)], &[&[json!(value)]])
    }

    pub fn null(kind: &str) -> Self {
        Self::rows(&[("f0_", kind)], &[&[Value::Null]])
    }

    /// Columns of (name, kind); cells as REST writes them: texts, null, objects.
    pub fn rows(columns: &[(&str, &str)], rows: &[&[Value]]) -> Self {
        let fields =
            columns.iter().map(|(name, kind)| json!({"name": name, "type": legacy_name(kind), "mode": "NULLABLE"}));
        Self::table(Some(json!({"fields": fields.collect::<Vec<_>>()})), rows.iter().map(|cells| row(cells)).collect())
    }

    /// One row of one column of an ARRAY.
    pub fn array(kind: &str, values: &[&str]) -> Self {
        let values: Vec<Value> = values.iter().map(|value| json!({"v": value})).collect();
        Self::table(
            Some(json!({"fields": [{"name": "f0_", "type": legacy_name(kind), "mode": "REPEATED"}]})),
            vec![row(&[Value::Array(values)])],
        )
    }

    /// A statement that has no result, such as an INSERT.
    pub fn statement(statement_type: &str) -> Self {
        Self::table(None, Vec::new()).statement_type(Some(statement_type))
    }

    fn table(schema: Option<Value>, rows: Vec<Value>) -> Self {
        Self::new(Outcome::Table { schema, rows })
    }

    /// Google's error, of the query and of its dry run.
    pub fn error(status: u16, reason: &str, message: &str) -> Self {
        Self::new(Outcome::Error { status, error: google_error(status, reason, message) })
    }

    pub fn raw(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::new(Outcome::Raw { status, content_type: content_type.to_owned(), body: body.into() })
    }

    pub fn redirect(location: &str) -> Self {
        Self::raw(302, "text/html", "").header("location", location)
    }

    /// A job that takes `total`, cancellation aside. Calls wait for it up to their `timeoutMs`.
    pub fn slow(total: Duration, then: Reply) -> Self {
        let message = "Error encountered during execution. Retrying may solve the problem.";
        let poll_failure = Box::new(Self::error(503, "backendError", message));
        let then = Box::new(then);
        Self::new(Outcome::Slow { total, waits: true, polls_wait: true, failing_polls: 0, poll_failure, then })
    }

    /// Of a slow one: jobs.query answers at once that the job is under way.
    pub fn answering_at_once(mut self) -> Self {
        if let Outcome::Slow { waits, .. } = &mut self.outcome {
            *waits = false;
        }
        self
    }

    /// Of a slow one: polls too are answered at once, whatever their `timeoutMs`.
    pub fn with_polls_answering_at_once(mut self) -> Self {
        if let Outcome::Slow { polls_wait, .. } = &mut self.outcome {
            *polls_wait = false;
        }
        self
    }

    /// Of a slow one: so many polls fail, with 503.
    pub fn failing_polls(mut self, number: usize) -> Self {
        if let Outcome::Slow { failing_polls, .. } = &mut self.outcome {
            *failing_polls = number;
        }
        self
    }

    /// Of a slow one whose polls fail: with what else.
    pub fn polls_failing_with(mut self, failure: Reply) -> Self {
        if let Outcome::Slow { poll_failure, .. } = &mut self.outcome {
            **poll_failure = failure;
        }
        self
    }

    /// As an emulator may leave it out, it can be none.
    pub fn statement_type(mut self, statement_type: Option<&str>) -> Self {
        self.statement_type = statement_type.map(str::to_owned);
        self
    }

    /// What it reads; a query that allows less is refused as BigQuery does.
    pub fn bytes(mut self, bytes_processed: u64) -> Self {
        self.bytes_processed = bytes_processed;
        self
    }

    pub fn cache_hit(mut self) -> Self {
        self.cache_hit = true;
        self
    }

    /// Of every answer, before anything else.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    pub fn delay_dry_run(mut self, delay: Duration) -> Self {
        self.dry_run_delay = delay;
        self
    }

    /// What a dry run says instead.
    pub fn dry_run(mut self, reply: Reply) -> Self {
        self.dry_run = Some(Box::new(reply));
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn retry_after(self, seconds: u64) -> Self {
        self.header("retry-after", &seconds.to_string())
    }

    /// `error.details` of an error, as google.rpc writes them.
    pub fn details(mut self, details: Value) -> Self {
        if let Outcome::Error { error, .. } = &mut self.outcome {
            error["error"]["details"] = details;
        }
        self
    }
}

/// What the token endpoint does.
#[derive(Clone)]
pub enum TokenMode {
    /// Gives out `ya29.test-1`, `ya29.test-2`, ... for an hour.
    Issue,
    /// As `Issue`, for so many seconds.
    IssueFor(i64),
    /// 400 with this OAuth error code.
    Refuse(String),
    Raw {
        status: u16,
        body: String,
    },
    Hang,
}

/// One request as it came in.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// `jobs.query`, `jobs.insert`, `jobs.getQueryResults`, `jobs.cancel`, `token`, or `other` for what is none of them.
    pub call: &'static str,
    pub method: &'static str,
    pub path: String,
    pub query: HashMap<String, String>,
    /// Null where there was none, or where bodies are not kept.
    pub body: Value,
    pub user_agent: String,
    /// The token itself is not kept.
    pub has_authorization: bool,
    pub at: Instant,
}

pub struct Stub {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What a query is answered, by its text.
type Computed = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

struct Shared {
    computed: Mutex<Option<Computed>>,
    replies: Mutex<HashMap<String, Arc<Reply>>>,
    otherwise: Mutex<Option<Arc<Reply>>>,
    jobs: Mutex<HashMap<String, Arc<Job>>>,
    next_job: AtomicU64,
    cancelled: Mutex<Vec<String>>,
    requests: Mutex<Vec<Recorded>>,
    counts: Mutex<HashMap<&'static str, usize>>,
    keeps_requests: AtomicBool,
    required_token: Mutex<Option<String>>,
    token_mode: Mutex<TokenMode>,
    next_token: AtomicU64,
    /// The scopes each token was asked for with.
    scopes: Mutex<HashMap<String, String>>,
}

/// A job that runs on after its first answer.
struct Job {
    ends: Instant,
    location: String,
    reply: Reply,
    polls_wait: bool,
    failing_polls: AtomicUsize,
    poll_failure: Reply,
    stopped: watch::Sender<bool>,
}

impl Stub {
    /// `SELECT 1` is answered from the start, as a connection's check asks for it.
    pub async fn start() -> Self {
        Self::start_at(IpAddr::V4(Ipv4Addr::LOCALHOST)).await
    }

    /// At an address of this machine that others reach too.
    pub async fn start_at(address: IpAddr) -> Self {
        let listener = tokio::net::TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let router = Router::new()
            .route("/bigquery/v2/projects/{project}/queries", post(jobs_query))
            .route("/bigquery/v2/projects/{project}/queries/{job}", get(jobs_get_query_results))
            .route("/bigquery/v2/projects/{project}/jobs", post(jobs_insert))
            .route("/bigquery/v2/projects/{project}/jobs/{job}/cancel", post(jobs_cancel))
            .route("/token", post(token))
            .fallback(other)
            .method_not_allowed_fallback(other)
            .with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let stub = Self { address, shared, server };
        stub.on("SELECT 1", Reply::number("INT64", "1"));
        stub
    }

    /// Scheme, host and port.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Host and port, as allowed hosts are written.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// A service account's key file whose tokens come from this stub.
    pub fn key_file(&self, private_key_pem: &str) -> Vec<u8> {
        let key = json!({
            "type": "service_account", "project_id": "demo", "private_key_id": "1",
            "private_key": private_key_pem, "client_email": "okr@demo.iam.gserviceaccount.com",
            "token_uri": format!("{}/token", self.endpoint()),
        });
        key.to_string().into_bytes()
    }

    /// From now on; a reply can be changed at any time.
    pub fn on(&self, sql: &str, reply: Reply) {
        self.shared.replies.lock().unwrap().insert(sql.to_owned(), Arc::new(reply));
    }

    /// For every query without a reply of its own.
    pub fn otherwise(&self, reply: Reply) {
        *self.shared.otherwise.lock().unwrap() = Some(Arc::new(reply));
    }

    /// Every run of a query is answered so, whatever else is set; dry runs are not runs.
    pub fn compute(&self, reply: impl Fn(&str) -> Reply + Send + Sync + 'static) {
        *self.shared.computed.lock().unwrap() = Some(Arc::new(reply));
    }

    /// Only a bearer token that begins so is accepted.
    pub fn require_token(&self, prefix: &str) {
        *self.shared.required_token.lock().unwrap() = Some(prefix.to_owned());
    }

    pub fn tokens(&self, mode: TokenMode) {
        *self.shared.token_mode.lock().unwrap() = mode;
    }

    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub fn count(&self, call: &str) -> usize {
        self.shared.counts.lock().unwrap().get(call).copied().unwrap_or(0)
    }

    /// The ids of jobs that were cancelled while they ran.
    pub fn cancelled(&self) -> Vec<String> {
        self.shared.cancelled.lock().unwrap().clone()
    }

    /// Forgets what was recorded and counted.
    pub fn forget(&self) {
        self.shared.requests.lock().unwrap().clear();
        self.shared.counts.lock().unwrap().clear();
    }

    /// Without requests kept, a long run needs no memory: they are still counted.
    pub fn keep_requests(&self, keep: bool) {
        self.shared.keeps_requests.store(keep, Ordering::Relaxed);
    }

    /// Waits until so many calls came in; fails the test after 20 s.
    pub async fn until(&self, call: &str, number: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.count(call) < number {
            assert!(Instant::now() < deadline, "{} of {number} {call}", self.count(call));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            computed: Mutex::default(),
            replies: Mutex::default(),
            otherwise: Mutex::default(),
            jobs: Mutex::default(),
            next_job: AtomicU64::new(1),
            cancelled: Mutex::default(),
            requests: Mutex::default(),
            counts: Mutex::default(),
            keeps_requests: AtomicBool::new(true),
            required_token: Mutex::default(),
            token_mode: Mutex::new(TokenMode::Issue),
            next_token: AtomicU64::new(1),
            scopes: Mutex::default(),
        }
    }
}

/// What every handler is given.
struct Call<'a> {
    name: &'static str,
    method: &'static str,
    path: String,
    query: &'a Option<String>,
    headers: &'a HeaderMap,
}

impl Shared {
    fn record(&self, call: Call<'_>, body: Value) -> HashMap<String, String> {
        let Call { name, method, path, query, headers } = call;
        let query = query_pairs(query.as_deref().unwrap_or_default());
        *self.counts.lock().unwrap().entry(name).or_default() += 1;
        if self.keeps_requests.load(Ordering::Relaxed) {
            let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            self.requests.lock().unwrap().push(Recorded {
                call: name,
                method,
                path,
                query: query.clone(),
                body,
                user_agent: text(header::USER_AGENT).unwrap_or_default(),
                has_authorization: headers.contains_key(header::AUTHORIZATION),
                at: Instant::now(),
            });
        }
        query
    }

    /// The refusal, if the caller's token is not good enough for the call.
    fn refusal(&self, headers: &HeaderMap, scopes: &[&str]) -> Option<Response> {
        let bearer = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        let given = self.scopes.lock().unwrap().get(bearer).cloned()?;
        let enough = given.split(' ').any(|scope| scopes.contains(&scope));
        let mut error = google_error(403, "insufficientPermissions", "Request had insufficient authentication scopes.");
        error["error"]["details"] = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "domain": "googleapis.com"}]);
        (!enough).then(|| answer(403, error))
    }

    fn authenticate(&self, headers: &HeaderMap, scopes: &[&str]) -> Result<(), Response> {
        if let Some(prefix) = self.required_token.lock().unwrap().as_deref() {
            let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            let bearer = authorization.and_then(|value| value.strip_prefix("Bearer "));
            if !bearer.is_some_and(|token| token.starts_with(prefix)) {
                let message = "Request had invalid authentication credentials. Expected OAuth 2 access token.";
                return Err(answer(401, google_error(401, "authError", message)));
            }
        }
        self.refusal(headers, scopes).map_or(Ok(()), Err)
    }

    fn reply(&self, sql: &str) -> Arc<Reply> {
        let found = self.replies.lock().unwrap().get(sql).cloned();
        found
            .or_else(|| self.otherwise.lock().unwrap().clone())
            .unwrap_or_else(|| Arc::new(Reply::error(400, "invalidQuery", &format!("The stub has no reply to: {sql}"))))
    }

    fn job_reference(&self, project: &str, location: &str) -> Value {
        let number = self.next_job.fetch_add(1, Ordering::Relaxed);
        json!({"projectId": project, "jobId": format!("job_{number}"), "location": location})
    }
}

async fn jobs_query(
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = format!("/bigquery/v2/projects/{project}/queries");
    shared.record(Call { name: "jobs.query", method: "POST", path, query: &query, headers: &headers }, request.clone());
    if let Err(refused) = shared.authenticate(&headers, &SCOPES_OF_QUERIES) {
        return refused;
    }
    let sql = request["query"].as_str().unwrap_or_default();
    let computed = shared.computed.lock().unwrap().clone();
    let reply = computed.map_or_else(|| shared.reply(sql), |compute| Arc::new(compute(sql)));
    tokio::time::sleep(reply.delay).await;
    if request["useLegacySql"] != false {
        return answer(400, google_error(400, "invalidQuery", "The stub speaks no legacy SQL"));
    }
    let limit = request["maximumBytesBilled"].as_str().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    if reply.bytes_processed > limit {
        let message =
            format!("Query exceeded limit for bytes billed: {limit}. {} or higher required.", reply.bytes_processed);
        return answer(400, google_error(400, "bytesBilledLimitExceeded", &message));
    }
    let location = request["location"].as_str().unwrap_or("US");
    let reference = shared.job_reference(&project, location);
    let Outcome::Slow { total, waits, polls_wait, failing_polls, poll_failure, then } = &reply.outcome else {
        return finished(&reply, &reference, "bigquery#queryResponse");
    };
    let job = Arc::new(Job {
        ends: Instant::now() + *total,
        location: location.to_owned(),
        reply: (**then).clone(),
        polls_wait: *polls_wait,
        failing_polls: AtomicUsize::new(*failing_polls),
        poll_failure: (**poll_failure).clone(),
        stopped: watch::Sender::new(false),
    });
    let id = reference["jobId"].as_str().unwrap_or_default().to_owned();
    shared.jobs.lock().unwrap().insert(id, job.clone());
    let wait = if *waits { milliseconds(&request["timeoutMs"]) } else { Duration::ZERO };
    job.answer_within(wait, &reference, "bigquery#queryResponse").await
}

async fn jobs_get_query_results(
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let path = format!("/bigquery/v2/projects/{project}/queries/{id}");
    let call = Call { name: "jobs.getQueryResults", method: "GET", path, query: &query, headers: &headers };
    let query = shared.record(call, Value::Null);
    if let Err(refused) = shared.authenticate(&headers, &SCOPES_OF_QUERIES) {
        return refused;
    }
    let job = match find(&shared, &project, &id, &query) {
        Ok(job) => job,
        Err(not_found) => return not_found,
    };
    let fails = |left: usize| left.checked_sub(1);
    if job.failing_polls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails).is_ok() {
        return failed(&job.poll_failure);
    }
    let wait = match query.get("timeoutMs") {
        Some(_) if !job.polls_wait => Duration::ZERO,
        text => milliseconds(&json!(text.and_then(|text| text.parse::<u64>().ok()))),
    };
    let reference = json!({"projectId": project, "jobId": id, "location": job.location});
    job.answer_within(wait, &reference, "bigquery#getQueryResultsResponse").await
}

async fn jobs_insert(
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = format!("/bigquery/v2/projects/{project}/jobs");
    shared
        .record(Call { name: "jobs.insert", method: "POST", path, query: &query, headers: &headers }, request.clone());
    if let Err(refused) = shared.authenticate(&headers, &SCOPES_OF_JOBS) {
        return refused;
    }
    let configuration = &request["configuration"];
    let reply = shared.reply(configuration["query"]["query"].as_str().unwrap_or_default());
    tokio::time::sleep(reply.delay + reply.dry_run_delay).await;
    if configuration["dryRun"] != true {
        return answer(501, google_error(501, "notImplemented", "The stub inserts dry runs only"));
    }
    if configuration["query"]["useLegacySql"] != false {
        return answer(400, google_error(400, "invalidQuery", "The stub speaks no legacy SQL"));
    }
    let location = request["jobReference"]["location"].as_str().unwrap_or("US");
    dry_run(reply.dry_run.as_deref().unwrap_or(&reply), &project, location, configuration)
}

async fn jobs_cancel(
    State(shared): State<Arc<Shared>>,
    Path((project, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let path = format!("/bigquery/v2/projects/{project}/jobs/{id}/cancel");
    let query = shared
        .record(Call { name: "jobs.cancel", method: "POST", path, query: &query, headers: &headers }, Value::Null);
    if !headers.contains_key(header::CONTENT_LENGTH) {
        return answer(411, json!("Length Required"));
    }
    if let Err(refused) = shared.authenticate(&headers, &SCOPES_OF_JOBS) {
        return refused;
    }
    let job = match find(&shared, &project, &id, &query) {
        Ok(job) => job,
        Err(not_found) => return not_found,
    };
    if Instant::now() < job.ends && !job.stopped.send_replace(true) {
        shared.cancelled.lock().unwrap().push(id.clone());
    }
    let reference = json!({"projectId": project, "jobId": id, "location": job.location});
    answer(
        200,
        json!({"kind": "bigquery#jobCancelResponse",
        "job": {"kind": "bigquery#job", "jobReference": reference, "status": {"state": "RUNNING"}}}),
    )
}

async fn token(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let call = Call { name: "token", method: "POST", path: "/token".to_owned(), query: &None, headers: &headers };
    shared.record(call, Value::Null);
    let mode = shared.token_mode.lock().unwrap().clone();
    let seconds = match mode {
        TokenMode::Issue => 3599,
        TokenMode::IssueFor(seconds) => seconds,
        TokenMode::Refuse(code) => {
            return answer(400, json!({"error": code, "error_description": "Invalid JWT Signature."}));
        }
        TokenMode::Raw { status, body } => {
            return raw(status, "application/json", Bytes::from(body), &[]);
        }
        TokenMode::Hang => std::future::pending().await,
    };
    let form = query_pairs(&String::from_utf8_lossy(&body));
    let Some(scope) = scope_of(&form) else {
        return answer(400, json!({"error": "invalid_grant", "error_description": "Bad Request"}));
    };
    let token = format!("ya29.test-{}", shared.next_token.fetch_add(1, Ordering::Relaxed));
    shared.scopes.lock().unwrap().insert(token.clone(), scope);
    answer(200, json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"}))
}

async fn other(State(shared): State<Arc<Shared>>, uri: Uri, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let call = Call { name: "other", method: "", path: uri.path().to_owned(), query: &query, headers: &headers };
    shared.record(call, Value::Null);
    raw(404, "text/html; charset=UTF-8", "<html>Not Found</html>".into(), &[])
}

/// The scope an assertion asks for, if it is one: its signature is not checked.
fn scope_of(form: &HashMap<String, String>) -> Option<String> {
    if form.get("grant_type")? != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
        return None;
    }
    let claims = form.get("assertion")?.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE.decode(claims).ok()?).ok()?;
    let complete = ["iss", "aud", "exp", "iat"].iter().all(|name| !claims[name].is_null());
    claims["scope"].as_str().filter(|_| complete).map(str::to_owned)
}

/// A job is found only under its location, which may be left out for the US and the EU.
fn find(shared: &Shared, project: &str, id: &str, query: &HashMap<String, String>) -> Result<Arc<Job>, Response> {
    let job = shared.jobs.lock().unwrap().get(id).cloned();
    let found = job.filter(|job| match query.get("location") {
        Some(location) => *location == job.location,
        None => matches!(job.location.as_str(), "US" | "EU"),
    });
    found.ok_or_else(|| answer(404, google_error(404, "notFound", &format!("Not found: Job {project}:{id}"))))
}

impl Job {
    /// Waits for the end, for a cancellation, or for as long as the caller asked.
    async fn answer_within(&self, wait: Duration, reference: &Value, kind: &str) -> Response {
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => {
                let message = "Job execution was cancelled: User requested cancellation";
                return answer(499, google_error(499, "stopped", message));
            }
            () = tokio::time::sleep_until(self.ends.min(Instant::now() + wait).into()) => {}
        }
        if Instant::now() >= self.ends {
            finished(&self.reply, reference, kind)
        } else {
            answer(200, json!({"kind": kind, "jobReference": reference, "jobComplete": false}))
        }
    }
}

fn finished(reply: &Reply, reference: &Value, kind: &str) -> Response {
    match &reply.outcome {
        Outcome::Table { schema, rows } => {
            let mut body = json!({
                "kind": kind, "jobReference": reference, "jobComplete": true, "cacheHit": reply.cache_hit,
                "totalRows": rows.len().to_string(), "totalBytesProcessed": reply.bytes_processed.to_string(),
            });
            set(&mut body, "schema", schema.clone());
            set(&mut body, "statementType", reply.statement_type.clone().map(Value::String));
            set(&mut body, "rows", (!rows.is_empty()).then(|| Value::Array(rows.clone())));
            raw(200, "application/json; charset=UTF-8", body.to_string().into(), &reply.headers)
        }
        Outcome::Slow { then, .. } => finished(then, reference, kind),
        Outcome::Error { .. } | Outcome::Raw { .. } => failed(reply),
    }
}

fn dry_run(reply: &Reply, project: &str, location: &str, configuration: &Value) -> Response {
    match &reply.outcome {
        Outcome::Table { schema, .. } => {
            let bytes = reply.bytes_processed.to_string();
            let mut query = json!({"totalBytesProcessed": bytes, "totalBytesBilled": "0", "cacheHit": false,
                "totalBytesProcessedAccuracy": "PRECISE"});
            set(&mut query, "statementType", reply.statement_type.clone().map(Value::String));
            set(&mut query, "schema", schema.clone());
            answer(
                200,
                json!({
                    "kind": "bigquery#job", "configuration": configuration,
                    "jobReference": {"projectId": project, "location": location},
                    "statistics": {"creationTime": "0", "totalBytesProcessed": bytes, "query": query},
                    "status": {"state": "DONE"},
                }),
            )
        }
        Outcome::Slow { then, .. } => dry_run(then, project, location, configuration),
        Outcome::Error { .. } | Outcome::Raw { .. } => failed(reply),
    }
}

fn failed(reply: &Reply) -> Response {
    match &reply.outcome {
        Outcome::Error { status, error } => {
            raw(*status, "application/json; charset=UTF-8", error.to_string().into(), &reply.headers)
        }
        Outcome::Raw { status, content_type, body } => raw(*status, content_type, body.clone(), &reply.headers),
        Outcome::Table { .. } | Outcome::Slow { .. } => unreachable!("these do not fail"),
    }
}

fn google_error(status: u16, reason: &str, message: &str) -> Value {
    let name = match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ALREADY_EXISTS",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    json!({"error": {"code": status, "message": message, "status": name,
        "errors": [{"message": message, "domain": "global", "reason": reason}]}})
}

/// REST answers name these types as legacy SQL does.
fn legacy_name(kind: &str) -> &str {
    match kind {
        "INT64" => "INTEGER",
        "FLOAT64" => "FLOAT",
        "BOOL" => "BOOLEAN",
        "STRUCT" => "RECORD",
        other => other,
    }
}

fn row(cells: &[Value]) -> Value {
    json!({"f": cells.iter().map(|cell| json!({"v": cell})).collect::<Vec<_>>()})
}

fn set(body: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        body[name] = value;
    }
}

/// 10 s where a request says nothing.
fn milliseconds(value: &Value) -> Duration {
    Duration::from_millis(value.as_u64().unwrap_or(10_000))
}

fn query_pairs(text: &str) -> HashMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://stub/?{text}")).unwrap();
    url.query_pairs().into_owned().collect()
}

fn answer(status: u16, body: Value) -> Response {
    raw(status, "application/json; charset=UTF-8", body.to_string().into(), &[])
}

fn raw(status: u16, content_type: &str, body: Bytes, headers: &[(String, String)]) -> Response {
    let mut response =
        Response::builder().status(StatusCode::from_u16(status).unwrap()).header(header::CONTENT_TYPE, content_type);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}
