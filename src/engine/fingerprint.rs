//! Digests of records, and the fingerprint of a collection made of them in id order.
//! Stands beside verification, never for it: what drifts in Chroma (cosine vectors, doubles) is left out.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::model::{Distance, Record, Value};

/// SHA-256 of one record's canonical form.
pub type Digest = [u8; 32];

/// The digest of what is equal to the byte on both sides of a correct copy: id, document, uri, metadata keys, types and
/// non-float values, and the vector but for cosine.
#[must_use]
pub fn digest(record: &Record, distance: Distance) -> Digest {
    let Record { id, embedding, document, uri, metadata } = record;
    let mut hash = Sha256::new();
    text(&mut hash, id);
    optional(&mut hash, document.as_deref());
    optional(&mut hash, uri.as_deref());
    length(&mut hash, metadata.len());
    for (key, item) in metadata {
        text(&mut hash, key);
        value(&mut hash, item);
    }
    vector(&mut hash, embedding, distance);
    hash.finalize().into()
}

/// 128 bits that stand for a document, to find the same text under another id.
#[must_use]
pub fn document_mark(document: &str) -> u128 {
    let digest: Digest = Sha256::digest(document.as_bytes()).into();
    digest.iter().take(16).fold(0, |mark, byte| (mark << 8) | u128::from(*byte))
}

/// The fingerprint of many digests, given in id order.
#[derive(Default)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Takes the next digest.
    pub fn push(&mut self, digest: &Digest) {
        self.0.update(digest);
    }

    /// Lower-case hex.
    #[must_use]
    pub fn finish(self) -> String {
        self.0.finalize().iter().fold(String::new(), |mut hex, byte| {
            // writing to a string cannot fail
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// One fingerprint for several collections: over their target names and fingerprints, in the order of the names.
#[must_use]
pub fn of_collections<'a>(collections: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut sorted: Vec<(&str, &str)> = collections.collect();
    sorted.sort_unstable();
    let mut hash = Sha256::new();
    for (name, fingerprint) in sorted {
        text(&mut hash, name);
        text(&mut hash, fingerprint);
    }
    Fingerprint(hash).finish()
}

fn length(hash: &mut Sha256, n: usize) {
    hash.update((n as u64).to_le_bytes());
}

/// Length first, so that no two sequences of texts have the same bytes.
fn text(hash: &mut Sha256, text: &str) {
    length(hash, text.len());
    hash.update(text.as_bytes());
}

fn optional(hash: &mut Sha256, value: Option<&str>) {
    hash.update([u8::from(value.is_some())]);
    if let Some(value) = value {
        text(hash, value);
    }
}

fn value(hash: &mut Sha256, value_: &Value) {
    match value_ {
        Value::Str(s) => {
            hash.update(b"s");
            text(hash, s);
        }
        Value::Int(n) => {
            hash.update(b"i");
            hash.update(n.to_le_bytes());
        }
        Value::Float(_) => hash.update(b"f"),
        Value::Bool(b) => hash.update([b'b', u8::from(*b)]),
        Value::List(items) => {
            hash.update(b"l");
            length(hash, items.len());
            for item in items {
                value(hash, item);
            }
        }
    }
}

fn vector(hash: &mut Sha256, embedding: &[f32], distance: Distance) {
    length(hash, embedding.len());
    if distance != Distance::Cosine {
        let mut bytes = Vec::with_capacity(embedding.len() * 4);
        // adding 0.0 turns -0.0 into 0.0, which equality takes for the same
        for x in embedding {
            bytes.extend_from_slice(&(x + 0.0).to_le_bytes());
        }
        hash.update(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compare::{Comparison, compare};
    use crate::engine::seal::Seal;
    use crate::model::Metadata;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            ".{0,3}".prop_map(Value::Str),
            any::<i64>().prop_map(Value::Int),
            (-10.0..10.0_f64).prop_map(Value::Float),
            any::<bool>().prop_map(Value::Bool),
        ];
        prop_oneof![scalar.clone(), proptest::collection::vec(scalar, 0..3).prop_map(Value::List)]
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let metadata = proptest::collection::btree_map("[a-c]", any_value(), 0..3);
        let text = || proptest::option::of("[ab]{0,2}");
        ("[ab]{0,2}", proptest::collection::vec(-2.0..2.0_f32, 0..3), text(), text(), metadata).prop_map(
            |(id, embedding, document, uri, metadata): (_, _, _, _, Metadata)| Record {
                id,
                embedding,
                document,
                uri,
                metadata,
            },
        )
    }

    proptest! {
        #[test]
        fn equal_records_have_equal_digests_and_unequal_ones_of_l2_without_doubles_do_not(a in any_record(), b in any_record()) {
            for distance in [Distance::L2, Distance::Cosine] {
                if a.id == b.id && matches!(compare(&a, &b, distance), Comparison::Equal(_)) {
                    prop_assert_eq!(digest(&a, distance), digest(&b, distance));
                }
            }
            if a.id == b.id && compare(&a, &b, Distance::L2) != Comparison::Equal(0) {
                prop_assert!(!Seal::of(&a, Distance::L2).holds(&b, Distance::L2));
            }
        }
    }

    #[test]
    fn absent_and_empty_text_differ() {
        let a = Record { id: "a".into(), embedding: vec![], document: None, uri: None, metadata: Metadata::new() };
        let b = Record { document: Some(String::new()), ..a.clone() };
        assert_ne!(digest(&a, Distance::L2), digest(&b, Distance::L2));
    }
}
