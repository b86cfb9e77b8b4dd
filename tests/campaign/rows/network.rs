//! What is between the runner and its servers: it goes away, fails, or tells what is not true. Only a proxy can do that.

use std::sync::{Arc, Mutex};

use super::{cleared, filled};
use crate::campaign::bench::{Bench, conflicts};
use crate::campaign::memories::Truth;
use crate::campaign::run::Run;
use crate::campaign::trial::{Outcome, Trial};
use crate::campaign::watch::Watch;
use crate::support::dice::Dice;
use crate::support::lies::Lie;
use crate::support::proxy::{Fault, Seen};

pub(crate) const CUT: &str =
    "a proxy before the target ends at a random moment with all connections, and is back after at most 3 s";
pub(crate) const FAILS: &str = "a proxy before both: 500, 502, 503, 504, 429, reset, cut answer, delay; before and after the \
                                server has done it";
pub(crate) const LIES: &str = "a proxy: another record's document or vector, a short vector, an answer from before, a 201 for \
                               a write that never came, and what a source may do; 5, 20 and 40 % of requests";
pub(crate) const LEAVES_OUT: &str =
    "a proxy: empty, short, capped, reordered, cut and refused answers; 5, 20 and 40 % of requests";

pub(crate) fn cut(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let version = Bench::version(n, 2);
    let pair = bench.pair(version);
    let name = format!("cut-{n}");
    let (_, source) = filled(&pair, &name, 300 + dice.below(300), dice);
    let mut watch = Watch::passing(&pair.target.server.url);
    let run = Run {
        batch: 5,
        is_adaptive: n % 3 == 2,
        ..Run::new(&pair.source.server.url, &watch.url, (&name, &name), version)
    };
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&source), &pair.target.server.url);
    let (after, long) = (dice.millis(800), dice.millis(3000));
    let (ended, ()) = run.beside(|| {
        std::thread::sleep(after);
        watch.cut();
        std::thread::sleep(long);
        watch.mended();
    });
    trial.outcome.said.push(format!("cut after {after:?} for {long:?}"));
    trial.ended(ended);
    let outcome = trial.recovers();
    cleared(bench, pair, &name, outcome)
}

pub(crate) fn one_percent(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    failing_both(bench, dice, n, 1)
}

pub(crate) fn ten_percent(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    failing_both(bench, dice, n, 10)
}

pub(crate) fn half(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    failing_both(bench, dice, n, 50)
}

fn failing_both(bench: &mut Bench, dice: &mut Dice, n: usize, percent: usize) -> Outcome {
    let rules = [failing(percent, dice), failing(percent, dice)];
    through(bench, dice, n, rules, true)
}

pub(crate) fn target_lies(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let percent = [5, 20, 40][n % 3];
    let mut own = Dice::new(dice.below(1 << 30) as u64);
    let lies: Rule = Box::new(move |seen| {
        if is_about_records(seen) && own.below(100) < percent { target_lie(&mut own, seen.verb()) } else { Fault::Pass }
    });
    through(bench, dice, n, [Box::new(|_| Fault::Pass), lies], n % 2 == 1)
}

pub(crate) fn source_lies(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let percent = [5, 20, 40][n % 3];
    let mut own = Dice::new(dice.below(1 << 30) as u64);
    let lies: Rule =
        Box::new(
            move |seen| {
                if is_about_records(seen) && own.below(100) < percent { source_lie(&mut own) } else { Fault::Pass }
            },
        );
    through(bench, dice, n, [lies, Box::new(|_| Fault::Pass)], n % 2 == 1)
}

type Rule = Box<dyn FnMut(&Seen) -> Fault + Send>;

/// A run through a proxy before each side, and then one without.
fn through(
    bench: &mut Bench,
    dice: &mut Dice,
    n: usize,
    [of_source, of_target]: [Rule; 2],
    overwrites: bool,
) -> Outcome {
    let version = Bench::version(n, 2);
    let pair = bench.pair(version);
    let name = format!("through-{n}");
    let (space, source) = filled(&pair, &name, 200 + dice.below(100), dice);
    if overwrites {
        pair.target.client.create(&name, space, &conflicts());
    }
    let (from, to) =
        (Watch::start(&pair.source.server.url, of_source), Watch::start(&pair.target.server.url, of_target));
    let run = Run {
        batch: 40,
        is_adaptive: n % 4 == 3,
        policy: if overwrites { "overwrite" } else { "skip" },
        is_in_process: true,
        ..Run::new(&from.url, &to.url, (&name, &name), version)
    };
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&source), &pair.target.server.url);
    trial.ended(run.ended());
    trial.outcome.said.push(format!("{} and {} requests", from.requests(), to.requests()));
    trial.run.source.clone_from(&pair.source.server.url);
    trial.run.target.clone_from(&pair.target.server.url);
    // a write that was told as done and never came leaves another content behind than was sent: nobody may touch it then
    trial.run.policy = "overwrite";
    let outcome = trial.recovers();
    cleared(bench, pair, &name, outcome)
}

/// So many of a hundred requests fail.
fn failing(percent: usize, dice: &mut Dice) -> Rule {
    let own = Arc::new(Mutex::new(Dice::new(dice.below(1 << 30) as u64)));
    Box::new(move |_| {
        let mut dice = own.lock().unwrap();
        if dice.below(100) >= percent {
            return Fault::Pass;
        }
        let status = dice.one_of(&[500, 502, 503, 504, 429]);
        match dice.below(7) {
            0 | 1 => Fault::StatusBefore(status),
            2 => Fault::StatusAfter(dice.one_of(&[500, 502, 503, 504])),
            3 => Fault::ResetBefore,
            4 => Fault::ResetAfter,
            5 => Fault::Cut,
            _ => Fault::Delay(dice.below(600) as u64),
        }
    })
}

/// Requests about records; all others are passed on.
fn is_about_records(seen: &Seen) -> bool {
    ["get", "add", "update", "upsert", "delete"].contains(&seen.verb())
}

/// What a source may do within the promise: leave out, reorder, cut, refuse. Its content is never wrong.
fn source_lie(dice: &mut Dice) -> Fault {
    let n = dice.below(1000);
    match dice.below(8) {
        0 => Fault::Lie(Lie::Empty),
        1 => Fault::Lie(Lie::Without(n)),
        2 => Fault::Lie(Lie::Capped(1 + n % 40)),
        3 => Fault::Lie(Lie::Turned(n)),
        4 => Fault::Cut,
        5 => Fault::StatusBefore(503),
        6 => Fault::StatusBefore(429),
        _ => Fault::ResetAfter,
    }
}

/// What a target may do: anything.
fn target_lie(dice: &mut Dice, verb: &str) -> Fault {
    let n = dice.below(1000);
    if verb != "get" {
        return match dice.below(5) {
            // never forwarded, and told as done
            0 => Fault::StatusBefore(201),
            1 => Fault::StatusBefore(500),
            2 => Fault::StatusAfter(500),
            3 => Fault::ResetBefore,
            _ => Fault::ResetAfter,
        };
    }
    match dice.below(6) {
        0 => Fault::Lie(Lie::OtherDocument(n)),
        1 => Fault::Lie(Lie::OtherVector(n)),
        2 => Fault::Lie(Lie::ShortVector(n)),
        3 => Fault::Stale,
        _ => source_lie(dice),
    }
}
