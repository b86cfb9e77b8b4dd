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
use memory_migration_operator::controller::{Context, Error, reconcile};
use memory_migration_operator::metrics::Metrics;
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
    answers: HashMap<String, (u16, Value)>,
    pub(super) calls: Arc<Mutex<Vec<Call>>>,
}

impl Server {
    pub(super) fn with(migration: &MemoryMigration) -> Self {
        let mut server = Self { answers: HashMap::new(), calls: Arc::default() };
        server.answer(&format!("GET {OBJECT}"), 200, serde_json::to_value(migration).unwrap());
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
        self.answers.insert(line.to_owned(), (code, body));
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
        let context = Context {
            client: client.clone(),
            settings: settings(),
            namespace: "operator".into(),
            metrics: metrics.clone(),
            recorder: Recorder::new(client, reporter),
            failures: Mutex::default(),
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
        let written = parts.method != "GET" && parts.method != "DELETE";
        let by = ["label", "field"].into_iter().find(|by| query.contains(&format!("{by}Selector=")));
        let special = by.and_then(|by| self.answers.get(&format!("{line}?{by}s")));
        let (code, answer) = match special.or_else(|| self.answers.get(&line)) {
            Some((code, answer)) => (*code, answer.clone()),
            None if line == format!("PATCH {OBJECT}/status") => (200, self.answers[&format!("GET {OBJECT}")].1.clone()),
            None if written || parts.method == "DELETE" => (200, if written { sent } else { status(200) }),
            None => (404, status(404)),
        };
        let text = match answer {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Response::builder().status(code).body(Body::from(text.into_bytes())).unwrap()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map takes")]
fn requeue(action: kube::runtime::controller::Action) -> Option<Duration> {
    let text = format!("{action:?}");
    let seconds = text.split_once("Some(").and_then(|(_, rest)| rest.split_once('s'))?.0;
    seconds.parse().ok().map(Duration::from_secs)
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
    assert!(call.query.contains("fieldManager=memory-migration-operator") && call.query.contains("force=true"));
    assert_eq!(call.body["metadata"], json!({"name": "move", "namespace": "team", "uid": UID}));
    let mut keys: Vec<&String> = call.body.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["apiVersion", "kind", "metadata", "status"], "never the spec, never other metadata");
    serde_json::from_value(call.body["status"].clone()).unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "tests hand in literals")]
pub(super) fn job_json(case: &Case, conditions: Value) -> Value {
    json!({
        "metadata": {"name": case.job_name(1), "uid": "job-uid",
                     "labels": {"memory-migration.dev/uid": UID, "memory-migration.dev/run": case.hash()}},
        "spec": {"template": {}},
        "status": {"conditions": conditions}
    })
}

#[expect(clippy::needless_pass_by_value, reason = "tests hand in literals")]
pub(super) fn pod_json(case: &Case, phase: &str, state: Value) -> Value {
    json!({
        "metadata": {"name": "pod", "uid": "pod-uid", "creationTimestamp": "2026-01-01T00:00:00Z",
                     "labels": {"memory-migration.dev/uid": UID},
                     "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": case.job_name(1), "uid": "job-uid"}]},
        "spec": {"containers": [{"name": "mover"}]},
        "status": {"phase": phase, "containerStatuses": [
            {"name": "mover", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state}]}
    })
}
