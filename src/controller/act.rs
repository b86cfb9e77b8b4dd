//! All writes, in one order: deletions, the lock, the status that counts an attempt, its Job, what is told, the ttl, the
//! locks given back. Decides nothing. Each write can be repeated: the process may be killed between any two.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::observe::failed;
use super::plan::{Handle, Outcome, Plan};
use super::{Context, Error, lock};
use crate::api::conditions::{self, Reason, Situation};
use crate::api::{API_VERSION, KIND, LABEL_UID, MANAGER, MemoryMigration, MemoryMigrationStatus, Phase};
use crate::metrics::Shown;
use crate::report::{Counts, Verdict};

/// How far a plan was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// All of it.
    All,
    /// Another object was faster with the lock: nothing after that was done.
    LockLost,
    /// The API server refuses the Job, and will again until something changes.
    JobRefused {
        /// 403 or 422.
        code: u16,
        /// Its words.
        why: String,
    },
}

/// Carries the plan out.
///
/// # Errors
/// When the API server refused or did not answer; what was done until then stays.
pub async fn act(context: &Context, migration: &MemoryMigration, plan: &Plan) -> Result<Done, Error> {
    let namespace = migration.namespace().unwrap_or_default();
    for handle in &plan.delete {
        delete_job(context, &namespace, handle).await?;
    }
    if let Some(handle) = &plan.break_lock {
        delete_lease(context, &handle.name, Some(handle.uid.clone())).await?;
    }
    if let Some(name) = &plan.take_lock
        && !take(context, migration, name).await?
    {
        return Ok(Done::LockLost);
    }
    if let Some(status) = &plan.status {
        write_status(context, migration, status).await?;
        count(context, plan.outcome.as_ref());
    }
    if let Some(job) = &plan.create
        && let Some(refused) = create(context, migration, &namespace, job).await?
    {
        return Ok(refused);
    }
    tell(context, migration, plan).await;
    if let Some((handle, seconds)) = &plan.ttl {
        set_ttl(context, &namespace, handle, *seconds).await?;
    }
    for name in &plan.release {
        delete_lease(context, name, None).await?;
    }
    show(context, migration, plan.status.as_deref());
    Ok(Done::All)
}

/// With its pods: the Job stays visible until they are gone.
async fn delete_job(context: &Context, namespace: &str, handle: &Handle) -> Result<(), Error> {
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), namespace);
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        preconditions: Some(Preconditions { uid: Some(handle.uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    tracing::info!(job = handle.name, "deleting a Job");
    gone_is_fine(jobs.delete(&handle.name, &params).await.map(drop), &format!("delete Job {namespace}/{}", handle.name))
}

async fn delete_lease(context: &Context, name: &str, uid: Option<String>) -> Result<(), Error> {
    let leases: Api<Lease> = Api::namespaced(context.client.clone(), &context.namespace);
    let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    gone_is_fine(leases.delete(name, &params).await.map(drop), &format!("delete Lease {}/{name}", context.namespace))
}

/// 404: it is gone. 409: one of that name is another one.
pub(super) fn gone_is_fine(result: kube::Result<()>, attempt: &str) -> Result<(), Error> {
    match result {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map_err(failed(attempt)),
    }
}

/// Whether the lock is ours now: creating the Lease is taking it.
async fn take(context: &Context, migration: &MemoryMigration, name: &str) -> Result<bool, Error> {
    let leases: Api<Lease> = Api::namespaced(context.client.clone(), &context.namespace);
    match leases.create(&PostParams::default(), &lock::lease(migration, name)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(failed(&format!("create Lease {}/{name}", context.namespace))(error)),
    }
}

/// The whole status by server-side apply. With the UID: never that of another object of the same name.
async fn write_status(
    context: &Context,
    migration: &MemoryMigration,
    status: &MemoryMigrationStatus,
) -> Result<(), Error> {
    let (namespace, name) = (migration.namespace().unwrap_or_default(), migration.name_any());
    let api: Api<MemoryMigration> = Api::namespaced(context.client.clone(), &namespace);
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace, "uid": migration.uid()},
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    let written = api.patch_status(&name, &params, &Patch::Apply(&body)).await;
    written.map(drop).map_err(failed(&format!("write the status of MemoryMigration {namespace}/{name}")))
}

/// Creates the Job once. One that is already there and ours is the same one: its name holds the attempt.
async fn create(
    context: &Context,
    migration: &MemoryMigration,
    namespace: &str,
    job: &Job,
) -> Result<Option<Done>, Error> {
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), namespace);
    let name = job.name_any();
    let attempt = format!("create Job {namespace}/{name}");
    match jobs.create(&PostParams::default(), job).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let there = jobs.get_opt(&name).await.map_err(failed(&attempt))?;
            let ours = there.is_some_and(|job| job.labels().get(LABEL_UID).cloned() == migration.uid());
            let why = format!("a Job {name} of somebody else is in the way: delete it");
            Ok((!ours).then_some(Done::JobRefused { code: 409, why }))
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => {
            Ok(Some(Done::JobRefused { code: status.code, why: status.message.clone() }))
        }
        Err(error) => Err(failed(&attempt)(error)),
    }
}

