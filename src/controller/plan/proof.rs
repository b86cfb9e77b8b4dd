//! What proves a run: one rule for the runner's verdict and for a status that claims an end. Pure.

use crate::api::conditions::Reason;
use crate::controller::observe::world::Asked;
use crate::report::Counts;

/// Why these counts do not prove that a run of this kind succeeded for this reason; None: they do.
#[must_use]
pub(super) fn doubt(asked: Asked, reason: Reason, counts: &Counts) -> Option<String> {
    let expected: &[Reason] = match (asked.plan_only, asked.counts_only) {
        (true, _) => &[Reason::DryRunCompleted],
        (false, true) => &[Reason::CountsVerified],
        (false, false) => &[Reason::Verified, Reason::VerifiedWithSkips],
    };
    if !expected.contains(&reason) {
        return Some("the spec asks for another kind of verdict".into());
    }
    if asked.plan_only || asked.counts_only { None } else { of_full(reason, counts) }
}

fn of_full(reason: Reason, counts: &Counts) -> Option<String> {
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

    const FULL: Asked = Asked { plan_only: false, counts_only: false };

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
        assert_eq!(doubt(FULL, Reason::Verified, &Counts::default()), None, "an empty source that may be empty");
        assert_eq!(doubt(FULL, Reason::VerifiedWithSkips, &skips(|_| {})), None);
        let plan = Asked { plan_only: true, counts_only: true };
        assert_eq!(doubt(plan, Reason::DryRunCompleted, &Counts::default()), None);
        assert_eq!(doubt(Asked { counts_only: true, ..FULL }, Reason::CountsVerified, &Counts::default()), None);
    }

    #[test]
    fn counts_that_contradict_their_verdict() {
        let wrong: [(Reason, Counts, &str); 9] = [
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
