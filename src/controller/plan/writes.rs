//! From a decision to the ordered list of writes that it means. Pure. Which rule applies is in `decide`.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use super::decide::{self, Decision, WHILE_RUNNING};
use super::look::Look;
use super::{Outcome, PauseChange, Plan, SOON, Told, Write, crd_gap, evidence, notices, pause, stale, status};
use crate::api::conditions::{self, Reason, Situation};
use crate::api::{MemoryMigrationStatus, Phase};
use crate::controller::observe::world::{Handle, JobPhase, Lock, Pause, Trouble};
use crate::report::{Stage, Summary};

/// A decision in words, with what it writes before and after the status.
struct Draft {
    status: MemoryMigrationStatus,
    reason: Reason,
    message: String,
    first: Vec<Write>,
    then: Vec<Write>,
    outcome: Option<Outcome>,
    /// Whether the locks can go if nothing of the object works.
    may_release: bool,
    /// Nothing is new, if the object says the same already: the numbers of an attempt that only looks can wait.
    no_news: bool,
}

/// Turns the decision into writes.
pub(super) fn of(look: &Look<'_>, decision: Decision) -> Plan {
    let mut plan = Plan::default();
    let mut draft = Draft {
        status: status::next(look),
        reason: Reason::Retrying,
        message: String::new(),
        first: Vec::new(),
        then: Vec::new(),
        outcome: None,
        may_release: true,
        no_news: false,
    };
    match decision {
        Decision::Keep => return keep(look),
        Decision::Take(name) => return take(look, name),
        Decision::BreakLock { uid } => return break_lock(look, uid),
        Decision::Say { reason, message, after } => {
            (draft.reason, draft.message, plan.requeue) = (reason, message, after);
            say(look, &mut draft, &mut plan);
        }
        Decision::Hold { reason, message } => {
            (draft.reason, draft.message, plan.requeue) = (reason, message, Some(decide::WHILE_WAITING));
            draft.may_release = false;
        }
        Decision::Stop { reason, message, after } => {
            (draft.reason, draft.message, plan.requeue) = (reason, message, after);
            stop(look, &mut draft, &mut plan);
        }
        Decision::Wait(pause) => {
            draft.no_news = pause.tidy > look.second();
            if !draft.no_news {
                remove_jobs(look, &mut draft);
            }
            wait(look, pause, &mut draft, &mut plan);
        }
        Decision::Tidy(pause) => tidy(look, pause, &mut draft, &mut plan),
        Decision::Discard { message } => {
            (draft.reason, draft.message, plan.requeue) = (Reason::Retrying, message, Some(SOON));
            discard(look, &mut draft);
        }
        Decision::Pause { pause, sure } => {
            draft.may_release = sure;
            wait(look, pause, &mut draft, &mut plan);
            plan.requeue = plan.requeue.filter(|_| sure).or(Some(SOON));
        }
        Decision::Start(job) => {
            start(look, job, &mut draft);
            plan.requeue = Some(WHILE_RUNNING);
        }
        Decision::End { reason, message, summary } => {
            end(look, &mut draft, reason, summary);
            (draft.reason, draft.message) = (reason, message);
            plan.requeue = Some(SOON);
        }
    }
    if plan.pause == PauseChange::Keep && works(look, draft.reason) && pause::without_lock(look).is_none() {
        plan.pause = PauseChange::Clear;
    }
    settle(look, draft, &mut plan);
    plan
}

/// The report comes before the status that names it.
fn end(look: &Look<'_>, draft: &mut Draft, reason: Reason, summary: Option<Box<Summary>>) {
    status::finish(&mut draft.status, look, reason, summary.as_deref());
    draft.first.extend(evidence::keep(look, &mut draft.status, summary.as_deref()));
    draft.outcome = Some(outcome(look, &draft.status, reason, summary));
}

/// Whether the run has got beyond what it may have to wait for.
fn works(look: &Look<'_>, reason: Reason) -> bool {
    let stage = look.world.log.as_ref().and_then(|log| log.progress).map(|progress| progress.stage);
    reason.is_final() || stage.is_some_and(|stage| stage != Stage::Preflight)
}

