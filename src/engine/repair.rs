//! Sends again what a comparison named, in bounded passes: update, and delete with add only to clear a document or a uri.
//! What `judge` calls a conflict is left alone.

use std::collections::HashMap;
use std::io;

use super::compare::surplus_keys;
use super::halt::Halt;
use super::judge::{Ruling, judge};
use super::ledger::{Entry, Plan, Proof};
use super::progress::Tracker;
use super::seal::Seal;
use super::send::{Retry, Sender};
use super::verify::{self, Sides};
use super::window::{self, Answers};
use super::{Context, Pair, sendable, wait_before_overwrites};
use crate::chroma::Capabilities;
use crate::model::{Error, Fetched, Record};
use crate::report::Stage;
use crate::store::{Amendment, Writer};

/// How often what differs is sent again.
const PASSES: usize = 3;

/// Compares the records that are not verified, repairs what differs, and compares that again.
pub(super) async fn verified(
    context: &Context<'_>,
    sides: &Sides<'_>,
    writer: &dyn Writer,
    pair: &mut Pair,
    tracker: &mut Tracker,
) -> Result<(), Halt> {
    let is_open = |entry: Entry| entry.proof != Proof::Verified;
    let capabilities = writer.capabilities();
    verify::pass(context, sides, pair, is_open, |done| tracker.advance(done)).await?;
    for _ in 0..PASSES {
        let open = pair.open();
        let Some(collection) = pair.target.clone().filter(|_| open > 0 && !pair.may_be_one) else { break };
        tracing::warn!(collection = %pair.target_name, records = open, "records differ from the source: repairing");
        tracker.begin(Stage::Repairing, open);
        let mut sender = Sender::new(context, writer, &capabilities, &collection);
        mend(&mut sender, &capabilities, pair, is_open, tracker).await?;
        verify::pass(context, sides, pair, is_open, |_| ()).await?;
    }
    tracker.repaired();
    Ok(())
}

/// Makes the target's records equal to the source's where `wanted` says so and they are ours to change.
pub(super) async fn mend(
    sender: &mut Sender<'_>,
    capabilities: &Capabilities,
    pair: &mut Pair,
    wanted: impl Fn(Entry) -> bool,
    tracker: &mut Tracker,
) -> Result<(), Halt> {
    let mut sizes = window::sized();
    let mut from = 0;
    loop {
        let places = pair.ledger.select(from, sizes.size(), |entry| pair.is_wanted(entry) && wanted(entry))?;
        if places.is_empty() {
            return Ok(());
        }
        let (count, bytes) = mend_window(sender, capabilities, pair, &places, tracker).await?;
        from = places.get(count.saturating_sub(1)).map_or(from, |last| last + 1);
        sizes.observe(count, bytes);
        tracker.advance(count as u64);
    }
}

/// Mends as many of these records, from the first on, as there is room for; tells how many, and their bytes.
async fn mend_window(
    sender: &mut Sender<'_>,
    capabilities: &Capabilities,
    pair: &mut Pair,
    places: &[usize],
    tracker: &mut Tracker,
) -> Result<(usize, usize), Halt> {
    let mut retry = Retry::new(sender.link.context.options);
    let mut attempted = Attempted::new();
    let mut ids = pair.ledger.ids_at(places)?;
    loop {
        // both sides anew, which is also the second look before a conflict: what differed may have been a moving source
        let (context, writer, collection) = (sender.link.context, sender.link.writer, sender.link.collection);
        let ((mut source, ours), (target, theirs)) = tokio::try_join!(
            window::part_of_source(context, &pair.source, &ids, window::WHOLE),
            window::part_of_target(context, writer, Some(collection), &ids, window::WHOLE),
        )?;
        for id in ids.drain(ours.min(theirs)..) {
            source.remove(&id);
        }
        for (at, _) in places.iter().zip(&ids).filter(|(_, id)| !source.contains_key(*id)) {
            // it came when it was compared: whoever has deleted it may add it again, which says nothing of the target
            if pair.ledger.entry(*at)?.proof == Proof::Missing {
                pair.ledger.change(*at, |entry| entry.proof = Proof::Changed)?;
            }
        }
        let bytes = window::bytes(&source);
        let records = sendable::of(pair, capabilities, source)?;
        let work = Work::ruled(sender.link.context, pair, records, &target, &attempted)?;
        if wait_before_overwrites(sender.link.context, tracker, work.not_ours).await? {
            // both sides may have moved meanwhile
            continue;
        }
        if work.done(sender, pair, &mut attempted).await? {
            return Ok((ids.len(), bytes));
        }
        let error = Error::Uncertain {
            store: sender.link.writer.name(),
            attempt: format!("an update of {:?}", pair.target_name),
            why: "no clear answer".to_owned(),
        };
        retry.pause(sender.link.context, error).await?;
    }
}

