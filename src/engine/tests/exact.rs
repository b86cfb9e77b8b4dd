//! The exact set: what only the target holds, when both sides are called identical, and whether the source stood still.

use std::collections::BTreeSet;

use super::*;
use crate::engine::{Extras, verify};
use crate::report::SourceQuiet;

fn strict() -> Options {
    Options { extras: Extras::Fail, ..fast() }
}

/// Three records, all of them in the target, and these beside them.
fn with_strangers(ids: &[&str]) -> (MemoryStore, MemoryStore) {
    let strangers = ids.iter().map(|id| record(id, "somebody else's"));
    (
        source(numbered(3)),
        MemoryStore::new("target").with("memories", Distance::L2, numbered(3).into_iter().chain(strangers)),
    )
}

async fn compared(source: &MemoryStore, target: &MemoryStore, options: &Options) -> Outcome {
    let stop = CancellationToken::new();
    verify(source, target, Direction::LocalToRemote, options, Tracker::new().0, &stop).await
}

/// Copying and comparing say the same.
async fn both(source: &MemoryStore, target: &MemoryStore, options: &Options) -> [Outcome; 2] {
    [run(source, target, options).await, compared(source, target, options).await]
}

fn says(outcome: &Outcome, texts: &[&str]) {
    for text in texts {
        assert!(outcome.report.message.contains(text), "{text:?} is not in: {}", outcome.report.message);
    }
}

fn extras(outcome: &Outcome) -> Vec<&str> {
    let all = outcome.report.collections.iter().flat_map(|c| &c.differences);
    all.filter(|difference| difference.field == "extra").map(|difference| difference.id.as_str()).collect()
}

#[tokio::test]
async fn a_whole_copy_is_identical_and_says_so() {
    let (source, target) = (source(numbered(25)), MemoryStore::new("target"));
    for expected in [25, 0] {
        let outcome = run(&source, &target, &strict()).await;
        assert_copied(&source, &target, &outcome);
        assert!(outcome.report.verification.identical, "{}", outcome.report.message);
        says(&outcome, &["25 records verified: every one was compared and is equal; source and target are identical"]);
        assert_eq!((outcome.report.counts.copied, outcome.report.counts.extra), (expected, 0));
    }
    let outcome = compared(&source, &target, &strict()).await;
    assert!(outcome.report.verification.identical && outcome.report.comparison);
    says(&outcome, &["25 records compared: every one is equal; source and target are identical"]);
    assert!(!outcome.report.message.contains("copied"), "{}", outcome.report.message);
}

#[tokio::test]
async fn a_stranger_in_the_target_is_named_and_allowed_by_default() {
    let (source, target) = with_strangers(&["stranger", "0001a"]);
    for outcome in both(&source, &target, &fast()).await {
        assert_eq!((outcome.exit, outcome.report.reason), (Exit::Success, Reason::Verified));
        assert!(!outcome.report.verification.identical);
        assert_eq!((outcome.report.counts.extra, outcome.report.counts.verified), (2, 3));
        assert_eq!(extras(&outcome), ["0001a", "stranger"]);
        let said = "Not identical: the target holds 2 records that the source does not: 2 in \"memories\" (the first is \"0001a\")";
        says(&outcome, &[said]);
    }
}

#[tokio::test]
async fn where_none_is_allowed_a_stranger_is_a_failure_and_stays() {
    let (source, target) = with_strangers(&["stranger"]);
    for outcome in both(&source, &target, &strict()).await {
        assert_eq!((outcome.exit, outcome.report.reason), (Exit::Different, Reason::VerificationFailed));
        assert_eq!((outcome.report.counts.extra, outcome.report.counts.verified), (1, 3));
        says(&outcome, &["1 in \"memories\"", "nothing was deleted", "3 records", "extras: Allow"]);
    }
    assert!(target.state().log.is_empty(), "{:?}", target.state().log);
    assert!(target.records("memories").contains_key("stranger"));
    // before its first write a run warns of what it will fail for
    let outcome = run(&source, &target, &strict()).await;
    let warned = outcome.report.preflight.iter().find(|check| check.check == "extras").unwrap();
    assert!(!warned.ok && warned.remedy.contains("VerificationFailed"), "{warned:?}");
}

