//! A controller that starts beside many finished migrations: what it reads, and that it writes nothing but what is due.

use k8s_openapi::jiff::Timestamp;
use memory_migration_operator::report::evidence::{Digest, lines};
use serde_json::{Value, json};

use super::api_server::{ApiServer, JOBS, LEASES, MIGRATIONS, PODS, until};
use super::controller::Controller;
use super::fleet::{migration, reason, server};
use super::kubernetes::{Step, come_to, jobs, pod};

/// Finished migrations beside which a controller starts, unless the variable `FINISHED` says so.
const FINISHED: usize = 200;

/// Watched kinds: migrations, Jobs, pods, Leases. Each is listed once, and the leader's Lease is not counted.
const WATCHES: usize = 4;

/// What stands in a cluster after one migration has ended: the object, its Job and its pod.
struct Ended {
    object: Value,
    job: Value,
    pod: Value,
}

fn ended() -> Ended {
    let server = server(&["move".to_owned()]);
    let controller = Controller::start(&server, &[]);
    until("its Job", || !jobs(&server).is_empty());
    let job = jobs(&server).remove(0);
    let path = format!("{JOBS}/{job}");
    for step in [Step::Scheduled, Step::Preflight, Step::Mover, Step::Copied(10), Step::Ended(0)] {
        come_to(&server, &job, step);
    }
    until("it to end", || reason(&server, "move") == "Verified");
    until("its lock to be given back", || server.cluster().objects.keys().all(|path| !is_lock(path)));
    controller.end();
    Ended { object: server.get(&format!("{MIGRATIONS}/move")), job: server.get(&path), pod: server.get(&pod(&job)) }
}

fn is_lock(path: &str) -> bool {
    path.starts_with(LEASES) && !path.ends_with("-leader")
}

/// The same under another name. `with_job`: its Job and its pod are not removed yet.
fn put(server: &ApiServer, ended: &Ended, n: usize, with_job: bool) {
    let name = format!("done-{n:04}");
    let mut object = ended.object.clone();
    (object["metadata"]["name"], object["metadata"]["uid"]) = (json!(name), json!(format!("uid-of-{name}")));
    let (mut job, mut pod) = (ended.job.clone(), ended.pod.clone());
    let (job_name, job_uid) = (format!("job-of-{name}"), format!("uid-of-the-job-of-{name}"));
    object["status"]["jobName"] = json!(job_name);
    object["status"]["jobUID"] = json!(job_uid);
    server.put(&format!("{MIGRATIONS}/{name}"), object);
    if !with_job {
        return;
    }
    (job["metadata"]["name"], job["metadata"]["uid"]) = (json!(job_name), json!(job_uid));
    (pod["metadata"]["name"], pod["metadata"]["uid"]) = (json!(format!("{job_name}-pod")), json!(format!("pod-{n}")));
    job["metadata"]["ownerReferences"][0]["uid"] = json!(format!("uid-of-{name}"));
    job["metadata"]["ownerReferences"][0]["name"] = json!(name);
    pod["metadata"]["ownerReferences"][0] =
        json!({"apiVersion": "batch/v1", "kind": "Job", "name": job_name, "uid": job_uid});
    for object in [&mut job, &mut pod] {
        object["metadata"]["labels"]["memory-migration.dev/uid"] = json!(format!("uid-of-{name}"));
        object["metadata"]["annotations"]["memory-migration.dev/name"] = json!(name);
    }
    server.put(&format!("{JOBS}/{job_name}"), job);
    server.put(&format!("{PODS}/{job_name}-pod"), pod);
}

