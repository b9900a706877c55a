//! `kubectl okr`: objectives and key results at the terminal.
//!
//! Everything that a command prints for people comes from [`crate::view`], as the dashboard's pages do.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod check;

/// Lists, explains, refreshes, draws and checks objectives and key results.
#[derive(Debug, Parser)]
#[command(name = "kubectl-okr", bin_name = "kubectl okr", version, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Check(check::CheckArguments),
}

const EXIT_CODES: &str = "Exit codes: 0 all is fine, 1 there are findings, 2 it could not be found out.";

/// How a command ended, as its exit code says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// 0
    Fine,
    /// 1: what was asked about is not as it should be.
    Findings,
    /// 2: no answer, because of the command line, the cluster or the rights in it.
    CouldNotCheck,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        ExitCode::from(match verdict {
            Verdict::Fine => 0,
            Verdict::Findings => 1,
            Verdict::CouldNotCheck => 2,
        })
    }
}

pub fn main(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Check(arguments) => check::main(&arguments),
    }
    .into()
}
