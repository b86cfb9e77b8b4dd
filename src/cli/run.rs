//! `run`: one MemoryMigration manifest, without a cluster. What the Job's pod runs, too.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use url::Url;

use super::flags::{OneStoreFlag, Telling};
use super::generation::Generation;
use super::manifest::{self, Mounts};
use super::session::{self, Failure, Pod};
use crate::api::schedule::generation::Origin;
use crate::api::{self, Mode};
use crate::endpoint::{self, Endpoint, LayoutServer, Request};
use crate::engine::Outcome;
use crate::engine::progress::Tracker;
use crate::exit::Exit;
use crate::report::Listed;

/// How long a Job waits before it replaces the first record: a person, or a policy, can suspend the object.
const OVERWRITE_WAIT: Duration = Duration::from_secs(30);

/// Carry out one MemoryMigration manifest without a cluster
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The manifest, YAML or JSON; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// The folder for a claim of the manifest. Repeatable
    #[arg(long = "volume", value_name = "CLAIM=DIR", value_parser = volume)]
    volumes: Vec<(String, PathBuf)>,
    /// Folder of the manifest's Secrets: each key is a file DIR/SECRET/KEY
    #[arg(long, value_name = "DIR")]
    secrets_dir: Option<PathBuf>,
    /// Folder of the manifest's ConfigMaps: each key is a file DIR/CONFIGMAP/KEY
    #[arg(long, value_name = "DIR")]
    config_maps_dir: Option<PathBuf>,
    /// The Chroma program that writes a local target. Default: chroma on PATH
    #[arg(long, value_name = "FILE")]
    chroma_bin: Option<PathBuf>,
    /// If collections of both sides have equal UUIDs, as in a restored copy: whether the sides are one store. Default: find
    /// out from files and processes
    #[arg(long, value_enum)]
    one_store: Option<OneStoreFlag>,
    #[command(flatten)]
    telling: Telling,
    #[command(flatten)]
    pod: PodFlags,
}

/// What the operator's Job passes; of no use elsewhere.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "In the operator's pod")]
struct PodFlags {
    /// Write the verdict to this file, for the kubelet
    #[arg(long, value_name = "FILE")]
    termination_log: Option<PathBuf>,
    /// The run that the Job belongs to
    #[arg(long, value_name = "HASH", default_value = "", requires = "termination_log")]
    run_hash: String,
    /// Check everything, write nothing, and leave the plan to the mover
    #[arg(long, requires = "termination_log")]
    preflight_only: bool,
    /// End with code 7 if the run waits for something and has written nothing
    #[arg(long, requires = "termination_log")]
    wait_exit: bool,
    /// What an earlier attempt of the run found in the source, as JSON
    #[arg(long, value_name = "FILE", requires = "termination_log")]
    listed: Option<PathBuf>,
    /// The schedule whose generation the run writes: it gets its record and report beside the store
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "migration_uid")]
    generation_of: Option<String>,
    /// The UID of the migration, for that record
    #[arg(long, value_name = "UID", requires = "generation_of")]
    migration_uid: Option<String>,
    /// The Chroma server of the pod that writes the local target
    #[arg(long, value_name = "URL", requires = "termination_log")]
    writer_url: Option<Url>,
    #[command(flatten)]
    fill: FillFlags,
}

/// The same, for a target that is filled by its files.
#[derive(Debug, clap::Args)]
struct FillFlags {
    /// The Chroma server of the pod that lays out an empty store: fill the target by its files, and leave the rest to the mover
    #[arg(long, value_name = "URL", requires = "layout_dir", requires = "handover", conflicts_with_all = ["writer_url", "preflight_only"])]
    layout_url: Option<Url>,
    /// The folder of that server's store
    #[arg(long, value_name = "DIR", requires = "layout_url")]
    layout_dir: Option<PathBuf>,
    /// Bytes of memory that the server has that will write the target; 0 for no limit
    #[arg(long, value_name = "BYTES", requires = "layout_url")]
    writer_memory: Option<u64>,
    /// The folder in which the container that fills leaves word for the mover
    #[arg(long, value_name = "DIR", requires = "termination_log")]
    handover: Option<PathBuf>,
}

impl FillFlags {
    fn layout(&self) -> Option<LayoutServer> {
        let (url, folder) = (self.layout_url.clone()?, self.layout_dir.clone()?);
        Some(LayoutServer { url, folder, memory: self.writer_memory })
    }
}

