//! Reads around pages that cannot be read: an index by its table, a table from both its ends. What was read so is noted,
//! for then nobody knows what is missing. Works inside the caller's transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Params, Result, Row};

use super::connection::is_corrupt;

/// What of the tables could not be read: pages, each with what `SQLite` says, whole tables, and cells.
#[derive(Debug, Default)]
pub struct Pages(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    pages: BTreeMap<&'static str, Bad>,
    missing: BTreeSet<&'static str>,
    /// Tables that SQLite's own check finds fault with.
    at_odds: BTreeSet<&'static str>,
    is_log_turned: bool,
    /// By segment.
    said: BTreeSet<(String, String)>,
    /// How short the whole file is.
    cut: Option<String>,
    /// By the database that stands for a lost one, as tenant and name: collections.
    strays: BTreeMap<(String, String), BTreeSet<String>>,
    /// Rows of segments of which nothing says whose they are.
    orphans: u64,
}

/// Sentences that are kept.
const SAID: usize = 20;
/// Databases that are told, and collections of each.
const STRAYS: usize = 100;

#[derive(Debug)]
struct Bad {
    error: String,
    /// Whether every row was read all the same: only an index is damaged.
    whole: bool,
}

impl Pages {
    /// Notes that a page of a table, or of an index on it, cannot be read.
    pub fn note(&self, table: &'static str, error: &rusqlite::Error, whole: bool) {
        let mut noted = self.noted();
        let bad = noted.pages.entry(table).or_insert_with(|| Bad { error: error.to_string(), whole });
        bad.whole &= whole;
    }

    /// Notes that an index names rows that its table does not have.
    pub fn lose(&self, table: &'static str) {
        let why = || Bad { error: "an index names rows that it does not have".to_owned(), whole: false };
        self.noted().pages.entry(table).or_insert_with(why).whole = false;
    }

    /// Notes that `SQLite`'s own check finds fault with a table or its indexes: what one of them names is looked for in the others.
    pub fn doubt(&self, table: &'static str) {
        self.noted().at_odds.insert(table);
    }

    /// Whether `SQLite`'s own check finds fault with a table or its indexes.
    #[must_use]
    pub fn is_at_odds(&self, table: &str) -> bool {
        self.noted().at_odds.contains(table)
    }

    /// Notes that the rows of the log are not in the order of their numbers, so that a search by number misses some.
    pub fn turn_log(&self) {
        self.noted().is_log_turned = true;
    }

    /// Whether the rows of the log are not in the order of their numbers.
    #[must_use]
    pub fn is_log_turned(&self) -> bool {
        self.noted().is_log_turned
    }

    /// Notes that a table is missing.
    pub fn miss(&self, table: &'static str) {
        self.noted().missing.insert(table);
    }

    /// Notes how short the whole file is, in a sentence about it.
    pub fn cut(&self, what: &str) {
        self.noted().cut = Some(what.to_owned());
    }

    /// Notes a collection whose database has no row, or an odd one, and which one stands for it.
    pub fn stray(&self, tenant: &str, database: &str, collection: &str) {
        let mut noted = self.noted();
        let key = (tenant.to_owned(), database.to_owned());
        if noted.strays.len() < STRAYS || noted.strays.contains_key(&key) {
            let all = noted.strays.entry(key).or_default();
            if all.len() < STRAYS {
                all.insert(collection.to_owned());
            }
        }
    }

    /// Notes how many records are of segments of which nothing says whose they are.
    pub fn orphans(&self, rows: u64) {
        self.noted().orphans = rows;
    }

