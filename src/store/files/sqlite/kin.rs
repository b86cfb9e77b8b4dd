//! Whose a segment is that no row of the table `segments` gives to a collection. Each entry of the write-ahead log has a number that
//! no other has, and its topic names the collection: a row of `embeddings` has the number of its last change, and `max_seq_id`
//! that of the last one that a segment took. Works inside the caller's transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Result, Row};

use super::catalog::Catalog;
use super::connection::is_corrupt;
use super::values::seq_id;
use crate::store::files::log::queue::Operation;

/// Entries at the log's end of each collection that rows are held against.
const TAIL: usize = 64;

/// The segments that no row names, by the collection that they were found to be of.
#[derive(Debug, Default)]
pub struct Kin {
    metadata: HashMap<String, String>,
    vector: HashMap<String, String>,
    /// Collections of which the log has an entry.
    logged: HashSet<Arc<str>>,
    /// Rows of segments of which nothing says whose they are.
    pub orphans: u64,
}

/// What speaks for whose a segment is.
#[derive(Debug, Default)]
struct Signs {
    rows: u64,
    of: BTreeSet<Arc<str>>,
}

impl Kin {
    /// Holds all segments that are not `claimed` against the log. `store`: the folder with the folders of indexes.
    ///
    /// # Errors
    /// `SQLite`'s, for another reason than damage.
    pub fn of(catalog: Catalog<'_>, claimed: &HashSet<&str>, store: &Path) -> Result<Self> {
        let db = catalog.db;
        let Tail { entries, logged } = Tail::of(db)?;
        let mut signs: BTreeMap<String, Signs> = BTreeMap::new();
        walk(db, "SELECT segment_id, embedding_id, seq_id FROM embeddings NOT INDEXED ORDER BY id", |row| {
            let ValueRef::Text(segment) = row.get_ref(0)? else { return Ok(()) };
            let Ok(segment) = std::str::from_utf8(segment) else { return Ok(()) };
            if claimed.contains(segment) {
                return Ok(());
            }
            if !signs.contains_key(segment) {
                signs.insert(segment.to_owned(), Signs::default());
            }
            let Some(found) = signs.get_mut(segment) else { return Ok(()) };
            found.rows += 1;
            if let (ValueRef::Text(id), Some(last)) = (row.get_ref(1)?, seq_id(row, 2)?)
                && let Some((of, _)) = entries.get(&last).filter(|(_, logged)| logged.as_slice() == id)
            {
                found.of.insert(Arc::clone(of));
            }
            Ok(())
        })?;
        for (segment, mark) in catalog.watermarks()? {
            if !claimed.contains(segment.as_str())
                && let Some(of) = topic(db, mark)?
            {
                signs.entry(segment).or_default().of.insert(of);
            }
        }
        let is_index = |segment: &str| is_name(segment) && store.join(segment).is_dir();
        let mut kin = Self { logged, ..Self::default() };
        let (mut with_rows, mut without, mut indexes) = (Claims::new(), Claims::new(), Claims::new());
        for (segment, Signs { rows, of }) in signs {
            match of.first().filter(|_| of.len() == 1) {
                Some(of) => {
                    let claims = match rows {
                        0 if is_index(&segment) => &mut indexes,
                        0 => &mut without,
                        _ => &mut with_rows,
                    };
                    claims.entry(Arc::clone(of)).or_default().push((segment, rows));
                }
                None => kin.orphans += rows,
            }
        }
        for (of, segments) in &with_rows {
            // two of one collection: nothing says which is its
            kin.orphans += if segments.len() > 1 { segments.iter().map(|(_, rows)| rows).sum() } else { 0 };
            without.remove(of);
        }
        kin.metadata = only(with_rows).chain(only(without)).collect();
        kin.vector = only(indexes).collect();
        Ok(kin)
    }

    /// The METADATA segment that was found to be a collection's.
    #[must_use]
    pub fn metadata(&self, collection: &str) -> Option<&String> {
        self.metadata.get(collection)
    }

    /// The VECTOR segment that was found to be a collection's.
    #[must_use]
    pub fn vector(&self, collection: &str) -> Option<&String> {
        self.vector.get(collection)
    }

    /// Whether the log has an entry of a collection.
    #[must_use]
    pub fn is_logged(&self, collection: &str) -> bool {
        self.logged.contains(collection)
    }
}

/// Segments and the numbers of their rows, by collection.
type Claims = HashMap<Arc<str>, Vec<(String, u64)>>;

fn only(claims: Claims) -> impl Iterator<Item = (String, String)> {
    let one = |(of, mut segments): (Arc<str>, Vec<(String, u64)>)| {
        let (segment, _) = segments.pop().filter(|_| segments.is_empty())?;
        Some((of.to_string(), segment))
    };
    claims.into_iter().filter_map(one)
}

