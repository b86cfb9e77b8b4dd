//! A collection's HNSW folder, loaded: which ids it holds, where their rows are, and whether it can be trusted.
//! Keeps ids, labels and norms in scratch space beyond a bound; vectors stay where they are. Knows no `SQLite`.

pub mod hnsw;
pub mod labels;
pub mod pickle;
pub mod stamps;
pub mod taken;

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use self::hnsw::{Evidence, Header, Row};
use self::labels::Labels;
use self::stamps::{DATA, HEADER, LENGTHS, PICKLE};
use self::taken::{Taken, open};
use super::system::io_error;
use crate::model::Error;
use crate::scratch::{self, Builder, Sorter, Table};

/// Rows beside each other are read at once, in this many bytes.
const AT_ONCE: usize = 128 << 10;

/// What a collection's HNSW folder holds.
#[derive(Debug)]
pub enum Vectors {
    /// There is no index. Nothing was synced yet, or it is gone.
    Nothing,
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
    /// The file.
    pub file: PathBuf,
    /// A sentence without a subject.
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
    /// Why rows are missing at the end.
    pub cut: Option<Wrong>,
    /// What the rows say of the distance.
    pub evidence: Evidence,
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
            Self::Nothing => None,
            Self::Index(index) => index.max_seq_id,
            Self::Broken { max_seq_id, .. } => *max_seq_id,
        }
    }

    /// What is wrong with the files.
    #[must_use]
    pub fn wrong(&self) -> Option<&Wrong> {
        match self {
            Self::Nothing => None,
            Self::Index(index) => index.cut.as_ref(),
            Self::Broken { wrong, .. } => Some(wrong),
        }
    }

    /// Whether all rows of an index can be read.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        matches!(self, Self::Index(index) if index.cut.is_none())
    }

    /// Whether the index holds the id's vector; None where it cannot tell. `synced` says that there was an index once.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn holds(&self, id: &str, synced: bool) -> io::Result<Option<bool>> {
        match self {
            Self::Nothing => Ok((!synced).then_some(false)),
            Self::Broken { .. } => Ok(None),
            Self::Index(index) if index.cut.is_none() && !index.knows(id)? => Ok(Some(false)),
            Self::Index(index) => Ok(index.row(id)?.is_ok().then_some(true)),
        }
    }

    /// Loads the folder of a VECTOR segment. `dimension` is the collection's; `cosine` says whether norms are needed.
    ///
    /// # Errors
    /// When a file cannot be opened or read; damage is [`Vectors::Broken`].
    pub fn load(taken: Taken, dimension: Option<u32>, cosine: bool) -> Result<Self, Error> {
        let Taken { folder, pickle, header } = taken;
        let (folder, path) = (folder.as_path(), folder.join(PICKLE));
        let Some((pickle, len)) = pickle else { return Ok(Self::Nothing) };
        let input = BufReader::with_capacity(1 << 18, pickle);
        // neither half needs the other, and each takes as long
        let (pickled, scanned) = std::thread::scope(|scope| {
            let scanning = scope.spawn(|| scan(folder, header, dimension, cosine));
            (pickle::parse(input, len).map_err(scratch::failed), scanning.join())
        });
        let metadata = match pickled? {
            Ok(metadata) => metadata,
            Err(what) => return Ok(Self::Broken { wrong: Wrong { file: path, what }, max_seq_id: None }),
        };
        if metadata.labels.is_empty() {
            return Ok(Self::Index(Box::new(Index::empty(folder, metadata.max_seq_id)?)));
        }
        let scanned = scanned.map_err(|_| io_error("scan", folder, io::Error::other("a thread panicked")))??;
        let max_seq_id = metadata.max_seq_id;
        match scanned.and_then(|scanned| fits(&scanned.header, metadata.dimension).map(|()| scanned)) {
            Ok(Scanned { header, rows, data, cut, evidence }) => Ok(Self::Index(Box::new(Index {
                header,
                rows: join(&metadata.labels, rows).map_err(scratch::failed)?,
                data,
                path: folder.join(DATA),
                max_seq_id,
                cut: cut.map(|(file, what)| Wrong { file: folder.join(file), what }),
                evidence,
            }))),
            Err((file, what)) => Ok(Self::Broken { wrong: Wrong { file: folder.join(file), what }, max_seq_id }),
        }
    }
}

