//! Halves what a server fails on, or refuses, down to the record; `suspect` rules on that one. Writes nothing.

use std::time::{Duration, Instant};

use super::api::Api;
use super::bounded::RECORD;
use super::get::{Came, Fails, PARTS, readable};
use super::suspect::{Evidence, Neighbour, Ruling, rule};
use crate::model::{Collection, Fetched, Result};

/// Collections in which a record is looked for that can be read.
const OTHERS: usize = 5;

/// What came of a search.
pub(super) enum Found {
    /// The records; those that cannot be read among them.
    All(Vec<Fetched>),
    /// The server is in trouble, in its words.
    Server(String),
}

/// A search for the records that a server fails on.
pub(super) struct Search<'a> {
    api: &'a Api,
    collection: &'a Collection,
    /// Each failed alone before, as often as it takes.
    is_known: bool,
    read: Vec<Fetched>,
    /// Ids that fail alone, with the server's words, in id order.
    suspects: Vec<(String, String)>,
    on_end: usize,
    /// Whether the server has failed in this search, and not only answered at length.
    has_failed: bool,
    /// The last failure.
    failure: Fails,
}

impl<'a> Search<'a> {
    /// A search in this collection; `is_known`: for records that failed alone before, as often as it takes.
    pub(super) fn new(api: &'a Api, collection: &'a Collection, is_known: bool) -> Self {
        let on_end = if is_known { 0 } else { api.known().of(&collection.id).on_end };
        let failure = Fails { words: String::new(), refusal: None };
        let (read, suspects) = (Vec::new(), Vec::new());
        Self { api, collection, is_known, read, suspects, on_end, has_failed: is_known, failure }
    }

