//! Which rows of `embeddings` a METADATA segment has: by the table itself and by its index, which must agree.
//! Works inside the caller's transaction; knows neither log nor vectors.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use super::connection::is_corrupt;
use super::values::quoted;
use crate::scratch::{Builder, IdList, Sorter, Table};

/// How many rows each segment has in the table, and a hash of them that does not depend on their order; and whether the
/// whole index is in order, without which a search in it may miss what a walk through a part of it finds.
#[derive(Debug, Default)]
pub struct Census {
    rows: HashMap<String, Rows>,
    in_order: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rows {
    count: u64,
    hash: u64,
}

impl Rows {
    fn take(&mut self, number: i64, id: &[u8]) {
        let mut hasher = DefaultHasher::new();
        hasher.write_i64(number);
        hasher.write(id);
        self.count += 1;
        self.hash = self.hash.wrapping_add(hasher.finish());
    }
}

impl Census {
    /// Counts the rows of all segments in one walk through the table, and one through its index, so that many collections
    /// cost no more than one.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn take(db: &Connection) -> rusqlite::Result<Self> {
        let mut statement = db.prepare_cached("SELECT segment_id, id, embedding_id FROM embeddings NOT INDEXED")?;
        let mut rows = statement.query([])?;
        let mut found: HashMap<String, Rows> = HashMap::new();
        while let Some(row) = rows.next()? {
            let ValueRef::Text(segment) = row.get_ref(0)? else { continue };
            let id = bytes(row.get_ref(2)?);
            let Ok(segment) = std::str::from_utf8(segment) else { continue };
            if !found.contains_key(segment) {
                found.insert(segment.to_owned(), Rows::default());
            }
            if let Some(rows) = found.get_mut(segment) {
                rows.take(row.get(1)?, id);
            }
        }
        let in_order = index_name(db)?.map(|index| in_order(db, &index)).transpose()?.unwrap_or(false);
        Ok(Self { rows: found, in_order })
    }
}

/// Whether each entry of the index is greater than the one before.
fn in_order(db: &Connection, index: &str) -> rusqlite::Result<bool> {
    let sql = format!("SELECT segment_id, embedding_id FROM embeddings INDEXED BY {}", quoted(index));
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut last: Option<(Vec<u8>, Vec<u8>)> = None;
    let mut last_rank = 0;
    while let Some(row) = rows.next()? {
        let (segment, id) = (bytes(row.get_ref(0)?), bytes(row.get_ref(1)?));
        let rank = rank(row.get_ref(1)?);
        match &mut last {
            Some((last_segment, last_id)) => {
                if (last_segment.as_slice(), last_rank, last_id.as_slice()) >= (segment, rank, id) {
                    return Ok(false);
                }
                for (last, new) in [(last_segment, segment), (last_id, id)] {
                    last.clear();
                    last.extend_from_slice(new);
                }
            }
            None => last = Some((segment.to_vec(), id.to_vec())),
        }
        last_rank = rank;
    }
    Ok(true)
}

/// How `SQLite` sorts values of different types.
const fn rank(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Integer(_) | ValueRef::Real(_) => 1,
        ValueRef::Text(_) => 2,
        ValueRef::Blob(_) => 3,
    }
}

/// An id's bytes. What is no text cannot be asked for, and is told from every text by its first byte.
fn bytes(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        _ => &[0xff],
    }
}

/// What a listing found.
#[derive(Debug)]
pub enum Listing {
    /// Table and index name the same rows, and the index is in order: what it does not find is not there.
    Sound(IdList),
    /// They do not, or a page cannot be read.
    Damaged(Damaged),
}

/// The rows of a segment whose table and index do not agree.
#[derive(Debug)]
pub struct Damaged {
    /// Every id that either names, with the number of its row in the table, if it has one.
    pub rows: Table,
    /// How they do not agree, in a sentence without a subject; None where they do.
    pub what: Option<String>,
    /// Whether a page cannot be read, so that neither may name an id that there is.
    pub is_short: bool,
    /// Rows whose id is no text, so that nothing can ask for them, and what is to be said of them.
    pub nameless: Option<(u64, String)>,
}

/// The row number of an entry of [`Damaged::rows`]; None where only the index names the id.
#[must_use]
pub fn number(entry: &[u8]) -> Option<i64> {
    let (source, number) = entry.split_first()?;
    (*source == IN_TABLE).then_some(())?;
    number.first_chunk().copied().map(i64::from_be_bytes)
}

