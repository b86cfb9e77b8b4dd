//! Records so large that a window of them would not fit into memory: nothing holds more than its budget, and what this process
//! has no room for is named before the first write.

use super::super::window;
use super::*;
use crate::engine::{Context, Relation};
use crate::store::Budget;

const SIZE: usize = 256 << 10;
const RECORDS: usize = 40;
/// As `window::WHOLE`.
const BUDGET: Budget = Budget { bytes: 4 << 20, first: true, most: usize::MAX };

/// Ten mebibytes.
fn large() -> Vec<Record> {
    (0..RECORDS).map(|n| record(&format!("{n:04}"), &format!("{n:04}").repeat(SIZE / 4))).collect()
}

fn target(records: Vec<Record>) -> MemoryStore {
    MemoryStore::new("target").with("memories", Distance::L2, records)
}

/// Runs it, and sees that no answer with several records was larger than a window.
async fn kept_small(case: &str, source: &MemoryStore, target: &MemoryStore, options: &Options) -> Outcome {
    let outcome = run(source, target, options).await;
    for (side, store) in [("source", source), ("target", target)] {
        let largest = store.state().largest;
        assert!(largest <= BUDGET.bytes, "{case}: {side} was asked for {largest} bytes at once");
    }
    outcome
}

/// Report 16: 40 documents of 16 MiB took 596 MB on each side. Each look that reads content is taken here.
#[tokio::test]
async fn no_look_holds_more_than_its_window() {
    let (store, empty) = (source(large()), target(Vec::new()));
    let copied = kept_small("copy", &store, &empty, &fast()).await;
    assert_copied(&store, &empty, &copied);
    kept_small("rerun", &store, &empty, &fast()).await;

    let others: Vec<Record> = large().into_iter().map(|r| Record { id: format!("x{}", r.id), ..r }).collect();
    let options = Options { duplicates: Duplicates::ByContent, ..fast() };
    let outcome = kept_small("duplicates", &source(large()), &target(others), &options).await;
    assert_eq!(outcome.report.counts.duplicates, RECORDS as u64, "{}", outcome.report.message);

    let others: Vec<Record> = large().into_iter().map(|r| Record { embedding: vec![2.0], ..r }).collect();
    for policy in [OnConflict::Skip, OnConflict::Overwrite] {
        let options = Options { on_conflict: policy, ..fast() };
        let outcome = kept_small("conflicts", &source(large()), &target(others.clone()), &options).await;
        let counts = outcome.report.counts;
        assert_eq!(counts.conflicts_skipped + counts.overwritten, RECORDS as u64, "{}", outcome.report.message);
    }

    let twin = target(large());
    twin.state().collections.get_mut("memories").unwrap().0.id = "source/memories".into();
    let options = Options { relation: Relation::Unshared, ..fast() };
    let outcome = kept_small("same store", &source(large()), &twin, &options).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
}

/// After an uncertain write a whole batch was read back at once.
#[tokio::test]
async fn a_batch_is_read_back_within_the_window() {
    for fault in [Fault::After, Fault::Half, Fault::Before] {
        let (store, empty) = (source(large()), target(Vec::new()));
        empty.state().faults.extend([fault; 2]);
        let outcome =
            kept_small(&format!("{fault:?}"), &store, &empty, &Options { batch_size: RECORDS, ..fast() }).await;
        assert_copied(&store, &empty, &outcome);
        assert_eq!(empty.state().log.first().unwrap(), &format!("add {RECORDS}"), "one batch has them all");
    }
}

