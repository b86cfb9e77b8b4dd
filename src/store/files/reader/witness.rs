//! Whether the vectors of the log speak for an index or against it. Pure.

use crate::store::files::index::IndexRow;

/// A vector of the log whose record the index has.
pub(super) struct Logged {
    pub(super) entry: i64,
    pub(super) row: IndexRow,
    pub(super) vector: Vec<f32>,
    /// Whether the entry may have made the record.
    pub(super) brings: bool,
    /// Whether it has.
    pub(super) is_made: bool,
}

/// How vectors of the log and of an index agree.
#[derive(Debug, Default)]
pub(super) struct Seen {
    of: usize,
    others: usize,
    /// Of the others, those of entries that may have made their record, and those that have nothing of the log's.
    brought: usize,
    strange: usize,
    /// The same of entries that have made their record: the index cannot have had another vector of it before.
    made: usize,
    made_strange: usize,
    /// The first entry of those that agree, and of the others.
    pub(super) first_same: Option<i64>,
    first_other: Option<i64>,
}

impl Seen {
    /// Of so many records, before the first one.
    pub(super) fn new(of: usize) -> Self {
        Self { of, ..Self::default() }
    }

    pub(super) fn take(&mut self, logged: &Logged, is_same: bool, is_strange: impl FnOnce() -> bool) {
        let first = if is_same { &mut self.first_same } else { &mut self.first_other };
        *first = Some(first.map_or(logged.entry, |known| known.min(logged.entry)));
        if is_same {
            return;
        }
        let is_strange = is_strange();
        self.others += 1;
        self.brought += usize::from(logged.brings);
        self.strange += usize::from(is_strange);
        self.made += usize::from(logged.is_made);
        self.made_strange += usize::from(logged.is_made && is_strange);
    }

    /// Whether the index is another collection's, or an older one whose other vectors nobody knows. `is_whole`: no entry of the log is
    /// lost. Then an index that has followed the log into its first entries is behind it by what the log has: the watermark is wrong.
    pub(super) fn is_foreign(&self, is_whole: bool) -> bool {
        let is_behind = is_whole
            && self.made < 2
            && self.made_strange == 0
            && self.first_same.is_some_and(|same| self.first_other.is_none_or(|other| same < other));
        self.others * 2 > self.of && (self.brought >= 2 || self.strange > 0) && !is_behind
    }

    pub(super) fn spoken(&self) -> String {
        let Self { of, others, brought, .. } = self;
        let which = match of {
            1 => "the one record that the write-ahead log has, too, has another vector there".to_owned(),
            of => format!("of {of} records that the write-ahead log has, too, {others} have another vector there"),
        };
        // what was added has no older vector
        let older = if *brought == 0 { ", or it is an older one" } else { "" };
        format!("{which}{older}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::files::index::hnsw::Row;

    /// Entries in the order of the log: whether the index has their vector, whether they may have made their record, and have.
    fn seen(entries: &[(bool, bool, bool)]) -> Seen {
        let mut seen = Seen::new(entries.len());
        for (entry, (is_same, brings, is_made)) in (1..).zip(entries.iter().copied()) {
            let row = IndexRow { row: Row { number: 0, label: 0, deleted: false }, norm: None };
            let logged = Logged { entry, row, vector: Vec::new(), brings, is_made };
            seen.take(&logged, is_same, || true);
        }
        seen
    }

    #[test]
    fn the_table() {
        let (same, update, upsert, made) =
            ((true, true, true), (false, false, false), (false, true, false), (false, true, true));
        for (entries, whole, torn) in [
            (&[][..], false, false),
            (&[same], false, false),
            (&[update], true, true),
            (&[made], true, true),
            // it has followed the log up to the first one, and not to the others: the watermark is too high
            (&[same, update, upsert, update], false, true),
            (&[update, same, update, upsert], true, true),
            // an add that made its record leaves no older vector
            (&[same, made, made], true, true),
            (&[same, same, update], false, false),
        ] {
            let seen = seen(entries);
            assert_eq!((seen.is_foreign(true), seen.is_foreign(false)), (whole, torn), "{entries:?}");
        }
    }
}
