//! Opens `chroma.sqlite3` without ever writing beside it: in place, or as a copy in scratch space where `SQLite` would
//! have to write first (a hot journal, WAL mode). Reads no table.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use tempfile::TempDir;

use crate::model::Error;
use crate::store::files::system::{self, Attempt, Failure, Flaw, Stamp, beside, io_error};

/// Bytes of `SQLite`'s own header (its file format, section 1.3).
const HEADER: usize = 100;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const JOURNAL: &str = "-journal";
const WAL: &str = "-wal";
/// How long `SQLite` waits for a writer's lock before it answers "busy".
const BUSY: Duration = Duration::from_secs(2);

/// An open database.
#[derive(Debug)]
pub struct Opened {
    /// The connection; read-only, or to a copy.
    pub connection: Connection,
    database: PathBuf,
    stamp: Stamp,
    copy: Option<Copy>,
    /// How short the file is; None for a whole one.
    cut: Option<String>,
}

/// A copy and what it was made of.
#[derive(Debug)]
struct Copy {
    sources: Sources,
    /// Removed when dropped.
    _folder: TempDir,
}

/// The stamps of the database, its journal and its log.
type Sources = [Option<Stamp>; 3];

impl Opened {
    /// Whether what was opened is no longer what is there.
    ///
    /// # Errors
    /// When the system refuses to say.
    pub fn is_stale(&self) -> Result<bool, Error> {
        match &self.copy {
            Some(copy) => Ok(sources(&self.database)? != copy.sources),
            None => Ok(system::stamp(&self.database)?.is_none_or(|now| !now.is_same_file(&self.stamp))),
        }
    }

    /// Makes temporary tables, which stand for missing ones: nothing of the database is changed.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub fn stand_in(&self, statements: &str) -> rusqlite::Result<()> {
        let is_read_only: bool = self.connection.pragma_query_value(None, "query_only", |row| row.get(0))?;
        self.connection.pragma_update(None, "query_only", false)?;
        self.connection.pragma_update(None, "temp_store", "memory")?;
        self.connection.execute_batch(statements)?;
        self.connection.pragma_update(None, "query_only", is_read_only)
    }

    /// That the file is shorter than its header says, in a sentence about it; None for a whole one.
    #[must_use]
    pub fn cut(&self) -> Option<&str> {
        self.cut.as_deref()
    }

    /// Refuses a file that is cut short: it can be read, and nobody writes it any more.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn must_be_whole(&self) -> Result<(), Error> {
        self.cut.as_ref().map_or(Ok(()), |what| Err(damaged(&self.database, what.clone())))
    }

    /// Whether a copy is read.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        self.copy.is_some()
    }
}

/// Opens the database in place, or a copy where that would write.
///
/// # Errors
/// `Again` where another process uses it in a way that must be waited for.
pub fn open(database: &Path) -> Attempt<Opened> {
    let file = system::database(database)?;
    let stamp = system::stamp(database)?.ok_or_else(|| busy(database, "it has just been replaced"))?;
    let header = header(&file, database, &stamp)?;
    let logged = header.get(18..20).is_some_and(|modes| modes.contains(&2)) || exists(&beside(database, WAL))?;
    if !logged && !is_hot(&file, database)? {
        let connection = in_place(database).map_err(|e| failure(database, &e))?;
        let cut = cut(&file, database, &stamp)?;
        let (connection, copy) = match &cut {
            Some(cut) => shortened(connection, &file, database, cut)?,
            None => (connection, None),
        };
        let cut = cut.map(|cut| cut.what);
        return Ok(Opened { connection, database: database.to_owned(), stamp, copy, cut });
    }
    let why = if logged { "in WAL mode" } else { "with a hot journal" };
    let names = ["", JOURNAL, WAL, "-shm"].map(|ending| beside(database, ending));
    if let Some(user) = system::users(system::one_of(&names)).first() {
        return Err(busy(database, &format!("{user} has it open {why}")));
    }
    let (connection, copy) = copied(&file, database)?;
    Ok(Opened { connection, database: database.to_owned(), stamp, copy: Some(copy), cut: None })
}

