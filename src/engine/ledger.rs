//! The manifest of one collection: every source id with what is planned for it and what was proved of it.
//! Two bytes and a mark a record beside its id; never a record.

use crate::report::Counts;
use crate::store::SortedIds;

/// What is to become of a source record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Not in the target: to be added.
    New,
    /// In the target with equal content.
    Present,
    /// In the target with other content.
    Conflict,
    /// Its document is in the target under another id.
    Duplicate,
    /// The source holds it without content that can be read.
    Unreadable,
    /// It was in the source when the run began and is not any more.
    Gone,
}

/// What is known of a record in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Not compared yet.
    Open,
    /// Compared and equal.
    Verified,
    /// Compared and not equal, and the source had not moved.
    Different,
    /// Not in the target.
    Missing,
    /// Compared and not equal, and the source had moved since it was copied.
    Changed,
}

/// One entry of a [`Ledger`].
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What is planned.
    pub plan: Plan,
    /// What is proved.
    pub proof: Proof,
    /// [`crate::engine::fingerprint::moved_mark`] of the source's record as it was last compared or sent; 0 before.
    pub mark: u64,
}

impl Entry {
    const fn new(plan: Plan) -> Self {
        Self { plan, proof: Proof::Open, mark: 0 }
    }
}

/// Ids of the source, with an [`Entry`] each, in byte order.
#[derive(Debug, Default)]
pub struct Ledger {
    ids: SortedIds,
    entries: Vec<Entry>,
}

impl Ledger {
    /// All ids are [`Plan::New`] until compared.
    #[must_use]
    pub fn new(ids: SortedIds) -> Self {
        let entries = vec![Entry::new(Plan::New); ids.len()];
        Self { ids, entries }
    }

    /// Ids, gone ones included.
    #[must_use]
    pub const fn ids(&self) -> &SortedIds {
        &self.ids
    }

    /// The place of an id.
    #[must_use]
    pub fn position(&self, id: &str) -> Option<usize> {
        self.ids.position(id)
    }

    /// The entry at a place that [`Ledger::position`] or [`Ledger::select`] gave.
    #[must_use]
    pub fn entry(&self, at: usize) -> Entry {
        self.entries[at]
    }

    /// The entry, to change it.
    pub fn entry_mut(&mut self, at: usize) -> &mut Entry {
        &mut self.entries[at]
    }

    /// The id at a place.
    #[must_use]
    pub fn id(&self, at: usize) -> &str {
        self.ids.get(at).unwrap_or_default()
    }

    /// Places whose entry is as asked, in id order, from `from` on, at most `most`.
    #[must_use]
    pub fn select(&self, from: usize, most: usize, wanted: impl Fn(Entry) -> bool) -> Vec<usize> {
        let rest = self.entries.iter().enumerate().skip(from);
        rest.filter(|(_, entry)| wanted(**entry)).map(|(at, _)| at).take(most).collect()
    }

    /// How many entries are as asked.
    #[must_use]
    pub fn count(&self, wanted: impl Fn(Entry) -> bool) -> u64 {
        self.entries.iter().filter(|entry| wanted(**entry)).count() as u64
    }

    /// The ids at these places.
    #[must_use]
    pub fn ids_at(&self, places: &[usize]) -> Vec<String> {
        places.iter().map(|at| self.id(*at).to_owned()).collect()
    }

    /// Takes a newer list of the source's ids. Those that are new to the ledger are [`Plan::New`]; those that are not
    /// listed any more become [`Plan::Gone`]; a gone one that is back is planned anew. Returns how many are new.
    pub fn relist(&mut self, newer: &SortedIds) -> u64 {
        let old = std::mem::take(self);
        let gone = old.ids.iter().filter(|id| !newer.contains(id));
        let merged: SortedIds = newer.iter().chain(gone).collect();
        let mut fresh = 0;
        let mut entries = Vec::with_capacity(merged.len());
        for id in merged.iter() {
            let known = old.position(id).map(|at| old.entries[at]);
            let listed = newer.contains(id);
            entries.push(match known {
                Some(entry) if listed && entry.plan != Plan::Gone => entry,
                Some(_) if !listed => Entry::new(Plan::Gone),
                _ => {
                    fresh += 1;
                    Entry::new(Plan::New)
                }
            });
        }
        *self = Self { ids: merged, entries };
        fresh
    }

    /// Counts by what became of each record; `target_before` and `target_after` are the caller's.
    #[must_use]
    pub fn counts(&self, overwrite: bool) -> Counts {
        let mut counts = Counts::default();
        for entry in &self.entries {
            if entry.plan == Plan::Gone {
                continue;
            }
            counts.source += 1;
            match entry.plan {
                Plan::Unreadable => counts.unreadable += 1,
                Plan::Duplicate => counts.duplicates += 1,
                Plan::Conflict if !overwrite => counts.conflicts_skipped += 1,
                _ => tally(&mut counts, *entry),
            }
        }
        counts
    }
}

fn tally(counts: &mut Counts, entry: Entry) {
    match entry.proof {
        Proof::Open => return,
        Proof::Different => return counts.different += 1,
        Proof::Missing => return counts.missing += 1,
        Proof::Changed => return counts.changed += 1,
        Proof::Verified => counts.verified += 1,
    }
    match entry.plan {
        Plan::New => counts.copied += 1,
        Plan::Present => counts.present += 1,
        Plan::Conflict => counts.overwritten += 1,
        Plan::Duplicate | Plan::Unreadable | Plan::Gone => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plans(ledger: &Ledger) -> Vec<(&str, Plan)> {
        (0..ledger.ids().len()).map(|at| (ledger.id(at), ledger.entry(at).plan)).collect()
    }

    #[test]
    fn a_newer_list_adds_and_marks_what_is_gone() {
        let mut ledger = Ledger::new(["a", "b"].iter().collect());
        ledger.entry_mut(1).plan = Plan::Present;
        assert_eq!(ledger.relist(&["b", "c"].iter().collect()), 1);
        assert_eq!(plans(&ledger), [("a", Plan::Gone), ("b", Plan::Present), ("c", Plan::New)]);
        assert_eq!(ledger.relist(&["a", "b"].iter().collect()), 1);
        assert_eq!(plans(&ledger), [("a", Plan::New), ("b", Plan::Present), ("c", Plan::Gone)]);
    }

    fn any_entry() -> impl Strategy<Value = (Plan, Proof)> {
        let plan = prop_oneof![
            Just(Plan::New),
            Just(Plan::Present),
            Just(Plan::Conflict),
            Just(Plan::Duplicate),
            Just(Plan::Unreadable),
            Just(Plan::Gone)
        ];
        let proof =
            prop_oneof![Just(Proof::Verified), Just(Proof::Different), Just(Proof::Missing), Just(Proof::Changed)];
        (plan, proof)
    }

    proptest! {
        #[test]
        fn every_compared_record_is_counted_once(entries in proptest::collection::vec(any_entry(), 0..40), overwrite: bool) {
            let mut ledger = Ledger::new((0..entries.len()).map(|n| format!("{n:03}")).collect());
            for (at, (plan, proof)) in entries.iter().enumerate() {
                *ledger.entry_mut(at) = Entry { plan: *plan, proof: *proof, mark: 0 };
            }
            let counts = ledger.counts(overwrite);
            prop_assert!(counts.is_complete());
            prop_assert_eq!(counts.verified, counts.copied + counts.present + counts.overwritten);
        }
    }
}
