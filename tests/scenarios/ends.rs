//! When an end counts, and whose: pods that were collected, Jobs that somebody removed, Jobs and pods that only look like
//! ours, and what comes in the second in which a Job ends.

use memory_migration_operator::api::conditions::Reason;
use memory_migration_operator::api::status::SourceQuiet;
use memory_migration_operator::api::{Extras, MemoryMigrationStatus};
use memory_migration_operator::controller::observe::facts;
use memory_migration_operator::controller::observe::world::{Endpoint, JobFact, JobPhase, UserFact};
use memory_migration_operator::report::{self, Counts, SCHEMA};

use super::fixtures::*;

/// Two tries: the first failed, the second one succeeded.
fn second_try_succeeded() -> Case {
    let case = Case::to_server().running().ended(4, None, None);
    let case = case.see(|o| {
        let mut pod = pod_fact(&o.jobs[0].name);
        (pod.name, pod.created) = ("second".into(), 2);
        o.pods.push(pod);
        o.jobs[0].failed = 1;
    });
    case.succeeded(report::Reason::Verified)
}

/// `kubectl delete pods --field-selector=status.phase=Succeeded`, or a node that was scaled down.
#[test]
fn a_complete_job_whose_succeeded_pod_is_gone_is_verified_again() {
    assert_eq!(reason(&second_try_succeeded().plan()), Reason::Verified);
    let collected = second_try_succeeded().see(|o| o.pods.retain(|pod| !pod.succeeded));
    let plan = collected.plan();
    assert_eq!((reason(&plan), plan.delete().len()), (Reason::Retrying, 1), "{}", message(&plan));
    assert!(message(&plan).contains("verifying again"), "{}", message(&plan));
    // A newer pod that failed is no verdict either: one succeeded.
    let odd = second_try_succeeded().see(|o| o.pods[0].created = 9);
    assert_eq!(reason(&odd.plan()), Reason::Verified);
}

#[test]
fn a_finished_status_is_never_withdrawn_because_its_pods_are_gone() {
    for keep in [0, 1] {
        let done = second_try_succeeded().done().see(|o| {
            o.pods.retain(|pod| !pod.succeeded);
            o.pods.truncate(keep);
        });
        assert!(done.plan().writes.is_empty(), "{:?}", done.plan());
    }
    // nor because its Job goes, of which nothing can be read any more
    for (deleting, gone) in [(true, false), (false, true)] {
        let going = second_try_succeeded().done().see(|o| {
            o.pods.clear();
            (o.jobs[0].phase, o.jobs[0].deleting, o.jobs[0].gone) = (JobPhase::Active, deleting, gone);
        });
        assert!(going.plan().writes.is_empty(), "deleting: {deleting}, gone: {gone}: {:?}", going.plan());
    }
}

#[test]
fn what_is_waited_for_is_told_by_what_became_of_its_job() {
    let case = Case::to_server().running().done();
    let says = |case: &Case, words: &str| {
        let plan = case.plan();
        assert_eq!(reason(&plan), Reason::Retrying);
        assert!(message(&plan).contains(words), "{}", message(&plan));
    };
    let of_another_run = "belongs to a run that was edited, stopped or replaced: waiting until it has ended";
    says(&case.clone().see(|o| o.jobs[0].deleting = true), of_another_run);
    let gone = case.see(|o| o.jobs[0].gone = true);
    says(&gone, "somebody deleted Job ");
    let uid = gone.world.jobs[0].uid.clone();
    says(&gone.edit(|m| m.status.as_mut().unwrap().stopped_job = uid), of_another_run);
}

/// While the operator is updated, the runner may be of the version before.
#[test]
fn a_verdict_of_the_version_before_counts_and_one_of_another_does_not() {
    for (schema, expected) in [
        (SCHEMA, Reason::Verified),
        (SCHEMA - 1, Reason::Verified),
        (SCHEMA + 1, Reason::Retrying),
        (0, Reason::Retrying),
    ] {
        let case = Case::to_server().running();
        let said = report::Summary { schema, ..summary(&case.hash(), report::Reason::Verified) };
        let plan = case.ended(0, Some(said), Some(JobPhase::Complete)).plan();
        assert_eq!(reason(&plan), expected, "{schema}: {}", message(&plan));
    }
}