    /// Reads these, down to each by itself. An error: the server refuses all of them, or does not answer.
    pub(super) async fn run(mut self, ids: &[String]) -> Result<Found> {
        let mut waiting: Vec<&[String]> = if self.is_known { ids.chunks(1).rev().collect() } else { vec![ids] };
        let mut is_asked_for = self.is_known;
        while let Some(part) = waiting.pop() {
            let came = self.ask(self.collection, part, &PARTS).await?;
            // a refusal of everything is seen by one request, and not by as many as halving takes
            let is_refused = self.failure.refusal.is_some();
            if is_refused && !std::mem::replace(&mut is_asked_for, true) {
                let neighbour = self.neighbour().await?;
                if neighbour == Some(Neighbour::Failed) {
                    return self.server(Neighbour::Failed);
                }
            }
            match (came, part) {
                (None, _) => self.leave(part),
                (Some(Came::Records(records)), _) => self.take(records),
                (Some(Came::TooLong), [id]) => {
                    let why = format!("the server's answer for it alone is longer than {RECORD} bytes");
                    self.read.push(Fetched::Unreadable { id: id.clone(), why });
                }
                (Some(Came::Fails(_)), [id]) => {
                    let evidence = self.suspect(id);
                    if rule(evidence) == Ruling::Server {
                        return self.too_many().await;
                    }
                }
                (Some(Came::TooLong | Came::Fails(_)), _) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    waiting.extend([second, first]);
                }
            }
        }
        self.confirmed().await
    }

    /// One request of the search; None where it has taken all that it may.
    async fn ask(&mut self, collection: &Collection, ids: &[String], parts: &[&'static str]) -> Result<Option<Came>> {
        if self.has_failed && !self.api.known().of(&self.collection.id).spent.allows_more() {
            return Ok(None);
        }
        let started = Instant::now();
        let mut came = self.api.get(collection, ids, parts).await?;
        if let Came::Fails(fails) = &mut came {
            self.has_failed = true;
            self.failure = Fails { words: fails.words.clone(), refusal: fails.refusal.take() };
        }
        if self.has_failed {
            self.spend(1, started.elapsed());
        }
        Ok(Some(came))
    }

    fn spend(&self, requests: u64, time: Duration) {
        self.api.known().of(&self.collection.id).spent.add(requests, time);
    }

    fn take(&mut self, records: Vec<Fetched>) {
        self.api.came(self.collection, &records);
        if records.iter().any(|record| readable(record).is_some()) {
            self.on_end = 0;
        }
        self.read.extend(records);
    }

    /// Leaves these unread.
    fn leave(&mut self, ids: &[String]) {
        self.api.known().of(&self.collection.id).unread += ids.len() as u64;
        let why = "not read: the search for records that the server fails on had taken all that it may";
        self.read.extend(ids.iter().map(|id| Fetched::Unreadable { id: id.clone(), why: why.to_owned() }));
    }

    fn suspect(&mut self, id: &str) -> Evidence {
        self.suspects.push((id.to_owned(), self.failure.words.clone()));
        self.on_end += usize::from(!self.is_known);
        // whether a neighbour comes is asked once, after the halving
        Evidence { tries: 1, neighbour: Neighbour::Answered, on_end: self.on_end }
    }

    /// So many records fail on end that it is about the server.
    async fn too_many(&mut self) -> Result<Found> {
        let failure = std::mem::replace(&mut self.failure, Fails { words: String::new(), refusal: None });
        let is_refused = failure.refusal.is_some();
        let neighbour = if is_refused { self.neighbour().await?.unwrap_or(Neighbour::None) } else { Neighbour::None };
        self.failure = failure;
        self.server(neighbour)
    }

    /// It is about the server: it refuses whatever it is asked, or it is in trouble, as one is that refuses many records and
    /// answers for others.
    fn server(&mut self, neighbour: Neighbour) -> Result<Found> {
        let Fails { words, refusal } = &mut self.failure;
        let count = self.suspects.len();
        let first = self.suspects.first().map(|(id, _)| format!(" ({count} records fail alone, the first is {id:?})"));
        let why = format!("{words}{}", first.unwrap_or_default());
        match refusal.take() {
            None => Ok(Found::Server(why)),
            Some(_) if neighbour == Neighbour::Answered => Err(self.api.failing(self.collection, why)),
            Some(refusal) => Err(refusal),
        }
    }

    /// Asks for each suspect again, with pauses and a neighbour in between.
    async fn confirmed(mut self) -> Result<Found> {
        let mut tries = if self.is_known { 3 } else { 1 };
        while !self.suspects.is_empty() {
            let Some(neighbour) = self.neighbour().await? else {
                let ids: Vec<String> = std::mem::take(&mut self.suspects).into_iter().map(|(id, _)| id).collect();
                self.leave(&ids);
                break;
            };
            match rule(Evidence { tries, neighbour, on_end: self.on_end }) {
                Ruling::Unreadable => break,
                Ruling::Server => return self.server(neighbour),
                Ruling::Again => {}
            }
            tokio::time::sleep(self.api.transport.apart).await;
            self.spend(0, self.api.transport.apart);
            tries += 1;
            for (id, why) in std::mem::take(&mut self.suspects) {
                let ids = [id];
                match self.ask(self.collection, &ids, &PARTS).await? {
                    None => self.leave(&ids),
                    Some(Came::Records(records)) => self.take(records),
                    Some(Came::TooLong | Came::Fails(_)) => self.suspects.extend(ids.map(|id| (id, why.clone()))),
                }
            }
        }
        self.named().await
    }

    /// Whether a record that was read before can be read now: one of this collection, or else of another one. None where the
    /// search has taken all that it may.
    async fn neighbour(&mut self) -> Result<Option<Neighbour>> {
        let neighbours = self.neighbours();
        if neighbours.is_empty() {
            return self.elsewhere().await;
        }
        for (collection, id) in neighbours {
            match self.ask(&collection, &[id], &PARTS).await? {
                None => return Ok(None),
                Some(Came::Records(records)) if records.iter().any(|record| readable(record).is_some()) => {
                    return Ok(Some(Neighbour::Answered));
                }
                // it may have been deleted since
                Some(Came::Records(_)) => {}
                Some(_) => return Ok(Some(Neighbour::Failed)),
            }
        }
        Ok(Some(Neighbour::None))
    }

    /// Reads a record of another collection, where none was read before.
    async fn elsewhere(&mut self) -> Result<Option<Neighbour>> {
        let Ok(all) = self.api.declared().await else { return Ok(Some(Neighbour::None)) };
        let own = std::mem::replace(&mut self.failure, Fails { words: String::new(), refusal: None });
        let mut neighbour = Some(Neighbour::None);
        for collection in all.into_iter().filter(|other| other.id != self.collection.id).take(OTHERS) {
            let Ok(Some(id)) = self.api.first_id(&collection).await else { continue };
            neighbour = match self.ask(&collection, &[id], &PARTS).await? {
                None => None,
                Some(Came::Records(records)) if records.iter().any(|record| readable(record).is_some()) => {
                    self.api.came(&collection, &records);
                    Some(Neighbour::Answered)
                }
                Some(_) => continue,
            };
            break;
        }
        self.failure = own;
        Ok(neighbour)
    }

    /// Records that were read, in the order in which they are asked for.
    fn neighbours(&self) -> Vec<(Collection, String)> {
        let own = |id: &str| (self.collection.clone(), id.to_owned());
        let mut known = self.api.known();
        let before = known.of(&self.collection.id).neighbour.as_deref().map(own);
        let last = known.last.clone().filter(|last| last.collection.id != self.collection.id);
        let other = last.map(|last| (last.collection, last.id));
        before.into_iter().chain(self.read.iter().rev().find_map(readable).map(own)).chain(other).collect()
    }

    /// Everything that was found, with what of each unreadable record cannot be read.
    async fn named(mut self) -> Result<Found> {
        // several parts are read at once, in any order: only what failed as a whole says something of the next one
        if self.read.is_empty() && !self.is_known {
            self.api.known().of(&self.collection.id).on_end = self.on_end;
        }
        for (id, words) in std::mem::take(&mut self.suspects) {
            let what = self.lacking(&id).await?;
            self.api.known().of(&self.collection.id).is_unreadable(&id);
            let why = format!("the server fails on {what}, also when asked for it alone: {words}");
            self.read.push(Fetched::Unreadable { id, why });
        }
        Ok(Found::All(self.read))
    }

    /// The part of a record without which the server can answer for it.
    async fn lacking(&mut self, id: &str) -> Result<&'static str> {
        let ids = [id.to_owned()];
        for (what, part) in [("its vector", "embeddings"), ("its metadata", "metadatas")] {
            let parts: Vec<&'static str> = PARTS.into_iter().filter(|other| *other != part).collect();
            if let Some(Came::Records(records)) = self.ask(self.collection, &ids, &parts).await?
                && !records.is_empty()
            {
                return Ok(what);
            }
        }
        Ok("it")
    }
}
