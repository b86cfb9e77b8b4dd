//! The driver: observe (all reads), plan (pure), act (all writes). Decides nothing and reads no memory:
//! it knows `api`, `report`, `exit`, `metrics` and `serve`, never `engine` or `store`.

pub mod act;
pub mod build;
pub mod observe;
pub mod plan;
pub mod process;
pub mod schedule;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::{Client, ResourceExt};
use tokio::time::timeout;
use tracing::Instrument;

use self::act::Done;
use self::plan::crd_gap;
use self::plan::look::Look;
use self::process::caches::Caches;
use self::process::memory::{self, Memory};
use crate::api::run_hash::short_hash;
use crate::api::{MemoryMigration, PodTemplate};
use crate::metrics::Metrics;
use crate::serve::Readiness;

pub use self::process::run;

/// An object as the API server returned it. One that cannot be read, for instance because a newer operator wrote it, is
/// an error of that object and not of the watch.
pub type Found = DeserializeGuard<MemoryMigration>;

/// What a controller process is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its own namespace: leader election and the locks on targets live there.
    pub namespace: String,
    /// Its own name among the replicas: the pod's.
    pub identity: String,
    /// The only namespaces to look at; none: all.
    pub watch_namespaces: Vec<String>,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    pub listen: SocketAddr,
    /// Objects looked at at the same time, in each of the namespaces where some are named; at least 1.
    pub concurrency: u16,
    /// What Jobs are made with.
    pub settings: Settings,
}

/// What Jobs are made with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The image of preflight and mover: the operator's own.
    pub runner_image: String,
    /// The image of the Chroma server that writes a local target, where the spec names none.
    pub chroma_image: String,
    /// The most that the runner may write to its scratch space, for instance `10Gi`.
    pub scratch_limit: String,
    /// Whose rules about user ids hold.
    pub platform: Platform,
    /// Reports are kept in a `ConfigMap` beside the object.
    pub report_config_map: bool,
    /// The runner's pod as far as no migration says otherwise.
    pub pod_template: PodTemplate,
}

/// Whose rules about user ids hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Platform {
    /// Pods say their ids.
    #[default]
    Kubernetes,
    /// The namespace gives pods their ids.
    OpenShift,
}

/// Why the controller could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or did not answer.
    #[error("failed to {attempt}: {source}")]
    Api {
        /// A verb and an object, as "list the Jobs of ns/name".
        attempt: String,
        /// The cause.
        source: Box<kube::Error>,
    },
    /// The process cannot serve or start.
    #[error("failed to {attempt}: {why}")]
    Start {
        /// A verb and an object.
        attempt: &'static str,
        /// The cause.
        why: String,
    },
    /// It took too long: whatever was under way is looked at anew.
    #[error("failed to look at {object} within {limit:?}: the API server does not answer")]
    Late {
        /// namespace/name.
        object: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Another replica may lead now: the process has to end.
    #[error("the leader's Lease was lost: ending, so that only one replica writes; the next start waits for it")]
    LeaseLost,
}

impl Error {
    /// A bounded word for the metric.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) if status.code == 403 => "forbidden",
                kube::Error::Api(status) if status.code == 409 => "conflict",
                kube::Error::Api(_) => "api",
                kube::Error::SerdeError(_) => "unreadable",
                _ => "connection",
            },
            Self::Late { .. } => "timeout",
            Self::Start { .. } => "start",
            Self::LeaseLost => "lease",
        }
    }
}

/// What every reconcile shares.
pub struct Context {
    /// To the API server.
    pub client: Client,
    /// What Jobs are made with.
    pub settings: Settings,
    /// Where the locks on targets live.
    pub namespace: String,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Tells people.
    pub recorder: Recorder,
    /// What is remembered between looks.
    pub memory: Memory,
    /// What the watches hold.
    pub caches: Caches,
    /// What the probe says.
    pub readiness: Readiness,
}

impl Context {
    /// The API server's answer to a status: what its CRD lacks is said by the probe, which stays ready.
    pub fn answered(&self, sent: &serde_json::Value, answer: &serde_json::Value) {
        self.memory.answered(sent, answer);
        let lacking = self.memory.lacking();
        let (ready, _) = self.readiness.get();
        if ready {
            self.readiness.set(true, &crd_gap::named("leading".into(), &lacking));
        }
    }
}

/// Looks at an object that changes while it is looked at, before it is left for a moment.
const ROUNDS: usize = 4;
/// A look that takes longer is given up.
const LIMIT: Duration = Duration::from_secs(60);

