//! A server that reads as it should and answers no search: the search check waits for it as long as is said, and no longer.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::time::Instant;

use super::super::{Search, SearchMode, verify};
use super::*;
use crate::model::{Collection, Fetched, Filter, Result};
use crate::scratch::SortedIds;
use crate::store::{Neighbour, Reader, Searches};

/// What becomes of a search.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// The first so many get no answer.
    Silent(usize),
    /// Queries are answered, filters are not.
    NoFilters,
    /// Queries are answered with distances that are none.
    Wrong,
}

/// A store whose reads take a minute each, on a clock that is moved.
struct Slow {
    store: MemoryStore,
    mood: Mood,
    asked: AtomicUsize,
}

impl Slow {
    fn new(collections: &[&str], mood: Mood) -> Self {
        let filled = |store: MemoryStore, name: &&str| store.with(name, Distance::L2, numbered(30));
        let store = collections.iter().fold(MemoryStore::new("target"), filled);
        Self { store, mood, asked: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl Reader for Slow {
    fn name(&self) -> String {
        self.store.name()
    }

    fn version(&self) -> String {
        self.store.version()
    }

    async fn collections(&self) -> Result<Vec<Collection>> {
        self.store.collections().await
    }

    async fn count(&self, collection: &Collection) -> Result<u64> {
        self.store.count(collection).await
    }

    async fn ids(&self, collection: &Collection) -> Result<SortedIds> {
        self.store.ids(collection).await
    }

    async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>> {
        tokio::time::sleep(Duration::from_mins(1)).await;
        self.store.fetch(collection, ids).await
    }

    fn searches(&self) -> Option<&dyn Searches> {
        Some(self)
    }
}

#[async_trait]
impl Searches for Slow {
    fn engine(&self) -> &'static str {
        "1.0.0"
    }

    async fn nearest(&self, collection: &Collection, vectors: &[&[f32]], most: usize) -> Result<Vec<Vec<Neighbour>>> {
        let before = self.asked.fetch_add(1, Ordering::Relaxed);
        if matches!(self.mood, Mood::Silent(count) if before < count) {
            std::future::pending::<()>().await;
        }
        // all vectors are equal: which of them come is the store's affair
        let all = self.store.records(&collection.name).into_keys().take(most);
        let distance = Some(if self.mood == Mood::Wrong { 1.0 } else { 0.0 });
        let all: Vec<Neighbour> = all.map(|id| Neighbour { id, distance }).collect();
        Ok(vec![all; vectors.len()])
    }

    async fn matching(&self, collection: &Collection, filter: &Filter, _: usize) -> Result<Vec<String>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.mood == Mood::NoFilters {
            std::future::pending::<()>().await;
        }
        let is_asked_for = |record: &Record| match filter {
            Filter::Contains(piece) => record.document.as_ref().is_some_and(|text| text.contains(piece)),
            _ => true,
        };
        let all = self.store.records(&collection.name).into_values().filter(is_asked_for);
        Ok(all.map(|record| record.id).collect())
    }
}

/// A comparison with an equal source, and how long it took.
async fn compared(collections: &[&str], target: &Slow, mode: SearchMode) -> (Outcome, Duration) {
    let source = Slow::new(collections, target.mood).store;
    let options = Options { search: Search { mode, ..Search::default() }, ..fast() };
    let (begun, stop) = (Instant::now(), CancellationToken::new());
    let tracker = Tracker::new().0;
    let outcome = verify(&source, target, Direction::LocalToRemote, &options, tracker, &stop).await;
    (outcome, begun.elapsed())
}

/// A run that requires the check: its end, how many searches it took, and how long they did.
async fn required(collections: &[&str], mood: Mood) -> (Outcome, usize, Duration) {
    let target = Slow::new(collections, mood);
    let (_, without) = compared(collections, &target, SearchMode::Off).await;
    let (outcome, with) = compared(collections, &target, SearchMode::Require).await;
    (outcome, target.asked.into_inner(), with.saturating_sub(without))
}

#[tokio::test(start_paused = true)]
async fn wrong_answers_cost_the_verdict_only_where_right_ones_are_required() {
    for (mood, mode, reason, told) in [
        (Mood::Silent(0), SearchMode::Require, Reason::Verified, [true, false]),
        (Mood::Silent(0), SearchMode::Report, Reason::Verified, [true, false]),
        (Mood::Wrong, SearchMode::Report, Reason::Verified, [true, true]),
        (Mood::Wrong, SearchMode::Require, Reason::SearchDegraded, [false, true]),
    ] {
        let (outcome, _) = compared(&["a"], &Slow::new(&["a"], mood), mode).await;
        let message = &outcome.report.message;
        assert_eq!(outcome.report.reason, reason, "{message}");
        assert_eq!(outcome.report.verification.recall, Some(1.0), "{message}");
        let says = ["source and target are identical", "earch check: "].map(|words| message.contains(words));
        assert_eq!(says, told, "{message}");
    }
}

/// Each collection's query was tried for two minutes, until a third of verification's time was over.
#[tokio::test(start_paused = true)]
async fn a_server_without_an_answer_is_asked_twice_and_holds_up_nobody() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let (outcome, asked, took) = required(&names, Mood::Silent(usize::MAX)).await;
    assert_eq!(outcome.report.reason, Reason::SearchDegraded, "{}", outcome.report.message);
    assert_eq!(outcome.report.counts.verified, 240, "the records are right");
    assert!(outcome.report.message.contains("no answer within 30 s, twice"), "{}", outcome.report.message);
    assert!(outcome.report.message.contains("7 of 8 collections were not asked"), "{}", outcome.report.message);
    assert_eq!(asked, 2);
    assert!(took <= Duration::from_mins(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_does_not_come_fails_nothing() {
    let (outcome, _, took) = required(&["a", "b", "c", "d", "e", "f", "g", "h"], Mood::Silent(1)).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert!(outcome.report.collections.iter().all(|c| c.search.as_ref().is_some_and(|told| told.queries == 30)));
    assert!((Duration::from_secs(30)..Duration::from_secs(40)).contains(&took), "{took:?}");
}

/// Each filter was waited for until the time was over.
#[tokio::test(start_paused = true)]
async fn filters_without_an_answer_are_asked_twice() {
    let (outcome, asked, took) = required(&["a", "b", "c", "d", "e", "f", "g", "h"], Mood::NoFilters).await;
    assert_eq!(outcome.report.reason, Reason::SearchDegraded, "{}", outcome.report.message);
    assert!(outcome.report.message.contains("no answer within 30 s, twice"), "{}", outcome.report.message);
    assert!(took <= Duration::from_mins(1), "{took:?}");
    assert!(asked <= 5, "{asked}");
}

/// Nothing can be shown of it, and nothing is owed.
#[tokio::test]
async fn an_empty_collection_needs_no_answer() {
    let empty = |name: &str| MemoryStore::new(name).with("a", Distance::L2, []);
    let target = Slow { store: empty("target"), mood: Mood::Silent(0), asked: AtomicUsize::new(0) };
    let search = Search { mode: SearchMode::Require, ..Search::default() };
    let options = Options { search, allow_empty: true, ..fast() };
    let (tracker, stop) = (Tracker::new().0, CancellationToken::new());
    let outcome = verify(&empty("source"), &target, Direction::LocalToRemote, &options, tracker, &stop).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
}
