//! Counts records by time, in a bounded number of points: where they no longer fit, two become one. Pure: the time is passed
//! in, as what has passed since the first record.

use std::time::Duration;

use crate::report::{Rate, RatePoint, Stage};

/// The time of a point at first.
const FIRST: Duration = Duration::from_millis(250);

/// The series so far.
#[derive(Debug)]
pub(super) struct Rates {
    each: Duration,
    points: Vec<RatePoint>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { each: FIRST, points: Vec::new() }
    }
}

impl Rates {
    /// So many records were done by this stage.
    pub(super) fn count(&mut self, stage: Stage, records: u64, passed: Duration) {
        let Some(point) = self.at(passed) else { return };
        let number = match stage {
            Stage::Preflight => &mut point.preflight,
            Stage::Copying => &mut point.copying,
            // the server's work on records that were counted when they were written
            Stage::Indexing => return,
            Stage::Verifying => &mut point.verifying,
            Stage::Repairing => &mut point.repairing,
        };
        *number = number.saturating_add(records);
    }

    /// The series up to now; None where no record was done.
    pub(super) fn until(&self, passed: Duration) -> Option<Rate> {
        if self.points.is_empty() {
            return None;
        }
        let mut all = Self { each: self.each, points: self.points.clone() };
        all.at(passed)?;
        Some(Rate { seconds: all.each.as_secs_f64(), points: all.points })
    }

    /// The point of this time.
    fn at(&mut self, passed: Duration) -> Option<&mut RatePoint> {
        let place = |each: Duration| usize::try_from(passed.as_nanos() / each.as_nanos().max(1)).unwrap_or(usize::MAX);
        while place(self.each) >= Rate::MOST {
            self.each = self.each.checked_mul(2)?;
            self.points = self.points.chunks(2).map(sum).collect();
        }
        // a clock that is set back counts as the newest time
        let at = place(self.each).max(self.points.len().saturating_sub(1));
        self.points.resize(at + 1, RatePoint::default());
        self.points.get_mut(at)
    }
}

fn sum(points: &[RatePoint]) -> RatePoint {
    points.iter().fold(RatePoint::default(), |sum, point| {
        let RatePoint { preflight, copying, verifying, repairing } = *point;
        RatePoint {
            preflight: sum.preflight.saturating_add(preflight),
            copying: sum.copying.saturating_add(copying),
            verifying: sum.verifying.saturating_add(verifying),
            repairing: sum.repairing.saturating_add(repairing),
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_run_has_points_of_a_quarter_of_a_second() {
        let mut rates = Rates::default();
        assert_eq!(rates.until(Duration::from_secs(3)), None, "nothing was done");
        rates.count(Stage::Preflight, 5, Duration::ZERO);
        rates.count(Stage::Copying, 7, Duration::from_millis(249));
        rates.count(Stage::Copying, 9, Duration::from_millis(600));
        let (first, third) = (
            RatePoint { preflight: 5, copying: 7, ..RatePoint::default() },
            RatePoint { copying: 9, ..RatePoint::default() },
        );
        let points = vec![first, RatePoint::default(), third, RatePoint::default()];
        assert_eq!(
            rates.until(Duration::from_millis(999)),
            Some(Rate { seconds: 0.25, points }),
            "the end, too, is shown"
        );
    }

    #[test]
    fn two_points_become_one_where_they_no_longer_fit() {
        let mut rates = Rates::default();
        for second in 0..3600 {
            rates.count(Stage::Copying, 10, Duration::from_secs(second));
        }
        let rate = rates.until(Duration::from_secs(3599)).unwrap();
        assert!((rate.seconds - 32.0).abs() < f64::EPSILON, "{}", rate.seconds);
        assert_eq!(rate.points.len(), 113);
        assert!(rate.points[..112].iter().all(|point| point.copying == 320), "{rate:?}");
    }

    proptest! {
        /// Whatever comes when: nothing is lost or made up, the bound holds, and no record lies after its time.
        #[test]
        fn every_record_is_counted_once(
            steps in proptest::collection::vec((0..4_u8, 0..1_000_000_u64, 0..90_000_000_u64), 0..60), end in 0..9_000_000_u64,
        ) {
            let (mut rates, mut passed, mut sums) = (Rates::default(), Duration::ZERO, [0_u64; 4]);
            for (stage, records, after) in steps {
                passed += Duration::from_millis(after);
                let stages = [Stage::Preflight, Stage::Copying, Stage::Verifying, Stage::Repairing];
                rates.count(stages[usize::from(stage)], records, passed);
                sums[usize::from(stage)] += records;
            }
            let ended = passed + Duration::from_millis(end);
            let Some(rate) = rates.until(ended) else { return Ok(()) };
            prop_assert!(rate.points.len() <= Rate::MOST, "{}", rate.points.len());
            let covered = Duration::from_secs_f64(rate.seconds) * u32::try_from(rate.points.len()).unwrap();
            prop_assert!(covered >= ended && covered <= ended + Duration::from_secs_f64(rate.seconds));
            let all = sum(&rate.points);
            prop_assert_eq!([all.preflight, all.copying, all.verifying, all.repairing], sums);
        }
    }
}
