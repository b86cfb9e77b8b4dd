//! What a tenant has: its databases, and the collections of those that are looked at, as their documents describe them.
//! Probes nothing and reads no record.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _};

use super::api::{Api, Several};
use super::bounded::{DOCUMENT, LIST, SMALL};
use super::paths::{Dialect, Path, Root};
use super::wire::{CollectionAnswer, DatabaseAnswer};
use crate::model::{Collection, Error, Result};

/// How often a list that other clients' writes made inconsistent is read again.
const LISTINGS: usize = 3;
/// Collections or databases in one page.
const PAGE: usize = 100;
/// Databases whose collections are listed at once.
const AT_ONCE: usize = 4;

impl Api {
    /// Every collection with the distance that its documents declare; nothing is probed.
    pub(super) async fn declared(&self) -> Result<Vec<Collection>> {
        let Some(Several { names, may_be_missing }) = &self.several else {
            return self.declared_in(&self.place, false).await;
        };
        let listed = |name: &String| {
            let place = self.place.of(name);
            async move { self.declared_in(&place, *may_be_missing).await }
        };
        let all: Vec<Vec<Collection>> =
            futures::stream::iter(names).map(listed).buffered(AT_ONCE).try_collect().await?;
        let all: Vec<Collection> = all.into_iter().flatten().collect();
        if all.is_empty() {
            let request = self.read(&self.place.tenant(), None, format!("tenant {:?}", self.place.tenant));
            self.json::<serde::de::IgnoredAny>(&request, DOCUMENT).await?;
        }
        Ok(all)
    }

    async fn declared_in(&self, place: &Root, may_be_missing: bool) -> Result<Vec<Collection>> {
        let answers = match place.dialect {
            Dialect::V1 => self.list(place, &place.collections()).await?,
            Dialect::V2 => self.complete_list(place).await?,
        };
        if answers.is_empty() && !may_be_missing {
            // Every version lists nothing in a database that does not exist.
            self.database_exists(place).await?;
        }
        let mut collections = Vec::with_capacity(answers.len());
        for answer in answers {
            self.known().own_nulls(answer.id(), answer.nulls());
            let collection = answer.into_collection(&place.tenant, &place.database);
            if self.transport.is_secret_in(&collection.name) {
                return Err(self.unsupported("a collection's name holds the credentials that were sent".to_owned()));
            }
            collections.push(collection);
        }
        Ok(collections)
    }

    /// The names of all databases of the tenant; None where the server cannot list them (measured: before 0.6). Paging by
    /// offset can skip one when another is deleted meanwhile, so all are listed until two lists agree.
    pub(super) async fn databases(&self) -> Result<Option<Vec<String>>> {
        if self.place.dialect == Dialect::V1 {
            return Ok(None);
        }
        let mut names = BTreeSet::new();
        for _ in 0..LISTINGS {
            let now = match self.database_pages().await {
                Err(Error::Rejected { status: 405, .. } | Error::NotFound { .. }) => return Ok(None),
                other => other?,
            };
            let agree = now == names;
            names.extend(now);
            if agree {
                break;
            }
        }
        Ok(Some(names.into_iter().collect()))
    }

    async fn database_pages(&self) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        loop {
            let path = self.place.databases(names.len(), PAGE);
            let request = self.read(&path, None, format!("tenant {:?}", self.place.tenant));
            let page: Vec<DatabaseAnswer> = self.json(&request, LIST).await?;
            let before = names.len();
            names.extend(page.into_iter().map(|database| database.name));
            // a page that tells nothing new is the end, also of a server that ignores the offset
            if names.len() == before {
                return Ok(names);
            }
        }
    }

    async fn list(&self, place: &Root, path: &Path) -> Result<Vec<CollectionAnswer>> {
        self.json(&self.read(path, None, database_words(place)), LIST).await
    }

    /// Chroma's own servers list everything at once; one that limits the list is paged, and the server's own count
    /// tells whether all came: paging by offset can skip one when another is deleted meanwhile.
    async fn complete_list(&self, place: &Root) -> Result<Vec<CollectionAnswer>> {
        for _ in 0..LISTINGS {
            let mut found: BTreeMap<String, CollectionAnswer> = BTreeMap::new();
            let mut page = self.list(place, &place.collections()).await?;
            let count = self.read(&place.collections_count(), None, database_words(place));
            let count: usize = self.json(&count, SMALL).await?;
            loop {
                let before = found.len();
                found.extend(page.into_iter().map(|answer| (answer.id().to_owned(), answer)));
                if found.len() >= count {
                    return Ok(found.into_values().collect());
                }
                if found.len() == before {
                    break;
                }
                page = self.list(place, &place.page(found.len(), PAGE)).await?;
            }
        }
        Err(self.unsupported(format!("{LISTINGS} times it listed fewer collections than it counts")))
    }

    async fn database_exists(&self, place: &Root) -> Result<()> {
        let request = self.read(&place.database(), None, database_words(place));
        self.json::<serde::de::IgnoredAny>(&request, DOCUMENT).await.map(|_| ())
    }
}

pub(super) fn database_words(place: &Root) -> String {
    format!("database {:?} of tenant {:?}", place.database, place.tenant)
}
