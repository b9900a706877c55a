//! docs/kubectl-okr.md says what the program's own help says, and completion completes.

use std::{path::Path, process::Command};

use clap::CommandFactory;
use okr_operator::plugin::Arguments;

use crate::{Run, program};

/// Every block between `<!-- help: COMMAND -->` and `<!-- end -->` is the command's long help. `make docs` writes them.
#[test]
fn the_reference_is_the_programs_own_help() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kubectl-okr.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut wanted = String::new();
    let mut rest = text.as_str();
    let mut documented = Vec::new();
    while let Some((before, after)) = rest.split_once("<!-- help:") {
        let (command, after) = after.split_once("-->").unwrap();
        let (_, after) = after.split_once("<!-- end -->").expect("every block ends");
        let command = command.trim();
        documented.push(command.to_owned());
        wanted +=
            &format!("{before}<!-- help: {command} -->\n```text\n{}\n```\n<!-- end -->", help(command).trim_end());
        rest = after;
    }
    wanted += rest;
    if std::env::var("OKR_WRITE_DOCS").is_ok() {
        std::fs::write(&file, &wanted).unwrap();
    } else {
        assert!(wanted == text, "docs/kubectl-okr.md is not that of the program's help: make docs");
    }
    let commands = Arguments::command();
    let shown = commands.get_subcommands().filter(|command| !command.is_hide_set());
    let missing: Vec<&str> =
        shown.map(clap::Command::get_name).filter(|name| !documented.iter().any(|one| one == name)).collect();
    assert!(missing.is_empty(), "docs/kubectl-okr.md lacks {missing:?}");
}

fn help(command: &str) -> String {
    let mut arguments: Vec<&str> = command.split(' ').filter(|word| *word != "okr").collect();
    arguments.push("--help");
    let run: Run = program().args(arguments).output().unwrap().into();
    assert_eq!(run.code, 0, "{}", run.err);
    run.out
}

/// Whoever gives the same flags to all commands is not refused.
#[test]
fn a_flag_that_does_nothing_is_taken_and_not_shown() {
    let unused = [
        ("check", &["--context", "--kubeconfig", "--width"][..]),
        ("completion", &["--context", "--namespace", "--kubeconfig", "--color", "--width"]),
        ("dashboard", &["--color", "--width"]),
        ("doctor", &["--width"]),
        ("refresh", &["--width"]),
    ];
    for (command, flags) in unused {
        let help = help(command);
        assert!(flags.iter().all(|flag| !help.contains(&format!("{flag} "))), "{command}: {help}");
    }
    let run: Run = program().args(["completion", "bash", "--context", "c", "--width", "80"]).output().unwrap().into();
    assert_eq!(run.code, 0, "{}", run.err);
    let help = help("list");
    assert!(help.contains("--context <NAME>") && help.contains("--width <COLUMNS>"), "{help}");
}

#[test]
fn completion_speaks_kubectls_language() {
    let complete = |words: &[&str]| -> Run {
        let mut command = program();
        // Names are another test's.
        command.args(["__complete", "--"]).args(words).env("KUBECONFIG", "/nonexistent");
        command.output().unwrap().into()
    };
    let run = complete(&["li"]);
    assert!(run.out.starts_with("list\t") && run.out.ends_with(":4\n"), "{}", run.out);
    let run = complete(&["list", "--stat"]);
    assert!(run.out.contains("--status"), "{}", run.out);
    let run = complete(&["list", "-o", ""]);
    assert!(run.out.contains("wide") && run.out.contains("yaml"), "{}", run.out);
    assert_eq!(complete(&["check", "-f", ""]).out, ":0\n", "files are the shell's");
    assert_eq!(complete(&["describe", ""]).out, ":4\n", "flags are for who begins one");
    for shell in ["kubectl", "bash", "zsh", "fish", "elvish", "powershell"] {
        let run: Run = program().args(["completion", shell]).output().unwrap().into();
        assert!(run.code == 0 && run.out.contains("okr"), "{shell}: {}", run.err);
    }
}

#[test]
fn kubectl_finds_it_as_a_plugin() {
    let folder = Path::new(env!("CARGO_BIN_EXE_kubectl-okr")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let kubectl =
        |arguments: &[&str]| Run::from(Command::new("kubectl").args(arguments).env("PATH", &path).output().unwrap());
    let listed = kubectl(&["plugin", "list"]);
    assert!(listed.out.contains("/kubectl-okr\n"), "{} {}", listed.out, listed.err);
    let version = kubectl(&["okr", "--version"]);
    assert!(version.code == 0 && version.out.contains(env!("CARGO_PKG_VERSION")), "{} {}", version.out, version.err);
}
