//! What tells whose an index is: the records that a segment had when its index was written, and the other segments.
//! Works inside the caller's transaction.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result, params};

use super::values::{seq_id, shown};

/// Ids of at most so many rows of a METADATA segment whose last change is not later than `mark`.
///
/// # Errors
/// `SQLite`'s.
pub fn applied(db: &Connection, segment: &str, mark: i64, most: usize) -> Result<Vec<String>> {
    let mut statement = db.prepare_cached("SELECT embedding_id, seq_id FROM embeddings WHERE segment_id = ?")?;
    let mut rows = statement.query([segment])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()?
        && found.len() < most
    {
        if let (ValueRef::Text(id), Some(last)) = (row.get_ref(0)?, seq_id(row, 1)?)
            && last <= mark
        {
            found.push(String::from_utf8_lossy(id).into_owned());
        }
    }
    Ok(found)
}

/// The METADATA segments of all other collections, each with the collection's name.
///
/// # Errors
/// `SQLite`'s.
pub fn others(db: &Connection, segment: &str) -> Result<Vec<(String, String)>> {
    let sql = "SELECT s.id, c.name FROM segments s JOIN collections c ON c.id = s.collection \
               WHERE s.scope = 'METADATA' AND s.id <> ?1";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![segment])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((shown(row, 0)?.0, shown(row, 1)?.0));
    }
    Ok(found)
}

/// The name of a collection.
///
/// # Errors
/// `SQLite`'s.
pub fn name(db: &Connection, collection: &str) -> Result<Option<String>> {
    let mut statement = db.prepare_cached("SELECT name FROM collections WHERE id = ?1")?;
    let mut rows = statement.query(params![collection])?;
    rows.next()?.map(|row| Ok(shown(row, 0)?.0)).transpose()
}

/// The id of the collection of which an entry of the log is.
///
/// # Errors
/// `SQLite`'s.
pub fn logged(db: &Connection, entry: i64) -> Result<Option<String>> {
    let mut statement = db.prepare_cached("SELECT topic FROM embeddings_queue WHERE seq_id = ?1")?;
    let mut rows = statement.query(params![entry])?;
    let topic = rows.next()?.map(|row| shown(row, 0)).transpose()?;
    Ok(topic.and_then(|(topic, _)| topic.rsplit_once('/').map(|(_, id)| id.to_owned())))
}
