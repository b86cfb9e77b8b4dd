//! Which generations a schedule has, and which of them go. Pure. What is to go stands in the status first; then the target's
//! lock is taken; then everything is read again, and a Job removes what the rules on the claim's own files let go, too.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::world::{ChildFact, ClaimFact, Look, PruneJob, time};
use crate::api::MemoryMigrationScheduleSpec;
use crate::api::schedule::calendar::{Calendar, due_of};
use crate::api::schedule::generation::prune::{Generation, prune};
use crate::api::schedule::generation::{
    GenerationStatus, INCOMPLETE, Keep, PruneReport, due_of_stamp, is_good, stamp, store_path,
};
use crate::api::schedule::status::{MemoryMigrationScheduleStatus, Pruning};
use crate::controller::build::prune::Task;
use crate::controller::observe::world::{Handle, JobPhase, Lock};
use crate::controller::plan::lock;
use crate::controller::plan::notices::Notice;

/// Generations that a status holds.
const MOST: usize = 500;
/// While a prune Job works.
const WORKING: u64 = 5;
/// While somebody else uses the claim.
const WAITING: u64 = 30;
/// Seconds after a failure; twice as long after each further one.
const FIRST_PAUSE: i64 = 300;
/// The longest of these.
const LONGEST_PAUSE: i64 = 6 * 3600;

type Status = MemoryMigrationScheduleStatus;

/// One write about the claim with the generations.
#[derive(Clone, Debug)]
pub enum ClaimWrite {
    /// Create the Lease of this name: that is taking the lock on the claim.
    TakeLock(String),
    /// Remove this lock: the schedule's own, or one whose holder is gone.
    GiveBack(Handle),
    /// Create the Job that removes generations.
    Prune(Box<Task>),
    /// Delete a prune Job that has ended.
    DeleteJob(Handle),
}

/// What is to be written for pruning once the status is, and when to look again.
#[derive(Clone, Debug, Default)]
pub struct Next {
    /// In this order.
    pub writes: Vec<ClaimWrite>,
    /// Look again at once.
    pub again: bool,
    /// When to look again, whatever happens.
    pub requeue: Option<Duration>,
}

/// Puts the generations of the schedule's migrations into the status. Those of migrations that are gone stay as they are known.
pub fn account(look: &Look<'_>, status: &mut Status) {
    let spec = &look.schedule.spec;
    let Some(place) = place(spec) else { return };
    let pruning = status.pruning.get_or_insert_default();
    if pruning.place != place {
        *pruning = Pruning { place: place.clone(), ..Pruning::default() };
        status.generations.clear();
    }
    let children = look.world.children.iter();
    let children: Vec<&ChildFact> = children.filter(|child| child.store == store(&place, child.due)).collect();
    let has_ended = |folder: &String| children.iter().any(|child| stamp(child.due) == *folder && child.ended.is_some());
    pruning.forgotten.retain(has_ended);
    let forgotten = pruning.forgotten.clone();
    for child in children.into_iter().filter(|child| !forgotten.contains(&stamp(child.due))) {
        let known = shown(child);
        match status.generations.iter_mut().find(|generation| generation.folder == known.folder) {
            Some(there) => *there = known,
            None => status.generations.push(known),
        }
    }
    order(look, status);
    count(status);
}

/// The oldest first, and no more than a status may hold: of those beyond it what is due in the future goes first, which counts
/// as nothing, and then the oldest.
fn order(look: &Look<'_>, status: &mut Status) {
    let all = &mut status.generations;
    for generation in all.iter_mut() {
        generation.ahead = due_of_stamp(&generation.folder).is_some_and(|due| due > look.now);
    }
    all.sort_by(|a, b| a.folder.cmp(&b.folder));
    let past = all.iter().filter(|generation| !generation.ahead).count();
    all.truncate(past.max(MOST));
    let surplus = all.len().saturating_sub(MOST);
    all.drain(..surplus);
}

fn count(status: &mut Status) {
    let good = status.generations.iter().filter(|generation| is_good(&generation.verdict)).count();
    status.good_generations = status.pruning.as_ref().map(|_| i64::try_from(good).unwrap_or(i64::MAX));
}

