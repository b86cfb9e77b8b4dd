//! Every check before the first write, and the plan: what is new, present, in conflict. Writes nothing.

use super::fingerprint::document_mark;
use super::halt::Halt;
use super::ledger::{Ledger, Plan};
use super::progress::Tracker;
use super::select::{self, Resolved, Selected};
use super::window;
use super::{Context, Duplicates, Extras, OnConflict, Options, Pair, Run, damage, extra, quiet};
use crate::chroma::{Capabilities, NewCollection, creation};
use crate::model::{Collection, Error, Fetched, Record};
use crate::report::Stage;
use crate::scratch::{Builder, Join, Side, SortedIds, Sorter};
use crate::store::{Finding, Load, Reader, Target};

mod broken;
mod findings;
mod mapping;
mod same;
mod scan;
mod source;

pub(super) use broken::Broken;
use findings::{Against, Problems};
use mapping::Asked;
use same::Kinship;
use scan::Scan;
pub(super) use source::LEFT_OUT;

/// Makes every check and fills `run.pairs` with the plan.
pub(super) async fn check(context: &Context<'_>, target: &dyn Target, run: &mut Run) -> Result<Capabilities, Halt> {
    let asked = selected(context, run).await?;
    let capabilities = context.until_stopped(target.capabilities()).await?.map_err(Halt::Target)?;
    let there = match target.current() {
        Some(reader) => context.until_stopped(reader.collections()).await?.map_err(Halt::Target)?,
        None => Vec::new(),
    };
    let selected = source::readable(asked.clone(), &there, run)?;
    run.findings.push(findings::target_found(target, &capabilities));
    let may_be_one = match same::look(context, &selected, &there, target.current()).await? {
        Kinship::Two(finding) | Kinship::Refused(finding) => {
            run.findings.push(finding);
            false
        }
        Kinship::MayBeOne(finding) => {
            run.findings.push(finding);
            true
        }
    };
    if context.options.selection.has_databases() {
        let listed = match target.current() {
            Some(reader) => context.until_stopped(reader.databases()).await?.map_err(Halt::Target)?,
            None => None,
        };
        let known = there.iter().map(|c| c.database.clone()).chain(listed.unwrap_or_default()).collect();
        run.findings.push(findings::databases(&selected, &known, &capabilities));
    }
    let mapped = Asked { all: &asked, selection: &context.options.selection };
    run.findings.extend(findings::collections(&selected, &mapped, &there, &capabilities));
    run.findings.extend(findings::search(context.options));
    findings::refuse(&run.findings)?;

    let sources: Vec<Collection> = selected.iter().map(|one| one.source.clone()).collect();
    for selected in selected {
        let existing = there.iter().find(|c| selected.is_target(c)).cloned();
        let Some(mut pair) = listed(context, run, selected, &sources).await? else { continue };
        if existing.is_none() {
            let new = creation::plan(&pair.source, &pair.target_name, &capabilities);
            pair.new = Some(NewCollection { database: pair.target_database.clone(), ..new });
        }
        pair.target = existing;
        pair.may_be_one = may_be_one;
        run.pairs.push(pair);
    }
    run.others = extra::collections(context, &there, &run.resolved);
    source::look(context, &mapped, run).await?;
    findings::refuse(&run.findings)?;
    let records = scan_all(context, target, &capabilities, run).await?;
    run.findings.push(records.problems.finding());
    run.findings.extend(records.large.too_large());
    findings::warn_of_extras(context, run);
    run.findings.push(target_state(context, target.current(), &mapped, &mut run.pairs).await?);
    run.findings.extend(context.until_stopped(target.checks(records.load)).await?.map_err(Halt::Target)?);
    findings::refuse(&run.findings)?;
    refuse_conflicts(context, run)?;
    Ok(capabilities)
}

/// The pairs of a comparison that writes nothing: every source record is to be found in the target.
pub(super) async fn pairs_to_compare(context: &Context<'_>, target: &dyn Reader, run: &mut Run) -> Result<(), Halt> {
    let asked = selected(context, run).await?;
    let there = context.until_stopped(target.collections()).await?.map_err(Halt::Target)?;
    let selected = source::readable(asked.clone(), &there, run)?;
    let sources: Vec<Collection> = selected.iter().map(|one| one.source.clone()).collect();
    for selected in selected {
        let found = there.iter().find(|c| selected.is_target(c)).cloned();
        let what = || format!("collection {}", selected.target_words());
        let found = found.ok_or_else(|| Halt::Target(missing(target, what(), &there)))?;
        let Some(mut pair) = listed(context, run, selected, &sources).await? else { continue };
        pair.target_before = context.until_stopped(target.count(&found)).await?.map_err(Halt::Target)?;
        pair.target = Some(found);
        run.pairs.push(pair);
    }
    let mapped = Asked { all: &asked, selection: &context.options.selection };
    source::look(context, &mapped, run).await?;
    findings::refuse(&run.findings)
}

