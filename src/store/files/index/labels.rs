//! Ids with their labels, as the pickle has them: in scratch space beyond a bound, for an index may hold millions.
//! Holds nothing of the rows. Every `io::Error` is the scratch space's.

use std::io;

use crate::scratch::{Builder, Entries, Merge, Sorter, Table};

/// Ids with their labels, sorted by id. An id of which the pickle does not say one label is there without.
#[derive(Debug, Default)]
pub struct Labels {
    table: Table,
    certain: usize,
    doubt: Option<String>,
}

/// One of the pickle's two maps, in any order.
#[derive(Debug, Default)]
pub struct Map {
    sorter: Sorter,
    /// Entries whose id is no text: nothing can ask for them.
    nameless: u64,
}

/// First byte of a key in the sorter: a label, or what is none.
const LABEL: u8 = 0;
const NO_LABEL: u8 = 1;

impl Map {
    /// Takes one more id with its label; None for what is no label.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn push(&mut self, id: &str, label: Option<u32>) -> io::Result<()> {
        let mut key = vec![if label.is_some() { LABEL } else { NO_LABEL }];
        key.extend(label.iter().flat_map(|label| label.to_be_bytes()));
        self.sorter.push(&key, id.as_bytes())
    }

    /// Takes an entry whose id is no text.
    pub const fn push_nameless(&mut self) {
        self.nameless += 1;
    }
}

impl Labels {
    /// Ids and labels. Only what both maps say, and say once, is believed; the other ids are there without a label.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn of(forward: Map, backward: Map) -> io::Result<Self> {
        let nameless = forward.nameless.max(backward.nameless);
        let mut sorted = joined(forward.sorter.sort()?, backward.sorter.sort()?)?.sort()?;
        let mut made = Made::default();
        while let Some((id, label)) = sorted.next()? {
            match &mut made.current {
                // a second entry: whatever the first one says is in doubt
                Some((known, first)) if known.as_slice() == id => first.clear(),
                _ => {
                    made.end()?;
                    made.current = Some((id.to_vec(), label.to_vec()));
                }
            }
        }
        made.end()?;
        let Made { table, certain, doubted, first, .. } = made;
        let table = table.finish();
        let doubt = first.map(|id| {
            let (ids, id) = (if doubted == 1 { "id" } else { "ids" }, String::from_utf8_lossy(&id).into_owned());
            format!("it does not say one label for {doubted} {ids} of {} (the first is {id:?})", table.len())
        });
        let nameless = (nameless > 0).then(|| format!("{nameless} of its ids are no text"));
        let doubt: Vec<String> = doubt.into_iter().chain(nameless).collect();
        Ok(Self { table, certain, doubt: (!doubt.is_empty()).then(|| doubt.join(", and ")) })
    }

    /// How many ids there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// How many of them have a label.
    #[must_use]
    pub const fn certain(&self) -> usize {
        self.certain
    }

    /// Where the maps contradict each other or themselves, in a sentence about the file; None where they do not.
    #[must_use]
    pub fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
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

/// The table while it is made, and the id whose entries are being read: no label stands for one in doubt.
#[derive(Default)]
struct Made {
    table: Builder,
    certain: usize,
    doubted: u64,
    first: Option<Vec<u8>>,
    current: Option<(Vec<u8>, Vec<u8>)>,
}

impl Made {
    fn end(&mut self) -> io::Result<()> {
        let Some((id, label)) = self.current.take() else { return Ok(()) };
        self.table.push(&id, &label)?;
        if label.is_empty() {
            self.doubted += 1;
            self.first.get_or_insert(id);
        } else {
            self.certain += 1;
        }
        Ok(())
    }
}

/// A walk through ids and labels.
#[derive(Debug)]
pub struct Walk<'a> {
    entries: Entries<'a>,
}

impl Walk<'_> {
    /// The next id, as bytes, and its label, if it has one.
    ///
    /// # Errors
    /// When the scratch space fails.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> io::Result<Option<(&[u8], Option<u32>)>> {
        Ok(self.entries.next()?.map(|(id, label)| (id, number(label))))
    }
}

fn number(label: &[u8]) -> Option<u32> {
    label.try_into().ok().map(u32::from_be_bytes)
}

/// The entries of one map, one ahead.
struct Ahead {
    merge: Merge,
    head: Option<(Vec<u8>, Vec<u8>)>,
}

impl Ahead {
    fn new(merge: Merge) -> io::Result<Self> {
        let mut ahead = Self { merge, head: None };
        ahead.step()?;
        Ok(ahead)
    }

    fn step(&mut self) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let next = self.merge.next()?.map(|(key, id)| (key.to_vec(), id.to_vec()));
        Ok(std::mem::replace(&mut self.head, next))
    }

    /// The next id with this key.
    fn id_of(&mut self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if self.head.as_ref().is_some_and(|(known, _)| known == key) {
            return Ok(self.step()?.map(|(_, id)| id));
        }
        Ok(None)
    }
}

/// Both maps side by side, by label; gives each id with its label where both maps have just this id for it, and without one
/// for each other entry. Never more than two entries are held.
fn joined(forward: Merge, backward: Merge) -> io::Result<Sorter> {
    let (mut forward, mut backward, mut by_id) = (Ahead::new(forward)?, Ahead::new(backward)?, Sorter::default());
    loop {
        let heads = [&forward.head, &backward.head];
        let Some(key) = heads.into_iter().flatten().map(|(key, _)| key).min().cloned() else { return Ok(by_id) };
        let (ours, theirs) = (forward.id_of(&key)?, backward.id_of(&key)?);
        let mut others = Vec::new();
        for side in [&mut forward, &mut backward] {
            if let Some(id) = side.id_of(&key)? {
                others.push(id);
            }
        }
        let label = key.strip_prefix(&[LABEL]).filter(|_| ours.is_some() && ours == theirs && others.is_empty());
        if let (Some(label), Some(id)) = (label, &ours) {
            by_id.push(id, label)?;
            continue;
        }
        for id in ours.iter().chain(&theirs).chain(&others) {
            by_id.push(id, &[])?;
        }
        // however many entries have this key, they are handed on one by one
        for side in [&mut forward, &mut backward] {
            while let Some(id) = side.id_of(&key)? {
                by_id.push(&id, &[])?;
            }
        }
    }
}
