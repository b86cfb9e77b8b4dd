//! One window of records: what the tables and the log's tail say, then the vectors in the order of their rows.
//! Works inside the caller's transaction, and reads rows after it has ended.

use std::path::Path;

use rusqlite::Connection;

use super::super::collection::Collection;
use super::super::error::Error;
use super::super::ids::SortedIds;
use super::super::record::{Fetched, Origin, Record};
use super::super::{spill, vector};
use super::content;
use super::files::{Attempt, Failure};
use super::index::{IndexRow, Vectors};
use super::queue::{self, Content, VectorAt};
use super::schema::Columns;
use super::scratch::failure;
use super::state::{State, unreadable};
use super::tables;

/// How many records the collection holds.
///
/// # Errors
/// `SQLite`'s.
pub fn count(db: &Connection, state: &State) -> rusqlite::Result<u64> {
    let mut count = tables::count(db, &state.segments.metadata)?;
    for (id, changes) in state.overlay.changed() {
        count -= i64::from(tables::has_row(db, &state.segments.metadata, id)?);
        count += i64::from(changes.exists);
    }
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Every id of the collection.
///
/// # Errors
/// [`Error::Damaged`] when an id cannot be read, or a record's vector is only in a broken index: better now than after
/// a target was written.
pub fn ids(db: &Connection, file: &Path, state: &State) -> Attempt<SortedIds> {
    let overlay = &state.overlay;
    let listed = tables::ids(db, &state.segments.metadata, |id| overlay.changes_of(id).is_none());
    let mut list = listed.map_err(|e| failure(file, &e))?.map_err(|what| {
        Failure::Final(Error::Damaged {
            file: file.to_owned(),
            what,
            readable: "the other collections can be read".to_owned(),
        })
    })?;
    overlay.changed().filter(|(_, changes)| changes.exists).for_each(|(id, _)| list.push(id));
    let ids = list.sort().map_err(spill::failed)?;
    let Some(error) = state.damage() else { return Ok(ids) };
    let mut gone = 0;
    for id in &ids {
        gone += usize::from(state.is_lost(&id.map_err(spill::failed)?));
    }
    match error {
        _ if gone == 0 => Ok(ids),
        Error::Damaged { file, what, readable } => {
            let readable = format!("{gone} of {} records have their vector only there; {readable}", ids.len());
            Err(Failure::Final(Error::Damaged { file, what, readable }))
        }
        other => Err(Failure::Final(other)),
    }
}

/// Records whose HNSW rows are still to be read.
#[derive(Debug, Default)]
pub struct Window {
    done: Vec<Fetched>,
    rows: Vec<(IndexRow, String, Content)>,
}

/// Reads what `SQLite` has of these ids.
///
/// # Errors
/// `SQLite`'s, and [`Error::Damaged`] when a broken index is needed.
pub fn read(
    db: &Connection,
    file: &Path,
    columns: Columns,
    state: &mut State,
    collection: &Collection,
    ids: &[String],
) -> Attempt<Window> {
    let sql = |e| failure(file, &e);
    let wanted = distinct(ids.iter().map(String::as_str).collect());
    let places = tables::places(db, &state.segments.metadata, &wanted).map_err(sql)?;
    let mut numbers: Vec<i64> = places.iter().flatten().map(|place| place.number).collect();
    numbers.sort_unstable();
    let mut contents = content::contents(db, columns, &numbers).map_err(sql)?;
    let mut take = |number| match numbers.binary_search(&number) {
        Ok(at) => std::mem::replace(&mut contents[at], Ok(Content::default())),
        Err(_) => Ok(Content::default()),
    };
    let mut window = Window::default();
    for (id, place) in wanted.into_iter().zip(places) {
        let row = place.map(|place| take(place.number));
        let Some(content) = replayed(db, state, id, row).map_err(sql)? else { continue };
        let content = match content {
            Ok(content) => content,
            Err(why) => {
                window.done.push(unreadable(id, why));
                continue;
            }
        };
        let logged = state.overlay.vector_of(id);
        let row = match &*state.vectors {
            Vectors::Index(index) if logged.is_none() => Some(index.row(id).map_err(spill::failed)?),
            _ => None,
        };
        let at = match &row {
            Some(Err(_)) => recovered(db, state, collection, id, place.and_then(|p| p.seq_id)).map_err(sql)?,
            _ => logged,
        };
        window.place(db, state, collection, (id, content, at, row)).map_err(sql)?.map_err(Failure::Final)?;
    }
    Ok(window)
}

fn distinct(mut ids: Vec<&str>) -> Vec<&str> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// A record's content with the log's tail applied; None where the record does not exist (any more).
fn replayed(
    db: &Connection,
    state: &State,
    id: &str,
    row: Option<Result<Content, String>>,
) -> rusqlite::Result<Option<Result<Content, String>>> {
    let Some(changes) = state.overlay.changes_of(id) else { return Ok(row) };
    if !changes.exists {
        return Ok(None);
    }
    let mut content = match row.filter(|_| changes.keeps_row).unwrap_or_else(|| Ok(Content::default())) {
        Ok(content) => content,
        Err(why) => return Ok(Some(Err(why))),
    };
    for seq_id in &changes.entries {
        let applied = match tables::entry_metadata(db, *seq_id)? {
            Ok(Some(json)) => content.merge(&json),
            Ok(None) => Ok(()),
            Err(why) => Err(why),
        };
        if let Err(why) = applied {
            return Ok(Some(Err(why)));
        }
    }
    Ok(Some(Ok(content)))
}

/// A vector that the index lost although the log still has it: up to 0.4.24 an add right after a delete of the same
/// id never reached the index, while its metadata reached the tables (measured).
/// Trusted only where the last entry that counts is the one that the tables applied last.
fn recovered(
    db: &Connection,
    state: &State,
    collection: &Collection,
    id: &str,
    applied: Option<i64>,
) -> rusqlite::Result<Option<VectorAt>> {
    let mut alive = false;
    let mut last = None;
    let mut vector = None;
    for entry in tables::entries_of(db, &collection.id, id)? {
        let Ok(entry) = entry else { return Ok(None) };
        match entry.operation {
            queue::Operation::Add if alive => continue,
            queue::Operation::Update if !alive => continue,
            queue::Operation::Delete => (alive, vector) = (false, None),
            _ => {
                alive = true;
                vector = if entry.has_vector { Some(entry.seq_id) } else { vector };
            }
        }
        last = Some(entry.seq_id);
    }
    let unchanged = state.overlay.changes_of(id).is_none();
    Ok(vector.filter(|_| alive && unchanged && last == applied).map(VectorAt::Entry))
}

impl Window {
    /// Takes a vector from the log, or notes the row that has it.
    fn place(
        &mut self,
        db: &Connection,
        state: &State,
        collection: &Collection,
        (id, content, at, row): (&str, Content, Option<VectorAt>, Option<Result<IndexRow, String>>),
    ) -> rusqlite::Result<Result<(), Error>> {
        match (at, row) {
            (Some(VectorAt::Entry(seq_id)), _) if !state.is_lost(id) => {
                let vector = match tables::entry_vector(db, seq_id)? {
                    Some((bytes, encoding)) => queue::vector(&bytes, encoding.as_deref(), collection.dimension),
                    None => Err(format!("entry {seq_id} of embeddings_queue is gone")),
                };
                self.done.push(finished(id.to_owned(), content, vector, Origin::Wal));
            }
            (Some(VectorAt::Deleted), _) => {
                self.done.push(unreadable(id, "its metadata is there, but the log has deleted its vector"));
            }
            (_, Some(Ok(row))) => self.rows.push((row, id.to_owned(), content)),
            (_, Some(Err(why))) => self.done.push(unreadable(id, why)),
            (_, None) => match state.damage() {
                Some(error) => return Ok(Err(error)),
                None => self.done.push(unreadable(id, "its vector is neither in the write-ahead log nor in an index")),
            },
        }
        Ok(Ok(()))
    }

    /// Reads the rows that are still missing, in the order of the file.
    ///
    /// # Errors
    /// When the index's file cannot be read.
    pub fn finish(mut self, state: &State) -> Attempt<Vec<Fetched>> {
        let Vectors::Index(index) = &*state.vectors else { return Ok(self.done) };
        self.rows.sort_unstable_by_key(|(row, ..)| row.row.number);
        let numbers: Vec<IndexRow> = self.rows.iter().map(|(row, ..)| *row).collect();
        let mut rows = self.rows.into_iter();
        index.vectors(&numbers, |vector| {
            if let Some((_, id, content)) = rows.next() {
                self.done.push(finished(id, content, vector, Origin::Hnsw));
            }
        })?;
        Ok(self.done)
    }
}

fn finished(id: String, content: Content, read: Result<Vec<f32>, String>, origin: Origin) -> Fetched {
    let embedding = match read {
        Ok(embedding) => embedding,
        Err(why) => return Fetched::Unreadable { id, why },
    };
    if let Some(place) = vector::first_not_finite(&embedding) {
        let why = format!("component {place} of its vector is {}", embedding[place]);
        return Fetched::Unreadable { id, why };
    }
    let Content { document, uri, metadata } = content;
    Fetched::Record { record: Record { id, embedding, document, uri, metadata }, origin }
}
