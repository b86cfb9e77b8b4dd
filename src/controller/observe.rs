//! All reads. Writes nothing and decides nothing but what need not be read.

pub mod ending;
pub mod facts;
mod follow;
pub mod keepers;
mod log;
pub mod trouble;
pub mod world;

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

pub use self::follow::follow;
use self::keepers::Keepers;
use self::world::{Endpoint, Handle, JobFact, JobPhase, Lock, UserFact, World};
use super::plan::lock;
use super::plan::look::Look;
use super::process::memory::{self, Waits};
use super::{Context, Error};
use crate::api::{
    KIND, LABEL_UID, MemoryMigration, MemoryMigrationSchedule, MemoryMigrationSpec, MemoryMigrationStatus, Remote,
    SCHEDULE_KIND,
};

/// What only explains is not waited for any longer.
pub(super) const ASIDE: Duration = Duration::from_secs(5);

/// The object as the API server has it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The object; an error where this version cannot read it.
    pub migration: Result<Box<MemoryMigration>, String>,
    /// Its status, with what this version does not know.
    pub status: Value,
}

/// The object as it is now; None when it is gone.
///
/// # Errors
/// When the API server refused or did not answer.
pub async fn object(context: &Context, namespace: &str, name: &str) -> Result<Option<Seen>, Error> {
    let kind = ApiResource::erase::<MemoryMigration>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &kind);
    let found = api.get_opt(name).await.map_err(failed(&format!("read MemoryMigration {namespace}/{name}")))?;
    Ok(found.map(|object| {
        let status = object.data.get("status").cloned().unwrap_or_default();
        let read = serde_json::to_value(object).and_then(serde_json::from_value);
        Seen { migration: read.map_err(|error| error.to_string()), status }
    }))
}

/// Everything that the decision about this object needs, read from the API server: a cache would not know what is absent.
///
/// # Errors
/// When the API server refused or did not answer. What only explains (events, logs) may be missing.
pub async fn observe(context: &Context, migration: &MemoryMigration, now: &Time) -> Result<World, Error> {
    let namespace = migration.namespace().unwrap_or_default();
    let uid = migration.uid().unwrap_or_default();
    if migration.metadata.deletion_timestamp.is_some() {
        return Ok(World::default());
    }
    let ours = ListParams::default().labels(&selector(&uid));
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let leases: Api<Lease> = Api::namespaced(context.client.clone(), &context.namespace);
    let mut world = processes(context, &pods, &namespace, &uid, now).await?;
    let held = leases.list(&ours).await.map_err(failed("list the locks that the object holds"))?.items;
    world.held = held.iter().map(handle).collect();
    remembered(context, migration, now, &mut world);
    world.asks_crd = context.memory.asks_the_crd_again();
    let finished = Look::new(migration, &world, &context.settings, now).finish().is_some();
    if finished && world.is_quiet() {
        context.memory.waits_for(&key_of(migration), Waits::default());
        if migration.status.as_ref().is_some_and(MemoryMigrationStatus::owes_report) {
            world.log = log::read(context, &pods, migration, &world).await;
        }
        return Ok(world);
    }
    let works = world.present().any(|job| job.phase == JobPhase::Active && !job.deleting);
    endpoints(context, &migration.spec, &namespace, works, &mut world).await?;
    world.users = users(&pods, &migration.spec, &uid, &namespace).await?;
    locks(context, &leases, migration, works, &mut world).await?;
    world.log = log::read(context, &pods, migration, &world).await;
    Ok(world)
}

/// The Jobs that the object owns, and the pods with its label. Jobs first: what a Job makes meanwhile is seen.
async fn processes(context: &Context, pods: &Api<Pod>, namespace: &str, uid: &str, now: &Time) -> Result<World, Error> {
    let ours = ListParams::default().labels(&selector(uid));
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), namespace);
    let jobs = jobs.list(&ours).await.map_err(failed(&format!("list the Jobs of {namespace}")))?.items;
    let own = pods.list(&ours).await.map_err(failed(&format!("list the runner's pods of {namespace}")))?.items;
    let owned: Vec<&Job> = jobs.iter().filter(|job| facts::is_owned(*job, uid)).collect();
    let own: Vec<&Pod> = own.iter().collect();
    Ok(processes_of(context, &owned, &own, now).await)
}

