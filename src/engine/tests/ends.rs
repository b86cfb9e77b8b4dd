//! What the last look finds: names, listings and contents that moved after they were compared; stores that may be one.

use std::sync::Arc;

use super::super::Relation;
use super::holes::{holds_all, text_of};
use super::*;
use crate::store::Remarks;

type Act = (&'static str, fn(&mut State));

/// What happens to a target collection while others are compared.
#[tokio::test]
async fn the_end_is_judged_by_name_over_all_collections() {
    let acts: [Act; 4] = [
        ("renamed", |state| {
            if let Some(mut moved) = state.collections.remove("first") {
                moved.0.name = "elsewhere".into();
                state.collections.insert("elsewhere".into(), moved);
            }
        }),
        ("dropped", |state| drop(state.collections.remove("first"))),
        ("swapped", |state| {
            if state.collections["first"].0.id.ends_with("first") {
                let (a, b) = (state.collections.remove("first").unwrap(), state.collections.remove("second").unwrap());
                let named = |(c, r): (crate::model::Collection, _), name: &str| {
                    (crate::model::Collection { name: name.into(), ..c }, r)
                };
                state.collections.insert("second".into(), named(a, "second"));
                state.collections.insert("first".into(), named(b, "first"));
            }
        }),
        ("replaced", |state| {
            if let Some((collection, records)) = state.collections.get_mut("first") {
                collection.id = "another".into();
                records.clear();
            }
        }),
    ];
    for (what, act) in acts {
        let source = MemoryStore::new("source").with("first", Distance::L2, numbered(12)).with(
            "second",
            Distance::L2,
            numbered(12),
        );
        let target = MemoryStore::new("target");
        let mut acted = false;
        // once both are copied: the second pass over the target's ids is the last look's or later
        target.before_list(move |state| {
            if !acted && state.collections.len() == 2 && state.log.len() >= 6 {
                acted = true;
                act(state);
            }
        });
        let outcome = run(&source, &target, &fast()).await;
        assert_ne!(outcome.exit, Exit::Success, "{what}: {}", outcome.report.message);
    }
}

#[tokio::test]
async fn records_that_the_target_loses_after_they_were_compared_are_found_and_added_again() {
    let (source, target) = (source(numbered(300)), MemoryStore::new("target"));
    let mut once = true;
    target.before_list(move |state| {
        let records = &mut state.collections.get_mut("memories").unwrap().1;
        if records.len() == 300 && std::mem::take(&mut once) {
            records.remove("0150");
            records.get_mut("0299").unwrap().document = Some("of an older volume".into());
        }
    });
    let outcome = run(&source, &target, &Options { on_conflict: OnConflict::Overwrite, ..fast() }).await;
    assert_copied(&source, &target, &outcome);
}

#[tokio::test]
async fn a_damaged_source_is_copied_and_not_verified_and_a_refused_one_is_not_touched() {
    let (source, target) = (source(numbered(3)), MemoryStore::new("target"));
    source.state().remarks = Remarks { damage: vec!["its index lacks 1 id".into()], ..Remarks::default() };
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Different, Reason::VerificationFailed));
    assert!(outcome.report.message.contains("its index lacks 1 id"), "{}", outcome.report.message);
    holds_all(&source, &target);
    source.state().remarks = Remarks { refusal: Some("answers by cosine and says l2".into()), ..Remarks::default() };
    let outcome = run(&source, &MemoryStore::new("other"), &fast()).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Refused, Reason::PreflightRefused));
}

#[tokio::test]
async fn a_collection_that_appears_meanwhile_is_another_clients() {
    let (source, target) = (source(numbered(12)), MemoryStore::new("target"));
    // preflight has looked at the source when the first record is read
    let target = Arc::new(target);
    let moving = target.clone();
    let mut once = true;
    source.before_fetch(move |_| {
        if std::mem::take(&mut once) {
            let mut state = moving.state();
            let described = crate::store::memory::collection("target", "memories", Distance::L2, 1);
            state
                .collections
                .insert("memories".into(), (described, [("0003".to_owned(), record("0003", "theirs"))].into()));
        }
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::VerifiedWithSkips, "{}", outcome.report.message);
    assert_eq!(text_of(&target, "0003").as_deref(), Some("theirs"));
}

#[tokio::test]
async fn one_store_on_both_sides_is_written_nowhere_and_never_called_a_second_copy() {
    let store = source(numbered(3));
    let outcome = run(&store, &store, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert!(outcome.report.message.contains("may be one store"), "{}", outcome.report.message);
    assert!(store.state().log.is_empty());
    let outcome = run(&store, &store, &Options { relation: Relation::Same, ..fast() }).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Refused, Reason::PreflightRefused));
}

