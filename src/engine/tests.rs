//! The engine on stores in memory: faults at every write, moving sources, conflicts. Real Chroma has its own tests.

mod ends;
mod exact;
mod filled;
mod holes;
mod large;
mod looks;
mod modes;
mod refused;
mod selected;
mod silent;

use std::time::Duration;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::progress::Tracker;
use super::select::Entry;
use super::{Duplicates, OnConflict, Options, Outcome, Pacing, Selection, Verification, migrate};
use crate::exit::Exit;
use crate::model::{Distance, Metadata, Record, Value};
use crate::report::{Direction, Reason};
use crate::store::memory::{Fault, MemoryStore, State};

fn record(id: &str, text: &str) -> Record {
    Record {
        id: id.into(),
        embedding: vec![1.0],
        document: Some(text.into()),
        uri: None,
        metadata: Metadata::from([("k".to_owned(), Value::Int(1))]),
    }
}

fn numbered(n: usize) -> Vec<Record> {
    (0..n).map(|n| record(&format!("{n:04}"), &format!("text {n}"))).collect()
}

fn source(records: Vec<Record>) -> MemoryStore {
    MemoryStore::new("source").with("memories", Distance::L2, records)
}

fn only(name: &str, target_name: Option<&str>) -> Selection {
    Selection::new(&[], vec![Entry::named(name, target_name).unwrap()]).unwrap()
}

fn fast() -> Options {
    Options { delay: Duration::ZERO, write_pause: Duration::ZERO, second_look: Duration::ZERO, ..Options::default() }
}

async fn run(source: &MemoryStore, target: &MemoryStore, options: &Options) -> Outcome {
    let stop = CancellationToken::new();
    migrate(source, target, Direction::LocalToRemote, options, Tracker::new().0, &stop).await
}

fn assert_copied(source: &MemoryStore, target: &MemoryStore, outcome: &Outcome) {
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert_eq!(target.records("memories"), source.records("memories"));
    assert!(outcome.report.counts.is_complete());
}

/// Changes a record of a store's only collection.
fn edit(state: &mut State, id: &str, text: &str) {
    let records = &mut state.collections.values_mut().next().unwrap().1;
    records.insert(id.to_owned(), record(id, text));
}

#[tokio::test]
async fn everything_arrives_in_batches_and_is_verified() {
    let (source, target) = (source(numbered(25)), MemoryStore::new("target"));
    let outcome = run(&source, &target, &fast()).await;
    assert_copied(&source, &target, &outcome);
    assert_eq!(outcome.exit, Exit::Success);
    assert_eq!(outcome.report.counts.copied, 25);
    assert_eq!(target.state().log, ["create memories", "add 10", "add 10", "add 5"]);
}

#[tokio::test]
async fn a_second_run_writes_nothing() {
    let (source, target) = (source(numbered(5)), MemoryStore::new("target"));
    let first = run(&source, &target, &fast()).await;
    target.state().log.clear();
    let second = run(&source, &target, &fast()).await;
    assert_copied(&source, &target, &second);
    assert_eq!(second.report.counts.present, 5);
    assert_eq!(second.report.collections[0].fingerprint, first.report.collections[0].fingerprint);
    assert!(target.state().log.is_empty());
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_tells_the_plan() {
    let target =
        MemoryStore::new("target").with("memories", Distance::L2, [record("0000", "text 0"), record("0001", "other")]);
    let outcome = run(&source(numbered(3)), &target, &Options { dry_run: true, ..fast() }).await;
    assert_eq!(outcome.report.reason, Reason::DryRunCompleted);
    let counts = outcome.report.counts;
    assert_eq!((counts.copied, counts.present, counts.conflicts_skipped), (1, 1, 1));
    assert!(target.state().log.is_empty());
}

#[tokio::test]
async fn skipped_conflicts_are_listed_and_never_called_verified() {
    let (source, target) =
        (source(numbered(3)), MemoryStore::new("target").with("memories", Distance::L2, [record("0001", "x")]));
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::VerifiedWithSkips);
    assert_eq!((outcome.report.counts.verified, outcome.report.counts.conflicts_skipped), (2, 1));
    assert_eq!(outcome.report.collections[0].differences[0].id, "0001");
    assert_eq!(target.records("memories")["0001"].document.as_deref(), Some("x"));
}

