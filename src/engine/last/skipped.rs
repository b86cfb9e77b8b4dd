//! What a run left alone, looked at again at the end: conflicts and duplicates that are none any more are to be copied.

use std::collections::HashMap;

use crate::engine::halt::Halt;
use crate::engine::judge::{Known, Ruling, judge};
use crate::engine::ledger::{Entry, Plan, Proof};
use crate::engine::seal::Seal;
use crate::engine::verify::Sides;
use crate::engine::window::{self, Ahead, Answers};
use crate::engine::{Context, Duplicates, Pair, fingerprint};
use crate::model::{Collection, Fetched, Record};
use crate::store::Reader;

/// Skipped conflicts and duplicates still are what they were; otherwise they are to be copied.
pub(super) async fn look(
    context: &Context<'_>,
    sides: &Sides<'_>,
    pair: &mut Pair,
    collection: &Collection,
) -> Result<(), Halt> {
    let source = pair.source.clone();
    let mut ahead = Ahead::new();
    loop {
        let is_skipped = |entry: Entry| {
            !entry.gone && !pair.is_wanted(entry) && matches!(entry.plan, Plan::Conflict | Plan::Lost | Plan::Duplicate)
        };
        let read = |mut places: Vec<usize>, ids: Vec<String>, budget| {
            let source = &source;
            async move {
                let ((records, ours), (found, theirs)) = tokio::try_join!(
                    window::part_of_source(context, source, &ids, budget),
                    window::part_of_target(context, sides.server, Some(collection), &ids, budget),
                )?;
                let count = ours.min(theirs);
                places.truncate(count);
                Ok::<_, Halt>((count, (places, records, found)))
            }
        };
        let Some(both) = ahead.next(&pair.ledger, is_skipped, read).await? else { return Ok(()) };
        let (places, records, found) = both;
        ahead.observe(places.len(), window::bytes(&records));
        let twins = twins(context, sides.server, pair, collection, &records).await?;
        for at in places {
            let id = pair.ledger.id(at)?;
            let Some(Fetched::Record { record, .. }) = records.get(&id) else { continue };
            still_skipped(context, pair, at, record, found.get(&id), &twins)?;
        }
    }
}

fn still_skipped(
    context: &Context<'_>,
    pair: &mut Pair,
    at: usize,
    record: &Record,
    found: Option<&Fetched>,
    twins: &HashMap<u128, bool>,
) -> Result<(), Halt> {
    let entry = pair.ledger.entry(at)?;
    let distance = pair.source.distance;
    if entry.plan == Plan::Duplicate && found.is_none() {
        let mark = record.document.as_deref().map(fingerprint::document_mark);
        if !mark.and_then(|mark| twins.get(&mark).copied()).unwrap_or(false) {
            pair.lost_twins.extend(mark);
            lose_twin(pair, at, &record.id)?;
        }
        return Ok(());
    }
    match judge(&entry.known, &[], record, found, distance, context.options.on_conflict) {
        Ruling::Equal(_) => {
            pair.notes.forget(&record.id);
            pair.search.verified(record, entry.proof, false);
            let digest = fingerprint::digest(record, distance);
            let known = Known::Compared(Seal::with(record, digest, distance));
            pair.ledger
                .change(at, |entry| (entry.plan, entry.proof, entry.known) = (Plan::Present, Proof::Verified, known))?;
            Ok(pair.ledger.keep(&[(at, digest)])?)
        }
        Ruling::Add => lose(pair, at, &record.id),
        Ruling::Leave(why) if entry.plan == Plan::Lost => Ok(pair.leaves(at, &record.id, Plan::Conflict, why)?),
        Ruling::Lost(why) if entry.plan == Plan::Conflict => Ok(pair.leaves(at, &record.id, Plan::Lost, why)?),
        Ruling::Amend(_) | Ruling::Leave(_) | Ruling::Lost(_) | Ruling::Refuse(_) => Ok(()),
    }
}

/// The record with the same document is gone from the target: the skipped one is to be copied after all.
fn lose_twin(pair: &mut Pair, at: usize, id: &str) -> Result<(), Halt> {
    pair.notes.forget(id);
    pair.ledger
        .change(at, |entry| (entry.plan, entry.proof, entry.known) = (Plan::New, Proof::Open, Known::Nothing))?;
    Ok(())
}

/// Whether the documents of these records are still in the target under the ids that made them duplicates, by mark.
async fn twins(
    context: &Context<'_>,
    target: &dyn Reader,
    pair: &Pair,
    collection: &Collection,
    records: &Answers,
) -> Result<HashMap<u128, bool>, Halt> {
    let mut twins = HashMap::new();
    if context.options.duplicates != Duplicates::ByContent {
        return Ok(twins);
    }
    let mut ids = HashMap::new();
    for fetched in records.values() {
        let Fetched::Record { record: Record { document: Some(text), .. }, .. } = fetched else { continue };
        let mark = fingerprint::document_mark(text);
        if let Some(id) = pair.documents.value(&mark.to_be_bytes())? {
            ids.insert(String::from_utf8_lossy(&id).into_owned(), mark);
        }
    }
    let mut wanted: Vec<String> = ids.keys().cloned().collect();
    wanted.sort_unstable();
    while !wanted.is_empty() {
        let read = window::part_of_target(context, target, Some(collection), &wanted, window::WHOLE);
        let (found, count) = read.await?;
        for id in wanted.drain(..count) {
            let now = match found.get(&id) {
                Some(Fetched::Record { record, .. }) => record.document.as_deref().map(fingerprint::document_mark),
                _ => None,
            };
            twins.extend(ids.get(&id).map(|mark| (*mark, now == Some(*mark))));
        }
    }
    Ok(twins)
}

/// The target has the record no longer: it is to be added, whoever had written it.
pub(super) fn lose(pair: &mut Pair, at: usize, id: &str) -> Result<(), Halt> {
    pair.notes.forget(id);
    pair.ledger.change(at, |entry| {
        if pair.overwrite || !matches!(entry.plan, Plan::Conflict | Plan::Lost) {
            entry.proof = Proof::Missing;
        } else {
            (entry.plan, entry.proof, entry.known) = (Plan::New, Proof::Open, Known::Nothing);
        }
    })?;
    Ok(())
}
