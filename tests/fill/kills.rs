//! Kills and stops at random moments of a run that fills files: the target is untouched or whole, and a rerun proves it.

use std::time::Duration;

use rustix::process::Signal;

use super::super::support::chroma::env;
use super::super::support::command::TestCommand;
use super::super::support::dice::Dice;
use super::super::support::stores::{Store, generated};
use super::{assert_clean, by_files};

/// How many runs are cut short.
const KILLS: u64 = 12;

fn command(source: &Store, target: &Store) -> TestCommand {
    TestCommand::new()
        .args(["migrate", "--source-config", source.path(), "--target-config", target.path(), "--delay", "0"])
        .args(["--batch-size", "1000", "--fill", "files", "--chroma-bin"])
        .args([env("1.5.9").chroma()])
}

#[test]
fn a_killed_run_leaves_the_target_untouched_or_whole_and_a_rerun_verifies() {
    let source = generated("1.5.9", 3000, 64, "cosine");
    let whole = Store::absent();
    let started = std::time::Instant::now();
    command(&source, &whole).run().code(0);
    let usual = started.elapsed();
    let mut dice = Dice::new(41);
    for n in 0..KILLS {
        let target = Store::absent();
        if n % 3 == 0 {
            std::fs::create_dir(&target.path).unwrap();
        }
        let mut running = command(&source, &target).start();
        let after = usual.mul_f64(f64::from(u32::try_from(dice.below(1000)).unwrap()) / 1000.0);
        let from = std::time::Instant::now();
        while running.is_running() && from.elapsed() < after {
            std::thread::sleep(Duration::from_millis(2));
        }
        running.signal(if n % 4 == 3 { Signal::TERM } else { Signal::KILL });
        drop(running.wait());
        // nothing, an empty folder, or a store with all of its tables filled
        let entries = std::fs::read_dir(&target.path).map_or(0, Iterator::count);
        assert!(entries == 0 || target.path.join("chroma.sqlite3").exists(), "after {after:?}");
        wait_until_nobody_uses(&target);
        let report = by_files(source.path(), &target, "1.5.9").verified();
        assert_eq!(report.count("verified"), 3000, "after {after:?}: {}", report.json);
        assert_clean(&target);
    }
}

/// A killed run's server ends with it, a moment later.
fn wait_until_nobody_uses(target: &Store) {
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
