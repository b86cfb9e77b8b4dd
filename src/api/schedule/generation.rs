//! Generations: the folders of a claim in which a schedule's migrations keep their copies, and what stands in each one's
//! `generation.json`. Pure: names and shapes, no file is touched here.

#![expect(unreachable_pub, reason = "the schema derive copies each struct into a function")]

pub mod prune;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SCHEDULE_KIND, calendar};
use crate::api::endpoint::folders;
use crate::api::spec::MemoryMigration;
use crate::report::Reason;

/// The file beside a generation's store that says what it is.
pub const RECORD_FILE: &str = "generation.json";
/// The run's report beside it, once the run has ended.
pub const REPORT_FILE: &str = "report.json";
/// The folder of a generation's store.
pub const STORE_FOLDER: &str = "chroma";
/// A pruned generation has this name until it is deleted: with it, it is no generation.
pub const REMOVED_PREFIX: &str = ".removed-";
/// Version of [`Record`] and [`PruneReport`].
pub const SCHEMA: u32 = 1;
/// How a due time stands in a folder's name.
const STAMP: &str = "%Y%m%dT%H%M%SZ";

/// Copies that are kept side by side, one folder for each due time. For a local target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Generations {
    /// Which generations are kept. All others that the schedule made are removed after a newer one has succeeded.
    pub keep: Keep,
}

/// Which generations are kept: what any of the four says. Only those count whose run ended with Ready=True.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Keep {
    /// The newest ones, as a number. Default: 3.
    #[serde(default = "default_last")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 100").message("write a number from 1 to 100; the newest good generation is always kept"))]
    pub last: i32,
    /// The newest one of each of so many days. Days begin at midnight in `timeZone`. Default: 0. Example: `7`.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("write a number of days from 0 to 100; the default is 0"))]
    pub daily: i32,
    /// The newest one of each of so many weeks. Weeks begin on Monday. Default: 0. Example: `4`.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("write a number of weeks from 0 to 100; the default is 0"))]
    pub weekly: i32,
    /// The newest one of each of so many months. Default: 0. Example: `12`.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("write a number of months from 0 to 100; the default is 0"))]
    pub monthly: i32,
}

const fn default_last() -> i32 {
    3
}

impl Default for Keep {
    fn default() -> Self {
        Self { last: default_last(), daily: 0, weekly: 0, monthly: 0 }
    }
}

/// The name of a due time's folder, as `20261126T020000Z`.
#[must_use]
pub fn stamp(due: Timestamp) -> String {
    due.strftime(STAMP).to_string()
}

/// The due time of a folder of this name; None: it is no generation's.
#[must_use]
pub fn due_of_stamp(name: &str) -> Option<Timestamp> {
    let due = DateTime::strptime(STAMP, name).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    // only the one form that is written here
    (stamp(due) == name).then_some(due)
}

/// Where a due time's store lies, in the template's path.
#[must_use]
pub fn store_path(path: &str, due: Timestamp) -> String {
    let mut parts = folders(path);
    let stamp = stamp(due);
    parts.extend([stamp.as_str(), STORE_FOLDER]);
    parts.join("/")
}

/// Whose generation a migration writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The schedule, as namespace/name.
    pub schedule: String,
    /// The migration's UID.
    pub uid: String,
}

/// Whether a migration writes a generation of the schedule that owns it: by its owner, its name and its target's folder, which
/// agree about one due time.
#[must_use]
pub fn origin(migration: &MemoryMigration) -> Option<Origin> {
    let owners = migration.metadata.owner_references.as_ref()?;
    let owner = owners.iter().find(|owner| owner.kind == SCHEDULE_KIND && owner.controller == Some(true))?;
    let due = calendar::due_of(&owner.name, &migration.name_any())?;
    let local = migration.spec.target.local.as_ref().filter(|_| migration.spec.writes())?;
    if due_in_path(&local.path)? != due {
        return None;
    }
    let schedule = format!("{}/{}", migration.namespace().unwrap_or_default(), owner.name);
    Some(Origin { schedule, uid: migration.uid().unwrap_or_default() })
}

