//! How much to write to a target that others may use: a rate that falls when a write is in trouble or a small read gets
//! slow, and rises again while neither is so. It does not search for speed: batches of 1,000, two at once, are near the
//! best of every Chroma measured (docs/benchmarks.md).
//! Pure: the clock is passed in; nothing is sent, read or slept here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Records of the first batches, and of the first second where small reads are held to a bound.
const START: f64 = 100.0;
/// Writes under way at once while no rate holds them back.
const LANES: usize = 2;
/// Seconds from the start of a write to the start of the next, where there is a rate.
const TURN: f64 = 0.25;
/// A slow read never slows down below this many records a second, in batches of as many: what a fixed pace does by default.
const GENTLEST: f64 = 10.0;
/// Seconds within which all that is under way should be answered, so that errors cost little and a signal is soon obeyed.
const LONGEST: f64 = 8.0;
/// What a small read may take beyond its time on the resting target, whatever the factor: less is not noticed.
const UNNOTICED: Duration = Duration::from_millis(25);
/// Probes that are remembered, and how many of them may be beyond the bound: one of 20 is the p95.
const PROBES: usize = 20;
const OUTLIERS: usize = 1;
/// Probes within the bound before the rate rises.
const CALM: usize = 10;
/// A speed is measured for at least this long.
const PERIOD: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Which kind of trouble a target is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A write without a clear answer: 5xx, timeout, reset.
    Uncertain,
    /// 429.
    PushedBack,
}

/// The pace of writing to one target.
#[derive(Clone, Debug)]
pub struct Adaptive {
    /// Records in one write, at most.
    most: usize,
    /// How many times as long as on the resting target a small read may take, at its 95th percentile; None: any.
    slowdown: Option<f64>,
    /// Records a second, at most; infinite: as fast as they are taken.
    rate: f64,
    /// The rate at which the last trouble began.
    troubled: f64,
    /// By which part of it the rate rises near there, each time.
    care: f64,
    /// Whether the rate has risen since.
    has_risen: bool,
    /// Records a second that were written in the last period; 0 until measured.
    speed: f64,
    period: Instant,
    /// Records and writes that ended in this period.
    ended: (usize, usize),
    /// The last small reads, and those of the resting target.
    probes: VecDeque<Duration>,
    resting: VecDeque<Duration>,
    next_start: Instant,
    /// The end of the pause after a failure, and how many came without a success in between.
    not_before: Instant,
    failures: u32,
}

impl Adaptive {
    /// For batches of at most `most` records. A small read of the target may take `slowdown` times as long as while
    /// nothing is written, and 25 ms more in any case, at its 95th percentile; None: any time.
    #[must_use]
    pub fn new(most: usize, slowdown: Option<f64>, now: Instant) -> Self {
        Self {
            most: most.max(1),
            slowdown,
            rate: if slowdown.is_some() { START } else { f64::INFINITY },
            troubled: f64::INFINITY,
            care: 1.0,
            has_risen: true,
            speed: 0.0,
            period: now,
            ended: (0, 0),
            probes: VecDeque::new(),
            resting: VecDeque::new(),
            next_start: now,
            not_before: now,
            failures: 0,
        }
    }

    /// Records of the next write: those of one turn, and no more than are soon answered.
    #[must_use]
    pub fn records(&self) -> usize {
        let soon = if self.speed > 0.0 { self.speed * LONGEST / as_f64(LANES) } else { START };
        let turn = (self.rate * TURN).max(self.rate.min(GENTLEST));
        whole(soon.min(turn)).clamp(1, self.most)
    }

    /// Writes that may be under way at once.
    #[must_use]
    pub fn lanes(&self) -> usize {
        if self.rate.is_finite() { 1 } else { LANES }
    }

    /// Whether small reads are held to a bound.
    #[must_use]
    pub const fn is_bounded(&self) -> bool {
        self.slowdown.is_some()
    }

    /// Whether probes of the resting target are wanted before more is written than one batch.
    #[must_use]
    pub fn is_measuring(&self) -> bool {
        self.slowdown.is_some() && self.resting.len() < PROBES
    }

