//! Every decision, and nothing else: no client, no clock, no randomness. What varies is an argument.
//!
//! | question | where |
//! |---|---|
//! | what does one look at an object lead to? | [`pass`] |
//! | may, must or will a query be sent? | [`schedule`] |
//! | what is the next status? | [`status`] |
//! | how far is it, how far should it be? | [`progress`] |
//! | On Track, Behind or At Risk? | [`judgement`] |
//! | which connection? | [`choice`] |
//! | where does the history lead? | [`forecast`] |
//! | what does an objective need to know of what refers to it? | [`child`] |
//! | what is an objective rolled up to? | [`rollup`] |
//! | what does a reason mean? | [`reason`] |

pub mod calendar;
pub mod child;
pub mod choice;
pub mod conditions;
pub mod connection;
pub mod event;
pub mod explanation;
pub mod fingerprint;
pub mod forecast;
pub mod hash;
pub mod history;
pub mod judgement;
pub mod labels;
pub mod measured;
pub mod number;
pub mod objective;
pub mod parameters;
pub mod pass;
pub mod progress;
pub mod reason;
pub mod rollup;
pub mod schedule;
pub mod status;

pub use measured::Measured;
pub use reason::Reason;
