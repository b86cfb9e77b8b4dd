//! A server that is asked, for so long and no longer: one that gives no answer holds up nobody. Reads only.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::nearest::Exact;
use super::silence::Silence;
use crate::engine::Context;
use crate::engine::pair::Pair;
use crate::model::{Collection, Result as Answered};
use crate::store::{Neighbour, Reader, Searches};

/// The part of the time for all queries that one answer may take, and between which bounds.
const PART: u32 = 4;
const LEAST: Duration = Duration::from_secs(10);
const MOST: Duration = Duration::from_secs(30);
/// How often something is asked for that gets no answer.
const TRIES: u32 = 2;

/// How long a server is asked, over all collections.
#[derive(Debug)]
pub(super) struct Patience {
    end: Instant,
    /// How long one answer is waited for.
    wait: Duration,
    /// It gave no answer, and then again none: it is not asked any more.
    is_mute: AtomicBool,
}

impl Patience {
    /// From now on, for so long.
    pub(super) fn new(allowed: Duration) -> Self {
        let wait = (allowed / PART).clamp(LEAST, MOST);
        Self { end: Instant::now() + allowed, wait, is_mute: AtomicBool::new(false) }
    }
}

/// A store's collection that is asked.
pub(super) struct Asked<'a> {
    context: &'a Context<'a>,
    reader: &'a dyn Reader,
    pub(super) searches: &'a dyn Searches,
    pub(super) collection: &'a Collection,
    patience: &'a Patience,
}

impl<'a> Asked<'a> {
    pub(super) fn target(
        context: &'a Context<'a>,
        target: &'a dyn Reader,
        pair: &'a Pair,
        patience: &'a Patience,
    ) -> Result<Self, Silence> {
        let collection = pair.target.as_ref().ok_or(Silence::Unasked("there is no target collection"))?;
        Self::of(context, target, collection, patience)
    }

    /// The source's own server, of which the recall is told, too.
    pub(super) fn source(context: &'a Context<'a>, pair: &'a Pair, patience: &'a Patience) -> Result<Self, Silence> {
        Self::of(context, context.source, &pair.source, patience)
    }

    fn of(
        context: &'a Context<'a>,
        reader: &'a dyn Reader,
        collection: &'a Collection,
        patience: &'a Patience,
    ) -> Result<Self, Silence> {
        let searches = reader.searches().ok_or(Silence::Unasked("files answer no query"))?;
        Ok(Self { context, reader, searches, collection, patience })
    }

    /// Asks, and once more if there is no answer.
    pub(super) async fn answer<T, F>(&self, ask: impl Fn() -> F) -> Result<T, Silence>
    where
        F: Future<Output = Answered<T>>,
    {
        let Patience { end, wait, is_mute } = self.patience;
        let begun = Instant::now();
        if begun >= *end {
            return Err(Silence::Late);
        }
        if is_mute.load(Ordering::Relaxed) {
            return Err(Silence::Mute);
        }
        for _ in 0..TRIES {
            let until = (Instant::now() + *wait).min(*end);
            match self.context.until_stopped(timeout_at(until, ask())).await {
                Err(_) => return Err(Silence::Stopped),
                Ok(Ok(Err(error))) => return Err(Silence::Failed(error.to_string())),
                Ok(Ok(Ok(answer))) => return Ok(answer),
                Ok(Err(_)) if until == *end => return Err(Silence::Slow(begun.elapsed())),
                Ok(Err(_)) => {}
            }
        }
        is_mute.store(true, Ordering::Relaxed);
        Err(Silence::Twice(*wait))
    }

    pub(super) async fn neighbours(&self, queries: &[&Exact<'_>], most: usize) -> Result<Vec<Vec<Neighbour>>, Silence> {
        let vectors: Vec<&[f32]> = queries.iter().map(|exact| exact.vector).collect();
        let answer = self.answer(|| self.searches.nearest(self.collection, &vectors, most)).await?;
        if answer.len() == queries.len() {
            return Ok(answer);
        }
        Err(Silence::Failed(format!("{} queries got {} answers", queries.len(), answer.len())))
    }

    /// Those ids that it does not answer for.
    pub(super) async fn unknown(&self, ids: Vec<String>) -> Result<Vec<String>, Silence> {
        if ids.is_empty() {
            return Ok(ids);
        }
        let held = self.answer(|| self.reader.held(self.collection, &ids)).await?;
        let held: HashSet<String> = held.into_iter().collect();
        Ok(ids.into_iter().filter(|id| !held.contains(id)).collect())
    }
}
