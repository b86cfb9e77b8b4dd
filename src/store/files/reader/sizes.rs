//! How large records are before they are read, so that a window is cut by bytes. Works inside the caller's transaction, and
//! reads no content.

use std::path::Path;

use rusqlite::Connection;

use super::state::State;
use crate::model::{Collection, Error};
use crate::scratch;
use crate::store::Budget;
use crate::store::files::sqlite::connection::{failure, is_corrupt};
use crate::store::files::sqlite::tables;
use crate::store::files::system::{Attempt, Failure};

/// Records that are read at once where a page with their lengths cannot be read.
const UNKNOWN: usize = 8;

/// How many of these records, which are sorted and distinct, a budget has place for, from the first on.
///
/// # Errors
/// `SQLite`'s, those of the scratch space, and [`Error::TooLarge`].
pub fn fitting(
    db: &Connection,
    file: &Path,
    (state, collection): (&State, &Collection),
    ids: &[String],
    budget: Budget,
) -> Attempt<usize> {
    let vector = (state.shape.dimension.unwrap_or(0) as usize).saturating_mul(size_of::<f32>());
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let lengths = match tables::lengths(db, &state.segments.metadata, &names) {
        Err(e) if is_corrupt(&e) => return Ok(ids.len().min(UNKNOWN)),
        lengths => lengths.map_err(|e| failure(file, &e))?,
    };
    let mut held = 0_usize;
    for (n, (id, length)) in ids.iter().zip(lengths).enumerate() {
        held = held.saturating_add(length).saturating_add(vector + id.len());
        for seq_id in state.overlay.of(id).map_err(scratch::failed)?.changes.iter().flat_map(|c| &c.entries) {
            let length = tables::entry_len(db, *seq_id).or_else(|e| if is_corrupt(&e) { Ok(0) } else { Err(e) });
            held = held.saturating_add(length.map_err(|e| failure(file, &e))?);
        }
        if held > budget.bytes && (n > 0 || !budget.first) {
            return Ok(n);
        }
        if n == 0 && held > budget.most {
            let store = format!("local store {}", file.parent().unwrap_or(file).display());
            let (collection, id) = (collection.name.clone(), id.clone());
            return Err(Failure::Final(Error::TooLarge { store, collection, id, most: budget.most }));
        }
    }
    Ok(ids.len())
}
