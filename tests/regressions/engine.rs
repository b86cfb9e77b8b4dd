//! False verdicts and overwritten records that were found with real servers, each by the report that showed it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use memory_migration_operator::endpoint::{LocalWriter, migrate};
use memory_migration_operator::engine::progress::Tracker;
use memory_migration_operator::engine::select::Entry;
use memory_migration_operator::engine::{OnConflict, Options, Outcome, Selection};
use memory_migration_operator::report::Reason;
use memory_migration_operator::store::http::ServerConfig;
use memory_migration_operator::{Endpoint, Request};
use reqwest::Method;
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;

use crate::support::api::{call, create, done, write};
use crate::support::chroma::ChromaServer;
use crate::support::dump::dump;
use crate::support::lies::Lie;
use crate::support::migration::{DEFAULT, Migration, local, remote};
use crate::support::proxy::{Fault, Proxy, Seen};
use crate::support::stores::{Store, committed, damage};

/// Records with ids `id-000` on, one component, a document each.
fn fill(server: &ChromaServer, name: &str, records: usize, text: &str) {
    create(server, DEFAULT, &json!({ "name": name }));
    let ids: Vec<String> = (0..records).map(|n| format!("id-{n:03}")).collect();
    let vectors: Vec<[usize; 2]> = (0..records).map(|n| [n, 1]).collect();
    let documents: Vec<String> = ids.iter().map(|id| format!("{text} {id}")).collect();
    write(server, DEFAULT, name, "add", &json!({"ids": ids, "embeddings": vectors, "documents": documents}));
}

fn names(server: &ChromaServer, name: &str) -> String {
    format!("{}/api/v2/tenants/{}/databases/{}/collections/{name}", server.url, DEFAULT.0, DEFAULT.1)
}

/// What `id` holds in a server's collection, by the official client.
fn document(server: &ChromaServer, name: &str, id: &str) -> Option<String> {
    dump("1.5.9", &server.url, DEFAULT.0, DEFAULT.1).collection(name).record(id).document.clone()
}

async fn run(source: &str, target: &str, collections: &[(&str, &str)], options: Options) -> Outcome {
    let server = |url: &str| {
        let mut server = ServerConfig::new(url.parse().unwrap());
        server.timeouts.retry = Duration::from_secs(20);
        Endpoint::Remote(Box::new(server))
    };
    let entry = |(name, target): &(&str, &str)| Entry::named(name, Some(target)).unwrap();
    let selection = Selection::new(&[], collections.iter().map(entry).collect()).unwrap();
    let options = Options { selection, batch_size: 20, delay: Duration::ZERO, ..options };
    let (source, target) = (server(source), server(target));
    let request = Request { source, target, options, writer: LocalWriter::Program(None) };
    migrate(request, Tracker::new().0, &CancellationToken::new()).await
}

/// A source and a target server, with 60 records in the source's `memories`.
struct Two {
    source: ChromaServer,
    target: ChromaServer,
    _stores: [Store; 2],
}

impl Two {
    fn start() -> Self {
        let stores = [Store::absent(), Store::absent()];
        let [source, target] = [&stores[0], &stores[1]].map(|store| ChromaServer::start("1.5.9", &store.path));
        fill(&source, "memories", 60, "ours");
        Self { source, target, _stores: stores }
    }
}

/// f1: a gateway that caps answers at 100 records made the others "gone": Verified, 472 of 900 never copied.
#[tokio::test(flavor = "multi_thread")]
async fn f1_a_gateway_that_caps_answers_or_listings_loses_nothing() {
    let two = Two::start();
    fill(&two.source, "many", 450, "many");
    let listing = |seen: &Seen| seen.body.contains("\"include\":[]");
    let records = move |seen: &Seen| match seen.verb() {
        "get" if !listing(seen) => Fault::Lie(Lie::Capped(100)),
        _ => Fault::Pass,
    };
    let proxy = Proxy::start(&two.source.url, records).await;
    let outcome = run(&proxy.url, &two.target.url, &[("many", "many")], Options::default()).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert_eq!(dump("1.5.9", &two.target.url, DEFAULT.0, DEFAULT.1).collection("many").count, 450);
    let all = |seen: &Seen| if seen.verb() == "get" { Fault::Lie(Lie::Capped(100)) } else { Fault::Pass };
    let proxy = Proxy::start(&two.source.url, all).await;
    let outcome = run(&proxy.url, &two.target.url, &[("many", "capped")], Options::default()).await;
    // pages show what one listing hides
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert_eq!(dump("1.5.9", &two.target.url, DEFAULT.0, DEFAULT.1).collection("capped").count, 450);
}