/// Opens a database read-only; it must exist.
fn in_place(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// A file that is shorter than its header says.
struct Cut {
    /// In a sentence about it.
    what: String,
    /// Its bytes.
    len: u64,
    /// Those of its whole pages.
    whole: u64,
}

/// Whether a file is cut short. `SQLite` itself does not see it where less than a page is missing, and reads zeros there.
fn cut(file: &File, database: &Path, stamp: &Stamp) -> Attempt<Option<Cut>> {
    let Some(cut) = lengths(database) else { return Ok(None) };
    // so it is for a moment while somebody writes or copies it
    if !stamp.is_settled() || system::has_writer(file, database)? {
        return Err(Failure::Again(damaged(database, cut.what)));
    }
    Ok(Some(cut))
}

/// Lets `SQLite` read a file that is cut short as far as it goes: with this setting alone it takes the file's own length. A last page that is
/// not whole is left out, for `SQLite` would fill it with zeros and believe them. Nothing of the store is written.
fn shortened(connection: Connection, file: &File, database: &Path, cut: &Cut) -> Attempt<(Connection, Option<Copy>)> {
    let (connection, copy) = if cut.len == cut.whole {
        (connection, None)
    } else {
        let before = sources(database)?;
        let folder = TempDir::new().map_err(|e| io_error("create scratch space in", &std::env::temp_dir(), e))?;
        let target = folder.path().join(database.file_name().unwrap_or_default());
        let shorten = || File::options().write(true).open(&target)?.set_len(cut.whole);
        let copied = copy_database(file, &target).and_then(|()| shorten());
        copied.map_err(|e| io_error("copy to scratch space", database, e))?;
        if sources(database)? != before {
            return Err(busy(database, "it changed while it was copied"));
        }
        let connection = in_place(&target).map_err(|e| failure(database, &e))?;
        (connection, Some(Copy { sources: before, _folder: folder }))
    };
    connection.pragma_update(None, "writable_schema", true).map_err(|e| failure(database, &e))?;
    Ok((connection, copy))
}

fn exists(path: &Path) -> Result<bool, Error> {
    system::stamp(path).map(|stamp| stamp.is_some())
}

/// A journal is hot when it has content and nobody holds the lock of its writer (`SQLite`'s "Hot Rollback Journals").
fn is_hot(file: &File, database: &Path) -> Result<bool, Error> {
    let journal = beside(database, JOURNAL);
    let mut first = [0];
    let filled = match system::open(&journal)? {
        Ok((mut file, _)) => match file.read(&mut first) {
            Ok(read) => read == 1 && first != [0],
            Err(e) => return Err(io_error("read", &journal, e)),
        },
        Err(Flaw::Missing) => false,
        Err(Flaw::Other(what)) => return Err(damaged(&journal, format!("it {what}"))),
    };
    Ok(filled && !system::has_writer(file, database)? && exists(&journal)?)
}

fn header(file: &File, database: &Path, stamp: &Stamp) -> Attempt<[u8; HEADER]> {
    let mut header = [0; HEADER];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) if header.starts_with(MAGIC) => Ok(header),
        Ok(()) => Err(Failure::Final(damaged(database, "it does not begin like an SQLite database".to_owned()))),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            let what = format!("it has {} bytes, less than the {HEADER} of a header", stamp.len);
            // Chroma creates the file empty and fills it a moment later.
            let error = damaged(database, what);
            Err(if stamp.is_settled() { Failure::Final(error) } else { Failure::Again(error) })
        }
        Err(e) => Err(Failure::Final(io_error("read", database, e))),
    }
}

fn sources(database: &Path) -> Result<Sources, Error> {
    Ok([system::stamp(database)?, system::stamp(&beside(database, JOURNAL))?, system::stamp(&beside(database, WAL))?])
}