    /// Notes what a cell of a segment holds, in a sentence.
    pub fn say(&self, segment: &str, sentence: String) {
        let mut noted = self.noted();
        if noted.said.len() < SAID {
            noted.said.insert((segment.to_owned(), sentence));
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a table is missing.
    #[must_use]
    pub fn is_missing(&self, table: &str) -> bool {
        self.noted().missing.contains(table)
    }

    /// Why rows of a table are lost, in a sentence; None for a whole one, as far as it was read.
    #[must_use]
    pub fn lost(&self, table: &str) -> Option<String> {
        let noted = self.noted();
        if noted.missing.contains(table) {
            return Some(format!("the table {table} is missing"));
        }
        let bad = noted.pages.get(table).filter(|bad| !bad.whole)?;
        let cut = noted.cut.as_ref().map_or_else(String::new, |what| format!("; the file is cut short: {what}"));
        Some(format!("a page of the table {table} cannot be read ({}{cut})", bad.error))
    }

    /// What was noted of these segments' cells, in sentences.
    #[must_use]
    pub fn told_of(&self, segments: [&str; 2]) -> Vec<String> {
        let noted = self.noted();
        noted.said.iter().filter(|(of, _)| segments.contains(&of.as_str())).map(|(_, said)| said.clone()).collect()
    }

    /// What was noted of tables, in sentences.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let noted = self.noted();
        let one = |(table, Bad { error, whole }): (&&str, &Bad)| {
            if *whole {
                format!(
                    "an index on SQLite's table {table} cannot be read ({error}); the table itself was read instead"
                )
            } else {
                format!("a page of SQLite's table {table} cannot be read ({error}), and the rows on it are lost")
            }
        };
        let missing =
            noted.missing.iter().map(|table| format!("SQLite's table {table} is missing, and its rows are lost"));
        let cut = noted.cut.iter().map(|what| {
            format!("chroma.sqlite3 is cut short: {what}, and what stood on the pages that are gone is lost")
        });
        let strays = noted.strays.iter().map(|((tenant, database), all)| {
            let first = all.first().map_or("", String::as_str);
            let more = all.len().saturating_sub(1);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!(
                "collection {first:?}{more}, whose database is not in the table databases, or has an odd row there: read as of \
                 tenant {tenant:?}, database {database:?}"
            )
        });
        let orphans = (noted.orphans > 0).then(|| {
            format!(
                "nothing says of which collection {} of SQLite's table embeddings are, for the rows of their segments are lost; \
                 those of a collection that was deleted may be among them",
                if noted.orphans == 1 { "1 row".to_owned() } else { format!("{} rows", noted.orphans) }
            )
        });
        cut.chain(noted.pages.iter().map(one)).chain(missing).chain(strays).chain(orphans).collect()
    }
}

/// Rows, and whether these are all.
#[derive(Debug)]
pub struct Around<T> {
    /// In no particular order.
    pub rows: Vec<T>,
    /// False: some are on a page that cannot be read.
    pub whole: bool,
}

/// A query of one table. `@` stands in it behind the table's name, and it names the row's number first: `SELECT rowid, name
/// FROM tenants @ WHERE id = ?1`.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The table.
    pub table: &'static str,
    /// The statement.
    pub sql: &'a str,
}

impl Query<'_> {
    /// The rows by any index; where a page of that cannot be read, by a walk through the table, from both ends.
    ///
    /// # Errors
    /// `SQLite`'s, but for pages that cannot be read.
    pub fn rows<T>(
        self,
        db: &Connection,
        pages: &Pages,
        params: impl Params + Clone,
        take: impl Fn(&Row<'_>) -> Result<T>,
    ) -> Result<Around<T>> {
        // what an index does not name may be there
        let is_doubted = pages.is_at_odds(self.table);
        let how = if is_doubted { "NOT INDEXED" } else { "" };
        let (rows, first) = self.step(db, how, "", params.clone(), &take)?;
        let Some(error) = first else {
            let is_short = pages.is_missing(self.table) || is_doubted && pages.lost(self.table).is_some();
            let whole = !is_short;
            return Ok(Around { rows: rows.into_iter().map(|(_, row)| row).collect(), whole });
        };
        let (mut rows, ended) = self.step(db, "NOT INDEXED", "ORDER BY rowid", params.clone(), &take)?;
        let whole = ended.is_none();
        if !whole {
            let known: BTreeSet<i64> = rows.iter().map(|(number, _)| *number).collect();
            let (others, _) = self.step(db, "NOT INDEXED", "ORDER BY rowid DESC", params, &take)?;
            rows.extend(others.into_iter().filter(|(number, _)| !known.contains(number)));
        }
        pages.note(self.table, &error, whole);
        Ok(Around { rows: rows.into_iter().map(|(_, row)| row).collect(), whole })
    }

    /// Steps through the rows until their end, or until a page that cannot be read.
    #[allow(clippy::type_complexity)]
    fn step<T>(
        self,
        db: &Connection,
        how: &str,
        order: &str,
        params: impl Params,
        take: &impl Fn(&Row<'_>) -> Result<T>,
    ) -> Result<(Vec<(i64, T)>, Option<rusqlite::Error>)> {
        let mut found = Vec::new();
        let walk = || -> Result<()> {
            let mut statement = db.prepare_cached(&format!("{} {order}", self.sql.replace('@', how)))?;
            let mut rows = statement.query(params)?;
            while let Some(row) = rows.next()? {
                found.push((row.get(0)?, take(row)?));
            }
            Ok(())
        };
        match walk() {
            Ok(()) => Ok((found, None)),
            Err(e) if is_corrupt(&e) => Ok((found, Some(e))),
            Err(e) => Err(e),
        }
    }
}
