//! Speaking builders for migrations and for what is observed of them. No assertions of its own.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use memory_migration_operator::api::conditions::{Reason, agreed_reason};
use memory_migration_operator::api::{MemoryMigration, MemoryMigrationStatus, PodTemplate, parse_manifest};
use memory_migration_operator::controller::build::job;
use memory_migration_operator::controller::observe::facts;
use memory_migration_operator::controller::observe::world::{
    Cause, Endpoint, Handle, JobFact, JobPhase, Lock, LogFact, PodFact, Trouble, UserFact, World,
};
use memory_migration_operator::controller::plan::lock;
use memory_migration_operator::controller::plan::look::Look;
use memory_migration_operator::controller::plan::notices::Notice;
use memory_migration_operator::controller::plan::{self, Asked, Outcome, PauseChange, Plan, Refusal, Write};
use memory_migration_operator::controller::{Platform, Settings};
use memory_migration_operator::report::evidence;
use memory_migration_operator::report::{self, Counts, Progress, SCHEMA, Stage, Summary, Verdict};

pub(crate) const UID: &str = "11111111-2222-3333-4444-555555555555";

pub(crate) fn settings() -> Settings {
    Settings {
        runner_image: "memory-migration:1".into(),
        chroma_image: "chromadb/chroma:1.5.9".into(),
        scratch_limit: "10Gi".into(),
        platform: Platform::Kubernetes,
        pod_template: PodTemplate::default(),
        report_config_map: true,
    }
}

pub(crate) fn at(second: i64) -> Time {
    Time(Timestamp::from_second(1_700_000_000 + second).unwrap())
}

/// An object as the API server returns it.
pub(crate) fn object(source: &str, target: &str, more: &str) -> MemoryMigration {
    let yaml = format!(
        "apiVersion: memory-migration.dev/v1alpha1\nkind: MemoryMigration\nmetadata: {{name: move, namespace: team}}\n\
         spec:\n  source: {source}\n  target: {target}\n{more}"
    );
    let mut migration = parse_manifest(&yaml).unwrap();
    migration.metadata.uid = Some(UID.into());
    migration.metadata.generation = Some(1);
    migration
}

/// A migration with all that is observed of it, at one moment.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) migration: MemoryMigration,
    pub(crate) world: World,
    pub(crate) now: i64,
    /// The text of the report's `ConfigMap`.
    pub(crate) report: Option<String>,
}

impl Case {
    /// From a claim to a Service; both are there.
    pub(crate) fn to_server() -> Self {
        let source = "{local: {claimName: dev, path: chroma_db}}";
        let target = "{remote: {service: {name: chroma, namespace: prod}}}";
        Self::of(object(source, target, ""))
    }

    /// From a Service to a claim; both are there.
    pub(crate) fn to_claim() -> Self {
        let source = "{remote: {service: {name: chroma}}}";
        let target = "{local: {claimName: prod, path: chroma_db}}";
        Self::of(object(source, target, ""))
    }

    pub(crate) fn of(migration: MemoryMigration) -> Self {
        let found = |uid: &str| Endpoint::Found { uid: uid.into(), one_node: true, one_pod: false };
        let world = World { source: found("source-uid"), target: found("target-uid"), ..World::default() };
        Self { migration, world, now: 0, report: None }
    }

    pub(crate) fn edit(mut self, edit: impl FnOnce(&mut MemoryMigration)) -> Self {
        edit(&mut self.migration);
        self.migration.metadata.generation = self.migration.metadata.generation.map(|g| g + 1);
        self
    }

    pub(crate) fn see(mut self, see: impl FnOnce(&mut World)) -> Self {
        see(&mut self.world);
        self
    }

    pub(crate) fn later(mut self, seconds: i64) -> Self {
        self.now += seconds;
        self
    }

    pub(crate) fn hash(&self) -> String {
        self.migration.spec.run_hash()
    }

    pub(crate) fn job_name(&self, attempt: i32) -> String {
        job::name("move", UID, &self.hash(), attempt)
    }

    pub(crate) fn lock_name(&self) -> String {
        lock::of_target(&self.migration.spec, "team").unwrap()
    }

