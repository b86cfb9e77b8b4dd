//! What reading over both APIs has in common: the collections, a count, and the probe of a distance.
//! Knows no path and no quirk of a version: `paths` does. Judges no distance: `probe` does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::bytes::Bytes;

use super::bounded::{DOCUMENT, SMALL, whole};
use super::decision::{Kind, Reason};
use super::known::Known;
use super::paths::{Dialect, Path, Root};
use super::payload::Payload;
use super::probe::{self, Answer, Probe};
use super::transport::{Request, Transport};
use super::wire::{self, QueryAnswer, VectorAnswer};
use crate::model::{Collection, Error, Glob, Result};
use crate::store::Remarks;

/// Vectors that are asked for to learn a dimension: several, for one may differ; then one, for a server may fail on another.
const DIMENSIONS: [usize; 2] = [5, 1];
/// Probes under way at once.
const PROBES: usize = 4;
/// How long one query of a probe is tried again.
const PROBE_RETRIES: Duration = Duration::from_secs(2);
/// How long the failing probes of one listing may take together, before the rest are left out.
const PROBE_PATIENCE: Duration = Duration::from_secs(120);
/// How often a query of a probe is sent that gets no answer. An old server may load an index for the first, and go on with that.
const PROBE_TRIES: u32 = 2;

/// One server, and the databases of a tenant that are looked at.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) transport: Transport,
    /// The database; with `several`, only the tenant counts.
    pub(super) place: Root,
    pub(super) several: Option<Several>,
    pub(super) version: String,
    /// The collections whose distance is probed; None: all.
    pub(super) probed: Option<Vec<Glob>>,
    known: Mutex<Known>,
}

/// Databases of one tenant.
#[derive(Debug)]
pub(super) struct Several {
    pub(super) names: Vec<String>,
    /// Whether one that is missing is taken for empty: it is made with its first collection.
    pub(super) may_be_missing: bool,
}

impl Api {
    pub(super) fn new(transport: Transport, place: Root, version: String) -> Self {
        Self { transport, place, several: None, version, probed: None, known: Mutex::default() }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked while holding it left whole entries.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A read; `body` makes it a POST.
    pub(super) fn read(&self, path: &Path, body: Option<Bytes>, subject: String) -> Request<'static> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let url = self.transport.url(path);
        Request { kind: Kind::Read, method, url, body: body.map(Payload::Kept), subject }
    }

    /// Sends a request and parses its answer, of at most `limit` bytes.
    pub(super) async fn json<T: DeserializeOwned>(&self, request: &Request<'_>, limit: usize) -> Result<T> {
        self.transport.call(request, |response| async move { wire::parse(&whole(response, limit).await?) }).await
    }

    /// Every collection of the database, by name, each with the distance that its server goes by.
    pub(super) async fn collections(&self) -> Result<Vec<Collection>> {
        let declared = self.declared().await?;
        let lost = Mutex::new(Duration::ZERO);
        let probes = futures::stream::iter(declared).map(|collection| self.with_distance(collection, &lost));
        let mut collections: Vec<Collection> = probes.buffer_unordered(PROBES).collect().await;
        collections.sort_by(|a, b| (&a.database, &a.name).cmp(&(&b.database, &b.name)));
        Ok(collections)
    }

    /// Where a collection is.
    pub(super) fn at(&self, collection: &Collection) -> Root {
        if self.several.is_some() { self.place.of(&collection.database) } else { self.place.clone() }
    }

