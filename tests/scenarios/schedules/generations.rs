//! Generations: which folders a schedule knows, which it removes, and in which order that is said, locked and done. The claim is a
//! map of folders here; its prune Job decides by that map alone, as the real one does by the files.

use std::collections::BTreeSet;

use memory_migration_operator::api::schedule::generation::{due_of_stamp, is_good, stamp};
use memory_migration_operator::controller::observe::world::Lock;
use memory_migration_operator::controller::schedule::plan::Write;
use memory_migration_operator::controller::schedule::world::Pause;
use proptest::prelude::*;

use super::{Case, at, end, words};

const HOURLY: &str = "  schedule: 0 * * * *\n  generations: {keep: {last: 2}}\n";

/// Hour by hour of the first morning: whether each run ends well.
fn hours(case: &mut Case, ends: &[bool]) {
    for (hour, good) in (1..).zip(ends) {
        case.comes_to(&format!("2026-11-26T{hour:02}:00:00Z"));
        case.ends(*good);
        done(case);
    }
}

/// Looks, and lets prune Jobs end, until nothing is left to do.
fn done(case: &mut Case) {
    for _ in 0..20 {
        case.settle();
        if case.claim.job.is_none() {
            return;
        }
        case.prunes();
    }
    panic!("it prunes again and again: {:#?}", case.status().pruning);
}

fn folders(case: &Case) -> Vec<String> {
    case.claim.folders.keys().map(|folder| folder[9..11].to_owned()).collect()
}

fn known(case: &Case) -> Vec<String> {
    case.status().generations.iter().map(|generation| generation.folder[9..11].to_owned()).collect()
}

#[test]
fn each_due_time_has_a_folder_and_the_status_shows_it() {
    let mut case = Case::new(HOURLY);
    case.comes_to("2026-11-26T01:00:00Z");
    assert_eq!(case.world.children[0].store, "backup:copies/20261126T010000Z/chroma");
    let verdict = |case: &Case| case.status().generations[0].verdict.clone();
    assert_eq!((verdict(&case).as_str(), case.status().good_generations), ("Incomplete", Some(0)));
    case.ends(true);
    done(&mut case);
    let shown = case.status().generations.remove(0);
    assert_eq!((shown.verdict.as_str(), shown.records, shown.fingerprint.as_str()), ("Verified", 10, "f00d"));
    assert_eq!((shown.bytes, case.status().good_generations), (4096, Some(1)));
    assert!(case.status().pruning.unwrap().complete, "the whole claim was looked at once");
}

#[test]
fn what_is_to_go_is_said_then_locked_then_read_again_then_removed() {
    let mut case = Case::new(HOURLY);
    hours(&mut case, &[true, true]);
    case.comes_to("2026-11-26T03:00:00Z");
    case.ends(true);
    let mut seen = Vec::new();
    for _ in 0..20 {
        let plan = case.look();
        plan.writes.iter().for_each(|write| case.carry_out(write));
        seen.extend(words(&plan).into_iter().filter(|word| !word.starts_with("tell Run")));
        if plan.writes.is_empty() && case.prunes().is_empty() {
            break;
        }
    }
    let wanted = [
        "status",
        "tell Removable",
        "take lock",
        "prune 20261126T010000Z",
        "status",
        "tell Pruned",
        "delete nightly-20261126t0100",
        "delete job nightly-prune-2",
        "give back lock",
        "status",
    ];
    assert_eq!(seen, wanted);
    assert_eq!((folders(&case), known(&case)), (vec!["02".into(), "03".into()], vec!["02".into(), "03".into()]));
    let pruning = case.status().pruning.unwrap();
    assert_eq!((pruning.removed, pruning.working), (vec!["20261126T010000Z".to_owned()], false));
    assert_eq!(case.claim.lock, Lock::Free);
}

#[test]
fn what_becomes_removable_while_it_waits_is_said_before_the_lock_is_taken() {
    let mut case = Case::new(HOURLY);
    hours(&mut case, &[true, true]);
    case.claim.lock = Lock::Theirs { holder: "team/restore".into() };
    hours_from(&mut case, 3, &[true]);
    assert_eq!(case.status().pruning.unwrap().removable, ["20261126T010000Z"]);
    case.comes_to("2026-11-26T04:00:00Z");
    case.ends(true);
    case.claim.lock = Lock::Free;
    assert_eq!(words(&case.look()), ["status", "tell RunSucceeded", "tell Removable"]);
    done(&mut case);
    assert_eq!(folders(&case), ["03", "04"]);
}