    /// With this one look and what is decided on it.
    fn look<T>(&self, decide: impl FnOnce(&Look<'_>) -> T) -> T {
        let (settings, now) = (settings(), at(self.now));
        decide(&Look::new(&self.migration, &self.world, &settings, &now))
    }

    /// What is planned on what is seen now.
    pub(crate) fn plan_once(&self) -> Plan {
        self.look(plan::plan)
    }

    /// What is planned when the API server does not take the Job; 409: one of somebody else has its name.
    pub(crate) fn refused(&self, code: Option<u16>, why: &str) -> Plan {
        let refusal = Refusal { what: "Job team/move-1".into(), code, why: why.into(), ..Refusal::default() };
        self.refusal(&Refusal { in_the_way: code == Some(409), ..refusal })
    }

    /// What is planned when the API server refuses this.
    pub(crate) fn refusal(&self, refusal: &Refusal) -> Plan {
        self.look(|look| plan::refused(look, refusal))
    }

    /// What is planned when the API server refuses this write.
    pub(crate) fn refused_write(&self, write: &Write, code: u16) -> Plan {
        self.refusal(&refusal_of(write, code))
    }

    /// All that one reconcile writes: it looks again after it has taken a lock.
    pub(crate) fn plan(&self) -> Plan {
        let mut case = self.clone();
        let mut all = Plan::default();
        for _ in 0..4 {
            let plan = case.plan_once();
            all.writes.extend(plan.writes.iter().cloned());
            (all.requeue, all.pause, all.again) = (plan.requeue, plan.pause.clone(), false);
            if !plan.again {
                return all;
            }
            case = case.after(&plan);
        }
        panic!("it looks again and again: {all:?}");
    }

    /// The plan is carried out: its status is in the object, its Job and lock are there.
    pub(crate) fn done(self) -> Self {
        let plan = self.plan();
        self.after(&plan)
    }

    pub(crate) fn after(mut self, plan: &Plan) -> Self {
        let mut created = None;
        for write in &plan.writes {
            match write {
                Write::Delete(gone) => self.world.jobs.retain(|job| job.name != gone.name),
                other => self.write(other, &mut created),
            }
        }
        self.remember(&plan.pause);
        self
    }

    /// One write that the API server takes. `created`: the Job that was made just before.
    pub(crate) fn write(&mut self, write: &Write, created: &mut Option<String>) {
        let world = &mut self.world;
        match write {
            Write::BreakLock(_) => world.lock = Lock::Free,
            Write::TakeLock(name) => {
                world.held.push(Handle { name: name.clone(), uid: format!("uid-of-{name}") });
                world.lock = Lock::Ours;
            }
            Write::Create(job) => {
                let fact = JobFact { created: at(self.now).0.as_second(), ..facts::job(job, &[]) };
                let uid = format!("uid-of-{}", fact.name);
                world.jobs.push(JobFact { uid: uid.clone(), ..fact });
                *created = Some(uid);
            }
            Write::Status(told) => {
                let mut status = told.status.clone();
                if let Some(uid) = created {
                    status.job_uid.clone_from(uid);
                }
                self.migration.status = Some(status);
            }
            Write::Delete(gone) => {
                world.jobs.iter_mut().filter(|job| job.uid == gone.uid).for_each(|job| {
                    (job.deleting, job.deleted_at) = (true, Some(at(self.now).0.as_second()));
                });
            }
            Write::Ttl(handle, seconds) => {
                world.jobs.iter_mut().filter(|job| job.uid == handle.uid).for_each(|job| job.ttl = *seconds);
            }
            Write::GiveBack(lease) => {
                world.held.retain(|held| held != lease);
                if world.held.is_empty() && world.lock == Lock::Ours {
                    world.lock = Lock::Free;
                }
            }
            Write::Report(map) => self.report = map.data.as_ref().and_then(|data| data.get("report.json").cloned()),
            Write::Tell(_) => {}
        }
    }

    /// What the process keeps between two looks.
    pub(crate) fn remember(&mut self, pause: &PauseChange) {
        match pause {
            PauseChange::Keep => {}
            PauseChange::Set(pause) if pause.cause == Cause::NotDeleted => {
                self.world.deletions.insert(pause.job.clone(), pause.clone());
            }
            PauseChange::Set(pause) => self.world.pause = Some(pause.clone()),
            PauseChange::Clear => self.world.pause = None,
        }
    }

    /// Started: the Job of the first attempt is there, and no pod yet.
    pub(crate) fn started(self) -> Self {
        self.done()
    }

    /// Started, and its pod runs.
    pub(crate) fn running(self) -> Self {
        let case = self.started();
        let pod = pod_fact(&case.world.jobs[0].name);
        case.see(|o| o.pods.push(pod))
    }

    pub(crate) fn at_stage(self, stage: Stage, records: u64, total: u64) -> Self {
        let percent = u8::try_from(records * 100 / total.max(1)).unwrap();
        let whole = Progress { done: records, of: total, percent, ..Progress::default() };
        let progress = Progress { stage, records, total, records_per_second: 10.0, eta_seconds: Some(3), ..whole };
        self.see(|o| o.log = Some(LogFact { progress: Some(progress), ..LogFact::default() }))
    }

    /// The pod ends with this exit code and summary, and its Job with this word; None: the Job tries again.
    pub(crate) fn ended(self, exit: i32, summary: Option<Summary>, job: Option<JobPhase>) -> Self {
        self.see(|o| {
            let pod = o.pods.last_mut().unwrap();
            (pod.alive, pod.succeeded) = (false, exit == 0);
            pod.exit = (exit != 0).then_some(exit);
            pod.summary = summary;
            if let Some(phase) = job {
                o.jobs[0].phase = phase;
            }
        })
    }

    pub(crate) fn succeeded(self, reason: report::Reason) -> Self {
        let summary = summary(&self.hash(), reason);
        self.ended(0, Some(summary), Some(JobPhase::Complete))
    }

    /// As `succeeded`, and the log holds this report.
    pub(crate) fn succeeded_with(self, report: &str) -> Self {
        let (summary, log) = with_report(summary(&self.hash(), report::Reason::Verified), report);
        self.ended(0, Some(summary), Some(JobPhase::Complete)).see(|o| o.log = Some(log))
    }

    pub(crate) fn failed_for_good(self, exit: i32, reason: report::Reason) -> Self {
        let summary = summary(&self.hash(), reason);
        self.ended(exit, Some(summary), Some(JobPhase::Failed("PodFailurePolicy".into())))
    }

    pub(crate) fn trouble(self, reason: Reason, message: &str) -> Self {
        let trouble = Trouble { reason, message: message.into() };
        self.see(|o| {
            let pod = o.pods.last_mut().unwrap();
            pod.started = false;
            pod.trouble = Some(trouble);
        })
    }

    pub(crate) fn used_by(self, pod: &str, claim: &str) -> Self {
        let user = UserFact { pod: pod.into(), claim: claim.into(), running: true, ..UserFact::default() };
        self.see(|o| o.users.push(user))
    }
}

/// This write is refused; 409 of a Job: one of somebody else has its name.
pub(crate) fn refusal_of(write: &Write, code: u16) -> Refusal {
    let (asked, what, uid) = match write {
        Write::Delete(job) => (Asked::Stop, format!("Job team/{}", job.name), job.uid.clone()),
        Write::GiveBack(lease) => (Asked::GiveBack, format!("Lease operator/{}", lease.name), lease.uid.clone()),
        Write::BreakLock(lease) => (Asked::Lock, format!("Lease operator/{}", lease.name), lease.uid.clone()),
        Write::TakeLock(name) => (Asked::Lock, format!("Lease operator/{name}"), String::new()),
        _ => (Asked::Job, "Job team/move-1".into(), String::new()),
    };
    let in_the_way = asked == Asked::Job && code == 409;
    Refusal { asked, what, uid, code: Some(code), why: "the server's words".into(), in_the_way }
}

pub(crate) fn pod_fact(job: &str) -> PodFact {
    PodFact {
        name: format!("{job}-abcde"),
        job: job.into(),
        job_uid: format!("uid-of-{job}"),
        created: 1,
        alive: true,
        succeeded: false,
        started: true,
        summary: None,
        exit: None,
        trouble: None,
        cause: None,
        speaker: Some("mover"),
        ended: None,
    }
}

/// What a runner leaves that ended for this reason, with 10 records.
pub(crate) fn summary(hash: &str, reason: report::Reason) -> Summary {
    let (verdict, counts) = match reason {
        report::Reason::Verified => {
            (Verdict::Succeeded, Counts { verified: 10, target_after: 10, ..Counts::default() })
        }
        report::Reason::VerifiedWithSkips => (
            Verdict::Succeeded,
            Counts { verified: 7, conflicts_skipped: 2, duplicates: 1, target_after: 9, ..Counts::default() },
        ),
        report::Reason::CountsVerified => (Verdict::Succeeded, Counts::default()),
        report::Reason::DryRunCompleted => (Verdict::DryRun, Counts { copied: 10, ..Counts::default() }),
        _ => (Verdict::Failed, Counts::default()),
    };
    Summary {
        schema: SCHEMA,
        run_hash: hash.into(),
        verdict,
        reason,
        message: format!("the runner says {}", reason.as_str()),
        counts: Counts { source: 10, ..counts },
        verification: report::Verification::default(),
        fingerprint: "f00d".into(),
        max_ulps: 1,
        target_bytes: None,
        report: None,
    }
}

/// The verdict of a runner that wrote this report into its log, and that log.
pub(crate) fn with_report(summary: Summary, text: &str) -> (Summary, LogFact) {
    let parts = evidence::lines(text).into_iter().map(|line| match line {
        report::Line::Report { number, part, .. } => (number, part),
        other => panic!("{other:?}"),
    });
    let log = LogFact { parts: parts.collect(), ..LogFact::default() };
    (Summary { report: Some(evidence::Digest::of(text)), ..summary }, log)
}

/// The reason that a status shows; panics where its conditions contradict each other.
pub(crate) fn reason_of(status: &MemoryMigrationStatus) -> Reason {
    agreed_reason(&status.conditions).unwrap()
}

/// What a plan holds, by kind.
pub(crate) trait Planned {
    fn status(&self) -> Option<MemoryMigrationStatus>;
    fn create(&self) -> Option<Job>;
    fn outcome(&self) -> Option<Outcome>;
    fn ttl(&self) -> Option<(Handle, Option<i32>)>;
    fn break_lock(&self) -> Option<Handle>;
    fn take_lock(&self) -> Option<String>;
    fn release(&self) -> Vec<String>;
    fn delete(&self) -> Vec<Handle>;
    fn notices(&self) -> Vec<Notice>;
}

impl Planned for Plan {
    fn status(&self) -> Option<MemoryMigrationStatus> {
        self.writes.iter().find_map(|w| if let Write::Status(told) = w { Some(told.status.clone()) } else { None })
    }
    fn create(&self) -> Option<Job> {
        self.writes.iter().find_map(|w| if let Write::Create(job) = w { Some(job.as_ref().clone()) } else { None })
    }
    fn outcome(&self) -> Option<Outcome> {
        self.writes.iter().find_map(|w| if let Write::Status(told) = w { told.outcome.clone() } else { None })
    }
    fn ttl(&self) -> Option<(Handle, Option<i32>)> {
        self.writes.iter().find_map(|w| if let Write::Ttl(job, ttl) = w { Some((job.clone(), *ttl)) } else { None })
    }
    fn break_lock(&self) -> Option<Handle> {
        self.writes.iter().find_map(|w| if let Write::BreakLock(lease) = w { Some(lease.clone()) } else { None })
    }
    fn take_lock(&self) -> Option<String> {
        self.writes.iter().find_map(|w| if let Write::TakeLock(name) = w { Some(name.clone()) } else { None })
    }
    fn release(&self) -> Vec<String> {
        let given = self.writes.iter();
        given.filter_map(|w| if let Write::GiveBack(lease) = w { Some(lease.name.clone()) } else { None }).collect()
    }
    fn delete(&self) -> Vec<Handle> {
        let gone = self.writes.iter();
        gone.filter_map(|w| if let Write::Delete(job) = w { Some(job.clone()) } else { None }).collect()
    }
    fn notices(&self) -> Vec<Notice> {
        let told = self.writes.iter();
        told.filter_map(|w| if let Write::Tell(notice) = w { Some(notice.clone()) } else { None }).collect()
    }
}

/// The reason that the plan writes.
pub(crate) fn reason(plan: &Plan) -> Reason {
    reason_of(&plan.status().expect("the plan must write a status"))
}

/// The message that the plan writes.
pub(crate) fn message(plan: &Plan) -> String {
    plan.status().unwrap().conditions[0].message.clone()
}
