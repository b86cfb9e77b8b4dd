//! What the API server does not take, or somebody else writes first: Jobs, locks and statuses. Told once, tried again with
//! pauses, and nothing is counted.

use std::time::Duration;

use memory_migration_operator::api::conditions::Reason;
use memory_migration_operator::controller::observe::world::{Endpoint, Handle, JobPhase, Lock};
use memory_migration_operator::controller::plan::{PauseChange, Plan, Write};
use memory_migration_operator::report::{self, Stage};
use serde_json::{Value, json};

use super::fixtures::*;
use super::mock::*;

/// Looks until it has tried `times`, and what was written at each second.
fn refused_again_and_again(code: Option<u16>, times: u32) -> (Case, Vec<(i64, Write)>) {
    let mut case = Case::to_server();
    let mut written = Vec::new();
    let mut tried = 0;
    while tried < times {
        let plan = case.plan_once();
        let refused = plan.writes.iter().any(|write| matches!(write, Write::Create(_)));
        let last =
            plan.writes.iter().position(|write| matches!(write, Write::Create(_))).map_or(usize::MAX, |at| at + 1);
        written.extend(plan.writes.iter().take(last).map(|write| (case.now, write.clone())));
        if refused {
            tried += 1;
            let after = case.refused(code, "exceeded quota: jobs");
            written.extend(after.writes.iter().map(|write| (case.now, write.clone())));
            case = case.after(&after);
            case = case.later(i64::try_from(after.requeue.unwrap().as_secs()).unwrap());
        } else {
            let wait = if plan.again { 0 } else { plan.requeue.unwrap().as_secs() };
            case = case.after(&plan).later(i64::try_from(wait).unwrap());
        }
    }
    (case, written)
}

/// A quota, a policy, a webhook without a code, a label that is no label, a webhook that is down, and no answer at all.
#[test]
fn a_job_that_is_refused_is_one_status_and_no_attempt_whatever_the_code() {
    for code in [Some(403), Some(422), Some(400), Some(500), Some(503), Some(409), None] {
        let (case, written) = refused_again_and_again(code, 12);
        let statuses: Vec<_> = written.iter().filter(|(_, write)| matches!(write, Write::Status(_))).collect();
        assert_eq!(statuses.len(), 1, "{code:?}");
        let told: Vec<_> = written.iter().filter(|(_, write)| matches!(write, Write::Tell(_))).collect();
        assert_eq!(told.len(), 1, "{code:?}: {told:?}");
        let status = case.migration.status.clone().unwrap();
        assert_eq!((status.attempts, status.job_name.as_str()), (0, ""));
        let tries: Vec<i64> =
            written.iter().filter(|(_, write)| matches!(write, Write::Create(_))).map(|(at, _)| *at).collect();
        let pauses: Vec<i64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[0] >= 60 && pauses[1] >= 120 && pauses[3..].iter().all(|pause| *pause >= 300), "{pauses:?}");
        for start in tries.iter().skip(1) {
            let minute = written.iter().filter(|(at, _)| (*start..start + 60).contains(at)).count();
            assert!(minute <= 3, "{code:?}: {minute} writes in a minute");
        }
    }
}

#[test]
fn a_refusal_has_the_servers_own_sentence_and_the_remedy() {
    let said = |code| {
        let plan = Case::to_server().refused(code, "exceeded quota: jobs");
        (reason(&plan), message(&plan))
    };
    for code in [400, 403, 422] {
        let (reason, message) = said(Some(code));
        assert_eq!(reason, Reason::NotAdmitted, "{code}");
        assert!(message.contains("exceeded quota: jobs") && message.contains("raise the quota"), "{message}");
    }
    let (reason, message) = said(Some(409));
    assert_eq!(reason, Reason::NotAdmitted);
    assert!(message.starts_with("Job team/move-1 of somebody else is in the way: delete it"), "{message}");
    for code in [Some(401), Some(404), Some(429), Some(500), None] {
        let (reason, message) = said(code);
        assert_eq!(reason, Reason::Retrying, "{code:?}");
        assert!(message.contains("exceeded quota: jobs"), "{message}");
    }
}

#[test]
fn an_edit_ends_the_pause() {
    let case = Case::to_server();
    let case = case.clone().after(&case.refused(Some(422), "bad label"));
    assert!(case.plan().create().is_none());
    assert!(case.edit(|m| m.spec.runner.job_labels.clear()).plan().create().is_some());
}

