//! What an attempt left where another one is to be: it is removed if it is a store alone, and stays if it holds anything else.

use std::fs;
use std::io;
use std::path::Path;

use crate::model::Result;
use crate::store::files::DATABASE;
use crate::store::files::index::stamps::{DATA, HEADER, LENGTHS, LINKS, PICKLE};
use crate::store::files::system::io_error;

/// Removes what an earlier attempt has filled. What anybody else has put there stays, and all that is beside it.
pub(super) fn remove_store(folder: &Path) -> Result<()> {
    if !is_store_alone(folder) {
        tracing::warn!(
            ?folder,
            "this is what an earlier attempt has filled, and holds files of somebody else: it stays"
        );
        return Ok(());
    }
    tracing::info!(?folder, "removing what an earlier attempt left");
    fs::remove_dir_all(folder).map_err(|e| io_error("remove", folder, e))
}

/// Whether a folder holds nothing but what Chroma and the fill write: the database with its journals, and the folders of indexes
/// with their files.
pub(super) fn is_store_alone(folder: &Path) -> bool {
    let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
    let is_of_index = |name: &str, path: &Path| !is_folder(path) && INDEX.contains(&name);
    is_each(folder, |name, path| match name.strip_prefix(DATABASE) {
        Some(rest) => !is_folder(path) && ["", "-journal", "-wal", "-shm"].contains(&rest),
        None => is_uuid(name) && is_each(path, is_of_index),
    })
}

/// The files of an index.
const INDEX: [&str; 5] = [PICKLE, HEADER, DATA, LENGTHS, LINKS];

fn is_each(folder: &Path, is: impl Fn(&str, &Path) -> bool) -> bool {
    let is_one = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(|name| is(name, &entry.path())))
    };
    fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir())
        && fs::read_dir(folder).is_ok_and(|mut entries| entries.all(is_one))
}

fn is_uuid(name: &str) -> bool {
    name.len() == 36 && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
