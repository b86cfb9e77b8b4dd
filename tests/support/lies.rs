//! Answers of Chroma that are valid and not true: shorter, reordered, of another record. Pure; `proxy` tells them.

use serde_json::Value as Json;

/// What is told instead of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Nothing at all.
    Empty,
    /// One record less: this one, counted around the answer.
    Without(usize),
    /// The first so many records.
    Capped(usize),
    /// Every list turned by so many places, all in the same way: an order that nobody asked for.
    Turned(usize),
    /// A record with the document of its neighbour.
    OtherDocument(usize),
    /// A record with the vector of its neighbour.
    OtherVector(usize),
    /// A vector without its last component.
    ShortVector(usize),
    /// Of each query the first record in all places.
    EachSame,
    /// Of each query no distance.
    EachNull,
    /// Of each query no record.
    EachEmpty,
    /// One id more that nobody has.
    Stranger,
}

const COLUMNS: [&str; 5] = ["ids", "embeddings", "documents", "metadatas", "uris"];

/// The body that the lie makes of a true one; None where it has nothing to lie about.
pub(crate) fn told(lie: Lie, body: &[u8]) -> Option<Vec<u8>> {
    let mut json: Json = serde_json::from_slice(body).ok()?;
    let records = json.get("ids")?.as_array()?.len();
    if records == 0 {
        return None;
    }
    let mut change = |act: &mut dyn FnMut(&mut Vec<Json>)| {
        for column in COLUMNS {
            if let Some(list) = json.get_mut(column).and_then(Json::as_array_mut).filter(|list| list.len() == records) {
                act(list);
            }
        }
    };
    match lie {
        Lie::Empty => change(&mut Vec::clear),
        Lie::Without(n) => change(&mut |list| drop(list.remove(n % records))),
        Lie::Capped(most) => change(&mut |list| list.truncate(most)),
        Lie::Turned(by) => change(&mut |list| list.rotate_left(by % records)),
        Lie::OtherDocument(n) => copied(&mut json, "documents", n, records)?,
        Lie::OtherVector(n) => copied(&mut json, "embeddings", n, records)?,
        Lie::EachSame => each(&mut json, "ids", |list| {
            let first = list.first().cloned().unwrap_or_default();
            list.fill(first);
        })?,
        Lie::EachNull => each(&mut json, "distances", |list| list.fill(Json::Null))?,
        Lie::EachEmpty => {
            each(&mut json, "ids", Vec::clear)?;
            each(&mut json, "distances", Vec::clear)?;
        }
        Lie::Stranger => json.get_mut("ids")?.as_array_mut()?.push("nobody's".into()),
        Lie::ShortVector(n) => drop(json.get_mut("embeddings")?.get_mut(n % records)?.as_array_mut()?.pop()),
    }
    serde_json::to_vec(&json).ok()
}

/// What a column has of each query is changed.
fn each(json: &mut Json, column: &str, change: impl Fn(&mut Vec<Json>)) -> Option<()> {
    json.get_mut(column)?.as_array_mut()?.iter_mut().filter_map(Json::as_array_mut).for_each(change);
    Some(())
}

/// A value takes the place of the one before it.
fn copied(json: &mut Json, column: &str, n: usize, records: usize) -> Option<()> {
    let list = json.get_mut(column)?.as_array_mut()?;
    let next = list.get((n + 1) % records)?.clone();
    *list.get_mut(n % records)? = next;
    Some(())
}
