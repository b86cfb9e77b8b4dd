//! Creates target collections and sends what the plan calls new, by id, then what came meanwhile. Stops on the first
//! permanent error; compares nothing.

use std::io;

use super::halt::Halt;
use super::ledger::Plan;
use super::progress::Tracker;
use super::send::{Retry, Sender};
use super::{Context, Pair, pipeline, preflight, repair, window};
use crate::store::{Capabilities, Collection, Error, Fetched, Record, Writer};

/// How often the source is listed again for records that came while it was copied.
const DELTAS: usize = 3;

/// Makes sure that the pair's target collection exists.
pub(super) async fn create(context: &Context<'_>, writer: &dyn Writer, pair: &mut Pair) -> Result<(), Halt> {
    let mut retry = Retry::new(context.options);
    loop {
        // a local target was read from its files until now; and an uncertain creation may have gone well
        let there = context.until_stopped(writer.collections()).await?.map_err(Halt::Target)?;
        if let Some(found) = there.into_iter().find(|c| c.name == pair.target_name) {
            refuse_other(pair, &found)?;
            pair.target = Some(found);
            return Ok(());
        }
        let Some(new) = &pair.new else {
            return Err(Halt::Target(Error::NotFound {
                store: writer.name(),
                what: format!("collection {:?}", pair.target_name),
                remedy: "it was there when the run began; run it again".to_owned(),
            }));
        };
        match context.last_write(writer.create(new)).await? {
            Ok(_) => tracing::info!(collection = %pair.target_name, "created collection"),
            // 409: another run created it between our look and our call, so look again
            Err(error @ (Error::Uncertain { .. } | Error::Rejected { status: 409, .. })) => {
                retry.pause(context, error).await?;
            }
            Err(error) => return Err(Halt::Target(error)),
        }
    }
}

/// A collection that somebody else created meanwhile, with another distance, would change vectors or searches.
fn refuse_other(pair: &Pair, found: &Collection) -> Result<(), Halt> {
    if found.distance == pair.source.distance {
        return Ok(());
    }
    Err(Halt::Refused(format!(
        "collection {:?} in the target has distance {}, the source's {:?} has {}; no record was written. \
         Delete the target's collection or choose another name",
        found.name, found.distance, pair.source.name, pair.source.distance
    )))
}

/// Sends all that is planned for this pair, and then what came to the source meanwhile.
pub(super) async fn copy(
    context: &Context<'_>,
    writer: &dyn Writer,
    capabilities: &Capabilities,
    pair: &mut Pair,
    tracker: &mut Tracker,
) -> Result<(), Halt> {
    let Some(collection) = pair.target.clone() else { return Ok(()) };
    let mut sender = Sender::new(context, writer, capabilities, &collection);
    if pair.is_wanted(Plan::Conflict) {
        repair::mend(&mut sender, capabilities, pair, |_, entry| entry.plan == Plan::Conflict, tracker).await?;
    }
    for _ in 0..DELTAS {
        pipeline::run(&mut sender, capabilities, pair, tracker).await?;
        let newer = context.until_stopped(context.source.ids(&pair.source)).await?.map_err(Halt::Source)?;
        let fresh = pair.ledger.relist(&newer)?;
        if fresh == 0 {
            return Ok(());
        }
        tracing::info!(collection = %pair.source.name, records = fresh, "the source has new records: copying them too");
        tracker.extend(fresh);
        preflight::plan_fresh(context, writer, capabilities, pair).await?;
    }
    pipeline::run(&mut sender, capabilities, pair, tracker).await
}

/// The records that may be sent, in id order. Preflight has refused those that may not, but a record can have changed
/// since: it is named, not sent, and verification will miss it.
pub(super) fn sendable(
    pair: &mut Pair,
    capabilities: &Capabilities,
    answers: window::Answers,
) -> io::Result<Vec<Record>> {
    let mut records = Vec::with_capacity(answers.len());
    for fetched in answers.into_values() {
        match fetched {
            Fetched::Record { record, .. } => match preflight::unsendable(&record, pair, capabilities) {
                None => records.push(record),
                Some(why) => pair.notes.add(&record.id, "refused", why),
            },
            Fetched::Unreadable { id, why } => {
                pair.ledger.plan(&id, Plan::Unreadable)?;
                pair.notes.add(&id, "unreadable", why);
            }
        }
    }
    records.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    Ok(records)
}
