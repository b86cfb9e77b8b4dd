//! How fast a run was over its time: a series with a bound. Types only.

use serde::{Deserialize, Serialize};

/// Records over time. Each point covers the same time; the last one may be cut short by the run's end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rate {
    /// Seconds that a point covers: a quarter, and twice as long each time the points no longer fit.
    pub seconds: f64,
    /// In the order of time, from the run's first record on; at most [`Rate::MOST`].
    pub points: Vec<RatePoint>,
}

impl Rate {
    /// The most points.
    pub const MOST: usize = 120;
}

/// Records that were done within one point's time, by the stage that did them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RatePoint {
    /// Read by preflight.
    #[serde(skip_serializing_if = "is_zero")]
    pub preflight: u64,
    /// Written.
    #[serde(skip_serializing_if = "is_zero")]
    pub copying: u64,
    /// Compared.
    #[serde(skip_serializing_if = "is_zero")]
    pub verifying: u64,
    /// Sent once more.
    #[serde(skip_serializing_if = "is_zero")]
    pub repairing: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
