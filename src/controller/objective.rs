//! The loop of `OkrObjective`: one that is rolled up is decided from what is below it, one with a measure of its own like a
//! key result.

use std::time::Duration;

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
    measured::{self, Measurable},
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

    fn is_behind(&self, key: &Key, context: &Context) -> bool {
        let family = context.objects.tree.family(key, &context.labels());
        self.status.as_ref().is_some_and(|status| rollup::children_changed(status, &family))
    }
}

/// What is applied together comes one after the other: an objective, its key results, their first values. What they come to is
/// not told before, or an objective would begin At Risk; but nothing that stays away holds it for longer than this.
const FIRST_DECISIONS: Duration = Duration::from_secs(10);

/// Decides whether the objective's status is to be written now. Returns when to look again, if time alone can change
/// anything.
pub fn look(key: &Key, context: &Context) -> Option<Duration> {
    let Some(objective) = context.current::<OkrObjective>(key).filter(is_rolled_up) else {
        return measured::look::<OkrObjective>(key, context);
    };
    let now = crate::clock::now();
    if let Some(wait) = context.writes.left_alone(key, &objective.metadata, now) {
        return Some(wait);
    }
    if let Some(running) = context.queue.running(key) {
        // Its own query of before is not wanted any more; a write that runs is followed by another look.
        if running.query.is_some() {
            running.cancel.cancel();
        }
        return None;
    }
    let (pass, all_decided) = rolled_up(context, key, &objective, |roll_up| {
        let is_decided = roll_up.objective.status.as_ref().is_some_and(|status| status.measured.okr_status.is_some());
        let all_decided = roll_up.family.children().all(|child| child.okr_status.is_some())
            && (is_decided || roll_up.family.child_count() > 0);
        (rollup::pass(roll_up, &context.settings.gaps, now), all_decided)
    });
    if pass == Pass::Decide
        && let Some(since) = context.undecided_since(key, all_decided)
        && let Some(held) = FIRST_DECISIONS.checked_sub(since.elapsed())
    {
        return Some(held);
    }
    match pass {
        Pass::Decide => {
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
            Err(Unwritten::Gone | Unwritten::Deposed | Unwritten::Refused) => return,
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
