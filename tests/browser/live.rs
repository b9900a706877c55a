//! How an open page keeps up with the operator, and what it leaves to the reader.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    browser::{Browser, PATIENCE},
    sample,
    world::{Site, key_result, site},
};

/// Of a key result of namespace `sales`, which [`sample::objects`] has.
fn worth(name: &str, value: &str) -> Value {
    key_result("sales", name, json!({"status": {"value": value}}))
}

async fn await_streams(site: &Site, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while site.objects.listeners() != count {
        assert!(Instant::now() < deadline, "{} streams are open, not {count}", site.objects.listeners());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_hidden_page_holds_no_stream_and_catches_up_when_it_is_shown() {
    let site = site(sample::objects());
    let url = sample::dashboard(&site).await;
    let browser = Browser::start().await;
    browser.goto(&url).await;
    await_streams(&site, 1).await;
    let first = browser.window().await;
    browser.open_tab().await;
    await_streams(&site, 0).await;
    site.objects.set(&worth("loose", "4321"));
    browser.show(&first).await;
    browser.await_text("main", "4,321 leads").await;
    await_streams(&site, 1).await;
    site.objects.set(&worth("loose", "4322"));
    browser.await_text("main", "4,322 leads").await;
}

/// A server that can be killed with all its connections, as a pod is, and come again at the same address.
struct Server(Option<Runtime>);

impl Server {
    async fn start(site: &Site, address: SocketAddr) -> (Self, SocketAddr) {
        let runtime = Runtime::new().unwrap();
        let router = sample::guarded(site);
        let listening = runtime.spawn(async move {
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { axum::serve(listener, router).await });
            address
        });
        let address = listening.await.unwrap();
        (Self(Some(runtime)), address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A live page whose server can be killed.
struct Watched {
    site: Site,
    server: Server,
    address: SocketAddr,
    browser: Browser,
}

/// All that the page's status says from now on is noted in `window.said`.
async fn watched() -> Watched {
    let site = site(sample::objects());
    let (server, address) = Server::start(&site, ANYWHERE).await;
    let browser = Browser::start().await;
    browser.goto(&format!("http://{address}/")).await;
    browser.await_text("#live", "Live").await;
    let note = "window.said = [];
        new MutationObserver(() => said.push(document.getElementById('live').textContent))
            .observe(document.getElementById('live'), { childList: true, characterData: true, subtree: true })";
    browser.run(note).await;
    Watched { site, server, address, browser }
}

#[tokio::test]
async fn a_lost_connection_is_said_after_a_while_and_no_more_when_it_is_back() {
    let Watched { site, server, address, browser } = watched().await;
    let lost = Instant::now();
    drop(server);
    browser.await_text("#live", "Not connected; trying again").await;
    assert!(lost.elapsed() >= Duration::from_secs(5), "said after {:?}", lost.elapsed());
    site.objects.set(&worth("loose", "4321"));
    let (_server, _) = Server::start(&site, address).await;
    browser.await_text("#live", "Live").await;
    browser.await_text("main", "4,321 leads").await;
    assert_eq!(browser.eval("said").await, json!(["Not connected; trying again", "Live"]));
}

#[tokio::test]
async fn a_short_loss_of_the_connection_is_not_said() {
    let Watched { site, server, address, browser } = watched().await;
    browser.run("window.lost = performance.now()").await;
    drop(server);
    site.objects.set(&worth("loose", "4321"));
    let (_server, _) = Server::start(&site, address).await;
    browser.await_text("main", "4,321 leads").await;
    // Past the time at which it would have been said.
    browser.await_true("performance.now() - lost > 6000").await;
    assert_eq!(browser.eval("said").await, json!([]));
}

#[tokio::test]
async fn focus_scroll_and_what_was_folded_survive_a_change() {
    let site = site(sample::objects());
    let url = sample::dashboard(&site).await;
    let browser = Browser::start().await;
    browser.goto(&url).await;
    browser.await_text("#live", "Live").await;
    let folded = "details[id='below-objectives/sales/pipeline']";
    browser.click(&format!("{folded} > summary")).await;
    let link = "a[href$='keyresults/support/many-20']";
    browser.run(&format!("document.querySelector(\"{link}\").focus(); scrollTo(0, 700)")).await;
    let scrolled = browser.eval("scrollY").await;
    assert!(scrolled.as_f64().unwrap() > 0.0);
    site.objects.set(&worth("loose", "4321"));
    browser.await_text("main", "4,321 leads").await;
    assert_eq!(browser.eval("scrollY").await, scrolled);
    assert_eq!(browser.eval(&format!("document.querySelector(\"{folded}\").open")).await, false);
    assert_eq!(browser.eval(&format!("document.activeElement === document.querySelector(\"{link}\")")).await, true);

    browser.goto(&format!("{url}/keyresults/sales/full")).await;
    browser.await_text("#live", "Live").await;
    browser.click("#points summary").await;
    browser.run("[...document.querySelectorAll('.point')][3].focus()").await;
    site.objects.set(&worth("full", "4321"));
    browser.await_text("main", "4,321").await;
    assert_eq!(browser.eval("document.getElementById('points').open").await, true, "what was unfolded too");
}

#[tokio::test]
async fn text_that_is_selected_stays_until_it_no_longer_is() {
    let site = site(sample::objects());
    let url = sample::dashboard(&site).await;
    let browser = Browser::start().await;
    browser.goto(&url).await;
    browser.await_text("#live", "Live").await;
    browser.run("getSelection().selectAllChildren(document.querySelector('h1'))").await;
    site.objects.set(&worth("loose", "4321"));
    browser.await_text("#live", "Paused while text is selected").await;
    assert_eq!(browser.eval("getSelection().toString()").await, "Objectives and key results");
    assert!(!browser.text("main").await.contains("4,321"));
    browser.run("getSelection().removeAllRanges()").await;
    browser.await_text("main", "4,321 leads").await;
    browser.await_text("#live", "Live").await;
}
