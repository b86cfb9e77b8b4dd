//! What courtesy is: the pace against simulated targets, on a simulated clock. Slow, bursty, failing above a rate, one that
//! becomes slow, one that others use, and any at all. No target is asked and no time passes.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Adaptive, LANES, Trouble, as_f64, whole};

const TICK: Duration = Duration::from_millis(10);
// no divisor of a second: probes would always meet, or never, what happens once a second
const PROBE: u64 = 23;
const MOST: usize = 1000;
const BOUNDED: Option<f64> = Some(2.0);

/// A target that writes one record after another; everything is per tick of 10 ms.
struct Target {
    /// Records a second that it can write, after so many ticks.
    speed: Box<dyn Fn(u64) -> f64>,
    /// Above this rate of the last second it answers 429.
    fails_above: Option<f64>,
    /// A small read while it is so busy (0 to 1).
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
    /// The largest batch of each second.
    batches: Vec<usize>,
    why: Vec<String>,
}

impl Seen {
    fn speed(&self, seconds: std::ops::Range<usize>) -> f64 {
        let n = seconds.len();
        self.written[seconds].iter().sum::<f64>() / as_f64(n)
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
fn run(target: &Target, slowdown: Option<f64>, seconds: usize) -> Seen {
    let start = Instant::now();
    let mut pace = Adaptive::new(MOST, slowdown, start);
    let mut seen = Seen::default();
    let mut under_way: Vec<Write> = Vec::new();
    let mut busy_ticks = std::collections::VecDeque::from(vec![0.0; 2]);
    let mut rested = 0;
    for tick in 0..(seconds as u64 * 100) {
        let now = start + TICK * u32::try_from(tick).unwrap();
        if tick % 100 == 0 {
            seen.written.push(0.0);
            seen.reads.push(Vec::new());
            seen.batches.push(0);
        }
        while under_way.len() < pace.lanes() && pace.wait(now).is_zero() && !(pace.is_measuring() && tick > 0) {
            let records = pace.records();
            *seen.batches.last_mut().unwrap() = records.max(*seen.batches.last().unwrap());
            pace.started(now, records);
            let second = seen.written.last().copied().unwrap() + as_f64(records);
            if target.fails_above.is_some_and(|most| second > most) {
                seen.failures.push(tick);
                seen.why.extend(pace.failed(now, Trouble::PushedBack));
            } else {
                under_way.push(Write { records, left: as_f64(records) });
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
                *seen.written.last_mut().unwrap() += as_f64(records);
                pace.ended(now, records);
            }
        }
        if tick % PROBE == 0 || (pace.is_measuring() && rested > 25) {
            let busy = busy_ticks.iter().sum::<f64>() / 2.0;
            let took = (target.read)(tick, busy);
            seen.reads.last_mut().unwrap().push(took);
            seen.why.extend(pace.probed(now, took, rested > 25));
        }
    }
    seen
}

#[test]
fn a_patient_target_is_used_fully_with_a_bound_and_without() {
    let target = Target::steady(800.0);
    for (slowdown, from) in [(None, 4), (BOUNDED, 30)] {
        let seen = run(&target, slowdown, 90);
        assert!(seen.speed(from..90) > 0.97 * 800.0, "{slowdown:?}: {:?}", seen.written);
        assert!(seen.why.is_empty(), "{:#?}", seen.why);
        let full = seen.batches[4..].iter().all(|records| *records == MOST || *records == 0);
        assert_eq!(full, slowdown.is_none(), "{:?}", seen.batches);
    }
}

#[test]
fn a_very_slow_target_gets_batches_that_it_ends_soon() {
    let seen = run(&Target::steady(5.0), None, 300);
    assert!(seen.speed(60..300) > 4.5, "{:?}", seen.written);
    assert!(seen.batches[60..].iter().all(|records| *records <= 20), "{:?}", seen.batches);
}

#[test]
fn writes_are_made_shorter_where_a_target_becomes_slow() {
    let target = Target { speed: Box::new(|tick| if tick < 500 { 1500.0 } else { 100.0 }), ..Target::steady(0.0) };
    let seen = run(&target, None, 300);
    assert!(seen.batches[100..].iter().all(|records| *records <= 400), "{:?}", seen.batches);
    assert!(seen.speed(200..300) > 97.0 - 4.0, "{}", seen.speed(200..300));
}

#[test]
fn a_target_whose_reads_get_slow_but_not_noticeably_is_used_fully() {
    let read = |_, busy: f64| Duration::from_millis(3).mul_f64(1.0 + 8.0 * busy);
    let target = Target { read: Box::new(read), ..Target::steady(800.0) };
    let seen = run(&target, BOUNDED, 90);
    assert!(seen.p95(30..90) > Duration::from_millis(25) && seen.speed(30..90) > 0.97 * 800.0, "{:?}", seen.written);
}

#[test]
fn a_target_whose_reads_suffer_is_slowed_down_to_until_they_do_not() {
    // at rest, and beside a write
    for (rests, suffers, bound) in [(3, 60, 28), (40, 200, 80)] {
        let read = move |_, busy: f64| Duration::from_millis(if busy > 0.0 { suffers } else { rests });
        let target = Target { read: Box::new(read), ..Target::steady(800.0) };
        let seen = run(&target, BOUNDED, 300);
        assert!(seen.p95(60..300) <= Duration::from_millis(bound), "{:?} {:#?}", seen.p95(60..300), seen.why);
        assert!(seen.speed(60..300) >= 9.9, "{}", seen.speed(60..300));
        let unbound = run(&target, None, 60);
        assert!(unbound.speed(20..60) > 0.97 * 800.0);
    }
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
    let seen = run(&target, BOUNDED, 240);
    assert!(seen.speed(24..30) < 60.0, "{} {:#?}", seen.speed(24..30), seen.why);
    assert!(seen.speed(90..240) > 150.0, "{} {:#?}", seen.speed(90..240), seen.why);
    assert!(seen.why.iter().any(|why| why.contains("a small read takes")), "{:#?}", seen.why);
}

#[test]
fn a_target_that_fails_above_a_rate_is_kept_below_it() {
    let target = Target { fails_above: Some(400.0), ..Target::steady(800.0) };
    for slowdown in [None, BOUNDED] {
        let seen = run(&target, slowdown, 600);
        let late = seen.failures.iter().filter(|tick| **tick > 12_000).count();
        assert!(late <= 12, "{late} failures after two minutes: {:#?}", seen.why);
        assert!(seen.speed(120..600) > 150.0, "{} {:#?}", seen.speed(120..600), seen.why);
    }
}

#[test]
fn a_failure_is_answered_at_once_and_those_with_it_count_once() {
    let start = Instant::now();
    let mut pace = Adaptive::new(MOST, None, start);
    assert_eq!((pace.records(), pace.lanes()), (100, LANES));
    pace.started(start, 1000);
    for second in 1..=10 {
        pace.ended(start + Duration::from_secs(second), 1000);
    }
    assert_eq!((pace.records(), pace.lanes()), (1000, LANES));
    let mut now = start + Duration::from_secs(10);
    let told = pace.failed(now, Trouble::PushedBack).unwrap();
    assert!(told.contains("come back later") && told.contains("at most 500 records"), "{told}");
    assert_eq!((pace.records(), pace.lanes(), pace.wait(now)), (125, 1, Duration::from_millis(500)));
    assert_eq!(pace.failed(now, Trouble::PushedBack), None);
    for (rate, pause) in [(250, 1), (124, 2), (62, 4), (30, 8), (15, 10)] {
        now += pace.wait(now);
        let told = pace.failed(now, Trouble::Uncertain).unwrap();
        assert!(told.contains(&format!("at most {rate} records a second")), "{told}");
        assert_eq!(pace.wait(now), Duration::from_secs(pause));
    }
}

#[test]
fn after_trouble_the_rate_rises_soon_then_slowly_and_then_soon_again() {
    let mut now = Instant::now();
    let mut pace = Adaptive::new(MOST, None, now);
    pace.started(now, 500);
    now += Duration::from_secs(1);
    pace.ended(now, 500);
    pace.ended(now, 500);
    // at 1,000 records a second
    assert!(pace.failed(now, Trouble::PushedBack).unwrap().contains("at most 500 records a second"));
    let mut rate_after = |speed: usize| {
        pace.started(now, 1);
        now += Duration::from_secs(2);
        pace.ended(now, 2 * speed);
        (whole(pace.rate), pace.lanes())
    };
    assert_eq!([500, 700, 710].map(&mut rate_after), [(700, 1), (710, 1), (720, 1)]);
    for rate in (720..1100).step_by(10) {
        assert_eq!(rate_after(rate), (rate + 10, 1));
    }
    assert_eq!([1100, 1650].map(&mut rate_after), [(1650, 1), (2475, 1)]);
    // two thirds of the rate: it is still the rate that holds the target back, and below that it is not
    assert_eq!(rate_after(1650), (3712, 1));
    assert_eq!(rate_after(1000).1, LANES);
}

#[test]
fn trouble_before_a_speed_is_known_says_nothing_about_one() {
    let now = Instant::now();
    let mut pace = Adaptive::new(MOST, None, now);
    assert!(pace.failed(now, Trouble::Uncertain).unwrap().contains("at most 50 records a second"));
    assert!(pace.troubled.is_infinite());
    let mut bounded = Adaptive::new(MOST, BOUNDED, now);
    for _ in 0..20 {
        assert_eq!(bounded.probed(now, Duration::from_millis(40), true), None);
    }
    let mut probed = || bounded.probed(now, Duration::from_millis(200), false);
    let told = "a small read takes 200.0 ms, and may take 80.0 ms: at most 70 records a second, 17 in a write";
    assert_eq!([probed(), probed()], [None, Some(told.to_owned())]);
}

#[test]
fn a_bounded_rate_rises_only_by_what_small_reads_have_shown() {
    let start = Instant::now();
    for (probes, rises) in [(0, false), (9, false), (10, true)] {
        let mut pace = Adaptive::new(MOST, BOUNDED, start);
        for _ in 0..20 {
            pace.probed(start, Duration::from_millis(3), true);
        }
        let from = pace.records();
        // the twentieth is the first that is held to the bound
        for _ in 1..probes {
            pace.probed(start, Duration::from_millis(3), false);
        }
        pace.probes.truncate(probes);
        pace.started(start, from);
        pace.ended(start + Duration::from_secs(3), 1000);
        assert_eq!(pace.records() > from, rises, "{probes}");
    }
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
        most in 1..6000_usize,
        slowdown in proptest::option::of(prop_oneof![1.0..4.0_f64, Just(f64::MAX)]),
        events in proptest::collection::vec(any_event(), 0..300),
    ) {
        let mut now = Instant::now();
        let mut pace = Adaptive::new(most, slowdown, now);
        let step = |pace: &mut Adaptive, now: Instant, event: &Event| {
            let records = pace.records();
            match event {
                Event::Ended if pace.wait(now).is_zero() => {
                    pace.started(now, records);
                    pace.ended(now, records);
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
            prop_assert!((1..=most).contains(&pace.records()), "{pace:?}");
            prop_assert!((1..=LANES).contains(&pace.lanes()), "{pace:?}");
            prop_assert!(pace.rate >= 1.0, "{pace:?}");
            prop_assert!(pace.wait(now) <= Duration::from_secs(10), "{pace:?}");
        }
        // a target without trouble, for ten minutes
        let end = now + Duration::from_secs(600);
        while now < end {
            now += Duration::from_millis(50);
            step(&mut pace, now, &Event::Ended);
            step(&mut pace, now, &Event::Probed(0, true));
        }
        prop_assert!(pace.rate > 100.0 || most < 100, "{pace:?}");
    }
}
