//! The manifest of one collection: every source id with what is planned for it and what was proved of it.
//! Two bytes and a mark a record beside its id, in scratch space beyond a bound; never a record.

use std::io;

use crate::report::Counts;
use crate::store::ids::{Join, Side};
use crate::store::spill::Column;
use crate::store::{IdList, SortedIds};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is planned.
    pub plan: Plan,
    /// What is proved.
    pub proof: Proof,
    /// [`crate::engine::fingerprint::moved_mark`] of the source's record as it was last compared or sent; 0 before.
    pub mark: u64,
}

/// In the order of their numbers, as the column keeps them: a place that was never set is new and open.
const PLANS: [Plan; 6] = [Plan::New, Plan::Present, Plan::Conflict, Plan::Duplicate, Plan::Unreadable, Plan::Gone];
const PROOFS: [Proof; 5] = [Proof::Open, Proof::Verified, Proof::Different, Proof::Missing, Proof::Changed];
/// Bytes of an entry: plan, proof, mark.
const ENTRY: usize = 10;

impl Entry {
    const fn new(plan: Plan) -> Self {
        Self { plan, proof: Proof::Open, mark: 0 }
    }

    fn pack(self) -> [u8; ENTRY] {
        let mut packed = [self.plan as u8, self.proof as u8, 0, 0, 0, 0, 0, 0, 0, 0];
        packed[ENTRY - size_of::<u64>()..].copy_from_slice(&self.mark.to_le_bytes());
        packed
    }

    fn unpack([plan, proof, mark @ ..]: [u8; ENTRY]) -> io::Result<Self> {
        let unknown = || io::Error::new(io::ErrorKind::InvalidData, "the scratch file of the ledger was changed");
        let plan = PLANS.get(usize::from(plan)).copied().ok_or_else(unknown)?;
        let proof = PROOFS.get(usize::from(proof)).copied().ok_or_else(unknown)?;
        Ok(Self { plan, proof, mark: u64::from_le_bytes(mark) })
    }
}

/// Ids of the source, with an [`Entry`] each, in byte order. Both are in scratch space beyond a bound, so that memory does
/// not grow with the collection; every error is the scratch space's.
#[derive(Debug, Default)]
pub struct Ledger {
    ids: SortedIds,
    entries: Column<ENTRY>,
    /// How many entries have each plan and proof.
    tally: [[u64; PROOFS.len()]; PLANS.len()],
}

impl Ledger {
    /// All ids are [`Plan::New`] until compared.
    #[must_use]
    pub fn new(ids: SortedIds) -> Self {
        let mut ledger = Self::default();
        ledger.tally[Plan::New as usize][Proof::Open as usize] = ids.len() as u64;
        ledger.ids = ids;
        ledger
    }

    /// Ids, gone ones included.
    #[must_use]
    pub const fn ids(&self) -> &SortedIds {
        &self.ids
    }

