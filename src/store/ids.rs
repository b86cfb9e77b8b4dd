//! Sets of record ids: compact, sorted by bytes, without duplicates.
//! Holds ids only, never a record.

/// Collects ids in any order.
#[derive(Debug, Default)]
pub struct IdList {
    text: String,
    ends: Vec<usize>,
}

impl IdList {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one more id.
    pub fn push(&mut self, id: &str) {
        self.text.push_str(id);
        self.ends.push(self.text.len());
    }

    /// Sorts by bytes and drops repeats.
    #[must_use]
    pub fn sort(self) -> SortedIds {
        let Self { text, ends } = self;
        let start = |n: usize| if n == 0 { 0 } else { ends[n - 1] };
        let id = |n: usize| &text[start(n)..ends[n]];
        let mut order: Vec<usize> = (0..ends.len()).collect();
        order.sort_unstable_by(|a, b| id(*a).cmp(id(*b)));
        order.dedup_by(|a, b| id(*a) == id(*b));
        let spans = order.into_iter().map(|n| (start(n), ends[n])).collect();
        SortedIds { text, spans }
    }
}

impl<S: AsRef<str>> FromIterator<S> for SortedIds {
    fn from_iter<I: IntoIterator<Item = S>>(ids: I) -> Self {
        let mut list = IdList::new();
        ids.into_iter().for_each(|id| list.push(id.as_ref()));
        list.sort()
    }
}

/// Ids in byte order, each once.
#[derive(Debug, Default)]
pub struct SortedIds {
    text: String,
    spans: Vec<(usize, usize)>,
}

impl SortedIds {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The n-th id, from 0; None past the end.
    #[must_use]
    pub fn get(&self, n: usize) -> Option<&str> {
        let (start, end) = *self.spans.get(n)?;
        self.text.get(start..end)
    }

    /// The place of an id, if it is there.
    #[must_use]
    pub fn position(&self, id: &str) -> Option<usize> {
        self.spans.binary_search_by(|(start, end)| self.text[*start..*end].cmp(id)).ok()
    }

    /// Whether the id is there.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        self.position(id).is_some()
    }

    /// All ids, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.spans.iter().map(|(start, end)| &self.text[*start..*end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorted_ids_are_a_set(ids in proptest::collection::vec(".{0,4}", 0..50)) {
            let sorted: SortedIds = ids.iter().collect();
            let expected: std::collections::BTreeSet<&str> = ids.iter().map(String::as_str).collect();
            prop_assert!(sorted.iter().eq(expected.iter().copied()));
            for id in &ids {
                prop_assert_eq!(sorted.get(sorted.position(id).unwrap()), Some(id.as_str()));
            }
        }
    }
}
