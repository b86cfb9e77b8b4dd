//! The keys of a collection's schema, which Chroma 1.5 adds to with each metadata key that it sees: each kind of value with the
//! settings that the schema's own defaults have for it (measured on 1.5.9). Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::model::{Metadata, Value};

/// Kinds of values, as a schema names them.
const KINDS: [&str; 4] = ["string", "int", "float", "bool"];

/// The kinds of values that each key was seen with, a bit each. As many keys as the schema itself will have.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<String, u8>);

impl Keys {
    /// Takes the keys of one record.
    pub(super) fn see(&mut self, metadata: &Metadata) {
        for (key, value) in metadata {
            let Some(bit) = bit(value) else { continue };
            match self.0.get_mut(key) {
                Some(bits) => *bits |= bit,
                None => drop(self.0.insert(key.clone(), bit)),
            }
        }
    }

    /// Adds them to a schema; what it says of a key already stays. One that is no schema stays as it is.
    pub(super) fn amend(&self, schema: &mut Json) {
        let defaults = schema["defaults"].clone();
        let Some(keys) = schema.get_mut("keys").and_then(Json::as_object_mut) else { return };
        for (key, bits) in &self.0 {
            let entry = keys.entry(key.clone()).or_insert_with(|| Json::Object(Map::new()));
            let Some(entry) = entry.as_object_mut() else { continue };
            for (_, kind) in KINDS.iter().enumerate().filter(|(n, _)| bits & (1 << n) != 0) {
                if let Some(default) = defaults.get(kind).filter(|default| !default.is_null()) {
                    entry.entry(*kind).or_insert_with(|| default.clone());
                }
            }
        }
    }
}

/// An array counts as what it holds.
fn bit(value: &Value) -> Option<u8> {
    match value {
        Value::Str(_) => Some(1),
        Value::Int(_) => Some(1 << 1),
        Value::Float(_) => Some(1 << 2),
        Value::Bool(_) => Some(1 << 3),
        Value::List(values) => values.first().and_then(bit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_of_each_key_gets_the_default_and_what_is_there_stays() {
        let mut keys = Keys::default();
        let list = Value::List(vec![Value::Int(1)]);
        keys.see(&[("a".to_owned(), Value::Str("x".into())), ("l".to_owned(), list)].into());
        keys.see(&[("a".to_owned(), Value::Float(1.0)), ("own".to_owned(), Value::Bool(true))].into());
        let mut schema = json!({
            "defaults": {"string": {"s": 1}, "int": {"i": 1}, "float": {"f": 1}, "bool": {"b": 1}},
            "keys": {"own": {"bool": {"b": 2}}, "#document": {}}
        });
        keys.amend(&mut schema);
        assert_eq!(
            schema["keys"],
            json!({
                "own": {"bool": {"b": 2}}, "#document": {},
                "a": {"string": {"s": 1}, "float": {"f": 1}}, "l": {"int": {"i": 1}}
            })
        );
        let mut none = json!({});
        keys.amend(&mut none);
        assert_eq!(none, json!({}));
    }
}
