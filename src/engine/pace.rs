//! When the next batch may be sent, how large it is, and how many may be under way: fixed, or as the target allows.
//! Pure: the clock is passed in.

use std::time::{Duration, Instant};

use super::adaptive::{Adaptive, Trouble};
use super::batch::Bound;
use super::{Options, Pacing};
use crate::chroma::Capabilities;

/// Records and bytes of one body, at most, with an adaptive pace: larger ones gain little, and take memory.
const ADAPTIVE_RECORDS: usize = 1000;
const ADAPTIVE_BYTES: usize = 4 << 20;

/// The pace of one run of writes.
#[derive(Clone, Debug)]
pub struct Pace {
    kind: Kind,
    /// Bytes of one body now.
    bytes: usize,
    /// And where no limit was met.
    most: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    /// One batch after another, with a delay from the end of one to the start of the next.
    Fixed {
        records: usize,
        delay: Duration,
        last_end: Option<Instant>,
    },
    Adaptive(Box<Adaptive>),
}

impl Pace {
    /// As the options say, within what the target takes.
    #[must_use]
    pub fn new(options: &Options, capabilities: &Capabilities, now: Instant) -> Self {
        let most = capabilities.max_batch.max(1);
        match options.pacing {
            Pacing::Fixed => {
                let records = options.batch_size.clamp(1, most);
                let kind = Kind::Fixed { records, delay: options.delay, last_end: None };
                Self { kind, bytes: capabilities.max_body, most: capabilities.max_body }
            }
            Pacing::Adaptive { slowdown } => {
                let adaptive = Adaptive::new(most.min(ADAPTIVE_RECORDS), slowdown, now);
                let bytes = capabilities.max_body.min(ADAPTIVE_BYTES);
                Self { kind: Kind::Adaptive(Box::new(adaptive)), bytes, most: bytes }
            }
        }
    }

    /// What one body may hold now.
    #[must_use]
    pub fn bound(&self) -> Bound {
        let records = match &self.kind {
            Kind::Fixed { records, .. } => *records,
            Kind::Adaptive(adaptive) => adaptive.records(),
        };
        Bound { records, bytes: self.bytes }
    }

    /// Keeps bodies to so many bytes until it is told otherwise.
    pub fn limit(&mut self, bytes: usize) {
        let bytes = bytes.min(self.most);
        if bytes < self.bytes {
            tell(Some(format!(
                "a body was too large for the target or a proxy before it (413): at most {bytes} bytes now"
            )));
        }
        self.bytes = bytes;
    }

    /// Writes that may be under way at once.
    #[must_use]
    pub fn lanes(&self) -> usize {
        match &self.kind {
            Kind::Fixed { .. } => 1,
            Kind::Adaptive(adaptive) => adaptive.lanes(),
        }
    }

    /// How long to wait from `now` on.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        match &self.kind {
            Kind::Fixed { delay, last_end, .. } => {
                // not the sum of end and delay: that can be beyond any clock
                last_end.map_or(Duration::ZERO, |end| delay.saturating_sub(now.saturating_duration_since(end)))
            }
            Kind::Adaptive(adaptive) => adaptive.wait(now),
        }
    }

    /// Whether small reads of the target are wanted.
    #[must_use]
    pub fn wants_probes(&self) -> bool {
        matches!(&self.kind, Kind::Adaptive(adaptive) if adaptive.is_bounded())
    }

    /// Whether small reads of the resting target are wanted before anything more is written than one batch.
    #[must_use]
    pub fn wants_rest(&self) -> bool {
        matches!(&self.kind, Kind::Adaptive(adaptive) if adaptive.is_measuring())
    }

    /// A batch starts.
    pub fn started(&mut self, now: Instant, records: usize) {
        if let Kind::Adaptive(adaptive) = &mut self.kind {
            adaptive.started(now, records);
        }
    }

    /// A batch went well.
    pub fn ended(&mut self, now: Instant, records: usize) {
        match &mut self.kind {
            Kind::Fixed { last_end, .. } => *last_end = Some(now),
            Kind::Adaptive(adaptive) => adaptive.ended(now, records),
        }
    }

    /// A batch is in trouble.
    pub fn failed(&mut self, now: Instant, trouble: Trouble) {
        if let Kind::Adaptive(adaptive) = &mut self.kind {
            tell(adaptive.failed(now, trouble));
        }
    }

    /// A small read took so long.
    pub fn probed(&mut self, now: Instant, took: Duration, resting: bool) {
        if let Kind::Adaptive(adaptive) = &mut self.kind {
            tell(adaptive.probed(now, took, resting));
        }
    }
}

