//! What an open page hears.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{body::Body, http::Request};
use futures::{StreamExt, future::join_all};
use serde_json::json;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use crate::world::{Site, key_result, site, words};

/// What the stream says, with the comments that keep it open left out.
async fn stream(site: &Site) -> impl futures::Stream<Item = String> + Unpin {
    let request = Request::get("/events").body(Body::empty()).unwrap();
    let response = site.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let data = response.into_body().into_data_stream();
    Box::pin(data.map(|part| String::from_utf8(part.unwrap().to_vec()).unwrap()).filter(|text| {
        let is_event = text.contains("event:");
        async move { is_event }
    }))
}

#[tokio::test(start_paused = true)]
async fn many_changes_are_one_word_a_second() {
    let site = site([key_result("sales", "leads", json!({}))]);
    let mut stream = stream(&site).await;
    assert!(stream.next().await.unwrap().contains("retry:"));
    let start = Instant::now();
    let mut said = Vec::new();
    for _ in 0..50 {
        site.objects.change();
        if let Ok(text) = timeout(Duration::from_millis(100), stream.next()).await {
            assert_eq!(text.unwrap(), "event: changed\ndata: changed\n\n");
            said.push(start.elapsed().as_millis());
        }
    }
    // Five seconds of ten changes each: at once, then every second.
    assert!((5..=6).contains(&said.len()), "{said:?}");
    assert!(said[0] < 100, "{said:?}");
    assert!(said.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_while_one_was_said_is_said_too() {
    let site = site([]);
    let mut stream = stream(&site).await;
    stream.next().await;
    site.objects.change();
    assert!(stream.next().await.unwrap().contains("changed"));
    site.objects.change();
    let start = Instant::now();
    assert!(stream.next().await.unwrap().contains("changed"));
    assert!(start.elapsed() <= Duration::from_secs(1));
    assert!(timeout(Duration::from_secs(10), stream.next()).await.is_err(), "nothing changed");
}

#[tokio::test]
async fn what_is_said_to_have_changed_is_on_the_next_page() {
    let site = site([key_result("sales", "leads", json!({}))]);
    let mut stream = stream(&site).await;
    stream.next().await;
    let start = Instant::now();
    site.objects.set(&key_result("sales", "leads", json!({"status": {"value": "4321"}})));
    assert!(stream.next().await.unwrap().contains("changed"));
    assert!(words(&site.page("/").await).contains("4,321 leads"));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_the_operator_stops() {
    let site = site([]);
    let mut stream = stream(&site).await;
    stream.next().await;
    assert_eq!(site.objects.listeners(), 1);
    site.shutdown.cancel();
    assert_eq!(timeout(Duration::from_secs(1), stream.next()).await, Ok(None));
    assert_eq!(site.objects.listeners(), 0);
}

#[tokio::test]
async fn those_who_ask_for_the_same_after_a_change_share_one_reading() {
    let site = site([key_result("sales", "leads", json!({})), key_result("secret", "other", json!({}))]);
    let readings = || site.objects.readings.load(Ordering::Relaxed);
    join_all((0..20).map(|_| site.page("/"))).await;
    assert_eq!(readings(), 1);
    site.objects.set(&key_result("sales", "leads", json!({"status": {"value": "4321"}})));
    for page in join_all((0..20).map(|_| site.page("/"))).await {
        assert!(words(&page).contains("4,321 leads"), "none is older than the change");
    }
    assert_eq!(readings(), 2);
    let page = site.get_as(&["sales"], "/").await.text;
    assert!(page.contains("leads") && !page.contains("secret"), "what others see is not shared");
    assert_eq!(readings(), 3);
    assert!(!site.page("/?text=other").await.contains("4,321"));
    assert_eq!(readings(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_reading_is_not_kept() {
    let site = site([key_result("sales", "leads", json!({}))]);
    site.page("/").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    site.page("/").await;
    assert_eq!(site.objects.readings.load(Ordering::Relaxed), 2, "what it says follows the clock too");
}
