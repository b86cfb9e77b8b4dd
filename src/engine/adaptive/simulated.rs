//! The pace against simulated targets, on a simulated clock: slow, bursty, failing above a rate, and any at all.
//! No target is asked and no time passes.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Adaptive, Limits, Trouble};

const TICK: Duration = Duration::from_millis(10);
// no divisor of a second: probes would always meet, or never, what happens once a second
const PROBE: u64 = 23;
const LIMITS: Limits = Limits { records: 5461, lanes: 8, slowdown: Some(2.0) };

/// A target that writes one record after another; everything is per tick of 10 ms.
struct Target {
    /// Records a second that it can write, after so many ticks.
    speed: Box<dyn Fn(u64) -> f64>,
    /// Above this rate of the last second it answers 503.
    fails_above: Option<f64>,
    /// A small read while it rests, and while it is so busy (0 to 1).
    read: Box<dyn Fn(u64, f64) -> Duration>,
}

impl Target {
    fn steady(speed: f64) -> Self {
        Self { speed: Box::new(move |_| speed), fails_above: None, read: Box::new(|_, _| Duration::from_millis(3)) }
    }
}

/// What a run has shown.
#[derive(Default)]
struct Seen {
    /// Records written in each second.
    written: Vec<f64>,
    /// Small reads of each second.
    reads: Vec<Vec<Duration>>,
    failures: Vec<u64>,
    why: Vec<String>,
}

impl Seen {
    fn speed(&self, seconds: std::ops::Range<usize>) -> f64 {
        let n = seconds.len();
        self.written[seconds].iter().sum::<f64>() / super::as_f64(n)
    }

    fn p95(&self, seconds: std::ops::Range<usize>) -> Duration {
        let mut all: Vec<Duration> = self.reads[seconds].iter().flatten().copied().collect();
        all.sort_unstable();
        all[all.len() * 95 / 100]
    }
}

struct Write {
    records: usize,
    left: f64,
}

/// Writes for so many seconds, as the engine would.
fn run(target: &Target, limits: Limits, seconds: usize) -> Seen {
    let start = Instant::now();
    let mut pace = Adaptive::new(limits, start);
    let mut seen = Seen::default();
    let mut under_way: Vec<Write> = Vec::new();
    let mut busy_ticks = std::collections::VecDeque::from(vec![0.0; 2]);
    let mut rested = 0;
    for tick in 0..(seconds as u64 * 100) {
        let now = start + TICK * u32::try_from(tick).unwrap();
        if tick % 100 == 0 {
            seen.written.push(0.0);
            seen.reads.push(Vec::new());
        }
        let mut changes = Vec::new();
        while under_way.len() < pace.setting().lanes && pace.wait(now).is_zero() && !(pace.is_measuring() && tick > 0) {
            let records = pace.setting().records;
            assert!(records >= 1 && records <= limits.records && pace.setting().lanes <= limits.lanes);
            pace.started(now, records);
            let second = seen.written.last().copied().unwrap() + super::as_f64(records);
            if target.fails_above.is_some_and(|most| second > most) {
                seen.failures.push(tick);
                changes.extend(pace.failed(now, Trouble::Uncertain));
            } else {
                under_way.push(Write { records, left: super::as_f64(records) });
            }
        }
        rested = if under_way.is_empty() { rested + 1 } else { 0 };
        busy_ticks.pop_front();
        busy_ticks.push_back(f64::from(u8::from(!under_way.is_empty())));
        let mut can = (target.speed)(tick) / 100.0;
        while can > 0.0 && !under_way.is_empty() {
            let done = under_way[0].left.min(can);
            under_way[0].left -= done;
            can -= done;
            if under_way[0].left <= 0.0 {
                let Write { records, .. } = under_way.remove(0);
                *seen.written.last_mut().unwrap() += super::as_f64(records);
                changes.extend(pace.ended(now, records));
            }
        }
        if tick % PROBE == 0 || (pace.is_measuring() && rested > 25) {
            let busy = busy_ticks.iter().sum::<f64>() / 2.0;
            let took = (target.read)(tick, busy);
            seen.reads.last_mut().unwrap().push(took);
            changes.extend(pace.probed(now, took, rested > 25));
        }
        seen.why.extend(changes.into_iter().map(|change| format!("{}: {}", change.to, change.why)));
    }
    seen
}

