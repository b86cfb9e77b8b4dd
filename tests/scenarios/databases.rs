//! The lock of a run over `databases` beside those of runs of one database: neither starts beside the other, in whatever
//! order both act, and none waits for ever.

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use memory_migration_operator::api::conditions::Reason;
use memory_migration_operator::api::{MemoryMigration, Mode};
use memory_migration_operator::controller::observe::world::{Cause, Lock};
use memory_migration_operator::controller::plan::{Plan, Write, lock};
use serde_json::json;

use super::fixtures::*;
use super::mock::*;

const SOURCE: &str = "{local: {claimName: dev, path: chroma_db}}";
const TARGET: &str = "{remote: {service: {name: chroma, namespace: prod}}}";

fn over(databases: &str) -> MemoryMigration {
    object(SOURCE, TARGET, &format!("  databases: {databases}"))
}

fn of_one(database: &str) -> MemoryMigration {
    object(SOURCE, &TARGET.replace("}}}", &format!("}}, database: {database}}}}}")), "")
}

fn lease(migration: &MemoryMigration) -> Lease {
    lock::lease(migration, &lock::of_target(&migration.spec, "team").unwrap())
}

fn sees_rival(migration: MemoryMigration, lock: Lock) -> Case {
    Case::of(migration).see(|world| {
        world.lock = lock;
        world.rival = Some("MemoryMigration team/other".into());
    })
}

#[test]
fn a_tenants_lock_and_its_databases_locks_exclude_each_other_and_no_others() {
    let (all, blue, green) = (over("[\"*\"]"), of_one("blue"), of_one("green"));
    let elsewhere = object(SOURCE, "{remote: {service: {name: other, namespace: prod}}}", "");
    let of_tenant = object(SOURCE, "{remote: {service: {name: chroma, namespace: prod}, tenant: team-a}}", "");
    let label = |migration: &MemoryMigration| lock::beside_target(&migration.spec, "team").unwrap();
    // what is not listed by the label cannot be seen
    assert_eq!(label(&all), label(&blue));
    assert!(label(&all) != label(&elsewhere) && label(&all) != label(&of_tenant));
    let found = lease(&blue);
    let (key, value) = (label(&all), found.labels());
    let (key, hash) = key.split_once('=').unwrap();
    assert_eq!(value.get(key).map(String::as_str), Some(hash));
    let excludes = |lease: &Lease, of: &MemoryMigration| lock::excludes(lease, &of.spec, "team");
    assert!(excludes(&lease(&all), &blue) && excludes(&lease(&blue), &all));
    assert!(!excludes(&lease(&blue), &green), "two databases of a tenant are written at once");
    assert!(!excludes(&lease(&all), &over("[blue, green]")), "one name: the lock itself keeps two such runs apart");
    assert_eq!(lease(&all).name_any(), lease(&over("[blue, green]")).name_any());
    assert!(lock::beside_target(&object(SOURCE, "{local: {claimName: prod}}", "").spec, "team").is_none());
}

#[test]
fn a_source_that_a_run_over_databases_writes_is_waited_for() {
    let reads = |of: &str| {
        let more = if of.is_empty() { "  databases: [\"*\"]".to_owned() } else { String::new() };
        let of = if of.is_empty() { String::new() } else { format!(", database: {of}") };
        let source = format!("{{remote: {{service: {{name: chroma, namespace: prod}}{of}}}}}");
        object(&source, "{local: {claimName: backup}}", &more).spec
    };
    let writes = |of: &MemoryMigration, reader: &str| lock::writes_source(&lease(of), &reads(reader), "team");
    assert!(writes(&over("[\"*\"]"), "blue") && writes(&over("[\"*\"]"), "") && writes(&of_one("blue"), ""));
    assert!(!writes(&of_one("green"), "blue"), "another database of the tenant");
    assert_eq!(lock::beside_source(&reads("blue"), "team"), lock::beside_target(&over("[x]").spec, "team"));
}

#[test]
fn a_run_of_one_database_gives_way_and_a_run_over_databases_keeps_its_lock_and_waits() {
    // before it took its own lock there is nothing to give back
    let plan = sees_rival(of_one("blue"), Lock::Free).plan();
    assert_eq!(reason(&plan), Reason::TargetBusy);
    assert!(message(&plan).starts_with("MemoryMigration team/other writes databases of this target's tenant"));
    assert!(plan.take_lock().is_none() && plan.create().is_none());

    let mut blue = sees_rival(of_one("blue"), Lock::Ours);
    blue.write(&Write::TakeLock(blue.lock_name()), &mut None);
    let plan = blue.plan();
    assert_eq!((reason(&plan), plan.release()), (Reason::TargetBusy, vec![blue.lock_name()]));
    assert!(plan.create().is_none());
    let after = blue.after(&plan);
    assert_eq!(after.world.pause.as_ref().map(|pause| pause.cause), Some(Cause::GaveWay));

    // its own lock first: only what is listed afterwards counts
    let all = sees_rival(over("[\"*\"]"), Lock::Free);
    let first = all.plan_once();
    assert_eq!((first.take_lock(), first.again), (Some(all.lock_name()), true));
    let held = all.after(&first);
    let plan = held.plan();
    assert_eq!(reason(&plan), Reason::TargetBusy);
    assert!(message(&plan).starts_with("MemoryMigration team/other writes a database of this target's tenant"));
    assert!(plan.create().is_none() && plan.release().is_empty(), "{plan:?}");
    assert!(plan.requeue.is_some());
    let free = held.after(&plan).see(|world| world.rival = None);
    assert!(free.plan().create().is_some());
}

