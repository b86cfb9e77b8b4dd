//! The Job that a plan makes, field by field where a mistake would cost data or be refused by a cluster.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use memory_migration_operator::api::{Fill, MemoryMigration, Mode, VerificationMode, parse_manifest};
use memory_migration_operator::controller::build::{ANNOTATION_LISTED, ANNOTATION_MANIFEST, Input, job};
use memory_migration_operator::controller::observe::world::{Ids, LogFact, UserFact};
use memory_migration_operator::controller::{Platform, Settings};

use memory_migration_operator::report::{Listed, ListedCollection};

use super::fixtures::*;

pub(super) fn made(case: &Case) -> Job {
    case.plan().create().expect("the plan must create a Job")
}

fn pod(case: &Case) -> PodSpec {
    made(case).spec.unwrap().template.spec.unwrap()
}

pub(super) fn container(pod: &PodSpec, name: &str) -> Container {
    let mut all = pod.init_containers.iter().flatten().chain(&pod.containers);
    all.find(|c| c.name == name).unwrap_or_else(|| panic!("no container {name}")).clone()
}

fn names(pod: &PodSpec) -> Vec<String> {
    pod.init_containers.iter().flatten().chain(&pod.containers).map(|c| c.name.clone()).collect()
}

fn volume(pod: &PodSpec, name: &str) -> Volume {
    pod.volumes.iter().flatten().find(|v| v.name == name).unwrap_or_else(|| panic!("no volume {name}")).clone()
}

pub(super) fn args(container: &Container) -> String {
    container.args.clone().unwrap().join(" ")
}

fn read_only_at(container: &Container, path: &str) -> Option<bool> {
    container.volume_mounts.iter().flatten().find(|m| m.mount_path == path).map(|m| m.read_only == Some(true))
}

#[test]
fn a_server_is_written_by_preflight_and_mover_alone() {
    let case = Case::to_server();
    let pod = pod(&case);
    assert_eq!(names(&pod), ["preflight", "mover"]);
    let hash = case.hash();
    let common = format!(
        "run -f /etc/memory-migration/migration.yaml --run-hash {hash} --termination-log /dev/termination-log \
         --wait-exit --log-format json --one-store unknown --volume dev=/volumes/source"
    );
    assert_eq!(args(&container(&pod, "preflight")), format!("{common} --preflight-only"));
    assert_eq!(args(&container(&pod, "mover")), common);
    assert_eq!(container(&pod, "mover").image.as_deref(), Some("memory-migration:1"));
}

#[test]
fn a_claim_is_written_by_a_chroma_server_that_starts_after_preflight() {
    let pod = pod(&Case::to_claim());
    assert_eq!(names(&pod), ["preflight", "chroma", "mover"]);
    let server = container(&pod, "chroma");
    assert_eq!(server.restart_policy.as_deref(), Some("Always"));
    assert_eq!(args(&server), "run --host 127.0.0.1 --port 8000 --path /volumes/target/chroma_db");
    assert_eq!(server.image.as_deref(), Some("chromadb/chroma:1.5.9"));
    assert!(
        args(&container(&pod, "mover")).ends_with("--volume prod=/volumes/target --writer-url http://127.0.0.1:8000")
    );
    assert_eq!(read_only_at(&server, "/volumes/target"), Some(false));
    assert_eq!(read_only_at(&container(&pod, "mover"), "/volumes/target"), Some(true));
    assert_eq!(read_only_at(&container(&pod, "preflight"), "/volumes/target"), Some(true));
    assert_eq!(volume(&pod, "target").persistent_volume_claim.unwrap().read_only, None);
}

fn filled(path: &str) -> Case {
    Case::to_claim().edit(|m| {
        let local = m.spec.target.local.as_mut().unwrap();
        (local.fill, local.path) = (Fill::Files, path.to_owned());
    })
}

