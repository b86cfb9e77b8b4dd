//! The JSON bodies of writes, encoded straight from the records.
//! Sends nothing; builds no tree of values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};
use tokio_util::bytes::Bytes;

use crate::chroma::NewCollection;
use crate::model::{Metadata, Record, Value};
use crate::store::Amendment;

/// The body of an add.
pub(super) fn add(records: &[Record], base64: bool) -> serde_json::Result<Bytes> {
    encode(&Records(&|| records.iter().map(|record| (record, [].as_slice())), base64))
}

/// The body of an update.
pub(super) fn update(amendments: &[Amendment], base64: bool) -> serde_json::Result<Bytes> {
    encode(&Records(&|| amendments.iter().map(|Amendment { record, surplus }| (record, surplus.as_slice())), base64))
}

/// The body that sets a collection's metadata, all of it.
pub(super) fn modify(metadata: &Metadata) -> serde_json::Result<Bytes> {
    encode(&serde_json::json!({"new_metadata": serde_json::to_value(Keys(metadata, &[]))?}))
}

/// The body of a creation.
pub(super) fn create(new: &NewCollection) -> serde_json::Result<Bytes> {
    let NewCollection { name, database: _, metadata, later: _, configuration, schema, losses: _, lost: _ } = new;
    let mut body = serde_json::json!({"name": name, "get_or_create": false});
    if !metadata.is_empty() {
        body["metadata"] = serde_json::to_value(Keys(metadata, &[]))?;
    }
    // Both together are refused by every server that knows both.
    if let Some(schema) = schema {
        body["schema"] = schema.clone();
    } else if let Some(configuration) = configuration {
        body["configuration"] = configuration.clone();
    }
    encode(&body)
}

fn encode<T: Serialize>(body: &T) -> serde_json::Result<Bytes> {
    serde_json::to_vec(body).map(Bytes::from)
}

/// Records as columns; each pair is a record and the metadata keys to remove from it.
struct Records<'f, F>(&'f F, bool);

impl<'r, F, I> Serialize for Records<'_, F>
where
    F: Fn() -> I,
    I: Iterator<Item = (&'r Record, &'r [String])>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(rows, base64) = self;
        let mut body = serializer.serialize_struct("Records", 5)?;
        body.serialize_field("ids", &Column(|| rows().map(|(record, _)| &record.id)))?;
        body.serialize_field("embeddings", &Column(|| rows().map(|(record, _)| Vector(&record.embedding, *base64))))?;
        body.serialize_field("documents", &Column(|| rows().map(|(record, _)| &record.document)))?;
        body.serialize_field("uris", &Column(|| rows().map(|(record, _)| &record.uri)))?;
        body.serialize_field("metadatas", &Column(|| rows().map(|(record, gone)| Keys(&record.metadata, gone))))?;
        body.end()
    }
}

struct Column<F>(F);

impl<F, I> Serialize for Column<F>
where
    F: Fn() -> I,
    I: Iterator,
    I::Item: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// A vector, as base64 of little-endian f32 or as numbers.
struct Vector<'a>(&'a [f32], bool);

impl Serialize for Vector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(components, base64) = self;
        if *base64 {
            let bytes: Vec<u8> = components.iter().flat_map(|c| c.to_le_bytes()).collect();
            return serializer.serialize_str(&STANDARD.encode(bytes));
        }
        // Servers read a double and round it to f32: the double that is the f32 cannot be rounded wrongly.
        serializer.collect_seq(components.iter().map(|c| f64::from(*c)))
    }
}

/// Metadata and the keys to remove; Chroma wants null where there is nothing.
struct Keys<'a>(&'a Metadata, &'a [String]);

impl Serialize for Keys<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(metadata, gone) = self;
        if metadata.is_empty() && gone.is_empty() {
            return serializer.serialize_none();
        }
        let mut map = serializer.serialize_map(Some(metadata.len() + gone.len()))?;
        for (key, value) in *metadata {
            map.serialize_entry(key, &Cell(value))?;
        }
        for key in gone.iter().filter(|key| !metadata.contains_key(*key)) {
            map.serialize_entry(key, &())?;
        }
        map.end()
    }
}

