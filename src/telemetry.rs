//! The log: where it goes and how a line looks. Knows no field of the business.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// Starts the log, once, on standard error. `RUST_LOG` filters it; the default is `info`, or `warn` beside a progress bar.
pub fn init(json: bool, beside_bar: bool) {
    let default = if beside_bar { "warn" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let is_terminal = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Lines { to: io::stderr(), has_colours: is_terminal })
        .with_ansi(is_terminal)
        // a line that cannot be written is lost: to say so on the same stream would end the program
        .log_internal_errors(false)
        .with_timer(SystemTime);
    // a second start, in a test or by an embedding program, keeps the first
    drop(if json { log.json().try_init() } else { log.with_target(false).try_init() });
}

/// Keeps each entry, which comes in one piece, in one line: the names of a store or a server stand in it as they are.
struct Lines<W> {
    to: W,
    /// Colours begin with an escape; those in a text are escaped before.
    has_colours: bool,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(entry);
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
        let is_kept = |c: char| !c.is_control() || (self.has_colours && c == '\u{1b}');
        let one = |c: char| if is_kept(c) { c.to_string() } else { c.escape_debug().to_string() };
        let line: String = text.chars().map(one).collect();
        self.to.write_all((line + end).as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_whatever_is_in_it() {
        for (entry, has_colours, expected) in [
            ("INFO made x=notes\n", false, "INFO made x=notes\n"),
            ("INFO made x=a\nERROR b\r\tc\n", false, "INFO made x=a\\nERROR b\\r\\tc\n"),
            ("INFO made x=a\u{1b}[2J\u{9b}3é\n\n", false, "INFO made x=a\\u{1b}[2J\\u{9b}3é\\n\n"),
            ("\u{1b}[32mINFO\u{1b}[0m x=a\nb\n", true, "\u{1b}[32mINFO\u{1b}[0m x=a\\nb\n"),
        ] {
            let mut lines = Lines { to: Vec::new(), has_colours };
            assert_eq!(lines.write(entry.as_bytes()).unwrap(), entry.len());
            assert_eq!(String::from_utf8(lines.to).unwrap(), expected);
        }
    }
}
