//! A proxy in front of a server that fails as networks and servers do. It listens on plain http.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    now,
    plan::{Dice, Fault, WatchEnd},
};

/// Whose language refusals are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Kubernetes,
    BigQuery,
}

/// What happens to requests at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Calm,
    /// So many of a hundred requests fail, none hangs for longer than this, and watches end.
    Storm {
        percent: u64,
        longest: Duration,
    },
}

/// One request that went by.
#[derive(Debug, Clone)]
pub struct Passage {
    pub at: Timestamp,
    pub path: String,
    /// The query that BigQuery was to run or to check.
    pub sql: Option<String>,
    pub fault: Option<Fault>,
}

pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    server: Server,
    upstream: String,
    client: reqwest::Client,
    /// Sent with every request, in the place of the caller's own.
    headers: HeaderMap,
    weather: watch::Sender<Weather>,
    dice: Mutex<Dice>,
    passages: Mutex<Vec<Passage>>,
    faults: AtomicU64,
}

/// The connection is reset: hyper drops it without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault of the plan")]
struct Dropped;

impl Proxy {
    pub async fn start(
        server: Server,
        upstream: &str,
        client: reqwest::Client,
        headers: HeaderMap,
        dice: Dice,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            upstream: upstream.trim_end_matches('/').to_owned(),
            client,
            headers,
            weather: watch::Sender::new(Weather::Calm),
            dice: Mutex::new(dice),
            passages: Mutex::default(),
            faults: AtomicU64::new(0),
        });
        let server = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, server }
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    pub fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::Relaxed)
    }

    pub fn passages(&self) -> Vec<Passage> {
        self.shared.passages.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // One that is dropped in the middle is reset then, not ended in order.
        let _ = stream.set_zero_linger();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| handle(Arc::clone(&shared), request));
            // Its errors are those of the plan, or the client's going away.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Dropped> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(Body::new(body), usize::MAX).await.map_err(|_| Dropped)?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let is_watch = path.contains("watch=true") || path.contains("watch=1");
    let fault = shared.draw();
    shared.record(Passage { at: now(), path: path.clone(), sql: sql(&body), fault });
    match fault {
        Some(fault) if fault.is_refusal() => return shared.refuse(fault).await,
        Some(_) | None => {}
    }
    let sent = shared
        .client
        .request(parts.method, format!("{}{path}", shared.upstream))
        .headers(shared.outward(&parts.headers))
        .body(body)
        .send();
    let Ok(answer) = sent.await else { return Err(Dropped) };
    match fault {
        Some(Fault::AnswerLost) => {
            let _ = answer.bytes().await;
            return Err(Dropped);
        }
        Some(Fault::WrongJson) => {
            if !is_watch {
                let _ = answer.bytes().await;
            }
            let nonsense = shared.nonsense();
            return Ok(respond(200, &nonsense.to_string()));
        }
        Some(_) | None => {}
    }
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if *name != header::TRANSFER_ENCODING && *name != header::CONNECTION {
            response = response.header(name, value);
        }
    }
    let body = match fault {
        None if is_watch => Body::from_stream(watched(shared, answer)),
        None => Body::from_stream(pieces(answer).map(Ok::<_, io::Error>)),
        Some(fault) => {
            // A watch has no half: it is cut after its first piece.
            let whole = if is_watch { pieces(answer).next().await } else { answer.bytes().await.ok() };
            let whole = whole.ok_or(Dropped)?;
            match fault {
                Fault::Drip if !is_watch => Body::from_stream(drip(whole)),
                _ => Body::from_stream(half(whole)),
            }
        }
    };
    Ok(response.body(body).expect("a status and headers of a real answer"))
}

impl Shared {
    fn draw(&self) -> Option<Fault> {
        let Weather::Storm { percent, longest } = *self.weather.borrow() else { return None };
        let mut dice = self.dice.lock().unwrap();
        let fault = dice.in_hundred(percent).then(|| Fault::draw(&mut dice, longest))?;
        self.faults.fetch_add(1, Ordering::Relaxed);
        Some(fault)
    }

    fn record(&self, passage: Passage) {
        self.passages.lock().unwrap().push(passage);
    }

    fn outward(&self, given: &HeaderMap) -> HeaderMap {
        let mut headers = given.clone();
        for name in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING] {
            headers.remove(name);
        }
        headers.extend(self.headers.clone());
        headers
    }

    async fn refuse(&self, fault: Fault) -> Result<Response<Body>, Dropped> {
        match fault {
            Fault::Code(code) => Ok(respond(code, &self.error(code).to_string())),
            Fault::TooMany { retry_after_seconds } => {
                let mut response = respond(429, &self.error(429).to_string());
                if let Some(seconds) = retry_after_seconds {
                    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
                }
                Ok(response)
            }
            Fault::Html => {
                let mut response = respond(502, "<html><body><h1>502 Bad Gateway</h1></body></html>");
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
                Ok(response)
            }
            Fault::NumberInError => {
                let mut error = self.error(500);
                let number = answer_of_number(NEVER_RETURNED);
                error.as_object_mut().unwrap().extend(number.as_object().unwrap().clone());
                Ok(respond(500, &error.to_string()))
            }
            Fault::Stall(wait) => {
                tokio::time::sleep(wait).await;
                Err(Dropped)
            }
            Fault::Reset | Fault::AnswerLost | Fault::Half | Fault::Drip | Fault::WrongJson => Err(Dropped),
        }
    }

    fn error(&self, code: u16) -> Value {
        match self.server {
            Server::Kubernetes => json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
                "reason": kubernetes_reason(code), "message": "a fault of the plan",
            }),
            Server::BigQuery => {
                let reason = match code {
                    401 => "authError",
                    403 => *self.dice.lock().unwrap().one_of(&["accessDenied", "rateLimitExceeded", "quotaExceeded"]),
                    404 => "notFound",
                    409 => "duplicate",
                    429 => "rateLimitExceeded",
                    _ => "backendError",
                };
                json!({"error": {"code": code, "message": "a fault of the plan, 4711 of 4712",
                    "errors": [{"message": "a fault of the plan", "domain": "global", "reason": reason}]}})
            }
        }
    }

    /// JSON that is well formed and means nothing. Numbers in it are no values.
    fn nonsense(&self) -> Value {
        let number = answer_of_number(NEVER_RETURNED);
        let mut choices = vec![json!([]), json!({}), json!("ok"), json!(4711), json!({"kind": 7, "metadata": []})];
        if self.server == Server::BigQuery {
            choices.push(json!({"jobComplete": "perhaps", "rows": number["rows"], "schema": number["schema"]}));
            choices.push(json!({"jobComplete": true, "rows": number["rows"]}));
            choices.push(json!({"jobComplete": true, "rows": [{"f": [{"v": {"v": NEVER_RETURNED}}]}], "schema": 1}));
        }
        self.dice.lock().unwrap().one_of(&choices).clone()
    }
}

