//! Many migrations, or one with trouble, from the first look to the end, as a controller process sees them: what it asks the
//! API server for, and what it does when locks and logs are not as it left them.

use std::time::{Duration, Instant};

use memory_migration_operator::controller::plan::lock;
use serde_json::{Value, json};

use super::api_server::{ApiServer, CLAIMS, LEASES, MIGRATIONS, SERVICES, until};
use super::controller::Controller;
use super::fixtures::object;
use super::kubernetes::{Step, come_to, jobs, pod};

/// A migration into a database of its own.
pub(super) fn migration(name: &str) -> Value {
    let target = format!("{{remote: {{service: {{name: chroma}}, database: {name}}}}}");
    let mut migration = object("{local: {claimName: dev}}", &target, "");
    migration.metadata.name = Some(name.into());
    migration.metadata.uid = Some(format!("uid-of-{name}"));
    serde_json::to_value(&migration).unwrap()
}

pub(super) fn lock_of(name: &str) -> String {
    let migration = serde_json::from_value::<memory_migration_operator::api::MemoryMigration>(migration(name)).unwrap();
    format!("{LEASES}/{}", lock::of_target(&migration.spec, "team").unwrap())
}

/// With the claim and the Service that all of them name.
pub(super) fn server(names: &[String]) -> ApiServer {
    let server = ApiServer::start(true, names.iter().map(|name| migration(name)).collect());
    server.put(
        &format!("{CLAIMS}/dev"),
        json!({"metadata": {"name": "dev"}, "spec": {"accessModes": ["ReadWriteOnce"]}}),
    );
    server.put(&format!("{SERVICES}/chroma"), json!({"metadata": {"name": "chroma"}}));
    server
}

pub(super) fn reason(server: &ApiServer, name: &str) -> Value {
    server.get(&format!("{MIGRATIONS}/{name}"))["status"]["conditions"][0]["reason"].clone()
}

/// Waits for the Job of this migration and brings its pod up to copying.
fn copies(server: &ApiServer, name: &str) -> String {
    let ours = |job: &String| job.starts_with(&format!("{name}-"));
    until("its Job", || jobs(server).iter().any(ours));
    let job = jobs(server).into_iter().find(ours).unwrap();
    for step in [Step::Scheduled, Step::Preflight, Step::Mover, Step::Copied(10)] {
        come_to(server, &job, step);
    }
    until("it to copy", || reason(server, name) == "Copying");
    job
}

/// What is there may come from what the watches hold. Before anything is made, taken, given back or ended, the API server is
/// read: that costs some tens of reads an object, however long its run is.
#[test]
fn thirty_migrations_are_followed_from_the_watches() {
    let names: Vec<String> = (0..30).map(|n| format!("move-{n}")).collect();
    let server = server(&names);
    let controller = Controller::start(&server, &[]);
    until("all Jobs", || jobs(&server).len() == names.len());
    let all = jobs(&server);
    let everywhere = |step| all.iter().for_each(|job| come_to(&server, job, step));
    let start = Instant::now();
    for step in [Step::Scheduled, Step::Preflight, Step::Mover] {
        everywhere(step);
        std::thread::sleep(Duration::from_secs(1));
    }
    // Runs that take their time: what is measured is what following them costs.
    while start.elapsed() < Duration::from_secs(25) {
        everywhere(Step::Copied(start.elapsed().as_secs()));
        std::thread::sleep(Duration::from_secs(1));
    }
    everywhere(Step::Ended(0));
    until("all to end", || names.iter().all(|name| reason(&server, name) == "Verified"));
    controller.end();
    let (logs, reads): (Vec<_>, Vec<_>) = server.reads().into_iter().partition(|call| call.contains("/log?"));
    println!("{} reads, and {} of logs, in {:?}", reads.len(), logs.len(), start.elapsed());
    assert!(reads.len() <= 45 * names.len(), "{} reads", reads.len());
}

