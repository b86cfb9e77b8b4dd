//! An open store behind one connection: reads inside short transactions, and once more when something moved meanwhile.
//! Blocking; never writes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::audit::{self, Shared};
use super::exchanged::segments;
use super::indexes::{Followed, KEPT, Sequence, moved};
use super::segments::Segments;
use super::state::{self, State};
use super::window::Window;
use super::{foreign, sizes, window};
use crate::chroma::settings::{self, Parameter};
use crate::model::{Collection, Distance, Error, Fetched, Result};
use crate::scratch::SortedIds;
use crate::store::files::index::Shape;
use crate::store::files::sqlite::catalog::Catalog;
use crate::store::files::sqlite::connection::{self, Opened, failure};
use crate::store::files::sqlite::schema::{self, Columns, Layout};
use crate::store::files::sqlite::segments::KnownRows;
use crate::store::files::sqlite::tables;
use crate::store::files::sqlite::{birth, check, small};
use crate::store::files::system::{self, Attempt, Failure};
use crate::store::files::{DATABASE, place};
use crate::store::{Budget, Remarks};

/// How long a call goes on trying while the store's own server writes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much of the time that indexes take to load does not count for that.
const LOADING: Duration = Duration::from_secs(600);
/// Bytes of a database of which a log that is not in order is put in order: each connection does so in memory.
const TURNED: u64 = 64 << 20;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// The open store behind a `LocalStore`.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) path: PathBuf,
    pub(super) file: PathBuf,
    opened: Option<(Opened, Columns, Layout, KnownRows)>,
    pub(super) shared: Arc<Shared>,
    states: HashMap<String, State>,
    /// How long the current call has waited for indexes.
    loading: Duration,
}

/// Records of one window, and of which state of the store they are.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) fetched: Vec<Fetched>,
    pub(super) of: Option<Sequence>,
    /// Ids that the index which was at hand is too old for: asked for again, a newer one is loaded.
    pub(super) outdated: Vec<String>,
}

impl Core {
    pub(super) fn new(path: &Path, shared: Arc<Shared>) -> Result<Self> {
        place(path).into_store(path)?;
        Ok(Self {
            path: path.to_owned(),
            file: path.join(DATABASE),
            opened: None,
            shared,
            states: HashMap::new(),
            loading: Duration::ZERO,
        })
    }

    pub(super) fn name(&self) -> String {
        format!("local store {}", self.path.display())
    }

