//! The runner is killed or told to stop at a moment that the dice draw, in both directions, while it overwrites and repairs.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{cleared, filled};
use crate::campaign::bench::{Bench, NEW, conflicts};
use crate::campaign::memories::{Truth, memories};
use crate::campaign::run::{Ended, LIMIT, Run};
use crate::campaign::trial::{Outcome, Trial};
use crate::support::dice::Dice;

pub(crate) const KILLED: &str =
    "SIGKILL at a random moment, in every third trial also during the rerun; Overwrite, of 60 records";
pub(crate) const FILLING: &str = "SIGKILL at a random moment, in every third trial also during the rerun; 1.5.9 and 1.0.20 in turns; \
                                 after each kill the target is absent, marked as unfinished, or whole";
pub(crate) const STARVED: &str = "its address space may not grow from a random moment on (prlimit), documents of 100 KB; it aborts, or \
                                  ends with an error";
pub(crate) const TOLD: &str = "SIGTERM at a random moment; Overwrite, of 60 records";

pub(crate) fn killed_in(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    into_server(bench, dice, n, ("kill-in", false, Signal::KILL))
}

pub(crate) fn killed_in_adaptive(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    into_server(bench, dice, n, ("kill-in-adaptive", true, Signal::KILL))
}

pub(crate) fn killed_out(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    into_folder(bench, dice, n, ("kill-out", false, Signal::KILL))
}

pub(crate) fn killed_out_adaptive(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    into_folder(bench, dice, n, ("kill-out-adaptive", true, Signal::KILL))
}

pub(crate) fn told_to_stop(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let (row, is_adaptive) = ("term", n % 4 > 1);
    if n.is_multiple_of(2) {
        into_server(bench, dice, n, (row, is_adaptive, Signal::TERM))
    } else {
        into_folder(bench, dice, n, (row, is_adaptive, Signal::TERM))
    }
}

/// Documents that make the runner ask for memory again and again.
pub(crate) fn out_of_memory(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let version = Bench::version(n, 5);
    let pair = bench.pair(version);
    let name = format!("memory-{n}");
    let mut source = memories(150 + dice.below(100), dice);
    for (id, memory) in &mut source {
        memory.document = Some(format!("{id} {}", "a text that takes memory ".repeat(4000)));
    }
    pair.source.client.create(&name, "l2", &source);
    let run = Run {
        is_adaptive: n % 2 == 1,
        ..Run::new(&pair.source.server.url, &pair.target.server.url, (&name, &name), version)
    };
    let after = dice.millis(1500);
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&source), &pair.target.server.url);
    let running = run.start();
    std::thread::sleep(after);
    let had = running.may_grow_no_more();
    let mut ended: Ended = running.within(LIMIT).into();
    trial.outcome.said.push(format!("after {after:?} it may not have more than {had:?} bytes of addresses"));
    if ended.code == Some(101) || ended.said.contains("panicked") {
        // it was made to: a thread that cannot be started is no bug of the product
        (ended.code, ended.said) = (None, "a panic, out of memory".to_owned());
    }
    trial.ended(ended);
    let outcome = trial.recovers();
    cleared(bench, pair, &name, outcome)
}

