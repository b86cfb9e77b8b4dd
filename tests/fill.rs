//! New local targets that are filled by their files (`--fill files`): against twins that Chroma filled, through kills, and with
//! an importer that errs.

mod kills;
mod lives;
mod mutations;
mod pods;
mod points;

use std::path::Path;

use super::support::chroma::{ChromaServer, Python};
use super::support::dump::{Tolerance, assert_same, dump_folder};
use super::support::migration::{DEFAULT, Migration, Report, local, remote};
use super::support::stores::{Store, committed, generated};

/// Versions whose stores are filled.
const FILLED: [&str; 2] = ["1.5.9", "1.0.20"];

fn by_files(source: &str, target: &Store, version: &'static str) -> Migration {
    Migration::new(source, target.path()).written_by(version).args(["--fill", "files"])
}

/// Runs it, and asserts that the files were filled.
#[track_caller]
fn filled(migration: Migration) -> Report {
    let report = migration.verified();
    let message = report.check("fill")["message"].as_str().unwrap();
    assert!(message.starts_with("this program writes the records"), "{message}");
    assert_eq!((report.count("targetBefore"), report.count("present")), (0, 0), "{}", report.json);
    assert_eq!(report.count("copied"), report.count("source"), "{}", report.json);
    report
}

/// Nothing of ours is left beside a store.
#[track_caller]
fn assert_clean(store: &Store) {
    let names = names_beside(store);
    assert!(names.iter().all(|name| !name.contains("importing") && !name.contains("memory-migration")), "{names:?}");
}

