//! Whatever happens in whatever order, also if the controller dies between two writes or the API server refuses them: never
//! two writers, never a finished run again, never anything for an object that is being deleted, never Ready without a
//! proof, never an attempt that was not made.

use std::collections::BTreeMap;

use memory_migration_operator::api::conditions::{READY, Reason, Situation};
use memory_migration_operator::controller::observe::world::{Cause, Endpoint, JobPhase, Lock, LogFact, UserFact};
use memory_migration_operator::controller::plan::{Plan, Refusal, Write};
use memory_migration_operator::report::{self, Progress, Stage};
use proptest::prelude::*;

use super::fixtures::*;

/// What can happen between two looks.
#[derive(Clone, Copy, Debug)]
enum Happens {
    /// The controller looks and carries everything out.
    Look,
    /// It dies after so many writes.
    LookAndDie(usize),
    /// It looks, something happens, and only then it writes.
    Edit(u8),
    Suspend(bool),
    Delete,
    /// From now on a Job is answered so; 0: it is taken.
    Answer(u16),
    /// From now on a write of this kind is answered so.
    Refuse(Kind, u16),
    /// From now on no answer comes to a Job, which may be made all the same.
    NoAnswer,
    /// Kubernetes makes the Job's pod, if there is none.
    PodComes,
    PodStarts,
    PodSays(u8),
    PodSucceeds,
    PodFails(i32),
    /// The pod of a Job that is being deleted ends.
    PodEnds,
    /// Ended pods are collected: all, those that succeeded, those that failed.
    PodsCollected(u8),
    /// Somebody deletes the Job with its pods; the watch saw its last state, or did not.
    JobVanishes(bool),
    /// Somebody makes a Job that looks like ours and says that all is verified.
    ForeignJob,
    OthersUseClaim(bool),
    OthersLock(bool),
    /// Somebody deletes our lock by hand.
    LockVanishes,
    OthersWriteSource(bool),
    ClaimMissing(bool),
    Time(i64),
}

fn happens() -> impl Strategy<Value = Happens> {
    use Happens::*;
    prop_oneof![
        14 => Just(Look),
        2 => (0..6_usize).prop_map(LookAndDie),
        2 => (0..4_u8).prop_map(Edit),
        1 => any::<bool>().prop_map(Suspend),
        1 => Just(Delete),
        2 => prop_oneof![Just(0), Just(400), Just(403), Just(409), Just(422), Just(429), Just(500)].prop_map(Answer),
        2 => (prop::sample::select(REFUSED.to_vec()), prop::sample::select(vec![403, 409, 422, 500]))
            .prop_map(|(kind, code)| Refuse(kind, code)),
        1 => Just(NoAnswer),
        4 => Just(PodComes),
        3 => Just(PodStarts),
        2 => (0..4_u8).prop_map(PodSays),
        3 => Just(PodSucceeds),
        2 => prop::sample::select(vec![1, 2, 3, 4, 5, 6, 7, 137]).prop_map(PodFails),
        4 => Just(PodEnds),
        2 => (0..3_u8).prop_map(PodsCollected),
        1 => any::<bool>().prop_map(JobVanishes),
        1 => Just(ForeignJob),
        1 => any::<bool>().prop_map(OthersUseClaim),
        1 => any::<bool>().prop_map(OthersLock),
        1 => Just(LockVanishes),
        1 => any::<bool>().prop_map(OthersWriteSource),
        1 => any::<bool>().prop_map(ClaimMissing),
        2 => (1..500_i64).prop_map(Time),
    ]
}

/// The writes of a plan. Only not being able to tell changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    BreakLock,
    TakeLock,
    Create,
    Report,
    Status,
    Delete,
    Ttl,
    GiveBack,
    Tell,
}

const REFUSED: [Kind; 6] = [Kind::BreakLock, Kind::TakeLock, Kind::Status, Kind::Delete, Kind::Ttl, Kind::GiveBack];

fn kind(write: &Write) -> Kind {
    match write {
        Write::BreakLock(_) => Kind::BreakLock,
        Write::TakeLock(_) => Kind::TakeLock,
        Write::Create(_) => Kind::Create,
        Write::Report(_) => Kind::Report,
        Write::Status(_) => Kind::Status,
        Write::Delete(_) => Kind::Delete,
        Write::Ttl(..) => Kind::Ttl,
        Write::GiveBack(_) => Kind::GiveBack,
        Write::Tell(_) => Kind::Tell,
    }
}

