//! Where a store is filled, and how it comes to its place: in a folder beside the target, which takes the target's name in one
//! step when it is whole. Touches no other folder, and none that it was not asked to.
//!
//! From that step until the server that indexed it was closed cleanly, a mark stands beside the store: a Chroma that is killed
//! may leave an index that it cannot open, and what stands there is then nothing but what was filled.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::left::{is_store_alone, remove_store};
use super::state::State;
use crate::model::{Error, Result};
use crate::store::files::system::io_error;
use crate::store::files::{AtPath, DATABASE, place as look};

/// What stands beside a store that was filled and whose server was not closed since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Which migration filled it.
    pub migration: String,
    /// The number of the log's newest entry: whoever has written since has added one.
    pub entry: i64,
    /// What the store said when it was filled.
    pub catalog: String,
    /// Device and inode of the folder.
    folder: (u64, u64),
}

/// Where one store is, or will be.
#[derive(Clone, Debug)]
pub struct Place {
    target: PathBuf,
    parent: PathBuf,
    name: OsString,
}

/// A folder that is being filled; dropped, it is removed.
#[derive(Debug)]
pub struct Importing {
    place: Place,
    folder: PathBuf,
    is_placed: bool,
}

impl Place {
    /// The place of a store, whose folder need not exist. A link to a folder is that folder.
    ///
    /// # Errors
    /// When the system refuses to say.
    pub fn of(target: &Path) -> Result<Option<Self>> {
        let target = match target.canonicalize() {
            Ok(real) => real,
            Err(e) if e.kind() == io::ErrorKind::NotFound => target.to_owned(),
            Err(e) => return Err(io_error("resolve", target, e)),
        };
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else { return Ok(None) };
        Ok(Some(Self { parent: parent.to_owned(), name: name.to_owned(), target: target.clone() }))
    }

    /// Why no folder can take its name in one step; None where one can.
    ///
    /// # Errors
    /// When the system refuses to say.
    pub fn problem(&self) -> Result<Option<String>> {
        Ok(self.occupied()?.or_else(|| self.no_neighbour()))
    }

    /// As [`Place::problem`], for a process that only reads here: whether another one may write is left aside.
    ///
    /// # Errors
    /// When the system refuses to say.
    pub fn occupied(&self) -> Result<Option<String>> {
        let entries = match fs::read_dir(&self.target) {
            Ok(mut entries) => entries.next().is_some(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error("look at", &self.target, e)),
        };
        // also one that is not empty: another path helps, and nothing else does
        if self.is_mounted()? {
            return Ok(Some("a volume is mounted at the target's folder".to_owned()));
        }
        if entries {
            let what = match look(&self.target) {
                AtPath::Empty => "is the root of a volume",
                _ => "is not empty",
            };
            return Ok(Some(format!("the target's folder {what}")));
        }
        Ok(None)
    }

