//! The reference from a key result or objective to the objective it counts for: SPEC 6's rules.

use crate::api::{ObjectiveRef, OkrObjective};

use super::choice::{self, NamespaceLabels};

/// Why a reference to an objective leads nowhere. It is said in the explanation of the object that refers; its Ready is
/// untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectiveProblem {
    /// There is no such objective in the object's own namespace.
    ObjectiveNotFound,
    /// One of another namespace does not exist or does not admit this one: nobody learns which.
    ObjectiveNotShared,
}

impl ObjectiveProblem {
    pub const ALL: [ObjectiveProblem; 2] = [ObjectiveProblem::ObjectiveNotFound, ObjectiveProblem::ObjectiveNotShared];

    /// The one name of it.
    pub fn name(self) -> &'static str {
        match self {
            ObjectiveProblem::ObjectiveNotFound => "ObjectiveNotFound",
            ObjectiveProblem::ObjectiveNotShared => "ObjectiveNotShared",
        }
    }

    /// As a part of the explanation of an object in `namespace` that refers to `reference`.
    pub fn text(self, reference: &ObjectiveRef, namespace: &str) -> String {
        let objective = format!("{}/{}", reference.namespace.as_deref().unwrap_or(namespace), reference.name);
        match self {
            ObjectiveProblem::ObjectiveNotFound => {
                format!("it counts for no objective, because there is no OkrObjective {objective} (ObjectiveNotFound)")
            }
            ObjectiveProblem::ObjectiveNotShared => format!(
                "it counts for no objective, because OkrObjective {objective} does not exist or does not admit namespace {namespace} (ObjectiveNotShared)"
            ),
        }
    }
}

/// What is wrong with `reference`, made in `namespace` with these labels, where `found` is the objective of that name.
pub fn problem(
    reference: &ObjectiveRef,
    namespace: &str,
    labels: NamespaceLabels<'_>,
    found: Option<&OkrObjective>,
) -> Option<ObjectiveProblem> {
    let is_own = reference.namespace.as_deref().is_none_or(|wanted| wanted == namespace);
    match found {
        Some(objective) if admits(objective, namespace, labels) => None,
        _ if is_own => Some(ObjectiveProblem::ObjectiveNotFound),
        _ => Some(ObjectiveProblem::ObjectiveNotShared),
    }
}

/// Whether key results and objectives of `namespace`, with these labels, may refer to `objective`.
pub fn admits(objective: &OkrObjective, namespace: &str, labels: NamespaceLabels<'_>) -> bool {
    let own = objective.metadata.namespace.as_deref().unwrap_or_default();
    choice::allows(objective.spec.allowed_namespaces.as_ref(), own, namespace, labels)
}
