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

/// The distance that the documents of a collection declare.
///
/// Order of truth, measured on 0.4.24 to 1.5.9: schema > configuration `hnsw` > metadata `hnsw:space` >
/// l2. The `hnsw_configuration` of 0.5 and 0.6 is never gone by: created with `ip` in it, both measure l2.
#[must_use]
pub fn declared(schema: Option<&Json>, configuration: Option<&Json>, metadata: &Metadata) -> Distance {
    let from_schema = || {
        let index = &schema?["keys"]["#embedding"]["float_list"]["vector_index"]["config"];
        Distance::parse(index["space"].as_str()?)
    };
    let from_configuration = || {
        // Over HTTP `hnsw`; in the files of 1.0 `vector_index.hnsw`. SPANN keeps its space in the same way.
        let places = [configuration?, &configuration?["vector_index"]];
        let index = |place: &Json, kind: &str| place.get(kind).filter(|index| index.is_object()).cloned();
        let hnsw = places.iter().find_map(|place| index(place, "hnsw").or_else(|| index(place, "spann")))?;
        Some(hnsw["space"].as_str().and_then(Distance::parse).unwrap_or(Distance::L2))
    };
    let from_metadata = || match metadata.get("hnsw:space")? {
        Value::Str(word) => Distance::parse(word),
        _ => None,
    };
    from_schema().or_else(from_configuration).or_else(from_metadata).unwrap_or(Distance::L2)
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
}
