//! What the API server, its audit log and BigQuery saw, and what must hold of it. The operator's own words count nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use okr_operator::{
    api::{MeasuredStatus, OkrKeyResult, OkrStatus, Time},
    domain::schedule::Slots,
};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{
    now,
    proxy::Passage,
    support::{
        bigquery_stub::{Reply, Stub},
        cluster::{condition, truth},
    },
    workload::{Book, CHECKED_IN, FORGED, Place, Rest, Touch},
};

/// What the numbers say: each value is far below what is expected of its target.
const COMPUTED: OkrStatus = OkrStatus::AtRisk;

/// Every interval is this long here.
const INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// A query is in its slot when it starts within this (SPEC 4).
const LATEST: SignedDuration = SignedDuration::from_mins(1);

/// A query that was sent this long before its slot can end after it, and the slot is then served. The stub's slowest
/// takes half of it.
const LONGEST_QUERY: SignedDuration = SignedDuration::from_secs(5);

/// The most by which a request can be under way, failures included, while what asks for the next one has happened.
const UNDER_WAY: SignedDuration = SignedDuration::from_secs(30);

/// A watch that hangs is given up after two minutes (watch.rs), and begun again within half a minute.
const LONGEST_DEAFNESS: SignedDuration = SignedDuration::from_secs(150);

/// No storm lasts longer than this.
const LONGEST_OUTAGE: SignedDuration = SignedDuration::from_secs(90);

/// BigQuery as it was asked: each run of a query gets the next number, so a value tells by itself where it came from.
#[derive(Default)]
pub struct Warehouse {
    last: AtomicU64,
    answers: Mutex<HashMap<String, Vec<Answer>>>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    value: u64,
    at: Timestamp,
}

impl Warehouse {
    /// Has `stub` answer so. Every seventh job takes a while and is polled.
    pub fn serve(self: &Arc<Self>, stub: &Stub) {
        stub.otherwise(Reply::number("INT64", "1"));
        let warehouse = Arc::clone(self);
        stub.compute(move |sql| {
            let value = warehouse.last.fetch_add(1, Ordering::Relaxed) + 1;
            warehouse.answered(sql, value, now());
            let reply = Reply::number("INT64", &value.to_string());
            match value % 7 {
                0 => Reply::slow(Duration::from_millis(500 * (1 + value % 5)), reply).answering_at_once(),
                _ => reply.delay(Duration::from_millis(20)),
            }
        });
    }

    /// As if the query had been answered so.
    pub fn answered(&self, sql: &str, value: u64, at: Timestamp) {
        self.answers.lock().unwrap().entry(sql.to_owned()).or_default().push(Answer { value, at });
    }

    pub fn runs(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    fn of(&self, sql: &str) -> Vec<Answer> {
        self.answers.lock().unwrap().get(sql).cloned().unwrap_or_default()
    }

    fn all(&self) -> BTreeMap<String, Vec<Answer>> {
        self.answers.lock().unwrap().clone().into_iter().collect()
    }
}

/// What was seen of one object.
#[derive(Debug, Clone, Default)]
struct Seen {
    place: Place,
    /// The query of each generation.
    queries: BTreeMap<i64, String>,
    /// Every value that it ever showed.
    values: BTreeSet<u64>,
    status: MeasuredStatus,
}

/// Watches key results at the API server itself, and judges each state that it sees.
pub struct Witness {
    record: Arc<Record>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Record {
    warehouse: Arc<Warehouse>,
    seen: Mutex<HashMap<String, Seen>>,
    violations: Mutex<Vec<String>>,
    states: AtomicU64,
}

impl Witness {
    pub fn start(client: Client, warehouse: Arc<Warehouse>) -> Self {
        let record = Arc::new(Record { warehouse, ..Record::default() });
        let watching = Arc::clone(&record);
        let task = tokio::spawn(async move {
            let events = watcher(Api::<OkrKeyResult>::all(client), watcher::Config::default()).default_backoff();
            // Errors are those of a control plane that is down; the watcher goes on by itself.
            let events = events.into_stream().filter_map(|event| std::future::ready(event.ok()));
            events
                .for_each(|event| {
                    if let Event::Apply(object) | Event::InitApply(object) = event {
                        watching.judge(&object);
                    }
                    std::future::ready(())
                })
                .await;
        });
        Self { record, task }
    }

