//! Whether the target's memories can be found: a bounded set of queries and filters whose exact answers are known from the
//! stream of verification. The records' own verdict never depends on it: nothing here fails a run, and nothing is written.

mod again;
mod answers;
mod ask;
mod draw;
mod filters;
mod judge;
mod nearest;
mod quirks;
mod sum;

pub(super) use again::check_again;
pub(super) use ask::{check, prepare};
pub(super) use sum::{degraded, recall};

use super::ledger::Proof;
use crate::model::Record;
use crate::report;

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

/// The search check of one collection, from its draw to its result.
#[derive(Debug, Default)]
pub(super) struct State {
    /// None where nothing was drawn.
    nearest: Option<nearest::Nearest>,
    filters: filters::Filters,
    told: Option<report::Search>,
    /// Whether the target did not answer what it was asked.
    has_failed: bool,
}

impl State {
    /// Takes a record that was found equal; `before`: what was proved of it until now, and `moved`: whether the source has
    /// changed it since.
    pub(super) fn verified(&mut self, record: &Record, before: Proof, moved: bool) {
        let Some(nearest) = &mut self.nearest else { return };
        nearest.offer(&record.id, &record.embedding, before != Proof::Open);
        match (before, moved) {
            (Proof::Verified, true) => self.filters.moved(),
            (Proof::Verified, false) => {}
            _ => self.filters.count(record),
        }
    }

    /// Every record was compared once.
    pub(super) const fn streamed(&mut self) {
        if let Some(nearest) = &mut self.nearest {
            nearest.streamed();
        }
    }

    /// What came of it.
    pub(super) const fn told(&self) -> Option<&report::Search> {
        self.told.as_ref()
    }

    fn note(&mut self, note: String) {
        self.told.get_or_insert_default().notes.push(note);
    }

    /// Notes that an answer was due and did not come.
    fn fail(&mut self, why: String) {
        self.has_failed = true;
        self.note(why);
    }

    /// A collection without an answer, and why.
    fn silent(&mut self, why: String) {
        self.told = Some(report::Search { notes: vec![why], ..report::Search::default() });
    }
}
