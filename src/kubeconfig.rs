//! What a client of the API server is made of: who it says that it is, and what is said of a kubeconfig that cannot be used,
//! without the secrets in it and those that its login program prints.

use http::{HeaderName, HeaderValue, header::USER_AGENT};
use kube::{client::AuthError, config::KubeconfigError};

/// Who asks: a program's name and version, as `name/version`. The API server writes it into its audit log, and takes the name for the field
/// manager that managedFields tell of.
pub const fn user_agent(program: &'static str) -> (HeaderName, HeaderValue) {
    (USER_AGENT, HeaderValue::from_static(program))
}

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

/// Why no client can be made of a kubeconfig that could be read.
#[derive(Debug, thiserror::Error)]
pub enum NoClient {
    // kube's own words quote what the login program (`exec`) printed, and with that tokens.
    #[error("the login program of the kubeconfig (exec) ended with {0}")]
    LoginFailed(std::process::ExitStatus),
    #[error("what the login program of the kubeconfig (exec) printed is no ExecCredential")]
    LoginUnreadable,
    #[error("no client of the API server can be made")]
    Other(#[source] kube::Error),
}

impl From<kube::Error> for NoClient {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Auth(AuthError::AuthExecRun { cmd: _, out }) => Self::LoginFailed(out.status),
            kube::Error::Auth(AuthError::AuthExecParse(_) | AuthError::ParseTokenKey(_)) => Self::LoginUnreadable,
            error => Self::Other(error),
        }
    }
}
