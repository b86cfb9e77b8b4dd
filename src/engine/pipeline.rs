//! Copies what is planned new: reads and encodes ahead of the writes, and keeps as many of those under way as the pace says.
//! Bounded in bytes. Decides nothing about which records are to be sent, and compares nothing.

mod queue;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio_util::bytes::Bytes;

use self::queue::Queue;
use super::batch::{Bound, WindowSize};
use super::halt::Halt;
use super::judge::Known;
use super::ledger::Plan;
use super::progress::Tracker;
use super::refusals::Refused;
use super::seal::Seal;
use super::send::{Added, Link, Sender};
use super::window::{self, Answers};
use super::{Pair, sendable};
use crate::chroma::Capabilities;
use crate::model::{Collection, Record};

/// Bytes of records that wait for their turn, beyond one batch.
const AHEAD: usize = 4 << 20;
/// Bytes of the writes under way, if there are several.
const UNDER_WAY: usize = 8 << 20;
/// Bytes of a batch, at most, unless one record has more: larger ones are no faster, and are held several times.
const BATCH: usize = 8 << 20;
/// With so many bytes held nothing more is read. More than a batch, so that one can always be made of what is held.
const HELD: usize = 16 << 20;
/// From one small read of the target to the next.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// With nothing under way for so long, the target rests.
const RESTING: Duration = Duration::from_millis(250);
/// As good as never.
const HOUR: Duration = Duration::from_secs(3600);

/// Sends every record of the pair that is planned new and was not sent yet. Once a write fails for good, or a
/// termination signal comes, no further one is started, and those under way are waited for.
pub(super) async fn run(
    sender: &mut Sender<'_>,
    capabilities: &Capabilities,
    pair: &mut Pair,
    tracker: &mut Tracker,
) -> Result<(), Halt> {
    let source = Arc::new(pair.source.clone());
    let pipeline = Pipeline {
        sender,
        capabilities,
        pair,
        tracker,
        source,
        sizes: window::sized(),
        from: 0,
        is_read: false,
        queue: Queue::default(),
        prepared: None,
        bytes_under_way: 0,
        reading: None,
        writes: FuturesUnordered::new(),
        refused: Vec::new(),
        probes: Probes { known: None, under_way: None, next: Instant::now(), resting_since: None },
        halted: None,
    };
    pipeline.drive().await
}

struct Pipeline<'p, 'a> {
    sender: &'p mut Sender<'a>,
    capabilities: &'p Capabilities,
    pair: &'p mut Pair,
    tracker: &'p mut Tracker,
    source: Arc<Collection>,
    sizes: WindowSize,
    from: usize,
    /// Whether everything has been read.
    is_read: bool,
    queue: Queue,
    prepared: Option<Prepared>,
    bytes_under_way: usize,
    reading: Option<BoxFuture<'a, Result<Read, Halt>>>,
    writes: FuturesUnordered<BoxFuture<'a, Written>>,
    /// Records that the target does not take. Why is said at the end, by all that it took.
    refused: Vec<Refused>,
    probes: Probes<'a>,
    halted: Option<Halt>,
}

/// What was read: the answers, and the places that were asked for and had no room.
type Read = (Answers, Vec<usize>);

/// A batch whose turn is next.
struct Prepared {
    records: Vec<Record>,
    /// Place in the ledger and seal of each.
    seals: Vec<(usize, Seal)>,
    bytes: usize,
    body: Bytes,
}

/// A write that has ended.
struct Written {
    /// Id, place in the ledger and seal of each of its records.
    records: Vec<(String, usize, Seal)>,
    bytes: usize,
    ended: Result<Added, Halt>,
}

/// Small reads of the target, by which others see it.
struct Probes<'a> {
    /// An id that the target has.
    known: Option<String>,
    under_way: Option<BoxFuture<'a, Probed>>,
    next: Instant,
    /// Since when nothing is under way.
    resting_since: Option<Instant>,
}

struct Probed {
    took: Duration,
    ended: Result<(), Halt>,
    began_resting: bool,
}

impl Pipeline<'_, '_> {
    async fn drive(mut self) -> Result<(), Halt> {
        let stop = self.sender.link.context.stop;
        loop {
            self.sender.hear();
            let begun = self.read_more().and_then(|()| self.write_more());
            self.settle(begun);
            self.probe();
            if self.writes.is_empty() && (self.halted.is_some() || self.is_all_sent()) {
                for one in &self.refused {
                    sendable::refuse(self.pair, &one.id, self.sender.link.why(one))?;
                }
                return self.halted.map_or(Ok(()), Err);
            }
            let nap = self.nap();
            tokio::select! {
                biased;
                () = stop.cancelled(), if self.halted.is_none() => self.halt(Halt::Interrupted),
                Some(trouble) = self.sender.troubles.recv() => self.sender.pace.failed(Instant::now(), trouble),
                Some(written) = self.writes.next() => {
                    let settled = self.written(written);
                    self.settle(settled);
                }
                answers = ready(&mut self.reading) => {
                    let queued = self.read(answers);
                    self.settle(queued);
                }
                probed = ready(&mut self.probes.under_way) => self.probed(probed),
                // last, so that what is under way has gone on before the next batch is encoded
                () = std::future::ready(()), if self.may_prepare() => {
                    let prepared = self.prepare();
                    self.settle(prepared);
                }
                () = tokio::time::sleep(nap) => {}
            }
        }
    }