/// A clock that was ahead for one run, or a folder that somebody made.
#[test]
fn a_copy_that_is_due_in_the_future_neither_counts_nor_goes_and_the_status_says_so() {
    let mut case = Case::new(HOURLY);
    hours(&mut case, &[true, true]);
    case.comes_to("2036-11-26T05:00:00Z");
    case.ends(true);
    done(&mut case);
    assert_eq!(folders(&case), ["02", "05"], "by that clock they are the two newest");
    hours_from(&mut case, 3, &[true, true, true]);
    assert_eq!(case.claim.folders.len(), 3, "{:?}", case.claim.folders);
    let ahead = |case: &Case| -> Vec<(String, bool)> {
        let generations = case.status().generations;
        generations.into_iter().map(|generation| (generation.folder, generation.ahead)).collect()
    };
    let copy = |stamp: &str, ahead| (format!("{stamp}0000Z"), ahead);
    assert_eq!(ahead(&case), [copy("20261126T04", false), copy("20261126T05", false), copy("20361126T05", true)]);
    assert_eq!(case.status().last_success.unwrap().name, "nightly-20261126t0500");
    // when its time has come it is a copy like all others
    case.comes_to("2036-11-26T05:00:01Z");
    assert_eq!(ahead(&case).last(), Some(&copy("20361126T05", false)));
}

/// More than a status may hold, and than the API server takes.
#[test]
fn a_status_holds_five_hundred_copies_and_those_that_count_first() {
    let mut case = Case::new(HOURLY);
    hours(&mut case, &[true]);
    let all = |year: i64, count: i64| {
        (0..count).map(move |n| at("2020-01-01T00:00:00Z").as_second() + (year * 8766 + n) * 3600)
    };
    let folder = |second: i64| stamp(k8s_openapi::jiff::Timestamp::from_second(second).unwrap());
    for second in all(0, 300).chain(all(20, 600)) {
        case.claim.folders.insert(folder(second), "Verified".into());
    }
    // a status that was wiped is filled by a prune Job that looks at the whole claim
    case.schedule.status = None;
    done(&mut case);
    let generations = case.status().generations;
    assert_eq!(generations.len(), 500);
    assert_eq!(generations.iter().filter(|generation| !generation.ahead).count(), 2, "{:?}", case.status().pruning);
    assert_eq!(case.claim.folders.len(), 602, "those of the future stay, and two of the others");
}

/// Whoever reads the list of migrations takes each success for a copy.
#[test]
fn a_removed_generation_takes_its_migration_with_it() {
    let mut case = Case::new(HOURLY);
    hours(&mut case, &[true, true]);
    assert_eq!(case.names().len(), 2, "the limit is three");
    hours_from(&mut case, 3, &[true, false]);
    assert_eq!(case.names(), ["nightly-20261126t0200", "nightly-20261126t0300", "nightly-20261126t0400"]);
    assert_eq!((known(&case), case.status().missed), (vec!["02".into(), "03".into(), "04".into()], 0));
    assert!(case.status().pruning.unwrap().forgotten.is_empty(), "nothing is left to remember");
}

/// Its deletion may be refused: that does not bring the copy back.
#[test]
fn a_removed_generation_whose_migration_is_still_there_stays_removed() {
    let mut case = Case::new(HOURLY);
    hours(&mut case, &[true, true]);
    let until = at("2026-11-26T03:04:00Z").as_second();
    case.world.pause = Some(Pause { until, times: 1, said: "cannot delete: 403".into(), deletes: true });
    hours_from(&mut case, 3, &[true]);
    assert_eq!(case.names().len(), 3);
    assert_eq!(known(&case), ["02", "03"]);
    // run again by a person, it is there again, and not good before it has ended
    case.world.children[0].ended = None;
    case.settle();
    assert_eq!((known(&case).len(), case.status().good_generations), (3, Some(2)));
    case.comes_to("2026-11-26T03:30:00Z");
    assert_eq!(case.names().len(), 3, "what works is not removed");
}

#[test]
fn what_failed_goes_when_its_object_is_gone_and_a_newer_one_is_good() {
    let mut case = Case::new(&format!("{HOURLY}  failedHistoryLimit: 1\n"));
    hours(&mut case, &[true, false, false]);
    assert_eq!(folders(&case), ["01", "02", "03"], "no newer one is good");
    hours_from(&mut case, 4, &[true]);
    assert_eq!(folders(&case), ["01", "03", "04"], "the object of the failed run at three is still there");
    case.world.children.retain(|child| child.ended.as_ref().is_some_and(|end| end.succeeded));
    hours_from(&mut case, 5, &[true]);
    assert_eq!(folders(&case), ["04", "05"]);
}

