//! The files of an index that a sync replaces, taken at one moment. Reads only; copies into scratch space.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::hnsw;
use super::stamps::{HEADER, PICKLE};
use crate::model::Error;
use crate::scratch;
use crate::store::files::system::{self, Flaw, flaw, io_error};

/// The files that a sync replaces or writes anew, as they were at one moment: an index is loaded from these while its
/// server goes on. Rows stay where they are, with their label.
#[derive(Debug)]
pub struct Taken {
    pub(super) folder: PathBuf,
    /// Why the folder is none.
    pub(super) no_folder: Option<Flaw>,
    /// A copy of the pickle in scratch space, and its bytes.
    pub(super) pickle: Result<(File, u64), Flaw>,
    pub(super) header: Result<Vec<u8>, Flaw>,
}

impl Taken {
    /// Takes them. The caller holds the stamps of before against those of after.
    ///
    /// # Errors
    /// When this process may not open or read a file, or the scratch space fails.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let no_folder = system::no_folder(folder)?;
        Ok(Self { folder: folder.to_owned(), no_folder, pickle: pickle(folder)?, header: header(folder)? })
    }
}

fn header(folder: &Path) -> Result<Result<Vec<u8>, Flaw>, Error> {
    let path = folder.join(HEADER);
    let file = match system::open(&path)? {
        Ok((file, _)) => file,
        Err(flaw) => return Ok(Err(flaw)),
    };
    let mut bytes = Vec::new();
    match file.take(hnsw::HEADER_LEN as u64).read_to_end(&mut bytes) {
        Ok(_) => Ok(Ok(bytes)),
        Err(e) => unreadable(&path, e).map(Err),
    }
}

fn pickle(folder: &Path) -> Result<Result<(File, u64), Flaw>, Error> {
    let path = folder.join(PICKLE);
    let mut file = match system::open(&path)? {
        Ok((file, _)) => file,
        Err(flaw) => return Ok(Err(flaw)),
    };
    let mut copy = tempfile::tempfile().map_err(scratch::failed)?;
    let (mut block, mut len) = (vec![0; 64 << 10], 0);
    loop {
        let read = match file.read(&mut block) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return unreadable(&path, e).map(Err),
        };
        copy.write_all(block.get(..read).unwrap_or_default()).map_err(scratch::failed)?;
        len += read as u64;
    }
    copy.rewind().map_err(scratch::failed)?;
    Ok(Ok((copy, len)))
}

fn unreadable(path: &Path, error: io::Error) -> Result<Flaw, Error> {
    match flaw(&error) {
        Some(what) => Ok(Flaw::Other(format!("cannot be read ({what})"))),
        None => Err(io_error("read", path, error)),
    }
}
