//! Reads records by id. What the server fails on is halved down to the record; `suspect` rules on that one.
//! Writes nothing.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::api::{Api, words};
use super::bounded::{RECORD, RECORDS, whole};
use super::decision::{Failed, Failure, Kind, Reason};
use super::paths::Dialect;
use super::suspect::{Evidence, Neighbour, Ruling, rule};
use super::transport::{Request, Stopped};
use super::wire::{self, GetAnswer, IdAndKey};
use crate::model::{Collection, Error, Fetched, Result};
use crate::store::Budget;

/// Ids in one `get`. The database under Chroma takes 32,766 variables, and 1.x spends one on each row of metadata; a thousand
/// records of 3072 components are 30 MB of JSON, and more in one call is hardly faster.
pub(super) const FETCH: usize = 1000;
/// Bytes of an answer for one of content: a vector's number takes four bytes, and twenty in JSON.
const JSON: usize = 8;
/// So many times fewer are asked for after an answer that was too long.
const SMALLER: usize = 4;
/// The parts of a record, as `get` names them.
const PARTS: [&str; 4] = ["documents", "metadatas", "embeddings", "uris"];
/// Pauses between the tries of a `get` before it is halved: a server that starts may fail once.
const AGAIN: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];
/// The longest pause between two searches, while the server is in trouble.
const LONGEST: Duration = Duration::from_secs(10);

/// The body of a `get` by ids.
#[derive(Serialize)]
struct ByIds<'a> {
    ids: &'a [String],
    include: &'a [&'static str],
}

/// What came of one `get`.
pub(super) enum Came {
    Records(Vec<Fetched>),
    /// The answer would be beyond its bound.
    TooLong,
    /// The server fails on one or some of these, in its words.
    Fails(Stopped),
}

