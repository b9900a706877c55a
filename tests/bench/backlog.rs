//! Ten thousand that are due at once, and new ones behind them.

use std::time::Duration;

use jiff::SignedDuration;

use crate::{
    memory::MANY,
    process::Process,
    progress,
    table::Row,
    world::{MOST_QUERIES, RESTING_INTERVAL, World, resting},
};

/// New ones come one after the other, spread over the backlog.
const NEW: usize = 5;

pub async fn rows(world: &mut World) -> Vec<Row> {
    let mut fleet = match world.large.take() {
        Some(fleet) => fleet,
        None => resting(world, "ten-thousand", MANY, 24).await,
    };
    progress("making 10,000 key results due");
    // Longer ago than their interval, and still within the two intervals that a value is fresh for: nothing else is due.
    fleet.write(crate::now() - SignedDuration::from_hours(8 * 24), 24).await;
    let before = world.stub.count("jobs.query");
    let operator = Process::start(&fleet.namespace, &[]);
    operator.until_synced(&world.stub, before + 64, 1).await;
    let began = std::time::Instant::now();
    let mut waits = Vec::new();
    let mut due_left = 0.0;
    for _ in 0..NEW {
        due_left = operator.metric("okr_operator_queue_depth ").await;
        let name = fleet.add(RESTING_INTERVAL).await;
        let wait = fleet.until_value(&name).await;
        progress(&format!("a new one behind {due_left:.0} waited {:.2} s", wait.as_secs_f64()));
        waits.push(wait);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    operator.until_synced(&world.stub, before + MANY + NEW, MANY + NEW).await;
    let drained = (MANY + NEW - 64) as f64 / began.elapsed().as_secs_f64();
    operator.until_idle().await;
    let (cpu, memory, syncs) = (operator.cpu(), operator.memory(), operator.synced().await);
    operator.stop().await;
    let own = cpu.saturating_sub(world.start_cpu.unwrap_or_default());
    let milliseconds = 1000.0 * own.as_secs_f64() / syncs;
    let longest = waits.iter().max().copied().unwrap_or_default().as_secs_f64();
    let start = match world.start_cpu {
        Some(start) => format!("less the {:.1} s of a start with nothing due", start.as_secs_f64()),
        None => "the start included".to_owned(),
    };
    world.large = Some(fleet);
    vec![
        Row {
            what: "first value of a new key result behind 10,000 that are due",
            conditions: format!(
                "answers in 20 ms, maxConcurrentQueries {MOST_QUERIES}; the longest of {NEW}, the last behind {due_left:.0}; from the create's answer until the status has a value"
            ),
            target: "at most 5 s",
            measured: format!("{longest:.2} s"),
            met: Some(longest <= 5.0),
        },
        Row {
            what: "10,000 overdue syncs",
            conditions: format!(
                "the same run: routine syncs of one query and one write, as fast as the API server takes them; CPU time of the process, {start}; memory after and at most"
            ),
            target: "-",
            measured: format!(
                "{drained:.0} syncs/s, {milliseconds:.2} ms of CPU per sync, {:.0} MiB (most: {:.0} MiB)",
                memory.now, memory.peak
            ),
            met: None,
        },
    ]
}
