//! The status types. Output only: nothing branches on `phase`. Numbers are i64, for Kubernetes knows no unsigned ones.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evidence::ReportStatus;
pub use super::last_success::LastSuccess;
use super::listed::ListedStatus;
pub use super::phase::Phase;
use super::search::SearchStatus;
use crate::report;

/// Collections that the status lists; more are only in the report.
pub const MAX_COLLECTIONS: usize = 50;

/// What the controller knows of a migration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MemoryMigrationStatus {
    /// The generation of the spec that this status describes. -1: the controller has not seen the object yet.
    pub observed_generation: i64,
    /// Identifies the run: a hash of what is moved. Another hash is another run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub run_hash: String,
    /// That run's `spec.runId`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub run_id: String,
    /// One word for people. Programs read the conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The source in one word: claim:path, namespace/service or url, with port and database unless they are Chroma's
    /// defaults. Example: `dev-memories:chroma_db`, `prod/chroma:8001#notes`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source_name: String,
    /// The target in one word, in the same form.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_name: String,
    /// Ready, Reconciling and Stalled. Reconciling=False is the end, be it success or failure.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// When the run's first Job was made. A suspension does not change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When `activeDeadlineSeconds` began to count: startTime, or when a suspended run resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_since: Option<Time>,
    /// When the run ended, by the runner's own clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// How many Jobs this run has had.
    pub attempts: i32,
    /// Failed attempts of this run, over all its Jobs. More than spec.backoffLimit end it. Suspensions do not count.
    pub failures: i32,
    /// The Job of the last attempt.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job_name: String,
    /// The UID of that Job. Another Job of the same name does not count.
    #[serde(rename = "jobUID", skip_serializing_if = "String::is_empty")]
    pub job_uid: String,
    /// UID of the last Job that the operator stopped, or whose loss is counted in failures.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stopped_job: String,
    /// What the run's last attempt found in the source. The next attempt stops if a collection was replaced or emptied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<ListedStatus>,
    /// The pod of the last attempt. Its logs: `kubectl logs POD --all-containers`; those of the Job may be an older
    /// pod's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_name: String,
    /// How many of the source's records the target has. After a dry run also what it found. Example: `900/2000`,
    /// `900/2000: 1000 to copy, 100 conflict`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub records: String,
    /// Records of the target that this run will replace (`onConflict: Overwrite`). It appears 30 seconds before the
    /// first one is replaced: until then `spec.suspend: true` prevents it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overwrites: Option<i64>,
    /// How far the run is, about every 5 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Records by what became of them, over all collections. Set when the run ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// The counts of each collection, at most 50.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub collections: Vec<CollectionStatus>,
    /// How many more collections there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub collections_left_out: i64,
    /// What verification found. Set when the run ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationStatus>,
    /// Where the whole report of the run is, or why it is not there. Set when the run ends, if the operator keeps reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportStatus>,
    /// The last run of this object that succeeded. Dry runs do not count. No later run removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<LastSuccess>,
}

impl MemoryMigrationStatus {
    /// Whether the run has ended, and the operator still tries to keep its report.
    #[must_use]
    pub fn owes_report(&self) -> bool {
        self.report.as_ref().is_some_and(ReportStatus::is_owed)
    }
}

impl Default for MemoryMigrationStatus {
    fn default() -> Self {
        Self {
            observed_generation: -1,
            run_hash: String::new(),
            run_id: String::new(),
            phase: None,
            source_name: String::new(),
            target_name: String::new(),
            conditions: Vec::new(),
            start_time: None,
            active_since: None,
            completion_time: None,
            attempts: 0,
            failures: 0,
            job_name: String::new(),
            job_uid: String::new(),
            stopped_job: String::new(),
            listed: None,
            pod_name: String::new(),
            records: String::new(),
            overwrites: None,
            progress: None,
            counts: None,
            collections: Vec::new(),
            collections_left_out: 0,
            verification: None,
            report: None,
            last_success: None,
        }
    }
}

/// How far a run is. Records and percent rise over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// Preflight, Copying, Verifying or Repairing.
    pub stage: String,
    /// Records of the source that the target has.
    pub records: i64,
    /// Records of the source.
    pub total: i64,
    /// Percent of the whole run, 0 to 100. Copying ends at about 50; the rest is verification.
    pub percent: i32,
    /// Records per second, over the last seconds.
    pub records_per_second: i64,
    /// Seconds left in this stage at this rate. Absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// When the runner reported this. Older than a minute: the runner's log cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Time>,
}

