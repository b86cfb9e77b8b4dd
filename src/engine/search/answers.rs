//! Puts the queries and filters of one collection to one store, and holds the answers against what is known. Reads only.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::asked::Asked;
use super::filters::{Counted, MOST, Said};
use super::judge::{Judged, fault, judge};
use super::nearest::{Exact, TEN};
use super::quirks;
use super::silence::Silence;
use super::sum::{FilterTally, Open, Tally};
use crate::engine::ledger::Proof;
use crate::engine::pair::Pair;
use crate::report;

/// Neighbours that are asked for where records that are not judged take places.
const MORE: usize = 100;
/// Ids that no listing had and that are looked for by id, of one collection.
const STRANGERS: usize = 1000;
/// The same of one filter.
const FEW: usize = 100;

fn is_verified(pair: &Pair, id: &str) -> std::io::Result<bool> {
    let Some(at) = pair.ledger.position(id)? else { return Ok(false) };
    let entry = pair.ledger.entry(at)?;
    Ok(pair.is_wanted(entry) && entry.proof == Proof::Verified)
}

/// Asks all queries, and once more where the answers are not as they should be: the better of two looks counts.
pub(super) async fn twice(asked: &Asked<'_>, pair: &Pair, least: f64) -> Result<Tally, Silence> {
    let first = all(asked, pair).await?;
    if !first.is_suspect(least) {
        return Ok(first);
    }
    let mut second = match all(asked, pair).await {
        Ok(second) => second,
        // the first look stays the only one
        Err(Silence::Late | Silence::Slow(_)) => return Ok(first),
        Err(silence) => return Err(silence),
    };
    let twice: HashSet<&String> = first.unknown.iter().collect();
    second.unknown.retain(|id| twice.contains(id));
    Ok(if first.is_better_than(&second) { first } else { second })
}

/// Asks all queries of a collection, in one body, and those that need more in a second one.
pub(super) async fn all(asked: &Asked<'_>, pair: &Pair) -> Result<Tally, Silence> {
    let nearest = pair.search.nearest.as_ref().ok_or(Silence::Unasked("it has no query"))?;
    let is_known = |id: &str| Ok(nearest.is_comparable(id) && is_verified(pair, id)?);
    let scratch = |error: std::io::Error| Silence::Failed(format!("scratch space failed: {error}"));
    let exact = nearest.exact(is_known).map_err(scratch)?;
    let mut tally = Tally::default();
    let mut open: Vec<&Exact<'_>> = exact.iter().collect();
    let (mut strangers, mut faults) = (BTreeSet::new(), BTreeMap::new());
    let verified = pair.ledger.counts(pair.overwrite).verified;
    let held = verified.saturating_sub(nearest.incomparable() as u64);
    for most in [TEN, MORE] {
        if open.is_empty() {
            break;
        }
        let answer = asked.neighbours(&open, most).await?;
        for (exact, found) in std::mem::take(&mut open).into_iter().zip(&answer) {
            strangers.extend(found.iter().map(|one| &one.id).filter(|id| is_unlisted(pair, id)).cloned());
            if let Some(fault) = fault(found, most, held) {
                faults.entry(exact.id).or_insert(fault);
            }
            match judge(exact, found, most, |id| is_known(id).unwrap_or(false)) {
                Judged::Found(found) => tally.add(&found),
                Judged::More => open.push(exact),
                Judged::Tied => tally.leave(Open::Tied),
                Judged::Unverified => tally.leave(Open::Unverified),
            }
        }
    }
    for _ in &open {
        tally.leave(Open::Crowded);
    }
    for fault in faults.into_values() {
        tally.blame(fault);
    }
    tally.unknown = asked.unknown(strangers.into_iter().take(STRANGERS).collect()).await?;
    Ok(tally)
}

/// Whether the source's list has no such id.
fn is_unlisted(pair: &Pair, id: &str) -> bool {
    matches!(pair.ledger.position(id), Ok(None))
}

/// Asks all filters, those that are answered wrongly twice. What a server did not answer is given in words.
pub(super) async fn filters(
    asked: &Asked<'_>,
    pair: &Pair,
    told: &mut report::Search,
) -> Result<Option<String>, Silence> {
    let engine = asked.searches.engine();
    let mut sum = FilterTally::default();
    let verified = pair.ledger.counts(pair.overwrite).verified;
    for counted in pair.search.filters.judged(verified, pair.surplus.extra) {
        let mut said = filter(asked, pair, counted).await;
        if said.as_ref().is_ok_and(Said::is_wrong) {
            let second = filter(asked, pair, counted).await;
            said = second.map(|second| said.map_or(Said::Open, |first| first.confirmed_by(second)));
        }
        match said {
            Err(Silence::Stopped) => return Err(Silence::Stopped),
            said => sum.add(counted, said, quirks::of(engine).is_some()),
        }
    }
    told.unknown_ids += sum.unknown.len() as u64;
    let (filters, notes, failure) = sum.report(pair.search.filters.len() as u64, engine);
    told.filters = filters;
    told.notes.extend(notes);
    Ok(failure)
}

async fn filter(asked: &Asked<'_>, pair: &Pair, counted: &Counted) -> Result<Said, Silence> {
    let answer = asked.answer(|| asked.searches.matching(asked.collection, &counted.filter, MOST)).await?;
    let strangers: BTreeSet<&String> = answer.iter().filter(|id| is_unlisted(pair, id)).collect();
    let unknown = asked.unknown(strangers.into_iter().take(FEW).cloned().collect()).await?;
    if !unknown.is_empty() {
        return Ok(Said::Unknown(unknown));
    }
    Ok(counted.judge(&answer, asked.searches.engine(), |id| is_verified(pair, id).unwrap_or(false)))
}
