//! A mocked API server for one look at one object: it answers what a test tells it and records what it was asked. No
//! assertions of its own but of the shape of a status write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::core::DeserializeGuard;
use kube::runtime::events::{Recorder, Reporter};
use memory_migration_operator::api::conditions::Reason;
use memory_migration_operator::api::{MemoryMigration, MemoryMigrationStatus};
use memory_migration_operator::controller::plan::lock;
use memory_migration_operator::controller::process::caches::Caches;
use memory_migration_operator::controller::process::memory::Memory;
use memory_migration_operator::controller::{Context, Error, reconcile};
use memory_migration_operator::metrics::Metrics;
use memory_migration_operator::serve::Readiness;
use serde_json::{Value, json};
use tower_test::mock;

use super::fixtures::*;
use super::rights;

pub(super) const NS: &str = "/api/v1/namespaces/team";
pub(super) const JOBS: &str = "/apis/batch/v1/namespaces/team/jobs";
pub(super) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/operator/leases";
pub(super) const OBJECT: &str = "/apis/memory-migration.dev/v1alpha1/namespaces/team/memorymigrations/move";

/// A call: method and path without the query, and the body.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) line: String,
    pub(super) query: String,
    pub(super) body: Value,
}

/// Answers by method and path, with `?labels` or `?fields` where the list is asked for by them; what is not listed is 404,
/// and a list is empty.
pub(super) struct Server {
    answers: Mutex<HashMap<String, (u16, Value)>>,
    /// Answers to writes, which come before what the server would do.
    writes: HashMap<String, (u16, Value)>,
    /// Somebody else is faster with each write: the lock is theirs then, and the object has changed.
    pub(super) is_late: bool,
    pub(super) calls: Arc<Mutex<Vec<Call>>>,
}