/// The Job may have been made: the lock goes only when it is seen that it was not.
#[test]
fn a_lock_is_kept_after_no_answer_until_the_jobs_absence_is_seen() {
    let locked = Case::to_server();
    let locked = locked.clone().after(&locked.plan_once());
    let silent = locked.refused(None, "timed out");
    assert!(silent.release().is_empty());
    assert_eq!(silent.requeue, Some(Duration::from_secs(3)));
    let absent = locked.clone().after(&silent).later(3);
    assert_eq!(absent.plan().release(), [locked.lock_name()]);
    let made = locked.clone().started();
    let made = locked.after(&silent).see(|o| o.jobs.clone_from(&made.world.jobs)).later(3);
    let plan = made.plan();
    let status = plan.status().unwrap();
    assert_eq!((status.attempts, status.job_name), (1, made.job_name(1)), "it is the attempt");
    assert!(plan.release().is_empty() && plan.create().is_none());
}

#[tokio::test]
async fn a_job_that_is_refused_gives_its_lock_back_and_is_no_error() {
    for code in [400, 403, 422] {
        let case = Case::to_server();
        let mut server = Server::with(&case.migration);
        server.answer(&format!("POST {JOBS}"), code, status(code));
        let (looked, calls) = server.look(&case.migration).await;
        assert_eq!(looked.unwrap(), Some(Duration::from_secs(60)));
        let events = "POST /apis/events.k8s.io/v1/namespaces/team/events";
        let expected = [
            format!("POST {LEASES}"),
            format!("POST {JOBS}"),
            format!("PATCH {OBJECT}/status"),
            events.to_owned(),
            format!("DELETE {LEASES}/{}", case.lock_name()),
        ];
        assert_eq!(writes(&calls), expected);
        let status = written_status(&calls);
        assert_eq!((reason_of(&status), status.attempts), (Reason::NotAdmitted, 0));
        assert!(status.conditions[0].message.contains("the server's words"));
    }
}

#[tokio::test]
async fn a_job_that_a_broken_webhook_refuses_is_told_and_keeps_its_lock_for_now() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    server.answer(&format!("POST {JOBS}"), 500, status(500));
    let (looked, calls) = server.look(&case.migration).await;
    assert_eq!(looked.unwrap(), Some(Duration::from_secs(3)));
    assert!(!writes(&calls).iter().any(|line| line.starts_with("DELETE")));
    let status = written_status(&calls);
    assert_eq!((reason_of(&status), status.attempts), (Reason::Retrying, 0));
    assert!(status.conditions[0].message.contains("500: the server's words"), "{:?}", status.conditions[0]);
}

#[tokio::test]
async fn a_lock_that_a_policy_refuses_is_told_too() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    server.answer(&format!("POST {LEASES}"), 403, status(403));
    let (looked, calls) = server.look(&case.migration).await;
    assert_eq!(looked.unwrap(), Some(Duration::from_secs(60)));
    let said = written_status(&calls);
    assert_eq!(reason_of(&said), Reason::NotAdmitted);
    assert!(said.conditions[0].message.contains("Lease operator/memory-migration-target-"));
}

/// Somebody wrote in between, or a former leader is late: read and planned again, and no error.
#[tokio::test]
async fn a_status_that_somebody_wrote_first_is_planned_again_and_no_error() {
    let case = Case::to_server().see(|_| {});
    let mut server = Server::with(&case.migration);
    server.answer(&format!("PATCH {OBJECT}/status"), 409, status(409));
    server.is_late = true;
    let (looked, calls) = server.look(&case.migration).await;
    assert_eq!(looked.unwrap(), Some(Duration::from_secs(3)));
    let jobs = writes(&calls).iter().filter(|line| **line == format!("POST {JOBS}")).count();
    assert_eq!(jobs, 1, "the Job that was made is found again");
    let tried = writes(&calls).iter().filter(|line| line.ends_with("/status")).count();
    assert!(tried > 1, "it is planned again");
}

