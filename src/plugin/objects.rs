//! What exists in the cluster, as far as it is read.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
};

use futures::{AsyncBufReadExt, StreamExt, stream};
use kube::{Resource, api::ListParams, core::NamespaceResourceScope};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::watch;

use crate::{
    api::{BigQueryConnection, OkrKeyResult, OkrObjective},
    view::{
        brief::{Kind, decode},
        catalog::Catalog,
        row::Name,
    },
};

use super::cluster::{AT_ONCE, Cluster, ClusterError};

/// Objects at a time, as kubectl asks for them.
pub const PAGE: u32 = 500;

/// What existed at a moment.
#[derive(Default)]
pub struct Objects {
    objectives: Listed,
    key_results: Listed,
    /// None where they may not be listed.
    connections: Option<Listed>,
}

/// What may not be listed of what was asked for by name.
pub type Refusals = Vec<ClusterError>;

/// What exists in `scope`, None for all namespaces, without histories. Connections that may not be listed go by their own
/// names.
pub async fn list(cluster: &Cluster, scope: Option<&str>, selector: Option<&str>) -> Result<Objects, ClusterError> {
    let selected = ListParams { label_selector: selector.map(str::to_owned), ..ListParams::default() };
    let (objectives, key_results, connections) = tokio::join!(
        listed::<OkrObjective>(cluster, scope, &selected, Kept::ForRows),
        listed::<OkrKeyResult>(cluster, scope, &selected, Kept::ForRows),
        connections(cluster, scope),
    );
    Ok(Objects { objectives: objectives?, key_results: key_results?, connections: connections? })
}

/// The same of some namespaces.
pub async fn list_in(cluster: &Cluster, namespaces: &[&str]) -> Result<Objects, ClusterError> {
    let mut all = Objects { connections: Some(Listed::default()), ..Objects::default() };
    for namespace in namespaces {
        let Objects { objectives, key_results, connections } = list(cluster, Some(namespace), None).await?;
        all.objectives.add(objectives.items);
        all.key_results.add(key_results.items);
        all.connections = all.connections.zip(connections).map(|(mut all, of_one)| {
            all.add(of_one.items);
            all
        });
    }
    Ok(all)
}

/// Those of `names` that exist in the namespace of `cluster`; no connections.
pub async fn named(cluster: &Cluster, names: &[(Kind, Name)]) -> Result<(Objects, Refusals), ClusterError> {
    let scope = Some(cluster.namespace.as_str());
    let one = |(kind, name): &(Kind, Name)| {
        let (kind, selected) = (*kind, ListParams::default().fields(&format!("metadata.name={}", name.name)));
        async move {
            let listed = match kind {
                Kind::Objective => listed::<OkrObjective>(cluster, scope, &selected, Kept::Whole).await,
                Kind::KeyResult => listed::<OkrKeyResult>(cluster, scope, &selected, Kept::Whole).await,
            };
            (kind, listed)
        }
    };
    let asked: Vec<_> = names.iter().map(one).collect();
    let mut asked = stream::iter(asked).buffered(AT_ONCE);
    let (mut objects, mut refusals) = (Objects::default(), Refusals::new());
    while let Some((kind, listed)) = asked.next().await {
        match (kind, listed) {
            (Kind::Objective, Ok(listed)) => objects.objectives.add(listed.items),
            (Kind::KeyResult, Ok(listed)) => objects.key_results.add(listed.items),
            (_, Err(refusal @ ClusterError::Forbidden { .. })) => refusals.push(refusal),
            (_, Err(error)) => return Err(error),
        }
    }
    Ok((objects, refusals))
}

async fn connections(cluster: &Cluster, scope: Option<&str>) -> Result<Option<Listed>, ClusterError> {
    match listed::<BigQueryConnection>(cluster, scope, &ListParams::default(), Kept::Whole).await {
        Err(ClusterError::Forbidden { .. }) => Ok(None),
        listed => listed.map(Some),
    }
}

