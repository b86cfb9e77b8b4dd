//! What was found wrong where a server, or a proxy before it, refuses one record or answers oddly for it, and where a run
//! leaves out a collection that was asked for. The servers are real. No server can be made to refuse one record, so a proxy
//! does that part.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::super::super::support::api::{create, make_place, snapshot, write};
use super::super::super::support::chroma::ChromaServer;
use super::super::super::support::migration::{DEFAULT, Migration, Report, remote};
use super::super::super::support::proxy::{Fault, Proxy, Seen};
use super::super::super::support::stores::{Store, committed};
use super::super::damage::{IN_DEFAULT, change};

const BAD: &str = "id07";

/// 60 records in `notes`, one of them the bad one; one record in `alone`, which is bad, too; one in `good`.
fn filled(server: &ChromaServer) {
    let ids: Vec<String> = (0..60).map(|n| format!("id{n:02}")).collect();
    for (name, ids) in [("alone", vec![BAD.to_owned()]), ("good", vec!["g".to_owned()]), ("notes", ids)] {
        create(server, DEFAULT, &json!({"name": name}));
        let vectors: Vec<[f64; 2]> = (0..ids.len()).map(|n| [f64::from(u8::try_from(n).unwrap()), 1.5]).collect();
        let metadata: Vec<Json> = ids.iter().map(|id| json!({"of": id})).collect();
        let records = json!({"ids": ids, "embeddings": vectors, "documents": ids, "metadatas": metadata});
        write(server, DEFAULT, name, "add", &records);
    }
}

/// Each unreadable record, as `collection/id`, with what is said of it.
fn unreadable(report: &Report) -> BTreeMap<String, String> {
    let collections = report.json["collections"].as_array().unwrap().iter();
    let all = collections.flat_map(|one| one["differences"].as_array().unwrap().iter().map(move |found| (one, found)));
    let all = all.filter(|(_, found)| found["field"] == "unreadable");
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    all.map(|(one, found)| (format!("{}/{}", text(&one["name"]), text(&found["id"])), text(&found["detail"]))).collect()
}

fn reads(seen: &Seen) -> bool {
    seen.verb() == "get" && seen.body.contains("\"ids\"")
}

/// Issue 16, found by a person who had the text of it and the program: a 400 for one record ended the run with exit 3, and
/// nothing was copied. Only a 500 was halved.
#[tokio::test(flavor = "multi_thread")]
async fn one_record_that_is_refused_over_http_is_a_matter_of_that_record() {
    let (folder, into) = (Store::absent(), Store::absent());
    let server = ChromaServer::start("1.5.9", &folder.path);
    filled(&server);
    let target = ChromaServer::start("1.5.9", &into.path);
    let faults = [
        (Fault::Says(400, "this id is not welcome"), "this id is not welcome"),
        (Fault::Tells(404, "<html>no such page</html>"), "status 404: <html>no such page"),
        (Fault::Says(422, "not processable"), "not processable"),
        (Fault::Tells(500, "<html>oops</html>"), "status 500: <html>oops"),
        (Fault::Tells(500, ""), "status 500"),
        (Fault::Tells(403, "blocked by policy"), "blocked by policy"),
        (Fault::Tells(200, "{\"ids\": oops"), "the answer is not Chroma's"),
        (Fault::Tells(200, "{\"ids\": ["), "the answer is not Chroma's"),
        (Fault::Cut, ""),
    ];
    let mut runs = Vec::new();
    for (n, (fault, words)) in faults.into_iter().enumerate() {
        let proxy = Proxy::start(&server.url, move |seen| {
            let is_bad = reads(seen) && seen.body.contains(BAD);
            if is_bad { fault } else { Fault::Pass }
        })
        .await;
        let place: (&str, &str) = ("default_tenant", format!("case-{n}").leak());
        make_place(&target, place);
        let (from, to) = (proxy.url.clone(), remote(&target, place));
        let run = tokio::task::spawn_blocking(move || Migration::new(&from, &to).batch("100").ends(5));
        runs.push((fault, words, proxy, run));
    }
    for (fault, words, proxy, run) in runs {
        let report = run.await.unwrap();
        let found = unreadable(&report);
        assert_eq!((report.count("verified"), report.count("unreadable")), (60, 2), "{fault:?}: {}", report.json);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["alone/id07", "notes/id07"], "{fault:?}: {found:?}");
        assert!(found.values().all(|why| why.contains(words)), "{fault:?}: {found:?}");
        let asked = proxy.seen().iter().filter(|seen| reads(seen)).count();
        assert!(asked < 150, "{fault:?}: {asked} requests");
    }
}

/// The other side of it: what is refused for every record is the server's refusal, told as it is and at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_every_read_is_told_in_its_words_and_not_asked_for_long() {
    let (folder, into) = (Store::absent(), Store::absent());
    let server = ChromaServer::start("1.5.9", &folder.path);
    filled(&server);
    let target = ChromaServer::start("1.5.9", &into.path);
    for (fault, code, words) in [
        (Fault::Says(400, "reading is switched off"), 3, "reading is switched off"),
        (Fault::Tells(403, "blocked"), 4, "does not allow this"),
    ] {
        let proxy = Proxy::start(&server.url, move |seen| if reads(seen) { fault } else { Fault::Pass }).await;
        let (from, to) = (proxy.url.clone(), remote(&target, DEFAULT));
        let report = tokio::task::spawn_blocking(move || Migration::new(&from, &to).ends(code)).await.unwrap();
        report.says(&[words]);
        let asked = proxy.seen().iter().filter(|seen| reads(seen)).count();
        assert!(asked < 100, "{fault:?}: {asked} requests");
        assert_eq!(snapshot(&target, DEFAULT).len(), 0, "{fault:?}");
    }
}

