//! Schedules: what a look decides, by table and by property. Time, children and what the process does to writes are made
//! here; the writes are carried out as an API server would.

mod process;
mod property;
mod table;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use memory_migration_operator::api::schedule::status::MemoryMigrationScheduleStatus;
use memory_migration_operator::api::{LastSuccess, MemoryMigrationSchedule, parse_schedule};
use memory_migration_operator::controller::schedule::plan::{Plan, Write, plan};
use memory_migration_operator::controller::schedule::world::{ChildFact, EndFact, Look, World};

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

/// A schedule, what there is of its migrations, and the time.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) schedule: MemoryMigrationSchedule,
    pub(super) world: World,
    pub(super) now: Timestamp,
}

impl Case {
    pub(super) fn new(lines: &str) -> Self {
        Self { schedule: schedule(lines), world: World::default(), now: at(CREATED) }
    }

    pub(super) fn look(&self) -> Plan {
        plan(&Look { schedule: &self.schedule, world: &self.world, now: self.now })
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
                self.world.children.push(ChildFact { uid, name, due, version: "1".into(), ..ChildFact::default() });
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

    /// The newest child ends.
    pub(super) fn ends(&mut self, succeeded: bool) {
        let now = self.now;
        let child = self.world.children.last_mut().unwrap();
        child.ended = Some(end(succeeded, now));
        child.version = "2".into();
    }

    /// What a condition says: status and reason.
    pub(super) fn said(&self, kind: &str) -> (String, String) {
        let status = self.status();
        let found = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone())
    }
}

pub(super) fn end(succeeded: bool, now: Timestamp) -> EndFact {
    let success =
        LastSuccess { time: Some(Time(now)), records: 10, fingerprint: "f00d".into(), ..LastSuccess::default() };
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
    };
    plan.writes.iter().map(word).collect()
}

/// A Job with this name of a migration on it.
pub(super) fn job_of(migration: &str) -> Job {
    let mut job = Job::default();
    job.metadata.annotations = Some([("memory-migration.dev/name".to_owned(), migration.to_owned())].into());
    job
}
