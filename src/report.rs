//! What a run tells: the report file, the verdict in the Job's termination message, and progress and report lines in the log.
//! The same structs on the writing and the reading side; serde (and a digest in `evidence`), nothing of ours, no kube.

mod counts;
pub mod evidence;
mod rate;
mod search;
mod summary;

use serde::{Deserialize, Serialize};

pub use counts::Counts;
pub use rate::{Rate, RatePoint};
pub use search::{Filters, Search};
pub use summary::Summary;

/// Version of every shape in this file. The controller reads the one before, too.
pub const SCHEMA: u32 = 2;

/// How a run ended, for people and scripts. `Failed` covers every exit but 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Everything asked for was done and proved as far as was asked.
    Succeeded,
    /// It was not.
    Failed,
    /// A dry run: the plan was made, nothing was written.
    DryRun,
}

/// Why a run ended as it did: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// Every record was compared and is equal.
    Verified,
    /// Every record but those skipped (conflicts, duplicates) was compared and is equal.
    VerifiedWithSkips,
    /// Only counts were compared, as `verification.mode: Counts` asks: weaker than Verified.
    CountsVerified,
    /// A dry run ended with its plan.
    DryRunCompleted,
    /// A check before the first write failed for what the manifest or the data says.
    PreflightRefused,
    /// Differences remain that repair could not mend.
    VerificationFailed,
    /// All records are right, and searches in the target answer wrongly (`verification.search.mode: Require`).
    SearchDegraded,
    /// `onConflict: Fail`, and the target has an id with other content.
    RecordConflict,
    /// The source kept changing faster than it could be copied.
    SourceChanging,
    /// The source's store, tenant, database or collection is not there (yet).
    SourceNotFound,
    /// The selected collections hold no id at all (yet), and that was not said to be meant.
    SourceEmpty,
    /// A collection of the source was replaced or emptied since an earlier attempt of this run listed it.
    SourceReplaced,
    /// The target's store, tenant or database is not there (yet).
    TargetNotFound,
    /// Another process or run writes the target.
    TargetBusy,
    /// A termination signal; a rerun resumes.
    Interrupted,
    /// Something outside failed (network, server, credentials, disk); a rerun resumes.
    Unavailable,
    /// Bad arguments or a bad manifest.
    InvalidSpec,
    /// A bug.
    InternalError,
}

impl Reason {
    /// The word that reports, conditions and metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "Verified",
            Self::VerifiedWithSkips => "VerifiedWithSkips",
            Self::CountsVerified => "CountsVerified",
            Self::DryRunCompleted => "DryRunCompleted",
            Self::PreflightRefused => "PreflightRefused",
            Self::VerificationFailed => "VerificationFailed",
            Self::SearchDegraded => "SearchDegraded",
            Self::RecordConflict => "RecordConflict",
            Self::SourceChanging => "SourceChanging",
            Self::SourceNotFound => "SourceNotFound",
            Self::SourceEmpty => "SourceEmpty",
            Self::SourceReplaced => "SourceReplaced",
            Self::TargetNotFound => "TargetNotFound",
            Self::TargetBusy => "TargetBusy",
            Self::Interrupted => "Interrupted",
            Self::Unavailable => "Unavailable",
            Self::InvalidSpec => "InvalidSpec",
            Self::InternalError => "InternalError",
        }
    }
}

/// From which kind of endpoint to which; also a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// A store's files into a server.
    LocalToRemote,
    /// A server into a store.
    RemoteToLocal,
    /// A store's files into another store.
    LocalToLocal,
    /// A server into another server.
    RemoteToRemote,
}

impl Direction {
    /// Every direction there is.
    pub const ALL: [Self; 4] = [Self::LocalToRemote, Self::RemoteToLocal, Self::LocalToLocal, Self::RemoteToRemote];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LocalToRemote => "local-to-remote",
            Self::RemoteToLocal => "remote-to-local",
            Self::LocalToLocal => "local-to-local",
            Self::RemoteToRemote => "remote-to-remote",
        }
    }
}

/// What the comparison says of source and target as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Verification {
    /// Every record was compared and is equal, none was skipped, the target holds no others, and all settings agree.
    pub identical: bool,
    /// Whether the source stood still from its listing to the end of the comparison.
    pub source_quiet: SourceQuiet,
    /// The mean recall of searches in the target, over all collections, 0 to 1; absent where no query was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
}

/// Whether the source stood still while it was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SourceQuiet {
    /// Its files were the same throughout. Never of a server.
    Yes,
    /// Something was seen to change.
    No,
    /// No change was seen, which proves nothing.
    #[default]
    Unknown,
}

/// One preflight check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// A stable name, for instance `distance`.
    pub check: String,
    /// Whether it passed.
    pub ok: bool,
    /// What was found.
    pub message: String,
    /// What to do about it; empty when it passed.
    #[serde(default)]
    pub remedy: String,
}

/// One record that is listed by id: different, missing, unreadable, skipped, duplicate, gone or extra.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The record's id.
    pub id: String,
    /// Which field differs, as `embedding` or `metadata.tags`; or what happened to the record, as `missing`,
    /// `unreadable`, `conflict`, `duplicate`, `goneFromSource`, `extra`.
    pub field: String,
    /// Both values, shortened, or the explanation.
    pub detail: String,
}

