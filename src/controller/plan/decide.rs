//! The decision itself: which of the resource's rules applies. Pure: no client, no clock, no async.
//! `writes` turns it into writes.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;

use super::look::Look;
use super::verdict::{self, End};
use super::{SOON, pause, status};
use crate::api::conditions::{self, Reason};
use crate::api::schedule::generation;
use crate::controller::build::{Input, job, placement};
use crate::controller::observe::world::{Cause, Endpoint, JobFact, Lock, Pause, PodFact, Trouble};
use crate::report::{Stage, Summary};

/// How often a running migration is looked at: its progress, and who uses its claims.
pub(super) const WHILE_RUNNING: Duration = Duration::from_secs(5);
/// How often something that cannot be watched is looked at again.
pub(super) const WHILE_WAITING: Duration = Duration::from_secs(15);
/// Seconds for which the Job of a runner that waits once more stays: so no minute has more than three writes.
const KEPT: i64 = 60;
/// Seconds without a line in the runner's log after which it is said.
const SILENCE: i64 = 300;

/// What is decided, before it is put into a status.
#[derive(Clone, Debug)]
pub(super) enum Decision {
    /// A finished run: nothing changes but what is said about the generation.
    Keep,
    /// Say this and look again.
    Say { reason: Reason, message: String, after: Option<Duration> },
    /// The same, and keep the lock: it is what the others give way to.
    Hold { reason: Reason, message: String },
    /// The same, and delete the object's Jobs.
    Stop { reason: Reason, message: String, after: Option<Duration> },
    /// The runner waits for something: give the lock back, and try again after the pause.
    Wait(Pause),
    /// Remove the Job of a runner that waits: its pause goes on.
    Tidy(Pause),
    /// Remove a Job whose end does not count, and forget it.
    Discard { message: String },
    /// No attempt before the pause has passed. `sure`: nothing was made, so that the lock can go.
    Pause { pause: Pause, sure: bool },
    /// Remove a lock that nobody holds any more.
    BreakLock { uid: String },
    /// Take the lock, and look at everything again.
    Take(String),
    /// Create the Job of the next attempt.
    Start(Box<Job>),
    /// The run is over.
    End { reason: Reason, message: String, summary: Option<Box<Summary>> },
}

/// Applies the first rule that fits.
pub(super) fn decide(look: &Look<'_>) -> Decision {
    if is_finished(look) {
        return Decision::Keep;
    }
    if let Some(decision) = ended(look) {
        return decision;
    }
    if let Some(job) = verdict::ended_late(look) {
        let message = format!(
            "Job {} has ended while somebody else may have written its target: that does not count, and the next attempt \
             compares again",
            job.name
        );
        return Decision::Discard { message };
    }
    if let Some(decision) = second_writer(look) {
        return decision;
    }
    let problems = look.migration.problems();
    if !problems.is_empty() {
        return stop(Reason::InvalidSpec, problems.join("; "), None);
    }
    if look.spec().suspend {
        return suspended(look);
    }
    if let Some(job) = look.working_job().filter(|_| look.is_at_the_specs_run()) {
        return watch(look, job);
    }
    match leftover(look) {
        Some(_) if let Some(why) = placement::in_use(look.spec(), look.world) => stop_others(Reason::VolumeInUse, why),
        Some(_) if let Some(lost) = look.world.alive().find_map(PodFact::lost) => {
            stop_others(Reason::NodeLost, lost.message.clone())
        }
        // Its Job is going, as it has to: what it waits for is still the news.
        Some(_) if let Some((reason, message)) = pause::still_waits(look) => stop_others(reason, message),
        Some(what) => {
            let gone = look.job().filter(|job| job.gone && job.uid != look.before.stopped_job);
            let message = match gone {
                Some(job) => format!("somebody deleted Job {}: waiting until {what} has ended", job.name),
                None => {
                    format!("{what} belongs to a run that was edited, stopped or replaced: waiting until it has ended")
                }
            };
            stop_others(Reason::Retrying, message)
        }
        None => start(look),
    }
}

