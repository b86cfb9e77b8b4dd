//! Bytes that are appended and read again at any place. The end is in memory, what is over the bound in a scratch file.
//! Knows nothing of what the bytes mean.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Appended bytes.
#[derive(Debug)]
pub struct Spool {
    bound: usize,
    file: Option<File>,
    /// Bytes in the file.
    written: u64,
    /// The bytes after those.
    tail: Vec<u8>,
}

impl Spool {
    /// Holds at most `bound` bytes in memory, but always what one append brings.
    #[must_use]
    pub const fn new(bound: usize) -> Self {
        Self { bound, file: None, written: 0, tail: Vec::new() }
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.written + self.tail.len() as u64
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.tail.is_empty() && self.tail.len() + bytes.len() > self.bound {
            self.flush()?;
        }
        self.tail.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => super::file()?,
        };
        #[cfg(feature = "faults")]
        crate::faults::io("scratch.write")?;
        let written = file.write_all_at(&self.tail, self.written);
        self.file = Some(file);
        written?;
        self.written += self.tail.len() as u64;
        self.tail.clear();
        Ok(())
    }

    /// Fills `buffer` with the bytes that begin at `at`.
    ///
    /// # Errors
    /// When the file cannot be read, or fewer bytes are there.
    pub fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let in_file = usize::try_from(self.written.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
        let (first, rest) = buffer.split_at_mut(in_file);
        if let Some(file) = self.file.as_ref().filter(|_| !first.is_empty()) {
            #[cfg(feature = "faults")]
            crate::faults::io("scratch.read")?;
            file.read_exact_at(first, at)?;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let start = usize::try_from(at.saturating_sub(self.written)).map_err(io::Error::other)?;
        let found = start.checked_add(rest.len()).and_then(|end| self.tail.get(start..end));
        rest.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// Bytes that are held in memory.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.tail.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_appended_is_read_at_every_place(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..20), bound in 0..40_usize,
        ) {
            let mut spool = Spool::new(bound);
            for part in &parts {
                spool.append(part).unwrap();
            }
            let all = parts.concat();
            prop_assert_eq!(spool.len(), all.len() as u64);
            for start in 0..=all.len() {
                for end in start..=all.len() {
                    let mut found = vec![0; end - start];
                    spool.read_at(start as u64, &mut found).unwrap();
                    prop_assert_eq!(&found, &all[start..end]);
                }
                let mut beyond = vec![0; all.len() - start + 1];
                prop_assert!(spool.read_at(start as u64, &mut beyond).is_err());
            }
        }
    }

    #[test]
    fn memory_stays_within_the_bound() {
        let mut spool = Spool::new(1000);
        for _ in 0..10_000 {
            spool.append(&[7; 100]).unwrap();
            assert!(spool.held() <= 2000, "{}", spool.held());
        }
        assert_eq!(spool.len(), 1_000_000);
    }
}
