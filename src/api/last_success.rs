//! What a status keeps of the last run that succeeded. Output only.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A run that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LastSuccess {
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// Its `spec.runId`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub run_id: String,
    /// Its `status.runHash`.
    pub run_hash: String,
    /// Where it wrote, as `status.targetName`.
    pub target_name: String,
    /// SHA-256 over all collections' fingerprints; empty without a full verification.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// Records that its source held.
    pub records: i64,
    /// Bytes of the store that it wrote, if that is a generation of a schedule; else 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes: i64,
    /// Whether its target was identical to its source, as `status.verification.identical`.
    pub identical: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero(number: &i64) -> bool {
    *number == 0
}
