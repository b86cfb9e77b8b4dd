//! The `MemoryMigrationSchedule` object and its spec: docs with unit, default and example, and the rules that the API
//! server checks. No methods that do I/O. A change here changes crds/: `memory-migration crd` prints it.

#![expect(unreachable_pub, reason = "the schema derive copies each struct into a function")]
#![expect(clippy::duplicated_attributes, reason = "every printer column has a type")]

pub mod calendar;
pub mod check;
pub mod generation;
pub mod status;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::generation::Generations;
use self::status::MemoryMigrationScheduleStatus;
use super::spec::MemoryMigrationSpec;

/// What `kind` says of a schedule.
pub const SCHEDULE_KIND: &str = "MemoryMigrationSchedule";
/// Only a run that writes a claim makes a generation.
const GENERATIONS: &str = "!has(self.generations) || (has(self.template.spec.target.local) && (!has(self.template.spec.mode) || self.template.spec.mode == 'Migrate') && (!has(self.template.spec.dryRun) || !self.template.spec.dryRun))";
/// The CRD's own name.
pub const SCHEDULE_CRD_NAME: &str = "memorymigrationschedules.memory-migration.dev";

/// Makes a `MemoryMigration` at each due time, and says when the last one succeeded.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "memory-migration.dev",
    version = "v1alpha1",
    kind = "MemoryMigrationSchedule",
    namespaced,
    status = "MemoryMigrationScheduleStatus",
    derive = "PartialEq",
    shortname = "memsched",
    category = "memory",
    doc = "Makes a MemoryMigration at each due time: backups that prove themselves, restore drills, comparisons of two servers.",
    printcolumn(
        name = "Schedule",
        type_ = "string",
        json_path = ".spec.schedule",
        description = "When a migration is due"
    ),
    printcolumn(
        name = "Suspended",
        type_ = "boolean",
        json_path = ".spec.suspend",
        description = "Whether no migration is made"
    ),
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = ".status.active.name",
        description = "The migration that has not ended"
    ),
    printcolumn(
        name = "Last-Success",
        type_ = "string",
        json_path = ".status.lastSuccess.scheduleTime",
        description = "The due time of the newest migration that succeeded"
    ),
    printcolumn(
        name = "Success-Age",
        type_ = "date",
        json_path = ".status.lastSuccess.time",
        description = "Time since that migration ended"
    ),
    printcolumn(
        name = "Up-To-Date",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"UpToDate\")].status",
        description = "Whether it belongs to one of the two latest due times"
    ),
    printcolumn(
        name = "Kept",
        type_ = "integer",
        json_path = ".status.goodGenerations",
        description = "Generations whose run ended with Ready=True"
    ),
    printcolumn(
        name = "Missed",
        type_ = "integer",
        json_path = ".status.missed",
        priority = 1,
        description = "Due times without a migration"
    ),
    printcolumn(
        name = "Next",
        type_ = "string",
        json_path = ".status.nextScheduleTime",
        priority = 1,
        description = "The next due time"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(GENERATIONS).message("generations are for copies into a claim: set template.spec.target.local, remove mode: Verify and dryRun; or remove generations"))]
pub struct MemoryMigrationScheduleSpec {
    /// When a migration is due: five fields (minute, hour, day of month, month, day of week), or `@hourly`, `@daily`,
    /// `@weekly`, `@monthly`, `@yearly`. Editing it starts no migration for times that have passed.
    /// Example: `0 2 * * *`, every night at two.
    #[schemars(length(min = 1, max = 100))]
    pub schedule: String,
    /// Whose clock the schedule means: a name of the IANA time zone database. When clocks go forward over a due time, the
    /// migration comes right after; when they go back, a fixed time comes once. Default: `Etc/UTC`.
    /// Example: `Europe/Berlin`.
    #[serde(default = "default_time_zone")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// Make no migrations. Due times that pass meanwhile are not counted as missed. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// What happens if a migration is due while the one before has not ended. `Forbid` (default): the due time is missed.
    /// `Replace`: the one before is deleted, and the new one starts when no Job and pod of it is left.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,
    /// Seconds after a due time in which its migration may still start, for instance when the operator was away. Later it
    /// is missed. Default: none, the newest due time is made whenever that is possible. Example: `3600`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1").message("write a number of seconds from 1, or leave it out for no deadline"))]
    pub starting_deadline_seconds: Option<i64>,
    /// How many migrations that succeeded are kept as objects. The one that `status.lastSuccess` names is always kept. One whose
    /// generation was removed is not. Default: 3.
    #[serde(default = "default_history")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 1000").message("write a number from 0 to 1000; the default is 3"))]
    pub successful_history_limit: i32,
    /// How many migrations that failed are kept as objects. Default: 3.
    #[serde(default = "default_history")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 1000").message("write a number from 0 to 1000; the default is 3"))]
    pub failed_history_limit: i32,
    /// Keep older copies: each due time gets a folder of its own on the claim of `template.spec.target.local`, as
    /// `PATH/20261126T020000Z/chroma`. Default: none, every migration writes the same store.
    /// Example: `{keep: {last: 3, daily: 7, weekly: 4, monthly: 12}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generations: Option<Generations>,
    /// The migration that is made at each due time.
    pub template: MigrationTemplate,
}

/// The migration that is made at each due time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationTemplate {
    /// The migration's labels and annotations. Those of the schedule are not passed on. Default: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: TemplateMetadata,
    /// The migration's spec. `mode: Verify` makes a restore drill, or a regular comparison of two servers.
    pub spec: MemoryMigrationSpec,
}

/// The migration's labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Labels of each migration. Default: none. Example: `{team: search}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of each migration. Default: none. Example: `{owner: search@example.com}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What happens if a migration is due while the one before has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// The due time is missed.
    #[default]
    Forbid,
    /// The one before is deleted.
    Replace,
}

fn default_time_zone() -> String {
    "Etc/UTC".into()
}

const fn default_history() -> i32 {
    3
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