/// Numbers of records, by what became of them.
/// source = verified + conflictsSkipped + duplicates + changed + different + missing + unreadable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// In the source.
    pub source: i64,
    /// In the target before the first write.
    pub target_before: i64,
    /// Written by this run; after a dry run: would be written.
    pub copied: i64,
    /// Already in the target with equal content.
    pub present: i64,
    /// In the target with other content, and kept as they are.
    pub conflicts_skipped: i64,
    /// In the target with other content, and replaced.
    pub overwritten: i64,
    /// Not copied because their document was in the target under another id.
    pub duplicates: i64,
    /// Deleted from the source during the run; not part of source. The target may have them.
    pub gone_from_source: i64,
    /// New in the source after the last copy pass; not part of source. The next run copies them.
    pub came_later: i64,
    /// In the target at the end, but not in the source; not part of source. They are left alone.
    pub extra: i64,
    /// In the target at the end.
    pub target_after: i64,
    /// Compared and equal.
    pub verified: i64,
    /// Compared and not equal.
    pub different: i64,
    /// In the source and not in the target.
    pub missing: i64,
    /// Kept changing in the source while they were copied.
    pub changed: i64,
    /// In the source, but their content cannot be read.
    pub unreadable: i64,
}

impl From<report::Counts> for Counts {
    fn from(counts: report::Counts) -> Self {
        let report::Counts {
            source,
            target_before,
            copied,
            present,
            conflicts_skipped,
            overwritten,
            duplicates,
            gone_from_source,
            came_later,
            extra,
            target_after,
            verified,
            different,
            missing,
            changed,
            unreadable,
        } = counts;
        Self {
            source: signed(source),
            target_before: signed(target_before),
            copied: signed(copied),
            present: signed(present),
            conflicts_skipped: signed(conflicts_skipped),
            overwritten: signed(overwritten),
            duplicates: signed(duplicates),
            gone_from_source: signed(gone_from_source),
            came_later: signed(came_later),
            extra: signed(extra),
            target_after: signed(target_after),
            verified: signed(verified),
            different: signed(different),
            missing: signed(missing),
            changed: signed(changed),
            unreadable: signed(unreadable),
        }
    }
}

impl From<Counts> for report::Counts {
    fn from(counts: Counts) -> Self {
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        Self {
            source: unsigned(counts.source),
            target_before: unsigned(counts.target_before),
            copied: unsigned(counts.copied),
            present: unsigned(counts.present),
            conflicts_skipped: unsigned(counts.conflicts_skipped),
            overwritten: unsigned(counts.overwritten),
            duplicates: unsigned(counts.duplicates),
            gone_from_source: unsigned(counts.gone_from_source),
            came_later: unsigned(counts.came_later),
            extra: unsigned(counts.extra),
            target_after: unsigned(counts.target_after),
            verified: unsigned(counts.verified),
            different: unsigned(counts.different),
            missing: unsigned(counts.missing),
            changed: unsigned(counts.changed),
            unreadable: unsigned(counts.unreadable),
        }
    }
}

/// What became of one collection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CollectionStatus {
    /// Database in the source; the target's is the same, unless `spec.target` names another.
    pub database: String,
    /// Name in the source.
    pub name: String,
    /// Name in the target.
    pub target_name: String,
    /// Components of a vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<i64>,
    /// l2, cosine or ip.
    pub distance: String,
    /// Numbers of records.
    pub counts: Counts,
    /// SHA-256 over the verified records, the same for source and target of a correct copy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// What searches in the target find. Absent if that was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchStatus>,
}

impl From<&report::CollectionReport> for CollectionStatus {
    fn from(collection: &report::CollectionReport) -> Self {
        Self {
            database: collection.database.clone(),
            name: collection.name.clone(),
            target_name: collection.target_name.clone(),
            dimension: collection.dimension.map(i64::from),
            distance: collection.distance.clone(),
            counts: collection.counts.into(),
            fingerprint: collection.fingerprint.clone(),
            search: collection.search.as_ref().map(SearchStatus::from),
        }
    }
}

/// What verification found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VerificationStatus {
    /// The reason with which the run ended, for instance Verified.
    pub result: String,
    /// Whether source and target are identical: every record is equal, none was skipped, the target has no others, and
    /// all settings agree. If false, the condition's message says why.
    pub identical: bool,
    /// Whether the source stayed unchanged from its listing to the end of the comparison. For a server it is never Yes.
    pub source_quiet: SourceQuiet,
    /// The mean share of the exact nearest records that searches find, 0 to 1. Absent if no query was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
    /// SHA-256 over all collections' fingerprints; empty without a full verification.
    pub fingerprint: String,
    /// The largest difference between two compared numbers, in units in the last place (ULP).
    pub max_ulps: i64,
    /// When the comparison ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_at: Option<Time>,
}

/// Whether the source stood still while it was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SourceQuiet {
    /// Its files were the same throughout.
    Yes,
    /// It changed.
    No,
    /// No change was seen, which proves nothing.
    #[default]
    Unknown,
}

impl From<report::SourceQuiet> for SourceQuiet {
    fn from(quiet: report::SourceQuiet) -> Self {
        match quiet {
            report::SourceQuiet::Yes => Self::Yes,
            report::SourceQuiet::No => Self::No,
            report::SourceQuiet::Unknown => Self::Unknown,
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}
