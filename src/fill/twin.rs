//! What a database and an index say of a collection but for UUIDs, times, links and numbers of rows: to see whether engine and
//! importer make the same of the same records. Reads only.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OpenFlags, Params, params};
use serde_json::Value as Json;

use super::{failed, state};
use crate::model::Result;
use crate::store::files::index::stamps::{DATA, HEADER, PICKLE};
use crate::store::files::index::{hnsw, pickle};
use crate::store::files::system::io_error;

/// What is compared, by name; each row as text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Twin(BTreeMap<&'static str, Vec<String>>);

/// How many rows each table has. The full-text index keeps its own tables in another form.
pub type Tally = BTreeMap<String, i64>;

impl Twin {
    /// Reads what the store says of a collection. Numbers of the log count from `base`; without one, where other collections were
    /// written in between, only their order counts.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(database: &Path, collection: &str, base: Option<i64>) -> Result<Self> {
        let read = || {
            let db = open(database)?;
            let segment = "SELECT id FROM segments WHERE collection = ? AND scope = 'VECTOR'";
            let index: String = db.query_row(segment, [collection], |row| row.get(0))?;
            Ok((twin(&db, collection, base)?, index))
        };
        let (mut twin, index) = read().map_err(|e| failed("read", database, &e))?;
        twin.0.extend(files(&database.with_file_name(index))?);
        Ok(twin)
    }

    /// The first difference of two, in a sentence; None where there is none.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Option<String> {
        self.0.iter().find_map(|(part, rows)| {
            let others = other.0.get(part)?;
            let at = (0..rows.len().max(others.len())).find(|at| rows.get(*at) != others.get(*at))?;
            let word =
                |rows: &[String]| rows.get(at).map_or("nothing", String::as_str).chars().take(300).collect::<String>();
            Some(format!("{part}: Chroma writes {}, this program {}", word(rows), word(others)))
        })
    }
}

/// The number of the newest entry of the log.
///
/// # Errors
/// When it cannot be read.
pub fn newest(database: &Path) -> Result<i64> {
    let read = || state::newest(&open(database)?);
    read().map_err(|e| failed("read", database, &e))
}

/// Counts the rows of every table.
///
/// # Errors
/// When they cannot be read.
pub fn tally(database: &Path) -> Result<Tally> {
    let read = || {
        let db = open(database)?;
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'embedding_fulltext_search_%'";
        let names: Vec<String> = db.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let count = |name: String| {
            let sql = format!("SELECT count(*) FROM \"{}\"", name.replace('"', "\"\""));
            db.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(|rows| (name, rows))
        };
        names.into_iter().map(count).collect::<rusqlite::Result<Tally>>()
    };
    read().map_err(|e| failed("read", database, &e))
}

/// How much each table has grown from one count to the next; those that have not are left out.
#[must_use]
pub fn growth(from: &Tally, to: &Tally) -> Tally {
    let grown = to.iter().map(|(name, rows)| (name.clone(), rows - from.get(name).unwrap_or(&0)));
    grown.filter(|(_, rows)| *rows != 0).collect()
}

fn open(database: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(10))?;
    Ok(db)
}

/// A table of this connection alone: the collection's entries, and their numbers as they are compared.
fn number(db: &Connection, collection: &str, tables: &str, base: Option<i64>) -> rusqlite::Result<()> {
    db.execute_batch("CREATE TEMP TABLE place (entry INTEGER PRIMARY KEY, n INTEGER)")?;
    let sql = "INSERT INTO place SELECT entry, coalesce(entry - ?1, row_number() OVER (ORDER BY entry)) FROM ( \
               SELECT seq_id AS entry FROM embeddings WHERE segment_id = ?3 \
               UNION SELECT seq_id FROM embeddings_queue WHERE topic LIKE '%' || ?2 \
               UNION SELECT m.seq_id FROM max_seq_id m JOIN segments s ON s.id = m.segment_id WHERE s.collection = ?2)";
    db.execute(sql, params![base, collection, tables]).map(drop)
}

