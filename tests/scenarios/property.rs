//! Whatever happens in whatever order, also if the controller dies between two writes: never two writers, never a
//! finished run again, never anything for an object that is being deleted, never Ready without a proof.

use std::collections::BTreeMap;

use memory_migration_operator::api::conditions::{READY, Reason, Situation};
use memory_migration_operator::controller::observed::{Endpoint, JobPhase, Lock, LogFact, UserFact};
use memory_migration_operator::controller::plan::Plan;
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
    /// Kubernetes makes the Job's pod, if there is none.
    PodComes,
    PodStarts,
    PodSays(u8),
    PodSucceeds,
    PodFails(i32),
    /// The pod of a Job that is being deleted ends.
    PodEnds,
    PodVanishes,
    JobVanishes,
    OthersUseClaim(bool),
    OthersLock(bool),
    ClaimMissing(bool),
    Time(i64),
}

fn happens() -> impl Strategy<Value = Happens> {
    use Happens::*;
    prop_oneof![
        12 => Just(Look),
        2 => (0..6_usize).prop_map(LookAndDie),
        2 => (0..4_u8).prop_map(Edit),
        1 => any::<bool>().prop_map(Suspend),
        1 => Just(Delete),
        4 => Just(PodComes),
        3 => Just(PodStarts),
        2 => (0..4_u8).prop_map(PodSays),
        3 => Just(PodSucceeds),
        2 => prop_oneof![Just(1), Just(2), Just(3), Just(4), Just(5), Just(6), Just(137)].prop_map(PodFails),
        4 => Just(PodEnds),
        1 => Just(PodVanishes),
        1 => Just(JobVanishes),
        1 => any::<bool>().prop_map(OthersUseClaim),
        1 => any::<bool>().prop_map(OthersLock),
        1 => any::<bool>().prop_map(ClaimMissing),
        2 => (1..500_i64).prop_map(Time),
    ]
}

/// A cluster with one migration, as far as the controller can tell.
struct World {
    case: Case,
    /// Verdicts that were counted, by run and attempt.
    counted: BTreeMap<(String, i32), u32>,
    /// Runs whose end the status held.
    finished: BTreeMap<String, Reason>,
    foreign_lock: bool,
}

impl World {
    fn new(local: bool) -> Self {
        let case = if local { Case::to_claim() } else { Case::to_server() };
        let case = case.edit(|m| m.spec.active_deadline_seconds = Some(2000));
        Self { case, counted: BTreeMap::new(), finished: BTreeMap::new(), foreign_lock: false }
    }

    fn step(&mut self, happens: Happens) {
        match happens {
            Happens::Look => self.look(usize::MAX),
            Happens::LookAndDie(writes) => self.look(writes),
            other => self.outside(other),
        }
    }

    fn look(&mut self, writes: usize) {
        let observed = &mut self.case.observed;
        observed.lock = match (self.foreign_lock, observed.held.is_empty()) {
            (_, false) => Lock::Ours,
            (true, true) => Lock::Theirs { holder: "team/other".into() },
            (false, true) => Lock::Free,
        };
        let plan = self.case.plan();
        self.check(&plan);
        self.carry_out(plan, writes);
    }

    /// What must hold of every plan.
    fn check(&mut self, plan: &Plan) {
        let observed = &self.case.observed;
        let hash = self.case.hash();
        if let Some(job) = &plan.create {
            assert!(self.case.migration.metadata.deletion_timestamp.is_none(), "created for a deleted object");
            assert!(observed.alive().next().is_none(), "created beside a living pod");
            assert!(observed.jobs.is_empty(), "created beside another Job");
            assert!(plan.take_lock.is_some() || observed.lock == Lock::Ours, "created without the lock");
            let local = self.case.migration.spec.target.local.is_some();
            assert!(!local || observed.users.is_empty(), "created beside a user of the claim");
            assert!(!self.finished.contains_key(&hash), "a finished run was started again: {:?}", job.metadata.name);
            assert!(!self.case.migration.spec.suspend, "created while suspended");
        }
        if !plan.release.is_empty() && plan.create.is_none() {
            assert!(observed.is_quiet(), "the lock was given back beside a process that may write");
        }
        if let Some(status) = &plan.status {
            let reason = reason_of(status);
            let ready = status.conditions.iter().any(|c| c.type_ == READY && c.status == "True");
            assert_eq!(ready, reason.situation() == Situation::Done, "{reason:?}");
            if ready {
                let proof = observed.pods.iter().any(|p| p.summary.as_ref().is_some_and(|s| s.run_hash == hash));
                assert!(proof || self.finished.get(&hash) == Some(&reason), "Ready without a proof");
            }
            assert!(status.conditions.iter().all(|c| c.observed_generation == self.case.migration.metadata.generation));
        }
    }

