//! The dashboard as a reader meets it: in Chromium, which `dev/browser` installs. Pictures are in target/screenshots.

#[path = "../support/mod.rs"]
mod support;
#[path = "../dashboard/world.rs"]
#[allow(dead_code, reason = "what a test without a browser asks is there too")]
mod world;

mod accessible;
mod browser;
mod dashboard;
mod live;
mod login;
mod print;
mod sample;
