//! Reads windows of records by id, from one side or both at once, ahead of who works on them. Never by offset; writes
//! nothing. What a source leaves out of an answer is asked for again before it is taken for absent.

use std::collections::{HashMap, VecDeque};

use futures::stream::{self, FuturesOrdered};
use futures::{StreamExt as _, TryStreamExt as _};

use super::Context;
use super::batch::WindowSize;
use super::halt::Halt;
use super::ledger::{Entry, Ledger};
use crate::model::{Collection, Fetched, Record, Value};
use crate::store::{Budget, Reader};

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

/// As [`of_source`], for as many of these ids, from the first on, as the budget has place for; also tells how many.
pub(super) async fn part_of_source(
    context: &Context<'_>,
    source: &Collection,
    ids: &[String],
    budget: Budget,
) -> Result<(Answers, usize), Halt> {
    let answer = context.until_stopped(context.source.fetch_within(source, ids, budget)).await?;
    let (found, count) = answer.map_err(Halt::Source)?;
    let mut answers = by_id(found);
    let absent: Vec<String> = ids[..count].iter().filter(|id| !answers.contains_key(*id)).cloned().collect();
    if !absent.is_empty() {
        answers.extend(of_source(context, source, &absent).await?);
    }
    Ok((answers, count))
}

/// As [`of_target`], for as many of these ids, from the first on, as the budget has place for; also tells how many.
pub(super) async fn part_of_target(
    context: &Context<'_>,
    target: &dyn Reader,
    collection: Option<&Collection>,
    ids: &[String],
    budget: Budget,
) -> Result<(Answers, usize), Halt> {
    let Some(collection) = collection.filter(|_| !ids.is_empty()) else { return Ok((Answers::new(), ids.len())) };
    let answer = context.until_stopped(target.fetch_within(collection, ids, budget)).await?;
    let (found, count) = answer.map_err(Halt::Target)?;
    Ok((by_id(found), count))
}

/// Budget for one window, of which the first record is wanted however large it is.
pub(super) const WHOLE: Budget = Budget { bytes: WINDOW_BYTES, first: true };

/// Windows of a ledger's records, in order, each read while those before it are worked on. Together they hold no more than
/// one window, and one record beyond it.
pub(super) struct Ahead<F: Future> {
    sizes: WindowSize,
    from: usize,
    is_read: bool,
    under_way: FuturesOrdered<F>,
    /// The places of each window under way.
    asked: VecDeque<Vec<usize>>,
    /// Windows that may be under way at once: one until their size is known, and from the first large record on.
    reads: usize,
    has_large: bool,
}

impl<F: Future> Ahead<F> {
    pub(super) fn new() -> Self {
        Self {
            sizes: sized(),
            from: 0,
            is_read: false,
            under_way: FuturesOrdered::new(),
            asked: VecDeque::new(),
            reads: 1,
            has_large: false,
        }
    }

    /// The next window of the records that `wanted` names, read by `read`, which gets their places, ids and the budget for
    /// them, and tells for how many of them there was budget; None after the last.
    pub(super) async fn next<T>(
        &mut self,
        ledger: &Ledger,
        wanted: impl Fn(Entry) -> bool,
        read: impl Fn(Vec<usize>, Vec<String>, Budget) -> F,
    ) -> Result<Option<T>, Halt>
    where
        F: Future<Output = Result<(usize, T), Halt>>,
    {
        loop {
            while !self.is_read && self.under_way.len() < self.reads {
                let places = ledger.select(self.from, (self.sizes.size() / READS).max(1), &wanted)?;
                let Some(last) = places.last() else {
                    self.is_read = true;
                    break;
                };
                self.from = last + 1;
                let ids = ledger.ids_at(&places)?;
                let budget = Budget { bytes: WINDOW_BYTES / READS, first: self.under_way.is_empty() };
                self.under_way.push_back(read(places.clone(), ids, budget));
                self.asked.push_back(places);
            }
            let Some(answer) = self.under_way.next().await else { return Ok(None) };
            let (done, window) = answer?;
            if let Some(next) = self.asked.pop_front().and_then(|places| places.get(done).copied()) {
                // what there was no budget for is read again, and what comes after it
                (self.from, self.is_read) = (next, false);
                self.under_way = FuturesOrdered::new();
                self.asked.clear();
            }
            if done > 0 {
                return Ok(Some(window));
            }
        }
    }

    /// Learns from a window that was read.
    pub(super) fn observe(&mut self, records: usize, bytes: usize) {
        self.sizes.observe(records, bytes);
        self.has_large |= bytes > WINDOW_BYTES / READS * 2;
        self.reads = if self.has_large { 1 } else { READS };
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
