//! Another client works on the source or the target while a run is under way: it changes records, writes its own, or takes
//! the whole collection away.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::writer::{self, Log, Shelf};
use super::{cleared, filled};
use crate::campaign::bench::{Bench, NEW, OLD};
use crate::campaign::memories::{Memories, Memory, Truth, body};
use crate::campaign::run::{Ended, Run};
use crate::campaign::trial::{Outcome, Trial};
use crate::campaign::watch::Watch;
use crate::support::dice::Dice;

pub(crate) const MOVES: &str = "four clients add, update, delete, and delete and add again, up to 24 records in a request, 200 a \
                                second at most; with 0.6.3 one client, one record in a request, none added again; their log is \
                                the truth";
pub(crate) const WRITES: &str = "a client writes, changes and deletes records of its own, and takes ids of the source, during copy \
                                 and verification";
pub(crate) const TAKES: &str = "by another client, at a random moment";

pub(crate) fn moving_http(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    moving(bench, dice, n, (false, false))
}

pub(crate) fn moving_files(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    moving(bench, dice, n, (true, false))
}

/// Into a new folder that is filled by its files.
pub(crate) fn moving_filling(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    moving(bench, dice, n, (n % 2 == 1, true))
}

/// What `work` returns once `stop` is set, and how the run ended that was made beside it.
fn beside(run: &Run, head: Duration, work: impl FnOnce(&AtomicBool) -> Log + Send) -> (Ended, Log, [Instant; 2]) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let working = scope.spawn(|| work(&stop));
        std::thread::sleep(head);
        let began = Instant::now();
        let ended = run.ended();
        let finished = Instant::now();
        stop.store(true, Ordering::SeqCst);
        (ended, working.join().unwrap(), [began, finished])
    })
}

fn moving(bench: &mut Bench, dice: &mut Dice, n: usize, (from_files, fills): (bool, bool)) -> Outcome {
    let version = if fills { NEW } else { Bench::version(n, 2) };
    let pair = bench.pair(version);
    let name = format!("moving-{n}");
    let (_, before) = filled(&pair, &name, 300 + dice.below(300), dice);
    let (url, id) = (pair.source.server.url.as_str(), pair.source.client.id(&name).unwrap());
    let from = if from_files { pair.source.folder.to_str().unwrap() } else { url };
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("store");
    let target = if fills { folder.to_str().unwrap() } else { &pair.target.server.url };
    let run = Run { policy: "overwrite", batch: 10, fills, ..Run::new(from, target, (&name, &name), version) };
    let (head, seed) = (dice.millis(400), dice.below(1 << 30) as u64);
    // of what several clients write at once, or one with many records in a request, 0.6.3 loses some by itself, and of a
    // record that is deleted and added again at once it may keep the old vector (both measured, without any other reader)
    let (clients, at_once) = if version == OLD { (1, 1) } else { (4, writer::AT_ONCE) };
    let shelf = Shelf { url, id: &id, before: &before, clients, at_once, adds_again: version != OLD };
    let (ended, log, [began, finished]) = beside(&run, head, |stop| writer::change(&shelf, seed, stop));
    assert_eq!(log.unclear, 0, "the source did not take every change, so nobody knows what it holds");
    let left = if from_files { BTreeSet::new() } else { log.left(began, finished) };
    let rests = Truth { source: log.after(&before), earlier: log.contents(&before), ..Truth::default() };
    let source = rests.judge(&bench.judge(version).read(url, &name).unwrap());
    assert!(source.is_nothing(), "the source itself is not as its writers left it: {source:?}");
    let truth = Truth {
        source: log.at(&before, began),
        earlier: log.contents(&before),
        moving: log.moving(began, finished),
        left: left.clone(),
        ..Truth::default()
    };
    let mut trial = Trial::new(bench, run, truth, target);
    let during = log.changes.iter().filter(|change| change.ended >= began && change.began <= finished).count();
    let rate = u128::try_from(during).unwrap() * 1000 / (finished - began).as_millis().max(1);
    trial.outcome.rate = Some(u64::try_from(rate).unwrap());
    trial.outcome.said.push(format!("{during} operations during the run, {rate} a second"));
    trial.ended(ended);
    trial.truth = Truth { left, ..rests };
    let outcome = trial.recovers();
    cleared(bench, pair, &name, outcome)
}

pub(crate) fn foreign_skip(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    foreign(bench, dice, n, "skip")
}

pub(crate) fn foreign_overwrite(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    foreign(bench, dice, n, "overwrite")
}

pub(crate) fn foreign_fail(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    foreign(bench, dice, n, "fail")
}

