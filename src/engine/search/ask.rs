//! Draws the queries and asks both sides' servers. Reads only. An error of a search is told beside the verdict and never ends
//! a run; only a termination signal does.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::draw::{Drawing, Size, shares};
use super::judge::{Judged, judge};
use super::nearest::{Exact, Nearest, TEN};
use super::sum::Tally;
use crate::engine::halt::Halt;
use crate::engine::ledger::Proof;
use crate::engine::pair::Pair;
use crate::engine::{Context, Run, SearchMode, window};
use crate::model::{Collection, Fetched};
use crate::report;
use crate::store::{Neighbour, Reader, Target};

/// Neighbours that are asked for where records that are not judged take places.
const MORE: usize = 100;
/// How long all queries may take at least, however short verification was.
const LEAST: Duration = Duration::from_secs(10);
/// The part of verification's time that all queries may take.
const PART: u32 = 3;

/// Draws the queries of all collections, and reads their vectors from the source.
pub(crate) async fn prepare(context: &Context<'_>, run: &mut Run) -> Result<(), Halt> {
    let search = context.options.search;
    if search.mode == SearchMode::Off {
        return Ok(());
    }
    let sizes: Vec<Size> = run.pairs.iter().map(size).collect();
    for (pair, share) in run.pairs.iter_mut().zip(shares(&sizes, search.queries)) {
        if share == 0 {
            if pair.to_verify() > 0 {
                pair.search = Some(silent("not asked: other collections were drawn".to_owned()));
            }
            continue;
        }
        match draw(context, pair, share).await {
            Ok(nearest) => pair.nearest = Some(nearest),
            Err(Halt::Interrupted) => return Err(Halt::Interrupted),
            Err(halt) => pair.search = Some(silent(format!("not asked: no query could be read ({halt})"))),
        }
    }
    Ok(())
}

/// Every record of the collection was compared once.
pub(crate) const fn streamed(pair: &mut Pair) {
    if let Some(nearest) = &mut pair.nearest {
        nearest.streamed();
    }
}

fn size(pair: &Pair) -> Size {
    let dimension = pair.source.dimension.and_then(|dimension| usize::try_from(dimension).ok()).unwrap_or(1);
    Size { name: pair.source_words(), records: pair.to_verify(), dimension }
}

async fn draw(context: &Context<'_>, pair: &Pair, share: usize) -> Result<Nearest, Halt> {
    let mut drawing = Drawing::new(share);
    for at in pair.ledger.places(|entry| pair.is_wanted(entry)) {
        let at = at?;
        drawing.offer(at, &pair.ledger.id(at)?);
    }
    let ids = pair.ledger.ids_at(&drawing.places())?;
    let (answers, _) = window::part_of_source(context, &pair.source, &ids, window::WHOLE).await?;
    let mut records: Vec<(String, Vec<f32>)> =
        answers.into_iter().filter_map(|(id, fetched)| vector(id, fetched)).collect();
    records.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Nearest::new(pair.source.distance, records))
}

fn vector(id: String, fetched: Fetched) -> Option<(String, Vec<f32>)> {
    match fetched {
        Fetched::Record { record, .. } => Some((id, record.embedding)),
        Fetched::Unreadable { .. } => None,
    }
}

/// A collection without an answer, and why.
fn silent(why: String) -> report::Search {
    report::Search { notes: vec![why], ..report::Search::default() }
}

/// Asks the target, and a source that is a server, in at most a third of the time that verification took.
pub(crate) async fn check(
    context: &Context<'_>,
    target: &dyn Reader,
    run: &mut Run,
    took: Duration,
) -> Result<(), Halt> {
    let end = Instant::now() + (took / PART).max(LEAST);
    let mut order: Vec<usize> = (0..run.pairs.len()).filter(|at| run.pairs[*at].nearest.is_some()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(run.pairs[*at].to_verify()));
    for at in order {
        let pair = &mut run.pairs[at];
        let left = end.saturating_duration_since(Instant::now());
        let asked = timeout(left, of_pair(context, target, pair));
        let found = context.until_stopped(asked).await?;
        let late = || silent("not asked: the queries took a third of verification's time".to_owned());
        pair.search = Some(found.unwrap_or_else(|_| late()));
    }
    Ok(())
}

