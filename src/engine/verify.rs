//! Compares every record of both sides. Writes nothing; the only place that can say that a collection was compared.

use std::collections::HashMap;
use std::io;

use tokio::sync::Mutex;

use super::compare::{Comparison, FieldDifference, compare};
use super::fingerprint::{self, Digest};
use super::halt::Halt;
use super::judge::{Known, Ruling, judge};
use super::ledger::{Entry, Plan, Proof};
use super::preflight::Broken;
use super::progress::Tracker;
use super::seal::Seal;
use super::window::{self, Ahead, Answers};
use super::{Context, Pair, Run};
use crate::model::{Collection, Distance, Fetched, Origin, Record};
use crate::store::{Budget, Reader};

/// How many records keep the detail of their difference for the report.
const DETAILED: usize = 1000;

/// Proof that every record of a collection was compared: nothing else can make one.
pub(super) struct Compared {
    _only_here: (),
}

/// Where the target is read.
pub(super) struct Sides<'a> {
    /// Through its server.
    pub(super) server: &'a dyn Reader,
    /// And, for a local target, from its files.
    files: Option<&'a dyn Reader>,
    /// The target's collections by UUID, as its files describe them.
    in_files: Mutex<HashMap<String, Collection>>,
}

impl<'a> Sides<'a> {
    pub(super) fn new(server: &'a dyn Reader, files: Option<&'a dyn Reader>) -> Self {
        Self { server, files, in_files: Mutex::default() }
    }

    /// The files of a local target, with the collection as they describe it.
    pub(super) async fn in_files(
        &self,
        context: &Context<'_>,
        collection: &Collection,
    ) -> Result<Option<(&'a dyn Reader, Collection)>, Halt> {
        Ok(self.files.zip(self.counterpart(context, collection).await?))
    }

    /// Whether the target is read from its files, too.
    pub(super) const fn has_files(&self) -> bool {
        self.files.is_some()
    }

    /// The collection as the target's files describe it; they are listed once for all, and again for one that is new.
    async fn counterpart(&self, context: &Context<'_>, collection: &Collection) -> Result<Option<Collection>, Halt> {
        let Some(files) = self.files else { return Ok(None) };
        let mut known = self.in_files.lock().await;
        if !known.contains_key(&collection.id) {
            let all = context.until_stopped(files.collections()).await?.map_err(Halt::Target)?;
            *known = all.into_iter().map(|c| (c.id.clone(), c)).collect();
        }
        Ok(known.get(&collection.id).cloned())
    }
}

/// Compares the records that `wanted` names among those to be verified. What differs is in the ledger and in
/// `pair.details` afterwards.
pub(super) async fn pass(
    context: &Context<'_>,
    sides: &Sides<'_>,
    pair: &mut Pair,
    wanted: impl Fn(Entry) -> bool,
    mut done: impl FnMut(u64),
) -> Result<(), Halt> {
    let Some(collection) = pair.target.clone() else { return Ok(()) };
    let in_files = sides.counterpart(context, &collection).await?;
    let source = pair.source.clone();
    let both = Both { context, sides, source: &source, server: &collection, files: in_files.as_ref() };
    let mut ahead = Ahead::new();
    loop {
        let is_wanted = |entry: Entry| pair.is_wanted(entry) && wanted(entry);
        let read = |places, ids, budget| both.look(places, ids, budget);
        let Some(look) = ahead.next(&pair.ledger, is_wanted, read).await? else { return Ok(()) };
        ahead.observe(look.places.len(), window::bytes(&look.source));
        look.settle(context, pair)?;
        done(look.places.len() as u64);
    }
}

/// Compares every record of all pairs. A collection of which no record can be read is left out by name.
pub(super) async fn all(context: &Context<'_>, sides: &Sides<'_>, run: &mut Run) -> Result<(), Halt> {
    let mut broken = Broken::default();
    for at in 0..run.pairs.len() {
        let Run { pairs, tracker, .. } = &mut *run;
        let compared = twice(context, sides, &mut pairs[at], tracker).await;
        broken.take(context, run, at, compared).await?;
    }
    broken.leave_out(run)
}

/// Compares every record of a pair, and what differs once more: it may have been a moving source, or an answer that was wrong
/// once.
async fn twice(context: &Context<'_>, sides: &Sides<'_>, pair: &mut Pair, tracker: &mut Tracker) -> Result<(), Halt> {
    pass(context, sides, pair, |_| true, |done| tracker.advance(done)).await?;
    pair.search.streamed();
    pass(context, sides, pair, |entry| entry.proof != Proof::Verified, |_| ()).await
}