/// The name of a file, and what is wrong with it.
type Named = (&'static str, String);

/// What the files beside the pickle hold.
struct Scanned {
    header: Header,
    /// Every row by label.
    rows: Sorter,
    data: File,
    /// Why rows are missing at the end.
    cut: Option<Named>,
    evidence: Evidence,
}

fn fits(header: &Header, dimension: Option<i64>) -> Result<(), Named> {
    match dimension.filter(|d| *d != i64::from(header.dimension)) {
        None => Ok(()),
        Some(other) => {
            Err((HEADER, format!("its rows have {} components, the collection has {other}", header.dimension)))
        }
    }
}

fn scan(
    folder: &Path,
    header: Option<Vec<u8>>,
    dimension: Option<u32>,
    cosine: bool,
) -> Result<Result<Scanned, Named>, Error> {
    let missing = |name: &'static str| Ok(Err((name, "it is missing".to_owned())));
    let Some(bytes) = header else { return missing(HEADER) };
    let mut header = match hnsw::header(&bytes) {
        Ok(header) => header,
        Err(what) => return Ok(Err((HEADER, what))),
    };
    if let Err(wrong) = fits(&header, dimension.map(i64::from)) {
        return Ok(Err(wrong));
    }
    let Some((mut data, len)) = open(&folder.join(DATA))? else { return missing(DATA) };
    let mut cut = None;
    if len < header.data_len() {
        let whole = len.checked_div(header.row_len).unwrap_or(0);
        let expected = header.data_len();
        let what = format!("it has {len} bytes where {} rows need {expected}; {whole} rows are whole", header.count);
        cut = Some((DATA, what));
        header.count = whole;
    }
    let norms = match open(&folder.join(LENGTHS))? {
        None if cosine => return missing(LENGTHS),
        Some((_, len)) if cosine && len < header.count.saturating_mul(4) => {
            cut = Some((LENGTHS, format!("it has {len} bytes where {} norms need 4 each", header.count)));
            header.count = len / 4;
            open(&folder.join(LENGTHS))?
        }
        found => found.filter(|(_, len)| *len >= header.count.saturating_mul(4)),
    };
    let norms = norms.map(|(file, _)| BufReader::new(file));
    let (rows, evidence) = by_label(folder, &header, &mut data, norms, cosine)?;
    Ok(Ok(Scanned { header, rows, data, cut, evidence }))
}

/// Every row by label: its number, whether it is deleted, and its norm in a cosine index.
fn by_label(
    folder: &Path,
    header: &Header,
    data: &mut File,
    mut norms: Option<BufReader<File>>,
    cosine: bool,
) -> Result<(Sorter, Evidence), Error> {
    let (mut sorter, mut evidence) = (Sorter::default(), Evidence::default());
    let mut failed = None;
    let read = hnsw::rows(data, header, |row, square| {
        if failed.is_some() {
            return;
        }
        let norm = norms.as_mut().map(hnsw::length).transpose();
        let taken = norm.map_err(|e| io_error("read", &folder.join(LENGTHS), e)).and_then(|norm| {
            if let Some(norm) = norm.filter(|_| !row.deleted) {
                evidence.take(square, norm);
            }
            let value = packed(row, norm.filter(|_| cosine));
            sorter.push(&row.label.to_be_bytes(), &value).map_err(scratch::failed)
        });
        failed = taken.err();
    });
    read.map_err(|e| io_error("read", &folder.join(DATA), e))?;
    failed.map_or(Ok((sorter, evidence)), Err)
}

/// Number, flag and norm of a row; no norm outside of a cosine index.
fn packed(row: Row, norm: Option<f32>) -> Vec<u8> {
    let mut bytes = row.number.to_le_bytes().to_vec();
    bytes.push(u8::from(row.deleted));
    bytes.extend(norm.iter().flat_map(|norm| norm.to_le_bytes()));
    bytes
}

/// By id: its label, how many rows have that, and the first of these as [`packed`].
fn join(labels: &Labels, rows: Sorter) -> io::Result<Table> {
    let mut ids = Sorter::default();
    let mut walk = labels.walk();
    while let Some((id, label)) = walk.next()? {
        ids.push(&u64::from(label).to_be_bytes(), id)?;
    }
    let (mut ids, mut rows, mut by_id) = (ids.sort()?, rows.sort()?, Sorter::default());
    let mut row = rows.next()?;
    while let Some((label, id)) = ids.next()? {
        while row.is_some_and(|(other, _)| other < label) {
            row = rows.next()?;
        }
        let mut value = label.to_vec();
        value.extend(0_u32.to_le_bytes());
        let mut count = 0_u32;
        while let Some((_, first)) = row.filter(|(other, _)| *other == label) {
            if count == 0 {
                value.extend_from_slice(first);
            }
            count = count.saturating_add(1);
            row = rows.next()?;
        }
        value[LABEL..LABEL + COUNT].copy_from_slice(&count.to_le_bytes());
        by_id.push(id, &value)?;
    }
    Builder::default().of(by_id.sort()?)
}

/// Bytes of a label, and of the number of its rows.
const LABEL: usize = 8;
const COUNT: usize = 4;

/// What [`join`] has made of one id: its label, the number of its rows, and the first of them.
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
        let header = Header { count: 0, capacity: 0, row_len: 0, label_offset: 0, data_offset: 0, dimension: 0 };
        let data = File::open(&path).map_err(|e| io_error("open", &path, e))?;
        let evidence = Evidence::default();
        Ok(Self { header, rows: Table::default(), data, path, max_seq_id, cut: None, evidence })
    }

    /// Whether the pickle names the id.
    fn knows(&self, id: &str) -> io::Result<bool> {
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
        Ok(match unpacked(&value) {
            Some((_, 1, Some(found))) if !found.row.deleted => Ok(found),
            Some((label, 1, Some(found))) => {
                Err(format!("its vector (label {label}) is marked deleted in row {} of {DATA}", found.row.number))
            }
            Some((label, 0, _)) => Err(match &self.cut {
                None => format!("its vector (label {label}) has no row in {DATA}"),
                Some(Wrong { file, what }) => {
                    let name = file.file_name().unwrap_or_default().display();
                    format!("its vector (label {label}) is lost: {name} is cut, {what}")
                }
            }),
            Some((label, many, _)) => Err(format!("its vector (label {label}) has {many} rows in {DATA}")),
            None => return Err(io::Error::new(io::ErrorKind::InvalidData, "a scratch file was changed")),
        })
    }

    /// Reads the vectors of these rows, which are sorted by number, each with its norm where the index is a cosine one;
    /// hands them on in this order, or why one cannot be trusted. `is_old`: the files have changed since this was loaded, so
    /// norms are read anew, too: a row that was updated has another one.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn vectors(
        &self,
        rows: &[IndexRow],
        is_old: bool,
        mut take: impl FnMut(Result<Vec<f32>, String>),
    ) -> Result<(), Error> {
        let lengths = self.path.with_file_name(LENGTHS);
        let norms = if is_old { open(&lengths)?.map(|(file, _)| file) } else { None };
        let norm_of = |at: &IndexRow| match (at.norm, &norms) {
            (Some(_), Some(file)) => {
                let mut bytes = [0; 4];
                let read = file.read_exact_at(&mut bytes, u64::from(at.row.number) * 4);
                read.map(|()| Some(f32::from_le_bytes(bytes))).map_err(|e| io_error("read", &lengths, e))
            }
            (norm, _) => Ok(norm),
        };
        let failed = |e| io_error("read", &self.path, e);
        let row_len = usize::try_from(self.header.row_len).map_err(io::Error::other).map_err(failed)?;
        let at_once = (AT_ONCE / row_len.max(1)).max(1);
        let mut bytes = Vec::new();
        for run in rows.chunk_by(|a, b| b.row.number.saturating_sub(a.row.number) <= 1) {
            for part in run.chunks(at_once) {
                let (Some(first), Some(last)) = (part.first(), part.last()) else { continue };
                let (first, last) = (u64::from(first.row.number), u64::from(last.row.number));
                bytes.resize(usize::try_from(last - first + 1).unwrap_or(usize::MAX).saturating_mul(row_len), 0);
                self.data.read_exact_at(&mut bytes, first.saturating_mul(self.header.row_len)).map_err(failed)?;
                for at in part {
                    let n = usize::try_from(u64::from(at.row.number) - first).unwrap_or(usize::MAX);
                    let at = IndexRow { norm: norm_of(at)?, ..*at };
                    take(self.vector(at, bytes.chunks_exact(row_len).nth(n).unwrap_or_default()));
                }
            }
        }
        Ok(())
    }

    fn vector(&self, at: IndexRow, bytes: &[u8]) -> Result<Vec<f32>, String> {
        let IndexRow { row, norm } = at;
        let found = hnsw::row(&self.header, row.number, bytes).filter(|(found, _)| *found == row);
        let Some((_, mut vector)) = found else {
            return Err(format!("row {} of {DATA} changed while it was read", row.number));
        };
        norm.map_or(Ok(()), |norm| hnsw::with_norm(&mut vector, norm))?;
        Ok(vector)
    }
}
