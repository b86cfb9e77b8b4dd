//! `Reader` over a store's files: one short read transaction a call, and a retry when something moved meanwhile.
//! Never writes. Blocking work runs on the runtime's blocking threads.

pub mod audit;
mod collections;
mod core;
pub mod dimension;
pub mod exchanged;
pub mod foreign;
pub mod indexes;
pub mod rows;
mod same;
pub mod segments;
pub mod sizes;
pub mod state;
pub mod window;
mod witness;

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use futures::future::try_join_all;
use tokio::sync::Mutex;

use self::audit::Shared;
pub(super) use self::core::layout;
use self::core::{Answer, Core};
use self::indexes::{Keep, Sequence};
use super::system::Attempt;
use crate::model::{Collection, Error, Fetched, Result};
use crate::scratch::SortedIds;
use crate::store::{Budget, Reader, Remarks};

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
    shared: Arc<Shared>,
    name: String,
    version: String,
    tenant: String,
    databases: Vec<String>,
    /// Whether a database that is missing is taken for empty.
    may_be_missing: bool,
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
        Self::open_to(Keep::Never, path.into(), tenant.into(), database.into()).await
    }

    /// As [`LocalStore::open`], for a store that is only copied from: its server may write faster than an index loads. Not for
    /// a target: a vector that is lost from its files after the first look may be read once more from the rows.
    ///
    /// # Errors
    /// Those of [`LocalStore::open`].
    pub async fn open_source(
        path: impl Into<PathBuf>,
        tenant: impl Into<String>,
        database: impl Into<String>,
    ) -> Result<Self> {
        Self::open_to(Keep::WhileItsServerWrites, path.into(), tenant.into(), database.into()).await
    }

    async fn open_to(keep: Keep, path: PathBuf, tenant: String, database: String) -> Result<Self> {
        let databases = vec![database];
        let shared = Arc::new(Shared::new(keep));
        let connections = std::thread::available_parallelism().map_or(1, NonZero::get).min(CONNECTIONS);
        let all = Arc::clone(&shared);
        let (core, others, version) = blocking(move || {
            let mut core = Core::new(&path, Arc::clone(&all))?;
            let version = core.attempt(|core| core.read(|_, _, layout| Ok(layout.version())))?;
            let other = |_| Ok(Arc::new(Mutex::new(Core::new(&path, Arc::clone(&all))?)));
            Ok((core, (1..connections).map(other).collect::<Result<_>>()?, version))
        })
        .await?;
        let name = core.name();
        let core = Arc::new(Mutex::new(core));
        Ok(Self { core, others, shared, name, version, tenant, databases, may_be_missing: false })
    }

    /// Looks at these databases of the tenant instead of its own one. `may_be_missing`: one that is not there is taken for
    /// empty, for it is made with its first collection.
    #[must_use]
    pub fn of_databases(self, databases: Vec<String>, may_be_missing: bool) -> Self {
        Self { databases, may_be_missing, ..self }
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
    let (collection, mut left) = (collection.clone(), ids.to_vec());
    let mut found = Vec::new();
    on(core, move |core| {
        let Answer { fetched, of, outdated } = core.fetch(&collection, &left)?;
        let is_whole = found.is_empty();
        found.extend(fetched);
        left = outdated;
        // what is read stays read, so that only records which change all the time are waited for
        if left.is_empty() {
            Ok((std::mem::take(&mut found), of.filter(|_| is_whole)))
        } else {
            Err(core.outrun(&left))
        }
    })
    .await
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
        let (tenant, databases, may_be_missing) = (self.tenant.clone(), self.databases.clone(), self.may_be_missing);
        self.run(move |core| core.of_databases(&tenant, &databases, may_be_missing)).await
    }

    async fn databases(&self) -> Result<Option<Vec<String>>> {
        let tenant = self.tenant.clone();
        self.run(move |core| core.databases(&tenant)).await.map(Some)
    }

    async fn count(&self, collection: &Collection) -> Result<u64> {
        let collection = collection.clone();
        self.run(move |core| core.count(&collection)).await
    }

    async fn ids(&self, collection: &Collection) -> Result<SortedIds> {
        let collection = collection.clone();
        self.run(move |core| core.ids(&collection)).await
    }

    async fn remarks(&self, collection: &Collection) -> Result<Remarks> {
        let (collection, mut is_renewed) = (collection.clone(), false);
        self.run(move |core| core.remarks(&collection, &mut is_renewed)).await
    }

    async fn generation(&self, collection: &Collection) -> Result<Option<String>> {
        let collection = collection.clone();
        self.run(move |core| core.generation(&collection)).await.map(Some)
    }

    async fn fetch_within(
        &self,
        collection: &Collection,
        ids: &[String],
        budget: Budget,
    ) -> Result<(Vec<Fetched>, usize)> {
        let (of, wanted) = (collection.clone(), ids.to_vec());
        let count = self.run(move |core| core.fitting(&of, &wanted, budget)).await?;
        let fitting = ids.get(..count).unwrap_or(ids);
        Ok((self.fetch(collection, fitting).await?, fitting.len()))
    }

    async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>> {
        if ids.len() > PART && !self.shared.is_copy.load(Ordering::Relaxed) {
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
