//! Where objects are read from.

use tokio::sync::watch;

/// What exists, for reading. Every text is one object as JSON: metadata without managedFields, spec, status.
pub trait Catalog: Send + Sync + 'static {
    fn each_objective(&self, each: &mut dyn FnMut(&[u8]));
    fn each_key_result(&self, each: &mut dyn FnMut(&[u8]));
    fn each_connection(&self, each: &mut dyn FnMut(&[u8]));

    fn objective(&self, namespace: &str, name: &str) -> Option<Vec<u8>>;
    fn key_result(&self, namespace: &str, name: &str) -> Option<Vec<u8>>;
    fn connection(&self, namespace: &str, name: &str) -> Option<Vec<u8>>;

    /// A number that grows with every change of any object: await its change for live pages.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Whether all that exists has been listed; until then a page says so.
    fn is_listed(&self) -> bool;
}
