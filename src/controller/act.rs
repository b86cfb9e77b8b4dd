//! All writes, in the plan's order. Decides nothing. Each write can be repeated: the process may be killed between any
//! two.

mod report;

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::observe::world::Handle;
use super::observe::{ASIDE, facts, failed, key_of};
use super::plan::look::Look;
use super::plan::notices::Notice;
use super::plan::{Asked, Outcome, Plan, Refusal, Told, Write};
use super::plan::{crd_gap, evidence, lock};
use super::{Context, Error};
use crate::api::conditions::{self, Reason, Situation};
use crate::api::{LABEL_RUN, MANAGER, MemoryMigration, MemoryMigrationStatus, Phase};
use crate::metrics::Shown;
use crate::report::{Counts, Verdict};

/// An answer to a write that takes longer is none: a webhook may hang.
pub(super) const ANSWER: Duration = Duration::from_secs(20);

/// How far a plan was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// All of it.
    All,
    /// Somebody was faster with the lock or the status: nothing after that was done.
    Changed,
    /// The API server refused a write: nothing after that was done.
    Refused(Refusal),
}

/// What one write came to.
enum Step {
    Done,
    Created(String),
    Changed,
    Refused(Refusal),
}

/// Carries the plan out. `read`: the status as it was read, with what this version does not know.
///
/// # Errors
/// When the API server refused or did not answer; what was done until then stays.
pub async fn act(context: &Context, look: &Look<'_>, read: &Value, plan: &Plan) -> Result<Done, Error> {
    let migration = look.migration;
    let namespace = look.namespace();
    let mut job_uid = None;
    let mut written = None;
    let mut lost = None;
    for write in &plan.writes {
        let step = match write {
            Write::BreakLock(lease) => delete_lease(context, lease, Asked::Lock).await?,
            Write::GiveBack(lease) => delete_lease(context, lease, Asked::GiveBack).await?,
            Write::TakeLock(name) => take(context, migration, name).await?,
            Write::Create(job) => create(context, migration, &namespace, job).await?,
            Write::Report(map) => {
                // of the run that ended: after an edit it is not the spec's
                let run = map.labels().get(LABEL_RUN).cloned().unwrap_or_default();
                lost = report::keep(context, migration, map).await.err().map(|lost| (run, lost));
                Step::Done
            }
            Write::Status(told) => {
                let mut told = with_job(told, job_uid.as_ref());
                if let Some((run, report::NotKept { why, may_change })) = lost.take() {
                    let before = migration.status.as_ref().and_then(|status| status.report.as_ref());
                    let notice = evidence::unwritten(look.now, &run, before, &mut told.status, &why, may_change);
                    if let Some(notice) = notice {
                        tell(context, migration, None, &notice).await;
                    }
                }
                let is_said = migration.status.as_ref() == Some(&told.status) && told.outcome.is_none();
                let step =
                    if is_said { Step::Done } else { write_status(context, migration, read, &told.status).await? };
                if matches!(step, Step::Done) {
                    count(context, migration, told.outcome.as_ref());
                    written = Some(told.status);
                }
                step
            }
            Write::Delete(job) => delete_job(context, &namespace, job).await?,
            Write::Ttl(job, seconds) => set_ttl(context, migration, &namespace, job, *seconds).await?,
            Write::Tell(notice) => tell(context, migration, written.as_ref(), notice).await,
        };
        match step {
            Step::Done => {}
            Step::Created(uid) => job_uid = Some(uid),
            Step::Changed => return Ok(Done::Changed),
            Step::Refused(refusal) => return Ok(Done::Refused(refusal)),
        }
    }
    show(context, migration, written.as_ref());
    Ok(Done::All)
}

/// The status names the Job that was made just before it.
fn with_job(told: &Told, uid: Option<&String>) -> Told {
    let mut told = told.clone();
    if let Some(uid) = uid {
        told.status.job_uid.clone_from(uid);
    }
    told
}

