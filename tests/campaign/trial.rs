//! One trial: what it found, and how the product got out of the fault. The verdict is the official client's reading, held
//! against what was written; what the product says only tells whether it claimed a success.

use std::path::Path;
use std::time::{Duration, Instant};

use super::bench::Bench;
use super::memories::{Found, Truth};
use super::run::{Ended, LIMIT, Run};

/// What one trial came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) lost: usize,
    pub(crate) twice: usize,
    pub(crate) foreign: usize,
    /// A run ended with exit 0 and the target was not as it must be.
    pub(crate) is_false: bool,
    pub(crate) is_hung: bool,
    /// From the end of the fault to a success, in which nothing else was left to be done.
    pub(crate) recovered_in: Duration,
    /// Changes of records a second that other clients made during the run, where that is the row's matter.
    pub(crate) rate: Option<u64>,
    /// What happened, for a person.
    pub(crate) said: Vec<String>,
}

impl Outcome {
    pub(crate) fn is_good(&self) -> bool {
        self.lost + self.twice + self.foreign == 0 && !self.is_false && !self.is_hung
    }

    pub(crate) fn add(&mut self, found: &Found, when: &str) {
        let Found { lost, twice, foreign } = found;
        self.lost += lost.len();
        self.twice += twice.len();
        self.foreign += foreign.len();
        for (kind, all) in [("lost", lost), ("twice", twice), ("foreign", foreign)] {
            self.said.extend(all.iter().take(3).map(|what| format!("{when}: {kind}: {what}")));
        }
    }
}

/// A trial under way.
pub(crate) struct Trial<'b> {
    bench: &'b mut Bench,
    pub(crate) run: Run,
    pub(crate) truth: Truth,
    /// Where the judge reads the target: its URL without any proxy, or its folder.
    at: String,
    pub(crate) outcome: Outcome,
    /// The exit of a run that had nothing left to do.
    pub(crate) done: i32,
}

impl<'b> Trial<'b> {
    pub(crate) fn new(bench: &'b mut Bench, run: Run, truth: Truth, at: &str) -> Self {
        Self { bench, run, truth, at: at.to_owned(), outcome: Outcome::default(), done: 0 }
    }

    /// What the client reads in the target, held against the truth. A collection that is not there has lost everything.
    pub(crate) fn found(&mut self) -> Found {
        match self.bench.judge(self.run.version).read(&self.at, &self.run.names.1) {
            Ok(collection) => self.truth.judge(&collection),
            Err(why) => Found { lost: vec![format!("no collection: {why}")], ..Found::default() },
        }
    }

    /// A run under the fault has ended. If it claimed a success, that must be true now.
    pub(crate) fn ended(&mut self, ended: Ended) {
        let Ended { code, said, is_hung, .. } = ended;
        self.outcome.said.push(format!("exit {code:?}: {said}"));
        self.outcome.is_hung |= is_hung;
        // a panic, or a bug that the product itself names
        self.outcome.is_false |= matches!(code, Some(1 | 101)) || said.contains("panicked");
        if code == Some(0) {
            let found = self.found();
            self.outcome.is_false |= !found.is_nothing();
            self.outcome.add(&found, "after a success");
        }
    }

    /// A run that fills a new folder has ended, in whatever way: it left nothing, a folder with the mark of what is not finished,
    /// or all of it.
    pub(crate) fn leaves_nothing_or_all(&mut self) {
        let is_there = |path: &str| Path::new(path).exists();
        let left = match (is_there(&self.at), is_there(&format!("{}.memory-migration.filled", self.at))) {
            (false, _) => "nothing",
            (true, true) => "a mark",
            (true, false) => "all",
        };
        self.outcome.said.push(format!("it left {left}"));
        if left == "all" {
            let found = self.found();
            self.outcome.is_false |= !found.is_nothing();
            self.outcome.add(&found, "of what was left as whole");
        }
    }

    /// The fault is over: the run is made again until it has nothing left to do, and the target is judged.
    pub(crate) fn recovers(mut self) -> Outcome {
        self.run.is_in_process = false;
        self.run.fault = None;
        let from = Instant::now();
        loop {
            let ended = self.run.ended();
            let is_done = ended.code == Some(self.done);
            self.outcome.said.push(format!("again: exit {:?}: {}", ended.code, ended.said));
            let is_bug = matches!(ended.code, Some(1 | 101));
            self.outcome.is_false |= is_bug;
            if is_done || is_bug || from.elapsed() > LIMIT || ended.is_hung {
                self.outcome.is_hung |= !is_done;
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.outcome.recovered_in = from.elapsed();
        let found = self.found();
        self.outcome.is_false |= self.done == 0 && !self.outcome.is_hung && !found.is_nothing();
        self.outcome.add(&found, "in the end");
        self.outcome
    }
}
