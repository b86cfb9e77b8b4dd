//! From a description of two ends to open stores and the engine: the only place that picks an implementation.

mod beside;
pub mod child;
#[cfg(feature = "faults")]
mod faulty;
mod filled;
mod filling;
mod filling_target;
mod indexing;
mod layout;
mod limit;
mod local_target;
mod own_writer;
mod pod;
mod relation;
mod room;
pub mod serving;
mod sidecar_target;
mod sockets;
mod started;
mod twins;

use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::chroma::Capabilities;
use crate::engine::progress::Tracker;
use crate::engine::select::NoDatabase;
use crate::engine::{self, Fill, Halt, Handover, Options, Outcome, Relation, Selection};
use crate::model::{Error, Glob, Result};
use crate::report::Direction;
use crate::store::files::LocalStore;
use crate::store::files::sqlite::birth;
use crate::store::http::{self, HttpStore, HttpWriter, ServerConfig};
use crate::store::{Finding, Load, Problem, Reader, Target, Writer};
pub use beside::{LayoutServer, Pod};
use local_target::LocalTarget;

/// A Chroma store's folder.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The folder that holds chroma.sqlite3.
    pub path: PathBuf,
    /// The tenant, `default_tenant` unless the store has several.
    pub tenant: String,
    /// The database, `default_database` unless the tenant has several.
    pub database: String,
}

impl Folder {
    /// The default tenant and database of a store.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, tenant: "default_tenant".to_owned(), database: "default_database".to_owned() }
    }
}

/// One end of a migration.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// A folder that Chroma wrote, or will.
    Local(Folder),
    /// A Chroma server.
    Remote(Box<ServerConfig>),
}

impl Endpoint {
    /// From which kind to which.
    #[must_use]
    pub const fn direction(source: &Self, target: &Self) -> Direction {
        match (source, target) {
            (Self::Local(_), Self::Remote(_)) => Direction::LocalToRemote,
            (Self::Remote(_), Self::Local(_)) => Direction::RemoteToLocal,
            (Self::Local(_), Self::Local(_)) => Direction::LocalToLocal,
            (Self::Remote(_), Self::Remote(_)) => Direction::RemoteToRemote,
        }
    }

    /// Where its records are: path or address, tenant and database.
    fn place(&self) -> [String; 3] {
        match self {
            Self::Local(folder) => [folder.path.display().to_string(), folder.tenant.clone(), folder.database.clone()],
            Self::Remote(server) => [server.url.to_string(), server.tenant.clone(), server.database.clone()],
        }
    }

    /// Opens it to read.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn open(self) -> Result<Box<dyn Reader>> {
        self.open_for(&Scope::default(), Side::Source).await
    }

    /// As `open`, for a run that looks at this only.
    async fn open_for(self, scope: &Scope, side: Side) -> Result<Box<dyn Reader>> {
        Ok(match self {
            Self::Local(folder) => Box::new(scope.of_local(open_files(&folder, side).await?)),
            Self::Remote(server) => Box::new(scope.of_server(http::open(*server).await?)?),
        })
    }

    /// Opens a source, and gives the databases that the selection names there; none where it names none.
    ///
    /// # Errors
    /// As [`Error`] says; [`Error::NotFound`] where none matches.
    pub async fn open_selected(self, selection: &Selection) -> Result<(Box<dyn Reader>, Vec<String>)> {
        let mut scope = Scope { names: selection.source_names(), ..Scope::default() };
        if !selection.has_databases() {
            return Ok((self.open_for(&scope, Side::Source).await?, Vec::new()));
        }
        let all = self.clone().open_for(&scope, Side::Source).await?;
        let listed = if selection.has_database_patterns() { all.databases().await? } else { None };
        let names = selection.databases(listed.as_deref()).map_err(|why| match why {
            NoDatabase::CannotList => Error::Unsupported {
                store: all.name(),
                why: format!("it cannot list its databases, as {} asks", selection.database_words()),
                remedy: "name each database, without a * (--database, spec.databases)".to_owned(),
            },
            NoDatabase::NothingMatches => Error::NotFound {
                store: all.name(),
                what: format!("a database that {} matches", selection.database_words()),
                remedy: format!("it has the databases {}", first(&listed.unwrap_or_default())),
            },
        })?;
        scope.databases = Some(Databases { names: names.clone(), may_be_missing: false });
        Ok((self.open_for(&scope, Side::Source).await?, names))
    }
}

