//! A look from what the watches hold: enough to say how a run goes on, that a lock is still another one's, or that nothing
//! is left to do for a finished run, and for nothing else. Decides nothing; what a plan may do with it is `Plan::only_tells`.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt};

use super::world::{JobPhase, Lock, World};
use super::{facts, handle, key_of, log, processes_of, remembered, users};
use crate::api::conditions::{Reason, agreed_reason};
use crate::api::{KIND, MemoryMigration};
use crate::controller::plan::{lock, look::Look};
use crate::controller::process::memory::{self, Waits};
use crate::controller::{Context, Error};

/// An object that goes on as it did when it was last read from the API server, or that rests, and what the watches show of
/// it. None: it has to be read.
///
/// # Errors
/// When the API server refused or did not answer: who else uses the target's claim is asked for all the same.
pub async fn follow(
    context: &Context,
    namespace: &str,
    name: &str,
    now: &Time,
) -> Result<Option<(MemoryMigration, World)>, Error> {
    let Some(found) = context.caches.object(namespace, name) else { return Ok(None) };
    let Ok(migration) = &found.0 else { return Ok(None) };
    let version = migration.metadata.resource_version.as_deref();
    let going = migration.metadata.deletion_timestamp.is_some();
    if going {
        return Ok(None);
    }
    if let Some(world) = rests(context, migration, now).await {
        return Ok(Some((migration.clone(), world)));
    }
    if !context.memory.may_follow(&memory::key(namespace, name), version) {
        return Ok(None);
    }
    let mut world = processes(context, migration, now).await;
    let Some(works) = goes_on(context, migration, &world, now) else { return Ok(None) };
    let Some(lock) = lock_of(context, migration, lock::of_target(&migration.spec, namespace)) else { return Ok(None) };
    world.lock = lock;
    if works {
        let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
        // Not in the caches: they hold the operator's own pods.
        if migration.spec.target.local.is_some() && context.memory.may_list_users(&key_of(migration)) {
            let uid = migration.uid().unwrap_or_default();
            world.users = users(&pods, &migration.spec, &uid, namespace).await?;
        }
        world.log = log::read(context, &pods, migration, &world).await;
    } else if !waits_for_a_lock(context, migration, &mut world) {
        return Ok(None);
    }
    Ok(Some((migration.clone(), world)))
}

/// What the watches show of an object whose finished run has nothing left to do. Each of them must have listed what is there
/// before they can tell that, so that a start beside thousands of finished objects costs their lists and no more. None:
/// something may be left. A watch that is late only defers what is left: its news is another look.
async fn rests(context: &Context, migration: &MemoryMigration, now: &Time) -> Option<World> {
    let key = key_of(migration);
    let meta = &migration.metadata;
    let status = migration.status.as_ref().filter(|status| status.completion_time.is_some())?;
    let is_seen = meta.generation.unwrap_or_default() == status.observed_generation;
    let is_behind = context.memory.knows_another(&key, meta.resource_version.as_deref());
    if !is_seen
        || is_behind
        || status.owes_report()
        || !context.memory.lacking().is_empty()
        || !context.caches.are_listed().await
    {
        return None;
    }
    let world = processes(context, migration, now).await;
    let is_finished = Look::new(migration, &world, &context.settings, now).finish().is_some();
    if !is_finished || !world.is_quiet() {
        return None;
    }
    context.memory.waits_for(&key, Waits::default());
    Some(world)
}

async fn processes(context: &Context, migration: &MemoryMigration, now: &Time) -> World {
    let uid = migration.uid().unwrap_or_default();
    let (jobs, pods) = (context.caches.jobs(&uid), context.caches.pods(&uid));
    let jobs: Vec<_> = jobs.iter().map(AsRef::as_ref).filter(|job| facts::is_owned(*job, &uid)).collect();
    let pods: Vec<_> = pods.iter().map(AsRef::as_ref).collect();
    let mut world = processes_of(context, &jobs, &pods, now).await;
    world.held = context.caches.locks_of(&uid).iter().map(|lease| handle(lease)).collect();
    remembered(context, migration, now, &mut world);
    world
}

/// Some(true): the Job that the status names works. Some(false): it said last that a lock is another one's, and nothing
/// of it is left.
fn goes_on(context: &Context, migration: &MemoryMigration, world: &World, now: &Time) -> Option<bool> {
    let look = Look::new(migration, world, &context.settings, now);
    let status = migration.status.as_ref().filter(|_| look.finish().is_none())?;
    let named = look.working_job().filter(|job| job.uid == status.job_uid && job.phase == JobPhase::Active);
    if named.is_some() {
        return Some(true);
    }
    let busy = agreed_reason(&status.conditions) == Some(Reason::TargetBusy);
    (busy && world.present().next().is_none() && world.alive().next().is_none()).then_some(false)
}

/// Whether it waits for the holder of a lock that is there.
fn waits_for_a_lock(context: &Context, migration: &MemoryMigration, world: &mut World) -> bool {
    let namespace = migration.namespace().unwrap_or_default();
    let source = lock::of_source(&migration.spec, &namespace);
    let lease = source.as_ref().and_then(|name| context.caches.lock(name));
    if lease.is_some_and(|lease| lock::covers_source(&lease, &migration.spec)) {
        let Some(lock) = lock_of(context, migration, source) else { return false };
        world.source_lock = lock;
    }
    [&world.lock, &world.source_lock].iter().any(|lock| matches!(lock, Lock::Theirs { .. }))
}

/// Who holds the lock of this name; None: that cannot be told from here.
fn lock_of(context: &Context, migration: &MemoryMigration, name: Option<String>) -> Option<Lock> {
    let Some(lease) = name.and_then(|name| context.caches.lock(&name)) else { return Some(Lock::Free) };
    let holder = lock::holder(&lease);
    if Some(&holder.uid) == migration.uid().as_ref() {
        return Some(Lock::Ours);
    }
    let there = context.caches.object(&holder.namespace, &holder.name)?;
    let is_there = holder.kind == KIND && there.uid().as_ref() == Some(&holder.uid);
    is_there.then(|| Lock::Theirs { holder: holder.in_words() })
}
