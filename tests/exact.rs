//! The exact set, with real Chroma on both sides: strangers in the target, settings that only differ by name, whole databases,
//! and whether the source stood still.

use std::fs;

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::support::api::{create, done, snapshot, write};
use super::support::chroma::ChromaServer;
use super::support::command::TestCommand;
use super::support::migration::{DEFAULT, Migration, Report, local, remote};
use super::support::proxy::{Fault, Proxy, Seen};
use super::support::stores::{Store, committed};

/// Versions that can be written.
const WRITABLE: [&str; 4] = ["1.5.9", "1.0.20", "0.6.3", "0.5.23"];
const COLLECTION: &str = "synced_l2";

fn server(version: &str) -> (ChromaServer, Store) {
    let folder = Store::absent();
    (ChromaServer::start(version, &folder.path), folder)
}

/// A record that no source has.
fn stranger(target: &ChromaServer, id: &str) {
    let vector = [0.5, 0.25, 0.125];
    write(target, DEFAULT, COLLECTION, "add", &json!({"ids": [id], "embeddings": [vector], "documents": ["nobody's"]}));
}

fn said(report: &Report) -> &Json {
    &report.json["verification"]
}

#[track_caller]
fn is_identical(report: &Report, expected: bool) {
    assert_eq!(said(report)["identical"], expected, "{}", report.message());
    assert_eq!(report.message().contains("source and target are identical"), expected, "{}", report.message());
}

/// What the table of a run shows of its only collection in a column.
#[track_caller]
fn cell(report: &Report, column: &str) -> String {
    let text = report.output.stdout_text();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let head = text.lines().position(|line| line.contains("COLLECTION")).expect("a table");
    let rows: Vec<Vec<String>> = text.lines().skip(head).take(2).map(words).collect();
    assert_eq!(rows[0].len(), rows[1].len(), "{text}");
    rows[1][rows[0].iter().position(|name| name == column).expect(column)].clone()
}

#[test]
fn a_stranger_in_the_target_is_named_and_never_deleted() {
    for version in WRITABLE {
        let store = committed("1.5.9");
        let (target, _folder) = server(version);
        let (from, to) = (local(&store.path, DEFAULT), remote(&target, DEFAULT));
        let migrate = || Migration::new(&from, &to).only(&[COLLECTION]);
        let compare = || Migration::verify(&from, &to).only(&[COLLECTION]);
        let first = migrate().args(["--extras", "fail"]).verified();
        assert_eq!((first.count("extra"), cell(&first, "EXTRA")), (0, "0".to_owned()), "{version}");
        stranger(&target, "zz stranger");
        for report in [migrate().verified(), compare().verified()] {
            is_identical(&report, false);
            assert_eq!((report.count("extra"), report.count("verified")), (1, 45), "{version}");
            assert_eq!((cell(&report, "EXTRA"), cell(&report, "WRONG")), ("1".to_owned(), "0".to_owned()), "{version}");
            assert_eq!(report.listed(COLLECTION).last(), Some(&("zz stranger", "extra")), "{version}");
            report.says(&["ot identical: the target holds 1 records that the source does not", "zz stranger"]);
        }
        let before = snapshot(&target, DEFAULT);
        for run in [migrate(), compare(), migrate().args(["--verification", "counts"])] {
            let report = run.args(["--extras", "fail"]).ends(5);
            assert_eq!(report.reason(), "VerificationFailed", "{version}: {}", report.message());
            report.says(&[
                "1 in \"synced_l2\" (the first is \"zz stranger\")",
                "nothing was deleted",
                "--extras allow",
            ]);
        }
        assert_eq!(snapshot(&target, DEFAULT), before, "{version}: the stranger stays");
        let plan = migrate().args(["--extras", "fail", "--dry-run"]).ends(0);
        assert_eq!((plan.count("extra"), plan.check("extras")["ok"].clone()), (1, json!(false)), "{version}");
    }
}

/// Between equal versions all settings are carried over, so that every kind of collection comes out identical.
#[test]
fn a_copy_on_the_same_version_is_identical_and_verify_says_the_same() {
    let store = committed("1.5.9");
    let (target, folder) = server("1.5.9");
    let (from, to) = (local(&store.path, DEFAULT), remote(&target, DEFAULT));
    let copied = Migration::new(&from, &to).verified();
    is_identical(&copied, true);
    assert_eq!(said(&copied)["sourceQuiet"], "Yes", "its files were not touched");
    let compared = Migration::verify(&from, &to).args(["--extras", "fail"]).verified();
    is_identical(&compared, true);
    compared.says(&["records compared: every one is equal", "nothing was written"]);
    assert!(!compared.output.stdout_text().contains("COPIED"), "{}", compared.output.stdout_text());
    assert_eq!(compared.json["comparison"], true);
    compared.output.stdout("COMPARED").stdout("EQUAL");
    // whoever reads the report later sees the same table
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), compared.json.to_string()).unwrap();
    let later = TestCommand::new().args(["report", file.path().to_str().unwrap()]).run().code(0);
    later.stdout("COMPARED").stdout("EQUAL");
    // the other way the source is a server, of which nobody can say so much
    let back = Store::absent();
    let report = Migration::new(&to, back.path()).written_by("1.5.9").verified();
    is_identical(&report, true);
    assert_eq!(said(&report)["sourceQuiet"], "Unknown");
    let report = Migration::verify(back.path(), &local(&folder.path, DEFAULT)).verified();
    is_identical(&report, true);
    assert_eq!(said(&report)["sourceQuiet"], "Yes", "files on both sides");
}

