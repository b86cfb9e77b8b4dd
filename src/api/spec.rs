//! The `MemoryMigration` object and its spec: docs with unit, default and example, and the rules that the API server
//! checks. No methods that do I/O. A change here changes crds/: `memory-migration crd` prints it.

#![expect(unreachable_pub, reason = "the schema derive copies each struct into a function")]
#![expect(clippy::duplicated_attributes, reason = "every printer column has a type")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::{Source, Target};
use super::evidence::ReportOptions;
use super::pacing::Pacing;
use super::runner::Runner;
use super::search::SearchCheck;
use super::select::Selected;
use super::status::MemoryMigrationStatus;
use super::validity;

const SAME_CLAIM: &str = "!(has(self.source.local) && has(self.target.local) \
    && self.source.local.claimName == self.target.local.claimName && self.source.local.path == self.target.local.path)";
// Only for whole databases: over a list of collections the rule would cost more than an API server allows; those are
// compared in `check.rs`. Two objects of different places in a schema cannot be compared whole: the API server takes them
// for different types. It knows a property that CEL reserves by its escaped name only.
const SAME_SERVER: &str = "!(has(self.source.remote) && has(self.target.remote) \
    && self.source.remote.tenant == self.target.remote.tenant \
    && (self.databases.size() > 0 \
    || (has(self.source.remote.database) ? self.source.remote.database : 'default_database') \
    == (has(self.target.remote.database) ? self.target.remote.database : 'default_database')) \
    && ((has(self.source.remote.service) && has(self.target.remote.service) \
    && self.source.remote.service.name == self.target.remote.service.name \
    && self.source.remote.service.port == self.target.remote.service.port \
    && has(self.source.remote.service.__namespace__) == has(self.target.remote.service.__namespace__) \
    && (!has(self.source.remote.service.__namespace__) \
    || self.source.remote.service.__namespace__ == self.target.remote.service.__namespace__)) \
    || (has(self.source.remote.url) && has(self.target.remote.url) \
    && self.source.remote.url == self.target.remote.url)))";
const ONE_WAY_TO_NAME_DATABASES: &str = "self.databases.size() == 0 \
    || !((has(self.source.local) && has(self.source.local.database)) \
    || (has(self.source.remote) && has(self.source.remote.database)) \
    || (has(self.target.local) && has(self.target.local.database)) \
    || (has(self.target.remote) && has(self.target.remote.database)))";
const VERIFY_WRITES_NOTHING: &str =
    "self.mode != 'Verify' || (!self.dryRun && self.onConflict == 'Skip' && self.duplicates == 'ById')";
const VERIFY_COMPARES_ALL: &str = "self.mode != 'Verify' || self.verification.mode == 'Full'";

/// Moves the memories of one Chroma database, or of some of its collections, from source to target, and proves that
/// every record arrived. A finished migration never runs again by itself: edit what is moved, or `runId`.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "memory-migration.dev",
    version = "v1alpha1",
    kind = "MemoryMigration",
    namespaced,
    cel,
    status = "MemoryMigrationStatus",
    derive = "PartialEq",
    shortname = "memmig",
    shortname = "mm",
    category = "memory",
    doc = "Moves the memories of AI agents between Chroma servers and Chroma stores on PersistentVolumeClaims, and proves that nothing was lost.",
    printcolumn(
        name = "Source",
        type_ = "string",
        json_path = ".status.sourceName",
        description = "Where the memories are read"
    ),
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".status.targetName",
        description = "Where they are written"
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "What the migration is doing"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why"
    ),
    printcolumn(
        name = "Progress",
        type_ = "integer",
        json_path = ".status.progress.percent",
        description = "Percent of the whole run"
    ),
    printcolumn(
        name = "Records",
        type_ = "string",
        json_path = ".status.records",
        description = "Records of the source that the target has, of all"
    ),
    printcolumn(
        name = "Verified",
        type_ = "integer",
        json_path = ".status.counts.verified",
        description = "Records compared and equal"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(SAME_CLAIM).message("source and target are the same store: write another claimName or path in one of them"))]
