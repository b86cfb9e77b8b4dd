//! Loads an HNSW folder: pickle and rows side by side, joined by label. Where the header cannot be believed, the layout comes
//! from the collection's settings, and is used only if the files confirm it. Judges no distance.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use super::hnsw::{self, Evidence, Header, Norms, Row};
use super::labels::Labels;
use super::pickle::{self, IndexMetadata};
use super::stamps::{DATA, HEADER, LENGTHS, PICKLE};
use super::taken::Taken;
use super::{Index, Shape, Vectors, Wrong};
use crate::model::Error;
use crate::scratch::{self, Builder, Sorter, Table};
use crate::store::files::system::{self, Flaw, flaw, io_error};

/// Links of a vector where no setting says otherwise (measured on 0.4.24 to 1.5.9).
const NEIGHBOURS: u32 = 16;

/// Bytes of a label, and of the number of its rows.
pub(super) const LABEL: usize = 8;
pub(super) const COUNT: usize = 4;

/// The name of a file, and what is to be said of it.
type Named = (&'static str, String);

fn damaged((file, why): Named) -> Named {
    (file, format!("is damaged: {why}"))
}

impl Vectors {
    /// Loads the folder of a VECTOR segment.
    ///
    /// # Errors
    /// When this process may not open or read a file; damage is [`Vectors::Broken`].
    pub fn load(taken: Taken, shape: Shape) -> Result<Self, Error> {
        let Taken { folder, no_folder, pickle, header } = taken;
        let (folder, path) = (folder.as_path(), folder.join(PICKLE));
        let broken = |wrong, max_seq_id| Ok(Self::Broken { wrong, max_seq_id });
        match no_folder {
            None => {}
            Some(Flaw::Missing) => return Ok(Self::Nothing(folder.to_owned())),
            Some(Flaw::Other(what)) => return broken(Wrong { file: folder.to_owned(), what }, None),
        }
        let (pickle, len) = match pickle {
            Ok(pickle) => pickle,
            Err(Flaw::Missing) => return Ok(Self::Nothing(path)),
            Err(Flaw::Other(what)) => return broken(Wrong { file: path, what }, None),
        };
        let input = BufReader::with_capacity(1 << 18, pickle);
        // neither half needs the other, and each takes as long
        let (pickled, scanned) = std::thread::scope(|scope| {
            let scanning = scope.spawn(|| scan(folder, header, shape));
            (pickle::parse(input, len).map_err(scratch::failed), scanning.join())
        });
        let metadata = match pickled? {
            Ok(metadata) => metadata,
            Err(what) => return broken(Wrong { file: path, what: format!("is damaged: {what}") }, None),
        };
        if metadata.labels.is_empty() {
            let mut index = Index::empty(folder, metadata.max_seq_id)?;
            index.flawed = metadata.flawed.map(|what| Wrong { file: path, what: format!("is damaged: {what}") });
            return Ok(Self::Index(Box::new(index)));
        }
        let scanned = scanned.map_err(|_| io_error("scan", folder, io::Error::other("a thread panicked")))??;
        let fitting = scanned.and_then(|scanned| fits(&scanned.header, metadata.dimension).map(|()| scanned));
        let max_seq_id = metadata.max_seq_id;
        let said = fitting.as_ref().err().cloned();
        let believed = fitting.ok().map(|scanned| Joined::of(scanned, &metadata.labels)).transpose()?;
        let joined = match believed {
            Some(joined) if joined.is_whole(&metadata.labels) => Some(joined),
            believed => without_header(folder, believed, said.as_ref(), &metadata, shape)?,
        };
        Ok(match (joined, said) {
            (Some(mut joined), _) => {
                joined.flawed = both(joined.flawed, metadata.flawed);
                let mut index = joined.into_index(folder, max_seq_id);
                (index.changes, index.given) = (metadata.changes, metadata.total);
                Self::Index(Box::new(index))
            }
            (None, said) => {
                let (file, what) = said.unwrap_or((HEADER, "is damaged".to_owned()));
                Self::Broken { wrong: Wrong { file: folder.join(file), what }, max_seq_id }
            }
        })
    }
}

/// What is wrong with the rows, and what of the pickle, as one.
fn both(rows: Option<Named>, pickle: Option<String>) -> Option<Named> {
    match (rows, pickle) {
        (rows, None) => rows,
        (None, Some(what)) => Some(damaged((PICKLE, what))),
        (Some((file, said)), Some(what)) => Some((file, format!("{said}; and of {PICKLE}, {what}"))),
    }
}

/// What the files beside the pickle hold.
struct Scanned {
    header: Header,
    /// Every row by label.
    rows: Sorter,
    data: File,
    /// Why rows are missing.
    flawed: Option<Named>,
    /// Whether the file has fewer rows than the header says.
    is_short: bool,
    evidence: Evidence,
}

/// The rows of the pickle's ids.
struct Joined {
    header: Header,
    by_id: Table,
    /// Ids with just one row, which is not deleted.
    found: usize,
    data: File,
    flawed: Option<Named>,
    is_short: bool,
    is_derived: bool,
    evidence: Evidence,
}

impl Joined {
    fn of(scanned: Scanned, labels: &Labels) -> Result<Self, Error> {
        let Scanned { header, rows, data, flawed, is_short, evidence } = scanned;
        let (by_id, found) = join(labels, rows).map_err(scratch::failed)?;
        Ok(Self { header, by_id, found, data, flawed, is_short, is_derived: false, evidence })
    }

    /// Whether nothing speaks against header and rows.
    fn is_whole(&self, labels: &Labels) -> bool {
        self.flawed.is_none() && self.found == labels.certain()
    }

    fn into_index(self, folder: &Path, max_seq_id: Option<i64>) -> Index {
        let Self { header, by_id, found: _, data, flawed, is_short: _, is_derived, evidence } = self;
        let flawed = flawed.map(|(file, what)| Wrong { file: folder.join(file), what });
        let (path, changes, given) = (folder.join(DATA), Vec::new(), None);
        Index { header, rows: by_id, data, path, max_seq_id, flawed, is_derived, evidence, changes, given }
    }
}

/// What can be read without the header, if that is more than with it. `said`: what is wrong with the files.
fn without_header(
    folder: &Path,
    believed: Option<Joined>,
    said: Option<&Named>,
    metadata: &IndexMetadata,
    shape: Shape,
) -> Result<Option<Joined>, Error> {
    let Some(mut derived) = derived(folder, metadata, shape)? else { return Ok(believed) };
    let (ids, found) = (metadata.labels.certain(), derived.found);
    let what = match (&believed, said) {
        (Some(with), _) if found < with.found || (found == with.found && !with.is_short) => return Ok(believed),
        (Some(with), _) => {
            let Header { count, row_len, .. } = with.header;
            format!("is damaged: with its {count} rows of {row_len} bytes {} of {ids} ids are found", with.found)
        }
        (None, Some((_, what))) => what.clone(),
        (None, None) => return Ok(None),
    };
    let row_len = derived.header.row_len;
    derived.flawed = Some((
        HEADER,
        format!(
            "{what}. The layout was derived from the collection's settings ({row_len} bytes a row), and {DATA} confirms it: \
             it has the rows of {found} of {ids} ids"
        ),
    ));
    derived.is_derived = true;
    Ok(Some(derived))
}

/// The rows by the layout that the collection's settings make, if the files confirm it: the bytes of both files give the
/// same whole number of rows, the labels of most ids are found, each once, and in a cosine index rows are of unit length.
fn derived(folder: &Path, metadata: &IndexMetadata, shape: Shape) -> Result<Option<Joined>, Error> {
    let dimension = shape.dimension.or_else(|| u32::try_from(metadata.dimension?).ok());
    let fits = metadata.dimension.is_none_or(|d| dimension.map(i64::from) == Some(d));
    let (Some(dimension), true) = (dimension, fits) else { return Ok(None) };
    let (Ok((_, len)), Ok((_, lengths))) = (system::open(&folder.join(DATA))?, system::open(&folder.join(LENGTHS))?)
    else {
        return Ok(None);
    };
    let settings = [shape.neighbours, Some(NEIGHBOURS).filter(|_| shape.neighbours != Some(NEIGHBOURS))];
    for neighbours in settings.into_iter().flatten() {
        let Some(layout) = Header::of(dimension, neighbours, 0) else { continue };
        // each row has one norm, used or not (measured on 0.4.24 to 1.5.9)
        let count = len / layout.row_len;
        if len % layout.row_len != 0 || lengths != count.saturating_mul(4) {
            continue;
        }
        let total = metadata.total.and_then(|total| u64::try_from(total).ok());
        let Some(layout) = Header::of(dimension, neighbours, count.min(total.unwrap_or(count))) else { continue };
        let Ok(scanned) = read(folder, layout, shape.cosine)? else { continue };
        let joined = Joined::of(scanned, &metadata.labels)?;
        let speaks_against = shape.cosine && joined.evidence.doubt(true).is_some();
        if joined.found * 2 > metadata.labels.certain() && !speaks_against {
            return Ok(Some(joined));
        }
    }
    Ok(None)
}

fn fits(header: &Header, dimension: Option<i64>) -> Result<(), Named> {
    match dimension.filter(|d| *d != i64::from(header.dimension)) {
        None => Ok(()),
        Some(other) => {
            Err(damaged((HEADER, format!("its rows have {} components, the collection has {other}", header.dimension))))
        }
    }
}

fn scan(folder: &Path, header: Result<Vec<u8>, Flaw>, shape: Shape) -> Result<Result<Scanned, Named>, Error> {
    let header = header.map_err(|flaw| (HEADER, flaw.to_string()));
    let header = header.and_then(|bytes| hnsw::header(&bytes).map_err(|what| damaged((HEADER, what))));
    let fitting = header.and_then(|header| fits(&header, shape.dimension.map(i64::from)).map(|()| header));
    match fitting {
        Ok(header) => read(folder, header, shape.cosine),
        Err(named) => Ok(Err(named)),
    }
}

/// The rows of a layout, as far as the files have them.
fn read(folder: &Path, mut header: Header, cosine: bool) -> Result<Result<Scanned, Named>, Error> {
    let (mut data, len) = match system::open(&folder.join(DATA))? {
        Ok(data) => data,
        Err(flaw) => return Ok(Err((DATA, flaw.to_string()))),
    };
    let mut flawed = None;
    let is_short = len < header.data_len();
    if is_short {
        let whole = len.checked_div(header.row_len).unwrap_or(0);
        let expected = header.data_len();
        let what = format!("it has {len} bytes where {} rows need {expected}; {whole} rows are whole", header.count);
        flawed = Some(damaged((DATA, what)));
        header.count = whole;
    }
    let norms = match system::open(&folder.join(LENGTHS))? {
        Err(flaw) if cosine => return Ok(Err((LENGTHS, flaw.to_string()))),
        Ok((file, len)) if cosine && len < header.count.saturating_mul(4) => {
            let what = format!("it has {len} bytes where {} norms need 4 each", header.count);
            flawed = Some(damaged((LENGTHS, what)));
            header.count = len / 4;
            Some(file)
        }
        found => found.ok().filter(|(_, len)| *len >= header.count.saturating_mul(4)).map(|(file, _)| file),
    };
    let (rows, evidence, failing) =
        by_label(folder, &header, &mut data, norms.map(|file| Norms::new(BufReader::new(file))), cosine)?;
    Ok(Ok(Scanned { header, rows, data, flawed: flawed.or(failing), is_short, evidence }))
}

/// Every row by label: its number, whether it is deleted, and its norm in a cosine index; and what of the files failed.
fn by_label(
    folder: &Path,
    header: &Header,
    data: &mut File,
    mut norms: Option<Norms<BufReader<File>>>,
    cosine: bool,
) -> Result<(Sorter, Evidence, Option<Named>), Error> {
    let (mut sorter, mut evidence) = (Sorter::default(), Evidence::default());
    let (mut failed, mut failing) = (None, None);
    let mut next = |row: Row, square: f64| {
        // a row without the norm that it needs is not the record's vector
        if failing.is_some() && cosine {
            return Ok(());
        }
        let norm = norms.as_mut().map(|norms| norms.of(row.number)).transpose();
        let norm = match norm.map_err(|e| (flaw(&e), e)) {
            Ok(norm) => norm,
            Err((Some(what), _)) => {
                failing = cosine.then(|| damaged((LENGTHS, format!("norm {} cannot be read ({what})", row.number))));
                norms = None;
                if cosine {
                    return Ok(());
                }
                None
            }
            Err((None, e)) => return Err(io_error("read", &folder.join(LENGTHS), e)),
        };
        if let Some(norm) = norm.filter(|_| !row.deleted) {
            evidence.take(square, norm);
        }
        let value = packed(row, norm.filter(|_| cosine));
        sorter.push(&row.label.to_be_bytes(), &value).map_err(scratch::failed)
    };
    let lost = hnsw::rows(data, header, |row, square| {
        if failed.is_none() {
            failed = next(row, square).err();
        }
    });
    let lost = lost.map_err(|e| io_error("read", &folder.join(DATA), e))?;
    if let Some(error) = failed {
        return Err(error);
    }
    if lost.count > 0 {
        failing = Some(damaged((DATA, format!("{} of its rows cannot be read ({})", lost.count, lost.why))));
    }
    Ok((sorter, evidence, failing))
}

/// Number, flag and norm of a row; no norm outside of a cosine index.
fn packed(row: Row, norm: Option<f32>) -> Vec<u8> {
    let mut bytes = row.number.to_le_bytes().to_vec();
    bytes.push(u8::from(row.deleted));
    bytes.extend(norm.iter().flat_map(|norm| norm.to_le_bytes()));
    bytes
}

/// By id: its label, how many rows have that, and the first of these as [`packed`], or nothing where its label is in doubt;
/// and how many ids have one row.
fn join(labels: &Labels, rows: Sorter) -> io::Result<(Table, usize)> {
    let (mut ids, mut by_id) = (Sorter::default(), Sorter::default());
    let mut walk = labels.walk();
    while let Some((id, label)) = walk.next()? {
        match label {
            Some(label) => ids.push(&u64::from(label).to_be_bytes(), id)?,
            None => by_id.push(id, &[])?,
        }
    }
    let (mut ids, mut rows, mut found) = (ids.sort()?, rows.sort()?, 0);
    let mut row = rows.next()?;
    while let Some((label, id)) = ids.next()? {
        while row.is_some_and(|(other, _)| other < label) {
            row = rows.next()?;
        }
        let mut value = label.to_vec();
        value.extend(0_u32.to_le_bytes());
        let (mut count, mut is_deleted) = (0_u32, false);
        while let Some((_, first)) = row.filter(|(other, _)| *other == label) {
            if count == 0 {
                value.extend_from_slice(first);
                is_deleted = first.get(4) == Some(&1);
            }
            count = count.saturating_add(1);
            row = rows.next()?;
        }
        found += usize::from(count == 1 && !is_deleted);
        value[LABEL..LABEL + COUNT].copy_from_slice(&count.to_le_bytes());
        by_id.push(id, &value)?;
    }
    Ok((Builder::default().of(by_id.sort()?)?, found))
}
