//! Every call that one look sends to the API server, in its order. The API server is a mock: what it is asked is what is
//! tested, and a real one cannot be made to die between two calls.

use std::collections::BTreeSet;
use std::time::Duration;

use memory_migration_operator::api::Phase;
use memory_migration_operator::api::conditions::Reason;
use memory_migration_operator::controller::plan::lock;
use memory_migration_operator::controller::process::sweep;
use memory_migration_operator::report;
use serde_json::{Value, json};

use super::fixtures::*;
use super::mock::*;
use super::rights;

#[tokio::test]
async fn the_first_look_takes_the_lock_then_makes_the_job_and_then_counts_the_attempt() {
    let case = Case::to_server();
    let (looked, calls) = Server::with(&case.migration).look(&case.migration).await;
    assert_eq!(looked.unwrap(), Some(Duration::from_secs(5)));
    let lines: Vec<&str> = calls.iter().map(|c| c.line.as_str()).collect();
    let (target, source) = (case.lock_name(), lock::of_source(&case.migration.spec, "team").unwrap());
    // Everything is read again once the lock is taken: what was read before may have changed.
    let reads = [
        format!("GET {OBJECT}"),
        format!("GET {JOBS}"),
        format!("GET {NS}/pods"),
        format!("GET {LEASES}"),
        format!("GET {NS}/persistentvolumeclaims/dev"),
        "GET /api/v1/namespaces/prod/services/chroma".to_owned(),
        format!("GET {NS}/pods"),
        format!("GET {LEASES}/{target}"),
        format!("GET {LEASES}/{source}"),
        format!("GET {LEASES}"),
    ];
    assert_eq!(lines[..10], reads);
    assert_eq!(lines[10], format!("POST {LEASES}"));
    assert_eq!(lines[11..21], reads);
    let events = "POST /apis/events.k8s.io/v1/namespaces/team/events";
    assert_eq!(lines[21..], [&format!("POST {JOBS}"), &format!("PATCH {OBJECT}/status"), events]);
    assert_eq!(calls[10].body["spec"]["holderIdentity"], UID);
    assert_eq!(calls[21].body["metadata"]["name"], json!(case.job_name(1)));
    let status = written_status(&calls);
    assert_eq!((status.attempts, reason_of(&status)), (1, Reason::Preflight));
    assert_eq!((status.job_name.clone(), status.job_uid), (case.job_name(1), format!("uid-of-{}", status.job_name)));
}

#[tokio::test]
async fn a_lock_that_somebody_else_took_first_stops_everything() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    server.answer(&format!("POST {LEASES}"), 409, status(409));
    server.is_late = true;
    let (looked, calls) = server.look(&case.migration).await;
    looked.unwrap();
    let tried = writes(&calls);
    assert_eq!(
        tried.iter().filter(|line| **line == format!("POST {LEASES}")).count(),
        1,
        "it looks who has it: {tried:?}"
    );
    assert!(!tried.contains(&format!("POST {JOBS}").as_str()));
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
    let foreign =
        json!({"metadata": {"name": case.job_name(1), "uid": "x", "labels": {"memory-migration.dev/uid": UID}}});
    server.answer(&format!("GET {JOBS}/{}", case.job_name(1)), 200, foreign);
    let (_, calls) = server.look(&case.migration).await;
    let status = written_status(&calls);
    let said = &status.conditions[0].message;
    assert!(said.contains("of somebody else is in the way: delete it"), "{said}");
    assert_eq!((reason_of(&status), status.attempts), (Reason::NotAdmitted, 0));
}

