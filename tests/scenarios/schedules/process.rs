//! Schedules as a controller process carries them out, against an API server that is killed away from at any moment.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::super::api_server::{ApiServer, CLAIMS, MIGRATIONS, SERVICES, until};
use super::super::controller::Controller;
use super::super::kubernetes::{Step, come_to, jobs};
use super::super::rights;

const SCHEDULES: &str = "/apis/memory-migration.dev/v1alpha1/namespaces/team/memorymigrationschedules";

/// Every minute, made a little more than a minute ago: one child is due at once.
fn every_minute(extra: &Value) -> Value {
    let created = Timestamp::from_second(Timestamp::now().as_second() - 61).unwrap();
    let mut spec = json!({
        "schedule": "* * * * *",
        "template": {"spec": {
            "source": {"local": {"claimName": "dev"}}, "target": {"remote": {"service": {"name": "chroma"}}},
        }},
    });
    super::super::mock::merge(&mut spec, extra);
    json!({
        "apiVersion": "memory-migration.dev/v1alpha1", "kind": "MemoryMigrationSchedule",
        "metadata": {"name": "nightly", "namespace": "team", "uid": "uid-of-nightly", "generation": 1,
            "creationTimestamp": created.to_string()},
        "spec": spec,
    })
}

fn path() -> String {
    format!("{SCHEDULES}/nightly")
}

fn children(server: &ApiServer) -> Vec<String> {
    let cluster = server.cluster();
    let names = cluster.objects.keys().filter_map(|path| path.strip_prefix(&format!("{MIGRATIONS}/")));
    names.map(ToOwned::to_owned).collect()
}

fn condition(server: &ApiServer, kind: &str) -> Value {
    let schedule = server.get(&path());
    let all = schedule["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|c| c["type"] == kind).map(|c| c["status"].clone()).unwrap_or_default()
}

/// The child's Job runs and ends.
fn ends(server: &ApiServer, name: &str, succeeds: bool) {
    let ours = |job: &String| job.starts_with(&format!("{name}-"));
    until("its Job", || jobs(server).iter().any(ours));
    let job = jobs(server).into_iter().find(ours).unwrap();
    for step in [Step::Scheduled, Step::Mover, Step::Ended(if succeeds { 0 } else { 5 })] {
        come_to(server, &job, step);
    }
}

/// A server with a schedule, and with what its migrations name.
fn server(schedule: Value) -> ApiServer {
    let server = ApiServer::start(true, vec![]);
    let claim = json!({"metadata": {"name": "dev"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
    server.put(&format!("{CLAIMS}/dev"), claim);
    server.put(&format!("{SERVICES}/chroma"), json!({"metadata": {"name": "chroma"}}));
    server.put(&path(), schedule);
    server
}

fn metric(controller: &Controller, line: &str) {
    controller.says("/metrics", &[line]);
}

#[test]
fn a_due_migration_is_made_owned_and_its_end_is_told() {
    let server = server(every_minute(&json!({})));
    let controller = Controller::start(&server, &[]);
    until("a child", || !children(&server).is_empty());
    let name = children(&server).remove(0);
    let child = server.get(&format!("{MIGRATIONS}/{name}"));
    assert_eq!(child["metadata"]["ownerReferences"][0]["uid"], "uid-of-nightly");
    assert_eq!(child["metadata"]["ownerReferences"][0]["kind"], "MemoryMigrationSchedule");
    assert!(child["metadata"]["labels"].is_null() && child["metadata"]["annotations"].is_null(), "{child}");
    until("its name in the status", || server.get(&path())["status"]["active"]["name"] == name.as_str());
    assert_eq!(server.get(&path())["status"]["active"]["uid"], child["metadata"]["uid"]);
    assert_eq!((condition(&server, "Ready"), condition(&server, "UpToDate")), (json!("True"), json!("Unknown")));
    ends(&server, &name, true);
    until("its success", || server.get(&path())["status"]["lastSuccess"]["name"] == name.as_str());
    assert_eq!(
        (condition(&server, "LastRunSucceeded"), condition(&server, "UpToDate")),
        (json!("True"), json!("True"))
    );
    let labels = "{name=\"nightly\",namespace=\"team\"}";
    metric(&controller, &format!("memory_migration_schedule_up_to_date{labels} 1"));
    metric(&controller, &format!("memory_migration_schedule_last_success_timestamp_seconds{labels} 1"));
    server.delete(&path());
    until("its series to go", || !controller.ask("/metrics").unwrap_or_default().contains("name=\"nightly\""));
    controller.end();
    for call in server.calls() {
        let (line, query) = call.split_once('?').unwrap();
        if line.contains("/namespaces/") {
            rights::assert_allowed(line, query);
        }
    }
}

/// Whatever was written when the process was killed, the next one makes no second child and loses no end.
#[test]
fn a_controller_that_is_killed_between_any_two_writes_makes_each_child_once() {
    for writes in 1..=3 {
        let server = server(every_minute(&json!({"failedHistoryLimit": 0})));
        // The API server takes no further write after so many, as if the process had been killed.
        server.cluster().takes = Some(writes);
        let first = Controller::start(&server, &[]);
        until("that many writes", || server.cluster().takes == Some(0));
        first.kill();
        server.cluster().takes = None;
        let second = Controller::start(&server, &[]);
        until("the child in the status", || server.get(&path())["status"]["active"]["name"].is_string());
        let name = server.get(&path())["status"]["active"]["name"].as_str().unwrap().to_owned();
        let made = |server: &ApiServer| server.cluster().made.iter().filter(|path| path.ends_with(&name)).count();
        assert_eq!(made(&server), 1, "after {writes} writes");
        ends(&server, &name, false);
        until("its end", || server.get(&path())["status"]["lastEnded"]["name"] == name.as_str());
        until("it to go", || server.get(&format!("{MIGRATIONS}/{name}")).is_null());
        assert_eq!(
            (made(&server), condition(&server, "LastRunSucceeded")),
            (1, json!("False")),
            "after {writes} writes"
        );
        second.end();
    }
}

#[test]
fn a_migration_that_is_refused_is_said_with_the_server_s_sentence_and_not_hurried() {
    let server = ApiServer::start(true, vec![]);
    server.cluster().refuses.insert("memorymigrations".into(), 403);
    server.put(&path(), every_minute(&json!({})));
    let controller = Controller::start(&server, &[]);
    let said = || server.get(&path())["status"]["conditions"][0]["message"].as_str().unwrap_or_default().to_owned();
    until("the server's sentence", || said().contains("403: the server's words"));
    assert_eq!(condition(&server, "Ready"), "False");
    let tried = server.calls().iter().filter(|call| call.starts_with(&format!("POST {MIGRATIONS}?"))).count();
    assert_eq!(tried, 1);
    controller.end();
}

/// An operator that was upgraded before its CRDs still looks after migrations, and says what is missing.
#[test]
fn without_the_crd_of_schedules_migrations_go_on() {
    let server = ApiServer::start(true, vec![]);
    server.cluster().lacks.insert("memorymigrationschedules".into());
    let controller = Controller::start(&server, &[]);
    controller.says(
        "/readyz",
        &["200", "schedules wait: the CRD memorymigrationschedules.memory-migration.dev is not installed"],
    );
    server.cluster().lacks.clear();
    server.put(&path(), every_minute(&json!({})));
    until("a child", || !children(&server).is_empty());
    controller.end();
}
