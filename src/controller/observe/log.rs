//! Reads the log of the runner. A log that cannot be read only makes the progress stale: never an error.

use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, ResourceExt};
use tokio::time::timeout;

use super::world::{LogFact, PodFact, World};
use super::{ASIDE, facts};
use crate::api::MemoryMigration;
use crate::controller::Context;

/// Lines from a log's end: the last progress, or all collections' outcomes.
const LINES: i64 = 200;
/// Lines from a log's end where those did not hold the whole report: both streams of a container go to one log.
const MORE_LINES: i64 = 5000;
/// Bytes from a log's beginning: what the runner found in its source.
const HEAD: i64 = 64 * 1024;

/// What the runner's log says; None when it was not, or could not be, read.
pub(super) async fn read(
    context: &Context,
    pods: &Api<Pod>,
    migration: &MemoryMigration,
    world: &World,
) -> Option<LogFact> {
    let pod = speaking(world)?;
    let key = format!("{}/{}", migration.namespace().unwrap_or_default(), pod.name);
    // The last words of a pod that has ended are not put off.
    if !context.memory.may_read_log(&key, pod.alive, Instant::now()) {
        return None;
    }
    let text = part(pods, pod, LogParams { tail_lines: Some(LINES), ..LogParams::default() }).await;
    context.memory.read_log(&key, text.is_some(), Instant::now());
    let text = text?;
    let mut fact = LogFact { job_uid: pod.job_uid.clone(), ..facts::log(&text) };
    let digest = pod.summary.as_ref().and_then(|summary| summary.report.as_ref());
    let wanted = digest.filter(|_| context.settings.report_config_map);
    if wanted.is_some_and(|digest| digest.proved(&fact.parts).is_err())
        && let Some(more) = part(pods, pod, LogParams { tail_lines: Some(MORE_LINES), ..LogParams::default() }).await
    {
        fact.parts = facts::log(&more).parts;
    }
    let known = fact.listed.is_some() || migration.status.as_ref().is_some_and(|status| status.listed.is_some());
    let cut = i64::try_from(text.lines().count()).unwrap_or(i64::MAX) >= LINES;
    let head = format!("{key} (head)");
    if !known && cut && context.memory.may_read_log(&head, true, Instant::now()) {
        let text = part(pods, pod, LogParams { limit_bytes: Some(HEAD), ..LogParams::default() }).await;
        context.memory.read_log(&head, false, Instant::now());
        fact.listed = text.and_then(|text| facts::log(&text).listed);
    }
    Some(fact)
}

/// With the time at which each line was written.
async fn part(pods: &Api<Pod>, pod: &PodFact, params: LogParams) -> Option<String> {
    let params = LogParams { container: pod.speaker.map(Into::into), timestamps: true, ..params };
    match timeout(ASIDE, pods.logs(&pod.name, &params)).await {
        Ok(Ok(text)) => Some(text),
        Ok(Err(error)) => {
            tracing::debug!(pod = pod.name, error = error.to_string(), "the progress cannot be read");
            None
        }
        Err(_) => {
            tracing::warn!(
                pod = pod.name,
                "its node does not give its log within {ASIDE:?}: the progress is not known"
            );
            None
        }
    }
}

/// The pod that tells: the newest one that is alive, else the newest.
fn speaking(world: &World) -> Option<&PodFact> {
    world.pods.iter().filter(|pod| pod.speaker.is_some()).max_by_key(|pod| (pod.alive, pod.created))
}
