//! Who counts for which objective, and who is looked at again because of that.
//!
//! An objective is decided from everything below it: what changes there wakes it and all above it. What it is asked for
//! most, its children, is kept by objective, so that nobody has to look through all key results.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
};

use crate::{
    api::{AllowedNamespaces, ObjectiveRef},
    domain::{
        child::{Child, Family},
        objective::{self, ObjectiveProblem},
        rollup,
    },
};

use super::{
    agenda::Agenda,
    lock,
    queue::{Key, Kind},
};

/// That an object refers to an objective, and what it brings along.
#[derive(Debug, Clone, PartialEq)]
pub struct Referral {
    pub objective: Key,
    pub child: Arc<Child>,
}

impl Referral {
    pub fn new(reference: &ObjectiveRef, child: Child) -> Self {
        let namespace = reference.namespace.as_deref().unwrap_or(&child.namespace);
        let objective = Key::new(Kind::Objective, namespace, &reference.name);
        Self { objective, child: Arc::new(child) }
    }
}

/// What of an objective decides whether others count for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Door {
    pub allowed: Option<AllowedNamespaces>,
    pub rolls_up: bool,
}

#[derive(Default)]
pub struct Tree {
    contents: Mutex<Contents>,
    pub key_results: Arc<Agenda>,
    pub objectives: Arc<Agenda>,
}

#[derive(Default)]
struct Contents {
    referrals: HashMap<Key, Referral>,
    /// The keys of the referrals, by objective.
    children: HashMap<Key, BTreeSet<Key>>,
    doors: HashMap<Key, Door>,
}

impl Tree {
    /// Takes note of what an object refers to; None where it is gone, or refers to nothing.
    pub fn refer(&self, key: &Key, referral: Option<Referral>) {
        let mut contents = lock(&self.contents);
        let before = contents.referrals.get(key);
        if before == referral.as_ref() {
            return;
        }
        let before = contents.relink(key, referral.clone());
        let concerned =
            before.iter().chain(&referral).flat_map(|referral| contents.upwards(&referral.objective)).collect();
        drop(contents);
        self.wake(concerned);
    }

    /// Takes note of an objective; None where it is gone.
    pub fn open(&self, key: &Key, door: Option<Door>) {
        let mut contents = lock(&self.contents);
        let before = match door.clone() {
            Some(door) => contents.doors.insert(key.clone(), door),
            None => contents.doors.remove(key),
        };
        if before == door {
            return;
        }
        // Those that refer to it say whether it is there for them; above it another sum is due.
        let mut concerned = contents.upwards(key);
        concerned.extend(contents.children.get(key).into_iter().flatten().cloned());
        drop(contents);
        self.wake(concerned);
    }

    /// The labels of a namespace have changed: other objectives may admit it.
    pub fn relabelled(&self, namespace: &str) {
        let contents = lock(&self.contents);
        let within = contents.referrals.iter().filter(|(key, _)| key.namespace == namespace);
        let concerned = within
            .flat_map(|(key, referral)| contents.upwards(&referral.objective).into_iter().chain([key.clone()]))
            .collect();
        drop(contents);
        self.wake(concerned);
    }

    fn wake(&self, concerned: HashSet<Key>) {
        let (objectives, key_results) = concerned.into_iter().partition::<Vec<_>, _>(|key| key.kind == Kind::Objective);
        self.objectives.wake_all(objectives);
        self.key_results.wake_all(key_results);
    }
}

/// The labels of a namespace; None where they are not known.
pub trait Labels: Fn(&str) -> Option<Arc<BTreeMap<String, String>>> {}

impl<F: Fn(&str) -> Option<Arc<BTreeMap<String, String>>>> Labels for F {}

impl Tree {
    /// Everything below an objective.
    pub fn family(&self, objective: &Key, labels: &impl Labels) -> Family {
        let contents = lock(&self.contents);
        Family::gather(&objective.namespace, &objective.name, |namespace, name| {
            contents.children(&Key::new(Kind::Objective, namespace, name), labels)
        })
    }

    /// How many count for an objective, or would if it rolled up.
    pub fn child_count(&self, objective: &Key, labels: &impl Labels) -> usize {
        lock(&self.contents).children(objective, labels).len()
    }

    /// The names of the cycle that an objective is part of.
    pub fn cycle(&self, objective: &Key, labels: &impl Labels) -> Option<Vec<String>> {
        let contents = lock(&self.contents);
        let cycle = rollup::cycle(objective, |key| {
            let parent = &contents.referrals.get(key)?.objective;
            let rolls_up = contents.doors.get(parent).is_some_and(|door| door.rolls_up);
            (rolls_up && contents.admits(parent, &key.namespace, labels)).then(|| parent.clone())
        })?;
        Some(cycle.into_iter().map(|key| format!("{}/{}", key.namespace, key.name)).collect())
    }

    /// What is wrong with the reference to an objective that an object makes.
    pub fn problem(&self, key: &Key, labels: &impl Labels) -> Option<ObjectiveProblem> {
        let contents = lock(&self.contents);
        let objective = &contents.referrals.get(key)?.objective;
        let is_own = objective.namespace == key.namespace;
        objective::problem(is_own, contents.admits(objective, &key.namespace, labels))
    }
}

impl Contents {
    fn relink(&mut self, key: &Key, referral: Option<Referral>) -> Option<Referral> {
        let before = self.referrals.remove(key);
        if let Some(before) = &before
            && let Some(children) = self.children.get_mut(&before.objective)
        {
            children.remove(key);
            if children.is_empty() {
                self.children.remove(&before.objective);
            }
        }
        if let Some(referral) = referral {
            self.children.entry(referral.objective.clone()).or_default().insert(key.clone());
            self.referrals.insert(key.clone(), referral);
        }
        before
    }

