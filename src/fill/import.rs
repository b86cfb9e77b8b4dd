//! Writes records into the tables and the log of a laid-out store, as the engine leaves them before it builds an index: its
//! first search then builds it from the log (measured on 1.0.20 and 1.5.9).
//!
//! # Caveats
//! With [`Beside::Nobody`] nothing is journalled: what is left after an error or a kill is to be thrown away.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};
use serde_json::Value as Json;

use super::keys::Keys;
use super::proof::Given;
use super::values::{Columns, NULL, bytes, columns, document, text};
use super::{failed, state};
use crate::model::{Error, Record, Result, Value};
use crate::store::files::log::queue::{DOCUMENT, URI};

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
    schema: Option<Json>,
    keys: Keys,
    dimension: Option<usize>,
    /// Its newest entry in the log.
    entry: Option<i64>,
    records: u64,
}

impl Sheet {
    /// What it was given until now.
    #[must_use]
    pub fn given(&self) -> Given {
        Given { collection: self.collection.clone(), records: self.records }
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

    /// Begins a collection that has no record yet.
    ///
    /// # Errors
    /// When the store has no such collection.
    pub fn sheet(&self, collection: &str) -> Result<Sheet> {
        self.begun(collection).map_err(|e| failed("read", &self.database, &e))
    }

    fn begun(&self, collection: &str) -> rusqlite::Result<Sheet> {
        let segment = "SELECT id FROM segments WHERE collection = ? AND scope = 'METADATA'";
        let tables = self.db.query_row(segment, [collection], |row| row.get(0))?;
        let mut schema = None;
        if self.has_schemas {
            let sql = "SELECT schema_str FROM collections WHERE id = ?";
            let found: Option<String> = self.db.query_row(sql, [collection], |row| row.get(0))?;
            schema = found.and_then(|found| serde_json::from_str(&found).ok());
        }
        let keys = Keys::default();
        Ok(Sheet { collection: collection.to_owned(), tables, schema, keys, dimension: None, entry: None, records: 0 })
    }

    /// Adds records, whose ids the collection does not have.
    ///
    /// # Errors
    /// When they cannot be written, or one of them is none that the store can hold.
    pub fn put(&mut self, sheet: &mut Sheet, records: &[Record]) -> Result<()> {
        for record in records {
            let dimension = *sheet.dimension.get_or_insert(record.embedding.len());
            if record.embedding.len() != dimension {
                let why = format!("its vector has {} components, others {dimension}", record.embedding.len());
                return Err(self.refused(record, &why));
            }
            let logged = document(record).map_err(|why| self.refused(record, &why))?;
            self.one(sheet, record, &logged).map_err(|e| failed("write", &self.database, &e))?;
            sheet.keys.see(&record.metadata);
            self.waiting += logged.len() * 2 + record.embedding.len() * size_of::<f32>();
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

    fn one(&mut self, sheet: &mut Sheet, record: &Record, logged: &str) -> rusqlite::Result<()> {
        let Record { id, embedding, document, uri, metadata } = record;
        self.entry += 1;
        self.row += 1;
        let (entry, row) = (self.entry, self.row);
        let topic = format!("{TOPIC}{}", sheet.collection);
        let log = "INSERT INTO embeddings_queue (seq_id, operation, topic, id, vector, encoding, metadata) \
                   VALUES (?, 0, ?, ?, ?, 'FLOAT32', ?)";
        self.db.prepare_cached(log)?.execute(params![entry, topic, id, bytes(embedding), logged])?;
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
        sheet.entry = Some(entry);
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

    /// Ends a collection: what it holds, and how far its tables have followed the log.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(&mut self, sheet: Sheet) -> Result<()> {
        self.ended(sheet).map_err(|e| failed("write", &self.database, &e))
    }

    fn ended(&mut self, sheet: Sheet) -> rusqlite::Result<()> {
        let Sheet { collection, tables, schema, keys, dimension, entry, records: _ } = sheet;
        let (Some(entry), Some(dimension)) = (entry, dimension) else { return Ok(()) };
        self.db.execute("INSERT INTO max_seq_id (segment_id, seq_id) VALUES (?, ?)", params![tables, entry])?;
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

/// Errs as a test says, where nothing is journalled: not on the samples, which would show it at once.
#[cfg(feature = "faults")]
fn spoil(db: &Connection) -> rusqlite::Result<()> {
    let is_sample = db.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0))? != "off";
    match std::env::var(crate::faults::SPOILS) {
        Ok(sql) if !is_sample => {
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
