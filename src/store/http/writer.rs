//! A Chroma server as a store to write, by API v2: what it can take, and every write. Servers from 0.5.16.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value as Json;
use tokio_util::bytes::Bytes;

use super::api::{Api, words};
use super::body;
use super::bounded::{DOCUMENT, SMALL, whole};
use super::decision::Kind;
use super::list::database_words;
use super::paths::{Dialect, Path};
use super::payload::Payload;
use super::reader::{HttpStore, numbers, unsupported};
use super::transport::Request;
use super::wire::{self, CollectionAnswer};
use crate::chroma::{Capabilities, NewCollection, rules};
use crate::model::{Collection, Error, Fetched, Metadata, Record, Result};
use crate::scratch::SortedIds;
use crate::store::{Amendment, Budget, Reader, Remarks, Searches, Writer};

/// What Chroma 1.x takes in one body; beyond it answers 413. Older servers have no limit of their own, but what stands
/// before them often has, and larger bodies are no faster.
const MAX_BODY: usize = 40 * 1024 * 1024;

/// The first version with API v2, and so the first that can be written.
const FIRST_WRITABLE: [u32; 3] = [0, 5, 16];

impl HttpStore {
    /// Makes it writable: asks the server what it can take.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a server before 0.5.16, which can only be read; else as [`Error`] says.
    pub async fn into_writer(self) -> Result<HttpWriter> {
        let Api { transport, place, version, .. } = &self.api;
        let old = numbers(version).is_some_and(|numbers| numbers < FIRST_WRITABLE);
        if place.dialect == Dialect::V1 || old {
            let why = format!("it is Chroma {version}, which this program only reads");
            return Err(unsupported(transport, why, "upgrade the target to Chroma 0.5.16 or later"));
        }
        HttpWriter::new(self).await
    }
}

/// A Chroma server that can be written.
#[derive(Debug)]
pub struct HttpWriter {
    pub(super) store: HttpStore,
    capabilities: Capabilities,
    bodies: Bodies,
}

/// What was learned of the bodies that pass: a proxy before the server has a limit of its own, which nothing tells.
#[derive(Debug)]
struct Bodies {
    /// Bytes of the largest that passed.
    passed: AtomicUsize,
    /// Bytes of the smallest that was too large.
    refused: AtomicUsize,
}

impl Bodies {
    const fn unknown() -> Self {
        Self { passed: AtomicUsize::new(0), refused: AtomicUsize::new(usize::MAX) }
    }

    fn learn(&self, bytes: usize, is_too_large: bool) {
        let contradicted = if is_too_large {
            self.refused.fetch_min(bytes, Ordering::Relaxed);
            bytes <= self.passed.load(Ordering::Relaxed)
        } else {
            self.passed.fetch_max(bytes, Ordering::Relaxed);
            bytes >= self.refused.load(Ordering::Relaxed)
        };
        // a filter that answers so for what is in a body says nothing of sizes; a limit that there is, too, is met again
        if contradicted {
            self.refused.store(usize::MAX, Ordering::Relaxed);
        }
    }

    /// Bytes of the largest body to send: half of what was refused, unless more has passed.
    fn largest(&self) -> usize {
        let (passed, refused) = (self.passed.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed));
        if refused == usize::MAX { usize::MAX } else { (refused / 2).max(passed.min(refused.saturating_sub(1))) }
    }
}

#[derive(Deserialize)]
struct Checks {
    max_batch_size: usize,
    #[serde(default)]
    supports_base64_encoding: bool,
}

impl HttpWriter {
    /// Asks the server what it can take.
    pub(super) async fn new(store: HttpStore) -> Result<Self> {
        let api = &store.api;
        let checks: Checks = get(api, &["api", "v2", "pre-flight-checks"]).await?;
        // Every 1.x server tells the version 1.0.0; its own description says what it knows.
        let description = match get::<Json>(api, &["openapi.json"]).await {
            Ok(description) => description,
            // Not every proxy lets it through: then only what every server of this version takes is used.
            Err(Error::NotFound { .. } | Error::Denied { .. } | Error::Unsupported { .. } | Error::Rejected { .. }) => {
                Json::Null
            }
            Err(error) => return Err(error),
        };
        let capabilities = capabilities(&api.version, &checks, &description);
        Ok(Self { store, capabilities, bodies: Bodies::unknown() })
    }