    /// The objective and all above it. It ends in a cycle too.
    fn upwards(&self, objective: &Key) -> HashSet<Key> {
        let mut met = HashSet::new();
        let mut next = Some(objective);
        while let Some(objective) = next.filter(|objective| met.insert((*objective).clone())) {
            next = self.referrals.get(objective).map(|referral| &referral.objective);
        }
        met
    }

    fn admits(&self, objective: &Key, namespace: &str, labels: &impl Labels) -> bool {
        self.doors.get(objective).is_some_and(|door| {
            objective::admits(&objective.namespace, door.allowed.as_ref(), namespace, labels(namespace).as_deref())
        })
    }

    fn children(&self, objective: &Key, labels: &impl Labels) -> Vec<Arc<Child>> {
        let Some(children) = self.children.get(objective) else { return Vec::new() };
        let mut admitted: HashMap<&str, bool> = HashMap::new();
        children
            .iter()
            .filter(|key| {
                *admitted.entry(&key.namespace).or_insert_with(|| self.admits(objective, &key.namespace, labels))
            })
            .filter_map(|key| self.referrals.get(key).map(|referral| Arc::clone(&referral.child)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::{OkrKeyResult, OkrObjective};

    use super::*;

    /// Nobody's labels are known.
    fn no_labels(_: &str) -> Option<Arc<BTreeMap<String, String>>> {
        None
    }

    fn key(kind: Kind, name: &str) -> Key {
        Key::new(kind, "sales", name)
    }

    fn refer(tree: &Tree, name: &str, objective: &str, value: &str) {
        let key_result: OkrKeyResult = serde_json::from_value(json!({
            "metadata": {"namespace": "sales", "name": name},
            "spec": {"measure": {"percent": {}}, "objectiveRef": {"name": objective}, "manual": {"value": 1, "asOf": "2026-10-01"}},
            "status": {"value": value},
        }))
        .unwrap();
        let reference = key_result.spec.objective_ref.as_ref().unwrap();
        tree.refer(&key(Kind::KeyResult, name), Some(Referral::new(reference, Child::of_key_result(&key_result))));
    }

    fn objective(tree: &Tree, name: &str, parent: Option<&str>) {
        let objective: OkrObjective = serde_json::from_value(json!({
            "metadata": {"namespace": "sales", "name": name},
            "spec": {"parentRef": parent.map(|name| json!({"name": name})), "period": {"startDate": "2026-10-01", "endDate": "2026-12-31"}},
        }))
        .unwrap();
        let key = key(Kind::Objective, name);
        tree.open(&key, Some(Door { allowed: None, rolls_up: true }));
        let parent = objective.spec.parent_ref.as_ref();
        tree.refer(&key, parent.map(|parent| Referral::new(parent, Child::of_objective(&objective))));
    }

    fn woken(agenda: &Agenda) -> Vec<String> {
        let mut names: Vec<String> = agenda.drain().into_iter().map(|key| key.name).collect();
        names.sort();
        names
    }

    #[test]
    fn what_changes_below_wakes_all_above_and_nothing_else() {
        let tree = Tree::default();
        objective(&tree, "company", None);
        objective(&tree, "team", Some("company"));
        objective(&tree, "other", Some("company"));
        refer(&tree, "kr", "team", "1");
        woken(&tree.objectives);
        refer(&tree, "kr", "team", "1");
        assert_eq!(woken(&tree.objectives), [""; 0], "nothing changed");
        refer(&tree, "kr", "team", "2");
        assert_eq!(woken(&tree.objectives), ["company", "team"]);
        refer(&tree, "kr", "other", "2");
        assert_eq!(woken(&tree.objectives), ["company", "other", "team"], "the one it left, and the one it came to");
        tree.refer(&key(Kind::KeyResult, "kr"), None);
        assert_eq!(woken(&tree.objectives), ["company", "other"]);
    }

    #[test]
    fn an_objective_that_comes_or_goes_wakes_its_children() {
        let tree = Tree::default();
        refer(&tree, "kr", "team", "1");
        assert_eq!(tree.problem(&key(Kind::KeyResult, "kr"), &no_labels), Some(ObjectiveProblem::ObjectiveNotFound));
        woken(&tree.key_results);
        objective(&tree, "team", None);
        assert_eq!(woken(&tree.key_results), ["kr"]);
        assert_eq!(tree.problem(&key(Kind::KeyResult, "kr"), &no_labels), None);
        tree.open(&key(Kind::Objective, "team"), None);
        assert_eq!(woken(&tree.key_results), ["kr"]);
    }

    #[test]
    fn a_cycle_is_named_and_wakes_each_once() {
        let tree = Tree::default();
        for (name, parent) in [("a", "b"), ("b", "c"), ("c", "a"), ("below", "a")] {
            objective(&tree, name, Some(parent));
        }
        let cycle = |name: &str| tree.cycle(&key(Kind::Objective, name), &no_labels);
        assert_eq!(cycle("b").unwrap(), ["sales/a", "sales/b", "sales/c"]);
        assert_eq!(cycle("below"), None);
        woken(&tree.objectives);
        refer(&tree, "kr", "below", "1");
        assert_eq!(woken(&tree.objectives), ["a", "b", "below", "c"]);
    }
}
