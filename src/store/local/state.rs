//! What is known of one collection between two windows: its index, the tail of its log, and the generation both are of.
//! Reads through the caller's transaction; decides nothing about retries.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::super::error::Error;
use super::super::record::Fetched;
use super::super::spill;
use super::files::{Attempt, Failure};
use super::index::{Stamps, Vectors};
use super::queue::Overlay;
use super::scratch::failure;
use super::tables;

/// A collection's two segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    /// The segment whose rows are in `embeddings`.
    pub metadata: String,
    /// The segment whose folder holds the index.
    pub vector: String,
}

/// How far each part has followed the log. Any change to the collection changes one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The whole log's last entry.
    pub last: i64,
    /// What the tables have applied.
    pub metadata: i64,
    /// What the index has applied.
    pub vector: i64,
}

/// How an index is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Components of a vector, if the collection says.
    pub dimension: Option<u32>,
    /// Whether norms are needed.
    pub cosine: bool,
}

/// The indexes that all connections to one store use, by folder: whoever comes first loads one, the others wait for it.
#[derive(Debug, Default)]
pub struct Indexes(Mutex<HashMap<PathBuf, Loaded>>);

/// An index, and what it was loaded from.
#[derive(Debug)]
struct Loaded {
    stamps: Stamps,
    shape: Shape,
    vectors: Arc<Vectors>,
}

/// Collections whose index and state are kept in memory.
pub const KEPT: usize = 2;

impl Indexes {
    /// The index of a folder as these stamps are of; loaded unless it is known.
    fn get(&self, folder: &Path, stamps: Stamps, shape: Shape) -> Attempt<Arc<Vectors>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = known.get(folder).filter(|loaded| loaded.stamps == stamps && loaded.shape == shape) {
            return Ok(Arc::clone(&loaded.vectors));
        }
        known.remove(folder);
        let vectors = Vectors::load(folder, shape.dimension, shape.cosine);
        let torn = matches!(vectors, Err(_) | Ok(Vectors::Broken { .. })) && !stamps.are_settled();
        if torn || Stamps::of(folder)? != stamps {
            return Err(moved(folder));
        }
        let vectors = Arc::new(vectors?);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(folder.to_owned(), Loaded { stamps, shape, vectors: Arc::clone(&vectors) });
        Ok(vectors)
    }
}

/// One collection's index and log tail.
#[derive(Debug)]
pub struct State {
    /// Its segments.
    pub segments: Segments,
    /// The index's folder.
    pub folder: PathBuf,
    /// The files that the index was loaded from.
    pub stamps: Stamps,
    /// The index, which other connections to the store use too.
    pub vectors: Arc<Vectors>,
    /// How far the overlay goes; None before the first look.
    pub sequence: Option<Sequence>,
    /// The log's tail.
    pub overlay: Overlay,
}

impl State {
    /// The segments of a collection.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a collection that is gone; [`Error::Damaged`] for one without its two segments.
    pub fn segments(db: &Connection, database: &Path, collection: &str, name: &str) -> Attempt<Segments> {
        let sql = |e| failure(database, &e);
        if !tables::collection_exists(db, collection).map_err(sql)? {
            return Err(Failure::Final(Error::NotFound {
                store: database.display().to_string(),
                what: format!("collection {name:?} ({collection})"),
                remedy: "it was deleted; list the collections again".to_owned(),
            }));
        }
        let found = tables::segments(db, collection).map_err(sql)?;
        let one = |scope: &str| {
            let mut ids = found.iter().filter(|(_, s)| s == scope).map(|(id, _)| id.clone());
            ids.next().filter(|_| ids.next().is_none())
        };
        match (one("METADATA"), one("VECTOR")) {
            (Some(metadata), Some(vector)) if is_name(&vector) => Ok(Segments { metadata, vector }),
            _ => Err(Failure::Final(Error::Damaged {
                file: database.to_owned(),
                what: format!(
                    "collection {name:?} has the segments {found:?} where one METADATA and one VECTOR belong"
                ),
                readable: "the other collections can be read".to_owned(),
            })),
        }
    }

    /// Loads the index from its folder, outside any transaction: it can take seconds.
    ///
    /// # Errors
    /// `Again` when a file changes meanwhile.
    pub fn load(store: &Path, segments: Segments, shape: Shape, indexes: &Indexes) -> Attempt<Self> {
        let folder = store.join(&segments.vector);
        let stamps = Stamps::of(&folder)?;
        if stamps.are_fresh() {
            return Err(moved(&folder));
        }
        let vectors = indexes.get(&folder, stamps, shape)?;
        Ok(Self { segments, folder, stamps, vectors, sequence: None, overlay: Overlay::default() })
    }