/// Where the generations lie: claim and path of the template.
fn place(spec: &MemoryMigrationScheduleSpec) -> Option<String> {
    spec.generations.as_ref()?;
    let local = spec.template.spec.target.local.as_ref()?;
    Some(format!("{}:{}", local.claim_name, local.path))
}

/// The store of a due time there, in the words of [`ChildFact::store`].
fn store(place: &str, due: Timestamp) -> String {
    let (claim, path) = place.split_once(':').unwrap_or((place, ""));
    format!("{claim}:{}", store_path(path, due))
}

fn shown(child: &ChildFact) -> GenerationStatus {
    let end = child.ended.as_ref();
    let success = end.and_then(|end| end.success.as_ref());
    GenerationStatus {
        folder: stamp(child.due),
        verdict: end.map_or(INCOMPLETE, |end| end.reason.as_str()).to_owned(),
        records: success.map_or(0, |success| success.records),
        bytes: success.map_or(0, |success| success.bytes),
        fingerprint: success.map(|success| success.fingerprint.clone()).unwrap_or_default(),
        ahead: false,
    }
}

/// What still reads or writes a generation: a migration that has not ended, or a Job or pod. Of a run that has failed the
/// object, too: it can be run again.
fn in_use(look: &Look<'_>) -> BTreeSet<Timestamp> {
    let world = look.world;
    let works = |child: &&ChildFact| child.ended.as_ref().is_none_or(|end| !is_good(&end.reason));
    let children = world.children.iter().filter(works).map(|child| child.due);
    let name = look.schedule.metadata.name.as_deref().unwrap_or_default();
    let left = world.left.iter().filter_map(|child| due_of(name, child));
    children.chain(left).chain(world.works.iter().copied()).chain(world.readers.iter().copied()).collect()
}

/// The folders to remove, by what the status holds.
fn wanted(look: &Look<'_>, keep: &Keep, calendar: &Calendar, status: &Status) -> Vec<String> {
    if look.world.unknown_readers {
        return Vec::new();
    }
    let known = |generation: &GenerationStatus| {
        Some(Generation { due: due_of_stamp(&generation.folder)?, good: is_good(&generation.verdict) })
    };
    let known: Vec<Generation> = status.generations.iter().filter_map(known).collect();
    let gone = prune(keep, calendar.zone(), &known, &in_use(look), look.now);
    gone.into_iter().map(stamp).collect()
}

/// Decides about pruning. `calendar`: None while the schedule is wrong: then nothing begins, and what has begun is ended.
#[must_use]
pub fn plan(look: &Look<'_>, calendar: Option<&Calendar>, status: &mut Status) -> Next {
    let mut plan = Next::default();
    // somebody may have wiped the status, or taken `generations` away
    let began = || look.world.claim.as_ref().map(|_| Pruning::default());
    let Some(mut pruning) = status.pruning.take().or_else(began) else { return plan };
    let before = look.schedule.status.as_ref().and_then(|status| status.pruning.clone()).unwrap_or_default();
    let claim = look.world.claim.as_ref();
    let mut is_settled = false;
    if let Some(job) = claim.and_then(|claim| claim.jobs.first()) {
        pruning.working = true;
        if job.phase == JobPhase::Active || job.alive {
            sooner(&mut plan, WORKING);
        } else if job.uid != pruning.job_uid {
            settle(look, status, &mut pruning, job);
            is_settled = true;
            plan.again = true;
        } else if before.job_uid == job.uid {
            sooner(&mut plan, WORKING);
            let may_go = !job.deleting && !is_deletion_refused(look);
            plan.writes.extend(may_go.then(|| ClaimWrite::DeleteJob(job.handle())));
        }
    }
    let keep = look.schedule.spec.generations.as_ref().map(|generations| &generations.keep);
    let rules = keep.zip(calendar);
    let removable = rules.map(|(keep, calendar)| wanted(look, keep, calendar, status)).unwrap_or_default();
    let has_news = removable.iter().any(|folder| !pruning.refused.contains(folder));
    let has_good = status.generations.iter().any(|generation| is_good(&generation.verdict));
    let begins = rules.is_some() && (has_news || (has_good && !pruning.complete));
    let has_job = claim.is_some_and(|claim| !claim.jobs.is_empty());
    if !has_job || is_settled {
        pruning.removable = if begins { removable } else { Vec::new() };
    }
    if !has_job {
        let is_ours = claim.is_some_and(|claim| claim.lock == Lock::Ours);
        pruning.working = begins || is_ours;
        // said before anything is done
        let is_announced = before.working && before.removable == pruning.removable;
        if begins && !is_announced {
            plan.again = true;
        } else if let Some(claim) = claim {
            begin_or_wait(look, keep.filter(|_| begins), status, &mut pruning, claim, &mut plan);
        }
    }
    status.pruning = Some(pruning);
    count(status);
    plan
}

