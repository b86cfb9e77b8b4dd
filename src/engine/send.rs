//! Sends batches, and after an uncertain answer compares the content before it sends again. Decides nothing about which
//! records are to be sent.

use std::io;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBuilder};

use super::batch::{Bound, cut};
use super::compare::{Comparison, compare};
use super::halt::Halt;
use super::pace::Pace;
use super::window;
use super::{Context, Options};
use crate::store::{Amendment, Capabilities, Collection, Error, Fetched, Record, Writer};

/// Writes to one collection.
pub(super) struct Sender<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) writer: &'a dyn Writer,
    pub(super) collection: &'a Collection,
    bound: Bound,
    pace: Pace,
}

impl<'a> Sender<'a> {
    pub(super) fn new(
        context: &'a Context<'a>,
        writer: &'a dyn Writer,
        capabilities: &Capabilities,
        collection: &'a Collection,
    ) -> Self {
        let records = context.options.batch_size.clamp(1, capabilities.max_batch.max(1));
        let bound = Bound { records, bytes: capabilities.max_body };
        Self { context, writer, collection, bound, pace: Pace::new(context.options.delay) }
    }

    /// Records in one write, at most.
    pub(super) const fn batch(&self) -> usize {
        self.bound.records
    }

    /// Adds records in batches; `done` hears of each batch.
    pub(super) async fn add(
        &mut self,
        records: &[Record],
        mut done: impl FnMut(&[Record]) -> io::Result<()>,
    ) -> Result<(), Halt> {
        let sizes: Vec<usize> = records.iter().map(|record| self.writer.encoded_len(record)).collect();
        for range in cut(&sizes, self.bound) {
            let batch = &records[range];
            self.wait().await?;
            self.add_batch(batch).await?;
            self.pace.ended(Instant::now());
            done(batch)?;
        }
        Ok(())
    }

    /// Waits for the next write's turn.
    async fn wait(&self) -> Result<(), Halt> {
        self.context.go_on()?;
        self.context.until_stopped(tokio::time::sleep(self.pace.wait(Instant::now()))).await
    }

    async fn add_batch(&self, batch: &[Record]) -> Result<(), Halt> {
        let mut retry = Retry::new(self.context.options);
        let mut rest: Vec<Record> = Vec::new();
        loop {
            let now = if rest.is_empty() { batch } else { rest.as_slice() };
            match self.context.last_write(self.writer.add(self.collection, now)).await? {
                Ok(()) => return Ok(()),
                Err(error @ Error::Uncertain { .. }) => {
                    retry.pause(self.context, error).await?;
                    rest = self.absent(now).await?;
                    if rest.is_empty() {
                        return Ok(());
                    }
                }
                Err(error) => return Err(self.refused(error, now)),
            }
        }
    }

    /// Those of these records that the target does not hold. Records that it holds with other content are left to
    /// verification: adding them again would be ignored.
    async fn absent(&self, records: &[Record]) -> Result<Vec<Record>, Halt> {
        let ids: Vec<String> = records.iter().map(|record| record.id.clone()).collect();
        let there = window::of_target(self.context, self.writer, Some(self.collection), &ids).await?;
        let differing = records.iter().filter(|r| there.get(&r.id).is_some_and(|f| !self.is_equal(r, f))).count();
        if differing > 0 {
            tracing::warn!(collection = %self.collection.name, records = differing, "after an uncertain write the target holds other content");
        }
        Ok(records.iter().filter(|record| !there.contains_key(&record.id)).cloned().collect())
    }

    fn is_equal(&self, record: &Record, found: &Fetched) -> bool {
        match found {
            Fetched::Record { record: other, .. } => {
                matches!(compare(record, other, self.collection.distance), Comparison::Equal(_))
            }
            Fetched::Unreadable { .. } => false,
        }
    }

    /// Updates records. True: applied; false: uncertain, and to be compared.
    pub(super) async fn update(&mut self, amendments: &[Amendment]) -> Result<bool, Halt> {
        let sizes: Vec<usize> = amendments.iter().map(|a| self.writer.encoded_len(&a.record) + keys(a)).collect();
        let mut certain = true;
        for range in cut(&sizes, self.bound) {
            let batch = &amendments[range];
            self.wait().await?;
            match self.context.last_write(self.writer.update(self.collection, batch)).await? {
                Ok(()) => {}
                Err(Error::Uncertain { .. }) => certain = false,
                Err(error) => {
                    let records: Vec<Record> = batch.iter().map(|a| a.record.clone()).collect();
                    return Err(self.refused(error, &records));
                }
            }
            self.pace.ended(Instant::now());
        }
        Ok(certain)
    }

    /// Deletes one record and adds it again: the only way to clear a document or a uri. If it is killed in between, the
    /// source still has the record, and a rerun adds it.
    pub(super) async fn replace(&mut self, record: &Record) -> Result<(), Halt> {
        self.wait().await?;
        let ids = [record.id.clone()];
        match self.context.last_write(self.writer.delete(self.collection, &ids)).await? {
            Ok(()) => {}
            Err(error @ Error::Uncertain { .. }) => {
                let there = window::of_target(self.context, self.writer, Some(self.collection), &ids).await?;
                if !there.is_empty() {
                    // the delete may still come, and would then take what we add now: end here, a rerun looks again
                    return Err(Halt::Target(error));
                }
            }
            Err(error) => return Err(self.refused(error, std::slice::from_ref(record))),
        }
        let added = self.add_batch(std::slice::from_ref(record)).await;
        self.pace.ended(Instant::now());
        added
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
