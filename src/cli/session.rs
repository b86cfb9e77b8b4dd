//! What every run of a migration needs around it: log, signals, progress on a terminal or in lines, the report, the table.
//! Moves no record.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::flags::{LogFormat, Telling};
use super::{output, report};
use crate::engine::Outcome;
use crate::engine::fingerprint::of_collections;
use crate::engine::progress::Tracker;
use crate::exit::Exit;
use crate::report::evidence::{self, Digest};
use crate::report::{CollectionReport, Line, Progress, Reason, Report, Stage, Summary};
use crate::telemetry;

/// How often a log line tells the progress where no terminal shows it.
const EVERY: Duration = Duration::from_secs(2);
/// How often it is told in a pod where nothing changes: the controller misses it after ten times as long.
const STILL_ALIVE: Duration = Duration::from_secs(30);

/// Runs `work` with everything around it, tells its outcome, and gives its exit code.
pub(super) async fn run<F>(
    telling: &Telling,
    pod: Option<Pod>,
    work: impl FnOnce(Tracker, CancellationToken) -> F,
) -> Exit
where
    F: Future<Output = Result<Outcome, Failure>>,
{
    if let Some(Err(error)) = telling.report.as_deref().map(open_for_writing) {
        output::error(&error);
        return Exit::Usage;
    }
    let on_terminal = std::io::stderr().is_terminal() && telling.log_format == LogFormat::Text;
    telemetry::init(telling.log_format == LogFormat::Json, on_terminal);
    let stop = CancellationToken::new();
    let signals = tokio::spawn(cancel_on_signal(stop.clone()));
    let (mut tracker, progress) = Tracker::new();
    if pod.is_some() {
        tracker.on_listed(|listed| machine_line(&Line::Listed(listed)));
        tracker.on_overwrites(|records, wait| machine_line(&Line::Overwrites { records, seconds: wait.as_secs() }));
    }
    let last = progress.clone();
    let show = tokio::spawn(show(progress, on_terminal, telling.log_format));
    let ended = work(tracker, stop).await;
    // its sender went with the work, so it ends by itself
    drop(show.await);
    signals.abort();
    match ended {
        Ok(outcome) => {
            let exit = tell(telling, &outcome, pod.is_some());
            let stage = last.borrow().stage;
            let waits = pod.as_ref().is_some_and(|pod| pod.wait_exit && has_to_wait(outcome.report.reason, stage));
            let exit = if waits { Exit::Waiting } else { exit };
            if let Some(pod) = pod {
                // at the end of the log, where the controller looks for them
                report_lines(&outcome.report);
                let kept = evidence::text(&outcome.report, pod.values);
                evidence::lines(&kept).iter().for_each(machine_line);
                let summary = Summary::of(&outcome.report, fingerprint(&outcome.report));
                pod.tell(&Summary { report: Some(Digest::of(&kept)), ..summary });
            }
            exit
        }
        Err(Failure { exit, message }) => {
            output::error(&message);
            if let Some(pod) = pod {
                let reason = if exit == Exit::Interrupted { Reason::Unavailable } else { Reason::InvalidSpec };
                pod.tell(&Summary { reason, ..Summary::refused(message) });
            }
            exit
        }
    }
}

/// What the operator's Job expects of a container.
pub(super) struct Pod {
    /// The file that the kubelet reads the verdict from.
    pub(super) termination_log: PathBuf,
    /// The run that the verdict is for.
    pub(super) run_hash: String,
    /// The report in the log has values, not only ids and fields.
    pub(super) values: bool,
    /// A wait ends with an exit code of its own, which counts as no failed try.
    pub(super) wait_exit: bool,
}

/// Whether a run that ended so waits for something that only it can see: before it copied anything.
const fn has_to_wait(reason: Reason, stage: Stage) -> bool {
    matches!(stage, Stage::Preflight)
        && matches!(reason, Reason::SourceNotFound | Reason::SourceEmpty | Reason::TargetNotFound | Reason::TargetBusy)
}

impl Pod {
    fn tell(self, summary: &Summary) {
        let summary = Summary { run_hash: self.run_hash, ..summary.clone() };
        if let Err(error) = std::fs::write(&self.termination_log, summary.to_json()) {
            // the exit code still tells whether it went well, and the controller verifies again
            output::error(&format!("failed to write the verdict to {}: {error}", self.termination_log.display()));
        }
    }
}

/// One line a collection for the controller, its differences left out. The first ones come last: the controller reads the
/// log's end, and shows the first ones.
fn report_lines(report: &Report) {
    let of = u32::try_from(report.collections.len()).unwrap_or(u32::MAX);
    let numbered: Vec<_> = (1..).zip(&report.collections).collect();
    for (number, collection) in numbered.into_iter().rev() {
        let collection = CollectionReport { differences: Vec::new(), ..collection.clone() };
        machine_line(&Line::Collection { number, of, report: Box::new(collection) });
    }
}

/// SHA-256 over all collections' fingerprints; empty without a full verification.
pub(super) fn fingerprint(report: &Report) -> String {
    if report.collections.iter().all(|c| c.fingerprint.is_empty()) {
        return String::new();
    }
    let several = report.has_databases();
    // a collection's name has no slash
    let name = |c: &CollectionReport| {
        if several { format!("{}/{}", c.database, c.target_name) } else { c.target_name.clone() }
    };
    let named: Vec<(String, &str)> = report.collections.iter().map(|c| (name(c), c.fingerprint.as_str())).collect();
    of_collections(named.iter().map(|(name, fingerprint)| (name.as_str(), *fingerprint)))
}

