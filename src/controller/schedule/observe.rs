//! All reads about a schedule. Writes and decides nothing.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::FoundSchedule;
use super::world::{self, World};
use crate::api::{LABEL_MANAGED_BY, MANAGER, MemoryMigrationSchedule};
use crate::controller::observe::failed;
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
    Ok(World { children, left, pause: None })
}

/// Its migrations as far as the watches have got; None: they hold nothing yet. Enough to see that nothing is to be done.
#[must_use]
pub fn from_watches(context: &Context, schedule: &MemoryMigrationSchedule) -> Option<World> {
    let (namespace, name) = (schedule.namespace().unwrap_or_default(), schedule.name_any());
    let uid = schedule.uid().unwrap_or_default();
    let all = context.caches.owned(&namespace, &uid)?;
    let children = world::children(&name, &uid, all.iter().map(AsRef::as_ref));
    Some(World { children, ..World::default() })
}