fn foreign(bench: &mut Bench, dice: &mut Dice, n: usize, policy: &'static str) -> Outcome {
    let version = Bench::version(n, 2);
    let pair = bench.pair(version);
    let name = format!("foreign-{policy}-{n}");
    let (space, source) = filled(&pair, &name, 300 + dice.below(300), dice);
    let id = pair.target.client.create(&name, space, &Memories::new());
    let run = Run {
        policy,
        batch: 10,
        is_adaptive: n % 4 == 3,
        ..Run::new(&pair.source.server.url, &pair.target.server.url, (&name, &name), version)
    };
    let (late, seed) = (dice.millis(600), dice.below(1 << 30) as u64);
    let shelf =
        Shelf { url: &pair.target.server.url, id: &id, before: &source, clients: 1, at_once: 1, adds_again: false };
    let (ended, log, _) = beside(&run, Duration::ZERO, |stop| {
        std::thread::sleep(late);
        writer::interfere(&shelf, seed, stop)
    });
    assert_eq!(log.unclear, 0, "the target did not take every change, so nobody knows what it holds");
    let theirs = log.after(&Memories::new());
    let may_be_changed = |id: &String| policy == "overwrite" && source.contains_key(id);
    let foreign: Memories = theirs.clone().into_iter().filter(|(id, _)| !may_be_changed(id)).collect();
    let is_all = ended.is_success();
    let truth = Truth {
        foreign: foreign.clone(),
        earlier: log.contents(&source),
        // without a success anything may not have come yet
        moving: source.keys().filter(|id| !is_all || may_be_changed(id) && theirs.contains_key(*id)).cloned().collect(),
        ..Truth::of(&source)
    };
    let mut trial = Trial::new(bench, run, truth, &pair.target.server.url);
    trial.outcome.said.push(format!("{} changes of another client, from {late:?} on", log.changes.len()));
    trial.ended(ended);
    if !is_all {
        let found = trial.found();
        trial.outcome.add(&found, "after the run");
    }
    trial.truth = Truth { foreign, ..Truth::of(&source) };
    if policy == "fail" {
        // the client gives way, so that a run can succeed
        let taken: Vec<String> = theirs.keys().filter(|one| source.contains_key(*one)).cloned().collect();
        assert!(taken.is_empty() || pair.target.client.delete(&id, &taken));
        trial.truth.foreign.retain(|id, _| !source.contains_key(id));
    }
    let outcome = trial.recovers();
    cleared(bench, pair, &name, outcome)
}

pub(crate) fn target_taken(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let version = Bench::version(n, 2);
    let pair = bench.pair(version);
    let name = format!("taken-{n}");
    let (space, source) = filled(&pair, &name, 300 + dice.below(300), dice);
    let watch = Watch::passing(&pair.target.server.url);
    let run = Run { batch: 5, ..Run::new(&pair.source.server.url, &watch.url, (&name, &name), version) };
    let mut truth = Truth::of(&source);
    let theirs = Memories::from([("foreign-1".to_owned(), Memory::new("foreign-1", 1, dice))]);
    let after = dice.millis(900);
    let (ended, (done, before)) = run.beside(|| {
        std::thread::sleep(after);
        let client = &pair.target.client;
        let done = match n % 3 {
            0 => client.drop(&name),
            1 if client.drop(&name) => {
                // the run may make it anew at the same moment
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client.create(&name, space, &theirs)));
                true
            }
            2 => client.rename(&name, &format!("{name}-old")),
            _ => false,
        };
        (done, watch.requests())
    });
    if let Some(id) = pair.target.client.id(&name).filter(|_| n % 3 == 1 && done) {
        pair.target.client.records(&id, "upsert", &body(theirs.iter()));
        truth.foreign = theirs;
    }
    let mut trial = Trial::new(bench, run, truth, &pair.target.server.url);
    trial.outcome.said.push(format!("{} after {after:?}: {done}", ["dropped", "replaced", "renamed"][n % 3]));
    watch.judged(&mut trial, ended, before);
    let outcome = trial.recovers();
    let _ = pair.target.client.drop(&format!("{name}-old"));
    cleared(bench, pair, &name, outcome)
}

pub(crate) fn source_taken(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let version = Bench::version(n, 2);
    let pair = bench.pair(version);
    let name = format!("gone-{n}");
    let (space, source) = filled(&pair, &name, 300 + dice.below(300), dice);
    let at = if n % 2 == 1 { pair.source.folder.to_str().unwrap() } else { &pair.source.server.url };
    let run = Run { policy: "overwrite", batch: 5, ..Run::new(at, &pair.target.server.url, (&name, &name), version) };
    let other: Memories = source.keys().take(200).map(|id| (id.clone(), Memory::new(id, 500, dice))).collect();
    let earlier = source.iter().map(|(id, memory)| (id.clone(), vec![memory.clone()])).collect();
    let (client, away) = (&pair.source.client, format!("{name}-old"));
    let after = dice.millis(900);
    let (ended, done) = run.beside(|| {
        std::thread::sleep(after);
        match n % 3 {
            0 => client.drop(&name),
            1 => client.drop(&name) && !client.create(&name, space, &other).is_empty(),
            _ => client.rename(&name, &away),
        }
    });
    assert!(done, "the collection could not be taken away");
    let mut trial = Trial::new(bench, run, Truth::of(&source), &pair.target.server.url);
    trial.outcome.said.push(format!("{} after {after:?}", ["dropped", "replaced", "renamed"][n % 3]));
    if n % 3 == 1 {
        let new = Truth { earlier, ..Truth::of(&other) };
        if ended.is_success() && !trial.found().is_nothing() {
            // it was not the old one, so it must be the new one
            trial.truth = new.clone();
        }
        trial.ended(ended);
        trial.truth = new;
    } else {
        trial.ended(ended);
        let again = trial.run.ended();
        trial.outcome.is_false |= again.is_success();
        trial.ended(again);
        if n.is_multiple_of(3) {
            client.create(&name, space, &source);
        } else {
            assert!(client.rename(&away, &name));
        }
    }
    let outcome = trial.recovers();
    cleared(bench, pair, &name, outcome)
}
