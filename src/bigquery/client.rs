//! Every call to BigQuery: the dry run, the query, its polls, its cancellation.
//!
//! | call | when | REST |
//! |---|---|---|
//! | [`Client::check`] | is the connection good? | `POST jobs`, dry run of `SELECT 1` |
//! | [`Client::dry_run`] | would the query do? free | `POST jobs`, dry run |
//! | [`Client::run`] | the number | `POST queries`; above 10 s also `GET queries/JOB`, `POST jobs/JOB/cancel` |

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use gcp_bigquery_client::model::{
    connection_property::ConnectionProperty, dataset_reference::DatasetReference, job,
    job_configuration::JobConfiguration, job_configuration_query::JobConfigurationQuery, job_reference,
    query_parameter::QueryParameter, query_parameter_type::QueryParameterType,
    query_parameter_value::QueryParameterValue, query_request::QueryRequest,
};
use http::{HeaderValue, header};
use reqwest::{Request, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::{
    address::Resolver,
    answer::{Answer, DryRun, DryRunAnswer, JobReference, QueryAnswer, read},
    auth::TokenSource,
    endpoint::Destination,
    error::{Error, ErrorKind},
};

/// How long BigQuery may hold one call open. A job's id comes with the answer only, so this is also how
/// long a cancellation may have to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// What a call may take beyond the wait it asked for: connection, queueing, transfer.
const CALL_MARGIN: Duration = Duration::from_secs(20);
/// A call that asks for no wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A cancellation is sent by whoever already has an outcome to tell.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The least time between polls, however fast the server says "not yet" or fails.
const POLL_PAUSE: Duration = Duration::from_secs(1);
/// The job runs on while a poll fails: Google's reference says to wait some seconds and ask again.
const POLL_FAILURES: u32 = 3;
/// Two tell that there is more than one.
const MAX_RESULTS: i32 = 2;
/// A server's wish beyond this is a mistake.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// One query and what it may cost.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// GoogleSQL.
    pub sql: &'a str,
    pub parameters: Vec<Parameter>,
    /// On the job; BigQuery refuses all but `[a-z0-9_-]{0,63}`.
    pub labels: BTreeMap<String, String>,
    pub maximum_bytes_billed: u64,
    /// From the first call on; a job that then still runs is cancelled.
    pub timeout: Duration,
}

/// Bound as `@name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    /// A scalar type of GoogleSQL, such as `DATE`.
    pub kind: &'static str,
    pub value: String,
}

/// One connection. Cheap to make; the sources of tokens and sockets are shared.
#[derive(Debug, Clone)]
pub struct Client {
    destination: Destination,
    tokens: Arc<TokenSource>,
    http: reqwest::Client,
}

/// The one HTTP client of all connections. Fails where the machine's root certificates cannot be read.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        // A redirect would take the token elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(Arc::new(Resolver))
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("okr-operator/", env!("CARGO_PKG_VERSION")))
        .build()
}

impl Client {
    pub fn new(destination: Destination, tokens: Arc<TokenSource>, http: reqwest::Client) -> Self {
        Self { destination, tokens, http }
    }

    /// The account BigQuery sees: that of the machine is known from its first token on.
    pub fn principal(&self) -> Option<&str> {
        self.tokens.principal()
    }

    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Whether token, project and the right to run jobs are good. Free.
    pub async fn check(&self) -> Result<(), Error> {
        let query = Query {
            sql: "SELECT 1",
            parameters: Vec::new(),
            labels: BTreeMap::new(),
            maximum_bytes_billed: u64::MAX,
            timeout: CALL_TIMEOUT,
        };
        let DryRun { bytes_processed: _ } = self.dry_run(&query).await?;
        Ok(())
    }

    /// Whether the query would do: one SELECT, one numeric column, within its limit of bytes. Free.
    pub async fn dry_run(&self, query: &Query<'_>) -> Result<DryRun, Error> {
        let body = self.dry_run_request(query);
        let request = self.http.post(self.url(&["jobs"])).json(&body);
        let answer: DryRunAnswer = self.send(request.timeout(CALL_TIMEOUT)).await?;
        answer.judge(query.maximum_bytes_billed)
    }

