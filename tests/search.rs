//! Whether searches in the target are checked as promised: real servers of all versions, and a proxy that tells what no server
//! can be made to tell. The records' own verdict is the same in all of them.

use super::support::chroma::ChromaServer;
use super::support::lies::Lie;
use super::support::migration::{DEFAULT, Migration, Report, local, remote};
use super::support::proxy::{Fault, Proxy, Seen};
use super::support::stores::{Store, generated};

const NAME: &str = "generated";

/// A server of 1.5.9 with what a generated store holds.
fn filled(source: &Store) -> (ChromaServer, Store) {
    let folder = Store::absent();
    let target = ChromaServer::start("1.5.9", &folder.path);
    Migration::new(&local(&source.path, DEFAULT), &remote(&target, DEFAULT)).args(["--search", "off"]).verified();
    (target, folder)
}

#[track_caller]
fn is_sound(report: &Report) {
    let search = &report.collection(NAME)["search"];
    assert_eq!((&search["wrongDistances"], &search["unknownIds"]), (&0.into(), &0.into()), "{search}");
    assert_eq!(search["queries"].as_u64().unwrap() + search["notJudged"].as_u64().unwrap(), 50, "{search}");
    assert!(search["queries"].as_u64().unwrap() >= 45, "{search}");
    assert!(search["recallMean"].as_f64().unwrap() >= 0.95, "{search}");
    let filters = &search["filters"];
    assert!(filters["asked"].as_u64().unwrap() >= 4 && filters["wrong"] == 0, "{search}");
    assert!(report.json["verification"]["recall"].as_f64().unwrap() >= 0.95, "{}", report.json["verification"]);
    assert!(!report.message().contains("earch check"), "{}", report.message());
}

/// From files and from the server of a version, in each distance that it has: required, and found.
fn a_sound_target(version: &str) {
    for space in ["l2", "cosine", "ip"] {
        let source = generated(version, 400, 24, space);
        let folder = Store::absent();
        let target = ChromaServer::start("1.5.9", &folder.path);
        let into = remote(&target, DEFAULT);
        let required = ["--search", "require"];
        let report = Migration::new(&local(&source.path, DEFAULT), &into).args(required).verified();
        let search = &report.collection(NAME)["search"];
        if space != "ip" {
            is_sound(&report);
            assert!(search["selfFound"].as_f64().unwrap() >= 0.95, "{search}");
        }
        assert!(search["sourceRecallMean"].is_null(), "files answer no query: {search}");
        let server = ChromaServer::start(version, &source.path);
        let report = Migration::verify(&remote(&server, DEFAULT), &into).args(required).verified();
        let search = &report.collection(NAME)["search"];
        assert!(search["sourceRecallMean"].is_f64(), "{version} {space}: {search}");
        // the older server as the target: what it answers is judged by the same rules
        let report = Migration::verify(&into, &remote(&server, DEFAULT)).args(required).verified();
        if space != "ip" {
            is_sound(&report);
        }
    }
}

#[test]
fn a_sound_target_and_0_4_24() {
    a_sound_target("0.4.24");
}

#[test]
fn a_sound_target_and_0_5_23() {
    a_sound_target("0.5.23");
}

#[test]
fn a_sound_target_and_0_6_3() {
    a_sound_target("0.6.3");
}

#[test]
fn a_sound_target_and_1_0_20() {
    a_sound_target("1.0.20");
}

#[test]
fn a_sound_target_and_1_5_9() {
    a_sound_target("1.5.9");
}

#[test]
fn a_local_target_is_asked_through_its_server() {
    let (source, target) = (generated("1.5.9", 400, 24, "cosine"), Store::absent());
    let report = Migration::new(&local(&source.path, DEFAULT), &local(&target.path, DEFAULT))
        .args(["--search", "require"])
        .written_by("1.5.9")
        .verified();
    is_sound(&report);
    assert!(report.output.stderr_text().contains("a new Chroma server is asked"), "it was not started once more");
    let compared = Migration::verify(&local(&source.path, DEFAULT), &local(&target.path, DEFAULT)).verified();
    let search = &compared.collection(NAME)["search"];
    assert!(search["recallMean"].is_null() && search["notes"][0].as_str().unwrap().contains("files"), "{search}");
}

