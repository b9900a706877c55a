//! Two replicas: the leader is killed, or stopped in order, and the other goes on.

use std::time::{Duration, Instant};

use crate::{
    process::{Process, knows},
    progress, routine,
    table::Row,
    world::World,
};

const FLAG: &str = "--leader-election";

/// Answers to what the leader had sent come within this time of its end; what comes later is the other's.
const STRAGGLERS: Duration = Duration::from_millis(100);

/// A lost lease may take 20 s to pass on; this is well beyond.
const PATIENCE: Duration = Duration::from_secs(90);

const KILLED: &str = "failover after kill -9 of the leader";
const STOPPED: &str = "handover after SIGTERM to the leader";
const WITHIN_20: &str = "within 20 s";
const WITHIN_2: &str = "within 2 s";

pub async fn rows(world: &World) -> Vec<Row> {
    if !knows(FLAG) {
        let row = |what, target| Row {
            what,
            conditions: format!("this version has no {FLAG}"),
            target,
            measured: "not available".to_owned(),
            met: None,
        };
        return vec![row(KILLED, WITHIN_20), row(STOPPED, WITHIN_2)];
    }
    let fleet = routine::every_minute(world).await;
    let start = || Process::start(&fleet.namespace, &[FLAG]);
    let killed = {
        let (mut leader, _standby) = leader_and_standby(start(), start()).await;
        let ended = Instant::now();
        leader.kill();
        next_query(world, ended).await
    };
    progress(&format!("killed: {:.2} s", killed.as_secs_f64()));
    // Both are gone by now, the second without releasing its lease: the next pair waits that out.
    let stopped = {
        let (leader, _standby) = leader_and_standby(start(), start()).await;
        let ended = Instant::now();
        leader.terminate();
        next_query(world, ended).await
    };
    progress(&format!("stopped: {:.2} s", stopped.as_secs_f64()));
    let row = |what, target, limit: f64, took: Duration| {
        Row {
        what,
        conditions: "two replicas, 1,000 key results with interval 1m (17 syncs/s), answers in 20 ms; from the signal to the other replica's first query".to_owned(),
        target,
        measured: format!("{:.2} s", took.as_secs_f64()),
        met: Some(took.as_secs_f64() <= limit),
    }
    };
    vec![row(KILLED, WITHIN_20, 20.0, killed), row(STOPPED, WITHIN_2, 2.0, stopped)]
}

/// Only the leader syncs. It is left to do so until the syncs flow evenly and the standby has read everything.
async fn leader_and_standby(one: Process, other: Process) -> (Process, Process) {
    let deadline = Instant::now() + PATIENCE;
    let one_leads = loop {
        let (by_one, by_other) = (one.synced().await, other.synced().await);
        assert!(by_one == 0.0 || by_other == 0.0, "both sync");
        if by_one + by_other > 0.0 {
            break by_one > 0.0;
        }
        assert!(Instant::now() < deadline, "nobody leads");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let (leader, standby) = if one_leads { (one, other) } else { (other, one) };
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(standby.synced().await == 0.0, "the standby syncs");
    (leader, standby)
}

/// How long after `ended` the first query comes that is not the former leader's.
async fn next_query(world: &World, ended: Instant) -> Duration {
    tokio::time::sleep(STRAGGLERS).await;
    world.stub.forget();
    while world.stub.count("jobs.query") == 0 {
        assert!(ended.elapsed() < PATIENCE, "nobody took over");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ended.elapsed()
}