/// What the runner of this run writes as its report.
fn report_of(run: &str) -> String {
    format!("the report of {run}").repeat(400)
}

/// How a Job is answered.
#[derive(Clone, Copy, PartialEq)]
enum Answers {
    Made,
    Refused(u16),
    Silent,
}

/// What became of a plan.
#[derive(PartialEq)]
enum Came {
    Through,
    Died,
    /// The API server refused it.
    Refused(Refusal),
    /// Somebody was faster: it is read again.
    Changed,
    /// An error: nothing after it is done, and nothing is remembered.
    Failed,
}

/// A cluster with one migration, as far as the controller can tell.
struct Model {
    case: Case,
    answers: Answers,
    /// How the other writes are answered, where they are refused.
    refused: BTreeMap<Kind, u16>,
    /// Verdicts that were counted, by run and attempt.
    counted: BTreeMap<(String, i32), u32>,
    /// Runs whose end the status held.
    finished: BTreeMap<String, Reason>,
    /// Jobs that were made, by run.
    made: BTreeMap<String, i32>,
    foreign_lock: bool,
    source_written: bool,
}

impl Model {
    fn new(local: bool) -> Self {
        let case = if local { Case::to_claim() } else { Case::to_server() };
        Self {
            case: case.edit(|m| m.spec.active_deadline_seconds = Some(2000)),
            answers: Answers::Made,
            refused: BTreeMap::new(),
            counted: BTreeMap::new(),
            finished: BTreeMap::new(),
            made: BTreeMap::new(),
            foreign_lock: false,
            source_written: false,
        }
    }

    fn step(&mut self, happens: Happens) {
        match happens {
            Happens::Look => self.look(usize::MAX),
            Happens::LookAndDie(writes) => {
                self.look(writes);
                // What only the process knew is gone with it.
                self.case.world.pause = None;
                self.case.world.deletions.clear();
                self.case.world.jobs.retain(|job| !job.gone);
            }
            Happens::Answer(0) => {
                self.answers = Answers::Made;
                self.refused.clear();
            }
            Happens::Refuse(kind, code) => drop(self.refused.insert(kind, code)),
            Happens::Answer(code) => self.answers = Answers::Refused(code),
            Happens::NoAnswer => self.answers = Answers::Silent,
            Happens::LockVanishes => self.case.world.held.clear(),
            other => self.outside(other),
        }
    }

    fn look(&mut self, mut writes: usize) {
        for _ in 0..4 {
            self.see_locks();
            let plan = self.case.plan_once();
            self.check(&plan);
            match self.carry_out(&plan, &mut writes) {
                Came::Died | Came::Failed => return,
                Came::Changed => {
                    self.case.remember(&plan.pause);
                    continue;
                }
                Came::Refused(refusal) => {
                    let plan = self.case.refusal(&refusal);
                    self.check(&plan);
                    if !matches!(self.carry_out(&plan, &mut writes), Came::Died | Came::Failed) {
                        self.case.remember(&plan.pause);
                        if plan.again {
                            continue;
                        }
                    }
                    return;
                }
                Came::Through => self.case.remember(&plan.pause),
            }
            if !plan.again {
                return self.check_lock();
            }
        }
    }

    fn see_locks(&mut self) {
        let world = &mut self.case.world;
        let theirs = || Lock::Theirs { holder: "MemoryMigration team/other".into() };
        world.lock = match (self.foreign_lock, world.held.is_empty()) {
            (_, false) => Lock::Ours,
            (true, true) => theirs(),
            (false, true) => Lock::Free,
        };
        world.source_lock = if self.source_written { theirs() } else { Lock::Free };
    }

