//! What a tester found who had the text of issue 16 and the program: one refused write, one odd value, one collection or one place of
//! a list stopped everything else, or was lost without a word. The servers are real; where none can be made to fail so, a proxy
//! does that part.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::super::super::support::api::{create, make_place, snapshot, write};
use super::super::super::support::chroma::{ChromaServer, VERSIONS};
use super::super::super::support::migration::{DEFAULT, Migration, local, remote};
use super::super::super::support::proxy::{Fault, Proxy, Seen};
use super::super::super::support::stores::{Store, committed};
use super::super::damage::change;

/// A collection of so many records, whose ids begin with its name.
fn fill(server: &ChromaServer, name: &str, count: u8) {
    create(server, DEFAULT, &json!({"name": name}));
    let ids: Vec<String> = (0..count).map(|n| format!("{name}{n:03}")).collect();
    let vectors: Vec<[f64; 2]> = (0..count).map(|n| [f64::from(n), 1.5]).collect();
    let metadata: Vec<Json> = ids.iter().map(|id| json!({"of": id})).collect();
    let records = json!({"ids": ids, "embeddings": vectors, "documents": ids, "metadatas": metadata});
    write(server, DEFAULT, name, "add", &records);
}

fn number(seen: &Seen, key: &str) -> Option<usize> {
    serde_json::from_str::<Json>(&seen.body).ok()?[key].as_u64()?.try_into().ok()
}

/// Finding 4: whatever the target, or a proxy before it, refuses of a write is halved down to the record.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_refused_for_one_record_costs_that_record_and_no_other() {
    let (folder, into) = (Store::absent(), Store::absent());
    let server = ChromaServer::start("1.5.9", &folder.path);
    fill(&server, "notes", 60);
    fill(&server, "other", 3);
    let target = ChromaServer::start("1.5.9", &into.path);
    for (n, status) in [400, 403, 404, 413, 422].into_iter().enumerate() {
        let proxy = Proxy::start(&target.url, move |seen| {
            let is_bad = seen.verb() == "add" && seen.body.contains("notes037");
            if is_bad { Fault::Says(status, "not this text") } else { Fault::Pass }
        })
        .await;
        let place: (&str, &str) = ("default_tenant", format!("case-{n}").leak());
        make_place(&target, place);
        let to = json!({"host": "127.0.0.1", "port": port(&proxy), "tenant": place.0, "database": place.1}).to_string();
        let from = remote(&server, DEFAULT);
        let report = tokio::task::spawn_blocking(move || Migration::new(&from, &to).batch("20").ends(5)).await.unwrap();
        let case = format!("{status}: {}", report.json);
        assert_eq!((report.count("verified"), report.count("missing")), (62, 1), "{case}");
        assert_eq!(report.listed("notes"), [("notes037", "refused")], "{case}");
        report.says(&["1 records were not moved", "\"notes037\" of \"notes\""]);
        let held: usize = snapshot(&target, place).iter().map(|one| one[1]["ids"].as_array().unwrap().len()).sum();
        assert_eq!(held, 62, "{case}");
        let adds = proxy.seen().iter().filter(|seen| seen.verb() == "add").count();
        // after a 413 of a single record all bodies are smaller than that one
        assert!(adds < if status == 413 { 80 } else { 20 }, "{case}: {adds} adds");
    }
}

fn port(proxy: &Proxy) -> u16 {
    proxy.url.rsplit(':').next().unwrap().parse().unwrap()
}

/// Finding 5: over HTTP infinity in a collection's own metadata was lost, and the run said identical; from files the source was
/// called damaged.
#[test]
fn a_number_that_json_does_not_have_in_a_collections_metadata_is_named_and_no_damage() {
    for version in VERSIONS {
        let store = committed(version);
        change(
            &store,
            "insert into collection_metadata (collection_id, key, float_value) select id, 'odd', -9e999 from collections \
             where name = 'log_l2'; insert into collection_metadata (collection_id, key) select id, 'none' from collections \
             where name = 'log_l2'",
        );
        let copy = Store::absent();
        std::process::Command::new("cp").arg("-r").arg(&store.path).arg(&copy.path).status().unwrap();
        let server = ChromaServer::start(version, &copy.path);
        for from in [local(&store.path, DEFAULT), remote(&server, DEFAULT)] {
            let into = Store::absent();
            let target = ChromaServer::start("1.5.9", &into.path);
            let report = Migration::new(&from, &remote(&target, DEFAULT)).only(&["log_l2"]).verified();
            let case = format!("{version} {from}: {}", report.json);
            assert_eq!(report.json["verification"]["identical"], false, "{case}");
            report
                .says(&["Not identical: values that no copy can hold were left out", "the collection's own metadata"]);
            let told = report.json["collections"][0]["differences"].to_string();
            assert!(told.contains("the collection's own metadata \\\"odd\\\" is"), "{case}");
            assert!(snapshot(&target, DEFAULT)[0][0]["metadata"].get("odd").is_none(), "{case}");
        }
    }
}

