//! The `MemoryMigration` object and its spec: docs with unit, default and example, and the rules that the API server
//! checks. No methods that do I/O. A change here changes crds/: `memory-migration crd` prints it.

#![expect(unreachable_pub, reason = "the schema derive copies each struct into a function")]
#![expect(clippy::duplicated_attributes, reason = "every printer column has a type")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, PodSecurityContext, ResourceRequirements, SecurityContext, Toleration,
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::{Source, Target};
use super::status::MemoryMigrationStatus;

const SAME_CLAIM: &str = "!(has(self.source.local) && has(self.target.local) \
    && self.source.local.claimName == self.target.local.claimName && self.source.local.path == self.target.local.path)";
// Only for whole databases: over a list of collections the rule would cost more than an API server allows; those are
// compared in `check.rs`. Two objects of different places in a schema cannot be compared whole: the API server takes them
// for different types. It knows a property that CEL reserves by its escaped name only.
const SAME_SERVER: &str = "!(has(self.source.remote) && has(self.target.remote) && self.collections.size() == 0 \
    && self.source.remote.tenant == self.target.remote.tenant \
    && self.source.remote.database == self.target.remote.database \
    && ((has(self.source.remote.service) && has(self.target.remote.service) \
    && self.source.remote.service.name == self.target.remote.service.name \
    && self.source.remote.service.port == self.target.remote.service.port \
    && has(self.source.remote.service.__namespace__) == has(self.target.remote.service.__namespace__) \
    && (!has(self.source.remote.service.__namespace__) \
    || self.source.remote.service.__namespace__ == self.target.remote.service.__namespace__)) \
    || (has(self.source.remote.url) && has(self.target.remote.url) \
    && self.source.remote.url == self.target.remote.url)))";
const COLLECTION_NAME: &str =
    "self == '' || (self.matches('^[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]$') && !self.contains('..'))";

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
#[x_kube(validation = Rule::new(SAME_SERVER).message("source and target are the same database of the same server: write another server, tenant or database in one of them, or list collections with a targetName that differs from name"))]
pub struct MemoryMigrationSpec {
    /// Where the memories are read: a store on a claim (`local`) or a server (`remote`). Nothing is written there.
    pub source: Source,
    /// Where they are written: a server (`remote`) or a store on a claim (`local`). Nothing is deleted there for good:
    /// where nothing else can clear a record's document or uri, or mend a record that cannot be read, it is deleted and
    /// added again with the source's content: a conflict with `onConflict: Overwrite`, and in repair a record that this
    /// run copied, or found equal before the source changed.
    pub target: Target,
    /// Which collections, each once. Default: empty, all of the source's database.
    /// Example: `[{name: memory_collection, targetName: mcp_imported_memories}]`.
    #[serde(default)]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name", "targetName"]))]
    pub collections: Vec<NamePair>,
    /// What happens to an id that the target already holds with other content. Skip (default): left alone, counted,
    /// listed. Overwrite: replaced by the source's. Fail: the run ends: before its first write, or, where the
    /// conflict arises during the run, when it is found.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// What makes a record one that the target already has. ById (default): its id. ByContent: also its document,
    /// under whatever id; such records are not copied, and listed.
    #[serde(default)]
    pub duplicates: Duplicates,
    /// How many records a request carries, and how long to wait between two. Default: 10 records, 1s.
    #[serde(default)]
    pub batch: Batch,
    /// How to pace writes. Fixed (default): as `batch` says. Adaptive: for a target in use. It writes less while a write
    /// fails, or while a small read takes both twice as long as at rest and 25 ms longer (95th percentile), down to 10
    /// records a second. For speed: Fixed with `batch: {size: 1000, delay: 0s}`.
    #[serde(default)]
    pub pacing: Pacing,
    /// Full (default): every record is read back and compared. Counts: only numbers are, which is weaker; the reason
    /// then is CountsVerified.
    #[serde(default)]
    pub verification: Verification,
    /// Succeed with a source that holds no record. Default: false, an empty source is waited for (reason `SourceEmpty`).
    #[serde(default)]
    pub allow_empty: bool,
    /// End after preflight, with the plan: how many records would be copied, are equal, conflict. Default: false.
    #[serde(default)]
    pub dry_run: bool,
    /// Any text; change it to run a finished migration again. Default: empty. Example: `2`.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub run_id: String,
    /// Stop: the runner is removed; false goes on where it stopped. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// How often a run is tried again after something outside failed, over all its Jobs (so 6 are 7 tries): suspending
    /// it neither counts nor starts the count anew. Default: 6.
    #[serde(default = "default_backoff_limit")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("write a number of retries from 0 to 100; the default is 6"))]
    pub backoff_limit: i32,
    /// Seconds after which a run that has not ended is stopped, counted from its start, retries included. A suspension
    /// starts the clock anew, as it does for a Job. Default: none. Example: `3600`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1").message("write a number of seconds from 1, or leave it out for no deadline"))]
    pub active_deadline_seconds: Option<i64>,
    /// Seconds after which a finished run's Job and pod are removed. The object and its status stay. Default: never.
    /// Example: `86400`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 0").message("write a number of seconds from 0, or leave it out to keep the Job"))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// What the runner's pod is given. Editing it starts no run: it applies to the next Job. Default: as the operator
    /// was installed.
    #[serde(default)]
    pub runner: Runner,
}

