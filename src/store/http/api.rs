//! What reading over both APIs has in common: list, count, ids, records by id.
//! Knows paths and quirks of neither: `v1` and `v2` do.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::bytes::Bytes;
use url::Url;

use super::decision::{Failure, Kind};
use super::payload::Payload;
use super::transport::{Failed, Request, Transport, whole};
use super::wire::{self, CollectionAnswer, GetAnswer};
use super::{probe, stream, v1, v2};
use crate::store::collection::Collection;
use crate::store::error::{Error, Result};
use crate::store::ids::SortedIds;
use crate::store::record::Fetched;
use crate::store::spill;

/// Ids in one `get`. The database under Chroma takes 32,766 variables, and 1.x spends one on each row of metadata; a thousand
/// records of 3072 components are 30 MB of JSON, and more in one call is hardly faster.
const FETCH: usize = 1000;

/// How often a listing that other clients' writes made inconsistent is read again.
const LISTINGS: usize = 3;

/// Which of Chroma's APIs a server is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `/api/v1`, servers 0.4.15 to 0.5.15.
    V1,
    /// `/api/v2`, servers from 0.5.16.
    V2,
}

/// One database of one server.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) transport: Transport,
    pub(super) dialect: Dialect,
    pub(super) version: String,
    pub(super) tenant: String,
    pub(super) database: String,
}

/// The body of a `get` by ids.
#[derive(Serialize)]
struct ByIds<'a> {
    ids: &'a [String],
    include: [&'static str; 4],
}

impl Api {
    /// The URL of the collections, or of something below them.
    pub(super) fn url(&self, below: &[&str]) -> Url {
        match self.dialect {
            Dialect::V1 => v1::collections(self, below),
            Dialect::V2 => v2::collections(self, below),
        }
    }

    /// A read of a collection; `body` makes it a POST.
    pub(super) fn read(url: Url, body: Option<Bytes>, subject: String) -> Request<'static> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        Request { kind: Kind::Read, method, url, body: body.map(Payload::Kept), subject }
    }

    /// Sends a request and parses its answer.
    pub(super) async fn json<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<T> {
        self.transport.call(request, |response| async { wire::parse(&whole(response).await?) }).await
    }

    /// Every collection of the database, by name.
    pub(super) async fn collections(&self) -> Result<Vec<Collection>> {
        let answers = match self.dialect {
            Dialect::V1 => self.list(self.url(&[])).await?,
            Dialect::V2 => self.complete_list().await?,
        };
        if answers.is_empty() {
            // Every version lists nothing in a database that does not exist.
            self.database_exists().await?;
        }
        let mut collections = Vec::with_capacity(answers.len());
        for answer in answers {
            let collection = answer.into_collection(&self.tenant, &self.database);
            let mut collection = collection.map_err(|why| self.unsupported(why))?;
            if let Some(distance) = probe::effective(self, &collection).await? {
                collection.distance = distance;
            }
            collections.push(collection);
        }
        collections.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(collections)
    }

    async fn list(&self, url: Url) -> Result<Vec<CollectionAnswer>> {
        self.json(&Self::read(url, None, self.database_words())).await
    }

    /// Chroma's own servers list everything at once; one that limits the list is paged, and the server's own count
    /// tells whether all came: paging by offset can skip one when another is deleted meanwhile.
    async fn complete_list(&self) -> Result<Vec<CollectionAnswer>> {
        for _ in 0..LISTINGS {
            let mut found: BTreeMap<String, CollectionAnswer> = BTreeMap::new();
            let mut page = self.list(self.url(&[])).await?;
            let count: usize = self.json(&Self::read(v2::collections_count(self), None, self.database_words())).await?;
            loop {
                let before = found.len();
                found.extend(page.into_iter().map(|answer| (answer.id().to_owned(), answer)));
                if found.len() >= count {
                    return Ok(found.into_values().collect());
                }
                if found.len() == before {
                    break;
                }
                page = self.list(v2::page(self, found.len())).await?;
            }
        }
        Err(self.unsupported(format!("{LISTINGS} times it listed fewer collections than it counts")))
    }

    async fn database_exists(&self) -> Result<()> {
        let url = match self.dialect {
            Dialect::V1 => v1::database(self),
            Dialect::V2 => v2::database(self),
        };
        self.json::<serde::de::IgnoredAny>(&Self::read(url, None, self.database_words())).await.map(|_| ())
    }

    /// How many records the collection holds.
    pub(super) async fn count(&self, collection: &Collection) -> Result<u64> {
        self.json(&Self::read(self.url(&[&collection.id, "count"]), None, words(collection))).await
    }

    /// Every id, streamed. The counts around it show a server that limits its answers.
    pub(super) async fn ids(&self, collection: &Collection) -> Result<SortedIds> {
        let body = Bytes::from_static(br#"{"include":[]}"#);
        let request = Self::read(self.url(&[&collection.id, "get"]), Some(body), words(collection));
        let mut seen = (0, 0);
        for _ in 0..LISTINGS {
            let before = self.count(collection).await?;
            let ids = self.transport.call(&request, stream::ids).await?.sort().map_err(spill::failed)?;
            let after = self.count(collection).await?;
            if ids.len() as u64 >= before.min(after) {
                return Ok(ids);
            }
            seen = (ids.len(), before.min(after));
        }
        let (listed, counted) = seen;
        Err(self.unsupported(format!("it lists {listed} ids of {}, but counts {counted} records", words(collection))))
    }

    /// The records with these ids.
    pub(super) async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>> {
        let url = self.url(&[&collection.id, "get"]);
        let mut fetched = Vec::with_capacity(ids.len());
        for ids in ids.chunks(FETCH) {
            let body = ByIds { ids, include: ["documents", "metadatas", "embeddings", "uris"] };
            let body = serde_json::to_vec(&body).map_err(|e| self.unsupported(e.to_string()))?;
            let request = Self::read(url.clone(), Some(body.into()), words(collection));
            let answer = self.transport.call(&request, |response| async {
                let body = whole(response).await?;
                // Megabytes of decimals: not on a thread that serves connections.
                let answer = tokio::task::spawn_blocking(move || wire::parse::<GetAnswer>(&body)).await;
                let answer = answer.map_err(|e| Failed { failure: Failure::Broken, detail: e.to_string() })??;
                answer.into_fetched(ids).map_err(|detail| Failed { failure: Failure::Foreign, detail })
            });
            fetched.extend(answer.await?);
        }
        Ok(fetched)
    }

    pub(super) fn unsupported(&self, why: String) -> Error {
        let remedy = "check that nothing between here and the server changes or limits its answers".to_owned();
        Error::Unsupported { store: self.transport.name(), why, remedy }
    }

    pub(super) fn database_words(&self) -> String {
        format!("database {:?} of tenant {:?}", self.database, self.tenant)
    }
}

/// The collection in a person's words.
pub(super) fn words(collection: &Collection) -> String {
    format!("collection {:?}", collection.name)
}
