//! Where objects are read from.

use std::sync::Arc;

use tokio::sync::watch;

use crate::api::{OkrKeyResult, OkrObjective};

use super::reading::{CopiedLabels, Reading};

/// What exists, for reading. Every text is one object as JSON: metadata without managedFields, spec, status.
pub trait Catalog: Send + Sync + 'static {
    fn each_objective(&self, each: &mut dyn FnMut(&[u8]));
    fn each_key_result(&self, each: &mut dyn FnMut(&[u8]));
    fn each_connection(&self, each: &mut dyn FnMut(&[u8]));

    fn objective(&self, namespace: &str, name: &str) -> Option<Vec<u8>>;
    fn key_result(&self, namespace: &str, name: &str) -> Option<Vec<u8>>;
    fn connection(&self, namespace: &str, name: &str) -> Option<Vec<u8>>;

    /// What metrics say of every key result and objective. This reads every text anew: who is asked often keeps them.
    fn readings(&self) -> Vec<Arc<Reading>> {
        let (labels, mut readings) = (CopiedLabels::default(), Vec::new());
        self.each_objective(&mut |json| {
            if let Ok(objective) = serde_json::from_slice::<OkrObjective>(json) {
                readings.push(Arc::new(Reading::of_objective(&objective, &labels)));
            }
        });
        self.each_key_result(&mut |json| {
            if let Ok(key_result) = serde_json::from_slice::<OkrKeyResult>(json) {
                readings.push(Arc::new(Reading::of_key_result(&key_result, &labels)));
            }
        });
        readings
    }

    /// A number that grows with every change of any object: await its change for live pages.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Whether all that exists has been listed; until then a page says so.
    fn is_listed(&self) -> bool;
}
