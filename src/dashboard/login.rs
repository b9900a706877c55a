//! A token becomes a cookie, and the cookie goes again. Plain forms, which work without a script.

use std::{sync::Arc, time::Instant};

use askama::Template;
use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, REFERRER_POLICY,
            SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
        },
        uri::{Authority, Uri},
    },
    response::{IntoResponse, Response},
};
use url::{Url, form_urlencoded};

use super::{
    gate::{Access, Gate},
    reviews::{ReviewError, Token},
};

pub const PATH: &str = "/login";
pub const OUT: &str = "/logout";
pub const STYLE: &str = "/login.css";

const COOKIE_NAME: &str = "okr-operator-token";

/// A working day. The token itself may end sooner.
const COOKIE_SECONDS: u32 = 8 * 60 * 60;

/// Browsers drop a cookie of more than 4096 bytes, with its name and attributes, without a word.
const COOKIE_TOKEN_MAX_BYTES: usize = 3900;

/// Several times the longest token that fits, and a long address.
const FORM_MAX_BYTES: usize = 32 * 1024;

const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// No script, no frame, nothing from elsewhere. Without its referrer policy a browser could send `Origin: null`.
const HEADERS: [(axum::http::HeaderName, &str); 5] = [
    (CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
    (CACHE_CONTROL, "no-store"),
];

#[derive(Template)]
#[template(path = "login.html")]
struct Page<'a> {
    title: &'a str,
    notice: Option<&'a str>,
    body: Body<'a>,
    /// The way up to the dashboard's first page: a proxy may serve it below a path of its own.
    root: String,
}