/// A number that stands in errors and nonsense alone.
pub const NEVER_RETURNED: &str = "666666";

fn answer_of_number(number: &str) -> Value {
    json!({
        "kind": "bigquery#queryResponse", "jobComplete": true, "totalRows": "1",
        "jobReference": {"projectId": "demo", "jobId": "job_666", "location": "US"},
        "schema": {"fields": [{"name": "f0_", "type": "INTEGER", "mode": "NULLABLE"}]},
        "rows": [{"f": [{"v": number}]}],
    })
}

fn kubernetes_reason(code: u16) -> &'static str {
    match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    }
}

fn respond(code: u16, body: &str) -> Response<Body> {
    Response::builder()
        .status(StatusCode::from_u16(code).unwrap())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

/// The query of jobs.query or jobs.insert.
fn sql(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let sql = body["query"].as_str().or_else(|| body["configuration"]["query"]["query"].as_str());
    sql.map(str::to_owned)
}

/// The body as it comes in. A server that goes away ends it.
fn pieces(answer: reqwest::Response) -> impl Stream<Item = Bytes> + Unpin {
    stream::unfold(answer, |mut answer| async move { Some((answer.chunk().await.ok()??, answer)) }).boxed()
}

/// A watch, until its server ends it or a storm does.
fn watched(shared: Arc<Shared>, answer: reqwest::Response) -> impl Stream<Item = io::Result<Bytes>> {
    let weather = shared.weather.subscribe();
    let doom = Box::pin(async move { end_of_watch(&shared, weather).await });
    stream::unfold((answer, doom, None), |(mut answer, mut doom, mut ending)| async move {
        let mut words: VecDeque<io::Result<Bytes>> = match ending.take() {
            Some(words) => words,
            None => tokio::select! {
                piece = answer.chunk() => match piece {
                    Ok(Some(piece)) => return Some((Ok(piece), (answer, doom, None))),
                    Ok(None) => return None,
                    Err(error) => [Err(io::Error::other(error))].into(),
                },
                end = &mut doom => last_words(end).into(),
            },
        };
        words.pop_front().map(|word| (word, (answer, doom, Some(words))))
    })
}

async fn end_of_watch(shared: &Shared, mut weather: watch::Receiver<Weather>) -> WatchEnd {
    loop {
        // The sender lives as long as `shared`.
        let _ = weather.wait_for(|weather| *weather != Weather::Calm).await;
        let (life, end) = {
            let mut dice = shared.dice.lock().unwrap();
            (dice.between(Duration::ZERO, Duration::from_secs(15)), WatchEnd::draw(&mut dice))
        };
        tokio::select! {
            () = tokio::time::sleep(life) => {
                shared.faults.fetch_add(1, Ordering::Relaxed);
                return end;
            }
            _ = weather.wait_for(|weather| *weather == Weather::Calm) => {}
        }
    }
}

/// What a watch shows last.
fn last_words(end: WatchEnd) -> Vec<io::Result<Bytes>> {
    let cut = || Err(io::Error::other("cut by the plan"));
    match end {
        WatchEnd::Clean => Vec::new(),
        WatchEnd::Cut => vec![Ok(Bytes::from_static(b"{\"type\":\"MODIFIED\",\"object\":{\"kind\":")), cut()],
        WatchEnd::Expired => {
            let status = json!({"type": "ERROR", "object": {
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410,
                "reason": "Expired", "message": "too old resource version: a fault of the plan",
            }});
            vec![Ok(Bytes::from(format!("{status}\n")))]
        }
        WatchEnd::Garbage => vec![Ok(Bytes::from_static(b"<html>not JSON</html>\n"))],
    }
}

fn half(whole: Bytes) -> impl Stream<Item = io::Result<Bytes>> {
    let first = whole.slice(..whole.len() / 2);
    stream::iter([Ok(first), Err(io::Error::other("cut by the plan"))])
}

/// 20 pieces in 2 s.
fn drip(whole: Bytes) -> impl Stream<Item = io::Result<Bytes>> {
    let size = whole.len().div_ceil(20).max(1);
    let pieces: Vec<Bytes> =
        (0..whole.len()).step_by(size).map(|start| whole.slice(start..(start + size).min(whole.len()))).collect();
    stream::iter(pieces).then(|piece| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(piece)
    })
}

/// Headers of one name and value each.
pub fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}
