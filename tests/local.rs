//! The native reader against what the official clients read, and against damage of every kind.
//! Each test has its own copy of a store that a real Chroma wrote.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use memory_migration_operator::model::{self, Collection, Error, Fetched, Origin};
use memory_migration_operator::scratch::SortedIds;
use memory_migration_operator::store::files::{self, AtPath, LocalStore, Order};
use memory_migration_operator::store::{self, Reader};

use super::support::chroma::VERSIONS;
use super::support::dump::{self, Dump, Tolerance, assert_same};
use super::support::stores::{Store, committed, damage, oracle};

const DEFAULT: (&str, &str) = ("default_tenant", "default_database");
/// A collection of the committed stores with 43 records, part of them in the index.
const SYNCED: &str = "synced_cosine";

async fn open(store: &Store) -> LocalStore {
    LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap()
}

async fn collection(reader: &LocalStore, name: &str) -> Collection {
    let all = reader.collections().await.unwrap();
    all.into_iter().find(|one| one.name == name).unwrap_or_else(|| panic!("no collection {name}"))
}

fn all_ids(ids: &SortedIds) -> Vec<String> {
    ids.iter().collect::<std::io::Result<_>>().unwrap()
}

async fn everything(reader: &LocalStore, collection: &Collection) -> Vec<Fetched> {
    let ids = all_ids(&reader.ids(collection).await.unwrap());
    let mut found = Vec::new();
    for window in ids.chunks(7) {
        found.extend(reader.fetch(collection, window).await.unwrap());
    }
    assert_eq!(found.len(), ids.len(), "{}: an id was listed but not answered", collection.name);
    found
}

fn value(value: &model::Value) -> dump::Value {
    match value {
        model::Value::Str(text) => dump::Value::Str(text.clone()),
        model::Value::Int(n) => dump::Value::Int(*n),
        model::Value::Float(x) => dump::Value::Float(x.to_bits()),
        model::Value::Bool(b) => dump::Value::Bool(*b),
        model::Value::List(items) => dump::Value::List(items.iter().map(self::value).collect()),
    }
}

fn metadata(metadata: &model::Metadata) -> dump::Metadata {
    metadata.iter().map(|(key, one)| (key.clone(), value(one))).collect()
}

/// What the reader gives of a whole folder, in the oracle's terms, and which records it cannot read.
async fn read(path: &Path) -> (Dump, Vec<(String, String)>) {
    let reader = LocalStore::open(path, DEFAULT.0, DEFAULT.1).await.unwrap();
    let mut dump = Dump::default();
    let mut unreadable = Vec::new();
    for one in reader.everything().await.unwrap() {
        let mut records = Vec::new();
        for fetched in everything(&reader, &one).await {
            match fetched {
                Fetched::Record { record, .. } => records.push(dump::Record {
                    id: record.id,
                    embedding: record.embedding.iter().map(|x| Some(x.to_bits())).collect(),
                    document: record.document,
                    uri: record.uri,
                    metadata: metadata(&record.metadata),
                }),
                Fetched::Unreadable { id, .. } => unreadable.push((one.name.clone(), id)),
            }
        }
        records.sort_by(|a, b| a.id.cmp(&b.id));
        dump.collections.push(dump::Collection {
            count: reader.count(&one).await.unwrap(),
            space: one.distance.as_str().to_owned(),
            configuration: one.configuration.clone().unwrap_or_default(),
            metadata: metadata(&one.metadata),
            name: one.name,
            tenant: one.tenant,
            database: one.database,
            id: one.id,
            records,
        });
    }
    (dump, unreadable)
}

/// Name, content and time of change of everything in a folder.
fn listing(folder: &Path) -> BTreeMap<String, (Vec<u8>, Option<SystemTime>)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let modified = path.metadata().unwrap().modified().ok();
        if path.is_dir() {
            found.extend(listing(&path));
            found.insert(path.display().to_string(), (Vec::new(), modified));
        } else {
            found.insert(path.display().to_string(), (std::fs::read(&path).unwrap(), modified));
        }
    }
    found
}

#[tokio::test]
async fn each_version_s_store_reads_as_its_own_client_reads_it() {
    for version in VERSIONS {
        let store = committed(version);
        let before = listing(&store.path);
        let (mut found, unreadable) = read(&store.path).await;
        assert_eq!(listing(&store.path), before, "{version}: reading changed the folder");
        let mut expected = oracle(version);
        // Vectors that Chroma's cosine destroys, raw in the log still, and (0.4) a collection that its client cannot read.
        let differs = |name: &str| ["cosine_log", "cosine_synced", "added_again"].contains(&name);
        found.collections.retain(|one| !differs(&one.name));
        expected.collections.retain(|one| !differs(&one.name));
        assert_same(&expected, &found, Tolerance { cosine: 2, doubles: 0 });
        assert!(
            unreadable.iter().all(|(name, id)| name == "cosine_synced" && id.starts_with("huge")),
            "{unreadable:?}"
        );
    }
}

