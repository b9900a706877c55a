//! What can go wrong, as a closed set, and Google's errors mapped onto it.
//!
//! Source: <https://cloud.google.com/bigquery/docs/error-messages> ("Error table") and the `retry` and
//! `job` modules of Google's Python client. A reason counts before the HTTP status, as the same failure
//! comes with several of them: `bytesBilledLimitExceeded`, for one, as 400 or as 500.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use super::answer::Job;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
// The detail is left out: whatever logs an error must not log warehouse rows with it.
#[error("{kind}")]
pub struct Error {
    pub kind: ErrorKind,
    /// BigQuery's own words, or what was found instead of a number. May hold what the warehouse holds:
    /// it is for those alone who may see the query's answer. No control characters, at most 300 characters.
    pub detail: Option<String>,
    /// What the server asked for; at most an hour.
    pub retry_after: Option<Duration>,
    /// The job whose answer was not a number: it ran to its end, and is paid for.
    pub job: Option<Box<Job>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ErrorKind {
    #[error("BigQuery refused the query")]
    QueryInvalid,
    #[error("the query is not one SELECT statement")]
    NotSelect,
    #[error("the query has more than one column")]
    TooManyColumns,
    #[error("the query's column is not a number")]
    NotNumeric,
    #[error("the query reads more bytes than its limit")]
    OverByteLimit,
    #[error("a table, view, dataset or routine was not found")]
    TableNotFound,
    #[error("the project was not found")]
    ProjectNotFound,
    #[error("the BigQuery API is not enabled in the project")]
    ApiDisabled,
    #[error("BigQuery denied access")]
    PermissionDenied,
    /// Also with a token asked for anew.
    #[error("BigQuery does not accept the credentials")]
    Unauthorized,
    #[error("the token endpoint refused the credentials")]
    CredentialsRefused,
    #[error("BigQuery asked for fewer requests")]
    RateLimited,
    #[error("a quota of the project is used up")]
    QuotaExceeded,
    #[error("the query did not finish in time")]
    Timeout,
    #[error("BigQuery or the token endpoint did not answer, or failed")]
    Unavailable,
    #[error("the answer could not be read")]
    Undecodable,
    #[error("the query returned no row")]
    NoRows,
    #[error("the query returned more than one row")]
    TooManyRows,
    #[error("the query returned NULL")]
    NullValue,
    #[error("the query returned NaN or an infinity")]
    NotFinite,
    #[error("the query was cancelled by its caller")]
    Cancelled,
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, detail: None, retry_after: None, job: None }
    }
}

/// One error as BigQuery lists them, in an HTTP answer and in a finished job.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorProto {
    reason: String,
    message: String,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: GoogleError,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GoogleError {
    message: String,
    errors: Vec<ErrorProto>,
    /// google.rpc messages of several types: only ErrorInfo has a `reason`.
    details: Vec<serde_json::Value>,
}

impl Error {
    pub(super) fn new(kind: ErrorKind, detail: &str) -> Self {
        Self { detail: Some(presentable(detail)).filter(|detail| !detail.is_empty()), ..kind.into() }
    }

    /// An answer with an error status. Without Google's error in it, it is from something in between.
    pub(super) fn from_answer(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let error = match serde_json::from_slice::<ErrorAnswer>(body) {
            Ok(ErrorAnswer { error }) => Self::from_google(status, &error),
            Err(_) => Self::new(
                without_google_error(status),
                &format!("HTTP status {} without an error of BigQuery's", status.as_u16()),
            ),
        };
        Self { retry_after, ..error }
    }

    fn from_google(status: StatusCode, error: &GoogleError) -> Self {
        let first = error.errors.first();
        let message = Some(error.message.as_str())
            .filter(|message| !message.is_empty())
            .or(first.map(|first| first.message.as_str()))
            .unwrap_or_default();
        let details = error.details.iter().filter_map(|detail| detail.get("reason")?.as_str());
        let kind = if status == StatusCode::UNAUTHORIZED {
            ErrorKind::Unauthorized
        } else {
            details
                .chain(first.map(|first| first.reason.as_str()))
                .find_map(|reason| by_reason(reason, message))
                .unwrap_or_else(|| by_status(status))
        };
        Self::new(kind, message)
    }

    /// How a finished job ended. A reason not in the table is taken for the query's fault: what passes is listed there.
    pub(super) fn from_job(error: &ErrorProto) -> Self {
        let kind = by_reason(&error.reason, &error.message).unwrap_or(ErrorKind::QueryInvalid);
        Self::new(kind, &error.message)
    }