fn hours_from(case: &mut Case, first: u32, ends: &[bool]) {
    for (hour, good) in (first..).zip(ends) {
        case.comes_to(&format!("2026-11-26T{hour:02}:00:00Z"));
        case.ends(*good);
        done(case);
    }
}

#[test]
fn nothing_goes_without_a_good_one() {
    let mut case = Case::new(&format!("{HOURLY}  failedHistoryLimit: 0\n"));
    hours(&mut case, &[false, false, false]);
    assert_eq!((folders(&case).len(), case.claim.job.is_none()), (3, true));
    assert!(case.status().pruning.unwrap().removable.is_empty());
}

#[test]
fn the_source_of_a_migration_that_has_not_ended_stays() {
    let mut case = Case::new(HOURLY);
    case.world.readers = [at("2026-11-26T01:00:00Z")].into();
    hours(&mut case, &[true, true, true, true]);
    assert_eq!(folders(&case), ["01", "03", "04"]);
    case.world.readers.clear();
    done(&mut case);
    assert_eq!(folders(&case), ["03", "04"]);
    // nobody knows what a migration reads that cannot be read
    case.world.unknown_readers = true;
    hours_from(&mut case, 5, &[true]);
    assert_eq!(folders(&case), ["03", "04", "05"]);
}

#[test]
fn pruning_waits_for_whoever_uses_the_claim_and_no_migration_waits_for_it_then() {
    let mut case = Case::new(HOURLY);
    hours(&mut case, &[true, true]);
    for wait in ["lock", "pod"] {
        let mut case = case.clone();
        match wait {
            "lock" => case.claim.lock = Lock::Theirs { holder: "MemoryMigration team/restore".into() },
            _ => case.claim.foreign = Some("pod chroma-0 uses claim backup".into()),
        }
        hours_from(&mut case, 3, &[true]);
        let said = case.status().pruning.unwrap().message;
        assert!(said.contains("restore writes the claim") || said.contains("pod chroma-0"), "{said}");
        assert_eq!((folders(&case).len(), case.claim.lock == Lock::Ours), (3, false), "{wait}");
        case.comes_to("2026-11-26T04:00:00Z");
        assert_eq!(case.names().len(), 4, "{wait}");
        (case.claim.lock, case.claim.foreign) = (Lock::Free, None);
        case.ends(true);
        done(&mut case);
        assert_eq!(folders(&case), ["03", "04"], "{wait}");
        assert_eq!(case.status().pruning.unwrap().message, "");
    }
}

#[test]
fn a_prune_job_that_fails_is_told_and_tried_again_after_a_pause() {
    let mut case = Case::new(HOURLY);
    hours(&mut case, &[true, true]);
    case.comes_to("2026-11-26T03:00:00Z");
    case.ends(true);
    case.settle();
    case.fails_to_prune();
    let told: Vec<String> = words(&case.look()).into_iter().filter(|word| word.starts_with("tell")).collect();
    assert_eq!(told, ["tell PruneFailed"]);
    case.settle();
    let pruning = case.status().pruning.unwrap();
    assert!(pruning.failures == 1 && pruning.message.contains("failed"), "{pruning:?}");
    assert!(case.claim.job.is_none() && case.claim.lock == Lock::Free, "nobody waits for it meanwhile");
    case.comes_to("2026-11-26T03:05:01Z");
    assert!(case.claim.job.is_some());
    done(&mut case);
    assert_eq!((folders(&case), case.status().pruning.unwrap().failures), (vec!["02".into(), "03".into()], 0));
}

/// A quota or a policy: backups go on.
#[test]
fn a_refused_prune_job_keeps_no_migration_from_being_made() {
    let mut case = Case::new(HOURLY);
    hours(&mut case, &[true, true]);
    let refused = |until: &str| {
        let until = at(until).as_second();
        Some(Pause { until, times: 1, said: "cannot create Job: 403".into(), deletes: false })
    };
    case.comes_to("2026-11-26T03:00:00Z");
    case.world.prune_pause = refused("2026-11-26T03:04:00Z");
    case.ends(true);
    case.settle();
    assert_eq!(case.status().pruning.unwrap().message, "cannot create Job: 403");
    case.world.prune_pause = refused("2026-11-26T04:04:00Z");
    case.comes_to("2026-11-26T04:00:00Z");
    assert_eq!((case.names().len(), case.claim.job.is_none()), (4, true));
}

