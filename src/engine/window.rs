//! Reads windows of records by id, from one side or both at once, ahead of who works on them. Never by offset; writes
//! nothing. What a source leaves out of an answer is asked for again before it is taken for absent.

use std::collections::HashMap;

use futures::stream::{self, FuturesOrdered};
use futures::{StreamExt as _, TryStreamExt as _};

use super::Context;
use super::batch::WindowSize;
use super::halt::Halt;
use super::ledger::{Entry, Ledger};
use crate::model::{Collection, Fetched, Record, Value};
use crate::store::Reader;

/// What one window of records takes in memory, about.
const WINDOW_BYTES: usize = 4 << 20;
/// Records in one window. A server answers its thirds, asked for at once, as fast as larger ones, measured.
const WINDOW_RECORDS: usize = 600;
/// Windows that are read at once: while one is worked on, the next are on their way. Together they are as large as one.
const READS: usize = 3;

/// Ids that are asked for one by one at once.
const ALONE: usize = 8;

/// Answers by id.
pub(super) type Answers = HashMap<String, Fetched>;

/// A window sized for records of any size.
pub(super) fn sized() -> WindowSize {
    WindowSize::new(WINDOW_BYTES, WINDOW_RECORDS)
}

/// Reads these ids of a collection of the source. An id that an answer leaves out is asked for again, with the others that
/// lack as long as that brings any (a gateway may cap its answers), then by itself: what is still absent did not come alone.
pub(super) async fn of_source(context: &Context<'_>, source: &Collection, ids: &[String]) -> Result<Answers, Halt> {
    let mut answers = Answers::new();
    let mut absent = ids.to_vec();
    while !absent.is_empty() {
        let before = absent.len();
        answers.extend(asked(context, source, &absent).await?);
        absent.retain(|id| !answers.contains_key(id));
        if absent.len() == before {
            break;
        }
    }
    if absent.len() > 1 {
        let asked: Vec<_> = absent.into_iter().map(|id| alone(context, source, id)).collect();
        let found: Vec<Answers> = stream::iter(asked).buffer_unordered(ALONE).try_collect().await?;
        answers.extend(found.into_iter().flatten());
    }
    Ok(answers)
}

async fn alone(context: &Context<'_>, source: &Collection, id: String) -> Result<Answers, Halt> {
    asked(context, source, &[id]).await
}

async fn asked(context: &Context<'_>, source: &Collection, ids: &[String]) -> Result<Answers, Halt> {
    let answer = context.until_stopped(context.source.fetch(source, ids)).await?;
    Ok(by_id(answer.map_err(Halt::Source)?))
}

/// Reads these ids of a target.
pub(super) async fn of_target(
    context: &Context<'_>,
    target: &dyn Reader,
    collection: Option<&Collection>,
    ids: &[String],
) -> Result<Answers, Halt> {
    let Some(collection) = collection.filter(|_| !ids.is_empty()) else { return Ok(Answers::new()) };
    let answer = context.until_stopped(target.fetch(collection, ids)).await?;
    Ok(by_id(answer.map_err(Halt::Target)?))
}

/// Windows of a ledger's records, in order, each read while those before it are worked on.
pub(super) struct Ahead<F: Future> {
    sizes: WindowSize,
    from: usize,
    is_read: bool,
    under_way: FuturesOrdered<F>,
}

impl<F: Future> Ahead<F> {
    pub(super) fn new() -> Self {
        Self { sizes: sized(), from: 0, is_read: false, under_way: FuturesOrdered::new() }
    }

    /// The next window of the records that `wanted` names, read by `read`, which gets their places and ids; None after
    /// the last.
    pub(super) async fn next(
        &mut self,
        ledger: &Ledger,
        wanted: impl Fn(Entry) -> bool,
        read: impl Fn(Vec<usize>, Vec<String>) -> F,
    ) -> Result<Option<F::Output>, Halt> {
        while !self.is_read && self.under_way.len() < READS {
            let places = ledger.select(self.from, (self.sizes.size() / READS).max(1), &wanted)?;
            let Some(last) = places.last() else {
                self.is_read = true;
                break;
            };
            self.from = last + 1;
            let ids = ledger.ids_at(&places)?;
            self.under_way.push_back(read(places, ids));
        }
        Ok(self.under_way.next().await)
    }

    /// Learns from a window that was read.
    pub(super) fn observe(&mut self, records: usize, bytes: usize) {
        self.sizes.observe(records, bytes);
    }
}

fn by_id(answer: Vec<Fetched>) -> Answers {
    answer.into_iter().map(|fetched| (fetched.id().to_owned(), fetched)).collect()
}

/// Bytes that these answers take, about: to size the next window.
pub(super) fn bytes(answers: &Answers) -> usize {
    let of = |fetched: &Fetched| match fetched {
        Fetched::Record { record, .. } => record_bytes(record),
        Fetched::Unreadable { .. } => 0,
    };
    answers.values().map(of).sum()
}

/// Bytes of one record, about.
pub(super) fn record_bytes(record: &Record) -> usize {
    let Record { id, embedding, document, uri, metadata } = record;
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let metadata: usize = metadata.iter().map(|(key, value)| key.len() + value_bytes(value)).sum();
    id.len() + embedding.len() * size_of::<f32>() + text(document) + text(uri) + metadata
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Str(text) => text.len(),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => 8,
        Value::List(items) => items.iter().map(value_bytes).sum(),
    }
}
