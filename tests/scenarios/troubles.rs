//! What Kubernetes says of Jobs, pods, claims and Leases, turned into facts. The objects are cut from a cluster's own.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use memory_migration_operator::api::conditions::Reason;
use memory_migration_operator::controller::observe::facts;
use memory_migration_operator::controller::observe::world::{Endpoint, JobPhase};
use memory_migration_operator::controller::plan::lock;
use memory_migration_operator::report::{Line, Progress, Stage};
use serde_json::{Value, from_value, json};

use super::fixtures::*;

fn pod(status: &Value) -> Pod {
    from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": []}, "status": status})).unwrap()
}

fn event(reason: &str, message: &str) -> Event {
    from_value(json!({"metadata": {}, "involvedObject": {}, "reason": reason, "message": message})).unwrap()
}

fn waiting(container: &str, reason: &str, message: &str) -> Value {
    json!({"name": container, "image": "repo/img:1", "imageID": "", "ready": false, "restartCount": 0,
           "state": {"waiting": {"reason": reason, "message": message}}})
}

fn trouble(status: &Value, events: &[Event]) -> (Reason, String) {
    let trouble = facts::pod(&pod(status), events, &at(0)).trouble.expect("there must be a trouble");
    (trouble.reason, trouble.message)
}

#[test]
fn an_image_that_cannot_be_pulled() {
    for word in ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"] {
        let status = json!({"phase": "Pending", "initContainerStatuses": [waiting("preflight", word, "no such tag")]});
        let (reason, message) = trouble(&status, &[]);
        assert_eq!(reason, Reason::ImagePullFailed);
        assert!(
            message.contains("repo/img:1") && message.contains("no such tag") && message.contains("imagePullSecrets")
        );
    }
}

#[test]
fn a_pod_that_no_node_takes() {
    let unschedulable = |why: &str| {
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
               "reason": "Unschedulable", "message": why}]})
    };
    let (reason, message) = trouble(&unschedulable("0/3 nodes are available: 3 Insufficient memory."), &[]);
    assert_eq!(reason, Reason::PodUnschedulable);
    assert!(
        message.contains("Insufficient memory")
            && message.contains("resources, nodeSelector or tolerations in spec.runner.podTemplate"),
        "{message}"
    );
}

/// The scheduler's words for it changed with a version of Kubernetes, and it says them also of a node that is only full.
#[test]
fn claims_that_no_node_reaches() {
    let said = |claims: &[&str], why: &str| {
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why});
        let volume = |claim: &&str| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}});
        let volumes: Vec<Value> = claims.iter().map(volume).collect();
        let pod: Pod = from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [], "volumes": volumes},
            "status": {"phase": "Pending", "conditions": [condition]},
        }))
        .unwrap();
        let trouble = facts::pod(&pod, &[], &at(0)).trouble.unwrap();
        (trouble.reason, trouble.message)
    };
    let older = "0/2 nodes are available: 2 node(s) had volume node affinity conflict.";
    let newer = "0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity.";
    for why in [older, newer] {
        let (reason, message) = said(&["dev", "prod"], why);
        assert_eq!(reason, Reason::ClaimsOnDifferentNodes, "{why}");
        assert!(message.contains("put both claims on one node"), "{message}");
        assert_eq!(said(&["dev"], why).0, Reason::PodUnschedulable, "one claim: {why}");
        assert_eq!(said(&["dev", "dev"], why).0, Reason::PodUnschedulable, "one claim, mounted twice: {why}");
        for other in [
            "1 node(s) were unschedulable",
            "1 Insufficient cpu",
            "1 node(s) had untolerated taint(s) {node.kubernetes.io/unreachable: }",
        ] {
            let why = format!("{why}, {other}");
            assert_eq!(said(&["dev", "prod"], &why).0, Reason::PodUnschedulable, "{why}");
        }
        let beside_a_control_plane =
            format!("{why}, 1 node(s) had untolerated taint(s) {{node-role.kubernetes.io/control-plane: }}");
        assert_eq!(said(&["dev", "prod"], &beside_a_control_plane).0, Reason::ClaimsOnDifferentNodes);
    }
}