/// A finished run: what is left of others goes, and its own Job at the time that the spec says.
fn keep(look: &Look<'_>) -> Plan {
    let mut plan = Plan { pause: PauseChange::Clear, ..Plan::default() };
    let generation = look.migration.metadata.generation.unwrap_or_default();
    let mut status = look.before.clone();
    status.observed_generation = generation;
    if conditions::said(&status.conditions).is_none() {
        let is_done = look.finish().is_some_and(|finish| finish.situation == Situation::Done);
        let (reason, message) = status::said_anew(&status, is_done);
        status.phase = Some(reason.phase());
        status.conditions = conditions::conditions(&status.conditions, reason, &message, generation, look.now);
    }
    conditions::observe_generation(&mut status.conditions, generation);
    if look.world.lacking.is_empty() {
        crd_gap::forget(&mut status.conditions);
    }
    stale::tell(look, &mut status, generation, &mut plan.requeue);
    let report = evidence::again(look, &mut status, &mut plan.requeue);
    let is_owed = status.owes_report();
    plan.writes.extend(report);
    plan.writes.extend(changed(look, status, None));
    let ours = look.job().map(|job| job.uid.as_str());
    let others = look.world.present().filter(|job| !job.deleting && Some(job.uid.as_str()) != ours);
    plan.writes.extend(others.map(|job| Write::Delete(handle(&job.name, &job.uid))));
    // the report is in the log of its pod
    plan.writes.extend(ttl(look).filter(|_| !is_owed));
    if look.world.is_quiet() {
        plan.writes.extend(look.world.held.iter().cloned().map(Write::GiveBack));
    }
    plan
}

/// The lock alone, and those given back that an older version named otherwise: only then is it sure that what is read
/// stays.
fn take(look: &Look<'_>, name: String) -> Plan {
    let others = look.world.held.iter().filter(|held| held.name != name).cloned().map(Write::GiveBack);
    let mut writes: Vec<Write> = others.collect();
    writes.push(Write::TakeLock(name));
    Plan { writes, again: true, requeue: Some(SOON), ..Plan::default() }
}

fn break_lock(look: &Look<'_>, uid: String) -> Plan {
    let writes = look.lock().map(|name| Write::BreakLock(Handle { name, uid })).into_iter().collect();
    Plan { writes, again: true, requeue: Some(SOON), ..Plan::default() }
}

/// While a Job of the object works, also one of a run that should have been stopped, the lock is held: somebody may have
/// deleted the Lease.
fn hold_lock(look: &Look<'_>) -> Vec<Write> {
    let works = look.world.present().any(|job| !job.deleting && job.phase == JobPhase::Active);
    let may_ask = pause::without_lock(look).is_none();
    let Some(name) = look.lock().filter(|_| works && may_ask) else { return Vec::new() };
    match &look.world.lock {
        Lock::Free => vec![Write::TakeLock(name)],
        Lock::Stale { uid } => {
            vec![Write::BreakLock(Handle { name: name.clone(), uid: uid.clone() }), Write::TakeLock(name)]
        }
        Lock::Ours | Lock::Theirs { .. } => Vec::new(),
    }
}

fn say(look: &Look<'_>, draft: &mut Draft, plan: &mut Plan) {
    draft.no_news = is_looking_again(look, draft.reason, &draft.message);
    draft.first = hold_lock(look);
    // Whoever began while the lock was gone is looked for once it is taken again.
    plan.again = !draft.first.is_empty();
    draft.then.extend(strangers(look));
    draft.then.extend(without_ttl(look));
}

fn wait(look: &Look<'_>, pause: Pause, draft: &mut Draft, plan: &mut Plan) {
    let Trouble { reason, message } =
        pause.said.clone().unwrap_or(Trouble { reason: Reason::Retrying, message: String::new() });
    (draft.reason, draft.message) = (reason, message);
    plan.requeue = u64::try_from(pause.until - look.second()).ok().map(Duration::from_secs);
    plan.pause = PauseChange::Set(pause);
}

