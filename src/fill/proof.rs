//! A second look at what was written, before it comes to its place: its tables agree with each other and with what was given.
//! Reads the finished database, and shares nothing with what wrote it. The run that follows cannot see all of this: it asks the
//! full-text table and the log about samples only.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use super::failed;
use crate::model::Result;

/// Records that are their collection's, in the tables and in the log alike.
const RECORDS: &str = "SELECT count(*), coalesce(max(e.seq_id), 0) FROM segments s JOIN embeddings e ON e.segment_id = s.id \
                       JOIN embeddings_queue q ON q.seq_id = e.seq_id AND q.id = e.embedding_id \
                       WHERE s.collection = ?1 AND s.scope = 'METADATA' AND substr(q.topic, -length(?1) - 1) = '/' || ?1 \
                       AND q.operation = 0 AND q.vector IS NOT NULL";
/// Records that are their collection's in the tables, where the log has the newest alone.
const INDEXED: &str = "SELECT count(*), coalesce(max(e.seq_id), 0) FROM segments s JOIN embeddings e ON e.segment_id = s.id \
                       WHERE s.collection = ?1 AND s.scope = 'METADATA' AND EXISTS (SELECT 1 FROM embeddings_queue q \
                       JOIN embeddings n ON n.segment_id = s.id AND n.seq_id = q.seq_id AND n.embedding_id = q.id \
                       WHERE substr(q.topic, -length(?1) - 1) = '/' || ?1 AND q.operation = 0 AND q.vector IS NOT NULL \
                       AND q.seq_id = (SELECT max(seq_id) FROM embeddings WHERE segment_id = s.id))";
/// How far a collection's tables say that they have followed the log.
const WATERMARK: &str = "SELECT coalesce(max(mark), 0), count(mark), coalesce(min(mark), 0) FROM ( \
                         SELECT CAST(m.seq_id AS INTEGER) AS mark FROM segments s \
                         JOIN max_seq_id m ON m.segment_id = s.id WHERE s.collection = ?)";
/// Documents whose full-text row is missing or has another text.
const UNINDEXED: &str = "SELECT count(*) FROM embedding_metadata m \
                         LEFT JOIN embedding_fulltext_search_content c ON c.id = m.id \
                         WHERE m.key = 'chroma:document' AND m.string_value IS NOT c.c0";
/// Keys of metadata that a collection's schema lacks, where it has one: a comparison sees what a record has, and no schema.
const UNNAMED: &str = "SELECT count(*) FROM (SELECT m.key FROM segments s JOIN embeddings e ON e.segment_id = s.id \
                       JOIN embedding_metadata m ON m.id = e.id JOIN collections c ON c.id = s.collection \
                       WHERE s.collection = ?1 AND m.key NOT IN ('chroma:document', 'chroma:uri') \
                       AND json_type(c.schema_str, '$.keys') = 'object' \
                       EXCEPT SELECT k.key FROM collections c, json_each(c.schema_str, '$.keys') k WHERE c.id = ?1)";

/// What a collection was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its UUID.
    pub collection: String,
    /// How many records.
    pub records: u64,
    /// Whether they are in an index, and only the newest is in the log, too.
    pub is_indexed: bool,
}

/// What does not add up in a database that was filled with these, in a sentence; None: nothing. `given` names all of its
/// collections.
///
/// # Errors
/// When it cannot be read.
pub fn problem(database: &Path, given: &[Given]) -> Result<Option<String>> {
    let read = || found(&Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?, given);
    read().map_err(|e| failed("read", database, &e))
}

