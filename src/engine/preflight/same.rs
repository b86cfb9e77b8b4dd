//! Whether source and target are one store: equal UUIDs say so of a store and of a restored copy beside its original alike.
//! Reads only.

use super::findings::passed;
use crate::engine::compare::{Comparison, compare};
use crate::engine::halt::Halt;
use crate::engine::select::Selected;
use crate::engine::window::{self, Answers};
use crate::engine::{Context, Relation};
use crate::model::{Collection, Fetched};
use crate::scratch::{Join, Side, SortedIds};
use crate::store::{Finding, Problem, Reader};

/// Ids of a collection that are compared at once.
const WINDOW: usize = 200;

/// What equal UUIDs mean here.
pub(super) enum Kinship {
    /// Two stores.
    Two(Finding),
    /// Perhaps one store, and all is equal: nothing must be written.
    MayBeOne(Finding),
    /// Perhaps one store, and it is not: refused.
    Refused(Finding),
}

/// Something that differs, so that both cannot be one store.
#[derive(Clone, PartialEq, Eq)]
struct Witness {
    id: String,
    in_source: bool,
    in_target: bool,
}

/// Looks at the selected collections whose UUID the target has, too. They are in two stores only if an id differs in two
/// looks, the same way, while both stand still.
pub(super) async fn look(
    context: &Context<'_>,
    selected: &[Selected],
    there: &[Collection],
    target: Option<&dyn Reader>,
) -> Result<Kinship, Halt> {
    let twin = |source: &Collection| there.iter().find(|c| c.id == source.id);
    let shared: Vec<(&Collection, &Collection)> =
        selected.iter().filter_map(|s| Some((&s.source, twin(&s.source)?))).collect();
    let (Some((first, _)), Some(target)) = (shared.first(), target) else {
        return Ok(Kinship::Two(passed("same-store", "source and target are two stores".to_owned())));
    };
    let uuid = format!("collection {:?} has the same UUID {} in source and target", first.name, first.id);
    match context.options.relation {
        Relation::Same => {
            return Ok(Kinship::Refused(refused(format!("{uuid}, and their files are the same: one store"))));
        }
        Relation::Apart => {
            let message = format!("{uuid}, but their files are not the same: one is a copy of the other");
            return Ok(Kinship::Two(passed("same-store", message)));
        }
        Relation::Unasked | Relation::Unknown | Relation::Unshared => {}
    }
    // another name, or another collection beside it: that would be written
    let is_own = |one: &Selected| there.iter().any(|c| one.is_target(c) && c.id == one.source.id);
    let all_own = selected.iter().all(is_own);
    for (source, twin) in &shared {
        let Some(witness) = differing(context, target, source, twin).await? else { continue };
        if context.options.relation != Relation::Unshared {
            let id = &witness.id;
            return Ok(Kinship::Refused(refused(format!(
                "{uuid}, id {id:?} of {:?} differs, and nobody here can see whether the server has the other side's files: \
                 perhaps they are one store",
                source.name
            ))));
        }
        let before = standing(context, target, source, twin).await?;
        context.until_stopped(tokio::time::sleep(context.options.second_look)).await?;
        let (a, b) = both(context, target, source, twin, &witness.id).await?;
        let again = witness_of(&witness.id, &a, &b, source);
        if again.as_ref() == Some(&witness) && before == standing(context, target, source, twin).await? {
            let message = format!(
                "{uuid}, but id {:?} of {:?} differs in two looks: one is a restored copy of the other",
                witness.id, source.name
            );
            return Ok(Kinship::Two(passed("same-store", message)));
        }
        return Ok(Kinship::Refused(refused(format!("{uuid}, and what differs moves: perhaps they are one store"))));
    }
    if !all_own {
        return Ok(Kinship::Refused(refused(format!("{uuid} and equal content: perhaps they are one store"))));
    }
    let message = format!("{uuid} and equal content: perhaps they are one store, so nothing is written");
    Ok(Kinship::MayBeOne(passed("same-store", message)))
}