#[test]
fn a_fast_and_patient_target_is_used_fully() {
    let seen = run(&Target::steady(800.0), LIMITS, 60);
    assert!(seen.speed(20..60) > 0.97 * 800.0, "{} {:#?}", seen.speed(20..60), seen.why);
    assert!(seen.failures.is_empty());
}

#[test]
fn without_a_bound_full_batches_come_at_once_but_only_where_they_are_soon_taken() {
    let limits = Limits { slowdown: None, ..LIMITS };
    let fast = run(&Target::steady(1500.0), limits, 2);
    assert!(fast.why.iter().take(3).any(|why| why.starts_with("batches of 1000, 2 at once")), "{:#?}", fast.why);
    // what is under way does not count yet
    assert!(fast.speed(0..2) > 0.97 * 1500.0 - 500.0, "{}", fast.speed(0..2));
    let slow = run(&Target::steady(20.0), limits, 20);
    assert!(!slow.why.iter().any(|why| why.contains("soon taken")), "{:#?}", slow.why);
    let bounded = run(&Target::steady(1500.0), LIMITS, 2);
    assert!(!bounded.why.iter().any(|why| why.contains("soon taken")), "{:#?}", bounded.why);
}

#[test]
fn writes_are_made_shorter_where_a_target_becomes_slow() {
    let limits = Limits { slowdown: None, ..LIMITS };
    let slows = Target { speed: Box::new(|tick| if tick < 500 { 1500.0 } else { 100.0 }), ..Target::steady(0.0) };
    let seen = run(&slows, limits, 300);
    let last = seen.why.last().unwrap();
    assert!(last.starts_with("batches of 1000, 1 at once") && last.contains("long writes"), "{:#?}", seen.why);
    assert!(seen.speed(200..300) > 97.0 - 10.0, "{}", seen.speed(200..300));
}

#[test]
fn a_very_slow_target_gets_batches_that_it_ends_soon() {
    let limits = Limits { slowdown: None, ..LIMITS };
    let seen = run(&Target::steady(5.0), limits, 300);
    assert!(seen.speed(60..300) > 4.5, "{:#?}", seen.why);
}

#[test]
fn a_target_whose_reads_suffer_is_slowed_down_to_until_they_do_not() {
    let read = |_, busy: f64| Duration::from_millis(3).mul_f64(1.0 + 9.0 * busy);
    let target = Target { read: Box::new(read), ..Target::steady(800.0) };
    let seen = run(&target, LIMITS, 300);
    assert!(seen.p95(60..300) <= Duration::from_millis(7), "{:?} {:#?}", seen.p95(60..300), seen.why);
    assert!(seen.speed(60..300) >= 10.0, "{}", seen.speed(60..300));
    let unbound = run(&target, Limits { slowdown: None, ..LIMITS }, 60);
    assert!(unbound.speed(20..60) > 0.97 * 800.0);
}

#[test]
fn a_bursty_target_is_left_alone_in_its_bursts_and_used_after_them() {
    // others use it for ten seconds of each minute: it is ten times slower then
    let in_burst = |tick: u64| (2000..3000).contains(&(tick % 6000));
    let target = Target {
        speed: Box::new(move |tick| if in_burst(tick) { 80.0 } else { 800.0 }),
        fails_above: None,
        read: Box::new(move |tick, busy| Duration::from_millis(if in_burst(tick) && busy > 0.3 { 60 } else { 3 })),
    };
    let seen = run(&target, LIMITS, 240);
    assert!(seen.speed(24..30) < 60.0, "{} {:#?}", seen.speed(24..30), seen.why);
    assert!(seen.speed(90..240) > 150.0, "{} {:#?}", seen.speed(90..240), seen.why);
    assert!(seen.why.iter().any(|why| why.contains("a small read takes")), "{:#?}", seen.why);
}

