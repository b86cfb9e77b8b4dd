//! What becomes of a filled store later: its log is purged, collections go, servers come and go, other clients write. Whatever it
//! answers is held against a twin that Chroma filled.

use std::collections::BTreeSet;
use std::process::Command;

use super::super::support::chroma::{ChromaServer, env};
use super::super::support::migration::Migration;
use super::super::support::stores::{Store, committed};
use super::{assert_clean, assert_twins, by_files, filled, twins};

const VERSION: &str = "1.5.9";

/// Collections that are in the index and such that are in the log alone.
fn source() -> Store {
    let source = Store::absent();
    for (space, sync, name) in
        [("l2", "1000", "a-logged"), ("cosine", "20", "b-indexed"), ("cosine", "1000", "c-logged")]
    {
        twins(VERSION, &["plain", source.path(), space, sync, name]);
    }
    source
}

fn vacuum(store: &Store) {
    let done =
        Command::new(env(VERSION).chroma()).args(["vacuum", "--force", "--path", store.path()]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A store's log is purged at once and later, by the program that people use for it; the collection goes that has the newest
/// entry of the log; clients write in their own process and through a server. `FILL_MUTATIONS=all`: 1,000 changes.
#[test]
fn a_filled_store_lives_on_after_its_log_is_purged() {
    let changes = if std::env::var("FILL_MUTATIONS").as_deref() == Ok("all") { "500" } else { "60" };
    let source = source();
    let (engine, files) = (Store::absent(), Store::absent());
    Migration::new(source.path(), engine.path()).written_by(VERSION).verified();
    filled(by_files(source.path(), &files, VERSION));
    let each = |what: &str, change: &dyn Fn(&Store)| {
        for store in [&engine, &files] {
            change(store);
            vacuum(store);
        }
        assert_twins(VERSION, &engine, &files, &format!("after {what} and a purge"));
    };
    each("nothing", &|_| {});
    each("changes, with a collection gone", &|store| {
        twins(VERSION, &["drop", store.path(), "c-logged"]);
        twins(VERSION, &["live", store.path(), "8", changes]);
    });
    each("changes through a server", &|store| {
        let server = ChromaServer::start(VERSION, &store.path);
        twins(VERSION, &["live", &server.url, "9", changes]);
    });
    assert_clean(&files);
}

/// Several databases are filled in one step.
#[test]
fn several_databases_at_once() {
    let source = committed(VERSION);
    let files = Store::absent();
    let names = ["same_name", "synced_*"];
    let report = filled(by_files(source.path(), &files, VERSION).only(&names).args(["--database", "*"]));
    let databases: BTreeSet<_> =
        report.json["collections"].as_array().unwrap().iter().map(|one| one["database"].as_str()).collect();
    assert!(databases.len() > 1, "{databases:?}");
    Migration::verify(source.path(), files.path()).only(&names).args(["--database", "*"]).verified();
}
