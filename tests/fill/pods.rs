//! The containers of a pod that fills a claim, one after the other as plain processes: preflight, a real Chroma that lays the
//! store out, the fill, a real Chroma on what was filled, the mover. And a new pod after a kill in one of them.

use std::path::{Path, PathBuf};

use memory_migration_operator::faults::VARIABLE;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::super::support::chroma::ChromaServer;
use super::super::support::command::{Output, TestCommand};
use super::super::support::migration::Migration;
use super::super::support::stores::{Store, generated};
use super::{FILLED, assert_clean, assert_twins, names_beside, twins};

/// The folder that stands for a store's claim.
fn claim(store: &Store) -> &Path {
    store.path.parent().unwrap()
}

/// One pod: its scratch space goes with it.
struct Pod<'a> {
    version: &'static str,
    source: &'a Store,
    claim: PathBuf,
    path: &'static str,
    uid: &'static str,
    more: Vec<&'static str>,
    scratch: TempDir,
}

impl<'a> Pod<'a> {
    fn new(version: &'static str, source: &'a Store, target: &Store) -> Self {
        let (claim, scratch) = (claim(target).to_owned(), tempfile::tempdir().unwrap());
        Self { version, source, claim, path: "store", uid: "u-1", more: Vec::new(), scratch }
    }

    fn target(&self) -> PathBuf {
        self.claim.join(self.path)
    }

    fn file(&self, name: &str) -> String {
        self.scratch.path().join(name).display().to_string()
    }

    fn container(&self) -> TestCommand {
        let image = format!("chroma:{}", self.version);
        let manifest = json!({
            "apiVersion": "memory-migration.dev/v1alpha1",
            "kind": "MemoryMigration",
            "metadata": {"name": "m", "namespace": "team", "uid": self.uid},
            "spec": {
                "source": {"local": {"claimName": "from", "path": "store"}},
                "target": {"local": {"claimName": "into", "path": self.path, "image": image, "fill": "Files"}},
                "duplicates": "ByContent",
                "pacing": {"batchSize": 500, "delay": "0s"},
            },
        });
        TestCommand::new()
            .args(["run", "-f", "-", "--wait-exit", "--termination-log", &self.file("termination")])
            .args(["--volume", &format!("from={}", claim(self.source).display())])
            .args(["--volume", &format!("into={}", self.claim.display())])
            .args(&self.more)
            .stdin(manifest.to_string())
    }

    fn preflight(&self) -> Output {
        self.container().args(["--preflight-only", "--report", &self.file("report.json")]).run()
    }

    /// With the server that lays the store out, which stays until the pod ends.
    fn fill(&self, fault: Option<&str>) -> (ChromaServer, Output) {
        let layout = ChromaServer::start(self.version, &self.scratch.path().join("store"));
        let output = self.filled_by(&layout, "0", fault);
        (layout, output)
    }

    fn filled_by(&self, layout: &ChromaServer, memory: &str, fault: Option<&str>) -> Output {
        let mut fill = self.container().args(["--layout-url", &layout.url, "--layout-dir", &self.file("store")]);
        fill = fill.args(["--writer-memory", memory, "--handover", &self.file("handover")]);
        if let Some(fault) = fault {
            fill = fill.env(VARIABLE, fault);
        }
        fill.run()
    }

    /// With the server that writes the target.
    fn mover(&self, fault: Option<&str>) -> (ChromaServer, Output) {
        let server = ChromaServer::start(self.version, &self.target());
        let report = self.file("report.json");
        let mut mover = self.container().args(["--writer-url", &server.url, "--handover", &self.file("handover")]);
        mover = mover.args(["--report", &report]);
        if let Some(fault) = fault {
            mover = mover.env(VARIABLE, fault);
        }
        let output = mover.run();
        (server, output)
    }

    fn report(&self) -> Json {
        serde_json::from_str(&std::fs::read_to_string(self.file("report.json")).unwrap()).unwrap()
    }

    /// All of them; gives the report of a run that is verified.
    #[track_caller]
    fn verified(&self) -> Json {
        self.preflight().code(0);
        let (_layout, filled) = self.fill(None);
        filled.code(0);
        let (mut server, moved) = self.mover(None);
        moved.code(0);
        server.stop();
        let report = self.report();
        assert_eq!(report["reason"], "Verified", "{report}");
        report
    }
}

