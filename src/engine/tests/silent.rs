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
        let all: Vec<Neighbour> = all.map(|id| Neighbour { id, distance: Some(0.0) }).collect();
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

/// A run that requires the check: its end, how many searches it took, and how long they did.
async fn required(collections: &[&str], mood: Mood) -> (Outcome, usize, Duration) {
    let target = Slow::new(collections, mood);
    let source = Slow::new(collections, mood).store;
    let search = |mode| Options { search: Search { mode, ..Search::default() }, ..fast() };
    let took = async |mode| {
        let (begun, stop) = (Instant::now(), CancellationToken::new());
        let tracker = Tracker::new().0;
        let outcome = verify(&source, &target, Direction::LocalToRemote, &search(mode), tracker, &stop).await;
        (outcome, begun.elapsed())
    };
    let (_, without) = took(SearchMode::Off).await;
    let (outcome, with) = took(SearchMode::Require).await;
    (outcome, target.asked.into_inner(), with.saturating_sub(without))
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