#[test]
fn a_lock_that_is_deleted_by_hand_is_taken_again_and_one_that_another_holds_stops_the_run() {
    let names = ["move".to_owned(), "other".to_owned()];
    let server = server(&names);
    let controller = Controller::start(&server, &[]);
    let job = copies(&server, "move");
    let path = lock_of("move");
    let first = server.get(&path);
    server.delete(&path);
    until("the lock to be taken again", || !server.get(&path).is_null());
    let second = server.get(&path);
    assert_eq!(second["spec"]["holderIdentity"], first["spec"]["holderIdentity"]);
    assert_ne!(second["metadata"]["uid"], first["metadata"]["uid"]);
    assert_eq!((jobs(&server).contains(&job), reason(&server, "move")), (true, json!("Copying")), "the run goes on");
    let mut taken = second;
    taken["metadata"]["uid"] = json!("of-another");
    taken["spec"]["holderIdentity"] = json!("uid-of-other");
    taken["metadata"]["labels"]["memory-migration.dev/uid"] = json!("uid-of-other");
    taken["metadata"]["annotations"]["memory-migration.dev/holder"] = json!("team/other");
    server.put(&path, taken);
    until("the run to be stopped", || !jobs(&server).contains(&job));
    until("that to be said", || reason(&server, "move") == "TargetBusy");
    assert_eq!(server.get(&path)["spec"]["holderIdentity"], "uid-of-other", "it is not ours to give back");
    controller.end();
}

/// Who waits for a lock is woken when somebody deletes it by hand, and is as fast as the run that works without it.
#[test]
fn a_lock_that_is_deleted_by_hand_goes_to_nobody_else_while_the_run_works() {
    let server = server(&["move".to_owned()]);
    let controller = Controller::start(&server, &[]);
    let job = copies(&server, "move");
    let mut waits = migration("move");
    (waits["metadata"]["name"], waits["metadata"]["uid"]) = (json!("other"), json!("uid-of-other"));
    server.add(waits);
    until("the other one to wait", || reason(&server, "other") == "TargetBusy");
    let path = lock_of("move");
    for _ in 0..8 {
        let before = server.get(&path)["metadata"]["uid"].clone();
        server.delete(&path);
        until("the lock to be taken again", || {
            let lease = server.get(&path);
            assert_eq!(jobs(&server), std::slice::from_ref(&job), "one runner");
            !lease.is_null() && lease["metadata"]["uid"] != before
        });
        assert_eq!(server.get(&path)["spec"]["holderIdentity"], "uid-of-move");
    }
    come_to(&server, &job, Step::Ended(0));
    until("the run to end", || reason(&server, "move") == "Verified");
    until("the other one to begin", || jobs(&server).iter().any(|job| job.starts_with("other-")));
    controller.end();
}

/// The logs of one node's pods are never answered: more of them than the controller looks at at once.
#[test]
fn an_unreachable_kubelet_starves_no_other_object() {
    let lost: Vec<String> = (0..4).map(|n| format!("lost-{n}")).collect();
    let names: Vec<String> = lost.iter().cloned().chain(["well".to_owned()]).collect();
    let server = server(&names);
    let controller = Controller::start(&server, &["--concurrency", "2"]);
    until("all Jobs", || jobs(&server).len() == names.len());
    for job in jobs(&server) {
        if !job.starts_with("well") {
            server.cluster().unreachable.insert(pod(&job));
        }
        for step in [Step::Scheduled, Step::Preflight, Step::Mover, Step::Copied(5)] {
            come_to(&server, &job, step);
        }
    }
    until("the logs of the lost ones to be asked for", || {
        lost.iter().all(|name| server.reads().iter().any(|call| call.contains(name.as_str()) && call.contains("/log?")))
    });
    let job = copies(&server, "well");
    come_to(&server, &job, Step::Ended(0));
    until("the other one to end", || reason(&server, "well") == "Verified");
    for name in &lost {
        assert_eq!(reason(&server, name), "Preflight", "nothing is made up");
    }
    controller.end();
}