/// Why a Job failed, a pod that succeeded beside the others does not say.
#[test]
fn a_job_that_failed_is_told_by_its_pod_that_failed() {
    let case = Case::to_server().running();
    let [unavailable, verified] =
        [report::Reason::Unavailable, report::Reason::Verified].map(|reason| summary(&case.hash(), reason));
    let failed = case.ended(4, Some(unavailable), Some(JobPhase::Failed("BackoffLimitExceeded".into()))).see(|o| {
        let mut pod = pod_fact(&o.jobs[0].name);
        (pod.name, pod.created, pod.alive, pod.succeeded) = ("second".into(), 9, false, true);
        pod.summary = Some(verified);
        o.pods.push(pod);
    });
    assert_eq!(reason(&failed.plan()), Reason::BackoffLimitExceeded);
    assert!(message(&failed.plan()).starts_with("the runner says Unavailable"), "{}", message(&failed.plan()));
}

/// By its owner: whoever may make Jobs can write any label.
#[test]
fn a_job_that_the_status_does_not_name_says_nothing() {
    let forge = |case: &Case, edit: &dyn Fn(&mut JobFact)| {
        let mut job = case.world.jobs[0].clone();
        (job.name, job.uid, job.attempt, job.phase) = ("forged".into(), "forged".into(), 99, JobPhase::Complete);
        edit(&mut job);
        let mut pod = pod_fact(&job.name);
        (pod.job_uid, pod.alive, pod.succeeded) = (job.uid.clone(), false, true);
        pod.summary = Some(summary(&case.hash(), report::Reason::Verified));
        case.clone().see(|o| (o.jobs.push(job), o.pods.push(pod), ()).2)
    };
    let running = Case::to_server().running().done();
    // Another name; our Job's name with another UID; the next attempt's name beside a Job that works.
    let edits: [&dyn Fn(&mut JobFact); 3] =
        [&|_| {}, &|job| job.name = running.job_name(1), &|job| (job.name, job.attempt) = (running.job_name(2), 2)];
    for edit in edits {
        let plan = forge(&running, edit).plan();
        assert!(plan.status().is_none(), "{:?}", plan.status());
        let gone: Vec<String> = plan.delete().into_iter().map(|job| job.uid).collect();
        assert_eq!(gone, ["forged"], "and it goes, for its pods could write");
    }
    let new = forge(&running, &|_| {}).see(|o| o.jobs.retain(|job| job.uid == "forged")).edit(|m| m.status = None);
    let new = new.see(|o| o.pods.retain(|pod| !pod.alive));
    assert_eq!(reason(&new.plan()), Reason::Retrying);
    assert!(new.plan().create().is_none());
}

#[test]
fn a_pod_counts_by_the_uid_of_its_job() {
    let case = Case::to_server().running().succeeded(report::Reason::Verified);
    let foreign = case.clone().see(|o| o.pods[0].job_uid = "another".into());
    assert!(message(&foreign.plan()).contains("verifying again"), "{}", message(&foreign.plan()));
    let orphan = case.done().see(|o| {
        o.jobs.clear();
        let mut pod = pod_fact("gone");
        (pod.name, pod.job_uid) = ("orphan".into(), "gone".into());
        o.pods.push(pod);
    });
    let next = orphan.edit(|m| m.spec.run_id = "2".into()).plan();
    assert_eq!((reason(&next), next.create().is_none()), (Reason::Retrying, true), "an orphan may still write");
    assert!(message(&next).starts_with("pod orphan "), "{}", message(&next));
}

