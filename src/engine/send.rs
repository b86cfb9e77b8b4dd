//! Sends batches, and after an uncertain answer compares the content before it sends again. Decides nothing about which
//! records are to be sent.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;

use super::adaptive::Trouble;
use super::batch::{Bound, cut};
use super::compare::{Comparison, compare};
use super::halt::Halt;
use super::pace::Pace;
use super::refusals::{Refusals, Refused, may_be_of_records};
use super::window;
use super::{Context, Options};
use crate::chroma::Capabilities;
use crate::model::error::TOO_LARGE;
use crate::model::{Collection, Error, Fetched, Record};
use crate::store::{Amendment, Writer};

/// Troubles that wait to be heard of; more at a time say nothing new.
const TROUBLES: usize = 16;

/// Writes to one collection, at a pace.
pub(super) struct Sender<'a> {
    pub(super) link: Link<'a>,
    pub(super) pace: Pace,
    /// What the writes under way run into.
    pub(super) troubles: mpsc::Receiver<Trouble>,
    /// Records that the target did not take in repairs.
    refused: Vec<Refused>,
    pushed_back: u64,
}

/// One write at a time, without a pace; many can be under way.
#[derive(Clone)]
pub(super) struct Link<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) writer: &'a dyn Writer,
    pub(super) collection: &'a Collection,
    trouble: mpsc::Sender<Trouble>,
    refusals: Arc<Refusals>,
}

/// What became of an add.
#[derive(Default)]
pub(super) struct Added {
    /// Ids that the target had just before, which were not sent.
    pub(super) there: Vec<String>,
    /// Records that the target does not take.
    pub(super) refused: Vec<Refused>,
}

impl<'a> Sender<'a> {
    pub(super) fn new(
        context: &'a Context<'a>,
        writer: &'a dyn Writer,
        capabilities: &Capabilities,
        collection: &'a Collection,
    ) -> Self {
        let (trouble, troubles) = mpsc::channel(TROUBLES);
        let pace = Pace::new(context.options, capabilities, Instant::now());
        let pushed_back = writer.pushed_back();
        let link = Link { context, writer, collection, trouble, refusals: Arc::default() };
        Self { link, pace, troubles, refused: Vec::new(), pushed_back }
    }

    /// Tells the pace of troubles that nobody waits for.
    pub(super) fn hear(&mut self) {
        while let Ok(trouble) = self.troubles.try_recv() {
            self.pace.failed(Instant::now(), trouble);
        }
        self.pace.limit(self.link.writer.max_body());
        let pushed_back = self.link.writer.pushed_back();
        if pushed_back != std::mem::replace(&mut self.pushed_back, pushed_back) {
            self.pace.failed(Instant::now(), Trouble::PushedBack);
        }
    }

    /// Adds records in batches, one after another.
    pub(super) async fn add(&mut self, records: &[Record]) -> Result<(), Halt> {
        let sizes: Vec<usize> = records.iter().map(|record| self.link.writer.encoded_len(record)).collect();
        for range in cut(&sizes, self.pace.bound()) {
            let batch = &records[range];
            self.wait(batch.len()).await?;
            self.refused.extend(self.link.add(batch, None).await?);
            self.pace.ended(Instant::now(), batch.len());
        }
        Ok(())
    }

    /// Waits for the turn of a write of so many records.
    async fn wait(&mut self, records: usize) -> Result<(), Halt> {
        self.hear();
        self.link.context.go_on()?;
        self.link.context.until_stopped(tokio::time::sleep(self.pace.wait(Instant::now()))).await?;
        self.pace.started(Instant::now(), records);
        Ok(())
    }

    /// The records that the target has not taken in repairs since this was asked last, each with why.
    pub(super) fn take_refused(&mut self) -> Vec<(String, String)> {
        let refused = std::mem::take(&mut self.refused).into_iter();
        refused.map(|one| (one.id.clone(), self.link.why(&one))).collect()
    }

    /// Updates records. True: applied; false: uncertain, and to be compared.
    pub(super) async fn update(&mut self, amendments: &[Amendment]) -> Result<bool, Halt> {
        let Link { context, writer, collection, .. } = self.link;
        let sizes: Vec<usize> = amendments.iter().map(|a| writer.encoded_len(&a.record) + keys(a)).collect();
        let mut certain = true;
        let cuts = cut(&sizes, self.pace.bound()).into_iter().rev();
        let mut waiting: Vec<&[Amendment]> = cuts.map(|range| &amendments[range]).collect();
        while let Some(batch) = waiting.pop() {
            self.wait(batch.len()).await?;
            match context.last_write(writer.update(collection, batch)).await? {
                Ok(()) => {
                    self.link.refusals.taken();
                    self.pace.ended(Instant::now(), batch.len());
                }
                Err(Error::Uncertain { .. }) => {
                    certain = false;
                    self.pace.failed(Instant::now(), Trouble::Uncertain);
                }
                Err(error) if batch.len() > 1 && may_be_of_records(&error) => {
                    let (first, second) = batch.split_at(batch.len() / 2);
                    waiting.extend([second, first]);
                }
                Err(error) => {
                    let records: Vec<Record> = batch.iter().map(|a| a.record.clone()).collect();
                    self.refused.push(self.link.refused_alone(error, &records)?);
                }
            }
        }
        Ok(certain)
    }

