//! From what was observed to the parts of a status, and back: which run a status is about, and whether it is over. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::observed::Observed;
use super::{job, shown, verdict};
use crate::api::conditions::{Reason, Situation, agreed_reason};
use crate::api::status::{CollectionStatus, Counts, MAX_COLLECTIONS, VerificationStatus};
use crate::api::{MemoryMigration, MemoryMigrationSpec, MemoryMigrationStatus, Verification};
use crate::report::{Direction, Summary};

/// Bytes of a message: a condition's may have 32 KiB and an event's note 1 KiB; people read less.
const MAX_MESSAGE: usize = 1000;

/// The status as far as it is about this run: of another run only the conditions remain, for their transition times, and
/// the last success.
#[must_use]
pub fn of_run(migration: &MemoryMigration, hash: &str) -> MemoryMigrationStatus {
    let status = migration.status.clone().unwrap_or_default();
    if status.run_hash == hash {
        return status;
    }
    MemoryMigrationStatus {
        observed_generation: status.observed_generation,
        run_hash: hash.into(),
        conditions: status.conditions,
        last_success: status.last_success,
        ..MemoryMigrationStatus::default()
    }
}

/// How the run ended, if the status says that it did and does not contradict itself or the spec.
///
/// # Caveats
/// Whoever may write the status subresource can still write one that holds together: the status is the only record of
/// a finished run. What is checked here is what a hand would miss.
#[must_use]
pub fn finished(migration: &MemoryMigration, hash: &str, status: &MemoryMigrationStatus) -> Option<Reason> {
    let reason = agreed_reason(&status.conditions)?;
    let uid = migration.uid().unwrap_or_default();
    let ours = status.attempts > 0 && status.job_name == job::name(&migration.name_any(), &uid, hash, status.attempts);
    let ended = status.run_hash == hash && status.completion_time.is_some() && reason.is_final() && ours;
    let believed = reason.situation() != Situation::Done || proved(&migration.spec, reason, status);
    (ended && believed).then_some(reason)
}

fn proved(spec: &MemoryMigrationSpec, reason: Reason, status: &MemoryMigrationStatus) -> bool {
    let (Some(counts), Some(verification)) = (status.counts, &status.verification) else { return false };
    if verification.result != reason.as_str() {
        return false;
    }
    match (spec.dry_run, spec.verification) {
        (true, _) => reason == Reason::DryRunCompleted,
        (false, Verification::Counts) => reason == Reason::CountsVerified,
        (false, Verification::Full) => {
            let bad = [counts.changed, counts.different, counts.missing, counts.unreadable];
            let skipped = counts.conflicts_skipped.saturating_add(counts.duplicates);
            let may = (reason == Reason::Verified && skipped == 0) || reason == Reason::VerifiedWithSkips;
            may && bad == [0; 4] && counts.source == counts.verified.saturating_add(skipped)
        }
    }
}

/// The status of a run that goes on: what is known of it, with the log's progress.
#[must_use]
pub fn next(
    migration: &MemoryMigration,
    hash: &str,
    before: &MemoryMigrationStatus,
    observed: &Observed,
    now: &Time,
) -> MemoryMigrationStatus {
    let spec = &migration.spec;
    let job = observed.jobs.iter().find(|job| job.run == hash && !job.deleting);
    let failures = job.map_or(0, |job| verdict::failures(spec, hash, job, observed));
    let mut status = MemoryMigrationStatus {
        run_hash: hash.into(),
        failures: before.failures.max(failures),
        source_name: shown::source(spec),
        target_name: shown::target(spec),
        pod_name: shown::pod(&before.pod_name, job, observed),
        completion_time: None,
        counts: None,
        verification: None,
        collections: Vec::new(),
        collections_left_out: 0,
        ..before.clone()
    };
    if status.pod_name != before.pod_name {
        shown::begin_again(&mut status);
    }
    if let Some(progress) = observed.log.as_ref().and_then(|log| log.progress.as_ref()) {
        shown::progress(&mut status, progress, now);
    }
    status
}

/// Puts a run's end into its status.
pub fn finish(
    spec: &MemoryMigrationSpec,
    status: &mut MemoryMigrationStatus,
    reason: Reason,
    summary: Option<&Summary>,
    observed: &Observed,
    now: &Time,
) {
    // The pod whose verdict it is, by the node's clock; the controller may have been away meanwhile.
    let said = observed.pods.iter().find(|pod| summary.is_some() && pod.summary.as_ref() == summary);
    let last = observed.pods.iter().find(|pod| pod.name == status.pod_name && reason != Reason::DeadlineExceeded);
    let ended = said.or(last).and_then(|pod| pod.ended.clone()).unwrap_or_else(|| now.clone());
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
    if let Some(log) = &observed.log {
        status.collections = log.collections.iter().take(MAX_COLLECTIONS).map(CollectionStatus::from).collect();
        status.collections_left_out =
            i64::from(log.of).saturating_sub(i64::try_from(status.collections.len()).unwrap_or(i64::MAX)).max(0);
    }
    shown::ended(status, reason, &counts, &ended);
    if let Some(success) = shown::success(spec, status, reason) {
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
