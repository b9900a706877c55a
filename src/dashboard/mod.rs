//! The dashboard: who may see what. Read-only.

pub mod callers;
pub mod gate;
mod hosts;
mod login;
pub mod reviews;

use std::{collections::BTreeSet, sync::Arc};

/// What a request may show.
#[derive(Clone, Debug, PartialEq)]
pub enum Visible {
    All,
    Namespaces(Arc<BTreeSet<String>>),
}
