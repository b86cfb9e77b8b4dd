//! A local store as a target in a pod: the Chroma server that writes it runs beside us and is started and ended by the
//! kubelet. We see the folder read-only.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use url::Url;

use super::filled::Elsewhere;
use super::local_target::{disk_space, existing, refuse_no_way};
use super::own_writer::OwnWriter;
use super::started::STARTING;
use super::{Folder, Pod, Scope, Side, before, indexing, open_files, passed, refused};
use crate::chroma::Capabilities;
use crate::engine::handover::Filled;
use crate::model::{Collection, Error, Result};
use crate::store::files::sqlite::birth;
use crate::store::files::{self, Layout, LocalStore};
use crate::store::http::{self, HttpWriter, ServerConfig};
use crate::store::{Finding, Load, Reader, Target, Writer};

/// A folder that a server in the same pod writes.
pub(super) struct SidecarTarget {
    folder: Folder,
    scope: Scope,
    url: Option<Url>,
    image: Option<String>,
    before: Option<LocalStore>,
    /// Where its files are filled by another container was asked for.
    fill: Option<Elsewhere>,
    running: OnceCell<OwnWriter>,
}

impl SidecarTarget {
    /// Looks at the folder, which may be missing or empty; beside a server only once that answers, for until then it
    /// may be making the tables of a new store. `fill` names the migration, where its files are to be filled.
    pub(super) async fn open(folder: Folder, scope: Scope, pod: &Pod, fill: Option<&str>) -> Result<Self> {
        refuse_no_way(&folder.path)?;
        let Pod { url, image, .. } = pod.clone();
        let mut target = Self { folder, scope, url, image, before: None, fill: None, running: OnceCell::new() };
        if let Some(config) = target.server() {
            http::open(config).await?;
        }
        target.fill = match (fill, &target.url) {
            (None, _) => None,
            (Some(migration), None) => Some(Elsewhere::before(&target.folder, migration)?),
            (Some(migration), Some(_)) => Some(Elsewhere::after(&target.folder, migration, pod.handover.as_deref())?),
        };
        if !target.is_left() {
            target.before = before(&target.folder, &target.scope).await?;
        }
        Ok(target)
    }

    /// What this migration has filled counts as nothing that was there before it.
    fn is_left(&self) -> bool {
        self.fill.as_ref().is_some_and(Elsewhere::is_left)
    }

    /// What the container before has filled, to go on with.
    pub(super) fn filled(&self) -> Option<&Filled> {
        self.fill.as_ref()?.filled()
    }

    fn server(&self) -> Option<ServerConfig> {
        let mut config = ServerConfig::new(self.url.clone()?);
        config.tenant.clone_from(&self.folder.tenant);
        config.database.clone_from(&self.folder.database);
        config.timeouts.start = STARTING;
        Some(config)
    }

    async fn writer(&self) -> Result<HttpWriter> {
        let Some(config) = self.server() else {
            return Err(Error::Unsupported {
                store: self.name(),
                why: "no server writes it yet".to_owned(),
                remedy: "give the address of the one that does (--writer-url)".to_owned(),
            });
        };
        self.scope.of_server(http::open(config).await?)?.into_writer().await
    }

    async fn running(&self) -> Result<&OwnWriter> {
        self.running.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<OwnWriter> {
        let writer = self.writer().await?;
        writer.ensure_place().await?;
        OwnWriter::new(writer, self.scope.of_local(open_files(&self.folder, Side::Target).await?)).await
    }

    /// Before the server runs only its image's tag tells what it will make of an existing store.
    fn layout(&self) -> Result<Finding> {
        let check = "target-layout";
        if self.url.is_some() || self.is_left() || !self.folder.path.join(files::DATABASE).exists() {
            return Ok(passed(check, "the server's own".to_owned()));
        }
        if let Some(there) = birth::empty(&self.folder.path)?.filter(|there| there.check().is_err()) {
            return Ok(passed(check, format!("an empty store, which was not made to its end: {}", there.version())));
        }
        let there = files::layout(&self.folder.path)?;
        let image = self.image.as_deref().unwrap_or("the default image");
        let (least, most) = writes(self.image.as_deref());
        let found = Last::of(&there);
        // Chroma applies the migrations that a store lacks as soon as it opens it; one that has them all stays as it is
        if found == most {
            let message = format!("the store has the {}, as {image} writes it", there.version());
            return Ok(passed(check, message));
        }
        let relation = match found {
            older if older != least && older.is_older(least) => "would change it for good",
            between if between.is_older(most) => "may change it for good: what it writes is known only within bounds",
            _ => "cannot open it",
        };
        Ok(refused(
            check,
            format!("the store has the {}; {image} {relation}", there.version()),
            "set spec.target.local.image to the Chroma that wrote the store, or upgrade the store on purpose first: back it \
             up, then start the newer Chroma on it once",
        ))
    }

    fn writable(&self) -> Finding {
        let check = "target-files";
        let there = existing(&self.folder.path);
        let database = self.folder.path.join(files::DATABASE);
        for file in [there, database.as_path()] {
            let Ok(found) = std::fs::metadata(file) else { continue };
            if !may_write(&found) {
                let owner = format!("owner {}:{}, mode {:o}", found.uid(), found.gid(), found.mode() & 0o7777);
                let us = rustix::process::geteuid().as_raw();
                let message = format!("{} ({owner}) cannot be written by the runner's user {us}", file.display());
                let remedy = "set spec.runner.podTemplate.spec.securityContext.runAsUser (and fsGroup) to the owner's";
                return refused(check, message, remedy);
            }
        }
        passed(check, format!("{} can be written", there.display()))
    }
}

/// The last migration of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    queue: i64,
    metadb: i64,
    sysdb: i64,
}

