//! API v2: its paths, what its servers can take, and writing. Servers from 0.5.16.

use async_trait::async_trait;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value as Json;
use tokio_util::bytes::Bytes;
use url::Url;

use super::api::{Api, words};
use super::decision::Kind;
use super::payload::Payload;
use super::transport::{Request, whole};
use super::wire::{self, CollectionAnswer};
use super::{HttpStore, body};
use crate::store::collection::Collection;
use crate::store::creation::{Capabilities, NewCollection};
use crate::store::error::{Error, Result};
use crate::store::ids::SortedIds;
use crate::store::record::{Fetched, Record};
use crate::store::{Amendment, Reader, Writer, rules};

/// What Chroma 1.x takes in one body; beyond it answers 413. Older servers have no limit of their own, but what stands
/// before them often has, and larger bodies are no faster.
const MAX_BODY: usize = 40 * 1024 * 1024;

/// Collections in one page, where a server limits its list.
const PAGE: &str = "100";

/// The URL of the database's collections, or of something below them.
pub(super) fn collections(api: &Api, below: &[&str]) -> Url {
    under_database(api, &[&["collections"], below].concat())
}

/// The URL of the number of collections.
pub(super) fn collections_count(api: &Api) -> Url {
    under_database(api, &["collections_count"])
}

/// The URL of the list of collections from this one on.
pub(super) fn page(api: &Api, offset: usize) -> Url {
    let mut url = collections(api, &[]);
    url.query_pairs_mut().append_pair("limit", PAGE).append_pair("offset", &offset.to_string());
    url
}

/// The URL of the database itself.
pub(super) fn database(api: &Api) -> Url {
    under_database(api, &[])
}

fn under_database(api: &Api, below: &[&str]) -> Url {
    let database = ["api", "v2", "tenants", &api.tenant, "databases", &api.database];
    api.transport.url(database.into_iter().chain(below.iter().copied()))
}

/// A Chroma server that can be written.
#[derive(Debug)]
pub struct HttpWriter {
    pub(super) store: HttpStore,
    capabilities: Capabilities,
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
        Ok(Self { store, capabilities })
    }

    /// Creates the tenant and the database where they are missing. For a local store, whose server nobody else can reach;
    /// on a shared server a missing one is the user's to create.
    ///
    /// # Errors
    /// As [`Error`] says; that they exist already is none.
    pub async fn ensure_database(&self) -> Result<()> {
        let api = &self.store.api;
        let tenants = ["api", "v2", "tenants"];
        let databases = [tenants.as_slice(), &[api.tenant.as_str(), "databases"]].concat();
        for (path, name) in [(tenants.as_slice(), &api.tenant), (databases.as_slice(), &api.database)] {
            let there = get::<Json>(api, &[path, &[name.as_str()]].concat()).await;
            match there {
                Ok(_) => continue,
                Err(Error::NotFound { .. } | Error::Unsupported { .. } | Error::Rejected { .. }) => {}
                Err(error) => return Err(error),
            }
            let request = Request {
                kind: Kind::Write,
                method: Method::POST,
                url: api.transport.url(path.iter().copied()),
                body: Some(Payload::Kept(serde_json::json!({ "name": name }).to_string().into())),
                subject: format!("{name:?}"),
            };
            api.transport.call(&request, whole).await?;
        }
        Ok(())
    }

    async fn write(&self, below: &[&str], body: Payload<'_>, subject: String) -> Result<Bytes> {
        let request = Request {
            kind: Kind::Write,
            method: Method::POST,
            url: self.store.api.url(below),
            body: Some(body),
            subject,
        };
        let take = |response| async {
            let body = whole(response).await?;
            // Whatever a server says it did is JSON; a proxy's page is no proof of anything.
            wire::parse::<serde::de::IgnoredAny>(&body).map(|_| body)
        };
        self.store.api.transport.call(&request, take).await
    }

    fn encoded(&self, body: serde_json::Result<Bytes>) -> Result<Bytes> {
        body.map_err(|e| self.store.api.unsupported(format!("a request cannot be written as JSON: {e}")))
    }
}

async fn get<T: serde::de::DeserializeOwned>(api: &Api, path: &[&str]) -> Result<T> {
    let url = api.transport.url(path.iter().copied());
    api.json(&Api::read(url, None, path.join("/"))).await
}

fn capabilities(version: &str, checks: &Checks, description: &Json) -> Capabilities {
    let schemas = &description["components"]["schemas"];
    let schema = !schemas["CreateCollectionPayload"]["properties"]["schema"].is_null();
    Capabilities {
        version: version.to_owned(),
        max_batch: checks.max_batch_size.max(1),
        max_body: MAX_BODY,
        base64: checks.supports_base64_encoding,
        configuration: super::numbers(version).is_some_and(|[major, ..]| major >= 1),
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

    async fn count(&self, collection: &Collection) -> Result<u64> {
        self.store.count(collection).await
    }

    async fn ids(&self, collection: &Collection) -> Result<SortedIds> {
        self.store.ids(collection).await
    }

    async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>> {
        self.store.fetch(collection, ids).await
    }
}

#[async_trait]
impl Writer for HttpWriter {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn create(&self, new: &NewCollection) -> Result<Collection> {
        let api = &self.store.api;
        let subject = api.database_words();
        let answer = self.write(&[], Payload::Kept(self.encoded(body::create(new))?), subject).await?;
        let collection = wire::parse::<CollectionAnswer>(&answer)
            .map_err(|failed| failed.detail)
            .and_then(|answer| answer.into_collection(&api.tenant, &api.database));
        collection.map_err(|why| Error::Uncertain {
            store: self.name(),
            attempt: format!("the creation of collection {:?}", new.name),
            why,
        })
    }

    fn prepare(&self, records: &[Record]) -> Result<Bytes> {
        self.encoded(body::add(records, self.capabilities.base64))
    }

    async fn add_prepared(&self, collection: &Collection, records: &[Record], body: Bytes) -> Result<()> {
        let again = || self.prepare(records);
        self.write(&[&collection.id, "add"], Payload::once(body, &again), words(collection)).await.map(|_| ())
    }

    async fn update(&self, collection: &Collection, amendments: &[Amendment]) -> Result<()> {
        let body = self.encoded(body::update(amendments, self.capabilities.base64))?;
        self.write(&[&collection.id, "update"], Payload::Kept(body), words(collection)).await.map(|_| ())
    }

    async fn delete(&self, collection: &Collection, ids: &[String]) -> Result<()> {
        let body = self.encoded(serde_json::to_vec(&serde_json::json!({ "ids": ids })).map(Bytes::from))?;
        self.write(&[&collection.id, "delete"], Payload::Kept(body), words(collection)).await.map(|_| ())
    }

    fn encoded_len(&self, record: &Record) -> usize {
        rules::body_len(record, self.capabilities.base64)
    }

    fn pushed_back(&self) -> u64 {
        self.store.api.transport.pushed_back()
    }
}
