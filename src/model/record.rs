//! The lossless model of one memory: what a Chroma record holds, with its types.
//! No JSON, no SQL, nothing of ours: every store translates into this and out of it.

use std::collections::BTreeMap;

/// Metadata of a record or a collection, by key. Chroma reads `{}` back as null, so empty means both.
pub type Metadata = BTreeMap<String, Value>;

/// One metadata value. Chroma keeps the types apart: `1` is not `1.0`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text of any content, the empty string and NUL included.
    Str(String),
    /// A signed integer. Integers beyond i64 are floats in Chroma.
    Int(i64),
    /// A double. Never NaN or infinite: JSON, and so Chroma's API, has none.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// An array of the scalars above (Chroma 1.x), in order. Never holds a list.
    List(Vec<Value>),
}

/// One memory: everything that Chroma keeps under one id in one collection.
///
/// Code that copies, compares or hashes a record destructures it without `..`, so that a new field
/// cannot be forgotten.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Unique in its collection; any text.
    pub id: String,
    /// The vector as `get` returns it: raw, with its norm, also in a cosine collection.
    pub embedding: Vec<f32>,
    /// None is an absent document; the empty string is a document.
    pub document: Option<String>,
    /// None is an absent uri.
    pub uri: Option<String>,
    /// Empty stands for absent metadata too.
    pub metadata: Metadata,
}

/// Where a record's vector was read. Written into the report for a local target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the write-ahead log (`embeddings_queue`) of a local store.
    Wal,
    /// From the HNSW files of a local store.
    Hnsw,
    /// From a server's answer.
    Server,
}

/// What a store answers for one id that it holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    /// The whole record.
    Record {
        /// The record.
        record: Record,
        /// Where its vector was read.
        origin: Origin,
    },
    /// The store holds the id, but not (all of) its content, for instance no vector.
    Unreadable {
        /// The record's id.
        id: String,
        /// What is missing and where it was looked for.
        why: String,
    },
}

impl Fetched {
    /// The id this is the answer for.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Record { record, .. } => &record.id,
            Self::Unreadable { id, .. } => id,
        }
    }
}