/// f3: another client's record that came between our look and our add was deleted and replaced by repair, under Skip.
#[tokio::test(flavor = "multi_thread")]
async fn f3_another_clients_record_in_the_last_moment_is_left_alone() {
    for (policy, reason) in [(OnConflict::Skip, Reason::VerifiedWithSkips), (OnConflict::Fail, Reason::RecordConflict)]
    {
        let two = Two::start();
        let target = two.target.url.clone();
        let theirs =
            json!({"ids": ["id-007"], "embeddings": [[9, 9]], "documents": ["theirs"], "uris": ["file:///theirs"]});
        let rule = move |seen: &Seen| {
            if seen.verb() == "add" && seen.before == 0 {
                done(&Method::POST, &seen.url(&target), Some(&theirs));
            }
            Fault::Pass
        };
        let proxy = Proxy::start(&two.target.url, rule).await;
        let options = Options { on_conflict: policy, ..Options::default() };
        let outcome = run(&two.source.url, &proxy.url, &[("memories", "memories")], options).await;
        assert_eq!(outcome.report.reason, reason, "{}", outcome.report.message);
        assert_eq!(document(&two.target, "memories", "id-007").as_deref(), Some("theirs"));
    }
}

/// f3b: two runs into one collection, both Skip, with other content under the same ids: the first said Verified, then its
/// records were overwritten by the second.
#[tokio::test(flavor = "multi_thread")]
async fn f3b_two_runs_at_once_overwrite_nothing_of_each_other() {
    let two = Two::start();
    fill(&two.source, "others", 60, "theirs");
    let into = |name: &'static str| [(name, "shared")];
    let (ours, theirs) = (into("memories"), into("others"));
    let (a, b) = tokio::join!(
        run(&two.source.url, &two.target.url, &ours, Options::default()),
        run(&two.source.url, &two.target.url, &theirs, Options::default()),
    );
    let found = dump("1.5.9", &two.target.url, DEFAULT.0, DEFAULT.1);
    let held = |text: &str| {
        let records = &found.collection("shared").records;
        records.iter().filter(|r| r.document.as_ref().is_some_and(|d| d.starts_with(text))).count() as u64
    };
    for (outcome, text) in [(a, "ours"), (b, "theirs")] {
        let counts = outcome.report.counts;
        assert_eq!(counts.verified, held(text), "{text}: {}", outcome.report.message);
        assert_eq!(counts.verified + counts.conflicts_skipped, 60, "{text}: {}", outcome.report.message);
    }
}

/// f5: a record with a new metadata key came to the source during the run; Chroma 1.5.9 grows its schema by it: exit 5,
/// "0 records differ and 0 are missing".
#[tokio::test(flavor = "multi_thread")]
async fn f5_a_new_metadata_key_during_the_run_is_no_difference_of_settings() {
    let two = Two::start();
    let url = names(&two.source, "memories");
    let id = done(&Method::GET, &url, None)["id"].as_str().unwrap().to_owned();
    let add = format!("{}/add", url.replace("memories", &id));
    let late = json!({"ids": ["late"], "embeddings": [[7, 7]], "metadatas": [{"newkey": "x"}]});
    let rule = move |seen: &Seen| {
        if seen.verb() == "add" && seen.before == 0 {
            done(&Method::POST, &add, Some(&late));
        }
        Fault::Pass
    };
    let proxy = Proxy::start(&two.target.url, rule).await;
    let outcome = run(&two.source.url, &proxy.url, &[("memories", "memories")], Options::default()).await;
    assert_eq!(outcome.report.reason, Reason::Verified, "{}", outcome.report.message);
    assert_eq!(outcome.report.counts.verified, 61);
}