/// The store's own name and those beside it.
fn names_beside(store: &Store) -> Vec<String> {
    let beside = std::fs::read_dir(store.path.parent().unwrap()).unwrap().flatten();
    let mut names: Vec<_> = beside.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn twins(version: &str, args: &[&str]) -> String {
    Python::run(version, "tests/chroma/twins.py", args)
}

/// What the official client answers from a store.
fn answers(version: &str, store: &Store) -> String {
    twins(version, &["answer", store.path()])
}

#[track_caller]
fn assert_twins(version: &str, engine: &Store, files: &Store, when: &str) {
    let (one, other) = (answers(version, engine), answers(version, files));
    for (a, b) in one.lines().zip(other.lines()) {
        assert_eq!(a, b, "{version}, {when}: Chroma's own, and the filled one");
    }
    assert_eq!(one.lines().count(), other.lines().count(), "{version}, {when}");
}

/// Stores of several versions with all that a store can hold.
#[test]
fn a_store_comes_out_as_if_chroma_had_filled_it() {
    for (version, written_by) in
        [("0.4.24", "1.5.9"), ("0.5.23", "1.5.9"), ("0.6.3", "1.5.9"), ("1.5.9", "1.5.9"), ("1.0.20", "1.0.20")]
    {
        let source = committed(version);
        let from = local(&source.path, DEFAULT);
        let all = dump_folder_names(version, &source);
        // 1.0.20 drops arrays, and is refused them
        let only: Vec<&str> =
            all.iter().map(String::as_str).filter(|n| written_by == "1.5.9" || *n != "arrays").collect();
        let (engine, files) = (Store::absent(), Store::absent());
        let by_engine = Migration::new(&from, engine.path()).written_by(written_by).only(&only).ended();
        let by_files = by_files(&from, &files, written_by).only(&only).ended();
        assert_eq!(by_files.reason(), by_engine.reason(), "{version} into {written_by}: {}", by_files.json);
        assert_eq!(by_files.json["counts"], by_engine.json["counts"], "{version} into {written_by}");
        assert_eq!(by_files.fingerprints(), by_engine.fingerprints(), "{version} into {written_by}");
        assert!(by_files.check("fill")["message"].as_str().unwrap().starts_with("this program writes"));
        let (one, other) = (dump_folder(written_by, &engine.path), dump_folder(written_by, &files.path));
        assert_same(&one, &other, Tolerance::MIGRATED);
        assert_clean(&files);
    }
}

fn dump_folder_names(version: &str, store: &Store) -> Vec<String> {
    let all = dump_folder(version, &store.path).in_database(DEFAULT.0, DEFAULT.1);
    all.collections.into_iter().map(|collection| collection.name).collect()
}

/// Random records of every kind: the official client gets the same answers from both twins, at once and after they have lived on.
/// A collection goes that has the log's newest entry, each step has a server of its own, and in the end a second migration comes.
#[test]
fn random_records_are_answered_as_by_the_twin_and_the_store_lives_on() {
    for (version, seed, changes) in [("1.5.9", "1", "150"), ("1.0.20", "2", "30")] {
        let source = Store::absent();
        twins(version, &["make", source.path(), seed]);
        let (engine, files) = (Store::absent(), Store::absent());
        Migration::new(source.path(), engine.path()).written_by(version).verified();
        filled(by_files(source.path(), &files, version));
        assert_twins(version, &engine, &files, &format!("seed {seed}"));
        for store in [&engine, &files] {
            // the last one that was filled
            twins(version, &["drop", store.path(), "random_l2"]);
            twins(version, &["live", store.path(), seed, changes]);
        }
        assert_twins(version, &engine, &files, &format!("seed {seed}, after {changes} changes of each collection"));
        for store in [&engine, &files] {
            let again = Migration::new(source.path(), store.path()).written_by(version);
            again.args(["--on-conflict", "overwrite"]).verified();
        }
        assert_twins(version, &engine, &files, &format!("seed {seed}, after a second migration"));
    }
}

/// From a server, several databases at once, renamed.
#[test]
fn a_server_and_several_collections() {
    let source = committed("1.5.9");
    let server = ChromaServer::start("1.5.9", &source.path);
    let files = Store::absent();
    let migration =
        by_files(&remote(&server, DEFAULT), &files, "1.5.9").only(&["single=only.one", "emptied", "synced_*=moved_*"]);
    let report = filled(migration);
    assert!(report.json["collections"].as_array().unwrap().len() > 3);
    Migration::verify(&remote(&server, DEFAULT), files.path())
        .only(&["single=only.one", "emptied", "synced_*=moved_*"])
        .verified();
}

/// Another tenant and another database: the log names a collection the same way there.
#[test]
fn another_tenant_and_database() {
    for version in FILLED {
        let source = committed("1.5.9");
        let files = Store::absent();
        let into = local(&files.path, ("tenant_b", "database_b"));
        let migration = Migration::new(source.path(), &into).written_by(version).only(&["single", "synced_l2"]);
        filled(migration.args(["--fill", "files"]));
        Migration::verify(source.path(), &into).only(&["single", "synced_l2"]).verified();
    }
}

/// Where files cannot be filled, Chroma takes the records, and the report says why.
#[test]
fn what_cannot_be_filled_is_left_to_chroma_and_said() {
    let source = generated("1.5.9", 50, 3, "l2");
    let said = |report: &Report| report.check("fill")["message"].as_str().unwrap().to_owned();
    let target = Store::absent();
    let report = by_files(source.path(), &target, "0.6.3").verified();
    assert!(said(&report).contains("the target's Chroma takes the records"), "{report:?}");
    assert!(said(&report).contains("only Chroma 1.0.20 and 1.5.9"), "{report:?}");
    let volume = Store::absent();
    std::fs::create_dir_all(volume.path.join("lost+found")).unwrap();
    let report = by_files(source.path(), &volume, "1.5.9").verified();
    assert!(said(&report).contains("the root of a volume"), "{report:?}");
    // a second run finds the store, and all of it
    let report = by_files(source.path(), &volume, "1.5.9").verified();
    assert!(said(&report).contains("not empty") && report.count("present") == 50, "{report:?}");
    let server = ChromaServer::start("1.5.9", Path::new(&committed("1.5.9").path));
    Migration::new(source.path(), &server.url).args(["--fill", "files"]).usage("only a local target has files");
    let counts = Migration::new(source.path(), volume.path()).written_by("1.5.9");
    counts.args(["--fill", "files", "--verification", "counts"]).usage("needs --verification full");
}

/// A tester's finding: a folder with the mark's name, and a link that leads nowhere, were noticed when all the work was done.
#[test]
fn what_is_in_the_way_is_told_before_any_work() {
    let source = generated("1.5.9", 50, 3, "l2");
    let target = Store::absent();
    let mark = target.path.parent().unwrap().join("store.memory-migration.filled");
    std::fs::create_dir(&mark).unwrap();
    std::fs::write(mark.join("precious"), "").unwrap();
    let report = by_files(source.path(), &target, "1.5.9").refused(&["store.memory-migration.filled", "--fill engine"]);
    assert!(!report.output.stderr_text().contains("the target's files are filled"), "{report:?}");
    // it is nobody's business without a fill
    Migration::new(source.path(), target.path()).written_by("1.5.9").verified();
    assert!(mark.join("precious").exists());
    for fill in ["files", "engine"] {
        let target = Store::absent();
        std::os::unix::fs::symlink("nowhere", &target.path).unwrap();
        let run = Migration::new(source.path(), target.path()).written_by("1.5.9").args(["--fill", fill]);
        let report = run.refused(&["is a link to nowhere, and there is nothing"]);
        assert!(report.json["preflight"].as_array().unwrap().is_empty(), "{}", report.json);
        assert_eq!(names_beside(&target), ["store"]);
    }
}

/// The same for a file in place of a folder above the target.
#[test]
fn a_file_in_place_of_a_folder_above_the_target_is_told_before_any_work() {
    let source = generated("1.5.9", 50, 3, "l2");
    let above = Store::absent();
    std::fs::write(&above.path, "precious").unwrap();
    let target = above.path.join("new/store");
    let run = Migration::new(source.path(), target.to_str().unwrap()).written_by("1.5.9");
    let report = run.refused(&["is no folder"]);
    assert!(report.json["preflight"].as_array().unwrap().is_empty(), "{}", report.json);
    assert_eq!(std::fs::read_to_string(&above.path).unwrap(), "precious");
}

/// Gives a folder another owner, where this user may do that, and a mode; its owner then.
fn owned(folder: &Path, mode: u32) -> (u32, u32) {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    if let Err(error) = chown(folder, Some(4711), Some(4712)) {
        println!("the folder keeps this user as its owner, for only root may give it away: {error}");
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
    owner(folder)
}

fn owner(path: &Path) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap()
}

/// A store with its index, all of one owner, in a folder of this mode.
#[track_caller]
fn assert_owned(target: &Store, by: (u32, u32), mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    let index = std::fs::read_dir(&target.path).unwrap().flatten().find(|entry| entry.path().is_dir()).unwrap().path();
    for path in [target.path.clone(), target.path.join("chroma.sqlite3"), index.join("header.bin"), index] {
        assert_eq!(owner(&path), by, "{}", path.display());
    }
    assert_eq!(std::fs::metadata(&target.path).unwrap().permissions().mode() & 0o7777, mode);
    assert_clean(target);
}

/// An empty folder keeps its owner and mode; where there is none, they are those of its parent, without what a folder for
/// everybody's files has. A dry run touches nothing; nothing is left beside.
#[test]
fn the_folder_that_is_replaced_its_parent_and_a_dry_run() {
    let source = Store::absent();
    twins("1.5.9", &["plain", source.path(), "cosine", "20"]);
    let target = Store::absent();
    std::fs::create_dir(&target.path).unwrap();
    let before = owned(&target.path, 0o2770);
    by_files(source.path(), &target, "1.5.9").args(["--dry-run"]).ends(0);
    assert_eq!(std::fs::read_dir(&target.path).unwrap().count(), 0);
    filled(by_files(source.path(), &target, "1.5.9"));
    assert_owned(&target, before, 0o2770);

    for (of_parent, of_store) in [(0o2775, 0o2775), (0o1777, 0o775)] {
        let target = Store::absent();
        let before = owned(target.path.parent().unwrap(), of_parent);
        filled(by_files(source.path(), &target, "1.5.9"));
        assert_owned(&target, before, of_store);
    }
}

/// A fill needs more room: the log of all records stands there at once with their index.
#[test]
fn preflight_counts_the_room_that_a_fill_needs() {
    let source = generated("1.5.9", 12_000, 64, "cosine");
    let needed = |how: &str| -> f64 {
        let target = Store::absent();
        let run = Migration::new(source.path(), target.path()).written_by("1.5.9").args(["--dry-run", "--fill", how]);
        let report = run.ends(0);
        let told = report.check("disk-space")["message"].as_str().unwrap().to_owned();
        let (_, needed) = told.split_once("about ").unwrap();
        needed.split(' ').next().unwrap().parse().unwrap()
    };
    let more = needed("files") / needed("engine");
    assert!((1.15..1.25).contains(&more), "{more}");
}

/// An index that this program builds: Chroma opens it, adds to it, and finds with it what it finds with its own.
#[test]
fn an_index_of_ours_is_opened_searched_and_added_to() {
    for (version, distance) in [("1.5.9", "cosine"), ("1.0.20", "l2")] {
        let source = generated(version, 3000, 16, distance);
        let target = Store::absent();
        let report = filled(by_files(source.path(), &target, version));
        assert!(report.check("fill")["message"].as_str().unwrap().contains("and the indexes"), "{}", report.json);
        let search = &report.json["collections"][0]["search"];
        assert!(search["recallMean"].as_f64().unwrap() > 0.9, "{version}, {distance}: {search}");
        let tables = rusqlite::Connection::open(target.path.join("chroma.sqlite3")).unwrap();
        let logged = tables.query_row("SELECT count(*) FROM embeddings_queue", [], |row| row.get::<_, i64>(0));
        assert_eq!(logged.unwrap(), 1, "{version}: only the newest record is in the log");
        drop(tables);
        twins(version, &["live", target.path(), "3", "60"]);
        let changed = Migration::verify(source.path(), target.path()).ended();
        assert_ne!(changed.reason(), "Verified", "{version}: nothing was changed");
        let again =
            Migration::new(source.path(), target.path()).written_by(version).args(["--on-conflict", "overwrite"]);
        assert_eq!(again.verified().count("verified"), 3000);
    }
}

/// What an index of ours finds, beside one that Chroma built of the same vectors with the same settings. By chance one of them finds
/// a little more.
#[test]
fn an_index_of_ours_finds_what_chromas_own_finds() {
    let source = Store::absent();
    twins("1.5.9", &["vectors", source.path()]);
    let (engine, files) = (Store::absent(), Store::absent());
    Migration::new(source.path(), engine.path()).written_by("1.5.9").verified();
    filled(by_files(source.path(), &files, "1.5.9"));
    let found = |store: &Store| -> Vec<(String, f64)> {
        let told = twins("1.5.9", &["found", store.path()]);
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (by_engine, ours) = (found(&engine), found(&files));
    println!("Chroma's own {by_engine:?}\nours {ours:?}");
    assert_eq!(by_engine.len(), 6);
    for ((name, theirs), (_, share)) in by_engine.iter().zip(&ours) {
        assert!(*share >= theirs - 0.05, "{name}: {share}, Chroma's own {theirs}");
    }
}

/// Documents that the target had before are no duplicates of themselves: what was filled is this run's own.
#[test]
fn what_was_filled_is_no_duplicate() {
    let source = Store::absent();
    twins("1.5.9", &["make", source.path(), "5"]);
    let target = Store::absent();
    filled(by_files(source.path(), &target, "1.5.9").args(["--duplicates", "by-content"]));
    let again = by_files(source.path(), &target, "1.5.9").args(["--duplicates", "by-content"]).verified();
    assert_eq!((again.count("duplicates"), again.count("copied")), (0, 0));
    assert_eq!(again.count("present"), again.count("source"));
}
