//! A sorted map that does not change: keys in byte order, each once, found by key and by place.
//! Entries are in blocks in a spool; a few blocks are in memory.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::sorter::Merge;
use super::spool::Spool;

/// Entries of one block.
const BLOCK: usize = 64;
/// Blocks that are held: one for each of those who walk through it at once, and some more.
const HELD: usize = 8;
/// Bytes before an entry: the lengths of its key and its value.
const HEAD: usize = 8;

/// Keys with their values.
#[derive(Debug)]
pub struct Table {
    entries: Spool,
    /// Where each block begins, as 8 bytes each.
    starts: Spool,
    len: usize,
    /// The blocks that were read last, the newest first: who looks up, does so mostly in order.
    held: Mutex<Vec<Arc<Block>>>,
}

/// Takes entries in order.
#[derive(Debug)]
pub struct Builder {
    table: Table,
    /// The key that was taken last.
    last: Vec<u8>,
    entry: Vec<u8>,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new(super::HELD_BYTES)
    }
}

impl Builder {
    /// Holds about `bound` bytes in memory, and the same of places.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        let table = Table { entries: Spool::new(bound), starts: Spool::new(bound), len: 0, held: Mutex::default() };
        Self { table, last: Vec::new(), entry: Vec::new() }
    }

    /// Takes an entry whose key follows all before; false, and nothing is taken, where it does not.
    ///
    /// # Errors
    /// When the scratch file cannot be written, or an entry has over 4 GiB.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<bool> {
        let table = &mut self.table;
        if table.len > 0 && key <= self.last.as_slice() {
            return Ok(false);
        }
        if table.len.is_multiple_of(BLOCK) {
            table.starts.append(&table.entries.len().to_le_bytes())?;
        }
        self.entry.clear();
        for part in [key, value] {
            self.entry.extend(u32::try_from(part.len()).map_err(io::Error::other)?.to_le_bytes());
        }
        self.entry.extend_from_slice(key);
        self.entry.extend_from_slice(value);
        table.entries.append(&self.entry)?;
        table.len += 1;
        self.last.clear();
        self.last.extend_from_slice(key);
        Ok(true)
    }

    /// The finished table.
    #[must_use]
    pub fn finish(self) -> Table {
        self.table
    }

    /// A table of sorted entries; of several with one key the first counts.
    ///
    /// # Errors
    /// When the scratch files fail.
    pub fn of(mut self, mut sorted: Merge) -> io::Result<Table> {
        while let Some((key, value)) = sorted.next()? {
            self.push(key, value)?;
        }
        Ok(self.finish())
    }
}

/// The entries of one block.
#[derive(Debug)]
struct Block {
    number: usize,
    bytes: Vec<u8>,
    /// Where each key ends, and each value; a key begins [`HEAD`] after the value before.
    entries: Vec<(Range<usize>, Range<usize>)>,
}

impl Block {
    fn parse(number: usize, bytes: Vec<u8>, count: usize) -> io::Result<Self> {
        let mut entries = Vec::with_capacity(count);
        let mut at = 0;
        for _ in 0..count {
            let length = |at: usize| {
                let field = bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map(u32::from_le_bytes);
                field.map(|n| n as usize).ok_or(io::ErrorKind::UnexpectedEof)
            };
            let key = at + HEAD..at + HEAD + length(at)?;
            let value = key.end..key.end + length(at + 4)?;
            at = value.end;
            entries.push((key, value));
        }
        if at == bytes.len() { Ok(Self { number, bytes, entries }) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    fn key(&self, n: usize) -> &[u8] {
        self.entries.get(n).map_or(&[], |(key, _)| self.bytes(key))
    }

    fn value(&self, n: usize) -> &[u8] {
        self.entries.get(n).map_or(&[], |(_, value)| self.bytes(value))
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        self.entries.binary_search_by(|(found, _)| self.bytes(found).cmp(key)).ok()
    }

    /// Whether a key that is in the table would be in this block, if it is not in a later one.
    fn begins_by(&self, key: &[u8]) -> bool {
        self.key(0) <= key
    }

    fn ends_from(&self, key: &[u8]) -> bool {
        key <= self.key(self.entries.len().saturating_sub(1))
    }
}

impl Default for Table {
    fn default() -> Self {
        Builder::default().finish()
    }
}

impl Table {
    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The key at a place, from 0.
    ///
    /// # Errors
    /// When the scratch file cannot be read, or the place is past the end.
    pub fn key(&self, place: usize) -> io::Result<Vec<u8>> {
        if place >= self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.block(place / BLOCK)?.key(place % BLOCK).to_vec())
    }

    /// The place of a key.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub fn position(&self, key: &[u8]) -> io::Result<Option<usize>> {
        let found = self.find(key)?;
        Ok(found.map(|(block, n)| block.number * BLOCK + n))
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub fn value(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let found = self.find(key)?;
        Ok(found.map(|(block, n)| block.value(n).to_vec()))
    }

    /// All entries, in order.
    #[must_use]
    pub fn entries(&self) -> Entries<'_> {
        Entries { table: self, block: None, next: 0 }
    }