    /// Deletes one record and adds it again: the only way to clear a document or a uri. What stood `before` is put back if the
    /// target does not take the new one. If it is killed in between, the source still has the record, and a rerun adds it.
    pub(super) async fn replace(&mut self, record: &Record, before: Option<&Record>) -> Result<(), Halt> {
        self.wait(1).await?;
        let Link { context, writer, collection, .. } = self.link;
        let ids = [record.id.clone()];
        match context.last_write(writer.delete(collection, &ids)).await? {
            Ok(()) => {}
            Err(error @ Error::Uncertain { .. }) => {
                let there = context.until_stopped(writer.held(collection, &ids)).await?.map_err(Halt::Target)?;
                if !there.is_empty() {
                    // the delete may still come, and would then take what we add now: end here, a rerun looks again
                    return Err(Halt::Target(error));
                }
            }
            Err(error) => {
                self.pace.ended(Instant::now(), 1);
                self.refused.push(self.link.refused_alone(error, std::slice::from_ref(record))?);
                return Ok(());
            }
        }
        let added = self.link.add(std::slice::from_ref(record), None).await;
        self.pace.ended(Instant::now(), 1);
        if !matches!(&added, Ok(refused) if refused.is_empty())
            && let Some(before) = before
        {
            let back = context.last_write(writer.add(collection, std::slice::from_ref(before))).await;
            if let Err(error) = back.and_then(|done| done.map_err(Halt::Target)) {
                tracing::error!(collection = %collection.name, id = ?record.id, ?error, "the record was deleted to be replaced, the \
                    target refused the new one, and the old one could not be put back: run again to add it");
            }
        }
        self.refused.extend(added?);
        Ok(())
    }
}

