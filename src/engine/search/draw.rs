//! Which records become queries: drawn by a hash of the id, so the same in every run, and bounded for the whole run. Pure.

use std::collections::BinaryHeap;

use sha2::{Digest as _, Sha256};

/// Queries of one run.
const QUERIES: usize = 1000;
/// Bytes of all their vectors: with what is kept of their nearest records less than 8 MiB.
const BYTES: usize = 4 << 20;
/// Filters by metadata of one run, and of one collection.
const FILTERS: usize = 200;
const FILTERS_EACH: usize = 10;
/// Pieces of documents of one run, and of one collection: an old server scans every document for one.
const PIECES: usize = 20;
const PIECES_EACH: usize = 4;
/// Collections that are asked in one run.
const COLLECTIONS: usize = 100;
/// Of those with so few records that any index finds them all, fewer are asked, and by vectors only: a run over 2,000 of them
/// shall take no more requests for it.
const SMALL: u64 = 10;
const SMALL_ONES: usize = 8;

/// What decides on a collection's share.
#[derive(Clone, Debug)]
pub(super) struct Size {
    /// Its name, for the order of those of one size.
    pub(super) name: String,
    pub(super) records: u64,
    pub(super) dimension: usize,
}

/// A number of an id that looks drawn.
pub(super) fn lot(text: &str) -> u64 {
    let digest = <[u8; 32]>::from(Sha256::digest(text));
    digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// What one collection is asked, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Vectors.
    pub(super) queries: usize,
    /// Filters by metadata.
    pub(super) filters: usize,
    /// Pieces of documents.
    pub(super) pieces: usize,
}

/// What each collection gets, at most `each` queries: larger ones first, those of one size by lot.
pub(super) fn shares(sizes: &[Size], each: usize) -> Vec<Share> {
    let mut order: Vec<usize> = (0..sizes.len()).filter(|at| sizes[*at].records > 0).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(sizes[*at].records), lot(&sizes[*at].name)));
    let mut shares = vec![Share::default(); sizes.len()];
    let mut left = Share { queries: QUERIES, filters: FILTERS, pieces: PIECES };
    let mut bytes = BYTES;
    let (large, small): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|at| sizes[*at].records > SMALL);
    for at in large.into_iter().take(COLLECTIONS).chain(small.into_iter().take(SMALL_ONES)) {
        let Size { records, dimension, .. } = sizes[at];
        let one = dimension.max(1) * size_of::<f32>();
        let queries = usize::try_from(records).unwrap_or(usize::MAX).min(each).min(left.queries).min(bytes / one);
        let share = if records > SMALL {
            Share { queries, filters: left.filters.min(FILTERS_EACH), pieces: left.pieces.min(PIECES_EACH) }
        } else {
            Share { queries, ..Share::default() }
        };
        shares[at] = share;
        left.queries -= share.queries;
        left.filters -= share.filters;
        left.pieces -= share.pieces;
        bytes -= share.queries * one;
    }
    shares
}

/// Keeps the places with the smallest lots.
pub(super) struct Drawing {
    most: usize,
    kept: BinaryHeap<(u64, usize)>,
}

impl Drawing {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, kept: BinaryHeap::new() }
    }

    pub(super) fn offer(&mut self, place: usize, id: &str) {
        self.kept.push((lot(id), place));
        if self.kept.len() > self.most {
            self.kept.pop();
        }
    }

    /// The places, in their order.
    pub(super) fn places(self) -> Vec<usize> {
        let mut places: Vec<usize> = self.kept.into_iter().map(|(_, place)| place).collect();
        places.sort_unstable();
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(records: &[u64], dimension: usize) -> Vec<Size> {
        let size = |(at, records): (usize, &u64)| Size { name: format!("c{at}"), records: *records, dimension };
        records.iter().enumerate().map(size).collect()
    }

    fn queries(records: &[u64], dimension: usize) -> Vec<usize> {
        shares(&sizes(records, dimension), 50).iter().map(|share| share.queries).collect()
    }

    #[test]
    fn a_run_is_bounded_and_larger_collections_come_first() {
        assert_eq!(queries(&[3, 0, 500], 4), [3, 0, 50]);
        let many = shares(&sizes(&[2; 2000], 4), 50);
        assert_eq!(many.iter().filter(|share| **share != Share::default()).count(), SMALL_ONES);
        assert!(many.iter().all(|share| share.filters + share.pieces == 0));
        let many = shares(&sizes(&[12; 2000], 4), 5);
        assert_eq!(many.iter().filter(|share| **share != Share::default()).count(), COLLECTIONS);
        assert_eq!(many.iter().map(|share| share.filters).sum::<usize>(), FILTERS);
        assert_eq!(many.iter().map(|share| share.pieces).sum::<usize>(), PIECES);
        let mut large = vec![1000; 30];
        large.push(5000);
        let shares = queries(&large, 8);
        assert_eq!(shares.iter().sum::<usize>(), QUERIES);
        assert_eq!(shares.last(), Some(&50));
    }

    #[test]
    fn long_vectors_are_bounded_by_their_bytes() {
        assert_eq!(queries(&[1000, 900], 1 << 16), [16, 0]);
    }

    #[test]
    fn the_same_places_are_drawn_whatever_the_order() {
        let ids: Vec<String> = (0..500).map(|n| format!("id {n}")).collect();
        let drawn = |order: &mut dyn Iterator<Item = usize>| {
            let mut drawing = Drawing::new(7);
            order.for_each(|at| drawing.offer(at, &ids[at]));
            drawing.places()
        };
        let first = drawn(&mut (0..500));
        assert_eq!(first.len(), 7);
        assert_eq!(first, drawn(&mut (0..500).rev()));
    }
}
