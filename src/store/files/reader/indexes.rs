//! The indexes that all connections to one store share: each is loaded once, and kept while its server goes on.
//! Knows which state of the files an index is of; reads no table.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::Error;
use crate::store::files::index::stamps::Stamps;
use crate::store::files::index::taken::Taken;
use crate::store::files::index::{Shape, Vectors};
use crate::store::files::log::overlay::{Base, Overlay};
use crate::store::files::system::{Attempt, Failure};

/// How far each part has followed the log. Any change to the collection changes one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The whole log's last entry.
    pub last: i64,
    /// What the tables have applied, by their own word.
    pub metadata: i64,
    /// What the index has applied, by its own word.
    pub vector: i64,
}

/// Whether an index may be used although its files have changed since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Never: what reads a target has to see what is lost from its files.
    #[default]
    Never,
    /// For records that have not changed since: a source whose server writes faster than its index loads is read so.
    WhileItsServerWrites,
}

/// By folder: whoever comes first loads an index, the others wait for it.
#[derive(Debug, Default)]
pub struct Indexes {
    keep: Keep,
    loaded: Mutex<HashMap<PathBuf, Loaded>>,
    /// What the first walk through a collection's log left for later ones.
    bases: Mutex<HashMap<PathBuf, Base>>,
}

/// An index, and the state of the files that it was loaded from.
#[derive(Clone, Debug)]
pub struct Held {
    /// The files.
    pub stamps: Stamps,
    /// What they hold.
    pub vectors: Arc<Vectors>,
    /// How far the files had followed the log, by the word of tables or pickle before they were looked at. Chroma 0.4 to 0.6
    /// writes the index before that number (by its source); 1.x does, as far as a server that syncs all the time shows.
    pub mark: i64,
    /// How far the store was when the files were looked at.
    at: i64,
}

/// How far a collection's index has followed the log, asked before its files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// By the word of the tables, if they say it: 0.4 says it in the pickle only.
    pub mark: Option<i64>,
    /// The whole log's last entry.
    pub last: i64,
}

impl Followed {
    /// A number that rises with each sync of the index, or before it.
    fn at(self) -> i64 {
        self.mark.unwrap_or(self.last)
    }
}

#[derive(Debug)]
struct Loaded {
    held: Held,
    shape: Shape,
    /// A record was asked for that changed after this index was loaded.
    is_outdated: bool,
    /// What the log does beside it, and what that is of.
    overlay: Option<(Beside, Arc<Overlay>)>,
}

/// What an overlay is of: how far the store is, and the index beside which the log was walked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beside {
    /// How far the store is.
    pub now: Sequence,
    /// The index's files.
    pub stamps: Stamps,
    /// Whether they have changed since.
    pub is_old: bool,
}

/// Collections whose index and state are kept in memory.
pub const KEPT: usize = 2;

impl Loaded {
    /// Whether this index can be used although its files have changed: that ids get other rows only with a change that the
    /// tables number was seen with servers of five versions that sync all the time. Each row is checked again when it is read.
    /// Files that changed while the store says of no sync were changed by somebody else: they are read anew.
    fn serves(&self, stamps: &Stamps, followed: Followed, keep: Keep) -> bool {
        self.held.stamps == *stamps
            || (keep == Keep::WhileItsServerWrites
                && !self.is_outdated
                && self.held.vectors.is_sound()
                && self.held.stamps.is_same_data(stamps)
                && followed.at() > self.held.at)
    }
}

impl Indexes {
    /// None are loaded.
    #[must_use]
    pub fn new(keep: Keep) -> Self {
        Self { keep, ..Self::default() }
    }

