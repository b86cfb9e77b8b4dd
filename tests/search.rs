//! Whether searches in the target are checked as promised: real servers of all versions, and a proxy that tells what no server
//! can be made to tell. The records' own verdict is the same in all of them.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::support::api;
use super::support::chroma::ChromaServer;
use super::support::command::TestCommand;
use super::support::lies::Lie;
use super::support::migration::{DEFAULT, Migration, Report, local, remote};
use super::support::proxy::{Fault, Proxy, Seen};
use super::support::stores::{Store, damage, generated};

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

/// In a pod the server that writes the folder is not ours to restart: the report says what was read instead.
#[test]
fn a_server_of_the_pod_is_asked_and_not_restarted() {
    let source = generated("1.5.9", 400, 24, "cosine");
    let folder = Store::absent();
    let parent = |path: &Path| path.parent().unwrap().display().to_string();
    let manifest = json!({
        "apiVersion": "memory-migration.dev/v1alpha1",
        "kind": "MemoryMigration",
        "metadata": { "name": "m" },
        "spec": {
            "source": { "local": { "claimName": "from", "path": "store" } },
            "target": { "local": { "claimName": "into", "path": "store" } },
            "pacing": { "batchSize": 100, "delay": "0s" },
            "verification": { "search": { "mode": "Require" } },
        },
    });
    let beside = ChromaServer::start("1.5.9", &folder.path);
    let told = parent(&folder.path) + "/report.json";
    TestCommand::new()
        .args(["run", "-f", "-", "--termination-log", "/dev/null", "--writer-url", &beside.url, "--report", &told])
        .args(["--volume", &format!("from={}", parent(&source.path))])
        .args(["--volume", &format!("into={}", parent(&folder.path))])
        .stdin(manifest.to_string())
        .run()
        .code(0)
        .stdout("400 records verified");
    let report: Json = serde_json::from_str(&std::fs::read_to_string(told).unwrap()).unwrap();
    let search = &report["collections"][0]["search"];
    assert!(search["queries"].as_u64().unwrap() >= 45 && search["recallMean"].as_f64().unwrap() >= 0.95, "{search}");
    let note = "its server was not restarted: index and log were read from the files instead";
    assert_eq!(search["notes"], json!([note]), "{search}");
}

/// A target of 0.4.24 with fewer records than it puts into its graph failed: it computes their distances in doubles.
#[test]
fn few_records_of_0_4_24() {
    let source = generated("0.4.24", 40, 24, "l2");
    let copy = generated("0.4.24", 40, 24, "l2");
    let server = ChromaServer::start("0.4.24", &copy.path);
    let report = Migration::verify(&local(&source.path, DEFAULT), &remote(&server, DEFAULT))
        .args(["--search", "require"])
        .verified();
    let search = &report.collection(NAME)["search"];
    assert_eq!((&search["recallMean"], &search["wrongAnswers"]), (&1.0.into(), &0.into()), "{search}");
    assert!(report.message().contains("source and target are identical"), "{}", report.message());
}

/// Verifies the target through a proxy with this rule for searches, in both modes.
async fn through(verb: &'static str, rule: Fault) -> (Report, Report) {
    through_of("l2", verb, rule).await
}

async fn through_of(space: &str, verb: &'static str, rule: Fault) -> (Report, Report) {
    let source = generated("1.5.9", 400, 24, space);
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
    assert!(!required.message().contains("are identical"), "{}", required.message());
    assert_eq!(required.json["verification"]["identical"], false);
}

/// Each of these passed: one record in all places, no distance at all, no record of an `ip` collection, an id of nobody.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_no_search_can_give_fail_what_is_required() {
    for (space, verb, lie, says) in [
        ("l2", "query", Lie::EachSame, "has a record twice"),
        ("cosine", "query", Lie::EachNull, "distances in its answers"),
        ("ip", "query", Lie::EachEmpty, "has 0 records, and 10 were asked for"),
        ("l2", "get", Lie::Stranger, "ids in its answers are in neither side"),
    ] {
        let (reported, required) = through_of(space, verb, Fault::Lie(lie)).await;
        let search = &reported.collection(NAME)["search"];
        assert_eq!(required.reason(), "SearchDegraded", "{lie:?}: {search}");
        assert_eq!(required.count("verified"), 400, "the records are right");
        assert!(required.message().contains(says), "{lie:?}: {}", required.message());
    }
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

