//! A local store as a target: read from its files before and after, written by a Chroma server started on it in between.
//! Writes no file of the store itself: what changes one is in `child`.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::sync::{Mutex, OnceCell};

use super::child::anew;
use super::child::lock::{self, Lock};
use super::child::server::{Program, Server};
use super::filling::Filling;
use super::layout::Layouter;
use super::own_writer::OwnWriter;
use super::started::{config, started};
use super::{Folder, Scope, Side, indexing, open_files, passed, refused, twins};
use crate::chroma::Capabilities;
use crate::fill::place::Place;
use crate::model::{Collection, Error, Result};
use crate::store::files::sqlite::birth;
use crate::store::files::system::io_error;
use crate::store::files::{self, Layout, LocalStore, Order};
use crate::store::http::HttpWriter;
use crate::store::{Filler, Finding, Load, Problem, Reader, Target, Writer};

/// Disk that Chroma needs for a record, in sizes of its plain content: log, index, columns and full-text index.
const DISK_FACTOR: u64 = 5;

/// A folder that a server is started on once preflight has passed.
pub(super) struct LocalTarget {
    folder: Folder,
    scope: Scope,
    program: Program,
    before: Option<LocalStore>,
    /// Where its files are filled was asked for.
    filling: Option<Filling>,
    engine: OnceCell<Engine>,
    running: OnceCell<Running>,
    /// The server that was started once more.
    again: OnceCell<Running>,
    /// Why the first server did not end as it should.
    killed: Mutex<Option<Error>>,
}

/// What the program is, found out on an empty scratch folder.
struct Engine {
    capabilities: Capabilities,
    layout: Layout,
    /// Why its stores are not filled by their files, where that was asked.
    unfillable: Option<String>,
}

struct Running {
    writer: OwnWriter,
    held: Mutex<Option<(Server, Lock)>>,
}

impl Running {
    /// Ends the server; whether it ran until now, and had time to close.
    async fn stop(&self) -> Result<bool> {
        let Some((mut server, lock)) = self.held.lock().await.take() else { return Ok(false) };
        let was_up = server.is_up();
        let stopped = server.stop().await;
        // only now may another run write the store
        drop(lock);
        stopped.map(|()| was_up)
    }
}

impl LocalTarget {
    /// Looks at the folder, which may be missing or empty, and finds the program. Starts nothing. `fill` names the migration,
    /// where that is to fill the files of a new store.
    ///
    /// # Errors
    /// [`Error::NotFound`] without a program; [`Error::Unsupported`] for a folder that holds something else;
    /// [`Error::Damaged`] for a store that is.
    pub(super) async fn open(
        mut folder: Folder,
        scope: Scope,
        chroma_bin: Option<PathBuf>,
        fill: Option<String>,
    ) -> Result<Self> {
        let program = Program::find(chroma_bin.as_deref())?;
        // the server has another working folder
        folder.path = std::path::absolute(&folder.path).map_err(|e| io_error("find", &folder.path, e))?;
        refuse_no_way(&folder.path)?;
        let filling =
            fill.map(|migration| Filling::new(Layouter::Program(program.clone()), &folder, &scope, migration));
        let is_left = match &filling {
            Some(filling) => filling.look()?,
            None => false,
        };
        let before = if is_left { None } else { super::before(&folder, &scope).await? };
        Ok(Self {
            folder,
            scope,
            program,
            before,
            filling,
            engine: OnceCell::new(),
            running: OnceCell::new(),
            again: OnceCell::new(),
            killed: Mutex::default(),
        })
    }

    async fn engine(&self) -> Result<&Engine> {
        self.engine.get_or_try_init(|| probe(&self.program, self.filling.is_some())).await
    }

