//! What a schedule's status and events say in words. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::world::{Look, Pause, time};
use crate::api::schedule::status::{
    LAST_RUN_SUCCEEDED, MemoryMigrationScheduleStatus, READY, STALLED, TYPES, UP_TO_DATE, condition,
};
use crate::controller::plan::notices::Notice;

/// A message of a condition may have 32 KiB; one that people read is shorter.
const LONGEST: usize = 1000;

/// The four conditions; those of other types stay as they are.
pub fn conditions(look: &Look<'_>, wrong: &[String], status: &mut MemoryMigrationScheduleStatus) {
    let generation = look.schedule.metadata.generation.unwrap_or_default();
    let now = time(look.now);
    let before = std::mem::take(&mut status.conditions);
    let (ready, stalled) = ready(look, wrong, status);
    let ended = last_run(status);
    let fresh = up_to_date(status, &now);
    let ours = [(READY, ready), (STALLED, stalled), (LAST_RUN_SUCCEEDED, ended), (UP_TO_DATE, fresh)];
    let ours = ours.into_iter().map(|(kind, (said, reason, message))| {
        let message: String = message.chars().take(LONGEST).collect();
        condition(&before, kind, (said, &reason, &message), generation, &now)
    });
    let theirs = before.iter().filter(|c| !TYPES.contains(&c.type_.as_str())).cloned();
    status.conditions = ours.chain(theirs).collect();
}

type Said = (&'static str, String, String);

/// Ready and Stalled.
fn ready(look: &Look<'_>, wrong: &[String], status: &MemoryMigrationScheduleStatus) -> (Said, Said) {
    let said = |status, reason: &str, message: &str| (status, reason.to_owned(), message.to_owned());
    if !wrong.is_empty() {
        let message = wrong.join("; ");
        return (said("False", "InvalidSpec", &message), said("True", "InvalidSpec", &message));
    }
    let (value, reason, message) = if look.schedule.spec.suspend {
        ("True", "Suspended", "no migration is made: set spec.suspend to false to go on".to_owned())
    } else if let Some(pause) = hinders(look, status) {
        ("False", "NotAdmitted", pause.said.clone())
    } else if let Some(replaced) = &status.replacing {
        (
            "True",
            "Replacing",
            format!("{} is deleted; the next migration starts when its Job and pod are gone", replaced.name),
        )
    } else {
        ("True", "Scheduled", "migrations are made as they are due".to_owned())
    };
    (said(value, reason, &message), said("False", reason, &message))
}

/// A refusal that keeps a migration from being made.
fn hinders<'l>(look: &'l Look<'_>, status: &MemoryMigrationScheduleStatus) -> Option<&'l Pause> {
    let pause = look.world.pause.as_ref()?;
    (pause.left(look.now).is_some() && (!pause.deletes || status.replacing.is_some())).then_some(pause)
}

fn last_run(status: &MemoryMigrationScheduleStatus) -> Said {
    let Some(ended) = &status.last_ended else {
        return ("Unknown", "NoRunEnded".into(), "no migration of this schedule has ended yet".into());
    };
    let value = if ended.succeeded { "True" } else { "False" };
    (value, ended.reason.clone(), format!("{}: {}", ended.name, ended.message))
}

fn up_to_date(status: &MemoryMigrationScheduleStatus, now: &Time) -> Said {
    let said = |status, reason: &str, message: String| (status, reason.to_owned(), message);
    let Some(success) = &status.last_success else {
        return match status.last_ended {
            None => said("Unknown", "NoRunEnded", "no migration of this schedule has ended yet".into()),
            Some(_) => said("False", "NoSuccess", format!("no migration of this schedule has succeeded yet: {SEE}")),
        };
    };
    let due = of(success.schedule_time.as_ref());
    if success.schedule_time.as_ref() > Some(now) {
        let why = format!("the only success was due {due}, which has not come: it was made while a clock was wrong");
        return said("False", "Ahead", why);
    }
    let oldest = status.due_times.first().filter(|_| status.due_times.len() >= 2);
    if oldest.is_none_or(|oldest| success.schedule_time.as_ref() >= Some(oldest)) {
        return said("True", "Recent", format!("{} succeeded, which was due {due}", success.name));
    }
    said("False", "TooOld", format!("the last success was due {due}, and the two latest due times have none: {SEE}"))
}

/// Where it is said why.
const SEE: &str = "see status.lastEnded, status.active and status.missed";

fn of(time: Option<&Time>) -> String {
    time.map(|time| time.0.to_string()).unwrap_or_default()
}

/// What changed from the old status to the new one.
#[must_use]
pub fn notices(old: &MemoryMigrationScheduleStatus, new: &MemoryMigrationScheduleStatus) -> Vec<Notice> {
    let mut notices = Vec::new();
    // Events that agree in reason and action are shown as one: the action holds the due time.
    let notice = |warning, reason: &str, due: Option<&Time>, note: String| {
        let action = format!("{reason} {}", of(due));
        Notice { warning, reason: reason.into(), note, action }
    };
    if new.last_schedule_time != old.last_schedule_time
        && let Some(active) = new.active.as_ref().filter(|active| active.schedule_time == new.last_schedule_time)
    {
        notices.push(notice(
            false,
            "Made",
            new.last_schedule_time.as_ref(),
            format!("MemoryMigration {} was made", active.name),
        ));
    }
    if let Some(replaced) = new.replacing.as_ref().filter(|_| old.replacing.is_none()) {
        let note = format!("MemoryMigration {} has not ended, and is deleted for the next one", replaced.name);
        notices.push(notice(true, "Replacing", replaced.schedule_time.as_ref(), note));
    }
    if new.missed > old.missed {
        let count = new.missed - old.missed;
        let times = if count == 1 { "1 due time has".into() } else { format!("{count} due times have") };
        let note = format!("{times} no migration, the newest {}", of(new.last_missed_time.as_ref()));
        notices.push(notice(true, "Missed", new.last_missed_time.as_ref(), note));
    }
    if let Some(ended) = new.last_ended.as_ref().filter(|ended| old.last_ended.as_ref() != Some(*ended)) {
        let word = if ended.succeeded { "succeeded" } else { "failed" };
        let note: String = format!("MemoryMigration {} {word} ({}): {}", ended.name, ended.reason, ended.message);
        let reason = if ended.succeeded { "RunSucceeded" } else { "RunFailed" };
        notices.push(notice(
            !ended.succeeded,
            reason,
            ended.schedule_time.as_ref(),
            note.chars().take(LONGEST).collect(),
        ));
    }
    let stalled = |status: &MemoryMigrationScheduleStatus| {
        let found = status.conditions.iter().find(|c| c.type_ == STALLED && c.status == "True");
        found.map(|c| c.message.clone())
    };
    if let Some(why) = stalled(new).filter(|_| stalled(old).is_none()) {
        notices.push(notice(true, "InvalidSpec", None, why));
    }
    notices
}
