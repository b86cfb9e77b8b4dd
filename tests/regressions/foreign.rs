//! Files of one index in the place of another's: what shows it is left aside, and no vector of another record is copied as a
//! record's own. Each store is one that a real Chroma wrote.

use std::fs;
use std::path::Path;

use crate::support::chroma::{ChromaServer, Python, VERSIONS};
use crate::support::migration::{DEFAULT, Migration, local, remote};
use crate::support::stores::{Store, committed};

use super::damage::change;
use super::files::{Found, folder, one, says};
use super::index::age;

pub(super) const FILES: [&str; 5] =
    ["index_metadata.pickle", "header.bin", "data_level0.bin", "length.bin", "link_lists.bin"];

/// Exchanges these files of two collections' indexes.
pub(super) fn swap(store: &Path, one: &str, other: &str, files: &[&str]) {
    let [one, other] = [one, other].map(|name| folder(store, name));
    for file in files {
        let (one, other, between) = (one.join(file), other.join(file), store.join("between"));
        fs::rename(&one, &between).unwrap();
        fs::rename(&other, &one).unwrap();
        fs::rename(&between, &other).unwrap();
        age(&one);
        age(&other);
    }
}

/// Collections `one`, `two` and `turned` with the ids `id0` to `id29`, 3 components, vectors of their own, all in indexes.
pub(super) fn twins(version: &str) -> Store {
    let store = Store::absent();
    Python::run(version, "tests/stores/history.py", &[store.path(), "twins"]);
    store
}

fn readable(found: &Found) -> usize {
    found.vectors.values().flatten().count()
}

/// Every vector that is read is the record's own.
#[track_caller]
fn own(found: &Found, whole: &Found, case: &str) {
    assert!(found.vectors.keys().eq(whole.vectors.keys()), "{case}");
    for (id, vector) in found.vectors.iter().filter(|(_, vector)| vector.is_some()) {
        assert_eq!(vector, &whole.vectors[id], "{case}: {id}");
    }
}

/// Two collections with the same ids: the vectors of one were read as the other's, "Verified".
#[tokio::test]
async fn an_index_of_a_collection_with_the_same_ids_is_not_taken() {
    for version in ["0.4.24", "0.5.23", "0.6.3"] {
        for files in [FILES.as_slice(), &FILES[..1]] {
            let store = twins(version);
            change(&store, "delete from embeddings_queue");
            let whole = [one(&store.path, "one").await, one(&store.path, "two").await];
            swap(&store.path, "one", "two", files);
            for (name, whole) in ["one", "two"].into_iter().zip(&whole) {
                let case = format!("{version} {name} {}", files.len());
                let found = one(&store.path, name).await;
                own(&found, whole, &case);
                assert_eq!(readable(&found), 0, "{case}");
                says(&found.remarks.damage, &["is not the index of", "its pickle", "30 of 30 records cannot be read"]);
            }
            assert_eq!(one(&store.path, "turned").await.remarks.damage, Vec::<String>::new(), "{version}");
        }
    }
    // from 1.0 on the pickle has no numbers: the log tells, or its labels, which are in the order of the tables
    for version in ["1.0.20", "1.5.9"] {
        let store = twins(version);
        for name in ["one", "two", "turned"] {
            assert_eq!(one(&store.path, name).await.remarks.damage, Vec::<String>::new(), "{version} {name}");
        }
        let whole = [one(&store.path, "one").await, one(&store.path, "turned").await];
        swap(&store.path, "one", "turned", &FILES[..1]);
        for (name, whole) in ["one", "turned"].into_iter().zip(&whole) {
            let found = one(&store.path, name).await;
            own(&found, whole, &format!("{version} {name}"));
            says(&found.remarks.damage, &["is not the index of"]);
        }
        change(&store, "delete from embeddings_queue");
        for name in ["one", "turned"] {
            let damage = one(&store.path, name).await.remarks.damage;
            says(&damage, &["not in the order of the records", "vectors may be those of other records"]);
        }
        let into = Store::absent();
        let target = ChromaServer::start("1.5.9", &into.path);
        let run = Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT));
        run.ends(5).says(&["not in the order of the records"]);
    }
}

/// Chroma 1.x leaves the last entry of each collection in its log: one vector that the index has, too. With the folders exchanged it
/// was called older in the index, and the 29 others, of another collection, were copied and counted as verified.
#[tokio::test]
async fn one_logged_vector_tells_another_index() {
    for version in ["0.5.23", "0.6.3", "1.0.20", "1.5.9"] {
        for files in [FILES.as_slice(), &["data_level0.bin"]] {
            let store = twins(version);
            let last = "select max(seq_id) from embeddings_queue group by topic";
            change(&store, &format!("delete from embeddings_queue where seq_id not in ({last})"));
            let whole = one(&store.path, "one").await;
            assert_eq!((readable(&whole), whole.remarks.damage.as_slice()), (30, [].as_slice()), "{version}");
            swap(&store.path, "one", "two", files);
            let found = one(&store.path, "one").await;
            let case = format!("{version} {}", files.len());
            own(&found, &whole, &case);
            assert_eq!(readable(&found), 1, "{case}");
            says(&found.remarks.damage, &["is not the index of \"one\"", "29 of 30 records cannot be read"]);
            let into = Store::absent();
            let target = ChromaServer::start("1.5.9", &into.path);
            let report = Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT)).ends(5);
            assert_eq!((report.count("verified"), report.count("unreadable")), (32, 58), "{case}");
        }
    }
}

