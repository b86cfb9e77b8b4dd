//! Where the controller meets what others do: readers of a claim, lost nodes, memory, meshes; and what a person reads of it.
//! The objects are cut from a cluster's own.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use memory_migration_operator::api::conditions::Reason;
use memory_migration_operator::api::status::Counts;
use memory_migration_operator::controller::observe::facts;
use memory_migration_operator::controller::observe::world::{Endpoint, JobPhase, LogFact, Trouble, UserFact};
use memory_migration_operator::report::{self, CollectionReport, Line, Progress, Stage};
use serde_json::{Value, from_value, json};

use super::fixtures::*;

fn parse(pod: Value) -> Pod {
    from_value(pod).unwrap()
}

fn time(second: i64) -> Value {
    serde_json::to_value(at(second)).unwrap()
}

/// A pod on claim `prod` with these volumes' and mounts' own words.
fn on_claim(claim: Value, containers: Value) -> bool {
    let mut claim = claim;
    claim["claimName"] = json!("prod");
    let volumes = json!([{"name": "v", "persistentVolumeClaim": claim}]);
    let mut spec = containers;
    spec["volumes"] = volumes;
    let users = facts::users(&parse(json!({"metadata": {"name": "p"}, "spec": spec})), &["prod"]);
    assert_eq!(users.len(), 1);
    users[0].read_only
}

