//! The decision itself: which of the resource's rules applies. Pure: no client, no clock, no async.
//! `plan` turns it into writes.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::observed::{Endpoint, JobFact, Lock, Observed, PodFact};
use super::verdict::{self, End};
use super::{Settings, job, lock, placement, statuses};
use crate::api::conditions::Reason;
use crate::api::{MemoryMigration, MemoryMigrationSpec, MemoryMigrationStatus};
use crate::report::Summary;

/// How often a running migration is looked at: its progress, and who uses its claims.
pub(super) const WHILE_RUNNING: Duration = Duration::from_secs(5);
/// How often something that cannot be watched is looked at again.
pub(super) const WHILE_WAITING: Duration = Duration::from_secs(15);
/// Something of ours is about to end.
pub(super) const SOON: Duration = Duration::from_secs(3);

/// What is decided, before it is put into a status.
#[derive(Clone, Debug)]
pub(super) enum Decision {
    /// A finished run: nothing changes but what is said about the generation.
    Keep(Reason),
    /// Say this and look again.
    Say { reason: Reason, message: String, after: Option<Duration> },
    /// The same, and delete these Jobs.
    Stop { reason: Reason, message: String, after: Option<Duration> },
    /// Remove a lock that nobody holds any more.
    BreakLock { uid: String },
    /// Create the Job of the next attempt, under this lock.
    Start { job: Box<Job>, lock: Option<String>, take: bool },
    /// The run is over.
    End { reason: Reason, message: String, summary: Option<Box<Summary>> },
}

/// Applies the first rule that fits.
pub(super) fn decide(
    migration: &MemoryMigration,
    hash: &str,
    before: &MemoryMigrationStatus,
    observed: &Observed,
    settings: &Settings,
    now: &Time,
) -> Decision {
    let current = observed.jobs.iter().find(|job| job.run == hash && !job.deleting);
    // A finished status beside a Job that says otherwise was not written by this controller: the Job decides.
    let agrees = |reason, job| verdict::agrees(&migration.spec, hash, job, observed, (reason, before.counts.as_ref()));
    if let Some(reason) = statuses::finished(migration, hash, before)
        && current.is_none_or(|job| agrees(reason, job))
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
        if let Some(lost) = observed.alive().find_map(PodFact::lost) {
            return stop_others(Reason::NodeLost, lost.message.clone());
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
    if let Some(lost) = observed.alive().find_map(PodFact::lost) {
        return format!("spec.suspend is true; {}", lost.message);
    }
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
    if before.failures > spec.backoff_limit {
        return end(verdict::tried_out());
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
    if let Some(message) = placement::apart(spec, observed) {
        return say(Reason::ClaimsOnDifferentNodes, message);
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
        failures: before.failures,
        deadline: left,
        one_claim: one_claim(spec),
    };
    let lock = lock::name(spec, &migration.namespace().unwrap_or_default(), &observed.target);
    match job::build(migration, settings, &input) {
        Ok(job) => Decision::Start { job: Box::new(job), take: lock.is_some() && observed.lock != Lock::Ours, lock },
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
        Some(End::Unproved(_)) if verdict::failures(spec, hash, job, observed) > spec.backoff_limit => {
            return end(verdict::lost());
        }
        Some(End::Unproved(message)) => return stop_others(Reason::Retrying, message),
        Some(ended) => return end(ended),
        None => {}
    }
    if let Some(why) = placement::second_writer(spec, observed) {
        return stop_others(Reason::VolumeInUse, format!("the run was stopped: {why}"));
    }
    let Some(pod) = observed.alive().max_by_key(|pod| pod.created) else {
        let trouble = job.trouble.clone().map(|t| (t.reason, t.message));
        let (reason, message) = trouble
            .or_else(|| closing(hash, before, job, observed))
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
    // What the pod before did says nothing about this one.
    let known = if before.pod_name == pod.name { statuses::running_reason(before) } else { Reason::Preflight };
    let reason = stage.map_or(known, Reason::from);
    say(reason, format!("{} in pod {}", statuses::doing(reason), pod.name))
}

/// What is said while the runner has ended well and its Job does not say so yet: the kubelet is faster than the Job's
/// controller. No verdict: that needs the Job.
fn closing(hash: &str, before: &MemoryMigrationStatus, job: &JobFact, observed: &Observed) -> Option<(Reason, String)> {
    let pod = verdict::ended_well(hash, job, observed)?;
    let message = format!("pod {} has ended well: waiting for Job {} to say so", pod.name, job.name);
    Some((statuses::running_reason(before), message))
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
    let used = before.active_since.as_ref().map_or(0, |start| now.0.as_second() - start.0.as_second());
    Some(limit.saturating_sub(used.max(0)))
}

/// Whether both stores are on one claim.
fn one_claim(spec: &MemoryMigrationSpec) -> bool {
    let claim = |name: Option<&String>| name.cloned();
    let source = claim(spec.source.local.as_ref().map(|l| &l.claim_name));
    source.is_some() && source == claim(spec.target.local.as_ref().map(|l| &l.claim_name))
}
