//! Every call that one look sends to the API server, in its order. The API server is a mock: what it is asked is what is
//! tested, and a real one cannot be made to die between two calls.

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
use memory_migration_operator::report;
use serde_json::{Value, json};
use tower_test::mock;

use super::fixtures::*;
use super::rights;

const NS: &str = "/api/v1/namespaces/team";
const JOBS: &str = "/apis/batch/v1/namespaces/team/jobs";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/operator/leases";
const OBJECT: &str = "/apis/memory-migration.dev/v1alpha1/namespaces/team/memorymigrations/move";

/// A call: method and path without the query, and the body.
#[derive(Clone, Debug)]
struct Call {
    line: String,
    query: String,
    body: Value,
}

/// Answers by method and path; what is not listed is 404, and a list is empty.
struct Server {
    answers: HashMap<String, (u16, Value)>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Server {
    fn with(migration: &MemoryMigration) -> Self {
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

    fn answer(&mut self, line: &str, code: u16, body: Value) {
        self.answers.insert(line.to_owned(), (code, body));
    }

    /// One look at the object; what it returned, and every call that it made.
    async fn look(self, migration: &MemoryMigration) -> (Result<Option<Duration>, Error>, Vec<Call>) {
        let (looked, calls, _) = self.look_counting(migration).await;
        (looked, calls)
    }

    async fn look_counting(self, migration: &MemoryMigration) -> (Result<Option<Duration>, Error>, Vec<Call>, String) {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
        let client = Client::new(service, "operator");
        let metrics = Arc::new(Metrics::new().unwrap());
        let reporter = Reporter { controller: "memory-migration-operator".into(), instance: Some("replica".into()) };
        let context = Context {
            client: client.clone(),
            settings: settings(),
            namespace: "operator".into(),
            metrics: metrics.clone(),
            recorder: Recorder::new(client, reporter),
            failures: Mutex::default(),
        };
        let calls = self.calls.clone();
        let answering = tokio::spawn(async move {
            while let Some((request, send)) = handle.next_request().await {
                send.send_response(self.respond(request).await);
            }
        });
        let looked = reconcile(Arc::new(DeserializeGuard(Ok(migration.clone()))), Arc::new(context)).await;
        answering.abort();
        let calls = calls.lock().unwrap().clone();
        for call in &calls {
            rights::assert_allowed(&call.line, &call.query);
        }
        (looked.map(requeue), calls, metrics.text().unwrap())
    }

    async fn respond(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let sent: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let line = format!("{} {}", parts.method, parts.uri.path());
        let query = parts.uri.query().unwrap_or_default().to_owned();
        self.calls.lock().unwrap().push(Call { line: line.clone(), query, body: sent.clone() });
        let written = parts.method != "GET" && parts.method != "DELETE";
        let (code, answer) = match self.answers.get(&line) {
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

fn items(all: &[Value]) -> Value {
    json!({"metadata": {}, "items": all})
}

fn status(code: u16) -> Value {
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

fn writes(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(|c| c.line.as_str()).filter(|line| !line.starts_with("GET ")).collect()
}

fn written_status(calls: &[Call]) -> MemoryMigrationStatus {
    let call = calls.iter().rfind(|c| c.line == format!("PATCH {OBJECT}/status")).expect("a status must be written");
    assert!(call.query.contains("fieldManager=memory-migration-operator") && call.query.contains("force=true"));
    assert_eq!(call.body["metadata"], json!({"name": "move", "namespace": "team", "uid": UID}));
    let mut keys: Vec<&String> = call.body.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["apiVersion", "kind", "metadata", "status"], "never the spec, never other metadata");
    serde_json::from_value(call.body["status"].clone()).unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "tests hand in literals")]
fn job_json(case: &Case, conditions: Value) -> Value {
    json!({
        "metadata": {"name": case.job_name(1), "uid": "job-uid",
                     "labels": {"memory-migration.dev/uid": UID, "memory-migration.dev/run": case.hash()}},
        "spec": {"template": {}},
        "status": {"conditions": conditions}
    })
}

#[expect(clippy::needless_pass_by_value, reason = "tests hand in literals")]
fn pod_json(case: &Case, phase: &str, state: Value) -> Value {
    json!({
        "metadata": {"name": "pod", "uid": "pod-uid", "creationTimestamp": "2026-01-01T00:00:00Z",
                     "labels": {"memory-migration.dev/uid": UID},
                     "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": case.job_name(1), "uid": "job-uid"}]},
        "spec": {"containers": [{"name": "mover"}]},
        "status": {"phase": phase, "containerStatuses": [
            {"name": "mover", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state}]}
    })
}

#[tokio::test]
async fn the_first_look_takes_the_lock_counts_the_attempt_and_then_makes_the_job() {
    let case = Case::to_server();
    let (looked, calls) = Server::with(&case.migration).look(&case.migration).await;
    assert_eq!(looked.unwrap(), Some(Duration::from_secs(5)));
    let lines: Vec<&str> = calls.iter().map(|c| c.line.as_str()).collect();
    let lease = lines[9].strip_prefix("GET ").unwrap_or(lines[9]).to_owned();
    let expected = [
        format!("GET {OBJECT}"),
        format!("GET {JOBS}"),
        format!("GET {NS}/pods"),
        format!("GET {LEASES}"),
        format!("GET {NS}/persistentvolumeclaims/dev"),
        "GET /api/v1/namespaces/prod/services/chroma".to_owned(),
        format!("GET {NS}/pods"),
    ];
    assert_eq!(lines[..7], expected);
    assert!(lines[7].starts_with(&format!("GET {LEASES}/memory-migration-target-")), "{lines:?}");
    let events = "POST /apis/events.k8s.io/v1/namespaces/team/events";
    assert_eq!(
        lines[8..],
        [&format!("POST {LEASES}"), &format!("PATCH {OBJECT}/status"), &format!("POST {JOBS}"), events],
        "{lease}"
    );
    assert_eq!(calls[8].body["spec"]["holderIdentity"], UID);
    assert_eq!(calls[10].body["metadata"]["name"], json!(case.job_name(1)));
    let status = written_status(&calls);
    assert_eq!((status.attempts, reason_of(&status)), (1, Reason::Preflight));
}

#[tokio::test]
async fn a_lock_that_somebody_else_took_first_stops_everything() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    server.answer(&format!("POST {LEASES}"), 409, status(409));
    let (looked, calls) = server.look(&case.migration).await;
    assert!(looked.unwrap().is_some(), "it looks again");
    assert_eq!(writes(&calls), [&format!("POST {LEASES}")]);
}

#[tokio::test]
async fn a_job_that_is_there_already_is_ours_or_it_is_said() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    server.answer(&format!("POST {JOBS}"), 409, status(409));
    server.answer(&format!("GET {JOBS}/{}", case.job_name(1)), 200, job_json(&case, json!([])));
    let (looked, calls) = server.look(&case.migration).await;
    assert!(looked.is_ok());
    assert_eq!(reason_of(&written_status(&calls)), Reason::Preflight);
    let mut server = Server::with(&case.migration);
    server.answer(&format!("POST {JOBS}"), 409, status(409));
    let foreign = json!({"metadata": {"name": case.job_name(1), "uid": "x"}});
    server.answer(&format!("GET {JOBS}/{}", case.job_name(1)), 200, foreign);
    let (_, calls) = server.look(&case.migration).await;
    let status = written_status(&calls);
    assert!(
        status.conditions[0].message.contains("of somebody else is in the way"),
        "{}",
        status.conditions[0].message
    );
}

