//! The small tables: migrations, tenants, databases, collections, segments, and how far each segment has followed the log.
//! Reads around pages that cannot be read, for one of them must not hide a whole store.

use std::cell::RefCell;
use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Result, Row, params};

use super::around::{Around, Pages, Query};
use super::schema::{Columns, Layout, Migration};
use super::spans::KnownSpans;
use super::tables;
use super::values::{Keyed, keyed, seq_id, shown, what};
use crate::model::distance::SPACE;
use crate::model::{Metadata, Value};
use crate::store::odd::Odd;

/// The metadata of a collection itself.
#[derive(Debug, Default)]
pub struct OwnMetadata {
    /// What Chroma's client reads of it, and a copy can hold.
    pub metadata: Metadata,
    /// What of it cannot be read, each in a sentence without a subject.
    pub wrong: Vec<String>,
    /// Keys whose value was read otherwise than it stands there, or left out, with the reason.
    pub odd: Vec<(String, Odd)>,
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
    /// What of the row cannot be read, each in a sentence without a subject.
    pub wrong: Vec<String>,
}

/// What one connection knows of all collections: their segments, as it saw them last, with `SQLite`'s number of that state of the
/// database, and where their entries are in the log. No index leads to either from a collection: with thousands of these, each look
/// would walk through the rows of all.
#[derive(Debug, Default)]
pub struct KnownRows {
    segments: RefCell<Option<(i64, Segments)>>,
    /// Of the log.
    pub spans: KnownSpans,
}

/// Id and scope of segments, by collection.
type Segments = HashMap<String, Vec<(String, String)>>;

/// Chroma gives the default database this id (measured on 0.4.24 to 1.5.9).
const NIL: &str = "00000000-0000-0000-0000-000000000000";
const DEFAULT_TENANT: &str = "default_tenant";
const DEFAULT_DATABASE: &str = "default_database";

/// A database of the store, or what stands for one whose row is gone or odd: the default one, or one that is named by its id.
#[derive(Clone, Debug)]
struct Database {
    tenant: String,
    name: String,
    is_lost: bool,
}

/// The small tables inside a transaction, and where their bad pages are noted.
#[derive(Clone, Copy, Debug)]
pub struct Catalog<'a> {
    /// Inside a transaction.
    pub db: &'a Connection,
    /// Where bad pages are noted.
    pub pages: &'a Pages,
}

