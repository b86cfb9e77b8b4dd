//! From what a Job and its pods left to the end of a run. Pure. Success is only believed with its proof.

use super::observed::{JobFact, JobPhase, Observed, PodFact};
use crate::api::conditions::{Reason, Situation};
use crate::api::status;
use crate::api::{MemoryMigrationSpec, Verification};
use crate::exit::Exit;
use crate::report::{self, SCHEMA, Summary, Verdict};

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// For good.
    Final {
        /// Why.
        reason: Reason,
        /// What happened and what to do.
        message: String,
        /// The runner's own word.
        summary: Option<Box<Summary>>,
    },
    /// The Job is complete, but nothing is left that proves it: verify again.
    Unproved(String),
}

/// The end that an ended Job means; None while it is active.
#[must_use]
pub fn of_job(spec: &MemoryMigrationSpec, hash: &str, job: &JobFact, observed: &Observed) -> Option<End> {
    match &job.phase {
        JobPhase::Active => None,
        JobPhase::Complete => Some(of_complete(spec, hash, job, observed)),
        JobPhase::Failed(word) => Some(of_failed(hash, job, word, observed)),
    }
}

fn of_complete(spec: &MemoryMigrationSpec, hash: &str, job: &JobFact, observed: &Observed) -> End {
    let pod = latest(job, observed);
    let Some(summary) = pod.and_then(|pod| valid(hash, pod)) else {
        return End::Unproved(format!(
            "Job {} is complete, but no pod is left that says what it found: verifying again",
            job.name
        ));
    };
    match proof(spec, summary) {
        Ok(reason) => {
            let message = format!("{}{}{}", summary.message, weaker(reason), output(reason, job, pod));
            End::Final { reason, message, summary: Some(Box::new(summary.clone())) }
        }
        Err(why) => End::Final {
            reason: Reason::InternalError,
            message: format!(
                "the runner said {} without its proof ({why}){}{}",
                summary.reason.as_str(),
                output(Reason::InternalError, job, pod),
                remedy(Reason::InternalError)
            ),
            summary: Some(Box::new(summary.clone())),
        },
    }
}

fn weaker(reason: Reason) -> &'static str {
    if reason == Reason::CountsVerified { " (only numbers were compared: weaker than Verified)" } else { "" }
}

/// The reason with which a summary lets the object be Ready; otherwise what it lacks.
fn proof(spec: &MemoryMigrationSpec, summary: &Summary) -> Result<Reason, String> {
    let counts = &summary.counts;
    let reason = of_report(summary.reason);
    let expected: &[Reason] = match (spec.dry_run, spec.verification) {
        (true, _) => &[Reason::DryRunCompleted],
        (false, Verification::Counts) => &[Reason::CountsVerified],
        (false, Verification::Full) => &[Reason::Verified, Reason::VerifiedWithSkips],
    };
    if summary.verdict == Verdict::Failed {
        return Err("its verdict is Failed".into());
    }
    if !expected.contains(&reason) {
        return Err("the spec asks for another kind of verdict".into());
    }
    let bad = counts.different + counts.missing + counts.unreadable + counts.changed;
    let full = matches!(reason, Reason::Verified | Reason::VerifiedWithSkips);
    if full && bad > 0 {
        return Err(format!("{bad} records are different, missing, changed or unreadable"));
    }
    if full && !counts.is_complete() {
        return Err("its counts do not add up to the source".into());
    }
    if reason == Reason::Verified && counts.verified != counts.source {
        return Err("not every record of the source is verified".into());
    }
    Ok(reason)
}

fn of_failed(hash: &str, job: &JobFact, word: &str, observed: &Observed) -> End {
    let pod = latest(job, observed);
    let summary = pod.and_then(|pod| valid(hash, pod));
    let said = summary.map(|s| of_report(s.reason));
    let exit = pod.and_then(|pod| pod.exit);
    let cause = pod.and_then(|pod| pod.cause.as_ref()).map(|cause| cause.reason);
    let reason = match word {
        "DeadlineExceeded" => Reason::DeadlineExceeded,
        "PodFailurePolicy" => permanent(said, exit),
        _ if said == Some(Reason::SourceChanging) => Reason::SourceChanging,
        _ if cause == Some(Reason::OutOfMemory) => Reason::OutOfMemory,
        _ if exit == Some(i32::from(Exit::Bug.code())) => Reason::InternalError,
        _ => Reason::BackoffLimitExceeded,
    };
    let message = format!("{}{}{}", last_words(pod, summary), output(reason, job, pod), remedy(reason));
    End::Final { reason, message, summary: summary.cloned().map(Box::new) }
}