fn found(db: &Connection, given: &[Given]) -> rusqlite::Result<Option<String>> {
    let schemas = "SELECT count(*) > 0 FROM pragma_table_info('collections') WHERE name = 'schema_str'";
    let has_schemas: bool = db.query_row(schemas, [], |row| row.get(0))?;
    for Given { collection, records, is_indexed } in given {
        let pair = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let (held, newest) = db.query_row(if *is_indexed { INDEXED } else { RECORDS }, [collection], pair)?;
        if u64::try_from(held).ok() != Some(*records) {
            return Ok(Some(format!("of {records} records of collection {collection} tables and log name {held}")));
        }
        let three = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let (mark, marks, least): (i64, i64, i64) = db.query_row(WATERMARK, [collection], three)?;
        if (mark, marks, least) != (newest, i64::from(*records > 0) + i64::from(*is_indexed), newest) {
            return Ok(Some(format!(
                "the {marks} watermarks of collection {collection} are {least} to {mark}, and its newest entry {newest}"
            )));
        }
        let unnamed: i64 = if has_schemas { db.query_row(UNNAMED, [collection], |row| row.get(0))? } else { 0 };
        if unnamed > 0 {
            return Ok(Some(format!("the schema of collection {collection} lacks {unnamed} keys of its metadata")));
        }
    }
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
    let all: u64 = given.iter().map(|one| one.records).sum();
    let logged = given.iter().map(|one| if one.is_indexed { 1 } else { one.records }).sum();
    for (table, expected) in [("embeddings", all), ("embeddings_queue", logged)] {
        let rows = count(&format!("SELECT count(*) FROM {table}"))?;
        if u64::try_from(rows).ok() != Some(expected) {
            return Ok(Some(format!("{table} has {rows} rows, and {expected} are expected")));
        }
    }
    let unindexed = count(UNINDEXED)?;
    if unindexed > 0 {
        return Ok(Some(format!("{unindexed} documents are not in the full-text table as they are")));
    }
    let documents = count("SELECT count(*) FROM embedding_metadata WHERE key = 'chroma:document'")?;
    for table in ["embedding_fulltext_search_content", "embedding_fulltext_search_docsize"] {
        let rows = count(&format!("SELECT count(*) FROM {table}"))?;
        if rows != documents {
            return Ok(Some(format!("{table} has {rows} rows for {documents} documents")));
        }
    }
    for table in ["embedding_metadata", "embedding_metadata_array"] {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?";
        if db.query_row(sql, params![table], |row| row.get::<_, i64>(0))? == 0 {
            continue;
        }
        let strange = count(&format!("SELECT count(*) FROM {table} WHERE id NOT IN (SELECT id FROM embeddings)"))?;
        if strange > 0 {
            return Ok(Some(format!("{strange} rows of {table} are no record's")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE segments (id, collection, scope); CREATE TABLE max_seq_id (segment_id, seq_id);
             CREATE TABLE embeddings (id INTEGER PRIMARY KEY, segment_id, embedding_id, seq_id);
             CREATE TABLE embeddings_queue (seq_id INTEGER PRIMARY KEY, operation, topic, id, vector);
             CREATE TABLE embedding_metadata (id, key, string_value);
             CREATE TABLE collections (id, schema_str);
             INSERT INTO collections VALUES ('c', json_object('keys', json_object('k', 1))), ('d', NULL);
             CREATE VIRTUAL TABLE embedding_fulltext_search USING fts5(string_value, tokenize='trigram');
             INSERT INTO segments VALUES ('m', 'c', 'METADATA'), ('v', 'c', 'VECTOR'), ('n', 'd', 'METADATA');
             INSERT INTO embeddings VALUES (1, 'm', 'a', 1), (2, 'm', 'b', 2);
             INSERT INTO embeddings_queue VALUES (1, 0, 'p/c', 'a', x'00'), (2, 0, 'p/c', 'b', x'00');
             INSERT INTO max_seq_id VALUES ('m', 2);
             INSERT INTO embedding_metadata VALUES (1, 'chroma:document', 'one'), (2, 'chroma:document', ''), (2, 'k', 'x');
             INSERT INTO embedding_fulltext_search (rowid, string_value) VALUES (1, 'one'), (2, '');",
        )
        .unwrap();
        db
    }

    fn given(is_indexed: bool) -> [Given; 2] {
        [("c", 2, is_indexed), ("d", 0, false)].map(|(collection, records, is_indexed)| Given {
            collection: collection.to_owned(),
            records,
            is_indexed,
        })
    }

    /// What is given adds up, and is found not to after each change.
    #[track_caller]
    fn assert_each_is_found(database: impl Fn() -> Connection, given: &[Given], changes: &[&str]) {
        assert_eq!(found(&database(), given).unwrap(), None);
        for change in changes {
            let db = database();
            assert!(db.execute(change, []).unwrap() > 0, "{change}");
            assert!(found(&db, given).unwrap().is_some(), "{change}");
        }
    }

    #[test]
    fn of_an_indexed_collection_the_log_has_the_newest_entry_alone() {
        let database = || {
            let db = database();
            db.execute_batch("DELETE FROM embeddings_queue WHERE seq_id = 1; INSERT INTO max_seq_id VALUES ('v', 2)")
                .unwrap();
            db
        };
        let changes = [
            "DELETE FROM embeddings_queue",
            "UPDATE embeddings_queue SET seq_id = 1",
            "UPDATE embeddings_queue SET id = 'a'",
            "UPDATE embeddings_queue SET topic = 'p/x'",
            "UPDATE embeddings_queue SET vector = NULL",
            "INSERT INTO embeddings_queue VALUES (1, 0, 'p/c', 'a', x'00')",
            "DELETE FROM embeddings WHERE id = 1",
            "DELETE FROM max_seq_id WHERE segment_id = 'v'",
            "UPDATE max_seq_id SET seq_id = 1 WHERE segment_id = 'v'",
        ];
        assert_each_is_found(database, &given(true), &changes);
    }

    #[test]
    fn what_adds_up_is_no_problem_and_each_change_is() {
        let changes = [
            "DELETE FROM embeddings WHERE id = 1",
            "UPDATE embeddings SET seq_id = 3 WHERE id = 2",
            "UPDATE embeddings SET embedding_id = 'x' WHERE id = 2",
            "INSERT INTO embeddings VALUES (3, 'o', 'c', 3)",
            "DELETE FROM embeddings_queue WHERE seq_id = 1",
            "UPDATE embeddings_queue SET topic = 'p/x'",
            "UPDATE embeddings_queue SET topic = 'p/xc'",
            "UPDATE embeddings_queue SET operation = 1",
            "UPDATE embeddings_queue SET vector = NULL",
            "INSERT INTO embeddings_queue VALUES (3, 0, 'p/c', 'c', x'00')",
            "DELETE FROM max_seq_id",
            "UPDATE max_seq_id SET seq_id = 1",
            "UPDATE max_seq_id SET seq_id = 3",
            "INSERT INTO max_seq_id VALUES ('v', 2)",
            "DELETE FROM embedding_fulltext_search WHERE rowid = 1",
            "UPDATE embedding_fulltext_search SET string_value = 'two' WHERE rowid = 1",
            "UPDATE embedding_fulltext_search SET rowid = 9 WHERE rowid = 2",
            "INSERT INTO embedding_fulltext_search (rowid, string_value) VALUES (3, 'x')",
            "UPDATE embedding_metadata SET string_value = 'x' WHERE id = 1",
            "DELETE FROM embedding_metadata WHERE id = 1",
            "UPDATE embedding_metadata SET id = 9 WHERE key = 'k'",
            "UPDATE embedding_metadata SET key = 'another' WHERE key = 'k'",
            "UPDATE collections SET schema_str = json_object('keys', json_object()) WHERE id = 'c'",
        ];
        assert_each_is_found(database, &given(false), &changes);
    }
}