    /// What must hold of every plan.
    fn check(&mut self, plan: &Plan) {
        let world = &self.case.world;
        let migration = &self.case.migration;
        let hash = self.case.hash();
        if let Some(job) = plan.create() {
            assert!(migration.metadata.deletion_timestamp.is_none(), "created for a deleted object");
            assert!(world.alive().next().is_none(), "created beside a living pod");
            assert!(world.present().next().is_none(), "created beside another Job");
            assert!(world.lock == Lock::Ours, "created without the lock");
            assert!(world.source_lock == Lock::Free, "created beside a writer of the source");
            let local = migration.spec.target.local.is_some();
            assert!(!local || world.users.is_empty(), "created beside a user of the claim");
            assert!(!self.finished.contains_key(&hash), "a finished run was started again: {:?}", job.metadata.name);
            assert!(!migration.spec.suspend, "created while suspended");
        }
        if !plan.release().is_empty() {
            assert!(world.is_quiet() && plan.create().is_none(), "the lock was given back beside a writer");
        }
        let Some(status) = plan.status() else { return };
        let reason = reason_of(&status);
        let ready = status.conditions.iter().any(|c| c.type_ == READY && c.status == "True");
        assert_eq!(ready, reason.situation() == Situation::Done, "{reason:?}");
        if ready {
            let run = &status.run_hash;
            let ours = world.pods.iter().filter(|pod| !pod.name.starts_with("forged"));
            let proof = ours.filter_map(|pod| pod.summary.as_ref()).any(|summary| summary.run_hash == *run);
            assert!(proof || self.finished.get(run) == Some(&reason), "Ready without a proof");
        }
        let about = if status.run_hash == hash || plan.outcome().is_none() {
            migration.metadata.generation
        } else {
            // an edit may have been seen while the run before it was stopped
            let unseen = migration.metadata.generation.map_or(-1, |generation| generation - 1);
            migration.status.as_ref().map(|status| status.observed_generation.min(unseen))
        };
        assert!(status.conditions.iter().all(|c| c.observed_generation == about), "{status:?}");
        let before = migration.status.as_ref().filter(|before| before.run_hash == status.run_hash);
        assert!(before.is_none_or(|before| before.attempts <= status.attempts), "attempts fell");
    }

    /// Carries out the plan in the order of `act`, and dies after so many writes.
    fn carry_out(&mut self, plan: &Plan, writes: &mut usize) -> Came {
        let mut created = None;
        for write in &plan.writes {
            if *writes == 0 {
                return Came::Died;
            }
            *writes -= 1;
            if let Some(came) = self.refuses(write) {
                return came;
            }
            match self.answer(write, &mut created) {
                Answers::Made => {}
                Answers::Refused(code) => return Came::Refused(refusal_of(write, code)),
                Answers::Silent => return Came::Refused(Refusal { code: None, ..refusal_of(write, 0) }),
            }
            if let Write::Status(told) = write {
                let status = &told.status;
                let made = self.made.get(&status.run_hash).copied().unwrap_or_default();
                assert!(status.attempts <= made, "an attempt was counted that was not made");
                if status.completion_time.is_some() && reason_of(status).is_final() {
                    self.finished.insert(status.run_hash.clone(), reason_of(status));
                }
                // one whose log was lost is owed or given up, and names no ConfigMap
                if status.report.as_ref().is_some_and(|report| !report.config_map.is_empty()) {
                    assert_eq!(self.case.report, Some(report_of(&status.run_hash)), "another run's report");
                }
                if told.outcome.is_some() {
                    let times = self.counted.entry((status.run_hash.clone(), status.attempts)).or_default();
                    *times += 1;
                    assert_eq!(*times, 1, "a verdict was counted twice");
                }
            }
        }
        Came::Through
    }

    /// What `act` makes of a refusal of this write.
    fn refuses(&self, write: &Write) -> Option<Came> {
        let code = *self.refused.get(&kind(write))?;
        match (kind(write), code) {
            (Kind::TakeLock | Kind::Status, 409) => Some(Came::Changed),
            // One of that name is another one: there is nothing to remove.
            (Kind::Delete | Kind::GiveBack | Kind::BreakLock | Kind::Ttl, 409) => None,
            (Kind::TakeLock | Kind::Delete | Kind::GiveBack | Kind::BreakLock, code) => {
                Some(Came::Refused(refusal_of(write, code)))
            }
            _ => Some(Came::Failed),
        }
    }

    /// Does the write, unless it is refused.
    fn answer(&mut self, write: &Write, created: &mut Option<String>) -> Answers {
        let answers = if matches!(write, Write::Create(_)) { self.answers } else { Answers::Made };
        // Half of what is not answered is done.
        let done = answers == Answers::Made || (answers == Answers::Silent && self.case.now % 2 == 1);
        if !done {
            return answers;
        }
        if matches!(write, Write::Create(_)) {
            *self.made.entry(self.case.hash()).or_default() += 1;
        }
        self.case.write(write, created);
        if let Write::Delete(gone) = write {
            let world = &mut self.case.world;
            let has_pod = world.pods.iter().any(|pod| pod.alive && pod.job_uid == gone.uid);
            world.jobs.retain(|job| has_pod || job.uid != gone.uid);
        }
        answers
    }