fn stop(look: &Look<'_>, draft: &mut Draft, plan: &mut Plan) {
    remove_jobs(look, draft);
    goes_on(look, draft, plan);
    if draft.reason == Reason::Suspended && look.world.is_quiet() {
        // As with a Job that is suspended: going on starts the deadline's clock anew.
        draft.status.active_since = None;
    }
}

/// The status forgets the Job before it goes.
fn discard(look: &Look<'_>, draft: &mut Draft) {
    remove_jobs(look, draft);
    draft.then.splice(0..0, std::mem::take(&mut draft.first));
    (draft.status.job_uid, draft.status.job_name) = (String::new(), String::new());
}

/// Where the API server does not delete the Job, the run goes on that was to be stopped. Why it was to be stopped stays
/// said where that is for the sake of the data: what the run says at its end must not count then.
fn goes_on(look: &Look<'_>, draft: &mut Draft, plan: &mut Plan) {
    let Some(said) = pause::unstopped(look) else { return };
    let for_the_data = matches!(draft.reason, Reason::VolumeInUse | Reason::TargetBusy);
    if for_the_data {
        let what = said.message.split(" could not be stopped").next().unwrap_or_default();
        let why = draft.message.split(&format!("; {what} could not be stopped")).next().unwrap_or_default();
        draft.message = format!("{why}; {}", said.message);
    } else {
        (draft.reason, draft.message) = (said.reason, said.message.clone());
    }
    draft.first.extend(hold_lock(look));
    plan.requeue = Some(WHILE_RUNNING);
}

/// Whether this is what a runner that had to wait said last, and its next attempt has found nothing else yet.
fn is_looking_again(look: &Look<'_>, reason: Reason, message: &str) -> bool {
    pause::still_waits(look).is_some_and(|(said, words)| said == reason && words == message)
}

/// The Job goes, and the pause goes on.
fn tidy(look: &Look<'_>, pause: Pause, draft: &mut Draft, plan: &mut Plan) {
    remove_jobs(look, draft);
    wait(look, pause, draft, plan);
    plan.pause = PauseChange::Keep;
    plan.requeue = plan.requeue.or(Some(SOON));
}

/// The Job comes before the status that counts it: an attempt that is refused is none.
fn start(look: &Look<'_>, job: Box<Job>, draft: &mut Draft) {
    let status = &mut draft.status;
    status.attempts = look.before.attempts.saturating_add(1);
    status.job_name = job.name_any();
    // Of the Job that is made now: `act` fills it in.
    status.job_uid = String::new();
    status::begin_again(status);
    status.start_time = status.start_time.clone().or_else(|| Some(look.now.clone()));
    status.active_since = status.active_since.clone().or_else(|| Some(look.now.clone()));
    let still = pause::still_waits(look);
    draft.no_news = still.is_some();
    (draft.reason, draft.message) =
        still.unwrap_or_else(|| (Reason::Preflight, format!("Job {} is starting the runner", job.name_any())));
    draft.first.push(Write::Create(job));
    draft.may_release = false;
    let ours = look.lock();
    let others = look.world.held.iter().filter(|held| Some(&held.name) != ours.as_ref());
    draft.then.extend(others.cloned().map(Write::GiveBack));
}

/// All of the object's Jobs. The status says first which one the operator stops: its own deletion is no failure.
fn remove_jobs(look: &Look<'_>, draft: &mut Draft) {
    if let Some(job) = look.working_job() {
        draft.status.stopped_job.clone_from(&job.uid);
    } else if look.world.present().any(|job| job.name == look.before.job_name) {
        // Somebody wrote another UID into the status.
        draft.status.stopped_job.clone_from(&look.before.job_uid);
    }
    let jobs = look.world.present().filter(|job| !job.deleting);
    let deletions = jobs.map(|job| Write::Delete(handle(&job.name, &job.uid)));
    if draft.status.stopped_job == look.before.stopped_job {
        draft.first.extend(deletions);
    } else {
        draft.then.extend(deletions);
    }
}