    /// The index of a folder as these stamps are of, or an older one that may answer for records that have not changed
    /// since, where such a one is kept; loaded unless it is known.
    ///
    /// # Errors
    /// `Again` when the files change in a way that spoils what was read.
    pub fn get(&self, folder: &Path, stamps: Stamps, shape: Shape, followed: Followed) -> Attempt<Held> {
        let mut known = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let serves = |loaded: &&Loaded| loaded.shape == shape && loaded.serves(&stamps, followed, self.keep);
        if let Some(loaded) = known.get(folder).filter(serves) {
            return Ok(loaded.held.clone());
        }
        known.remove(folder);
        let taken = Taken::of(folder);
        if Stamps::of(folder)? != stamps {
            return Err(moved(folder));
        }
        let vectors = taken.and_then(|taken| Vectors::load(taken, shape));
        let torn = vectors.as_ref().map_or(true, |vectors| vectors.wrong().is_some()) && !stamps.are_settled();
        let now = Stamps::of(folder)?;
        // rows that were added or changed meanwhile are asked for elsewhere: their records have a later number
        let grown = self.keep == Keep::WhileItsServerWrites
            && vectors.as_ref().is_ok_and(Vectors::is_sound)
            && stamps.is_same_data(&now);
        if torn || (now != stamps && !grown) {
            return Err(moved(folder));
        }
        let vectors = Arc::new(vectors?);
        if known.len() >= KEPT {
            known.clear();
        }
        let mark = followed.mark.or(vectors.max_seq_id()).unwrap_or(0);
        let held = Held { stamps, vectors, mark, at: followed.at() };
        known.insert(folder.to_owned(), Loaded { held: held.clone(), shape, is_outdated: false, overlay: None });
        Ok(held)
    }

    /// Says that the index with these stamps, and what was known of the log beside it, could not answer: a newer one is loaded
    /// once its files have changed, and the log is walked through again.
    pub fn outdate(&self, folder: &Path, stamps: &Stamps) {
        let mut known = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = known.get_mut(folder).filter(|loaded| loaded.held.stamps == *stamps) {
            (loaded.is_outdated, loaded.overlay) = (true, None);
            self.bases.lock().unwrap_or_else(PoisonError::into_inner).remove(folder);
        }
    }

    /// Puts another look at an index in its place: what the log does beside the first one is forgotten.
    pub fn replace(&self, folder: &Path, stamps: &Stamps, vectors: &Arc<Vectors>) {
        let mut known = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = known.get_mut(folder).filter(|loaded| loaded.held.stamps == *stamps) {
            (loaded.held.vectors, loaded.overlay) = (Arc::clone(vectors), None);
            self.bases.lock().unwrap_or_else(PoisonError::into_inner).remove(folder);
        }
    }

    /// Whether they are read to be copied.
    #[must_use]
    pub fn are_of_a_source(&self) -> bool {
        self.keep == Keep::WhileItsServerWrites
    }

    /// Forgets all that was known, also of the log.
    pub fn forget(&self) {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.bases.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether the index with these stamps may still be used although its files have changed.
    #[must_use]
    pub fn keeps(&self, folder: &Path, stamps: &Stamps) -> bool {
        let known = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        self.keep == Keep::WhileItsServerWrites
            && known.get(folder).is_some_and(|loaded| loaded.held.stamps == *stamps && !loaded.is_outdated)
    }

    /// What the log does at this moment beside the index of a folder; walked through unless it is known.
    ///
    /// # Errors
    /// Those of the walk.
    pub fn overlay(
        &self,
        folder: &Path,
        beside: Beside,
        walk: impl FnOnce(&Base) -> Attempt<(Overlay, Option<Base>)>,
    ) -> Attempt<Arc<Overlay>> {
        let mut known = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let mut loaded = known.get_mut(folder).filter(|loaded| loaded.held.stamps == beside.stamps);
        if let Some((_, overlay)) = loaded.as_ref().and_then(|l| l.overlay.as_ref()).filter(|(of, _)| *of == beside) {
            return Ok(Arc::clone(overlay));
        }
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        // what a sound index had applied stays applied; of a damaged one nobody knows
        if loaded.as_ref().is_some_and(|loaded| !loaded.held.vectors.is_sound()) {
            bases.remove(folder);
        }
        let (overlay, base) = walk(bases.get(folder).unwrap_or(&Base::default()))?;
        let overlay = Arc::new(overlay);
        if let Some(loaded) = &mut loaded {
            loaded.overlay = Some((beside, Arc::clone(&overlay)));
            if let Some(base) = base {
                bases.insert(folder.to_owned(), base);
            }
        }
        Ok(overlay)
    }
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
