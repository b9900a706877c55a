//! The loop of `OkrObjective`: one that is rolled up is decided from what is below it, one with a measure of its own like a
//! key result.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::{MeasuredStatus, ObjectiveStatus, OkrObjective},
    domain::{
        Measured,
        measured::NotMeasured,
        pass::Pass,
        rollup::{self, RollUp},
    },
};

use super::{
    Context,
    measured::{self, AT_HAND, Measurable},
    queue::{Job, Key, Lane, Priority},
    until,
    writes::Unwritten,
};

impl Measurable for OkrObjective {
    fn measured(&self) -> Result<Measured<'_>, NotMeasured> {
        self.try_into()
    }

    fn decided(status: &ObjectiveStatus) -> &MeasuredStatus {
        &status.measured
    }

    fn status_of(key: &Key, decided: MeasuredStatus, context: &Context) -> ObjectiveStatus {
        rollup::with_measure(decided, &context.objects.tree.family(key, &context.labels()))
    }

    fn children_changed(&self, key: &Key, context: &Context) -> bool {
        let family = context.objects.tree.family(key, &context.labels());
        self.status.as_ref().is_some_and(|status| rollup::children_changed(status, &family))
    }
}

/// What is applied together comes one after the other: an objective, its key results, their first values. What they come to is
/// not told before, or an objective would begin At Risk; but nothing that stays away holds it for longer than this.
const FIRST_DECISIONS: SignedDuration = SignedDuration::from_secs(10);

/// Decides whether the objective's status is to be written now. Returns when to look again, if time alone can change
/// anything.
pub fn look(key: &Key, context: &Context) -> Option<Duration> {
    let Some(objective) = context.current::<OkrObjective>(key).filter(is_rolled_up) else {
        return measured::look::<OkrObjective>(key, context);
    };
    let now = crate::clock::now();
    if let Some(running) = context.queue.running(key) {
        if running.query.is_none() {
            // It writes, and is looked at again after that; or it is about to send its own query of before.
            return Some(AT_HAND);
        }
        running.cancel.cancel();
        // The worker's end wakes it.
        return None;
    }
    if let Some(wait) = context.writes.left_alone(key, &objective.metadata) {
        return Some(wait);
    }
    let (pass, is_complete) = rolled_up(context, key, &objective, |roll_up| {
        let family = roll_up.family;
        let is_complete = family.child_count() > 0 && family.children().all(|child| child.okr_status.is_some());
        (rollup::pass(roll_up, &context.settings.gaps, now), is_complete)
    });
    match pass {
        Pass::Decide => {
            if let Some(held) = until_first_decisions(context, &objective, now).filter(|_| !is_complete) {
                return Some(held);
            }
            context.queue.push(key.clone(), Lane::Unlimited, None, Priority::Asked);
            None
        }
        Pass::Wait(moment) => {
            context.queue.remove(key);
            moment.map(|moment| until(moment, now))
        }
        // A roll-up sends nothing.
        Pass::Attempt { .. } => None,
    }
}

/// How long an objective that was never decided still waits for its children: from when it was made, or from when this
/// process began to decide.
fn until_first_decisions(context: &Context, objective: &OkrObjective, now: Timestamp) -> Option<Duration> {
    let is_decided = objective.status.as_ref().is_some_and(|status| status.measured.okr_status.is_some());
    let made = objective.metadata.creation_timestamp.as_ref().map_or(now, |made| made.0);
    let end = made.max(context.began) + FIRST_DECISIONS;
    // By another clock it may have been made in the future.
    (!is_decided && now < end).then(|| until(end.min(now + FIRST_DECISIONS), now))
}

/// Takes an objective from the queue, and writes what its children and the day make of its status.
pub async fn work(job: &Job, context: &Context) {
    let Some(mut objective) = context.current::<OkrObjective>(&job.key) else { return };
    while is_rolled_up(&objective) {
        let now = crate::clock::now();
        let gaps = &context.settings.gaps;
        let next = rolled_up(context, &job.key, &objective, |roll_up| rollup::next(roll_up, gaps, now));
        if objective.status.as_ref() == Some(&next) {
            return;
        }
        match context.write(&job.key, &mut objective, next).await {
            Ok(before) => return measured::tell(context, &objective, before.as_ref()).await,
            Err(Unwritten::Gone | Unwritten::Deposed | Unwritten::Refused | Unwritten::Failed) => return,
            Err(Unwritten::Changed(newer)) => objective = *newer,
        }
    }
    measured::work::<OkrObjective>(job, context).await;
}

fn is_rolled_up(objective: &OkrObjective) -> bool {
    objective.spec.measure.is_none()
}

/// What `decide` makes of the objective with all that is below it.
fn rolled_up<T>(context: &Context, key: &Key, objective: &OkrObjective, decide: impl FnOnce(&RollUp<'_>) -> T) -> T {
    let (tree, labels) = (&context.objects.tree, context.labels());
    decide(&RollUp {
        objective,
        family: &tree.family(key, &labels),
        cycle: tree.cycle(key, &labels).as_deref(),
        objective_problem: objective.spec.parent_ref.as_ref().and_then(|_| tree.problem(key, &labels)),
    })
}
