//! Schedules: observe (all reads), plan (pure), act (all writes), as for migrations. Each look can be the first one: the
//! process may be killed between any two writes. Makes and deletes migrations, and never starts a run by itself.

pub mod act;
pub mod child;
pub mod history;
pub mod observe;
pub mod plan;
pub mod prune_act;
pub mod pruning;
pub mod said;
pub mod world;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use tokio::time::timeout;
use tracing::Instrument;

use self::act::Done;
use self::plan::Plan;
use self::prune_act::NotPruned;
use self::world::{Look, Pause};
use super::process::memory::key;
use super::{Context, Error};
use crate::api::MemoryMigrationSchedule;

/// A schedule as the API server returned it; see [`super::Found`].
pub type FoundSchedule = DeserializeGuard<MemoryMigrationSchedule>;

/// A look that takes longer is given up.
const LIMIT: Duration = Duration::from_secs(60);
/// Looks at a schedule that changes while it is looked at, before it is left for a moment.
const ROUNDS: usize = 4;
/// When a schedule that goes on changing is looked at again.
const SOON: Duration = Duration::from_secs(3);
/// The first pause after a failed look; each further one is twice as long.
const FIRST_PAUSE: u64 = 10;
/// The longest one.
const LONGEST_PAUSE: u64 = 300;
/// Seconds after which a refused write for pruning is tried again.
const PRUNE_PAUSE: i64 = 300;

/// What every look at a schedule shares.
pub struct Shared {
    /// What it shares with migrations.
    pub context: Arc<Context>,
    /// What is remembered between looks. A restart forgets it, and nothing goes wrong by that.
    kept: Mutex<HashMap<String, Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    failures: u32,
    pause: Option<Pause>,
    prune_pause: Option<Pause>,
}

impl Shared {
    /// For a new process.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pause(&self, key: &str) -> Option<Pause> {
        self.kept().get(key).and_then(|kept| kept.pause.clone())
    }

    fn prune_pause(&self, key: &str) -> Option<Pause> {
        self.kept().get(key).and_then(|kept| kept.prune_pause.clone())
    }

    fn set_pause(&self, key: &str, pause: Option<Pause>) {
        self.kept().entry(key.into()).or_default().pause = pause;
    }

    /// Forgets the schedules that are gone.
    pub fn keep_only(&self, existing: &std::collections::HashSet<String>) {
        self.kept().retain(|key, _| existing.contains(key));
    }
}

/// One look at one schedule.
///
/// # Errors
/// When the API server refused or did not answer; it is looked at again with growing pauses.
pub async fn reconcile(found: Arc<FoundSchedule>, shared: Arc<Shared>) -> Result<Action, Error> {
    let (namespace, name) = (found.namespace().unwrap_or_default(), found.name_any());
    let span = tracing::info_span!("reconcile", kind = "schedule", namespace, name);
    let started = Instant::now();
    let looked = timeout(LIMIT, Box::pin(look(&found, &namespace, &name, &shared))).instrument(span).await;
    let result = looked.unwrap_or_else(|_| Err(Error::Late { object: key(&namespace, &name), limit: LIMIT }));
    shared.context.metrics.reconciled(started.elapsed().as_secs_f64());
    if result.is_ok() {
        shared.kept().entry(key(&namespace, &name)).or_default().failures = 0;
    }
    result
}

async fn look(found: &FoundSchedule, namespace: &str, name: &str, shared: &Shared) -> Result<Action, Error> {
    if let Some(plan) = from_watches(found, shared) {
        return Ok(requeue(&plan));
    }
    for _ in 0..ROUNDS {
        let Some(seen) = observe::object(&shared.context, namespace, name).await? else {
            return Ok(Action::await_change());
        };
        let schedule = match seen.0 {
            Ok(schedule) => schedule,
            Err(error) => {
                shared.context.metrics.failed("unreadable");
                shared.context.metrics.show_unreadable_schedule(namespace, name);
                tracing::error!(
                    why = error.error,
                    "the schedule cannot be read and is left alone: correct it, or upgrade the operator"
                );
                return Ok(Action::await_change());
            }
        };
        let mut world = observe::observe(&shared.context, &schedule).await?;
        world.pause = shared.pause(&key(namespace, name));
        world.prune_pause = shared.prune_pause(&key(namespace, name));
        let now = now();
        let mut plan = plan::plan(&Look { schedule: &schedule, world: &world, now });
        let mut done = act::act(&shared.context, &schedule, &plan).await?;
        if let Done::Refused(refusal) = &done {
            let pause = world::next_pause(world.pause.as_ref(), refusal, now);
            shared.set_pause(&key(namespace, name), Some(pause.clone()));
            world.pause = Some(pause);
            plan = plan::plan(&Look { schedule: &schedule, world: &world, now });
            done = act::act(&shared.context, &schedule, &plan).await?;
        } else if plan.makes() {
            shared.set_pause(&key(namespace, name), None);
        }
        if let Done::NotPruned(NotPruned { said, deletes }) = &done {
            let until = now.as_second() + PRUNE_PAUSE;
            let pause = Pause { until, times: 1, said: said.clone(), deletes: *deletes };
            shared.kept().entry(key(namespace, name)).or_default().prune_pause = Some(pause);
            continue;
        }
        if done == Done::All && !plan.again {
            return Ok(requeue(&plan));
        }
    }
    Ok(Action::requeue(SOON))
}

/// Most looks find nothing to do: what the watches hold is enough for that.
fn from_watches(found: &FoundSchedule, shared: &Shared) -> Option<Plan> {
    let schedule = found.0.as_ref().ok()?;
    let mut world = observe::from_watches(&shared.context, schedule)?;
    let key = key(&schedule.namespace().unwrap_or_default(), &schedule.name_any());
    world.pause = shared.pause(&key);
    let plan = plan::plan(&Look { schedule, world: &world, now: now() });
    act::show(&shared.context, schedule, None);
    (plan.writes.is_empty() && !plan.again).then_some(plan)
}

fn requeue(plan: &Plan) -> Action {
    plan.requeue.map_or_else(Action::await_change, Action::requeue)
}

/// What happens to a schedule whose look failed: the same again, later and later.
#[expect(clippy::needless_pass_by_value, reason = "the signature that kube asks for")]
pub fn error_policy(found: Arc<FoundSchedule>, error: &Error, shared: Arc<Shared>) -> Action {
    shared.context.metrics.failed(error.label());
    let key = key(&found.namespace().unwrap_or_default(), &found.name_any());
    tracing::warn!(schedule = key, error = error.to_string(), "a reconcile failed");
    let failures = {
        let mut kept = shared.kept();
        let kept = kept.entry(key).or_default();
        kept.failures = kept.failures.saturating_add(1);
        kept.failures
    };
    let pause = FIRST_PAUSE.saturating_mul(1 << (failures.clamp(1, 6) - 1));
    Action::requeue(Duration::from_secs(pause.min(LONGEST_PAUSE)))
}

/// In whole seconds, as Kubernetes keeps times.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}
