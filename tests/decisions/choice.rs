//! Which connection a key result uses.

use std::collections::BTreeMap;

use okr_operator::{
    api::{BigQueryConnection, BigQuerySource, ConnectionChoice},
    domain::choice::{Seeker, choose},
};
use serde_json::{Value, json};

use crate::world::connection;

/// A key result of namespace `sales` with the label team=a, the connections there are, and those it looks through.
#[derive(Clone)]
struct Seek {
    reference: Value,
    connections: Vec<BigQueryConnection>,
    kept: Option<ConnectionChoice>,
    labels_known: bool,
}

fn seek(connections: Vec<BigQueryConnection>) -> Seek {
    Seek { reference: Value::Null, connections, kept: None, labels_known: true }
}

impl Seek {
    fn named(mut self, reference: Value) -> Self {
        self.reference = reference;
        self
    }

    fn kept(mut self, namespace: &str, name: &str) -> Self {
        self.kept = Some(ConnectionChoice {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: format!("uid of {namespace}/{name}"),
        });
        self
    }

    #[track_caller]
    fn finds(&self, want: &str) {
        let source: BigQuerySource =
            serde_json::from_value(json!({"query": "SELECT 1", "connectionRef": self.reference})).unwrap();
        let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        let seeker = Seeker {
            namespace: "sales",
            labels: Some(&labels).filter(|_| self.labels_known),
            source: &source,
            kept: self.kept.as_ref(),
        };
        let mut connections: Vec<&BigQueryConnection> = self.connections.iter().collect();
        for _ in 0..2 {
            let found = choose(seeker, &connections, &["shared".to_owned()]);
            let found = match &found {
                Ok(connection) => format!(
                    "{}/{}",
                    connection.metadata.namespace.as_deref().unwrap(),
                    connection.metadata.name.as_deref().unwrap()
                ),
                Err(none) => none.reason.name().to_owned(),
            };
            assert_eq!(found, want);
            connections.reverse();
        }
    }
}

fn own(name: &str) -> BigQueryConnection {
    connection("sales", name, json!({}))
}

fn default(mut connection: BigQueryConnection) -> BigQueryConnection {
    connection.spec.default = Some(true);
    connection
}

fn shared(name: &str) -> BigQueryConnection {
    connection("shared", name, json!({"allowedNamespaces": {"from": "All"}}))
}

#[test]
fn the_only_or_only_default_one_of_the_own_namespace() {
    seek(vec![]).finds("ConnectionNotFound");
    seek(vec![own("a")]).finds("sales/a");
    seek(vec![own("a"), own("b")]).finds("AmbiguousConnection");
    seek(vec![own("a"), default(own("b"))]).finds("sales/b");
    seek(vec![default(own("a")), default(own("b")), own("c")]).finds("AmbiguousConnection");
    seek(vec![own("a"), default(shared("b"))]).finds("sales/a");
    seek(vec![own("a"), own("b"), shared("c")]).finds("AmbiguousConnection");
}

#[test]
fn else_the_only_or_only_default_one_that_is_shared() {
    seek(vec![shared("a")]).finds("shared/a");
    seek(vec![shared("a"), shared("b")]).finds("AmbiguousConnection");
    seek(vec![shared("a"), default(shared("b"))]).finds("shared/b");
    seek(vec![connection("shared", "a", json!({}))]).finds("ConnectionNotFound");
    seek(vec![connection("elsewhere", "a", json!({"allowedNamespaces": {"from": "All"}}))]).finds("ConnectionNotFound");
    let selecting = |team: &str| {
        let selector = json!({"matchLabels": {"team": team}});
        connection("shared", "a", json!({"allowedNamespaces": {"from": "Selector", "selector": selector}}))
    };
    seek(vec![selecting("a")]).finds("shared/a");
    seek(vec![selecting("b")]).finds("ConnectionNotFound");
    let mut unknown = seek(vec![selecting("a")]);
    unknown.labels_known = false;
    unknown.finds("ConnectionNotFound");
    let expression = json!({"matchExpressions": [{"key": "team", "operator": "Bogus"}]});
    let bogus = json!({"allowedNamespaces": {"from": "Selector", "selector": expression}});
    seek(vec![connection("shared", "a", bogus)]).finds("ConnectionNotFound");
}

#[test]
fn a_reference_is_taken_at_its_word() {
    let all = || {
        vec![
            default(own("a")),
            own("b"),
            connection("elsewhere", "open", json!({"allowedNamespaces": {"from": "All"}})),
            connection("elsewhere", "closed", json!({})),
        ]
    };
    seek(all()).named(json!({"name": "b"})).finds("sales/b");
    seek(all()).named(json!({"name": "b"})).kept("sales", "a").finds("sales/b");
    seek(all()).named(json!({"name": "x"})).kept("sales", "a").finds("ConnectionNotFound");
    seek(all()).named(json!({"name": "open", "namespace": "elsewhere"})).finds("elsewhere/open");
    seek(all()).named(json!({"name": "closed", "namespace": "elsewhere"})).finds("ConnectionNotShared");
    seek(all()).named(json!({"name": "absent", "namespace": "elsewhere"})).finds("ConnectionNotShared");
}

#[test]
fn a_refusal_tells_nothing_of_another_namespace() {
    let message = |name: &str| {
        let reference = json!({"query": "SELECT 1", "connectionRef": {"name": name, "namespace": "elsewhere"}});
        let source: BigQuerySource = serde_json::from_value(reference).unwrap();
        let seeker = Seeker { namespace: "sales", labels: None, source: &source, kept: None };
        let closed = connection("elsewhere", "closed", json!({}));
        choose(seeker, &[&closed], &[]).unwrap_err().message.replace(name, "NAME")
    };
    assert_eq!(message("closed"), message("absent"));
}

#[test]
fn a_choice_is_kept_while_it_stays_usable() {
    seek(vec![own("a"), own("b")]).kept("sales", "a").finds("sales/a");
    seek(vec![own("a"), default(own("b"))]).kept("sales", "a").finds("sales/a");
    seek(vec![shared("a"), own("b")]).kept("shared", "a").finds("shared/a");
    // It is gone, or no longer admits this namespace, or was found by a reference that is gone.
    seek(vec![own("b")]).kept("sales", "a").finds("sales/b");
    seek(vec![connection("shared", "a", json!({})), own("b")]).kept("shared", "a").finds("sales/b");
    let elsewhere = connection("elsewhere", "a", json!({"allowedNamespaces": {"from": "All"}}));
    seek(vec![elsewhere, own("b")]).kept("elsewhere", "a").finds("sales/b");
    let mut again = own("a");
    again.metadata.uid = Some("made anew".to_owned());
    seek(vec![again, default(own("b"))]).kept("sales", "a").finds("sales/b");
}

#[test]
fn several_are_named_in_order() {
    let source: BigQuerySource = serde_json::from_value(json!({"query": "SELECT 1"})).unwrap();
    let seeker = Seeker { namespace: "sales", labels: None, source: &source, kept: None };
    let (a, b) = (own("a"), own("b"));
    let message = choose(seeker, &[&b, &a], &[]).unwrap_err().message;
    assert!(message.contains("(sales/a, sales/b)"), "{message}");
}
