//! The small tables: migrations, tenants, databases, collections, and how far each segment has followed the log.
//! Reads around pages that cannot be read, for one of them must not hide a whole store.

use std::collections::{BTreeSet, HashMap};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Result, params};

use super::around::{Pages, Query};
use super::lost::{self, Lost};
use super::schema::{Columns, Layout, Migration};
use super::tables;
use super::values::{Keyed, keyed, seq_id, shown, what};
use crate::model::Metadata;
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
    /// Whether all of it was read.
    pub whole: bool,
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
    /// Whether the row itself is lost, so that all of it is from elsewhere.
    pub is_lost: bool,
}

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
            let is_lost = false;
            Ok(Some(CollectionRow { id, name, tenant, database, dimension, configuration, schema, wrong, is_lost }))
        })?;
        let whole = found.whole;
        let mut found: Vec<CollectionRow> = found.rows.into_iter().flatten().collect();
        if self.pages.is_at_odds("collections") {
            // a row of another table may have the id of a collection
            let names: BTreeSet<String> = lost::names(self.db)?.into_values().map(|(name, _)| name).collect();
            found.retain(|row| names.is_empty() || names.contains(&row.name));
        }
        // a page that was copied over another has the rows of that one once more
        let mut known = BTreeSet::new();
        found.retain(|row| known.insert(row.id.clone()));
        let of_segments: Vec<String> = if whole { Vec::new() } else { self.all_segments()?.into_keys().collect() };
        let lost = lost::named(self.db, &known, &of_segments, whole)?;
        found.extend(lost.into_iter().map(|lost| without_row(lost, &databases)));
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
        let found = query.rows(self.db, self.pages, [id], |row| keyed(row, 1, columns.client))?;
        own.whole = found.whole && found.rows.iter().all(std::result::Result::is_ok);
        for row in found.rows {
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

    /// Whether the collection still has its row, or its row is lost: what is on a lost page is not deleted.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn collection_exists(&self, collection: &str) -> Result<bool> {
        let query = Query { table: "collections", sql: "SELECT rowid FROM collections @ WHERE id = ?1" };
        let found = query.rows(self.db, self.pages, [collection], |_| Ok(()))?;
        Ok(!found.rows.is_empty() || !found.whole || self.pages.lost("collections").is_some())
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

/// A collection whose row is lost, as far as it is known.
fn without_row(Lost { id, named }: Lost, databases: &HashMap<String, Database>) -> CollectionRow {
    let (database, (name, words)) = match named {
        Some((name, database)) => (database, (name, "is lost, and its name was taken from an index on that table")),
        None => (NIL.to_owned(), (id.clone(), "is lost, and its id is taken for its name")),
    };
    let stand_in = || Database {
        tenant: DEFAULT_TENANT.to_owned(),
        name: if database == NIL { DEFAULT_DATABASE } else { database.as_str() }.to_owned(),
        is_lost: true,
    };
    let Database { tenant, name: database, .. } = databases.get(&database).cloned().unwrap_or_else(stand_in);
    let wrong = vec![words.to_owned()];
    let (dimension, configuration, schema, is_lost) = (None, None, None, true);
    CollectionRow { id, name, tenant, database, dimension, configuration, schema, wrong, is_lost }
}
