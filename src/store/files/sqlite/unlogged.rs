//! Changes that only the tables have: their entries left the log before the index took them, as when somebody empties it.
//! Chroma purges an entry only after both have it (measured on 0.5.23 to 1.5.9; 0.4 purges none), so a sound store has none.

use rusqlite::{Connection, OptionalExtension as _, Result};

use super::connection::is_corrupt;
use super::values::seq_id;

/// Whether the log still has the entry with this number; of one on a page that cannot be read it has nothing.
///
/// # Errors
/// `SQLite`'s.
pub fn is_logged(db: &Connection, entry: i64) -> Result<bool> {
    let mut statement = db.prepare_cached("SELECT 1 FROM embeddings_queue WHERE seq_id = ?")?;
    let found = statement.query_row([entry], |_| Ok(())).optional().map(|found| found.is_some());
    found.or_else(|e| if is_corrupt(&e) { Ok(false) } else { Err(e) })
}

/// Gives the id of each row of a METADATA segment whose last change is later than the entry `after`, and not in the log.
///
/// # Errors
/// `SQLite`'s, and those of `each`.
pub fn rows<E: From<rusqlite::Error>>(
    db: &Connection,
    segment: &str,
    after: i64,
    mut each: impl FnMut(&str) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut statement = db.prepare_cached("SELECT embedding_id, seq_id FROM embeddings WHERE segment_id = ?")?;
    let mut rows = statement.query([segment])?;
    while let Some(row) = rows.next()? {
        let Some(last) = seq_id(row, 1)?.filter(|last| *last > after) else { continue };
        if !is_logged(db, last)? {
            each(&row.get::<_, String>(0)?)?;
        }
    }
    Ok(())
}
