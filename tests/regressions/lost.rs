//! Pages of the small tables that are gone: names, segments and distances are found elsewhere or named as lost, and no record is read
//! otherwise than it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use memory_migration_operator::model::{Collection, Distance, Fetched};
use memory_migration_operator::store::Reader;
use memory_migration_operator::store::files::LocalStore;

use serde_json::json;

use crate::support::api::create;
use crate::support::chroma::{ChromaServer, VERSIONS};
use crate::support::command::TestCommand;
use crate::support::migration::{DEFAULT, Migration, local, remote};
use crate::support::stores::{Store, committed};

use super::damage::{IN_DEFAULT, change};

/// How a collection says that nothing tells its distance.
const NO_DISTANCE: &str = "has no distance that can be read";

/// What is read of a collection: each record as text, without the last bits of a vector, which a cosine index moves; None for one that
/// cannot be read.
pub(super) struct Read {
    collection: Collection,
    pub(super) records: BTreeMap<String, Option<String>>,
    pub(super) damage: Vec<String>,
}

impl Read {
    fn is_unknown(&self) -> bool {
        self.collection.unreadable.as_ref().is_some_and(|why| why.contains(NO_DISTANCE))
    }

    /// Whether anything is said of it, or of why it cannot be read.
    pub(super) fn is_said(&self) -> bool {
        !self.damage.is_empty() || self.collection.unreadable.is_some()
    }

    pub(super) fn readable(&self) -> usize {
        self.records.values().flatten().count()
    }
}

/// Each has another layout of the tables.
const LAYOUTS: [&str; 3] = ["0.4.24", "0.6.3", "1.5.9"];

/// All collections of a store by their ids; of one that is unreadable no record.
pub(super) async fn read(path: &Path) -> BTreeMap<String, Read> {
    read_those(path, |_| true).await
}

/// One collection of the default database.
pub(super) async fn read_one(path: &Path, name: &str) -> Read {
    let is_meant = |one: &Collection| one.name == name && (one.tenant.as_str(), one.database.as_str()) == DEFAULT;
    let (_, one) = read_those(path, is_meant).await.pop_first().unwrap();
    one
}

async fn read_those(path: &Path, is_meant: impl Fn(&Collection) -> bool) -> BTreeMap<String, Read> {
    let reader = LocalStore::open_source(path, DEFAULT.0, DEFAULT.1).await.unwrap();
    let mut all = BTreeMap::new();
    for collection in reader.everything().await.unwrap().into_iter().filter(is_meant) {
        let (mut records, mut damage) = (BTreeMap::new(), Vec::new());
        if collection.unreadable.is_none() {
            let ids = reader.ids(&collection).await.unwrap().iter().collect::<std::io::Result<Vec<_>>>().unwrap();
            for fetched in reader.fetch(&collection, &ids).await.unwrap() {
                match fetched {
                    Fetched::Record { record, .. } => {
                        let vector: Vec<String> = record.embedding.iter().map(|x| format!("{x:.3e}")).collect();
                        let text = format!("{:?} {:?} {:?} {vector:?}", record.document, record.uri, record.metadata);
                        records.insert(record.id, Some(text));
                    }
                    Fetched::Unreadable { id, .. } => drop(records.insert(id, None)),
                }
            }
            assert_eq!(ids, records.keys().cloned().collect::<Vec<_>>(), "what is listed is answered");
            assert_eq!(reader.count(&collection).await.unwrap(), ids.len() as u64, "{}", collection.name);
            damage = reader.remarks(&collection).await.unwrap().damage;
        }
        all.insert(collection.id.clone(), Read { collection, records, damage });
    }
    all
}

