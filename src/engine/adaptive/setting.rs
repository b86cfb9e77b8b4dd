//! One setting of the adaptive pace, and why it changed, as the log says it. Decides nothing.

use std::fmt;
use std::time::Duration;

use super::as_f64;

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Records in one write.
    pub records: usize,
    /// Writes under way at once.
    pub lanes: usize,
    /// Records a second, at most; None: as fast as they are taken.
    pub rate: Option<f64>,
}

impl Setting {
    /// From the start of a write of so many records to the start of the next.
    pub(super) fn delay(&self, records: usize) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(as_f64(records) / rate))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, lanes, rate } = self;
        write!(f, "batches of {records}, {lanes} at once")?;
        match rate {
            Some(_) => write!(f, ", one every {:.0} ms", self.delay(*records).as_secs_f64() * 1e3),
            None => write!(f, ", no delay"),
        }
    }
}

/// One change of the setting, for the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The setting from now on.
    pub to: Setting,
    /// Why, as a sentence.
    pub why: String,
}
