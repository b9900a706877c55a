//! Resident memory, and a start with nothing due.

use std::time::{Duration, Instant};

use crate::{
    audit,
    process::{Memory, Process},
    progress,
    table::Row,
    terminal,
    world::{Fleet, World, resting},
};

const FEW: usize = 1000;
pub const MANY: usize = 10_000;

pub async fn rows(world: &mut World) -> Vec<Row> {
    let mut few = resting(world, "thousand", FEW, 24).await;
    let mut rows = vec![memory_row(&start(world, &few).await, FEW, 24, None)];
    few.write(crate::now(), 120).await;
    rows.push(memory_row(&start(world, &few).await, FEW, 120, None));

    let mut many = resting(world, "ten-thousand", MANY, 24).await;
    let started = start(world, &many).await;
    rows.push(memory_row(&started, MANY, 24, Some(64.0)));
    world.start_cpu = Some(Duration::from_secs_f64(started.cpu_seconds));
    rows.push(first_page(&many).await);
    rows.push(scrape(&many).await);
    rows.extend(terminal::rows(&many).await);
    progress("raising the history to 120 points");
    many.write(crate::now(), 120).await;
    rows.push(memory_row(&start(world, &many).await, MANY, 120, Some(128.0)));
    world.large = Some(many);

    rows.extend(start_rows(&started));
    rows
}

/// A start after which nothing happened.
struct Started {
    ready_seconds: f64,
    looked_at_all_seconds: f64,
    cpu_seconds: f64,
    memory: Memory,
    queries: usize,
    writes: f64,
}

async fn start(world: &World, fleet: &Fleet) -> Started {
    world.stub.forget();
    let mark = audit::mark();
    let operator = Process::start(&fleet.namespace, &[]);
    let ready = operator.until_ready().await;
    audit::until_listed(mark, &fleet.namespace).await;
    let idle = operator.until_idle().await;
    let started = Started {
        ready_seconds: ready.as_secs_f64(),
        looked_at_all_seconds: idle.as_secs_f64(),
        cpu_seconds: operator.cpu().as_secs_f64(),
        memory: operator.memory(),
        queries: world.stub.count("jobs.query") + world.stub.count("jobs.insert"),
        writes: operator.written().await,
    };
    operator.stop().await;
    progress(&format!(
        "{} key results: {:.1} MiB, at most {:.1} MiB; all looked at after {:.1} s",
        fleet.members.len(),
        started.memory.now,
        started.memory.peak,
        started.looked_at_all_seconds
    ));
    started
}

fn memory_row(started: &Started, number: usize, points: usize, target: Option<f64>) -> Row {
    let Memory { now, peak } = started.memory;
    Row {
        what: match number {
            FEW => "resident memory, 1,000 key results",
            _ => "resident memory, 10,000 key results",
        },
        conditions: format!(
            "queries of 500 bytes, {points} points of history each; 3 s after the start's work was done (VmRSS; VmHWM as the most)"
        ),
        target: match target {
            Some(128.0) => "at most 128 MiB",
            Some(_) => "at most 64 MiB",
            None => "-",
        },
        measured: format!("{now:.0} MiB (most: {peak:.0} MiB)"),
        met: target.map(|target| now <= target),
    }
}

/// The dashboard's overview, which reads every object anew.
async fn first_page(fleet: &Fleet) -> Row {
    let operator = Process::start(&fleet.namespace, &[]);
    operator.until_idle().await;
    let before = operator.memory();
    let (mut longest, mut size) = (Duration::ZERO, 0);
    for _ in 0..5 {
        let asked = Instant::now();
        let answer = reqwest::get(&operator.dashboard).await.expect("the dashboard answers");
        assert!(answer.status().is_success(), "the dashboard answers {}", answer.status());
        size = answer.bytes().await.expect("a page").len();
        longest = longest.max(asked.elapsed());
    }
    let after = operator.memory();
    operator.stop().await;
    Row {
        what: "first page of the dashboard",
        conditions: "10,000 key results with 24 points of history each, none of an objective; the longest of 5 requests; memory before and after them, and at most".to_owned(),
        target: "300 ms, 200 kB",
        measured: format!(
            "{} ms, {} kB; {:.0} MiB before, {:.0} MiB after (most: {:.0} MiB)",
            longest.as_millis(),
            size / 1000,
            before.now,
            after.now,
            after.peak
        ),
        met: Some(longest <= Duration::from_millis(300) && size <= 200_000),
    }
}

/// Enough for the clock of CPU time, which ticks every 10 ms.
const SCRAPES: u32 = 20;

/// Prometheus asks twice a minute for as long as the operator runs.
async fn scrape(fleet: &Fleet) -> Row {
    let operator = Process::start(&fleet.namespace, &[]);
    operator.until_idle().await;
    let (before, cpu_before) = (operator.memory(), operator.cpu());
    let client = reqwest::Client::new();
    let (mut longest, mut size, mut series) = (Duration::ZERO, 0, 0);
    for _ in 0..SCRAPES {
        let request = client.get(format!("http://{}/metrics", operator.address));
        let request = request.header("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
        let asked = Instant::now();
        let text = request.send().await.expect("the metrics are served").text().await.expect("a text");
        longest = longest.max(asked.elapsed());
        size = text.len();
        series = text.lines().filter(|line| line.starts_with("okr_key_result_")).count();
    }
    let (after, cpu) = (operator.memory(), (operator.cpu() - cpu_before) / SCRAPES);
    operator.stop().await;
    assert_eq!(series, MANY * 6, "every key result has its six series");
    Row {
        what: "a scrape of the metrics",
        conditions: "10,000 key results with 24 points of history and six series each; the longest of 20 scrapes in OpenMetrics' format, until the last byte, and the CPU time of each on average; memory before and after them, and at most".to_owned(),
        target: "100 ms",
        measured: format!(
            "{} ms, {} ms of CPU time, {} kB; {:.0} MiB before, {:.0} MiB after (most: {:.0} MiB)",
            longest.as_millis(),
            cpu.as_millis(),
            size / 1000,
            before.now,
            after.now,
            after.peak
        ),
        met: Some(longest <= Duration::from_millis(100)),
    }
}

fn start_rows(started: &Started) -> Vec<Row> {
    let conditions = "10,000 key results with 24 points of history each, none of them due";
    vec![
        Row {
            what: "queries after a restart with nothing due",
            conditions: format!("{conditions}; dry runs counted too"),
            target: "0",
            measured: format!("{} ({:.0} status writes)", started.queries, started.writes),
            met: Some(started.queries == 0 && started.writes == 0.0),
        },
        Row {
            what: "start with nothing due",
            conditions: format!(
                "{conditions}; until /readyz answers, and until all were listed and looked at (the process is idle)"
            ),
            target: "-",
            measured: format!(
                "ready after {:.2} s, all looked at after {:.1} s and {:.1} s of CPU time",
                started.ready_seconds, started.looked_at_all_seconds, started.cpu_seconds
            ),
            met: None,
        },
    ]
}
