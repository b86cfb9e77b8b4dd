//! Whether a Service's pods keep the other side's store: a restored copy has the UUIDs of its original, and only who serves
//! it tells them apart. What the controller sees goes to the runner as an argument.

use k8s_openapi::api::core::v1::{Pod, Service};
use memory_migration_operator::controller::observe::keepers::{Keepers, in_common, selector};
use serde_json::{Value, json};

use super::fixtures::*;
use super::job::{args, container, made};
use super::mock::*;

fn pod(namespace: &str, uid: &str, phase: &str, claims: &[&str]) -> Value {
    let volume = |claim: &&str| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}});
    json!({
        "metadata": {"name": uid, "uid": uid, "namespace": namespace},
        "spec": {"containers": [], "volumes": claims.iter().map(volume).collect::<Vec<_>>()},
        "status": {"phase": phase},
    })
}

fn kept(pods: &[Value]) -> Option<Keepers> {
    let pods: Vec<Pod> = pods.iter().map(|pod| serde_json::from_value(pod.clone()).unwrap()).collect();
    Keepers::of_pods(&pods)
}

#[test]
fn a_claim_or_a_pod_in_common_may_be_one_store() {
    let dev = Keepers::of_claim("team", "dev");
    let running = |namespace, claims: &[&str]| kept(&[pod(namespace, "a", "Running", claims)]);
    for (what, service, expected) in [
        ("the Service's pod mounts the claim", running("team", &["other", "dev"]), Some(true)),
        ("one that starts will", kept(&[pod("team", "a", "Pending", &["dev"])]), Some(true)),
        ("it mounts another one", running("team", &["prod"]), Some(false)),
        ("a claim of this name in another namespace is another one", running("prod", &["dev"]), Some(false)),
        ("one that ended does not answer", kept(&[pod("team", "a", "Succeeded", &["dev"])]), None),
        ("nobody answers", kept(&[]), None),
    ] {
        assert_eq!(in_common(Some(&dev), service.as_ref()), expected, "{what}");
        assert_eq!(in_common(service.as_ref(), Some(&dev)), expected, "{what}");
    }
    // two Services: the same pods, or pods on one claim
    let one = running("prod", &["data"]);
    for (other, expected) in [
        (kept(&[pod("prod", "a", "Running", &[])]), true),
        (kept(&[pod("prod", "b", "Running", &["data"])]), true),
        (kept(&[pod("prod", "b", "Running", &["restored"])]), false),
    ] {
        assert_eq!(in_common(one.as_ref(), other.as_ref()), Some(expected), "{other:?}");
    }
}

#[test]
fn who_answers_behind_a_service_without_a_selector_is_not_known() {
    let of = |spec: Value| selector(&serde_json::from_value::<Service>(json!({ "spec": spec })).unwrap()).is_some();
    assert!(of(json!({"selector": {"app": "chroma"}})));
    assert!(!of(json!({})) && !of(json!({"selector": {}})));
    assert!(!of(json!({"type": "ExternalName", "externalName": "chroma.example.com", "selector": {"app": "chroma"}})));
}

#[test]
fn the_runner_is_told_what_was_seen() {
    for (seen, told) in [(None, "unknown"), (Some(false), "no"), (Some(true), "yes")] {
        let job = made(&Case::to_server().see(|world| world.one_store = seen));
        let pod = job.spec.unwrap().template.spec.unwrap();
        for name in ["preflight", "mover"] {
            assert!(args(&container(&pod, name)).contains(&format!("--one-store {told}")), "{name} {seen:?}");
        }
    }
    // of two claims it sees the files
    let claims = ["{local: {claimName: dev, path: a}}", "{local: {claimName: prod, path: b}}"];
    let pod = made(&Case::of(object(claims[0], claims[1], ""))).spec.unwrap().template.spec.unwrap();
    assert!(!args(&container(&pod, "mover")).contains("--one-store"));
}

#[tokio::test]
async fn the_pods_of_the_service_are_looked_at_before_the_job_is_made() {
    let service = |spec: Value| json!({"metadata": {"name": "chroma", "uid": "s"}, "spec": spec});
    let selecting = || service(json!({"selector": {"app": "chroma", "tier": "prod"}}));
    let theirs = "/api/v1/namespaces/prod/pods";
    for (service, code, pods, told) in [
        (selecting(), 200, vec![pod("prod", "a", "Running", &["data"])], "no"),
        (selecting(), 200, vec![], "unknown"),
        (selecting(), 403, vec![], "unknown"),
        (service(json!({})), 200, vec![], "unknown"),
    ] {
        let case = Case::to_server();
        let mut server = Server::with(&case.migration);
        server.answer("GET /api/v1/namespaces/prod/services/chroma", 200, service.clone());
        let answer = if code == 200 { items(&pods) } else { status(code) };
        server.answer(&format!("GET {theirs}"), code, answer);
        let (looked, calls) = server.look(&case.migration).await;
        looked.unwrap();
        let made = calls.iter().find(|call| call.line == format!("POST {JOBS}")).unwrap();
        let args = made.body["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
        assert!(args.contains(&format!("\"--one-store\",\"{told}\"")), "{service}: {args}");
        let asked: Vec<&str> =
            calls.iter().filter(|call| call.line == format!("GET {theirs}")).map(|call| call.query.as_str()).collect();
        let expected = usize::from(service["spec"]["selector"].is_object());
        assert_eq!(asked.len(), 2 * expected, "before and after the lock: {asked:?}");
        assert!(asked.iter().all(|query| query.contains("app%3Dchroma%2Ctier%3Dprod")), "{asked:?}");
    }
}