/// What was sent by updates without a clear answer: the target holds this, or what it held before.
type Attempted = HashMap<String, Vec<Seal>>;

/// What has to be done to which record.
#[derive(Default)]
struct Work {
    add: Vec<Record>,
    update: Vec<Amendment>,
    /// With what the target holds, as far as it can be read.
    replace: Vec<(Record, Option<Record>)>,
    /// How many of them this run did not send.
    not_ours: u64,
}

impl Work {
    fn ruled(
        context: &Context<'_>,
        pair: &mut Pair,
        records: Vec<Record>,
        target: &Answers,
        attempted: &Attempted,
    ) -> Result<Self, Halt> {
        let mut work = Self::default();
        for record in records {
            let Some(at) = pair.ledger.position(&record.id)? else { continue };
            let known = pair.ledger.entry(at)?.known;
            let attempted = attempted.get(&record.id).map_or(&[][..], Vec::as_slice);
            let found = target.get(&record.id);
            if pair.filled.is_some() && known.is_sent() && matches!(found, Some(Fetched::Unreadable { .. })) {
                pair.misfilled.get_or_insert_with(|| record.id.clone());
            }
            match judge(&known, attempted, &record, found, pair.source.distance, context.options.on_conflict) {
                Ruling::Equal(_) if attempted.is_empty() => {}
                Ruling::Equal(_) => pair.ledger.sent(&record.id, Seal::of(&record, pair.source.distance))?,
                Ruling::Add => work.add.push(record),
                Ruling::Amend(_) => {
                    work.not_ours += u64::from(!known.is_sent() && found.is_some());
                    work.amend(record, found);
                }
                Ruling::Leave(why) => pair.leaves(at, &record.id, Plan::Conflict, why)?,
                Ruling::Lost(why) => pair.leaves(at, &record.id, Plan::Lost, why)?,
                Ruling::Refuse(why) => {
                    return Err(Halt::Conflict(format!(
                        "id {:?} of {:?} in the target has other content ({why}) and onConflict is Fail; stop the target's \
                         other writers and run again, or use Skip to leave such records alone",
                        record.id, pair.target_name
                    )));
                }
            }
        }
        Ok(work)
    }

    fn amend(&mut self, record: Record, found: Option<&Fetched>) {
        let Some(Fetched::Record { record: other, .. }) = found else { return self.replace.push((record, None)) };
        if is_cleared(record.document.as_ref(), other.document.as_ref())
            || is_cleared(record.uri.as_ref(), other.uri.as_ref())
        {
            self.replace.push((record, Some(other.clone())));
        } else {
            let surplus = surplus_keys(&record.metadata, &other.metadata);
            self.update.push(Amendment { record, surplus });
        }
    }

    /// Sends it. False: an answer was uncertain, look again.
    async fn done(&self, sender: &mut Sender<'_>, pair: &mut Pair, attempted: &mut Attempted) -> Result<bool, Halt> {
        let distance = pair.source.distance;
        sender.add(&self.add).await?;
        let refused = names(sender, pair)?;
        for record in self.add.iter().filter(|record| !refused.contains(&record.id)) {
            pair.ledger.sent(&record.id, Seal::of(record, distance))?;
        }
        let certain = sender.update(&self.update).await?;
        let refused = names(sender, pair)?;
        for record in self.update.iter().map(|amendment| &amendment.record).filter(|one| !refused.contains(&one.id)) {
            let seal = Seal::of(record, distance);
            if certain {
                pair.ledger.sent(&record.id, seal)?;
            } else {
                attempted.entry(record.id.clone()).or_default().push(seal);
            }
        }
        for (record, before) in &self.replace {
            sender.replace(record, before.as_ref()).await?;
            if names(sender, pair)?.is_empty() {
                pair.ledger.sent(&record.id, Seal::of(record, distance))?;
            }
        }
        Ok(certain)
    }
}

/// Names the records that the target has not taken since this was asked last, and gives their ids.
fn names(sender: &mut Sender<'_>, pair: &mut Pair) -> io::Result<Vec<String>> {
    let mut ids = Vec::new();
    for (id, why) in sender.take_refused() {
        sendable::refuse(pair, &id, why)?;
        ids.push(id);
    }
    Ok(ids)
}

/// Upsert and update keep what the target has where the source has nothing.
fn is_cleared(source: Option<&String>, target: Option<&String>) -> bool {
    source.is_none() && target.is_some()
}