#[tokio::test]
async fn overwrite_makes_conflicts_equal_also_by_clearing() {
    let mut bare = record("0001", "");
    (bare.document, bare.metadata) = (None, Metadata::new());
    let source = source(vec![record("0000", "new"), bare]);
    let mut richer = record("0000", "old");
    richer.metadata.insert("surplus".into(), Value::Bool(true));
    let target = MemoryStore::new("target").with("memories", Distance::L2, [richer, record("0001", "to be cleared")]);
    let outcome = run(&source, &target, &Options { on_conflict: OnConflict::Overwrite, ..fast() }).await;
    assert_copied(&source, &target, &outcome);
    assert_eq!(outcome.report.counts.overwritten, 2);
    assert_eq!(target.state().log, ["update 1", "delete 1", "add 1"]);
}

#[tokio::test]
async fn fail_refuses_a_conflict_before_any_write() {
    let target = MemoryStore::new("target").with("memories", Distance::L2, [record("0001", "x")]);
    let outcome = run(&source(numbered(3)), &target, &Options { on_conflict: OnConflict::Fail, ..fast() }).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Conflict, Reason::RecordConflict));
    assert!(target.state().log.is_empty());
}

#[tokio::test]
async fn fail_refuses_also_a_conflict_that_comes_during_the_run() {
    let source = std::sync::Arc::new(source(numbered(3)));
    let target = MemoryStore::new("target").with("memories", Distance::L2, [record("9999", "x")]);
    let moving = source.clone();
    target.after_write(move |_| edit(&mut moving.state(), "9999", "came late"));
    let outcome = run(&source, &target, &Options { on_conflict: OnConflict::Fail, ..fast() }).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Conflict, Reason::RecordConflict));
    assert_eq!(target.records("memories")["9999"].document.as_deref(), Some("x"));
}

#[tokio::test]
async fn duplicates_by_content_are_skipped_also_on_a_rerun() {
    let records = vec![record("a", "same"), record("b", "same"), record("memories", ""), record("d", "own")];
    let source = source(records);
    let target = MemoryStore::new("target").with("memories", Distance::L2, [record("z", "own"), record("y", "")]);
    let options = Options { duplicates: Duplicates::ByContent, ..fast() };
    for copied in [3, 0] {
        let outcome = run(&source, &target, &options).await;
        assert_eq!(outcome.report.reason, Reason::VerifiedWithSkips);
        assert_eq!((outcome.report.counts.duplicates, outcome.report.counts.copied), (1, copied));
        let listed = &outcome.report.collections[0].differences[0];
        assert_eq!((listed.id.as_str(), listed.field.as_str()), ("d", "duplicate"));
        assert!(listed.detail.contains("\"z\""));
    }
}

#[tokio::test]
async fn an_unreadable_record_is_never_sent_and_fails_the_run() {
    let (source, target) = (source(numbered(3)), MemoryStore::new("target"));
    source.state().unreadable.push("0001".into());
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Different, Reason::VerificationFailed));
    assert_eq!((outcome.report.counts.unreadable, outcome.report.counts.verified), (1, 2));
    assert!(!target.records("memories").contains_key("0001"));
}

#[tokio::test]
async fn counts_is_its_own_verdict() {
    let (source, target) = (source(numbered(3)), MemoryStore::new("target"));
    let outcome = run(&source, &target, &Options { verification: Verification::Counts, ..fast() }).await;
    assert_eq!(outcome.report.reason, Reason::CountsVerified);
    assert_eq!((outcome.report.counts.copied, outcome.report.counts.verified), (3, 0));
    assert!(outcome.report.collections[0].fingerprint.is_empty());
}

