//! The four files of an HNSW folder, and which state of them was seen.
//! Reads none of them.

use std::fmt;
use std::path::Path;

use crate::model::Error;
use crate::store::files::system::{self, Stamp};

/// Ids and labels.
pub const PICKLE: &str = "index_metadata.pickle";
/// Numbers and sizes.
pub const HEADER: &str = "header.bin";
/// Rows.
pub const DATA: &str = "data_level0.bin";
/// Norms.
pub const LENGTHS: &str = "length.bin";
/// Links above the lowest level, which no reader of records needs.
pub const LINKS: &str = "link_lists.bin";

/// The stamps of the four files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps([Option<Stamp>; 4]);

impl fmt::Display for Stamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|stamp| match stamp {
            Some(stamp) => write!(f, "{stamp} "),
            None => f.write_str("- "),
        })
    }
}

impl Stamps {
    /// Looks at the folder.
    ///
    /// # Errors
    /// When the system refuses to say.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        // what is no file has no state to be seen: whoever opens it says what it is
        let stamp = |name| match system::stamp(&folder.join(name)) {
            Err(Error::Io { source, .. }) if system::flaw(&source).is_some() => Ok(None),
            stamp => stamp,
        };
        Ok(Self([stamp(HEADER)?, stamp(DATA)?, stamp(LENGTHS)?, stamp(PICKLE)?]))
    }

    /// Whether the rows are in the same file, changed or not.
    #[must_use]
    pub fn is_same_data(&self, other: &Self) -> bool {
        let [_, ours, ..] = &self.0;
        let [_, theirs, ..] = &other.0;
        ours.as_ref().zip(theirs.as_ref()).is_some_and(|(ours, theirs)| ours.is_same_file(theirs))
    }

    /// Whether a file has changed so recently that it may be changing still.
    #[must_use]
    pub fn are_fresh(&self) -> bool {
        self.0.iter().flatten().any(Stamp::is_fresh)
    }

    /// Whether nobody has written a file for a while.
    #[must_use]
    pub fn are_settled(&self) -> bool {
        self.0.iter().flatten().all(Stamp::is_settled)
    }
}
