//! What was found wrong of each collection so far, and what all connections to one store share.
//! Reads nothing by itself but a census; says in sentences what the others found.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::dimension::Settled;
use super::indexes::{Indexes, Keep, Sequence};
use super::segments::Whose;
use super::state::State;
use crate::model::Collection;
use crate::scratch::Table;
use crate::store::Remarks;
use crate::store::files::index::hnsw::Doubt;
use crate::store::files::index::stamps::Stamps;
use crate::store::files::index::{Vectors, Wrong};
use crate::store::files::log::overlay;
use crate::store::files::sqlite::around::Pages;
use crate::store::files::sqlite::catalog::Catalog;
use crate::store::files::sqlite::check::{Findings, Once};
use crate::store::files::sqlite::listing::Census;
use crate::store::files::sqlite::texts::Texts;
use crate::store::files::sqlite::walks::Walks;
use crate::store::odd::{self, Odd, Odds};

/// What all connections to one store share.
#[derive(Debug, Default)]
pub struct Shared {
    /// The indexes.
    pub indexes: Indexes,
    /// What was found of the store as a whole.
    pub check: Once,
    /// Whether a copy in scratch space is read, as the first connection found last: one copy is enough.
    pub is_copy: AtomicBool,
    /// Pages that could not be read.
    pub pages: Pages,
    /// Walks through tables whose index cannot be read.
    pub walks: Walks,
    census: Mutex<Option<Counted>>,
    audits: Mutex<HashMap<String, Audit>>,
}

#[derive(Debug)]
struct Counted {
    census: Arc<Census>,
    /// How far each segment had followed the log then.
    marks: HashMap<String, i64>,
}

/// What was found of one collection.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// How far the tables had followed the log when table and index were found to agree.
    pub sound: Option<i64>,
    /// Where they do not: the ids that either names, and how far the tables had followed the log.
    pub rows: Option<(i64, Arc<Table>)>,
    /// How they differ.
    pub listing: Option<String>,
    /// Whether rows are lost, so that ids which only the index names are listed, too.
    pub is_short: bool,
    /// How many ids were listed where rows are lost, and of which state that is.
    pub listed: Option<(Option<Sequence>, u64)>,
    /// Records that the index did not find and the table has.
    unfound: Seen,
    /// Records whose vector in the index is older than the log says.
    stale: Seen,
    /// Metadata values that were read otherwise than they stand there.
    odd: Odds,
    /// What of the collection's own row cannot be read, and what is taken for it.
    pub settings: Vec<String>,
    /// Odd values of the collection's own metadata.
    pub own: Vec<(String, Odd)>,
    /// Rows whose id is no text, so that nothing can ask for them, and what is to be said of them.
    pub nameless: Option<(u64, String)>,
    /// Whether the rows of its index are those of a cosine index, where no document tells.
    pub is_cosine: Option<bool>,
    /// What the damage of the index does to records.
    pub lost: Option<Lost>,
    /// The dimension of its vectors, if its row says another one.
    pub dimension: Option<Settled>,
    /// Whether its index is its own.
    pub judged: Option<Judged>,
    /// Whether its rows are its own.
    pub whose: Option<Whose>,
    /// Records whose row has no number for their last change.
    unnumbered: Seen,
}

/// What was found out about whose an index is.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The files.
    pub of: Stamps,
    /// Why it is another collection's, in a sentence without a subject.
    pub foreign: Option<String>,
    /// What speaks against it without saying that, in a sentence.
    pub doubt: Option<String>,
}

/// What the damage of an index does to the records of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Records.
    pub of: usize,
    /// Those whose vector cannot be read.
    pub lost: u64,
    /// Those whose vector is only in the index.
    pub indexed: u64,
}

/// What a window has to say, by id.
#[derive(Debug, Default)]
pub struct Said {
    /// The index on `embeddings` did not find its row.
    pub unfound: Vec<String>,
    /// Its vector in the index is older than the log says.
    pub stale: Vec<String>,
    /// Its row has no number for its last change.
    pub unnumbered: Vec<String>,
    /// An odd metadata value of it: id, key, and what it is.
    pub odd: Vec<(String, String, Odd)>,
}

impl Said {
    /// Whether there is nothing to say.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.unfound.is_empty() && self.stale.is_empty() && self.unnumbered.is_empty() && self.odd.is_empty()
    }
}