/// A segment's id becomes a path: anything but a plain name could lead out of the store.
#[must_use]
pub fn is_name(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The last entries of each collection in the log.
#[derive(Default)]
struct Tail {
    /// By number: collection and record.
    entries: HashMap<i64, (Arc<str>, Vec<u8>)>,
    logged: HashSet<Arc<str>>,
}

impl Tail {
    fn of(db: &Connection) -> Result<Self> {
        let (mut tail, mut counts) = (Self::default(), HashMap::<Arc<str>, usize>::new());
        let sql = "SELECT seq_id, topic, id, operation FROM embeddings_queue ORDER BY seq_id DESC";
        walk(db, sql, |row| {
            let Some(of) = row.get_ref(1)?.as_str().ok().and_then(collection) else { return Ok(()) };
            let of = match tail.logged.get(of) {
                Some(known) => Arc::clone(known),
                None => Arc::from(of),
            };
            tail.logged.insert(Arc::clone(&of));
            let count = counts.entry(Arc::clone(&of)).or_default();
            let is_delete =
                row.get_ref(3)?.as_i64().is_ok_and(|code| Operation::from_code(code) == Some(Operation::Delete));
            // what is deleted has no row
            if *count < TAIL && !is_delete {
                *count += 1;
                if let ValueRef::Text(id) = row.get_ref(2)? {
                    tail.entries.insert(row.get(0)?, (of, id.to_vec()));
                }
            }
            Ok(())
        })?;
        Ok(tail)
    }
}

/// A topic ends in the collection's id.
fn collection(topic: &str) -> Option<&str> {
    topic.rsplit_once('/').map(|(_, id)| id).filter(|id| !id.is_empty())
}

/// The collection of an entry; None where the log has no such entry, or none that can be read.
fn topic(db: &Connection, entry: i64) -> Result<Option<Arc<str>>> {
    let mut statement = db.prepare_cached("SELECT topic FROM embeddings_queue WHERE seq_id = ?1")?;
    let of = |row: &Row<'_>| Ok(row.get_ref(0)?.as_str().ok().and_then(collection).map(Arc::from));
    match statement.query_row([entry], of).optional() {
        Err(e) if is_corrupt(&e) => Ok(None),
        found => Ok(found?.flatten()),
    }
}

/// Hands on every row, from both ends around a page that cannot be read. `sql` ends in an order.
fn walk(db: &Connection, sql: &str, mut take: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
    let backwards = sql.strip_suffix(" DESC").map_or_else(|| format!("{sql} DESC"), str::to_owned);
    for sql in [sql, &backwards] {
        let mut step = || -> Result<()> {
            let mut statement = db.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                take(row)?;
            }
            Ok(())
        };
        match step() {
            Ok(()) => break,
            Err(e) if is_corrupt(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::around::Pages;
    use super::*;

    const TABLES: &str = "CREATE TABLE embeddings (id INTEGER PRIMARY KEY, segment_id, embedding_id, seq_id);
        CREATE TABLE embeddings_queue (seq_id INTEGER PRIMARY KEY, topic, id, operation);
        CREATE TABLE max_seq_id (segment_id, seq_id);";

    fn kin(rows: &str, claimed: &[&str]) -> Kin {
        let (db, pages, store) =
            (Connection::open_in_memory().unwrap(), Pages::default(), tempfile::tempdir().unwrap());
        std::fs::create_dir(store.path().join("index")).unwrap();
        db.execute_batch(&format!("{TABLES} {rows}")).unwrap();
        Kin::of(Catalog { db: &db, pages: &pages }, &claimed.iter().copied().collect(), store.path()).unwrap()
    }

    /// Another collection's rows are never taken: number and id have to be those of the entry, and all signs of one collection.
    #[test]
    fn rows_and_watermarks_say_whose_a_segment_is() {
        let log = "INSERT INTO embeddings_queue VALUES (1, 'x/a', 'r', 0), (2, 'x/b', 'r', 0), (3, 'x/a', 's', 0), (4, 'x/b', 'q', 3);";
        for (rows, claimed, expected) in [
            ("INSERT INTO embeddings VALUES (1, 'm', 'r', 1)", &[][..], (Some("m"), None, None, 0)),
            ("INSERT INTO embeddings VALUES (1, 'm', 'r', x'01')", &[], (Some("m"), None, None, 0)),
            // an id or a number that is no entry's
            ("INSERT INTO embeddings VALUES (1, 'm', 'other', 1), (2, 'm', 'r', 7)", &[], (None, None, None, 2)),
            // of two collections, or two of one
            ("INSERT INTO embeddings VALUES (1, 'm', 'r', 1), (2, 'm', 'r', 2)", &[], (None, None, None, 2)),
            ("INSERT INTO embeddings VALUES (1, 'm', 'r', 1), (2, 'n', 's', 3)", &[], (None, None, None, 2)),
            ("INSERT INTO embeddings VALUES (1, 'm', 'r', 1)", &["m"], (None, None, None, 0)),
            // the watermark of one that has no rows, an index, and both of one collection
            ("INSERT INTO max_seq_id VALUES ('m', 3), ('index', 1)", &[], (Some("m"), Some("index"), None, 0)),
            ("INSERT INTO max_seq_id VALUES ('m', 4)", &[], (None, None, Some("m"), 0)),
            ("INSERT INTO max_seq_id VALUES ('m', 9), ('index', 9)", &[], (None, None, None, 0)),
            (
                "INSERT INTO embeddings VALUES (1, 'm', 'r', 1); INSERT INTO max_seq_id VALUES ('m', 2)",
                &[],
                (None, None, None, 1),
            ),
            (
                "INSERT INTO embeddings VALUES (1, 'm', 'r', 1); INSERT INTO max_seq_id VALUES ('gone', 3)",
                &[],
                (Some("m"), None, None, 0),
            ),
        ] {
            let kin = kin(&format!("{log} {rows}"), claimed);
            let word = |found: Option<&String>| found.map(String::as_str).map(str::to_owned);
            let found = (word(kin.metadata("a")), word(kin.vector("a")), word(kin.metadata("b")), kin.orphans);
            let (a, index, b, orphans) = expected;
            assert_eq!(
                found,
                (a.map(str::to_owned), index.map(str::to_owned), b.map(str::to_owned), orphans),
                "{rows}"
            );
            assert!(kin.is_logged("a") && kin.is_logged("b") && !kin.is_logged("c"));
        }
    }
}
