//! What this process knows of each connection beside its object: the client built from its Secret, the verdict of its
//! last check, the bytes of the day.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use jiff::Timestamp;

use crate::{
    api::BigQueryConnection,
    bigquery,
    domain::{
        conditions::{self, SATURATED},
        connection::{self, Checks, Known, Verdict},
    },
};

use super::lock;

/// One connection, as this process sees it.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// What queries are sent with; None while the Secret or the spec does not give one.
    pub client: Option<Arc<bigquery::Client>>,
    pub built_from: Option<BuiltFrom>,
    pub secret_read_at: Option<Timestamp>,
    /// None until the connection was looked at by this process. Until then nothing is said of its key results.
    pub announced: Option<Announced>,
    /// When what was announced last changed.
    pub changed_at: Option<Timestamp>,
    pub known: Known,
    pub checks: Checks,
    pub doubted_at: Option<Timestamp>,
    /// What was found of the spec of this generation and could not be written.
    pub unwritten: Option<(Option<i64>, Verdict)>,
    /// When one of its due queries was last seen to be late.
    pub late_at: Option<Timestamp>,
    pub facts_written_at: Option<Timestamp>,
    /// When a key result took to it or left it, since they were last counted.
    pub links_changed_at: Option<Timestamp>,
    /// Held during a look, so that many doubts make one.
    pub looking: Arc<tokio::sync::Mutex<()>>,
}

/// What a client was built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltFrom {
    pub generation: Option<i64>,
    /// The hash of the Secret's entry.
    pub secret: String,
}

/// What key results were last told of their connection. Anything else is news to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    pub generation: Option<i64>,
    pub built_from: Option<BuiltFrom>,
    pub ready: bool,
}

impl Link {
    /// What this process knows before its first look.
    fn from_status(connection: &BigQueryConnection) -> Self {
        let Some(status) = &connection.status else { return Self::default() };
        // When a query was late is not written: the condition stays for as long as if one just had been.
        let is_saturated = conditions::is_true(&status.conditions, SATURATED);
        let late_at = is_saturated.then(crate::clock::now);
        Self { known: connection::known_from(status), late_at, ..Self::default() }
    }

    /// Whether the connection was looked at as it is now: what is known of an earlier spec must not serve this one.
    pub fn knows(&self, connection: &BigQueryConnection) -> bool {
        let announced = self.announced.as_ref();
        announced.is_some_and(|announced| announced.generation == connection.metadata.generation)
    }

    /// Whether the last look found that queries can be sent.
    pub fn is_ready(&self) -> bool {
        self.client.is_some() && self.announced.as_ref().is_some_and(|announced| announced.ready)
    }
}

/// All links, by the connection's uid: an answer that comes for a connection of before must not touch that of its
/// successor.
#[derive(Debug, Default)]
pub struct Links(Mutex<HashMap<String, Link>>);

impl Links {
    /// The link of `connection` as it is now; a new one where the connection is new.
    pub fn of(&self, connection: &BigQueryConnection) -> Link {
        self.change(connection, |link| link.clone())
    }

    /// Changes the link of `connection`.
    pub fn change<T>(&self, connection: &BigQueryConnection, change: impl FnOnce(&mut Link) -> T) -> T {
        let uid = connection.metadata.uid.clone().unwrap_or_default();
        change(lock(&self.0).entry(uid).or_insert_with(|| Link::from_status(connection)))
    }

    /// Forgets all but those of `connections`.
    pub fn keep(&self, connections: &[Arc<BigQueryConnection>]) {
        let uids: HashSet<&str> =
            connections.iter().filter_map(|connection| connection.metadata.uid.as_deref()).collect();
        lock(&self.0).retain(|uid, _| uids.contains(uid.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

    use super::*;

    fn connection(uid: &str) -> BigQueryConnection {
        let spec = serde_json::json!({"projectId": "demo", "credentials": {"none": {}}});
        let metadata = ObjectMeta {
            name: Some("warehouse".to_owned()),
            uid: Some(uid.to_owned()),
            generation: Some(1),
            ..ObjectMeta::default()
        };
        BigQueryConnection { metadata, spec: serde_json::from_value(spec).unwrap(), status: None }
    }

    #[test]
    fn an_answer_for_a_connection_of_before_leaves_its_successor_alone() {
        let links = Links::default();
        let (old, new) = (connection("old"), connection("new"));
        let announced = Announced { generation: Some(1), built_from: None, ready: true };
        links.change(&new, |link| link.announced = Some(announced.clone()));
        links.change(&old, |link| link.known.bytes_today = 7);
        assert!(links.of(&new).knows(&new));
        links.keep(&[Arc::new(new.clone())]);
        assert_eq!(links.of(&old).known.bytes_today, 0, "the old one is forgotten");
        assert_eq!(links.of(&new).announced, Some(announced));
    }

    #[test]
    fn what_a_status_says_outlives_a_restart() {
        let mut connection = connection("uid");
        let saturated = serde_json::json!({"type": "Saturated", "status": "True", "reason": "DueWorkWaits", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        for (conditions, late) in [(serde_json::json!([]), false), (serde_json::json!([saturated]), true)] {
            connection.status = serde_json::from_value(serde_json::json!({"conditions": conditions})).unwrap();
            assert_eq!(Links::default().of(&connection).late_at.is_some(), late);
        }
    }

    #[test]
    fn what_is_known_of_an_earlier_spec_does_not_count() {
        let links = Links::default();
        let mut connection = connection("uid");
        let announced = Announced { generation: Some(1), built_from: None, ready: true };
        links.change(&connection, |link| link.announced = Some(announced));
        connection.metadata.generation = Some(2);
        assert!(!links.of(&connection).knows(&connection));
    }
}
