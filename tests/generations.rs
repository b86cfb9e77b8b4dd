//! Generations with the real program and real Chroma: a copy into a folder of its own, its record and report, a restore from it,
//! and what `prune` leaves.

use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::support::chroma::{ChromaServer, env};
use super::support::command::{Output, TestCommand};
use super::support::dump::{Tolerance, assert_same, dump};
use super::support::migration::{DEFAULT, Migration, local, remote};
use super::support::stores::{Store, committed};

const FIRST: &str = "20241125T020000Z";
const SECOND: &str = "20241126T020000Z";

fn copy(version: &str, server: &ChromaServer, claim: &Path, due: &str, uid: &str) -> TestCommand {
    let manifest = json!({
        "apiVersion": "memory-migration.dev/v1alpha1", "kind": "MemoryMigration", "metadata": {"name": "nightly"},
        "spec": {
            "source": {"remote": {"url": server.url}},
            "target": {"local": {"claimName": "backup", "path": format!("copies/{due}/chroma")}},
            "pacing": {"batchSize": 1000, "delay": "0s"},
        },
    });
    let volume = format!("backup={}", claim.display());
    let generation = ["--generation-of", "team/nightly", "--migration-uid", uid];
    let command = TestCommand::new().args(["run", "-f", "-", "--volume", &volume]).args(generation);
    command.args(["--chroma-bin"]).args([env(version).chroma()]).stdin(manifest.to_string())
}

fn record(claim: &Path, due: &str) -> Json {
    let text = fs::read_to_string(claim.join("copies").join(due).join("generation.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn prune(claim: &Path, flags: &[&str]) -> Output {
    let folder = claim.join("copies");
    let args = ["prune", "--folder", folder.to_str().unwrap(), "--schedule", "team/nightly", "--keep-last", "1"];
    TestCommand::new().args(args).args(flags).run().code(0)
}

#[test]
fn a_copy_has_its_record_can_be_restored_and_goes_only_when_a_newer_one_is_good() {
    for version in ["1.0.20", "1.5.9"] {
        of_version(version);
    }
}

/// Everything of one version: the source, the server that writes the copy, and the one that a restore goes into.
fn of_version(version: &str) {
    let store = committed(version);
    let folder = Store::absent();
    let server = ChromaServer::start(version, &folder.path);
    let from = local(&store.path, DEFAULT);
    let only = ["synced_l2", "synced_cosine"];
    Migration::new(&from, &remote(&server, DEFAULT)).only(&only).verified();

    let claim = tempfile::tempdir().unwrap();
    let claim = claim.path();
    copy(version, &server, claim, FIRST, "u1").run().code(0).stdout("Succeeded (Verified)");
    let first = record(claim, FIRST);
    assert_eq!(
        (&first["state"], &first["schedule"], &first["uid"]),
        (&json!("Verified"), &json!("team/nightly"), &json!("u1"))
    );
    assert_eq!((&first["due"], &first["schema"]), (&json!("2024-11-25T02:00:00Z"), &json!(1)));
    assert!(first["bytes"].as_u64().unwrap() > 100_000 && first["records"].as_u64().unwrap() > 80, "{first}");
    let report = fs::read_to_string(claim.join("copies").join(FIRST).join("report.json")).unwrap();
    let report: Json = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["reason"], &report["targetBytes"]), (&json!("Verified"), &first["bytes"]));

    // Another migration never writes into a good copy, and the only one is never removed.
    copy(version, &server, claim, FIRST, "u2").run().code(3).stderr("another migration (u1) has verified");
    assert_eq!(record(claim, FIRST), first);
    prune(claim, &["--remove", FIRST]).stdout(&format!("kept {FIRST}"));

    copy(version, &server, claim, SECOND, "u3").run().code(0).stdout("Succeeded (Verified)");
    prune(claim, &[]).stdout(&format!("kept {FIRST}: could be removed"));
    prune(claim, &["--remove", FIRST, "--in-use", FIRST]).stdout(&format!("kept {FIRST}: it is in use"));

    // The restore of the guide: from the older copy into a new server, which then answers as production does.
    let restored = Store::absent();
    let other = ChromaServer::start(version, &restored.path);
    let copied = claim.join("copies").join(FIRST).join("chroma");
    let to = remote(&other, DEFAULT);
    Migration::new(&local(&copied, DEFAULT), &to).args(["--on-conflict", "fail"]).verified();
    let (tenant, database) = DEFAULT;
    let all = |server: &ChromaServer| dump(version, &server.url, tenant, database);
    assert_same(&all(&server), &all(&other), Tolerance { cosine: 8, doubles: 8 });

    prune(claim, &["--remove", FIRST]).stdout(&format!("removed {FIRST}"));
    assert!(!claim.join("copies").join(FIRST).exists());
    assert_eq!(record(claim, SECOND)["state"], "Verified");
}

#[test]
fn pruning_what_does_not_exist_is_a_mistake_and_removes_nothing() {
    let claim = tempfile::tempdir().unwrap();
    let prune = |args: &[&str]| TestCommand::new().args(["prune"]).args(args).run();
    let folder = claim.path().join("copies");
    let folder = folder.to_str().unwrap();
    prune(&["--folder", folder, "--schedule", "team/nightly"]).code(2).stderr("is not a folder");
    let copy = claim.path().join("copies").join(FIRST);
    fs::create_dir_all(copy.join("chroma")).unwrap();
    let record = json!({"schema": 1, "schedule": "team/nightly", "uid": "u1", "due": "2024-11-25T02:00:00Z", "state": "Incomplete"});
    fs::write(copy.join("generation.json"), record.to_string()).unwrap();
    let mistaken = prune(&["--folder", folder, "--schedule", "team/weekly", "--remove", FIRST]).code(2);
    mistaken.stderr("no generation of schedule team/weekly, but some of team/nightly");
    let absent = prune(&["--folder", folder, "--schedule", "team/nightly", "--remove", SECOND]).code(0);
    let absent = absent.stdout(&format!("{SECOND} does not exist"));
    assert!(!absent.stdout_text().contains("removed"), "{}", absent.stdout_text());
    assert!(copy.is_dir());
}

/// A run that is killed leaves a copy that counts as nothing, and the next attempt goes on with it.
#[test]
fn a_run_that_is_killed_leaves_an_incomplete_generation_that_its_next_attempt_completes() {
    let store = committed("1.5.9");
    let folder = Store::absent();
    let server = ChromaServer::start("1.5.9", &folder.path);
    Migration::new(&local(&store.path, DEFAULT), &remote(&server, DEFAULT)).only(&["synced_l2"]).verified();
    let claim = tempfile::tempdir().unwrap();
    let file = claim.path().join("copies").join(FIRST).join("generation.json");
    let mut running = copy("1.5.9", &server, claim.path(), FIRST, "u1").start();
    let start = std::time::Instant::now();
    while !file.exists() {
        assert!(start.elapsed().as_secs() < 60, "no record within a minute");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.signal(rustix::process::Signal::KILL);
    drop(running.wait());
    assert_eq!(record(claim.path(), FIRST)["state"], "Incomplete");
    prune(claim.path(), &["--remove", FIRST]).stdout(&format!("kept {FIRST}"));
    copy("1.5.9", &server, claim.path(), FIRST, "u1").run().code(0).stdout("Succeeded (Verified)");
    assert_eq!(record(claim.path(), FIRST)["state"], "Verified");
}
