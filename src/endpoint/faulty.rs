//! Source and target whose every call can be made to fail, before and after it: with the feature `faults` alone, and only
//! where a place is named. Changes no answer.

use std::future::Future;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tokio_util::bytes::Bytes;

use crate::chroma::{Capabilities, NewCollection};
use crate::faults::{self, Kind};
use crate::model::{Collection, Error, Fetched, Filter, Metadata, Record, Result};
use crate::scratch::SortedIds;
use crate::store::{
    Amendment, Budget, Filler, Finding, Laid, Load, Neighbour, Reader, Remarks, Searches, Target, Writer,
};

/// The source, with its places.
pub(super) fn source(source: Box<dyn Reader>) -> Box<dyn Reader> {
    if faults::is_planned() { Box::new(FaultyReader::new("source", Box::leak(source))) } else { source }
}

/// The target, with its places. It is never dropped: the engine closes it, and the process ends.
pub(super) fn target(target: Box<dyn Target>) -> Box<dyn Target> {
    if !faults::is_planned() {
        return target;
    }
    let inner: &'static dyn Target = Box::leak(target);
    let current = inner.current().map(|reader| FaultyReader::new("target", reader));
    let again = OnceCell::new();
    Box::new(FaultyTarget { inner, current, filler: FaultyFiller(inner), writer: OnceCell::new(), again })
}

/// Makes a call, unless one of its two places fails.
async fn call<T>(side: &str, name: &str, is_write: bool, call: impl Future<Output = Result<T>>) -> Result<T> {
    let place = |moment: &str| format!("{side}.{name}.{moment}");
    let fails = |moment: &str| faults::at(&place(moment)).map_or(Ok(()), |kind| Err(error(kind, is_write)));
    fails("before")?;
    let answer = call.await?;
    fails("after")?;
    Ok(answer)
}

fn error(kind: Kind, is_write: bool) -> Error {
    let (store, attempt) = ("the store".to_owned(), "a call".to_owned());
    let why = "made by a test".to_owned();
    match kind {
        Kind::Retry if is_write => Error::Uncertain { store, attempt, why },
        Kind::Retry => Error::Unavailable { store, attempt, why },
        Kind::Fatal => Error::Rejected { store, attempt, status: 400, body: why },
    }
}

struct FaultyReader {
    side: &'static str,
    inner: &'static dyn Reader,
    searches: Option<FaultySearches>,
}

impl FaultyReader {
    fn new(side: &'static str, inner: &'static dyn Reader) -> Self {
        let searches = inner.searches().map(|inner| FaultySearches { side, inner });
        Self { side, inner, searches }
    }
}

struct FaultySearches {
    side: &'static str,
    inner: &'static dyn Searches,
}

#[async_trait]
impl Searches for FaultySearches {
    fn engine(&self) -> &str {
        self.inner.engine()
    }

    async fn nearest(&self, collection: &Collection, vectors: &[&[f32]], most: usize) -> Result<Vec<Vec<Neighbour>>> {
        call(self.side, "nearest", false, self.inner.nearest(collection, vectors, most)).await
    }

    async fn matching(&self, collection: &Collection, filter: &Filter, most: usize) -> Result<Vec<String>> {
        call(self.side, "matching", false, self.inner.matching(collection, filter, most)).await
    }
}

#[async_trait]
impl Reader for FaultyReader {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn version(&self) -> String {
        self.inner.version()
    }

    async fn collections(&self) -> Result<Vec<Collection>> {
        call(self.side, "collections", false, self.inner.collections()).await
    }

    async fn databases(&self) -> Result<Option<Vec<String>>> {
        self.inner.databases().await
    }

    async fn count(&self, collection: &Collection) -> Result<u64> {
        call(self.side, "count", false, self.inner.count(collection)).await
    }

    async fn ids(&self, collection: &Collection) -> Result<SortedIds> {
        self.inner.ids(collection).await
    }

    async fn listing(&self, collection: &Collection) -> Result<(SortedIds, u64)> {
        call(self.side, "listing", false, self.inner.listing(collection)).await
    }

    async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>> {
        call(self.side, "fetch", false, self.inner.fetch(collection, ids)).await
    }

    async fn fetch_within(
        &self,
        collection: &Collection,
        ids: &[String],
        budget: Budget,
    ) -> Result<(Vec<Fetched>, usize)> {
        call(self.side, "fetch_within", false, self.inner.fetch_within(collection, ids, budget)).await
    }

    async fn held(&self, collection: &Collection, ids: &[String]) -> Result<Vec<String>> {
        call(self.side, "held", false, self.inner.held(collection, ids)).await
    }

    fn searches(&self) -> Option<&dyn Searches> {
        self.searches.as_ref().map(|searches| searches as &dyn Searches)
    }

    async fn remarks(&self, collection: &Collection) -> Result<Remarks> {
        call(self.side, "remarks", false, self.inner.remarks(collection)).await
    }

    async fn generation(&self, collection: &Collection) -> Result<Option<String>> {
        call(self.side, "generation", false, self.inner.generation(collection)).await
    }
}

struct FaultyWriter {
    reader: FaultyReader,
    files: Option<FaultyReader>,
    inner: &'static dyn Writer,
}

#[async_trait]
impl Reader for FaultyWriter {
    fn name(&self) -> String {
        self.reader.name()
    }

    fn version(&self) -> String {
        self.reader.version()
    }

    async fn collections(&self) -> Result<Vec<Collection>> {
        self.reader.collections().await
    }

    async fn databases(&self) -> Result<Option<Vec<String>>> {
        self.reader.databases().await
    }

    async fn count(&self, collection: &Collection) -> Result<u64> {
        self.reader.count(collection).await
    }

