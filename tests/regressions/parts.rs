//! One odd cell, row or table in a store: it costs what stood in it, everything else is read, and its true cause is said.

use std::collections::BTreeMap;

use memory_migration_operator::model::Fetched;
use memory_migration_operator::store::Reader;
use memory_migration_operator::store::files::LocalStore;

use crate::support::chroma::{ChromaServer, Python, VERSIONS};
use crate::support::command::TestCommand;
use crate::support::migration::{DEFAULT, Migration, local, remote};
use crate::support::stores::{Store, committed, damage};

use super::damage::{IN_DEFAULT, change};
use super::files::{Found, Vectors, everything, folder, one, says};

/// Vectors that can be read; cosine vectors move by an ULP or two between an index and the log.
#[track_caller]
fn readable(found: &Vectors, whole: &Vectors, case: &str) -> usize {
    for (id, vector) in found.iter().filter(|(_, vector)| vector.is_some()) {
        let far = vector.iter().flatten().zip(whole[id].iter().flatten()).map(|(a, b)| a.abs_diff(*b)).max();
        let length = |vector: &Option<Vec<u32>>| vector.as_ref().map(Vec::len);
        assert!(far <= Some(2) && length(vector) == length(&whole[id]), "{case}: {id}: {far:?}");
    }
    found.values().flatten().count()
}

#[track_caller]
fn same(found: &BTreeMap<String, Found>, whole: &BTreeMap<String, Found>, case: &str) {
    assert!(found.keys().eq(whole.keys()), "{case}");
    for (name, found) in found {
        let case = format!("{case}: {name}");
        let all = whole[name].vectors.values().flatten().count();
        assert_eq!(readable(&found.vectors, &whole[name].vectors, &case), all, "{case}");
    }
}

/// A text, or 20 bytes, in one cell of `max_seq_id`: nothing of any collection was read.
#[tokio::test]
async fn an_odd_watermark_is_none() {
    for version in VERSIONS {
        let whole = everything(&committed(version).path).await.unwrap();
        for (cell, words) in
            [("'abc'", "holds a text for"), ("x'ffffffffffffffffffffffffffffffffffffffff'", "holds 20 bytes for")]
        {
            for scope in ["METADATA", "VECTOR"] {
                let case = format!("{version} {scope} {cell}");
                let store = committed(version);
                change(
                    &store,
                    &format!(
                        "update max_seq_id set seq_id = {cell} where segment_id in (select id from segments where scope = \
                         '{scope}' and collection = ({IN_DEFAULT} 'synced_l2'))"
                    ),
                );
                let after = everything(&store.path).await.unwrap();
                same(&after, &whole, &case);
                // 0.4 has no row for an index
                if version != "0.4.24" || scope == "METADATA" {
                    let found = &after["default_tenant/default_database/synced_l2"];
                    says(&found.remarks.damage, &["max_seq_id", words, "is not known"]);
                }
            }
        }
    }
}

/// A row without a number for its last change: nothing of its collection was read.
#[tokio::test]
async fn an_odd_number_of_a_row_costs_nothing() {
    for version in VERSIONS {
        let whole = one(&committed(version).path, "synced_cosine").await;
        let id = whole.vectors.keys().find(|id| !whole.from_log.contains(*id)).unwrap();
        for cell in ["'abc'", "x'ffffffffffffffffffffffffffffffffffffffff'", "1.5"] {
            let case = format!("{version} {cell}");
            let store = committed(version);
            change(
                &store,
                &format!(
                    "update embeddings set seq_id = {cell} where embedding_id = '{id}' and segment_id in (select id from \
                     segments where collection = ({IN_DEFAULT} 'synced_cosine'))"
                ),
            );
            let found = one(&store.path, "synced_cosine").await;
            assert_eq!(readable(&found.vectors, &whole.vectors, &case), whole.vectors.len(), "{case}");
            says(&found.remarks.damage, &[&format!("no number for the last change of 1 record ({id:?})")]);
        }
    }
}

