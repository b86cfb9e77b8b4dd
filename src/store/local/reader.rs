//! `Reader` over a store's files: one short read transaction a call, and a retry when something moved meanwhile.
//! Never writes. Blocking work runs on the runtime's blocking threads.

use std::collections::HashMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::try_join_all;
use rusqlite::Connection;
use tokio::sync::Mutex;

use super::super::Reader;
use super::super::collection::Collection;
use super::super::distance::{self, Distance};
use super::super::error::{Error, Result};
use super::super::ids::SortedIds;
use super::super::record::Fetched;
use super::files::{Attempt, Failure};
use super::schema::{self, Columns, Layout};
use super::scratch::{self, Opened, failure};
use super::state::{Indexes, KEPT, Sequence, Shape, State};
use super::tables::{self, CollectionRow};
use super::{DATABASE, place, window};

/// How long a call goes on trying while the store's own server writes.
const PATIENCE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(500);
/// Connections that read parts of one window at once, at most; fewer on a machine with fewer cores.
const CONNECTIONS: usize = 4;
/// Records of the smallest part.
const PART: usize = 32;

/// A local Chroma store, read from its files.
///
/// # Guarantees
/// Those of [`Reader`]; nothing in the store's folder is created, changed or removed.
#[derive(Clone, Debug)]
pub struct LocalStore {
    core: Arc<Mutex<Core>>,
    /// Each reads a part of each window beside `core`, with its own connection.
    others: Vec<Arc<Mutex<Core>>>,
    /// Whether a copy in scratch space is read, as `core` found last: one copy is enough.
    is_copy: Arc<AtomicBool>,
    name: String,
    version: String,
    tenant: String,
    database: String,
}

impl LocalStore {
    /// Opens the store in a folder and checks its layout.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no store (yet), [`Error::Unsupported`] for what is no store or an unknown
    /// layout, [`Error::Damaged`], [`Error::Busy`].
    pub async fn open(
        path: impl Into<PathBuf>,
        tenant: impl Into<String>,
        database: impl Into<String>,
    ) -> Result<Self> {
        let path = path.into();
        let (tenant, database) = (tenant.into(), database.into());
        let (core, version) = blocking(move || {
            let mut core = Core::new(&path, Arc::default())?;
            let version = core.attempt(|core| core.read(|_, _, layout| Ok(layout.version())))?;
            Ok((core, version))
        })
        .await?;
        let (name, is_copy) = (core.name(), Arc::clone(&core.is_copy));
        let connections = std::thread::available_parallelism().map_or(1, NonZero::get).min(CONNECTIONS);
        let other = |_| Ok(Arc::new(Mutex::new(Core::new(&core.path, Arc::clone(&core.indexes))?)));
        let others = (1..connections).map(other).collect::<Result<_>>()?;
        Ok(Self { core: Arc::new(Mutex::new(core)), others, is_copy, name, version, tenant, database })
    }

    /// Every collection of every tenant and database.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn everything(&self) -> Result<Vec<Collection>> {
        self.run(Core::all).await
    }

    async fn run<T: Send + 'static>(&self, call: impl FnMut(&mut Core) -> Attempt<T> + Send + 'static) -> Result<T> {
        on(&self.core, call).await
    }
}

async fn on<T: Send + 'static>(
    core: &Arc<Mutex<Core>>,
    call: impl FnMut(&mut Core) -> Attempt<T> + Send + 'static,
) -> Result<T> {
    // waited for before a thread is taken: a thread that waits costs memory
    let mut core = Arc::clone(core).lock_owned().await;
    blocking(move || core.attempt(call)).await
}

/// Reads these records, and says of which state of the store they are.
async fn read(
    core: &Arc<Mutex<Core>>,
    collection: &Collection,
    ids: &[String],
) -> Result<(Vec<Fetched>, Option<Sequence>)> {
    let (collection, ids) = (collection.clone(), ids.to_vec());
    on(core, move |core| core.fetch(&collection, &ids)).await
}

/// The migrations of a store; its layout may be one that this reader does not know.
pub(super) fn layout(path: &Path) -> Result<Layout> {
    let mut core = Core::new(path, Arc::default())?;
    core.attempt(|core| {
        let opened = scratch::open(&core.file)?;
        tables::layout(&opened.connection).map_err(|e| failure(&core.file, &e))
    })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // Only a panic or the runtime's end leads here.
        Err(e) => Err(Error::Unavailable {
            store: "local store".to_owned(),
            attempt: "a read of its files".to_owned(),
            why: e.to_string(),
        }),
    }
}

