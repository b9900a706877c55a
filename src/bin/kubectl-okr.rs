use std::process::ExitCode;

use clap::Parser;
use okr_operator::plugin::{self, Arguments};

fn main() -> ExitCode {
    plugin::completion::answer_a_shell();
    plugin::main(Arguments::parse())
}
