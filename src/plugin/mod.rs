//! `kubectl okr`: objectives and key results at the terminal.
//!
//! What a command prints for people comes from [`crate::view`], as the dashboard's pages do.
//!
//! | command | where |
//! |---|---|
//! | list, describe, chart | [`list`], [`describe`], [`chart`] |
//! | refresh, the only one that writes | [`refresh`] |
//! | check, without a cluster | [`check`] |
//! | doctor | [`doctor`] |
//! | dashboard | [`dashboard`] |
//! | completion | [`completion`] |
//!
//! [`cluster`] asks the API server, `objects` is what exists there and `named` what of it is meant, [`output`] prints, [`paint`] and [`table`] lay out.

use std::process::ExitCode;

use clap::{Arg, Args, Parser, Subcommand};
use jiff::Timestamp;
use tokio::runtime::Runtime;

use crate::causes;

use self::{
    cluster::{Cluster, ClusterError, Target},
    output::Output,
    paint::{Look, Paint},
};

pub mod chart;
pub mod check;
pub mod cluster;
pub mod completion;
pub mod dashboard;
pub mod describe;
pub mod doctor;
pub mod list;
mod named;
mod objects;
mod operator;
pub mod output;
pub mod paint;
pub mod refresh;
pub mod table;

/// Lists, explains, refreshes, draws and checks objectives and key results.
#[derive(Debug, Parser)]
#[command(name = "kubectl-okr", bin_name = "kubectl okr", version, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub look: Look,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(visible_alias = "ls")]
    List(list::ListArguments),
    Describe(describe::DescribeArguments),
    Chart(chart::ChartArguments),
    #[command(args = unused(&["width"]))]
    Refresh(refresh::RefreshArguments),
    #[command(args = unused(&["context", "kubeconfig", "width"]))]
    Check(check::CheckArguments),
    #[command(args = unused(&["width"]))]
    Doctor(doctor::DoctorArguments),
    #[command(args = unused(&["color", "width"]))]
    Dashboard(dashboard::DashboardArguments),
    #[command(args = unused(&["context", "namespace", "kubeconfig", "color", "width"]))]
    Completion(completion::CompletionArguments),
    #[command(name = "__complete", hide = true)]
    Complete(completion::CompleteArguments),
}

/// Flags of every command that one has no use for: taken, for whoever gives them to all, and not shown.
fn unused(names: &[&str]) -> Vec<Arg> {
    let every = Look::augment_args(Target::augment_args(clap::Command::new("")));
    every
        .get_arguments()
        .filter(|flag| names.contains(&flag.get_id().as_str()))
        .map(|flag| flag.clone().hide(true))
        .collect()
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
    end("kubectl okr", |output| run(&arguments, output))
}

/// Runs a command of `program`, and says what kept it from an answer.
fn end(program: &str, command: impl FnOnce(&mut Output) -> Result<Verdict, ClusterError>) -> ExitCode {
    let mut output = Output::default();
    match command(&mut output) {
        Ok(_) if output.is_lost() => Verdict::CouldNotCheck,
        Ok(verdict) => verdict,
        Err(error) => {
            output.note(&format!("{program}: {}", causes::chain(&error)));
            Verdict::CouldNotCheck
        }
    }
    .into()
}

/// The doctor's look at an installation from within the cluster, where no person's rights matter: the operator's own program
/// has it too, so that `helm test` needs no other image.
pub fn examine(arguments: &doctor::DoctorArguments) -> ExitCode {
    let (target, look) = (Target::default(), Look::default());
    end("okr-operator", |output| {
        in_cluster(&target, look.paint(), output, async |session| doctor::examine(arguments, session).await)
    })
}

fn run(arguments: &Arguments, output: &mut Output) -> Result<Verdict, ClusterError> {
    let Arguments { command, target, look } = arguments;
    let paint = look.paint();
    match command {
        Command::Check(arguments) => Ok(check::main(arguments, look)),
        Command::Completion(arguments) => Ok(completion::run(arguments, output)),
        Command::Complete(arguments) => Ok(completion::complete(arguments, output)),
        Command::List(arguments) => {
            in_cluster(target, paint, output, async |session| list::run(arguments, session).await)
        }
        Command::Describe(arguments) => {
            in_cluster(target, paint, output, async |session| describe::run(arguments, session).await)
        }
        Command::Chart(arguments) => {
            in_cluster(target, paint, output, async |session| chart::run(arguments, session).await)
        }
        Command::Refresh(arguments) => {
            in_cluster(target, paint, output, async |session| refresh::run(arguments, session).await)
        }
        Command::Doctor(arguments) => {
            in_cluster(target, paint, output, async |session| doctor::run(arguments, session).await)
        }
        Command::Dashboard(arguments) => {
            in_cluster(target, paint, output, async |session| dashboard::run(arguments, target, session).await)
        }
    }
}

/// What a command that asks a cluster works with.
pub struct Session<'a> {
    pub cluster: Cluster,
    pub paint: Paint,
    pub output: &'a mut Output,
    pub now: Timestamp,
}

fn in_cluster(
    target: &Target,
    paint: Paint,
    output: &mut Output,
    command: impl AsyncFnOnce(Session<'_>) -> Result<Verdict, ClusterError>,
) -> Result<Verdict, ClusterError> {
    runtime()?.block_on(async {
        let now = crate::clock::now();
        let cluster = Cluster::connect(target).await?;
        command(Session { cluster, paint, output, now }).await
    })
}

/// One thread reads answers: passing each of their ten thousand pieces to another would take longer than reading it.
fn runtime() -> Result<Runtime, ClusterError> {
    // kube's TLS must be told which implementation to take. Completion may come here twice: either does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ClusterError::Runtime)
}
