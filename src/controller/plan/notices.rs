//! What people are told, from one status to the next: only changes, so that nothing is said twice. Pure.

use super::status::{overwriting, shorten};
use crate::api::MemoryMigrationStatus;
use crate::api::conditions::{Reason, Situation, agreed_reason};
use crate::api::status::Progress;

/// One Kubernetes event about a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Something that a person may have to look at.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// The sentence.
    pub note: String,
    /// One word for machines. Events that agree in it, in the reason and in the Job within some minutes are counted as
    /// one, with the first one's note: what people must read each time needs a word of its own.
    pub action: String,
}

impl Notice {
    fn new(warning: bool, reason: &str, note: String) -> Self {
        Self { warning, reason: reason.into(), note, action: "Migrate".into() }
    }
}

/// A warning beside what the conditions say.
#[must_use]
pub fn warning(reason: &str, note: &str) -> Notice {
    Notice::new(true, reason, shorten(note))
}

/// Percent of copied records at which people are told.
const MILESTONES: [i64; 3] = [25, 50, 75];

const NOT_BELIEVED: &str = "the status said that this run had ended, but contradicts itself or the run's Job: somebody else \
    wrote it. It is not believed, and the run goes on; see who may write memorymigrations/status";

/// What changed from the old status to the new one.
#[must_use]
pub fn notices(old: &MemoryMigrationStatus, new: &MemoryMigrationStatus, reason: Reason, message: &str) -> Vec<Notice> {
    let mut notices = Vec::new();
    // An attempt that only looks whether what the run waits for is there by now is no news.
    let looks_again = reason.situation() == Situation::Waiting;
    if new.job_name != old.job_name && !new.job_name.is_empty() && !looks_again {
        let note = format!("Attempt {} of run {} started: Job {}", new.attempts, new.run_hash, new.job_name);
        notices.push(Notice::new(false, "Started", note));
    }
    let changed = agreed_reason(&old.conditions) != Some(reason);
    if changed && reason != Reason::Preflight {
        let warning = matches!(reason.situation(), Situation::Waiting | Situation::NeedsPerson);
        notices.push(Notice::new(warning, reason.as_str(), shorten(message)));
    }
    if old.run_hash == new.run_hash && old.completion_time.is_some() && new.completion_time.is_none() {
        notices.push(Notice::new(true, "StatusNotBelieved", NOT_BELIEVED.into()));
    }
    let before = old.overwrites.filter(|_| old.run_hash == new.run_hash);
    if let Some(records) = new.overwrites.filter(|_| before != new.overwrites) {
        let note = overwriting(u64::try_from(records).unwrap_or_default());
        notices.push(Notice { action: "Overwrite".into(), ..Notice::new(true, "OverwritesAhead", note) });
    }
    notices.extend(milestone(old, new));
    notices
}

/// Percent of the source's records that are copied.
fn share(progress: &Progress) -> i64 {
    progress.records.saturating_mul(100) / progress.total.max(1)
}

fn milestone(old: &MemoryMigrationStatus, new: &MemoryMigrationStatus) -> Option<Notice> {
    let now = new.progress.as_ref().filter(|p| p.stage == Reason::Copying.as_str())?;
    let before = old.progress.as_ref().filter(|_| old.run_hash == new.run_hash).map_or(0, share);
    let share = share(now);
    let reached = MILESTONES.into_iter().rev().find(|mark| before < *mark && *mark <= share)?;
    let note = format!("{share}% copied: {} of {} records", now.records, now.total);
    Some(Notice { action: format!("Copied{reached}Percent"), ..Notice::new(false, "Progress", note) })
}
