//! The report that outlives its pod: from the lines of the log to a `ConfigMap` beside the object. Pure. Nothing is kept that
//! the digest in the termination message does not prove, and a report that cannot be kept changes no verdict.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::core::ObjectMeta;

use super::look::Look;
use super::{Write, notices};
use crate::api::{LABEL_MANAGED_BY, LABEL_RUN, LABEL_UID, MANAGER, MemoryMigrationStatus, ReportStatus};
use crate::controller::build::job;
use crate::report::Summary;

/// The key that holds the report.
pub const KEY: &str = "report.json";
/// The reason of the event that says why there is none.
pub const NOT_KEPT: &str = "ReportNotKept";
/// The longest name of an object.
const LONGEST_NAME: usize = 253;

/// Puts into the status where the run's report is, and gives the write that brings it there; or what people are told instead.
pub(super) fn keep(look: &Look<'_>, status: &mut MemoryMigrationStatus, summary: Option<&Summary>) -> Option<Write> {
    let digest = summary?.report.as_ref().filter(|_| look.settings.report_config_map)?;
    let text = look.log().ok_or_else(|| "the log cannot be read".to_owned()).and_then(|log| digest.proved(&log.parts));
    match text {
        Ok(text) => {
            let map = config_map(look, text);
            status.report = Some(ReportStatus { config_map: map.name_any() });
            Some(Write::Report(Box::new(map)))
        }
        Err(why) => Some(Write::Tell(notices::warning(NOT_KEPT, &not_kept(&look.run, &why)))),
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
