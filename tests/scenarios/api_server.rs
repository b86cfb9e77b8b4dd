//! An API server that a whole process talks to by KUBECONFIG: it keeps objects, lists and watches them with their labels, and
//! notes every call. It runs nothing: what Kubernetes makes of a Job is in `kubernetes`. A mock, because a real one cannot
//! be made to lose a CRD, a Lease or an answer at a given moment, and because its calls are what is tested.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub(super) const MIGRATIONS: &str = "/apis/memory-migration.dev/v1alpha1/namespaces/team/memorymigrations";
pub(super) const JOBS: &str = "/apis/batch/v1/namespaces/team/jobs";
pub(super) const PODS: &str = "/api/v1/namespaces/team/pods";
pub(super) const CLAIMS: &str = "/api/v1/namespaces/team/persistentvolumeclaims";
pub(super) const SERVICES: &str = "/api/v1/namespaces/team/services";
pub(super) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/operator/leases";
const LEADER: &str = "/apis/coordination.k8s.io/v1/namespaces/operator/leases/memory-migration-operator-leader";

/// One change, for the watches.
struct Change {
    version: u64,
    path: String,
    kind: &'static str,
    object: Value,
}

/// What it holds and what it was asked.
#[derive(Default)]
pub(super) struct Cluster {
    has_crd: bool,
    version: u64,
    /// By their path.
    pub(super) objects: BTreeMap<String, Value>,
    changes: Vec<Change>,
    /// What the containers of a pod have written, by the pod's path.
    pub(super) logs: BTreeMap<String, String>,
    /// Codes that a policy answers creations of a kind with.
    pub(super) refuses: BTreeMap<String, u16>,
    /// Kinds whose CRD is not installed.
    pub(super) lacks: BTreeSet<String>,
    /// How many more writes are taken, other than of the leader's Lease and of events; None: all.
    pub(super) takes: Option<usize>,
    /// Paths of all that was created.
    pub(super) made: Vec<String>,
    /// Pods whose kubelet never answers.
    pub(super) unreachable: BTreeSet<String>,
    /// How often each fault point was come to.
    pub(super) visits: BTreeMap<String, usize>,
    /// What happens at which visit of a fault point.
    pub(super) trap: Option<(String, usize, Trap)>,
    calls: Vec<String>,
}

/// What happens to a call at a fault point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trap {
    /// It is answered so, and nothing is done.
    Before(u16),
    /// It is done, and answered so.
    After(u16),
    /// It is not done, and never answered: the caller is to die here.
    DeathBefore,
    /// It is done, and never answered.
    DeathAfter,
}

impl Trap {
    pub(super) fn is_deadly(self) -> bool {
        matches!(self, Self::DeathBefore | Self::DeathAfter)
    }
}

struct Shared {
    cluster: Mutex<Cluster>,
    changed: watch::Sender<u64>,
}

/// The server; it ends with this value.
pub(super) struct ApiServer {
    shared: Arc<Shared>,
    folder: tempfile::TempDir,
    _runtime: Runtime,
}

impl ApiServer {
    pub(super) fn start(has_crd: bool, migrations: Vec<Value>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let cluster = Mutex::new(Cluster { has_crd, version: 1, ..Cluster::default() });
        let shared = Arc::new(Shared { cluster, changed: watch::channel(1).0 });
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
        let server = Self { shared, folder, _runtime: runtime };
        for migration in migrations {
            server.add(migration);
        }
        server
    }

    /// The file that KUBECONFIG names.
    pub(super) fn config(&self) -> std::path::PathBuf {
        self.folder.path().join("config")
    }

    pub(super) fn install_crd(&self) {
        self.cluster().has_crd = true;
    }

    /// A new migration, which every watch is told.
    pub(super) fn add(&self, migration: Value) {
        self.put(&format!("{MIGRATIONS}/{}", migration["metadata"]["name"].as_str().unwrap()), migration);
    }

