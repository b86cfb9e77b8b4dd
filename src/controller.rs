//! The driver: observe (all reads), plan (pure), act (all writes). Decides nothing and reads no memory:
//! it knows `api`, `report`, `exit`, `metrics` and `serve`, never `engine` or `store`.

pub mod act;
mod decide;
pub mod ending;
pub mod events;
pub mod facts;
pub mod job;
pub mod lease;
pub mod lock;
pub mod observe;
pub mod observed;
pub mod placement;
pub mod plan;
pub mod pod;
pub mod setup;
pub mod shown;
pub mod statuses;
pub mod sweep;
pub mod trouble;
pub mod verdict;

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
use tracing::Instrument;

use crate::api::MemoryMigration;
use crate::api::run_hash::short_hash;
use crate::metrics::Metrics;

pub use setup::run;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The image of preflight and mover: the operator's own.
    pub runner_image: String,
    /// The image of the Chroma server that writes a local target, where the spec names none.
    pub chroma_image: String,
    /// The most that the runner may write to its scratch space, for instance `10Gi`.
    pub scratch_limit: String,
    /// Whose rules about user ids hold.
    pub platform: Platform,
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
    /// Failures in a row of each object, for the backoff: kube has none for one object.
    pub failures: std::sync::Mutex<std::collections::HashMap<String, u32>>,
}

/// One look at one object.
///
/// # Errors
/// When the API server refused or did not answer; the object is looked at again with growing pauses.
pub async fn reconcile(found: Arc<Found>, context: Arc<Context>) -> Result<Action, Error> {
    let (namespace, name) = (found.namespace().unwrap_or_default(), found.name_any());
    let span = tracing::info_span!("reconcile", namespace, name, trace_id = trace_id());
    let started = Instant::now();
    let result = look(&namespace, &name, &context).instrument(span).await;
    context.metrics.reconciled(started.elapsed().as_secs_f64());
    if result.is_ok()
        && let Ok(mut failures) = context.failures.lock()
    {
        failures.remove(&format!("{namespace}/{name}"));
    }
    result
}

async fn look(namespace: &str, name: &str, context: &Context) -> Result<Action, Error> {
    // The cache may not hold our own last write yet: a verdict must not be counted twice.
    let migration = match observe::object(context, namespace, name).await? {
        Some(DeserializeGuard(Ok(migration))) => migration,
        Some(DeserializeGuard(Err(unreadable))) => {
            context.metrics.failed("unreadable");
            let why = unreadable.error;
            tracing::error!(why, "the object cannot be read and is left alone: correct it, or upgrade the operator");
            return Ok(Action::await_change());
        }
        None => return Ok(Action::await_change()),
    };
    let observed = observe::observe(context, &migration, &now()).await?;
    let mut plan = plan::plan(&migration, &observed, &context.settings, &now());
    if let act::Done::JobRefused { code, why } = act::act(context, &migration, &plan).await? {
        plan = plan::refused(&migration, &observed, code, &why, &now());
        act::act(context, &migration, &plan).await?;
    }
    Ok(plan.requeue.map_or_else(Action::await_change, Action::requeue))
}

/// What happens to an object whose look failed: the same again, later and later.
#[expect(clippy::needless_pass_by_value, reason = "the signature that kube asks for")]
pub fn error_policy(found: Arc<Found>, error: &Error, context: Arc<Context>) -> Action {
    context.metrics.failed(error.label());
    let key = format!("{}/{}", found.namespace().unwrap_or_default(), found.name_any());
    tracing::warn!(object = key, error = error.to_string(), "a reconcile failed");
    let failures = context.failures.lock().map_or(1, |mut failures| {
        let count = failures.entry(key).or_default();
        *count = count.saturating_add(1);
        *count
    });
    Action::requeue(backoff(failures))
}

/// 2 s, 4 s, and so on to 5 min.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs(2_u64.saturating_pow(failures.clamp(1, 9)).min(300))
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
