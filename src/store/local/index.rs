//! A collection's HNSW folder, loaded: which ids it holds, where their rows are, and whether it can be trusted.
//! Keeps ids, labels and norms; vectors stay on disk. Knows no `SQLite`.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::super::error::Error;
use super::files::{self, Stamp, io_error};
use super::hnsw::{self, Header, Row};
use super::labels::Labels;
use super::pickle::{self, IndexMetadata};

const PICKLE: &str = "index_metadata.pickle";
const HEADER: &str = "header.bin";
const DATA: &str = "data_level0.bin";
const LENGTHS: &str = "length.bin";

/// The stamps of the four files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps([Option<Stamp>; 4]);

impl Stamps {
    /// Looks at the folder.
    ///
    /// # Errors
    /// When the system refuses to say.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let stamp = |name| files::stamp(&folder.join(name));
        Ok(Self([stamp(HEADER)?, stamp(DATA)?, stamp(LENGTHS)?, stamp(PICKLE)?]))
    }

    /// Whether a file has changed so recently that it may be changing still.
    #[must_use]
    pub fn are_fresh(&self) -> bool {
        self.0.iter().flatten().any(Stamp::is_fresh)
    }

    /// Whether nobody has written a file for a while.
    #[must_use]
    pub fn are_settled(&self) -> bool {
        self.0.iter().flatten().all(Stamp::is_settled)
    }
}

/// What a collection's HNSW folder holds.
#[derive(Debug)]
pub enum Vectors {
    /// Nothing was synced yet: every vector is in the write-ahead log.
    Nothing,
    /// A sound index.
    Index(Box<Index>),
    /// An index whose rows cannot be read.
    Broken {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
        /// Which ids it would hold, where that is known.
        labels: Option<Labels>,
        /// The pickle's own `max_seq_id`.
        max_seq_id: Option<i64>,
    },
}

/// A sound index.
#[derive(Debug)]
pub struct Index {
    header: Header,
    labels: Labels,
    /// Sorted by label.
    rows: Vec<Row>,
    norms: Option<Vec<f32>>,
    data: File,
    path: PathBuf,
    max_seq_id: Option<i64>,
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

    /// Whether the index holds the id.
    #[must_use]
    pub fn holds(&self, id: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Index(index) => index.labels.get(id).is_some(),
            Self::Broken { labels, .. } => labels.as_ref().is_none_or(|labels| labels.get(id).is_some()),
        }
    }

    /// Loads the folder of a VECTOR segment. `dimension` is the collection's; `cosine` says whether norms are needed.
    ///
    /// # Errors
    /// When a file cannot be opened or read; damage is [`Vectors::Broken`].
    pub fn load(folder: &Path, dimension: Option<u32>, cosine: bool) -> Result<Self, Error> {
        let path = folder.join(PICKLE);
        let metadata = match read_pickle(&path)? {
            None => return Ok(Self::Nothing),
            Some(Ok(metadata)) => metadata,
            Some(Err(what)) => return Ok(Self::Broken { file: path, what, labels: None, max_seq_id: None }),
        };
        if metadata.labels.is_empty() {
            return Ok(Self::Index(Box::new(Index::empty(folder, metadata)?)));
        }
        match rows(folder, metadata.dimension, dimension, cosine)? {
            Ok((header, rows, norms, data)) => Ok(Self::Index(Box::new(Index {
                header,
                labels: metadata.labels,
                rows,
                norms,
                data,
                path: folder.join(DATA),
                max_seq_id: metadata.max_seq_id,
            }))),
            Err((file, what)) => Ok(Self::Broken {
                file: folder.join(file),
                what,
                labels: Some(metadata.labels),
                max_seq_id: metadata.max_seq_id,
            }),
        }
    }
}

fn open(path: &Path) -> Result<Option<(File, u64)>, Error> {
    match File::open(path) {
        Ok(file) => {
            let len = file.metadata().map_err(|e| io_error("look at", path, e))?.len();
            Ok(Some((file, len)))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("open", path, e)),
    }
}

fn read_pickle(path: &Path) -> Result<Option<Result<IndexMetadata, String>>, Error> {
    let Some((file, len)) = open(path)? else { return Ok(None) };
    Ok(Some(pickle::parse(BufReader::with_capacity(1 << 18, file), len)))
}

