//! That each public report has its test, and the tests of those that belong to no other file.

use std::collections::BTreeSet;
use std::path::Path;

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
