//! What Flux's and Argo CD's own programs say of our objects.

#[path = "../support/mod.rs"]
mod support;
