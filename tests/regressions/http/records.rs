//! What was found wrong where a server fails on one record, has no such field, or takes no such body.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::super::super::support::api::{answered, create, done, make_place, snapshot, write};
use super::super::super::support::chroma::{ChromaServer, Python, VERSIONS};
use super::super::super::support::command::TestCommand;
use super::super::super::support::migration::{DEFAULT, Migration, Report, remote};
use super::super::super::support::proxy::{Fault, Proxy};
use super::super::super::support::stores::{Store, damage};

/// Servers that can be written.
const TARGETS: [&str; 4] = ["1.5.9", "1.0.20", "0.6.3", "0.5.23"];

fn one_bad(version: &str) -> Store {
    let store = Store::absent();
    Python::run(version, "tests/chroma/one_bad.py", &[store.path()]);
    damage(&store.path, "lose-vector", &["mem", "id3"]);
    store
}

fn url(server: &ChromaServer) -> String {
    json!({"host": "127.0.0.1", "port": server.port}).to_string()
}

/// The verdicts on a collection's records that are listed, by id.
fn details(report: &Report, collection: &str) -> BTreeMap<String, String> {
    let all = report.collection(collection)["differences"].as_array().unwrap();
    let text = |one: &Json, key: &str| one[key].as_str().unwrap().to_owned();
    all.iter().map(|one| (text(one, "id"), format!("{}: {}", text(one, "field"), text(one, "detail")))).collect()
}

