//! The pages on paper.

use crate::{browser::Browser, sample, world::site};

/// What a reader could press, and words about the screen rather than the objectives, which paper has no use for.
const OF_THE_SCREEN: &str = "form, button, input, select, .live, .skip, .pages";

/// Elements that are drawn.
fn drawn(css: &str) -> String {
    format!(
        "[...document.querySelectorAll(\"{css}\")].filter((element) => element.checkVisibility()).map((element) => element.outerHTML.slice(0, 80))"
    )
}

#[tokio::test]
async fn paper_is_white_and_says_all_in_words_also_for_a_reader_of_dark_pages() {
    let url = sample::dashboard(&site(sample::objects())).await;
    let browser = Browser::start().await;
    for (path, name, words) in [
        (
            "/?namespace=sales",
            "overview",
            &["At Risk", "Behind", "On Track", "Postponed", "Failing: ", "Title of full", "As of 2026-11-15 12:00 UTC"]
                [..],
        ),
        (
            "/keyresults/sales/full",
            "detail",
            &["Behind", "SELECT COUNT(*)", "A large order comes in", "As of 2026-11-15 12:00 UTC"],
        ),
    ] {
        browser.goto(&format!("{url}{path}")).await;
        // A4 at 96 dots an inch, less a margin of a centimetre.
        browser.size(718, 1047).await;
        browser.paper("dark").await;
        browser.screenshot(&format!("print-{name}")).await;
        let ground = browser.eval("getComputedStyle(document.body).backgroundColor").await;
        assert_eq!(ground, "rgb(255, 255, 255)", "{path}");
        // Of whatever fills an area or is written; bars and signs keep their colours.
        let wrong = r"[...document.querySelectorAll('body, body *')].filter((element) => {
            if (!element.checkVisibility() || element.closest('svg')) return false;
            const style = getComputedStyle(element);
            const [ground, ink] = [style.backgroundColor, style.color].map((color) => color.match(/[\d.]+/g).map(Number));
            return (ground[3] !== 0 && Math.min(...ground.slice(0, 3)) < 220) || Math.min(...ink.slice(0, 3)) > 100;
        }).map((element) => element.outerHTML.slice(0, 80))";
        assert_eq!(browser.eval(wrong).await, serde_json::json!([]), "{path}");
        assert_eq!(browser.eval(&drawn(OF_THE_SCREEN)).await, serde_json::json!([]), "{path}");
        assert!(!browser.overflows().await, "{path} is cut");
        let said = browser.text("main").await;
        for words in words {
            assert!(said.contains(words), "{words} is not on the paper of {path}: {said}");
        }
        let sheets = browser.sheets().await;
        assert!((1..=3).contains(&sheets), "{path} takes {sheets} sheets");
    }
}
