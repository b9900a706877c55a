//! What is to be done now, in which order, and how much of it at once.
//!
//! One entry per object: asking twice for the same object is asking once. Every connection is a lane with a limit of its
//! own, and no lane takes the last workers, so that slow queries through one connection never hold up those of another.
//! Within a lane the order is that of [`Priority`], and namespaces take turns. A lane that BigQuery asked to slow down
//! pauses by itself, see [`super::pace`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kube::Resource;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{api::BigQueryConnection, metrics::Depth};

use super::pace::Pace;

/// An object of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub fn of(kind: Kind, object: &impl Resource) -> Self {
        let meta = object.meta();
        Self {
            kind,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Connection,
    KeyResult,
    Objective,
}

/// What shares a limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Work that sends no query.
    Unlimited,
    /// The queries of one connection.
    Connection { namespace: String, name: String },
}

impl Lane {
    pub fn of(connection: &BigQueryConnection) -> Self {
        let Key { namespace, name, kind: _ } = Key::of(Kind::Connection, connection);
        Self::Connection { namespace, name }
    }
}

/// In this order within a lane, but for a share of the starts that belongs to what is due (SPEC 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    New,
    Asked,
    Due,
    Retry,
}

/// Work that was taken from the queue. Dropping it says that it is done.
#[derive(Debug)]
pub struct Job {
    pub key: Key,
    /// The lane it counts in. Work in another lane must wait for its turn there.
    pub lane: Lane,
    /// How long it waited as due work, where it is that.
    pub waited: Option<Duration>,
    /// Fires when the work is no longer wanted.
    pub cancel: CancellationToken,
    /// Somebody wants its object decided before its query has ended.
    decision_wanted: Arc<Notify>,
    queue: Arc<Queue>,
}

impl Job {
    /// Remembers which query runs for which object, so that a change of either can be seen.
    pub fn runs(&self, uid: &str, fingerprint: &str) {
        let since = Instant::now();
        self.set_query(Some(RunningQuery { uid: uid.to_owned(), fingerprint: fingerprint.to_owned(), since }));
    }

    /// Its query, if there was one, has ended.
    pub fn answered(&self) {
        self.set_query(None);
    }

    fn set_query(&self, query: Option<RunningQuery>) {
        if let Some(running) = self.queue.state().running.get_mut(&self.key) {
            running.query = query;
        }
    }

    /// Waits until somebody wants the object decided, though its query has not ended.
    pub async fn until_decision_is_wanted(&self) {
        self.decision_wanted.notified().await;
    }

    /// BigQuery asked for fewer requests: nothing more is started in the lane for a while.
    pub fn slow_lane(&self, retry_after: Option<Duration>) {
        self.queue.slow(&self.lane, retry_after, Instant::now());
    }

    /// BigQuery answered.
    pub fn quicken_lane(&self) {
        self.queue.quicken(&self.lane, Instant::now());
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.queue.finish(&self.key);
    }
}

/// The due work that waits in a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    pub waiting: usize,
    /// How long the oldest has waited.
    pub oldest: Option<Duration>,
    /// Whether BigQuery asked for fewer requests, and still has fewer.
    pub slowed: bool,
}

/// Work under way.
#[derive(Debug, Clone)]
pub struct Running {
    /// The query that it is about to send or waits for; None before that, and once it is answered.
    pub query: Option<RunningQuery>,
    pub cancel: CancellationToken,
    decision_wanted: Arc<Notify>,
    lane: Lane,
}

impl Running {
    /// Has whoever waits for the object's query decide it meanwhile.
    pub fn want_decision(&self) {
        self.decision_wanted.notify_one();
    }
}

/// For which object a query runs, and which query it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningQuery {
    pub uid: String,
    pub fingerprint: String,
    pub since: Instant,
}

