//! What exists, for the dashboard: read from the stores, out of their locks.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{api::BigQueryConnection, view::catalog::Catalog};

use super::{
    Objects,
    queue::{Key, Kind},
    store::{Keep, PackedObject, Store},
};

/// The stores, as the dashboard sees them.
pub struct Shown {
    pub objects: Arc<Objects>,
    pub changes: watch::Receiver<u64>,
    pub listed: CancellationToken,
}

impl Catalog for Shown {
    fn each_objective(&self, each: &mut dyn FnMut(&[u8])) {
        unpack_each(&self.objects.objectives.store, each);
    }

    fn each_key_result(&self, each: &mut dyn FnMut(&[u8])) {
        unpack_each(&self.objects.key_results.store, each);
    }

    fn each_connection(&self, each: &mut dyn FnMut(&[u8])) {
        for connection in self.objects.connections.store.filter_map(|_, connection| Some(Arc::clone(connection))) {
            if let Some(json) = json(&connection) {
                each(&json);
            }
        }
    }

    fn objective(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        unpack(&self.objects.objectives.store, namespace, name)
    }

    fn key_result(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        unpack(&self.objects.key_results.store, namespace, name)
    }

    fn connection(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        let key = Key::new(Kind::Connection, namespace, name);
        json(&*self.objects.connections.store.pick(&key, Arc::clone)?)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    fn is_listed(&self) -> bool {
        self.listed.is_cancelled()
    }
}

/// Ten thousand objects take a while to unpack: the store is not locked meanwhile.
fn unpack_each<K: Keep<Kept = PackedObject>>(store: &Store<K>, each: &mut dyn FnMut(&[u8])) {
    for packed in store.filter_map(|_, kept| Some(kept.packed.clone())) {
        if let Some(json) = packed.json() {
            each(&json);
        }
    }
}

fn unpack<K: Keep<Kept = PackedObject>>(store: &Store<K>, namespace: &str, name: &str) -> Option<Vec<u8>> {
    store.pick(&Key::new(K::KIND, namespace, name), |kept| kept.packed.clone())?.json()
}

fn json(connection: &BigQueryConnection) -> Option<Vec<u8>> {
    serde_json::to_vec(connection).ok()
}
