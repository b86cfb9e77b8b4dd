//! Local stores whose table, index, log, watermarks or documents contradict each other: what is held is read, and said.
//! Each test has its own store that a real Chroma wrote, and damage as reports tell of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use memory_migration_operator::model::{Collection, Distance, Error, Fetched, Origin};
use memory_migration_operator::store::files::LocalStore;
use memory_migration_operator::store::{Budget, Reader, Remarks};
use serde_json::Value as Json;

use crate::support::chroma::{Python, VERSIONS};
use crate::support::stores::{Store, committed, damage, oracle};

const DEFAULT: (&str, &str) = ("default_tenant", "default_database");

/// Vectors by id, as bits; None for what cannot be read.
pub(super) type Vectors = BTreeMap<String, Option<Vec<u32>>>;

/// What is read of a collection.
pub(super) struct Found {
    pub(super) collection: Collection,
    pub(super) vectors: Vectors,
    pub(super) from_log: BTreeSet<String>,
    pub(super) remarks: Remarks,
}

pub(super) async fn found(reader: &LocalStore, collection: Collection) -> Result<Found, Error> {
    let ids = reader.ids(&collection).await?.iter().collect::<std::io::Result<Vec<_>>>().unwrap();
    let (mut vectors, mut from_log) = (Vectors::new(), BTreeSet::new());
    for window in ids.chunks(600) {
        for fetched in reader.fetch(&collection, window).await? {
            match fetched {
                Fetched::Record { record, origin } => {
                    if origin == Origin::Wal {
                        from_log.insert(record.id.clone());
                    }
                    vectors.insert(record.id, Some(record.embedding.into_iter().map(f32::to_bits).collect()));
                }
                Fetched::Unreadable { id, .. } => drop(vectors.insert(id, None)),
            }
        }
    }
    assert_eq!(ids, vectors.keys().cloned().collect::<Vec<_>>(), "what is listed is answered");
    let remarks = reader.remarks(&collection).await?;
    Ok(Found { collection, vectors, from_log, remarks })
}

/// Every collection of every database, by database and name.
pub(super) async fn everything(path: &Path) -> Result<BTreeMap<String, Found>, Error> {
    let reader = LocalStore::open(path, DEFAULT.0, DEFAULT.1).await?;
    let mut all = BTreeMap::new();
    for collection in reader.everything().await? {
        let name = format!("{}/{}/{}", collection.tenant, collection.database, collection.name);
        all.insert(name, found(&reader, collection).await?);
    }
    Ok(all)
}

pub(super) async fn one(path: &Path, name: &str) -> Found {
    let reader = LocalStore::open(path, DEFAULT.0, DEFAULT.1).await.unwrap();
    let all = reader.collections().await.unwrap();
    let collection = all.into_iter().find(|one| one.name == name).unwrap_or_else(|| panic!("no collection {name}"));
    found(&reader, collection).await.unwrap()
}

/// What the version's own client read of a collection of the committed store.
fn expected(version: &str, name: &str) -> Vectors {
    let dump = oracle(version);
    let records = dump.in_database(DEFAULT.0, DEFAULT.1).collection(name).records.clone();
    records.into_iter().map(|one| (one.id, one.embedding.into_iter().collect())).collect()
}

/// Cosine vectors move by an ULP or two between an index and the log.
#[track_caller]
fn assert_near(found: &Vectors, expected: &Vectors, case: &str) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{case}");
    for (id, vector) in found {
        let far = vector.iter().flatten().zip(expected[id].iter().flatten()).map(|(a, b)| a.abs_diff(*b)).max();
        let (length, other) = (vector.as_ref().map(Vec::len), expected[id].as_ref().map(Vec::len));
        assert!(length == other && far.unwrap_or(0) <= 2, "{case}: {id}: {vector:?}, {:?}", expected[id]);
    }
}