impl Catalog<'_> {
    /// The migrations, and whether these are all; none where there is no such table. A row with an odd cell is left out.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn layout(&self) -> Result<(Layout, bool)> {
        if !tables::tables(self.db)?.contains_key("migrations") {
            return Ok((Layout::default(), !self.pages.is_missing("migrations")));
        }
        let sql = "SELECT rowid, dir, version, filename, hash FROM migrations @";
        let found = Query { table: "migrations", sql }.rows(self.db, self.pages, [], |row| {
            let read =
                || Ok(Migration { dir: row.get(1)?, version: row.get(2)?, filename: row.get(3)?, hash: row.get(4)? });
            Ok(read().map_err(|e: Error| e.to_string()).ok())
        })?;
        let whole = found.whole && found.rows.iter().all(Option::is_some);
        Ok((Layout::new(found.rows.into_iter().flatten().collect()), whole))
    }

    /// All tenants, in order.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn tenants(&self) -> Result<Vec<String>> {
        let query = Query { table: "tenants", sql: "SELECT rowid, id FROM tenants @" };
        let mut found = query.rows(self.db, self.pages, [], |row| Ok(shown(row, 1)?.0))?.rows;
        found.sort();
        Ok(found)
    }

    /// All databases as (tenant, name), in order.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn databases(&self) -> Result<Vec<(String, String)>> {
        let all = self.databases_by_id()?;
        let mut found: Vec<_> = all.into_values().map(|Database { tenant, name, .. }| (tenant, name)).collect();
        found.sort();
        Ok(found)
    }

    /// All databases by id. One that only a collection names, or whose row is odd, has a stand-in: Chroma deletes a database
    /// with its collections (measured on 0.6.3, 1.0.20 and 1.5.9; older ones delete none).
    fn databases_by_id(&self) -> Result<HashMap<String, Database>> {
        let query = Query { table: "databases", sql: "SELECT rowid, id, tenant_id, name FROM databases @" };
        let found = query.rows(self.db, self.pages, [], |row| {
            let ((id, _), (tenant, odd), (name, odder)) = (shown(row, 1)?, shown(row, 2)?, shown(row, 3)?);
            let is_lost = odd.or(odder).is_some() || (id == NIL && tenant != DEFAULT_TENANT);
            Ok((id, Database { tenant, name, is_lost }))
        })?;
        let (odd, sound): (Vec<_>, Vec<_>) = found.rows.into_iter().partition(|(_, database)| database.is_lost);
        let mut all: HashMap<String, Database> = sound.into_iter().collect();
        let query = Query { table: "collections", sql: "SELECT rowid, database_id FROM collections @" };
        let named = query.rows(self.db, self.pages, [], |row| Ok(shown(row, 1)?.0))?;
        let mut lost: Vec<String> = odd.into_iter().map(|(id, _)| id).chain(named.rows).collect();
        lost.extend((!found.whole).then(|| NIL.to_owned()));
        let is_default = |one: &Database| one.tenant == DEFAULT_TENANT && one.name == DEFAULT_DATABASE;
        let has_default = all.values().any(is_default);
        for id in lost {
            let name = if id == NIL && !has_default { DEFAULT_DATABASE } else { id.as_str() }.to_owned();
            all.entry(id).or_insert_with(|| Database { tenant: DEFAULT_TENANT.to_owned(), name, is_lost: true });
        }
        Ok(all)
    }

    /// All collections of all databases, by tenant, database and name. Deleted ones have no row.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn collections(&self, columns: Columns) -> Result<Vec<CollectionRow>> {
        let databases = self.databases_by_id()?;
        let sql = format!(
            "SELECT rowid, id, name, database_id, dimension, {}, {} FROM collections @",
            if columns.configuration { "config_json_str" } else { "NULL" },
            if columns.schema { "schema_str" } else { "NULL" },
        );
        let query = Query { table: "collections", sql: &sql };
        let found = query.rows(self.db, self.pages, [], |row| {
            let found = databases.get(&shown(row, 3)?.0).cloned();
            let Some(Database { tenant, name: database, is_lost }) = found else { return Ok(None) };
            let mut wrong = Vec::new();
            let mut text = |column, what: &str| -> Result<String> {
                let (text, why) = shown(row, column)?;
                wrong.extend(why.map(|why| format!("has {what} that {why}")));
                Ok(text)
            };
            let mut optional = |column, what: &str| match row.get_ref(column)? {
                ValueRef::Null => Ok(None),
                _ => text(column, what).map(Some),
            };
            let (configuration, schema) = (optional(5, "a config_json_str")?, optional(6, "a schema_str")?);
            let (id, mut name) = (text(1, "an id")?, text(2, "a name")?);
            if name.is_empty() {
                // nobody can ask for a collection without a name, and no target takes it
                name.clone_from(&id);
                wrong.push("has no name, so its id is taken for it".to_owned());
            }
            if is_lost {
                self.pages.stray(&tenant, &database, &name);
            }
            let dimension = match row.get_ref(4)? {
                ValueRef::Null => None,
                ValueRef::Integer(n) => Some(n),
                other => {
                    wrong.push(format!("has a dimension of type {}", other.data_type()));
                    None
                }
            };
            Ok(Some(CollectionRow { id, name, tenant, database, dimension, configuration, schema, wrong }))
        })?;
        let mut found: Vec<CollectionRow> = found.rows.into_iter().flatten().collect();
        found.sort_by(|a, b| (&a.tenant, &a.database, &a.name).cmp(&(&b.tenant, &b.database, &b.name)));
        Ok(found)
    }

    /// A collection's metadata, and what of it is not as Chroma writes it, each in a sentence without a subject.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn collection_metadata(&self, columns: Columns, id: &str) -> Result<OwnMetadata> {
        let bools = if columns.collection_bools { "bool_value" } else { "NULL" };
        let sql = format!(
            "SELECT rowid, key, str_value, int_value, float_value, {bools} FROM collection_metadata @ \
             WHERE collection_id = ?1"
        );
        let query = Query { table: "collection_metadata", sql: &sql };
        let mut own = OwnMetadata::default();
        for row in query.rows(self.db, self.pages, [id], |row| keyed(row, 1, columns.client))?.rows {
            match row {
                Ok(Keyed { key, value, odd }) => {
                    own.odd.extend(odd.map(|odd| (key.clone(), odd)));
                    own.metadata.extend(value.map(|value| (key, value)));
                }
                Err(why) => own.wrong.push(format!("has metadata that cannot be read: {why}")),
            }
        }
        Ok(own)
    }

    /// A collection's segments as (id, scope).
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn segments(&self, known: &KnownRows, collection: &str) -> Result<Vec<(String, String)>> {
        let version: i64 = self.db.pragma_query_value(None, "data_version", |row| row.get(0))?;
        let mut known = known.segments.borrow_mut();
        let all = match known.take_if(|(at, _)| *at == version) {
            Some((_, all)) => all,
            None => self.all_segments()?,
        };
        let found = all.get(collection).cloned().unwrap_or_default();
        *known = Some((version, all));
        Ok(found)
    }

    fn all_segments(&self) -> Result<Segments> {
        let sql = "SELECT rowid, collection, id, scope FROM segments @ WHERE typeof(collection) = 'text'";
        let query = Query { table: "segments", sql };
        let mut all = Segments::new();
        let one = |row: &Row<'_>| Ok((shown(row, 1)?.0, (shown(row, 2)?.0, shown(row, 3)?.0)));
        for (collection, segment) in query.rows(self.db, self.pages, [], one)?.rows {
            all.entry(collection).or_default().push(segment);
        }
        Ok(all)
    }

    /// The dimension in a collection's row.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn dimension(&self, collection: &str) -> Result<Option<i64>> {
        let query = Query { table: "collections", sql: "SELECT rowid, dimension FROM collections @ WHERE id = ?1" };
        let found = query
            .rows(self.db, self.pages, [collection], |row| Ok(row.get_ref(1)?.as_i64_or_null().unwrap_or(None)))?;
        Ok(found.rows.into_iter().flatten().next())
    }

    /// What a segment's own metadata says of its distance, if anything, and whether it can be read. Up to 0.6 the engine
    /// goes by this.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn segment_space(&self, segment: &str) -> Result<Around<(String, Value)>> {
        let sql = "SELECT rowid, key, str_value FROM segment_metadata @ \
                   WHERE segment_id = ?1 AND key = ?2 AND typeof(str_value) = 'text'";
        let query = Query { table: "segment_metadata", sql };
        query.rows(self.db, self.pages, [segment, SPACE], |row| Ok((shown(row, 1)?.0, Value::Str(shown(row, 2)?.0))))
    }

    /// What a segment's own metadata says of the links of a vector (M). Up to 0.6 the engine goes by this.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn segment_neighbours(&self, segment: &str) -> Result<Option<i64>> {
        let sql = "SELECT rowid, int_value FROM segment_metadata @ WHERE segment_id = ?1 AND key = 'hnsw:M'";
        let query = Query { table: "segment_metadata", sql };
        let found =
            query.rows(self.db, self.pages, [segment], |row| Ok(row.get_ref(1)?.as_i64_or_null().unwrap_or(None)))?;
        Ok(found.rows.into_iter().flatten().next())
    }

    /// Whether the collection still has its row.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn collection_exists(&self, collection: &str) -> Result<bool> {
        let query = Query { table: "collections", sql: "SELECT rowid FROM collections @ WHERE id = ?1" };
        Ok(!query.rows(self.db, self.pages, [collection], |_| Ok(()))?.rows.is_empty())
    }

    /// The last `seq_id` that a segment has applied; None where it has no row, or none that can be read. A row without a
    /// number is noted.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn max_seq_id(&self, segment: &str) -> Result<Option<i64>> {
        let query = Query { table: "max_seq_id", sql: "SELECT rowid, seq_id FROM max_seq_id @ WHERE segment_id = ?1" };
        let found = query.rows(self.db, self.pages, params![segment], |row| {
            let number = seq_id(row, 1)?;
            if number.is_none() {
                let said = format!(
                    "SQLite's table max_seq_id holds {} for the segment {segment}, and no number: how far it had followed the \
                     write-ahead log is not known, and what log and index have was taken",
                    what(row, 1)?
                );
                self.pages.say(segment, said);
            }
            Ok(number)
        })?;
        Ok(found.rows.into_iter().flatten().max())
    }

    /// The last `seq_id` that each segment has applied.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn watermarks(&self) -> Result<HashMap<String, i64>> {
        let query = Query { table: "max_seq_id", sql: "SELECT rowid, segment_id, seq_id FROM max_seq_id @" };
        let found = query.rows(self.db, self.pages, [], |row| Ok((shown(row, 1)?.0, seq_id(row, 2)?.unwrap_or(0))))?;
        Ok(found.rows.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What another connection changes is seen at the next look, and only then the table is walked through again.
    #[test]
    fn known_segments_are_those_that_the_table_has_now() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("chroma.sqlite3");
        let writer = Connection::open(&file).unwrap();
        let insert = |id: &str, collection: &str| {
            writer.execute("INSERT INTO segments VALUES (?1, 'VECTOR', ?2)", [id, collection]).unwrap();
        };
        writer.execute_batch("CREATE TABLE segments (id TEXT PRIMARY KEY, scope TEXT, collection TEXT)").unwrap();
        insert("a1", "a");
        insert("b1", "b");
        let (db, pages, known) = (Connection::open(&file).unwrap(), Pages::default(), KnownRows::default());
        let of = |collection: &str| {
            let transaction = db.unchecked_transaction().unwrap();
            let found = Catalog { db: &transaction, pages: &pages }.segments(&known, collection).unwrap();
            found.into_iter().map(|(id, _)| id).collect::<Vec<_>>().join(" ")
        };
        assert_eq!((of("a"), of("b"), of("c")), ("a1".into(), "b1".into(), String::new()));
        insert("a2", "a");
        insert("c1", "c");
        assert_eq!((of("a"), of("b"), of("c")), ("a1 a2".into(), "b1".into(), "c1".into()));
        writer.execute("DELETE FROM segments WHERE id = 'a1'", []).unwrap();
        assert_eq!(of("a"), "a2");
        // one transaction sees one state
        let transaction = db.unchecked_transaction().unwrap();
        let catalog = Catalog { db: &transaction, pages: &pages };
        assert_eq!(catalog.segments(&known, "b").unwrap().len(), 1);
        writer.busy_timeout(std::time::Duration::ZERO).unwrap();
        assert!(writer.execute("DELETE FROM segments", []).is_err(), "it is being read");
    }
}