/// 0.4 loses the vector of a record that is added again in the batch of its delete; the log still has it.
#[tokio::test]
async fn a_vector_that_0_4_lost_is_found_in_the_log() {
    let store = committed("0.4.24");
    let reader = LocalStore::open(&store.path, DEFAULT.0, "broken").await.unwrap();
    let collection = collection(&reader, "added_again").await;
    let found = reader.fetch(&collection, &["record-1".to_owned()]).await.unwrap();
    let [Fetched::Record { record, origin: Origin::Wal }] = found.as_slice() else { panic!("{found:?}") };
    let newer = oracle("1.5.9");
    let newer = newer.in_database(DEFAULT.0, "broken");
    let expected = &newer.collection("added_again").record("record-1").embedding;
    assert_eq!(&record.embedding.iter().map(|x| Some(x.to_bits())).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn vectors_come_from_the_index_and_from_the_log() {
    let store = committed("1.5.9");
    let reader = open(&store).await;
    for (name, origins) in [("log_l2", vec![Origin::Wal]), (SYNCED, vec![Origin::Hnsw, Origin::Wal])] {
        let collection = collection(&reader, name).await;
        for origin in origins {
            let found = everything(&reader, &collection).await;
            assert!(found.iter().any(|one| matches!(one, Fetched::Record { origin: o, .. } if *o == origin)), "{name}");
        }
    }
}

#[tokio::test]
async fn an_id_that_is_not_there_is_left_out() {
    let store = committed("1.5.9");
    let reader = open(&store).await;
    let collection = collection(&reader, SYNCED).await;
    let ids = ["missing", "synced-0", "synced-0", ""].map(str::to_owned);
    let found = reader.fetch(&collection, &ids).await.unwrap();
    assert_eq!(found.iter().map(Fetched::id).collect::<Vec<_>>(), ["synced-0"]);
    assert!(reader.fetch(&collection, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_missing_is_not_found_and_names_what_is_there() {
    let store = committed("0.6.3");
    for (tenant, database, there) in [("nobody", DEFAULT.1, "team-a"), (DEFAULT.0, "nothing", "archive")] {
        let reader = LocalStore::open(&store.path, tenant, database).await.unwrap();
        let error = reader.collections().await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }) && error.to_string().contains(there), "{error}");
    }
    let reader = open(&store).await;
    let mut gone = collection(&reader, SYNCED).await;
    gone.id = "00000000-0000-0000-0000-000000000000".to_owned();
    assert!(matches!(reader.ids(&gone).await.unwrap_err(), Error::NotFound { .. }));
}

#[tokio::test]
async fn a_folder_that_is_no_store_says_what_it_is() {
    let store = Store::absent();
    let opened = async || LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap_err();
    assert!(matches!(opened().await, Error::NotFound { .. }));
    assert_eq!(files::place(&store.path), AtPath::Missing);
    std::fs::create_dir(&store.path).unwrap();
    assert!(matches!(opened().await, Error::NotFound { .. }));
    assert_eq!(files::place(&store.path), AtPath::Empty);
    std::fs::write(store.path.join("notes.txt"), "text").unwrap();
    let error = opened().await;
    assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains("notes.txt"), "{error}");
    std::fs::write(store.path.join("chroma.sqlite3"), [b'x'; 4096]).unwrap();
    let error = opened().await;
    assert!(matches!(error, Error::Damaged { .. }) && error.to_string().contains("begin like"), "{error}");
    let file = LocalStore::open(store.path.join("notes.txt"), DEFAULT.0, DEFAULT.1).await.unwrap_err();
    assert!(matches!(file, Error::Unsupported { .. }), "{file}");
}

#[test]
fn layouts_of_two_versions_are_ordered() {
    let layout = |version| files::layout(&committed(version).path).unwrap();
    let layouts: Vec<_> = ["0.4.24", "0.5.23", "1.0.20", "1.5.9"].into_iter().map(layout).collect();
    for pair in layouts.windows(2) {
        assert_eq!((pair[0].compare(&pair[1]), pair[1].compare(&pair[0])), (Order::Older, Order::Newer));
    }
    assert_eq!(layout("0.6.3").compare(&layouts[1]), Order::Equal);
    assert!(layouts[0].version().contains("0.4.15 to 0.4.24") && layouts[3].version().contains("1.x"));
}

#[tokio::test]
async fn a_hot_journal_is_rolled_back_in_scratch_space_only() {
    let store = committed("1.5.9");
    let committed_rows = damage(&store.path, "hot-journal", &[]);
    let before = listing(&store.path);
    let (found, _) = read(&store.path).await;
    assert_eq!(listing(&store.path), before);
    let records: u64 = found.collections.iter().map(|one| one.count).sum();
    assert!(records <= committed_rows.parse().unwrap(), "{records} records, {committed_rows} rows are committed");
    assert!(found.collections.iter().all(|one| one.records.iter().all(|r| !r.id.starts_with("uncommitted"))));
    let named = |dump: &Dump| dump.collections.iter().map(|one| one.count).sum::<u64>();
    assert_eq!(records, named(&oracle("1.5.9")));
}

#[tokio::test]
async fn a_store_in_wal_mode_is_read_from_a_copy() {
    let store = committed("0.6.3");
    damage(&store.path, "wal-mode", &[]);
    let before = listing(&store.path);
    let (found, _) = read(&store.path).await;
    assert_eq!(listing(&store.path), before);
    assert_eq!(found.collections.len(), oracle("0.6.3").collections.len());
}

#[tokio::test]
async fn a_layout_of_the_future_is_unsupported() {
    let store = committed("1.5.9");
    damage(&store.path, "unknown-migration", &[]);
    let error = LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains("metadb 9999"), "{error}");
    assert_eq!(files::layout(&store.path).unwrap().last("metadb"), 9999);
}