/// A page of `segments` was told as "no segments: Chroma was ended while it made the collection".
#[test]
fn a_bad_page_of_the_segments_is_called_so() {
    for version in ["0.4.24", "1.5.9"] {
        let store = committed(version);
        damage(&store.path, "bad-page", &["segments"]);
        let shown = TestCommand::new().args(["inspect", store.path()]).run().code(5);
        let shown = shown.stdout("a page of the table segments cannot be read");
        assert!(!shown.stdout_text().contains("Chroma was ended"), "{version}");
    }
}

/// Two VECTOR segments, or none: nothing was read, and the message held a raw list.
#[tokio::test]
async fn a_doubled_or_missing_segment_costs_the_index_at_most() {
    for version in VERSIONS {
        let whole = one(&committed(version).path, "synced_l2").await;
        let of = |scope: &str| format!("scope = '{scope}' and collection = ({IN_DEFAULT} 'synced_l2')");
        let double = |scope: &str, id: &str| {
            let columns =
                if version == "0.4.24" { "type, scope, topic, collection" } else { "type, scope, collection" };
            format!("insert into segments (id, {columns}) select '{id}', {columns} from segments where {}", of(scope))
        };
        for (scope, words) in [("VECTOR", "2 VECTOR segments, of which"), ("METADATA", "2 METADATA segments, of which")]
        {
            for id in ["00000000-0000-0000-0000-000000000001", "ffffffff-0000-0000-0000-000000000001"] {
                let case = format!("{version} {scope} {id}");
                let store = committed(version);
                change(&store, &double(scope, id));
                let found = one(&store.path, "synced_l2").await;
                assert_eq!(readable(&found.vectors, &whole.vectors, &case), whole.vectors.len(), "{case}");
                says(&found.remarks.damage, &[words, "that was read"]);
            }
        }
        let store = committed(version);
        change(&store, &format!("delete from segments where {}", of("VECTOR")));
        let found = one(&store.path, "synced_l2").await;
        assert!(found.vectors.keys().eq(whole.vectors.keys()), "{version}");
        let count = readable(&found.vectors, &whole.vectors, version);
        if version == "0.4.24" {
            assert_eq!(count, whole.vectors.len());
        } else {
            assert!(count >= whole.from_log.len() && count < whole.vectors.len(), "{version}: {count}");
        }
        says(&found.remarks.damage, &["its VECTOR segment is missing from the table segments", "write-ahead log"]);
        let store = committed(version);
        change(&store, &format!("delete from segments where {}", of("METADATA")));
        let shown = TestCommand::new().args(["inspect", store.path()]).run().code(5).stdout("METADATA segment");
        assert!(!shown.stdout_text().contains("[("), "{version}");
        if version == "0.4.24" {
            let found = one(&store.path, "synced_l2").await;
            assert_eq!(readable(&found.vectors, &whole.vectors, version), whole.vectors.len());
        }
    }
}

/// A wrong number in `collections.dimension`: all vectors were lost, and the index's header was blamed.
#[tokio::test]
async fn a_wrong_dimension_is_settled_by_index_and_log() {
    for version in VERSIONS {
        let names = ["synced_l2", "synced_cosine", "wide_cosine", "log_l2"];
        for name in names {
            let store = committed(version);
            let whole = one(&store.path, name).await;
            let change_to =
                |dimension: u32| format!("update collections set dimension = {dimension} where name = '{name}'");
            change(&store, &change_to(7));
            let found = one(&store.path, name).await;
            assert_eq!(found.vectors, whole.vectors, "{version} {name}");
            assert_eq!(found.collection.dimension, whole.collection.dimension, "{version} {name}");
            assert_eq!(found.remarks.damage, Vec::<String>::new(), "{version} {name}");
            says(&found.remarks.amended, &["says 7 components a vector", "that was taken"]);
            if name.starts_with("synced") {
                let into = Store::absent();
                let target = ChromaServer::start("1.5.9", &into.path);
                Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT)).only(&[name]).verified();
            }
        }
        // one of both is never enough: an index may be another collection's
        let store = committed(version);
        change(&store, "update collections set dimension = 7 where name = 'synced_l2'; delete from embeddings_queue");
        let found = one(&store.path, "synced_l2").await;
        assert_eq!(readable(&found.vectors, &Vectors::new(), version), 0);
        assert_eq!(found.collection.dimension, Some(7), "{version}");
    }
}

