//! What is to be done now, in which order, and how much of it at once.
//!
//! One entry per object: asking twice for the same object is asking once. Every connection is a lane with a limit of its
//! own, and no lane takes the last workers, so that slow queries through one connection never hold up those of another.
//! Within a lane the order is that of [`Priority`], and namespaces take turns.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::Resource;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::metrics::Depth;

/// An object of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl Key {
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
}

/// What shares a limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Work that sends no query.
    Unlimited,
    /// The queries of one connection.
    Connection { namespace: String, name: String },
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
    /// Fires when the work is no longer wanted.
    pub cancel: CancellationToken,
    queue: Arc<Queue>,
}

impl Job {
    /// Remembers which query runs for which object, so that a change of either can be seen.
    pub fn runs(&self, uid: &str, fingerprint: &str) {
        if let Some(running) = self.queue.state().running.get_mut(&self.key) {
            running.query = Some(RunningQuery { uid: uid.to_owned(), fingerprint: fingerprint.to_owned() });
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.queue.finish(&self.key);
    }
}

/// Work under way.
#[derive(Debug, Clone)]
pub struct Running {
    /// The query that was sent, if one was.
    pub query: Option<RunningQuery>,
    pub cancel: CancellationToken,
    lane: Lane,
}

/// For which object a query runs, and which query it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningQuery {
    pub uid: String,
    pub fingerprint: String,
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
    waiting: HashMap<Key, (Lane, Order)>,
    lanes: BTreeMap<Lane, LaneState>,
    running: HashMap<Key, Running>,
    closed: bool,
    sequence: u64,
    last_served: Option<Lane>,
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
    /// The last round that each namespace has something in.
    rounds: HashMap<(Priority, String), u64>,
}

impl LaneState {
    fn has_room(&self, free_workers: usize) -> bool {
        self.limit.is_none_or(|limit| self.running < limit.min(PER_FREE_WORKER * free_workers))
    }

    /// The place for something more of `namespace`: one for each namespace in each round.
    fn place(&mut self, priority: Priority, namespace: &str, sequence: u64) -> Order {
        let served = self.served.get(&priority).copied().unwrap_or_default();
        let round = self.rounds.entry((priority, namespace.to_owned())).or_default();
        *round = served.max(*round + 1);
        (priority, *round, sequence)
    }

    fn pop(&mut self) -> Option<Key> {
        self.starts += 1;
        let due = || self.waiting.range((Priority::Due, 0, 0)..(Priority::Retry, 0, 0)).next();
        let first = due().filter(|_| self.starts.is_multiple_of(DUE_EVERY)).or_else(|| self.waiting.first_key_value());
        let order @ (priority, round, _) = *first?.0;
        self.served.insert(priority, round);
        self.running += 1;
        self.waiting.remove(&order)
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
        let is_placed = |(waiting_lane, (waiting_priority, ..)): &(Lane, Order)| {
            *waiting_lane == lane && *waiting_priority <= priority
        };
        if state.waiting.get(&key).is_some_and(is_placed) {
            state.lanes.entry(lane).or_default().limit = limit;
        } else {
            state.remove(&key);
            state.insert(key, lane, limit, priority);
        }
        drop(state);
        self.work.notify_one();
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
            // The guard ends before the await.
            let taken = self.state().pop(self.workers);
            if let Some((key, lane, cancel)) = taken {
                self.work.notify_one();
                return Job { key, lane, cancel, queue: Arc::clone(self) };
            }
            self.work.notified().await;
        }
    }

    fn finish(&self, key: &Key) {
        let mut state = self.state();
        if let Some(running) = state.running.remove(key)
            && let Some(lane) = state.lanes.get_mut(&running.lane)
        {
            lane.running -= 1;
            state.drop_idle(&running.lane);
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
    fn pop(&mut self, workers: usize) -> Option<(Key, Lane, CancellationToken)> {
        if self.closed {
            return None;
        }
        let free = workers.saturating_sub(self.running.len());
        let ready = |(_, lane): &(&Lane, &LaneState)| lane.has_room(free) && !lane.waiting.is_empty();
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
        self.waiting.remove(&key);
        let cancel = CancellationToken::new();
        self.last_served = Some(lane.clone());
        self.running.insert(key.clone(), Running { query: None, cancel: cancel.clone(), lane: lane.clone() });
        Some((key, lane, cancel))
    }

    fn insert(&mut self, key: Key, lane: Lane, limit: Option<usize>, priority: Priority) {
        self.sequence += 1;
        let state = self.lanes.entry(lane.clone()).or_default();
        let order = state.place(priority, &key.namespace, self.sequence);
        state.limit = limit;
        state.waiting.insert(order, key.clone());
        self.waiting.insert(key, (lane, order));
    }

    fn remove(&mut self, key: &Key) {
        if let Some((lane, order)) = self.waiting.remove(key)
            && let Some(state) = self.lanes.get_mut(&lane)
        {
            state.waiting.remove(&order);
            self.drop_idle(&lane);
        }
    }

    /// Lanes of connections that are gone must not pile up.
    fn drop_idle(&mut self, lane: &Lane) {
        if self.lanes.get(lane).is_some_and(|state| state.running == 0 && state.waiting.is_empty()) {
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
        Key { kind: Kind::KeyResult, namespace: namespace.to_owned(), name: name.to_owned() }
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
