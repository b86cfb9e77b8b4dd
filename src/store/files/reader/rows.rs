//! Where the rows of wanted ids are, when neither an index nor its silence is believed.
//! Works inside the caller's transaction.

use std::path::Path;

use rusqlite::Connection;

use super::audit::Audit;
use super::state::State;
use crate::scratch;
use crate::store::files::index::Vectors;
use crate::store::files::log::replay::{Effect, VectorAt};
use crate::store::files::sqlite::connection::{failure, is_corrupt};
use crate::store::files::sqlite::listing;
use crate::store::files::sqlite::tables::{self, By, EmbeddingRow};
use crate::store::files::system::Attempt;

/// Where a record's row is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There.
    Row(EmbeddingRow),
    /// It has none: two looks agree.
    Missing,
    /// It is listed, and its row cannot be read.
    Lost(String),
}

impl Found {
    /// The number of the row.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Row(place) => Some(place.number),
            Self::Missing | Self::Lost(_) => None,
        }
    }

    /// The number of the record's last applied change.
    #[must_use]
    pub fn seq_id(&self) -> Option<i64> {
        match self {
            Self::Row(place) => place.seq_id,
            Self::Missing | Self::Lost(_) => None,
        }
    }
}

/// Finds the rows of these ids, which are sorted and distinct, each with what the log does to it. Those that only a walk
/// through the table found are added to `unfound`.
///
/// # Errors
/// `SQLite`'s, and those of the scratch space.
pub fn found(
    db: &Connection,
    file: &Path,
    state: &State,
    audit: &Audit,
    (ids, effects): (&[&str], &[Effect]),
    unfound: &mut Vec<String>,
) -> Attempt<Vec<Found>> {
    let sql = |e| failure(file, &e);
    let segment = &state.segments.metadata;
    let mark = state.sequence.map_or(0, |sequence| sequence.metadata);
    if let Some((listed_at, rows)) = &audit.rows {
        let listed = |id: &&str| {
            let entry = rows.value(id.as_bytes()).map_err(scratch::failed)?;
            let found = one(db, segment, id, entry.as_deref(), *listed_at == mark).map_err(sql)?;
            Ok(match (found, &*state.vectors) {
                (Found::Missing, Vectors::Index(index))
                    if audit.is_short && index.knows(id).map_err(scratch::failed)? =>
                {
                    let why = "only the index names it: its row in the table embeddings is lost, or a Chroma up to 0.6 was killed \
                               while it added the record";
                    Found::Lost(why.to_owned())
                }
                (found, _) => found,
            })
        };
        return ids.iter().map(listed).collect();
    }
    let mut found = tables::places(db, segment, ids, By::Index).map_err(sql)?;
    if audit.sound != Some(mark) {
        // the index was not held against the table as it is now: where a vector is, a row should be
        let synced = state.sequence.is_some_and(|sequence| sequence.vector > 0);
        let mut doubted = Vec::new();
        for (n, id) in ids.iter().enumerate() {
            let silent =
                found.get(n).is_some_and(Option::is_none) && effects.get(n).is_some_and(|e| e.changes.is_none());
            let has_vector = silent
                && match effects.get(n).and_then(|effect| effect.vector) {
                    Some(VectorAt::Deleted) => false,
                    Some(_) => true,
                    None => state.vectors.holds(id, synced).map_err(scratch::failed)? != Some(false),
                };
            if has_vector {
                doubted.push((n, *id));
            }
        }
        if !doubted.is_empty() {
            let ids: Vec<&str> = doubted.iter().map(|(_, id)| *id).collect();
            let places = tables::places(db, segment, &ids, By::Table).map_err(sql)?;
            for ((n, id), place) in doubted.into_iter().zip(places) {
                if let (Some(place), Some(known)) = (place, found.get_mut(n)) {
                    *known = Some(place);
                    unfound.push(id.to_owned());
                }
            }
        }
    }
    Ok(found.into_iter().map(|place| place.map_or(Found::Missing, Found::Row)).collect())
}

/// The row of one id in a segment whose index is wrong. `unmoved`: nothing was applied since it was listed.
fn one(db: &Connection, segment: &str, id: &str, entry: Option<&[u8]>, unmoved: bool) -> rusqlite::Result<Found> {
    let lost = |e: rusqlite::Error| {
        let why = format!("its row in the table embeddings cannot be read ({e})");
        if is_corrupt(&e) { Ok(Found::Lost(why)) } else { Err(e) }
    };
    let at_number = match entry.map(listing::number) {
        Some(Some(number)) => tables::place_at(db, segment, id, number).map(|place| place.map(Found::Row)),
        Some(None) if unmoved => {
            let why = "SQLite's index on embeddings names it, but the table has no row of it";
            Ok(Some(Found::Lost(why.to_owned())))
        }
        _ => Ok(None),
    };
    match at_number {
        Ok(Some(found)) => return Ok(found),
        Ok(None) => {}
        Err(e) => return lost(e),
    }
    match tables::places(db, segment, &[id], By::Index) {
        Ok(places) => match places.first().copied().flatten() {
            Some(place) => Ok(Found::Row(place)),
            None if entry.is_some() && unmoved => {
                Ok(Found::Lost("its row in the table embeddings is not found again".to_owned()))
            }
            None => Ok(Found::Missing),
        },
        Err(e) => lost(e),
    }
}
