//! What the collections of the mutants are, and what a mutant makes of a collection. Pure.

use serde_json::{Value as Json, json};

use super::catalogue::{Fault, Field, Mutant, Side, collection_of};

/// A collection after the fault, and what must be said of it.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// The body that creates it.
    pub(crate) body: Json,
    /// A part of the message.
    pub(crate) said: String,
    /// Whether records cannot be compared then, or would not be found by their vectors.
    pub(crate) is_vital: bool,
    /// Components of its vectors.
    pub(crate) dimension: usize,
}

/// The body that creates the collection on both sides. The index of ip never reaches the disk: its vectors are in the log.
pub(crate) fn original(space: &str) -> Json {
    let threshold = if space == "ip" { 1000 } else { 10 };
    let hnsw = json!({
        "space": space, "ef_construction": 111, "ef_search": 22, "max_neighbors": 17, "resize_factor": 1.5,
        "sync_threshold": threshold, "batch_size": 5
    });
    let metadata = json!({"text": "described é", "int": 1, "float": 1.5, "bool": true});
    let mut configuration = json!({ "hnsw": hnsw });
    if space != "ip" {
        configuration["embedding_function"] = function("default");
    }
    json!({"name": collection_of(space), "metadata": metadata, "configuration": configuration})
}

fn function(name: &str) -> Json {
    json!({"type": "known", "name": name, "config": {}})
}

/// What this mutant makes of the collection; for a field of collections only.
pub(crate) fn mutated(mutant: &Mutant) -> Described {
    let mut body = original(mutant.space);
    let mut dimension = super::records::DIMENSION;
    let (said, is_vital) = match mutant.field {
        Field::CollectionMetadata => (metadata(mutant, &mut body["metadata"]), false),
        Field::Distance => {
            body["configuration"]["hnsw"]["space"] = json!(if mutant.space == "l2" { "ip" } else { "l2" });
            ("distance".to_owned(), true)
        }
        Field::Dimension => {
            dimension -= 1;
            ("dimension".to_owned(), true)
        }
        Field::EmbeddingFunction => {
            let new = match mutant.fault {
                Fault::Dropped => Json::Null,
                Fault::Added => function("default"),
                _ => function("openai"),
            };
            body["configuration"]["embedding_function"] = new;
            ("embedding function".to_owned(), mutant.fault == Fault::Changed)
        }
        Field::Setting(name) => {
            let value = &mut body["configuration"]["hnsw"][name];
            *value = value.as_i64().map_or_else(|| json!(1.75), |n| json!(n + 1));
            (format!("{name} is "), false)
        }
        other => panic!("{other} is no field of a collection"),
    };
    Described { body, said, is_vital, dimension }
}

fn metadata(mutant: &Mutant, metadata: &mut Json) -> String {
    let metadata = metadata.as_object_mut().unwrap();
    // what one side lost, the other one has too much
    let (lost, gained) = match mutant.side {
        Side::Source => ("is not in the source", "is missing"),
        _ => ("is missing", "is not in the source"),
    };
    match mutant.fault {
        Fault::Dropped => {
            metadata.shift_remove("text");
            format!("metadata \"text\" {lost}")
        }
        Fault::Added => {
            metadata.insert("more".to_owned(), json!(1));
            format!("metadata \"more\" {gained}")
        }
        Fault::TypeChanged => {
            metadata.insert("int".to_owned(), json!("1"));
            "metadata \"int\" has another value".to_owned()
        }
        fault => {
            let text = if fault == Fault::Truncated { "described" } else { "Described é" };
            metadata.insert("text".to_owned(), json!(text));
            "metadata \"text\" has another value".to_owned()
        }
    }
}
