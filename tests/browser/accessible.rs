//! WCAG 2 A and AA, as far as a program can tell: the rules of axe-core in every page.

use std::collections::BTreeSet;

use kube::{Client, Config};
use okr_operator::dashboard::{
    callers::Callers,
    gate::{Access, Gate},
};
use serde_json::json;

use crate::{
    browser::{Browser, listed, serve},
    sample,
    world::site,
};

/// The rules, in axe-core's words.
const RULES: [&str; 5] = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

/// What the page breaks: the rule, what it asks for, and each element. The script is given by WebDriver, which the
/// page's own policy does not bind.
async fn breaches(browser: &Browser) -> Vec<String> {
    if browser.eval("window.axe === undefined").await == true {
        let path = std::env::var("OKR_AXE").expect("OKR_AXE is the script of axe-core: run `make test`");
        browser.run(&std::fs::read_to_string(path).unwrap()).await;
    }
    let options = json!({
        "runOnly": {"type": "tag", "values": RULES},
        // Off unless asked for.
        "rules": {"target-size": {"enabled": true}},
        "resultTypes": ["violations", "incomplete"],
        // Of style sheets, for the one rule about pages that style turns on their side; and it takes time.
        "preload": false,
    });
    // In doubt it is a breach too, but for text over a drawing, whose ground axe-core does not know: tests/dashboard
    // computes the contrast of each pair of colours.
    let script = format!(
        "axe.run(document, {options}).then(({{ violations, incomplete }}) =>
            [...violations, ...incomplete.filter((rule) => rule.id !== 'color-contrast')])"
    );
    let found = browser.eval(&script).await;
    let found = found.as_array().unwrap().iter();
    found
        .flat_map(|rule| {
            let nodes = rule["nodes"].as_array().unwrap().iter();
            nodes.map(move |node| {
                format!("{}: {}\n  {}\n  {}", rule["id"], rule["help"], node["html"], node["failureSummary"])
            })
        })
        .collect()
}

/// In light and dark, on a screen and on a phone.
async fn holds_the_rules(browser: &Browser, url: &str, paths: &[&str]) {
    let mut all = Vec::new();
    for path in paths {
        browser.goto(&format!("{url}{path}")).await;
        // A phone's colours are no others.
        for (scheme, screen, width, height) in
            [("light", "wide", 1280, 800), ("dark", "wide", 1280, 800), ("light", "phone", 360, 740)]
        {
            browser.scheme(scheme).await;
            browser.size(width, height).await;
            let found = breaches(browser).await;
            all.extend(found.into_iter().map(|breach| format!("{path}, {scheme}, {screen}: {breach}")));
        }
    }
    assert!(all.is_empty(), "{} breaches\n{}", all.len(), all.join("\n"));
}

#[tokio::test]
async fn every_page_of_the_dashboard_holds_the_rules_of_wcag() {
    let url = sample::dashboard(&site(sample::objects())).await;
    let browser = Browser::start().await;
    let paths = [
        "/?namespace=sales",
        "/?page=2",
        "/?status=Failing",
        "/?text=nothing-has-this",
        "/objectives/sales/pipeline",
        "/keyresults/sales/full",
        "/keyresults/sales/failing",
        "/keyresults/sales/manual",
        "/objectives/sales/nowhere",
    ];
    holds_the_rules(&browser, &url, &paths).await;
}

#[tokio::test]
async fn a_dashboard_without_objects_holds_the_rules_of_wcag() {
    let url = sample::dashboard(&site([])).await;
    let browser = Browser::start().await;
    holds_the_rules(&browser, &url, &["/"]).await;
    // And what breaks them is found.
    browser.run("document.querySelector('main').append(document.createElement('button'))").await;
    let found = breaches(&browser).await;
    assert!(found.len() == 1 && found[0].contains("button-name"), "{found:?}");
}

#[tokio::test]
async fn the_login_page_holds_the_rules_of_wcag() {
    // Who asks without a token is asked for one, and the API server for nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    let access = Access::Token(Callers::new(client, Box::new(BTreeSet::new)));
    let gate = Gate { hosts: Vec::new(), public_badges: false, listed: listed(), access };
    let url = serve(gate.guard(site([]).router)).await;
    let browser = Browser::start().await;
    holds_the_rules(&browser, &url, &["/login"]).await;
    browser.fill("[name=token]", "not a token").await;
    browser.click("button").await;
    browser.await_true("document.querySelector('[role=alert]') !== null").await;
    assert_eq!(breaches(&browser).await, [""; 0]);
}