/// A webhook may answer with any code, also with one that means something else in the API server's own mouth.
#[tokio::test]
async fn a_status_that_a_webhook_refuses_is_an_error_and_not_tried_at_once() {
    for code in [403, 404, 409, 500] {
        let case = Case::to_server();
        let mut server = Server::with(&case.migration);
        server.answer(&format!("PATCH {OBJECT}/status"), code, status(code));
        let (looked, calls) = server.look(&case.migration).await;
        let error = looked.unwrap_err().to_string();
        assert!(error.starts_with("failed to write the status of MemoryMigration team/move"), "{code}: {error}");
        assert_eq!(writes(&calls).iter().filter(|line| line.ends_with("/status")).count(), 1, "{code}");
    }
}

/// The same of its lock: what is said fits a lock, and no look is repeated at once.
#[tokio::test]
async fn a_lock_that_is_refused_with_any_code_is_told_and_waits() {
    for code in [400, 401, 403, 404, 409, 422, 429, 500, 503] {
        let case = Case::to_server();
        let mut server = Server::with(&case.migration);
        server.answer(&format!("POST {LEASES}"), code, status(code));
        let (looked, calls) = server.look(&case.migration).await;
        assert!(looked.unwrap() >= Some(Duration::from_secs(3)), "{code}");
        assert_eq!(writes(&calls).iter().filter(|line| **line == format!("POST {LEASES}")).count(), 1, "{code}");
        let said = &written_status(&calls).conditions[0].message;
        assert!(
            said.contains("Lease operator/memory-migration-target-") && said.contains("the server's words"),
            "{said}"
        );
        assert!(!said.contains("spec.runner"), "{said}");
    }
}

/// With no Job of that name, a 409 is a policy's.
#[tokio::test]
async fn a_job_that_a_webhook_refuses_with_409_is_not_somebody_elses() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    server.answer(&format!("POST {JOBS}"), 409, status(409));
    let (looked, calls) = server.look(&case.migration).await;
    assert_eq!(looked.unwrap(), Some(Duration::from_secs(60)));
    let said = &written_status(&calls).conditions[0].message;
    assert!(said.contains("409: the server's words") && !said.contains("somebody else"), "{said}");
    assert!(writes(&calls).iter().any(|line| line.starts_with(&format!("DELETE {LEASES}"))), "nothing was made");
}

/// A runner that cannot be stopped is said to go on, and the next try to stop it comes after a pause.
#[tokio::test]
async fn a_job_whose_deletion_is_refused_is_not_said_to_be_suspended() {
    for code in [403, 404, 409, 422] {
        let case = Case::to_server().running().edit(|m| m.spec.suspend = true);
        let mut server = Server::with(&case.migration);
        let job = format!("{JOBS}/{}", case.job_name(1));
        server.answer(&format!("GET {JOBS}"), 200, items(&[job_json(&case, json!([]))]));
        server.answer(&format!("GET {job}"), 200, job_json(&case, json!([])));
        server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Running", json!({"running": {}}))]));
        server.answer(&format!("GET {LEASES}/{}", case.lock_name()), 200, held(&case));
        server.answer(&format!("DELETE {job}"), code, status(code));
        let (looked, calls) = server.look(&case.migration).await;
        assert_eq!(looked.unwrap(), Some(Duration::from_secs(5)), "{code}");
        let status = written_status(&calls);
        let said = &status.conditions[0].message;
        assert_eq!(reason_of(&status), Reason::Retrying, "{code}");
        assert!(said.contains("could not be stopped") && said.contains("the server's words"), "{said}");
        assert!(said.contains(&format!("{code}")), "{said}");
    }
}

/// As `reconcile` does it: the write that is refused ends the plan, and it is planned again.
fn refused(case: Case, is_refused: impl Fn(&Write) -> bool) -> Case {
    let plan = case.plan_once();
    let at = plan.writes.iter().position(is_refused).expect("it must be tried");
    let reached = Plan { writes: plan.writes[..at].to_vec(), pause: PauseChange::Keep, ..plan.clone() };
    let case = case.after(&reached);
    let told = case.refused_write(&plan.writes[at], 403);
    case.after(&told).done()
}

