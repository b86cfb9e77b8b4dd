//! All writes for pruning: the lock on the claim, and the Job that removes generations. Decides nothing. What is refused keeps no
//! migration from being made.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Api, ResourceExt};
use tokio::time::timeout;

use super::pruning::ClaimWrite;
use super::world::is_owned;
use crate::api::MemoryMigrationSchedule;
use crate::controller::Context;
use crate::controller::act::ANSWER;
use crate::controller::build::prune;
use crate::controller::observe::world::Handle;
use crate::controller::plan::lock;

/// A write for pruning that the API server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPruned {
    /// With which sentence.
    pub said: String,
    /// It was a deletion.
    pub deletes: bool,
}

/// What one write came to.
#[derive(Debug)]
pub(super) enum Step {
    /// It is done.
    Done,
    /// Something is not as it was seen.
    Changed,
    /// The API server refused it.
    Refused(NotPruned),
}

/// Carries out one write of pruning.
pub(super) async fn carry_out(context: &Context, schedule: &MemoryMigrationSchedule, write: &ClaimWrite) -> Step {
    match write {
        ClaimWrite::TakeLock(name) => take(context, schedule, name).await,
        ClaimWrite::GiveBack(lease) => give_back(context, lease).await,
        ClaimWrite::Prune(task) => match prune::job(schedule, &context.settings, task) {
            Some(job) => create(context, schedule, &job).await,
            None => Step::Changed,
        },
        ClaimWrite::DeleteJob(job) => delete(context, schedule, job).await,
    }
}

/// Creating the Lease is taking the lock.
async fn take(context: &Context, schedule: &MemoryMigrationSchedule, name: &str) -> Step {
    let leases: Api<Lease> = Api::namespaced(context.client.clone(), &context.namespace);
    let lease = lock::lease_of_schedule(schedule, name);
    let what = format!("create Lease {}/{name}", context.namespace);
    match timeout(ANSWER, leases.create(&PostParams::default(), &lease)).await {
        Ok(Ok(_)) => Step::Done,
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Step::Changed,
        answer => refused(&what, answer.map(|answer| answer.map(drop)), false),
    }
}

async fn give_back(context: &Context, lease: &Handle) -> Step {
    let leases: Api<Lease> = Api::namespaced(context.client.clone(), &context.namespace);
    let preconditions = Some(Preconditions { uid: Some(lease.uid.clone()), resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    let what = format!("delete Lease {}/{}", context.namespace, lease.name);
    match timeout(ANSWER, leases.delete(&lease.name, &params)).await {
        Ok(Ok(_)) => Step::Done,
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Step::Changed,
        answer => refused(&what, answer.map(|answer| answer.map(drop)), true),
    }
}

/// One that is there already and the schedule's is the same one.
async fn create(context: &Context, schedule: &MemoryMigrationSchedule, job: &Job) -> Step {
    let namespace = schedule.namespace().unwrap_or_default();
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    let (name, what) = (job.name_any(), format!("create Job {namespace}/{}", job.name_any()));
    tracing::info!(job = name, "removing generations that are kept no longer");
    let answer = timeout(ANSWER, jobs.create(&PostParams::default(), job)).await;
    if let Ok(Err(kube::Error::Api(status))) = &answer
        && status.code == 409
        && let Ok(Some(there)) = jobs.get_opt(&name).await
        && is_owned(&there.metadata, &schedule.uid().unwrap_or_default())
    {
        return Step::Done;
    }
    match answer {
        Ok(Ok(_)) => Step::Done,
        answer => refused(&what, answer.map(|answer| answer.map(drop)), false),
    }
}

/// With its pod: the Job stays visible until that is gone.
async fn delete(context: &Context, schedule: &MemoryMigrationSchedule, job: &Handle) -> Step {
    let namespace = schedule.namespace().unwrap_or_default();
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        preconditions: Some(Preconditions { uid: Some(job.uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    let what = format!("delete Job {namespace}/{}", job.name);
    match timeout(ANSWER, jobs.delete(&job.name, &params)).await {
        Ok(Ok(_)) => Step::Done,
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Step::Changed,
        answer => refused(&what, answer.map(|answer| answer.map(drop)), true),
    }
}

fn refused<E>(what: &str, answer: Result<kube::Result<()>, E>, deletes: bool) -> Step {
    let why = match answer {
        Ok(Ok(())) => return Step::Done,
        Ok(Err(kube::Error::Api(status))) => format!("{}: {}", status.code, status.message),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {ANSWER:?}"),
    };
    let said = format!(
        "cannot {what} ({why}): let the operator do it, or change the policy that refuses it; it is tried again within 5 minutes"
    );
    Step::Refused(NotPruned { said, deletes })
}
