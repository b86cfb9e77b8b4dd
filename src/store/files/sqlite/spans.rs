//! Where in the write-ahead log the entries of each collection are. The log has no index on collections: with thousands of these
//! each look at one would walk through the entries of all. Works inside the caller's transaction.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result};

use super::connection::is_corrupt;

/// Entries of other collections that a span may hold at first: to walk over them costs as much as to look for the next one.
const GAP: i64 = 64;
/// Spans that are kept. Beyond it neighbours are joined.
const MOST: usize = 1 << 17;

/// From one entry to another, with entries of other collections between them.
pub type Span = RangeInclusive<i64>;

/// The spans of all collections, as one connection saw them last, with `SQLite`'s number of that state of the database.
#[derive(Debug, Default)]
pub struct KnownSpans(RefCell<Option<(i64, Looked)>>);

#[derive(Debug)]
enum Looked {
    /// Somebody has asked, and may be the only one: a live source has another state at the next look.
    Once,
    /// None where the spans cannot be told.
    At(Option<Spans>),
}

impl KnownSpans {
    /// Where the entries of a collection after `after` are, in order: in these spans, and nowhere else in the log.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn of(&self, db: &Connection, collection: &str, after: i64) -> Result<Vec<Span>> {
        const ALL: Span = i64::MIN..=i64::MAX;
        let version: i64 = db.pragma_query_value(None, "data_version", |row| row.get(0))?;
        let mut known = self.0.borrow_mut();
        let Some((_, looked)) = known.as_mut().filter(|(at, _)| *at == version) else {
            *known = Some((version, Looked::Once));
            return Ok(vec![ALL]);
        };
        // who wants the end of the log only need not pay for the whole
        if matches!(looked, Looked::Once) && after == 0 {
            *looked = Looked::At(Spans::of(db)?);
        }
        Ok(match looked {
            Looked::At(Some(spans)) if !collection.contains(['/', '\0']) => {
                spans.of.get(collection.as_bytes()).cloned().unwrap_or_default()
            }
            _ => vec![ALL],
        })
    }
}

#[derive(Debug)]
struct Spans {
    /// By the end of the topic, which is the collection's id.
    of: HashMap<Box<[u8]>, Vec<Span>>,
    count: usize,
    gap: i64,
    most: usize,
}

