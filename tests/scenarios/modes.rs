//! What `mode: Verify` does in a cluster, what is said before records are overwritten, and the order in which a pod template
//! is merged.

use memory_migration_operator::api::conditions::Reason;
use memory_migration_operator::api::{Mode, OnConflict, parse_pod_template};
use memory_migration_operator::controller::build::{Input, job};
use memory_migration_operator::controller::observe::facts;
use memory_migration_operator::controller::observe::world::Lock;
use memory_migration_operator::report::{self, Line, Progress, Stage};

use super::fixtures::*;

fn verifying(case: Case) -> Case {
    case.edit(|m| m.spec.mode = Mode::Verify)
}

#[test]
fn a_verification_writes_nothing_and_mounts_nothing_writable() {
    let plan = verifying(Case::to_claim()).plan();
    assert!(plan.take_lock().is_none());
    let pod = plan.create().unwrap().spec.unwrap();
    assert_eq!(pod.pod_failure_policy.unwrap().rules.len(), 2, "a rule must not name a container that is not there");
    let pod = pod.template.spec.unwrap();
    assert_eq!(pod.init_containers.unwrap(), Vec::new());
    let [mover] = &pod.containers[..] else { panic!("{:?}", pod.containers) };
    assert!(!mover.args.clone().unwrap().join(" ").contains("--writer-url"));
    for volume in pod.volumes.unwrap() {
        let claim = volume.persistent_volume_claim;
        assert!(claim.is_none_or(|claim| claim.read_only == Some(true)), "{}", volume.name);
    }
    for mount in mover.volume_mounts.clone().unwrap() {
        assert!(mount.mount_path == "/tmp" || mount.read_only == Some(true), "{}", mount.mount_path);
    }
}

/// Its server may go on: the files are read beside it.
#[test]
fn a_verification_goes_where_its_target_is_in_use() {
    assert!(verifying(Case::to_claim()).used_by("chroma-0", "prod").plan().create().is_some());
}

#[test]
fn a_verification_waits_for_whoever_writes_its_target_and_breaks_no_lock() {
    let theirs = || Lock::Theirs { holder: "MemoryMigration team/other".into() };
    for case in [Case::to_claim(), Case::to_server()] {
        let plan = verifying(case.clone()).see(|o| o.lock = theirs()).plan();
        assert_eq!(reason(&plan), Reason::TargetBusy);
        assert!(plan.create().is_none() && plan.take_lock().is_none());
        let plan = verifying(case.clone()).running().see(|o| o.lock = theirs()).plan();
        assert_eq!((reason(&plan), plan.delete().len()), (Reason::TargetBusy, 1), "what it reads is about to change");
        let plan = verifying(case).see(|o| o.lock = Lock::Stale { uid: "lease".into() }).plan();
        assert!(plan.break_lock().is_none() && plan.create().is_some());
    }
}

#[test]
fn a_verification_has_sentences_of_its_own_and_is_a_success() {
    let case = verifying(Case::to_server()).running();
    assert!(
        message(&case.plan()).contains("reading source and target, and writing nothing"),
        "{}",
        message(&case.plan())
    );
    let case = case.at_stage(Stage::Verifying, 5, 10);
    assert!(message(&case.plan()).contains("comparing every record, and writing nothing"));
    let status = case.succeeded(report::Reason::Verified).plan().status().unwrap();
    assert_eq!(reason_of(&status), Reason::Verified);
    assert!(status.last_success.is_some());
}

fn with_log(case: Case, lines: &[Line]) -> Case {
    let text: String = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    case.see(|o| o.log = Some(facts::log(&text)))
}

