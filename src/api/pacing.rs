//! How writes are paced: `spec.pacing`. Types, docs, rules and the defaults of the fields. Pure.

#![expect(unreachable_pub, reason = "the schema derive copies each struct into a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Records in one request.
const BATCH_SIZE: i32 = 10;
/// The pause between two requests.
const DELAY: &str = "1s";
/// How many times as long as at rest a small read may take.
const MAX_SLOWDOWN: &str = "2";

/// The default of the whole object is filled in by the API server, so that `kubectl apply` of `{mode: Adaptive}` onto an
/// object that had none leaves its two fields there (measured on Kubernetes 1.36): a value that is the default is no
/// mistake.
const FITS_ADAPTIVE: &str = "self.mode != 'Adaptive' \
    || ((!has(self.batchSize) || self.batchSize == 10) && (!has(self.delay) || self.delay == '1s'))";

/// How to pace writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(FITS_ADAPTIVE).message("batchSize and delay are for mode: Fixed: remove them, Adaptive finds both by itself"))]
#[x_kube(validation = Rule::new("self.mode != 'Fixed' || !has(self.maxSlowdown)").message("maxSlowdown is for mode: Adaptive: remove it, or set mode: Adaptive"))]
pub struct Pacing {
    /// Fixed (default): use `batchSize` and `delay`. Adaptive: go as fast as the target allows without errors, and
    /// without slowing other clients' reads by more than `maxSlowdown`; at least 10 records a second.
    #[serde(default)]
    pub mode: PacingMode,
    /// With Fixed: records in one request. A server's own maximum (5461 for Chroma 1.x) and 40 MiB limit it further.
    /// Default: 10. Example: `1000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 41666").message("write a number of records from 1 to 41666, the most that any Chroma server takes in one request; the default is 10"))]
    pub batch_size: Option<i32>,
    /// With Fixed: the pause between two requests, as a number and ms, s, m or h. Default: `1s`. Example: `500ms`; `0s`
    /// for no pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,9}(ms|s|m|h))+$')").message("write a duration, a number with ms, s, m or h, as in 500ms, 1s or 1m30s; 0s for no pause"))]
    #[schemars(length(min = 2, max = 32))]
    pub delay: Option<String>,
    /// With Adaptive: slow down when other clients' reads take this many times as long as on the idle server (95th
    /// percentile), and at least 25 ms longer. Default: `"2"`. Example: `"1.5"`; `none` for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == 'none' || (self.matches('^[0-9]{1,6}([.][0-9]{1,6})?$') && double(self) > 1.0)").message("write a number above 1 in quotes, as \"2\" for twice as long, or none for no limit"))]
    #[schemars(length(min = 1, max = 16))]
    pub max_slowdown: Option<String>,
}

/// Who decides on batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PacingMode {
    /// The manifest.
    #[default]
    Fixed,
    /// The target's errors and the latency of small reads.
    Adaptive,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            mode: PacingMode::Fixed,
            batch_size: Some(BATCH_SIZE),
            delay: Some(DELAY.to_owned()),
            max_slowdown: None,
        }
    }
}

impl Pacing {
    /// Records in one request.
    #[must_use]
    pub fn batch_size(&self) -> i32 {
        self.batch_size.unwrap_or(BATCH_SIZE)
    }

    /// The pause between two requests, as it is written.
    #[must_use]
    pub fn delay(&self) -> &str {
        self.delay.as_deref().unwrap_or(DELAY)
    }

    /// How many times as long as at rest a small read may take, or `none`.
    #[must_use]
    pub fn max_slowdown(&self) -> &str {
        self.max_slowdown.as_deref().unwrap_or(MAX_SLOWDOWN)
    }
}
