//! What is said of a kubeconfig that cannot be used, without the secrets in it and those that its login program prints.

use kube::{client::AuthError, config::KubeconfigError};

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

/// Why the login program of a kubeconfig (`exec`) gave no credential. kube's own words quote what it printed, and with that
/// tokens.
#[derive(Debug, thiserror::Error)]
pub enum NoLogin {
    #[error("the login program of the kubeconfig (exec) ended with {0}")]
    Failed(std::process::ExitStatus),
    #[error("what the login program of the kubeconfig (exec) printed is no ExecCredential")]
    Unreadable,
}

impl NoLogin {
    /// None of an error that quotes nothing.
    pub fn of(error: &kube::Error) -> Option<Self> {
        let kube::Error::Auth(error) = error else { return None };
        match error {
            AuthError::AuthExecRun { cmd: _, out } => Some(Self::Failed(out.status)),
            AuthError::AuthExecParse(_) | AuthError::ParseTokenKey(_) => Some(Self::Unreadable),
            _ => None,
        }
    }
}