#[track_caller]
pub(super) fn says(texts: &[String], parts: &[&str]) {
    let found = texts.iter().any(|text| parts.iter().all(|part| text.contains(part)));
    assert!(found, "no text with {parts:?} in {texts:#?}");
}

#[tokio::test]
async fn nothing_is_said_of_a_sound_store() {
    for version in VERSIONS {
        let store = committed(version);
        for (name, found) in everything(&store.path).await.unwrap() {
            let Remarks { damage, notes, refusal, .. } = found.remarks;
            // Chroma itself has broken vectors of it, whose squares leave the range of f32
            let is_broken = name.ends_with("unsendable/cosine_synced");
            assert_eq!((damage.is_empty(), refusal), (!is_broken, None), "{version}: {name}: {damage:?}");
            assert_eq!(
                notes.len(),
                usize::from(version == "0.4.24" && name.ends_with("broken/added_again")),
                "{notes:?}"
            );
        }
    }
}

/// Bytes of what a record holds, without its metadata.
fn content(fetched: &Fetched) -> usize {
    let Fetched::Record { record, .. } = fetched else { return 0 };
    record.id.len() + record.embedding.len() * 4 + record.document.as_ref().map_or(0, String::len)
}

/// Report 16: a window of 600 records was read whatever their size. It is cut by the lengths that SQLite tells.
#[tokio::test]
async fn a_window_of_files_keeps_to_its_budget_and_loses_nothing() {
    for version in VERSIONS {
        let store = committed(version);
        let reader = LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap();
        for collection in reader.everything().await.unwrap() {
            let ids = reader.ids(&collection).await.unwrap().iter().collect::<std::io::Result<Vec<_>>>().unwrap();
            let mut whole = reader.fetch(&collection, &ids).await.unwrap();
            whole.sort_unstable_by(|a, b| a.id().cmp(b.id()));
            let largest = whole.iter().map(content).max().unwrap_or(0);
            let budget = Budget { bytes: 2000, first: true, most: usize::MAX };
            let (mut from, mut found) = (0, Vec::new());
            while from < ids.len() {
                let (part, count) = reader.fetch_within(&collection, &ids[from..], budget).await.unwrap();
                let bytes: usize = part.iter().map(content).sum();
                assert!(count == 1 || bytes <= budget.bytes, "{version}: {}: {bytes} bytes", collection.name);
                assert!(count > 0, "{version}: {}: nothing fits", collection.name);
                found.extend(part);
                from += count;
            }
            found.sort_unstable_by(|a, b| a.id().cmp(b.id()));
            assert_eq!(format!("{found:?}"), format!("{whole:?}"), "{version}: {}", collection.name);
            // what does not fit at all is named, and not read
            let budget = Budget { bytes: 1, most: largest.saturating_sub(1), ..budget };
            let mut named = None;
            for id in &ids {
                if let Err(error) = reader.fetch_within(&collection, std::slice::from_ref(id), budget).await {
                    assert!(matches!(&error, Error::TooLarge { id: named, .. } if named == id), "{version}: {error}");
                    named = Some(error.to_string());
                }
            }
            assert!(largest == 0 || named.is_some(), "{version}: {}", collection.name);
        }
    }
}

/// One wrong entry of SQLite's index on `embeddings` hid a record: "Verified", while Chroma itself read it.
#[tokio::test]
async fn a_wrong_entry_of_sqlite_s_index_hides_no_record() {
    for version in VERSIONS {
        let store = committed(version);
        let before = everything(&store.path).await.unwrap();
        damage(&store.path, "swap-index", &[]);
        let after = everything(&store.path).await.unwrap();
        for (name, found) in &after {
            assert_eq!(found.vectors, before[name].vectors, "{version}: {name}");
            says(&found.remarks.damage, &["integrity_check", "embeddings"]);
            says(&found.remarks.damage, &["do not agree", "out of order"]);
        }
    }
}

