//! Writes records into the tables and the log of a laid-out store, as the engine leaves them: with an index, whose records the log
//! has no longer, or before it builds one. Then its first search builds it from the log (measured on 1.0.20 and 1.5.9).
//!
//! # Caveats
//! With [`Beside::Nobody`] nothing is journalled: what is left after an error or a kill is to be thrown away.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};
use serde_json::Value as Json;

use super::index::{Plan, Rows};
use super::keys::Keys;
use super::proof::Given;
use super::values::{Columns, NULL, bytes, columns, document, text};
use super::{failed, state};
use crate::model::{Error, Record, Result, Value};
use crate::store::files::log::queue::{DOCUMENT, URI};
use crate::store::files::system::io_error;

/// Bytes of records in one transaction, about.
const TRANSACTION: usize = 64 << 20;
/// KiB of pages that `SQLite` holds.
const CACHE: i64 = 16 << 10;
/// How the log names a collection, before its UUID.
const TOPIC: &str = "persistent://default/default/";

/// Who else has the database open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Nobody, and what is half-written is thrown away.
    Nobody,
    /// A server that rests.
    Server,
}

/// A store that is being filled. Blocking.
#[derive(Debug)]
pub struct Import {
    db: Connection,
    database: PathBuf,
    /// The newest entry of the log.
    entry: i64,
    /// The newest row of `embeddings`.
    row: i64,
    has_schemas: bool,
    /// Bytes of the transaction under way.
    waiting: usize,
}

/// One collection that is being filled.
#[derive(Debug)]
pub struct Sheet {
    collection: String,
    /// The segment of its tables.
    tables: String,
    /// That of its index, whose folder has the same name.
    vectors: String,
    /// How its index is built; None where the engine builds it.
    plan: Option<Plan>,
    /// The index, from the first record on until it is built.
    rows: Option<Rows>,
    is_indexed: bool,
    schema: Option<Json>,
    keys: Keys,
    dimension: Option<usize>,
    /// Its newest entry in the log, and the newest row of its tables.
    newest: Option<(i64, i64)>,
    records: u64,
}

impl Sheet {
    /// What it was given until now.
    #[must_use]
    pub fn given(&self) -> Given {
        Given { collection: self.collection.clone(), records: self.records, is_indexed: self.is_indexed }
    }

    /// Whether the log needs no further records of it.
    fn is_beyond_the_log(&self) -> bool {
        self.plan.is_some_and(|plan| self.records >= plan.from)
    }
}

impl Import {
    /// Opens the database of a laid-out store.
    ///
    /// # Errors
    /// When it cannot be opened, or is none.
    pub fn open(database: &Path, beside: Beside) -> Result<Self> {
        open(database, beside).map_err(|e| failed("open", database, &e))
    }

    /// Begins a collection that has no record yet; `plan`: how its index is built here, if it is.
    ///
    /// # Errors
    /// When the store has no such collection.
    pub fn sheet(&self, collection: &str, plan: Option<Plan>) -> Result<Sheet> {
        self.begun(collection, plan).map_err(|e| failed("read", &self.database, &e))
    }

    fn begun(&self, collection: &str, plan: Option<Plan>) -> rusqlite::Result<Sheet> {
        let segment = "SELECT id FROM segments WHERE collection = ? AND scope = ?";
        let segment = |scope| self.db.query_row(segment, [collection, scope], |row| row.get(0));
        let (tables, vectors) = (segment("METADATA")?, segment("VECTOR")?);
        let mut schema = None;
        if self.has_schemas {
            let sql = "SELECT schema_str FROM collections WHERE id = ?";
            let found: Option<String> = self.db.query_row(sql, [collection], |row| row.get(0))?;
            schema = found.and_then(|found| serde_json::from_str(&found).ok());
        }
        let keys = Keys::default();
        let (collection, dimension, newest) = (collection.to_owned(), None, None);
        let (rows, is_indexed, records) = (None, false, 0);
        Ok(Sheet { collection, tables, vectors, plan, rows, is_indexed, schema, keys, dimension, newest, records })
    }

    /// Adds records, whose ids the collection does not have.
    ///
    /// # Errors
    /// When they cannot be written, or one of them is none that the store can hold.
    pub fn put(&mut self, sheet: &mut Sheet, records: &[Record]) -> Result<()> {
        let mut left = records.len();
        for record in records {
            left -= 1;
            let dimension = *sheet.dimension.get_or_insert(record.embedding.len());
            if record.embedding.len() != dimension {
                let why = format!("its vector has {} components, others {dimension}", record.embedding.len());
                return Err(self.refused(record, &why));
            }
            let logged = document(record).map_err(|why| self.refused(record, &why))?;
            let waiting = logged.len() * 2 + record.embedding.len() * size_of::<f32>();
            self.row(sheet, record)?;
            // the newest entry stays in every log
            let logged = Some(logged).filter(|_| !sheet.is_beyond_the_log() || left == 0);
            self.one(sheet, record, logged.as_deref()).map_err(|e| failed("write", &self.database, &e))?;
            sheet.keys.see(&record.metadata);
            self.waiting += waiting;
        }
        if self.waiting >= TRANSACTION {
            self.waiting = 0;
            self.db.execute_batch("COMMIT; BEGIN IMMEDIATE").map_err(|e| failed("write", &self.database, &e))?;
        }
        Ok(())
    }

