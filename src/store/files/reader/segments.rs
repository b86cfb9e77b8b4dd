//! A collection's two segments: which of the table's rows are its, and what is said where these are not the two that belong.
//! Reads the table `segments`, and whether a folder or a row is there.

use std::path::Path;

use crate::model::Error;
use crate::store::files::sqlite::catalog::{Catalog, KnownRows};
use crate::store::files::sqlite::connection::failure;
use crate::store::files::sqlite::tables;
use crate::store::files::system::{Attempt, Failure};

/// A collection's two segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    /// The segment whose rows are in `embeddings`.
    pub metadata: String,
    /// The segment whose folder holds the index.
    pub vector: String,
    /// What is wrong with the rows of the table, in a sentence.
    pub wrong: Option<String>,
}

/// Why a collection has no segments, as far as the table tells.
pub const NONE: &str = "has no segments: Chroma was ended while it made the collection, or somebody removed them";

impl Segments {
    /// A collection's segments; inside, why there are none, in a sentence without a subject. Chroma up to 0.4 made the
    /// collection first and its segments in a second transaction: an end in between leaves one without.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn find(
        catalog: Catalog<'_>,
        known: &KnownRows,
        database: &Path,
        collection: &str,
    ) -> Attempt<Result<Self, String>> {
        let sql = |e| failure(database, &e);
        let found = catalog.segments(known, collection).map_err(sql)?;
        let lost = catalog.pages.lost("segments");
        let of = |scope: &str| -> Vec<String> {
            found.iter().filter(|(id, s)| s == scope && is_name(id)).map(|(id, _)| id.clone()).collect()
        };
        let (metadata, vector) = (of("METADATA"), of("VECTOR"));
        if metadata.is_empty() && vector.is_empty() {
            return Ok(Err(match lost {
                Some(why) => format!("has no segments that can be read: {why}"),
                None if found.is_empty() => NONE.to_owned(),
                None => "has no METADATA and no VECTOR segment in the table segments".to_owned(),
            }));
        }
        let because = lost.map_or_else(String::new, |why| format!(" ({why})"));
        let mut wrong = Vec::new();
        let metadata = match of_metadata(catalog, collection, &metadata, &because, &mut wrong).map_err(sql)? {
            Ok(metadata) => metadata,
            Err(why) => return Ok(Err(why)),
        };
        let vector = of_vector(database, collection, &vector, &because, &mut wrong);
        Ok(Ok(Self { metadata, vector, wrong: (!wrong.is_empty()).then(|| wrong.join("; ")) }))
    }

    /// The segments of a collection.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a collection that is gone; [`Error::Damaged`] for one without segments.
    pub fn of(
        catalog: Catalog<'_>,
        known: &KnownRows,
        database: &Path,
        (collection, name): (&str, &str),
    ) -> Attempt<Self> {
        if !catalog.collection_exists(collection).map_err(|e| failure(database, &e))? {
            return Err(Failure::Final(Error::NotFound {
                store: database.display().to_string(),
                what: format!("collection {name:?} ({collection})"),
                remedy: "it was deleted; list the collections again".to_owned(),
            }));
        }
        Self::find(catalog, known, database, collection)?.map_err(|why| {
            Failure::Final(Error::Damaged {
                file: database.to_owned(),
                what: format!("collection {name:?} {why}"),
                readable: "the other collections can be read".to_owned(),
            })
        })
    }
}

/// The METADATA segment among these; inside, why nothing says which it is.
fn of_metadata(
    catalog: Catalog<'_>,
    collection: &str,
    all: &[String],
    because: &str,
    wrong: &mut Vec<String>,
) -> rusqlite::Result<Result<String, String>> {
    let rows = |segment: &String| tables::has_rows(catalog.db, segment).or_else(|e| corrupt_is(&e, true).ok_or(e));
    let filled = all.iter().map(|one| Ok((one, rows(one)?))).collect::<rusqlite::Result<Vec<_>>>()?;
    let filled: Vec<&String> = filled.into_iter().filter(|(_, has)| *has).map(|(one, _)| one).collect();
    Ok(Ok(match (all, filled.as_slice()) {
        ([one], _) => one.clone(),
        ([], _) if tables::is_never_purged(catalog.db, catalog.pages)? => {
            wrong.push(format!(
                "its METADATA segment is missing from the table segments{because}: its records were taken from the write-ahead \
                 log, which has all that was ever written"
            ));
            placeholder(collection)
        }
        ([], _) => {
            return Ok(Err(format!(
                "has no METADATA segment in the table segments{because}: nothing says which documents are its"
            )));
        }
        ([first, ..], []) => first.clone(),
        (_, [one]) => {
            wrong.push(format!("it has {} METADATA segments, of which one has records: that was read", all.len()));
            (*one).clone()
        }
        (_, several) => {
            let count = several.len();
            return Ok(Err(format!("has {count} METADATA segments with records, and nothing says which are its")));
        }
    }))
}

/// The VECTOR segment among these, or what stands for it.
fn of_vector(database: &Path, collection: &str, all: &[String], because: &str, wrong: &mut Vec<String>) -> String {
    let folder = |segment: &&String| database.with_file_name(segment.as_str()).exists();
    let on_disk: Vec<&String> = all.iter().filter(folder).collect();
    match (all, on_disk.as_slice()) {
        ([one], _) => one.clone(),
        ([], _) => {
            wrong.push(format!(
                "its VECTOR segment is missing from the table segments{because}, so that its index cannot be found: vectors were \
                 taken from the write-ahead log"
            ));
            placeholder(collection)
        }
        (_, [one]) => {
            let count = all.len();
            wrong.push(format!("it has {count} VECTOR segments, of which {one} has a folder: that was read"));
            (*one).clone()
        }
        (_, several) => {
            let (count, folders) = (all.len(), several.len());
            wrong.push(format!(
                "it has {count} VECTOR segments, and {folders} of them have a folder, so that nothing says which is its index: \
                 vectors were taken from the write-ahead log"
            ));
            placeholder(collection)
        }
    }
}

/// Stands for a segment that no row names: no row and no folder has such a name.
fn placeholder(collection: &str) -> String {
    format!("no-segment-of-{}", collection.replace(|c: char| !c.is_ascii_alphanumeric(), "-"))
}

/// What is to be taken for true where a page cannot be read; None for another error.
fn corrupt_is<T>(error: &rusqlite::Error, value: T) -> Option<T> {
    crate::store::files::sqlite::connection::is_corrupt(error).then_some(value)
}

/// A segment's id becomes a path: anything but a plain name could lead out of the store.
fn is_name(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
