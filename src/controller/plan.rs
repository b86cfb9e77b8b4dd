//! The decision: from a migration and what was observed to what is to be written. Pure: no client, no clock, no async.
//! Every rule of the resource is here: one writer, one run per hash, nothing for an object that is being deleted.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::observed::{Endpoint, JobFact, JobPhase, Lock, Observed};
use super::verdict::{self, End};
use super::{Settings, events, job, lock, placement, statuses};
use crate::api::conditions::{self, Reason};
use crate::api::{MemoryMigration, MemoryMigrationSpec, MemoryMigrationStatus, Phase};
use crate::report::{Direction, Summary};

/// How often a running migration is looked at: its progress, and who uses its claims.
const WHILE_RUNNING: Duration = Duration::from_secs(5);
/// How often something that cannot be watched is looked at again.
const WHILE_WAITING: Duration = Duration::from_secs(15);
/// Something of ours is about to end.
const SOON: Duration = Duration::from_secs(3);

/// What is to be written, in this order.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Jobs to delete, with their pods.
    pub delete: Vec<Handle>,
    /// A lock whose holder is gone, to remove.
    pub break_lock: Option<Handle>,
    /// The lock to take before anything else is written; without it the rest is not done.
    pub take_lock: Option<String>,
    /// The whole status; None when it is as it should be.
    pub status: Option<Box<MemoryMigrationStatus>>,
    /// The Job to create, after the status that counts it.
    pub create: Option<Box<Job>>,
    /// Seconds to set on an ended Job, once the status holds its verdict.
    pub ttl: Option<(Handle, i32)>,
    /// Locks to give back.
    pub release: Vec<String>,
    /// What people are told.
    pub notices: Vec<events::Notice>,
    /// A run that ended with this plan, for the metrics.
    pub outcome: Option<Outcome>,
    /// When to look again, whatever happens.
    pub requeue: Option<Duration>,
}

/// One certain object: never another one of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// From which kind of endpoint to which.
    pub direction: Direction,
    /// Why it ended.
    pub reason: Reason,
    /// Seconds from its first Job to its end.
    pub seconds: f64,
    /// What became of the records, where the runner said so.
    pub summary: Option<Box<Summary>>,
}

/// What is decided, before it is put into a status.
#[derive(Clone, Debug)]
enum Decision {
    /// A finished run: nothing changes but what is said about the generation.
    Keep(Reason),
    /// Say this and look again.
    Say { reason: Reason, message: String, after: Option<Duration> },
    /// The same, and delete these Jobs.
    Stop { reason: Reason, message: String, after: Option<Duration> },
    /// Remove a lock that nobody holds any more.
    BreakLock { uid: String },
    /// Create the Job of the next attempt.
    Start { job: Box<Job>, lock: Option<String> },
    /// The run is over.
    End { reason: Reason, message: String, summary: Option<Box<Summary>> },
}

/// Decides.
///
/// # Guarantees
/// For an object that is being deleted nothing is created, and no status is written.
#[must_use]
pub fn plan(migration: &MemoryMigration, observed: &Observed, settings: &Settings, now: &Time) -> Plan {
    if migration.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let hash = migration.spec.run_hash();
    let before = statuses::of_run(migration, &hash);
    let decision = decide(migration, &hash, &before, observed, settings, now);
    carry_out(migration, &hash, before, observed, decision, now)
}

fn decide(
    migration: &MemoryMigration,
    hash: &str,
    before: &MemoryMigrationStatus,
    observed: &Observed,
    settings: &Settings,
    now: &Time,
) -> Decision {
    let current = observed.jobs.iter().find(|job| job.run == hash && !job.deleting);
    // A finished status beside a Job that still works was not written by this controller: the Job decides.
    if let Some(reason) = statuses::finished(migration, hash, before)
        && current.is_none_or(|job| job.phase != JobPhase::Active)
    {
        return Decision::Keep(reason);
    }
    let problems = migration.problems();
    if !problems.is_empty() {
        return stop(Reason::InvalidSpec, problems.join("; "), None);
    }
    if migration.spec.suspend {
        return stop(Reason::Suspended, suspended(observed), Some(SOON).filter(|_| !observed.is_quiet()));
    }
    if let Some(what) = leftover(observed, current) {
        if let Some(why) = placement::in_use(&migration.spec, observed) {
            return stop_others(Reason::VolumeInUse, why);
        }
        let message =
            format!("{what} belongs to a run that was edited, stopped or replaced: waiting until it has ended");
        return stop_others(Reason::Retrying, message);
    }
    match current {
        None => start(migration, hash, before, observed, settings, now),
        Some(job) => watch(migration, hash, before, observed, job),
    }
}

