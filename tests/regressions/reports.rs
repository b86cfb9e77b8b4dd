//! That each public report has its test, and the tests of those that belong to no other file.

use std::collections::BTreeSet;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::support::api::{create, done, write};
use crate::support::chroma::{ChromaServer, Python, crate_path};
use crate::support::migration::{DEFAULT, Migration, local, remote};
use crate::support::stores::Store;

/// All sources below a folder, in one text.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|end| end == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn each_report_has_its_test() {
    let list = std::fs::read_to_string(crate_path("tests/regressions.rs")).unwrap();
    let rows = list.lines().filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix("` |"));
    let tests: Vec<&str> = rows.map(|row| row.rsplit('`').next().unwrap()).collect();
    assert!(tests.len() >= 27, "{tests:?}");
    let mut text = String::new();
    for folder in ["src", "tests"] {
        sources(&crate_path(folder), &mut text);
    }
    let missing: BTreeSet<&&str> = tests.iter().filter(|name| !text.contains(&format!("fn {name}()"))).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
}

/// nanvec (dify#11827): an embedder gave NaN, and Chroma took it. 1.5.9 refuses such a vector.
#[test]
fn nanvec_a_vector_that_is_no_number_costs_its_record_and_no_other() {
    for version in ["0.4.24", "0.6.3", "1.0.20"] {
        let store = Store::absent();
        let printed = Python::run(version, "tests/stores/history.py", &[store.path(), "nan-vector"]);
        assert_eq!(printed.trim(), r#"["inf", "nan", "part"]"#, "{version} took them");
        let server = ChromaServer::start(version, &store.path);
        for source in [local(&store.path, DEFAULT), remote(&server, DEFAULT)] {
            let into = Store::absent();
            let target = ChromaServer::start("1.5.9", &into.path);
            let report = Migration::new(&source, &remote(&target, DEFAULT)).ends(5);
            let case = format!("{version} {source}: {}", report.json);
            assert_eq!((report.count("verified"), report.count("unreadable")), (3, 3), "{case}");
            let named = report.listed("teeth");
            let ids: BTreeSet<&str> =
                named.iter().filter(|(_, field)| *field == "unreadable").map(|(id, _)| *id).collect();
            assert_eq!(ids, BTreeSet::from(["inf", "nan", "part"]), "{case}");
        }
    }
}

/// Chroma 1.5.9 keeps the arrays of a deleted collection's records, and a later record that gets one of their row numbers
/// has them, too. The run says that this can be the cause, changes nothing of it unasked, and mends it under Overwrite.
#[test]
fn arrays_of_a_deleted_collection_are_told_and_mended_when_asked() {
    let place = |server: &ChromaServer, name: &str, metadata: Option<Json>| {
        create(server, DEFAULT, &json!({"name": name}));
        let metadatas = metadata.map(|one| json!([one, one]));
        let records =
            json!({"ids": ["a", "b"], "embeddings": [[1.0], [2.0]], "documents": ["x", "y"], "metadatas": metadatas});
        write(server, DEFAULT, name, "add", &records);
    };
    let (source, target) = (Store::absent(), Store::absent());
    let (source, target) = (ChromaServer::start("1.5.9", &source.path), ChromaServer::start("1.5.9", &target.path));
    place(&source, "memories", Some(json!({"n": 1})));
    place(&target, "dropped", Some(json!({"tags": ["left", "behind"]})));
    let collections = format!("{}/api/v2/tenants/default_tenant/databases/default_database/collections", target.url);
    done(&Method::DELETE, &format!("{collections}/dropped"), None);

    let run = |policy: &str| {
        Migration::new(&remote(&source, DEFAULT), &remote(&target, DEFAULT)).args(["--on-conflict", policy])
    };
    let report = run("skip").ends(0);
    assert_eq!((report.reason(), report.count("conflictsSkipped")), ("VerifiedWithSkips", 2));
    for one in report.collection("memories")["differences"].as_array().unwrap() {
        let why = one["detail"].as_str().unwrap();
        assert!(why.contains("metadata.tags") && why.contains("a deleted collection left behind"), "{one}");
    }
    run("overwrite").verified();
}
