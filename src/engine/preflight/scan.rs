//! The first look at all records: which the target has, which are new, which conflict, and which cannot be read. Writes
//! nothing.

use std::io;

use super::Records;
use crate::chroma::{Capabilities, rules};
use crate::engine::fingerprint::document_mark;
use crate::engine::halt::Halt;
use crate::engine::judge::{Known, Ruling, judge};
use crate::engine::ledger::{Entry, Plan};
use crate::engine::memory;
use crate::engine::seal::Seal;
use crate::engine::window::{self, Ahead, Answers};
use crate::engine::{Context, OnConflict, Pair, sendable};
use crate::model::{Collection, Fetched, Record};
use crate::scratch::SortedIds;
use crate::store::{Budget, Reader};

/// One look at all records that are not planned yet.
pub(super) struct Scan<'a> {
    pub(super) context: &'a Context<'a>,
    /// The target's collection and its ids, where it is there.
    pub(super) there: Option<(&'a dyn Reader, &'a SortedIds)>,
    pub(super) capabilities: &'a Capabilities,
}

/// A window of it.
struct Seen {
    places: Vec<usize>,
    /// Places in it that were not read yet.
    late: Vec<usize>,
    source: Answers,
    target: Answers,
}

/// So many records may be left to the end of a scan.
const LATE: usize = 100_000;

