//! A simulated hour: the slots of many, each decided as the operator decides it, and a queue of set width behind them.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use okr_operator::{
    api::{BigQueryConnection, OkrKeyResult},
    domain::{
        Measured,
        pass::{self, Pass, Turn},
        schedule::Slots,
        status::{self, Attempt, Outcome},
    },
};
use serde_json::json;

use crate::{
    table::Row,
    world::{gaps, key_result, route, synced_status},
};

const MANY: usize = 10_000;
const MOST: usize = 100_000;

/// 100,000 an hour are 28/s; at two seconds each 56 run at a time.
const LIMIT: usize = 64;
const QUERY_SECONDS: i64 = 2;

pub fn rows() -> Vec<Row> {
    let spread = spread(MANY);
    let hour = hour(MOST);
    let decided = hour.passes as f64 / hour.took.as_secs_f64();
    let late = hour.latest.as_secs_f64();
    vec![
        Row {
            what: "spread of 10,000 over a simulated hour",
            conditions: format!("the slots of {MANY} uids, interval 1h; the largest minute over the mean"),
            target: "at most 1.5",
            measured: format!("{spread:.2}"),
            met: Some(spread <= 1.5),
        },
        Row {
            what: "100,000 in a simulated hour: spread",
            conditions: format!(
                "every key result looked at when its last sync was written and at its slot, synced, and decided; the largest minute over the mean; {} of {MOST} were due exactly once",
                hour.synced_once
            ),
            target: "at most 1.5",
            measured: format!("{:.2}", hour.spread),
            met: Some(hour.spread <= 1.5 && hour.synced_once == MOST),
        },
        Row {
            what: "100,000 in a simulated hour: lateness",
            conditions: format!(
                "queries of {QUERY_SECONDS} s, maxConcurrentQueries {LIMIT}: 87 % of what fits; the latest start after its slot"
            ),
            target: "at most 60 s",
            measured: format!("{late:.1} s"),
            met: Some(late <= 60.0),
        },
        Row {
            what: "100,000 in a simulated hour: CPU of the decisions",
            conditions: format!(
                "one thread; {} looks and {} statuses, without HTTP and API server",
                hour.passes - hour.statuses,
                hour.statuses
            ),
            target: "-",
            measured: format!(
                "{:.1} s in all, {decided:.0} decisions/s, {:.2} ms per sync",
                hour.took.as_secs_f64(),
                1000.0 * hour.took.as_secs_f64() / MOST as f64
            ),
            met: None,
        },
    ]
}

/// The largest minute over the mean.
fn spread(number: usize) -> f64 {
    let mut minutes = [0_u32; 60];
    for index in 0..number {
        let slot = slots(&uid(index)).after(midnight());
        minutes[minute(slot)] += 1;
    }
    largest_over_mean(&minutes)
}

struct Hour {
    spread: f64,
    synced_once: usize,
    latest: Duration,
    /// Looks and statuses that were decided.
    passes: usize,
    statuses: usize,
    took: Duration,
}