/// What came of a search.
enum Found {
    /// The records; those that cannot be read among them.
    All(Vec<Fetched>),
    /// The server is in trouble, in its words.
    Server(String),
}

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
        let mut pause = self.transport.apart;
        loop {
            match Search::new(self, collection, is_known).run(ids).await? {
                Found::All(records) => return Ok(records),
                Found::Server(why) if started.elapsed() + pause >= self.transport.retry => {
                    let seconds = started.elapsed().as_secs();
                    return Err(self.failing(collection, format!("{why} (tried for {seconds} s)")));
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
                Came::TooLong => return Ok(None),
                Came::Fails(_) => {
                    let Some(pause) = pauses.next() else { return Ok(None) };
                    tokio::time::sleep(pause.min(self.transport.apart)).await;
                }
            }
        }
    }

    /// Learns from records that came.
    fn came(&self, collection: &Collection, records: &[Fetched]) {
        let mut known = self.known();
        let of = known.of(&collection.id);
        if let Some(id) = records.iter().find_map(readable) {
            of.neighbour = Some(id.to_owned());
            of.on_end = 0;
        }
        for record in records {
            of.unreadable.remove(record.id());
        }
    }

    /// The records with these ids in one answer, with these parts.
    pub(super) async fn get(&self, collection: &Collection, ids: &[String], parts: &[&'static str]) -> Result<Came> {
        let limit = if ids.len() == 1 { RECORD } else { RECORDS };
        self.get_within(collection, ids, parts, limit).await
    }

    /// As `get`, for an answer of at most `limit` bytes.
    async fn get_within(
        &self,
        collection: &Collection,
        ids: &[String],
        parts: &[&'static str],
        limit: usize,
    ) -> Result<Came> {
        loop {
            let has_uris = self.known().without_uris.is_none();
            let include: Vec<&'static str> = parts.iter().copied().filter(|part| has_uris || *part != "uris").collect();
            match self.asked(collection, ids, &include, limit).await {
                Ok((records, dropped)) => {
                    if !dropped.is_empty() {
                        self.known().of(&collection.id).dropped(dropped);
                    }
                    return Ok(Came::Records(records));
                }
                Err((_, stopped)) if has_uris && self.knows_no_uris(&stopped) => {
                    let words = "the server has no uris, which came with 0.4.16: its records were read without";
                    self.known().without_uris = Some(words.to_owned());
                }
                Err((_, stopped)) if stopped.reason == Reason::Failing => return Ok(Came::Fails(stopped)),
                Err((_, stopped)) if matches!(stopped.reason, Reason::TooLong | Reason::TooLarge) => {
                    return Ok(Came::TooLong);
                }
                Err((request, stopped)) => return Err(self.transport.error(&request, &stopped)),
            }
        }
    }

    /// Whether a server refuses a `get` for the uris in it: 0.4.15 has none, 0.4.16 has them (by the packages of both).
    fn knows_no_uris(&self, stopped: &Stopped) -> bool {
        self.place.dialect == Dialect::V1 && stopped.reason == Reason::Refused && stopped.refusal.status == 422
    }

    /// One `get`, sent as often as a fault on the way asks for.
    async fn asked(
        &self,
        collection: &Collection,
        ids: &[String],
        include: &[&'static str],
        limit: usize,
    ) -> Result<(Vec<Fetched>, Vec<IdAndKey>), (Request<'static>, Stopped)> {
        // ids and names are text: it cannot fail
        let body = serde_json::to_vec(&ByIds { ids, include }).unwrap_or_default();
        let path = self.at(collection).collection(&collection.id, "get");
        let request = Request { kind: Kind::Records, ..self.read(&path, Some(body.into()), words(collection)) };
        let take = |response| async move {
            let body = whole(response, limit).await?;
            // Megabytes of decimals: not on a thread that serves connections.
            let answer = tokio::task::spawn_blocking(move || wire::parse::<GetAnswer>(&body)).await;
            let answer = answer.map_err(|e| Failed::new(Failure::Broken, e.to_string()))??;
            answer.into_fetched(ids, include)
        };
        let came = self.transport.try_call(self.transport.retry, &request, take).await;
        came.map_err(|stopped| (request, stopped))
    }
}

/// The id of a record that came whole.
fn readable(fetched: &Fetched) -> Option<&str> {
    match fetched {
        Fetched::Record { record, .. } => Some(&record.id),
        Fetched::Unreadable { .. } => None,
    }
}

/// A search for the records that a server fails on.
struct Search<'a> {
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
}

impl<'a> Search<'a> {
    fn new(api: &'a Api, collection: &'a Collection, is_known: bool) -> Self {
        let on_end = if is_known { 0 } else { api.known().of(&collection.id).on_end };
        Self { api, collection, is_known, read: Vec::new(), suspects: Vec::new(), on_end, has_failed: is_known }
    }

    async fn run(mut self, ids: &[String]) -> Result<Found> {
        let mut waiting: Vec<&[String]> = if self.is_known { ids.chunks(1).rev().collect() } else { vec![ids] };
        while let Some(part) = waiting.pop() {
            let came = self.ask(part, &PARTS).await?;
            match (came, part) {
                (None, _) => self.leave(part),
                (Some(Came::Records(records)), _) => self.take(records),
                (Some(Came::TooLong), [id]) => {
                    let why = format!("the server's answer for it alone is longer than {RECORD} bytes");
                    self.read.push(Fetched::Unreadable { id: id.clone(), why });
                }
                (Some(Came::Fails(stopped)), [id]) => {
                    let evidence = self.suspect(id, stopped.words());
                    if rule(evidence) == Ruling::Server {
                        return Ok(self.server(&stopped.words()));
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
    async fn ask(&mut self, ids: &[String], parts: &[&'static str]) -> Result<Option<Came>> {
        if self.has_failed && !self.api.known().of(&self.collection.id).spent.allows_more() {
            return Ok(None);
        }
        let started = Instant::now();
        let came = self.api.get(self.collection, ids, parts).await?;
        self.has_failed |= matches!(came, Came::Fails(_));
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

    fn suspect(&mut self, id: &str, why: String) -> Evidence {
        self.suspects.push((id.to_owned(), why));
        self.on_end += usize::from(!self.is_known);
        // whether a neighbour comes is asked once, after the halving
        Evidence { tries: 1, neighbour: Neighbour::Answered, on_end: self.on_end }
    }

    fn server(&self, why: &str) -> Found {
        let first = self.suspects.first().map(|(id, _)| id.as_str()).unwrap_or_default();
        Found::Server(format!("{why} ({} records fail alone, the first is {first:?})", self.suspects.len()))
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
                Ruling::Server => {
                    let why = self.suspects.first().map(|(_, why)| why.as_str()).unwrap_or_default();
                    return Ok(self.server(why));
                }
                Ruling::Again => {}
            }
            tokio::time::sleep(self.api.transport.apart).await;
            self.spend(0, self.api.transport.apart);
            tries += 1;
            for (id, why) in std::mem::take(&mut self.suspects) {
                let ids = [id];
                match self.ask(&ids, &PARTS).await? {
                    None => self.leave(&ids),
                    Some(Came::Records(records)) => self.take(records),
                    Some(Came::TooLong | Came::Fails(_)) => self.suspects.extend(ids.map(|id| (id, why.clone()))),
                }
            }
        }
        self.named().await
    }

    /// Whether a record that was read before can be read now; None where the search has taken all that it may.
    async fn neighbour(&mut self) -> Result<Option<Neighbour>> {
        let known = self.api.known().of(&self.collection.id).neighbour.clone();
        let Some(id) = known else { return Ok(Some(Neighbour::None)) };
        Ok(match self.ask(&[id], &PARTS).await? {
            None => None,
            Some(Came::Records(records)) if records.iter().any(|r| readable(r).is_some()) => Some(Neighbour::Answered),
            Some(_) => Some(Neighbour::Failed),
        })
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
            if let Some(Came::Records(records)) = self.ask(&ids, &parts).await?
                && !records.is_empty()
            {
                return Ok(what);
            }
        }
        Ok("it")
    }
}