/// Why there is no outcome to tell.
#[derive(Debug)]
pub(super) struct Failure {
    /// The exit code.
    pub(super) exit: Exit,
    /// What happened and what to do.
    pub(super) message: String,
}

impl Failure {
    /// Bad arguments or a bad manifest.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// Refused for what is there; nothing was written.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, message: message.into() }
    }

    /// Something outside failed: a rerun resumes.
    pub(super) fn outside(message: impl Into<String>) -> Self {
        Self { exit: Exit::Interrupted, message: message.into() }
    }
}

async fn cancel_on_signal(stop: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return tracing::warn!("termination signals cannot be watched: they will end this at once");
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("termination signal: ending after the write under way; run it again to resume");
    stop.cancel();
}

async fn show(progress: watch::Receiver<Progress>, on_terminal: bool, format: LogFormat) {
    let still_alive = (format == LogFormat::Json).then_some(STILL_ALIVE);
    if on_terminal { bar(progress).await } else { lines(progress, still_alive, |now| line(now, format)).await }
}

async fn bar(mut progress: watch::Receiver<Progress>) {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{msg:10} {wide_bar} {human_pos}/{human_len} {per_sec} {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut stage = None;
    while progress.changed().await.is_ok() {
        let Progress { stage: now, records, total, .. } = *progress.borrow_and_update();
        if stage != Some(now) {
            bar.reset();
            bar.set_message(word(now));
            stage = Some(now);
        }
        bar.set_length(total);
        bar.set_position(records);
    }
    bar.finish_and_clear();
}

/// `still_alive`: how long after the last change the progress is told again, so that a reader can tell a slow run from one
/// that hangs.
async fn lines(
    mut progress: watch::Receiver<Progress>,
    still_alive: Option<Duration>,
    mut tell: impl FnMut(&Progress),
) {
    let mut stage = None;
    let mut next = tokio::time::Instant::now();
    loop {
        let changed = match timeout(still_alive.unwrap_or(Duration::MAX), progress.changed()).await {
            Ok(Ok(())) => true,
            Ok(Err(_)) => return,
            Err(_) => false,
        };
        let now = *progress.borrow_and_update();
        if changed && stage == Some(now.stage) && tokio::time::Instant::now() < next {
            continue;
        }
        stage = Some(now.stage);
        next = tokio::time::Instant::now() + EVERY;
        tell(&now);
    }
}

fn machine_line(line: &Line) {
    if let Ok(text) = serde_json::to_string(line) {
        output::machine(&text);
    }
}

fn line(progress: &Progress, format: LogFormat) {
    match format {
        LogFormat::Json => machine_line(&Line::Progress(*progress)),
        LogFormat::Text => {
            let Progress { stage, records, total, done: _, of: _, percent: _, records_per_second, eta_seconds } =
                progress;
            let left = eta_seconds.map(|s| format!(", {} left", humantime::format_duration(Duration::from_secs(s))));
            let left = left.unwrap_or_default();
            tracing::info!("{}: {records} of {total} records, {records_per_second} a second{left}", word(*stage));
        }
    }
}

const fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Preflight => "preflight",
        Stage::Copying => "copying",
        Stage::Indexing => "indexing",
        Stage::Verifying => "verifying",
        Stage::Repairing => "repairing",
    }
}

/// `all`: the differences are printed as far as the report has them, where the log is the only place for them.
fn tell(telling: &Telling, outcome: &Outcome, all: bool) -> Exit {
    let written = telling.report.as_deref().map(|file| report::write(file, &outcome.report));
    let name = telling.report.as_ref().map(|file| file.display().to_string());
    output::line(&output::outcome(outcome, name.as_deref(), if all { usize::MAX } else { output::PRINTED }));
    if let Some(Err(error)) = written {
        output::error(&error);
        if outcome.exit == Exit::Success {
            return Exit::Interrupted;
        }
    }
    outcome.exit
}

/// Before hours of work, not after them. What is there stays until the report is.
fn open_for_writing(file: &Path) -> Result<(), String> {
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(file);
    opened.map(drop).map_err(|e| {
        format!("the report {} cannot be written: {e}; name a file in a folder that exists", file.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that does not get on is not one that hangs.
    #[tokio::test(start_paused = true)]
    async fn a_line_comes_every_30_s_even_if_nothing_moves() {
        let (sender, receiver) = watch::channel(Progress::default());
        let start = tokio::time::Instant::now();
        let (told, mut lines_told) = tokio::sync::mpsc::unbounded_channel();
        let telling = tokio::spawn(lines(receiver, Some(STILL_ALIVE), move |now| {
            told.send((start.elapsed().as_secs(), now.records)).unwrap();
        }));
        sender.send_replace(Progress { records: 5, ..Progress::default() });
        for second in [0, 30, 60, 90] {
            assert_eq!(lines_told.recv().await, Some((second, 5)));
        }
        drop(sender);
        telling.await.unwrap();
        assert_eq!(lines_told.recv().await, None);
    }

    #[test]
    fn only_a_wait_before_the_first_record_has_a_code_of_its_own() {
        let waits = [Reason::SourceNotFound, Reason::SourceEmpty, Reason::TargetNotFound, Reason::TargetBusy];
        for reason in waits {
            assert!(has_to_wait(reason, Stage::Preflight), "{reason:?}");
            assert!(!has_to_wait(reason, Stage::Copying), "{reason:?}: something may be written");
        }
        for reason in [Reason::Unavailable, Reason::PreflightRefused, Reason::SourceReplaced, Reason::Verified] {
            assert!(!has_to_wait(reason, Stage::Preflight), "{reason:?}");
        }
    }
}
