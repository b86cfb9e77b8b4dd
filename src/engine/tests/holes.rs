//! Ways to a false verdict or to another client's record, each closed: stores in memory that say less than they hold, that
//! change at the wrong moment, and that are not what they were. Real Chroma has its own tests.

use std::sync::Arc;

use super::*;
use crate::report::{Listed, ListedCollection};

/// Every record of the source is in the target, equal.
pub(super) fn holds_all(source: &MemoryStore, target: &MemoryStore) {
    for (id, record) in source.records("memories") {
        assert_eq!(target.records("memories").get(&id), Some(&record), "{id}");
    }
}

pub(super) fn text_of(store: &MemoryStore, id: &str) -> Option<String> {
    store.records("memories").get(id)?.document.clone()
}

fn listed(outcome: &Outcome, id: &str) -> Vec<String> {
    let all = outcome.report.collections.iter().flat_map(|c| &c.differences);
    all.filter(|d| d.id == id).map(|d| format!("{}: {}", d.field, d.detail)).collect()
}

#[tokio::test]
async fn a_source_that_caps_its_answers_is_asked_until_all_came() {
    let (source, target) = (source(numbered(900)), MemoryStore::new("target"));
    source.state().cap = Some(100);
    let outcome = run(&source, &target, &Options { batch_size: 100, ..fast() }).await;
    assert_copied(&source, &target, &outcome);
    assert_eq!(outcome.report.counts.verified, 900);
}

/// A server that fails on many records is searched for a while in each run. What a run could not read must not take the time
/// of what none has read yet.
#[tokio::test]
async fn a_rerun_begins_with_what_no_run_has_read() {
    const BAD: usize = 300;
    let (source, target) = (source(numbered(3000)), MemoryStore::new("target"));
    source.state().unreadable = (0..BAD).map(|n| format!("{:04}", n * 10 + 7)).collect();
    let mut held = 0;
    while held < 3000 - BAD {
        source.state().patience = Some(110);
        let outcome = run(&source, &target, &Options { batch_size: 100, ..fast() }).await;
        assert_eq!(outcome.report.reason, Reason::VerificationFailed, "{}", outcome.report.message);
        let now = target.records("memories").len();
        assert!(now > held, "a run got no further than the one before: {held}");
        held = now;
    }
}

#[tokio::test]
async fn what_a_listing_left_out_at_first_is_copied_in_the_end() {
    let (source, target) = (source(numbered(20)), MemoryStore::new("target"));
    let mut listings = 0;
    source.before_list(move |state| {
        listings += 1;
        state.unlisted = if listings < 2 { vec!["0003".into(), "0017".into()] } else { Vec::new() };
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_copied(&source, &target, &outcome);
    assert_eq!(outcome.report.counts.source, 20);
}

#[tokio::test]
async fn a_listing_that_stays_shorter_than_the_count_is_not_verified() {
    let (source, target) = (source(numbered(20)), MemoryStore::new("target"));
    source.state().listing_cap = Some(7);
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Different, Reason::VerificationFailed));
    assert!(outcome.report.message.contains("counts 20 records and lists 7"), "{}", outcome.report.message);
}

#[tokio::test]
async fn a_listing_that_forgets_a_record_for_a_moment_loses_nothing() {
    let (source, target) = (source(numbered(20)), MemoryStore::new("target"));
    let mut listings = 0;
    source.before_list(move |state| {
        listings += 1;
        state.unlisted = if listings == 2 { vec!["0003".into()] } else { Vec::new() };
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_copied(&source, &target, &outcome);
    assert_eq!(outcome.report.counts.gone_from_source, 0);
}

#[tokio::test]
async fn a_listed_record_that_never_comes_is_unreadable_and_not_gone() {
    let (source, target) = (source(numbered(20)), MemoryStore::new("target"));
    source.state().silent = vec!["0003".into()];
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Different, Reason::VerificationFailed));
    let counts = outcome.report.counts;
    assert_eq!((counts.source, counts.verified, counts.unreadable, counts.gone_from_source), (20, 19, 1, 0));
    assert!(listed(&outcome, "0003")[0].starts_with("unreadable: the source lists it"));
    let counted =
        run(&source, &MemoryStore::new("other"), &Options { verification: Verification::Counts, ..fast() }).await;
    assert_eq!(counted.report.reason, Reason::VerificationFailed, "{}", counted.report.message);
}

