//! The write-ahead log (`embeddings_queue`): which records its tail changes, and what a change does to a record.
//! Replays as the engine does; reads no table itself.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::super::record::{Metadata, Value};

/// The metadata key that holds the document.
pub const DOCUMENT: &str = "chroma:document";
/// The metadata key that holds the uri.
pub const URI: &str = "chroma:uri";

/// What an entry of the log does, by Chroma's codes 0 to 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Adds a record; ignored where the id exists.
    Add,
    /// Changes a record; ignored where the id does not exist.
    Update,
    /// Adds or changes.
    Upsert,
    /// Deletes.
    Delete,
}

impl Operation {
    /// The operation of a code; None for one that Chroma does not have.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Add),
            1 => Some(Self::Update),
            2 => Some(Self::Upsert),
            3 => Some(Self::Delete),
            _ => None,
        }
    }
}

/// The head of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log.
    pub seq_id: i64,
    /// What it does.
    pub operation: Operation,
    /// The record's id.
    pub id: String,
    /// Whether it carries a vector.
    pub has_vector: bool,
}

/// Where the newest vector of a record is, if the log's tail says anything about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorAt {
    /// In the entry with this `seq_id`.
    Entry(i64),
    /// Nowhere: the record was deleted.
    Deleted,
}

/// What the log's tail changes, by id; holds ids and `seq_id`s only.
#[derive(Debug, Default)]
pub struct Overlay {
    vectors: HashMap<String, VectorAt>,
    changes: HashMap<String, Changes>,
}

/// What the tail does to a record beside its vector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Whether the record exists after the tail.
    pub exists: bool,
    /// Whether the tables' row still counts; false once the tail has deleted it.
    pub keeps_row: bool,
    /// The entries to apply, in order.
    pub entries: Vec<i64>,
}

impl Overlay {
    /// Takes an entry that the HNSW index has not seen; `indexed` says whether the index holds the id.
    ///
    /// # Errors
    /// Those of `indexed`.
    pub fn vector<E>(&mut self, entry: &Entry, indexed: impl FnOnce(&str) -> Result<bool, E>) -> Result<(), E> {
        let exists = match self.vectors.get(&entry.id) {
            Some(at) => *at != VectorAt::Deleted,
            None => indexed(&entry.id)?,
        };
        let at = match entry.operation {
            Operation::Delete => VectorAt::Deleted,
            Operation::Add if exists => return Ok(()),
            Operation::Update if !exists => return Ok(()),
            _ if !entry.has_vector => return Ok(()),
            _ => VectorAt::Entry(entry.seq_id),
        };
        self.vectors.insert(entry.id.clone(), at);
        Ok(())
    }

    /// Takes an entry that the tables have not seen; `tabled` says whether they hold the id.
    ///
    /// # Errors
    /// Those of `tabled`.
    pub fn change<E>(&mut self, entry: &Entry, tabled: impl FnOnce(&str) -> Result<bool, E>) -> Result<(), E> {
        if !self.changes.contains_key(&entry.id) {
            let exists = tabled(&entry.id)?;
            self.changes.insert(entry.id.clone(), Changes { exists, keeps_row: exists, entries: Vec::new() });
        }
        let Some(changes) = self.changes.get_mut(&entry.id) else { return Ok(()) };
        match entry.operation {
            Operation::Delete => *changes = Changes::default(),
            Operation::Add if changes.exists => {}
            Operation::Update if !changes.exists => {}
            _ => {
                changes.exists = true;
                changes.entries.push(entry.seq_id);
            }
        }
        Ok(())
    }

    /// Where the tail leaves the id's vector; None where it says nothing.
    #[must_use]
    pub fn vector_of(&self, id: &str) -> Option<VectorAt> {
        self.vectors.get(id).copied()
    }

    /// Sets where an id's vector is, found outside the tail.
    pub fn set_vector(&mut self, id: String, at: VectorAt) {
        self.vectors.insert(id, at);
    }

    /// What the tail does to the id; None where it says nothing.
    #[must_use]
    pub fn changes_of(&self, id: &str) -> Option<&Changes> {
        self.changes.get(id)
    }

    /// All changed ids.
    pub fn changed(&self) -> impl Iterator<Item = (&str, &Changes)> {
        self.changes.iter().map(|(id, changes)| (id.as_str(), changes))
    }
}

/// The content of a record beside its vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// The document, if there is one.
    pub document: Option<String>,
    /// The uri, if there is one.
    pub uri: Option<String>,
    /// The user's metadata.
    pub metadata: Metadata,
}