/// The reason of a Job that failed at once: what the runner said, if it fits; otherwise what its exit code means.
fn permanent(said: Option<Reason>, exit: Option<i32>) -> Reason {
    let by_code = match exit.and_then(Exit::from_code) {
        Some(Exit::Usage) => Reason::InvalidSpec,
        Some(Exit::Refused) => Reason::PreflightRefused,
        Some(Exit::Different) => Reason::VerificationFailed,
        Some(Exit::Conflict) => Reason::RecordConflict,
        _ => Reason::InternalError,
    };
    match said {
        Some(
            reason @ (Reason::PreflightRefused
            | Reason::VerificationFailed
            | Reason::RecordConflict
            | Reason::SourceReplaced
            | Reason::InvalidSpec),
        ) => reason,
        _ => by_code,
    }
}

/// What the runner said at its end, and what Kubernetes knows besides.
fn last_words(pod: Option<&PodFact>, summary: Option<&Summary>) -> String {
    let cause = pod.and_then(|pod| pod.cause.as_ref()).map(|cause| cause.message.as_str());
    match (summary, cause) {
        (Some(summary), Some(cause)) => format!("{}; {cause}", summary.message),
        (Some(summary), None) => summary.message.clone(),
        (None, Some(cause)) => cause.to_owned(),
        (None, None) => no_words(pod.and_then(|pod| pod.exit)),
    }
}

fn no_words(exit: Option<i32>) -> String {
    let code = exit.map_or_else(|| "without an exit code".to_owned(), |code| format!("with exit code {code}"));
    format!("the runner ended {code} and left no message: its log may say more")
}

/// Where the runner's output is, for a reader whom its message sends there: it may be preflight's or the mover's. By the
/// pod: of a Job that tried again, `kubectl logs` shows the first one.
fn output(reason: Reason, job: &JobFact, pod: Option<&PodFact>) -> String {
    let listed = [
        Reason::PreflightRefused,
        Reason::VerificationFailed,
        Reason::RecordConflict,
        Reason::VerifiedWithSkips,
        Reason::InternalError,
    ];
    let place = pod.map_or_else(|| format!("job/{}", job.name), |pod| pod.name.clone());
    if listed.contains(&reason) { format!("; see kubectl logs {place} --all-containers") } else { String::new() }
}

/// What to do after a run that ended badly.
fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::PreflightRefused | Reason::InvalidSpec => {
            "; correct the spec or the data; if the spec stays, change runId to try again"
        }
        Reason::RecordConflict => "; set onConflict to Skip or Overwrite, or mend the records and change runId",
        Reason::VerificationFailed => "; then change runId to compare and repair again",
        Reason::SourceReplaced => "; if the source is as it should be, change runId to migrate what it holds now",
        Reason::SourceChanging => "; stop what writes the source, then change runId",
        Reason::OutOfMemory => "; no retries are left (backoffLimit). Then change runId: it goes on where it stopped",
        Reason::BackoffLimitExceeded => {
            "; no retries are left (backoffLimit). Mend the cause, then change runId: it goes on where it stopped"
        }
        Reason::DeadlineExceeded => {
            "; activeDeadlineSeconds have passed. Raise it, then change runId: it goes on where it stopped"
        }
        _ => "; report this as a bug, with that log, then change runId to try again",
    }
}

/// The end of a run whose deadline passed between two Jobs.
#[must_use]
pub fn deadline() -> End {
    let reason = Reason::DeadlineExceeded;
    End::Final { reason, message: format!("the run has not ended{}", remedy(reason)), summary: None }
}

/// The end of a run whose verdict was lost again and again.
#[must_use]
pub fn lost() -> End {
    let reason = Reason::BackoffLimitExceeded;
    End::Final {
        reason,
        message: format!("the runner's pods vanish before their verdict can be read{}", remedy(reason)),
        summary: None,
    }
}

