//! When each object of one kind is looked at next: one entry per object, however often it is asked for.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Mutex,
    time::Duration,
};

use futures::StreamExt;
use tokio::sync::Notify;
use tokio_util::time::{DelayQueue, delay_queue};

use super::{lock, queue::Key};

/// Longer waits are cut into several: the timer's wheel ends at two years.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

#[derive(Default)]
pub struct Agenda {
    wanted: Mutex<Wanted>,
    woken: Notify,
}

/// What is to be looked at now, in the order in which it was asked for.
#[derive(Default)]
struct Wanted {
    is_closed: bool,
    order: VecDeque<Key>,
    keys: HashSet<Key>,
}

impl Agenda {
    /// Nothing is looked at any more, nor remembered, until it is opened: whoever stands by looks at nothing.
    pub fn close(&self) {
        *lock(&self.wanted) = Wanted { is_closed: true, ..Wanted::default() };
    }

    pub fn open(&self) {
        lock(&self.wanted).is_closed = false;
    }

    /// Has the object looked at now.
    pub fn wake(&self, key: Key) {
        self.wake_all([key]);
    }

    pub fn wake_all(&self, keys: impl IntoIterator<Item = Key>) {
        let mut wanted = lock(&self.wanted);
        if wanted.is_closed {
            return;
        }
        for key in keys {
            if wanted.keys.insert(key.clone()) {
                wanted.order.push_back(key);
            }
        }
        drop(wanted);
        self.woken.notify_one();
    }

    /// Looks at what is wanted, and again when `look` says so; None waits until somebody wakes it. A later look takes the
    /// place of the one that was planned. Never returns.
    pub async fn keep(&self, mut look: impl FnMut(&Key) -> Option<Duration>) {
        let mut later: DelayQueue<Key> = DelayQueue::new();
        let mut planned: HashMap<Key, delay_queue::Key> = HashMap::new();
        loop {
            // The guard ends before the await.
            let wanted = self.next();
            let key = match wanted {
                Some(key) => {
                    if let Some(entry) = planned.remove(&key) {
                        later.remove(&entry);
                    }
                    key
                }
                None => {
                    tokio::select! {
                        () = self.woken.notified() => continue,
                        Some(expired) = later.next(), if !later.is_empty() => {
                            let key = expired.into_inner();
                            planned.remove(&key);
                            key
                        }
                    }
                }
            };
            if let Some(wait) = look(&key) {
                let entry = later.insert(key.clone(), wait.min(LONGEST_WAIT));
                planned.insert(key, entry);
            }
            // Ten thousand looks in a row must not hold up the answers to queries.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// What is wanted and not yet looked at.
    #[cfg(test)]
    pub fn drain(&self) -> Vec<Key> {
        std::iter::from_fn(|| self.next()).collect()
    }

    fn next(&self) -> Option<Key> {
        let mut wanted = lock(&self.wanted);
        let key = wanted.order.pop_front()?;
        wanted.keys.remove(&key);
        if wanted.order.is_empty() {
            // What took the room for all of them is given back.
            (wanted.order, wanted.keys) = Default::default();
        }
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::queue::Kind, *};

    fn key(name: &str) -> Key {
        Key::new(Kind::KeyResult, "n", name)
    }

    /// The looks of the first `seconds`, each with the second it came in.
    async fn looks(agenda: &Agenda, seconds: u64, mut wait: impl FnMut(usize) -> Option<u64>) -> Vec<(String, u64)> {
        let start = tokio::time::Instant::now();
        let mut looks = Vec::new();
        let keep = agenda.keep(|key| {
            looks.push((key.name.clone(), start.elapsed().as_secs()));
            wait(looks.len()).map(Duration::from_secs)
        });
        let _ = tokio::time::timeout(Duration::from_secs(seconds), keep).await;
        looks
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_twice_is_looked_at_once() {
        let agenda = Agenda::default();
        agenda.wake_all(["a", "b", "a"].map(key));
        let looks = looks(&agenda, 10, |_| None).await;
        assert_eq!(looks, [("a".to_owned(), 0), ("b".to_owned(), 0)]);
    }

    #[test]
    fn what_is_wanted_of_a_closed_one_is_not_remembered() {
        let agenda = Agenda::default();
        agenda.wake(key("a"));
        agenda.close();
        agenda.wake(key("b"));
        agenda.open();
        agenda.wake(key("c"));
        assert_eq!(agenda.drain(), [key("c")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_comes_first_takes_the_place_of_the_planned_one() {
        let agenda = Agenda::default();
        agenda.wake(key("a"));
        let waking = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            agenda.wake(key("a"));
        };
        let (looks, ()) = tokio::join!(looks(&agenda, 60, |number| (number < 3).then_some(5)), waking);
        let seconds: Vec<u64> = looks.iter().map(|(_, second)| *second).collect();
        assert_eq!(seconds, [0, 3, 8]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_of_years_is_waited_for_in_days() {
        let agenda = Agenda::default();
        agenda.wake(key("a"));
        let looks = looks(&agenda, 70 * 3600, |_| Some(u64::MAX / 4)).await;
        assert_eq!(looks.len(), 3);
    }
}
