//! What several test files share.
#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this")]

pub mod bigquery_stub;
pub mod cluster;
pub mod fake_google;
pub mod log;