/// What another version cannot hold is named in the verdict, and never called identical; `verify` agrees.
#[test]
fn settings_that_a_version_cannot_hold_are_not_identical() {
    let (source, _one) = server("1.5.9");
    let function = json!({"type": "known", "name": "openai", "config": {"model_name": "m", "api_key_env_var": "K"}});
    create(&source, DEFAULT, &json!({"name": "memories", "configuration": {"embedding_function": function}}));
    write(&source, DEFAULT, "memories", "add", &json!({"ids": ["a"], "embeddings": [[1, 2]], "documents": ["text"]}));
    for (version, identical) in [("1.5.9", true), ("0.5.23", false)] {
        let (target, _two) = server(version);
        let (from, to) = (remote(&source, DEFAULT), remote(&target, DEFAULT));
        for report in [Migration::new(&from, &to).verified(), Migration::verify(&from, &to).verified()] {
            is_identical(&report, identical);
            if !identical {
                report.says(&["settings of its own", "\"openai\""]);
            }
        }
    }
}

#[test]
fn a_whole_database_has_no_other_collection() {
    let ((source, _one), (target, _two)) = (server("1.5.9"), server("1.5.9"));
    for (server, name) in [(&source, "memories"), (&target, "private")] {
        create(server, DEFAULT, &json!({ "name": name }));
        write(server, DEFAULT, name, "add", &json!({"ids": ["a"], "embeddings": [[1, 2]]}));
    }
    let (from, to) = (remote(&source, DEFAULT), remote(&target, DEFAULT));
    let selected = Migration::new(&from, &to).only(&["memories"]).args(["--extras", "fail"]).verified();
    is_identical(&selected, true);
    for report in [Migration::new(&from, &to).verified(), Migration::verify(&from, &to).verified()] {
        is_identical(&report, false);
        assert_eq!(report.count("extra"), 0, "records of another collection are none of these");
        report.says(&["the target holds collections that the source does not: \"private\""]);
    }
    let strict = Migration::new(&from, &to).args(["--extras", "fail"]).ends(5);
    strict.says(&["\"private\"", "nothing was deleted"]);
}

/// A store whose server writes while it is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_written_meanwhile_was_not_quiet() {
    let folder = Store::absent();
    let source = ChromaServer::start("1.5.9", &folder.path);
    create(&source, DEFAULT, &json!({"name": "memories"}));
    let ids: Vec<String> = (0..60).map(|n| format!("id-{n:02}")).collect();
    let vectors: Vec<[usize; 2]> = (0..60).map(|n| [n, 1]).collect();
    write(&source, DEFAULT, "memories", "add", &json!({"ids": ids, "embeddings": vectors}));
    let (target, _two) = server("1.5.9");
    let from = local(&folder.path, DEFAULT);
    let still = Migration::new(&from, &remote(&target, DEFAULT)).verified();
    assert_eq!(said(&still)["sourceQuiet"], "Yes", "a server that only has it open changes nothing");
    // one write into the source, while the first one into the target is under way
    let (url, fresh) = (source.url.clone(), Store::absent());
    let other = ChromaServer::start("1.5.9", &fresh.path);
    let rule = move |seen: &Seen| {
        if seen.verb() == "add" && seen.before == 0 {
            let base = format!("{url}/api/v2/tenants/{}/databases/{}/collections", DEFAULT.0, DEFAULT.1);
            let id = done(&Method::GET, &format!("{base}/memories"), None)["id"].as_str().unwrap().to_owned();
            let moved = json!({"ids": ["id-59"], "embeddings": [[1, 2]]});
            done(&Method::POST, &format!("{base}/{id}/upsert"), Some(&moved));
        }
        Fault::Pass
    };
    let proxy = Proxy::start(&other.url, rule).await;
    for from in [from, source.url.clone()] {
        let run = Migration::new(&from, &proxy.url).args(["--on-conflict", "overwrite"]);
        let report = tokio::task::block_in_place(|| run.verified());
        // in the second run nobody writes: a server that was seen to change in none of the looks
        let expected = if from.starts_with("http") { "Unknown" } else { "No" };
        assert_eq!(said(&report)["sourceQuiet"], expected, "{}", report.message());
        is_identical(&report, true);
    }
}