fn stop(reason: Reason, message: String, after: Option<Duration>) -> Decision {
    Decision::Stop { reason, message, after }
}

fn stop_others(reason: Reason, message: String) -> Decision {
    stop(reason, message, Some(SOON))
}

fn suspended(observed: &Observed) -> String {
    match observed.alive().next() {
        Some(pod) => format!("spec.suspend is true: pod {} is ending", pod.name),
        None => "spec.suspend is true: set it to false, and the migration goes on where it stopped".into(),
    }
}

/// A Job or pod that is not of the current attempt and may still write.
fn leftover(observed: &Observed, current: Option<&JobFact>) -> Option<String> {
    let current = current.map(|job| job.name.as_str());
    let job = observed.jobs.iter().find(|job| Some(job.name.as_str()) != current);
    let pod = observed.alive().find(|pod| Some(pod.job.as_str()) != current);
    job.map(|job| format!("Job {}", job.name)).or_else(|| pod.map(|pod| format!("pod {}", pod.name)))
}

/// No Job and no pod is there: whether the next attempt can start.
fn start(
    migration: &MemoryMigration,
    hash: &str,
    before: &MemoryMigrationStatus,
    observed: &Observed,
    settings: &Settings,
    now: &Time,
) -> Decision {
    let spec = &migration.spec;
    let say = |reason, message| Decision::Say { reason, message, after: Some(WHILE_WAITING) };
    let left = seconds_left(spec, before, now);
    if left.is_some_and(|left| left <= 0) {
        return end(verdict::deadline());
    }
    if let Endpoint::Missing(what) = &observed.source {
        return say(Reason::SourceNotFound, what.clone());
    }
    if let Endpoint::Missing(what) = &observed.target {
        return say(Reason::TargetNotFound, what.clone());
    }
    if let Some(message) = placement::in_use(spec, observed) {
        return say(Reason::VolumeInUse, message);
    }
    match &observed.lock {
        Lock::Theirs { holder } => {
            let message = format!(
                "MemoryMigration {holder} writes this target: the migration goes on by itself when that one has ended"
            );
            return say(Reason::TargetBusy, message);
        }
        Lock::Stale { uid } => return Decision::BreakLock { uid: uid.clone() },
        Lock::Free | Lock::Ours => {}
    }
    let input = job::Input {
        hash: hash.into(),
        attempt: before.attempts.saturating_add(1),
        pin: placement::pin(spec, observed),
        ids: placement::ids(spec, observed),
        deadline: left,
        one_claim: one_claim(spec),
    };
    let lock = lock::name(spec, &migration.namespace().unwrap_or_default(), &observed.target);
    match job::build(migration, settings, &input) {
        Ok(job) => Decision::Start { job: Box::new(job), lock: lock.filter(|_| observed.lock != Lock::Ours) },
        Err(problem) => Decision::Say { reason: Reason::InvalidSpec, message: problem, after: None },
    }
}