/// Compares these records, wherever they stand; places as the ledger has them now.
pub(super) async fn these(
    context: &Context<'_>,
    sides: &Sides<'_>,
    pair: &mut Pair,
    mut places: Vec<usize>,
) -> Result<(), Halt> {
    let Some(collection) = pair.target.clone().filter(|_| !places.is_empty()) else { return Ok(()) };
    let in_files = sides.counterpart(context, &collection).await?;
    let source = pair.source.clone();
    let both = Both { context, sides, source: &source, server: &collection, files: in_files.as_ref() };
    while !places.is_empty() {
        let (count, look) = both.look(places.clone(), pair.ledger.ids_at(&places)?, window::WHOLE).await?;
        look.settle(context, pair)?;
        places.drain(..count);
    }
    Ok(())
}

/// The collection on all its sides.
struct Both<'a> {
    context: &'a Context<'a>,
    sides: &'a Sides<'a>,
    source: &'a Collection,
    server: &'a Collection,
    files: Option<&'a Collection>,
}

impl Both<'_> {
    /// Reads one window from all sides, as far as each has budget for it; tells for how many records.
    async fn look(&self, mut places: Vec<usize>, mut ids: Vec<String>, budget: Budget) -> Result<(usize, Look), Halt> {
        let Self { context, sides, .. } = self;
        let ((source, first), (server, second), (files, third)) = tokio::try_join!(
            window::part_of_source(context, self.source, &ids, budget),
            window::part_of_target(context, sides.server, Some(self.server), &ids, budget),
            async {
                let Some(files) = sides.files else { return Ok((None, ids.len())) };
                let (answers, count) = window::part_of_target(context, files, self.files, &ids, budget).await?;
                Ok((Some(answers), count))
            },
        )?;
        let count = first.min(second).min(third);
        places.truncate(count);
        ids.truncate(count);
        Ok((count, Look { places, ids, source, server, files }))
    }
}

/// One window as read from all sides.
struct Look {
    places: Vec<usize>,
    ids: Vec<String>,
    source: Answers,
    server: Answers,
    files: Option<Answers>,
}

impl Look {
    fn settle(&self, context: &Context<'_>, pair: &mut Pair) -> Result<(), Halt> {
        let mut digests = Vec::with_capacity(self.places.len());
        for (at, id) in self.places.iter().zip(&self.ids) {
            match self.source.get(id) {
                Some(Fetched::Record { record, .. }) => digests.extend(self.record(context, pair, *at, record)?),
                Some(Fetched::Unreadable { why, .. }) => {
                    pair.ledger.change(*at, |entry| entry.plan = Plan::Unreadable)?;
                    pair.notes.add(id, "unreadable", why.clone());
                }
                // whether it is gone, the next listing says
                None => {}
            }
        }
        Ok(pair.ledger.keep(&digests)?)
    }

    /// Judges one record, and gives its digest if it is verified.
    fn record(
        &self,
        context: &Context<'_>,
        pair: &mut Pair,
        at: usize,
        record: &Record,
    ) -> Result<Option<(usize, Digest)>, Halt> {
        let Entry { known, proof, .. } = pair.ledger.entry(at)?;
        let distance = pair.source.distance;
        let policy = context.options.on_conflict;
        let by_server = judge(&known, &[], record, self.server.get(&record.id), distance, policy);
        let ruling = match (by_server, &self.files) {
            (Ruling::Equal(ulps), Some(files)) => {
                let is_first = proof != Proof::Verified;
                in_files(pair, record, files.get(&record.id), ulps, is_first)
            }
            (ruling, _) => ruling,
        };
        pair.details.remove(&record.id);
        let moved = known.seal().is_some_and(|seal| !seal.holds(record, distance));
        pair.has_moved(moved);
        // equal when it was compared, and only the source has changed since: that is what `Verified` says
        let stands = moved && proof == Proof::Verified && self.still_holds(known, &record.id, distance);
        match ruling {
            Ruling::Equal(ulps) => {
                pair.is_apart(ulps, proof != Proof::Verified);
                pair.search.verified(record, proof, moved);
                let digest = fingerprint::digest(record, distance);
                let seal = Seal::with(record, digest, distance);
                pair.ledger.change(at, |entry| {
                    entry.proof = Proof::Verified;
                    entry.known = if known.is_sent() { Known::Sent(seal) } else { Known::Compared(seal) };
                })?;
                return Ok(Some((at, digest)));
            }
            _ if stands => {}
            Ruling::Add if proof == Proof::Changed => {}
            Ruling::Add => pair.ledger.change(at, |entry| entry.proof = Proof::Missing)?,
            Ruling::Amend(fields) => differs(pair, at, record, moved, fields)?,
            Ruling::Leave(why) | Ruling::Refuse(why) => {
                let field = FieldDifference { field: "conflict".to_owned(), detail: why };
                differs(pair, at, record, moved, vec![field])?;
            }
            Ruling::Lost(why) => {
                let field = FieldDifference { field: "unreadable".to_owned(), detail: why };
                differs(pair, at, record, moved, vec![field])?;
            }
        }
        Ok(None)
    }