#[tokio::test]
async fn a_truncated_database_names_both_lengths() {
    let store = committed("1.5.9");
    for bytes in ["200000", "4096", "50", "0"] {
        damage(&store.path, "truncate-database", &[bytes]);
        let read = async { LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await?.collections().await };
        match read.await {
            // what is left of it still names collections
            Ok(all) => {
                let says = |c: &Collection| c.unreadable.as_ref().is_some_and(|why| why.contains(bytes));
                assert!(bytes == "200000" && all.iter().any(says), "{bytes}: {all:?}");
                assert!(all.iter().all(|c| c.unreadable.is_some()), "{bytes}: {all:?}");
            }
            Err(error) => {
                assert!(matches!(error, Error::Damaged { .. }) && error.to_string().contains(bytes), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_record_without_a_vector_is_unreadable_and_no_other() {
    for version in ["0.4.24", "1.5.9"] {
        let store = committed(version);
        let reader = open(&store).await;
        let name = collection(&reader, SYNCED).await;
        let found = everything(&reader, &name).await;
        let indexed = |one: &&Fetched| matches!(one, Fetched::Record { origin: Origin::Hnsw, .. });
        let id = found.iter().find(indexed).unwrap().id().to_owned();
        damage(&store.path, "lose-vector", &[SYNCED, &id]);
        let now = everything(&reader, &name).await;
        assert_eq!(now.len(), found.len());
        let lost: Vec<_> = now.iter().filter(|one| matches!(one, Fetched::Unreadable { .. })).collect();
        let [Fetched::Unreadable { id: found, why }] = lost.as_slice() else { panic!("{version}: {lost:?}") };
        assert!(*found == id && why.contains("index_metadata.pickle"), "{version}: {why}");
    }
}

/// Damage of an index is a matter of its records: ids are listed, what the log or whole rows have is read, and it is said.
#[tokio::test]
async fn a_truncated_or_torn_index_is_said_and_stops_nothing_else() {
    let damages: [(&str, &[&str], &str); 6] = [
        ("truncate", &[SYNCED, "data_level0.bin", "1000"], "1000 bytes"),
        ("truncate", &[SYNCED, "length.bin", "6"], "6 bytes"),
        ("truncate", &[SYNCED, "header.bin", "60"], "60 bytes"),
        ("truncate", &[SYNCED, "index_metadata.pickle", "90"], "of 90"),
        ("tear", &[SYNCED], "44 of 44 ids"),
        ("foreign-pickle", &[SYNCED], "was not executed"),
    ];
    for (how, args, what) in damages {
        let store = committed("1.5.9");
        let total = {
            let reader = open(&store).await;
            everything(&reader, &collection(&reader, SYNCED).await).await.len()
        };
        damage(&store.path, how, args);
        let reader = open(&store).await;
        let broken = collection(&reader, SYNCED).await;
        let found = everything(&reader, &broken).await;
        let lost = found.iter().filter(|one| matches!(one, Fetched::Unreadable { .. })).count();
        // without its header, the rows' layout is derived
        let is_whole = how == "tear" || args.contains(&"header.bin");
        assert_eq!((found.len(), lost > 0), (total, !is_whole), "{how} {args:?}: {lost} are lost");
        // what costs no record is a note
        let store::Remarks { damage, notes, .. } = reader.remarks(&broken).await.unwrap();
        let (told, others) = if lost == 0 { (notes, damage) } else { (damage, notes) };
        assert_eq!(others, Vec::<String>::new(), "{how}");
        let count = match lost {
            0 => format!("the vectors of all {total} records were read"),
            _ => format!("the vectors of {lost} of {total} records cannot be read"),
        };
        let [said] = told.as_slice() else { panic!("{how}: {told:?}") };
        assert!(said.contains(what) && said.contains(&count), "{how}: {said}");
        assert!(!store.path.with_file_name("executed").exists(), "a pickle was executed");
        let other = collection(&reader, "synced_l2").await;
        assert!(everything(&reader, &other).await.iter().all(|one| matches!(one, Fetched::Record { .. })));
        assert!(reader.remarks(&other).await.unwrap().damage.is_empty());
    }
}
