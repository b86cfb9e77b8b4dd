//! Whether the target's memories can be found: a bounded set of queries and filters whose exact answers are known from the
//! stream of verification. The records' own verdict never depends on it: nothing here fails a run, and nothing is written.

mod again;
mod answers;
mod ask;
mod asked;
mod chance;
mod draw;
mod filters;
mod judge;
mod nearest;
mod quirks;
mod silence;
pub(super) mod state;
mod sum;

pub(super) use again::check_again;
pub(super) use ask::{check, prepare};
pub(super) use sum::{degraded, left_out, recall};

/// What follows from the search check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SearchMode {
    /// Its result stands in the report.
    #[default]
    Report,
    /// A target whose search answers wrongly, or does not answer, is a failure.
    Require,
    /// No query is asked.
    Off,
}

/// Whether the target's memories can be found by searches, too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// What follows from it.
    pub mode: SearchMode,
    /// Queries of a collection, at most. Default 50.
    pub queries: usize,
    /// The share of the exact nearest records that searches must find in the mean, 0 to 1. Default 0.9.
    pub min_recall: f64,
}

impl Default for Search {
    fn default() -> Self {
        Self { mode: SearchMode::default(), queries: 50, min_recall: 0.9 }
    }
}