/// Records of a test's own for a collection of that name, with vectors of so many components that no other has.
fn more(first: usize, count: usize, dimension: usize) -> Json {
    let component = |row: usize, at: usize| {
        let mixed = (row * 7919 + at * 104_729 + row * at * 31) % 1009;
        f32::from(u16::try_from(mixed).unwrap()) / 504.0 - 1.0
    };
    let rows = first..first + count;
    let ids: Vec<String> = rows.clone().map(|row| format!("more-{row}")).collect();
    let vectors: Vec<Vec<f32>> = rows.map(|row| (0..dimension).map(|at| component(row, at)).collect()).collect();
    json!({ "ids": ids, "embeddings": vectors })
}

/// The engine of the target goes by cosine, and says so. Of short vectors it leaves many as they are: those are verified.
#[test]
fn a_target_with_another_distance_is_told_by_its_settings_and_by_its_searches() {
    for version in ["1.5.9", "0.6.3"] {
        let source = generated("1.5.9", 400, 2, "l2");
        let folder = generated(version, 400, 2, "cosine");
        let target = ChromaServer::start(version, &folder.path);
        let (from, to) = (local(&source.path, DEFAULT), remote(&target, DEFAULT));
        Migration::new(&from, &to).refused(&["has distance cosine, the source l2"]);
        let report = Migration::verify(&from, &to).ends(5);
        assert_eq!(report.reason(), "VerificationFailed");
        report.says(&["distance", "cosine", "l2"]);
        assert!(report.count("verified") >= 40, "{version}: too few records to judge: {}", report.json["counts"]);
        let search = &report.collection(NAME)["search"];
        assert!(search["wrongDistances"].as_u64().unwrap() > 0, "{version}: {search}");
    }
}

/// Its documents say l2, after `modify`; its engine still goes by cosine.
#[test]
fn a_distance_that_documents_deny_is_told_too() {
    let source = generated("1.5.9", 400, 2, "l2");
    let folder = generated("0.6.3", 400, 2, "cosine");
    let target = ChromaServer::start("0.6.3", &folder.path);
    api::modify(&target, DEFAULT, NAME, &json!({ "new_metadata": { "topic": "b" } }));
    let report = Migration::verify(&local(&source.path, DEFAULT), &remote(&target, DEFAULT)).ends(5);
    assert_eq!(report.reason(), "VerificationFailed");
    report.says(&["distance", "cosine", "l2"]);
    let search = &report.collection(NAME)["search"];
    assert!(search["wrongDistances"].as_u64().unwrap() > 0, "{search}");
}

/// A store whose index has 1,000 records, and whose log has 500 more.
fn half_indexed(version: &str) -> Store {
    let store = generated(version, 1000, 24, "l2");
    let mut server = ChromaServer::start(version, &store.path);
    api::write(&server, DEFAULT, NAME, "add", &more(0, 500, 24));
    server.stop();
    store
}

/// Vectors that only the log holds are found. Those that the index claims and has not cannot be read either: verification names
/// them, and the search check judges the others. 500 on end were called the server's trouble, after two minutes (exit 4).
fn a_log_that_the_index_has_not_taken(version: &str, many: u64) {
    let (source, folder) = (half_indexed(version), half_indexed(version));
    let mut target = ChromaServer::start(version, &folder.path);
    let (from, to) = (local(&source.path, DEFAULT), remote(&target, DEFAULT));
    let sound = Migration::verify(&from, &to).args(["--search", "require"]).verified();
    is_sound(&sound);
    for lost in [3, many] {
        target.stop();
        damage(&folder.path, "watermark", &[NAME, "VECTOR", &(1000 + lost).to_string()]);
        target.restart();
        let report = Migration::verify(&from, &to).ends(5);
        assert_eq!(report.reason(), "VerificationFailed", "{version}: {}", report.message());
        assert_eq!(report.count("verified"), 1500 - lost, "{version}: {}", report.json["counts"]);
        assert_eq!(report.count("different"), lost, "{version}: {}", report.json["counts"]);
        let mut expected: Vec<String> = (0..lost).map(|n| format!("more-{n}")).collect();
        expected.sort();
        let expected: Vec<(&str, &str)> = expected.iter().map(|id| (id.as_str(), "unreadable")).collect();
        assert_eq!(report.listed(NAME), expected, "{version}");
        let search = &report.collection(NAME)["search"];
        assert!(search["recallMean"].as_f64().unwrap() >= 0.95, "{version}: {search}");
    }
    // as the source it gives all others
    let report = Migration::verify(&to, &from).ends(5);
    assert_eq!(
        (report.count("verified"), report.count("unreadable")),
        (1500 - many, many),
        "{version}: {}",
        report.message()
    );
}