impl Scan<'_> {
    pub(super) async fn records(
        &self,
        pair: &mut Pair,
        seen: &mut Records,
        mut done: impl FnMut(u64),
    ) -> Result<(), Halt> {
        let (source, target) = (pair.source.clone(), pair.target.clone());
        let mut late = Vec::new();
        let mut ahead = Ahead::new();
        let is_open = |entry: Entry| entry.is_unsent();
        let read = |places, ids, budget| self.both(&source, target.as_ref(), (places, ids), budget, true);
        while let Some(window) = ahead.next(&pair.ledger, is_open, read).await? {
            ahead.observe(window.places.len(), window::bytes(&window.source));
            done(self.settle(pair, &window, seen)?);
            late.extend(window.late);
            if late.len() >= LATE {
                self.late(pair, &mut late, seen, &mut done).await?;
            }
        }
        self.late(pair, &mut late, seen, &mut done).await
    }

    /// What was left to the end.
    async fn late(
        &self,
        pair: &mut Pair,
        late: &mut Vec<usize>,
        seen: &mut Records,
        mut done: impl FnMut(u64),
    ) -> Result<(), Halt> {
        let mut sizes = window::sized();
        while !late.is_empty() {
            let places = late[..sizes.size().min(late.len())].to_vec();
            let ids = pair.ledger.ids_at(&places)?;
            let (source, target) = (&pair.source, pair.target.as_ref());
            let (count, window) = self.both(source, target, (places, ids), window::WHOLE, false).await?;
            sizes.observe(count, window::bytes(&window.source));
            done(self.settle(pair, &window, seen)?);
            late.drain(..count);
        }
        Ok(())
    }

    fn settle(&self, pair: &mut Pair, window: &Seen, seen: &mut Records) -> io::Result<u64> {
        for at in &window.places {
            self.plan(pair, *at, &window.source, &window.target, seen)?;
        }
        Ok(window.places.len() as u64)
    }

    /// Reads one window from both sides, as far as each has budget for it; tells for how many of its places. With
    /// `has_late`, what an earlier run probably could not read is left to the end: a server that fails on it has only so much
    /// time, which belongs first to what no run has read yet.
    async fn both(
        &self,
        source: &Collection,
        target: Option<&Collection>,
        (places_of, ids): (Vec<usize>, Vec<String>),
        budget: Budget,
        has_late: bool,
    ) -> Result<(usize, Seen), Halt> {
        let mut is_there = vec![false; ids.len()];
        if let Some((_, there)) = self.there {
            for (id, is_there) in ids.iter().zip(&mut is_there) {
                *is_there = there.contains(id)?;
            }
        }
        let is_late: Vec<bool> = (0..ids.len()).map(|at| has_late && is_left_over(&is_there, at)).collect();
        let (wanted, asked): (Vec<usize>, Vec<String>) =
            (0..ids.len()).zip(&ids).filter(|(at, _)| !is_late[*at]).map(|(at, id)| (at, id.clone())).unzip();
        let common: Vec<String> = wanted.iter().filter(|at| is_there[**at]).map(|at| ids[*at].clone()).collect();
        let (ours, theirs) = tokio::try_join!(window::part_of_source(self.context, source, &asked, budget), async {
            match self.there {
                Some((reader, _)) => window::part_of_target(self.context, reader, target, &common, budget).await,
                None => Ok((Answers::new(), 0)),
            }
        })?;
        // up to the first record that one of the sides had no budget for
        let open = common.get(theirs.1).and_then(|id| ids.iter().position(|other| other == id));
        let count = wanted.get(ours.1).copied().into_iter().chain(open).min().unwrap_or(ids.len());
        let (late, places): (Vec<_>, Vec<_>) = (0..count).partition(|at| is_late[*at]);
        let of = |all: Vec<usize>| all.into_iter().map(|at| places_of[at]).collect();
        Ok((count, Seen { places: of(places), late: of(late), source: ours.0, target: theirs.0 }))
    }

    fn plan(
        &self,
        pair: &mut Pair,
        at: usize,
        source: &Answers,
        target: &Answers,
        seen: &mut Records,
    ) -> io::Result<()> {
        let id = pair.ledger.id(at)?;
        let record = match source.get(&id) {
            Some(Fetched::Record { record, .. }) => record,
            Some(Fetched::Unreadable { why, .. }) => {
                pair.notes.add(&id, "unreadable", why.clone());
                return pair.ledger.change(at, |entry| entry.plan = Plan::Unreadable);
            }
            // the next listing says whether it is gone
            None => return Ok(()),
        };
        let encoded = || rules::body_len(record, self.capabilities.base64);
        if let Some(why) = memory::problem(self.context.options.memory, window::record_bytes(record), encoded) {
            seen.large.add(&pair.source_words(), &id, &why);
        }
        // the source's own engine cannot answer with it, so files and server are judged alike
        if let Some(why) = rules::lost_by_cosine(record, pair.source.distance) {
            pair.notes.add(&id, "unreadable", why);
            return pair.ledger.change(at, |entry| entry.plan = Plan::Unreadable);
        }
        let plan = match target.get(&id) {
            Some(found) => self.known(pair, at, record, found)?,
            None => unknown(pair, record)?,
        };
        pair.ledger.change(at, |entry| entry.plan = plan)?;
        let overwrite = self.context.options.on_conflict == OnConflict::Overwrite;
        if plan == Plan::New || (plan == Plan::Conflict && overwrite) {
            seen.bytes += window::record_bytes(record) as u64;
            seen.to_send += 1;
            if let Some(why) = sendable::problem(record, pair, self.capabilities) {
                seen.problems.add(&pair.source_words(), &id, &why);
            }
        }
        Ok(())
    }

    /// The plan for a record whose id the target has.
    fn known(&self, pair: &mut Pair, at: usize, record: &Record, found: &Fetched) -> io::Result<Plan> {
        let distance = pair.source.distance;
        let seal = Seal::of(record, distance);
        let policy = self.context.options.on_conflict;
        let ruling = judge(&Known::Nothing, &[], record, Some(found), distance, policy);
        pair.ledger.change(at, |entry| entry.known = Known::Compared(seal))?;
        match ruling {
            Ruling::Equal(_) => Ok(Plan::Present),
            Ruling::Add => Ok(Plan::New),
            Ruling::Amend(_) => Ok(Plan::Conflict),
            Ruling::Leave(why) | Ruling::Refuse(why) => {
                pair.notes.add(&record.id, "conflict", why);
                Ok(Plan::Conflict)
            }
            Ruling::Lost(why) => {
                pair.notes.add(&record.id, "unreadable", why);
                Ok(Plan::Lost)
            }
        }
    }
}

/// Whether the target lacks only this one among its neighbours: an earlier run has got beyond it.
fn is_left_over(is_there: &[bool], at: usize) -> bool {
    let neighbour = |at: Option<usize>| at.and_then(|at| is_there.get(at)).is_some_and(|there| *there);
    !is_there[at] && neighbour(at.checked_sub(1)) && neighbour(at.checked_add(1))
}

/// The plan for a record whose id the target has not.
fn unknown(pair: &mut Pair, record: &Record) -> io::Result<Plan> {
    let text = record.document.as_deref().filter(|text| !text.is_empty() && !pair.documents.is_empty());
    let Some(text) = text else { return Ok(Plan::New) };
    let mark = document_mark(text);
    let twin = pair.documents.value(&mark.to_be_bytes())?.filter(|_| !pair.lost_twins.contains(&mark));
    let Some(other) = twin else { return Ok(Plan::New) };
    let detail = format!("the target has this document under id {:?}", String::from_utf8_lossy(&other));
    pair.notes.add(&record.id, "duplicate", detail);
    Ok(Plan::Duplicate)
}
