//! `check --run`: asks BigQuery with local credentials and says what the operator would write into the status.
//!
//! The same functions decide as in the operator; nothing is stored, and no cluster is asked.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{
        BigQueryConnection, BigQueryConnectionSpec, BigQuerySource, Credentials, ExternalAccount, Impersonate,
        MeasuredStatus, NoCredentials, OkrKeyResult, OkrObjective, ServiceAccountKey, WorkloadIdentity,
    },
    bigquery::{self, TokenSource},
    clock,
    domain::{
        Measured, Reason,
        choice::{self, NoConnection, Seeker},
        conditions::{self, READY},
        connection::{ConnectionReason, Verdict as Refused},
        judgement::Gaps,
        measured::{NotMeasured, Source},
        schedule::{self, How, Plan, Route, Through},
        status::{self, Attempt, Outcome},
    },
    exchange::{self, reasons},
    plugin::Verdict,
};

use super::manifest::Manifest;

/// How much of a query is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Run {
    /// The free dry run, and the query if it passes.
    Query,
    /// The dry run alone: whether the query would do, and how many bytes it would read.
    Dry,
}

/// Where queries go, beside what the files say.
#[derive(Debug, clap::Args)]
pub struct RunArguments {
    /// Also asks BigQuery, and shows what the status would be: =query (as the operator would), or =dry (free).
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "query", value_name = "query|dry")]
    pub run: Option<Run>,
    /// The project to ask in, in place of the connections among the files.
    #[arg(long, requires = "run")]
    pub project: Option<String>,
    /// Where the jobs run, such as EU; goes with --project.
    #[arg(long, requires = "project")]
    pub location: Option<String>,
    /// Another server than Google's, such as http://127.0.0.1:9050; over plain http no credentials are sent.
    #[arg(long, requires = "run")]
    pub endpoint: Option<String>,
    /// A service account's key, or the file that gcloud auth application-default login makes. Default: the Secret among
    /// the files that the connection names, then gcloud's own file.
    #[arg(long, env = "GOOGLE_APPLICATION_CREDENTIALS", hide_env_values = true, value_name = "FILE")]
    pub credentials: Option<OsString>,
}

/// What came of one object.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ran {
    pub file: String,
    pub line: usize,
    pub object: String,
    /// The reason that the condition Ready would have.
    pub reason: String,
    pub message: String,
    /// What a dry run says that the query would read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_read_bytes: Option<u64>,
    /// As the operator would write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<MeasuredStatus>,
    #[serde(skip)]
    pub verdict: Verdict,
}

/// Every object has one: a connection's choice and a fingerprint are told apart by it.
const UID: &str = "00000000-0000-0000-0000-000000000000";

/// Runs the queries of everything that is in order, one after the other.
pub fn run(manifests: &[Manifest], secrets: &BTreeMap<(String, String), Secret>, arguments: &RunArguments) -> Vec<Ran> {
    // Another one may be installed: either does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let prepared =
        tokio::runtime::Builder::new_current_thread().enable_all().build().ok().zip(bigquery::http_client().ok());
    let Some((runtime, http)) = prepared else {
        return vec![Ran {
            file: String::new(),
            line: 0,
            object: "--run".to_owned(),
            reason: "Unavailable".to_owned(),
            message: "No HTTP client can be made: the machine's root certificates cannot be read.".to_owned(),
            would_read_bytes: None,
            status: None,
            verdict: Verdict::CouldNotCheck,
        }];
    };
    let runner = Runner { connections: connections(manifests, arguments), secrets, arguments, http };
    let measured = manifests.iter().filter(|manifest| manifest.accepted);
    runtime.block_on(async {
        let mut ran = Vec::new();
        for manifest in measured {
            ran.extend(runner.object(manifest).await);
        }
        ran
    })
}