/// The message named the differences only.
#[tokio::test]
async fn a_run_that_fails_for_another_reason_names_what_is_not_allowed_too() {
    let (source, target) = with_strangers(&["stranger"]);
    edit(&mut target.state(), "0001", "other");
    let outcome = compared(&source, &target, &strict()).await;
    assert_eq!(outcome.report.reason, Reason::VerificationFailed);
    says(
        &outcome,
        &["1 records differ", "The target holds 1 records that the source does not", "Extras are not allowed"],
    );
    let outcome = compared(&source, &target, &fast()).await;
    assert!(!outcome.report.message.contains("Extras"), "{}", outcome.report.message);
}

#[tokio::test]
async fn a_plan_and_counts_tell_of_strangers_too() {
    let (source, target) = with_strangers(&["stranger"]);
    for options in [fast(), strict()] {
        let plan = run(&source, &target, &Options { dry_run: true, ..options }).await;
        assert_eq!((plan.report.reason, plan.report.counts.extra), (Reason::DryRunCompleted, 1));
        says(&plan, &["The target holds 1 records that the source does not"]);
        assert!(!plan.report.verification.identical);
        assert_eq!(extras(&plan), ["stranger"]);
    }
    let counts = |options: Options| Options { verification: Verification::Counts, ..options };
    let counted = run(&source, &target, &counts(fast())).await;
    assert_eq!((counted.report.reason, counted.report.counts.extra), (Reason::CountsVerified, 1));
    says(&counted, &["The target holds 1 records that the source does not"]);
    assert!(!counted.report.verification.identical && !counted.report.message.contains("identical"));
    let failed = run(&source, &target, &counts(strict())).await;
    assert_eq!((failed.exit, failed.report.reason), (Exit::Different, Reason::VerificationFailed));
}

/// What the source answers for is not extra, though a listing leaves it out; nor is what the target only lists.
#[tokio::test]
async fn a_listing_alone_proves_no_stranger() {
    let (source, target) = with_strangers(&["ghost", "x"]);
    edit(&mut source.state(), "x", "somebody else's");
    (source.state().unlisted, source.state().counts_listed) = (vec!["x".into()], true);
    target.state().silent = vec!["ghost".into()];
    for outcome in both(&source, &target, &strict()).await {
        assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
        assert_eq!((outcome.report.counts.extra, outcome.report.counts.came_later), (0, 1));
        assert!(!outcome.report.verification.identical);
        says(&outcome, &["the target lists 1 ids that it does not answer for", "1 records came to the source"]);
    }
}

#[tokio::test]
async fn a_gateway_that_caps_answers_hides_no_stranger_and_makes_none() {
    let strangers: Vec<String> = (0..40).map(|n| format!("s{n:02}")).collect();
    let strangers: Vec<&str> = strangers.iter().map(String::as_str).collect();
    let (source, target) = with_strangers(&strangers);
    // the source has half of them, and lists none of those
    for id in &strangers[..20] {
        edit(&mut source.state(), id, "somebody else's");
    }
    (source.state().unlisted, source.state().counts_listed) =
        (strangers[..20].iter().map(|id| (*id).into()).collect(), true);
    (source.state().cap, target.state().cap) = (Some(7), Some(7));
    let outcome = compared(&source, &target, &fast()).await;
    assert_eq!((outcome.report.counts.extra, outcome.report.counts.came_later), (20, 20));
    assert_eq!(extras(&outcome), strangers[20..]);
}

/// A few ids are asked for one by one: a gateway, or a bad page, may hide what is asked for together.
#[tokio::test]
async fn what_a_side_answers_only_alone_it_holds() {
    let strangers: Vec<String> = (0..15).map(|n| format!("s{n:02}")).collect();
    let strangers: Vec<&str> = strangers.iter().map(String::as_str).collect();
    let (source, target) = with_strangers(&strangers);
    for id in &strangers {
        edit(&mut source.state(), id, "somebody else's");
    }
    (source.state().unlisted, source.state().counts_listed) = (strangers.iter().map(|id| (*id).into()).collect(), true);
    source.state().only_alone = true;
    let outcome = compared(&source, &target, &fast()).await;
    assert_eq!((outcome.report.counts.extra, outcome.report.counts.came_later), (0, 15), "{}", outcome.report.message);
}