#[async_trait]
impl Reader for LocalStore {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    async fn collections(&self) -> Result<Vec<Collection>> {
        let (tenant, database) = (self.tenant.clone(), self.database.clone());
        self.run(move |core| {
            let found = core.all()?;
            core.check_database(&tenant, &database)?;
            Ok(found.into_iter().filter(|c| c.tenant == tenant && c.database == database).collect())
        })
        .await
    }

    async fn count(&self, collection: &Collection) -> Result<u64> {
        let collection = collection.clone();
        self.run(move |core| {
            core.with(&collection, |db, file, _, state| window::count(db, state).map_err(|e| failure(file, &e)))
        })
        .await
    }

    async fn ids(&self, collection: &Collection) -> Result<SortedIds> {
        let collection = collection.clone();
        self.run(move |core| core.with(&collection, |db, file, _, state| window::ids(db, file, state))).await
    }

    async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>> {
        if ids.len() > PART && !self.is_copy.load(Ordering::Relaxed) {
            let part = ids.len().div_ceil(self.others.len() + 1).max(PART);
            let cores = std::iter::once(&self.core).chain(&self.others);
            let parts =
                try_join_all(cores.zip(ids.chunks(part)).map(|(core, ids)| read(core, collection, ids))).await?;
            if parts.windows(2).all(|pair| pair[0].1 == pair[1].1) {
                return Ok(parts.into_iter().flat_map(|(fetched, _)| fetched).collect());
            }
        }
        // few, or the store moved between both halves
        read(&self.core, collection, ids).await.map(|(fetched, _)| fetched)
    }
}

/// The open store behind a [`LocalStore`].
#[derive(Debug)]
pub(super) struct Core {
    path: PathBuf,
    file: PathBuf,
    opened: Option<(Opened, Columns, Layout)>,
    is_copy: Arc<AtomicBool>,
    indexes: Arc<Indexes>,
    pub(super) states: HashMap<String, State>,
}

impl Core {
    pub(super) fn new(path: &Path, indexes: Arc<Indexes>) -> Result<Self> {
        place(path).into_store(path)?;
        Ok(Self {
            path: path.to_owned(),
            file: path.join(DATABASE),
            opened: None,
            is_copy: Arc::default(),
            indexes,
            states: HashMap::new(),
        })
    }

    pub(super) fn name(&self) -> String {
        format!("local store {}", self.path.display())
    }

