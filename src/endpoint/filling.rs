//! Fills a new local target by its files: a Chroma lays the store out on scratch space, the importer writes its records beside
//! the target, and the whole comes to the target's place in one step. The target's lock is held from the first of it on.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokio::sync::{Mutex, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use super::child::lock::{self, Lock};
use super::layout::{LaidOut, Layouter};
use super::{Folder, Scope, limit, passed};
use crate::chroma::NewCollection;
use crate::fill::import::{Beside, Import, Sheet};
use crate::fill::index::{self, Plan};
use crate::fill::place::{Importing, Place};
use crate::fill::proof::{self, Given};
use crate::fill::state::State;
use crate::model::{Collection, Error, Record, Result};
use crate::store::files::DATABASE;
use crate::store::files::system::io_error;
use crate::store::{Filler, Finding, Laid, Load};

/// The check that says who writes the records.
pub(super) const CHECK: &str = "fill";
/// What it says where they are not filled, before why.
pub(super) const NOT_FILLED: &str = "the target's Chroma takes the records, its files are not filled";
/// Bytes of memory that a server takes by itself while it builds or opens an index.
const SERVER: u64 = 128 << 20;
/// And for each byte of a collection's records while it builds one: it reads the whole log into memory, and then has the index
/// beside it.
const FACTOR: u64 = 3;
/// And for each record.
const RECORD: u64 = 2 << 10;
/// Bytes of memory that this program takes beside an index that it builds.
const OWN: u64 = 64 << 20;

/// The filling of one target.
pub(super) struct Filling {
    layouter: Layouter,
    folder: Folder,
    scope: Scope,
    /// Which migration this is.
    migration: String,
    /// Whether what stands there was filled by an attempt of this migration, and by nobody changed since.
    again: OnceLock<bool>,
    /// What the checks found: who builds the indexes, if it can be done.
    builder: OnceLock<Option<Builder>>,
    /// Whether it was given up: what takes long looks at it.
    is_given_up: Arc<AtomicBool>,
    work: Mutex<Work>,
}

/// Who builds the indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Builder {
    /// This program.
    Own,
    /// The target's server, at the first search.
    Engine,
}

#[derive(Default)]
struct Work {
    lock: Option<Lock>,
    /// What is being filled.
    under_way: Option<UnderWay>,
}

struct UnderWay {
    importing: Importing,
    pen: Pen,
}

/// Who writes: nobody, or a thread that gives the book back.
enum Pen {
    Rests(Box<Book>),
    Writes(JoinHandle<Result<Box<Book>>>),
    Broken,
}

/// The database, and a sheet for each collection, by UUID.
struct Book {
    import: Import,
    sheets: HashMap<String, Sheet>,
}

impl Pen {
    /// The book, once what was given before is written.
    async fn book(&mut self) -> Result<Box<Book>> {
        match std::mem::replace(self, Self::Broken) {
            Self::Rests(book) => Ok(book),
            Self::Writes(writing) => joined(writing).await,
            Self::Broken => Err(broken()),
        }
    }
}

async fn joined<T>(writing: JoinHandle<Result<T>>) -> Result<T> {
    writing.await.unwrap_or_else(|_| Err(broken()))
}

fn broken() -> Error {
    Error::Unavailable {
        store: "the store that is being filled".to_owned(),
        attempt: "a write".to_owned(),
        why: "an earlier write has failed".to_owned(),
    }
}

fn wrong(database: &Path, problem: &str) -> Error {
    Error::Misfilled {
        store: database.display().to_string(),
        why: format!("what was written into it does not add up: {problem}"),
        remedy: "the target is as it was; use --fill engine (fill: Engine), and report this bug".to_owned(),
    }
}

/// Who has the memory for the largest index, and why this program has not; or why nobody has. Rooms that nobody knows suffice.
fn builder(load: Load, own: Option<u64>, server: Option<u64>) -> Result<(Builder, Option<String>), String> {
    let by_record = load.records.saturating_mul(RECORD);
    let short = |needed: u64, room: Option<u64>| {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let room = room.filter(|room| needed > *room)?;
        Some(format!("about {} MiB of memory, and {} MiB are there", mib(needed), room >> 20))
    };
    let building = short(OWN.saturating_add(index::memory(load.records, load.largest)), own);
    let opening = short(SERVER.saturating_add(load.largest).saturating_add(by_record), server);
    if let (None, None) = (&building, &opening) {
        return Ok((Builder::Own, None));
    }
    match short(SERVER.saturating_add(load.largest.saturating_mul(FACTOR)).saturating_add(by_record), server) {
        Some(by_server) => {
            Err(format!("it would take {by_server}, to build the index of the largest collection at once"))
        }
        None => Ok((Builder::Engine, building)),
    }
}