/// Asks a local target once more after its server was restarted: an index that lived only in memory shows.
pub(crate) async fn check_again(context: &Context<'_>, target: &dyn Target, run: &mut Run) -> Result<(), Halt> {
    if !run.pairs.iter().any(|pair| pair.search.as_ref().is_some_and(|search| search.queries > 0)) {
        return Ok(());
    }
    let restarted = context.until_stopped(target.restarted()).await?;
    let reader = match restarted {
        Ok(Some(reader)) => reader,
        Ok(None) => return Ok(()),
        Err(error) => {
            for search in run.pairs.iter_mut().filter_map(|pair| pair.search.as_mut()) {
                search.notes.push(format!("not asked after a restart of its server: {error}"));
            }
            return Ok(());
        }
    };
    for pair in run.pairs.iter_mut().filter(|pair| pair.search.as_ref().is_some_and(|search| search.queries > 0)) {
        let asked = timeout(LEAST, of_target(context, reader, pair));
        let Ok(Ok(again)) = context.until_stopped(asked).await? else { continue };
        let again = again.report(None);
        let Some(before) = pair.search.as_mut() else { continue };
        if again.recall_mean < before.recall_mean || again.wrong_distances > before.wrong_distances {
            let mean = before.recall_mean.unwrap_or_default();
            let mut notes = std::mem::take(&mut before.notes);
            notes.push(format!("after a restart of its server; before it the mean recall was {mean:.2}"));
            *before = report::Search { source_recall_mean: before.source_recall_mean, notes, ..again };
        }
    }
    Ok(())
}

async fn of_pair(context: &Context<'_>, target: &dyn Reader, pair: &Pair) -> report::Search {
    let found = match of_target(context, target, pair).await {
        Ok(found) => found,
        Err(why) => return silent(why),
    };
    let source = match (&pair.nearest, exact(pair)) {
        (Some(_), Ok(exact)) => answers(context.source, &pair.source, pair, &exact).await.ok(),
        _ => None,
    };
    found.report(source.as_ref())
}

/// The target's answers, looked at twice where they are not as they should be.
async fn of_target(context: &Context<'_>, target: &dyn Reader, pair: &Pair) -> Result<Tally, String> {
    let collection = pair.target.as_ref().ok_or("not asked: there is no target collection")?;
    let exact = exact(pair)?;
    let first = answers(target, collection, pair, &exact).await?;
    if !first.is_suspect(context.options.search.min_recall) {
        return Ok(first);
    }
    let mut second = answers(target, collection, pair, &exact).await?;
    let twice: HashSet<&String> = first.unknown.iter().collect();
    second.unknown.retain(|id| twice.contains(id));
    Ok(if first.is_better_than(&second) { first } else { second })
}

fn exact(pair: &Pair) -> Result<Vec<Exact<'_>>, String> {
    let nearest = pair.nearest.as_ref().ok_or("not asked: it has no query")?;
    nearest.exact(|id| is_verified(pair, id)).map_err(|error| format!("not asked: scratch space failed: {error}"))
}

fn is_verified(pair: &Pair, id: &str) -> std::io::Result<bool> {
    let Some(at) = pair.ledger.position(id)? else { return Ok(false) };
    let entry = pair.ledger.entry(at)?;
    Ok(pair.is_wanted(entry) && entry.proof == Proof::Verified)
}

/// Asks one store all queries of a collection, in one body, and those that need more in a second one.
async fn answers(
    store: &dyn Reader,
    collection: &Collection,
    pair: &Pair,
    exact: &[Exact<'_>],
) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let mut open: Vec<&Exact<'_>> = exact.iter().collect();
    let mut strangers = BTreeSet::new();
    for most in [TEN, MORE] {
        if open.is_empty() {
            break;
        }
        let answer = neighbours(store, collection, &open, most).await?;
        let asked = std::mem::take(&mut open);
        for (exact, found) in asked.into_iter().zip(&answer) {
            strangers.extend(found.iter().map(|one| &one.id).filter(|id| is_stranger(pair, id)).cloned());
            match judge(exact, found, most, |id| is_verified(pair, id).unwrap_or(false)) {
                Judged::Found(found) => tally.add(&found),
                Judged::More => open.push(exact),
                Judged::Open => tally.leave_open(),
            }
        }
    }
    open.iter().for_each(|_| tally.leave_open());
    let strangers: Vec<String> = strangers.into_iter().collect();
    if !strangers.is_empty() {
        let held = store.held(collection, &strangers).await.map_err(|error| format!("not judged: {error}"))?;
        let held: HashSet<String> = held.into_iter().collect();
        tally.unknown = strangers.into_iter().filter(|id| !held.contains(id)).collect();
    }
    Ok(tally)
}

fn is_stranger(pair: &Pair, id: &str) -> bool {
    matches!(pair.ledger.position(id), Ok(None))
}

async fn neighbours(
    store: &dyn Reader,
    collection: &Collection,
    queries: &[&Exact<'_>],
    most: usize,
) -> Result<Vec<Vec<Neighbour>>, String> {
    let vectors: Vec<&[f32]> = queries.iter().map(|exact| exact.vector).collect();
    let answer = store.nearest(collection, &vectors, most).await.map_err(|error| format!("not judged: {error}"))?;
    let answer = answer.ok_or("not asked: files answer no query, name the store's server to check its search")?;
    if answer.len() == queries.len() {
        return Ok(answer);
    }
    Err(format!("not judged: {} queries got {} answers", queries.len(), answer.len()))
}