/// A finished status beside a Job that says otherwise was not written by this controller: the Job decides.
fn is_finished(look: &Look<'_>) -> bool {
    let Some(finish) = look.finish() else { return false };
    if conditions::has_none(&look.before.conditions) {
        return verdict::of_run(look).is_none();
    }
    let (Some(reason), Some(job)) = (finish.reason, look.job()) else { return true };
    verdict::agrees(look, job, reason, look.before.counts.as_ref())
}

/// A verdict is read before anything is thrown away: a suspension, an edit or an invalid spec may come in the second in
/// which the Job ends.
fn ended(look: &Look<'_>) -> Option<Decision> {
    let ended = verdict::of_run(look)?;
    let name = look.job().map(|job| job.name.as_str()).unwrap_or_default();
    Some(match look.world.alive().next() {
        Some(pod) => Decision::Say {
            reason: Reason::Retrying,
            message: format!("Job {name} has ended: waiting for pod {} to end", pod.name),
            after: Some(WHILE_RUNNING),
        },
        None => end(ended),
    })
}

/// A run that was stopped because somebody else may write its target: that is said until it has ended, whatever comes
/// meanwhile, for what it says at its end must not count.
fn second_writer(look: &Look<'_>) -> Option<Decision> {
    if look.world.is_quiet() || !verdict::stopped_for_the_data(look, &look.before.job_uid) {
        return None;
    }
    let reason = conditions::agreed_reason(&look.before.conditions)?;
    Some(stop_others(reason, conditions::message(&look.before.conditions)))
}

fn stop(reason: Reason, message: String, after: Option<Duration>) -> Decision {
    Decision::Stop { reason, message, after }
}

fn stop_others(reason: Reason, message: String) -> Decision {
    stop(reason, message, Some(SOON))
}

/// Suspended is what nothing works of any more.
fn suspended(look: &Look<'_>) -> Decision {
    if look.world.is_quiet() {
        let message = "spec.suspend is true: set it to false, and the migration resumes";
        return stop(Reason::Suspended, message.into(), None);
    }
    if let Some(lost) = look.world.alive().find_map(PodFact::lost) {
        return stop_others(Reason::NodeLost, format!("spec.suspend is true; {}", lost.message));
    }
    let what = look.world.alive().next().map(|pod| format!("pod {}", pod.name)).or_else(|| leftover(look));
    let message = format!("spec.suspend is true: {} is ending", what.unwrap_or_default());
    stop_others(status::running_reason(&look.before), message)
}

/// A Job or pod that may still write.
fn leftover(look: &Look<'_>) -> Option<String> {
    let job = look.world.present().next().map(|job| format!("Job {}", job.name));
    job.or_else(|| look.world.alive().next().map(|pod| format!("pod {}", pod.name)))
}

/// No Job and no pod is there: whether the next attempt can start.
fn start(look: &Look<'_>) -> Decision {
    let spec = look.spec();
    let left = seconds_left(look);
    if left.is_some_and(|left| left <= 0) {
        return end(verdict::deadline());
    }
    let failures = status::failures(look);
    if failures > spec.backoff_limit {
        return end(verdict::tried_out());
    }
    if let Some(obstacle) = obstacle(look) {
        return obstacle;
    }
    if let Some((pause, seconds)) = pause::current(look) {
        let Trouble { reason, message } = pause.said.clone().unwrap_or(Trouble {
            reason: Reason::Retrying,
            message: "the last attempt came to nothing: the next one comes within 5 minutes".into(),
        });
        return Decision::Say { reason, message, after: u64::try_from(seconds).ok().map(Duration::from_secs) };
    }
    let input = Input {
        hash: look.run.clone(),
        attempt: look.before.attempts.saturating_add(1),
        lock: look.lock(),
        pin: placement::pin(spec, look.world),
        ids: placement::ids(spec, look.world),
        failures,
        deadline: left,
        one_store: look.world.one_store,
        listed: look.before.listed.as_ref().map(Into::into),
        generation: generation::origin(look.migration),
    };
    match (job::build(look.migration, look.settings, &input), look.lock()) {
        (Ok(_), Some(name)) if look.world.lock != Lock::Ours => Decision::Take(name),
        (Ok(job), _) => Decision::Start(Box::new(job)),
        (Err(problem), _) => Decision::Say { reason: Reason::InvalidSpec, message: problem, after: None },
    }
}

