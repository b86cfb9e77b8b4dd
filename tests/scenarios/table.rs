//! The table of situations, each reached at least once, and the rules of a run.

use memory_migration_operator::api::conditions::Reason;
use memory_migration_operator::api::{OnConflict, Phase, VerificationMode};
use memory_migration_operator::controller::observe::world::{Endpoint, JobPhase, Lock, UserFact};
use memory_migration_operator::report::{self, Stage};

use super::fixtures::*;

fn says(case: &Case, reason_wanted: Reason, words: &str) {
    let plan = case.plan();
    assert_eq!(reason(&plan), reason_wanted, "{}", message(&plan));
    assert!(message(&plan).contains(words), "{}", message(&plan));
}

fn creates_nothing(case: &Case) {
    let plan = case.plan();
    assert!(plan.create().is_none() && plan.take_lock().is_none());
}

#[test]
fn a_new_object_starts_its_first_attempt_under_the_lock() {
    let case = Case::to_server();
    let plan = case.plan();
    let status = plan.status().unwrap();
    assert_eq!(plan.create().unwrap().metadata.name, Some(case.job_name(1)));
    assert!(plan.take_lock().is_some() && plan.delete().is_empty());
    assert_eq!((status.attempts, status.job_name.clone()), (1, case.job_name(1)));
    assert_eq!((status.observed_generation, status.phase), (1, Some(Phase::Pending)));
    assert_eq!((status.source_name.as_str(), status.target_name.as_str()), ("dev:chroma_db", "prod/chroma"));
    assert_eq!(plan.notices()[0].reason, "Started");
    assert_eq!(reason_of(&status), Reason::Preflight);
}

#[test]
fn nothing_is_done_twice() {
    let case = Case::to_server().started();
    let plan = case.plan();
    assert!(plan.create().is_none() && plan.status().is_none() && plan.notices().is_empty(), "{plan:?}");
}

#[test]
fn the_stages_are_told_as_the_log_tells_them() {
    let case = Case::to_server().running();
    assert_eq!(reason(&case.clone().at_stage(Stage::Preflight, 0, 0).plan()), Reason::Preflight);
    let copying = case.clone().at_stage(Stage::Copying, 30, 100).plan();
    assert_eq!(reason(&copying), Reason::Copying);
    let progress = copying.status().unwrap().progress.clone().unwrap();
    assert_eq!((progress.stage.as_str(), progress.records, progress.percent), ("Copying", 30, 30));
    let notices = copying.notices();
    let told: Vec<&str> = notices.iter().map(|n| n.reason.as_str()).collect();
    assert_eq!(told, ["Copying", "Progress"]);
    says(&case.clone().at_stage(Stage::Verifying, 1, 100), Reason::Verifying, "comparing every record");
    says(&case.at_stage(Stage::Repairing, 1, 2), Reason::Repairing, "sending again what verification named");
}

#[test]
fn a_milestone_is_told_once() {
    let at = |records| Case::to_server().running().at_stage(Stage::Copying, records, 100);
    let case = at(30).done().at_stage(Stage::Copying, 40, 100);
    assert!(case.plan().notices().is_empty());
    let case = case.done().at_stage(Stage::Copying, 80, 100);
    let notices = case.plan().notices();
    assert_eq!((notices.len(), notices[0].note.as_str()), (1, "80% copied: 80 of 100 records"));
    // Events that agree in reason and action are shown as one, with the first one's note.
    assert_ne!(notices[0].action, at(30).plan().notices()[1].action);
}

#[test]
fn a_log_that_cannot_be_read_leaves_what_was_known() {
    let case = Case::to_server().running().at_stage(Stage::Copying, 30, 100).done().see(|o| o.log = None).later(60);
    let plan = case.plan();
    assert!(plan.status().is_none(), "{plan:?}");
}

