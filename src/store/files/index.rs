//! A collection's HNSW folder, loaded: which ids it holds, where their rows are, and whether it can be trusted.
//! Keeps ids, labels and norms in scratch space beyond a bound; vectors stay where they are. Knows no `SQLite`.

pub mod hnsw;
pub mod labels;
mod load;
pub mod pickle;
pub mod stamps;
pub mod taken;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use self::hnsw::{Evidence, Header, Row};
use self::load::{COUNT, LABEL};
use self::stamps::{DATA, LENGTHS, PICKLE};
use super::system::{self, flaw, io_error};
use crate::model::Error;
use crate::scratch::Table;

/// Rows beside each other are read at once, in this many bytes.
const AT_ONCE: usize = 128 << 10;

/// How an index is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Components of a vector, if the collection says.
    pub dimension: Option<u32>,
    /// Whether norms are needed.
    pub cosine: bool,
    /// Links of a vector (M), if the collection's settings say.
    pub neighbours: Option<u32>,
}

/// What a collection's HNSW folder holds.
#[derive(Debug)]
pub enum Vectors {
    /// There is no index. Nothing was synced yet, or it is gone: this folder or file is missing.
    Nothing(PathBuf),
    /// An index, of which all rows or some can be read.
    Index(Box<Index>),
    /// An index of which no row can be read.
    Broken {
        /// What is wrong.
        wrong: Wrong,
        /// The pickle's own `max_seq_id`.
        max_seq_id: Option<i64>,
    },
}

/// What is wrong with which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The file, or the folder.
    pub file: PathBuf,
    /// What is to be said of it: "is missing", "is damaged: …".
    pub what: String,
}

/// An index whose rows can be read.
#[derive(Debug)]
pub struct Index {
    header: Header,
    /// By id: label, what is known of its row, row, and the norm in a cosine index.
    rows: Table,
    data: File,
    path: PathBuf,
    max_seq_id: Option<i64>,
    /// Why rows are missing, or how they were found without a header that can be believed.
    pub flawed: Option<Wrong>,
    /// Whether the header was not believed: the layout comes from the collection's settings.
    pub is_derived: bool,
    /// What the rows say of the distance.
    pub evidence: Evidence,
    /// For some ids the last change that the index took of them; none from Chroma 1.0 on.
    pub changes: Vec<(String, i64)>,
    /// Labels that were ever given, by the pickle's word.
    given: Option<i64>,
}

/// The row of an id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IndexRow {
    /// The row.
    pub row: Row,
    /// The norm of its vector, in a cosine index.
    pub norm: Option<f32>,
}

impl Vectors {
    /// The `max_seq_id` of the pickle, which only 0.4 keeps there.
    #[must_use]
    pub fn max_seq_id(&self) -> Option<i64> {
        match self {
            Self::Nothing(_) => None,
            Self::Index(index) => index.max_seq_id,
            Self::Broken { max_seq_id, .. } => *max_seq_id,
        }
    }

    /// What is wrong with the files.
    #[must_use]
    pub fn wrong(&self) -> Option<&Wrong> {
        match self {
            Self::Nothing(_) => None,
            Self::Index(index) => index.flawed.as_ref(),
            Self::Broken { wrong, .. } => Some(wrong),
        }
    }

    /// Whether the rows were found without a header that can be believed.
    #[must_use]
    pub fn is_derived(&self) -> bool {
        matches!(self, Self::Index(index) if index.is_derived)
    }

    /// Whether all rows of an index can be read.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        matches!(self, Self::Index(index) if index.flawed.is_none())
    }

    /// Whether the index holds the id's vector; None where it cannot tell. `synced` says that there was an index once.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn holds(&self, id: &str, synced: bool) -> io::Result<Option<bool>> {
        match self {
            Self::Nothing(_) => Ok((!synced).then_some(false)),
            Self::Broken { .. } => Ok(None),
            // what the log has is the better witness
            Self::Index(index) if index.is_derived => Ok(None),
            Self::Index(index) if index.flawed.is_none() && !index.knows(id)? => Ok(Some(false)),
            Self::Index(index) => Ok(index.row(id)?.is_ok().then_some(true)),
        }
    }
}