#[test]
fn records_that_will_be_overwritten_are_a_warning_in_time_and_said_once() {
    let begun = Line::Progress(Progress { stage: Stage::Preflight, ..Progress::default() });
    let told = Line::Overwrites { records: 7, seconds: 30 };
    let case = Case::to_server().edit(|m| m.spec.on_conflict = OnConflict::Overwrite).running().done();
    let case = with_log(case, &[begun, told.clone()]);
    let plan = case.plan();
    let words = "7 records of the target will be replaced";
    assert_eq!(reason(&plan), Reason::Preflight);
    assert!(message(&plan).starts_with(words) && message(&plan).contains("spec.suspend"), "{}", message(&plan));
    assert_eq!(plan.status().unwrap().overwrites, Some(7));
    let notice = plan.notices().into_iter().find(|notice| notice.reason == "OverwritesAhead").unwrap();
    assert!(notice.warning && notice.note.starts_with(words), "{notice:?}");
    let later = case.done().at_stage(Stage::Copying, 1, 10);
    assert!(later.plan().notices().iter().all(|notice| notice.reason != "OverwritesAhead"));
    assert_eq!(later.clone().done().migration.status.unwrap().overwrites, Some(7), "the tail of the log may lack it");
    // Suspended in time: the runner goes, and nothing was replaced.
    assert_eq!(later.edit(|m| m.spec.suspend = true).plan().delete().len(), 1);
}

#[test]
fn the_charts_template_comes_first_then_the_migrations_then_the_operators() {
    let mut settings = settings();
    let chart = r#"{"metadata": {"labels": {"team": "ops", "memory-migration.dev/uid": "forged"}}, "spec": {
        "nodeSelector": {"disk": "hdd"}, "priorityClassName": "low", "runtimeClassName": "gvisor",
        "tolerations": [{"key": "batch", "operator": "Exists"}], "securityContext": {"runAsUser": 7, "fsGroup": 7},
        "containers": [{"name": "mover", "resources": {"limits": {"memory": "4Gi"}}, "env": [{"name": "A", "value": "1"},
        {"name": "B", "value": "1"}]}, {"name": "chroma", "resources": {"requests": {"cpu": "2"}}}]}}"#;
    settings.pod_template = parse_pod_template(chart).unwrap();
    let mut case = Case::to_claim();
    let own = r#"{"metadata": {"labels": {"net": "open"}}, "spec": {"priorityClassName": "high", "hostAliases":
        [{"ip": "10.0.0.1", "hostnames": ["chroma"]}], "securityContext": {"runAsUser": 8}, "containers": [{"name": "mover",
        "resources": {"requests": {"memory": "1Gi"}}, "env": [{"name": "B", "value": "2"}]}]}}"#;
    case.migration.spec.runner.pod_template = parse_pod_template(own).unwrap();
    let input = Input::default();
    let job = job::build(&case.migration, &settings, &input).unwrap();
    let template = job.spec.unwrap().template;
    let labels = template.metadata.unwrap().labels.unwrap();
    assert_eq!(["team", "net", "memory-migration.dev/uid"].map(|label| labels[label].as_str()), ["ops", "open", UID]);
    let pod = template.spec.unwrap();
    let names = (pod.priority_class_name.as_deref(), pod.runtime_class_name.as_deref());
    assert_eq!(names, (Some("high"), Some("gvisor")));
    assert_eq!(pod.node_selector.unwrap()["disk"], "hdd");
    assert_eq!(pod.tolerations.unwrap()[0].key.as_deref(), Some("batch"));
    assert_eq!(pod.host_aliases.unwrap()[0].ip, "10.0.0.1");
    let context = pod.security_context.unwrap();
    assert_eq!((context.run_as_user, context.fs_group, context.run_as_non_root), (Some(8), Some(7), Some(true)));
    let mover = &pod.containers[0];
    let resources = mover.resources.clone().unwrap();
    assert_eq!(resources.limits.unwrap()["memory"].0, "4Gi");
    let requests = resources.requests.unwrap();
    assert_eq!((requests["memory"].0.as_str(), requests["cpu"].0.as_str()), ("1Gi", "100m"));
    let env: Vec<_> = mover.env.clone().unwrap().into_iter().map(|v| (v.name, v.value.unwrap_or_default())).collect();
    let pairs: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("A", "1"), ("B", "2"), ("TMPDIR", "/tmp")]);
    let server = pod.init_containers.unwrap().into_iter().find(|c| c.name == "chroma").unwrap();
    assert_eq!(server.resources.unwrap().requests.unwrap()["cpu"].0, "2");
    for (wrong, why) in [
        ("{", "it is no JSON"),
        (r#"{"spec": {"volumes": []}}"#, "podTemplate.spec.volumes: unknown field"),
        (
            r#"{"spec": {"containers": [{"name": "mover", "image": "x"}]}}"#,
            "podTemplate.spec.containers[0].image: unknown",
        ),
    ] {
        let said = parse_pod_template(wrong).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
}