/// The due time of the generation whose store lies at this path; None: it is none's.
#[must_use]
pub fn due_in_path(path: &str) -> Option<Timestamp> {
    match folders(path).as_slice() {
        [.., stamp, store] if *store == STORE_FOLDER => due_of_stamp(stamp),
        _ => None,
    }
}

/// What `generation.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The schedule that it belongs to, as namespace/name.
    pub schedule: String,
    /// The UID of the migration that wrote it.
    pub uid: String,
    /// Its due time.
    pub due: Time,
    /// How its run ended.
    pub state: State,
    /// Records that its source held.
    #[serde(default)]
    pub records: u64,
    /// Bytes of its store's files.
    #[serde(default)]
    pub bytes: u64,
    /// SHA-256 over all collections' fingerprints; empty without a full verification.
    #[serde(default)]
    pub fingerprint: String,
    /// When its run ended; None: it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
}

/// How a generation's run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum State {
    /// It has ended with this verdict.
    Ended(Reason),
    /// It has not.
    #[default]
    Incomplete,
}

/// The word of a run that has not ended.
pub const INCOMPLETE: &str = "Incomplete";

impl From<State> for String {
    fn from(state: State) -> Self {
        state.as_str().into()
    }
}

impl TryFrom<String> for State {
    type Error = serde_json::Error;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        if word == INCOMPLETE {
            return Ok(Self::Incomplete);
        }
        serde_json::from_value(serde_json::Value::String(word)).map(Self::Ended)
    }
}

impl State {
    /// The word that files and statuses use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => INCOMPLETE,
            Self::Ended(reason) => reason.as_str(),
        }
    }

    /// Whether its run ended with Ready=True.
    #[must_use]
    pub fn is_good(self) -> bool {
        is_good(self.as_str())
    }
}

/// Whether a run that ended with this verdict proved its copy.
#[must_use]
pub fn is_good(verdict: &str) -> bool {
    [Reason::Verified, Reason::VerifiedWithSkips, Reason::CountsVerified].iter().any(|good| good.as_str() == verdict)
}

impl Record {
    /// The record of a run that has not ended.
    #[must_use]
    pub fn begun(origin: &Origin, due: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            schedule: origin.schedule.clone(),
            uid: origin.uid.clone(),
            due: Time(due),
            state: State::Incomplete,
            records: 0,
            bytes: 0,
            fingerprint: String::new(),
            ended: None,
        }
    }

    /// The same once its run has ended. `finished`: when, as RFC 3339.
    #[must_use]
    pub fn ended(&self, reason: Reason, finished: &str) -> Self {
        Self { state: State::Ended(reason), ended: finished.parse().ok().map(Time), ..self.clone() }
    }

    /// Its due time.
    #[must_use]
    pub const fn due(&self) -> Timestamp {
        self.due.0
    }

    /// Reads the record of the folder with this name, if it is a generation of this schedule.
    ///
    /// # Errors
    /// Why it is not.
    pub fn read(text: &str, schedule: &str, folder: &str) -> Result<Self, String> {
        let record: Self = serde_json::from_str(text).map_err(|error| format!("it cannot be read: {error}"))?;
        if record.schema != SCHEMA {
            return Err(format!("it has version {}, and this program knows version {SCHEMA}", record.schema));
        }
        if record.schedule != schedule {
            return Err(format!("it belongs to schedule {}", record.schedule));
        }
        if stamp(record.due.0) != folder {
            return Err(format!("it says {}, which is not its folder's due time", record.due.0));
        }
        Ok(record)
    }
}

