//! The last look: after all collections were compared, once more over all of them, by name and not by what was believed so
//! far. Lists both sides again, reads what was written last and a sample again, and looks at what was skipped. Writes nothing.

mod later;
mod skipped;

use std::collections::HashSet;

use super::halt::Halt;
use super::ledger::{Entry, Plan, Proof};
use super::verify::{self, Sides};
use super::window::{self, Ahead, Answers};
use super::{Context, Pair};
use crate::chroma::creation::{self, Differences};
use crate::model::{Collection, Error, Fetched};
use crate::scratch::{Join, Side, SortedIds};
use crate::store::{Budget, Reader, Remarks};

/// Records of a collection that are read again by content, beside the last batch.
const SAMPLE: usize = 50;
/// How often a listing is asked for that is shorter than its count.
const LISTINGS: usize = 4;
/// Of the last batch, at most so many.
const LAST_BATCH: usize = 1000;

/// Looks at all pairs. What it finds is in their ledgers and problems: records that are open again can be copied and
/// compared in a further pass, unless this is the final one.
pub(super) async fn look(
    context: &Context<'_>,
    sides: &Sides<'_>,
    pairs: &mut [Pair],
    resolved: &HashSet<(String, String)>,
    is_final: bool,
) -> Result<Vec<String>, Halt> {
    let sources = sources(context, pairs).await?;
    let later = later::than(context, &sources, resolved).await?;
    for pair in pairs.iter_mut() {
        (pair.problems, pair.named) = (Vec::new(), Vec::new());
        same_source(context, &sources, pair)?;
        source(context, pair, is_final).await?;
    }
    // after the source, so that what was compared before is not older than what the target shows now
    let targets = targets(context, sides.server, pairs).await?;
    for pair in pairs.iter_mut() {
        if let Some(collection) = same_target(&targets, pair) {
            held(context, sides, pair, &collection).await?;
            skipped::look(context, sides, pair, &collection).await?;
            sample(context, sides, pair).await?;
        }
        if is_final {
            // no pass follows: what is open is missing, or cannot be read
            verify::pass(context, sides, pair, |entry| entry.proof == Proof::Open, |_| ()).await?;
            unanswered(context, pair).await?;
        }
        // last of all looks of this pass: each of them may have left records unread
        said(context, sides, pair).await?;
    }
    // the looks took a while, and a name can have moved meanwhile
    let targets = self::targets(context, sides.server, pairs).await?;
    for pair in pairs.iter_mut().filter(|pair| pair.problems.is_empty()) {
        pair.problems.extend(other_target(&targets, pair));
    }
    Ok(later)
}

/// The weaker proof: both sides are counted once more, by name, and every record of the source is accounted for.
pub(super) async fn count(
    context: &Context<'_>,
    sides: &Sides<'_>,
    pairs: &mut [Pair],
    resolved: &HashSet<(String, String)>,
) -> Result<Vec<String>, Halt> {
    let (sources, targets) = (sources(context, pairs).await?, targets(context, sides.server, pairs).await?);
    let later = later::than(context, &sources, resolved).await?;
    for pair in pairs {
        same_source(context, &sources, pair)?;
        let told = context.until_stopped(context.source.remarks(&pair.source)).await?.map_err(Halt::Source)?;
        pair.unread = told.unread.into_iter().collect();
        let (ids, counted) = listed(context, context.source, &pair.source).await?.map_err(Halt::Source)?;
        pair.problems.extend(contradiction("source", ids.len() as u64, counted));
        pair.came_later = pair.ledger.lacks(&ids)?.0 + pair.ledger.relist_known(&ids)?;
        unlisted(context, pair).await?;
        let unsent = pair.ledger.places(|entry| entry.is_unsent()).count();
        if unsent > 0 {
            let name = pair.source_words();
            let problem =
                format!("{unsent} records of {name} are listed by the source, and it did not answer for them");
            pair.problems.push(format!("{problem}. Run it again with verification Full, which names them"));
        }
        if let Some(collection) = same_target(&targets, pair) {
            let (ids, counted) = listed(context, sides.server, &collection).await?.map_err(Halt::Target)?;
            pair.problems.extend(contradiction("target", ids.len() as u64, counted));
            pair.target_after = ids.len() as u64;
        }
    }
    Ok(later)
}

/// The source's collections; listed once more, a while later, where one of ours is not among them.
async fn sources(context: &Context<'_>, pairs: &[Pair]) -> Result<Vec<Collection>, Halt> {
    let has = |all: &[Collection], pair: &Pair| all.iter().any(|c| pair.is_source(c) && c.id == pair.source.id);
    let all = context.until_stopped(context.source.collections()).await?.map_err(Halt::Source)?;
    if pairs.iter().all(|pair| has(&all, pair)) {
        return Ok(all);
    }
    context.until_stopped(tokio::time::sleep(context.options.second_look)).await?;
    context.until_stopped(context.source.collections()).await?.map_err(Halt::Source)
}

