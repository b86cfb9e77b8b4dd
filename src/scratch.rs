//! Lists that may be larger than memory: sorted, looked up and changed in scratch files once they pass a bound.
//! Scratch files are nameless (gone when closed, also after a kill) and lie in the folder that `TMPDIR` names.

pub mod column;
pub mod ids;
pub mod sorter;
pub mod spool;
pub mod table;

pub use column::Column;
pub use ids::{IdList, Ids, Join, Side, SortedIds};
pub use sorter::{Merge, Sorter};
pub use spool::Spool;
pub use table::{Builder, Entries, Table};

use crate::model::Error;

/// Bytes of unsorted entries that are held before they go to a file: few enough for several lists at once, enough that
/// the runs of ten million ids are merged in two passes.
pub const SORT_BYTES: usize = 1 << 20;
/// Bytes of a sorted list, or of the pages of a column, that are held.
pub const HELD_BYTES: usize = 256 << 10;

/// A nameless file in the scratch folder.
fn file() -> std::io::Result<std::fs::File> {
    #[cfg(feature = "faults")]
    crate::faults::io("scratch.make")?;
    tempfile::tempfile()
}

/// The error of a store whose scratch space failed.
#[must_use]
pub fn failed(source: std::io::Error) -> Error {
    Error::Io {
        attempt: "keep lists in the scratch folder (free space there, or name another folder in TMPDIR)",
        path: std::env::temp_dir(),
        source,
    }
}
