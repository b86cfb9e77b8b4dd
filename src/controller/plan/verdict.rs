//! From what a Job and its pods left to the end of a run. Pure. Success is only believed with its proof.

use super::look::Look;
use super::proof;
use crate::api::conditions::{Reason, Situation, agreed_reason};
use crate::api::status::Counts;
use crate::controller::observe::world::{JobFact, JobPhase, PodFact};
use crate::exit::Exit;
use crate::report::{self, SCHEMA, Summary, Verdict};

/// How a run's Job ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
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
    /// The runner has to wait for something that only it can see. No try has failed.
    Waits {
        /// For what.
        reason: Reason,
        /// What happened.
        message: String,
    },
}

/// The end that an ended Job means; None while it is active, and where it ended too late to count.
#[must_use]
pub(super) fn of_job(look: &Look<'_>, job: &JobFact) -> Option<End> {
    match &job.phase {
        JobPhase::Active if job.deleting || job.gone => of_removed(look, job),
        JobPhase::Active => None,
        JobPhase::Complete => {
            let pod = succeeded(look, job);
            pod.is_none_or(|pod| in_time(look, job, pod)).then(|| of_complete(look, job, pod))
        }
        JobPhase::Failed(word) => {
            let pod = failed(look, job);
            pod.is_none_or(|pod| in_time(look, job, pod)).then(|| of_failed(look, job, word, pod))
        }
    }
}

/// The end of a run for good, if its Job says so, whether or not that is still there.
#[must_use]
pub(super) fn of_run(look: &Look<'_>) -> Option<End> {
    look.job().and_then(|job| of_job(look, job)).filter(|end| matches!(end, End::Final { .. }))
}

/// A Job that is removed gets no condition any more: its pod decides.
fn of_removed(look: &Look<'_>, job: &JobFact) -> Option<End> {
    if let Some(pod) = succeeded(look, job).filter(|pod| in_time(look, job, pod)) {
        return Some(of_complete(look, job, Some(pod)));
    }
    let pod = failed(look, job).filter(|pod| in_time(look, job, pod))?;
    let permanent = pod.exit.and_then(Exit::from_code).is_some_and(Exit::is_permanent);
    permanent.then(|| of_failed(look, job, "PodFailurePolicy", Some(pod)))
}

/// Whether an end counts: it came before the Job's deletion began, or that was no deletion for the sake of the data.
/// Beside a second writer nothing is proved.
fn in_time(look: &Look<'_>, job: &JobFact, pod: &PodFact) -> bool {
    // A deletion that was refused at first began later than the second writer; of a Job that vanished nobody knows when.
    let begun = job.deleted_at.filter(|_| !look.world.deletions.contains_key(&job.uid));
    let ended = pod.ended.as_ref().map(|ended| ended.0.as_second());
    let before_it = ended.zip(begun).is_some_and(|(ended, begun)| ended <= begun);
    before_it || !stopped_for_the_data(look, &job.uid)
}

/// The Job, if it has ended although the operator stopped it for the sake of the data, and is not being deleted yet.
#[must_use]
pub(super) fn ended_late<'l>(look: &'l Look<'_>) -> Option<&'l JobFact> {
    look.working_job().filter(|job| job.phase != JobPhase::Active && stopped_for_the_data(look, &job.uid))
}

/// Whether the operator stopped the Job of this UID because somebody else may write its target.
#[must_use]
pub(super) fn stopped_for_the_data(look: &Look<'_>, job: &str) -> bool {
    let reason = agreed_reason(&look.before.conditions);
    let stopped = !job.is_empty() && job == look.before.stopped_job;
    stopped && matches!(reason, Some(Reason::VolumeInUse | Reason::TargetBusy))
}

