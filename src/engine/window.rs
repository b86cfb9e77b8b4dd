//! Reads windows of records by id, from one side or both at once, ahead of who works on them. Never by offset; writes
//! nothing. What a source leaves out of an answer is asked for again before it is taken for absent.

use std::collections::{HashMap, HashSet, VecDeque};

use futures::stream::{self, FuturesOrdered};
use futures::{StreamExt as _, TryStreamExt as _};

use super::Context;
use super::batch::WindowSize;
use super::halt::Halt;
use super::ledger::{Entry, Ledger};
use super::memory;
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

/// Reads as many of these ids of a collection of the source, from the first on, as the budget has place for; also tells how
/// many. An id that an answer leaves out is asked for again, with the others that lack as long as that brings any (a gateway
/// may cap its answers), then by itself: what is still absent did not come alone. All of that keeps to the one budget.
pub(super) async fn part_of_source(
    context: &Context<'_>,
    source: &Collection,
    ids: &[String],
    budget: Budget,
) -> Result<(Answers, usize), Halt> {
    let budget = Budget { most: memory::most(context.options.memory), ..budget };
    let mut part = Part { ids, budget, count: ids.len(), answers: Answers::new(), held: 0 };
    let mut absent = ids.to_vec();
    let mut is_again = false;
    while let Some(first) = absent.first() {
        let budget = part.left(first);
        let came = within(context, source, absent.clone(), budget).await?;
        part.take(came);
        let before = absent.len();
        absent = part.absent();
        if is_again && absent.len() == before {
            break;
        }
        is_again = true;
    }
    if absent.len() > 1 {
        part.alone(context, source, absent).await?;
    }
    Ok((part.answers, part.count))
}

/// What came of some ids: they, the answers, and of how many of them these are.
type Came = (Vec<String>, Vec<Fetched>, usize);

async fn within(context: &Context<'_>, source: &Collection, ids: Vec<String>, budget: Budget) -> Result<Came, Halt> {
    let answer = context.until_stopped(context.source.fetch_within(source, &ids, budget)).await?;
    let (found, count) = answer.map_err(Halt::Source)?;
    Ok((ids, found.into_iter().map(|one| fitting(one, source.dimension)).collect(), count))
}

/// A record whose vector has another number of components than its collection cannot be read: no Chroma takes it.
fn fitting(fetched: Fetched, dimension: Option<u32>) -> Fetched {
    match (fetched, dimension) {
        (Fetched::Record { record: Record { id, embedding, .. }, .. }, Some(dimension))
            if embedding.len() != dimension as usize =>
        {
            let why =
                format!("its vector has {} components, its collection has dimension {dimension}", embedding.len());
            Fetched::Unreadable { id, why }
        }
        (fetched, _) => fetched,
    }
}

/// A window of the source's records while it is read.
struct Part<'a> {
    ids: &'a [String],
    budget: Budget,
    /// For so many ids, from the first on, there is budget.
    count: usize,
    answers: Answers,
    /// Bytes of the answers, about.
    held: usize,
}

impl Part<'_> {
    /// Ids that did not come.
    fn absent(&self) -> Vec<String> {
        self.ids[..self.count].iter().filter(|id| !self.answers.contains_key(*id)).cloned().collect()
    }

    /// What is left of the budget for `first`, and what follows it. Only the window's own first record may be of any size.
    fn left(&self, first: &String) -> Budget {
        let is_first = self.ids.first() == Some(first);
        let bytes = self.budget.bytes.saturating_sub(self.held);
        Budget { bytes, first: self.budget.first && is_first, ..self.budget }
    }

    /// Takes answers. What there was no budget for, and all after it, is left to the next window.
    fn take(&mut self, (asked, found, count): Came) {
        let found = by_id(found);
        self.held += bytes(&found);
        self.answers.extend(found);
        if let Some(id) = asked.get(count) {
            self.end_before(id);
        }
    }

    fn end_before(&mut self, id: &String) {
        let Some(at) = self.ids[..self.count].iter().position(|other| other == id) else { return };
        self.count = at;
        let kept: HashSet<&String> = self.ids[..at].iter().collect();
        self.answers.retain(|id, _| kept.contains(id));
        self.held = bytes(&self.answers);
    }

    /// Asks for each of these by itself, some at once.
    async fn alone(&mut self, context: &Context<'_>, source: &Collection, absent: Vec<String>) -> Result<(), Halt> {
        let left = self.budget.bytes.saturating_sub(self.held);
        let share = |id: &String| Budget { bytes: left / ALONE, ..self.left(id) };
        let asked: Vec<_> = absent.iter().map(|id| within(context, source, vec![id.clone()], share(id))).collect();
        let mut came = stream::iter(asked).buffered(ALONE);
        for id in &absent {
            if self.held > self.budget.bytes && self.ids.first() != Some(id) {
                self.end_before(id);
                break;
            }
            let Some(one) = came.try_next().await? else { break };
            self.take(one);
            if !self.ids[..self.count].contains(id) {
                break;
            }
        }
        Ok(())
    }
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
    let budget = Budget { most: memory::most(context.options.memory), ..budget };
    let answer = context.until_stopped(target.fetch_within(collection, ids, budget)).await?;
    let (found, count) = answer.map_err(Halt::Target)?;
    Ok((by_id(found), count))
}

/// Budget for one window, of which the first record is wanted however large it is. What the process may use bounds that one.
pub(super) const WHOLE: Budget = Budget { bytes: WINDOW_BYTES, first: true, most: usize::MAX };

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
                let budget = Budget { bytes: WINDOW_BYTES / READS, first: self.under_way.is_empty(), most: usize::MAX };
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
