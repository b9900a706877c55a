//! Which kind of object a document is, and what its name is.

use super::{
    finding::By,
    schema::{Kind, Kinds, Problem, value_place},
    words,
    yaml::{Data, Node},
};

/// An object of one of our kinds.
#[derive(Debug)]
pub struct Manifest {
    pub file: String,
    pub root: Node,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// Whether the API server would take it.
    pub accepted: bool,
}

impl Manifest {
    pub fn new(file: &str, root: Node, kind: &str, default_namespace: &str) -> Self {
        let text = |path: &str| root.at(path).and_then(Node::text).filter(|text| !text.is_empty());
        let namespace = text("metadata.namespace").unwrap_or(default_namespace).to_owned();
        let name = text("metadata.name").or(text("metadata.generateName")).unwrap_or_default().to_owned();
        Self { file: file.to_owned(), kind: kind.to_owned(), namespace, name, root, accepted: false }
    }

    /// `OkrKeyResult/converted-leads`
    pub fn title(&self) -> String {
        if self.name.is_empty() { self.kind.clone() } else { format!("{}/{}", self.kind, self.name) }
    }

    /// As the API server would store it, with a namespace. None where it would not take it.
    pub fn read<K: serde::de::DeserializeOwned>(&self) -> Option<K> {
        if !self.accepted {
            return None;
        }
        let mut object = without_nulls(self.root.json());
        object["metadata"]["namespace"] = self.namespace.as_str().into();
        object.as_object_mut()?.remove("status");
        serde_json::from_value(object).ok()
    }
}

/// The API server takes a null for a field that is not there.
pub fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(object) => object
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        serde_json::Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// What a document turns out to be.
pub enum Found<'a> {
    Ours(&'a Kind),
    /// Another kind, with its name for the summary: it is left alone.
    Other(String),
    /// `kind: List` and the like: the objects are in `items`.
    List,
    /// Probably meant to be one of ours.
    Misnamed {
        kind: String,
        problem: Problem,
        by: By,
    },
    /// YAML, but no manifest.
    None(String),
}

/// By `apiVersion` and `kind`.
pub fn find<'a>(root: &Node, kinds: &'a Kinds) -> Found<'a> {
    if !matches!(root.data, Data::Map(_)) {
        return Found::None(format!("is no manifest: it holds {}", root.shown()));
    }
    let text = |field: &str| root.get(field).and_then(Node::text);
    let (kind, version) = (text("kind"), text("apiVersion"));
    let known = |kind: &str, version: &str| kinds.find(kind).filter(|found| found.api_version() == version);
    if let (Some(kind), Some(version)) = (kind, version) {
        if let Some(found) = known(kind, version) {
            return Found::Ours(found);
        }
        let is_own_list = kind.strip_suffix("List").is_some_and(|kind| known(kind, version).is_some());
        if (kind == "List" && version == "v1") || is_own_list {
            return Found::List;
        }
    }
    if let Some(misnamed) = misnamed(root, kind, version, kinds) {
        return misnamed;
    }
    match (kind, version) {
        (Some(kind), Some(_)) => Found::Other(kind.to_owned()),
        _ if root.entries().iter().all(|entry| !matches!(entry.key.as_str(), "metadata" | "spec")) => {
            Found::None("is no Kubernetes manifest: apiVersion and kind are missing".to_owned())
        }
        _ => Found::Other("without apiVersion or kind".to_owned()),
    }
}

/// Something close to one of our kinds.
fn misnamed<'a>(root: &Node, kind: Option<&str>, version: Option<&str>, kinds: &Kinds) -> Option<Found<'a>> {
    let ours = kinds.all.first()?.api_version();
    let (our_group, _) = ours.split_once('/')?;
    let group = version.map(|version| version.split('/').next().unwrap_or_default());
    let is_our_group = group == Some(our_group);
    let is_close_group = group.is_some_and(|group| words::close(group, [our_group]).is_some() || group.contains("okr"));
    // `v1` and a version without a group say nothing about whose kind it is.
    let is_plain = version.is_none_or(|version| !version.contains('.'));
    let names: Vec<&str> = kinds.all.iter().map(Kind::name).collect();
    let alike = kind.and_then(|kind| {
        let without_plural = kind.trim_end_matches('s');
        let short = names.iter().copied().find(|name| {
            name.strip_prefix("Okr").or(name.strip_prefix("BigQuery")).is_some_and(|rest| rest == without_plural)
                || name.eq_ignore_ascii_case(kind)
        });
        short.or_else(|| words::close(kind, names.iter().copied()))
    });
    let is_ours = is_our_group || (alike.is_some() && (is_close_group || is_plain));
    if !is_ours {
        return None;
    }
    let by = By::ApiServer;
    let title = alike.or(kind).unwrap_or("a manifest").to_owned();
    let problem = |field: &str, message: String| {
        let place = root.entry(field).map_or(root.place, value_place);
        Found::Misnamed { kind: title.clone(), problem: Problem::new(field, place, message), by }
    };
    Some(match (kind, version) {
        (None, _) => problem("kind", format!("is missing: write one of {}", names.join(", "))),
        (_, None) => problem("apiVersion", format!("is missing: write {ours}")),
        (Some(typed), Some(typed_version)) => match alike {
            Some(name) if name != typed => problem("kind", format!("there is no kind {typed}: write {name}")),
            None => problem("kind", format!("there is no kind {typed} in {our_group}, but {}", names.join(", "))),
            Some(_) => problem("apiVersion", format!("there is no {typed_version}: write {ours}")),
        },
    })
}
