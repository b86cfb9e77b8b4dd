//! Waits that are no failed tries: what only the runner sees, a source that another one writes, a log that is silent.

use std::time::{Duration, Instant};

use memory_migration_operator::api::conditions::Reason;
use memory_migration_operator::controller::observe::world::{Cause, JobPhase, Lock, LogFact, Pause};
use memory_migration_operator::controller::plan::{PauseChange, Plan, Write};
use memory_migration_operator::controller::process::memory::{Memory, Waits};
use memory_migration_operator::report::{self, Stage};

use super::fixtures::*;

/// The runner ended with code 7.
fn waits(case: Case, reason: report::Reason) -> Case {
    let summary = summary(&case.hash(), reason);
    let case = case.see(|o| o.pods.push(pod_fact(&o.jobs[0].name)));
    let case = case.see(|o| o.pods[0].started = true);
    case.ended(7, Some(summary), Some(JobPhase::Failed("PodFailurePolicy".into()))).see(|o| {
        (o.jobs[0].failed, o.jobs[0].exit) = (1, Some(7));
    })
}

#[test]
fn a_wait_that_only_the_runner_sees_is_no_failed_try_and_never_ends_the_run() {
    let mut case = Case::to_server().edit(|m| m.spec.backoff_limit = 0).started();
    let mut pauses = Vec::new();
    for attempt in 1..=8 {
        case = waits(case, report::Reason::SourceEmpty);
        let plan = case.plan();
        // The first one tidies up at once; what a further one writes is spread over its pause.
        let at_once = usize::from(attempt == 1);
        assert_eq!((plan.delete().len(), plan.release().len()), (at_once, 1), "the lock goes with the runner");
        pauses.push(plan.requeue.unwrap().as_secs());
        case = case.done();
        if attempt > 1 {
            assert!(plan.status().is_none() && case.plan().writes.is_empty(), "no news: {:?}", case.plan().writes);
            case = case.later(60);
            assert_eq!((case.plan().delete().len(), case.plan().release().len()), (1, 0));
            case = case.done();
        }
        let status = case.migration.status.clone().unwrap();
        assert_eq!((reason_of(&status), status.failures, status.attempts), (Reason::SourceEmpty, 0, attempt));
        assert_eq!(status.stopped_job, status.job_uid, "its removal is no failure");
        case = case.see(|o| o.pods.clear());
        assert!(case.plan().writes.is_empty(), "{:?}", case.plan());
        let left = case.plan().requeue.unwrap().as_secs();
        case = case.later(i64::try_from(left).unwrap());
        let told = case.plan();
        assert!(told.create().is_some() && told.notices().is_empty(), "an attempt that only looks is no news");
        case = case.done();
        let status = case.migration.status.clone().unwrap();
        assert_eq!(reason_of(&status), Reason::SourceEmpty, "until the runner sees that it is there");
    }
    assert_eq!(pauses, [60, 120, 240, 300, 300, 300, 300, 300]);
    let there = case.see(|o| o.pods.push(pod_fact(&o.jobs[0].name)));
    assert!(there.plan().notices().is_empty() && there.plan().writes.is_empty());
    let copying = there.at_stage(Stage::Copying, 1, 2);
    assert_eq!((reason(&copying.plan()), copying.plan().pause), (Reason::Copying, PauseChange::Clear));
    let status = copying.plan().status().unwrap();
    assert_eq!((status.attempts, status.job_name), (9, copying.job_name(9)), "now it is counted");
}

/// One write and the second in which it is sent.
type Sent = (i64, String);