fn tell(change: Option<String>) {
    if let Some(change) = change {
        tracing::info!("pacing: {change}");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;
    use proptest::prelude::*;

    fn capabilities(max_batch: usize, max_body: usize) -> Capabilities {
        Capabilities {
            version: String::new(),
            max_batch,
            max_body,
            base64: true,
            configuration: true,
            schema: true,
            arrays: true,
        }
    }

    /// Found by fuzzing: `--delay 1e19` ended the run by a panic after its first batch.
    #[test]
    fn a_delay_beyond_any_clock_is_waited_for() {
        let start = Instant::now();
        let mut pace =
            Pace::new(&Options { delay: Duration::MAX, ..Options::default() }, &capabilities(100, 1000), start);
        pace.ended(start, 10);
        assert_eq!(pace.wait(start), Duration::MAX);
    }

    fn adaptive(slowdown: Option<f64>, now: Instant) -> Pace {
        let options = Options { pacing: Pacing::Adaptive { slowdown }, ..Options::default() };
        Pace::new(&options, &capabilities(10_000, 1 << 30), now)
    }

    #[test]
    fn a_fixed_body_is_as_large_as_the_target_takes_and_an_adaptive_one_has_a_bound_of_its_own() {
        let now = Instant::now();
        let fixed = Pace::new(&Options { batch_size: 2000, ..Options::default() }, &capabilities(10_000, 1 << 30), now);
        assert_eq!(fixed.bound(), Bound { records: 2000, bytes: 1 << 30 });
        assert_eq!(adaptive(None, now).bound(), Bound { records: 100, bytes: 4_194_304 });
    }

    #[test]
    fn small_reads_are_wanted_where_they_are_held_to_a_bound() {
        let now = Instant::now();
        let wants = |pace: &Pace| (pace.wants_probes(), pace.wants_rest());
        assert_eq!(wants(&Pace::new(&Options::default(), &capabilities(100, 1000), now)), (false, false));
        assert_eq!(wants(&adaptive(None, now)), (false, false));
        let mut bounded = adaptive(Some(2.0), now);
        assert_eq!(wants(&bounded), (true, true));
        (0..20).for_each(|_| bounded.probed(now, Duration::from_millis(3), true));
        assert_eq!(wants(&bounded), (true, false));
    }

    #[test]
    fn a_write_that_started_puts_off_the_next_one() {
        let now = Instant::now();
        let mut bounded = adaptive(Some(2.0), now);
        bounded.started(now, 50);
        assert_eq!(bounded.wait(now), Duration::from_millis(500), "100 records a second");
    }

    /// What is logged meanwhile.
    fn logged(act: impl FnOnce()) -> String {
        let mut file = tempfile::tempfile().unwrap();
        let writer = file.try_clone().unwrap();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.try_clone().unwrap()).finish();
        tracing::subscriber::with_default(subscriber, act);
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_limit_is_told_where_it_is_a_new_one() {
        let mut pace = Pace::new(&Options::default(), &capabilities(100, 1000), Instant::now());
        for (limit, bytes, is_told) in [(500, 500, true), (500, 500, false), (2000, 1000, false), (999, 999, true)] {
            let said = logged(|| pace.limit(limit));
            assert_eq!(pace.bound().bytes, bytes);
            assert_eq!(said.contains("pacing: a body was too large for the target"), is_told, "{limit}: {said}");
            assert_eq!(said.contains(&format!("at most {bytes} bytes now")), is_told, "{limit}: {said}");
        }
    }

    proptest! {
        #[test]
        fn fixed_batches_are_the_delay_apart_and_the_first_waits_for_nothing(delay in 0..5000_u64, between in 0..9000_u64) {
            let start = Instant::now();
            let options = Options { delay: Duration::from_millis(delay), ..Options::default() };
            let mut pace = Pace::new(&options, &capabilities(100, 1000), start);
            prop_assert_eq!((pace.wait(start), pace.lanes()), (Duration::ZERO, 1));
            pace.ended(start, 10);
            let now = start + Duration::from_millis(between);
            prop_assert_eq!(pace.wait(now), Duration::from_millis(delay.saturating_sub(between)));
        }

        #[test]
        fn no_pace_is_beyond_what_the_target_takes(size in 1..50_000_usize, batch in 0..6000_usize, body in 1..1_usize << 27) {
            for pacing in [Pacing::Fixed, Pacing::Adaptive { slowdown: None }] {
                let options = Options { pacing, batch_size: size, ..Options::default() };
                let bound = Pace::new(&options, &capabilities(batch, body), Instant::now()).bound();
                prop_assert!(bound.records >= 1 && bound.records <= batch.max(1) && bound.bytes <= body);
            }
        }
    }
}