    /// As [`HttpStore::uuids`].
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn uuids(&self) -> Result<BTreeSet<String>> {
        self.store.uuids().await
    }

    /// Creates the tenant and its one database where they are missing; several databases are made as they are needed. For a
    /// local store, whose server nobody else can reach: on a shared server a missing one is the user's to create.
    ///
    /// # Errors
    /// As [`Error`] says; that they exist already is none.
    pub async fn ensure_place(&self) -> Result<()> {
        let Api { place, several, .. } = &self.store.api;
        self.ensure(&["api", "v2", "tenants"], &place.tenant).await?;
        if several.is_none() { self.ensure_database(&place.database).await } else { Ok(()) }
    }

    async fn ensure_database(&self, name: &str) -> Result<()> {
        self.ensure(&["api", "v2", "tenants", &self.store.api.place.tenant, "databases"], name).await
    }

    /// Makes what a path lists, unless it has one of this name.
    async fn ensure(&self, path: &[&str], name: &str) -> Result<()> {
        let api = &self.store.api;
        match get::<Json>(api, &[path, &[name]].concat()).await {
            Ok(_) => return Ok(()),
            Err(Error::NotFound { .. } | Error::Unsupported { .. } | Error::Rejected { .. }) => {}
            Err(error) => return Err(error),
        }
        let request = Request {
            kind: Kind::Write,
            method: Method::POST,
            url: api.transport.url(&Path::of(path.iter().copied())),
            body: Some(Payload::Kept(serde_json::json!({ "name": name }).to_string().into())),
            subject: format!("{name:?}"),
        };
        api.transport.call(&request, |response| whole(response, SMALL)).await.map(|_| ())
    }

    async fn write(&self, method: Method, path: &Path, body: Payload<'_>, subject: String) -> Result<Bytes> {
        let request =
            Request { kind: Kind::Write, method, url: self.store.api.transport.url(path), body: Some(body), subject };
        let take = |response| async {
            let body = whole(response, DOCUMENT).await?;
            // Whatever a server says it did is JSON; a proxy's page is no proof of anything.
            wire::parse::<serde::de::IgnoredAny>(&body).map(|_| body)
        };
        self.store.api.transport.call(&request, take).await
    }

    async fn change(&self, collection: &Collection, verb: &str, body: Payload<'_>) -> Result<()> {
        let path = self.store.api.at(collection).collection(&collection.id, verb);
        let bytes = body.len();
        let written = self.write(Method::POST, &path, body, words(collection)).await.map(|_| ());
        match &written {
            Ok(()) => self.bodies.learn(bytes, false),
            Err(Error::Rejected { status: 413, .. }) => self.bodies.learn(bytes, true),
            Err(_) => {}
        }
        written
    }

    fn encoded(&self, body: serde_json::Result<Bytes>) -> Result<Bytes> {
        body.map_err(|e| self.store.api.unsupported(format!("a request cannot be written as JSON: {e}")))
    }
}

async fn get<T: serde::de::DeserializeOwned>(api: &Api, path: &[&str]) -> Result<T> {
    api.json(&api.read(&Path::of(path.iter().copied()), None, path.join("/")), DOCUMENT).await
}

fn capabilities(version: &str, checks: &Checks, description: &Json) -> Capabilities {
    let schemas = &description["components"]["schemas"];
    let schema = !schemas["CreateCollectionPayload"]["properties"]["schema"].is_null();
    Capabilities {
        version: version.to_owned(),
        max_batch: checks.max_batch_size.max(1),
        max_body: MAX_BODY,
        base64: checks.supports_base64_encoding,
        configuration: numbers(version).is_some_and(|[major, ..]| major >= 1),
        schema,
        arrays: schema,
    }
}

#[async_trait]
impl Reader for HttpWriter {
    fn name(&self) -> String {
        self.store.name()
    }

