//! The tables `segments` and `segment_metadata`: which segments a collection has, and what their own metadata says.
//! Reads around pages that cannot be read.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Result, Row};

use super::around::{Around, Query};
use super::catalog::Catalog;
use super::connection::is_corrupt;
use super::kin::{Kin, is_name};
use super::spans::KnownSpans;
use super::values::shown;
use crate::model::Value;
use crate::model::distance::SPACE;

/// What one connection knows of all collections: their segments, as it saw them last, with `SQLite`'s number of that state of the
/// database, and where their entries are in the log. No index leads to either from a collection: with thousands of these, each look
/// would walk through the rows of all.
#[derive(Debug, Default)]
pub struct KnownRows {
    segments: RefCell<Option<(i64, Segments)>>,
    kin: RefCell<Option<(i64, Arc<Kin>)>>,
    /// Of the log.
    pub spans: KnownSpans,
}

/// Id and scope of segments, by collection.
pub(super) type Segments = HashMap<String, Vec<(String, String)>>;

impl Catalog<'_> {
    /// A collection's segments as (id, scope).
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn segments(&self, known: &KnownRows, collection: &str) -> Result<Vec<(String, String)>> {
        let version: i64 = self.db.pragma_query_value(None, "data_version", |row| row.get(0))?;
        let mut known = known.segments.borrow_mut();
        let all = match known.take_if(|(at, _)| *at == version) {
            Some((_, all)) => all,
            None => self.all_segments()?,
        };
        let found = all.get(collection).cloned().unwrap_or_default();
        *known = Some((version, all));
        Ok(found)
    }

    /// Whose segments are that no row gives to a collection. Looked for once in each state of the database.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn kin(&self, known: &KnownRows) -> Result<Arc<Kin>> {
        let version: i64 = self.db.pragma_query_value(None, "data_version", |row| row.get(0))?;
        let mut held = known.kin.borrow_mut();
        if let Some((_, kin)) = held.as_ref().filter(|(at, _)| *at == version) {
            return Ok(Arc::clone(kin));
        }
        let rows = self.all_segments()?;
        // what is left of a row on a bad page may name anything
        let sound = rows.iter().filter(|(collection, _)| is_name(collection)).flat_map(|(_, segments)| segments);
        let claimed: HashSet<&str> = sound.map(|(id, _)| id.as_str()).collect();
        let kin = Arc::new(Kin::of(*self, &claimed)?);
        if kin.orphans > 0 && self.pages.lost("segments").is_some() {
            self.pages.orphans(kin.orphans);
        }
        *held = Some((version, Arc::clone(&kin)));
        Ok(kin)
    }

    pub(super) fn all_segments(&self) -> Result<Segments> {
        let sql = "SELECT rowid, collection, id, scope, type FROM segments @ WHERE typeof(collection) = 'text'";
        let query = Query { table: "segments", sql };
        let mut all = Segments::new();
        let one = |row: &Row<'_>| {
            let (id, scope, kind) = (shown(row, 2)?.0, shown(row, 3)?.0, shown(row, 4)?.0);
            let scope = match scope.as_str() {
                "METADATA" | "VECTOR" => scope,
                odd => self.scope_of(&id, odd, &kind).unwrap_or(scope),
            };
            Ok((shown(row, 1)?.0, (id, scope)))
        };
        for (collection, segment) in query.rows(self.db, self.pages, [], one)?.rows {
            all.entry(collection).or_default().push(segment);
        }
        Ok(all)
    }

    /// The scope of a segment whose cell holds something else, by its type.
    fn scope_of(&self, segment: &str, odd: &str, kind: &str) -> Option<String> {
        let by_type = [("segment/metadata/", "METADATA"), ("segment/vector/", "VECTOR")];
        let (_, scope) = by_type.into_iter().find(|(part, _)| kind.contains(part))?;
        let said = format!(
            "SQLite's table segments holds the scope {odd:?} for the segment {segment}: it was read as {scope}, as its type says"
        );
        self.pages.say(segment, said);
        Some(scope.to_owned())
    }

    /// What a segment's own metadata says of its distance, if anything, and whether it can be read. Up to 0.6 the engine
    /// goes by this.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn segment_space(&self, segment: &str) -> Result<Around<(String, Value)>> {
        let sql = "SELECT rowid, key, str_value FROM segment_metadata @ \
                   WHERE segment_id = ?1 AND key = ?2 AND typeof(str_value) = 'text'";
        let query = Query { table: "segment_metadata", sql };
        query.rows(self.db, self.pages, [segment, SPACE], |row| Ok((shown(row, 1)?.0, Value::Str(shown(row, 2)?.0))))
    }

    /// Whether no segment has a distance in its metadata: then that is true of each, whichever a collection's is.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn has_no_segment_space(&self) -> Result<bool> {
        let mut statement = self.db.prepare_cached("SELECT 1 FROM segment_metadata WHERE key = ?1")?;
        match statement.exists([SPACE]) {
            Err(e) if is_corrupt(&e) => Ok(false),
            found => Ok(!found? && !self.pages.is_missing("segment_metadata")),
        }
    }

    /// What a segment's own metadata says of the links of a vector (M). Up to 0.6 the engine goes by this.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn segment_neighbours(&self, segment: &str) -> Result<Option<i64>> {
        let sql = "SELECT rowid, int_value FROM segment_metadata @ WHERE segment_id = ?1 AND key = 'hnsw:M'";
        let query = Query { table: "segment_metadata", sql };
        let found =
            query.rows(self.db, self.pages, [segment], |row| Ok(row.get_ref(1)?.as_i64_or_null().unwrap_or(None)))?;
        Ok(found.rows.into_iter().flatten().next())
    }
}

#[cfg(test)]
mod tests {
    use super::super::around::Pages;
    use super::*;
    use rusqlite::Connection;

    /// What another connection changes is seen at the next look, and only then the table is walked through again.
    #[test]
    fn known_segments_are_those_that_the_table_has_now() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("chroma.sqlite3");
        let writer = Connection::open(&file).unwrap();
        let insert = |id: &str, collection: &str| {
            writer.execute("INSERT INTO segments VALUES (?1, 'VECTOR', ?2, '')", [id, collection]).unwrap();
        };
        writer
            .execute_batch("CREATE TABLE segments (id TEXT PRIMARY KEY, scope TEXT, collection TEXT, type TEXT)")
            .unwrap();
        insert("a1", "a");
        insert("b1", "b");
        let (db, pages, known) = (Connection::open(&file).unwrap(), Pages::default(), KnownRows::default());
        let of = |collection: &str| {
            let transaction = db.unchecked_transaction().unwrap();
            let found = Catalog { db: &transaction, pages: &pages }.segments(&known, collection).unwrap();
            found.into_iter().map(|(id, _)| id).collect::<Vec<_>>().join(" ")
        };
        assert_eq!((of("a"), of("b"), of("c")), ("a1".into(), "b1".into(), String::new()));
        insert("a2", "a");
        insert("c1", "c");
        assert_eq!((of("a"), of("b"), of("c")), ("a1 a2".into(), "b1".into(), "c1".into()));
        writer.execute("DELETE FROM segments WHERE id = 'a1'", []).unwrap();
        assert_eq!(of("a"), "a2");
        // one transaction sees one state
        let transaction = db.unchecked_transaction().unwrap();
        let catalog = Catalog { db: &transaction, pages: &pages };
        assert_eq!(catalog.segments(&known, "b").unwrap().len(), 1);
        writer.busy_timeout(std::time::Duration::ZERO).unwrap();
        assert!(writer.execute("DELETE FROM segments", []).is_err(), "it is being read");
    }
}
