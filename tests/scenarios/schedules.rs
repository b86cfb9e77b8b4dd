//! Schedules: what a look decides, by table and by property. Time, children and what the process does to writes are made
//! here; the writes are carried out as an API server would.

mod generations;
mod process;
mod property;
mod table;

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use memory_migration_operator::api::schedule::generation::prune::{Generation, prune};
use memory_migration_operator::api::schedule::generation::{
    FoundGeneration, Kept, PruneReport, due_of_stamp, is_good, stamp,
};
use memory_migration_operator::api::schedule::status::MemoryMigrationScheduleStatus;
use memory_migration_operator::api::{LastSuccess, MemoryMigrationSchedule, parse_schedule};
use memory_migration_operator::controller::build::prune::Task;
use memory_migration_operator::controller::observe::world::{Handle, JobPhase, Lock};
use memory_migration_operator::controller::schedule::plan::{Plan, Write, plan};
use memory_migration_operator::controller::schedule::pruning::ClaimWrite;
use memory_migration_operator::controller::schedule::world::{ChildFact, ClaimFact, EndFact, Look, PruneJob, World};

pub(super) const UID: &str = "uid-of-nightly";
/// When the schedule was made.
pub(super) const CREATED: &str = "2026-11-26T00:30:00Z";

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A schedule with these lines of its spec, made at half past midnight.
pub(super) fn schedule(lines: &str) -> MemoryMigrationSchedule {
    let yaml = format!(
        "apiVersion: memory-migration.dev/v1alpha1\nkind: MemoryMigrationSchedule\nmetadata: {{name: nightly}}\nspec:\n\
         {lines}  template:\n    metadata: {{labels: {{team: search}}, annotations: {{owner: search}}}}\n    spec:\n      \
         source: {{remote: {{service: {{name: chroma}}}}}}\n      target: {{local: {{claimName: backup, path: copies}}}}\n"
    );
    let mut schedule = parse_schedule(&yaml).unwrap();
    let metadata = &mut schedule.metadata;
    metadata.namespace = Some("team".into());
    metadata.uid = Some(UID.into());
    metadata.generation = Some(1);
    metadata.creation_timestamp = Some(Time(at(CREATED)));
    // What belongs to another tool stays with the schedule.
    metadata.labels = Some([("argocd.argoproj.io/instance".to_owned(), "app".to_owned())].into());
    schedule
}

/// A schedule, what there is of its migrations and on its claim, and the time.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) schedule: MemoryMigrationSchedule,
    pub(super) world: World,
    pub(super) now: Timestamp,
    pub(super) claim: Claim,
}

/// The claim with generations.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim {
    /// The verdicts in the records of its folders.
    pub(super) folders: BTreeMap<String, String>,
    /// Who holds its lock.
    pub(super) lock: Lock,
    pub(super) foreign: Option<String>,
    pub(super) job: Option<(PruneJob, Task)>,
    made: usize,
}

impl Case {
    pub(super) fn new(lines: &str) -> Self {
        Self { schedule: schedule(lines), world: World::default(), now: at(CREATED), claim: Claim::default() }
    }

    pub(super) fn look(&self) -> Plan {
        let seen = self.claim_fact();
        let world = World { claim: seen, ..self.world.clone() };
        plan(&Look { schedule: &self.schedule, world: &world, now: self.now })
    }

    /// It is looked at while the status says that pruning works, or something shows it.
    fn claim_fact(&self) -> Option<ClaimFact> {
        let Claim { folders: _, lock, foreign, job, made: _ } = &self.claim;
        let works = self.status().pruning.is_some_and(|pruning| pruning.working);
        let lease = Some(Handle { name: "lock".into(), uid: "uid-of-lock".into() }).filter(|_| *lock != Lock::Free);
        (works || job.is_some() || *lock == Lock::Ours).then(|| ClaimFact {
            lock: lock.clone(),
            lease,
            foreign: foreign.clone(),
            jobs: job.iter().map(|(job, _)| job.clone()).collect(),
            ..ClaimFact::default()
        })
    }

