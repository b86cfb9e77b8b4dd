//! The manifest of one collection: every source id with what is planned for it and what was proved of it.
//! Three bytes and a seal a record beside its id, in scratch space beyond a bound; never a record.

use std::io;

use super::digests::Digests;
use super::fingerprint::Digest;
use super::judge::Known;
use super::seal::{SEAL, Seal};
use crate::report::Counts;
use crate::scratch::{Column, IdList, Join, Side, SortedIds};

/// What is to become of a source record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Not in the target: to be added.
    New,
    /// In the target with equal content.
    Present,
    /// In the target with other content.
    Conflict,
    /// In the target, which cannot tell its content: it is left alone, and nothing is known of it.
    Lost,
    /// Its document is in the target under another id.
    Duplicate,
    /// The source holds it without content that can be read.
    Unreadable,
    /// The target cannot hold it as it is, or refuses it: it is not sent.
    Refused,
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
    /// Whether the source holds it no longer: its newest listing lacks it, and it does not come when asked for by itself.
    pub gone: bool,
    /// What this run knew of it, or sent.
    pub known: Known,
}

/// In the order of their numbers, as the column keeps them: a place that was never set is new and open.
const PLANS: [Plan; 7] =
    [Plan::New, Plan::Present, Plan::Conflict, Plan::Lost, Plan::Duplicate, Plan::Unreadable, Plan::Refused];
const PROOFS: [Proof; 5] = [Proof::Open, Proof::Verified, Proof::Different, Proof::Missing, Proof::Changed];
/// Bytes of an entry: plan, proof, whether it is gone and what is known, and the seal of that.
const ENTRY: usize = 3 + SEAL;
/// Bits of the third byte.
const GONE: u8 = 1;
const COMPARED: u8 = 2;
const SENT: u8 = 4;

impl Entry {
    const NEW: Self = Self { plan: Plan::New, proof: Proof::Open, gone: false, known: Known::Nothing };

    /// Whether the migration is to make the target's record equal to the source's, or to find it equal.
    #[must_use]
    pub const fn is_wanted(&self, overwrite: bool) -> bool {
        let is_planned =
            matches!(self.plan, Plan::New | Plan::Present) || overwrite && matches!(self.plan, Plan::Conflict);
        is_planned && !self.gone
    }

    /// Whether it is to be sent, and was not yet.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        self.plan == Plan::New && !self.gone && self.known == Known::Nothing
    }

    fn pack(self) -> [u8; ENTRY] {
        let (bit, seal) = match self.known {
            Known::Nothing => (0, Seal::default()),
            Known::Compared(seal) => (COMPARED, seal),
            Known::Sent(seal) => (SENT, seal),
        };
        let mut packed = [0; ENTRY];
        packed[..3].copy_from_slice(&[self.plan as u8, self.proof as u8, bit | if self.gone { GONE } else { 0 }]);
        packed[3..].copy_from_slice(&seal.pack());
        packed
    }

    fn unpack([plan, proof, bits, seal @ ..]: [u8; ENTRY]) -> io::Result<Self> {
        let unknown = || io::Error::new(io::ErrorKind::InvalidData, "the scratch file of the ledger was changed");
        let plan = PLANS.get(usize::from(plan)).copied().ok_or_else(unknown)?;
        let proof = PROOFS.get(usize::from(proof)).copied().ok_or_else(unknown)?;
        let known = match bits & !GONE {
            0 => Known::Nothing,
            COMPARED => Known::Compared(Seal::unpack(seal)),
            SENT => Known::Sent(Seal::unpack(seal)),
            _ => return Err(unknown()),
        };
        Ok(Self { plan, proof, gone: bits & GONE != 0, known })
    }

    const fn is_gone(self) -> usize {
        self.gone as usize
    }
}

/// Ids of the source, with an [`Entry`] each, in byte order. Both are in scratch space beyond a bound, so that memory does
/// not grow with the collection; every error is the scratch space's.
#[derive(Debug, Default)]
pub struct Ledger {
    ids: SortedIds,
    entries: Column<ENTRY>,
    /// Of verified records, by place.
    digests: Digests,
    /// How many entries have each plan and proof: of those that the source holds, and of those that are gone.
    tally: [Tally; 2],
}