/// Nothing is read otherwise than from the whole store, nothing is made up, and whatever is less is said.
#[track_caller]
pub(super) fn only_less(found: &BTreeMap<String, Read>, whole: &BTreeMap<String, Read>, case: &str) {
    for (id, one) in found {
        let (name, expected) = (&one.collection.name, &whole[id]);
        for (record, text) in &one.records {
            let known = expected.records.get(record).unwrap_or_else(|| panic!("{case}: {name}: {record} is made up"));
            // Chroma itself has broken these in its index, for their squares leave the range of f32, and the log has them whole
            let is_broken = one.collection.database == "unsendable" && name == "cosine_synced";
            let is_same = text.is_none() || text == known || is_broken;
            assert!(is_same, "{case}: {name}: {record}: {text:?}, {known:?}");
        }
        if one.collection.unreadable.is_none() {
            assert!(
                one.collection.distance == expected.collection.distance,
                "{case}: {name}: {}",
                one.collection.distance
            );
            assert!(!one.damage.is_empty(), "{case}: {name} is called sound");
            assert!(one.records.keys().eq(expected.records.keys()), "{case}: {name}: some records are not named");
        }
    }
    assert!(found.keys().eq(whole.keys()), "{case}: some collections are not named");
}

pub(super) fn readable(found: &BTreeMap<String, Read>) -> usize {
    found.values().map(Read::readable).sum()
}

/// Makes the first page of a table unreadable, and so the whole table, but not its indexes.
fn lose(store: &Store, table: &str) {
    let (page, root) = place(&store.path, table);
    let file = fs::OpenOptions::new().write(true).open(store.path.join("chroma.sqlite3")).unwrap();
    file.write_all_at(&vec![0; page], (root - 1) * page as u64).unwrap();
}

/// The size of a page, and the number of a table's first one.
fn place(path: &Path, table: &str) -> (usize, u64) {
    let tables = rusqlite::Connection::open(path.join("chroma.sqlite3")).unwrap();
    let size: i64 = tables.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap();
    let sql = "select rootpage from sqlite_master where name = ?";
    let root: i64 = tables.query_row(sql, [table], |row| row.get(0)).unwrap();
    (size.try_into().unwrap(), root.try_into().unwrap())
}

/// One bad page of `segment_metadata` made every collection of 0.5.23 unreadable, though its distance stands in its own metadata, too;
/// with that gone, l2 was shown for cosine and ip, by a default that no engine goes by.
#[tokio::test]
async fn a_lost_distance_is_taken_from_what_is_left_or_called_unknown() {
    for version in VERSIONS {
        let whole = read(&committed(version).path).await;
        let store = committed(version);
        lose(&store, "segment_metadata");
        let found = read(&store.path).await;
        only_less(&found, &whole, version);
        let is_said = |one: &Read| one.collection.metadata.contains_key("hnsw:space");
        for one in found.values().filter(|one| is_said(one)) {
            assert_eq!(one.collection.unreadable, None, "{version}: {}", one.collection.name);
            assert_eq!(one.readable(), whole[&one.collection.id].readable(), "{version}: {}", one.collection.name);
        }
        lose(&store, "collection_metadata");
        let shown = TestCommand::new().args(["inspect", store.path()]).run().code(5);
        let found = read(&store.path).await;
        only_less(&found, &whole, version);
        let unknown: Vec<&Read> = found.values().filter(|one| one.is_unknown()).collect();
        // up to 0.6 nothing else names it, and 1.x keeps it in the row of the collection
        let is_old = version.starts_with("0.");
        assert_eq!(unknown.is_empty(), !is_old, "{version}");
        for one in unknown {
            let Collection { id, tenant, database, name, .. } = &one.collection;
            if (tenant.as_str(), database.as_str()) != DEFAULT {
                continue;
            }
            let row = shown.stdout_text().lines().find(|line| line.contains(id.as_str())).unwrap();
            assert!(row.contains(" unknown ") && row.contains("unreadable"), "{version}: {name}: {row}");
        }
    }
}

