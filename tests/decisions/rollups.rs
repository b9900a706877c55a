//! Objectives without a measure of their own: SPEC section 6.

use std::{collections::HashMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use okr_operator::{
    api::{ChildStatus, ObjectiveStatus, OkrObjective, OkrStatus},
    domain::{
        Measured,
        child::{Child, Family, Kind},
        event,
        judgement::Gaps,
        measured::NotMeasured,
        number::integer,
        objective::{self, ObjectiveProblem},
        pass::{self, Pass, Turn},
        rollup::{self, RollUp},
        schedule::{Why, day_spread},
        status,
    },
};
use serde_json::{Value, json};

use crate::{
    conditions::well_formed,
    world::{World, hours, merge, midnight, minutes, noon, ready_text, seconds},
};

/// An objective, what refers to it and to those below it, and a moment. Its period has a hundred days, so that on day n
/// (from 0) n percent are expected.
#[derive(Debug, Clone)]
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

impl Tree {
    fn own(&mut self) -> &mut Vec<Arc<Child>> {
        self.children.entry("grow".to_owned()).or_default()
    }

    fn names(&self) -> Vec<&str> {
        self.status().children.iter().map(|child| child.name.as_str()).collect()
    }

    /// `Ready` and what stands beside it.
    fn ready(&self) -> String {
        ready_text(&self.status().measured)
    }

    /// Adds an objective without a measure below `parent`.
    fn adds_objective(&mut self, parent: &str, name: &str, changes: Value) {
        let child = Child::of_objective(&objective(name, changes));
        self.children.entry(parent.to_owned()).or_default().push(Arc::new(child));
    }

    fn adds(&mut self, parent: &str, name: &str, changes: Value, value: &str) {
        let child = key_result(name, changes, value, self.now);
        self.children.entry(parent.to_owned()).or_default().push(Arc::new(child));
    }
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
fn progress_of_each_child_is_held_between_0_and_100() {
    check(&[(json!({}), "150"), (json!({}), "20")], "OnTrack 60 of 50");
    check(&[(json!({}), "-300"), (json!({}), "20")], "AtRisk 10 of 50");
}

#[test]
fn control_measures_count_with_0_or_100() {
    let below = |target: i64| json!({"measure": {"stayBelow": {"target": target}}});
    check(&[(below(10), "9"), (below(10), "10")], "OnTrack 50 of 50");
}

#[test]
fn a_child_without_a_value_counts_with_0() {
    check(&[(json!({}), ""), (json!({}), "40")], "AtRisk 20 of 50");
    check(&[(json!({}), "")], "AtRisk 0 of 50");
}

#[test]
fn a_closed_child_counts_with_its_frozen_progress() {
    let mut world = World::synced(json!({"measure": {"percent": {}}}), "70");
    world.changes(json!({"lifecycle": "Closed"}));
    world.decides();
    let mut tree = Tree::new(json!({}), &[(json!({}), "40")]);
    tree.own().push(Arc::new(Child::of_key_result(&world.key_result)));
    tree.decides();
    assert_eq!(tree.verdict(), "OnTrack 55 of 50");
}

#[test]
fn some_children_do_not_count() {
    let later = json!({"period": {"startDate": "2026-02-21", "endDate": "2026-04-11"}});
    for (not_counted, why) in [
        (json!({"lifecycle": "Postponed"}), "it is postponed"),
        (json!({"measure": {"baseline": {}}}), "a baseline has no progress"),
        (weight(0), "its weight is 0"),
        (later, "its period has not begun"),
    ] {
        let tree = decided(json!({}), &[(not_counted.clone(), "90"), (weight(20), "30")]);
        assert_eq!(tree.verdict(), "Behind 30 of 50", "{not_counted}");
        let child = tree.status().children.iter().find(|child| child.name == "c0").unwrap();
        assert_eq!(child.not_counted.as_deref(), Some(why));
        assert_eq!((&child.weight_percent, &child.contribution), (&None, &None));
        let alone = decided(json!({}), &[(not_counted, "90")]);
        assert_eq!(alone.status().measured.progress_percent, None, "no child counts");
        assert_eq!(alone.ready(), "True RolledUp");
    }
}

#[test]
fn weights_not_set_share_what_is_left_among_those_that_count() {
    check(&[(weight(50), "100"), (json!({}), "40"), (json!({}), "0")], "OnTrack 60 of 50");
    let postponed = || json!({"lifecycle": "Postponed"});
    check(&[(weight(50), "100"), (json!({}), "40"), (postponed(), "0")], "OnTrack 70 of 50");
    let heavy = json!({"lifecycle": "Postponed", "weight": 60});
    check(&[(heavy, "100"), (weight(50), "40"), (weight(50), "60")], "OnTrack 50 of 50");
    check(&[(weight(1), "100"), (json!({}), "0")], "AtRisk 1 of 50");
}

#[test]
fn weights_of_100_leave_nothing_to_the_others() {
    let tree = decided(json!({}), &[(weight(40), "80"), (weight(60), "50"), (json!({}), "0")]);
    assert_eq!(tree.verdict(), "OnTrack 62 of 50");
    let left_out = tree.status().children.iter().find(|child| child.name == "c2").unwrap();
    assert_eq!(left_out.not_counted.as_deref(), Some("the weights of the others leave nothing of 100"));
    check(&[(weight(100), "80"), (json!({}), "0")], "OnTrack 80 of 50");
}

#[test]
fn set_weights_alone_are_divided_by_their_sum() {
    check(&[(weight(10), "100"), (weight(30), "0")], "Behind 25 of 50");
    check(&[(weight(1), "40")], "Behind 40 of 50");
}

#[test]
fn weights_above_100_are_refused() {
    let tree = decided(json!({}), &[(weight(60), "80"), (weight(41), "40")]);
    assert_eq!(tree.verdict(), "Behind - of 50");
    assert_eq!(tree.ready(), "False WeightsAboveHundred, Stalled");
    assert_eq!(
        tree.explanation(),
        "There is no progress, because the weights are above 100 in sum; the worst child is sales/c1, so Behind."
    );
    assert!(tree.status().children.iter().all(|child| child.not_counted.is_some()));
    assert_eq!(&tree.next(), tree.status());
    let mut mended = tree;
    mended.own().pop();
    mended.decides();
    assert_eq!(mended.ready(), "True RolledUp");
}

#[test]
fn a_child_list_tells_what_each_adds_the_worst_first() {
    let tree = decided(json!({}), &[(weight(40), "80"), (weight(40), "10"), (json!({}), "40")]);
    let text = |child: &ChildStatus| {
        let part = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let status = child.okr_status.map_or("undecided", OkrStatus::name);
        let (weight, progress) = (part(&child.weight_percent), part(&child.progress_percent));
        format!(
            "{} {}/{} {status} {weight} {progress} {}",
            child.kind,
            child.namespace,
            child.name,
            part(&child.contribution)
        )
    };
    assert_eq!(
        tree.status().children.iter().map(text).collect::<Vec<_>>(),
        [
            "OkrKeyResult sales/c1 AtRisk 40 10 4",
            "OkrKeyResult sales/c2 Behind 20 40 8",
            "OkrKeyResult sales/c0 OnTrack 40 80 32",
        ]
    );
    assert_eq!(tree.status().child_count, Some(3));
}

#[test]
fn a_thousand_children_are_listed_and_the_others_counted() {
    let mut tree = Tree::new(json!({}), &[]);
    for index in 0..1200 {
        // A target of its own each, so that the fractions have nothing in common.
        let reach = json!({"measure": {"reach": {"target": format!("{}.{}", 1_000_003 + 2 * index, "7".repeat(30))}}});
        tree.adds("grow", &format!("c{index:04}"), reach, "600000");
    }
    let begun = std::time::Instant::now();
    tree.decides();
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!((tree.status().child_count, tree.status().children.len()), (Some(1200), 1000));
    assert!(tree.verdict().starts_with("OnTrack 59."), "{}", tree.verdict());
    assert!(tree.explanation().starts_with("1200 of 1200 children count and give 59."), "{}", tree.explanation());
    assert!(tree.explanation().ends_with("so OnTrack; 200 more children are not listed."), "{}", tree.explanation());
    assert_eq!(&tree.next(), tree.status());
}

#[test]
fn the_sum_is_exact_through_ten_levels() {
    // A third three times is one: 99 + 100 + 100 + 3 * 1/3 is 300 of 600. Rounded thirds would be Behind.
    let mut tree = Tree::new(json!({}), &[]);
    let mut above = "grow".to_owned();
    for level in 0..9 {
        let name = format!("level{level}");
        tree.adds_objective(&above, &name, json!({}));
        above = name;
    }
    for value in ["99", "100", "100"] {
        tree.adds(&above, value, json!({}), value);
    }
    for third in ["a", "b", "c"] {
        tree.adds_objective(&above, third, json!({}));
        for value in ["1", "0", "0"] {
            tree.adds(third, value, json!({}), value);
        }
    }
    tree.decides();
    assert_eq!(tree.verdict(), "OnTrack 50 of 50");
    assert_eq!(tree.status().child_count, Some(1));
}

#[test]
fn a_chain_of_any_length_is_followed() {
    let mut tree = Tree::new(json!({}), &[]);
    let mut above = "grow".to_owned();
    for level in 0..20_000 {
        let name = format!("level{level}");
        tree.adds_objective(&above, &name, json!({}));
        above = name;
    }
    tree.adds(&above, "last", json!({}), "60");
    tree.decides();
    assert_eq!(tree.verdict(), "OnTrack 60 of 50");
}

#[test]
fn a_child_objective_counts_with_what_it_comes_to_now() {
    let check = |changes: Value, want: &str| {
        let mut tree = Tree::new(json!({}), &[(json!({}), "40")]);
        let mut child = objective("child", changes.clone());
        child.status = serde_json::from_value(json!({"okrStatus": "AtRisk", "progressPercent": "7"})).unwrap();
        tree.own().push(Arc::new(Child::of_objective(&child)));
        tree.adds("child", "leaf", json!({}), "80");
        tree.decides();
        assert_eq!(tree.verdict(), want, "{changes}");
    };
    check(json!({}), "OnTrack 60 of 50");
    check(json!({"lifecycle": "Postponed"}), "Behind 40 of 50");
    check(json!({"period": {"startDate": "2026-03-01", "endDate": "2026-04-11"}}), "Behind 40 of 50");
    // No progress without a period, and a child without a value counts with 0.
    check(json!({"period": null}), "AtRisk 20 of 50");
    let measure = json!({"measure": {"percent": {}}, "manual": {"value": 1, "asOf": "2026-02-01"}});
    check(measure, "AtRisk 20 of 50");
}

#[test]
fn a_closed_child_objective_counts_with_what_was_written() {
    let mut child = objective("child", json!({"lifecycle": "Closed"}));
    let mut tree = Tree::new(json!({}), &[]);
    for value in ["100", "100", "0"] {
        tree.adds("child", value, json!({}), value);
    }
    tree.own().push(Arc::new(Child::of_objective(&child)));
    tree.decides();
    let before = tree.verdict();
    assert_eq!(before, "OnTrack 66.67 of 50", "before it is written as closed");
    child.status = serde_json::from_value(json!({"okrStatus": "Closed", "progressPercent": "66.67"})).unwrap();
    *tree.own() = vec![Arc::new(Child::of_objective(&child))];
    tree.children.remove("child");
    tree.decides();
    assert_eq!(tree.verdict(), before);
}

#[test]
fn without_children_nothing_has_started() {
    let tree = decided(json!({}), &[]);
    assert_eq!(tree.verdict(), "NotStarted - of 50");
    assert_eq!(tree.ready(), "True NoKeyResults");
    assert_eq!(tree.status().child_count, Some(0));
    well_formed(&tree.status().measured, 1);
}

#[test]
fn without_a_period_the_worst_child_tells_the_status() {
    let without = |children: &[(Value, &str)]| decided(json!({"period": null}), children);
    let tree = without(&[(json!({}), "80"), (json!({}), "40")]);
    assert_eq!(tree.verdict(), "Behind - of -");
    assert_eq!(tree.explanation(), "Without a period there is no progress; the worst child is sales/c1, so Behind.");
    assert_eq!(tree.status().children[0].not_counted.as_deref(), Some("the objective has no period"));
    assert!(tree.status().measured.history.is_empty());
    assert_eq!(without(&[]).verdict(), "NotStarted - of -");
}

/// A child of each status, with its own word for it.
fn standing(status: &str) -> (Value, &'static str) {
    match status {
        "AtRisk" => (json!({}), "10"),
        "Behind" => (json!({}), "40"),
        "OnTrack" => (json!({}), "60"),
        "InProgress" => (json!({"measure": {"baseline": {}}}), "1"),
        "NotStarted" => (json!({}), ""),
        "Closed" => (json!({"lifecycle": "Closed"}), "60"),
        "Postponed" => (json!({"lifecycle": "Postponed"}), "60"),
        other => panic!("{other}"),
    }
}

#[test]
fn the_worst_child_in_order() {
    let order = ["AtRisk", "Behind", "OnTrack", "InProgress", "NotStarted", "Closed", "Postponed"];
    for (index, worse) in order.iter().enumerate() {
        for better in &order[index..] {
            let children = [standing(better), standing(worse)];
            let tree = decided(json!({"statusFrom": "KeyResults"}), &children);
            let status = &tree.status().measured;
            assert_eq!(status.okr_status.unwrap().name(), *worse, "{worse} and {better}");
            assert_eq!(status.computed_status, status.okr_status);
            assert_eq!(&tree.next(), tree.status());
        }
    }
    let closed = decided(json!({"statusFrom": "KeyResults"}), &[standing("Closed"), standing("Postponed")]);
    assert_eq!(closed.explanation(), "100 % of 0 gives 0 % progress; no child is worked on, so Closed.");
}

#[test]
fn status_from_key_results_shows_progress_too() {
    let tree = decided(json!({"statusFrom": "KeyResults"}), &[(json!({}), "100"), (json!({}), "40")]);
    assert_eq!(tree.verdict(), "Behind 70 of 50");
    assert_eq!(
        tree.explanation(),
        "50 % of 100 and 50 % of 40 give 70 % progress; the worst child is sales/c1, so Behind."
    );
}

#[test]
fn what_section_2_says_holds_for_roll_ups() {
    let on = |changes: Value| decided(changes, &[(json!({}), "40")]);
    assert_eq!(on(json!({"thresholds": {"behind": 10}})).verdict(), "OnTrack 40 of 50");
    assert_eq!(on(json!({"thresholds": {"atRisk": 9}})).verdict(), "AtRisk 40 of 50");
    assert_eq!(on(json!({"lifecycle": "Postponed"})).verdict(), "Postponed 40 of 50");
    let later = json!({"period": {"startDate": "2026-03-01", "endDate": "2026-04-11"}});
    assert_eq!(on(later).verdict(), "NotStarted 40 of 0");
    let checked_in = on(json!({"override": {"okrStatus": "AtRisk", "note": "A feeling.", "until": "2026-02-20"}}));
    assert_eq!(checked_in.verdict(), "AtRisk 40 of 50");
    assert_eq!(checked_in.status().measured.computed_status, Some(OkrStatus::Behind));
    assert!(checked_in.explanation().ends_with("; checked in as AtRisk until 2026-02-20: A feeling."));
    assert_eq!(on(json!({})).status().measured.score.as_deref(), Some("0.4"));
    assert_eq!(on(json!({})).status().measured.okr_status_since.as_ref().unwrap().0, noon(50));
}

#[test]
fn the_gap_is_compared_exactly() {
    // 39 and two thirds are 10 and a third less than 50.
    let tree = |behind: &str| {
        decided(json!({"thresholds": {"behind": behind}}), &[(json!({}), "40"), (json!({}), "40"), (json!({}), "39")])
    };
    assert_eq!(tree("10.33333333333333333333333333333333333333").verdict(), "Behind 39.67 of 50");
    assert_eq!(tree("10.33333333333333333333333333333333333334").verdict(), "OnTrack 39.67 of 50");
}

#[test]
fn a_closed_roll_up_stays_as_it_was() {
    let mut tree = decided(json!({}), &[(json!({}), "100"), (json!({}), "0"), (json!({}), "0")]);
    tree.changes(json!({"lifecycle": "Closed"}));
    tree.wait(hours(24));
    tree.decides();
    assert_eq!(tree.verdict(), "Closed 33.33 of 51");
    let written = tree.status().clone();
    assert_eq!(tree.next(), written, "as it will be read back");
    tree.own().clear();
    tree.wait(hours(24 * 10));
    assert_eq!(tree.next(), written, "neither children nor days change it");
    tree.changes(json!({"thresholds": {"behind": "17.67"}}));
    tree.decides();
    assert_eq!(tree.verdict(), "Closed 33.33 of 51");
    assert_eq!(tree.status().measured.computed_status, Some(OkrStatus::OnTrack), "51 - 33.33 is 17.67");
    assert_eq!(
        tree.explanation(),
        "Closed on 2026-02-21; progress is frozen at 33.33 %, where 51 % is expected on 2026-02-21: 17.67 points behind, so OnTrack."
    );
    assert_eq!((tree.status().child_count, tree.names().len()), (Some(3), 3));
    tree.changes(json!({"lifecycle": "Active"}));
    tree.decides();
    assert_eq!(tree.verdict(), "NotStarted - of 61", "once more what its children say");
}

#[test]
fn an_unchanged_pass_writes_nothing() {
    let mut tree = decided(json!({}), &[(weight(40), "80"), (weight(60), "50")]);
    assert_eq!(tree.ready(), "True RolledUp");
    let written = tree.status().clone();
    tree.wait(hours(6));
    assert_eq!(tree.next(), written);
    assert!(matches!(tree.pass(), Pass::Wait(Some(moment)) if moment > tree.now));
    well_formed(&written.measured, 1);
}

#[test]
fn a_new_one_is_decided_at_once() {
    assert_eq!(Tree::new(json!({}), &[]).pass(), Pass::Decide);
}

#[test]
fn a_new_day_is_written_at_a_moment_of_its_own() {
    let mut tree = decided(json!({}), &[(json!({}), "80")]);
    let pass = midnight(51) + day_spread("uid of grow");
    assert!(pass > midnight(51) && pass < midnight(51) + minutes(15));
    for now in [noon(50), midnight(51), pass - seconds(1)] {
        tree.now = now;
        assert_eq!(tree.pass(), Pass::Wait(Some(pass)), "at {now}");
    }
    tree.now = pass;
    assert_eq!(tree.pass(), Pass::Decide);
    tree.decides();
    assert_eq!(tree.verdict(), "OnTrack 80 of 51");
    assert!(matches!(tree.pass(), Pass::Wait(_)));
}

#[test]
fn a_change_is_written_at_once_even_at_midnight() {
    let mut tree = decided(json!({}), &[(json!({}), "80")]);
    tree.now = midnight(51);
    *tree.own() = vec![Arc::new(key_result("c0", json!({}), "70", noon(50)))];
    assert_eq!(tree.pass(), Pass::Decide);
    tree.decides();
    assert_eq!(tree.verdict(), "OnTrack 70 of 51");
    assert!(matches!(tree.pass(), Pass::Wait(_)));
}

#[test]
fn a_period_that_begins_on_any_level_is_counted_from_then_on() {
    // Eleven hours before the objective's own midnight.
    let changes =
        json!({"period": {"startDate": "2026-02-21", "endDate": "2026-04-11", "timeZone": "Pacific/Auckland"}});
    for level in ["grow", "child"] {
        let mut tree = Tree::new(json!({}), &[]);
        tree.adds_objective("grow", "child", json!({}));
        tree.adds("child", "early", json!({}), "80");
        tree.adds(level, "late", changes.clone(), "");
        tree.now = noon(50) - hours(2);
        tree.decides();
        assert_eq!(tree.verdict(), "OnTrack 80 of 50");
        let begins = midnight(51) - hours(13);
        let pass = begins + day_spread("uid of grow");
        assert_eq!(tree.pass(), Pass::Wait(Some(pass)), "{level}");
        tree.now = begins;
        assert_eq!(tree.pass(), Pass::Wait(Some(pass)), "{level}");
        tree.now = pass;
        assert_eq!(tree.pass(), Pass::Decide, "{level}");
        tree.decides();
        assert_eq!(tree.verdict(), "Behind 40 of 50", "{level}");
    }
}

#[test]
fn history_has_one_point_of_progress_a_day() {
    let mut tree = Tree::new(json!({}), &[]);
    let sets = |tree: &mut Tree, now: Timestamp, value: &str| {
        tree.now = now;
        *tree.own() = vec![Arc::new(key_result("c", json!({}), value, now))];
        tree.decides();
    };
    let values = |tree: &Tree| -> Vec<String> {
        tree.status().measured.history.iter().map(|point| point.value.clone()).collect()
    };
    sets(&mut tree, noon(-1), "1");
    assert!(values(&tree).is_empty(), "before the first day");
    sets(&mut tree, noon(50), "10");
    sets(&mut tree, noon(50) + hours(1), "11");
    sets(&mut tree, noon(50) + hours(2), "12");
    assert_eq!(values(&tree), ["12"]);
    sets(&mut tree, noon(51), "12");
    sets(&mut tree, noon(52), "20");
    assert_eq!(values(&tree), ["12", "12", "20"]);
    let time = tree.status().measured.history[2].time.clone();
    sets(&mut tree, noon(52) + hours(3), "20");
    assert_eq!(tree.status().measured.history[2].time, time, "the same value leaves the point");
    sets(&mut tree, noon(101), "90");
    sets(&mut tree, noon(102), "90");
    assert_eq!(values(&tree), ["12", "12", "20", "90"], "after the last day only changes");
}

#[test]
fn history_is_that_of_the_measure_or_of_the_roll_up() {
    let mut tree = decided(json!({}), &[(json!({}), "80")]);
    tree.objective.status.as_mut().unwrap().measured.history_of = Some("percent".to_owned());
    tree.objective.status.as_mut().unwrap().measured.value = Some("5".to_owned());
    tree.objective.status.as_mut().unwrap().measured.history[0].value = "5".to_owned();
    tree.decides();
    let status = &tree.status().measured;
    assert_eq!(status.history.iter().map(|point| point.value.as_str()).collect::<Vec<_>>(), ["80"]);
    assert_eq!((status.history_of.as_deref(), &status.value), (Some("rollUp"), &None));
}

#[test]
fn refreshes_are_echoed_at_once() {
    let mut tree = decided(json!({}), &[]);
    let annotations = tree.objective.metadata.annotations.get_or_insert_default();
    annotations.insert("okr-operator.dev/refresh".to_owned(), "a".to_owned());
    annotations.insert("reconcile.fluxcd.io/requestedAt".to_owned(), "b".to_owned());
    assert_eq!(tree.pass(), Pass::Decide);
    tree.decides();
    let status = &tree.status().measured;
    assert_eq!(status.last_handled_refresh.as_deref(), Some("a"));
    assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("b"));
    tree.objective.metadata.annotations = None;
    assert!(matches!(tree.pass(), Pass::Wait(_)), "an absent one leaves its echo");
}

#[test]
fn in_a_time_zone_that_does_not_exist_nothing_new_is_said() {
    let mut tree = decided(json!({}), &[(json!({}), "40")]);
    tree.changes(json!({"period": {"startDate": "2026-01-01", "endDate": "2026-04-11", "timeZone": "No/Where"}}));
    tree.decides();
    assert_eq!(tree.ready(), "False InvalidTimeZone, Stalled");
    assert_eq!(tree.verdict(), "Behind 40 of -");
    assert_eq!(&tree.next(), tree.status());
    assert!(matches!(tree.pass(), Pass::Wait(_)));
}

#[test]
fn a_cycle_is_named_to_each_of_its_objectives() {
    let parents = HashMap::from([("a", "b"), ("b", "c"), ("c", "a"), ("d", "a"), ("e", "d"), ("f", "f"), ("g", "h")]);
    let cycle = |of: &'static str| rollup::cycle(&of, |name| parents.get(name).copied());
    for member in ["a", "b", "c"] {
        assert_eq!(cycle(member), Some(vec!["a", "b", "c"]), "{member}");
    }
    for outside in ["d", "e", "g", "h"] {
        assert_eq!(cycle(outside), None, "{outside}");
    }
    assert_eq!(cycle("f"), Some(vec!["f"]));
}

#[test]
fn a_part_of_itself_has_no_progress() {
    let mut tree = Tree::new(json!({}), &[(json!({}), "80")]);
    tree.adds_objective("grow", "child", json!({}));
    tree.adds_objective("child", "grow", json!({}));
    tree.cycle = Some(vec!["sales/child".to_owned(), "sales/grow".to_owned()]);
    tree.decides();
    assert_eq!(tree.verdict(), "NotStarted - of 50");
    assert_eq!(tree.ready(), "False Cycle, Stalled");
    let ready = tree.status().measured.conditions[0].message.clone();
    assert!(ready.ends_with("The cycle: sales/child and sales/grow."), "{ready}");
    assert_eq!(tree.explanation(), "There is no progress, because it is a part of itself: sales/child and sales/grow.");
    assert!(tree.status().children.iter().all(|child| child.not_counted.is_some()));
    assert_eq!(&tree.next(), tree.status());
    tree.cycle = None;
    tree.children.remove("child");
    tree.decides();
    assert_eq!(tree.ready(), "True RolledUp");
}

#[test]
fn a_reference_that_leads_nowhere_is_told_and_ready_stays() {
    let mut tree = decided(json!({"parentRef": {"name": "company", "namespace": "board"}}), &[(json!({}), "60")]);
    tree.problem = Some(ObjectiveProblem::ObjectiveNotShared);
    assert_eq!(tree.pass(), Pass::Decide);
    tree.decides();
    assert_eq!(tree.ready(), "True RolledUp");
    let text = "; it counts for no objective, because OkrObjective board/company does not exist or does not admit namespace sales (ObjectiveNotShared).";
    assert!(tree.explanation().ends_with(text), "{}", tree.explanation());

    let world = World::synced(json!({"objectiveRef": {"name": "grow"}}), "60");
    let measured = Measured { objective_problem: Some(ObjectiveProblem::ObjectiveNotFound), ..world.measured() };
    let next = status::next(&measured, &world.route(), None, &world.gaps, world.now);
    let text = "; it counts for no objective, because there is no OkrObjective sales/grow (ObjectiveNotFound).";
    assert!(next.explanation.as_ref().unwrap().ends_with(text), "{:?}", next.explanation);
    assert_eq!(next.conditions, world.status().conditions);
}

#[test]
fn who_may_refer_to_an_objective() {
    let labels = std::collections::BTreeMap::from([("team".to_owned(), "sales".to_owned())]);
    let check = |allowed: Value, namespace: &str, want: bool| {
        let spec = objective("grow", json!({"allowedNamespaces": allowed})).spec;
        let admits = objective::admits("sales", spec.allowed_namespaces.as_ref(), namespace, Some(&labels));
        assert_eq!(admits, want, "{allowed} from {namespace}");
    };
    check(Value::Null, "sales", true);
    check(Value::Null, "finance", false);
    check(json!({"from": "Same"}), "finance", false);
    check(json!({"from": "All"}), "finance", true);
    check(json!({"from": "Selector", "selector": {"matchLabels": {"team": "sales"}}}), "finance", true);
    check(json!({"from": "Selector", "selector": {"matchLabels": {"team": "other"}}}), "finance", false);
}

#[test]
fn nobody_learns_whether_an_objective_of_another_namespace_exists() {
    assert_eq!(objective::problem(true, true), None);
    assert_eq!(objective::problem(false, true), None);
    assert_eq!(objective::problem(true, false), Some(ObjectiveProblem::ObjectiveNotFound));
    assert_eq!(objective::problem(false, false), Some(ObjectiveProblem::ObjectiveNotShared));
}

#[test]
fn values_that_are_not_fresh_are_counted() {
    let mut world = World::synced(json!({"measure": {"percent": {}}}), "60").later(hours(9));
    world.key_result.metadata.name = Some("old".to_owned());
    world.connection.spec.suspend = None;
    world.ready = false;
    world.decides();
    let child = Child::of_key_result(&world.key_result);
    assert!(child.stale);
    let mut tree = Tree::new(json!({}), &[(json!({}), "60")]);
    tree.own().push(Arc::new(child));
    tree.decides();
    assert_eq!(tree.status().stale_children, Some(1));
    assert!(tree.explanation().ends_with("so OnTrack; the value of 1 child is not fresh."), "{}", tree.explanation());
}

#[test]
fn what_is_kept_of_a_key_result_changes_only_with_what_counts() {
    let mut world = World::synced(json!({"measure": {"percent": {}}, "interval": "168h"}), "60");
    let before = Child::of_key_result(&world.key_result);
    world.changes(json!({"title": "Another", "owner": "somebody"}));
    world.decides();
    world.wait(hours(1));
    world.measures("60.0");
    assert_eq!(Child::of_key_result(&world.key_result), before);
    for (changes, value) in [(json!({"weight": 3}), "60"), (json!({}), "61"), (json!({"lifecycle": "Postponed"}), "60")]
    {
        let mut changed = world.clone();
        changed.changes(changes.clone());
        changed.measures(value);
        assert_ne!(Child::of_key_result(&changed.key_result), before, "{changes} {value}");
    }
    assert_eq!(before.kind, Kind::KeyResult);
    assert!(size_of::<Child>() <= 192, "ten thousand are kept: {}", size_of::<Child>());
}

#[test]
fn an_objective_with_a_measure_is_decided_as_a_key_result_and_lists_its_children() {
    let own = json!({"measure": {"reach": {"target": 100}}, "manual": {"value": 40, "asOf": "2026-02-18"}});
    let tree = Tree::new(own, &[(json!({}), "80"), (json!({}), "10")]);
    let measured =
        Measured { idle_children: tree.family().child_count(), ..Measured::try_from(&tree.objective).unwrap() };
    let world = World::new(json!({"bigQuery": null, "manual": {"value": 40, "asOf": "2026-02-18"}}));
    let next = status::next(&measured, &world.route(), None, &world.gaps, noon(50));
    let want = "so Behind; 2 children count for nothing, because the objective has a measure of its own.";
    assert!(next.explanation.as_ref().unwrap().ends_with(want), "{:?}", next.explanation);
    let mut status = rollup::with_measure(next, &tree.family());
    assert_eq!(verdict(&status), "Behind 40 of 50");
    assert_eq!(status.child_count, Some(2));
    let why = Some("the objective has a measure of its own".to_owned());
    assert!(status.children.iter().all(|child| child.not_counted == why && child.weight_percent.is_none()));
    assert!(!rollup::children_changed(&status, &tree.family()));
    status.children.pop();
    assert!(rollup::children_changed(&status, &tree.family()));
    let new = ObjectiveStatus::default();
    assert!(!rollup::children_changed(&new, &tree.family()), "a new one is first written by its first sync");
    assert_eq!(Measured::try_from(&objective("grow", json!({}))).unwrap_err(), NotMeasured::RolledUp);
}

#[test]
fn a_roll_up_that_is_given_a_query_is_synced_as_a_new_one() {
    for (cycle, want) in [
        (None, "True RolledUp, Reconciling QueryChanged"),
        (Some(vec!["sales/grow".to_owned()]), "False Cycle, Reconciling QueryChanged"),
    ] {
        let mut tree = Tree::new(json!({}), &[(json!({}), "80")]);
        tree.cycle = cycle;
        tree.decides();
        tree.changes(json!({"measure": {"percent": {}}, "bigQuery": {"query": "SELECT 1"}}));
        let world = World::new(json!({}));
        let measured = Measured::try_from(&tree.objective).unwrap();
        let pass = |measured| pass::pass(&measured, &world.route(), &world.gaps, world.now, None, Turn::Later);
        assert_eq!(pass(measured), Pass::Decide);
        let next = status::next(&measured, &world.route(), None, &world.gaps, world.now);
        assert_eq!(ready_text(&next), want);
        assert_eq!((&next.progress_percent, next.history.len()), (&None, 0));
        let sync = pass(Measured { status: &next, ..measured });
        assert!(matches!(sync, Pass::Attempt { why: Why::New, .. }), "{sync:?}");
    }
}

#[test]
fn an_objective_without_a_query_any_more_keeps_nothing_of_it() {
    let world = World::synced(json!({"measure": {"percent": {}}}), "60");
    let mut tree = Tree::new(json!({}), &[(json!({}), "80")]);
    tree.objective.status = Some(rollup::with_measure(world.status().clone(), &tree.family()));
    tree.decides();
    let status = &tree.status().measured;
    assert_eq!((&status.value, &status.last_sync_time, &status.query_fingerprint), (&None, &None, &None));
    assert_eq!((&status.connection, &status.next_sync_time, &status.last_query), (&None, &None, &None));
    assert_eq!(tree.verdict(), "OnTrack 80 of 50");
    assert_eq!(tree.ready(), "True RolledUp");
    well_formed(status, 1);
}

#[test]
fn events_tell_transitions() {
    let mut tree = Tree::new(json!({}), &[(json!({}), "60")]);
    let told = |tree: &mut Tree| {
        let before = tree.objective.status.clone().unwrap_or_default().measured;
        tree.decides();
        let events = event::transitions(&before, &tree.status().measured);
        events.iter().map(|event| format!("{} {}", event.action, event.reason)).collect::<Vec<_>>()
    };
    assert!(told(&mut tree).is_empty(), "good from the beginning");
    *tree.own() = vec![Arc::new(key_result("c0", json!({}), "40", noon(50)))];
    assert_eq!(told(&mut tree), ["Decide Behind"]);
    assert!(told(&mut tree).is_empty());
    tree.own().extend([60, 50].map(|n| Arc::new(key_result("more", weight(n), "40", noon(50)))));
    assert_eq!(told(&mut tree), ["Decide WeightsAboveHundred"]);
    tree.own().truncate(1);
    assert_eq!(told(&mut tree), ["Decide RolledUp"]);
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
    check(
        &[(json!({}), ""), (json!({}), "40"), (weight(0), "3")],
        "50 % of 0 and 50 % of 40 give 20 % progress, where 50 % is expected on 2026-02-20: 30 points behind, more than 25, so AtRisk.",
    );
    check(&[(weight(0), "40")], "None of the children counts for progress; the worst child is sales/c0, so Behind.");
    check(&[], "No key result or objective refers to it, so NotStarted.");
    let five: Vec<_> = (0..5).map(|_| (json!({}), "50")).collect();
    check(
        &five,
        "5 of 5 children count and give 50 % progress, where 50 % is expected on 2026-02-20: exactly that, so OnTrack.",
    );
}