#[x_kube(validation = Rule::new(SAME_SERVER).message("source and target are the same database of the same server: write another server, tenant or database in one of them, for a copy beside its original is no second copy"))]
#[x_kube(validation = Rule::new(ONE_WAY_TO_NAME_DATABASES).message("databases and an endpoint's database are both set: remove database in source and target, for databases names those of both sides; or remove databases"))]
#[x_kube(validation = Rule::new(VERIFY_WRITES_NOTHING).message("mode: Verify writes nothing: remove dryRun, onConflict and duplicates; or set mode: Migrate"))]
#[x_kube(validation = Rule::new(VERIFY_COMPARES_ALL).message("mode: Verify compares every record: remove verification.mode: Counts"))]
pub struct MemoryMigrationSpec {
    /// Migrate (default): copy, then compare every record. Verify: compare only; nothing is written, no lock is taken.
    #[serde(default)]
    pub mode: Mode,
    /// Where the memories are read: a store on a claim (`local`) or a server (`remote`). Nothing is written there.
    pub source: Source,
    /// Where they are written: a server (`remote`) or a store on a claim (`local`). The operator never removes a record.
    /// To clear a document or uri, or to repair an unreadable record, it deletes that record and adds it again at once.
    pub target: Target,
    /// Which databases of the source's tenant, each with all or the selected collections; names may hold `*`. They have
    /// the same names in the target, and are created there if they are missing. Default: empty, the `database` of source
    /// and target. Example: `["customer-a", "customer-b"]`, or `["*"]` for all.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 512)), extend("x-kubernetes-list-type" = "atomic"))]
    pub databases: Vec<String>,
    /// Which collections. The first entry that matches a collection decides. Default: empty, all of the database.
    /// Example: `[{name: memory_collection, targetName: mcp_imported_memories}, {match: "user-*", exclude: ["*-tmp"]}]`.
    #[serde(default)]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub collections: Vec<Selected>,
    /// What happens to an id that the target already has with other content. Skip (default): left alone, counted and
    /// listed. Overwrite: replaced by the source's content, also where the target's is newer: an object that is created
    /// again (as when a cluster is rebuilt from Git) is a new run and does it again. Fail: the run ends before its first
    /// write, or when it finds a conflict that arose later.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// How to detect duplicates. `ById` (default): same id. `ByContent`: same id, or same document under another id.
    /// Duplicates are listed, not copied.
    #[serde(default)]
    pub duplicates: Duplicates,
    /// How to pace writes. Default: `{mode: Fixed, batchSize: 10, delay: 1s}`. Editing it starts no run.
    #[serde(default)]
    pub pacing: Pacing,
    /// How the target is compared with the source. Default: `{mode: Full, extras: Allow}`.
    #[serde(default)]
    pub verification: Verification,
    /// Succeed with a source that holds no record. Default: false; the run waits (reason `SourceEmpty`).
    #[serde(default)]
    pub allow_empty: bool,
    /// End after preflight, with the plan: how many records would be copied, are equal, conflict. Default: false.
    #[serde(default)]
    pub dry_run: bool,
    /// Any text; change it to run a finished migration again. Default: empty. Example: `2`.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub run_id: String,
    /// Stop: the runner is removed. Set it to false to resume. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// How often a run is tried again after something outside failed, over all its Jobs: 6 means 7 tries. Suspending
    /// counts as no try and does not reset the count. Default: 6.
    #[serde(default = "default_backoff_limit")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("write a number of retries from 0 to 100; the default is 6"))]
    pub backoff_limit: i32,
    /// Seconds after which a run that has not ended is stopped, counted from its start, retries included. Resuming a
    /// suspended run restarts the count. Default: none. Example: `3600`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1").message("write a number of seconds from 1, or leave it out for no deadline"))]
    pub active_deadline_seconds: Option<i64>,
    /// Seconds after which a finished run's Job and pod are removed; the object and its status stay. Default: never.
    /// Example: `86400`.
    #[serde(rename = "jobTTLSecondsAfterFinished", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 0").message("write a number of seconds from 0, or leave it out to keep the Job"))]
    pub job_ttl_seconds_after_finished: Option<i32>,
    /// The report that the operator keeps in the `ConfigMap` `NAME-report`, up to 128 KiB. Editing it starts no run: it
    /// applies to the next Job. Default: `{values: false}`.
    #[serde(default)]
    pub report: ReportOptions,
    /// The runner's pod and Job. Editing it starts no run: it applies to the next Job. Default: as the operator was
    /// installed.
    #[serde(default)]
    pub runner: Runner,
}

impl MemoryMigrationSpec {
    /// Whether the run may write its target.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.mode == Mode::Migrate && !self.dry_run
    }
}

/// What a run does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Copies, then compares.
    #[default]
    Migrate,
    /// Compares, and writes nothing.
    Verify,
}

/// How the target is compared with the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Full (default): every record is read back and compared. Counts: only numbers of records are compared, which is
    /// weaker; the reason then is `CountsVerified`.
    #[serde(default)]
    pub mode: VerificationMode,
    /// Whether the target may hold records that the source does not. Default: `Allow`, they are counted and listed.
    /// `Fail`: the run ends with `VerificationFailed` if there are any; none is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Extras")]
    pub extras: Option<Extras>,
    /// Whether searches in the target find what they should. Default: `{mode: Report}`, which never changes the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SearchCheck")]
    pub search: Option<SearchCheck>,
    /// How long a success proves anything, in whole days or hours. After that the condition `VerificationStale` is True;
    /// nothing runs by itself, and editing it starts no run. Default: empty, for ever. Example: `7d`, `12h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(validity::RULE).message("write whole days from 1d to 3650d, or whole hours from 1h to 87600h, as in 7d or 12h"))]
    #[schemars(length(max = 6))]
    pub valid_for: Option<String>,
}

impl Default for Verification {
    fn default() -> Self {
        Self { mode: VerificationMode::Full, extras: Some(Extras::Allow), search: None, valid_for: None }
    }
}

impl Verification {
    /// The search check.
    #[must_use]
    pub fn search(&self) -> SearchCheck {
        self.search.clone().unwrap_or_default()
    }

    /// Seconds for which a success proves anything; None: for ever.
    #[must_use]
    pub fn valid_for(&self) -> Option<i64> {
        validity::seconds(self.valid_for.as_deref().unwrap_or_default())
    }

    /// Whether the target may hold more than the source.
    #[must_use]
    pub fn extras(&self) -> Extras {
        self.extras.unwrap_or_default()
    }
}

/// What is compared at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerificationMode {
    /// Every record.
    #[default]
    Full,
    /// Numbers of records.
    Counts,
}

/// Records of the target that the source does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Extras {
    /// Counted and listed.
    #[default]
    Allow,
    /// A failure.
    Fail,
}

/// What happens to an id that the target has with other content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnConflict {
    /// Left alone, counted and listed.
    #[default]
    Skip,
    /// Replaced by the source's content.
    Overwrite,
    /// The run ends.
    Fail,
}

/// What makes a record one that the target already has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Duplicates {
    /// Its id.
    #[default]
    ById,
    /// Also its document, under another id.
    ByContent,
}

fn default_backoff_limit() -> i32 {
    6
}