fn said(report: &Json) -> &str {
    let checks = report["preflight"].as_array().unwrap();
    let mut fill = checks.iter().filter(|check| check["check"] == "fill");
    let message = fill.next().expect("no check of the fill")["message"].as_str().unwrap();
    assert!(fill.next().is_none(), "{report}");
    message
}

#[track_caller]
fn assert_filled(report: &Json, records: u64) {
    assert!(said(report).starts_with("this program wrote the records into the files"), "{report}");
    let count = |name: &str| report["counts"][name].as_u64().unwrap();
    assert_eq!((count("source"), count("copied"), count("verified")), (records, records, records), "{report}");
    assert_eq!((count("targetBefore"), count("present"), count("duplicates")), (0, 0, 0), "{report}");
    assert!(!report["message"].as_str().unwrap().contains("were not filled"), "{report}");
}

/// Of random records of every kind. Then the official client gets the same answers as from a store that Chroma filled, and a
/// second pod goes on through the server and says so.
#[test]
fn a_pod_fills_a_claim_and_its_mover_proves_it() {
    for version in FILLED {
        let (source, target) = (Store::absent(), Store::absent());
        twins(version, &["make", source.path(), "7"]);
        let engine = Store::absent();
        let by_engine = Migration::new(source.path(), engine.path()).written_by(version).verified();
        let records = by_engine.count("source");
        let pod = Pod::new(version, &source, &target);
        pod.preflight().code(0);
        assert!(
            said(&pod.report()).starts_with("this program writes the records and the indexes into the files"),
            "{}",
            pod.report()
        );
        assert!(!target.path.exists());
        let (_layout, filled) = pod.fill(None);
        filled.code(0).stdout(&format!("{records} records are in the files of the new store"));
        assert_eq!(names_beside(&target), ["store", "store.memory-migration.filled"]);
        let (mut server, moved) = pod.mover(None);
        moved.code(0);
        let report = pod.report();
        assert_filled(&report, records);
        assert_eq!(report["collections"].as_array().unwrap().len(), by_engine.fingerprints().len());
        for one in report["collections"].as_array().unwrap() {
            assert_eq!(one["fingerprint"], *by_engine.fingerprints()[one["name"].as_str().unwrap()]);
        }
        assert_clean(&target);
        server.stop();
        assert_twins(version, &engine, &target, "filled in a pod");

        let report = Pod::new(version, &source, &target).verified();
        let why = "its files are not filled: the target's folder is not empty";
        assert!(said(&report).ends_with(why), "{report}");
        assert!(
            report["message"].as_str().unwrap().contains("Its files were not filled: the target's folder is not empty")
        );
        assert_eq!((&report["counts"]["present"], &report["counts"]["copied"]), (&records.into(), &0.into()));
    }
}

/// Each pod finds what the one before it has left; a server that is killed with its pod may leave half an index.
#[test]
fn a_new_pod_after_a_kill_in_any_container_ends_verified() {
    let (source, target) = (generated("1.5.9", 1500, 8, "cosine"), Store::absent());
    for place in ["fill.put.after", "fill.place", "fill.placed", "fill.replaced"] {
        let pod = Pod::new("1.5.9", &source, &target);
        pod.preflight().code(0);
        let (_layout, filled) = pod.fill(Some(&format!("{place}:kill:1")));
        assert_eq!(filled.code_if_any(), None, "{place}: {filled:?}");
        let stands = place == "fill.placed" || place == "fill.replaced";
        assert_eq!(target.path.join("chroma.sqlite3").exists(), stands, "{place}");
    }
    for place in ["target.index.before", "target.index.after"] {
        let pod = Pod::new("1.5.9", &source, &target);
        pod.preflight().code(0);
        let (_layout, filled) = pod.fill(None);
        filled.code(0);
        let (mut server, moved) = pod.mover(Some(&format!("{place}:kill:1")));
        server.kill();
        assert_eq!(moved.code_if_any(), None, "{place}: {moved:?}");
        assert_eq!(names_beside(&target), ["store", "store.memory-migration.filled"], "{place}");
    }
    // another object may have been told since that these records are verified, and its source may have lost them
    let another = Pod { uid: "u-2", ..Pod::new("1.5.9", &source, &target) };
    another.preflight().code(0);
    assert!(said(&another.report()).ends_with("the target's folder is not empty"), "{}", another.report());
    assert_filled(&Pod::new("1.5.9", &source, &target).verified(), 1500);
    assert_clean(&target);
}

