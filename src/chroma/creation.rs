//! How a source's collection is created on a target of another version: what is sent, and what that version cannot hold.
//! Pure: no I/O.
//!
//! Measured on 0.5.23, 0.6.3, 1.0.20 and 1.5.9. Up to 0.6 the metadata's `hnsw:*` keys alone decide over the index; a
//! `configuration` is stored and never read. From 1.0 a configuration wins over those keys, which stay as metadata; a
//! `schema` beside either of them is refused. An index parameter that no one set is left to the target's default.

use serde_json::{Value as Json, json};

use super::capabilities::Capabilities;
use super::settings::{self, Parameter};
use crate::model::distance::{EmbeddingFunction, embedding_function, is_default};
use crate::model::{Collection, Distance, Metadata, Value, ulp};

/// A collection to create.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCollection {
    /// Its name on the target.
    pub name: String,
    /// Its database, which is made where it is missing; None: the only one that the target was opened for.
    pub database: Option<String>,
    /// The user's collection metadata, as the source has it; for a target before 1.0, `hnsw:*` keys are added where
    /// nothing else can carry the distance and the index parameters.
    pub metadata: Metadata,
    /// Metadata that no server takes at a creation and each one by `modify`, as `hnsw:ef`: set after the creation (measured on
    /// 0.5.23, 0.6.3, 1.0.20 and 1.5.9).
    pub later: Metadata,
    /// Sent where the target takes configurations; never together with a schema.
    pub configuration: Option<Json>,
    /// Sent where the target takes schemas.
    pub schema: Option<Json>,
    /// What of the source's settings this target cannot hold, each in one sentence. Named in preflight.
    pub losses: Vec<String>,
    /// The index parameters among them, which the created collection need not have.
    pub lost: Vec<Parameter>,
}

/// What to send so that the target's collection has the source's metadata, distance, index parameters and
/// embedding function.
#[must_use]
pub fn plan(source: &Collection, name: &str, target: &Capabilities) -> NewCollection {
    let new = NewCollection {
        name: name.to_owned(),
        database: None,
        metadata: source.metadata.clone(),
        later: Metadata::new(),
        configuration: None,
        schema: None,
        losses: Vec::new(),
        lost: Vec::new(),
    };
    let mut new = match &source.schema {
        Some(schema) if target.schema && schema_can_be_sent(source, schema) => {
            NewCollection { schema: Some(schema.clone()), ..new }
        }
        _ if target.configuration => by_configuration(source, new),
        _ => by_metadata(source, target, new),
    };
    let is_refused = |(key, value): &(String, Value)| settings::metadata_problem(key, value).is_some();
    (new.later, new.metadata) = std::mem::take(&mut new.metadata).into_iter().partition(is_refused);
    if uses_spann(source) {
        new.losses.push("its SPANN index becomes an HNSW index: a Chroma server of its own has no other".to_owned());
    }
    new
}

/// A schema beside `hnsw:*` metadata is a 400, and one that contradicts the distance in effect would change it.
fn schema_can_be_sent(source: &Collection, schema: &Json) -> bool {
    let space = vector_index(schema)["space"].as_str().and_then(Distance::parse);
    space == Some(source.distance)
        && !source.metadata.keys().any(|key| key.starts_with("hnsw:"))
        && !is_taken_for_none(schema)
}

/// 1.5.9 takes a schema for none that is all default but for the embedding function "default", and does not record that
/// (measured); it does so from a configuration.
fn is_taken_for_none(schema: &Json) -> bool {
    let index = vector_index(schema);
    let is_on = |kind: &str, of: &str| schema["defaults"][kind][of]["enabled"].as_bool();
    let usual = [
        ("string", "fts_index", false),
        ("string", "string_inverted_index", true),
        ("int", "int_inverted_index", true),
        ("float", "float_inverted_index", true),
        ("bool", "bool_inverted_index", true),
    ];
    index["embedding_function"]["name"] == "default"
        && index["space"] == Distance::L2.as_str()
        && is_default(&index["hnsw"])
        && own_keys(schema).is_empty()
        && usual.into_iter().all(|(kind, of, on)| is_on(kind, of) == Some(on))
}

