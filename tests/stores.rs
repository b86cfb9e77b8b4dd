//! The committed stores and the support that other tests lean on, checked by themselves: nothing of ours is under test.

use super::support::chroma::{ChromaServer, VERSIONS};
use super::support::dump::{Dump, Tolerance, Value, assert_same, differences, dump, dump_folder};
use super::support::stores::{committed, oracle};

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
fn the_committed_oracle_is_what_the_client_reads_today() {
    for version in ["1.5.9", "0.4.24"] {
        assert_same(&oracle(version), &dump_folder(version, &committed(version).path), Tolerance::EXACT);
    }
}

#[test]
fn a_server_gives_what_its_files_hold_also_after_a_kill() {
    let store = committed("1.5.9");
    let expected = oracle("1.5.9").in_database(DEFAULT.0, DEFAULT.1);
    let mut server = ChromaServer::start("1.5.9", &store.path);
    assert_same(&expected, &dump("1.5.9", &server.url, DEFAULT.0, DEFAULT.1), Tolerance { cosine: 0, doubles: 4 });
    server.kill();
    server.restart();
    assert_same(&expected, &dump("1.5.9", &server.url, DEFAULT.0, DEFAULT.1), Tolerance { cosine: 0, doubles: 4 });
    server.stop();
}

#[test]
fn the_comparator_sees_every_kind_of_difference() {
    let right = oracle("1.5.9").collection("absent").clone();
    let seen = |tolerance, change: &dyn Fn(&mut super::support::dump::Collection)| {
        let mut left = right.clone();
        change(&mut left);
        differences(&left, &right, tolerance).len()
    };
    let strict = Tolerance::EXACT;
    assert_eq!(seen(strict, &|_| ()), 0);
    assert_eq!(seen(strict, &|c| c.space = "ip".into()), 1);
    assert_eq!(seen(strict, &|c| c.count += 1), 1);
    assert_eq!(seen(strict, &|c| drop(c.metadata.insert("new".into(), Value::Bool(true)))), 1);
    assert_eq!(seen(strict, &|c| drop(c.records.pop())), 1);
    assert_eq!(seen(strict, &|c| c.records[0].document = Some("other".into())), 1);
    assert_eq!(seen(strict, &|c| c.records[0].uri = None), 1);
    assert_eq!(seen(strict, &|c| drop(c.records[0].metadata.insert("n".into(), Value::Int(1)))), 1);
    assert_eq!(seen(strict, &|c| drop(c.records[0].embedding.pop())), 1);
    let move_by = |by: u32| {
        move |c: &mut super::support::dump::Collection| {
            c.records[0].embedding[0] = c.records[0].embedding[0].map(|bits| bits + by);
        }
    };
    assert_eq!(seen(strict, &move_by(1)), 1);
    assert_eq!(seen(Tolerance::MIGRATED, &move_by(4)), 0);
    assert_eq!(seen(Tolerance::MIGRATED, &move_by(5)), 1);
}
