//! Speaking builders for migrations and for what is observed of them. No assertions of its own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use memory_migration_operator::api::conditions::{Reason, agreed_reason};
use memory_migration_operator::api::{MemoryMigration, MemoryMigrationStatus, parse_manifest};
use memory_migration_operator::controller::observed::{
    Endpoint, JobFact, JobPhase, Lock, LogFact, Observed, PodFact, Trouble, UserFact,
};
use memory_migration_operator::controller::plan::{Plan, plan};
use memory_migration_operator::controller::{Platform, Settings, job};
use memory_migration_operator::report::{self, Counts, Progress, SCHEMA, Stage, Summary, Verdict};

pub(crate) const UID: &str = "11111111-2222-3333-4444-555555555555";

pub(crate) fn settings() -> Settings {
    Settings {
        runner_image: "memory-migration:1".into(),
        chroma_image: "chromadb/chroma:1.5.9".into(),
        scratch_limit: "10Gi".into(),
        platform: Platform::Kubernetes,
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
    pub(crate) observed: Observed,
    pub(crate) now: i64,
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
        let observed = Observed { source: found("source-uid"), target: found("target-uid"), ..Observed::default() };
        Self { migration, observed, now: 0 }
    }

    pub(crate) fn edit(mut self, edit: impl FnOnce(&mut MemoryMigration)) -> Self {
        edit(&mut self.migration);
        self.migration.metadata.generation = self.migration.metadata.generation.map(|g| g + 1);
        self
    }

    pub(crate) fn see(mut self, see: impl FnOnce(&mut Observed)) -> Self {
        see(&mut self.observed);
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

    pub(crate) fn plan(&self) -> Plan {
        plan(&self.migration, &self.observed, &settings(), &at(self.now))
    }

    /// The plan is carried out: its status is in the object, its Job and lock are there.
    pub(crate) fn done(mut self) -> Self {
        let plan = self.plan();
        if let Some(status) = plan.status {
            self.migration.status = Some(*status);
        }
        self.observed.jobs.retain(|job| !plan.delete.iter().any(|gone| gone.name == job.name));
        if let Some(job) = plan.create {
            self.observed.jobs.push(job_fact(&job.metadata.name.clone().unwrap(), &self.hash()));
            self.observed.lock = Lock::Ours;
            self.observed.held.extend(plan.take_lock);
        }
        self.observed.held.retain(|held| !plan.release.contains(held));
        self
    }

    /// Started: the Job of the first attempt is there, and no pod yet.
    pub(crate) fn started(self) -> Self {
        self.done()
    }

    /// Started, and its pod runs.
    pub(crate) fn running(self) -> Self {
        let case = self.started();
        let pod = pod_fact(&case.observed.jobs[0].name);
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
            pod.alive = false;
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

pub(crate) fn job_fact(name: &str, run: &str) -> JobFact {
    JobFact {
        name: name.into(),
        uid: format!("uid-of-{name}"),
        run: run.into(),
        phase: JobPhase::Active,
        deleting: false,
        ttl: None,
        failed: 0,
        failed_before: 0,
        pin: None,
        trouble: None,
    }
}

pub(crate) fn pod_fact(job: &str) -> PodFact {
    PodFact {
        name: format!("{job}-abcde"),
        job: job.into(),
        created: 1,
        alive: true,
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
        report::Reason::Verified => (Verdict::Succeeded, Counts { verified: 10, ..Counts::default() }),
        report::Reason::VerifiedWithSkips => {
            (Verdict::Succeeded, Counts { verified: 7, conflicts_skipped: 2, duplicates: 1, ..Counts::default() })
        }
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
        fingerprint: "f00d".into(),
        max_ulps: 1,
    }
}

/// The reason that a status shows; panics where its conditions contradict each other.
pub(crate) fn reason_of(status: &MemoryMigrationStatus) -> Reason {
    agreed_reason(&status.conditions).unwrap()
}

/// The reason that the plan writes.
pub(crate) fn reason(plan: &Plan) -> Reason {
    reason_of(plan.status.as_ref().expect("the plan must write a status"))
}

/// The message that the plan writes.
pub(crate) fn message(plan: &Plan) -> String {
    plan.status.as_ref().unwrap().conditions[0].message.clone()
}
