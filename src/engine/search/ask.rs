//! Draws what is asked before verification streams the records, and asks the target afterwards, collection by collection.
//! Reads only. An error of a search is told beside the verdict and never ends a run; only a termination signal does.

use std::time::Duration;

use super::SearchMode;
use super::answers;
use super::asked::{Asked, Patience};
use super::chance::Chance;
use super::draw::{Drawing, Share, Size, shares};
use super::filters::Filters;
use super::nearest::Nearest;
use super::silence::{MUTE, Silence};
use super::state::State;
use super::sum;
use crate::engine::halt::Halt;
use crate::engine::pair::Pair;
use crate::engine::{Context, Run, window};
use crate::model::{Fetched, Record};
use crate::report;
use crate::store::Reader;

/// How long all queries may take at least, however short verification was.
const LEAST: Duration = Duration::from_secs(10);
/// The part of verification's time that all queries may take.
const PART: u32 = 3;
/// Why a collection that was not drawn has no answer.
const OTHERS: &str = "other collections were drawn";
/// Why a collection has no answer that there was no time for.
const OVER: &str = "the time for queries was over";
/// Why a target that is read from files has no answer.
const FILES: &str = "not asked: files answer no query; name the target's server to check its search";

/// Draws the queries of all collections, and reads their records from the source.
pub(crate) async fn prepare(context: &Context<'_>, target: &dyn Reader, run: &mut Run) -> Result<(), Halt> {
    let search = context.options.search;
    if search.mode == SearchMode::Off {
        return Ok(());
    }
    let sizes: Vec<Size> = run.pairs.iter().map(size).collect();
    let asked = run.pairs.iter_mut().zip(shares(&sizes, search.queries)).filter(|(pair, _)| pair.to_verify() > 0);
    for (pair, share) in asked {
        if target.searches().is_none() {
            pair.search.silent(FILES.to_owned());
        } else if share == Share::default() {
            pair.search.silent(format!("not asked: {OTHERS}"));
            pair.search.unasked = Some(OTHERS);
        } else {
            match draw(context, pair, share).await {
                Ok(state) => pair.search = state,
                Err(Halt::Interrupted) => return Err(Halt::Interrupted),
                Err(halt) => pair.search.silent(format!("not asked: no query could be read ({halt})")),
            }
        }
    }
    Ok(())
}

fn size(pair: &Pair) -> Size {
    let dimension = pair.source.dimension.and_then(|dimension| usize::try_from(dimension).ok()).unwrap_or(1);
    Size { name: pair.source_words(), records: pair.to_verify(), dimension }
}

async fn draw(context: &Context<'_>, pair: &Pair, share: Share) -> Result<State, Halt> {
    let mut drawing = Drawing::new(share.queries.max(1));
    for at in pair.ledger.places(|entry| pair.is_wanted(entry)) {
        let at = at?;
        drawing.offer(at, &pair.ledger.id(at)?);
    }
    let ids = pair.ledger.ids_at(&drawing.places())?;
    let (answers, _) = window::part_of_source(context, &pair.source, &ids, window::WHOLE).await?;
    let mut records: Vec<Record> = answers.into_values().filter_map(record).collect();
    records.sort_by(|a, b| a.id.cmp(&b.id));
    let filters = Filters::of(&records, share);
    records.truncate(share.queries);
    let vectors = records.into_iter().map(|record| (record.id, record.embedding));
    Ok(State { nearest: Some(Nearest::new(pair.source.distance, vectors)), filters, ..State::default() })
}

fn record(fetched: Fetched) -> Option<Record> {
    match fetched {
        Fetched::Record { record, .. } => Some(record),
        Fetched::Unreadable { .. } => None,
    }
}

/// How long all queries may take, by how long verification took.
pub(super) fn allowed(took: Duration) -> Duration {
    (took / PART).max(LEAST)
}

/// Asks the target, and a source that is a server, in at most a third of the time that verification took.
pub(crate) async fn check(
    context: &Context<'_>,
    target: &dyn Reader,
    run: &mut Run,
    took: Duration,
) -> Result<(), Halt> {
    let sides = [Patience::new(allowed(took)), Patience::new(allowed(took))];
    let mut order: Vec<usize> = (0..run.pairs.len()).filter(|at| run.pairs[*at].search.nearest.is_some()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(run.pairs[*at].to_verify()));
    for at in order {
        let pair = &mut run.pairs[at];
        match of_pair(context, target, pair, &sides).await {
            Ok(Answered { told, chance, failed, unjudged }) => {
                (pair.search.told, pair.search.chance) = (Some(told), chance);
                (pair.search.failed, pair.search.unjudged) = (failed, unjudged);
            }
            Err(Silence::Stopped) => return Err(Halt::Interrupted),
            Err(silence) => {
                let words = silence.words();
                match silence {
                    _ if silence.is_failure() => pair.search.failed = Some(words.clone()),
                    Silence::Late | Silence::Slow(_) => pair.search.unasked = Some(OVER),
                    Silence::Mute => pair.search.unasked = Some(MUTE),
                    _ => {}
                }
                pair.search.silent(words);
            }
        }
    }
    Ok(())
}

/// What came of a collection's queries and filters.
struct Answered {
    told: report::Search,
    chance: Chance,
    /// What was due and is not there.
    failed: Option<String>,
    /// Why no query was judged.
    unjudged: Option<String>,
}

async fn of_pair(
    context: &Context<'_>,
    target: &dyn Reader,
    pair: &Pair,
    [patience, with_source]: &[Patience; 2],
) -> Result<Answered, Silence> {
    let asked = Asked::target(context, target, pair, patience)?;
    let found = answers::twice(&asked, pair, context.options.search.min_recall).await?;
    let source = match Asked::source(context, pair, with_source) {
        Ok(source) => answers::all(&source, pair).await,
        Err(silence) => Err(silence),
    };
    if let Err(Silence::Stopped) = source {
        return Err(Silence::Stopped);
    }
    let unjudged = found.unjudged();
    let chance = found.chance(source.as_ref().ok());
    let mut told = found.report(source.as_ref().ok());
    told.notes.extend(sum::poor(&told, context.options.search.min_recall, chance));
    let failure = answers::filters(&asked, pair, &mut told).await?;
    told.notes.extend(failure.clone());
    let why = unjudged.as_ref().map(|unjudged| unjudged.words.clone());
    told.notes.extend(why.clone());
    let owed = unjudged.filter(|unjudged| unjudged.is_owed).map(|unjudged| unjudged.words);
    Ok(Answered { told, chance, failed: failure.or(owed), unjudged: why })
}
