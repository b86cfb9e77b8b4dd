//! The oracle: what the official client reads from a store or a server, and when two such readings are the same.
//! Shares no code with the library: bits, types and tolerances are judged here a second time, on purpose.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use super::chroma::Python;

/// A metadata value with its type; a float as its bits, so that comparing never rounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Str(String),
    Int(i64),
    Float(u64),
    Bool(bool),
    List(Vec<Value>),
}

/// Metadata by key; empty stands for absent too, as it does in Chroma.
pub(crate) type Metadata = BTreeMap<String, Value>;

/// One record as the client returned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: String,
    /// The bits of each f32; None for a component that the server answered with null.
    pub(crate) embedding: Vec<Option<u32>>,
    pub(crate) document: Option<String>,
    pub(crate) uri: Option<String>,
    pub(crate) metadata: Metadata,
}

/// One collection with its records, sorted by id.
#[derive(Clone, Debug)]
pub(crate) struct Collection {
    pub(crate) name: String,
    pub(crate) tenant: String,
    pub(crate) database: String,
    /// Chroma's UUID.
    pub(crate) id: String,
    /// `l2`, `cosine` or `ip`, as the engine uses it.
    pub(crate) space: String,
    pub(crate) metadata: Metadata,
    /// The configuration document, from 1.0 on; null before.
    pub(crate) configuration: Json,
    /// What `count()` says.
    pub(crate) count: u64,
    pub(crate) records: Vec<Record>,
}

impl Collection {
    /// The record with this id.
    #[track_caller]
    pub(crate) fn record(&self, id: &str) -> &Record {
        self.records.iter().find(|record| record.id == id).unwrap_or_else(|| panic!("{} has no record {id}", self.name))
    }
}

/// Collections in the order of tenant, database and name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dump {
    pub(crate) collections: Vec<Collection>,
}

impl Dump {
    /// Parses what `tests/chroma/dump.py` prints.
    pub(crate) fn parse(lines: &str) -> Self {
        let mut dump = Self::default();
        for line in lines.lines() {
            let json: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
            if json.get("collection").is_some() {
                dump.collections.push(collection(&json));
            } else {
                dump.collections.last_mut().expect("a collection comes first").records.push(record(&json));
            }
        }
        dump
    }

    /// The only collection of this name, whatever its tenant and database.
    #[track_caller]
    pub(crate) fn collection(&self, name: &str) -> &Collection {
        let mut found = self.collections.iter().filter(|collection| collection.name == name);
        let first = found.next().unwrap_or_else(|| panic!("no collection {name}; there are {:?}", self.names()));
        assert!(found.next().is_none(), "several collections {name}: choose one by `in_database` first");
        first
    }

    /// Only the collections of this tenant and database.
    pub(crate) fn in_database(&self, tenant: &str, database: &str) -> Self {
        let wanted = |collection: &&Collection| collection.tenant == tenant && collection.database == database;
        Self { collections: self.collections.iter().filter(wanted).cloned().collect() }
    }

    /// Only these collections, in this order.
    #[track_caller]
    pub(crate) fn only(&self, names: &[&str]) -> Self {
        Self { collections: names.iter().map(|name| self.collection(name).clone()).collect() }
    }

    fn names(&self) -> Vec<&str> {
        self.collections.iter().map(|collection| collection.name.as_str()).collect()
    }
}

/// All tenants and databases of a local store, read from a copy of the folder: the original is never opened.
pub(crate) fn dump_folder(version: &str, folder: &Path) -> Dump {
    Dump::parse(&Python::run(version, "tests/chroma/dump.py", &["--path", folder.to_str().unwrap()]))
}

/// One database of a folder (`/data/store`) or of a server (`http://127.0.0.1:8000`).
pub(crate) fn dump(version: &str, path_or_url: &str, tenant: &str, database: &str) -> Dump {
    let place = if path_or_url.starts_with("http") { "--url" } else { "--path" };
    let args = [place, path_or_url, "--tenant", tenant, "--database", database];
    Dump::parse(&Python::run(version, "tests/chroma/dump.py", &args))
}

/// How far numbers may be apart, in units in the last place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    /// For each component of a vector in a cosine collection; l2 and ip are always bit-equal.
    pub(crate) cosine: u64,
    /// For each double in the metadata of a record or a collection.
    pub(crate) doubles: u64,
}

impl Tolerance {
    /// Two readings of the same files.
    pub(crate) const EXACT: Self = Self { cosine: 0, doubles: 0 };
    /// What Chroma itself costs on one way through its API: what a migration promises.
    pub(crate) const MIGRATED: Self = Self { cosine: 4, doubles: 4 };
}

/// Panics, and names what differs, unless both hold the same collections with the same content.
/// Tenant, database and UUID may differ, and configurations are left to the tests that are about them.
#[track_caller]
pub(crate) fn assert_same(left: &Dump, right: &Dump, tolerance: Tolerance) {
    assert_eq!(left.names(), right.names(), "not the same collections");
    for (left, right) in left.collections.iter().zip(&right.collections) {
        assert_same_content(left, right, tolerance);
    }
}

/// As [`assert_same`] for two collections, whose names may differ.
#[track_caller]
pub(crate) fn assert_same_content(left: &Collection, right: &Collection, tolerance: Tolerance) {
    let found = differences(left, right, tolerance);
    let shown = found.iter().take(20).cloned().collect::<Vec<_>>().join("\n  ");
    let (name, total) = (&left.name, found.len());
    assert!(found.is_empty(), "{total} differences in collection {name} (at most 20 shown):\n  {shown}");
}