    /// The place of an id.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn position(&self, id: &str) -> io::Result<Option<usize>> {
        self.ids.position(id)
    }

    /// The entry at a place that [`Ledger::position`] or [`Ledger::select`] gave.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn entry(&self, at: usize) -> io::Result<Entry> {
        Entry::unpack(self.entries.get(at)?)
    }

    /// Changes the entry at a place.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn change(&mut self, at: usize, change: impl FnOnce(&mut Entry)) -> io::Result<()> {
        let old = self.entry(at)?;
        let mut new = old;
        change(&mut new);
        self.entries.set(at, new.pack())?;
        self.tally[old.plan as usize][old.proof as usize] -= 1;
        self.tally[new.plan as usize][new.proof as usize] += 1;
        Ok(())
    }

    /// Changes the plan of an id, if the ledger has it.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn plan(&mut self, id: &str, plan: Plan) -> io::Result<()> {
        let Some(at) = self.position(id)? else { return Ok(()) };
        self.change(at, |entry| entry.plan = plan)
    }

    /// Changes the mark of an id, if the ledger has it.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn mark(&mut self, id: &str, mark: u64) -> io::Result<()> {
        let Some(at) = self.position(id)? else { return Ok(()) };
        self.change(at, |entry| entry.mark = mark)
    }

    /// The id at a place.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn id(&self, at: usize) -> io::Result<String> {
        self.ids.get(at)
    }

    /// Places whose entry is as asked, in id order, from `from` on, at most `most`: a window, never all.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn select(&self, from: usize, most: usize, wanted: impl Fn(Entry) -> bool) -> io::Result<Vec<usize>> {
        let mut places = Vec::new();
        for at in from..self.ids.len() {
            if places.len() >= most {
                break;
            }
            if wanted(self.entry(at)?) {
                places.push(at);
            }
        }
        Ok(places)
    }

    /// All places whose entry is as asked, in id order.
    pub fn places(&self, wanted: impl Fn(Entry) -> bool) -> impl Iterator<Item = io::Result<usize>> {
        let place = move |at: usize| match self.entry(at) {
            Ok(entry) => wanted(entry).then_some(Ok(at)),
            Err(error) => Some(Err(error)),
        };
        (0..self.ids.len()).filter_map(place)
    }

    /// How many entries have a plan as asked.
    #[must_use]
    pub fn count(&self, wanted: impl Fn(Plan) -> bool) -> u64 {
        let rows = PLANS.iter().zip(&self.tally).filter(|(plan, _)| wanted(**plan));
        rows.map(|(_, proofs)| proofs.iter().sum::<u64>()).sum()
    }

    /// The ids at these places.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn ids_at(&self, places: &[usize]) -> io::Result<Vec<String>> {
        places.iter().map(|at| self.id(*at)).collect()
    }

    /// Takes a newer list of the source's ids. Those that are new to the ledger are [`Plan::New`]; those that are not
    /// listed any more become [`Plan::Gone`]; a gone one that is back is planned anew. Returns how many are new.
    ///
    /// # Errors
    /// When the scratch space fails; the ledger is then as before.
    pub fn relist(&mut self, newer: &SortedIds) -> io::Result<u64> {
        let mut merged = IdList::new();
        let entries = Column::default();
        let mut tally = <[[u64; PROOFS.len()]; PLANS.len()]>::default();
        let (mut fresh, mut old, mut at) = (0, 0, 0);
        let mut join = Join::new(&self.ids, newer)?;
        while let Some((id, side)) = join.next()? {
            let known = if side == Side::Right { None } else { Some(self.entry(old)?) };
            old += usize::from(known.is_some());
            let entry = match known {
                Some(entry) if side == Side::Both && entry.plan != Plan::Gone => entry,
                Some(_) if side == Side::Left => Entry::new(Plan::Gone),
                _ => {
                    fresh += 1;
                    Entry::new(Plan::New)
                }
            };
            merged.push(&id);
            entries.set(at, entry.pack())?;
            tally[entry.plan as usize][entry.proof as usize] += 1;
            at += 1;
        }
        *self = Self { ids: merged.sort()?, entries, tally };
        Ok(fresh)
    }

    /// Counts by what became of each record; `target_before` and `target_after` are the caller's.
    #[must_use]
    pub fn counts(&self, overwrite: bool) -> Counts {
        let mut counts = Counts::default();
        for (plan, proofs) in PLANS.iter().zip(&self.tally) {
            let all: u64 = proofs.iter().sum();
            counts.source += if *plan == Plan::Gone { 0 } else { all };
            match plan {
                Plan::Gone => {}
                Plan::Unreadable => counts.unreadable += all,
                Plan::Duplicate => counts.duplicates += all,
                Plan::Conflict if !overwrite => counts.conflicts_skipped += all,
                _ => PROOFS.iter().zip(proofs).for_each(|(proof, records)| tally(&mut counts, *plan, *proof, *records)),
            }
        }
        counts
    }
}

fn tally(counts: &mut Counts, plan: Plan, proof: Proof, records: u64) {
    match proof {
        Proof::Open => return,
        Proof::Different => return counts.different += records,
        Proof::Missing => return counts.missing += records,
        Proof::Changed => return counts.changed += records,
        Proof::Verified => counts.verified += records,
    }
    match plan {
        Plan::New => counts.copied += records,
        Plan::Present => counts.present += records,
        Plan::Conflict => counts.overwritten += records,
        Plan::Duplicate | Plan::Unreadable | Plan::Gone => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plans(ledger: &Ledger) -> Vec<(String, Plan)> {
        (0..ledger.ids().len()).map(|at| (ledger.id(at).unwrap(), ledger.entry(at).unwrap().plan)).collect()
    }

    fn expected<const N: usize>(plans: [(&str, Plan); N]) -> Vec<(String, Plan)> {
        plans.map(|(id, plan)| (id.to_owned(), plan)).into()
    }

    #[test]
    fn a_newer_list_adds_and_marks_what_is_gone() {
        let mut ledger = Ledger::new(["a", "b"].iter().collect());
        ledger.plan("b", Plan::Present).unwrap();
        assert_eq!(ledger.relist(&["b", "c"].iter().collect()).unwrap(), 1);
        assert_eq!(plans(&ledger), expected([("a", Plan::Gone), ("b", Plan::Present), ("c", Plan::New)]));
        assert_eq!((ledger.counts(false).source, ledger.count(|plan| plan == Plan::Gone)), (2, 1));
        assert_eq!(ledger.relist(&["a", "b"].iter().collect()).unwrap(), 1);
        assert_eq!(plans(&ledger), expected([("a", Plan::New), ("b", Plan::Present), ("c", Plan::Gone)]));
        ledger.mark("no such id", 5).unwrap();
        assert_eq!(plans(&ledger).len(), 3);
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
                let entry = Entry { plan: *plan, proof: *proof, mark: u64::MAX - at as u64 };
                ledger.change(at, |old| *old = entry).unwrap();
                prop_assert_eq!(ledger.entry(at).unwrap(), entry);
            }
            let present: Vec<usize> = (0..entries.len()).filter(|at| entries[*at].0 == Plan::Present).collect();
            prop_assert_eq!(ledger.count(|plan| plan == Plan::Present), present.len() as u64);
            let is_present = |entry: Entry| entry.plan == Plan::Present;
            prop_assert_eq!(&ledger.places(is_present).collect::<io::Result<Vec<_>>>().unwrap(), &present);
            prop_assert_eq!(ledger.select(0, 2, is_present).unwrap(), &present[..present.len().min(2)]);
            let counts = ledger.counts(overwrite);
            prop_assert!(counts.is_complete());
            prop_assert_eq!(counts.verified, counts.copied + counts.present + counts.overwritten);
        }
    }
}