/// Those among the files, or the one that the command line describes.
fn connections(manifests: &[Manifest], arguments: &RunArguments) -> Vec<BigQueryConnection> {
    let mut connections: Vec<BigQueryConnection> = match &arguments.project {
        Some(project) => {
            let is_plain = arguments.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
            let credentials = if is_plain {
                Credentials::None(NoCredentials {})
            } else {
                Credentials::WorkloadIdentity(WorkloadIdentity {})
            };
            let spec = BigQueryConnectionSpec {
                display_name: None,
                description: None,
                project_id: project.clone(),
                billing_project_id: None,
                location: arguments.location.clone(),
                default_dataset: None,
                credentials,
                impersonate: None,
                scopes: Vec::new(),
                endpoint: arguments.endpoint.clone(),
                allowed_namespaces: None,
                default: None,
                limits: None,
                suspend: None,
            };
            vec![BigQueryConnection::new("command-line", spec)]
        }
        None => manifests.iter().filter_map(Manifest::read::<BigQueryConnection>).collect(),
    };
    for (index, connection) in connections.iter_mut().enumerate() {
        connection.metadata.uid = Some(format!("{UID}-{index}"));
        connection.metadata.generation = Some(1);
        if arguments.endpoint.is_some() {
            connection.spec.endpoint.clone_from(&arguments.endpoint);
        }
    }
    connections
}

struct Runner<'a> {
    connections: Vec<BigQueryConnection>,
    secrets: &'a BTreeMap<(String, String), Secret>,
    arguments: &'a RunArguments,
    http: reqwest::Client,
}