    /// Tries until it works, fails for good, or patience ends.
    pub(super) fn attempt<T>(&mut self, mut call: impl FnMut(&mut Self) -> Attempt<T>) -> Result<T> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match call(self) {
                Ok(found) => return Ok(found),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(error)) if start.elapsed() >= PATIENCE => return Err(error),
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
        let opened = scratch::open(&self.file)?;
        let sql = |e| failure(&self.file, &e);
        let layout = tables::layout(&opened.connection).map_err(sql)?;
        let found = tables::tables(&opened.connection).map_err(sql)?;
        let columns = layout.check().and_then(|()| schema::columns(&found)).map_err(|why| {
            Failure::Final(Error::Unsupported {
                store: self.name(),
                why,
                remedy: "this program reads stores of Chroma 0.4.15 to 1.5.9; serve a copy with the Chroma that wrote \
                         it and migrate from that server"
                    .to_owned(),
            })
        })?;
        self.is_copy.store(opened.is_copy(), Ordering::Relaxed);
        self.opened = Some((opened, columns, layout));
        Ok(())
    }

    /// Calls `work` inside one read transaction.
    pub(super) fn read<T>(&mut self, work: impl FnOnce(&Connection, Columns, &Layout) -> Attempt<T>) -> Attempt<T> {
        self.open()?;
        let Some((opened, columns, layout)) = &self.opened else { return Err(self.gone("the database").into()) };
        let transaction = opened.connection.unchecked_transaction().map_err(|e| failure(&self.file, &e))?;
        work(&transaction, *columns, layout)
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
        let result = self.read(|db, columns, _| {
            let segments = State::segments(db, &file, &collection.id, &collection.name)?;
            if segments != state.segments {
                return Err(super::state::moved(&state.folder));
            }
            state.refresh(db, &file, &collection.id)?;
            work(db, &file, columns, &mut state)
        });
        let checked = state.check();
        if checked.is_ok() {
            self.states.insert(collection.id.clone(), state);
        }
        let found = result?;
        checked?;
        Ok(found)
    }

    fn fetch(&mut self, collection: &Collection, ids: &[String]) -> Attempt<(Vec<Fetched>, Option<Sequence>)> {
        let window =
            self.with(collection, |db, file, columns, state| window::read(db, file, columns, state, collection, ids))?;
        let state = self.states.get(&collection.id).ok_or_else(|| self.gone(&collection.name))?;
        let fetched = window.finish(state);
        // A file that changed explains an error, and spoils an answer.
        state.check()?;
        Ok((fetched?, state.sequence))
    }

    fn load(&mut self, collection: &Collection) -> Attempt<()> {
        if let Some(state) = self.states.get(&collection.id)
            && state.check().is_ok()
        {
            return Ok(());
        }
        self.states.remove(&collection.id);
        let file = self.file.clone();
        let (segments, dimension) = self.read(|db, columns, _| {
            let segments = State::segments(db, &file, &collection.id, &collection.name)?;
            let rows = tables::collections(db, columns).map_err(|e| failure(&file, &e))?;
            Ok((segments, rows.into_iter().find(|row| row.id == collection.id).and_then(|row| row.dimension)))
        })?;
        let dimension = dimension.and_then(|d| u32::try_from(d).ok());
        let shape = Shape { dimension, cosine: collection.distance == Distance::Cosine };
        let state = State::load(&self.path, segments, shape, &self.indexes)?;
        if self.states.len() >= KEPT {
            self.states.clear();
        }
        self.states.insert(collection.id.clone(), state);
        Ok(())
    }

    /// Every collection of every database.
    pub(super) fn all(&mut self) -> Attempt<Vec<Collection>> {
        let file = self.file.clone();
        self.read(|db, columns, _| {
            let rows = tables::collections(db, columns).map_err(|e| failure(&file, &e))?;
            rows.into_iter().map(|row| collection(db, &file, columns, row)).collect()
        })
    }

    fn check_database(&mut self, tenant: &str, database: &str) -> Attempt<()> {
        let (file, store) = (self.file.clone(), self.name());
        self.read(|db, _, _| {
            let sql = |e| failure(&file, &e);
            let (tenants, databases) = (tables::tenants(db).map_err(sql)?, tables::databases(db).map_err(sql)?);
            let missing = |what, there: String| {
                Failure::Final(Error::NotFound { store: store.clone(), what, remedy: format!("it has {there}") })
            };
            if !tenants.iter().any(|t| t == tenant) {
                return Err(missing(format!("tenant {tenant:?}"), format!("the tenants {tenants:?}")));
            }
            let names: Vec<&str> = databases.iter().filter(|(t, _)| t == tenant).map(|(_, d)| d.as_str()).collect();
            if !names.contains(&database) {
                return Err(missing(
                    format!("database {database:?} of tenant {tenant:?}"),
                    format!("the databases {names:?}"),
                ));
            }
            Ok(())
        })
    }

    fn gone(&self, what: &str) -> Error {
        Error::Unavailable {
            store: self.name(),
            attempt: format!("a read of {what}"),
            why: "it changed meanwhile; try again".to_owned(),
        }
    }
}

fn collection(db: &Connection, file: &Path, columns: Columns, row: CollectionRow) -> Attempt<Collection> {
    let damaged = |what: String| {
        Failure::Final(Error::Damaged {
            file: file.to_owned(),
            what: format!("collection {:?}: {what}", row.name),
            readable: "the other collections can be read".to_owned(),
        })
    };
    let json = |text: &Option<String>, column: &str| {
        let parsed = text.as_deref().map(serde_json::from_str::<serde_json::Value>).transpose();
        parsed.map_err(|e| damaged(format!("its {column} is no JSON ({e})")))
    };
    let configuration = json(&row.configuration, "config_json_str")?;
    let schema = json(&row.schema, "schema_str")?;
    let metadata = tables::collection_metadata(db, columns, &row.id).map_err(|e| failure(file, &e))?;
    let metadata = metadata.map_err(damaged)?;
    let dimension = row.dimension.map(u32::try_from).transpose();
    let dimension = dimension.map_err(|_| damaged(format!("its dimension is {:?}", row.dimension)))?;
    let distance = distance::declared(schema.as_ref(), configuration.as_ref(), &metadata);
    Ok(Collection {
        id: row.id,
        name: row.name,
        tenant: row.tenant,
        database: row.database,
        dimension,
        distance,
        metadata,
        configuration,
        schema,
    })
}