/// What a prune Job tells the controller, as its termination message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PruneReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Folders that this Job, or one that it went on with, removed.
    pub removed: Vec<String>,
    /// Those that stay although they were named, each with the reason.
    pub kept: Vec<Kept>,
    /// Folders that the controller knew or named, and that do not exist: this Job did not remove them.
    pub missing: Vec<String>,
    /// Generations of the schedule that the controller did not name, the oldest first.
    pub found: Vec<FoundGeneration>,
    /// How many more of these there are.
    pub more: u64,
    /// What went wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// A folder that stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its name.
    pub folder: String,
    /// Why.
    pub why: String,
}

/// A generation that the controller did not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FoundGeneration {
    /// Its folder.
    pub folder: String,
    /// How its run ended.
    pub state: String,
    /// Records of its source.
    pub records: u64,
    /// Bytes of its store.
    pub bytes: u64,
    /// As in its record.
    pub fingerprint: String,
}

impl PruneReport {
    /// Kubernetes cuts a container's termination message at 4 KiB.
    pub const MAX_BYTES: usize = 4000;

    /// The JSON, without as many found generations, and then reasons, as do not fit.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut report = self.clone();
        report.error = report.error.chars().take(300).collect();
        loop {
            let json = serde_json::to_string(&report).unwrap_or_default();
            if json.len() <= Self::MAX_BYTES {
                return json;
            }
            if report.found.pop().is_some() {
                report.more += 1;
            } else if report.kept.pop().is_none() && report.missing.pop().is_none() && report.removed.pop().is_none() {
                return json;
            }
        }
    }
}