    /// One that watches nothing, and judges what it is shown.
    pub fn blind(warehouse: Arc<Warehouse>) -> Self {
        let record = Arc::new(Record { warehouse, ..Record::default() });
        Self { record, task: tokio::spawn(std::future::pending()) }
    }

    /// Judges one state of one object.
    pub fn shown(&self, object: &OkrKeyResult) {
        self.record.judge(object);
    }

    pub fn violations(&self) -> Vec<String> {
        self.record.violations.lock().unwrap().clone()
    }

    /// How many states of objects it saw.
    pub fn states(&self) -> u64 {
        self.record.states.load(Ordering::Relaxed)
    }

    /// Every run of a query, against what asks for one: each has a cause of its own. Returns how many were judged.
    pub fn judge_queries(&self, causes: &Causes) -> usize {
        let uids = self.uids_by_query();
        let shown = self.values_shown();
        let mut judged = 0;
        for (sql, answers) in self.record.warehouse.all() {
            // One that the witness never saw, because its own watch was cut: its slots are not known.
            let (Some(uid), Some(first), Some(last)) = (uids.get(&sql), answers.first(), answers.last()) else {
                continue;
            };
            let lost =
                answers.iter().filter(|answer| !shown.contains(&answer.value) && causes.may_have_lost(answer.at));
            let mut left = causes.of(&sql);
            left.extend(lost.map(|answer| Cause::at(answer.at)));
            left.extend(slots_between(uid, first.at - UNDER_WAY, last.at).map(Cause::at));
            left.sort_by_key(|cause| cause.until);
            judged += answers.len();
            // The first one is that of a new query.
            for pair in answers.windows(2) {
                let (before, at) = (pair[0].at, pair[1].at);
                let fits = |cause: &Cause| cause.since <= at && cause.until >= before - UNDER_WAY;
                // Of those that fit, the one that soonest fits none any more.
                match left.iter().position(fits) {
                    Some(index) => drop(left.remove(index)),
                    None => self
                        .violate(format!("query more often than allowed: {sql} at {before} and {at}, for no reason")),
                }
            }
        }
        judged
    }

    /// From `start` to `end`, while nothing failed: no slot without its query, and no query of what rests.
    pub fn judge_slots(&self, book: &Book, start: Timestamp, end: Timestamp) -> usize {
        let uids = self.uids_by_query();
        let wanted = book.wanted.lock().unwrap().clone();
        let touches = book.touches.lock().unwrap().clone();
        let mut judged = 0;
        for (place, wanted) in wanted {
            let touched = touches.iter().any(|touch| touch.place == place && touch.done >= start);
            let Some(uid) = uids.get(&wanted.sql).filter(|_| !touched) else { continue };
            let answers = self.record.warehouse.of(&wanted.sql);
            if let Some(rest) = wanted.rest {
                if let Some(answer) = answers.iter().find(|answer| answer.at >= start && answer.at <= end) {
                    self.violate(format!("{place:?} ({uid}) was queried at {} while {rest:?}", answer.at));
                }
                continue;
            }
            let slots = self::slots(uid);
            let mut slot = slots.after(start);
            while slot + LATEST < end {
                judged += 1;
                // A second for the clocks of the two: statuses have whole ones.
                let in_time = slot - LONGEST_QUERY..=slot + LATEST + SignedDuration::from_secs(1);
                if !answers.iter().any(|answer| in_time.contains(&answer.at)) {
                    self.violate(format!("late: {place:?} ({uid}) has no query for its slot {slot}"));
                }
                slot = slots.after(slot);
            }
        }
        judged
    }

