//! Whether a folder holds a store whose making was cut short: tables that are not all there, and nothing in them.
//! Reads only. Blocking.
//!
//! Chroma makes a store by its migrations, those of `embeddings_queue` first, then `sysdb`, then `metadb` (measured on
//! 0.4.24, 0.6.3 and 1.5.9, killed within 150 ms of the file's first byte): up to 0.6 each by itself, and 0.6.3 fails on
//! what it has left half-made; 1.5.9 makes all of them in one transaction.

use std::path::Path;

use rusqlite::Connection;

use super::around::Pages;
use super::catalog::Catalog;
use super::connection::{self, failure};
use super::schema::Layout;
use super::tables;
use crate::model::{Error, Result};
use crate::store::files::DATABASE;
use crate::store::files::system::Failure;

/// Migrations in the order in which Chroma applies them.
const ORDER: [&str; 3] = ["embeddings_queue", "sysdb", "metadb"];
/// Tables that a store without any content has rows in: what Chroma keeps there about itself.
const OWN: [&str; 4] = ["migrations", "acquire_write", "embeddings_queue_config", "maintenance_log"];
/// How the full-text index begins, `embedding_fulltext` before the third migration of `metadb` (0.6.3, seen after a kill) and
/// `embedding_fulltext_search` since. Its own tables are never empty; what it indexes is looked at.
const INDEX: &str = "embedding_fulltext";

/// The migrations of a store that holds no collection, no record, no log and no tenant of anybody's; None for one that
/// holds any of these, or another file than the database.
///
/// # Errors
/// When it cannot be read.
pub fn empty(folder: &Path) -> Result<Option<Layout>> {
    let database = folder.join(DATABASE);
    if has_other_files(folder) {
        return Ok(None);
    }
    // Chroma creates the file empty and fills it a moment later.
    if std::fs::metadata(&database).is_ok_and(|found| found.len() == 0) {
        return Ok(Some(Layout::default()));
    }
    let look = || {
        let opened = connection::open(&database)?;
        opened.must_be_whole()?;
        let sql = |e| failure(&database, &e);
        let db = &opened.connection;
        let (layout, whole) = Catalog { db, pages: &Pages::default() }.layout().map_err(sql)?;
        Ok((whole && is_empty(db).map_err(sql)?).then_some(layout))
    };
    look().map_err(|failure| match failure {
        Failure::Again(error) | Failure::Final(error) => error,
    })
}

fn has_other_files(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return true };
    let is_other = |name: &str| name != "lost+found" && !name.starts_with(DATABASE);
    entries.flatten().any(|entry| entry.file_name().to_str().is_none_or(is_other))
}

fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    for table in tables::tables(db)?.into_keys() {
        if OWN.contains(&table.as_str()) || table.starts_with("sqlite_") || table.starts_with(INDEX) {
            continue;
        }
        let own = match table.as_str() {
            "tenants" => "id = 'default_tenant'",
            "databases" => "name = 'default_database' AND tenant_id = 'default_tenant'",
            _ => "0",
        };
        let quoted = table.replace('"', "\"\"");
        let sql = format!("SELECT EXISTS (SELECT 1 FROM \"{quoted}\" WHERE NOT ({own}))");
        if db.query_row(&sql, [], |row| row.get::<_, bool>(0))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether an engine with the layout `whole` leaves this one behind when it is ended while it makes a store: one folder
/// of migrations after the other. An older store that is whole has all three folders, and is none.
#[must_use]
pub fn is_beginning(layout: &Layout, whole: &Layout) -> bool {
    let names = |layout: &Layout| -> Vec<(String, i64, String)> {
        layout.migrations.iter().map(|m| (m.dir.clone(), m.version, m.filename.clone())).collect()
    };
    let all = names(whole);
    let mut cut = false;
    names(layout).iter().all(|one| all.contains(one))
        && ORDER.iter().all(|dir| {
            let (there, wanted) = (layout.last(dir), whole.last(dir));
            let fits = !cut || there == 0;
            cut |= there < wanted;
            fits
        })
}

/// What a reader is told of an empty store whose tables are not all there: that there is no store yet. None for any other.
pub(in crate::store::files) fn unborn(folder: &Path) -> Option<Error> {
    empty(folder).ok().flatten()?;
    Some(Error::NotFound {
        store: folder.display().to_string(),
        what: format!("a Chroma store ({DATABASE})"),
        remedy: "its tables are not all there, and they hold nothing: a Chroma is making it, or was ended while it did; wait, \
                 or start that Chroma again"
            .to_owned(),
    })
}

/// As [`empty`], for a folder that could not be opened as a store: the first error stays where this finds none either.
///
/// # Errors
/// `error`, unless the store is an empty one.
pub fn or_empty(folder: &Path, error: Error) -> Result<()> {
    match empty(folder) {
        Ok(Some(_)) => Ok(()),
        Ok(None) | Err(_) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::Migration;
    use super::*;

    fn layout(queue: i64, sysdb: i64, metadb: i64) -> Layout {
        let one = |dir: &str, version| Migration {
            dir: dir.to_owned(),
            version,
            filename: format!("{version:05}.sql"),
            hash: String::new(),
        };
        let all = [("embeddings_queue", queue), ("sysdb", sysdb), ("metadb", metadb)];
        Layout::new(all.iter().flat_map(|(dir, last)| (1..=*last).map(|n| one(dir, n))).collect())
    }

    #[test]
    fn what_an_engine_leaves_behind_is_told_from_what_an_older_one_made() {
        let whole = layout(2, 10, 6);
        for (there, expected) in [
            (layout(0, 0, 0), true),
            (layout(1, 0, 0), true),
            (layout(2, 0, 0), true),
            (layout(2, 7, 0), true),
            (layout(2, 10, 0), true),
            (layout(2, 10, 5), true),
            (layout(2, 10, 6), true),
            // whole stores of 0.4.24, 0.6.3 and 1.0.20
            (layout(1, 4, 3), false),
            (layout(2, 9, 4), false),
            (layout(2, 9, 5), false),
            (layout(2, 11, 0), false),
            (layout(1, 10, 0), false),
        ] {
            assert_eq!(is_beginning(&there, &whole), expected, "{}", there.version());
        }
    }

    #[test]
    fn any_row_of_a_user_and_any_other_file_makes_it_somebodys() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join(DATABASE);
        std::fs::write(&database, "").unwrap();
        assert_eq!(empty(dir.path()).unwrap(), Some(Layout::default()));
        let db = Connection::open(&database).unwrap();
        db.execute_batch(
            "CREATE TABLE tenants (id TEXT); INSERT INTO tenants VALUES ('default_tenant');
             CREATE TABLE acquire_write (id INTEGER); INSERT INTO acquire_write VALUES (1);
             CREATE TABLE collections (id TEXT);
             CREATE TABLE embedding_fulltext_data (x); INSERT INTO embedding_fulltext_data VALUES (1);",
        )
        .unwrap();
        let is_empty = || empty(dir.path()).unwrap().is_some();
        assert!(is_empty());
        for (made, gone) in [
            ("INSERT INTO tenants VALUES ('mine')", "DELETE FROM tenants WHERE id = 'mine'"),
            ("INSERT INTO collections VALUES ('mine')", "DELETE FROM collections"),
            ("CREATE TABLE \"a\"\"b\" (x); INSERT INTO \"a\"\"b\" VALUES (1)", "DROP TABLE \"a\"\"b\""),
        ] {
            db.execute_batch(made).unwrap();
            assert!(!is_empty(), "{made}");
            db.execute_batch(gone).unwrap();
            assert!(is_empty(), "{gone}");
        }
        std::fs::create_dir(dir.path().join("an-index")).unwrap();
        assert!(!is_empty());
    }
}
