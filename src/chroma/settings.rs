//! The index parameters of a collection, from the places where Chroma has kept them.
//! Pure: no I/O. The distance itself is `distance`'s affair.

use std::collections::BTreeMap;

use serde_json::{Number, Value as Json};

use crate::model::distance::is_default;
use crate::model::{Collection, Distance, Metadata, Value};

/// A parameter of an HNSW index that decides what it finds, or when it is written.
///
/// The number of threads is not among them: it comes from the machine, and a copy must not carry one machine's to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parameter {
    /// Candidates while the graph is built.
    EfConstruction,
    /// Links of a vector.
    MaxNeighbors,
    /// Candidates while it is searched.
    EfSearch,
    /// By how much its file grows.
    ResizeFactor,
    /// Vectors kept beside the graph before they go into it.
    BatchSize,
    /// Vectors kept in memory before the graph is written.
    SyncThreshold,
}

impl Parameter {
    /// Every parameter.
    pub const ALL: [Self; 6] = [
        Self::EfConstruction,
        Self::MaxNeighbors,
        Self::EfSearch,
        Self::ResizeFactor,
        Self::BatchSize,
        Self::SyncThreshold,
    ];

    /// Its name in a configuration and a schema.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EfConstruction => "ef_construction",
            Self::MaxNeighbors => "max_neighbors",
            Self::EfSearch => "ef_search",
            Self::ResizeFactor => "resize_factor",
            Self::BatchSize => "batch_size",
            Self::SyncThreshold => "sync_threshold",
        }
    }

    /// Its key in collection metadata.
    #[must_use]
    pub const fn metadata_key(self) -> &'static str {
        match self {
            Self::EfConstruction => "hnsw:construction_ef",
            Self::MaxNeighbors => "hnsw:M",
            Self::EfSearch => "hnsw:search_ef",
            Self::ResizeFactor => "hnsw:resize_factor",
            Self::BatchSize => "hnsw:batch_size",
            Self::SyncThreshold => "hnsw:sync_threshold",
        }
    }

    /// Its name in the `hnsw_configuration` of 0.5 and 0.6.
    const fn legacy_name(self) -> &'static str {
        match self {
            Self::MaxNeighbors => "M",
            other => other.name(),
        }
    }

    /// Whether a server before 1.0 takes this value from metadata.
    #[must_use]
    pub fn fits_metadata(self, value: &Number) -> bool {
        match self {
            Self::BatchSize | Self::SyncThreshold => value.as_i64().is_some_and(|value| value > 2),
            Self::ResizeFactor => true,
            _ => value.is_i64() || value.is_u64(),
        }
    }
}

/// Parameters with their values.
pub type Settings = BTreeMap<Parameter, Number>;

/// The parameters that are in effect and written down; one that no document names has its version's default.
///
/// Up to 0.6 only the metadata counts: the `hnsw_configuration` beside it is never read (measured for the distance).
/// From 1.0 the schema and the configuration count, and the metadata fills in what they do not show. In a store that an older
/// version wrote, the metadata still counts where all of them are the defaults (measured on 1.5.9).
#[must_use]
pub fn written(collection: &Collection) -> Settings {
    let document =
        document(collection).filter(|d| d["space"].as_str().and_then(Distance::parse) == Some(collection.distance));
    let says_nothing = document.as_ref().is_some_and(|d| is_default(&d["hnsw"]));
    let named = |parameter: Parameter| {
        let in_document = || match &document.as_ref()?["hnsw"][parameter.name()] {
            Json::Number(number) => Some(number.clone()),
            _ => None,
        };
        let in_metadata = || in_metadata(&collection.metadata, parameter);
        let value = if says_nothing { in_metadata().or_else(in_document) } else { in_document().or_else(in_metadata) };
        Some((parameter, value?))
    };
    Parameter::ALL.into_iter().filter_map(named).collect()
}

/// The parameters in effect as far as the collection tells, defaults of 0.5 and 0.6 included.
#[must_use]
pub fn effective(collection: &Collection) -> Settings {
    let legacy = collection.configuration.as_ref().map_or(&Json::Null, |c| &c["hnsw_configuration"]);
    let defaults = Parameter::ALL.into_iter().filter_map(|parameter| match &legacy[parameter.legacy_name()] {
        Json::Number(number) => Some((parameter, number.clone())),
        _ => None,
    });
    defaults.chain(written(collection)).collect()
}