/// One look at one object.
///
/// # Errors
/// When the API server refused or did not answer; the object is looked at again with growing pauses.
pub async fn reconcile(found: Arc<Found>, context: Arc<Context>) -> Result<Action, Error> {
    let (namespace, name) = (found.namespace().unwrap_or_default(), found.name_any());
    let span = tracing::info_span!("reconcile", namespace, name, trace_id = trace_id());
    let started = Instant::now();
    let key = memory::key(&namespace, &name);
    let looked = timeout(LIMIT, look(&namespace, &name, &context)).instrument(span).await;
    let result = looked.unwrap_or_else(|_| Err(Error::Late { object: key.clone(), limit: LIMIT }));
    context.metrics.reconciled(started.elapsed().as_secs_f64());
    if result.is_ok() {
        context.memory.succeeded(&key);
    }
    result
}

async fn look(namespace: &str, name: &str, context: &Context) -> Result<Action, Error> {
    if let Some(action) = follow(namespace, name, context).await? {
        return Ok(action);
    }
    for _ in 0..ROUNDS {
        // The cache may not hold our own last write yet: a verdict must not be counted twice.
        let Some(seen) = observe::object(context, namespace, name).await? else { return Ok(Action::await_change()) };
        let migration = match seen.migration {
            Ok(migration) => migration,
            Err(why) => {
                context.metrics.failed("unreadable");
                tracing::error!(
                    why,
                    "the object cannot be read and is left alone: correct it, or upgrade the operator"
                );
                return Ok(Action::await_change());
            }
        };
        let now = now();
        let world = observe::observe(context, &migration, &now).await?;
        context.memory.read(&memory::key(namespace, name), migration.metadata.resource_version.as_deref());
        let look = Look::new(&migration, &world, &context.settings, &now);
        let mut plan = plan::plan(&look);
        let mut done = act::act(context, &look, &seen.status, &plan).await?;
        if let Done::Refused(refusal) = &done {
            plan = plan::refused(&look, refusal);
            done = act::act(context, &look, &seen.status, &plan).await?;
        }
        context.memory.change_pause(&memory::key(namespace, name), &plan.pause);
        if done != Done::Changed && !plan.again {
            return Ok(plan.requeue.map_or_else(Action::await_change, Action::requeue));
        }
    }
    Ok(Action::requeue(plan::SOON))
}

/// A look from what the watches hold. It may say how a run goes on; for all else nothing is done, and the API server is
/// read: None.
async fn follow(namespace: &str, name: &str, context: &Context) -> Result<Option<Action>, Error> {
    let now = now();
    let Some((migration, world)) = observe::follow(context, namespace, name, &now).await? else { return Ok(None) };
    let look = Look::new(&migration, &world, &context.settings, &now);
    let plan = plan::plan(&look);
    let known = migration.status.clone().unwrap_or_default();
    if !plan.only_tells(&known) {
        return Ok(None);
    }
    let read = serde_json::to_value(&known).unwrap_or_default();
    if act::act(context, &look, &read, &plan).await? != Done::All {
        return Ok(None);
    }
    context.memory.change_pause(&memory::key(namespace, name), &plan.pause);
    Ok(Some(plan.requeue.map_or_else(Action::await_change, Action::requeue)))
}

/// What happens to an object whose look failed: the same again, later and later.
#[expect(clippy::needless_pass_by_value, reason = "the signature that kube asks for")]
pub fn error_policy(found: Arc<Found>, error: &Error, context: Arc<Context>) -> Action {
    context.metrics.failed(error.label());
    let key = memory::key(&found.namespace().unwrap_or_default(), &found.name_any());
    tracing::warn!(object = key, error = error.to_string(), "a reconcile failed");
    Action::requeue(backoff(context.memory.failed(&key)))
}

/// 10 s, 20 s, and so on to 5 min: not more than three writes a minute, whatever refuses them.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs(10_u64.saturating_mul(1 << (failures.clamp(1, 6) - 1)).min(300))
}

/// The time in whole seconds, as Kubernetes keeps it: otherwise a status would differ from what was read back.
fn now() -> Time {
    let second = Timestamp::now().as_second();
    Time(Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Ties together the log lines of one look at one object.
fn trace_id() -> String {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    let look = LOOKS.fetch_add(1, Ordering::Relaxed);
    short_hash(format!("{}/{look}/{}", std::process::id(), Timestamp::now()).as_bytes(), 16)
}