/// The current attempt's Job is there: what it says, and whether it may go on.
fn watch(
    migration: &MemoryMigration,
    hash: &str,
    before: &MemoryMigrationStatus,
    observed: &Observed,
    job: &JobFact,
) -> Decision {
    let spec = &migration.spec;
    let say = |reason, message| Decision::Say { reason, message, after: Some(WHILE_RUNNING) };
    match verdict::of_job(spec, hash, job, observed) {
        Some(_) if let Some(pod) = observed.alive().next() => {
            return say(Reason::Retrying, format!("Job {} has ended: waiting for pod {} to end", job.name, pod.name));
        }
        Some(End::Unproved(_)) if before.attempts > spec.backoff_limit => return end(verdict::lost()),
        Some(End::Unproved(message)) => return stop_others(Reason::Retrying, message),
        Some(ended) => return end(ended),
        None => {}
    }
    if let Some(why) = placement::in_use(spec, observed) {
        return stop_others(Reason::VolumeInUse, format!("the run was stopped: {why}"));
    }
    let Some(pod) = observed.alive().max_by_key(|pod| pod.created) else {
        let trouble = job.trouble.clone().map(|t| (t.reason, t.message));
        let (reason, message) = trouble
            .or_else(|| verdict::between_tries(hash, job, observed))
            .unwrap_or_else(|| (Reason::Preflight, format!("Job {} is starting the runner", job.name)));
        return say(reason, message);
    };
    if let Some(trouble) = &pod.trouble {
        if matches!(trouble.reason, Reason::PodUnschedulable | Reason::ClaimsOnDifferentNodes)
            && is_stale(job, spec, observed)
        {
            return stop_others(Reason::Retrying, format!("{}; the runner is moved", trouble.message));
        }
        return say(trouble.reason, trouble.message.clone());
    }
    let stage = observed.log.as_ref().and_then(|log| log.progress).map(|progress| progress.stage);
    let reason = stage.map_or_else(|| statuses::running_reason(before), Reason::from);
    say(reason, format!("{} in pod {}", statuses::doing(reason), pod.name))
}

/// Whether the Job is bound to a node that its claim's users have left.
fn is_stale(job: &JobFact, spec: &MemoryMigrationSpec, observed: &Observed) -> bool {
    job.pin.is_some() && job.pin != placement::pin(spec, observed).node
}

fn end(end: End) -> Decision {
    match end {
        End::Final { reason, message, summary } => Decision::End { reason, message, summary },
        End::Unproved(message) => stop_others(Reason::Retrying, message),
    }
}

/// Seconds that the run has left; None without a deadline.
fn seconds_left(spec: &MemoryMigrationSpec, before: &MemoryMigrationStatus, now: &Time) -> Option<i64> {
    let limit = spec.active_deadline_seconds?;
    let used = before.start_time.as_ref().map_or(0, |start| now.0.as_second() - start.0.as_second());
    Some(limit.saturating_sub(used.max(0)))
}

/// Whether both stores are on one claim.
#[must_use]
pub fn one_claim(spec: &MemoryMigrationSpec) -> bool {
    let claim = |name: Option<&String>| name.cloned();
    let source = claim(spec.source.local.as_ref().map(|l| &l.claim_name));
    source.is_some() && source == claim(spec.target.local.as_ref().map(|l| &l.claim_name))
}

/// Turns the decision into writes.
fn carry_out(
    migration: &MemoryMigration,
    hash: &str,
    before: MemoryMigrationStatus,
    observed: &Observed,
    decision: Decision,
    now: &Time,
) -> Plan {
    let mut plan = Plan::default();
    let mut status = statuses::next(migration, hash, &before, observed, now);
    let (reason, message) = match decision {
        Decision::Keep(reason) => {
            plan.ttl = ttl(migration, hash, observed);
            plan.delete = deletable(observed, Some(hash));
            status.clone_from(&before);
            (reason, conditions::message(&before.conditions))
        }
        Decision::Say { reason, message, after } => {
            plan.requeue = after;
            (reason, message)
        }
        Decision::Stop { reason, message, after } => {
            plan.delete = deletable(observed, None);
            plan.requeue = after;
            if reason == Reason::Suspended && observed.is_quiet() {
                // As with a Job that is suspended: going on starts the deadline's clock anew.
                status.start_time = None;
            }
            (reason, message)
        }
        Decision::BreakLock { uid } => {
            let name = lock::name(&migration.spec, &migration.namespace().unwrap_or_default(), &observed.target);
            plan.break_lock = name.map(|name| Handle { name, uid });
            plan.requeue = Some(SOON);
            (Reason::TargetBusy, "the migration that wrote this target is gone: taking its place".into())
        }
        Decision::Start { job, lock } => {
            status.attempts = status.attempts.saturating_add(1);
            status.job_name = job.name_any();
            status.start_time = status.start_time.or_else(|| Some(now.clone()));
            status.progress = None;
            plan.take_lock = lock;
            plan.requeue = Some(WHILE_RUNNING);
            let message = format!("Job {} is starting the runner", job.name_any());
            plan.create = Some(job);
            (Reason::Preflight, message)
        }
        Decision::End { reason, message, summary } => {
            statuses::finish(&mut status, reason, summary.as_deref(), observed, now);
            plan.outcome = Some(outcome(migration, &status, reason, summary, now));
            plan.requeue = Some(SOON);
            (reason, message)
        }
    };
    settle(migration, &mut plan, status, reason, &message, observed, now);
    plan
}

