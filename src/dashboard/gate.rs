//! Who gets in: a layer around the dashboard's routes.
//!
//! | step | where |
//! |---|---|
//! | the Host header is one of ours | [`hosts`] |
//! | the token: of the Authorization header, else of the cookie | `token` here |
//! | whose it is, and what that user may list | [`callers`], which remembers what [`reviews`] asked |
//! | the form that makes a token a cookie, and the way out | [`login`] |
//!
//! The routes behind find [`Visible`] in the request's extensions, and [`SignedIn`] where there is something to log out
//! of; they never see a token. Nothing is shown for longer than twice 30 s after a right has ended: an answer of the API
//! server is kept for 30 s, and a stream of events is ended after 30 s, upon which the browser asks anew.
//!
//! In front of it may be a proxy: one that ends TLS, says so in X-Forwarded-Proto and passes the Host header on, below a
//! path of its own if it strips that. The dashboard itself speaks plain HTTP.
//!
//! A cookie knows no ports: that of `localhost` is sent to every server on that machine. Where that matters, a proxy that
//! sets the Authorization header is the better way.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{
            ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::StreamExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Visible,
    callers::{self, Callers},
    hosts, login,
    reviews::{ReviewError, Token},
};

/// Under this path are badges, and nothing else.
pub const BADGES: &str = "/badges/";

/// Under this path is JSON, for programs.
const API: &str = "/api/";

/// Whom the dashboard answers.
pub enum Access {
    /// Whoever reaches it sees everything.
    Everyone,
    Token(Callers),
}

pub struct Gate {
    /// Host names beside those of this machine.
    pub hosts: Vec<String>,
    /// Badges need no token.
    pub public_badges: bool,
    /// Fired once all that exists is known. Before, nobody can be told what they may see of it.
    pub listed: CancellationToken,
    pub access: Access,
}

/// In the extensions of a request that came with the cookie: whose it is.
#[derive(Clone, Debug)]
pub struct SignedIn(pub String);

impl Gate {
    /// `router`, for those who may see it.
    pub fn guard(self, router: Router) -> Router {
        let gate = Arc::new(self);
        let router = match &gate.access {
            Access::Everyone => router,
            Access::Token(_) => {
                let forms = Router::new()
                    .route(login::PATH, get(login::show).post(login::enter))
                    .route(login::OUT, post(login::leave))
                    .route(login::STYLE, get(login::style))
                    .with_state(Arc::clone(&gate));
                router.merge(forms)
            }
        };
        router.layer(middleware::from_fn_with_state(gate, pass))
    }
}

async fn pass(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let authority = match hosts::check(&request, &gate.hosts) {
        Ok(authority) => authority,
        Err(refusal) => return plain(refusal.into_response()),
    };
    let callers = match &gate.access {
        Access::Everyone => return next.run(admit(request, Visible::All)).await,
        Access::Token(callers) => callers,
    };
    if !gate.listed.is_cancelled() {
        let text = "The operator has just started and still reads what exists: try again in a moment.\n";
        return private((StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], text).into_response());
    }
    let path = request.uri().path();
    if [login::PATH, login::OUT, login::STYLE].contains(&path) {
        request.extensions_mut().insert(authority);
        return next.run(request).await;
    }
    if gate.public_badges && path.starts_with(BADGES) {
        return next.run(admit(request, Visible::All)).await;
    }
    let Some((token, source)) = token(request.headers()) else { return private(refuse(&request, false)) };
    let caller = match callers.caller(&token, Instant::now()).await {
        Ok(Some(caller)) => caller,
        Ok(None) => return private(refuse(&request, true)),
        Err(error) => return private(failed(&request, &error)),
    };
    let by_cookie = matches!(source, Source::Cookie);
    if matches!(&caller.visible, Visible::Namespaces(namespaces) if namespaces.is_empty()) {
        return private(nothing(&request, &caller.name, by_cookie));
    }
    if by_cookie {
        request.extensions_mut().insert(SignedIn(caller.name.clone()));
    }
    private(ended_in_time(next.run(admit(request, caller.visible.clone())).await))
}

