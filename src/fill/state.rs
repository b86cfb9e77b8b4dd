//! What tells that nobody has changed a filled store since: the end of its log, and what it says of its collections. Reads only.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest as _, Sha256};

use super::failed;
use crate::model::Result;
use crate::store::files::sqlite::connection;
use crate::store::files::system::Failure;

/// What a store's tables and settings say, each row in order. A collection's schema and dimension are left out: the engine
/// writes them with records, and each record has an entry in the log.
const CATALOG: &str = "SELECT 1, id, NULL, NULL FROM tenants UNION ALL SELECT 2, id, name, tenant_id FROM databases \
                       UNION ALL SELECT 3, id, name, database_id FROM collections \
                       UNION ALL SELECT 4, collection_id, key, coalesce(str_value, int_value, float_value, bool_value) \
                       FROM collection_metadata ORDER BY 1, 2, 3, 4";

/// A store as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The number of the log's newest entry, also of one that was purged.
    pub entry: i64,
    /// A digest of its tenants, databases, collections and their metadata, as hexadecimal digits.
    pub catalog: String,
}

impl State {
    /// Reads it; of a store that was killed as Chroma would find it, from a copy.
    ///
    /// # Errors
    /// When the database cannot be read, or is in use.
    pub fn read(database: &Path) -> Result<Self> {
        let opened = connection::open(database).map_err(|failure| match failure {
            Failure::Again(error) | Failure::Final(error) => error,
        })?;
        state(&opened.connection).map_err(|e| failed("read", database, &e))
    }
}

/// Whether nobody has used a store yet: it has no collection, and its log no entry. Also beside its server.
///
/// # Errors
/// When the database cannot be read.
pub fn is_unused(database: &Path) -> Result<bool> {
    let read = || {
        let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(Duration::from_secs(10))?;
        let collections: i64 = db.query_row("SELECT count(*) FROM collections", [], |row| row.get(0))?;
        Ok(collections == 0 && newest(&db)? == 0)
    };
    read().map_err(|e| failed("read", database, &e))
}

fn state(db: &Connection) -> rusqlite::Result<State> {
    let mut digest = Sha256::new();
    let mut statement = db.prepare(CATALOG)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for at in 0..columns {
            // with its type and its length, so that no two rows read alike
            digest.update(format!("{:?}\n", row.get::<_, Sql>(at)?));
        }
    }
    let mut catalog = String::new();
    for byte in digest.finalize() {
        // a text takes all that is written into it
        let _ = write!(catalog, "{byte:02x}");
    }
    Ok(State { entry: newest(db)?, catalog })
}

/// The number of the log's newest entry.
pub(super) fn newest(db: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT max((SELECT coalesce(max(seq_id), 0) FROM embeddings_queue), \
               (SELECT coalesce(max(CAST(seq_id AS INTEGER)), 0) FROM max_seq_id))";
    db.query_row(sql, [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE tenants (id); CREATE TABLE databases (id, name, tenant_id);
             CREATE TABLE collections (id, name, database_id, dimension, schema_str);
             CREATE TABLE collection_metadata (collection_id, key, str_value, int_value, float_value, bool_value);
             CREATE TABLE embeddings_queue (seq_id INTEGER); CREATE TABLE max_seq_id (seq_id);
             INSERT INTO tenants VALUES ('t'); INSERT INTO databases VALUES ('d', 'd', 't');
             INSERT INTO collections VALUES ('c', 'one', 'd', 3, 's');
             INSERT INTO collection_metadata VALUES ('c', 'k', NULL, 1, NULL, NULL);
             INSERT INTO embeddings_queue VALUES (7); INSERT INTO max_seq_id VALUES (5);",
        )
        .unwrap();
        db
    }

    #[test]
    fn whatever_a_client_changes_shows_and_what_the_engine_notes_does_not() {
        let before = state(&database()).unwrap();
        assert_eq!(before.entry, 7);
        for change in [
            "UPDATE collections SET name = 'two'",
            "DELETE FROM collections",
            "INSERT INTO collections VALUES ('e', 'two', 'd', NULL, NULL)",
            "INSERT INTO databases VALUES ('e', 'e', 't')",
            "UPDATE collection_metadata SET int_value = 2",
            "UPDATE collection_metadata SET int_value = NULL, str_value = '1'",
            "DELETE FROM collection_metadata",
            "INSERT INTO embeddings_queue VALUES (8)",
            "UPDATE max_seq_id SET seq_id = 8",
        ] {
            let db = database();
            db.execute(change, []).unwrap();
            assert_ne!(state(&db).unwrap(), before, "{change}");
        }
        for change in ["UPDATE collections SET dimension = 4, schema_str = 'x'", "UPDATE max_seq_id SET seq_id = 7"] {
            let db = database();
            db.execute(change, []).unwrap();
            assert_eq!(state(&db).unwrap(), before, "{change}");
        }
    }
}