impl Content {
    /// Sets a key as the tables or the log hold it; documents and uris go to their own fields.
    ///
    /// # Errors
    /// When a document or uri is no text.
    pub fn set(&mut self, key: String, value: Value) -> Result<(), String> {
        match (key.as_str(), value) {
            (DOCUMENT, Value::Str(text)) => self.document = Some(text),
            (URI, Value::Str(text)) => self.uri = Some(text),
            (DOCUMENT | URI, other) => return Err(format!("its {key} is no text but {other:?}")),
            (_, value) => drop(self.metadata.insert(key, value)),
        }
        Ok(())
    }

    fn remove(&mut self, key: &str) {
        match key {
            DOCUMENT => self.document = None,
            URI => self.uri = None,
            _ => drop(self.metadata.remove(key)),
        }
    }

    /// Applies one entry's metadata document: keys merge, null removes a key.
    ///
    /// # Errors
    /// When it is no JSON object, or holds what Chroma's record metadata cannot.
    pub fn merge(&mut self, json: &str) -> Result<(), String> {
        let object: serde_json::Map<String, Json> =
            serde_json::from_str(json).map_err(|e| format!("its metadata in the log cannot be read: {e}"))?;
        for (key, value) in object {
            match value {
                Json::Null => self.remove(&key),
                // Chroma 1.x keeps no row for an empty array, so the key is gone once the entry is applied.
                Json::Array(items) if items.is_empty() => self.remove(&key),
                Json::Array(items) => self.set(key, list(&items)?)?,
                other => {
                    let value = scalar(&other).ok_or_else(|| format!("its metadata {key:?} in the log is {other}"))?;
                    self.set(key, value)?;
                }
            }
        }
        Ok(())
    }
}

