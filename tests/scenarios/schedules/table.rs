//! What a look at a schedule decides, situation by situation.

use memory_migration_operator::api::{ConcurrencyPolicy, Mode};
use memory_migration_operator::controller::schedule::plan::Write;
use memory_migration_operator::controller::schedule::world::{self, Refusal, next_pause};
use serde_json::json;

use super::{Case, UID, at, end, job_of, words};

const NIGHTLY: &str = "  schedule: 0 2 * * *\n";

#[test]
fn before_the_first_due_time_it_is_ready_and_nothing_is_made() {
    let mut case = Case::new(NIGHTLY);
    let plan = case.settle();
    assert_eq!(case.names(), Vec::<&str>::new());
    assert_eq!(case.said("Ready"), ("True".into(), "Scheduled".into()));
    assert_eq!(case.said("Stalled").0, "False");
    assert_eq!(case.said("LastRunSucceeded"), ("Unknown".into(), "NoRunEnded".into()));
    assert_eq!(case.said("UpToDate"), ("Unknown".into(), "NoRunEnded".into()));
    let status = case.status();
    assert_eq!((status.missed, status.observed_generation), (0, 1));
    assert_eq!(status.next_schedule_time.unwrap().0, at("2026-11-26T02:00:00Z"));
    assert!(plan.requeue.unwrap().as_secs() <= 300, "a clock may be set");
}

#[test]
fn at_its_time_one_migration_is_made_with_the_template_s_labels_alone() {
    let mut case = Case::new(NIGHTLY);
    case.settle();
    case.now = at("2026-11-26T02:00:00Z");
    let plan = case.look();
    assert_eq!(words(&plan), ["create nightly-20261126t0200", "status", "tell Made"]);
    let Write::Create(migration) = &plan.writes[0] else { panic!("{plan:?}") };
    let metadata = serde_json::to_value(&migration.metadata).unwrap();
    let wanted = json!({
        "name": "nightly-20261126t0200", "namespace": "team", "labels": {"team": "search"},
        "annotations": {"owner": "search"},
        "ownerReferences": [{"apiVersion": "memory-migration.dev/v1alpha1", "kind": "MemoryMigrationSchedule",
            "name": "nightly", "uid": UID, "controller": true, "blockOwnerDeletion": true}]});
    assert_eq!(metadata, wanted);
    assert_eq!(migration.spec.target.local.as_ref().unwrap().path, "copies");
    case.settle();
    let status = case.status();
    assert_eq!(status.active.unwrap().name, "nightly-20261126t0200");
    assert_eq!(status.last_schedule_time.unwrap().0, at("2026-11-26T02:00:00Z"));
    assert_eq!(status.missed, 0);
}

/// A restore drill, or a nightly comparison of two servers.
#[test]
fn a_template_that_only_compares_makes_migrations_that_only_compare() {
    let mut case = Case::new(NIGHTLY);
    case.schedule.spec.template.spec.mode = Mode::Verify;
    case.now = at("2026-11-26T02:00:00Z");
    let plan = case.look();
    let Some(Write::Create(migration)) = plan.writes.first() else { panic!("{plan:?}") };
    assert_eq!(migration.spec, case.schedule.spec.template.spec);
    case.settle();
    case.ends(true);
    case.comes_to("2026-11-26T02:10:00Z");
    assert_eq!(case.said("LastRunSucceeded"), ("True".into(), "Verified".into()));
}