/// The facts of these Jobs and pods. Why a pod does not start, and why a Job has none, only events tell.
async fn processes_of(context: &Context, jobs: &[&Job], pods: &[&Pod], now: &Time) -> World {
    let mut world = World::default();
    for pod in pods {
        let unborn = facts::is_alive(pod) && !trouble::has_started(pod);
        let events = if unborn { events_of(context, *pod).await } else { Vec::new() };
        world.pods.push(facts::pod(pod, &events, now));
    }
    for job in jobs {
        let podless = world.pods.iter().all(|pod| Some(&pod.job_uid) != job.uid().as_ref());
        let events = if podless && facts::job_phase(job) == JobPhase::Active {
            events_of(context, *job).await
        } else {
            Vec::new()
        };
        world.jobs.push(facts::job(job, &events));
    }
    world
}

/// What this process remembers: Jobs and pods that ended and are gone, and pauses.
fn remembered(context: &Context, migration: &MemoryMigration, now: &Time, world: &mut World) {
    let memory = &context.memory;
    let key = key_of(migration);
    let uid = migration.uid().unwrap_or_default();
    let (jobs, pods) = memory.ended(&uid);
    for job in jobs.iter().filter(|job| facts::is_owned(*job, &uid)) {
        let fact = facts::job(job, &[]);
        if world.jobs.iter().all(|there| there.uid != fact.uid) {
            world.jobs.push(JobFact { gone: true, ..fact });
        }
    }
    let there: Vec<String> = world.pods.iter().map(|pod| pod.name.clone()).collect();
    let gone = pods.iter().filter(|pod| !there.contains(&pod.name_any()));
    world.pods.extend(gone.map(|pod| facts::pod(pod, &[], now)));
    let vanished = migration.status.as_ref().and_then(|status| facts::vanished(status, world));
    world.jobs.extend(vanished);
    world.pause = memory.pause(&key);
    world.deletions = memory.deletions(&key);
    world.stubborn = memory.stubborn(&key);
    world.lacking = memory.lacking();
}

/// How the API server is asked for the Jobs and pods of one object, and its locks.
fn selector(uid: &str) -> String {
    format!("{LABEL_UID}={uid}")
}

fn handle(lease: &Lease) -> Handle {
    Handle { name: lease.name_any(), uid: lease.uid().unwrap_or_default() }
}

/// How the object is called in this process's memory.
pub(super) fn key_of(migration: &MemoryMigration) -> String {
    memory::key(&migration.namespace().unwrap_or_default(), &migration.name_any())
}

/// Wraps the API server's answer with what was attempted.
pub(super) fn failed(attempt: &str) -> impl FnOnce(kube::Error) -> Error {
    let attempt = attempt.to_owned();
    move |source| Error::Api { attempt, source: Box::new(source) }
}

async fn endpoints(
    context: &Context,
    spec: &MemoryMigrationSpec,
    namespace: &str,
    works: bool,
    world: &mut World,
) -> Result<(), Error> {
    let source_claim = spec.source.local.as_ref().map(|local| local.claim_name.as_str());
    let target_claim = spec.target.local.as_ref().map(|local| local.claim_name.as_str());
    // Whether a Service is there only matters before a Job is made.
    let remote = |remote: &'_ Option<Remote>| remote.clone().filter(|_| !works);
    let (source, kept) = endpoint(context, namespace, source_claim, remote(&spec.source.remote).as_ref()).await?;
    let (target, also) = endpoint(context, namespace, target_claim, remote(&spec.target.remote).as_ref()).await?;
    let both_claims = source_claim.is_some() && target_claim.is_some();
    world.one_store = keepers::in_common(kept.as_ref(), also.as_ref()).filter(|_| !both_claims);
    (world.source, world.target) = (source, target);
    Ok(())
}

