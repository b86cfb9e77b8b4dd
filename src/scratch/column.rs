//! Values of one size by place, changed at any place: one page in memory, the others in a scratch file.
//! A place that was never set holds zeros.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::HELD_BYTES;

/// Values of `N` bytes each.
#[derive(Debug)]
pub struct Column<const N: usize> {
    /// Values of one page.
    values: usize,
    state: Mutex<HeldPage>,
}

#[derive(Debug, Default)]
struct HeldPage {
    file: Option<File>,
    /// Which page is held.
    page: usize,
    /// Its bytes; empty before the first use.
    bytes: Vec<u8>,
    changed: bool,
}

impl<const N: usize> Default for Column<N> {
    fn default() -> Self {
        Self::new(HELD_BYTES)
    }
}

impl<const N: usize> Column<N> {
    /// Holds one page of at most `bound` bytes, but always one value.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self { values: (bound / N.max(1)).max(1), state: Mutex::default() }
    }

    /// The value at a place.
    ///
    /// # Errors
    /// When the scratch file fails.
    pub fn get(&self, at: usize) -> io::Result<[u8; N]> {
        let (state, start) = self.loaded(at)?;
        state
            .bytes
            .get(start..)
            .and_then(<[u8]>::first_chunk)
            .copied()
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Sets the value at a place.
    ///
    /// # Errors
    /// When the scratch file fails.
    pub fn set(&self, at: usize, value: [u8; N]) -> io::Result<()> {
        let (mut state, start) = self.loaded(at)?;
        let place = state.bytes.get_mut(start..).and_then(<[u8]>::first_chunk_mut);
        *place.ok_or(io::ErrorKind::UnexpectedEof)? = value;
        state.changed = true;
        Ok(())
    }

    /// The state with the page of a place, and where in it the value begins.
    fn loaded(&self, at: usize) -> io::Result<(MutexGuard<'_, HeldPage>, usize)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let page = at / self.values;
        if state.page != page || state.bytes.is_empty() {
            state.turn(page, self.values * N)?;
        }
        Ok((state, at % self.values * N))
    }

    /// Bytes that are held in memory.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.state.lock().unwrap().bytes.capacity()
    }
}

impl HeldPage {
    /// Keeps the page that is held, and loads another.
    fn turn(&mut self, page: usize, len: usize) -> io::Result<()> {
        if self.changed {
            let file = match self.file.take() {
                Some(file) => file,
                None => super::file()?,
            };
            let kept = file.write_all_at(&self.bytes, (self.page as u64).saturating_mul(len as u64));
            self.file = Some(file);
            kept?;
            self.changed = false;
        }
        // a page that cannot be loaded is not taken for the one that was held
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        bytes.resize(len, 0);
        if let Some(file) = &self.file {
            fill(file, &mut bytes, (page as u64).saturating_mul(len as u64))?;
        }
        (self.page, self.bytes) = (page, bytes);
        Ok(())
    }
}

/// Reads what is there; the rest stays zero.
fn fill(file: &File, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, at) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                at += read as u64;
                buffer = buffer.get_mut(read..).unwrap_or_default();
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_column_is_a_map_of_places(
            writes in proptest::collection::vec((0..300_usize, any::<[u8; 3]>()), 0..60), bound in 0..200_usize,
        ) {
            let column = Column::<3>::new(bound);
            let mut expected = BTreeMap::new();
            for (at, value) in writes {
                column.set(at, value).unwrap();
                expected.insert(at, value);
                prop_assert!(column.held() <= bound.max(8));
            }
            for at in 0..300 {
                prop_assert_eq!(column.get(at).unwrap(), expected.get(&at).copied().unwrap_or_default());
            }
        }
    }
}
