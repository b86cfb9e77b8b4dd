//! The series of schedules. As long as their object exists, and by the leader alone.

use std::collections::BTreeSet;
use std::sync::Mutex;

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{Key, OBJECT};

/// What the metrics show of one schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShownSchedule {
    /// Seconds since 1970 at which the newest migration ended that succeeded.
    pub last_success: Option<i64>,
    /// Due times without a migration.
    pub missed: u64,
    /// Generations whose run ended with Ready=True; None: it keeps none.
    pub generations: Option<i64>,
    /// Prune Jobs that failed in a row; None: it keeps no generations.
    pub prune_failures: Option<i64>,
    /// Whether the last success belongs to one of the two latest due times; None: that is not known yet.
    pub up_to_date: Option<bool>,
    /// Whether it makes nothing until a person corrects it.
    pub stalled: bool,
}

#[derive(Debug)]
pub(super) struct Schedules {
    last_success: IntGaugeVec,
    missed: IntCounterVec,
    generations: IntGaugeVec,
    prune_failures: IntGaugeVec,
    up_to_date: IntGaugeVec,
    stalled: IntGaugeVec,
    shown: Mutex<BTreeSet<Key>>,
}

impl Schedules {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &OBJECT);
        let all = Self {
            last_success: gauge(
                "schedule_last_success_timestamp_seconds",
                "When the schedule's newest migration ended that succeeded.",
            )?,
            missed: IntCounterVec::new(
                Opts::new("schedule_missed_total", "Due times of the schedule without a migration."),
                &OBJECT,
            )?,
            generations: gauge("schedule_generations", "Generations on the claim whose run ended with Ready=True.")?,
            prune_failures: gauge(
                "schedule_prune_failures",
                "Prune Jobs that failed in a row; 0 after one that did not.",
            )?,
            up_to_date: gauge(
                "schedule_up_to_date",
                "1 while the schedule's last success belongs to one of its two latest due times, else 0.",
            )?,
            stalled: gauge(
                "schedule_stalled",
                "1 while the schedule is wrong and makes no migration until a person corrects it, else 0.",
            )?,
            shown: Mutex::default(),
        };
        registry.register(Box::new(all.last_success.clone()))?;
        registry.register(Box::new(all.missed.clone()))?;
        registry.register(Box::new(all.generations.clone()))?;
        registry.register(Box::new(all.prune_failures.clone()))?;
        registry.register(Box::new(all.up_to_date.clone()))?;
        registry.register(Box::new(all.stalled.clone()))?;
        Ok(all)
    }

    pub(super) fn show(&self, namespace: &str, name: &str, shown: &ShownSchedule) {
        let labels = [namespace, name];
        let set = |gauge: &IntGaugeVec, value: Option<i64>| match value {
            Some(value) => gauge.with_label_values(&labels).set(value),
            // one that was never shown cannot be removed: that is no error
            None => drop(gauge.remove_label_values(&labels)),
        };
        set(&self.last_success, shown.last_success);
        set(&self.generations, shown.generations);
        set(&self.prune_failures, shown.prune_failures);
        set(&self.up_to_date, shown.up_to_date.map(i64::from));
        // The status holds the number: it goes on after a restart. Fewer are those of another schedule with that name.
        let missed = self.missed.with_label_values(&labels);
        if shown.missed < missed.get() {
            missed.reset();
        }
        missed.inc_by(shown.missed.saturating_sub(missed.get()));
        self.stall(namespace, name, shown.stalled);
    }

    /// Shows whether it makes nothing: of one that cannot be read nothing else is known, and its other series stay.
    pub(super) fn stall(&self, namespace: &str, name: &str, stalled: bool) {
        self.stalled.with_label_values(&[namespace, name]).set(i64::from(stalled));
        if let Ok(mut known) = self.shown.lock() {
            known.insert((namespace.into(), name.into()));
        }
    }

    pub(super) fn keep_only(&self, existing: &BTreeSet<Key>) {
        let Ok(mut known) = self.shown.lock() else { return };
        known.retain(|key| {
            let exists = existing.contains(key);
            if !exists {
                let labels = [key.0.as_str(), key.1.as_str()];
                let _ = self.last_success.remove_label_values(&labels);
                let _ = self.missed.remove_label_values(&labels);
                let _ = self.generations.remove_label_values(&labels);
                let _ = self.prune_failures.remove_label_values(&labels);
                let _ = self.up_to_date.remove_label_values(&labels);
                let _ = self.stalled.remove_label_values(&labels);
            }
            exists
        });
    }
}