fn of_complete(look: &Look<'_>, job: &JobFact, pod: Option<&PodFact>) -> End {
    let Some(summary) = pod.and_then(|pod| valid(look, pod)) else {
        return End::Unproved(format!(
            "Job {} is complete, but no pod is left that says what it found: verifying again",
            job.name
        ));
    };
    match doubt(look, summary) {
        None => {
            let reason = of_report(summary.reason);
            let message = format!("{}{}{}", summary.message, weaker(reason), output(reason, job, pod));
            End::Final { reason, message, summary: Some(Box::new(summary.clone())) }
        }
        Some(why) => End::Final {
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

/// What a summary lacks to let the object be Ready.
fn doubt(look: &Look<'_>, summary: &Summary) -> Option<String> {
    if summary.verdict == Verdict::Failed {
        return Some("its verdict is Failed".into());
    }
    proof::doubt(look.asked(), of_report(summary.reason), &summary.counts, summary.verification.identical)
}

fn weaker(reason: Reason) -> &'static str {
    if reason == Reason::CountsVerified { " (only numbers were compared: weaker than Verified)" } else { "" }
}

fn of_failed(look: &Look<'_>, job: &JobFact, word: &str, pod: Option<&PodFact>) -> End {
    let summary = pod.and_then(|pod| valid(look, pod));
    let said = summary.map(|s| of_report(s.reason));
    let exit = pod.and_then(|pod| pod.exit).or(job.exit);
    if word == "PodFailurePolicy" && exit == Some(i32::from(Exit::Waiting.code())) {
        return waits(summary);
    }
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

/// A wait that only the runner sees.
fn waits(summary: Option<&Summary>) -> End {
    let reason = summary.map(|s| of_report(s.reason)).filter(|reason| WAITS.contains(reason));
    let said = summary.map_or("the runner could not begin yet, and left no message", |s| s.message.as_str());
    let message = format!("{said}; the next attempt comes within 5 minutes, and no try is counted");
    End::Waits { reason: reason.unwrap_or(Reason::Retrying), message }
}

/// What the runner may have to wait for.
pub(super) const WAITS: [Reason; 4] =
    [Reason::SourceNotFound, Reason::SourceEmpty, Reason::TargetNotFound, Reason::TargetBusy];

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
            | Reason::SearchDegraded
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
        Reason::SourceReplaced,
        Reason::VerificationFailed,
        Reason::SearchDegraded,
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
        Reason::RecordConflict => "; set onConflict to Skip or Overwrite, or correct the records and change runId",
        Reason::SearchDegraded => "; then change runId to check again",
        Reason::VerificationFailed => "; then change runId to compare again",
        Reason::SourceReplaced => "; if the source is as it should be, change runId to migrate what it holds now",
        Reason::SourceChanging => "; stop what writes the source, then change runId",
        Reason::OutOfMemory => "; no retries are left (backoffLimit). Then change runId: it resumes",
        Reason::BackoffLimitExceeded => {
            "; no retries are left (backoffLimit). Fix the cause, then change runId: it resumes"
        }
        Reason::DeadlineExceeded => {
            "; activeDeadlineSeconds have passed (the spec's, or the Job's own, where somebody has set one). Raise it, then \
             change runId: it resumes"
        }
        _ => "; report this as a bug, with that log, then change runId to try again",
    }
}

/// The end of a run whose deadline passed between two Jobs.
#[must_use]
pub(super) fn deadline() -> End {
    let reason = Reason::DeadlineExceeded;
    End::Final { reason, message: format!("the run has not ended{}", remedy(reason)), summary: None }
}

/// The end of a run whose verdict was lost again and again.
#[must_use]
pub(super) fn lost() -> End {
    let reason = Reason::BackoffLimitExceeded;
    End::Final {
        reason,
        message: format!("the runner's pods vanish before their verdict can be read{}", remedy(reason)),
        summary: None,
    }
}

/// The end of a run whose tries failed too often, over several Jobs.
#[must_use]
pub(super) fn tried_out() -> End {
    let reason = Reason::BackoffLimitExceeded;
    End::Final { reason, message: format!("the run has not succeeded{}", remedy(reason)), summary: None }
}

/// Tries of the run that have failed, up to and with this Job: its pods that failed, and a verdict that got lost.
#[must_use]
pub(super) fn failures(look: &Look<'_>, job: &JobFact) -> i32 {
    let waiting = Some(i32::from(Exit::Waiting.code()));
    let waited = pods(look, job).filter(|pod| pod.exit == waiting).count().max(usize::from(job.exit == waiting));
    let failed = job.failed.saturating_sub(i32::try_from(waited).unwrap_or(i32::MAX)).max(0);
    let lost = matches!(of_job(look, job), Some(End::Unproved(_)));
    job.failed_before.saturating_add(failed).saturating_add(i32::from(lost))
}

/// Whether the run's Job, as far as it can still be read, says what a status claims of the run's end.
#[must_use]
pub(super) fn agrees(look: &Look<'_>, job: &JobFact, claimed: Reason, counts: Option<&Counts>) -> bool {
    match of_job(look, job) {
        None => job.gone || job.deleting,
        // A finished status is never withdrawn because its pods are gone.
        Some(End::Unproved(_)) => true,
        Some(End::Waits { .. }) => false,
        Some(End::Final { reason, summary, .. }) if claimed.situation() == Situation::Done => {
            reason == claimed && summary.map(|summary| summary.counts.into()).as_ref() == counts
        }
        // Once its pods are gone, a Job that failed says less than the status.
        Some(End::Final { reason, .. }) => reason.situation() == claimed.situation(),
    }
}

/// The condition's reason for a report's.
#[must_use]
pub(super) fn of_report(reason: report::Reason) -> Reason {
    match reason {
        report::Reason::Verified => Reason::Verified,
        report::Reason::VerifiedWithSkips => Reason::VerifiedWithSkips,
        report::Reason::CountsVerified => Reason::CountsVerified,
        report::Reason::DryRunCompleted => Reason::DryRunCompleted,
        report::Reason::PreflightRefused => Reason::PreflightRefused,
        report::Reason::VerificationFailed => Reason::VerificationFailed,
        report::Reason::SearchDegraded => Reason::SearchDegraded,
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
pub(super) fn ended_well<'l>(look: &'l Look<'_>, job: &JobFact) -> Option<&'l PodFact> {
    let pod = latest(look, job)?;
    let summary = valid(look, pod)?;
    (pod.exit.is_none() && summary.verdict != Verdict::Failed).then_some(pod)
}

/// The waiting reason between two tries of a Job.
#[must_use]
pub(super) fn between_tries(look: &Look<'_>, job: &JobFact) -> Option<(Reason, String)> {
    let pod = latest(look, job)?;
    let summary = valid(look, pod);
    let reason = summary.map(|s| of_report(s.reason)).filter(|reason| WAITS.contains(reason));
    let said = last_words(Some(pod), summary);
    Some((reason.unwrap_or(Reason::Retrying), format!("{said}; the next attempt resumes")))
}

/// The pods that this Job made, by its UID.
fn pods<'l>(look: &'l Look<'_>, job: &JobFact) -> impl Iterator<Item = &'l PodFact> {
    look.world.pods.iter().filter(move |pod| pod.job_uid == job.uid)
}

/// The Job's pod that was made last and has ended.
fn latest<'l>(look: &'l Look<'_>, job: &JobFact) -> Option<&'l PodFact> {
    pods(look, job).filter(|pod| !pod.alive).max_by_key(|pod| pod.created)
}

/// The Job's pod that succeeded: one that failed before it may be left alone.
fn succeeded<'l>(look: &'l Look<'_>, job: &JobFact) -> Option<&'l PodFact> {
    pods(look, job).filter(|pod| pod.succeeded).max_by_key(|pod| pod.created)
}

/// The Job's last pod that did not succeed.
fn failed<'l>(look: &'l Look<'_>, job: &JobFact) -> Option<&'l PodFact> {
    pods(look, job).filter(|pod| !pod.alive && !pod.succeeded).max_by_key(|pod| pod.created)
}

/// A summary that is of this run and of a shape that is known.
fn valid<'l>(look: &Look<'_>, pod: &'l PodFact) -> Option<&'l Summary> {
    let known = |schema: u32| schema == SCHEMA || schema + 1 == SCHEMA;
    pod.summary.as_ref().filter(|s| s.run_hash == look.run && known(s.schema))
}
