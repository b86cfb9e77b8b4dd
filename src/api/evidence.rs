//! What becomes of a run's report: `spec.report` and `status.report`. Types only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the report holds that the operator keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportOptions {
    /// Keep both values of each difference, too, shortened: they are parts of memories. Default: false, ids and fields.
    #[serde(default)]
    pub values: bool,
}

/// Where the report of the run is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportStatus {
    /// The `ConfigMap` that holds it, under the key `report.json`.
    pub config_map: String,
}