/// A quarter of an hour of a migration that nothing lets begin, in seconds of its own: the runner ends 10 s after its Job
/// was made, the Job goes 2 s after it is told to, and something wakes the controller all the time.
fn quarter_of_an_hour(mut case: Case, refuse: impl Fn(&Write) -> bool, runner: Option<report::Reason>) -> Vec<Sent> {
    let mut sent = Vec::new();
    for second in 0..1000 {
        let last = |word: &str| sent.iter().rfind(|(_, w)| w == word).map(|(at, _): &Sent| second - at);
        let (made, told_to_go) = (last("Create"), last("Delete"));
        if let Some(reason) = runner {
            case = match made {
                Some(3) => {
                    let case = case.see(|o| o.pods = vec![pod_fact(&o.jobs[0].name)]).at_stage(Stage::Preflight, 0, 0);
                    case.see(|o| o.log.as_mut().unwrap().said_at = Some(at(second).0.as_second()))
                }
                Some(10) => {
                    let summary = summary(&case.hash(), reason);
                    let case = case.ended(7, Some(summary), Some(JobPhase::Failed("PodFailurePolicy".into())));
                    case.see(|o| (o.jobs[0].failed, o.jobs[0].exit) = (1, Some(7)))
                }
                _ => case,
            };
        }
        let goes = case.world.jobs.iter().any(|job| job.deleting);
        if told_to_go == Some(2) && goes {
            case = case.see(|o| (o.jobs, o.pods, o.log) = (vec![], vec![], None));
        }
        for _ in 0..4 {
            let plan = case.plan_once();
            if let Some(refused) = carry_out(&mut case, &plan, &refuse, second, &mut sent) {
                let plan = case.refused_write(&refused, 422);
                carry_out(&mut case, &plan, &|_| false, second, &mut sent);
                case.remember(&plan.pause);
                if plan.again {
                    continue;
                }
                break;
            }
            case.remember(&plan.pause);
            if !plan.again {
                break;
            }
        }
        case = case.later(1);
    }
    sent
}

/// Until one is refused: that one.
fn carry_out(
    case: &mut Case,
    plan: &Plan,
    refuse: &dyn Fn(&Write) -> bool,
    at: i64,
    sent: &mut Vec<Sent>,
) -> Option<Write> {
    let mut created = None;
    for write in &plan.writes {
        sent.push((at, format!("{write:?}").chars().take_while(char::is_ascii_alphabetic).collect()));
        if refuse(write) {
            return Some(write.clone());
        }
        case.write(write, &mut created);
    }
    None
}

/// After the first minute, in which it is told: writes, locks and Events, whatever is refused.
#[track_caller]
fn at_most_three_a_minute(sent: &[Sent]) {
    for (start, _) in sent.iter().filter(|(at, _)| *at > 60) {
        let minute: Vec<&Sent> = sent.iter().filter(|(at, _)| (*start..start + 60).contains(at)).collect();
        assert!(minute.len() <= 3, "{} writes in a minute: {minute:?}", minute.len());
    }
}

#[test]
fn no_wait_writes_more_than_three_times_a_minute() {
    let taken = |_: &Write| false;
    for reason in [report::Reason::SourceEmpty, report::Reason::SourceNotFound, report::Reason::TargetBusy] {
        let sent = quarter_of_an_hour(Case::to_server(), taken, Some(reason));
        assert!(sent.iter().filter(|(_, word)| word == "Create").count() >= 4, "it tries again: {sent:?}");
        at_most_three_a_minute(&sent);
    }
    at_most_three_a_minute(&quarter_of_an_hour(Case::to_server(), |w| matches!(w, Write::Create(_)), None));
    at_most_three_a_minute(&quarter_of_an_hour(Case::to_server(), |w| matches!(w, Write::TakeLock(_)), None));
    let busy = |case: Case| case.see(|o| o.lock = Lock::Theirs { holder: "MemoryMigration team/other".into() });
    at_most_three_a_minute(&quarter_of_an_hour(busy(Case::to_server()), taken, None));
    at_most_three_a_minute(&quarter_of_an_hour(Case::to_claim().used_by("chroma-0", "prod"), taken, None));
    // A lock of somebody who is gone, one that was deleted while the run works, a Job that does not go, and its lock.
    let stale = Case::to_server().see(|o| o.lock = Lock::Stale { uid: "old".into() });
    at_most_three_a_minute(&quarter_of_an_hour(stale, |w| matches!(w, Write::BreakLock(_)), None));
    let unlocked = Case::to_server().running().at_stage(Stage::Copying, 1, 2).see(|o| {
        o.log.as_mut().unwrap().said_at = Some(at(0).0.as_second());
        (o.lock, o.held) = (Lock::Free, vec![]);
    });
    at_most_three_a_minute(&quarter_of_an_hour(unlocked, |w| matches!(w, Write::TakeLock(_)), None));
    let keeps_jobs = |w: &Write| matches!(w, Write::Delete(_));
    let waits = quarter_of_an_hour(Case::to_server(), keeps_jobs, Some(report::Reason::SourceEmpty));
    at_most_three_a_minute(&waits);
    let suspended = Case::to_server().running().edit(|m| m.spec.suspend = true);
    at_most_three_a_minute(&quarter_of_an_hour(suspended, keeps_jobs, None));
    let used = Case::to_claim().running().used_by("chroma-0", "prod");
    at_most_three_a_minute(&quarter_of_an_hour(used, keeps_jobs, None));
    let done = Case::to_server().running().succeeded(report::Reason::Verified);
    at_most_three_a_minute(&quarter_of_an_hour(done, |w| matches!(w, Write::GiveBack(_)), None));
    let stuck = Case::to_server().running().trouble(Reason::PodUnschedulable, "no node takes it");
    at_most_three_a_minute(&quarter_of_an_hour(stuck, taken, None));
}

