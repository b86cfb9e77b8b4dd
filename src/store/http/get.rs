//! One `get` of records by id: what comes, or why none does. Halves nothing and writes nothing.

use serde::Serialize;

use super::api::{Api, words};
use super::bounded::{RECORD, RECORDS, whole};
use super::decision::{Failed, Failure, Kind, Reason};
use super::paths::Dialect;
use super::reader::numbers;
use super::transport::{Request, Stopped};
use super::wire::{self, GetAnswer, IdAndKey};
use crate::model::{Collection, Error, Fetched, Result};

/// Ids in one `get`. The database under Chroma takes 32,766 variables, and 1.x spends one on each row of metadata; a thousand
/// records of 3072 components are 30 MB of JSON, and more in one call is hardly faster.
pub(super) const FETCH: usize = 1000;
/// The parts of a record, as `get` names them.
pub(super) const PARTS: [&str; 4] = ["documents", "metadatas", "embeddings", "uris"];
/// The first version with uris (by the packages of it and the one before).
const FIRST_WITH_URIS: [u32; 3] = [0, 4, 16];

/// The body of a `get` by ids.
#[derive(Serialize)]
struct ByIds<'a> {
    ids: &'a [String],
    include: &'a [&'static str],
}

/// What came of one `get`.
pub(super) enum Came {
    Records(Vec<Fetched>),
    /// The answer, or the request, would be beyond its bound.
    TooLong,
    /// The server fails on one or some of these, or refuses them.
    Fails(Fails),
}

/// A `get` that comes to nothing, perhaps because of single records.
#[derive(Default)]
pub(super) struct Fails {
    /// In the server's words.
    pub(super) words: String,
    /// What it means if it is not about single records: the server refuses all. None: it is in trouble, and is tried again.
    pub(super) refusal: Option<Error>,
}

impl Api {
    /// Learns from records that came.
    pub(super) fn came(&self, collection: &Collection, records: &[Fetched]) {
        let mut known = self.known();
        if let Some(id) = records.iter().find_map(readable) {
            known.was_read(collection, id);
        }
        let of = known.of(&collection.id);
        for record in records {
            of.unreadable.remove(record.id());
        }
    }

    /// The records with these ids in one answer, with these parts.
    pub(super) async fn get(&self, collection: &Collection, ids: &[String], parts: &[&'static str]) -> Result<Came> {
        let limit = if ids.len() == 1 { RECORD } else { RECORDS };
        self.get_within(collection, ids, parts, limit).await
    }

    /// As `get`, for an answer of at most `limit` bytes.
    pub(super) async fn get_within(
        &self,
        collection: &Collection,
        ids: &[String],
        parts: &[&'static str],
        limit: usize,
    ) -> Result<Came> {
        loop {
            let has_uris = self.known().without_uris.is_none();
            let include: Vec<&'static str> = parts.iter().copied().filter(|part| has_uris || *part != "uris").collect();
            let request = self.by_ids(collection, ids, &include);
            if ids.len() > 1 && self.known().refused.is_some_and(|bytes| request.body_len() >= bytes) {
                return Ok(Came::TooLong);
            }
            match self.asked(&request, ids, &include, limit).await {
                Ok((records, dropped)) => {
                    if !dropped.is_empty() {
                        self.known().of(&collection.id).dropped(dropped);
                    }
                    return Ok(Came::Records(records));
                }
                Err(stopped) if has_uris && self.knows_no_uris(&stopped) => {
                    let words = "the server has no uris, which came with 0.4.16: its records were read without";
                    self.known().without_uris = Some(words.to_owned());
                }
                Err(stopped) if stopped.reason == Reason::TooLong => return Ok(Came::TooLong),
                Err(stopped) if stopped.reason == Reason::TooLarge && ids.len() > 1 => {
                    self.known().too_large(request.body_len());
                    return Ok(Came::TooLong);
                }
                Err(stopped) => {
                    if stopped.reason == Reason::TooLarge {
                        // not even this: it is no matter of length
                        self.known().refused = None;
                    }
                    return self.fails(&request, &stopped).map(Came::Fails);
                }
            }
        }
    }

    /// What a request that was given up may say of single records; an error where it says nothing of them.
    pub(super) fn fails(&self, request: &Request<'_>, stopped: &Stopped) -> Result<Fails> {
        let words = stopped.words();
        if stopped.reason == Reason::Failing {
            return Ok(Fails { words, refusal: None });
        }
        let error = self.transport.error(request, stopped);
        if may_be_of_records(stopped) { Ok(Fails { words, refusal: Some(error) }) } else { Err(error) }
    }

    /// Whether a server refuses a `get` for the uris in it. One of a later version refuses the records.
    fn knows_no_uris(&self, stopped: &Stopped) -> bool {
        let is_old = numbers(&self.version).is_none_or(|version| version < FIRST_WITH_URIS);
        let is_invalid = stopped.reason == Reason::Refused && stopped.refusal.status == 422;
        is_old && is_invalid && self.place.dialect == Dialect::V1
    }

    fn by_ids(&self, collection: &Collection, ids: &[String], include: &[&'static str]) -> Request<'static> {
        // ids and names are text: it cannot fail
        let body = serde_json::to_vec(&ByIds { ids, include }).unwrap_or_default();
        let path = self.at(collection).collection(&collection.id, "get");
        Request { kind: Kind::Records, ..self.read(&path, Some(body.into()), words(collection)) }
    }

    /// One `get`, sent as often as a fault on the way asks for; with the ids and keys of values that came as null.
    async fn asked(
        &self,
        request: &Request<'_>,
        ids: &[String],
        include: &[&'static str],
        limit: usize,
    ) -> Result<(Vec<Fetched>, Vec<IdAndKey>), Stopped> {
        let take = |response| async move {
            let body = whole(response, limit).await?;
            // Megabytes of decimals: not on a thread that serves connections.
            let answer = tokio::task::spawn_blocking(move || wire::parse::<GetAnswer>(&body)).await;
            let answer = answer.map_err(|e| Failed::new(Failure::Broken, e.to_string()))??;
            answer.into_fetched(ids, include)
        };
        self.transport.try_call(self.transport.retry, request, take).await
    }
}

/// Whether an answer other than the server's own error may be about single records: a refusal, or no answer of a Chroma. A proxy
/// that dislikes a text in the request answers 403. 401 is about who asks.
fn may_be_of_records(stopped: &Stopped) -> bool {
    match stopped.reason {
        Reason::Refused | Reason::Missing | Reason::TooLarge | Reason::Foreign | Reason::Contradictory => true,
        Reason::Denied => stopped.refusal.status == 403,
        _ => false,
    }
}

/// The id of a record that came whole.
pub(super) fn readable(fetched: &Fetched) -> Option<&str> {
    match fetched {
        Fetched::Record { record, .. } => Some(&record.id),
        Fetched::Unreadable { .. } => None,
    }
}
