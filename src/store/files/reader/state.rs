//! What is known of one collection between two windows: its index, what its log does, and which state of the files each is
//! of. An index may be older than its files: then it answers only for records that have not changed since.
//! Reads through the caller's transaction; decides nothing about retries.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use super::indexes::{Beside, Followed, Held, Indexes, Sequence, moved};
use super::segments::Segments;
use crate::model::Fetched;
use crate::scratch;
use crate::store::files::index::stamps::Stamps;
use crate::store::files::index::{Shape, Vectors, Wrong};
use crate::store::files::log::overlay::{Base, Histories, Log, Overlay};
use crate::store::files::log::replay::{Known, Watermarks};
use crate::store::files::sqlite::catalog::Catalog;
use crate::store::files::sqlite::connection::{failure, is_corrupt};
use crate::store::files::sqlite::segments::KnownRows;
use crate::store::files::sqlite::spans::Span;
use crate::store::files::sqlite::{tables, unlogged};
use crate::store::files::system::{Attempt, Failure};

/// One collection's index and log.
#[derive(Debug)]
pub struct State {
    /// Its segments.
    pub segments: Segments,
    /// The index's folder.
    pub folder: PathBuf,
    /// The files as they were when this state was made: the rows are read from these.
    pub stamps: Stamps,
    /// The files that the index was loaded from.
    loaded: Stamps,
    /// The index, which other connections to the store use too.
    pub vectors: Arc<Vectors>,
    /// How far it had followed the log when it was loaded.
    mark: i64,
    /// Whether the log has all that happened since: what it does not say did not happen.
    is_explained: bool,
    /// Whether anything says how far the index had followed the log.
    is_marked: bool,
    /// How the index is read.
    pub shape: Shape,
    /// What the overlay is of; None before the first look.
    pub sequence: Option<Sequence>,
    /// What the log does.
    pub overlay: Arc<Overlay>,
    /// What the log alone tells of records, once somebody asked, and what it is of.
    histories: OnceCell<(Option<Sequence>, Histories)>,
}

impl State {
    /// Loads the index from its folder, outside any transaction: it can take seconds.
    ///
    /// # Errors
    /// `Again` when a file changes meanwhile.
    pub fn load(
        store: &Path,
        segments: Segments,
        (shape, followed): (Shape, Followed),
        indexes: &Indexes,
    ) -> Attempt<Self> {
        let folder = store.join(&segments.vector);
        let fresh = |stamps: Stamps| if stamps.are_fresh() { Err(moved(&folder)) } else { Ok(stamps) };
        let stamps = fresh(Stamps::of(&folder)?)?;
        let Held { stamps: loaded, vectors, mark, .. } = indexes.get(&folder, stamps, shape, followed)?;
        // the load may have taken longer than a file stays as it is
        let stamps = fresh(Stamps::of(&folder)?)?;
        if stamps != loaded && !indexes.keeps(&folder, &loaded) {
            return Err(moved(&folder));
        }
        let (sequence, overlay) = (None, Arc::default());
        let (is_explained, is_marked, histories) = (false, false, OnceCell::new());
        Ok(Self {
            segments,
            folder,
            stamps,
            loaded,
            vectors,
            mark,
            is_explained,
            is_marked,
            shape,
            sequence,
            overlay,
            histories,
        })
    }

    /// Whether the files have changed since the index was loaded.
    #[must_use]
    pub fn is_old(&self) -> bool {
        self.stamps != self.loaded
    }

    /// Whether anything says how far the index has followed the log.
    #[must_use]
    pub const fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// Whether the index cannot answer for a record: it is older than the record's last change.
    #[must_use]
    pub fn is_before(&self, row: Option<i64>) -> bool {
        self.is_old() && !self.is_explained && row.is_none_or(|row| row > self.mark)
    }

    /// Whether this state can be used once more.
    #[must_use]
    pub fn is_current(&self, indexes: &Indexes) -> bool {
        self.check().is_ok() && (!self.is_old() || indexes.keeps(&self.folder, &self.loaded))
    }

    /// Leaves the index aside, for it is another collection's. `what`: a sentence without a subject.
    pub fn condemn(&mut self, what: String, indexes: &Indexes) {
        let wrong = Wrong { file: self.folder.clone(), what };
        self.vectors = Arc::new(Vectors::Broken { wrong, max_seq_id: self.vectors.max_seq_id() });
        self.sequence = None;
        indexes.replace(&self.folder, &self.loaded, &self.vectors);
    }

    /// Asks for a newer index than this one, which could not answer.
    pub fn outdate(&self, indexes: &Indexes) {
        indexes.outdate(&self.folder, &self.loaded);
    }

