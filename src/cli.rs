//! The command line, exactly as typed: parsing cannot fail because of the environment, so `--help` always works.
//! Opens nothing; each subcommand has its own file.

mod config;
mod controller;
mod crd;
mod flags;
mod generation;
mod inspect;
mod manifest;
mod migrate;
mod output;
mod prune;
mod report;
mod run;
mod session;
mod verify;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::exit::Exit;

/// Moves the memories of AI agents between Chroma stores and servers, and proves that nothing was lost.
#[derive(Debug, Parser)]
#[command(name = "memory-migration", version, propagate_version = true, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 succeeded (also a dry run) · 1 a bug · 2 bad arguments or manifest · \
    3 refused, nothing was written · 4 interrupted or something outside failed, a rerun resumes · \
    5 verification found differences, or a required search check failed · 6 record conflict with --on-conflict fail · \
    7 only in a Job: the runner waits for source or target")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy every record of a source into a target, and verify every one.
    Migrate(migrate::Args),
    /// Reconcile MemoryMigration objects and their schedules in a cluster.
    Controller(Box<controller::Args>),
    /// Print every CustomResourceDefinition.
    Crd,
    /// Carry out one MemoryMigration manifest without a cluster.
    Run(Box<run::Args>),
    /// Compare two stores record by record; writes nothing.
    Verify(verify::Args),
    /// Remove generations of a schedule that are kept no longer.
    Prune(Box<prune::Args>),
    /// Show what a store or server holds: collections, counts, dimension, distance, damage.
    Inspect(inspect::Args),
    /// Show a report, or make a page for a browser of it.
    Report(report::Args),
}

/// Threads for reading files and for parsing: more would wait for each other, and each keeps memory of its own.
const BLOCKING: usize = 4;
/// How long the end of the process waits for a thread that still reads.
const LEFT_OVER: std::time::Duration = std::time::Duration::from_secs(2);

/// Runs the command line and tells how it ended.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // a closed terminal is no reason to fail
            drop(error.print());
            return if error.use_stderr() { Exit::Usage } else { Exit::Success };
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(BLOCKING).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(dispatch(cli.command));
            // all is done: a read that hangs on some thread must not keep the process
            runtime.shutdown_timeout(LEFT_OVER);
            exit
        }
        Err(error) => {
            output::error(&format!("failed to start the async runtime: {error}"));
            Exit::Interrupted
        }
    }
}

async fn dispatch(command: Command) -> Exit {
    match command {
        Command::Migrate(args) => migrate::run(args).await,
        Command::Controller(args) => controller::run(*args).await,
        Command::Crd => output::answered(crd::run()),
        Command::Run(args) => Box::pin(run::run(*args)).await,
        Command::Verify(args) => output::answered(verify::run(args).await),
        Command::Prune(args) => prune::run(&args),
        Command::Inspect(args) => output::answered(inspect::run(args).await),
        Command::Report(args) => output::answered(report::run(&args)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definitions_hold() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_succeeds_and_nonsense_is_a_usage_error() {
        assert_eq!(run(["memory-migration", "--version"].map(OsString::from)), Exit::Success);
        assert_eq!(run(["memory-migration", "transmogrify"].map(OsString::from)), Exit::Usage);
    }
}
