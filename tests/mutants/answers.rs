//! What a mutant makes of a target's answer on its way. Pure: a request and a true answer in, a false one out.

use serde_json::{Value as Json, json};

use super::catalogue::{Fault, Field, Mutant};
use super::described::Described;
use super::records::{Record, originals};

/// What is told instead of the truth.
#[derive(Clone, Debug)]
pub(crate) enum Untruth {
    Records(Mutant, Vec<Record>),
    Collection(Mutant, Described),
    /// So many more than there are.
    Count(i64),
}

/// The answer to be told to this request (`POST /path`, body); None: the true one.
pub(crate) fn told(untruth: &Untruth, line: &str, request: &[u8], answer: &[u8]) -> Option<Vec<u8>> {
    let path = line.split(' ').nth(1)?.split('?').next()?;
    let mut answer: Json = serde_json::from_slice(answer).ok()?;
    let last = path.rsplit('/').next()?;
    match (untruth, last) {
        (Untruth::Count(by), "count") => answer = json!(answer.as_i64()? + by),
        (Untruth::Records(_, after), "count") => answer = json!(after.len()),
        (Untruth::Records(mutant, after), "get") => {
            let request = serde_json::from_slice(request).unwrap_or(Json::Null);
            records(mutant, after, &request, &mut answer)?;
        }
        (Untruth::Collection(mutant, described), _) if path.contains("/collections") => {
            let all = match &mut answer {
                Json::Array(all) => all.iter_mut().collect(),
                one => vec![one],
            };
            for one in all.into_iter().filter(|one| one["name"] == mutant.collection()) {
                collection(mutant, described, one);
            }
        }
        _ => return None,
    }
    serde_json::to_vec(&answer).ok()
}

const COLUMNS: [(&str, Field); 5] = [
    ("ids", Field::Id),
    ("embeddings", Field::Vector),
    ("documents", Field::Document),
    ("metadatas", Field::Key),
    ("uris", Field::Uri),
];

fn records(mutant: &Mutant, after: &[Record], request: &Json, answer: &mut Json) -> Option<()> {
    let ids: Vec<String> = answer["ids"].as_array()?.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    let asked: Option<Vec<&str>> = request["ids"].as_array().map(|ids| ids.iter().filter_map(Json::as_str).collect());
    let before = originals();
    let is_touched = |id: &String| before.iter().any(|one| one.id == *id && !after.contains(one));
    let is_asked = |id: &str| match &asked {
        Some(ids) => ids.contains(&id),
        // a page further on has them, too, if the first one had
        None => request["offset"].as_u64().unwrap_or(0) == 0,
    };
    let new: Vec<&Record> = after.iter().filter(|one| !before.contains(one) && is_asked(&one.id)).collect();
    for (name, field) in COLUMNS {
        let Some(column) = answer.get_mut(name).and_then(Json::as_array_mut) else { continue };
        if column.len() != ids.len() {
            continue;
        }
        let mut at = 0;
        column.retain(|_| {
            at += 1;
            !is_touched(&ids[at - 1])
        });
        column.extend(new.iter().map(|record| cell(mutant, field, record)));
    }
    Some(())
}

fn cell(mutant: &Mutant, column: Field, record: &Record) -> Json {
    let other_type = mutant.fault == Fault::TypeChanged && mutant.field == column;
    match column {
        Field::Id | Field::Document | Field::Uri if other_type => json!(5),
        Field::Id => json!(record.id),
        Field::Vector if other_type => record.vector.iter().map(|x| json!(x.to_string())).collect(),
        Field::Vector if record.vector.is_empty() => Json::Null,
        Field::Vector => json!(record.vector),
        Field::Document => json!(record.document),
        Field::Uri => json!(record.uri),
        _ => json!(record.metadata),
    }
}

fn collection(mutant: &Mutant, described: &Described, one: &mut Json) {
    let configuration = &described.body["configuration"];
    match mutant.field {
        Field::CollectionMetadata => one["metadata"] = described.body["metadata"].clone(),
        Field::Dimension => one["dimension"] = json!(described.dimension),
        Field::EmbeddingFunction => {
            let function = configuration["embedding_function"].clone();
            let index = &mut one["schema"]["keys"]["#embedding"]["float_list"]["vector_index"]["config"];
            index["embedding_function"] = function.clone();
            one["configuration_json"]["embedding_function"] = function;
        }
        Field::Setting(name) => {
            let value = &configuration["hnsw"][name];
            let index = &mut one["schema"]["keys"]["#embedding"]["float_list"]["vector_index"]["config"];
            index["hnsw"][name] = value.clone();
            one["configuration_json"]["hnsw"][name] = value.clone();
        }
        other => panic!("{other} is not told with a collection"),
    }
}