    /// After a look that was carried out nothing writes without the lock, unless the API server refused it a moment ago: that
    /// is said, and it is asked again after a pause.
    fn check_lock(&self) {
        let world = &self.case.world;
        let now = at(self.case.now).0.as_second();
        let is_refused = world.pause.as_ref().is_some_and(|pause| pause.cause == Cause::Refused && pause.until > now);
        let writes = world.alive().any(|pod| world.jobs.iter().any(|j| j.uid == pod.job_uid && !j.deleting));
        let going = self.case.migration.metadata.deletion_timestamp.is_some();
        // Another one holds it by now, and the API server does not let the run be stopped.
        let cannot_stop = self.foreign_lock && !world.deletions.is_empty();
        let may = going || is_refused || cannot_stop || !world.held.is_empty();
        assert!(!writes || may, "a run goes on without its lock");
    }

    /// What users and Kubernetes do.
    #[expect(clippy::too_many_lines, reason = "one list of what can happen")]
    fn outside(&mut self, happens: Happens) {
        let hash = self.case.hash();
        let like_ours = self.case.clone().started().world.jobs.pop();
        let case = &mut self.case;
        let world = &mut case.world;
        let spec = &mut case.migration.spec;
        match happens {
            Happens::PodsCollected(which) => world.pods.retain(|pod| match which {
                0 => pod.alive,
                1 => !pod.succeeded,
                _ => pod.alive || pod.succeeded,
            }),
            Happens::Edit(0) => spec.pacing.batch_size = Some(spec.pacing.batch_size() + 1),
            Happens::Edit(n) => spec.run_id = format!("{}{n}", spec.run_id),
            Happens::Suspend(on) => spec.suspend = on,
            Happens::Delete => case.migration.metadata.deletion_timestamp = Some(at(case.now)),
            Happens::PodComes => {
                let free = world.jobs.iter().find(|job| job.phase == JobPhase::Active && !job.deleting);
                if let Some(job) = free.filter(|job| !world.pods.iter().any(|p| p.alive && p.job == job.name)) {
                    let mut pod = pod_fact(&job.name);
                    (pod.started, pod.created) = (false, case.now);
                    world.pods.push(pod);
                }
            }
            Happens::PodStarts => world.pods.iter_mut().filter(|p| p.alive).for_each(|p| p.started = true),
            Happens::PodSays(n) => {
                let stages = [Stage::Preflight, Stage::Copying, Stage::Verifying, Stage::Repairing];
                let progress = Progress { stage: stages[usize::from(n)], records: 3, total: 9, ..Progress::default() };
                world.log = Some(LogFact { progress: Some(progress), ..LogFact::default() });
            }
            Happens::PodSucceeds => {
                if let Some(pod) = world.pods.iter_mut().find(|p| p.alive && p.started) {
                    let run = world.jobs.iter().find(|j| j.name == pod.job).map_or(hash, |job| job.run.clone());
                    (pod.alive, pod.succeeded, pod.ended) = (false, true, Some(at(case.now)));
                    let (summary, log) = with_report(summary(&run, report::Reason::Verified), &report_of(&run));
                    (pod.summary, world.log) = (Some(summary), Some(log));
                    let job = pod.job.clone();
                    self.job_ends(&job, &JobPhase::Complete);
                }
            }
            Happens::PodFails(code) => {
                if let Some(pod) = world.pods.iter_mut().find(|p| p.alive) {
                    (pod.alive, pod.exit, pod.ended) = (false, Some(code), Some(at(case.now)));
                    let job = pod.job.clone();
                    if [2, 3, 5, 6, 7].contains(&code) {
                        self.job_ends(&job, &JobPhase::Failed("PodFailurePolicy".into()));
                    }
                }
            }
            Happens::PodEnds => self.deleted_end(),
            Happens::JobVanishes(seen) => {
                world.pods.iter_mut().for_each(|pod| pod.alive = false);
                world.jobs.retain(|job| seen && job.phase != JobPhase::Active);
                world.jobs.iter_mut().for_each(|job| job.gone = true);
            }
            Happens::ForeignJob => {
                let there = world.jobs.iter().any(|job| job.name == "forged");
                if let Some(mut job) = like_ours.filter(|_| !there) {
                    (job.name, job.uid) = ("forged".into(), "uid-of-forged".into());
                    (job.run, job.attempt, job.phase) = (hash.clone(), 99, JobPhase::Complete);
                    let mut pod = pod_fact("forged");
                    (pod.alive, pod.succeeded) = (false, true);
                    pod.summary = Some(summary(&hash, report::Reason::Verified));
                    world.pods.push(pod);
                    world.jobs.push(job);
                }
            }
            Happens::OthersUseClaim(on) => {
                let user = UserFact { pod: "x".into(), claim: "prod".into(), running: true, ..UserFact::default() };
                world.users = if on { vec![user] } else { vec![] };
            }
            Happens::OthersLock(on) => self.foreign_lock = on,
            Happens::OthersWriteSource(on) => self.source_written = on,
            Happens::ClaimMissing(on) => {
                let found = Endpoint::Found { uid: "source-uid".into(), one_node: true, one_pod: false };
                world.source = if on { Endpoint::Missing("gone".into()) } else { found };
            }
            Happens::Time(seconds) => case.now += seconds,
            _ => {}
        }
        if matches!(happens, Happens::Edit(_) | Happens::Suspend(_) | Happens::Delete) {
            let generation = &mut self.case.migration.metadata.generation;
            *generation = generation.map(|g| g + 1);
        }
    }

