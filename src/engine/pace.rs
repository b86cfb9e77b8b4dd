//! When the next batch may be sent, how large it is, and how many may be under way: fixed, or found.
//! Pure: the clock is passed in.

use std::time::{Duration, Instant};

use super::adaptive::{Adaptive, Change, Limits, Trouble};
use super::batch::Bound;
use super::{Options, Pacing};
use crate::store::Capabilities;

/// Writes under way at once, at most, with a pace that is found. More has brought nothing on any Chroma measured.
const LANES: usize = 8;
/// Records and bytes of one body, at most, with a pace that is found: larger ones gain little, and take memory.
const FOUND_RECORDS: usize = 1000;
const FOUND_BYTES: usize = 4 << 20;

/// The pace of one run of writes.
#[derive(Clone, Debug)]
pub struct Pace {
    kind: Kind,
    bytes: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    /// One batch after another, with a delay from the end of one to the start of the next.
    Fixed {
        records: usize,
        delay: Duration,
        last_end: Option<Instant>,
    },
    Found(Box<Adaptive>),
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
                Self { kind, bytes: capabilities.max_body }
            }
            Pacing::Adaptive { slowdown } => {
                let found = Adaptive::new(Limits { records: most.min(FOUND_RECORDS), lanes: LANES, slowdown }, now);
                Self { kind: Kind::Found(Box::new(found)), bytes: capabilities.max_body.min(FOUND_BYTES) }
            }
        }
    }

    /// What one body may hold now.
    #[must_use]
    pub fn bound(&self) -> Bound {
        let records = match &self.kind {
            Kind::Fixed { records, .. } => *records,
            Kind::Found(found) => found.setting().records,
        };
        Bound { records, bytes: self.bytes }
    }

    /// Writes that may be under way at once.
    #[must_use]
    pub fn lanes(&self) -> usize {
        match &self.kind {
            Kind::Fixed { .. } => 1,
            Kind::Found(found) => found.setting().lanes,
        }
    }

    /// How long to wait from `now` on.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        match &self.kind {
            Kind::Fixed { delay, last_end, .. } => {
                last_end.map_or(Duration::ZERO, |end| (end + *delay).saturating_duration_since(now))
            }
            Kind::Found(found) => found.wait(now),
        }
    }

    /// Whether small reads of the target are wanted.
    #[must_use]
    pub fn wants_probes(&self) -> bool {
        matches!(&self.kind, Kind::Found(found) if found.is_bounded())
    }

    /// Whether small reads of the resting target are wanted before anything more is written than one batch.
    #[must_use]
    pub fn wants_rest(&self) -> bool {
        matches!(&self.kind, Kind::Found(found) if found.is_measuring())
    }

    /// A batch starts.
    pub fn started(&mut self, now: Instant, records: usize) {
        if let Kind::Found(found) = &mut self.kind {
            found.started(now, records);
        }
    }

    /// A batch went well.
    pub fn ended(&mut self, now: Instant, records: usize) {
        match &mut self.kind {
            Kind::Fixed { last_end, .. } => *last_end = Some(now),
            Kind::Found(found) => tell(found.ended(now, records)),
        }
    }

    /// A batch is in trouble.
    pub fn failed(&mut self, now: Instant, trouble: Trouble) {
        if let Kind::Found(found) = &mut self.kind {
            tell(found.failed(now, trouble));
        }
    }

    /// A small read took so long.
    pub fn probed(&mut self, now: Instant, took: Duration, resting: bool) {
        if let Kind::Found(found) = &mut self.kind {
            tell(found.probed(now, took, resting));
        }
    }
}

fn tell(change: Option<Change>) {
    if let Some(Change { to, why }) = change {
        tracing::info!("pacing: {to}; {why}");
    }
}

#[cfg(test)]
mod tests {
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