#[test]
fn a_job_that_cannot_be_stopped_is_stopped_once_it_may_be() {
    let case = Case::to_server().running().edit(|m| m.spec.suspend = true);
    let case = refused(case, |write| matches!(write, Write::Delete(_)));
    let status = case.migration.status.clone().unwrap();
    assert_eq!((reason_of(&status), status.failures), (Reason::Retrying, 0));
    assert!(status.conditions[0].message.contains("could not be stopped"), "{:?}", status.conditions[0]);
    assert_eq!(status.stopped_job, status.job_uid, "its deletion would be the operator's");
    assert!(case.clone().later(59).plan().writes.is_empty(), "{:?}", case.later(59).plan());
    let allowed = case.later(60);
    assert_eq!(allowed.plan_once().delete().len(), 1);
    let gone = allowed.clone().see(|o| (o.jobs.clear(), o.pods.clear()).1);
    assert_eq!(reason(&gone.plan()), Reason::Suspended);
}

/// It was stopped because somebody else may write its target, and the API server did not stop it: whatever it says at its
/// end does not count, whenever its Job goes at last.
#[test]
fn what_a_run_says_that_could_not_be_stopped_beside_a_second_writer_does_not_count() {
    for restarted in [false, true] {
        let case = Case::to_claim().running().used_by("chroma-0", "prod");
        let case = refused(case, |write| matches!(write, Write::Delete(_)));
        let said = case.migration.status.clone().unwrap();
        assert_eq!(reason_of(&said), Reason::VolumeInUse, "{:?}", said.conditions[0]);
        assert!(said.conditions[0].message.contains("could not be stopped"), "{:?}", said.conditions[0]);
        assert!(case.clone().later(5).plan().writes.is_empty(), "said once: {:?}", case.later(5).plan().status());
        let again = refused(case.later(60), |write| matches!(write, Write::Delete(_)));
        let repeated = again.migration.status.clone().unwrap().conditions[0].message.clone();
        assert_eq!(repeated.matches("could not be stopped").count(), 1, "{repeated}");
        // The other pod goes, the mover ends, somebody suspends; and only then the Job may be deleted.
        let ended = again.see(|o| o.users.clear()).later(10).succeeded(report::Reason::Verified);
        let now = ended.now;
        let ended = ended.see(|o| {
            o.pods[0].ended = Some(at(now));
            if restarted {
                o.deletions.clear();
            }
        });
        for suspended in [false, true] {
            let ended = ended.clone().edit(|m| m.spec.suspend = suspended).later(300);
            let plan = ended.plan();
            assert_eq!((reason(&plan), plan.delete().len()), (Reason::Retrying, 1), "{}", message(&plan));
            let mut going = ended;
            plan.writes.iter().for_each(|write| going.write(write, &mut None));
            let deleting = going.plan().status().map(|status| reason_of(&status));
            assert_ne!(deleting, Some(Reason::Verified), "its deletion began after its end");
            let gone = going.see(|o| (o.jobs.clear(), o.pods.clear()).1).edit(|m| m.spec.suspend = false);
            let next = gone.plan();
            assert!(next.create().is_some(), "{next:?}");
            assert_eq!(next.status().unwrap().failures, 0);
        }
    }
}

/// Each refusal is about its own object: a stranger that does not go keeps nobody from stopping the run.
#[test]
fn a_refusal_holds_back_what_was_refused_and_nothing_else() {
    let case = Case::to_claim().running().see(|o| {
        let mut job = o.jobs[0].clone();
        (job.name, job.uid) = ("stranger".into(), "uid-of-stranger".into());
        o.jobs.push(job);
    });
    let is_stranger = |write: &Write| matches!(write, Write::Delete(job) if job.name == "stranger");
    let case = refused(case, is_stranger);
    let status = case.migration.status.clone().unwrap();
    assert_eq!(reason_of(&status), Reason::Preflight, "the run itself is fine: {:?}", status.conditions[0]);
    let used = case.later(5).used_by("chroma-0", "prod");
    let deleted: Vec<String> = used.plan_once().delete().into_iter().map(|job| job.uid).collect();
    assert_eq!(deleted, [format!("uid-of-{}", used.job_name(1))]);
}