impl Link<'_> {
    /// Adds one batch but for what the target has got since it was planned: another client's records, whose ids are
    /// returned. An add would be ignored for them, and they would be taken for ours.
    pub(super) async fn add_absent(&self, batch: &[Record], body: Bytes) -> Result<Added, Halt> {
        let ids: Vec<String> = by_id(batch).into_iter().map(|record| record.id.clone()).collect();
        let held = self.context.until_stopped(self.writer.held(self.collection, &ids)).await?;
        let there: HashSet<String> = held.map_err(Halt::Target)?.into_iter().collect();
        if there.is_empty() {
            return Ok(Added { there: Vec::new(), refused: self.add(batch, Some(body)).await? });
        }
        tracing::warn!(collection = %self.collection.name, records = there.len(), "another client has added these ids meanwhile");
        let rest: Vec<Record> = batch.iter().filter(|record| !there.contains(&record.id)).cloned().collect();
        let refused = if rest.is_empty() { Vec::new() } else { self.add(&rest, None).await? };
        Ok(Added { there: there.into_iter().collect(), refused })
    }

    /// Adds one batch, whose body may be there already. Gives the records that the target does not take: a batch that it refuses
    /// is halved down to them.
    pub(super) async fn add(&self, batch: &[Record], body: Option<Bytes>) -> Result<Vec<Refused>, Halt> {
        let mut refused = self.add_part(batch, body).await?;
        if refused.len() == batch.len()
            && let Some(last) = refused.pop_if(|last| self.refusals.speaks_of_all(&last.error))
        {
            return Err(self.refused(last.error, batch));
        }
        Ok(refused)
    }

    /// As `add`; after an uncertain answer it adds what the target has not.
    async fn add_part(&self, batch: &[Record], mut body: Option<Bytes>) -> Result<Vec<Refused>, Halt> {
        let mut retry = Retry::new(self.context.options);
        let mut rest: Vec<Record> = Vec::new();
        loop {
            let now = if rest.is_empty() { batch } else { rest.as_slice() };
            let sent = match body.take() {
                Some(body) => self.writer.add_prepared(self.collection, now, body),
                None => self.writer.add(self.collection, now),
            };
            match self.context.last_write(sent).await? {
                Ok(()) => {
                    self.refusals.taken();
                    return Ok(Vec::new());
                }
                Err(error @ Error::Uncertain { .. }) => {
                    // fails when full: then the pace has enough to hear of
                    let _ = self.trouble.try_send(Trouble::Uncertain);
                    retry.pause(self.context, error).await?;
                    rest = self.absent(now).await?;
                    if rest.is_empty() {
                        self.refusals.taken();
                        return Ok(Vec::new());
                    }
                }
                Err(Error::Rejected { status: TOO_LARGE, .. }) if now.len() > 1 => return self.add_smaller(now).await,
                Err(error) if now.len() > 1 && may_be_of_records(&error) => return self.add_halves(now).await,
                Err(error) => return Ok(vec![self.refused_alone(error, now)?]),
            }
        }
    }

    /// Why a record was refused, for the report, as far as is known now.
    pub(super) fn why(&self, refused: &Refused) -> String {
        refused.why(self.writer.largest_taken())
    }

    /// Adds a batch that was too large for one body, in smaller ones.
    fn add_smaller<'b>(&'b self, batch: &'b [Record]) -> BoxFuture<'b, Result<Vec<Refused>, Halt>> {
        let sizes: Vec<usize> = batch.iter().map(|record| self.writer.encoded_len(record)).collect();
        let bytes = self.writer.max_body().min(sizes.iter().sum::<usize>() / 2);
        Box::pin(async move {
            let mut refused = Vec::new();
            for range in cut(&sizes, Bound { records: batch.len(), bytes }) {
                self.context.go_on()?;
                refused.extend(self.add_part(&batch[range], None).await?);
            }
            Ok(refused)
        })
    }

    /// Adds a batch that was refused in two parts.
    fn add_halves<'b>(&'b self, batch: &'b [Record]) -> BoxFuture<'b, Result<Vec<Refused>, Halt>> {
        Box::pin(async move {
            let (first, second) = batch.split_at(self.refusals.first_part(batch.len()));
            let mut refused = Vec::new();
            for part in [first, second] {
                self.context.go_on()?;
                refused.extend(self.add_part(part, None).await?);
            }
            Ok(refused)
        })
    }

    /// The only record of a write that was refused; an error where so many were that it is the target.
    fn refused_alone(&self, error: Error, record: &[Record]) -> Result<Refused, Halt> {
        match record {
            [one] if may_be_of_records(&error) && self.refusals.refused() => {
                let bytes = self.prepare(record)?.len();
                Ok(Refused { id: one.id.clone(), bytes, error })
            }
            _ => Err(self.refused(error, record)),
        }
    }

    /// The body of an add of these records.
    pub(super) fn prepare(&self, records: &[Record]) -> Result<Bytes, Halt> {
        self.writer.prepare(records).map_err(|error| self.refused(error, records))
    }

    /// Those of these records that the target does not hold, read back one window at a time: the batch itself is in memory.
    /// Records that it holds with other content are left to verification: adding them again would be ignored.
    async fn absent(&self, records: &[Record]) -> Result<Vec<Record>, Halt> {
        let sorted = by_id(records);
        let ids: Vec<String> = sorted.iter().map(|record| record.id.clone()).collect();
        let (mut from, mut absent, mut differing) = (0, Vec::new(), 0_usize);
        while let Some(rest) = ids.get(from..).filter(|rest| !rest.is_empty()) {
            let read = window::part_of_target(self.context, self.writer, Some(self.collection), rest, window::WHOLE);
            let (there, count) = read.await?;
            for record in sorted.iter().skip(from).take(count) {
                match there.get(&record.id) {
                    None => absent.push((*record).clone()),
                    Some(found) => differing += usize::from(!self.is_equal(record, found)),
                }
            }
            // the budget has place for a first record of any size
            from += count.max(1);
        }
        if differing > 0 {
            tracing::warn!(collection = %self.collection.name, records = differing, "after an uncertain write the target holds other content");
        }
        Ok(absent)
    }

    fn is_equal(&self, record: &Record, found: &Fetched) -> bool {
        match found {
            Fetched::Record { record: other, .. } => {
                matches!(compare(record, other, self.collection.distance), Comparison::Equal(_))
            }
            Fetched::Unreadable { .. } => false,
        }
    }

    fn refused(&self, error: Error, batch: &[Record]) -> Halt {
        if error.is_transient() {
            return Halt::Target(error);
        }
        let id = |record: Option<&Record>| record.map(|r| r.id.clone()).unwrap_or_default();
        Halt::WriteRefused {
            collection: self.collection.name.clone(),
            records: batch.len(),
            first: id(batch.first()),
            last: id(batch.last()),
            source: Box::new(error),
        }
    }
}

/// Readers want their ids in order.
fn by_id(records: &[Record]) -> Vec<&Record> {
    let mut sorted: Vec<&Record> = records.iter().collect();
    sorted.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    sorted
}

fn keys(amendment: &Amendment) -> usize {
    // as JSON: quotes, colon, null, comma, and six bytes for a character at worst
    amendment.surplus.iter().map(|key| key.len() * 6 + 8).sum()
}

/// Pauses between two tries, until a deadline.
pub(super) struct Retry {
    until: Instant,
    pauses: backon::ExponentialBackoff,
}

impl Retry {
    pub(super) fn new(options: &Options) -> Self {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(options.write_pause)
            .with_max_delay(Duration::from_secs(10))
            .without_max_times()
            .with_jitter()
            .build();
        Self { until: Instant::now() + options.write_deadline, pauses }
    }

    /// Pauses after `error`; past the deadline the error is the end.
    pub(super) async fn pause(&mut self, context: &Context<'_>, error: Error) -> Result<(), Halt> {
        tracing::warn!(%error, "looking at what the target holds before anything is sent again");
        if Instant::now() >= self.until {
            return Err(Halt::Target(error));
        }
        let pause = self.pauses.next().unwrap_or(Duration::from_secs(10));
        context.until_stopped(tokio::time::sleep(pause)).await
    }
}