/// `make fuzz SEED=2811`, case 135 of `proof`, and 2812, case 94: such a target was Verified, though Chroma goes by the wrong number,
/// and answered with what lay behind a vector in memory, or with no vector.
#[test]
fn a_wrong_dimension_of_a_target_is_damage() {
    for version in VERSIONS {
        let (source, target) = (committed(version), committed(version));
        for name in ["synced_l2", "log_l2"] {
            for (dimension, words) in [("7", "says 7 components a vector"), ("null", "says no number of components")] {
                change(&target, &format!("update collections set dimension = {dimension} where name = '{name}'"));
                let stores = ["verify", "--source-config", source.path(), "--target-config", target.path()];
                let compared = TestCommand::new().args(stores).args(["--collection", name]).run();
                compared.code(5).stdout(words);
            }
        }
    }
}

/// A missing table ended the run with exit 3 for all collections.
#[tokio::test]
async fn a_missing_table_costs_what_stood_in_it() {
    let harmless = ["migrations", "max_seq_id", "tenants", "databases", "collection_metadata", "segment_metadata"];
    for version in ["0.4.24", "0.6.3", "1.0.20", "1.5.9"] {
        let whole = everything(&committed(version).path).await.unwrap();
        let all = whole.values().flat_map(|found| found.vectors.values()).flatten().count();
        for table in harmless.into_iter().chain(["embeddings_queue", "embedding_metadata", "embeddings", "segments"]) {
            let case = format!("{version} {table}");
            let store = committed(version);
            change(&store, &format!("drop table {table}"));
            let shown = TestCommand::new().args(["inspect", store.path()]).run();
            assert_eq!(shown.exit_code(), 5, "{case}: {shown:?}");
            shown.stdout(&format!("table {table} is missing")).stdout("synced_l2");
        }
        for table in harmless {
            let case = format!("{version} {table}");
            let store = committed(version);
            change(&store, &format!("drop table {table}"));
            let after = everything(&store.path).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            let readable: usize = after
                .iter()
                .map(|(name, found)| {
                    // without its row a database is named by its id
                    let is_default = name.starts_with("default_tenant/default_database/");
                    assert!(whole.contains_key(name) || (table == "databases" && !is_default), "{case}: {name}");
                    found.vectors.values().flatten().count()
                })
                .sum();
            assert!(after.len() == whole.len() && readable >= all, "{case}: {readable} of {all}");
            // up to 0.6 that table alone has a distance that was replaced in the collection's own metadata
            let may_lack =
                |one: &Found| table == "segment_metadata" && !one.collection.metadata.contains_key("hnsw:space");
            for found in after.values() {
                let lacks = found.collection.lacks_distance_only() && version.starts_with("0.") && may_lack(found);
                assert!(found.collection.unreadable.is_none() || lacks, "{case}: {:?}", found.collection);
            }
        }
    }
}

/// One odd cell in the table of migrations: no collection was read.
#[tokio::test]
async fn an_odd_row_of_the_migrations_costs_nothing() {
    for version in ["0.4.24", "1.5.9"] {
        let whole = everything(&committed(version).path).await.unwrap();
        for cell in ["filename = x'ffff'", "version = 'abc'", "dir = x'07'"] {
            let store = committed(version);
            change(&store, &format!("update migrations set {cell} where rowid = 3"));
            let after = everything(&store.path).await.unwrap_or_else(|error| panic!("{version} {cell}: {error}"));
            same(&after, &whole, &format!("{version} {cell}"));
        }
    }
}

