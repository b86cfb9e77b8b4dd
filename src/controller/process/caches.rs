//! What the watches hold: good for what is there, never for what is missing. No client and no decisions.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use tokio::time::{Instant, timeout_at};

use crate::api::{KIND, LABEL_LOCK, LABEL_UID};
use crate::controller::Found;
use crate::controller::build::{ANNOTATION_KIND, ANNOTATION_NAME};
use crate::controller::observe::facts;
use crate::controller::observe::world::JobPhase;

/// The first lists of all watches are waited for so long. Without one of them every object is read by itself.
const FIRST_LISTS: Duration = Duration::from_secs(15);

/// What one scope's watches hold. They follow the API server, each at its own pace.
#[derive(Clone)]
pub struct Cache {
    /// The migrations.
    pub objects: Store<Found>,
    /// The operator's Jobs.
    pub jobs: Store<Job>,
    /// Their pods.
    pub pods: Store<Pod>,
    /// The locks on targets.
    pub locks: Store<Lease>,
    /// When the watches began.
    pub since: Instant,
}

impl Cache {
    async fn is_listed(&self) -> bool {
        let lists = async {
            let jobs = self.jobs.wait_until_ready().await;
            let pods = self.pods.wait_until_ready().await;
            jobs.is_ok() && pods.is_ok() && self.locks.wait_until_ready().await.is_ok()
        };
        timeout_at(self.since + FIRST_LISTS, lists).await.unwrap_or(false)
    }
}

/// The caches of all scopes; empty until the watches begin.
#[derive(Clone, Default)]
pub struct Caches(Arc<RwLock<Vec<Cache>>>);

impl Caches {
    /// One more scope is watched.
    pub fn add(&self, cache: Cache) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(cache);
    }

    /// Whether every watch has listed what is there; waits for that, up to 15 s after the watches began.
    pub async fn are_listed(&self) -> bool {
        let all = self.all();
        for cache in &all {
            if !cache.is_listed().await {
                return false;
            }
        }
        !all.is_empty()
    }

    /// This migration, as far as the watch has got.
    #[must_use]
    pub fn object(&self, namespace: &str, name: &str) -> Option<Arc<Found>> {
        let wanted = ObjectRef::new(name).within(namespace);
        self.all().iter().find_map(|cache| cache.objects.get(&wanted))
    }

    /// The migrations in this namespace that a schedule of this UID owns; None: nothing is watched yet.
    #[must_use]
    pub fn owned(&self, namespace: &str, uid: &str) -> Option<Vec<Arc<Found>>> {
        let all = self.all();
        let is_ours = |found: &Found| {
            let metadata = found.meta();
            metadata.namespace.as_deref() == Some(namespace)
                && metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid)
        };
        (!all.is_empty()).then(|| all.iter().flat_map(|cache| cache.objects.state_filter(is_ours)).collect())
    }

    /// The Jobs with a migration's label.
    #[must_use]
    pub fn jobs(&self, uid: &str) -> Vec<Arc<Job>> {
        self.all().iter().flat_map(|cache| cache.jobs.state_filter(|job| belongs(job, uid))).collect()
    }

    /// The pods with a migration's label.
    #[must_use]
    pub fn pods(&self, uid: &str) -> Vec<Arc<Pod>> {
        self.all().iter().flat_map(|cache| cache.pods.state_filter(|pod| belongs(pod, uid))).collect()
    }

    /// Another migration with a Job or pod that writes the target of this lock and has not ended. Its lock may be gone:
    /// somebody may have deleted it.
    #[must_use]
    pub fn writer(&self, lock: &str, uid: &str) -> Option<String> {
        let all = self.all();
        let jobs = all.iter().flat_map(|cache| cache.jobs.state_filter(|job| is_of_lock(job, lock, uid)));
        let works = |job: &Arc<Job>| facts::job_phase(job) == JobPhase::Active;
        let job = jobs.into_iter().find(works).and_then(|job| owner(job.as_ref()));
        job.or_else(|| {
            let pods = all.iter().flat_map(|cache| cache.pods.state_filter(|pod| is_of_lock(pod, lock, uid)));
            pods.into_iter().find(|pod| facts::is_alive(pod)).and_then(|pod| owner(pod.as_ref()))
        })
    }

    /// The lock of this name.
    #[must_use]
    pub fn lock(&self, name: &str) -> Option<Arc<Lease>> {
        self.all().iter().find_map(|cache| cache.locks.find(|lease| lease.name_any() == name))
    }

    /// The locks that a migration holds, by their UID: each scope has a watch of its own on them.
    #[must_use]
    pub fn locks_of(&self, uid: &str) -> Vec<Arc<Lease>> {
        let all = self.all();
        let held = all.iter().flat_map(|cache| cache.locks.state_filter(|lease| belongs(lease, uid)));
        let by_uid: HashMap<_, _> = held.map(|lease| (lease.uid(), lease)).collect();
        by_uid.into_values().collect()
    }

    fn all(&self) -> Vec<Cache> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn is_of_lock(object: &impl ResourceExt, lock: &str, uid: &str) -> bool {
    object.labels().get(LABEL_LOCK).is_some_and(|label| label == lock) && !belongs(object, uid)
}

/// The object that a Job or pod belongs to, in words.
fn owner(object: &impl ResourceExt) -> Option<String> {
    let name = object.annotations().get(ANNOTATION_NAME)?;
    let kind = object.annotations().get(ANNOTATION_KIND).map_or(KIND, String::as_str);
    Some(format!("{kind} {}/{name}", object.namespace().unwrap_or_default()))
}

fn belongs(object: &impl ResourceExt, uid: &str) -> bool {
    object.labels().get(LABEL_UID).is_some_and(|label| label == uid)
}
