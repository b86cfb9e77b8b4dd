//! What is seen of a schedule's migrations, and what can be said of each by itself. Pure: no client, no clock.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ObjectMeta;

use crate::api::conditions::{self, Reason, Situation};
use crate::api::endpoint::folders;
use crate::api::schedule::calendar;
use crate::api::schedule::generation::{PruneReport, due_of_stamp};
use crate::api::{LastSuccess, MemoryMigration, MemoryMigrationSchedule, MemoryMigrationSpec, SCHEDULE_KIND};
use crate::controller::Found;
use crate::controller::build::placement::Pin;
use crate::controller::build::{ANNOTATION_NAME, PRUNER};
use crate::controller::observe::facts;
use crate::controller::observe::world::{Handle, Ids, JobPhase, Lock};

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The schedule, with its status as it was read.
    pub schedule: &'a MemoryMigrationSchedule,
    /// What is seen of its migrations.
    pub world: &'a World,
    /// The time, in whole seconds.
    pub now: Timestamp,
}

/// Everything that a plan needs besides the schedule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// The migrations that the schedule owns, by due time.
    pub children: Vec<ChildFact>,
    /// Names of its migrations of which a Job or pod still works, though the object is gone.
    pub left: Vec<String>,
    /// The API server refused the last creation or deletion.
    pub pause: Option<Pause>,
    /// Due times of migrations of which a Job or pod works.
    pub works: BTreeSet<Timestamp>,
    /// Due times of generations that other migrations read or write which have not ended.
    pub readers: BTreeSet<Timestamp>,
    /// A migration cannot be read, or names a folder above the generations: nobody knows what is in use.
    pub unknown_readers: bool,
    /// What is seen of the generations' claim; None: it was not looked at.
    pub claim: Option<ClaimFact>,
    /// The API server refused a write for pruning.
    pub prune_pause: Option<Pause>,
}

/// The claim with a schedule's generations, and who uses it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimFact {
    /// The lock on it.
    pub lock: Lock,
    /// That lock's Lease.
    pub lease: Option<Handle>,
    /// Why somebody else's pod keeps pruning waiting.
    pub foreign: Option<String>,
    /// Where a pod must run.
    pub pin: Pin,
    /// As whom.
    pub ids: Ids,
    /// The schedule's prune Jobs, the oldest first.
    pub jobs: Vec<PruneJob>,
}

/// A prune Job of the schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneJob {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Whether it has ended.
    pub phase: JobPhase,
    /// It is being deleted.
    pub deleting: bool,
    /// A pod of it has not ended.
    pub alive: bool,
    /// What its pod left.
    pub report: Option<PruneReport>,
}

impl PruneJob {
    /// By which it is deleted.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { name: self.name.clone(), uid: self.uid.clone() }
    }
}

/// A migration that the schedule owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChildFact {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Which version of it was seen.
    pub version: String,
    /// Its due time, from its name.
    pub due: Timestamp,
    /// It is being deleted.
    pub deleting: bool,
    /// Where it writes, as claim:path; empty: into a server.
    pub store: String,
    /// How its run ended; None: it has not, or the object cannot be read.
    pub ended: Option<EndFact>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndFact {
    /// Ready=True, also after a dry run.
    pub succeeded: bool,
    /// The reason of the conditions.
    pub reason: String,
    /// Their message.
    pub message: String,
    /// What its status keeps of the success; None after a failure or a dry run.
    pub success: Option<LastSuccess>,
}

/// A write that the API server refused: it is not asked again at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pause {
    /// Until when, in seconds since 1970.
    pub until: i64,
    /// How many refusals in a row.
    pub times: u32,
    /// What is said meanwhile.
    pub said: String,
    /// It was a deletion.
    pub deletes: bool,
}

/// A write that the API server refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// A verb and an object, as "create MemoryMigration team/nightly-20261126t0200".
    pub what: String,
    /// The HTTP code; None: no answer.
    pub code: Option<u16>,
    /// The API server's own words.
    pub why: String,
    /// An object of somebody else has that name.
    pub in_the_way: bool,
    /// It was a deletion.
    pub deletes: bool,
}

