//! From a migration and what was observed to what is to be written; the rules are in `decide`.
//! Pure: no client, no clock, no async.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::decide::{Decision, SOON, WHILE_RUNNING, WHILE_WAITING, decide};
use super::observed::Observed;
use super::{Settings, events, lock, shown, statuses};
use crate::api::conditions::{self, Reason};
use crate::api::{MemoryMigration, MemoryMigrationStatus, Phase};
use crate::report::{Direction, Summary};

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
    carry_out(migration, &hash, &before, observed, decision, now)
}

/// Turns the decision into writes.
fn carry_out(
    migration: &MemoryMigration,
    hash: &str,
    before: &MemoryMigrationStatus,
    observed: &Observed,
    decision: Decision,
    now: &Time,
) -> Plan {
    let mut plan = Plan::default();
    let mut status = statuses::next(migration, hash, before, observed, now);
    let (reason, message) = match decision {
        Decision::Keep(reason) => {
            plan.ttl = ttl(migration, hash, observed);
            plan.delete = deletable(observed, Some(hash));
            status.clone_from(before);
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
                status.active_since = None;
            }
            (reason, message)
        }
        Decision::BreakLock { uid } => {
            let name = lock::name(&migration.spec, &migration.namespace().unwrap_or_default(), &observed.target);
            plan.break_lock = name.map(|name| Handle { name, uid });
            plan.requeue = Some(SOON);
            (Reason::TargetBusy, "the migration that wrote this target is gone: taking its place".into())
        }
        Decision::Start { job, lock, take } => {
            status.attempts = status.attempts.saturating_add(1);
            status.job_name = job.name_any();
            shown::begin_again(&mut status);
            status.start_time = status.start_time.or_else(|| Some(now.clone()));
            status.active_since = status.active_since.or_else(|| Some(now.clone()));
            plan.release = observed.held.iter().filter(|held| Some(*held) != lock.as_ref()).cloned().collect();
            plan.take_lock = lock.filter(|_| take);
            plan.requeue = Some(WHILE_RUNNING);
            let message = format!("Job {} is starting the runner", job.name_any());
            plan.create = Some(job);
            (Reason::Preflight, message)
        }
        Decision::End { reason, message, summary } => {
            statuses::finish(&migration.spec, &mut status, reason, summary.as_deref(), observed, now);
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
    let end = status.completion_time.as_ref().unwrap_or(now);
    let seconds = end.0.duration_since(start.0).as_secs_f64().max(0.0);
    Outcome { direction: statuses::direction(&migration.spec), reason, seconds, summary }
}

/// What is written when the API server refuses the Job that the plan made: nothing was started.
#[must_use]
pub fn refused(migration: &MemoryMigration, observed: &Observed, code: u16, why: &str, now: &Time) -> Plan {
    let hash = migration.spec.run_hash();
    let before = statuses::of_run(migration, &hash);
    let (reason, message, after) = if code == 422 {
        (Reason::InvalidSpec, format!("the API server refuses the runner's Job ({why}): correct spec.runner"), None)
    } else if code == 409 {
        (Reason::Retrying, why.to_owned(), Some(WHILE_WAITING))
    } else {
        let message =
            format!("the runner's Job may not be made ({why}): raise the namespace's quota, or allow the Job there");
        (Reason::NotAdmitted, message, Some(WHILE_WAITING))
    };
    carry_out(migration, &hash, &before, observed, Decision::Say { reason, message, after }, now)
}
