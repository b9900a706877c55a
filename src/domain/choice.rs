//! Which connection a key result uses: SPEC 1's rules.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{
    ResourceExt,
    core::{Selector, SelectorExt},
};

use crate::api::{
    AllowedNamespaces, BigQueryConnection, BigQuerySource, ConnectionChoice, ConnectionRef, NamespacesFrom,
};

use super::reason::Reason;

/// The labels of a namespace; None where the operator does not know them.
pub type NamespaceLabels<'a> = Option<&'a BTreeMap<String, String>>;

/// Why there is no connection, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoConnection {
    pub reason: Reason,
    pub message: String,
}

/// The key result that looks for a connection.
#[derive(Debug, Clone, Copy)]
pub struct Seeker<'a> {
    pub namespace: &'a str,
    pub labels: NamespaceLabels<'a>,
    pub source: &'a BigQuerySource,
    /// The choice that stays while it is usable.
    pub kept: Option<&'a ConnectionChoice>,
}

/// The connection for `seeker` among all that exist, of which those in `shared_namespaces` may be found without a name.
pub fn choose<'c>(
    seeker: Seeker<'_>,
    connections: &[&'c BigQueryConnection],
    shared_namespaces: &[String],
) -> Result<&'c BigQueryConnection, NoConnection> {
    let all = || connections.iter().copied();
    if let Some(reference) = &seeker.source.connection_ref {
        return named(seeker, reference, all());
    }
    let own = |connection: &&BigQueryConnection| namespace(connection) == seeker.namespace;
    let shared = |connection: &&BigQueryConnection| {
        shared_namespaces.iter().any(|shared| shared == namespace(connection)) && admits(connection, seeker)
    };
    let is_kept = |connection: &&BigQueryConnection| {
        seeker.kept.is_some_and(|kept| connection.metadata.uid.as_deref() == Some(kept.uid.as_str()))
    };
    if let Some(kept) = all().filter(is_kept).find(|connection| own(connection) || shared(connection)) {
        return Ok(kept);
    }
    let own: Vec<_> = all().filter(own).collect();
    if !own.is_empty() {
        return only(&own);
    }
    only(&all().filter(shared).collect::<Vec<_>>())
}

/// Whether `connection` lets key results of the seeker's namespace use it.
fn admits(connection: &BigQueryConnection, seeker: Seeker<'_>) -> bool {
    let allowed = connection.spec.allowed_namespaces.as_ref();
    allows(allowed, namespace(connection), seeker.namespace, seeker.labels)
}

/// Whether what lives in namespace `own` lets objects of the namespace `seeker`, with these labels, refer to it: its own
/// namespace always, others as `allowed` says.
pub fn allows(allowed: Option<&AllowedNamespaces>, own: &str, seeker: &str, labels: NamespaceLabels<'_>) -> bool {
    if own == seeker {
        return true;
    }
    let Some(allowed) = allowed else { return false };
    match allowed.from.unwrap_or_default() {
        NamespacesFrom::Same => false,
        NamespacesFrom::All => true,
        NamespacesFrom::Selector => match (&allowed.selector, labels) {
            (Some(selector), Some(labels)) => matches(selector, labels),
            _ => false,
        },
    }
}

/// A selector with an operator that does not exist admits nobody.
fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

fn named<'c>(
    seeker: Seeker<'_>,
    reference: &ConnectionRef,
    mut connections: impl Iterator<Item = &'c BigQueryConnection>,
) -> Result<&'c BigQueryConnection, NoConnection> {
    let wanted = reference.namespace.as_deref().unwrap_or(seeker.namespace);
    let found = connections.find(|connection| {
        namespace(connection) == wanted && connection.metadata.name.as_deref() == Some(reference.name.as_str())
    });
    match found {
        Some(connection) if admits(connection, seeker) => Ok(connection),
        _ if wanted == seeker.namespace => Err(NoConnection {
            reason: Reason::ConnectionNotFound,
            message: format!(
                "There is no BigQueryConnection {} in namespace {wanted}: create it, or correct spec.bigQuery.connectionRef.",
                reference.name
            ),
        }),
        // One text whether it exists or not: nobody learns what another namespace holds.
        _ => Err(NoConnection {
            reason: Reason::ConnectionNotShared,
            message: format!(
                "BigQueryConnection {wanted}/{} does not exist or does not admit namespace {}: ask its owner to add this namespace to its spec.allowedNamespaces.",
                reference.name, seeker.namespace
            ),
        }),
    }
}

/// The only one, or the only default one.
fn only<'c>(connections: &[&'c BigQueryConnection]) -> Result<&'c BigQueryConnection, NoConnection> {
    let mut defaults = connections.iter().filter(|connection| connection.spec.default == Some(true));
    match (connections, defaults.next(), defaults.next()) {
        ([], _, _) => Err(NoConnection {
            reason: Reason::ConnectionNotFound,
            message: Reason::ConnectionNotFound.sentence().to_owned(),
        }),
        ([connection], _, _) | (_, Some(connection), None) => Ok(connection),
        _ => {
            let mut names: Vec<String> = connections
                .iter()
                .map(|connection| format!("{}/{}", namespace(connection), connection.name_any()))
                .collect();
            names.sort();
            Err(NoConnection {
                reason: Reason::AmbiguousConnection,
                message: format!(
                    "Several connections would do ({}): name one in spec.bigQuery.connectionRef, or set spec.default on one of them.",
                    names.join(", ")
                ),
            })
        }
    }
}

fn namespace(connection: &BigQueryConnection) -> &str {
    connection.metadata.namespace.as_deref().unwrap_or_default()
}