fn by_configuration(source: &Collection, mut new: NewCollection) -> NewCollection {
    let mut hnsw = json!({"space": source.distance.as_str()});
    for (parameter, value) in settings::written(source) {
        hnsw[parameter.name()] = Json::Number(value);
    }
    // 1.5.9 goes by metadata beside a configuration that is all default (measured)
    if source.distance == Distance::L2 && is_default(&hnsw) && new.metadata.contains_key("hnsw:space") {
        put(&mut new, "hnsw:space", Value::Str(source.distance.as_str().to_owned()));
    }
    let mut configuration = json!({ "hnsw": hnsw });
    if let Some(function) = recorded_function(source) {
        configuration["embedding_function"] = function;
    }
    new.configuration = Some(configuration);
    new.losses.extend(schema_loss(source));
    new
}

fn by_metadata(source: &Collection, target: &Capabilities, mut new: NewCollection) -> NewCollection {
    let space = Value::Str(source.distance.as_str().to_owned());
    if source.distance != Distance::L2 || new.metadata.contains_key("hnsw:space") {
        put(&mut new, "hnsw:space", space);
    }
    for (parameter, value) in settings::written(source) {
        let key = parameter.metadata_key();
        if !parameter.fits_metadata(&value) {
            new.losses.push(format!("{} {value} is refused by Chroma {}", parameter.name(), target.version));
            new.lost.push(parameter);
            new.metadata.remove(key);
        } else if new.metadata.contains_key(key)
            || Some(default_before_1_0(parameter, &target.version)) != value.as_f64()
        {
            put(&mut new, key, number(&value));
        }
    }
    if let Some(EmbeddingFunction { name, .. }) = function(source) {
        new.losses.push(format!(
            "its embedding function {name:?} is not recorded: Chroma {} keeps none, so each client must name it",
            target.version
        ));
    }
    new.losses.extend(schema_loss(source));
    new
}

fn put(new: &mut NewCollection, key: &str, value: Value) {
    let told = plain_value(&value);
    let old = new.metadata.insert(key.to_owned(), value);
    if let Some(old) = old.map(|old| plain_value(&old)).filter(|old| *old != told) {
        new.losses.push(format!("its metadata {key:?} becomes {told}, for that is in effect and {old} is not"));
    }
}

/// A value as JSON writes it.
fn plain_value(value: &Value) -> String {
    match value {
        Value::Str(text) => format!("{text:?}"),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Bool(is) => is.to_string(),
        Value::List(values) => format!("[{}]", values.iter().map(plain_value).collect::<Vec<_>>().join(", ")),
    }
}

fn number(number: &serde_json::Number) -> Value {
    number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or_default()), Value::Int)
}

/// What 0.5 and 0.6 take where the metadata says nothing.
fn default_before_1_0(parameter: Parameter, version: &str) -> f64 {
    match parameter {
        Parameter::MaxNeighbors => 16.0,
        Parameter::EfSearch if version.starts_with("0.5.") => 10.0,
        Parameter::EfConstruction | Parameter::BatchSize | Parameter::EfSearch => 100.0,
        Parameter::ResizeFactor => 1.2,
        Parameter::SyncThreshold => 1000.0,
    }
}

/// The embedding function as a configuration carries it: 1.0 knows only these two types, and others say nothing.
fn recorded_function(source: &Collection) -> Option<Json> {
    let in_configuration = source.configuration.as_ref().map(|c| &c["embedding_function"]);
    let in_schema = source.schema.as_ref().map(|s| &vector_index(s)["embedding_function"]);
    let found = in_configuration.into_iter().chain(in_schema).find(|function| function.is_object())?;
    matches!(found["type"].as_str(), Some("known" | "legacy")).then(|| found.clone())
}

fn function(collection: &Collection) -> Option<EmbeddingFunction> {
    embedding_function(collection.schema.as_ref(), collection.configuration.as_ref())
}

fn vector_index(schema: &Json) -> &Json {
    &schema["keys"]["#embedding"]["float_list"]["vector_index"]["config"]
}

fn uses_spann(source: &Collection) -> bool {
    let in_schema = source.schema.as_ref().is_some_and(|schema| vector_index(schema)["spann"].is_object());
    let configuration = source.configuration.as_ref();
    let in_configuration = |c: &Json| c["spann"].is_object() || c["vector_index"]["spann"].is_object();
    in_schema || configuration.is_some_and(in_configuration)
}

fn schema_loss(source: &Collection) -> Option<String> {
    let keys = own_keys(source.schema.as_ref()?);
    (!keys.is_empty()).then(|| {
        format!("its schema's own index settings of {} cannot be held and become the default", keys.join(", "))
    })
}