/// The end of a run whose tries failed too often, over several Jobs.
#[must_use]
pub fn tried_out() -> End {
    let reason = Reason::BackoffLimitExceeded;
    End::Final { reason, message: format!("the run has not succeeded{}", remedy(reason)), summary: None }
}

/// Tries of the run that have failed, up to and with this Job: its pods that failed, and a verdict that got lost.
#[must_use]
pub fn failures(spec: &MemoryMigrationSpec, hash: &str, job: &JobFact, observed: &Observed) -> i32 {
    let lost = matches!(of_job(spec, hash, job, observed), Some(End::Unproved(_)));
    job.failed_before.saturating_add(job.failed).saturating_add(i32::from(lost))
}

/// Whether the run's Job, as far as it can still be read, says what a status claims of the run's end.
#[must_use]
pub fn agrees(
    spec: &MemoryMigrationSpec,
    hash: &str,
    job: &JobFact,
    observed: &Observed,
    (claimed, counts): (Reason, Option<&status::Counts>),
) -> bool {
    match of_job(spec, hash, job, observed) {
        None => false,
        Some(End::Unproved(_)) => true,
        Some(End::Final { reason, summary, .. }) if claimed.situation() == Situation::Done => {
            reason == claimed && summary.map(|summary| summary.counts.into()).as_ref() == counts
        }
        // Once its pods are gone, a Job that failed says less than the status.
        Some(End::Final { reason, .. }) => reason.situation() == claimed.situation(),
    }
}

/// The condition's reason for a report's.
#[must_use]
pub fn of_report(reason: report::Reason) -> Reason {
    match reason {
        report::Reason::Verified => Reason::Verified,
        report::Reason::VerifiedWithSkips => Reason::VerifiedWithSkips,
        report::Reason::CountsVerified => Reason::CountsVerified,
        report::Reason::DryRunCompleted => Reason::DryRunCompleted,
        report::Reason::PreflightRefused => Reason::PreflightRefused,
        report::Reason::VerificationFailed => Reason::VerificationFailed,
        report::Reason::RecordConflict => Reason::RecordConflict,
        report::Reason::SourceChanging => Reason::SourceChanging,
        report::Reason::SourceNotFound => Reason::SourceNotFound,
        report::Reason::SourceEmpty => Reason::SourceEmpty,
        report::Reason::SourceReplaced => Reason::SourceReplaced,
        report::Reason::TargetNotFound => Reason::TargetNotFound,
        report::Reason::TargetBusy => Reason::TargetBusy,
        report::Reason::Interrupted | report::Reason::Unavailable => Reason::Retrying,
        report::Reason::InvalidSpec => Reason::InvalidSpec,
        report::Reason::InternalError => Reason::InternalError,
    }
}

/// The Job's last pod, where it has ended with a verdict that is no failure.
#[must_use]
pub fn ended_well<'a>(hash: &str, job: &JobFact, observed: &'a Observed) -> Option<&'a PodFact> {
    let pod = latest(job, observed)?;
    let summary = valid(hash, pod)?;
    (pod.exit.is_none() && summary.verdict != Verdict::Failed).then_some(pod)
}

/// The waiting reason between two tries of a Job.
#[must_use]
pub fn between_tries(hash: &str, job: &JobFact, observed: &Observed) -> Option<(Reason, String)> {
    let pod = latest(job, observed)?;
    let summary = valid(hash, pod);
    let reason = match summary.map(|s| of_report(s.reason)) {
        Some(reason @ (Reason::SourceNotFound | Reason::SourceEmpty | Reason::TargetNotFound | Reason::TargetBusy)) => {
            reason
        }
        _ => Reason::Retrying,
    };
    let said = last_words(Some(pod), summary);
    Some((reason, format!("{said}; it is tried again and goes on where it stopped")))
}

/// The Job's pod that was made last and has ended.
fn latest<'a>(job: &JobFact, observed: &'a Observed) -> Option<&'a PodFact> {
    observed.pods.iter().filter(|pod| pod.job == job.name && !pod.alive).max_by_key(|pod| pod.created)
}

/// A summary that is of this run and of a shape that is known.
fn valid<'a>(hash: &str, pod: &'a PodFact) -> Option<&'a Summary> {
    let known = |schema: u32| schema == SCHEMA || schema + 1 == SCHEMA;
    pod.summary.as_ref().filter(|s| s.run_hash == hash && known(s.schema))
}
