//! Two runs that fill one target at once, and a run that is told to stop. Kills at random moments are a row of the campaign.

use std::time::Duration;

use rustix::process::Signal;

use super::super::support::chroma::env;
use super::super::support::command::TestCommand;
use super::super::support::stores::{Store, generated};
use super::{assert_clean, by_files, names_beside};

fn command(source: &Store, target: &Store) -> TestCommand {
    TestCommand::new()
        .args(["migrate", "--source-config", source.path(), "--target-config", target.path(), "--delay", "0"])
        .args(["--batch-size", "1000", "--fill", "files", "--chroma-bin"])
        .args([env("1.5.9").chroma()])
}

/// A killed run's server ends with it, a moment later.
pub(super) fn wait_until_nobody_uses(target: &Store) {
    let from = std::time::Instant::now();
    while is_used(target) {
        assert!(from.elapsed() < Duration::from_secs(60), "a server outlives its run");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_used(target: &Store) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let files =
        processes.flat_map(|process| std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten());
    files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|path| path.starts_with(&target.path))
}

/// Two runs into one target: one fills it, the other waits for nothing and breaks nothing.
#[test]
fn of_two_runs_at_once_one_is_told_to_wait() {
    let source = generated("1.5.9", 3000, 64, "cosine");
    let target = Store::absent();
    let (first, second) = (command(&source, &target).start(), command(&source, &target).start());
    let codes = [first.wait().exit_code(), second.wait().exit_code()];
    assert!(codes.contains(&0) && codes.iter().all(|code| [0, 4].contains(code)), "{codes:?}");
    by_files(source.path(), &target, "1.5.9").verified();
    assert_clean(&target);
}

/// It ends before the next window, and the target is as it was.
#[test]
fn a_run_that_is_told_to_stop_while_it_fills_leaves_nothing() {
    let source = generated("1.5.9", 12_000, 64, "cosine");
    let target = Store::absent();
    let mut running = command(&source, &target).start();
    let from = std::time::Instant::now();
    while !names_beside(&target).iter().any(|name| name.contains("importing")) {
        assert!(running.is_running() && from.elapsed() < Duration::from_secs(120), "it does not begin to fill");
        std::thread::sleep(Duration::from_millis(2));
    }
    running.signal(Signal::TERM);
    assert_eq!(running.wait().exit_code(), 4);
    assert!(names_beside(&target).is_empty(), "{:?}", names_beside(&target));
}