#[test]
fn a_success_is_said_and_outlives_the_next_run() {
    let mut case = Case::new(NIGHTLY);
    case.comes_to("2026-11-26T02:00:00Z");
    case.ends(true);
    case.comes_to("2026-11-26T02:10:00Z");
    assert_eq!(case.said("LastRunSucceeded"), ("True".into(), "Verified".into()));
    assert_eq!(case.said("UpToDate"), ("True".into(), "Recent".into()));
    let success = case.status().last_success.unwrap();
    assert_eq!(
        (success.name.as_str(), success.records, success.fingerprint.as_str()),
        ("nightly-20261126t0200", 10, "f00d")
    );
    // The second night fails: the copy of the first is still one of the two latest.
    case.comes_to("2026-11-27T02:00:00Z");
    case.ends(false);
    case.comes_to("2026-11-27T02:10:00Z");
    assert_eq!(case.said("LastRunSucceeded"), ("False".into(), "VerificationFailed".into()));
    assert_eq!(case.said("UpToDate").0, "True");
    // With the third due time it is too old.
    case.comes_to("2026-11-28T02:00:00Z");
    assert_eq!(case.said("UpToDate"), ("False".into(), "TooOld".into()));
    assert_eq!(case.status().last_success.unwrap().name, "nightly-20261126t0200");
    case.ends(true);
    case.comes_to("2026-11-28T02:10:00Z");
    assert_eq!(case.said("UpToDate").0, "True");
    assert_eq!(case.status().last_success.unwrap().name, "nightly-20261128t0200");
}

#[test]
fn a_first_run_that_fails_is_no_unknown() {
    let mut case = Case::new(NIGHTLY);
    case.comes_to("2026-11-26T02:00:00Z");
    case.ends(false);
    case.comes_to("2026-11-26T02:10:00Z");
    assert_eq!(case.said("UpToDate"), ("False".into(), "NoSuccess".into()));
}

#[test]
fn forbid_misses_a_due_time_while_the_one_before_works() {
    let mut case = Case::new(NIGHTLY);
    case.comes_to("2026-11-26T02:00:00Z");
    case.comes_to("2026-11-27T02:00:00Z");
    assert_eq!(case.names(), ["nightly-20261126t0200"]);
    assert_eq!(case.status().missed, 1);
    case.ends(true);
    // It is missed for good, however soon the one before ends.
    case.comes_to("2026-11-27T02:00:30Z");
    assert_eq!(case.names(), ["nightly-20261126t0200"]);
    case.comes_to("2026-11-28T02:00:00Z");
    assert_eq!(case.names(), ["nightly-20261126t0200", "nightly-20261128t0200"]);
    assert_eq!(case.status().missed, 1);
}

#[test]
fn a_job_or_pod_of_a_migration_that_is_gone_still_works() {
    let mut case = Case::new(NIGHTLY);
    case.settle();
    case.world.left =
        world::left("nightly", &[], &[job_of("nightly-20261125t0200"), job_of("other-20261125t0200")], &[]);
    assert_eq!(case.world.left, ["nightly-20261125t0200"]);
    case.comes_to("2026-11-26T02:00:00Z");
    assert_eq!((case.names(), case.status().missed), (Vec::new(), 1));
}

#[test]
fn replace_deletes_the_one_before_and_waits_for_its_job_and_pod() {
    let mut case = Case::new(&format!("{NIGHTLY}  concurrencyPolicy: Replace\n"));
    case.comes_to("2026-11-26T02:00:00Z");
    case.now = at("2026-11-27T02:00:00Z");
    let plan = case.look();
    assert_eq!(words(&plan), ["status", "tell Replacing", "delete nightly-20261126t0200"]);
    case.settle();
    assert_eq!(case.status().missed, 0, "it is not gone yet");
    assert!(case.world.children[0].deleting);
    // Its Job and pod are left: nothing is made.
    case.world.children.clear();
    case.world.left = vec!["nightly-20261126t0200".into()];
    case.comes_to("2026-11-27T02:00:20Z");
    assert_eq!((case.names(), case.status().missed), (Vec::new(), 1));
    case.world.left.clear();
    case.comes_to("2026-11-27T02:00:30Z");
    assert_eq!((case.names(), case.status().missed), (vec!["nightly-20261127t0200"], 1));
    assert_eq!(case.status().replacing, None);
}

#[test]
fn one_that_ends_before_it_is_deleted_is_not_replaced() {
    let mut case = Case::new(&format!("{NIGHTLY}  concurrencyPolicy: Replace\n"));
    case.comes_to("2026-11-26T02:00:00Z");
    case.now = at("2026-11-27T02:00:00Z");
    // The process is killed after the status.
    let plan = case.look();
    plan.writes[..1].iter().for_each(|write| case.carry_out(write));
    case.ends(true);
    case.settle();
    assert_eq!(case.names(), ["nightly-20261126t0200", "nightly-20261127t0200"]);
    assert_eq!(case.status().missed, 0);
    assert_eq!(case.status().last_success.unwrap().name, "nightly-20261126t0200");
}