#[test]
fn a_claim_is_filled_between_preflight_and_its_server() {
    let pod = pod(&filled("chroma_db"));
    assert_eq!(names(&pod), ["preflight", "layout", "fill", "chroma", "mover"]);
    let layout = container(&pod, "layout");
    assert_eq!(layout.restart_policy.as_deref(), Some("Always"));
    assert_eq!(args(&layout), "run --host 127.0.0.1 --port 8001 --path /tmp/store");
    assert_eq!(layout.image, container(&pod, "chroma").image);
    let mounts = |of: &Container| -> Vec<(String, String)> {
        of.volume_mounts.iter().flatten().map(|m| (m.name.clone(), m.mount_path.clone())).collect()
    };
    assert_eq!(mounts(&layout), [("layout".to_owned(), "/tmp".to_owned())], "scratch space, and no claim");
    let (fill, mover) = (container(&pod, "fill"), container(&pod, "mover"));
    let own = " --writer-url http://127.0.0.1:8000";
    let handover = " --handover /tmp/handover";
    let common = args(&mover).strip_suffix(handover).unwrap().strip_suffix(own).unwrap().to_owned();
    let layout = " --layout-url http://127.0.0.1:8001 --layout-dir /layout/store --writer-memory $(WRITER_MEMORY)";
    assert_eq!(args(&fill), format!("{common}{layout}{handover}"));
    let memory = fill.env.iter().flatten().find(|v| v.name == "WRITER_MEMORY").unwrap().value_from.clone().unwrap();
    let memory = memory.resource_field_ref.unwrap();
    assert_eq!((memory.container_name.as_deref(), &*memory.resource), (Some("chroma"), "limits.memory"));
    for (name, read_only) in [("preflight", true), ("fill", false), ("chroma", false), ("mover", false)] {
        assert_eq!(read_only_at(&container(&pod, name), "/volumes/target"), Some(read_only), "{name}");
    }
    assert_eq!(read_only_at(&fill, "/layout"), Some(false));
    assert!(
        mounts(&fill).contains(&("scratch".to_owned(), "/tmp".to_owned()))
            && mounts(&mover).contains(&("scratch".to_owned(), "/tmp".to_owned()))
    );
    assert_eq!(volume(&pod, "layout").empty_dir.unwrap().size_limit.unwrap().0, "1Gi");
}

/// Without a fill the pod is as ever: what a fill adds is all that differs.
#[test]
fn a_fill_adds_two_containers_and_changes_no_other() {
    let mut files = pod(&filled("chroma_db"));
    files.init_containers.as_mut().unwrap().retain(|c| !["layout", "fill"].contains(&c.name.as_str()));
    files.volumes.as_mut().unwrap().retain(|volume| volume.name != "layout");
    let mover = &mut files.containers[0];
    let args = mover.args.as_mut().unwrap();
    assert_eq!(args.split_off(args.len() - 2), ["--handover", "/tmp/handover"]);
    mover.volume_mounts.as_mut().unwrap().iter_mut().find(|m| m.name == "target").unwrap().read_only = Some(true);
    assert_eq!(files, pod(&Case::to_claim()));
}