/// A target collection renamed while it was copied was Verified though its name did not exist; two that swapped names were
/// Verified under each other's.
#[tokio::test(flavor = "multi_thread")]
async fn collections_renamed_or_swapped_or_dropped_during_the_run_are_found_out() {
    for act in ["rename", "swap", "drop"] {
        let two = Two::start();
        fill(&two.source, "second", 60, "second");
        let server = two.target.url.clone();
        let rule = move |seen: &Seen| {
            // in the middle of verification: the second collection has been created and filled
            if seen.verb() == "get" && seen.before == 14 {
                rename(&server, act);
            }
            Fault::Pass
        };
        let proxy = Proxy::start(&two.target.url, rule).await;
        let into = [("memories", "memories"), ("second", "second")];
        let outcome = run(&two.source.url, &proxy.url, &into, Options::default()).await;
        assert_ne!(outcome.report.reason, Reason::Verified, "{act}: {}", outcome.report.message);
        assert!(proxy.seen().iter().filter(|seen| seen.verb() == "get").count() > 14, "{act}: too early to act");
    }
}

fn rename(server: &str, act: &str) {
    let base = format!("{server}/api/v2/tenants/{}/databases/{}/collections", DEFAULT.0, DEFAULT.1);
    let id = |name: &str| done(&Method::GET, &format!("{base}/{name}"), None)["id"].as_str().unwrap().to_owned();
    let (first, second) = (id("memories"), id("second"));
    let to = |id: &str, name: &str| drop(done(&Method::PUT, &format!("{base}/{id}"), Some(&json!({"new_name": name}))));
    match act {
        "drop" => drop(call(Method::DELETE, &format!("{base}/memories"), None)),
        "rename" => to(&first, "elsewhere"),
        _ => {
            to(&first, "elsewhere");
            to(&second, "memories");
            to(&first, "second");
        }
    }
}

/// samestore (Velero, VolSync): a restored snapshot has the UUIDs of the live store beside it, and was refused as "one
/// store"; what was deleted there could not be brought back.
#[test]
fn samestore_a_restored_snapshot_goes_back_into_the_live_server() {
    let (live, snapshot) = (committed("1.5.9"), committed("1.5.9"));
    let server = ChromaServer::start("1.5.9", &live.path);
    let from = local(&snapshot.path, DEFAULT);
    // equal on both sides: nothing is written, and nobody is told that this is a second copy
    let report = Migration::new(&from, &remote(&server, DEFAULT)).only(&["values"]).verified();
    report.says(&["may be one store"]);
    assert_eq!(report.count("copied"), 0);
    let all = dump("1.5.9", &server.url, DEFAULT.0, DEFAULT.1);
    let lost: Vec<Json> = all.collection("values").records.iter().take(3).map(|r| json!(r.id)).collect();
    write(&server, DEFAULT, "values", "delete", &json!({ "ids": lost }));
    let report = Migration::new(&from, &remote(&server, DEFAULT)).only(&["values"]).verified();
    assert_eq!(report.count("copied"), 3);
    // and the live store itself is still one store with its server
    let own = Migration::new(&local(&live.path, DEFAULT), &remote(&server, DEFAULT)).only(&["values"]);
    let report = own.ends(3);
    report.says(&["same UUID"]);
}