#[tokio::test]
async fn a_target_that_drops_records_is_found_out_and_repaired() {
    let (source, target) = (source(numbered(12)), MemoryStore::new("target"));
    let mut once = true;
    target.after_write(move |state| {
        if std::mem::take(&mut once) {
            state.collections.get_mut("memories").unwrap().1.remove("0004");
        }
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_copied(&source, &target, &outcome);
}

/// Whether the target or another client changed what was sent cannot be told: it is a conflict, and never verified.
#[tokio::test]
async fn a_target_that_garbles_every_write_is_never_called_verified() {
    for (policy, exit, reason) in [
        (OnConflict::Skip, Exit::Success, Reason::VerifiedWithSkips),
        (OnConflict::Fail, Exit::Conflict, Reason::RecordConflict),
        (OnConflict::Overwrite, Exit::Different, Reason::VerificationFailed),
    ] {
        let (source, target) = (source(numbered(3)), MemoryStore::new("target"));
        target.after_write(|state| edit(state, "0001", "garbled"));
        let outcome = run(&source, &target, &Options { on_conflict: policy, ..fast() }).await;
        assert_eq!((outcome.exit, outcome.report.reason), (exit, reason), "{}", outcome.report.message);
        if policy != OnConflict::Fail {
            assert_eq!(outcome.report.collections[0].differences[0].id, "0001");
        }
    }
}

#[tokio::test]
async fn another_writer_of_a_present_record_is_a_conflict_and_not_overwritten() {
    let (source, target) =
        (source(numbered(2)), MemoryStore::new("target").with("memories", Distance::L2, [record("0000", "text 0")]));
    target.after_write(|state| edit(state, "0000", "somebody else's"));
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::VerifiedWithSkips);
    assert_eq!(target.records("memories")["0000"].document.as_deref(), Some("somebody else's"));
}

#[tokio::test]
async fn records_that_come_and_go_during_the_copy_are_followed() {
    let source = std::sync::Arc::new(source(numbered(20)));
    let target = MemoryStore::new("target");
    let (moving, mut writes) = (source.clone(), 0);
    target.after_write(move |_| {
        writes += 1;
        let mut state = moving.state();
        match writes {
            1 => {
                edit(&mut state, "0000", "updated after it was copied");
                edit(&mut state, "9999", "came late");
                state.collections.get_mut("memories").unwrap().1.remove("0019");
            }
            3 => edit(&mut state, "9998", "came later"),
            _ => {}
        }
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    for (id, expected) in source.records("memories") {
        assert_eq!(target.records("memories").get(&id), Some(&expected), "{id}");
    }
    assert_eq!(outcome.report.counts.source, 21);
}

#[tokio::test]
async fn a_source_that_never_rests_is_told_from_a_difference() {
    let (source, target) = (source(numbered(3)), MemoryStore::new("target"));
    let mut n = 0;
    source.before_fetch(move |state| {
        n += 1;
        edit(state, "0001", &format!("version {n}"));
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Interrupted, Reason::SourceChanging));
    assert_eq!((outcome.report.counts.changed, outcome.report.counts.verified), (1, 2));
}

#[tokio::test]
async fn a_missing_collection_is_named_with_those_that_exist() {
    let options = Options { selection: only("other", None), ..fast() };
    let outcome = run(&source(numbered(1)), &MemoryStore::new("target"), &options).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Interrupted, Reason::SourceNotFound));
    assert!(outcome.report.message.contains("it holds memories"), "{}", outcome.report.message);
}

#[tokio::test]
async fn another_distance_is_refused_before_any_write() {
    let target = MemoryStore::new("target").with("memories", Distance::Cosine, []);
    let outcome = run(&source(numbered(1)), &target, &fast()).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Refused, Reason::PreflightRefused));
    assert!(target.state().log.is_empty());
}

#[tokio::test]
async fn a_signal_ends_the_run_after_the_write_under_way_and_a_rerun_resumes() {
    let (source, target) = (source(numbered(30)), MemoryStore::new("target"));
    let stop = CancellationToken::new();
    let signal = stop.clone();
    target.after_write(move |_| signal.cancel());
    let outcome = migrate(&source, &target, Direction::LocalToRemote, &fast(), Tracker::new().0, &stop).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Interrupted, Reason::Interrupted));
    assert_eq!(target.records("memories").len(), 10);
    target.after_write(|_| ());
    assert_copied(&source, &target, &run(&source, &target, &fast()).await);
}

