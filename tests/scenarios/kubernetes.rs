//! What Kubernetes makes of the Jobs on an `ApiServer`: a pod for each, which starts, tells its progress and ends. A step at a
//! time, at the test's pace.

use k8s_openapi::jiff::Timestamp;
use memory_migration_operator::report;
use serde_json::{Value, json};

use super::api_server::{ApiServer, JOBS, PODS};
use super::fixtures::summary;

/// A Job's pod is at this step of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Scheduled,
    Preflight,
    Mover,
    /// So many of 100 records are copied.
    Copied(u64),
    /// It has ended with this exit code, and left its verdict.
    Ended(i32),
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The names of the Jobs that have not ended.
pub(super) fn jobs(server: &ApiServer) -> Vec<String> {
    let cluster = server.cluster();
    let jobs = cluster.objects.iter().filter(|(path, job)| path.starts_with(JOBS) && job["status"].is_null());
    jobs.map(|(_, job)| job["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// The path of a Job's pod.
pub(super) fn pod(job: &str) -> String {
    format!("{PODS}/{job}-pod")
}

/// The Job's pod comes to this step.
pub(super) fn come_to(server: &ApiServer, name: &str, step: Step) {
    let job = server.get(&format!("{JOBS}/{name}"));
    if job.is_null() {
        return;
    }
    if let Step::Copied(records) = step {
        let line = json!({"memmig": "progress", "stage": "Copying", "records": records, "total": 100, "done": records,
                          "of": 100, "percent": records, "recordsPerSecond": 2.0});
        let line = format!("{} {line}\n", Timestamp::now());
        return server.cluster().logs.entry(pod(name)).or_default().push_str(&line);
    }
    let state = json!({"terminated": {"exitCode": 0, "finishedAt": now()}});
    let (preflight, mover, phase) = match step {
        Step::Scheduled => (json!({"waiting": {}}), json!({"waiting": {}}), "Pending"),
        Step::Preflight => (json!({"running": {}}), json!({"waiting": {}}), "Pending"),
        Step::Mover | Step::Copied(_) => (state, json!({"running": {}}), "Running"),
        Step::Ended(code) => (state, ended(&job, code), if code == 0 { "Succeeded" } else { "Failed" }),
    };
    let status = |name: &str, state: Value| json!([{"name": name, "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state}]);
    let there = server.get(&pod(name));
    server.put(
        &pod(name),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{name}-pod"), "namespace": "team", "uid": there["metadata"]["uid"],
                         "creationTimestamp": now(), "labels": job["spec"]["template"]["metadata"]["labels"],
                         "annotations": job["spec"]["template"]["metadata"]["annotations"],
                         "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": name,
                                              "uid": job["metadata"]["uid"]}]},
            "spec": {"nodeName": "node", "containers": [{"name": "mover"}]},
            "status": {"phase": phase, "initContainerStatuses": status("preflight", preflight),
                       "containerStatuses": status("mover", mover)},
        }),
    );
    if let Step::Ended(code) = step {
        let condition = if code == 0 { ("Complete", "") } else { ("Failed", "PodFailurePolicy") };
        let mut job = job;
        job["status"] = json!({"failed": i32::from(code != 0), "succeeded": i32::from(code == 0),
                               "conditions": [{"type": condition.0, "status": "True", "reason": condition.1,
                                               "message": format!("failed with exit code {code} matching")}]});
        server.put(&format!("{JOBS}/{name}"), job);
    }
}

fn ended(job: &Value, code: i32) -> Value {
    let hash = job["metadata"]["labels"]["memory-migration.dev/run"].as_str().unwrap();
    let reason = match code {
        5 => report::Reason::VerificationFailed,
        7 => report::Reason::SourceEmpty,
        _ => report::Reason::Verified,
    };
    json!({"terminated": {"exitCode": code, "finishedAt": now(), "message": summary(hash, reason).to_json()}})
}
