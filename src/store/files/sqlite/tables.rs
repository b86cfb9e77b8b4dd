//! The `SQLite` reads: each function is a few statements inside the caller's read transaction.
//! Never writes, and opens nothing but the connection it is asked for.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result, Row, params, params_from_iter};

use super::around::{Around, Pages, Query};
use super::connection::is_corrupt;
use super::spans::Span;
use super::values::{seq_id, text};
use crate::store::files::log::queue::{LogEntry, Operation};

/// Parameters of one statement: `SQLite` takes 32,766, and short statements keep the cache useful.
pub(super) const CHUNK: usize = 500;

/// Every table with its columns.
///
/// # Errors
/// `SQLite`'s.
pub fn tables(db: &Connection) -> Result<BTreeMap<String, BTreeSet<String>>> {
    // Full-text tables are virtual and need their module; none of their content is read.
    let sql = "SELECT m.name, p.name FROM sqlite_schema m, pragma_table_info(m.name) p \
               WHERE m.type = 'table' AND m.sql NOT LIKE 'CREATE VIRTUAL%'";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        tables.entry(row.get(0)?).or_default().insert(row.get(1)?);
    }
    Ok(tables)
}

/// The last `seq_id` of the whole log; 0 where it is empty.
///
/// # Errors
/// `SQLite`'s.
pub fn last_entry(db: &Connection, pages: &Pages) -> Result<i64> {
    let mut statement = db.prepare_cached("SELECT coalesce(max(seq_id), 0) FROM embeddings_queue")?;
    match statement.query_row([], |row| row.get(0)) {
        Err(e) if is_corrupt(&e) => {
            let query = Query { table: "embeddings_queue", sql: "SELECT seq_id, seq_id FROM embeddings_queue @" };
            let found: Around<i64> = query.rows(db, pages, [], |row| row.get(1))?;
            Ok(found.rows.into_iter().max().unwrap_or(0))
        }
        found => found,
    }
}

/// Calls `each` with every entry of the collection's log after `after`, which are in `spans`. In no particular order where a page
/// cannot be read: then the log is walked from both ends, and the answer says up to where. A topic ends in the collection's id.
///
/// # Errors
/// `SQLite`'s, and those of `each`. An unknown operation's code is handed to `each` as an error.
pub fn entries<E: From<rusqlite::Error>>(
    db: &Connection,
    collection: &str,
    after: i64,
    spans: &[Span],
    mut each: impl FnMut(std::result::Result<LogEntry, String>) -> std::result::Result<(), E>,
) -> std::result::Result<Option<String>, E> {
    let topic = format!("/{collection}");
    let mut walk = |order: &str, after: i64, until: i64| -> std::result::Result<(i64, Option<rusqlite::Error>), E> {
        let mut last = after;
        let sql = format!(
            "SELECT seq_id, operation, id, vector IS NOT NULL FROM embeddings_queue \
             WHERE seq_id > ?1 AND seq_id <= ?3 AND substr(topic, -length(?2)) = ?2 ORDER BY seq_id {order}"
        );
        let mut statement = db.prepare_cached(&sql)?;
        let mut rows = statement.query(params![after, topic, until])?;
        loop {
            match rows.next() {
                Ok(Some(row)) => {
                    last = row.get(0)?;
                    each(entry(row)?)?;
                }
                Ok(None) => return Ok((last, None)),
                Err(e) if is_corrupt(&e) => return Ok((last, Some(e))),
                Err(e) => return Err(e.into()),
            }
        }
    };
    for span in spans.iter().filter(|span| *span.end() > after) {
        let before = after.max(span.start().saturating_sub(1));
        if let (first, Some(error)) = walk("ASC", before, *span.end())? {
            let (last, _) = walk("DESC", first, i64::MAX)?;
            let what =
                format!("between the entries {first} and {last} of embeddings_queue a page cannot be read ({error})");
            return Ok(Some(what));
        }
    }
    Ok(None)
}

/// Whether no Chroma ever removed entries from the log: 0.4 never does, and newer ones not where their settings say so
/// (`embeddings_queue_config`, measured on 0.5.23 to 1.5.9). Where a store that had such settings has lost them, nobody knows.
///
/// # Errors
/// `SQLite`'s.
pub fn is_never_purged(db: &Connection, pages: &Pages) -> Result<bool> {
    let table = "SELECT 1 FROM sqlite_schema WHERE name = ?";
    if !db.prepare_cached(table)?.exists(["embeddings_queue_config"])? {
        // 0.5 and newer have this one, too
        return Ok(!db.prepare_cached(table)?.exists(["maintenance_log"])?);
    }
    let sql = "SELECT rowid, config_json_str FROM embeddings_queue_config @";
    let query = Query { table: "embeddings_queue_config", sql };
    let settings = query.rows(db, pages, [], |row| Ok(row.get_ref(1)?.as_str().ok().map(str::to_owned)))?;
    let purges =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).map(|s| s["automatically_purge"] != false);
    let rows = settings.rows;
    Ok(!rows.is_empty() && rows.iter().all(|s| s.as_deref().is_some_and(|s| purges(s).is_ok_and(|p| !p))))
}

