//! The JSON that Chroma servers answer, and what it means: statuses, collections, records.
//! Sends nothing and picks no version: what is told apart here is told apart by its shape.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::decision::{Failed, Failure};
use super::part::{Part, Shape, Text};
use crate::model::{Collection, Fetched, Metadata, Origin, Record, Value, distance};

/// Bytes of a foreign answer that are kept to be quoted. Less is shown, after secrets were blanked.
const QUOTED: usize = 4096;

/// Reads a whole answer; text that is no such JSON is not Chroma's.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failed> {
    serde_json::from_slice(body).map_err(|e| foreign(&e, body))
}

fn foreign(error: &serde_json::Error, body: &[u8]) -> Failed {
    let failure = if error.is_eof() { Failure::Short } else { Failure::Foreign };
    let beginning = String::from_utf8_lossy(&body[..body.len().min(QUOTED)]).into_owned();
    Failed { failure, detail: format!("the answer is not Chroma's ({error})"), quoted: Some(beginning) }
}

/// A collection as every version describes it.
#[derive(Debug, Deserialize)]
pub(super) struct CollectionAnswer {
    id: String,
    name: String,
    #[serde(default)]
    metadata: Part<Pairs>,
    #[serde(default)]
    dimension: Option<u32>,
    #[serde(default)]
    configuration_json: Option<Json>,
    #[serde(default)]
    schema: Option<Json>,
}

impl CollectionAnswer {
    /// Its UUID.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Keys of its metadata whose value is null.
    pub(super) fn nulls(&self) -> Vec<String> {
        let Part::Is(pairs) = &self.metadata else { return Vec::new() };
        pairs.nulls().map(str::to_owned).collect()
    }

    /// The collection; one with a metadata value that none of our types can hold is unreadable.
    pub(super) fn into_collection(self, tenant: &str, database: &str) -> Collection {
        let Self { id, name, metadata, dimension, configuration_json, schema } = self;
        let held = metadata.held("its metadata");
        let held = held.and_then(|pairs| pairs.map_or(Ok(Metadata::new()), Pairs::into_metadata));
        let unreadable = held.as_ref().err().map(|why| format!("cannot be copied as it is: {why}"));
        let metadata = held.unwrap_or_default();
        let configuration = configuration_json.filter(|c| !c.is_null());
        let distance = distance::declared(schema.as_ref(), configuration.as_ref(), &metadata);
        let (tenant, database) = (tenant.to_owned(), database.to_owned());
        Collection { id, name, tenant, database, dimension, distance, metadata, configuration, schema, unreadable }
    }
}

/// A database in the list of a tenant's.
#[derive(Debug, Deserialize)]
pub(super) struct DatabaseAnswer {
    pub(super) name: String,
}

/// The answer to `get`.
#[derive(Debug, Deserialize)]
pub(super) struct GetAnswer {
    ids: Vec<String>,
    embeddings: Option<Vec<Part<Vector>>>,
    documents: Option<Vec<Part<Text>>>,
    uris: Option<Vec<Part<Text>>>,
    metadatas: Option<Vec<Part<Pairs>>>,
}

/// A record's id, and a key of its metadata.
pub(super) type IdAndKey = (String, String);