    /// Fails where the index's files are no longer those that were loaded.
    ///
    /// # Errors
    /// `Again` when they have changed.
    pub fn check(&self) -> Attempt<()> {
        if Stamps::of(&self.folder)? == self.stamps { Ok(()) } else { Err(moved(&self.folder)) }
    }

    /// Brings the overlay up to the transaction that `db` is in.
    ///
    /// # Errors
    /// `SQLite`'s, and [`Error::Damaged`] for an entry that is none of Chroma's.
    pub fn refresh(&mut self, db: &Connection, database: &Path, collection: &str) -> Attempt<()> {
        let sql = |e| failure(database, &e);
        let metadata = tables::max_seq_id(db, &self.segments.metadata).map_err(sql)?.unwrap_or(0);
        // From 0.5 on the table is the truth, and the pickle's own number a leftover.
        let vector = tables::max_seq_id(db, &self.segments.vector).map_err(sql)?;
        let vector = vector.or(self.vectors.max_seq_id()).unwrap_or(0);
        let now = Sequence { last: tables::last_entry(db).map_err(sql)?, metadata, vector };
        if self.sequence == Some(now) {
            return Ok(());
        }
        let mut overlay = Overlay::default();
        let (vectors, segment) = (&self.vectors, &self.segments.metadata);
        tables::entries(db, collection, metadata.min(vector), |entry| {
            let entry = entry.map_err(Stop::Damage)?;
            if entry.seq_id > vector {
                overlay.vector(&entry, |id| vectors.holds(id).map_err(Stop::Scratch))?;
            }
            if entry.seq_id > metadata {
                overlay.change(&entry, |id| tables::has_row(db, segment, id))?;
            }
            Ok(())
        })
        .map_err(|stop: Stop| match stop {
            Stop::Sql(e) => failure(database, &e),
            Stop::Scratch(e) => Failure::Final(spill::failed(e)),
            Stop::Damage(what) => Failure::Final(Error::Damaged {
                file: database.to_owned(),
                what,
                readable: "what was applied before that entry can be read by a Chroma of that store's version"
                    .to_owned(),
            }),
        })?;
        self.overlay = overlay;
        self.sequence = Some(now);
        Ok(())
    }

    /// The error for records whose vectors only a broken index has; None where the index is sound.
    #[must_use]
    pub fn damage(&self) -> Option<Error> {
        let sequence = self.sequence.map_or(0, |s| s.vector);
        match &*self.vectors {
            Vectors::Index(_) => None,
            Vectors::Nothing if sequence <= 0 => None,
            Vectors::Nothing => Some(Error::Damaged {
                file: self.folder.join("index_metadata.pickle"),
                what: format!("it is missing although the index has followed the log up to {sequence}"),
                readable: READABLE.to_owned(),
            }),
            Vectors::Broken { file, what, .. } => {
                Some(Error::Damaged { file: file.clone(), what: what.clone(), readable: READABLE.to_owned() })
            }
        }
    }

    /// Whether the id's vector would have to come from an index that is broken.
    #[must_use]
    pub fn is_lost(&self, id: &str) -> bool {
        match &*self.vectors {
            Vectors::Index(_) => false,
            // Without the ids of the index nobody knows which entries of the log were applied.
            Vectors::Broken { labels: None, .. } => true,
            Vectors::Nothing | Vectors::Broken { .. } => self.overlay.vector_of(id).is_none(),
        }
    }
}

const READABLE: &str = "ids, documents and metadata can be read, and the vectors that are still in the write-ahead log; \
                        restore the folder from a backup, or embed the documents again";

/// Why the walk through the log ended early.
enum Stop {
    Sql(rusqlite::Error),
    Scratch(std::io::Error),
    Damage(String),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// A segment's id becomes a path: anything but a plain name could lead out of the store.
fn is_name(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The files of an index are being written.
#[must_use]
pub fn moved(folder: &Path) -> Failure {
    Failure::Again(Error::Unavailable {
        store: format!("local store {}", folder.display()),
        attempt: "a read of its HNSW files".to_owned(),
        why: "they changed each time they were read; try again when its server writes less".to_owned(),
    })
}

/// An unreadable record.
#[must_use]
pub fn unreadable(id: &str, why: impl Into<String>) -> Fetched {
    Fetched::Unreadable { id: id.to_owned(), why: why.into() }
}