/// Somebody deleted its Lease while it ran, and a run of one of its databases has begun since: it gives way.
#[test]
fn a_run_that_lost_its_lock_to_one_that_excludes_it_is_stopped() {
    for migration in [over("[\"*\"]"), of_one("blue")] {
        let case = Case::of(migration).running();
        let alone = case.clone().see(|world| (world.lock = Lock::Free, world.held.clear()).1);
        assert_eq!(alone.plan().take_lock(), Some(alone.lock_name()), "with no other it takes its lock again");
        let beside = alone.see(|world| world.rival = Some("MemoryMigration team/other".into()));
        let plan = beside.plan();
        assert_eq!((reason(&plan), plan.delete().len()), (Reason::TargetBusy, 1));
        assert!(plan.take_lock().is_none(), "{plan:?}");
    }
}

/// A verification takes no lock, and reads nothing that is being written.
#[test]
fn a_verification_waits_beside_a_rival_without_a_lock() {
    for migration in [over("[\"*\"]"), of_one("blue")] {
        let case = sees_rival(migration, Lock::Free).edit(|m| m.spec.mode = Mode::Verify);
        let plan = case.plan();
        assert_eq!(reason(&plan), Reason::TargetBusy);
        assert!(plan.take_lock().is_none() && plan.create().is_none(), "{plan:?}");
        assert!(case.see(|world| world.rival = None).plan().create().is_some());
    }
}

/// Objects that share the API server's Leases.
struct Leases {
    cases: Vec<Case>,
    leases: Vec<(usize, Lease)>,
}

impl Leases {
    fn new(migrations: [MemoryMigration; 3]) -> Self {
        let cases = migrations.into_iter().enumerate().map(|(n, mut migration)| {
            migration.metadata.uid = Some(format!("uid-{n}"));
            Case::of(migration)
        });
        Self { cases: cases.collect(), leases: Vec::new() }
    }

    /// One object looks at everything and carries out what it decides.
    fn step(&mut self, n: usize, second: i64) {
        let case = &mut self.cases[n];
        case.now = second;
        let spec = case.migration.spec.clone();
        let own = lock::of_target(&spec, "team").unwrap();
        let holder = self.leases.iter().find(|(_, lease)| lease.name_any() == own).map(|(holder, _)| *holder);
        case.world.lock = match holder {
            Some(holder) if holder == n => Lock::Ours,
            Some(holder) => Lock::Theirs { holder: format!("MemoryMigration team/{holder}") },
            None => Lock::Free,
        };
        let rival = self.leases.iter().find(|(holder, lease)| *holder != n && lock::excludes(lease, &spec, "team"));
        case.world.rival = rival.map(|(holder, _)| format!("MemoryMigration team/{holder}"));
        let plan: Plan = case.plan_once();
        let mut refused = false;
        for write in &plan.writes {
            match write {
                Write::TakeLock(name) if self.leases.iter().any(|(_, lease)| lease.name_any() == *name) => {
                    refused = true;
                }
                Write::TakeLock(name) => self.leases.push((n, lock::lease(&case.migration, name))),
                Write::GiveBack(gone) => self.leases.retain(|(_, lease)| lease.name_any() != gone.name),
                _ => {}
            }
        }
        if !refused {
            self.cases[n] = self.cases[n].clone().after(&plan);
        }
    }

    fn works(&self, n: usize) -> bool {
        self.cases[n].world.present().next().is_some()
    }

    /// The run is over, its Job is gone and its lock given back; `suspend`: no other one follows.
    fn rest(&mut self, n: usize, suspend: bool) {
        self.leases.retain(|(holder, _)| *holder != n);
        let mut migration = self.cases[n].migration.clone();
        (migration.status, migration.spec.suspend) = (None, suspend);
        self.cases[n] = Case::of(migration);
    }
}

