//! The controller as a process: it waits for the CRD, says why it is not ready, watches what it may, survives objects that
//! it cannot read, ends politely, and ends at once when another replica leads.

use serde_json::{Value, json};

use super::api_server::{ApiServer, CLAIMS, JOBS, MIGRATIONS, until};
use super::controller::Controller;
use super::fixtures::object;

/// A migration whose source is not there, so that it waits.
fn waits(name: &str, namespace: &str) -> Value {
    let mut migration = object("{local: {claimName: dev}}", "{remote: {service: {name: chroma}}}", "");
    migration.metadata.name = Some(name.into());
    migration.metadata.namespace = Some(namespace.into());
    migration.metadata.uid = Some(format!("uid-of-{name}"));
    // Without one a watch is opened again.
    migration.metadata.resource_version = Some("3".into());
    serde_json::to_value(&migration).unwrap()
}

#[test]
fn it_starts_before_the_crd_exists_and_waits() {
    let server = ApiServer::start(false, vec![waits("one", "team")]);
    let controller = Controller::start(&server, &[]);
    controller.says("/readyz", &["503", "the CRD memorymigrations.memory-migration.dev is not installed: install"]);
    controller.says("/healthz", &["200"]);
    assert!(!server.calls().iter().any(|call| call.contains("watch=true") || call.contains("/leases")));
    server.install_crd();
    controller.says("/readyz", &["200", "leading"]);
    server.awaits("PATCH /apis/memory-migration.dev/v1alpha1/namespaces/team/memorymigrations/one/status");
    controller.says("/metrics", &["status_phase{name=\"one\",namespace=\"team\",phase=\"Waiting\"} 1"]);
    let log = controller.end();
    assert!(log.contains("\"trace_id\"") && log.contains("\"namespace\":\"team\""), "{log}");
}

#[test]
fn it_ends_politely_and_gives_its_lease_back() {
    let server = ApiServer::start(true, vec![]);
    let controller = Controller::start(&server, &[]);
    controller.says("/readyz", &["200", "leading"]);
    assert!(server.lease()["spec"]["holderIdentity"].as_str().unwrap().starts_with("replica_"));
    controller.end();
    assert_eq!(server.lease()["spec"]["holderIdentity"], Value::Null);
}

#[test]
fn it_ends_while_it_waits_for_the_crd_or_for_the_lease() {
    let server = ApiServer::start(false, vec![]);
    let early = Controller::start(&server, &[]);
    early.says("/readyz", &["503", "is not installed"]);
    early.end();
    server.install_crd();
    let leader = Controller::start(&server, &[]);
    leader.says("/readyz", &["leading"]);
    let second = Controller::start(&server, &[]);
    second.says("/readyz", &["200", "standby: another replica leads"]);
    second.end();
    leader.end();
}

#[test]
fn it_ends_with_a_failure_when_another_replica_leads() {
    let server = ApiServer::start(true, vec![]);
    let controller = Controller::start(&server, &[]);
    controller.says("/readyz", &["leading"]);
    server.usurp();
    let output = controller.ended().code(4);
    assert!(output.stderr_text().contains("the leader's Lease was lost: ending"), "{}", output.stderr_text());
    assert_eq!(server.lease()["spec"]["holderIdentity"], "somebody-else", "it is not given back");
}

#[test]
fn it_watches_the_namespaces_that_it_is_told_and_no_other() {
    let server = ApiServer::start(true, vec![]);
    let controller = Controller::start(&server, &["--watch-namespace", "team"]);
    for kind in [
        "GET /apis/memory-migration.dev/v1alpha1/namespaces/team/memorymigrations?&watch=true",
        "GET /apis/batch/v1/namespaces/team/jobs?&watch=true",
        "GET /api/v1/namespaces/team/pods?&watch=true",
    ] {
        server.awaits(kind);
    }
    let elsewhere =
        |call: &String| !call.contains("/namespaces/team/") && !call.contains("/namespaces/operator/leases");
    assert_eq!(server.calls().into_iter().filter(elsewhere).collect::<Vec<_>>(), Vec::<String>::new());
    controller.end();
}