const IN_TABLE: u8 = 0;
const IN_INDEX: u8 = 1;

/// Why a listing failed.
#[derive(Debug)]
pub enum Error {
    /// `SQLite`'s.
    Sql(rusqlite::Error),
    /// The scratch space's.
    Scratch(io::Error),
    /// An id that is no text.
    NoText,
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Scratch(error)
    }
}

/// Lists a segment's ids for which `keep` is true, by the index where that agrees with a census of the table. `census`
/// takes one anew: what is known may be older than the transaction, and a difference is looked at twice.
///
/// # Errors
/// See [`Error`].
pub fn list(
    db: &Connection,
    segment: &str,
    known: Option<&Census>,
    census: impl FnOnce() -> rusqlite::Result<Arc<Census>>,
    mut keep: impl FnMut(&str) -> io::Result<bool>,
) -> Result<Listing, Error> {
    let index = index_name(db)?;
    let walked = match &index {
        Some(index) => by_index(db, segment, index, &mut keep),
        None => Err(Error::Sql(rusqlite::Error::QueryReturnedNoRows)),
    };
    let (walked, page) = match walked {
        Ok(walked) => (Some(walked), None),
        // an id that is no text is found and named by the walk through the table
        Err(Error::Sql(rusqlite::Error::QueryReturnedNoRows) | Error::NoText) => (None, None),
        Err(Error::Sql(e)) if is_corrupt(&e) => (None, Some(unreadable(&e))),
        Err(other) => return Err(other),
    };
    if let Some((list, rows)) = walked {
        let agrees = |census: &Census| census.in_order && census.rows.get(segment).copied().unwrap_or_default() == rows;
        if known.is_some_and(agrees) {
            return Ok(Listing::Sound(list));
        }
        match census() {
            Ok(census) if agrees(&census) => return Ok(Listing::Sound(list)),
            Err(e) if !is_corrupt(&e) => return Err(Error::Sql(e)),
            _ => {}
        }
    }
    damaged(db, segment, index.as_deref(), page).map(Listing::Damaged)
}

/// The index that keeps ids unique.
fn index_name(db: &Connection) -> rusqlite::Result<Option<String>> {
    let mut statement = db.prepare_cached("SELECT name FROM pragma_index_list('embeddings') WHERE origin = 'u'")?;
    let mut rows = statement.query([])?;
    rows.next()?.map(|row| row.get(0)).transpose()
}

/// The ids by the index, and its rows.
fn by_index(
    db: &Connection,
    segment: &str,
    index: &str,
    keep: &mut impl FnMut(&str) -> io::Result<bool>,
) -> Result<(IdList, Rows), Error> {
    let sql = format!("SELECT id, embedding_id FROM embeddings INDEXED BY {} WHERE segment_id = ?", quoted(index));
    let mut statement = db.prepare_cached(&sql)?;
    let mut found = statement.query([segment])?;
    let (mut list, mut rows) = (IdList::new(), Rows::default());
    while let Some(row) = found.next()? {
        let ValueRef::Text(id) = row.get_ref(1)? else { return Err(Error::NoText) };
        rows.take(row.get(0)?, id);
        let id = std::str::from_utf8(id).map_err(|_| Error::NoText)?;
        if keep(id)? {
            list.push(id);
        }
    }
    Ok((list, rows))
}

fn unreadable(error: &rusqlite::Error) -> String {
    format!("a page cannot be read ({error})")
}

/// Everything that table or index name, as far as their pages can be read, and what does not fit.
fn damaged(db: &Connection, segment: &str, index: Option<&str>, mut page: Option<String>) -> Result<Damaged, Error> {
    let mut all = Sorter::default();
    let mut nameless = Nameless::default();
    let mut take = |id: ValueRef<'_>, source: u8, number: i64| -> Result<(), Error> {
        let id = match text(id) {
            Ok(id) => id,
            Err(why) => {
                if source == IN_TABLE {
                    nameless.take(number, why);
                }
                return Ok(());
            }
        };
        let mut value = vec![source];
        value.extend(number.to_be_bytes());
        all.push(id, &value).map_err(Error::Scratch)
    };
    // from both ends, for a page that cannot be read ends a walk
    for order in ["", "ORDER BY id DESC"] {
        let sql = format!("SELECT id, embedding_id FROM embeddings NOT INDEXED WHERE segment_id = ?1 {order}");
        let walked = walk(db, &sql, params![segment], |row| take(row.get_ref(1)?, IN_TABLE, row.get(0)?))?;
        let Some(error) = walked else { break };
        page = Some(error);
    }
    if let Some(index) = index {
        // the whole index: where it is out of order, its parts cannot be found by a search
        let sql = format!("SELECT id, embedding_id, segment_id FROM embeddings INDEXED BY {}", quoted(index));
        let walked = walk(db, &sql, params![], |row| {
            let is_ours = matches!(row.get_ref(2)?, ValueRef::Text(text) if text == segment.as_bytes());
            if is_ours { take(row.get_ref(1)?, IN_INDEX, row.get(0)?) } else { Ok(()) }
        })?;
        page = walked.or(page);
    }
    let in_order = index.map(|index| in_order(db, index)).transpose();
    let in_order = in_order.or_else(|e| if is_corrupt(&e) { Ok(None) } else { Err(e) })?.unwrap_or(true);
    let is_short = page.is_some();
    let (rows, what) = joined(all, page, in_order && !nameless.rows.is_empty()).map_err(Error::Scratch)?;
    Ok(Damaged { rows, what, is_short, nameless: nameless.told() })
}

