//! How long nothing is tried after an attempt that came to nothing, and what is said meanwhile. Pure.

use std::time::Duration;

use super::look::Look;
use crate::api::conditions::Reason;
use crate::api::run_hash::short_hash;
use crate::controller::observe::world::{Cause, JobPhase, Lock, Pause, Trouble};

/// Seconds of the first pause after an attempt that came to nothing; each further one is twice as long.
const FIRST_PAUSE: i64 = 60;
/// Seconds of the longest pause.
const LONGEST_PAUSE: i64 = 300;

/// The pause that holds back the next attempt, and the seconds that are left of it. A clock that was set back cannot make
/// it longer.
pub(super) fn current<'l>(look: &'l Look<'_>) -> Option<(&'l Pause, i64)> {
    let pause = known(look)?;
    left(look, pause).map(|left| (pause, left))
}

fn left(look: &Look<'_>, pause: &Pause) -> Option<i64> {
    let left = pause.until - look.second();
    (1..=LONGEST_PAUSE).contains(&left).then_some(left)
}

/// What is left of the pause before the API server is asked again to delete the object of this UID.
pub(super) fn of_deletion(look: &Look<'_>, uid: &str) -> Option<Duration> {
    let pause = look.world.deletions.get(uid).filter(|pause| is_of_spec(look, pause))?;
    left(look, pause).and_then(|left| u64::try_from(left).ok()).map(Duration::from_secs)
}

/// What is said of a Job that goes on because the API server does not delete it.
pub(super) fn unstopped<'l>(look: &'l Look<'_>) -> Option<&'l Trouble> {
    let going_on = look.world.present().filter(|job| !job.deleting && job.phase == JobPhase::Active);
    let mut refused = going_on.filter_map(|job| look.world.deletions.get(&job.uid));
    refused.find(|pause| is_of_spec(look, pause)).and_then(|pause| pause.said.as_ref())
}

/// The pause after the API server refused a working run its lock, which somebody had deleted.
pub(super) fn without_lock<'l>(look: &'l Look<'_>) -> Option<&'l Pause> {
    let is_missing = look.lock().is_some() && look.world.lock != Lock::Ours;
    current(look).map(|(pause, _)| pause).filter(|pause| pause.cause == Cause::Refused && is_missing)
}

/// The last pause, unless the spec was edited since.
pub(super) fn known<'l>(look: &'l Look<'_>) -> Option<&'l Pause> {
    look.world.pause.as_ref().filter(|pause| is_of_spec(look, pause))
}

fn is_of_spec(look: &Look<'_>, pause: &Pause) -> bool {
    Some(pause.generation) == look.migration.metadata.generation
}

/// The pause before the object of this UID is deleted, which the API server refused.
pub(super) fn next_deletion(look: &Look<'_>, uid: &str, said: Trouble) -> Pause {
    let before = look.world.deletions.get(uid).filter(|pause| is_of_spec(look, pause));
    Pause { job: uid.into(), ..after(look, before, Cause::NotDeleted, said) }
}

/// The pause after an attempt that came to nothing.
pub(super) fn next(look: &Look<'_>, cause: Cause, said: Trouble) -> Pause {
    after(look, known(look), cause, said)
}

fn after(look: &Look<'_>, before: Option<&Pause>, cause: Cause, said: Trouble) -> Pause {
    let times = before.map_or(0, |pause| pause.times).saturating_add(1);
    let doubled = FIRST_PAUSE.saturating_mul(1 << (times - 1).min(10));
    let seconds = match cause {
        // Two that collide must not collide again: the pause depends on the object.
        Cause::GaveWay => {
            let uid = look.migration.metadata.uid.as_deref().unwrap_or_default();
            let spread = short_hash(format!("{uid}/{times}").as_bytes(), 4);
            2 + i64::from_str_radix(&spread, 16).unwrap_or_default() % 30
        }
        Cause::Refused | Cause::RunnerWaits | Cause::NotDeleted => doubled.min(LONGEST_PAUSE),
    };
    let generation = look.migration.metadata.generation.unwrap_or_default();
    let until = look.second().saturating_add(seconds);
    Pause { until, times, generation, said: Some(said), cause, ..Pause::default() }
}

/// What was said of the last attempt, where that had to wait for something which the next one may still find missing.
pub(super) fn still_waits(look: &Look<'_>) -> Option<(Reason, String)> {
    let pause = known(look).filter(|pause| pause.cause == Cause::RunnerWaits)?;
    pause.said.as_ref().map(|said| (said.reason, said.message.clone()))
}
