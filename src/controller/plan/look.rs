//! One look at one migration: the object, the world around it, and which run and which Job that is about. Pure.
//! The one argument of everything that decides; decides nothing itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::{lock, proof};
use crate::api::conditions::{self, Reason, Situation};
use crate::api::{MemoryMigration, MemoryMigrationSpec, MemoryMigrationStatus, Phase};
use crate::controller::Settings;
use crate::controller::build::job;
use crate::controller::observe::world::{Asked, JobFact, Lock, LogFact, World};

/// All that a decision depends on.
#[derive(Clone, Debug)]
pub struct Look<'a> {
    /// The object.
    pub migration: &'a MemoryMigration,
    /// What was seen of it.
    pub world: &'a World,
    /// What Jobs are made with.
    pub settings: &'a Settings,
    /// The time, in whole seconds.
    pub now: &'a Time,
    /// The run that this is about: the spec's, or the one before it as long as a process of that is left.
    pub run: String,
    /// What the status says of the run, put right by the run's Job.
    pub before: MemoryMigrationStatus,
    /// The run's Job.
    job: Option<&'a JobFact>,
}

/// How a run ended, by its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish {
    /// Done, or in need of a person.
    pub situation: Situation,
    /// Why; None: a word of another version.
    pub reason: Option<Reason>,
}

impl<'a> Look<'a> {
    /// At the run that the spec asks for.
    #[must_use]
    pub fn new(migration: &'a MemoryMigration, world: &'a World, settings: &'a Settings, now: &'a Time) -> Self {
        let run = migration.spec.run_hash();
        Self { migration, world, settings, now, run, before: MemoryMigrationStatus::default(), job: None }.at_job()
    }

    /// At the run that the status is about, where that is another one and has not ended.
    #[must_use]
    pub fn at_run_before(&self) -> Option<Self> {
        let status = self.migration.status.as_ref()?;
        let another = !status.run_hash.is_empty() && status.run_hash != self.run && status.completion_time.is_none();
        another.then(|| Self { run: status.run_hash.clone(), ..self.clone() }.at_job())
    }

    /// Finds the run's Job, and puts the status right by it: somebody may have wiped it, and the process may have been
    /// killed between a Job and its status.
    fn at_job(mut self) -> Self {
        let mut before = of_run(self.migration, &self.run);
        let job = trusted(self.migration, &self.run, &before, self.world);
        if let Some(job) = job.filter(|_| self.finish_of(&before).is_none()) {
            before.attempts = before.attempts.max(job.attempt);
            (before.job_name, before.job_uid) = (job.name.clone(), job.uid.clone());
            before.start_time = before.start_time.or_else(|| time(job.created));
            before.active_since = before.active_since.or_else(|| before.start_time.clone());
        }
        (self.before, self.job) = (before, job);
        self
    }

