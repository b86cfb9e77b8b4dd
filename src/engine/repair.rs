//! Re-sends what verification named, in bounded passes: update, and delete with add only to clear a document or a uri.

use super::compare::{Comparison, compare, surplus_keys};
use super::halt::Halt;
use super::ledger::{Entry, Plan, Proof};
use super::progress::Tracker;
use super::send::{Retry, Sender};
use super::verify::{self, Compared, Sides};
use super::window::{self, Answers};
use super::{Context, Pair, copy, fingerprint};
use crate::report::Stage;
use crate::store::{Amendment, Capabilities, Error, Fetched, Record, Writer};

/// How often what differs is sent again.
const PASSES: usize = 3;

/// Compares all records, repairs what differs, compares that again; the proof of the last look.
pub(super) async fn verified(
    context: &Context<'_>,
    sides: &Sides<'_>,
    writer: &dyn Writer,
    pair: &mut Pair,
    tracker: &mut Tracker,
) -> Result<Compared, Halt> {
    let capabilities = writer.capabilities();
    let mut details = verify::pass(context, sides, pair, |_| true, |done| tracker.advance(done)).await?;
    for _ in 0..PASSES {
        let open = pair.open();
        let Some(collection) = pair.target.clone().filter(|_| open > 0) else { break };
        tracing::warn!(collection = %pair.target_name, records = open, "records differ from the source: repairing");
        tracker.begin(Stage::Repairing, open);
        let mut sender = Sender::new(context, writer, &capabilities, &collection);
        mend(&mut sender, &capabilities, pair, is_open, tracker).await?;
        details = verify::pass(context, sides, pair, |entry| entry.proof != Proof::Verified, |_| ()).await?;
    }
    verify::finish(context, sides, pair, details).await
}

fn is_open(pair: &Pair, entry: Entry) -> bool {
    pair.is_wanted(entry.plan) && entry.proof != Proof::Verified
}

/// Makes the target's records equal to the source's where `wanted` says so.
pub(super) async fn mend(
    sender: &mut Sender<'_>,
    capabilities: &Capabilities,
    pair: &mut Pair,
    wanted: fn(&Pair, Entry) -> bool,
    tracker: &mut Tracker,
) -> Result<(), Halt> {
    let mut sizes = window::sized();
    let mut from = 0;
    loop {
        let places = pair.ledger.select(from, sizes.size(), |entry| wanted(pair, entry))?;
        let Some(last) = places.last() else { return Ok(()) };
        from = last + 1;
        let bytes = mend_window(sender, capabilities, pair, &places).await?;
        sizes.observe(places.len(), bytes);
        tracker.advance(places.len() as u64);
    }
}

async fn mend_window(
    sender: &mut Sender<'_>,
    capabilities: &Capabilities,
    pair: &mut Pair,
    places: &[usize],
) -> Result<usize, Halt> {
    let mut retry = Retry::new(sender.link.context.options);
    let ids = pair.ledger.ids_at(places)?;
    loop {
        // both sides anew: what differed a moment ago may have been a moving source
        let (source, target) = tokio::try_join!(
            window::of_source(sender.link.context, &pair.source, &ids),
            window::of_target(sender.link.context, sender.link.writer, Some(sender.link.collection), &ids),
        )?;
        let bytes = window::bytes(&source);
        for id in ids.iter().filter(|id| !source.contains_key(*id)) {
            pair.ledger.plan(id, Plan::Gone)?;
        }
        let records = copy::sendable(pair, capabilities, source)?;
        let work = Work::sorted(pair, records, &target);
        if work.done(sender, pair).await? {
            return Ok(bytes);
        }
        let error = Error::Uncertain {
            store: sender.link.writer.name(),
            attempt: format!("an update of {:?}", pair.target_name),
            why: "no clear answer".to_owned(),
        };
        retry.pause(sender.link.context, error).await?;
    }
}

/// What has to be done to which record.
#[derive(Default)]
struct Work {
    add: Vec<Record>,
    update: Vec<Amendment>,
    replace: Vec<Record>,
}

impl Work {
    fn sorted(pair: &Pair, records: Vec<Record>, target: &Answers) -> Self {
        let mut work = Self::default();
        for record in records {
            match target.get(&record.id) {
                None => work.add.push(record),
                Some(Fetched::Unreadable { .. }) => work.replace.push(record),
                Some(Fetched::Record { record: other, .. }) => {
                    if matches!(compare(&record, other, pair.source.distance), Comparison::Equal(_)) {
                        continue;
                    }
                    if is_cleared(record.document.as_ref(), other.document.as_ref())
                        || is_cleared(record.uri.as_ref(), other.uri.as_ref())
                    {
                        work.replace.push(record);
                    } else {
                        let surplus = surplus_keys(&record.metadata, &other.metadata);
                        work.update.push(Amendment { record, surplus });
                    }
                }
            }
        }
        work
    }

    /// Sends it. False: an answer was uncertain, look again.
    async fn done(&self, sender: &mut Sender<'_>, pair: &mut Pair) -> Result<bool, Halt> {
        sender.add(&self.add).await?;
        let certain = sender.update(&self.update).await?;
        for record in &self.replace {
            sender.replace(record).await?;
        }
        let updated = self.update.iter().map(|amendment| &amendment.record);
        for record in self.add.iter().chain(updated).chain(&self.replace) {
            pair.ledger.mark(&record.id, fingerprint::moved_mark(record, pair.source.distance))?;
        }
        Ok(certain)
    }
}

/// Upsert and update keep what the target has where the source has nothing.
fn is_cleared(source: Option<&String>, target: Option<&String>) -> bool {
    source.is_none() && target.is_some()
}