/// MemPalace#1134: a repair tool made `max_seq_id` of 0.6 integers, Chroma's own migration made them 1.2e18, and what was
/// written then stayed in the log for ever: 5 of 8 records were "Verified".
#[tokio::test]
async fn a_watermark_of_1_2e18_hides_no_write() {
    let store = Store::absent();
    let step = |version, steps: &[&str]| {
        let args: Vec<&str> = [store.path()].into_iter().chain(steps.iter().copied()).collect();
        Python::run(version, "tests/stores/history.py", &args)
    };
    step("0.6.3", &["old"]);
    step("0.6.3", &["integers"]);
    step("1.5.9", &["new"]);
    let found = one(&store.path, "drawers").await;
    let ids = ["new0", "new1", "new2", "old0", "old1", "old2", "old3", "old4"];
    assert_eq!(found.vectors.keys().collect::<Vec<_>>(), ids);
    assert!(found.vectors.values().all(Option::is_some), "{:?}", found.vectors);
    says(&found.remarks.damage, &["max_seq_id", "changes of 3 records", "\"new0\"", "taken from the log"]);
}

/// The kind of MemPalace#1134: any watermark, of tables or index, that is past what was applied.
#[tokio::test]
async fn no_watermark_hides_what_the_log_has() {
    for version in VERSIONS {
        for name in ["log_l2", "log_cosine", "synced_l2", "synced_cosine"] {
            for (mark, beyond) in [("100000", true), ("89", false)] {
                let case = format!("{version} {name} {mark}");
                let store = committed(version);
                let whole = one(&store.path, name).await;
                assert!(!whole.from_log.is_empty(), "{case}: {:?}", whole.from_log);
                let id = whole.from_log.first().unwrap().as_str();
                let is_hidden = beyond || name.ends_with("l2");
                damage(&store.path, "watermark", &[name, "METADATA", mark]);
                if name.starts_with("synced") {
                    damage(&store.path, "watermark", &[name, "VECTOR", mark]);
                    let after = one(&store.path, name).await;
                    assert_near(&after.vectors, &whole.vectors, &case);
                    if is_hidden {
                        says(&after.remarks.damage, &["max_seq_id", "not in the index", "taken from the log"]);
                    }
                }
                // a record that was only ever in the log
                if version == "0.4.24" || name.starts_with("log") {
                    damage(&store.path, "unapply", &[name, id]);
                    let after = one(&store.path, name).await;
                    assert_near(&after.vectors, &whole.vectors, &case);
                    if is_hidden {
                        says(&after.remarks.damage, &["changes of 1 record", id]);
                    }
                }
            }
        }
    }
}

/// Somebody emptied the log: nothing is lost by it, so it is a note.
#[tokio::test]
async fn a_watermark_beyond_the_log_alone_is_a_note() {
    for version in VERSIONS {
        let store = committed(version);
        damage(&store.path, "watermark", &["texts_log", "METADATA", "100000"]);
        let found = one(&store.path, "texts_log").await;
        assert_eq!(found.remarks.damage, Vec::<String>::new(), "{version}");
        says(&found.remarks.notes, &["beyond the end of the write-ahead log"]);
    }
}

/// Somebody emptied the log to save space: the index had an older vector of a record, its row the newer document, and the two
/// together were "Verified".
#[tokio::test]
async fn an_emptied_log_makes_no_older_vector_the_newest() {
    for version in VERSIONS {
        let store = committed(version);
        let tables = rusqlite::Connection::open(store.path.join("chroma.sqlite3")).unwrap();
        tables.execute_batch("delete from embeddings_queue").unwrap();
        drop(tables);
        for name in ["synced_1d", "synced_l2", "synced_cosine"] {
            let found = one(&store.path, name).await;
            says(&found.remarks.damage, &["neither in the write-ahead log nor in the index", "may be older"]);
        }
        // all that was written last is in the index
        let found = one(&store.path, "emptied").await;
        assert_eq!(found.remarks.damage, Vec::<String>::new(), "{version}");
    }
}