    /// What has not come to rest: with a value that BigQuery gave after `since`, or with the reason that is expected.
    pub fn unsettled(&self, book: &Book, since: Timestamp) -> Vec<String> {
        let seen = self.record.seen.lock().unwrap();
        let wanted = book.wanted.lock().unwrap();
        let uids = uids_by_query(&seen);
        let unsettled = wanted.iter().filter_map(|(place, wanted)| {
            let Some(seen) = uids.get(&wanted.sql).and_then(|uid| seen.get(uid)) else {
                return Some(format!("{place:?} was not seen as it is wanted"));
            };
            let status = &seen.status;
            let observed = status.observed_generation == seen.queries.keys().max().copied();
            let ready = condition(&status.conditions, "Ready").map_or("undecided", |ready| &ready.reason);
            let settled = match wanted.rest {
                Some(rest) => ready == rest.reason(),
                None => {
                    let answers = self.record.warehouse.of(&wanted.sql);
                    let current = |value: &String| {
                        answers.iter().any(|answer| answer.at >= since && answer.value.to_string() == *value)
                    };
                    ready == "Synced"
                        && truth(&status.conditions, "Fresh") == "True"
                        && status.value.as_ref().is_some_and(current)
                }
            };
            let stands = status.okr_status.map_or("undecided", OkrStatus::name);
            let should = match (wanted.rest, wanted.is_checked_in, &status.value) {
                (Some(Rest::Postponed), _, _) => OkrStatus::Postponed,
                (Some(Rest::Closed), _, _) => OkrStatus::Closed,
                (_, true, _) => CHECKED_IN,
                (_, false, None) => OkrStatus::NotStarted,
                (_, false, Some(_)) => COMPUTED,
            };
            let stands_so = stands == should.name();
            (!observed || !settled || !stands_so).then(|| {
                let value = status.value.as_deref().unwrap_or("none");
                let message = condition(&status.conditions, "Ready").map_or("", |ready| &ready.message);
                let next = status.next_sync_time.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
                format!(
                    "{place:?} observed {observed}, {ready}, {stands}, value {value}, failures {:?}, next {next}: {message}",
                    status.consecutive_failures
                )
            })
        });
        unsettled.collect()
    }

    pub fn violate(&self, text: String) {
        self.record.violate(text);
    }

    fn values_shown(&self) -> BTreeSet<u64> {
        self.record.seen.lock().unwrap().values().flat_map(|seen| seen.values.iter().copied()).collect()
    }

