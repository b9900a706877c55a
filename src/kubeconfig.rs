//! What is said of a kubeconfig that no parser understands, without what stands in it.

use kube::config::KubeconfigError;

/// Where it is broken. The parser's own words quote the lines around, and with them tokens.
#[derive(Debug, thiserror::Error)]
#[error("the kubeconfig is not the YAML of one, see its {0}")]
pub struct NotYaml(String);

impl NotYaml {
    /// None of an error that quotes nothing.
    pub fn of(error: &KubeconfigError) -> Option<Self> {
        let KubeconfigError::Parse(error) = error else { return None };
        Some(Self(error.location().map_or_else(
            || "beginning".to_owned(),
            |location| format!("line {}, column {}", location.line(), location.column()),
        )))
    }
}