    pub(super) fn status(&self) -> MemoryMigrationScheduleStatus {
        self.schedule.status.clone().unwrap_or_default()
    }

    /// Carries out one write, as an API server would.
    pub(super) fn carry_out(&mut self, write: &Write) {
        match write {
            Write::Create(migration) => {
                let name = migration.metadata.name.clone().unwrap();
                let due = memory_migration_operator::api::schedule::calendar::due_of("nightly", &name).unwrap();
                assert!(self.world.children.iter().all(|child| child.name != name), "{name} is made twice");
                let working: Vec<_> = self.world.children.iter().filter(|child| child.ended.is_none()).collect();
                assert!(working.is_empty() && self.world.left.is_empty(), "{name} runs beside {working:?}");
                assert!(due <= self.now, "{name} comes before its time");
                let uid = format!("uid-of-{name}");
                let local = migration.spec.target.local.as_ref().unwrap();
                let store = format!("{}:{}", local.claim_name, local.path);
                if self.schedule.spec.generations.is_some() {
                    self.claim.folders.insert(stamp(due), "Incomplete".into());
                }
                self.world.children.push(ChildFact {
                    uid,
                    name,
                    due,
                    store,
                    version: "1".into(),
                    ..ChildFact::default()
                });
                self.world.children.sort_by_key(|child| child.due);
            }
            Write::Status(status) => self.schedule.status = Some(status.as_ref().clone()),
            Write::Delete(gone) => {
                let seen = self.world.children.iter_mut().find(|child| child.uid == gone.uid);
                let child = seen.expect("it is there");
                let is_named = self.schedule.status.as_ref().and_then(|s| s.last_success.as_ref()).map(|s| &s.name);
                assert_ne!(is_named, Some(&child.name), "the only proof of a good copy is deleted");
                child.deleting = true;
            }
            Write::Tell(_) => {}
            Write::Claim(ClaimWrite::TakeLock(_)) => {
                assert_eq!(self.claim.lock, Lock::Free);
                self.claim.lock = Lock::Ours;
            }
            Write::Claim(ClaimWrite::GiveBack(_)) => {
                assert!(self.claim.job.is_none() && !matches!(self.claim.lock, Lock::Theirs { .. }));
                self.claim.lock = Lock::Free;
            }
            Write::Claim(ClaimWrite::Prune(task)) => {
                assert!(self.claim.job.is_none() && self.claim.lock == Lock::Ours, "without the lock");
                assert_eq!(self.status().pruning.unwrap().removable, task.remove, "it was not said before");
                self.claim.made += 1;
                let name = format!("nightly-prune-{}", self.claim.made);
                let uid = format!("uid-of-{name}");
                let (phase, report) = (JobPhase::Active, None);
                let job = PruneJob { name, uid, phase, deleting: false, alive: true, report };
                self.claim.job = Some((job, task.as_ref().clone()));
            }
            Write::Claim(ClaimWrite::DeleteJob(_)) => self.claim.job = None,
        }
    }

    /// The prune Job does its work, by the files alone, and ends. Returns what it removed.
    pub(super) fn prunes(&mut self) -> Vec<String> {
        let Some((job, task)) = self.claim.job.as_mut().filter(|(job, _)| job.phase == JobPhase::Active) else {
            return Vec::new();
        };
        let good = |folder: &String, verdict: &String| is_good(verdict) && !task.not_good.contains(folder);
        let known = self.claim.folders.iter();
        let known = known
            .map(|(folder, verdict)| Generation { due: due_of_stamp(folder).unwrap(), good: good(folder, verdict) });
        let known: Vec<Generation> = known.collect();
        let in_use = task.in_use.iter().filter_map(|folder| due_of_stamp(folder)).collect();
        let gone: Vec<String> = prune(&task.keep, &k8s_openapi::jiff::tz::TimeZone::UTC, &known, &in_use, self.now)
            .into_iter()
            .map(stamp)
            .collect();
        let mut report = PruneReport { schema: 1, ..PruneReport::default() };
        for folder in &task.remove {
            if !self.claim.folders.contains_key(folder) || gone.contains(folder) {
                self.claim.folders.remove(folder);
                report.removed.push(folder.clone());
            } else {
                report.kept.push(Kept { folder: folder.clone(), why: "the files say so".into() });
            }
        }
        let found = self.claim.folders.iter().filter(|(folder, _)| !task.known.contains(folder));
        report.found = found
            .map(|(folder, state)| FoundGeneration {
                folder: folder.clone(),
                state: state.clone(),
                ..FoundGeneration::default()
            })
            .collect();
        (job.phase, job.alive, job.report) = (JobPhase::Complete, false, Some(report.clone()));
        report.removed
    }

