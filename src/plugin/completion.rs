//! Shell completion: of the program by itself, and of `kubectl okr` through kubectl's own.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, engine};

use super::{Arguments, Verdict, output::Output};

/// Prints a script that completes commands and flags.
///
/// Completion of "kubectl okr" needs an executable named kubectl_complete-okr on the PATH; "kubectl okr completion kubectl" prints it.
#[derive(Debug, clap::Args)]
pub struct CompletionArguments {
    /// kubectl for "kubectl okr", or a shell for "kubectl-okr".
    #[arg(value_parser = ["kubectl", "bash", "zsh", "fish", "elvish", "powershell"])]
    pub shell: String,
}

/// What kubectl runs, see https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins.
const FOR_KUBECTL: &str = "#!/bin/sh\n# kubectl runs this to complete \"kubectl okr\": put it on the PATH as kubectl_complete-okr.\nexec kubectl-okr __complete -- \"$@\"\n";

pub fn run(arguments: &CompletionArguments, output: &mut Output) -> Verdict {
    match arguments.shell.parse::<Shell>() {
        Ok(shell) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "kubectl-okr", &mut script);
            output.text(&String::from_utf8_lossy(&script));
        }
        Err(_) => output.text(FOR_KUBECTL),
    }
    Verdict::Fine
}

/// What may stand in the place of the last of `words`, as cobra tells kubectl: one a line, and how to go on.
#[derive(Debug, clap::Args)]
pub struct CompleteArguments {
    #[arg(last = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// Cobra's ShellCompDirectiveNoFileComp, and its default where a file is wanted.
const NO_FILES: u8 = 4;
const DEFAULT: u8 = 0;

pub fn complete(arguments: &CompleteArguments, output: &mut Output) -> Verdict {
    let words: Vec<OsString> = std::iter::once("kubectl-okr".into()).chain(arguments.words.iter().cloned()).collect();
    let place = words.len().max(2) - 1;
    // Files are the shell's own to complete.
    let wants_file = words
        .get(place.wrapping_sub(1))
        .is_some_and(|word| ["-f", "--filename", "--kubeconfig"].iter().any(|flag| word == flag));
    let mut text = String::new();
    if !wants_file && let Ok(candidates) = engine::complete(&mut command(), words, place, Some(Path::new("."))) {
        // Flags are offered to who begins one, as kubectl's are: a name is rarely meant to be one.
        let is_flag = arguments.words.last().is_some_and(|word| word.to_string_lossy().starts_with('-'));
        let fits = |value: &OsStr| is_flag || !value.to_string_lossy().starts_with('-');
        for candidate in candidates.iter().filter(|one| !one.is_hide_set() && fits(one.get_value())) {
            text.push_str(&candidate.get_value().to_string_lossy());
            if let Some(help) = candidate.get_help() {
                text.push_str(&format!("\t{}", help.to_string().lines().next().unwrap_or_default()));
            }
            text.push('\n');
        }
    }
    output.text(&format!("{text}:{}\n", if wants_file { DEFAULT } else { NO_FILES }));
    Verdict::Fine
}

fn command() -> Command {
    Arguments::command()
}