#[test]
fn after_the_deadline_a_due_time_is_missed() {
    for (deadline, late, made) in [
        ("", "2026-11-26T23:00:00Z", true),
        ("60", "2026-11-26T02:01:00Z", true),
        ("60", "2026-11-26T02:01:01Z", false),
    ] {
        let line = if deadline.is_empty() { String::new() } else { format!("  startingDeadlineSeconds: {deadline}\n") };
        let mut case = Case::new(&format!("{NIGHTLY}{line}"));
        case.settle();
        case.comes_to(late);
        assert_eq!((case.names().len() == 1, case.status().missed), (made, i64::from(!made)), "{deadline} {late}");
    }
}

#[test]
fn what_was_due_while_the_operator_was_away_is_made_once_and_the_rest_is_missed() {
    let mut case = Case::new("  schedule: 0 * * * *\n");
    case.settle();
    case.comes_to("2026-11-28T10:20:00Z");
    assert_eq!(case.names(), ["nightly-20261128t1000"]);
    assert_eq!(case.status().missed, 57);
    assert_eq!(case.status().last_missed_time.unwrap().0, at("2026-11-28T09:00:00Z"));
}

/// Ten years of every minute are counted in looks that end.
#[test]
fn years_are_counted_and_a_clock_that_jumps_to_the_end_of_time_hangs_nothing() {
    let mut case = Case::new("  schedule: '* * * * *'\n");
    case.settle();
    case.now = at("2028-11-26T00:30:00Z");
    let plan = case.look();
    assert_eq!(plan.requeue.map(|pause| pause.as_secs()), Some(30), "the rest is counted later");
    plan.writes.iter().for_each(|write| case.carry_out(write));
    assert_eq!((case.status().missed, case.names()), (1_000_001, Vec::new()));
    case.settle();
    let minutes = (at("2028-11-26T00:30:00Z").as_second() - at(super::CREATED).as_second()) / 60;
    assert_eq!(case.status().missed, minutes - 1, "and then all are, but the one that is made");
}

#[test]
fn a_clock_that_is_set_back_over_days_stops_no_backup() {
    let mut case = Case::new(NIGHTLY);
    case.comes_to("2026-11-26T02:00:00Z");
    case.ends(true);
    // Forward by mistake, and back.
    case.comes_to("2036-11-26T03:00:00Z");
    case.ends(true);
    let names = |case: &Case| case.names().iter().map(ToString::to_string).collect::<Vec<_>>();
    let before = names(&case);
    case.comes_to("2026-11-26T04:00:00Z");
    assert_eq!(names(&case), before);
    case.comes_to("2026-11-27T02:00:00Z");
    assert!(case.names().contains(&"nightly-20261127t0200"), "{:?}", case.names());
    // Back by less than a period: the due time that was made is not made again.
    case.ends(true);
    let all = case.names().len();
    case.comes_to("2026-11-27T01:30:00Z");
    case.comes_to("2026-11-27T02:00:10Z");
    assert_eq!(case.names().len(), all);
}

