//! Counts what a run does and publishes it on a watch channel. Knows no terminal and no log.

mod rates;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::rates::Rates;
use crate::report::{Listed, Progress, Rate, Stage};

/// How far back the rate looks.
const HORIZON: Duration = Duration::from_secs(15);

/// Percent at which copying begins, and verification. Both read every record once, and preflight is the quicker one.
const COPYING: u64 = 5;
const VERIFYING: u64 = 50;
/// The verdict is all that is left.
const LAST: u64 = 99;

/// Publishes [`Progress`].
pub struct Tracker {
    sender: watch::Sender<Progress>,
    on_listed: Option<Box<dyn FnOnce(Listed) + Send>>,
    on_overwrites: Option<Box<dyn FnOnce(u64, Duration) + Send>>,
    has_told_of_overwrites: bool,
    /// The run is nothing but a comparison: what is compared is what is done.
    only_compares: bool,
    samples: VecDeque<(Instant, u64)>,
    now: Progress,
    /// Where the comparison was when a repair began.
    interrupted: Option<Progress>,
    /// When the first record was done.
    started: Option<Instant>,
    rates: Rates,
}

impl Tracker {
    /// A tracker and the channel that it publishes on.
    #[must_use]
    pub fn new() -> (Self, watch::Receiver<Progress>) {
        let (sender, receiver) = watch::channel(Progress::default());
        let tracker = Self {
            sender,
            on_listed: None,
            on_overwrites: None,
            has_told_of_overwrites: false,
            only_compares: false,
            samples: VecDeque::new(),
            now: Progress::default(),
            interrupted: None,
            started: None,
            rates: Rates::default(),
        };
        (tracker, receiver)
    }

    /// Calls `told` once with what the source holds, when it was listed.
    pub fn on_listed(&mut self, told: impl FnOnce(Listed) + Send + 'static) {
        self.on_listed = Some(Box::new(told));
    }

    /// Calls `told` once with how many records of the target will be replaced, and after how long.
    pub fn on_overwrites(&mut self, told: impl FnOnce(u64, Duration) + Send + 'static) {
        self.on_overwrites = Some(Box::new(told));
    }

    /// Records of the target will be replaced; whether that is the first time.
    pub(super) fn overwrites(&mut self, records: u64, wait: Duration) -> bool {
        if let Some(told) = self.on_overwrites.take() {
            told(records, wait);
        }
        !std::mem::replace(&mut self.has_told_of_overwrites, true)
    }

    /// The source was listed.
    pub(super) fn listed(&mut self, listed: Listed) {
        if let Some(told) = self.on_listed.take() {
            told(listed);
        }
    }

    /// A stage with so many records to do begins.
    pub fn begin(&mut self, stage: Stage, total: u64) {
        self.samples.clear();
        self.interrupted = self.interrupted.or(Some(self.now)).filter(|_| stage == Stage::Repairing);
        let Progress { of, percent, .. } = self.now;
        // Preflight lists the whole source; `verify` begins with the comparison.
        self.only_compares |= stage == Stage::Verifying && of == 0;
        let of = if stage == Stage::Preflight || of == 0 { total } else { of };
        let done = match stage {
            Stage::Preflight => 0,
            Stage::Verifying if self.only_compares => 0,
            Stage::Copying => of.saturating_sub(total),
            Stage::Indexing | Stage::Verifying | Stage::Repairing => of,
        };
        self.now = Progress { stage, total, done: done.max(self.now.done), of, percent, ..Progress::default() };
        self.publish(Instant::now());
    }

    /// A repair is over: the comparison goes on where it was.
    pub(super) fn repaired(&mut self) {
        let Some(before) = self.interrupted.take() else { return };
        self.samples.clear();
        let Progress { done, of, percent, .. } = self.now;
        self.now = Progress { done, of, percent, records_per_second: 0.0, eta_seconds: None, ..before };
        self.publish(Instant::now());
    }

    /// How fast it was over its time.
    pub(super) fn rate(&self) -> Option<Rate> {
        self.rates.until(self.started?.elapsed())
    }

    /// So many more records are done.
    pub fn advance(&mut self, records: u64) {
        self.advance_at(Instant::now(), records);
    }

    fn advance_at(&mut self, now: Instant, records: u64) {
        let started = *self.started.get_or_insert(now);
        if self.now.records == 0 {
            // what came before, as the start of a server, is no time of its records
            self.samples.clear();
        }
        self.rates.count(self.now.stage, records, now.duration_since(started));
        self.now.records += records;
        if self.now.stage == Stage::Copying || self.only_compares {
            self.now.done = (self.now.done + records).min(self.now.of);
        }
        self.publish(now);
    }

    /// So many more records are to do in this stage.
    pub fn extend(&mut self, records: u64) {
        self.now.total += records;
        self.now.of += records;
    }

    fn publish(&mut self, now: Instant) {
        self.samples.push_back((now, self.now.records));
        while self.samples.len() > 2 && self.samples.front().is_some_and(|(at, _)| now - *at > HORIZON) {
            self.samples.pop_front();
        }
        self.now.records_per_second = rate(&self.samples);
        self.now.eta_seconds = eta(&self.now);
        let percent = if self.only_compares { compared(&self.now) } else { percent(&self.now) };
        self.now.percent = self.now.percent.max(percent);
        self.sender.send_replace(self.now);
    }
}