impl GetAnswer {
    /// The records, checked against what was asked for, and the ids and keys of metadata values that came as null. A part that
    /// was not asked for is absent in each of them. An answer of another shape is an error, never a shorter result.
    pub(super) fn into_fetched(
        self,
        asked: &[String],
        parts: &[&'static str],
    ) -> Result<(Vec<Fetched>, Vec<IdAndKey>), Failed> {
        let Self { ids, embeddings, documents, uris, metadatas } = self;
        let count = ids.len();
        let wants = |part: &str| parts.contains(&part);
        let contradiction = |why: String| Failed::new(Failure::Contradictory, why);
        let mut waiting: BTreeSet<&str> = asked.iter().map(String::as_str).collect();
        if let Some(id) = ids.iter().find(|id| !waiting.remove(id.as_str())) {
            return Err(contradiction(format!(
                "the answer holds the id {id:?}, which was not asked for or is there twice"
            )));
        }
        let mut embeddings = column("embeddings", embeddings, count, wants("embeddings"))?;
        let mut documents = column("documents", documents, count, wants("documents"))?;
        let mut uris = column("uris", uris, count, wants("uris"))?;
        let mut metadatas = column("metadatas", metadatas, count, wants("metadatas"))?;
        let (mut fetched, mut dropped) = (Vec::with_capacity(count), Vec::new());
        for id in ids {
            let row = (embeddings.next(), documents.next(), uris.next(), metadatas.next());
            let (Some(embedding), Some(document), Some(uri), Some(metadata)) = row else {
                return Err(contradiction("the answer's columns have different lengths".to_owned()));
            };
            if let Part::Is(pairs) = &metadata {
                dropped.extend(pairs.nulls().map(|key| (id.clone(), key.to_owned())));
            }
            fetched.push(one(id, embedding, document, uri, metadata));
        }
        Ok((fetched, dropped))
    }
}

/// A column of so many cells: each is absent where the part was not asked for.
fn column<T>(
    name: &str,
    column: Option<Vec<Part<T>>>,
    count: usize,
    is_wanted: bool,
) -> Result<std::vec::IntoIter<Part<T>>, Failed> {
    if !is_wanted {
        return Ok((0..count).map(|_| Part::Absent).collect::<Vec<_>>().into_iter());
    }
    let column = column.ok_or_else(|| Failed::new(Failure::Contradictory, format!("the answer has no {name}")))?;
    if column.len() == count {
        return Ok(column.into_iter());
    }
    let why = format!("the answer has {count} ids, but {} {name}", column.len());
    Err(Failed::new(Failure::Uneven, why))
}

fn one(id: String, embedding: Part<Vector>, document: Part<Text>, uri: Part<Text>, metadata: Part<Pairs>) -> Fetched {
    match content(embedding, document, uri, metadata) {
        Ok((embedding, document, uri, metadata)) => {
            Fetched::Record { record: Record { id, embedding, document, uri, metadata }, origin: Origin::Server }
        }
        Err(why) => Fetched::Unreadable { id, why },
    }
}

type Content = (Vec<f32>, Option<String>, Option<String>, Metadata);

/// What a record holds; an error says which part of it no record can hold.
fn content(
    embedding: Part<Vector>,
    document: Part<Text>,
    uri: Part<Text>,
    metadata: Part<Pairs>,
) -> Result<Content, String> {
    let embedding = embedding.held("its vector")?.ok_or("the server has no vector for it")?.into_components()?;
    let [document, uri] = [(document, "its document"), (uri, "its uri")].map(|(text, what)| text.held(what));
    let metadata = metadata.held("its metadata")?.map_or(Ok(Metadata::new()), Pairs::into_metadata)?;
    Ok((embedding, document?.map(|text| text.0), uri?.map(|text| text.0), metadata))
}

/// The answer to a `get` of which only ids are asked for.
#[derive(Debug, Deserialize)]
pub(super) struct IdsAnswer {
    pub(super) ids: Vec<String>,
}

/// The answer to a `get` of some records' vectors.
#[derive(Debug, Deserialize)]
pub(super) struct VectorAnswer {
    embeddings: Option<Vec<Part<Vector>>>,
}

impl VectorAnswer {
    /// How many components most of the vectors have: one record may have another number. None where there is no vector.
    pub(super) fn dimension(self) -> Option<usize> {
        let mut counts = BTreeMap::new();
        for part in self.embeddings? {
            if let Part::Is(vector) = part {
                *counts.entry(vector.components.len()).or_insert(0_usize) += 1;
            }
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(components, _)| components)
    }
}

/// The answer to `query`, of which only the nearest record's distance and vector are asked for.
#[derive(Debug, Deserialize)]
pub(super) struct QueryAnswer {
    distances: Option<Vec<Vec<Option<f64>>>>,
    embeddings: Option<Vec<Option<Vec<Option<Vector>>>>>,
}

impl QueryAnswer {
    /// Distance and vector of the nearest record; None where no record was found. An error says what is missing.
    pub(super) fn nearest(self) -> Result<Option<(f64, Vec<f32>)>, String> {
        let distances = self.distances.and_then(|all| all.into_iter().next()).unwrap_or_default();
        let Some(distance) = distances.first() else { return Ok(None) };
        let distance = distance.ok_or("the distance of the nearest record is not finite")?;
        let vectors = self.embeddings.and_then(|all| all.into_iter().next()).flatten().unwrap_or_default();
        let vector = vectors.into_iter().next().flatten().ok_or("the nearest record has no vector")?;
        Ok(Some((distance, vector.into_components()?)))
    }
}

/// A vector's components. Chroma answers null for what is NaN or infinite.
#[derive(Debug)]
pub(super) struct Vector {
    components: Vec<f32>,
    lost: usize,
}

impl Vector {
    fn into_components(self) -> Result<Vec<f32>, String> {
        let all = self.components.len();
        match self.lost {
            0 => Ok(self.components),
            lost => Err(format!("{lost} of its vector's {all} components are not finite, the server answers null")),
        }
    }
}

impl Shape for Vector {
    fn of_array<'de, A: SeqAccess<'de>>(array: A) -> Result<Option<Self>, A::Error> {
        Components.visit_seq(array).map(Some)
    }
}

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Components)
    }
}