#[test]
fn a_pod_fills_only_where_a_fill_is_possible_and_something_is_written() {
    type Row = (&'static str, fn(&mut MemoryMigration), &'static [&'static str]);
    let edits: [Row; 4] = [
        (
            "the claim's root",
            |m| m.spec.target.local.as_mut().unwrap().path = "./".into(),
            &["preflight", "chroma", "mover"],
        ),
        ("a dry run", |m| m.spec.dry_run = true, &["mover"]),
        ("a comparison", |m| m.spec.mode = Mode::Verify, &["mover"]),
        ("counts alone", |m| m.spec.verification.mode = VerificationMode::Counts, &["preflight", "chroma", "mover"]),
    ];
    for (what, edit, expected) in edits {
        let case = filled("chroma_db").edit(edit);
        let job = job::build(&case.migration, &settings(), &Input { hash: "h".into(), attempt: 1, ..Input::default() });
        let spec = job.unwrap().spec.unwrap();
        let pod = spec.template.spec.unwrap();
        assert_eq!(names(&pod), expected, "{what}");
        assert!(!args(&container(&pod, "mover")).contains("--handover"), "{what}");
        assert!(pod.volumes.iter().flatten().all(|volume| volume.name != "layout"), "{what}");
        let rules = spec.pod_failure_policy.unwrap().rules;
        assert!(
            rules.iter().filter_map(|r| r.on_exit_codes.as_ref()?.container_name.as_deref()).all(|c| c != "fill"),
            "{what}"
        );
    }
}

#[test]
fn what_is_said_of_mover_and_chroma_goes_for_fill_and_layout_too() {
    let more = "  runner:\n    podTemplate:\n      spec:\n        containers:\n        - {name: mover, env: [{name: \
                HTTPS_PROXY, value: p}]}\n        - {name: chroma, resources: {limits: {memory: 4Gi}}}\n";
    let source = "{remote: {service: {name: chroma}}}";
    let target = "{local: {claimName: prod, path: chroma_db, fill: Files}}";
    let pod = pod(&Case::of(object(source, target, more)));
    assert!(container(&pod, "fill").env.unwrap().iter().any(|v| v.name == "HTTPS_PROXY"));
    assert_eq!(container(&pod, "layout").resources.unwrap().limits.unwrap()["memory"].0, "4Gi");
}

#[test]
fn a_source_claim_is_read_only_at_the_claim_and_at_the_mount() {
    let pod = pod(&Case::to_server());
    assert_eq!(volume(&pod, "source").persistent_volume_claim.unwrap().read_only, Some(true));
    for name in ["preflight", "mover"] {
        assert_eq!(read_only_at(&container(&pod, name), "/volumes/source"), Some(true), "{name}");
    }
}

#[test]
fn a_dry_run_writes_nothing_and_needs_no_server() {
    let pod = pod(&Case::to_claim().edit(|m| m.spec.dry_run = true));
    assert_eq!(names(&pod), ["mover"]);
    assert!(!args(&container(&pod, "mover")).contains("--writer-url"));
    assert_eq!(volume(&pod, "target").persistent_volume_claim.unwrap().read_only, Some(true));
    let policy = made(&Case::to_claim().edit(|m| m.spec.dry_run = true)).spec.unwrap().pod_failure_policy.unwrap();
    assert_eq!(policy.rules.len(), 2, "a rule must not name a container that is not there");
}

/// Some kubelets wait forever for a claim that one pod mounts under two names.
#[test]
fn two_stores_on_one_claim_mount_it_once() {
    let source = "{local: {claimName: both, path: old}}";
    let target = "{local: {claimName: both, path: new}}";
    let pod = pod(&Case::of(object(source, target, "")));
    let claims = pod.volumes.iter().flatten().filter(|v| v.persistent_volume_claim.is_some()).count();
    assert_eq!(claims, 1);
    assert!(args(&container(&pod, "mover")).contains("--volume both=/volumes/target --writer-url"));
}

#[test]
fn every_container_is_at_the_restricted_level() {
    for case in [Case::to_server(), Case::to_claim(), filled("chroma_db")] {
        let pod = pod(&case);
        let context = pod.security_context.clone().unwrap();
        assert_eq!((context.run_as_non_root, context.run_as_user), (Some(true), Some(65532)));
        assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
        assert_eq!(context.fs_group_change_policy.as_deref(), Some("OnRootMismatch"));
        assert_eq!(pod.automount_service_account_token, Some(false));
        for name in names(&pod) {
            let container = container(&pod, &name);
            let context = container.security_context.unwrap();
            assert_eq!(context.allow_privilege_escalation, Some(false), "{name}");
            assert_eq!(context.read_only_root_filesystem, Some(true), "{name}");
            assert_eq!(context.capabilities.unwrap().drop, Some(vec!["ALL".to_owned()]), "{name}");
            let resources = container.resources.unwrap();
            assert_eq!(resources.limits.unwrap()["memory"].0, "2Gi", "{name}");
            assert!(resources.requests.unwrap().contains_key("cpu"), "{name}");
        }
    }
}

#[test]
fn scratch_space_has_a_limit() {
    let pod = pod(&Case::to_claim());
    for (name, limit) in [("scratch", "10Gi"), ("server-scratch", "1Gi")] {
        assert_eq!(volume(&pod, name).empty_dir.unwrap().size_limit.unwrap().0, limit);
    }
}

#[test]
fn the_ids_are_those_of_the_pod_on_the_claim_but_never_root() {
    let used_as = |user| UserFact {
        claim: "dev".into(),
        running: true,
        ids: Ids { user: Some(user), group: Some(user), fs_group: Some(3000), ..Ids::default() },
        ..UserFact::default()
    };
    let ids = |user| {
        let context = pod(&Case::to_server().see(|o| o.users.push(used_as(user)))).security_context.unwrap();
        (context.run_as_user, context.run_as_group, context.fs_group)
    };
    assert_eq!(ids(1000), (Some(1000), Some(1000), Some(3000)));
    assert_eq!(ids(0), (Some(65532), Some(65532), Some(3000)));
}

#[test]
fn openshift_gives_the_ids_itself() {
    let case = Case::to_server();
    let settings = Settings { platform: Platform::OpenShift, ..settings() };
    let job =
        job::build(&case.migration, &settings, &Input { hash: case.hash(), attempt: 1, ..Input::default() }).unwrap();
    let context = job.spec.unwrap().template.spec.unwrap().security_context.unwrap();
    assert_eq!((context.run_as_user, context.run_as_group, context.fs_group), (None, None, None));
    assert_eq!(context.run_as_non_root, Some(true));
}

#[test]
fn what_a_rerun_cannot_mend_fails_the_job_at_once() {
    let spec = made(&Case::to_claim()).spec.unwrap();
    let rules = spec.pod_failure_policy.unwrap().rules;
    let codes: Vec<(String, Vec<i32>)> = rules
        .iter()
        .filter_map(|r| r.on_exit_codes.clone())
        .map(|codes| (codes.container_name.unwrap(), codes.values))
        .collect();
    assert_eq!(codes, [("preflight".to_owned(), vec![2, 3, 5, 6, 7]), ("mover".to_owned(), vec![2, 3, 5, 6, 7])]);
    let of_fill = made(&filled("chroma_db")).spec.unwrap().pod_failure_policy.unwrap().rules;
    let containers: Vec<_> = of_fill.iter().filter_map(|r| r.on_exit_codes.clone()?.container_name).collect();
    assert_eq!(containers, ["preflight", "fill", "mover"]);
    let ignored = rules.iter().find(|r| r.action == "Ignore").unwrap().on_pod_conditions.clone().unwrap();
    assert_eq!((ignored[0].type_.as_str(), ignored[0].status.as_str()), ("DisruptionTarget", "True"));
    assert_eq!(spec.pod_replacement_policy.as_deref(), Some("Failed"));
    assert_eq!((spec.backoff_limit, spec.ttl_seconds_after_finished), (Some(6), None));
    let pod = spec.template.spec.unwrap();
    assert_eq!((pod.restart_policy.as_deref(), pod.termination_grace_period_seconds), (Some("Never"), Some(120)));
}

#[test]
fn secrets_are_files_and_each_is_mounted_once() {
    let auth = "{header: {name: X-Chroma-Token, secretKeyRef: {name: token, key: t}}}";
    let source = format!(
        "{{remote: {{url: \"https://a\", auth: {auth}, tls: {{ca: {{secretKeyRef: {{name: ca, key: ca.crt}}}}}}}}}}"
    );
    let target = format!("{{remote: {{url: \"https://b\", auth: {auth}}}}}");
    let pod = pod(&Case::of(object(&source, &target, "")));
    for name in ["preflight", "mover"] {
        let container = container(&pod, name);
        assert!(args(&container).contains("--secrets-dir /secrets"), "{name}");
        assert_eq!(read_only_at(&container, "/secrets/token"), Some(true));
        assert_eq!(read_only_at(&container, "/secrets/ca"), Some(true));
    }
    let mounted: Vec<_> = pod.volumes.iter().flatten().filter_map(|v| v.secret.clone()?.secret_name).collect();
    assert_eq!(mounted, ["ca", "token"]);
}

#[test]
fn a_config_map_and_a_client_certificate_are_mounted_by_their_keys() {
    let tls =
        "{ca: {configMapKeyRef: {name: ca, key: root.pem}}, serverName: chroma, clientCertificate: {secretName: tls}}";
    let target = format!("{{remote: {{url: \"https://a\", tls: {tls}}}}}");
    let pod = pod(&Case::of(object("{local: {claimName: dev}}", &target, "")));
    let config_map = volume(&pod, "config-map-0").config_map.unwrap();
    assert_eq!((config_map.name.as_str(), config_map.items.unwrap()[0].key.as_str()), ("ca", "root.pem"));
    let keys: Vec<_> = volume(&pod, "secret-0").secret.unwrap().items.unwrap().into_iter().map(|i| i.key).collect();
    assert_eq!(keys, ["tls.crt", "tls.key"]);
    for name in names(&pod) {
        let container = container(&pod, &name);
        assert!(args(&container).contains("--secrets-dir /secrets --config-maps-dir /config-maps"), "{name}");
        assert_eq!(read_only_at(&container, "/config-maps/ca"), Some(true));
    }
}

#[test]
fn the_manifest_in_the_pod_is_one_that_run_reads() {
    let case = Case::to_claim().edit(|m| m.spec.runner.pod_template.spec.priority_class_name = Some("high".into()));
    let template = made(&case).spec.unwrap().template;
    let text = template.metadata.unwrap().annotations.unwrap()[ANNOTATION_MANIFEST].clone();
    let migration = parse_manifest(&text).unwrap();
    let service = migration.spec.source.remote.unwrap().service.unwrap();
    assert_eq!(
        service.namespace.as_deref(),
        Some("team"),
        "outside a cluster's search path a name needs its namespace"
    );
    assert_eq!(migration.spec.runner, memory_migration_operator::api::Runner::default());
    // The operator's own: preflight judges by it what the server will make of the store.
    assert_eq!(migration.spec.target.local.unwrap().image.as_deref(), Some("chromadb/chroma:1.5.9"));
    let files = volume(&template.spec.unwrap(), "manifest").downward_api.unwrap().items.unwrap();
    let field = files[0].field_ref.clone().unwrap().field_path;
    assert_eq!(
        (files[0].path.as_str(), field.as_str()),
        ("migration.yaml", "metadata.annotations['memory-migration.dev/manifest']")
    );
}

/// A finished run would run again, and a Job that runs would not be known, after an upgrade that changes its name.
#[test]
fn the_jobs_name_is_the_same_in_every_version() {
    assert_eq!(job::name("move", UID, "560504a9813b37c4", 1), "move-ecbe5e87");
    assert_eq!(job::name("move", UID, "560504a9813b37c4", 12), "move-6a5e9bae");
    assert_eq!(
        job::name(&"a.b-".repeat(40), UID, "560504a9813b37c4", 1),
        "a-b-a-b-a-b-a-b-a-b-a-b-a-b-a-b-a-b-a-b-a-b-a-b-a-ecbe5e87"
    );
}

#[test]
fn what_an_earlier_attempt_listed_is_a_file_of_the_next_pod() {
    let listed =
        Listed { collections: vec![ListedCollection { id: "3f".into(), records: 7 }], records: 7, digest: "d".into() };
    let first = made(&Case::to_server()).spec.unwrap().template;
    assert!(!first.metadata.unwrap().annotations.unwrap().contains_key(ANNOTATION_LISTED));
    assert!(!args(&container(&first.spec.unwrap(), "mover")).contains("--listed"));
    let case = Case::to_server().started().see(|o| {
        o.log = Some(LogFact { listed: Some(listed.clone()), ..LogFact::default() });
    });
    // The process may die between any two writes: the status holds it before the Job is gone.
    let case = case.done().see(|o| (o.log, o.jobs) = (None, vec![]));
    let template = made(&case).spec.unwrap().template;
    let text = template.metadata.clone().unwrap().annotations.unwrap()[ANNOTATION_LISTED].clone();
    assert_eq!(serde_json::from_str::<Listed>(&text).unwrap(), listed);
    let pod = template.spec.unwrap();
    for name in ["preflight", "mover"] {
        assert!(args(&container(&pod, name)).contains("--listed /etc/memory-migration/listed.json"), "{name}");
    }
    let files = volume(&pod, "manifest").downward_api.unwrap().items.unwrap();
    let field = files[1].field_ref.clone().unwrap().field_path;
    assert_eq!(
        (files[1].path.as_str(), &*field),
        ("listed.json", "metadata.annotations['memory-migration.dev/listed']")
    );
    let another = case.edit(|m| m.spec.run_id = "2".into());
    let template = made(&another).spec.unwrap().template;
    assert!(!template.metadata.unwrap().annotations.unwrap().contains_key(ANNOTATION_LISTED), "another run forgets it");
}

#[test]
fn names_too_long_for_a_job_are_cut_and_stay_apart() {
    let long = "a".repeat(253);
    let names = [
        job::name(&long, UID, "h", 1),
        job::name(&long, UID, "h", 2),
        job::name(&long, UID, "i", 1),
        job::name(&long, "other", "h", 1),
    ];
    for (n, name) in names.iter().enumerate() {
        assert!(name.len() <= 63, "{name}");
        assert!(!names[..n].contains(name));
    }
    assert_eq!(job::name("prod.memories.", UID, "h", 1).split_at(14).0, "prod-memories-");
}

#[test]
fn labels_owner_and_the_users_own_additions() {
    let case = Case::to_server().edit(|m| {
        let (pod, job) = (&mut m.spec.runner.pod_template.metadata.labels, &mut m.spec.runner.job_labels);
        pod.insert("net".into(), "open".into());
        job.insert("kueue.x-k8s.io/queue-name".into(), "batch".into());
        for labels in [pod, job] {
            labels.insert("memory-migration.dev/uid".into(), "forged".into());
        }
    });
    let job = made(&case);
    let labels = job.metadata.labels.clone().unwrap();
    assert_eq!(
        (labels["memory-migration.dev/uid"].as_str(), labels["memory-migration.dev/run"].as_str()),
        (UID, &*case.hash())
    );
    assert_eq!(labels["kueue.x-k8s.io/queue-name"], "batch");
    let owner = &job.metadata.owner_references.clone().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str(), owner.controller), ("MemoryMigration", UID, Some(true)));
    let pod = job.spec.unwrap().template.metadata.unwrap().labels.unwrap();
    assert!(!pod.contains_key("kueue.x-k8s.io/queue-name"));
    assert_eq!((pod["net"].as_str(), pod["memory-migration.dev/uid"].as_str()), ("open", UID));
}

