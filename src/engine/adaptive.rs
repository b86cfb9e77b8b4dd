//! Finds how much to write at once from what the target shows: its speed, the latency of a small read, its errors.
//! Pure: the clock is passed in; nothing is sent, read or slept here.

mod setting;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use self::setting::{Change, Setting};

/// Records of the first batches: near the best of every Chroma measured, and soon done.
const START: usize = 100;
/// Where nobody else uses the target, these are reached as soon as their answers may take no longer than so many seconds:
/// Chroma 1.5.9 is the faster the more it applies at once (docs/benchmarks.md), and each is held until it is answered.
const SPRINT: (usize, usize) = (1000, 2);
const LONGEST_SPRINT: f64 = 8.0;
/// Records a second that a slow read never makes it slower than: what a fixed pace does by default.
const GENTLEST: f64 = 10.0;
/// Records in one write of that pace.
const GENTLEST_BATCH: usize = 10;
/// Probes that are remembered, and how many of them may be beyond the bound: one of 20 is the p95.
const PROBES: usize = 20;
const OUTLIERS: usize = 1;
/// Probes within the bound before it is tried to be faster again.
const CALM: usize = 10;
/// A period is at least this long, so that a speed is worth comparing.
const PERIOD: Duration = Duration::from_secs(2);
/// What more pressure must bring, to be kept.
const GAIN: f64 = 1.03;
/// No write is made to take longer, so that errors cost little and a termination signal is soon obeyed.
const LONGEST_WRITE: f64 = 4.0;
/// No delay is made longer, so that a recovery shows.
const LONGEST_DELAY: f64 = 5.0;
/// How long a speed at which the target was in trouble is kept away from, and how long a found setting is kept.
const MEMORY: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is never exceeded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records in one write, at least 1.
    pub records: usize,
    /// Writes under way at once, at least 1.
    pub lanes: usize,
    /// How many times as long as on the resting target a small read may take, at its 95th percentile; None: any.
    pub slowdown: Option<f64>,
}

/// Which kind of trouble a target is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A write without a clear answer: 5xx, timeout, reset.
    Uncertain,
    /// 429.
    PushedBack,
}

/// More pressure that is being tried, with the setting to go back to and its speed.
#[derive(Clone, Copy, Debug)]
struct Trial {
    back: Setting,
    speed: f64,
    kind: Kind,
}

/// A speed at which the target was in trouble.
#[derive(Clone, Copy, Debug)]
struct Troubled {
    speed: f64,
    when: Instant,
    by_errors: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Records,
    Lanes,
}

/// The pace of writing to one target.
#[derive(Clone, Debug)]
pub struct Adaptive {
    limits: Limits,
    now: Setting,
    /// The p95 of the small read on the resting target; None until measured.
    resting: Option<Duration>,
    probes: VecDeque<Duration>,
    resting_probes: VecDeque<Duration>,
    period: Instant,
    records: usize,
    writes: usize,
    speed: f64,
    next_start: Instant,
    not_before: Instant,
    failures: u32,
    /// Periods without trouble since the last one: the longer, the larger the steps back.
    calm: i32,
    troubled: Option<Troubled>,
    trial: Option<Trial>,
    next_trial: Option<(Kind, Instant)>,
    /// Whether it may still be raised as soon as answers come.
    sprints: bool,
}

impl Adaptive {
    /// Starts with one small batch after another.
    #[must_use]
    pub fn new(limits: Limits, now: Instant) -> Self {
        let limits = Limits { records: limits.records.max(1), lanes: limits.lanes.max(1), ..limits };
        let first = Setting { records: START.min(limits.records), lanes: limits.lanes.min(2), rate: None };
        Self {
            limits,
            now: first,
            resting: None,
            probes: VecDeque::new(),
            resting_probes: VecDeque::new(),
            period: now,
            records: 0,
            writes: 0,
            speed: 0.0,
            next_start: now,
            not_before: now,
            failures: 0,
            calm: 0,
            troubled: None,
            trial: None,
            next_trial: Some((Kind::Records, now)),
            sprints: limits.slowdown.is_none(),
        }
    }

    /// How to write now.
    #[must_use]
    pub fn setting(&self) -> Setting {
        let lanes = if self.is_measuring() { 1 } else { self.now.lanes };
        Setting { lanes, ..self.now }
    }

    /// Whether probes of the resting target are wanted before more is written than one batch.
    #[must_use]
    pub fn is_measuring(&self) -> bool {
        self.limits.slowdown.is_some() && self.resting.is_none()
    }