struct Components;

impl<'de> Visitor<'de> for Components {
    type Value = Vector;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vector, A::Error> {
        let mut vector = Vector { components: Vec::new(), lost: 0 };
        // Read as f32 at once: by way of f64 a decimal could be rounded twice.
        while let Some(component) = seq.next_element::<Option<f32>>()? {
            vector.lost += usize::from(!component.is_some_and(f32::is_finite));
            vector.components.push(component.unwrap_or(f32::NAN));
        }
        Ok(vector)
    }
}

/// A metadata object, in the order of the answer.
#[derive(Debug)]
pub(super) struct Pairs(Vec<(String, Cell)>);

impl Pairs {
    /// Keys whose value is null: Chroma keeps none, so it is one that JSON cannot write (measured on 0.6.3 and 1.5.9).
    fn nulls(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, cell)| matches!(cell, Cell::Null)).map(|(key, _)| key.as_str())
    }

    fn into_metadata(self) -> Result<Metadata, String> {
        let pairs = self.0.into_iter().map(|(key, cell)| match cell.into_value() {
            Ok(value) => Ok(value.map(|value| (key, value))),
            Err(kind) => Err(format!("its metadata key {key:?} holds {kind}, which cannot be copied")),
        });
        pairs.filter_map(Result::transpose).collect()
    }
}

impl Shape for Pairs {
    fn of_object<'de, A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        Object.visit_map(object).map(Some)
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object)
    }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a metadata object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

/// One metadata value as JSON writes it: `1` is an integer, `1.0` is not.
#[derive(Debug)]
enum Cell {
    One(Value),
    Many(Vec<Cell>),
    Null,
    Object,
}

impl Cell {
    /// None for null, which is no value in Chroma; an error names a kind that no record can hold.
    fn into_value(self) -> Result<Option<Value>, &'static str> {
        match self {
            Self::One(value) => Ok(Some(value)),
            Self::Null => Ok(None),
            Self::Object => Err("an object (a sparse vector?)"),
            Self::Many(cells) => {
                let values = cells.into_iter().map(|cell| match cell {
                    Self::One(value) => Ok(value),
                    Self::Many(_) | Self::Null | Self::Object => Err("an array of other than scalars"),
                });
                Ok(Some(Value::List(values.collect::<Result<_, _>>()?)))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyCell)
    }
}

struct AnyCell;

