//! Compares every record of both sides. Writes nothing; the only place that can say that a collection was compared.

use std::collections::BTreeMap;
use std::io;

use super::compare::{Comparison, FieldDifference, compare};
use super::halt::Halt;
use super::ledger::{Entry, Plan, Proof};
use super::progress::Tracker;
use super::window::{self, Ahead, Answers};
use super::{Context, OnConflict, Pair, fingerprint};
use crate::store::{Collection, Fetched, Origin, Reader, Record, creation};

/// How many records keep the detail of their difference for the report.
const DETAILED: usize = 1000;

/// Proof that every record of a collection was compared: nothing else can make one.
pub(super) struct Compared {
    /// Settings of the collection that differ, though they should have been kept.
    pub(super) settings: Vec<String>,
    _only_here: (),
}

/// Where the target is read.
pub(super) struct Sides<'a> {
    /// Through its server.
    pub(super) server: &'a dyn Reader,
    /// And, for a local target, from its files.
    pub(super) files: Option<&'a dyn Reader>,
}

/// What differs, by place in the ledger.
pub(super) type Details = BTreeMap<usize, Vec<FieldDifference>>;

/// One look at all records, without repair.
pub(super) async fn once(
    context: &Context<'_>,
    sides: &Sides<'_>,
    pair: &mut Pair,
    tracker: &mut Tracker,
) -> Result<Compared, Halt> {
    let details = pass(context, sides, pair, |_| true, |done| tracker.advance(done)).await?;
    finish(context, sides, pair, details).await
}

/// Compares the records that `wanted` names among those to be verified.
pub(super) async fn pass(
    context: &Context<'_>,
    sides: &Sides<'_>,
    pair: &mut Pair,
    wanted: impl Fn(Entry) -> bool,
    mut done: impl FnMut(u64),
) -> Result<Details, Halt> {
    let mut details = Details::new();
    let Some(collection) = pair.target.clone() else { return Ok(details) };
    let in_files = counterpart(context, sides, &collection).await?;
    let source = pair.source.clone();
    let both = Both { context, sides, source: &source, server: &collection, files: in_files.as_ref() };
    let mut ahead = Ahead::new();
    loop {
        let is_wanted = |entry: Entry| pair.is_wanted(entry.plan) && wanted(entry);
        let look = ahead.next(&pair.ledger, is_wanted, |places, ids| both.look(places, ids)).await?.transpose()?;
        let Some(look) = look else { return Ok(details) };
        ahead.observe(look.places.len(), window::bytes(&look.source));
        look.judge(context, pair, &mut details)?;
        done(look.places.len() as u64);
    }
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
    /// Reads one window from all sides.
    async fn look(&self, places: Vec<usize>, ids: Vec<String>) -> Result<Look, Halt> {
        let Self { context, sides, .. } = self;
        let (source, server, files) = tokio::try_join!(
            window::of_source(context, self.source, &ids),
            window::of_target(context, sides.server, Some(self.server), &ids),
            async {
                match sides.files {
                    Some(files) => window::of_target(context, files, self.files, &ids).await.map(Some),
                    None => Ok(None),
                }
            },
        )?;
        Ok(Look { places, ids, source, server, files })
    }
}

/// The collection as the target's files describe it.
async fn counterpart(
    context: &Context<'_>,
    sides: &Sides<'_>,
    collection: &Collection,
) -> Result<Option<Collection>, Halt> {
    let Some(files) = sides.files else { return Ok(None) };
    let all = context.until_stopped(files.collections()).await?.map_err(Halt::Target)?;
    Ok(all.into_iter().find(|c| c.id == collection.id))
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
    fn judge(&self, context: &Context<'_>, pair: &mut Pair, details: &mut Details) -> Result<(), Halt> {
        let mut digests = Vec::with_capacity(self.places.len());
        for (at, id) in self.places.iter().zip(&self.ids) {
            let record = match self.source.get(id) {
                Some(Fetched::Record { record, .. }) => record,
                Some(Fetched::Unreadable { why, .. }) => {
                    pair.ledger.change(*at, |entry| entry.plan = Plan::Unreadable)?;
                    pair.notes.add(id, "unreadable", why.clone());
                    continue;
                }
                None => {
                    pair.ledger.change(*at, |entry| entry.plan = Plan::Gone)?;
                    continue;
                }
            };
            let found = self.found(pair, record);
            settle(context, pair, *at, record, &found, details)?;
            if pair.ledger.entry(*at)?.proof == Proof::Verified {
                digests.push((*at, fingerprint::digest(record, pair.source.distance)));
            }
        }
        Ok(pair.digests.put(&digests)?)
    }

    /// The record as all sides of the target have it.
    fn found(&self, pair: &mut Pair, record: &Record) -> Found {
        let by_server = side(record, self.server.get(&record.id), pair);
        let Some(files) = &self.files else { return by_server };
        match (by_server, files.get(&record.id)) {
            (Found::Equal(a), found) => match side(record, found, pair) {
                Found::Equal(b) => {
                    match found {
                        Some(Fetched::Record { origin: Origin::Wal, .. }) => pair.from_wal += 1,
                        Some(Fetched::Record { origin: Origin::Hnsw, .. }) => pair.from_hnsw += 1,
                        _ => {}
                    }
                    Found::Equal(a.max(b))
                }
                Found::Different(fields) => Found::Different(in_files(fields)),
                Found::Missing => Found::Different(vec![FieldDifference {
                    field: "files".to_owned(),
                    detail: "the target's server has this record, its files have not".to_owned(),
                }]),
            },
            (other, _) => other,
        }
    }
}

fn in_files(mut fields: Vec<FieldDifference>) -> Vec<FieldDifference> {
    for field in &mut fields {
        field.detail = format!("in the target's files: {}", field.detail);
    }
    fields
}