    pub(super) fn undecodable(detail: &str) -> Self {
        Self::new(ErrorKind::Undecodable, detail)
    }
}

/// No answer at all: only the last cause is of use to a reader ("connection refused", "operation timed out").
impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::new(ErrorKind::Unavailable, &cause.to_string())
    }
}

fn by_reason(reason: &str, message: &str) -> Option<ErrorKind> {
    Some(match reason {
        "invalid" => invalid(message),
        "invalidQuery"
        | "badRequest"
        | "parseError"
        | "required"
        | "invalidParameter"
        | "attributeError"
        | "resourcesExceeded"
        | "responseTooLarge"
        | "billingTierLimitExceeded"
        | "notImplemented"
        | "duplicate" => ErrorKind::QueryInvalid,
        "bytesBilledLimitExceeded" => ErrorKind::OverByteLimit,
        "notFound" => not_found(message),
        "CONSUMER_INVALID" => ErrorKind::ProjectNotFound,
        "accessNotConfigured" | "SERVICE_DISABLED" => ErrorKind::ApiDisabled,
        // Without billing there is nobody to ask for a query but whoever runs the project, as without a role.
        "accessDenied" | "forbidden" | "insufficientPermissions" | "policyViolation" | "billingNotEnabled" => {
            ErrorKind::PermissionDenied
        }
        // `blocked` is how BigQuery sheds an operation for a while.
        "rateLimitExceeded" | "jobRateLimitExceeded" | "userRateLimitExceeded" | "blocked" => ErrorKind::RateLimited,
        "quotaExceeded" | "dailyLimitExceeded" => ErrorKind::QuotaExceeded,
        "timeout" => ErrorKind::Timeout,
        // `stopped`: someone else cancelled the job. `tableUnavailable`: the table's keeper is down.
        "backendError" | "internalError" | "jobBackendError" | "jobInternalError" | "badGateway" | "stopped"
        | "tableUnavailable" | "resourceInUse" => ErrorKind::Unavailable,
        _ => return None,
    })
}

/// `invalid` also tells of projects, in words only.
fn invalid(message: &str) -> ErrorKind {
    if message.starts_with("Invalid project ID") || message.starts_with("ProjectId must be") {
        ErrorKind::ProjectNotFound
    } else if message.contains("has not enabled BigQuery") {
        ErrorKind::ApiDisabled
    } else {
        ErrorKind::QueryInvalid
    }
}

/// `notFound` says in words only what was not found: "Not found: Table sales:crm.leads was not found in ...".
fn not_found(message: &str) -> ErrorKind {
    let subject = message.strip_prefix("Not found: ").unwrap_or_default();
    if subject.starts_with("Project ") {
        ErrorKind::ProjectNotFound
    } else if subject.starts_with("Job ") {
        // Ours, which has just been started there: nothing a person could put right.
        ErrorKind::Unavailable
    } else {
        ErrorKind::TableNotFound
    }
}

/// Google's error with a reason not in the table.
fn by_status(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        403 => ErrorKind::PermissionDenied,
        404 => ErrorKind::TableNotFound,
        429 => ErrorKind::RateLimited,
        408 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::QueryInvalid,
    }
}

/// A proxy's page, a redirect, another server: nothing that speaks of the query or of rights.
fn without_google_error(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 => ErrorKind::Unauthorized,
        429 => ErrorKind::RateLimited,
        408 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Undecodable,
    }
}

