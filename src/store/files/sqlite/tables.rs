//! The `SQLite` reads: each function is a few statements inside the caller's read transaction.
//! Never writes, and opens nothing but the connection it is asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Result, Row, params, params_from_iter};

use super::schema::{Columns, Layout, Migration};
use super::values::{keyed, text};
use crate::model::distance::SPACE;
use crate::model::{Metadata, Value};
use crate::store::files::log::queue::{LogEntry, Operation};

/// How long `SQLite` waits for a writer's lock before it answers "busy".
const BUSY: Duration = Duration::from_secs(2);
/// Parameters of one statement: `SQLite` takes 32,766, and short statements keep the cache useful.
pub(super) const CHUNK: usize = 500;

/// Opens a database read-only; it must exist.
///
/// # Errors
/// `SQLite`'s.
pub fn open(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The migrations table; empty where there is none.
///
/// # Errors
/// `SQLite`'s.
pub fn layout(db: &Connection) -> Result<Layout> {
    if !tables(db)?.contains_key("migrations") {
        return Ok(Layout::default());
    }
    let mut statement = db.prepare("SELECT dir, version, filename, hash FROM migrations")?;
    let rows = statement.query_map([], |row| {
        Ok(Migration { dir: row.get(0)?, version: row.get(1)?, filename: row.get(2)?, hash: row.get(3)? })
    })?;
    rows.collect::<Result<Vec<_>>>().map(Layout::new)
}

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

/// A collection's row, with its documents as text.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionRow {
    /// The collection's UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
    /// Its database.
    pub database: String,
    /// Components of a vector.
    pub dimension: Option<i64>,
    /// `config_json_str`.
    pub configuration: Option<String>,
    /// `schema_str`.
    pub schema: Option<String>,
}

