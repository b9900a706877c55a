//! The dashboard as a reader meets it: in Chromium, which `dev/browser` installs. Pictures are in target/screenshots.

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod dashboard;
mod login;