#[tokio::test]
async fn what_leaves_the_source_is_counted_and_what_comes_too_late_is_named() {
    let source = Arc::new(source(numbered(20)));
    let target = MemoryStore::new("target");
    let moving = source.clone();
    target.after_write(move |_| {
        moving.state().collections.get_mut("memories").unwrap().1.remove("0019");
    });
    let (mut listings, mut came) = (0, 0);
    source.before_list(move |state| {
        listings += 1;
        if listings > 1 {
            came += 1;
            edit(state, &format!("late {came}"), "late");
        }
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    let counts = outcome.report.counts;
    assert!(counts.came_later > 0, "{counts:?}");
    assert!(outcome.report.message.contains("came to the source after the last pass"), "{}", outcome.report.message);
    assert_eq!(counts.gone_from_source, u64::from(listed(&outcome, "0019")[0].starts_with("goneFromSource")));
    assert_eq!(counts.gone_from_source, 1);
}

/// An empty source, one that became empty, and one that is another since the last attempt.
#[tokio::test]
async fn nothing_compared_is_no_success() {
    let outcome = run(&source(Vec::new()), &MemoryStore::new("target"), &fast()).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Interrupted, Reason::SourceEmpty));
    assert!(outcome.report.message.contains("--allow-empty"), "{}", outcome.report.message);
    let no_collection = MemoryStore::new("source");
    assert_eq!(run(&no_collection, &MemoryStore::new("target"), &fast()).await.report.reason, Reason::SourceEmpty);
    let meant = Options { allow_empty: true, ..fast() };
    let outcome = run(&source(Vec::new()), &MemoryStore::new("target"), &meant).await;
    assert_eq!(outcome.report.reason, Reason::Verified);
    assert!(outcome.report.message.contains("nothing to compare"), "{}", outcome.report.message);
    let dry = Options { dry_run: true, ..fast() };
    let outcome = run(&source(Vec::new()), &MemoryStore::new("target"), &dry).await;
    assert_eq!(outcome.report.reason, Reason::DryRunCompleted);
    assert!(outcome.report.message.contains("holds no record"), "{}", outcome.report.message);
}

#[tokio::test]
async fn a_source_that_is_empty_or_another_in_the_middle_of_a_run_needs_a_person() {
    for replace in [false, true] {
        let source = Arc::new(source(numbered(20)));
        let target = MemoryStore::new("target");
        let moving = source.clone();
        target.after_write(move |state| {
            if state.log.last().is_some_and(|last| last == "add 10") {
                let mut state = moving.state();
                let (collection, records) = state.collections.get_mut("memories").unwrap();
                records.clear();
                if replace {
                    collection.id = "another".into();
                }
            }
        });
        let outcome = run(&source, &target, &fast()).await;
        // 3 would say that nothing was written
        assert_eq!(outcome.exit, Exit::Different, "{}", outcome.report.message);
        assert_eq!(outcome.report.reason, Reason::SourceReplaced);
    }
    let before = Listed {
        collections: vec![ListedCollection { id: "another".into(), records: 2000 }],
        records: 2000,
        digest: "another".into(),
    };
    let outcome =
        run(&source(numbered(10)), &MemoryStore::new("target"), &Options { listed: Some(before), ..fast() }).await;
    assert_eq!(outcome.report.reason, Reason::SourceReplaced, "{}", outcome.report.message);
}

/// Under Skip and Fail, whenever another client's record comes: before our look, or between it and our add.
#[tokio::test]
async fn another_clients_record_is_never_touched() {
    for in_the_window in [false, true] {
        for policy in [OnConflict::Skip, OnConflict::Fail] {
            let (source, target) = (source(numbered(12)), MemoryStore::new("target"));
            let theirs = |state: &mut State| {
                if let Some((_, records)) = state.collections.get_mut("memories") {
                    records.entry("0007".into()).or_insert_with(|| record("0007", "theirs"));
                }
            };
            if in_the_window {
                target.before_write(theirs);
            } else {
                target.before_fetch(theirs);
            }
            let outcome = run(&source, &target, &Options { on_conflict: policy, ..fast() }).await;
            let expected = if policy == OnConflict::Skip { Reason::VerifiedWithSkips } else { Reason::RecordConflict };
            assert_eq!(outcome.report.reason, expected, "{}", outcome.report.message);
            assert_eq!(text_of(&target, "0007").as_deref(), Some("theirs"));
            if policy == OnConflict::Skip {
                assert_eq!(outcome.report.counts.conflicts_skipped, 1);
                assert!(listed(&outcome, "0007")[0].starts_with("conflict"), "{:?}", listed(&outcome, "0007"));
            }
        }
    }
}

