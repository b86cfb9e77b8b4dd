//! How long nothing is tried after an attempt that came to nothing, and what is said meanwhile. Pure.

use std::time::Duration;

use super::look::Look;
use crate::api::conditions::Reason;
use crate::api::run_hash::short_hash;
use crate::controller::observe::world::{Cause, Pause, Trouble};

/// Seconds of the first pause after an attempt that came to nothing; each further one is twice as long.
const FIRST_PAUSE: i64 = 60;
/// Seconds of the longest pause.
const LONGEST_PAUSE: i64 = 300;

/// The pause that holds back the next attempt, and the seconds that are left of it. A clock that was set back cannot make
/// it longer.
pub(super) fn current<'l>(look: &'l Look<'_>) -> Option<(&'l Pause, i64)> {
    let pause = known(look)?;
    let left = pause.until - look.second();
    (1..=LONGEST_PAUSE).contains(&left).then_some((pause, left))
}

/// The pause before something is deleted again that the API server refused to delete, and the seconds that are left of it.
pub(super) fn of_deletion<'l>(look: &'l Look<'_>) -> Option<(&'l Pause, i64)> {
    current(look).filter(|(pause, _)| pause.cause == Cause::NotDeleted)
}

/// What is left of that pause.
pub(super) fn not_deleted(look: &Look<'_>) -> Option<Duration> {
    of_deletion(look).and_then(|(_, left)| u64::try_from(left).ok()).map(Duration::from_secs)
}

/// The last pause, unless the spec was edited since.
pub(super) fn known<'l>(look: &'l Look<'_>) -> Option<&'l Pause> {
    look.world.pause.as_ref().filter(|pause| Some(pause.generation) == look.migration.metadata.generation)
}

/// The pause after an attempt that came to nothing.
pub(super) fn next(look: &Look<'_>, cause: Cause, said: Trouble) -> Pause {
    let times = known(look).map_or(0, |pause| pause.times).saturating_add(1);
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