/// One bad page of `segments` made every collection unreadable, with the distance l2, though the log names the collection of each
/// entry, and rows and watermarks the entry.
#[tokio::test]
async fn segments_without_a_row_are_found_by_the_log() {
    for version in LAYOUTS {
        let whole = read(&committed(version).path).await;
        let store = committed(version);
        lose(&store, "segments");
        let found = read(&store.path).await;
        only_less(&found, &whole, version);
        let (count, all) = (readable(&found), readable(&whole));
        assert!(count > 100, "{version}: {count} of {all}");
        for one in found.values().filter(|one| one.collection.unreadable.is_some()) {
            // of an empty collection nothing tells
            let name = &one.collection.name;
            assert!(whole[&one.collection.id].readable() == 0 || one.is_unknown(), "{version}: {name}");
        }
        // the row of one segment alone, and a scope that Chroma does not write
        for (scope, sql) in [
            ("METADATA", "delete from segments"),
            ("METADATA", "update segments set scope = 'metadata'"),
            ("VECTOR", "update segments set scope = x'00'"),
        ] {
            let case = format!("{version} {scope} {sql}");
            let store = committed(version);
            let of = format!("scope = '{scope}' and collection = ({IN_DEFAULT} 'synced_cosine')");
            change(&store, &format!("{sql} where {of}"));
            let one = read_one(&store.path, "synced_cosine").await;
            assert_eq!(one.records, whole[&one.collection.id].records, "{case}");
            assert_eq!(one.collection.distance, Distance::Cosine, "{case}");
            assert!(one.damage.iter().any(|what| what.contains("table segments")), "{case}: {:?}", one.damage);
        }
    }
}

/// With the METADATA segment, and all that tells whose rows are its, a collection was unreadable, though index and log are intact: each
/// record that either names is read as far as the log has all of it, or named.
#[tokio::test]
async fn without_its_rows_a_collection_has_what_the_log_tells_whole() {
    for version in LAYOUTS {
        for name in ["synced_cosine", "log_l2"] {
            let case = format!("{version} {name}");
            let store = committed(version);
            let expected = read_one(&store.path, name).await;
            let of = format!("scope = 'METADATA' and collection = ({IN_DEFAULT} '{name}')");
            // the rows say nothing, and there is no watermark
            let rows = format!("segment_id in (select id from segments where {of})");
            change(
                &store,
                &format!(
                    "update embeddings set seq_id = 0 where {rows}; delete from max_seq_id where {rows}; delete from segments \
                     where {of}"
                ),
            );
            let one = read_one(&store.path, name).await;
            assert_eq!(one.collection.unreadable, None, "{case}");
            assert!(one.records.keys().eq(expected.records.keys()), "{case}");
            for (id, text) in &one.records {
                assert!(text.is_none() || text == &expected.records[id], "{case}: {id}: {text:?}");
            }
            assert!(
                one.damage.iter().any(|what| what.contains("METADATA segment is missing")),
                "{case}: {:?}",
                one.damage
            );
            let count = one.readable();
            if version == "0.4.24" || name == "log_l2" {
                assert!(count > 0, "{case}");
            }
        }
    }
}

/// One bad page of `collections` ended with exit code 3 and no table. The indexes on it have ids and names.
#[tokio::test]
async fn collections_without_a_row_are_named_and_read() {
    for version in LAYOUTS {
        let whole = read(&committed(version).path).await;
        let store = committed(version);
        lose(&store, "collections");
        let shown = TestCommand::new().args(["inspect", store.path()]).run().code(5);
        shown.stdout("synced_l2").stdout("a page of SQLite's table collections cannot be read");
        let found = read(&store.path).await;
        only_less(&found, &whole, version);
        for one in found.values() {
            assert_eq!(one.collection.name, whole[&one.collection.id].collection.name, "{version}");
            // only the row has the settings of 1.x
            assert!(one.collection.unreadable.is_none() || one.is_unknown(), "{version}: {:?}", one.collection);
        }
        let least = if version.starts_with("0.") { readable(&whole) } else { 1 };
        assert!(readable(&found) >= least, "{version}: {}", readable(&found));
        // and with the indexes only the segments name ids
        for index in ["sqlite_autoindex_collections_1", "sqlite_autoindex_collections_2"] {
            lose(&store, index);
        }
        let found = read(&store.path).await;
        assert!(found.values().all(|one| one.collection.name == one.collection.id), "{version}");
        assert!(whole.keys().all(|id| found.contains_key(id)), "{version}");
    }
}

