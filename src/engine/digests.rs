//! One digest a record, kept in a scratch file: memory stays flat however many records there are.
//! Holds digests only; which of them count, the ledger says.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::fingerprint::{Digest, Fingerprint};

/// Digests by a record's place in the ledger.
#[derive(Debug)]
pub(super) struct Digests {
    file: File,
}

impl Digests {
    /// An empty file in the folder that `TMPDIR` names; it is gone when the process ends.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()? })
    }

    /// Keeps the digests of records at these places.
    pub(super) fn put(&self, digests: &[(usize, Digest)]) -> io::Result<()> {
        digests.iter().try_for_each(|(at, digest)| self.file.write_all_at(digest, offset(*at)))
    }

    /// The fingerprint of the digests at these places, which rise.
    pub(super) fn fingerprint(&self, places: impl Iterator<Item = usize>) -> io::Result<String> {
        let mut fingerprint = Fingerprint::default();
        let mut digest: Digest = [0; 32];
        for at in places {
            self.file.read_exact_at(&mut digest, offset(at))?;
            fingerprint.push(&digest);
        }
        Ok(fingerprint.finish())
    }
}

fn offset(at: usize) -> u64 {
    at as u64 * size_of::<Digest>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_writing_does_not_matter_and_places_do() {
        let (a, b) = (Digests::new().unwrap(), Digests::new().unwrap());
        a.put(&[(0, [1; 32]), (5, [2; 32])]).unwrap();
        b.put(&[(3, [2; 32])]).unwrap();
        b.put(&[(1, [1; 32])]).unwrap();
        let of_a = a.fingerprint([0, 5].into_iter()).unwrap();
        assert_eq!(of_a, b.fingerprint([1, 3].into_iter()).unwrap());
        assert_ne!(of_a, a.fingerprint([0].into_iter()).unwrap());
        assert!(a.fingerprint([9].into_iter()).is_err());
    }
}
