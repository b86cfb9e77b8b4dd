//! A target that is filled by its files, in memory: what was filled is this run's own, and compared like anything else.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{fast, numbered, record, source};
use crate::chroma::{Capabilities, NewCollection};
use crate::engine::handover::{Handover, Word};
use crate::engine::progress::Tracker;
use crate::engine::{Duplicates, Fill, Options, Outcome, migrate};
use crate::exit::Exit;
use crate::model::{Collection, Error, Record, Result};
use crate::report::{Direction, Reason, Stage, Verdict};
use crate::store::memory::MemoryStore;
use crate::store::{Filler, Finding, Laid, Load, Reader, Target, Writer};

/// A store in memory that is filled, with an importer that may err.
struct Filled {
    store: MemoryStore,
    /// What the importer makes of a record; None: it leaves it out.
    importer: fn(Record) -> Option<Record>,
    /// Whether the fill fails in the end.
    fails: bool,
    /// A source that changes when the fill is done.
    moves: Option<Arc<MemoryStore>>,
    /// Whether this process fills; else it goes on with what another one has filled.
    fills: bool,
    /// Why it turns out that it cannot be filled.
    cannot: Option<&'static str>,
}

impl Filled {
    fn new(importer: fn(Record) -> Option<Record>) -> Self {
        Self { store: MemoryStore::new("target"), importer, fails: false, moves: None, fills: true, cannot: None }
    }

    /// What was filled is left in the folder, for another process.
    async fn leave(&self, source: &MemoryStore, folder: &Path) -> Outcome {
        let handover = Some(Handover::Leave(folder.to_owned()));
        self.run(source, &Options { handover, fill: Fill::Files, ..fast() }).await
    }

    /// Goes on with it.
    async fn take(&mut self, source: &MemoryStore, folder: &Path) -> Outcome {
        self.fills = false;
        let Some(Word::Filled(filled)) = Word::read(folder).unwrap() else { panic!("no word was left") };
        let handover = Some(Handover::Take(filled));
        let options = Options { handover, fill: Fill::Files, duplicates: Duplicates::ByContent, ..fast() };
        self.run(source, &options).await
    }

    async fn run(&self, source: &MemoryStore, options: &Options) -> Outcome {
        let stop = CancellationToken::new();
        migrate(source, self, Direction::LocalToLocal, options, Tracker::new().0, &stop).await
    }

    fn log(&self) -> Vec<String> {
        self.store.state().log.clone()
    }
}

#[async_trait]
impl Filler for Filled {
    async fn create(&self, new: &[&NewCollection]) -> Result<Laid> {
        if let Some(why) = self.cannot {
            let message = format!("its files are not filled: {why}");
            return Ok(Laid::Not(Finding { check: "fill", problem: None, message }));
        }
        let mut made = Vec::new();
        for new in new {
            made.push(self.store.create(new).await?);
        }
        Ok(Laid::Out(made))
    }

    async fn put(&self, collection: &Collection, records: Vec<Record>) -> Result<()> {
        let mut state = self.store.state();
        state.log.push(format!("fill {}", records.len()));
        let (_, all) = state.collections.values_mut().find(|(c, _)| c.id == collection.id).unwrap();
        all.extend(records.into_iter().filter_map(self.importer).map(|record| (record.id.clone(), record)));
        Ok(())
    }

    async fn index(&self) -> Result<()> {
        Ok(())
    }

    async fn finish(&self) -> Result<()> {
        self.store.state().log.push("placed".to_owned());
        if let Some(source) = &self.moves {
            let mut state = source.state();
            for (id, text) in [("0007", "changed meanwhile"), ("0008", "changed as well"), ("0100", "came meanwhile")] {
                super::edit(&mut state, id, text);
            }
            state.collections.values_mut().next().unwrap().1.remove("0009");
        }
        let why = "made by a test".to_owned();
        let error = Error::Unavailable { store: "target".to_owned(), attempt: "the step".to_owned(), why };
        if self.fails { Err(error) } else { Ok(()) }
    }
}

#[async_trait]
impl Target for Filled {
    fn name(&self) -> String {
        "target".to_owned()
    }

    fn current(&self) -> Option<&dyn Reader> {
        None
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        Ok(Writer::capabilities(&self.store))
    }

    async fn checks(&self, load: Load) -> Result<Vec<Finding>> {
        self.store.state().log.push(format!("{} records", load.records));
        Ok(Vec::new())
    }

    fn filler(&self) -> Option<&dyn Filler> {
        self.fills.then_some(self as &dyn Filler)
    }

    async fn index(&self, _: &Collection, dimension: usize) -> Result<()> {
        self.store.state().log.push(format!("index of {dimension}"));
        Ok(())
    }

