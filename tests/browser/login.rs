//! The login page, with real tokens.

use std::collections::BTreeSet;

use axum::{Extension, Router, response::Html, routing::get};
use kube::Client;
use okr_operator::dashboard::{
    Visible,
    callers::Callers,
    gate::{Access, Gate, SignedIn},
};
use serde_json::json;

use crate::{
    browser::{Browser, listed, serve},
    support::cluster::{Sandbox, sandbox},
};

/// A dashboard of one page, which says whom it is shown to and lets them out.
async fn dashboard(client: Client, namespace: &str) -> String {
    let seen = |Extension(visible): Extension<Visible>, signed_in: Option<Extension<SignedIn>>| async move {
        let name = signed_in.map(|Extension(SignedIn(name))| name).unwrap_or_default();
        Html(format!(
            "<h1>{name} sees {visible:?}</h1><form method=post action=/logout><button>Log out</button></form>"
        ))
    };
    let routes = Router::new().route("/", get(seen)).route("/objectives/{name}", get(seen));
    let namespaces = BTreeSet::from([namespace.to_owned()]);
    let access = Access::Token(Callers::new(client, Box::new(move || namespaces.clone())));
    serve(Gate { hosts: Vec::new(), public_badges: false, listed: listed(), access }.guard(routes)).await
}

/// A dashboard, and the token of somebody who may see all of the test's namespace.
async fn with_reader(prefix: &str) -> (Sandbox, String, String) {
    let sandbox = sandbox(prefix).await;
    let token = sandbox.token("reader").await;
    let user = format!("system:serviceaccount:{}:reader", sandbox.namespace);
    let rule = json!({
        "apiGroups": ["okr-operator.dev"], "resources": ["okrkeyresults", "okrobjectives", "bigqueryconnections"], "verbs": ["list"],
    });
    sandbox.allow(&user, json!([rule])).await;
    let url = dashboard(sandbox.client.clone(), &sandbox.namespace).await;
    (sandbox, url, token)
}

#[tokio::test]
async fn a_token_opens_the_page_that_was_asked_for() {
    let (sandbox, url, token) = with_reader("browser-login").await;
    let browser = Browser::start().await;
    browser.goto(&format!("{url}/objectives/growth?tab=history")).await;
    assert_eq!(browser.text("h1").await, "Log in");
    assert_eq!(browser.eval("document.activeElement.name").await, "token", "one can type at once");
    browser.fill("[name=token]", &token).await;
    browser.press("Enter").await;
    browser.await_text("h1", "sees").await;
    assert!(browser.text("h1").await.contains(&sandbox.namespace));
    assert_eq!(browser.path().await, "/objectives/growth?tab=history");

    let cookie = browser.cookie("okr-operator-token").await.expect("there is a cookie");
    assert_eq!((&cookie["httpOnly"], &cookie["sameSite"]), (&json!(true), &json!("Strict")));
    assert_eq!(browser.eval("document.cookie").await, "", "no script sees it");
    assert!(!browser.eval("document.documentElement.outerHTML").await.as_str().unwrap().contains(&token));

    browser.click("button").await;
    browser.await_text("h1", "Log in").await;
    assert_eq!(browser.path().await, "/login");
    assert_eq!(browser.cookie("okr-operator-token").await, None);
    browser.goto(&url).await;
    assert_eq!(browser.text("h1").await, "Log in");
}

#[tokio::test]
async fn a_link_on_another_site_finds_the_reader_logged_in() {
    let (_sandbox, url, token) = with_reader("browser-link").await;
    let browser = Browser::start().await;
    browser.goto(&format!("{url}/login")).await;
    browser.fill("[name=token]", &token).await;
    browser.click("button").await;
    browser.await_text("h1", "sees").await;
    // To a browser, localhost is another site than 127.0.0.1.
    let link = format!("<a href='{url}/objectives/growth'>Growth</a>");
    let elsewhere = serve(Router::new().route("/", get(|| async { Html(link) }))).await;
    browser.goto(&elsewhere.replace("127.0.0.1", "localhost")).await;
    let before = browser.eval("history.length").await.as_u64().unwrap();
    browser.click("a").await;
    browser.await_text("h1", "sees").await;
    assert_eq!(browser.path().await, "/objectives/growth");
    assert_eq!(browser.eval("history.length").await, before + 1, "the way back is one step");
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_said_so() {
    let (sandbox, url, token) = with_reader("browser-bad").await;
    let browser = Browser::start().await;
    browser.goto(&format!("{url}/objectives/growth")).await;
    browser.fill("[name=token]", "not.a.token").await;
    browser.click("button").await;
    browser.await_text("[role=alert]", "does not accept this token").await;
    browser.screenshot("login-refused").await;
    browser.fill("[name=token]", &token).await;
    browser.click("button").await;
    browser.await_text("h1", &sandbox.namespace).await;
    assert_eq!(browser.path().await, "/objectives/growth");
}

#[tokio::test]
async fn somebody_who_may_see_nothing_is_told_what_is_missing() {
    let sandbox = sandbox("browser-nobody").await;
    let token = sandbox.token("nobody").await;
    let url = dashboard(sandbox.client.clone(), &sandbox.namespace).await;
    let browser = Browser::start().await;
    browser.goto(&url).await;
    browser.fill("[name=token]", &token).await;
    browser.click("button").await;
    browser.await_text("h1", "Nothing you may see").await;
    assert!(browser.text("main").await.contains(&format!("system:serviceaccount:{}:nobody", sandbox.namespace)));
    browser.screenshot("login-nothing").await;
    browser.size(360, 740).await;
    assert!(!browser.overflows().await, "a long name breaks");
    browser.click("button").await;
    browser.await_text("h1", "Log in").await;
}

#[tokio::test]
async fn the_page_fits_every_screen_and_scheme() {
    let (_sandbox, url, _) = with_reader("browser-looks").await;
    let browser = Browser::start().await;
    for scheme in ["light", "dark"] {
        browser.scheme(scheme).await;
        for (name, width, height) in [("wide", 1280, 800), ("phone", 360, 740)] {
            browser.size(width, height).await;
            browser.goto(&format!("{url}/login")).await;
            assert_eq!(browser.text("h1").await, "Log in");
            assert!(!browser.overflows().await, "{name} scrolls sideways");
            browser.screenshot(&format!("login-{scheme}-{name}")).await;
        }
    }
    let complaints: Vec<String> = browser.complaints().await;
    let complaints: Vec<&String> = complaints.iter().filter(|line| !line.contains("/favicon.ico")).collect();
    assert!(complaints.is_empty(), "the page's own policy lets everything through: {complaints:?}");
}