    fn uids_by_query(&self) -> HashMap<String, String> {
        uids_by_query(&self.record.seen.lock().unwrap())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn uids_by_query(seen: &HashMap<String, Seen>) -> HashMap<String, String> {
    seen.iter().flat_map(|(uid, seen)| seen.queries.values().map(move |sql| (sql.clone(), uid.clone()))).collect()
}

impl Record {
    fn violate(&self, text: String) {
        eprintln!("{}: {text}", now());
        self.violations.lock().unwrap().push(text);
    }

    /// One state of one object.
    fn judge(&self, object: &OkrKeyResult) {
        self.states.fetch_add(1, Ordering::Relaxed);
        let meta = &object.metadata;
        let (Some(uid), Some(generation)) = (&meta.uid, meta.generation) else { return };
        let place = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let sql = object.spec.big_query.as_ref().map(|source| source.query.clone()).unwrap_or_default();
        let status = object.status.clone().unwrap_or_default();
        let mut seen = self.seen.lock().unwrap();
        let seen = seen.entry(uid.clone()).or_default();
        seen.place = place;
        seen.queries.insert(generation, sql);
        let complain = |what: &str| {
            let version = meta.resource_version.as_deref().unwrap_or_default();
            self.violate(format!("{what}: {:?} ({uid}, version {version}): {status:?}", seen.place));
        };
        // Until the operator sees it, it may seem so.
        let mut writers =
            meta.managed_fields.iter().flatten().filter(|entry| entry.subresource.as_deref() == Some("status"));
        let is_ours = writers.all(|entry| entry.manager.as_deref() == Some("okr-operator"));
        let is_forged = status.value.as_deref() == Some(FORGED);
        if is_forged && is_ours && truth(&status.conditions, "Fresh") == "True" {
            complain("Fresh, yet people wrote it");
        }
        if let Some(value) = status.value.as_ref().filter(|_| !is_forged) {
            let returned =
                |sql: &String| self.warehouse.of(sql).into_iter().find(|answer| answer.value.to_string() == *value);
            match seen.queries.values().find_map(returned) {
                // A generation that was never seen, because the watch was cut, can be what it came from.
                None if generation_gaps(&seen.queries) && *value != crate::proxy::NEVER_RETURNED => {}
                None => complain("a value that BigQuery never returned for this object"),
                Some(answer) => {
                    let at = answer.at - SignedDuration::from_secs(1);
                    if status.value_time.as_ref().is_none_or(|time| time.0 < at || time.0 > now() + INTERVAL) {
                        complain("valueTime is not when BigQuery was asked");
                    }
                }
            }
            let judged = status.observed_generation.and_then(|generation| seen.queries.get(&generation));
            if truth(&status.conditions, "Fresh") == "True" && judged.is_some_and(|sql| returned(sql).is_none()) {
                complain("Fresh, yet BigQuery never returned it for this query");
            }
        }
        let older = |before: &Option<Time>, after: &Option<Time>| match (before, after) {
            (Some(before), Some(after)) => after.0 < before.0,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let number = |status: &MeasuredStatus| status.value.as_ref().and_then(|value| value.parse::<u64>().ok());
        if older(&seen.status.last_sync_time, &status.last_sync_time)
            || older(&seen.status.value_time, &status.value_time)
            || (!is_forged && number(&seen.status) > number(&status))
            || seen.status.observed_generation > status.observed_generation
        {
            complain(&format!("a status older than one already written, {:?}", seen.status));
        }
        seen.values.extend(number(&status));
        seen.status = status;
    }
}

fn generation_gaps(queries: &BTreeMap<i64, String>) -> bool {
    let known: BTreeSet<i64> = queries.keys().copied().collect();
    known.last().is_some_and(|&last| (1..=last).any(|generation| !known.contains(&generation)))
}

fn slots(uid: &str) -> Slots {
    Slots::new(uid, okr_operator::api::Duration::from_secs(60))
}

fn slots_between(uid: &str, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Timestamp> {
    let slots = slots(uid);
    std::iter::successors(Some(slots.after(from)), move |slot| Some(slots.after(*slot)))
        .take_while(move |slot| *slot <= to)
}

/// What allows one query: it comes about, and until then at the latest it is seen by an operator that leads.
#[derive(Debug, Clone, Copy)]
struct Cause {
    since: Timestamp,
    until: Timestamp,
}

impl Cause {
    /// One that is seen at once.
    fn at(moment: Timestamp) -> Self {
        Self { since: moment, until: moment }
    }

    fn of(touch: &Touch) -> Self {
        Self { since: touch.began, until: touch.done + LONGEST_DEAFNESS }
    }
}

/// What allows a query beside its slots: changes, refreshes, and what failed or was lost.
#[derive(Default)]
pub struct Causes {
    touches: Vec<Touch>,
    /// Deaths and freezes of operators, and changes of leadership: an answer under way then may have been lost, and its
    /// query is sent once more.
    losses: Vec<Timestamp>,
    /// What concerns every key result.
    everywhere: Vec<Timestamp>,
    by_query: HashMap<String, Vec<Timestamp>>,
    /// Faults on the way to an object's path.
    by_place: HashMap<Place, Vec<Timestamp>>,
}

impl Causes {
    pub fn new(book: &Book, losses: Vec<Timestamp>, bigquery: Vec<Passage>, kubernetes: Vec<Passage>) -> Self {
        let mut causes = Self { touches: book.touches.lock().unwrap().clone(), losses, ..Self::default() };
        for passage in bigquery.into_iter().filter(|passage| passage.fault.is_some_and(|fault| fault.is_harm())) {
            match passage.sql {
                // A failed check of a connection holds its key results, and each is asked at once when it passes.
                Some(sql) if sql == "SELECT 1" => causes.everywhere.push(passage.at),
                Some(sql) => causes.by_query.entry(sql).or_default().push(passage.at),
                // A poll, a cancellation or a token: whose it was is not in its text.
                None => causes.everywhere.push(passage.at),
            }
        }
        for passage in kubernetes.into_iter().filter(|passage| passage.fault.is_some_and(|fault| fault.is_harm())) {
            match place(&passage.path) {
                Some(place) => causes.by_place.entry(place).or_default().push(passage.at),
                // A Secret that cannot be read holds the key results of its connection, too.
                None if passage.path.contains("/secrets/") => causes.everywhere.push(passage.at),
                None => {}
            }
        }
        causes
    }

    /// Whether the answer of a query that was sent then can have been on its way, or waiting to be written, at a loss. An
    /// outage of the API server can have kept it from being written for as long as a storm lasts.
    fn may_have_lost(&self, sent: Timestamp) -> bool {
        self.losses.iter().any(|&loss| loss >= sent && loss.duration_since(sent) < LONGEST_OUTAGE)
    }

    fn of(&self, sql: &str) -> Vec<Cause> {
        let key = sql.split('\'').nth(1).unwrap_or_default();
        let (path, _) = key.split_once('#').unwrap_or_default();
        let (namespace, name) = path.split_once('/').unwrap_or_default();
        let place = (namespace.to_owned(), name.to_owned());
        let touches = self.touches.iter().filter(|touch| touch.place == place).map(Cause::of);
        let others = [self.by_query.get(sql), self.by_place.get(&place), Some(&self.everywhere)];
        touches.chain(others.into_iter().flatten().flatten().copied().map(Cause::at)).collect()
    }
}

/// Of `/apis/okr-operator.dev/v1alpha1/namespaces/NAMESPACE/okrkeyresults/NAME/status?...`.
fn place(path: &str) -> Option<Place> {
    let path = path.split('?').next()?;
    let mut words = path.split('/').skip_while(|word| *word != "namespaces").skip(1);
    let namespace = words.next()?;
    (words.next()? == "okrkeyresults").then_some(())?;
    Some((namespace.to_owned(), words.next()?.to_owned()))
}

/// Status writes of operators, against who held the Lease when. Returns how many writes there were of each, and when a
/// reign began: what another had under way then was lost.
pub fn judge_leaders(audit_log: &str, witness: &Witness) -> (BTreeMap<String, usize>, Vec<Timestamp>) {
    let mut calls: Vec<AuditedWrite> = audit_log.lines().filter_map(AuditedWrite::parse).collect();
    calls.sort_by_key(|call| call.done);
    let (mut writes, mut reigns) = (BTreeMap::new(), Vec::new());
    // Who holds it, since when, and its last renewal.
    let mut holder: Option<(String, Timestamp, Timestamp)> = None;
    for call in calls {
        match (&mut holder, call.is_lease) {
            (Some((user, _, renewed)), true) if *user == call.user && call.done.duration_since(*renewed) < LEAD_FOR => {
                *renewed = call.done;
            }
            (holder, true) => {
                reigns.push(call.done);
                *holder = Some((call.user, call.done, call.done));
            }
            (holder, false) => {
                *writes.entry(call.user.clone()).or_default() += 1;
                match holder {
                    Some((user, since, _)) if *user != call.user && call.received > *since => witness.violate(format!(
                        "{} wrote a status at {}, while {user} held the Lease since {since}",
                        call.user, call.received
                    )),
                    Some((user, _, renewed)) if *user == call.user && call.received > *renewed + LEAD_FOR + UNSEEN => {
                        witness.violate(format!(
                            "{user} wrote a status at {}, and had last renewed the Lease at {renewed}",
                            call.received
                        ));
                    }
                    Some(_) => {}
                    None => witness.violate(format!("{} wrote a status without any Lease", call.user)),
                }
            }
        }
    }
    (writes, reigns)
}

/// A renewal lets its holder lead for so long: a later one begins another reign.
const LEAD_FOR: SignedDuration = SignedDuration::from_secs(10);

/// One is sent every 2 s, and the last before the API server is killed can be missing in its audit log.
const UNSEEN: SignedDuration = SignedDuration::from_secs(3);

struct AuditedWrite {
    user: String,
    is_lease: bool,
    received: Timestamp,
    done: Timestamp,
}

impl AuditedWrite {
    fn parse(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).ok()?;
        let user = event["impersonatedUser"]["username"].as_str().filter(|user| user.starts_with("operator-"))?;
        let (verb, object) = (event["verb"].as_str()?, &event["objectRef"]);
        let is_lease = object["resource"] == "leases";
        let is_write = matches!(verb, "create" | "update" | "patch");
        let is_ours =
            ["okrkeyresults", "okrobjectives", "bigqueryconnections"].iter().any(|ours| object["resource"] == *ours);
        let concerns = is_lease || (is_ours && object["subresource"] == "status");
        let succeeded = event["responseStatus"]["code"].as_i64().is_some_and(|code| code < 300);
        let time = |name: &str| event[name].as_str().and_then(|text| text.parse().ok());
        (is_write && concerns && succeeded).then_some(())?;
        Some(Self {
            user: user.to_owned(),
            is_lease,
            received: time("requestReceivedTimestamp")?,
            done: time("stageTimestamp")?,
        })
    }
}