    /// Why no folder can be made beside it.
    fn no_neighbour(&self) -> Option<String> {
        let there = self.parent.ancestors().find(|path| path.exists())?;
        let error = rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).err()?;
        Some(format!("no folder can be made in {}: {error}", there.display()))
    }

    fn is_mounted(&self) -> Result<bool> {
        let device =
            |path: &Path| fs::metadata(path).map(|found| found.dev()).map_err(|e| io_error("look at", path, e));
        if device(&self.target)? != device(&self.parent)? {
            return Ok(true);
        }
        // a folder of the same disk can be mounted there, too; where /proc is not, the step itself would fail
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        Ok(is_mount(&mounts, &self.target))
    }

    /// Removes what earlier attempts left beside the target, and makes a folder to fill. Called only while our lock on the
    /// target is held.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn begin(&self) -> Result<Importing> {
        fs::create_dir_all(&self.parent).map_err(|e| io_error("create", &self.parent, e))?;
        self.sweep()?;
        let folder = self.beside("importing");
        fs::create_dir(&folder).map_err(|e| io_error("create", &folder, e))?;
        Ok(Importing { place: self.clone(), folder, is_placed: false })
    }

    fn sweep(&self) -> Result<()> {
        let entries = fs::read_dir(&self.parent).map_err(|e| io_error("list", &self.parent, e))?;
        let heads = [self.ours("importing"), self.ours("replaced")];
        for entry in entries.flatten() {
            if heads.iter().any(|head| is_ours(&entry.file_name(), head)) {
                remove_store(&entry.path())?;
            }
        }
        Ok(())
    }

    fn ours(&self, what: &str) -> OsString {
        let mut head = OsString::from(".");
        head.push(&self.name);
        head.push(format!(".{what}-"));
        head
    }

    fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.ours(what);
        name.push(std::process::id().to_string());
        self.parent.join(name)
    }

    fn mark_file(&self) -> PathBuf {
        let mut name = self.name.clone();
        name.push(".memory-migration.filled");
        self.parent.join(name)
    }

    /// The mark, if one stands that is about the folder that is there, and nobody has put anything else into it.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        if !is_store_alone(&self.target) {
            return None;
        }
        let marks: Vec<Mark> = serde_json::from_slice(&fs::read(self.mark_file()).ok()?).ok()?;
        let (_, there) = identity(&self.target).ok()?;
        // a volume may come back under another device: the same folder has the same inode there
        marks.into_iter().find(|mark| mark.folder.1 == there)
    }

    /// What stands at the mark's name and is none.
    #[must_use]
    pub fn in_the_way(&self) -> Option<PathBuf> {
        let file = self.mark_file();
        file.symlink_metadata().is_ok_and(|found| !found.is_file()).then_some(file)
    }

    /// Takes the mark away: the store's server was closed cleanly, or somebody else writes it. What is no mark stays.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn unmark(&self) -> Result<()> {
        let file = self.mark_file();
        match fs::remove_file(&file) {
            Err(_) if self.in_the_way().is_some() => Ok(()),
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &file, e)),
            _ => Ok(()),
        }
    }
}