/// The process died between the Job and its status.
#[test]
fn a_job_that_was_made_before_the_process_died_is_the_attempt() {
    for attempt in [1, 2] {
        let mut case = Case::to_server();
        if attempt == 2 {
            case = case.started().edit(|m| m.spec.suspend = true).done().done().edit(|m| m.spec.suspend = false);
        }
        let status = case.migration.status.clone();
        let case = case.done().edit(|m| m.status = status);
        let plan = case.plan();
        let status = plan.status().unwrap();
        assert_eq!((status.attempts, status.job_name), (attempt, case.job_name(attempt)));
        assert_eq!(status.job_uid, format!("uid-of-{}", case.job_name(attempt)));
        assert!(plan.create().is_none() && plan.delete().is_empty());
    }
}

/// `status: null`, or only `attempts: 0`, beside a Job that has ended.
#[test]
fn a_status_that_somebody_wiped_is_made_from_the_job_once() {
    let done = Case::to_server().running().succeeded(report::Reason::Verified).done();
    let wiped = done.clone().edit(|m| m.status = None).done();
    assert!(wiped.plan().writes.is_empty(), "{:?}", wiped.plan());
    let status = wiped.migration.status.clone().unwrap();
    assert_eq!((reason_of(&status), status.attempts, status.job_name), (Reason::Verified, 1, wiped.job_name(1)));
    let cut = done.edit(|m| m.status.as_mut().unwrap().attempts = 0);
    assert!(cut.plan().outcome().is_none(), "it is no second end");
    let cut = cut.done();
    assert_eq!(cut.migration.status.as_ref().unwrap().attempts, 1);
    assert!(cut.plan().writes.is_empty(), "{:?}", cut.plan());
}

/// A third party's condition, a reason or a Job's name of another version.
#[test]
fn what_another_version_finished_stays_finished() {
    let done = Case::to_server().running().succeeded(report::Reason::Verified).done();
    let gone = done.see(|o| (o.jobs, o.pods) = (vec![], vec![]));
    let edits: [&dyn Fn(&mut memory_migration_operator::api::MemoryMigrationStatus); 5] = [
        &|s| {
            let mut fourth = s.conditions[0].clone();
            fourth.type_ = "Audited".into();
            s.conditions.insert(0, fourth);
        },
        &|s| {
            s.conditions.iter_mut().for_each(|c| c.reason = "VerifiedTwice".into());
            s.verification.as_mut().unwrap().result = "VerifiedTwice".into();
        },
        &|s| s.job_name = "move-made-by-another-formula".into(),
        &|s| (s.job_uid, s.listed) = (String::new(), None),
        &|s| s.conditions.reverse(),
    ];
    for edit in edits {
        let case = gone.clone().edit(|m| edit(m.status.as_mut().unwrap()));
        let plan = case.plan();
        assert!(plan.create().is_none() && plan.take_lock().is_none(), "{plan:?}");
        let status = plan.status().unwrap();
        assert_eq!(status.observed_generation, 2, "an edit of nothing that is moved");
        assert_eq!(status.conditions.len(), case.migration.status.unwrap().conditions.len());
    }
    let failed = Case::to_server().running().failed_for_good(3, report::Reason::PreflightRefused).done();
    let failed = failed.see(|o| (o.jobs, o.pods) = (vec![], vec![])).edit(|m| {
        m.status.as_mut().unwrap().conditions.iter_mut().for_each(|c| c.reason = "RefusedLater".into());
    });
    assert!(failed.plan().create().is_none());
    // A word of another version that contradicts itself is nobody's.
    let forged = gone.edit(|m| {
        let conditions = &mut m.status.as_mut().unwrap().conditions;
        for condition in conditions {
            (condition.reason, condition.status) = ("Great".into(), "True".into());
        }
    });
    assert!(forged.plan().create().is_some());
}

