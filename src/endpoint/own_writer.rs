//! The server that writes a local target, and the proof that it writes that folder and no other: whoever answers at an
//! address may be somebody else's server. Adds nothing to what it passes on.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio_util::bytes::Bytes;

use crate::chroma::{Capabilities, NewCollection};
use crate::model::{Collection, Error, Fetched, Metadata, Record, Result};
use crate::scratch::SortedIds;
use crate::store::files::LocalStore;
use crate::store::http::HttpWriter;
use crate::store::{Amendment, Budget, Reader, Remarks, Searches, Writer};

/// A server of which the collections are those in the files of a folder.
pub(super) struct OwnWriter {
    writer: HttpWriter,
    files: LocalStore,
    proved: AtomicBool,
}

impl OwnWriter {
    /// Compares the collections over HTTP with those in the files, by UUID. In a new store there are none, and the first
    /// one that is created is looked up in the files instead, before any record can be sent.
    pub(super) async fn new(writer: HttpWriter, files: LocalStore) -> Result<Self> {
        let answered = writer.uuids().await?;
        let written: Vec<String> = files.collections().await?.into_iter().map(|c| c.id).collect();
        if answered.len() != written.len() || written.iter().any(|id| !answered.contains(id)) {
            let why = format!(
                "it holds {} collections and the folder {}, and they are not the same",
                answered.len(),
                written.len()
            );
            return Err(foreign(&writer, &files, &why));
        }
        Ok(Self { writer, files, proved: AtomicBool::new(!written.is_empty()) })
    }

    /// Reads what the server wrote from its folder.
    pub(super) fn files(&self) -> &LocalStore {
        &self.files
    }
}

fn foreign(writer: &HttpWriter, files: &LocalStore, why: &str) -> Error {
    Error::Unsupported {
        store: writer.name(),
        why: format!("it does not write {}: {why}", files.name()),
        remedy: "no record was sent to it; find out who answers at that address, and run this again".to_owned(),
    }
}

#[async_trait]
impl Reader for OwnWriter {
    fn name(&self) -> String {
        self.writer.name()
    }

    fn version(&self) -> String {
        self.writer.version()
    }

    async fn collections(&self) -> Result<Vec<Collection>> {
        self.writer.collections().await
    }

    async fn databases(&self) -> Result<Option<Vec<String>>> {
        self.writer.databases().await
    }

    async fn count(&self, collection: &Collection) -> Result<u64> {
        self.writer.count(collection).await
    }

    async fn ids(&self, collection: &Collection) -> Result<SortedIds> {
        self.writer.ids(collection).await
    }

    async fn listing(&self, collection: &Collection) -> Result<(SortedIds, u64)> {
        self.writer.listing(collection).await
    }

    async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>> {
        self.writer.fetch(collection, ids).await
    }

    async fn fetch_within(
        &self,
        collection: &Collection,
        ids: &[String],
        budget: Budget,
    ) -> Result<(Vec<Fetched>, usize)> {
        self.writer.fetch_within(collection, ids, budget).await
    }

    async fn held(&self, collection: &Collection, ids: &[String]) -> Result<Vec<String>> {
        self.writer.held(collection, ids).await
    }

    fn searches(&self) -> Option<&dyn Searches> {
        self.writer.searches()
    }

    async fn remarks(&self, collection: &Collection) -> Result<Remarks> {
        self.writer.remarks(collection).await
    }

    async fn generation(&self, collection: &Collection) -> Result<Option<String>> {
        self.writer.generation(collection).await
    }
}

#[async_trait]
impl Writer for OwnWriter {
    fn capabilities(&self) -> Capabilities {
        self.writer.capabilities()
    }

    async fn create(&self, new: &NewCollection) -> Result<Collection> {
        let made = self.writer.create(new).await?;
        if !self.proved.load(Ordering::Relaxed) {
            let written = self.files.collections().await?;
            if !written.iter().any(|collection| collection.id == made.id) {
                let why = format!("collection {:?}, which it has just created, is not in that folder", made.name);
                return Err(foreign(&self.writer, &self.files, &why));
            }
            self.proved.store(true, Ordering::Relaxed);
        }
        Ok(made)
    }

    async fn set_metadata(&self, collection: &Collection, metadata: &Metadata) -> Result<()> {
        self.writer.set_metadata(collection, metadata).await
    }

    fn prepare(&self, records: &[Record]) -> Result<Bytes> {
        self.writer.prepare(records)
    }

    async fn add_prepared(&self, collection: &Collection, records: &[Record], body: Bytes) -> Result<()> {
        self.writer.add_prepared(collection, records, body).await
    }

    async fn update(&self, collection: &Collection, amendments: &[Amendment]) -> Result<()> {
        self.writer.update(collection, amendments).await
    }

    async fn delete(&self, collection: &Collection, ids: &[String]) -> Result<()> {
        self.writer.delete(collection, ids).await
    }

    fn encoded_len(&self, record: &Record) -> usize {
        self.writer.encoded_len(record)
    }

    fn max_body(&self) -> usize {
        self.writer.max_body()
    }

    fn largest_taken(&self) -> usize {
        self.writer.largest_taken()
    }

    fn pushed_back(&self) -> u64 {
        self.writer.pushed_back()
    }
}