    fn refused(&self, record: &Record, why: &str) -> Error {
        Error::Misfilled {
            store: self.database.display().to_string(),
            why: format!("record {:?} cannot be written into it: {why}", record.id),
            remedy: "the target is as it was; use --fill engine (fill: Engine)".to_owned(),
        }
    }

    /// Adds a record to the index that is built here.
    fn row(&self, sheet: &mut Sheet, record: &Record) -> Result<()> {
        let Some(plan) = sheet.plan else { return Ok(()) };
        let folder = self.folder(sheet);
        let rows = match &mut sheet.rows {
            Some(rows) => Ok(rows),
            none => Rows::begin(plan, &folder, record.embedding.len()).map(|rows| none.insert(rows)),
        };
        rows.and_then(|rows| rows.push(&record.embedding)).map_err(|e| io_error("write", &folder, e))
    }

    fn folder(&self, sheet: &Sheet) -> PathBuf {
        self.database.with_file_name(&sheet.vectors)
    }

    /// `logged`: what the log says of it, if that has it.
    fn one(&mut self, sheet: &mut Sheet, record: &Record, logged: Option<&str>) -> rusqlite::Result<()> {
        let Record { id, embedding, document, uri, metadata } = record;
        self.entry += 1;
        self.row += 1;
        let (entry, row) = (self.entry, self.row);
        let topic = format!("{TOPIC}{}", sheet.collection);
        if let Some(logged) = logged {
            let log = "INSERT INTO embeddings_queue (seq_id, operation, topic, id, vector, encoding, metadata) \
                       VALUES (?, 0, ?, ?, ?, 'FLOAT32', ?)";
            self.db.prepare_cached(log)?.execute(params![entry, topic, id, bytes(embedding), logged])?;
        }
        let records = "INSERT INTO embeddings (id, segment_id, embedding_id, seq_id) VALUES (?, ?, ?, ?)";
        self.db.prepare_cached(records)?.execute(params![row, sheet.tables, id, entry])?;
        for (key, value) in metadata {
            match value {
                Value::List(items) => {
                    items.iter().try_for_each(|item| self.value("_array", row, key, columns(item)))?;
                }
                scalar => self.value("", row, key, columns(scalar))?,
            }
        }
        for (key, of) in [(DOCUMENT, document), (URI, uri)] {
            if let Some(of) = of {
                self.value("", row, key, [text(of), NULL, NULL, NULL])?;
            }
        }
        if let Some(document) = document {
            let full_text = "INSERT INTO embedding_fulltext_search (rowid, string_value) VALUES (?, ?)";
            self.db.prepare_cached(full_text)?.execute(params![row, text(document)])?;
        }
        sheet.newest = Some((entry, row));
        sheet.records += 1;
        Ok(())
    }

    fn value(&self, table: &str, row: i64, key: &str, columns: Columns<'_>) -> rusqlite::Result<()> {
        let sql = format!(
            "INSERT INTO embedding_metadata{table} (id, key, string_value, int_value, float_value, bool_value) \
             VALUES (?, ?, ?, ?, ?, ?)"
        );
        let [string, int, float, truth] = columns;
        self.db.prepare_cached(&sql)?.execute(params![row, key, string, int, float, truth])?;
        Ok(())
    }

    /// Builds a collection's index, if that is done here and the collection is large enough for one. Takes all cores.
    ///
    /// # Errors
    /// When it cannot be written, or `stop` came to be true meanwhile.
    pub fn index(&self, sheet: &mut Sheet, stop: &AtomicBool) -> Result<()> {
        let folder = self.folder(sheet);
        let Some(rows) = sheet.rows.take() else { return Ok(()) };
        if !sheet.is_beyond_the_log() {
            return rows.abandon().map_err(|e| io_error("remove", &folder, e));
        }
        let ids = |take: &mut dyn FnMut(&str) -> io::Result<()>| self.ids(sheet, take).map_err(io::Error::other)?;
        rows.finish(ids, stop).map_err(|e| io_error("write", &folder, e))?;
        sheet.is_indexed = true;
        #[cfg(feature = "faults")]
        if is_to_spoil(&self.db).map_err(|e| failed("read", &self.database, &e))? {
            super::index::spoil(&folder).map_err(|e| io_error("spoil", &folder, e))?;
        }
        Ok(())
    }

