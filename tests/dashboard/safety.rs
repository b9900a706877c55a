//! What a page must never do, whatever is in the objects.

use axum::{body::Body, http::Request};
use serde_json::json;

use crate::world::{connection, key_result, objective, site};

const PAGES: [&str; 4] = ["/", "/keyresults/sales/leads", "/objectives/sales/grow", "/nowhere/at/all"];

#[tokio::test]
async fn text_of_objects_is_text_on_every_page() {
    let evil = "\"'><script>alert(1)</script>\u{202e}";
    let site = site([
        objective("sales", "grow", json!({"spec": {"title": evil, "description": evil, "owner": evil}})),
        key_result(
            "sales",
            "leads",
            json!({
                "spec": {
                    "title": evil, "owner": evil, "unit": evil, "description": evil,
                    "bigQuery": {"query": evil, "parameters": [{"name": "x", "type": "STRING", "value": evil}]},
                    "override": {"okrStatus": "AtRisk", "note": evil, "until": "2026-12-01"},
                    "links": [{"title": evil, "url": "javascript:alert(1)"}]
                },
                "status": {
                    "value": evil, "explanation": evil, "targetText": evil,
                    "lastQuery": {"jobId": evil, "location": evil},
                    "conditions": [{"type": "Ready", "status": "False", "reason": evil, "message": evil, "lastTransitionTime": "2026-11-01T00:10:00Z"}]
                }
            }),
        ),
        connection("sales", "warehouse", evil),
    ]);
    for page in
        ["/", "/?text=%3Cscript%3E%22", "/keyresults/sales/leads", "/objectives/sales/grow", "/badges/sales/leads.svg"]
    {
        let text = site.page(page).await;
        assert_eq!(text.matches("<script").count(), text.matches("<script src=").count(), "{page}");
        assert!(!text.contains("'><") && !text.contains("\"'>"), "{page} leaves an attribute");
        assert!(!text.contains("href=\"javascript:"), "{page}");
    }
    // A mark that turns the direction of text must end where the object's text ends.
    let page = site.page("/").await;
    let isolated = ["<bdi>", "<option", "dir=\"auto\"", "value=\""];
    for (at, _) in page.match_indices('\u{202e}') {
        let before = &page[..at];
        let tag = &before[before.rfind('<').unwrap()..];
        assert!(isolated.iter().any(|mark| tag.contains(mark)), "{tag}");
    }
}

#[tokio::test]
async fn a_long_title_is_cut_for_show() {
    let title = "long ".repeat(2000);
    let site = site([key_result(
        "sales",
        "leads",
        json!({"spec": {"title": title, "owner": title, "unit": title}, "status": {"explanation": title}}),
    )]);
    let page = site.page("/").await;
    assert!(page.len() < 20_000, "{}", page.len());
    assert!(page.contains('…'));
}

#[tokio::test]
async fn every_answer_says_what_it_may_load() {
    let site = site([key_result("sales", "leads", json!({})), objective("sales", "grow", json!({}))]);
    let others = ["/assets/style.css", "/assets/live.js", "/api/v1/keyresults", "/badges/sales/leads.svg", "/events"];
    for address in PAGES.iter().chain(&others) {
        // The stream has no end to wait for; its head says the same.
        let request = Request::head(*address).body(Body::empty()).unwrap();
        let answer = tower::ServiceExt::oneshot(site.router.clone(), request).await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{address}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        // Either policy sends nothing to other sites.
        assert_eq!(
            (header("x-content-type-options"), header("referrer-policy")),
            ("nosniff", "same-origin"),
            "{address}"
        );
    }
}

#[tokio::test]
async fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
    let site = site([key_result("sales", "leads", json!({})), objective("sales", "grow", json!({}))]);
    for address in PAGES {
        let page = site.get(address).await.text;
        for inline in ["<style", " style=", " onclick", " onload", "src=\"http", "src=\"//"] {
            assert!(!page.contains(inline), "{address} has {inline}");
        }
        for link in page.split("<link ").skip(1) {
            assert!(!link[..link.find('>').unwrap()].contains("//"), "{address}: {link}");
        }
    }
    for asset in ["/assets/style.css", "/assets/live.js", "/assets/icon.svg"] {
        let text = site.page(asset).await.replace("http://www.w3.org/2000/svg", "");
        for elsewhere in ["http:", "https:", "url(", "@import"] {
            assert!(!text.contains(elsewhere), "{asset} has {elsewhere}");
        }
    }
}

#[tokio::test]
async fn only_questions_are_answered() {
    let site = site([]);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request = Request::builder().method(method).uri("/").body(Body::empty()).unwrap();
        assert_eq!(site.ask(request).await.status, 405, "{method}");
    }
    let nowhere = site.get("/deep/er/than/this").await;
    assert_eq!(nowhere.status, 404);
    assert!(
        nowhere.text.contains("There is nothing here") && nowhere.text.contains("href=\"../../../assets/style.css\"")
    );
    assert_eq!(site.get("/keyresults/sales/gone").await.status, 404);
    assert_eq!(site.get("/badges/sales/gone.svg").await.status, 404);
    assert_eq!(site.get("/keyresults/%FF/x").await.status.as_u16() / 100, 4);
}

/// The custom properties of a block of the style sheet.
fn colours(block: &str) -> std::collections::BTreeMap<String, [f64; 3]> {
    let property = |declaration: &str| {
        let (name, value) = declaration.trim().strip_prefix("--")?.split_once(": #")?;
        let part = |at: usize| u8::from_str_radix(&value[at..at + 2], 16).map(f64::from);
        Some((name.to_owned(), [part(0).ok()?, part(2).ok()?, part(4).ok()?]))
    };
    block.split(';').map(|part| part.rsplit(['{', '\n']).next().unwrap()).filter_map(property).collect()
}

/// WCAG 2's contrast ratio.
fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let luminance = |colour: [f64; 3]| {
        let linear = colour.map(|part| {
            let part = part / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn text_is_readable_in_light_and_in_dark() {
    let style = include_str!("../../src/dashboard/assets/style.css");
    let (light, rest) = style.split_once("@media screen and (prefers-color-scheme: dark)").unwrap();
    let dark = &rest[..rest.find("* {").unwrap()];
    for (scheme, colours) in [("light", colours(light)), ("dark", colours(dark))] {
        let check = |text: &str, ground: &str, least: f64| {
            let ratio = contrast(colours[text], colours[ground]);
            assert!(ratio >= least, "{scheme}: {text} on {ground} is {ratio:.2}");
        };
        for text in
            ["text", "quiet", "accent", "at-risk", "behind", "on-track", "in-progress", "rest", "alarm", "caution"]
        {
            check(text, "surface", 4.5);
            check(text, "ground", 4.5);
        }
        check("on-accent", "accent", 4.5);
        check("alarm", "alarm-ground", 4.5);
        check("caution", "caution-ground", 4.5);
        check("text", "code", 4.5);
        // What is no text: WCAG 1.4.11.
        for fill in ["at-risk-fill", "on-track-fill", "in-progress-fill", "rest-fill", "field", "mark"] {
            check(fill, "surface", 3.0);
        }
    }
}