/// Fit for one line of a condition: no control characters, none that reorder or hide text, at most 300 characters.
fn presentable(text: &str) -> String {
    let hidden =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let visible: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(|c| !hidden(*c)).collect();
    let words: Vec<&str> = visible.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use ErrorKind::*;

    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, want: ErrorKind) {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(Error::from_answer(status, None, body.as_bytes()).kind, want, "{body}");
    }

    fn google(reason: &str, message: &str) -> String {
        serde_json::json!({"error": {"code": 0, "message": message, "errors": [{"reason": reason, "message": message}]}}).to_string()
    }

    #[test]
    fn a_known_reason_counts_whatever_the_status() {
        for status in [400, 403, 404, 500, 503] {
            let check = |reason, want| check(status, &google(reason, "m"), want);
            check("invalidQuery", QueryInvalid);
            check("invalid", QueryInvalid);
            check("resourcesExceeded", QueryInvalid);
            check("responseTooLarge", QueryInvalid);
            check("notImplemented", QueryInvalid);
            check("bytesBilledLimitExceeded", OverByteLimit);
            check("accessDenied", PermissionDenied);
            check("billingNotEnabled", PermissionDenied);
            check("accessNotConfigured", ApiDisabled);
            check("rateLimitExceeded", RateLimited);
            check("jobRateLimitExceeded", RateLimited);
            check("quotaExceeded", QuotaExceeded);
            check("backendError", Unavailable);
            check("jobBackendError", Unavailable);
            check("stopped", Unavailable);
            check("timeout", Timeout);
        }
    }

    #[test]
    fn what_was_not_found_is_in_the_message() {
        check(404, &google("notFound", "Not found: Table demo:d.t was not found in location US"), TableNotFound);
        check(404, &google("notFound", "Not found: Dataset demo:d was not found in location US"), TableNotFound);
        check(404, &google("notFound", "Not found: Routine demo:d.r"), TableNotFound);
        check(404, &google("notFound", "Not found: Project nowhere"), ProjectNotFound);
        check(404, &google("notFound", "Not found: Table Project :d.t"), TableNotFound);
        check(404, &google("notFound", "Not found: Job demo:US.abc"), Unavailable);
        check(404, &google("notFound", ""), TableNotFound);
    }

    #[test]
    fn a_project_can_be_invalid_too() {
        check(
            400,
            &google("invalid", "Invalid project ID 'A'. Project IDs must contain 6-63 letters"),
            ProjectNotFound,
        );
        check(400, &google("invalid", "ProjectId must be non-empty"), ProjectNotFound);
        check(400, &google("invalid", "The project sales has not enabled BigQuery."), ApiDisabled);
    }

    #[test]
    fn a_disabled_api_is_told_by_the_details() {
        let body = |detail: &str| {
            serde_json::json!({"error": {"code": 403, "message": "BigQuery API has not been used in project 1 before or it is disabled.",
                "errors": [{"reason": "forbidden"}], "status": "PERMISSION_DENIED",
                "details": [{"@type": "type.googleapis.com/google.rpc.Help", "reason": 7}, {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": detail}]}})
            .to_string()
        };
        check(403, &body("SERVICE_DISABLED"), ApiDisabled);
        check(403, &body("CONSUMER_INVALID"), ProjectNotFound);
        check(403, &body("SOMETHING_NEW"), PermissionDenied);
    }

    #[test]
    fn an_unknown_reason_is_judged_by_the_status() {
        check(400, &google("new", "m"), QueryInvalid);
        check(403, &google("new", "m"), PermissionDenied);
        check(404, &google("new", "m"), TableNotFound);
        check(429, &google("new", "m"), RateLimited);
        check(500, &google("new", "m"), Unavailable);
        check(400, r#"{"error": {}}"#, QueryInvalid);
    }

    #[test]
    fn a_401_is_about_the_token_whatever_its_reason() {
        check(401, &google("required", "Login Required."), Unauthorized);
        check(401, "<html>", Unauthorized);
    }

    #[test]
    fn what_is_not_googles_error_accuses_nobody() {
        check(502, "<html>", Unavailable);
        check(504, "", Unavailable);
        check(429, "slow down", RateLimited);
        check(403, "<html>", Undecodable);
        check(404, "<html>", Undecodable);
        check(302, "", Undecodable);
        check(400, r#"{"error": "invalid_grant"}"#, Undecodable);
        check(400, "[]", Undecodable);
    }

    #[test]
    fn a_finished_jobs_error_is_read_like_an_answers() {
        let kind =
            |reason: &str| Error::from_job(&ErrorProto { reason: reason.to_owned(), message: String::new() }).kind;
        assert_eq!(kind("stopped"), Unavailable);
        assert_eq!(kind("jobInternalError"), Unavailable);
        assert_eq!(kind("bytesBilledLimitExceeded"), OverByteLimit);
        assert_eq!(kind("new"), QueryInvalid);
    }

    #[test]
    fn a_detail_is_one_short_line() {
        let detail = |message: &str| Error::new(QueryInvalid, message).detail;
        assert_eq!(detail("a\n\tb\u{0}\u{1b}[31mc\u{202e}d"), Some("a b [31mcd".to_owned()));
        assert_eq!(detail(&"ä".repeat(400)), Some("ä".repeat(300)));
        assert_eq!(detail(" \n"), None);
    }

    #[test]
    fn an_error_in_words_leaves_out_what_the_warehouse_said() {
        assert_eq!(Error::new(QueryInvalid, "Bad int64 value: secret").to_string(), "BigQuery refused the query");
    }
}
