//! Schedules over years: clocks that change and jump, an operator that is away or killed between any two writes, children
//! that take their time. Whatever happens: no two children of one due time, no two at work, and every due time is a child,
//! missed, or in a suspension.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use memory_migration_operator::api::ConcurrencyPolicy;
use memory_migration_operator::controller::schedule::plan::{Plan, Write};
use proptest::prelude::*;

use super::{Case, at, end};

/// What happens between two looks.
#[derive(Clone, Debug)]
enum Step {
    /// So many seconds pass, and the operator looks.
    Pass(i64),
    /// So many seconds pass, in which the operator is away.
    Away(i64),
    /// The child at work ends.
    End(bool),
    /// What is deleted is gone, but its Job works on, or not.
    Gone(bool),
    /// The last Job that works ends.
    JobEnds,
    /// `spec.suspend` is turned over.
    Suspend,
    /// The process is killed after so many writes.
    Killed(usize),
    /// Forbid becomes Replace, and back.
    Policy,
    /// The clock is set.
    Jump(i64),
}

fn steps(jumps: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1_i64..90_000).prop_map(Step::Pass),
        2 => (1_i64..3_000_000).prop_map(Step::Away),
        4 => any::<bool>().prop_map(Step::End),
        2 => any::<bool>().prop_map(Step::Gone),
        2 => Just(Step::JobEnds),
        1 => Just(Step::Suspend),
        3 => (0_usize..4).prop_map(Step::Killed),
        1 => Just(Step::Policy),
        1 => (-5_000_000_i64..5_000_000).prop_map(move |s| if jumps { Step::Jump(s) } else { Step::Pass(s.abs() % 900) }),
    ];
    proptest::collection::vec(step, 1..60)
}

struct Run {
    case: Case,
    /// Due times of all children that were ever made.
    made: BTreeSet<Timestamp>,
    /// Due times in a suspension without a child.
    suspended: BTreeSet<Timestamp>,
    /// Children that were deleted before they ended.
    replaced: BTreeSet<Timestamp>,
    /// Whether the clock was ever set back.
    went_back: bool,
}

impl Run {
    fn due_times(&self, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let calendar = self.case.schedule.calendar().unwrap();
        let all = std::iter::successors(calendar.after(after), |due| calendar.after(*due));
        all.take_while(|due| *due <= until).collect()
    }

    fn carry_out(&mut self, plan: &Plan, most: usize) {
        for write in plan.writes.iter().take(most) {
            match write {
                Write::Create(migration) => {
                    let before: BTreeSet<_> = self.case.world.children.iter().map(|child| child.due).collect();
                    self.case.carry_out(write);
                    let due = self.case.world.children.iter().find(|child| !before.contains(&child.due)).unwrap().due;
                    let first = self.made.insert(due);
                    assert!(first || self.went_back, "{:?} is made twice", migration.metadata.name);
                }
                Write::Status(status) => {
                    if let (true, Some(until)) = (self.case.schedule.spec.suspend, &status.accounted_until) {
                        let from = self.case.status().accounted_until.map_or(at(super::CREATED), |from| from.0);
                        let new = self.due_times(from, until.0);
                        self.suspended.extend(new.into_iter().filter(|due| !self.made.contains(due)));
                    }
                    self.case.carry_out(write);
                }
                Write::Delete(child) => {
                    let seen = self.case.world.children.iter().find(|there| there.uid == child.uid).unwrap();
                    if seen.ended.is_none() {
                        self.replaced.insert(child.due);
                    }
                    self.case.carry_out(write);
                    self.case.world.children.retain(|child| !child.deleting || child.ended.is_none());
                }
                Write::Tell(_) => {}
                Write::Claim(_) => panic!("{write:?} without generations"),
            }
        }
    }

    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 20, "it writes again and again: {:?}", self.case.look().writes);
            let plan = self.case.look();
            if plan.writes.is_empty() {
                return;
            }
            self.carry_out(&plan, usize::MAX);
        }
    }

    fn step(&mut self, step: &Step) {
        let second = |case: &Case, seconds: i64| Timestamp::from_second(case.now.as_second() + seconds).unwrap();
        match step {
            Step::Pass(seconds) => {
                self.case.now = second(&self.case, *seconds);
                self.settle();
            }
            Step::Away(seconds) => self.case.now = second(&self.case, *seconds),
            Step::Jump(seconds) => {
                self.went_back |= *seconds < 0;
                self.case.now = second(&self.case, *seconds).max(at(super::CREATED));
                self.settle();
            }
            Step::End(succeeded) => {
                let now = self.case.now;
                if let Some(child) = self.case.world.children.iter_mut().find(|c| c.ended.is_none() && !c.deleting) {
                    child.ended = Some(end(*succeeded, now));
                }
                self.settle();
            }
            Step::Gone(works) => {
                let gone = self.case.world.children.iter().position(|child| child.deleting);
                if let Some(gone) = gone {
                    let child = self.case.world.children.remove(gone);
                    self.case.world.left.extend(works.then_some(child.name));
                }
                self.settle();
            }
            Step::JobEnds => {
                self.case.world.left.clear();
                self.settle();
            }
            Step::Suspend => {
                // What was due before is accounted for as it was.
                self.settle();
                self.case.schedule.spec.suspend = !self.case.schedule.spec.suspend;
                self.settle();
            }
            Step::Killed(writes) => {
                let plan = self.case.look();
                self.carry_out(&plan, *writes);
            }
            Step::Policy => {
                let policy = &mut self.case.schedule.spec.concurrency_policy;
                *policy = match policy {
                    ConcurrencyPolicy::Forbid => ConcurrencyPolicy::Replace,
                    ConcurrencyPolicy::Replace => ConcurrencyPolicy::Forbid,
                };
                self.settle();
            }
        }
    }

    /// Every due time up to where the status says is a child, missed or suspended.
    fn adds_up(&self) {
        let status = self.case.status();
        let Some(until) = status.accounted_until.map(|until| until.0) else { return };
        let all = self.due_times(at(super::CREATED), until);
        let made = self.made.iter().filter(|due| **due <= until).count();
        // One that makes way counts when it is gone.
        let gone = |due: &&Timestamp| !self.case.world.children.iter().any(|child| child.due == **due);
        let replaced = self.replaced.iter().filter(gone).count();
        let pending = usize::from(status.replacing.is_some_and(|child| {
            let due = child.schedule_time.unwrap().0;
            self.replaced.contains(&due) && !self.case.world.children.iter().any(|child| child.due == due)
        }));
        let missed = usize::try_from(status.missed).unwrap();
        assert_eq!(all.len(), made + self.suspended.len() + missed + pending - replaced, "{:#?}", self.case.status());
    }
}

