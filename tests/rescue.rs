//! docs/guides/rescue-a-store.md, carried out: its commands run as they stand there, on stores that real Chroma wrote and that
//! were damaged then. What came of it is read by the official client, never by our own reader.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value as Json;
use tempfile::TempDir;

use super::support::chroma::{ChromaServer, VERSIONS, crate_path, env, keep_bytecode};
use super::support::dump::{Dump, Tolerance, assert_same, dump, dump_folder};
use super::support::migration::DEFAULT;
use super::support::stores::{Store, committed, damage, oracle};

const GUIDE: &str = "docs/guides/rescue-a-store.md";
/// The sections with commands, in the order in which a person follows them.
const STEPS: [&str; 7] = [
    "1. Stop Chroma, and keep a copy",
    "2. See what is left",
    "3. Copy what is left",
    "4. Check the new store",
    "5. Add what is missing from a backup",
    "6. Use the new store",
    "If you have only a server",
];
/// All that is put in for something else; everything else runs word for word.
const SERVER: &str = "http://localhost:8000";

/// The commands of each section.
fn commands() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(crate_path(GUIDE)).unwrap();
    let (mut heading, mut is_shell, mut found) = ("", false, BTreeMap::<String, Vec<String>>::new());
    for line in text.lines() {
        match line.strip_prefix("## ") {
            Some(title) => heading = title,
            None if line.starts_with("```") => is_shell = line == "```sh",
            None if is_shell => found.entry(heading.to_owned()).or_default().push(line.to_owned()),
            None => {}
        }
    }
    found
}

#[test]
fn every_command_of_the_guide_is_in_a_step_that_is_tried() {
    let found: BTreeSet<String> = commands().into_keys().collect();
    assert_eq!(found, STEPS.map(str::to_owned).into());
}

/// The place where a person sits: `./chroma_db` is the broken store, `./backup` the same one before.
struct Desk {
    folder: TempDir,
}

/// How a step ended.
struct Ended {
    code: i32,
    said: String,
}

impl Desk {
    fn new(broken: Store, whole: &Store) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let desk = Self { folder };
        fs::create_dir(desk.path("bin")).unwrap();
        let ours = PathBuf::from(env!("CARGO_BIN_EXE_memory-migration"));
        for (name, program) in [("memory-migration", ours), ("chroma", env("server").chroma())] {
            std::os::unix::fs::symlink(program, desk.path("bin").join(name)).unwrap();
        }
        for (store, name) in [(&broken, "chroma_db"), (whole, "backup")] {
            let copied = Command::new("cp").arg("-a").arg(&store.path).arg(desk.path(name)).status().unwrap();
            assert!(copied.success());
        }
        drop(broken);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Carries out a section of the guide; each command but the last has to succeed.
    fn step(&self, heading: &str, server: &str) -> Ended {
        let all = commands();
        let mut ended = Ended { code: 0, said: String::new() };
        for line in &all[heading] {
            assert_eq!(ended.code, 0, "{heading}: {}", ended.said);
            let mut shell = Command::new("sh");
            for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MEMORY_MIGRATION_")) {
                shell.env_remove(name);
            }
            keep_bytecode(&mut shell);
            let path = std::env::join_paths([self.path("bin"), "/usr/bin".into(), "/bin".into()]).unwrap();
            shell.arg("-c").arg(line.replace(SERVER, server)).current_dir(&self.folder).env("PATH", path);
            let output = shell.stdin(Stdio::null()).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            let code = output.status.code().unwrap();
            ended = Ended { code, said: format!("$ {line}\n-> {code}\n{}", String::from_utf8_lossy(&text)) };
        }
        ended
    }

    /// All files below a folder, with their bytes.
    fn content(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>, root: &Path) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found, root);
                } else {
                    found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
                }
            }
        }
        let (root, mut found) = (self.path(name), BTreeMap::new());
        walk(&root, &mut found, &root);
        found
    }
}