/// A target's proxy that refuses an id: the record was taken to be there, was never sent, and the run succeeded, with a skip.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_target_refuses_to_show_is_sent_and_never_called_skipped() {
    let (folder, into) = (Store::absent(), Store::absent());
    let server = ChromaServer::start("1.5.9", &folder.path);
    filled(&server);
    let target = ChromaServer::start("1.5.9", &into.path);
    let proxy = Proxy::start(&target.url, move |seen| {
        let is_bad = reads(seen) && seen.body.contains("id33");
        if is_bad { Fault::Says(400, "not this one") } else { Fault::Pass }
    })
    .await;
    let (from, to) = (remote(&server, DEFAULT), proxy.url.clone());
    let report = tokio::task::spawn_blocking(move || Migration::new(&from, &to).ends(5)).await.unwrap();
    assert_eq!((report.count("verified"), report.count("conflictsSkipped")), (61, 0), "{}", report.json);
    assert_eq!(report.listed("notes").first().map(|(id, _)| *id), Some("id33"), "{}", report.json);
    assert!(snapshot(&target, DEFAULT).iter().any(|one| one[1]["ids"].to_string().contains("id33")));
}

/// Changes one cell of an answer with this id.
fn with_cell(answer: &[u8], id: &str, column: &str, cell: &Json) -> Option<Vec<u8>> {
    let mut json: Json = serde_json::from_slice(answer).ok()?;
    let at = json.get("ids")?.as_array()?.iter().position(|one| one == id)?;
    *json.get_mut(column)?.get_mut(at)? = cell.clone();
    serde_json::to_vec(&json).ok()
}

/// One vector of another dimension, one document that is a number: each refused the run, or all of an answer.
#[tokio::test(flavor = "multi_thread")]
async fn one_part_of_another_kind_over_http_is_a_matter_of_its_record() {
    let (folder, into) = (Store::absent(), Store::absent());
    let server = ChromaServer::start("1.5.9", &folder.path);
    filled(&server);
    let target = ChromaServer::start("1.5.9", &into.path);
    let cells = [
        ("id03", "embeddings", json!([1.0, 2.0, 3.0]), "its vector has 3 components, its collection has dimension 2"),
        ("id10", "embeddings", json!([]), "its vector has 0 components"),
        ("id20", "embeddings", Json::Null, "no vector"),
        ("id30", "documents", json!(7), "a number as its document"),
        ("id40", "metadatas", json!([1, 2]), "an array as its metadata"),
        ("id50", "uris", json!({"a": 1}), "an object as its uri"),
    ];
    let told = cells.clone();
    let proxy = Proxy::telling(&server.url, move |line, _, answer| {
        let is_read = line.contains("/get ") || line.ends_with("/get");
        told.iter().filter(|_| is_read).fold(None::<Vec<u8>>, |now, (id, column, cell, _)| {
            with_cell(now.as_deref().unwrap_or(answer), id, column, cell).or(now)
        })
    })
    .await;
    let (from, to) = (proxy.url.clone(), remote(&target, DEFAULT));
    let (source, again) = (from.clone(), to.clone());
    let report = tokio::task::spawn_blocking(move || Migration::new(&from, &to).ends(5)).await.unwrap();
    let compared = tokio::task::spawn_blocking(move || Migration::verify(&source, &again).ends(5)).await.unwrap();
    for report in [report, compared] {
        let found = unreadable(&report);
        assert_eq!((report.count("verified"), report.count("unreadable")), (56, 6), "{}", report.json);
        for (id, _, _, words) in &cells {
            assert!(found[&format!("notes/{id}")].contains(words), "{id}: {found:?}");
        }
    }
}

/// The words that a refusal prints to paste.
pub(super) fn pasted(message: &str) -> Vec<String> {
    let from = message.find("--collection").unwrap();
    let flags = &message[from..from + message[from..].find(", or in the manifest").unwrap()];
    let output = std::process::Command::new("bash").arg("-c").arg(format!("printf '%s\\n' {flags}")).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The mapping to paste left out what is damaged: who pasted it read `Verified`, and of the damaged collection not a word.
#[test]
fn the_mapping_to_paste_names_a_damaged_collection_too() {
    let store = committed("1.5.9");
    change(&store, &format!("delete from segments where collection = ({IN_DEFAULT} 'texts_log')"));
    change(&store, "update collections set name = 'synced l2' where name = 'synced_l2'");
    let into = Store::absent();
    let target = ChromaServer::start("1.5.9", &into.path);
    let run = || Migration::new(store.path(), &remote(&target, DEFAULT));
    let report = run().refused(&["synced l2", "--collection texts_log", "'synced l2=synced-l2'"]);
    let flags = pasted(report.message());
    let flags: Vec<&str> = flags.iter().map(String::as_str).filter(|word| *word != "--collection").collect();
    assert!(flags.contains(&"synced l2=synced-l2") && flags.contains(&"texts_log"), "{flags:?}");
    run().only(&flags).ends(5).says(&["\"texts_log\" was skipped", "has no segments"]);
}
