//! How fast one connection may be asked, after BigQuery asked for fewer requests.
//!
//! Like TCP after a loss: a pause, then one query at a time, and with each good answer twice as many, until as many run
//! as the connection allows.

use std::time::{Duration, Instant};

/// Where BigQuery does not say how long: a few seconds at first, as the limit may be one of the moment, and at most about
/// as long as a key result's own first retries take.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// A longer wish is cut: a query sent too early costs one more refusal, a lane that rests for an hour looks like a hang.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// After so long without a query nothing is known of BigQuery's limits any more.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The pace of one connection. That of one that was never slowed is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pace {
    /// Limited answers, those during a pause aside, since the last good one.
    limited: u32,
    slowed: Option<Slowed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Slowed {
    paused_until: Instant,
    at_once: usize,
}

impl Pace {
    /// BigQuery asked for fewer requests.
    pub fn slow(&mut self, retry_after: Option<Duration>, now: Instant) {
        let pause_end = self.pause_end(now);
        if pause_end.is_none() {
            self.limited = self.limited.saturating_add(1);
        }
        let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.limited.saturating_sub(1)));
        let pause = retry_after.unwrap_or(doubled.min(LONGEST_PAUSE)).min(LONGEST_RETRY_AFTER);
        // What was sent before the pause and is limited too says the same again: only a later end counts.
        let paused_until = match (pause_end, retry_after) {
            (Some(end), None) => end,
            (Some(end), Some(_)) => end.max(now + pause),
            (None, _) => now + pause,
        };
        self.slowed = Some(Slowed { paused_until, at_once: 1 });
    }

    /// BigQuery answered, where `limit` is how much may run at once by the connection's own limit.
    pub fn quicken(&mut self, limit: Option<usize>, now: Instant) {
        let Some(slowed) = &mut self.slowed else { return };
        if slowed.paused_until > now {
            // It was sent before the pause, and says nothing of what would be let through now.
            return;
        }
        self.limited = 0;
        slowed.at_once = slowed.at_once.saturating_mul(2);
        if limit.is_some_and(|limit| slowed.at_once >= limit) {
            self.slowed = None;
        }
    }

    /// How much may run at once; None where the pace sets no limit.
    pub fn at_once(&self, now: Instant) -> Option<usize> {
        let slowed = self.slowed.as_ref()?;
        Some(if slowed.paused_until > now { 0 } else { slowed.at_once })
    }

    /// The end of the pause, during one.
    pub fn pause_end(&self, now: Instant) -> Option<Instant> {
        self.slowed.as_ref().map(|slowed| slowed.paused_until).filter(|end| *end > now)
    }

    /// Whether nothing is lost where it is forgotten.
    pub fn is_over(&self, now: Instant) -> bool {
        self.slowed.as_ref().is_none_or(|slowed| slowed.paused_until + REMEMBERED <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Option<usize> = Some(8);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lane_that_was_limited_pauses_and_then_begins_with_one() {
        let now = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.at_once(now), None);
        pace.slow(None, now);
        assert_eq!(pace.at_once(now + seconds(4)), Some(0));
        assert_eq!(pace.at_once(now + seconds(5)), Some(1));
        let later = now + seconds(6);
        for want in [Some(2), Some(4), None] {
            pace.quicken(LIMIT, later);
            assert_eq!(pace.at_once(later), want);
        }
        assert!(pace.is_over(later));
    }

    #[test]
    fn pauses_double_up_to_two_minutes_and_a_good_answer_ends_that() {
        let mut now = Instant::now();
        let mut pace = Pace::default();
        for want in [5, 10, 20, 40, 80, 120, 120] {
            pace.slow(None, now);
            assert_eq!(pace.pause_end(now), Some(now + seconds(want)));
            now += seconds(want);
        }
        pace.quicken(LIMIT, now);
        pace.slow(None, now);
        assert_eq!(pace.pause_end(now), Some(now + seconds(5)));
        assert_eq!(pace.at_once(now + seconds(5)), Some(1));
    }

    #[test]
    fn what_bigquery_asks_for_counts_up_to_five_minutes() {
        let now = Instant::now();
        for (asked, want) in [(2, 2), (60, 60), (3600, 300)] {
            let mut pace = Pace::default();
            pace.slow(Some(seconds(asked)), now);
            assert_eq!(pace.pause_end(now), Some(now + seconds(want)));
        }
    }

    #[test]
    fn many_that_are_limited_together_are_limited_once() {
        let now = Instant::now();
        let mut pace = Pace::default();
        for _ in 0..8 {
            pace.slow(None, now);
        }
        pace.slow(None, now + seconds(4));
        assert_eq!(pace.pause_end(now), Some(now + seconds(5)));
        pace.slow(Some(seconds(30)), now + seconds(4));
        assert_eq!(pace.pause_end(now), Some(now + seconds(34)));
        pace.slow(Some(seconds(1)), now + seconds(5));
        assert_eq!(pace.pause_end(now), Some(now + seconds(34)), "a pause is never cut short");
    }

    #[test]
    fn an_answer_to_what_was_sent_before_the_pause_does_not_end_it() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.slow(None, now);
        let before = pace.clone();
        pace.quicken(LIMIT, now + seconds(1));
        assert_eq!(pace, before);
    }

    #[test]
    fn a_pace_is_remembered_for_ten_minutes_after_its_pause() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.slow(None, now);
        assert!(!pace.is_over(now + seconds(604)));
        assert!(pace.is_over(now + seconds(605)));
    }
}