/// No answer at all, or one that is no refusal for ever, is a refusal too.
#[tokio::test]
async fn a_job_whose_deletion_comes_to_nothing_is_not_said_to_be_suspended_either() {
    for code in [429, 500, 503] {
        let case = Case::to_server().running().edit(|m| m.spec.suspend = true);
        let mut server = Server::with(&case.migration);
        server.answer(&format!("GET {JOBS}"), 200, items(&[job_json(&case, json!([]))]));
        server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Running", json!({"running": {}}))]));
        server.answer(&format!("GET {LEASES}/{}", case.lock_name()), 200, held(&case));
        let job = format!("{JOBS}/{}", case.job_name(1));
        server.answer(&format!("DELETE {job}"), code, status(code));
        let (looked, calls) = server.look(&case.migration).await;
        assert_eq!(looked.unwrap(), Some(Duration::from_secs(5)), "{code}");
        assert_eq!(writes(&calls).iter().filter(|line| line.starts_with("DELETE")).count(), 1, "{code}");
        let patches = calls.iter().filter(|call| call.line.ends_with("/status"));
        assert!(patches.clone().all(|call| call.body["status"]["phase"] != "Suspended"), "{code}");
        assert!(written_status(&calls).conditions[0].message.contains("could not be stopped"), "{code}");
    }
}

/// Nothing else is ever what a person can do about it.
#[tokio::test]
async fn a_lock_that_the_operator_may_not_create_is_not_admitted_whatever_the_code() {
    for code in [400, 401, 403, 404, 409, 422] {
        let case = Case::to_server();
        let mut server = Server::with(&case.migration);
        server.answer(&format!("POST {LEASES}"), code, status(code));
        let (_, calls) = server.look(&case.migration).await;
        let said = written_status(&calls);
        assert_eq!(reason_of(&said), Reason::NotAdmitted, "{code}");
        let said = &said.conditions[0].message;
        assert!(
            said.contains("let the operator create and delete Leases") && said.contains("the server's words"),
            "{said}"
        );
    }
}

/// The run is over, and its lock cannot be removed: the verdict stays, people are told, and it is tried again.
#[tokio::test]
async fn a_lock_that_is_not_given_back_is_told_and_tried_again() {
    for code in [403, 404, 409] {
        let case = Case::to_server().running().succeeded(report::Reason::Verified).done();
        let before = case.migration.status.clone().unwrap();
        let mut server = Server::with(&case.migration);
        let lease = held(&case);
        server.answer(&format!("GET {LEASES}"), 200, items(std::slice::from_ref(&lease)));
        server.answer(&format!("GET {LEASES}/{}", case.lock_name()), 200, lease);
        server.answer(&format!("DELETE {LEASES}/{}", case.lock_name()), code, status(code));
        let (looked, calls) = server.look(&case.migration).await;
        assert_eq!(looked.unwrap(), Some(Duration::from_secs(60)), "{code}");
        assert!(!calls.iter().any(|call| call.line.ends_with("/status")), "the verdict stays");
        let event = calls.iter().find(|call| call.line.ends_with("/events")).unwrap();
        let note = event.body["note"].as_str().unwrap();
        assert!(note.contains("could not be deleted") && note.contains("the server's words"), "{note}");
        assert_eq!(reason_of(&before), Reason::Verified);
    }
    let case = Case::to_server().running().succeeded(report::Reason::Verified).done();
    let name = case.lock_name();
    let case = case.see(|o| o.held = vec![Handle { name, uid: "lease-uid".into() }]);
    let waits = case.clone().after(&case.refused_write(&Write::GiveBack(case.world.held[0].clone()), 409));
    assert!(waits.clone().later(30).plan_once().release().is_empty(), "not before the pause has passed");
    assert_eq!(waits.clone().later(30).plan_once().requeue, Some(Duration::from_secs(30)));
    assert_eq!(waits.later(60).plan_once().release().len(), 1);
}

