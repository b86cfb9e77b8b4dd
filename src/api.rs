//! The resources `MemoryMigration` and `MemoryMigrationSchedule`: their types, their rules, names and labels.
//! Does no I/O: whoever reads a manifest hands its text in, and whoever talks to a cluster is in `controller`.

pub mod access;
pub mod check;
pub mod conditions;
pub mod crd;
pub mod duration;
pub mod endpoint;
pub mod evidence;
pub mod last_success;
pub mod listed;
pub mod manifest;
pub mod pacing;
pub mod phase;
pub mod run_hash;
pub mod runner;
pub mod schedule;
pub mod schema;
pub mod search;
pub mod select;
pub mod spec;
pub mod status;
pub mod validity;

pub use access::{Auth, Authority, BasicAuth, ClientCertificate, FromSecret, HeaderAuth, KeyRef, Tls};
pub use crd::{crd, crd_yaml, schedule_crd};
pub use endpoint::{Fill, LocalSource, LocalTarget, Remote, ServiceRef, Source, Target};
pub use evidence::{ReportOptions, ReportStatus};
pub use manifest::{ManifestError, parse_manifest, parse_pod_template, parse_schedule};
pub use pacing::{Pacing, PacingMode};
pub use runner::{ContainerName, ContainerPart, PodMetadata, PodPart, PodTemplate, Runner};
pub use schedule::status::MemoryMigrationScheduleStatus;
pub use schedule::{
    ConcurrencyPolicy, MemoryMigrationSchedule, MemoryMigrationScheduleSpec, SCHEDULE_CRD_NAME, SCHEDULE_KIND,
};
pub use search::{SearchCheck, SearchMode, SearchStatus};
pub use select::Selected;
pub use spec::{
    Duplicates, Extras, MemoryMigration, MemoryMigrationSpec, Mode, OnConflict, Verification, VerificationMode,
};
pub use status::{LastSuccess, MemoryMigrationStatus, Phase};

/// The API group.
pub const GROUP: &str = "memory-migration.dev";
/// The only version so far.
pub const VERSION: &str = "v1alpha1";
/// What `apiVersion` says.
pub const API_VERSION: &str = "memory-migration.dev/v1alpha1";
/// What `kind` says.
pub const KIND: &str = "MemoryMigration";
/// The CRD's own name.
pub const CRD_NAME: &str = "memorymigrations.memory-migration.dev";

/// On everything the controller makes: the UID of the `MemoryMigration` it belongs to.
pub const LABEL_UID: &str = "memory-migration.dev/uid";
/// On a Job and its pods: the hash of the run they belong to.
pub const LABEL_RUN: &str = "memory-migration.dev/run";
/// On a Job and its pods that write: the lock on their target.
pub const LABEL_LOCK: &str = "memory-migration.dev/lock";
/// On a Job and its pods: which attempt of the run they are, from 1.
pub const LABEL_ATTEMPT: &str = "memory-migration.dev/attempt";
/// On everything the controller makes, so that it watches nothing else.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`LABEL_MANAGED_BY`], and the field manager of every server-side apply.
pub const MANAGER: &str = "memory-migration-operator";
