//! From one look at a schedule to an ordered list of writes. Pure: no client, no clock, no async.
//!
//! Every due time becomes a migration, is counted as missed, or lies in a suspension; `status.accountedUntil` says up to
//! where. A migration's name holds its due time, so that making it twice is impossible, and killing the process between two
//! writes does no harm.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::pruning::ClaimWrite;
use super::world::{ChildFact, Look, World, time};
use super::{child, history, pruning, said};
use crate::api::schedule::calendar::Calendar;
use crate::api::schedule::status::{Child, MemoryMigrationScheduleStatus};
use crate::api::{ConcurrencyPolicy, MemoryMigration};
use crate::controller::plan::notices::Notice;

/// Due times that are counted in one look: two years of every minute. More are counted by the next look.
const MOST: usize = 1_000_000;
/// When the next look counts the rest.
const REST: Duration = Duration::from_secs(30);
/// A clock may be set: the next due time is looked for at least this often.
const LONGEST_SLEEP: i64 = 300;
/// Something of ours is about to end.
const SOON: Duration = Duration::from_secs(3);

/// What is to be written, and when to look again.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In this order; after one that is refused the rest is not done.
    pub writes: Vec<Write>,
    /// More is to be written after this: look again at once.
    pub again: bool,
    /// When to look again, whatever happens.
    pub requeue: Option<Duration>,
}

/// One write.
#[derive(Clone, Debug)]
pub enum Write {
    /// Make the migration of a due time.
    Create(Box<MemoryMigration>),
    /// The whole status. If a migration was made just before, its UID is filled in.
    Status(Box<MemoryMigrationScheduleStatus>),
    /// Delete a migration, if it is as it was seen.
    Delete(Box<ChildFact>),
    /// Tell people. Not being able to changes nothing.
    Tell(Notice),
    /// Something about the claim with the generations.
    Claim(ClaimWrite),
}

impl Plan {
    /// Whether a migration is made.
    #[must_use]
    pub fn makes(&self) -> bool {
        self.writes.iter().any(|write| matches!(write, Write::Create(_)))
    }