/// The routes behind get no token, only what it opens.
fn admit(mut request: Request, visible: Visible) -> Request {
    request.extensions_mut().insert(visible);
    request.headers_mut().remove(AUTHORIZATION);
    request.headers_mut().remove(COOKIE);
    request
}

enum Source {
    Header,
    Cookie,
}

/// A proxy's header goes before the cookie. One of another scheme is the proxy's own business.
fn token(headers: &HeaderMap) -> Option<(Token, Source)> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match header {
        Some(text) => Some((Token::parse(text)?, Source::Header)),
        None => Some((login::cookie(headers)?, Source::Cookie)),
    }
}

/// No token, or one that is not accepted.
fn refuse(request: &Request, had_token: bool) -> Response {
    if !wants_page(request) {
        let words =
            if had_token { "the API server does not accept this token" } else { "a Kubernetes token is needed" };
        return challenge(brief(request, StatusCode::UNAUTHORIZED, words));
    }
    if !had_token && came_from_elsewhere(request.headers()) {
        return login::again();
    }
    let notice = had_token.then_some("The API server no longer accepts your token: it has expired, or was revoked.");
    let next = request.uri().path_and_query().map_or("/", |next| next.as_str());
    challenge(login::page(StatusCode::UNAUTHORIZED, request.uri(), next, notice))
}

/// Asked for by RFC 9110 with every 401.
fn challenge(mut response: Response) -> Response {
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// A link on another site: the browser holds a strict cookie back, and would show the login page to somebody who has
/// logged in. What this very page asks for comes with the cookie.
fn came_from_elsewhere(headers: &HeaderMap) -> bool {
    let says = |name: &'static str, value: &str| headers.get(name).is_some_and(|header| header == value);
    says("sec-fetch-mode", "navigate")
        && says("sec-fetch-dest", "document")
        && (says("sec-fetch-site", "cross-site") || says("sec-fetch-site", "same-site"))
}

/// Somebody, but not one who may see anything here: said, as an empty dashboard would look like an empty cluster.
fn nothing(request: &Request, name: &str, by_cookie: bool) -> Response {
    if wants_page(request) {
        return login::nothing(request.uri(), name, by_cookie);
    }
    let words = format!(
        "{name} may see none of the namespaces that hold anything: a role with the verb list on okrobjectives, okrkeyresults and bigqueryconnections of okr-operator.dev is needed"
    );
    brief(request, StatusCode::FORBIDDEN, &words)
}

/// Without the API server's word nobody sees anything.
fn failed(request: &Request, error: &ReviewError) -> Response {
    if wants_page(request) {
        return unavailable(request.uri(), error);
    }
    log(error);
    soon(brief(request, StatusCode::SERVICE_UNAVAILABLE, &format!("the token could not be reviewed: {error}")))
}

/// The same as a page.
pub fn unavailable(at: &Uri, error: &ReviewError) -> Response {
    log(error);
    soon(login::unavailable(at, error))
}

fn log(error: &ReviewError) {
    tracing::warn!(error = crate::causes::chain(error), "a token of the dashboard could not be reviewed");
}

fn soon(mut response: Response) -> Response {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

fn wants_page(request: &Request) -> bool {
    let path = request.uri().path();
    let accepts = request
        .headers()
        .get_all(ACCEPT)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("text/html")));
    accepts && !path.starts_with(API) && !path.starts_with(BADGES)
}

/// For programs: JSON where JSON is, else plain text.
fn brief(request: &Request, status: StatusCode, words: &str) -> Response {
    if request.uri().path().starts_with(API) {
        (status, [(CONTENT_TYPE, "application/json")], json!({"error": words}).to_string()).into_response()
    } else {
        plain((status, format!("{words}\n")).into_response())
    }
}

fn plain(mut response: Response) -> Response {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What one sees is not for another: no cache between keeps it, unless a route says how.
fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("authorization, cookie"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A stream of events ends when what was asked about its reader may no longer hold. EventSource connects again.
fn ended_in_time(response: Response) -> Response {
    let is_stream =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if !is_stream {
        return response;
    }
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(tokio::time::sleep(callers::KEPT))))
}