fn held(server: &ChromaServer, collection: &str) -> Vec<String> {
    let all = snapshot(server, DEFAULT);
    let found = all.iter().find(|one| one[0]["name"] == collection);
    let ids = found.map(|one| one[1]["ids"].as_array().unwrap().clone()).unwrap_or_default();
    let mut ids: Vec<String> = ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// srvlost: a server that has lost one vector answers 500 for each `get` with that id. Every window with it was retried for
/// minutes, and the run ended with "check its address".
#[test]
fn srvlost_a_server_fails_on_one_record_and_gives_all_others() {
    for version in VERSIONS {
        let store = one_bad(version);
        let (server, into) = (ChromaServer::start(version, &store.path), Store::absent());
        let target = ChromaServer::start("1.5.9", &into.path);
        let run = Migration::new(&url(&server), &remote(&target, DEFAULT)).only(&["mem", "good"]);
        let report = run.ends(5);
        assert_eq!((report.count("verified"), report.count("unreadable")), (25, 1), "{version}");
        let found = details(&report, "mem");
        assert!(found.len() == 1 && found["id3"].contains("fails on its vector"), "{version}: {found:?}");
        assert!(!report.output.stdout_text().contains("check its address"), "{version}");
        assert_eq!(held(&target, "mem").len(), 24, "{version}");
        // files and server are judged alike
        let (files, again) = (Store::absent(), Store::absent());
        std::process::Command::new("cp").arg("-a").args([&store.path, &files.path]).status().unwrap();
        let target = ChromaServer::start("1.5.9", &again.path);
        let report = Migration::new(files.path(), &remote(&target, DEFAULT)).only(&["mem", "good"]).ends(5);
        assert_eq!((report.count("verified"), report.count("unreadable")), (25, 1), "{version}");
    }
}

/// A cosine vector that its own engine loses (its server answers null) was refused from files, with nothing copied, and a
/// record that cannot be read over HTTP.
#[test]
fn an_extreme_cosine_record_is_judged_alike_from_files_and_from_their_server() {
    let store = Store::absent();
    let mut server = ChromaServer::start("1.5.9", &store.path);
    create(&server, DEFAULT, &json!({"name": "far", "configuration": {"hnsw": {"space": "cosine"}}}));
    let vectors = json!([[1.0, 2.0, 1.0], [1e20, 2e20, 1.0]]);
    write(&server, DEFAULT, "far", "add", &json!({"ids": ["a", "b"], "embeddings": vectors, "documents": ["x", "y"]}));
    for from_files in [false, true] {
        let into = Store::absent();
        let target = ChromaServer::start("1.5.9", &into.path);
        let from = if from_files { store.path().to_owned() } else { url(&server) };
        let report = Migration::new(&from, &remote(&target, DEFAULT)).ends(5);
        assert_eq!((report.count("verified"), report.count("unreadable")), (1, 1), "from files: {from_files}");
        assert_eq!(details(&report, "far").keys().collect::<Vec<_>>(), ["b"]);
        if !from_files {
            server.stop();
        }
    }
}

/// srvlost, as a target: a record that its server can no longer answer for is left alone, and was not compared: the run was
/// called `VerifiedWithSkips`, which is a success.
#[test]
fn srvlost_a_target_that_has_lost_a_vector_fails_the_run_and_is_mended_with_overwrite() {
    for version in TARGETS {
        let (lost, whole) = (one_bad(version), Store::absent());
        Python::run(version, "tests/chroma/one_bad.py", &[whole.path()]);
        let target = ChromaServer::start(version, &lost.path);
        let run = || Migration::new(whole.path(), &remote(&target, DEFAULT)).only(&["mem"]);
        let report = run().args(["--dry-run"]).ends(0);
        report.says(&["1 cannot be read in the target and would be left alone, which fails the run"]);
        let report = run().ends(5);
        let counted = ["conflictsSkipped", "different", "verified"].map(|name| report.count(name));
        assert_eq!((report.reason(), counted), ("VerificationFailed", [0, 1, 24]), "{version}");
        assert!(
            details(&report, "mem")["id3"].starts_with("unreadable: in the target: "),
            "{version}: {}",
            report.json
        );
        report.says(&["1 records cannot be read in the target", "onConflict Overwrite, which replaces them"]);
        let report = run().args(["--on-conflict", "overwrite"]).verified();
        assert_eq!((report.count("overwritten"), report.count("verified")), (1, 25), "{version}");
        assert_eq!(held(&target, "mem").len(), 25, "{version}");
    }
}

/// chroma#7751: a value that is NaN or infinite was lost over HTTP without a word (0.6.3), and stopped the run (0.4.24,
/// whose server cannot write it down at all).
#[test]
fn ch7751_one_bad_value_is_not_a_bad_record() {
    for version in ["0.6.3", "0.5.23"] {
        let store = Store::absent();
        Python::run(version, "tests/chroma/one_bad.py", &[store.path()]);
        let (server, into) = (ChromaServer::start(version, &store.path), Store::absent());
        let target = ChromaServer::start("1.5.9", &into.path);
        let report = Migration::new(&url(&server), &remote(&target, DEFAULT)).only(&["values"]).verified();
        assert_eq!(report.count("verified"), 4, "{version}");
        report.says(&["is null in the server's answers, which stands for an infinite number: it was left out"]);
    }
    let store = Store::absent();
    Python::run("0.4.24", "tests/chroma/one_bad.py", &[store.path()]);
    let (server, into) = (ChromaServer::start("0.4.24", &store.path), Store::absent());
    let target = ChromaServer::start("1.5.9", &into.path);
    let report = Migration::new(&url(&server), &remote(&target, DEFAULT)).only(&["values", "vectors"]).ends(5);
    let (values, vectors) = (details(&report, "values"), details(&report, "vectors"));
    assert_eq!(values.keys().collect::<Vec<_>>(), ["inf", "ninf"]);
    assert!(values["inf"].contains("fails on its metadata"), "{values:?}");
    assert_eq!(vectors.keys().collect::<Vec<_>>(), ["inf", "part"]);
    assert!(vectors["part"].contains("fails on its vector"), "{vectors:?}");
    assert_eq!((held(&target, "values").len(), held(&target, "vectors").len()), (2, 2));
}

/// proxy413 (ingress-nginx#6005): 413 from a proxy ended the run. It is a mock, for the limit is the proxy's.
#[tokio::test(flavor = "multi_thread")]
async fn proxy413_batches_fit_through_a_proxy_and_the_limit_is_remembered() {
    const LIMIT: usize = 16 << 10;
    let (folder, into) = (Store::absent(), Store::absent());
    let server = ChromaServer::start("1.5.9", &folder.path);
    for name in ["one", "two"] {
        create(&server, DEFAULT, &json!({"name": name}));
        let ids: Vec<String> = (0..300).map(|n| format!("id{n:03}")).collect();
        let vectors: Vec<[f64; 2]> = (0..300).map(|n| [f64::from(n), 1.5]).collect();
        let documents: Vec<String> = ids.iter().map(|id| id.repeat(40)).collect();
        let records = json!({"ids": ids, "embeddings": vectors, "documents": documents});
        write(&server, DEFAULT, name, "add", &records);
    }
    let target = ChromaServer::start("1.5.9", &into.path);
    let too_large = |seen: &super::super::super::support::proxy::Seen| seen.verb() == "add" && seen.length > LIMIT;
    let proxy =
        Proxy::start(&target.url, move |seen| if too_large(seen) { Fault::StatusBefore(413) } else { Fault::Pass })
            .await;
    let to = proxy.url.clone();
    let from = remote(&server, DEFAULT);
    let report = tokio::task::spawn_blocking({
        let (from, to) = (from.clone(), to.clone());
        move || Migration::new(&from, &to).batch("300").verified()
    });
    assert_eq!(report.await.unwrap().count("verified"), 600);
    let refused: Vec<usize> = proxy.seen().iter().filter(|seen| too_large(seen)).map(|seen| seen.length).collect();
    assert!((1..=4).contains(&refused.len()), "{refused:?}");
    // nothing of the second collection was refused: what was learned holds for the run
    let first = refused.len();
    write(
        &server,
        DEFAULT,
        "two",
        "add",
        &json!({"ids": ["large"], "embeddings": [[1, 2]], "documents": ["x".repeat(LIMIT)]}),
    );
    let report = tokio::task::spawn_blocking(move || Migration::new(&from, &to).ends(5)).await.unwrap();
    report.says(&["large", "client_max_body_size", "--batch-size", "413"]);
    assert_eq!(proxy.seen().iter().filter(|seen| too_large(seen)).count(), first + 1);
}

/// owscale (open-webui#17872): the lists of both sides were asked for again for each of thousands of collections.
#[tokio::test(flavor = "multi_thread")]
async fn owscale_a_small_collection_takes_at_most_eight_requests_on_each_side() {
    const COLLECTIONS: usize = 200;
    let (folder, into) = (Store::absent(), Store::absent());
    let (server, target) = (ChromaServer::start("1.5.9", &folder.path), ChromaServer::start("1.5.9", &into.path));
    for n in 0..COLLECTIONS {
        let name = format!("file-{n}");
        create(&server, DEFAULT, &json!({"name": name}));
        let records = json!({"ids": ["a", "b"], "embeddings": [[n, 1.5], [2.5, n]], "documents": ["x", "y"]});
        write(&server, DEFAULT, &name, "add", &records);
    }
    let from = Proxy::start(&server.url, |_| Fault::Pass).await;
    let to = Proxy::start(&target.url, |_| Fault::Pass).await;
    let mut before = (0, 0);
    for what in ["copied", "present"] {
        let (source, target) = (from.url.clone(), to.url.clone());
        let report = tokio::task::spawn_blocking(move || Migration::new(&source, &target).verified()).await.unwrap();
        assert_eq!(report.count(what), 2 * COLLECTIONS as u64);
        let now = (from.seen().len(), to.seen().len());
        let (read, written) = (now.0 - before.0, now.1 - before.1);
        // beside those of each collection: versions, what the server can take, and the lists
        assert!(read <= 8 * COLLECTIONS + 30 && written <= 8 * COLLECTIONS + 30, "{what}: {read} and {written}");
        before = now;
    }
}

/// A lost vector among records of which some are not in the index yet: 0.5 and 0.6 answer with a `TypeError` of their own and
/// status 400, as if the request were at fault. That ended the run with exit 4.
#[test]
fn a_type_error_of_an_old_server_is_a_matter_of_its_record() {
    for version in ["0.6.3", "0.5.23"] {
        let store = one_bad(version);
        let (server, into) = (ChromaServer::start(version, &store.path), Store::absent());
        let target = ChromaServer::start("1.5.9", &into.path);
        let more = json!({"ids": ["x", "y", "z"], "embeddings": [[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]],
                          "documents": ["x", "y", "z"]});
        write(&server, DEFAULT, "mem", "add", &more);
        let all: Vec<String> = (0..25).map(|n| format!("id{n}")).chain(["x", "y", "z"].map(str::to_owned)).collect();
        let asked = json!({"ids": all, "include": ["embeddings"]});
        let (status, answer) = answered(&server, DEFAULT, "mem", "get", &asked);
        assert!(status == 400 && answer.to_string().contains("'NoneType'"), "{version}: {status} {answer}");
        let report = Migration::new(&url(&server), &remote(&target, DEFAULT)).only(&["mem", "good"]).ends(5);
        assert_eq!((report.count("verified"), report.count("unreadable")), (28, 1), "{version}");
        let found = details(&report, "mem");
        assert!(found.len() == 1 && found["id3"].contains("fails on its vector"), "{version}: {found:?}");
        assert_eq!(held(&target, "mem").len(), 27, "{version}");
    }
}

/// ch2104: `hnsw:ef` is refused by a creation and taken by `modify`: such a collection was refused by every target.
#[test]
fn ch2104_what_a_creation_refuses_is_set_after_it() {
    let store = Store::absent();
    Python::run("0.5.23", "tests/chroma/one_bad.py", &[store.path()]);
    for version in TARGETS {
        let into = Store::absent();
        let mut target = ChromaServer::start(version, &into.path);
        Migration::new(store.path(), &remote(&target, DEFAULT)).only(&["tuned"]).verified();
        target.stop();
        target.restart();
        let all = snapshot(&target, DEFAULT);
        assert_eq!(all[0][0]["metadata"], json!({"k": 1, "hnsw:ef": 50}), "{version}");
        assert_eq!(all[0][1]["ids"].as_array().unwrap().len(), 2, "{version}");
        let verified = Migration::verify(store.path(), &remote(&target, DEFAULT)).only(&["tuned"]).verified();
        assert_eq!(verified.count("verified"), 2, "{version}");
    }
}

/// 0.5 and 0.6 take a newline at a name's end. Such a name was refused by targets that take it; where one does not, the message
/// did not say how to name it, and whoever named one collection left out all others.
#[test]
fn a_name_that_the_target_does_not_take_comes_with_the_mapping_to_paste() {
    let (folder, same, newer) = (Store::absent(), Store::absent(), Store::absent());
    let server = ChromaServer::start("0.6.3", &folder.path);
    for name in ["notes\n", "notes", "other"] {
        let id = create(&server, DEFAULT, &json!({"name": name}))["id"].as_str().unwrap().to_owned();
        let records = json!({"ids": [name], "embeddings": [[1.0, 2.0]], "documents": [name]});
        let add = format!("{}/api/v2/tenants/{}/databases/{}/collections/{id}/add", server.url, DEFAULT.0, DEFAULT.1);
        done(&reqwest::Method::POST, &add, Some(&records));
    }
    let (old, new) = (ChromaServer::start("0.6.3", &same.path), ChromaServer::start("1.5.9", &newer.path));
    let from = remote(&server, DEFAULT);
    assert_eq!(Migration::new(&from, &remote(&old, DEFAULT)).verified().count("verified"), 3);
    let refused = Migration::new(&from, &remote(&new, DEFAULT)).refused(&[
        r"--collection notes --collection $'notes\n=notes-2' --collection other",
        r#"collections: [{"name":"notes"}, {"name":"notes\n","targetName":"notes-2"}, {"name":"other"}]"#,
    ]);
    assert!(refused.message().contains("nothing was written"));
    assert_eq!(snapshot(&new, DEFAULT).len(), 0);
    let run = Migration::new(&from, &remote(&new, DEFAULT));
    assert_eq!(run.only(&["notes", "notes\n=notes-2", "other"]).verified().count("verified"), 3);
}

/// A sidecar's server was given the tenant and the database before preflight: also by a dry run, and by one that is refused.
#[test]
fn a_dry_run_leaves_a_sidecars_server_without_the_database() {
    let (folder, into) = (Store::absent(), Store::absent());
    let server = ChromaServer::start("1.5.9", &folder.path);
    create(&server, DEFAULT, &json!({"name": "notes"}));
    write(&server, DEFAULT, "notes", "add", &json!({"ids": ["a"], "embeddings": [[1.0]], "documents": ["x"]}));
    let target = ChromaServer::start("1.5.9", &into.path);
    let has_tenant = || {
        let url = format!("{}/api/v2/tenants/team-c", target.url);
        super::super::super::support::api::call(reqwest::Method::GET, &url, None).0 == 200
    };
    let run = |dry: bool| {
        let manifest = json!({
            "apiVersion": "memory-migration.dev/v1alpha1",
            "kind": "MemoryMigration",
            "metadata": {"name": "m"},
            "spec": {
                "source": {"remote": {"url": server.url}},
                "target": {"local": {"claimName": "into", "path": "store", "tenant": "team-c", "database": "notes"}},
                "pacing": {"batchSize": 100, "delay": "0s"},
                "dryRun": dry,
            },
        });
        let volume = format!("into={}", into.path.parent().unwrap().display());
        let command = TestCommand::new().args([
            "run",
            "-f",
            "-",
            "--termination-log",
            "/dev/null",
            "--writer-url",
            &target.url,
            "--volume",
            &volume,
        ]);
        command.stdin(manifest.to_string()).run().code(0);
    };
    run(true);
    assert!(!has_tenant(), "a dry run has made the tenant");
    run(false);
    assert!(has_tenant());
    make_place(&target, ("team-c", "notes"));
    assert_eq!(snapshot(&target, ("team-c", "notes")).len(), 1);
}