async fn set_ttl(context: &Context, namespace: &str, handle: &Handle, seconds: i32) -> Result<(), Error> {
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), namespace);
    let patch = json!({"metadata": {"uid": handle.uid}, "spec": {"ttlSecondsAfterFinished": seconds}});
    let patched = jobs.patch(&handle.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    gone_is_fine(patched.map(drop), &format!("set the ttl of Job {namespace}/{}", handle.name))
}

/// Events are told once, and not being able to tell changes nothing.
async fn tell(context: &Context, migration: &MemoryMigration, plan: &Plan) {
    let status = plan.status.as_deref().or(migration.status.as_ref());
    let job = status.filter(|status| !status.job_name.is_empty()).map(|status| ObjectReference {
        api_version: Some("batch/v1".into()),
        kind: Some("Job".into()),
        name: Some(status.job_name.clone()),
        namespace: migration.namespace(),
        ..ObjectReference::default()
    });
    for notice in &plan.notices {
        tracing::info!(reason = notice.reason, note = notice.note, "told");
        let event = Event {
            type_: if notice.warning { EventType::Warning } else { EventType::Normal },
            reason: notice.reason.clone(),
            note: Some(notice.note.clone()),
            action: notice.action.clone(),
            secondary: job.clone(),
        };
        if let Err(error) = context.recorder.publish(&event, &migration.object_ref(&())).await {
            tracing::warn!(error = error.to_string(), "an event could not be written");
        }
    }
}

/// In the same act as the status that holds the verdict.
fn count(context: &Context, outcome: Option<&Outcome>) {
    let Some(outcome) = outcome else { return };
    let verdict = match (outcome.reason, outcome.reason.situation()) {
        (Reason::DryRunCompleted, _) => Verdict::DryRun,
        (_, Situation::Done) => Verdict::Succeeded,
        _ => Verdict::Failed,
    };
    let counts: Option<&Counts> = outcome.summary.as_ref().map(|summary| &summary.counts);
    context.metrics.ended(outcome.direction, verdict, outcome.reason.as_str(), outcome.seconds, counts);
}

fn show(context: &Context, migration: &MemoryMigration, written: Option<&MemoryMigrationStatus>) {
    let Some(status) = written.or(migration.status.as_ref()) else { return };
    let (namespace, name) = (migration.namespace().unwrap_or_default(), migration.name_any());
    let progress = status.progress.clone().unwrap_or_default();
    let reason = conditions::agreed_reason(&status.conditions);
    let waiting = reason.filter(|reason| reason.situation() == Situation::Waiting);
    // From an operator that did not keep the last success.
    let succeeded = status.phase == Some(Phase::Succeeded) && reason != Some(Reason::DryRunCompleted);
    let ended = status.completion_time.as_ref().filter(|_| succeeded);
    let success = status.last_success.as_ref().and_then(|success| success.time.as_ref()).or(ended);
    let shown = Shown {
        phase: status.phase.map(Phase::as_str).unwrap_or_default(),
        waiting: waiting.map(Reason::as_str),
        counts: status.counts.map(Into::into),
        planned: reason == Some(Reason::DryRunCompleted),
        progress: f64::from(progress.percent) / 100.0,
        records_per_second: progress.records_per_second,
        last_success: success.map(|time| time.0.as_second()),
        attempts: i64::from(status.attempts),
    };
    context.metrics.show(&namespace, &name, &Phase::ALL.map(Phase::as_str), &shown);
}
