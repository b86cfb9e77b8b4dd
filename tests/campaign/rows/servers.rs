//! A server of either side is killed, frozen, or comes back with another state than it had. Every fault comes at a moment
//! of the run that the dice draw.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{cleared, filled};
use crate::campaign::bench::{Bench, Pair, Side, copy};
use crate::campaign::memories::{Memories, Truth, memories};
use crate::campaign::run::Run;
use crate::campaign::trial::{Outcome, Trial};
use crate::campaign::watch::Watch;
use crate::support::dice::Dice;

pub(crate) const KILLED: &str = "SIGKILL at a random moment, restarted on its folder";
pub(crate) const FROZEN: &str =
    "SIGSTOP at a random moment, for longer than a request may take (2 s there), then SIGCONT";
pub(crate) const EMPTY: &str = "SIGKILL at a random moment, restarted on an empty folder";
pub(crate) const OLDER: &str = "SIGKILL at a random moment, restarted on a copy of its folder from before";

/// Which side the fault comes to.
#[derive(Clone, Copy, PartialEq)]
enum On {
    Source,
    Target,
}

impl On {
    fn of(self, pair: &mut Pair) -> &mut Side {
        match self {
            Self::Source => &mut pair.source,
            Self::Target => &mut pair.target,
        }
    }
}

/// A moment of a run of some two seconds.
fn moment(dice: &mut Dice) -> Duration {
    dice.millis(1600)
}

pub(crate) fn target_killed(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    killed(bench, dice, n, On::Target)
}

pub(crate) fn source_killed(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    killed(bench, dice, n, On::Source)
}

fn killed(bench: &mut Bench, dice: &mut Dice, n: usize, on: On) -> Outcome {
    let version = Bench::version(n, 5);
    let mut pair = bench.pair(version);
    let name = format!("killed-{n}");
    let (_, source) = filled(&pair, &name, 300 + dice.below(300), dice);
    let (from, to) = (pair.source.server.url.clone(), pair.target.server.url.clone());
    let run = Run { batch: 5, is_adaptive: n % 3 == 2, ..Run::new(&from, &to, (&name, &name), version) };
    let after = moment(dice);
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&source), &to);
    let (ended, ()) = run.beside(|| {
        std::thread::sleep(after);
        let side = on.of(&mut pair);
        side.server.kill();
        side.server.restart();
    });
    trial.outcome.said.push(format!("killed after {after:?}"));
    trial.ended(ended);
    let outcome = trial.recovers();
    cleared(bench, pair, &name, outcome)
}

pub(crate) fn target_frozen(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    frozen(bench, dice, n, On::Target)
}

pub(crate) fn source_frozen(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    frozen(bench, dice, n, On::Source)
}

fn frozen(bench: &mut Bench, dice: &mut Dice, n: usize, on: On) -> Outcome {
    let version = Bench::version(n, 2);
    let mut pair = bench.pair(version);
    let name = format!("frozen-{n}");
    let (_, source) = filled(&pair, &name, 300 + dice.below(300), dice);
    let (from, to) = (pair.source.server.url.clone(), pair.target.server.url.clone());
    let run = Run { batch: 5, is_in_process: true, ..Run::new(&from, &to, (&name, &name), version) };
    let (after, long) = (moment(dice), Duration::from_millis(2200) + dice.millis(3000));
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&source), &to);
    let (ended, ()) = run.beside(|| {
        std::thread::sleep(after);
        on.of(&mut pair).server.signal(Signal::STOP);
        std::thread::sleep(long);
        on.of(&mut pair).server.signal(Signal::CONT);
    });
    trial.outcome.said.push(format!("frozen after {after:?} for {long:?}"));
    trial.ended(ended);
    let outcome = trial.recovers();
    cleared(bench, pair, &name, outcome)
}

/// The server of this side, killed before, starts on a copy of another folder, or on an empty one.
fn replace(side: &mut Side, other: Option<&Path>) {
    std::fs::rename(&side.folder, side.beside("replaced")).unwrap();
    match other {
        Some(other) => copy(other, &side.folder),
        None => std::fs::create_dir(&side.folder).unwrap(),
    }
    side.server.restart();
}