#[derive(Debug)]
pub struct Queue {
    workers: usize,
    state: Mutex<State>,
    /// Wakes one worker. Who takes work and leaves some wakes the next.
    work: Notify,
    /// Something that ran has ended.
    done: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<Key, Place>,
    /// The places in lanes of connections that objects left to be decided without a query: they come back to them.
    kept: HashMap<Key, Place>,
    lanes: BTreeMap<Lane, LaneState>,
    running: HashMap<Key, Running>,
    closed: bool,
    sequence: u64,
    last_served: Option<Lane>,
}

/// Where something waits.
#[derive(Debug, Clone)]
struct Place {
    lane: Lane,
    order: Order,
    since: Instant,
}

/// By priority; within it by the round in which the namespace has its turn, then by age.
type Order = (Priority, u64, u64);

/// Every so many starts of a lane one goes to what is due, if anything is: two of any ten (SPEC 4).
const DUE_EVERY: u64 = 5;

/// A lane may run at most this many times what there are free workers: one lane alone gets three quarters of all, two get
/// three sevenths each, and the next still finds some.
const PER_FREE_WORKER: usize = 3;

#[derive(Debug, Default)]
struct LaneState {
    limit: Option<usize>,
    running: usize,
    waiting: BTreeMap<Order, Key>,
    starts: u64,
    /// The round that was served last, of each priority.
    served: BTreeMap<Priority, u64>,
    /// Of each namespace that had something since the lane was last idle.
    turns: HashMap<(Priority, String), Turns>,
    pace: Pace,
}

/// The turns of a namespace in one priority.
#[derive(Debug, Default)]
struct Turns {
    /// The last round that it has, or had, something in.
    last: u64,
    waiting: usize,
}

impl LaneState {
    fn has_room(&self, free_workers: usize, now: Instant) -> bool {
        let paced = self.pace.at_once(now).is_none_or(|at_once| self.running < at_once);
        paced && self.running < self.limit.unwrap_or(usize::MAX).min(PER_FREE_WORKER * free_workers)
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.running == 0 && self.waiting.is_empty() && self.pace.is_over(now)
    }

    fn due(&self) -> impl Iterator<Item = (&Order, &Key)> {
        self.waiting.range((Priority::Due, 0, 0)..(Priority::Retry, 0, 0))
    }

    /// The place for something more of `namespace`: one for each namespace in each round.
    fn place(&mut self, priority: Priority, namespace: &str, sequence: u64) -> Order {
        let served = self.served(priority);
        let turns = self.turns.entry((priority, namespace.to_owned())).or_default();
        turns.last = served.max(turns.last + 1);
        (priority, turns.last, sequence)
    }

    fn served(&self, priority: Priority) -> u64 {
        self.served.get(&priority).copied().unwrap_or_default()
    }

    fn put(&mut self, order: Order, key: Key) {
        self.turns.entry((order.0, key.namespace.clone())).or_default().waiting += 1;
        self.waiting.insert(order, key);
    }

    fn take(&mut self, order: &Order) -> Option<Key> {
        let key = self.waiting.remove(order)?;
        if let Some(turns) = self.turns.get_mut(&(order.0, key.namespace.clone())) {
            turns.waiting -= 1;
        }
        Some(key)
    }

    /// Takes something out that is not wanted any more. A namespace with nothing left has its next turn in the next round, however
    /// many it had asked for.
    fn withdraw(&mut self, order: &Order) {
        let Some(key) = self.take(order) else { return };
        let served = self.served(order.0);
        if let Some(turns) = self.turns.get_mut(&(order.0, key.namespace))
            && turns.waiting == 0
        {
            turns.last = turns.last.min(served);
        }
    }

    fn pop(&mut self) -> Option<Key> {
        self.starts += 1;
        let due = self.due().next().filter(|_| self.starts.is_multiple_of(DUE_EVERY));
        let first = due.or_else(|| self.waiting.first_key_value());
        let order @ (priority, round, _) = *first?.0;
        self.served.insert(priority, round);
        self.running += 1;
        self.take(&order)
    }
}

