//! Stores of which a part cannot be read at all: that part is named, and everything else is shown and moved.

use serde_json::Value as Json;

use crate::support::chroma::{ChromaServer, VERSIONS};
use crate::support::command::{Output, TestCommand};
use crate::support::dump::{Tolerance, assert_same, dump};
use crate::support::migration::{DEFAULT, Migration, local, remote};
use crate::support::stores::{Store, committed, oracle};

fn inspect(store: &Store, args: &[&str]) -> Output {
    TestCommand::new().args(["inspect", store.path()]).args(args).run()
}

fn change(store: &Store, sql: &str) {
    let tables = rusqlite::Connection::open(store.path.join("chroma.sqlite3")).unwrap();
    tables.execute_batch(&format!("pragma foreign_keys = off; {sql}")).unwrap();
}

const IN_DEFAULT: &str = "select c.id from collections c join databases d on d.id = c.database_id where d.name = \
                          'default_database' and d.tenant_id = 'default_tenant' and c.name = ";

/// chroma#2104, chroma#2928: Chroma 0.4 made a collection and its segments in two transactions. One that was killed in
/// between stopped the migration of all others, and `inspect` showed none.
#[test]
fn a_collection_without_segments_is_skipped_by_name() {
    for version in VERSIONS {
        let store = committed(version);
        change(&store, &format!("delete from segments where collection = ({IN_DEFAULT} 'texts_log')"));
        let shown = inspect(&store, &[]).code(5).stdout("synced_cosine").stdout("has no segments");
        let row = shown.stdout_text().lines().find(|line| line.trim_start().starts_with("texts_log")).unwrap();
        assert!(row.contains("unreadable"), "{version}: {row}");
        let found: Json = serde_json::from_str(inspect(&store, &["--json"]).code(5).stdout_text()).unwrap();
        for one in found["collections"].as_array().unwrap() {
            assert_eq!(one["records"].is_null(), one["name"] == "texts_log", "{version}: {one}");
            assert_eq!(one["damage"].is_array(), one["name"] == "texts_log", "{version}: {one}");
        }
        let target = Store::absent();
        let server = ChromaServer::start("1.5.9", &target.path);
        let run = || Migration::new(&local(&store.path, DEFAULT), &remote(&server, DEFAULT));
        let report = run().ends(5);
        report.says(&["\"texts_log\" was skipped", "has no segments"]);
        assert_eq!(report.check("source-collection")["ok"], false);
        let mut expected = oracle(version).in_database(DEFAULT.0, DEFAULT.1);
        expected.collections.retain(|one| one.name != "texts_log");
        assert_eq!(report.count("verified"), expected.collections.iter().map(|one| one.count).sum::<u64>());
        let written = dump("1.5.9", &server.url, DEFAULT.0, DEFAULT.1);
        assert_same(&expected, &written, Tolerance::MIGRATED);
        run().only(&["texts_log"]).ends(3).says(&["no other record to move", "has no segments"]);
        run().only(&["synced_l2"]).verified();
        Migration::verify(&local(&store.path, DEFAULT), &remote(&server, DEFAULT)).ends(5).says(&["texts_log"]);
    }
}
