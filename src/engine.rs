//! One migration: preflight, manifest, copy, verify, repair, last look, report, in this order.
//! Knows stores by their traits only; no kube, no clap, no HTTP, no files of a store.

pub mod adaptive;
pub mod batch;
pub mod compare;
mod copy;
mod damage;
mod digests;
mod extra;
mod fill;
pub mod fingerprint;
pub mod halt;
pub mod handover;
pub mod judge;
mod last;
pub mod ledger;
mod memory;
pub mod pace;
mod pair;
mod pipeline;
pub mod policy;
mod preflight;
pub mod progress;
mod quiet;
mod refusals;
mod repair;
pub mod seal;
mod search;
pub mod select;
mod send;
mod sendable;
mod verdict;
mod verify;
mod window;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::chroma::Capabilities;
use crate::exit::Exit;
use crate::report::{Direction, Report};
use crate::store::{Finding, Reader, Target, Writer};

pub use halt::Halt;
pub use handover::Handover;
use pair::Pair;
pub use policy::{Duplicates, Extras, Fill, OnConflict, Pacing, Relation, Verification};
use progress::Tracker;
pub use search::{Search, SearchMode};
pub use select::Selection;

/// What one migration is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which collections. Default: every one of the source's database, under its own name.
    pub selection: Selection,
    /// The databases that the selection came to when the source was opened; empty where it names none.
    pub databases: Vec<String>,
    /// For ids that the target has with other content.
    pub on_conflict: OnConflict,
    /// What counts as a duplicate.
    pub duplicates: Duplicates,
    /// Who decides on batches.
    pub pacing: Pacing,
    /// Records in one write, at least 1; the target's own limit may make it fewer. Default 10. With `Pacing::Fixed`.
    pub batch_size: usize,
    /// From the end of one write to the start of the next. Default 1 s. With `Pacing::Fixed`.
    pub delay: Duration,
    /// How much is proved.
    pub verification: Verification,
    /// Whether the target may hold more than the source.
    pub extras: Extras,
    /// Who writes the records of a new local target.
    pub fill: Fill,
    /// What this process fills for the next one of the run, or goes on with. Default: none, it does all by itself.
    pub handover: Option<Handover>,
    /// The search check.
    pub search: Search,
    /// Whether a source without any record is a success. Default: no, the run ends with `SourceEmpty`.
    pub allow_empty: bool,
    /// What an earlier attempt of this run listed, if there was one.
    pub listed: Option<crate::report::Listed>,
    /// What is known of both stores' files.
    pub relation: Relation,
    /// From one look to the next, where equal UUIDs leave open whether both are one store. Default 5 s.
    pub second_look: Duration,
    /// Stop before the first write, with the plan.
    pub dry_run: bool,
    /// How long to wait before the first write, if records of the target will be replaced: time to stop the run. Default 0.
    pub overwrite_wait: Duration,
    /// How long writes whose outcome is uncertain are checked and sent again. Default 120 s.
    pub write_deadline: Duration,
    /// The first pause after an uncertain write; later ones grow to 10 s. Default 100 ms.
    pub write_pause: Duration,
    /// Bytes of memory that this process may use, if that is limited: a record that does not fit is refused before the first
    /// write. Default: none known; `endpoint` asks the process's control groups.
    pub memory: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            databases: Vec::new(),
            on_conflict: OnConflict::default(),
            duplicates: Duplicates::default(),
            pacing: Pacing::default(),
            batch_size: 10,
            delay: Duration::from_secs(1),
            verification: Verification::default(),
            extras: Extras::default(),
            fill: Fill::default(),
            handover: None,
            search: Search::default(),
            allow_empty: false,
            listed: None,
            relation: Relation::default(),
            second_look: Duration::from_secs(5),
            dry_run: false,
            overwrite_wait: Duration::ZERO,
            write_deadline: Duration::from_secs(120),
            write_pause: Duration::from_millis(100),
            memory: None,
        }
    }
}

/// How a migration ended.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that happened.
    pub report: Report,
    /// The exit code that says the same.
    pub exit: Exit,
}