/// What a policy, a person or another controller wrote beside ours stays as it was read.
#[tokio::test]
async fn conditions_of_others_and_unknown_fields_are_kept() {
    let case = Case::to_server().running();
    let mut server = Server::with(&case.migration);
    let mut object = serde_json::to_value(&case.migration).unwrap();
    object["metadata"]["resourceVersion"] = json!("7");
    object["status"]["later"] = json!({"a": 1});
    object["status"]["progress"] = json!({"stage": "Preflight", "bytes": 5});
    let theirs = json!({"type": "Audited", "status": "True", "reason": "Checked", "message": "m",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    object["status"]["conditions"].as_array_mut().unwrap().insert(0, theirs.clone());
    server.answer(&format!("GET {OBJECT}"), 200, object);
    server.answer(&format!("GET {JOBS}"), 200, items(&[job_json(&case, json!([]))]));
    server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Running", json!({"running": {}}))]));
    let line = json!({"memmig": "progress", "stage": "Copying", "records": 3, "total": 10, "recordsPerSecond": 2.0});
    server.answer(&format!("GET {NS}/pods/pod/log"), 200, Value::String(line.to_string()));
    let (_, calls) = server.look(&case.migration).await;
    let patch = &calls.iter().rfind(|call| call.line.ends_with("/status")).unwrap().body;
    assert_eq!(patch["metadata"]["resourceVersion"], "7", "over the version that was read");
    assert_eq!((&patch["status"]["later"], &patch["status"]["progress"]["bytes"]), (&json!({"a": 1}), &json!(5)));
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    assert_eq!(conditions.len(), 4);
    assert!(conditions.contains(&theirs));
    assert_eq!(reason_of(&written_status(&calls)), Reason::Copying);
}

/// An older CRD drops what it does not know: it is named, and is no reason to write the same again.
#[tokio::test]
async fn a_crd_that_lacks_a_field_is_named_and_not_written_against() {
    let case = Case::to_server().running();
    let mut server = Server::with(&case.migration);
    let mut answer = serde_json::to_value(&case.migration).unwrap();
    answer["metadata"]["resourceVersion"] = json!("2");
    answer["status"] = json!({"observedGeneration": 1, "attempts": 1});
    server.answer(&format!("PATCH {OBJECT}/status"), 200, answer);
    server.answer(&format!("GET {JOBS}"), 200, items(&[job_json(&case, json!([]))]));
    server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Running", json!({"running": {}}))]));
    let (context, answering) = server.context();
    let found = std::sync::Arc::new(kube::core::DeserializeGuard(Ok(case.migration.clone())));
    memory_migration_operator::controller::reconcile(found, context.clone()).await.unwrap();
    answering.abort();
    let lacking = context.memory.lacking();
    assert!(lacking.contains("jobUID") && lacking.contains("conditions"), "{lacking:?}");
    let (ready, said) = context.readiness.get();
    assert!(ready, "{said}");
    assert!(said.contains("the cluster's CRD does not know status.") && said.contains("upgrade the CRD"), "{said}");
}

#[test]
fn what_the_crd_lacks_is_said_on_the_object_and_no_difference() {
    let lacking = || ["jobUID", "failures"].map(String::from).into();
    let case = Case::to_server().running().at_stage(memory_migration_operator::report::Stage::Copying, 3, 10);
    let case = case.see(|o| o.lacking = lacking()).done();
    let said = case.migration.status.as_ref().unwrap().conditions[0].message.clone();
    assert!(said.ends_with("upgrade the CRD (chart memory-migration-operator-crds)"), "{said}");
    // The API server dropped them.
    let cut = case.clone().edit(|m| {
        let status = m.status.as_mut().unwrap();
        (status.job_uid, status.observed_generation) = (String::new(), 2);
        status.conditions.iter_mut().for_each(|c| c.observed_generation = Some(2));
    });
    assert!(cut.plan().status().is_none(), "{:?}", cut.plan());
    assert!(cut.clone().see(|o| o.asks_crd = true).plan().status().is_some(), "once in a while it is sent whole");
    let upgraded = cut.see(|o| o.lacking.clear()).plan().status().unwrap();
    assert!(!upgraded.conditions[0].message.contains("CRD"), "{:?}", upgraded.conditions[0]);
    let done = case.succeeded(memory_migration_operator::report::Reason::Verified).done();
    let upgraded = done.see(|o| o.lacking.clear()).plan().status().unwrap();
    assert!(!upgraded.conditions[0].message.contains("CRD"), "{:?}", upgraded.conditions[0]);
}

#[test]
fn a_pause_is_forgotten_once_the_run_works() {
    let case = Case::to_server();
    let case = case.clone().after(&case.refused(Some(403), "quota")).later(61).running();
    assert!(case.world.pause.is_some());
    let copying = case.at_stage(memory_migration_operator::report::Stage::Copying, 1, 2);
    assert_eq!(copying.plan().pause, PauseChange::Clear);
}

/// A 403 on another's object is no proof that it is gone.
#[tokio::test]
async fn a_lock_whose_holder_may_not_be_looked_at_is_held() {
    let case = Case::to_server();
    let mut server = Server::with(&case.migration);
    let lease = |kind: &str| {
        json!({"metadata": {"name": case.lock_name(), "uid": "other", "annotations": {
                   "memory-migration.dev/holder": "away/gone", "memory-migration.dev/holder-kind": kind}},
               "spec": {"holderIdentity": "another"}})
    };
    server.answer(&format!("GET {LEASES}/{}", case.lock_name()), 200, lease("MemoryMigration"));
    server.answer("GET /apis/memory-migration.dev/v1alpha1/namespaces/away/memorymigrations/gone", 403, status(403));
    let (_, calls) = server.look(&case.migration).await;
    let said = written_status(&calls);
    assert_eq!(reason_of(&said), Reason::TargetBusy);
    assert!(said.conditions[0].message.starts_with("MemoryMigration away/gone writes this target"));
    let mut server = Server::with(&case.migration);
    server.answer(&format!("GET {LEASES}/{}", case.lock_name()), 200, lease("MemoryMigrationSchedule"));
    server.answer(
        "GET /apis/memory-migration.dev/v1alpha1/namespaces/away/memorymigrationschedules/gone",
        403,
        status(403),
    );
    let (_, calls) = server.look(&case.migration).await;
    assert!(written_status(&calls).conditions[0].message.starts_with("MemoryMigrationSchedule away/gone"));
}

#[test]
fn a_lock_that_was_deleted_by_hand_is_taken_again_while_the_run_goes_on() {
    let case = Case::to_server().running().see(|o| (o.lock, o.held) = (Lock::Free, vec![]));
    let plan = case.plan();
    assert_eq!(plan.take_lock(), Some(case.lock_name()));
    assert!(plan.delete().is_empty());
    let stale = case.see(|o| o.lock = Lock::Stale { uid: "old".into() }).plan();
    assert_eq!((stale.break_lock().unwrap().uid.as_str(), stale.take_lock().is_some()), ("old", true));
    let dry = Case::to_server().edit(|m| m.spec.dry_run = true).running();
    assert_eq!(dry.plan().take_lock(), None);
}

#[test]
fn a_run_whose_lock_another_object_holds_by_now_is_stopped() {
    let theirs = Lock::Theirs { holder: "MemoryMigration team/other".into() };
    let case = Case::to_server().running().see(|o| (o.lock, o.held) = (theirs, vec![]));
    let plan = case.plan();
    assert_eq!((reason(&plan), plan.delete().len()), (Reason::TargetBusy, 1));
    assert!(message(&plan).contains("the run was stopped: MemoryMigration team/other holds the lock"));
    assert_eq!(plan.status().unwrap().stopped_job, format!("uid-of-{}", case.job_name(1)));
}

/// What the watches hold may say how a run goes on. A try, an end, a Job and a lock rest on what the API server says.
#[test]
fn only_what_a_run_says_may_rest_on_a_cache() {
    let may = |case: &Case| {
        let known = case.migration.status.clone().unwrap_or_default();
        case.plan_once().only_tells(&known)
    };
    let running = Case::to_server().running();
    assert!(may(&running) && may(&running.clone().at_stage(Stage::Copying, 1, 2)));
    let busy = Case::to_server().see(|o| o.lock = Lock::Theirs { holder: "MemoryMigration team/other".into() }).done();
    assert!(may(&busy), "it still waits");
    let never = vec![
        ("takes a lock", Case::to_server()),
        ("makes a Job", Case::to_server().see(|o| o.lock = Lock::Ours)),
        ("breaks a lock", Case::to_server().see(|o| o.lock = Lock::Stale { uid: "x".into() })),
        ("takes its lock again", running.clone().see(|o| (o.lock, o.held) = (Lock::Free, vec![]))),
        ("stops a run", running.clone().see(|o| o.lock = Lock::Theirs { holder: "another".into() })),
        ("ends a run", running.clone().succeeded(report::Reason::Verified)),
        (
            "waits for what the runner missed",
            running.clone().ended(7, None, Some(JobPhase::Failed("PodFailurePolicy".into()))),
        ),
        (
            "counts a try",
            running.clone().see(|o| (o.jobs, o.pods) = (vec![], vec![])).see(|o| {
                o.source = Endpoint::Missing("gone".into());
            }),
        ),
    ];
    for (what, case) in never {
        assert!(!may(&case), "{what}: {:?}", case.plan_once().writes);
    }
}