/// One collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamePair {
    /// Its name in the source. Example: `memory_collection`.
    #[schemars(length(min = 1, max = 512))]
    pub name: String,
    /// Its name in the target. Default: empty, the same. Example: `mcp_imported_memories`.
    #[serde(default)]
    #[x_kube(validation = Rule::new(COLLECTION_NAME).message("write a collection name that Chroma takes: 3 to 512 of letters, digits, '.', '_' and '-', beginning and ending with a letter or digit, without '..'"))]
    #[schemars(length(max = 512))]
    pub target_name: String,
}

impl NamePair {
    /// The name in the target.
    #[must_use]
    pub fn target(&self) -> &str {
        if self.target_name.is_empty() { &self.name } else { &self.target_name }
    }
}

/// How records are sent with `pacing: Fixed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Records in one request. Default: 10. A server's own maximum (5461 for Chroma 1.x) and 40 MiB cut it further.
    #[serde(default = "default_batch_size")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 41666").message("write a number of records from 1 to 41666, the most that any Chroma server takes in one request; the default is 10"))]
    pub size: i32,
    /// The pause between two requests: a number and ms, s, m or h. Default: `1s`. Example: `500ms`; `0s` for none.
    #[serde(default = "default_batch_delay")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,9}(ms|s|m|h))+$')").message("write a duration, a number with ms, s, m or h, as in 500ms, 1s or 1m30s; 0s for no pause"))]
    #[schemars(length(min = 2, max = 32))]
    pub delay: String,
}

impl Default for Batch {
    fn default() -> Self {
        Self { size: default_batch_size(), delay: default_batch_delay() }
    }
}

/// What the runner's pod is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runner {
    /// Requests and limits of the mover's container (preflight has the same). Default: 100m CPU and 128Mi requested,
    /// limit 2Gi memory. Example: `{limits: {memory: 1Gi}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Labels that the pod's node must have. Default: none. Where a pod uses the source's `ReadWriteOnce` claim,
    /// the runner is bound to that pod's node in addition.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pod tolerates. Default: none. Those of the pod to whose node the runner is bound are added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Rules of scheduling. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// More labels for the pod, for instance for a NetworkPolicy; the operator's own cannot be replaced. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_labels: BTreeMap<String, String>,
    /// More annotations for the pod. Default: none. Example: `{sidecar.istio.io/inject: "false"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_annotations: BTreeMap<String, String>,
    /// The pod's service account; its token is never mounted. Default: the namespace's `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
    /// Secrets with which the runner's and Chroma's images are pulled; those of the controller are not used here.
    /// Default: none. Example: `[{name: registry}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// The pod's PriorityClass. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Replaces fields of every container's security context. Default: the restricted pod security level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,
    /// Replaces fields of the pod's security context. Default: user and groups of a pod that uses the source's claim
    /// when the Job is made, where it is not root; else 65532. Where a local target's files must stay writable for
    /// their workload, set its ids. Example: `{runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_security_context: Option<PodSecurityContext>,
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

/// Who decides on batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Pacing {
    /// `spec.batch`.
    #[default]
    Fixed,
    /// The target's errors and the latency of small reads.
    Adaptive,
}

/// What is compared at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verification {
    /// Every record.
    #[default]
    Full,
    /// Numbers of records.
    Counts,
}

fn default_backoff_limit() -> i32 {
    6
}

fn default_batch_size() -> i32 {
    10
}

fn default_batch_delay() -> String {
    "1s".into()
}
