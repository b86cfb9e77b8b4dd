//! Named places where a test makes a step fail: compiled in with the feature `faults` alone, which only the package's own
//! tests have. Knows no step and no store; does nothing unless `MEMORY_MIGRATION_FAULT` names a place.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Names the place, what happens there, and at which visit: `target.add.after:kill:3`; visit 0 is each one.
pub const VARIABLE: &str = "MEMORY_MIGRATION_FAULT";

/// Calls that an engine makes of a store in an ordinary run; each can fail before it is made, and after it was answered.
/// Beside these there are calls that only odd stores lead to (`set_metadata`, `fetch` for what an answer left out).
pub const CALLS: &[&str] = &[
    "source.collections",
    "source.listing",
    "source.fetch_within",
    "source.held",
    "source.remarks",
    "source.generation",
    "target.capabilities",
    "target.checks",
    "target.open",
    "target.restarted",
    "target.close",
    "target.collections",
    "target.listing",
    "target.fetch",
    "target.fetch_within",
    "target.held",
    "target.remarks",
    "target.nearest",
    "target.matching",
    "target.create",
    "target.add",
    "target.update",
    "target.delete",
];

/// Calls that a run with `--fill files` makes beside these; each can fail before it is made, and after it was answered.
pub const FILL: &[&str] = &["fill.create", "fill.put", "fill.index", "fill.finish", "target.index"];

/// Steps of the fill's last call, in their order; each can fail before it is done. The third and the last are made only where a
/// store that an earlier attempt has filled is replaced.
pub const PLACE: &[&str] = &["fill.sync", "fill.mark", "fill.aside", "fill.place", "fill.placed", "fill.replaced"];

/// Names the SQL that a fill by files ends with, as if its importer had erred.
pub const SPOILS: &str = "MEMORY_MIGRATION_FAULT_SPOILS";

/// Names a file of an index, a byte of it and what is added to that, as if its builder had erred.
pub const SPOILS_INDEX: &str = "MEMORY_MIGRATION_FAULT_SPOILS_INDEX";

/// If it is set, it is not the store that these two spoil, but the samples that come before.
pub const SPOILS_SAMPLES: &str = "MEMORY_MIGRATION_FAULT_SPOILS_SAMPLES";

/// What scratch files do; each can fail before it is done.
pub const SCRATCH: &[&str] = &["scratch.make", "scratch.write", "scratch.read"];

/// What happens at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An error that a later try may not meet.
    Retry,
    /// An error that stays.
    Fatal,
}

struct Plan {
    place: String,
    kind: String,
    visit: usize,
}

/// Whether a place is named at all.
#[must_use]
pub fn is_planned() -> bool {
    plan().is_some()
}

fn plan() -> Option<&'static Plan> {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    let read = || {
        let text = std::env::var(VARIABLE).ok()?;
        let mut parts = text.split(':');
        let place = parts.next()?.to_owned();
        let kind = parts.next().unwrap_or_default().to_owned();
        Some(Plan { place, kind, visit: parts.next().and_then(|visit| visit.parse().ok()).unwrap_or(1) })
    };
    PLAN.get_or_init(read).as_ref()
}

/// A place is visited: says what fails there, if anything does. A kill does not return.
#[must_use]
pub fn at(place: &str) -> Option<Kind> {
    static VISITS: AtomicUsize = AtomicUsize::new(0);
    let plan = plan()?;
    if plan.place != place {
        return None;
    }
    let visit = VISITS.fetch_add(1, Ordering::SeqCst) + 1;
    if plan.visit != 0 && plan.visit != visit {
        return None;
    }
    tracing::error!("fault point {place}: {}", plan.kind);
    match plan.kind.as_str() {
        "retry" => Some(Kind::Retry),
        "fatal" => Some(Kind::Fatal),
        _ => {
            // it cannot fail for the own process, and if it did, the test would see a run that goes on
            let _ = kill_process(getpid(), Signal::KILL);
            None
        }
    }
}

/// As [`at`], for what a file does.
///
/// # Errors
/// Those of a full disk, and of a broken one.
pub fn io(place: &str) -> io::Result<()> {
    match at(place) {
        None => Ok(()),
        Some(Kind::Retry) => Err(io::ErrorKind::StorageFull.into()),
        Some(Kind::Fatal) => Err(io::Error::other("made by a test")),
    }
}
