//! Numbers of records, by what became of them. Serde only.

use serde::{Deserialize, Serialize};

/// Records by what became of them. All are numbers of records.
///
/// After a full verification: source = verified + conflictsSkipped + duplicates + changed + different + missing + unreadable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// In the source, as last listed.
    pub source: u64,
    /// In the target before the first write.
    pub target_before: u64,
    /// Written by this run (in a dry run: would be written); counted only once verified.
    pub copied: u64,
    /// Already in the target with equal content.
    pub present: u64,
    /// In the target with other content, and left alone (`onConflict: Skip`).
    pub conflicts_skipped: u64,
    /// In the target with other content, and replaced (`onConflict: Overwrite`).
    pub overwritten: u64,
    /// Not copied because their document was already in the target under another id (`duplicates: ByContent`).
    pub duplicates: u64,
    /// Listed when the run began, and not in the source any more; no part of `source`. The target may hold them.
    pub gone_from_source: u64,
    /// New in the source after the last pass that copied; no part of `source`. The next run copies them.
    pub came_later: u64,
    /// In the target at the end, and not in the source; no part of `source`. Nothing is done about them.
    pub extra: u64,
    /// In the target at the end.
    pub target_after: u64,
    /// Compared and equal.
    pub verified: u64,
    /// Compared and not equal, after repair.
    pub different: u64,
    /// In the source and not in the target, after repair.
    pub missing: u64,
    /// Changed in the source again and again while it was copied.
    pub changed: u64,
    /// In the source without content that can be read; never sent.
    pub unreadable: u64,
}

impl Counts {
    /// Adds another collection's counts.
    pub fn add(&mut self, other: &Self) {
        let Self {
            source,
            target_before,
            copied,
            present,
            conflicts_skipped,
            overwritten,
            duplicates,
            gone_from_source,
            came_later,
            extra,
            target_after,
            verified,
            different,
            missing,
            changed,
            unreadable,
        } = other;
        self.source += source;
        self.target_before += target_before;
        self.copied += copied;
        self.present += present;
        self.conflicts_skipped += conflicts_skipped;
        self.overwritten += overwritten;
        self.duplicates += duplicates;
        self.gone_from_source += gone_from_source;
        self.came_later += came_later;
        self.extra += extra;
        self.target_after += target_after;
        self.verified += verified;
        self.different += different;
        self.missing += missing;
        self.changed += changed;
        self.unreadable += unreadable;
    }

    /// Whether every source record is accounted for exactly once. Holds after a full verification.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.source
            == self.verified
                + self.conflicts_skipped
                + self.duplicates
                + self.changed
                + self.different
                + self.missing
                + self.unreadable
    }
}