    fn is_all_sent(&self) -> bool {
        self.is_read && self.reading.is_none() && self.queue.records.is_empty() && self.prepared.is_none()
    }

    fn halt(&mut self, halt: Halt) {
        self.halted.get_or_insert(halt);
        self.reading = None;
        self.probes.under_way = None;
        self.queue = Queue::default();
        self.prepared = None;
    }

    fn settle(&mut self, done: Result<(), Halt>) {
        if let Err(halt) = done {
            self.halt(halt);
        }
    }

    /// What the next batch may hold.
    fn bound(&self) -> Bound {
        let Bound { records, bytes } = self.sender.pace.bound();
        Bound { records, bytes: bytes.min(BATCH) }
    }

    /// Reads the next window, unless enough waits already.
    fn read_more(&mut self) -> Result<(), Halt> {
        let bound = self.bound();
        let waiting = self.queue.bytes + self.prepared.as_ref().map_or(0, |prepared| prepared.bytes);
        let enough = (self.queue.has_whole(bound) && (waiting >= AHEAD || self.queue.has_two(bound)))
            || waiting + self.bytes_under_way >= HELD;
        if self.is_read || self.reading.is_some() || self.halted.is_some() || enough {
            return Ok(());
        }
        let places = self.pair.ledger.select(self.from, self.sizes.size(), |entry| entry.is_unsent())?;
        let Some(last) = places.last() else {
            self.is_read = true;
            return Ok(());
        };
        self.from = last + 1;
        let ids = self.pair.ledger.ids_at(&places)?;
        let (context, source) = (self.sender.link.context, self.source.clone());
        self.reading = Some(Box::pin(async move {
            let (answers, count) = window::part_of_source(context, &source, &ids, window::WHOLE).await?;
            Ok((answers, places.get(count..).unwrap_or_default().to_vec()))
        }));
        Ok(())
    }

    fn read(&mut self, answers: Result<Read, Halt>) -> Result<(), Halt> {
        let (answers, left) = answers?;
        if let Some(first) = left.first() {
            (self.from, self.is_read) = (*first, false);
        }
        self.sizes.observe(answers.len(), window::bytes(&answers));
        for record in sendable::of(self.pair, self.capabilities, answers)? {
            let bytes = self.sender.link.writer.encoded_len(&record);
            self.queue.push(record, bytes);
        }
        Ok(())
    }

    /// Whether the next batch is there and not encoded yet.
    fn may_prepare(&self) -> bool {
        let queue = &self.queue;
        let is_last = self.is_read && self.reading.is_none() && !queue.records.is_empty();
        self.prepared.is_none() && self.halted.is_none() && (is_last || queue.has_whole(self.bound()))
    }

    fn prepare(&mut self) -> Result<(), Halt> {
        let (records, bytes) = self.queue.take(self.bound());
        let mut seals = Vec::with_capacity(records.len());
        for record in &records {
            if let Some(at) = self.pair.ledger.position(&record.id)? {
                seals.push((at, Seal::of(record, self.source.distance)));
            }
        }
        let body = self.sender.link.prepare(&records)?;
        self.prepared = Some(Prepared { records, seals, bytes, body });
        Ok(())
    }

    /// Starts the writes whose turn it is.
    fn write_more(&mut self) -> Result<(), Halt> {
        // the target has been in trouble since: smaller batches, then
        let Bound { records: most, bytes } = self.bound();
        let is_large =
            |batch: &Prepared| batch.records.len() > most || (batch.bytes > bytes && batch.records.len() > 1);
        if let Some(large) = self.prepared.take_if(|prepared| is_large(prepared)) {
            self.queue.put_back(large.records, |record| self.sender.link.writer.encoded_len(record));
        }
        loop {
            if self.may_prepare() && self.has_room(0) && self.sender.pace.wait(Instant::now()).is_zero() {
                self.prepare()?;
            }
            if !self.may_write() || !self.sender.pace.wait(Instant::now()).is_zero() {
                return Ok(());
            }
            let Some(Prepared { records, seals, bytes, body }) = self.prepared.take() else { return Ok(()) };
            self.sender.pace.started(Instant::now(), records.len());
            self.bytes_under_way += bytes;
            self.writes.push(Box::pin(write(self.sender.link.clone(), records, body, bytes, seals)));
        }
    }

