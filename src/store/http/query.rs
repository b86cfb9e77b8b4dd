//! Queries for the nearest records, as people's searches ask them. Judges nothing.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::api::{Api, words};
use super::bounded::{RECORDS, whole};
use super::wire;
use crate::model::{Collection, Error, Result};
use crate::store::Neighbour;

/// How long one body of queries is tried again: a search that fails is told, and waited for by nobody.
const RETRIES: Duration = Duration::from_secs(5);

/// The answer to `query`, of which ids and distances are asked for.
#[derive(Debug, Deserialize)]
struct Answer {
    ids: Vec<Vec<String>>,
    /// Null for one that is not finite.
    distances: Option<Vec<Vec<Option<f64>>>>,
}

impl Answer {
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

impl Api {
    /// At most `most` nearest records of each vector, nearest first.
    pub(super) async fn neighbours(
        &self,
        collection: &Collection,
        vectors: &[&[f32]],
        most: usize,
    ) -> Result<Vec<Vec<Neighbour>>> {
        let body = json!({"query_embeddings": vectors, "n_results": most, "include": ["distances"]});
        let path = self.at(collection).collection(&collection.id, "query");
        let request = self.read(&path, Some(body.to_string().into()), words(collection));
        let take = |response| async move { wire::parse::<Answer>(&whole(response, RECORDS).await?) };
        let answer = self.transport.try_call(RETRIES, &request, take).await;
        let answer = answer.map_err(|stopped| self.transport.error(&request, &stopped))?;
        answer.neighbours().map_err(|why| Error::Failing {
            store: self.transport.name(),
            attempt: "a query".to_owned(),
            why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_an_error() {
        let read = |text: &str| serde_json::from_str::<Answer>(text).unwrap().neighbours();
        let one = |id: &str, distance| Neighbour { id: id.into(), distance };
        let whole = read(r#"{"ids": [["a", "b"], []], "distances": [[0.5, null], []], "metadatas": null}"#);
        assert_eq!(whole, Ok(vec![vec![one("a", Some(0.5)), one("b", None)], vec![]]));
        for short in
            [r#"{"ids": [["a"]]}"#, r#"{"ids": [["a"]], "distances": []}"#, r#"{"ids": [["a"]], "distances": [[]]}"#]
        {
            assert!(read(short).is_err(), "{short}");
        }
    }
}
