//! Chroma's API v2 for arranging a test and for seeing that a server is untouched. Judges nothing: that is the client's
//! part, in `dump`.

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::chroma::ChromaServer;
use super::migration::Place;

/// One call; the status and the answer's JSON (a string where it is none). On a thread of its own, for tests that are in a
/// runtime already.
pub(crate) fn call(method: Method, url: &str, body: Option<&Json>) -> (u16, Json) {
    std::thread::scope(|scope| scope.spawn(|| called(method, url, body)).join().unwrap())
}

fn called(method: Method, url: &str, body: Option<&Json>) -> (u16, Json) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Json::String(text)))
    })
}

/// A call that must succeed.
#[track_caller]
pub(crate) fn done(method: &Method, url: &str, body: Option<&Json>) -> Json {
    let (status, answer) = call(method.clone(), url, body);
    assert!((200..300).contains(&status), "{method} {url}: {status} {answer}");
    answer
}

fn database(server: &ChromaServer, (tenant, database): Place) -> String {
    // Spaces are all that a test's names hold beyond what a path takes as it is.
    let [tenant, database] = [tenant, database].map(|name| name.replace(' ', "%20"));
    format!("{}/api/v2/tenants/{tenant}/databases/{database}", server.url)
}

/// Makes the tenant and the database, where they are missing.
pub(crate) fn make_place(server: &ChromaServer, (tenant, database): Place) {
    let url = &server.url;
    let _ = call(Method::POST, &format!("{url}/api/v2/tenants"), Some(&json!({ "name": tenant })));
    let tenant = tenant.replace(' ', "%20");
    let url = format!("{url}/api/v2/tenants/{tenant}/databases");
    let _ = call(Method::POST, &url, Some(&json!({ "name": database })));
}

/// Creates a collection with this payload, and returns the server's description of it.
#[track_caller]
pub(crate) fn create(server: &ChromaServer, place: Place, payload: &Json) -> Json {
    done(&Method::POST, &format!("{}/collections", database(server, place)), Some(payload))
}

/// `add`, `upsert`, `update` or `delete` on a collection of this name.
#[track_caller]
pub(crate) fn write(server: &ChromaServer, place: Place, name: &str, what: &str, payload: &Json) {
    let url = database(server, place);
    let id = done(&Method::GET, &format!("{url}/collections/{name}"), None)["id"].as_str().unwrap().to_owned();
    done(&Method::POST, &format!("{url}/collections/{id}/{what}"), Some(payload));
}

/// Changes the name or the metadata of a collection.
#[track_caller]
pub(crate) fn modify(server: &ChromaServer, place: Place, name: &str, payload: &Json) {
    let url = database(server, place);
    let id = done(&Method::GET, &format!("{url}/collections/{name}"), None)["id"].as_str().unwrap().to_owned();
    done(&Method::PUT, &format!("{url}/collections/{id}"), Some(payload));
}

/// All that a database holds, as the server tells it: equal before and after means untouched.
#[track_caller]
pub(crate) fn snapshot(server: &ChromaServer, place: Place) -> Vec<Json> {
    let url = database(server, place);
    let include = json!({"include": ["documents", "embeddings", "metadatas", "uris"]});
    let collections = done(&Method::GET, &format!("{url}/collections"), None);
    let mut all = Vec::new();
    for collection in collections.as_array().unwrap() {
        let id = collection["id"].as_str().unwrap();
        let records = done(&Method::POST, &format!("{url}/collections/{id}/get"), Some(&include));
        all.push(json!([collection, records]));
    }
    all
}