/// Each is synced shortly before the hour, and then at its slot in it. They are made one after the other, as 100,000 at a
/// time would need this process more memory than the operator has.
fn hour(number: usize) -> Hour {
    let connection = connection();
    let mut key_result: OkrKeyResult = key_result(0, "1h");
    key_result.metadata.namespace = Some("sales".to_owned());
    key_result.metadata.generation = Some(1);
    let begin = noon();
    let mut slots_of_all = Vec::with_capacity(number);
    let (mut minutes, mut synced_once) = ([0_u32; 60], 0);
    let (mut took, mut passes, mut statuses) = (Duration::ZERO, 0, 0);
    for index in 0..number {
        key_result.metadata.uid = Some(uid(index));
        key_result.status = None;
        key_result.status = Some(synced_status(&key_result, &connection, begin, begin, 24));

        let began = Instant::now();
        let measured = Measured::try_from(&key_result).expect("it has a query");
        // Each pass gathers anew, as the operator does.
        let through = || route(&measured, &connection);
        let before = pass::pass(&measured, &through(), &gaps(), begin, None, Turn::Soon);
        let Pass::Wait(Some(slot)) = before else { panic!("it was synced a moment ago: {before:?}") };
        let at_slot = pass::pass(&measured, &through(), &gaps(), slot, None, Turn::Soon);
        assert!(matches!(at_slot, Pass::Attempt { .. }), "its slot has come: {at_slot:?}");
        let ended = slot + SignedDuration::from_secs(QUERY_SECONDS);
        let status = status::next(&measured, &through(), Some(&attempt(&measured, ended)), &gaps(), ended);
        let measured = Measured { status: &status, ..measured };
        let after = pass::pass(&measured, &route(&measured, &connection), &gaps(), ended, None, Turn::Soon);
        took += began.elapsed();
        passes += 4;
        statuses += 1;

        let Pass::Wait(Some(next)) = after else { panic!("it was synced a moment ago: {after:?}") };
        let hour_end = begin + SignedDuration::from_hours(1);
        synced_once += usize::from(slot > begin && slot <= hour_end && next > hour_end);
        minutes[minute(slot)] += 1;
        slots_of_all.push(slot);
    }
    slots_of_all.sort_unstable();
    Hour { spread: largest_over_mean(&minutes), synced_once, latest: latest(&slots_of_all), passes, statuses, took }
}

fn attempt(measured: &Measured<'_>, ended: Timestamp) -> Attempt {
    let query = measured.status.last_query.clone().expect("it was synced before");
    Attempt {
        fingerprint: measured.status.query_fingerprint.clone().expect("it was synced before"),
        refresh: None,
        reconcile_at: None,
        ended,
        outcome: Outcome::Measured { value: "4001".to_owned(), query },
    }
}

/// How late the latest starts, where at most [`LIMIT`] run at a time.
fn latest(slots: &[Timestamp]) -> Duration {
    let mut ends: BinaryHeap<Reverse<Timestamp>> = BinaryHeap::new();
    let mut latest = SignedDuration::ZERO;
    for &slot in slots {
        let free = match ends.len() {
            LIMIT => ends.pop().map_or(slot, |Reverse(end)| end),
            _ => slot,
        };
        let start = slot.max(free);
        latest = latest.max(start.duration_since(slot));
        ends.push(Reverse(start + SignedDuration::from_secs(QUERY_SECONDS)));
    }
    latest.unsigned_abs()
}

fn largest_over_mean(minutes: &[u32; 60]) -> f64 {
    let largest = f64::from(minutes.iter().max().copied().unwrap_or_default());
    largest / (f64::from(minutes.iter().sum::<u32>()) / 60.0)
}

fn minute(slot: Timestamp) -> usize {
    usize::try_from(slot.as_second().rem_euclid(3600) / 60).expect("below 60")
}

fn slots(uid: &str) -> Slots {
    Slots::new(uid, okr_operator::api::Duration::from_secs(3600))
}

/// Like the API server's: of version 4, and as good as random.
fn uid(index: usize) -> String {
    // The finalizer of splitmix64: every bit of the index reaches every bit of the result.
    let mix = |mut bits: u64| {
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    let high = mix(index as u64 + 1);
    let low = mix(high);
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

fn connection() -> BigQueryConnection {
    serde_json::from_value(json!({
        "apiVersion": "okr-operator.dev/v1alpha1", "kind": "BigQueryConnection",
        "metadata": {"namespace": "sales", "name": "warehouse", "uid": uid(usize::MAX - 1), "generation": 1},
        "spec": {"projectId": "demo", "credentials": {"none": {}}, "endpoint": "http://127.0.0.1:9050",
            "limits": {"maxConcurrentQueries": LIMIT}},
    }))
    .expect("a connection")
}

/// Of today, in UTC: the beginning of an hour that no change of day disturbs.
fn noon() -> Timestamp {
    midnight() + SignedDuration::from_hours(12)
}

fn midnight() -> Timestamp {
    let today = crate::now().as_second().div_euclid(86_400) * 86_400;
    Timestamp::from_second(today).expect("today")
}
