//! Every fault point of a run, before and after the call: an error that may pass, one that stays, and a kill. Which points
//! there are is what the product itself lists; a point that the run does not come to fails the trial.

use memory_migration_operator::faults::CALLS;

use super::cleared;
use crate::campaign::bench::{Bench, NEW, conflicts};
use crate::campaign::memories::{Memories, Memory, Truth, body, memories};
use crate::campaign::run::Run;
use crate::campaign::trial::{Outcome, Trial};
use crate::support::dice::Dice;

pub(crate) const FAILS: &str = "before and after each kind of call: an error that may pass, one that stays, SIGKILL";
/// One trial of each call, at one of its two moments and with one of the three kinds.
pub(crate) fn one_of_each() -> impl Iterator<Item = usize> {
    (0..CALLS.len()).map(|call| call * EACH + call % EACH)
}

/// What the n-th trial is about.
pub(crate) fn call(n: usize) -> &'static str {
    CALLS[n / EACH]
}

/// Trials of one call.
pub(crate) const EACH: usize = 6;
pub(crate) const ALL: usize = CALLS.len() * EACH;

pub(crate) fn one(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let call = call(n);
    let moment = ["before", "after"][n / 3 % 2];
    let kind = ["retry", "fatal", "kill"][n % 3];
    let often = ["target.add", "target.delete", "target.fetch_within", "source.fetch_within"].contains(&call);
    let visit = if often { 1 + dice.below(3) } else { 1 };
    let fault = format!("{call}.{moment}:{kind}:{visit}");
    match call {
        "target.capabilities" | "target.checks" | "target.open" | "target.restarted" | "target.close" => {
            in_folder(bench, dice, n, &fault)
        }
        "target.create" | "target.set_metadata" => in_server(bench, dice, n, &fault, false),
        _ => in_server(bench, dice, n, &fault, true),
    }
}

/// From a server's files into a server; its collection is there with other content and a record of another client, or not.
fn in_server(bench: &mut Bench, dice: &mut Dice, n: usize, fault: &str, is_there: bool) -> Outcome {
    let pair = bench.pair(NEW);
    let name = format!("points-{n}");
    let source = memories(100, dice);
    pair.source.client.create(&name, "l2", &source);
    let mut foreign = Memories::new();
    if is_there {
        let id = pair.target.client.create(&name, "l2", &conflicts());
        foreign.insert("foreign-1".to_owned(), Memory::new("foreign-1", 1, dice));
        pair.target.client.records(&id, "add", &body(foreign.iter()));
    }
    let files = pair.source.folder.to_str().unwrap();
    let run = Run {
        policy: "overwrite",
        // its probes of the target are single reads
        is_adaptive: fault.starts_with("target.fetch."),
        fault: Some(fault.to_owned()),
        ..Run::new(files, &pair.target.server.url, (&name, &name), NEW)
    };
    let mut trial = Trial::new(bench, run, Truth { foreign, ..Truth::of(&source) }, &pair.target.server.url);
    failed(&mut trial, fault);
    let outcome = trial.recovers();
    cleared(bench, pair, &name, outcome)
}

/// From a server into a folder that holds other content.
fn in_folder(bench: &mut Bench, dice: &mut Dice, n: usize, fault: &str) -> Outcome {
    let pair = bench.pair(NEW);
    let name = format!("points-{n}");
    let source = memories(100, dice);
    pair.source.client.create(&name, "l2", &source);
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("store");
    bench.conflicting(NEW, &folder);
    let target = folder.to_str().unwrap();
    let run = Run {
        policy: "overwrite",
        fault: Some(fault.to_owned()),
        ..Run::new(&pair.source.server.url, target, (&name, "generated"), NEW)
    };
    let mut trial = Trial::new(bench, run, Truth::of(&source), target);
    failed(&mut trial, fault);
    let outcome = trial.recovers();
    cleared(bench, pair, &name, outcome)
}

fn failed(trial: &mut Trial<'_>, fault: &str) {
    let ended = trial.run.ended();
    let is_visited = !ended.points.is_empty();
    trial.outcome.said.push(fault.to_owned());
    trial.ended(ended);
    assert!(is_visited, "the run does not come to {fault}: {:?}", trial.outcome.said);
}
