//! Local stores that a server writes while they are read: an index that is kept, a log that is purged, and what is lost from
//! the files meanwhile.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout};

use memory_migration_operator::model::{Collection, Fetched, Origin};
use memory_migration_operator::store::Reader;
use memory_migration_operator::store::files::LocalStore;
use memory_migration_operator::store::files::index::taken::Taken;
use memory_migration_operator::store::files::index::{IndexRow, Shape, Vectors};
use rustix::process::Signal;
use serde_json::json;

use super::files::folder;
use crate::support::chroma::{ChromaServer, Process, Python, VERSIONS};
use crate::support::dice::Dice;
use crate::support::stores::{Store, committed, damage};

const DEFAULT: (&str, &str) = ("default_tenant", "default_database");

async fn named(reader: &LocalStore, name: &str) -> Collection {
    reader.collections().await.unwrap().into_iter().find(|c| c.name == name).unwrap()
}

/// A writer that waits for each word: see `tests/chroma/told.py`.
struct Told {
    child: Child,
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Told {
    fn start(version: &str, store: &Path, space: &str) -> Self {
        let mut child = Python::asked(version, "tests/chroma/told.py");
        let (words, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut told = Self { child, words, answers };
        told.tell(&json!({"store": store, "space": space}));
        told
    }

    fn tell(&mut self, word: &serde_json::Value) {
        writeln!(self.words, "{word}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n", "{word}");
    }

    fn write(&mut self, how: &str, records: &Numbers) {
        self.tell(&json!({"do": how, "records": records}));
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // both fail only for a process that has ended
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The number of each record, which its document and its vector say.
type Numbers = BTreeMap<String, usize>;

/// Reads all that is listed, and checks each.
async fn read_as(reader: &LocalStore, collection: &Collection, expected: &Numbers, case: &str) {
    let ids = reader.ids(collection).await.unwrap_or_else(|e| panic!("{case}: {e}"));
    let ids = ids.iter().collect::<std::io::Result<Vec<_>>>().unwrap();
    assert_eq!(ids, expected.keys().cloned().collect::<Vec<_>>(), "{case}");
    let found = reader.fetch(collection, &ids).await.unwrap_or_else(|e| panic!("{case}: {e}"));
    assert_eq!(found.len(), ids.len(), "{case}");
    for one in found {
        let Fetched::Record { record, .. } = one else { panic!("{case}: {one:?}") };
        let number = expected[&record.id];
        assert_eq!(record.document, Some(number.to_string()), "{case}: {}", record.id);
        assert_eq!(record.embedding.len(), 16, "{case}: {}", record.id);
        assert!(is_near(&record.embedding, number), "{case}: {} is {number}: {:?}", record.id, record.embedding);
    }
}

/// An index of cosine keeps the direction and the norm.
fn is_near(vector: &[f32], number: usize) -> bool {
    let number = f32::from(u16::try_from(number).unwrap());
    vector.iter().all(|found| (found - number).abs() <= number * 1e-6)
}

/// What an earlier walk through the log had settled was taken for true in a log that is purged: a record that was deleted, and
/// added again later, was "unreadable: the log has deleted its vector". A reader is opened after each delete, for only what is
/// the last of the log when an index is synced stays in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_deleted_and_added_again_is_read_when_the_log_was_purged() {
    for version in VERSIONS {
        let store = Store::absent();
        let mut told = Told::start(version, &store.path, "l2");
        let ids: Vec<String> = (0..40).map(|n| format!("id-{n:03}")).collect();
        let mut numbers: Numbers = ids.iter().cloned().zip(0..).collect();
        told.write("add", &numbers);
        let mut readers = Vec::new();
        for id in &ids[..12] {
            told.write("delete", &Numbers::from([(id.clone(), 0)]));
            told.write("query", &Numbers::new());
            numbers.remove(id);
            let reader = LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap();
            let collection = named(&reader, "told").await;
            read_as(&reader, &collection, &numbers, &format!("{version}, without {id}")).await;
            readers.push((reader, collection, id));
        }
        let others: Vec<String> = (0..11).map(|n| format!("other-{n}")).collect();
        for part in [&ids[..12], &others[..]] {
            let again: Numbers = part.iter().cloned().zip(100..).collect();
            told.write("add", &again);
            told.write("query", &Numbers::new());
            numbers.extend(again);
        }
        for (reader, collection, id) in &readers {
            read_as(reader, collection, &numbers, &format!("{version}, opened without {id}")).await;
        }
    }
}

/// Both kinds of readers stay open while records are added, replaced, deleted and added again under them, and read all after
/// each write.
#[tokio::test(flavor = "multi_thread")]
async fn after_each_write_each_record_is_what_was_written_last() {
    for (version, space) in VERSIONS.into_iter().zip(["l2", "cosine", "cosine", "l2", "cosine"]) {
        let store = Store::absent();
        let mut told = Told::start(version, &store.path, space);
        let (mut dice, mut numbers, mut next) = (Dice::new(16), Numbers::new(), 0);
        let mut some = |count: usize, name: &str, from: usize| -> Numbers {
            next += count;
            (0..count).map(|n| (format!("{name}-{:03}", from + n), next - n)).collect()
        };
        let first = some(40, "id", 0);
        told.write("add", &first);
        numbers.extend(first);
        let plain = LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap();
        let keeping = LocalStore::open_source(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap();
        let collection = named(&plain, "told").await;
        for step in 0..60_usize {
            let (how, records) = match dice.below(5) {
                0 => ("delete", some(2, "id", dice.below(39))),
                1 => ("add", some(3, "id", dice.below(37))),
                2 => ("update", some(2, "id", dice.below(39))),
                3 => ("upsert", some(4, "id", dice.below(36))),
                _ => ("add", some(6, "new", 6 * step)),
            };
            let is_there = |(id, _): &(&String, &usize)| numbers.contains_key(*id);
            let records: Numbers = match how {
                "add" => records.iter().filter(|one| !is_there(one)).map(|(id, n)| (id.clone(), *n)).collect(),
                "upsert" => records,
                _ => records.iter().filter(is_there).map(|(id, n)| (id.clone(), *n)).collect(),
            };
            if records.is_empty() {
                continue;
            }
            told.write(how, &records);
            if step.is_multiple_of(3) {
                told.write("query", &Numbers::new());
            }
            if how == "delete" {
                numbers.retain(|id, _| !records.contains_key(id));
            } else {
                numbers.extend(records);
            }
            for (reader, kind) in [(&plain, "plain"), (&keeping, "keeping")] {
                read_as(reader, &collection, &numbers, &format!("{version} {space}, step {step} {how}, {kind}")).await;
            }
        }
    }
}

/// The folder of the only collection's index.
fn rows_of(folder: &Path, ids: &[String]) -> (Vectors, Vec<IndexRow>) {
    let vectors = {
        let shape = Shape { dimension: Some(16), cosine: true, neighbours: None };
        Vectors::load(Taken::of(folder).unwrap(), shape).unwrap()
    };
    let Vectors::Index(index) = &vectors else { panic!("{vectors:?}") };
    let mut rows: Vec<IndexRow> = ids.iter().map(|id| index.row(id).unwrap().unwrap()).collect();
    rows.sort_unstable_by_key(|one| one.row.number);
    (vectors, rows)
}

/// A row of a cosine index that is updated stays where it is, and gets another norm: one that was read before makes another
/// vector of it.
#[tokio::test]
async fn an_index_that_is_kept_reads_norms_with_the_rows() {
    for version in VERSIONS {
        let store = Store::absent();
        let mut told = Told::start(version, &store.path, "cosine");
        let ids: Vec<String> = (0..20).map(|n| format!("id-{n:02}")).collect();
        told.write("add", &ids.iter().map(|id| (id.clone(), 5)).collect());
        told.write("query", &Numbers::new());
        let folder = folder(&store.path, "told");
        let (vectors, rows) = rows_of(&folder, &ids);
        told.write("upsert", &ids.iter().map(|id| (id.clone(), 7)).collect());
        // 0.4 counts adds alone until it syncs
        told.write("add", &(20..40).map(|n| (format!("id-{n:02}"), 9)).collect());
        told.write("query", &Numbers::new());
        let Vectors::Index(index) = &vectors else { panic!("{vectors:?}") };
        let mut read = 0;
        index
            .vectors(&rows, true, |vector| {
                assert!(is_near(&vector.unwrap(), 7), "{version}");
                read += 1;
            })
            .unwrap();
        assert_eq!(read, ids.len());
    }
}

/// What is lost from the files of a store after it was first read. A target's reader sees it, and a source's where no sync of the
/// store explains that the files have changed. Where one does, the record is what it was when it was read, for the tables say that
/// it has not changed since; what is wrong with the files is said all the same.
#[tokio::test]
async fn what_is_lost_from_an_index_after_it_was_read() {
    const SYNCED: &str = "synced_cosine";
    for version in ["1.5.9", "1.0.20", "0.6.3", "0.5.23"] {
        let store = committed(version);
        let target = LocalStore::open(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap();
        let source = LocalStore::open_source(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap();
        let collection = named(&source, SYNCED).await;
        let ids = source.ids(&collection).await.unwrap().iter().collect::<std::io::Result<Vec<_>>>().unwrap();
        let first = source.fetch(&collection, &ids).await.unwrap();
        target.fetch(&collection, &ids).await.unwrap();
        let generation = source.generation(&collection).await.unwrap();
        let mut indexed = first.iter().filter(|one| matches!(one, Fetched::Record { origin: Origin::Hnsw, .. }));
        let [before, after] = [indexed.next().unwrap().id().to_owned(), indexed.next().unwrap().id().to_owned()];
        let is_lost = async |reader: &LocalStore, id: &String| {
            let found = reader.fetch(&collection, std::slice::from_ref(id)).await.unwrap();
            matches!(found.as_slice(), [Fetched::Unreadable { .. }])
        };
        // nothing was synced
        damage(&store.path, "lose-vector", &[SYNCED, &before]);
        assert!(is_lost(&source, &before).await && is_lost(&target, &before).await, "{version}");
        assert_ne!(source.generation(&collection).await.unwrap(), generation, "{version}");
        // the store says that its index has gone on
        damage(&store.path, "lose-vector", &[SYNCED, &after]);
        damage(&store.path, "watermark", &[SYNCED, "VECTOR", "999999"]);
        assert!(is_lost(&target, &after).await, "{version}");
        assert!(!is_lost(&source, &after).await, "{version}: this index was not kept");
        assert!(is_lost(&source, &before).await, "{version}");
        // and whatever it says: a damaged file is seen by the look that is told
        damage(&store.path, "truncate", &[SYNCED, "index_metadata.pickle", "40"]);
        damage(&store.path, "watermark", &[SYNCED, "VECTOR", "1000000"]);
        let said = source.remarks(&collection).await.unwrap().damage;
        assert!(said.iter().any(|one| one.contains("index_metadata.pickle")), "{version}: {said:?}");
        assert!(is_lost(&source, &after).await, "{version}");
    }
}

/// What a writer does to the collection `syncing`: see `tests/chroma/syncing.py`.
struct Syncing {
    process: Process,
    log: PathBuf,
}

impl Syncing {
    fn start(version: &str, url: &str, log: PathBuf, space: &str) -> Self {
        let args = [url, log.to_str().unwrap(), "9000", "300", space];
        let mut syncing = Self { process: Python::spawn(version, "tests/chroma/syncing.py", &args), log };
        while syncing.writes() < 300 {
            assert!(syncing.process.0.try_wait().unwrap().is_none(), "the writer has ended");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        syncing
    }

    fn writes(&self) -> usize {
        std::fs::read_to_string(&self.log).map_or(0, |text| text.lines().count())
    }
}

/// Report 16: each sync made the index be loaded anew, so that a server which synced faster than that was never read. It
/// is kept now, and answers for what has not changed since; all else comes from the log or a newer load. In a cosine index
/// the norm of an updated row would be the old one.
async fn a_source_that_syncs_is_read(version: &str, space: &str) {
    let case = format!("{version}, {space}");
    let (store, scratch) = (Store::absent(), tempfile::tempdir().unwrap());
    std::fs::create_dir_all(&store.path).unwrap();
    let server = ChromaServer::start(version, &store.path);
    let mut writer = Syncing::start(version, &server.url, scratch.path().join("log"), space);
    let reader = LocalStore::open_source(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap();
    let collection = reader.collections().await.unwrap().into_iter().find(|c| c.name == "syncing").unwrap();
    let (before, mut read, mut from_index) = (writer.writes(), 0, 0);
    let ids = reader.ids(&collection).await.unwrap().iter().collect::<std::io::Result<Vec<_>>>().unwrap();
    // the records that change are read again and again between the others
    let (cold, hot): (Vec<_>, Vec<_>) = ids.iter().cloned().partition(|id| id.starts_with("cold"));
    for window in cold.chunks(600).zip([&hot[..], &[], &[]].into_iter().cycle()).flat_map(|(cold, hot)| [cold, hot]) {
        let fetched = reader.fetch(&collection, window).await;
        for fetched in fetched.unwrap_or_else(|e| panic!("{case}: {e}")) {
            let Fetched::Record { record, origin } = fetched else { panic!("{case}: {fetched:?}") };
            let number: f32 = record.document.as_deref().unwrap().parse().unwrap();
            let is_near = |found: &f32| (found - number).abs() <= number * 1e-6;
            assert!(record.embedding.iter().all(is_near), "{case}: {} {number}: {:?}", record.id, record.embedding);
            let is_cold = record.id == format!("cold-{number:06}");
            assert!(is_cold || record.id.starts_with("hot"), "{case}: {} {number}", record.id);
            read += usize::from(is_cold);
            from_index += usize::from(origin == Origin::Hnsw);
        }
    }
    let during = writer.writes() - before;
    println!("{case}: {read} cold records read, {from_index} answers from the index, during {during} writes");
    assert_eq!(read, cold.len(), "{case}: a record that never changes was left out");
    assert!(during > 10, "{case}: nothing moved");
    writer.process.signal(Signal::TERM);
    assert!(writer.process.0.wait().unwrap().success(), "{case}: the writer did not write until the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_syncs_faster_than_its_index_loads_is_read_and_each_vector_is_its_document_s() {
    for version in VERSIONS {
        let space = if matches!(version, "0.5.23" | "1.0.20") { "l2" } else { "cosine" };
        a_source_that_syncs_is_read(version, space).await;
    }
}

/// An entry of the log was purged between two windows of a run, and no number tells of it: what was known of the log named it
/// still, and the record was unreadable though a newer index had it.
#[tokio::test]
async fn an_entry_that_is_purged_after_the_log_was_walked_through_is_looked_for_anew() {
    let store = committed("1.5.9");
    let reader = LocalStore::open_source(&store.path, DEFAULT.0, DEFAULT.1).await.unwrap();
    let collection = named(&reader, "texts_log").await;
    let ids = reader.ids(&collection).await.unwrap().iter().collect::<std::io::Result<Vec<_>>>().unwrap();
    let first = reader.fetch(&collection, &ids[..1]).await.unwrap();
    assert!(matches!(&first[0], Fetched::Record { origin: Origin::Wal, .. }), "{first:?}");
    let database = rusqlite::Connection::open(store.path.join("chroma.sqlite3")).unwrap();
    assert_eq!(database.execute("DELETE FROM embeddings_queue WHERE id = ?", [&ids[1]]).unwrap(), 1);
    let found = reader.fetch(&collection, &ids[1..3]).await.unwrap();
    let unreadable = |one: &Fetched| match one {
        Fetched::Unreadable { id, why } if why.contains("neither in the write-ahead log nor in an index") => {
            *id == ids[1]
        }
        _ => false,
    };
    assert_eq!(found.len(), 2);
    assert!(found.iter().any(unreadable) && found.iter().any(|one| matches!(one, Fetched::Record { .. })), "{found:?}");
}