#[tokio::test]
async fn a_present_record_that_both_sides_change_is_a_conflict() {
    let source = Arc::new(source(numbered(2)));
    let target = MemoryStore::new("target").with("memories", Distance::L2, [record("0000", "text 0")]);
    let moving = source.clone();
    target.after_write(move |state| {
        edit(state, "0000", "theirs");
        edit(&mut moving.state(), "0000", "ours");
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::VerifiedWithSkips, "{}", outcome.report.message);
    assert_eq!(text_of(&target, "0000").as_deref(), Some("theirs"));
}

#[tokio::test]
async fn a_record_that_was_deleted_and_added_again_in_the_source_is_ours_to_change() {
    let source = Arc::new(source(numbered(12)));
    let target = MemoryStore::new("target");
    let (moving, mut writes) = (source.clone(), 0);
    target.after_write(move |_| {
        writes += 1;
        if writes == 1 {
            moving.state().collections.get_mut("memories").unwrap().1.remove("0001");
        }
    });
    let mut listings = 0;
    source.before_list(move |state| {
        listings += 1;
        match listings {
            // gone at the first last look, which has a further one because something is new
            2 => edit(state, "9999", "new"),
            3 => edit(state, "0001", "anew"),
            _ => {}
        }
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_copied(&source, &target, &outcome);
    assert_eq!(text_of(&target, "0001").as_deref(), Some("anew"));
}

#[tokio::test]
async fn a_vector_that_was_embedded_anew_in_the_source_is_followed_under_every_policy() {
    for policy in [OnConflict::Skip, OnConflict::Fail, OnConflict::Overwrite] {
        let with = |x: f32| Record { embedding: vec![x, 0.5], ..record("0000", "text") };
        let source = Arc::new(MemoryStore::new("source").with("memories", Distance::Cosine, [with(0.25)]));
        let target = MemoryStore::new("target");
        let moving = source.clone();
        target.after_write(move |_| {
            moving.state().collections.get_mut("memories").unwrap().1.insert("0000".into(), with(0.75));
        });
        let outcome = run(&source, &target, &Options { on_conflict: policy, ..fast() }).await;
        assert_copied(&source, &target, &outcome);
    }
}

#[tokio::test]
async fn a_duplicate_whose_twin_goes_away_is_copied_after_all() {
    let source = source(vec![record("a", "same"), record("b", "own")]);
    let target = MemoryStore::new("target").with("memories", Distance::L2, [record("z", "same")]);
    target.after_write(|state| {
        state.collections.get_mut("memories").unwrap().1.remove("z");
    });
    let outcome = run(&source, &target, &Options { duplicates: Duplicates::ByContent, ..fast() }).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    holds_all(&source, &target);
    assert_eq!((outcome.report.counts.duplicates, outcome.report.counts.verified), (0, 2));
}

#[tokio::test]
async fn a_skipped_conflict_that_goes_away_is_copied_and_one_that_became_equal_is_verified() {
    let source = source(numbered(3));
    let theirs = [record("0000", "x"), record("0001", "x")];
    let target = MemoryStore::new("target").with("memories", Distance::L2, theirs);
    target.after_write(|state| {
        state.collections.get_mut("memories").unwrap().1.remove("0000");
        edit(state, "0001", "text 1");
    });
    let mut once = false;
    target.before_write(move |state| {
        // only the first write is followed by the hook above
        if std::mem::replace(&mut once, true) {
            state.log.push("another".into());
        }
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.counts.conflicts_skipped, 0, "{}", outcome.report.message);
    assert!(listed(&outcome, "0001").is_empty(), "{:?}", listed(&outcome, "0001"));
}

#[tokio::test]
async fn counts_that_lose_a_record_do_not_agree() {
    let (source, target) = (source(numbered(40)), MemoryStore::new("target"));
    target.after_write(|state| {
        state.collections.get_mut("memories").unwrap().1.remove("0007");
    });
    let outcome = run(&source, &target, &Options { verification: Verification::Counts, ..fast() }).await;
    assert_eq!(outcome.report.reason, Reason::VerificationFailed, "{}", outcome.report.message);
}