#[tokio::test]
async fn a_job_that_a_quota_refuses_is_a_condition_and_no_error() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    server.answer(&format!("POST {JOBS}"), 403, status(403));
    let (looked, calls) = server.look(&case.migration).await;
    assert_eq!(looked.unwrap(), Some(Duration::from_secs(15)));
    let status = written_status(&calls);
    assert_eq!((reason_of(&status), status.attempts), (Reason::QuotaExceeded, 0));
    assert!(status.conditions[0].message.contains("the server's words"));
}

#[tokio::test]
async fn a_running_migration_is_asked_for_its_progress_and_writes_only_its_status() {
    let case = Case::to_server().running();
    let mut server = Server::with(&case.migration);
    server.answer(&format!("GET {JOBS}"), 200, items(&[job_json(&case, json!([]))]));
    server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Running", json!({"running": {}}))]));
    let line = json!({"memmig": "progress", "stage": "Copying", "records": 3, "total": 10, "recordsPerSecond": 2.0});
    server.answer(&format!("GET {NS}/pods/pod/log"), 200, Value::String(format!("noise\n{line}\n")));
    let (looked, calls) = server.look(&case.migration).await;
    assert_eq!(looked.unwrap(), Some(Duration::from_secs(5)));
    let log = calls.iter().find(|c| c.line.ends_with("/log")).unwrap();
    assert!(log.query.contains("container=mover") && log.query.contains("tailLines="), "{}", log.query);
    let status = written_status(&calls);
    assert_eq!((reason_of(&status), status.progress.unwrap().records), (Reason::Copying, 3));
    assert!(!writes(&calls).iter().any(|line| line.contains("/jobs") || line.contains("/leases")));
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_no_error() {
    let case = Case::to_server().running();
    let mut server = Server::with(&case.migration);
    server.answer(&format!("GET {JOBS}"), 200, items(&[job_json(&case, json!([]))]));
    server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Running", json!({"running": {}}))]));
    let (looked, calls) = server.look(&case.migration).await;
    assert!(looked.is_ok());
    assert_eq!(reason_of(&written_status(&calls)), Reason::Preflight);
}

#[tokio::test]
async fn a_verdict_is_written_counted_and_told_and_the_lock_goes_last() {
    let case = Case::to_server().running();
    let verdict = summary(&case.hash(), report::Reason::Verified).to_json();
    let ended = json!({"terminated": {"exitCode": 0, "message": verdict}});
    let mut server = Server::with(&case.migration);
    server.answer(
        &format!("GET {JOBS}"),
        200,
        items(&[job_json(&case, json!([{"type": "Complete", "status": "True"}]))]),
    );
    server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Succeeded", ended)]));
    server.answer(&format!("GET {LEASES}"), 200, items(&[json!({"metadata": {"name": "held"}, "spec": {}})]));
    let (_, calls, metrics) = server.look_counting(&case.migration).await;
    assert_eq!(reason_of(&written_status(&calls)), Reason::Verified);
    let events = "POST /apis/events.k8s.io/v1/namespaces/team/events";
    assert_eq!(writes(&calls), [&format!("PATCH {OBJECT}/status"), events, &format!("DELETE {LEASES}/held")]);
    assert!(
        metrics.contains("memory_migration_runs_total{direction=\"local-to-remote\",result=\"Succeeded\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("memory_migration_status_phase{name=\"move\",namespace=\"team\",phase=\"Succeeded\"} 1"));
}

#[tokio::test]
async fn a_finished_migration_is_left_in_silence() {
    let case = Case::to_server().running().succeeded(report::Reason::Verified).done();
    let (looked, calls) = Server::with(&case.migration).look(&case.migration).await;
    assert_eq!(looked.unwrap(), None);
    let lines: Vec<String> = calls.into_iter().map(|c| c.line).collect();
    let reads = [format!("GET {OBJECT}"), format!("GET {JOBS}"), format!("GET {NS}/pods"), format!("GET {LEASES}")];
    assert_eq!(lines, reads);
}

#[tokio::test]
async fn an_object_that_is_gone_or_going_is_left_in_silence() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    server.answer(&format!("GET {OBJECT}"), 404, status(404));
    let (looked, calls) = server.look(&case.migration).await;
    assert_eq!((looked.unwrap(), calls.len()), (None, 1));
    let going = case.edit(|m| m.metadata.deletion_timestamp = Some(at(0)));
    let (looked, calls) = Server::with(&going.migration).look(&going.migration).await;
    assert_eq!((looked.unwrap(), calls.len()), (None, 1));
}

#[tokio::test]
async fn a_run_that_is_suspended_is_deleted_with_its_pods_and_no_other() {
    let case = Case::to_server().running().edit(|m| m.spec.suspend = true);
    let mut server = Server::with(&case.migration);
    server.answer(&format!("GET {JOBS}"), 200, items(&[job_json(&case, json!([]))]));
    server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Running", json!({"running": {}}))]));
    let (_, calls) = server.look(&case.migration).await;
    let delete = calls.iter().find(|c| c.line.starts_with("DELETE")).unwrap();
    assert_eq!(delete.line, format!("DELETE {JOBS}/{}", case.job_name(1)));
    assert_eq!(delete.body["propagationPolicy"], "Foreground");
    assert_eq!(delete.body["preconditions"]["uid"], "job-uid");
    assert_eq!(reason_of(&written_status(&calls)), Reason::Suspended);
}

#[tokio::test]
async fn a_pod_of_somebody_else_on_the_target_claim_holds_the_run_back() {
    let case = Case::to_claim();
    let mut server = Server::with(&case.migration);
    let user = json!({"metadata": {"name": "chroma-0"}, "status": {"phase": "Pending"},
        "spec": {"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "prod"}}]}});
    server.answer(&format!("GET {NS}/pods"), 200, items(&[]));
    // The mock answers by path: our own pods are asked for by label, everybody's by phase.
    server.answer(&format!("GET {NS}/pods"), 200, items(&[user]));
    let (_, calls) = server.look(&case.migration).await;
    assert!(!writes(&calls).iter().any(|line| line.contains("/jobs")));
    let pods: Vec<&str> =
        calls.iter().filter(|c| c.line == format!("GET {NS}/pods")).map(|c| c.query.as_str()).collect();
    assert!(pods[0].contains("labelSelector=memory-migration.dev%2Fuid%3D"), "{pods:?}");
}

#[tokio::test]
async fn a_lock_of_an_object_that_is_gone_is_removed_with_its_uid() {
    let case = Case::to_server();
    let (_, calls) = Server::with(&case.migration).look(&case.migration).await;
    let name = calls.iter().find_map(|c| c.line.strip_prefix(&format!("GET {LEASES}/"))).unwrap().to_owned();
    let mut server = Server::with(&case.migration);
    let lease = json!({"metadata": {"name": name, "uid": "old", "annotations": {"memory-migration.dev/holder": "away/gone"}},
                       "spec": {"holderIdentity": "another"}});
    server.answer(&format!("GET {LEASES}/{name}"), 200, lease.clone());
    server.answer("GET /api/v1/namespaces/away/pods", 200, items(&[]));
    let (_, calls) = server.look(&case.migration).await;
    let delete = calls.iter().find(|c| c.line == format!("DELETE {LEASES}/{name}")).unwrap();
    assert_eq!(delete.body["preconditions"]["uid"], "old");
    let mut server = Server::with(&case.migration);
    server.answer(&format!("GET {LEASES}/{name}"), 200, lease);
    let alive = json!({"metadata": {"name": "p"}, "status": {"phase": "Running"}});
    server.answer("GET /api/v1/namespaces/away/pods", 200, items(&[alive]));
    let (_, calls) = server.look(&case.migration).await;
    let status = written_status(&calls);
    assert_eq!(reason_of(&status), Reason::TargetBusy);
    assert!(status.conditions[0].message.contains("away/gone"));
}

#[tokio::test]
async fn an_api_server_that_fails_is_an_error_that_says_what_was_attempted() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    server.answer(&format!("GET {NS}/persistentvolumeclaims/dev"), 403, status(403));
    let (looked, calls) = server.look(&case.migration).await;
    let error = looked.unwrap_err();
    assert_eq!(error.label(), "forbidden");
    assert!(error.to_string().starts_with("failed to read PersistentVolumeClaim team/dev"), "{error}");
    assert!(writes(&calls).is_empty());
}

#[tokio::test]
async fn a_service_of_another_namespace_that_may_not_be_read_is_no_error() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    server.answer("GET /api/v1/namespaces/prod/services/chroma", 403, status(403));
    let (looked, calls) = server.look(&case.migration).await;
    assert!(looked.is_ok());
    assert!(writes(&calls).contains(&format!("POST {JOBS}").as_str()));
}
