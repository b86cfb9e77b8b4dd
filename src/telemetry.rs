//! The log: where it goes and how a line looks. Knows no field of the business.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// Starts the log, once, on standard error. `RUST_LOG` filters it; the default is `info`, or `warn` beside a progress bar.
pub fn init(json: bool, beside_bar: bool) {
    let default = if beside_bar { "warn" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_timer(SystemTime);
    // a second start, in a test or by an embedding program, keeps the first
    drop(if json { log.json().try_init() } else { log.with_target(false).try_init() });
}
