//! The binary: installs the TLS provider, hands over to the command line, ends with its exit code. Nothing else.

use std::process::ExitCode;

use memory_migration_operator::cli;

fn main() -> ExitCode {
    // two crates bring a provider each and would otherwise not agree; an earlier installation is as good
    drop(rustls::crypto::ring::default_provider().install_default());
    cli::run(std::env::args_os()).into()
}