/// A lock that cannot be given back is not asked for again and again.
#[test]
fn a_refused_deletion_is_left_for_a_while() {
    let mut case = Case::new(HOURLY);
    hours(&mut case, &[true, true]);
    case.comes_to("2026-11-26T03:00:00Z");
    case.ends(true);
    case.settle();
    case.prunes();
    let plan = case.look();
    plan.writes.iter().for_each(|write| case.carry_out(write));
    let until = case.now.as_second() + 300;
    case.world.prune_pause = Some(Pause { until, times: 1, said: "cannot delete Job: 403".into(), deletes: true });
    case.settle();
    assert!(case.claim.job.is_some() && case.claim.lock == Lock::Ours);
    case.world.prune_pause = None;
    done(&mut case);
    assert!(case.claim.job.is_none() && case.claim.lock == Lock::Free);
}

/// A schedule that is made anew under its name, or whose status was wiped, finds what is on its claim.
#[test]
fn what_an_earlier_schedule_of_that_name_left_is_found_and_said_before_it_goes() {
    let mut case = Case::new(HOURLY);
    for (day, verdict) in [(20, "Verified"), (21, "VerificationFailed"), (22, "Verified")] {
        case.claim.folders.insert(format!("202611{day}T020000Z"), verdict.into());
    }
    case.comes_to("2026-11-26T01:00:00Z");
    case.ends(true);
    case.settle();
    assert_eq!(case.prunes(), Vec::<String>::new(), "the first Job only looks");
    case.settle();
    assert_eq!(case.status().generations.len(), 4);
    assert_eq!(case.status().pruning.unwrap().removable, ["20261120T020000Z", "20261121T020000Z"]);
    done(&mut case);
    let left: Vec<&str> = case.claim.folders.keys().map(String::as_str).collect();
    assert_eq!(left, ["20261122T020000Z", "20261126T010000Z"]);
}

/// What the controller believes and what lies on the claim may differ: then nothing goes, and nobody tries for ever.
#[test]
fn what_the_files_keep_is_said_and_not_asked_for_again_and_again() {
    let mut case = Case::new(HOURLY);
    hours(&mut case, &[true, true]);
    // the record of the second one was damaged by hand
    case.claim.folders.insert("20261126T020000Z".into(), "Incomplete".into());
    case.comes_to("2026-11-26T03:00:00Z");
    case.ends(true);
    done(&mut case);
    let pruning = case.status().pruning.unwrap();
    assert_eq!((pruning.refused, pruning.working), (vec!["20261126T010000Z".to_owned()], false));
    assert!(pruning.message.contains("20261126T010000Z stays"), "{}", pruning.message);
    assert_eq!(folders(&case), ["01", "02", "03"]);
}

#[test]
fn without_generations_nothing_is_said_of_them_and_a_wrong_spec_ends_what_began() {
    let mut case = Case::new("  schedule: 0 * * * *\n");
    case.comes_to("2026-11-26T01:00:00Z");
    assert_eq!(case.world.children[0].store, "backup:copies");
    assert!(case.status().pruning.is_none() && case.status().good_generations.is_none());
    let mut case = Case::new(HOURLY);
    hours(&mut case, &[true, true]);
    case.comes_to("2026-11-26T03:00:00Z");
    case.ends(true);
    case.settle();
    case.schedule.spec.time_zone = "Mars/Olympus".into();
    case.prunes();
    done(&mut case);
    assert_eq!((case.claim.lock.clone(), case.said("Stalled").0.as_str()), (Lock::Free, "True"));
}

/// What happens between two looks.
#[derive(Clone, Debug)]
enum Step {
    /// So many minutes pass.
    Pass(i64),
    /// The migration at work ends.
    End(bool),
    /// The prune Job ends.
    Prunes,
    /// It fails.
    Fails,
    /// The process is killed after so many writes.
    Killed(usize),
    /// Somebody restores from the n-th folder, or nobody does.
    Reads(Option<usize>),
    /// `keep` is edited.
    Keep(i32, i32),
    /// Somebody wipes the status of generations.
    Wiped,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1_i64..130).prop_map(Step::Pass),
        6 => (0_u8..4).prop_map(|n| Step::End(n > 0)),
        5 => Just(Step::Prunes),
        1 => Just(Step::Fails),
        3 => (0_usize..6).prop_map(Step::Killed),
        2 => proptest::option::of(0_usize..8).prop_map(Step::Reads),
        1 => (1_i32..5, 0_i32..4).prop_map(|(last, daily)| Step::Keep(last, daily)),
        1 => Just(Step::Wiped),
    ];
    proptest::collection::vec(step, 1..80)
}