/// A pair of the trial's own: what it leaves is no longer what others expect.
fn own(bench: &mut Bench, n: usize) -> Pair {
    let version = Bench::version(n, 5);
    drop(bench.pair(version));
    Pair::start(version)
}

pub(crate) fn target_empty(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let mut pair = own(bench, n);
    let (_, source) = filled(&pair, "memories", 300 + dice.below(300), dice);
    let watch = Watch::passing(&pair.target.server.url);
    let from = pair.source.server.url.clone();
    let run = Run { batch: 5, ..Run::new(&from, &watch.url, ("memories", "memories"), pair.version) };
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&source), &pair.target.server.url);
    let after = moment(dice);
    let (ended, before) = run.beside(|| {
        std::thread::sleep(after);
        pair.target.server.kill();
        replace(&mut pair.target, None);
        watch.requests()
    });
    watch.judged(&mut trial, ended, before);
    trial.recovers()
}

pub(crate) fn target_older(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let mut pair = own(bench, n);
    let (_, source) = filled(&pair, "memories", 300 + dice.below(300), dice);
    let watch = Watch::passing(&pair.target.server.url);
    let from = pair.source.server.url.clone();
    let run = Run { batch: 5, ..Run::new(&from, &watch.url, ("memories", "memories"), pair.version) };
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&source), &pair.target.server.url);
    let (early, late) = (moment(dice) / 2, moment(dice) / 2);
    let kept = pair.target.beside("kept");
    let (ended, before) = run.beside(|| {
        std::thread::sleep(early);
        // a frozen server's folder is that of one moment, as a volume's snapshot is
        pair.target.server.signal(Signal::STOP);
        copy(&pair.target.folder, &kept);
        pair.target.server.signal(Signal::CONT);
        std::thread::sleep(late);
        pair.target.server.kill();
        replace(&mut pair.target, Some(&kept));
        watch.requests()
    });
    watch.judged(&mut trial, ended, before);
    trial.recovers()
}

pub(crate) fn source_empty(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    source_becomes(bench, dice, n, false)
}

pub(crate) fn source_older(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    source_becomes(bench, dice, n, true)
}

/// The source's server comes back empty, or with the first half of its records; then with all of them.
fn source_becomes(bench: &mut Bench, dice: &mut Dice, n: usize, is_older: bool) -> Outcome {
    let mut pair = own(bench, n);
    let all = memories(400, dice);
    let split = all.keys().nth(200).unwrap().clone();
    let half: Memories = all.range(..split.clone()).map(|(id, memory)| (id.clone(), memory.clone())).collect();
    let id = pair.source.client.create("memories", "l2", &half);
    let older = pair.source.beside("older");
    pair.source.server.stop();
    copy(&pair.source.folder, &older);
    pair.source.server.restart();
    let rest = crate::campaign::memories::body(all.range(split..));
    pair.source.client.records(&id, "add", &rest);
    let (from, to) = (pair.source.server.url.clone(), pair.target.server.url.clone());
    let run = Run { batch: 5, ..Run::new(&from, &to, ("memories", "memories"), pair.version) };
    // what the source had when the run began is as good as what it has when it ends
    let truth = Truth {
        earlier: all.iter().map(|(id, memory)| (id.clone(), vec![memory.clone()])).collect(),
        ..Truth::of(&half)
    };
    let mut trial = Trial::new(bench, run.clone(), truth, &to);
    let after = moment(dice);
    let (ended, ()) = run.beside(|| {
        std::thread::sleep(after);
        pair.source.server.kill();
        replace(&mut pair.source, is_older.then_some(older.as_path()));
    });
    trial.ended(ended);
    // a rerun on the changed source: never a success that leaves out what the source has
    let from = Instant::now();
    let again = run.ended();
    trial.outcome.said.push(format!("on the changed source, after {:?}:", from.elapsed()));
    if again.is_success() && !is_older {
        trial.outcome.is_false = true;
    }
    trial.ended(again);
    pair.source.server.kill();
    std::fs::remove_dir_all(&pair.source.folder).unwrap();
    std::fs::rename(pair.source.beside("replaced"), &pair.source.folder).unwrap();
    pair.source.server.restart();
    trial.truth = Truth::of(&all);
    trial.recovers()
}
