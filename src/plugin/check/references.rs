//! What the checked objects say of one another. What is not among them may be in the cluster, and nothing is said of it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    api::{
        AllowedNamespaces, BigQueryConnection, BigQuerySource, NamespacesFrom, ObjectiveRef, OkrKeyResult, OkrObjective,
    },
    domain::{
        child::{Child, Family},
        choice::{self, Seeker},
        objective::{self, ObjectiveProblem},
    },
};

use super::{
    finding::By,
    manifest::Manifest,
    schema::{Problem, locate},
};

type Name = (String, String);

/// Everything that was read, by what it is.
pub struct Set<'a> {
    connections: Vec<BigQueryConnection>,
    key_results: Vec<(&'a Manifest, OkrKeyResult)>,
    objectives: BTreeMap<Name, (&'a Manifest, OkrObjective)>,
    namespaces: &'a BTreeMap<String, BTreeMap<String, String>>,
}

/// A finding, and the manifest that it concerns.
pub type Said<'a> = (&'a Manifest, Problem, By);

impl<'a> Set<'a> {
    /// Of the labels of `namespaces`, by name.
    pub fn new(manifests: &'a [Manifest], namespaces: &'a BTreeMap<String, BTreeMap<String, String>>) -> Self {
        let mut set =
            Self { connections: Vec::new(), key_results: Vec::new(), objectives: BTreeMap::new(), namespaces };
        for manifest in manifests {
            match manifest.kind.as_str() {
                "BigQueryConnection" => set.connections.extend(manifest.read::<BigQueryConnection>()),
                "OkrKeyResult" => set.key_results.extend(manifest.read().map(|object| (manifest, object))),
                "OkrObjective" => {
                    let name = (manifest.namespace.clone(), manifest.name.clone());
                    set.objectives.extend(manifest.read().map(|object| (name, (manifest, object))));
                }
                _ => {}
            }
        }
        set
    }

