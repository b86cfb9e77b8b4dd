//! What is kept of migrations that have ended: the newest success and end in the status, and as many objects as the limits
//! say. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::world::{ChildFact, Look, World, time};
use crate::api::schedule::generation::stamp;
use crate::api::schedule::status::{Ended, MemoryMigrationScheduleStatus, ScheduledSuccess};

/// Of a message that the status keeps.
const MESSAGE: usize = 500;

/// Puts the newest end and the newest success into the status. What it has of a newer one stays: its object may be gone. What
/// was due in the future, while a clock was wrong, is older than all others.
pub fn account(status: &mut MemoryMigrationScheduleStatus, world: &World, now: Timestamp) {
    let age = |due: &Option<Time>| (due.as_ref().is_none_or(|due| due.0 <= now), due.clone());
    for child in &world.children {
        let Some(end) = &child.ended else { continue };
        let due = Some(time(child.due));
        let is_newest = status.last_ended.as_ref().is_none_or(|last| age(&last.schedule_time) <= age(&due));
        if is_newest {
            status.last_ended = Some(Ended {
                name: child.name.clone(),
                schedule_time: due.clone(),
                succeeded: end.succeeded,
                reason: end.reason.clone(),
                message: end.message.chars().take(MESSAGE).collect(),
            });
        }
        let Some(success) = &end.success else { continue };
        if status.last_success.as_ref().is_none_or(|last| age(&last.schedule_time) <= age(&due)) {
            status.last_success = Some(ScheduledSuccess {
                name: child.name.clone(),
                schedule_time: due,
                time: success.time.clone(),
                reason: end.reason.clone(),
                target_name: success.target_name.clone(),
                records: success.records,
                fingerprint: success.fingerprint.clone(),
                identical: success.identical,
            });
        }
    }
}

/// The migrations beyond the limits, and those whose generation was removed: whoever reads their list takes each success for a
/// copy. The oldest first. Never the one that `lastSuccess` names, and none that works.
#[must_use]
pub fn too_old(look: &Look<'_>, status: &MemoryMigrationScheduleStatus) -> Vec<ChildFact> {
    let spec = &look.schedule.spec;
    let kept = status.last_success.as_ref().map(|success| success.name.as_str());
    let removed = status.pruning.as_ref().map(|pruning| pruning.forgotten.as_slice()).unwrap_or_default();
    let is_removed = |child: &ChildFact| removed.contains(&stamp(child.due));
    let mut old: Vec<ChildFact> = Vec::new();
    let mut children: Vec<&ChildFact> = look.world.children.iter().collect();
    children.sort_by_key(|child| (child.due <= look.now, child.due));
    for (succeeded, limit) in [(true, spec.successful_history_limit), (false, spec.failed_history_limit)] {
        let ended = children.iter().copied().rev();
        let ended = ended.filter(|child| child.ended.as_ref().is_some_and(|end| end.succeeded == succeeded));
        let limit = usize::try_from(limit).unwrap_or_default();
        let beyond = ended.enumerate().filter(|(at, child)| *at >= limit || is_removed(child)).map(|(_, child)| child);
        old.extend(beyond.filter(|child| !child.deleting && Some(child.name.as_str()) != kept).cloned());
    }
    old.sort_by_key(|child| child.due);
    old
}