/// What every step of a run shares.
struct Context<'a> {
    source: &'a dyn Reader,
    options: &'a Options,
    stop: &'a CancellationToken,
}

/// What a run has done so far, kept outside the steps so that a report can be made wherever it stops.
struct Run {
    findings: Vec<Finding>,
    /// What was found that does not stop the run.
    warnings: Vec<Warning>,
    pairs: Vec<Pair>,
    /// Database and name of each collection that the selection came to.
    resolved: HashSet<(String, String)>,
    /// Collections, and databases, that came to the source after the selection was resolved: they are not copied.
    came_later: Vec<String>,
    /// Collections of the target that the source has not, where whole databases are compared.
    others: Vec<String>,
    tracker: Tracker,
    /// Set before the first write is sent.
    written: bool,
}

impl Run {
    fn new(tracker: Tracker) -> Self {
        Self {
            findings: Vec::new(),
            warnings: Vec::new(),
            pairs: Vec::new(),
            resolved: HashSet::new(),
            came_later: Vec::new(),
            others: Vec::new(),
            tracker,
            written: false,
        }
    }

    /// Whether a collection of the source is one that the run goes without, and has named.
    fn left_out(&self, database: &str, name: &str) -> bool {
        let is_it = |pair: &Pair| pair.source.database == database && pair.source.name == name;
        self.resolved.contains(&(database.to_owned(), name.to_owned())) && !self.pairs.iter().any(is_it)
    }
}

/// A check that failed and does not stop the run.
struct Warning {
    check: &'static str,
    message: String,
    remedy: &'static str,
}

/// Migrates `source` into `target` and proves it.
///
/// # Guarantees
/// - Nothing is written before preflight has passed, and the source is never written.
/// - The verdict is `Succeeded` with reason `Verified` only if every source record, as last listed, was compared with the
///   target's and is equal.
/// - Cancelling `stop` ends the run after the write under way; a rerun resumes.
///
/// # Errors
/// None: whatever happens is in the report.
pub async fn migrate(
    source: &dyn Reader,
    target: &dyn Target,
    direction: Direction,
    options: &Options,
    tracker: Tracker,
    stop: &CancellationToken,
) -> Outcome {
    let started = std::time::SystemTime::now();
    let context = Context { source, options, stop };
    let mut run = Run::new(tracker);
    let mut ended = steps(&context, target, &mut run).await;
    if ended.is_ok() {
        quiet::settle(&context, &mut run.pairs).await;
    }
    if let Err(error) = target.close().await {
        ended = ended.and(Err(Halt::Target(error)));
    }
    verdict::outcome(&context, target, direction, &run, started, &ended)
}

async fn steps(context: &Context<'_>, target: &dyn Target, run: &mut Run) -> Result<verdict::End, Halt> {
    let capabilities = preflight::check(context, target, run).await?;
    if context.options.dry_run {
        return Ok(verdict::End::Planned);
    }
    if let Some(Handover::Leave(folder)) = &context.options.handover {
        return Ok(verdict::End::Filled(fill::leave(context, target, &capabilities, run, folder).await?));
    }
    let overwrites = run.pairs.iter().map(|pair| pair.planned().overwritten).sum();
    wait_before_overwrites(context, &mut run.tracker, overwrites).await?;
    run.written = true;
    run.tracker.begin(crate::report::Stage::Copying, run.pairs.iter().map(Pair::to_send).sum());
    fill::records(context, target, &capabilities, run).await?;
    let writer = context.until_stopped(target.open()).await?.map_err(Halt::Target)?;
    fill::take(context, writer, run).await?;
    fill::index(context, target, run).await?;
    let others = copy::create(context, writer, &mut run.pairs).await?;
    for at in others {
        preflight::plan_fresh(context, writer, &capabilities, &mut run.pairs[at]).await?;
    }
    for pair in &mut run.pairs {
        copy::copy(context, writer, &capabilities, pair, &mut run.tracker).await?;
    }
    prove(context, target, writer, &capabilities, run).await
}