    fn job_ends(&mut self, name: &str, phase: &JobPhase) {
        for job in self.case.world.jobs.iter_mut().filter(|job| job.name == name) {
            job.phase = phase.clone();
        }
        self.deleted_end();
    }

    /// Jobs that are being deleted go with their pods.
    fn deleted_end(&mut self) {
        let world = &mut self.case.world;
        let deleting: Vec<String> = world.jobs.iter().filter(|j| j.deleting).map(|j| j.name.clone()).collect();
        world.pods.iter_mut().filter(|p| deleting.contains(&p.job)).for_each(|p| p.alive = false);
        world.jobs.retain(|job| !job.deleting);
    }
}

/// The fault points of the controller are its writes: it dies before each one of an ordinary run, and whoever takes over dies
/// once more, before one of its first. The run ends as if nothing had been, and keeps no lock.
#[test]
fn it_may_die_before_any_write_of_a_run_and_its_heir_too() {
    // more than any look of that run writes, so that the last number is no death
    const WRITES: usize = 12;
    let story = [
        Happens::Look,
        Happens::PodComes,
        Happens::Look,
        Happens::PodStarts,
        Happens::PodSays(1),
        Happens::Look,
        Happens::PodSucceeds,
        Happens::Look,
        Happens::PodEnds,
        Happens::Look,
    ];
    let looks = story.iter().filter(|step| matches!(step, Happens::Look)).count();
    for (local, at) in [false, true].into_iter().flat_map(|local| (0..looks).map(move |at| (local, at))) {
        for (first, second) in (0..=WRITES).flat_map(|first| (0..4).map(move |second| (first, second))) {
            let mut model = Model::new(local);
            model.case.migration.spec.active_deadline_seconds = None;
            let mut look = 0;
            for step in story {
                if !matches!(step, Happens::Look) {
                    model.step(step);
                    continue;
                }
                if look == at {
                    model.step(Happens::LookAndDie(first));
                    model.step(Happens::LookAndDie(second));
                }
                model.step(Happens::Look);
                look += 1;
                assert!(model.case.world.alive().count() <= 1, "two writers");
            }
            for _ in 0..3 {
                for step in
                    [Happens::PodComes, Happens::PodStarts, Happens::PodSucceeds, Happens::Look, Happens::Time(301)]
                {
                    model.step(step);
                }
            }
            let died = format!("local {local}, look {at}, after {first} and {second} writes");
            let status = model.case.migration.status.clone().unwrap();
            assert_eq!(reason_of(&status), Reason::Verified, "{died}: {status:?}");
            assert_eq!(status.attempts, 1, "{died}");
            assert!(model.case.world.held.is_empty(), "{died}: a lock was kept");
        }
    }
}