enum Body<'a> {
    Form { next: &'a str },
    Nothing { name: &'a str, by_cookie: bool },
    Unavailable,
}

fn answer(status: StatusCode, at: &Uri, title: &str, notice: Option<&str>, body: Body<'_>) -> Response {
    // No page of ours is as deep as that.
    let depth = at.path().matches('/').count().saturating_sub(1).min(32);
    let root = "../".repeat(depth);
    match (Page { title, notice, body, root }).render() {
        Ok(text) => (status, HEADERS, text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The form, in the place of what is `at` this address, on the way to `next`.
pub fn page(status: StatusCode, at: &Uri, next: &str, notice: Option<&str>) -> Response {
    answer(status, at, "Log in", notice, Body::Form { next })
}

/// For somebody who may list nothing.
pub fn nothing(at: &Uri, name: &str, by_cookie: bool) -> Response {
    answer(StatusCode::FORBIDDEN, at, "Nothing you may see", None, Body::Nothing { name, by_cookie })
}

pub fn unavailable(at: &Uri, error: &ReviewError) -> Response {
    let notice = format!("Your token could not be reviewed: {error}.");
    answer(StatusCode::SERVICE_UNAVAILABLE, at, "Not available now", Some(&notice), Body::Unavailable)
}

/// Has the browser ask for the same address once more, on this page's behalf.
pub fn again() -> Response {
    let page =
        "<!doctype html><html lang=\"en\"><title>OKR dashboard</title><meta http-equiv=\"refresh\" content=\"0\">";
    (StatusCode::UNAUTHORIZED, HEADERS, page).into_response()
}

pub async fn show(at: Uri) -> Response {
    page(StatusCode::OK, &at, "/", None)
}

pub async fn style() -> Response {
    let headers = [(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    (headers, include_str!("login.css")).into_response()
}

pub async fn enter(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    if !is_same_site(&request) {
        return sent_elsewhere();
    }
    let Access::Token(callers) = &gate.access else { return StatusCode::NOT_FOUND.into_response() };
    let (is_https, at) = (is_https(request.headers()), request.uri().clone());
    let body = axum::body::to_bytes(request.into_body(), FORM_MAX_BYTES);
    // Who sends a form sends it whole.
    let Ok(body) = tokio::time::timeout(FORM_TIMEOUT, body).await else {
        return StatusCode::REQUEST_TIMEOUT.into_response();
    };
    let Ok(body) = body else {
        return page(StatusCode::PAYLOAD_TOO_LARGE, &at, "/", Some("That is too long for a token."));
    };
    let next = local(&field(&body, "next"));
    let token = field(&body, "token");
    let Some(token) = Token::parse(token.trim()) else {
        return page(
            StatusCode::BAD_REQUEST,
            &at,
            &next,
            Some("That is no token: paste all that kubectl prints, and nothing else."),
        );
    };
    if token.reveal().len() > COOKIE_TOKEN_MAX_BYTES {
        let notice = "This token is too long for a cookie: use one of a ServiceAccount, or a proxy that sets the Authorization header.";
        return page(StatusCode::BAD_REQUEST, &at, &next, Some(notice));
    }
    match callers.caller(&token, Instant::now()).await {
        Ok(Some(_)) => see_other(&next, &cookie_to_set(token.reveal(), COOKIE_SECONDS, is_https)),
        Ok(None) => {
            let notice = "The API server does not accept this token: it has expired, or is of another cluster.";
            page(StatusCode::UNAUTHORIZED, &at, &next, Some(notice))
        }
        Err(error) => super::gate::unavailable(&at, &error),
    }
}

pub async fn leave(request: Request) -> Response {
    if !is_same_site(&request) {
        return sent_elsewhere();
    }
    see_other(PATH, &cookie_to_set("", 0, is_https(request.headers())))
}

/// A form of another site must not log anybody in or out. Browsers say where it was; what is no browser has no cookie of
/// somebody else.
fn is_same_site(request: &Request) -> bool {
    let headers = request.headers();
    match (headers.get("sec-fetch-site"), headers.get(ORIGIN)) {
        (Some(site), _) => site == "same-origin" || site == "none",
        (None, Some(origin)) => {
            let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            let authority = request.extensions().get::<Authority>();
            origin
                .zip(authority)
                .is_some_and(|((_, origin), authority)| authority.as_str().eq_ignore_ascii_case(origin))
        }
        (None, None) => true,
    }
}

fn sent_elsewhere() -> Response {
    let words = "This form was sent by another site: open the dashboard itself and log in or out there. A proxy in between must pass the Host header on.\n";
    (StatusCode::FORBIDDEN, words).into_response()
}

/// What a proxy that ends TLS says. Without https a browser would drop a cookie marked Secure.
fn is_https(headers: &HeaderMap) -> bool {
    let first = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok()?.split(',').next());
    first.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

fn cookie_to_set(value: &str, seconds: u32, is_https: bool) -> String {
    let secure = if is_https { "; Secure" } else { "" };
    format!("{COOKIE_NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// The token of the cookie. Other cookies of the host may be anything.
pub fn cookie(headers: &HeaderMap) -> Option<Token> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs
        .find_map(|(name, value)| (name.trim() == COOKIE_NAME).then(|| Token::parse(value.trim().trim_matches('"')))?)
}

fn field(form: &Bytes, name: &str) -> String {
    let mut fields = form_urlencoded::parse(form);
    fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// `next` as a path of this very site, as a browser reads it; else the first page.
fn local(next: &str) -> String {
    let here = Url::parse("http://here.invalid").expect("a fixed address");
    let there = Url::options().base_url(Some(&here)).parse(next).ok().filter(|there| {
        next.starts_with('/') && there.origin() == here.origin() && ![PATH, OUT].contains(&there.path())
    });
    let path = there.map(|there| there[url::Position::BeforePath..url::Position::AfterQuery].to_owned());
    // "/.//elsewhere" is on this site, but what is left of it is not.
    path.filter(|path| !path.starts_with("//")).unwrap_or_else(|| "/".to_owned())
}

/// To `place`, a path of the dashboard, as seen from the forms.
fn see_other(place: &str, cookie: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in [(LOCATION, format!(".{place}").as_str()), (SET_COOKIE, cookie)] {
        match HeaderValue::try_from(value) {
            Ok(value) => drop(headers.insert(name, value)),
            // Neither can hold what a header may not: an address is escaped, a token is of few characters.
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
    response
}
