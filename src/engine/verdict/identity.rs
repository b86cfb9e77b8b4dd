//! What stands between a proved run and the word "identical". Pure.

use crate::engine::{Pair, Run, search};
use crate::report::{Counts, Reason, SourceQuiet, Verification};

/// How many things of a kind a message names.
pub(super) const NAMED: usize = 5;

/// What the verdict says of both sides as a whole.
pub(super) fn of(run: &Run, reason: Reason, counts: &Counts, source_quiet: SourceQuiet) -> Verification {
    let skipped = counts.conflicts_skipped + counts.duplicates;
    let identical = reason == Reason::Verified
        && obstacles(run, counts).is_empty()
        // the same once more by the numbers alone
        && skipped == 0
        && counts.verified == counts.source
        && counts.target_after == counts.source;
    Verification { identical, source_quiet, recall: search::recall(run) }
}

/// Everything by which both sides are not the same, beside what was skipped, each in one short sentence.
pub(super) fn obstacles(run: &Run, counts: &Counts) -> Vec<String> {
    let mut found: Vec<String> = extra(run).into_iter().chain(others(run)).collect();
    let silent: u64 = run.pairs.iter().map(|pair| pair.surplus.silent).sum();
    if silent > 0 {
        found.push(format!("the target lists {silent} ids that it does not answer for"));
    }
    if counts.gone_from_source > 0 {
        found.push(format!(
            "{} records left the source during the run, and the target may hold them",
            counts.gone_from_source
        ));
    }
    if counts.came_later > 0 {
        found.push(format!("{} records came to the source after the last pass", counts.came_later));
    }
    if !run.came_later.is_empty() {
        found.push(format!("{} came to the source after the selection was made", named(&run.came_later)));
    }
    if run.pairs.iter().any(|pair| pair.partial) {
        found.push("values that no copy can hold were left out".to_owned());
    }
    let unlike: Vec<&str> = run.pairs.iter().flat_map(|pair| pair.unlike.iter().map(String::as_str)).collect();
    if !unlike.is_empty() {
        found.push(format!("the target has settings of its own: {}", named(&unlike)));
    }
    found
}

/// What the target holds of the collections that were compared, beside the source's records.
pub(super) fn extra(run: &Run) -> Option<String> {
    let with: Vec<_> = run.pairs.iter().filter(|pair| pair.surplus.extra > 0).collect();
    let total: u64 = with.iter().map(|pair| pair.surplus.extra).sum();
    let one = |pair: &&Pair| {
        let first = pair.surplus.first.first().map(String::as_str).unwrap_or_default();
        format!("{} in {} (the first is {first:?})", pair.surplus.extra, pair.target_words())
    };
    let places: Vec<String> = with.iter().take(NAMED).map(one).collect();
    let more = if with.len() > NAMED { format!(", and in {} more", with.len() - NAMED) } else { String::new() };
    (total > 0)
        .then(|| format!("the target holds {total} records that the source does not: {}{more}", places.join(", ")))
}

/// The target's other collections, where whole databases were asked for.
pub(super) fn others(run: &Run) -> Option<String> {
    (!run.others.is_empty())
        .then(|| format!("the target holds collections that the source does not: {}", named(&run.others)))
}

/// The first of some texts, and how many more there are.
pub(super) fn named<S: AsRef<str>>(texts: &[S]) -> String {
    let left_out = texts.len().saturating_sub(NAMED);
    let more = if left_out > 0 { format!(" and {left_out} more") } else { String::new() };
    let first: Vec<&str> = texts.iter().take(NAMED).map(AsRef::as_ref).collect();
    first.join(", ") + &more
}