#[tokio::test]
async fn strangers_are_counted_whole_and_listed_up_to_a_bound() {
    let strangers: Vec<String> = (0..2500).map(|n| format!("s{n:04}")).collect();
    let strangers: Vec<&str> = strangers.iter().map(String::as_str).collect();
    let (source, target) = with_strangers(&strangers);
    let outcome = compared(&source, &target, &fast()).await;
    assert_eq!(outcome.report.counts.extra, 2500);
    let collection = &outcome.report.collections[0];
    assert_eq!((collection.differences.len() as u64, collection.differences_left_out), (1000, 1500));
}

#[tokio::test]
async fn other_collections_count_only_where_the_whole_database_was_asked_for() {
    let target = MemoryStore::new("target").with("private", Distance::L2, [record("p", "mine")]);
    let source = source(numbered(3));
    let selected = Options { selection: only("memories", None), ..strict() };
    for outcome in both(&source, &target, &selected).await {
        assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
        assert!(outcome.report.verification.identical, "{}", outcome.report.message);
    }
    for outcome in both(&source, &target, &fast()).await {
        assert_eq!((outcome.report.reason, outcome.report.counts.extra), (Reason::Verified, 0));
        assert!(!outcome.report.verification.identical);
        says(&outcome, &["Not identical: the target holds collections that the source does not: \"private\""]);
    }
    for outcome in both(&source, &target, &strict()).await {
        assert_eq!(outcome.report.reason, Reason::VerificationFailed, "the whole database was asked for");
        says(&outcome, &["\"private\"", "nothing was deleted"]);
    }
}

#[tokio::test]
async fn settings_that_are_only_named_are_not_identical() {
    let (source, target) = with_strangers(&[]);
    let note = |store: &MemoryStore, text: &str| {
        let mut state = store.state();
        let collection = &mut state.collections.get_mut("memories").unwrap().0;
        collection.metadata.insert("owner".into(), Value::Str(text.into()));
    };
    note(&source, "a");
    note(&target, "b");
    for outcome in both(&source, &target, &fast()).await {
        assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
        assert!(!outcome.report.verification.identical);
        says(&outcome, &["the target has settings of its own: \"memories\": metadata \"owner\" has another value"]);
    }
}

#[tokio::test]
async fn skips_and_values_that_were_not_read_stand_in_the_way() {
    let (source, target) = with_strangers(&[]);
    source.state().remarks.partial = true;
    for outcome in both(&source, &target, &fast()).await {
        assert_eq!(outcome.report.reason, Reason::Verified);
        assert!(!outcome.report.verification.identical);
        says(&outcome, &["Not identical: values that no copy can hold were left out"]);
    }
    source.state().remarks.partial = false;
    source.state().remarks.damage = vec!["it is torn".into()];
    for outcome in both(&source, &target, &fast()).await {
        assert_eq!((outcome.report.reason, outcome.report.counts.verified), (Reason::VerificationFailed, 3));
        assert!(!outcome.report.verification.identical, "all are equal, and nobody knows what is missing");
    }
    source.state().remarks.damage.clear();
    edit(&mut target.state(), "0001", "other");
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::VerifiedWithSkips);
    assert!(!outcome.report.verification.identical && !outcome.report.message.contains("identical"));
}

#[tokio::test]
async fn what_left_the_source_during_the_run_is_extra_in_the_target() {
    let source = std::sync::Arc::new(source(numbered(3)));
    let target = MemoryStore::new("target");
    let moving = source.clone();
    target.after_write(move |_| drop(moving.state().collections.get_mut("memories").unwrap().1.remove("0001")));
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert_eq!((outcome.report.counts.extra, outcome.report.counts.gone_from_source), (1, 1));
    assert_eq!(outcome.report.verification.source_quiet, SourceQuiet::No);
    assert!(!outcome.report.verification.identical);
}

