//! The read model: what people are shown of objects, as plain data. Given objects and a moment, nothing else: no
//! HTTP, no client, no clock. The dashboard, the kubectl plugin and the metrics read the same.
//!
//! | question | where |
//! |---|---|
//! | where do objects come from? | [`catalog`] |
//! | what of an object does a list need? | [`brief`] |
//! | how does it stand at this moment, if its status is of yesterday? | [`standing`] |
//! | which rows, in which order, on which page? | [`overview`] |
//! | what does a row say? | [`row`] |
//! | which connections are there? | [`connections`] |
//! | whose objects may somebody see? | [`Visible`] |
//! | everything about one object? | [`detail`], [`chart`] |
//! | what do metrics say of it? | [`reading`] |
//! | how is it said in words? | [`words`] |

pub mod brief;
pub mod catalog;
pub mod chart;
pub mod connections;
pub mod detail;
pub mod overview;
pub mod reading;
pub mod row;
pub mod standing;
mod visible;
pub mod words;

pub use crate::domain::judgement::Gaps;
pub use visible::Visible;
