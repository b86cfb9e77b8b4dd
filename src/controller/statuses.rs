//! From what was observed to the parts of a status. Pure. Which run a status is about is in `look`.

use super::look::{Look, time};
use super::{shown, verdict};
use crate::api::conditions::{Reason, Situation};
use crate::api::status::{CollectionStatus, Counts, MAX_COLLECTIONS, VerificationStatus};
use crate::api::{MemoryMigrationSpec, MemoryMigrationStatus};
use crate::report::{Direction, Summary};

/// Bytes of a message: a condition's may have 32 KiB and an event's note 1 KiB; people read less.
const MAX_MESSAGE: usize = 1000;

/// The status of a run that goes on: what is known of it, with the log's progress.
#[must_use]
pub fn next(look: &Look<'_>) -> MemoryMigrationStatus {
    let spec = look.spec();
    let before = &look.before;
    let mut status = MemoryMigrationStatus {
        run_hash: look.run.clone(),
        run_id: if look.is_at_the_specs_run() { spec.run_id.clone() } else { before.run_id.clone() },
        failures: failures(look),
        source_name: shown::source(spec),
        target_name: shown::target(spec),
        pod_name: shown::pod(&before.pod_name, look.job(), look.observed),
        completion_time: None,
        counts: None,
        verification: None,
        collections: Vec::new(),
        collections_left_out: 0,
        ..before.clone()
    };
    if look.has_lost_its_job() {
        status.stopped_job.clone_from(&before.job_uid);
    }
    if status.pod_name != before.pod_name {
        shown::begin_again(&mut status);
    }
    if let Some(log) = &look.observed.log {
        status.listed = log.listed.as_ref().map(Into::into).or(status.listed);
        if let Some(progress) = &log.progress {
            shown::progress(&mut status, progress, log.said_at.and_then(time).as_ref().unwrap_or(look.now));
        }
    }
    status
}

/// Tries of the run that have failed. A Job that somebody else removed is one.
#[must_use]
pub fn failures(look: &Look<'_>) -> i32 {
    let before = look.before.failures;
    let of_job = look.job().map_or(0, |job| verdict::failures(look, job));
    let lost = if look.has_lost_its_job() { before.saturating_add(1) } else { before };
    before.max(of_job).max(lost)
}

/// Puts a run's end into its status.
pub fn finish(status: &mut MemoryMigrationStatus, look: &Look<'_>, reason: Reason, summary: Option<&Summary>) {
    if let Some(job) = look.job() {
        // A Job that left its end is not lost, even if it is gone.
        status.failures = look.before.failures.max(verdict::failures(look, job));
        status.stopped_job.clone_from(&look.before.stopped_job);
    }
    // The pod whose verdict it is, by the node's clock; the controller may have been away meanwhile.
    let pods = &look.observed.pods;
    let said = pods.iter().find(|pod| summary.is_some() && pod.summary.as_ref() == summary);
    let last = pods.iter().find(|pod| pod.name == status.pod_name && reason != Reason::DeadlineExceeded);
    let ended = said.or(last).and_then(|pod| pod.ended.clone()).unwrap_or_else(|| look.now.clone());
    status.completion_time = Some(ended.clone());
    let Some(summary) = summary else { return };
    let counts = Counts::from(summary.counts);
    status.counts = Some(counts);
    status.verification = Some(VerificationStatus {
        result: reason.as_str().into(),
        fingerprint: summary.fingerprint.clone(),
        max_ulps: i64::from(summary.max_ulps),
        compared_at: compared(reason).then(|| ended.clone()),
    });
    if let Some(log) = &look.observed.log {
        status.collections = log.collections.iter().take(MAX_COLLECTIONS).map(CollectionStatus::from).collect();
        status.collections_left_out =
            i64::from(log.of).saturating_sub(i64::try_from(status.collections.len()).unwrap_or(i64::MAX)).max(0);
    }
    shown::ended(status, reason, &counts, &ended);
    if let Some(success) = shown::success(status, reason) {
        status.last_success = Some(success);
    }
}

/// Whether a run that ended so had compared both sides.
fn compared(reason: Reason) -> bool {
    matches!(reason, Reason::Verified | Reason::VerifiedWithSkips | Reason::CountsVerified | Reason::VerificationFailed)
}

/// The reason of a run whose log has not been read this time: what it said last.
#[must_use]
pub fn running_reason(before: &MemoryMigrationStatus) -> Reason {
    let stage = before.progress.as_ref().map(|p| p.stage.as_str()).unwrap_or_default();
    Reason::parse(stage).filter(|reason| reason.situation() == Situation::Running).unwrap_or(Reason::Preflight)
}

/// What the runner does, for the condition's message. Without numbers: they are in `progress`.
#[must_use]
pub fn doing(reason: Reason) -> &'static str {
    match reason {
        Reason::Copying => "copying records",
        Reason::Verifying => "comparing every record",
        Reason::Repairing => "sending again what verification named",
        _ => "checking source and target before anything is written",
    }
}

/// From which kind of endpoint to which.
#[must_use]
pub fn direction(spec: &MemoryMigrationSpec) -> Direction {
    match (spec.source.local.is_some(), spec.target.local.is_some()) {
        (true, true) => Direction::LocalToLocal,
        (true, false) => Direction::LocalToRemote,
        (false, true) => Direction::RemoteToLocal,
        (false, false) => Direction::RemoteToRemote,
    }
}

/// The text, cut where it is too long for a condition or an event.
#[must_use]
pub fn shorten(text: &str) -> String {
    if text.len() <= MAX_MESSAGE {
        return text.into();
    }
    let most = MAX_MESSAGE - '…'.len_utf8();
    let kept = text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= most).map(|(_, c)| c);
    kept.chain(['…']).collect()
}