/// As [`sources`], of the target.
async fn targets(context: &Context<'_>, target: &dyn Reader, pairs: &[Pair]) -> Result<Vec<Collection>, Halt> {
    let all = context.until_stopped(target.collections()).await?.map_err(Halt::Target)?;
    if pairs.iter().all(|pair| other_target(&all, pair).is_none()) {
        return Ok(all);
    }
    context.until_stopped(tokio::time::sleep(context.options.second_look)).await?;
    context.until_stopped(target.collections()).await?.map_err(Halt::Target)
}

/// The collection of that name in the source is the one that was copied; its settings are those that it has now.
fn same_source(context: &Context<'_>, all: &[Collection], pair: &mut Pair) -> Result<(), Halt> {
    let found = all.iter().find(|c| pair.is_source(c));
    if let Some(now) = found.filter(|now| now.id == pair.source.id) {
        // the distance and the dimension are what the records were compared by
        let (distance, dimension) = (pair.source.distance, pair.source.dimension.or(now.dimension));
        pair.source = Collection { dimension, distance, ..now.clone() };
        return Ok(());
    }
    Err(Halt::SourceReplaced(format!(
        "collection {} of {} was {} during the run: what was copied is of the old one (UUID {}). Check the source, then run \
         it again",
        pair.source_words(),
        context.source.name(),
        if found.is_some() { "replaced by another one of its name" } else { "deleted or renamed" },
        pair.source.id
    )))
}

/// The source's ids once more: what came, what is gone, what is listed and does not come.
async fn source(context: &Context<'_>, pair: &mut Pair, is_final: bool) -> Result<(), Halt> {
    let (ids, counted) = listed(context, context.source, &pair.source).await?.map_err(Halt::Source)?;
    pair.problems.extend(contradiction("source", ids.len() as u64, counted));
    let had = pair.ledger.ids().len();
    if ids.is_empty() && counted == 0 && had > 0 && !context.options.allow_empty {
        return Err(Halt::SourceReplaced(format!(
            "collection {} of the source held {had} records during the run and holds none now. Restore the source and run \
             it again; if that is meant, allow it (--allow-empty, allowEmpty: true)",
            pair.source_words()
        )));
    }
    if is_final {
        let (later, first) = pair.ledger.lacks(&ids)?;
        pair.came_later = later + pair.ledger.relist_known(&ids)?;
        for id in first {
            pair.notes.add(&id, "cameLater", "came to the source after the last pass: the next run copies it");
        }
    } else {
        pair.ledger.relist(&ids)?;
    }
    unlisted(context, pair).await?;
    unanswered(context, pair).await
}