/// All databases as (tenant, name), in order.
///
/// # Errors
/// `SQLite`'s.
pub fn databases(db: &Connection) -> Result<Vec<(String, String)>> {
    let mut statement = db.prepare("SELECT tenant_id, name FROM databases ORDER BY tenant_id, name")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// All tenants, in order.
///
/// # Errors
/// `SQLite`'s.
pub fn tenants(db: &Connection) -> Result<Vec<String>> {
    db.prepare("SELECT id FROM tenants ORDER BY id")?.query_map([], |row| row.get(0))?.collect()
}

/// All collections of all databases, by tenant, database and name. Deleted ones have no row.
///
/// # Errors
/// `SQLite`'s.
pub fn collections(db: &Connection, columns: Columns) -> Result<Vec<CollectionRow>> {
    let sql = format!(
        "SELECT c.id, c.name, d.tenant_id, d.name, c.dimension, {}, {} \
         FROM collections c JOIN databases d ON d.id = c.database_id ORDER BY d.tenant_id, d.name, c.name",
        if columns.configuration { "c.config_json_str" } else { "NULL" },
        if columns.schema { "c.schema_str" } else { "NULL" },
    );
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map([], |row| {
        Ok(CollectionRow {
            id: row.get(0)?,
            name: row.get(1)?,
            tenant: row.get(2)?,
            database: row.get(3)?,
            dimension: row.get(4)?,
            configuration: row.get(5)?,
            schema: row.get(6)?,
        })
    })?;
    rows.collect()
}

/// A collection's metadata.
///
/// # Errors
/// `SQLite`'s; inside, a sentence that names the key whose value cannot be read.
pub fn collection_metadata(db: &Connection, columns: Columns, id: &str) -> Result<Result<Metadata, String>> {
    let bools = if columns.collection_bools { "bool_value" } else { "NULL" };
    let sql = format!(
        "SELECT key, str_value, int_value, float_value, {bools} FROM collection_metadata WHERE collection_id = ?"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([id])?;
    let mut metadata = Metadata::new();
    while let Some(row) = rows.next()? {
        match keyed(row, 0)? {
            Ok((key, Some(value))) => drop(metadata.insert(key, value)),
            Ok((key, None)) => return Ok(Err(format!("its metadata {key:?} is NaN or infinite"))),
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(metadata))
}

/// A collection's segments as (id, scope).
///
/// # Errors
/// `SQLite`'s.
pub fn segments(db: &Connection, collection: &str) -> Result<Vec<(String, String)>> {
    let mut statement = db.prepare_cached("SELECT id, scope FROM segments WHERE collection = ?")?;
    statement.query_map([collection], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// What a segment's own metadata says of its distance; empty where it says nothing. Up to 0.6 the engine goes by this.
///
/// # Errors
/// `SQLite`'s.
pub fn segment_space(db: &Connection, segment: &str) -> Result<Metadata> {
    let sql = "SELECT key, str_value FROM segment_metadata WHERE segment_id = ? AND key = ? AND str_value IS NOT NULL";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([segment, SPACE], |row| Ok((row.get(0)?, Value::Str(row.get(1)?))))?;
    rows.collect()
}

/// Whether the collection still has its row.
///
/// # Errors
/// `SQLite`'s.
pub fn collection_exists(db: &Connection, collection: &str) -> Result<bool> {
    db.prepare_cached("SELECT 1 FROM collections WHERE id = ?")?.exists([collection])
}

/// The last `seq_id` that a segment has applied; None where it has no row. A big-endian blob up to 0.6.
///
/// # Errors
/// `SQLite`'s.
pub fn max_seq_id(db: &Connection, segment: &str) -> Result<Option<i64>> {
    let mut statement = db.prepare_cached("SELECT seq_id FROM max_seq_id WHERE segment_id = ?")?;
    let mut rows = statement.query([segment])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    seq_id(row, 0)
}

fn seq_id(row: &Row<'_>, column: usize) -> Result<Option<i64>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(n) => Ok(Some(n)),
        ValueRef::Blob(bytes) if bytes.len() <= 24 => {
            let value = bytes.iter().try_fold(0i64, |n, b| n.checked_mul(256)?.checked_add(i64::from(*b)));
            value.map(Some).ok_or_else(|| rusqlite::Error::IntegralValueOutOfRange(column, i64::MAX))
        }
        other => Err(rusqlite::Error::InvalidColumnType(column, "seq_id".to_owned(), other.data_type())),
    }
}

/// The last `seq_id` of the whole log; 0 where it is empty.
///
/// # Errors
/// `SQLite`'s.
pub fn last_entry(db: &Connection) -> Result<i64> {
    let mut statement = db.prepare_cached("SELECT coalesce(max(seq_id), 0) FROM embeddings_queue")?;
    statement.query_row([], |row| row.get(0))
}

/// Calls `each` with every entry of the collection's log after `after`, in order. A topic ends in the collection's id.
///
/// # Errors
/// `SQLite`'s, and those of `each`. An unknown operation's code is handed to `each` as an error.
pub fn entries<E: From<rusqlite::Error>>(
    db: &Connection,
    collection: &str,
    after: i64,
    mut each: impl FnMut(std::result::Result<LogEntry, String>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let sql = "SELECT seq_id, operation, id, vector IS NOT NULL FROM embeddings_queue \
               WHERE seq_id > ?1 AND substr(topic, -length(?2)) = ?2 ORDER BY seq_id";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![after, format!("/{collection}")])?;
    while let Some(row) = rows.next()? {
        each(entry(row)?)?;
    }
    Ok(())
}

/// Whether no Chroma ever removed entries from the log: 0.4 never does, and newer ones not where their settings say so
/// (`embeddings_queue_config`, measured on 0.5.23 to 1.5.9).
///
/// # Errors
/// `SQLite`'s.
pub fn is_never_purged(db: &Connection) -> Result<bool> {
    let table = "SELECT 1 FROM sqlite_schema WHERE name = 'embeddings_queue_config'";
    if !db.prepare_cached(table)?.exists([])? {
        return Ok(true);
    }
    let mut statement = db.prepare_cached("SELECT config_json_str FROM embeddings_queue_config")?;
    let settings = statement.query_map([], |row| row.get::<_, Option<String>>(0))?.collect::<Result<Vec<_>>>()?;
    let purges =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).map(|s| s["automatically_purge"] != false);
    Ok(!settings.is_empty() && settings.iter().all(|s| s.as_deref().is_some_and(|s| purges(s).is_ok_and(|p| !p))))
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

/// How many rows a METADATA segment has.
///
/// # Errors
/// `SQLite`'s.
pub fn count(db: &Connection, segment: &str) -> Result<i64> {
    db.prepare_cached("SELECT count(*) FROM embeddings WHERE segment_id = ?")?.query_row([segment], |row| row.get(0))
}

/// The `seq_id` of an id's row; None where a METADATA segment has none.
///
/// # Errors
/// `SQLite`'s.
pub fn row_seq_id(db: &Connection, segment: &str, id: &str) -> Result<Option<i64>> {
    let sql = "SELECT seq_id FROM embeddings WHERE segment_id = ? AND embedding_id = ?";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([segment, id])?;
    rows.next()?.map(|row| seq_id(row, 0)).transpose().map(Option::flatten)
}

/// A row of the table `embeddings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddingRow {
    /// Its number, by which the metadata tables refer to it.
    pub number: i64,
    /// The record's last applied change.
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

/// The last `seq_id` that each segment has applied.
///
/// # Errors
/// `SQLite`'s.
pub fn watermarks(db: &Connection) -> Result<HashMap<String, i64>> {
    let mut statement = db.prepare_cached("SELECT segment_id, seq_id FROM max_seq_id")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, seq_id(row, 1)?.unwrap_or(0))))?;
    rows.collect()
}

/// As many placeholders as [`CHUNK`] takes; the last chunk is padded with nulls, which match nothing.
pub(super) fn placeholders() -> String {
    let mut list = "?,".repeat(CHUNK);
    list.pop();
    list
}
