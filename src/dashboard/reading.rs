//! One reading of all objects for those who ask for the same: after a change every open page comes within a second, and
//! each reading of 10,000 key results takes 100 ms of processor.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use crate::view::overview::{Filter, Overview};

use super::{Visible, address::Asked};

/// As long as the pages of one change take to come, see `live.rs`. Short, as what is shown follows the clock too, and
/// as nothing is to stay in memory while nobody looks.
const KEPT: Duration = Duration::from_secs(1);

/// What is asked for, and of which change.
#[derive(PartialEq)]
struct Question {
    change: u64,
    visible: Visible,
    filter: Filter,
    page: usize,
}

/// Made by the first who needs it, while the others wait.
pub type Reading = Arc<OnceLock<Overview>>;

#[derive(Clone, Default)]
pub struct Readings(Arc<Mutex<Vec<(Question, Reading)>>>);

impl Readings {
    /// That of everybody who asks this of this change. The number is to be read before the objects: what changes
    /// meanwhile has another one.
    pub fn of(&self, change: u64, visible: &Visible, asked: &Asked) -> Reading {
        let question = Question { change, visible: visible.clone(), filter: asked.filter.clone(), page: asked.page };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, reading)) = kept.iter().find(|(other, _)| *other == question) {
            return reading.clone();
        }
        let reading = Reading::default();
        kept.push((question, reading.clone()));
        let (all, this) = (self.clone(), reading.clone());
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            let mut kept = all.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|(_, other)| !Arc::ptr_eq(other, &this));
        });
        reading
    }
}