#[test]
fn a_log_that_the_index_of_0_6_3_has_not_taken() {
    a_log_that_the_index_has_not_taken("0.6.3", 60);
}

#[test]
fn a_log_that_the_index_of_1_5_9_has_not_taken() {
    a_log_that_the_index_has_not_taken("1.5.9", 500);
}

/// Two links a record and a search that looks at no more than it must.
#[test]
fn an_index_that_is_poor_on_both_sides_is_told_and_fails_nothing() {
    let records = generated("1.5.9", 3000, 24, "l2");
    let (one, other) = (Store::absent(), Store::absent());
    let source = ChromaServer::start("1.5.9", &one.path);
    let poor = json!({ "hnsw": { "space": "l2", "ef_search": 1, "ef_construction": 1, "max_neighbors": 2 } });
    api::create(&source, DEFAULT, &json!({ "name": NAME, "configuration": poor }));
    let (files, from) = (local(&records.path, DEFAULT), remote(&source, DEFAULT));
    let required = ["--search", "require"];
    // from files: nothing says that the source was as poor
    let report = Migration::new(&files, &from).batch("1000").verified();
    report.says(&["Search check: ", "ef_search", "every one was compared and is equal"]);
    assert_eq!(Migration::verify(&files, &from).args(required).ends(5).reason(), "SearchDegraded");

    let target = ChromaServer::start("1.5.9", &other.path);
    let report = Migration::new(&from, &remote(&target, DEFAULT)).args(required).batch("1000").verified();
    let search = &report.collection(NAME)["search"];
    let recall = |field: &str| search[field].as_f64().unwrap();
    assert!(recall("recallMean") < 0.8 && recall("sourceRecallMean") < 0.8, "{search}");
    let notes = search["notes"].to_string();
    assert!(notes.contains("on the source's own server") && notes.contains("raise ef_search"), "{search}");
    assert!(!report.message().contains("earch check"), "{}", report.message());
}

/// From the second collection's search on the target takes every connection and answers nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_goes_silent_is_not_judged_and_holds_up_nobody() {
    let source = generated("1.5.9", 400, 24, "l2");
    let mut server = ChromaServer::start("1.5.9", &source.path);
    api::create(&server, DEFAULT, &json!({ "name": "smaller" }));
    api::write(&server, DEFAULT, "smaller", "add", &more(0, 60, 8));
    server.stop();
    let (target, _folder) = filled(&source);
    let from = local(&source.path, DEFAULT);
    let runs = [vec![], vec!["--search", "require"]].map(|args| {
        let (from, upstream) = (from.clone(), target.url.clone());
        async move {
            let (mut first, mut is_silent) = (None, false);
            let proxy = Proxy::start(&upstream, move |seen: &Seen| {
                if seen.verb() == "query" && !seen.body.contains("\"embeddings\"") {
                    is_silent |= *first.get_or_insert_with(|| seen.line.clone()) != seen.line;
                }
                if is_silent { Fault::SilenceBefore } else { Fault::Pass }
            });
            let url = proxy.await.url.clone();
            let run = move || args.iter().fold(Migration::verify(&from, &url), |run, arg| run.args([*arg])).ended();
            tokio::task::spawn_blocking(run).await.unwrap()
        }
    });
    let [reported, required] = runs;
    let (reported, required) = tokio::join!(reported, required);
    assert_eq!(reported.reason(), "Verified", "{}", reported.message());
    assert!(reported.collection(NAME)["search"]["queries"].as_u64().unwrap() >= 45);
    let search = &reported.collection("smaller")["search"];
    assert_eq!(search["queries"], 0, "{search}");
    assert!(search["notes"][0].as_str().unwrap().starts_with("not judged: no answer within "), "{search}");
    assert_eq!(required.reason(), "SearchDegraded", "{}", required.message());
    assert_eq!(required.count("verified"), 460, "the records are right");
    required.says(&["smaller", "no answer within", "--search report"]);
}
