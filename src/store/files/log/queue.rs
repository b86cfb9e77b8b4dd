//! The write-ahead log (`embeddings_queue`): its entries, and what one of them does to a record's content.
//! Applies as the engine does; reads no table itself.

use serde_json::Value as Json;

use crate::model::{Metadata, Value};
use crate::store::files::index::hnsw;
use crate::store::odd::Odd;

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

    /// Its code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Add => 0,
            Self::Update => 1,
            Self::Upsert => 2,
            Self::Delete => 3,
        }
    }
}

/// The head of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place in the log.
    pub seq_id: i64,
    /// What it does.
    pub operation: Operation,
    /// The record's id.
    pub id: String,
    /// Whether it carries a vector.
    pub has_vector: bool,
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
    /// Keys whose value is not as Chroma writes it, with what came of it.
    pub odd: Vec<(String, Odd)>,
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
            (DOCUMENT | URI, _) => return Err(format!("its {key} is no text")),
            (_, value) => drop(self.metadata.insert(key, value)),
        }
        Ok(())
    }

    /// As [`Content::set`]; what has no value is left out.
    ///
    /// # Errors
    /// When a document or uri is no text.
    pub fn set_or_drop(&mut self, key: String, value: Option<Value>, odd: Option<Odd>) -> Result<(), String> {
        self.odd.extend(odd.map(|odd| (key.clone(), odd)));
        match value {
            Some(value) => self.set(key, value),
            None => Ok(()),
        }
    }

    /// Makes of what the log tells what the tables held: `SQLite` keeps a negative zero as zero.
    pub fn as_in_tables(&mut self) {
        fn settle(value: &mut Value) {
            match value {
                Value::Float(x) if *x == 0.0 => *x = 0.0,
                Value::List(items) => items.iter_mut().for_each(settle),
                _ => {}
            }
        }
        self.metadata.values_mut().for_each(settle);
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
        let parsed = serde_json::from_str::<serde_json::Map<String, Json>>(json);
        let finite = parsed.is_err().then(|| finite(json)).flatten();
        let object = finite.as_ref().map_or(parsed, |finite| serde_json::from_str(finite));
        let object = object.map_err(|e| format!("its metadata in the log cannot be read: {e}"))?;
        for (key, value) in object {
            self.odd.retain(|(odd, _)| *odd != key);
            match value {
                Json::Null => self.remove(&key),
                Json::Object(word) if finite.is_some() && word.contains_key(NO_JSON) => {
                    let odd = if word.get(NO_JSON).and_then(Json::as_str) == Some("NaN") {
                        Odd::nothing()
                    } else {
                        Odd::infinite()
                    };
                    self.remove(&key);
                    self.set_or_drop(key, None, Some(odd))?;
                }
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

/// The key under which [`finite`] puts a number that JSON does not have.
const NO_JSON: &str = "\u{0}";

/// The text with `{"\u0000": word}` for the numbers that Python writes and JSON does not have; None where there are none.
fn finite(json: &str) -> Option<String> {
    let (mut text, mut rest, mut in_string, mut found) = (String::with_capacity(json.len()), json, false, false);
    while let Some(first) = rest.chars().next() {
        let word = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| !in_string && rest.starts_with(word));
        let taken = match word {
            Some(word) => word.len(),
            None if in_string && first == '\\' => rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at),
            None => first.len_utf8(),
        };
        let (head, tail) = rest.split_at_checked(taken)?;
        in_string ^= head == "\"";
        found |= word.is_some();
        match word {
            Some(word) => text.extend(["{\"\\u0000\": \"", word, "\"}"]),
            None => text.push_str(head),
        }
        rest = tail;
    }
    found.then_some(text)
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
        Some("FLOAT32") => Ok(hnsw::floats(bytes).collect()),
        // Chroma hands integers to its index, which holds f32.
        #[allow(clippy::cast_precision_loss)]
        Some("INT32") => Ok(bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b) as f32).collect()),
        other => {
            let other = other.map_or_else(|| "no encoding".to_owned(), |other| format!("the encoding {other:?}"));
            Err(format!("its vector in the log has {other}, known are FLOAT32 and INT32"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            r#"{"n": nan}"#,
            r#"{"n": [NaN]}"#,
            "[]",
            "",
        ] {
            assert!(Content::default().merge(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_number_that_json_does_not_have_is_left_out_and_named() {
        let mut content = Content::default();
        content.merge(r#"{"a": NaN, "b": -Infinity, "c": "NaN \" Infinity", "d": 1, "chroma:document": "x"}"#).unwrap();
        assert_eq!(content.odd, [("a".to_owned(), Odd::nothing()), ("b".to_owned(), Odd::infinite())]);
        let expected = [("c", Value::Str("NaN \" Infinity".to_owned())), ("d", Value::Int(1))];
        assert_eq!(content.metadata, expected.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
        content.merge(r#"{"a": 2}"#).unwrap();
        assert_eq!((content.odd.len(), content.document.as_deref()), (1, Some("x")));
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
        fn no_mutated_metadata_makes_it_panic(at in 0usize..75, byte in any::<u8>()) {
            let mut json = br#"{"a": [1, 2.5], "chroma:document": "x", "n": null, "e": 1e309, "i": -Infinity}"#.to_vec();
            let at = at % json.len();
            json[at] = byte;
            if let Ok(json) = std::str::from_utf8(&json) {
                drop(Content::default().merge(json));
            }
        }
    }
}