    /// The spec.
    #[must_use]
    pub fn spec(&self) -> &'a MemoryMigrationSpec {
        &self.migration.spec
    }

    /// Whether this is about the run that the spec asks for.
    #[must_use]
    pub fn is_at_the_specs_run(&self) -> bool {
        self.run == self.spec().run_hash()
    }

    /// The object's namespace.
    #[must_use]
    pub fn namespace(&self) -> String {
        self.migration.namespace().unwrap_or_default()
    }

    /// The run's Job, also one that is being deleted, or that is gone and had ended.
    #[must_use]
    pub fn job(&self) -> Option<&'a JobFact> {
        self.job
    }

    /// The run's Job, if it may go on.
    #[must_use]
    pub fn working_job(&self) -> Option<&'a JobFact> {
        self.job.filter(|job| !job.deleting && !job.gone)
    }

    /// The name of the target's lock that the run takes; None: nothing is written.
    #[must_use]
    pub fn lock(&self) -> Option<String> {
        lock::of_target(self.spec(), &self.namespace()).filter(|_| self.spec().writes())
    }

    /// Who else writes the target, if the run minds.
    #[must_use]
    pub fn other_writer(&self) -> Option<&'a str> {
        match &self.world.lock {
            Lock::Theirs { holder } => lock::of_target(self.spec(), &self.namespace()).map(|_| holder.as_str()),
            _ => None,
        }
    }

    /// Whether the Job that the status names is gone without the operator's doing.
    #[must_use]
    pub fn has_lost_its_job(&self) -> bool {
        let named = &self.before.job_uid;
        let known = named.is_empty() || *named == self.before.stopped_job;
        let works = self.world.alive().any(|pod| pod.job_uid == *named);
        // Of its name: then it is the UID in the status that is wrong.
        let is_there = |job: &JobFact| job.uid == *named || job.name == self.before.job_name;
        !known && !works && !self.world.present().any(is_there)
    }

    /// What kind of proof the run is asked for: its Job's manifest knows, also after an edit.
    #[must_use]
    pub fn asked(&self) -> Asked {
        self.job.and_then(|job| job.asked).unwrap_or_else(|| Asked::of(self.spec()))
    }

    /// What the log says, if it is that of the run's Job.
    #[must_use]
    pub fn log(&self) -> Option<&'a LogFact> {
        let job = self.job.map(|job| job.uid.as_str());
        self.world.log.as_ref().filter(|log| log.job_uid.is_empty() || Some(log.job_uid.as_str()) == job)
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn second(&self) -> i64 {
        self.now.0.as_second()
    }

    /// How the run ended, if the status says that it did and does not contradict itself or the spec. What another version
    /// of this program wrote counts as well: other reasons, other conditions beside ours, another name of the Job.
    ///
    /// # Caveats
    /// Whoever may write the status subresource can still write one that holds together: the status is the only record
    /// of a finished run. What is checked here is what a hand would miss.
    #[must_use]
    pub fn finish(&self) -> Option<Finish> {
        self.finish_of(&self.before)
    }

    fn finish_of(&self, status: &MemoryMigrationStatus) -> Option<Finish> {
        let about_it = status.run_hash == self.run && status.attempts > 0 && !status.job_name.is_empty();
        if !about_it || status.completion_time.is_none() {
            return None;
        }
        if conditions::has_none(&status.conditions) {
            return self.finish_by_the_rest(status);
        }
        let (situation, word) = conditions::said(&status.conditions)?;
        let reason = Reason::parse(word);
        let ended = matches!(situation, Situation::Done | Situation::NeedsPerson);
        let believed = situation != Situation::Done || self.is_proved(status, word, reason);
        (ended && believed).then_some(Finish { situation, reason })
    }

    /// Somebody removed the conditions: the rest of the status still says how the run ended, and that it did.
    fn finish_by_the_rest(&self, status: &MemoryMigrationStatus) -> Option<Finish> {
        let failed = Finish { situation: Situation::NeedsPerson, reason: None };
        let word = status.verification.as_ref().map(|verification| verification.result.as_str()).unwrap_or_default();
        let kept = status.last_success.as_ref().is_some_and(|success| success.run_hash == self.run);
        let reason = Reason::parse(word).filter(|reason| reason.situation() == Situation::Done);
        let proved = reason.filter(|reason| kept || *reason == Reason::DryRunCompleted);
        let proved = proved.filter(|reason| self.is_proved(status, word, Some(*reason)));
        let done = proved.map(|reason| Finish { situation: Situation::Done, reason: Some(reason) });
        done.or_else(|| (status.phase == Some(Phase::Failed)).then_some(failed))
    }

    fn is_proved(&self, status: &MemoryMigrationStatus, word: &str, reason: Option<Reason>) -> bool {
        let (Some(counts), Some(verification)) = (status.counts, &status.verification) else { return false };
        let doubt = |reason| proof::doubt(Asked::of(self.spec()), reason, &counts.into(), verification.identical);
        let holds = reason.is_none_or(|reason| doubt(reason).is_none());
        verification.result == word && holds
    }
}

/// The status as far as it is about this run: of another run only the conditions remain, for their transition times, and
/// what no run wipes.
fn of_run(migration: &MemoryMigration, run: &str) -> MemoryMigrationStatus {
    let mut status = migration.status.clone().unwrap_or_default();
    // By somebody else's hand.
    (status.attempts, status.failures) = (status.attempts.max(0), status.failures.max(0));
    if status.run_hash == run {
        return status;
    }
    MemoryMigrationStatus {
        observed_generation: status.observed_generation,
        run_hash: run.into(),
        conditions: status.conditions,
        last_success: status.last_success,
        ..MemoryMigrationStatus::default()
    }
}

/// The Job that counts: the one that the status names, by its UID; or one that it does not name yet, if it has the name
/// that this version gives. Whoever may create Jobs in the namespace can make one of that name first.
fn trusted<'o>(
    migration: &MemoryMigration,
    run: &str,
    before: &MemoryMigrationStatus,
    world: &'o World,
) -> Option<&'o JobFact> {
    let uid = migration.uid().unwrap_or_default();
    let of_run = || world.jobs.iter().filter(|job| job.run == run);
    let named = of_run().find(|job| !job.uid.is_empty() && job.uid == before.job_uid);
    let is_next = |job: &&JobFact| {
        let unnamed = before.job_uid.is_empty();
        let ours = job.name == job::name(&migration.name_any(), &uid, run, job.attempt);
        // One that was forgotten: its end does not count.
        let forgotten = unnamed && !job.uid.is_empty() && job.uid == before.stopped_job;
        let newer = job.attempt > before.attempts || (unnamed && job.attempt == before.attempts);
        !job.gone && !forgotten && ((ours && newer) || (unnamed && !job.name.is_empty() && job.name == before.job_name))
    };
    named.filter(|job| !job.gone).or_else(|| of_run().filter(is_next).max_by_key(|job| job.attempt)).or(named)
}

/// A second since 1970 as Kubernetes writes it.
#[must_use]
pub fn time(second: i64) -> Option<Time> {
    Timestamp::from_second(second).ok().map(Time)
}