    /// What is there, to look at it and to change it.
    pub(super) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.shared.cluster.lock().unwrap()
    }

    /// Somebody makes or changes an object, and every watch is told.
    pub(super) fn put(&self, path: &str, object: Value) {
        let mut cluster = self.cluster();
        cluster.put(path, object);
        self.shared.changed.send_replace(cluster.version);
    }

    /// Somebody deletes an object, and every watch is told.
    pub(super) fn delete(&self, path: &str) {
        let mut cluster = self.cluster();
        cluster.delete(path);
        self.shared.changed.send_replace(cluster.version);
    }

    /// The object at this path; null: there is none.
    pub(super) fn get(&self, path: &str) -> Value {
        self.cluster().objects.get(path).cloned().unwrap_or_default()
    }

    /// Somebody else takes the leader's Lease.
    pub(super) fn usurp(&self) {
        let mut lease = self.lease();
        lease["spec"]["holderIdentity"] = json!("somebody-else");
        self.put(LEADER, lease);
    }

    pub(super) fn lease(&self) -> Value {
        self.get(LEADER)
    }

    /// Every call so far, as "METHOD path?query".
    pub(super) fn calls(&self) -> Vec<String> {
        self.cluster().calls.clone()
    }

    /// Nobody leads any more, as if the Lease had run out.
    pub(super) fn leaderless(&self) {
        self.delete(LEADER);
    }

    /// Whether the trap has been come to.
    pub(super) fn is_sprung(&self) -> bool {
        let cluster = self.cluster();
        cluster.trap.as_ref().is_some_and(|(point, visit, _)| cluster.visits.get(point).is_some_and(|n| n >= visit))
    }

    /// Writes other than to the leader's Lease.
    pub(super) fn writes(&self) -> Vec<String> {
        let leader = |call: &String| call.contains("/leases");
        self.calls().into_iter().filter(|call| !call.starts_with("GET ") && !leader(call)).collect()
    }

    /// Reads other than watches and of the leader's Lease.
    pub(super) fn reads(&self) -> Vec<String> {
        let counts = |call: &String| call.starts_with("GET ") && !call.contains("watch=true") && !call.contains(LEADER);
        self.calls().into_iter().filter(counts).collect()
    }

    /// Waits for a call that contains this.
    #[track_caller]
    pub(super) fn awaits(&self, part: &str) {
        until(&format!("a call with {part}"), || self.calls().iter().any(|call| call.contains(part)));
    }
}

impl Cluster {
    /// A fault point is come to: what happens there.
    fn visit(&mut self, point: &str) -> Option<Trap> {
        let visits = self.visits.entry(point.to_owned()).or_default();
        *visits += 1;
        let (trapped, visit, trap) = self.trap.as_ref()?;
        (*trapped == point && visit == visits).then_some(*trap)
    }

    fn put(&mut self, path: &str, mut object: Value) {
        self.version += 1;
        let kind = if self.objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{}", self.version));
        }
        if metadata["namespace"].is_null() {
            metadata["namespace"] = json!(path.split('/').rev().nth(2).unwrap());
        }
        self.objects.insert(path.to_owned(), object.clone());
        self.changes.push(Change { version: self.version, path: path.to_owned(), kind, object });
    }

    /// With all that it owns.
    fn delete(&mut self, path: &str) {
        let Some(mut object) = self.objects.remove(path) else { return };
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let uid = object["metadata"]["uid"].clone();
        self.changes.push(Change { version: self.version, path: path.to_owned(), kind: "DELETED", object });
        let is_owned = |object: &Value| object["metadata"]["ownerReferences"][0]["uid"] == uid;
        let owned: Vec<String> =
            self.objects.iter().filter(|(_, object)| is_owned(object)).map(|(path, _)| path.clone()).collect();
        for path in &owned {
            self.delete(path);
        }
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
    let asked = Asked::new(&path, &query);
    let trap = shared.cluster.lock().unwrap().visit(&asked.point(parts.method.as_str(), &query, &sent));
    match trap {
        Some(Trap::Before(code)) => return refusal(code),
        Some(Trap::DeathBefore) => return std::future::pending().await,
        _ => {}
    }
    if asked.sub.as_deref() == Some("log") {
        return log(&shared, &path, &query).await;
    }
    let answer = done(&shared, parts.method.as_str(), &path, &query, asked, sent);
    match trap {
        Some(Trap::After(code)) => refusal(code),
        Some(Trap::DeathAfter) => std::future::pending().await,
        _ => answer,
    }
}

