//! What proves a run: one rule for the runner's verdict and for a status that claims an end. Pure.

use crate::api::conditions::Reason;
use crate::controller::observe::world::Asked;
use crate::report::Counts;

/// Why these counts do not prove that a run of this kind succeeded for this reason, and was identical if it says so; None:
/// they do.
#[must_use]
pub(super) fn doubt(asked: Asked, reason: Reason, counts: &Counts, identical: bool) -> Option<String> {
    let expected: &[Reason] = match (asked.plan_only, asked.counts_only) {
        (true, _) => &[Reason::DryRunCompleted],
        (false, true) => &[Reason::CountsVerified],
        (false, false) => &[Reason::Verified, Reason::VerifiedWithSkips],
    };
    if !expected.contains(&reason) {
        return Some("the spec asks for another kind of verdict".into());
    }
    if identical && !is_identical(reason, counts) {
        return Some("it calls both sides identical, and its counts do not".into());
    }
    if asked.no_extras && !asked.plan_only && counts.extra > 0 {
        return Some(format!(
            "the target holds {} records that the source does not, and the spec allows none",
            counts.extra
        ));
    }
    if asked.plan_only || asked.counts_only { None } else { of_full(reason, counts, asked.at_least) }
}

/// Whether nothing in the counts stands in the way of that word.
fn is_identical(reason: Reason, counts: &Counts) -> bool {
    let others = [counts.extra, counts.gone_from_source, counts.came_later];
    reason == Reason::Verified && others == [0; 3] && counts.target_after == counts.source
}

fn of_full(reason: Reason, counts: &Counts, at_least: u64) -> Option<String> {
    if counts.source < at_least {
        return Some("nothing was compared, and the spec does not allow an empty source".into());
    }
    let bad = [counts.different, counts.missing, counts.unreadable, counts.changed];
    let bad = bad.into_iter().fold(0, u64::saturating_add);
    let skipped = counts.conflicts_skipped.saturating_add(counts.duplicates);
    let held = counts.verified.saturating_add(counts.conflicts_skipped);
    if bad > 0 {
        return Some(format!("{bad} records are different, missing, changed or unreadable"));
    }
    if counts.verified.checked_add(skipped) != Some(counts.source) {
        return Some("its counts do not add up to the source".into());
    }
    if reason == Reason::Verified && skipped > 0 {
        return Some("not every record of the source is verified".into());
    }
    if counts.target_after < held {
        return Some(format!(
            "the target held {} records at the end, fewer than the {held} that were found there",
            counts.target_after
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Asked = Asked { plan_only: false, counts_only: false, no_extras: false, at_least: 1 };

    fn doubt(asked: Asked, reason: Reason, counts: &Counts) -> Option<String> {
        super::doubt(asked, reason, counts, false)
    }

    fn counts(edit: impl FnOnce(&mut Counts)) -> Counts {
        let mut counts = Counts { source: 10, verified: 10, target_after: 12, ..Counts::default() };
        edit(&mut counts);
        counts
    }

    fn skips(edit: impl FnOnce(&mut Counts)) -> Counts {
        counts(|c| {
            (c.verified, c.conflicts_skipped, c.duplicates, c.target_after) = (7, 2, 1, 9);
            edit(c);
        })
    }

    #[test]
    fn counts_that_prove() {
        assert_eq!(doubt(FULL, Reason::Verified, &counts(|_| {})), None);
        assert_eq!(
            doubt(Asked { at_least: 0, ..FULL }, Reason::Verified, &Counts::default()),
            None,
            "an empty source that may be empty"
        );
        assert_eq!(doubt(FULL, Reason::VerifiedWithSkips, &skips(|_| {})), None);
        let plan = Asked { plan_only: true, counts_only: true, no_extras: true, at_least: 0 };
        assert_eq!(doubt(plan, Reason::DryRunCompleted, &Counts::default()), None);
        assert_eq!(doubt(Asked { counts_only: true, ..FULL }, Reason::CountsVerified, &Counts::default()), None);
    }

    #[test]
    fn a_target_that_may_hold_nothing_else_and_does() {
        let extra = counts(|c| c.extra = 2);
        let strict = Asked { no_extras: true, ..FULL };
        assert_eq!(doubt(FULL, Reason::Verified, &extra), None, "they are allowed by default");
        assert!(doubt(strict, Reason::Verified, &extra).unwrap().contains("holds 2 records"));
        let counted = Asked { counts_only: true, ..strict };
        assert!(doubt(counted, Reason::CountsVerified, &extra).unwrap().contains("allows none"));
        let planned = Asked { plan_only: true, ..strict };
        assert_eq!(doubt(planned, Reason::DryRunCompleted, &extra), None, "a plan tells of them");
    }

    #[test]
    fn identical_is_only_believed_of_two_equal_sets() {
        let equal = counts(|c| c.target_after = 10);
        assert_eq!(super::doubt(FULL, Reason::Verified, &equal, true), None);
        let edits: [fn(&mut Counts); 4] =
            [|c| c.extra = 1, |c| c.gone_from_source = 1, |c| c.came_later = 1, |c| c.target_after = 11];
        for edit in edits {
            let mut other = equal;
            edit(&mut other);
            assert_eq!(super::doubt(FULL, Reason::Verified, &other, false), None);
            assert!(super::doubt(FULL, Reason::Verified, &other, true).unwrap().contains("identical"), "{other:?}");
        }
        assert!(super::doubt(FULL, Reason::VerifiedWithSkips, &skips(|_| {}), true).is_some());
    }

    #[test]
    fn counts_that_contradict_their_verdict() {
        let wrong: [(Reason, Counts, &str); 10] = [
            (Reason::Verified, Counts::default(), "nothing was compared"),
            (Reason::Verified, counts(|c| c.verified = 9), "do not add up"),
            (Reason::Verified, counts(|c| c.source = u64::MAX), "do not add up"),
            (Reason::Verified, counts(|c| (c.source, c.missing) = (11, 1)), "1 records are"),
            (Reason::Verified, skips(|_| {}), "not every record"),
            (Reason::Verified, counts(|c| c.target_after = 9), "held 9 records at the end, fewer than the 10"),
            (Reason::VerifiedWithSkips, skips(|c| c.target_after = 8), "held 8 records"),
            (Reason::VerifiedWithSkips, skips(|c| c.duplicates = u64::MAX), "do not add up"),
            (Reason::CountsVerified, counts(|_| {}), "another kind"),
            (Reason::VerificationFailed, counts(|_| {}), "another kind"),
        ];
        for (reason, counts, why) in wrong {
            let said = doubt(FULL, reason, &counts).unwrap_or_default();
            assert!(said.contains(why), "{reason:?} {counts:?}: {said}");
        }
    }
}