#[tokio::test]
async fn only_files_show_that_the_source_stood_still() {
    let quiet = |outcome: &Outcome| outcome.report.verification.source_quiet;
    for (generation, expected) in [(Some(7), SourceQuiet::Yes), (None, SourceQuiet::Unknown)] {
        let (source, target) = with_strangers(&[]);
        source.state().generation = generation;
        for outcome in both(&source, &target, &fast()).await {
            assert_eq!(quiet(&outcome), expected);
            assert!(outcome.report.verification.identical, "{}", outcome.report.message);
        }
        let plan = run(&source, &target, &Options { dry_run: true, ..fast() }).await;
        assert_eq!(quiet(&plan), expected);
    }
    // its files changed while it was compared, and nothing else tells
    let (source, target) = with_strangers(&[]);
    source.state().generation = Some(1);
    source.before_fetch(|state| state.generation = state.generation.map(|number| number + 1));
    for outcome in both(&source, &target, &fast()).await {
        assert_eq!((outcome.report.reason, quiet(&outcome)), (Reason::Verified, SourceQuiet::No));
    }
}

#[tokio::test]
async fn a_server_that_was_seen_to_change_was_not_quiet() {
    type Change = fn(&mut State);
    let changes: [Change; 4] = [
        |state| edit(state, "0001", "updated"),
        |state| edit(state, "9999", "new"),
        |state| drop(state.collections.get_mut("memories").unwrap().1.remove("0001")),
        |state| drop(state.collections.get_mut("memories").unwrap().0.metadata.insert("k".into(), Value::Int(1))),
    ];
    for change in changes {
        let (source, target) = (std::sync::Arc::new(source(numbered(3))), MemoryStore::new("target"));
        let (moving, mut once) = (source.clone(), true);
        target.after_write(move |_| {
            if std::mem::take(&mut once) {
                change(&mut moving.state());
            }
        });
        let outcome = run(&source, &target, &fast()).await;
        assert_eq!(outcome.report.verification.source_quiet, SourceQuiet::No, "{}", outcome.report.message);
    }
}

/// Ids by who lists them and who answers for them: in the source, then in the target.
fn any_ids() -> impl Strategy<Value = Vec<[bool; 4]>> {
    proptest::collection::vec(any::<[bool; 4]>(), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn extra_is_what_the_target_lists_and_answers_and_the_source_does_neither(ids in any_ids()) {
        let named: Vec<(String, [bool; 4])> = ids.into_iter().enumerate().map(|(n, who)| (format!("{n:03}"), who)).collect();
        let chosen = |of: fn(&[bool; 4]) -> bool| -> Vec<String> {
            named.iter().filter(|(_, who)| of(who)).map(|(id, _)| id.clone()).collect()
        };
        let holds = |of: fn(&[bool; 4]) -> bool| chosen(of).into_iter().map(|id| record(&id, "text")).collect::<Vec<_>>();
        // what a side neither lists nor answers for it does not hold; what it holds silently is listed only
        let source = source(holds(|[lists, answers, ..]| *lists || *answers));
        let target = MemoryStore::new("target").with("memories", Distance::L2, holds(|[.., lists, answers]| *lists || *answers));
        (source.state().unlisted, source.state().counts_listed) = (chosen(|who| !who[0] && who[1]), true);
        (target.state().unlisted, target.state().counts_listed) = (chosen(|who| !who[2] && who[3]), true);
        source.state().silent = chosen(|who| who[0] && !who[1]);
        target.state().silent = chosen(|who| who[2] && !who[3]);
        let options = Options { allow_empty: true, ..fast() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(compared(&source, &target, &options));
        let expected: BTreeSet<String> = chosen(|who| *who == [false, false, true, true]).into_iter().collect();
        prop_assert_eq!(outcome.report.counts.extra, expected.len() as u64);
        let found: BTreeSet<String> = extras(&outcome).into_iter().map(Into::into).collect();
        prop_assert_eq!(found, expected);
        // of what no side lists nobody can know
        let same = named.iter().all(|(_, who)| matches!(who, [true, true, true, true] | [false, _, false, _]));
        prop_assert_eq!(outcome.report.verification.identical, same, "{}", outcome.report.message);
    }
}