impl Difference {
    /// Whether it is said of the collection itself, and not of a record.
    #[must_use]
    pub fn is_of_collection(&self) -> bool {
        self.id.is_empty() && self.field == "collection"
    }
}

/// What became of one collection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CollectionReport {
    /// Database in the source.
    pub database: String,
    /// Name in the source.
    pub name: String,
    /// Name in the target.
    pub target_name: String,
    /// Components of a vector; absent for a collection that never held one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<u32>,
    /// `l2`, `cosine` or `ip`.
    pub distance: String,
    /// Records by what became of them.
    pub counts: Counts,
    /// SHA-256 (hex) over the verified records, the same for source and target of a correct copy; empty without a full
    /// verification.
    pub fingerprint: String,
    /// The largest distance seen in a compared vector component or metadata double, in ULP (units in the last place).
    pub max_ulps: u32,
    /// Comparisons that found a record equal, by the largest distance that they saw: at place `n` those of `n` ULP. A record
    /// counts again if it differed in between. Empty without a full verification.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ulps: Vec<u64>,
    /// What searches in the target find; absent where that was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
    /// Vectors of a local target that were compared as read from its write-ahead log.
    pub vectors_from_wal: u64,
    /// Vectors of a local target that were compared as read from its HNSW files.
    pub vectors_from_hnsw: u64,
    /// Records worth a look, up to a bound.
    pub differences: Vec<Difference>,
    /// How many more there are.
    pub differences_left_out: u64,
}

/// The whole outcome of a run: `--report FILE`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// How it ended.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// What happened, to which object, and what to do next.
    pub message: String,
    /// From where to where.
    pub direction: Direction,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// RFC 3339, UTC.
    pub finished_at: String,
    /// Every check made before the first write.
    pub preflight: Vec<Check>,
    /// Totals.
    pub counts: Counts,
    /// What the comparison says of both sides as a whole.
    #[serde(default)]
    pub verification: Verification,
    /// Bytes of the target's files, where the run wrote a generation of a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_bytes: Option<u64>,
    /// Whether the run only compared, and copied nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub comparison: bool,
    /// How fast it was over its time; absent where no record was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// One per collection, in the order they were migrated.
    pub collections: Vec<CollectionReport>,
    /// How many collections are not listed: none but in a report that was cut for a `ConfigMap`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub collections_left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Report {
    /// Whether its collections are of several databases.
    #[must_use]
    pub fn has_databases(&self) -> bool {
        self.collections.windows(2).any(|pair| pair[0].database != pair[1].database)
    }
}

/// What a run found in its source: the next attempt of the same run refuses a source that was replaced or emptied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Listed {
    /// The first collections in the order of their names, at most [`Listed::MOST`].
    pub collections: Vec<ListedCollection>,
    /// Ids over all collections.
    pub records: u64,
    /// Hex digest over names and UUIDs of all collections, in the order of the names.
    pub digest: String,
}

impl Listed {
    /// How many collections are named one by one.
    pub const MOST: usize = 50;
}

/// One collection of [`Listed`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListedCollection {
    /// Chroma's UUID of it.
    pub id: String,
    /// How many ids it had.
    pub records: u64,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// Checks and comparison, nothing written yet.
    #[default]
    Preflight,
    /// Writing records.
    Copying,
    /// Waiting until the target's server has built the index of records that were written into its files.
    Indexing,
    /// Comparing every record.
    Verifying,
    /// Re-sending what verification named.
    Repairing,
}

/// How far a run is, over all its collections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// Records done in this stage.
    pub records: u64,
    /// Records to do in this stage.
    pub total: u64,
    /// Records of the source that are in the target or are skipped. Rises over the whole run.
    pub done: u64,
    /// Records of the source.
    pub of: u64,
    /// Percent of the whole run, 0 to 99: what is left is the verdict. Never falls.
    pub percent: u8,
    /// Records per second, over the last seconds.
    pub records_per_second: f64,
    /// Seconds left in this stage at this rate; absent when not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
}

/// One line of the runner's log that the controller reads: JSON with a `memmig` field that says which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "memmig", rename_all = "camelCase")]
pub enum Line {
    /// How far it is.
    Progress(Progress),
    /// What the source holds, once it was listed.
    Listed(Listed),
    /// Records of the target will be replaced.
    Overwrites {
        /// How many.
        records: u64,
        /// After so many seconds, in which the run can be stopped.
        seconds: u64,
    },
    /// One collection's outcome, numbered: a lost line costs this detail, never the verdict.
    Collection {
        /// From 1.
        number: u32,
        /// How many there are.
        of: u32,
        /// The outcome, its differences left out.
        report: Box<CollectionReport>,
    },
    /// A part of the whole report, numbered: [`evidence`].
    Report {
        /// From 1.
        number: u32,
        /// How many there are.
        of: u32,
        /// A piece of its text.
        part: String,
    },
}

impl Line {
    /// A log chunk is 16 KiB; a line stays well under.
    pub const MAX_BYTES: usize = 8 * 1024;

    /// The line that this text is, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.starts_with('{') && text.len() <= Self::MAX_BYTES).then(|| serde_json::from_str(text).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_survives_its_own_text() {
        let line = Line::Progress(Progress { stage: Stage::Copying, records: 3, total: 9, ..Progress::default() });
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(Line::parse(&text), Some(line));
        assert_eq!(Line::parse("level=info something else"), None);
    }
}