/// An update of an id that is not there does nothing, and an add of one that is neither. The vector of such an update was read as
/// that of the record which an add made later, and called verified.
#[tokio::test]
async fn what_chroma_ignores_is_no_vector() {
    for version in VERSIONS {
        let store = Store::absent();
        let read = Python::run(version, "tests/stores/history.py", &[store.path(), "ignored", "1", "read"]);
        let read: BTreeMap<String, Json> = serde_json::from_str(&read).unwrap();
        assert_eq!(read.len(), 3);
        for (name, client) in read {
            let client: BTreeMap<String, Vec<f32>> = serde_json::from_value(client["vectors"].clone()).unwrap();
            let bits = |vector: Vec<f32>| Some(vector.into_iter().map(f32::to_bits).collect::<Vec<u32>>());
            let client: Vectors = client.into_iter().map(|(id, vector)| (id, bits(vector))).collect();
            let found = one(&store.path, &name).await;
            assert_eq!(found.vectors, client, "{version} {name}");
            assert_eq!(found.remarks.damage, Vec::<String>::new(), "{version} {name}");
        }
    }
}

/// A cosine collection whose metadata somebody replaced was taken for l2: its vectors lost their lengths, "Verified".
#[tokio::test]
async fn the_distance_is_the_engine_s_whatever_the_metadata_says() {
    let check = async |version: &str, store: &Store, distance: Distance, nearest: f64| {
        let args = [store.path(), "read"];
        let client: Json = serde_json::from_str(&Python::run(version, "tests/stores/history.py", &args)).unwrap();
        // only `meta` was given settings that make it l2
        let all =
            client.as_object().unwrap().iter().filter(|(name, _)| distance == Distance::Cosine || *name == "meta");
        for (name, client) in all {
            let case = format!("{version} {name}");
            assert!((client["nearest"].as_f64().unwrap() - nearest).abs() < 1e-3, "{case}: {}", client["nearest"]);
            let found = one(&store.path, name).await;
            assert_eq!(found.collection.distance, distance, "{case}");
            #[allow(clippy::cast_possible_truncation)]
            let bits = |x: &Json| (x.as_f64().unwrap() as f32).to_bits();
            let vector = |v: &Json| Some(v.as_array().unwrap().iter().map(bits).collect());
            let read = client["vectors"].as_object().unwrap().iter();
            assert_near(&found.vectors, &read.map(|(id, v)| (id.clone(), vector(v))).collect(), &case);
            assert!(found.from_log.len() < 33, "{case}: some are in the index");
            let is_doubted = distance == Distance::L2;
            assert_eq!(found.remarks.damage.len(), usize::from(is_doubted), "{case}: {:?}", found.remarks);
            if is_doubted {
                says(&found.remarks.damage, &["declared l2", "as only cosine makes them"]);
            }
        }
    };
    for version in VERSIONS {
        let store = Store::absent();
        Python::run(version, "tests/stores/history.py", &[store.path(), "cosine"]);
        check(version, &store, Distance::Cosine, 0.2).await;
        if !version.starts_with("1.") {
            // 1.x serves it, and goes by its own settings once they are not the defaults
            check("1.5.9", &store, Distance::Cosine, 0.2).await;
            Python::run("1.5.9", "tests/stores/history.py", &[store.path(), "ef-search", "200"]);
            check("1.5.9", &store, Distance::L2, 18.0).await;
        }
    }
}

/// What the rows of an index show speaks against the documents: doubted, and left aside where no document agrees.
#[tokio::test]
async fn rows_that_contradict_the_distance_are_said() {
    for (name, word, what) in
        [("synced_cosine", "l2", "as only cosine makes them"), ("synced_l2", "cosine", "are not what cosine makes")]
    {
        let store = committed("0.4.24");
        damage(&store.path, "space", &[word, name]);
        let found = one(&store.path, name).await;
        assert_eq!(found.collection.distance.as_str(), word);
        says(&found.remarks.damage, &[what, name]);
        assert_eq!(found.remarks.refusal, None, "the collection's metadata agrees with the rows");
        damage(&store.path, "space", &[word, name, "everywhere"]);
        let found = one(&store.path, name).await;
        assert_eq!(found.remarks.refusal, None);
        says(&found.remarks.damage, &[what, name, "none of its documents says so"]);
        // the log has all
        assert_eq!(found.from_log.len(), found.vectors.len());
    }
}

