//! Sorts entries by key in bounded memory: sorted runs in one scratch file, merged when they are read.
//! Keeps entries with equal keys; what they mean is the caller's.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Runs that are merged at once; each has a buffer.
const FAN: usize = 32;
/// Bytes of such a buffer.
const BUFFER: usize = 16 << 10;

/// Takes entries in any order.
#[derive(Debug)]
pub struct Sorter {
    bound: usize,
    bytes: Vec<u8>,
    spans: Vec<Span>,
    runs: Vec<Run>,
    /// The file of the runs, and its length.
    file: Option<(Arc<File>, u64)>,
}

/// Where an entry is in the held bytes.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    start: usize,
    key: u32,
    value: u32,
}

/// A sorted part of a file.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u64,
    end: u64,
}

impl Span {
    fn key(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.start + self.key as usize).unwrap_or_default()
    }

    fn value(self, bytes: &[u8]) -> &[u8] {
        let start = self.start + self.key as usize;
        bytes.get(start..start + self.value as usize).unwrap_or_default()
    }
}

impl Default for Sorter {
    fn default() -> Self {
        Self::new(super::SORT_BYTES)
    }
}

impl Sorter {
    /// Holds about `bound` bytes of entries in memory, but always one entry.
    #[must_use]
    pub const fn new(bound: usize) -> Self {
        Self { bound, bytes: Vec::new(), spans: Vec::new(), runs: Vec::new(), file: None }
    }

    /// Takes one more entry.
    ///
    /// # Errors
    /// When the scratch file cannot be written, or an entry has over 4 GiB.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let short = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
        let span = Span { start: self.bytes.len(), key: short(key)?, value: short(value)? };
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.spans.push(span);
        if self.bytes.len() + self.spans.len() * size_of::<Span>() >= self.bound {
            self.spill()?;
        }
        Ok(())
    }

    /// All entries by key, then by value.
    ///
    /// # Errors
    /// When the scratch file fails.
    pub fn sort(mut self) -> io::Result<Merge> {
        if self.runs.is_empty() {
            self.sort_spans();
            return Ok(Merge::Memory { bytes: self.bytes, spans: self.spans.into_iter() });
        }
        self.spill()?;
        let Self { mut runs, file, .. } = self;
        let Some((mut file, _)) = file else {
            return Ok(Merge::Memory { bytes: Vec::new(), spans: Vec::new().into_iter() });
        };
        while runs.len() > FAN {
            let (merged, fewer) = merged(&file, &runs)?;
            (file, runs) = (Arc::new(merged), fewer);
        }
        Heads::new(&file, &runs).map(Merge::Runs)
    }

    fn sort_spans(&mut self) {
        let bytes = self.bytes.as_slice();
        self.spans
            .sort_unstable_by(|a, b| a.key(bytes).cmp(b.key(bytes)).then_with(|| a.value(bytes).cmp(b.value(bytes))));
    }

    fn spill(&mut self) -> io::Result<()> {
        if self.spans.is_empty() {
            return Ok(());
        }
        self.sort_spans();
        let (file, start) = match self.file.take() {
            Some(known) => known,
            None => (Arc::new(super::file()?), 0),
        };
        let mut out = Out::new(&file, start);
        let written = self.spans.iter().try_for_each(|span| out.entry(span.key(&self.bytes), span.value(&self.bytes)));
        let end = written.and_then(|()| out.end())?;
        self.runs.push(Run { start, end });
        self.file = Some((file, end));
        self.bytes.clear();
        self.spans.clear();
        Ok(())
    }

    /// Bytes that are held in memory.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}

/// Merges groups of runs into a new file.
fn merged(file: &Arc<File>, runs: &[Run]) -> io::Result<(File, Vec<Run>)> {
    let target = super::file()?;
    let (mut start, mut fewer) = (0, Vec::with_capacity(runs.len().div_ceil(FAN)));
    for group in runs.chunks(FAN) {
        let mut out = Out::new(&target, start);
        let mut heads = Heads::new(file, group)?;
        while let Some((key, value)) = heads.next()? {
            out.entry(key, value)?;
        }
        let end = out.end()?;
        fewer.push(Run { start, end });
        start = end;
    }
    Ok((target, fewer))
}

/// Writes entries one after the other.
struct Out<'f>(BufWriter<At<'f>>);

struct At<'f> {
    file: &'f File,
    at: u64,
}

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'f> Out<'f> {
    fn new(file: &'f File, at: u64) -> Self {
        Self(BufWriter::with_capacity(BUFFER, At { file, at }))
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map(u32::to_le_bytes).map_err(io::Error::other);
        self.0.write_all(&length(key)?)?;
        self.0.write_all(&length(value)?)?;
        self.0.write_all(key)?;
        self.0.write_all(value)
    }

    fn end(self) -> io::Result<u64> {
        self.0.into_inner().map(|out| out.at).map_err(io::IntoInnerError::into_error)
    }
}

/// Entries in order.
#[derive(Debug)]
pub enum Merge {
    /// All were held.
    Memory {
        /// Keys and values.
        bytes: Vec<u8>,
        /// Those not yet given, in order.
        spans: std::vec::IntoIter<Span>,
    },
    /// They are in runs.
    Runs(Heads),
}

impl Merge {
    /// The next entry.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> io::Result<Option<(&[u8], &[u8])>> {
        match self {
            Self::Memory { bytes, spans } => Ok(spans.next().map(|span| (span.key(bytes), span.value(bytes)))),
            Self::Runs(heads) => heads.next(),
        }
    }
}