    async fn ids(&self, collection: &Collection) -> Result<SortedIds> {
        self.reader.ids(collection).await
    }

    async fn listing(&self, collection: &Collection) -> Result<(SortedIds, u64)> {
        self.reader.listing(collection).await
    }

    async fn fetch(&self, collection: &Collection, ids: &[String]) -> Result<Vec<Fetched>> {
        self.reader.fetch(collection, ids).await
    }

    async fn fetch_within(
        &self,
        collection: &Collection,
        ids: &[String],
        budget: Budget,
    ) -> Result<(Vec<Fetched>, usize)> {
        self.reader.fetch_within(collection, ids, budget).await
    }

    async fn held(&self, collection: &Collection, ids: &[String]) -> Result<Vec<String>> {
        self.reader.held(collection, ids).await
    }

    fn searches(&self) -> Option<&dyn Searches> {
        self.reader.searches()
    }

    async fn remarks(&self, collection: &Collection) -> Result<Remarks> {
        self.reader.remarks(collection).await
    }

    async fn generation(&self, collection: &Collection) -> Result<Option<String>> {
        self.reader.generation(collection).await
    }
}

#[async_trait]
impl Writer for FaultyWriter {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn create(&self, new: &NewCollection) -> Result<Collection> {
        call("target", "create", true, self.inner.create(new)).await
    }

    async fn set_metadata(&self, collection: &Collection, metadata: &Metadata) -> Result<()> {
        call("target", "set_metadata", true, self.inner.set_metadata(collection, metadata)).await
    }

    async fn add(&self, collection: &Collection, records: &[Record]) -> Result<()> {
        call("target", "add", true, self.inner.add(collection, records)).await
    }

    fn prepare(&self, records: &[Record]) -> Result<Bytes> {
        self.inner.prepare(records)
    }

    async fn add_prepared(&self, collection: &Collection, records: &[Record], body: Bytes) -> Result<()> {
        call("target", "add", true, self.inner.add_prepared(collection, records, body)).await
    }

    async fn update(&self, collection: &Collection, amendments: &[Amendment]) -> Result<()> {
        call("target", "update", true, self.inner.update(collection, amendments)).await
    }

    async fn delete(&self, collection: &Collection, ids: &[String]) -> Result<()> {
        call("target", "delete", true, self.inner.delete(collection, ids)).await
    }

    fn encoded_len(&self, record: &Record) -> usize {
        self.inner.encoded_len(record)
    }

    fn max_body(&self) -> usize {
        self.inner.max_body()
    }

    fn largest_taken(&self) -> usize {
        self.inner.largest_taken()
    }

    fn pushed_back(&self) -> u64 {
        self.inner.pushed_back()
    }
}

/// Fills what this target does.
struct FaultyFiller(&'static dyn Target);

impl FaultyFiller {
    fn inner(&self) -> Result<&'static dyn Filler> {
        let (store, attempt) = (self.0.name(), "a fill".to_owned());
        self.0.filler().ok_or_else(|| Error::Unavailable { store, attempt, why: "it is not filled".to_owned() })
    }
}

#[async_trait]
impl Filler for FaultyFiller {
    async fn create(&self, new: &[&NewCollection]) -> Result<Laid> {
        call("fill", "create", false, self.inner()?.create(new)).await
    }

    async fn put(&self, collection: &Collection, records: Vec<Record>) -> Result<()> {
        call("fill", "put", false, self.inner()?.put(collection, records)).await
    }

    async fn index(&self) -> Result<()> {
        call("fill", "index", false, self.inner()?.index()).await
    }

    async fn finish(&self) -> Result<()> {
        call("fill", "finish", false, self.inner()?.finish()).await
    }
}

struct FaultyTarget {
    inner: &'static dyn Target,
    current: Option<FaultyReader>,
    filler: FaultyFiller,
    writer: OnceCell<FaultyWriter>,
    /// What reads after the target's server was started again.
    again: OnceCell<FaultyReader>,
}

#[async_trait]
impl Target for FaultyTarget {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn current(&self) -> Option<&dyn Reader> {
        self.current.as_ref().map(|reader| reader as &dyn Reader)
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        call("target", "capabilities", false, self.inner.capabilities()).await
    }

    async fn checks(&self, load: Load) -> Result<Vec<Finding>> {
        call("target", "checks", false, self.inner.checks(load)).await
    }

    fn filler(&self) -> Option<&dyn Filler> {
        self.inner.filler().map(|_| &self.filler as &dyn Filler)
    }

    async fn index(&self, collection: &Collection, dimension: usize) -> Result<()> {
        call("target", "index", false, self.inner.index(collection, dimension)).await
    }

    async fn open(&self) -> Result<&dyn Writer> {
        let inner = call("target", "open", false, self.inner.open()).await?;
        let faulty = || async {
            let files = self.inner.files().map(|files| FaultyReader::new("target", files));
            FaultyWriter { reader: FaultyReader::new("target", inner), files, inner }
        };
        Ok(self.writer.get_or_init(faulty).await)
    }

    fn files(&self) -> Option<&dyn Reader> {
        self.writer.get()?.files.as_ref().map(|files| files as &dyn Reader)
    }

    async fn restarted(&self) -> Result<Option<&dyn Reader>> {
        let Some(inner) = call("target", "restarted", false, self.inner.restarted()).await? else { return Ok(None) };
        let faulty = || async { FaultyReader::new("target", inner) };
        Ok(Some(self.again.get_or_init(faulty).await))
    }

    async fn close(&self) -> Result<()> {
        call("target", "close", false, self.inner.close()).await
    }
}