/// What has to change outside before an attempt makes sense.
fn obstacle(look: &Look<'_>) -> Option<Decision> {
    let (spec, world) = (look.spec(), look.world);
    let say = |reason, message| Some(Decision::Say { reason, message, after: Some(WHILE_WAITING) });
    if let Endpoint::Missing(what) = &world.source {
        return say(Reason::SourceNotFound, what.clone());
    }
    if let Endpoint::Missing(what) = &world.target {
        return say(Reason::TargetNotFound, what.clone());
    }
    if let Some(message) = placement::in_use(spec, world) {
        return say(Reason::VolumeInUse, message);
    }
    if let Some(message) = placement::apart(spec, world) {
        return say(Reason::ClaimsOnDifferentNodes, message);
    }
    let goes_on = "the migration resumes on its own when that one has ended";
    if let Some(holder) = look.other_writer() {
        return say(Reason::TargetBusy, format!("{holder} writes this target: {goes_on}"));
    }
    if let Lock::Stale { uid } = &world.lock
        && look.lock().is_some()
    {
        return pause::current(look).is_none().then(|| Decision::BreakLock { uid: uid.clone() });
    }
    if let Some(decision) = beside(look, goes_on) {
        return Some(decision);
    }
    let Lock::Theirs { holder } = &world.source_lock else { return None };
    let message = format!("{holder} writes this migration's source: {goes_on}");
    // Looked at again once the own lock was taken: of two that write each other's source, none waits with its lock.
    if world.lock == Lock::Ours {
        let said = Trouble { reason: Reason::TargetBusy, message };
        return Some(Decision::Pause { pause: pause::next(look, Cause::GaveWay, said), sure: true });
    }
    say(Reason::TargetBusy, message)
}

/// Beside another run whose lock covers a part of what ours does, or more. A run of one database gives its lock back, and
/// a run over databases keeps its own until no other is left: so neither starts beside the other, and none waits for ever.
fn beside(look: &Look<'_>, goes_on: &str) -> Option<Decision> {
    let holder = look.world.rival.as_ref()?;
    let has_databases = !look.spec().databases.is_empty();
    let what = if has_databases { "a database" } else { "databases" };
    let (reason, message) = (Reason::TargetBusy, format!("{holder} writes {what} of this target's tenant: {goes_on}"));
    match (look.world.lock == Lock::Ours, has_databases) {
        (true, true) => Some(Decision::Hold { reason, message }),
        (true, false) => {
            let said = Trouble { reason, message };
            Some(Decision::Pause { pause: pause::next(look, Cause::GaveWay, said), sure: true })
        }
        // its own lock first, so that the others give way to it; a verification takes none
        (false, true) if look.lock().is_some() => None,
        (false, _) => Some(Decision::Say { reason, message, after: Some(WHILE_WAITING) }),
    }
}

/// The current attempt's Job is there: what it says, and whether it may go on.
fn watch(look: &Look<'_>, job: &JobFact) -> Decision {
    let (spec, world) = (look.spec(), look.world);
    let say = |reason, message| Decision::Say { reason, message, after: Some(WHILE_RUNNING) };
    match verdict::of_job(look, job) {
        Some(_) if let Some(pod) = world.alive().next() => {
            return say(Reason::Retrying, format!("Job {} has ended: waiting for pod {} to end", job.name, pod.name));
        }
        Some(End::Unproved(_)) if verdict::failures(look, job) > spec.backoff_limit => return end(verdict::lost()),
        Some(End::Waits { reason, message }) => {
            return waits(look, job, Trouble { reason, message });
        }
        Some(ended) => return end(ended),
        None => {}
    }
    // Whoever lost its own lock gives way, also to a run whose lock covers more of the target, or a part.
    if let Some(holder) = look.other_writer().or(world.rival.as_deref()) {
        return stop_others(
            Reason::TargetBusy,
            format!("the run was stopped: {holder} holds the lock on its target by now"),
        );
    }
    if let Some(why) = placement::second_writer(spec, world) {
        return stop_others(Reason::VolumeInUse, format!("the run was stopped: {why}"));
    }
    if let Some(said) = pause::without_lock(look).and_then(|pause| pause.said.as_ref()) {
        return say(said.reason, said.message.clone());
    }
    let Some(pod) = world.alive().max_by_key(|pod| pod.created) else {
        let trouble = job.trouble.clone().map(|t| (t.reason, t.message));
        let (reason, message) = trouble
            .or_else(|| closing(look, job))
            .or_else(|| verdict::between_tries(look, job))
            .or_else(|| pause::still_waits(look))
            .unwrap_or_else(|| (Reason::Preflight, format!("Job {} is starting the runner", job.name)));
        return say(reason, message);
    };
    if let Some(trouble) = &pod.trouble {
        if matches!(trouble.reason, Reason::PodUnschedulable | Reason::ClaimsOnDifferentNodes) && is_stale(look, job) {
            return stop_others(Reason::Retrying, format!("{}; the runner is moved", trouble.message));
        }
        return say(trouble.reason, trouble.message.clone());
    }
    let (reason, message) = at_stage(look, &pod.name);
    say(reason, message)
}