impl Filling {
    pub(super) fn new(layouter: Layouter, folder: &Folder, scope: &Scope, migration: String) -> Self {
        Self {
            layouter,
            folder: folder.clone(),
            scope: scope.clone(),
            migration,
            again: OnceLock::new(),
            builder: OnceLock::new(),
            is_given_up: Arc::default(),
            work: Mutex::default(),
        }
    }

    fn place(&self) -> Result<Option<Place>> {
        Place::of(&self.folder.path)
    }

    /// Whether what stands at the target is nothing but what an attempt of this migration has filled, and is to be filled anew.
    pub(super) fn look(&self) -> Result<bool> {
        refuse_in_the_way(&self.folder.path)?;
        let again = self.is_left()?;
        Ok(*self.again.get_or_init(|| again))
    }

    fn is_left(&self) -> Result<bool> {
        is_left(&self.folder.path, &self.migration, true)
    }

    /// What was seen before the lock was taken may be otherwise now: nobody's store is moved aside.
    fn look_again(&self) -> Result<()> {
        if !self.is_again() || self.is_left()? {
            return Ok(());
        }
        Err(Error::Busy {
            what: self.folder.path.display().to_string(),
            by: "it was changed since this run began".to_owned(),
            remedy: "run it again".to_owned(),
        })
    }

    /// Whether the target is filled anew.
    pub(super) fn is_again(&self) -> bool {
        self.again.get().copied().unwrap_or(false)
    }

    /// Whether it can be done, as [`Filling::decide`] has found.
    pub(super) fn is_possible(&self) -> bool {
        self.builder.get().is_some_and(Option::is_some)
    }

    /// Decides whether the target is filled by its files and who builds the indexes, and says why if it is not. `unfillable`:
    /// what speaks against the program.
    pub(super) fn decide(&self, unfillable: Option<&str>, load: Load) -> Result<Finding> {
        let by_place = match self.place()? {
            Some(_) if self.is_again() => None,
            Some(place) => place.problem()?,
            None => Some("the target is the root of the file system".to_owned()),
        };
        let problem = by_place.or_else(|| unfillable.map(|why| format!("of this Chroma {why}")));
        let found = problem.map_or_else(|| builder(load, limit::here(), self.layouter.room()), Err);
        self.builder.get_or_init(|| found.as_ref().ok().map(|(builder, _)| *builder));
        let message = match found {
            Err(why) => {
                let message = format!("{NOT_FILLED}: {why}");
                tracing::warn!("{message}");
                message
            }
            Ok((builder, short)) => {
                let what = if builder == Builder::Own { "the records and the indexes" } else { "the records" };
                let again = ", which replaces what an earlier attempt of this migration has left";
                let again = if self.is_again() { again } else { "" };
                let engine = if builder == Builder::Own { "" } else { "; Chroma builds its indexes" };
                let short = short.map(|short| format!(", for this program would take {short}")).unwrap_or_default();
                format!("this program writes {what} into the files of the new store{again}{engine}{short}")
            }
        };
        Ok(passed(CHECK, message))
    }

    /// The lock on the target, for its server.
    pub(super) async fn lock(&self) -> Result<Lock> {
        match self.work.lock().await.lock.take() {
            Some(lock) => Ok(lock),
            None => Lock::take(&self.folder.path),
        }
    }

    /// Removes what was not finished.
    pub(super) async fn abandon(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
        let mut work = self.work.lock().await;
        if let Some(UnderWay { importing, mut pen }) = work.under_way.take() {
            // the thread has files open in the folder
            drop(pen.book().await);
            drop(importing);
        }
        work.lock = None;
    }
}

/// That the target's server takes the records after all.
fn not_filled(why: &str) -> Laid {
    let message = format!("{NOT_FILLED}: {why}");
    tracing::warn!("{message}");
    Laid::Not(passed(CHECK, message))
}

/// Whether a folder holds nothing but what an attempt of this migration has filled. `alone`: nobody may have it open.
pub(super) fn is_left(path: &Path, migration: &str, alone: bool) -> Result<bool> {
    Ok(match Place::of(path)?.as_ref().and_then(Place::mark) {
        Some(mark) if mark.migration == migration => {
            if alone {
                lock::refuse_users(path)?;
            }
            match State::read(&path.join(DATABASE)) {
                Ok(now) => (now.entry, now.catalog) == (mark.entry, mark.catalog),
                // what cannot be read is left to the ordinary run; a server that has it open changes nothing about it
                Err(_) if alone => false,
                Err(error) => return Err(error),
            }
        }
        _ => false,
    })
}

/// Refuses what stands at the mark's name and is none.
pub(super) fn refuse_in_the_way(path: &Path) -> Result<()> {
    let Some(there) = Place::of(path)?.and_then(|place| place.in_the_way()) else { return Ok(()) };
    Err(Error::Unsupported {
        store: format!("local store {}", path.display()),
        why: format!(
            "{} is no file, and has the name of the mark that stands beside a store while it is filled",
            there.display()
        ),
        remedy: "move it away, or use --fill engine (fill: Engine)".to_owned(),
    })
}