    /// Whether a batch is ready and another write may be under way, its turn aside.
    fn may_write(&self) -> bool {
        let go_on = self.halted.is_none() && self.sender.link.context.go_on().is_ok();
        let ready = self.prepared.as_ref().is_some_and(|prepared| self.has_room(prepared.bytes));
        go_on && ready && !self.is_resting_for_probes()
    }

    fn has_room(&self, bytes: usize) -> bool {
        let Self { sender, writes, .. } = self;
        writes.is_empty() || (writes.len() < sender.pace.lanes() && self.bytes_under_way + bytes <= UNDER_WAY)
    }

    fn is_resting_for_probes(&self) -> bool {
        self.sender.pace.wants_rest() && self.probes.known.is_some()
    }

    fn written(&mut self, written: Written) -> Result<(), Halt> {
        let Written { records, bytes, ended } = written;
        self.bytes_under_way -= bytes;
        let Added { there, refused } = ended?;
        let was_refused = |id: &String| refused.iter().any(|refused| refused.id == *id);
        for (id, at, seal) in records.iter().filter(|(id, ..)| !was_refused(id)) {
            // what another client has added is not ours, whatever it holds
            let was_sent = !there.contains(id);
            self.pair.ledger.change(*at, |entry| {
                if was_sent {
                    entry.known = Known::Sent(*seal);
                } else {
                    entry.plan = Plan::Present;
                }
            })?;
        }
        self.pair.sent += (records.len() - there.len() - refused.len()) as u64;
        self.tracker.advance(records.len() as u64);
        self.sender.pace.ended(Instant::now(), records.len());
        let is_sent = |id: &String| !there.contains(id) && !was_refused(id);
        self.pair.last_batch = records.into_iter().map(|(id, ..)| id).filter(is_sent).collect();
        if let Some(first) = self.pair.last_batch.first() {
            self.probes.known.get_or_insert_with(|| first.clone());
        }
        self.refused.extend(refused);
        Ok(())
    }

    /// Starts a small read of the target, if it is time for one.
    fn probe(&mut self) {
        let now = Instant::now();
        self.probes.resting_since = self.writes.is_empty().then(|| self.probes.resting_since.unwrap_or(now));
        let due = now >= self.probes.next || (self.is_resting_for_probes() && self.is_target_resting(now));
        let Some(id) = self.probes.known.as_ref().filter(|_| due && self.wants_probe()) else { return };
        self.probes.next = now + PROBE_EVERY;
        let (Link { context, writer, collection, .. }, ids) = (self.sender.link.clone(), [id.clone()]);
        let began_resting = self.is_target_resting(now);
        self.probes.under_way = Some(Box::pin(async move {
            let answer = window::of_target(context, writer, Some(collection), &ids).await;
            Probed { took: now.elapsed(), ended: answer.map(|_| ()), began_resting }
        }));
    }

    fn wants_probe(&self) -> bool {
        self.sender.pace.wants_probes() && self.probes.under_way.is_none() && self.halted.is_none()
    }

    fn is_target_resting(&self, now: Instant) -> bool {
        self.probes.resting_since.is_some_and(|since| now.saturating_duration_since(since) >= RESTING)
    }

    fn probed(&mut self, probed: Probed) {
        let Probed { took, ended, began_resting } = probed;
        match ended {
            Ok(()) => self.sender.pace.probed(Instant::now(), took, began_resting && self.writes.is_empty()),
            Err(halt) => self.halt(halt),
        }
    }

    /// How long nothing is to be done but to wait for what is under way.
    fn nap(&self) -> Duration {
        let now = Instant::now();
        let write = if self.may_write() { self.sender.pace.wait(now) } else { HOUR };
        let probe = if self.wants_probe() && self.probes.known.is_some() {
            self.probes.next.saturating_duration_since(now)
        } else {
            HOUR
        };
        write.min(probe)
    }
}

async fn write(link: Link<'_>, batch: Vec<Record>, body: Bytes, bytes: usize, seals: Vec<(usize, Seal)>) -> Written {
    let ended = link.add_absent(&batch, body).await;
    let records = batch.into_iter().zip(seals).map(|(record, (at, seal))| (record.id, at, seal)).collect();
    Written { records, bytes, ended }
}

/// Waits for what is under way, and forgets it; for ever if nothing is.
async fn ready<T>(under_way: &mut Option<BoxFuture<'_, T>>) -> T {
    let Some(future) = under_way else { return pending().await };
    let value = future.await;
    *under_way = None;
    value
}
