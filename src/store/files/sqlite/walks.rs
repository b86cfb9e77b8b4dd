//! Which rows of a metadata table belong to which record, by one walk through the table: for a table that is whole while a
//! page of its index cannot be read. In scratch space beyond a bound. Works inside the caller's transaction.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::connection::is_corrupt;
use crate::scratch::{Builder, Sorter, Table};
use crate::store::files::system::Stamp;

/// Why values could not be read.
#[derive(Debug)]
pub enum Error {
    /// `SQLite`'s.
    Sql(rusqlite::Error),
    /// The scratch space's.
    Scratch(io::Error),
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

/// One walk through a table: the numbers of its rows by the number of their record.
#[derive(Debug)]
pub struct Walk(Table);

impl Walk {
    /// The numbers of a record's rows, in order, each once: a page that stands in two places has its rows twice.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn rowids(&self, record: i64) -> io::Result<Vec<i64>> {
        let found = self.0.value(&record.to_be_bytes())?.unwrap_or_default();
        let mut rows: Vec<i64> = found.as_chunks::<8>().0.iter().map(|bytes| i64::from_be_bytes(*bytes)).collect();
        rows.dedup();
        Ok(rows)
    }
}

/// A walk with the state of the database that it is of.
type Taken = (Stamp, Option<Arc<Walk>>);

/// The walks that were taken, by table, each with the state of the database that it is of; None for a table of which a page
/// cannot be read, so that nobody knows whose rows are lost.
#[derive(Debug, Default)]
pub struct Walks(Mutex<HashMap<&'static str, Taken>>);

impl Walks {
    /// The walk through a table, as the database is with this stamp. Without one it is taken anew.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn of(&self, db: &Connection, table: &'static str, stamp: Option<Stamp>) -> Result<Option<Arc<Walk>>, Error> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, walk)) = all.get(table).filter(|(of, _)| Some(*of) == stamp) {
            return Ok(walk.clone());
        }
        let walk = match walk(db, table) {
            Ok(walk) => Some(Arc::new(walk)),
            Err(Error::Sql(e)) if is_corrupt(&e) => None,
            Err(other) => return Err(other),
        };
        if let Some(stamp) = stamp {
            all.insert(table, (stamp, walk.clone()));
        }
        Ok(walk)
    }
}

fn walk(db: &Connection, table: &str) -> Result<Walk, Error> {
    let mut statement = db.prepare(&format!("SELECT id, rowid FROM {table} NOT INDEXED"))?;
    let mut rows = statement.query([])?;
    let mut sorter = Sorter::default();
    while let Some(row) = rows.next()? {
        let (record, number): (i64, i64) = (row.get(0)?, row.get(1)?);
        sorter.push(&record.to_be_bytes(), &number.to_be_bytes())?;
    }
    let (mut rows, mut builder) = (sorter.sort()?, Builder::default());
    let mut current: Option<(Vec<u8>, Vec<u8>)> = None;
    while let Some((record, number)) = rows.next()? {
        match &mut current {
            Some((known, numbers)) if known == record => numbers.extend_from_slice(number),
            _ => {
                if let Some((known, numbers)) = current.replace((record.to_vec(), number.to_vec())) {
                    builder.push(&known, &numbers)?;
                }
            }
        }
    }
    if let Some((known, numbers)) = current {
        builder.push(&known, &numbers)?;
    }
    Ok(Walk(builder.finish()))
}