#[test]
fn a_target_that_fails_above_a_rate_is_kept_below_it() {
    let target = Target { fails_above: Some(400.0), ..Target::steady(800.0) };
    let seen = run(&target, LIMITS, 600);
    let late = seen.failures.iter().filter(|tick| **tick > 12_000).count();
    assert!(late <= 12, "{late} failures after two minutes: {:#?}", seen.why);
    assert!(seen.speed(120..600) > 150.0, "{} {:#?}", seen.speed(120..600), seen.why);
}

#[test]
fn a_failure_is_answered_at_once_and_those_with_it_count_once() {
    let start = Instant::now();
    let mut pace = Adaptive::new(Limits { slowdown: None, ..LIMITS }, start);
    let change = pace.failed(start, Trouble::PushedBack).unwrap();
    assert_eq!((change.to.records, change.to.lanes), (50, 1));
    assert!(change.why.contains("come back later") && pace.wait(start) >= Duration::from_millis(500));
    assert_eq!(pace.failed(start, Trouble::PushedBack), None);
    let later = start + Duration::from_millis(600);
    pace.failed(later, Trouble::Uncertain).unwrap();
    assert!(pace.wait(later) >= Duration::from_secs(1), "{:?}", pace.wait(later));
}

#[derive(Clone, Debug)]
enum Event {
    Ended,
    Failed,
    Probed(u64, bool),
    Passed(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Ended),
        1 => Just(Event::Failed),
        2 => (0..500_u64, any::<bool>()).prop_map(|(ms, resting)| Event::Probed(ms, resting)),
        2 => (0..5000_u64).prop_map(Event::Passed),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_limits_hold_and_a_healthy_target_is_used_again(
        records in 1..6000_usize,
        lanes in 1..9_usize,
        slowdown in proptest::option::of(1.0..4.0_f64),
        events in proptest::collection::vec(any_event(), 0..300),
    ) {
        let mut now = Instant::now();
        let limits = Limits { records, lanes, slowdown };
        let mut pace = Adaptive::new(limits, now);
        let step = |pace: &mut Adaptive, now: Instant, event: &Event| {
            let setting = pace.setting();
            match event {
                Event::Ended if pace.wait(now).is_zero() => {
                    pace.started(now, setting.records);
                    pace.ended(now, setting.records);
                }
                Event::Failed => drop(pace.failed(now, Trouble::Uncertain)),
                Event::Probed(ms, resting) => drop(pace.probed(now, Duration::from_millis(*ms), *resting)),
                Event::Ended | Event::Passed(_) => {}
            }
        };
        for event in &events {
            if let Event::Passed(ms) = event {
                now += Duration::from_millis(*ms);
            }
            step(&mut pace, now, event);
            let setting = pace.setting();
            prop_assert!((1..=records).contains(&setting.records), "{setting:?}");
            prop_assert!((1..=lanes).contains(&setting.lanes), "{setting:?}");
            prop_assert!(setting.rate.is_none_or(|rate| rate >= 1.0), "{setting:?}");
            prop_assert!(pace.wait(now) <= Duration::from_secs(10), "{:?}", pace.wait(now));
        }
        // a target without trouble, for ten minutes
        let end = now + Duration::from_secs(600);
        while now < end {
            now += Duration::from_millis(50);
            step(&mut pace, now, &Event::Ended);
            step(&mut pace, now, &Event::Probed(0, true));
        }
        prop_assert!(pace.setting().rate.is_none_or(|rate| rate > 100.0), "{:?}", pace.setting());
    }
}
