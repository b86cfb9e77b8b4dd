//! Puts mutants into a real server by its API, and takes them out again. Judges nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::described::Described;
use super::records::{Record, body, originals};
use crate::support::api::{call, done};

/// The default database of a server.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    url: String,
}

impl Shelf {
    pub(crate) fn new(server: &str) -> Self {
        Self { url: format!("{server}/api/v2/tenants/default_tenant/databases/default_database/collections") }
    }

    /// Creates the collection with these records.
    pub(crate) fn create(&self, description: &Json, records: &[Record]) {
        done(&Method::POST, &self.url, Some(description));
        self.records(description["name"].as_str().unwrap(), "add", &body(records));
    }

    /// Deletes the collection.
    ///
    /// 1.5.9 leaves the arrays of a deleted collection's records, and the next record that gets one of their row numbers has
    /// them (measured; the run rightly names it). A record that stays keeps the last number taken, so none is given twice.
    pub(crate) fn drop(&self, name: &str) {
        static KEPT: AtomicUsize = AtomicUsize::new(0);
        if self.description("keeper").is_none() {
            done(&Method::POST, &self.url, Some(&json!({"name": "keeper"})));
        }
        let id = KEPT.fetch_add(1, Ordering::Relaxed).to_string();
        self.records("keeper", "add", &json!({"ids": [id], "embeddings": [[1.0]], "documents": ["kept"]}));
        done(&Method::DELETE, &format!("{}/{name}", self.url), None);
    }

    /// The collection in another form, under the same name.
    pub(crate) fn replace(&self, name: &str, with: &Described) {
        self.drop(name);
        let mut records = originals();
        for record in &mut records {
            record.vector.truncate(with.dimension);
        }
        self.create(&with.body, &records);
    }

    /// Another setting or other metadata of the living collection.
    pub(crate) fn modify(&self, name: &str, description: &Json) {
        let mut settings = json!({});
        for setting in ["ef_search", "resize_factor", "sync_threshold"] {
            settings[setting] = description["configuration"]["hnsw"][setting].clone();
        }
        let change = json!({"new_metadata": description["metadata"], "new_configuration": {"hnsw": settings}});
        done(&Method::PUT, &format!("{}/{}", self.url, self.id(name)), Some(&change));
    }

    /// Makes `after` of what is `before`. Deletes and adds, so that nothing of the old record stays.
    pub(crate) fn change(&self, name: &str, before: &[Record], after: &[Record]) {
        let is_in = |record: &&Record, all: &[Record]| all.iter().any(|one| one == *record);
        let ids: Vec<_> = before.iter().filter(|one| !is_in(one, after)).map(|one| one.id.clone()).collect();
        if !ids.is_empty() {
            self.records(name, "delete", &json!({ "ids": ids }));
        }
        let new: Vec<_> = after.iter().filter(|one| !is_in(one, before)).cloned().collect();
        if !new.is_empty() {
            self.records(name, "add", &body(&new));
        }
    }

    /// Brings records back to what they were, whatever a run made of them.
    pub(crate) fn restore(&self, name: &str, mutated: &[Record]) {
        let before = originals();
        let touched: Vec<_> = mutated.iter().filter(|one| !before.contains(one)).map(|one| one.id.clone()).collect();
        let mended: Vec<_> = before.iter().filter(|one| !mutated.contains(one)).cloned().collect();
        let ids: Vec<_> = touched.into_iter().chain(mended.iter().map(|one| one.id.clone())).collect();
        if !ids.is_empty() {
            self.records(name, "delete", &json!({ "ids": ids }));
        }
        if !mended.is_empty() {
            self.records(name, "add", &body(&mended));
        }
    }

    /// Every record as the server gives it, by id.
    pub(crate) fn read(&self, name: &str) -> BTreeMap<String, Json> {
        let include = json!({"include": ["documents", "embeddings", "metadatas", "uris"]});
        let all = self.records(name, "get", &include);
        let column = |of: &str, n: usize| all[of].get(n).cloned().unwrap_or(Json::Null);
        let ids = all["ids"].as_array().unwrap().iter().enumerate();
        let record = |n| {
            json!({
                "embedding": column("embeddings", n), "document": column("documents", n), "uri": column("uris", n),
                "metadata": column("metadatas", n),
            })
        };
        ids.map(|(n, id)| (id.as_str().unwrap().to_owned(), record(n))).collect()
    }

    /// The server's description of the collection; None where it has none of this name.
    pub(crate) fn description(&self, name: &str) -> Option<Json> {
        let (status, found) = call(Method::GET, &format!("{}/{name}", self.url), None);
        (status == 200).then_some(found)
    }

    fn id(&self, name: &str) -> String {
        self.description(name).unwrap()["id"].as_str().unwrap().to_owned()
    }

    fn records(&self, name: &str, what: &str, body: &Json) -> Json {
        done(&Method::POST, &format!("{}/{}/{what}", self.url, self.id(name)), Some(body))
    }
}

/// Whether two readings are the same records, but for what Chroma itself costs: 4 ULP of doubles, and of vectors where the
/// distance is cosine. Knows nothing of the library's own equality.
pub(crate) fn same(a: &Json, b: &Json, space: &str) -> bool {
    let vector =
        |json: &Json| -> Vec<f64> { json["embedding"].as_array().unwrap().iter().filter_map(Json::as_f64).collect() };
    let (left, right) = (vector(a), vector(b));
    let tolerated = if space == "cosine" { 4.0 * f64::from(f32::EPSILON) } else { 0.0 };
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerated * a.abs();
    left.len() == right.len()
        && left.iter().zip(&right).all(near)
        && ["document", "uri", "metadata"].iter().all(|part| same_value(&a[*part], &b[*part]))
}

fn same_value(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(x), Json::Number(y)) if x.is_f64() && y.is_f64() => {
            let (x, y) = (x.as_f64().unwrap(), y.as_f64().unwrap());
            (x - y).abs() <= 4.0 * f64::EPSILON * x.abs()
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same_value(value, other)))
        }
        _ => a == b,
    }
}