impl Last {
    fn of(layout: &Layout) -> Self {
        let last = |kind| layout.last(kind);
        Self { queue: last("embeddings_queue"), metadb: last("metadb"), sysdb: last("sysdb") }
    }

    /// Whether a Chroma that writes the other would migrate this.
    const fn is_older(self, other: Self) -> bool {
        self.queue <= other.queue && self.metadb <= other.metadb && self.sysdb <= other.sysdb
    }
}

/// The version that an image's tag names; None for another tag, a digest, or none.
fn version(image: Option<&str>) -> Option<(u32, u32, u32)> {
    let name = image?.rsplit('/').next()?.split('@').next()?;
    let mut numbers = name.split_once(':')?.1.split('.').map(|part| part.parse::<u32>().ok());
    let version = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(version)
}

/// The last migrations that the Chroma of an image makes, at least and at most. The packages named here were counted
/// (1.3.0 and 1.4.0: by the names of tables in their programs), and none takes a migration back; a version between two that
/// differ is only known within both. An image without a version is taken for the newest.
fn writes(image: Option<&str>) -> (Last, Last) {
    let last = |queue, metadb, sysdb| Last { queue, metadb, sysdb };
    let (none, of_0_4, of_0_5) = (last(0, 0, 0), last(1, 3, 4), last(2, 4, 9));
    let (of_1_0, of_1_3, of_1_5) = (last(2, 5, 9), last(2, 5, 10), last(2, 6, 10));
    match version(image) {
        Some((0, 0..4, _) | (0, 4, 0..15)) => (none, of_0_4),
        // 0.4.15 and 0.4.24
        Some((0, 4, 15..)) => (of_0_4, of_0_4),
        Some((0, 5, 0..16)) => (of_0_4, of_0_5),
        // 0.5.16, 0.5.23 and 0.6.3
        Some((0, 5.., _)) => (of_0_5, of_0_5),
        // 1.0.0, 1.0.20 and 1.1.0
        Some((1, 0, _) | (1, 1, 0)) => (of_1_0, of_1_0),
        Some((1, 1..3, _)) => (of_1_0, of_1_3),
        // 1.3.0 and 1.4.0
        Some((1, 3, _) | (1, 4, 0)) => (of_1_3, of_1_3),
        Some((1, 4, _) | (1, 5, 0..9)) => (of_1_3, of_1_5),
        // 1.5.9
        Some((1.., _, _)) | None => (of_1_5, of_1_5),
    }
}

/// What the server of an image takes, before it is there to be asked.
fn expected(image: Option<&str>) -> Capabilities {
    let number = version(image).unwrap_or(NEWEST);
    let newest = number >= (1, 1, 0);
    Capabilities {
        version: format!("{}.{}.{}", number.0, number.1, number.2),
        configuration: number >= (1, 0, 0),
        schema: newest,
        arrays: newest,
        ..Capabilities::newest()
    }
}

/// What an image without a version is taken for.
const NEWEST: (u32, u32, u32) = (1, 5, 9);

/// As the kernel decides, but for a mount that is read-only to us and not to the server, which runs as the same user.
fn may_write(file: &Metadata) -> bool {
    let (user, mode) = (rustix::process::geteuid().as_raw(), file.mode());
    if user == 0 {
        return true;
    }
    if file.uid() == user {
        return mode & 0o200 != 0;
    }
    let mut groups: Vec<u32> = rustix::process::getgroups().unwrap_or_default().iter().map(|g| g.as_raw()).collect();
    groups.push(rustix::process::getegid().as_raw());
    if groups.contains(&file.gid()) {
        return mode & 0o020 != 0;
    }
    mode & 0o002 != 0
}

