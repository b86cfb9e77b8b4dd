//! Every step of a fill by files fails or ends the process: the target is then untouched or whole, and a later run verifies it.

use memory_migration_operator::faults::VARIABLE;

use super::super::support::chroma::env;
use super::super::support::command::{Output, TestCommand};
use super::super::support::migration::Report;
use super::super::support::stores::{Store, generated};
use super::kills::wait_until_nobody_uses;
use super::{assert_clean, by_files, names_beside};

fn command(source: &Store, target: &Store) -> TestCommand {
    TestCommand::new()
        .args(["migrate", "--source-config", source.path(), "--target-config", target.path(), "--delay", "0"])
        .args(["--batch-size", "1000", "--fill", "files", "--chroma-bin"])
        .args([env("1.5.9").chroma()])
}

#[track_caller]
fn at(source: &Store, target: &Store, fault: &str) -> Output {
    let output = command(source, target).env(VARIABLE, fault).run();
    assert!(output.stderr_text().contains("fault point "), "the run does not come to {fault}: {output:?}");
    wait_until_nobody_uses(target);
    output
}

fn said(report: &Report) -> &str {
    report.check("fill")["message"].as_str().unwrap()
}

/// One after the other on the same target: each run finds what the one before it has left.
#[test]
fn a_run_that_is_killed_at_any_step_leaves_what_the_next_one_goes_on_from() {
    let (source, target) = (generated("1.5.9", 1500, 8, "cosine"), Store::absent());
    let before_the_step =
        ["fill.create.after", "fill.put.after", "fill.index.after", "fill.sync", "fill.mark", "fill.place"];
    for place in before_the_step {
        let output = at(&source, &target, &format!("{place}:kill:1"));
        assert_eq!(output.code_if_any(), None, "{place}: {output:?}");
        assert!(!target.path.exists(), "{place}");
    }
    // from here on it stands there, until a run takes it away to fill it anew
    for (place, stands) in [
        ("fill.placed", true),
        ("fill.aside", true),
        ("fill.place", false),
        ("fill.finish.after", true),
        ("fill.replaced", true),
        ("target.open.after", true),
        ("target.index.before", true),
        ("target.index.after", true),
    ] {
        let output = at(&source, &target, &format!("{place}:kill:1"));
        assert_eq!(output.code_if_any(), None, "{place}: {output:?}");
        assert_eq!(target.path.join("chroma.sqlite3").exists(), stands, "{place}");
    }
    let report = by_files(source.path(), &target, "1.5.9").verified();
    assert!(said(&report).contains("replaces what an earlier attempt"), "{}", report.json);
    assert_eq!((report.count("copied"), report.count("targetBefore")), (1500, 0));
    assert_clean(&target);
    // a server has closed it: it is Chroma's own, and no run fills it anew
    let report = by_files(source.path(), &target, "1.5.9").verified();
    assert!(said(&report).contains("not empty"), "{}", report.json);
    assert_eq!((report.count("copied"), report.count("present")), (0, 1500));
}

/// A full disk (`retry`) and a broken one.
#[test]
fn a_step_that_fails_leaves_the_target_as_it_was() {
    let (source, target) = (generated("1.5.9", 700, 8, "cosine"), Store::absent());
    std::fs::create_dir(&target.path).unwrap();
    for fault in ["fill.put.after:retry", "fill.mark:fatal", "fill.place:fatal"] {
        let output = at(&source, &target, &format!("{fault}:1"));
        assert_eq!(output.exit_code(), 4, "{fault}: {output:?}");
        assert_eq!(std::fs::read_dir(&target.path).unwrap().count(), 0, "{fault}");
        assert_eq!(names_beside(&target), ["store"], "{fault}");
    }
    let output = at(&source, &target, "fill.placed:fatal:1");
    assert_eq!(output.exit_code(), 4, "{output:?}");
    assert_eq!(names_beside(&target), ["store", "store.memory-migration.filled"]);
    for fault in ["fill.aside:retry", "fill.place:retry"] {
        assert_eq!(at(&source, &target, &format!("{fault}:1")).exit_code(), 4, "{fault}");
        assert!(target.path.join("chroma.sqlite3").exists(), "{fault}: what was filled first is gone");
    }
    let report = by_files(source.path(), &target, "1.5.9").verified();
    assert_eq!((report.count("copied"), report.count("targetBefore")), (700, 0));
    assert_clean(&target);
}
