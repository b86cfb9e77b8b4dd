//! The last look: after all collections were compared, once more over all of them, by name and not by what was believed so
//! far. Lists both sides again, reads what was written last and a sample again, and looks at what was skipped. Writes nothing.

mod held;
mod later;
mod skipped;

use std::collections::HashSet;

use super::halt::Halt;
use super::ledger::{Entry, Plan, Proof};
use super::verify::{self, Sides};
use super::window::{self, Ahead, Answers};
use super::{Context, Pair, Run, extra};
use crate::chroma::creation::{self, Differences};
use crate::model::{Collection, Error, Fetched};
use crate::report::SourceQuiet;
use crate::scratch::SortedIds;
use crate::store::{Budget, Reader, Remarks};

/// How often a listing is asked for that is shorter than its count.
const LISTINGS: usize = 4;
/// How many records are read once more that could not be read: each can take seconds.
const REREAD: usize = 100;

/// Looks at all pairs. What it finds is in the run, and in the pairs' ledgers and problems: records that are open again can be copied and
/// compared in a further pass, unless this is the final one.
pub(super) async fn look(context: &Context<'_>, sides: &Sides<'_>, run: &mut Run, is_final: bool) -> Result<(), Halt> {
    let Run { pairs, resolved, .. } = run;
    let sources = sources(context, pairs).await?;
    let later = later::than(context, &sources, resolved).await?;
    for pair in pairs.iter_mut() {
        (pair.problems, pair.named, pair.unlike) = (Vec::new(), Vec::new(), Vec::new());
        same_source(context, &sources, pair)?;
    }
    let before = targets(context, sides.server, pairs).await?;
    for pair in pairs.iter_mut() {
        let ids = source(context, pair, is_final).await?;
        // after the source, so that what was compared before is not older than what the target shows now
        if let Some(collection) = same_target(&before, pair) {
            held::look(context, sides, pair, &collection, &ids).await?;
            skipped::look(context, sides, pair, &collection).await?;
            held::sample(context, sides, pair).await?;
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
    let after = targets(context, sides.server, pairs).await?;
    for pair in pairs.iter_mut().filter(|pair| pair.problems.is_empty()) {
        pair.problems.extend(other_target(&after, pair));
    }
    run.others = others(context, &sources, &run.resolved, [&before, &after]);
    run.came_later = later;
    Ok(())
}

/// The target's collections that the source has not: of which two listings agree.
fn others(
    context: &Context<'_>,
    sources: &[Collection],
    resolved: &HashSet<(String, String)>,
    [before, after]: [&[Collection]; 2],
) -> Vec<String> {
    let now = sources.iter().map(|c| (c.database.clone(), c.name.clone()));
    let ours = resolved.iter().cloned().chain(now).collect();
    let twice = extra::collections(context, before, &ours);
    extra::collections(context, after, &ours).into_iter().filter(|name| twice.contains(name)).collect()
}

/// The weaker proof: both sides are counted once more, by name, and every record of the source is accounted for.
pub(super) async fn count(context: &Context<'_>, sides: &Sides<'_>, run: &mut Run) -> Result<(), Halt> {
    let Run { pairs, resolved, .. } = run;
    let (sources, targets) = (sources(context, pairs).await?, targets(context, sides.server, pairs).await?);
    let later = later::than(context, &sources, resolved).await?;
    for pair in pairs {
        same_source(context, &sources, pair)?;
        let (ids, counted) = listed(context, context.source, &pair.source).await?.map_err(Halt::Source)?;
        let told = context.until_stopped(context.source.remarks(&pair.source)).await?.map_err(Halt::Source)?;
        pair.unread = told.unread.into_iter().collect();
        if told.counted > 0 {
            pair.problems.extend(told.short);
        }
        pair.problems.extend(contradiction("source", ids.len() as u64, counted));
        pair.came_later = pair.ledger.lacks(&ids)?.0 + pair.ledger.relist_known(&ids)?;
        unlisted(context, pair).await?;
        pair.lacks(told.counted);
        pair.has_moved(pair.came_later + pair.ledger.gone() > 0);
        let unsent = pair.ledger.places(|entry| entry.is_unsent()).count();
        if unsent > 0 {
            let name = pair.source_words();
            let problem =
                format!("{unsent} records of {name} are listed by the source, and it did not answer for them");
            pair.problems.push(format!("{problem}. Run it again with verification Full, which names them"));
        }
        if let Some(collection) = same_target(&targets, pair) {
            let (theirs, counted) = listed(context, sides.server, &collection).await?.map_err(Halt::Target)?;
            pair.problems.extend(contradiction("target", theirs.len() as u64, counted));
            pair.target_after = theirs.len() as u64;
            pair.surplus = extra::find(context, pair, &ids, (sides.server, &collection, &theirs)).await?;
            pair.came_later += pair.surplus.unlisted;
        }
    }
    run.others = others(context, &sources, &run.resolved, [&targets, &targets]);
    run.came_later = later;
    Ok(())
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
        let described = |c: &Collection| (c.metadata.clone(), c.configuration.clone(), c.schema.clone());
        pair.has_moved(described(now) != described(&pair.source));
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
async fn source(context: &Context<'_>, pair: &mut Pair, is_final: bool) -> Result<SortedIds, Halt> {
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
    pair.came_later = 0;
    if is_final {
        let (later, first) = pair.ledger.lacks(&ids)?;
        pair.came_later = later + pair.ledger.relist_known(&ids)?;
        for id in first {
            pair.notes.add(&id, "cameLater", "came to the source after the last pass: the next run copies it");
        }
    } else {
        let fresh = pair.ledger.relist(&ids)?;
        pair.has_moved(fresh > 0);
    }
    unlisted(context, pair).await?;
    unanswered(context, pair).await?;
    pair.has_moved(pair.came_later + pair.ledger.gone() > 0);
    reread(context, pair, is_final).await?;
    Ok(ids)
}

/// A server that is written to can answer for a record without its vector, for a moment: of a source that moves, what could not
/// be read is asked for once more.
async fn reread(context: &Context<'_>, pair: &mut Pair, is_final: bool) -> Result<(), Halt> {
    if pair.source_quiet != SourceQuiet::No {
        return Ok(());
    }
    let is_unread = |entry: Entry| entry.plan == Plan::Unreadable && !entry.gone;
    let places = pair.ledger.select(0, REREAD, is_unread)?;
    let ids = pair.ledger.ids_at(&places)?;
    let (answers, _) = window::part_of_source(context, &pair.source, &ids, window::WHOLE).await?;
    for (at, id) in places.into_iter().zip(ids) {
        if matches!(answers.get(&id), Some(Fetched::Record { .. })) {
            let proof = if is_final { Proof::Changed } else { Proof::Open };
            pair.ledger.change(at, |entry| (entry.plan, entry.proof) = (Plan::New, proof))?;
            pair.notes.forget(&id);
        }
    }
    Ok(())
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
    // what was known to get lost when it was created differs all the same
    pair.unlike = creation::disagreements(&pair.source, now).into_iter().map(told).collect();
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

/// What both sides say of the collection beside its records, now that all was read: for a local target its files, too.
async fn said(context: &Context<'_>, sides: &Sides<'_>, pair: &mut Pair) -> Result<(), Halt> {
    let of_source = context.until_stopped(context.source.remarks(&pair.source)).await?.map_err(Halt::Source)?;
    let mut told = vec![("source", pair.source_words(), of_source.of_source())];
    if let Some(collection) = pair.target.clone().filter(|_| pair.problems.is_empty()) {
        let all = context.until_stopped(sides.server.remarks(&collection)).await?.map_err(Halt::Target)?;
        told.push(("target", pair.target_words(), all.of_target()));
        if let Some((files, collection)) = sides.in_files(context, &collection).await? {
            let all = context.until_stopped(files.remarks(&collection)).await?.map_err(Halt::Target)?;
            told.push(("target", pair.target_words(), all.of_target()));
        }
    }
    (pair.remarks, pair.unread) = (Vec::new(), Vec::new());
    for (side, name, Remarks { damage, notes, amended: _, short, counted, refusal, unread, partial }) in told {
        if side == "source" {
            pair.lacks(counted);
        }
        pair.partial |= partial;
        pair.unread.extend(unread.map(|what| format!("collection {name} of the {side}: {what}")));
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
