//! How an open page learns of a change: a stream that says that something changed, never what.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::Dashboard;

/// At most one word a second, however much changes: a page shows a change within two.
const APART: Duration = Duration::from_secs(1);

/// Below the shortest idle time after which proxies cut a connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Says "changed" after changes, until the operator stops. The browser comes again by itself; it drops an event without
/// data unheard.
pub async fn events(State(dashboard): State<Dashboard>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut changes = dashboard.sources.catalog.changes();
    changes.mark_unchanged();
    let shutdown = dashboard.sources.shutdown.clone();
    let hello = stream::iter([Ok(Event::default().event("hello").data("hello").retry(APART))]);
    let changed = stream::unfold((changes, Instant::now()), move |(changes, not_before)| {
        let shutdown = shutdown.clone();
        async move {
            tokio::select! { () = shutdown.cancelled() => None, next = next(changes, not_before) => next }
        }
    });
    Sse::new(futures::StreamExt::chain(hello, changed)).keep_alive(KeepAlive::new().interval(HEARTBEAT))
}

type Waiting = (watch::Receiver<u64>, Instant);

/// The next word, and when the one after it may come. None when nothing can change any more.
async fn next(mut changes: watch::Receiver<u64>, not_before: Instant) -> Option<(Result<Event, Infallible>, Waiting)> {
    changes.changed().await.ok()?;
    sleep_until(not_before).await;
    changes.mark_unchanged();
    Some((Ok(Event::default().event("changed").data("changed")), (changes, Instant::now() + APART)))
}