#[tokio::test]
async fn a_running_migration_is_asked_for_its_progress_and_writes_only_its_status() {
    let case = Case::to_server().running();
    let mut server = Server::with(&case.migration);
    server.answer(&format!("GET {JOBS}"), 200, items(&[job_json(&case, json!([]))]));
    server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Running", json!({"running": {}}))]));
    let line = json!({"memmig": "progress", "stage": "Copying", "records": 3, "total": 10, "recordsPerSecond": 2.0});
    server.answer(&format!("GET {NS}/pods/pod/log"), 200, Value::String(format!("noise\n{line}\n")));
    server.answer(&format!("GET {LEASES}/{}", case.lock_name()), 200, held(&case));
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
    server.answer(
        &format!("GET {LEASES}"),
        200,
        items(&[json!({"metadata": {"name": "held", "uid": "held-uid"}, "spec": {}})]),
    );
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
async fn a_failed_run_is_counted_by_the_reason_in_its_conditions() {
    let case = Case::to_server().running();
    let verdict = summary(&case.hash(), report::Reason::VerificationFailed).to_json();
    let ended = json!({"terminated": {"exitCode": 5, "message": verdict}});
    let mut server = Server::with(&case.migration);
    server.answer(
        &format!("GET {JOBS}"),
        200,
        items(&[job_json(&case, json!([{"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}]))]),
    );
    server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Failed", ended)]));
    let (_, calls, metrics) = server.look_counting(&case.migration).await;
    assert_eq!(reason_of(&written_status(&calls)), Reason::VerificationFailed);
    for series in [
        "runs_total{direction=\"local-to-remote\",result=\"Failed\"} 1",
        "failures_total{direction=\"local-to-remote\",reason=\"VerificationFailed\"} 1",
    ] {
        assert!(metrics.contains(&format!("memory_migration_{series}\n")), "{series}: {metrics}");
    }
}

/// Whoever may read metrics may not read Secrets: no label is a text that a run or a server made.
#[tokio::test]
async fn no_metric_shows_a_text_of_a_run() {
    const TOKEN: &str = "Tk-q7Zr3vN8xW1sLd5yHb2mKc9u-end";
    let case = Case::to_server().running();
    let mut verdict = summary(&case.hash(), report::Reason::VerificationFailed);
    verdict.message = format!("the server answered 401 to Bearer {TOKEN}");
    for (code, message) in [(5, verdict.to_json()), (1, format!("error: Bearer {TOKEN}"))] {
        let ended = json!({"terminated": {"exitCode": code, "message": message, "reason": TOKEN}});
        let mut server = Server::with(&case.migration);
        let failed = json!([{"type": "Failed", "status": "True", "reason": TOKEN, "message": TOKEN}]);
        server.answer(&format!("GET {JOBS}"), 200, items(&[job_json(&case, failed)]));
        server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Failed", ended)]));
        let (_, _, metrics) = server.look_counting(&case.migration).await;
        assert!(metrics.contains("memory_migration_runs_total{"), "{metrics}");
        assert!(!metrics.contains(TOKEN), "{metrics}");
    }
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

/// Also by a process that was started after it ended.
#[tokio::test]
async fn a_finished_migration_shows_its_last_success_after_a_restart() {
    let case = Case::to_server().running().succeeded(report::Reason::Verified).done();
    let (_, _, metrics) = Server::with(&case.migration).look_counting(&case.migration).await;
    let series = "memory_migration_last_success_timestamp_seconds{name=\"move\",namespace=\"team\"} 1700000000";
    assert!(metrics.contains(series), "{metrics}");
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
    assert_eq!(delete.body["preconditions"]["uid"], format!("uid-of-{}", case.job_name(1)));
    let status = written_status(&calls);
    assert_eq!((reason_of(&status), status.stopped_job), (Reason::Preflight, format!("uid-of-{}", case.job_name(1))));
    assert_eq!(status.phase, Some(Phase::Preflight), "not Suspended while its runner works");
    let order = writes(&calls);
    let at = |part: &str| order.iter().position(|line| line.contains(part)).unwrap();
    assert!(at("/status") < at("DELETE"), "the status says first which Job the operator stops: {order:?}");
}

#[tokio::test]
async fn a_pod_of_somebody_else_on_the_target_claim_holds_the_run_back() {
    let case = Case::to_claim();
    let mut server = Server::with(&case.migration);
    let user = json!({"metadata": {"name": "chroma-0"}, "status": {"phase": "Pending"},
        "spec": {"containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/data"}]}],
                 "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "prod"}}]}});
    // Our own pods are asked for by label, everybody's by phase.
    server.answer(&format!("GET {NS}/pods?labels"), 200, items(&[]));
    server.answer(&format!("GET {NS}/pods?fields"), 200, items(&[user]));
    let (_, calls) = server.look(&case.migration).await;
    assert_eq!(writes(&calls)[0], format!("PATCH {OBJECT}/status"), "no lock and no Job");
    let status = written_status(&calls);
    assert_eq!(reason_of(&status), Reason::VolumeInUse);
    let said = &status.conditions[0].message;
    assert!(said.contains("pod chroma-0 uses claim prod") && said.contains("scale its workload to 0"), "{said}");
    let queries: Vec<&str> =
        calls.iter().filter(|c| c.line == format!("GET {NS}/pods")).map(|c| c.query.as_str()).collect();
    assert!(queries[0].contains("labelSelector=memory-migration.dev%2Fuid%3D"), "{queries:?}");
    assert!(queries[1].contains("fieldSelector=status.phase%21%3DSucceeded"), "{queries:?}");
}

#[tokio::test]
async fn a_lock_of_an_object_that_is_gone_is_removed_with_its_uid() {
    let case = Case::to_server();
    let (_, calls) = Server::with(&case.migration).look(&case.migration).await;
    assert!(calls.iter().any(|call| call.line.starts_with("POST ")));
    let name = case.lock_name();
    let mut server = Server::with(&case.migration);
    let lease = json!({"metadata": {"name": name, "uid": "old", "annotations": {"memory-migration.dev/holder": "away/gone"}},
                       "spec": {"holderIdentity": "another"}});
    server.answer(&format!("GET {LEASES}/{name}"), 200, lease.clone());
    server.answer("GET /apis/batch/v1/namespaces/away/jobs", 200, items(&[]));
    server.answer("GET /api/v1/namespaces/away/pods", 200, items(&[]));
    let (_, calls) = server.look(&case.migration).await;
    let delete = calls.iter().find(|c| c.line == format!("DELETE {LEASES}/{name}")).unwrap();
    assert_eq!(delete.body["preconditions"]["uid"], "old");
    let mut server = Server::with(&case.migration);
    server.answer(&format!("GET {LEASES}/{name}"), 200, lease);
    server.answer("GET /apis/batch/v1/namespaces/away/jobs", 200, items(&[]));
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

/// A lock of a run that was deleted in the middle: nobody has to want the same target for it to go.
#[tokio::test]
async fn a_lock_goes_with_the_last_process_of_its_holder() {
    let lease = json!({"metadata": {"name": "memory-migration-target-x", "uid": "lease-uid", "resourceVersion": "7",
                                    "annotations": {"memory-migration.dev/holder": "team/move"}},
                       "spec": {"holderIdentity": UID}});
    let sweep = async |arrange: &dyn Fn(&mut Server), living: &[&str], watched: &[&str]| {
        let mut server = Server::with(&Case::to_server().migration);
        server.answer(&format!("GET {LEASES}"), 200, items(std::slice::from_ref(&lease)));
        server.answer(&format!("GET {OBJECT}"), 404, status(404));
        arrange(&mut server);
        let calls = server.calls.clone();
        let (context, answering) = server.context();
        let living: BTreeSet<String> = living.iter().map(ToString::to_string).collect();
        let watched: Vec<String> = watched.iter().map(ToString::to_string).collect();
        sweep::locks(&context, &living, &watched).await.unwrap();
        answering.abort();
        let calls = calls.lock().unwrap().clone();
        for call in &calls {
            rights::assert_allowed(&call.line, &call.query);
        }
        assert!(calls[0].query.contains("labelSelector=app.kubernetes.io%2Fmanaged-by%3D"), "{}", calls[0].query);
        calls.into_iter().find(|c| c.line.starts_with("DELETE ")).map(|c| (c.line, c.body["preconditions"].clone()))
    };
    let nothing = |_: &mut Server| {};
    let gone = sweep(&nothing, &[], &[]).await;
    let same = json!({"uid": "lease-uid", "resourceVersion": "7"});
    assert_eq!(gone, Some((format!("DELETE {LEASES}/memory-migration-target-x"), same)));
    assert_eq!(sweep(&nothing, &[], &["team"]).await.map(|_| ()), Some(()));
    assert_eq!(sweep(&nothing, &[UID], &[]).await, None, "its holder lives");
    assert_eq!(sweep(&nothing, &[], &["another"]).await, None, "not this process's to judge");
    let object = serde_json::to_value(&Case::to_server().migration).unwrap();
    assert_eq!(sweep(&|s| s.answer(&format!("GET {OBJECT}"), 200, object.clone()), &[], &[]).await, None);
    let mut other = object.clone();
    other["metadata"]["uid"] = json!("made again under the same name");
    assert!(sweep(&|s| s.answer(&format!("GET {OBJECT}"), 200, other.clone()), &[], &[]).await.is_some());
    let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Running"}});
    let pods = items(std::slice::from_ref(&pod));
    assert_eq!(sweep(&|s| s.answer(&format!("GET {NS}/pods"), 200, pods.clone()), &[], &[]).await, None);
    let job = items(&[json!({"metadata": {"name": "j"}})]);
    assert_eq!(sweep(&|s| s.answer(&format!("GET {JOBS}"), 200, job.clone()), &[], &[]).await, None);
}

/// One that the API server does not delete keeps no other from going, and is asked for again only later.
#[tokio::test]
async fn a_lock_that_cannot_be_swept_keeps_no_other() {
    let lease = |name: &str| {
        json!({"metadata": {"name": name, "uid": name, "annotations": {"memory-migration.dev/holder": "team/move"}},
               "spec": {"holderIdentity": UID}})
    };
    for code in [403, 409, 500] {
        let mut server = Server::with(&Case::to_server().migration);
        server.answer(&format!("GET {LEASES}"), 200, items(&[lease("kept"), lease("free")]));
        server.answer(&format!("GET {OBJECT}"), 404, status(404));
        server.answer(&format!("DELETE {LEASES}/kept"), code, status(code));
        let calls = server.calls.clone();
        let (context, answering) = server.context();
        for _ in 0..3 {
            sweep::locks(&context, &BTreeSet::new(), &[]).await.unwrap();
        }
        answering.abort();
        let calls = calls.lock().unwrap().clone();
        let deleted: Vec<&str> = writes(&calls);
        assert_eq!(deleted, [format!("DELETE {LEASES}/kept"), format!("DELETE {LEASES}/free")], "{code}");
        let now = std::time::Instant::now();
        let after = |seconds: u64| context.memory.may_sweep("kept", now + Duration::from_secs(seconds));
        assert!(!after(50) && after(60), "{code}");
    }
}

/// A newer operator wrote it, and then the older one came back.
#[tokio::test]
async fn an_object_that_cannot_be_read_is_left_alone() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    let mut newer = serde_json::to_value(&case.migration).unwrap();
    newer["spec"]["onConflict"] = json!("Merge");
    server.answer(&format!("GET {OBJECT}"), 200, newer);
    let (looked, calls, metrics) = server.look_counting(&case.migration).await;
    assert_eq!((looked.unwrap(), calls.len()), (None, 1), "nothing until it changes");
    assert!(metrics.contains("memory_migration_reconcile_errors_total{reason=\"unreadable\"} 1"), "{metrics}");
}

#[tokio::test]
async fn an_object_of_another_version_is_the_same_run_whatever_it_has_besides() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    let mut other = serde_json::to_value(&case.migration).unwrap();
    other["spec"]["later"] = json!({"a": 1});
    other["spec"]["source"]["local"]["earlier"] = json!("x");
    other["status"] = json!({"observedGeneration": -1, "unknown": [1], "progress": {"bytes": 5}});
    server.answer(&format!("GET {OBJECT}"), 200, other);
    let (looked, calls) = server.look(&case.migration).await;
    assert!(looked.is_ok());
    let status = written_status(&calls);
    assert_eq!((status.run_hash, status.job_name), (case.hash(), case.job_name(1)));
}

/// Events that agree in reason, action and Job are shown as one: each attempt must be one of its own.
#[tokio::test]
async fn an_event_names_its_job() {
    let case = Case::to_server();
    let (_, calls) = Server::with(&case.migration).look(&case.migration).await;
    let event = &calls.iter().find(|c| c.line.ends_with("/events")).unwrap().body;
    assert_eq!(event["regarding"]["name"], "move");
    assert_eq!((&event["related"]["kind"], &event["related"]["name"]), (&json!("Job"), &json!(case.job_name(1))));
}

/// A policy that sets it on every Job, also on those that are patched: it is tried once.
#[tokio::test]
async fn a_ttl_that_comes_back_is_not_removed_again_and_again() {
    let case = Case::to_server().running();
    let mut server = Server::with(&case.migration);
    let mut job = job_json(&case, json!([]));
    job["spec"]["ttlSecondsAfterFinished"] = json!(0);
    server.answer(&format!("GET {JOBS}"), 200, items(&[job.clone()]));
    server.answer(&format!("PATCH {JOBS}/{}", case.job_name(1)), 200, job);
    server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Running", json!({"running": {}}))]));
    let calls = server.calls.clone();
    let (context, answering) = server.context();
    for _ in 0..3 {
        let found = std::sync::Arc::new(kube::core::DeserializeGuard(Ok(case.migration.clone())));
        memory_migration_operator::controller::reconcile(found, context.clone()).await.unwrap();
    }
    answering.abort();
    let calls = calls.lock().unwrap().clone();
    let patched: Vec<_> = calls.iter().filter(|call| call.line.starts_with(&format!("PATCH {JOBS}"))).collect();
    assert_eq!(patched.len(), 1);
    assert_eq!(patched[0].body["spec"], json!({"ttlSecondsAfterFinished": null}));
}

/// Job and pod are gone before the controller looks; the watch saw how they ended.
#[tokio::test]
async fn an_end_that_only_the_watch_saw_is_written() {
    let case = Case::to_server().running();
    let verdict = summary(&case.hash(), report::Reason::Verified).to_json();
    let ended = json!({"terminated": {"exitCode": 0, "message": verdict}});
    let complete = json!([{"type": "Complete", "status": "True"}]);
    let server = Server::with(&case.migration);
    let calls = server.calls.clone();
    let (context, answering) = server.context();
    context.memory.saw_job(&serde_json::from_value(job_json(&case, complete)).unwrap());
    context.memory.saw_pod(&serde_json::from_value(pod_json(&case, "Succeeded", ended)).unwrap());
    let found = std::sync::Arc::new(kube::core::DeserializeGuard(Ok(case.migration.clone())));
    memory_migration_operator::controller::reconcile(found, context.clone()).await.unwrap();
    answering.abort();
    let status = written_status(&calls.lock().unwrap().clone());
    assert_eq!((reason_of(&status), status.failures), (Reason::Verified, 0));
    assert_eq!(context.memory.ended(UID).0.len(), 0, "the status holds it");
}

/// By label alone: somebody else's Job is no fact about this object.
#[tokio::test]
async fn a_job_that_the_object_does_not_own_is_neither_believed_nor_deleted() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    let mut job = job_json(&case, json!([{"type": "Complete", "status": "True"}]));
    job["metadata"]["ownerReferences"] = json!([]);
    server.answer(&format!("GET {JOBS}?labels"), 200, items(&[job]));
    let (_, calls) = server.look(&case.migration).await;
    assert!(!writes(&calls).iter().any(|line| line.starts_with("DELETE")), "{:?}", writes(&calls));
    assert!(writes(&calls).contains(&format!("POST {JOBS}").as_str()));
}

/// Only what others change is worth a look; the object's own cache holds every version.
#[test]
fn the_echo_of_an_own_write_is_no_news() {
    use memory_migration_operator::controller::{Found, process::memory::Memory};
    let memory = Memory::default();
    let found = |edit: &dyn Fn(&mut memory_migration_operator::api::MemoryMigration)| {
        let mut migration = Case::to_server().running().migration;
        migration.metadata.resource_version = Some("1".into());
        edit(&mut migration);
        let found: Found = kube::core::DeserializeGuard(Ok(migration));
        memory.is_news(&found)
    };
    let status = |m: &mut memory_migration_operator::api::MemoryMigration, version: &str| {
        m.status.as_mut().unwrap().failures = version.parse().unwrap();
        m.metadata.resource_version = Some(version.into());
    };
    assert!(found(&|_| {}), "never seen before");
    assert!(!found(&|_| {}), "a watch that was opened again");
    memory.wrote("team/move", Some("2".into()));
    memory.wrote("team/move", Some("3".into()));
    assert!(!found(&|m| status(m, "2")) && !found(&|m| status(m, "3")), "also where the watch is behind");
    assert!(found(&|m| status(m, "4")), "somebody else wrote the status");
    assert!(!found(&|m| (status(m, "4"), m.metadata.resource_version = Some("5".into())).1), "managed fields only");
    memory.wrote("team/move", Some("6".into()));
    assert!(found(&|m| (status(m, "6"), m.metadata.generation = Some(9)).1), "with somebody's edit in it");
    assert!(found(&|m| (
        status(m, "6"),
        m.metadata.generation = Some(9),
        m.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into())
    )
        .2));
    assert!(found(
        &|m| (status(m, "6"), m.metadata.generation = Some(9), m.metadata.deletion_timestamp = Some(at(0))).2
    ));
}
