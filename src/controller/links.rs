//! What this process knows of each connection beside its object: the client built from its Secret, the verdict of its
//! last check, the bytes of the day.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;

use crate::{
    api::BigQueryConnection,
    bigquery,
    domain::connection::{self, Checks, Known},
};

use super::queue::Key;

/// One connection, as this process sees it.
#[derive(Debug, Clone, Default)]
pub struct Link {
    pub uid: String,
    /// Whether it was looked at since this process began. Until then nothing is said of its key results.
    pub settled: bool,
    /// What queries are sent with; None while the Secret or the spec does not give one.
    pub client: Option<Arc<bigquery::Client>>,
    /// The generation and the hash of the Secret's entry that the client was built from.
    pub built_from: Option<(i64, String)>,
    pub secret_read_at: Option<Timestamp>,
    pub ready: bool,
    /// The generation that key results were last told of.
    pub announced_generation: Option<i64>,
    /// When its spec, Secret or readiness last changed.
    pub changed_at: Option<Timestamp>,
    /// The change that key results were last told of.
    pub announced_change: Option<Timestamp>,
    pub known: Known,
    pub checks: Checks,
    pub facts_written_at: Option<Timestamp>,
    /// When a key result took to it or left it, since they were last counted.
    pub links_changed_at: Option<Timestamp>,
    /// Held during a check, so that many doubts make one.
    pub checking: Arc<tokio::sync::Mutex<()>>,
}

/// All links, by the connection's key.
#[derive(Debug, Default)]
pub struct Links(Mutex<HashMap<Key, Link>>);

impl Links {
    /// The link of `connection` as it is now; a new one where the connection is new or was made anew.
    pub fn of(&self, key: &Key, connection: &BigQueryConnection) -> Link {
        self.change(key, connection, |link| link.clone())
    }

    /// Changes the link of `connection`.
    pub fn change<T>(&self, key: &Key, connection: &BigQueryConnection, change: impl FnOnce(&mut Link) -> T) -> T {
        let uid = connection.metadata.uid.as_deref().unwrap_or_default();
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(key.clone()).or_default();
        if link.uid != uid {
            *link = Link {
                uid: uid.to_owned(),
                ready: connection::is_ready(connection),
                known: connection.status.as_ref().map(connection::known_from).unwrap_or_default(),
                ..Link::default()
            };
        }
        change(link)
    }

    pub fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
