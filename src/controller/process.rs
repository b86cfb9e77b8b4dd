//! The process: probes, CRD, election, watches, shutdown. No decisions about migrations.

pub mod caches;
pub mod election;
pub mod memory;
mod schedules;
pub mod sweep;

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{Config as Pace, Controller, WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::caches::{Cache, Caches};
use self::election::Election;
use self::memory::Memory;
use self::schedules::Bell;
use super::build::{ANNOTATION_KIND, ANNOTATION_NAME};
use super::{Config, Context, Error, Found, error_policy, reconcile};
use crate::api::conditions::Reason;
use crate::api::{CRD_NAME, LABEL_MANAGED_BY, MANAGER};
use crate::metrics::Metrics;
use crate::serve::{self, Readiness};

/// How often a missing CRD is looked for.
const CRD_SECONDS: u64 = 5;
/// Objects in one answer to a list: a whole page is held in several forms while it is read.
const PAGE: u32 = 100;
/// How long what has begun may take to end after a signal: well within a pod's grace of 30 s.
const ENDING: Duration = Duration::from_secs(15);
/// And then to give the Lease back.
const GIVING_BACK: Duration = Duration::from_secs(8);

/// Runs a controller until a signal ends it.
///
/// # Errors
/// When it cannot start, or has lost the leader's Lease. A missing CRD or API server is waited for.
pub async fn run(config: Config) -> Result<(), Error> {
    let metrics = Metrics::new(&Reason::failures())
        .map_err(|e| Error::Start { attempt: "register the metrics", why: e.to_string() })?;
    let metrics = Arc::new(metrics);
    let readiness = Readiness::default();
    let stop = signals()?;
    let server = probes(&config, &readiness, &metrics, stop.clone()).await?;
    let client = client()
        .await
        .map_err(|e| Error::Start { attempt: "find the cluster (in a pod, or by KUBECONFIG)", why: e.to_string() })?;
    let late = async {
        stopped(stop.clone()).await;
        tokio::time::sleep(ENDING + GIVING_BACK).await;
    };
    let result = tokio::select! {
        result = lead(&config, client, &readiness, metrics, stop.clone()) => result,
        () = late => {
            tracing::warn!("not everything ended in time: the next leader waits until the Lease ends");
            Ok(())
        }
    };
    readiness.set(false, "ending");
    server.abort();
    result
}

/// Waits for the CRD and for the Lease, then reconciles until it is told to stop or the Lease is lost.
async fn lead(
    config: &Config,
    client: Client,
    readiness: &Readiness,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    tokio::select! {
        () = wait_for_crd(config, &client, readiness) => {}
        () = stopped(stop.clone()) => return Ok(()),
    }
    readiness.set(true, "standby: another replica leads, or none yet");
    let mut election = Election::join(&client, &config.namespace, &config.identity);
    tokio::select! {
        won = election.won() => won?,
        () = stopped(stop.clone()) => { election.leave().await; return Ok(()); }
    }
    readiness.set(true, "leading");
    metrics.leads();
    let lost = election.lost();
    let worked = work(config, client, metrics, readiness, stop.clone(), &election);
    tokio::select! {
        () = worked => {}
        // Not graceful: whatever this replica would still write could be the next leader's to write.
        () = lost => return Err(Error::LeaseLost),
    }
    if !*stop.borrow() {
        return Err(Error::LeaseLost);
    }
    election.leave().await;
    Ok(())
}

/// Reconciles until it is told to stop.
async fn work(
    config: &Config,
    client: Client,
    metrics: Arc<Metrics>,
    readiness: &Readiness,
    stop: watch::Receiver<bool>,
    election: &Election,
) {
    let reporter = Reporter { controller: MANAGER.into(), instance: Some(config.identity.clone()) };
    let context = Arc::new(Context {
        client: client.clone(),
        settings: config.settings.clone(),
        namespace: config.namespace.clone(),
        metrics,
        recorder: Recorder::new(client.clone(), reporter),
        memory: Memory::default(),
        caches: Caches::default(),
        readiness: readiness.clone(),
    });
    let (mut stores, mut running, mut scheduling) = (Vec::new(), Vec::new(), Vec::new());
    // A watch is of one namespace or of all.
    for scope in scopes(config) {
        let (bell, rings) = Bell::new();
        let ending = (stop.clone(), election.lost());
        scheduling.push(schedules::run(scope, &client, config.concurrency, &context, rings, ending));
        let controller = watching(config, scope, &client, &context, bell)
            .graceful_shutdown_on(stopped(stop.clone()))
            .graceful_shutdown_on(election.lost());
        stores.push(controller.store());
        running.push(controller.run(reconcile, error_policy, context.clone()).for_each(|result| {
            // Failed reconciles are logged where they are counted; here only the queue itself can fail.
            if let Err(kube::runtime::controller::Error::QueueError(error)) = result {
                tracing::warn!(error = error.to_string(), "a watch failed; it is opened again");
            }
            std::future::ready(())
        }));
    }
    let sweep = tokio::spawn(sweep::run(context.clone(), stores, config.watch_namespaces.clone()));
    let late = async {
        stopped(stop.clone()).await;
        tokio::time::sleep(ENDING).await;
    };
    tokio::select! {
        _ = join(join_all(running), join_all(scheduling)) => {}
        () = late => tracing::warn!("a watch did not end within {ENDING:?}: ending without it"),
    }
    sweep.abort();
}

/// A client whose every request has one answer: kube would try those that are answered 429, 503 or 504 again by itself,
/// and hide what the API server says. All that is read or written is tried again by the next look anyway.
async fn client() -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let mut config = kube::Config::infer().await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// The watches of one scope: migrations, the Jobs and pods that belong to them, and the locks that they wait for. The
/// filter stands behind the cache, which holds every version.
fn watching(
    config: &Config,
    scope: Option<&str>,
    client: &Client,
    context: &Arc<Context>,
    bell: Bell,
) -> Controller<Found> {
    let all = watcher::Config::default().page_size(PAGE);
    let ours = all.clone().labels(&format!("{LABEL_MANAGED_BY}={MANAGER}"));
    let (store, writer) = reflector::store();
    let ((job_store, job_writer), (pod_store, pod_writer)) = (reflector::store(), reflector::store());
    let (lock_store, lock_writer) = reflector::store();
    let since = tokio::time::Instant::now();
    context.caches.add(Cache { objects: store.clone(), jobs: job_store, pods: pod_store, locks: lock_store, since });
    let news = context.clone();
    let objects = watcher(api::<Found>(scope, client), all)
        .modify(slim)
        .reflect(writer)
        .inspect(move |event| bell.saw(event))
        .applied_objects()
        .try_filter(move |found| std::future::ready(news.memory.is_news(found)));
    let jobs = watcher(api::<Job>(scope, client), ours.clone()).modify(slim).reflect(job_writer).touched_objects();
    let pods = watcher(api::<Pod>(scope, client), ours.clone()).modify(slim).reflect(pod_writer).touched_objects();
    let leases: Api<Lease> = Api::namespaced(client.clone(), &config.namespace);
    let leases = released(watcher(leases, ours).reflect(lock_writer));
    let (of_jobs, of_pods, of_locks) = (context.clone(), context.clone(), context.clone());
    let here = scope.map(ToOwned::to_owned);
    Controller::for_stream(objects, store)
        .with_config(Pace::default().concurrency(config.concurrency.max(1)).debounce(Duration::from_millis(500)))
        .watches_stream(jobs, move |job| {
            of_jobs.memory.saw_job(&job);
            object_of(&job)
        })
        .watches_stream(pods, move |pod| {
            of_pods.memory.saw_pod(&pod);
            object_of(&pod)
        })
        .watches_stream(leases, move |lease| {
            let waiting = of_locks.memory.released(&lease.name_any());
            waiting.into_iter().filter_map(|key| reference(&key, here.as_deref())).collect::<Vec<_>>()
        })
}

/// What nobody here reads is not kept.
fn slim(object: &mut impl ResourceExt) {
    object.managed_fields_mut().clear();
}

/// The locks that go: only those change what anybody waits for.
fn released(
    events: impl Stream<Item = watcher::Result<watcher::Event<Lease>>> + Send + 'static,
) -> impl Stream<Item = watcher::Result<Lease>> + Send + 'static {
    events.filter_map(|event| {
        std::future::ready(match event {
            Ok(watcher::Event::Delete(lease)) => Some(Ok(lease)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    })
}

/// The object of this key, if it is in this scope.
fn reference(key: &str, scope: Option<&str>) -> Option<ObjectRef<Found>> {
    let (namespace, name) = key.split_once('/')?;
    scope.is_none_or(|scope| scope == namespace).then(|| ObjectRef::new(name).within(namespace))
}

/// Where to look; None: everywhere.
fn scopes(config: &Config) -> Vec<Option<&str>> {
    if config.watch_namespaces.is_empty() {
        return vec![None];
    }
    config.watch_namespaces.iter().map(|namespace| Some(namespace.as_str())).collect()
}

fn api<K>(scope: Option<&str>, client: &Client) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The migration that a Job or a runner's pod belongs to.
fn object_of(owned: &impl ResourceExt) -> Option<ObjectRef<Found>> {
    let name =
        owned.annotations().get(ANNOTATION_NAME).filter(|_| !owned.annotations().contains_key(ANNOTATION_KIND))?;
    Some(ObjectRef::new(name).within(&owned.namespace()?))
}

/// A missing CRD is no error of this process: it may be installed later. One namespace that answers is enough: another
/// one may be gone for good.
async fn wait_for_crd(config: &Config, client: &Client, readiness: &Readiness) {
    loop {
        for scope in scopes(config) {
            match api::<Found>(scope, client).list(&ListParams::default().limit(1)).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    readiness.set(false, &format!("the CRD {CRD_NAME} is not installed: install the crds chart"));
                }
                Err(error) => {
                    readiness.set(false, &format!("the API server cannot be asked for MemoryMigrations: {error}"));
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(CRD_SECONDS)).await;
    }
}

async fn probes(
    config: &Config,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
    stop: watch::Receiver<bool>,
) -> Result<tokio::task::JoinHandle<std::io::Result<()>>, Error> {
    let listener = serve::listen(config.listen).await.map_err(|e| Error::Start {
        attempt: "listen for probes and metrics",
        why: format!("{}: {e}", config.listen),
    })?;
    let metrics = metrics.clone();
    let router = serve::router(readiness.clone(), move || metrics.text().unwrap_or_else(|e| format!("# {e}\n")));
    Ok(tokio::spawn(serve::serve(listener, router, stopped(stop))))
}

/// Turns true at SIGTERM or SIGINT.
fn signals() -> Result<watch::Receiver<bool>, Error> {
    let failed = |e: std::io::Error| Error::Start { attempt: "listen for signals", why: e.to_string() };
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?);
    let (tell, stop) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("told to end: finishing what has begun");
        let _ = tell.send(true);
        // Kept open: a closed channel would look like a second signal.
        std::future::pending::<()>().await;
    });
    Ok(stop)
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
