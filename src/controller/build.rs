//! From a migration to the Job of one attempt, and the names by which `observe` knows it again. Pure: no client.

pub mod fill;
pub mod job;
pub mod mounted;
pub mod parts;
pub mod placement;
pub mod pod;
pub mod prune;
pub mod template;

use self::placement::Pin;
use super::observe::world::Ids;
use crate::api::ContainerName;
use crate::api::schedule::generation::Origin;
use crate::report::Listed;

/// On Jobs and pods: the object's name, which may be too long for a label.
pub const ANNOTATION_NAME: &str = "memory-migration.dev/name";
/// On Jobs and pods, and locks: the kind of the object that they belong to; absent: a `MemoryMigration`.
pub const ANNOTATION_KIND: &str = "memory-migration.dev/holder-kind";
/// On a Job: the node that its pods are bound to.
pub const ANNOTATION_PIN: &str = "memory-migration.dev/pinned-node";
/// On a Job: how many tries of the run had failed before it was made.
pub const ANNOTATION_FAILED: &str = "memory-migration.dev/failed-before";
/// On the pod: the manifest that the runner reads through a downward API volume, so that it needs no API access and
/// no `ConfigMap` can be missing or edited.
pub const ANNOTATION_MANIFEST: &str = "memory-migration.dev/manifest";
/// On the pod: what an earlier attempt of the run found in the source, read like the manifest.
pub const ANNOTATION_LISTED: &str = "memory-migration.dev/listed";

/// The container that checks before anything is written.
pub const PREFLIGHT: &str = ContainerName::Preflight.as_str();
/// The container that migrates and verifies.
pub const MOVER: &str = ContainerName::Mover.as_str();
/// The Chroma server that writes a local target.
pub const SERVER: &str = ContainerName::Chroma.as_str();
/// The Chroma server that lays out the store which is filled by its files.
pub const LAYOUT: &str = "layout";
/// The container that fills it.
pub const FILL: &str = "fill";
/// The container that removes generations.
pub const PRUNER: &str = "prune";

/// What a Job depends on besides the migration itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Input {
    /// The run.
    pub hash: String,
    /// From 1.
    pub attempt: i32,
    /// The lock on its target; None: nothing is written.
    pub lock: Option<String>,
    /// Where it must run.
    pub pin: Pin,
    /// As whom.
    pub ids: Ids,
    /// Tries of the run that have failed: its Jobs share one backoffLimit.
    pub failures: i32,
    /// Seconds that the run has left.
    pub deadline: Option<i64>,
    /// Whether both sides may be one store, as those who keep them show; None: not known.
    pub one_store: Option<bool>,
    /// What an earlier attempt found in the source.
    pub listed: Option<Listed>,
    /// Whose generation it writes; None: none's.
    pub generation: Option<Origin>,
}