/// The full-text table still names a document that is gone.
#[tokio::test]
async fn a_document_that_only_the_full_text_table_has_is_damage() {
    for version in ["0.5.23", "0.6.3", "1.0.20", "1.5.9"] {
        let store = committed(version);
        damage(&store.path, "lose-document", &["log_l2", "tail-0"]);
        let found = one(&store.path, "log_l2").await;
        says(&found.remarks.damage, &["full-text", "1 full-text rows have no document"]);
        assert_eq!(one(&store.path, "log_cosine").await.remarks.damage, Vec::<String>::new(), "{version}");
    }
}

/// 12 of 41 damaged copies of a store that was being written were "Verified", one with 15,988 of 16,000 records.
#[tokio::test]
async fn a_torn_copy_is_never_taken_for_whole() {
    for version in ["0.4.24", "1.5.9"] {
        let older = Store::absent();
        let script =
            |store: &Store, count| Python::run(version, "tests/stores/history.py", &[store.path(), "many", count]);
        script(&older, "400");
        let newer = Store::absent();
        copy(&older.path, &newer.path);
        script(&newer, "1500");
        let mut readable = 0;
        for part in 1..12 {
            let torn = Store::absent();
            copy(&newer.path, &torn.path);
            let older = older.path.join("chroma.sqlite3");
            damage(&torn.path, "tear-database", &[older.to_str().unwrap(), &part.to_string(), "12"]);
            let case = format!("{version}, part {part} of 12");
            match everything(&torn.path).await {
                Err(error) => assert!(matches!(error, Error::Damaged { .. }), "{case}: {error}"),
                Ok(all) => {
                    readable += 1;
                    assert!(all.values().all(|found| !found.remarks.damage.is_empty()), "{case}");
                    // what table and log have is listed
                    let listed: BTreeSet<&String> = all.values().flat_map(|found| found.vectors.keys()).collect();
                    let held = held(&torn.path);
                    let missing: Vec<&String> = held.iter().filter(|id| !listed.contains(id)).collect();
                    assert!(missing.is_empty(), "{case}: {} of {} are missing", missing.len(), held.len());
                }
            }
        }
        assert!(readable > 0, "{version}: no torn copy could be opened");
    }
}