    pub fn check(&self) -> Vec<Said<'a>> {
        let mut said = Vec::new();
        for (manifest, object) in &self.key_results {
            said.extend(self.reference(manifest, object.spec.objective_ref.as_ref(), "objectiveRef"));
            said.extend(object.spec.big_query.as_ref().and_then(|source| self.connection(manifest, source)));
        }
        for (manifest, object) in self.objectives.values() {
            said.extend(self.reference(manifest, object.spec.parent_ref.as_ref(), "parentRef"));
            said.extend(object.spec.big_query.as_ref().and_then(|source| self.connection(manifest, source)));
        }
        said.extend(self.weights());
        said.extend(self.cycles());
        said
    }

    /// None where the rules depend on labels of a namespace that is not among the checked.
    fn admits(&self, own: &str, allowed: Option<&AllowedNamespaces>, seeker: &str) -> Option<bool> {
        let labels = self.labels(seeker);
        let by_labels = allowed.and_then(|allowed| allowed.from) == Some(NamespacesFrom::Selector) && own != seeker;
        (labels.is_some() || !by_labels).then(|| objective::admits(own, allowed, seeker, labels))
    }

    fn labels(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(namespace)
    }

    fn reference(&self, manifest: &'a Manifest, reference: Option<&ObjectiveRef>, field: &str) -> Option<Said<'a>> {
        let reference = reference?;
        let namespace = reference.namespace.as_deref().unwrap_or(&manifest.namespace);
        let path = format!("spec.{field}");
        let say = |message: String, by: By| {
            let place = locate(&manifest.root, &format!("{path}.name")).1;
            Some((manifest, Problem::new(&path, place, message), by))
        };
        let Some((_, objective)) = self.objectives.get(&(namespace.to_owned(), reference.name.clone())) else {
            let is_key_result =
                self.key_results.iter().any(|(other, _)| other.namespace == namespace && other.name == reference.name);
            if is_key_result {
                let message = format!("{} is an OkrKeyResult here: write the name of an OkrObjective", reference.name);
                return say(message, By::Check);
            }
            return None;
        };
        if self.admits(namespace, objective.spec.allowed_namespaces.as_ref(), &manifest.namespace)? {
            return None;
        }
        let message = ObjectiveProblem::ObjectiveNotShared.text(reference, &manifest.namespace);
        say(format!("{message}: write {} into its spec.allowedNamespaces", manifest.namespace), By::Operator)
    }

    fn connection(&self, manifest: &'a Manifest, source: &BigQuerySource) -> Option<Said<'a>> {
        let named = source.connection_ref.as_ref();
        let namespace = named.and_then(|named| named.namespace.as_deref()).unwrap_or(&manifest.namespace);
        let is_own = |connection: &&BigQueryConnection| connection.metadata.namespace.as_deref() == Some(namespace);
        let candidates: Vec<&BigQueryConnection> = match named {
            Some(named) => self
                .connections
                .iter()
                .filter(is_own)
                .filter(|connection| connection.metadata.name.as_deref() == Some(named.name.as_str()))
                .collect(),
            None => self.connections.iter().filter(is_own).collect(),
        };
        // One that is not here may be in the cluster.
        let first = candidates.first()?;
        self.admits(namespace, first.spec.allowed_namespaces.as_ref(), &manifest.namespace)?;
        let labels = self.labels(&manifest.namespace);
        let seeker = Seeker { namespace: &manifest.namespace, labels, source, kept: None };
        let none = choice::choose(seeker, &candidates, &[]).err()?;
        let field = if named.is_some() { "spec.bigQuery.connectionRef" } else { "spec.bigQuery" };
        let place = locate(&manifest.root, field).1;
        let message = format!("{} ({})", none.message.trim_end_matches('.'), none.reason.name());
        Some((manifest, Problem::new(field, place, message), By::Operator))
    }

    /// The set weights of what counts for one objective are at most 100 in sum. Once all periods have begun: a sum that is
    /// wrong then is better told of now.
    fn weights(&self) -> Vec<Said<'a>> {
        let mut children: HashMap<Name, Vec<(Arc<Child>, &Manifest)>> = HashMap::new();
        let mut add = |child: Child, manifest: &'a Manifest, reference: Option<&ObjectiveRef>| {
            let Some(reference) = reference else { return };
            let namespace = reference.namespace.as_deref().unwrap_or(&manifest.namespace);
            let name = (namespace.to_owned(), reference.name.clone());
            let Some((_, objective)) = self.objectives.get(&name) else { return };
            let allowed = objective.spec.allowed_namespaces.as_ref();
            if self.admits(namespace, allowed, &manifest.namespace) == Some(true) {
                children.entry(name).or_default().push((Arc::new(child), manifest));
            }
        };
        for (manifest, object) in &self.key_results {
            add(Child::of_key_result(object), manifest, object.spec.objective_ref.as_ref());
        }
        for (manifest, object) in self.objectives.values() {
            add(Child::of_objective(object), manifest, object.spec.parent_ref.as_ref());
        }
        let mut said = Vec::new();
        for (name, (manifest, objective)) in &self.objectives {
            let Some(own) = children.get(name).filter(|_| objective.spec.measure.is_none()) else { continue };
            let family = Family::gather(&name.0, &name.1, |namespace, wanted| {
                let is_this = (namespace, wanted) == (name.0.as_str(), name.1.as_str());
                own.iter().filter(|_| is_this).map(|(child, _)| Arc::clone(child)).collect()
            });
            if family.sum(Timestamp::MAX).progress.is_ok() {
                continue;
            }
            let mut listed: Vec<String> = own
                .iter()
                .filter_map(|(child, manifest)| Some(format!("{} {}", manifest.name, child.weight?)))
                .collect();
            listed.sort();
            let message = format!(
                "the weights of what counts for it are above 100 in sum ({}): lower them, or leave some out for an equal share (WeightsAboveHundred)",
                listed.join(", ")
            );
            said.push((*manifest, Problem::new("", manifest.root.place, message), By::Operator));
        }
        said
    }

    /// Told of once, at the first of those that are part of it.
    fn cycles(&self) -> Vec<Said<'a>> {
        let parent = |name: &Name| -> Option<Name> {
            let (manifest, objective) = self.objectives.get(name)?;
            let reference = objective.spec.parent_ref.as_ref()?;
            let namespace = reference.namespace.clone().unwrap_or_else(|| manifest.namespace.clone());
            Some((namespace, reference.name.clone()))
        };
        let mut said = Vec::new();
        for (first, (manifest, _)) in &self.objectives {
            let mut chain = vec![first.clone()];
            while let Some(next) = chain.last().and_then(parent) {
                if next == *first {
                    if chain.iter().min() == Some(first) {
                        let names: Vec<&str> = chain.iter().chain([first]).map(|(_, name)| name.as_str()).collect();
                        let message = format!(
                            "the objectives are parents of one another ({}): remove one parentRef (Cycle)",
                            names.join(" -> ")
                        );
                        let place = locate(&manifest.root, "spec.parentRef.name").1;
                        said.push((*manifest, Problem::new("spec.parentRef", place, message), By::Operator));
                    }
                    break;
                }
                if chain.contains(&next) {
                    break;
                }
                chain.push(next);
            }
        }
        said
    }
}
