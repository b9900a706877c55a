//! The operator in the cluster, as far as the person at the terminal may see it.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Container};
use kube::{Api, api::ListParams};

use super::cluster::{Cluster, ClusterError};

/// The label that every installation sets.
const LABEL: &str = "app.kubernetes.io/name=okr-operator";

pub const NOT_FOUND: &str = "no Deployment with the label app.kubernetes.io/name=okr-operator was found: is the operator installed, and may you see its namespace? Name it with --operator-namespace";

/// A Deployment of the operator.
pub struct Operator {
    pub namespace: String,
    pub name: String,
    pub service_account: String,
    /// From the label app.kubernetes.io/version.
    pub version: Option<String>,
    pub wanted: i32,
    pub ready: i32,
    /// What its process is started with.
    arguments: Vec<String>,
}

impl Operator {
    /// The value of a flag that is written `--name=value`.
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.arguments.iter().find_map(|argument| argument.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether it works only while it holds a Lease.
    pub fn elects(&self) -> bool {
        self.flag("leader-election").map_or_else(
            || self.arguments.iter().any(|argument| argument == "--leader-election"),
            |value| value == "true",
        )
    }

    /// Whether it works in this namespace.
    pub fn works_in(&self, namespace: &str) -> bool {
        self.flag("namespaces").is_none_or(|names| names.split(',').any(|name| name == namespace))
    }
}

/// The operators in `namespace`; None for all that may be seen: of a cluster in which the person may list their own
/// namespace alone, that one.
pub async fn find(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Operator>, ClusterError> {
    let parameters = ListParams::default().labels(LABEL);
    let listed = match namespace {
        Some(namespace) => list(cluster, Some(namespace), &parameters).await,
        None => match list(cluster, None, &parameters).await {
            Err(ClusterError::Forbidden { .. }) => {
                list(cluster, Some(&cluster.namespace), &parameters).await.map_err(|error| match error {
                    ClusterError::Forbidden { verb, plural, place, hint: _ } => {
                        let hint = ", or name the operator's namespace with --operator-namespace";
                        ClusterError::Forbidden { verb, plural, place, hint }
                    }
                    error => error,
                })
            }
            listed => listed,
        },
    };
    Ok(listed?.into_iter().map(operator).collect())
}

async fn list(
    cluster: &Cluster,
    scope: Option<&str>,
    parameters: &ListParams,
) -> Result<Vec<Deployment>, ClusterError> {
    let api: Api<Deployment> = match scope {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    };
    Ok(cluster.ask::<Deployment, _>("list", scope, api.list(parameters)).await?.items)
}

fn operator(deployment: Deployment) -> Operator {
    let Deployment { metadata, spec, status } = deployment;
    let wanted = spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let pod = spec.and_then(|spec| spec.template.spec);
    let container = pod.as_ref().and_then(|pod| pod.containers.first());
    let words = |container: &Container| [container.command.clone(), container.args.clone()];
    let arguments = container.map(words).into_iter().flatten().flatten().flatten().collect();
    Operator {
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        service_account: pod.and_then(|pod| pod.service_account_name).unwrap_or_else(|| "default".to_owned()),
        version: metadata.labels.and_then(|labels| labels.get("app.kubernetes.io/version").cloned()),
        wanted,
        arguments,
        ready: status.and_then(|status| status.ready_replicas).unwrap_or_default(),
    }
}
