//! What is to be done now, in which order, and how much of it at once.
//!
//! One entry per object: asking twice for the same object is asking once. Every connection is a lane with a limit of its
//! own, so that slow queries through one connection never hold up those of another.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
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

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
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

/// In this order within a lane (SPEC 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

#[derive(Debug, Default)]
pub struct Queue {
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

type Order = (Priority, u64);

#[derive(Debug, Default)]
struct LaneState {
    limit: Option<usize>,
    running: usize,
    waiting: BTreeMap<Order, Key>,
}

impl LaneState {
    fn has_room(&self) -> bool {
        self.limit.is_none_or(|limit| self.running < limit)
    }
}

impl Queue {
    /// Asks for work on `key`, in the place of an earlier request for it. `limit` is how much of the lane may run at once.
    pub fn push(&self, key: Key, lane: Lane, limit: Option<usize>, priority: Priority) {
        let mut state = self.state();
        if state.running.contains_key(&key) {
            // Whoever finishes has the object looked at again.
            return;
        }
        let order = match state.waiting.get(&key) {
            Some((waiting_lane, (waiting_priority, sequence))) if *waiting_lane == lane => {
                (priority.min(*waiting_priority), *sequence)
            }
            _ => {
                state.sequence += 1;
                (priority, state.sequence)
            }
        };
        state.remove(&key);
        state.waiting.insert(key.clone(), (lane.clone(), order));
        let lane = state.lanes.entry(lane).or_default();
        lane.limit = limit;
        lane.waiting.insert(order, key);
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
            let taken = self.state().pop();
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
    fn pop(&mut self) -> Option<(Key, Lane, CancellationToken)> {
        if self.closed {
            return None;
        }
        let ready = |(_, lane): &(&Lane, &LaneState)| lane.has_room() && !lane.waiting.is_empty();
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
        let served = self.lanes.get_mut(&lane)?;
        let (_, key) = served.waiting.pop_first()?;
        served.running += 1;
        self.waiting.remove(&key);
        let cancel = CancellationToken::new();
        self.last_served = Some(lane.clone());
        self.running.insert(key.clone(), Running { query: None, cancel: cancel.clone(), lane: lane.clone() });
        Some((key, lane, cancel))
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
        Key { kind: Kind::KeyResult, namespace: "n".to_owned(), name: name.to_owned() }
    }

    fn lane(name: &str) -> Lane {
        Lane::Connection { namespace: "n".to_owned(), name: name.to_owned() }
    }

    fn take(queue: &Arc<Queue>) -> Option<Job> {
        futures::FutureExt::now_or_never(queue.take())
    }

    #[test]
    fn what_is_new_comes_before_what_is_due_and_retries_come_last() {
        let queue = Arc::new(Queue::default());
        for (name, priority) in
            [("retry", Priority::Retry), ("due", Priority::Due), ("asked", Priority::Asked), ("new", Priority::New)]
        {
            queue.push(key(name), lane("a"), Some(9), priority);
        }
        let jobs: Vec<Job> = std::iter::from_fn(|| take(&queue)).collect();
        let names: Vec<&str> = jobs.iter().map(|job| job.key.name.as_str()).collect();
        assert_eq!(names, ["new", "asked", "due", "retry"]);
    }

    #[test]
    fn an_object_waits_once() {
        let queue = Arc::new(Queue::default());
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
        let queue = Arc::new(Queue::default());
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
        let queue = Arc::new(Queue::default());
        queue.push(key("a"), lane("a"), Some(1), Priority::New);
        queue.remove(&key("a"));
        assert!(take(&queue).is_none());
        queue.push(key("a"), lane("a"), Some(1), Priority::New);
        let job = take(&queue).unwrap();
        queue.cancel(&key("a"));
        assert!(job.cancel.is_cancelled());
    }
}