/// What differs between two collections, one line each; empty when they are the same.
pub(crate) fn differences(left: &Collection, right: &Collection, tolerance: Tolerance) -> Vec<String> {
    let mut found = Vec::new();
    note(&mut found, "distance", left.space == right.space, &left.space, &right.space);
    note(&mut found, "count", left.count == right.count, &left.count, &right.count);
    compare_metadata(&mut found, "collection metadata", &left.metadata, &right.metadata, tolerance);
    let by_id = |collection: &Collection| -> BTreeMap<String, Record> {
        collection.records.iter().map(|record| (record.id.clone(), record.clone())).collect()
    };
    let (left_records, mut right_records) = (by_id(left), by_id(right));
    let ulps = if left.space == "cosine" { tolerance.cosine } else { 0 };
    for (id, record) in &left_records {
        match right_records.remove(id) {
            Some(other) => compare_records(&mut found, record, &other, ulps, tolerance),
            None => found.push(format!("{id:?}: only on the left")),
        }
    }
    found.extend(right_records.keys().map(|id| format!("{id:?}: only on the right")));
    found
}

fn compare_records(found: &mut Vec<String>, left: &Record, right: &Record, ulps: u64, tolerance: Tolerance) {
    let Record { id, embedding, document, uri, metadata } = left;
    note(found, &format!("{id:?}: document"), *document == right.document, document, &right.document);
    note(found, &format!("{id:?}: uri"), *uri == right.uri, uri, &right.uri);
    compare_metadata(found, &format!("{id:?}: metadata"), metadata, &right.metadata, tolerance);
    let (length, other) = (embedding.len(), right.embedding.len());
    note(found, &format!("{id:?}: dimension"), length == other, &length, &other);
    for (at, (left, right)) in embedding.iter().zip(&right.embedding).enumerate() {
        let same = match (left, right) {
            (Some(left), Some(right)) => within(f32_order(*left), f32_order(*right), ulps),
            (left, right) => left == right,
        };
        let text =
            |bits: &Option<u32>| bits.map_or("null".to_owned(), |b| format!("{:e} ({b:08x})", f32::from_bits(b)));
        note(found, &format!("{id:?}: vector[{at}]"), same, &text(left), &text(right));
    }
}

fn compare_metadata(found: &mut Vec<String>, what: &str, left: &Metadata, right: &Metadata, tolerance: Tolerance) {
    for key in left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))) {
        let (left, right) = (left.get(key), right.get(key));
        let same = left.zip(right).is_some_and(|(left, right)| same_value(left, right, tolerance));
        note(found, &format!("{what} {key:?}"), same, &left, &right);
    }
}

fn same_value(left: &Value, right: &Value, tolerance: Tolerance) -> bool {
    match (left, right) {
        (Value::Float(left), Value::Float(right)) => within(f64_order(*left), f64_order(*right), tolerance.doubles),
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same_value(left, right, tolerance))
        }
        (left, right) => left == right,
    }
}

fn note<T: std::fmt::Debug>(found: &mut Vec<String>, what: &str, same: bool, left: &T, right: &T) {
    if !same {
        found.push(format!("{what}: {left:?} against {right:?}"));
    }
}

fn within(left: i64, right: i64, ulps: u64) -> bool {
    left.abs_diff(right) <= ulps
}

/// Numbers in the order of the floats, one step for each ULP; -0.0 and 0.0 are the same.
fn f32_order(bits: u32) -> i64 {
    let magnitude = i64::from(bits & 0x7fff_ffff);
    if bits >> 31 == 0 { magnitude } else { -magnitude }
}

fn f64_order(bits: u64) -> i64 {
    let magnitude = i64::try_from(bits & 0x7fff_ffff_ffff_ffff).unwrap();
    if bits >> 63 == 0 { magnitude } else { -magnitude }
}

fn collection(json: &Json) -> Collection {
    Collection {
        name: text(json, "collection"),
        tenant: text(json, "tenant"),
        database: text(json, "database"),
        id: text(json, "id"),
        space: text(json, "space"),
        metadata: metadata(&json["metadata"]),
        configuration: json["configuration"].clone(),
        count: json["count"].as_u64().unwrap(),
        records: Vec::new(),
    }
}

fn record(json: &Json) -> Record {
    let optional = |key: &str| json[key].as_str().map(str::to_owned);
    let embedding = json["embedding"].as_str().unwrap_or_default().as_bytes();
    Record {
        id: text(json, "id"),
        embedding: embedding.chunks(8).map(component).collect(),
        document: optional("document"),
        uri: optional("uri"),
        metadata: metadata(&json["metadata"]),
    }
}

fn component(hex: &[u8]) -> Option<u32> {
    (hex != b"nullnull").then(|| u32::from_str_radix(str::from_utf8(hex).unwrap(), 16).unwrap())
}

fn text(json: &Json, key: &str) -> String {
    json[key].as_str().unwrap_or_else(|| panic!("no text {key} in {json}")).to_owned()
}

fn metadata(json: &Json) -> Metadata {
    json.as_object().unwrap().iter().map(|(key, typed)| (key.clone(), value(typed))).collect()
}

fn value(typed: &Json) -> Value {
    let (kind, content) = typed.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "str" => Value::Str(content.as_str().unwrap().to_owned()),
        "int" => Value::Int(content.as_str().unwrap().parse().unwrap()),
        "float" => Value::Float(u64::from_str_radix(content.as_str().unwrap(), 16).unwrap()),
        "bool" => Value::Bool(content.as_bool().unwrap()),
        "list" => Value::List(content.as_array().unwrap().iter().map(value).collect()),
        other => panic!("unknown type {other}"),
    }
}