/// Carries the call out.
fn done(shared: &Arc<Shared>, method: &str, path: &str, query: &str, asked: Asked, sent: Value) -> Response {
    let mut cluster = shared.cluster.lock().unwrap();
    cluster.calls.push(format!("{method} {path}?{query}"));
    let is_lacking = asked.kind == "memorymigrations" && !cluster.has_crd;
    if is_lacking || cluster.lacks.contains(&asked.kind) {
        return refusal(404);
    }
    let counts = method != "GET" && !path.contains("/leases") && !path.contains("/events");
    if let Some(takes) = cluster.takes.filter(|_| counts) {
        if takes == 0 {
            return refusal(503);
        }
        cluster.takes = Some(takes - 1);
    }
    if query.contains("watch=true") {
        drop(cluster);
        return watching(shared, asked);
    }
    let answer = match (method, &asked.name) {
        ("GET", None) => list(&cluster, &asked),
        ("GET", Some(_)) => cluster.objects.get(&asked.object).map_or_else(|| refusal(404), found),
        ("POST", None) if let Some(code) = cluster.refuses.get(&asked.kind) => refusal(*code),
        ("POST", None) => create(&mut cluster, path, sent),
        ("PUT" | "PATCH", Some(_)) => change(&mut cluster, &asked, method, &sent),
        ("DELETE", Some(_)) => delete(&mut cluster, &asked.object, &sent),
        _ => refusal(405),
    };
    shared.changed.send_replace(cluster.version);
    answer
}

/// What a call is about.
struct Asked {
    kind: String,
    namespace: Option<String>,
    name: Option<String>,
    sub: Option<String>,
    /// Its path without the part.
    object: String,
    /// `key=value`, or a key alone.
    labels: Vec<String>,
    fields: bool,
    since: u64,
}

impl Asked {
    fn new(path: &str, query: &str) -> Self {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let rest = if parts[0] == "api" { &parts[2..] } else { &parts[3..] };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let parameters: BTreeMap<String, String> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let labels = parameters.get("labelSelector").map(|all| all.split(',').map(ToOwned::to_owned).collect());
        let sub = rest.get(2).map(ToString::to_string);
        let object = sub.as_ref().map_or(path, |sub| path.strip_suffix(&format!("/{sub}")).unwrap()).to_owned();
        Self {
            kind: rest[0].to_owned(),
            namespace,
            name: rest.get(1).map(ToString::to_string),
            sub,
            object,
            labels: labels.unwrap_or_default(),
            fields: parameters.contains_key("fieldSelector"),
            since: parameters.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or_default(),
        }
    }

    /// The fault point that the call is: verb, kind, and whether it is about one object. Leader election has its own.
    fn point(&self, method: &str, query: &str, sent: &Value) -> String {
        let is_watch = query.contains("watch=true");
        let made = sent["metadata"]["name"].as_str().map(|name| format!("{}/{name}", self.object));
        let kind = if self.object == LEADER || made.is_some_and(|path| path == LEADER) { "leader" } else { &self.kind };
        let verb = match (method, &self.name) {
            ("GET", _) if is_watch => "watch",
            ("GET", None) => "list",
            ("GET", Some(_)) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", _) => "delete",
            (other, _) => other,
        };
        let sub = self.sub.as_ref().map(|sub| format!("/{sub}")).unwrap_or_default();
        format!("{verb} {kind}{sub}")
    }

    /// Whether the object at this path is one of those that the call is about.
    fn is_about(&self, path: &str, object: &Value) -> bool {
        let parts: Vec<&str> = path.split('/').rev().collect();
        let here = parts[1] == self.kind && self.namespace.as_ref().is_none_or(|namespace| namespace == parts[2]);
        let labels = &object["metadata"]["labels"];
        let has = |label: &String| match label.split_once('=') {
            Some((key, value)) => labels[key] == value,
            None => !labels[label.as_str()].is_null(),
        };
        // The only field that anybody asks pods for is that they live.
        let ended = ["Succeeded", "Failed"].iter().any(|phase| object["status"]["phase"] == *phase);
        here && self.labels.iter().all(has) && !(self.fields && ended)
    }
}

