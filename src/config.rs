//! The command line: parsed once, passed on as values.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, CommandFactory, Parser, Subcommand, ValueEnum, error::ErrorKind};

use crate::{
    api::{Decimal, is_dns_label},
    domain::{judgement::Gaps, number::Exact},
    plugin::doctor::DoctorArguments,
    view::reading::{CopiedLabels, CopiedLabelsError},
};

/// Syncs objectives and key results with BigQuery.
#[derive(Debug, Parser)]
#[command(name = "okr-operator", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints the custom resource definitions as YAML.
    Crd {
        /// Writes one file per kind into this folder instead.
        directory: Option<PathBuf>,
    },
    /// Runs the operator.
    Run(Box<RunArguments>),
    /// Looks, from within the cluster, at what an installation needs: kubectl okr doctor for `helm test`.
    #[command(
        after_help = "Exit codes: 0 nothing is known to be wrong, 1 something is, 2 something could not be looked at."
    )]
    Doctor(DoctorArguments),
}

#[derive(Debug, Clone, clap::Args)]
pub struct RunArguments {
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "OKR_OPERATOR_METRICS_ADDRESS", default_value = "0.0.0.0:8080")]
    pub metrics_address: SocketAddr,

    /// Labels of key results and objectives to copy to their metrics: label team becomes label_team; spec.owner becomes owner.
    #[arg(long, env = "OKR_OPERATOR_METRICS_LABELS", value_delimiter = ',')]
    pub metrics_labels: Vec<String>,

    /// Where the dashboard is served, or off. At another address than the pod's loopback it needs --dashboard-auth.
    #[arg(long, env = "OKR_OPERATOR_DASHBOARD_ADDRESS", default_value = "127.0.0.1:8081", value_parser = dashboard_address)]
    pub dashboard_address: DashboardAddress,

    /// Who may read the dashboard: token asks for a Kubernetes token and shows what its user may list, none shows all to anybody.
    #[arg(long, env = "OKR_OPERATOR_DASHBOARD_AUTH", value_enum)]
    pub dashboard_auth: Option<DashboardAuth>,

    /// Host names, without a port, that browsers may reach the dashboard by, beside localhost, 127.0.0.1 and [::1].
    #[arg(long, env = "OKR_OPERATOR_DASHBOARD_HOST", value_delimiter = ',', value_parser = host_name)]
    pub dashboard_host: Vec<String>,

    /// Shows badges without a token, so that a README can embed them.
    #[arg(long, env = "OKR_OPERATOR_PUBLIC_BADGES", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub public_badges: bool,

    /// Hosts (host or host:port) that connections may name in spec.endpoint.
    #[arg(long, env = "OKR_OPERATOR_ALLOWED_ENDPOINTS", value_delimiter = ',', value_parser = host)]
    pub allowed_endpoints: Vec<String>,

    /// Hosts (host or host:port), beside Google's own, that a service account key may name in token_uri.
    #[arg(long, env = "OKR_OPERATOR_ALLOWED_TOKEN_HOSTS", value_delimiter = ',', value_parser = host)]
    pub allowed_token_hosts: Vec<String>,

    /// Namespaces whose connections may use the operator's own identity: workloadIdentity and externalAccount.
    #[arg(long, env = "OKR_OPERATOR_AMBIENT_IDENTITY_NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    pub ambient_identity_namespaces: Vec<String>,

    /// The folder with the subject token files that an external account may name; without it none may.
    #[arg(long, env = "OKR_OPERATOR_EXTERNAL_ACCOUNT_FOLDER")]
    pub external_account_folder: Option<PathBuf>,

    /// Namespaces whose shared connections are found without being named. Default: the operator's own.
    #[arg(long, env = "OKR_OPERATOR_SHARED_CONNECTION_NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    pub shared_connection_namespaces: Vec<String>,

    /// Behind above this gap, in percentage points, where a key result sets none.
    #[arg(long, env = "OKR_OPERATOR_BEHIND_THRESHOLD", default_value = "0", value_parser = threshold)]
    pub behind_threshold: Decimal,

    /// AtRisk above this gap, in percentage points, where a key result sets none.
    #[arg(long, env = "OKR_OPERATOR_AT_RISK_THRESHOLD", default_value = "25", value_parser = threshold)]
    pub at_risk_threshold: Decimal,

    /// Namespaces to work in. Default: all.
    #[arg(long, env = "OKR_OPERATOR_NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,

    /// Works only while holding a Lease in the operator's own namespace, so that several replicas can run.
    #[arg(long, env = "OKR_OPERATOR_LEADER_ELECTION", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub leader_election: bool,

    /// The Lease's name. Operators in one namespace that work for different --namespaces need one each.
    #[arg(long, env = "OKR_OPERATOR_LEASE_NAME", default_value = "okr-operator", value_parser = label)]
    pub lease_name: String,

    /// How many objects are worked on at the same time, whatever their connections allow.
    #[arg(long, env = "OKR_OPERATOR_MAX_CONCURRENT_SYNCS", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_concurrent_syncs: u16,

    /// How log lines are written.
    #[arg(long, env = "OKR_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged, such as info or okr_operator=debug,kube=warn.
    #[arg(long, env = "OKR_OPERATOR_LOG_FILTER", default_value = "info", value_parser = log_filter)]
    pub log_filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DashboardAddress {
    Off,
    At(SocketAddr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DashboardAuth {
    Token,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

impl RunArguments {
    /// The gaps of key results that set none.
    pub fn gaps(&self) -> Gaps {
        Gaps { behind: Exact::from(&self.behind_threshold), at_risk: Exact::from(&self.at_risk_threshold) }
    }

    /// What metrics show of the labels of objects.
    pub fn copied_labels(&self) -> Result<CopiedLabels, CopiedLabelsError> {
        // An empty variable is read as a list of one empty name, and means none.
        CopiedLabels::new(self.metrics_labels.iter().map(|name| name.trim()).filter(|name| !name.is_empty()))
    }

    /// What no flag can say by itself.
    fn contradiction(&self) -> Option<String> {
        if let Err(error) = self.copied_labels() {
            return Some(format!("--metrics-labels: {error}"));
        }
        let Gaps { behind, at_risk } = self.gaps();
        if behind > at_risk {
            return Some("--behind-threshold must not be above --at-risk-threshold".to_owned());
        }
        let is_exposed = match self.dashboard_address {
            DashboardAddress::Off => false,
            DashboardAddress::At(address) => !address.ip().to_canonical().is_loopback(),
        };
        (is_exposed && self.dashboard_auth.is_none()).then(|| {
            "--dashboard-address can be reached from outside the pod: add --dashboard-auth=token, or --dashboard-auth=none to show every objective to whoever reaches it"
                .to_owned()
        })
    }
}

impl Arguments {
    /// Reads the command line. What is wrong with it is said, and ends the process with exit code 2.
    pub fn read() -> Self {
        let arguments = Self::parse();
        if let Command::Run(run) = &arguments.command
            && let Some(contradiction) = run.contradiction()
        {
            Self::command().error(ErrorKind::ArgumentConflict, contradiction).exit();
        }
        arguments
    }
}

fn dashboard_address(text: &str) -> Result<DashboardAddress, String> {
    if text == "off" {
        return Ok(DashboardAddress::Off);
    }
    let wrong = |_| format!("{text:?} is neither an address with a port, such as 127.0.0.1:8081, nor off");
    text.parse().map(DashboardAddress::At).map_err(wrong)
}

/// An empty variable is read as a list of one empty name, and means none.
fn namespace(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Ok(String::new()) } else { label(text) }
}

/// A DNS label, as Kubernetes names namespaces.
fn label(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fits = text.len() <= 63 && is_dns_label(text);
    let wrong = || format!("{text:?} is not a name: write at most 63 lower-case letters, digits and -");
    fits.then(|| text.to_owned()).ok_or_else(wrong)
}

/// `host` or `host:port`, as [`crate::bigquery::Endpoint`] compares them.
fn host(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(String::new());
    }
    let wrong = || format!("{text:?} is not a host: write host or host:port, without scheme and path");
    let url = url::Url::parse(&format!("https://{text}")).map_err(|_| wrong())?;
    let is_host_alone = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_bare = url.username().is_empty() && url.password().is_none() && !text.contains('/');
    if is_host_alone && is_bare { Ok(text.to_owned()) } else { Err(wrong()) }
}

/// A host as a browser's address has it, without a port: the dashboard takes any.
fn host_name(text: &str) -> Result<String, String> {
    let host = host(text)?.to_ascii_lowercase();
    let has_port = http::uri::Authority::try_from(host.as_str()).is_ok_and(|authority| authority.port().is_some());
    if has_port { Err(format!("{text:?} has a port: write the host name alone")) } else { Ok(host) }
}

fn log_filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn threshold(text: &str) -> Result<Decimal, String> {
    let decimal: Decimal = text.parse().map_err(|error: crate::api::ValueError| error.to_string())?;
    if text.starts_with('-') { Err("a threshold must not be below 0".to_owned()) } else { Ok(decimal) }
}