/// The ids that a walk through the table finds before the first page that cannot be read.
fn held(path: &Path) -> Vec<String> {
    let tables = rusqlite::Connection::open(path.join("chroma.sqlite3")).unwrap();
    let Ok(mut statement) = tables.prepare("select embedding_id from embeddings not indexed") else {
        return Vec::new();
    };
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map_while(Result::ok).collect()
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// One flipped bit in a hot journal, and the rolled back copy lacked records: "Verified".
#[tokio::test]
async fn a_flipped_bit_in_a_hot_journal_loses_no_record_in_silence() {
    let store = committed("1.5.9");
    damage(&store.path, "hot-journal", &[]);
    let whole: BTreeMap<String, Vectors> =
        everything(&store.path).await.unwrap().into_iter().map(|(name, found)| (name, found.vectors)).collect();
    let length = std::fs::metadata(store.path.join("chroma.sqlite3-journal")).unwrap().len();
    let mut damaged = 0;
    for n in 0..24 {
        let flipped = Store::absent();
        copy(&store.path, &flipped.path);
        damage(&flipped.path, "flip-journal", &[&(length * n / 24 + n * 7).to_string()]);
        match everything(&flipped.path).await {
            Err(error) => assert!(matches!(error, Error::Damaged { .. }), "byte {n}: {error}"),
            Ok(all) => {
                let is_said = all.values().any(|found| !found.remarks.damage.is_empty());
                damaged += u64::from(is_said);
                let lost = whole.iter().any(|(name, vectors)| {
                    all.get(name).is_none_or(|found| vectors.keys().any(|id| !found.vectors.contains_key(id)))
                });
                assert!(is_said || !lost, "byte {n}: records are lost, and nothing is said");
            }
        }
    }
    assert!(damaged > 0, "no flipped bit did any damage");
}

/// chroma#7751: one NaN in the metadata, and the whole record was unreadable, which Chroma's own client reads without it.
#[tokio::test]
async fn a_number_that_json_does_not_have_costs_its_key_and_not_its_record() {
    for version in ["0.4.24", "0.5.23", "0.6.3"] {
        let store = Store::absent();
        Python::run(version, "tests/stores/history.py", &[store.path(), "nan"]);
        for from_log in [false, true] {
            if from_log {
                for id in ["nan", "inf", "-inf", "1.5"] {
                    damage(&store.path, "unapply", &["numbers", id]);
                }
            }
            let reader = LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap();
            let collection = reader.collections().await.unwrap().remove(0);
            let ids = ["nan", "inf", "-inf", "1.5"].map(str::to_owned);
            for fetched in reader.fetch(&collection, &ids).await.unwrap() {
                let Fetched::Record { record, .. } = fetched else { panic!("{version}: {fetched:?}") };
                let keys = if record.id == "1.5" { vec!["score", "source"] } else { vec!["source"] };
                assert_eq!(record.metadata.keys().collect::<Vec<_>>(), keys, "{version}: {}", record.id);
                assert_eq!(record.document, Some(record.id));
            }
            let remarks = reader.remarks(&collection).await.unwrap();
            says(&remarks.notes, &["metadata \"score\" of 1 record (\"nan\") has no value, as Chroma keeps NaN"]);
            says(&remarks.notes, &["metadata \"score\" of 2 records (\"-inf\", \"inf\") is infinite"]);
            assert_eq!(remarks.damage.is_empty(), !from_log, "{version}: {remarks:?}");
        }
    }
}

/// A text that stays while nothing is written, and changes with every write.
#[tokio::test]
async fn a_generation_changes_with_each_write() {
    let store = committed("1.5.9");
    let reader = LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap();
    let all = reader.collections().await.unwrap();
    let collection = all.iter().find(|one| one.name == "synced_l2").unwrap();
    let first = reader.generation(collection).await.unwrap().unwrap();
    assert_eq!(reader.generation(collection).await.unwrap().as_deref(), Some(first.as_str()));
    Python::run("1.5.9", "tests/stores/history.py", &[store.path(), "many", "1"]);
    assert_ne!(reader.generation(collection).await.unwrap().unwrap(), first);
}

/// chroma#1623, chroma#872, MemPalace#1710: without an index each vector that the log has was lost, too.
#[tokio::test]
async fn without_its_index_a_collection_has_what_the_log_has() {
    type Spoil = (&'static str, fn(&Path));
    let spoil: [Spoil; 4] = [
        ("an empty pickle", |folder| std::fs::write(folder.join("index_metadata.pickle"), "").unwrap()),
        ("no .bin file", |folder| {
            for name in ["header.bin", "data_level0.bin", "length.bin", "link_lists.bin"] {
                std::fs::remove_file(folder.join(name)).unwrap();
            }
        }),
        ("a header of zeros", |folder| std::fs::write(folder.join("header.bin"), [0; 100]).unwrap()),
        ("no folder", |folder| std::fs::remove_dir_all(folder).unwrap()),
    ];
    for version in VERSIONS {
        for name in ["synced_l2", "synced_cosine"] {
            for (how, spoil) in spoil {
                let case = format!("{version} {name}: {how}");
                let store = committed(version);
                let whole = one(&store.path, name).await;
                spoil(&folder(&store.path, name));
                let after = one(&store.path, name).await;
                let readable: Vectors = after.vectors.iter().filter(|(_, v)| v.is_some()).map(clone).collect();
                let same: Vectors =
                    whole.vectors.iter().filter(|(id, _)| readable.contains_key(*id)).map(clone).collect();
                assert_near(&readable, &same, &case);
                assert_eq!(after.vectors.len(), whole.vectors.len(), "{case}");
                if version == "0.4.24" {
                    // its log is never purged; without folder and pickle nothing says that there ever was an index
                    assert_eq!(readable.len(), whole.vectors.len(), "{case}");
                } else {
                    assert!(readable.len() >= whole.from_log.len(), "{case}: {} of them", readable.len());
                    let (lost, all) = (after.vectors.len() - readable.len(), after.vectors.len());
                    let of = match lost {
                        0 => format!("the vectors of all {all} records were read"),
                        _ => format!("{lost} of {all} records cannot be read"),
                    };
                    assert_eq!(lost == 0, how == "a header of zeros", "{case}");
                    says(if lost == 0 { &after.remarks.notes } else { &after.remarks.damage }, &[&of]);
                }
                let other = if name == "synced_l2" { "synced_ip" } else { "synced_l2" };
                assert!(
                    one(&store.path, other).await.remarks.damage.is_empty(),
                    "{case}: {other} is not touched by it"
                );
            }
        }
    }
}

fn clone((id, vector): (&String, &Option<Vec<u32>>)) -> (String, Option<Vec<u32>>) {
    (id.clone(), vector.clone())
}

/// A cut file of rows: the whole ones are used.
#[tokio::test]
async fn of_a_cut_index_the_whole_rows_are_used() {
    for version in ["0.5.23", "1.5.9"] {
        let store = committed(version);
        let whole = one(&store.path, "synced_cosine").await;
        let data = folder(&store.path, "synced_cosine").join("data_level0.bin");
        let header = std::fs::read(data.with_file_name("header.bin")).unwrap();
        let row_len = u64::from_le_bytes(header[28..36].try_into().unwrap());
        damage(&store.path, "truncate", &["synced_cosine", "data_level0.bin", &(row_len * 20 + 5).to_string()]);
        let after = one(&store.path, "synced_cosine").await;
        let readable = after.vectors.values().flatten().count();
        assert!(readable > whole.from_log.len() && readable < whole.vectors.len(), "{version}: {readable}");
        says(&after.remarks.damage, &["20 rows are whole", "records cannot be read"]);
        let (after, whole): (Vectors, Vectors) = after
            .vectors
            .iter()
            .filter(|(_, vector)| vector.is_some())
            .map(|(id, vector)| ((id.clone(), vector.clone()), (id.clone(), whole.vectors[id].clone())))
            .unzip();
        assert_near(&after, &whole, version);
    }
}

/// The folder of a collection's index.
pub(super) fn folder(store: &Path, name: &str) -> std::path::PathBuf {
    let tables = rusqlite::Connection::open(store.join("chroma.sqlite3")).unwrap();
    let sql = "select s.id from segments s join collections c on c.id = s.collection join databases d on d.id = c.database_id \
               where c.name = ? and s.scope = 'VECTOR' and d.name = 'default_database' and d.tenant_id = 'default_tenant'";
    let segment: String = tables.query_row(sql, [name], |row| row.get(0)).unwrap();
    store.join(segment)
}

/// The committed stores are as their clients read them, so what the tests above compare with is true.
#[tokio::test]
async fn what_is_compared_with_is_what_the_client_read() {
    for version in VERSIONS {
        let store = committed(version);
        for name in ["log_l2", "synced_l2", "synced_cosine"] {
            assert_near(&one(&store.path, name).await.vectors, &expected(version, name), &format!("{version} {name}"));
        }
    }
}