fn share(records: u64, of: u64, width: u64) -> u64 {
    let share = u128::from(records.min(of)) * u128::from(width) / u128::from(of.max(1));
    u64::try_from(share).unwrap_or(width)
}

/// Percent of a comparison.
fn compared(progress: &Progress) -> u8 {
    u8::try_from(share(progress.records, progress.total, LAST)).unwrap_or(u8::MAX)
}

/// Percent of the whole run by the stage and its records.
fn percent(progress: &Progress) -> u8 {
    let percent = match progress.stage {
        Stage::Preflight => share(progress.records, progress.total, COPYING),
        Stage::Copying => COPYING + share(progress.done, progress.of, VERIFYING - COPYING),
        Stage::Indexing => VERIFYING,
        Stage::Verifying => VERIFYING + share(progress.records, progress.total, LAST - VERIFYING),
        Stage::Repairing => LAST,
    };
    u8::try_from(percent).unwrap_or(u8::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "a rate shown to people")]
fn rate(samples: &VecDeque<(Instant, u64)>) -> f64 {
    match (samples.front(), samples.back()) {
        (Some((start, before)), Some((end, after))) if end > start => {
            let rate = (after - before) as f64 / (*end - *start).as_secs_f64();
            (rate * 10.0).round() / 10.0
        }
        _ => 0.0,
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds left, shown to people"
)]
fn eta(progress: &Progress) -> Option<u64> {
    let left = progress.total.saturating_sub(progress.records) as f64;
    (progress.records_per_second > 0.0).then(|| (left / progress.records_per_second).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_stage_starts_from_nothing() {
        let (mut tracker, receiver) = Tracker::new();
        tracker.begin(Stage::Copying, 10);
        tracker.advance(10);
        tracker.begin(Stage::Verifying, 20);
        let seen = *receiver.borrow();
        assert_eq!((seen.stage, seen.records, seen.total), (Stage::Verifying, 0, 20));
        assert!(seen.records_per_second.abs() < f64::EPSILON);
    }

    /// A person who resumes a run sees what is there already, and numbers that only rise.
    #[test]
    fn the_whole_run_rises_once() {
        let (mut tracker, receiver) = Tracker::new();
        let seen = || {
            let Progress { done, of, percent, .. } = *receiver.borrow();
            (done, of, percent)
        };
        tracker.begin(Stage::Preflight, 2000);
        assert_eq!(seen(), (0, 2000, 0));
        tracker.advance(2000);
        assert_eq!(seen(), (0, 2000, 5));
        tracker.begin(Stage::Copying, 1100);
        assert_eq!(seen(), (900, 2000, 25));
        tracker.advance(600);
        assert_eq!(seen(), (1500, 2000, 38));
        tracker.extend(100);
        tracker.advance(600);
        assert_eq!(seen(), (2100, 2100, 50));
        tracker.begin(Stage::Verifying, 2100);
        assert_eq!(seen(), (2100, 2100, 50));
        tracker.advance(1050);
        assert_eq!(seen(), (2100, 2100, 74));
        tracker.begin(Stage::Repairing, 10);
        tracker.begin(Stage::Verifying, 2100);
        assert_eq!(seen(), (2100, 2100, 99));
    }

    /// With several collections, a comparison goes on after a repair.
    #[test]
    fn a_repair_interrupts_the_comparison() {
        let (mut tracker, receiver) = Tracker::new();
        let seen = || {
            let Progress { stage, records, total, .. } = *receiver.borrow();
            (stage, records, total)
        };
        tracker.begin(Stage::Preflight, 100);
        tracker.repaired();
        assert_eq!(seen(), (Stage::Preflight, 0, 100), "none was made");
        tracker.begin(Stage::Verifying, 100);
        tracker.advance(40);
        tracker.begin(Stage::Repairing, 3);
        tracker.advance(3);
        tracker.begin(Stage::Repairing, 1);
        tracker.repaired();
        assert_eq!(seen(), (Stage::Verifying, 40, 100));
        tracker.advance(60);
        assert_eq!(seen(), (Stage::Verifying, 100, 100));
        let points = tracker.rate().unwrap().points;
        let sum = |of: fn(&crate::report::RatePoint) -> u64| points.iter().map(of).sum::<u64>();
        assert_eq!((sum(|point| point.verifying), sum(|point| point.repairing)), (100, 3));
    }

    /// A tester's finding: "copying: 8 of 949, 19m left". The stage had begun ten seconds before its first record, while servers
    /// were started.
    #[test]
    fn what_comes_before_the_first_record_of_a_stage_is_no_time_of_its_records() {
        let (mut tracker, receiver) = Tracker::new();
        let seen = || {
            let Progress { records, eta_seconds, records_per_second, .. } = *receiver.borrow();
            (records, eta_seconds, records_per_second)
        };
        tracker.begin(Stage::Copying, 949);
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        tracker.advance_at(at(10), 8);
        assert_eq!(seen(), (8, None, 0.0));
        tracker.advance_at(at(12), 200);
        assert_eq!(seen(), (208, Some(8), 100.0));
    }

    #[test]
    fn the_rate_and_what_is_left_come_from_the_samples() {
        let start = Instant::now();
        let samples = VecDeque::from([(start, 0), (start + Duration::from_secs(2), 100)]);
        assert!((rate(&samples) - 50.0).abs() < 1e-9);
        let progress = Progress { records: 100, total: 200, records_per_second: 50.0, ..Progress::default() };
        assert_eq!(eta(&progress), Some(2));
    }
}
