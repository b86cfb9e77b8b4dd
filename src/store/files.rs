//! A local Chroma store: opens a folder read-only and finds its layout; refuses unknown ones.
//! Nothing here writes but scratch copies; `endpoint` starts the Chroma that does.

pub mod index;
pub mod log;
pub mod reader;
pub mod sqlite;
pub mod system;

use std::io;
use std::path::Path;

use crate::model::{Error, Result};

pub use reader::LocalStore;
pub use sqlite::schema::{Layout, Migration, Order};

/// The file that makes a folder a Chroma store.
pub const DATABASE: &str = "chroma.sqlite3";

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtPath {
    /// Nothing.
    Missing,
    /// A folder without anything in it.
    Empty,
    /// Something else than a Chroma store, in a person's words.
    Foreign(String),
    /// A Chroma store.
    Store,
    /// The system refuses to say.
    Unknown(io::ErrorKind, String),
}

/// Looks at a path: is there a store?
#[must_use]
pub fn place(path: &Path) -> AtPath {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_dir() => return AtPath::Foreign("a file, where a folder is expected".to_owned()),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return AtPath::Missing,
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return AtPath::Foreign("below a file, where a folder is expected".to_owned());
        }
        Err(e) => return AtPath::Unknown(e.kind(), e.to_string()),
    }
    match std::fs::metadata(path.join(DATABASE)) {
        Ok(found) if found.is_file() => AtPath::Store,
        Ok(_) => AtPath::Foreign(format!("a folder whose {DATABASE} is no file")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => without_database(path),
        Err(e) => AtPath::Unknown(e.kind(), e.to_string()),
    }
}

fn without_database(path: &Path) -> AtPath {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) => return AtPath::Unknown(e.kind(), e.to_string()),
    };
    // An ext4 volume is born with lost+found: a claim that holds only that is empty.
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).filter(|n| n != "lost+found");
    let mut names: Vec<String> = names.take(4).collect();
    names.sort();
    match names.len() {
        0 => AtPath::Empty,
        1..=3 => AtPath::Foreign(format!("a folder without {DATABASE}; it holds {}", names.join(", "))),
        _ => AtPath::Foreign(format!("a folder without {DATABASE}; it holds {} and more", names[..3].join(", "))),
    }
}

impl AtPath {
    /// Nothing for a store, otherwise why it cannot be read as one.
    ///
    /// # Errors
    /// [`Error::NotFound`] where a store can still appear, [`Error::Unsupported`] for something else.
    pub fn into_store(self, path: &Path) -> Result<()> {
        let store = path.display().to_string();
        let what = format!("a Chroma store ({DATABASE})");
        match self {
            Self::Store => Ok(()),
            Self::Missing => {
                Err(Error::NotFound { store, what, remedy: "the folder does not exist; check the path".to_owned() })
            }
            Self::Empty => Err(Error::NotFound {
                store,
                what,
                remedy: "the folder is empty; check the path, or wait until a Chroma has written there".to_owned(),
            }),
            Self::Foreign(why) => Err(Error::Unsupported {
                store,
                why: format!("it is {why}"),
                remedy: format!("give the folder that holds {DATABASE}"),
            }),
            Self::Unknown(kind, why) => Err(system::io_error("look at", path, io::Error::new(kind, why))),
        }
    }
}

/// The migrations that a store has been through, to compare with those of an engine. Blocking.
///
/// # Errors
/// As [`LocalStore::open`], but an unknown layout is an answer here.
pub fn layout(path: &Path) -> Result<Layout> {
    reader::layout(path)
}