/// The UUIDs of a restored snapshot are those of its original.
#[tokio::test]
async fn a_restored_copy_is_told_from_one_store_by_an_id_that_differs_twice() {
    let twin = |records: Vec<Record>| MemoryStore::new("live").with("memories", Distance::L2, records);
    let apart = || Options { relation: Relation::Unshared, ..fast() };
    let (copy, live) = (twin(numbered(3)), twin(numbered(2)));
    // a damaged store shows other ids in its files than over its server, too
    for relation in [Relation::Unasked, Relation::Unknown] {
        let outcome = run(&copy, &live, &Options { relation, ..fast() }).await;
        assert_eq!((outcome.exit, outcome.report.reason), (Exit::Refused, Reason::PreflightRefused));
        assert!(outcome.report.message.contains("nobody here can see"), "{}", outcome.report.message);
        assert!(outcome.report.message.contains("--one-store no"), "{}", outcome.report.message);
        assert!(live.state().log.is_empty());
    }
    let outcome = run(&copy, &live, &apart()).await;
    assert_copied(&copy, &live, &outcome);
    // what differs only once, or while one side moves, proves nothing
    let (copy, live) = (twin(numbered(3)), Arc::new(twin(numbered(2))));
    let mut n = 0;
    live.before_fetch(move |state| {
        n += 1;
        edit(state, &format!("moving {n}"), "moving");
    });
    let outcome = run(&copy, &live, &apart()).await;
    assert_eq!(outcome.exit, Exit::Refused, "{}", outcome.report.message);
    assert!(outcome.report.message.contains("perhaps they are one store"), "{}", outcome.report.message);
}

#[tokio::test]
async fn perhaps_one_store_is_never_written_under_another_name() {
    let store = source(numbered(3));
    let selection = only("memories", Some("renamed"));
    let outcome = run(&store, &store, &Options { selection, ..fast() }).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Refused, Reason::PreflightRefused));
    assert!(store.state().log.is_empty());
}

/// Found by trying: a source's `modify` during the run was never seen, and the verdict was Verified.
#[tokio::test]
async fn settings_that_change_in_the_source_during_the_run_are_found() {
    let source = Arc::new(source(numbered(12)));
    let target = MemoryStore::new("target");
    let moving = source.clone();
    target.after_write(move |_| {
        let mut state = moving.state();
        state.collections.get_mut("memories").unwrap().0.metadata.insert("team".into(), Value::Str("new".into()));
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::VerificationFailed, "{}", outcome.report.message);
    assert!(outcome.report.message.contains("metadata \"team\" is missing"), "{}", outcome.report.message);
}

/// Found by trying: one listing of collections that was empty for a moment ended a sound run for good.
#[tokio::test]
async fn a_list_of_collections_that_is_empty_for_a_moment_ends_nothing() {
    let (source, target) = (source(numbered(12)), MemoryStore::new("target"));
    let mut writes = 0;
    target.after_write(move |state| {
        writes += 1;
        state.hidden_listings = usize::from(writes == 2);
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_copied(&source, &target, &outcome);
}

/// A source that grows between each listing and its count was listed for ever.
#[tokio::test]
async fn a_source_that_grows_all_the_while_ends() {
    let (source, target) = (source(numbered(12)), MemoryStore::new("target"));
    let mut n = 0;
    source.before_count(move |state| {
        n += 1;
        edit(state, &format!("late {n}"), "late");
    });
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    for id in 0..12 {
        assert!(target.records("memories").contains_key(&format!("{id:04}")));
    }
}