impl Spans {
    /// Walks through the log; None where a page of it cannot be read, or it has more topics than are kept.
    fn of(db: &Connection) -> Result<Option<Self>> {
        let mut spans = Self { of: HashMap::new(), count: 0, gap: GAP, most: MOST };
        let mut statement = db.prepare_cached("SELECT seq_id, topic FROM embeddings_queue ORDER BY seq_id")?;
        let mut rows = statement.query([])?;
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(Some(spans)),
                Err(e) if is_corrupt(&e) => return Ok(None),
                Err(e) => return Err(e),
            };
            // what is no text is no topic for SQL, either
            let ValueRef::Text(topic) = row.get_ref(1)? else { continue };
            if !spans.take(row.get(0)?, topic) {
                return Ok(None);
            }
        }
    }

    /// Takes the next entry; false where there are more topics than are kept.
    fn take(&mut self, entry: i64, topic: &[u8]) -> bool {
        // for SQL a text ends there
        let topic = topic.split(|byte| *byte == 0).next().unwrap_or_default();
        let id = topic.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let gap = self.gap;
        if let Some(spans) = self.of.get_mut(id) {
            if let Some(last) = spans.last_mut().filter(|last| entry.saturating_sub(*last.end()) <= gap) {
                *last = *last.start()..=entry;
            } else {
                spans.push(entry..=entry);
                self.count += 1;
            }
        } else {
            self.of.insert(id.into(), std::iter::once(entry..=entry).collect());
            self.count += 1;
        }
        while self.count > self.most {
            if self.of.len() > self.most / 2 {
                return false;
            }
            self.join();
        }
        true
    }

    /// Joins spans that are near each other.
    fn join(&mut self) {
        self.gap = self.gap.saturating_mul(4);
        let gap = self.gap;
        self.count = 0;
        for spans in self.of.values_mut() {
            spans.dedup_by(|next, last| {
                let near = next.start().saturating_sub(*last.end()) <= gap;
                if near {
                    *last = *last.start()..=*next.end();
                }
                near
            });
            self.count += spans.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE embeddings_queue (seq_id INTEGER PRIMARY KEY, topic TEXT)").unwrap();
        db
    }

    /// The entries that SQL finds for a collection.
    fn found(db: &Connection, collection: &str) -> Vec<i64> {
        let sql = "SELECT seq_id FROM embeddings_queue WHERE substr(topic, -length(?1)) = ?1 ORDER BY seq_id";
        let mut statement = db.prepare(sql).unwrap();
        let rows = statement.query_map([format!("/{collection}")], |row| row.get(0)).unwrap();
        rows.collect::<Result<_>>().unwrap()
    }

    /// The spans once they are worth a walk: from the second look on.
    fn spans(known: &KnownSpans, db: &Connection, collection: &str) -> Vec<Span> {
        known.of(db, collection, 0).unwrap();
        known.of(db, collection, 0).unwrap()
    }

    /// Each entry is in one span of its collection, and the spans come in order.
    fn holds(db: &Connection, spans: &[Span], collection: &str) {
        assert!(spans.windows(2).all(|pair| pair[0].end() < pair[1].start()), "{spans:?}");
        for entry in found(db, collection) {
            assert!(spans.iter().any(|span| span.contains(&entry)), "{collection}: {entry} is in none of {spans:?}");
        }
    }

    #[test]
    fn every_entry_of_a_collection_is_in_its_spans_whatever_its_topic_is() {
        let db = log();
        assert!(spans(&KnownSpans::default(), &db, "a").is_empty());
        for (entry, topic) in [
            (-7, "'persistent://default/default/a'"),
            (1, "'persistent://default/default/a'"),
            (2, "'/b'"),
            (3, "'/a'||char(0)||'/b'"),
            (4, "x'2f61'"),
            (5, "NULL"),
            (6, "'a'"),
            (500, "'persistent://default/default/a'"),
            (501, "'persistent://default/default/b'"),
            (502, "cast(x'ff2f61' as text)"),
            (9_000_000_000_i64, "'other/a'"),
        ] {
            db.execute(&format!("INSERT INTO embeddings_queue VALUES ({entry}, {topic})"), []).unwrap();
        }
        let known = KnownSpans::default();
        for collection in ["a", "b", "c", "default/a", ""] {
            holds(&db, &spans(&known, &db, collection), collection);
        }
        assert_eq!(spans(&known, &db, "a"), [-7..=6, 500..=502, 9_000_000_000..=9_000_000_000]);
        assert_eq!(found(&db, "a"), [-7, 1, 3, 500, 502, 9_000_000_000]);
        assert!(spans(&known, &db, "c").is_empty());
    }

    /// What another connection writes is seen at the next look.
    #[test]
    fn spans_are_those_of_the_log_as_it_is_now() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("chroma.sqlite3");
        let writer = Connection::open(&file).unwrap();
        writer.execute_batch("CREATE TABLE embeddings_queue (seq_id INTEGER PRIMARY KEY, topic TEXT)").unwrap();
        let (db, known) = (Connection::open(&file).unwrap(), KnownSpans::default());
        for entries in 1..4_i64 {
            writer.execute("INSERT INTO embeddings_queue VALUES (?1, '/a')", [entries * 1000]).unwrap();
            let transaction = db.unchecked_transaction().unwrap();
            // one look at each state, as at a live source, or at the end of the log alone, costs no walk
            for after in [0, 1, 0] {
                holds(&transaction, &known.of(&transaction, "a", after).unwrap(), "a");
            }
            assert_eq!(known.of(&transaction, "a", 1).unwrap().len(), usize::try_from(entries).unwrap());
        }
        // a log that somebody emptied begins anew, below what was known
        writer.execute_batch("DELETE FROM embeddings_queue; INSERT INTO embeddings_queue VALUES (7, '/a')").unwrap();
        holds(&db, &known.of(&db, "a", 0).unwrap(), "a");
        let now = known.of(&db, "a", 0).unwrap();
        assert_eq!((now.len(), now.first()), (1, Some(&(7..=7))));
    }

    proptest! {
        #[test]
        fn spans_that_are_joined_lose_no_entry(
            topics in proptest::collection::vec((0u8..9, 1i64..400), 1..200),
            most in 18usize..60,
        ) {
            let db = log();
            let mut spans = Spans { of: HashMap::new(), count: 0, gap: GAP, most };
            let mut entry = 0;
            for (collection, step) in topics {
                entry += step;
                let topic = format!("persistent://default/default/{collection}");
                db.execute("INSERT INTO embeddings_queue VALUES (?1, ?2)", rusqlite::params![entry, topic]).unwrap();
                prop_assert!(spans.take(entry, topic.as_bytes()));
            }
            prop_assert!(spans.count <= most);
            prop_assert_eq!(spans.count, spans.of.values().map(Vec::len).sum::<usize>());
            for collection in 0u8..9 {
                let id = collection.to_string();
                holds(&db, spans.of.get(id.as_bytes()).map_or(&[], Vec::as_slice), &id);
            }
        }
    }
}