impl Importing {
    /// The folder to fill.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The database in it.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder.join(DATABASE)
    }

    /// Gives the folder the target's name in one step, once all of it is on the disk; `again`: what stands there was filled by
    /// the same migration, and goes.
    ///
    /// # Errors
    /// When it cannot be done; the target is then as it was, unless the last sync or the removal of what was replaced failed.
    pub fn place(mut self, migration: String, state: State, again: bool) -> Result<()> {
        self.take_after()?;
        step("fill.sync").map_err(|e| io_error("write to the disk", &self.folder, e))?;
        self.written()?.iter().try_for_each(|path| sync(path))?;
        sync(&self.folder)?;
        let State { entry, catalog } = state;
        let mark = Mark { migration, entry, catalog, folder: identity(&self.folder)? };
        let replaced = again.then(|| self.place.beside("replaced"));
        if let Err(error) = self.switch(mark, replaced.as_deref()) {
            if !again {
                // one that stays is about a folder that goes
                drop(self.place.unmark());
            }
            return Err(error);
        }
        self.is_placed = true;
        let parent = &self.place.parent;
        step("fill.placed").map_err(|e| io_error("write to the disk", parent, e))?;
        sync(parent)?;
        if let Some(replaced) = &replaced {
            step("fill.replaced").map_err(|e| io_error("remove", replaced, e))?;
            remove_store(replaced)?;
        }
        Ok(())
    }

    /// All that is in the folder: the database, and the folders of indexes, each behind its files.
    fn written(&self) -> Result<Vec<PathBuf>> {
        let listed = |folder: &Path| {
            let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<fs::DirEntry>>>);
            entries.map_err(|e| io_error("list", folder, e))
        };
        let mut all = Vec::new();
        for entry in listed(&self.folder)? {
            if entry.path().is_dir() {
                all.extend(listed(&entry.path())?.iter().map(fs::DirEntry::path));
            }
            all.push(entry.path());
        }
        Ok(all)
    }

    /// Leaves the mark and takes the name; `replaced`: where what stands there goes.
    fn switch(&self, mark: Mark, replaced: Option<&Path>) -> Result<()> {
        let Place { target, parent, .. } = &self.place;
        // of two folders each is known for what it is, whichever has the name when this process ends
        let before = self.place.mark().filter(|_| replaced.is_some());
        let marks: Vec<Mark> = before.into_iter().chain([mark]).collect();
        let file = self.place.mark_file();
        let text = serde_json::to_string(&marks).unwrap_or_default();
        step("fill.mark").and_then(|()| fs::write(&file, text)).map_err(|e| io_error("write", &file, e))?;
        sync(&file)?;
        sync(parent)?;
        if let Some(replaced) = replaced {
            let moved = step("fill.aside").and_then(|()| fs::rename(target, replaced));
            moved.map_err(|e| io_error("move aside", target, e))?;
        }
        let named = step("fill.place").and_then(|()| fs::rename(&self.folder, target));
        named.map_err(|e| {
            if let Some(replaced) = replaced {
                // both are of this program; the next attempt removes what stays
                drop(fs::rename(replaced, target));
            }
            match e.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => made_meanwhile(target),
                _ => io_error("give the filled store the name", target, e),
            }
        })
    }

    /// Gives the folder to fill the owner of the folder that it will replace, if there is one: not everybody may do that.
    ///
    /// # Errors
    /// When this process may not.
    pub fn own(&self) -> Result<()> {
        fs::metadata(&self.place.target).map_or(Ok(()), |before| give(&self.folder, &before))
    }

    /// Gives what was filled the owner and the mode of the folder that it replaces. Where there is none, they are those of its
    /// parent, but for others' right to write and the sticky bit; if this process may not give it that owner, it stays as it is.
    fn take_after(&self) -> Result<()> {
        let Place { target, parent, .. } = &self.place;
        let replaced = fs::metadata(target).ok();
        let kept = if replaced.is_some() { 0o7777 } else { 0o2775 };
        let before = replaced.map_or_else(|| fs::metadata(parent), Ok).map_err(|e| io_error("look at", parent, e))?;
        match give(&self.folder, &before) {
            Err(_) if kept == 0o2775 => return Ok(()),
            given => given?,
        }
        self.written()?.iter().try_for_each(|path| give(path, &before))?;
        let mode = fs::Permissions::from_mode(before.mode() & kept | 0o700);
        fs::set_permissions(&self.folder, mode).map_err(|e| io_error("set the mode of", &self.folder, e))
    }
}