/// A damaged byte in the row of the one logged record is no other index.
#[tokio::test]
async fn a_damaged_byte_of_the_last_row_costs_no_other_record() {
    let store = twins("1.5.9");
    let whole = one(&store.path, "one").await;
    let file = folder(&store.path, "one").join("data_level0.bin");
    let mut rows = fs::read(&file).unwrap();
    let last: Vec<u8> = whole.vectors["id29"].as_ref().unwrap().iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let at = rows.windows(last.len()).position(|bytes| bytes == last).unwrap();
    rows[at + 3] ^= 0x40;
    fs::write(&file, rows).unwrap();
    age(&file);
    let found = one(&store.path, "one").await;
    own(&found, &whole, "damaged byte");
    assert_eq!(readable(&found), 30);
    says(&found.remarks.damage, &["vectors of 1 record (\"id29\") are other ones in the index"]);
}

/// Nothing but metadata was changed of all records since the index was written: no number in the pickle is that of a row.
#[tokio::test]
async fn an_index_whose_records_all_changed_is_still_its_own() {
    for version in VERSIONS {
        let store = twins(version);
        let whole = one(&store.path, "one").await;
        Python::run(version, "tests/stores/history.py", &[store.path(), "retag"]);
        let found = one(&store.path, "one").await;
        own(&found, &whole, version);
        assert_eq!((readable(&found), found.remarks.damage), (30, Vec::new()), "{version}");
    }
}

/// The rows of another index with the same labels: the log has other vectors, and what it brought in cannot be older.
#[tokio::test]
async fn rows_that_the_log_contradicts_are_not_taken() {
    for version in VERSIONS {
        let store = Store::absent();
        Python::run(version, "tests/stores/history.py", &[store.path(), "old"]);
        if version != "0.4.24" {
            // then nothing is purged
            change(
                &store,
                "update embeddings_queue_config set config_json_str = replace(config_json_str, 'true', 'false')",
            );
        }
        Python::run(version, "tests/stores/history.py", &[store.path(), "twins"]);
        let whole = one(&store.path, "one").await;
        swap(&store.path, "one", "two", &["data_level0.bin", "length.bin"]);
        let found = one(&store.path, "one").await;
        own(&found, &whole, version);
        assert_eq!((readable(&found), found.from_log.len()), (30, 30), "{version}");
        says(
            &found.remarks.notes,
            &["is not the index of \"one\"", "have another vector there", "were found elsewhere"],
        );
        // most of the log is gone
        change(&store, "delete from embeddings_queue where id not in ('id3', 'id7', 'id8', 'id29')");
        let found = one(&store.path, "one").await;
        own(&found, &whole, version);
        assert_eq!((readable(&found), found.from_log.len()), (4, 4), "{version}");
        says(&found.remarks.damage, &["is not the index of \"one\"", "26 of 30 records cannot be read"]);
    }
}

/// One swapped index ended the run with exit 3 for all collections, and the advice to open a copy.
#[tokio::test]
async fn a_swapped_index_costs_its_own_records_and_no_other() {
    let swaps: [(&str, &[&str]); 3] =
        [("folders", FILES.as_slice()), ("rows", &["data_level0.bin"]), ("norms", &["length.bin"])];
    for version in ["0.4.24", "0.6.3", "1.5.9"] {
        for (how, files) in swaps {
            let case = format!("{version}: {how}");
            let (store, into) = (committed(version), Store::absent());
            let whole = [one(&store.path, "synced_l2").await, one(&store.path, "synced_cosine").await];
            let all = super::files::everything(&store.path).await.unwrap();
            swap(&store.path, "synced_l2", "synced_cosine", files);
            for (name, whole) in ["synced_l2", "synced_cosine"].into_iter().zip(&whole) {
                let found = one(&store.path, name).await;
                assert_eq!(found.remarks.refusal, None, "{case}");
                assert!(found.vectors.keys().eq(whole.vectors.keys()), "{case}");
                if version == "0.4.24" || (how == "norms" && name == "synced_l2") {
                    assert_eq!(readable(&found), whole.vectors.len(), "{case} {name}");
                } else {
                    assert!(readable(&found) < whole.vectors.len() / 2, "{case} {name}: {}", readable(&found));
                    says(&found.remarks.damage, &["is not the index of", "records cannot be read"]);
                }
            }
            if how == "rows" {
                continue;
            }
            let target = ChromaServer::start("1.5.9", &into.path);
            let run = Migration::new(&local(&store.path, DEFAULT), &remote(&target, DEFAULT));
            let report = run.ends(if version == "0.4.24" { 0 } else { 5 });
            let count = |name: &str| all[&format!("default_tenant/default_database/{name}")].vectors.len() as u64;
            let others: u64 = all
                .keys()
                .filter_map(|name| name.strip_prefix("default_tenant/default_database/"))
                .filter(|name| !["synced_l2", "synced_cosine"].contains(name))
                .map(count)
                .sum();
            assert!(report.count("verified") >= others, "{case}: {} of {others}", report.count("verified"));
        }
    }
}