impl Queue {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Self { workers, state: Mutex::default(), work: Notify::new(), done: Notify::new() }
    }

    /// Asks for work on `key`, in the place of an earlier request for it. `limit` is how much of the lane may run at once.
    pub fn push(&self, key: Key, lane: Lane, limit: Option<usize>, priority: Priority) {
        let mut state = self.state();
        if state.running.contains_key(&key) {
            // Whoever finishes has the object looked at again.
            return;
        }
        let is_placed = |place: &Place| place.lane == lane && place.order.0 <= priority;
        if state.waiting.get(&key).is_some_and(is_placed) {
            state.lanes.entry(lane).or_default().limit = limit;
        } else {
            let left =
                state.leave(&key).filter(|left| left.lane != Lane::Unlimited).or_else(|| state.kept.remove(&key));
            match left {
                Some(left) if lane == Lane::Unlimited => {
                    state.insert(key.clone(), lane, limit, priority, Instant::now());
                    state.kept.insert(key, left);
                }
                Some(left) if left.lane == lane && left.order.0 == priority => state.put(key, left, limit),
                Some(_) | None => state.insert(key, lane, limit, priority, Instant::now()),
            }
        }
        drop(state);
        self.work.notify_one();
    }

    /// Since when work on `key` waits in the lane of its connection, if it does, or would but for a decision in between.
    pub fn waits_since(&self, key: &Key) -> Option<Instant> {
        let state = self.state();
        let waiting = state.waiting.get(key).filter(|place| place.lane != Lane::Unlimited);
        waiting.or_else(|| state.kept.get(key)).map(|place| place.since)
    }

    /// Withdraws a request for work that has not begun.
    pub fn remove(&self, key: &Key) {
        self.state().remove(key);
    }

    /// Withdraws a request, and cancels the work if it has begun.
    pub fn cancel(&self, key: &Key) {
        let mut state = self.state();
        state.remove(key);
        if let Some(running) = state.running.get(key) {
            running.cancel.cancel();
        }
    }

    pub fn running(&self, key: &Key) -> Option<Running> {
        self.state().running.get(key).cloned()
    }

    /// Cancels everything that runs.
    pub fn cancel_all(&self) {
        self.state().running.values().for_each(|running| running.cancel.cancel());
    }

    /// Nothing is taken any more.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Waits until nothing runs.
    pub async fn idle(&self) {
        loop {
            let done = self.done.notified();
            if self.state().running.is_empty() {
                return;
            }
            done.await;
        }
    }

    /// Waits for work.
    pub async fn take(self: &Arc<Self>) -> Job {
        loop {
            let now = Instant::now();
            // The guard ends before the await.
            let (taken, pause_end) = {
                let mut state = self.state();
                (state.pop(self.workers, now), state.pause_end(now))
            };
            if let Some((key, Place { lane, order, since }, Running { cancel, decision_wanted, .. })) = taken {
                self.work.notify_one();
                let waited = (order.0 == Priority::Due).then(|| now.saturating_duration_since(since));
                return Job { key, lane, waited, cancel, decision_wanted, queue: Arc::clone(self) };
            }
            // Whoever was woken last knows of all pauses.
            let work = self.work.notified();
            match pause_end {
                Some(end) => drop(tokio::time::timeout_at(end.into(), work).await),
                None => work.await,
            }
        }
    }

    /// The due work that waits in `lane` at `now`.
    pub fn backlog(&self, lane: &Lane, now: Instant) -> Backlog {
        let state = self.state();
        let Some(of_lane) = state.lanes.get(lane) else { return Backlog::default() };
        let since = |key| state.waiting.get(key).map(|place: &Place| place.since);
        let oldest = of_lane.due().filter_map(|(_, key)| since(key)).min();
        Backlog {
            waiting: of_lane.due().count(),
            oldest: oldest.map(|since| now.saturating_duration_since(since)),
            slowed: of_lane.pace.at_once(now).is_some(),
        }
    }

    fn slow(&self, lane: &Lane, retry_after: Option<Duration>, now: Instant) {
        let mut state = self.state();
        // Slowed lanes outlive their work: here those go that are remembered no longer.
        state.lanes.retain(|_, lane| !lane.is_idle(now));
        state.lanes.entry(lane.clone()).or_default().pace.slow(retry_after, now);
        drop(state);
        self.work.notify_one();
    }

    fn quicken(&self, lane: &Lane, now: Instant) {
        if let Some(lane) = self.state().lanes.get_mut(lane) {
            lane.pace.quicken(lane.limit, now);
        }
    }

    fn finish(&self, key: &Key) {
        let mut state = self.state();
        if let Some(running) = state.running.remove(key)
            && let Some(lane) = state.lanes.get_mut(&running.lane)
        {
            lane.running -= 1;
            state.drop_idle(&running.lane, Instant::now());
        }
        drop(state);
        self.work.notify_one();
        self.done.notify_waiters();
    }

    /// A panic while the lock was held ends the process anyway; until then the state is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Depth for Queue {
    /// How many objects wait.
    fn depth(&self) -> usize {
        self.state().waiting.len()
    }
}

