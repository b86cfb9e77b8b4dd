//! The search check of one collection while a run goes on. Pure.

use super::chance::Chance;
use super::filters::Filters;
use super::nearest::Nearest;
use crate::engine::ledger::Proof;
use crate::model::Record;
use crate::report;

/// The search check of one collection, from its draw to its result.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// None where nothing was drawn.
    pub(super) nearest: Option<Nearest>,
    pub(super) filters: Filters,
    pub(super) told: Option<report::Search>,
    /// What was asked, and not answered or not to be judged, though it was due.
    pub(super) failed: Option<String>,
    /// How far it may be from the source's own server by chance.
    pub(super) chance: Chance,
    /// Why no query of it was judged.
    pub(super) unjudged: Option<String>,
    /// Why nothing was asked of it, where that is the bound of a run.
    pub(super) unasked: Option<&'static str>,
}

impl State {
    /// Takes a record that was found equal; `before`: what was proved of it until now, and `moved`: whether the source has
    /// changed it since.
    pub(crate) fn verified(&mut self, record: &Record, before: Proof, moved: bool) {
        let Some(nearest) = &mut self.nearest else { return };
        nearest.offer(&record.id, &record.embedding, before != Proof::Open);
        match (before, moved) {
            (Proof::Verified, true) => self.filters.moved(),
            (Proof::Verified, false) => {}
            _ => self.filters.count(record),
        }
    }

    /// Every record was compared once.
    pub(crate) const fn streamed(&mut self) {
        if let Some(nearest) = &mut self.nearest {
            nearest.streamed();
        }
    }

    /// What came of it.
    pub(crate) const fn told(&self) -> Option<&report::Search> {
        self.told.as_ref()
    }

    pub(super) fn note(&mut self, note: String) {
        self.told.get_or_insert_default().notes.push(note);
    }

    /// Notes that an answer was due and did not come.
    pub(super) fn fail(&mut self, why: String) {
        self.failed = Some(why.clone());
        self.note(why);
    }

    /// A collection without an answer, and why.
    pub(super) fn silent(&mut self, why: String) {
        self.told = Some(report::Search { notes: vec![why.clone()], ..report::Search::default() });
        self.unjudged = Some(why);
    }
}