/// What the numbers say against the word.
#[test]
fn a_verdict_whose_own_numbers_contradict_it_is_refused() {
    let ended = |edit: &dyn Fn(&mut Counts)| {
        let mut verdict = summary(&Case::to_server().hash(), report::Reason::Verified);
        edit(&mut verdict.counts);
        Case::to_server().running().ended(0, Some(verdict), Some(JobPhase::Complete)).plan()
    };
    assert_eq!(reason(&ended(&|_| {})), Reason::Verified);
    assert_eq!(reason(&ended(&|c| c.target_after = 11)), Reason::Verified);
    let less = ended(&|c| c.target_after = 9);
    assert_eq!(reason(&less), Reason::InternalError);
    assert!(message(&less).contains("the target held 9 records at the end, fewer than the 10"), "{}", message(&less));
    assert_eq!(reason(&ended(&|c| c.source = 11)), Reason::InternalError);
}

/// The word "identical" needs its numbers too, and so does a target that may hold nothing else.
#[test]
fn identical_and_extras_are_believed_by_their_numbers_and_shown() {
    let quiet = report::Verification {
        identical: true,
        source_quiet: report::SourceQuiet::Yes,
        ..report::Verification::default()
    };
    let ended = |edit: &dyn Fn(&mut Counts), strict: bool, told: report::Verification| {
        let case = Case::to_server().edit(|m| m.spec.verification.extras = strict.then_some(Extras::Fail));
        let mut verdict = summary(&case.hash(), report::Reason::Verified);
        edit(&mut verdict.counts);
        verdict.verification = told;
        case.running().ended(0, Some(verdict), Some(JobPhase::Complete))
    };
    let status = ended(&|_| {}, true, quiet).plan().status().unwrap();
    let verification = status.verification.clone().unwrap();
    assert_eq!((verification.identical, verification.source_quiet), (true, SourceQuiet::Yes));
    assert!(status.last_success.unwrap().identical);
    // and the status that was written so is believed by the next look
    assert!(ended(&|_| {}, true, quiet).done().plan().writes.is_empty());

    let stranger = |c: &mut Counts| (c.extra, c.target_after) = (1, 11);
    let allowed = ended(&stranger, false, report::Verification::default()).plan().status().unwrap();
    assert_eq!(reason_of(&allowed), Reason::Verified);
    let verification = allowed.verification.clone().unwrap();
    assert_eq!((allowed.counts.unwrap().extra, verification.identical), (1, false));
    assert_eq!(verification.source_quiet, SourceQuiet::Unknown);
    assert!(!allowed.last_success.unwrap().identical);

    let lied = ended(&stranger, false, quiet).plan();
    assert_eq!(reason(&lied), Reason::InternalError);
    assert!(message(&lied).contains("identical"), "{}", message(&lied));
    let strict = ended(&stranger, true, report::Verification::default()).plan();
    assert_eq!(reason(&strict), Reason::InternalError);
    assert!(message(&strict).contains("the spec allows none"), "{}", message(&strict));
    // nobody makes it identical by hand
    let forged = ended(&stranger, false, report::Verification::default()).done();
    let forged = forged.see(|o| (o.jobs, o.pods) = (vec![], vec![]));
    let forged = forged.edit(|m| m.status.as_mut().unwrap().verification.as_mut().unwrap().identical = true);
    assert!(forged.plan().create().is_some(), "{:?}", forged.plan());
}

/// In the second in which the Job ends.
#[test]
fn a_verdict_is_read_before_anything_is_thrown_away() {
    let ended = || Case::to_server().running().succeeded(report::Reason::Verified);
    let suspended = ended().edit(|m| m.spec.suspend = true);
    assert_eq!(reason(&suspended.plan()), Reason::Verified);
    assert!(suspended.plan().delete().is_empty());
    let run = ended().hash();
    for edited in [
        ended().edit(|m| m.spec.run_id = "2".into()),
        ended().edit(|m| m.spec.dry_run = true),
        ended().edit(|m| m.spec.source.local.as_mut().unwrap().path = "../x".into()),
    ] {
        let plan = edited.plan();
        let status = plan.status().unwrap();
        assert_eq!((reason(&plan), status.run_hash.as_str()), (Reason::Verified, &*run));
        assert_eq!(status.observed_generation, 1, "it says nothing about the new spec");
        assert!(status.conditions.iter().all(|c| c.observed_generation == Some(1)));
        assert_eq!((plan.outcome().unwrap().reason, plan.delete().len()), (Reason::Verified, 0));
        // Then comes what the spec says now.
        let next = edited.done();
        assert_ne!(next.plan().status().unwrap().run_hash, run);
        assert_eq!(next.plan().delete().len(), 1);
    }
}