#[test]
fn a_secret_that_is_not_there_and_other_mounts_that_fail() {
    let status = json!({"phase": "Pending", "initContainerStatuses": [waiting("preflight", "PodInitializing", "")]});
    for why in [
        "MountVolume.SetUp failed for volume \"secret-0\" : secret \"token\" not found",
        "MountVolume.SetUp failed for volume \"secret-0\" : references non-existent secret key: token",
        "MountVolume.SetUp failed for volume \"config-map-0\" : configmap \"ca\" not found",
        "MountVolume.SetUp failed for volume \"config-map-0\" : configmap references non-existent config key: ca.crt",
    ] {
        let (reason, message) = trouble(&status, &[event("FailedMount", why)]);
        assert_eq!(reason, Reason::SecretNotReady, "{message}");
        assert!(message.contains("create it with the key"), "{message}");
    }
    let multi = event("FailedAttachVolume", "Multi-Attach error for volume \"pvc-1\"");
    assert_eq!(trouble(&status, &[multi]).0, Reason::MountFailed);
}

#[test]
fn a_mount_that_failed_once_is_forgotten_when_the_pod_runs() {
    let running = json!({"name": "mover", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                         "state": {"running": {}}});
    let status = json!({"phase": "Running", "containerStatuses": [running]});
    let fact = facts::pod(&pod(&status), &[event("FailedMount", "secret \"token\" not found")], &at(0));
    assert_eq!((fact.trouble, fact.started, fact.speaker), (None, true, Some("mover")));
}