/// One object that cannot be read stops neither the watch nor the others: not in the first list, and not later.
#[test]
fn an_object_that_cannot_be_read_stops_no_other() {
    let broken = |name: &str| {
        let mut object = waits(name, "team");
        object["spec"]["onConflict"] = json!("Merge");
        object
    };
    let server = ApiServer::start(true, vec![broken("bad"), waits("good", "team")]);
    let controller = Controller::start(&server, &[]);
    let status = |name: &str| {
        format!("PATCH /apis/memory-migration.dev/v1alpha1/namespaces/team/memorymigrations/{name}/status")
    };
    server.awaits(&status("good"));
    server.awaits("/memorymigrations?&watch=true");
    server.add(broken("worse"));
    server.add(waits("better", "team"));
    server.awaits(&status("better"));
    server.awaits("GET /apis/memory-migration.dev/v1alpha1/namespaces/team/memorymigrations/worse");
    controller.says("/metrics", &["reconcile_errors_total{reason=\"unreadable\"} 2"]);
    let writes = server.writes();
    assert!(!writes.iter().any(|call| call.contains("/bad") || call.contains("/worse")), "{writes:?}");
    let watches = server.calls().iter().filter(|call| call.contains("memorymigrations?&watch=true")).count();
    assert_eq!(watches, 1, "the watch goes on");
    let log = controller.end();
    let line = log.lines().find(|line| line.contains("cannot be read and is left alone")).unwrap_or_default();
    for part in [
        "\"level\":\"ERROR\"",
        "\"namespace\":\"team\"",
        "\"name\":\"bad\"",
        "unknown variant `Merge`, expected one of `Skip`, `Overwrite`, `Fail`",
    ] {
        assert!(log.contains(part), "{part} is not in {line}");
    }
}

/// kube's client would try these codes again by itself, and hide the API server's sentence.
#[test]
fn a_refusal_that_is_no_answer_for_ever_is_told_at_once_and_not_hurried() {
    for code in [429, 503] {
        let server = ApiServer::start(true, vec![ready("one")]);
        server.cluster().refuses.insert("jobs".into(), code);
        server.put(
            &format!("{CLAIMS}/dev"),
            json!({"metadata": {"name": "dev"}, "spec": {"accessModes": ["ReadWriteMany"]}}),
        );
        let controller = Controller::start(&server, &[]);
        let path = format!("{MIGRATIONS}/one");
        let said = || server.get(&path)["status"]["conditions"][0]["message"].as_str().unwrap_or_default().to_owned();
        until("the server's sentence", || said().contains(&format!("{code}: the server's words")));
        let tried = server.calls().iter().filter(|call| call.starts_with(&format!("POST {JOBS}"))).count();
        assert_eq!(tried, 1, "{code}");
        controller.end();
    }
}

/// A migration whose source is there.
fn ready(name: &str) -> Value {
    let mut migration = waits(name, "team");
    migration["spec"]["target"] = json!({"remote": {"url": "http://127.0.0.1:9"}});
    migration
}

/// Every object is looked at again and again; none that does not change is written.
#[test]
fn nothing_is_written_while_nothing_changes() {
    let server = ApiServer::start(true, vec![waits("one", "team"), waits("two", "team")]);
    let controller = Controller::start(&server, &[]);
    server.awaits("memorymigrations/one/status");
    server.awaits("memorymigrations/two/status");
    let looks = || server.calls().iter().filter(|call| call.ends_with("memorymigrations/one?")).count();
    let before = looks();
    // The next look of its own is 15 s away.
    until("another look", || looks() > before);
    controller.end();
    let mut writes = server.writes();
    writes.retain(|call| call.contains("/status"));
    assert_eq!(writes.len(), 2, "{writes:?}");
}