/// A generation of a schedule: its record is final only when the mover has ended.
#[test]
fn a_generation_is_filled_and_its_record_is_the_movers() {
    let (source, target) = (generated("1.5.9", 300, 8, "l2"), Store::absent());
    let mut pod = Pod::new("1.5.9", &source, &target);
    pod.path = "copies/20261126T020000Z/chroma";
    pod.more = vec!["--generation-of", "team/nightly", "--migration-uid", "u-1"];
    let folder = pod.claim.join("copies/20261126T020000Z");
    let record =
        || -> Json { serde_json::from_str(&std::fs::read_to_string(folder.join("generation.json")).unwrap()).unwrap() };
    pod.preflight().code(0);
    let begun = record();
    let (_layout, filled) = pod.fill(None);
    filled.code(0);
    assert_eq!(record(), begun);
    assert!(!folder.join("report.json").exists());
    let (mut server, moved) = pod.mover(None);
    moved.code(0);
    server.stop();
    assert_filled(&pod.report(), 300);
    assert_eq!((&record()["state"], &record()["records"]), (&"Verified".into(), &300.into()));
    let beside = std::fs::read_dir(&folder).unwrap().flatten();
    let mut names: Vec<_> = beside.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["chroma", "generation.json", "report.json"]);
}

/// What cannot be filled is left to the server, and said.
#[test]
fn a_pod_that_cannot_fill_goes_on_through_its_server() {
    let source = generated("1.5.9", 50, 8, "l2");
    let target = Store::absent();
    // another Chroma than those whose files are known
    let report = Pod::new("0.6.3", &source, &target).verified();
    assert!(said(&report).contains("only Chroma 1.0.20 and 1.5.9 are filled"), "{report}");
    assert!(report["message"].as_str().unwrap().contains("Its files were not filled: of this Chroma only"), "{report}");
    // too little memory for the index
    let target = Store::absent();
    let pod = Pod::new("1.5.9", &source, &target);
    let layout = ChromaServer::start("1.5.9", &pod.scratch.path().join("store"));
    pod.filled_by(&layout, "100000000", None).code(0).stdout("nothing was written").stdout("95 MiB are there");
    assert!(names_beside(&target).is_empty());
    // a layout server that has laid out a store before
    pod.filled_by(&layout, "0", None).code(0);
    let target = Store::absent();
    let again = Pod { claim: claim(&target).to_owned(), ..pod };
    again.filled_by(&layout, "0", None).code(0).stdout("has laid out a store before");
    assert!(names_beside(&target).is_empty(), "{:?}", names_beside(&target));
}

/// Somebody writes the store between the fill and the mover: it is his then, and compared as any other.
#[test]
fn what_was_changed_after_the_fill_is_compared_as_any_other() {
    let (source, target) = (generated("1.5.9", 300, 8, "l2"), Store::absent());
    let pod = Pod::new("1.5.9", &source, &target);
    pod.preflight().code(0);
    let (_layout, filled) = pod.fill(None);
    filled.code(0);
    let tables = rusqlite::Connection::open(target.path.join("chroma.sqlite3")).unwrap();
    tables.execute("INSERT INTO collection_metadata (collection_id, key, str_value) SELECT id, 'by', 'another' FROM collections", []).unwrap();
    drop(tables);
    let (mut server, moved) = pod.mover(None);
    moved.code(0);
    server.stop();
    let report = pod.report();
    assert!(said(&report).ends_with("this run had filled them, and the store was changed since"), "{report}");
    assert_eq!(
        (&report["counts"]["present"], &report["counts"]["targetBefore"]),
        (&300.into(), &300.into()),
        "{report}"
    );
}