impl Runner<'_> {
    async fn object(&self, manifest: &Manifest) -> Option<Ran> {
        match manifest.kind.as_str() {
            "OkrKeyResult" => {
                let mut object: OkrKeyResult = manifest.read()?;
                (object.metadata.uid, object.metadata.generation) = (Some(UID.to_owned()), Some(1));
                self.measured(manifest, (&object).try_into().ok()?).await
            }
            "OkrObjective" => {
                let mut object: OkrObjective = manifest.read()?;
                (object.metadata.uid, object.metadata.generation) = (Some(UID.to_owned()), Some(1));
                match Measured::try_from(&object) {
                    Ok(measured) => self.measured(manifest, measured).await,
                    Err(NotMeasured::RolledUp | NotMeasured::NoSource) => None,
                }
            }
            _ => None,
        }
    }

    async fn measured(&self, manifest: &Manifest, measured: Measured<'_>) -> Option<Ran> {
        let now = clock::now();
        let mut ran = Ran {
            file: manifest.file.clone(),
            line: manifest.root.place.line,
            object: manifest.title(),
            reason: String::new(),
            message: String::new(),
            would_read_bytes: None,
            status: None,
            verdict: Verdict::Fine,
        };
        let route: Route<'_> = match measured.source {
            Source::Manual(_) => Err(NoConnection { reason: Reason::Manual, message: String::new() }),
            Source::BigQuery(source) => self.choose(&measured, source).map(|connection| Through {
                connection,
                fingerprint: schedule::fingerprint(&measured, source, connection),
                ready: true,
                within_budget: true,
                changed_at: None,
                tried_at: None,
            }),
        };
        let plan = schedule::plan(&measured, &route, now, None);
        let attempt = match (plan, measured.source, &route) {
            (Plan::Attempt { how, .. }, Source::BigQuery(source), Ok(through)) => {
                let query = exchange::query(&measured, source, through.connection, now)?;
                let client = match self.client(through.connection) {
                    Ok(client) => client,
                    Err(verdict) => {
                        ran.reason = verdict.reason.name().to_owned();
                        ran.message = verdict.message;
                        ran.verdict = Verdict::CouldNotCheck;
                        return Some(ran);
                    }
                };
                let outcome = self.send(&client, &query, how, &mut ran).await;
                Some(attempt(through.fingerprint.clone(), clock::now(), outcome))
            }
            _ => None,
        };
        let status = status::next(&measured, &route, attempt.as_ref(), &Gaps::default(), clock::now());
        if let Some(ready) = conditions::find(&status.conditions, READY) {
            ran.reason = ready.reason.clone();
            ran.message = ready.message.clone();
        }
        ran.verdict = verdict(attempt.as_ref(), &route);
        let ran_dry = self.arguments.run == Some(Run::Dry) && ran.would_read_bytes.is_some();
        if ran_dry {
            ran.reason = "DryRunPassed".to_owned();
            ran.message = "The query would do.".to_owned();
        } else {
            ran.status = Some(status);
        }
        Some(ran)
    }

    /// What the command line says counts for all. Among the files every connection may be found without a name that
    /// admits the namespace: which namespaces the operator shares from is not known here.
    fn choose<'a>(
        &'a self,
        measured: &Measured<'_>,
        source: &BigQuerySource,
    ) -> Result<&'a BigQueryConnection, NoConnection> {
        let all: Vec<&BigQueryConnection> = self.connections.iter().collect();
        if self.arguments.project.is_some()
            && let [only] = all.as_slice()
        {
            return Ok(only);
        }
        let shared: Vec<String> = all.iter().filter_map(|connection| connection.metadata.namespace.clone()).collect();
        let seeker = Seeker { namespace: measured.namespace, labels: None, source, kept: None };
        choice::choose(seeker, &all, &shared).map_err(|none| NoConnection {
            message: format!("{} With --run it must be among the files, or be given by --project.", none.message),
            ..none
        })
    }

    /// As the operator does: the dry run first.
    async fn send(&self, client: &bigquery::Client, query: &bigquery::Query<'_>, how: How, ran: &mut Ran) -> Outcome {
        let dry_run = client.dry_run(query).await;
        let answer = match (dry_run, how) {
            (Err(error), _) => Err(error),
            (Ok(dry_run), how) => {
                ran.would_read_bytes = Some(dry_run.bytes_processed);
                if how == How::DryRun || self.arguments.run == Some(Run::Dry) {
                    return Outcome::DryRunPassed;
                }
                client.run(query, &CancellationToken::new()).await
            }
        };
        match answer {
            Ok(answer) => exchange::measured(answer),
            Err(error) => reasons::outcome(&error).unwrap_or_else(|| Outcome::Failed {
                reason: Reason::Unavailable,
                message: Reason::Unavailable.sentence().to_owned(),
            }),
        }
    }

    fn client(&self, connection: &BigQueryConnection) -> Result<bigquery::Client, Refused> {
        let spec = &connection.spec;
        let destination = exchange::destination(spec, |text, _| {
            // Who wrote the file is not always who runs this: local credentials go where the command line says.
            let is_trusted = matches!(spec.credentials, Credentials::None(_)) || self.arguments.endpoint.is_some();
            let message = format!(
                "spec.endpoint {text} gets none of your credentials unless you name it: add --endpoint={text}."
            );
            if is_trusted { Ok(()) } else { Err(Refused::new(ConnectionReason::EndpointNotAllowed, message)) }
        })?;
        let tokens = TokenSource::new(self.credentials(connection)?, exchange::scopes(&spec.scopes));
        let tokens = match &spec.impersonate {
            None => tokens,
            Some(Impersonate { service_account }) => tokens
                .impersonating(service_account)
                .map_err(|error| invalid(format!("spec.impersonate.serviceAccount cannot be used: {error}.")))?,
        };
        Ok(bigquery::Client::new(destination, tokens.into(), self.http.clone()))
    }

    /// Nothing of a credential is ever part of a message.
    fn credentials(&self, connection: &BigQueryConnection) -> Result<bigquery::Credentials, Refused> {
        if let Credentials::None(NoCredentials {}) = connection.spec.credentials {
            return Ok(bigquery::Credentials::None);
        }
        // An empty variable is none: steps that set it may have been left out.
        let file = self.arguments.credentials.as_ref().filter(|file| !file.is_empty()).map(Path::new);
        if let Some(file) = file {
            let bytes =
                fs::read(file).map_err(|error| invalid(format!("{} cannot be read: {error}.", file.display())))?;
            return local(&bytes).map_err(|error| invalid(format!("{} is not usable: {error}.", file.display())));
        }
        if let Credentials::ServiceAccountKey(ServiceAccountKey { secret_ref })
        | Credentials::ExternalAccount(ExternalAccount { secret_ref }) = &connection.spec.credentials
        {
            let namespace = connection.metadata.namespace.clone().unwrap_or_default();
            if let Some(bytes) = self.secrets.get(&(namespace, secret_ref.name.clone())).and_then(|secret| {
                let data = secret.data.as_ref().and_then(|data| data.get(&secret_ref.key)).map(|bytes| bytes.0.clone());
                let text = secret.string_data.as_ref().and_then(|data| data.get(&secret_ref.key));
                data.or(text.map(|text| text.clone().into_bytes()))
            }) {
                let name = &secret_ref.name;
                return local(&bytes).map_err(|error| invalid(format!("Secret {name} is not usable: {error}.")));
            }
        }
        let gcloud = std::env::home_dir().map(|home| home.join(".config/gcloud/application_default_credentials.json"));
        match gcloud.and_then(|file| fs::read(file).ok()) {
            Some(bytes) => local(&bytes).map_err(|error| invalid(format!("gcloud's credentials are not usable: {error}."))),
            None => Err(invalid(
                "There are no local credentials: run gcloud auth application-default login, or give --credentials=FILE."
                    .to_owned(),
            )),
        }
    }
}