/// What [`load`] has made of one id: its label, the number of its rows, and the first of them.
fn unpacked(value: &[u8]) -> Option<(u64, u32, Option<IndexRow>)> {
    let (label, rest) = value.split_first_chunk::<LABEL>()?;
    let (count, rest) = rest.split_first_chunk::<COUNT>()?;
    let label = u64::from_be_bytes(*label);
    let Some((number, rest)) = rest.split_first_chunk() else {
        return Some((label, u32::from_le_bytes(*count), None));
    };
    let row = Row { number: u32::from_le_bytes(*number), label, deleted: rest.first() == Some(&1) };
    let norm = rest.get(1..).and_then(<[u8]>::first_chunk).copied().map(f32::from_le_bytes);
    Some((label, u32::from_le_bytes(*count), Some(IndexRow { row, norm })))
}

impl Index {
    /// An index that holds no id needs no other file.
    fn empty(folder: &Path, max_seq_id: Option<i64>) -> Result<Self, Error> {
        let path = folder.join(PICKLE);
        let header = Header { count: 0, row_len: 0, label_offset: 0, data_offset: 0, dimension: 0 };
        let data = File::open(&path).map_err(|e| io_error("open", &path, e))?;
        let (rows, flawed, is_derived) = (Table::default(), None, false);
        let (evidence, changes, given) = (Evidence::default(), Vec::new(), None);
        Ok(Self { header, rows, data, path, max_seq_id, flawed, is_derived, evidence, changes, given })
    }