/// There is no prune Job: make one under the lock, or say what is waited for. `keep`: None: nothing is to be done.
fn begin_or_wait(
    look: &Look<'_>,
    keep: Option<&Keep>,
    status: &Status,
    pruning: &mut Pruning,
    claim: &ClaimFact,
    plan: &mut Next,
) {
    let namespace = look.schedule.metadata.namespace.clone().unwrap_or_default();
    let give_back = |plan: &mut Next| {
        if claim.lock == Lock::Ours && !is_deletion_refused(look) {
            plan.writes.extend(claim.lease.clone().map(ClaimWrite::GiveBack));
            plan.again = true;
        }
    };
    let Some((keep, name)) = keep.zip(lock::of_target(&look.schedule.spec.template.spec, &namespace)) else {
        return give_back(plan);
    };
    if let Some((said, seconds)) = pause(look, pruning) {
        pruning.message = said;
        sooner(plan, seconds);
        return give_back(plan);
    }
    let waits = match &claim.lock {
        Lock::Theirs { holder } => {
            Some(format!("{holder} writes the claim: generations are removed when that has ended"))
        }
        _ => claim.foreign.clone(),
    };
    if let Some(said) = waits {
        pruning.message = said;
        sooner(plan, WAITING);
        return give_back(plan);
    }
    pruning.message.clear();
    match &claim.lock {
        Lock::Stale { .. } => {
            plan.writes.extend(claim.lease.clone().map(ClaimWrite::GiveBack));
            plan.again = true;
        }
        Lock::Free => {
            plan.writes.push(ClaimWrite::TakeLock(name));
            plan.again = true;
        }
        Lock::Ours | Lock::Theirs { .. } => {
            plan.writes.push(ClaimWrite::Prune(Box::new(task(look, keep, status, pruning, claim, name))));
            sooner(plan, WORKING);
        }
    }
}

fn task(look: &Look<'_>, keep: &Keep, status: &Status, pruning: &Pruning, claim: &ClaimFact, lease: String) -> Task {
    let folders = |good: bool| -> Vec<String> {
        let those = status.generations.iter().filter(move |generation| good || !is_good(&generation.verdict));
        those.map(|generation| generation.folder.clone()).collect()
    };
    Task {
        nonce: format!("{}/{}", pruning.place, pruning.job_uid),
        lock: lease,
        pin: claim.pin.clone(),
        ids: claim.ids.clone(),
        keep: keep.clone(),
        remove: pruning.removable.clone(),
        in_use: in_use(look).into_iter().map(stamp).collect(),
        not_good: folders(false),
        known: folders(true),
    }
}

/// Whether the API server refused to delete a Job or lock of pruning a moment ago.
fn is_deletion_refused(look: &Look<'_>) -> bool {
    look.world.prune_pause.as_ref().is_some_and(|pause| pause.deletes && pause.left(look.now).is_some())
}