/// A page of `collections` that was copied over another: the collections of that one were in no list, and nothing was said.
#[tokio::test]
async fn a_page_that_was_copied_over_another_hides_no_collection() {
    let version = "1.5.9";
    let whole = read(&committed(version).path).await;
    let store = committed(version);
    let (size, root) = place(&store.path, "collections");
    let file = fs::OpenOptions::new().read(true).write(true).open(store.path.join("chroma.sqlite3")).unwrap();
    let mut page = vec![0; size];
    let at = |number: u64| (number - 1) * size as u64;
    file.read_exact_at(&mut page, at(root)).unwrap();
    assert_eq!(page[0], 5, "an interior page of a table");
    let child = |cell: usize| {
        let start = usize::from(u16::from_be_bytes([page[12 + 2 * cell], page[13 + 2 * cell]]));
        u64::from(u32::from_be_bytes(page[start..start + 4].try_into().unwrap()))
    };
    let (first, second) = (child(0), child(1));
    let mut leaf = vec![0; size];
    file.read_exact_at(&mut leaf, at(first)).unwrap();
    file.write_all_at(&leaf, at(second)).unwrap();
    TestCommand::new().args(["inspect", store.path()]).run().code(5).stdout("is lost, and its name was taken");
    let found = read(&store.path).await;
    assert!(found.keys().eq(whole.keys()));
    let target = Store::absent();
    let server = ChromaServer::start("1.5.9", &target.path);
    Migration::new(&local(&store.path, DEFAULT), &remote(&server, DEFAULT)).ends(5).says(&["is lost"]);
}

/// The first page of `embedding_metadata`: no record was read, though the log has some of them whole.
#[tokio::test]
async fn records_without_metadata_are_read_where_the_log_has_them_whole() {
    for version in LAYOUTS {
        let whole = read(&committed(version).path).await;
        for table in ["embedding_metadata", "embeddings"] {
            let case = format!("{version} {table}");
            let store = committed(version);
            lose(&store, table);
            let found = read(&store.path).await;
            only_less(&found, &whole, &case);
            let count = readable(&found);
            assert!(count > 20 && count <= readable(&whole), "{case}: {count} of {}", readable(&whole));
        }
    }
}

/// What is left of a store without its segments comes into a new one, and the run is no success.
#[test]
fn a_store_without_its_segments_is_moved() {
    let store = committed("0.6.3");
    lose(&store, "segments");
    let target = Store::absent();
    let server = ChromaServer::start("1.5.9", &target.path);
    let report = Migration::new(&local(&store.path, DEFAULT), &remote(&server, DEFAULT)).ends(5);
    report.says(&["segments cannot be read"]);
    let whole = crate::support::stores::oracle("0.6.3").in_database(DEFAULT.0, DEFAULT.1);
    for name in ["synced_l2", "synced_cosine", "synced_ip"] {
        let records = whole.collection(name).records.len();
        let counts = &report.collection(name)["counts"];
        let of = |what: &str| counts[what].as_u64().unwrap();
        // nothing tells which index is its: the vectors that the log has are read
        assert!(of("verified") > 0 && of("verified") + of("unreadable") == records as u64, "{name}: {counts}");
    }
}

/// Where nothing is left that tells a distance, the target's own collection is a person's choice, and the run is no success.
#[test]
fn an_unknown_distance_is_taken_from_the_target_s_collection() {
    let store = committed("0.6.3");
    for table in ["segment_metadata", "collection_metadata"] {
        lose(&store, table);
    }
    let target = Store::absent();
    let server = ChromaServer::start("1.5.9", &target.path);
    let run = || Migration::new(&local(&store.path, DEFAULT), &remote(&server, DEFAULT)).only(&["log_ip"]);
    run().ends(3).says(&["\"log_ip\" was skipped", NO_DISTANCE, "Create it in the target"]);
    let made = json!({"name": "log_ip", "configuration": {"hnsw": {"space": "ip"}}});
    create(&server, DEFAULT, &made);
    let report = run().ends(5);
    let told = report.check("source-distance")["message"].as_str().unwrap();
    assert!(told.contains("nothing left of collection \"log_ip\" tells its distance: ip"), "{told}");
    let whole = crate::support::stores::oracle("0.6.3").in_database(DEFAULT.0, DEFAULT.1);
    assert_eq!(report.count("verified"), whole.collection("log_ip").records.len() as u64);
}