impl Ended {
    #[track_caller]
    fn code(&self, expected: i32) {
        assert_eq!(self.code, expected, "{}", self.said);
    }

    /// What the row of a collection says of its state.
    #[track_caller]
    fn row(&self, collection: &str) -> &str {
        let mut rows = self.said.lines().filter(|line| line.split_whitespace().next() == Some(collection));
        rows.next().unwrap_or_else(|| panic!("no row of {collection} in {}", self.said))
    }
}

/// Ids by collection.
type Lost = BTreeMap<String, BTreeSet<String>>;

/// What the report calls unreadable, by name in the source.
fn unreadable(report: &Json) -> Lost {
    let mut lost = Lost::new();
    for one in report["collections"].as_array().unwrap() {
        let all = one["differences"].as_array().unwrap().iter();
        let ids = all.filter(|d| d["field"] == "unreadable").map(|d| d["id"].as_str().unwrap().to_owned());
        let ids: BTreeSet<String> = ids.collect();
        assert_eq!(one["counts"]["unreadable"], ids.len(), "{one}");
        if !ids.is_empty() {
            lost.insert(one["name"].as_str().unwrap().to_owned(), ids);
        }
    }
    lost
}

/// What is left of a store without these records, and without the collections that `skipped` names.
fn rest(whole: &Dump, lost: &Lost, skipped: &[&str]) -> Dump {
    let mut rest = whole.clone();
    rest.collections.retain(|one| !skipped.contains(&one.name.as_str()));
    for one in &mut rest.collections {
        one.records.retain(|record| !lost.get(&one.name).is_some_and(|ids| ids.contains(&record.id)));
        one.count = one.records.len() as u64;
    }
    rest
}

