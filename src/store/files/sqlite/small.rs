//! Whether the small tables have the rows that their indexes name: a page of another table over theirs reads like an empty one. Works
//! inside the caller's transaction.

use rusqlite::{Connection, OptionalExtension as _, Result};

use super::around::Pages;
use super::connection::is_corrupt;
use super::values::quoted;

/// What the layout, and collections, are found and described by.
const TABLES: [&str; 8] = [
    "migrations",
    "tenants",
    "databases",
    "collections",
    "collection_metadata",
    "segments",
    "segment_metadata",
    "max_seq_id",
];

/// Notes the tables that do not agree with an index on them, and those that have lost rows.
///
/// # Errors
/// `SQLite`'s, for another reason than damage.
pub fn hold(db: &Connection, pages: &Pages) -> Result<()> {
    for table in TABLES {
        match disagreement(db, table) {
            Ok(None) => {}
            Ok(Some(lost)) => {
                pages.doubt(table);
                if lost > 0 {
                    pages.lose(table);
                }
            }
            // whoever reads the page says so
            Err(e) if is_corrupt(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// How many rows an index names and its table does not have; None where both name the same.
fn disagreement(db: &Connection, table: &str) -> Result<Option<i64>> {
    let sql = "SELECT name FROM pragma_index_list(?1) WHERE partial = 0 AND origin <> 'c'";
    let index: Option<String> = db.prepare_cached(sql)?.query_row([table], |row| row.get(0)).optional()?;
    let Some(index) = index else { return Ok(None) };
    let mut columns = db.prepare_cached("SELECT name FROM pragma_index_info(?1)")?;
    let columns = columns.query_map([&index], |row| row.get(0))?.collect::<Result<Vec<String>>>()?;
    let columns = columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let rows = |how: &str| format!("SELECT rowid, {columns} FROM {table} {how}");
    let (by_index, by_table) = (rows(&format!("INDEXED BY {}", quoted(&index))), rows("NOT INDEXED"));
    let only = |one: &str, other: &str| {
        let sql = format!("SELECT count(*) FROM ({one} EXCEPT {other})");
        db.query_row(&sql, [], |row| row.get::<_, i64>(0))
    };
    let (lost, unnamed) = (only(&by_index, &by_table)?, only(&by_table, &by_index)?);
    Ok((lost > 0 || unnamed > 0).then_some(lost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_agree_with_their_indexes_are_not_doubted() {
        let (db, pages) = (Connection::open_in_memory().unwrap(), Pages::default());
        db.execute_batch(
            "CREATE TABLE segments (id TEXT PRIMARY KEY, scope); INSERT INTO segments VALUES ('b', 1), ('a', 2);
             CREATE TABLE max_seq_id (segment_id TEXT PRIMARY KEY, seq_id); CREATE TEMP TABLE tenants (id);",
        )
        .unwrap();
        hold(&db, &pages).unwrap();
        assert!(TABLES.iter().all(|table| !pages.is_at_odds(table) && pages.lost(table).is_none()));
        assert_eq!(disagreement(&db, "segments").unwrap(), None);
    }
}
