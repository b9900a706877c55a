//! Which objects somebody may see.

use std::{collections::BTreeSet, sync::Arc};

/// The namespaces whose objects somebody may see.
#[derive(Clone, Debug, PartialEq)]
pub enum Visible {
    All,
    Namespaces(Arc<BTreeSet<String>>),
}

impl Visible {
    /// Whether objects of `namespace` may be seen.
    pub fn shows(&self, namespace: &str) -> bool {
        match self {
            Visible::All => true,
            Visible::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }
}
