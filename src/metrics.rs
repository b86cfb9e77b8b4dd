//! Every metric's name and labels: no other file names one. Labels are bounded: namespace and name only while the
//! object exists, everything else from closed lists.

mod schedules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use self::schedules::Schedules;
pub use self::schedules::ShownSchedule;
use crate::report::{Counts, Direction, Verdict};

/// Namespace and name of an object.
type Key = (String, String);

/// All metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconcile_duration: Histogram,
    reconcile_errors: IntCounterVec,
    runs: IntCounterVec,
    failures: IntCounterVec,
    run_duration: HistogramVec,
    records_total: IntCounterVec,
    build: IntGaugeVec,
    leader: IntGauge,
    phase: IntGaugeVec,
    waiting: IntGaugeVec,
    records: IntGaugeVec,
    recall: GaugeVec,
    progress: GaugeVec,
    rate: IntGaugeVec,
    last_success: IntGaugeVec,
    stale: IntGaugeVec,
    attempts: IntGaugeVec,
    schedules: Schedules,
    /// The objects that are shown, and what each waits for.
    objects: Mutex<BTreeMap<Key, Option<&'static str>>>,
}

/// What the metrics show of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// The phase that is 1; the others are 0.
    pub phase: &'static str,
    /// The reason for which it waits, if it does.
    pub waiting: Option<&'static str>,
    /// Numbers of records, once a run has ended.
    pub counts: Option<Counts>,
    /// The share of the exact nearest records that searches find, 0 to 1, once a run has ended that judged a query.
    pub recall: Option<f64>,
    /// The run was a dry run: what it would do has not become of any record, so none are shown.
    pub planned: bool,
    /// Share of the whole run, 0 to 1.
    pub progress: f64,
    /// Records per second.
    pub records_per_second: i64,
    /// Seconds since 1970 at which the last run succeeded; None for a dry run or without a success.
    pub last_success: Option<i64>,
    /// Whether that is longer ago than it is valid for; None where it is valid for ever, or without a success.
    pub stale: Option<bool>,
    /// Jobs that this run has had.
    pub attempts: i64,
}

const OBJECT: [&str; 2] = ["namespace", "name"];
/// What can fail in a look at an object.
const ERRORS: [&str; 5] = ["forbidden", "conflict", "api", "unreadable", "connection"];

impl Metrics {
    /// Registers every family. `failures`: the reasons for which a run can fail.
    ///
    /// # Errors
    /// When two families have one name: a bug.
    pub fn new(failures: &[&'static str]) -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("memory_migration".into()), None)?;
        let reconcile = HistogramOpts::new("reconcile_duration_seconds", "Seconds that looking at one object took.");
        let runs = HistogramOpts::new("run_duration_seconds", "Seconds from a run's first Job to its end.")
            .buckets(vec![10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14_400.0, 43_200.0, 86_400.0]);
        let counter = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let integer = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let real = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &OBJECT);
        let metrics = Self {
            reconcile_duration: Histogram::with_opts(reconcile)?,
            reconcile_errors: counter(
                "reconcile_errors_total",
                "Looks at an object that failed, by what failed.",
                &["reason"],
            )?,
            runs: counter("runs_total", "Runs that ended.", &["direction", "result"])?,
            failures: counter("failures_total", "Runs that failed, by why.", &["direction", "reason"])?,
            run_duration: HistogramVec::new(runs, &["direction"])?,
            records_total: counter(
                "records_total",
                "Records of ended runs, by what became of them.",
                &["direction", "outcome"],
            )?,
            build: integer("build_info", "1, with the version of this operator.", &["version"])?,
            leader: IntGauge::new("leader", "1 for the replica that leads, 0 for the others.")?,
            phase: integer(
                "status_phase",
                "1 for the object's phase, 0 for the others.",
                &["namespace", "name", "phase"],
            )?,
            waiting: integer(
                "waiting",
                "1 for an object that waits, with the reason in its conditions.",
                &["namespace", "name", "reason"],
            )?,
            records: integer("records", "Records of the object's last ended run.", &["namespace", "name", "state"])?,
            recall: real(
                "search_recall",
                "Share of the exact nearest records that searches in the target find, 0 to 1.",
            )?,
            progress: real("progress_ratio", "Share of the whole run, 0 to 1.")?,
            rate: integer("records_per_second", "Records per second of the current stage.", &OBJECT)?,
            last_success: integer(
                "last_success_timestamp_seconds",
                "When a run of the object last succeeded; a dry run is none.",
                &OBJECT,
            )?,
            stale: integer(
                "verification_stale",
                "1 if the object's last success is older than it is valid for, else 0.",
                &OBJECT,
            )?,
            attempts: integer("attempts", "Jobs that the object's run has had.", &OBJECT)?,
            schedules: Schedules::new(&registry)?,
            registry,
            objects: Mutex::default(),
        };
        metrics.register()?;
        metrics.begin(failures);
        Ok(metrics)
    }