#[test]
fn runner_overrides_are_applied() {
    let more = "  runner:\n    podTemplate:\n      metadata: {annotations: {a: b}}\n      spec:\n        \
                nodeSelector: {disk: ssd}\n        tolerations: [{key: gpu, operator: Exists}]\n        \
                serviceAccountName: mover\n        imagePullSecrets: [{name: registry}]\n        \
                priorityClassName: low\n        securityContext: {runAsUser: 0, runAsNonRoot: false}\n        \
                containers:\n        - {name: mover, resources: {limits: {memory: 1Gi}}, \
                securityContext: {readOnlyRootFilesystem: false}, env: [{name: A, value: b}, {name: TMPDIR, value: /x}]}\n";
    let source = "{local: {claimName: dev}}";
    let case = Case::of(object(source, "{remote: {service: {name: chroma}}}", more));
    let pod = pod(&case);
    assert_eq!(pod.node_selector.clone().unwrap()["disk"], "ssd");
    assert_eq!(pod.tolerations.clone().unwrap()[0].key.as_deref(), Some("gpu"));
    assert_eq!((pod.service_account_name.as_deref(), pod.priority_class_name.as_deref()), (Some("mover"), Some("low")));
    assert_eq!(pod.image_pull_secrets.clone().unwrap()[0].name, "registry");
    let context = pod.security_context.clone().unwrap();
    assert_eq!((context.run_as_user, context.run_as_non_root, context.fs_group), (Some(0), Some(false), Some(65532)));
    let mover = container(&pod, "mover");
    assert_eq!(mover.resources.unwrap().limits.unwrap()["memory"].0, "1Gi");
    let env: Vec<_> = mover.env.unwrap().into_iter().map(|v| (v.name, v.value.unwrap())).collect();
    assert_eq!(env, [("A".to_owned(), "b".to_owned()), ("TMPDIR".to_owned(), "/tmp".to_owned())]);
    let own = mover.security_context.unwrap();
    assert_eq!((own.read_only_root_filesystem, own.allow_privilege_escalation), (Some(false), Some(false)));
    assert_eq!(made(&case).spec.unwrap().template.metadata.unwrap().annotations.unwrap()["a"], "b");
}

#[test]
fn a_pin_adds_to_the_users_own_affinity() {
    let more = "  runner: {podTemplate: {spec: {affinity: {nodeAffinity: \
                {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: \
                [{key: a, operator: Exists}]}, {matchExpressions: [{key: b, operator: Exists}]}]}}}}}}\n";
    let target = "{remote: {service: {name: chroma}}}";
    let user = UserFact { claim: "dev".into(), node: Some("node-a".into()), running: true, ..UserFact::default() };
    let case = Case::of(object("{local: {claimName: dev}}", target, more)).see(|o| o.users.push(user));
    let affinity = pod(&case).affinity.unwrap().node_affinity.unwrap();
    let terms = affinity.required_during_scheduling_ignored_during_execution.unwrap().node_selector_terms;
    assert_eq!(terms.len(), 2);
    assert!(terms.iter().all(|t| t.match_fields.as_ref().unwrap()[0].values == Some(vec!["node-a".to_owned()])));
    assert_eq!(made(&case).metadata.annotations.unwrap()["memory-migration.dev/pinned-node"], "node-a");
}