/// The keys whose index settings are not those that every collection has.
fn own_keys(schema: &Json) -> Vec<String> {
    let usual = json!({"string": {
        "fts_index": {"enabled": true, "config": {}},
        "string_inverted_index": {"enabled": false, "config": {}}
    }});
    let Some(keys) = schema["keys"].as_object() else { return Vec::new() };
    let own = keys.iter().filter(|(key, value)| *key != "#embedding" && !(*key == "#document" && **value == usual));
    let mut own: Vec<String> = own.map(|(key, _)| format!("{key:?}")).collect();
    own.sort();
    own
}

/// How two collections differ in their settings, each in one sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Distance, dimension and embedding function: with another one the records are not the same memories.
    pub vital: Vec<String>,
    /// Metadata, index parameters, and an embedding function that only one side records.
    pub others: Vec<String>,
}

/// What of distance, dimension, embedding function, metadata and index parameters differs, each by itself. What `new` says
/// that the target cannot hold is left out.
///
/// `hnsw:*` metadata is compared by what it means, not as text; so are an absent and an unset parameter. The keys of a schema
/// are not compared: Chroma 1.5.9 adds one for each metadata key of the records that it takes (measured).
#[must_use]
pub fn differences(source: &Collection, target: &Collection, new: Option<&NewCollection>) -> Differences {
    let mut vital = Vec::new();
    if source.distance != target.distance {
        vital.push(format!("the distance is {}, in the source {}", target.distance, source.distance));
    }
    if let (Some(a), Some(b)) = (source.dimension, target.dimension)
        && a != b
    {
        vital.push(format!("the dimension is {b}, in the source {a}"));
    }
    let mut others = metadata_differences(&source.metadata, &target.metadata);
    let later = new.map(|new| &new.later).into_iter().flatten();
    let unset = later.filter(|(key, value)| !target.metadata.get(*key).is_some_and(|other| same_value(value, other)));
    others
        .extend(unset.map(|(key, _)| format!("metadata {key:?}, which is set after the creation, has another value")));
    let there = settings::effective(target);
    let is_lost = |parameter: &Parameter| new.is_some_and(|new| new.lost.contains(parameter));
    for (parameter, value) in settings::written(source).into_iter().filter(|(parameter, _)| !is_lost(parameter)) {
        if let Some(other) = there.get(&parameter).filter(|other| other.as_f64() != value.as_f64()) {
            others.push(format!("{} is {other}, in the source {value}", parameter.name()));
        }
    }
    match function_difference(source, target) {
        Some((told, true)) => vital.push(told),
        Some((told, false)) => others.push(told),
        // whoever adds by text there gets another embedding than the source's records have
        None if new.is_none() && function(source).is_none() => others.extend(
            function(target)
                .map(|theirs| format!("it records the embedding function {:?}, the source records none", theirs.name)),
        ),
        None => {}
    }
    Differences { vital, others }
}

/// Every setting that is not the same in both, each in one sentence: also what a target of an older version cannot hold.
#[must_use]
pub fn disagreements(source: &Collection, target: &Collection) -> Vec<String> {
    let Differences { vital, others } = differences(source, target, None);
    let mut all = [vital, others].concat();
    all.extend(shown_differences(source, target));
    if let (Some(ours), None, None) = (function(source), function(target), function_difference(source, target)) {
        all.push(format!("no embedding function can be recorded there, in the source {:?}", ours.name));
    }
    if uses_spann(source) && !uses_spann(target) {
        all.push("its index is HNSW, in the source SPANN".to_owned());
    }
    all
}

/// `hnsw:*` metadata that clients are shown as another value, though the engine may go by neither. What a target before 1.0 has
/// in place of a configuration is the same.
fn shown_differences(source: &Collection, target: &Collection) -> Vec<String> {
    let written = settings::written(source);
    let carries = |key: &str, value: &Value| {
        let is_space = key == "hnsw:space" && *value == Value::Str(source.distance.as_str().to_owned());
        let parameter = written.iter().find(|(parameter, _)| parameter.metadata_key() == key);
        is_space || parameter.is_some_and(|(_, number_there)| same_value(&number(number_there), value))
    };
    let of = |metadata: &Metadata| -> Vec<String> {
        metadata.keys().filter(|key| key.starts_with("hnsw:")).cloned().collect()
    };
    let told = |key: String| match (source.metadata.get(&key), target.metadata.get(&key)) {
        (Some(a), Some(b)) => (!same_value(a, b)).then(|| format!("metadata {key:?} has another value")),
        (Some(_), None) => Some(format!("metadata {key:?} is missing")),
        (None, Some(value)) => (!carries(&key, value)).then(|| format!("metadata {key:?} is not in the source")),
        (None, None) => None,
    };
    let keys: std::collections::BTreeSet<String> =
        of(&source.metadata).into_iter().chain(of(&target.metadata)).collect();
    keys.into_iter().filter_map(told).collect()
}