/// The bytes of an id; or why it is no text.
fn text(id: ValueRef<'_>) -> Result<&[u8], String> {
    match id {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).map(|_| bytes).map_err(|e| format!("no UTF-8: {e}")),
        other => Err(format!("of type {}", other.data_type())),
    }
}

/// Rows of the table whose id is no text.
#[derive(Default)]
struct Nameless {
    /// Their numbers: a walk from the other end may find one again.
    rows: BTreeSet<i64>,
    first: Option<(i64, String)>,
}

impl Nameless {
    /// Rows that are counted.
    const MOST: usize = 100_000;

    fn take(&mut self, number: i64, why: String) {
        self.first.get_or_insert((number, why));
        if self.rows.len() < Self::MOST {
            self.rows.insert(number);
        }
    }

    fn told(self) -> Option<(u64, String)> {
        let (number, why) = self.first?;
        let rows = self.rows.len();
        let (word, over) = (if rows == 1 { "row" } else { "rows" }, if rows == Self::MOST { "at least " } else { "" });
        let what = format!(
            "{over}{rows} {word} of the table embeddings with an id that is no text, so that nothing can ask for it (the first \
             is row {number}: {why}): left out"
        );
        Some((rows as u64, what))
    }
}

/// Steps through a query until its end; gives the error of a page that cannot be read.
fn walk(
    db: &Connection,
    sql: &str,
    params: &[&dyn rusqlite::ToSql],
    mut take: impl FnMut(&rusqlite::Row<'_>) -> Result<(), Error>,
) -> Result<Option<String>, Error> {
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query(params)?;
    loop {
        match rows.next().map_err(Error::Sql).and_then(|row| row.map(&mut take).transpose()) {
            Ok(Some(())) => {}
            Ok(None) => return Ok(None),
            Err(Error::Sql(e)) if is_corrupt(&e) => return Ok(Some(unreadable(&e))),
            Err(other) => return Err(other),
        }
    }
}

fn joined(all: Sorter, page: Option<String>, in_order: bool) -> io::Result<(Table, Option<String>)> {
    let mut entries = all.sort()?;
    let (mut rows, mut counts) = (Builder::default(), [0_u64; 2]);
    let mut last: Option<(Vec<u8>, Vec<u8>)> = None;
    let mut count = |values: u8| match values {
        1 => counts[0] += 1,
        2 => counts[1] += 1,
        _ => {}
    };
    let mut seen = 0;
    while let Some((id, value)) = entries.next()? {
        let is_new = last.as_ref().is_none_or(|(known, _)| known != id);
        if is_new {
            if let Some((id, value)) = last.replace((id.to_vec(), value.to_vec())) {
                rows.push(&id, &value)?;
                count(seen);
            }
            seen = 0;
        }
        seen |= if value.first() == Some(&IN_TABLE) { 1 } else { 2 };
    }
    if let Some((id, value)) = last {
        rows.push(&id, &value)?;
        count(seen);
    }
    let [table, index] = counts;
    let mut what = match (table, index) {
        (0, 0) if page.is_none() && !in_order => "the index is out of order".to_owned(),
        (0, 0) => String::new(),
        _ => format!("{table} ids are in the table and not in its index, {index} in the index and not in the table"),
    };
    if let Some(page) = page {
        what = if what.is_empty() { page } else { format!("{what}; {page}") };
    }
    Ok((rows.finish(), Some(what).filter(|what| !what.is_empty())))
}