    async fn start(&self) -> Result<Running> {
        let path = &self.folder.path;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| io_error("create", parent, e))?;
        }
        let lock = match &self.filling {
            Some(filling) => filling.lock().await?,
            None => Lock::take(path)?,
        };
        lock::refuse_users(path)?;
        std::fs::create_dir_all(path).map_err(|e| io_error("create", path, e))?;
        anew::clear(path, &self.engine().await?.layout)?;
        let (server, store) = started(&self.program, &self.folder).await?;
        let writer = self.scope.of_server(store)?.into_writer().await?;
        writer.ensure_place().await?;
        tracing::info!(folder = %path.display(), "a Chroma server writes the target");
        self.running(server, writer, lock).await
    }

    /// A server was ended; `cleanly`: it ran until then. What was filled is then Chroma's own, whichever run filled it.
    fn closed(&self, cleanly: bool) -> Result<()> {
        match Place::of(&self.folder.path)?.filter(|_| cleanly) {
            Some(place) => place.unmark(),
            None => Ok(()),
        }
    }

    async fn running(&self, server: Server, writer: HttpWriter, lock: Lock) -> Result<Running> {
        let writer = OwnWriter::new(writer, self.scope.of_local(open_files(&self.folder, Side::Target).await?)).await?;
        Ok(Running { writer, held: Mutex::new(Some((server, lock))) })
    }

    /// Starts a server once more on what the first one left, under that one's lock, so that nobody writes in between. Makes
    /// and clears nothing.
    async fn start_again(&self, lock: Lock) -> Result<Running> {
        let path = &self.folder.path;
        lock::refuse_users(path)?;
        let (server, store) = started(&self.program, &self.folder).await?;
        let writer = self.scope.of_server(store)?.into_writer().await?;
        tracing::info!(folder = %path.display(), "a new Chroma server is asked what the target holds");
        self.running(server, writer, lock).await
    }

    fn layout_finding(&self, engine: &Engine) -> Result<Finding> {
        let check = "target-layout";
        let engine = &engine.layout;
        let is_replaced = self.filling.as_ref().is_some_and(|filling| filling.is_again() && filling.is_possible());
        if is_replaced || !self.folder.path.join("chroma.sqlite3").exists() {
            return Ok(passed(check, format!("a new store: {}", engine.version())));
        }
        if birth::empty(&self.folder.path)?.is_some_and(|there| birth::is_beginning(&there, engine)) {
            return Ok(passed(check, format!("an empty store, which is made ready: {}", engine.version())));
        }
        let there = files::layout(&self.folder.path)?;
        let message = |relation| format!("the store has the {}, {relation} {}", there.version(), engine.version());
        Ok(match there.compare(engine) {
            Order::Equal => passed(check, message("as the program that writes it:")),
            Order::Older => refused(
                check,
                message("older than that of the program that would write it, and would be changed for good:"),
                "name the Chroma that wrote it with --chroma-bin, or upgrade the store on purpose first: back it up, \
                 then start the newer Chroma on it once",
            ),
            Order::Newer | Order::Diverged => refused(
                check,
                message("which the program that would write it does not know:"),
                "name the Chroma that wrote it with --chroma-bin",
            ),
        })
    }
}

#[async_trait]
impl Target for LocalTarget {
    fn name(&self) -> String {
        format!("local store {}", self.folder.path.display())
    }

    fn current(&self) -> Option<&dyn Reader> {
        self.before.as_ref().map(|store| store as &dyn Reader)
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        Ok(self.engine().await?.capabilities.clone())
    }

    async fn checks(&self, load: Load) -> Result<Vec<Finding>> {
        let path = &self.folder.path;
        lock::refuse_users(path)?;
        let engine = self.engine().await?;
        let filling = self.filling.as_ref();
        let filled = filling.map(|filling| filling.decide(engine.unfillable.as_deref(), load)).transpose()?;
        let load = if filling.is_some_and(Filling::is_possible) { with_log(load) } else { load };
        let findings = [self.layout_finding(engine)?, writable(path), disk_space(path, load.bytes)?];
        Ok(findings.into_iter().chain(filled).collect())
    }

    fn filler(&self) -> Option<&dyn Filler> {
        self.filling.as_ref().filter(|filling| filling.is_possible()).map(|filling| filling as &dyn Filler)
    }

    async fn index(&self, collection: &Collection, dimension: usize) -> Result<()> {
        let Some(running) = self.running.get() else { return Ok(()) };
        match running.held.lock().await.as_mut() {
            Some((server, _)) => {
                let config = config(server, &self.folder)?;
                indexing::build(config, server.ended(), collection, dimension).await
            }
            None => Ok(()),
        }
    }

    async fn open(&self) -> Result<&dyn Writer> {
        Ok(&self.running.get_or_try_init(|| self.start()).await?.writer)
    }