    /// The prune Job fails without a word.
    pub(super) fn fails_to_prune(&mut self) {
        if let Some((job, _)) = self.claim.job.as_mut().filter(|(job, _)| job.phase == JobPhase::Active) {
            (job.phase, job.alive) = (JobPhase::Failed("DeadlineExceeded".into()), false);
        }
    }

    /// Looks until nothing is left to do, each time carrying out all.
    pub(super) fn settle(&mut self) -> Plan {
        for _ in 0..20 {
            let plan = self.look();
            if plan.writes.is_empty() {
                return plan;
            }
            plan.writes.iter().for_each(|write| self.carry_out(write));
            // What is deleted and has nothing that works is gone by the next look.
            self.world.children.retain(|child| !child.deleting || child.ended.is_none());
        }
        panic!("it writes again and again: {:#?}", self.look().writes);
    }

    pub(super) fn comes_to(&mut self, time: &str) -> Plan {
        self.now = at(time);
        self.settle()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.world.children.iter().map(|child| child.name.as_str()).collect()
    }

    /// The newest child ends that has not, or else the newest.
    pub(super) fn ends(&mut self, succeeded: bool) {
        let now = self.now;
        let children = &mut self.world.children;
        let at = children.iter().rposition(|child| child.ended.is_none()).unwrap_or(children.len() - 1);
        let child = &mut children[at];
        child.ended = Some(end(succeeded, now));
        child.version = "2".into();
        if let Some(verdict) = self.claim.folders.get_mut(&stamp(child.due)) {
            *verdict = child.ended.clone().unwrap().reason;
        }
    }

    /// What a condition says: status and reason.
    pub(super) fn said(&self, kind: &str) -> (String, String) {
        let status = self.status();
        let found = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone())
    }
}

pub(super) fn end(succeeded: bool, now: Timestamp) -> EndFact {
    let success = LastSuccess {
        time: Some(Time(now)),
        records: 10,
        bytes: 4096,
        fingerprint: "f00d".into(),
        ..LastSuccess::default()
    };
    EndFact {
        succeeded,
        reason: if succeeded { "Verified" } else { "VerificationFailed" }.into(),
        message: "as it ended".into(),
        success: succeeded.then_some(success),
    }
}

/// What a plan writes, in words.
pub(super) fn words(plan: &Plan) -> Vec<String> {
    let word = |write: &Write| match write {
        Write::Create(migration) => format!("create {}", migration.metadata.name.as_deref().unwrap()),
        Write::Status(_) => "status".into(),
        Write::Delete(child) => format!("delete {}", child.name),
        Write::Tell(notice) => format!("tell {}", notice.reason),
        Write::Claim(ClaimWrite::TakeLock(_)) => "take lock".into(),
        Write::Claim(ClaimWrite::GiveBack(_)) => "give back lock".into(),
        Write::Claim(ClaimWrite::Prune(task)) => format!("prune {}", task.remove.join(" ")),
        Write::Claim(ClaimWrite::DeleteJob(job)) => format!("delete job {}", job.name),
    };
    plan.writes.iter().map(word).collect()
}

/// A Job with this name of a migration on it.
pub(super) fn job_of(migration: &str) -> Job {
    let mut job = Job::default();
    job.metadata.annotations = Some([("memory-migration.dev/name".to_owned(), migration.to_owned())].into());
    job
}
