//! Changes the tables of a store by what they are: a value of a row, a row, a table; and the pages by their fields. Judges
//! nothing.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::extremes::{DOUBLES, LONGS, bytes, text};
use crate::support::dice::Dice;

const SEGMENTS: &str = "segment_id IN (SELECT id FROM segments WHERE collection = ?1)";

/// Tables that hold a collection, and which of their rows are its.
const TABLES: [(&str, &str); 9] = [
    ("collections", "id = ?1"),
    ("segments", "collection = ?1"),
    ("segment_metadata", SEGMENTS),
    ("collection_metadata", "collection_id = ?1"),
    ("embeddings", SEGMENTS),
    (
        "embedding_metadata",
        "id IN (SELECT id FROM embeddings WHERE segment_id IN (SELECT id FROM segments WHERE collection = ?1))",
    ),
    ("embeddings_queue", "topic LIKE '%' || ?1"),
    ("max_seq_id", SEGMENTS),
    (
        "embedding_fulltext_search_content",
        "id IN (SELECT id FROM embeddings WHERE segment_id IN (SELECT id FROM segments WHERE collection = ?1))",
    ),
];

/// A collection in a store's tables.
pub(crate) struct Place {
    pub(crate) collection: String,
    /// The folder of its index, which may not be there.
    pub(crate) index: PathBuf,
}

impl Place {
    pub(crate) fn of(store: &Path, name: &str) -> Self {
        let tables = Connection::open(store.join("chroma.sqlite3")).unwrap();
        let sql = "SELECT c.id FROM collections c JOIN databases d ON d.id = c.database_id WHERE c.name = ? AND d.name = \
                   'default_database' AND d.tenant_id = 'default_tenant'";
        let collection: String = tables.query_row(sql, [name], |row| row.get(0)).unwrap();
        let sql = "SELECT id FROM segments WHERE collection = ? AND scope = 'VECTOR'";
        let segment: String = tables.query_row(sql, [&collection], |row| row.get(0)).unwrap();
        Self { collection, index: store.join(segment) }
    }
}

