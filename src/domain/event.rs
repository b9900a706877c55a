//! What is worth an event: transitions, and nothing that repeats.

use crate::api::{MeasuredStatus, OkrStatus};

use super::{
    conditions::{self, READY, Truth},
    reason::Reason,
};

/// An event to be. It holds our own words and the value at most, never what BigQuery wrote in an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    pub warning: bool,
    /// What it came to: a status or a reason.
    pub reason: &'static str,
    /// What was done: `Decide`, `Sync` or `Check`.
    pub action: &'static str,
    pub note: String,
}

/// One per change of okrStatus, one per change of Ready. The first decision is no transition where it is good.
pub fn transitions(before: &MeasuredStatus, after: &MeasuredStatus) -> Vec<Transition> {
    okr_status(before, after).into_iter().chain(ready(before, after)).collect()
}

fn okr_status(before: &MeasuredStatus, after: &MeasuredStatus) -> Option<Transition> {
    let new = after.okr_status.filter(|new| before.okr_status != Some(*new))?;
    let warning = matches!(new, OkrStatus::Behind | OkrStatus::AtRisk);
    let change = match before.okr_status {
        Some(old) => format!("Changed from {} to {}.", old.name(), new.name()),
        None if warning => format!("First decided as {}.", new.name()),
        None => return None,
    };
    let explanation = after.explanation.as_deref().unwrap_or_default();
    Some(Transition { warning, reason: new.name(), action: "Decide", note: format!("{change} {explanation}") })
}

fn ready(before: &MeasuredStatus, after: &MeasuredStatus) -> Option<Transition> {
    let new = conditions::find(&after.conditions, READY)?;
    let old = conditions::find(&before.conditions, READY);
    let is_ready = new.status == Truth::True.name();
    let reason = Reason::from_name(&new.reason)?;
    let quiet = |reason: Reason| matches!(reason, Reason::ConnectionNotReady | Reason::BudgetExhausted);
    let was_quiet = old.and_then(|old| Reason::from_name(&old.reason)).is_some_and(quiet);
    // Of what was passed over in silence nothing is known: what follows is told like a first decision.
    let changed = old.filter(|_| !was_quiet).map_or(!is_ready, |old| old.status != new.status);
    // A connection that fails would otherwise give an event for each of its key results, twice.
    if !changed || quiet(reason) || (is_ready && was_quiet) {
        return None;
    }
    let action = if reason.is_of_a_roll_up() { "Decide" } else { "Sync" };
    Some(Transition { warning: !is_ready, reason: reason.name(), action, note: reason.sentence().to_owned() })
}
