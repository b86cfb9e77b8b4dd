//! The committed stores and the support that other tests lean on, checked by themselves: nothing of ours is under test.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use super::support::chroma::{ChromaServer, Python, VERSIONS};
use super::support::command::TestCommand;
use super::support::dump::{
    Collection, Dump, Tolerance, Value, assert_same, assert_same_content, differences, dump, dump_folder,
};
use super::support::stores::{committed, damage, generated, oracle};

const DEFAULT: (&str, &str) = ("default_tenant", "default_database");

/// What each version's committed store shares with all others: `arrays` and embedding functions came with 1.x, booleans
/// of collections with 0.5, and what 1.x refuses lies in the database `unsendable`.
fn common(version: &str) -> Dump {
    let mut dump = oracle(version).in_database(DEFAULT.0, DEFAULT.1);
    dump.collections.retain(|one| one.name != "arrays" && !one.name.starts_with("embedded_"));
    for collection in &mut dump.collections {
        collection.metadata.retain(|key, _| !key.starts_with("hnsw:"));
        if collection.name == "described" {
            collection.metadata.retain(|key, _| key != "true" && key != "false");
        }
    }
    dump
}

/// Five versions, written years apart, hold the same memories: else a difference between two stores would prove nothing.
#[test]
fn committed_stores_hold_the_same_in_every_version() {
    let newest = common(VERSIONS[0]);
    assert!(newest.collections.len() >= 20);
    for version in &VERSIONS[1..] {
        assert_same(&newest, &common(version), Tolerance { cosine: 2, doubles: 0 });
    }
}

#[test]
fn the_committed_oracle_is_what_each_client_reads_today() {
    for version in VERSIONS {
        assert_same(&oracle(version), &dump_folder(version, &committed(version).path), Tolerance::EXACT);
    }
}

/// Version 0.4 loses a vector by itself; the oracle must say so, and must not give the id another record's vector.
#[test]
fn the_oracle_tells_a_lost_vector() {
    let broken = oracle("0.4.24").in_database("default_tenant", "broken");
    let (broken, whole) = (broken.collection("added_again"), oracle("0.6.3"));
    let whole = whole.in_database("default_tenant", "broken");
    assert!(broken.record("record-1").embedding.is_empty());
    assert_eq!(broken.record("record-2"), whole.collection("added_again").record("record-2"));
}

#[test]
fn a_server_gives_what_its_files_hold_also_after_a_kill() {
    let store = committed("1.5.9");
    let expected = oracle("1.5.9").in_database(DEFAULT.0, DEFAULT.1);
    let mut server = ChromaServer::start("1.5.9", &store.path);
    let read = |server: &ChromaServer| dump("1.5.9", &server.url, DEFAULT.0, DEFAULT.1);
    let first = read(&server);
    assert_same(&expected, &first, Tolerance::EXACT);
    let uuids = |dump: &Dump| dump.collections.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    assert_eq!(uuids(&expected), uuids(&first));
    let configuration = &first.collection("embedded_huggingface").configuration;
    assert_eq!(configuration["embedding_function"]["name"], "huggingface");
    server.kill();
    server.restart();
    assert_same(&expected, &read(&server), Tolerance::EXACT);
    server.stop();
}

#[test]
fn servers_of_old_versions_start_on_their_stores() {
    for version in ["0.6.3", "0.5.23", "0.4.24"] {
        let store = committed(version);
        let server = ChromaServer::start(version, &store.path);
        let expected = oracle(version).in_database("team-a", "notes");
        assert_same(&expected, &dump(version, &server.url, "team-a", "notes"), Tolerance::EXACT);
    }
}

#[test]
fn generated_stores_have_the_size_that_was_asked_for() {
    let store = generated("1.5.9", 7, 1536, "ip");
    let dump = dump_folder("1.5.9", &store.path);
    let collection = dump.only(&["generated"]).collections.remove(0);
    assert_eq!((collection.count, collection.space.as_str()), (7, "ip"));
    assert!(collection.records.iter().all(|record| record.embedding.len() == 1536));
    assert_same_content(&collection, dump.collection("generated"), Tolerance::EXACT);
}