fn names(tables: &Connection) -> Vec<String> {
    let sql =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND sql NOT LIKE '%VIRTUAL%'";
    let mut statement = tables.prepare(sql).unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

fn columns(tables: &Connection, table: &str) -> Vec<String> {
    let mut statement = tables.prepare(&format!("PRAGMA table_info(\"{table}\")")).unwrap();
    let names = statement.query_map([], |row| row.get(1)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

/// A value, and the SQL that makes it of a parameter.
fn value(dice: &mut Dice) -> (Value, &'static str) {
    let long = LONGS[dice.below(LONGS.len())];
    match dice.below(10) {
        0 => (Value::Null, "?1"),
        1..=3 => (Value::Integer(long), "?1"),
        4 => (Value::Real(DOUBLES[dice.below(DOUBLES.len())]), "?1"),
        5 => (Value::Blob(bytes(dice, 8)), "?1"),
        6 => {
            let len = dice.below(64);
            (Value::Blob(bytes(dice, len)), "?1")
        }
        7 => (Value::Blob(vec![0xff, 0xc0, 0x41]), "CAST(?1 AS TEXT)"),
        _ => (Value::Text(text(dice)), "?1"),
    }
}

/// Changes rows of a collection (or, one time in four, of anything), and says what was done. What `SQLite` refuses is drawn
/// again.
pub(crate) fn change(dice: &mut Dice, store: &Path, collection: &str) -> String {
    let tables = Connection::open(store.join("chroma.sqlite3")).unwrap();
    let setup = "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; PRAGMA synchronous = OFF";
    tables.execute_batch(setup).unwrap();
    let mut last = String::new();
    for _ in 0..8 {
        match changed(dice, &tables, collection) {
            Ok(what) => return what,
            Err(why) => last = why.to_string(),
        }
    }
    format!("nothing: {last}")
}

fn changed(dice: &mut Dice, tables: &Connection, collection: &str) -> rusqlite::Result<String> {
    let (table, rows) = if dice.below(4) == 0 {
        let all = names(tables);
        (all[dice.below(all.len())].clone(), "?1 = ?1")
    } else {
        let (table, rows) = dice.one_of(&TABLES);
        (table.to_owned(), rows)
    };
    if dice.below(150) == 0 {
        tables.execute_batch(&format!("DROP TABLE \"{table}\""))?;
        return Ok(format!("the table {table} is gone"));
    }
    let count: i64 =
        tables.query_row(&format!("SELECT count(*) FROM \"{table}\" WHERE {rows}"), [collection], |row| row.get(0))?;
    let offset = i64::try_from(dice.below(usize::try_from(count).unwrap_or(1).max(1))).unwrap_or(0);
    let sql = format!("SELECT rowid FROM \"{table}\" WHERE {rows} ORDER BY rowid LIMIT 1 OFFSET ?2");
    let row: i64 = tables.query_row(&sql, params![collection, offset], |row| row.get(0))?;
    let all = columns(tables, &table);
    let column = &all[dice.below(all.len())];
    match dice.below(12) {
        0 => {
            tables.execute(&format!("DELETE FROM \"{table}\" WHERE rowid = ?"), [row])?;
            Ok(format!("row {row} of {table} is gone"))
        }
        1 => {
            let (value, made) = value(dice);
            let given: Vec<String> =
                all.iter().map(|one| if one == column { made.to_owned() } else { format!("\"{one}\"") }).collect();
            let listed: Vec<String> = all.iter().map(|one| format!("\"{one}\"")).collect();
            let (listed, given) = (listed.join(", "), given.join(", "));
            let sql = format!("INSERT INTO \"{table}\" ({listed}) SELECT {given} FROM \"{table}\" WHERE rowid = ?2");
            tables.execute(&sql, params![value, row])?;
            Ok(format!("row {row} of {table} is there again, with another {column}"))
        }
        2 => {
            let sql = format!(
                "UPDATE \"{table}\" SET \"{column}\" = (SELECT \"{column}\" FROM \"{table}\" LIMIT 1 OFFSET ?1) WHERE rowid = ?2"
            );
            tables.execute(&sql, params![i64::try_from(dice.below(40)).unwrap_or(0), row])?;
            Ok(format!("row {row} of {table} has another row's {column}"))
        }
        _ => {
            let (value, made) = value(dice);
            tables.execute(
                &format!("UPDATE \"{table}\" SET \"{column}\" = {made} WHERE rowid = ?2"),
                params![value, row],
            )?;
            let kind = value.data_type();
            Ok(format!("{column} of row {row} of {table} is a {kind}"))
        }
    }
}

/// Offsets in the first hundred bytes of a database, with their bytes.
const HEADER: [(usize, usize); 12] =
    [(16, 2), (18, 1), (19, 1), (20, 1), (28, 4), (32, 4), (36, 4), (40, 4), (44, 4), (52, 4), (56, 4), (92, 4)];

/// Changes a field of the database file: of its header, of a page's header, a cell's place, or what a cell begins with.
pub(crate) fn change_page(dice: &mut Dice, store: &Path) -> String {
    let path = store.join("chroma.sqlite3");
    let mut file = fs::read(&path).unwrap();
    let size = usize::from(u16::from_be_bytes([file[16], file[17]])).max(512);
    let pages = (file.len() / size).max(1);
    let page = if dice.below(3) == 0 { dice.below(pages.min(12)) } else { dice.below(pages) };
    let start = page * size;
    let top = if page == 0 { 100 } else { start };
    let (at, len) = match dice.below(5) {
        0 if page == 0 => dice.one_of(&HEADER),
        1 => (top + [0, 1, 3, 5, 8][dice.below(5)], 2),
        2 => (top + 8 + 2 * dice.below(20), 2),
        3 => {
            // where a cell is: its length, its row's number, its header
            let cell = top + 8 + 2 * dice.below(20);
            let place = usize::from(u16::from_be_bytes([file[cell], file[cell + 1]])).min(size - 1);
            (start + place + dice.below(6), 1 + dice.below(8))
        }
        _ => (start + dice.below(size), 1 + dice.below(4)),
    };
    let at = at.min(file.len() - 1);
    let len = len.min(file.len() - at);
    let new = bytes(dice, len);
    file[at..at + len].copy_from_slice(&new);
    fs::write(&path, file).unwrap();
    format!("{len} bytes at {at}, on page {}", page + 1)
}