/// A listing with the count beside it: asked for again where it is shorter, until two looks agree. Of a source that grows
/// all the while the listing is taken as it is: its count moves, too, and proves nothing.
async fn listed(
    context: &Context<'_>,
    reader: &dyn Reader,
    collection: &Collection,
) -> Result<Result<(SortedIds, u64), Error>, Halt> {
    let mut before = None;
    for looks in 1..=LISTINGS {
        let (ids, counted) = match context.until_stopped(reader.listing(collection)).await? {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let now = (ids.len() as u64, counted);
        let is_last = looks == LISTINGS;
        let moves = before.is_some_and(|(_, count)| count != counted);
        if now.0 >= now.1 || before == Some(now) || (is_last && !moves) {
            return Ok(Ok((ids, counted)));
        }
        if is_last {
            return Ok(Ok((ids, now.0)));
        }
        before = Some(now);
    }
    // not reached: the last look returns. A count beside no ids is a contradiction, never a success
    Ok(Ok((SortedIds::default(), u64::MAX)))
}

/// What a listing that stays shorter than the count means.
fn contradiction(side: &str, listed: u64, counted: u64) -> Option<String> {
    (listed < counted).then(|| {
        format!(
            "the {side} counts {counted} records and lists {listed}: its answers are cut short, by a gateway before it or by \
             damage. Ask it directly, and check the store with `memory-migration inspect --records`"
        )
    })
}

/// Takes back what comes although the newest listing lacks it: a listing is no proof of absence.
async fn unlisted(context: &Context<'_>, pair: &mut Pair) -> Result<(), Halt> {
    let source = pair.source.clone();
    let mut ahead = Ahead::new();
    loop {
        let read = |places, ids, budget| ask(context, &source, places, ids, budget);
        let Some(found) = ahead.next(&pair.ledger, |entry| entry.gone, read).await? else { return Ok(()) };
        let (places, answers) = found;
        ahead.observe(places.len(), window::bytes(&answers));
        for at in places {
            if answers.contains_key(&pair.ledger.id(at)?) {
                pair.ledger.change(at, |entry| entry.gone = false)?;
            }
        }
    }
}

async fn ask(
    context: &Context<'_>,
    source: &Collection,
    mut places: Vec<usize>,
    ids: Vec<String>,
    budget: Budget,
) -> Result<(usize, (Vec<usize>, Answers)), Halt> {
    let (answers, count) = window::part_of_source(context, source, &ids, budget).await?;
    places.truncate(count);
    Ok((count, (places, answers)))
}

/// Asks for what was never answered. What is listed once more and still does not come cannot be read.
async fn unanswered(context: &Context<'_>, pair: &mut Pair) -> Result<(), Halt> {
    let source = pair.source.clone();
    let mut ahead = Ahead::new();
    let mut absent = Vec::new();
    loop {
        let is_open = |entry: Entry| pair.is_wanted(entry) && entry.proof == Proof::Open;
        let read = |places, ids, budget| ask(context, &source, places, ids, budget);
        let Some(found) = ahead.next(&pair.ledger, is_open, read).await? else { break };
        let (places, answers) = found;
        ahead.observe(places.len(), window::bytes(&answers));
        for at in places {
            let id = pair.ledger.id(at)?;
            if !answers.contains_key(&id) {
                absent.push((at, id));
            }
        }
    }
    if absent.is_empty() {
        return Ok(());
    }
    let again = context.until_stopped(context.source.ids(&source)).await?.map_err(Halt::Source)?;
    for (at, id) in absent {
        if again.contains(&id)? {
            pair.ledger.change(at, |entry| entry.plan = Plan::Unreadable)?;
            pair.notes.add(
                &id,
                "unreadable",
                "the source lists it and does not answer for it, also when asked for it alone",
            );
        } else {
            pair.ledger.change(at, |entry| entry.gone = true)?;
        }
    }
    Ok(())
}

/// The target's collection of that name, if it is the one that was compared; with the settings that differ.
fn same_target(all: &[Collection], pair: &mut Pair) -> Option<Collection> {
    if let Some(problem) = other_target(all, pair) {
        pair.problems.push(problem);
        return None;
    }
    let name = pair.target_words();
    let now = all.iter().find(|c| pair.is_target(c))?;
    let Differences { vital, others } = creation::differences(&pair.source, now, pair.new.as_ref());
    let told = |what: String| format!("{name}: {what}");
    let others = others.into_iter().map(told).collect::<Vec<_>>();
    pair.problems.extend(vital.into_iter().map(told));
    if pair.new.is_some() {
        pair.problems.extend(others);
    } else {
        pair.named.extend(others);
    }
    Some(now.clone())
}

/// Why the target's collection of that name is not the one that was compared.
fn other_target(all: &[Collection], pair: &Pair) -> Option<String> {
    let (compared, name) = (pair.target.as_ref()?, pair.target_words());
    let problem = match all.iter().find(|c| pair.is_target(c)) {
        Some(now) if now.id == compared.id => return None,
        Some(_) => format!("collection {name} of the target was replaced by another one during the run"),
        None => format!("the target has no collection {name} any more: it was renamed or deleted during the run"),
    };
    Some(format!("{problem}. Find out who did it, then run the migration again"))
}

/// The target's ids once more: it holds at least what was verified and skipped.
async fn held(context: &Context<'_>, sides: &Sides<'_>, pair: &mut Pair, collection: &Collection) -> Result<(), Halt> {
    let (ids, counted) = listed(context, sides.server, collection).await?.map_err(Halt::Target)?;
    pair.problems.extend(contradiction("target", ids.len() as u64, counted));
    pair.target_after = ids.len() as u64;
    let mut lost = Vec::new();
    {
        let mut join = Join::new(pair.ledger.ids(), &ids)?;
        let mut at = 0;
        while let Some((id, side)) = join.next()? {
            if side == Side::Left {
                let entry = pair.ledger.entry(at)?;
                let is_held = entry.proof == Proof::Verified || entry.plan == Plan::Conflict;
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

/// What both sides say of the collection beside its records, now that all was read: for a local target its files, too.
async fn said(context: &Context<'_>, sides: &Sides<'_>, pair: &mut Pair) -> Result<(), Halt> {
    let of_source = context.until_stopped(context.source.remarks(&pair.source)).await?.map_err(Halt::Source)?;
    let mut told = vec![("source", pair.source_words(), of_source)];
    if let Some(collection) = pair.target.clone().filter(|_| pair.problems.is_empty()) {
        let all = context.until_stopped(sides.server.remarks(&collection)).await?.map_err(Halt::Target)?;
        told.push(("target", pair.target_words(), all));
        if let Some((files, collection)) = sides.in_files(context, &collection).await? {
            let all = context.until_stopped(files.remarks(&collection)).await?.map_err(Halt::Target)?;
            told.push(("target", pair.target_words(), all));
        }
    }
    (pair.remarks, pair.unread) = (Vec::new(), Vec::new());
    for (side, name, Remarks { damage, notes, short, refusal, unread }) in told {
        pair.unread.extend(unread.map(|what| format!("collection {name:?} of the {side}: {what}")));
        pair.remarks.extend(notes.into_iter().map(|note| format!("in the {side}: {note}")));
        pair.problems.extend(short.into_iter().chain(refusal).map(|why| format!("{name} of the {side}: {why}")));
        let known = if side == "source" { &mut pair.source_damage } else { &mut pair.target_damage };
        // what preflight found stays found
        if !damage.is_empty() {
            *known = damage;
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
async fn sample(context: &Context<'_>, sides: &Sides<'_>, pair: &mut Pair) -> Result<(), Halt> {
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
