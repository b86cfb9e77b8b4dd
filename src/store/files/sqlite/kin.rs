//! Whose a METADATA segment is, by its rows, whatever the table `segments` says. Each entry of the write-ahead log has a
//! number that no other has, and its topic names the collection: a row of `embeddings` has id and number of its last change. A
//! watermark says nothing: that of an index may be the number of another collection's entry (seen in a store of 0.6.3). Works inside
//! the caller's transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result, Row};

use super::catalog::Catalog;
use super::connection::is_corrupt;
use super::values::seq_id;
use crate::store::files::log::queue::Operation;

/// Entries at the log's end of each collection that rows are held against.
const TAIL: usize = 64;

/// The segments by the collection that they were found to be of, and the other way round.
#[derive(Debug, Default)]
pub struct Kin {
    metadata: HashMap<String, String>,
    signs: BTreeMap<String, Signs>,
    /// Collections of which the log has an entry.
    logged: HashSet<Arc<str>>,
    /// Rows of segments of which nothing says whose they are, neither they nor the table `segments`.
    pub orphans: u64,
}

/// What speaks for whose a segment is.
#[derive(Debug, Default)]
struct Signs {
    rows: u64,
    of: BTreeSet<Arc<str>>,
}

impl Kin {
    /// Holds all segments against the log. `claimed`: those that the table `segments` gives to a collection.
    ///
    /// # Errors
    /// `SQLite`'s, for another reason than damage.
    pub fn of(catalog: Catalog<'_>, claimed: &HashSet<&str>) -> Result<Self> {
        let db = catalog.db;
        let Tail { entries, logged } = Tail::of(db)?;
        let mut signs: BTreeMap<String, Signs> = BTreeMap::new();
        walk(db, "SELECT segment_id, embedding_id, seq_id FROM embeddings NOT INDEXED ORDER BY id", |row| {
            let ValueRef::Text(segment) = row.get_ref(0)? else { return Ok(()) };
            let Ok(segment) = std::str::from_utf8(segment) else { return Ok(()) };
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
        let mut kin = Self { logged, ..Self::default() };
        let mut claims = Claims::new();
        let unclaimed = |segment: &str, rows: u64| if claimed.contains(segment) { 0 } else { rows };
        for (segment, Signs { rows, of }) in &signs {
            match of.first().filter(|_| of.len() == 1) {
                Some(of) => claims.entry(Arc::clone(of)).or_default().push((segment.clone(), *rows)),
                None => kin.orphans += unclaimed(segment, *rows),
            }
        }
        // two of one collection: nothing says which is its
        let several = claims.values().filter(|segments| segments.len() > 1).flatten();
        kin.orphans += several.map(|(segment, rows)| unclaimed(segment, *rows)).sum::<u64>();
        (kin.metadata, kin.signs) = (only(claims).collect(), signs);
        Ok(kin)
    }

    /// The collection of which a segment's rows are, if they are another one's than this.
    #[must_use]
    pub fn other(&self, segment: &str, collection: &str) -> Option<&str> {
        let Signs { of, .. } = self.signs.get(segment)?;
        of.first().filter(|_| !of.contains(collection)).map(|of| &**of)
    }

    /// The METADATA segment that was found to be a collection's.
    #[must_use]
    pub fn metadata(&self, collection: &str) -> Option<&String> {
        self.metadata.get(collection)
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
        let (db, pages) = (Connection::open_in_memory().unwrap(), Pages::default());
        db.execute_batch(&format!("{TABLES} {rows}")).unwrap();
        Kin::of(Catalog { db: &db, pages: &pages }, &claimed.iter().copied().collect()).unwrap()
    }

    /// Another collection's rows are never taken: number and id have to be those of the entry, and all signs of one collection.
    #[test]
    fn rows_say_whose_a_segment_is() {
        let log = "INSERT INTO embeddings_queue VALUES (1, 'x/a', 'r', 0), (2, 'x/b', 'r', 0), (3, 'x/a', 's', 0), (4, 'x/b', 'q', 3);";
        for (rows, claimed, expected) in [
            ("INSERT INTO embeddings VALUES (1, 'm', 'r', 1)", &[][..], (Some("m"), 0)),
            ("INSERT INTO embeddings VALUES (1, 'm', 'r', x'01')", &[], (Some("m"), 0)),
            // an id or a number that is no entry's
            ("INSERT INTO embeddings VALUES (1, 'm', 'other', 1), (2, 'm', 'r', 7)", &[], (None, 2)),
            // of two collections, or two of one
            ("INSERT INTO embeddings VALUES (1, 'm', 'r', 1), (2, 'm', 'r', 2)", &[], (None, 2)),
            ("INSERT INTO embeddings VALUES (1, 'm', 'r', 1), (2, 'n', 's', 3)", &[], (None, 2)),
            ("INSERT INTO embeddings VALUES (1, 'm', 'other', 1), (2, 'm', 'r', 7)", &["m"], (None, 0)),
            // whoever claims it: rows are a better sign
            ("INSERT INTO embeddings VALUES (1, 'm', 'r', 1)", &["m"], (Some("m"), 0)),
            // a watermark alone says nothing
            ("INSERT INTO max_seq_id VALUES ('m', 3)", &[], (None, 0)),
        ] {
            let kin = kin(&format!("{log} {rows}"), claimed);
            assert_eq!((kin.metadata("a").map(String::as_str), kin.orphans), expected, "{rows}");
            assert!(kin.is_logged("a") && kin.is_logged("b") && !kin.is_logged("c"));
        }
    }

    #[test]
    fn rows_say_that_a_segment_is_another_ones() {
        let log = "INSERT INTO embeddings_queue VALUES (1, 'x/a', 'r', 0), (2, 'x/b', 'r', 0);";
        let kin = kin(
            &format!("{log} INSERT INTO embeddings VALUES (1, 'm', 'r', 1), (2, 'n', 'r', 2), (3, 'o', 'r', 7)"),
            &[],
        );
        assert_eq!((kin.other("m", "a"), kin.other("m", "b"), kin.other("n", "b")), (None, Some("a"), None));
        assert_eq!((kin.other("o", "a"), kin.other("p", "a")), (None, None));
    }
}