/// A source without any record was "Verified: 0 records, every one was compared".
#[test]
fn an_empty_source_is_waited_for_and_no_success() {
    let (source, target) = (Store::absent(), Store::absent());
    let server = ChromaServer::start("1.5.9", &source.path);
    let into = target.path.display().to_string();
    for collection in [false, true] {
        if collection {
            create(&server, DEFAULT, &json!({"name": "memories"}));
        }
        let report = Migration::new(&server.url, &into).written_by("1.5.9").ends(4);
        assert_eq!(report.reason(), "SourceEmpty");
        report.says(&["--allow-empty"]);
    }
    assert_eq!(
        Migration::new(&server.url, &into).written_by("1.5.9").args(["--dry-run"]).ends(0).reason(),
        "DryRunCompleted"
    );
    let report = Migration::new(&server.url, &into).written_by("1.5.9").args(["--allow-empty"]).verified();
    report.says(&["there was nothing to compare"]);
}

/// `verify` called an l2 and an ip collection equal, and a rerun compared no settings at all.
#[test]
fn distance_always_counts_and_other_settings_are_named() {
    let stores = [Store::absent(), Store::absent()];
    let [source, target] = [&stores[0], &stores[1]].map(|store| ChromaServer::start("1.5.9", &store.path));
    for (server, space) in [(&source, "l2"), (&target, "ip")] {
        create(server, DEFAULT, &json!({"name": "spaces", "configuration": {"hnsw": {"space": space}}}));
        write(server, DEFAULT, "spaces", "add", &json!({"ids": ["a"], "embeddings": [[1, 2]], "documents": ["x"]}));
    }
    let report = Migration::verify(&source.url, &target.url).ends(5);
    report.says(&["the distance is ip, in the source l2"]);
    for (server, ef) in [(&source, 100), (&target, 33)] {
        create(
            server,
            DEFAULT,
            &json!({"name": "searched", "configuration": {"hnsw": {"space": "l2", "ef_search": ef}}}),
        );
        write(server, DEFAULT, "searched", "add", &json!({"ids": ["a"], "embeddings": [[1, 2]], "documents": ["x"]}));
    }
    let named = "\"searched\": ef_search is 33, in the source 100";
    Migration::verify(&source.url, &target.url).only(&["searched"]).verified().says(&[named]);
    Migration::new(&source.url, &target.url).only(&["searched"]).verified().says(&[named]);
}

/// Found by trying: a collection as every plain client makes one has the embedding function "default", which 1.5.9 forgets
/// when it is sent in a schema that is else all default: exit 5, "no embedding function is recorded".
#[test]
fn the_embedding_function_of_a_plain_collection_is_kept() {
    let function = json!({"type": "known", "name": "default", "config": {}});
    for (from, into) in [("1.5.9", "1.5.9"), ("1.0.20", "1.5.9"), ("1.5.9", "1.0.20")] {
        let stores = [Store::absent(), Store::absent()];
        let [source, target] =
            [(from, &stores[0]), (into, &stores[1])].map(|(v, store)| ChromaServer::start(v, &store.path));
        let configurations = [json!({}), json!({"hnsw": {"space": "cosine"}}), json!({"hnsw": {"ef_search": 77}})];
        for (n, mut configuration) in configurations.into_iter().enumerate() {
            configuration["embedding_function"] = function.clone();
            let name = format!("plain-{n}");
            create(&source, DEFAULT, &json!({"name": name, "configuration": configuration}));
            // no metadata: its keys would grow the schema, which is no default one then
            let record = json!({"ids": ["a"], "embeddings": [[1, 2]], "documents": ["x"]});
            write(&source, DEFAULT, &name, "add", &record);
        }
        Migration::new(&remote(&source, DEFAULT), &remote(&target, DEFAULT)).verified();
        for name in ["plain-0", "plain-1", "plain-2"] {
            let made = done(&Method::GET, &names(&target, name), None);
            assert_eq!(made["configuration_json"]["embedding_function"], function, "{from} to {into}: {made}");
        }
    }
}