fn metadata_differences(source: &Metadata, target: &Metadata) -> Vec<String> {
    let own = |key: &&String| !key.starts_with("hnsw:");
    let differ = |key: &String| match (source.get(key), target.get(key)) {
        (Some(a), Some(b)) if same_value(a, b) => None,
        (Some(_), Some(_)) => Some(format!("metadata {key:?} has another value")),
        (Some(_), None) => Some(format!("metadata {key:?} is missing")),
        (None, _) => Some(format!("metadata {key:?} is not in the source")),
    };
    let only_there = target.keys().filter(|key| !source.contains_key(*key));
    source.keys().chain(only_there).filter(own).filter_map(differ).collect()
}

/// Equal as far as a copy can be.
fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => ulp::f64(*a, *b) <= u64::from(ulp::TOLERATED),
        _ => a == b,
    }
}

/// With whether both sides record a function, and not the same.
fn function_difference(source: &Collection, target: &Collection) -> Option<(String, bool)> {
    let ours = function(source)?;
    let keeps_functions =
        target.schema.is_some() || target.configuration.as_ref().is_some_and(|c| c.get("embedding_function").is_some());
    match function(target) {
        Some(theirs) if theirs.name != ours.name => {
            Some((format!("the embedding function is {:?}, in the source {:?}", theirs.name, ours.name), true))
        }
        Some(theirs) if plain(&theirs.config) != plain(&ours.config) => {
            Some((format!("the embedding function {:?} is configured otherwise than in the source", ours.name), true))
        }
        None if keeps_functions => {
            Some((format!("no embedding function is recorded, in the source {:?}", ours.name), false))
        }
        _ => None,
    }
}

