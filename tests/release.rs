//! What a release is made with, without its long builds: `make release-check` makes the parts. The fragments of the changelog.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::support::chroma::crate_path;

const GOOD: &str = "A flag `--x`.\n\nImpact: who uses y.\nMigration: write x.\n";

fn changelog(root: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("python3");
    command.arg(crate_path("deploy/changelog.py")).args(args).arg("--root").arg(root).output().unwrap()
}

fn tree(fragments: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("changelog.d")).unwrap();
    fs::write(root.path().join("CHANGELOG.md"), "# Changelog\n\n## Unreleased\n\n- Older.\n\n## 0.0.1\n\n- Oldest.\n")
        .unwrap();
    for (name, text) in fragments {
        fs::write(root.path().join("changelog.d").join(name), text).unwrap();
    }
    root
}

#[test]
fn every_fragment_of_the_changelog_is_whole() {
    let output = changelog(&crate_path("."), &["check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_fragment_that_is_not_whole_is_refused_by_name() {
    assert!(changelog(tree(&[("x.added.md", GOOD)]).path(), &["check"]).status.success());
    for (name, text, reason) in [
        ("x.md", GOOD, "name it WHAT.KIND.md"),
        ("x.broken.md", GOOD, "name it WHAT.KIND.md"),
        ("x.added.txt", GOOD, "name it WHAT.KIND.md"),
        ("x.added.md", "A flag.\n", "line Impact:"),
        ("x.added.md", "A flag.\n\nImpact: all.\n", "line Migration:"),
        ("x.added.md", "\n\nImpact: all.\nMigration: none.\n", "first paragraph"),
        ("x.added.md", "# A flag.\n\nImpact: all.\nMigration: none.\n", "no heading"),
        ("x.added.md", "A flag.\n\nImpact: all.\nMigration: none.\n\nMore.\n", "one paragraph"),
        ("x.removed.md", "A flag is gone.\n\nImpact: all.\nMigration: none.\n", "says what to do"),
    ] {
        let output = changelog(tree(&[(name, text)]).path(), &["check"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(name) && error.contains(reason), "{name} {text:?}: {error}");
    }
}

#[test]
fn a_release_takes_the_fragments_into_the_changelog() {
    let root = tree(&[("b.fixed.md", "A hang.\n\nImpact: none.\nMigration: none.\n"), ("a.added.md", GOOD)]);
    let output = changelog(root.path(), &["release", "0.1.0"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(root.path().join("CHANGELOG.md")).unwrap();
    let expected = "# Changelog\n\n## Unreleased\n\n## 0.1.0\n\n- Older.\n\n### Added\n\n\
        - A flag `--x`. Impact: who uses y. Migration: write x.\n\n### Fixed\n\n- A hang.\n\n## 0.0.1\n\n- Oldest.\n";
    assert_eq!(text, expected);
    assert_eq!(fs::read_dir(root.path().join("changelog.d")).unwrap().count(), 0);
    let said = |args: &[&str]| String::from_utf8(changelog(root.path(), args).stdout).unwrap();
    assert!(expected.contains(&said(&["notes", "0.1.0"])));
    assert!(said(&["notes", "0.1.0"]).starts_with("- Older.") && said(&["notes"]).trim().is_empty());
    let changes = r#"[{"kind": "added", "description": "A flag `--x`."}, {"kind": "fixed", "description": "A hang."}]"#;
    assert_eq!(said(&["changes", "0.1.0"]).trim(), changes);
    let again = changelog(root.path(), &["release", "0.1.0"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("has 0.1.0 already"));
}
