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
const FILES_ARE_COMPARED: &str = "!(has(self.target.local) && self.target.local.fill == 'Files') \
    || self.verification.mode == 'Full'";
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
#[x_kube(validation = Rule::new(SAME_SERVER).message("source and target are the same database of the same server: write another server, tenant or database in one of them"))]
#[x_kube(validation = Rule::new(ONE_WAY_TO_NAME_DATABASES).message("databases and an endpoint's database are both set: remove database in source and target, or remove databases"))]
#[x_kube(validation = Rule::new(VERIFY_WRITES_NOTHING).message("mode: Verify writes nothing: remove dryRun, onConflict and duplicates; or set mode: Migrate"))]
#[x_kube(validation = Rule::new(FILES_ARE_COMPARED).message("target.local.fill: Files needs verification.mode: Full, which compares every record: remove verification.mode: Counts, or remove fill"))]
#[x_kube(validation = Rule::new(VERIFY_COMPARES_ALL).message("mode: Verify compares every record: remove verification.mode: Counts"))]
pub struct MemoryMigrationSpec {
    /// Migrate (default): copy, then compare every record. Verify: compare only. It writes nothing and takes no lock.
    #[serde(default)]
    pub mode: Mode,
    /// Where to read: a store on a claim (`local`) or a server (`remote`). The operator never writes to it.
    pub source: Source,
    /// Where to write: a server (`remote`) or a store on a claim (`local`). Records that only the target has stay. Some
    /// changes take two requests: to clear a document or uri, or to repair an unreadable record, the operator deletes
    /// that record and adds it again at once.
    pub target: Target,
    /// Databases of the source's tenant, by name or by a pattern with `*`. They keep their names in the target, which
    /// creates those that it lacks. Default: empty, the `database` of source and target. Example: `["customer-a",
    /// "customer-b"]`, or `["*"]` for all.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 512)), extend("x-kubernetes-list-type" = "atomic"))]
    pub databases: Vec<String>,
    /// Collections to migrate. The first entry that matches a collection decides. Default: empty, all of the database.
    /// Example: `[{name: memory_collection, targetName: mcp_imported_memories}, {match: "user-*", exclude:
    /// ["*-tmp"]}]`.
    #[serde(default)]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub collections: Vec<Selected>,
    /// For an id that the target already has with other content. Skip (default): keep the target's record; count and
    /// list it. Overwrite: replace it, even if the target's is newer. An object that is created again, for example when
    /// a cluster is rebuilt from Git, overwrites again. Fail: end the run before its first write, or when a conflict
    /// appears later.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// How to detect duplicates. `ById` (default): same id. `ByContent`: same id, or same document under another id.
    /// Duplicates are listed, not copied.
    #[serde(default)]
    pub duplicates: Duplicates,
    /// How to pace writes. An edit starts no run; it applies to the next Job. Default: `{mode: Fixed, batchSize: 10,
    /// delay: 1s}`.
    #[serde(default)]
    pub pacing: Pacing,
    /// How to compare the target with the source. Default: `{mode: Full, extras: Allow}`.
    #[serde(default)]
    pub verification: Verification,
    /// Succeed if the source has no records. Default: false, the run waits with reason `SourceEmpty`.
    #[serde(default)]
    pub allow_empty: bool,
    /// Check everything, write nothing, and show the plan: how many records would be copied, are equal, or conflict.
    /// Default: false.
    #[serde(default)]
    pub dry_run: bool,
    /// Change this text to run a finished migration again. Default: empty. Example: `2`.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub run_id: String,
    /// Stop the run and remove its pod. Set it to false to resume. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// Retries after a failure outside the run (network, server, credentials), over all its Jobs: 6 means 7 attempts. A
    /// suspension is no attempt and does not reset the count. Default: 6.
    #[serde(default = "default_backoff_limit")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("write a number of retries from 0 to 100; the default is 6"))]
    pub backoff_limit: i32,
    /// Seconds after which an unfinished run is stopped, retries included. Resuming a suspended run restarts the count.
    /// Default: none. Example: `3600`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1").message("write a number of seconds from 1, or leave it out for no deadline"))]
    pub active_deadline_seconds: Option<i64>,
    /// Seconds after which the Job and pod of a finished run are removed. The object and its status stay. Default:
    /// never. Example: `86400`.
    #[serde(rename = "jobTTLSecondsAfterFinished", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 0").message("write a number of seconds from 0, or leave it out to keep the Job"))]
    pub job_ttl_seconds_after_finished: Option<i32>,
    /// The report that the operator keeps in the `ConfigMap` `NAME-report`, up to 128 KiB. An edit starts no run; it
    /// applies to the next Job. Default: `{values: false}`.
    #[serde(default)]
    pub report: ReportOptions,
    /// The runner's pod and Job. An edit starts no run; it applies to the next Job. Default: the chart's values.
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
    /// Full (default): read back and compare every record. Counts: compare only the numbers of records. That proves
    /// less, and the reason is `CountsVerified`.
    #[serde(default)]
    pub mode: VerificationMode,
    /// For records that only the target has. `Allow` (default): count and list them. `Fail`: end with
    /// `VerificationFailed`. Neither deletes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Extras")]
    pub extras: Option<Extras>,
    /// Whether to check that searches in the target find what they should. Default: `{mode: Report}`, which never
    /// changes the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SearchCheck")]
    pub search: Option<SearchCheck>,
    /// How long a success proves anything, in whole days or hours. After that the condition `VerificationStale` is True;
    /// nothing runs by itself, and editing it starts no run. Default: empty, forever. Example: `7d`, `12h`.
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
