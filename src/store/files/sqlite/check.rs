//! What does not add up in a database as a whole: pages and indexes of the tables that are read, and documents against the
//! full-text table. Reads everything once, so it is for a store that nothing has open; gives way to a writer that comes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Result};

use super::connection::is_corrupt;
use super::strays;
use super::tables::has;
use super::texts::{self, Texts};
use crate::store::files::system;

/// How often somebody looks for a writer.
const LOOK: Duration = Duration::from_millis(50);
/// Sentences of `SQLite`'s that are told.
const TOLD: usize = 3;
/// The tables that records are read from.
const TABLES: [&str; 11] = [
    "tenants",
    "databases",
    "collections",
    "collection_metadata",
    "segments",
    "segment_metadata",
    "max_seq_id",
    "embeddings",
    "embedding_metadata",
    "embedding_metadata_array",
    "embeddings_queue",
];

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Of the database as a whole, in sentences.
    pub damage: Vec<String>,
    /// The tables with which `SQLite`'s own check finds fault.
    pub tables: BTreeSet<&'static str>,
    /// Whether the rows of the log are not in the order of their numbers.
    pub is_log_turned: bool,
    /// Of the documents, by METADATA segment.
    pub texts: HashMap<String, Texts>,
}

/// Checks a database unless something has it open. `is_copy`: it is a copy that nobody else knows.
///
/// # Errors
/// `SQLite`'s, for another reason than damage.
pub fn check(db: &Connection, database: &Path, is_copy: bool) -> Result<Option<Findings>> {
    if is_copy {
        return findings(db).map(Some);
    }
    let names = ["", "-journal", "-wal", "-shm"].map(|ending| system::beside(database, ending));
    let Ok(file) = system::database(database) else { return Ok(None) };
    let is_written = || system::has_writer(&file, database).unwrap_or(true);
    if is_written() || !system::users(system::one_of(&names)).is_empty() {
        return Ok(None);
    }
    // Processes of other containers do not show. One that wants to write waits for us: it shows by its lock.
    let interrupt = db.get_interrupt_handle();
    let (done, ended) = mpsc::channel::<()>();
    let found = std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                if is_written() {
                    interrupt.interrupt();
                }
            }
        });
        let found = findings(db);
        drop(done);
        found
    });
    match found {
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(None),
        found => found.map(Some),
    }
}

fn findings(db: &Connection) -> Result<Findings> {
    let (mut damage, mut tables) = (Vec::new(), BTreeSet::new());
    for table in TABLES {
        if let Some(what) = integrity(db, table)? {
            tables.insert(table);
            damage.push(what);
        }
    }
    let is_log_turned = tables.contains("embeddings_queue") && is_turned(db)?;
    damage.extend(strays::told(db)?);
    let texts = match born(db).and_then(|born| texts::of(db, &born)) {
        Err(e) if is_corrupt(&e) => {
            damage.push(format!("its documents cannot be held against its full-text table: {e}"));
            HashMap::new()
        }
        found => found?,
    };
    Ok(Findings { damage, tables, is_log_turned, texts })
}

/// `SQLite`'s own check of a table and its indexes, as one sentence; None where it finds nothing.
fn integrity(db: &Connection, table: &str) -> Result<Option<String>> {
    if !has(db, table)? {
        return Ok(None);
    }
    let mut said: Vec<String> = Vec::new();
    let mut statement = db.prepare(&format!("PRAGMA integrity_check(\"{table}\")"))?;
    let mut rows = statement.query([])?;
    loop {
        match rows.next() {
            Ok(None) => break,
            Ok(Some(row)) => said.extend(sentences(&row.get::<_, String>(0)?)),
            Err(e) if is_corrupt(&e) => {
                said.push(e.to_string());
                break;
            }
            Err(e) => return Err(e),
        }
    }
    if said.iter().all(|line| line == "ok") {
        return Ok(None);
    }
    let more = said.len().saturating_sub(TOLD);
    said.truncate(TOLD);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Ok(Some(format!("SQLite's integrity_check of the table {table} says: {}{more}", said.join("; "))))
}

/// Whether a walk through the log meets a number that is not greater than the one before.
fn is_turned(db: &Connection) -> Result<bool> {
    let mut statement = db.prepare("SELECT seq_id FROM embeddings_queue NOT INDEXED")?;
    let mut rows = statement.query([])?;
    let mut last = i64::MIN;
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                let entry: i64 = row.get(0)?;
                if entry <= last {
                    return Ok(true);
                }
                last = entry;
            }
            Ok(None) => return Ok(false),
            // what comes after such a page is told elsewhere
            Err(e) if is_corrupt(&e) => return Ok(false),
            Err(e) => return Err(e),
        }
    }
}

/// The lines of an answer, which may be several, without its headline.
fn sentences(answer: &str) -> Vec<String> {
    let lines = answer.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("***")).map(str::to_owned).collect()
}

/// The last migration of each kind that the store was made with: later ones follow when all kinds are through.
///
/// # Errors
/// `SQLite`'s.
pub fn born(db: &Connection) -> Result<BTreeMap<String, i64>> {
    let mut statement = db.prepare("SELECT dir, version FROM migrations ORDER BY rowid")?;
    let mut rows = statement.query([])?;
    let (mut born, mut ended): (BTreeMap<String, i64>, HashSet<String>) = (BTreeMap::new(), HashSet::new());
    let mut current = String::new();
    while let Some(row) = rows.next()? {
        // an odd cell says nothing
        let (Ok(kind), Ok(version)) = (row.get::<_, String>(0), row.get::<_, i64>(1)) else { continue };
        if kind != current {
            ended.insert(std::mem::replace(&mut current, kind.clone()));
            if ended.contains(&kind) {
                break;
            }
        }
        born.insert(kind, version);
    }
    Ok(born)
}

/// What was found of a store, once looked for.
#[derive(Debug, Default)]
pub struct Once(Mutex<Option<std::sync::Arc<Findings>>>);

impl Once {
    /// The findings; none before the first look.
    #[must_use]
    pub fn get(&self) -> Option<std::sync::Arc<Findings>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps them.
    pub fn set(&self, findings: Findings) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::sync::Arc::new(findings));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Issue 22: `inspect` showed the line breaks between them as `\\n`.
    #[test]
    fn an_answer_of_several_lines_is_several_sentences() {
        let answer = "*** in database main ***\nTree 5 page 3: free space\n\n  Tree 5 page 4: never used\n";
        assert_eq!(sentences(answer), ["Tree 5 page 3: free space", "Tree 5 page 4: never used"]);
        assert_eq!(sentences("ok"), ["ok"]);
    }

    #[test]
    fn a_store_was_born_with_what_came_before_its_first_upgrade() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE migrations (dir, version)").unwrap();
        let add = |kind: &str, version: i64| {
            db.execute("INSERT INTO migrations VALUES (?, ?)", rusqlite::params![kind, version]).unwrap();
        };
        for (kind, last) in [("embeddings_queue", 1), ("sysdb", 4), ("metadb", 3)] {
            (1..=last).for_each(|version| add(kind, version));
        }
        let expected = [("embeddings_queue", 1), ("metadb", 3), ("sysdb", 4)].map(|(k, v)| (k.to_owned(), v));
        assert_eq!(born(&db).unwrap(), expected.clone().into());
        for (kind, version) in [("embeddings_queue", 2), ("sysdb", 5), ("metadb", 4)] {
            add(kind, version);
        }
        assert_eq!(born(&db).unwrap(), expected.into());
    }
}
