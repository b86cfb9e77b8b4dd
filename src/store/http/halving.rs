//! Halves what a server fails on, or refuses, down to the record; `suspect` rules on that one. Writes nothing.

use std::time::{Duration, Instant};

use super::api::Api;
use super::bounded::RECORD;
use super::get::{Came, FETCH, Fails, PARTS, readable};
use super::known::Last;
use super::suspect::{Evidence, Neighbour, ON_END, Ruling, rule};
use crate::model::{Collection, Fetched, Result};

/// The parts without which a server may still answer for a record, in a person's words.
const LACKING: [(&str, &str); 2] = [("its vector", "embeddings"), ("its metadata", "metadatas")];

/// Places all over a collection that are looked at for a record that can be read.
const PLACES: u64 = 8;
/// Records on end that fail alone, after which the next one is asked for alone at once: what follows is lost, too, mostly, and
/// halves that fail would double the requests.
const STRETCH: usize = 4;
/// Other collections in which one is looked for then.
const OTHERS: usize = 5;

/// What came of a search.
pub(super) enum Found {
    /// The records; those that cannot be read among them.
    All(Vec<Fetched>),
    /// The server is in trouble, in its words.
    Server(String),
    /// The server fails on all of this collection that was asked for, and answers for another one.
    Collection(String),
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
    /// Whether the server answers for a suspect, but for one part of it.
    in_part: bool,
    /// Whether the server has failed in this search, and not only answered at length.
    has_failed: bool,
    /// The last failure.
    failure: Fails,
}

impl<'a> Search<'a> {
    /// A search in this collection; `is_known`: for records that failed alone before, as often as it takes.
    pub(super) fn new(api: &'a Api, collection: &'a Collection, is_known: bool) -> Self {
        let on_end = if is_known { 0 } else { api.known().of(&collection.id).on_end };
        let (read, suspects) = (Vec::new(), Vec::new());
        let (in_part, has_failed, failure) = (false, is_known, Fails::default());
        Self { api, collection, is_known, read, suspects, on_end, in_part, has_failed, failure }
    }

