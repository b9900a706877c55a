//! list, describe and chart.

use std::{io::Read, process::Stdio};

use okr_operator::api::{OkrKeyResult, OkrObjective};
use serde_json::{Value, json};

use crate::{
    checked_in, okr, period, program,
    support::cluster::{Sandbox, sandbox},
};

/// An objective with a key result that is Behind and one that is On Track, decided by a real operator; and one key result
/// whose connection does not exist.
async fn world(prefix: &str) -> Sandbox {
    let sandbox = sandbox(prefix).await;
    let operator = sandbox.operator();
    sandbox
        .apply::<OkrObjective>("grow", json!({"period": period(-50, 50), "title": "Grow \u{1b}[31mfast\u{202e}"}))
        .await;
    sandbox.apply::<OkrKeyResult>("leads", checked_in("grow", 30)).await;
    sandbox.apply::<OkrKeyResult>("partners", checked_in("grow", 90)).await;
    let lost = json!({"measure": {"reach": {"target": 10}}, "period": period(-50, 50), "bigQuery": {"query": "SELECT 1", "connectionRef": {"name": "none"}}});
    sandbox.apply::<OkrKeyResult>("lost", lost).await;
    sandbox
        .await_objective("grow", "has 60 %", |status| status.measured.progress_percent.as_deref() == Some("60"))
        .await;
    sandbox.await_reason("lost", "ConnectionNotFound").await;
    operator.stop().await;
    sandbox
}

#[tokio::test]
async fn a_list_is_a_tree_with_the_worst_first() {
    let sandbox = world("list").await;
    let run = okr(&sandbox, &["list"]).await;
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let lines: Vec<&str> = run.out.lines().collect();
    let [head, grow, leads, partners, lost] = lines.as_slice() else { panic!("{}", run.out) };
    assert!(head.starts_with("NAME"), "{head}");
    assert!(grow.starts_with("grow ") && grow.contains("On Track") && grow.contains("60 %"), "{grow}");
    assert!(
        leads.starts_with("  leads ") && leads.contains("Behind") && leads.contains("██████░░░┃░░░░░░░░░░"),
        "{leads}"
    );
    assert!(partners.starts_with("  partners ") && partners.contains("90 %"), "{partners}");
    assert!(lost.starts_with("lost ") && lost.contains("ConnectionNotFound"), "{lost}");
    // A pipe gets neither colours nor a cut.
    assert!(!run.out.contains('\u{1b}') && !run.out.contains('…'), "{}", run.out);
}

#[tokio::test]
async fn a_list_fits_its_terminal_and_is_painted_when_asked() {
    let sandbox = world("narrow").await;
    for width in [20_usize, 40, 60, 80, 100] {
        let run = okr(&sandbox, &["list", "-o", "wide", "--width", &width.to_string()]).await;
        assert!(run.out.lines().all(|line| line.chars().count() <= width), "{width}:\n{}", run.out);
        assert!(run.out.contains("lead") && run.out.contains("Behind"), "{width}:\n{}", run.out);
    }
    let run = okr(&sandbox, &["chart", "leads", "--width", "20"]).await;
    assert!(run.out.lines().all(|line| line.chars().count() <= 20), "{}", run.out);
    let axis = run.out.lines().position(|line| line.contains('└')).unwrap_or_else(|| panic!("{}", run.out));
    let dates = run.out.lines().nth(axis + 1).unwrap();
    assert_eq!(dates.split_whitespace().count(), 2, "{}", run.out);
    assert!(run.out.contains("● read") && run.out.contains("┊ now"), "{}", run.out);
    let run = okr(&sandbox, &["list", "--color", "always"]).await;
    assert!(run.out.contains("\u{1b}[38;5;208mBehind"), "orange is Behind: {}", run.out);
}

#[tokio::test]
async fn a_list_for_programs_is_the_dashboards() {
    let sandbox = world("json").await;
    let run = okr(&sandbox, &["list", "-o", "json", "--status", "Behind"]).await;
    let items: Value = serde_json::from_str(&run.out).unwrap();
    let [leads] = items["items"].as_array().unwrap().as_slice() else { panic!("{}", run.out) };
    assert_eq!(
        (&leads["name"], &leads["value"], &leads["okrStatus"]),
        (&json!("leads"), &json!("30"), &json!("Behind"))
    );
    let yaml = okr(&sandbox, &["list", "-o", "yaml", "--status", "Behind"]).await;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml.out).unwrap(), items);
    let failing = okr(&sandbox, &["list", "-o", "json", "--status", "Failing"]).await;
    let items: Value = serde_json::from_str(&failing.out).unwrap();
    assert_eq!(items["items"][0]["name"], "lost");
}

#[tokio::test]
async fn a_description_says_why() {
    let sandbox = world("describe").await;
    let run = okr(&sandbox, &["describe", "leads", "objective/grow", "lost"]).await;
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
    for part in [
        "50 − 30 = 20 percentage points",
        "30 % is done, where 50 % is expected",
        "Source:      entered by people",
        "ConnectionNotFound",
        "leads",
        "15 %",
    ] {
        assert!(run.out.contains(part), "{part}: {}", run.out);
    }
    // A title obeys nobody.
    assert!(
        run.out.contains("Grow  [31mfast") && !run.out.contains('\u{1b}') && !run.out.contains('\u{202e}'),
        "{}",
        run.out
    );
}

#[tokio::test]
async fn a_chart_draws_the_history_beside_what_is_expected() {
    let sandbox = world("chart").await;
    let run = okr(&sandbox, &["chart", "leads", "--height", "10", "--width", "60"]).await;
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains('●') && run.out.contains("· expected"), "{}", run.out);
    assert!(run.out.lines().all(|line| line.chars().count() <= 60), "{}", run.out);
    let run = okr(&sandbox, &["chart", "lost"]).await;
    assert!(run.out.contains("There is no history yet."), "{}", run.out);
}

#[tokio::test]
async fn a_pipe_that_is_closed_early_is_no_failure() {
    let sandbox = world("pipe").await;
    let namespace = sandbox.namespace.clone();
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = program()
            .args(["list", "-o", "json", "-n", &namespace])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut error = String::new();
        child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        (child.wait().unwrap().code(), error)
    });
    assert_eq!(ended.await.unwrap(), (Some(0), String::new()));
}
