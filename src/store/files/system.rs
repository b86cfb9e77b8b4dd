//! What the system says of a store's files: stamps, `SQLite`'s locks, and who has them open.
//! Reads only; the one file that it keeps open is never closed, for a reason given there.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::model::Error;

/// `SQLite`'s PENDING byte; RESERVED is the next, and 510 SHARED bytes follow (`SQLite`'s file format, section "Locking").
const PENDING_BYTE: u64 = 0x4000_0000;
/// A file that changed less than this ago may change again within one tick of the file system's clock.
const TICK: Duration = Duration::from_millis(40);
/// A file that has not changed for this long is not being written: what is wrong with it stays wrong.
const SETTLED: Duration = Duration::from_millis(800);

/// Why one attempt to read failed.
#[derive(Debug)]
pub enum Failure {
    /// Something moved meanwhile: try again. The error is the answer when time runs out.
    Again(Error),
    /// Trying again cannot help.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Busy { .. } | Error::Unavailable { .. } => Self::Again(error),
            other => Self::Final(other),
        }
    }
}

/// One attempt's result.
pub type Attempt<T> = Result<T, Failure>;

/// Which state of a file was seen: a file with another stamp has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    /// Bytes.
    pub len: u64,
    modified: Option<SystemTime>,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modified = self.modified.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        write!(f, "{}:{}:{}:{:?}", self.device, self.inode, self.len, modified.unwrap_or_default())
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok();
        Self { device: metadata.dev(), inode: metadata.ino(), len: metadata.len(), modified }
    }

    /// Whether the file changed so recently that its next change could leave the same stamp.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.age().is_some_and(|age| age < TICK)
    }

    /// Whether nobody has written it for a while.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.age().is_none_or(|age| age >= SETTLED)
    }

    /// Whether this is the same file, changed or not.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// None where the clocks disagree, as on a network file system.
    fn age(&self) -> Option<Duration> {
        SystemTime::now().duration_since(self.modified?).ok()
    }
}

/// The stamp of a file; None where there is none.
///
/// # Errors
/// When the system refuses to say.
pub fn stamp(path: &Path) -> Result<Option<Stamp>, Error> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("look at", path, e)),
    }
}

/// What an error says of the file itself, so that neither another try nor another user helps: it is no file, or its medium
/// cannot be read. None for an error of this moment or of this process.
#[must_use]
pub fn flaw(error: &io::Error) -> Option<String> {
    let of_the_file = matches!(
        Errno::from_io_error(error)?,
        Errno::NOTDIR
            | Errno::ISDIR
            | Errno::LOOP
            | Errno::IO
            | Errno::NXIO
            | Errno::NODEV
            | Errno::BADMSG
            | Errno::NODATA
    );
    of_the_file.then(|| error.to_string())
}

/// Why there is nothing to read at a path, as what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing is there.
    Missing,
    /// Something else than a plain file is there, or one that cannot be read: a sentence without a subject.
    Other(String),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// A plain file and its bytes. Never waits: whoever opens a pipe waits for its other end.