fn run(lines: &str) -> Run {
    Run {
        case: Case::new(lines),
        made: BTreeSet::new(),
        suspended: BTreeSet::new(),
        replaced: BTreeSet::new(),
        went_back: false,
    }
}

const SCHEDULES: [&str; 6] = ["0 2 * * *", "*/30 * * * *", "30 2 * * *", "0 0 * * SUN", "15 1-3 * * *", "0 * * * *"];
const ZONES: [&str; 4] = ["Etc/UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_due_time_is_one_child_or_missed_or_suspended(
        schedule in proptest::sample::select(&SCHEDULES[..]),
        zone in proptest::sample::select(&ZONES[..]),
        deadline in proptest::option::of(1_i64..100_000),
        limits in (0_i32..4, 0_i32..4),
        steps in steps(false),
    ) {
        let lines = format!("  schedule: \"{schedule}\"\n  timeZone: {zone}\n  successfulHistoryLimit: {}\n  failedHistoryLimit: {}\n", limits.0, limits.1);
        let mut run = run(&lines);
        run.case.schedule.spec.starting_deadline_seconds = deadline;
        for step in &steps {
            run.step(step);
            run.adds_up();
        }
        run.settle();
        run.adds_up();
        if let Some(success) = run.case.status().last_success {
            prop_assert!(run.case.names().contains(&success.name.as_str()), "its proof is gone");
        }
    }

    /// A clock that was set back may make a due time again, for nobody knows what became of it; never two at once, and
    /// within a period there is a child again.
    #[test]
    fn a_clock_that_jumps_stops_nothing_for_long(
        schedule in proptest::sample::select(&SCHEDULES[..]),
        zone in proptest::sample::select(&ZONES[..]),
        steps in steps(true),
    ) {
        let mut run = run(&format!("  schedule: \"{schedule}\"\n  timeZone: {zone}\n"));
        for step in &steps {
            run.step(step);
        }
        // From here on all is well: what works ends, and time goes on.
        run.case.schedule.spec.suspend = false;
        run.case.world.left.clear();
        run.case.world.children.retain(|child| !child.deleting);
        let now = run.case.now;
        run.case.world.children.iter_mut().for_each(|child| child.ended = child.ended.take().or(Some(end(true, now))));
        run.settle();
        run.case.world.children.iter_mut().for_each(|child| child.ended = child.ended.take().or(Some(end(true, now))));
        let calendar = run.case.schedule.calendar().unwrap();
        let mut due = calendar.after(run.case.now).unwrap();
        // The one after a jump back by less than a period may be a child already.
        for _ in 0..2 {
            run.case.now = due;
            run.settle();
            let newest = run.case.world.children.iter().any(|child| child.due == due);
            let status = run.case.status();
            prop_assert!(newest || status.accounted_until.clone().unwrap().0 >= due, "{status:#?}");
            let now = run.case.now;
            run.case.world.children.iter_mut().for_each(|child| child.ended = child.ended.take().or(Some(end(true, now))));
            due = calendar.after(due).unwrap();
        }
    }
}