    /// How long to wait from `now` on before the next write starts.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        self.next_start.max(self.not_before).saturating_duration_since(now)
    }

    /// A write of so many records starts.
    pub fn started(&mut self, now: Instant, records: usize) {
        if self.ended == (0, 0) {
            // neither a pause nor the measuring of the resting target is slowness
            self.period = now;
        }
        self.next_start = self.next_start.max(now) + self.delay(records);
    }

    /// A write of so many records went well.
    pub fn ended(&mut self, now: Instant, records: usize) {
        if now >= self.not_before {
            self.failures = 0;
        }
        if self.is_measuring() {
            return;
        }
        self.ended = (self.ended.0 + records, self.ended.1 + 1);
        let long = now.saturating_duration_since(self.period);
        let is_long = long >= PERIOD || self.speed == 0.0;
        if is_long && self.ended.1 >= self.lanes() {
            self.speed = as_f64(self.ended.0) / long.as_secs_f64().max(0.1);
            (self.period, self.ended) = (now, (0, 0));
            self.rise(now);
        }
    }

    /// A write failed, or was told to come back later: half the rate, after a pause. What changed, as a sentence.
    pub fn failed(&mut self, now: Instant, trouble: Trouble) -> Option<String> {
        if now < self.not_before {
            // what was under way together fails together
            return None;
        }
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause;
        self.fall(now, 0.5, 1.0, 0.01);
        let what = match trouble {
            Trouble::Uncertain => "a write had no clear answer",
            Trouble::PushedBack => "the target told to come back later",
        };
        Some(format!("{what}: {} after a pause of {:.1} s", self.told(), pause.as_secs_f64()))
    }

    /// A small read of the target took so long; `resting` says that nothing of ours was under way. What changed.
    pub fn probed(&mut self, now: Instant, took: Duration, resting: bool) -> Option<String> {
        if resting {
            push(&mut self.resting, took);
        }
        let bound = self.bound()?;
        push(&mut self.probes, took);
        if self.probes.iter().filter(|took| **took > bound).count() <= OUTLIERS {
            return None;
        }
        let (slow, before) = (p95(&self.probes), self.rate);
        self.fall(now, 0.7, GENTLEST, 0.05);
        let [slow, bound] = [slow, bound].map(|took| took.as_secs_f64() * 1e3);
        (self.rate < before)
            .then(|| format!("a small read takes {slow:.1} ms, and may take {bound:.1} ms: {}", self.told()))
    }

    fn bound(&self) -> Option<Duration> {
        let factor = self.slowdown.filter(|_| !self.is_measuring())?;
        let resting = p95(&self.resting);
        let times = Duration::try_from_secs_f64(resting.as_secs_f64() * factor).unwrap_or(Duration::MAX);
        Some(times.max(resting + UNNOTICED))
    }

    /// To a part of what is sent now, but not below `least`. `care` says how slowly the rate then rises.
    fn fall(&mut self, now: Instant, part: f64, least: f64, care: f64) {
        let written = if self.speed > 0.0 { self.speed } else { START };
        // writes become smaller, too
        let sent = self.rate.min(written).min(as_f64(self.records()) / TURN);
        // before a speed is known, trouble says nothing about one
        if self.speed > 0.0 && std::mem::take(&mut self.has_risen) {
            (self.troubled, self.care) = (sent, care);
        }
        self.set_rate(now, (sent * part).max(least.min(self.rate)));
    }

    /// Raises the rate: soon where there was no trouble, and slowly near that at which there was.
    fn rise(&mut self, now: Instant) {
        if let Some(bound) = self.bound()
            && (self.probes.len() < CALM || self.probes.iter().any(|took| *took > bound))
        {
            return;
        }
        let (rate, near) = (self.rate, self.troubled * 0.7);
        let to = if rate > 1.5 * self.speed {
            // the target is the slower one
            if self.is_bounded() { rate } else { f64::INFINITY }
        } else if rate < near {
            (rate * 1.5).min(near)
        } else if rate < self.troubled * 1.1 {
            rate + self.troubled * self.care
        } else {
            rate * 1.5
        };
        if to > rate {
            self.has_risen = true;
            self.set_rate(now, to);
        }
    }

    /// What was measured at another rate says nothing about this one.
    fn set_rate(&mut self, now: Instant, rate: f64) {
        self.rate = rate;
        self.ended = (0, 0);
        self.probes.clear();
        self.next_start = self.next_start.min(now + self.delay(self.records()));
    }

    /// From the start of a write of so many records to the start of the next.
    fn delay(&self, records: usize) -> Duration {
        Duration::from_secs_f64(as_f64(records) / self.rate)
    }

    fn told(&self) -> String {
        format!("at most {:.0} records a second, {} in a write", self.rate, self.records())
    }
}

fn push(probes: &mut VecDeque<Duration>, took: Duration) {
    if probes.len() == PROBES {
        probes.pop_front();
    }
    probes.push_back(took);
}

/// Of 20, the second largest.
fn p95(probes: &VecDeque<Duration>) -> Duration {
    let mut sorted: Vec<Duration> = probes.iter().copied().collect();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.get(OUTLIERS.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[allow(clippy::cast_precision_loss, reason = "numbers of records are small")]
fn as_f64(n: usize) -> f64 {
    n as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a usize holds")]
fn whole(n: f64) -> usize {
    n.clamp(0.0, 1e6) as usize
}

#[cfg(test)]
mod simulated;
