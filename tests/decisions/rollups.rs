//! Objectives without a measure of their own: SPEC section 6.

use std::{collections::HashMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use okr_operator::{
    api::{ChildStatus, ObjectiveStatus, OkrObjective, OkrStatus},
    domain::{
        child::{Child, Family},
        judgement::Gaps,
        number::integer,
        objective::ObjectiveProblem,
        pass::Pass,
        rollup::{self, RollUp},
    },
};
use serde_json::{Value, json};

use crate::world::{World, merge, noon, ready_text};

/// An objective, what refers to it and to those below it, and a moment. Its period has a hundred days, so that on day n
/// (from 0) n percent are expected.
#[derive(Clone)]
pub struct Tree {
    pub objective: OkrObjective,
    /// By the objective they refer to.
    pub children: HashMap<String, Vec<Arc<Child>>>,
    pub cycle: Option<Vec<String>>,
    pub problem: Option<ObjectiveProblem>,
    pub now: Timestamp,
}

pub fn objective(name: &str, changes: Value) -> OkrObjective {
    let mut spec = json!({"period": {"startDate": "2026-01-01", "endDate": "2026-04-11"}});
    merge(&mut spec, changes);
    serde_json::from_value(json!({
        "apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrObjective",
        "metadata": {"namespace": "sales", "name": name, "uid": format!("uid of {name}"), "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}

/// A key result of that name; without a value where `value` is empty.
pub fn key_result(name: &str, changes: Value, value: &str, now: Timestamp) -> Child {
    let mut percent = json!({"measure": {"percent": {}}});
    merge(&mut percent, changes);
    let mut world = World::new(percent).at(now);
    world.key_result.metadata.name = Some(name.to_owned());
    if !value.is_empty() {
        world.measures(value);
    }
    Child::of_key_result(&world.key_result)
}

impl Tree {
    /// With `children` on day 50: each a spec and a value.
    pub fn new(changes: Value, children: &[(Value, &str)]) -> Self {
        let children = children
            .iter()
            .enumerate()
            .map(|(index, (spec, value))| Arc::new(key_result(&format!("c{index}"), spec.clone(), value, noon(50))))
            .collect();
        Self {
            objective: objective("grow", changes),
            children: HashMap::from([("grow".to_owned(), children)]),
            cycle: None,
            problem: None,
            now: noon(50),
        }
    }

    pub fn family(&self) -> Family {
        let children_of = |_: &str, name: &str| self.children.get(name).cloned().unwrap_or_default();
        Family::gather("sales", self.objective.metadata.name.as_deref().unwrap(), children_of)
    }

    pub fn with<T>(&self, decide: impl FnOnce(&RollUp<'_>, &Gaps) -> T) -> T {
        let gaps = Gaps { behind: integer(0), at_risk: integer(25) };
        let roll_up = RollUp {
            objective: &self.objective,
            family: &self.family(),
            cycle: self.cycle.as_deref(),
            objective_problem: self.problem,
        };
        decide(&roll_up, &gaps)
    }

    pub fn next(&self) -> ObjectiveStatus {
        self.with(|roll_up, gaps| rollup::next(roll_up, gaps, self.now))
    }

    pub fn pass(&self) -> Pass {
        self.with(|roll_up, gaps| rollup::pass(roll_up, gaps, self.now))
    }

    pub fn decides(&mut self) {
        self.objective.status = Some(self.next());
    }

    pub fn status(&self) -> &ObjectiveStatus {
        self.objective.status.as_ref().expect("a status was written")
    }

    pub fn changes(&mut self, changes: Value) {
        let mut spec = serde_json::to_value(&self.objective.spec).unwrap();
        merge(&mut spec, changes);
        self.objective.spec = serde_json::from_value(spec).unwrap();
        *self.objective.metadata.generation.as_mut().unwrap() += 1;
    }

    pub fn wait(&mut self, duration: SignedDuration) {
        self.now += duration;
    }

    /// Status, progress and expected progress.
    pub fn verdict(&self) -> String {
        verdict(self.status())
    }

    pub fn explanation(&self) -> &str {
        self.status().measured.explanation.as_deref().unwrap()
    }
}

fn verdict(status: &ObjectiveStatus) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let measured = &status.measured;
    format!(
        "{} {} of {}",
        measured.okr_status.map_or("undecided", OkrStatus::name),
        part(&measured.progress_percent),
        part(&measured.expected_progress_percent)
    )
}

fn decided(changes: Value, children: &[(Value, &str)]) -> Tree {
    let mut tree = Tree::new(changes, children);
    tree.decides();
    tree
}

/// On day 50, of key results in percent.
#[track_caller]
fn check(children: &[(Value, &str)], want: &str) {
    assert_eq!(decided(json!({}), children).verdict(), want, "{children:?}");
}

fn weight(weight: u8) -> Value {
    json!({"weight": weight})
}

#[test]
fn progress_is_the_weighted_mean() {
    check(&[(weight(40), "80"), (weight(60), "50")], "OnTrack 62 of 50");
    check(&[(json!({}), "20"), (json!({}), "40")], "Behind 30 of 50");
    check(&[(weight(50), "100"), (json!({}), "40"), (json!({}), "0")], "OnTrack 60 of 50");
    check(&[(weight(10), "100"), (weight(10), "50")], "OnTrack 75 of 50");
    check(&[(json!({}), "0"), (json!({}), "0"), (json!({}), "1")], "AtRisk 0.33 of 50");
}

#[test]
fn an_unchanged_pass_writes_nothing() {
    let tree = decided(json!({}), &[(weight(40), "80"), (weight(60), "50")]);
    assert_eq!(&tree.next(), tree.status());
    assert!(matches!(tree.pass(), Pass::Wait(Some(moment)) if moment > tree.now));
    assert_eq!(ready_text(&tree.status().measured), "True RolledUp");
}

#[test]
fn the_explanation_tells_the_arithmetic() {
    let check = |children: &[(Value, &str)], want: &str| {
        assert_eq!(decided(json!({}), children).explanation(), want, "{children:?}");
    };
    check(
        &[(weight(40), "80"), (weight(60), "50")],
        "40 % of 80 and 60 % of 50 give 62 % progress, where 50 % is expected on 2026-02-20: 12 points ahead, so OnTrack.",
    );
    check(&[], "No key result or objective refers to it, so NotStarted.");
}
