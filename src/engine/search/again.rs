//! The second ask of a local target, after its server was restarted: an index that lived only in memory shows. Reads only.

use std::time::Duration;

use super::answers;
use super::ask::allowed;
use super::asked::{Asked, Patience};
use super::silence::Silence;
use super::state::State;
use crate::engine::halt::Halt;
use crate::engine::{Context, Run};
use crate::report;
use crate::store::Target;

/// Restarts the server of a local target and asks all queries again.
pub(crate) async fn check_again(
    context: &Context<'_>,
    target: &dyn Target,
    run: &mut Run,
    took: Duration,
) -> Result<(), Halt> {
    let is_asked = |search: &State| search.told.as_ref().is_some_and(|told| told.queries > 0);
    if !run.pairs.iter().any(|pair| is_asked(&pair.search)) {
        return Ok(());
    }
    let restarted = context.until_stopped(target.restarted()).await?;
    let asked = run.pairs.iter_mut().filter(|pair| is_asked(&pair.search));
    let reader = match restarted {
        Ok(Some(reader)) => reader,
        Ok(None) => {
            if target.files().is_some() {
                let why = "its server was not restarted: index and log were read from the files instead";
                asked.for_each(|pair| pair.search.note(why.to_owned()));
            }
            return Ok(());
        }
        Err(error) => {
            asked.for_each(|pair| pair.search.fail(format!("not asked after a restart of its server: {error}")));
            return Ok(());
        }
    };
    let patience = Patience::new(allowed(took));
    let least = context.options.search.min_recall;
    for pair in asked {
        let found = match Asked::target(context, reader, pair, &patience) {
            Ok(asked) => answers::twice(&asked, pair, least).await,
            Err(silence) => Err(silence),
        };
        match found {
            Ok(found) => {
                let unjudged = found.unjudged().filter(|unjudged| unjudged.is_owed);
                if let Some(before) = &mut pair.search.told {
                    merge(before, found.report(None));
                }
                if let Some(unjudged) = unjudged {
                    pair.search.fail(format!("after a restart of its server {}", unjudged.words));
                }
            }
            Err(Silence::Stopped) => return Err(Halt::Interrupted),
            Err(silence) if silence.is_failure() => {
                pair.search.fail(format!("after a restart of its server {}", silence.words()));
            }
            Err(silence) => pair.search.note(format!("after a restart of its server {}", silence.words())),
        }
    }
    Ok(())
}

/// Keeps the worse of the answers before and after a restart.
fn merge(before: &mut report::Search, after: report::Search) {
    let wrong = |told: &report::Search| told.wrong_distances + told.unknown_ids + told.wrong_answers;
    let is_worse =
        wrong(&after) > wrong(before) || after.recall_mean < before.recall_mean || after.self_found < before.self_found;
    if !is_worse {
        return;
    }
    let mean = before.recall_mean.unwrap_or_default();
    let mut notes = std::mem::take(&mut before.notes);
    notes.extend(after.notes);
    notes.push(format!("these are the answers after a restart of its server; before it the mean recall was {mean:.2}"));
    *before = report::Search {
        source_recall_mean: before.source_recall_mean,
        source_self_found: before.source_self_found,
        filters: before.filters,
        // those of filters, too, which are not asked again
        unknown_ids: before.unknown_ids.max(after.unknown_ids),
        notes,
        ..after
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(mean: Option<f64>, wrong_distances: u64) -> report::Search {
        report::Search { queries: 5, recall_mean: mean, wrong_distances, ..report::Search::default() }
    }

    #[test]
    fn the_worse_of_both_asks_counts() {
        let merged = |before: report::Search, after: report::Search| {
            let mut kept = before;
            merge(&mut kept, after);
            (kept.recall_mean, kept.wrong_distances, kept.notes.len())
        };
        assert_eq!(merged(told(Some(0.9), 0), told(Some(0.95), 0)), (Some(0.9), 0, 0));
        assert_eq!(merged(told(Some(0.9), 0), told(Some(0.2), 0)), (Some(0.2), 0, 1));
        assert_eq!(merged(told(Some(0.9), 0), told(Some(0.9), 3)), (Some(0.9), 3, 1));
        assert_eq!(merged(told(Some(0.9), 0), told(None, 0)), (None, 0, 1), "nothing could be judged any more");
    }
}