/// Records that something was seen of; each is read several times in a run, and counts once.
#[derive(Clone, Debug, Default)]
struct Seen(BTreeSet<String>);

impl Seen {
    /// Ids that are kept; of more it is only said that there are more.
    const KEPT: usize = 1000;

    fn take(&mut self, ids: Vec<String>) {
        let room = (Self::KEPT + 1).saturating_sub(self.0.len());
        self.0.extend(ids.into_iter().take(room));
    }

    /// `3 records ("a", "b", "c")`; None for none.
    fn named(&self) -> Option<String> {
        let (count, over) = (self.0.len().min(Self::KEPT), if self.0.len() > Self::KEPT { "over " } else { "" });
        overlay::named(count as u64, over, self.0.iter())
    }
}

impl Audit {
    /// Takes what a window has to say.
    pub fn take(&mut self, said: Said) {
        let Said { unfound, stale, unnumbered, odd } = said;
        self.unfound.take(unfound);
        self.stale.take(stale);
        self.unnumbered.take(unnumbered);
        for (id, key, odd) in odd {
            self.odd.take(id, key, odd);
        }
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Nothing was found yet.
    pub(super) fn new(keep: Keep) -> Self {
        Self { indexes: Indexes::new(keep), ..Self::default() }
    }

    /// A census that still holds for a segment that has followed the log so far.
    #[must_use]
    pub fn census(&self, segment: &str, mark: i64) -> Option<Arc<Census>> {
        let counted = locked(&self.census);
        let counted = counted.as_ref().filter(|c| c.marks.get(segment).copied().unwrap_or(0) == mark)?;
        Some(Arc::clone(&counted.census))
    }

    /// Whether a page with values of records is lost, or a whole table of them.
    #[must_use]
    pub fn has_lost_values(&self) -> bool {
        ["embedding_metadata", "embedding_metadata_array"].iter().any(|table| self.pages.lost(table).is_some())
    }

    /// The small tables inside a transaction.
    pub fn catalog<'a>(&'a self, db: &'a Connection) -> Catalog<'a> {
        Catalog { db, pages: &self.pages }
    }

    /// Takes a census inside the caller's transaction.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn recount(&self, db: &Connection) -> rusqlite::Result<Arc<Census>> {
        let (census, marks) = (Arc::new(Census::take(db)?), self.catalog(db).watermarks()?);
        *locked(&self.census) = Some(Counted { census: Arc::clone(&census), marks });
        Ok(census)
    }

    /// What was found of a collection.
    #[must_use]
    pub fn audit(&self, collection: &str) -> Audit {
        locked(&self.audits).get(collection).cloned().unwrap_or_default()
    }

    /// Adds to what was found of a collection.
    pub fn amend(&self, collection: &str, change: impl FnOnce(&mut Audit)) {
        change(locked(&self.audits).entry(collection.to_owned()).or_default());
    }
}

/// All that is to be said of a collection.
#[must_use]
pub fn remarks(collection: &Collection, state: &State, shared: &Shared) -> Remarks {
    let mut remarks = Remarks::default();
    let audit = shared.audit(&collection.id);
    if let Some(findings) = shared.check.get() {
        remarks.damage.extend(findings.damage.iter().map(|what| format!("the database is damaged: {what}")));
        remarks.damage.extend(texts(&findings, &state.segments.metadata));
    }
    remarks.damage.extend(shared.pages.told());
    remarks.damage.extend(shared.pages.told_of([&state.segments.metadata, &state.segments.vector]));
    remarks.damage.extend(audit.settings.iter().cloned());
    remarks.damage.extend(audit.nameless.iter().map(|(_, what)| what.clone()));
    if let Some(what) = &audit.listing {
        remarks.damage.push(format!("SQLite's table embeddings and its index do not agree: {what}"));
    }
    if let Some(which) = audit.unfound.named() {
        remarks.damage.push(format!("SQLite's index on embeddings does not find {which}, which the table has"));
    }
    if let Some(which) = audit.unnumbered.named() {
        remarks.damage.push(format!(
            "SQLite's table embeddings has no number for the last change of {which}: up to the watermark of the tables, their rows \
             were taken for up to date"
        ));
    }
    remarks.damage.extend(state.segments.wrong.clone());
    remarks.damage.extend(audit.judged.as_ref().and_then(|judged| judged.doubt.clone()));
    log(state, &audit, &mut remarks);
    remarks.partial = audit.odd.is_lossy() || audit.own.iter().any(|(_, odd)| odd.is_lost);
    remarks.notes.extend(audit.own.iter().map(|(key, odd)| odd::of_collection(key, odd)));
    remarks.notes.extend(audit.odd.told());
    remarks.amended.extend(audit.dimension.map(Settled::told));
    if let Some(wrong) = state.wrong() {
        index(&wrong, audit.lost, &mut remarks);
    }
    // of a cut file the last rows may be of no record
    if let Vectors::Index(index) = &*state.vectors
        && index.flawed.is_none()
        && let Some(doubt) = index.evidence.doubt(state.shape.cosine)
    {
        doubted(collection, doubt, &mut remarks);
    }
    remarks
}