    /// Whether the target's server holds what is known of a record.
    fn still_holds(&self, known: Known, id: &str, distance: Distance) -> bool {
        match (known.seal(), self.server.get(id)) {
            (Some(seal), Some(Fetched::Record { record, .. })) => seal.holds(record, distance),
            _ => false,
        }
    }
}

/// Notes that a record differs, and how.
fn differs(pair: &mut Pair, at: usize, record: &Record, moved: bool, fields: Vec<FieldDifference>) -> Result<(), Halt> {
    let seal = Seal::of(record, pair.source.distance);
    pair.ledger.change(at, |entry| {
        entry.proof = if moved { Proof::Changed } else { Proof::Different };
        if entry.known == Known::Nothing {
            // so that a further look can tell whether the source has changed
            entry.known = Known::Compared(seal);
        }
    })?;
    if pair.details.len() < DETAILED {
        pair.details.insert(record.id.clone(), fields);
    }
    Ok(())
}

/// The second side of a local target, for a record that its server has.
fn in_files(pair: &mut Pair, record: &Record, found: Option<&Fetched>, by_server: u32, is_first: bool) -> Ruling {
    let fields = match found {
        None => vec![FieldDifference {
            field: "files".to_owned(),
            detail: "the target's server has this record, its files have not".to_owned(),
        }],
        Some(Fetched::Unreadable { why, .. }) => {
            vec![FieldDifference { field: "unreadable".to_owned(), detail: format!("in the target's files: {why}") }]
        }
        Some(Fetched::Record { record: other, origin }) => match compare(record, other, pair.source.distance) {
            Comparison::Equal(ulps) => {
                match origin {
                    Origin::Wal => pair.from_wal += u64::from(is_first),
                    Origin::Hnsw => pair.from_hnsw += u64::from(is_first),
                    Origin::Server => {}
                }
                return Ruling::Equal(by_server.max(ulps));
            }
            Comparison::Different(mut fields) => {
                for field in &mut fields {
                    field.detail = format!("in the target's files: {}", field.detail);
                }
                fields
            }
        },
    };
    Ruling::Amend(fields)
}

/// The proof, once nothing more is to be repaired: what remains is listed, and the fingerprint made.
pub(super) fn finish(pair: &mut Pair) -> Result<Compared, Halt> {
    for (id, fields) in std::mem::take(&mut pair.details) {
        for field in fields {
            pair.notes.add(&id, &field.field, field.detail);
        }
    }
    for (proof, field, detail) in [
        (Proof::Missing, "missing", "in the source and not in the target"),
        (Proof::Changed, "changed", "changed in the source again and again while it was copied"),
    ] {
        note_all(pair, field, detail, |pair, entry| pair.is_wanted(entry) && entry.proof == proof)?;
    }
    note_all(pair, "goneFromSource", "deleted from the source during the run; the target may hold it", |_, entry| {
        entry.gone
    })?;
    let damage = pair.source_damage.iter().chain(&pair.target_damage);
    for what in damage.chain(&pair.problems).chain(&pair.named).chain(&pair.remarks) {
        pair.notes.list("", "collection", what.clone());
    }
    pair.fingerprint = pair.ledger.fingerprint(|entry| pair.is_wanted(entry))?;
    Ok(Compared { _only_here: () })
}

fn note_all(pair: &mut Pair, field: &str, detail: &str, wanted: impl Fn(&Pair, Entry) -> bool) -> io::Result<()> {
    let mut notes = std::mem::take(&mut pair.notes);
    for at in pair.ledger.places(|entry| wanted(pair, entry)) {
        notes.add(&pair.ledger.id(at?)?, field, detail);
    }
    pair.notes = notes;
    Ok(())
}