/// Finding 8: a collection whose reads by id all fail stopped the others, after 157 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_whose_reads_all_fail_is_left_out_and_the_others_are_moved() {
    let (folder, into) = (Store::absent(), Store::absent());
    let server = ChromaServer::start("1.5.9", &folder.path);
    for (name, count) in [("first", 40), ("broken", 130), ("last", 40)] {
        fill(&server, name, count);
    }
    let target = ChromaServer::start("1.5.9", &into.path);
    let faults = [
        Fault::Says(500, "index is gone"),
        Fault::Tells(500, ""),
        Fault::Tells(404, "not here"),
        Fault::Says(403, "no"),
    ];
    let mut runs = Vec::new();
    for (n, fault) in faults.into_iter().enumerate() {
        let proxy = Proxy::start(&server.url, move |seen| {
            let is_bad = seen.verb() == "get" && seen.body.contains("\"broken");
            if is_bad { fault } else { Fault::Pass }
        })
        .await;
        let place: (&str, &str) = ("default_tenant", format!("case-{n}").leak());
        make_place(&target, place);
        let (from, to) = (proxy.url.clone(), remote(&target, place));
        runs.push((fault, proxy, tokio::task::spawn_blocking(move || Migration::new(&from, &to).ends(5))));
    }
    for (fault, proxy, run) in runs {
        let report = run.await.unwrap();
        assert_eq!(report.count("verified"), 80, "{fault:?}: {}", report.json);
        report.says(&["collection \"broken\" was skipped"]);
        let asked = proxy.seen().len();
        assert!(asked < 600, "{fault:?}: {asked} requests");
    }
}

/// Finding 9: a list that fails wherever some records are in it was not halved: 120 of 130 could have been moved.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fails_for_some_records_is_halved_and_they_are_counted_as_lost() {
    let (folder, into) = (Store::absent(), Store::absent());
    let server = ChromaServer::start("1.5.9", &folder.path);
    fill(&server, "notes", 130);
    fill(&server, "sound", 5);
    let target = ChromaServer::start("1.5.9", &into.path);
    // the server's own order, by which places are told
    let sound = snapshot(&server, DEFAULT);
    let uuid = sound.iter().find(|one| one[0]["name"] == "notes").unwrap()[0]["id"].as_str().unwrap().to_owned();
    for (n, holes) in [(40..50).collect::<BTreeSet<usize>>(), [0, 64, 129].into()].into_iter().enumerate() {
        let (bad, name) = (holes.clone(), uuid.clone());
        let proxy = Proxy::start(&server.url, move |seen| {
            if seen.verb() != "get" || !seen.line.contains(&name) || seen.body.contains("\"ids\"") {
                return Fault::Pass;
            }
            let from = number(seen, "offset").unwrap_or(0).min(130);
            let to = (from + number(seen, "limit").unwrap_or(130)).min(130);
            let hits = bad.range(from..to).next().is_some();
            if hits { Fault::Says(500, "a page of the list is torn") } else { Fault::Pass }
        })
        .await;
        let place: (&str, &str) = ("default_tenant", format!("holes-{n}").leak());
        make_place(&target, place);
        let (from, to) = (proxy.url.clone(), remote(&target, place));
        let report = tokio::task::spawn_blocking(move || Migration::new(&from, &to).ends(5)).await.unwrap();
        let lost = holes.len() as u64;
        let counts = (report.count("source"), report.count("verified"), report.count("unreadable"));
        assert_eq!(counts, (135, 135 - lost, lost), "{}", report.json);
        report.says(&[&format!("{lost} of 130 records cannot be listed"), "a page of the list is torn"]);
        assert_ne!(report.json["verification"]["identical"], true);
        let asked = proxy.seen().len();
        assert!(asked < 1000, "{asked} requests");
    }
}