    /// Whether the pickle names the id.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn knows(&self, id: &str) -> io::Result<bool> {
        self.rows.position(id.as_bytes()).map(|place| place.is_some())
    }

    /// The row of an id; inside, a sentence that says why there is none.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn row(&self, id: &str) -> io::Result<Result<IndexRow, String>> {
        let Some(value) = self.rows.value(id.as_bytes())? else {
            return Ok(Err(format!("its vector is neither in the write-ahead log nor in the index ({PICKLE})")));
        };
        if value.is_empty() {
            return Ok(Err(format!("its vector is lost: {PICKLE} is damaged, and does not say one label for it")));
        }
        Ok(match unpacked(&value) {
            Some((_, 1, Some(found))) if !found.row.deleted => Ok(found),
            Some((label, 1, Some(found))) => {
                Err(format!("its vector (label {label}) is marked deleted in row {} of {DATA}", found.row.number))
            }
            Some((label, 0, _)) => Err(match &self.flawed {
                None => format!("its vector (label {label}) has no row in {DATA}"),
                Some(Wrong { file, what }) => {
                    let name = file.file_name().unwrap_or_default().display();
                    format!("its vector (label {label}) is lost: {name} {what}")
                }
            }),
            Some((label, many, _)) => Err(format!("its vector (label {label}) has {many} rows in {DATA}")),
            None => return Err(io::Error::new(io::ErrorKind::InvalidData, "a scratch file was changed")),
        })
    }

    /// At most so many of its ids, from all over the index.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn some_ids(&self, most: usize) -> io::Result<Vec<String>> {
        let (all, most) = (self.rows.len(), most.max(1));
        let places = (0..all.min(most)).map(|n| n * all / all.min(most));
        let id = |place| Ok(String::from_utf8_lossy(&self.rows.key(place)?).into_owned());
        places.map(id).collect()
    }

    /// Hands on every id that the pickle names.
    ///
    /// # Errors
    /// When the scratch space fails, and those of `each`.
    pub fn each_id(&self, mut each: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let mut entries = self.rows.entries();
        while let Some((id, _)) = entries.next()? {
            each(&String::from_utf8_lossy(id))?;
        }
        Ok(())
    }

    /// How many labels were ever given by the pickle's word, and how many rows there are by the header's, where these differ.
    #[must_use]
    pub fn uneven(&self) -> Option<(i64, u64)> {
        let given = self.given.filter(|_| self.flawed.is_none() && !self.rows.is_empty())?;
        (u64::try_from(given) != Ok(self.header.count)).then_some((given, self.header.count))
    }

    /// Reads the vectors of these rows, which are sorted by number, each with its norm where the index is a cosine one;
    /// hands them on in this order, or why one cannot be read or trusted. `is_old`: the files have changed since this was
    /// loaded, so norms are read anew, too: a row that was updated has another one.
    ///
    /// # Errors
    /// When a file cannot be read for a reason that lies not in the file.
    pub fn vectors(
        &self,
        rows: &[IndexRow],
        is_old: bool,
        mut take: impl FnMut(Result<Vec<f32>, String>),
    ) -> Result<(), Error> {
        let lengths = self.path.with_file_name(LENGTHS);
        let norms = if is_old { system::open(&lengths)?.ok().map(|(file, _)| file) } else { None };
        let norm_of = |at: &IndexRow| match (at.norm, &norms) {
            (Some(_), Some(file)) => {
                let mut bytes = [0; 4];
                let read = file.read_exact_at(&mut bytes, u64::from(at.row.number) * 4);
                known(read.map(|()| Some(f32::from_le_bytes(bytes))), "norm", at.row.number, &lengths)
            }
            (norm, _) => Ok(Ok(norm)),
        };
        let failed = |e| io_error("read", &self.path, e);
        let row_len = usize::try_from(self.header.row_len).map_err(io::Error::other).map_err(failed)?;
        let at_once = (AT_ONCE / row_len.max(1)).max(1);
        let mut bytes = Vec::new();
        let mut one = |at: &IndexRow, bytes: &[u8]| {
            let norm = norm_of(at)?;
            take(norm.and_then(|norm| self.vector(IndexRow { norm, ..*at }, bytes)));
            Ok::<(), Error>(())
        };
        for run in rows.chunk_by(|a, b| b.row.number.saturating_sub(a.row.number) <= 1) {
            for part in run.chunks(at_once) {
                let (Some(first), Some(last)) = (part.first(), part.last()) else { continue };
                let (first, last) = (u64::from(first.row.number), u64::from(last.row.number));
                bytes.resize(usize::try_from(last - first + 1).unwrap_or(usize::MAX).saturating_mul(row_len), 0);
                match self.data.read_exact_at(&mut bytes, first.saturating_mul(self.header.row_len)) {
                    Ok(()) => {}
                    Err(e) if flaw(&e).is_some() => {
                        self.one_by_one(part, &mut one)?;
                        continue;
                    }
                    Err(e) => return Err(failed(e)),
                }
                for at in part {
                    let n = usize::try_from(u64::from(at.row.number) - first).unwrap_or(usize::MAX);
                    one(at, bytes.chunks_exact(row_len).nth(n).unwrap_or_default())?;
                }
            }
        }
        Ok(())
    }

    /// Where the medium fails, each row is read by itself. One that cannot be read changes for `one` into no bytes.
    fn one_by_one(
        &self,
        rows: &[IndexRow],
        one: &mut impl FnMut(&IndexRow, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut bytes = vec![0; usize::try_from(self.header.row_len).unwrap_or_default()];
        for at in rows {
            let read =
                self.data.read_exact_at(&mut bytes, u64::from(at.row.number).saturating_mul(self.header.row_len));
            match known(read, "row", at.row.number, &self.path)? {
                Ok(()) => one(at, &bytes)?,
                Err(_) => one(at, &[])?,
            }
        }
        Ok(())
    }

    fn vector(&self, at: IndexRow, bytes: &[u8]) -> Result<Vec<f32>, String> {
        let IndexRow { row, norm } = at;
        if bytes.is_empty() {
            return Err(format!("row {} of {DATA} cannot be read", row.number));
        }
        let found = hnsw::row(&self.header, row.number, bytes).filter(|(found, _)| *found == row);
        let Some((_, mut vector)) = found else {
            return Err(format!("row {} of {DATA} changed while it was read", row.number));
        };
        norm.map_or(Ok(()), |norm| hnsw::with_norm(&mut vector, norm))?;
        Ok(vector)
    }
}

/// What was read of a row; inside, why the file does not give it.
fn known<T>(read: io::Result<T>, what: &str, number: u32, path: &Path) -> Result<Result<T, String>, Error> {
    read.map(Ok).or_else(|e| match flaw(&e) {
        Some(why) => Ok(Err(format!("the {what} {number} of {} cannot be read ({why})", path.display()))),
        None => Err(io_error("read", path, e)),
    })
}
