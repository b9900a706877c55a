use std::{path::Path, process::ExitCode};

use okr_operator::{
    api::crd,
    config::{Arguments, Command},
    plugin, run,
};

fn main() -> ExitCode {
    match Arguments::read().command {
        Command::Crd { directory: None } => {
            crd::all().iter().for_each(|crd| print!("---\n{}", crd::yaml(crd)));
            ExitCode::SUCCESS
        }
        Command::Crd { directory: Some(directory) } => match write_crds(&directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("okr-operator: cannot write into {}: {error}", directory.display());
                ExitCode::FAILURE
            }
        },
        Command::Run(arguments) => run::main(*arguments),
        Command::Doctor(arguments) => plugin::examine(&arguments),
    }
}

fn write_crds(directory: &Path) -> std::io::Result<()> {
    crd::all().iter().try_for_each(|crd| std::fs::write(directory.join(crd::file_name(crd)), crd::yaml(crd)))
}