fn entry(row: &Row<'_>) -> Result<std::result::Result<LogEntry, String>> {
    let (seq_id, code): (i64, i64) = (row.get(0)?, row.get(1)?);
    Ok(match (Operation::from_code(code), text(row, 2)?) {
        (Some(operation), Ok(id)) => Ok(LogEntry { seq_id, operation, id, has_vector: row.get(3)? }),
        (None, _) => Err(format!("entry {seq_id} of embeddings_queue has the unknown operation {code}")),
        (_, Err(why)) => Err(format!("entry {seq_id} of embeddings_queue has an id that {why}")),
    })
}

/// An entry's vector and its encoding; None where the entry is gone.
///
/// # Errors
/// `SQLite`'s.
pub fn entry_vector(db: &Connection, seq_id: i64) -> Result<Option<(Vec<u8>, Option<String>)>> {
    let mut statement = db.prepare_cached("SELECT vector, encoding FROM embeddings_queue WHERE seq_id = ?")?;
    let mut rows = statement.query([seq_id])?;
    rows.next()?.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
}

/// What an entry does; None where it is gone, or does what is not known.
///
/// # Errors
/// `SQLite`'s.
pub fn entry_kind(db: &Connection, seq_id: i64) -> Result<Option<Operation>> {
    let mut statement = db.prepare_cached("SELECT operation FROM embeddings_queue WHERE seq_id = ?")?;
    let mut rows = statement.query([seq_id])?;
    Ok(rows.next()?.map(|row| row.get(0)).transpose()?.and_then(Operation::from_code))
}

/// An entry's metadata document; None where it carries none.
///
/// # Errors
/// `SQLite`'s; inside, why the text cannot be read.
pub fn entry_metadata(db: &Connection, seq_id: i64) -> Result<std::result::Result<Option<String>, String>> {
    let mut statement = db.prepare_cached("SELECT metadata FROM embeddings_queue WHERE seq_id = ?")?;
    let mut rows = statement.query([seq_id])?;
    let Some(row) = rows.next()? else { return Ok(Err(format!("entry {seq_id} of embeddings_queue is gone"))) };
    if matches!(row.get_ref(0)?, ValueRef::Null) {
        return Ok(Ok(None));
    }
    Ok(text(row, 0)?.map(Some).map_err(|why| format!("its metadata in the log {why}")))
}

/// How many bytes the texts of an entry's metadata document have; 0 where it has none.
///
/// # Errors
/// `SQLite`'s.
pub fn entry_len(db: &Connection, seq_id: i64) -> Result<usize> {
    let sql = "SELECT coalesce(octet_length(metadata), 0) FROM embeddings_queue WHERE seq_id = ?";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([seq_id])?;
    Ok(rows.next()?.map_or(Ok(0), |row| row.get::<_, i64>(0))?.try_into().unwrap_or(usize::MAX))
}

/// How many bytes the texts of each of these records have, by their place among `ids`, which are sorted and distinct.
/// `SQLite` knows lengths without reading a text,
/// as long as it has nothing to sort.
///
/// # Errors
/// `SQLite`'s.
pub fn lengths(db: &Connection, segment: &str, ids: &[&str]) -> Result<Vec<usize>> {
    let mut lengths = vec![0; ids.len()];
    let sql = format!(
        "SELECT e.embedding_id, coalesce(octet_length(m.string_value), 0) FROM embeddings e \
         JOIN embedding_metadata m ON m.id = e.id WHERE e.segment_id = ? AND e.embedding_id IN ({})",
        placeholders()
    );
    let mut statement = db.prepare_cached(&sql)?;
    for (chunk, lengths) in ids.chunks(CHUNK).zip(lengths.chunks_mut(CHUNK)) {
        let padded = chunk.iter().map(|id| Some(*id)).chain(std::iter::repeat(None)).take(CHUNK);
        let mut rows = statement.query(params_from_iter(std::iter::once(Some(segment)).chain(padded)))?;
        while let Some(row) = rows.next()? {
            let ValueRef::Text(id) = row.get_ref(0)? else { continue };
            if let Ok(at) = chunk.binary_search_by(|wanted| wanted.as_bytes().cmp(id)) {
                let bytes: i64 = row.get(1)?;
                lengths[at] += usize::try_from(bytes).unwrap_or(0);
            }
        }
    }
    Ok(lengths)
}

