//! Several collections of several databases in one run: one verdict over all of them.

use std::sync::Arc;

use super::*;

fn selection(databases: &[&str], entries: Vec<Entry>) -> Selection {
    let databases: Vec<String> = databases.iter().map(|name| (*name).to_owned()).collect();
    Selection::new(&databases, entries).unwrap()
}

fn several(entries: Vec<Entry>) -> Options {
    let databases = vec!["blue".to_owned(), "green".to_owned()];
    Options { selection: selection(&["*"], entries), databases, ..fast() }
}

fn glob(pattern: &str, target: &str) -> Entry {
    Entry::matching(pattern, Some(target), &["*-tmp".to_owned()]).unwrap()
}

/// Two databases that hold collections of the same names.
fn two() -> MemoryStore {
    MemoryStore::new("source")
        .within("blue", "user-1", [record("a", "blue 1")])
        .within("blue", "user-2-tmp", [record("a", "scratch")])
        .within("green", "user-1", [record("a", "green 1"), record("b", "green 2")])
        .within("green", "other", [record("a", "not asked for")])
}

fn text(store: &MemoryStore, collection: &str, id: &str) -> Option<String> {
    store.records(collection).get(id)?.document.clone()
}

#[tokio::test]
async fn each_database_goes_to_its_namesake_under_new_names() {
    let (source, target) = (two(), MemoryStore::new("target").within("green", "prod-1", [record("a", "green 1")]));
    let outcome = run(&source, &target, &several(vec![glob("user-*", "prod-*")])).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert_eq!((text(&target, "blue/prod-1", "a"), text(&target, "green/prod-1", "b")).0.as_deref(), Some("blue 1"));
    assert_eq!(text(&target, "green/prod-1", "b").as_deref(), Some("green 2"));
    assert_eq!(target.state().collections.len(), 2);
    let told: Vec<_> = outcome
        .report
        .collections
        .iter()
        .map(|c| (&*c.database, &*c.name, &*c.target_name, c.counts.verified))
        .collect();
    assert_eq!(told, [("blue", "user-1", "prod-1", 1), ("green", "user-1", "prod-1", 2)]);
    assert_eq!((outcome.report.counts.source, outcome.report.counts.present), (3, 1));
}

#[tokio::test]
async fn two_sources_with_one_target_name_are_refused_by_name_before_any_write() {
    let (source, target) = (two().within("green", "user-2", []), MemoryStore::new("target"));
    let outcome = run(&source, &target, &several(vec![glob("user-*", "all")])).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Refused, Reason::PreflightRefused));
    let message = &outcome.report.message;
    assert!(message.contains("\"user-1\" and \"user-2\" would both go to \"all\" of database \"green\""), "{message}");
    assert!(!message.contains("blue"), "{message}");
    assert!(target.state().log.is_empty());
}

#[tokio::test]
async fn nothing_matched_is_waited_for_and_what_is_there_is_named() {
    let outcome = run(&two(), &MemoryStore::new("target"), &several(vec![glob("agent-*", "x-*")])).await;
    assert_eq!((outcome.exit, outcome.report.reason), (Exit::Interrupted, Reason::SourceNotFound));
    let message = &outcome.report.message;
    assert!(message.contains("a collection that \"agent-*\" without \"*-tmp\" matches"), "{message}");
    assert!(message.contains("user-1 (database blue)"), "{message}");
}

#[tokio::test]
async fn what_comes_later_is_named_and_not_copied() {
    let (source, target) = (Arc::new(two()), MemoryStore::new("target"));
    let later = Arc::clone(&source);
    target.after_write(move |_| {
        let mut state = later.state();
        let mut like = state.collections["blue/user-1"].clone();
        (like.0.name, like.0.id) = ("user-9".to_owned(), "later".to_owned());
        state.collections.insert("blue/user-9".to_owned(), like.clone());
        (like.0.name, like.0.id) = ("user-9-tmp".to_owned(), "excluded".to_owned());
        state.collections.insert("blue/user-9-tmp".to_owned(), like.clone());
        (like.0.name, like.0.database, like.0.id) = ("other".to_owned(), "red".to_owned(), "new database".to_owned());
        state.collections.insert("red/other".to_owned(), like);
    });
    let outcome = run(&source, &target, &several(vec![glob("user-*", "prod-*")])).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    let message = &outcome.report.message;
    assert!(
        message.contains("ollection \"user-9\" of database \"blue\", database \"red\" came to the source"),
        "{message}"
    );
    assert!(!message.contains("tmp") && outcome.report.collections.len() == 2, "{message}");
    assert_eq!(target.state().collections.len(), 2);
}

/// The last look goes over all pairs of all databases: a collection of the same name in another database is no stand-in.
#[tokio::test]
async fn the_last_look_does_not_take_one_databases_collection_for_anothers() {
    let (source, target) = (two(), MemoryStore::new("target"));
    let mut writes = 0;
    target.after_write(move |state| {
        writes += 1;
        if writes == 2 {
            // the second database is being written: what was put into the first one moves to a third
            let (mut described, records) = state.collections.remove("blue/prod-1").unwrap();
            described.database = "red".to_owned();
            state.collections.insert("red/prod-1".to_owned(), (described, records));
        }
    });
    let outcome = run(&source, &target, &several(vec![glob("user-*", "prod-*")])).await;
    assert_eq!(outcome.report.reason, Reason::VerificationFailed, "{}", outcome.report.message);
    let message = &outcome.report.message;
    assert!(message.contains("no collection \"prod-1\" of database \"blue\" any more"), "{message}");
}

#[tokio::test]
async fn a_source_collection_that_moves_to_another_database_is_another_one() {
    let (source, target) = (Arc::new(two()), MemoryStore::new("target"));
    let moving = Arc::clone(&source);
    target.after_write(move |_| {
        let mut state = moving.state();
        if let Some((mut described, records)) = state.collections.remove("blue/user-1") {
            described.database = "red".to_owned();
            state.collections.insert("red/user-1".to_owned(), (described, records));
        }
    });
    let outcome = run(&source, &target, &several(vec![glob("user-*", "prod-*")])).await;
    assert_eq!(outcome.report.reason, Reason::SourceReplaced, "{}", outcome.report.message);
}

#[tokio::test]
async fn one_database_goes_to_the_targets_own_whatever_its_name() {
    let source = MemoryStore::new("source").within("dev", "memories", numbered(3));
    let target = MemoryStore::new("target").within("prod", "memories", [record("0001", "text 1")]);
    let outcome = run(&source, &target, &fast()).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert_eq!((target.records("prod/memories").len(), outcome.report.counts.present), (3, 1));
}

#[tokio::test]
async fn an_entry_without_effect_is_said_so() {
    let entries = vec![glob("user-*", "prod-*"), Entry::named("user-1", Some("first")).unwrap()];
    let outcome = run(&two(), &MemoryStore::new("target"), &several(entries)).await;
    let source = outcome.report.preflight.iter().find(|check| check.check == "source").unwrap();
    assert!(
        source.message.contains("2 collections of 2 databases; nothing is left for entry 2 (\"user-1\")"),
        "{source:?}"
    );
}