#[test]
fn a_verified_run_is_ready_and_counted_once() {
    let case = Case::to_server().running().at_stage(Stage::Verifying, 10, 10).done().later(100);
    let case = case.succeeded(report::Reason::Verified);
    let plan = case.plan();
    let status = plan.status().unwrap();
    assert_eq!((reason(&plan), status.phase), (Reason::Verified, Some(Phase::Succeeded)));
    assert_eq!(status.counts.unwrap().verified, 10);
    assert_eq!(status.verification.unwrap().fingerprint, "f00d");
    assert_eq!(status.completion_time, Some(at(100)));
    let outcome = plan.outcome().unwrap();
    assert_eq!((outcome.reason, outcome.seconds), (Reason::Verified, 100.0));
    assert!(!plan.release().is_empty(), "the lock is given back");
    let again = case.done().later(50).plan();
    assert!(
        again.outcome().is_none() && again.status().is_none() && again.notices().is_empty() && again.requeue.is_none()
    );
}

#[test]
fn the_other_ways_to_be_done() {
    let case = Case::to_server().running().succeeded(report::Reason::VerifiedWithSkips);
    says(&case, Reason::VerifiedWithSkips, "the runner says VerifiedWithSkips; see kubectl logs move-");
    let counts = Case::to_server().edit(|m| m.spec.verification.mode = VerificationMode::Counts);
    says(&counts.running().succeeded(report::Reason::CountsVerified), Reason::CountsVerified, "weaker than Verified");
    let dry = Case::to_server().edit(|m| m.spec.dry_run = true);
    says(&dry.running().succeeded(report::Reason::DryRunCompleted), Reason::DryRunCompleted, "the runner says");
}

#[test]
fn success_without_its_proof_is_not_believed() {
    let wrong_kind = Case::to_server().running().succeeded(report::Reason::CountsVerified);
    says(&wrong_kind, Reason::InternalError, "without its proof");
    let verification = wrong_kind.plan().status().unwrap().verification.unwrap();
    assert_eq!((verification.result.as_str(), verification.compared_at), ("InternalError", None));
    let hash = Case::to_server().hash();
    let mut short = summary(&hash, report::Reason::Verified);
    short.counts.verified = 9;
    let case = Case::to_server().running().ended(0, Some(short), Some(JobPhase::Complete));
    says(&case, Reason::InternalError, "do not add up");
    let mut lossy = summary(&hash, report::Reason::Verified);
    (lossy.counts.verified, lossy.counts.missing) = (9, 1);
    says(
        &Case::to_server().running().ended(0, Some(lossy), Some(JobPhase::Complete)),
        Reason::InternalError,
        "1 records are",
    );
}

#[test]
fn a_complete_job_without_its_pod_is_verified_again() {
    let case = Case::to_server().running().see(|o| {
        o.pods.clear();
        o.jobs[0].phase = JobPhase::Complete;
    });
    says(&case, Reason::Retrying, "verifying again");
    let case = case.done();
    assert_eq!(case.plan().create().unwrap().metadata.name, Some(case.job_name(2)));
}

#[test]
fn a_verdict_of_another_run_or_another_shape_is_no_verdict() {
    let case = Case::to_server().running();
    let foreign = summary("0000000000000000", report::Reason::Verified);
    says(&case.clone().ended(0, Some(foreign), Some(JobPhase::Complete)), Reason::Retrying, "verifying again");
    let mut newer = summary(&case.hash(), report::Reason::Verified);
    newer.schema = 99;
    says(&case.ended(0, Some(newer), Some(JobPhase::Complete)), Reason::Retrying, "verifying again");
}

#[test]
fn verdicts_that_vanish_do_so_only_so_often() {
    let lost = |failed_before| {
        Case::to_server().running().see(|o| {
            o.pods.clear();
            (o.jobs[0].phase, o.jobs[0].failed_before) = (JobPhase::Complete, failed_before);
        })
    };
    says(&lost(5), Reason::Retrying, "verifying again");
    assert_eq!(lost(5).plan().status().unwrap().failures, 6);
    says(&lost(6), Reason::BackoffLimitExceeded, "vanish before their verdict");
}

