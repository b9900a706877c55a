//! What a routine sync costs, where nothing but routine syncs happens.

use std::time::Duration;

use crate::{
    audit,
    process::Process,
    progress,
    table::Row,
    world::{Fleet, World},
};

const NUMBER: usize = 1000;

/// After this each has been synced at a slot of its own, and what was overdue at the start is behind.
const SETTLES_WITHIN: Duration = Duration::from_secs(65);

/// Two slots each.
const MEASURED_FOR: Duration = Duration::from_secs(120);

/// Key results that are due every minute, spread over it.
pub async fn every_minute(world: &World) -> Fleet {
    let mut fleet = world.fleet("routine", "1m").await;
    progress(&format!("creating {NUMBER} key results that are due every minute"));
    fleet.create(NUMBER, "1m").await;
    fleet.write(crate::now(), 24).await;
    fleet
}

pub async fn rows(world: &World) -> Vec<Row> {
    let fleet = every_minute(world).await;
    let operator = Process::start(&fleet.namespace, &[]);
    progress("routine syncs for 3 minutes");
    tokio::time::sleep(SETTLES_WITHIN).await;
    world.stub.forget();
    let (mark, cpu, synced) = (audit::mark(), operator.cpu(), operator.synced().await);
    tokio::time::sleep(MEASURED_FOR).await;
    let (cpu, syncs) = (operator.cpu() - cpu, operator.synced().await - synced);
    let queries = world.stub.count("jobs.query") as f64;
    let other_queries = ["jobs.insert", "jobs.getQueryResults", "jobs.cancel", "token", "other"]
        .iter()
        .map(|call| world.stub.count(call))
        .sum::<usize>();
    let calls = audit::since(mark, &fleet.namespace);
    operator.stop().await;
    let writes = calls.iter().filter(|call| call.is_key_result_write()).count() as f64;
    let others: Vec<_> = calls.iter().filter(|call| !call.is_key_result_write()).collect();
    let of_connection = others.iter().filter(|call| call.resource == "bigqueryconnections/status").count();
    let watches = others.iter().filter(|call| call.verb == "watch").count();
    let reads = others.len() - of_connection - watches;
    let milliseconds = 1000.0 * cpu.as_secs_f64() / syncs;
    // The counters are read a moment apart from each other: as many syncs as come within a tenth of a second.
    let is_one = |ratio: f64| (0.99..=1.01).contains(&ratio);
    let conditions = format!(
        "{NUMBER} key results with 24 points of history, interval 1m; {syncs:.0} syncs in {} s; answers in 20 ms",
        MEASURED_FOR.as_secs()
    );
    vec![
        Row {
            what: "CPU per routine sync",
            conditions: format!("{conditions}; all CPU time of the process, user and kernel"),
            target: "at most 1 ms",
            measured: format!("{milliseconds:.2} ms"),
            met: Some(milliseconds <= 1.0),
        },
        Row {
            what: "API calls per routine sync",
            conditions: format!(
                "the same syncs, by the audit log; beside them {of_connection} writes of the connection's status and {watches} renewed watches"
            ),
            target: "1 write, 0 reads",
            measured: format!("{:.2} writes, {:.2} reads", writes / syncs, reads as f64 / syncs),
            met: Some(is_one(writes / syncs) && reads == 0),
        },
        Row {
            what: "BigQuery HTTP calls per routine sync",
            conditions: "the same syncs, by the stub's count".to_owned(),
            target: "1",
            measured: format!("{:.2} jobs.query, {other_queries} others in all", queries / syncs),
            met: Some(is_one(queries / syncs) && other_queries == 0),
        },
    ]
}
