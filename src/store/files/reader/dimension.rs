//! The components of a collection's vectors, where its row says another number than its vectors have.
//! Reads a header and lengths; believes only what index, file sizes and log say alike.

use std::io::Read as _;
use std::path::Path;

use rusqlite::Connection;

use crate::model::Error;
use crate::store::files::index::hnsw::{self, Header};
use crate::store::files::index::stamps::{DATA, HEADER, LENGTHS};
use crate::store::files::sqlite::lengths;
use crate::store::files::system;

/// A number that a collection's row says, and the one that its vectors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// By the row; None where it says none, as before a collection's first record.
    pub said: Option<u32>,
    /// By the vectors.
    pub really: u32,
    /// Whether there is an index that says it, too.
    pub by_index: bool,
}

impl Settled {
    /// In a sentence.
    #[must_use]
    pub fn told(self) -> String {
        let Self { said, really, by_index } = self;
        let said =
            said.map_or_else(|| "no number of components".to_owned(), |said| format!("{said} components a vector"));
        let who = if by_index {
            "header and sizes of its index, and all its vectors in the write-ahead log, have"
        } else {
            "all its vectors are in the write-ahead log, and have"
        };
        format!("its row in the table collections says {said}, but {who} {really}: that was taken")
    }
}

/// What the vectors of a collection have, if not what its row says. `recent`: how many bytes the vectors at the log's end have, for
/// a collection that has no index.
///
/// # Errors
/// When a file cannot be read for a reason that lies not in the file, and `SQLite`'s inside.
pub fn settled(
    db: &Connection,
    folder: &Path,
    collection: &str,
    said: Option<u32>,
    recent: Option<i64>,
) -> Result<rusqlite::Result<Option<Settled>>, Error> {
    let bytes = |dimension: u32| i64::from(dimension) * 4;
    let header = header(folder)?;
    let really = match (&header, recent) {
        (Found::Header(header), _) => Some(header.dimension),
        (Found::Nothing, Some(recent)) if recent > 0 && recent % 4 == 0 => u32::try_from(recent / 4).ok(),
        _ => None,
    };
    let Some(really) = really.filter(|really| said != Some(*really)) else { return Ok(Ok(None)) };
    let in_log = match lengths::of_log(db, collection) {
        Ok(in_log) => in_log,
        Err(e) => return Ok(Err(e)),
    };
    // an index alone may be another collection's; where the row says nothing, nothing speaks against it
    let agree = (said.is_none() || !in_log.is_empty()) && in_log.iter().all(|length| *length == bytes(really));
    Ok(Ok(agree.then_some(Settled { said, really, by_index: matches!(header, Found::Header(_)) })))
}

enum Found {
    /// There is no such folder.
    Nothing,
    /// A header that the sizes of both files confirm.
    Header(Header),
    Damaged,
}

/// The header of an index, if the sizes of its files confirm it: they give the same whole number of rows.
fn header(folder: &Path) -> Result<Found, Error> {
    if matches!(system::no_folder(folder)?, Some(system::Flaw::Missing)) {
        return Ok(Found::Nothing);
    }
    let mut bytes = Vec::new();
    let Ok((file, _)) = system::open(&folder.join(HEADER))? else { return Ok(Found::Damaged) };
    if file.take(hnsw::HEADER_LEN as u64).read_to_end(&mut bytes).is_err() {
        return Ok(Found::Damaged);
    }
    let Ok(header) = hnsw::header(&bytes) else { return Ok(Found::Damaged) };
    let (Ok((_, len)), Ok((_, norms))) = (system::open(&folder.join(DATA))?, system::open(&folder.join(LENGTHS))?)
    else {
        return Ok(Found::Damaged);
    };
    let rows = len / header.row_len.max(1);
    let fits = rows >= header.count && len % header.row_len.max(1) == 0 && norms == rows.saturating_mul(4);
    Ok(if fits { Found::Header(header) } else { Found::Damaged })
}