/// One generation, as the schedule's status shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GenerationStatus {
    /// Its folder in the target's path, which is its due time in UTC.
    pub folder: String,
    /// How its run ended: a reason of the migration's conditions, or `Incomplete`.
    pub verdict: String,
    /// Records that its source held.
    pub records: i64,
    /// Bytes of its store's files; 0: not known.
    pub bytes: i64,
    /// SHA-256 over all collections' fingerprints; empty without a full verification.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// Its due time has not come: it was made while a clock was wrong, or by hand. It counts as nothing for `keep`, and is not
    /// removed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ahead: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_folder_holds_its_due_time_and_nothing_else_does() {
        let due = at("2026-11-26T02:00:00Z");
        assert_eq!(stamp(due), "20261126T020000Z");
        assert_eq!(due_of_stamp("20261126T020000Z"), Some(due));
        assert_eq!(store_path("/a//b/", due), "a/b/20261126T020000Z/chroma");
        assert_eq!(store_path("", due), "20261126T020000Z/chroma");
        assert_eq!(due_in_path("a/b/20261126T020000Z/chroma/"), Some(due));
        for other in ["", "20261126T0200Z", "20261126t020000z", ".removed-20261126T020000Z", "20261326T020000Z", "x"] {
            assert_eq!(due_of_stamp(other), None, "{other}");
        }
        for other in ["", "chroma", "20261126T020000Z", "a/20261126T020000Z/chroma_db", "20261126T020000Z/chroma/x"] {
            assert_eq!(due_in_path(other), None, "{other}");
        }
    }

    fn child(name: &str, path: &str, kind: &str) -> MemoryMigration {
        let yaml = format!(
            "apiVersion: memory-migration.dev/v1alpha1\nkind: MemoryMigration\nmetadata: {{name: {name}, namespace: team}}\n\
             spec:\n  source: {{remote: {{service: {{name: chroma}}}}}}\n  target: {{local: {{claimName: c, path: {path}}}}}\n"
        );
        let mut migration = crate::api::parse_manifest(&yaml).unwrap();
        migration.metadata.uid = Some("u".into());
        let owner = OwnerReference { kind: kind.into(), name: "nightly".into(), ..OwnerReference::default() };
        migration.metadata.owner_references = Some(vec![OwnerReference { controller: Some(true), ..owner }]);
        migration
    }

    /// Its runner's mount is writable: so nothing but all three together makes one.
    #[test]
    fn a_migration_writes_a_generation_if_owner_name_and_folder_agree() {
        let (name, path) = ("nightly-20261126t0200", "a/20261126T020000Z/chroma");
        let found = origin(&child(name, path, SCHEDULE_KIND));
        assert_eq!(found, Some(Origin { schedule: "team/nightly".into(), uid: "u".into() }));
        for (name, path, kind) in [
            (name, path, "CronJob"),
            ("other-20261126t0200", path, SCHEDULE_KIND),
            ("nightly-20261127t0200", path, SCHEDULE_KIND),
            (name, "a/20261127T020000Z/chroma", SCHEDULE_KIND),
            (name, "a/chroma", SCHEDULE_KIND),
        ] {
            assert_eq!(origin(&child(name, path, kind)), None, "{name} {path} {kind}");
        }
        let mut plan = child(name, path, SCHEDULE_KIND);
        plan.spec.dry_run = true;
        assert_eq!(origin(&plan), None);
    }

    fn record(state: State) -> Record {
        let origin = Origin { schedule: "team/nightly".into(), uid: "u".into() };
        Record { state, ..Record::begun(&origin, at("2026-11-26T02:00:00Z")) }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_only_by_its_own_schedule() {
        for (state, word, good) in [
            (State::Incomplete, "Incomplete", false),
            (State::Ended(Reason::Verified), "Verified", true),
            (State::Ended(Reason::VerifiedWithSkips), "VerifiedWithSkips", true),
            (State::Ended(Reason::CountsVerified), "CountsVerified", true),
            (State::Ended(Reason::VerificationFailed), "VerificationFailed", false),
            (State::Ended(Reason::SearchDegraded), "SearchDegraded", false),
        ] {
            let text = serde_json::to_string(&record(state)).unwrap();
            assert!(text.contains(&format!("\"state\":\"{word}\"")), "{text}");
            let back = Record::read(&text, "team/nightly", "20261126T020000Z").unwrap();
            assert_eq!((back.state, back.state.is_good()), (state, good));
        }
        let text = serde_json::to_string(&record(State::Incomplete)).unwrap();
        let why = |text: &str, schedule: &str, folder: &str| Record::read(text, schedule, folder).unwrap_err();
        assert!(why(&text, "team/other", "20261126T020000Z").contains("belongs to schedule team/nightly"));
        assert!(why(&text, "team/nightly", "20261127T020000Z").contains("not its folder's due time"));
        let newer = text.replace("\"schema\":1", "\"schema\":2");
        assert!(why(&newer, "team/nightly", "20261126T020000Z").contains("version 2"));
        let word = text.replace("Incomplete", "Perfect");
        assert!(why(&word, "team/nightly", "20261126T020000Z").contains("cannot be read"));
    }

    #[test]
    fn a_prune_report_fits_a_termination_message() {
        let kept = |n: usize| Kept { folder: format!("{n:016}"), why: "x".repeat(100) };
        let found = |n: usize| FoundGeneration {
            folder: format!("{n:016}"),
            fingerprint: "f".repeat(64),
            ..FoundGeneration::default()
        };
        let report = PruneReport {
            schema: SCHEMA,
            removed: (0..100).map(|n| format!("{n:016}")).collect(),
            kept: (0..100).map(kept).collect(),
            missing: (0..100).map(|n| format!("{n:016}")).collect(),
            found: (0..100).map(found).collect(),
            more: 0,
            error: "y".repeat(2000),
        };
        let json = report.to_json();
        assert!(json.len() <= PruneReport::MAX_BYTES, "{}", json.len());
        let back: PruneReport = serde_json::from_str(&json).unwrap();
        assert_eq!((back.removed.len(), back.found.len(), back.more), (100, 0, 100));
    }

    proptest! {
        #[test]
        fn any_text_is_a_record_or_a_sentence(text in "\\PC{0,200}") {
            prop_assert!(Record::read(&text, "team/nightly", "20261126T020000Z").is_err());
        }
    }
}