impl Drop for Importing {
    fn drop(&mut self) {
        if !self.is_placed {
            // what cannot be removed now, the next attempt removes
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

/// Somebody else has come to the target's name.
fn made_meanwhile(target: &Path) -> Error {
    Error::Busy {
        what: target.display().to_string(),
        by: "somebody has put something there since this run began, which stays as it is".to_owned(),
        remedy: "look at it, then run it again or choose another folder".to_owned(),
    }
}

/// Gives a file the owner of what was there before.
fn give(path: &Path, before: &fs::Metadata) -> Result<()> {
    let now = fs::metadata(path).map_err(|e| io_error("look at", path, e))?;
    if (before.uid(), before.gid()) == (now.uid(), now.gid()) {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(before.uid()), Some(before.gid()))
        .map_err(|e| io_error("give the owner of the target to", path, e))
}

/// Whether a name is this beginning and a process id.
fn is_ours(name: &OsStr, head: &OsStr) -> bool {
    let id = name.as_encoded_bytes().strip_prefix(head.as_encoded_bytes());
    id.is_some_and(|id| !id.is_empty() && id.iter().all(u8::is_ascii_digit))
}

/// A place where a test makes a step fail.
#[cfg(feature = "faults")]
fn step(name: &str) -> io::Result<()> {
    crate::faults::io(name)
}

#[cfg(not(feature = "faults"))]
#[expect(clippy::unnecessary_wraps, reason = "fails in tests alone")]
const fn step(_: &str) -> io::Result<()> {
    Ok(())
}

fn identity(folder: &Path) -> Result<(u64, u64)> {
    let found = fs::metadata(folder).map_err(|e| io_error("look at", folder, e))?;
    Ok((found.dev(), found.ino()))
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| io_error("write to the disk", path, e))
}

/// Whether a table of mounts (proc(5), mountinfo) has this folder: its fifth word, in which white space is escaped.
fn is_mount(mounts: &[u8], folder: &Path) -> bool {
    let mut escaped = Vec::new();
    for byte in folder.as_os_str().as_encoded_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => escaped.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            _ => escaped.push(*byte),
        }
    }
    mounts.split(|byte| *byte == b'\n').any(|line| line.split(|byte| *byte == b' ').nth(4) == Some(&escaped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::files::index::stamps::DATA;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_files_of_an_index_are_written_before_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let importing = Place::of(&root.join("store")).unwrap().unwrap().begin().unwrap();
        let index = importing.folder().join("0e1f2a3b-0000-4000-8000-000000000000");
        fs::create_dir(&index).unwrap();
        fs::write(index.join(DATA), "").unwrap();
        assert_eq!(importing.written().unwrap(), [index.join(DATA), index]);
    }

    fn placed(target: &Path, text: &str, again: bool) -> Result<()> {
        let importing = Place::of(target)?.unwrap().begin()?;
        fs::write(importing.database(), text).unwrap();
        importing.place("m".to_owned(), State { entry: 7, catalog: "a".to_owned() }, again)
    }

    #[test]
    fn a_folder_comes_to_its_place_in_one_step_and_a_mark_stands_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let target = root.join("store");
        placed(&target, "one", false).unwrap();
        assert_eq!(names(&root), ["store", "store.memory-migration.filled"]);
        let place = Place::of(&target).unwrap().unwrap();
        let mark = place.mark().unwrap();
        assert_eq!((mark.migration.as_str(), mark.entry, mark.catalog.as_str()), ("m", 7, "a"));
        // a store that is there stays
        let told = placed(&target, "two", false).unwrap_err().to_string();
        assert!(told.contains("somebody has put something there since this run began"), "{told}");
        assert_eq!(fs::read_to_string(target.join(DATABASE)).unwrap(), "one");
        placed(&target, "three", false).unwrap_err();
        placed(&target, "two", true).unwrap();
        assert_eq!(fs::read_to_string(target.join(DATABASE)).unwrap(), "two");
        assert_eq!(names(&root), ["store", "store.memory-migration.filled"]);
        place.unmark().unwrap();
        place.unmark().unwrap();
        assert_eq!((place.mark(), names(&root)), (None, vec!["store".to_owned()]));
    }