fn copied(file: &File, database: &Path) -> Attempt<(Connection, Copy)> {
    let before = sources(database)?;
    let folder = TempDir::new().map_err(|e| io_error("create scratch space in", &std::env::temp_dir(), e))?;
    // The same names, or SQLite would not find the journal of its copy.
    let target = folder.path().join(database.file_name().unwrap_or_default());
    let wrap = |e| io_error("copy to scratch space", database, e);
    copy_database(file, &target).map_err(wrap)?;
    for ending in [JOURNAL, WAL] {
        let from = beside(database, ending);
        let source = system::open(&from)?;
        if let Err(Flaw::Other(what)) = &source {
            return Err(Failure::Final(damaged(&from, format!("it {what}"))));
        }
        if let Ok((mut source, _)) = source {
            let mut copy = File::create(beside(&target, ending)).map_err(wrap)?;
            io::copy(&mut source, &mut copy).map_err(wrap)?;
        }
    }
    if sources(database)? != before || system::has_writer(file, database)? {
        return Err(busy(database, "it changed while it was copied"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&target, flags).map_err(|e| failure(database, &e))?;
    connection.set_prepared_statement_cache_capacity(64);
    // The first read rolls the copy back, or applies its log.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(|e| failure(database, &e))?;
    connection.pragma_update(None, "query_only", true).map_err(|e| failure(database, &e))?;
    Ok((connection, Copy { sources: before, _folder: folder }))
}

/// Reads through the descriptor that stays open: see `system::database`.
fn copy_database(file: &File, target: &Path) -> io::Result<()> {
    let mut copy = File::create(target)?;
    let mut block = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut block, at)?;
        if read == 0 {
            return copy.flush();
        }
        copy.write_all(block.get(..read).unwrap_or_default())?;
        at += read as u64;
    }
}

fn busy(database: &Path, by: &str) -> Failure {
    Failure::Again(Error::Busy {
        what: database.display().to_string(),
        by: by.to_owned(),
        remedy: "stop that process, or try again when it is idle".to_owned(),
    })
}

fn damaged(database: &Path, what: String) -> Error {
    Error::Damaged {
        file: database.to_owned(),
        what,
        readable: "restore it from a backup, or save what is left with sqlite3's .recover on a copy".to_owned(),
    }
}

/// Whether `SQLite` found a page that is not as it must be.
#[must_use]
pub fn is_corrupt(error: &rusqlite::Error) -> bool {
    let extended = error.sqlite_error().map_or(0, |e| e.extended_code);
    error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) || extended == ffi::SQLITE_IOERR_SHORT_READ
}

/// What an error of `SQLite` means for this store.
#[must_use]
pub fn failure(database: &Path, error: &rusqlite::Error) -> Failure {
    let extended = error.sqlite_error().map_or(0, |e| e.extended_code);
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => busy(database, "a writer holds its lock"),
        Some(ErrorCode::ReadOnly) => busy(database, &format!("a writer has left it unfinished ({error})")),
        Some(ErrorCode::SystemIoFailure) if extended != ffi::SQLITE_IOERR_SHORT_READ => {
            Failure::Final(io_error("read", database, io::Error::other(error.to_string())))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            let source = system::database(database).err();
            Failure::Final(source.unwrap_or_else(|| io_error("open", database, io::Error::other(error.to_string()))))
        }
        Some(ErrorCode::Unknown) => Failure::Final(Error::Unsupported {
            store: database.display().to_string(),
            why: format!("its tables are not as expected ({error})"),
            remedy: "name the Chroma version that wrote it in a bug report".to_owned(),
        }),
        _ => {
            let cut = lengths(database).map_or_else(String::new, |Cut { what, .. }| format!(": {what}"));
            Failure::Final(damaged(database, format!("{error}{cut}")))
        }
    }
}

/// The length that `SQLite`'s header tells, where the file has less.
fn lengths(database: &Path) -> Option<Cut> {
    let (file, stamp) = (system::database(database).ok()?, system::stamp(database).ok()??);
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).ok()?;
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        other => u64::from(other),
    };
    let pages = u64::from(u32::from_be_bytes([header[28], header[29], header[30], header[31]]));
    let Stamp { len, .. } = stamp;
    let what = format!("its header tells {pages} pages of {page} bytes ({} bytes), the file has {len}", pages * page);
    // otherwise the number of pages is not kept (SQLite's file format, 1.3.7)
    let is_kept = header[24..28] == header[92..96];
    (is_kept && pages * page > len).then_some(Cut { what, len, whole: len - len % page.max(1) })
}
