//! What several test files share.
#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this")]

pub mod bigquery_stub;
pub mod cluster;
pub mod examples;
pub mod fake_google;
pub mod helm;
pub mod log;
pub mod prometheus;
