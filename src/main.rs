use std::process::ExitCode;

use clap::Parser;
use okr_operator::{
    api::crd,
    config::{Arguments, Command},
    run,
};

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Crd => {
            crd::all().iter().for_each(|crd| print!("---\n{}", crd::yaml(crd)));
            ExitCode::SUCCESS
        }
        Command::Run(arguments) => run::main(*arguments),
    }
}