#[test]
fn each_of_the_four_waits_is_said_and_only_the_deadline_ends_it() {
    for (said, wanted) in [
        (report::Reason::SourceNotFound, Reason::SourceNotFound),
        (report::Reason::SourceEmpty, Reason::SourceEmpty),
        (report::Reason::TargetNotFound, Reason::TargetNotFound),
        (report::Reason::TargetBusy, Reason::TargetBusy),
    ] {
        let case = waits(Case::to_server().edit(|m| m.spec.active_deadline_seconds = Some(100)).started(), said);
        assert_eq!(reason(&case.plan()), wanted);
        let late = case.done().see(|o| o.pods.clear()).later(101);
        assert_eq!(reason(&late.plan()), Reason::DeadlineExceeded);
    }
    // Without a word of the runner, the code is enough; also when only the Job knows it.
    let case = waits(Case::to_server().started(), report::Reason::SourceEmpty);
    let gone = case.see(|o| o.pods.clear());
    let status = gone.clone().done().migration.status.unwrap();
    assert_eq!((reason_of(&status), status.failures), (Reason::Retrying, 0));
}

/// The pod ends some time before its Job says so.
#[test]
fn a_wait_is_not_counted_before_its_job_has_ended_either() {
    let case = waits(Case::to_server().started(), report::Reason::SourceEmpty);
    let case = case.see(|o| (o.jobs[0].phase, o.jobs[0].exit) = (JobPhase::Active, None)).done();
    assert_eq!(case.migration.status.as_ref().unwrap().failures, 0);
    // A try that failed before it counts.
    let case = waits(Case::to_server().started(), report::Reason::SourceEmpty).see(|o| o.jobs[0].failed = 3);
    assert_eq!(case.plan().status().unwrap().failures, 2);
}

#[test]
fn an_edit_or_the_end_of_the_sources_writer_ends_the_pause() {
    let case = waits(Case::to_server().started(), report::Reason::SourceEmpty).done().see(|o| o.pods.clear());
    assert!(case.plan().create().is_none());
    assert!(case.clone().edit(|m| m.spec.backoff_limit = 1).plan().create().is_some());
    let memory = Memory::default();
    let pause = case.world.pause.clone().unwrap();
    memory.change_pause("team/move", &PauseChange::Set(pause.clone()));
    memory.waits_for("team/move", Waits { target: vec!["target".into()], source: vec!["source".into()] });
    memory.waits_for("team/other", Waits { target: vec!["another".into()], source: Vec::new() });
    assert_eq!(memory.released("unknown"), Vec::<String>::new());
    // Its own lock, which it gives back at each wait, is one on its target: waking by it made a Job every few seconds.
    assert_eq!(memory.released("target"), ["team/move"]);
    assert_eq!(memory.pause("team/move").unwrap(), pause);
    assert_eq!(memory.released("source"), ["team/move"]);
    let now = memory.pause("team/move").unwrap();
    assert_eq!((now.until, now.times), (0, pause.times), "the next pause is still a longer one");
    assert!(case.see(|o| o.pause = Some(now)).plan().create().is_some());
    // Whoever gave way keeps to its pause, or both would collide again.
    let gave_way = Pause { cause: Cause::GaveWay, ..pause };
    memory.change_pause("team/move", &PauseChange::Set(gave_way.clone()));
    memory.released("source");
    assert_eq!(memory.pause("team/move").unwrap().until, gave_way.until);
}

