//! Another client of a Chroma server, quick enough to write while a run is under way. It writes and lists; what a server
//! holds in the end is judged by the official client, in `judge`.

use reqwest::Method;
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;

use super::memories::{Memories, Memory, body};

/// The default database of one server.
pub(crate) struct Client {
    runtime: Runtime,
    http: reqwest::Client,
    url: String,
}

impl Client {
    pub(crate) fn new(server: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // no connection is kept: the server at its other end may have been killed since
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        let http = http.timeout(std::time::Duration::from_secs(60)).build().unwrap();
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            http,
            url: format!("{server}/api/v2/tenants/default_tenant/databases/default_database/collections"),
        }
    }

    /// Status and answer; None where there was no answer.
    fn call(&self, method: Method, path: &str, json: Option<&Json>) -> Option<(u16, Json)> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(json) = json {
            request = request.json(json);
        }
        self.runtime.block_on(async {
            let answer = request.send().await.ok()?;
            let status = answer.status().as_u16();
            let text = answer.text().await.ok()?;
            Some((status, serde_json::from_str(&text).unwrap_or(Json::String(text))))
        })
    }

    #[track_caller]
    fn done(&self, method: Method, path: &str, json: Option<&Json>) -> Json {
        let (status, answer) = self.call(method, path, json).unwrap_or_else(|| panic!("{path}: no answer"));
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// Creates a collection of this distance with these records; its id.
    pub(crate) fn create(&self, name: &str, space: &str, records: &Memories) -> String {
        // every version goes by this key when it creates
        let new = json!({"name": name, "metadata": {"hnsw:space": space}});
        let id = self.done(Method::POST, "", Some(&new))["id"].as_str().unwrap().to_owned();
        let all: Vec<_> = records.iter().collect();
        for part in all.chunks(200) {
            self.records(&id, "add", &body(part.iter().copied()));
        }
        id
    }

    /// The id of a collection of this name.
    pub(crate) fn id(&self, name: &str) -> Option<String> {
        let (status, found) = self.call(Method::GET, &format!("/{name}"), None)?;
        (status == 200).then(|| found["id"].as_str().unwrap().to_owned())
    }

    /// Whether a collection of this name was there, and is gone.
    pub(crate) fn drop(&self, name: &str) -> bool {
        self.call(Method::DELETE, &format!("/{name}"), None).is_some_and(|(status, _)| status == 200)
    }

    pub(crate) fn rename(&self, name: &str, new: &str) -> bool {
        let Some(id) = self.id(name) else { return false };
        self.done(Method::PUT, &format!("/{id}"), Some(&json!({ "new_name": new })));
        true
    }

    /// `add`, `upsert`, `update` or `delete`, which must be acknowledged.
    #[track_caller]
    pub(crate) fn records(&self, id: &str, what: &str, records: &Json) {
        self.done(Method::POST, &format!("/{id}/{what}"), Some(records));
    }

    /// Whether a write of these records was acknowledged.
    pub(crate) fn write(&self, id: &str, what: &str, records: &[(String, Memory)]) -> bool {
        let all = body(records.iter().map(|(id, memory)| (id, memory)));
        self.call(Method::POST, &format!("/{id}/{what}"), Some(&all)).is_some_and(|(status, _)| status < 300)
    }

    /// Whether the deletion of these records was acknowledged.
    pub(crate) fn delete(&self, id: &str, records: &[String]) -> bool {
        let ids = json!({"ids": records});
        self.call(Method::POST, &format!("/{id}/delete"), Some(&ids)).is_some_and(|(status, _)| status < 300)
    }
}