///
/// # Errors
/// When the system lets this process not open it; what is no plain file is a [`Flaw`].
pub fn open(path: &Path) -> Result<Result<(File, u64), Flaw>, Error> {
    let opened = || {
        // before it is opened, for a device may act on that; and after, for it may be another one by then
        if let Some(what) = other_than_file(&std::fs::metadata(path)?) {
            return Ok(Err(Flaw::Other(what)));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let about = file.metadata()?;
        Ok(other_than_file(&about).map_or(Ok((file, about.len())), |what| Err(Flaw::Other(what))))
    };
    opened().or_else(|e: io::Error| match (e.kind(), flaw(&e)) {
        (io::ErrorKind::NotFound, _) => Ok(Err(Flaw::Missing)),
        (_, Some(what)) => Ok(Err(Flaw::Other(format!("cannot be read ({what})")))),
        (_, None) => Err(io_error("open", path, e)),
    })
}

fn other_than_file(about: &Metadata) -> Option<String> {
    let kind = about.file_type();
    let what = match () {
        () if kind.is_file() => return None,
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Some(format!("is {what}, where a file is expected"))
}

/// What keeps a path from being a folder; None for a folder.
///
/// # Errors
/// When the system refuses to say.
pub fn no_folder(path: &Path) -> Result<Option<Flaw>, Error> {
    match std::fs::metadata(path) {
        Ok(about) if about.is_dir() => Ok(None),
        Ok(_) => Ok(Some(Flaw::Other("is a file, where a folder is expected".to_owned()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Some(Flaw::Missing)),
        Err(e) => match flaw(&e) {
            Some(what) => Ok(Some(Flaw::Other(format!("cannot be read ({what})")))),
            None => Err(io_error("look at", path, e)),
        },
    }
}

/// The file beside a database with this ending, as `SQLite` names it.
#[must_use]
pub fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A system error with what was tried.
#[must_use]
pub fn io_error(attempt: &'static str, path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::PermissionDenied {
        return Error::Forbidden { attempt, whose: whose(&path), path };
    }
    Error::Io { attempt, path, source }
}

/// The nearest of the path and its folders that can be looked at, which is the one that is closed, and who looks.
fn whose(path: &Path) -> String {
    let us = rustix::process::geteuid().as_raw();
    let seen = path.ancestors().find_map(|at| Some((at, std::fs::metadata(at).ok()?)));
    let Some((at, found)) = seen else { return format!("this process is user {us}") };
    let (user, group, mode) = (found.uid(), found.gid(), found.mode() & 0o7777);
    format!("{} has owner {user}:{group} and mode {mode:o}, this process is user {us}", at.display())
}

/// The database file, opened once for the life of this process. Closing any descriptor of a file drops all POSIX locks
/// that the process has on it, so also the SHARED lock by which `SQLite` keeps a writer away from our read.
///
/// # Errors
/// When it cannot be opened.
pub fn database(path: &Path) -> Result<Arc<File>, Error> {
    /// By device and inode.
    type Open = HashMap<(u64, u64), Arc<File>>;
    static OPEN: OnceLock<Mutex<Open>> = OnceLock::new();
    let wrap = |e| io_error("open", path, e);
    let metadata = std::fs::metadata(path).map_err(wrap)?;
    let key = (metadata.dev(), metadata.ino());
    let mut open = OPEN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = open.get(&key) {
        return Ok(Arc::clone(file));
    }
    let file = File::open(path).map_err(wrap)?;
    let opened = file.metadata().map_err(wrap)?;
    let file = Arc::new(file);
    open.insert((opened.dev(), opened.ino()), Arc::clone(&file));
    Ok(file)
}

/// Whether another process holds a lock of one that writes or is about to (RESERVED or PENDING).
///
/// # Errors
/// When the file system has no locks.
pub fn has_writer(file: &File, path: &Path) -> Result<bool, Error> {
    is_locked(file, PENDING_BYTE, 2).map_err(|e| io_error("look at the locks of", path, e))
}

fn is_locked(file: &File, start: u64, length: u64) -> io::Result<bool> {
    // A read lock conflicts with write locks only: RESERVED and PENDING of a writer are such.
    let mut lock = Flock::from(FlockType::ReadLock);
    lock.start = start;
    lock.length = length;
    Ok(fcntl_getlk(file, &lock)?.is_some())
}

/// Another process that has a file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its process id.
    pub pid: u32,
    /// Its command, as the kernel shortens it.
    pub command: String,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.command, self.pid)
    }
}

/// Whether [`users`] can see anything: macOS has no /proc.
#[must_use]
pub fn shows_users() -> bool {
    Path::new("/proc/self/fd").is_dir()
}

/// Other processes that have a file open which `is_meant` knows by its path in /proc, as [`below`] and [`one_of`] do. Those
/// of other users show only to root, and those of other containers not at all.
pub fn users(is_meant: impl Fn(&Path) -> bool) -> Vec<User> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_open = |pid: &u32| {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors.map(|descriptor| descriptor.path()).any(|descriptor| is_meant(&descriptor))
    };
    // a child of this process has its files open from its fork to its exec
    let this = std::fs::read_link("/proc/self/exe").ok();
    let parent = format!("PPid:\t{}", std::process::id());
    let is_fork = |pid: &u32| {
        std::fs::read_link(format!("/proc/{pid}/exe")).ok() == this
            && std::fs::read_to_string(format!("/proc/{pid}/status"))
                .is_ok_and(|text| text.lines().any(|line| line == parent))
    };
    let user = |pid| {
        let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        User { pid, command: command.trim().to_owned() }
    };
    pids.filter(|pid| *pid != std::process::id()).filter(has_open).filter(|pid| !is_fork(pid)).map(user).collect()
}

/// For [`users`]: any file below this folder, by its path. None where there is no such folder.
pub fn below(folder: &Path) -> impl Fn(&Path) -> bool {
    let folder = folder.canonicalize().ok();
    move |descriptor| {
        let target = std::fs::read_link(descriptor);
        target.is_ok_and(|target| folder.as_ref().is_some_and(|folder| target.starts_with(folder)))
    }
}

/// For [`users`]: these files, under whatever path they were opened.
pub fn one_of(files: &[PathBuf]) -> impl Fn(&Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
    let files: Vec<(u64, u64)> = files.iter().filter_map(|file| identity(file)).collect();
    move |descriptor| identity(descriptor).is_some_and(|file| files.contains(&file))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was tried again until no retries were left, without a word of the remedy.
    #[test]
    fn what_belongs_to_somebody_else_is_not_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inside/chroma.sqlite3");
        let error = io_error("open", &path, io::ErrorKind::PermissionDenied.into());
        assert!(!error.is_transient());
        let said = error.to_string();
        let closed = format!("{} has owner", folder.path().display());
        for part in ["failed to open", "chroma.sqlite3: permission denied", &closed, "and mode", "runAsUser"] {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
    }
}
