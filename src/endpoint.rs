//! From a description of two ends to open stores and the engine: the only place that picks an implementation.

pub mod child;
mod local_target;
mod own_writer;
mod relation;
mod room;
pub mod serving;
mod sidecar_target;
mod sockets;

use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::chroma::Capabilities;
use crate::engine::progress::Tracker;
use crate::engine::{self, Halt, Options, Outcome, Relation, Selection};
use crate::model::{Error, Result};
use crate::report::Direction;
use crate::store::files::LocalStore;
use crate::store::files::sqlite::birth;
use crate::store::http::{self, HttpWriter, ServerConfig};
use crate::store::{Finding, Problem, Reader, Target, Writer};
use local_target::LocalTarget;
use sidecar_target::SidecarTarget;

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

    /// Opens it to read.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn open(self) -> Result<Box<dyn Reader>> {
        self.open_for(None).await
    }

    /// As `open`, for a run that looks at collections of these names only; None: at all of them.
    async fn open_for(self, names: Option<Vec<String>>) -> Result<Box<dyn Reader>> {
        Ok(match self {
            Self::Local(Folder { path, tenant, database }) => {
                Box::new(LocalStore::open(&path, &tenant, &database).await?)
            }
            Self::Remote(server) => {
                let store = http::open(*server).await?;
                Box::new(match names {
                    Some(names) => store.probing_only(names),
                    None => store,
                })
            }
        })
    }
}

/// The collections that a run looks at, on each side: a server is not asked about any other.
struct Names {
    source: Option<Vec<String>>,
    target: Option<Vec<String>>,
}

impl Names {
    fn of(options: &Options) -> Self {
        let all = &options.collections;
        let names = |of: fn(&Selection) -> &String| (!all.is_empty()).then(|| all.iter().map(of).cloned().collect());
        Self { source: names(|selection| &selection.name), target: names(|selection| &selection.target_name) }
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
    Sidecar {
        /// Where it answers; None while it does not run yet, which is enough for preflight.
        url: Option<Url>,
        /// Its image, whose tag tells which layout it writes.
        image: Option<String>,
    },
}

/// Opens both ends and migrates. Whatever happens is in the outcome.
pub async fn migrate(request: Request, tracker: Tracker, stop: &CancellationToken) -> Outcome {
    let Request { source, target, mut options, writer } = request;
    options.relation = related(&source, &target).await;
    let direction = Endpoint::direction(&source, &target);
    let started = SystemTime::now();
    let names = Names::of(&options);
    let written = match &target {
        Endpoint::Local(folder) if !options.dry_run => Some(folder.path.clone()),
        _ => None,
    };
    let opened = async {
        let source = source.open_for(names.source).await.map_err(Halt::Source)?;
        Ok((source, open_target(target, writer, names.target).await.map_err(Halt::Target)?))
    };
    match opened.await {
        Ok((source, target)) => {
            let work =
                |stop| async move { engine::migrate(&*source, &*target, direction, &options, tracker, &stop).await };
            room::watched(written, stop, work).await
        }
        Err(halt) => engine::not_started(&halt, direction, started),
    }
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
    let names = Names::of(options);
    let opened = async {
        let source = source.open_for(names.source).await.map_err(Halt::Source)?;
        Ok((source, target.open_for(names.target).await.map_err(Halt::Target)?))
    };
    match opened.await {
        Ok((source, target)) => engine::verify(&*source, &*target, direction, options, tracker, stop).await,
        Err(halt) => engine::not_started(&halt, direction, started),
    }
}

/// Looks at files and processes, beside the runtime's threads.
async fn related(source: &Endpoint, target: &Endpoint) -> Relation {
    let (source, target) = (source.clone(), target.clone());
    tokio::task::spawn_blocking(move || relation::of(&source, &target)).await.unwrap_or_default()
}

async fn open_target(target: Endpoint, writer: LocalWriter, names: Option<Vec<String>>) -> Result<Box<dyn Target>> {
    Ok(match target {
        Endpoint::Remote(server) => {
            let writer = http::open(*server).await?.into_writer().await?;
            Box::new(RemoteTarget(match names {
                Some(names) => writer.probing_only(names),
                None => writer,
            }))
        }
        Endpoint::Local(folder) => match writer {
            LocalWriter::Program(program) => Box::new(LocalTarget::open(folder, program).await?),
            LocalWriter::Sidecar { url, image } => Box::new(SidecarTarget::open(folder, url, image).await?),
        },
    })
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

    async fn checks(&self, _bytes: u64) -> Result<Vec<Finding>> {
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

async fn open_files(folder: &Folder) -> Result<LocalStore> {
    LocalStore::open(&folder.path, &folder.tenant, &folder.database).await
}

/// What is in the folder before anything is written: None for no store yet, for one whose making was cut short, and for
/// one without this tenant and database, which the server makes.
async fn before(folder: &Folder) -> Result<Option<LocalStore>> {
    let found = async {
        let store = open_files(folder).await?;
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