type Tally = [[u64; PROOFS.len()]; PLANS.len()];

impl Ledger {
    /// All ids are [`Plan::New`] until compared.
    #[must_use]
    pub fn new(ids: SortedIds) -> Self {
        let mut ledger = Self::default();
        ledger.tally[0][Plan::New as usize][Proof::Open as usize] = ids.len() as u64;
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
        self.tally[old.is_gone()][old.plan as usize][old.proof as usize] -= 1;
        self.tally[new.is_gone()][new.plan as usize][new.proof as usize] += 1;
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

    /// Keeps the digests of verified records at these places.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn keep(&self, digests: &[(usize, Digest)]) -> io::Result<()> {
        self.digests.put(digests)
    }

    /// The fingerprint of all verified records among those that `wanted` names.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn fingerprint(&self, wanted: impl Fn(Entry) -> bool) -> io::Result<String> {
        self.digests.fingerprint(self.places(|entry| wanted(entry) && entry.proof == Proof::Verified))
    }

    /// Remembers that the target does not take this record: it lacks it then, or holds another content.
    pub(super) fn refused(&mut self, id: &str) -> io::Result<()> {
        let Some(at) = self.position(id)? else { return Ok(()) };
        self.change(at, |entry| {
            let lacks = entry.plan == Plan::New && !entry.known.is_sent();
            entry.proof = if lacks { Proof::Missing } else { Proof::Different };
            entry.plan = Plan::Refused;
        })
    }

    /// Remembers what was sent of an id, if the ledger has it.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn sent(&mut self, id: &str, seal: Seal) -> io::Result<()> {
        let Some(at) = self.position(id)? else { return Ok(()) };
        self.change(at, |entry| entry.known = Known::Sent(seal))
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

    /// How many entries have a plan as asked, gone ones aside.
    #[must_use]
    pub fn count(&self, wanted: impl Fn(Plan) -> bool) -> u64 {
        let rows = PLANS.iter().zip(&self.tally[0]).filter(|(plan, _)| wanted(**plan));
        rows.map(|(_, proofs)| proofs.iter().sum::<u64>()).sum()
    }

    /// How many entries are gone.
    #[must_use]
    pub fn gone(&self) -> u64 {
        self.tally[1].as_flattened().iter().sum()
    }

    /// The ids at these places.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn ids_at(&self, places: &[usize]) -> io::Result<Vec<String>> {
        places.iter().map(|at| self.id(*at)).collect()
    }

    /// Takes a newer list of the source's ids. Those that are new to the ledger are [`Plan::New`]; those that are not
    /// listed any more are gone; a gone one that is back keeps its plan, and has to be proved again. Returns how many are
    /// new or back.
    ///
    /// # Errors
    /// When the scratch space fails; the ledger is then as before.
    pub fn relist(&mut self, newer: &SortedIds) -> io::Result<u64> {
        if self.lacks(newer)?.0 == 0 {
            return self.relist_known(newer);
        }
        let digests = Digests::default();
        let mut merged = IdList::new();
        let entries = Column::default();
        let mut tally = <[Tally; 2]>::default();
        let (mut fresh, mut old, mut at) = (0, 0, 0);
        let mut join = Join::new(&self.ids, newer)?;
        while let Some((id, side)) = join.next()? {
            let known = if side == Side::Right { None } else { Some(self.entry(old)?) };
            if known.is_some() {
                self.digests.copy(old, &digests, at)?;
                old += 1;
            }
            let entry = match known {
                Some(entry) if side == Side::Left => Entry { gone: true, ..entry },
                Some(entry) if !entry.gone => entry,
                back => {
                    fresh += 1;
                    Entry { gone: false, proof: Proof::Open, ..back.unwrap_or(Entry::NEW) }
                }
            };
            merged.push(&id);
            entries.set(at, entry.pack())?;
            tally[entry.is_gone()][entry.plan as usize][entry.proof as usize] += 1;
            at += 1;
        }
        *self = Self { ids: merged.sort()?, entries, digests, tally };
        Ok(fresh)
    }

    /// As [`Ledger::relist`], but ids that the ledger lacks stay unknown, so that every entry keeps its place. Returns how
    /// many are back.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn relist_known(&mut self, newer: &SortedIds) -> io::Result<u64> {
        let (mut back, mut at) = (0, 0);
        let ids = std::mem::take(&mut self.ids);
        let mut join = Join::new(&ids, newer)?;
        while let Some((_, side)) = join.next()? {
            if side == Side::Right {
                continue;
            }
            let entry = self.entry(at)?;
            if side == Side::Left && !entry.gone {
                self.change(at, |entry| entry.gone = true)?;
            } else if side == Side::Both && entry.gone {
                back += 1;
                self.change(at, |entry| (entry.gone, entry.proof) = (false, Proof::Open))?;
            }
            at += 1;
        }
        drop(join);
        self.ids = ids;
        Ok(back)
    }

    /// How many ids of a newer list the ledger lacks, and the first of them.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn lacks(&self, newer: &SortedIds) -> io::Result<(u64, Vec<String>)> {
        const NAMED: usize = 100;
        let (mut count, mut first) = (0, Vec::new());
        let mut join = Join::new(&self.ids, newer)?;
        while let Some((id, side)) = join.next()? {
            if side == Side::Right {
                count += 1;
                first.extend((first.len() < NAMED).then_some(id));
            }
        }
        Ok((count, first))
    }

    /// Counts by what became of each record; `target_before` and `target_after` are the caller's.
    #[must_use]
    pub fn counts(&self, overwrite: bool) -> Counts {
        let mut counts = Counts { gone_from_source: self.gone(), ..Counts::default() };
        for (plan, proofs) in PLANS.iter().zip(&self.tally[0]) {
            let all: u64 = proofs.iter().sum();
            counts.source += all;
            match plan {
                Plan::Unreadable => counts.unreadable += all,
                Plan::Lost => counts.different += all,
                // nothing was sent of it, so that whatever is not known to differ is missing
                Plan::Refused => {
                    let different = proofs[Proof::Different as usize];
                    counts.different += different;
                    counts.missing += all - different;
                }
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
        Plan::Lost | Plan::Duplicate | Plan::Unreadable | Plan::Refused => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plans(ledger: &Ledger) -> Vec<(String, Plan, bool)> {
        let row = |at| (ledger.id(at).unwrap(), ledger.entry(at).unwrap());
        (0..ledger.ids().len()).map(row).map(|(id, entry)| (id, entry.plan, entry.gone)).collect()
    }

    fn expected<const N: usize>(plans: [(&str, Plan, bool); N]) -> Vec<(String, Plan, bool)> {
        plans.map(|(id, plan, gone)| (id.to_owned(), plan, gone)).into()
    }

    #[test]
    fn a_newer_list_adds_and_marks_what_is_gone() {
        let mut ledger = Ledger::new(["a", "b"].iter().collect());
        ledger.plan("b", Plan::Present).unwrap();
        assert_eq!(ledger.relist(&["b", "c"].iter().collect()).unwrap(), 1);
        let after = [("a", Plan::New, true), ("b", Plan::Present, false), ("c", Plan::New, false)];
        assert_eq!(plans(&ledger), expected(after));
        assert_eq!((ledger.counts(false).source, ledger.counts(false).gone_from_source), (2, 1));
        ledger.sent("no such id", Seal::default()).unwrap();
        assert_eq!(plans(&ledger).len(), 3);
    }

    #[test]
    fn an_id_that_is_back_is_still_known_as_sent_and_proved_anew() {
        let mut ledger = Ledger::new(["a", "b"].iter().collect());
        ledger.sent("a", Seal::default()).unwrap();
        ledger.change(0, |entry| entry.proof = Proof::Verified).unwrap();
        assert_eq!(ledger.relist(&["b"].iter().collect()).unwrap(), 0);
        assert_eq!(ledger.counts(false).verified, 0);
        assert_eq!(ledger.relist(&["a", "b"].iter().collect()).unwrap(), 1);
        let back = ledger.entry(0).unwrap();
        assert_eq!((back.gone, back.proof, back.known), (false, Proof::Open, Known::Sent(Seal::default())));
    }

    #[test]
    fn a_refused_record_is_missing_or_differs_and_is_never_wanted() {
        let mut ledger = Ledger::new(["a", "b", "c", "d"].iter().collect());
        ledger.plan("b", Plan::Conflict).unwrap();
        ledger.sent("c", Seal::default()).unwrap();
        for id in ["a", "b", "c", "no such id"] {
            ledger.refused(id).unwrap();
        }
        let counts = ledger.counts(true);
        assert_eq!((counts.missing, counts.different, counts.is_complete()), (1, 2, false));
        assert!(ledger.places(|entry| entry.is_wanted(true)).all(|at| at.unwrap() == 3));
        // one that is gone and back has no proof, and is counted all the same
        ledger.relist(&["b", "c", "d"].iter().collect()).unwrap();
        ledger.relist(&["a", "b", "c"].iter().collect()).unwrap();
        let counts = ledger.counts(true);
        assert_eq!((counts.source, counts.missing, counts.different, counts.is_complete()), (3, 1, 2, true));
    }

    #[test]
    fn only_a_new_record_of_which_nothing_was_sent_is_unsent() {
        let entry = |plan, gone, known| Entry { plan, gone, known, ..Entry::NEW };
        let seal = Seal::default();
        assert!(entry(Plan::New, false, Known::Nothing).is_unsent());
        for other in [
            entry(Plan::Present, false, Known::Nothing),
            entry(Plan::New, true, Known::Nothing),
            entry(Plan::New, false, Known::Sent(seal)),
            entry(Plan::New, false, Known::Compared(seal)),
        ] {
            assert!(!other.is_unsent(), "{other:?}");
        }
    }

    #[test]
    fn what_a_newer_list_has_beside_the_ledger_is_counted_whole_and_named_up_to_a_bound() {
        let ledger = Ledger::new(["000", "x"].iter().collect());
        let newer: Vec<String> = (0..150).map(|n| format!("{n:03}")).collect();
        let (count, first) = ledger.lacks(&newer.iter().collect()).unwrap();
        assert_eq!((count, first.as_slice()), (149, &newer[1..=100]));
        assert_eq!(ledger.lacks(&["x"].iter().collect()).unwrap(), (0, Vec::new()));
    }

    fn any_entry() -> impl Strategy<Value = (Plan, Proof, bool)> {
        let plan = prop_oneof![
            Just(Plan::New),
            Just(Plan::Present),
            Just(Plan::Conflict),
            Just(Plan::Lost),
            Just(Plan::Duplicate),
            Just(Plan::Unreadable),
            Just(Plan::Refused)
        ];
        let proof =
            prop_oneof![Just(Proof::Verified), Just(Proof::Different), Just(Proof::Missing), Just(Proof::Changed)];
        (plan, proof, any::<bool>())
    }

    proptest! {
        #[test]
        fn every_compared_record_is_counted_once(entries in proptest::collection::vec(any_entry(), 0..40), overwrite: bool) {
            let mut ledger = Ledger::new((0..entries.len()).map(|n| format!("{n:03}")).collect());
            for (at, (plan, proof, gone)) in entries.iter().enumerate() {
                let known = if *gone { Known::Compared(Seal::default()) } else { Known::Nothing };
                let entry = Entry { plan: *plan, proof: *proof, gone: *gone, known };
                ledger.change(at, |old| *old = entry).unwrap();
                prop_assert_eq!(ledger.entry(at).unwrap(), entry);
            }
            let present: Vec<usize> = (0..entries.len()).filter(|at| entries[*at].0 == Plan::Present).collect();
            let held = present.iter().filter(|at| !entries[**at].2).count();
            prop_assert_eq!(ledger.count(|plan| plan == Plan::Present), held as u64);
            prop_assert_eq!(ledger.gone(), entries.iter().filter(|entry| entry.2).count() as u64);
            let is_present = |entry: Entry| entry.plan == Plan::Present;
            prop_assert_eq!(&ledger.places(is_present).collect::<io::Result<Vec<_>>>().unwrap(), &present);
            prop_assert_eq!(ledger.select(0, 2, is_present).unwrap(), &present[..present.len().min(2)]);
            let counts = ledger.counts(overwrite);
            prop_assert!(counts.is_complete());
            prop_assert_eq!(counts.verified, counts.copied + counts.present + counts.overwritten);
        }
    }
}