    /// Fails where the index's files are no longer as they were when this state was made.
    ///
    /// # Errors
    /// `Again` when they have changed.
    pub fn check(&self) -> Attempt<()> {
        if Stamps::of(&self.folder)? == self.stamps { Ok(()) } else { Err(moved(&self.folder)) }
    }

    /// Brings the overlay up to the transaction that `db` is in.
    ///
    /// # Errors
    /// `SQLite`'s, and those of the scratch space.
    pub fn refresh(
        &mut self,
        (catalog, known): (Catalog<'_>, &KnownRows),
        database: &Path,
        collection: &str,
        indexes: &Indexes,
    ) -> Attempt<()> {
        let sql = |e| failure(database, &e);
        let metadata = catalog.max_seq_id(&self.segments.metadata).map_err(sql)?.unwrap_or(0);
        // From 0.5 on the table is the truth, and the pickle's own number a leftover.
        let vector = catalog.max_seq_id(&self.segments.vector).map_err(sql)?;
        let vector = vector.or(self.vectors.max_seq_id());
        self.is_marked = vector.is_some();
        let vector = vector.unwrap_or(0);
        let now = Sequence { last: tables::last_entry(catalog.db, catalog.pages).map_err(sql)?, metadata, vector };
        if self.is_old() && vector < self.mark {
            // another store came into this one's place
            self.outdate(indexes);
            return Err(moved(&self.folder));
        }
        if self.sequence != Some(now) {
            self.is_explained = tables::is_never_purged(catalog.db, catalog.pages).map_err(sql)?;
            let beside = Beside { now, stamps: self.loaded, is_old: self.is_old() };
            let whole = Base::default();
            let walk = |base: &Base| {
                // a log that is purged may have lost what came after the base
                let base = if self.is_explained { base } else { &whole };
                self.walk((catalog, known), collection, now, base).map_err(|stop| stop.failure(database))
            };
            self.overlay = indexes.overlay(&self.folder, beside, walk)?;
            self.sequence = Some(now);
            self.histories = OnceCell::new();
            // an index that is just being kept may be behind its watermark for a moment
            if self.overlay.vectors.count > 0 && !self.stamps.are_settled() {
                self.sequence = None;
                return Err(moved(&self.folder));
            }
        }
        Ok(())
    }

    /// Walks through the log: each entry is held against its record's row and the index, whatever the watermarks say.
    fn walk(
        &self,
        (catalog, known): (Catalog<'_>, &KnownRows),
        collection: &str,
        now: Sequence,
        base: &Base,
    ) -> Result<(Overlay, Option<Base>), Stop> {
        let Catalog { db, pages } = catalog;
        let spans = known.spans.of(db, collection, base.settled)?;
        let (log, damage) = logged(catalog, collection, base.settled, &spans)?;
        let floor = if self.vectors.is_sound() { now.metadata.min(self.applied(now)).min(now.last) } else { 0 };
        let whole_log = base.settled == 0 && tables::is_never_purged(db, pages)?;
        let is_torn = !damage.is_empty();
        let known = |id: &str| Ok::<_, Stop>(Known { whole_log, is_torn, ..self.known(catalog, now, id)? });
        let (mut overlay, next) = log.replay(base, self.marks(now), floor, known)?;
        // in a log that is purged, later entries may come and go unseen: what was settled would then be out of date
        let next = next.filter(|_| damage.is_empty() && self.is_explained);
        overlay.damage = damage;
        self.tally_unlogged(db, now, is_torn, &mut overlay)?;
        Ok((overlay, next))
    }

    /// An old index is held against the log as it was when it was loaded.
    fn applied(&self, now: Sequence) -> i64 {
        if self.is_old() { self.mark } else { now.vector }
    }

    /// What tables and index hold of an id.
    fn known(&self, catalog: Catalog<'_>, now: Sequence, id: &str) -> Result<Known, Stop> {
        // without its segment nobody knows whether there was an index
        let synced = now.vector > 0 || self.segments.is_without_index();
        let row = match tables::row_seq_id(catalog.db, &self.segments.metadata, id) {
            Err(e) if is_corrupt(&e) => Err(()),
            row => Ok(row?),
        };
        let is_lost = match row {
            Err(()) => true,
            Ok(None) => self.segments.is_rowless || catalog.pages.is_missing("embeddings"),
            Ok(Some(_)) => false,
        };
        // of a row without a number the watermark tells as much as anything
        let row = row.unwrap_or(None).map(|last| last.unwrap_or(now.metadata));
        let indexed = if self.is_before(row) { None } else { self.vectors.holds(id, synced).map_err(Stop::Scratch)? };
        Ok(Known { row, indexed, is_lost, ..Known::default() })
    }

    fn marks(&self, now: Sequence) -> Watermarks {
        Watermarks { metadata: now.metadata, vector: self.applied(now) }
    }

    /// What the log alone tells of records whose row or whose values in the tables are lost.
    ///
    /// # Errors
    /// `SQLite`'s, and those of the scratch space.
    pub fn histories(&self, catalog: Catalog<'_>, database: &Path, collection: &str) -> Attempt<&Histories> {
        if let Some((_, known)) = self.histories.get().filter(|(of, _)| *of == self.sequence) {
            return Ok(known);
        }
        let made = self.told(catalog, collection).map_err(|stop| stop.failure(database))?;
        Ok(&self.histories.get_or_init(|| (self.sequence, made)).1)
    }

    fn told(&self, catalog: Catalog<'_>, collection: &str) -> Result<Histories, Stop> {
        // an old index was not loaded from what is there now
        let Some(now) = self.sequence.filter(|_| !self.is_old()) else { return Ok(Histories::default()) };
        let Catalog { db, pages } = catalog;
        let (log, damage) = logged(catalog, collection, 0, std::slice::from_ref(&(i64::MIN..=i64::MAX)))?;
        let whole_log = tables::is_never_purged(db, pages)?;
        let is_torn = !damage.is_empty();
        log.histories(self.marks(now), |id| {
            Ok::<_, Stop>(Known { whole_log, is_torn, ..self.known(catalog, now, id)? })
        })
    }

    /// Counts the records whose vector in the index may be older than their last change. Only where the log lacks the entry
    /// that the tables took last: all of them are in the log as long as the index has not taken them, unless a page of it is lost.
    fn tally_unlogged(&self, db: &Connection, now: Sequence, is_torn: bool, overlay: &mut Overlay) -> Result<(), Stop> {
        if now.metadata <= now.vector || !self.is_marked || !matches!(*self.vectors, Vectors::Index(_)) {
            return Ok(());
        }
        let walked = match unlogged::is_logged(db, now.metadata) {
            Ok(true) if !is_torn => return Ok(()),
            Ok(_) => unlogged::rows(db, &self.segments.metadata, now.vector, |id| {
                if self.vectors.holds(id, true).map_err(Stop::Scratch)? == Some(true) {
                    overlay.unlogged.add(id);
                }
                Ok(())
            }),
            Err(e) => Err(Stop::Sql(e)),
        };
        // a page that cannot be read is told elsewhere
        match walked {
            Err(Stop::Sql(e)) if is_corrupt(&e) => Ok(()),
            other => other,
        }
    }

    /// What is wrong with the index's files, if anything: a missing index counts from its first sync on.
    #[must_use]
    pub fn wrong(&self) -> Option<Wrong> {
        let synced = self.sequence.map_or(0, |s| s.vector);
        match &*self.vectors {
            Vectors::Nothing(missing) if synced > 0 => Some(Wrong {
                file: missing.clone(),
                what: format!("is missing, although the index has followed the log up to entry {synced}"),
            }),
            vectors => vectors.wrong().cloned(),
        }
    }
}

/// Entries that are named.
const NAMED: usize = 3;

/// A collection's entries in the log after `after`, and what of them cannot be read.
fn logged(
    Catalog { db, pages }: Catalog<'_>,
    collection: &str,
    after: i64,
    spans: &[Span],
) -> Result<(Log, Vec<String>), Stop> {
    let (mut log, mut damage) = (Log::default(), Vec::new());
    let lost = tables::entries(db, collection, after, spans, |entry| match entry {
        Ok(entry) => log.push(&entry).map_err(Stop::Scratch),
        Err(what) => {
            damage.push(what);
            damage.truncate(NAMED);
            Ok(())
        }
    })?;
    damage.extend(lost);
    if pages.is_log_turned() {
        damage.push("its entries do not stand in the order of their numbers, and some may be lost".to_owned());
    }
    Ok((log, damage))
}

/// Why the walk through the log ended early.
enum Stop {
    Sql(rusqlite::Error),
    Scratch(std::io::Error),
}

impl Stop {
    fn failure(self, database: &Path) -> Failure {
        match self {
            Self::Sql(e) => failure(database, &e),
            Self::Scratch(e) => Failure::Final(scratch::failed(e)),
        }
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Scratch(error)
    }
}

/// An unreadable record.
#[must_use]
pub fn unreadable(id: &str, why: impl Into<String>) -> Fetched {
    Fetched::Unreadable { id: id.to_owned(), why: why.into() }
}
