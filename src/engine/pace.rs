//! When the next batch may be sent.
//! Pure: the clock is passed in.

use std::time::{Duration, Instant};

/// A fixed delay from the end of one batch to the start of the next.
#[derive(Clone, Debug)]
pub struct Pace {
    delay: Duration,
    last_end: Option<Instant>,
}

impl Pace {
    /// No delay before the first batch.
    #[must_use]
    pub const fn new(delay: Duration) -> Self {
        Self { delay, last_end: None }
    }

    /// How long to wait from `now` on.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        self.last_end.map_or(Duration::ZERO, |end| (end + self.delay).saturating_duration_since(now))
    }

    /// A batch ended.
    pub fn ended(&mut self, now: Instant) {
        self.last_end = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn batches_are_the_delay_apart_and_the_first_waits_for_nothing(delay in 0..5000_u64, between in 0..9000_u64) {
            let start = Instant::now();
            let mut pace = Pace::new(Duration::from_millis(delay));
            prop_assert_eq!(pace.wait(start), Duration::ZERO);
            pace.ended(start);
            let now = start + Duration::from_millis(between);
            prop_assert_eq!(pace.wait(now), Duration::from_millis(delay.saturating_sub(between)));
        }
    }
}