/// What is wrong with which file.
type Wrong = (&'static str, String);
type Parts = (Header, Vec<Row>, Option<Vec<f32>>, File);

fn rows(
    folder: &Path,
    pickled: Option<i64>,
    dimension: Option<u32>,
    cosine: bool,
) -> Result<Result<Parts, Wrong>, Error> {
    let missing = |name: &'static str| Ok(Err((name, "it is missing".to_owned())));
    let Some((mut file, _)) = open(&folder.join(HEADER))? else { return missing(HEADER) };
    let mut bytes = Vec::new();
    let read = file.by_ref().take(hnsw::HEADER_LEN as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|e| io_error("read", &folder.join(HEADER), e))?;
    let header = match hnsw::header(&bytes) {
        Ok(header) => header,
        Err(what) => return Ok(Err((HEADER, what))),
    };
    let others = [pickled, dimension.map(i64::from)];
    if let Some(other) = others.into_iter().flatten().find(|d| *d != i64::from(header.dimension)) {
        let what = format!("its rows have {} components, the collection has {other}", header.dimension);
        return Ok(Err((HEADER, what)));
    }
    let Some((mut data, len)) = open(&folder.join(DATA))? else { return missing(DATA) };
    if len < header.data_len() {
        let whole = len.checked_div(header.row_len).unwrap_or(0);
        let expected = header.data_len();
        let what = format!("it has {len} bytes where {} rows need {expected}; {whole} rows are whole", header.count);
        return Ok(Err((DATA, what)));
    }
    let mut rows = match hnsw::rows(&mut data, &header) {
        Ok(rows) => rows,
        Err(e) => return Err(io_error("read", &folder.join(DATA), e)),
    };
    rows.sort_unstable_by_key(|row| row.label);
    if !cosine {
        return Ok(Ok((header, rows, None, data)));
    }
    let Some((mut file, len)) = open(&folder.join(LENGTHS))? else { return missing(LENGTHS) };
    if len < header.count.saturating_mul(4) {
        return Ok(Err((LENGTHS, format!("it has {len} bytes where {} norms need 4 each", header.count))));
    }
    let norms = hnsw::lengths(&mut file, &header).map_err(|e| io_error("read", &folder.join(LENGTHS), e))?;
    Ok(Ok((header, rows, Some(norms), data)))
}

impl Index {
    /// An index that holds no id needs no other file.
    fn empty(folder: &Path, metadata: IndexMetadata) -> Result<Self, Error> {
        let path = folder.join(PICKLE);
        let header = Header { count: 0, capacity: 0, row_len: 0, label_offset: 0, data_offset: 0, dimension: 0 };
        let data = File::open(&path).map_err(|e| io_error("open", &path, e))?;
        let (labels, max_seq_id) = (metadata.labels, metadata.max_seq_id);
        Ok(Self { header, labels, rows: Vec::new(), norms: None, data, path, max_seq_id })
    }

    /// The row of an id.
    ///
    /// # Errors
    /// A sentence that says why there is none.
    pub fn row(&self, id: &str) -> Result<Row, String> {
        let Some(label) = self.labels.get(id) else {
            return Err(format!("its vector is neither in the write-ahead log nor in the index ({PICKLE})"));
        };
        let label = u64::from(label);
        let first = self.rows.partition_point(|row| row.label < label);
        let same = self.rows.get(first..).unwrap_or_default().iter().take_while(|row| row.label == label);
        match (same.clone().next(), same.count()) {
            (Some(row), 1) if !row.deleted => Ok(*row),
            (Some(row), 1) => {
                Err(format!("its vector (label {label}) is marked deleted in row {} of {DATA}", row.number))
            }
            (None, _) => Err(format!("its vector (label {label}) has no row in {DATA}")),
            (_, many) => Err(format!("its vector (label {label}) has {many} rows in {DATA}")),
        }
    }

    /// Reads a row's vector, with its norm where the index is a cosine one.
    ///
    /// # Errors
    /// When the file cannot be read; inside, why the vector cannot be trusted.
    pub fn vector(&self, row: Row) -> Result<Result<Vec<f32>, String>, Error> {
        let read = hnsw::row(&mut &self.data, &self.header, row.number);
        let (found, mut vector) = read.map_err(|e| io_error("read", &self.path, e))?;
        if found != row || vector.len() != self.header.dimension as usize {
            return Ok(Err(format!("row {} of {DATA} changed while it was read", row.number)));
        }
        if let Some(norms) = &self.norms {
            let Some(norm) = norms.get(row.number as usize) else {
                return Ok(Err(format!("row {} has no norm in {LENGTHS}", row.number)));
            };
            if let Err(why) = hnsw::with_norm(&mut vector, *norm) {
                return Ok(Err(why));
            }
        }
        Ok(Ok(vector))
    }
}
