//! Creates target collections and sends what the plan calls new, by id. Stops on the first permanent error; compares
//! nothing.

use super::halt::Halt;
use super::ledger::{Entry, Plan, Proof};
use super::progress::Tracker;
use super::send::{Retry, Sender};
use super::{Context, OnConflict, Pair, pipeline, repair};
use crate::chroma::Capabilities;
use crate::model::{Collection, Error, Metadata};
use crate::store::Writer;

/// Makes sure that the target collections of all pairs exist. Gives the places of those that another client has made
/// meanwhile.
pub(super) async fn create(context: &Context<'_>, writer: &dyn Writer, pairs: &mut [Pair]) -> Result<Vec<usize>, Halt> {
    // a local target was read from its files until now
    let there = context.until_stopped(writer.collections()).await?.map_err(Halt::Target)?;
    let mut others = Vec::new();
    for (at, pair) in pairs.iter_mut().enumerate() {
        let found = there.iter().find(|c| pair.is_target(c)).cloned();
        // one that was filled is known by its UUID
        if pair.filled.is_none() && found.is_some() && pair.new.take().is_some() {
            tracing::warn!(collection = %pair.target_name, "another client has created the collection meanwhile");
            others.push(at);
        }
        one(context, writer, pair, found).await?;
    }
    Ok(others)
}

async fn one(
    context: &Context<'_>,
    writer: &dyn Writer,
    pair: &mut Pair,
    mut found: Option<Collection>,
) -> Result<(), Halt> {
    let mut retry = Retry::new(context.options);
    // what was laid out to be filled has all of its metadata
    let mut is_ours = pair.new.is_some() && pair.filled.is_none();
    loop {
        if let Some(found) = found {
            refuse_other(pair, &found)?;
            if is_ours {
                complete(context, writer, pair, &found).await?;
            }
            pair.target = Some(found);
            return Ok(());
        }
        let Some(new) = &pair.new else {
            return Err(Halt::Target(Error::NotFound {
                store: writer.name(),
                what: format!("collection {}", pair.target_words()),
                remedy: "it was there when the run began; run it again".to_owned(),
            }));
        };
        match context.last_write(writer.create(new)).await? {
            Ok(created) => {
                tracing::info!(collection = %pair.target_name, "created collection");
                found = Some(created);
                continue;
            }
            // it may have gone well; 409: another client created it between our look and our call
            Err(error @ (Error::Uncertain { .. } | Error::Rejected { status: 409, .. })) => {
                is_ours &= matches!(error, Error::Uncertain { .. });
                retry.pause(context, error).await?;
            }
            Err(error) => return Err(Halt::Target(error)),
        }
        let there = context.until_stopped(writer.collections()).await?.map_err(Halt::Target)?;
        found = there.into_iter().find(|c| pair.is_target(c));
    }
}

/// Sets what a creation refuses, in a collection that this run has created.
async fn complete(context: &Context<'_>, writer: &dyn Writer, pair: &Pair, created: &Collection) -> Result<(), Halt> {
    let Some(new) = pair.new.as_ref().filter(|new| !new.later.is_empty()) else { return Ok(()) };
    let metadata: Metadata = new.metadata.iter().chain(&new.later).map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut retry = Retry::new(context.options);
    loop {
        match context.last_write(writer.set_metadata(created, &metadata)).await? {
            Ok(()) => return Ok(()),
            Err(error @ Error::Uncertain { .. }) => retry.pause(context, error).await?,
            Err(error) => return Err(Halt::Target(error)),
        }
    }
}

/// A collection that somebody else created meanwhile, with another distance, would change vectors or searches.
fn refuse_other(pair: &Pair, found: &Collection) -> Result<(), Halt> {
    if pair.target.as_ref().is_some_and(|planned| planned.id != found.id) {
        return Err(Halt::NotYet(format!(
            "collection {} in the target was replaced since this run looked at it; no record was written. Run it again",
            pair.target_words()
        )));
    }
    if found.distance == pair.source.distance {
        return Ok(());
    }
    Err(Halt::Refused(format!(
        "collection {} in the target has distance {}, the source's {} has {}; no record was written. \
         Delete the target's collection or choose another name",
        pair.target_words(),
        found.distance,
        pair.source_words(),
        pair.source.distance
    )))
}

/// Sends all that is planned for this pair. A pair that may be one store with itself is left alone.
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