/// What is said, and for how many seconds nothing is tried: after a failure, or a refusal.
fn pause(look: &Look<'_>, pruning: &Pruning) -> Option<(String, u64)> {
    if let Some(pause) = &look.world.prune_pause
        && let Some(left) = pause.left(look.now)
    {
        return Some((pause.said.clone(), u64::try_from(left).unwrap_or(1)));
    }
    let doublings = u32::try_from(pruning.failures).unwrap_or_default().checked_sub(1)?;
    let seconds = FIRST_PAUSE.saturating_mul(1 << doublings.min(10)).min(LONGEST_PAUSE);
    let until = pruning.time.as_ref()?.0.as_second() + seconds;
    let left =
        u64::try_from(until - look.now.as_second()).ok().filter(|left| (1..=seconds.unsigned_abs()).contains(left))?;
    Some((pruning.message.clone(), left))
}

/// A prune Job has ended: what it removed is gone from the status, and what it found is in it.
fn settle(look: &Look<'_>, status: &mut Status, pruning: &mut Pruning, job: &PruneJob) {
    pruning.job_uid.clone_from(&job.uid);
    pruning.time = Some(time(look.now));
    pruning.removed.clear();
    let failed = |pruning: &mut Pruning, why: &str| {
        pruning.failures = pruning.failures.saturating_add(1);
        pruning.message = format!("Job {} failed: {why}", job.name);
    };
    let Some(report) = &job.report else {
        return failed(pruning, "it left no report; see the events of the Job and its pod");
    };
    let PruneReport { schema: _, removed, kept, missing, found, more, error } = report;
    let asked = |folder: &&String| pruning.removable.contains(*folder);
    let gone: Vec<String> = removed.iter().filter(asked).cloned().collect();
    // there may be more on the claim than the status had place for
    let was_full = status.generations.len() >= MOST;
    pruning.removed.clone_from(&gone);
    for folder in gone.iter().chain(missing) {
        status.generations.retain(|generation| generation.folder != *folder);
        if look.world.children.iter().any(|child| stamp(child.due) == *folder) {
            pruning.forgotten.push(folder.clone());
        }
    }
    for new in found.iter().filter(|new| due_of_stamp(&new.folder).is_some()) {
        if status.generations.iter().all(|generation| generation.folder != new.folder) {
            let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            status.generations.push(GenerationStatus {
                folder: new.folder.clone(),
                verdict: new.state.clone(),
                records: number(new.records),
                bytes: number(new.bytes),
                fingerprint: new.fingerprint.clone(),
                ahead: false,
            });
        }
    }
    order(look, status);
    pruning.refused = kept.iter().map(|kept| kept.folder.clone()).collect();
    if !error.is_empty() || job.phase != JobPhase::Complete {
        return failed(pruning, if error.is_empty() { "it ended with an error" } else { error });
    }
    pruning.complete = *more == 0 && (gone.is_empty() || !was_full);
    pruning.failures = 0;
    pruning.message = kept.first().map(|kept| format!("{} stays: {}", kept.folder, kept.why)).unwrap_or_default();
}

fn sooner(plan: &mut Next, seconds: u64) {
    let wanted = Duration::from_secs(seconds);
    plan.requeue = Some(plan.requeue.map_or(wanted, |there| there.min(wanted)));
}

/// What is told of it.
#[must_use]
pub fn notices(old: &Status, new: &Status) -> Vec<Notice> {
    let (old, Some(new)) = (old.pruning.clone().unwrap_or_default(), &new.pruning) else { return Vec::new() };
    let mut notices = Vec::new();
    let mut tell = |warning, reason: &str, note: String, about: &str| {
        notices.push(Notice { warning, reason: reason.into(), note, action: format!("{reason} {about}") });
    };
    if !new.removable.is_empty() && new.removable != old.removable {
        let note = format!("kept no longer, and removed next: {}", some(&new.removable));
        tell(false, "Removable", note, &new.removable.concat());
    }
    if new.job_uid != old.job_uid {
        if !new.removed.is_empty() {
            tell(false, "Pruned", format!("removed from {}: {}", new.place, some(&new.removed)), &new.job_uid);
        }
        if new.failures > 0 {
            tell(true, "PruneFailed", new.message.clone(), &new.job_uid);
        }
    }
    notices
}

/// The first ones by name.
fn some(folders: &[String]) -> String {
    let shown: Vec<&str> = folders.iter().take(10).map(String::as_str).collect();
    let more = folders.len() - shown.len();
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    format!("{}{more}", shown.join(", "))
}
