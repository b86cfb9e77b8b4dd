//! An API server that a whole process talks to by KUBECONFIG: lists and watches of migrations, and the leader's Lease.
//! Everything else is not there. A mock, because a real one cannot be made to lose a CRD or a Lease at a given moment.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

const GROUP: &str = "/apis/memory-migration.dev/v1alpha1";

/// What it holds and what it was asked.
struct Cluster {
    has_crd: bool,
    objects: Vec<Value>,
    lease: Option<Value>,
    calls: Vec<String>,
}

struct Shared {
    cluster: Mutex<Cluster>,
    watchers: broadcast::Sender<String>,
}

/// The server; it ends with this value.
pub(super) struct ApiServer {
    shared: Arc<Shared>,
    folder: tempfile::TempDir,
    _runtime: Runtime,
}

impl ApiServer {
    pub(super) fn start(has_crd: bool, objects: Vec<Value>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let cluster = Mutex::new(Cluster { has_crd, objects, lease: None, calls: Vec::new() });
        let shared = Arc::new(Shared { cluster, watchers: broadcast::channel(16).0 });
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(answer).with_state(shared.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        std::fs::write(folder.path().join("config"), config.to_string()).unwrap();
        Self { shared, folder, _runtime: runtime }
    }

    /// The file that KUBECONFIG names.
    pub(super) fn config(&self) -> std::path::PathBuf {
        self.folder.path().join("config")
    }

    pub(super) fn install_crd(&self) {
        self.shared.cluster.lock().unwrap().has_crd = true;
    }

    /// A new object, which every watch is told.
    pub(super) fn add(&self, object: Value) {
        self.shared.watchers.send(json!({"type": "ADDED", "object": object}).to_string() + "\n").unwrap();
        self.shared.cluster.lock().unwrap().objects.push(object);
    }

    /// Somebody else takes the leader's Lease.
    pub(super) fn usurp(&self) {
        let mut cluster = self.shared.cluster.lock().unwrap();
        let lease = cluster.lease.as_mut().unwrap();
        lease["spec"]["holderIdentity"] = json!("somebody-else");
        lease["metadata"]["resourceVersion"] = json!("usurped");
    }

    pub(super) fn lease(&self) -> Value {
        self.shared.cluster.lock().unwrap().lease.clone().unwrap_or_default()
    }

    /// Every call so far, as "METHOD path?query".
    pub(super) fn calls(&self) -> Vec<String> {
        self.shared.cluster.lock().unwrap().calls.clone()
    }

    /// Writes other than to the leader's Lease.
    pub(super) fn writes(&self) -> Vec<String> {
        let leader = |call: &String| call.contains("/leases");
        self.calls().into_iter().filter(|call| !call.starts_with("GET ") && !leader(call)).collect()
    }

    /// Waits for a call that contains this.
    #[track_caller]
    pub(super) fn awaits(&self, part: &str) {
        until(&format!("a call with {part}"), || self.calls().iter().any(|call| call.contains(part)));
    }
}

/// Waits until it is so.
#[track_caller]
pub(super) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let sent = to_bytes(body, usize::MAX).await.unwrap();
    let sent: Value = serde_json::from_slice(&sent).unwrap_or_default();
    let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
    let mut cluster = shared.cluster.lock().unwrap();
    cluster.calls.push(format!("{} {path}?{query}", parts.method));
    let collection = path.rsplit('/').next().unwrap_or_default();
    if collection == "memorymigrations" && !cluster.has_crd {
        return refusal(404);
    }
    if query.contains("watch=true") {
        let ours = collection == "memorymigrations";
        return watching(&shared, ours);
    }
    let listed = HashSet::from(["memorymigrations", "jobs", "pods", "leases", "events"]);
    match (parts.method.as_str(), collection) {
        ("GET", "memorymigrations") => list(&cluster.objects),
        ("GET", _) if listed.contains(collection) => list(&[]),
        ("POST", "events") => found(&sent),
        (_, "leases" | "memory-migration-operator-leader") => leader(&mut cluster, parts.method.as_str(), sent),
        (method, _) if path.starts_with(GROUP) => object(&mut cluster, method, &path, &sent),
        _ => refusal(404),
    }
}

/// Reading one object, and writing its status.
fn object(cluster: &mut Cluster, method: &str, path: &str, sent: &Value) -> Response {
    let name = path.trim_end_matches("/status").rsplit('/').next().unwrap_or_default();
    let Some(object) = cluster.objects.iter_mut().find(|o| o["metadata"]["name"] == name) else { return refusal(404) };
    if method == "PATCH" {
        super::mock::merge(&mut object["status"], &sent["status"]);
    }
    found(object)
}

fn leader(cluster: &mut Cluster, method: &str, sent: Value) -> Response {
    let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
    match (method, &cluster.lease) {
        ("GET", None) => return refusal(404),
        ("POST", Some(_)) => return refusal(409),
        ("PUT", Some(there)) if version(there) != version(&sent) => return refusal(409),
        ("GET", _) => {}
        _ => {
            let number = cluster.calls.len();
            cluster.lease = Some(sent);
            if let Some(lease) = &mut cluster.lease {
                lease["metadata"]["resourceVersion"] = json!(number.to_string());
            }
        }
    }
    found(cluster.lease.as_ref().unwrap())
}

/// A watch that never ends.
fn watching(shared: &Shared, ours: bool) -> Response {
    let events = futures::stream::unfold(shared.watchers.subscribe(), async |mut events| {
        events.recv().await.ok().map(|event| (Ok::<_, Infallible>(event), events))
    });
    // Without a first byte the answer's head would wait, too.
    let bookmark = json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "2", "annotations": {}},
                          "kind": "MemoryMigration", "apiVersion": "memory-migration.dev/v1alpha1", "spec": {}}});
    let first = futures::stream::iter([Ok::<_, Infallible>(bookmark.to_string() + "\n")]);
    let stream = if ours { first.chain(events).boxed() } else { first.chain(futures::stream::pending()).boxed() };
    Body::from_stream(stream).into_response()
}

fn list(items: &[Value]) -> Response {
    found(&json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items}))
}

fn found(object: &Value) -> Response {
    object.to_string().into_response()
}

fn refusal(code: u16) -> Response {
    let reason = if code == 404 { "NotFound" } else { "Conflict" };
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
                        "reason": reason, "message": "the server's words"});
    (StatusCode::from_u16(code).unwrap(), status.to_string()).into_response()
}