/// What one side of the target has for a source record.
enum Found {
    Equal(u32),
    Different(Vec<FieldDifference>),
    Missing,
}

fn side(record: &Record, found: Option<&Fetched>, pair: &Pair) -> Found {
    match found {
        None => Found::Missing,
        Some(Fetched::Unreadable { why, .. }) => {
            Found::Different(vec![FieldDifference { field: "unreadable".to_owned(), detail: why.clone() }])
        }
        Some(Fetched::Record { record: other, .. }) => match compare(record, other, pair.source.distance) {
            Comparison::Equal(ulps) => Found::Equal(ulps),
            Comparison::Different(fields) => Found::Different(fields),
        },
    }
}

/// Writes the outcome for one record into the ledger.
fn settle(
    context: &Context<'_>,
    pair: &mut Pair,
    at: usize,
    record: &Record,
    found: &Found,
    details: &mut Details,
) -> Result<(), Halt> {
    let Entry { plan, mark, .. } = pair.ledger.entry(at)?;
    let moved = || mark != 0 && mark != fingerprint::moved_mark(record, pair.source.distance);
    let proof = match found {
        Found::Equal(ulps) => {
            pair.max_ulps = pair.max_ulps.max(*ulps);
            Proof::Verified
        }
        _ if moved() => Proof::Changed,
        Found::Missing => Proof::Missing,
        Found::Different(_) => Proof::Different,
    };
    pair.ledger.change(at, |entry| entry.proof = proof)?;
    let Found::Different(fields) = found else { return Ok(()) };
    if plan == Plan::Present && proof == Proof::Different {
        return overtaken(context, pair, at, record, fields);
    }
    if details.len() < DETAILED {
        details.insert(at, fields.clone());
    }
    Ok(())
}

/// It was equal before the first write, the source has not moved, and now the target differs: another writer changed
/// the target, so it is a conflict like any other.
fn overtaken(
    context: &Context<'_>,
    pair: &mut Pair,
    at: usize,
    record: &Record,
    fields: &[FieldDifference],
) -> Result<(), Halt> {
    pair.ledger.change(at, |entry| entry.plan = Plan::Conflict)?;
    let detail = fields.iter().map(|f| format!("{}: {}", f.field, f.detail)).collect::<Vec<_>>().join("; ");
    match context.options.on_conflict {
        OnConflict::Overwrite => Ok(()),
        OnConflict::Skip => {
            pair.notes.add(&record.id, "conflict", format!("changed in the target during the run: {detail}"));
            Ok(())
        }
        OnConflict::Fail => Err(Halt::Conflict(format!(
            "id {:?} of {:?} was changed in the target during the run ({detail}) and onConflict is Fail; \
             stop the target's other writers and run again",
            record.id, pair.target_name
        ))),
    }
}

/// The proof, once nothing more is to be repaired: counts, settings, fingerprint.
pub(super) async fn finish(
    context: &Context<'_>,
    sides: &Sides<'_>,
    pair: &mut Pair,
    details: Details,
) -> Result<Compared, Halt> {
    for (at, fields) in details {
        let id = pair.ledger.id(at)?;
        for field in fields {
            pair.notes.add(&id, &field.field, field.detail);
        }
    }
    for (proof, field, detail) in [
        (Proof::Missing, "missing", "in the source and not in the target"),
        (Proof::Changed, "changed", "changed in the source again and again while it was copied"),
    ] {
        note_all(pair, field, detail, |pair, entry| pair.is_wanted(entry.plan) && entry.proof == proof)?;
    }
    note_all(pair, "goneFromSource", "deleted from the source during the run; the target may hold it", |_, entry| {
        entry.plan == Plan::Gone
    })?;
    let settings = settings(context, sides, pair).await?;
    let verified = pair.ledger.places(|entry| pair.is_wanted(entry.plan) && entry.proof == Proof::Verified);
    pair.fingerprint = pair.digests.fingerprint(verified)?;
    Ok(Compared { settings, _only_here: () })
}

fn note_all(pair: &mut Pair, field: &str, detail: &str, wanted: impl Fn(&Pair, Entry) -> bool) -> io::Result<()> {
    let mut notes = std::mem::take(&mut pair.notes);
    for at in pair.ledger.places(|entry| wanted(pair, entry)) {
        notes.add(&pair.ledger.id(at?)?, field, detail);
    }
    pair.notes = notes;
    Ok(())
}

/// Counts the target's records and compares the settings of a collection that this run created.
async fn settings(context: &Context<'_>, sides: &Sides<'_>, pair: &mut Pair) -> Result<Vec<String>, Halt> {
    let Some(collection) = pair.target.clone() else { return Ok(Vec::new()) };
    pair.target_after = context.until_stopped(sides.server.count(&collection)).await?.map_err(Halt::Target)?;
    let there = context.until_stopped(sides.server.collections()).await?.map_err(Halt::Target)?;
    let Some(now) = there.into_iter().find(|c| c.id == collection.id) else {
        return Ok(vec![format!(
            "the target's collection {:?} was deleted or replaced during the run",
            collection.name
        )]);
    };
    let Some(new) = &pair.new else { return Ok(Vec::new()) };
    if new.losses.is_empty() { Ok(creation::differences(&pair.source, &now)) } else { Ok(Vec::new()) }
}

/// The weaker proof: the target's count has risen by what was sent.
pub(super) async fn counts(context: &Context<'_>, target: &dyn Reader, pair: &mut Pair) -> Result<(), Halt> {
    let Some(collection) = &pair.target else { return Ok(()) };
    pair.target_after = context.until_stopped(target.count(collection)).await?.map_err(Halt::Target)?;
    Ok(())
}