pub(super) async fn endpoint(
    context: &Context,
    namespace: &str,
    claim: Option<&str>,
    remote: Option<&Remote>,
) -> Result<(Endpoint, Option<Keepers>), Error> {
    if let Some(name) = claim {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), namespace);
        let found =
            claims.get_opt(name).await.map_err(failed(&format!("read PersistentVolumeClaim {namespace}/{name}")))?;
        return Ok((facts::claim(name, found.as_ref()), Some(Keepers::of_claim(namespace, name))));
    }
    let Some(service) = remote.and_then(|remote| remote.service.as_ref()) else { return Ok((Endpoint::Unknown, None)) };
    let namespace = service.namespace.as_deref().unwrap_or(namespace);
    let services: Api<Service> = Api::namespaced(context.client.clone(), namespace);
    match services.get_opt(&service.name).await {
        Ok(Some(found)) => {
            let keepers = keepers::of_service(context, namespace, &found).await?;
            let uid = found.uid().unwrap_or_default();
            Ok((Endpoint::Found { uid, one_node: false, one_pod: false }, keepers))
        }
        Ok(None) => {
            let missing =
                format!("there is no Service {} in namespace {namespace}: create it, or correct service", service.name);
            Ok((Endpoint::Missing(missing), None))
        }
        // Not being allowed to look is not the same as missing: the runner decides.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok((Endpoint::Unknown, None)),
        Err(error) => Err(failed(&format!("read Service {namespace}/{}", service.name))(error)),
    }
}

/// Other pods that use a claim of this migration and have not ended.
pub(super) async fn users(
    pods: &Api<Pod>,
    spec: &MemoryMigrationSpec,
    uid: &str,
    namespace: &str,
) -> Result<Vec<UserFact>, Error> {
    let source = spec.source.local.as_ref().map(|local| local.claim_name.as_str());
    let target = spec.target.local.as_ref().map(|local| local.claim_name.as_str());
    let claims: Vec<&str> = source.into_iter().chain(target).collect();
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let living = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    let all = pods.list(&living).await.map_err(failed(&format!("list the pods of {namespace}")))?.items;
    let others = all.iter().filter(|pod| facts::is_alive(pod) && pod.labels().get(LABEL_UID).is_none_or(|u| u != uid));
    Ok(others.flat_map(|pod| facts::users(pod, &claims)).collect())
}

/// The target's lock, and before a Job is made the source's.
async fn locks(
    context: &Context,
    leases: &Api<Lease>,
    migration: &MemoryMigration,
    works: bool,
    world: &mut World,
) -> Result<(), Error> {
    let namespace = migration.namespace().unwrap_or_default();
    let (target, source) = (lock::of_target(&migration.spec, &namespace), lock::of_source(&migration.spec, &namespace));
    let own = match &target {
        Some(name) => lease_of(context, leases, name).await?,
        None => None,
    };
    if let Some(lease) = &own {
        world.lock = state(context, migration, lease).await?;
    }
    if let Some(name) = target.as_ref().filter(|_| !works && !matches!(world.lock, Lock::Theirs { .. }))
        && let Some(holder) = context.caches.writer(name, &migration.uid().unwrap_or_default())
    {
        world.lock = Lock::Theirs { holder };
    }
    if let Some(name) = source.as_ref().filter(|_| !works)
        && let Some(lease) = lease_of(context, leases, name).await?
        && lock::covers_source(&lease, &migration.spec)
    {
        world.source_lock = state(context, migration, &lease).await?;
    }
    let mut waits = Waits { target: target.into_iter().collect(), source: source.into_iter().collect() };
    let since = own.filter(|_| world.lock == Lock::Ours).and_then(|lease| lease.creation_timestamp());
    if !works || lost_its_lock(world, since.as_ref()) {
        beside(context, leases, migration, &mut waits, world, since.filter(|_| works).as_ref()).await?;
    }
    context.memory.waits_for(&key_of(migration), waits);
    Ok(())
}

/// Whether the lock of a run that works is gone, or was taken anew since its Job was made: another run may have begun
/// meanwhile. `since`: when it was taken.
fn lost_its_lock(world: &World, since: Option<&Time>) -> bool {
    let begun =
        world.present().filter(|job| job.phase == JobPhase::Active && !job.deleting).map(|job| job.created).max();
    world.lock != Lock::Ours || since.map(|at| at.0.as_second()).zip(begun).is_some_and(|(taken, begun)| taken > begun)
}