/// A dry run, a restore from the claim, a backup mover: none can write.
#[test]
fn a_pod_that_can_only_read_is_told_from_one_that_can_write() {
    let mount = |read_only: Value| json!({"name": "v", "mountPath": "/d", "readOnly": read_only});
    let one = |m: Value| json!({"containers": [{"name": "c", "volumeMounts": [m]}]});
    assert!(on_claim(json!({"readOnly": true}), one(mount(json!(false)))), "at the claim");
    assert!(on_claim(json!({}), one(mount(json!(true)))), "at its mount");
    assert!(!on_claim(json!({}), one(mount(json!(false)))));
    assert!(!on_claim(json!({}), one(mount(Value::Null))));
    assert!(on_claim(json!({}), json!({"containers": [{"name": "c"}]})), "nothing mounts it");
    let two = json!({"containers": [{"name": "a", "volumeMounts": [mount(json!(true))]},
                                    {"name": "b", "volumeMounts": [mount(json!(true)), mount(json!(false))]}]});
    assert!(!on_claim(json!({}), two), "one mount that can write is enough");
    for kind in ["initContainers", "ephemeralContainers"] {
        let mut spec = one(mount(json!(true)));
        spec[kind] = json!([{"name": "x", "volumeMounts": [mount(json!(false))]}]);
        assert!(!on_claim(json!({}), spec), "{kind}");
    }
    let raw = json!({"containers": [{"name": "c", "volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}]});
    assert!(!on_claim(json!({}), raw), "a raw device is writable");
}

fn reader(claim: &str, node: &str) -> UserFact {
    UserFact {
        pod: format!("reads-{claim}"),
        claim: claim.into(),
        node: Some(node.into()),
        running: true,
        read_only: true,
        ..UserFact::default()
    }
}

fn pinned(case: &Case) -> Option<String> {
    let annotations = case.plan().create().expect("the plan must create a Job").metadata.annotations.unwrap();
    annotations.get("memory-migration.dev/pinned-node").cloned()
}

#[test]
fn a_reader_of_the_target_holds_nothing_back_and_stops_nothing() {
    let case = Case::to_claim().see(|o| o.users.push(reader("prod", "n1")));
    assert_eq!(pinned(&case).as_deref(), Some("n1"), "only its node can use the claim");
    let running = Case::to_claim().running().see(|o| o.users.push(reader("prod", "n1")));
    assert!(running.plan().delete().is_empty());
    assert_eq!(reason(&running.plan()), Reason::Preflight);
    let anywhere = |o: &mut memory_migration_operator::controller::observe::world::World| {
        o.target = Endpoint::Found { uid: "u".into(), one_node: false, one_pod: false };
    };
    assert_eq!(pinned(&case.see(anywhere)), None);
}

/// Its target claim is in use, and can be used on that node only.
#[test]
fn a_dry_run_goes_where_its_target_is_in_use() {
    let case = Case::to_claim().edit(|m| m.spec.dry_run = true);
    let writer = UserFact { read_only: false, ..reader("prod", "n2") };
    assert_eq!(pinned(&case.see(|o| o.users.push(writer))).as_deref(), Some("n2"));
}

#[test]
fn a_claim_that_only_one_pod_can_use_is_waited_for_but_nobody_who_waits_for_it_stops_a_run() {
    let alone = |case: Case| {
        case.see(|o| {
            o.target = Endpoint::Found { uid: "u".into(), one_node: false, one_pod: true };
            o.users.push(UserFact { running: false, ..reader("prod", "n1") });
        })
    };
    let plan = alone(Case::to_claim()).plan();
    assert_eq!(reason(&plan), Reason::VolumeInUse);
    assert!(message(&plan).contains("only one pod can use this claim at a time"), "{}", message(&plan));
    assert!(alone(Case::to_claim().running()).plan().delete().is_empty());
}

#[test]
fn two_claims_in_use_on_two_nodes_are_said_before_a_job_is_made() {
    let source = "{local: {claimName: dev}}";
    let case = Case::of(object(source, "{local: {claimName: prod}}", ""));
    let on = |node: &str| {
        let users = vec![reader("dev", "n1"), reader("prod", node)];
        case.clone().see(|o| o.users = users)
    };
    let plan = on("n2").plan();
    assert_eq!(reason(&plan), Reason::ClaimsOnDifferentNodes);
    let said = message(&plan);
    assert!(said.contains("claim dev is used on node n1 (pod reads-dev) and claim prod on node n2"), "{said}");
    assert!(plan.create().is_none() && plan.requeue.is_some());
    assert_eq!(pinned(&on("n1")).as_deref(), Some("n1"));
}

/// The runner's pod on a node, with these words of its own.
#[expect(clippy::needless_pass_by_value, reason = "tests hand in literals")]
fn runner(metadata: Value, status: Value) -> Pod {
    let limits = json!({"limits": {"memory": "2Gi"}});
    let mounts = json!([{"name": "source", "mountPath": "/volumes/source", "readOnly": true}]);
    let mut metadata = metadata;
    metadata["name"] = json!("p");
    parse(json!({
        "metadata": metadata,
        "spec": {
            "nodeName": "n1",
            "initContainers": [{"name": "preflight", "resources": limits}, {"name": "chroma", "resources": {"limits": {"memory": "4Gi"}}}],
            "containers": [{"name": "mover", "resources": limits, "volumeMounts": mounts}, {"name": "istio-proxy"}],
            "volumes": [{"name": "source", "persistentVolumeClaim": {"claimName": "dev"}}],
        },
        "status": status,
    }))
}

#[expect(clippy::needless_pass_by_value, reason = "tests hand in literals")]
fn container(name: &str, state: Value) -> Value {
    json!({"name": name, "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state})
}

fn trouble_at(pod: &Pod, second: i64) -> Option<(Reason, String)> {
    facts::pod(pod, &[], &at(second)).trouble.map(|t| (t.reason, t.message))
}

#[test]
fn a_pod_that_does_not_end_on_its_node_is_lost_and_the_way_out_is_said() {
    let running = json!({"phase": "Running", "containerStatuses": [container("mover", json!({"running": {}}))]});
    let ending = runner(json!({"deletionTimestamp": time(100)}), running);
    assert_eq!(trouble_at(&ending, 100), None, "it has its grace");
    assert_eq!(trouble_at(&ending, 129), None);
    let (reason, said) = trouble_at(&ending, 131).unwrap();
    assert_eq!(reason, Reason::NodeLost);
    assert!(said.contains("its node n1 does not answer") && said.contains("out-of-service=nodeshutdown"), "{said}");
    assert_eq!(trouble_at(&ending, 500), Some((reason, said)), "the same as long as nothing changes");
}

/// Kubernetes' node controller takes the readiness away, and says no reason; the kubelet says one.
#[test]
fn a_node_that_does_not_answer_is_said_before_the_pod_is_evicted() {
    let status = |reason: Value, ready: bool| {
        let mut mover = container("mover", json!({"running": {}}));
        mover["ready"] = json!(ready);
        let mut condition = json!({"type": "Ready", "status": "False"});
        if !reason.is_null() {
            condition["reason"] = reason;
        }
        json!({"phase": "Running", "conditions": [condition], "containerStatuses": [mover]})
    };
    let (reason, said) = trouble_at(&runner(json!({}), status(Value::Null, true)), 0).unwrap();
    assert_eq!(reason, Reason::NodeLost);
    assert!(said.starts_with("node n1 of pod p does not answer"), "{said}");
    for alive in [status(json!("ContainersNotReady"), true), status(Value::Null, false)] {
        assert_eq!(trouble_at(&runner(json!({}), alive), 0), None);
    }
}

#[test]
fn a_lost_node_is_said_also_after_an_edit_or_a_suspension() {
    let lost = Trouble { reason: Reason::NodeLost, message: "node n1 does not answer".into() };
    let running = Case::to_server().running().see(|o| {
        o.pods[0].trouble = Some(lost);
        o.jobs[0].deleting = true;
    });
    let edited = running.clone().edit(|m| m.spec.run_id = "2".into()).plan();
    assert_eq!((reason(&edited), message(&edited).as_str()), (Reason::NodeLost, "node n1 does not answer"));
    assert!(edited.create().is_none());
    let suspended = running.edit(|m| m.spec.suspend = true).plan();
    assert_eq!(reason(&suspended), Reason::NodeLost, "Suspended is what nothing works of any more");
    assert!(message(&suspended).contains("node n1 does not answer"), "{}", message(&suspended));
}

#[test]
fn a_container_that_keeps_the_pod_from_ending_is_named_with_a_way_out() {
    let ended = json!({"terminated": {"exitCode": 0, "finishedAt": time(100)}});
    let statuses = json!([container("mover", ended), container("istio-proxy", json!({"running": {}}))]);
    let pod = runner(json!({}), json!({"phase": "Running", "containerStatuses": statuses}));
    assert_eq!(trouble_at(&pod, 110), None, "it may be ending");
    let (reason, said) = trouble_at(&pod, 140).unwrap();
    assert_eq!(reason, Reason::NoProgress);
    for words in ["container istio-proxy keeps the pod", "exit code 0", "quitquitquit", "sidecar.istio.io/inject"] {
        assert!(said.contains(words), "no {words}: {said}");
    }
    let native = json!({"phase": "Running", "initContainerStatuses": [container("chroma", json!({"running": {}}))],
                        "containerStatuses": [container("mover", json!({"terminated": {"exitCode": 0, "finishedAt": time(100)}}))]});
    assert_eq!(trouble_at(&runner(json!({}), native), 140), None, "a native sidecar is ended by the kubelet");
}

fn cause(status: Value) -> (Reason, String) {
    let cause = facts::pod(&runner(json!({}), status), &[], &at(0)).cause.expect("there must be a cause");
    (cause.reason, cause.message)
}

#[test]
fn a_runner_killed_for_its_memory_says_what_to_raise() {
    let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    let (reason, said) = cause(json!({"phase": "Failed", "containerStatuses": [container("mover", killed.clone())]}));
    assert_eq!(reason, Reason::OutOfMemory);
    assert!(said.contains("container mover of pod p was killed") && said.contains("its limit of 2Gi"), "{said}");
    assert!(said.contains("raise resources.limits.memory of container mover in spec.runner.podTemplate"), "{said}");
    let (_, said) = cause(json!({"phase": "Failed", "initContainerStatuses": [container("fill", killed.clone())]}));
    assert!(said.contains("container fill of pod p was killed") && said.contains("of container mover in"), "{said}");
    let mut server = container("chroma", json!({"running": {}}));
    server["lastState"] = killed;
    let failed = container("mover", json!({"terminated": {"exitCode": 4}}));
    let (reason, said) =
        cause(json!({"phase": "Failed", "initContainerStatuses": [server], "containerStatuses": [failed]}));
    assert_eq!(reason, Reason::Retrying);
    assert!(
        said.contains("4Gi; raise resources.limits.memory of container chroma in spec.runner.podTemplate"),
        "{said}"
    );
}

#[test]
fn an_evicted_runner_says_what_its_node_lacked() {
    let evicted = |why: &str| cause(json!({"phase": "Failed", "reason": "Evicted", "message": why})).1;
    let said = evicted("The node was low on resource: ephemeral-storage. Threshold quantity: 1, available: 0. ");
    assert!(
        said.contains("pod p was evicted")
            && said.ends_with("requests.ephemeral-storage in spec.runner.podTemplate to what it needs"),
        "{said}"
    );
    let said = evicted("Usage of EmptyDir volume \"scratch\" exceeds the limit \"10Gi\". ");
    assert!(said.ends_with("raise the chart's runner.scratchLimit"), "{said}");
    assert!(
        evicted("The node was low on resource: memory. ")
            .ends_with("requests.memory in spec.runner.podTemplate to what it needs")
    );
    assert!(evicted("The node had condition: [DiskPressure]. ").ends_with("see kubectl describe node"));
}

/// Init containers run before a proxy that is no native sidecar, which has taken their network.
#[test]
fn a_preflight_without_a_network_before_a_proxy_is_told_of_it() {
    let status = |code: i32| {
        let preflight = container("preflight", json!({"terminated": {"exitCode": code}}));
        json!({"phase": "Failed", "initContainerStatuses": [preflight]})
    };
    let (reason, said) = cause(status(4));
    assert_eq!(reason, Reason::Retrying);
    assert!(said.contains("istio-proxy was put into pod p and starts after preflight"), "{said}");
    assert!(said.contains("native sidecar"), "{said}");
    assert_eq!(
        facts::pod(&runner(json!({}), status(3)), &[], &at(0)).cause,
        None,
        "its answer is no matter of a network"
    );
}

/// What Kubernetes knows stands beside what the runner said, or for it where it could say nothing.
#[test]
fn the_cause_is_read_between_two_tries_and_at_the_end() {
    let memory = Trouble { reason: Reason::OutOfMemory, message: "killed; raise the limit".into() };
    let killed =
        |phase| Case::to_server().running().ended(137, None, phase).see(|o| o.pods[0].cause = Some(memory.clone()));
    let plan = killed(None).plan();
    assert_eq!(reason(&plan), Reason::Retrying);
    assert!(message(&plan).starts_with("killed; raise the limit; the next attempt resumes"), "{}", message(&plan));
    let plan = killed(Some(JobPhase::Failed("BackoffLimitExceeded".into()))).plan();
    assert_eq!(reason(&plan), Reason::OutOfMemory);
    assert!(
        message(&plan).ends_with("; no retries are left (backoffLimit). Then change runId: it resumes"),
        "{}",
        message(&plan)
    );
    let mesh = Trouble { reason: Reason::Retrying, message: "no network yet".into() };
    let said = summary(&Case::to_server().hash(), report::Reason::Unavailable);
    let case = Case::to_server().running().ended(4, Some(said), None).see(|o| o.pods[0].cause = Some(mesh));
    assert!(
        message(&case.plan()).starts_with("the runner says Unavailable; no network yet;"),
        "{}",
        message(&case.plan())
    );
}

#[test]
fn messages_name_the_claim_and_not_a_folder_of_the_pod() {
    let mut verdict = summary("h", report::Reason::PreflightRefused);
    verdict.message = "local store /volumes/source/a/b is damaged, and /volumes/source has no room".into();
    let ended = container("mover", json!({"terminated": {"exitCode": 3, "message": verdict.to_json()}}));
    let pod = runner(json!({}), json!({"phase": "Failed", "containerStatuses": [ended]}));
    let said = facts::pod(&pod, &[], &at(0)).summary.unwrap().message;
    assert_eq!(said, "local store dev:a/b is damaged, and dev has no room");
}

fn refused(why: &str) -> Trouble {
    let job: Job = from_value(json!({"metadata": {"name": "move-1"}})).unwrap();
    let event = json!({"metadata": {}, "involvedObject": {}, "reason": "FailedCreate", "message": why});
    let event: Event = from_value(event).unwrap();
    facts::job(&job, &[event]).trouble.unwrap()
}

/// Each try has another random name: the status must not change with it.
#[test]
fn a_refused_pod_is_told_without_its_random_name() {
    let quota = |name: &str| {
        refused(&format!("Error creating: pods \"{name}\" is forbidden: exceeded quota: few, requested: pods=1"))
    };
    assert_eq!(quota("move-1-x7k2p"), quota("move-1-99999"));
    let said = quota("move-1-x7k2p").message;
    assert!(said.contains("pods of Job move-1 is forbidden: exceeded quota: few") && !said.contains("x7k2p"), "{said}");
}

#[test]
fn whoever_refuses_a_pod_is_answered_with_the_field_of_that_refusal() {
    for (why, remedy) in [
        ("exceeded quota: few, requested: pods=1", "raise the namespace's quota"),
        ("violates PodSecurity \"restricted:latest\": seccompProfile", "securityContext in spec.runner.podTemplate"),
        ("no PriorityClass with name high was found", "spec.runner.podTemplate.spec.priorityClassName"),
        (
            "error looking up service account team/x: serviceaccount \"x\" not found",
            "spec.runner.podTemplate.spec.serviceAccountName",
        ),
        ("maximum memory usage per Container is 1Gi, but limit is 2Gi", "LimitRange"),
        ("admission webhook \"deny.example\" denied the request: no", "allow the runner there"),
        ("ValidatingAdmissionPolicy 'x' with binding 'x' denied request: no", "allow the runner there"),
        ("something new", "allow it there"),
    ] {
        let trouble = refused(&format!("Error creating: pods \"move-1-abcde\" is forbidden: {why}"));
        assert_eq!(trouble.reason, Reason::NotAdmitted, "{why}");
        assert!(trouble.message.contains(why) && trouble.message.contains(remedy), "{}", trouble.message);
    }
}

#[test]
fn a_status_lists_the_first_fifty_collections_in_their_order() {
    let line = |number: u32| {
        let report = Box::new(CollectionReport { name: format!("c{number:03}"), ..CollectionReport::default() });
        serde_json::to_string(&Line::Collection { number, of: 300, report }).unwrap() + "\n"
    };
    // As the runner writes them, and as one of the version before does.
    for order in [(101..=300).rev().chain((1..=100).rev()).collect::<Vec<u32>>(), (1..=300).collect()] {
        let end: String = order.into_iter().map(line).collect();
        let fact = facts::log(&end);
        let names: Vec<&str> = fact.collections.iter().map(|c| c.name.as_str()).collect();
        assert_eq!((names.len(), names[0], names[49], fact.of), (50, "c001", "c050", 300));
    }
}

#[test]
fn the_runner_goes_to_linux_and_takes_over_the_groups_of_the_pod_on_the_claim() {
    let user: Pod = parse(json!({"metadata": {"name": "u"}, "spec": {
        "containers": [{"name": "c"}], "securityContext": {"runAsUser": 7, "supplementalGroups": [0, 2000]},
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "dev"}}]}}));
    let users = facts::users(&user, &["dev"]);
    let pod = |case: Case| case.plan().create().unwrap().spec.unwrap().template.spec.unwrap();
    let made = pod(Case::to_server().see(|o| o.users = users));
    assert_eq!(made.node_selector.unwrap()["kubernetes.io/os"], "linux");
    assert_eq!(made.security_context.unwrap().supplemental_groups, Some(vec![2000]), "root's is not taken over");
    let own = Case::to_server().edit(|m| {
        m.spec.runner.pod_template.spec.node_selector = [("kubernetes.io/os".to_owned(), "other".to_owned())].into();
    });
    assert_eq!(pod(own).node_selector.unwrap()["kubernetes.io/os"], "other");
}

/// A key that is missing is waited for by the kubelet; a whole Secret without it would end the run.
#[test]
fn a_secret_is_mounted_by_its_keys() {
    let auth = "{basic: {username: {secretKeyRef: {name: login, key: u}}, password: {secretKeyRef: {name: login, key: password}}}}";
    let source = format!(
        "{{remote: {{url: \"https://a\", auth: {auth}, tls: {{ca: {{secretKeyRef: {{name: login, key: ca}}}}}}}}}}"
    );
    let target = "{remote: {url: \"http://b\", auth: {bearer: {secretKeyRef: {name: token, key: token}}}}}";
    let case = Case::of(object(&source, target, ""));
    let pod = case.plan().create().unwrap().spec.unwrap().template.spec.unwrap();
    let keys: Vec<(String, Vec<(String, String)>)> = pod
        .volumes
        .unwrap()
        .into_iter()
        .filter_map(|volume| volume.secret)
        .map(|s| (s.secret_name.unwrap(), s.items.unwrap().into_iter().map(|i| (i.key, i.path)).collect()))
        .collect();
    let same = |key: &str| (key.to_owned(), key.to_owned());
    assert_eq!(
        keys,
        [
            ("login".to_owned(), vec![same("ca"), same("password"), same("u")]),
            ("token".to_owned(), vec![same("token")]),
        ]
    );
}

#[test]
fn names_hold_the_database_where_it_is_not_chromas_own() {
    let names = |source: &str, target: &str| {
        let status = Case::of(object(source, target, "")).plan().status().unwrap();
        (status.source_name, status.target_name)
    };
    let seen = names(
        "{local: {claimName: dev, path: chroma_db, database: notes}}",
        "{remote: {service: {name: chroma, namespace: prod}, tenant: team, database: notes}}",
    );
    assert_eq!(seen, ("dev:chroma_db#notes".into(), "prod/chroma#team/notes".into()));
    assert_eq!(names("{local: {claimName: dev}}", "{remote: {url: \"http://b\"}}"), ("dev".into(), "http://b".into()));
}

/// Both columns said `prod/chroma`: of two servers behind one Service, and of two databases of one server.
#[test]
fn source_and_target_never_look_the_same() {
    let chroma = |more: &str| format!("{{remote: {{service: {{name: chroma, namespace: prod{more}}}}}}}");
    let database = |more: &str| format!("{{remote: {{service: {{name: chroma, namespace: prod}}{more}}}}}");
    for (source, target, expected) in [
        (chroma(""), chroma(", port: 8001"), ["prod/chroma", "prod/chroma:8001"]),
        (chroma(", port: 8000"), chroma(", port: 9000"), ["prod/chroma", "prod/chroma:9000"]),
        (database(""), database(", database: b"), ["prod/chroma#default_database", "prod/chroma#b"]),
        (database(", database: a"), database(", tenant: t, database: a"), ["prod/chroma#a", "prod/chroma#t/a"]),
    ] {
        let status = Case::of(object(&source, &target, "")).plan().status().unwrap();
        assert_eq!([status.source_name.as_str(), status.target_name.as_str()], expected, "{source} {target}");
    }
}

/// Records and percent rise once over the whole run; a pod that begins again does not say what the one before did.
#[test]
fn a_run_that_goes_on_shows_what_is_there_and_not_the_old_stage() {
    let case = Case::to_server().running().at_stage(Stage::Copying, 45, 100).done();
    let status = case.migration.status.clone().unwrap();
    assert_eq!((status.records.as_str(), status.pod_name.clone()), ("45/100", case.world.pods[0].name.clone()));
    let failed = case.ended(4, None, None).see(|o| o.log = None).done();
    let again = failed.see(|o| {
        let mut pod = pod_fact(&o.jobs[0].name);
        (pod.name, pod.created) = ("another".into(), 2);
        o.pods.push(pod);
    });
    let plan = again.plan();
    assert_eq!(reason(&plan), Reason::Preflight, "{}", message(&plan));
    let status = plan.status().unwrap();
    let progress = status.progress.clone().unwrap();
    assert_eq!((status.pod_name.as_str(), status.records.as_str()), ("another", "45/100"));
    assert_eq!((progress.stage.as_str(), progress.percent, progress.eta_seconds), ("Preflight", 45, None));
    assert_eq!(progress.records_per_second, 0);
    let told = again.done().at_stage(Stage::Preflight, 0, 100).plan().status().unwrap_or_default();
    assert!(told.progress.is_none_or(|p| (p.records, p.percent) == (45, 45)), "nothing falls");
}

#[test]
fn a_milestone_says_the_percent_of_its_own_numbers() {
    let case = Case::to_server().running().at_stage(Stage::Copying, 30, 100);
    assert_eq!(case.plan().notices()[1].note, "30% copied: 30 of 100 records");
    let resumed = Case::to_server().running().at_stage(Stage::Copying, 60, 100).done();
    assert!(resumed.at_stage(Stage::Copying, 70, 100).plan().notices().is_empty(), "told once");
}

/// A controller that was away for two minutes does not make the run longer.
#[test]
fn a_run_ends_when_its_pod_ended() {
    let case = Case::to_server().running().later(300).succeeded(report::Reason::Verified);
    let case = case.see(|o| o.pods[0].ended = Some(at(174)));
    let plan = case.plan();
    let status = plan.status().unwrap();
    assert_eq!((status.completion_time, status.verification.unwrap().compared_at), (Some(at(174)), Some(at(174))));
    assert!((plan.outcome().unwrap().seconds - 174.0).abs() < f64::EPSILON);
    assert_eq!(status.records, "10/10");
    let progress = status.progress.unwrap();
    assert_eq!((progress.records, progress.total, progress.percent), (10, 10, 100));
}

/// The pod whose verdict it is, or that the status names; at a deadline none of them.
#[test]
fn a_run_ends_with_the_pod_that_ended_it() {
    let first = Case::to_server().running().later(300).ended(4, None, None).see(|o| {
        let mut pod = pod_fact(&o.jobs[0].name);
        (pod.name, pod.created, o.pods[0].ended) = ("second".into(), 2, Some(at(100)));
        o.pods.push(pod);
    });
    let first = first.done();
    let ended = |exit, said, phase| {
        let case = first.clone().ended(exit, said, Some(phase)).see(|o| o.pods[1].ended = Some(at(200)));
        case.plan().status().unwrap().completion_time
    };
    let gave_up = |word: &str| ended(4, None, JobPhase::Failed(word.into()));
    assert_eq!(gave_up("BackoffLimitExceeded"), Some(at(200)));
    assert_eq!(gave_up("DeadlineExceeded"), Some(at(300)));
    let verified = summary(&first.hash(), report::Reason::Verified);
    assert_eq!(ended(0, Some(verified), JobPhase::Complete), Some(at(200)));
}

/// The numbers of a stage are shown for a runner of the version before alone, which tells no others.
#[test]
fn what_is_shown_is_of_the_whole_run() {
    let shown = |progress| {
        let log = LogFact { progress: Some(progress), ..LogFact::default() };
        let status = Case::to_server().running().see(|o| o.log = Some(log)).plan().status().unwrap();
        status.progress.map(|progress| (progress.records, progress.total)).unwrap()
    };
    let stage = Progress { stage: Stage::Verifying, records: 5, total: 8, ..Progress::default() };
    assert_eq!(shown(Progress { done: 15, of: 20, ..stage }), (15, 20));
    assert_eq!((shown(stage), shown(Progress { records: 9, ..stage })), ((5, 8), (8, 8)));
}

#[test]
fn a_suspension_leaves_the_start_and_sets_the_deadlines_clock_anew() {
    let case = Case::to_server().edit(|m| m.spec.active_deadline_seconds = Some(100)).running();
    let status = |case: &Case| case.migration.status.clone().unwrap();
    assert_eq!((status(&case).start_time, status(&case).active_since), (Some(at(0)), Some(at(0))));
    let case = case.later(90).edit(|m| m.spec.suspend = true).done().see(|o| o.pods.clear()).done();
    assert_eq!((status(&case).start_time, status(&case).active_since), (Some(at(0)), None));
    let case = case.later(60).edit(|m| m.spec.suspend = false).done();
    assert_eq!((status(&case).start_time, status(&case).active_since), (Some(at(0)), Some(at(150))));
}

#[test]
fn no_later_run_wipes_the_last_success() {
    let case = Case::to_server().edit(|m| m.spec.run_id = "one".into()).running();
    let case = case.succeeded(report::Reason::Verified).see(|o| o.pods[0].ended = Some(at(5))).done();
    let success = case.migration.status.clone().unwrap().last_success.unwrap();
    assert_eq!((success.time.clone(), success.run_id.as_str(), success.records), (Some(at(5)), "one", 10));
    assert_eq!((success.target_name.as_str(), success.fingerprint.as_str()), ("prod/chroma", "f00d"));
    assert_eq!(success.run_hash, case.hash());
    let next = case.see(|o| (o.jobs, o.pods) = (vec![], vec![])).edit(|m| m.spec.run_id = "two".into());
    let next = next.done().see(|o| o.pods.push(pod_fact(&o.jobs[0].name)));
    assert_eq!(next.migration.status.clone().unwrap().last_success, Some(success.clone()));
    let failed = next.failed_for_good(5, report::Reason::VerificationFailed).done();
    assert_eq!(failed.migration.status.clone().unwrap().last_success, Some(success));
    let dry = Case::to_server().edit(|m| m.spec.dry_run = true).running().succeeded(report::Reason::DryRunCompleted);
    assert_eq!(dry.plan().status().unwrap().last_success, None);
}

#[test]
fn a_run_that_failed_shows_how_many_are_good() {
    let mut verdict = summary(&Case::to_server().hash(), report::Reason::VerificationFailed);
    (verdict.counts.verified, verdict.counts.missing) = (7, 3);
    let case = Case::to_server().running().at_stage(Stage::Verifying, 10, 10).done();
    let case = case.ended(5, Some(verdict), Some(JobPhase::Failed("PodFailurePolicy".into())));
    let status = case.plan().status().unwrap();
    assert_eq!(status.records, "7/10");
    assert_eq!(status.counts, Some(Counts { source: 10, verified: 7, missing: 3, ..Counts::default() }));
}

/// After an edit the pod of the run before may still be there: its log says nothing of the new run.
#[test]
fn the_log_of_the_run_before_is_not_the_new_ones() {
    let case = Case::to_server().running().at_stage(Stage::Copying, 10, 10);
    let uid = case.world.jobs[0].uid.clone();
    let case = case.see(|o| o.log.as_mut().unwrap().job_uid = uid);
    assert_eq!(case.plan().status().unwrap().records, "10/10");
    let new = case.edit(|m| m.spec.run_id = "2".into()).see(|o| o.jobs.clear());
    let new = new.edit(|m| m.status = None);
    let status = new.plan().status().unwrap();
    assert_eq!((status.records.as_str(), status.progress), ("", None), "nothing is known of it yet");
}
