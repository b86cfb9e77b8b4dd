//! What a record was when this run sent or compared it: a hash of what stays exact, and two sums that show how far the
//! rest has drifted. Pure. 24 bytes a record, for a ledger holds millions of them.
//!
//! Chroma moves doubles and the components of cosine vectors by a few ULP on its own, so a hash of bytes cannot tell
//! whether a record is still the one that was sent. Each such number has a place among all numbers of its type; the sum of
//! these places, weighted, moves by at most the drift, and by more when another writer or an embedding model was there.

use sha2::{Digest as _, Sha256};

use super::fingerprint::{Digest, digest};
use crate::model::{Distance, Record, Value, ulp};

/// A record as it was once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seal {
    /// Of id, document, uri, metadata but for doubles, and l2 and ip vectors.
    exact: u64,
    /// Sum over the components of a cosine vector.
    vector: i64,
    /// Sum over the metadata's doubles.
    doubles: i64,
}

/// Bytes of a [`Seal`].
pub const SEAL: usize = 24;

impl Seal {
    /// The seal of a record of a collection with this distance.
    #[must_use]
    pub fn of(record: &Record, distance: Distance) -> Self {
        Self::with(record, digest(record, distance), distance)
    }

    /// As [`Seal::of`], where the record's digest is known already.
    #[must_use]
    pub fn with(record: &Record, digest: Digest, distance: Distance) -> Self {
        let exact = Sha256::digest(digest);
        let exact = exact.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte));
        Self { exact, vector: vector(record, distance).sum, doubles: doubles(record).sum }
    }

    /// Whether this record is the sealed one, apart from what Chroma moves by itself.
    #[must_use]
    pub fn holds(&self, record: &Record, distance: Distance) -> bool {
        let now = Self::of(record, distance);
        let near = |before: i64, now: i64, drift: u64| before.wrapping_sub(now).unsigned_abs() <= drift;
        self.exact == now.exact
            && near(self.vector, now.vector, vector(record, distance).drift)
            && near(self.doubles, now.doubles, doubles(record).drift)
    }

    /// As bytes, to keep.
    #[must_use]
    pub fn pack(self) -> [u8; SEAL] {
        let mut packed = [0; SEAL];
        let numbers = [self.exact.to_le_bytes(), self.vector.to_le_bytes(), self.doubles.to_le_bytes()];
        packed.copy_from_slice(numbers.as_flattened());
        packed
    }

    /// From the bytes of [`Seal::pack`].
    #[must_use]
    pub fn unpack(packed: [u8; SEAL]) -> Self {
        let number = |n: usize| packed.as_chunks::<8>().0.get(n).copied().unwrap_or_default();
        Self {
            exact: u64::from_le_bytes(number(0)),
            vector: i64::from_le_bytes(number(1)),
            doubles: i64::from_le_bytes(number(2)),
        }
    }
}

/// A weighted sum of places, and by how much it may move while each number moves by the tolerated ULPs.
#[derive(Default)]
struct Sketch {
    sum: i64,
    drift: u64,
    /// Of the weights.
    state: u32,
}

impl Sketch {
    fn take(&mut self, place: i64) {
        // small, and another one for each of many neighbours: two numbers that changed places show
        self.state = self.state.wrapping_mul(0x9E37_79B9).wrapping_add(0x7F4A_7C15);
        let weight = 1 + (self.state >> 24) % 13;
        self.sum = self.sum.wrapping_add(place.wrapping_mul(i64::from(weight)));
        self.drift += u64::from(ulp::TOLERATED) * u64::from(weight);
    }
}

fn vector(record: &Record, distance: Distance) -> Sketch {
    let mut sketch = Sketch::default();
    if distance == Distance::Cosine {
        for x in &record.embedding {
            sketch.take(ulp::place_of_f32(*x));
        }
    }
    sketch
}

fn doubles(record: &Record) -> Sketch {
    let mut sketch = Sketch::default();
    for value in record.metadata.values() {
        each_double(value, &mut |x| sketch.take(ulp::place_of_f64(x)));
    }
    sketch
}

fn each_double(value: &Value, take: &mut impl FnMut(f64)) {
    match value {
        Value::Float(x) => take(*x),
        Value::List(items) => items.iter().for_each(|item| each_double(item, take)),
        Value::Str(_) | Value::Int(_) | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Metadata;
    use proptest::prelude::*;

    fn record(embedding: Vec<f32>, double: f64) -> Record {
        Record {
            id: "a".into(),
            embedding,
            document: Some("text".into()),
            uri: None,
            metadata: Metadata::from([("at".to_owned(), Value::Float(double))]),
        }
    }

    proptest! {
        #[test]
        fn a_seal_survives_its_bytes_and_every_tolerated_drift(
            v in proptest::collection::vec(-1e3_f32..1e3, 1..40), x in -1e12_f64..1e12,
            by in proptest::collection::vec(-4_i32..=4, 40), double_by in -4_i64..=4,
        ) {
            let before = record(v.clone(), x);
            let seal = Seal::of(&before, Distance::Cosine);
            prop_assert_eq!(Seal::unpack(seal.pack()), seal);
            let moved = v.iter().zip(&by).map(|(x, by)| {
                f32::from_bits(x.to_bits().saturating_add_signed(*by))
            }).collect::<Vec<f32>>();
            prop_assume!(moved.iter().zip(&v).all(|(a, b)| ulp::f32(*a, *b) <= ulp::TOLERATED));
            let after = record(moved, f64::from_bits(x.to_bits().saturating_add_signed(double_by)));
            prop_assume!(ulp::f64(x, f64::from_bits(x.to_bits().saturating_add_signed(double_by))) <= u64::from(ulp::TOLERATED));
            prop_assert!(seal.holds(&after, Distance::Cosine));
        }

        #[test]
        fn another_vector_or_double_breaks_it(v in proptest::collection::vec(-1.0_f32..1.0, 8..40), seed: u64) {
            let before = record(v.clone(), 1.5);
            let seal = Seal::of(&before, Distance::Cosine);
            let mut other = v.clone();
            other[0] += 0.01;
            prop_assert!(!seal.holds(&record(other, 1.5), Distance::Cosine));
            let mut turned = v.clone();
            turned.rotate_left(1 + usize::try_from(seed % 3).unwrap());
            prop_assume!(turned != v);
            // a rotation keeps the multiset of components: only their places differ
            prop_assert!(!seal.holds(&record(turned, 1.5), Distance::L2));
            prop_assert!(!seal.holds(&record(v, 1.5 + 1e-12), Distance::Cosine));
        }
    }

    #[test]
    fn two_components_that_change_places_show() {
        let seal = Seal::of(&record(vec![0.25, 0.5, 0.75, 1.0], 0.0), Distance::Cosine);
        for swapped in [[0.5, 0.25, 0.75, 1.0], [0.25, 0.75, 0.5, 1.0], [1.0, 0.5, 0.75, 0.25]] {
            assert!(!seal.holds(&record(swapped.to_vec(), 0.0), Distance::Cosine), "{swapped:?}");
        }
    }

    #[test]
    fn what_is_exact_stays_exact() {
        let before = record(vec![1.0], 0.5);
        let seal = Seal::of(&before, Distance::L2);
        assert!(seal.holds(&before, Distance::L2));
        assert!(!seal.holds(&Record { document: None, ..before.clone() }, Distance::L2));
        assert!(!seal.holds(&Record { uri: Some(String::new()), ..before.clone() }, Distance::L2));
        assert!(
            !seal.holds(&Record { embedding: vec![f32::from_bits(1.0_f32.to_bits() + 1)], ..before }, Distance::L2)
        );
    }
}