#[test]
fn what_a_rerun_cannot_mend_needs_a_person() {
    let run = |exit, reason| Case::to_server().running().failed_for_good(exit, reason);
    let spec = "; correct the spec or the data; if the spec stays, change runId to try again";
    for (exit, told, reason, remedy) in [
        (3, report::Reason::PreflightRefused, Reason::PreflightRefused, spec),
        (2, report::Reason::InvalidSpec, Reason::InvalidSpec, spec),
        (5, report::Reason::VerificationFailed, Reason::VerificationFailed, "; then change runId to compare again"),
        (5, report::Reason::SearchDegraded, Reason::SearchDegraded, "; then change runId to check again"),
        (3, report::Reason::SourceReplaced, Reason::SourceReplaced, "change runId to migrate what it holds now"),
        (
            6,
            report::Reason::RecordConflict,
            Reason::RecordConflict,
            "; set onConflict to Skip or Overwrite, or correct",
        ),
    ] {
        says(&run(exit, told), reason, remedy);
        assert_eq!(message(&run(exit, told).plan()).contains("kubectl logs move-"), exit != 2, "{reason:?}");
    }
    let status = run(3, report::Reason::PreflightRefused).plan().status().unwrap();
    assert_eq!((status.phase, status.completion_time.is_some()), (Some(Phase::Failed), true));
}

#[test]
fn an_exit_without_a_message_is_judged_by_its_code() {
    let run = |exit| Case::to_server().running().ended(exit, None, Some(JobPhase::Failed("PodFailurePolicy".into())));
    says(&run(3), Reason::PreflightRefused, "exit code 3 and left no message");
    says(&run(5), Reason::VerificationFailed, "exit code 5");
    says(&run(6), Reason::RecordConflict, "exit code 6");
    says(&run(2), Reason::InvalidSpec, "exit code 2");
}

#[test]
fn a_job_that_gave_up_says_the_last_cause() {
    let gave_up = |exit, reason| {
        let case = Case::to_server().running();
        let summary = summary(&case.hash(), reason);
        case.ended(exit, Some(summary), Some(JobPhase::Failed("BackoffLimitExceeded".into())))
    };
    says(
        &gave_up(4, report::Reason::Unavailable),
        Reason::BackoffLimitExceeded,
        "the runner says Unavailable; no retries are left",
    );
    says(&gave_up(4, report::Reason::SourceChanging), Reason::SourceChanging, "stop what writes the source");
    says(&gave_up(1, report::Reason::InternalError), Reason::InternalError, "report this as a bug");
}

#[test]
fn between_two_tries_it_waits_and_says_why() {
    let tried = |reason| {
        let case = Case::to_server().running();
        let summary = summary(&case.hash(), reason);
        case.ended(4, Some(summary), None)
    };
    says(&tried(report::Reason::Unavailable), Reason::Retrying, "the next attempt resumes");
    says(&tried(report::Reason::SourceNotFound), Reason::SourceNotFound, "the next attempt resumes");
    says(&tried(report::Reason::TargetNotFound), Reason::TargetNotFound, "the next attempt resumes");
    says(&tried(report::Reason::TargetBusy), Reason::TargetBusy, "the next attempt resumes");
    creates_nothing(&tried(report::Reason::Unavailable));
}

/// Seen on a real cluster: the kubelet was faster than the Job's controller, and people were warned of a retry.
#[test]
fn a_pod_that_ended_well_before_its_job_is_no_retry() {
    let case = Case::to_server().running().at_stage(Stage::Verifying, 10, 10).done();
    let [verified, different] =
        [report::Reason::Verified, report::Reason::VerificationFailed].map(|reason| summary(&case.hash(), reason));
    for (exit, said) in [(4, &verified), (0, &different)] {
        says(&case.clone().ended(exit, Some(said.clone()), None), Reason::Retrying, "the next attempt resumes");
    }
    let case = case.ended(0, Some(verified), None);
    says(&case, Reason::Verifying, "waiting for Job");
    creates_nothing(&case);
    assert!(case.plan().notices().is_empty(), "{:?}", case.plan().notices());
    let case = case.done().see(|o| o.jobs[0].phase = JobPhase::Complete);
    says(&case, Reason::Verified, "");
}

