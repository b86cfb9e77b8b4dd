//! Which distance and embedding function a collection really has, from the four places where Chroma has kept them.
//! Pure: no I/O.

use serde_json::Value as Json;

use super::record::{Metadata, Value};

/// How an engine compares two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distance {
    /// Squared Euclidean, Chroma's default. Vectors are kept bit for bit.
    L2,
    /// Cosine. The engine normalises vectors and keeps the norm, which costs up to 2 ULP a hop.
    Cosine,
    /// Inner product. Vectors are kept bit for bit.
    Ip,
}

impl Distance {
    /// Chroma's own word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Cosine => "cosine",
            Self::Ip => "ip",
        }
    }

    /// The distance that Chroma's word names; None for a word it does not know.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::L2, Self::Cosine, Self::Ip].into_iter().find(|d| d.as_str() == word)
    }
}

impl std::fmt::Display for Distance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The distance that a collection's engine goes by, as far as its documents tell.
///
/// `legacy` is the metadata where versions up to 0.6 kept `hnsw:space`: in files `segment_metadata` of the VECTOR segment.
/// Over HTTP nobody tells it, and the collection's metadata is a hint, which `modify` may have replaced.
///
/// Order of truth, measured on 0.4.24, 0.5.23, 0.6.3, 1.0.20 and 1.5.9: schema, then configuration, then `legacy`, then l2.
/// An index of 1.x whose settings all are the defaults says nothing, for 1.x then goes by `legacy`. The
/// `hnsw_configuration` of 0.5 and 0.6 is never gone by: with `ip` in it both measure l2.
#[must_use]
pub fn declared(schema: Option<&Json>, configuration: Option<&Json>, legacy: &Metadata) -> Distance {
    let from_schema = || {
        let index = &schema?["keys"]["#embedding"]["float_list"]["vector_index"]["config"];
        let distance = Distance::parse(index["space"].as_str()?)?;
        (distance != Distance::L2 || !is_default(&index["hnsw"])).then_some(distance)
    };
    let from_configuration = || {
        // Over HTTP `hnsw`; in the files of 1.0 `vector_index.hnsw`. SPANN keeps its space in the same way.
        let places = [configuration?, &configuration?["vector_index"]];
        let index = |kind: &str| places.iter().find_map(|place| place.get(kind).filter(|index| index.is_object()));
        let space = |index: &Json| index["space"].as_str().and_then(Distance::parse).unwrap_or(Distance::L2);
        match index("hnsw") {
            Some(hnsw) => Some(space(hnsw)).filter(|distance| *distance != Distance::L2 || !is_default(hnsw)),
            None => index("spann").map(space),
        }
    };
    let from_legacy = || match legacy.get(SPACE)? {
        Value::Str(word) => Distance::parse(word),
        _ => None,
    };
    from_schema().or_else(from_configuration).or_else(from_legacy).unwrap_or(Distance::L2)
}

/// The key under which versions up to 0.6 kept the distance.
pub const SPACE: &str = "hnsw:space";

/// Whether all of an index's settings, its distance left out, are those of 1.x for a collection that asked for none.
/// `num_threads` is the machine's.
pub(crate) fn is_default(hnsw: &Json) -> bool {
    let defaults = [
        ("ef_construction", 100.0),
        ("ef_search", 100.0),
        ("max_neighbors", 16.0),
        ("resize_factor", 1.2),
        ("sync_threshold", 1000.0),
        ("batch_size", 100.0),
    ];
    defaults.iter().all(|(key, default)| hnsw.get(key).is_none_or(|value| value.as_f64() == Some(*default)))
}

/// Every distance that any of a collection's documents names, those that no engine goes by included.
#[must_use]
pub fn named(schema: Option<&Json>, configuration: Option<&Json>, metadata: &[&Metadata]) -> Vec<Distance> {
    let empty = Json::Null;
    let schema = &schema.unwrap_or(&empty)["keys"]["#embedding"]["float_list"]["vector_index"]["config"];
    let configuration = configuration.unwrap_or(&empty);
    let places = [configuration, &configuration["vector_index"]];
    let indexes = places.iter().flat_map(|at| ["hnsw", "spann", "hnsw_configuration"].map(|kind| &at[kind]["space"]));
    let words = indexes.chain([&schema["space"]]).filter_map(Json::as_str);
    let older = metadata.iter().filter_map(|metadata| match metadata.get(SPACE)? {
        Value::Str(word) => Some(word.as_str()),
        _ => None,
    });
    words.chain(older).filter_map(Distance::parse).collect()
}

/// A collection's embedding function: a name and its settings, or none.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingFunction {
    /// The registered name, for instance `default` or `openai`; `legacy` where Chroma only knows that there was one.
    pub name: String,
    /// Its settings as Chroma holds them; null where there are none. Never holds a key: Chroma keeps names of variables.
    pub config: Json,
}

