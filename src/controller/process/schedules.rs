//! The watches of schedules, and what wakes them: their own changes, and an end of one of their migrations. No decisions.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::api::ListParams;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Config as Pace, Controller, WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

use super::{CRD_SECONDS, memory};
use crate::api::SCHEDULE_CRD_NAME;
use crate::controller::schedule::{FoundSchedule, Shared, error_policy, reconcile, world};
use crate::controller::{Context, Found};

/// How often the series of schedules that are gone are dropped.
const PAUSE: Duration = Duration::from_secs(15);

/// Tells the schedule of a migration that it was made, has ended or is gone.
pub(super) struct Bell {
    rings: UnboundedSender<ObjectRef<FoundSchedule>>,
    /// What was told last, by the migration's UID.
    told: Mutex<HashMap<String, u64>>,
}

/// What a schedule's controller is woken by.
pub(super) type Rings = UnboundedReceiver<ObjectRef<FoundSchedule>>;

impl Bell {
    pub(super) fn new() -> (Self, Rings) {
        let (rings, receiver) = unbounded();
        (Self { rings, told: Mutex::default() }, receiver)
    }

    /// A migration that is no schedule's, and progress, are no news.
    pub(super) fn saw(&self, event: &watcher::Result<watcher::Event<Found>>) {
        match event {
            Ok(watcher::Event::Apply(found) | watcher::Event::InitApply(found)) => self.told(found, false),
            Ok(watcher::Event::Delete(found)) => self.told(found, true),
            Ok(_) | Err(_) => {}
        }
    }

    fn told(&self, found: &Found, gone: bool) {
        let metadata = match &found.0 {
            Ok(migration) => &migration.metadata,
            Err(invalid) => &invalid.metadata,
        };
        let Some(owner) = world::owner(metadata) else { return };
        let end = found.0.as_ref().ok().and_then(world::ended);
        let end = end.map(|end| (end.succeeded, end.reason, end.message));
        let mut hasher = DefaultHasher::new();
        (metadata.deletion_timestamp.is_some(), metadata.generation, end).hash(&mut hasher);
        let (uid, state) = (metadata.uid.clone().unwrap_or_default(), hasher.finish());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if gone { told.remove(&uid) } else { told.insert(uid, state) };
        if gone || before != Some(state) {
            let namespace = metadata.namespace.clone().unwrap_or_default();
            let _ = self.rings.unbounded_send(ObjectRef::new(&owner.name).within(&namespace));
        }
    }
}

/// Reconciles the schedules of one scope until it is told to stop. Without their CRD it waits: migrations go on.
pub(super) async fn run(
    scope: Option<&str>,
    client: &Client,
    concurrency: u16,
    context: &Arc<Context>,
    rings: Rings,
    (stop, lost): (watch::Receiver<bool>, impl Future<Output = ()> + Send + Sync + 'static),
) {
    let shared = Arc::new(Shared::new(context.clone()));
    tokio::select! {
        () = wait_for_crd(scope, client, context) => {}
        () = super::stopped(stop.clone()) => return,
    }
    let (store, writer) = reflector::store();
    let objects = watcher(super::api::<FoundSchedule>(scope, client), watcher::Config::default());
    let objects = objects.reflect(writer).applied_objects();
    let controller = Controller::for_stream(objects, store.clone())
        .with_config(Pace::default().concurrency(concurrency.max(1)).debounce(Duration::from_millis(500)))
        .reconcile_on(rings)
        .graceful_shutdown_on(super::stopped(stop))
        .graceful_shutdown_on(lost);
    let sweep = tokio::spawn(sweep(shared.clone(), store));
    // Failed reconciles are logged where they are counted; here only the queue itself can fail.
    let run = controller.run(reconcile, error_policy, shared).for_each(|result| {
        if let Err(kube::runtime::controller::Error::QueueError(error)) = result {
            tracing::warn!(error = error.to_string(), "a watch of schedules failed; it is opened again");
        }
        std::future::ready(())
    });
    run.await;
    sweep.abort();
}

async fn sweep(shared: Arc<Shared>, store: Store<FoundSchedule>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let objects = store.state();
        let names = objects.iter().map(|found| (found.namespace().unwrap_or_default(), found.name_any()));
        let names: std::collections::BTreeSet<_> = names.collect();
        shared.keep_only(&names.iter().map(|(namespace, name)| memory::key(namespace, name)).collect());
        shared.context.metrics.keep_schedules(&names);
    }
}

/// An operator that was upgraded before its CRDs goes on with migrations.
async fn wait_for_crd(scope: Option<&str>, client: &Client, context: &Context) {
    let api: Api<FoundSchedule> = super::api(scope, client);
    loop {
        let why = match api.list(&ListParams::default().limit(1)).await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if status.code == 404 => {
                format!("the CRD {SCHEDULE_CRD_NAME} is not installed: install the crds chart")
            }
            Err(error) => format!("the API server cannot be asked for MemoryMigrationSchedules: {error}"),
        };
        let (ready, _) = context.readiness.get();
        context.readiness.set(ready, &format!("leading; schedules wait: {why}"));
        tracing::warn!(why, "schedules are not looked after");
        tokio::time::sleep(Duration::from_secs(CRD_SECONDS)).await;
    }
}
