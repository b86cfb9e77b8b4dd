//! Hands the records of a new local target to what fills its files, in the order of their ids and window by window, and has
//! its server build the index. Proves nothing: all of it is compared afterwards, like what a server took.

use super::halt::Halt;
use super::judge::Known;
use super::ledger::Entry;
use super::seal::Seal;
use super::window::{self, Ahead};
use super::{Context, Pair, Run, sendable};
use crate::chroma::Capabilities;
use crate::report::Stage;
use crate::store::{Filler, Target};

/// Fills the target, where that can be done. What was written counts as sent by this run.
pub(super) async fn records(
    context: &Context<'_>,
    target: &dyn Target,
    capabilities: &Capabilities,
    run: &mut Run,
) -> Result<(), Halt> {
    let Some(filler) = target.filler() else { return Ok(()) };
    let new: Vec<_> = run.pairs.iter().filter_map(|pair| pair.new.as_ref()).collect();
    if new.is_empty() || new.len() != run.pairs.len() {
        return Ok(());
    }
    let made = context.until_stopped(filler.create(&new)).await?.map_err(Halt::Target)?;
    for (pair, collection) in run.pairs.iter_mut().zip(made) {
        pair.target = Some(collection);
        pair.filled = Some(0);
    }
    for pair in &mut run.pairs {
        let tracker = &mut run.tracker;
        one(context, filler, capabilities, pair, |done| tracker.advance(done)).await?;
    }
    context.go_on()?;
    filler.finish().await.map_err(Halt::Target)
}

async fn one(
    context: &Context<'_>,
    filler: &dyn Filler,
    capabilities: &Capabilities,
    pair: &mut Pair,
    mut done: impl FnMut(u64),
) -> Result<(), Halt> {
    let Some(collection) = pair.target.clone() else { return Ok(()) };
    let (source, distance) = (pair.source.clone(), pair.source.distance);
    let mut ahead = Ahead::new();
    loop {
        let read = |_, ids: Vec<String>, budget| {
            let source = &source;
            async move {
                let (answers, count) = window::part_of_source(context, source, &ids, budget).await?;
                Ok((count, answers))
            }
        };
        let Some(answers) = ahead.next(&pair.ledger, |entry: Entry| entry.is_unsent(), read).await? else {
            return Ok(());
        };
        context.go_on()?;
        ahead.observe(answers.len(), window::bytes(&answers));
        let asked = answers.len() as u64;
        let records = sendable::of(pair, capabilities, answers)?;
        for record in &records {
            if let Some(at) = pair.ledger.position(&record.id)? {
                let seal = Seal::of(record, distance);
                pair.ledger.change(at, |entry| entry.known = Known::Sent(seal))?;
            }
            pair.filled = Some(record.embedding.len());
        }
        pair.sent += records.len() as u64;
        if !records.is_empty() {
            pair.last_batch = records.iter().map(|record| record.id.clone()).collect();
            filler.put(&collection, records).await.map_err(Halt::Target)?;
        }
        done(asked);
    }
}

/// Has the target's server build the index of each collection that was filled.
pub(super) async fn index(context: &Context<'_>, target: &dyn Target, run: &mut Run) -> Result<(), Halt> {
    let filled = |pair: &Pair| pair.filled.filter(|dimension| *dimension > 0);
    let total: u64 = run.pairs.iter().filter(|pair| filled(pair).is_some()).map(|pair| pair.sent).sum();
    if total == 0 {
        return Ok(());
    }
    run.tracker.begin(Stage::Indexing, total);
    for pair in &run.pairs {
        if let (Some(dimension), Some(collection)) = (filled(pair), &pair.target) {
            context.until_stopped(target.index(collection, dimension)).await?.map_err(Halt::Target)?;
            run.tracker.advance(pair.sent);
        }
    }
    Ok(())
}

/// What is wrong in a filled collection can be nobody's work but the fill's, for no client knows the target yet: it fails the
/// run, also where another client's work would only be told. Called when all was compared.
pub(super) fn blame(pairs: &mut [Pair]) {
    for pair in pairs.iter_mut().filter(|pair| pair.filled.is_some()) {
        // those that were deleted from the source meanwhile are told apart
        let surplus = pair.surplus.extra.saturating_sub(pair.ledger.gone());
        let conflicts = pair.counts().conflicts_skipped;
        let wrong = [
            (surplus, "records are in the files that were filled, and not in the source"),
            (conflicts, "records are in the files that were filled otherwise than this run has written them"),
        ];
        let wrong = wrong.into_iter().filter(|(count, _)| *count > 0);
        pair.problems.extend(
            wrong.map(|(count, what)| format!("{count} {what}; remove the target's folder and use --fill engine")),
        );
    }
}
