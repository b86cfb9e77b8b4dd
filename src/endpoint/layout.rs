//! Who lays out the empty store that is filled: a Chroma that is started for it, or one that runs beside us in the pod. Writes no
//! record.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use url::Url;

use super::child::server::Program;
use super::started::{STARTING, started};
use super::{Folder, LayoutServer, Scope, limit, twins};
use crate::chroma::{Capabilities, NewCollection};
use crate::fill::{import, layout, state};
use crate::model::{Collection, Metadata, Result};
use crate::store::Writer as _;
use crate::store::files::system::io_error;
use crate::store::files::{self, DATABASE};
use crate::store::http::{self, HttpWriter, ServerConfig};

/// The database for the throw-away collections of samples, where a layout server has the target's, too.
const SAMPLES: &str = "memory-migration-samples";

/// Who lays stores out.
#[derive(Clone, Debug)]
pub(super) enum Layouter {
    /// This program, started on a folder of its own.
    Program(Program),
    /// A server of the pod, which cannot be ended: all that is asked of it happens in one store.
    Beside(LayoutServer),
}

/// What came of it.
pub(super) enum LaidOut {
    /// The collections.
    Made(Vec<Collection>),
    /// Why stores of this Chroma are not filled.
    Unfillable(String),
}

impl Layouter {
    /// Bytes of memory that the server has that will build the index; None where nobody knows.
    pub(super) fn room(&self) -> Option<u64> {
        match self {
            Self::Program(_) => limit::here(),
            Self::Beside(server) => limit::of_a_server(server.memory),
        }
    }

    /// Lays out an empty store with these collections, and copies its database to `into`.
    pub(super) async fn lay(
        &self,
        folder: &Folder,
        scope: &Scope,
        new: &[&NewCollection],
        into: &Path,
    ) -> Result<LaidOut> {
        match self {
            Self::Program(program) => by_program(program, folder, scope, new, into).await,
            Self::Beside(server) => beside(server, folder, scope, new, into).await,
        }
    }
}

async fn by_program(
    program: &Program,
    folder: &Folder,
    scope: &Scope,
    new: &[&NewCollection],
    into: &Path,
) -> Result<LaidOut> {
    let scratch = tempfile::Builder::new().prefix("memory-migration-layout-").tempdir();
    let scratch = scratch.map_err(|e| io_error("create a scratch folder in", &std::env::temp_dir(), e))?;
    let folder = Folder { path: scratch.path().to_owned(), ..folder.clone() };
    let (server, store) = started(program, &folder).await?;
    let writer = scope.of_server(store)?.into_writer().await?;
    let made = collections(&writer, new).await?;
    server.stop().await?;
    import::template(&scratch.path().join(DATABASE), into)?;
    Ok(LaidOut::Made(made))
}

/// The template is taken before samples are tried, so that nothing of them is in it.
async fn beside(
    server: &LayoutServer,
    folder: &Folder,
    scope: &Scope,
    new: &[&NewCollection],
    into: &Path,
) -> Result<LaidOut> {
    let database = server.folder.join(DATABASE);
    let writer = scope.of_server(http::open(config(&server.url, &folder.tenant, &folder.database)).await?)?;
    let writer = writer.into_writer().await?;
    if let Some(why) = unusable(&database, &server.folder)? {
        return Ok(LaidOut::Unfillable(why));
    }
    let made = collections(&writer, new).await?;
    import::template(&database, into)?;
    let samples = http::open(config(&server.url, &Folder::new(PathBuf::new()).tenant, SAMPLES)).await?;
    let samples = samples.into_writer().await?;
    samples.ensure_place().await?;
    let found = files::layout(&server.folder)?;
    Ok(match twins::problem(&samples, &server.folder, &found).await {
        Some(why) => LaidOut::Unfillable(why),
        None => LaidOut::Made(made),
    })
}

/// Why the layout server's store is no template for ours.
fn unusable(database: &Path, folder: &Path) -> Result<Option<String>> {
    let found = std::fs::metadata(database).map_err(|e| io_error("look at", database, e))?;
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us {
        return Ok(Some(format!("its server runs as user {}, and this program as user {us}", found.uid())));
    }
    if let Some(why) = layout::problem(&files::layout(folder)?) {
        return Ok(Some(why));
    }
    let is_used = !state::is_unused(database)?;
    Ok(is_used.then(|| "its server has laid out a store before: a container of the pod was started again".to_owned()))
}

async fn collections(writer: &HttpWriter, new: &[&NewCollection]) -> Result<Vec<Collection>> {
    writer.ensure_place().await?;
    let mut made = Vec::with_capacity(new.len());
    for new in new {
        let collection = writer.create(new).await?;
        if !new.later.is_empty() {
            let all: Metadata = new.metadata.iter().chain(&new.later).map(|(k, v)| (k.clone(), v.clone())).collect();
            writer.set_metadata(&collection, &all).await?;
        }
        made.push(collection);
    }
    Ok(made)
}

/// How a layout server is reached.
fn config(url: &Url, tenant: &str, database: &str) -> ServerConfig {
    let mut config = ServerConfig::new(url.clone());
    tenant.clone_into(&mut config.tenant);
    database.clone_into(&mut config.database);
    config.timeouts.start = STARTING;
    config
}

/// What a layout server can take, which is of the target's image.
pub(super) async fn capabilities(server: &LayoutServer, folder: &Folder, scope: &Scope) -> Result<Capabilities> {
    let store = http::open(config(&server.url, &folder.tenant, &folder.database)).await?;
    Ok(scope.of_server(store)?.into_writer().await?.capabilities())
}
