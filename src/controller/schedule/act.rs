//! All writes about a schedule, in the plan's order. Decides nothing. Each write can be repeated: the process may be killed
//! between any two.

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tokio::time::timeout;

use super::plan::{Plan, Write};
use super::prune_act::{self, NotPruned};
use super::world::{ChildFact, Refusal, is_owned};
use crate::api::schedule::status::{MemoryMigrationScheduleStatus, STALLED, UP_TO_DATE, said};
use crate::api::{MANAGER, MemoryMigration, MemoryMigrationSchedule};
use crate::controller::act::ANSWER;
use crate::controller::observe::{ASIDE, failed};
use crate::controller::plan::crd_gap;
use crate::controller::plan::notices::Notice;
use crate::controller::{Context, Error};
use crate::metrics::ShownSchedule;

/// How far a plan was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// All of it.
    All,
    /// Something is not as it was seen: nothing after that was done.
    Changed,
    /// The API server refused a write: nothing after that was done.
    Refused(Refusal),
    /// The API server refused a write for pruning. All before it is done.
    NotPruned(NotPruned),
}

/// What one write came to.
enum Step {
    Done,
    Created(String),
    Changed,
    Refused(Refusal),
}

/// Carries the plan out.
///
/// # Errors
/// When the API server did not take the status; what was done until then stays.
pub async fn act(context: &Context, schedule: &MemoryMigrationSchedule, plan: &Plan) -> Result<Done, Error> {
    let mut made = None;
    let mut written = None;
    for write in &plan.writes {
        let step = match write {
            Write::Create(migration) => create(context, schedule, migration).await?,
            Write::Status(status) => {
                let mut status = status.as_ref().clone();
                if let (Some(uid), Some(active)) = (made.clone(), status.active.as_mut()) {
                    active.uid = uid;
                }
                let step = write_status(context, schedule, &status).await?;
                written = Some(status);
                step
            }
            Write::Delete(child) => delete(context, schedule, child).await?,
            Write::Tell(notice) => tell(context, schedule, notice).await,
            Write::Claim(write) => match prune_act::carry_out(context, schedule, write).await {
                prune_act::Step::Refused(refusal) => return Ok(Done::NotPruned(refusal)),
                prune_act::Step::Changed => Step::Changed,
                prune_act::Step::Done => Step::Done,
            },
        };
        match step {
            Step::Done => {}
            Step::Created(uid) => made = Some(uid),
            Step::Changed => return Ok(Done::Changed),
            Step::Refused(refusal) => return Ok(Done::Refused(refusal)),
        }
    }
    show(context, schedule, written.as_ref());
    Ok(Done::All)
}

/// The metrics of this schedule. `written`: its status, where it is newer than the object's.
pub fn show(context: &Context, schedule: &MemoryMigrationSchedule, written: Option<&MemoryMigrationScheduleStatus>) {
    let Some(status) = written.or(schedule.status.as_ref()) else { return };
    let success = status.last_success.as_ref().and_then(|success| success.time.as_ref());
    let shown = ShownSchedule {
        last_success: success.map(|time| time.0.as_second()),
        missed: u64::try_from(status.missed).unwrap_or_default(),
        generations: status.good_generations,
        prune_failures: status.pruning.as_ref().map(|pruning| i64::from(pruning.failures)),
        up_to_date: match said(&status.conditions, UP_TO_DATE) {
            Some("True") => Some(true),
            Some("False") => Some(false),
            _ => None,
        },
        stalled: said(&status.conditions, STALLED) == Some("True"),
    };
    context.metrics.show_schedule(&schedule.namespace().unwrap_or_default(), &schedule.name_any(), &shown);
}