#[test]
fn a_missing_claim_or_service_is_waited_for() {
    let gone = |what: &str| Endpoint::Missing(what.into());
    let source = Case::to_server().see(|o| o.source = gone("there is no PersistentVolumeClaim dev"));
    says(&source, Reason::SourceNotFound, "no PersistentVolumeClaim dev");
    creates_nothing(&source);
    let target = Case::to_server().see(|o| o.target = gone("there is no Service chroma"));
    says(&target, Reason::TargetNotFound, "no Service chroma");
    creates_nothing(&target);
    assert!(target.plan().requeue.is_some());
}

#[test]
fn a_service_that_may_not_be_read_is_left_to_the_runner() {
    let case = Case::to_server().see(|o| o.target = Endpoint::Unknown);
    assert!(case.plan().create().is_some());
}

#[test]
fn a_target_claim_in_use_is_waited_for_and_its_user_is_named() {
    let case = Case::to_claim().used_by("chroma-0", "prod");
    says(&case, Reason::VolumeInUse, "pod chroma-0 uses claim prod");
    creates_nothing(&case);
}

#[test]
fn a_claim_that_gets_into_use_stops_the_run() {
    let case = Case::to_claim().running().used_by("chroma-0", "prod");
    says(&case, Reason::VolumeInUse, "the run was stopped: pod chroma-0 uses claim prod");
    assert_eq!(case.plan().delete().len(), 1);
    let ending = case.done().see(|o| o.pods[0].alive = true);
    assert!(ending.plan().status().is_none(), "the same is said until it has ended");
    creates_nothing(&ending);
}

#[test]
fn a_source_claim_may_be_in_use() {
    let case = Case::to_server().used_by("chroma-0", "dev");
    assert!(case.plan().create().is_some());
    let alone = case.see(|o| o.source = Endpoint::Found { uid: "u".into(), one_node: false, one_pod: true });
    says(&alone, Reason::VolumeInUse, "only one pod can use this claim");
}

#[test]
fn a_dry_run_takes_no_lock_and_reads_beside_others() {
    let case = Case::to_claim().edit(|m| m.spec.dry_run = true).used_by("chroma-0", "prod");
    let plan = case.plan();
    assert!(plan.create().is_some() && plan.take_lock().is_none());
}

#[test]
fn a_target_that_another_migration_writes_is_waited_for() {
    let case = Case::to_server().see(|o| o.lock = Lock::Theirs { holder: "MemoryMigration team/other".into() });
    says(&case, Reason::TargetBusy, "MemoryMigration team/other writes this target");
    creates_nothing(&case);
}

#[test]
fn a_lock_whose_holder_is_gone_is_removed_and_nothing_else() {
    let case = Case::to_server().see(|o| o.lock = Lock::Stale { uid: "lease-uid".into() });
    let plan = case.plan_once();
    assert_eq!((plan.break_lock().unwrap().uid.as_str(), plan.writes.len()), ("lease-uid", 1));
    assert!(plan.again, "what was read may have changed");
    assert!(case.plan().create().is_some());
}

#[test]
fn pods_that_never_start_are_a_condition_with_the_remedy() {
    for reason in [
        Reason::SecretNotReady,
        Reason::ImagePullFailed,
        Reason::PodUnschedulable,
        Reason::MountFailed,
        Reason::ServerCrashLooping,
        Reason::ClaimsOnDifferentNodes,
    ] {
        let case = Case::to_server().running().trouble(reason, "do this");
        says(&case, reason, "do this");
        assert_eq!(case.plan().status().unwrap().phase, Some(Phase::Waiting));
        assert!(case.plan().notices()[0].warning);
        assert!(case.done().plan().notices().is_empty(), "told once");
    }
}

