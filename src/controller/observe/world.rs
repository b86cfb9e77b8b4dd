//! What was seen of one migration, as plain facts: all that `plan` decides on. No client, no I/O, no decision.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{SELinuxOptions, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::conditions::Reason;
use crate::api::{Extras, MemoryMigrationSpec, VerificationMode};
use crate::report::{CollectionReport, Listed, Progress, Summary};

/// Everything that was read for one decision.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The Jobs that the object owns, of whatever run, and ended ones that are gone.
    pub jobs: Vec<JobFact>,
    /// The pods with the object's label, of whatever run, and ended ones that are gone.
    pub pods: Vec<PodFact>,
    /// The source's claim or Service.
    pub source: Endpoint,
    /// The target's claim or Service.
    pub target: Endpoint,
    /// Whether both sides may be one store, as those who keep them show; None where that is not known, and where both are
    /// claims, of which the runner sees the files.
    pub one_store: Option<bool>,
    /// Pods of others that use one of the claims and have not ended.
    pub users: Vec<UserFact>,
    /// Who holds the target's lock.
    pub lock: Lock,
    /// Another object whose lock covers a part of what ours does, or more: a run over databases beside a run of one of them.
    /// Beside a run that works: only one that may have begun while our lock was gone.
    pub rival: Option<String>,
    /// Who writes the source: the holder of its lock, where that covers the source's folder.
    pub source_lock: Lock,
    /// All locks that this object holds.
    pub held: Vec<Handle>,
    /// What the runner's log says; None when it was not, or could not be, read.
    pub log: Option<LogFact>,
    /// Until when this process makes no attempt. A restart forgets it.
    pub pause: Option<Pause>,
    /// What the API server refused to delete, by its UID, and until when it is not asked again. A restart forgets it.
    pub deletions: BTreeMap<String, Pause>,
    /// Places in the status that the cluster's CRD does not know.
    pub lacking: BTreeSet<String>,
    /// It is time to send the status whole, so that the answer tells whether the CRD still lacks them.
    pub asks_crd: bool,
    /// Jobs whose ttl comes back after it was removed, by UID.
    pub stubborn: BTreeSet<String>,
}

/// One certain object: never another one of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handle {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// One Job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobFact {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The run that it belongs to.
    pub run: String,
    /// Which attempt of the run it is, from 1.
    pub attempt: i32,
    /// Seconds since 1970 at which it was made.
    pub created: i64,
    /// Whether it has ended, and how.
    pub phase: JobPhase,
    /// It is being deleted.
    pub deleting: bool,
    /// Seconds since 1970 at which its deletion began.
    pub deleted_at: Option<i64>,
    /// It is not there any more: this is what the watch saw last.
    pub gone: bool,
    /// The exit code for which its podFailurePolicy ended it.
    pub exit: Option<i32>,
    /// What kind of proof its run was asked for; None: its manifest cannot be read.
    pub asked: Option<Asked>,
    /// Seconds after which it goes; None: it stays.
    pub ttl: Option<i32>,
    /// Its pods that failed; a pod whose node was drained is none.
    pub failed: i32,
    /// Tries of the run that had failed before it was made.
    pub failed_before: i32,
    /// The node that its pods are bound to, because a claim is in use there.
    pub pin: Option<String>,
    /// Why it can make no pod.
    pub trouble: Option<Trouble>,
}

/// What kind of proof a run is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// A plan: `spec.dryRun`.
    pub plan_only: bool,
    /// Numbers of records: `spec.verification.mode: Counts`.
    pub counts_only: bool,
    /// No record that the source does not hold: `spec.verification.extras: Fail`.
    pub no_extras: bool,
    /// So many records have to be compared at least: one, unless `spec.allowEmpty`.
    pub at_least: u64,
}

/// Whether a Job has ended. A Job ends only when all of its pods have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobPhase {
    /// It has not.
    Active,
    /// A pod succeeded.
    Complete,
    /// It gave up; the reason is Kubernetes' own word.
    Failed(String),
}

/// One pod of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct PodFact {
    /// Its name.
    pub name: String,
    /// The Job that made it.
    pub job: String,
    /// That Job's UID.
    pub job_uid: String,
    /// Seconds since 1970 at which it was made.
    pub created: i64,
    /// It has not ended: it may write.
    pub alive: bool,
    /// It ended and all of its containers ended well.
    pub succeeded: bool,
    /// A container of the runner runs.
    pub started: bool,
    /// The verdict that it left.
    pub summary: Option<Summary>,
    /// The exit code of its runner, where it ended with a failure.
    pub exit: Option<i32>,
    /// Why it does not start, or does not get on.
    pub trouble: Option<Trouble>,
    /// Why it ended, where Kubernetes knows more than the runner could say.
    pub cause: Option<Trouble>,
    /// The container whose log tells the progress.
    pub speaker: Option<&'static str>,
    /// When its mover, or a preflight that failed, ended: by the node's clock.
    pub ended: Option<Time>,
}