/// The first of some names, and how many more there are.
fn first(names: &[String]) -> String {
    const NAMED: usize = 20;
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    names[..names.len().min(NAMED)].join(", ") + &more
}

/// What a run looks at in one store.
#[derive(Clone, Debug, Default)]
struct Scope {
    /// None: the database of the endpoint.
    databases: Option<Databases>,
    /// Patterns of the collections: a server is not asked about any other. None: all.
    names: Option<Vec<Glob>>,
}

/// Databases of one tenant.
#[derive(Clone, Debug)]
struct Databases {
    names: Vec<String>,
    /// In a target one that is missing is empty: it is made with its first collection.
    may_be_missing: bool,
}

impl Scope {
    fn of_target(selection: &Selection, databases: &[String]) -> Self {
        let databases = Databases { names: databases.to_vec(), may_be_missing: true };
        Self { databases: selection.has_databases().then_some(databases), names: selection.target_names() }
    }

    fn of_local(&self, store: LocalStore) -> LocalStore {
        match &self.databases {
            Some(Databases { names, may_be_missing }) => store.of_databases(names.clone(), *may_be_missing),
            None => store,
        }
    }

    fn of_server(&self, mut store: HttpStore) -> Result<HttpStore> {
        if let Some(names) = &self.names {
            store = store.probing_only(names.clone());
        }
        match &self.databases {
            Some(Databases { names, may_be_missing }) => store.of_databases(names.clone(), *may_be_missing),
            None => Ok(store),
        }
    }
}

/// One migration to carry out.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where it is read.
    pub source: Endpoint,
    /// Where it is written.
    pub target: Endpoint,
    /// What is asked.
    pub options: Options,
    /// What writes a local target.
    pub writer: LocalWriter,
}

/// The Chroma server that writes a local target.
#[derive(Clone, Debug)]
pub enum LocalWriter {
    /// This program, started for the length of the migration; None is `chroma` on PATH.
    Program(Option<PathBuf>),
    /// A server beside us in the pod, whose life is not ours.
    Sidecar(Box<Pod>),
}

impl LocalWriter {
    fn run(&self) -> &str {
        match self {
            Self::Sidecar(pod) => &pod.run,
            Self::Program(_) => "",
        }
    }
}

/// Opens both ends and migrates. Whatever happens is in the outcome.
pub async fn migrate(request: Request, tracker: Tracker, stop: &CancellationToken) -> Outcome {
    let Request { source, target, mut options, writer } = request;
    options.memory = options.memory.or_else(limit::memory);
    options.relation = relation::with(options.relation, related(&source, &target).await);
    let direction = Endpoint::direction(&source, &target);
    let started = SystemTime::now();
    let written = match &target {
        Endpoint::Local(folder) if !options.dry_run => Some(folder.path.clone()),
        _ => None,
    };
    let from = source.place();
    let opened = async {
        let (source, databases) = source.open_selected(&options.selection).await.map_err(Halt::Source)?;
        let scope = Scope::of_target(&options.selection, &databases);
        let fill = (options.fill == Fill::Files).then(|| {
            // which records come from where: what an earlier attempt filled is thrown away only by the same migration
            let run = writer.run();
            fill_id(&format!("{run}{from:?} {:?} {databases:?}", options.selection))
        });
        let (target, handover) = open_target(target, writer, scope, fill).await.map_err(Halt::Target)?;
        Ok((source, target, handover, databases))
    };
    match opened.await {
        Ok((source, target, handover, databases)) => {
            #[cfg(feature = "faults")]
            let (source, target) = (faulty::source(source), faulty::target(target));
            options.databases = databases;
            options.handover = handover;
            let work =
                |stop| async move { engine::migrate(&*source, &*target, direction, &options, tracker, &stop).await };
            room::watched(written, stop, work).await
        }
        Err(halt) => engine::not_started(&halt, direction, started),
    }
}