    #[test]
    fn a_mark_about_another_folder_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("store");
        placed(&target, "one", false).unwrap();
        fs::rename(&target, dir.path().join("moved")).unwrap();
        let place = Place::of(&target).unwrap().unwrap();
        assert_eq!(place.mark(), None);
        fs::create_dir(&target).unwrap();
        assert_eq!(place.mark(), None);
    }

    #[test]
    fn what_is_not_placed_goes_and_so_does_what_a_killed_attempt_left() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("store");
        let others = [".store.importing-", ".store.importing-mine", ".store2.importing-1", "store.importing-1"];
        for left in [".store.importing-1", ".store.replaced-1"].iter().chain(&others) {
            fs::create_dir(dir.path().join(left)).unwrap();
        }
        let importing = Place::of(&target).unwrap().unwrap().begin().unwrap();
        assert_eq!(names(dir.path()).len(), others.len() + 1);
        drop(importing);
        assert_eq!(names(dir.path()), others);
    }

    /// A tester's finding: a rerun after a kill removed what somebody had put into the folder, and folders that only had such a name.
    #[test]
    fn what_somebody_put_into_a_folder_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("store");
        placed(&target, "one", false).unwrap();
        let place = Place::of(&target).unwrap().unwrap();
        let index = target.join("0a1b2c3d-0000-4000-8000-00000000000f");
        fs::create_dir(&index).unwrap();
        fs::write(index.join(DATA), "rows").unwrap();
        fs::write(target.join("chroma.sqlite3-wal"), "").unwrap();
        assert!(place.mark().is_some());
        for other in ["notes.txt", "keep/notes.txt", "0a1b2c3d-0000-4000-8000-00000000000f/notes.txt"] {
            let path = target.join(other);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "precious").unwrap();
            assert_eq!(place.mark(), None, "{other}");
            fs::remove_file(&path).unwrap();
            drop(fs::remove_dir(target.join("keep")));
            assert!(place.mark().is_some());
        }
        let precious = dir.path().join(".store.replaced-42/only-copy.txt");
        fs::create_dir(precious.parent().unwrap()).unwrap();
        fs::write(&precious, "precious").unwrap();
        fs::write(dir.path().join(".store.importing-7"), "a file").unwrap();
        drop(place.begin().unwrap());
        assert!(precious.exists() && dir.path().join(".store.importing-7").exists());
    }

    /// What came into the marked folder after the last look went with it.
    #[test]
    fn what_comes_into_the_folder_that_is_replaced_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("store");
        let index = "0a1b2c3d-0000-4000-8000-00000000000f";
        for (n, late) in
            ["notes.txt", &format!("{index}/notes.txt"), &format!("{index}/header.bin/notes.txt")].iter().enumerate()
        {
            placed(&target, "one", n > 0).unwrap();
            fs::create_dir(target.join(index)).unwrap();
            fs::write(target.join(index).join(DATA), "rows").unwrap();
            assert!(Place::of(&target).unwrap().unwrap().mark().is_some());
            let path = target.join(late);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "precious").unwrap();
            assert_eq!(Place::of(&target).unwrap().unwrap().mark(), None, "{late}");
            placed(&target, "two", true).unwrap();
            assert_eq!(fs::read_to_string(target.join(DATABASE)).unwrap(), "two", "{late}");
            let all = names(dir.path());
            let kept = all.iter().find(|name| name.starts_with(".store.replaced-")).expect(late);
            assert_eq!(fs::read_to_string(dir.path().join(kept).join(late)).unwrap(), "precious");
            assert_eq!(fs::read_to_string(dir.path().join(kept).join(DATABASE)).unwrap(), "one");
            // nor does the next attempt take it
            drop(Place::of(&target).unwrap().unwrap().begin().unwrap());
            assert!(dir.path().join(kept).join(late).exists());
            fs::remove_dir_all(dir.path().join(kept)).unwrap();
        }
    }

    #[test]
    fn an_empty_folder_is_replaced_and_keeps_its_mode_and_any_other_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("store");
        let place = || Place::of(&target).unwrap().unwrap();
        assert_eq!(place().problem().unwrap(), None);
        fs::create_dir(&target).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o2750)).unwrap();
        assert_eq!(place().problem().unwrap(), None);
        placed(&target, "one", false).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o2750);
        assert!(place().problem().unwrap().unwrap().contains("not empty"));
        let volume = dir.path().join("volume");
        fs::create_dir_all(volume.join("lost+found")).unwrap();
        let problem = Place::of(&volume).unwrap().unwrap().problem().unwrap().unwrap();
        assert!(problem.contains("root of a volume"), "{problem}");
        assert!(Place::of(Path::new("/proc")).unwrap().unwrap().problem().unwrap().is_some());
        assert!(Place::of(Path::new("/")).unwrap().is_none());
    }

    #[test]
    fn a_link_to_a_folder_is_that_folder() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        placed(&dir.path().join("link"), "one", false).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("real").join(DATABASE)).unwrap(), "one");
        assert!(fs::symlink_metadata(dir.path().join("link")).unwrap().is_symlink());
    }

    #[test]
    fn mounts_are_found_by_name() {
        let mounts = b"21 1 8:1 / / rw - ext4 a rw\n22 21 8:1 /x /data/a\\040b rw - ext4 a rw\n";
        for (path, is) in [("/data/a b", true), ("/data/a", false), ("/x", false), ("/", true)] {
            assert_eq!(is_mount(mounts, Path::new(path)), is, "{path}");
        }
    }
}