    /// The collection with the distance that its server goes by, and in v1 with its dimension, which that does not tell.
    /// Nothing that fails here is more than a remark.
    async fn with_distance(&self, mut collection: Collection, lost: &Mutex<Duration>) -> Collection {
        let is_v1 = self.place.dialect == Dialect::V1;
        if is_v1 && collection.dimension.is_none() {
            collection.dimension = self.dimension(&collection).await.and_then(|n| u32::try_from(n).ok());
        }
        let known = self.known().distances.get(&collection.id).cloned();
        let is_probed =
            self.probed.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.matches(&collection.name)));
        let dimension = collection.dimension.and_then(|d| usize::try_from(d).ok()).filter(|_| is_probed);
        collection.distance = match (known, dimension) {
            (Some(verdict), _) => verdict.distance,
            // Without a dimension there was never a record.
            (None, None | Some(0)) => probe::expected(&collection),
            (None, Some(dimension)) => self.probe(&collection, dimension, lost).await,
        };
        collection
    }

    async fn probe(&self, collection: &Collection, dimension: usize, lost: &Mutex<Duration>) -> crate::model::Distance {
        let started = Instant::now();
        let taken = || *lost.lock().unwrap_or_else(PoisonError::into_inner);
        let mut probe = Probe::new(collection, dimension);
        let verdict = loop {
            let answer = if taken() > PROBE_PATIENCE {
                Answer::Failed("queries of other collections failed for minutes, or got no answer".to_owned())
            } else if let Some(answer) = self.in_time(collection, probe.vector()).await {
                answer
            } else {
                *lost.lock().unwrap_or_else(PoisonError::into_inner) += PROBE_PATIENCE;
                let seconds = self.transport.query.as_secs();
                Answer::Failed(format!("no answer within {seconds} s to a query, {PROBE_TRIES}x"))
            };
            if matches!(answer, Answer::Failed(_)) {
                *lost.lock().unwrap_or_else(PoisonError::into_inner) += started.elapsed();
            }
            let empty = answer == Answer::Empty;
            if let Some(verdict) = probe.take(answer) {
                if empty {
                    // the next record may tell
                    return verdict.distance;
                }
                break verdict;
            }
        };
        let distance = verdict.distance;
        self.known().distances.insert(collection.id.clone(), verdict);
        distance
    }

    /// One query for the nearest record; None: the server is silent.
    async fn in_time(&self, collection: &Collection, asked: &[f32]) -> Option<Answer> {
        for _ in 0..PROBE_TRIES {
            if let Ok(answer) = timeout(self.transport.query, self.nearest(collection, asked)).await {
                return Some(answer);
            }
        }
        None
    }

    /// One query for the nearest record.
    async fn nearest(&self, collection: &Collection, asked: &[f32]) -> Answer {
        let body = json!({"query_embeddings": [asked], "n_results": 1, "include": ["distances", "embeddings"]});
        let path = self.at(collection).collection(&collection.id, "query");
        let request = self.read(&path, Some(body.to_string().into()), words(collection));
        let take = |response| async move { wire::parse::<QueryAnswer>(&whole(response, DOCUMENT).await?) };
        let retries = PROBE_RETRIES.min(self.transport.query / 2);
        let nearest = match self.transport.try_call(retries, &request, take).await {
            Ok(answer) => answer.nearest(),
            Err(stopped) if stopped.reason == Reason::Missing => return Answer::Empty,
            Err(stopped) => return Answer::Failed(stopped.words()),
        };
        match nearest {
            Ok(Some((told, found))) => Answer::Nearest { found, told },
            // The absence of records is looked at in another way.
            Ok(None) => match self.count(collection).await {
                Ok(0) | Err(_) => Answer::Empty,
                Ok(count) => Answer::Failed(format!("a query finds none of its {count} records")),
            },
            Err(why) => Answer::Failed(why),
        }
    }

    /// The components of the first records' vectors; None where there is none, or none can be read.
    async fn dimension(&self, collection: &Collection) -> Option<usize> {
        let path = self.at(collection).collection(&collection.id, "get");
        for limit in DIMENSIONS {
            let body = json!({"limit": limit, "offset": 0, "include": ["embeddings"]}).to_string();
            let request = self.read(&path, Some(body.into()), words(collection));
            let take = |response| async move { wire::parse::<VectorAnswer>(&whole(response, DOCUMENT).await?) };
            if let Ok(answer) = self.transport.try_call(PROBE_RETRIES, &request, take).await {
                return answer.dimension();
            }
        }
        None
    }

    /// What the probe and the last list of ids have shown.
    pub(super) fn remarks(&self, collection: &Collection) -> Remarks {
        self.known().remarks(&collection.id)
    }

    /// How many records the collection holds.
    pub(super) async fn count(&self, collection: &Collection) -> Result<u64> {
        let request = self.read(&self.at(collection).collection(&collection.id, "count"), None, words(collection));
        self.json(&request, SMALL).await
    }

    pub(super) fn unsupported(&self, why: String) -> Error {
        let remedy = "check that nothing between here and the server changes or limits its answers".to_owned();
        Error::Unsupported { store: self.transport.name(), why, remedy }
    }

    pub(super) fn failing(&self, collection: &Collection, why: String) -> Error {
        let attempt = format!("a read of records of {}", words(collection));
        Error::Failing { store: self.transport.name(), attempt, why }
    }

    /// An error where records of a collection were not read, in a store where a record that is not read would be taken for
    /// one that cannot be: a target would have it replaced.
    pub(super) fn refuse_unread(&self, collection: &Collection) -> Result<()> {
        let unread = self.known().of(&collection.id).unread();
        unread.map_or(Ok(()), |why| Err(self.failing(collection, why)))
    }
}

/// The collection in a person's words.
pub(super) fn words(collection: &Collection) -> String {
    format!("collection {:?}", collection.name)
}
