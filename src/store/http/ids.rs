//! Lists the ids of a collection: all at once, by pages where a server limits its answers, and place by place (`places`) where it
//! fails on them. Writes nothing.

use std::time::{Duration, Instant};

use tokio_util::bytes::Bytes;

use super::api::{Api, words};
use super::decision::Kind;
use super::get::Fails;
use super::known::Short;
use super::page::IDS_PAGE;
use super::places::Places;
use super::records::{AGAIN, LONGEST};
use super::stream;
use super::transport::Request;
use crate::model::{Collection, Error, Result};
use crate::scratch::{self, IdList, SortedIds};

/// How often all ids are asked for at once before they are asked for by pages.
const WHOLE_LISTINGS: usize = 2;
/// Bytes of a list of ids beside those of the ids that the server counts, and for each of those.
const IDS_SPARE: u64 = 16 << 20;
const ID_BYTES: u64 = 64 << 10;

/// A listing, and how many records the server counts beside it; or why the server does not list the collection.
type Listed = std::result::Result<(SortedIds, u64), Fails>;

impl Api {
    /// Every id, and how many records the server counts beside them. What the server cannot list is a remark.
    pub(super) async fn ids(&self, collection: &Collection) -> Result<(SortedIds, u64)> {
        let started = Instant::now();
        let (mut again, mut pause, mut is_searched) = (AGAIN.into_iter(), self.transport.apart, false);
        loop {
            let fails = match self.whole_list(collection).await? {
                Ok(found) => return Ok(found),
                Err(fails) => fails,
            };
            if fails.refusal.is_none()
                && let Some(pause) = again.next()
            {
                // a server that starts may fail once
                tokio::time::sleep(pause.min(self.transport.apart)).await;
                continue;
            }
            let is_late = started.elapsed() + pause >= self.transport.retry;
            if (!std::mem::replace(&mut is_searched, true) || is_late)
                && let Some(found) = Places::new(self, collection).listed().await?
            {
                return Ok(found);
            }
            match fails.refusal {
                Some(error) => return Err(error),
                None if is_late => return Err(self.unlisted(collection, &fails.words, started.elapsed())),
                None => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    fn unlisted(&self, collection: &Collection, why: &str, tried: Duration) -> Error {
        let attempt = format!("the listing of {}", words(collection));
        Error::Failing {
            store: self.transport.name(),
            attempt,
            why: format!("{why} (tried for {} s)", tried.as_secs()),
        }
    }

    /// Every id, streamed. The counts around it show a server that limits its answers: that one is asked by pages, too, and what
    /// is missing then is a remark.
    async fn whole_list(&self, collection: &Collection) -> Result<Listed> {
        let mut listed = SortedIds::default();
        let mut counted = 0;
        for _ in 0..WHOLE_LISTINGS {
            let before = self.count(collection).await?;
            listed = match self.listed(collection, before).await? {
                Ok(listed) => listed,
                Err(fails) => return Ok(Err(fails)),
            };
            // a list as long as the count before it needs no other one
            let is_whole = listed.len() as u64 >= before;
            counted = if is_whole { before } else { before.min(self.count(collection).await?) };
            if listed.len() as u64 >= counted {
                self.known().short.remove(&collection.id);
                return Ok(Ok((listed, counted)));
            }
        }
        let merged = self.with_pages(collection, &listed).await?;
        counted = counted.min(self.count(collection).await?);
        let short = (merged.len() as u64) < counted;
        let mut known = self.known();
        if short {
            let words = format!(
                "the server lists {} ids but counts {counted} records: check that nothing between here and the server \
                 limits or changes its answers",
                merged.len()
            );
            known.short.insert(collection.id.clone(), Short { words, counted: 0 });
        } else {
            known.short.remove(&collection.id);
        }
        drop(known);
        Ok(Ok((merged, counted)))
    }

    async fn listed(&self, collection: &Collection, counted: u64) -> Result<std::result::Result<SortedIds, Fails>> {
        let body = Bytes::from_static(br#"{"include":[]}"#);
        let path = self.at(collection).collection(&collection.id, "get");
        let request = Request { kind: Kind::Records, ..self.read(&path, Some(body), words(collection)) };
        let limit = counted.saturating_mul(ID_BYTES).saturating_add(IDS_SPARE);
        let take = |response| stream::ids(response, limit);
        match self.transport.try_call(self.transport.retry, &request, take).await {
            Ok(ids) => ids.sort().map(Ok).map_err(scratch::failed),
            Err(stopped) => self.fails(&request, &stopped).map(Err),
        }
    }

    /// These ids and those that come by pages, until a page is empty or repeats the one before.
    async fn with_pages(&self, collection: &Collection, listed: &SortedIds) -> Result<SortedIds> {
        let mut merged = IdList::new();
        for id in listed {
            merged.push(&id.map_err(scratch::failed)?);
        }
        let (mut offset, mut before) = (0, Vec::new());
        loop {
            let ids = match self.page(collection, offset, IDS_PAGE).await? {
                Ok(ids) => ids,
                Err(Fails { refusal: Some(error), .. }) => return Err(error),
                Err(Fails { words, refusal: None }) => {
                    return Err(self.unlisted(collection, &words, Duration::ZERO));
                }
            };
            if ids.is_empty() || ids == before {
                return merged.sort().map_err(scratch::failed);
            }
            offset += ids.len() as u64;
            for id in &ids {
                merged.push(id);
            }
            before = ids;
        }
    }
}
