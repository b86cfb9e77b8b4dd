//! Hands the records of a new local target to what fills its files, in the order of their ids and window by window, and has
//! its server build the index. Proves nothing: all of it is compared afterwards, like what a server took.

use std::path::Path;

use super::halt::Halt;
use super::handover::{Filled, Handed, Handover, Word};
use super::judge::Known;
use super::ledger::Entry;
use super::seal::Seal;
use super::window::{self, Ahead};
use super::{Context, Fill, Pair, Run, sendable};
use crate::chroma::Capabilities;
use crate::model::Collection;
use crate::report::Stage;
use crate::scratch::IdList;
use crate::store::{Filler, Laid, Target, Writer};

/// The check that says who writes the records.
const CHECK: &str = "fill";
/// Ids of the last ones that were filled, as many as a window has.
const LAST: usize = 600;

/// Fills the target, where that can be done; whether it was. What was written counts as sent by this run.
pub(super) async fn records(
    context: &Context<'_>,
    target: &dyn Target,
    capabilities: &Capabilities,
    run: &mut Run,
) -> Result<bool, Halt> {
    let Some(filler) = target.filler() else { return Ok(false) };
    let new: Vec<_> = run.pairs.iter().filter_map(|pair| pair.new.as_ref()).collect();
    if new.is_empty() || new.len() != run.pairs.len() {
        return Ok(false);
    }
    let made = match context.until_stopped(filler.create(&new)).await?.map_err(Halt::Target)? {
        Laid::Out(made) => made,
        Laid::Not(finding) => {
            run.findings.retain(|known| known.check != finding.check);
            run.findings.push(finding);
            return Ok(false);
        }
    };
    for (pair, collection) in run.pairs.iter_mut().zip(made) {
        pair.target = Some(collection);
        pair.filled = Some(0);
    }
    for pair in &mut run.pairs {
        let tracker = &mut run.tracker;
        one(context, filler, capabilities, pair, |done| tracker.advance(done)).await?;
    }
    context.go_on()?;
    run.tracker.begin(Stage::Indexing, run.pairs.iter().map(|pair| pair.sent).sum());
    context.until_stopped(filler.index()).await?.map_err(Halt::Target)?;
    filler.finish().await.map_err(Halt::Target)?;
    Ok(true)
}

/// Fills the target, and leaves word for the run's next process, which compares all of it; whether it was filled.
pub(super) async fn leave(
    context: &Context<'_>,
    target: &dyn Target,
    capabilities: &Capabilities,
    run: &mut Run,
    folder: &Path,
) -> Result<bool, Halt> {
    run.written = target.filler().is_some();
    run.tracker.begin(Stage::Copying, run.pairs.iter().map(Pair::to_send).sum());
    if !records(context, target, capabilities, run).await? {
        run.written = false;
        let why = told(run).unwrap_or("its files are not filled: there is nothing to fill").to_owned();
        Word::Not(why).leave(folder)?;
        return Ok(false);
    }
    let mut filled = Filled::begin(folder)?;
    for pair in &run.pairs {
        let handed = Handed {
            database: pair.source.database.clone(),
            name: pair.source.name.clone(),
            source: pair.source.id.clone(),
            target: pair.target.as_ref().map(|target| target.id.clone()).unwrap_or_default(),
            dimension: pair.filled.unwrap_or_default(),
            records: 0,
        };
        filled.add(handed, &pair.ledger)?;
    }
    Word::Filled(filled).leave(folder)?;
    Ok(true)
}

/// What was found about who writes the records.
pub(super) fn told(run: &Run) -> Option<&str> {
    run.findings.iter().find(|finding| finding.check == CHECK).map(|finding| finding.message.as_str())
}

/// That a fill by files was asked for and is none, in a sentence that follows another one.
pub(super) fn instead(context: &Context<'_>, run: &Run) -> Option<String> {
    let is_asked = context.options.fill == Fill::Files;
    let is_filled = run.pairs.iter().any(|pair| pair.filled.is_some());
    let told = told(run).filter(|_| is_asked && !is_filled)?;
    let why = told.split_once(": ").map_or(told, |(_, why)| why);
    Some(format!(". Its files were not filled: {why}"))
}

/// Goes on with what the run's process before has filled: it counts as sent by this run.
pub(super) async fn take(context: &Context<'_>, writer: &dyn Writer, run: &mut Run) -> Result<(), Halt> {
    let Some(Handover::Take(filled)) = &context.options.handover else { return Ok(()) };
    let there = context.until_stopped(writer.collections()).await?.map_err(Halt::Target)?;
    for (at, handed) in filled.collections.iter().enumerate() {
        let is_source = |c: &Collection| c.name == handed.name && c.database == handed.database;
        let pair = run.pairs.iter_mut().find(|pair| is_source(&pair.source));
        let name = format!("collection {:?}", handed.name);
        let Some(pair) = pair.filter(|pair| pair.source.id == handed.source) else {
            if run.left_out(&handed.database, &handed.name) {
                continue;
            }
            return Err(Halt::SourceReplaced(format!(
                "{name} of {} was replaced, renamed or deleted since this run has filled the target with it: what was copied is \
                 of the old one (UUID {}). Check the source, then run it again",
                context.source.name(),
                handed.source
            )));
        };
        let Some(collection) = there.iter().find(|c| c.id == handed.target).filter(|c| pair.is_target(c)) else {
            return Err(Halt::NotYet(format!(
                "the target has no longer the {name} that this run has filled (UUID {}): run it again",
                handed.target
            )));
        };
        pair.target = Some(collection.clone());
        one_taken(filled, at, pair)?;
        run.tracker.advance(handed.records);
    }
    Ok(())
}

/// Notes what was written of one collection. An id that the source lists no longer is known, too: whether it is gone, the last
/// look says.
fn one_taken(filled: &Filled, at: usize, pair: &mut Pair) -> Result<(), Halt> {
    let mut ids = IdList::new();
    let mut is_longer = false;
    for one in filled.sent(at)? {
        let (id, _) = one?;
        is_longer |= pair.ledger.position(&id)?.is_none();
        ids.push(&id);
    }
    if is_longer {
        for id in pair.ledger.ids() {
            ids.push(&id?);
        }
        pair.ledger.relist(&ids.sort()?)?;
    }
    let Handed { dimension, records, .. } = filled.collections.get(at).cloned().unwrap_or_default();
    for (number, one) in (0..).zip(filled.sent(at)?) {
        let (id, seal) = one?;
        pair.ledger.sent(&id, seal)?;
        if records - number <= LAST as u64 {
            pair.last_batch.push(id);
        }
    }
    pair.filled = Some(dimension);
    pair.sent += records;
    Ok(())
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
        if let Some(id) = &pair.misfilled {
            pair.problems.push(format!(
                "record {id:?} could not be read from the files that were filled, and was written again; remove the target's \
                 folder and use --fill engine (fill: Engine)"
            ));
        }
        pair.problems.extend(wrong.map(|(count, what)| {
            format!("{count} {what}; remove the target's folder and use --fill engine (fill: Engine)")
        }));
    }
}
