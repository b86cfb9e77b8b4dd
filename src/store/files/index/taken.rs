//! The files of an index that a sync replaces, taken at one moment. Reads only; copies into scratch space.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use super::hnsw;
use super::stamps::{HEADER, PICKLE};
use crate::model::Error;
use crate::scratch;
use crate::store::files::system::io_error;

/// The files that a sync replaces or writes anew, as they were at one moment: an index is loaded from these while its
/// server goes on. Rows stay where they are, with their label.
#[derive(Debug)]
pub struct Taken {
    pub(super) folder: PathBuf,
    /// A copy of the pickle in scratch space, and its bytes.
    pub(super) pickle: Option<(File, u64)>,
    pub(super) header: Option<Vec<u8>>,
}

impl Taken {
    /// Takes them. The caller holds the stamps of before against those of after.
    ///
    /// # Errors
    /// When a file cannot be opened or read, or the scratch space fails.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let header = open(&folder.join(HEADER))?.map(|(file, _)| {
            let mut bytes = Vec::new();
            let read = file.take(hnsw::HEADER_LEN as u64 + 1).read_to_end(&mut bytes);
            read.map(|_| bytes).map_err(|e| io_error("read", &folder.join(HEADER), e))
        });
        let pickle = open(&folder.join(PICKLE))?.map(|(file, _)| {
            let copied = tempfile::tempfile().and_then(|mut copy| {
                let len = io::copy(&mut &file, &mut copy)?;
                copy.rewind()?;
                Ok((copy, len))
            });
            copied.map_err(scratch::failed)
        });
        Ok(Self { folder: folder.to_owned(), pickle: pickle.transpose()?, header: header.transpose()? })
    }
}

/// A file and its bytes, if it is there.
pub(super) fn open(path: &Path) -> Result<Option<(File, u64)>, Error> {
    match File::open(path) {
        Ok(file) => {
            let len = file.metadata().map_err(|e| io_error("look at", path, e))?.len();
            Ok(Some((file, len)))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("open", path, e)),
    }
}