/// What an answer has left out is asked for again, and comes then: also within the budget.
#[tokio::test]
async fn what_comes_late_keeps_to_the_budget_too() {
    let store = source(large());
    let (options, stop) = (fast(), CancellationToken::new());
    let context = Context { source: &store, options: &options, stop: &stop };
    let collection = store.state().collections["memories"].0.clone();
    let ids: Vec<String> = (0..RECORDS).map(|n| format!("{n:04}")).collect();
    let per_window = BUDGET.bytes / SIZE;
    for (case, cap, only_alone, silent) in [
        ("whole", None, false, vec![]),
        ("capped", Some(3), false, vec![]),
        ("alone", None, true, vec![]),
        ("alone, without the first", None, true, vec!["0000".to_owned(), "0005".to_owned()]),
        ("without all", None, false, ids.clone()),
    ] {
        {
            let mut state = store.state();
            (state.cap, state.only_alone, state.silent) = (cap, only_alone, silent.clone());
        }
        let (mut from, mut found) = (0, Vec::new());
        while from < ids.len() {
            let read = window::part_of_source(&context, &collection, &ids[from..], BUDGET);
            let (answers, count) = read.await.unwrap();
            assert!(answers.len() <= per_window + 1, "{case}: {} records at once", answers.len());
            let of_window = &ids[from..from + count];
            assert!(answers.keys().all(|id| of_window.contains(id)), "{case}: answers of another window");
            assert!(count > 0, "{case}: it does not go on");
            found.extend(answers.into_keys());
            from += count;
        }
        found.sort_unstable();
        let expected: Vec<String> = ids.iter().filter(|id| !silent.contains(id)).cloned().collect();
        assert_eq!(found, expected, "{case}");
    }
}

/// What comes alone after a first record beyond the budget is left to the next window. The store does not see how large that one
/// is before it is read, for all of it is its vector.
#[tokio::test]
async fn a_first_record_beyond_the_budget_takes_the_window_for_itself() {
    let long = Record { embedding: vec![1.0; BUDGET.bytes / 4 + 1], ..record("a", "long") };
    let store = source(vec![long, record("b", "small"), record("c", "small")]);
    store.state().only_alone = true;
    let (options, stop) = (fast(), CancellationToken::new());
    let context = Context { source: &store, options: &options, stop: &stop };
    let collection = store.state().collections["memories"].0.clone();
    let ids = ["a", "b", "c"].map(str::to_owned);
    let (answers, count) = window::part_of_source(&context, &collection, &ids, BUDGET).await.unwrap();
    assert_eq!((count, answers.into_keys().collect::<Vec<_>>()), (1, vec!["a".to_owned()]));
}

/// A target that takes large bodies, as Chroma does.
fn roomy() -> MemoryStore {
    let store = MemoryStore::new("target");
    store.state().max_body = Some(40 << 20);
    store
}

/// Report 16: a record that does not fit was found by the kernel, at each try anew.
#[tokio::test]
async fn a_record_beyond_the_memory_limit_is_named_before_the_first_write() {
    const MIB: usize = 1 << 20;
    let of_size = |bytes: usize| vec![record("0000", "small"), record("huge", &"x".repeat(bytes))];
    let limited = Options { memory: Some(60 << 20), ..fast() };
    for (case, bytes, words) in [
        ("it can be read and not be copied", 6 * MIB, "6291473 bytes, for which a run needs at least 65 MiB"),
        ("it cannot even be read", 11 * MIB, "more than 10485760 bytes"),
    ] {
        let (store, empty) = (source(of_size(bytes)), roomy());
        let outcome = run(&store, &empty, &limited).await;
        assert_eq!((outcome.exit, outcome.report.reason), (Exit::Refused, Reason::PreflightRefused), "{case}");
        for part in ["\"huge\"", words, "resources.limits.memory", "spec.runner.podTemplate"] {
            assert!(outcome.report.message.contains(part), "{case}: no {part:?} in {}", outcome.report.message);
        }
        assert!(empty.state().log.is_empty(), "{case}");
    }
    let (store, empty) = (source(of_size(4 * MIB)), roomy());
    assert_copied(&store, &empty, &run(&store, &empty, &limited).await);
    let (store, empty) = (source(of_size(11 * MIB)), roomy());
    assert_copied(&store, &empty, &run(&store, &empty, &fast()).await);
}