    /// What else is to be done, after all of this.
    fn and_then(&mut self, other: pruning::Next) {
        self.writes.extend(other.writes.into_iter().map(Write::Claim));
        self.again |= other.again;
        self.requeue = match (self.requeue, other.requeue) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

/// What is done about the newest due time.
enum Next {
    /// Nothing is due, or it is accounted for.
    Nothing,
    /// Make its migration.
    Make(Timestamp),
    /// Delete this one first.
    Replace(Box<ChildFact>),
    /// It cannot be made yet: something still ends.
    Wait,
    /// The API server refused it a moment ago.
    Pause(i64),
}

/// Decides.
///
/// # Guarantees
/// For a schedule that is being deleted nothing is written.
#[must_use]
pub fn plan(look: &Look<'_>) -> Plan {
    if look.schedule.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let before = look.schedule.status.clone().unwrap_or_default();
    let mut status = before.clone();
    history::account(&mut status, look.world, look.now);
    let mut plan = Plan::default();
    let mut wrong = look.schedule.problems();
    let calendar = look.schedule.calendar();
    match &calendar {
        Err(why) => {
            wrong.insert(0, why.clone());
            status.next_schedule_time = None;
        }
        Ok(calendar) if wrong.is_empty() => on_time(look, calendar, &mut status, &mut plan),
        Ok(calendar) => status.next_schedule_time = next(look, calendar),
    }
    status.observed_generation = look.schedule.metadata.generation.unwrap_or_default();
    if !plan.makes() {
        status.active = active(look.world);
    }
    pruning::account(look, &mut status);
    let after = pruning::plan(look, calendar.as_ref().ok().filter(|_| wrong.is_empty()), &mut status);
    said::conditions(look, &wrong, &mut status);
    if status != before {
        plan.writes.push(Write::Status(Box::new(status.clone())));
        plan.writes.extend(said::notices(&before, &status).into_iter().map(Write::Tell));
        plan.writes.extend(pruning::notices(&before, &status).into_iter().map(Write::Tell));
    }
    plan.writes.extend(deletions(look, &before, &status));
    plan.and_then(after);
    plan
}

/// Deletes the migration that makes way, or old ones. Only after the status says so.
fn deletions(
    look: &Look<'_>,
    before: &MemoryMigrationScheduleStatus,
    status: &MemoryMigrationScheduleStatus,
) -> Vec<Write> {
    if look.world.pause.as_ref().is_some_and(|pause| pause.deletes && pause.left(look.now).is_some()) {
        return Vec::new();
    }
    let replaced = status.replacing.as_ref().and_then(|replaced| there(look.world, &replaced.uid));
    if let Some(replaced) = replaced {
        return Vec::from_iter((!replaced.deleting).then(|| Write::Delete(Box::new(replaced.clone()))));
    }
    // what a status does not hold yet is not removed
    let told = before.last_ended == status.last_ended && before.last_success == status.last_success;
    let old = history::too_old(look, status);
    old.into_iter().take(if told { 2 } else { 0 }).map(|child| Write::Delete(Box::new(child))).collect()
}

/// Accounts for the due times that have passed, and decides on the newest one.
fn on_time(look: &Look<'_>, calendar: &Calendar, status: &mut MemoryMigrationScheduleStatus, plan: &mut Plan) {
    begin(look, calendar, status);
    let pending = passed(look, calendar, status, plan);
    settle_replaced(look, status);
    match pending.map_or(Next::Nothing, |due| newest(look, status, due)) {
        Next::Nothing => {
            // Whatever was to make way may go on: nothing waits for it any more.
            let going_on = |child: &Child| there(look.world, &child.uid).is_some_and(|child| !child.deleting);
            status.replacing = status.replacing.take().filter(|child| !going_on(child));
            plan.requeue = plan.requeue.or_else(|| until_next(look, calendar, status));
        }
        Next::Make(due) => {
            let migration = child::build(look.schedule, due);
            let name = migration.name_any();
            status.active = Some(Child { name, uid: String::new(), schedule_time: Some(time(due)) });
            made(status, due);
            plan.writes.push(Write::Create(Box::new(migration)));
            plan.requeue = until_next(look, calendar, status);
        }
        Next::Replace(child) => {
            status.replacing = Some(Child { name: child.name, uid: child.uid, schedule_time: Some(time(child.due)) });
            plan.requeue = Some(SOON);
        }
        Next::Wait => plan.requeue = Some(SOON),
        Next::Pause(seconds) => plan.requeue = Some(seconds_of(seconds)),
    }
    status.next_schedule_time = next(look, calendar);
}

/// From when on due times count: from the object's creation on, and after an edit of the schedule from now on.
fn begin(look: &Look<'_>, calendar: &Calendar, status: &mut MemoryMigrationScheduleStatus) {
    let spec = &look.schedule.spec;
    let written = format!("{} {}", spec.schedule, spec.time_zone);
    let created = look.schedule.metadata.creation_timestamp.as_ref().map_or(look.now, |created| created.0);
    if status.accounted_until.is_none() || status.calendar.is_empty() {
        status.accounted_until = Some(time(created.min(look.now)));
    } else if status.calendar != written {
        status.accounted_until = Some(time(look.now));
    }
    status.calendar = written;
    let Some(until) = status.accounted_until.as_ref().map(|until| until.0) else { return };
    // The clock was set back over more than one due time: waiting for it to come back could take years.
    let is_back = until > look.now && calendar.after(look.now).is_none_or(|next| next < until);
    if is_back {
        status.accounted_until = Some(time(look.now));
        status.due_times.retain(|due| due.0 <= look.now);
    }
}

/// Accounts for all due times but the newest one, and for that too if its migration is there. Returns it if it is open.
fn passed(
    look: &Look<'_>,
    calendar: &Calendar,
    status: &mut MemoryMigrationScheduleStatus,
    plan: &mut Plan,
) -> Option<Timestamp> {
    let mut newest: Option<Timestamp> = None;
    let mut cursor = status.accounted_until.as_ref()?.0;
    for count in 0.. {
        let Some(due) = calendar.after(cursor).filter(|due| *due <= look.now) else { break };
        if let Some(older) = newest.replace(due) {
            settle(look, status, older);
        }
        if count == MOST {
            settle(look, status, due);
            plan.requeue = Some(REST);
            return None;
        }
        cursor = due;
    }
    let newest = newest?;
    came(status, newest);
    let is_made = is_made(look.world, newest);
    if look.schedule.spec.suspend || is_made {
        settle(look, status, newest);
        return None;
    }
    Some(newest)
}

/// A due time that is no longer the newest one: its migration is there, or it is missed.
fn settle(look: &Look<'_>, status: &mut MemoryMigrationScheduleStatus, due: Timestamp) {
    came(status, due);
    status.accounted_until = Some(time(due));
    if is_made(look.world, due) {
        made(status, due);
    } else if !look.schedule.spec.suspend {
        missed(status, due);
    }
}

/// It is one of the two latest.
fn came(status: &mut MemoryMigrationScheduleStatus, due: Timestamp) {
    let due = time(due);
    if !status.due_times.contains(&due) {
        status.due_times.push(due);
        let surplus = status.due_times.len().saturating_sub(2);
        status.due_times.drain(..surplus);
    }
}

fn made(status: &mut MemoryMigrationScheduleStatus, due: Timestamp) {
    status.accounted_until = Some(time(due));
    status.last_schedule_time = Some(time(due));
}

fn missed(status: &mut MemoryMigrationScheduleStatus, due: Timestamp) {
    status.missed = status.missed.saturating_add(1);
    status.last_missed_time = Some(time(due));
}

/// The migration that made way is gone: its due time has no result. One that ended before it was deleted stays.
fn settle_replaced(look: &Look<'_>, status: &mut MemoryMigrationScheduleStatus) {
    let Some(replaced) = &status.replacing else { return };
    match there(look.world, &replaced.uid) {
        Some(child) if child.ended.is_some() && !child.deleting => status.replacing = None,
        Some(_) => {}
        None => {
            let due = replaced.schedule_time.as_ref().map_or(look.now, |due| due.0);
            missed(status, due);
            status.replacing = None;
        }
    }
}

/// What to do about a due time that has neither a migration nor a newer one.
fn newest(look: &Look<'_>, status: &mut MemoryMigrationScheduleStatus, due: Timestamp) -> Next {
    let spec = &look.schedule.spec;
    let late = spec
        .starting_deadline_seconds
        .is_some_and(|seconds| look.now.duration_since(due) > SignedDuration::from_secs(seconds));
    let working: Vec<&ChildFact> = look.world.children.iter().filter(|child| child.ended.is_none()).collect();
    let is_clear = working.is_empty() && look.world.left.is_empty();
    let replaces = spec.concurrency_policy == ConcurrencyPolicy::Replace;
    if late || (!is_clear && !replaces) {
        missed(status, due);
        status.accounted_until = Some(time(due));
        return Next::Nothing;
    }
    // A deletion that was refused keeps no migration from being made where nothing has to go first.
    let pause = look.world.pause.as_ref().filter(|pause| pause.deletes != is_clear);
    if let Some(left) = pause.and_then(|pause| pause.left(look.now)) {
        return Next::Pause(left);
    }
    if is_clear {
        return Next::Make(due);
    }
    // The only proof of a good copy is not deleted for another run.
    let kept = status.last_success.as_ref().map(|success| success.name.clone());
    let to_go = working.iter().find(|child| !child.deleting && Some(&child.name) != kept.as_ref());
    to_go.map_or(Next::Wait, |child| Next::Replace(Box::new((*child).clone())))
}

/// The migration that has not ended, the newest first.
fn active(world: &World) -> Option<Child> {
    let child = world.children.iter().rfind(|child| child.ended.is_none())?;
    Some(Child { name: child.name.clone(), uid: child.uid.clone(), schedule_time: Some(time(child.due)) })
}

fn there<'a>(world: &'a World, uid: &str) -> Option<&'a ChildFact> {
    world.children.iter().find(|child| child.uid == uid)
}

fn is_made(world: &World, due: Timestamp) -> bool {
    world.children.iter().any(|child| child.due == due)
}

fn next(look: &Look<'_>, calendar: &Calendar) -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> {
    calendar.after(look.now).filter(|_| !look.schedule.spec.suspend).map(time)
}

/// How long nothing is due.
fn until_next(look: &Look<'_>, calendar: &Calendar, status: &MemoryMigrationScheduleStatus) -> Option<Duration> {
    let from = status.accounted_until.as_ref().map_or(look.now, |until| until.0.max(look.now));
    let next = calendar.after(from)?;
    let seconds = next.duration_since(look.now).as_secs();
    Some(seconds_of(seconds.clamp(1, LONGEST_SLEEP)))
}

fn seconds_of(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(1))
}