/// Seconds of the first pause; each further one is twice as long.
const FIRST_PAUSE: i64 = 60;
/// The longest one.
const LONGEST_PAUSE: i64 = 300;

/// The pause after one more refusal.
#[must_use]
pub fn next_pause(before: Option<&Pause>, refusal: &Refusal, now: Timestamp) -> Pause {
    let times = before.map_or(0, |pause| pause.times).saturating_add(1);
    let seconds = FIRST_PAUSE.saturating_mul(1 << times.clamp(1, 4).saturating_sub(1)).min(LONGEST_PAUSE);
    let Refusal { what, code, why, in_the_way, deletes } = refusal;
    let said = if *in_the_way {
        format!(
            "cannot {what}: there is one of that name that this schedule does not own. Delete it, or rename the schedule"
        )
    } else {
        let code = code.map_or_else(|| "no answer".to_owned(), |code| code.to_string());
        format!(
            "cannot {what} ({code}: {why}): let the operator do it, raise the quota, change the policy that refuses it, or \
             correct spec.template; it is tried again by itself, within 5 minutes"
        )
    };
    Pause { until: now.as_second() + seconds, times, said, deletes: *deletes }
}

impl Pause {
    /// Seconds that are left of it. A clock that was set back cannot make it longer.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> Option<i64> {
        let left = self.until - now.as_second();
        (1..=LONGEST_PAUSE).contains(&left).then_some(left)
    }
}

/// Whether a schedule of this UID owns an object.
#[must_use]
pub fn is_owned(metadata: &ObjectMeta, uid: &str) -> bool {
    owner(metadata).is_some_and(|owner| owner.uid == uid)
}

/// The schedule that owns an object.
#[must_use]
pub fn owner(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = metadata.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.kind == SCHEDULE_KIND && owner.controller == Some(true))
}

/// The schedule's migrations among these, by due time.
pub fn children<'a>(schedule: &str, uid: &str, all: impl IntoIterator<Item = &'a Found>) -> Vec<ChildFact> {
    let mut children: Vec<ChildFact> = all.into_iter().filter_map(|found| child(schedule, uid, found)).collect();
    children.sort_by_key(|child| child.due);
    children
}

fn child(schedule: &str, uid: &str, found: &Found) -> Option<ChildFact> {
    let metadata = match &found.0 {
        Ok(migration) => &migration.metadata,
        Err(invalid) => &invalid.metadata,
    };
    let name = metadata.name.clone().filter(|_| is_owned(metadata, uid))?;
    Some(ChildFact {
        due: calendar::due_of(schedule, &name)?,
        name,
        uid: metadata.uid.clone().unwrap_or_default(),
        version: metadata.resource_version.clone().unwrap_or_default(),
        deleting: metadata.deletion_timestamp.is_some(),
        store: found.0.as_ref().ok().and_then(|migration| store(&migration.spec)).unwrap_or_default(),
        ended: found.0.as_ref().ok().and_then(ended),
    })
}

fn store(spec: &MemoryMigrationSpec) -> Option<String> {
    let local = spec.target.local.as_ref()?;
    Some(format!("{}:{}", local.claim_name, folders(&local.path).join("/")))
}

/// How the run of the spec as it is now ended; None: it has not.
#[must_use]
pub fn ended(migration: &MemoryMigration) -> Option<EndFact> {
    let status = migration.status.as_ref()?;
    if migration.metadata.generation.is_some_and(|generation| generation != status.observed_generation) {
        return None;
    }
    let (situation, word) = conditions::said(&status.conditions)?;
    let succeeded = match situation {
        Situation::Done => true,
        Situation::NeedsPerson => false,
        Situation::Running | Situation::Waiting | Situation::Suspended => return None,
    };
    let success = status.last_success.clone().filter(|success| success.run_hash == status.run_hash);
    let is_plan = word == Reason::DryRunCompleted.as_str();
    Some(EndFact {
        succeeded,
        reason: word.to_owned(),
        message: conditions::message(&status.conditions),
        success: success.filter(|_| succeeded && !is_plan),
    })
}