/// Whether the database has a table.
///
/// # Errors
/// `SQLite`'s.
pub(super) fn has(db: &Connection, table: &str) -> Result<bool> {
    db.prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = ?")?.exists([table])
}

/// Whether a METADATA segment has a row.
///
/// # Errors
/// `SQLite`'s.
pub fn has_rows(db: &Connection, segment: &str) -> Result<bool> {
    db.prepare_cached("SELECT 1 FROM embeddings WHERE segment_id = ? LIMIT 1")?.exists([segment])
}

/// How many rows a METADATA segment has; of those that can be read.
///
/// # Errors
/// `SQLite`'s.
pub fn count(db: &Connection, pages: &Pages, segment: &str) -> Result<i64> {
    let mut statement = db.prepare_cached("SELECT count(*) FROM embeddings WHERE segment_id = ?")?;
    match statement.query_row([segment], |row| row.get(0)) {
        Err(e) if is_corrupt(&e) => {
            let query = Query { table: "embeddings", sql: "SELECT id FROM embeddings @ WHERE segment_id = ?1" };
            let found = query.rows(db, pages, [segment], |_| Ok(()))?;
            Ok(i64::try_from(found.rows.len()).unwrap_or(i64::MAX))
        }
        found => found,
    }
}

/// The `seq_id` of an id's row, if that is a number; None where a METADATA segment has no such row.
///
/// # Errors
/// `SQLite`'s.
#[allow(clippy::option_option)]
pub fn row_seq_id(db: &Connection, segment: &str, id: &str) -> Result<Option<Option<i64>>> {
    let sql = "SELECT seq_id FROM embeddings WHERE segment_id = ? AND embedding_id = ?";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([segment, id])?;
    rows.next()?.map(|row| seq_id(row, 0)).transpose()
}

/// A row of the table `embeddings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddingRow {
    /// Its number, by which the metadata tables refer to it.
    pub number: i64,
    /// The record's last applied change; None for what is no number.
    pub seq_id: Option<i64>,
}

/// How rows are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By the index on ids.
    Index,
    /// By a walk through the whole table: slow.
    Table,
}

/// The row of each of these ids, which are sorted and distinct; None for an id without one.
///
/// # Errors
/// `SQLite`'s.
pub fn places(db: &Connection, segment: &str, ids: &[&str], by: By) -> Result<Vec<Option<EmbeddingRow>>> {
    let mut places = vec![None; ids.len()];
    let sql = format!(
        "SELECT embedding_id, id, seq_id FROM embeddings {} WHERE segment_id = ? AND embedding_id IN ({})",
        if by == By::Table { "NOT INDEXED" } else { "" },
        placeholders()
    );
    let mut statement = db.prepare_cached(&sql)?;
    for (chunk, places) in ids.chunks(CHUNK).zip(places.chunks_mut(CHUNK)) {
        let padded = chunk.iter().map(|id| Some(*id)).chain(std::iter::repeat(None)).take(CHUNK);
        let mut rows = statement.query(params_from_iter(std::iter::once(Some(segment)).chain(padded)))?;
        let mut next = 0;
        while let Some(row) = rows.next()? {
            let ValueRef::Text(id) = row.get_ref(0)? else { continue };
            // rows mostly come in the order of the ids
            let is_next = chunk.get(next).is_some_and(|wanted| wanted.as_bytes() == id);
            let at = if is_next { Ok(next) } else { chunk.binary_search_by(|wanted| wanted.as_bytes().cmp(id)) };
            if let Ok(at) = at {
                places[at] = Some(EmbeddingRow { number: row.get(1)?, seq_id: seq_id(row, 2)? });
                next = at + 1;
            }
        }
    }
    Ok(places)
}

/// The row of this number, if it is this id's.
///
/// # Errors
/// `SQLite`'s.
pub fn place_at(db: &Connection, segment: &str, id: &str, number: i64) -> Result<Option<EmbeddingRow>> {
    let sql = "SELECT seq_id FROM embeddings NOT INDEXED WHERE id = ? AND segment_id = ? AND embedding_id = ?";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![number, segment, id])?;
    rows.next()?.map(|row| Ok(EmbeddingRow { number, seq_id: seq_id(row, 0)? })).transpose()
}

/// As many placeholders as [`CHUNK`] takes; the last chunk is padded with nulls, which match nothing.
pub(super) fn placeholders() -> String {
    let mut list = "?,".repeat(CHUNK);
    list.pop();
    list
}