/// A pickle with one entry that contradicts another: the whole index was lost.
#[tokio::test]
async fn an_inconsistent_entry_of_a_pickle_costs_its_ids() {
    for version in VERSIONS {
        for (how, lost) in
            [("two-ids", 2), ("five-missing", 5), ("negative", 1), ("huge", 1), ("text", 1), ("nameless", 1)]
        {
            for name in ["synced_l2", "synced_cosine"] {
                let case = format!("{version} {name} {how}");
                let store = committed(version);
                let whole = one(&store.path, name).await;
                damage(&store.path, "pickle", &[name, how]);
                super::index::age(&folder(&store.path, name).join("index_metadata.pickle"));
                let found = one(&store.path, name).await;
                let count = readable(&found.vectors, &whole.vectors, &case);
                let told = [found.remarks.damage.clone(), found.remarks.notes.clone()].concat();
                says(&told, &["index_metadata.pickle is damaged"]);
                if version == "0.4.24" {
                    assert_eq!(count, whole.vectors.len(), "{case}");
                    assert_eq!(found.remarks.damage, Vec::<String>::new(), "{case}");
                } else {
                    assert!(count + lost >= whole.vectors.len(), "{case}: {count} of {}", whole.vectors.len());
                    assert_eq!(count == whole.vectors.len(), found.remarks.damage.is_empty(), "{case}");
                }
            }
        }
    }
}

/// A document that is no text: the whole record was dropped. What client and server of the version answer is read.
#[tokio::test]
async fn an_odd_document_is_read_as_the_client_reads_it() {
    let set = [
        ("many-0", "string_value = null, int_value = 5", Some("5")),
        ("many-1", "string_value = x'616263'", Some("b'abc'")),
        ("many-2", "string_value = null", None),
        ("many-3", "string_value = cast(x'61ff62' as text)", None),
    ];
    for version in VERSIONS {
        let store = Store::absent();
        Python::run(version, "tests/stores/history.py", &[store.path(), "many", "5"]);
        for (id, values, _) in set {
            change(
                &store,
                &format!(
                    "update embedding_metadata set {values} where key = 'chroma:document' and id = (select id from embeddings \
                     where embedding_id = '{id}')"
                ),
            );
        }
        let reader = LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap();
        let collection = reader.collections().await.unwrap().remove(0);
        let ids = set.map(|(id, ..)| id.to_owned());
        let is_old = version.starts_with("0.");
        for fetched in reader.fetch(&collection, &ids).await.unwrap() {
            let (_, _, expected) = set.into_iter().find(|(id, ..)| *id == fetched.id()).unwrap();
            match fetched {
                Fetched::Record { record, .. } => {
                    let case = format!("{version} {}", record.id);
                    assert_eq!(record.document.as_deref(), expected.filter(|_| is_old), "{case}");
                    assert_eq!(record.metadata.len(), 1, "{case}");
                }
                // its own client cannot read it, either: SQLite's Python module fails
                Fetched::Unreadable { id, why } => {
                    assert!(is_old && id == "many-3" && why.contains("no UTF-8"), "{version} {id}: {why}");
                }
            }
        }
        let notes = reader.remarks(&collection).await.unwrap().notes;
        says(&notes, &["\"chroma:document\" of 1 record (\"many-0\") holds the integer 5 in int_value"]);
        says(&notes, &["(\"many-2\") holds nothing and was left out"]);
        let into = Store::absent();
        let target = ChromaServer::start("1.5.9", &into.path);
        let report =
            Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT)).ends(if is_old { 5 } else { 0 });
        assert_eq!(report.count("verified"), if is_old { 4 } else { 5 }, "{version}");
    }
}