/// Verifies the target through a proxy with this rule for searches, in both modes.
async fn through(verb: &'static str, rule: Fault) -> (Report, Report) {
    let source = generated("1.5.9", 400, 24, "l2");
    let (target, _folder) = filled(&source);
    let proxy = Proxy::start(&target.url, move |seen: &Seen| {
        // the probe of the distance asks for vectors, and a read by id for parts: those answers stay true
        let is_search = match verb {
            "query" => !seen.body.contains("\"embeddings\""),
            _ => seen.body.contains("\"where"),
        };
        if seen.verb() == verb && is_search { rule } else { Fault::Pass }
    });
    let proxy = proxy.await;
    let from = local(&source.path, DEFAULT);
    let url = proxy.url.clone();
    let runs = tokio::task::spawn_blocking(move || {
        let reported = Migration::verify(&from, &url).verified();
        (reported, Migration::verify(&from, &url).args(["--search", "require"]).ends(5))
    });
    runs.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_swapped_are_told_and_can_fail_a_run() {
    let (reported, required) = through("query", Fault::Lie(Lie::Turned(1))).await;
    let search = &reported.collection(NAME)["search"];
    assert!(search["wrongDistances"].as_u64().unwrap() > 0, "{search}");
    reported.says(&["Search check: ", "every one is equal"]);
    assert_eq!(required.reason(), "SearchDegraded");
    assert_eq!(required.count("verified"), 400, "the records are right");
    required.says(&["distances", "every one is equal", "--search report"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_answers_no_query_is_not_judged() {
    let (reported, required) = through("query", Fault::StatusBefore(500)).await;
    let search = &reported.collection(NAME)["search"];
    assert_eq!(search["queries"], 0, "{search}");
    assert!(search["notes"][0].as_str().unwrap().starts_with("not judged"), "{search}");
    assert_eq!(required.reason(), "SearchDegraded");
    required.says(&["not judged"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_leaves_a_record_out_is_told_and_can_fail_a_run() {
    let (reported, required) = through("get", Fault::Lie(Lie::Without(0))).await;
    let filters = &reported.collection(NAME)["search"]["filters"];
    assert!(filters["wrong"].as_u64().unwrap() > 0, "{filters}");
    reported.says(&["Search check: ", "filters are answered wrongly", "every one is equal"]);
    assert_eq!(required.reason(), "SearchDegraded");
    assert_eq!(required.count("verified"), 400, "the records are right");
}

#[test]
fn what_is_required_of_files_cannot_be_shown() {
    let (source, target) = (generated("1.5.9", 40, 4, "l2"), Store::absent());
    let (from, to) = (local(&source.path, DEFAULT), local(&target.path, DEFAULT));
    Migration::new(&from, &to).args(["--search", "off"]).written_by("1.5.9").verified();
    let report = Migration::verify(&from, &to).args(["--search", "require"]).ends(5);
    assert_eq!(report.reason(), "SearchDegraded");
    report.says(&["nothing could be judged", "files answer no query"]);
}

/// Takes all links from the graph of the only HNSW folder of a store: vectors and ids stay, and no walk finds them. Row
/// layout as in `store/files/index`: the number of links is the first field of a row.
fn unlink(store: &Store) {
    let folders = std::fs::read_dir(&store.path).unwrap().map(|entry| entry.unwrap().path());
    let folder = folders.into_iter().find(|path| path.join("header.bin").exists()).expect("an HNSW folder");
    let header = std::fs::read(folder.join("header.bin")).unwrap();
    let number = |at: usize| usize::try_from(u64::from_le_bytes(header[at..at + 8].try_into().unwrap())).unwrap();
    let (start, count, size) = (number(4), number(20), number(28));
    let mut rows = std::fs::read(folder.join("data_level0.bin")).unwrap();
    for row in 0..count {
        let at = start + row * size;
        rows[at..at + 2].fill(0);
    }
    std::fs::write(folder.join("data_level0.bin"), rows).unwrap();
}

/// Every record can be read by its id, and is right; searches walk a graph without links.
#[test]
fn a_damaged_index_is_told_and_can_fail_a_run() {
    let source = generated("1.5.9", 3000, 24, "l2");
    let damaged = generated("1.5.9", 3000, 24, "l2");
    unlink(&damaged);
    let target = ChromaServer::start("1.5.9", &damaged.path);
    let (from, to) = (local(&source.path, DEFAULT), remote(&target, DEFAULT));
    let reported = Migration::verify(&from, &to).verified();
    let search = &reported.collection(NAME)["search"];
    assert!(search["recallMean"].is_null() || search["recallMean"].as_f64().unwrap() < 0.9, "{search}");
    let required = Migration::verify(&from, &to).args(["--search", "require"]).ends(5);
    assert_eq!(required.reason(), "SearchDegraded", "{}", required.message());
    assert_eq!(required.count("verified"), 3000, "the records are right");
    required.says(&["every one is equal", "--search report"]);
}
