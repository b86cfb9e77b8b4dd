//! Metadata values that were read otherwise than they stand in a store, or not at all: which keys of which records, and why.
//! Pure; each record is read several times in a run, and counts once.

use std::collections::{BTreeMap, BTreeSet};

/// Records that are kept; of more it is only said that there are more.
const KEPT: usize = 1000;
/// Ids that are named.
const NAMED: usize = 3;

/// What was odd about a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Odd {
    /// A sentence without a subject: "is infinite, …: it was left out".
    pub what: String,
    /// Whether something is lost that Chroma's own client shows.
    pub is_lost: bool,
}

impl Odd {
    /// A number that JSON does not have.
    #[must_use]
    pub fn infinite() -> Self {
        let what = "is infinite, which Chroma's client reads from the files and no copy over its API can hold: it was left out";
        Self { what: what.to_owned(), is_lost: true }
    }

    /// What a server answers for a number that JSON does not have (measured on 0.5.23, 0.6.3, 1.0.20 and 1.5.9).
    #[must_use]
    pub fn null() -> Self {
        let what = "is null in the server's answers, which stands for an infinite number: it was left out";
        Self { what: what.to_owned(), is_lost: true }
    }

    /// Nothing: so Chroma keeps NaN.
    #[must_use]
    pub fn nothing() -> Self {
        let what = "has no value, as Chroma keeps NaN: it was left out, as Chroma's client leaves it out";
        Self { what: what.to_owned(), is_lost: false }
    }
}

/// What is said of an odd value of a collection's own metadata.
#[must_use]
pub fn of_collection(key: &str, odd: &Odd) -> String {
    format!("the collection's own metadata {key:?} {}", odd.what)
}

/// The odd values of one collection.
#[derive(Clone, Debug, Default)]
pub struct Odds {
    /// By key and what it is.
    found: BTreeMap<(String, Odd), BTreeSet<String>>,
    kept: usize,
    are_more: bool,
}

impl Odds {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Takes an odd value of a record.
    pub fn take(&mut self, id: String, key: String, odd: Odd) {
        if self.kept >= KEPT {
            self.are_more |= !self.found.get(&(key, odd)).is_some_and(|ids| ids.contains(&id));
            return;
        }
        self.kept += usize::from(self.found.entry((key, odd)).or_default().insert(id));
    }

    /// Whether something is lost that Chroma's own client shows.
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.found.keys().any(|(_, odd)| odd.is_lost)
    }

    /// All, in sentences: key, number of records, some ids, what it is.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let over = if self.are_more { "over " } else { "" };
        let one = |((key, odd), ids): (&(String, Odd), &BTreeSet<String>)| {
            let named: Vec<String> = ids.iter().take(NAMED).map(|id| format!("{id:?}")).collect();
            let more = ids.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {over}{more} more") } else { String::new() };
            let records = if ids.len() == 1 { "record" } else { "records" };
            format!("metadata {key:?} of {over}{} {records} ({}{more}) {}", ids.len(), named.join(", "), odd.what)
        };
        self.found.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_named_with_its_records_once() {
        let mut odds = Odds::default();
        assert!(odds.is_empty() && odds.told().is_empty());
        for id in ["d", "a", "c", "b", "a"] {
            odds.take(id.to_owned(), "score".to_owned(), Odd::infinite());
        }
        odds.take("a".to_owned(), "other".to_owned(), Odd::nothing());
        let told = odds.told();
        assert!(told[0].starts_with(r#"metadata "other" of 1 record ("a") has no value"#), "{told:?}");
        assert!(
            told[1].starts_with(r#"metadata "score" of 4 records ("a", "b", "c" and 1 more) is infinite"#),
            "{told:?}"
        );
        assert!(odds.is_lossy());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut odds = Odds::default();
        for n in 0..KEPT + 5 {
            odds.take(format!("{n:04}"), "k".to_owned(), Odd::nothing());
        }
        assert!(odds.told()[0].contains("of over 1000 records") && !odds.is_lossy(), "{:?}", odds.told());
    }
}
