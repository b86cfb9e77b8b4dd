//! What a container of a pod knows of a fill by files that another one of its pod does: before it, and after it. Writes nothing
//! but that a filled store is no longer an unfinished one.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::filling::{self, NOT_FILLED};
use super::{Folder, passed};
use crate::engine::handover::{Filled, Word};
use crate::fill::place::Place;
use crate::model::Result;
use crate::scratch;
use crate::store::Finding;

/// The fill of another container.
pub(super) struct Elsewhere {
    place: Option<Place>,
    is_left: bool,
    /// What there is to go on with.
    filled: Option<Filled>,
    message: String,
    /// Collections whose index was built.
    indexed: AtomicUsize,
}

impl Elsewhere {
    /// Before the target's server runs. `migration`: which one this is.
    pub(super) fn before(folder: &Folder, migration: &str) -> Result<Self> {
        filling::refuse_in_the_way(&folder.path)?;
        let is_left = filling::is_left(&folder.path, migration, true)?;
        let message = match problem(&folder.path)?.filter(|_| !is_left) {
            Some(why) => format!("{NOT_FILLED}: {why}"),
            None => {
                "this program writes the records and the indexes into the files of the new store, if its Chroma is one \
                     whose files it knows"
                    .to_owned()
            }
        };
        Self::new(folder, is_left, None, message)
    }

    /// Beside the target's server. `handover`: where the container before has left word.
    pub(super) fn after(folder: &Folder, migration: &str, handover: Option<&Path>) -> Result<Self> {
        let word = handover.map(Word::read).transpose().map_err(scratch::failed)?.flatten();
        let is_left = filling::is_left(&folder.path, migration, false)?;
        let (filled, message) = match word {
            Some(Word::Filled(filled)) if is_left => {
                (Some(filled), "this program wrote the records into the files of the new store".to_owned())
            }
            Some(Word::Filled(_)) => {
                (None, format!("{NOT_FILLED}: this run had filled them, and the store was changed since"))
            }
            Some(Word::Not(why)) => (None, why),
            None => {
                let why =
                    problem(&folder.path)?.unwrap_or_else(|| "no container of this pod has filled them".to_owned());
                (None, format!("{NOT_FILLED}: {why}"))
            }
        };
        if filled.is_none() {
            tracing::warn!("{message}");
        }
        Self::new(folder, is_left && filled.is_some(), filled, message)
    }

    fn new(folder: &Folder, is_left: bool, filled: Option<Filled>, message: String) -> Result<Self> {
        let place = Place::of(&folder.path)?;
        Ok(Self { place, is_left, filled, message, indexed: AtomicUsize::new(0) })
    }

    /// Whether what stands at the target is nothing but what this migration has filled.
    pub(super) const fn is_left(&self) -> bool {
        self.is_left
    }

    pub(super) const fn filled(&self) -> Option<&Filled> {
        self.filled.as_ref()
    }

    pub(super) fn finding(&self) -> Finding {
        passed(filling::CHECK, self.message.clone())
    }

    /// The index of one more collection was built.
    pub(super) fn indexed(&self) {
        self.indexed.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there is a mark to take away: the server has all indexes, and builds none that its end could cut short.
    pub(super) fn is_whole(&self) -> bool {
        let Some(filled) = &self.filled else { return false };
        let with_records = filled.collections.iter().filter(|handed| handed.dimension > 0).count();
        self.indexed.load(Ordering::Relaxed) == with_records
    }

    /// Takes the mark away.
    pub(super) fn settle(&self) -> Result<()> {
        self.place.as_ref().map_or(Ok(()), Place::unmark)
    }
}

fn problem(path: &Path) -> Result<Option<String>> {
    match Place::of(path)? {
        // the claim may be mounted read-only here, and not where it is filled
        Some(place) => place.occupied(),
        None => Ok(Some("the target is the root of the file system".to_owned())),
    }
}
