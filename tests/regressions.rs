//! One test for each bug that was found and fixed; its comment says what happened.

mod damage;
mod engine;
mod files;
mod http;

use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::json;

use super::support::api::{create, write};
use super::support::chroma::ChromaServer;
use super::support::command::TestCommand;
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

/// A mover that started beside its server took the half-made tables of a new store for a layout too old to read.
#[test]
fn a_runner_reads_its_targets_files_only_when_their_server_answers() {
    let (source, target) = (committed("1.5.9"), Store::absent());
    let mut server = ChromaServer::start("1.5.9", &target.path);
    server.stop();
    // What a server has made before its first migration.
    std::fs::remove_dir_all(&target.path).unwrap();
    std::fs::create_dir(&target.path).unwrap();
    let tables = rusqlite::Connection::open(target.path.join("chroma.sqlite3")).unwrap();
    let made = "create table migrations (dir text not null, version integer not null, filename text not null, \
                sql text not null, hash text not null, primary key (dir, version))";
    tables.execute_batch(made).unwrap();
    drop(tables);
    let knocking = TcpListener::bind(("127.0.0.1", server.port)).unwrap();
    let manifest = json!({
        "apiVersion": "memory-migration.dev/v1alpha1",
        "kind": "MemoryMigration",
        "metadata": {"name": "m"},
        "spec": {
            "source": {"local": {"claimName": "from", "path": "store"}},
            "target": {"local": {"claimName": "into", "path": "store"}},
            "collections": [{"name": "values"}],
            "pacing": {"batchSize": 100, "delay": "0s"},
        },
    });
    let volume = |claim: &str, store: &Store| format!("{claim}={}", store.path.parent().unwrap().display());
    let run = TestCommand::new()
        .args(["run", "-f", "-", "--termination-log", "/dev/null", "--writer-url", &server.url])
        .args(["--volume", &volume("from", &source), "--volume", &volume("into", &target)])
        .stdin(manifest.to_string());
    let mut run = run.start();
    knocking.set_nonblocking(true).unwrap();
    while knocking.accept().is_err() {
        assert!(run.is_running(), "it did not wait for its server: {:?}", run.wait());
        std::thread::yield_now();
    }
    drop(knocking);
    server.restart();
    run.wait().code(0).stdout("verified");
}

/// Where nobody read the answer any more (`| head`), the program panicked: a migration that went well ended with 101.
#[test]
fn a_reader_who_goes_away_does_not_change_the_exit_code() {
    let store = committed("1.5.9");
    let folder = store.path.display().to_string();
    for arguments in [vec!["crd"], vec!["inspect", folder.as_str()], vec!["inspect", "/nonexistent"]] {
        let run = |closed: bool| {
            let out = || {
                let (reader, writer) = std::io::pipe().unwrap();
                drop(reader);
                if closed { Stdio::from(writer) } else { Stdio::null() }
            };
            let mut command = Command::new(env!("CARGO_BIN_EXE_memory-migration"));
            command.args(&arguments).stdout(out()).stderr(out()).status().unwrap().code()
        };
        assert_eq!(run(true), run(false), "{arguments:?}");
    }
}