struct Cell<'a>(&'a Value);

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Str(text) => serializer.serialize_str(text),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Float(number) => serializer.serialize_f64(*number),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::List(values) => serializer.collect_seq(values.iter().map(Cell)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn record(id: &str) -> Record {
        Record { id: id.into(), embedding: vec![1.0, 0.1], document: None, uri: None, metadata: Metadata::new() }
    }

    #[test]
    fn numbers_keep_their_kind_and_nothing_is_null() {
        let mut full = record("é\n");
        full.metadata = [("f", Value::Float(1.0)), ("i", Value::Int(1)), ("l", Value::List(vec![Value::Bool(true)]))]
            .map(|(k, v)| (k.to_owned(), v))
            .into();
        full.document = Some(String::new());
        let body = String::from_utf8(add(&[full, record("b")], true).unwrap().to_vec()).unwrap();
        assert_eq!(
            body,
            concat!(
                r#"{"ids":["é\n","b"],"embeddings":["AACAP83MzD0=","AACAP83MzD0="],"documents":["",null],"#,
                r#""uris":[null,null],"metadatas":[{"f":1.0,"i":1,"l":[true]},null]}"#
            )
        );
        let body = String::from_utf8(add(&[record("b")], false).unwrap().to_vec()).unwrap();
        assert!(body.contains("[[1.0,0.10000000149011612]]"), "{body}");
    }

    #[test]
    fn an_update_removes_surplus_keys_but_never_one_that_is_set() {
        let mut record = record("a");
        record.metadata.insert("k".into(), Value::Int(1));
        let surplus = vec!["gone".to_owned(), "k".to_owned()];
        let body: serde_json::Value =
            serde_json::from_slice(&update(&[Amendment { record, surplus }], true).unwrap()).unwrap();
        assert_eq!(body["metadatas"], json!([{"k": 1, "gone": null}]));
    }

    #[test]
    fn a_schema_is_never_sent_beside_a_configuration() {
        let new = NewCollection {
            database: None,
            name: "abc".into(),
            metadata: Metadata::new(),
            configuration: Some(json!({})),
            schema: Some(json!({"keys": {}})),
            later: Metadata::new(),
            losses: Vec::new(),
            lost: Vec::new(),
        };
        let body: serde_json::Value = serde_json::from_slice(&create(&new).unwrap()).unwrap();
        assert_eq!(body, json!({"name": "abc", "get_or_create": false, "schema": {"keys": {}}}));
    }

    fn values() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            ".{0,8}".prop_map(Value::Str),
            any::<i64>().prop_map(Value::Int),
            proptest::num::f64::NORMAL.prop_map(Value::Float),
            any::<bool>().prop_map(Value::Bool),
        ];
        prop_oneof![scalar.clone(), proptest::collection::vec(scalar, 0..4).prop_map(Value::List)]
    }

    fn records() -> impl Strategy<Value = Record> {
        let text = || proptest::option::of(any::<String>());
        let vector = proptest::collection::vec(proptest::num::f32::ANY, 0..9);
        let metadata = proptest::collection::btree_map(any::<String>(), values(), 0..4);
        (any::<String>(), vector, text(), text(), metadata)
            .prop_map(|(id, embedding, document, uri, metadata)| Record { id, embedding, document, uri, metadata })
    }

    proptest! {
        #[test]
        fn a_body_is_never_longer_than_its_records_say(records in proptest::collection::vec(records(), 1..5), base64: bool) {
            let bound: usize = records.iter().map(|r| crate::chroma::rules::body_len(r, base64)).sum();
            let sent = add(&records, base64).unwrap().len();
            prop_assert!(sent <= bound, "{sent} > {bound}");
        }

        #[test]
        fn what_is_sent_reads_back_equal(record in records()) {
            prop_assume!(record.embedding.iter().all(|c| c.is_finite()));
            let body = add(std::slice::from_ref(&record), false).unwrap();
            let answer: super::super::wire::GetAnswer = serde_json::from_slice(&body).unwrap();
            let parts = ["documents", "metadatas", "embeddings", "uris"];
            let (fetched, _) = answer.into_fetched(std::slice::from_ref(&record.id), &parts).unwrap();
            let crate::model::Fetched::Record { record: back, .. } = &fetched[0] else { panic!("{fetched:?}") };
            prop_assert_eq!(back, &record);
        }
    }
}