/// One that is already there and ours is the same one: its name holds the due time.
async fn create(
    context: &Context,
    schedule: &MemoryMigrationSchedule,
    migration: &MemoryMigration,
) -> Result<Step, Error> {
    let namespace = schedule.namespace().unwrap_or_default();
    let name = migration.name_any();
    let what = format!("create MemoryMigration {namespace}/{name}");
    let api: Api<MemoryMigration> = Api::namespaced(context.client.clone(), &namespace);
    tracing::info!(migration = name, "making the migration of a due time");
    let error = match timeout(ANSWER, api.create(&PostParams::default(), migration)).await {
        Ok(Ok(made)) => return Ok(Step::Created(made.uid().unwrap_or_default())),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    let mut refusal = refusal(what, error);
    if refusal.code == Some(409) {
        let there = api.get_opt(&name).await.map_err(failed(&format!("read MemoryMigration {namespace}/{name}")))?;
        match there {
            Some(there) if is_owned(there.meta(), &schedule.uid().unwrap_or_default()) => {
                return Ok(Step::Created(there.uid().unwrap_or_default()));
            }
            // with none of that name it is a policy that says 409
            there => refusal.in_the_way = there.is_some(),
        }
    }
    Ok(Step::Refused(refusal))
}

/// With all that belongs to it: it stays visible until its Job and pods are gone. Only as it was seen: a run that has ended
/// meanwhile is looked at first.
async fn delete(context: &Context, schedule: &MemoryMigrationSchedule, child: &ChildFact) -> Result<Step, Error> {
    let namespace = schedule.namespace().unwrap_or_default();
    let api: Api<MemoryMigration> = Api::namespaced(context.client.clone(), &namespace);
    let version = Some(child.version.clone()).filter(|version| !version.is_empty());
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        preconditions: Some(Preconditions { uid: Some(child.uid.clone()), resource_version: version }),
        ..DeleteParams::default()
    };
    tracing::info!(migration = child.name, "deleting a migration");
    let error = match timeout(ANSWER, api.delete(&child.name, &params)).await {
        Ok(Ok(_)) => return Ok(Step::Done),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    let refusal = refusal(format!("delete MemoryMigration {namespace}/{}", child.name), error);
    if matches!(refusal.code, Some(404 | 409)) {
        let read = format!("read MemoryMigration {namespace}/{}", child.name);
        let there = api.get_metadata_opt(&child.name).await.map_err(failed(&read))?;
        let is_same = |there: &kube::core::PartialObjectMeta<MemoryMigration>| {
            there.uid().as_ref() == Some(&child.uid) && there.resource_version().as_ref() == Some(&child.version)
        };
        if !there.is_some_and(|there| is_same(&there)) {
            return Ok(Step::Changed);
        }
    }
    Ok(Step::Refused(Refusal { deletes: true, ..refusal }))
}

fn refusal(what: String, error: Option<kube::Error>) -> Refusal {
    match error {
        Some(kube::Error::Api(status)) => {
            Refusal { what, code: Some(status.code), why: status.message, ..Refusal::default() }
        }
        Some(other) => Refusal { what, why: other.to_string(), ..Refusal::default() },
        None => Refusal { what, why: format!("none within {ANSWER:?}"), ..Refusal::default() },
    }
}

/// The whole status, over the version that was read: a former leader's late write loses.
async fn write_status(
    context: &Context,
    schedule: &MemoryMigrationSchedule,
    status: &MemoryMigrationScheduleStatus,
) -> Result<Step, Error> {
    let (namespace, name) = (schedule.namespace().unwrap_or_default(), schedule.name_any());
    let api: Api<MemoryMigrationSchedule> = Api::namespaced(context.client.clone(), &namespace);
    let read = serde_json::to_value(schedule.status.clone().unwrap_or_default()).unwrap_or_default();
    let sent = serde_json::to_value(status).unwrap_or_default();
    let body = json!({
        "metadata": {"uid": schedule.uid(), "resourceVersion": schedule.resource_version()},
        "status": crd_gap::merge_patch(&read, &sent),
    });
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    match api.patch_status(&name, &params, &Patch::Merge(&body)).await {
        Ok(_) => Ok(Step::Done),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Step::Changed),
        Err(error) => Err(failed(&format!("write the status of MemoryMigrationSchedule {namespace}/{name}"))(error)),
    }
}

/// Not being able to tell changes nothing.
async fn tell(context: &Context, schedule: &MemoryMigrationSchedule, notice: &Notice) -> Step {
    tracing::info!(reason = notice.reason, note = notice.note, "told");
    let event = Event {
        type_: if notice.warning { EventType::Warning } else { EventType::Normal },
        reason: notice.reason.clone(),
        note: Some(notice.note.clone()),
        action: notice.action.clone(),
        secondary: None,
    };
    match timeout(ASIDE, context.recorder.publish(&event, &schedule.object_ref(&()))).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = error.to_string(), "an event could not be written"),
        Err(_) => tracing::warn!("an event was not taken within {ASIDE:?}"),
    }
    Step::Done
}
