//! All reads. Writes nothing and decides nothing but what need not be read.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt};

use super::observed::{Endpoint, JobPhase, Lock, LogFact, Observed, PodFact, UserFact};
use super::{Context, Error, Found, facts, lock, placement, statuses};
use crate::api::{LABEL_UID, MemoryMigration, MemoryMigrationSpec, Remote};

/// A log is read at most this often, whatever wakes the controller.
const LOG_SECONDS: i64 = 4;
/// Lines from a log's end: the last progress, or all collections' outcomes.
const LOG_LINES: i64 = 200;

/// The object as it is now; None when it is gone.
///
/// # Errors
/// When the API server refused or did not answer.
pub async fn object(context: &Context, namespace: &str, name: &str) -> Result<Option<Found>, Error> {
    let api: Api<Found> = Api::namespaced(context.client.clone(), namespace);
    api.get_opt(name).await.map_err(failed(&format!("read MemoryMigration {namespace}/{name}")))
}

/// Everything that the decision about this object needs.
///
/// # Errors
/// When the API server refused or did not answer. What only explains (events, logs) may be missing.
pub async fn observe(context: &Context, migration: &MemoryMigration, now: &Time) -> Result<Observed, Error> {
    let namespace = migration.namespace().unwrap_or_default();
    let uid = migration.uid().unwrap_or_default();
    if migration.metadata.deletion_timestamp.is_some() {
        return Ok(Observed::default());
    }
    let ours = ListParams::default().labels(&placement::selector(&uid));
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    let jobs = jobs.list(&ours).await.map_err(failed(&format!("list the Jobs of {namespace}")))?.items;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let own = pods.list(&ours).await.map_err(failed(&format!("list the runner's pods of {namespace}")))?.items;
    let leases: Api<Lease> = Api::namespaced(context.client.clone(), &context.namespace);
    let held = leases.list(&ours).await.map_err(failed("list the locks that the object holds"))?.items;
    let mut observed = Observed { held: held.iter().map(ResourceExt::name_any).collect(), ..Observed::default() };
    for pod in &own {
        let events = if facts::is_alive(pod) { events_of(context, &namespace, pod.uid()).await } else { Vec::new() };
        observed.pods.push(facts::pod(pod, &events, now));
    }
    for job in &jobs {
        let podless = observed.pods.iter().all(|pod| pod.job != job.name_any());
        let events = if podless { events_of(context, &namespace, job.uid()).await } else { Vec::new() };
        observed.jobs.push(facts::job(job, &events));
    }
    let hash = migration.spec.run_hash();
    let status = statuses::of_run(migration, &hash);
    if statuses::finished(migration, &hash, &status).is_some() && observed.is_quiet() {
        return Ok(observed);
    }
    (observed.source, observed.target) = endpoints(context, &migration.spec, &namespace).await?;
    observed.users = users(&pods, &migration.spec, &uid, &namespace).await?;
    observed.lock = lock_of(context, &leases, migration, &observed.target).await?;
    observed.log = log(&pods, migration, &observed, now).await;
    Ok(observed)
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
) -> Result<(Endpoint, Endpoint), Error> {
    let source_claim = spec.source.local.as_ref().map(|local| local.claim_name.as_str());
    let target_claim = spec.target.local.as_ref().map(|local| local.claim_name.as_str());
    let source = endpoint(context, namespace, source_claim, spec.source.remote.as_ref()).await?;
    let target = endpoint(context, namespace, target_claim, spec.target.remote.as_ref()).await?;
    Ok((source, target))
}

