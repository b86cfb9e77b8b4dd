//! The table of situations: every reason that there is, and how it is reached. A new reason fails to compile here.

use memory_migration_operator::api::conditions::{READY, RECONCILING, Reason, STALLED, Situation};
use memory_migration_operator::api::{Phase, VerificationMode};
use memory_migration_operator::controller::observe::world::{Endpoint, JobPhase, Lock, Trouble};
use memory_migration_operator::report::{self, Stage};

use super::fixtures::*;

/// A case whose next look says this reason.
fn reached(reason: Reason) -> Case {
    let run = || Case::to_server().running();
    let at = |stage| run().at_stage(stage, 3, 10);
    let gone = |what: &str| Endpoint::Missing(what.into());
    let trouble = || Trouble { reason, message: "what happened; what to do".into() };
    let gave_up = |said| {
        let summary = summary(&Case::to_server().hash(), said);
        run().ended(4, Some(summary), Some(JobPhase::Failed("BackoffLimitExceeded".into())))
    };
    match reason {
        Reason::Preflight => Case::to_server(),
        Reason::Copying => at(Stage::Copying),
        Reason::Verifying => at(Stage::Verifying),
        Reason::Repairing => at(Stage::Repairing),
        Reason::VolumeInUse => Case::to_claim().used_by("chroma-0", "prod"),
        Reason::TargetBusy => Case::to_server().see(|o| o.lock = Lock::Theirs { holder: "team/other".into() }),
        Reason::SourceNotFound => Case::to_server().see(|o| o.source = gone("no claim dev: create it")),
        Reason::SourceEmpty => {
            let summary = summary(&Case::to_server().hash(), report::Reason::SourceEmpty);
            run().ended(4, Some(summary), None)
        }
        Reason::TargetNotFound => Case::to_server().see(|o| o.target = gone("no Service chroma: create it")),
        // From the quota's event about a Job that may make no pod; these come from the pod: see `troubles`.
        Reason::NotAdmitted => Case::to_server().started().see(|o| o.jobs[0].trouble = Some(trouble())),
        Reason::SecretNotReady
        | Reason::NodeLost
        | Reason::NoProgress
        | Reason::ImagePullFailed
        | Reason::PodUnschedulable
        | Reason::MountFailed
        | Reason::ServerCrashLooping
        | Reason::ClaimsOnDifferentNodes => run().trouble(reason, "what happened; what to do"),
        Reason::Retrying => {
            let summary = summary(&Case::to_server().hash(), report::Reason::Unavailable);
            run().ended(4, Some(summary), None)
        }
        Reason::PreflightRefused => run().failed_for_good(3, report::Reason::PreflightRefused),
        Reason::VerificationFailed => run().failed_for_good(5, report::Reason::VerificationFailed),
        Reason::SearchDegraded => run().failed_for_good(5, report::Reason::SearchDegraded),
        Reason::RecordConflict => run().failed_for_good(6, report::Reason::RecordConflict),
        Reason::BackoffLimitExceeded => gave_up(report::Reason::Unavailable),
        Reason::OutOfMemory => {
            let gave_up = JobPhase::Failed("BackoffLimitExceeded".into());
            run().ended(137, None, Some(gave_up)).see(|o| o.pods[0].cause = Some(trouble()))
        }
        Reason::DeadlineExceeded => run().ended(4, None, Some(JobPhase::Failed("DeadlineExceeded".into()))),
        Reason::SourceReplaced => run().failed_for_good(3, report::Reason::SourceReplaced),
        Reason::SourceChanging => gave_up(report::Reason::SourceChanging),
        Reason::InvalidSpec => Case::to_server().edit(|m| m.spec.pacing.batch_size = Some(0)),
        Reason::InternalError => run().succeeded(report::Reason::CountsVerified),
        Reason::Suspended => Case::to_server().edit(|m| m.spec.suspend = true),
        Reason::Verified => run().succeeded(report::Reason::Verified),
        Reason::VerifiedWithSkips => run().succeeded(report::Reason::VerifiedWithSkips),
        Reason::CountsVerified => {
            let counts = Case::to_server().edit(|m| m.spec.verification.mode = VerificationMode::Counts);
            counts.running().succeeded(report::Reason::CountsVerified)
        }
        Reason::DryRunCompleted => {
            let dry = Case::to_server().edit(|m| m.spec.dry_run = true);
            dry.running().succeeded(report::Reason::DryRunCompleted)
        }
    }
}