/// Found by `left_alone_it_comes_to_rest`: the status never named the Job, which the API server did not let be stopped, and
/// its lock was not taken again.
#[test]
fn a_run_that_no_status_names_and_nobody_may_stop_keeps_its_lock() {
    let mut model = Model::new(false);
    for step in [
        Happens::Look,
        Happens::Refuse(Kind::Delete, 403),
        Happens::Edit(1),
        Happens::Look,
        Happens::Refuse(Kind::Status, 409),
        Happens::JobVanishes(false),
        Happens::Look,
        Happens::PodComes,
        Happens::LockVanishes,
        Happens::Answer(0),
        Happens::Look,
    ] {
        model.step(step);
    }
    assert!(!model.case.world.held.is_empty(), "a run goes on without its lock");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold(local in any::<bool>(), steps in prop::collection::vec(happens(), 1..80)) {
        let mut model = Model::new(local);
        for step in steps {
            model.step(step);
            let writers = model.case.world.alive().count();
            prop_assert!(writers <= 1, "{} writers", writers);
        }
    }

    /// Left alone, every migration comes to an end that stays.
    #[test]
    fn left_alone_it_comes_to_rest(local in any::<bool>(), steps in prop::collection::vec(happens(), 1..40)) {
        let mut model = Model::new(local);
        steps.into_iter().filter(|s| !matches!(s, Happens::Delete)).for_each(|step| model.step(step));
        model.case.migration.spec.suspend = false;
        model.case.migration.spec.active_deadline_seconds = None;
        let calm = [
            Happens::OthersUseClaim(false),
            Happens::OthersLock(false),
            Happens::ClaimMissing(false),
            Happens::OthersWriteSource(false),
            Happens::Answer(0),
        ];
        for step in calm {
            model.step(step);
        }
        for _ in 0..20 {
            for step in [Happens::Look, Happens::PodEnds, Happens::PodComes, Happens::PodStarts, Happens::PodSucceeds, Happens::Look, Happens::Time(301)] {
                model.step(step);
            }
        }
        let status = model.case.migration.status.clone().unwrap();
        prop_assert!(reason_of(&status).is_final(), "{:?}", status);
        model.see_locks();
        let plan = model.case.plan_once();
        prop_assert!(plan.writes.is_empty() && plan.requeue.is_none(), "{:?}", plan);
        prop_assert!(model.case.world.held.is_empty(), "a lock was kept");
    }

    /// A Job that is refused n times, with any code: bounded writes, one status, no attempt counted, no lock kept.
    #[test]
    fn a_refused_job_costs_little_and_counts_nothing(local in any::<bool>(), code in 400..600_u16, wakes in prop::collection::vec(1..40_i64, 1..80)) {
        prop_assume!(code != 404);
        let mut model = Model::new(local);
        model.case.migration.spec.active_deadline_seconds = None;
        model.answers = Answers::Refused(code);
        let mut statuses = Vec::new();
        let mut written: Vec<i64> = Vec::new();
        // Whatever wakes the controller, and however often.
        for wake in wakes {
            let before = usize::MAX / 2;
            let mut left = before;
            for _ in 0..4 {
                model.see_locks();
                let plan = model.case.plan_once();
                let came = model.carry_out(&plan, &mut left);
                if let Came::Refused(refusal) = came {
                    let plan = model.case.refusal(&refusal);
                    model.carry_out(&plan, &mut left);
                    model.case.remember(&plan.pause);
                    break;
                }
                model.case.remember(&plan.pause);
                if !plan.again { break; }
            }
            written.extend(std::iter::repeat_n(model.case.now, before - left));
            let status = model.case.migration.status.clone().unwrap();
            if statuses.last() != Some(&status) { statuses.push(status); }
            let firm = code < 500 && code != 429 && code != 401 && code != 409;
            prop_assert!(!firm || model.case.world.held.is_empty(), "a lock was kept");
            model.case.now += wake;
        }
        prop_assert_eq!(statuses.len(), 1, "{:?}", statuses);
        prop_assert_eq!(statuses[0].attempts, 0);
        // The first minute tells; from then on at most three writes in any minute.
        for start in written.iter().filter(|start| **start > 60) {
            let within = written.iter().filter(|at| (*start..*start + 60).contains(*at)).count();
            prop_assert!(within <= 3, "{} writes in a minute: {:?}", within, written);
        }
    }
}