/// A pair with the source's ids; None where damage hides them all, or a server refuses this collection, or fails on it for as
/// long as it is tried, and answers for another one: that collection is named, and the others are moved.
async fn listed(
    context: &Context<'_>,
    run: &mut Run,
    selected: Selected,
    sources: &[Collection],
) -> Result<Option<Pair>, Halt> {
    // before the listing: what changes after it has changed
    let generation = context.until_stopped(quiet::generation(context, &selected.source)).await?;
    match context.until_stopped(context.source.ids(&selected.source)).await? {
        Ok(ids) => Ok(Some(Pair { generation, ..Pair::new(selected, Ledger::new(ids), context.options) })),
        Err(error @ Error::Damaged { .. }) => {
            source::leave_out(run, &selected.source_words(), &error.to_string());
            Ok(None)
        }
        Err(error) if broken::may_be_of_a_collection(&error) => {
            let read_before = run.pairs.last().map(|pair| &pair.source);
            let other = read_before.or_else(|| sources.iter().find(|one| one.id != selected.source.id));
            let answers = match (other, &error) {
                (Some(other), Error::Failing { .. }) => {
                    context.until_stopped(context.source.count(other)).await?.is_ok()
                }
                // what refuses this one may refuse every list
                (Some(other), _) => context.until_stopped(context.source.ids(other)).await?.is_ok(),
                (None, _) => false,
            };
            let is_gone = matches!(error, Error::NotFound { .. });
            if !answers || (is_gone && !broken::still_lists(context, &selected.source).await?) {
                return Err(Halt::Source(error));
            }
            source::leave_out(run, &selected.source_words(), &error.to_string());
            Ok(None)
        }
        Err(error) => Err(Halt::Source(error)),
    }
}

/// The collections asked for, each with its name in the target. This is what the run, and its verdict, is about.
async fn selected(context: &Context<'_>, run: &mut Run) -> Result<Vec<Selected>, Halt> {
    let all = context.until_stopped(context.source.collections()).await?.map_err(Halt::Source)?;
    let selection = &context.options.selection;
    let Resolved { selected, missing: absent, mut idle } = selection.resolve(&all);
    idle.extend(selection.idle_databases(&context.options.databases, &selected));
    if let Some(name) = absent.first() {
        return Err(Halt::Source(missing(context.source, format!("collection {name:?}"), &all)));
    }
    if selected.is_empty() && selection.source_names().is_some() {
        let what = format!("a collection that {} matches", selection.entry_words());
        return Err(Halt::Source(missing(context.source, what, &all)));
    }
    run.resolved = selected.iter().map(|s| (s.source.database.clone(), s.source.name.clone())).collect();
    run.findings.push(findings::source_found(context.source, &selected, &idle));
    Ok(selected)
}

fn missing(store: &dyn Reader, what: String, all: &[Collection]) -> Error {
    let first = all.first().map(|c| c.database.as_str());
    let database = |c: &Collection| all.iter().any(|c| Some(c.database.as_str()) != first).then(|| c.database.clone());
    let names: Vec<String> =
        all.iter().take(20).map(|c| select::plain_words(database(c).as_deref(), &c.name)).collect();
    let remedy = match (names.len(), all.len()) {
        (0, _) => "its tenant and database hold no collection: check both names".to_owned(),
        (shown, all) if shown < all => format!("it holds {}, and {} more", names.join(", "), all - shown),
        _ => format!("it holds {}", names.join(", ")),
    };
    Error::NotFound { store: store.name(), what, remedy }
}

/// What the target says of the collections that exist there, beside their records.
async fn target_state(
    context: &Context<'_>,
    target: Option<&dyn Reader>,
    asked: &Asked<'_>,
    pairs: &mut [Pair],
) -> Result<Finding, Halt> {
    let (mut against, mut notes) = (Against::none(asked), Vec::new());
    for pair in pairs.iter_mut() {
        let (Some(reader), Some(collection)) = (target, &pair.target) else { continue };
        let told = context.until_stopped(reader.remarks(collection)).await?.map_err(Halt::Target)?.of_target();
        let named = |what: String| format!("{}: {what}", pair.target_words());
        if let Some(why) = told.refusal.map(named) {
            against.add(&pair.source, why);
        }
        // a listing that is short now may be whole at the end, when it counts
        notes.extend(told.notes.into_iter().chain(told.short).map(named));
        pair.target_damage = told.damage;
    }
    Ok(findings::target_state(damage::of_target(pairs), &against, &notes))
}

/// What reading all records that may be sent has shown.
#[derive(Default)]
struct Records {
    load: Load,
    /// Of the collection that is read.
    bytes: u64,
    to_send: u64,
    problems: Problems,
    /// Records that do not fit into the memory that this process may use.
    large: Problems,
}

