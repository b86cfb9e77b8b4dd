//! Rows that lead nowhere: records of no segment, values of no record, and entries of the log of no collection. For a store that nothing has open.
//! Works inside the caller's transaction.
//!
//! What Chroma leaves behind is none of them (measured on 0.4.24, 0.5.23, 0.6.3, 1.0.20 and 1.5.9): a collection that 0.5 and 0.6
//! delete leaves its records, and the row of their segment in `max_seq_id`, also when 1.5.9 upgrades the store; a database that 0.6
//! and newer delete leaves its segments; no version leaves a value without its record, but 1.5.9 arrays.

use std::collections::HashSet;

use rusqlite::types::Value;
use rusqlite::{Connection, Result};

use super::connection::is_corrupt;
use super::tables::has;

/// What leads nowhere, in sentences. A page that cannot be read is told elsewhere.
///
/// # Errors
/// `SQLite`'s, for another reason than damage.
pub(super) fn told(db: &Connection) -> Result<Vec<String>> {
    let found = [records(db), values(db), entries(db)]
        .into_iter()
        .map(|look| look.or_else(|e| if is_corrupt(&e) { Ok(None) } else { Err(e) }));
    Ok(found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn rows(count: i64) -> String {
    format!("{count} {}", if count == 1 { "row" } else { "rows" })
}

/// Records whose segment belongs to no collection, and never did. The index on `embeddings` leads from one segment to the next.
fn records(db: &Connection) -> Result<Option<String>> {
    // without these nobody can tell them from what Chroma leaves
    if !has(db, "segments")? || !has(db, "max_seq_id")? {
        return Ok(None);
    }
    let all = |sql: &str| db.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<Vec<Value>>>();
    let of_indexes = all("SELECT id FROM segments WHERE scope = 'VECTOR'")?;
    let of_indexes: HashSet<String> = of_indexes.into_iter().filter_map(text).collect();
    let known = [all("SELECT id FROM segments WHERE scope <> 'VECTOR'")?, all("SELECT segment_id FROM max_seq_id")?];
    let known = known.concat().into_iter().filter_map(text).filter(|id| !of_indexes.contains(id));
    let known: HashSet<String> = known.collect();
    let first_of = "SELECT min(segment_id) FROM embeddings";
    let mut next = db.prepare("SELECT min(segment_id) FROM embeddings WHERE segment_id > ?1")?;
    let mut of = db.prepare("SELECT count(*), min(embedding_id) FROM embeddings WHERE segment_id = ?1")?;
    let mut segment: Value = db.query_row(first_of, [], |row| row.get(0))?;
    let (mut strays, mut first) = (0, None);
    while segment != Value::Null {
        if text(segment.clone()).is_none_or(|id| !known.contains(&id)) {
            let (count, id): (i64, Value) = of.query_row([&segment], |row| Ok((row.get(0)?, row.get(1)?)))?;
            strays += count;
            first = first.or_else(|| text(id));
        }
        segment = next.query_row([&segment], |row| row.get(0))?;
    }
    Ok((strays > 0).then(|| {
        let (rows, first) = (rows(strays), first.unwrap_or_default());
        format!("no collection has the segment of {rows} of SQLite's table embeddings (the first is {first:?})")
    }))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// Values whose record is not in `embeddings`: some record has lost them. Arrays are not looked at, for 1.5.9 leaves those of a deleted
/// collection behind.
fn values(db: &Connection) -> Result<Option<String>> {
    if !has(db, "embedding_metadata")? || !has(db, "embeddings")? {
        return Ok(None);
    }
    let sql =
        "SELECT count(*) FROM embedding_metadata m WHERE NOT EXISTS (SELECT 1 FROM embeddings e WHERE e.id = m.id)";
    let count = db.query_row(sql, [], |row| row.get(0))?;
    Ok((count > 0).then(|| {
        let rows = rows(count);
        format!("no record has the number of {rows} of SQLite's table embedding_metadata: some record lacks a value")
    }))
}

/// Entries of the log whose topic does not end in a UUID, so that they are of no collection that there ever was: Chroma leaves those
/// of a deleted one, whose topic does.
fn entries(db: &Connection) -> Result<Option<String>> {
    if !has(db, "embeddings_queue")? {
        return Ok(None);
    }
    let uuid = [8, 4, 4, 4, 12].map(|digits| "[0-9a-f]".repeat(digits)).join("-");
    let sql = "SELECT count(*), min(seq_id) FROM embeddings_queue WHERE topic IS NULL OR typeof(topic) <> 'text' OR topic NOT GLOB ?1";
    let (count, first): (i64, Option<i64>) =
        db.query_row(sql, [format!("*/{uuid}")], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(first) = first else { return Ok(None) };
    let id: Value = db.query_row("SELECT id FROM embeddings_queue WHERE seq_id = ?1", [first], |row| row.get(0))?;
    let (rows, id) = (rows(count), text(id).unwrap_or_default());
    Ok(Some(format!(
        "no collection has the topic of {rows} of SQLite's table embeddings_queue (the first is of {id:?}): what only that says of \
         a record is lost"
    )))
}