#[async_trait]
impl Filler for Filling {
    async fn create(&self, new: &[&NewCollection]) -> Result<Laid> {
        let path = &self.folder.path;
        let place = self.place()?.ok_or_else(broken)?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| io_error("create", parent, e))?;
        }
        let lock = Lock::take(path)?;
        lock::refuse_users(path)?;
        self.look_again()?;
        let importing = place.begin()?;
        if let Err(error) = importing.own() {
            return Ok(not_filled(&format!("its folder cannot have the owner of the one that is there: {error}")));
        }
        let made = match self.layouter.lay(&self.folder, &self.scope, new, &importing.database()).await? {
            LaidOut::Made(made) => made,
            LaidOut::Unfillable(why) => return Ok(not_filled(&format!("of this Chroma {why}"))),
        };
        let import = Import::open(&importing.database(), Beside::Nobody)?;
        let is_ours = self.builder.get() == Some(&Some(Builder::Own));
        let plan = |collection| Plan::of(collection).filter(|_| is_ours);
        let sheets = made.iter().map(|c| Ok((c.id.clone(), import.sheet(&c.id, plan(c))?))).collect::<Result<_>>()?;
        tracing::info!(folder = %importing.folder().display(), "the target's files are filled beside it");
        let pen = Pen::Rests(Box::new(Book { import, sheets }));
        *self.work.lock().await = Work { lock: Some(lock), under_way: Some(UnderWay { importing, pen }) };
        Ok(Laid::Out(made))
    }

    async fn put(&self, collection: &Collection, records: Vec<Record>) -> Result<()> {
        let mut work = self.work.lock().await;
        let pen = &mut work.under_way.as_mut().ok_or_else(broken)?.pen;
        let mut book = pen.book().await?;
        let id = collection.id.clone();
        *pen = Pen::Writes(spawn_blocking(move || {
            let Book { import, sheets } = &mut *book;
            import.put(sheets.get_mut(&id).ok_or_else(broken)?, &records)?;
            Ok(book)
        }));
        Ok(())
    }

    async fn index(&self) -> Result<()> {
        let mut work = self.work.lock().await;
        let pen = &mut work.under_way.as_mut().ok_or_else(broken)?.pen;
        let mut book = pen.book().await?;
        let (stop, (done, is_done)) = (Arc::clone(&self.is_given_up), oneshot::channel::<()>());
        // who comes next takes the book from the thread, whether this is waited for or not
        *pen = Pen::Writes(spawn_blocking(move || {
            let Book { import, sheets } = &mut *book;
            sheets.values_mut().try_for_each(|sheet| import.index(sheet, &stop))?;
            drop(done);
            Ok(book)
        }));
        // nothing is sent: it is gone when the thread ends
        drop(is_done.await);
        Ok(())
    }

    async fn finish(&self) -> Result<()> {
        let mut work = self.work.lock().await;
        let UnderWay { importing, mut pen } = work.under_way.take().ok_or_else(broken)?;
        let Book { mut import, sheets } = *pen.book().await?;
        let (migration, again) = (self.migration.clone(), self.is_again());
        let given: Vec<Given> = sheets.values().map(Sheet::given).collect();
        let done = spawn_blocking(move || {
            for sheet in sheets.into_values() {
                import.end(sheet)?;
            }
            import.finish()?;
            let database = importing.database();
            if let Some(problem) = proof::problem(&database, &given)? {
                return Err(wrong(&database, &problem));
            }
            Ok((State::read(&database)?, importing))
        });
        let (state, importing) = joined(done).await?;
        self.look_again()?;
        joined(spawn_blocking(move || importing.place(migration, state, again))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_built_by_who_has_the_memory_and_both_figures_are_said() {
        let load = Load { bytes: 3 << 30, largest: 1 << 30, records: 1 << 20 };
        let gib = |gib: u64| Some(gib << 30);
        for rooms in [(None, None), (gib(2), gib(4)), (None, gib(4)), (gib(2), None)] {
            assert_eq!(builder(load, rooms.0, rooms.1), Ok((Builder::Own, None)), "{rooms:?}");
        }
        let (who, why) = builder(load, Some(700 << 20), gib(8)).unwrap();
        let why = why.unwrap();
        assert!(who == Builder::Engine && why.contains("828 MiB") && why.contains("700 MiB"), "{why}");
        let told = builder(load, Some(700 << 20), gib(4)).unwrap_err();
        assert!(told.contains("5248 MiB") && told.contains("4096 MiB"), "{told}");
        // neither can the server open what this program could build
        assert!(builder(load, gib(8), gib(2)).is_err());
    }
}
