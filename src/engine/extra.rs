//! Records that the target holds and the source does not: counted from two sorted lists, and confirmed by asking both sides for
//! each by its id. Writes nothing; who looks decides what it means.

use std::collections::HashSet;

use super::halt::Halt;
use super::pair::{LISTED, Pair, Surplus};
use super::{Context, select};
use crate::model::{Collection, Error};
use crate::scratch::{Join, Side, SortedIds};
use crate::store::Reader;

/// Ids that are asked for at once.
const WINDOW: usize = 1000;
/// Ids of one collection that a side is asked for one by one, if it did not answer for them together.
const ALONE: usize = 20;

/// Finds what only the target holds of a pair. `listed`: the source's newest list of ids; the target's follows its reader and
/// collection.
pub(super) async fn find(
    context: &Context<'_>,
    pair: &Pair,
    listed: &SortedIds,
    (target, collection, ids): (&dyn Reader, &Collection, &SortedIds),
) -> Result<Surplus, Halt> {
    let mut surplus = Surplus::default();
    let mut join = Join::new(listed, ids)?;
    let (mut ours_alone, mut theirs_alone) = (ALONE, ALONE);
    loop {
        let mut window = Vec::new();
        while window.len() < WINDOW
            && let Some((id, side)) = join.next()?
        {
            window.extend((side == Side::Right).then_some(id));
        }
        if window.is_empty() {
            return Ok(surplus);
        }
        let (ours, theirs) = tokio::try_join!(
            held(context, (context.source, &pair.source), &window, &mut ours_alone, Halt::Source),
            held(context, (target, collection), &window, &mut theirs_alone, Halt::Target),
        )?;
        for id in window {
            if ours.contains(&id) {
                let known = pair.ledger.position(&id)?.map(|at| pair.ledger.entry(at)).transpose()?;
                surplus.unlisted += u64::from(known.is_none_or(|entry| entry.gone));
            } else if theirs.contains(&id) {
                surplus.extra += 1;
                surplus.first.extend((surplus.first.len() < LISTED).then_some(id));
            } else {
                surplus.silent += 1;
            }
        }
    }
}

/// Those of these ids that a side answers for: asked for again as long as that brings more (a gateway may cap its answers),
/// and then, if they are few, one by one.
async fn held(
    context: &Context<'_>,
    (reader, collection): (&dyn Reader, &Collection),
    ids: &[String],
    alone: &mut usize,
    side: fn(Error) -> Halt,
) -> Result<HashSet<String>, Halt> {
    let mut held = HashSet::new();
    let mut absent = ids.to_vec();
    loop {
        let before = absent.len();
        let found = context.until_stopped(reader.held(collection, &absent)).await?.map_err(side)?;
        held.extend(found);
        absent.retain(|id| !held.contains(id));
        if absent.is_empty() || absent.len() == before {
            break;
        }
    }
    if ids.len() > 1 && absent.len() <= *alone {
        *alone -= absent.len();
        for id in absent {
            let found = context.until_stopped(reader.held(collection, std::slice::from_ref(&id))).await?;
            held.extend(found.map_err(side)?);
        }
    }
    Ok(held)
}

/// The target's collections that are none of `ours`, by database and name of the source, in a person's words. Only where whole
/// databases are compared: else nobody has asked for them.
pub(super) fn collections(
    context: &Context<'_>,
    there: &[Collection],
    ours: &HashSet<(String, String)>,
) -> Vec<String> {
    let selection = &context.options.selection;
    if selection.source_names().is_some() {
        return Vec::new();
    }
    let several = selection.has_databases();
    let is =
        |c: &Collection, database: &String, name: &String| c.name == *name && (!several || c.database == *database);
    let others = there.iter().filter(|c| !ours.iter().any(|(database, name)| is(c, database, name)));
    others.map(|c| select::words(several.then_some(c.database.as_str()), &c.name)).collect()
}
