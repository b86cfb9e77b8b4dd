//! The age of evidence: `verification.validFor` and the condition `VerificationStale`, by the clock that is passed in.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use memory_migration_operator::api::conditions::{Reason, STALE};
use memory_migration_operator::report;

use super::fixtures::*;

const DAY: i64 = 24 * 3600;

fn valid_for(text: &str) -> Case {
    let case = Case::to_server().edit(|m| m.spec.verification.valid_for = Some(text.into()));
    case.running().succeeded(report::Reason::Verified).done()
}

fn said(case: &Case) -> Option<Condition> {
    let status = case.migration.status.as_ref().unwrap();
    status.conditions.iter().find(|c| c.type_ == STALE).cloned()
}

#[track_caller]
fn is(case: &Case, status: &str, reason: &str, words: &str) {
    let said = said(case).expect("the condition is there");
    assert_eq!((said.status.as_str(), said.reason.as_str()), (status, reason), "{}", said.message);
    assert!(said.message.contains(words), "{}", said.message);
    assert_eq!(said.observed_generation, case.migration.metadata.generation);
}

/// Nothing is read and nothing is written until it is time: one timed look, and one write.
#[test]
fn a_success_ages_and_is_written_once() {
    let fresh = valid_for("1h");
    is(&fresh, "False", "Valid", "is valid until 2023-11-14T23:13:20Z (verification.validFor: 1h)");
    assert_eq!(said(&fresh).unwrap().last_transition_time, at(0));
    for (age, again) in [(1, 3599), (1800, 1800), (3599, 1)] {
        let plan = fresh.clone().later(age).plan();
        assert!(plan.writes.is_empty(), "after {age} s: {plan:?}");
        assert_eq!(plan.requeue, Some(Duration::from_secs(again)), "after {age} s");
    }
    let old = fresh.later(3600);
    let plan = old.plan();
    assert_eq!((plan.writes.len(), plan.requeue), (1, None), "one write, and then silence: {plan:?}");
    let old = old.after(&plan);
    is(&old, "True", "Expired", "of 2023-11-14T22:13:20Z, proves nothing since 2023-11-14T23:13:20Z");
    assert!(said(&old).unwrap().message.contains("Change runId"), "what to do");
    assert_eq!(said(&old).unwrap().last_transition_time, at(3600));
    assert_eq!(reason_of(old.migration.status.as_ref().unwrap()), Reason::Verified, "the verdict stays what it was");
    for age in [1, DAY, 4000 * DAY] {
        let plan = old.clone().later(age).plan();
        assert!(plan.writes.is_empty() && plan.requeue.is_none(), "{plan:?}");
    }
}

/// A clock that was ten years ahead made a success that was valid for ten years and an hour.
#[test]
fn a_success_of_the_future_proves_nothing() {
    let now = valid_for("1h").later(3650 * DAY).done();
    let ahead = now.edit(|m| {
        let success = m.status.as_mut().unwrap().last_success.as_mut().unwrap();
        success.time = Some(at(2 * 3650 * DAY));
    });
    let plan = ahead.plan();
    assert_eq!(plan.requeue, Some(Duration::from_secs(86400)), "the clock may be what is wrong");
    let ahead = ahead.after(&plan);
    is(&ahead, "True", "Expired", "which has not come");
    assert!(ahead.plan().writes.is_empty());
    // two nodes need not have the same second
    let close = ahead.edit(|m| {
        let success = m.status.as_mut().unwrap().last_success.as_mut().unwrap();
        success.time = Some(at(3650 * DAY + 600));
    });
    is(&close.done(), "False", "Valid", "is valid until");
}

/// A timer of the runtime holds for two years at most.
#[test]
fn years_are_waited_for_day_by_day() {
    let case = valid_for("3650d");
    let plan = case.clone().later(5).plan();
    assert_eq!((plan.writes.len(), plan.requeue), (0, Some(Duration::from_secs(86400))));
    let plan = case.later(3650 * DAY - 7).plan();
    assert_eq!((plan.writes.len(), plan.requeue), (0, Some(Duration::from_secs(7))));
}

#[test]
fn it_is_said_only_with_an_age_and_a_success() {
    let forever = Case::to_server().running().succeeded(report::Reason::Verified).done();
    assert_eq!(said(&forever), None);
    assert_eq!(said(&valid_for("")), None, "an empty text is for ever");
    let edit = |case: Case, text: Option<&str>| {
        let case = case.edit(|m| m.spec.verification.valid_for = text.map(Into::into));
        let plan = case.plan();
        assert!(plan.create().is_none(), "another age is no other run");
        case.after(&plan)
    };
    is(&edit(forever.later(7200), Some("1h")), "True", "Expired", "validFor (1h)");
    let old = valid_for("1h").later(7200).done();
    is(&edit(old.clone(), Some("3h")), "False", "Valid", "(verification.validFor: 3h)");
    assert_eq!(said(&edit(old, None)), None);
    let dry = Case::to_server().edit(|m| (m.spec.dry_run, m.spec.verification.valid_for) = (true, Some("1h".into())));
    assert_eq!(said(&dry.running().succeeded(report::Reason::DryRunCompleted).done()), None, "a plan is no evidence");
    let never = Case::to_server().edit(|m| m.spec.verification.valid_for = Some("1h".into())).running();
    let failed = never.failed_for_good(5, report::Reason::VerificationFailed).done();
    assert_eq!((said(&failed), failed.plan().requeue), (None, None));
}

/// It is about the last success, whatever the run after it does.
#[test]
fn a_later_run_that_fails_or_waits_renews_nothing() {
    let next = valid_for("1h").later(60).edit(|m| m.spec.run_id = "two".into());
    let next = next.see(|o| (o.jobs, o.pods) = (vec![], vec![])).done();
    is(&next, "False", "Valid", "22:13:20Z, is valid until");
    let next = next.see(|o| o.pods.push(pod_fact(&o.jobs[0].name)));
    let failed = next.clone().failed_for_good(5, report::Reason::VerificationFailed).done();
    let plan = failed.clone().later(100).plan();
    assert_eq!((plan.writes.len(), plan.requeue), (0, Some(Duration::from_secs(3440))));
    is(&failed.later(4000).done(), "True", "Expired", "proves nothing since");
    // while a run works, the next look is as near as it always is
    let late = next.clone().later(3600);
    assert!(late.plan().requeue.unwrap() <= Duration::from_secs(5));
    is(&late.done(), "True", "Expired", "");
    let again = next.later(4000).done().see(|o| o.pods[0].ended = None).succeeded(report::Reason::Verified).done();
    is(&again, "False", "Valid", "of 2023-11-14T23:21:00Z, is valid");
}

/// Evidence about another target says nothing of this one.
#[test]
fn a_success_of_another_target_is_no_evidence() {
    let moved = valid_for("1h").later(60).see(|o| (o.jobs, o.pods) = (vec![], vec![])).edit(|m| {
        m.spec.target.remote.as_mut().unwrap().database = Some("other".into());
    });
    assert_eq!(said(&moved.done()), None);
}

/// What somebody wrote there is put right, once.
#[test]
fn a_forged_age_is_put_right() {
    let forged = valid_for("1h").later(7200).done().edit(|m| {
        let conditions = &mut m.status.as_mut().unwrap().conditions;
        let stale = conditions.iter_mut().find(|c| c.type_ == STALE).unwrap();
        (stale.status, stale.reason) = ("False".into(), "Valid".into());
    });
    let forged = forged.done();
    is(&forged, "True", "Expired", "");
    assert!(forged.plan().writes.is_empty());
}
