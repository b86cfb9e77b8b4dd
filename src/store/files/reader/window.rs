//! One window of records: what the tables and the log say, then the vectors in the order of their rows.
//! Works inside the caller's transaction, and reads rows after it has ended.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::audit::{Audit, Lost, Said, Shared};
use super::rows::{Found, found};
use super::same;
use super::state::{State, unreadable};
use crate::model::{Collection, Error, Fetched, Origin, Record, vector};
use crate::scratch::{self, IdList, SortedIds};
use crate::store::files::index::{IndexRow, Vectors};
use crate::store::files::log::queue::{self, Content};
use crate::store::files::log::replay::{Effect, VectorAt};
use crate::store::files::sqlite::connection::{failure, is_corrupt};
use crate::store::files::sqlite::content::Detour;
use crate::store::files::sqlite::listing::{self, Listing};
use crate::store::files::sqlite::schema::Columns;
use crate::store::files::sqlite::tables::By;
use crate::store::files::sqlite::{content, tables, walks};
use crate::store::files::system::{self, Attempt, Failure};

/// How many records the collection holds.
///
/// # Errors
/// `SQLite`'s, and those of the scratch space.
pub fn count(db: &Connection, file: &Path, state: &State, shared: &Shared) -> Attempt<u64> {
    let sql = |e| failure(file, &e);
    let mut count = tables::count(db, &shared.pages, &state.segments.metadata).map_err(sql)?;
    for changed in state.overlay.changed() {
        let (id, changes) = changed.map_err(scratch::failed)?;
        let row = tables::row_seq_id(db, &state.segments.metadata, &id);
        // of a row on a page that cannot be read nobody knows: it counts as it was counted
        let has_row = match row {
            Err(e) if is_corrupt(&e) => true,
            row => row.map_err(sql)?.is_some(),
        };
        count += i64::from(changes.exists) - i64::from(has_row);
    }
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Every id of the collection that table, index or log name. What does not fit is kept with `shared`.
///
/// # Errors
/// `SQLite`'s, and those of the scratch space.
pub fn ids(db: &Connection, file: &Path, state: &State, collection: &str, shared: &Shared) -> Attempt<SortedIds> {
    let (overlay, segment) = (&state.overlay, &state.segments.metadata);
    let mark = state.sequence.map_or(0, |sequence| sequence.metadata);
    let keep = |id: &str| Ok(overlay.is_empty() || overlay.of(id)?.changes.is_none());
    let known = shared.census(segment, mark);
    let listed = listing::list(db, segment, known.as_deref(), || shared.recount(db), keep);
    let is_rowless =
        state.segments.is_rowless || shared.pages.is_missing("embeddings") || has_strangers(db, file, state, shared)?;
    let (mut list, rows, what, nameless, is_short) = match listed.map_err(|error| listing_failure(file, error))? {
        Listing::Sound(list) => (list, is_rowless.then(|| (mark, Arc::default())), None, None, is_rowless),
        Listing::Damaged(damaged) => {
            let mut list = IdList::new();
            let mut entries = damaged.rows.entries();
            while let Some((id, _)) = entries.next().map_err(scratch::failed)? {
                let id = String::from_utf8_lossy(id);
                if keep(&id).map_err(scratch::failed)? {
                    list.push(&id);
                }
            }
            let is_short = damaged.is_short || is_rowless;
            (list, Some((mark, Arc::new(damaged.rows))), damaged.what, damaged.nameless, is_short)
        }
    };
    if let (true, Some((_, rows)), Vectors::Index(index)) = (is_short, &rows, &*state.vectors) {
        let only_there = index.each_id(|id| {
            // an index has not followed the log's last deletes
            let is_deleted = overlay.of(id)?.vector == Some(VectorAt::Deleted);
            if rows.value(id.as_bytes())?.is_none() && !is_deleted && keep(id)? {
                list.push(id);
            }
            Ok(())
        });
        only_there.map_err(scratch::failed)?;
    }
    for changed in overlay.changed() {
        let (id, changes) = changed.map_err(scratch::failed)?;
        if changes.exists {
            list.push(&id);
        }
    }
    let ids = list.sort().map_err(scratch::failed)?;
    let count = ids.len() as u64;
    let gone = state.wrong().map(|_| lost(state, &ids)).transpose().map_err(scratch::failed)?;
    shared.amend(collection, |audit| {
        audit.sound = rows.is_none().then_some(mark);
        (audit.rows, audit.listing, audit.lost, audit.nameless) = (rows, what, gone, nameless);
        (audit.is_short, audit.listed) = (is_short, is_short.then_some((state.sequence, count)));
    });
    Ok(ids)
}

/// Records of the index that are looked for in the tables.
const SAMPLE: usize = 256;

/// Whether the index has a record that neither tables nor log know: what Chroma deletes leaves the index, or its delete is in the log.
/// To a target's server such a record does not exist, and it takes a new one of that id.
fn has_strangers(db: &Connection, file: &Path, state: &State, shared: &Shared) -> Attempt<bool> {
    let Vectors::Index(index) = &*state.vectors else { return Ok(false) };
    if state.is_old() || !shared.indexes.are_of_a_source() {
        return Ok(false);
    }
    let ids = index.some_ids(SAMPLE).map_err(scratch::failed)?;
    let names = distinct(ids.iter().map(String::as_str).collect());
    let places = match tables::places(db, &state.segments.metadata, &names, By::Index) {
        Err(e) if is_corrupt(&e) => return Ok(false),
        places => places.map_err(|e| failure(file, &e))?,
    };
    for (id, _) in names.into_iter().zip(places).filter(|(_, place)| place.is_none()) {
        if state.overlay.of(id).map_err(scratch::failed)? == Effect::default() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn listing_failure(file: &Path, error: listing::Error) -> Failure {
    match error {
        listing::Error::Sql(e) => failure(file, &e),
        listing::Error::Scratch(e) => Failure::Final(scratch::failed(e)),
        // not reached: such a listing goes on by the table
        listing::Error::NoText => Failure::Final(Error::Damaged {
            file: file.to_owned(),
            what: "an id in the table embeddings is no text".to_owned(),
            readable: "the other collections can be read".to_owned(),
        }),
    }
}

/// How many of these records have their vector in no place that can be read, or in the index alone.
fn lost(state: &State, ids: &SortedIds) -> std::io::Result<Lost> {
    let (mut lost, mut indexed) = (0, 0);
    for id in ids {
        let id = id?;
        let has_vector = match (state.overlay.of(&id)?.vector, &*state.vectors) {
            (Some(VectorAt::Entry(_) | VectorAt::Either(_)), _) => true,
            (None | Some(VectorAt::Doubtful(_)), Vectors::Index(index)) => {
                let has_row = index.row(&id)?.is_ok();
                indexed += u64::from(has_row);
                has_row
            }
            _ => false,
        };
        lost += u64::from(!has_vector);
    }
    Ok(Lost { of: ids.len(), lost, indexed })
}

/// Records whose HNSW rows are still to be read.
#[derive(Debug, Default)]
pub struct Pending {
    done: Vec<Fetched>,
    rows: Vec<Waiting>,
    outdated: Vec<String>,
    /// What is to be said of these records.
    pub said: Said,
}

/// What a window has brought.
#[derive(Debug, Default)]
pub struct Window {
    /// The records.
    pub fetched: Vec<Fetched>,
    /// What is to be said of them.
    pub said: Said,
    /// Ids of records that changed after the index was loaded, and that the log no longer tells of.
    pub outdated: Vec<String>,
}

/// A record whose vector is in the index, and perhaps a newer one in the log.
#[derive(Debug)]
struct Waiting {
    row: IndexRow,
    id: String,
    content: Content,
    logged: Option<Result<Vec<f32>, String>>,
}

/// Reads what `SQLite` has of these ids.
///
/// # Errors
/// `SQLite`'s, and those of the scratch space.
pub fn read(
    db: &Connection,
    file: &Path,
    columns: Columns,
    state: &State,
    collection: &Collection,
    (ids, audit, shared): (&[String], &Audit, &Shared),
) -> Attempt<Pending> {
    let sql = |e| failure(file, &e);
    let mut window = Pending::default();
    let wanted = distinct(ids.iter().map(String::as_str).collect());
    let effects = wanted.iter().map(|id| state.overlay.of(id)).collect::<std::io::Result<Vec<_>>>();
    let effects = effects.map_err(scratch::failed)?;
    let places = found(db, file, state, audit, (&wanted, &effects), &mut window.said.unfound)?;
    let mut numbers: Vec<i64> = places.iter().filter_map(Found::number).collect();
    numbers.sort_unstable();
    // within a transaction nobody commits, so that the stamp stands for what it reads
    let stamp = system::stamp(file)?.filter(|stamp| !stamp.is_fresh());
    let detour = Detour { walks: &shared.walks, pages: &shared.pages, stamp };
    let contents = content::contents(db, columns, &numbers, detour);
    let mut contents = contents.map_err(|error| match error {
        walks::Error::Sql(e) => failure(file, &e),
        walks::Error::Scratch(e) => Failure::Final(scratch::failed(e)),
    })?;
    let mut take = |number| match numbers.binary_search(&number) {
        Ok(at) => std::mem::replace(&mut contents[at], Ok(Content::default())),
        Err(_) => Ok(Content::default()),
    };
    let histories = || state.histories(shared.catalog(db), file, &collection.id);
    for ((id, place), effect) in wanted.into_iter().zip(places).zip(effects) {
        let is_before = state.is_before(place.seq_id());
        let has_number = place.number().is_some();
        if has_number && place.seq_id().is_none() {
            window.said.unnumbered.push(id.to_owned());
        }
        let row = match place {
            Found::Row(place) => Some(take(place.number)),
            Found::Missing => None,
            Found::Lost(why) => Some(Err(why)),
        };
        let is_lost = matches!(row, Some(Err(_))) || (row.is_none() && audit.is_short);
        let from_log = match &row {
            // a value that is odd by itself is no lost one
            Some(Err(_)) if has_number && effect.keeps_row() && shared.has_lost_values() => {
                histories()?.of(id).map_err(scratch::failed)?
            }
            _ => None,
        };
        let replayed = match from_log {
            Some(entries) => merged(db, Content::default(), &entries).map(Some),
            None => replayed(db, &effect, row),
        };
        match replayed.map_err(sql)? {
            None => {}
            Some(Err(why)) => window.done.push(unreadable(id, why)),
            Some(Ok(_)) if is_before && !matches!(effect.vector, Some(VectorAt::Entry(_))) => {
                window.outdated.push(id.to_owned());
            }
            Some(Ok(mut content)) => {
                if is_lost {
                    content.as_in_tables();
                }
                window.said.odd.extend(content.odd.iter().map(|(key, odd)| (id.to_owned(), key.clone(), odd.clone())));
                window.place(db, file, state, collection, (id, content, effect.vector))?;
            }
        }
    }
    Ok(window)
}

fn distinct(mut ids: Vec<&str>) -> Vec<&str> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// A record's content with the log applied; None where the record does not exist (any more).
fn replayed(
    db: &Connection,
    effect: &Effect,
    row: Option<Result<Content, String>>,
) -> rusqlite::Result<Option<Result<Content, String>>> {
    let Some(changes) = &effect.changes else { return Ok(row) };
    if !changes.exists {
        return Ok(None);
    }
    let lost = || Err("its row in the table embeddings is lost".to_owned());
    match if changes.keeps_row { row.unwrap_or_else(lost) } else { Ok(Content::default()) } {
        Ok(content) => merged(db, content, &changes.entries).map(Some),
        Err(why) => Ok(Some(Err(why))),
    }
}

/// A content with entries of the log applied.
fn merged(db: &Connection, mut content: Content, entries: &[i64]) -> rusqlite::Result<Result<Content, String>> {
    for seq_id in entries {
        let json = tables::entry_metadata(db, *seq_id)?;
        if let Err(why) = json.and_then(|json| json.map_or(Ok(()), |json| content.merge(&json))) {
            return Ok(Err(why));
        }
    }
    Ok(Ok(content))
}

impl Pending {
    /// Takes a vector from the log, or notes the row that has it.
    fn place(
        &mut self,
        db: &Connection,
        file: &Path,
        state: &State,
        collection: &Collection,
        (id, content, at): (&str, Content, Option<VectorAt>),
    ) -> Attempt<()> {
        let logged = |seq_id| {
            let entry = tables::entry_vector(db, seq_id).map_err(|e| failure(file, &e))?;
            let vector = |(bytes, encoding): (Vec<u8>, Option<String>)| {
                queue::vector(&bytes, encoding.as_deref(), collection.dimension)
            };
            Ok::<_, Failure>(entry.map(vector))
        };
        let row = match &*state.vectors {
            Vectors::Index(index) => index.row(id).map_err(scratch::failed)?,
            Vectors::Nothing(_) | Vectors::Broken { .. } => Err(match state.wrong() {
                Some(wrong) => format!("its vector was only in {}, which {}", wrong.file.display(), wrong.what),
                None => "its vector is neither in the write-ahead log nor in an index".to_owned(),
            }),
        };
        // a layout that was derived is held against all that the log still has of what the index has applied
        let is_applied = |seq_id| state.sequence.is_some_and(|now| seq_id <= now.vector);
        let at = match at {
            Some(VectorAt::Entry(seq_id)) if state.vectors.is_derived() && is_applied(seq_id) => {
                Some(VectorAt::Either(seq_id))
            }
            at => at,
        };
        match (at, row) {
            (Some(VectorAt::Entry(seq_id)), _) | (Some(VectorAt::Either(seq_id)), Err(_)) => {
                match logged(seq_id)? {
                    Some(vector) => self.done.push(finished(id.to_owned(), content, vector, Origin::Wal)),
                    // purged since the log was walked through: a newer index has it
                    None => self.outdated.push(id.to_owned()),
                }
            }
            (Some(VectorAt::Deleted), _) => {
                self.done.push(unreadable(id, "its metadata is there, but the log has deleted its vector"));
            }
            (Some(VectorAt::Doubtful(seq_id)), Err(_)) => {
                let why = format!(
                    "its vector was only in a damaged index; entry {seq_id} of the log may hold it or may have been ignored"
                );
                self.done.push(unreadable(id, why));
            }
            (at, Ok(row)) => {
                let logged = match at {
                    Some(VectorAt::Either(seq_id)) => logged(seq_id)?,
                    _ => None,
                };
                self.rows.push(Waiting { row, id: id.to_owned(), content, logged });
            }
            (None, Err(why)) => self.done.push(unreadable(id, why)),
        }
        Ok(())
    }

    /// Reads the rows that are still missing, in the order of the file.
    ///
    /// # Errors
    /// When the index's file cannot be read.
    pub fn finish(mut self, state: &State) -> Attempt<Window> {
        let (mut said, mut outdated) = (std::mem::take(&mut self.said), self.outdated);
        let Vectors::Index(index) = &*state.vectors else { return Ok(Window { fetched: self.done, said, outdated }) };
        self.rows.sort_unstable_by_key(|waiting| waiting.row.row.number);
        let numbers: Vec<IndexRow> = self.rows.iter().map(|waiting| waiting.row).collect();
        let mut rows = self.rows.into_iter();
        let is_same = same::sameness(index, state.shape.cosine);
        index.vectors(&numbers, state.is_old(), |vector| {
            let Some(Waiting { id, content, logged, .. }) = rows.next() else { return };
            if state.is_old() && vector.is_err() {
                outdated.push(id);
                return;
            }
            let is_newer = |newer: &Vec<f32>| !vector.as_ref().is_ok_and(|v| is_same(v, newer));
            let (vector, origin) = match logged {
                Some(Ok(newer)) if is_newer(&newer) => {
                    said.stale.push(id.clone());
                    (Ok(newer), Origin::Wal)
                }
                _ => (vector, Origin::Hnsw),
            };
            self.done.push(finished(id, content, vector, origin));
        })?;
        Ok(Window { fetched: self.done, said, outdated })
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
    let Content { document, uri, metadata, odd: _ } = content;
    Fetched::Record { record: Record { id, embedding, document, uri, metadata }, origin }
}
