//! The names that the dashboard goes by. A page elsewhere may have a name of its own resolve to this address (DNS
//! rebinding); the browser would then let it read the answers. It cannot choose the Host header, which has that name.

use axum::{
    extract::Request,
    http::{StatusCode, header::HOST, uri::Authority},
    response::{IntoResponse, Response},
};

const ALWAYS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

pub enum Refusal {
    /// No Host header, or more than one, or one that is no host.
    Unnamed,
    /// Another host than ours.
    Foreign(String),
}

/// What `request` was sent to, as its Host header or its absolute address has it.
pub fn check(request: &Request, allowed: &[String]) -> Result<Authority, Refusal> {
    let mut headers = request.headers().get_all(HOST).iter();
    let header = match (headers.next(), headers.next()) {
        (Some(header), None) => Authority::try_from(header.as_bytes()).ok(),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(Refusal::Unnamed),
    };
    // An absolute address goes before the header, which then says the same or nothing.
    let authority = request.uri().authority().cloned().or(header).ok_or(Refusal::Unnamed)?;
    let host = authority.host();
    let is_bare = !authority.as_str().contains('@');
    let is_ours = |name: &str| name.eq_ignore_ascii_case(host);
    if is_bare && ALWAYS.into_iter().chain(allowed.iter().map(String::as_str)).any(is_ours) {
        Ok(authority)
    } else {
        Err(Refusal::Foreign(host.to_owned()))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Unnamed => {
                let words = "The request has no Host header, or more than one, or one that is no host.\n";
                (StatusCode::BAD_REQUEST, words).into_response()
            }
            Self::Foreign(host) => {
                let words = format!(
                    "This dashboard does not go by the name {host}. If it is meant to, start okr-operator with --dashboard-host={host} (or OKR_OPERATOR_DASHBOARD_HOST).\n"
                );
                (StatusCode::MISDIRECTED_REQUEST, words).into_response()
            }
        }
    }
}