/// Chains: B is written from A, C from B.
#[test]
fn a_source_that_another_one_writes_is_waited_for_without_a_lock() {
    let theirs = || Lock::Theirs { holder: "MemoryMigration team/other".into() };
    let case = Case::to_server().see(|o| o.source_lock = theirs());
    let plan = case.plan();
    assert_eq!(reason(&plan), Reason::TargetBusy);
    assert!(message(&plan).starts_with("MemoryMigration team/other writes this migration's source"));
    assert!(plan.take_lock().is_none() && plan.create().is_none());
    // It took the source's lock in the same moment.
    let case = Case::to_server();
    let locked = case.clone().after(&case.plan_once()).see(|o| o.source_lock = theirs());
    let plan = locked.plan();
    assert_eq!(plan.release(), [locked.lock_name()]);
    assert!(plan.create().is_none());
    let after = locked.done();
    let free = after.see(|o| o.source_lock = Lock::Free);
    assert!(free.plan().create().is_none(), "woken by the other one's end, both would collide again");
    assert!(free.later(32).plan().create().is_some());
    let ours = Case::to_server().see(|o| o.source_lock = Lock::Ours);
    assert!(ours.plan().create().is_some());
}

/// A to B and B to A at once: both end, for their pauses differ.
#[test]
fn two_that_write_each_others_source_do_not_collide_for_ever() {
    let pause = |uid: &str, times: u32| {
        let case = Case::to_server().edit(|m| m.metadata.uid = Some(uid.into()));
        let locked = case.clone().after(&case.plan_once()).see(|o| {
            o.source_lock = Lock::Theirs { holder: "x".into() };
            o.pause = Some(Pause { times, generation: 2, cause: Cause::GaveWay, ..Pause::default() });
        });
        locked.plan().requeue.unwrap().as_secs()
    };
    let differ = (0..10).filter(|times| pause("a", *times) != pause("b", *times)).count();
    assert!(differ >= 8, "{differ}");
    assert!((0..10).all(|times| (2..32).contains(&pause("a", times))));
}

#[test]
fn silence_is_said_only_if_the_log_was_read_and_its_last_line_is_old() {
    let read = |age: i64| {
        let now = at(1000).0.as_second();
        let log = LogFact { last_line: Some(now - age), ..LogFact::default() };
        Case::to_server().running().at_stage(Stage::Copying, 1, 2).done().later(1000).see(|o| o.log = Some(log))
    };
    let silent = read(301);
    assert_eq!(reason(&silent.plan()), Reason::NoProgress);
    assert!(
        message(&silent.plan()).contains("written nothing to its log for 5 minutes"),
        "{}",
        message(&silent.plan())
    );
    assert!(silent.plan().delete().is_empty());
    let later = silent.done().later(600);
    assert!(later.plan().status().is_none(), "the same as long as nothing changes");
    assert!(read(299).plan().status().is_none());
    let unread = read(301).see(|o| o.log = None);
    assert!(unread.plan().status().is_none(), "a kubelet that does not answer says nothing of the runner");
    let empty = read(301).see(|o| o.log = Some(LogFact::default()));
    assert!(empty.plan().status().is_none());
}

/// When the runner said it, not when the controller read it.
#[test]
fn progress_is_as_old_as_the_runners_line() {
    let said = at(20).0.as_second();
    let case = Case::to_server().running().at_stage(Stage::Copying, 1, 2).later(90);
    let case = case.see(|o| o.log.as_mut().unwrap().said_at = Some(said));
    assert_eq!(case.plan().status().unwrap().progress.unwrap().updated_at, Some(at(20)));
}

/// Its kubelet may not answer: the object's next looks do without.
#[test]
fn a_log_that_could_not_be_read_is_left_alone_for_30_seconds() {
    let (memory, now) = (Memory::default(), Instant::now());
    let may = |pod: &str, alive: bool, after: u64| memory.may_read_log(pod, alive, now + Duration::from_secs(after));
    assert!(may("team/pod", true, 0), "never read before");
    memory.read_log("team/pod", false, now);
    for alive in [true, false] {
        assert!(!may("team/pod", alive, 0) && !may("team/pod", alive, 29), "also the last words: {alive}");
        assert!(may("team/pod", alive, 30));
    }
    assert!(may("team/other", true, 0), "of another pod");
    memory.read_log("team/pod", true, now);
    assert!(!may("team/pod", true, 3) && may("team/pod", true, 4), "read well: a few seconds");
    assert!(may("team/pod", false, 0), "and its last words at once");
}
