//! Who uses a store's folder: our own lock beside it, and other processes that have its files open.
//! Never touches what is inside the folder.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Once;

use crate::model::{Error, Result};
use crate::store::files::system::{self, io_error};

/// A lock beside a store, held while a server that we started writes it. Released when dropped or when the process dies.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock `NAME.memory-migration.lock` in the folder above the store. Name and folder are those of the real
    /// path, so that one store has one lock, whatever links or `..` lead to it.
    ///
    /// # Errors
    /// [`Error::Busy`] when another run holds it.
    pub fn take(store: &Path) -> Result<Self> {
        let path = beside(&real(store)?);
        loop {
            let file = open(&path)?;
            match file.try_lock() {
                Ok(()) if is_same(&file, &path) => return Self { path, file }.signed(),
                // its former holder removed the file between our open and our lock
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(store, &path)),
                Err(TryLockError::Error(source)) => return Err(io_error("lock", &path, source)),
            }
        }
    }

    /// Leaves the process id for the person who finds the lock.
    fn signed(mut self) -> Result<Self> {
        let id = std::process::id();
        match self.file.set_len(0).and_then(|()| writeln!(self.file, "{id}")) {
            Ok(()) => Ok(self),
            Err(source) => Err(io_error("write", &self.path, source)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // while we still hold it, so that nobody else's lock is removed; if it cannot be, an unlocked file stays
        drop(fs::remove_file(&self.path));
    }
}

fn open(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    opened.map_err(|source| io_error("create the lock", path, source))
}

fn held(store: &Path, lock: &Path) -> Error {
    let holder = fs::read_to_string(lock).unwrap_or_default();
    Error::Busy {
        what: store.display().to_string(),
        by: format!("another memory-migration (process {}) writes it", holder.trim()),
        remedy: "wait until it has ended and run this again".to_owned(),
    }
}

/// The path without links and `..`. What does not exist yet has neither: its name is put after the folder that does.
fn real(store: &Path) -> Result<PathBuf> {
    let failed = |source| io_error("resolve", store, source);
    let mut missing = Vec::new();
    let mut at = std::path::absolute(store).map_err(failed)?;
    loop {
        match (at.canonicalize(), at.components().next_back()) {
            (Ok(folder), _) => return Ok(missing.into_iter().rev().fold(folder, |path, name| path.join(name))),
            (Err(e), Some(Component::Normal(name))) if e.kind() == io::ErrorKind::NotFound => {
                missing.push(name.to_owned());
                at.pop();
            }
            (Err(e), _) => return Err(failed(e)),
        }
    }
}

fn beside(store: &Path) -> PathBuf {
    let mut name = store.file_name().map_or_else(|| OsString::from("store"), ToOwned::to_owned);
    name.push(".memory-migration.lock");
    store.with_file_name(name)
}

fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// An error if another process has the folder open; on a system that does not show that, if another process writes its
/// database at this moment.
///
/// # Errors
/// [`Error::Busy`] naming the process.
pub fn refuse_users(folder: &Path) -> Result<()> {
    if !system::shows_users() {
        return refuse_writer(folder);
    }
    let users = system::users(system::below(folder));
    let Some(first) = users.first() else { return Ok(()) };
    Err(Error::Busy {
        what: folder.display().to_string(),
        by: format!("process {} ({}) has it open", first.pid, first.command),
        remedy: "stop it: two writers corrupt a Chroma store without an error to either".to_owned(),
    })
}

/// Less than [`refuse_users`], and it says so: a Chroma that has the store open and does not write now holds no lock.
fn refuse_writer(folder: &Path) -> Result<()> {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let folder = folder.display();
        tracing::warn!("this system does not show which processes use {folder}: make sure that no Chroma runs on it");
    });
    let database = folder.join("chroma.sqlite3");
    if !database.exists() || !system::has_writer(&*system::database(&database)?, &database)? {
        return Ok(());
    }
    Err(Error::Busy {
        what: folder.display().to_string(),
        by: "another process writes it".to_owned(),
        remedy: "stop the Chroma that runs on it: two writers corrupt a store without an error to either".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let first = Lock::take(&store).unwrap();
        let refused = Lock::take(&store).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        drop(Lock::take(&store).unwrap());
    }

    /// Two runs into one store by two names held two locks.
    #[test]
    fn one_store_has_one_lock_by_any_path() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        fs::create_dir_all(folder.join("claims/other")).unwrap();
        std::os::unix::fs::symlink(folder.join("claims"), folder.join("link")).unwrap();
        for exists in [false, true] {
            if exists {
                fs::create_dir(folder.join("claims/store")).unwrap();
                std::os::unix::fs::symlink(folder.join("claims/store"), folder.join("alias")).unwrap();
            }
            let first = Lock::take(&folder.join("claims/store")).unwrap();
            assert!(folder.join("claims/store.memory-migration.lock").exists());
            let mut others = vec!["link/store", "claims/other/../store", "link/./store"];
            others.extend(exists.then_some("alias"));
            for other in others {
                assert!(
                    matches!(Lock::take(&folder.join(other)), Err(Error::Busy { .. })),
                    "{other}, exists: {exists}"
                );
            }
            drop(first);
        }
    }

    #[test]
    fn a_process_with_an_open_file_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("chroma.sqlite3");
        fs::write(&file, "").unwrap();
        assert!(refuse_users(dir.path()).is_ok());
        let stdin = File::open(&file).unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).stderr(stdin).spawn().unwrap();
        let refused = refuse_users(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", child.id())), "{refused}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(refuse_users(dir.path()).is_ok());
    }

    /// As on macOS: locks of one process do not show to itself, so another one holds them.
    #[test]
    fn without_proc_a_writer_shows_by_its_lock() {
        const HOLD: &str = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); \
            db.execute('create table t (a)'); db.execute('begin immediate'); print('!', flush=True); sys.stdin.read()";
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("chroma.sqlite3");
        assert!(refuse_writer(dir.path()).is_ok());
        let mut python = Command::new("python3");
        python.args(["-c", HOLD]).arg(&file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let refused = refuse_writer(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("another process writes it"), "{refused}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(refuse_writer(dir.path()).is_ok());
    }
}
