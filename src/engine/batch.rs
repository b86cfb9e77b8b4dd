//! Cuts records into bodies that a server takes: by count and by encoded bytes.
//! Pure: knows sizes, no records.

use std::ops::Range;

/// What one body may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Records, at least 1.
    pub records: usize,
    /// Bytes as encoded.
    pub bytes: usize,
}

/// Consecutive ranges that cover all records, in order. A record that alone is over the bound gets a body of its own:
/// preflight has refused it before.
#[must_use]
pub fn cut(sizes: &[usize], bound: Bound) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < sizes.len() {
        let end = start + first(sizes[start..].iter().copied(), bound);
        ranges.push(start..end);
        start = end;
    }
    ranges
}

/// How many of these records the first body takes: at least one, if there is one.
#[must_use]
pub fn first(sizes: impl Iterator<Item = usize>, bound: Bound) -> usize {
    let mut bytes = 0_usize;
    let fits = |(n, size): &(usize, usize)| {
        bytes = bytes.saturating_add(*size);
        *n == 0 || bytes <= bound.bytes
    };
    sizes.take(bound.records.max(1)).enumerate().take_while(fits).count()
}

/// How many records to read at once, so that a window stays within a number of bytes whatever the size of a record.
#[derive(Clone, Debug)]
pub struct WindowSize {
    bytes: usize,
    most: usize,
    next: usize,
}

impl WindowSize {
    /// Records of the first window: small, for nothing is known of their size yet.
    const FIRST: usize = 24;

    /// Windows of about `bytes` bytes and at most `most` records.
    #[must_use]
    pub fn new(bytes: usize, most: usize) -> Self {
        Self { bytes, most: most.max(1), next: Self::FIRST.min(most.max(1)) }
    }

    /// Records to read next.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.next
    }

    /// Learns from a window that was read. Grows at most fourfold at a time; shrinks at once.
    pub fn observe(&mut self, records: usize, bytes: usize) {
        if records == 0 {
            return;
        }
        let fitting = self.bytes / (bytes / records).max(1);
        self.next = fitting.min(self.next.saturating_mul(4)).clamp(1, self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cut_loses_nothing_and_keeps_the_bounds(
            sizes in proptest::collection::vec(0..100_usize, 0..60), records in 1..10_usize, bytes in 1..300_usize,
        ) {
            let ranges = cut(&sizes, Bound { records, bytes });
            let covered: Vec<usize> = ranges.iter().cloned().flatten().collect();
            prop_assert_eq!(covered, (0..sizes.len()).collect::<Vec<_>>());
            for range in ranges {
                let sum: usize = sizes[range.clone()].iter().sum();
                prop_assert!(range.len() <= records);
                prop_assert!(sum <= bytes || range.len() == 1);
            }
        }

        #[test]
        fn a_window_stays_in_its_bounds(reads in proptest::collection::vec((0..2000_usize, 0..1usize << 40), 0..20)) {
            let mut window = WindowSize::new(1 << 22, 1000);
            for (records, bytes) in reads {
                window.observe(records, bytes);
                prop_assert!((1..=1000).contains(&window.size()));
            }
        }
    }

    #[test]
    fn huge_records_are_read_one_by_one() {
        let mut window = WindowSize::new(4 << 20, 1000);
        window.observe(64, 64 * (39 << 20));
        assert_eq!(window.size(), 1);
        window.observe(1, 1000);
        assert_eq!(window.size(), 4);
        let mut window = WindowSize::new(4000, 1000);
        window.observe(10, 10 * 500);
        assert_eq!(window.size(), 8, "each of them has 500 bytes");
    }
}