#[test]
fn whatever_the_order_a_tenant_and_its_database_are_never_written_at_once_and_both_get_their_turn() {
    const STEPS: u32 = 6;
    for schedule in 0..3_u32.pow(STEPS) {
        let mut server = Leases::new([over("[\"*\"]"), of_one("blue"), of_one("green")]);
        let order = (0..STEPS).map(|step| (schedule / 3_u32.pow(step) % 3) as usize);
        for (second, n) in order.enumerate() {
            server.step(n, i64::try_from(second).unwrap());
            let [all, blue, green] = [0, 1, 2].map(|n| server.works(n));
            assert!(!(all && (blue || green)), "schedule {schedule}: written at once");
        }
        // the tenant's turn comes as soon as those that work have ended
        for second in 100..110 {
            for n in [1, 2] {
                if server.works(n) {
                    server.rest(n, true);
                }
                server.step(n, second);
            }
            server.step(0, second);
        }
        assert!(server.works(0), "schedule {schedule}: the run over databases waits for ever");
        server.rest(0, true);
        server.rest(1, false);
        for second in 500..504 {
            server.step(0, second);
            server.step(1, second);
        }
        assert!(server.works(1), "schedule {schedule}: the run of one database waits for ever");
    }
}

/// What the controller asks of an API server, whose Leases it lists after its own was created.
#[tokio::test]
async fn a_run_over_databases_lists_the_locks_after_its_own_and_waits_with_it() {
    let case = Case::of(over("[\"*\"]"));
    let mut other = of_one("blue");
    (other.metadata.name, other.metadata.uid) = (Some("other".into()), Some("other-uid".into()));
    let theirs = serde_json::to_value(lease(&other)).unwrap();
    let holder = json!({"apiVersion": "v1", "kind": "x", "metadata": {"name": "other", "uid": "other-uid"}});
    let mut server = Server::with(&case.migration);
    server.answer(&format!("GET {}", OBJECT.replace("/move", "/other")), 200, holder);
    server.answer(&format!("GET {LEASES}"), 200, items(&[theirs]));
    let (looked, calls) = server.look(&case.migration).await;
    assert!(looked.unwrap().is_some(), "it looks again");
    let writes = writes(&calls);
    assert_eq!(writes[0], format!("POST {LEASES}"));
    assert!(!writes.iter().any(|line| line.starts_with("DELETE") || line.contains("/jobs")), "{writes:?}");
    let taken = calls.iter().position(|call| call.line.starts_with("POST")).unwrap();
    let label = lock::beside_target(&case.migration.spec, "team").unwrap().replace('/', "%2F").replace('=', "%3D");
    let listed = |call: &Call| call.line == format!("GET {LEASES}") && call.query.contains(&label);
    assert!(calls[taken..].iter().any(listed), "listed after its own lock was created");
    let status = written_status(&calls);
    assert_eq!((reason_of(&status), status.attempts), (Reason::TargetBusy, 0));
}

/// Between the look that found its lock gone and the lock that it took again, another run may have begun: of two locks the
/// one that was there first counts. Whoever comes while a run holds its lock gives way by itself.
#[tokio::test]
async fn a_run_that_took_its_lock_again_gives_way_to_whoever_was_there_first() {
    let second = |n: u32| format!("2026-01-01T00:00:{n:02}Z");
    // Job, own lock, other lock.
    for (job_at, own_at, other_at, stops) in
        [(10, 5, 20, false), (10, 5, 5, false), (10, 20, 15, true), (10, 20, 30, false)]
    {
        for [ours, theirs] in [[over("[\"*\"]"), of_one("blue")], [of_one("blue"), over("[\"*\"]")]] {
            let case = Case::of(ours).running();
            let mut other = theirs;
            (other.metadata.name, other.metadata.uid) = (Some("other".into()), Some("other-uid".into()));
            let lock = |lease: Lease, uid: &str, at: u32| {
                let mut lease = serde_json::to_value(lease).unwrap();
                lease["metadata"]["uid"] = json!(uid);
                lease["metadata"]["creationTimestamp"] = json!(second(at));
                lease
            };
            let (own, other_lock) =
                (lock(lease(&case.migration), "own", own_at), lock(lease(&other), "theirs", other_at));
            let mut job = job_json(&case, json!([]));
            job["metadata"]["creationTimestamp"] = json!(second(job_at));
            let holder = json!({"apiVersion": "v1", "kind": "x", "metadata": {"name": "other", "uid": "other-uid"}});
            let mut server = Server::with(&case.migration);
            server.answer(&format!("GET {}", OBJECT.replace("/move", "/other")), 200, holder);
            server.answer(&format!("GET {JOBS}"), 200, items(&[job]));
            server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Running", json!({"running": {}}))]));
            server.answer(&format!("GET {LEASES}/{}", case.lock_name()), 200, own.clone());
            server.answer(&format!("GET {LEASES}"), 200, items(&[own, other_lock]));
            let (looked, calls) = server.look(&case.migration).await;
            looked.unwrap();
            let stopped = writes(&calls).iter().any(|line| line.starts_with(&format!("DELETE {JOBS}")));
            assert_eq!(stopped, stops, "Job {job_at}, own lock {own_at}, other {other_at}");
        }
    }
}
