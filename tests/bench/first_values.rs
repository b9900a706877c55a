//! A thousand new key results at once, beside what the API server takes of such writes.

use crate::{
    audit,
    process::Process,
    progress,
    table::Row,
    world::{MOST_QUERIES, WRITERS, World},
};

const NEW: usize = 1000;

pub async fn rows(world: &World) -> Vec<Row> {
    let before = raw_rate(world).await;
    let at_start = at_start(world).await;
    let (while_running, from_creation) = while_running(world).await;
    let after = raw_rate(world).await;
    let raw = before.midpoint(after);
    let share = 100.0 * at_start / raw;
    let both = 2.0 * NEW as f64 / from_creation;
    let share_of_both = 100.0 * both / raw;
    vec![
        Row {
            what: "raw rate of status writes",
            conditions: format!(
                "{NEW} first statuses of the same kind and size, PUT by the harness at concurrency {WRITERS}; mean of one run before and one after the next two rows"
            ),
            target: "-",
            measured: format!("{raw:.0}/s ({before:.0} and {after:.0})"),
            met: None,
        },
        Row {
            what: "first values of 1,000 new key results, waiting when the operator starts",
            conditions: format!(
                "created before the start; each takes a dry run and a query, answered in 20 ms; maxConcurrentQueries {MOST_QUERIES}; from the first status write to the last, by the audit log"
            ),
            target: "70 % of the raw rate",
            measured: format!("{at_start:.0}/s, {share:.0} %"),
            met: Some(share >= 70.0),
        },
        Row {
            what: "the same, created while the operator runs",
            conditions: format!(
                "creates at concurrency {WRITERS} compete with the writes for the API server; from the first status write to the last, and from the first create to the last write"
            ),
            target: "-",
            measured: format!(
                "{while_running:.0}/s, all within {from_creation:.1} s: {both:.0} creates and status writes per second, {share_of_both:.0} % of the raw rate"
            ),
            met: None,
        },
    ]
}

/// First statuses, written by this process alone.
async fn raw_rate(world: &World) -> f64 {
    let mut fleet = world.fleet("raw", "5m").await;
    fleet.create(NEW, "1h").await;
    let rate = fleet.write(crate::now(), 1).await;
    progress(&format!("raw: {rate:.0} status writes/s"));
    rate
}

async fn at_start(world: &World) -> f64 {
    let mut fleet = world.fleet("new", "5m").await;
    fleet.create(NEW, "1h").await;
    let (mark, before) = (audit::mark(), world.stub.count("jobs.query"));
    let operator = Process::start(&fleet.namespace, &[]);
    operator.until_synced(&world.stub, before + NEW, NEW).await;
    operator.stop().await;
    let calls = audit::since(mark, &fleet.namespace);
    let rate = audit::rate(&calls.iter().filter(|call| call.is_key_result_write()).collect::<Vec<_>>());
    progress(&format!("waiting at the start: {rate:.0} first values/s"));
    rate
}

/// The rate, and the seconds from the first create to the last value.
async fn while_running(world: &World) -> (f64, f64) {
    let mut fleet = world.fleet("running", "5m").await;
    let mark = audit::mark();
    let operator = Process::start(&fleet.namespace, &[]);
    audit::until_listed(mark, &fleet.namespace).await;
    operator.until_idle().await;
    let (mark, before) = (audit::mark(), world.stub.count("jobs.query"));
    fleet.create(NEW, "1h").await;
    operator.until_synced(&world.stub, before + NEW, NEW).await;
    operator.stop().await;
    let calls = audit::since(mark, &fleet.namespace);
    let writes: Vec<_> = calls.iter().filter(|call| call.is_key_result_write()).collect();
    let created = calls.iter().find(|call| call.verb == "create").expect("they were created").at;
    let last = writes.last().expect("they were synced").at;
    let rate = audit::rate(&writes);
    progress(&format!("created while it runs: {rate:.0} first values/s"));
    (rate, last.duration_since(created).as_secs_f64())
}