    /// Reads these, down to each by itself. An error: the server refuses all of them, or does not answer.
    pub(super) async fn run(mut self, ids: &[String]) -> Result<Found> {
        let mut waiting: Vec<&[String]> = if self.is_known { ids.chunks(1).rev().collect() } else { vec![ids] };
        let mut is_asked_for = self.is_known;
        while let Some(mut part) = waiting.pop() {
            if self.on_end >= STRETCH && part.len() > 1 {
                let rest;
                (part, rest) = part.split_at(1);
                waiting.push(rest);
            }
            let came = self.ask(self.collection, part, &PARTS).await?;
            // a refusal of everything is seen by one request, and not by as many as halving takes
            if self.failure.refusal.is_some() && !std::mem::replace(&mut is_asked_for, true) {
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
                    let evidence = self.suspect(id).await?;
                    if rule(evidence) == Ruling::Server {
                        return self.server(evidence.neighbour);
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
            // one for each that failed before is no search
            self.spend(u64::from(!self.is_known), started.elapsed());
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

    /// A record that failed alone. Whether a neighbour comes is asked after the halving, and each time that so many more failed
    /// on end: a server in trouble is not asked for thousands.
    async fn suspect(&mut self, id: &str) -> Result<Evidence> {
        self.suspects.push((id.to_owned(), self.failure.words.clone()));
        self.on_end += usize::from(!self.is_known);
        let mut neighbour = Neighbour::Answered;
        if self.on_end >= ON_END && (!self.in_part || self.on_end.is_multiple_of(ON_END)) {
            self.in_part = self.lacking(&[id.to_owned()]).await?.is_some();
            neighbour = self.neighbour().await?.unwrap_or(neighbour);
        }
        Ok(Evidence { tries: 1, neighbour, on_end: self.on_end, in_part: self.in_part })
    }

    /// It is about the server: it refuses whatever it is asked, or it is in trouble, as one is that refuses many records and
    /// answers for others.
    fn server(&mut self, neighbour: Neighbour) -> Result<Found> {
        let Fails { words, refusal } = &mut self.failure;
        let count = self.suspects.len();
        let first = self.suspects.first().map(|(id, _)| format!(" ({count} records fail alone, the first is {id:?})"));
        let why = format!("{words}{}", first.unwrap_or_default());
        match refusal.take() {
            None if neighbour == Neighbour::Elsewhere => Ok(Found::Collection(why)),
            None => Ok(Found::Server(why)),
            Some(_) if matches!(neighbour, Neighbour::Answered | Neighbour::Elsewhere) => {
                Err(self.api.failing(self.collection, why))
            }
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
            match rule(Evidence { tries, neighbour, on_end: self.on_end, in_part: self.in_part }) {
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

    /// Whether a record that was read before can be read now, or any other one, if none was: of this collection, or else of
    /// another one. None where the search has taken all that it may. What fails here is no failure of a suspect.
    async fn neighbour(&mut self) -> Result<Option<Neighbour>> {
        let before = std::mem::take(&mut self.failure);
        let neighbour = self.any_neighbour().await?;
        if neighbour != Some(Neighbour::Failed) {
            self.failure = before;
        }
        Ok(neighbour)
    }

    async fn any_neighbour(&mut self) -> Result<Option<Neighbour>> {
        for id in self.own_neighbours() {
            match self.ask(self.collection, &[id], &PARTS).await? {
                None => return Ok(None),
                Some(came) if gives(&came) => return Ok(Some(Neighbour::Answered)),
                // it may have been deleted since
                Some(Came::Records(_)) => {}
                Some(_) => return Ok(Some(Neighbour::Failed)),
            }
        }
        Ok(Some(match self.sought().await? {
            Neighbour::None => self.elsewhere().await?,
            found => found,
        }))
    }

    /// Records of this collection that were read, in the order in which they are asked for.
    fn own_neighbours(&self) -> Vec<String> {
        let before = self.api.known().of(&self.collection.id).neighbour.clone();
        before.into_iter().chain(self.read.iter().rev().find_map(readable).map(str::to_owned)).collect()
    }

    /// Looks for a record of another collection that can be read: the one that was read last, or the first of some others.
    async fn elsewhere(&mut self) -> Result<Neighbour> {
        let last = self.api.known().last.clone().filter(|last| last.collection.id != self.collection.id);
        if let Some(Last { collection, id }) = last {
            let came = self.ask(&collection, &[id], &PARTS).await?;
            if came.is_some_and(|came| gives(&came)) {
                return Ok(Neighbour::Elsewhere);
            }
        }
        let Ok(all) = self.api.declared().await else { return Ok(Neighbour::None) };
        for collection in all.into_iter().filter(|other| other.id != self.collection.id).take(OTHERS) {
            let Ok(Some(id)) = self.api.id_at(&collection, 0).await else { continue };
            if let Some(Came::Records(records)) = self.ask(&collection, &[id], &PARTS).await?
                && records.iter().any(|record| readable(record).is_some())
            {
                self.api.came(&collection, &records);
                return Ok(Neighbour::Elsewhere);
            }
        }
        Ok(Neighbour::None)
    }

    /// Looks for a record that can be read: those that are read first may be the range that was lost.
    async fn sought(&mut self) -> Result<Neighbour> {
        let Ok(count) = self.api.count(self.collection).await else { return Ok(Neighbour::None) };
        for place in 0..PLACES {
            let Ok(Some(id)) = self.api.id_at(self.collection, count * place / PLACES).await else {
                return Ok(Neighbour::None);
            };
            let ids = [id];
            let Some(came) = self.ask(self.collection, &ids, &PARTS).await? else { return Ok(Neighbour::None) };
            if gives(&came) {
                let [id] = ids;
                self.api.known().of(&self.collection.id).neighbour = Some(id);
                return Ok(Neighbour::Answered);
            }
        }
        Ok(Neighbour::None)
    }

    /// Everything that was found, with what of each unreadable record cannot be read.
    async fn named(mut self) -> Result<Found> {
        // several parts are read at once, in any order: only what failed as a whole says something of the next one
        if self.read.is_empty() && !self.is_known {
            self.api.known().of(&self.collection.id).on_end = self.on_end;
        }
        let suspects = std::mem::take(&mut self.suspects);
        for suspects in suspects.chunks(FETCH) {
            let ids: Vec<String> = suspects.iter().map(|(id, _)| id.clone()).collect();
            // mostly one part is lost of all of them
            let together = self.lacking(&ids).await?;
            for (id, words) in suspects {
                let what = match together {
                    Some(what) => what,
                    None if ids.len() == 1 => "it",
                    None => self.lacking(std::slice::from_ref(id)).await?.unwrap_or("it"),
                };
                self.api.known().of(&self.collection.id).is_unreadable(id);
                let why = format!("the server fails on {what}, also when asked for it alone: {words}");
                self.read.push(Fetched::Unreadable { id: id.clone(), why });
            }
        }
        Ok(Found::All(self.read))
    }

    /// The part without which the server answers for all of these records.
    async fn lacking(&mut self, ids: &[String]) -> Result<Option<&'static str>> {
        let before = std::mem::take(&mut self.failure);
        let mut lacking = None;
        for (what, part) in LACKING {
            let parts: Vec<&'static str> = PARTS.into_iter().filter(|other| *other != part).collect();
            if let Some(Came::Records(records)) = self.ask(self.collection, ids, &parts).await?
                && records.len() == ids.len()
            {
                lacking = Some(what);
                break;
            }
        }
        self.failure = before;
        Ok(lacking)
    }
}

/// Whether a record came whole.
fn gives(came: &Came) -> bool {
    matches!(came, Came::Records(records) if records.iter().any(|record| readable(record).is_some()))
}
