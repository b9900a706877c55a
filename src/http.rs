//! What is served over HTTP: health and metrics on a port of their own, the dashboard on another.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{controller::Signals, metrics::Metrics};

/// What the endpoints report.
#[derive(Clone)]
pub struct Surface {
    pub metrics: Arc<Metrics>,
    pub signals: Signals,
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("cannot listen on {address}: choose another {flag}")]
    Listen { address: SocketAddr, flag: &'static str, source: std::io::Error },
    #[error("the server of {0} ended")]
    Serve(&'static str, #[source] std::io::Error),
}

/// Listens on `address`, which `flag` gave; the second part serves until the process ends.
pub async fn listen(
    address: SocketAddr,
    flag: &'static str,
    router: Router,
) -> Result<(SocketAddr, impl Future<Output = Result<(), HttpError>>), HttpError> {
    let listener = TcpListener::bind(address).await.map_err(|source| HttpError::Listen { address, flag, source })?;
    let bound = listener.local_addr().map_err(|source| HttpError::Serve(flag, source))?;
    Ok((bound, async move { axum::serve(listener, router).await.map_err(|source| HttpError::Serve(flag, source)) }))
}

/// Health and metrics.
pub fn router(surface: Surface) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(surface)
}

async fn ready(State(surface): State<Surface>) -> Response {
    let Signals { listed, shutdown } = &surface.signals;
    if shutdown.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping").into_response()
    } else if !listed.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "not all objects are listed yet").into_response()
    } else {
        "ok".into_response()
    }
}

async fn metrics(State(surface): State<Surface>) -> Response {
    match surface.metrics.text() {
        Ok(text) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
