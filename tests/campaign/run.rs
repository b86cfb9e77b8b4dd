//! One run of the product: as a process, or, where a fault would have to outlast its timeouts, in this process with short
//! ones. Judges nothing.

use std::path::PathBuf;
use std::time::Duration;

use memory_migration_operator::endpoint::{LocalWriter, migrate};
use memory_migration_operator::engine::progress::Tracker;
use memory_migration_operator::engine::select::Entry;
use memory_migration_operator::engine::{OnConflict, Options, Pacing, Selection};
use memory_migration_operator::exit::Exit;
use memory_migration_operator::store::http::ServerConfig;
use memory_migration_operator::{Endpoint, Folder, Request};
use tokio_util::sync::CancellationToken;

use super::bench::NEW;
use crate::support::chroma::env;
use crate::support::command::{Output, Running, TestCommand};

/// A run that is still under way after this hangs: more than the product waits for a server that does not answer.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

/// What one run is asked.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// A URL, or a folder's path.
    pub(crate) source: String,
    pub(crate) target: String,
    /// Names in source and target.
    pub(crate) names: (String, String),
    pub(crate) policy: &'static str,
    pub(crate) is_adaptive: bool,
    pub(crate) batch: usize,
    /// The version that writes a local target.
    pub(crate) version: &'static str,
    /// `TMPDIR`, if it matters.
    pub(crate) scratch: Option<PathBuf>,
    pub(crate) is_in_process: bool,
    /// Whether a new local target is filled by its files.
    pub(crate) fills: bool,
    /// A fault point, what happens there, and at which visit: `target.add.after:kill:2`.
    pub(crate) fault: Option<String>,
}

/// How it ended. No code: a signal, or it was ended here because it hung.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
    pub(crate) is_hung: bool,
    /// Lines of the log about fault points.
    pub(crate) points: Vec<String>,
}

impl Ended {
    pub(crate) fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    fn hung() -> Self {
        Self { code: None, said: "it did not end".to_owned(), is_hung: true, points: Vec::new() }
    }
}

impl From<Option<Output>> for Ended {
    fn from(output: Option<Output>) -> Self {
        let Some(output) = output else { return Self::hung() };
        let panics = output.stderr_text().lines().find(|line| line.contains("panicked"));
        let points = output.stderr_text().lines().filter(|line| line.contains("fault point "));
        let points = points.map(str::to_owned).collect();
        let last = output.stdout_text().lines().last().unwrap_or_default();
        Self {
            code: output.code_if_any(),
            said: panics.unwrap_or(last).chars().take(400).collect(),
            is_hung: false,
            points,
        }
    }
}

impl Run {
    pub(crate) fn new(source: &str, target: &str, names: (&str, &str), version: &'static str) -> Self {
        Self {
            source: source.to_owned(),
            target: target.to_owned(),
            names: (names.0.to_owned(), names.1.to_owned()),
            policy: "skip",
            is_adaptive: false,
            batch: 20,
            version,
            scratch: None,
            is_in_process: false,
            fills: false,
            fault: None,
        }
    }

    fn command(&self) -> TestCommand {
        let Self { source, target, names: (from, to), .. } = self;
        let mut command = TestCommand::new().args(["migrate", "--source-config", source, "--target-config", target]);
        command = command.args(["--collection", &format!("{from}={to}"), "--on-conflict", self.policy]);
        command = if self.is_adaptive {
            command.args(["--pacing", "adaptive"])
        } else {
            command.args(["--batch-size", &self.batch.to_string(), "--delay", "0"])
        };
        if !target.starts_with("http") {
            let writer = if self.version == NEW { "server" } else { self.version };
            command = command.args(["--chroma-bin".as_ref(), env(writer).chroma().as_os_str()]);
        }
        if self.fills {
            command = command.args(["--fill", "files"]);
        }
        if let Some(fault) = &self.fault {
            command = command.env(memory_migration_operator::faults::VARIABLE, fault);
        }
        match &self.scratch {
            Some(folder) => command.env("TMPDIR", folder),
            None => command,
        }
    }

    /// Starts it as a process.
    pub(crate) fn start(&self) -> Running {
        self.command().start()
    }

    /// Runs it to its end.
    pub(crate) fn ended(&self) -> Ended {
        if self.is_in_process { self.in_process() } else { self.start().within(LIMIT).into() }
    }

    /// Runs it to its end, while `act` does something else beside it.
    pub(crate) fn beside<T>(&self, act: impl FnOnce() -> T) -> (Ended, T) {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| self.ended());
            let acted = act();
            (run.join().unwrap(), acted)
        })
    }

    fn in_process(&self) -> Ended {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let stop = CancellationToken::new();
        let ended = runtime
            .block_on(async { tokio::time::timeout(LIMIT, migrate(self.request(), Tracker::new().0, &stop)).await });
        runtime.shutdown_background();
        let Ok(outcome) = ended else { return Ended::hung() };
        let code = Some(if outcome.exit == Exit::Success { 0 } else { outcome.exit as i32 });
        Ended {
            code,
            said: format!("{:?}: {}", outcome.report.reason, outcome.report.message),
            is_hung: false,
            points: Vec::new(),
        }
    }

    fn request(&self) -> Request {
        let (from, to) = &self.names;
        let policy = match self.policy {
            "overwrite" => OnConflict::Overwrite,
            "fail" => OnConflict::Fail,
            _ => OnConflict::Skip,
        };
        Request {
            source: endpoint(&self.source),
            target: endpoint(&self.target),
            options: Options {
                selection: Selection::new(&[], vec![Entry::named(from, Some(to)).unwrap()]).unwrap(),
                on_conflict: policy,
                pacing: if self.is_adaptive { Pacing::Adaptive { slowdown: None } } else { Pacing::Fixed },
                batch_size: self.batch,
                delay: Duration::ZERO,
                write_deadline: Duration::from_secs(20),
                write_pause: Duration::from_millis(10),
                ..Options::default()
            },
            writer: LocalWriter::Program(None),
        }
    }
}

fn endpoint(at: &str) -> Endpoint {
    if !at.starts_with("http") {
        return Endpoint::Local(Folder::new(at.into()));
    }
    let mut server = ServerConfig::new(at.parse().unwrap());
    server.timeouts.request = Duration::from_secs(2);
    server.timeouts.retry = Duration::from_secs(20);
    server.timeouts.apart = Duration::from_millis(20);
    Endpoint::Remote(Box::new(server))
}