#[test]
fn a_server_that_dies_again_and_again() {
    let server = json!({"name": "chroma", "image": "chromadb/chroma:1.5.9", "imageID": "", "ready": false, "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 101, "message": "line\nthread main panicked"}}});
    let (reason, message) = trouble(&json!({"phase": "Pending", "initContainerStatuses": [server]}), &[]);
    assert_eq!(reason, Reason::ServerCrashLooping);
    assert!(message.contains("4 times, last with exit code 101 (thread main panicked)"), "{message}");
    assert!(message.contains("kubectl logs p -c chroma"), "{message}");
    let layout = json!({"name": "layout", "image": "chromadb/chroma:1.5.9", "imageID": "", "ready": false, "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
    let (reason, message) = trouble(&json!({"phase": "Pending", "initContainerStatuses": [layout]}), &[]);
    assert_eq!(reason, Reason::ServerCrashLooping);
    assert!(message.contains("kubectl logs p -c layout"), "{message}");
}

#[test]
fn a_job_that_may_make_no_pod() {
    let job: Job = from_value(json!({"metadata": {"name": "j"}})).unwrap();
    let quota = event("FailedCreate", "Error creating: pods \"j-x\" is forbidden: exceeded quota: compute");
    let trouble = facts::job(&job, &[quota]).trouble.unwrap();
    assert_eq!(trouble.reason, Reason::NotAdmitted);
    assert!(trouble.message.contains("exceeded quota: compute"), "{}", trouble.message);
}

#[test]
fn a_job_ends_with_its_final_conditions_only() {
    let phase = |conditions: Value| {
        let job: Job = from_value(json!({"metadata": {"name": "j"}, "status": {"conditions": conditions}})).unwrap();
        facts::job(&job, &[]).phase
    };
    assert_eq!(phase(json!([])), JobPhase::Active);
    assert_eq!(phase(json!([{"type": "FailureTarget", "status": "True"}])), JobPhase::Active);
    assert_eq!(
        phase(json!([{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}])),
        JobPhase::Complete
    );
    let failed = json!([{"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}]);
    assert_eq!(phase(failed), JobPhase::Failed("PodFailurePolicy".into()));
}

#[test]
fn the_verdict_is_the_message_of_the_container_that_decided() {
    let ended = |name: &str, code: i32, message: &str| {
        json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
               "state": {"terminated": {"exitCode": code, "message": message}}})
    };
    let good = summary("h", memory_migration_operator::report::Reason::Verified).to_json();
    let refused = summary("h", memory_migration_operator::report::Reason::PreflightRefused).to_json();
    let status = json!({"phase": "Succeeded", "initContainerStatuses": [ended("preflight", 0, "{}"), ended("chroma", 143, "bye")],
                        "containerStatuses": [ended("mover", 0, &good)]});
    let fact = facts::pod(&pod(&status), &[], &at(0));
    assert_eq!((fact.alive, fact.exit, fact.summary.unwrap().to_json()), (false, None, good.clone()));
    let status = json!({"phase": "Failed", "initContainerStatuses": [ended("preflight", 3, &refused)],
                        "containerStatuses": [waiting("mover", "PodInitializing", "")]});
    let fact = facts::pod(&pod(&status), &[], &at(0));
    assert_eq!((fact.exit, fact.speaker), (Some(3), Some("preflight")));
    assert_eq!(fact.summary.unwrap().to_json(), refused);
    let status = json!({"phase": "Failed", "initContainerStatuses": [ended("preflight", 0, "{}"), ended("fill", 3, &refused)],
                        "containerStatuses": [waiting("mover", "PodInitializing", "")]});
    let fact = facts::pod(&pod(&status), &[], &at(0));
    assert_eq!((fact.exit, fact.speaker, fact.summary.unwrap().to_json()), (Some(3), Some("fill"), refused));
    // one that ended well proves nothing
    let status = json!({"phase": "Running", "initContainerStatuses": [ended("fill", 0, &good)],
                        "containerStatuses": [waiting("mover", "PodInitializing", "")]});
    let fact = facts::pod(&pod(&status), &[], &at(0));
    assert_eq!((fact.exit, fact.summary), (None, None));
    let status = json!({"phase": "Failed", "containerStatuses": [ended("mover", 4, "Error: injected text")]});
    assert_eq!(facts::pod(&pod(&status), &[], &at(0)).summary, None);
}

#[test]
fn a_claim_is_known_by_its_modes_and_may_wait_for_its_first_consumer() {
    let claim = |modes: &[&str]| -> PersistentVolumeClaim {
        from_value(json!({"metadata": {"name": "c", "uid": "u"}, "spec": {"accessModes": modes}, "status": {"phase": "Pending"}})).unwrap()
    };
    let found = |one_node, one_pod| Endpoint::Found { uid: "u".into(), one_node, one_pod };
    assert_eq!(facts::claim("c", Some(&claim(&["ReadWriteOnce"]))), found(true, false));
    assert_eq!(facts::claim("c", Some(&claim(&["ReadWriteMany"]))), found(false, false));
    assert_eq!(facts::claim("c", Some(&claim(&["ReadWriteOncePod"]))), found(false, true));
    assert!(
        matches!(facts::claim("c", None), Endpoint::Missing(text) if text.contains("create it, or correct claimName"))
    );
    let mut going = claim(&["ReadWriteOnce"]);
    going.metadata.deletion_timestamp = Some(at(0));
    assert!(matches!(facts::claim("c", Some(&going)), Endpoint::Missing(text) if text.contains("being deleted")));
}

#[test]
fn the_users_of_a_claim_are_known_with_their_ids() {
    let user: Pod = from_value(json!({
        "metadata": {"name": "chroma-0"},
        "spec": {"nodeName": "n1", "securityContext": {"fsGroup": 7, "runAsUser": 1},
                 "containers": [{"name": "c", "securityContext": {"runAsUser": 5}, "volumeMounts": [{"name": "v", "mountPath": "/d"}]}],
                 "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "prod"}},
                             {"name": "w", "persistentVolumeClaim": {"claimName": "other"}}]},
        "status": {"phase": "Pending"}
    }))
    .unwrap();
    let users = facts::users(&user, &["prod", "dev"]);
    assert_eq!(users.len(), 1);
    assert_eq!((users[0].claim.as_str(), users[0].node.as_deref(), users[0].running), ("prod", Some("n1"), false));
    assert_eq!((users[0].ids.user, users[0].ids.fs_group), (Some(5), Some(7)));
}

#[test]
fn a_log_is_read_for_its_last_progress_and_its_collections() {
    let progress =
        |records| Line::Progress(Progress { stage: Stage::Copying, records, total: 9, ..Progress::default() });
    let report =
        |name: &str| memory_migration_operator::report::CollectionReport { name: name.into(), ..Default::default() };
    let collection = |number, name| Line::Collection { number, of: 3, report: report(name).into() };
    let lines = [progress(1), progress(2), collection(1, "a"), collection(2, "b")];
    let mut text = "not ours\n{\"level\":\"INFO\"}\n".to_owned();
    for line in lines {
        text += &serde_json::to_string(&line).unwrap();
        text.push('\n');
    }
    let fact = facts::log(&text);
    assert_eq!((fact.progress.unwrap().records, fact.collections.len(), fact.of), (2, 2, 3));
}

/// Names alone: a UID cannot always be read, and the same target under two names would have two writers.
#[test]
fn one_lock_for_one_target_whatever_way_it_is_written() {
    let name = |target: &str| {
        let migration = object("{local: {claimName: dev}}", target, "");
        lock::of_target(&migration.spec, "team").unwrap()
    };
    assert_eq!(name("{remote: {url: \"http://Chroma\"}}"), name("{remote: {url: \"http://chroma:80/\"}}"));
    assert_eq!(name("{remote: {service: {name: c}}}"), name("{remote: {service: {name: c, namespace: team}}}"));
    assert_ne!(name("{remote: {service: {name: c}}}"), name("{remote: {service: {name: c}, database: other}}"));
    assert_ne!(name("{remote: {service: {name: c}}}"), name("{remote: {service: {name: c, port: 1}}}"));
    // A claim is written by one pod at a time, whatever its folder.
    assert_eq!(name("{local: {claimName: a, path: x}}"), name("{local: {claimName: a, path: y}}"));
    assert_ne!(name("{local: {claimName: a}}"), name("{local: {claimName: b}}"));
    // A change of this is a second lock for every target, beside those that an older version holds.
    assert_eq!(name("{local: {claimName: a}}"), "memory-migration-target-245bd91ce7f7ad4c");
    assert_eq!(name("{remote: {service: {name: c}}}"), "memory-migration-target-b83aa6df10bdb90d");
}

#[test]
fn whoever_reads_another_folder_of_a_claim_need_not_wait() {
    let waits = |written: &str, read: &str| {
        let target = format!("{{local: {{claimName: a, path: {written:?}}}}}");
        let writer = object("{remote: {service: {name: c}}}", &target, "");
        let reader =
            object(&format!("{{local: {{claimName: a, path: {read:?}}}}}"), "{remote: {service: {name: c}}}", "");
        let names = (lock::of_target(&writer.spec, "team"), lock::of_source(&reader.spec, "team"));
        assert_eq!(names.0, names.1);
        lock::covers_source(&lock::lease(&writer, "x"), &reader.spec)
    };
    assert!(waits("a", "a") && waits("a", "a/b") && waits("a/b", "a/") && waits("", "a") && waits("./a", ""));
    assert!(!waits("a", "b") && !waits("a/b", "a/c") && !waits("ab", "a"));
    let server = object("{local: {claimName: dev}}", "{remote: {service: {name: c}}}", "");
    let reader = object("{remote: {service: {name: c}}}", "{local: {claimName: dev}}", "");
    assert!(lock::covers_source(&lock::lease(&server, "x"), &reader.spec));
}

#[test]
fn a_lock_names_its_holder_and_its_kind() {
    let migration = object("{local: {claimName: dev}}", "{remote: {service: {name: c}}}", "");
    let mut lease = lock::lease(&migration, "x");
    let holder = lock::holder(&lease);
    assert_eq!((holder.uid.as_str(), holder.namespace.as_str(), holder.name.as_str()), (UID, "team", "move"));
    assert_eq!(holder.kind, "MemoryMigration");
    let annotations = lease.metadata.annotations.as_mut().unwrap();
    assert_eq!(annotations["memory-migration.dev/target"], "server team/c:8000 default_tenant default_database");
    annotations.remove("memory-migration.dev/holder-kind");
    assert_eq!(lock::holder(&lease).kind, "MemoryMigration", "made by an older version");
}

#[test]
fn a_log_says_when_its_lines_were_written() {
    let progress = Line::Progress(Progress { stage: Stage::Copying, records: 1, total: 9, ..Progress::default() });
    let text = format!(
        "2026-11-24T10:00:00.5Z {}\n2026-11-24T10:00:31.123456789Z not ours\n",
        serde_json::to_string(&progress).unwrap()
    );
    let fact = facts::log(&text);
    assert_eq!(fact.last_line.unwrap() - fact.said_at.unwrap(), 31);
    assert_eq!(fact.progress.unwrap().records, 1);
    assert_eq!((facts::log("").last_line, facts::log("no time\n").last_line), (None, None));
}

/// The pod may be gone, and the Job's condition still knows the code.
#[test]
fn a_job_knows_the_exit_code_that_ended_it() {
    let message = "Container preflight for pod team/move-x failed with exit code 7 matching FailJob rule at index 0";
    let job = |reason: &str, message: &str| -> Job {
        let failed = json!({"type": "Failed", "status": "True", "reason": reason, "message": message});
        from_value(json!({"metadata": {"name": "j"}, "status": {"conditions": [failed]}})).unwrap()
    };
    assert_eq!(facts::job(&job("PodFailurePolicy", message), &[]).exit, Some(7));
    assert_eq!(facts::job(&job("BackoffLimitExceeded", message), &[]).exit, None);
    assert_eq!(facts::job(&job("PodFailurePolicy", "other words"), &[]).exit, None);
}
