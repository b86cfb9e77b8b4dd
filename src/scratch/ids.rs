//! Sets of record ids, sorted by bytes, without duplicates: in memory while few, then in scratch files.
//! Holds ids only, never a record.

use std::io;

use super::{Builder, Entries, Sorter, Table};

/// Collects ids in any order.
#[derive(Debug, Default)]
pub struct IdList {
    sorter: Sorter,
    failed: Option<io::Error>,
}

impl IdList {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one more id. A failure of the scratch space is kept, and told by [`IdList::sort`].
    pub fn push(&mut self, id: &str) {
        if self.failed.is_none() {
            self.failed = self.sorter.push(id.as_bytes(), &[]).err();
        }
    }

    /// Sorts by bytes and drops repeats.
    ///
    /// # Errors
    /// When the scratch space fails, now or at an earlier push.
    pub fn sort(self) -> io::Result<SortedIds> {
        match self.failed {
            Some(error) => Err(error),
            None => Builder::default().of(self.sorter.sort()?).map(|table| SortedIds { table }),
        }
    }
}

/// For tests, whose ids are few.
#[cfg(test)]
impl<S: AsRef<str>> FromIterator<S> for SortedIds {
    fn from_iter<I: IntoIterator<Item = S>>(ids: I) -> Self {
        let mut list = IdList::new();
        ids.into_iter().for_each(|id| list.push(id.as_ref()));
        list.sort().unwrap()
    }
}

/// Ids in byte order, each once.
#[derive(Debug, Default)]
pub struct SortedIds {
    table: Table,
}

impl SortedIds {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The n-th id, from 0.
    ///
    /// # Errors
    /// When the scratch space fails, or there are not so many.
    pub fn get(&self, n: usize) -> io::Result<String> {
        text(&self.table.key(n)?)
    }

    /// The place of an id, if it is there.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn position(&self, id: &str) -> io::Result<Option<usize>> {
        self.table.position(id.as_bytes())
    }

    /// Whether the id is there.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn contains(&self, id: &str) -> io::Result<bool> {
        self.position(id).map(|place| place.is_some())
    }

    /// All ids, in order; an error where the scratch space fails.
    #[must_use]
    pub fn iter(&self) -> Ids<'_> {
        Ids { entries: self.table.entries() }
    }
}

impl<'a> IntoIterator for &'a SortedIds {
    type Item = io::Result<String>;
    type IntoIter = Ids<'a>;

    fn into_iter(self) -> Ids<'a> {
        self.iter()
    }
}

/// A walk through sorted ids.
#[derive(Debug)]
pub struct Ids<'a> {
    entries: Entries<'a>,
}

impl Iterator for Ids<'_> {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.entries.next().map(|entry| entry.map(|(id, _)| text(id))).transpose().map(Result::flatten)
    }
}

/// Only texts were taken, so other bytes mean a scratch file that another program changed.
fn text(bytes: &[u8]) -> io::Result<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Which of two sorted lists have an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Only the first.
    Left,
    /// Only the second.
    Right,
    /// Both.
    Both,
}

/// Walks through two sorted lists at once: every id of either, in order, with who has it.
#[derive(Debug)]
pub struct Join<'a> {
    left: Peeked<'a>,
    right: Peeked<'a>,
}

#[derive(Debug)]
struct Peeked<'a> {
    ids: Ids<'a>,
    next: Option<String>,
}

impl<'a> Peeked<'a> {
    fn new(mut ids: Ids<'a>) -> io::Result<Self> {
        let next = ids.next().transpose()?;
        Ok(Self { ids, next })
    }

    fn take(&mut self) -> io::Result<Option<String>> {
        let following = self.ids.next().transpose()?;
        Ok(std::mem::replace(&mut self.next, following))
    }
}

impl<'a> Join<'a> {
    /// # Errors
    /// When the scratch space fails.
    pub fn new(left: &'a SortedIds, right: &'a SortedIds) -> io::Result<Self> {
        Ok(Self { left: Peeked::new(left.iter())?, right: Peeked::new(right.iter())? })
    }

    /// The next id.
    ///
    /// # Errors
    /// When the scratch space fails.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> io::Result<Option<(String, Side)>> {
        let side = match (&self.left.next, &self.right.next) {
            (None, None) => return Ok(None),
            (Some(_), None) => Side::Left,
            (None, Some(_)) => Side::Right,
            (Some(left), Some(right)) => match left.cmp(right) {
                std::cmp::Ordering::Less => Side::Left,
                std::cmp::Ordering::Greater => Side::Right,
                std::cmp::Ordering::Equal => Side::Both,
            },
        };
        let right = if side == Side::Left { None } else { self.right.take()? };
        let left = if side == Side::Right { None } else { self.left.take()? };
        Ok(left.or(right).map(|id| (id, side)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn sorted_ids_are_a_set(ids in proptest::collection::vec(".{0,4}", 0..50)) {
            let sorted: SortedIds = ids.iter().collect();
            let expected: BTreeSet<String> = ids.iter().cloned().collect();
            prop_assert_eq!(sorted.iter().collect::<io::Result<BTreeSet<_>>>().unwrap(), expected);
            for id in &ids {
                prop_assert_eq!(&sorted.get(sorted.position(id).unwrap().unwrap()).unwrap(), id);
            }
        }

        #[test]
        fn a_join_is_a_union_that_knows_its_sides(
            left in proptest::collection::vec("[a-c]{0,2}|.", 0..40), right in proptest::collection::vec("[a-c]{0,2}|.", 0..40),
        ) {
            let mut expected: BTreeMap<String, Side> = left.iter().map(|id| (id.clone(), Side::Left)).collect();
            for id in &right {
                expected.entry(id.clone()).and_modify(|side| if *side == Side::Left { *side = Side::Both }).or_insert(Side::Right);
            }
            let (left, right): (SortedIds, SortedIds) = (left.iter().collect(), right.iter().collect());
            let mut join = Join::new(&left, &right).unwrap();
            for (id, side) in expected {
                prop_assert_eq!(join.next().unwrap(), Some((id, side)));
            }
            prop_assert_eq!(join.next().unwrap(), None);
        }
    }

    #[test]
    fn a_list_over_the_bound_keeps_every_id() {
        let mut list = IdList::new();
        for n in (0..60_000).rev() {
            list.push(&format!("memory-{n:040}"));
            list.push(&format!("memory-{:040}", n / 2));
        }
        let sorted = list.sort().unwrap();
        assert_eq!(sorted.len(), 60_000);
        assert!(sorted.table.held_bytes() < 600_000, "{} bytes held", sorted.table.held_bytes());
        for (n, id) in sorted.iter().enumerate() {
            assert_eq!(id.unwrap(), format!("memory-{n:040}"));
        }
    }
}