fn create(cluster: &mut Cluster, path: &str, sent: Value) -> Response {
    let name = sent["metadata"]["name"].as_str().map(ToOwned::to_owned);
    let path = format!("{path}/{}", name.unwrap_or_else(|| format!("made-{}", cluster.version)));
    if cluster.objects.contains_key(&path) {
        return refusal(409);
    }
    cluster.made.push(path.clone());
    cluster.put(&path, sent);
    found(&cluster.objects[&path])
}

/// Replaces it, or merges a patch into it; over the version that was read, where one is named.
fn change(cluster: &mut Cluster, asked: &Asked, method: &str, sent: &Value) -> Response {
    let Some(mut object) = cluster.objects.get(&asked.object).cloned() else { return refusal(404) };
    let read = &sent["metadata"]["resourceVersion"];
    if !read.is_null() && *read != object["metadata"]["resourceVersion"] {
        return refusal(409);
    }
    match (method, asked.sub.as_deref()) {
        ("PUT", _) => object = sent.clone(),
        (_, Some(part)) => super::mock::merge(&mut object[part], &sent[part]),
        (_, None) => super::mock::merge(&mut object, sent),
    }
    if object == cluster.objects[&asked.object] {
        return found(&object);
    }
    cluster.put(&asked.object, object);
    found(&cluster.objects[&asked.object])
}

fn delete(cluster: &mut Cluster, path: &str, sent: &Value) -> Response {
    let Some(object) = cluster.objects.get(path) else { return refusal(404) };
    let wanted = &sent["preconditions"]["uid"];
    if !wanted.is_null() && *wanted != object["metadata"]["uid"] {
        return refusal(409);
    }
    cluster.delete(path);
    found(&json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 200}))
}

/// What a pod's containers have written, with the time before each line.
async fn log(shared: &Shared, path: &str, query: &str) -> Response {
    let text = {
        let mut cluster = shared.cluster.lock().unwrap();
        cluster.calls.push(format!("GET {path}?{query}"));
        let pod = path.trim_end_matches("/log").to_owned();
        (!cluster.unreachable.contains(&pod)).then(|| cluster.logs.get(&pod).cloned().unwrap_or_default())
    };
    match text {
        Some(text) => text.into_response(),
        None => std::future::pending().await,
    }
}

/// A watch that never ends.
fn watching(shared: &Arc<Shared>, asked: Asked) -> Response {
    // Without a first byte the answer's head would wait, too.
    let bookmark = json!({"type": "BOOKMARK", "object": {"kind": "x", "apiVersion": "v1", "spec": {},
        "metadata": {"resourceVersion": asked.since.to_string(), "annotations": {}}}});
    let first = futures::stream::iter([Ok::<_, Infallible>(bookmark.to_string() + "\n")]);
    let state = (shared.clone(), shared.changed.subscribe(), asked);
    let news = futures::stream::unfold(state, async |(shared, mut changed, mut asked)| {
        loop {
            let text = news(&shared.cluster.lock().unwrap(), &mut asked);
            if !text.is_empty() {
                return Some((Ok(text), (shared, changed, asked)));
            }
            changed.changed().await.ok()?;
        }
    });
    Body::from_stream(first.chain(news)).into_response()
}

/// What changed since this version, a line each.
fn news(cluster: &Cluster, asked: &mut Asked) -> String {
    let new = cluster.changes.iter().skip_while(|change| change.version <= asked.since);
    let ours = new.filter(|change| asked.is_about(&change.path, &change.object));
    let lines = ours.map(|change| json!({"type": change.kind, "object": change.object}).to_string() + "\n").collect();
    asked.since = cluster.version;
    lines
}

fn list(cluster: &Cluster, asked: &Asked) -> Response {
    let all = cluster.objects.iter().filter(|(path, object)| asked.is_about(path, object));
    let items: Vec<&Value> = all.map(|(_, object)| object).collect();
    let version = cluster.version.to_string();
    found(&json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": version}, "items": items}))
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
