//! One test for each bug that was found and fixed; its comment says what happened.

use serde_json::json;

use super::support::api::{create, write};
use super::support::chroma::ChromaServer;
use super::support::dump::{Tolerance, assert_same, dump_folder};
use super::support::migration::{DEFAULT, Migration, local, remote};
use super::support::stores::{Store, committed, oracle};

/// A tenant that the store had not yet was "not found", where a new store was given it.
#[test]
fn a_tenant_is_made_in_a_local_target_that_has_others() {
    let (source, target) = (committed("1.5.9"), committed("1.5.9"));
    let new = ("team-c", "notes");
    let from = local(&source.path, ("team-a", "notes"));
    let report = Migration::new(&from, &local(&target.path, new)).written_by("1.5.9").verified();
    assert_eq!((report.count("targetBefore"), report.count("targetAfter")), (0, 2));
    let expected = oracle("1.5.9").in_database("team-a", "notes");
    let written = dump_folder("1.5.9", &target.path);
    assert_same(&expected, &written.in_database(new.0, new.1), Tolerance::MIGRATED);
    let before = oracle("1.5.9").in_database(DEFAULT.0, DEFAULT.1);
    assert_same(&before, &written.in_database(DEFAULT.0, DEFAULT.1), Tolerance::EXACT);
}

/// A run that preflight refused told its plan as "copied", in the report and in the table.
#[test]
fn a_run_that_wrote_nothing_claims_no_copies() {
    let (folder, other) = (Store::absent(), Store::absent());
    let (source, target) = (ChromaServer::start("1.5.9", &folder.path), ChromaServer::start("1.5.9", &other.path));
    for (server, document) in [(&source, "one"), (&target, "two")] {
        create(server, DEFAULT, &json!({"name": "memories"}));
        write(
            server,
            DEFAULT,
            "memories",
            "add",
            &json!({"ids": ["a"], "embeddings": [[1.0]], "documents": [document]}),
        );
    }
    write(&source, DEFAULT, "memories", "add", &json!({"ids": ["b"], "embeddings": [[2.0]]}));
    let run = Migration::new(&remote(&source, DEFAULT), &remote(&target, DEFAULT));
    let report = run.args(["--on-conflict", "fail"]).ends(6);
    assert_eq!((report.count("source"), report.count("copied"), report.count("targetAfter")), (2, 0, 0));
}

/// A store that the runner's user may not read was tried again until no retries were left, without a word of the remedy.
#[test]
fn a_store_of_somebody_else_is_refused_with_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let (source, target) = (committed("1.5.9"), Store::absent());
    let database = source.path.join("chroma.sqlite3");
    std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o000)).unwrap();
    let mut run = Migration::new(&local(&source.path, DEFAULT), &local(&target.path, DEFAULT));
    // Root reads everything: this test then runs as nobody, who must at least reach the folders.
    if rustix::process::geteuid().is_root() {
        run = run.as_nobody([&source.path]);
    }
    let report = run.written_by("1.5.9").ends(3);
    let said = report.message();
    for word in ["permission denied", "mode 0,", "this process is user", "runAsUser"] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}
