//! Collections whose row is lost, as far as anything else names them: the indexes on the table, which hold ids and names, and the
//! segments. Works inside the caller's transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::{Connection, Result, Row};

use super::connection::is_corrupt;
use super::values::{quoted, shown};

/// A collection whose row is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// Its id.
    pub(super) id: String,
    /// Its name and the id of its database, if an index on the table has them.
    pub(super) named: Option<(String, String)>,
}

/// The collections that an index on the table names and the table does not have; where a page of the table is lost (`whole` is
/// false), also those that only segments name. In the order of their ids.
///
/// # Errors
/// `SQLite`'s, for another reason than damage.
pub(super) fn named(db: &Connection, known: &BTreeSet<String>, segments: &[String], whole: bool) -> Result<Vec<Lost>> {
    let ids: HashMap<i64, String> = match index(db, "pk")? {
        Some(index) => {
            let sql = format!("SELECT rowid, id FROM collections INDEXED BY {index} ORDER BY id");
            walk(db, &sql, |row| Ok(shown(row, 1)?.0))?.into_iter().collect()
        }
        None => HashMap::new(),
    };
    let mut lost: BTreeMap<&String, Option<i64>> =
        ids.iter().filter(|(_, id)| !known.contains(*id)).map(|(number, id)| (id, Some(*number))).collect();
    if !whole {
        for id in segments.iter().filter(|id| !known.contains(*id)) {
            lost.entry(id).or_insert(None);
        }
    }
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let names = names(db)?;
    let one = |(id, number): (&String, Option<i64>)| Lost {
        id: id.clone(),
        named: number.and_then(|number| names.get(&number).cloned()),
    };
    Ok(lost.into_iter().map(one).collect())
}

/// Name and id of the database of each row, by its number, as the index on them has it.
///
/// # Errors
/// `SQLite`'s, for another reason than damage.
pub(super) fn names(db: &Connection) -> Result<HashMap<i64, (String, String)>> {
    let Some(index) = index(db, "u")? else { return Ok(HashMap::new()) };
    let sql = format!("SELECT rowid, name, database_id FROM collections INDEXED BY {index} ORDER BY name, database_id");
    let both = |row: &Row<'_>| {
        let ((name, odd), (database, odder)) = (shown(row, 1)?, shown(row, 2)?);
        Ok((odd.is_none() && odder.is_none()).then_some((name, database)))
    };
    Ok(walk(db, &sql, both)?.into_iter().filter_map(|(number, both)| Some((number, both?))).collect())
}

/// The index that keeps ids unique (`pk`), or names in their database (`u`), quoted.
fn index(db: &Connection, origin: &str) -> Result<Option<String>> {
    let mut statement = db.prepare_cached("SELECT name FROM pragma_index_list('collections') WHERE origin = ?1")?;
    let mut rows = statement.query([origin])?;
    let name: Option<String> = rows.next()?.map(|row| row.get(0)).transpose()?;
    Ok(name.as_deref().map(quoted))
}

/// The rows of an index by their numbers, from both its ends around a page that cannot be read. `sql` ends in an order.
fn walk<T>(db: &Connection, sql: &str, take: impl Fn(&Row<'_>) -> Result<T>) -> Result<Vec<(i64, T)>> {
    let mut found = Vec::new();
    let backwards = sql.replace(", database_id", " DESC, database_id") + " DESC";
    for sql in [sql, &backwards] {
        let mut step = || -> Result<()> {
            let mut statement = db.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                found.push((row.get(0)?, take(row)?));
            }
            Ok(())
        };
        match step() {
            Ok(()) => break,
            Err(e) if is_corrupt(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_index_names_and_the_table_lacks_is_lost() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE collections (id TEXT PRIMARY KEY, name TEXT NOT NULL, database_id TEXT, UNIQUE (name, database_id));
             INSERT INTO collections VALUES ('a', 'first', 'd'), ('b', 'second', 'e')",
        )
        .unwrap();
        let all = ["a", "b"].map(str::to_owned);
        let looked = |known: &[&str], segments: &[&str], whole: bool| {
            let known = known.iter().map(|id| (*id).to_owned()).collect();
            let segments: Vec<String> = segments.iter().map(|id| (*id).to_owned()).collect();
            named(&db, &known, &segments, whole).unwrap()
        };
        let lost = |id: &str, named: Option<(&str, &str)>| Lost {
            id: id.to_owned(),
            named: named.map(|(name, database)| (name.to_owned(), database.to_owned())),
        };
        assert_eq!(looked(&["a", "b"], &["c"], true), []);
        assert_eq!(looked(&["a"], &["c"], true), [lost("b", Some(("second", "e")))]);
        assert_eq!(looked(&["b"], &["c", "b"], false), [lost("a", Some(("first", "d"))), lost("c", None)]);
        assert_eq!(looked(&all.each_ref().map(String::as_str), &[], false), []);
    }
}