/// The ids of a collection whose vector an entry of the log has. An add of an id that exists is none: Chroma ignores it.
fn in_log(store: &Path, collection: &str) -> BTreeSet<String> {
    let tables = rusqlite::Connection::open(store.join("chroma.sqlite3")).unwrap();
    let sql = "select distinct q.id from embeddings_queue q join collections c on q.topic like '%/' || c.id \
               join databases d on d.id = c.database_id where c.name = ? and q.vector is not null \
               and coalesce(q.metadata, '') not like '%ignored: the id exists%' and d.name = 'default_database' and d.tenant_id = 'default_tenant'";
    let mut statement = tables.prepare(sql).unwrap();
    statement.query_map([collection], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// The folder of a collection's index.
fn index(store: &Path, collection: &str) -> PathBuf {
    let tables = rusqlite::Connection::open(store.join("chroma.sqlite3")).unwrap();
    let sql = "select s.id from segments s join collections c on c.id = s.collection join databases d on d.id = c.database_id \
               where c.name = ? and s.scope = 'VECTOR' and d.name = 'default_database' and d.tenant_id = 'default_tenant'";
    let segment: String = tables.query_row(sql, [collection], |row| row.get(0)).unwrap();
    store.join(segment)
}

/// What a kind of damage leaves, as the test knows it without reading the damaged store with our code.
struct Expected {
    /// Records that have to be named as unreadable; None where the test only knows bounds.
    lost: Option<Lost>,
    /// Collections that have to be skipped by name.
    skipped: &'static [&'static str],
    /// Whether the verdict has to be "not Verified" even if all records are readable.
    is_damaged: bool,
    /// Records whose vector may be an older one. They are left out of comparisons.
    aged: Lost,
}

/// The ids of these collections that are not in the log.
fn only_in_index(store: &Path, whole: &Dump, collections: &[&str]) -> Expected {
    let lost = collections.iter().map(|name| {
        let logged = in_log(store, name);
        let ids = whole.collection(name).records.iter().map(|one| one.id.clone()).filter(|id| !logged.contains(id));
        ((*name).to_owned(), ids.collect::<BTreeSet<_>>())
    });
    Expected {
        lost: Some(lost.filter(|(_, ids)| !ids.is_empty()).collect()),
        skipped: &[],
        is_damaged: false,
        aged: Lost::new(),
    }
}

/// Carries out the whole guide on a store of each version, damaged by `break_it`.
fn follow(break_it: impl Fn(&Path, &Dump) -> Expected) {
    for version in ["1.5.9", "0.6.3", "0.4.24"] {
        assert!(VERSIONS.contains(&version));
        let (broken, backup) = (committed(version), committed(version));
        let whole = oracle(version).in_database(DEFAULT.0, DEFAULT.1);
        let expected = break_it(&broken.path, &whole);
        let desk = Desk::new(broken, &backup);
        let before = desk.content("chroma_db");
        let [copy, see, rescue, check, fill, swap, _] = STEPS.map(|step| (step, SERVER));
        desk.step(copy.0, copy.1).code(0);
        assert_eq!(desk.content("chroma_db.copy"), before, "{version}");
        let seen = desk.step(see.0, see.1);
        let rescued = desk.step(rescue.0, rescue.1);
        let report: Json = serde_json::from_slice(&fs::read(desk.path("rescue.json")).unwrap()).unwrap();
        let lost = unreadable(&report);
        let case = format!("{version}\n{}\n{}", seen.said, rescued.said);
        if let Some(expected) = &expected.lost {
            assert_eq!(&lost, expected, "{case}");
        }
        let is_whole = lost.is_empty() && expected.skipped.is_empty() && !expected.is_damaged;
        let code = if is_whole { 0 } else { 5 };
        assert_eq!((seen.code, rescued.code), (code, code), "{case}");
        let named: usize = lost.values().map(BTreeSet::len).sum();
        assert_eq!(seen.said.matches(" cannot be read: ").count(), named, "each one is named: {case}");
        for one in &whole.collections {
            let row = seen.row(&one.name);
            let is_lost = expected.skipped.contains(&one.name.as_str());
            let state = lost.get(&one.name).map(|ids| format!("damaged, {} unreadable", ids.len()));
            assert!(
                row.contains(state.as_deref().unwrap_or(if is_lost { "unreadable" } else { " " })),
                "{row}: {case}"
            );
            assert!(!is_whole || row.contains(" ok "), "{row}: {case}");
        }
        let left = rest(&whole, &lost, expected.skipped);
        let verified: u64 = left.collections.iter().map(|one| one.count).sum();
        assert_eq!(report["counts"]["verified"], verified, "{case}");
        assert!(expected.skipped.iter().all(|name| rescued.said.contains(&format!("{name:?} was skipped"))), "{case}");
        let known = |dump: &Dump| rest(dump, &expected.aged, &[]);
        assert_same(&known(&left), &known(&dump_folder("1.5.9", &desk.path("rescued"))), Tolerance::MIGRATED);
        assert_eq!(desk.content("chroma_db"), before, "{version}: the broken store was written");
        desk.step(check.0, check.1).code(0);
        desk.step(fill.0, fill.1).code(0);
        desk.step(swap.0, swap.1).code(0);
        let started = ChromaServer::start("1.5.9", &desk.path("chroma_db"));
        let in_use = dump("1.5.9", &started.url, DEFAULT.0, DEFAULT.1);
        let counts = |dump: &Dump| dump.collections.iter().map(|one| one.count).collect::<Vec<_>>();
        assert_eq!(counts(&whole), counts(&in_use), "{version}");
        assert_same(&known(&whole), &known(&in_use), Tolerance::MIGRATED);
    }
}

#[test]
fn a_cut_mapping_of_an_index() {
    follow(|store, whole| {
        let expected = only_in_index(store, whole, &["synced_cosine"]);
        let length = fs::metadata(index(store, "synced_cosine").join("index_metadata.pickle")).unwrap().len() / 2;
        damage(store, "truncate", &["synced_cosine", "index_metadata.pickle", &length.to_string()]);
        expected
    });
}

#[test]
fn the_files_of_an_index_are_gone() {
    follow(|store, whole| {
        let expected = only_in_index(store, whole, &["synced_l2"]);
        for entry in fs::read_dir(index(store, "synced_l2")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "bin") {
                fs::remove_file(path).unwrap();
            }
        }
        expected
    });
}