fn adaptive(slowdown: Option<f64>) -> Options {
    Options { pacing: Pacing::Adaptive { slowdown }, ..fast() }
}

/// What one run had under way at most, and the records of its adds.
fn under_way(target: &MemoryStore) -> (usize, Vec<usize>) {
    let state = target.state();
    let adds = state.log.iter().filter_map(|line| line.strip_prefix("add ")?.parse().ok()).collect();
    (state.under_way.1, adds)
}

#[tokio::test]
async fn adaptive_writes_have_company_and_fixed_ones_have_none() {
    let source = source(numbered(1000));
    for (options, most) in [(fast(), 1), (adaptive(None), 2)] {
        let target = MemoryStore::new("target");
        let outcome = run(&source, &target, &options).await;
        assert_copied(&source, &target, &outcome);
        let (at_once, adds) = under_way(&target);
        assert_eq!((at_once, adds.iter().sum::<usize>()), (most, 1000), "{adds:?}");
        assert!(adds.iter().all(|records| *records <= 100), "the target takes 100 at once: {adds:?}");
    }
}

#[tokio::test]
async fn with_a_bound_the_resting_target_is_measured_after_the_first_batch() {
    let (source, target) = (source(numbered(100)), MemoryStore::new("target"));
    let reads = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = reads.clone();
    target.before_fetch(move |state| seen.lock().unwrap().push(state.log.len()));
    let outcome = run(&source, &target, &adaptive(Some(1000.0))).await;
    assert_copied(&source, &target, &outcome);
    let after_first = reads.lock().unwrap().iter().filter(|writes| **writes == 2).count();
    assert!(after_first >= 20, "{:?}", reads.lock().unwrap());
}

#[tokio::test]
async fn a_target_that_is_busy_or_uncertain_gets_smaller_batches_at_once_and_everything_arrives() {
    for fault in [Fault::Busy, Fault::After, Fault::Before] {
        let (source, target) = (source(numbered(500)), MemoryStore::new("target"));
        target.after_write(move |state| {
            if state.log.len() == 2 {
                state.faults.push_back(fault);
            }
        });
        let outcome = run(&source, &target, &adaptive(None)).await;
        assert_copied(&source, &target, &outcome);
        let (_, adds) = under_way(&target);
        // one more was under way when it was told; later ones grow again
        assert!(adds[4] <= 50, "{fault:?}: {adds:?}");
    }
}

#[tokio::test]
async fn a_refused_write_ends_the_run_after_those_under_way() {
    let (source, target) = (source(numbered(1000)), MemoryStore::new("target"));
    target.after_write(|state| {
        if state.log.len() >= 3 {
            state.faults.push_back(Fault::Reject);
        }
    });
    let outcome = run(&source, &target, &adaptive(None)).await;
    assert_eq!(outcome.exit, Exit::Different, "{}", outcome.report.message);
    assert!(outcome.report.message.contains("refused to take"), "{}", outcome.report.message);
    let (_, adds) = under_way(&target);
    // halved down to single records, of which twenty on end were refused, too
    assert!(adds.len() <= 60 && adds.ends_with(&[1]), "{adds:?}");
    assert_eq!(target.state().under_way.0, 0);
    target.after_write(|_| ());
    assert_copied(&source, &target, &run(&source, &target, &adaptive(None)).await);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a write does, nothing is lost and nothing is twice.
    #[test]
    fn uncertain_writes_are_compared_and_end_well(
        records in 0..30_usize,
        batch in 1..12_usize,
        faults in proptest::collection::vec(prop_oneof![Just(Fault::Before), Just(Fault::After), Just(Fault::Half)], 0..4),
        together: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (source, target) = (source(numbered(records)), MemoryStore::new("target"));
        target.state().faults.extend(faults);
        let options = if together { adaptive(None) } else { fast() };
        let outcome = runtime.block_on(run(&source, &target, &Options { batch_size: batch, allow_empty: true, ..options }));
        assert_copied(&source, &target, &outcome);
    }
}
