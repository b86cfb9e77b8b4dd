//! Each look by itself: a run looks again and again, so that what one of them misses another one finds, and a test of the
//! whole shows no difference when one is gone.

use std::sync::Arc;

use super::super::{Context, verify, window};
use super::holes::text_of;
use super::*;
use crate::store::Budget;

async fn asked(source: &MemoryStore, records: usize) -> usize {
    let (options, stop) = (fast(), CancellationToken::new());
    let context = Context { source, options: &options, stop: &stop };
    let collection = source.state().collections["memories"].0.clone();
    let ids: Vec<String> = (0..records).map(|n| format!("{n:04}")).collect();
    let budget = Budget { bytes: 4 << 20, first: true, most: usize::MAX };
    let (answers, count) = window::part_of_source(&context, &collection, &ids, budget).await.unwrap();
    assert_eq!(count, records);
    answers.len()
}

#[tokio::test]
async fn one_read_of_a_window_asks_until_nothing_more_comes() {
    let source = source(numbered(100));
    source.state().cap = Some(7);
    assert_eq!(asked(&source, 100).await, 100);
    // what comes only when it is asked for alone
    source.state().cap = None;
    source.state().only_alone = true;
    assert_eq!(asked(&source, 100).await, 100);
    // and what never comes is left out, and nothing else
    source.state().silent = vec!["0003".into()];
    assert_eq!(asked(&source, 100).await, 99);
}

/// A server that fails on one collection as a whole ended the run, and nothing of any other was moved.
#[tokio::test]
async fn a_collection_on_which_the_server_fails_is_left_out_if_it_answers_for_another_one() {
    for failing in ["aaa", "zzz"] {
        let source = source(numbered(20)).with(failing, Distance::L2, numbered(3));
        source.state().failing = vec![failing.to_owned()];
        let target = MemoryStore::new("target");
        let outcome = run(&source, &target, &fast()).await;
        assert_eq!((outcome.exit, outcome.report.reason), (Exit::Different, Reason::VerificationFailed), "{failing}");
        let message = &outcome.report.message;
        assert!(
            message.contains(&format!("{failing:?} was skipped")) && message.contains("an error of its own"),
            "{message}"
        );
        assert_eq!(target.records("memories"), source.records("memories"), "{failing}");
        assert!(target.records(failing).is_empty());
        // where it answers for none it is the server: nothing is said of a collection
        source.state().failing.push("memories".to_owned());
        let outcome = run(&source, &MemoryStore::new("target"), &fast()).await;
        assert_eq!((outcome.exit, outcome.report.reason), (Exit::Interrupted, Reason::Unavailable), "{failing}");
    }
}

