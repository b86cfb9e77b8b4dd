//! A collection's two segments: which of the table's rows are its, and what is said where these are not the two that belong.
//! Reads the table `segments`, and whether a folder or a row is there.

use std::path::Path;

use crate::model::Error;
use crate::store::files::sqlite::catalog::Catalog;
use crate::store::files::sqlite::connection::failure;
use crate::store::files::sqlite::kin::{Kin, is_name};
use crate::store::files::sqlite::segments::KnownRows;
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
    /// Whether nothing says which rows of `embeddings` are its, although it has records.
    pub is_rowless: bool,
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
        if found.is_empty() && lost.is_none() {
            return Ok(Err(NONE.to_owned()));
        }
        let kin = if metadata.is_empty() || vector.is_empty() { Some(catalog.kin(known).map_err(sql)?) } else { None };
        let nothing = || vector.is_empty() && kin.as_ref().is_none_or(|kin| !kin.is_logged(collection));
        if metadata.is_empty() && nothing() {
            return Ok(Err(match lost {
                Some(why) => format!("has no segments that can be read: {why}"),
                None => "has no METADATA and no VECTOR segment in the table segments".to_owned(),
            }));
        }
        let looked = Looked { catalog, database, collection, kin: kin.as_deref(), because: because(lost) };
        let mut wrong = Vec::new();
        let (metadata, is_rowless) = match looked.of_metadata(&metadata, &mut wrong).map_err(sql)? {
            Ok(metadata) => metadata,
            Err(why) => return Ok(Err(why)),
        };
        let vector = looked.of_vector(&vector, &mut wrong);
        Ok(Ok(Self { metadata, vector, wrong: (!wrong.is_empty()).then(|| wrong.join("; ")), is_rowless }))
    }

    /// Whether nothing says which folder holds the index.
    #[must_use]
    pub fn is_without_index(&self) -> bool {
        self.vector.starts_with(PLACEHOLDER)
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

/// What was found out about the rows of a METADATA segment.
#[derive(Clone, Debug)]
pub struct Whose {
    /// The segment.
    pub(super) segment: String,
    /// The one that was taken for it, and why; None where the rows are the collection's, as far as anything tells.
    pub(super) instead: Option<Instead>,
}

/// The segment that was taken for another one.
#[derive(Clone, Debug)]
pub(super) struct Instead {
    pub(super) segment: String,
    /// A sentence without a subject.
    pub(super) why: String,
    pub(super) is_rowless: bool,
}

impl Whose {
    /// The segments of a collection, with what was found out.
    pub(super) fn applied(whose: Option<&Self>, segments: Segments) -> Segments {
        let Some(Self { segment, instead: Some(instead) }) = whose else { return segments };
        if *segment != segments.metadata {
            return segments;
        }
        let wrong = segments.wrong.into_iter().chain([instead.why.clone()]).collect::<Vec<_>>().join("; ");
        let Instead { segment, is_rowless, .. } = instead.clone();
        Segments { metadata: segment, wrong: Some(wrong), is_rowless: segments.is_rowless || is_rowless, ..segments }
    }
}

fn because(lost: Option<String>) -> String {
    lost.map_or_else(String::new, |why| format!(" ({why})"))
}

/// Where a collection's segments are looked for.
struct Looked<'a> {
    catalog: Catalog<'a>,
    database: &'a Path,
    collection: &'a str,
    /// What the log says of segments that no row names.
    kin: Option<&'a Kin>,
    because: String,
}

impl Looked<'_> {
    /// The METADATA segment among these, or what was found for it or stands for it, and whether it has rows that are lost; inside, why
    /// nothing says which it is.
    fn of_metadata(&self, all: &[String], wrong: &mut Vec<String>) -> rusqlite::Result<Result<(String, bool), String>> {
        let Self { catalog, because, .. } = self;
        let rows = |segment: &String| tables::has_rows(catalog.db, segment).or_else(|e| corrupt_is(&e, true).ok_or(e));
        let filled = all.iter().map(|one| Ok((one, rows(one)?))).collect::<rusqlite::Result<Vec<_>>>()?;
        let filled: Vec<&String> = filled.into_iter().filter(|(_, has)| *has).map(|(one, _)| one).collect();
        let found = match (all, filled.as_slice()) {
            ([one], _) => one.clone(),
            ([], _) => return self.without_metadata(wrong).map(Ok),
            ([first, ..], []) => first.clone(),
            (_, [one]) => {
                wrong.push(format!("it has {} METADATA segments, of which one has records: that was read", all.len()));
                (*one).clone()
            }
            (_, several) => {
                let count = several.len();
                return Ok(Err(format!(
                    "has {count} METADATA segments with records, and nothing says which are its{because}"
                )));
            }
        };
        Ok(Ok((found, false)))
    }

    fn without_metadata(&self, wrong: &mut Vec<String>) -> rusqlite::Result<(String, bool)> {
        let missing = format!("its METADATA segment is missing from the table segments{}", self.because);
        if let Some(found) = self.kin.and_then(|kin| kin.metadata(self.collection)) {
            wrong.push(format!(
                "{missing}: {found} was taken for it, whose rows have the numbers of this collection's entries in the write-ahead log"
            ));
            return Ok((found.clone(), false));
        }
        let is_whole = tables::is_never_purged(self.catalog.db, self.catalog.pages)?;
        wrong.push(if is_whole {
            format!("{missing}: its records were taken from the write-ahead log, which has all that was ever written")
        } else {
            format!(
                "{missing}, and nothing else says which rows are its: its records were taken from the write-ahead log, and what that \
                 does not tell of them is lost"
            )
        });
        Ok((placeholder(self.collection), !is_whole))
    }

    /// The VECTOR segment among these, or what was found for it or stands for it.
    fn of_vector(&self, all: &[String], wrong: &mut Vec<String>) -> String {
        let folder = |segment: &&String| self.database.with_file_name(segment.as_str()).exists();
        let on_disk: Vec<&String> = all.iter().filter(folder).collect();
        match (all, on_disk.as_slice()) {
            ([one], _) => one.clone(),
            ([], _) => {
                let missing = format!("its VECTOR segment is missing from the table segments{}", self.because);
                wrong.push(format!(
                    "{missing}, so that its index cannot be found: vectors were taken from the write-ahead log"
                ));
                placeholder(self.collection)
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
                placeholder(self.collection)
            }
        }
    }
}

/// How a name begins that stands for a segment which no row names.
const PLACEHOLDER: &str = "no-segment-of-";

/// Stands for a segment that no row names: no row and no folder has such a name.
pub(super) fn placeholder(collection: &str) -> String {
    format!("{PLACEHOLDER}{}", collection.replace(|c: char| !c.is_ascii_alphanumeric(), "-"))
}

/// What is to be taken for true where a page cannot be read; None for another error.
fn corrupt_is<T>(error: &rusqlite::Error, value: T) -> Option<T> {
    crate::store::files::sqlite::connection::is_corrupt(error).then_some(value)
}