    /// Carries out the plan in the order of `act`, and dies after so many writes.
    fn carry_out(&mut self, plan: Plan, mut writes: usize) {
        let mut may = || {
            let alive = writes > 0;
            writes = writes.saturating_sub(1);
            alive
        };
        for gone in &plan.delete {
            if !may() {
                return;
            }
            let has_pod = self.case.observed.alive().any(|pod| pod.job == gone.name);
            let jobs = &mut self.case.observed.jobs;
            jobs.iter_mut().filter(|job| job.name == gone.name).for_each(|job| job.deleting = true);
            if !has_pod {
                jobs.retain(|job| job.name != gone.name);
            }
        }
        if let Some(lock) = plan.take_lock {
            if !may() {
                return;
            }
            self.case.observed.held.push(lock);
        }
        if let Some(status) = plan.status {
            if !may() {
                return;
            }
            let reason = reason_of(&status);
            if status.completion_time.is_some() && reason.is_final() {
                self.finished.insert(status.run_hash.clone(), reason);
            }
            if plan.outcome.is_some() {
                let times = self.counted.entry((status.run_hash.clone(), status.attempts)).or_default();
                *times += 1;
                assert_eq!(*times, 1, "a verdict was counted twice");
            }
            self.case.migration.status = Some(*status);
        }
        if let Some(job) = plan.create {
            if !may() {
                return;
            }
            let fact = job_fact(&job.metadata.name.clone().unwrap(), &self.case.hash());
            self.case.observed.jobs.push(fact);
        }
        for lock in plan.release {
            if !may() {
                return;
            }
            self.case.observed.held.retain(|held| *held != lock);
        }
    }

