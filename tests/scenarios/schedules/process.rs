//! Schedules as a controller process carries them out, against an API server that is killed away from at any moment.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::super::api_server::{ApiServer, CLAIMS, JOBS, LEASES, MIGRATIONS, PODS, SERVICES, until};
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

/// Each call is one that the chart's roles allow.
#[track_caller]
fn assert_all_allowed(server: &ApiServer) {
    for call in server.calls() {
        let (line, query) = call.split_once('?').unwrap();
        if line.contains("/namespaces/") {
            rights::assert_allowed(line, query);
        }
    }
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
    assert_all_allowed(&server);
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

/// A prune Job's pod has ended, and left this report.
fn has_pruned(server: &ApiServer, report: &Value) -> String {
    until("a prune Job", || jobs(server).iter().any(|job| job.starts_with("nightly-prune-")));
    let name = jobs(server).into_iter().find(|job| job.starts_with("nightly-prune-")).unwrap();
    let job = server.get(&format!("{JOBS}/{name}"));
    let state = json!({"terminated": {"exitCode": 0, "message": report.to_string()}});
    server.put(
        &format!("{PODS}/{name}-pod"),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{name}-pod"), "labels": job["spec"]["template"]["metadata"]["labels"],
                         "annotations": job["spec"]["template"]["metadata"]["annotations"],
                         "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}]},
            "spec": {"containers": [{"name": "prune"}]},
            "status": {"phase": "Succeeded", "containerStatuses": [
                {"name": "prune", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]},
        }),
    );
    let mut ended = job.clone();
    ended["status"] = json!({"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]});
    server.put(&format!("{JOBS}/{name}"), ended);
    let args = job["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    args.iter().map(|arg| arg.as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

/// How many locks a schedule holds.
fn locks(server: &ApiServer) -> usize {
    let cluster = server.cluster();
    let held = cluster.objects.iter().filter(|(path, _)| path.starts_with(LEASES));
    let kind = "memory-migration.dev/holder-kind";
    held.filter(|(_, lease)| lease["metadata"]["annotations"][kind] == "MemoryMigrationSchedule").count()
}

/// Under the target's lock, by Jobs, said before, with the rights that the chart gives.
#[test]
fn generations_are_written_found_said_and_removed() {
    let target = json!({"target": {"remote": null, "local": {"claimName": "backup", "path": "copies"}},
                        "source": {"local": null, "remote": {"service": {"name": "chroma"}}}});
    let schedule = every_minute(&json!({"generations": {"keep": {"last": 1}}, "template": {"spec": target}}));
    let server = server(schedule);
    server.put(
        &format!("{CLAIMS}/backup"),
        json!({"metadata": {"name": "backup"}, "spec": {"accessModes": ["ReadWriteOnce"]}}),
    );
    let controller = Controller::start(&server, &[]);
    until("a child", || !children(&server).is_empty());
    let name = children(&server).remove(0);
    // the next minute may come meanwhile
    until("its name in the status", || server.get(&path())["status"]["active"]["name"] == name.as_str());
    let mut suspended = server.get(&path());
    suspended["spec"]["suspend"] = json!(true);
    server.put(&path(), suspended);
    let child = server.get(&format!("{MIGRATIONS}/{name}"));
    let store = child["spec"]["target"]["local"]["path"].as_str().unwrap().to_owned();
    let folder = store.strip_prefix("copies/").and_then(|store| store.strip_suffix("/chroma")).unwrap().to_owned();
    let ours = |job: &String| job.starts_with(&format!("{name}-"));
    until("its Job", || jobs(&server).iter().any(ours));
    let job = jobs(&server).into_iter().find(ours).unwrap();
    let pod = server.get(&format!("{JOBS}/{job}"))["spec"]["template"]["spec"].clone();
    for container in [&pod["containers"][0], &pod["initContainers"][0]] {
        let args = container["args"].to_string();
        assert!(args.contains(r#""--generation-of","team/nightly","--migration-uid","uid-"#), "{args}");
        let mounts = container["volumeMounts"].as_array().unwrap();
        let claim = mounts.iter().find(|mount| mount["name"] == "target").unwrap();
        assert!(claim["readOnly"].is_null(), "{claim}");
    }
    ends(&server, &name, true);

    // The first Job only looks: an earlier schedule of that name has left a copy.
    let old = "20241101T020000Z";
    let found = json!({"schema": 1, "found": [{"folder": old, "state": "Verified", "records": 5, "bytes": 9}]});
    let args = has_pruned(&server, &found);
    let flags =
        "--schedule team/nightly --time-zone Etc/UTC --keep-last 1 --keep-daily 0 --keep-weekly 0 --keep-monthly 0";
    let report = "--termination-log /dev/termination-log";
    assert_eq!(args, format!("prune --folder /volumes/target/copies {flags} --known {folder} {report}"));
    let status = |part: &str| server.get(&self::path())["status"][part].clone();
    until("what goes next", || status("pruning")["removable"] == json!([old]));
    let args = has_pruned(&server, &json!({"schema": 1, "removed": [old]}));
    assert!(args.contains(&format!("--remove {old} --known {old} --known {folder} {report}")), "{args}");
    until("the old one to go", || status("generations").as_array().map_or(0, Vec::len) == 1);
    assert_eq!((&status("generations")[0]["folder"], &status("goodGenerations")), (&json!(folder), &json!(1)));
    until("the end", || status("pruning")["working"] == false);
    let left: Vec<String> = jobs(&server).into_iter().filter(|job| job.starts_with("nightly-prune-")).collect();
    assert_eq!((locks(&server), left), (0, Vec::<String>::new()));
    metric(&controller, "memory_migration_schedule_generations{name=\"nightly\",namespace=\"team\"} 1");
    controller.end();
    assert_all_allowed(&server);
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