/// A local target with a damaged index or damaged tables: `verify` called it equal, Chroma answered wrongly or not at all
/// for it, and what a run would have written there could have been hidden by its watermarks.
#[test]
fn a_damaged_local_target_is_named_and_neither_written_nor_verified() {
    let damages: [(&str, &[&str], &str); 5] = [
        ("swap-index", &[], "integrity_check"),
        ("truncate", &["synced_cosine", "data_level0.bin", "3000"], "rows are whole"),
        ("watermark", &["synced_l2", "VECTOR", "100000"], "max_seq_id"),
        ("lose-document", &["log_l2", "tail-0"], "full-text"),
        ("unapply", &["log_l2", "tail-0"], "never applied"),
    ];
    for version in ["0.5.23", "0.6.3", "1.0.20", "1.5.9"] {
        let whole = committed(version);
        for (how, args, what) in damages {
            let target = committed(version);
            damage(&target.path, how, args);
            let before = listing(&target.path);
            let only = ["synced_cosine", "synced_l2", "log_l2"];
            let report = Migration::verify(whole.path(), target.path()).only(&only).ends(5);
            assert_eq!(report.reason(), "VerificationFailed", "{version} {how}");
            report.says(&["the target is damaged", what]);
            // a run refuses that target
            assert!(!report.message().contains("onConflict"), "{version} {how}: {}", report.message());
            // old servers take seconds to start
            if version == "1.5.9" || how == "watermark" {
                let run = Migration::new(whole.path(), target.path()).only(&only).written_by(version);
                run.refused(&["target-state: the target is damaged", what, "new store"]);
            }
            assert_eq!(listing(&target.path), before, "{version} {how}: it was written");
        }
    }
}

/// Every file below a folder, with its length and the time of its last change.
fn listing(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let (path, about) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
            if about.is_dir() {
                folders.push(path);
            } else {
                found.insert(path, (about.len(), about.modified().unwrap()));
            }
        }
    }
    found
}

/// What was wrong with a whole store was said once for each of its collections.
#[test]
fn damage_of_the_whole_store_is_said_once() {
    let (source, target) = (committed("1.5.9"), Store::absent());
    damage(&source.path, "swap-index", &[]);
    let report = Migration::new(source.path(), target.path()).written_by("1.5.9").ends(5);
    for text in ["integrity_check", "out of order", "make a new one", "add that from a backup"] {
        assert_eq!(report.message().matches(text).count(), 1, "{text}: {}", report.message());
    }
}

/// A server that cannot apply its log to one collection, for an entry lacks its vector, fails on each count and listing of it.
/// That ended the run, and nothing of any other collection was moved.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_a_server_cannot_count_is_left_out_and_the_others_are_moved() {
    let stores = [Store::absent(), Store::absent()];
    let [mut source, target] = [&stores[0], &stores[1]].map(|store| ChromaServer::start("1.5.9", &store.path));
    fill(&source, "drawers", 5, "text");
    fill(&source, "memories", 5, "text");
    source.stop();
    let tables = rusqlite::Connection::open(stores[0].path.join("chroma.sqlite3")).unwrap();
    let sql = "UPDATE embeddings_queue SET vector = NULL WHERE id = 'id-003' AND topic LIKE '%' || \
               (SELECT id FROM collections WHERE name = 'drawers')";
    assert_eq!(tables.execute(sql, []).unwrap(), 1, "the log has the entry still");
    drop(tables);
    source.restart();
    let mut config = ServerConfig::new(source.url.parse().unwrap());
    config.timeouts.retry = Duration::from_secs(2);
    let request = Request {
        source: Endpoint::Remote(Box::new(config)),
        target: Endpoint::Remote(Box::new(ServerConfig::new(target.url.parse().unwrap()))),
        options: Options { batch_size: 20, delay: Duration::ZERO, ..Options::default() },
        writer: LocalWriter::Program(None),
    };
    let Outcome { report, .. } = migrate(request, Tracker::new().0, &CancellationToken::new()).await;
    assert_eq!(report.reason, Reason::VerificationFailed, "{}", report.message);
    for part in ["\"drawers\" was skipped", "Failed to apply logs", "read the store's files"] {
        assert!(report.message.contains(part), "no {part:?} in {}", report.message);
    }
    assert_eq!(report.counts.verified, 5, "{}", report.message);
    assert_eq!(document(&target, "memories", "id-003").as_deref(), Some("text id-003"));
}
