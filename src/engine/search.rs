//! Whether the target's memories can be found: a bounded set of queries whose exact nearest records are known from the stream
//! of verification. The records' own verdict never depends on it: nothing here fails a run, and nothing is written.

mod ask;
mod draw;
mod judge;
mod nearest;
mod sum;

pub(super) use ask::{check, check_again, prepare, streamed};
pub(super) use nearest::Nearest;
pub(super) use sum::{degraded, recall};