    /// Calls `take` with each id of a collection, in the order in which they were put.
    fn ids(&self, sheet: &Sheet, take: &mut dyn FnMut(&str) -> io::Result<()>) -> rusqlite::Result<io::Result<()>> {
        let last = sheet.newest.map_or(0, |(_, row)| row);
        let first = last.saturating_sub_unsigned(sheet.records);
        let sql = "SELECT embedding_id FROM embeddings WHERE id > ? AND id <= ? AND segment_id = ? ORDER BY id";
        let mut statement = self.db.prepare(sql)?;
        let mut rows = statement.query(params![first, last, sheet.tables])?;
        while let Some(row) = rows.next()? {
            let id = row.get_ref(0)?.as_str()?;
            if let Err(error) = take(id) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Ends a collection: what it holds, and how far its tables have followed the log.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(&mut self, sheet: Sheet) -> Result<()> {
        self.ended(sheet).map_err(|e| failed("write", &self.database, &e))
    }

    fn ended(&mut self, sheet: Sheet) -> rusqlite::Result<()> {
        let Sheet { collection, tables, vectors, is_indexed, schema, keys, dimension, newest, records, .. } = sheet;
        let (Some((entry, _)), Some(dimension)) = (newest, dimension) else { return Ok(()) };
        let watermark = "INSERT INTO max_seq_id (segment_id, seq_id) VALUES (?, ?)";
        self.db.execute(watermark, params![tables, entry])?;
        if is_indexed {
            self.db.execute(watermark, params![vectors, entry])?;
            let sql = "DELETE FROM embeddings_queue WHERE seq_id > ? AND seq_id < ? AND topic = ?";
            let before = entry.saturating_sub_unsigned(records);
            self.db.execute(sql, params![before, entry, format!("{TOPIC}{collection}")])?;
        }
        // a vector has at most some thousand components
        let dimension = i64::try_from(dimension).unwrap_or_default();
        self.db.execute("UPDATE collections SET dimension = ? WHERE id = ?", params![dimension, collection])?;
        if let Some(mut schema) = schema {
            keys.amend(&mut schema);
            let sql = "UPDATE collections SET schema_str = ? WHERE id = ?";
            self.db.execute(sql, params![schema.to_string(), collection])?;
        }
        Ok(())
    }

    /// Ends the last transaction and closes the database.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<()> {
        let Self { db, database, .. } = self;
        #[cfg(feature = "faults")]
        spoil(&db).map_err(|e| failed("spoil", &database, &e))?;
        db.execute_batch("COMMIT").map_err(|e| failed("write", &database, &e))?;
        db.close().map_err(|(_, e)| failed("close", &database, &e))
    }
}

fn open(database: &Path, beside: Beside) -> rusqlite::Result<Import> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(database, flags)?;
    db.busy_timeout(Duration::from_secs(10))?;
    db.set_prepared_statement_cache_capacity(16);
    db.pragma_update(None, "foreign_keys", false)?;
    db.pragma_update(None, "cache_size", -CACHE)?;
    if beside == Beside::Nobody {
        db.pragma_update(None, "journal_mode", "OFF")?;
        db.pragma_update(None, "synchronous", "OFF")?;
        db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    }
    db.execute_batch("BEGIN IMMEDIATE")?;
    let has = |sql: &str| db.query_row(sql, [], |row| row.get::<_, bool>(0));
    let has_schemas = has("SELECT count(*) > 0 FROM pragma_table_info('collections') WHERE name = 'schema_str'")?;
    let entry = state::newest(&db)?;
    let row = db.query_row("SELECT coalesce(max(id), 0) FROM embeddings", [], |row| row.get(0))?;
    Ok(Import { db, database: database.to_owned(), entry, row, has_schemas, waiting: 0 })
}

/// Whether a test spoils this one: the store, or the samples that come before it. Only the store, which is thrown away if it does
/// not come out, has no journal.
#[cfg(feature = "faults")]
fn is_to_spoil(db: &Connection) -> rusqlite::Result<bool> {
    let is_sample = db.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0))? != "off";
    Ok(is_sample == std::env::var_os(crate::faults::SPOILS_SAMPLES).is_some())
}

/// Errs as a test says.
#[cfg(feature = "faults")]
fn spoil(db: &Connection) -> rusqlite::Result<()> {
    match std::env::var(crate::faults::SPOILS) {
        Ok(sql) if is_to_spoil(db)? => {
            tracing::error!("fault point {}: {sql}", crate::faults::SPOILS);
            db.execute_batch(&sql)
        }
        _ => Ok(()),
    }
}

/// Makes a copy of a store's database as it is at one moment, also beside its server; `copy` must not exist yet.
///
/// # Errors
/// When it cannot be read or written.
pub fn template(database: &Path, copy: &Path) -> Result<()> {
    let taken = || {
        let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(Duration::from_secs(10))?;
        // one read transaction, and no page that nobody uses
        db.execute("VACUUM INTO ?", [copy.to_string_lossy()])
    };
    taken().map(drop).map_err(|e| failed("copy", database, &e))
}