/// The runner has ended because it has to wait. What a further attempt writes is spread over the pause.
fn waits(look: &Look<'_>, job: &JobFact, said: Trouble) -> Decision {
    let Some(pause) = pause::known(look).filter(|pause| pause.job == job.uid) else {
        let mut pause = pause::next(look, Cause::RunnerWaits, said);
        pause.job.clone_from(&job.uid);
        pause.tidy = look.second() + if pause.times > 1 { KEPT } else { 0 };
        return Decision::Wait(pause);
    };
    let left = pause.tidy.min(pause.until) - look.second();
    match u64::try_from(left) {
        Ok(left) if left > 0 && left.cast_signed() <= KEPT => {
            Decision::Say { reason: said.reason, message: said.message, after: Some(Duration::from_secs(left)) }
        }
        _ => Decision::Tidy(pause.clone()),
    }
}

/// What a runner says that works.
fn at_stage(look: &Look<'_>, pod: &str) -> (Reason, String) {
    let log = look.world.log.as_ref();
    if log.and_then(|log| log.last_line).is_some_and(|last| look.second() - last > SILENCE) {
        let message = format!(
            "pod {pod} has written nothing to its log for 5 minutes: see kubectl logs {pod} --all-containers; if the \
             runner hangs, delete the pod, and the Job makes another one that goes on where it stopped"
        );
        return (Reason::NoProgress, message);
    }
    let stage = log.and_then(|log| log.progress).map(|progress| progress.stage);
    if stage.is_none_or(|stage| stage == Stage::Preflight)
        && let Some(waiting) = pause::still_waits(look)
    {
        return waiting;
    }
    // What the pod before did says nothing about this one.
    let known = if look.before.pod_name == pod { status::running_reason(&look.before) } else { Reason::Preflight };
    let reason = stage.map_or(known, Reason::from);
    let overwrites = look.world.log.as_ref().and_then(|log| log.overwrites).filter(|_| reason == Reason::Preflight);
    if let Some(records) = overwrites {
        return (reason, status::overwriting(records));
    }
    (reason, format!("{} in pod {pod}", status::doing(reason, look.spec().mode)))
}

/// What is said while the runner has ended well and its Job does not say so yet: the kubelet is faster than the Job's
/// controller. No verdict: that needs the Job.
fn closing(look: &Look<'_>, job: &JobFact) -> Option<(Reason, String)> {
    let pod = verdict::ended_well(look, job)?;
    let message = format!("pod {} has ended well: waiting for Job {} to say so", pod.name, job.name);
    Some((status::running_reason(&look.before), message))
}

/// Whether the Job is bound to a node that its claim's users have left.
fn is_stale(look: &Look<'_>, job: &JobFact) -> bool {
    job.pin.is_some() && job.pin != placement::pin(look.spec(), look.world).node
}

fn end(end: End) -> Decision {
    match end {
        End::Final { reason, message, summary } => Decision::End { reason, message, summary },
        End::Unproved(message) | End::Waits { message, .. } => stop_others(Reason::Retrying, message),
    }
}

/// Seconds that the run has left; None without a deadline.
fn seconds_left(look: &Look<'_>) -> Option<i64> {
    let limit = look.spec().active_deadline_seconds?;
    let used = look.before.active_since.as_ref().map_or(0, |start| look.second() - start.0.as_second());
    Some(limit.saturating_sub(used.max(0)))
}
