//! From a description of two ends to open stores and the engine: the only place that picks an implementation.

pub mod local_target;

use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::engine::progress::Tracker;
use crate::engine::{self, Halt, Options, Outcome};
use crate::report::Direction;
use crate::store::http::{self, HttpWriter, ServerConfig};
use crate::store::local::LocalStore;
use crate::store::{Capabilities, Error, Finding, Reader, Result, Target, Writer};
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
    Remote(ServerConfig),
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
        Ok(match self {
            Self::Local(Folder { path, tenant, database }) => {
                Box::new(LocalStore::open(&path, &tenant, &database).await?)
            }
            Self::Remote(server) => Box::new(http::open(server).await?),
        })
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
    /// The Chroma program that writes a local target; None is `chroma` on PATH.
    pub chroma_bin: Option<PathBuf>,
}

/// Opens both ends and migrates. Whatever happens is in the outcome.
pub async fn migrate(request: Request, tracker: Tracker, stop: &CancellationToken) -> Outcome {
    let Request { source, target, options, chroma_bin } = request;
    let direction = Endpoint::direction(&source, &target);
    let started = SystemTime::now();
    let opened = async {
        let source = source.open().await.map_err(Halt::Source)?;
        Ok((source, open_target(target, chroma_bin).await.map_err(Halt::Target)?))
    };
    match opened.await {
        Ok((source, target)) => engine::migrate(&*source, &*target, direction, &options, tracker, stop).await,
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
    let opened = async {
        let source = source.open().await.map_err(Halt::Source)?;
        Ok((source, target.open().await.map_err(Halt::Target)?))
    };
    match opened.await {
        Ok((source, target)) => engine::verify(&*source, &*target, direction, options, tracker, stop).await,
        Err(halt) => engine::not_started(&halt, direction, started),
    }
}

async fn open_target(target: Endpoint, chroma_bin: Option<PathBuf>) -> Result<Box<dyn Target>> {
    Ok(match target {
        Endpoint::Remote(server) => Box::new(RemoteTarget(http::open(server).await?.into_writer().await?)),
        Endpoint::Local(folder) => Box::new(LocalTarget::open(folder, chroma_bin).await?),
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