/// The embedding function that a collection's documents declare; None where they declare none
/// (`legacy` and `unknown` say nothing that could differ).
#[must_use]
pub fn embedding_function(schema: Option<&Json>, configuration: Option<&Json>) -> Option<EmbeddingFunction> {
    let in_schema = |key: &str| {
        let index = &schema?["keys"][key]["float_list"]["vector_index"]["config"];
        index.get("embedding_function").filter(|f| !f.is_null())
    };
    let in_configuration = || configuration?.get("embedding_function").filter(|f| !f.is_null());
    let found = in_configuration().or_else(|| in_schema("#embedding"))?;
    if found["type"].as_str() != Some("known") {
        return None;
    }
    Some(EmbeddingFunction { name: found["name"].as_str()?.to_owned(), config: found["config"].clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn space(word: &str) -> Metadata {
        Metadata::from([("hnsw:space".to_owned(), Value::Str(word.to_owned()))])
    }

    #[test]
    fn schema_wins_over_everything() {
        let schema = json!({"keys": {"#embedding": {"float_list": {"vector_index": {"config": {"space": "cosine"}}}}}});
        let configuration = json!({"hnsw": {"space": "ip"}});
        assert_eq!(declared(Some(&schema), Some(&configuration), &space("l2")), Distance::Cosine);
    }

    #[test]
    fn the_legacy_configuration_loses_to_the_metadata() {
        let legacy = json!({"hnsw_configuration": {"space": "ip"}});
        assert_eq!(declared(None, Some(&legacy), &space("cosine")), Distance::Cosine);
        assert_eq!(declared(None, Some(&legacy), &Metadata::new()), Distance::L2);
    }

    #[test]
    fn the_files_of_1_0_hold_the_configuration_one_level_deeper() {
        for configuration in [
            json!({"vector_index": {"hnsw": {"space": "cosine"}}}),
            json!({"hnsw": null, "spann": {"space": "cosine"}}),
        ] {
            assert_eq!(declared(None, Some(&configuration), &space("l2")), Distance::Cosine);
        }
    }

    /// A collection of 0.4 to 0.6 whose index 1.x has not set, and the same after `modify` set one.
    #[test]
    fn default_settings_of_1_x_leave_it_to_the_older_metadata() {
        let hnsw = |ef_search: u32| {
            json!({"space": "l2", "ef_construction": 100, "ef_search": ef_search, "max_neighbors": 16,
                "resize_factor": 1.2, "sync_threshold": 1000})
        };
        let schema = |ef_search: u32| {
            let config = json!({"space": "l2", "hnsw": hnsw(ef_search)});
            json!({"keys": {"#embedding": {"float_list": {"vector_index": {"config": config}}}}})
        };
        for (ef_search, expected) in [(100, Distance::Cosine), (200, Distance::L2)] {
            let configuration = json!({"vector_index": {"hnsw": hnsw(ef_search)}});
            assert_eq!(declared(None, Some(&configuration), &space("cosine")), expected);
            assert_eq!(declared(Some(&schema(ef_search)), None, &space("cosine")), expected);
        }
    }

    #[test]
    fn nothing_declared_is_l2() {
        assert_eq!(declared(None, None, &Metadata::new()), Distance::L2);
    }

    #[test]
    fn a_known_function_is_named_and_a_legacy_one_says_nothing() {
        let known = json!({"embedding_function": {"type": "known", "name": "openai", "config": {"model": "x"}}});
        let function = embedding_function(None, Some(&known)).map(|f| f.name);
        assert_eq!(function.as_deref(), Some("openai"));
        assert_eq!(embedding_function(None, Some(&json!({"embedding_function": {"type": "legacy"}}))), None);
    }

    #[test]
    fn every_distance_that_a_document_names_is_told() {
        let schema = json!({"keys": {"#embedding": {"float_list": {"vector_index": {"config": {"space": "cosine"}}}}}});
        let configuration = json!({"vector_index": {"hnsw": {"space": "ip"}}});
        let found = named(Some(&schema), Some(&configuration), &[&space("l2"), &Metadata::new(), &space("other")]);
        assert_eq!(found, [Distance::Ip, Distance::Cosine, Distance::L2]);
        assert_eq!(named(None, None, &[]), []);
    }

    #[test]
    fn a_function_of_the_schema_counts_where_the_configuration_has_none() {
        let schema = |function: &Json| json!({"keys": {"#embedding": {"float_list": {"vector_index": {"config": {"embedding_function": function}}}}}});
        let known = json!({"type": "known", "name": "openai", "config": {}});
        let none = json!({"embedding_function": null});
        for configuration in [None, Some(&none)] {
            let found = embedding_function(Some(&schema(&known)), configuration).map(|function| function.name);
            assert_eq!(found.as_deref(), Some("openai"), "{configuration:?}");
            assert_eq!(embedding_function(Some(&schema(&Json::Null)), configuration), None);
        }
    }
}