#[async_trait]
impl Target for SidecarTarget {
    fn name(&self) -> String {
        format!("local store {}", self.folder.path.display())
    }

    fn current(&self) -> Option<&dyn Reader> {
        self.before.as_ref().map(|store| store as &dyn Reader)
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        match (&self.url, &self.before) {
            (Some(_), Some(_)) => Ok(self.running().await?.capabilities()),
            // to connect makes the database, and nothing is written before preflight has ended
            (Some(_), None) => Ok(self.writer().await?.capabilities()),
            (None, _) => Ok(expected(self.image.as_deref())),
        }
    }

    async fn checks(&self, load: Load) -> Result<Vec<Finding>> {
        let findings = [self.layout()?, self.writable(), disk_space(&self.folder.path, load.bytes)?];
        Ok(findings.into_iter().chain(self.fill.as_ref().map(Elsewhere::finding)).collect())
    }

    async fn index(&self, collection: &Collection, dimension: usize) -> Result<()> {
        let Some(config) = self.server() else { return Ok(()) };
        // whether its process ends, its container shows: a request under way is cut then
        indexing::build(config, std::future::pending(), collection, dimension).await?;
        self.fill.iter().for_each(Elsewhere::indexed);
        Ok(())
    }

    async fn open(&self) -> Result<&dyn Writer> {
        Ok(self.running().await?)
    }

    fn files(&self) -> Option<&dyn Reader> {
        self.running.get().map(|writer| writer.files() as &dyn Reader)
    }

    async fn close(&self) -> Result<()> {
        let (Some(fill), Some(config)) = (self.fill.as_ref().filter(|fill| fill.is_whole()), self.server()) else {
            return Ok(());
        };
        // the kubelet ends a server that has nothing to do any more, and gives it time
        http::open(config).await?;
        fill.settle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_tells_the_layout_and_a_digest_nothing() {
        let last = |queue, metadb, sysdb| Last { queue, metadb, sysdb };
        let of = |queue, metadb, sysdb| (last(queue, metadb, sysdb), last(queue, metadb, sysdb));
        for (image, expected) in [
            (Some("chromadb/chroma:1.5.9"), of(2, 6, 10)),
            (Some("chromadb/chroma:1.5.3"), (last(2, 5, 10), last(2, 6, 10))),
            (Some("registry:5000/chroma:1.0.20"), of(2, 5, 9)),
            (Some("chromadb/chroma:1.3.7"), of(2, 5, 10)),
            (Some("chromadb/chroma:1.2.0"), (last(2, 5, 9), last(2, 5, 10))),
            (Some("chromadb/chroma:0.6.3"), of(2, 4, 9)),
            (Some("chromadb/chroma:0.5.23"), of(2, 4, 9)),
            (Some("chromadb/chroma:0.5.5"), (last(1, 3, 4), last(2, 4, 9))),
            (Some("chromadb/chroma:0.4.24"), of(1, 3, 4)),
            (Some("registry:5000/chroma:1.0.20@sha256:00"), of(2, 5, 9)),
            (Some("registry:5000/chroma@sha256:00"), of(2, 6, 10)),
            (Some("registry:5000/chroma:latest"), of(2, 6, 10)),
            (None, of(2, 6, 10)),
        ] {
            assert_eq!(writes(image), expected, "{image:?}");
        }
    }

    #[test]
    fn preflight_expects_of_an_older_server_what_that_takes() {
        let takes = |image| {
            let Capabilities { configuration, schema, arrays, .. } = expected(Some(image));
            (configuration, schema, arrays)
        };
        assert_eq!(takes("chromadb/chroma:1.5.9"), (true, true, true));
        assert_eq!(takes("chromadb/chroma:1.0.20"), (true, false, false));
        assert_eq!(takes("registry:5000/chroma:0.6.3"), (false, false, false));
    }

    #[tokio::test]
    async fn preflight_needs_no_server_and_writing_does() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("store"));
        let target = SidecarTarget::open(folder, Scope::default(), &Pod::default(), None).await.unwrap();
        assert!(target.current().is_none());
        assert!(target.capabilities().await.unwrap().schema);
        let findings = target.checks(Load::default()).await.unwrap();
        assert!(findings.iter().all(|f| f.problem.is_none()), "{findings:?}");
        let error = target.open().await.err().unwrap().to_string();
        assert!(error.contains("--writer-url"), "{error}");
        assert!(!dir.path().join("store").exists());
    }
}
