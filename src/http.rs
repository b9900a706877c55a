//! What is served over HTTP: health and metrics on a port of their own, the dashboard on another.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};

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
}

/// Listens on `address`, which `flag` gave; the second part serves for as long as it is awaited.
pub async fn listen(
    address: SocketAddr,
    flag: &'static str,
    router: Router,
) -> Result<(SocketAddr, impl Future<Output = Infallible>), HttpError> {
    let listen = |source| HttpError::Listen { address, flag, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    Ok((bound, serve(listener, router)))
}

/// Whoever opens more at a time waits: the process needs its files for the API server and BigQuery.
const CONNECTIONS: usize = 500;

/// How long a client may take to say what it wants, and to want something more.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after a connection could not be taken, such as for want of files.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Answers requests, for ever.
async fn serve(listener: TcpListener, router: Router) -> Infallible {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // How it ends is the client's affair.
            let _ = connection.await;
            drop(permit);
        });
    }
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

/// In OpenMetrics' format where that is asked for, as Prometheus does.
async fn metrics(State(surface): State<Surface>, headers: HeaderMap) -> Response {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|accepted| accepted.to_str().ok());
    let (format, text) = if accepted.any(|accepted| accepted.contains("application/openmetrics-text")) {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", surface.metrics.open_metrics())
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", surface.metrics.text())
    };
    match text {
        Ok(text) => ([(CONTENT_TYPE, format), (VARY, "Accept")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