fn refused(message: String) -> Finding {
    let remedy = "name another target. If one is a restored copy of the other: in a cluster, name the server by its Service, \
                  whose pods the operator may list and which mount none of the other side's claims; elsewhere, run it where \
                  the server runs, or make sure that the server does not serve these files, and say --one-store no. If they \
                  are two stores that other clients write, stop those clients and try again: the comparison needs both \
                  unchanged";
    Finding { check: "same-store", problem: Some(Problem { remedy: remedy.to_owned(), may_pass: false }), message }
}

/// What changes with every write to either side.
async fn standing(
    context: &Context<'_>,
    target: &dyn Reader,
    source: &Collection,
    twin: &Collection,
) -> Result<(Option<String>, u64, u64), Halt> {
    let generation = context.until_stopped(context.source.generation(source)).await?.map_err(Halt::Source)?;
    let ours = context.until_stopped(context.source.count(source)).await?.map_err(Halt::Source)?;
    Ok((generation, ours, context.until_stopped(target.count(twin)).await?.map_err(Halt::Target)?))
}

/// One id on both sides.
async fn both(
    context: &Context<'_>,
    target: &dyn Reader,
    source: &Collection,
    twin: &Collection,
    id: &str,
) -> Result<(Answers, Answers), Halt> {
    let ids = &[id.to_owned()];
    let ((ours, _), (theirs, _)) = tokio::try_join!(
        window::part_of_source(context, source, ids, window::WHOLE),
        window::part_of_target(context, target, Some(twin), ids, window::WHOLE),
    )?;
    Ok((ours, theirs))
}

/// The first id that is on one side only, or differs in content.
async fn differing(
    context: &Context<'_>,
    target: &dyn Reader,
    source: &Collection,
    twin: &Collection,
) -> Result<Option<Witness>, Halt> {
    let ours: SortedIds = context.until_stopped(context.source.ids(source)).await?.map_err(Halt::Source)?;
    let theirs: SortedIds = context.until_stopped(target.ids(twin)).await?.map_err(Halt::Target)?;
    let mut join = Join::new(&ours, &theirs)?;
    let mut ids = Vec::new();
    let mut alone = Vec::new();
    loop {
        let next = join.next()?;
        let is_last = next.is_none();
        match next {
            Some((id, Side::Both)) => ids.push(id),
            // first, for no content has to be read
            Some((id, _)) => alone.push(id),
            None => {}
        }
        for window in [&mut alone, &mut ids] {
            if window.len() < WINDOW && !is_last {
                continue;
            }
            let mut ids = std::mem::take(window);
            while !ids.is_empty() {
                let ((a, ours), (b, theirs)) = tokio::try_join!(
                    window::part_of_source(context, source, &ids, window::WHOLE),
                    window::part_of_target(context, target, Some(twin), &ids, window::WHOLE),
                )?;
                let looked: Vec<String> = ids.drain(..ours.min(theirs)).collect();
                if let Some(witness) = looked.iter().find_map(|id| witness_of(id, &a, &b, source)) {
                    return Ok(Some(witness));
                }
            }
        }
        if is_last {
            return Ok(None);
        }
    }
}

fn witness_of(id: &str, ours: &Answers, theirs: &Answers, source: &Collection) -> Option<Witness> {
    let (a, b) = (ours.get(id), theirs.get(id));
    let differs = match (a, b) {
        (Some(Fetched::Record { record: a, .. }), Some(Fetched::Record { record: b, .. })) => {
            matches!(compare(a, b, source.distance), Comparison::Different(_))
        }
        // what cannot be read on one side is no proof
        (Some(_), Some(_)) => false,
        (a, b) => a.is_some() != b.is_some(),
    };
    differs.then(|| Witness { id: id.to_owned(), in_source: a.is_some(), in_target: b.is_some() })
}