/// The objects of a kind in `scope` that are `selected`.
async fn listed<K>(
    cluster: &Cluster,
    scope: Option<&str>,
    selected: &ListParams,
    kept: Kept,
) -> Result<Listed, ClusterError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let (mut parameters, mut pages) = (selected.clone().limit(PAGE), Vec::new());
    // One for all pages: memory that is new each time takes longer than what is done with it.
    let mut text = Vec::new();
    loop {
        let request = kube::core::Request::new(K::url_path(&(), scope)).list(&parameters);
        let call = async {
            let request = request.map_err(kube::Error::BuildRequest)?;
            let mut answer = pin!(cluster.client.request_stream(request).await?);
            text.clear();
            // Not read_to_end, which clears all that is left of the memory before each piece.
            loop {
                let piece = answer.fill_buf().await.map_err(kube::Error::ReadEvents)?;
                if piece.is_empty() {
                    break;
                }
                text.extend_from_slice(piece);
                let read = piece.len();
                answer.consume_unpin(read);
            }
            serde_json::from_slice::<Page>(&text).map_err(kube::Error::SerdeError)
        };
        let page = match cluster.ask::<K, _>("list", scope, call).await {
            // What the pages so far are from is forgotten: all at once then.
            Err(ClusterError::Refused { code: 410, .. }) if parameters.continue_token.is_some() => {
                pages.clear();
                parameters = selected.clone();
                continue;
            }
            page => page?,
        };
        let token = page.metadata.token.filter(|token| !token.is_empty());
        // Made smaller while the API server makes the next one.
        let smaller = move || page.items.into_iter().map(|item| item.keep(kept)).collect::<Vec<_>>();
        pages.push(tokio::task::spawn_blocking(smaller));
        match token {
            Some(token) => parameters = parameters.continue_token(&token),
            None => break,
        }
    }
    let mut listed = Listed::default();
    for page in pages {
        listed.add(page.await.expect("nothing in it panics"));
    }
    Ok(listed)
}

/// How much of each object is kept.
#[derive(Debug, Clone, Copy)]
enum Kept {
    /// All but the history, which is most of an object and in no row: each row is decoded more than once.
    ForRows,
    Whole,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    items: Vec<Item>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    token: Option<String>,
}

/// An object without the metadata that nobody reads here, above all managedFields.
#[derive(Deserialize, Serialize)]
struct Item {
    metadata: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Box<RawValue>>,
}

impl Item {
    fn keep(mut self, kept: Kept) -> (Name, Vec<u8>) {
        if let (Kept::ForRows, Some(status)) = (kept, &self.status)
            && let Some(smaller) = without_history(status)
        {
            self.status = Some(smaller);
        }
        let json = serde_json::to_vec(&self).expect("it was JSON");
        (self.metadata, json)
    }
}

/// None of what is no status.
fn without_history(status: &RawValue) -> Option<Box<RawValue>> {
    let mut fields: BTreeMap<&str, &RawValue> = serde_json::from_str(status.get()).ok()?;
    fields.remove("history");
    to_raw_value(&fields).ok()
}

/// Objects of one kind as JSON, by name.
#[derive(Default)]
struct Listed {
    items: Vec<(Name, Vec<u8>)>,
    places: HashMap<Name, usize>,
}

impl Listed {
    fn add(&mut self, items: Vec<(Name, Vec<u8>)>) {
        let first = self.items.len();
        self.places.extend(items.iter().zip(first..).map(|((name, _), place)| (name.clone(), place)));
        self.items.extend(items);
    }

    fn each(&self, each: &mut dyn FnMut(&[u8])) {
        self.items.iter().for_each(|(_, json)| each(json));
    }

    fn one(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        let name = Name { namespace: namespace.to_owned(), name: name.to_owned() };
        self.places.get(&name).map(|place| self.items[*place].1.clone())
    }
}

impl Objects {
    /// The same with the connections of the namespace of `cluster`, where they may be listed.
    pub async fn with_connections(self, cluster: &Cluster) -> Result<Self, ClusterError> {
        Ok(Self { connections: connections(cluster, Some(&cluster.namespace)).await?, ..self })
    }

    /// Whether the connections were to be had.
    pub fn knows_connections(&self) -> bool {
        self.connections.is_some()
    }

    /// The names of the key results or objectives, in no order.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &Name> {
        self.of(kind).places.keys()
    }

    pub fn has(&self, kind: Kind, name: &Name) -> bool {
        self.of(kind).places.contains_key(name)
    }

    /// Whether it reads BigQuery.
    pub fn has_query(&self, kind: Kind, name: &Name) -> bool {
        let json = self.of(kind).one(&name.namespace, &name.name);
        json.is_some_and(|json| decode(kind, &json).is_ok_and(|brief| brief.spec.big_query.is_some()))
    }

    fn of(&self, kind: Kind) -> &Listed {
        match kind {
            Kind::Objective => &self.objectives,
            Kind::KeyResult => &self.key_results,
        }
    }
}

impl Catalog for Objects {
    fn each_objective(&self, each: &mut dyn FnMut(&[u8])) {
        self.objectives.each(each);
    }

    fn each_key_result(&self, each: &mut dyn FnMut(&[u8])) {
        self.key_results.each(each);
    }

    fn each_connection(&self, each: &mut dyn FnMut(&[u8])) {
        if let Some(connections) = &self.connections {
            connections.each(each);
        }
    }

    fn objective(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        self.objectives.one(namespace, name)
    }

    fn key_result(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        self.key_results.one(namespace, name)
    }

    fn connection(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        self.connections.as_ref()?.one(namespace, name)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    fn is_listed(&self) -> bool {
        true
    }
}
