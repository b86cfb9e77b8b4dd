//! Ids with their labels, as the pickle has them: in scratch space beyond a bound, for an index may hold millions.
//! Holds nothing of the rows. Every `io::Error` is the scratch space's.

use std::io;

use crate::scratch::{Builder, Entries, Merge, Sorter, Table};

/// Ids with their labels, sorted by id.
#[derive(Debug, Default)]
pub struct Labels {
    table: Table,
}

/// One of the pickle's two maps, in any order.
#[derive(Debug, Default)]
pub struct Map {
    sorter: Sorter,
    len: usize,
}

impl Map {
    /// Takes one more id with its label.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn push(&mut self, id: &str, label: u32) -> io::Result<()> {
        self.len += 1;
        self.sorter.push(&label.to_be_bytes(), id.as_bytes())
    }
}

impl Labels {
    /// Ids and labels, if both maps say the same and nothing is there twice; otherwise what is wrong.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn of(forward: Map, backward: Map) -> io::Result<Result<Self, String>> {
        if forward.len != backward.len {
            return Ok(Err(format!("it maps {} ids to labels but {} labels to ids", forward.len, backward.len)));
        }
        let by_id = match joined(forward.sorter.sort()?, backward.sorter.sort()?)? {
            Ok(by_id) => by_id,
            Err(what) => return Ok(Err(what)),
        };
        let (mut sorted, mut builder) = (by_id.sort()?, Builder::default());
        while let Some((id, label)) = sorted.next()? {
            if !builder.push(id, label)? {
                return Ok(Err(format!("it holds the id {:?} twice", String::from_utf8_lossy(id))));
            }
        }
        Ok(Ok(Self { table: builder.finish() }))
    }

    /// How many ids there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The label of an id.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn get(&self, id: &str) -> io::Result<Option<u32>> {
        Ok(self.table.value(id.as_bytes())?.and_then(|label| number(&label)))
    }

    /// All ids with their labels, in the order of the ids.
    #[must_use]
    pub fn walk(&self) -> Walk<'_> {
        Walk { entries: self.table.entries() }
    }
}

/// A walk through ids and labels.
#[derive(Debug)]
pub struct Walk<'a> {
    entries: Entries<'a>,
}

impl Walk<'_> {
    /// The next id, as bytes, and its label.
    ///
    /// # Errors
    /// When the scratch space fails.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> io::Result<Option<(&[u8], u32)>> {
        Ok(self.entries.next()?.and_then(|(id, label)| Some((id, number(label)?))))
    }
}

fn number(label: &[u8]) -> Option<u32> {
    label.try_into().ok().map(u32::from_be_bytes)
}

/// Both maps side by side, by label; gives the ids with their labels to be sorted.
fn joined(mut forward: Merge, mut backward: Merge) -> io::Result<Result<Sorter, String>> {
    let mut by_id = Sorter::default();
    let mut last = None;
    while let (Some((label, id)), Some((back, other))) = (forward.next()?, backward.next()?) {
        let known = number(label);
        if last.is_some() && last == known {
            return Ok(Err(format!("it gives label {} to two ids", known.unwrap_or_default())));
        }
        if label != back || id != other {
            return Ok(Err(format!("its maps contradict each other at label {}", known.unwrap_or_default())));
        }
        by_id.push(id, label)?;
        last = known;
    }
    Ok(Ok(by_id))
}
