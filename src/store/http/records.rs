//! Reads records by id: together, fewer where that is too much, and by a search where the server fails on some of them.
//! Writes nothing.

use std::time::{Duration, Instant};

use super::api::Api;
use super::bounded::{RECORD, RECORDS};
use super::get::{Came, FETCH, Fails, PARTS};
use super::halving::{Found, Search};
use crate::model::{Collection, Error, Fetched, Result};
use crate::store::Budget;

/// Bytes of an answer for one of content: a vector's number takes four bytes, and twenty in JSON.
const JSON: usize = 8;
/// So many times fewer are asked for after an answer that was too long.
const SMALLER: usize = 4;
/// Pauses between the tries of a `get` before it is halved: a server that starts may fail once.
pub(super) const AGAIN: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];
/// Searches that are made again where a server fails on one collection and answers for another: it is up, and waiting longer
/// brings nothing.
const ALONE: usize = 2;
/// The longest pause between two searches, while the server is in trouble.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

impl Api {
    /// The records with these ids. An answer that would be too long, or that the server fails on, is asked for in halves.
    pub(super) async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>> {
        let (apart, together): (Vec<String>, Vec<String>) = {
            let mut known = self.known();
            let unreadable = &known.of(&collection.id).unreadable;
            ids.iter().cloned().partition(|id| unreadable.contains(id))
        };
        let mut fetched = Vec::with_capacity(ids.len());
        for ids in together.chunks(FETCH) {
            fetched.extend(self.part(collection, ids, false).await?);
        }
        if !apart.is_empty() {
            fetched.extend(self.part(collection, &apart, true).await?);
        }
        Ok(fetched)
    }

    /// As [`Api::fetch`], for as many as the budget has place for: an answer that grows beyond it is given up before it is
    /// whole, and fewer are asked for.
    pub(super) async fn fetch_within(
        &self,
        collection: &Collection,
        ids: &[String],
        budget: Budget,
    ) -> Result<(Vec<Fetched>, usize)> {
        let mut count = ids.len().min(FETCH);
        loop {
            let part = &ids[..count];
            let limit = if count == 1 && budget.first {
                RECORD.min(budget.most)
            } else {
                budget.bytes.saturating_mul(JSON).min(RECORDS)
            };
            match self.get_within(collection, part, &PARTS, limit).await? {
                Came::Records(records) => {
                    self.came(collection, &records);
                    return Ok((records, count));
                }
                Came::TooLong if count > 1 => count /= SMALLER,
                Came::TooLong if budget.first && budget.most < RECORD => {
                    let (store, collection) = (self.transport.name(), collection.name.clone());
                    let id = part.first().cloned().unwrap_or_default();
                    return Err(Error::TooLarge { store, collection, id, most: budget.most });
                }
                Came::TooLong if !budget.first => return Ok((Vec::new(), 0)),
                Came::TooLong | Came::Fails(_) => return Ok((self.fetch(collection, part).await?, count)),
            }
            count = count.max(1);
        }
    }

    /// One part of what is asked for; `is_known`: each failed alone before, as often as it takes.
    async fn part(&self, collection: &Collection, ids: &[String], is_known: bool) -> Result<Vec<Fetched>> {
        let started = Instant::now();
        if !is_known && let Some(records) = self.at_once(collection, ids).await? {
            return Ok(records);
        }
        let (mut pause, mut alone) = (self.transport.apart, 0);
        loop {
            match Search::new(self, collection, is_known).run(ids).await? {
                Found::All(records) => return Ok(records),
                Found::Server(why) if started.elapsed() + pause >= self.transport.retry => {
                    let seconds = started.elapsed().as_secs();
                    return Err(self.failing(collection, format!("{why} (tried for {seconds} s)")));
                }
                Found::Collection(why) if alone == ALONE => return Err(self.failing(collection, why)),
                Found::Collection(why) => {
                    alone += 1;
                    tracing::debug!(collection = %collection.name, why, ?pause, "will try again");
                }
                Found::Server(why) => tracing::debug!(collection = %collection.name, why, ?pause, "will try again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// All of them in one answer, tried some times; None where that is too long, or the server goes on failing.
    async fn at_once(&self, collection: &Collection, ids: &[String]) -> Result<Option<Vec<Fetched>>> {
        let mut pauses = AGAIN.into_iter();
        loop {
            match self.get(collection, ids, &PARTS).await? {
                Came::Records(records) => {
                    self.came(collection, &records);
                    return Ok(Some(records));
                }
                // what is refused is not asked for again
                Came::TooLong | Came::Fails(Fails { refusal: Some(_), .. }) => return Ok(None),
                Came::Fails(_) => {
                    let Some(pause) = pauses.next() else { return Ok(None) };
                    tokio::time::sleep(pause.min(self.transport.apart)).await;
                }
            }
        }
    }
}