async fn scan_all(
    context: &Context<'_>,
    target: &dyn Target,
    capabilities: &Capabilities,
    run: &mut Run,
) -> Result<Records, Halt> {
    let mut records = Records::default();
    run.tracker.begin(Stage::Preflight, run.pairs.iter().map(|pair| pair.ledger.ids().len() as u64).sum());
    let mut broken = Broken::default();
    for at in 0..run.pairs.len() {
        let Run { pairs, tracker, .. } = &mut *run;
        let scanned = scan_one(context, target, capabilities, &mut pairs[at], &mut records, tracker).await;
        records.load.add(std::mem::take(&mut records.bytes), std::mem::take(&mut records.to_send));
        broken.take(context, run, at, scanned).await?;
    }
    broken.leave_out(run)?;
    Ok(records)
}

async fn scan_one(
    context: &Context<'_>,
    target: &dyn Target,
    capabilities: &Capabilities,
    pair: &mut Pair,
    records: &mut Records,
    tracker: &mut Tracker,
) -> Result<(), Halt> {
    let there = match (target.current(), pair.target.clone()) {
        (Some(reader), Some(collection)) => {
            let ids = context.until_stopped(reader.ids(&collection)).await?.map_err(Halt::Target)?;
            pair.target_before = ids.len() as u64;
            Some((reader, ids))
        }
        _ => None,
    };
    if let (true, Some((reader, ids)), Some(collection)) = (tells_extras(context.options), &there, &pair.target) {
        pair.surplus = extra::find(context, pair, pair.ledger.ids(), (*reader, collection, ids)).await?;
    }
    if let (Duplicates::ByContent, Some((reader, ids))) = (context.options.duplicates, &there) {
        remember_documents(context, *reader, ids, pair).await?;
    }
    let scan = Scan { context, there: there.as_ref().map(|(reader, ids)| (*reader, ids)), capabilities };
    scan.records(pair, records, |done| tracker.advance(done)).await
}

/// Whether records that only the target holds are told before the first write: a plan tells of them, and where they are not
/// allowed a run would find them after hours.
fn tells_extras(options: &Options) -> bool {
    options.dry_run || options.extras == Extras::Fail
}

/// Keeps the documents of target records whose id is none of the source's: records of one source are never duplicates
/// of each other, and those that an earlier attempt copied have the source's ids.
async fn remember_documents(
    context: &Context<'_>,
    target: &dyn Reader,
    ids: &SortedIds,
    pair: &mut Pair,
) -> Result<(), Halt> {
    let mut sizes = window::sized();
    let mut documents = Sorter::default();
    let mut join = Join::new(pair.ledger.ids(), ids)?;
    let mut foreign = Vec::new();
    loop {
        while foreign.len() < sizes.size()
            && let Some((id, side)) = join.next()?
        {
            foreign.extend((side == Side::Right).then_some(id));
        }
        if foreign.is_empty() {
            break;
        }
        let collection = pair.target.as_ref();
        let (answers, count) = window::part_of_target(context, target, collection, &foreign, window::WHOLE).await?;
        foreign.drain(..count);
        sizes.observe(answers.len(), window::bytes(&answers));
        for fetched in answers.into_values() {
            if let Fetched::Record { record: Record { id, document: Some(text), .. }, .. } = fetched
                && !text.is_empty()
            {
                documents.push(&document_mark(&text).to_be_bytes(), id.as_bytes())?;
            }
        }
    }
    pair.documents = Builder::default().of(documents.sort()?)?;
    Ok(())
}

/// Plans records that came to the source after its first listing; a conflict among them is one like any other. Those
/// that the target cannot hold are left to the copy, which does not send them.
pub(super) async fn plan_fresh(
    context: &Context<'_>,
    target: &dyn Reader,
    capabilities: &Capabilities,
    pair: &mut Pair,
) -> Result<(), Halt> {
    let Some(collection) = pair.target.clone() else { return Ok(()) };
    let ids = context.until_stopped(target.ids(&collection)).await?.map_err(Halt::Target)?;
    let scan = Scan { context, there: Some((target, &ids)), capabilities };
    scan.records(pair, &mut Records::default(), |_| ()).await?;
    let conflicts = pair.ledger.count(|plan| plan == Plan::Conflict);
    if context.options.on_conflict == OnConflict::Fail && conflicts > 0 {
        return Err(Halt::Conflict(format!(
            "{conflicts} ids that came to {} during the run are in the target's {} with other content and onConflict is \
             Fail; this run's output lists them; use Skip to leave them alone, or Overwrite to replace them",
            pair.source_words(),
            pair.target_words()
        )));
    }
    Ok(())
}

fn refuse_conflicts(context: &Context<'_>, run: &mut Run) -> Result<(), Halt> {
    let conflicts: u64 = run.pairs.iter().map(|pair| pair.ledger.count(|plan| plan == Plan::Conflict)).sum();
    let failed = context.options.on_conflict == OnConflict::Fail && conflicts > 0;
    run.findings.push(findings::conflicts(conflicts, failed));
    if failed {
        return Err(Halt::Conflict(format!(
            "{conflicts} ids are in the target with other content and onConflict is Fail; nothing was written by this try. \
             This run's output lists them; use Skip to leave them alone, or Overwrite to replace them"
        )));
    }
    Ok(())
}
