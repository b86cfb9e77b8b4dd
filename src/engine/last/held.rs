//! What the target holds at the end: everything that was verified or skipped, what it holds beside that, and the last batch and a
//! sample by content. Writes nothing.

use super::{contradiction, listed, skipped};
use crate::engine::extra;
use crate::engine::halt::Halt;
use crate::engine::ledger::{Plan, Proof};
use crate::engine::verify::{self, Sides};
use crate::engine::window;
use crate::engine::{Context, Pair};
use crate::model::{Collection, Fetched};
use crate::scratch::{Join, Side, SortedIds};

/// Records of a collection that are read again by content, beside the last batch.
const SAMPLE: usize = 50;
/// Of the last batch, at most so many.
const LAST_BATCH: usize = 1000;

/// The target's ids once more: it holds at least what was verified and skipped, and perhaps more.
pub(super) async fn look(
    context: &Context<'_>,
    sides: &Sides<'_>,
    pair: &mut Pair,
    collection: &Collection,
    source_ids: &SortedIds,
) -> Result<(), Halt> {
    let (ids, counted) = listed(context, sides.server, collection).await?.map_err(Halt::Target)?;
    pair.problems.extend(contradiction("target", ids.len() as u64, counted));
    pair.target_after = ids.len() as u64;
    pair.surplus = extra::find(context, pair, source_ids, (sides.server, collection, &ids)).await?;
    pair.came_later += pair.surplus.unlisted;
    let mut lost = Vec::new();
    {
        let mut join = Join::new(pair.ledger.ids(), &ids)?;
        let mut at = 0;
        while let Some((id, side)) = join.next()? {
            if side == Side::Left {
                let entry = pair.ledger.entry(at)?;
                let is_held = entry.proof == Proof::Verified || matches!(entry.plan, Plan::Conflict | Plan::Lost);
                lost.extend((is_held && !entry.gone).then_some((at, id)));
            }
            at += usize::from(side != Side::Right);
        }
    }
    for (at, id) in lost {
        let alone = window::of_target(context, sides.server, Some(collection), std::slice::from_ref(&id)).await?;
        if alone.is_empty() {
            tracing::warn!(collection = %pair.target_name, id, "the target has lost a record that it held");
            skipped::lose(pair, at, &id)?;
        }
    }
    Ok(())
}

/// Those of these records that have to be compared once more: where the target is a server alone, it has to hold by its seal
/// what was compared, and the source is not asked again.
async fn doubtful(context: &Context<'_>, sides: &Sides<'_>, pair: &Pair, places: &[usize]) -> Result<Vec<usize>, Halt> {
    if sides.has_files() {
        return Ok(places.to_vec());
    }
    let ids = pair.ledger.ids_at(places)?;
    let (mut from, mut doubtful) = (0, Vec::new());
    while from < ids.len() {
        let (places, ids) = (&places[from..], &ids[from..]);
        let read = window::part_of_target(context, sides.server, pair.target.as_ref(), ids, window::WHOLE);
        let (answers, count) = read.await?;
        for (at, id) in places.iter().zip(ids).take(count) {
            let seal = pair.ledger.entry(*at)?.known;
            let holds = match (seal.seal(), answers.get(id)) {
                (Some(seal), Some(Fetched::Record { record, .. })) => seal.holds(record, pair.source.distance),
                _ => false,
            };
            doubtful.extend((!holds).then_some(*at));
        }
        from += count.max(1);
    }
    Ok(doubtful)
}

/// Reads the last batch and some of the others again, by content: a target that lost its newest writes, or was put back to
/// an older state, shows here.
pub(super) async fn sample(context: &Context<'_>, sides: &Sides<'_>, pair: &mut Pair) -> Result<(), Halt> {
    let mut places = Vec::new();
    for id in pair.last_batch.iter().take(LAST_BATCH) {
        places.extend(pair.ledger.position(id)?);
    }
    let len = pair.ledger.ids().len();
    places.extend((0..len).step_by((len / SAMPLE).max(1)));
    places.sort_unstable();
    places.dedup();
    let mut wanted = Vec::with_capacity(places.len());
    for at in places {
        let entry = pair.ledger.entry(at)?;
        wanted.extend((pair.is_wanted(entry) && entry.proof == Proof::Verified).then_some(at));
    }
    for window in wanted.chunks(SAMPLE) {
        let doubtful = doubtful(context, sides, pair, window).await?;
        verify::these(context, sides, pair, doubtful).await?;
    }
    Ok(())
}