/// A run that succeeded while the clock was ten years ahead made `UpToDate` true for as long, whatever failed since.
#[test]
fn a_success_of_a_wrong_clock_stands_for_no_later_run() {
    let mut case = Case::new(NIGHTLY);
    case.comes_to("2036-11-26T02:00:00Z");
    case.ends(true);
    case.settle();
    assert_eq!(case.said("UpToDate"), ("True".into(), "Recent".into()));
    case.comes_to("2026-11-26T03:00:00Z");
    assert_eq!(case.said("UpToDate"), ("False".into(), "Ahead".into()));
    for day in [27, 28] {
        case.comes_to(&format!("2026-11-{day}T02:00:00Z"));
        let name = format!("nightly-202611{day}t0200");
        let made = case.world.children.iter_mut().find(|child| child.name == name).expect("it is made");
        made.ended = Some(end(false, at("2026-11-27T02:10:00Z")));
        case.settle();
        assert_eq!(case.said("UpToDate").0, "False", "{day}");
        assert_eq!(case.said("LastRunSucceeded"), ("False".into(), "VerificationFailed".into()), "{day}");
        assert_eq!(case.status().last_ended.unwrap().name, name);
    }
    case.comes_to("2026-11-29T02:00:00Z");
    case.world.children.iter_mut().find(|child| child.ended.is_none()).unwrap().ended = Some(end(true, case.now));
    case.settle();
    assert_eq!(case.said("UpToDate"), ("True".into(), "Recent".into()));
    assert_eq!(case.status().last_success.unwrap().name, "nightly-20261129t0200");
}

#[test]
fn suspended_it_makes_nothing_and_counts_nothing() {
    let mut case = Case::new(NIGHTLY);
    case.settle();
    case.schedule.spec.suspend = true;
    case.comes_to("2026-11-29T12:00:00Z");
    assert_eq!((case.names(), case.status().missed), (Vec::new(), 0));
    assert_eq!(case.said("Ready"), ("True".into(), "Suspended".into()));
    assert_eq!(case.status().next_schedule_time, None);
    case.schedule.spec.suspend = false;
    case.comes_to("2026-11-29T12:00:10Z");
    assert_eq!((case.names(), case.status().missed), (Vec::new(), 0), "what passed is not made up for");
    case.comes_to("2026-11-30T02:00:00Z");
    assert_eq!(case.names(), ["nightly-20261130t0200"]);
}

#[test]
fn an_edit_of_the_schedule_makes_nothing_for_times_that_have_passed() {
    let mut case = Case::new(NIGHTLY);
    case.comes_to("2026-11-26T02:00:00Z");
    case.ends(true);
    case.comes_to("2026-11-26T15:00:00Z");
    case.schedule.spec.schedule = "0 14 * * *".into();
    case.comes_to("2026-11-26T15:00:10Z");
    assert_eq!((case.names().len(), case.status().missed), (1, 0));
    assert_eq!(case.status().next_schedule_time.unwrap().0, at("2026-11-27T14:00:00Z"));
}

#[test]
fn a_schedule_that_is_wrong_is_stalled_with_a_sentence_and_forgets_nothing() {
    let mut case = Case::new(NIGHTLY);
    case.comes_to("2026-11-26T02:00:00Z");
    case.ends(true);
    case.settle();
    for (wrong, said) in [
        ("schedule", "spec.schedule: \"nightly\" is no schedule"),
        ("zone", "spec.timeZone: there is no time zone"),
        ("template", "spec.template.spec.pacing.delay"),
    ] {
        let mut case = case.clone();
        match wrong {
            "schedule" => case.schedule.spec.schedule = "nightly".into(),
            "zone" => case.schedule.spec.time_zone = "Mars/Olympus".into(),
            _ => case.schedule.spec.template.spec.pacing.delay = Some("9h".into()),
        }
        case.comes_to("2026-11-27T03:00:00Z");
        assert_eq!(case.said("Stalled"), ("True".into(), "InvalidSpec".into()), "{wrong}");
        assert_eq!(case.said("Ready"), ("False".into(), "InvalidSpec".into()), "{wrong}");
        let status = case.status();
        let message = &status.conditions[1].message;
        assert!(message.starts_with(said), "{message}");
        assert_eq!(case.names().len(), 1, "{wrong}");
        assert!(status.last_success.is_some() && case.said("LastRunSucceeded").0 == "True");
    }
}