fn twin(db: &Connection, collection: &str, base: Option<i64>) -> rusqlite::Result<Twin> {
    let segment = "SELECT id FROM segments WHERE collection = ? AND scope = 'METADATA'";
    let tables: String = db.query_row(segment, [collection], |row| row.get(0))?;
    number(db, collection, &tables, base)?;
    let has = |sql: &str| db.query_row(sql, [], |row| row.get::<_, bool>(0));
    let mut parts = BTreeMap::new();
    let sql = "SELECT embedding_id, typeof(seq_id), n FROM embeddings JOIN place ON entry = seq_id \
               WHERE segment_id = ? ORDER BY id";
    parts.insert("embeddings", rows(db, sql, [&tables])?);
    let values = |table: &str, order: &str| {
        format!(
            "SELECT e.embedding_id, m.key, m.string_value, m.int_value, m.float_value, m.bool_value \
             FROM embeddings e JOIN {table} m ON m.id = e.id WHERE e.segment_id = ? ORDER BY e.id, m.key, {order}"
        )
    };
    parts.insert("embedding_metadata", rows(db, &values("embedding_metadata", "1"), [&tables])?);
    if has("SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'embedding_metadata_array'")? {
        let sql = values("embedding_metadata_array", "m.rowid");
        parts.insert("embedding_metadata_array", rows(db, &sql, [&tables])?);
    }
    let full_text = "FROM embeddings e JOIN embedding_fulltext_search f ON f.rowid = e.id WHERE e.segment_id = ?";
    let sql = format!("SELECT e.embedding_id, f.string_value {full_text} ORDER BY e.id");
    parts.insert("full text", rows(db, &sql, [&tables])?);
    let sql = format!("SELECT e.embedding_id {full_text} AND f.string_value LIKE '%document%' ORDER BY e.id");
    parts.insert("full-text search", rows(db, &sql, [&tables])?);
    let sql = "SELECT n, operation, replace(topic, ?1, ''), id, hex(vector), encoding, metadata \
               FROM embeddings_queue JOIN place ON entry = seq_id WHERE topic LIKE '%' || ?1 ORDER BY seq_id";
    parts.insert("log", rows(db, sql, [collection])?);
    let sql = "SELECT s.scope, s.type, typeof(m.seq_id), n FROM segments s \
               LEFT JOIN max_seq_id m ON m.segment_id = s.id LEFT JOIN place ON entry = m.seq_id \
               WHERE s.collection = ? ORDER BY s.scope";
    parts.insert("watermarks", rows(db, sql, [collection])?);
    let has_schemas = has("SELECT count(*) > 0 FROM pragma_table_info('collections') WHERE name = 'schema_str'")?;
    let schema = if has_schemas { "schema_str" } else { "NULL" };
    let sql = format!("SELECT dimension, config_json_str, {schema} FROM collections WHERE id = ?");
    parts.insert("collection", rows(db, &sql, [collection])?);
    Ok(Twin(parts))
}

/// What an index's files are, but for links, entry, room and the order of the rows. Nothing where there is none.
fn files(folder: &Path) -> Result<BTreeMap<&'static str, Vec<String>>> {
    let mut parts = BTreeMap::new();
    // a folder without it holds no record yet
    if !folder.join(PICKLE).exists() {
        return Ok(parts);
    }
    let read = |name: &str| fs::read(folder.join(name)).map_err(|e| io_error("read", &folder.join(name), e));
    let (mut header, data, pickle) = (read(HEADER)?, read(DATA)?, read(PICKLE)?);
    let odd = |why: String| io_error("read", folder, io::Error::other(why));
    let layout = hnsw::header(&header).map_err(odd)?;
    // the highest level and the entry, and how many rows there is room for, which grows as it must
    header.drain(52..60);
    header.drain(12..20);
    parts.insert("header of the index", vec![format!("{header:?}")]);
    let metadata =
        pickle::parse(pickle.as_slice(), pickle.len() as u64).map_err(|e| odd(e.to_string()))?.map_err(odd)?;
    let numbers = (metadata.dimension, metadata.max_seq_id, metadata.total, metadata.flawed);
    parts.insert("numbers of the index's ids", vec![format!("{numbers:?}")]);
    let (size, mut rows) = (usize::try_from(layout.row_len).unwrap_or(usize::MAX), BTreeMap::new());
    for row in data.chunks_exact(size).take(usize::try_from(layout.count).unwrap_or_default()) {
        if let Some((row, vector)) = hnsw::row(&layout, 0, row) {
            rows.insert(row.label, (row.deleted, vector));
        }
    }
    let mut ids = metadata.labels.walk();
    let mut found = Vec::new();
    while let Some((id, label)) = ids.next().map_err(|e| odd(e.to_string()))? {
        let row = label.and_then(|label| rows.get(&u64::from(label)));
        found.push(format!("{:?}: {row:?}", String::from_utf8_lossy(id)));
    }
    found.sort();
    parts.insert("rows of the index", found);
    Ok(parts)
}

fn rows(db: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare(sql)?;
    let columns = statement.column_count();
    let texts = statement.query_map(params, |row| {
        let cells = (0..columns).map(|n| row.get(n).map(cell));
        Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join(", "))
    })?;
    texts.collect()
}

/// A value with its type. The order of keys in a JSON object says nothing.
fn cell(value: Sql) -> String {
    match value {
        Sql::Text(text) => match serde_json::from_str(&text) {
            Ok(json @ Json::Object(_)) => sorted(json).to_string(),
            _ => format!("{text:?}"),
        },
        other => format!("{other:?}"),
    }
}

fn sorted(json: Json) -> Json {
    match json {
        Json::Object(map) => {
            let ordered: BTreeMap<String, Json> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Json::Object(ordered.into_iter().collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named_and_the_order_of_keys_is_none() {
        let twin = |text: &str| Twin([("log", vec!["1".to_owned(), cell(Sql::Text(text.to_owned()))])].into());
        let one = twin(r#"{"a": 1, "b": {"c": 1.0, "d": null}}"#);
        assert_eq!(one.differs(&twin(r#"{"b": {"d": null, "c": 1.0}, "a": 1}"#)), None);
        let told = one.differs(&twin(r#"{"a": 1.0}"#)).unwrap();
        assert!(told.starts_with("log: Chroma writes {\"a\":1,"), "{told}");
        let shorter = Twin([("log", vec!["1".to_owned()])].into());
        assert!(one.differs(&shorter).unwrap().contains("this program nothing"));
    }

    #[test]
    fn growth_names_what_has_changed() {
        let tally = |pairs: &[(&str, i64)]| pairs.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect();
        let grown = growth(&tally(&[("a", 1), ("b", 2)]), &tally(&[("a", 4), ("b", 2), ("c", 1)]));
        assert_eq!(grown, tally(&[("a", 3), ("c", 1)]));
    }
}
