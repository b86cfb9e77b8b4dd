//! Fills a new local store by its files: rows in its tables and its log, and its indexes, so that Chroma has only to open them.
//! Lays out no table, starts no server, and writes nothing but the database that it is given and the folder it comes to stand
//! in. What it writes is believed by nobody: the ordinary run compares all of it.

mod graph;
pub mod import;
pub mod index;
mod keys;
pub mod layout;
mod left;
pub mod place;
pub mod proof;
pub mod sample;
pub mod state;
pub mod twin;
mod values;

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::model::Error;
use crate::store::files::system::io_error;

/// What an error of `SQLite` means for who fills a store.
fn failed(attempt: &'static str, database: &Path, error: &rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        _ => io::ErrorKind::Other,
    };
    io_error(attempt, database, io::Error::new(kind, error.to_string()))
}