    /// Has a token for what is sent next. Given up on `cancel`: nothing is to be sent for a caller who stopped waiting for it.
    pub async fn authorize(&self, cancel: &CancellationToken) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ErrorKind::Cancelled.into()),
            token = self.tokens.authorization(&self.http, None) => Ok(token.map(drop)?),
        }
    }

    /// Runs the query: one call, unless it takes longer than 10 s.
    ///
    /// After `cancel` the job, if there is one, is cancelled as soon as its id is known, and the outcome is
    /// `Cancelled`, whatever was answered meanwhile. Use it rather than dropping the future: that leaves the job running.
    pub async fn run(&self, query: &Query<'_>, cancel: &CancellationToken) -> Result<Answer, Error> {
        let started = Instant::now();
        // Nothing to do where the caller did so, or a dry run had one.
        self.authorize(cancel).await?;
        // Not given up on `cancel`: the job's id is in the answer.
        let answer = match self.start(query).await {
            Ok(answer) if !answer.job_complete => {
                let deadline = started + query.timeout;
                self.finish(&answer.job_reference, deadline, cancel).await?
            }
            // Nobody wants the number, yet what was read for it is to be paid.
            Ok(answer) if cancel.is_cancelled() => return Err(answer.unwanted(started.elapsed())),
            Err(_) if cancel.is_cancelled() => return Err(ErrorKind::Cancelled.into()),
            answer => answer?,
        };
        answer.judge(started.elapsed())
    }

    async fn start(&self, query: &Query<'_>) -> Result<QueryAnswer, Error> {
        let wait = query.timeout.min(LONGEST_WAIT);
        let body = self.query_request(query, wait);
        let request = self.http.post(self.url(&["queries"])).json(&body);
        self.send(request.timeout(wait + CALL_MARGIN)).await
    }

    /// Waits for a job's end, and cancels a job whose end it does not see: none may run on unwatched.
    async fn finish(
        &self,
        job: &JobReference,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<QueryAnswer, Error> {
        let finished = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ErrorKind::Cancelled.into()),
            answer = self.poll(job, deadline) => answer,
        };
        if finished.is_err() {
            self.cancel(job).await;
        }
        finished
    }

    async fn poll(&self, job: &JobReference, deadline: Instant) -> Result<QueryAnswer, Error> {
        let mut failures = 0;
        loop {
            let asked = Instant::now();
            let left = deadline.saturating_duration_since(asked);
            if left.is_zero() {
                return Err(ErrorKind::Timeout.into());
            }
            let pause = match self.results(job, left.min(LONGEST_WAIT)).await {
                Ok(answer) if answer.job_complete => return Ok(answer),
                Ok(_) => {
                    failures = 0;
                    POLL_PAUSE
                }
                Err(error) if is_of_the_poll(error.kind) && failures < POLL_FAILURES => {
                    failures += 1;
                    error.retry_after.unwrap_or_default().max(POLL_PAUSE)
                }
                Err(error) => return Err(error),
            };
            tokio::time::sleep_until((asked + pause.min(left)).into()).await;
        }
    }

    async fn results(&self, job: &JobReference, wait: Duration) -> Result<QueryAnswer, Error> {
        let request = self
            .http
            .get(self.url(&["queries", &job.job_id]))
            .query(&[("timeoutMs", milliseconds(wait)), ("maxResults", MAX_RESULTS)])
            .query(&[("location", self.location_of(job))]);
        self.send(request.timeout(wait + CALL_MARGIN)).await
    }

    /// Best effort: the job may have ended meanwhile, and the outcome is known without it.
    async fn cancel(&self, job: &JobReference) {
        let request = self
            .http
            .post(self.url(&["jobs", &job.job_id, "cancel"]))
            .query(&[("location", self.location_of(job))])
            // Google refuses a POST without a length.
            .header(header::CONTENT_LENGTH, 0);
        let cancelled: Result<serde_json::Value, Error> = self.send(request.timeout(CANCEL_TIMEOUT)).await;
        if let Err(error) = cancelled {
            tracing::warn!(job_id = job.job_id, %error, "a BigQuery job could not be cancelled and may run to its end");
        }
    }

    /// A job is found under its location only.
    fn location_of<'a>(&'a self, job: &'a JobReference) -> Option<&'a str> {
        let location = job.location.as_ref().or(self.destination.location.as_ref());
        location.map(String::as_str)
    }

    fn url(&self, segments: &[&str]) -> reqwest::Url {
        let project = ["projects", &self.destination.billing_project_id];
        let segments = [&project, segments].concat();
        self.destination.endpoint.url(&segments)
    }

    fn query_request(&self, query: &Query<'_>, wait: Duration) -> QueryRequest {
        let (parameter_mode, query_parameters) = parameters(query);
        QueryRequest {
            connection_properties: self.connection_properties(),
            default_dataset: self.default_dataset(),
            labels: labels(query),
            location: self.destination.location.clone(),
            max_results: Some(MAX_RESULTS),
            maximum_bytes_billed: Some(query.maximum_bytes_billed.to_string()),
            parameter_mode,
            query_parameters,
            timeout_ms: Some(milliseconds(wait)),
            // The API's default is legacy SQL.
            use_legacy_sql: false,
            use_query_cache: Some(true),
            ..QueryRequest::new(query.sql)
        }
    }

    /// Without the limit of bytes: against that the promised number is compared, which is exact.
    fn dry_run_request(&self, query: &Query<'_>) -> job::Job {
        let (parameter_mode, query_parameters) = parameters(query);
        let query_configuration = JobConfigurationQuery {
            connection_properties: self.connection_properties(),
            default_dataset: self.default_dataset(),
            parameter_mode,
            query: query.sql.to_owned(),
            query_parameters,
            // Left out of this type unless set, and legacy SQL is the API's default.
            use_legacy_sql: Some(false),
            ..JobConfigurationQuery::default()
        };
        job::Job {
            configuration: Some(JobConfiguration {
                dry_run: Some(true),
                labels: labels(query),
                query: Some(query_configuration),
                ..JobConfiguration::default()
            }),
            job_reference: Some(job_reference::JobReference {
                job_id: None,
                location: self.destination.location.clone(),
                project_id: Some(self.destination.billing_project_id.clone()),
            }),
            ..job::Job::default()
        }
    }

    /// `dataset.table` belongs to the project that runs the job, unless this says otherwise.
    fn connection_properties(&self) -> Option<Vec<ConnectionProperty>> {
        let here = &self.destination;
        (here.project_id != here.billing_project_id)
            .then(|| vec![ConnectionProperty { key: "dataset_project_id".to_owned(), value: here.project_id.clone() }])
    }

    fn default_dataset(&self) -> Option<DatasetReference> {
        let dataset = self.destination.default_dataset.as_ref()?;
        Some(DatasetReference { dataset_id: dataset.dataset_id.clone(), project_id: dataset.project_id.clone() })
    }

    /// Sends a request; after a 401 once more with a new token, as one can be revoked before its end.
    async fn send<A: DeserializeOwned>(&self, request: RequestBuilder) -> Result<A, Error> {
        let request = request.build()?;
        let authorization = self.tokens.authorization(&self.http, None).await?;
        // Bodies are texts in memory, which can be sent twice.
        let again = request.try_clone();
        let answer = self.attempt(request, authorization.as_ref()).await;
        match (answer, authorization, again) {
            (Err(error), Some(refused), Some(again)) if error.kind == ErrorKind::Unauthorized => {
                let authorization = self.tokens.authorization(&self.http, Some(&refused)).await?;
                self.attempt(again, authorization.as_ref()).await
            }
            (answer, ..) => answer,
        }
    }

    async fn attempt<A: DeserializeOwned>(
        &self,
        mut request: Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<A, Error> {
        if let Some(token) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        let response = self.http.execute(request).await?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let body = read(response).await?.ok_or_else(|| Error::undecodable("the answer is larger than 1 MiB"))?;
        if !status.is_success() {
            return Err(Error::from_answer(status, retry_after, &body));
        }
        // serde's text is left out: it can quote the answer.
        serde_json::from_slice(&body).map_err(|_| Error::undecodable("the answer is not as BigQuery documents it"))
    }
}

/// Whether the poll alone may have failed, and not its job.
fn is_of_the_poll(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::RateLimited)
}

/// The form in seconds; Google does not send the other, a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = text.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

fn milliseconds(wait: Duration) -> i32 {
    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
}

fn labels(query: &Query<'_>) -> Option<std::collections::HashMap<String, String>> {
    (!query.labels.is_empty()).then(|| query.labels.clone().into_iter().collect())
}

fn parameters(query: &Query<'_>) -> (Option<String>, Option<Vec<QueryParameter>>) {
    if query.parameters.is_empty() {
        return (None, None);
    }
    let parameters = query.parameters.iter().map(|Parameter { name, kind, value }| QueryParameter {
        name: Some(name.clone()),
        parameter_type: Some(QueryParameterType { r#type: (*kind).to_owned(), ..QueryParameterType::default() }),
        parameter_value: Some(QueryParameterValue { value: Some(value.clone()), ..QueryParameterValue::default() }),
    });
    (Some("NAMED".to_owned()), Some(parameters.collect()))
}