/// Jobs that the object owns and that are not its run's.
fn strangers(look: &Look<'_>) -> Vec<Write> {
    let ours = look.working_job().map(|job| job.uid.as_str());
    let others = look.world.present().filter(|job| ours.is_some() && !job.deleting && Some(job.uid.as_str()) != ours);
    others.map(|job| Write::Delete(handle(&job.name, &job.uid))).collect()
}

/// A policy may have given the Job a ttl: its verdict would go with it.
fn without_ttl(look: &Look<'_>) -> Option<Write> {
    let job = look.working_job().filter(|job| job.ttl.is_some() && !look.world.stubborn.contains(&job.uid))?;
    Some(Write::Ttl(handle(&job.name, &job.uid), None))
}

/// The ended Job's ttl, where it is not what the spec says.
fn ttl(look: &Look<'_>) -> Option<Write> {
    let wanted = look.spec().job_ttl_seconds_after_finished?;
    let job = look.working_job().filter(|job| job.ttl != Some(wanted) && !look.world.stubborn.contains(&job.uid))?;
    Some(Write::Ttl(handle(&job.name, &job.uid), Some(wanted)))
}

fn handle(name: &str, uid: &str) -> Handle {
    Handle { name: name.into(), uid: uid.into() }
}

/// Completes the status, and the plan with what follows from it.
fn settle(look: &Look<'_>, draft: Draft, plan: &mut Plan) {
    let Draft { mut status, reason, message, first, then, outcome, may_release, no_news } = draft;
    let old = look.migration.status.clone().unwrap_or_default();
    // The end of the run before an edit says nothing about the new spec, also if the edit was seen while that run was stopped.
    let of_run_before = outcome.is_some() && !look.is_at_the_specs_run();
    let generation = look.migration.metadata.generation.unwrap_or(old.observed_generation);
    let generation = if of_run_before { old.observed_generation.min(generation.saturating_sub(1)) } else { generation };
    status.observed_generation = generation;
    let unborn = reason == Reason::Preflight && !look.world.alive().any(|pod| pod.started);
    status.phase = Some(if unborn { Phase::Pending } else { reason.phase() });
    let said = crd_gap::named(status::shorten(&message), &look.world.lacking);
    status.conditions = conditions::conditions(&old.conditions, reason, &said, generation, look.now);
    stale::tell(look, &mut status, generation, &mut plan.requeue);
    let notices = notices::notices(&old, &status, reason, &message);
    plan.writes.extend(first);
    let said_already = status.conditions == old.conditions;
    if !(no_news && said_already) {
        plan.writes.extend(changed(look, status, outcome));
    }
    plan.writes.extend(then);
    plan.writes.extend(notices.into_iter().map(Write::Tell));
    if may_release && look.world.is_quiet() {
        plan.writes.extend(look.world.held.iter().cloned().map(Write::GiveBack));
    }
}

/// The status, where it is not what the object has. What the CRD does not know is no difference.
fn changed(look: &Look<'_>, status: MemoryMigrationStatus, outcome: Option<Outcome>) -> Option<Write> {
    let world = look.world;
    let left_out = if world.asks_crd { &BTreeSet::new() } else { &world.lacking };
    let same = look.migration.status.as_ref().is_some_and(|old| crd_gap::is_same(old, &status, left_out));
    (!same).then(|| Write::Status(Box::new(Told { status, outcome })))
}

fn outcome(look: &Look<'_>, status: &MemoryMigrationStatus, reason: Reason, summary: Option<Box<Summary>>) -> Outcome {
    let start = status.start_time.as_ref().unwrap_or(look.now);
    let end = status.completion_time.as_ref().unwrap_or(look.now);
    let seconds = end.0.duration_since(start.0).as_secs_f64().max(0.0);
    Outcome { direction: status::direction(look.spec()), reason, seconds, summary }
}