impl<'de> Visitor<'de> for AnyCell {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a metadata value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
        Ok(Cell::One(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
        Ok(Cell::One(Value::Int(value)))
    }

    // Chroma itself holds integers beyond i64 as floats.
    #[allow(clippy::cast_precision_loss)]
    fn visit_u64<E>(self, value: u64) -> Result<Cell, E> {
        Ok(Cell::One(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
        Ok(Cell::One(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Cell, E> {
        Ok(Cell::One(Value::Str(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Cell, E> {
        Ok(Cell::One(Value::Str(value)))
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell, A::Error> {
        let mut cells = Vec::new();
        while let Some(cell) = seq.next_element()? {
            cells.push(cell);
        }
        Ok(Cell::Many(cells))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fetched(json: &str, asked: &[&str]) -> Result<Vec<Fetched>, String> {
        let answer: GetAnswer = parse(json.as_bytes()).map_err(|f| f.detail)?;
        let asked: Vec<String> = asked.iter().map(|id| (*id).to_owned()).collect();
        let parts = ["documents", "metadatas", "embeddings", "uris"];
        answer.into_fetched(&asked, &parts).map(|(fetched, _)| fetched).map_err(|f| f.detail)
    }

    fn record(metadata: &str) -> Fetched {
        let json = format!(
            r#"{{"ids":["a"],"embeddings":[[1.0,0.1]],"documents":[""],"uris":[null],"metadatas":[{metadata}]}}"#
        );
        fetched(&json, &["a"]).unwrap().remove(0)
    }

    #[test]
    fn types_are_kept_apart() {
        let Fetched::Record { record, origin } =
            record(r#"{"i":1,"f":1.0,"big":18446744073709551615,"b":true,"s":"","l":[1,2],"n":null}"#)
        else {
            panic!("unreadable")
        };
        assert_eq!(origin, Origin::Server);
        assert_eq!((record.document.as_deref(), record.uri), (Some(""), None));
        assert_eq!(record.embedding, [1.0, 0.1_f32]);
        let expected = [
            ("i", Value::Int(1)),
            ("f", Value::Float(1.0)),
            ("big", Value::Float(18_446_744_073_709_551_615.0)),
            ("b", Value::Bool(true)),
            ("s", Value::Str(String::new())),
            ("l", Value::List(vec![Value::Int(1), Value::Int(2)])),
        ];
        assert_eq!(record.metadata, expected.map(|(k, v)| (k.to_owned(), v)).into());
    }

    #[test]
    fn what_cannot_be_copied_is_unreadable_by_id() {
        let Fetched::Unreadable { id, why } = record(r#"{"v":{"indices":[1],"values":[0.5]}}"#) else { panic!() };
        assert!(id == "a" && why.contains("\"v\""), "{why}");
        let whole = r#"{"ids":["b","a"],"embeddings":[[1.0],VECTOR],"documents":["x",TEXT],"uris":[null,URI],"metadatas":[{},DATA]}"#;
        for (vector, text, uri, data, expected) in [
            ("null", "null", "null", "null", "no vector"),
            ("[1.0,null]", "null", "null", "null", "not finite"),
            ("7", "null", "null", "null", "a number as its vector"),
            ("\"x\"", "null", "null", "null", "a text as its vector"),
            ("[1.0]", "7", "null", "null", "a number as its document"),
            ("[1.0]", "[\"x\"]", "null", "null", "an array as its document"),
            ("[1.0]", "null", "{\"x\":1}", "null", "an object as its uri"),
            ("[1.0]", "null", "null", "[1,{\"x\":[]}]", "an array as its metadata"),
            ("[1.0]", "null", "null", "\"x\"", "a text as its metadata"),
        ] {
            let cells = [("VECTOR", vector), ("TEXT", text), ("URI", uri), ("DATA", data)];
            let json = cells.iter().fold(whole.to_owned(), |json, (cell, value)| json.replace(cell, value));
            let found = fetched(&json, &["a", "b"]).unwrap();
            assert!(matches!(&found[0], Fetched::Record { .. }), "{json}");
            let Fetched::Unreadable { id, why } = &found[1] else { panic!("{json}") };
            assert!(id == "a" && why.contains(expected), "{json}: {why}");
        }
        let of = |vectors: &str| serde_json::from_str::<VectorAnswer>(vectors).unwrap().dimension();
        assert_eq!(of(r#"{"embeddings":[[1],[1,2],null,[3,4],7]}"#), Some(2));
        assert_eq!(of(r#"{"embeddings":[]}"#), None);
    }

    #[test]
    fn another_answer_than_asked_for_is_an_error() {
        let whole = r#"{"ids":["a"],"embeddings":[[1.0]],"documents":[null],"uris":[null],"metadatas":[null]}"#;
        assert!(fetched(whole, &["a", "gone"]).is_ok());
        for (json, asked) in [
            (whole.to_owned(), "b"),
            (whole.replace("[null],\"uris\"", "[],\"uris\""), "a"),
            (whole.replace("[[1.0]]", "null"), "a"),
            (whole.replace("\"uris\"", "\"ruis\""), "a"),
            (r#"{"ids":["a","a"],"embeddings":[[1.0],[1.0]],"documents":[null,null],"uris":[null,null],"metadatas":[null,null]}"#.to_owned(), "a"),
        ] {
            assert!(fetched(&json, &[asked]).is_err(), "{json}");
        }
    }

    #[test]
    fn a_cut_body_is_told_from_a_foreign_one() {
        let failure = |text: &str| parse::<GetAnswer>(text.as_bytes()).map(|_| ()).unwrap_err().failure;
        assert_eq!(failure(r#"{"ids":["a"],"emb"#), Failure::Short);
        assert_eq!(failure("<!DOCTYPE html><html>"), Failure::Foreign);
        assert_eq!(failure(r#"{"status":"ok"}"#), Failure::Foreign);
    }

    proptest! {
        #[test]
        fn components_are_bit_exact(x in any::<f32>()) {
            prop_assume!(x.is_finite());
            // A Rust server prints the shortest f32, a Python one the f32 as a double.
            for text in [format!("[{x:?}]"), format!("[{:?}]", f64::from(x))] {
                let vector: Vector = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(vector.components[0].to_bits(), x.to_bits());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse::<GetAnswer>(&bytes);
            let _ = parse::<Vec<CollectionAnswer>>(&bytes);
        }
    }
}