/// The locks on the tenant of a server, and on its databases, that exclude this one or cover its source. Each run creates
/// its own lock first and looks here afterwards, so that of two at least one sees the other. `since`: when the lock of a run that works was taken; whoever came later gives way to it.
async fn beside(
    context: &Context,
    leases: &Api<Lease>,
    migration: &MemoryMigration,
    waits: &mut Waits,
    world: &mut World,
    since: Option<&Time>,
) -> Result<(), Error> {
    let (spec, namespace) = (&migration.spec, migration.namespace().unwrap_or_default());
    let is_later =
        |lease: &Lease| since.is_some_and(|since| lease.creation_timestamp().is_some_and(|at| at.0 > since.0));
    let list = async |labels: String| {
        let found = leases.list(&ListParams::default().labels(&labels)).await;
        found.map(|found| found.items).map_err(failed("list the locks of a server"))
    };
    if let Some(labels) = lock::beside_target(spec, &namespace).filter(|_| !waits.target.is_empty()) {
        for lease in list(labels).await?.iter().filter(|lease| lock::excludes(lease, spec, &namespace)) {
            if is_later(lease) {
                continue;
            }
            if let Lock::Theirs { holder } = state(context, migration, lease).await? {
                waits.target.push(lease.name_any());
                world.rival = Some(holder);
                break;
            }
        }
    }
    let is_free = !matches!(world.source_lock, Lock::Theirs { .. });
    if let Some(labels) = lock::beside_source(spec, &namespace).filter(|_| is_free) {
        for lease in list(labels).await?.iter().filter(|lease| lock::writes_source(lease, spec, &namespace)) {
            let found = state(context, migration, lease).await?;
            if matches!(found, Lock::Theirs { .. }) {
                waits.source.push(lease.name_any());
                world.source_lock = found;
                break;
            }
        }
    }
    Ok(())
}

pub(super) async fn lease_of(context: &Context, leases: &Api<Lease>, name: &str) -> Result<Option<Lease>, Error> {
    leases.get_opt(name).await.map_err(failed(&format!("read Lease {}/{name}", context.namespace)))
}

async fn state(context: &Context, migration: &MemoryMigration, lease: &Lease) -> Result<Lock, Error> {
    state_for(context, &migration.uid().unwrap_or_default(), lease).await
}

/// What a lock is to the object with this UID.
pub(super) async fn state_for(context: &Context, uid: &str, lease: &Lease) -> Result<Lock, Error> {
    let holder = lock::holder(lease);
    if holder.uid == uid {
        return Ok(Lock::Ours);
    }
    if is_gone(context, &holder).await? {
        return Ok(Lock::Stale { uid: lease.uid().unwrap_or_default() });
    }
    Ok(Lock::Theirs { holder: holder.in_words() })
}

/// Whether neither the holder of a lock, nor a Job of it that could make a pod, nor a pod of it is left. Where that may not
/// be looked at, and for a kind that this version does not know, the lock is held.
///
/// # Errors
/// When the API server refused or did not answer.
pub(super) async fn is_gone(context: &Context, holder: &lock::Holder) -> Result<bool, Error> {
    let (namespace, name) = (holder.namespace.as_str(), holder.name.as_str());
    if namespace.is_empty() || name.is_empty() {
        return Ok(false);
    }
    let (client, kind) = (context.client.clone(), holder.kind.as_str());
    let found = match kind {
        KIND => uid_of(&Api::<MemoryMigration>::namespaced(client, namespace), name).await,
        SCHEDULE_KIND => uid_of(&Api::<MemoryMigrationSchedule>::namespaced(client, namespace), name).await,
        _ => return Ok(false),
    };
    let found = match found {
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(false),
        answer => answer.map_err(failed(&format!("read {kind} {namespace}/{name}")))?,
    };
    if found.as_ref() == Some(&holder.uid) {
        return Ok(false);
    }
    let theirs = ListParams::default().labels(&selector(&holder.uid));
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), namespace);
    let jobs = jobs.list(&theirs).await.map_err(failed("list the Jobs of a lock's former holder"))?;
    let works = |job: &Job| job.metadata.deletion_timestamp.is_none() && facts::job_phase(job) == JobPhase::Active;
    if jobs.items.iter().any(works) {
        return Ok(false);
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let pods = pods.list(&theirs).await.map_err(failed("list the pods of a lock's former holder"))?;
    Ok(!pods.items.iter().any(facts::is_alive))
}

/// The UID of the object of this name; None: there is none.
async fn uid_of<K>(api: &Api<K>, name: &str) -> kube::Result<Option<String>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    Ok(api.get_metadata_opt(name).await?.and_then(|found| found.uid()))
}

/// Events only explain: without them a condition says less, and nothing else changes.
async fn events_of(context: &Context, object: &impl ResourceExt) -> Vec<Event> {
    let Some(uid) = object.uid() else { return Vec::new() };
    let events: Api<Event> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let about = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    let answer = timeout(ASIDE, events.list(&about)).await;
    answer.ok().and_then(Result::ok).map(|list| list.items).unwrap_or_default()
}