/// Its node did not answer while the run was edited, and is back: the run before the edit is verified, the new one is not.
#[test]
fn a_verdict_of_the_run_before_an_edit_that_was_seen_does_not_speak_of_the_edit() {
    let running = Case::to_server().running();
    let verdict = summary(&running.hash(), report::Reason::Verified);
    let lost = running.trouble(Reason::NodeLost, "node n1 does not answer").edit(|m| m.spec.run_id = "2".into());
    let plan = lost.plan();
    let status = plan.status().unwrap();
    assert_eq!((reason(&plan), status.observed_generation), (Reason::NodeLost, 2), "the edit is seen");
    let mut case = lost;
    let mut created = None;
    plan.writes.iter().for_each(|write| case.write(write, &mut created));
    let case = case.see(|o| o.pods[0].trouble = None).ended(0, Some(verdict), None);
    let plan = case.plan();
    let status = plan.status().unwrap();
    assert_eq!((reason(&plan), status.run_hash == case.hash()), (Reason::Verified, false));
    assert_eq!(status.observed_generation, 1, "it says nothing about the new spec");
    assert!(status.conditions.iter().all(|c| c.observed_generation == Some(1)), "{:?}", status.conditions);
    // Then comes what the spec says now.
    let run = case.hash();
    let next = case.after(&plan).see(|o| o.jobs.clear()).plan();
    assert!(next.create().is_some());
    let status = next.status().unwrap();
    assert_eq!((status.run_hash, status.observed_generation), (run, 2));
}

/// Its pod had ended before the deletion began; or after it, where nothing else may have written.
#[test]
fn an_end_counts_if_it_came_in_time_or_if_nobody_else_may_have_written() {
    let stopped = |edit: &dyn Fn(Case) -> Case| {
        let case = edit(Case::to_claim().running());
        let plan = case.plan();
        assert_eq!(plan.delete().len(), 1);
        let mut case = case.clone();
        plan.writes.iter().for_each(|write| case.write(write, &mut None));
        assert_eq!(case.migration.status.as_ref().unwrap().stopped_job, case.world.jobs[0].uid, "said before");
        case.later(30)
    };
    let end = |case: Case, seconds: i64| {
        let run = case.world.jobs[0].run.clone();
        case.see(|o| {
            let pod = &mut o.pods[0];
            (pod.alive, pod.succeeded, pod.ended) = (false, true, Some(at(seconds)));
            pod.summary = Some(summary(&run, report::Reason::Verified));
        })
    };
    let suspend = |case: Case| case.edit(|m| m.spec.suspend = true);
    let edit = |case: Case| case.edit(|m| m.spec.run_id = "2".into());
    let used = |case: Case| case.used_by("chroma-0", "prod");
    for seconds in [-1, 20] {
        assert_eq!(reason(&end(stopped(&suspend), seconds).plan()), Reason::Verified);
        assert_eq!(reason(&end(stopped(&edit), seconds).plan()), Reason::Verified);
        // Also when its Job is gone by then, if the watch saw it.
        let gone = end(stopped(&suspend), seconds).see(|o| o.jobs[0].gone = true);
        assert_eq!(reason(&gone.plan()), Reason::Verified);
    }
    assert_eq!(reason(&end(stopped(&used), -1).plan()), Reason::Verified, "it had ended when the other pod came");
    let late = end(stopped(&used), 20);
    assert!(late.plan().status().is_none(), "{:?}", late.plan());
    // Whatever comes meanwhile.
    let late = late.see(|o| o.users.clear()).edit(|m| m.spec.suspend = true);
    assert_eq!(reason(&late.plan()), Reason::VolumeInUse);
    let gone = late.see(|o| o.jobs.clear());
    assert_eq!(reason(&gone.plan()), Reason::Suspended);
}