    /// What users and Kubernetes do.
    #[expect(clippy::too_many_lines, reason = "one list of what can happen")]
    fn outside(&mut self, happens: Happens) {
        let hash = self.case.hash();
        let case = &mut self.case;
        let observed = &mut case.observed;
        let spec = &mut case.migration.spec;
        match happens {
            Happens::Look | Happens::LookAndDie(_) => {}
            Happens::PodVanishes => observed.pods.retain(|pod| pod.alive),
            Happens::Edit(0) => spec.batch.size += 1,
            Happens::Edit(n) => spec.run_id = format!("{}{n}", spec.run_id),
            Happens::Suspend(on) => spec.suspend = on,
            Happens::Delete => case.migration.metadata.deletion_timestamp = Some(at(case.now)),
            Happens::PodComes => {
                let free = observed.jobs.iter().find(|job| job.phase == JobPhase::Active && !job.deleting);
                if let Some(job) = free.filter(|job| !observed.pods.iter().any(|p| p.alive && p.job == job.name)) {
                    let mut pod = pod_fact(&job.name);
                    (pod.started, pod.created) = (false, case.now);
                    observed.pods.push(pod);
                }
            }
            Happens::PodStarts => observed.pods.iter_mut().filter(|p| p.alive).for_each(|p| p.started = true),
            Happens::PodSays(n) => {
                let stages = [Stage::Preflight, Stage::Copying, Stage::Verifying, Stage::Repairing];
                let progress = Progress { stage: stages[usize::from(n)], records: 3, total: 9, ..Progress::default() };
                observed.log = Some(LogFact { progress: Some(progress), ..LogFact::default() });
            }
            Happens::PodSucceeds => {
                if let Some(pod) = observed.pods.iter_mut().find(|p| p.alive && p.started) {
                    let run = observed.jobs.iter().find(|j| j.name == pod.job).map_or(hash, |job| job.run.clone());
                    (pod.alive, pod.summary) = (false, Some(summary(&run, report::Reason::Verified)));
                    let job = pod.job.clone();
                    self.job_ends(&job, &JobPhase::Complete);
                }
            }
            Happens::PodFails(code) => {
                if let Some(pod) = observed.pods.iter_mut().find(|p| p.alive) {
                    (pod.alive, pod.exit) = (false, Some(code));
                    let job = pod.job.clone();
                    if [2, 3, 5, 6].contains(&code) {
                        self.job_ends(&job, &JobPhase::Failed("PodFailurePolicy".into()));
                    }
                }
            }
            Happens::PodEnds => self.deleted_end(),
            Happens::JobVanishes => {
                observed.jobs.clear();
                observed.pods.iter_mut().for_each(|pod| pod.alive = false);
            }
            Happens::OthersUseClaim(on) => {
                let user = UserFact { pod: "x".into(), claim: "prod".into(), running: true, ..UserFact::default() };
                observed.users = if on { vec![user] } else { vec![] };
            }
            Happens::OthersLock(on) => self.foreign_lock = on,
            Happens::ClaimMissing(on) => {
                let found = Endpoint::Found { uid: "source-uid".into(), one_node: true, one_pod: false };
                observed.source = if on { Endpoint::Missing("gone".into()) } else { found };
            }
            Happens::Time(seconds) => case.now += seconds,
        }
        if matches!(happens, Happens::Edit(_) | Happens::Suspend(_) | Happens::Delete) {
            let generation = &mut self.case.migration.metadata.generation;
            *generation = generation.map(|g| g + 1);
        }
    }

    fn job_ends(&mut self, name: &str, phase: &JobPhase) {
        for job in self.case.observed.jobs.iter_mut().filter(|job| job.name == name) {
            job.phase = phase.clone();
        }
        self.deleted_end();
    }

    /// Jobs that are being deleted go with their pods.
    fn deleted_end(&mut self) {
        let observed = &mut self.case.observed;
        let deleting: Vec<String> = observed.jobs.iter().filter(|j| j.deleting).map(|j| j.name.clone()).collect();
        observed.pods.iter_mut().filter(|p| deleting.contains(&p.job)).for_each(|p| p.alive = false);
        observed.jobs.retain(|job| !job.deleting);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold(local in any::<bool>(), steps in prop::collection::vec(happens(), 1..80)) {
        let mut world = World::new(local);
        for step in steps {
            world.step(step);
            let writers = world.case.observed.alive().count();
            prop_assert!(writers <= 1, "{} writers", writers);
        }
    }

    /// Left alone, every migration comes to an end that stays.
    #[test]
    fn left_alone_it_comes_to_rest(local in any::<bool>(), steps in prop::collection::vec(happens(), 1..40)) {
        let mut world = World::new(local);
        steps.into_iter().filter(|s| !matches!(s, Happens::Delete)).for_each(|step| world.step(step));
        world.case.migration.spec.suspend = false;
        world.case.migration.spec.active_deadline_seconds = None;
        for calm in [Happens::OthersUseClaim(false), Happens::OthersLock(false), Happens::ClaimMissing(false)] {
            world.step(calm);
        }
        for _ in 0..20 {
            for step in [Happens::Look, Happens::PodEnds, Happens::PodComes, Happens::PodStarts, Happens::PodSucceeds, Happens::Look] {
                world.step(step);
            }
        }
        let status = world.case.migration.status.clone().unwrap();
        prop_assert!(reason_of(&status).is_final(), "{:?}", status);
        let plan = world.case.plan();
        prop_assert!(plan.status.is_none() && plan.create.is_none() && plan.delete.is_empty() && plan.requeue.is_none());
        prop_assert!(world.case.observed.held.is_empty(), "a lock was kept");
    }
}