    async fn open(&self) -> Result<&dyn Writer> {
        Ok(&self.store)
    }

    fn files(&self) -> Option<&dyn Reader> {
        None
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_was_filled_counts_as_sent_and_is_compared() {
    let (source, target) = (source(numbered(40)), Filled::new(Some));
    let options = Options { duplicates: Duplicates::ByContent, ..fast() };
    let outcome = target.run(&source, &options).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    let counts = outcome.report.counts;
    assert_eq!((counts.copied, counts.verified, counts.present, counts.target_before), (40, 40, 0, 0));
    assert_eq!(target.store.records("memories"), source.records("memories"));
    let log = target.log();
    assert_eq!(log[..2], ["40 records", "create memories"]);
    assert_eq!(log[log.len() - 2..], ["placed", "index of 1"]);
    assert!(log[2..log.len() - 2].iter().all(|line| line.starts_with("fill ")), "{log:?}");
}

#[tokio::test]
async fn an_empty_source_builds_no_index() {
    let (source, target) = (source(Vec::new()), Filled::new(Some));
    let outcome = target.run(&source, &Options { allow_empty: true, ..fast() }).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert_eq!(target.log(), ["0 records", "create memories", "placed"]);
}

#[tokio::test]
async fn a_record_that_the_importer_leaves_out_is_added() {
    let source = source(numbered(40));
    let target = Filled::new(|record| (record.id != "0007").then_some(record));
    let outcome = target.run(&source, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert_eq!(target.store.records("memories"), source.records("memories"));
    assert_eq!(target.log().last().unwrap(), "add 1");
}

/// In a store that nobody else knows, what the source has not comes from the importer.
#[tokio::test]
async fn a_record_that_the_importer_adds_fails_the_run() {
    let source = source(numbered(40));
    let target = Filled::new(|one| Some(if one.id == "0007" { record("0007x", "text 7") } else { one }));
    let outcome = target.run(&source, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::VerificationFailed, "{}", outcome.report.message);
    assert!(
        outcome.report.message.contains("1 records are in the files that were filled"),
        "{}",
        outcome.report.message
    );
}

/// It is not what this run has sent, so it is not changed; nobody else knows the store, so it is no conflict either.
#[tokio::test]
async fn a_record_that_the_importer_changes_fails_the_run() {
    let source = source(numbered(40));
    let target = Filled::new(|one| Some(if one.id == "0007" { record("0007", "other") } else { one }));
    let outcome = target.run(&source, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::VerificationFailed, "{}", outcome.report.message);
    assert!(outcome.report.message.contains("otherwise than this run has written"), "{}", outcome.report.message);
    assert_eq!((outcome.report.counts.verified, outcome.report.counts.conflicts_skipped), (39, 1));
}

/// What the source makes of a record after the fill has it is this run's to repair, as if the server had taken it.
#[tokio::test]
async fn what_moves_in_the_source_after_the_fill_follows_it() {
    let source = Arc::new(source(numbered(40)));
    let target = Filled { moves: Some(source.clone()), ..Filled::new(Some) };
    let outcome = target.run(&source, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    let counts = outcome.report.counts;
    assert_eq!((counts.source, counts.verified, counts.conflicts_skipped, counts.extra), (40, 40, 0, 1));
    let mut expected = source.records("memories");
    // one that was deleted from the source meanwhile stays, as ever
    expected.insert("0009".to_owned(), record("0009", "text 9"));
    assert_eq!(target.store.records("memories"), expected);
}

#[tokio::test]
async fn a_fill_that_fails_ends_the_run_before_a_server_is_asked() {
    let (source, mut target) = (source(numbered(3)), Filled::new(Some));
    target.fails = true;
    let outcome = target.run(&source, &fast()).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Interrupted, Reason::Unavailable));
    assert_eq!((outcome.report.counts.copied, outcome.report.counts.verified), (0, 0));
    assert!(outcome.report.message.contains("made by a test"), "{}", outcome.report.message);
}

#[tokio::test]
async fn what_came_to_the_source_meanwhile_goes_through_the_server() {
    let source = Arc::new(source(numbered(40)));
    let target = Filled::new(Some);
    let moving = source.clone();
    let mut listings = 0;
    source.before_list(move |state| {
        listings += 1;
        if listings == 2 {
            super::edit(state, "9999", "came late");
        }
    });
    let outcome = target.run(&source, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert_eq!(target.store.records("memories"), moving.records("memories"));
    assert_eq!(target.log().last().unwrap(), "add 1");
}

#[test]
fn indexing_is_a_stage_between_copying_and_verifying() {
    let (mut tracker, seen) = Tracker::new();
    for (stage, total) in [(Stage::Preflight, 10), (Stage::Copying, 10)] {
        tracker.begin(stage, total);
        tracker.advance(total);
    }
    let copied = seen.borrow().percent;
    tracker.begin(Stage::Indexing, 10);
    let indexing = *seen.borrow();
    assert_eq!((indexing.stage, indexing.records, indexing.total, indexing.done), (Stage::Indexing, 0, 10, 10));
    assert!(indexing.percent >= copied);
    tracker.begin(Stage::Verifying, 10);
    assert!(seen.borrow().percent >= indexing.percent);
}

/// A container of a pod fills, and another one goes on: what the first has written is the run's own, whatever became of the
/// source in between.
#[tokio::test]
async fn the_next_process_goes_on_with_what_one_has_filled() {
    let (source, mut target) = (source(numbered(40)), Filled::new(Some));
    let folder = tempfile::tempdir().unwrap();
    let outcome = target.leave(&source, folder.path()).await;
    assert_eq!((outcome.exit, outcome.report.verdict), (Exit::Success, Verdict::DryRun), "{}", outcome.report.message);
    assert!(outcome.report.message.contains("40 records are in the files"), "{}", outcome.report.message);
    assert_eq!((outcome.report.counts.copied, outcome.report.counts.verified), (40, 0));
    assert_eq!(target.log().last().unwrap(), "placed", "nothing was asked of a server");
    {
        let mut state = source.state();
        super::edit(&mut state, "0007", "changed meanwhile");
        super::edit(&mut state, "0100", "came meanwhile");
        state.collections.values_mut().next().unwrap().1.remove("0009");
    }
    let outcome = target.take(&source, folder.path()).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    let counts = outcome.report.counts;
    assert_eq!((counts.source, counts.copied, counts.verified), (40, 40, 40));
    assert_eq!((counts.present, counts.duplicates, counts.target_before, counts.conflicts_skipped), (0, 0, 0, 0));
    assert_eq!((counts.extra, counts.gone_from_source), (1, 1));
    let mut expected = source.records("memories");
    expected.insert("0009".to_owned(), record("0009", "text 9"));
    assert_eq!(target.store.records("memories"), expected);
    assert!(target.log().contains(&"index of 1".to_owned()), "{:?}", target.log());
    assert!(!outcome.report.message.contains("not filled"), "{}", outcome.report.message);
}

/// What another client makes of a record after the fill is not this run's to change.
#[tokio::test]
async fn what_was_changed_between_two_processes_stays_and_fails_the_run() {
    let (source, mut target) = (source(numbered(40)), Filled::new(Some));
    let folder = tempfile::tempdir().unwrap();
    target.leave(&source, folder.path()).await;
    super::edit(&mut target.store.state(), "0007", "theirs");
    let outcome = target.take(&source, folder.path()).await;
    assert_eq!(outcome.report.reason, Reason::VerificationFailed, "{}", outcome.report.message);
    assert_eq!((outcome.report.counts.verified, outcome.report.counts.conflicts_skipped), (39, 1));
    assert_eq!(target.store.records("memories")["0007"], record("0007", "theirs"));
}

#[tokio::test]
async fn a_source_that_is_another_one_by_then_ends_the_run() {
    let (source, mut target) = (source(numbered(3)), Filled::new(Some));
    let folder = tempfile::tempdir().unwrap();
    target.leave(&source, folder.path()).await;
    source.state().collections.values_mut().next().unwrap().0.id = "another".to_owned();
    let outcome = target.take(&source, folder.path()).await;
    assert_eq!(outcome.report.reason, Reason::SourceReplaced, "{}", outcome.report.message);
    assert_eq!(outcome.report.counts.verified, 0);
}

/// The server takes the records, and whoever asked for the other way hears of it.
#[tokio::test]
async fn what_cannot_be_filled_after_all_is_left_to_the_server_and_said() {
    let (source, mut target) = (source(numbered(40)), Filled::new(Some));
    target.cannot = Some("it differs");
    let folder = tempfile::tempdir().unwrap();
    let outcome = target.leave(&source, folder.path()).await;
    assert_eq!((outcome.exit, outcome.report.verdict), (Exit::Success, Verdict::DryRun), "{}", outcome.report.message);
    assert!(outcome.report.message.contains("nothing was written. its files are not filled: it differs"));
    assert!(matches!(Word::read(folder.path()).unwrap(), Some(Word::Not(why)) if why.ends_with("it differs")));
    assert!(target.log().iter().all(|line| !line.starts_with("create")), "{:?}", target.log());
    let outcome = target.run(&source, &Options { fill: Fill::Files, ..fast() }).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert!(outcome.report.message.ends_with(". Its files were not filled: it differs"), "{}", outcome.report.message);
    assert_eq!(outcome.report.preflight.iter().filter(|check| check.check == "fill").count(), 1);
}