/// Somebody deletes the Job in the background while its mover is about to end, or has ended: its pod says what it found.
#[test]
fn a_job_that_vanished_before_its_pod_ended_leaves_its_verdict() {
    let running = || Case::to_server().running();
    let vanish = |case: Case| {
        let status = case.migration.status.clone().unwrap();
        case.see(|o| {
            o.jobs.clear();
            let vanished = facts::vanished(&status, o);
            o.jobs.extend(vanished);
        })
    };
    let case = vanish(running());
    let waits = case.clone().done();
    let status = waits.migration.status.clone().unwrap();
    assert_eq!((status.failures, status.completion_time), (0, None), "its pod still runs");
    assert!(status.conditions[0].message.starts_with("somebody deleted Job "), "{:?}", status.conditions[0]);
    let summary = summary(&case.hash(), report::Reason::Verified);
    let ended = waits.ended(0, Some(summary), None);
    assert_eq!(reason(&ended.plan()), Reason::Verified);
    assert_eq!(ended.done().migration.status.unwrap().failures, 0);
    // a pod that failed, or left nothing, is a failed try, counted once
    let failed = vanish(running()).ended(4, None, None).done();
    assert_eq!(failed.migration.status.clone().unwrap().failures, 1);
    assert_eq!(failed.done().migration.status.unwrap().failures, 1);
    // beside a second writer nothing is proved, whenever it ended
    let stopped = vanish(Case::to_claim().running().used_by("intruder", "prod").done());
    let summary = self::summary(&stopped.hash(), report::Reason::Verified);
    assert_ne!(reason(&stopped.ended(0, Some(summary), None).plan()), Reason::Verified);
}

/// Somebody patches the status so that it has no conditions: the rest of it still says that the run has ended.
#[test]
fn conditions_that_somebody_removed_are_written_anew_and_the_run_stays_finished() {
    let wiped = |case: Case| {
        let case = case.edit(|m| m.status.as_mut().unwrap().conditions.clear());
        case.see(|o| (o.jobs.clear(), o.pods.clear()).1)
    };
    let case = wiped(Case::to_server().running().succeeded(report::Reason::Verified).done());
    let before = case.migration.status.clone().unwrap();
    let plan = case.plan();
    assert!(plan.create().is_none() && plan.take_lock().is_none() && plan.outcome().is_none());
    let after = plan.status().unwrap();
    assert_eq!(reason_of(&after), Reason::Verified);
    let generation = before.observed_generation;
    assert_eq!(MemoryMigrationStatus { conditions: Vec::new(), observed_generation: generation, ..after }, before);
    assert!(message(&plan).contains("somebody removed the conditions"), "{}", message(&plan));
    assert!(case.done().plan().status().is_none(), "once");
    // one that failed is not run again either
    let failed = wiped(Case::to_server().running().failed_for_good(5, report::Reason::VerificationFailed).done());
    assert!(failed.plan().create().is_none());
    assert_eq!(reason(&failed.plan()), Reason::InternalError);
    // what does not hold together is not believed
    for edit in [
        |status: &mut MemoryMigrationStatus| status.last_success = None,
        |status: &mut MemoryMigrationStatus| status.counts = None,
        |status: &mut MemoryMigrationStatus| status.verification = None,
        |status: &mut MemoryMigrationStatus| status.run_hash = "another".into(),
    ] {
        let case = wiped(Case::to_server().running().succeeded(report::Reason::Verified).done());
        let forged = case.edit(|m| edit(m.status.as_mut().unwrap()));
        assert_ne!(forged.plan().status().map(|status| reason_of(&status)), Some(Reason::Verified));
    }
}

