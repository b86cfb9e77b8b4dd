//! Whether the rows that the table `segments` gives to a collection are its own: an edit, or half a backup, may have exchanged them.
//! Reads through the caller's transaction; walks through `embeddings` only where no row says that it is the collection's.

use std::path::Path;

use rusqlite::Connection;

use super::audit::Shared;
use super::segments::{Instead, Segments, Whose, placeholder};
use super::state::State;
use crate::model::Collection;
use crate::store::files::sqlite::connection::{failure, is_corrupt};
use crate::store::files::sqlite::segments::KnownRows;
use crate::store::files::sqlite::{foreign, tables};
use crate::store::files::system::Attempt;

/// A collection's segments, as they are to be read.
///
/// # Errors
/// Those of [`Segments::of`].
pub(super) fn segments(
    (db, known): (&Connection, &KnownRows),
    file: &Path,
    collection: &Collection,
    shared: &Shared,
) -> Attempt<Segments> {
    let found = Segments::of(shared.catalog(db), known, file, (&collection.id, &collection.name))?;
    Ok(Whose::applied(shared.audit(&collection.id).whose.as_ref(), found))
}

/// Holds the rows of a collection against the log. Whether others have to be taken.
///
/// # Errors
/// `SQLite`'s.
pub(super) fn judge(
    (db, known): (&Connection, &KnownRows),
    file: &Path,
    collection: &Collection,
    state: &State,
    shared: &Shared,
) -> Attempt<bool> {
    let segment = &state.segments.metadata;
    let is_known = |whose: &Whose| {
        whose.segment == *segment || whose.instead.as_ref().is_some_and(|instead| instead.segment == *segment)
    };
    if state.segments.is_rowless || shared.audit(&collection.id).whose.as_ref().is_some_and(is_known) {
        return Ok(false);
    }
    let instead = match instead(db, known, collection, state, shared) {
        // a page that cannot be read says nothing of whose the others are
        Err(e) if is_corrupt(&e) => None,
        found => found.map_err(|e| failure(file, &e))?,
    };
    let is_other = instead.is_some();
    let whose = Whose { segment: segment.clone(), instead };
    shared.amend(&collection.id, |audit| audit.whose = Some(whose));
    Ok(is_other)
}

fn instead(
    db: &Connection,
    known: &KnownRows,
    collection: &Collection,
    state: &State,
    shared: &Shared,
) -> rusqlite::Result<Option<Instead>> {
    let (segment, overlay) = (&state.segments.metadata, &state.overlay);
    if overlay.own > overlay.strange.count || !tables::has_rows(db, segment)? {
        return Ok(None);
    }
    let kin = shared.catalog(db).kin(known)?;
    let Some(other) = kin.other(segment, &collection.id) else { return Ok(None) };
    let other = foreign::name(db, other)?.unwrap_or_else(|| other.to_owned());
    let given = format!(
        "the table segments gives it the METADATA segment {segment}, whose rows have the numbers of entries of collection {other:?} in \
         the write-ahead log"
    );
    Ok(Some(match kin.metadata(&collection.id) {
        Some(own) => Instead {
            segment: own.clone(),
            why: format!("{given}: {own} was taken instead, whose rows have the numbers of its own entries"),
            is_rowless: false,
        },
        None => Instead {
            segment: placeholder(&collection.id),
            why: format!(
                "{given}, and nothing says which rows are its: what the write-ahead log does not tell of its records is lost"
            ),
            is_rowless: true,
        },
    }))
}