/// One JSON scalar; integers beyond i64 are floats, as in Chroma.
fn scalar(json: &Json) -> Option<Value> {
    match json {
        Json::Bool(b) => Some(Value::Bool(*b)),
        Json::String(s) => Some(Value::Str(s.clone())),
        Json::Number(n) => n.as_i64().map(Value::Int).or_else(|| n.as_f64().map(Value::Float)),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// An array of one type; integers beside floats become floats, as in Chroma 1.x.
fn list(items: &[Json]) -> Result<Value, String> {
    let foreign = || format!("its metadata in the log holds the array {}", Json::from(items));
    let mut values = items.iter().map(scalar).collect::<Option<Vec<_>>>().ok_or_else(foreign)?;
    if values.iter().any(|v| matches!(v, Value::Float(_))) {
        for (value, json) in values.iter_mut().zip(items) {
            if matches!(value, Value::Int(_)) {
                *value = Value::Float(json.as_f64().ok_or_else(foreign)?);
            }
        }
    }
    let kind = values.first().map(std::mem::discriminant);
    if values.iter().any(|v| Some(std::mem::discriminant(v)) != kind) {
        return Err(foreign());
    }
    Ok(Value::List(values))
}

/// A vector of the log, by its encoding.
///
/// # Errors
/// When the encoding is unknown, or the length fits no vector of `dimension` components.
pub fn vector(bytes: &[u8], encoding: Option<&str>, dimension: Option<u32>) -> Result<Vec<f32>, String> {
    if !bytes.len().is_multiple_of(4) || dimension.is_some_and(|d| bytes.len() as u64 != u64::from(d) * 4) {
        let expected = dimension.map_or_else(|| "a multiple of 4".to_owned(), |d| (u64::from(d) * 4).to_string());
        return Err(format!("its vector in the log has {} bytes, expected {expected}", bytes.len()));
    }
    match encoding {
        Some("FLOAT32") => Ok(super::hnsw::floats(bytes).collect()),
        // Chroma hands integers to its index, which holds f32.
        #[allow(clippy::cast_precision_loss)]
        Some("INT32") => Ok(bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b) as f32).collect()),
        other => Err(format!("its vector in the log has the encoding {other:?}, known are FLOAT32 and INT32")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn replay(known: &[&str], tail: &[(Operation, &str, bool)]) -> Overlay {
        let mut overlay = Overlay::default();
        for (n, (operation, id, has_vector)) in tail.iter().enumerate() {
            let seq_id = i64::try_from(n).unwrap() + 1;
            let entry = Entry { seq_id, operation: *operation, id: (*id).to_owned(), has_vector: *has_vector };
            overlay.vector(&entry, |id| Ok::<_, Infallible>(known.contains(&id))).unwrap();
            overlay.change(&entry, |id| Ok::<_, Infallible>(known.contains(&id))).unwrap();
        }
        overlay
    }

    #[test]
    fn an_add_of_a_known_id_and_an_update_of_an_unknown_one_are_ignored() {
        use Operation::{Add, Update};
        let overlay = replay(&["old"], &[(Add, "old", true), (Update, "new", true), (Update, "old", false)]);
        assert_eq!((overlay.vector_of("old"), overlay.vector_of("new")), (None, None));
        let old = Changes { exists: true, keeps_row: true, entries: vec![3] };
        assert_eq!(overlay.changes_of("old"), Some(&old));
        assert_eq!(overlay.changes_of("new"), Some(&Changes::default()));
    }

    #[test]
    fn an_add_after_a_delete_starts_anew() {
        use Operation::{Add, Delete, Update, Upsert};
        let overlay =
            replay(&["a", "b"], &[(Update, "a", true), (Delete, "a", false), (Add, "a", true), (Delete, "b", false)]);
        assert_eq!(overlay.vector_of("a"), Some(VectorAt::Entry(3)));
        assert_eq!(overlay.changes_of("a"), Some(&Changes { exists: true, keeps_row: false, entries: vec![3] }));
        assert_eq!(overlay.vector_of("b"), Some(VectorAt::Deleted));
        assert!(!overlay.changes_of("b").unwrap().exists);
        let upserts = replay(&[], &[(Upsert, "a", true), (Upsert, "a", true), (Add, "a", true)]);
        assert_eq!(upserts.vector_of("a"), Some(VectorAt::Entry(2)));
        assert_eq!(upserts.changes_of("a").unwrap().entries, [1, 2]);
    }

    #[test]
    fn keys_merge_and_null_removes() {
        let mut content = Content::default();
        content.merge(r#"{"a": 1, "b": 1.0, "chroma:document": "d", "big": 18446744073709551615, "t": true}"#).unwrap();
        content.merge(r#"{"a": null, "chroma:uri": "u\u0000", "list": [1, 2.5], "none": []}"#).unwrap();
        assert_eq!((content.document.as_deref(), content.uri.as_deref()), (Some("d"), Some("u\0")));
        let expected = [
            ("b", Value::Float(1.0)),
            ("big", Value::Float(18_446_744_073_709_551_615.0)),
            ("list", Value::List(vec![Value::Float(1.0), Value::Float(2.5)])),
            ("t", Value::Bool(true)),
        ];
        assert_eq!(content.metadata, expected.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
        content.merge(r#"{"chroma:document": null}"#).unwrap();
        assert_eq!(content.document, None);
    }

    #[test]
    fn what_is_unknown_is_an_error_and_never_dropped() {
        for json in [
            r##"{"s": {"#type": "sparse_vector", "indices": [1], "values": [0.5]}}"##,
            r#"{"l": [1, "a"]}"#,
            r#"{"l": [[1]]}"#,
            r#"{"chroma:document": 5}"#,
            r#"{"n": NaN}"#,
            "[]",
            "",
        ] {
            assert!(Content::default().merge(json).is_err(), "{json}");
        }
    }

    #[test]
    fn vectors_are_read_by_their_encoding() {
        assert_eq!(vector(&[0, 0, 128, 63], Some("FLOAT32"), Some(1)), Ok(vec![1.0]));
        assert_eq!(vector(&[2, 0, 0, 0], Some("INT32"), None), Ok(vec![2.0]));
        assert!(vector(&[0; 8], Some("FLOAT32"), Some(3)).unwrap_err().contains("8 bytes, expected 12"));
        assert!(vector(&[0; 4], Some("FLOAT64"), Some(1)).unwrap_err().contains("FLOAT64"));
        assert!(vector(&[0; 4], None, Some(1)).is_err());
    }

    proptest! {
        #[test]
        fn no_metadata_makes_it_panic(json in ".{0,80}") {
            drop(Content::default().merge(&json));
        }

        #[test]
        fn no_mutated_metadata_makes_it_panic(at in 0usize..60, byte in any::<u8>()) {
            let mut json = br#"{"a": [1, 2.5], "chroma:document": "x", "n": null, "e": 1e309}"#.to_vec();
            let at = at % json.len();
            json[at] = byte;
            if let Ok(json) = std::str::from_utf8(&json) {
                drop(Content::default().merge(json));
            }
        }
    }
}