#[test]
fn every_reason_is_reached_with_its_row_of_the_table() {
    for wanted in Reason::ALL.iter().copied() {
        let case = reached(wanted);
        let plan = case.plan();
        assert_eq!(reason(&plan), wanted, "{}", message(&plan));
        let status = plan.status().unwrap();
        let is = |kind: &str| status.conditions.iter().any(|c| c.type_ == kind && c.status == "True");
        let row = match wanted.situation() {
            Situation::Running | Situation::Waiting => (false, true, false),
            Situation::NeedsPerson => (false, false, true),
            Situation::Suspended => (false, false, false),
            Situation::Done => (true, false, false),
        };
        assert_eq!((is(READY), is(RECONCILING), is(STALLED)), row, "{wanted:?}");
        let generation = case.migration.metadata.generation;
        assert!(status.conditions.iter().all(|c| c.observed_generation == generation && !c.message.is_empty()));
        assert_eq!(status.observed_generation, generation.unwrap());
        if wanted != Reason::Preflight {
            assert_eq!(status.phase, Some(wanted.phase()), "{wanted:?}");
        }
    }
}

/// Nothing is written, told or made while nothing changes, in whatever situation.
#[test]
fn nothing_is_written_while_nothing_changes() {
    for reason in Reason::ALL.iter().copied() {
        let mut case = reached(reason).done().later(3600);
        case.world.log = None;
        let plan = case.plan();
        assert!(plan.writes.is_empty(), "{reason:?}: {plan:?}");
        // What waits for a person or for nothing is looked at again only when something changes.
        let waits = matches!(reason.situation(), Situation::Running | Situation::Waiting);
        assert_eq!(plan.requeue.is_some(), waits, "{reason:?}");
    }
}

/// What a person should know is an event, once; that a new object is looked at is none.
#[test]
fn every_change_of_reason_is_told_once_and_warns_where_somebody_may_have_to_look() {
    for wanted in Reason::ALL.iter().copied().filter(|reason| *reason != Reason::Preflight) {
        let case = reached(wanted);
        let plan = case.plan();
        let notices = plan.notices();
        let about: Vec<_> = notices.iter().filter(|n| n.reason == wanted.as_str()).collect();
        assert_eq!(about.len(), 1, "{wanted:?}: {:?}", plan.notices());
        let warns = matches!(wanted.situation(), Situation::Waiting | Situation::NeedsPerson);
        assert_eq!((about[0].warning, about[0].note.as_str()), (warns, message(&plan).as_str()));
        assert!(about[0].note.len() <= 1024, "an event's note is refused beyond 1 KiB");
    }
}

/// A failure's sentence says what to do; none of the texts is only a word.
#[test]
fn whoever_must_act_reads_what_to_do() {
    for reason in Reason::ALL.iter().copied().filter(|reason| reason.situation() == Situation::NeedsPerson) {
        let said = message(&reached(reason).plan());
        let remedy =
            ["change runId", "write ", "Set onConflict", "Raise it"].into_iter().any(|word| said.contains(word));
        assert!(remedy, "{reason:?}: {said}");
    }
}

#[test]
fn a_message_longer_than_an_event_takes_is_cut_between_characters() {
    let case = Case::to_server().see(|o| o.source = Endpoint::Missing("ü€😀".repeat(150)));
    let plan = case.plan();
    // 1,000 bytes would end within a character
    assert_eq!((message(&plan).len(), message(&plan).ends_with('…')), (998, true));
    assert!(plan.notices().iter().all(|n| n.note.len() <= 1024));
}

#[test]
fn every_phase_is_shown_by_some_reason() {
    let shown: Vec<Phase> = Reason::ALL.iter().filter_map(|r| reached(*r).plan().status().unwrap().phase).collect();
    for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Preflight) {
        assert!(shown.contains(&phase), "{phase:?}");
    }
    let checks = Case::to_server().running().at_stage(Stage::Preflight, 0, 0).plan().status().unwrap();
    assert_eq!(checks.phase, Some(Phase::Preflight));
}
