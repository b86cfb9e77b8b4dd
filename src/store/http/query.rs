//! Searches as people's programs ask them: for the nearest records, and by filters. Judges nothing.

use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::api::{Api, words};
use super::bounded::{RECORDS, whole};
use super::wire;
use crate::model::{Collection, Error, Filter, Result, Value};
use crate::store::{Neighbour, Searches};

/// How long one search is tried again at most: one that fails is told, and waited for by nobody.
const RETRIES: Duration = Duration::from_secs(2);

/// The body of `query`.
#[derive(Serialize)]
struct Question<'a> {
    query_embeddings: &'a [&'a [f32]],
    n_results: usize,
    include: [&'static str; 1],
}

/// The answer to `query`, of which ids and distances are asked for.
#[derive(Debug, Deserialize)]
struct Nearest {
    ids: Vec<Vec<String>>,
    /// Null for one that is not finite.
    distances: Option<Vec<Vec<Option<f64>>>>,
}

/// The answer to `get`, of which ids are asked for.
#[derive(Debug, Deserialize)]
struct Matching {
    ids: Vec<String>,
}

impl Nearest {
    fn neighbours(self) -> Result<Vec<Vec<Neighbour>>, String> {
        let distances = self.distances.ok_or("an answer without distances")?;
        let lengths = |lists: usize, others: usize| format!("an answer with {lists} ids and {others} distances");
        if self.ids.len() != distances.len() {
            return Err(lengths(self.ids.len(), distances.len()));
        }
        let of = |(ids, distances): (Vec<String>, Vec<Option<f64>>)| {
            if ids.len() != distances.len() {
                return Err(lengths(ids.len(), distances.len()));
            }
            Ok(ids.into_iter().zip(distances).map(|(id, distance)| Neighbour { id, distance }).collect())
        };
        self.ids.into_iter().zip(distances).map(of).collect()
    }
}

/// The body of `get` for a filter.
fn question(filter: &Filter, most: usize) -> Json {
    let asked = |condition: Json| json!({"include": [], "limit": most, "where": condition});
    match filter {
        Filter::Equal { key, value } => asked(json!({key: {"$eq": plain(value)}})),
        Filter::Among { key, values } => asked(json!({key: {"$in": values.iter().map(plain).collect::<Vec<_>>()}})),
        Filter::Within { key, from, to } => asked(json!({"$and": [{key: {"$gte": from}}, {key: {"$lte": to}}]})),
        Filter::Contains(text) => json!({"include": [], "limit": most, "where_document": {"$contains": text}}),
    }
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Str(text) => json!(text),
        Value::Int(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Bool(truth) => json!(truth),
        Value::List(values) => values.iter().map(plain).collect(),
    }
}

impl Api {
    async fn searched<T: DeserializeOwned>(&self, collection: &Collection, verb: &str, body: String) -> Result<T> {
        let path = self.at(collection).collection(&collection.id, verb);
        let request = self.read(&path, Some(body.into()), words(collection));
        let take = |response| async move { wire::parse::<T>(&whole(response, RECORDS).await?) };
        let answer = self.transport.try_call(RETRIES.min(self.transport.retry), &request, take).await;
        answer.map_err(|stopped| self.transport.error(&request, &stopped))
    }

    fn unusable(&self, why: &str) -> Error {
        let remedy = "see whether something before the server changes its answers".to_owned();
        Error::Unsupported { store: self.transport.name(), why: format!("a search got {why}"), remedy }
    }
}

#[async_trait]
impl Searches for Api {
    fn engine(&self) -> &str {
        &self.version
    }

    async fn nearest(&self, collection: &Collection, vectors: &[&[f32]], most: usize) -> Result<Vec<Vec<Neighbour>>> {
        let question = Question { query_embeddings: vectors, n_results: most, include: ["distances"] };
        let body = serde_json::to_string(&question).map_err(|error| self.unusable(&error.to_string()))?;
        let answer: Nearest = self.searched(collection, "query", body).await?;
        answer.neighbours().map_err(|why| self.unusable(&why))
    }

    async fn matching(&self, collection: &Collection, filter: &Filter, most: usize) -> Result<Vec<String>> {
        let answer: Matching = self.searched(collection, "get", question(filter, most).to_string()).await?;
        Ok(answer.ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_an_error() {
        let read = |text: &str| serde_json::from_str::<Nearest>(text).unwrap().neighbours();
        let one = |id: &str, distance| Neighbour { id: id.into(), distance };
        let whole = read(r#"{"ids": [["a", "b"], []], "distances": [[0.5, null], []], "metadatas": null}"#);
        assert_eq!(whole, Ok(vec![vec![one("a", Some(0.5)), one("b", None)], vec![]]));
        for short in
            [r#"{"ids": [["a"]]}"#, r#"{"ids": [["a"]], "distances": []}"#, r#"{"ids": [["a"]], "distances": [[]]}"#]
        {
            assert!(read(short).is_err(), "{short}");
        }
    }

    #[test]
    fn filters_as_chroma_reads_them() {
        let key = || "k".to_owned();
        let told = |filter: Filter| question(&filter, 7);
        let by = |condition: Json| json!({"include": [], "limit": 7, "where": condition});
        assert_eq!(told(Filter::Equal { key: key(), value: Value::Bool(true) }), by(json!({"k": {"$eq": true}})));
        assert_eq!(
            told(Filter::Among { key: key(), values: vec![Value::Int(1), Value::Int(2)] }),
            by(json!({"k": {"$in": [1, 2]}}))
        );
        assert_eq!(
            told(Filter::Within { key: key(), from: -1, to: 5 }),
            by(json!({"$and": [{"k": {"$gte": -1}}, {"k": {"$lte": 5}}]}))
        );
        assert_eq!(
            told(Filter::Contains("a \"b\"".into())),
            json!({"include": [], "limit": 7, "where_document": {"$contains": "a \"b\""}})
        );
    }
}
