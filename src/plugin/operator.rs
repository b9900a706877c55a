//! The operator in the cluster, as far as the person at the terminal may see it.

use std::collections::BTreeMap;

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
    environment: BTreeMap<String, String>,
}

impl Operator {
    /// The value of a flag: as `--name=value` or `--name value`, or else from the variable that stands for it. One without a
    /// value is true.
    pub fn flag(&self, name: &str) -> Option<&str> {
        let mut arguments = self.arguments.iter().map(String::as_str).peekable();
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix("--").and_then(|argument| argument.strip_prefix(name)) {
                Some("") => return Some(arguments.next_if(|next| !next.starts_with('-')).unwrap_or("true")),
                Some(rest) if rest.starts_with('=') => return Some(&rest[1..]),
                Some(_) | None => {}
            }
        }
        let variable = format!("OKR_OPERATOR_{}", name.replace('-', "_").to_uppercase());
        self.environment.get(&variable).map(String::as_str)
    }

    /// Whether it works only while it holds a Lease.
    pub fn elects(&self) -> bool {
        self.flag("leader-election") == Some("true")
    }

    /// The namespaces that it works in; None for all.
    pub fn namespaces(&self) -> Option<Vec<&str>> {
        self.flag("namespaces").map(|names| names.split(',').collect())
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
    let variables = container.and_then(|container| container.env.as_ref()).into_iter().flatten();
    let environment = variables.filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?))).collect();
    Operator {
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        service_account: pod.and_then(|pod| pod.service_account_name).unwrap_or_else(|| "default".to_owned()),
        version: metadata.labels.and_then(|labels| labels.get("app.kubernetes.io/version").cloned()),
        wanted,
        arguments,
        environment,
        ready: status.and_then(|status| status.ready_replicas).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn flags_are_read_as_the_operator_reads_them() {
        let of = |container: serde_json::Value| {
            operator(
                serde_json::from_value(
                    json!({"spec": {"selector": {}, "template": {"spec": {"containers": [container]}}}}),
                )
                .unwrap(),
            )
        };
        for container in [
            json!({"args": ["run", "--leader-election", "--namespaces=sales,finance"]}),
            json!({"command": ["okr-operator", "run"], "args": ["--namespaces", "sales,finance", "--leader-election=true"]}),
            json!({"env": [
                {"name": "OKR_OPERATOR_NAMESPACES", "value": "sales,finance"},
                {"name": "OKR_OPERATOR_LEADER_ELECTION", "value": "true"},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ]}),
        ] {
            let operator = of(container.clone());
            assert_eq!(operator.namespaces(), Some(vec!["sales", "finance"]), "{container}");
            assert!(operator.elects(), "{container}");
            assert_eq!(operator.flag("lease-name"), None, "{container}");
        }
        let operator = of(json!({"args": ["run", "--leader-election=false", "--lease-name=okrs"]}));
        assert!(operator.namespaces().is_none() && !operator.elects());
        assert_eq!(operator.flag("lease-name"), Some("okrs"));
    }
}