/// With its pods: the Job stays visible until they are gone.
async fn delete_job(context: &Context, namespace: &str, handle: &Handle) -> Result<Step, Error> {
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), namespace);
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        preconditions: Some(Preconditions { uid: Some(handle.uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    tracing::info!(job = handle.name, "deleting a Job");
    deletion(&jobs, handle, &params, Asked::Stop, format!("Job {namespace}/{}", handle.name)).await
}

async fn delete_lease(context: &Context, handle: &Handle, asked: Asked) -> Result<Step, Error> {
    let leases: Api<Lease> = Api::namespaced(context.client.clone(), &context.namespace);
    let preconditions = Some(Preconditions { uid: Some(handle.uid.clone()), resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    deletion(&leases, handle, &params, asked, format!("Lease {}/{}", context.namespace, handle.name)).await
}

/// Deletes this object. A 404 means that it is gone, and a 409 that the one of this name is another one, unless a look shows
/// that it is not: a webhook may answer with any code.
async fn deletion<K>(
    api: &Api<K>,
    handle: &Handle,
    params: &DeleteParams,
    asked: Asked,
    what: String,
) -> Result<Step, Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let error = match timeout(ANSWER, api.delete(&handle.name, params)).await {
        Ok(Ok(_)) => return Ok(Step::Done),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    let refusal = Refusal { uid: handle.uid.clone(), ..refusal(asked, what, error) };
    let is_gone = matches!(refusal.code, Some(404 | 409)) && {
        let there = api.get_opt(&handle.name).await.map_err(failed(&format!("read {}", refusal.what)))?;
        there.is_none_or(|there| there.meta().uid.as_ref() != Some(&handle.uid))
    };
    Ok(if is_gone { Step::Done } else { Step::Refused(refusal) })
}

/// 404: it is gone. 409: one of that name is another one.
fn gone_is_fine(result: kube::Result<()>, attempt: &str) -> Result<(), Error> {
    match result {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map_err(failed(attempt)),
    }
}

/// Creating the Lease is taking the lock.
async fn take(context: &Context, migration: &MemoryMigration, name: &str) -> Result<Step, Error> {
    let leases: Api<Lease> = Api::namespaced(context.client.clone(), &context.namespace);
    let what = format!("Lease {}/{name}", context.namespace);
    let made = timeout(ANSWER, leases.create(&PostParams::default(), &lock::lease(migration, name))).await;
    let error = match made {
        Ok(Ok(_)) => return Ok(Step::Done),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    if matches!(&error, Some(kube::Error::Api(status)) if status.code == 409) {
        let there = leases.get_opt(name).await.map_err(failed(&format!("read {what}")))?;
        if there.is_some() {
            return Ok(Step::Changed);
        }
    }
    Ok(Step::Refused(refusal(Asked::Lock, what, error)))
}

/// The API server's own words about something that it did not take, or why there are none; no error: it did not answer in
/// time.
fn refusal(asked: Asked, what: String, error: Option<kube::Error>) -> Refusal {
    match error {
        Some(kube::Error::Api(status)) => {
            Refusal { asked, what, code: Some(status.code), why: status.message, ..Refusal::default() }
        }
        Some(other) => Refusal { asked, what, why: other.to_string(), ..Refusal::default() },
        None => Refusal { asked, what, why: format!("none within {ANSWER:?}"), ..Refusal::default() },
    }
}

/// The whole status, over the version that was read: whoever wrote in between is looked at first, and a former leader's
/// late write loses. With the UID: never that of another object of the same name.
async fn write_status(
    context: &Context,
    migration: &MemoryMigration,
    read: &Value,
    status: &MemoryMigrationStatus,
) -> Result<Step, Error> {
    let (namespace, name) = (migration.namespace().unwrap_or_default(), migration.name_any());
    let kind = ApiResource::erase::<MemoryMigration>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &kind);
    let known = migration.status.clone().unwrap_or_default();
    let sent = crd_gap::with_unknown(read, &known, status);
    let body = json!({
        "metadata": {"uid": migration.uid(), "resourceVersion": migration.resource_version()},
        "status": crd_gap::merge_patch(read, &sent),
    });
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    match api.patch_status(&name, &params, &Patch::Merge(&body)).await {
        Ok(answer) => {
            context.memory.wrote(&key_of(migration), answer.resource_version());
            context.answered(&sent, &answer.data["status"]);
            Ok(Step::Done)
        }
        Err(error) => {
            let lost = matches!(&error, kube::Error::Api(status) if matches!(status.code, 404 | 409));
            let attempt = format!("write the status of MemoryMigration {namespace}/{name}");
            if lost && is_another(&api, migration).await? {
                return Ok(Step::Changed);
            }
            Err(failed(&attempt)(error))
        }
    }
}

/// Whether the object is gone, or was written since it was read: else a 404 or 409 is somebody's refusal.
async fn is_another(api: &Api<DynamicObject>, migration: &MemoryMigration) -> Result<bool, Error> {
    let name = migration.name_any();
    let there = api.get_opt(&name).await.map_err(failed(&format!("read MemoryMigration {}", key_of(migration))))?;
    Ok(there
        .is_none_or(|there| there.uid() != migration.uid() || there.resource_version() != migration.resource_version()))
}

/// Creates the Job once. One that is already there and ours is the same one: its name holds the attempt.
async fn create(context: &Context, migration: &MemoryMigration, namespace: &str, job: &Job) -> Result<Step, Error> {
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), namespace);
    let name = job.name_any();
    let what = format!("Job {namespace}/{name}");
    let error = match timeout(ANSWER, jobs.create(&PostParams::default(), job)).await {
        Ok(Ok(made)) => return Ok(Step::Created(made.uid().unwrap_or_default())),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    let mut refusal = refusal(Asked::Job, what, error);
    if refusal.code == Some(409) {
        let there = jobs.get_opt(&name).await.map_err(failed(&format!("read {}", refusal.what)))?;
        let uid = migration.uid().unwrap_or_default();
        match there {
            Some(job) if facts::is_owned(&job, &uid) => return Ok(Step::Created(job.uid().unwrap_or_default())),
            // with none of that name it is a policy that says 409
            there => refusal.in_the_way = there.is_some(),
        }
    }
    Ok(Step::Refused(refusal))
}

async fn set_ttl(
    context: &Context,
    migration: &MemoryMigration,
    namespace: &str,
    handle: &Handle,
    seconds: Option<i32>,
) -> Result<Step, Error> {
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), namespace);
    let patch = json!({"metadata": {"uid": handle.uid}, "spec": {"ttlSecondsAfterFinished": seconds}});
    let patched = jobs.patch(&handle.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    let set = patched.as_ref().ok().map(|job| job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished));
    let refused = matches!(&patched, Err(kube::Error::Api(status)) if status.code == 409);
    if refused || set.is_some_and(|set| set != seconds) {
        tracing::warn!(
            job = handle.name,
            "something sets the Job's ttlSecondsAfterFinished again and again, or keeps it"
        );
        context.memory.is_stubborn(&key_of(migration), &handle.uid);
    }
    gone_is_fine(patched.map(drop), &format!("set the ttl of Job {namespace}/{}", handle.name)).map(|()| Step::Done)
}

/// Not being able to tell changes nothing.
async fn tell(
    context: &Context,
    migration: &MemoryMigration,
    written: Option<&MemoryMigrationStatus>,
    notice: &Notice,
) -> Step {
    let status = written.or(migration.status.as_ref());
    let job = status.filter(|status| !status.job_name.is_empty()).map(|status| ObjectReference {
        api_version: Some("batch/v1".into()),
        kind: Some("Job".into()),
        name: Some(status.job_name.clone()),
        namespace: migration.namespace(),
        ..ObjectReference::default()
    });
    tracing::info!(reason = notice.reason, note = notice.note, "told");
    let event = Event {
        type_: if notice.warning { EventType::Warning } else { EventType::Normal },
        reason: notice.reason.clone(),
        note: Some(notice.note.clone()),
        action: notice.action.clone(),
        secondary: job,
    };
    let object = migration.object_ref(&());
    match timeout(ASIDE, context.recorder.publish(&event, &object)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = error.to_string(), "an event could not be written"),
        Err(_) => tracing::warn!("an event was not taken within {ASIDE:?}"),
    }
    Step::Done
}

/// In the same act as the status that holds the verdict.
fn count(context: &Context, migration: &MemoryMigration, outcome: Option<&Outcome>) {
    let Some(outcome) = outcome else { return };
    context.memory.forget_ended(&migration.uid().unwrap_or_default());
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
        recall: status.verification.as_ref().and_then(|verification| verification.recall),
        planned: reason == Some(Reason::DryRunCompleted),
        progress: f64::from(progress.percent) / 100.0,
        records_per_second: progress.records_per_second,
        last_success: success.map(|time| time.0.as_second()),
        stale: conditions::is_stale(&status.conditions),
        attempts: i64::from(status.attempts),
    };
    context.metrics.show(&namespace, &name, &Phase::ALL.map(Phase::as_str), &shown);
}