/// No settings are no settings, however they are written.
fn plain(config: &Json) -> &Json {
    match config {
        Json::Object(map) if map.is_empty() => &Json::Null,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection(metadata: &[(&str, Value)], configuration: Json) -> Collection {
        let metadata: Metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let distance = crate::model::distance::declared(None, Some(&configuration), &metadata);
        Collection {
            id: "1".into(),
            name: "abc".into(),
            tenant: "t".into(),
            database: "d".into(),
            dimension: None,
            distance,
            metadata,
            configuration: Some(configuration),
            schema: None,
            unreadable: None,
        }
    }

    /// The files of 1.5.9 were changed: its client shows 101, and both were called identical.
    #[test]
    fn metadata_that_clients_are_shown_is_compared_as_they_are_shown_it() {
        let of = |threshold: Option<i64>| {
            let shown: Vec<(&str, Value)> =
                threshold.map(|n| ("hnsw:sync_threshold", Value::Int(n))).into_iter().collect();
            collection(&shown, json!({"hnsw": {"space": "l2", "sync_threshold": 100}}))
        };
        let told = |a, b| disagreements(&of(a), &of(b));
        assert_eq!(told(Some(100), Some(101)), ["metadata \"hnsw:sync_threshold\" has another value"]);
        assert_eq!(told(Some(100), None), ["metadata \"hnsw:sync_threshold\" is missing"]);
        assert_eq!(told(None, Some(101)), ["metadata \"hnsw:sync_threshold\" is not in the source"]);
        assert!(told(Some(100), Some(100)).is_empty());
        assert!(told(None, Some(100)).is_empty(), "so a server before 1.0 keeps what a configuration says");
        assert!(differences(&of(Some(100)), &of(Some(101)), None).others.is_empty(), "it is not in effect");
    }

    fn modern(space: &str, more: &Json) -> Collection {
        collection(&[], json!({"hnsw": {"space": space, "ef_search": 100}, "embedding_function": more}))
    }

    fn function(name: &str, config: &Json) -> Json {
        json!({"type": "known", "name": name, "config": config})
    }

    fn target(version: &str) -> Capabilities {
        let modern = version.starts_with("1.");
        Capabilities {
            version: version.to_owned(),
            max_batch: 100,
            max_body: 1000,
            base64: modern,
            configuration: modern,
            schema: false,
            arrays: false,
        }
    }

    #[test]
    fn each_difference_has_its_sentence() {
        let source = modern("cosine", &function("openai", &json!({})));
        let told = |target: &Collection| {
            let Differences { vital, others } = differences(&source, target, None);
            [vital, others].concat().join("; ")
        };
        assert_eq!(told(&source), "");
        assert_eq!(told(&modern("cosine", &function("openai", &Json::Null))), "");
        assert!(told(&modern("l2", &function("openai", &json!({})))).contains("the distance is l2"));
        assert!(
            told(&modern("cosine", &function("cohere", &json!({})))).contains("\"cohere\", in the source \"openai\"")
        );
        assert!(told(&modern("cosine", &function("openai", &json!({"m": 1})))).contains("configured otherwise"));
        assert!(told(&modern("cosine", &Json::Null)).contains("no embedding function"));
        let searched =
            json!({"hnsw": {"space": "cosine", "ef_search": 9}, "embedding_function": function("openai", &json!({}))});
        assert_eq!(told(&collection(&[], searched)), "ef_search is 9, in the source 100");
    }

    #[test]
    fn metadata_is_compared_except_for_what_the_index_says() {
        let with = |pairs: &[(&str, Value)]| collection(pairs, json!({}));
        let source = with(&[("a", Value::Int(1)), ("b", Value::Float(0.1)), ("hnsw:space", Value::Str("l2".into()))]);
        let near = Value::Float(0.1 + f64::EPSILON / 16.0);
        assert_eq!(differences(&source, &with(&[("a", Value::Int(1)), ("b", near)]), None), Differences::default());
        let other = with(&[("a", Value::Float(1.0)), ("c", Value::Int(1))]);
        assert_eq!(
            differences(&source, &other, None).others,
            ["metadata \"a\" has another value", "metadata \"b\" is missing", "metadata \"c\" is not in the source"]
        );
    }

    #[test]
    fn an_old_target_is_told_by_metadata_what_its_defaults_would_not_do() {
        let source = modern("cosine", &function("openai", &json!({})));
        let keys = |version: &str| plan(&source, "abc", &target(version)).metadata.into_keys().collect::<Vec<_>>();
        assert_eq!(keys("0.5.23"), ["hnsw:search_ef", "hnsw:space"]);
        assert_eq!(keys("0.6.3"), ["hnsw:space"]);
        assert_eq!(keys("1.0.0"), [] as [&str; 0]);
        let losses = plan(&source, "abc", &target("0.6.3")).losses;
        assert!(losses.len() == 1 && losses[0].contains("openai"), "{losses:?}");
    }

    /// A 0.4.24 collection whose metadata was replaced: 1.5.9 made it `ip` from the copied metadata, and the run was refused.
    #[test]
    fn metadata_that_contradicts_the_index_is_put_right_and_named() {
        let mut source = collection(&[("hnsw:space", Value::Str("ip".into()))], Json::Null);
        source.distance = Distance::L2;
        let new = plan(&source, "abc", &target("1.0.0"));
        assert_eq!(new.metadata.get("hnsw:space"), Some(&Value::Str("l2".into())));
        assert_eq!(new.configuration.as_ref().map(|c| &c["hnsw"]["space"]), Some(&json!("l2")));
        assert!(new.losses[0].contains("hnsw:space"), "{:?}", new.losses);
    }

    #[test]
    fn what_an_old_target_refuses_and_spann_are_named() {
        let small = collection(&[], json!({"hnsw": {"space": "l2", "batch_size": 1}}));
        let new = plan(&small, "abc", &target("0.6.3"));
        assert!(new.losses[0].contains("batch_size 1") && new.metadata.is_empty(), "{new:?}");
        let spann = collection(&[], json!({"hnsw": null, "spann": {"space": "ip"}}));
        let new = plan(&spann, "abc", &target("1.0.0"));
        assert_eq!(new.configuration, Some(json!({"hnsw": {"space": "ip"}})));
        assert!(new.losses[0].contains("SPANN"), "{new:?}");
    }
}
