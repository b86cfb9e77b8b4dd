//! How old the evidence is: `spec.verification.validFor` beside the last success. Pure: the time is passed in.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::look::{Look, time};
use super::status;
use crate::api::{MemoryMigrationStatus, conditions};

/// A timer for years is none: the object is looked at once a day, which writes nothing.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// By how much the clocks of two nodes may differ. A success of a later time was told by a wrong clock: its age is not known.
const APART: i64 = 600;

/// Puts the condition into the status, and says when to look again, where that is sooner.
pub(super) fn tell(
    look: &Look<'_>,
    status: &mut MemoryMigrationStatus,
    generation: i64,
    requeue: &mut Option<Duration>,
) {
    let said = end(look, status).map(|(proved, ended)| {
        let until = |second: i64| u64::try_from(second.saturating_sub(look.second())).unwrap_or_default();
        let (ahead, left) = (until(proved.0.as_second().saturating_sub(APART)), until(ended.0.as_second()));
        let again = if ahead > 0 { ahead } else { left };
        if again > 0 {
            let soon = Duration::from_secs(again).min(LONGEST);
            *requeue = Some(requeue.map_or(soon, |requeue| requeue.min(soon)));
        }
        let is_stale = ahead > 0 || left == 0;
        (is_stale, if ahead > 0 { unknown(&proved) } else { words(look, &proved, &ended, is_stale) })
    });
    conditions::set_stale(&mut status.conditions, said, generation, look.now);
}

/// When the run ended that is the newest evidence about this target, and when that is none any more.
fn end(look: &Look<'_>, status: &MemoryMigrationStatus) -> Option<(Time, Time)> {
    let seconds = look.spec().verification.valid_for()?;
    let success = status.last_success.as_ref()?;
    // of another target, or none: nothing is known about this one
    let proved = success.time.clone().filter(|_| success.target_name == status::target_name(look.spec()))?;
    let ended = time(proved.0.as_second().saturating_add(seconds))?;
    Some((proved, ended))
}

fn unknown(proved: &Time) -> String {
    format!(
        "the last success is of {}, which has not come: a clock was wrong then, and how old it is nobody knows. Change runId to \
         compare again",
        proved.0
    )
}

fn words(look: &Look<'_>, proved: &Time, ended: &Time, is_stale: bool) -> String {
    let valid_for = look.spec().verification.valid_for.as_deref().unwrap_or_default();
    let (proved, ended) = (&proved.0, &ended.0);
    if is_stale {
        format!(
            "the last success, of {proved}, proves nothing since {ended}: it is older than verification.validFor ({valid_for}). \
             Change runId to compare again, or raise validFor"
        )
    } else {
        format!("the last success, of {proved}, is valid until {ended} (verification.validFor: {valid_for})")
    }
}
