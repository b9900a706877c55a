//! The operator as a process: from its arguments to its exit code.

use std::{convert::Infallible, error::Error, io::IsTerminal, process::ExitCode, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{InferConfigError, KubeconfigError},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    bigquery, causes,
    config::{DashboardAddress, DashboardAuth, LogFormat, RunArguments},
    controller::{
        self, Settings, Signals, Watching,
        leadership::{self, Candidate},
    },
    dashboard::{
        self, Sources,
        callers::Callers,
        gate::{Access, Gate},
    },
    http::{self, Surface},
    kubeconfig::{NoClient, NotYaml, user_agent},
    metrics::{Metrics, api_calls::CountCalls},
};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("no way to the API server is configured: set KUBECONFIG, or run in a pod with a ServiceAccount")]
    Kubeconfig(#[source] InferConfigError),
    #[error(transparent)]
    NotYaml(#[from] NotYaml),
    #[error(transparent)]
    NoClient(#[from] NoClient),
    #[error("the API server is Kubernetes {0}, and okr-operator needs {oldest} or later: upgrade the cluster", oldest = shown(OLDEST))]
    TooOld(String),
    #[error("signals cannot be handled")]
    Signals(#[source] std::io::Error),
    #[error(transparent)]
    Http(#[from] http::HttpError),
    #[error(transparent)]
    Controller(#[from] controller::Fatal),
}

/// Runs until SIGTERM or SIGINT, or until something cannot be mended; then with a message and exit code 1.
pub fn main(arguments: RunArguments) -> ExitCode {
    // kube, reqwest and yup-oauth2 must agree on one.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        unreachable!("nothing before this installs a provider");
    }
    // One thread for all: a sync is mostly waiting, and what costs time, as a page of the dashboard does, has threads of its own. With
    // several, each of its steps wakes another one, a sixth of its CPU time; and by default there are as many as the node has cores.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let result = runtime.block_on(run(arguments));
    // Workers that wait for an answer must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("okr-operator: {}", causes::chain(error));
    ExitCode::FAILURE
}

async fn run(arguments: RunArguments) -> Result<(), RunError> {
    start_logging(&arguments);
    let mut config = Config::infer().await.map_err(unusable)?;
    config.read_timeout = Some(controller::READ_TIMEOUT);
    config.headers.push(user_agent(concat!("okr-operator/", env!("CARGO_PKG_VERSION"))));
    let own_namespace = config.default_namespace.clone();
    let metrics = Arc::new(Metrics::default());
    let client = ClientBuilder::try_from(config).map_err(NoClient::from)?;
    let client = client.with_layer(&CountCalls(Arc::clone(&metrics))).build();
    // Before anything that takes time: a signal that nobody expects ends the process out of order.
    let signals = Signals::default();
    stop_on_signals(&signals.shutdown)?;
    refuse_too_old(&client).await?;
    let surface = http::router(Surface { metrics: Arc::clone(&metrics), signals: signals.clone() });
    let (address, serve) = http::listen(arguments.metrics_address, "--metrics-address", surface).await?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "okr-operator runs");
    let settings = settings(&arguments, own_namespace);
    let watching = controller::watch(&client, &settings, &metrics);
    metrics.read_from(watching.readings(), settings.copied_labels.clone(), watching.catalog(&signals));
    let serve_dashboard = dashboard(&arguments, &client, &watching, &signals).await?;
    tokio::select! {
        result = controller::run(client, settings, metrics, signals, watching) => result.map_err(RunError::from),
        never = serve => match never {},
        never = serve_dashboard => match never {},
    }
}

/// The oldest Kubernetes whose API servers the kinds and the client are made for: major and minor version.
const OLDEST: (u32, u32) = (1, 33);

/// Time enough for an API server that answers at all; of one that does not, the watches will tell.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

async fn refuse_too_old(client: &Client) -> Result<(), RunError> {
    match tokio::time::timeout(VERSION_TIMEOUT, client.apiserver_version()).await {
        Ok(Ok(version)) if number(&version.major, &version.minor).is_some_and(|number| number < OLDEST) => {
            Err(RunError::TooOld(version.git_version))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Some providers write a minor version as `33+`. None where it is no number at all.
fn number(major: &str, minor: &str) -> Option<(u32, u32)> {
    let digits = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok();
    Some((digits(major)?, digits(minor)?))
}

fn shown((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

fn unusable(error: InferConfigError) -> RunError {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<KubeconfigError>());
    match cause.and_then(NotYaml::of) {
        Some(not_yaml) => RunError::NotYaml(not_yaml),
        None => RunError::Kubeconfig(error),
    }
}

/// Serves the dashboard where it is wanted, for ever.
async fn dashboard(
    arguments: &RunArguments,
    client: &Client,
    watching: &Watching,
    signals: &Signals,
) -> Result<BoxFuture<'static, Infallible>, RunError> {
    let address = match arguments.dashboard_address {
        DashboardAddress::Off => return Ok(std::future::pending().boxed()),
        DashboardAddress::At(address) => address,
    };
    let router = dashboard::router(Sources {
        catalog: watching.catalog(signals),
        gaps: arguments.gaps(),
        now: crate::clock::now,
        shutdown: signals.shutdown.clone(),
    });
    let gate = Gate {
        hosts: named(&arguments.dashboard_host),
        public_badges: arguments.public_badges,
        listed: signals.listed.clone(),
        access: match arguments.dashboard_auth {
            Some(DashboardAuth::Token) => Access::Token(Callers::new(client.clone(), Box::new(watching.namespaces()))),
            Some(DashboardAuth::None) | None => Access::Everyone,
        },
    };
    let (address, serve) = http::listen(address, "--dashboard-address", gate.guard(router)).await?;
    tracing::info!(url = format!("http://{address}/"), "the dashboard is served");
    Ok(serve.boxed())
}

fn settings(arguments: &RunArguments, own_namespace: String) -> Settings {
    let candidate = arguments.leader_election.then(|| Candidate {
        namespace: own_namespace.clone(),
        name: arguments.lease_name.clone(),
        identity: leadership::identity(),
    });
    let mut shared_connection_namespaces = named(&arguments.shared_connection_namespaces);
    if shared_connection_namespaces.is_empty() {
        shared_connection_namespaces.push(own_namespace);
    }
    Settings {
        gaps: arguments.gaps(),
        shared_connection_namespaces,
        allowed_endpoints: named(&arguments.allowed_endpoints),
        allowed_token_hosts: named(&arguments.allowed_token_hosts),
        ambient_identity_namespaces: named(&arguments.ambient_identity_namespaces),
        google: bigquery::Endpoints::default(),
        external_account_folder: arguments.external_account_folder.clone(),
        namespaces: named(&arguments.namespaces),
        max_concurrent_syncs: arguments.max_concurrent_syncs,
        copied_labels: arguments.copied_labels().expect("the command line has been read"),
        candidate,
    }
}

/// An empty variable is read as a list of one empty name, and means none.
fn named(list: &[String]) -> Vec<String> {
    list.iter().filter(|name| !name.is_empty()).cloned().collect()
}

/// The first signal asks to stop, the second ends at once.
fn stop_on_signals(shutdown: &CancellationToken) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if shutdown.is_cancelled() {
                std::process::exit(1);
            }
            tracing::info!("stopping: running queries may end, those that do not are cancelled");
            shutdown.cancel();
        }
    });
    Ok(())
}

/// yup-oauth2 logs tokens and signed assertions below `warn`; no filter may let them through.
const NEVER_LOGGED: &str = "yup_oauth2=warn";

fn start_logging(arguments: &RunArguments) {
    let filter = EnvFilter::builder().parse(&arguments.log_filter).expect("the command line has read it");
    let filter = filter.add_directive(NEVER_LOGGED.parse().expect("a fixed directive"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let subscriber = subscriber.with_ansi(std::io::stderr().is_terminal());
    match arguments.log_format {
        LogFormat::Json => subscriber.json().init(),
        LogFormat::Text => subscriber.init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_providers_write_them() {
        assert_eq!(number("1", "33"), Some((1, 33)));
        assert_eq!(number("1", "32+"), Some((1, 32)));
        assert_eq!(number("", ""), None);
        assert!(number("1", "9").unwrap() < OLDEST);
    }
}