/// The demo needs only the server, and gets the shape that the replaced script moved.
#[test]
fn the_demo_store_holds_memories() {
    let store = super::support::stores::Store::absent();
    Python::run("server", "tests/stores/demo.py", &[store.path(), "120"]);
    let dump = dump_folder("1.5.9", &store.path);
    let memories = dump.collection("memory_collection");
    assert_eq!((memories.count, memories.space.as_str()), (120, "cosine"));
    for record in &memories.records {
        assert_eq!(record.metadata.get("content_hash"), Some(&Value::Str(record.id.clone())));
        assert!(matches!(record.metadata.get("created_at"), Some(Value::Float(_))));
        assert!(matches!(record.metadata.get("timestamp"), Some(Value::Float(_))));
        assert!(record.document.as_ref().unwrap().len() > 200);
        assert_eq!(record.embedding.len(), 384);
    }
}

/// The damage that the script promises to make, seen from outside; it proves a hot journal by itself.
#[test]
fn damage_is_done() {
    for version in ["1.5.9", "0.4.24"] {
        for how in ["hot-journal", "hot-journal-at-commit"] {
            let store = committed(version);
            let rows: usize = damage(&store.path, how, &[]).parse().unwrap();
            assert!(rows > 100);
            assert!(store.path.join("chroma.sqlite3-journal").exists());
        }

        let store = committed(version);
        damage(&store.path, "wal-mode", &[]);
        assert!(fs::metadata(store.path.join("chroma.sqlite3-wal")).unwrap().len() > 0);

        let store = committed(version);
        damage(&store.path, "lose-vector", &["synced_l2", "synced-1"]);
        damage(&store.path, "unknown-migration", &[]);
        damage(&store.path, "tear", &["synced_l2"]);
        damage(&store.path, "truncate", &["synced_l2", "data_level0.bin", "100"]);
        damage(&store.path, "foreign-pickle", &["synced_l2"]);
        damage(&store.path, "truncate-database", &["9000"]);
        assert_eq!(fs::metadata(store.path.join("chroma.sqlite3")).unwrap().len(), 9000);
        assert!(!store.path.with_file_name("executed").exists());
    }
}

#[test]
fn the_comparator_sees_every_kind_of_difference() {
    let right = oracle("1.5.9").collection("absent").clone();
    let seen = |tolerance, change: &dyn Fn(&mut Collection)| {
        let mut left = right.clone();
        change(&mut left);
        differences(&left, &right, tolerance).len()
    };
    let strict = Tolerance::EXACT;
    assert_eq!(seen(strict, &|_| ()), 0);
    assert_eq!(seen(strict, &|c| c.space = "ip".into()), 1);
    assert_eq!(seen(strict, &|c| c.count += 1), 1);
    assert_eq!(seen(strict, &|c| assert!(c.metadata.insert("new".into(), Value::Bool(true)).is_none())), 1);
    assert_eq!(seen(strict, &|c| assert!(c.records.pop().is_some())), 1);
    assert_eq!(seen(strict, &|c| c.records[0].document = Some("other".into())), 1);
    assert_eq!(seen(strict, &|c| c.records[0].uri = None), 1);
    assert_eq!(seen(strict, &|c| assert!(c.records[0].metadata.insert("n".into(), Value::Int(1)).is_none())), 1);
    assert_eq!(seen(strict, &|c| assert!(c.records[0].embedding.pop().is_some())), 1);
    let moved = |by: u32| move |c: &mut Collection| c.records[0].embedding[0].iter_mut().for_each(|bits| *bits += by);
    assert_eq!(seen(strict, &moved(1)), 1);
    assert_eq!(seen(Tolerance::MIGRATED, &moved(4)), 0);
    assert_eq!(seen(Tolerance::MIGRATED, &moved(5)), 1);
}

/// A stopped process holds its connections: what a test of timeouts needs.
#[test]
fn a_server_can_be_held_and_released() {
    let store = committed("1.5.9");
    let server = ChromaServer::start("1.5.9", &store.path);
    server.signal(Signal::STOP);
    let mut held = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    held.write_all(b"GET /api/v2/heartbeat HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    held.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(held.read(&mut [0; 1]).is_err());
    server.signal(Signal::CONT);
    held.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(held.read(&mut [0; 1]).unwrap(), 1);
}

#[test]
fn the_command_is_run_with_input_and_its_end_is_told() {
    let bad =
        TestCommand::new().args(["run", "-f", "-"]).stdin("kind: Nothing").run().code(2).stderr("MemoryMigration");
    assert!(!bad.stderr_text().is_empty() && bad.stdout_text().is_empty());
    // It waits for a manifest that never comes: the pipe stays open as long as the text is being written.
    let mut waiting =
        TestCommand::new().env("NO_COLOR", "1").args(["run", "-f", "-"]).stdin(vec![b' '; 64 << 20]).start();
    waiting.signal(Signal::KILL);
    waiting.wait().killed();
}
