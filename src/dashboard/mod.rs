//! The dashboard: pages for people, JSON for programs, badges for READMEs. Read-only; it reads `api` and `view` only.
//!
//! | to find | look in |
//! |---|---|
//! | the pages | `pages.rs`, `templates/` and `assets/` |
//! | what viewers of the same share | `reading.rs` |
//! | the chart of a history | `plot.rs` |
//! | JSON and its OpenAPI document | `json.rs` |
//! | badges | `badge.rs` |
//! | what an address asks for | `address.rs` |
//! | what a page may load and who may frame it | `headers.rs` |
//! | who gets in, and sees which namespaces | [`gate`], `login.rs` |
//! | how an open page learns of a change | `live.rs`, `assets/live.js` |

mod address;
mod badge;
pub mod callers;
pub mod gate;
mod headers;
mod hosts;
mod json;
mod live;
mod login;
mod pages;
mod plot;
mod reading;
pub mod reviews;
mod shown;

use std::sync::Arc;

use axum::{
    Router,
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::view::{Gaps, catalog::Catalog};

pub use crate::view::Visible;

use gate::SignedIn;
use reading::Readings;

/// What a request may show. The gate in front of these pages puts it on each request; without one, all is shown.
impl<S: Sync> FromRequestParts<S> for Visible {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or(Visible::All))
    }
}

/// What the pages are made from.
pub struct Sources {
    pub catalog: Arc<dyn Catalog>,
    /// The operator's thresholds.
    pub gaps: Gaps,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// Ends the streams of open pages.
    pub shutdown: CancellationToken,
}

/// Pages made at a time. One reads every object, and many viewers must not take the processor or the memory from the
/// syncs.
const AT_A_TIME: usize = 2;

#[derive(Clone)]
struct Dashboard {
    sources: Arc<Sources>,
    rendering: Arc<Semaphore>,
    readings: Readings,
}

impl Dashboard {
    /// Makes an answer on a thread of its own: it takes milliseconds of processor, which others await. None where that
    /// thread died, which is our mistake.
    async fn made<T: Send + 'static>(&self, make: impl FnOnce(&Sources) -> T + Send + 'static) -> Option<T> {
        let permit = self.rendering.clone().acquire_owned().await.ok()?;
        let sources = self.sources.clone();
        let made = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            make(&sources)
        });
        made.await.ok()
    }

    async fn answered(&self, make: impl FnOnce(&Sources) -> Response + Send + 'static) -> Response {
        self.made(make).await.unwrap_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

/// Whose cookie the request came with, if it did: a page offers the way out.
struct Reader(Option<String>);

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Reader(parts.extensions.get().map(|SignedIn(name): &SignedIn| name.clone())))
    }
}

const UNLISTED: &str = "The operator has just started and is still reading what exists.";

/// `answer`, as one to ask for again: what is not there may only not be read yet.
fn not_yet(mut answer: Response) -> Response {
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// Every page, for GET and HEAD alone.
pub fn router(sources: Sources) -> Router {
    let rendering = Arc::new(Semaphore::new(AT_A_TIME));
    let dashboard = Dashboard { sources: Arc::new(sources), rendering, readings: Readings::default() };
    Router::new()
        .route("/", get(pages::overview))
        .route("/objectives/{namespace}/{name}", get(pages::objective))
        .route("/keyresults/{namespace}/{name}", get(pages::key_result))
        .route("/badges/{namespace}/{file}", get(badge::badge))
        .route("/api/v1/objectives", get(json::objectives))
        .route("/api/v1/keyresults", get(json::key_results))
        .route("/api/v1/connections", get(json::connections))
        .route("/api/v1/openapi.json", get(json::openapi))
        .route("/events", get(live::events))
        .route("/assets/style.css", asset("text/css; charset=utf-8", include_str!("assets/style.css")))
        .route("/assets/live.js", asset("text/javascript; charset=utf-8", include_str!("assets/live.js")))
        .route("/assets/icon.svg", asset("image/svg+xml", include_str!("assets/icon.svg")))
        .fallback(pages::nowhere)
        .layer(middleware::map_response(headers::add))
        .layer(middleware::from_fn(headers::only_reading))
        .with_state(dashboard)
}

fn asset<S: Clone + Send + Sync + 'static>(kind: &'static str, text: &'static str) -> axum::routing::MethodRouter<S> {
    // Short: after an upgrade a page must not stay long with the style of the version before.
    get(move || async move { ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=300")], text) })
}