/// Each finished migration was read by four requests. What the watches list anyway is enough to see that nothing is left to
/// do; where something is left, it is done after a look at the API server.
#[test]
fn finished_migrations_cost_a_restart_no_read_and_no_write() {
    let ended = ended();
    let server = server(&[]);
    let finished = std::env::var("FINISHED").map_or(FINISHED, |number| number.parse().unwrap());
    for n in 0..finished {
        put(&server, &ended, n, n % 10 == 0);
    }
    let controller = Controller::start(&server, &[]);
    let all: Vec<String> = (0..finished)
        .map(|n| format!("status_phase{{name=\"done-{n:04}\",namespace=\"team\",phase=\"Succeeded\"}} 1"))
        .collect();
    until("all to be seen", || {
        let metrics = controller.ask("/metrics").unwrap_or_default();
        all.iter().all(|series| metrics.contains(series))
    });
    let reads = server.reads();
    let has = |field| controller.process.kib(field).unwrap_or_default() / 1024;
    println!("{finished} finished: {} reads: {reads:?}; {} MiB, at most {}", reads.len(), has("VmRSS:"), has("VmHWM:"));
    // the CRD is looked for before, and locks without a holder are swept meanwhile
    assert!(reads.len() <= WATCHES + 5, "{} reads", reads.len());
    assert_eq!(server.writes(), Vec::<String>::new());

    // what happens to one of them is seen, and read from the API server before anything is done
    let path = format!("{MIGRATIONS}/done-0001");
    let mut edited = server.get(&path);
    edited["spec"]["runId"] = json!("again");
    edited["metadata"]["generation"] = json!(2);
    server.put(&path, edited);
    until("a new run", || jobs(&server).iter().any(|job| job.starts_with("done-0001-")));
    assert!(server.reads().iter().any(|call| call.contains("memorymigrations/done-0001")));
    controller.end();
    let writes = server.writes();
    assert!(writes.iter().all(|call| call.contains("done-0001") || call.starts_with("POST ")), "{writes:?}");
}

/// A lock that a controller left behind when it was killed is given back by the next one: the watches show that it is held.
#[test]
fn what_a_finished_migration_still_holds_is_given_back_after_a_restart() {
    let ended = ended();
    let server = ApiServer::start(true, vec![]);
    for n in 0..3 {
        put(&server, &ended, n, false);
    }
    let holder = serde_json::from_value(migration("done-0001")).unwrap();
    let lease = memory_migration_operator::controller::plan::lock::lease(&holder, "left-behind");
    server.put(&format!("{LEASES}/left-behind"), serde_json::to_value(&lease).unwrap());
    let controller = Controller::start(&server, &[]);
    until("the lock to be given back", || server.get(&format!("{LEASES}/left-behind")).is_null());
    controller.end();
    assert_eq!(server.writes(), Vec::<String>::new(), "and nothing else is written");
}

/// What the controller that was killed still tried to keep, the next one keeps: such an object does not rest.
#[test]
fn a_report_that_is_owed_is_kept_after_a_restart() {
    let ended = ended();
    let server = ApiServer::start(true, vec![]);
    put(&server, &ended, 0, true);
    let text = json!({"schema": 2, "message": "the whole report"}).to_string();
    let object = format!("{MIGRATIONS}/done-0000");
    let mut owes = server.get(&object);
    // in whole seconds, as the controller writes it
    let until_then = Timestamp::from_second(Timestamp::now().as_second() + 600).unwrap();
    owes["status"]["report"] = json!({"message": "the log cannot be read", "retryUntil": until_then.to_string()});
    server.put(&object, owes);
    let path = format!("{PODS}/job-of-done-0000-pod");
    let mut pod = server.get(&path);
    let containers = pod["status"]["containerStatuses"].as_array_mut().unwrap();
    let mover = containers.iter_mut().find(|container| container["name"] == "mover").unwrap();
    let message = &mut mover["state"]["terminated"]["message"];
    let mut summary: Value = serde_json::from_str(message.as_str().unwrap()).unwrap();
    summary["report"] = serde_json::to_value(Digest::of(&text)).unwrap();
    *message = json!(summary.to_string());
    server.put(&path, pod);
    let log: String = lines(&text).iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    server.cluster().logs.insert(path, log);

    let controller = Controller::start(&server, &[]);
    until("the report to be named", || server.get(&object)["status"]["report"]["configMap"] == "done-0000-report");
    controller.end();
    let kept = server.get("/api/v1/namespaces/team/configmaps/done-0000-report");
    assert_eq!(kept["data"]["report.json"], text);
    assert!(server.get(&object)["status"]["report"]["retryUntil"].is_null());
    assert_eq!(reason(&server, "done-0000"), "Verified");
}
