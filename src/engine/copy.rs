//! Creates target collections and sends what the plan calls new, by id, then what came meanwhile. Stops on the first
//! permanent error; compares nothing.

use super::halt::Halt;
use super::ledger::{Entry, Plan, Proof};
use super::progress::Tracker;
use super::send::{Retry, Sender};
use super::{Context, OnConflict, Pair, pipeline, preflight, repair};
use crate::store::{Capabilities, Collection, Error, Writer};

/// How often the source is listed again for records that came while it was copied.
const DELTAS: usize = 3;

/// Makes sure that the pair's target collection exists.
pub(super) async fn create(context: &Context<'_>, writer: &dyn Writer, pair: &mut Pair) -> Result<(), Halt> {
    let mut retry = Retry::new(context.options);
    let mut tried = false;
    loop {
        // a local target was read from its files until now; and an uncertain creation may have gone well
        let there = context.until_stopped(writer.collections()).await?.map_err(Halt::Target)?;
        if let Some(found) = there.into_iter().find(|c| c.name == pair.target_name) {
            refuse_other(pair, &found)?;
            if !tried && pair.new.take().is_some() {
                tracing::warn!(collection = %pair.target_name, "another client created the collection meanwhile");
            }
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
        tried = true;
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
    if pair.target.as_ref().is_some_and(|planned| planned.id != found.id) {
        return Err(Halt::NotYet(format!(
            "collection {:?} in the target was replaced since this run looked at it; no record was written. Run it again",
            found.name
        )));
    }
    if found.distance == pair.source.distance {
        return Ok(());
    }
    Err(Halt::Refused(format!(
        "collection {:?} in the target has distance {}, the source's {:?} has {}; no record was written. \
         Delete the target's collection or choose another name",
        found.name, found.distance, pair.source.name, pair.source.distance
    )))
}

/// Sends all that is planned for this pair, and then what came to the source meanwhile. A pair that may be one store with
/// itself is left alone.
pub(super) async fn copy(
    context: &Context<'_>,
    writer: &dyn Writer,
    capabilities: &Capabilities,
    pair: &mut Pair,
    tracker: &mut Tracker,
) -> Result<(), Halt> {
    if pair.may_be_one {
        return Ok(());
    }
    let Some(collection) = pair.target.clone() else { return Ok(()) };
    if context.options.on_conflict == OnConflict::Overwrite {
        let is_conflict = |entry: Entry| entry.plan == Plan::Conflict && entry.proof == Proof::Open && !entry.gone;
        let mut sender = Sender::new(context, writer, capabilities, &collection);
        repair::mend(&mut sender, capabilities, pair, is_conflict, tracker).await?;
    }
    for _ in 0..DELTAS {
        send(context, writer, capabilities, pair, tracker).await?;
        let newer = context.until_stopped(context.source.ids(&pair.source)).await?.map_err(Halt::Source)?;
        let fresh = pair.ledger.relist(&newer)?;
        if fresh == 0 {
            return Ok(());
        }
        tracing::info!(collection = %pair.source.name, records = fresh, "the source has new records: copying them too");
        tracker.extend(fresh);
        preflight::plan_fresh(context, writer, capabilities, pair).await?;
    }
    send(context, writer, capabilities, pair, tracker).await
}

/// Sends what is planned new and was not sent yet.
pub(super) async fn send(
    context: &Context<'_>,
    writer: &dyn Writer,
    capabilities: &Capabilities,
    pair: &mut Pair,
    tracker: &mut Tracker,
) -> Result<(), Halt> {
    let Some(collection) = pair.target.clone().filter(|_| !pair.may_be_one) else { return Ok(()) };
    let mut sender = Sender::new(context, writer, capabilities, &collection);
    pipeline::run(&mut sender, capabilities, pair, tracker).await
}