    fn version(&self) -> String {
        self.store.version()
    }

    async fn collections(&self) -> Result<Vec<Collection>> {
        self.store.collections().await
    }

    async fn databases(&self) -> Result<Option<Vec<String>>> {
        self.store.databases().await
    }

    async fn count(&self, collection: &Collection) -> Result<u64> {
        self.store.count(collection).await
    }

    async fn ids(&self, collection: &Collection) -> Result<SortedIds> {
        self.store.ids(collection).await
    }

    async fn listing(&self, collection: &Collection) -> Result<(SortedIds, u64)> {
        self.store.listing(collection).await
    }

    async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>> {
        let fetched = self.store.fetch(collection, ids).await?;
        self.store.api.refuse_unread(collection)?;
        Ok(fetched)
    }

    async fn fetch_within(
        &self,
        collection: &Collection,
        ids: &[String],
        budget: Budget,
    ) -> Result<(Vec<Fetched>, usize)> {
        let fetched = self.store.fetch_within(collection, ids, budget).await?;
        self.store.api.refuse_unread(collection)?;
        Ok(fetched)
    }

    fn searches(&self) -> Option<&dyn Searches> {
        self.store.searches()
    }

    async fn held(&self, collection: &Collection, ids: &[String]) -> Result<Vec<String>> {
        let held = self.store.held(collection, ids).await?;
        self.store.api.refuse_unread(collection)?;
        Ok(held)
    }

    async fn remarks(&self, collection: &Collection) -> Result<Remarks> {
        self.store.remarks(collection).await
    }
}

#[async_trait]
impl Writer for HttpWriter {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn create(&self, new: &NewCollection) -> Result<Collection> {
        let api = &self.store.api;
        let place = new.database.as_ref().map_or_else(|| api.place.clone(), |name| api.place.of(name));
        if let Some(name) = &new.database {
            self.ensure_database(name).await?;
        }
        let subject = database_words(&place);
        let body = Payload::Kept(self.encoded(body::create(new))?);
        let answer = self.write(Method::POST, &place.collections(), body, subject).await?;
        let collection = wire::parse::<CollectionAnswer>(&answer)
            .map(|answer| answer.into_collection(&place.tenant, &place.database))
            .map_err(|failed| failed.detail);
        collection.map_err(|why| Error::Uncertain {
            store: self.name(),
            attempt: format!("the creation of collection {:?}", new.name),
            why,
        })
    }

    async fn set_metadata(&self, collection: &Collection, metadata: &Metadata) -> Result<()> {
        let path = self.store.api.at(collection).one(&collection.id);
        let body = Payload::Kept(self.encoded(body::modify(metadata))?);
        self.write(Method::PUT, &path, body, words(collection)).await.map(|_| ())
    }

    fn prepare(&self, records: &[Record]) -> Result<Bytes> {
        self.encoded(body::add(records, self.capabilities.base64))
    }

    async fn add_prepared(&self, collection: &Collection, records: &[Record], body: Bytes) -> Result<()> {
        let again = || self.prepare(records);
        self.change(collection, "add", Payload::once(body, &again)).await
    }

    async fn update(&self, collection: &Collection, amendments: &[Amendment]) -> Result<()> {
        let body = self.encoded(body::update(amendments, self.capabilities.base64))?;
        self.change(collection, "update", Payload::Kept(body)).await
    }

    async fn delete(&self, collection: &Collection, ids: &[String]) -> Result<()> {
        let body = self.encoded(serde_json::to_vec(&serde_json::json!({ "ids": ids })).map(Bytes::from))?;
        self.change(collection, "delete", Payload::Kept(body)).await
    }

    fn encoded_len(&self, record: &Record) -> usize {
        rules::body_len(record, self.capabilities.base64)
    }

    fn max_body(&self) -> usize {
        self.bodies.largest()
    }

    fn largest_taken(&self) -> usize {
        self.bodies.passed.load(Ordering::Relaxed)
    }

    fn pushed_back(&self) -> u64 {
        self.store.api.transport.pushed_back()
    }
}
