//! What becomes of a run's report: `spec.report` and `status.report`. Types only.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the report holds that the operator keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportOptions {
    /// Keep both values of each difference, too, shortened: they are parts of memories. Default: false, ids and fields.
    #[serde(default)]
    pub values: bool,
}

/// Where the report of the run is, or why it is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportStatus {
    /// The `ConfigMap` that holds it, under the key `report.json`. Absent while there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub config_map: String,
    /// Why there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Until when the operator tries again to keep it. Absent once it is kept, or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_until: Option<Time>,
}

impl ReportStatus {
    /// Whether the operator still tries to keep it.
    #[must_use]
    pub fn is_owed(&self) -> bool {
        self.config_map.is_empty() && self.retry_until.is_some()
    }
}
