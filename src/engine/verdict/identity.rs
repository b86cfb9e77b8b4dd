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

#[cfg(test)]
mod tests {
    use super::super::tests::{bare, pair};
    use super::*;
    use crate::engine::pair::Surplus;

    fn one(change: impl FnOnce(&mut Run, &mut Pair)) -> Run {
        let (mut run, mut pair) = (bare(), pair(&[]));
        change(&mut run, &mut pair);
        run.pairs.push(pair);
        run
    }

    #[test]
    fn identical_needs_every_number() {
        let equal = Counts { source: 4, verified: 4, target_after: 4, ..Counts::default() };
        let said = |run: &Run, reason, counts: &Counts| of(run, reason, counts, SourceQuiet::Yes).identical;
        assert!(said(&one(|_, _| ()), Reason::Verified, &equal));
        assert!(!said(&one(|_, _| ()), Reason::CountsVerified, &equal));
        assert!(!said(&one(|run, _| run.others.push("one".into())), Reason::Verified, &equal));
        let edits: [fn(&mut Counts); 7] = [
            |c| c.conflicts_skipped = 1,
            |c| c.duplicates = 1,
            |c| (c.conflicts_skipped, c.duplicates) = (1, 1),
            |c| c.verified = 3,
            |c| c.target_after = 3,
            |c| c.target_after = 5,
            |c| c.gone_from_source = 1,
        ];
        for edit in edits {
            let mut counts = equal;
            edit(&mut counts);
            assert!(!said(&one(|_, _| ()), Reason::Verified, &counts), "{counts:?}");
        }
    }

    #[test]
    fn each_obstacle_is_told_by_itself() {
        type Case = (fn(&mut Run, &mut Pair), &'static str);
        let obstacle = |run: &Run, counts: &Counts| obstacles(run, counts).join("; ");
        let none = Counts::default();
        assert_eq!(obstacle(&one(|_, _| ()), &none), "");
        let in_run: [Case; 6] = [
            (|_, pair| pair.surplus.silent = 2, "the target lists 2 ids that it does not answer for"),
            (|_, pair| pair.partial = true, "values that no copy can hold were left out"),
            (|_, pair| pair.unlike.push("x".into()), "the target has settings of its own: x"),
            (|run, _| run.came_later.push("\"y\"".into()), "\"y\" came to the source after the selection was made"),
            (|run, _| run.others.push("z".into()), "the target holds collections that the source does not: z"),
            (
                |_, pair| {
                    pair.surplus = Surplus { extra: 2, first: vec!["a".into(), "b".into()], ..Surplus::default() }
                },
                "the target holds 2 records that the source does not: 2 in \"memories\" (the first is \"a\")",
            ),
        ];
        for (change, words) in in_run {
            assert_eq!(obstacle(&one(change), &none), words);
        }
        let gone = "2 records left the source during the run, and the target may hold them";
        assert_eq!(obstacle(&one(|_, _| ()), &Counts { gone_from_source: 2, ..none }), gone);
        let came = "2 records came to the source after the last pass";
        assert_eq!(obstacle(&one(|_, _| ()), &Counts { came_later: 2, ..none }), came);
    }

    #[test]
    fn as_many_are_named_as_a_message_can_hold() {
        let texts: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        let said = [1, 5, 6, 7].map(|count| named(&texts[..count]));
        assert_eq!(said, ["0", "0, 1, 2, 3, 4", "0, 1, 2, 3, 4 and 1 more", "0, 1, 2, 3, 4 and 2 more"]);
        let with_extra = |collections: usize| {
            let mut run = one(|_, _| ());
            for _ in 0..collections {
                let mut pair = pair(&[]);
                pair.surplus.extra = 1;
                run.pairs.push(pair);
            }
            extra(&run).unwrap()
        };
        let place = "1 in \"memories\" (the first is \"\")";
        let beginning =
            |count| format!("the target holds {count} records that the source does not: {}", [place; 5].join(", "));
        assert_eq!(with_extra(5), beginning(5));
        assert_eq!(with_extra(7), beginning(7) + ", and in 2 more");
    }
}