/// The prune Job works, and nothing goes that has to stay.
fn prunes(case: &mut Case) {
    let before = case.claim.folders.clone();
    let keep = case.schedule.spec.generations.clone().unwrap().keep;
    let edited = case.claim.job.as_ref().is_some_and(|(_, task)| task.keep != keep);
    let removed: BTreeSet<String> = case.prunes().into_iter().filter(|folder| before.contains_key(folder)).collect();
    let good: Vec<&String> = before.iter().filter(|(_, verdict)| is_good(verdict)).map(|(folder, _)| folder).collect();
    assert!(removed.is_empty() || !good.is_empty(), "without a good one");
    assert!(good.last().is_none_or(|newest| !removed.contains(*newest)), "the newest good one goes");
    let last = usize::try_from(keep.last).unwrap();
    if !edited {
        assert!(good.iter().rev().take(last).all(|folder| !removed.contains(*folder)), "one of the last {last} goes");
    }
    for folder in &removed {
        let due = due_of_stamp(folder).unwrap();
        let works = case.world.children.iter().any(|child| child.due == due && child.ended.is_none());
        assert!(!works, "{folder} is being written");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever happens, and wherever the process is killed: nothing goes that is to be kept, and in the end all else does.
    #[test]
    fn no_generation_is_lost_that_is_kept(steps in steps()) {
        let mut case = Case::new(HOURLY);
        case.settle();
        for step in &steps {
            match step {
                Step::Pass(minutes) => {
                    case.now = k8s_openapi::jiff::Timestamp::from_second(case.now.as_second() + minutes * 60).unwrap();
                    case.settle();
                }
                Step::End(good) => {
                    if case.world.children.last().is_some_and(|child| child.ended.is_none()) {
                        case.ends(*good);
                    }
                    case.settle();
                }
                Step::Prunes => {
                    prunes(&mut case);
                    case.settle();
                }
                Step::Fails => case.fails_to_prune(),
                Step::Killed(writes) => {
                    let plan = case.look();
                    plan.writes.iter().take(*writes).for_each(|write| case.carry_out(write));
                }
                Step::Reads(which) => {
                    // a restore waits while the lock is held: it is known before a Job is made, or comes after it
                    if case.claim.job.is_none() {
                        let folder = which.and_then(|n| case.claim.folders.keys().nth(n).cloned());
                        case.world.readers = folder.and_then(|folder| due_of_stamp(&folder)).into_iter().collect();
                    }
                }
                Step::Keep(last, daily) => {
                    let keep = &mut case.schedule.spec.generations.as_mut().unwrap().keep;
                    (keep.last, keep.daily) = (*last, *daily);
                }
                Step::Wiped => {
                    let status = case.schedule.status.as_mut().unwrap();
                    (status.pruning, status.generations) = (None, Vec::new());
                }
            }
            for due in case.world.readers.clone() {
                prop_assert!(case.claim.folders.contains_key(&stamp(due)), "the source of a restore is gone");
            }
        }
        // All is well from here on: two more runs, a day and more later, and what is kept is what the rules say.
        case.world.readers.clear();
        for _ in 0..3 {
            case.now = k8s_openapi::jiff::Timestamp::from_second(case.now.as_second() + 86_400).unwrap();
            case.world.children.iter_mut().for_each(|child| child.ended = child.ended.take().or(Some(end(false, case.now))));
            case.settle();
            case.ends(true);
            for _ in 0..6 {
                case.settle();
                prunes(&mut case);
            }
            case.settle();
        }
        prop_assert!(case.claim.job.is_none() && case.claim.lock == Lock::Free, "{:#?}", case.status().pruning);
        let good = case.claim.folders.values().filter(|verdict| is_good(verdict)).count();
        let keep = case.schedule.spec.generations.clone().unwrap().keep;
        prop_assert!(good <= usize::try_from(keep.last + keep.daily).unwrap(), "{:?}", case.claim.folders);
        prop_assert!(case.look().writes.iter().all(|write| matches!(write, Write::Tell(_))));
    }
}
