//! Finds the distance that a server really uses where a collection's own documents contradict each other.
//! Reads with one query; `closest` is pure.

use serde_json::json;

use super::api::{Api, words};
use super::wire::QueryAnswer;
use crate::store::collection::Collection;
use crate::store::distance::Distance;
use crate::store::error::Result;
use crate::store::record::{Metadata, Value};

/// The distance by which the server answers, if it had to be asked.
///
/// A store that 0.5 or 0.6 wrote and 1.x serves reports l2 in its configuration, while its metadata says and its
/// distances are cosine (measured). An empty collection cannot be asked: there, l2 is taken for that report, and any
/// other word for a configuration that someone wrote, which wins over the metadata (measured).
pub(super) async fn effective(api: &Api, collection: &Collection) -> Result<Option<Distance>> {
    let Some(wished) = of_metadata(&collection.metadata).filter(|wished| *wished != collection.distance) else {
        return Ok(None);
    };
    let unasked = if collection.distance == Distance::L2 { wished } else { collection.distance };
    let Some(dimension) = collection.dimension.and_then(|d| usize::try_from(d).ok()) else {
        return Ok(Some(unasked));
    };
    // No unit vector, and no other vector's multiple by chance: each distance gives another number.
    let asked: Vec<f32> = (0_u16..).map(|n| 1.5 + f32::from(n % 7)).take(dimension).collect();
    let body = json!({"query_embeddings": [asked], "n_results": 1, "include": ["distances", "embeddings"]});
    let url = api.url(&[&collection.id, "query"]);
    let answer: QueryAnswer = api.json(&Api::read(url, Some(body.to_string().into()), words(collection))).await?;
    Ok(answer.nearest().and_then(|(told, found)| closest(&asked, &found, told)).or(Some(unasked)))
}

fn of_metadata(metadata: &Metadata) -> Option<Distance> {
    match metadata.get("hnsw:space")? {
        Value::Str(word) => Distance::parse(word),
        _ => None,
    }
}

/// The distance that gives `told` between two vectors; None if none or several do.
fn closest(a: &[f32], b: &[f32], told: f64) -> Option<Distance> {
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    let norms = pairs().map(|(a, _)| a * a).sum::<f64>().sqrt() * pairs().map(|(_, b)| b * b).sum::<f64>().sqrt();
    let l2 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
    let candidates = [(Distance::L2, l2), (Distance::Cosine, 1.0 - dot / norms), (Distance::Ip, 1.0 - dot)];
    // f32 sums over thousands of components, and a cosine near zero is the difference of two ones.
    let near = |expected: f64| (expected - told).abs() <= 1e-3 * expected.abs().max(1e-2);
    let mut matching = candidates.into_iter().filter(|(_, expected)| near(*expected)).map(|(distance, _)| distance);
    matching.next().filter(|_| matching.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distance_is_recognised() {
        let (a, b) = ([1.5, 2.5, 3.5], [3.0, 4.0, 0.0]);
        assert_eq!(closest(&a, &b, 2.25 + 2.25 + 12.25), Some(Distance::L2));
        assert_eq!(closest(&a, &b, 1.0 - 14.5), Some(Distance::Ip));
        assert_eq!(closest(&a, &b, 1.0 - 14.5 / (20.75_f64.sqrt() * 5.0)), Some(Distance::Cosine));
        assert_eq!(closest(&a, &b, 77.0), None);
    }

    #[test]
    fn a_vector_that_tells_nothing_gives_no_answer() {
        // Of a zero vector, inner product is 1 whatever was asked, and cosine has none.
        assert_eq!(closest(&[1.0, 0.0], &[0.0, 0.0], 1.0), None);
    }
}