/// Completes the status, and the plan with what follows from it.
fn settle(
    migration: &MemoryMigration,
    plan: &mut Plan,
    mut status: MemoryMigrationStatus,
    reason: Reason,
    message: &str,
    observed: &Observed,
    now: &Time,
) {
    let old = migration.status.clone().unwrap_or_default();
    let generation = migration.metadata.generation.unwrap_or_default();
    status.observed_generation = generation;
    let unborn = reason == Reason::Preflight && !observed.alive().any(|pod| pod.started);
    status.phase = Some(if unborn { Phase::Pending } else { reason.phase() });
    status.conditions = conditions::conditions(&old.conditions, reason, &statuses::shorten(message), generation, now);
    plan.notices = events::notices(&old, &status, reason, message);
    if plan.create.is_none() && observed.is_quiet() {
        plan.release.clone_from(&observed.held);
    }
    if status != old {
        plan.status = Some(Box::new(status));
    }
}

/// All Jobs that are not being deleted yet, but for those of the run to keep.
fn deletable(observed: &Observed, keep: Option<&str>) -> Vec<Handle> {
    let jobs = observed.jobs.iter().filter(|job| !job.deleting && Some(job.run.as_str()) != keep);
    jobs.map(|job| Handle { name: job.name.clone(), uid: job.uid.clone() }).collect()
}

/// The ended Job's ttl, where it is not what the spec says.
fn ttl(migration: &MemoryMigration, hash: &str, observed: &Observed) -> Option<(Handle, i32)> {
    let wanted = migration.spec.ttl_seconds_after_finished?;
    let job = observed.jobs.iter().find(|job| job.run == hash && !job.deleting && job.ttl != Some(wanted))?;
    Some((Handle { name: job.name.clone(), uid: job.uid.clone() }, wanted))
}

fn outcome(
    migration: &MemoryMigration,
    status: &MemoryMigrationStatus,
    reason: Reason,
    summary: Option<Box<Summary>>,
    now: &Time,
) -> Outcome {
    let start = status.start_time.as_ref().unwrap_or(now);
    let seconds = now.0.duration_since(start.0).as_secs_f64();
    Outcome { direction: statuses::direction(&migration.spec), reason, seconds, summary }
}

/// What is written when the API server refuses the Job that the plan made: nothing was started.
#[must_use]
pub fn refused(migration: &MemoryMigration, observed: &Observed, code: u16, why: &str, now: &Time) -> Plan {
    let hash = migration.spec.run_hash();
    let before = statuses::of_run(migration, &hash);
    let (reason, message, after) = if code == 422 {
        (Reason::InvalidSpec, format!("the API server refuses the runner's Job ({why}): correct spec.runner"), None)
    } else {
        let message =
            format!("the runner's Job may not be made ({why}): raise the namespace's quota or its admission rules");
        (Reason::QuotaExceeded, message, Some(WHILE_WAITING))
    };
    carry_out(migration, &hash, before, observed, Decision::Say { reason, message, after }, now)
}