fn invalid(message: String) -> Refused {
    Refused::new(ConnectionReason::CredentialsInvalid, message)
}

/// A key of a service account or what gcloud keeps for a person.
fn local(bytes: &[u8]) -> Result<bigquery::Credentials, String> {
    match bigquery::AuthorizedUser::parse(bytes) {
        Ok(user) => Ok(bigquery::Credentials::AuthorizedUser(user)),
        Err(bigquery::UserError::NotUser) => bigquery::ServiceAccountKey::parse(bytes, &[])
            .map(bigquery::Credentials::ServiceAccountKey)
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn attempt(fingerprint: String, ended: Timestamp, outcome: Outcome) -> Attempt {
    Attempt { fingerprint, refresh: None, reconcile_at: None, ended, outcome }
}

/// A query that is wrong is a finding; where nobody could be asked, nothing is known of it.
fn verdict(attempt: Option<&Attempt>, route: &Route<'_>) -> Verdict {
    match (attempt.map(|attempt| &attempt.outcome), route) {
        (Some(Outcome::Measured { .. } | Outcome::DryRunPassed), _) => Verdict::Fine,
        (Some(Outcome::Failed { reason, .. }), _) => match reason {
            Reason::RateLimited
            | Reason::Timeout
            | Reason::Unavailable
            | Reason::UndecodableResponse
            | Reason::QuotaExceeded
            | Reason::AuthenticationFailed => Verdict::CouldNotCheck,
            _ => Verdict::Findings,
        },
        (None, Err(NoConnection { reason: Reason::Manual, .. })) | (None, Ok(_)) => Verdict::Fine,
        (None, Err(_)) => Verdict::CouldNotCheck,
    }
}

/// For people: a few lines.
pub fn lines(ran: &Ran) -> Vec<String> {
    let mut lines = vec![format!("{}:{}: {}: {}: {}", ran.file, ran.line, ran.object, ran.reason, ran.message)];
    if let Some(status) = &ran.status {
        let mut facts = Vec::new();
        if let Some(okr_status) = status.okr_status {
            facts.push(format!("status {}", okr_status.name()));
        }
        facts.extend(status.value.as_ref().map(|value| format!("value {value}")));
        facts.extend(status.target_text.as_ref().map(|target| format!("target {target}")));
        facts.extend(status.progress_percent.as_ref().map(|percent| format!("progress {percent} %")));
        facts.extend(status.expected_progress_percent.as_ref().map(|percent| format!("expected {percent} %")));
        if let Some(query) = &status.last_query {
            let cached = if query.cache_hit { " (from the query cache)" } else { "" };
            facts.push(format!("read {} bytes in {} ms{cached}", query.bytes_processed, query.duration_ms));
        }
        lines.push(format!("  {}", facts.join(", ")));
        lines.extend(status.explanation.as_ref().map(|explanation| format!("  {explanation}")));
    }
    if ran.status.as_ref().is_none_or(|status| status.last_query.is_none()) {
        lines.extend(ran.would_read_bytes.map(|bytes| format!("  it would read {bytes} bytes")));
    }
    lines
}