impl Server {
    pub(super) fn with(migration: &MemoryMigration) -> Self {
        let mut server =
            Self { answers: Mutex::default(), writes: HashMap::new(), is_late: false, calls: Arc::default() };
        let mut object = serde_json::to_value(migration).unwrap();
        object["metadata"]["resourceVersion"] = json!("1");
        server.answer(&format!("GET {OBJECT}"), 200, object);
        for list in [JOBS.to_owned(), format!("{NS}/pods"), format!("{NS}/events"), LEASES.to_owned()] {
            server.answer(&format!("GET {list}"), 200, items(&[]));
        }
        let claim = json!({"metadata": {"name": "dev", "uid": "c"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        server.answer(&format!("GET {NS}/persistentvolumeclaims/dev"), 200, claim.clone());
        server.answer(&format!("GET {NS}/persistentvolumeclaims/prod"), 200, claim);
        let service = json!({"metadata": {"name": "chroma", "uid": "s"}});
        server.answer("GET /api/v1/namespaces/prod/services/chroma", 200, service.clone());
        server.answer(&format!("GET {NS}/services/chroma"), 200, service);
        server
    }

    pub(super) fn answer(&mut self, line: &str, code: u16, body: Value) {
        let answers = if line.starts_with("GET ") { self.answers.get_mut().unwrap() } else { &mut self.writes };
        answers.insert(line.to_owned(), (code, body));
    }

    /// One look at the object; what it returned, and every call that it made.
    pub(super) async fn look(self, migration: &MemoryMigration) -> (Result<Option<Duration>, Error>, Vec<Call>) {
        let (looked, calls, _) = self.look_counting(migration).await;
        (looked, calls)
    }

    pub(super) async fn look_counting(
        self,
        migration: &MemoryMigration,
    ) -> (Result<Option<Duration>, Error>, Vec<Call>, String) {
        let calls = self.calls.clone();
        let (context, answering) = self.context();
        let found = Arc::new(DeserializeGuard(Ok(migration.clone())));
        let looked = reconcile(found, context.clone()).await;
        answering.abort();
        let calls = calls.lock().unwrap().clone();
        for call in &calls {
            rights::assert_allowed(&call.line, &call.query);
        }
        (looked.map(requeue), calls, context.metrics.text().unwrap())
    }

    /// What a controller works with, and the task that answers it.
    pub(super) fn context(self) -> (Arc<Context>, tokio::task::JoinHandle<()>) {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
        let client = Client::new(service, "operator");
        let metrics = Arc::new(Metrics::new(&Reason::failures()).unwrap());
        let reporter = Reporter { controller: "memory-migration-operator".into(), instance: Some("replica".into()) };
        let readiness = Readiness::default();
        readiness.set(true, "leading");
        let context = Context {
            client: client.clone(),
            settings: settings(),
            namespace: "operator".into(),
            metrics: metrics.clone(),
            recorder: Recorder::new(client, reporter),
            memory: Memory::default(),
            caches: Caches::default(),
            readiness: readiness.clone(),
        };
        let answering = tokio::spawn(async move {
            while let Some((request, send)) = handle.next_request().await {
                send.send_response(self.respond(request).await);
            }
        });
        (Arc::new(context), answering)
    }

    async fn respond(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let sent: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let line = format!("{} {}", parts.method, parts.uri.path());
        let query = parts.uri.query().unwrap_or_default().to_owned();
        self.calls.lock().unwrap().push(Call { line: line.clone(), query: query.clone(), body: sent.clone() });
        if self.is_late {
            self.somebody_else(&line, &sent);
        }
        let (code, answer) = match self.writes.get(&line) {
            Some(answer) => answer.clone(),
            None if parts.method == "GET" => self.read(&line, &query),
            None => (200, self.write(&line, sent)),
        };
        let text = match answer {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Response::builder().status(code).body(Body::from(text.into_bytes())).unwrap()
    }
}

/// What an API server does.
impl Server {
    fn somebody_else(&self, line: &str, sent: &Value) {
        let mut answers = self.answers.lock().unwrap();
        if line == format!("POST {LEASES}") {
            let theirs = json!({"metadata": {"name": sent["metadata"]["name"], "uid": "theirs"}});
            answers.insert(format!("GET {LEASES}/{}", sent["metadata"]["name"].as_str().unwrap()), (200, theirs));
        } else if line == format!("PATCH {OBJECT}/status") {
            let (_, object) = answers.get_mut(&format!("GET {OBJECT}")).unwrap();
            let version = sent["metadata"]["resourceVersion"].as_str().unwrap();
            object["metadata"]["resourceVersion"] = json!(format!("{version}0"));
        }
    }

    fn read(&self, line: &str, query: &str) -> (u16, Value) {
        let answers = self.answers.lock().unwrap();
        let by = ["label", "field"].into_iter().find(|by| query.contains(&format!("{by}Selector=")));
        let special = by.and_then(|by| answers.get(&format!("{line}?{by}s")));
        let (code, mut found) = special.or_else(|| answers.get(line)).cloned().unwrap_or_else(|| (404, status(404)));
        if line == format!("GET {LEASES}")
            && let Some(all) = found["items"].as_array_mut()
        {
            all.retain(|item| is_selected(item, query));
        }
        (code, found)
    }

    /// A status is merged, a Lease or a Job is there afterwards, and what is deleted is gone.
    fn write(&self, line: &str, mut sent: Value) -> Value {
        let mut answers = self.answers.lock().unwrap();
        if line == format!("PATCH {OBJECT}/status") {
            let (_, object) = answers.get_mut(&format!("GET {OBJECT}")).unwrap();
            merge(&mut object["status"], &sent["status"]);
            let version =
                object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse::<u32>().ok()).unwrap_or(1);
            object["metadata"]["resourceVersion"] = json!((version + 1).to_string());
            return object.clone();
        }
        if let Some(name) = line.strip_prefix("POST ").and(sent["metadata"]["name"].as_str()).map(ToOwned::to_owned) {
            if sent["metadata"]["uid"].is_null() {
                sent["metadata"]["uid"] = json!(format!("uid-of-{name}"));
            }
            let list = line.replacen("POST", "GET", 1);
            if line == format!("POST {LEASES}") || line == format!("POST {JOBS}") {
                answers.insert(format!("{list}/{name}"), (200, sent.clone()));
                if let Some((_, all)) = answers.get_mut(&list) {
                    all["items"].as_array_mut().unwrap().push(sent.clone());
                }
            }
            return sent;
        }
        if let Some(path) = line.strip_prefix("DELETE ") {
            answers.remove(&format!("GET {path}"));
            let (list, name) = path.rsplit_once('/').unwrap();
            if let Some((_, all)) = answers.get_mut(&format!("GET {list}")) {
                all["items"].as_array_mut().unwrap().retain(|item| item["metadata"]["name"] != *name);
            }
            return status(200);
        }
        sent
    }
}

/// Whether an item has the label that a query asks for; one without any labels stands for what a test did not describe.
fn is_selected(item: &Value, query: &str) -> bool {
    let Some(labels) = item["metadata"]["labels"].as_object() else { return true };
    let mut asked = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "labelSelector");
    asked.all(|(_, text)| {
        text.split(',').filter_map(|one| one.split_once('=')).all(|(key, value)| labels.get(key) == Some(&json!(value)))
    })
}

/// As RFC 7396 has it.
pub(crate) fn merge(there: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return *there = patch.clone() };
    if !there.is_object() {
        *there = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            there.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut there[key.as_str()], value);
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map takes")]
fn requeue(action: kube::runtime::controller::Action) -> Option<Duration> {
    let text = format!("{action:?}");
    let seconds = text.split_once("Some(").and_then(|(_, rest)| rest.split_once('s'))?.0;
    seconds.parse().ok().map(Duration::from_secs)
}

/// The lock that the case's object holds.
pub(super) fn held(case: &Case) -> Value {
    let mut lease = serde_json::to_value(lock::lease(&case.migration, &case.lock_name())).unwrap();
    lease["metadata"]["uid"] = json!("lease-uid");
    lease
}

pub(super) fn items(all: &[Value]) -> Value {
    json!({"metadata": {}, "items": all})
}

pub(super) fn status(code: u16) -> Value {
    let outcome = if code < 300 { "Success" } else { "Failure" };
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "AlreadyExists",
        422 => "Invalid",
        _ => "",
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome, "code": code, "reason": reason, "message": "the server's words"})
}