#[test]
fn history_keeps_as_many_as_the_limits_say_and_always_the_last_success() {
    let mut case = Case::new("  schedule: 0 * * * *\n  successfulHistoryLimit: 1\n  failedHistoryLimit: 2\n");
    case.settle();
    for (hour, succeeded) in [(1, true), (2, true), (3, false), (4, false), (5, false), (6, false)] {
        case.comes_to(&format!("2026-11-26T0{hour}:00:00Z"));
        case.ends(succeeded);
        case.settle();
    }
    assert_eq!(case.names(), ["nightly-20261126t0200", "nightly-20261126t0500", "nightly-20261126t0600"]);
    let mut case = Case::new("  schedule: 0 * * * *\n  successfulHistoryLimit: 0\n  failedHistoryLimit: 0\n");
    case.settle();
    for (hour, succeeded) in [(1, true), (2, true), (3, false)] {
        case.comes_to(&format!("2026-11-26T0{hour}:00:00Z"));
        case.ends(succeeded);
        case.settle();
    }
    assert_eq!(case.names(), ["nightly-20261126t0200"]);
    assert_eq!(case.status().last_ended.unwrap().name, "nightly-20261126t0300");
}

/// Otherwise a child that ends and goes in one look would never be told of.
#[test]
fn no_object_goes_before_the_status_holds_how_it_ended() {
    let mut case = Case::new("  schedule: 0 * * * *\n  failedHistoryLimit: 0\n");
    case.settle();
    case.comes_to("2026-11-26T01:00:00Z");
    case.ends(false);
    assert_eq!(words(&case.look()), ["status", "tell RunFailed"]);
    case.settle();
    assert_eq!(case.names(), Vec::<&str>::new());
    assert_eq!(case.said("LastRunSucceeded").0, "False");
}

#[test]
fn nothing_is_written_about_a_schedule_that_is_being_deleted() {
    let mut case = Case::new(NIGHTLY);
    case.settle();
    case.schedule.metadata.deletion_timestamp = case.schedule.metadata.creation_timestamp.clone();
    case.now = at("2026-11-26T02:00:00Z");
    assert_eq!(words(&case.look()), Vec::<String>::new());
}

#[test]
fn a_refused_migration_is_said_and_tried_again_after_a_pause() {
    let mut case = Case::new(NIGHTLY);
    case.settle();
    case.now = at("2026-11-26T02:00:00Z");
    let refusal = Refusal {
        what: "create MemoryMigration team/nightly-20261126t0200".into(),
        code: Some(403),
        why: "quota".into(),
        ..Refusal::default()
    };
    case.world.pause = Some(next_pause(None, &refusal, case.now));
    let plan = case.settle();
    assert_eq!(case.said("Ready"), ("False".into(), "NotAdmitted".into()));
    assert!(case.status().conditions[0].message.contains("403: quota"));
    assert_eq!(plan.requeue.unwrap().as_secs(), 60);
    assert_eq!((case.names(), case.status().missed), (Vec::new(), 0));
    case.comes_to("2026-11-26T02:01:00Z");
    assert_eq!(case.names(), ["nightly-20261126t0200"]);
    assert_eq!(case.said("Ready").0, "True");
    let pauses: Vec<i64> = (0..5)
        .scan(None, |before, _| {
            let pause = next_pause(before.as_ref(), &refusal, case.now);
            let left = pause.left(case.now);
            *before = Some(pause);
            left
        })
        .collect();
    assert_eq!(pauses, [60, 120, 240, 300, 300]);
}

/// A deletion that is refused keeps no backup from being made.
#[test]
fn a_refused_deletion_of_an_old_migration_stops_no_new_one() {
    let mut case = Case::new("  schedule: 0 * * * *\n  failedHistoryLimit: 0\n");
    case.comes_to("2026-11-26T01:00:00Z");
    case.world.children[0].ended = Some(end(false, case.now));
    let refusal = Refusal { what: "delete it".into(), code: Some(403), deletes: true, ..Refusal::default() };
    case.world.pause = Some(next_pause(None, &refusal, at("2026-11-26T02:00:00Z")));
    case.comes_to("2026-11-26T02:00:00Z");
    assert_eq!(case.names(), ["nightly-20261126t0100", "nightly-20261126t0200"]);
    assert_eq!(case.said("Ready").0, "True");
    assert_eq!(case.schedule.spec.concurrency_policy, ConcurrencyPolicy::Forbid);
}
