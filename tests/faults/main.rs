//! Faults: whatever fails, nothing is late, twice or wrong. And what the calendar does to the clock.
//!
//! | part | what it is |
//! |---|---|
//! | [`plan`] | what goes wrong when, by a seed |
//! | [`proxy`] | in front of the API server and of BigQuery: where requests fail |
//! | [`control_plane`] | a control plane whose programs are killed |
//! | [`operator`] | the real operator as a process that is killed and frozen |
//! | [`workload`] | what people do to key results meanwhile |
//! | [`witness`] | what the API server and BigQuery saw, and what must hold of it |
//! | [`witness_sees`] | that the witness would tell |
//! | [`storm`] | the test that puts them together |
//! | [`calendar`] | days, months and clock changes, without any process |
//!
//! `make test` runs the short form, `make soak` the long one: `OKR_SOAK_SECONDS` and `OKR_FAULT_SEED` set its duration
//! and its seed. What a run leaves behind is in `.cache/run/faults-*`.

#[path = "../support/mod.rs"]
mod support;

#[path = "../decisions/world.rs"]
#[allow(dead_code, reason = "the decisions' tests use the rest")]
mod world;

mod calendar;
mod control_plane;
mod operator;
mod plan;
mod proxy;
mod storm;
mod witness;
mod witness_sees;
mod workload;

#[expect(clippy::disallowed_methods, reason = "a test of the running operator shares its clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