/// Something that keeps a pod from starting, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What the condition says.
    pub reason: Reason,
    /// What happened, to which object, and what to do.
    pub message: String,
}

/// A claim or Service that the spec names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Endpoint {
    /// A url, or something that may not be read: the runner finds out.
    #[default]
    Unknown,
    /// It is not there; the text names it and says what to do.
    Missing(String),
    /// It is there.
    Found {
        /// Its UID.
        uid: String,
        /// For a claim: only the pods of one node can use it (`ReadWriteOnce`).
        one_node: bool,
        /// For a claim: only one pod can use it (`ReadWriteOncePod`).
        one_pod: bool,
    },
}

/// Somebody else's pod on one of the claims.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserFact {
    /// The pod.
    pub pod: String,
    /// The claim that it uses.
    pub claim: String,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// Whether it runs; otherwise it is about to.
    pub running: bool,
    /// It cannot write there: its volume, or each of its mounts, is read-only.
    pub read_only: bool,
    /// What it tolerates.
    pub tolerations: Vec<Toleration>,
    /// Its user and groups.
    pub ids: Ids,
}

/// With which ids a pod uses a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ids {
    /// runAsUser.
    pub user: Option<i64>,
    /// runAsGroup.
    pub group: Option<i64>,
    /// fsGroup.
    pub fs_group: Option<i64>,
    /// supplementalGroups.
    pub supplemental: Vec<i64>,
    /// seLinuxOptions.
    pub se_linux: Option<SELinuxOptions>,
}

/// Who may write the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lock {
    /// Nobody. Also where it was not looked at, because nothing is to be written.
    #[default]
    Free,
    /// This object.
    Ours,
    /// Another object.
    Theirs {
        /// namespace/name of the other object.
        holder: String,
    },
    /// An object that is gone, and of which no pod is left.
    Stale {
        /// The Lease's UID, so that only this one is removed.
        uid: String,
    },
}

/// Why and until when no attempt is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// Seconds since 1970 at which it ends.
    pub until: i64,
    /// Attempts on end that came to nothing, this one included.
    pub times: u32,
    /// The generation of the spec that it is about: an edit ends it.
    pub generation: i64,
    /// What the condition says meanwhile.
    pub said: Option<Trouble>,
    /// What ended the attempt.
    pub cause: Cause,
    /// The UID of the Job that it is about, where that is still there, or of what is not deleted.
    pub job: String,
    /// Seconds since 1970 from which that Job is removed.
    pub tidy: i64,
}

/// What ended an attempt before anything was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// The API server did not take the Job or its lock.
    #[default]
    Refused,
    /// The runner has to wait for something that only it can see. The end of the source's writer ends the pause.
    RunnerWaits,
    /// Two migrations stand in each other's way: each writes the other one's source.
    GaveWay,
    /// The API server does not delete a Job, or a lock: no attempt waits for it.
    NotDeleted,
}

/// What the runner's log says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogFact {
    /// The UID of the Job whose pod wrote it.
    pub job_uid: String,
    /// Seconds since 1970 at which its last line was written; None: it holds none.
    pub last_line: Option<i64>,
    /// Seconds since 1970 at which the progress was said.
    pub said_at: Option<i64>,
    /// What the runner found in its source.
    pub listed: Option<Listed>,
    /// Records of the target that will be replaced.
    pub overwrites: Option<u64>,
    /// The last progress line.
    pub progress: Option<Progress>,
    /// The first collections' outcomes, in their order, at most fifty.
    pub collections: Vec<CollectionReport>,
    /// How many collections the run has.
    pub of: u32,
    /// The parts of the whole report, by their numbers.
    pub parts: BTreeMap<u32, String>,
}

impl Asked {
    /// What this spec asks for.
    #[must_use]
    pub fn of(spec: &MemoryMigrationSpec) -> Self {
        Self {
            plan_only: spec.dry_run,
            counts_only: spec.verification.mode == VerificationMode::Counts,
            no_extras: spec.verification.extras() == Extras::Fail,
            at_least: u64::from(!spec.allow_empty),
        }
    }
}

impl PodFact {
    /// What is wrong with its node, if that does not answer.
    #[must_use]
    pub fn lost(&self) -> Option<&Trouble> {
        self.trouble.as_ref().filter(|trouble| trouble.reason == Reason::NodeLost)
    }
}

impl World {
    /// Our pods that have not ended.
    pub fn alive(&self) -> impl Iterator<Item = &PodFact> {
        self.pods.iter().filter(|pod| pod.alive)
    }

    /// The Jobs that are there.
    pub fn present(&self) -> impl Iterator<Item = &JobFact> {
        self.jobs.iter().filter(|job| !job.gone)
    }

    /// Whether no process of this object can write any more.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.alive().next().is_none() && self.present().all(|job| job.phase != JobPhase::Active && !job.deleting)
    }
}