/// Before the first record of the target is replaced: says how many will be, as far as is known then, and leaves time to
/// stop that. Whether it has waited.
async fn wait_before_overwrites(context: &Context<'_>, tracker: &mut Tracker, records: u64) -> Result<bool, Halt> {
    let wait = context.options.overwrite_wait;
    if records == 0 || wait.is_zero() || !tracker.overwrites(records, wait) {
        return Ok(false);
    }
    tracing::warn!("{records} records of the target will be replaced, beginning in {} s", wait.as_secs());
    context.until_stopped(tokio::time::sleep(wait)).await?;
    Ok(true)
}

/// How often the last look may find something that is copied or compared once more.
const LAST_LOOKS: usize = 3;

async fn prove(
    context: &Context<'_>,
    target: &dyn Target,
    writer: &dyn Writer,
    capabilities: &Capabilities,
    run: &mut Run,
) -> Result<verdict::End, Halt> {
    let sides = verify::Sides::new(writer, target.files());
    if context.options.verification == Verification::Counts {
        last::count(context, &sides, run).await?;
        return Ok(verdict::End::Counted);
    }
    let total = run.pairs.iter().map(Pair::to_verify).sum();
    run.tracker.begin(crate::report::Stage::Verifying, total);
    let started = tokio::time::Instant::now();
    search::prepare(context, writer, run).await?;
    for pair in &mut run.pairs {
        repair::verified(context, &sides, writer, pair, &mut run.tracker).await?;
        pair.search.streamed();
    }
    for looks in 1..=LAST_LOOKS {
        last::look(context, &sides, run, looks == LAST_LOOKS).await?;
        if run.pairs.iter().all(|pair| pair.open() == 0) || looks == LAST_LOOKS {
            break;
        }
        for pair in run.pairs.iter_mut().filter(|pair| pair.open() > 0) {
            preflight::plan_fresh(context, writer, capabilities, pair).await?;
            copy::send(context, writer, capabilities, pair, &mut run.tracker).await?;
            repair::verified(context, &sides, writer, pair, &mut run.tracker).await?;
        }
    }
    let took = started.elapsed();
    search::check(context, writer, run, took).await?;
    search::check_again(context, target, run, took).await?;
    fill::blame(&mut run.pairs);
    Ok(verdict::End::Proved(run.pairs.iter_mut().map(verify::finish).collect::<Result<_, _>>()?))
}

/// Compares every record of `source` with `target`'s, and writes nothing.
///
/// # Errors
/// None: whatever happens is in the report.
pub async fn verify(
    source: &dyn Reader,
    target: &dyn Reader,
    direction: Direction,
    options: &Options,
    tracker: Tracker,
    stop: &CancellationToken,
) -> Outcome {
    let started = std::time::SystemTime::now();
    // a difference is one, whatever a migration would do about it
    let options = &Options { on_conflict: OnConflict::Overwrite, ..options.clone() };
    let context = Context { source, options, stop };
    let mut run = Run::new(tracker);
    let ended = compare_stores(&context, target, &mut run).await;
    if ended.is_ok() {
        quiet::settle(&context, &mut run.pairs).await;
    }
    verdict::verified_only(&context, &target.name(), direction, &run, started, &ended)
}

async fn compare_stores(context: &Context<'_>, target: &dyn Reader, run: &mut Run) -> Result<verdict::End, Halt> {
    preflight::pairs_to_compare(context, target, run).await?;
    run.tracker.begin(crate::report::Stage::Verifying, run.pairs.iter().map(Pair::to_verify).sum());
    let sides = verify::Sides::new(target, None);
    let started = tokio::time::Instant::now();
    search::prepare(context, target, run).await?;
    verify::all(context, &sides, run).await?;
    last::look(context, &sides, run, true).await?;
    search::check(context, target, run, started.elapsed()).await?;
    Ok(verdict::End::Proved(run.pairs.iter_mut().map(verify::finish).collect::<Result<_, _>>()?))
}

/// The outcome of a run whose stores could not be opened.
#[must_use]
pub fn not_started(halt: &Halt, direction: Direction, started: std::time::SystemTime) -> Outcome {
    verdict::not_started(halt, direction, started)
}