/// Runs it.
pub(super) async fn run(args: Args) -> Exit {
    let telling = args.telling.clone();
    let PodFlags {
        termination_log,
        run_hash,
        preflight_only,
        wait_exit,
        listed,
        generation_of,
        migration_uid,
        writer_url,
        fill,
    } = args.pod;
    let (layout, handover) = (fill.layout(), fill.handover);
    let part = if preflight_only || layout.is_some() { Part::Beginning } else { Part::All };
    let origin = generation_of.zip(migration_uid).map(|(schedule, uid)| Origin { schedule, uid });
    let in_pod = termination_log.is_some();
    let read = read(&args.file);
    let migration =
        read.and_then(|yaml| api::parse_manifest(&yaml).map_err(|e| format!("{}: {e}", args.file.display())));
    let values = migration.as_ref().is_ok_and(|migration| migration.spec.report.values);
    let pod = termination_log.map(|termination_log| Pod { termination_log, run_hash, values, wait_exit });
    let run = session::run(&telling, pod, |tracker, stop| async move {
        let migration = migration.map_err(Failure::usage)?;
        let places = Mounts {
            volumes: args.volumes,
            secrets: args.secrets_dir,
            config_maps: args.config_maps_dir,
            chroma_bin: args.chroma_bin,
            in_pod,
            writer_url,
            layout,
            handover,
        };
        let mut request = manifest::request(&migration, places).map_err(Failure::usage)?;
        request.options.dry_run |= preflight_only;
        request.options.relation = args.one_store.map(Into::into).unwrap_or_default();
        request.options.overwrite_wait = if in_pod { OVERWRITE_WAIT } else { Duration::ZERO };
        request.options.listed = listed.as_deref().map(found_before).transpose().map_err(Failure::usage)?.flatten();
        if migration.spec.mode == Mode::Verify {
            let Request { source, target, options, writer: _ } = request;
            return Ok(endpoint::verify(source, target, &options, tracker, &stop).await);
        }
        let generation = origin.map(|origin| generation_of_target(&origin, &request.target)).transpose()?;
        migrate(request, generation.as_ref(), part, tracker, &stop).await
    });
    Box::pin(run).await
}

fn generation_of_target(origin: &Origin, target: &Endpoint) -> Result<Generation, Failure> {
    match target {
        Endpoint::Local(folder) => Generation::of_store(origin, &folder.path),
        Endpoint::Remote(_) => Err(Failure::usage("--generation-of is for a target on a claim")),
    }
}

/// What of a run a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// What comes before the mover, which speaks for the run.
    Beginning,
    /// The rest, and the verdict.
    All,
}

/// A generation has its record before anything else is written, and its verdict when all is.
async fn migrate(
    request: Request,
    generation: Option<&Generation>,
    part: Part,
    tracker: Tracker,
    stop: &CancellationToken,
) -> Result<Outcome, Failure> {
    let Some(generation) = generation else { return Ok(Box::pin(endpoint::migrate(request, tracker, stop)).await) };
    if part == Part::All {
        generation.begin()?;
        return generation.end(Box::pin(endpoint::migrate(request, tracker, stop)).await);
    }
    let outcome = Box::pin(endpoint::migrate(request, tracker, stop)).await;
    if outcome.exit == Exit::Success {
        // the pod's next container starts after this, and writes
        generation.begin()?;
    }
    Ok(outcome)
}

fn read(file: &Path) -> Result<String, String> {
    if file == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        return read.map(|_| text).map_err(|e| format!("failed to read the manifest from standard input: {e}"));
    }
    std::fs::read_to_string(file).map_err(|e| format!("failed to read the manifest {}: {e}", file.display()))
}

/// What an earlier attempt found; an empty file is none.
fn found_before(file: &Path) -> Result<Option<Listed>, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| format!("failed to read what an earlier attempt listed, {}: {e}", file.display()))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let listed = serde_json::from_str(&text);
    listed.map(Some).map_err(|e| format!("{} does not hold what an earlier attempt listed: {e}", file.display()))
}

fn volume(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((claim, dir)) if !claim.is_empty() && !dir.is_empty() => Ok((claim.to_owned(), PathBuf::from(dir))),
        _ => Err("write CLAIM=DIR, as in dev-memories=/data".to_owned()),
    }
}