async fn endpoint(
    context: &Context,
    namespace: &str,
    claim: Option<&str>,
    remote: Option<&Remote>,
) -> Result<Endpoint, Error> {
    if let Some(name) = claim {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), namespace);
        let found =
            claims.get_opt(name).await.map_err(failed(&format!("read PersistentVolumeClaim {namespace}/{name}")))?;
        return Ok(facts::claim(name, found.as_ref()));
    }
    let Some(service) = remote.and_then(|remote| remote.service.as_ref()) else { return Ok(Endpoint::Unknown) };
    let namespace = service.namespace.as_deref().unwrap_or(namespace);
    let services: Api<Service> = Api::namespaced(context.client.clone(), namespace);
    match services.get_opt(&service.name).await {
        Ok(Some(found)) => {
            Ok(Endpoint::Found { uid: found.uid().unwrap_or_default(), one_node: false, one_pod: false })
        }
        Ok(None) => Ok(Endpoint::Missing(format!(
            "there is no Service {} in namespace {namespace}: create it, or correct service",
            service.name
        ))),
        // Not being allowed to look is not the same as missing: the runner decides.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Endpoint::Unknown),
        Err(error) => Err(failed(&format!("read Service {namespace}/{}", service.name))(error)),
    }
}

/// Other pods that use a claim of this migration and have not ended.
async fn users(
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

async fn lock_of(
    context: &Context,
    leases: &Api<Lease>,
    migration: &MemoryMigration,
    target: &Endpoint,
) -> Result<Lock, Error> {
    let namespace = migration.namespace().unwrap_or_default();
    let Some(name) = lock::name(&migration.spec, &namespace, target) else { return Ok(Lock::Free) };
    let found = leases.get_opt(&name).await.map_err(failed(&format!("read Lease {}/{name}", context.namespace)))?;
    let Some(lease) = found else { return Ok(Lock::Free) };
    let holder = lock::holder(&lease);
    if Some(&holder.uid) == migration.uid().as_ref() {
        return Ok(Lock::Ours);
    }
    if is_gone(context, &holder).await? {
        return Ok(Lock::Stale { uid: lease.uid().unwrap_or_default() });
    }
    Ok(Lock::Theirs { holder: format!("{}/{}", holder.namespace, holder.name) })
}

/// Whether neither the holder of a lock, nor a Job of it that could make a pod, nor a pod of it is left.
///
/// # Errors
/// When the API server refused or did not answer.
pub(super) async fn is_gone(context: &Context, holder: &lock::Holder) -> Result<bool, Error> {
    let (namespace, name) = (holder.namespace.as_str(), holder.name.as_str());
    if namespace.is_empty() || name.is_empty() {
        return Ok(false);
    }
    let api: Api<MemoryMigration> = Api::namespaced(context.client.clone(), namespace);
    let found =
        api.get_metadata_opt(name).await.map_err(failed(&format!("read MemoryMigration {namespace}/{name}")))?;
    if found.is_some_and(|found| found.uid().as_ref() == Some(&holder.uid)) {
        return Ok(false);
    }
    let theirs = ListParams::default().labels(&placement::selector(&holder.uid));
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

/// Events only explain: without them a condition says less, and nothing else changes.
async fn events_of(context: &Context, namespace: &str, uid: Option<String>) -> Vec<Event> {
    let Some(uid) = uid else { return Vec::new() };
    let events: Api<Event> = Api::namespaced(context.client.clone(), namespace);
    let about = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    events.list(&about).await.map(|list| list.items).unwrap_or_default()
}

/// A log that cannot be read only makes the progress stale.
async fn log(pods: &Api<Pod>, migration: &MemoryMigration, observed: &Observed, now: &Time) -> Option<LogFact> {
    let pod = speaking(observed)?;
    let progress = migration.status.as_ref().and_then(|status| status.progress.as_ref());
    let age = progress.and_then(|p| p.updated_at.as_ref()).map_or(i64::MAX, |at| now.0.as_second() - at.0.as_second());
    if pod.alive && (0..LOG_SECONDS).contains(&age) {
        return None;
    }
    let params =
        LogParams { container: pod.speaker.map(Into::into), tail_lines: Some(LOG_LINES), ..LogParams::default() };
    match pods.logs(&pod.name, &params).await {
        Ok(text) => Some(facts::log(&text)),
        Err(error) => {
            tracing::debug!(pod = pod.name, error = error.to_string(), "the progress cannot be read");
            None
        }
    }
}

/// The pod that tells: the newest one that is alive, else the newest.
fn speaking(observed: &Observed) -> Option<&PodFact> {
    observed.pods.iter().filter(|pod| pod.speaker.is_some()).max_by_key(|pod| (pod.alive, pod.created))
}
