//! All reads about a schedule. Writes and decides nothing.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::FoundSchedule;
use super::world::{self, ClaimFact, PruneJob, World};
use crate::api::schedule::calendar::due_of;
use crate::api::{LABEL_MANAGED_BY, MANAGER, MemoryMigrationSchedule};
use crate::controller::build::placement;
use crate::controller::observe::world::{Endpoint, Handle, Lock};
use crate::controller::observe::{self, failed};
use crate::controller::plan::lock;
use crate::controller::{Context, Error, Found};

/// The schedule as it is now; None when it is gone.
///
/// # Errors
/// When the API server refused or did not answer.
pub async fn object(context: &Context, namespace: &str, name: &str) -> Result<Option<FoundSchedule>, Error> {
    let api: Api<FoundSchedule> = Api::namespaced(context.client.clone(), namespace);
    api.get_opt(name).await.map_err(failed(&format!("read MemoryMigrationSchedule {namespace}/{name}")))
}

/// Its migrations and what still works of them, read from the API server: a cache would not know what is absent.
///
/// # Errors
/// When the API server refused or did not answer.
pub async fn observe(context: &Context, schedule: &MemoryMigrationSchedule) -> Result<World, Error> {
    if schedule.metadata.deletion_timestamp.is_some() {
        return Ok(World::default());
    }
    let (namespace, name) = (schedule.namespace().unwrap_or_default(), schedule.name_any());
    let uid = schedule.uid().unwrap_or_default();
    // Jobs and pods first: a migration that goes meanwhile is still seen by what is left of it.
    let ours = ListParams::default().labels(&format!("{LABEL_MANAGED_BY}={MANAGER}"));
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    let jobs = jobs.list(&ours).await.map_err(failed(&format!("list the Jobs of {namespace}")))?.items;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let pods = pods.list(&ours).await.map_err(failed(&format!("list the runner's pods of {namespace}")))?.items;
    let all: Api<Found> = Api::namespaced(context.client.clone(), &namespace);
    let all = all.list(&ListParams::default()).await;
    let all = all.map_err(failed(&format!("list the MemoryMigrations of {namespace}")))?.items;
    let children = world::children(&name, &uid, &all);
    let left = world::left(&name, &children, &jobs, &pods);
    let works = world::at_work(&name, &jobs, &pods);
    let works = works.iter().filter_map(|child| due_of(&name, child)).collect();
    let (readers, unknown_readers) = world::readers(schedule, &all);
    let prune_jobs = world::prune_jobs(&uid, &jobs, &pods);
    let claim = claim(context, schedule, prune_jobs).await?;
    Ok(World { children, left, works, readers, unknown_readers, claim, ..World::default() })
}

/// What a prune Job depends on; None: there is none, and none is about to be.
async fn claim(
    context: &Context,
    schedule: &MemoryMigrationSchedule,
    jobs: Vec<PruneJob>,
) -> Result<Option<ClaimFact>, Error> {
    let spec = &schedule.spec.template.spec;
    let (namespace, uid) = (schedule.namespace().unwrap_or_default(), schedule.uid().unwrap_or_default());
    let Some((local, name)) = spec.target.local.as_ref().zip(lock::of_target(spec, &namespace)) else {
        return Ok(None);
    };
    if jobs.is_empty() && !prunes(schedule) && !holds(context, &name, &uid) {
        return Ok(None);
    }
    let leases: Api<Lease> = Api::namespaced(context.client.clone(), &context.namespace);
    let lease = observe::lease_of(context, &leases, &name).await?;
    let mut fact = ClaimFact { jobs, ..ClaimFact::default() };
    if let Some(lease) = &lease {
        fact.lock = observe::state_for(context, &uid, lease).await?;
        fact.lease = Some(Handle { name: lease.name_any(), uid: lease.uid().unwrap_or_default() });
    }
    let writer = context.caches.writer(&name, &uid).filter(|_| !matches!(fact.lock, Lock::Theirs { .. }));
    if let Some(holder) = writer {
        fact.lock = Lock::Theirs { holder };
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let users = observe::users(&pods, spec, &uid, &namespace).await?;
    let users = users.into_iter().filter(|user| user.claim == local.claim_name).collect();
    let (target, _) = observe::endpoint(context, &namespace, Some(&local.claim_name), None).await?;
    let seen = observe::world::World { target, users, ..Default::default() };
    if let Endpoint::Missing(what) = &seen.target {
        fact.foreign = Some(what.clone());
    }
    fact.foreign = fact.foreign.or_else(|| placement::in_use(spec, &seen));
    (fact.pin, fact.ids) = (placement::pin(spec, &seen), placement::ids(spec, &seen));
    Ok(Some(fact))
}

/// Whether the status says that pruning is under way.
fn prunes(schedule: &MemoryMigrationSchedule) -> bool {
    let pruning = schedule.status.as_ref().and_then(|status| status.pruning.as_ref());
    pruning.is_some_and(|pruning| pruning.working)
}

/// Whether the watches show the lock as the schedule's: somebody may have wiped its status.
fn holds(context: &Context, name: &str, uid: &str) -> bool {
    context.caches.lock(name).is_some_and(|lease| lock::holder(&lease).uid == uid)
}

/// Its migrations as far as the watches have got; None: they hold nothing yet, or generations are being removed. Enough to see that nothing is to be done.
#[must_use]
pub fn from_watches(context: &Context, schedule: &MemoryMigrationSchedule) -> Option<World> {
    let (namespace, name) = (schedule.namespace().unwrap_or_default(), schedule.name_any());
    let uid = schedule.uid().unwrap_or_default();
    let lock = lock::of_target(&schedule.spec.template.spec, &namespace);
    if prunes(schedule) || lock.is_some_and(|lock| holds(context, &lock, &uid)) {
        return None;
    }
    let all = context.caches.owned(&namespace, &uid)?;
    let children = world::children(&name, &uid, all.iter().map(AsRef::as_ref));
    Some(World { children, ..World::default() })
}