/// `{"space": …, "hnsw": {…}}` of a collection of 1.x.
fn document(collection: &Collection) -> Option<Json> {
    let in_schema = || {
        let config = &collection.schema.as_ref()?["keys"]["#embedding"]["float_list"]["vector_index"]["config"];
        config["hnsw"].is_object().then(|| config.clone())
    };
    let in_configuration = || {
        let configuration = collection.configuration.as_ref()?;
        // Over HTTP `hnsw`; in the files of 1.0 `vector_index.hnsw`.
        let places = [&configuration["hnsw"], &configuration["vector_index"]["hnsw"]];
        let hnsw = places.into_iter().find(|hnsw| hnsw.is_object())?;
        Some(serde_json::json!({"space": hnsw["space"], "hnsw": hnsw}))
    };
    in_schema().or_else(in_configuration)
}

fn in_metadata(metadata: &Metadata, parameter: Parameter) -> Option<Number> {
    match metadata.get(parameter.metadata_key())? {
        Value::Int(number) => Some((*number).into()),
        Value::Float(number) => Number::from_f64(*number),
        _ => None,
    }
}

/// Why servers refuse this entry of collection metadata for what it says of the index; None where they take it.
#[must_use]
pub fn metadata_problem(key: &str, value: &Value) -> Option<String> {
    let taken = match (key.strip_prefix("hnsw:")?, value) {
        ("space", Value::Str(word)) => Distance::parse(word).is_some(),
        ("M" | "construction_ef" | "search_ef" | "num_threads", Value::Int(_))
        | ("resize_factor", Value::Int(_) | Value::Float(_)) => true,
        ("batch_size" | "sync_threshold", Value::Int(number)) => *number > 2,
        _ => false,
    };
    (!taken).then(|| format!("collection metadata {key:?} is no index parameter with a value that Chroma takes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn collection(metadata: &[(&str, Value)], configuration: Json, schema: Option<Json>) -> Collection {
        let metadata: Metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        let distance = crate::model::distance::declared(schema.as_ref(), Some(&configuration), &metadata);
        Collection {
            id: "1".into(),
            name: "abc".into(),
            tenant: "t".into(),
            database: "d".into(),
            dimension: None,
            distance,
            metadata,
            configuration: Some(configuration),
            schema,
            unreadable: None,
        }
    }

    fn named(settings: &Settings) -> Vec<String> {
        settings.iter().map(|(parameter, value)| format!("{}={value}", parameter.name())).collect()
    }

    #[test]
    fn metadata_wins_over_the_legacy_configuration() {
        let legacy = json!({"hnsw_configuration": {"space": "l2", "M": 16, "ef_search": 10, "num_threads": 2}});
        let collection =
            collection(&[("hnsw:M", Value::Int(17)), ("hnsw:space", Value::Str("cosine".into()))], legacy, None);
        assert_eq!(named(&written(&collection)), ["max_neighbors=17"]);
        assert_eq!(named(&effective(&collection)), ["max_neighbors=17", "ef_search=10"]);
    }

    #[test]
    fn documents_of_1_x_win_over_metadata_in_each_of_their_places() {
        let hnsw = json!({"space": "ip", "ef_construction": 222, "max_neighbors": 17, "num_threads": 3});
        let shape = json!({"float_list": {"vector_index": {"config": {"space": "ip", "hnsw": hnsw}}}});
        let metadata = [("hnsw:M", Value::Int(99)), ("hnsw:batch_size", Value::Int(44))];
        for (configuration, schema) in [
            (json!({"hnsw": hnsw}), None),
            (json!({"vector_index": {"hnsw": hnsw}}), None),
            (json!({}), Some(json!({"keys": {"#embedding": shape}}))),
        ] {
            let collection = collection(&metadata, configuration, schema);
            assert_eq!(named(&written(&collection)), ["ef_construction=222", "max_neighbors=17", "batch_size=44"]);
        }
    }

    #[test]
    fn metadata_counts_where_the_configuration_is_only_a_report() {
        // 1.x serving a cosine store of 0.5: the distance was measured, the configuration says l2.
        let mut collection = collection(
            &[("hnsw:space", Value::Str("cosine".into())), ("hnsw:M", Value::Int(17))],
            json!({"hnsw": {"space": "l2", "max_neighbors": 16, "ef_search": 100}}),
            None,
        );
        collection.distance = Distance::Cosine;
        assert_eq!(named(&written(&collection)), ["max_neighbors=17"]);
    }

    /// An upgraded l2 store that 1.5.9 serves ended in exit 5, and on a rerun in Verified.
    #[test]
    fn default_settings_of_1_x_leave_it_to_the_older_metadata() {
        let hnsw = json!({"space": "l2", "max_neighbors": 16, "ef_search": 100});
        let collection = collection(&[("hnsw:M", Value::Int(32))], json!({"hnsw": hnsw}), None);
        assert_eq!(named(&written(&collection)), ["max_neighbors=32", "ef_search=100"]);
    }
}
