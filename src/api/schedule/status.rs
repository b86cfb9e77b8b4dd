//! What the controller knows of a schedule, its conditions and their reasons. Pure: the time is passed in. Nothing in it is
//! needed to make the right children but `accountedUntil`, `calendar` and `replacing`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generation::GenerationStatus;

/// Ready=True: the schedule is valid, and migrations are made.
pub const READY: &str = "Ready";
/// Stalled=True: schedule, time zone or template is wrong.
pub const STALLED: &str = "Stalled";
/// How the newest migration ended that has ended.
pub const LAST_RUN_SUCCEEDED: &str = "LastRunSucceeded";
/// Whether the last success belongs to one of the two latest due times.
pub const UP_TO_DATE: &str = "UpToDate";
/// The conditions that the controller writes.
pub const TYPES: [&str; 4] = [READY, STALLED, LAST_RUN_SUCCEEDED, UP_TO_DATE];

/// What the controller knows of a schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MemoryMigrationScheduleStatus {
    /// The generation of the spec that this status is about; -1 before the controller has seen the object.
    pub observed_generation: i64,
    /// Ready (valid, and migrations are made), Stalled (a person must edit the spec), `LastRunSucceeded`, and `UpToDate`
    /// (the last success belongs to one of the two latest due times). The last two are Unknown before the first run ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The newest due time for which a migration was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    /// When a migration is due next; absent while suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<Time>,
    /// The migration that has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Child>,
    /// Due times without a migration: the one before had not ended, or the operator was away. A replaced migration counts,
    /// too. Those in a suspension do not.
    pub missed: i64,
    /// The newest due time without a migration; `missed` counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_missed_time: Option<Time>,
    /// The newest migration that succeeded. It is kept until another one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<ScheduledSuccess>,
    /// The newest migration that has ended, however it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ended: Option<Ended>,
    /// The migration that makes way for the next one (`concurrencyPolicy: Replace`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacing: Option<Child>,
    /// Every due time up to this one is a migration, missed, or in a suspension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounted_until: Option<Time>,
    /// The two latest due times.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub due_times: Vec<Time>,
    /// Copies on the claim, the oldest first; at most 500. Absent without `spec.generations`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub generations: Vec<GenerationStatus>,
    /// How many of the copies in `generations` ended with Ready=True.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good_generations: Option<i64>,
    /// What becomes of generations that are kept no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruning: Option<Pruning>,
    /// The schedule and time zone that these times are of.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub calendar: String,
}

impl Default for MemoryMigrationScheduleStatus {
    fn default() -> Self {
        Self {
            observed_generation: -1,
            conditions: Vec::new(),
            last_schedule_time: None,
            next_schedule_time: None,
            active: None,
            missed: 0,
            last_missed_time: None,
            last_success: None,
            last_ended: None,
            replacing: None,
            accounted_until: None,
            due_times: Vec::new(),
            generations: Vec::new(),
            good_generations: None,
            pruning: None,
            calendar: String::new(),
        }
    }
}

/// A migration that the schedule made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Child {
    /// Its name: that of the schedule and the due time in UTC.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its due time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_time: Option<Time>,
}

/// A migration that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduledSuccess {
    /// The migration's name.
    pub name: String,
    /// Its due time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_time: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// Why it is ready: `Verified`, `VerifiedWithSkips` or `CountsVerified`.
    pub reason: String,
    /// Where it wrote.
    pub target_name: String,
    /// Records that its source held.
    pub records: i64,
    /// SHA-256 over all collections' fingerprints; empty without a full verification.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// Whether its target was identical to its source.
    pub identical: bool,
}

/// What becomes of generations that are kept no longer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Pruning {
    /// Claim and path that the generations are on.
    pub place: String,
    /// Folders that are removed next. They stand here before anything is done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removable: Vec<String>,
    /// What it waits for, or what went wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When the last prune Job ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// Folders that it removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Folders that it did not remove, by what lies on the claim.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// Prune Jobs that failed in a row. The next one comes after 5 minutes, and twice as long after each further one.
    pub failures: i32,
    /// A lock or a Job for pruning is there, or about to be.
    pub working: bool,
    /// A prune Job has looked at the whole claim: all generations are in `generations`.
    pub complete: bool,
    /// The UID of the last prune Job that has ended.
    #[serde(rename = "jobUID", skip_serializing_if = "String::is_empty")]
    pub job_uid: String,
    /// Removed folders whose migration is still there as an object.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<String>,
}

/// A migration that has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Ended {
    /// The migration's name.
    pub name: String,
    /// Its due time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_time: Option<Time>,
    /// Whether it succeeded.
    pub succeeded: bool,
    /// The reason of its conditions.
    pub reason: String,
    /// The message of its conditions, cut to 500 characters.
    pub message: String,
}

/// One condition; it keeps its transition time while its status stays.
#[must_use]
pub fn condition(
    before: &[Condition],
    kind: &str,
    (status, reason, message): (&str, &str, &str),
    generation: i64,
    now: &Time,
) -> Condition {
    let kept = before.iter().find(|c| c.type_ == kind && c.status == status);
    Condition {
        type_: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: Some(generation),
        last_transition_time: kept.map_or_else(|| now.clone(), |c| c.last_transition_time.clone()),
    }
}

/// The status of a condition: True, False or Unknown; None before there is one.
#[must_use]
pub fn said<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a str> {
    conditions.iter().find(|c| c.type_ == kind).map(|c| c.status.as_str())
}