    fn find(&self, key: &[u8]) -> io::Result<Option<(Arc<Block>, usize)>> {
        let in_block = |block: Arc<Block>| block.find(key).map(|n| (block, n));
        let nearest = self.held().iter().filter(|b| b.begins_by(key)).max_by_key(|b| b.number).map(Arc::clone);
        if let Some(block) = nearest {
            if block.ends_from(key) {
                return Ok(in_block(block));
            }
            if (block.number + 1) * BLOCK >= self.len {
                return Ok(None);
            }
            let next = self.block(block.number + 1)?;
            if !next.begins_by(key) {
                return Ok(None);
            }
            if next.ends_from(key) {
                return Ok(in_block(next));
            }
        }
        // the last block that begins by the key
        let (mut from, mut to) = (0, self.len.div_ceil(BLOCK));
        while from < to {
            let middle = from + (to - from) / 2;
            if self.first_key(middle)?.as_slice() <= key { from = middle + 1 } else { to = middle }
        }
        match from.checked_sub(1) {
            Some(number) => self.block(number).map(in_block),
            None => Ok(None),
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Block>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, block: usize) -> io::Result<u64> {
        let mut start = [0; 8];
        self.starts.read_at(block as u64 * 8, &mut start)?;
        Ok(u64::from_le_bytes(start))
    }

    fn first_key(&self, block: usize) -> io::Result<Vec<u8>> {
        let start = self.start(block)?;
        let mut len = [0; 4];
        self.entries.read_at(start, &mut len)?;
        let mut key = vec![0; u32::from_le_bytes(len) as usize];
        self.entries.read_at(start + HEAD as u64, &mut key)?;
        Ok(key)
    }

    fn block(&self, number: usize) -> io::Result<Arc<Block>> {
        if let Some(block) = self.held().iter().find(|block| block.number == number) {
            return Ok(Arc::clone(block));
        }
        let count = self.len.saturating_sub(number * BLOCK).min(BLOCK);
        let start = self.start(number)?;
        let is_last = (number + 1) * BLOCK >= self.len;
        let end = if is_last { self.entries.len() } else { self.start(number + 1)? };
        let mut bytes = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
        self.entries.read_at(start, &mut bytes)?;
        let block = Arc::new(Block::parse(number, bytes, count)?);
        let mut held = self.held();
        held.truncate(HELD - 1);
        held.insert(0, Arc::clone(&block));
        drop(held);
        Ok(block)
    }

    /// Bytes that are held in memory.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        let blocks: usize = self.held().iter().map(|block| block.bytes.capacity()).sum();
        self.entries.held() + self.starts.held() + blocks
    }
}

/// A walk through a table.
#[derive(Debug)]
pub struct Entries<'t> {
    table: &'t Table,
    block: Option<Arc<Block>>,
    next: usize,
}

impl Entries<'_> {
    /// The next key and its value.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> io::Result<Option<(&[u8], &[u8])>> {
        if self.next >= self.table.len {
            return Ok(None);
        }
        let (number, n) = (self.next / BLOCK, self.next % BLOCK);
        if self.block.as_ref().is_none_or(|block| block.number != number) {
            self.block = Some(self.table.block(number)?);
        }
        self.next += 1;
        Ok(self.block.as_ref().map(|block| (block.key(n), block.value(n))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sorter;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn table(entries: &[(String, u8)], bound: usize) -> Table {
        let mut sorter = Sorter::new(bound);
        for (key, value) in entries {
            sorter.push(key.as_bytes(), &[*value]).unwrap();
        }
        Builder::new(bound).of(sorter.sort().unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn any_bound_makes_the_same_map(
            entries in proptest::collection::vec((".{0,3}", any::<u8>()), 0..400),
            others in proptest::collection::vec(".{0,3}", 0..40), bound in 0..900_usize,
        ) {
            let table = table(&entries, bound);
            let mut expected: BTreeMap<&[u8], u8> = BTreeMap::new();
            for (key, value) in &entries {
                let least = expected.entry(key.as_bytes()).or_insert(*value);
                *least = (*least).min(*value);
            }
            prop_assert_eq!(table.len(), expected.len());
            let mut walk = table.entries();
            for (key, value) in &expected {
                let value = [*value];
                prop_assert_eq!(walk.next().unwrap(), Some((*key, value.as_slice())));
            }
            prop_assert_eq!(walk.next().unwrap(), None);
            // looked up in the order in which they came, and others between them
            let keys = entries.iter().map(|(key, _)| key).chain(&others);
            for key in keys {
                let key = key.as_bytes();
                prop_assert_eq!(table.value(key).unwrap(), expected.get(key).map(|value| vec![*value]));
                let place = expected.keys().position(|known| *known == key);
                prop_assert_eq!(table.position(key).unwrap(), place);
                if let Some(place) = place {
                    prop_assert_eq!(table.key(place).unwrap(), key);
                }
            }
            prop_assert!(table.key(table.len()).is_err());
        }
    }

    #[test]
    fn memory_is_flat_however_many_entries_there_are() {
        let held = |count: u32| {
            let mut builder = Builder::new(4096);
            (0..count).for_each(|n| assert!(builder.push(format!("{n:032}").as_bytes(), &[]).unwrap()));
            let table = builder.finish();
            assert_eq!(table.position(format!("{:032}", count - 1).as_bytes()).unwrap(), Some(count as usize - 1));
            table.held_bytes()
        };
        assert!(held(100_000) <= 5 * 4096, "{} bytes held", held(100_000));
    }

    #[test]
    fn a_key_out_of_order_is_not_taken() {
        let mut builder = Builder::default();
        assert!(builder.push(b"", b"").unwrap());
        assert!(!builder.push(b"", b"again").unwrap());
        assert!(builder.push(b"b", b"").unwrap());
        assert!(!builder.push(b"a", b"").unwrap());
        assert_eq!(builder.finish().len(), 2);
    }
}