    fn register(&self) -> prometheus::Result<()> {
        let families: [Box<dyn prometheus::core::Collector>; 17] = [
            Box::new(self.reconcile_duration.clone()),
            Box::new(self.reconcile_errors.clone()),
            Box::new(self.runs.clone()),
            Box::new(self.failures.clone()),
            Box::new(self.run_duration.clone()),
            Box::new(self.records_total.clone()),
            Box::new(self.build.clone()),
            Box::new(self.leader.clone()),
            Box::new(self.phase.clone()),
            Box::new(self.waiting.clone()),
            Box::new(self.records.clone()),
            Box::new(self.recall.clone()),
            Box::new(self.progress.clone()),
            Box::new(self.rate.clone()),
            Box::new(self.last_success.clone()),
            Box::new(self.stale.clone()),
            Box::new(self.attempts.clone()),
        ];
        families.into_iter().try_for_each(|family| self.registry.register(family))
    }

    /// Each series that counts is there from the start: one that came with its first run, or its first error, would hide
    /// that one, for Prometheus sees an increase only between two samples.
    fn begin(&self, failures: &[&'static str]) {
        self.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for reason in ERRORS {
            self.reconcile_errors.with_label_values(&[reason]);
        }
        for direction in Direction::ALL.map(Direction::as_str) {
            self.run_duration.with_label_values(&[direction]);
            for verdict in [Verdict::Succeeded, Verdict::Failed, Verdict::DryRun] {
                self.runs.with_label_values(&[direction, result(verdict)]);
            }
            for reason in failures {
                self.failures.with_label_values(&[direction, reason]);
            }
            for (outcome, _) in outcomes(&Counts::default()) {
                self.records_total.with_label_values(&[direction, outcome]);
            }
        }
    }

    /// This replica leads from now on. It never stops leading: a process that lost the Lease ends.
    pub fn leads(&self) {
        self.leader.set(1);
    }

    /// One look at an object took this long.
    pub fn reconciled(&self, seconds: f64) {
        self.reconcile_duration.observe(seconds);
    }

    /// One look at an object failed.
    pub fn failed(&self, reason: &'static str) {
        self.reconcile_errors.with_label_values(&[reason]).inc();
    }

    /// A run ended: called once for each verdict. `reason` is the one in its conditions.
    pub fn ended(
        &self,
        direction: Direction,
        verdict: Verdict,
        reason: &'static str,
        seconds: f64,
        counts: Option<&Counts>,
    ) {
        let direction = direction.as_str();
        self.runs.with_label_values(&[direction, result(verdict)]).inc();
        if verdict == Verdict::Failed {
            self.failures.with_label_values(&[direction, reason]).inc();
        }
        self.run_duration.with_label_values(&[direction]).observe(seconds);
        // What a dry run would do has not become of any record.
        if verdict != Verdict::DryRun {
            for (outcome, number) in counts.into_iter().flat_map(outcomes) {
                self.records_total.with_label_values(&[direction, outcome]).inc_by(number);
            }
        }
    }

    /// Shows an object.
    pub fn show(&self, namespace: &str, name: &str, phases: &[&'static str], shown: &Shown) {
        let labels = [namespace, name];
        for phase in phases {
            self.phase.with_label_values(&[namespace, name, phase]).set(i64::from(*phase == shown.phase));
        }
        if shown.planned {
            self.forget_records(namespace, name);
        }
        for (state, number) in shown.counts.iter().filter(|_| !shown.planned).flat_map(states) {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            self.records.with_label_values(&[namespace, name, state]).set(number);
        }
        // While a run goes on, the numbers of the last ended one stay.
        match shown.recall.filter(|_| !shown.planned) {
            Some(recall) => self.recall.with_label_values(&labels).set(recall),
            None if shown.counts.is_some() => drop(self.recall.remove_label_values(&labels)),
            None => {}
        }
        self.progress.with_label_values(&labels).set(shown.progress);
        self.rate.with_label_values(&labels).set(shown.records_per_second);
        self.attempts.with_label_values(&labels).set(shown.attempts);
        if let Some(second) = shown.last_success {
            self.last_success.with_label_values(&labels).set(second);
        }
        match shown.stale {
            Some(is_stale) => self.stale.with_label_values(&labels).set(i64::from(is_stale)),
            // one that was never shown cannot be removed: that is no error
            None => drop(self.stale.remove_label_values(&labels)),
        }
        let Ok(mut objects) = self.objects.lock() else { return };
        let before = objects.insert((namespace.into(), name.into()), shown.waiting).flatten();
        // A series that was never shown cannot be removed: that is no error.
        if let Some(before) = before.filter(|before| Some(*before) != shown.waiting) {
            let _ = self.waiting.remove_label_values(&[namespace, name, before]);
        }
        if let Some(reason) = shown.waiting {
            self.waiting.with_label_values(&[namespace, name, reason]).set(1);
        }
    }

    /// Shows a schedule.
    pub fn show_schedule(&self, namespace: &str, name: &str, shown: &ShownSchedule) {
        self.schedules.show(namespace, name, shown);
    }

    /// Shows a schedule that cannot be read.
    pub fn show_unreadable_schedule(&self, namespace: &str, name: &str) {
        self.schedules.stall(namespace, name, true);
    }

    /// Drops the series of all schedules that are not there any more.
    pub fn keep_schedules(&self, existing: &BTreeSet<Key>) {
        self.schedules.keep_only(existing);
    }

    /// Drops the series of all objects that are not there any more.
    pub fn keep_only(&self, existing: &BTreeSet<Key>, phases: &[&'static str]) {
        let Ok(mut objects) = self.objects.lock() else { return };
        objects.retain(|key, waiting| {
            let exists = existing.contains(key);
            if !exists {
                self.forget(key, *waiting, phases);
            }
            exists
        });
    }

    /// A series that was never shown cannot be removed: that is no error.
    fn forget(&self, (namespace, name): &Key, waiting: Option<&'static str>, phases: &[&'static str]) {
        let labels = [namespace.as_str(), name.as_str()];
        for phase in phases {
            let _ = self.phase.remove_label_values(&[labels[0], labels[1], phase]);
        }
        if let Some(reason) = waiting {
            let _ = self.waiting.remove_label_values(&[labels[0], labels[1], reason]);
        }
        self.forget_records(namespace, name);
        let _ = self.recall.remove_label_values(&labels);
        let _ = self.progress.remove_label_values(&labels);
        let _ = self.rate.remove_label_values(&labels);
        let _ = self.attempts.remove_label_values(&labels);
        let _ = self.last_success.remove_label_values(&labels);
        let _ = self.stale.remove_label_values(&labels);
    }

    fn forget_records(&self, namespace: &str, name: &str) {
        for (state, _) in states(&Counts::default()) {
            let _ = self.records.remove_label_values(&[namespace, name, state]);
        }
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// When a family cannot be written: a bug.
    pub fn text(&self) -> prometheus::Result<String> {
        let mut bytes = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

const fn result(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Succeeded => "Succeeded",
        Verdict::Failed => "Failed",
        Verdict::DryRun => "DryRun",
    }
}

/// What became of records, by the report's own words.
fn outcomes(counts: &Counts) -> [(&'static str, u64); 12] {
    let Counts {
        source: _,
        target_before: _,
        copied,
        present,
        conflicts_skipped,
        overwritten,
        duplicates,
        gone_from_source,
        came_later,
        extra: _,
        target_after: _,
        verified,
        different,
        missing,
        changed,
        unreadable,
    } = *counts;
    [
        ("copied", copied),
        ("present", present),
        ("conflictsSkipped", conflicts_skipped),
        ("overwritten", overwritten),
        ("duplicates", duplicates),
        ("goneFromSource", gone_from_source),
        ("cameLater", came_later),
        ("verified", verified),
        ("different", different),
        ("missing", missing),
        ("changed", changed),
        ("unreadable", unreadable),
    ]
}

/// The same with how many there are on both sides.
fn states(counts: &Counts) -> Vec<(&'static str, u64)> {
    let sides = [
        ("source", counts.source),
        ("targetBefore", counts.target_before),
        ("targetAfter", counts.target_after),
        ("extra", counts.extra),
    ];
    sides.into_iter().chain(outcomes(counts)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [&str; 2] = ["Copying", "Succeeded"];
    const REASONS: [&str; 2] = ["PreflightRefused", "VerificationFailed"];

    fn counts() -> Counts {
        Counts { source: 3, copied: 2, present: 1, verified: 3, ..Counts::default() }
    }

    #[test]
    fn a_run_is_counted_once_for_each_verdict() {
        let metrics = Metrics::new(&REASONS).unwrap();
        metrics.ended(Direction::LocalToRemote, Verdict::Succeeded, "Verified", 12.0, Some(&counts()));
        let text = metrics.text().unwrap();
        assert!(
            text.contains("memory_migration_runs_total{direction=\"local-to-remote\",result=\"Succeeded\"} 1"),
            "{text}"
        );
        assert!(text.contains("memory_migration_records_total{direction=\"local-to-remote\",outcome=\"verified\"} 3"));
        assert!(text.contains("memory_migration_run_duration_seconds_count{direction=\"local-to-remote\"} 1"));
    }

    #[test]
    fn a_failed_run_is_counted_by_its_reason_too() {
        let metrics = Metrics::new(&REASONS).unwrap();
        metrics.ended(Direction::RemoteToLocal, Verdict::Failed, "VerificationFailed", 12.0, None);
        metrics.ended(Direction::RemoteToLocal, Verdict::DryRun, "DryRunCompleted", 1.0, None);
        let text = metrics.text().unwrap();
        let line = |line: &str| assert!(text.lines().any(|l| l == line), "no {line}: {text}");
        line("memory_migration_runs_total{direction=\"remote-to-local\",result=\"Failed\"} 1");
        line("memory_migration_failures_total{direction=\"remote-to-local\",reason=\"VerificationFailed\"} 1");
        line("memory_migration_failures_total{direction=\"remote-to-local\",reason=\"PreflightRefused\"} 0");
        assert!(!text.contains("reason=\"DryRunCompleted\""), "{text}");
    }

    /// Otherwise the first failure of a kind would never be seen as an increase.
    #[test]
    fn what_counts_runs_begins_at_0() {
        let text = Metrics::new(&REASONS).unwrap().text().unwrap();
        for direction in Direction::ALL.map(Direction::as_str) {
            for series in [
                format!("runs_total{{direction=\"{direction}\",result=\"Failed\"}}"),
                format!("failures_total{{direction=\"{direction}\",reason=\"VerificationFailed\"}}"),
                format!("records_total{{direction=\"{direction}\",outcome=\"missing\"}}"),
                format!("run_duration_seconds_count{{direction=\"{direction}\"}}"),
            ] {
                assert!(text.contains(&format!("memory_migration_{series} 0\n")), "{series} is not there: {text}");
            }
        }
    }

    #[test]
    fn a_dry_run_counts_no_record() {
        let metrics = Metrics::new(&REASONS).unwrap();
        metrics.ended(Direction::LocalToRemote, Verdict::DryRun, "DryRunCompleted", 1.0, Some(&counts()));
        let text = metrics.text().unwrap();
        let mut records = text.lines().filter(|l| l.starts_with("memory_migration_records_total"));
        assert!(records.all(|line| line.ends_with(" 0")), "{text}");
    }

    #[test]
    fn a_replica_says_its_version_and_whether_it_leads() {
        let metrics = Metrics::new(&REASONS).unwrap();
        let build = format!("memory_migration_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"));
        let text = metrics.text().unwrap();
        assert!(text.contains(&build) && text.contains("memory_migration_leader 0\n"), "{text}");
        metrics.leads();
        assert!(metrics.text().unwrap().contains("memory_migration_leader 1\n"));
    }

    #[test]
    fn what_an_object_waits_for_is_one_series_as_long_as_it_waits() {
        let metrics = Metrics::new(&REASONS).unwrap();
        let show = |waiting| metrics.show("ns", "a", &PHASES, &Shown { phase: "Copying", waiting, ..Shown::default() });
        let seen = || -> Vec<String> {
            let text = metrics.text().unwrap();
            text.lines().filter(|l| l.starts_with("memory_migration_waiting")).map(Into::into).collect()
        };
        show(Some("VolumeInUse"));
        assert_eq!(seen(), ["memory_migration_waiting{name=\"a\",namespace=\"ns\",reason=\"VolumeInUse\"} 1"]);
        show(Some("TargetBusy"));
        assert_eq!(seen(), ["memory_migration_waiting{name=\"a\",namespace=\"ns\",reason=\"TargetBusy\"} 1"]);
        show(None);
        assert!(seen().is_empty());
        show(Some("TargetBusy"));
        metrics.keep_only(&BTreeSet::new(), &PHASES);
        assert!(seen().is_empty());
    }

    /// An alert asked people to keep a source of which nothing had been moved.
    #[test]
    fn a_dry_run_shows_no_records_not_even_those_of_the_run_before() {
        let metrics = Metrics::new(&REASONS).unwrap();
        let bad = Counts { unreadable: 2, ..counts() };
        let shown = |planned| Shown { phase: "Succeeded", counts: Some(bad), planned, ..Shown::default() };
        metrics.show("ns", "a", &PHASES, &shown(false));
        assert!(metrics.text().unwrap().contains("state=\"unreadable\"} 2"));
        metrics.show("ns", "a", &PHASES, &shown(true));
        assert!(!metrics.text().unwrap().contains("memory_migration_records{"));
    }

    /// What a schedule has missed is in its status: a restart of the operator does not begin at 0.
    #[test]
    fn series_of_schedules_live_as_long_as_their_object() {
        let metrics = Metrics::new(&REASONS).unwrap();
        let seen = || -> Vec<String> {
            let text = metrics.text().unwrap();
            let lines = text.lines().filter(|line| line.contains("name=\"nightly\""));
            lines.map(|line| line.replace("{name=\"nightly\",namespace=\"ns\"}", "")).collect()
        };
        let show = |shown| metrics.show_schedule("ns", "nightly", &shown);
        show(ShownSchedule::default());
        let nothing = ["memory_migration_schedule_missed_total 0", "memory_migration_schedule_stalled 0"];
        assert_eq!(seen(), nothing);
        let (generations, prune_failures) = (Some(4), Some(2));
        let shown = ShownSchedule {
            last_success: Some(7),
            missed: 3,
            generations,
            prune_failures,
            up_to_date: Some(false),
            stalled: true,
        };
        show(shown.clone());
        let all = [
            "memory_migration_schedule_generations 4",
            "memory_migration_schedule_last_success_timestamp_seconds 7",
            "memory_migration_schedule_missed_total 3",
            "memory_migration_schedule_prune_failures 2",
            "memory_migration_schedule_stalled 1",
            "memory_migration_schedule_up_to_date 0",
        ];
        assert_eq!(seen(), all);
        show(shown);
        assert_eq!(seen(), all);
        // made again under its name, before anybody saw that it was gone
        show(ShownSchedule::default());
        assert_eq!(seen(), nothing);
        metrics.show_unreadable_schedule("ns", "nightly");
        assert_eq!(seen()[1], "memory_migration_schedule_stalled 1");
        metrics.keep_schedules(&BTreeSet::new());
        assert_eq!(seen(), Vec::<String>::new());
    }

    #[test]
    fn the_recall_is_that_of_the_last_ended_run() {
        const SERIES: &str = "{name=\"a\",namespace=\"ns\"}";
        let metrics = Metrics::new(&REASONS).unwrap();
        let show = |ended: bool, planned, recall| {
            let counts = ended.then(counts);
            metrics.show(
                "ns",
                "a",
                &PHASES,
                &Shown { phase: "Succeeded", counts, planned, recall, ..Shown::default() },
            );
            let text = metrics.text().unwrap();
            let lines = text.lines().filter_map(|line| line.strip_prefix("memory_migration_search_recall"));
            lines.map(Into::into).collect::<Vec<String>>()
        };
        assert!(show(false, false, None).is_empty(), "a run that never ended has none");
        assert_eq!(show(true, false, Some(0.98)), [format!("{SERIES} 0.98")]);
        assert_eq!(show(false, false, None), [format!("{SERIES} 0.98")], "a run is under way");
        assert!(show(true, false, None).is_empty(), "it judged no query");
        assert_eq!(show(true, false, Some(0.0)), [format!("{SERIES} 0")], "nothing found is a number, too");
        assert!(show(true, true, Some(0.5)).is_empty(), "a dry run asks nothing");
        assert_eq!(show(true, false, Some(1.0)), [format!("{SERIES} 1")]);
        metrics.keep_only(&BTreeSet::new(), &PHASES);
        assert!(!metrics.text().unwrap().contains("memory_migration_search_recall{"));
    }

    #[test]
    fn series_live_as_long_as_their_object() {
        let metrics = Metrics::new(&REASONS).unwrap();
        let shown = Shown {
            phase: "Copying",
            counts: Some(counts()),
            progress: 0.5,
            last_success: Some(7),
            stale: Some(true),
            ..Shown::default()
        };
        metrics.show("ns", "a", &PHASES, &shown);
        metrics.show("ns", "b", &PHASES, &shown);
        let text = metrics.text().unwrap();
        assert!(
            text.contains("memory_migration_status_phase{name=\"a\",namespace=\"ns\",phase=\"Copying\"} 1"),
            "{text}"
        );
        assert!(text.contains("memory_migration_status_phase{name=\"a\",namespace=\"ns\",phase=\"Succeeded\"} 0"));
        assert!(text.contains("memory_migration_progress_ratio{name=\"a\",namespace=\"ns\"} 0.5"));
        assert!(text.contains("memory_migration_verification_stale{name=\"a\",namespace=\"ns\"} 1"));
        metrics.show("ns", "a", &PHASES, &Shown { stale: None, ..shown.clone() });
        let text = metrics.text().unwrap();
        assert!(!text.contains("memory_migration_verification_stale{name=\"a\""), "validFor was removed: {text}");
        metrics.keep_only(&BTreeSet::from([("ns".into(), "b".into())]), &PHASES);
        let text = metrics.text().unwrap();
        assert!(!text.contains("name=\"a\"") && text.contains("name=\"b\""), "{text}");
    }
}
