//! One digest a record, in scratch space: memory stays flat however many records there are.
//! Holds digests only; which of them count, the ledger says.

use std::io;

use super::fingerprint::{Digest, Fingerprint};
use crate::scratch::Column;

/// Digests by a record's place in the ledger.
#[derive(Debug, Default)]
pub(super) struct Digests {
    column: Column<32>,
}

impl Digests {
    /// Keeps the digests of records at these places.
    pub(super) fn put(&self, digests: &[(usize, Digest)]) -> io::Result<()> {
        digests.iter().try_for_each(|(at, digest)| self.column.set(*at, *digest))
    }

    /// Copies the digest of one place to another place of `others`.
    pub(super) fn copy(&self, from: usize, others: &Self, to: usize) -> io::Result<()> {
        others.column.set(to, self.column.get(from)?)
    }

    /// The fingerprint of the digests at these places, which rise.
    pub(super) fn fingerprint(&self, places: impl Iterator<Item = io::Result<usize>>) -> io::Result<String> {
        let mut fingerprint = Fingerprint::default();
        for at in places {
            let digest = self.column.get(at?)?;
            if digest == [0; 32] {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a verified record has no digest"));
            }
            fingerprint.push(&digest);
        }
        Ok(fingerprint.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_writing_does_not_matter_and_places_do() {
        let (a, b) = (Digests::default(), Digests::default());
        a.put(&[(0, [1; 32]), (5, [2; 32])]).unwrap();
        b.put(&[(3, [2; 32])]).unwrap();
        b.put(&[(1, [1; 32])]).unwrap();
        let of = |digests: &Digests, places: &[usize]| digests.fingerprint(places.iter().map(|at| Ok(*at)));
        let of_a = of(&a, &[0, 5]).unwrap();
        assert_eq!(of_a, of(&b, &[1, 3]).unwrap());
        assert_ne!(of_a, of(&a, &[0]).unwrap());
        assert!(of(&a, &[9]).is_err());
    }
}
