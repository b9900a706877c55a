//! The reference from a key result or objective to the objective it counts for: SPEC 6's rules.

use crate::api::{AllowedNamespaces, ObjectiveRef};

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

/// What is wrong with a reference to an objective of the object's own namespace, or of another, that `admits` it or not.
/// One that does not exist admits nobody.
pub fn problem(is_own: bool, admits: bool) -> Option<ObjectiveProblem> {
    match (admits, is_own) {
        (true, _) => None,
        (false, true) => Some(ObjectiveProblem::ObjectiveNotFound),
        (false, false) => Some(ObjectiveProblem::ObjectiveNotShared),
    }
}

/// Whether key results and objectives of `namespace`, with these labels, may refer to an objective in namespace `own` that
/// admits those of `allowed`.
pub fn admits(own: &str, allowed: Option<&AllowedNamespaces>, namespace: &str, labels: NamespaceLabels<'_>) -> bool {
    choice::allows(allowed, own, namespace, labels)
}
