//! BigQuery's failures as reasons: the one place where the two vocabularies meet.

use crate::{
    bigquery::{Error, ErrorKind, IMPERSONATION_DENIED},
    domain::{
        Reason,
        connection::{ConnectionReason, Verdict},
        status::Outcome,
    },
};

/// The outcome of a query that failed. None where it was cancelled by us: then there is no outcome.
pub fn outcome(error: &Error) -> Option<Outcome> {
    let reason = key_result_reason(error.kind)?;
    let message = with_detail(reason.sentence(), error);
    Some(Outcome::Failed { reason, message })
}

/// After our words those of whoever found the fault: BigQuery, the network, or our own look at the answer.
fn with_detail(sentence: &str, error: &Error) -> String {
    match &error.detail {
        Some(detail) => format!("{sentence} Details: {detail}"),
        None => sentence.to_owned(),
    }
}

fn key_result_reason(kind: ErrorKind) -> Option<Reason> {
    Some(match kind {
        ErrorKind::QueryInvalid => Reason::QueryInvalid,
        ErrorKind::NotSelect => Reason::QueryNotSelect,
        ErrorKind::TooManyColumns => Reason::TooManyColumns,
        ErrorKind::NotNumeric => Reason::NotNumeric,
        ErrorKind::OverByteLimit => Reason::OverByteLimit,
        ErrorKind::TableNotFound | ErrorKind::ProjectNotFound => Reason::TableNotFound,
        ErrorKind::PermissionDenied | ErrorKind::ApiDisabled => Reason::PermissionDenied,
        ErrorKind::Unauthorized | ErrorKind::CredentialsRefused => Reason::AuthenticationFailed,
        ErrorKind::RateLimited => Reason::RateLimited,
        ErrorKind::QuotaExceeded => Reason::QuotaExceeded,
        ErrorKind::Timeout => Reason::Timeout,
        ErrorKind::Unavailable => Reason::Unavailable,
        ErrorKind::Undecodable => Reason::UndecodableResponse,
        ErrorKind::NoRows => Reason::NoRows,
        ErrorKind::TooManyRows => Reason::TooManyRows,
        ErrorKind::NullValue => Reason::NullValue,
        ErrorKind::NotFinite => Reason::NotFinite,
        ErrorKind::Cancelled => return None,
    })
}

/// Whether the fault may lie with the connection rather than with the query.
pub fn doubts_connection(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Unauthorized
        | ErrorKind::CredentialsRefused
        | ErrorKind::PermissionDenied
        | ErrorKind::ApiDisabled
        | ErrorKind::ProjectNotFound => true,
        ErrorKind::QueryInvalid
        | ErrorKind::NotSelect
        | ErrorKind::TooManyColumns
        | ErrorKind::NotNumeric
        | ErrorKind::OverByteLimit
        | ErrorKind::TableNotFound
        | ErrorKind::RateLimited
        | ErrorKind::QuotaExceeded
        | ErrorKind::Timeout
        | ErrorKind::Unavailable
        | ErrorKind::Undecodable
        | ErrorKind::NoRows
        | ErrorKind::TooManyRows
        | ErrorKind::NullValue
        | ErrorKind::NotFinite
        | ErrorKind::Cancelled => false,
    }
}

/// What a failed check says of a connection. `principal` is the acting service account.
pub fn verdict(error: &Error, billing_project: &str, principal: Option<&str>) -> Verdict {
    let who = principal.unwrap_or("the connection's identity");
    let (reason, message) = match error.kind {
        ErrorKind::PermissionDenied => (
            ConnectionReason::PermissionDenied,
            format!(
                "{who} may not run queries in project {billing_project}: grant roles/bigquery.jobUser with: {}.",
                grant(billing_project, principal)
            ),
        ),
        ErrorKind::ProjectNotFound | ErrorKind::TableNotFound => (
            ConnectionReason::ProjectNotFound,
            format!(
                "project {billing_project} does not exist or is not visible to {who}: correct spec.projectId or spec.billingProjectId."
            ),
        ),
        ErrorKind::ApiDisabled => (
            ConnectionReason::ApiDisabled,
            format!(
                "the BigQuery API, which {who} asks, is not enabled in project {billing_project}: enable it with: gcloud services enable bigquery.googleapis.com --project={billing_project}."
            ),
        ),
        ErrorKind::Unauthorized => (
            ConnectionReason::CredentialsRefused,
            format!(
                "BigQuery does not accept the credentials of {who}: the key or the account may be disabled; make a new key and put it into the Secret."
            ),
        ),
        ErrorKind::CredentialsRefused if error.detail.as_deref() == Some(IMPERSONATION_DENIED) => (
            ConnectionReason::CredentialsRefused,
            format!(
                "the connection's credentials may not act as {who}: grant their account roles/iam.serviceAccountTokenCreator with: gcloud iam service-accounts add-iam-policy-binding {who} --role=roles/iam.serviceAccountTokenCreator --member=serviceAccount:ITS_ACCOUNT."
            ),
        ),
        ErrorKind::CredentialsRefused => (
            ConnectionReason::CredentialsRefused,
            format!(
                "Google refused the key of {who}: the key was deleted, or the account disabled; make a new key and put it into the Secret."
            ),
        ),
        // What a `SELECT 1` cannot cause is a fault of the server's answer.
        ErrorKind::QueryInvalid
        | ErrorKind::NotSelect
        | ErrorKind::TooManyColumns
        | ErrorKind::NotNumeric
        | ErrorKind::OverByteLimit
        | ErrorKind::RateLimited
        | ErrorKind::QuotaExceeded
        | ErrorKind::Timeout
        | ErrorKind::Unavailable
        | ErrorKind::Undecodable
        | ErrorKind::NoRows
        | ErrorKind::TooManyRows
        | ErrorKind::NullValue
        | ErrorKind::NotFinite
        | ErrorKind::Cancelled => (
            ConnectionReason::Unavailable,
            format!("BigQuery could not be asked ({}); the check is repeated.", error.kind),
        ),
    };
    Verdict { reason, message: capitalised(&message), detail: error.detail.clone() }
}

fn grant(project: &str, principal: Option<&str>) -> String {
    format!(
        "gcloud projects add-iam-policy-binding {project} --member=serviceAccount:{} --role=roles/bigquery.jobUser",
        principal.unwrap_or("SERVICE_ACCOUNT")
    )
}

fn capitalised(text: &str) -> String {
    // An e-mail address keeps its case.
    match text.split_once(' ') {
        Some((first, _)) if first.contains('@') => text.to_owned(),
        _ => text.chars().take(1).flat_map(char::to_uppercase).chain(text.chars().skip(1)).collect(),
    }
}
