//! One `get` of records by their ids, and what came of it. Writes nothing.

use serde::Serialize;

use super::api::{Api, words};
use super::bounded::{RECORD, RECORDS, whole};
use super::decision::{Failed, Failure, Kind, Reason};
use super::paths::Dialect;
use super::transport::{Request, Stopped};
use super::wire::{self, GetAnswer, IdAndKey};
use crate::model::{Collection, Fetched, Result};

/// Ids in one `get`. The database under Chroma takes 32,766 variables, and 1.x spends one on each row of metadata; a thousand
/// records of 3072 components are 30 MB of JSON, and more in one call is hardly faster.
pub(super) const FETCH: usize = 1000;
/// The parts of a record, as `get` names them.
pub(super) const PARTS: [&str; 4] = ["documents", "metadatas", "embeddings", "uris"];

/// The body of a `get` by ids.
#[derive(Serialize)]
struct ByIds<'a> {
    ids: &'a [String],
    include: &'a [&'static str],
}

/// What came of one `get`.
pub(super) enum Came {
    Records(Vec<Fetched>),
    /// The answer would be beyond its bound.
    TooLong,
    /// The server fails on one or some of these, in its words.
    Fails(Stopped),
}

impl Api {
    /// Learns from records that came.
    pub(super) fn came(&self, collection: &Collection, records: &[Fetched]) {
        let mut known = self.known();
        let of = known.of(&collection.id);
        if let Some(id) = records.iter().find_map(readable) {
            of.neighbour = Some(id.to_owned());
            of.on_end = 0;
        }
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
            match self.asked(collection, ids, &include, limit).await {
                Ok((records, dropped)) => {
                    if !dropped.is_empty() {
                        self.known().of(&collection.id).dropped(dropped);
                    }
                    return Ok(Came::Records(records));
                }
                Err((_, stopped)) if has_uris && self.knows_no_uris(&stopped) => {
                    let words = "the server has no uris, which came with 0.4.16: its records were read without";
                    self.known().without_uris = Some(words.to_owned());
                }
                Err((_, stopped)) if stopped.reason == Reason::Failing => return Ok(Came::Fails(stopped)),
                Err((_, stopped)) if matches!(stopped.reason, Reason::TooLong | Reason::TooLarge) => {
                    return Ok(Came::TooLong);
                }
                Err((request, stopped)) => return Err(self.transport.error(&request, &stopped)),
            }
        }
    }

    /// Whether a server refuses a `get` for the uris in it: 0.4.15 has none, 0.4.16 has them (by the packages of both).
    fn knows_no_uris(&self, stopped: &Stopped) -> bool {
        self.place.dialect == Dialect::V1 && stopped.reason == Reason::Refused && stopped.refusal.status == 422
    }

    /// One `get`, sent as often as a fault on the way asks for.
    async fn asked(
        &self,
        collection: &Collection,
        ids: &[String],
        include: &[&'static str],
        limit: usize,
    ) -> Result<(Vec<Fetched>, Vec<IdAndKey>), (Request<'static>, Stopped)> {
        // ids and names are text: it cannot fail
        let body = serde_json::to_vec(&ByIds { ids, include }).unwrap_or_default();
        let path = self.at(collection).collection(&collection.id, "get");
        let request = Request { kind: Kind::Records, ..self.read(&path, Some(body.into()), words(collection)) };
        let take = |response| async move {
            let body = whole(response, limit).await?;
            // Megabytes of decimals: not on a thread that serves connections.
            let answer = tokio::task::spawn_blocking(move || wire::parse::<GetAnswer>(&body)).await;
            let answer = answer.map_err(|e| Failed::new(Failure::Broken, e.to_string()))??;
            answer.into_fetched(ids, include)
        };
        let came = self.transport.try_call(self.transport.retry, &request, take).await;
        came.map_err(|stopped| (request, stopped))
    }
}

/// The id of a record that came whole.
pub(super) fn readable(fetched: &Fetched) -> Option<&str> {
    match fetched {
        Fetched::Record { record, .. } => Some(&record.id),
        Fetched::Unreadable { .. } => None,
    }
}