#[test]
fn a_job_that_may_make_no_pod_says_so() {
    let trouble = memory_migration_operator::controller::observe::world::Trouble {
        reason: Reason::NotAdmitted,
        message: "raise the quota".into(),
    };
    let case = Case::to_server().started().see(|o| o.jobs[0].trouble = Some(trouble));
    says(&case, Reason::NotAdmitted, "raise the quota");
}

#[test]
fn the_runner_goes_where_the_source_is_in_use() {
    let user = |node: &str| UserFact {
        pod: "chroma-0".into(),
        claim: "dev".into(),
        node: Some(node.into()),
        running: true,
        ..UserFact::default()
    };
    let case = Case::to_server().see(|o| o.users.push(user("node-a")));
    let pod = case.plan().create().unwrap().spec.unwrap().template.spec.unwrap();
    let text = serde_json::to_string(&pod.affinity).unwrap();
    assert!(text.contains(r#"{"key":"metadata.name","operator":"In","values":["node-a"]}"#), "{text}");
}

#[test]
fn a_pin_that_has_gone_stale_moves_the_runner() {
    let pinned = |users: Vec<UserFact>| {
        Case::to_server().running().trouble(Reason::PodUnschedulable, "no node").see(|o| {
            o.jobs[0].pin = Some("drained".into());
            o.users = users;
        })
    };
    let case = pinned(vec![]);
    says(&case, Reason::Retrying, "the runner is moved");
    assert_eq!(case.plan().delete().len(), 1);
    let here = UserFact { claim: "dev".into(), node: Some("drained".into()), ..UserFact::default() };
    says(&pinned(vec![here]), Reason::PodUnschedulable, "no node");
}

#[test]
fn an_edit_of_what_a_run_is_cancels_waits_and_runs_again() {
    let case = Case::to_server().running().at_stage(Stage::Copying, 1, 2).done();
    let before = case.hash();
    let case = case.edit(|m| m.spec.on_conflict = OnConflict::Overwrite).see(|o| o.log = None);
    let plan = case.plan();
    assert_eq!((plan.delete().len(), reason(&plan)), (1, Reason::Retrying));
    let status = plan.status().unwrap();
    assert_eq!(
        (status.run_hash.as_str(), status.stopped_job.clone()),
        (&*before, status.job_uid),
        "its end may come yet"
    );
    assert_eq!(status.observed_generation, 2);
    let ending = case.done();
    says(&ending, Reason::Retrying, "waiting until it has ended");
    creates_nothing(&ending);
    let ended = ending.see(|o| o.pods[0].alive = false);
    assert_eq!(ended.plan().create().unwrap().metadata.name, Some(ended.job_name(1)));
    let status = ended.plan().status().unwrap();
    assert_eq!((status.run_hash, status.attempts, status.progress), (ended.hash(), 1, None));
}

#[test]
fn an_edit_of_anything_else_leaves_the_run_alone() {
    let case = Case::to_server().running().at_stage(Stage::Copying, 1, 2).done().see(|o| o.log = None);
    let plan = case.edit(|m| m.spec.pacing.batch_size = Some(500)).plan();
    assert!(plan.delete().is_empty() && plan.create().is_none());
    assert_eq!(plan.status().unwrap().observed_generation, 2);
}

#[test]
fn a_finished_run_never_runs_again_but_for_a_new_run_id() {
    let done = Case::to_server().running().succeeded(report::Reason::Verified).done();
    let quiet = done.clone().see(|o| (o.jobs, o.pods) = (vec![], vec![]));
    creates_nothing(&quiet);
    let edited = quiet.clone().edit(|m| m.spec.backoff_limit = 1);
    creates_nothing(&edited);
    assert_eq!(edited.plan().status().unwrap().observed_generation, 2);
    let suspended = quiet.clone().edit(|m| m.spec.suspend = true);
    assert_eq!(reason(&suspended.plan()), Reason::Verified);
    let again = quiet.edit(|m| m.spec.run_id = "2".into());
    assert!(again.plan().create().is_some());
}

#[test]
fn a_failed_run_waits_for_a_person_too() {
    let case = Case::to_server().running().failed_for_good(3, report::Reason::PreflightRefused).done();
    creates_nothing(&case);
    assert!(case.clone().edit(|m| m.spec.run_id = "2".into()).done().plan().create().is_some());
}

#[test]
fn suspend_deletes_the_job_and_resume_goes_on_with_a_new_attempt() {
    let case = Case::to_server().running().edit(|m| m.spec.suspend = true);
    says(&case, Reason::Preflight, "spec.suspend is true: pod ");
    assert_eq!(case.plan().delete().len(), 1);
    let ending = case.done();
    says(&ending.clone().edit(|m| m.spec.suspend = false), Reason::Retrying, "waiting until it has ended");
    let ended = ending.see(|o| o.pods[0].alive = false);
    says(&ended, Reason::Suspended, "set it to false");
    let ended = ended.done();
    assert_eq!(ended.plan().create().map(|_| ()), None);
    let resumed = ended.edit(|m| m.spec.suspend = false);
    assert_eq!(resumed.plan().create().unwrap().metadata.name, Some(resumed.job_name(2)));
}

#[test]
fn a_new_object_that_is_suspended_starts_nothing() {
    let case = Case::to_server().edit(|m| m.spec.suspend = true);
    says(&case, Reason::Suspended, "set it to false");
    creates_nothing(&case);
    assert_eq!(case.plan().status().unwrap().phase, Some(Phase::Suspended));
}

#[test]
fn the_deadline_counts_from_the_first_job_over_all_attempts() {
    let case = Case::to_server().edit(|m| m.spec.active_deadline_seconds = Some(100)).started();
    assert_eq!(case.world.jobs.len(), 1);
    let replaced = case.later(60).see(|o| o.jobs.clear());
    assert_eq!(replaced.plan().create().unwrap().spec.unwrap().active_deadline_seconds, Some(40));
    says(&replaced.later(40), Reason::DeadlineExceeded, "activeDeadlineSeconds have passed");
    let killed = Case::to_server().running().ended(4, None, Some(JobPhase::Failed("DeadlineExceeded".into())));
    says(&killed, Reason::DeadlineExceeded, "Raise it, then change runId");
}

#[test]
fn a_suspension_starts_the_deadline_anew() {
    let case = Case::to_server().edit(|m| m.spec.active_deadline_seconds = Some(100)).started();
    let case = case.edit(|m| m.spec.suspend = true).done().done().later(500).edit(|m| m.spec.suspend = false);
    assert_eq!(case.plan().create().unwrap().spec.unwrap().active_deadline_seconds, Some(100));
}

/// A suspension costs no try, and gives none back.
#[test]
fn the_jobs_of_a_run_share_its_backoff_limit() {
    let case = Case::to_server().running().see(|o| o.jobs[0].failed = 4).done();
    assert_eq!(case.migration.status.as_ref().unwrap().failures, 4);
    let suspended = case.edit(|m| m.spec.suspend = true).done().see(|o| o.pods.clear()).done();
    let resumed = suspended.edit(|m| m.spec.suspend = false);
    let job = resumed.plan().create().unwrap();
    assert_eq!(job.spec.as_ref().unwrap().backoff_limit, Some(2));
    let fact = memory_migration_operator::controller::observe::facts::job(&job, &[]);
    assert_eq!((fact.failed, fact.failed_before), (0, 4));
    // The second Job fails, too, and somebody removes it before it is seen: what was seen counts.
    let second = resumed.done().see(|o| (o.jobs[0].failed_before, o.jobs[0].failed) = (4, 3)).done();
    says(
        &second.see(|o| o.jobs.clear()),
        Reason::BackoffLimitExceeded,
        "the run has not succeeded; no retries are left",
    );
}

#[test]
fn suspending_again_and_again_uses_up_no_try() {
    let mut case = Case::to_server().running();
    for _ in 0..20 {
        case = case.edit(|m| m.spec.suspend = true).done().see(|o| o.pods.clear()).done();
        case = case.edit(|m| m.spec.suspend = false).done();
    }
    let status = case.migration.status.as_ref().unwrap();
    assert_eq!((status.attempts, status.failures), (21, 0));
    assert_eq!(case.world.jobs.len(), 1);
}

#[test]
fn another_run_starts_with_all_its_tries() {
    let case = Case::to_server().running().see(|o| o.jobs[0].failed = 4).done();
    let case = case.edit(|m| m.spec.run_id = "2".into()).done().see(|o| o.pods.clear());
    assert_eq!(case.plan().create().unwrap().spec.unwrap().backoff_limit, Some(6));
}

#[test]
fn the_ttl_is_set_only_when_the_status_holds_the_verdict() {
    let case = Case::to_server().edit(|m| m.spec.job_ttl_seconds_after_finished = Some(60)).running();
    let case = case.succeeded(report::Reason::Verified);
    assert!(case.plan().ttl().is_none());
    let (handle, seconds) = case.clone().done().plan().ttl().unwrap();
    assert_eq!((handle.name, seconds), (case.job_name(1), Some(60)));
    assert!(case.done().see(|o| o.jobs[0].ttl = Some(60)).plan().ttl().is_none());
}

#[test]
fn an_object_that_is_being_deleted_is_left_alone() {
    for case in [Case::to_server(), Case::to_server().running(), Case::to_claim().used_by("x", "prod")] {
        let plan = case.edit(|m| m.metadata.deletion_timestamp = Some(at(0))).plan();
        assert!(
            plan.create().is_none()
                && plan.status().is_none()
                && plan.take_lock().is_none()
                && plan.notices().is_empty()
        );
    }
}

#[test]
fn a_spec_that_cannot_run_is_said_and_stops_what_runs() {
    let case = Case::to_server().running().edit(|m| m.spec.pacing.delay = Some("5h".into()));
    says(&case, Reason::InvalidSpec, "spec.pacing.delay: \"5h\" is too long: write at most 1h");
    assert_eq!(case.plan().delete().len(), 1);
    let mended = case.done().see(|o| o.pods.clear()).edit(|m| m.spec.pacing.delay = Some("5s".into()));
    assert!(mended.plan().create().is_some());
}

#[test]
fn rules_that_came_after_the_object_are_checked_too() {
    let case = Case::to_server().edit(|m| m.spec.source.local.as_mut().unwrap().path = "../x".into());
    says(&case, Reason::InvalidSpec, "spec.source.local.path: write the folder as it is inside the claim");
    creates_nothing(&case);
}

#[test]
fn a_status_that_someone_forged_is_not_believed() {
    let honest = Case::to_server().running().succeeded(report::Reason::Verified).done();
    let honest = honest.see(|o| (o.jobs, o.pods) = (vec![], vec![]));
    creates_nothing(&honest);
    let forgeries: [fn(&mut memory_migration_operator::api::MemoryMigrationStatus); 10] = [
        |s| s.counts.as_mut().unwrap().target_after = 9,
        |s| s.run_hash = "0123456789abcdef".into(),
        |s| s.verification = None,
        |s| s.verification.as_mut().unwrap().result = "VerificationFailed".into(),
        |s| s.counts.as_mut().unwrap().missing = 1,
        |s| s.attempts = 0,
        |s| s.completion_time = None,
        |s| s.counts.as_mut().unwrap().verified = 3,
        |s| s.conditions[2].status = "True".into(),
        |s| s.counts = None,
    ];
    for forge in forgeries {
        let case = honest.clone().edit(|m| forge(m.status.as_mut().unwrap()));
        let plan = case.plan();
        assert!(plan.create().is_some(), "{:?}", case.migration.status);
        // It runs, and says so instead of what was forged.
        assert_eq!((reason(&plan), plan.status().unwrap().phase), (Reason::Preflight, Some(Phase::Pending)));
        assert!(plan.status().unwrap().counts.is_none());
    }
}

#[test]
fn whoever_forges_an_end_is_told_that_it_is_not_believed() {
    let honest = Case::to_server().running().succeeded(report::Reason::Verified).done();
    let forged = honest.see(|o| (o.jobs, o.pods) = (vec![], vec![]));
    let forged = forged.edit(|m| m.status.as_mut().unwrap().counts.as_mut().unwrap().verified = 3);
    let told = |case: &Case| -> Vec<String> {
        let notices = case.plan().notices().into_iter();
        notices.filter(|n| n.warning && n.reason == "StatusNotBelieved").map(|n| n.note).collect()
    };
    let notes = told(&forged);
    assert!(notes.len() == 1 && notes[0].contains("somebody else wrote it"), "{notes:?}");
    assert!(told(&forged.done()).is_empty(), "told once");
}

/// As long as the run's Job is there, it decides: also against a status that holds together.
#[test]
fn an_end_that_the_job_contradicts_is_not_believed() {
    let verified = Case::to_server().running().succeeded(report::Reason::Verified).done();
    let failed = verified.clone().see(|o| o.jobs[0].phase = JobPhase::Failed("PodFailurePolicy".into()));
    let failed = failed.see(|o| (o.pods[0].exit, o.pods[0].succeeded) = (Some(5), false));
    says(&failed, Reason::VerificationFailed, "");
    let other = verified.clone().edit(|m| {
        let counts = m.status.as_mut().unwrap().counts.as_mut().unwrap();
        (counts.source, counts.verified, counts.target_after) = (1_000_000, 1_000_000, 1_000_000);
    });
    says(&other, Reason::Verified, "");
    assert_eq!(other.plan().status().unwrap().counts.unwrap().verified, 10);
    let refused = Case::to_server().running().failed_for_good(3, report::Reason::PreflightRefused).done();
    creates_nothing(&refused);
    assert!(refused.clone().see(|o| o.pods.clear()).plan().status().is_none(), "a Job without its pods says less");
    assert!(verified.see(|o| o.pods.clear()).plan().status().is_none(), "and a complete one, too");
}

/// What cannot be told apart: after the Job is gone, the status is the only record of a run. Whoever may write
/// memorymigrations/status can claim an end; the chart gives that right to the operator alone.
#[test]
fn an_end_that_holds_together_is_believed_once_the_job_is_gone() {
    let honest = Case::to_server().running().succeeded(report::Reason::Verified).done();
    let gone = honest.see(|o| (o.jobs, o.pods) = (vec![], vec![]));
    assert!(gone.plan().status().is_none() && gone.plan().create().is_none());
}

#[test]
fn a_forged_end_beside_a_job_that_works_is_written_over() {
    let case = Case::to_server().running();
    let mut forged = Case::to_server().running().succeeded(report::Reason::Verified).done().migration.status.unwrap();
    forged.job_name = case.job_name(1);
    let case = case.edit(|m| m.status = Some(forged));
    let plan = case.plan();
    assert_eq!((reason(&plan), plan.status().unwrap().completion_time), (Reason::Preflight, None));
}

#[test]
fn too_many_collections_for_a_pod_are_said() {
    let case = Case::to_server().edit(|m| {
        m.spec.collections =
            (0..900).map(|n| memory_migration_operator::api::Selected::named(&format!("{n:0>300}"))).collect();
    });
    says(&case, Reason::InvalidSpec, "list fewer collections, or none to migrate all");
    creates_nothing(&case);
}