/// Row, pace, signal.
type Fault = (&'static str, bool, Signal);

fn into_server(bench: &mut Bench, dice: &mut Dice, n: usize, (row, is_adaptive, signal): Fault) -> Outcome {
    let version = Bench::version(n, 2);
    let pair = bench.pair(version);
    let name = format!("{row}-{n}");
    let (space, source) = filled(&pair, &name, 300 + dice.below(300), dice);
    let at = if n % 3 == 1 { pair.source.folder.to_str().unwrap() } else { &pair.source.server.url };
    let run =
        Run { policy: "overwrite", is_adaptive, ..Run::new(at, &pair.target.server.url, (&name, &name), version) };
    let usual = usual(
        bench,
        row,
        &run,
        || pair.target.client.drop(&name),
        || {
            pair.target.client.create(&name, space, &conflicts());
        },
    );
    let mut trial = Trial::new(bench, run, Truth::of(&source), &pair.target.server.url);
    stopped(&mut trial, dice, usual, signal);
    if signal == Signal::KILL && n % 3 == 2 {
        stopped(&mut trial, dice, usual, signal);
    }
    let outcome = trial.recovers();
    cleared(bench, pair, &name, outcome)
}

fn into_folder(bench: &mut Bench, dice: &mut Dice, n: usize, (row, is_adaptive, signal): Fault) -> Outcome {
    // an old server takes seconds to start, and each run starts one
    let version = Bench::version(n, 5);
    let pair = bench.pair(version);
    let name = format!("{row}-{n}");
    let source = memories(300 + dice.below(300), dice);
    pair.source.client.create(&name, "l2", &source);
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("store");
    let target = folder.to_str().unwrap().to_owned();
    let run = Run {
        policy: "overwrite",
        is_adaptive,
        ..Run::new(&pair.source.server.url, &target, (&name, "generated"), version)
    };
    bench.conflicting(version, &folder);
    let spare = scratch.path().join("spare");
    crate::campaign::bench::copy(&folder, &spare);
    let usual = usual(
        bench,
        row,
        &run,
        || std::fs::remove_dir_all(&folder).is_ok(),
        || {
            if !folder.exists() {
                std::fs::rename(&spare, &folder).unwrap();
            }
        },
    );
    let mut trial = Trial::new(bench, run, Truth::of(&source), &target);
    stopped(&mut trial, dice, usual, signal);
    if signal == Signal::KILL && n % 3 == 2 {
        stopped(&mut trial, dice, usual, signal);
    }
    let outcome = trial.recovers();
    cleared(bench, pair, &name, outcome)
}

/// A new folder that is filled by its files.
pub(crate) fn killed_filling(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let version = if n.is_multiple_of(2) { NEW } else { "1.0.20" };
    let pair = bench.pair(NEW);
    let name = format!("kill-fill-{n}");
    // more than a server keeps in its log alone
    let (_, source) = filled(&pair, &name, 1100 + dice.below(300), dice);
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("store");
    let target = folder.to_str().unwrap().to_owned();
    let run = Run { fills: true, ..Run::new(&pair.source.server.url, &target, (&name, "generated"), version) };
    let usual = usual(bench, "kill-fill", &run, || std::fs::remove_dir_all(&folder).is_ok(), || ());
    let mut trial = Trial::new(bench, run, Truth::of(&source), &target);
    for _ in 0..=usize::from(n % 3 == 2) {
        stopped(&mut trial, dice, usual, Signal::KILL);
        trial.leaves_nothing_or_all();
    }
    let outcome = trial.recovers();
    cleared(bench, pair, &name, outcome)
}

/// How long such a run takes without a fault; measured once a row and version. Leaves the target as `make` makes it.
fn usual(bench: &mut Bench, row: &'static str, run: &Run, undo: impl Fn() -> bool, make: impl Fn()) -> Duration {
    make();
    if let Some(usual) = bench.usual.get(&(row, run.version)) {
        return *usual;
    }
    let from = Instant::now();
    let ended = run.ended();
    assert!(ended.is_success(), "a run without any fault: {ended:?}");
    let usual = from.elapsed();
    assert!(undo(), "the target of the measured run cannot be removed");
    make();
    bench.usual.insert((row, run.version), usual);
    usual
}

/// Starts a run, and ends it by a signal at a moment that the dice draw.
fn stopped(trial: &mut Trial<'_>, dice: &mut Dice, usual: Duration, signal: Signal) {
    let after = dice.millis(u64::try_from(usual.as_millis()).unwrap());
    let mut running = trial.run.start();
    let from = Instant::now();
    while running.is_running() && from.elapsed() < after {
        std::thread::sleep(Duration::from_millis(1).min(after));
    }
    running.signal(signal);
    trial.outcome.said.push(format!("{signal:?} after {after:?} of some {usual:?}"));
    trial.ended(running.within(LIMIT).into());
}
