//! The cluster at the other end: which one, what exists there, and what is said where that cannot be found out.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use kube::{
    Client, Config, Resource,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
    core::NamespaceResourceScope,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::{
    api::{BigQueryConnection, OkrKeyResult, OkrObjective, is_dns_label},
    view::{
        brief::{Kind, decode},
        catalog::Catalog,
        row::{Name, named},
    },
};

/// Long enough for ten thousand objects over a slow line, short enough for somebody who waits.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Objects at a time, as kubectl asks for them.
const PAGE: u32 = 500;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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
    #[error("the kubeconfig cannot be used: it is not the YAML of one, see its {0}")]
    NotYaml(String),
    #[error("the kubeconfig has no context {0}: kubectl config get-contexts lists those that there are")]
    NoContext(String),
    #[error("nothing can be run")]
    Runtime(#[source] std::io::Error),
    #[error("no client can be made from the kubeconfig")]
    Client(#[source] kube::Error),
    #[error("the cluster at {server} did not answer within {} s", CALL_TIMEOUT.as_secs())]
    TimedOut { server: String },
    #[error("the cluster at {server} cannot be reached: does it run, and is it the one of --context?")]
    Unreachable { server: String, source: kube::Error },
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
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(CALL_TIMEOUT);
        // Somebody waits, and can try again: an overloaded server is said to be one at once.
        config.default_retry = false;
        let namespace = target.namespace.clone().filter(|namespace| !namespace.is_empty());
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(ClusterError::Client)?;
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

    /// Every object of a kind in `scope`, None for all namespaces, as the API server wrote it.
    async fn list<K>(&self, scope: Option<&str>, selector: Option<&str>) -> Result<Listed, ClusterError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let everything = selector.map_or_else(ListParams::default, |selector| ListParams::default().labels(selector));
        let (mut parameters, mut pages) = (everything.clone().limit(PAGE), Vec::new());
        loop {
            let request = kube::core::Request::new(K::url_path(&(), scope)).list(&parameters);
            let call = async { self.client.request::<Page>(request.map_err(kube::Error::BuildRequest)?).await };
            let page = match self.ask::<K, _>("list", scope, call).await {
                // What the pages so far are from is forgotten: all at once then.
                Err(ClusterError::Refused { code: 410, .. }) if parameters.continue_token.is_some() => {
                    pages.clear();
                    parameters = everything.clone();
                    continue;
                }
                page => page?,
            };
            let token = page.metadata.token.filter(|token| !token.is_empty());
            // Read while the API server makes the next one.
            pages.push(tokio::task::spawn_blocking(move || page.items.into_iter().map(Item::read).collect::<Vec<_>>()));
            match token {
                Some(token) => parameters = parameters.continue_token(&token),
                None => break,
            }
        }
        let mut listed = Listed::default();
        for page in pages {
            listed.add(page.await.expect("nothing in it panics"));
        }
        Ok(listed)
    }

    /// What exists in `scope`, None for all namespaces. Connections that may not be listed go by their own names.
    pub async fn objects(&self, scope: Option<&str>, selector: Option<&str>) -> Result<Objects, ClusterError> {
        let (objectives, key_results, connections) = tokio::join!(
            self.list::<OkrObjective>(scope, selector),
            self.list::<OkrKeyResult>(scope, selector),
            self.list::<BigQueryConnection>(scope, None),
        );
        let (objectives, key_results) = (objectives?, key_results?);
        let connections = match connections {
            Err(ClusterError::Forbidden { .. }) => Listed::default(),
            other => other?,
        };
        Ok(Objects { objectives, key_results, connections })
    }
}

/// Which of the two is missing, the cluster or its context, or what else is wrong.
fn unusable(error: KubeconfigError, target: &Target) -> ClusterError {
    match error {
        KubeconfigError::LoadContext(name) if target.context.is_some() => ClusterError::NoContext(name),
        KubeconfigError::ReadConfig(..) if target.kubeconfig.is_none() => ClusterError::NoKubeconfig(error),
        KubeconfigError::FindPath | KubeconfigError::CurrentContextNotSet => ClusterError::NoKubeconfig(error),
        // What the parser says shows the lines around, and a token may stand there.
        KubeconfigError::Parse(error) => ClusterError::NotYaml(error.location().map_or_else(
            || "beginning".to_owned(),
            |location| format!("line {}, column {}", location.line(), location.column()),
        )),
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

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    items: Vec<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    token: Option<String>,
}

/// An object, and which one.
struct Item {
    name: Option<Name>,
    json: Box<RawValue>,
}

impl Item {
    fn read(json: Box<RawValue>) -> Self {
        Self { name: named(json.get().as_bytes()), json }
    }
}

/// Objects of one kind, by name.
#[derive(Default)]
struct Listed {
    items: Vec<Box<RawValue>>,
    places: HashMap<Name, usize>,
}

impl Listed {
    fn add(&mut self, items: Vec<Item>) {
        for Item { name, json } in items {
            if let Some(name) = name {
                self.places.insert(name, self.items.len());
            }
            self.items.push(json);
        }
    }

    fn each(&self, each: &mut dyn FnMut(&[u8])) {
        self.items.iter().for_each(|item| each(item.get().as_bytes()));
    }

    fn one(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        let name = Name { namespace: namespace.to_owned(), name: name.to_owned() };
        self.places.get(&name).map(|place| self.items[*place].get().as_bytes().to_vec())
    }
}

/// What existed at a moment.
pub struct Objects {
    objectives: Listed,
    key_results: Listed,
    connections: Listed,
}

impl Objects {
    /// The names of the key results or objectives, in no order.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &Name> {
        self.of(kind).places.keys()
    }

    pub fn has(&self, kind: Kind, name: &Name) -> bool {
        self.of(kind).places.contains_key(name)
    }

    /// Whether it reads BigQuery.
    pub fn has_query(&self, kind: Kind, name: &Name) -> bool {
        let json = self.of(kind).one(&name.namespace, &name.name);
        json.is_some_and(|json| decode(kind, &json).is_ok_and(|brief| brief.spec.big_query.is_some()))
    }

    fn of(&self, kind: Kind) -> &Listed {
        match kind {
            Kind::Objective => &self.objectives,
            Kind::KeyResult => &self.key_results,
        }
    }
}

impl Catalog for Objects {
    fn each_objective(&self, each: &mut dyn FnMut(&[u8])) {
        self.objectives.each(each);
    }

    fn each_key_result(&self, each: &mut dyn FnMut(&[u8])) {
        self.key_results.each(each);
    }

    fn each_connection(&self, each: &mut dyn FnMut(&[u8])) {
        self.connections.each(each);
    }

    fn objective(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        self.objectives.one(namespace, name)
    }

    fn key_result(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        self.key_results.one(namespace, name)
    }

    fn connection(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        self.connections.one(namespace, name)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    fn is_listed(&self) -> bool {
        true
    }
}