pub(super) fn writes(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(|c| c.line.as_str()).filter(|line| !line.starts_with("GET ")).collect()
}

pub(super) fn written_status(calls: &[Call]) -> MemoryMigrationStatus {
    let call = calls.iter().rfind(|c| c.line == format!("PATCH {OBJECT}/status")).expect("a status must be written");
    assert!(call.query.contains("fieldManager=memory-migration-operator"));
    assert_eq!(call.body["metadata"]["uid"], UID);
    assert!(call.body["metadata"].get("resourceVersion").is_some(), "over the version that was read");
    let mut keys: Vec<&String> = call.body.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["metadata", "status"], "never the spec");
    assert_eq!(call.body["metadata"].as_object().unwrap().len(), 2, "never other metadata");
    let mut status = json!({});
    merge(&mut status, &call.body["status"]);
    serde_json::from_value(status).unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "tests hand in literals")]
pub(super) fn job_json(case: &Case, conditions: Value) -> Value {
    json!({
        "metadata": {"name": case.job_name(1), "uid": format!("uid-of-{}", case.job_name(1)),
                     "ownerReferences": [{"apiVersion": "memory-migration.dev/v1alpha1", "kind": "MemoryMigration",
                                          "name": "move", "uid": UID}],
                     "labels": {"memory-migration.dev/uid": UID, "memory-migration.dev/run": case.hash(),
                                "memory-migration.dev/attempt": "1"}},
        "spec": {"template": {}},
        "status": {"conditions": conditions}
    })
}

#[expect(clippy::needless_pass_by_value, reason = "tests hand in literals")]
pub(super) fn pod_json(case: &Case, phase: &str, state: Value) -> Value {
    json!({
        "metadata": {"name": "pod", "uid": "pod-uid", "creationTimestamp": "2026-01-01T00:00:00Z",
                     "labels": {"memory-migration.dev/uid": UID},
                     "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": case.job_name(1),
                                          "uid": format!("uid-of-{}", case.job_name(1))}]},
        "spec": {"containers": [{"name": "mover"}]},
        "status": {"phase": phase, "containerStatuses": [
            {"name": "mover", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state}]}
    })
}
