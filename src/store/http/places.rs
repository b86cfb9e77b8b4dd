//! Lists ids by pages that are halved where the server fails on one, down to the place: what cannot be listed is counted, and all
//! other ids are listed. Writes nothing.
//!
//! Nobody can ask for a record whose id is not known, so that such a record is lost, as long as its server does not list it.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::api::Api;
use super::get::Fails;
use super::known::Short;
use super::page::IDS_PAGE;
use crate::model::{Collection, Result};
use crate::scratch::{self, IdList, SortedIds};

/// Tries of a place alone before it is called lost.
const TRIES: usize = 3;
/// Places on end that fail alone, after which another place must come, or it is the server.
const ON_END: usize = 20;
/// Places on end that fail alone, after which the next one is asked for alone at once.
const STRETCH: usize = 4;
/// Places all over the collection that are looked at for one that comes.
const LOOKS: u64 = 8;
/// Requests that one search may take.
const REQUESTS: usize = 2000;
/// How long it may take.
const TIME: Duration = Duration::from_secs(600);

/// A listing, place by place.
pub(super) struct Places<'a> {
    api: &'a Api,
    collection: &'a Collection,
    ids: IdList,
    /// Places that fail alone, with the server's words.
    suspects: Vec<(u64, String)>,
    on_end: usize,
    /// A place that came.
    neighbour: Option<u64>,
    /// Requests of the search, whole pages that came aside, and their time.
    requests: usize,
    took: Duration,
    /// Places that were not asked for.
    left: u64,
}

impl<'a> Places<'a> {
    pub(super) fn new(api: &'a Api, collection: &'a Collection) -> Self {
        let (ids, suspects) = (IdList::new(), Vec::new());
        let (requests, took) = (0, Duration::ZERO);
        Self { api, collection, ids, suspects, on_end: 0, neighbour: None, requests, took, left: 0 }
    }

    /// Every id that the server lists, and how many they are; what it cannot list is a remark. None: it lists nothing at all, or
    /// no longer what it listed before: it is in trouble, or refuses this collection.
    pub(super) async fn listed(mut self) -> Result<Option<(SortedIds, u64)>> {
        let counted = self.api.count(self.collection).await?;
        if !self.pages(counted).await? || !self.confirmed(counted).await? {
            return Ok(None);
        }
        let lost = self.left.saturating_add(self.suspects.len() as u64);
        if lost == 0 && !self.pages(counted).await? {
            return Ok(None);
        }
        // of two passes over a source that moves: an id that one of them lists is listed
        let listed = self.ids.sort().map_err(scratch::failed)?;
        let number = listed.len() as u64;
        let mut known = self.api.known();
        if lost == 0 {
            known.short.remove(&self.collection.id);
            return Ok(Some((listed, counted)));
        }
        let left = if self.left == 0 {
            String::new()
        } else {
            format!(", {} of them were not asked for, because the search had taken all that it may", self.left)
        };
        let why = self.suspects.first().map(|(place, words)| {
            format!(
                "The server fails wherever one of them is in a list, also alone (the first at place {place}): {words}. "
            )
        });
        let words = format!(
            "{lost} of {counted} records cannot be listed{left}. {}Nothing of them was read: read the store's files instead, or \
             restore them from a backup",
            why.unwrap_or_default()
        );
        known.short.insert(self.collection.id.clone(), Short { words, counted: number.saturating_add(lost) });
        drop(known);
        Ok(Some((listed, number)))
    }

    /// All pages, each in halves where the server fails on it. False: it is the server.
    async fn pages(&mut self, counted: u64) -> Result<bool> {
        // page by page, for nobody has checked the count; last of all what came since then
        let (mut next, since) = (0, counted..counted.saturating_add(IDS_PAGE));
        let mut waiting = Vec::from_iter([since]);
        while let Some(mut part) = waiting.pop() {
            if next < counted && part.start >= counted {
                waiting.push(part);
                part = next..next.saturating_add(IDS_PAGE).min(counted);
                next = part.end;
            }
            if self.on_end >= STRETCH && part.end - part.start > 1 && part.start < counted {
                waiting.push(part.start + 1..part.end);
                part.end = part.start + 1;
            }
            let length = part.end - part.start;
            match self.page(&part).await? {
                Some(Ok(came)) if came > 0 && came < length => waiting.push(part.start + came..part.end),
                // it grows
                Some(Ok(came)) if came >= length && part.end > counted => {
                    waiting.push(part.end..part.end.saturating_add(IDS_PAGE));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None if part.start >= counted => {}
                None => {
                    self.left = self.left.saturating_add(length + (counted - next));
                    next = counted;
                }
                Some(Err(fails)) if length == 1 => {
                    self.suspects.push((part.start, fails.words));
                    self.on_end += 1;
                    if self.on_end.is_multiple_of(ON_END) && !self.neighbour_comes(counted).await? {
                        return Ok(false);
                    }
                }
                Some(Err(_)) => {
                    let middle = part.start + length / 2;
                    waiting.extend([middle..part.end, part.start..middle]);
                }
            }
        }
        Ok(self.suspects.is_empty() || self.neighbour_comes(counted).await?)
    }

    /// One request: how many ids came, or why none did. None where the search has taken all that it may.
    async fn page(&mut self, part: &Range<u64>) -> Result<Option<std::result::Result<u64, Fails>>> {
        if self.requests >= REQUESTS || self.took >= TIME {
            return Ok(None);
        }
        let (started, length) = (Instant::now(), part.end - part.start);
        let page = self.api.page(self.collection, part.start, length).await?;
        // a count that is too high has no end of pages without an id
        if length < IDS_PAGE || page.as_ref().map_or(true, Vec::is_empty) {
            self.requests += 1;
            self.took += started.elapsed();
        }
        let ids = match page {
            Ok(ids) => ids,
            Err(fails) => return Ok(Some(Err(fails))),
        };
        if !ids.is_empty() {
            self.neighbour = Some(part.start);
            self.on_end = 0;
        }
        for id in &ids {
            self.ids.push(id);
        }
        Ok(Some(Ok(ids.len() as u64)))
    }

    /// Whether a place comes now: the one that came last, or one all over the collection.
    async fn neighbour_comes(&mut self, counted: u64) -> Result<bool> {
        let places = match self.neighbour {
            Some(place) => vec![place],
            None => (0..LOOKS).map(|n| counted / LOOKS * n + counted % LOOKS * n / LOOKS).collect(),
        };
        for place in places {
            if let Ok(ids) = self.api.page(self.collection, place, 1).await?
                && !ids.is_empty()
            {
                self.neighbour = Some(place);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks for each suspect again, with pauses and a place that came in between. False: it is the server.
    async fn confirmed(&mut self, counted: u64) -> Result<bool> {
        for _ in 1..TRIES {
            if self.suspects.is_empty() {
                break;
            }
            tokio::time::sleep(self.api.transport.apart).await;
            if !self.neighbour_comes(counted).await? {
                return Ok(false);
            }
            for (place, words) in std::mem::take(&mut self.suspects) {
                if !matches!(self.page(&(place..place + 1)).await?, Some(Ok(_))) {
                    self.suspects.push((place, words));
                }
            }
        }
        Ok(self.suspects.is_empty() || self.neighbour_comes(counted).await?)
    }
}
