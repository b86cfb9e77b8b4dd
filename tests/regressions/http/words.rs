//! What is told where a server, or a proxy before it, refuses one thing: its own words, of what they are, and of all others
//! nothing. The servers are real; a proxy does the refusing.

use serde_json::json;

use super::super::super::support::api::{create, write};
use super::super::super::support::chroma::ChromaServer;
use super::super::super::support::command::TestCommand;
use super::super::super::support::migration::{DEFAULT, Migration, Report, local, remote};
use super::super::super::support::proxy::{Fault, Proxy, Seen};
use super::super::super::support::stores::{Store, generated};
use super::refused::pasted;

const TOKEN: &str = "a-token-that-nobody-may-read";

fn filled(server: &ChromaServer) {
    let ids: Vec<String> = (0..60).map(|n| format!("id{n:02}")).collect();
    create(server, DEFAULT, &json!({"name": "notes"}));
    let vectors: Vec<[f64; 2]> = (0..60).map(|n| [f64::from(n), 1.5]).collect();
    write(server, DEFAULT, "notes", "add", &json!({"ids": ids, "embeddings": vectors, "documents": ids}));
}

fn adds(seen: &Seen, id: &str) -> bool {
    seen.verb() == "add" && seen.body.contains(id)
}

/// What is said of the one record that was refused.
#[track_caller]
fn detail(report: &Report, id: &str) -> String {
    assert_eq!(report.listed("notes"), [(id, "refused")], "{}", report.json);
    report.collection("notes")["differences"][0]["detail"].as_str().unwrap().to_owned()
}

/// Runs `notes` into a target whose proxy refuses one record's body, and gives what is said of the record.
async fn refused(
    from: &str,
    target: &ChromaServer,
    id: &'static str,
    fault: Fault,
    batch: &'static str,
) -> (String, Report) {
    let proxy = Proxy::start(&target.url, move |seen| if adds(seen, id) { fault } else { Fault::Pass }).await;
    let (from, to) = (from.to_owned(), proxy.url.clone());
    let run = move || {
        let run = Migration::new(&from, &to).batch(batch).env("MEMORY_MIGRATION_TARGET_TOKEN", TOKEN);
        run.ends(5)
    };
    let report = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!((report.count("verified"), report.count("missing")), (59, 1), "{fault:?}: {}", report.json);
    (detail(&report, id), report)
}

/// Issue 16: of a filter that refuses one body nobody read the words: "it does not allow this with these credentials".
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_refuses_one_body_is_told_in_its_own_words() {
    let folder = Store::absent();
    let server = ChromaServer::start("1.5.9", &folder.path);
    filled(&server);
    let from = remote(&server, DEFAULT);
    for fault in [
        Fault::Tells(403, "<html>blocked by rule 942100, sent with Bearer a-token-that-nobody-may-read</html>"),
        Fault::Tells(404, "<html>blocked by rule 942100</html>"),
        Fault::Tells(400, "blocked by rule 942100"),
        Fault::Tells(406, "blocked by rule 942100"),
    ] {
        let into = Store::absent();
        let target = ChromaServer::start("1.5.9", &into.path);
        let (detail, report) = refused(&from, &target, "id07", fault, "100").await;
        assert!(detail.contains("blocked by rule 942100"), "{fault:?}: {detail}");
        assert!(!detail.contains("credentials"), "{fault:?}: {detail}");
        report.says(&["\"id07\" of \"notes\"", "blocked by rule 942100"]);
        assert!(!report.json.to_string().contains(TOKEN) && !report.output.stderr_text().contains(TOKEN));
    }
}

/// Issue 16: a 413 that a filter gives for what is in a record was told as a limit of size, and made all further batches small.
#[tokio::test(flavor = "multi_thread")]
async fn a_413_that_larger_bodies_do_not_get_is_about_the_record() {
    let folder = Store::absent();
    let server = ChromaServer::start("1.5.9", &folder.path);
    filled(&server);
    let from = remote(&server, DEFAULT);
    for (id, batch) in [("id07", "1"), ("id07", "10"), ("id00", "10"), ("id59", "100")] {
        let into = Store::absent();
        let target = ChromaServer::start("1.5.9", &into.path);
        let fault = Fault::Tells(413, "attachment type not allowed");
        let (detail, report) = refused(&from, &target, id, fault, batch).await;
        let case = format!("{id}, {batch}: {detail}");
        assert!(detail.contains("attachment type not allowed") && detail.contains("larger"), "{case}");
        assert!(!detail.contains("client_max_body_size") && !detail.contains("--batch-size"), "{case}");
        report.says(&["attachment type not allowed"]);
    }
}