/// Somebody patches another UID into the status: the Job of that name is stopped, for nobody knows whose it is, and no try
/// has failed.
#[test]
fn a_job_uid_that_somebody_wrote_is_no_failed_try() {
    let wrong = Case::to_server().running().edit(|m| m.status.as_mut().unwrap().job_uid = "wrong".into());
    assert_eq!(wrong.plan().delete().len(), 1);
    let stopped = wrong.done();
    assert_eq!(stopped.migration.status.as_ref().unwrap().failures, 0);
    let gone = stopped.see(|o| (o.jobs.clear(), o.pods.clear()).1);
    assert_eq!(gone.plan().create().unwrap().metadata.name, Some(gone.job_name(2)));
    assert_eq!(gone.done().migration.status.unwrap().failures, 0);
}

/// A policy may set `ttlSecondsAfterFinished: 0` on all Jobs.
#[test]
fn a_ttl_of_somebody_else_is_removed_until_the_status_holds_the_verdict() {
    let case = Case::to_server().running().see(|o| o.jobs[0].ttl = Some(0));
    assert_eq!(case.plan().ttl().map(|(_, ttl)| ttl), Some(None));
    let stubborn = case.clone().see(|o| o.stubborn.extend([o.jobs[0].uid.clone()]));
    assert_eq!(stubborn.plan().ttl(), None, "what comes back at once is not removed again and again");
    // The Job went before its verdict was read: the watch saw both.
    let gone = case.succeeded(report::Reason::Verified).see(|o| o.jobs[0].gone = true);
    assert_eq!(reason(&gone.plan()), Reason::Verified);
    let done = gone.done();
    assert!(done.plan().writes.is_empty(), "{:?}", done.plan());
    assert!(done.see(|o| (o.jobs, o.pods) = (vec![], vec![])).plan().writes.is_empty());
}

#[test]
fn a_job_that_somebody_else_removed_counts_against_the_limit_once() {
    let mut case = Case::to_server().edit(|m| m.spec.backoff_limit = 2).running();
    for lost in 1..=2 {
        case = case.see(|o| (o.jobs, o.pods) = (vec![], vec![]));
        let job = case.plan().create().unwrap();
        assert_eq!(job.spec.unwrap().backoff_limit, Some(2 - lost));
        // Refused or not, and looked at again: it is counted once.
        let told = case.clone().after(&case.refused(Some(403), "quota"));
        assert_eq!(told.migration.status.clone().unwrap().failures, lost);
        assert_eq!(told.later(61).plan().status().map_or(lost, |status| status.failures), lost);
        case = case.done();
        assert_eq!(case.migration.status.clone().unwrap().failures, lost);
    }
    let case = case.see(|o| (o.jobs, o.pods) = (vec![], vec![]));
    assert_eq!(reason(&case.plan()), Reason::BackoffLimitExceeded);
    assert_eq!(case.plan().status().unwrap().failures, 3);
}

/// It may be killed between the status that says so and the deletion.
#[test]
fn a_job_that_the_operator_removed_is_no_failed_try() {
    let stop = |case: Case| {
        let plan = case.plan();
        let status =
            plan.writes.iter().position(|w| matches!(w, memory_migration_operator::controller::plan::Write::Status(_)));
        let delete =
            plan.writes.iter().position(|w| matches!(w, memory_migration_operator::controller::plan::Write::Delete(_)));
        assert!(status.unwrap() < delete.unwrap(), "{plan:?}");
        case.done().see(|o| o.pods.clear())
    };
    let used = stop(Case::to_claim().running().used_by("chroma-0", "prod"));
    let again = used.see(|o| o.users.clear()).done();
    assert_eq!(again.migration.status.clone().unwrap().failures, 0);
    let moved = Case::to_server().running().trouble(Reason::PodUnschedulable, "no node").see(|o| {
        o.jobs[0].pin = Some("drained".into());
        o.users = vec![UserFact::default()];
        o.source = Endpoint::Unknown;
    });
    assert_eq!(stop(moved).done().migration.status.clone().unwrap().failures, 0);
    let suspended = stop(Case::to_server().running().edit(|m| m.spec.suspend = true));
    assert_eq!(suspended.edit(|m| m.spec.suspend = false).done().migration.status.unwrap().failures, 0);
}