    /// Tries until it works, fails for good, or patience ends.
    pub(super) fn attempt<T>(&mut self, mut call: impl FnMut(&mut Self) -> Attempt<T>) -> Result<T> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        self.loading = Duration::ZERO;
        loop {
            match call(self) {
                Ok(found) => return Ok(found),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(error)) if start.elapsed() >= PATIENCE + self.loading.min(LOADING) => {
                    return Err(error);
                }
                Err(Failure::Again(error)) => {
                    tracing::debug!(store = %self.path.display(), %error, "reading the local store again");
                    self.opened = None;
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
    }

    fn open(&mut self) -> Attempt<()> {
        if let Some((opened, ..)) = &self.opened
            && opened.is_stale()?
        {
            self.opened = None;
        }
        if self.opened.is_some() {
            return Ok(());
        }
        place(&self.path).into_store(&self.path)?;
        let unborn = |error| Failure::Final(birth::unborn(&self.path).unwrap_or(error));
        let opened = connection::open(&self.file).map_err(|found| match found {
            Failure::Final(error) => unborn(error),
            again @ Failure::Again(_) => again,
        })?;
        if let Some(what) = opened.cut() {
            self.shared.pages.cut(what);
        }
        let sql = |e| failure(&self.file, &e);
        let mut found = tables::tables(&opened.connection).map_err(sql)?;
        let missing = schema::missing(&found);
        if !missing.is_empty() && schema::is_chroma(&found) {
            // a Chroma that makes a store has not made all of them yet
            if let Some(error) = birth::unborn(&self.path) {
                return Err(error.into());
            }
            opened.stand_in(&schema::stand_ins(&missing)).map_err(sql)?;
            for table in &missing {
                self.shared.pages.miss(table);
            }
            schema::complete(&mut found, &missing);
        }
        // between two states a table and its index differ
        let transaction = opened.connection.unchecked_transaction().map_err(sql)?;
        small::hold(&transaction, &self.shared.pages).map_err(sql)?;
        drop(transaction);
        let (layout, whole) = self.shared.catalog(&opened.connection).layout().map_err(sql)?;
        // with rows of the migrations gone, tables and columns alone tell
        let checked = if whole { layout.check() } else { Ok(()) };
        let unknown = |why| Error::Unsupported {
            store: self.name(),
            why,
            remedy:
                "this program reads stores of Chroma 0.4.15 to 1.5.9; serve a copy with the Chroma that wrote it and \
                     migrate from that server"
                    .to_owned(),
        };
        let columns = checked
            .and_then(|()| schema::columns(&found, schema::client(&layout, whole, &found)))
            .map_err(|why| unborn(unknown(why)))?;
        if self.shared.pages.is_log_turned() && std::fs::metadata(&self.file).is_ok_and(|file| file.len() <= TURNED) {
            opened.stand_in(schema::LOG_IN_ORDER).map_err(sql)?;
        }
        self.shared.is_copy.store(opened.is_copy(), Ordering::Relaxed);
        self.opened = Some((opened, columns, layout, KnownRows::default()));
        Ok(())
    }

    /// Calls `work` inside one read transaction.
    pub(super) fn read<T>(&mut self, work: impl FnOnce(&Connection, Columns, &Layout) -> Attempt<T>) -> Attempt<T> {
        self.open()?;
        let Some((opened, columns, layout, _)) = &self.opened else { return Err(self.gone("the database").into()) };
        let transaction = opened.connection.unchecked_transaction().map_err(|e| failure(&self.file, &e))?;
        work(&transaction, *columns, layout)
    }

    /// As `read`, with what this connection knows of segments.
    pub(super) fn look<T>(&mut self, work: impl FnOnce(&Connection, Columns, &KnownRows) -> Attempt<T>) -> Attempt<T> {
        self.open()?;
        let Some((opened, columns, _, known)) = &self.opened else { return Err(self.gone("the database").into()) };
        let transaction = opened.connection.unchecked_transaction().map_err(|e| failure(&self.file, &e))?;
        work(&transaction, *columns, known)
    }

    /// Calls `work` inside one read transaction with the collection's state brought up to it.
    pub(super) fn with<T>(
        &mut self,
        collection: &Collection,
        work: impl FnOnce(&Connection, &Path, Columns, &mut State) -> Attempt<T>,
    ) -> Attempt<T> {
        self.load(collection)?;
        let file = self.file.clone();
        let Some(mut state) = self.states.remove(&collection.id) else {
            return Err(self.gone(&collection.name).into());
        };
        let shared = Arc::clone(&self.shared);
        let mut is_other = false;
        let result = self.look(|db, columns, known| {
            let segments = segments((db, known), &file, collection, &shared)?;
            if segments != state.segments {
                is_other = true;
                return Err(moved(&state.folder));
            }
            foreign::refresh((db, known), &file, collection, &mut state, &shared)?;
            work(db, &file, columns, &mut state)
        });
        let checked = state.check();
        if checked.is_ok() && !is_other {
            self.states.insert(collection.id.clone(), state);
        }
        let found = result?;
        checked?;
        Ok(found)
    }

    /// How many records there are.
    pub(super) fn count(&mut self, collection: &Collection) -> Attempt<u64> {
        let shared = Arc::clone(&self.shared);
        let listed = self.shared.audit(&collection.id).listed;
        let count = self.with(collection, |db, file, _, state| match listed {
            // of lost rows nobody knows how many they are: those that anything names count
            Some((of, count)) if of == state.sequence => Ok(count),
            _ => window::count(db, file, state, &shared),
        })?;
        if listed.is_some_and(|(_, known)| known == count) {
            return Ok(count);
        }
        // what nobody can ask for is said apart
        Ok(count.saturating_sub(self.shared.audit(&collection.id).nameless.map_or(0, |(rows, _)| rows)))
    }

    /// Every id. The first call looks at the store as a whole, too, unless something has it open.
    pub(super) fn ids(&mut self, collection: &Collection) -> Attempt<SortedIds> {
        let (file, shared) = (self.file.clone(), Arc::clone(&self.shared));
        if shared.check.get().is_none() {
            let is_copy = shared.is_copy.load(Ordering::Relaxed);
            let found = self.read(|db, _, _| check::check(db, &file, is_copy).map_err(|e| failure(&file, &e)))?;
            if let Some(findings) = found {
                self.take(findings);
            }
        }
        self.with(collection, |db, file, _, state| window::ids(db, file, state, &collection.id, &shared))
    }

    /// Takes what was found of the store as a whole. What was known of a log whose rows are not in order is known no more.
    fn take(&mut self, findings: check::Findings) {
        let Self { shared, .. } = self;
        findings.tables.iter().for_each(|table| shared.pages.doubt(table));
        if findings.is_log_turned {
            shared.pages.turn_log();
            shared.indexes.forget();
            (self.opened, self.states) = (None, HashMap::new());
        }
        self.shared.check.set(findings);
    }

    /// What is to be said of a collection, as far as it was read. An index that is kept does not see what is lost from its
    /// files: for this it is loaded anew, once in all tries.
    pub(super) fn remarks(&mut self, collection: &Collection, is_renewed: &mut bool) -> Attempt<Remarks> {
        let shared = Arc::clone(&self.shared);
        if !*is_renewed {
            self.with(collection, |_, _, _, state| {
                if state.is_old() {
                    state.outdate(&shared.indexes);
                }
                Ok(())
            })?;
            *is_renewed = true;
        }
        self.with(collection, |_, _, _, state| Ok(audit::remarks(collection, state, &shared)))
    }

    /// Which state of the collection's files is there.
    pub(super) fn generation(&mut self, collection: &Collection) -> Attempt<String> {
        let database = system::stamp(&self.file)?;
        let state = self.with(collection, |_, _, _, state| Ok(format!("{:?} {}", state.sequence, state.stamps)))?;
        Ok(format!("{state} {}", database.map_or_else(String::new, |stamp| stamp.to_string())))
    }

    /// How many of these records, from the first on, a budget has place for.
    pub(super) fn fitting(&mut self, collection: &Collection, ids: &[String], budget: Budget) -> Attempt<usize> {
        self.with(collection, |db, file, _, state| sizes::fitting(db, file, (state, collection), ids, budget))
    }

    /// These records. What a damaged page holds is halved down to its records.
    pub(super) fn fetch(&mut self, collection: &Collection, ids: &[String]) -> Attempt<Answer> {
        match self.fetch_whole(collection, ids) {
            Err(Failure::Final(Error::Damaged { file, what, .. })) if file == self.file && !ids.is_empty() => {
                let [id] = ids else {
                    let (left, right) = ids.split_at(ids.len() / 2);
                    let (mut both, rest) = (self.fetch(collection, left)?, self.fetch(collection, right)?);
                    both.of = both.of.filter(|_| both.of == rest.of);
                    both.fetched.extend(rest.fetched);
                    both.outdated.extend(rest.outdated);
                    return Ok(both);
                };
                let why = format!("{} cannot be read there: {what}", file.display());
                Ok(Answer { fetched: vec![state::unreadable(id, why)], ..Answer::default() })
            }
            other => other,
        }
    }

    fn fetch_whole(&mut self, collection: &Collection, ids: &[String]) -> Attempt<Answer> {
        let (audit, shared) = (self.shared.audit(&collection.id), Arc::clone(&self.shared));
        let window = self.with(collection, |db, file, columns, state| {
            window::read(db, file, columns, state, collection, (ids, &audit, &shared))
        })?;
        let state = self.states.get(&collection.id).ok_or_else(|| self.gone(&collection.name))?;
        let window = window.finish(state);
        // A file that changed explains an error, and spoils an answer.
        state.check()?;
        let Window { fetched, said, outdated } = window?;
        let of = state.sequence;
        if !outdated.is_empty() {
            state.outdate(&shared.indexes);
            self.states.remove(&collection.id);
        }
        if !said.is_empty() {
            self.shared.amend(&collection.id, |audit| audit.take(said));
        }
        Ok(Answer { fetched, of, outdated })
    }

    /// These records changed faster than the index could be loaded.
    pub(super) fn outrun(&self, ids: &[String]) -> Failure {
        Failure::Again(Error::Unavailable {
            store: self.name(),
            attempt: format!("a read of {} records (the first is {:?})", ids.len(), ids.first().map_or("", |id| id)),
            why: "they changed again each time before the index was read; try again when its server writes less"
                .to_owned(),
        })
    }

    fn load(&mut self, collection: &Collection) -> Attempt<()> {
        if let Some(state) = self.states.get(&collection.id)
            && state.is_current(&self.shared.indexes)
        {
            return Ok(());
        }
        self.states.remove(&collection.id);
        let (file, shared) = (self.file.clone(), Arc::clone(&self.shared));
        let (segments, followed, dimension, neighbours) = self.look(|db, _, known| {
            let (catalog, sql) = (shared.catalog(db), |e| failure(&file, &e));
            let segments = segments((db, known), &file, collection, &shared)?;
            let followed = followed(catalog, &segments, &file)?;
            let dimension = catalog.dimension(&collection.id).map_err(sql)?;
            let neighbours = catalog.segment_neighbours(&segments.vector).map_err(sql)?;
            Ok((segments, followed, dimension, neighbours))
        })?;
        let dimension = dimension.and_then(|d| u32::try_from(d).ok());
        let settled = self.shared.audit(&collection.id).dimension.filter(|settled| settled.said == dimension);
        let dimension = settled.map_or(dimension, |settled| Some(settled.really));
        let written = || settings::written(collection).get(&Parameter::MaxNeighbors)?.as_i64();
        let neighbours = neighbours.or_else(written).and_then(|n| u32::try_from(n).ok());
        let shape = Shape { dimension, cosine: collection.distance == Distance::Cosine, neighbours };
        let start = Instant::now();
        let state = State::load(&self.path, segments, (shape, followed), &self.shared.indexes);
        self.loading += start.elapsed();
        let state = state?;
        if self.states.len() >= KEPT {
            self.states.clear();
        }
        self.states.insert(collection.id.clone(), state);
        Ok(())
    }

    fn gone(&self, what: &str) -> Error {
        Error::Unavailable {
            store: self.name(),
            attempt: format!("a read of {what}"),
            why: "it changed meanwhile; try again".to_owned(),
        }
    }
}

/// How far a collection's index has followed the log.
pub(super) fn followed(catalog: Catalog<'_>, segments: &Segments, file: &Path) -> Attempt<Followed> {
    let sql = |e| failure(file, &e);
    let mark = catalog.max_seq_id(&segments.vector).map_err(sql)?;
    Ok(Followed { mark, last: tables::last_entry(catalog.db, catalog.pages).map_err(sql)? })
}

/// The migrations of a store; its layout may be one that this reader does not know.
pub(in crate::store::files) fn layout(path: &Path) -> Result<Layout> {
    let mut core = Core::new(path, Arc::default())?;
    core.attempt(|core| {
        let opened = connection::open(&core.file)?;
        opened.must_be_whole()?;
        let (layout, whole) = core.shared.catalog(&opened.connection).layout().map_err(|e| failure(&core.file, &e))?;
        if whole { Ok(layout) } else { Err(Failure::Final(unknown_layout(&core.file))) }
    })
}

fn unknown_layout(file: &Path) -> Error {
    Error::Damaged {
        file: file.to_owned(),
        what: "a page of the table migrations cannot be read, so nobody knows which Chroma may write it".to_owned(),
        readable: "it can be read as a source; migrate it into a new store".to_owned(),
    }
}
