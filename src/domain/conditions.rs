//! Conditions as Kubernetes' conventions want them: a transition time that moves only with the status.

use crate::api::{Condition, Time};

pub const READY: &str = "Ready";
pub const STALLED: &str = "Stalled";
pub const RECONCILING: &str = "Reconciling";
pub const ON_TRACK: &str = "OnTrack";
pub const FRESH: &str = "Fresh";
pub const SATURATED: &str = "Saturated";

/// A condition's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    pub fn name(self) -> &'static str {
        match self {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Truth::True } else { Truth::False }
    }
}

/// The condition of type `kind`.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition of type `kind` is there and True.
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == Truth::True.name())
}

/// Makes conditions that follow on those of before.
#[derive(Debug, Clone, Copy)]
pub struct Following<'a> {
    pub before: &'a [Condition],
    pub generation: i64,
    pub now: &'a Time,
}

impl Following<'_> {
    pub fn condition(&self, kind: &str, truth: Truth, reason: &str, message: &str) -> Condition {
        let since = find(self.before, kind)
            .filter(|before| before.status == truth.name())
            .map_or_else(|| self.now.clone(), |before| before.last_transition_time.clone());
        Condition {
            type_: kind.to_owned(),
            status: truth.name().to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: since,
            observed_generation: Some(self.generation),
        }
    }
}