/// The first entries of several runs.
#[derive(Debug)]
pub struct Heads {
    heap: BinaryHeap<Head>,
    /// Whether the entry of the heap's first was given.
    is_given: bool,
}

/// One run's first entry.
#[derive(Debug)]
struct Head {
    run: Input,
    entry: Vec<u8>,
    key: usize,
}

impl Head {
    fn parts(&self) -> (&[u8], &[u8]) {
        self.entry.split_at(self.key)
    }

    /// False at the end of the run.
    fn advance(&mut self) -> io::Result<bool> {
        let (mut key, mut value) = ([0; 4], [0; 4]);
        if !self.run.fill(&mut key)? {
            return Ok(false);
        }
        let whole = self.run.fill(&mut value)?;
        self.key = u32::from_le_bytes(key) as usize;
        self.entry.resize(self.key + u32::from_le_bytes(value) as usize, 0);
        if whole && (self.entry.is_empty() || self.run.fill(&mut self.entry)?) {
            return Ok(true);
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

impl Ord for Head {
    /// A `BinaryHeap` gives the largest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.parts().cmp(&self.parts())
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl Heads {
    fn new(file: &Arc<File>, runs: &[Run]) -> io::Result<Self> {
        let mut heap = BinaryHeap::with_capacity(runs.len());
        for run in runs {
            let run = Input { file: Arc::clone(file), next: run.start, end: run.end, buffer: Vec::new(), used: 0 };
            let mut first = Head { run, entry: Vec::new(), key: 0 };
            if first.advance()? {
                heap.push(first);
            }
        }
        Ok(Self { heap, is_given: false })
    }

    fn next(&mut self) -> io::Result<Option<(&[u8], &[u8])>> {
        if std::mem::replace(&mut self.is_given, true)
            && let Some(mut first) = self.heap.peek_mut()
            && !first.advance()?
        {
            PeekMut::pop(first);
        }
        Ok(self.heap.peek().map(Head::parts))
    }
}

/// A buffered run.
#[derive(Debug)]
struct Input {
    file: Arc<File>,
    next: u64,
    end: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl Input {
    /// Fills `target`; false where the run has ended before its first byte.
    fn fill(&mut self, mut target: &mut [u8]) -> io::Result<bool> {
        let mut begun = false;
        while !target.is_empty() {
            if self.used == self.buffer.len() && !self.more()? {
                return if begun { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(false) };
            }
            let ready = self.buffer.get(self.used..).unwrap_or_default();
            let now = ready.len().min(target.len());
            let (filled, rest) = target.split_at_mut(now);
            filled.copy_from_slice(ready.get(..now).unwrap_or_default());
            (target, begun) = (rest, true);
            self.used += now;
        }
        Ok(true)
    }

    fn more(&mut self) -> io::Result<bool> {
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX).min(BUFFER);
        self.buffer.resize(left, 0);
        self.file.read_exact_at(&mut self.buffer, self.next)?;
        self.next += left as u64;
        self.used = 0;
        Ok(left > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(sorter: Sorter) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut merge, mut found) = (sorter.sort().unwrap(), Vec::new());
        while let Some((key, value)) = merge.next().unwrap() {
            found.push((key.to_vec(), value.to_vec()));
        }
        found
    }

    proptest! {
        #[test]
        fn any_bound_sorts_as_a_vector_does(
            entries in proptest::collection::vec((".{0,3}", proptest::collection::vec(any::<u8>(), 0..3)), 0..150),
            bound in 0..600_usize,
        ) {
            let mut sorter = Sorter::new(bound);
            for (key, value) in &entries {
                sorter.push(key.as_bytes(), value).unwrap();
            }
            let mut expected: Vec<_> = entries.into_iter().map(|(key, value)| (key.into_bytes(), value)).collect();
            expected.sort();
            prop_assert_eq!(sorted(sorter), expected);
        }
    }

    #[test]
    fn memory_is_flat_however_many_entries_there_are() {
        let mut sorter = Sorter::new(4096);
        let (mut most, mut fan) = (0, 0);
        for n in 0..100_000_u32 {
            sorter.push(&n.wrapping_mul(2_654_435_761).to_be_bytes(), &[]).unwrap();
            most = most.max(sorter.held());
        }
        assert!(most <= 3 * 4096, "{most} bytes held");
        let mut merge = sorter.sort().unwrap();
        let mut last = None;
        let mut count = 0;
        while let Some((key, _)) = merge.next().unwrap() {
            let key = key.to_vec();
            assert!(last.as_ref().is_none_or(|last| *last < key));
            (last, count) = (Some(key), count + 1);
            if let Merge::Runs(heads) = &merge {
                fan = fan.max(heads.heap.len() + 1);
            }
        }
        assert_eq!(count, 100_000);
        assert!(fan <= FAN + 1, "{fan} runs at once");
    }

    #[test]
    fn an_entry_over_the_buffer_survives() {
        let mut sorter = Sorter::new(10);
        let long = vec![5; 3 * BUFFER + 1];
        sorter.push(b"b", &long).unwrap();
        sorter.push(b"a", b"").unwrap();
        assert_eq!(sorted(sorter), [(b"a".to_vec(), vec![]), (b"b".to_vec(), long)]);
    }
}
