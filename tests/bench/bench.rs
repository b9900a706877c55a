//! The numbers of the operator, measured and printed as one table: `make bench`.
//!
//! The operator under test is the release build as a process of its own, so that its CPU time and its memory are its alone;
//! the API server is a real one; BigQuery is the stub in this process, which answers every call after 20 ms.
//!
//! | to find | look in |
//! |---|---|
//! | what is measured | one module per word of the command line, listed in `GROUPS` |
//! | the objects and statuses it is measured on | [`world`] |
//! | how CPU time and memory are read | [`process`] |
//! | how calls are counted | [`audit`] |
//! | the table | [`table`] |
//!
//! Named measurements run alone: `dev/launch run .cache/run/bench -- cargo bench --bench bench -- memory simulation`.
//!
//! It is not called main.rs, as Cargo would take that for a test.

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod backlog;
mod failover;
mod first_values;
mod memory;
mod process;
mod routine;
mod simulation;
mod table;
mod terminal;
mod world;

use std::time::Instant;

use world::World;

/// What can be asked for, in the order in which it is measured: `backlog` works on what `memory` has created.
const GROUPS: [&str; 6] = ["first-values", "routine", "memory", "backlog", "failover", "simulation"];

fn main() {
    // Cargo adds --bench.
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = asked.iter().find(|name| !GROUPS.contains(&name.as_str())) {
        eprintln!("there is no measurement {unknown}; there are {}", GROUPS.join(", "));
        std::process::exit(2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(&asked));
}

async fn measure(asked: &[String]) {
    let began = Instant::now();
    let machine = table::Machine::here().await;
    let mut world = World::new().await;
    let mut rows = Vec::new();
    for group in GROUPS.into_iter().filter(|group| asked.is_empty() || asked.iter().any(|name| name == group)) {
        progress(&format!("{group} ..."));
        rows.extend(match group {
            "first-values" => first_values::rows(&world).await,
            "routine" => routine::rows(&world).await,
            "memory" => memory::rows(&mut world).await,
            "backlog" => backlog::rows(&mut world).await,
            "failover" => failover::rows(&world).await,
            _ => simulation::rows(),
        });
    }
    println!("{}", table::text(&machine, &rows, asked, began.elapsed()));
}

/// To standard error: standard output holds the table alone.
fn progress(line: &str) {
    eprintln!("bench: {line}");
}

#[expect(clippy::disallowed_methods, reason = "the running operator's clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