#[tokio::test]
async fn what_neither_listing_nor_count_has_and_still_comes_is_not_gone() {
    let (source, target) = (source(numbered(20)), MemoryStore::new("target"));
    let mut listings = 0;
    source.before_list(move |state| {
        listings += 1;
        if listings > 1 {
            state.unlisted = vec!["0003".into()];
            state.counts_listed = true;
        }
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_copied(&source, &target, &outcome);
    assert_eq!((outcome.report.counts.gone_from_source, outcome.report.counts.verified), (0, 20));
}

#[tokio::test]
async fn a_source_collection_that_was_made_anew_with_the_same_records_is_another_one() {
    let source = Arc::new(source(numbered(20)));
    let target = MemoryStore::new("target");
    let moving = source.clone();
    target.after_write(move |state| {
        if state.log.len() == 3 {
            moving.state().collections.get_mut("memories").unwrap().0.id = "anew".into();
        }
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::SourceReplaced, "{}", outcome.report.message);
}

/// It was not there in preflight, is equal to ours, and then the source changes: it is theirs, and stays as it is.
#[tokio::test]
async fn an_equal_record_that_another_client_adds_just_before_us_is_theirs() {
    let source = Arc::new(source(numbered(5)));
    let target = MemoryStore::new("target");
    target.before_fetch(|state| {
        if let Some((_, records)) = state.collections.get_mut("memories") {
            records.entry("0003".into()).or_insert_with(|| record("0003", "text 3"));
        }
    });
    let moving = source.clone();
    target.after_write(move |_| edit(&mut moving.state(), "0003", "changed in the source"));
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::VerifiedWithSkips, "{}", outcome.report.message);
    assert_eq!(text_of(&target, "0003").as_deref(), Some("text 3"));
}

/// What the target holds and cannot tell was not compared: it stays as it is, and the run is no success. The last look sees
/// it anew: as it is by then, equal, other content or still lost.
#[tokio::test]
async fn a_record_that_the_target_cannot_tell_is_left_alone_and_fails_a_run_that_skips() {
    use Reason::{VerificationFailed, Verified, VerifiedWithSkips};
    let rows = [
        (true, true, "text 1", VerificationFailed, [0, 1, 2], Some("unreadable")),
        (true, false, "text 1", Verified, [0, 0, 3], None),
        (true, false, "theirs", VerifiedWithSkips, [1, 0, 2], Some("conflict")),
        (false, true, "theirs", VerificationFailed, [0, 1, 2], Some("unreadable")),
        (false, true, "text 1", VerificationFailed, [0, 1, 2], Some("unreadable")),
    ];
    for (at_first, at_last, text, reason, counted, field) in rows {
        let target = MemoryStore::new("target").with("memories", Distance::L2, [record("0001", text)]);
        let set = |state: &mut State, is_lost: bool| {
            state.unreadable.clear();
            state.unreadable.extend(is_lost.then(|| "0001".to_owned()));
        };
        set(&mut target.state(), at_first);
        let plan = run(&source(numbered(3)), &target, &Options { dry_run: true, ..fast() }).await.report.message;
        assert_eq!(plan.contains("1 cannot be read in the target"), at_first, "{plan}");
        target.after_write(move |state| set(state, at_last));
        let outcome = run(&source(numbered(3)), &target, &fast()).await;
        let case = format!("{at_first} {at_last} {text}: {}", outcome.report.message);
        let counts = &outcome.report.counts;
        assert_eq!(outcome.report.reason, reason, "{case}");
        assert_eq!([counts.conflicts_skipped, counts.different, counts.verified], counted, "{case}");
        let listed = outcome.report.collections[0].differences.first().map(|one| one.field.as_str());
        assert_eq!(listed, field, "{case}");
        assert_eq!(text_of(&target, "0001").as_deref(), Some(text), "{case}");
    }
}

/// A server that is written to can answer without a vector for a moment (make faults SEED=2811 ROW=moving-fill, 2 and 6).
#[tokio::test]
async fn what_could_not_be_read_of_a_moving_source_is_read_once_more() {
    for (moves, reason, verified) in [(true, Reason::Verified, 5), (false, Reason::VerificationFailed, 4)] {
        let source = Arc::new(source(numbered(5)));
        source.state().unreadable.push("0003".into());
        let target = MemoryStore::new("target");
        let moving = source.clone();
        target.after_write(move |_| {
            let mut state = moving.state();
            state.unreadable.clear();
            if moves {
                edit(&mut state, "0001", "changed in the source");
            }
        });
        let outcome = run(&source, &target, &fast()).await;
        let told = (outcome.report.reason, outcome.report.counts.verified);
        assert_eq!(told, (reason, verified), "{}", outcome.report.message);
        assert_eq!(outcome.report.collections[0].differences.is_empty(), moves);
    }
}

/// A delete that may still come would take what is added after it.
#[tokio::test]
async fn an_uncertain_delete_whose_record_is_still_there_ends_the_run() {
    let mut bare = record("0000", "");
    bare.document = None;
    let source = source(vec![bare]);
    let target = MemoryStore::new("target").with("memories", Distance::L2, [record("0000", "to be cleared")]);
    target.state().faults.push_back(Fault::Before);
    let options = Options { on_conflict: OnConflict::Overwrite, ..fast() };
    let outcome = run(&source, &target, &options).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Interrupted, Reason::Unavailable));
    assert_eq!(target.state().log, ["delete 1"]);
    assert_copied(&source, &target, &run(&source, &target, &options).await);
}

/// What is wrong with the target is named by whoever reads it, before the first write and at the end.
#[tokio::test]
async fn a_target_that_says_it_is_damaged_is_not_written_and_not_verified() {
    let damaged = || crate::store::Remarks { damage: vec!["its index lacks 1 id".into()], ..Default::default() };
    let (source, target) =
        (source(numbered(3)), MemoryStore::new("target").with("memories", Distance::L2, numbered(2)));
    target.state().remarks = damaged();
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Refused, Reason::PreflightRefused));
    assert!(
        outcome.report.message.contains("the target is damaged: its index lacks 1 id"),
        "{}",
        outcome.report.message
    );
    assert!(target.state().log.is_empty());
    // it shows only once it was written
    target.state().remarks = crate::store::Remarks::default();
    target.after_write(move |state| state.remarks = damaged());
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Different, Reason::VerificationFailed));
    assert!(outcome.report.message.contains("the target is damaged"), "{}", outcome.report.message);
    // what it lacks is told beside its damage, and not to be sent there
    target.state().collections.get_mut("memories").unwrap().1.remove("0001");
    let (stop, tracker) = (CancellationToken::new(), Tracker::new().0);
    let outcome = verify(&source, &target, Direction::LocalToLocal, &fast(), tracker, &stop).await;
    let message = &outcome.report.message;
    assert!(message.contains("the target is damaged") && message.contains("1 are missing in the target"), "{message}");
    assert!(message.contains("when the target is sound") && !message.contains("onConflict"), "{message}");
}