    /// Whether small reads are held to a bound.
    #[must_use]
    pub const fn is_bounded(&self) -> bool {
        self.limits.slowdown.is_some()
    }

    /// How long to wait from `now` on before the next write starts.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        self.next_start.max(self.not_before).saturating_duration_since(now)
    }

    /// A write of so many records starts.
    pub fn started(&mut self, now: Instant, records: usize) {
        self.next_start = self.next_start.max(now) + self.now.delay(records);
    }

    /// A write of so many records went well.
    pub fn ended(&mut self, now: Instant, records: usize) -> Option<Change> {
        self.records += records;
        self.writes += 1;
        // before each lane has answered it is too early to tell a speed
        if self.writes >= self.now.lanes
            && let Some(to) = self.sprint(now)
        {
            return self.change(now, to, "it was soon taken".to_owned());
        }
        let long = now.saturating_duration_since(self.period);
        if long < PERIOD || self.writes < 2 * self.now.lanes {
            return None;
        }
        self.speed = self.speed_until(now);
        self.failures = 0;
        self.begin_period(now);
        match self.now.rate {
            Some(rate) => self.recover(now, rate),
            None => self.climb(now),
        }
    }

    /// A write failed, or was told to come back later: backs off at once.
    pub fn failed(&mut self, now: Instant, trouble: Trouble) -> Option<Change> {
        if now < self.not_before {
            // what was under way together fails together
            return None;
        }
        let speed = self.pressure(now);
        self.remember(now, speed, true);
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause;
        let rate = (speed / 2.0).max(1.0);
        let records = (self.now.records / 2).min(records_in(LONGEST_DELAY, rate)).max(1);
        let to = Setting { records, lanes: 1, rate: Some(rate) };
        let what = match trouble {
            Trouble::Uncertain => "a write had no clear answer",
            Trouble::PushedBack => "the target told to come back later",
        };
        let change = self.change(now, to, format!("{what}; pausing for {:.1} s", pause.as_secs_f64()));
        // the pause is no slowness of the target
        self.period = self.not_before;
        change
    }

    /// A small read of the target took so long; `resting` says that nothing of ours was under way.
    pub fn probed(&mut self, now: Instant, took: Duration, resting: bool) -> Option<Change> {
        if resting {
            push(&mut self.resting_probes, took);
            self.resting = (self.resting_probes.len() >= PROBES).then(|| p95(&self.resting_probes)).or(self.resting);
        }
        let bound = self.bound()?;
        push(&mut self.probes, took);
        if self.probes.iter().filter(|took| **took > bound).count() <= OUTLIERS {
            return None;
        }
        let speed = self.pressure(now);
        let rate = (speed * 0.7).max(GENTLEST);
        let records = (self.now.records / 2).min(records_in(LONGEST_DELAY, rate)).max(GENTLEST_BATCH);
        let records = records.min(self.now.records);
        let to = Setting { records, lanes: 1, rate: Some(rate) };
        self.remember(now, speed, false);
        let (worst, bound) = (p95(&self.probes).as_secs_f64() * 1e3, bound.as_secs_f64() * 1e3);
        self.change(now, to, format!("a small read takes {worst:.1} ms, and may take {bound:.1} ms"))
    }

    /// As much as the speed so far allows, while nothing speaks against it.
    fn sprint(&mut self, now: Instant) -> Option<Setting> {
        let lanes = SPRINT.1.max(self.now.lanes).min(self.limits.lanes);
        let records =
            (records_in(LONGEST_SPRINT, self.speed_until(now)) / lanes).min(SPRINT.0).min(self.limits.records);
        let to = Setting { records, lanes, ..self.now };
        self.sprints = self.sprints && records >= self.now.records && to != self.now;
        self.sprints.then_some(to)
    }

    fn bound(&self) -> Option<Duration> {
        Some(self.resting?.mul_f64(self.limits.slowdown?))
    }

    /// Slowed down before: faster again in growing steps, and with care near the speed at which there was trouble.
    fn recover(&mut self, now: Instant, rate: f64) -> Option<Change> {
        if self.bound().is_some_and(|bound| self.probes.len() < CALM || self.probes.iter().any(|took| *took > bound)) {
            return None;
        }
        let near = self.troubled.map_or(f64::INFINITY, |troubled| troubled.speed * 0.9);
        let faster = match self.troubled {
            _ if rate < near * 0.99 => (rate * 1.15_f64.powi(self.calm + 1).min(2.0)).min(near),
            Some(Troubled { by_errors: true, when, .. }) if now.saturating_duration_since(when) < MEMORY => {
                return None;
            }
            _ => rate * 1.05,
        };
        self.calm = self.calm.saturating_add(1).min(10);
        let records = records_in(0.25, faster).min(START).min(self.limits.records).max(self.now.records);
        let mut to = Setting { records, lanes: self.now.lanes, rate: Some(faster) };
        if self.speed < rate * 0.8 {
            // the target is the slower one: no delay of ours is needed
            to = Setting { lanes: self.limits.lanes.min(2), rate: None, ..to };
            (self.next_trial, self.troubled) = (Some((Kind::Records, now)), None);
        }
        self.change(now, to, "the target keeps up".to_owned())
    }

    /// At full speed: tries more records in a write, then more writes at once, and keeps what is faster.
    fn climb(&mut self, now: Instant) -> Option<Change> {
        if let Some(Trial { back, speed, kind }) = self.trial.take() {
            if self.speed < speed * GAIN {
                self.next_trial = match kind {
                    Kind::Records => Some((Kind::Lanes, now)),
                    Kind::Lanes => Some((Kind::Records, now + MEMORY)),
                };
                let why = format!("{:.0} records a second instead of {speed:.0} is no gain", self.speed);
                return self.change(now, back, why);
            }
            self.next_trial = Some((kind, now));
        }
        if let Some(to) = self.less() {
            let why = format!("{:.0} records a second make long writes", self.speed);
            return self.change(now, to, why);
        }
        let (kind, _) = self.next_trial.filter(|(_, when)| *when <= now)?;
        let Some(to) = self.more(kind) else {
            self.next_trial = match kind {
                Kind::Records => Some((Kind::Lanes, now)),
                Kind::Lanes => Some((Kind::Records, now + MEMORY)),
            };
            return None;
        };
        self.trial = Some(Trial { back: self.now, speed: self.speed, kind });
        self.change(now, to, format!("trying to be faster than {:.0} records a second", self.speed))
    }

    fn more(&self, kind: Kind) -> Option<Setting> {
        let to = match kind {
            Kind::Records => Setting { records: (self.now.records * 2).min(self.limits.records), ..self.now },
            Kind::Lanes => Setting { lanes: (self.now.lanes + 1).min(self.limits.lanes), ..self.now },
        };
        (to != self.now && self.seconds_of(to) <= LONGEST_WRITE).then_some(to)
    }

    /// Half of it, once a write takes twice as long as a sprint may make it: an index grows, a machine gets other work.
    fn less(&self) -> Option<Setting> {
        let Setting { records, lanes, .. } = self.now;
        let to = if lanes > 1 {
            Setting { lanes: lanes / 2, ..self.now }
        } else {
            Setting { records: records.div_ceil(2), ..self.now }
        };
        (to != self.now && self.seconds_of(self.now) > 2.0 * LONGEST_SPRINT).then_some(to)
    }

    /// How long a write takes with this setting, at the speed of the last period.
    fn seconds_of(&self, setting: Setting) -> f64 {
        as_f64(setting.records * setting.lanes) / self.speed.max(1.0)
    }

    fn change(&mut self, now: Instant, to: Setting, why: String) -> Option<Change> {
        self.begin_period(now);
        self.probes.clear();
        self.next_start = self.next_start.min(now + to.delay(to.records));
        if to.rate.is_some() {
            (self.trial, self.sprints) = (None, false);
        }
        let changed = to != self.now;
        self.now = to;
        changed.then_some(Change { to, why })
    }

    fn begin_period(&mut self, now: Instant) {
        (self.period, self.records, self.writes) = (now, 0, 0);
    }

    /// Keeps the speed at which trouble began; what is slower and still in trouble tells less.
    fn remember(&mut self, when: Instant, speed: f64, by_errors: bool) {
        let began = self.troubled.filter(|_| self.calm == 0).map_or(speed, |troubled| troubled.speed.max(speed));
        self.troubled = Some(Troubled { speed: began, when, by_errors });
        self.calm = 0;
    }

    /// Records a second that are sent now, about.
    fn pressure(&self, now: Instant) -> f64 {
        let known = if self.speed > 0.0 { self.speed } else { self.speed_until(now).max(as_f64(self.now.records)) };
        self.now.rate.unwrap_or(known)
    }

    fn speed_until(&self, now: Instant) -> f64 {
        as_f64(self.records) / now.saturating_duration_since(self.period).as_secs_f64().max(0.1)
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
fn records_in(seconds: f64, rate: f64) -> usize {
    (rate * seconds).clamp(1.0, 1e6) as usize
}

#[cfg(test)]
mod simulated;
