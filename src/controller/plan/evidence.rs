//! The report that outlives its pod: from the lines of the log to a `ConfigMap` beside the object. Pure. Nothing is kept that
//! the digest in the termination message does not prove, and a report that cannot be kept changes no verdict.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::core::ObjectMeta;

use super::look::{Look, time};
use super::notices::Notice;
use super::{Write, notices, status};
use crate::api::{LABEL_MANAGED_BY, LABEL_RUN, LABEL_UID, MANAGER, MemoryMigrationStatus, ReportStatus};
use crate::controller::build::job;
use crate::report::Summary;
use crate::report::evidence::Digest;

/// The key that holds the report.
pub const KEY: &str = "report.json";
/// The reason of the event that says why there is none.
pub const NOT_KEPT: &str = "ReportNotKept";
/// The longest name of an object.
const LONGEST_NAME: usize = 253;
/// Seconds in which a report that could not be read or written is tried again.
const PATIENCE: i64 = 300;
/// How often. A try is three writes at most.
const AGAIN: Duration = Duration::from_secs(60);

/// Puts into the status where the run's report is, and gives the write that brings it there; or says why there is none yet.
pub(super) fn keep(look: &Look<'_>, status: &mut MemoryMigrationStatus, summary: Option<&Summary>) -> Option<Write> {
    let digest = summary?.report.as_ref().filter(|_| look.settings.report_config_map)?;
    attempt(look, status, digest, None)
}

/// The same, once more, for a run that has ended and whose report is owed. The verdict is there long since.
pub(super) fn again(
    look: &Look<'_>,
    status: &mut MemoryMigrationStatus,
    requeue: &mut Option<Duration>,
) -> Option<Write> {
    let report = look.before.report.as_ref().filter(|report| report.is_owed())?;
    let until = report.retry_until.as_ref().map(|until| until.0.as_second());
    let pods = look.world.pods.iter().filter(|pod| !pod.alive && pod.job_uid == look.before.job_uid);
    let mut summaries = pods.filter_map(|pod| pod.summary.as_ref()).filter(|summary| summary.run_hash == look.run);
    let write = match summaries.find_map(|summary| summary.report.as_ref()) {
        Some(_) if !look.settings.report_config_map => {
            status.report = None;
            None
        }
        Some(digest) => attempt(look, status, digest, until),
        None => lost(look.now, &look.run, status, until, "its pod is gone, and the log with it", false),
    };
    // a write that fails leaves it owed
    if status.owes_report() || matches!(write, Some(Write::Report(_))) {
        *requeue = Some(requeue.map_or(AGAIN, |there| there.min(AGAIN)));
    }
    write
}

/// `until`: the second from which it is not tried any more, if it has been tried before.
fn attempt(look: &Look<'_>, status: &mut MemoryMigrationStatus, digest: &Digest, until: Option<i64>) -> Option<Write> {
    let mut lost = |why: &str, may_change| lost(look.now, &look.run, status, until, why, may_change);
    let Some(log) = look.log() else { return lost("the log cannot be read", true) };
    let text = match digest.proved(&log.parts) {
        Ok(text) => text,
        // what the pod's node has not written yet comes; what is there and wrong stays so
        Err(why) => return lost(&why, log.parts.len() < digest.lines as usize),
    };
    let map = config_map(look, text);
    status.report = Some(ReportStatus { config_map: map.name_any(), ..ReportStatus::default() });
    if status.collections.is_empty() {
        status::show_collections(status, log);
    }
    Some(Write::Report(Box::new(map)))
}

/// Says in the status why the report is not kept, and gives what people are told once it is given up. `may_change`: it may
/// be different a moment later.
fn lost(
    now: &Time,
    run: &str,
    status: &mut MemoryMigrationStatus,
    until: Option<i64>,
    why: &str,
    may_change: bool,
) -> Option<Write> {
    let second = now.0.as_second();
    let until = until.unwrap_or(second.saturating_add(PATIENCE));
    let retry_until = time(until).filter(|_| may_change && second < until);
    let is_given_up = retry_until.is_none();
    status.report = Some(ReportStatus { config_map: String::new(), message: status::shorten(why), retry_until });
    is_given_up.then(|| Write::Tell(notices::warning(NOT_KEPT, &not_kept(run, why))))
}

/// The same for a `ConfigMap` that was not written. `before`: what the status said of the report until then.
#[must_use]
pub fn unwritten(
    now: &Time,
    run: &str,
    before: Option<&ReportStatus>,
    status: &mut MemoryMigrationStatus,
    why: &str,
    may_change: bool,
) -> Option<Notice> {
    let owed = before.filter(|before| before.is_owed()).and_then(|before| before.retry_until.as_ref());
    match lost(now, run, status, owed.map(|until| until.0.as_second()), why, may_change) {
        Some(Write::Tell(notice)) => Some(notice),
        _ => None,
    }
}

/// What people are told of a report that is not kept.
#[must_use]
pub fn not_kept(run: &str, why: &str) -> String {
    format!(
        "the report of run {run} was not kept: {why}. The verdict does not rest on it and stands. Look at the runner's log while \
         its pod is there; to have a report, compare again with mode: Verify, or change runId"
    )
}

fn config_map(look: &Look<'_>, text: String) -> ConfigMap {
    let migration = look.migration;
    let labels = [
        (LABEL_MANAGED_BY, MANAGER.to_owned()),
        (LABEL_UID, migration.uid().unwrap_or_default()),
        (LABEL_RUN, look.run.clone()),
    ];
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name(&migration.name_any())),
            namespace: migration.namespace(),
            labels: Some(labels.into_iter().map(|(label, value)| (label.to_owned(), value)).collect()),
            owner_references: job::owner(migration).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), text)])),
        ..ConfigMap::default()
    }
}

/// `NAME-report`. Of a name that is too long only the first part, which another object may have, too: then the owner decides.
fn name(migration: &str) -> String {
    const END: &str = "-report";
    let kept = migration.get(..LONGEST_NAME - END.len()).unwrap_or(migration);
    format!("{}{END}", kept.trim_end_matches(['.', '-']))
}