fn texts(findings: &Findings, segment: &str) -> Option<String> {
    let Texts { unindexed, undocumented, differing, ids } = findings.texts.get(segment)?;
    let which = overlay::named(unindexed + undocumented + differing, "", ids.iter())?;
    Some(format!(
        "documents and full-text rows contradict each other: {unindexed} documents have no full-text row, {undocumented} full-text rows \
         have no document, and {differing} have another text, in all of {which}. Documents were read as they stand"
    ))
}

/// Whether log and watermarks explain each other.
fn log(state: &State, audit: &Audit, remarks: &mut Remarks) {
    let overlay = &state.overlay;
    remarks.damage.extend(overlay.damage.iter().map(|what| format!("the write-ahead log is damaged: {what}")));
    let Some(sequence) = state.sequence else { return };
    let (last, highest) = (sequence.last, sequence.metadata.max(sequence.vector));
    let marks = format!("tables {}, index {}, last entry {last}", sequence.metadata, sequence.vector);
    let changes = overlay.changes.named().map(|which| format!("changes of {which} were never applied"));
    let vectors = overlay.vectors.named().map(|which| format!("vectors of {which} are not in the index"));
    let older = audit.stale.named().map(|which| format!("vectors of {which} are other ones in the index"));
    let hidden: Vec<String> = [changes, vectors, older].into_iter().flatten().collect();
    if !hidden.is_empty() {
        remarks.damage.push(format!(
            "the watermarks (max_seq_id: {marks}) say that the write-ahead log was applied, but {}; they were taken \
             from the log",
            hidden.join(", ")
        ));
    } else if overlay.unlogged.count == 0 && highest > last {
        remarks.notes.push(format!(
            "the watermarks (max_seq_id: {marks}) lie beyond the end of the write-ahead log, and no entry is hidden by \
             them: somebody emptied the log, or changed max_seq_id"
        ));
    }
    if let Some(which) = overlay.unlogged.named() {
        remarks.damage.push(format!(
            "the last changes of {which} are in the tables, and neither in the write-ahead log nor in the index (max_seq_id: \
             {marks}): entries of the log were lost or removed, and their vectors may be older than their documents"
        ));
    }
    if let Some(which) = overlay.strange.named() {
        remarks.damage.push(format!(
            "in SQLite's table embeddings, the rows of {which} have the number of a change that the write-ahead log does not have, \
             although it has earlier changes of them: these rows may be of another store or another record"
        ));
    }
    if let Some(which) = overlay.lost.named() {
        remarks.notes.push(format!(
            "Chroma 0.4 left {which} out of its index, added in the batch of their delete: their vectors were taken \
             from the write-ahead log"
        ));
    }
}

/// A damaged index is a matter of the records that lost their vector by it: where each was read, nothing is lost.
fn index(Wrong { file, what }: &Wrong, lost: Option<Lost>, remarks: &mut Remarks) {
    let said = format!("{} {what}", file.display());
    match lost {
        Some(Lost { of, lost: 0, indexed }) => {
            let from = if indexed > 0 { "were read" } else { "were found elsewhere" };
            remarks.notes.push(format!("{said}; the vectors of all {of} records {from}"));
        }
        Some(Lost { of, lost, .. }) => {
            remarks.damage.push(format!("{said}; the vectors of {lost} of {of} records cannot be read"));
        }
        None => remarks.damage.push(said),
    }
}

/// The rows of the index speak against the distance, and perhaps a document does, too.
fn doubted(collection: &Collection, doubt: Doubt, remarks: &mut Remarks) {
    let Collection { name, distance, .. } = collection;
    let what = doubt.spoken();
    remarks.damage.push(format!(
        "collection {name:?} is declared {distance}, but {what}: its vectors may be without their lengths"
    ));
}
