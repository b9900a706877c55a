//! The cluster at the other end: which one, and what is said where it gives no answer.

use std::{path::PathBuf, time::Duration};

use kube::{
    Client, Config, Resource,
    config::{ExecInteractiveMode, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use crate::{
    api::is_dns_label,
    kubeconfig::{NoClient, NotYaml, user_agent},
};

/// Long enough for ten thousand objects over a slow line, short enough for somebody who waits.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests at once: many must not take what the API server grants everybody else.
pub const AT_ONCE: usize = 8;

/// Which cluster, and where in it: the same flags as kubectl's.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Target {
    /// The context of the kubeconfig to use.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,
    /// The namespace to look in. Default: that of the context.
    #[arg(short, long, global = true, value_name = "NAME", help_heading = "Cluster", value_parser = namespace)]
    pub namespace: Option<String>,
    /// The kubeconfig to use instead of those of KUBECONFIG, or of ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
}

/// Why something could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("no cluster is configured: set KUBECONFIG, or name a file with --kubeconfig")]
    NoKubeconfig(#[source] KubeconfigError),
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[source] KubeconfigError),
    #[error(transparent)]
    NotYaml(#[from] NotYaml),
    #[error("the kubeconfig has no context {0}: kubectl config get-contexts lists those that there are")]
    NoContext(String),
    #[error("nothing can be run")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    NoClient(#[from] NoClient),
    #[error("the cluster at {server} did not answer within {} s", CALL_TIMEOUT.as_secs())]
    TimedOut { server: String },
    #[error("the cluster at {server} cannot be reached: does it run, and is it the one of --context?")]
    Unreachable { server: String, source: kube::Error },
    #[error("the cluster at {server} answered with something else than was asked for: is there a proxy in between?")]
    NotAnAnswer { server: String, source: serde_json::Error },
    #[error("the answer of the cluster at {server} broke off")]
    BrokenOff { server: String, source: std::io::Error },
    #[error("the cluster at {0} does not know who you are: log in again")]
    Unauthorized(String),
    #[error(
        "the cluster has no {0}: install the definitions with: okr-operator crd | kubectl apply --server-side -f -"
    )]
    NoDefinition(String),
    #[error("you may not {verb} {plural} {place}: ask for that right{hint}")]
    Forbidden { verb: &'static str, plural: String, place: String, hint: &'static str },
    #[error("there is no {kind} {name} in namespace {namespace}")]
    NotFound { kind: &'static str, namespace: String, name: String },
    #[error("the API server refused with {code} ({reason}): {message}")]
    Refused { code: u16, reason: String, message: String },
}

/// A cluster that can be asked.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    /// The one to look in unless another is asked for.
    pub namespace: String,
    /// For messages.
    pub server: String,
}

impl Cluster {
    pub async fn connect(target: &Target) -> Result<Self, ClusterError> {
        Self::connect_with(target, |_| ()).await
    }

    /// The same for a program that nobody can answer: a login program that would have to ask somebody fails.
    pub async fn connect_unasked(target: &Target) -> Result<Self, ClusterError> {
        let unasked = |config: &mut Config| {
            if let Some(exec) = &mut config.auth_info.exec {
                exec.interactive_mode = Some(ExecInteractiveMode::Never);
            }
        };
        Self::connect_with(target, unasked).await
    }

    async fn connect_with(target: &Target, change: impl FnOnce(&mut Config)) -> Result<Self, ClusterError> {
        let options = KubeConfigOptions { context: target.context.clone(), ..KubeConfigOptions::default() };
        let named = match &target.kubeconfig {
            Some(file) => match Kubeconfig::read_from(file) {
                Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
                Err(error) => Err(error),
            },
            None => Config::from_kubeconfig(&options).await,
        };
        let mut config = match named {
            Ok(config) => config,
            // In a pod there is none, and none is needed.
            Err(error) => match Config::incluster() {
                Ok(config) if target.kubeconfig.is_none() && target.context.is_none() => config,
                Ok(_) | Err(_) => return Err(unusable(error, target)),
            },
        };
        change(&mut config);
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(CALL_TIMEOUT);
        config.headers.push(user_agent(concat!("kubectl-okr/", env!("CARGO_PKG_VERSION"))));
        // Somebody waits, and can try again: an overloaded server is said to be one at once.
        config.default_retry = false;
        let namespace = target.namespace.clone().filter(|namespace| !namespace.is_empty());
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(NoClient::from)?;
        Ok(Self { client, namespace, server })
    }

    /// Makes a call about `K`, and says in words what came of it where that is no answer.
    pub async fn ask<K: Resource<DynamicType = ()>, T>(
        &self,
        verb: &'static str,
        scope: Option<&str>,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ClusterError> {
        let error = match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Err(_) => return Err(ClusterError::TimedOut { server: self.server.clone() }),
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
        };
        let status = match error {
            kube::Error::Api(status) => status,
            kube::Error::SerdeError(source) => {
                return Err(ClusterError::NotAnAnswer { server: self.server.clone(), source });
            }
            kube::Error::ReadEvents(source) => {
                return Err(ClusterError::BrokenOff { server: self.server.clone(), source });
            }
            source => return Err(ClusterError::Unreachable { server: self.server.clone(), source }),
        };
        Err(match status.code {
            401 => ClusterError::Unauthorized(self.server.clone()),
            403 => ClusterError::Forbidden {
                verb,
                plural: K::plural(&()).into_owned(),
                place: match (scope, verb) {
                    (Some(scope), _) => format!("in namespace {scope}"),
                    (None, "list") => "in all namespaces".to_owned(),
                    (None, _) => "in this cluster".to_owned(),
                },
                // What is asked for one by one without a namespace is in none.
                hint: if scope.is_none() && verb == "list" { ", or name a namespace with -n" } else { "" },
            },
            // Of the kind, where the path itself is unknown: the answer about an object names it.
            404 if status.details.as_ref().is_none_or(|details| details.name.is_empty()) => {
                ClusterError::NoDefinition(K::kind(&()).into_owned())
            }
            code => ClusterError::Refused { code, reason: status.reason.clone(), message: status.message.clone() },
        })
    }
}

/// Which of the two is missing, the cluster or its context, or what else is wrong.
fn unusable(error: KubeconfigError, target: &Target) -> ClusterError {
    if let Some(not_yaml) = NotYaml::of(&error) {
        return not_yaml.into();
    }
    match error {
        KubeconfigError::LoadContext(name) if target.context.is_some() => ClusterError::NoContext(name),
        KubeconfigError::ReadConfig(..) if target.kubeconfig.is_none() => ClusterError::NoKubeconfig(error),
        KubeconfigError::FindPath | KubeconfigError::CurrentContextNotSet => ClusterError::NoKubeconfig(error),
        error => ClusterError::Kubeconfig(error),
    }
}

/// As kubectl takes it: none is the context's. Anything else would be part of a path.
fn namespace(text: &str) -> Result<String, String> {
    match text {
        "" => Ok(String::new()),
        text if is_dns_label(text) && text.len() <= 63 => Ok(text.to_owned()),
        _ => Err("a namespace has a name of lower-case letters, digits and hyphens, at most 63 of them".to_owned()),
    }
}
