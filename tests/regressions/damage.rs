//! Stores of which a part cannot be read at all: that part is named, and everything else is shown and moved.

use serde_json::{Value as Json, json};

use crate::support::chroma::{ChromaServer, Python, VERSIONS, env};
use crate::support::command::{Output, TestCommand};
use crate::support::dump::{Tolerance, assert_same, dump};
use crate::support::migration::{DEFAULT, Migration, local, remote};
use crate::support::stores::{Store, committed, damage, oracle};

use super::files::everything;

fn inspect(store: &Store, args: &[&str]) -> Output {
    TestCommand::new().args(["inspect", store.path()]).args(args).run()
}

pub(super) fn change(store: &Store, sql: &str) {
    let tables = rusqlite::Connection::open(store.path.join("chroma.sqlite3")).unwrap();
    tables.execute_batch(&format!("pragma foreign_keys = off; {sql}")).unwrap();
}

pub(super) const IN_DEFAULT: &str = "select c.id from collections c join databases d on d.id = c.database_id where d.name = \
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

/// A leaf of an index, or of a small table, that `SQLite` cannot read: the whole store was refused, with "restore it from a
/// backup".
#[tokio::test]
async fn a_bad_page_costs_what_stood_on_it_and_no_more() {
    // tables whose rows are elsewhere, too, or say nothing that is not known
    let harmless = [
        "sqlite_autoindex_tenants_1",
        "sqlite_autoindex_databases_1",
        "sqlite_autoindex_databases_2",
        "sqlite_autoindex_collections_1",
        "sqlite_autoindex_collections_2",
        "sqlite_autoindex_collection_metadata_1",
        "sqlite_autoindex_segments_1",
        "sqlite_autoindex_segment_metadata_1",
        "sqlite_autoindex_max_seq_id_1",
        "sqlite_autoindex_embedding_metadata_1",
        "max_seq_id",
        "migrations",
        "tenants",
    ];
    let costly = ["sqlite_autoindex_embeddings_1", "embeddings", "embedding_metadata", "embeddings_queue"];
    for version in ["1.5.9", "0.4.24"] {
        let whole = everything(&committed(version).path).await.unwrap();
        let total = whole.values().flat_map(|found| found.vectors.values()).flatten().count();
        for tree in harmless.into_iter().chain(costly) {
            let case = format!("{version}: {tree}");
            let store = committed(version);
            damage(&store.path, "bad-page", &[tree]);
            // first of all: pages are not checked while another process, as this one, has the store open
            let shown = inspect(&store, &[]);
            assert_eq!(shown.exit_code(), 5, "{case}: {shown:?}");
            shown.stdout("COLLECTION").stdout("damaged");
            let found = everything(&store.path).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(found.values().all(|one| !one.remarks.damage.is_empty()), "{case}");
            let mut readable = 0;
            for (name, one) in &found {
                let ids: Vec<_> = one.vectors.keys().collect();
                if tree != "embeddings" {
                    assert_eq!(ids, whole[name].vectors.keys().collect::<Vec<_>>(), "{case}: {name}");
                }
                for (id, vector) in one.vectors.iter().filter(|(_, vector)| vector.is_some()) {
                    readable += 1;
                    // without a watermark the log's vector is taken, which the index has an ULP beside it
                    let (one, other) = (vector.iter().flatten(), whole[name].vectors[id].iter().flatten());
                    let far = one.zip(other).map(|(a, b)| a.abs_diff(*b)).max();
                    let length = |vector: &Option<Vec<u32>>| vector.as_ref().map(Vec::len);
                    assert_eq!(length(vector), length(&whole[name].vectors[id]), "{case}: {name}: {id}");
                    assert!(far <= Some(2), "{case}: {name}: {id}: {far:?}");
                }
            }
            let least = if costly.contains(&tree) { total * 3 / 4 } else { total };
            assert!(readable >= least, "{case}: {readable} of {total}");
        }
    }
}

/// What is not on the pages that can be read is not absent: `SourceNotFound` waits, and an empty list is a success.
#[tokio::test]
async fn a_lost_page_of_the_collections_is_no_empty_store() {
    for version in ["1.5.9", "0.4.24"] {
        for (tree, kind) in [("collections", "internal"), ("databases", "leaf"), ("tenants", "leaf")] {
            let store = committed(version);
            damage(&store.path, "bad-page", &[tree, kind]);
            match tree {
                // the indexes on it have ids and names
                "collections" => {
                    let shown = inspect(&store, &[]).code(5).stdout("synced_l2");
                    drop(shown.stdout("a page of SQLite's table collections cannot be read"));
                }
                // the default database is known by its id
                _ => drop(inspect(&store, &[]).code(5).stdout("synced_l2")),
            }
        }
    }
}

/// 40 documents of 16 MiB took 596 MB: windows were cut by numbers of records, and a window of large ones was held as a whole.
/// Here 96 MiB go there and back in texts of 4 MiB.
#[test]
fn large_records_are_held_one_at_a_time() {
    const MOST: u64 = 150;
    let (source, target, back) = (Store::absent(), Store::absent(), Store::absent());
    Python::run("1.5.9", "tests/stores/history.py", &[source.path(), "large", "24", "4194304"]);
    let server = ChromaServer::start("1.5.9", &target.path);
    let chroma = env("1.5.9").chroma();
    let run = |from: &str, to: &str| {
        let command = TestCommand::new().args(["migrate", "--batch-size", "1000", "--delay", "0", "--chroma-bin"]);
        let command = command.args([&chroma]).args(["--source-config", from, "--target-config", to]);
        let (output, peak) = command.start().measured();
        output.code(0).stdout("324 records verified");
        assert!(peak > 0 && peak <= MOST, "{from} to {to}: {peak} MiB");
    };
    run(source.path(), &server.url);
    run(&server.url, back.path());
}

/// The sidecar's layout was told by words: Chroma 0.6.3 on a store of 0.5, or 1.5.9 on one of an older 1.x, would have
/// changed it in place.
#[test]
fn a_sidecar_is_held_against_the_store_s_migrations() {
    for version in VERSIONS {
        let (from, into) = (committed("1.5.9"), committed(version));
        for image in VERSIONS {
            let manifest = json!({
                "apiVersion": "memory-migration.dev/v1alpha1",
                "kind": "MemoryMigration",
                "metadata": {"name": "m"},
                "spec": {
                    "source": {"local": {"claimName": "from", "path": "store"}},
                    "target": {"local": {"claimName": "into", "path": "store", "image": format!("chroma:{image}")}},
                    "collections": [{"name": "values", "targetName": "new_values"}],
                },
            });
            let volume = |claim: &str, store: &Store| format!("{claim}={}", store.path.parent().unwrap().display());
            let run = TestCommand::new()
                .args(["run", "-f", "-", "--termination-log", "/dev/null", "--preflight-only"])
                .args(["--volume", &volume("from", &from), "--volume", &volume("into", &into)])
                .stdin(manifest.to_string())
                .run();
            // 0.5.23 and 0.6.3 have the same migrations
            let family =
                |version: &str| if version.starts_with("0.6") { "0.5.23".to_owned() } else { version.to_owned() };
            let is_same = family(version) == family(image);
            let text = format!("{}{}", run.stdout_text(), run.stderr_text());
            assert_eq!(text.contains("target-layout: "), !is_same, "{image} on a store of {version}:\n{text}");
        }
    }
}