#[test]
fn folders_of_indexes_were_moved_away() {
    follow(|store, whole| {
        let all = ["synced_l2", "synced_cosine", "synced_ip", "wide_cosine"];
        let expected = only_in_index(store, whole, &all);
        for name in all {
            let folder = index(store, name);
            fs::rename(&folder, folder.with_extension("drift-20260708")).unwrap();
        }
        expected
    });
}

#[test]
fn a_collection_without_segments() {
    follow(|store, _| {
        let tables = rusqlite::Connection::open(store.join("chroma.sqlite3")).unwrap();
        let sql = "pragma foreign_keys = off; delete from segments where collection = (select c.id from collections c \
                   join databases d on d.id = c.database_id where c.name = 'texts_log' \
                   and d.name = 'default_database' and d.tenant_id = 'default_tenant')";
        tables.execute_batch(sql).unwrap();
        Expected { lost: Some(Lost::new()), skipped: &["texts_log"], is_damaged: true, aged: Lost::new() }
    });
}

#[test]
fn a_bad_page_of_the_records_table() {
    follow(|store, _| {
        damage(store, "bad-page", &["embeddings"]);
        Expected { lost: None, skipped: &[], is_damaged: true, aged: Lost::new() }
    });
}

#[test]
fn an_emptied_log() {
    follow(|store, whole| {
        let aged = whole.collections.iter().map(|one| (one.name.clone(), in_log(store, &one.name))).collect();
        let tables = rusqlite::Connection::open(store.join("chroma.sqlite3")).unwrap();
        tables.execute_batch("delete from embeddings_queue").unwrap();
        Expected { lost: None, skipped: &[], is_damaged: true, aged }
    });
}

/// A copy that a full disk cut short: the last pages are gone, with records, values and settings of segments on them.
#[test]
fn a_cut_database() {
    follow(|store, _| {
        let database = fs::OpenOptions::new().write(true).open(store.join("chroma.sqlite3")).unwrap();
        let pages = fs::read(store.join("chroma.sqlite3")).unwrap().len() as u64 / 4096;
        database.set_len((pages - 5) * 4096).unwrap();
        // a file that was just changed may be one that somebody writes
        database.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        Expected { lost: None, skipped: &[], is_damaged: true, aged: Lost::new() }
    });
}

/// chroma#2619, MemPalace#2510: the files cannot be reached, and the server answers 500 for one record.
#[test]
fn a_server_that_fails_for_one_record() {
    for version in ["1.5.9", "0.6.3", "0.4.24"] {
        let (broken, backup) = (committed(version), committed(version));
        let whole = oracle(version).in_database(DEFAULT.0, DEFAULT.1);
        let lost = Lost::from([("synced_l2".to_owned(), BTreeSet::from(["synced-7".to_owned()]))]);
        damage(&broken.path, "lose-vector", &["synced_l2", "synced-7"]);
        let desk = Desk::new(broken, &backup);
        let server = ChromaServer::start(version, &desk.path("chroma_db"));
        let ended = desk.step(STEPS[6], &server.url);
        ended.code(5);
        assert!(ended.said.contains("synced_l2: \"synced-7\" unreadable: "), "{version}: {}", ended.said);
        assert!(!ended.said.contains("check its address"), "{version}: {}", ended.said);
        let rescued = dump_folder("1.5.9", &desk.path("rescued-from-server"));
        assert_same(&rest(&whole, &lost, &[]), &rescued, Tolerance::MIGRATED);
    }
}