impl State {
    /// The first of the next lane that has room: lanes take turns.
    fn pop(&mut self, workers: usize, now: Instant) -> Option<(Key, Place, Running)> {
        if self.closed {
            return None;
        }
        let free = workers.saturating_sub(self.running.len());
        let ready = |(_, lane): &(&Lane, &LaneState)| lane.has_room(free, now) && !lane.waiting.is_empty();
        let lane = match &self.last_served {
            Some(last) => self
                .lanes
                .range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded))
                .find(ready)
                .or_else(|| self.lanes.iter().find(ready)),
            None => self.lanes.iter().find(ready),
        }?
        .0
        .clone();
        let key = self.lanes.get_mut(&lane)?.pop()?;
        let place = self.waiting.remove(&key)?;
        self.last_served = Some(lane.clone());
        let running = Running { query: None, cancel: CancellationToken::new(), decision_wanted: Arc::default(), lane };
        self.running.insert(key.clone(), running.clone());
        Some((key, place, running))
    }

    /// When the first pause ends that holds something up.
    fn pause_end(&self, now: Instant) -> Option<Instant> {
        let waiting = self.lanes.values().filter(|lane| !lane.waiting.is_empty());
        waiting.filter_map(|lane| lane.pace.pause_end(now)).min()
    }

    /// Puts something into a new place.
    fn insert(&mut self, key: Key, lane: Lane, limit: Option<usize>, priority: Priority, since: Instant) {
        self.sequence += 1;
        let state = self.lanes.entry(lane.clone()).or_default();
        let order = state.place(priority, &key.namespace, self.sequence);
        self.put(key, Place { lane, order, since }, limit);
    }

    fn put(&mut self, key: Key, place: Place, limit: Option<usize>) {
        let state = self.lanes.entry(place.lane.clone()).or_default();
        state.limit = limit;
        state.put(place.order, key.clone());
        self.waiting.insert(key, place);
    }

    fn remove(&mut self, key: &Key) {
        self.leave(key);
        self.kept.remove(key);
    }

    /// Takes something out of its place.
    fn leave(&mut self, key: &Key) -> Option<Place> {
        let place = self.waiting.remove(key)?;
        if let Some(state) = self.lanes.get_mut(&place.lane) {
            state.withdraw(&place.order);
            self.drop_idle(&place.lane, Instant::now());
        }
        Some(place)
    }

    /// Lanes of connections that are gone must not pile up.
    fn drop_idle(&mut self, lane: &Lane, now: Instant) {
        if self.lanes.get(lane).is_some_and(|state| state.is_idle(now)) {
            self.lanes.remove(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        key_in("n", name)
    }

    fn key_in(namespace: &str, name: &str) -> Key {
        Key::new(Kind::KeyResult, namespace, name)
    }

    fn names(jobs: &[Job]) -> Vec<&str> {
        jobs.iter().map(|job| job.key.name.as_str()).collect()
    }

    fn lane(name: &str) -> Lane {
        Lane::Connection { namespace: "n".to_owned(), name: name.to_owned() }
    }

    fn take(queue: &Arc<Queue>) -> Option<Job> {
        futures::FutureExt::now_or_never(queue.take())
    }

    #[test]
    fn what_is_new_comes_before_what_is_due_and_retries_come_last() {
        let queue = Arc::new(Queue::new(99));
        for (name, priority) in
            [("retry", Priority::Retry), ("due", Priority::Due), ("asked", Priority::Asked), ("new", Priority::New)]
        {
            queue.push(key(name), lane("a"), Some(9), priority);
        }
        let jobs: Vec<Job> = std::iter::from_fn(|| take(&queue)).collect();
        assert_eq!(names(&jobs), ["new", "asked", "due", "retry"]);
    }

    #[test]
    fn an_object_waits_once() {
        let queue = Arc::new(Queue::new(99));
        queue.push(key("a"), lane("a"), Some(9), Priority::Due);
        queue.push(key("a"), lane("b"), Some(9), Priority::New);
        assert_eq!(queue.depth(), 1);
        let job = take(&queue).unwrap();
        queue.push(key("a"), lane("b"), Some(9), Priority::New);
        assert!(take(&queue).is_none(), "it already runs");
        drop(job);
        assert_eq!(queue.depth(), 0);
    }

    #[test]
    fn a_full_lane_does_not_hold_up_another() {
        let queue = Arc::new(Queue::new(99));
        for name in ["a1", "a2", "a3"] {
            queue.push(key(name), lane("a"), Some(1), Priority::New);
        }
        queue.push(key("b1"), lane("b"), Some(1), Priority::Retry);
        let first = take(&queue).unwrap();
        let second = take(&queue).unwrap();
        assert_eq!([first.key.name.as_str(), second.key.name.as_str()], ["a1", "b1"]);
        assert!(take(&queue).is_none());
        drop(first);
        assert_eq!(take(&queue).unwrap().key.name, "a2");
    }

    #[test]
    fn withdrawn_work_is_not_taken_and_running_work_is_told() {
        let queue = Arc::new(Queue::new(99));
        queue.push(key("a"), lane("a"), Some(1), Priority::New);
        queue.remove(&key("a"));
        assert!(take(&queue).is_none());
        queue.push(key("a"), lane("a"), Some(1), Priority::New);
        let job = take(&queue).unwrap();
        queue.cancel(&key("a"));
        assert!(job.cancel.is_cancelled());
    }

    #[test]
    fn two_of_ten_starts_go_to_what_is_due() {
        let queue = Arc::new(Queue::new(99));
        for index in 0..20 {
            queue.push(key(&format!("new-{index}")), lane("a"), Some(99), Priority::New);
            queue.push(key(&format!("due-{index}")), lane("a"), Some(99), Priority::Due);
        }
        let jobs: Vec<Job> = std::iter::from_fn(|| take(&queue)).take(10).collect();
        assert_eq!(names(&jobs).iter().filter(|name| name.starts_with("due")).count(), 2, "{:?}", names(&jobs));
    }

    #[test]
    fn namespaces_take_turns() {
        let queue = Arc::new(Queue::new(99));
        for index in 0..5 {
            queue.push(key_in("large", &format!("large-{index}")), lane("a"), Some(99), Priority::Due);
        }
        let first = take(&queue).unwrap();
        for index in 0..2 {
            queue.push(key_in("small", &format!("small-{index}")), lane("a"), Some(99), Priority::Due);
        }
        // Asked for again, it keeps its place.
        queue.push(key_in("large", "large-1"), lane("a"), Some(99), Priority::Retry);
        let jobs: Vec<Job> = std::iter::from_fn(|| take(&queue)).collect();
        assert_eq!(names(&jobs), ["small-0", "large-1", "small-1", "large-2", "large-3", "large-4"]);
        drop(first);
    }

    #[test]
    fn what_is_withdrawn_costs_its_namespace_no_turns() {
        let queue = Arc::new(Queue::new(99));
        for index in 0..50 {
            queue.push(key_in("hasty", &format!("hasty-{index}")), lane("a"), Some(99), Priority::Due);
        }
        for index in 0..9 {
            queue.push(key_in("calm", &format!("calm-{index}")), lane("a"), Some(99), Priority::Due);
        }
        let first = [take(&queue).unwrap(), take(&queue).unwrap()];
        assert_eq!(names(&first), ["hasty-0", "calm-0"]);
        (1..50).for_each(|index| queue.remove(&key_in("hasty", &format!("hasty-{index}"))));
        queue.push(key_in("hasty", "late"), lane("a"), Some(99), Priority::Due);
        let next = [take(&queue).unwrap(), take(&queue).unwrap()];
        assert!(names(&next).contains(&"late"), "{:?}", names(&next));
    }

    #[test]
    fn what_is_decided_in_between_comes_back_to_its_place() {
        let queue = Arc::new(Queue::new(99));
        for name in ["a", "b", "c"] {
            queue.push(key(name), lane("a"), Some(1), Priority::Due);
        }
        let since = queue.waits_since(&key("b"));
        queue.push(key("b"), Lane::Unlimited, None, Priority::Asked);
        assert_eq!((queue.depth(), queue.waits_since(&key("b"))), (3, since));
        let decision = take(&queue).filter(|job| job.lane == Lane::Unlimited).or_else(|| take(&queue)).unwrap();
        assert_eq!(decision.key.name, "b");
        drop(decision);
        queue.push(key("b"), lane("a"), Some(9), Priority::Due);
        assert_eq!(queue.waits_since(&key("b")), since);
        let jobs: Vec<Job> = std::iter::from_fn(|| take(&queue)).collect();
        assert_eq!(names(&jobs).iter().position(|name| *name == "b").map(|at| names(&jobs)[at + 1]), Some("c"));
        queue.push(key("d"), lane("a"), Some(9), Priority::Due);
        queue.push(key("d"), Lane::Unlimited, None, Priority::Asked);
        queue.remove(&key("d"));
        assert_eq!(queue.waits_since(&key("d")), None);
    }

    #[test]
    fn slow_queries_leave_workers_to_others_whatever_their_limit() {
        let queue = Arc::new(Queue::new(8));
        for index in 0..20 {
            queue.push(key(&format!("a-{index}")), lane("a"), Some(1000), Priority::New);
        }
        let slow: Vec<Job> = std::iter::from_fn(|| take(&queue)).collect();
        assert_eq!(slow.len(), 6);
        queue.push(key("b"), lane("b"), Some(1000), Priority::New);
        let other = take(&queue).unwrap();
        queue.push(key("decide"), Lane::Unlimited, None, Priority::Asked);
        let decide = take(&queue).unwrap();
        assert_eq!(names(&[other, decide]), ["b", "decide"]);
        assert!(take(&queue).is_none());
    }

    /// What a worker that looks at `now` takes.
    fn take_at(queue: &Queue, now: Instant) -> Option<String> {
        queue.state().pop(queue.workers, now).map(|(key, ..)| key.name)
    }

    #[test]
    fn a_limited_lane_pauses_and_another_goes_on() {
        let now = Instant::now();
        let queue = Queue::new(99);
        for name in ["a1", "a2", "a3", "a4", "a5"] {
            queue.push(key(name), lane("a"), Some(8), Priority::Due);
        }
        assert_eq!(take_at(&queue, now).as_deref(), Some("a1"));
        queue.slow(&lane("a"), Some(Duration::from_secs(30)), now);
        queue.push(key("b1"), lane("b"), Some(8), Priority::Retry);
        assert_eq!(take_at(&queue, now).as_deref(), Some("b1"));
        queue.finish(&key("a1"));
        assert_eq!(take_at(&queue, now + Duration::from_secs(29)), None);
        assert_eq!(queue.state().pause_end(now), Some(now + Duration::from_secs(30)));
        let later = now + Duration::from_secs(30);
        assert_eq!(take_at(&queue, later).as_deref(), Some("a2"));
        assert_eq!(take_at(&queue, later), None, "one after the other at first");
        queue.quicken(&lane("a"), later);
        assert_eq!(take_at(&queue, later).as_deref(), Some("a3"));
        assert_eq!(take_at(&queue, later), None, "two at once after a good answer");
    }

    #[test]
    fn a_pace_survives_a_lane_without_work_but_not_for_ever() {
        let now = Instant::now();
        let queue = Queue::new(99);
        queue.push(key("a1"), lane("a"), Some(8), Priority::Due);
        assert!(take_at(&queue, now).is_some());
        queue.slow(&lane("a"), Some(Duration::from_secs(30)), now);
        queue.finish(&key("a1"));
        queue.push(key("a2"), lane("a"), Some(8), Priority::New);
        assert_eq!(take_at(&queue, now), None);
        queue.remove(&key("a2"));
        queue.slow(&lane("b"), None, now + Duration::from_secs(3600));
        assert_eq!(queue.state().lanes.keys().collect::<Vec<_>>(), [&lane("b")]);
    }

    #[test]
    fn the_backlog_is_what_is_due_and_waits() {
        let queue = Arc::new(Queue::new(99));
        let now = Instant::now();
        assert_eq!(queue.backlog(&lane("a"), now), Backlog::default());
        for (name, priority) in
            [("1", Priority::Due), ("2", Priority::Due), ("3", Priority::New), ("4", Priority::Retry)]
        {
            queue.push(key(name), lane("a"), Some(9), priority);
        }
        // Asked for again, it goes on waiting.
        queue.push(key("1"), lane("a"), Some(9), Priority::Due);
        let backlog = queue.backlog(&lane("a"), now + Duration::from_secs(120));
        assert_eq!((backlog.waiting, backlog.oldest.map(|oldest| oldest.as_secs() / 60)), (2, Some(1)));
        let waited: Vec<bool> = std::iter::from_fn(|| take(&queue)).map(|job| job.waited.is_some()).collect();
        assert_eq!(waited, [false, true, true, false]);
        assert_eq!(queue.backlog(&lane("a"), now), Backlog::default());
    }

    #[tokio::test]
    async fn a_worker_wakes_when_a_pause_ends() {
        let queue = Arc::new(Queue::new(2));
        queue.push(key("a1"), lane("a"), Some(2), Priority::Due);
        let first = queue.take().await;
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.take().await.key.name.clone() }
        });
        queue.push(key("a2"), lane("a"), Some(2), Priority::Due);
        first.slow_lane(Some(Duration::from_millis(50)));
        drop(first);
        let taken = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        assert_eq!(taken.expect("nobody woke").unwrap(), "a2");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nothing_waits_while_workers_sleep() {
        const JOBS: usize = 5_000;
        let queue = Arc::new(Queue::new(16));
        let finished = Arc::new(tokio::sync::Semaphore::new(0));
        for _ in 0..16 {
            let (queue, finished) = (Arc::clone(&queue), Arc::clone(&finished));
            tokio::spawn(async move {
                loop {
                    let job = queue.take().await;
                    tokio::task::yield_now().await;
                    drop(job);
                    finished.add_permits(1);
                }
            });
        }
        for index in 0..JOBS {
            let lane_name = ["a", "b", "c"][index % 3];
            queue.push(key(&index.to_string()), lane(lane_name), Some(index % 3 + 1), Priority::New);
            if index % 50 == 0 {
                tokio::time::sleep(std::time::Duration::from_micros(200)).await;
            }
        }
        let all = finished.acquire_many(u32::try_from(JOBS).unwrap());
        let all = tokio::time::timeout(std::time::Duration::from_secs(10), all).await;
        assert!(all.is_ok(), "{} of {JOBS} were done", finished.available_permits());
        let state = queue.state();
        assert_eq!((state.waiting.len(), state.running.len(), state.lanes.len()), (0, 0, 0));
    }
}