/// Which generations of the schedule other migrations may read or write; and whether that is not known of one.
pub fn readers<'a>(
    schedule: &MemoryMigrationSchedule,
    all: impl IntoIterator<Item = &'a Found>,
) -> (BTreeSet<Timestamp>, bool) {
    let (mut readers, mut unknown) = (BTreeSet::new(), false);
    let Some(local) = schedule.spec.template.spec.target.local.as_ref() else { return (readers, false) };
    let (here, uid) = (folders(&local.path), schedule.uid().unwrap_or_default());
    for found in all {
        let Ok(migration) = &found.0 else {
            unknown = true;
            continue;
        };
        if is_owned(&migration.metadata, &uid) || ended(migration).is_some() {
            continue;
        }
        let (source, target) = (&migration.spec.source.local, &migration.spec.target.local);
        let source = source.as_ref().map(|local| (local.claim_name.as_str(), local.path.as_str()));
        let target = target.as_ref().map(|local| (local.claim_name.as_str(), local.path.as_str()));
        for (_, path) in source.into_iter().chain(target).filter(|(claim, _)| *claim == local.claim_name) {
            let path = folders(path);
            unknown |= here.starts_with(&path);
            let below = path.strip_prefix(here.as_slice()).and_then(<[_]>::first);
            readers.extend(below.and_then(|folder| due_of_stamp(folder)));
        }
    }
    (readers, unknown)
}

/// The prune Jobs among these that the schedule owns, the oldest first.
#[must_use]
pub fn prune_jobs(uid: &str, jobs: &[Job], pods: &[Pod]) -> Vec<PruneJob> {
    let mut ours: Vec<&Job> = jobs.iter().filter(|job| is_owned(&job.metadata, uid)).collect();
    ours.sort_by_key(|job| job.creation_timestamp().map(|made| made.0));
    let fact = |job: &Job| {
        let uid = job.uid().unwrap_or_default();
        let made = |pod: &&Pod| pod.owner_references().iter().any(|owner| owner.kind == "Job" && owner.uid == uid);
        let pods: Vec<&Pod> = pods.iter().filter(made).collect();
        PruneJob {
            name: job.name_any(),
            phase: facts::job_phase(job),
            deleting: job.metadata.deletion_timestamp.is_some(),
            alive: pods.iter().any(|pod| facts::is_alive(pod)),
            report: pods.iter().find_map(|pod| report(pod)),
            uid,
        }
    };
    ours.into_iter().map(fact).collect()
}

fn report(pod: &Pod) -> Option<PruneReport> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let pruner = statuses.iter().find(|status| status.name == PRUNER)?;
    serde_json::from_str(pruner.state.as_ref()?.terminated.as_ref()?.message.as_ref()?).ok()
}

/// Names of the schedule's migrations that are not among `children` and of which a Job or pod still works.
#[must_use]
pub fn left(schedule: &str, children: &[ChildFact], jobs: &[Job], pods: &[Pod]) -> Vec<String> {
    let mut names = at_work(schedule, jobs, pods);
    names.retain(|name| children.iter().all(|child| child.name != *name));
    names
}

/// Names of the schedule's migrations of which a Job or pod still works.
#[must_use]
pub fn at_work(schedule: &str, jobs: &[Job], pods: &[Pod]) -> Vec<String> {
    let working = jobs.iter().filter(|job| facts::job_phase(job) == JobPhase::Active).map(ResourceExt::annotations);
    let alive = pods.iter().filter(|pod| facts::is_alive(pod)).map(ResourceExt::annotations);
    let mut names: Vec<String> = working
        .chain(alive)
        .filter_map(|annotations| annotations.get(ANNOTATION_NAME))
        .filter(|name| calendar::due_of(schedule, name).is_some())
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names
}

/// A time as Kubernetes writes it.
#[must_use]
pub fn time(timestamp: Timestamp) -> Time {
    Time(timestamp)
}
