//! Shell completion: of the program by itself, and of `kubectl okr` through kubectl's own.

use std::{
    ffi::{OsStr, OsString},
    fmt::Debug,
    path::Path,
    sync::mpsc::Sender,
    time::{Duration, Instant},
};

use clap::{Command, CommandFactory, FromArgMatches};
use clap_complete::{
    CompleteEnv,
    engine::{self, ArgValueCompleter, CompletionCandidate},
    env::Shells,
};
use kube::{Api, Resource, ResourceExt, api::ListParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;

use crate::{
    api::{OkrKeyResult, OkrObjective},
    view::brief::Kind,
};

use super::{
    Arguments, Verdict,
    cluster::{Cluster, Target},
    named, objects,
    output::Output,
};

/// Prints a script that completes commands, flags, and names of the cluster.
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
    let shells = Shells::builtins();
    let Some(shell) = shells.completer(&arguments.shell) else {
        output.text(FOR_KUBECTL);
        return Verdict::Fine;
    };
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)
        .expect("nothing fails to be written into memory");
    output.text(&String::from_utf8_lossy(&script));
    Verdict::Fine
}

const PROGRAM: &str = "kubectl-okr";

/// Tells the program that a shell's script wants it to complete, and for which shell.
const VARIABLE: &str = "KUBECTL_OKR_COMPLETE";

/// Answers a shell's script, and ends the program, if that is what it was run for.
pub fn answer_a_shell() {
    let words = || std::env::args_os().skip_while(|word| word != "--").skip(1);
    CompleteEnv::with_factory(|| command(words())).var(VARIABLE).bin(PROGRAM).complete();
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
    if !wants_file
        && let Ok(candidates) = engine::complete(&mut command(words.clone()), words, place, Some(Path::new(".")))
    {
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

/// The commands, with names from the cluster that `words`, the program's own first, are about.
fn command(words: impl IntoIterator<Item = OsString>) -> Command {
    // Half a command line lacks much, and is read as far as it goes.
    let read = Arguments::command().ignore_errors(true).try_get_matches_from(words);
    let target = read.ok().and_then(|read| Target::from_arg_matches(&read).ok()).unwrap_or_default();
    let completer = ArgValueCompleter::new(move |word: &OsStr| {
        let Some(word) = word.to_str() else { return Vec::new() };
        let mut candidates = candidates(&target, word);
        candidates.retain(|candidate| candidate.get_value().to_string_lossy().starts_with(word));
        candidates
    });
    ["describe", "chart", "refresh"].into_iter().fold(Arguments::command(), |command, name| {
        let completer = completer.clone();
        command.mut_subcommand(name, |command| command.mut_arg("names", |names| names.add(completer)))
    })
}

/// Who waits for names in the middle of a line types on.
const PATIENCE: Duration = Duration::from_secs(1);

/// The names of key results and objectives as `word` names them: those that there are in time, and nothing is said of
/// what went wrong.
fn candidates(target: &Target, word: &str) -> Vec<CompletionCandidate> {
    let (sender, found) = std::sync::mpsc::channel();
    let target = target.clone();
    // On a thread of its own: a login program of the kubeconfig is waited for without an await. It ends with the process.
    std::thread::spawn(move || {
        let Ok(runtime) = super::runtime() else { return };
        runtime.block_on(async {
            let Ok(cluster) = Cluster::connect_unasked(&target).await else { return };
            tokio::join!(
                names::<OkrKeyResult>(&cluster, Kind::KeyResult, &sender),
                names::<OkrObjective>(&cluster, Kind::Objective, &sender)
            );
        });
    });
    let (mut key_results, mut objectives) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + PATIENCE;
    // What came until then is good.
    while let Ok((kind, page)) = found.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        match kind {
            Kind::KeyResult => key_results.extend(page),
            Kind::Objective => objectives.extend(page),
        }
    }
    let kinds = [(Kind::KeyResult, key_results, "key result"), (Kind::Objective, objectives, "objective")];
    let kind = word.split_once('/').map(|(kind, _)| kind);
    let meant = |(of, _, _): &(Kind, Vec<String>, &str)| kind.is_none_or(|kind| named::kind_of(kind) == Some(*of));
    let shown = |name: &str| kind.map_or_else(|| name.to_owned(), |kind| format!("{kind}/{name}"));
    let of_kind = |(_, names, help): &(Kind, Vec<String>, &'static str)| -> Vec<CompletionCandidate> {
        names.iter().map(|name| CompletionCandidate::new(shown(name)).help(Some((*help).into()))).collect()
    };
    kinds.iter().filter(|kind| meant(kind)).flat_map(of_kind).collect()
}

/// Tells the names of a kind, page after page, for as long as there are any.
async fn names<K>(cluster: &Cluster, kind: Kind, names: &Sender<(Kind, Vec<String>)>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut parameters = ListParams::default().limit(objects::PAGE);
    while let Ok(page) = api.list_metadata(&parameters).await {
        if names.send((kind, page.items.iter().map(ResourceExt::name_any).collect())).is_err() {
            return;
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => break,
        }
    }
}