/// Issue 16: at the first collection on which its server fails, `inspect` left all others unread.
#[tokio::test(flavor = "multi_thread")]
async fn inspect_shows_every_collection_whichever_its_server_fails_on() {
    let folder = Store::absent();
    let server = ChromaServer::start("1.5.9", &folder.path);
    let mut ids = Vec::new();
    for name in ["alpha", "beta", "gamma"] {
        ids.push(create(&server, DEFAULT, &json!({"name": name}))["id"].as_str().unwrap().to_owned());
        let records = json!({"ids": ["a", "b"], "embeddings": [[1, 1.5], [2.5, 1]], "documents": ["x", "y"]});
        write(&server, DEFAULT, name, "add", &records);
    }
    let (first, all) = (ids[0].clone(), ids.clone());
    let is_of = |seen: &Seen, id: &str| seen.line.contains(id) && ["get", "count"].contains(&seen.verb());
    let one = move |fault| {
        let first = first.clone();
        move |seen: &Seen| if is_of(seen, &first) { fault } else { Fault::Pass }
    };
    let mut runs = Vec::new();
    for (fault, words) in [
        (Fault::Says(400, "this collection is broken"), "this collection is broken"),
        (Fault::Says(500, "this collection is broken"), "this collection is broken"),
        (Fault::Tells(403, "not this collection"), "not this collection"),
    ] {
        let proxy = Proxy::start(&server.url, one(fault)).await;
        let url = proxy.url.clone();
        let run = tokio::task::spawn_blocking(move || TestCommand::new().args(["inspect", &url]).run());
        runs.push((fault, words, proxy, run));
    }
    for (fault, words, _proxy, run) in runs {
        let output = run.await.unwrap().code(5).stdout("alpha: it cannot be read:").stdout(words);
        let row = |name: &str| {
            let mut lines = output.stdout_text().lines();
            lines.find(|line| line.trim_start().starts_with(name)).unwrap_or_default().to_owned()
        };
        assert!(row("alpha").contains("unreadable"), "{fault:?}: {output:?}");
        for name in ["beta", "gamma"] {
            let row = row(name);
            assert!(row.contains(" 2 ") && row.contains(" ok "), "{fault:?}: {row:?} of {output:?}");
        }
    }
    // one that answers for none is a server that fails, and no damage
    let proxy = Proxy::start(&server.url, move |seen| {
        if all.iter().any(|id| is_of(seen, id)) { Fault::Says(400, "nothing today") } else { Fault::Pass }
    })
    .await;
    let url = proxy.url.clone();
    let output = tokio::task::spawn_blocking(move || TestCommand::new().args(["inspect", &url]).run()).await.unwrap();
    assert!([3, 4].contains(&output.exit_code()), "{output:?}");
    let output = output.stdout("alpha").stdout("gamma").stdout("not read");
    assert!(output.stderr_text().contains("nothing today"), "{output:?}");
}

/// Issue 16: a metadata key of a collection that the target refuses: the message told of it, and not how to move all others.
#[test]
fn a_collection_whose_metadata_is_refused_comes_with_the_words_that_move_all_others() {
    let (folder, into) = (Store::absent(), Store::absent());
    let server = ChromaServer::start("0.6.3", &folder.path);
    for (name, metadata) in [
        ("good", json!({"a": 1})),
        ("money", json!({"$x": 1})),
        ("hash", json!({"#y": "z"})),
        ("other", json!({"b": 2})),
    ] {
        create(&server, DEFAULT, &json!({"name": name, "metadata": metadata}));
        write(&server, DEFAULT, name, "add", &json!({"ids": ["a"], "embeddings": [[1, 2]], "documents": [name]}));
    }
    let target = ChromaServer::start("1.5.9", &into.path);
    let (from, to) = (remote(&server, DEFAULT), remote(&target, DEFAULT));
    let report = Migration::new(&from, &to).refused(&["\"money\"", "\"$x\"", "\"hash\"", "\"#y\"", "--exclude"]);
    let flags = pasted(report.message());
    assert!(flags.iter().any(|flag| flag == "--exclude"), "{flags:?}");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut run = Migration::new(&from, &to);
    for flag in flags {
        run = run.args([flag]);
    }
    assert_eq!(run.verified().count("verified"), 2);
}

/// Issue 23: a name with a line break stood as it is in the log: a name could write lines of its own there.
#[test]
fn a_name_breaks_no_line_of_the_log() {
    let (folder, into) = (Store::absent(), Store::absent());
    let server = ChromaServer::start("0.6.3", &folder.path);
    create(&server, DEFAULT, &json!({"name": "notes\n"}));
    let target = ChromaServer::start("0.6.3", &into.path);
    let report = Migration::new(&remote(&server, DEFAULT), &remote(&target, DEFAULT)).args(["--allow-empty"]).ends(0);
    let log = report.output.stderr_text();
    assert!(log.lines().any(|line| line.contains("created collection") && line.contains(r"notes\n")), "{log}");
    let source = generated("1.5.9", 3, 3, "l2");
    let folder = Store::absent();
    let folder = folder.path.join("a\n2026-01-01 ERROR broken");
    let report = Migration::new(source.path(), &local(&folder, DEFAULT)).written_by("1.5.9").verified();
    let log = report.output.stderr_text();
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01 ERROR")), "{log}");
}