/// A digest of what a migration is about: it stands in a file, where an address has no place.
fn fill_id(what: &str) -> String {
    Sha256::digest(what).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// Opens both ends and compares them. Whatever happens is in the outcome; nothing is written.
pub async fn verify(
    source: Endpoint,
    target: Endpoint,
    options: &Options,
    tracker: Tracker,
    stop: &CancellationToken,
) -> Outcome {
    let direction = Endpoint::direction(&source, &target);
    let started = SystemTime::now();
    let opened = async {
        let (source, databases) = source.open_selected(&options.selection).await.map_err(Halt::Source)?;
        let scope = Scope::of_target(&options.selection, &databases);
        Ok((source, target.open_for(&scope, Side::Target).await.map_err(Halt::Target)?, databases))
    };
    match opened.await {
        Ok((source, target, databases)) => {
            let options = Options { databases, ..options.clone() };
            engine::verify(&*source, &*target, direction, &options, tracker, stop).await
        }
        Err(halt) => engine::not_started(&halt, direction, started),
    }
}

/// Looks at files and processes, beside the runtime's threads.
async fn related(source: &Endpoint, target: &Endpoint) -> Relation {
    let (source, target) = (source.clone(), target.clone());
    tokio::task::spawn_blocking(move || relation::of(&source, &target)).await.unwrap_or_default()
}

async fn open_target(
    target: Endpoint,
    writer: LocalWriter,
    scope: Scope,
    fill: Option<String>,
) -> Result<(Box<dyn Target>, Option<Handover>)> {
    let target: Box<dyn Target> = match (target, writer) {
        (Endpoint::Remote(server), _) => {
            Box::new(RemoteTarget(scope.of_server(http::open(*server).await?)?.into_writer().await?))
        }
        (Endpoint::Local(folder), LocalWriter::Program(program)) => {
            Box::new(LocalTarget::open(folder, scope, program, fill).await?)
        }
        (Endpoint::Local(folder), LocalWriter::Sidecar(pod)) => return pod::target(folder, scope, *pod, fill).await,
    };
    Ok((target, None))
}

/// A server as a target: it is there already, and stays.
struct RemoteTarget(HttpWriter);

#[async_trait]
impl Target for RemoteTarget {
    fn name(&self) -> String {
        self.0.name()
    }

    fn current(&self) -> Option<&dyn Reader> {
        Some(&self.0)
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        Ok(self.0.capabilities())
    }

    async fn checks(&self, _load: Load) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    async fn open(&self) -> Result<&dyn Writer> {
        Ok(&self.0)
    }

    fn files(&self) -> Option<&dyn Reader> {
        None
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Which end of a run a store is, or a source to be looked at.
#[derive(Clone, Copy, Debug)]
enum Side {
    Source,
    Target,
}

/// Opens a folder. The one place that says what may be kept of an index: what is lost from a target's files has to be seen by
/// each look that judges it, and a source's record is what it was when it was read.
async fn open_files(folder: &Folder, side: Side) -> Result<LocalStore> {
    let Folder { path, tenant, database } = folder;
    match side {
        Side::Source => LocalStore::open_source(path, tenant, database).await,
        Side::Target => LocalStore::open(path, tenant, database).await,
    }
}

/// What is in the folder before anything is written: None for no store yet, for one whose making was cut short, and for
/// one without this tenant and database, which the server makes.
async fn before(folder: &Folder, scope: &Scope) -> Result<Option<LocalStore>> {
    let found = async {
        let store = scope.of_local(open_files(folder, Side::Target).await?);
        // opening does not look for the tenant and the database
        store.collections().await.map(|_| store)
    };
    match found.await {
        Ok(store) => Ok(Some(store)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error @ (Error::Unsupported { .. } | Error::Damaged { .. })) => {
            birth::or_empty(&folder.path, error).map(|()| None)
        }
        Err(error) => Err(error),
    }
}

fn refused(check: &'static str, message: String, remedy: &str) -> Finding {
    Finding { check, problem: Some(Problem { remedy: remedy.to_owned(), may_pass: false }), message }
}

fn passed(check: &'static str, message: String) -> Finding {
    Finding { check, problem: None, message }
}
