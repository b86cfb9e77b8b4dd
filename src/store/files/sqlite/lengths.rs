//! How long the vectors in the write-ahead log are. `SQLite` knows lengths without reading a vector.
//! Works inside the caller's transaction.

use std::collections::HashMap;

use rusqlite::{Connection, Result, params};

use super::connection::is_corrupt;

/// Entries at the log's end that are looked at.
const RECENT: i64 = 10_000;

/// The different lengths of a collection's vectors in the log, in bytes; three of them say enough, and none is known where a page cannot
/// be read.
///
/// # Errors
/// `SQLite`'s.
pub fn of_log(db: &Connection, collection: &str) -> Result<Vec<i64>> {
    let sql = "SELECT DISTINCT octet_length(vector) FROM embeddings_queue \
               WHERE vector IS NOT NULL AND substr(topic, -length(?1)) = ?1 LIMIT 3";
    let mut statement = db.prepare_cached(sql)?;
    let found: Result<Vec<i64>> = statement.query_map(params![format!("/{collection}")], |row| row.get(0))?.collect();
    found.or_else(|e| if is_corrupt(&e) { Ok(Vec::new()) } else { Err(e) })
}

/// How many bytes the last vector of each collection has that is near the log's end, by the collection's id; none where a page
/// cannot be read.
///
/// # Errors
/// `SQLite`'s.
pub fn recent(db: &Connection) -> Result<HashMap<String, i64>> {
    let sql = "SELECT topic, octet_length(vector) FROM embeddings_queue WHERE vector IS NOT NULL ORDER BY seq_id DESC LIMIT ?1";
    let mut found = HashMap::new();
    let mut walk = || -> Result<()> {
        let mut statement = db.prepare_cached(sql)?;
        let mut rows = statement.query([RECENT])?;
        while let Some(row) = rows.next()? {
            // a topic ends in the collection's id
            if let (Ok(topic), length) = (row.get_ref(0)?.as_str(), row.get(1)?) {
                let id = topic.rsplit('/').next().unwrap_or_default();
                if !found.contains_key(id) {
                    found.insert(id.to_owned(), length);
                }
            }
        }
        Ok(())
    };
    match walk() {
        Err(e) if !is_corrupt(&e) => Err(e),
        _ => Ok(found),
    }
}