    fn files(&self) -> Option<&dyn Reader> {
        self.running.get().map(|running| running.writer.files() as &dyn Reader)
    }

    async fn restarted(&self) -> Result<Option<&dyn Reader>> {
        let Some(running) = self.running.get() else { return Ok(None) };
        let Some((mut server, lock)) = running.held.lock().await.take() else { return Ok(None) };
        let was_up = server.is_up();
        match server.stop().await {
            Ok(()) => self.closed(was_up)?,
            Err(error) => *self.killed.lock().await = Some(error),
        }
        Ok(Some(&self.again.get_or_try_init(|| self.start_again(lock)).await?.writer))
    }

    async fn close(&self) -> Result<()> {
        if let Some(filling) = &self.filling {
            filling.abandon().await;
        }
        for running in [&self.running, &self.again].into_iter().filter_map(OnceCell::get) {
            self.closed(running.stop().await?)?;
        }
        self.killed.lock().await.take().map_or(Ok(()), Err)
    }
}

/// Runs the program on an empty scratch folder: its version does not tell its layout (every 1.x says 1.0.0).
/// `fill`: also finds out whether its stores can be filled by their files.
async fn probe(program: &Program, fill: bool) -> Result<Engine> {
    let scratch = tempfile::Builder::new().prefix("memory-migration-probe-").tempdir();
    let scratch = scratch.map_err(|e| io_error("create a scratch folder in", &std::env::temp_dir(), e))?;
    let (server, store) = started(program, &Folder::new(scratch.path().to_owned())).await?;
    let writer = store.into_writer().await?;
    let layout = files::layout(scratch.path())?;
    let unfillable = if fill { twins::problem(&writer, scratch.path(), &layout).await } else { None };
    let engine = Engine { capabilities: writer.capabilities(), layout, unfillable };
    server.stop().await?;
    Ok(engine)
}

fn writable(path: &Path) -> Finding {
    let check = "target-files";
    let there = existing(path);
    let database = path.join("chroma.sqlite3");
    for file in [there, database.as_path()].into_iter().filter(|file| file.exists()) {
        if let Err(error) = rustix::fs::access(file, rustix::fs::Access::WRITE_OK) {
            let owner = std::fs::metadata(file)
                .map(|m| format!(" (owner {}:{}, mode {:o})", m.uid(), m.gid(), m.mode() & 0o7777))
                .unwrap_or_default();
            let message = format!("{}{owner} cannot be written: {error}", file.display());
            return refused(check, message, "run this as its owner, or change its owner or mode");
        }
    }
    passed(check, format!("{} can be written", there.display()))
}

/// What a fill by files needs: the log of all records stands there at once, and Chroma purges it only then.
pub(super) const fn with_log(load: Load) -> Load {
    Load { bytes: load.bytes + load.bytes / DISK_FACTOR, ..load }
}

pub(super) fn disk_space(path: &Path, bytes: u64) -> Result<Finding> {
    let there = existing(path);
    let disk = rustix::fs::statvfs(there).map_err(|e| io_error("find the free space of", there, e.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let needed = bytes.saturating_mul(DISK_FACTOR);
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let message = format!("{} MiB are free, about {} MiB are needed", mib(free), mib(needed));
    let remedy = format!("free space on the disk of {}", there.display());
    let problem = (free < needed).then_some(Problem { remedy, may_pass: true });
    Ok(Finding { check: "disk-space", problem, message })
}

/// Refuses a path at which no folder can be: a link that leads nowhere, or a file in place of a folder above it.
pub(super) fn refuse_no_way(path: &Path) -> Result<()> {
    let Some(there) = path.ancestors().find(|path| path.symlink_metadata().is_ok()) else { return Ok(()) };
    let why = match (std::fs::metadata(there), std::fs::read_link(there)) {
        (Err(e), Ok(to)) if e.kind() != std::io::ErrorKind::PermissionDenied => {
            format!("{} is a link to {}, and there is nothing", there.display(), to.display())
        }
        (Ok(found), _) if there != path && !found.is_dir() => format!("{} is no folder", there.display()),
        _ => return Ok(()),
    };
    let remedy = "create the folder, or give another path".to_owned();
    Err(Error::Unsupported { store: format!("local store {}", path.display()), why, remedy })
}

/// The nearest folder that exists.
pub(super) fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(path)
}
