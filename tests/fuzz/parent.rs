//! Starts the processes in which cases run, waits for each, and goes on after a case that ended one. Judges nothing but that a
//! process ended, and that each case did.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Target, child};
use crate::support::chroma::{ChromaServer, Process};
use crate::support::stores::committed;

/// A case that takes longer hangs: a reader itself waits 30 s for a store that moves, and the client that judges 120 s.
const LONGEST: Duration = Duration::from_secs(240);

/// What came of some cases.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) cases: u64,
    /// The most MiB that a process took beside what it had before its first case.
    pub(crate) peak: u64,
    /// How the cases ended.
    pub(crate) words: BTreeMap<String, u64>,
    pub(crate) findings: Vec<String>,
}

impl Found {
    pub(crate) fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.peak = self.peak.max(other.peak);
        for (word, count) in other.words {
            *self.words.entry(word).or_default() += count;
        }
        self.findings.extend(other.findings);
    }
}

/// Runs these cases of a target, in as many processes as they end.
pub(crate) fn run(target: Target, seed: u64, from: u64, count: u64, version: &str) -> Found {
    let server = (target == Target::Answers).then(|| {
        let store = committed(version);
        (ChromaServer::start(version, &store.path), store)
    });
    let url = server.as_ref().map_or("", |(server, _)| server.url.as_str());
    let (mut found, mut next, end) = (Found::default(), from, from + count);
    while next < end {
        let part = (end - next).min(target.at_once());
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("case");
        let told = format!("{}|{seed}|{next}|{part}|{version}|{}|{url}", target.name(), file.display());
        let (output, ended) = one(scratch.path(), &file, &told);
        let is_whole = output.lines().any(|line| line.starts_with("FUZZ end "));
        for line in output.lines() {
            take(&mut found, target, seed, line);
        }
        if is_whole {
            found.cases += part;
            next += part;
            continue;
        }
        let at = fs::read(&file).ok().and_then(|bytes| bytes.try_into().ok()).map_or(next, u64::from_le_bytes);
        let last: String = output.lines().rev().take(4).collect::<Vec<_>>().join(" / ");
        found.findings.push(format!("{} SEED={seed} case {at} ({version}): {ended}: {last}", target.name()));
        found.cases += at + 1 - next;
        next = at + 1;
    }
    found
}

fn take(found: &mut Found, target: Target, seed: u64, line: &str) {
    if let Some(finding) = line.strip_prefix("FUZZ finding ") {
        found.findings.push(format!("{} SEED={seed} case {finding}", target.name()));
    } else if let Some((peak, words)) = line.strip_prefix("FUZZ end ").and_then(|end| end.split_once(' ')) {
        found.peak = found.peak.max(peak.parse().unwrap());
        for (word, count) in words.split('|').filter_map(|one| one.split_once('=')) {
            *found.words.entry(word.to_owned()).or_default() += count.parse::<u64>().unwrap();
        }
    }
}

/// Runs one process, and says what it printed and how it ended.
fn one(scratch: &Path, file: &Path, told: &str) -> (String, String) {
    let output = scratch.join("output");
    let (stdout, stderr) = (File::create(&output).unwrap(), File::create(scratch.join("errors")).unwrap());
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fuzz::child_of_another_run", "--nocapture", "--test-threads=1"])
        .env(child::VARIABLE, told)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn();
    let mut process = Process(child.unwrap());
    let ended = wait(&mut process, file).map_or_else(
        || {
            drop(process.0.kill());
            format!("a case takes over {} s", LONGEST.as_secs())
        },
        |status| status.to_string(),
    );
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    (read(&output) + &read(&scratch.join("errors")), ended)
}

/// How it ended; None where one case takes too long.
fn wait(process: &mut Process, file: &Path) -> Option<ExitStatus> {
    let (mut case, mut since) = (Vec::new(), Instant::now());
    loop {
        if let Some(status) = process.0.try_wait().unwrap() {
            return Some(status);
        }
        let now = fs::read(file).unwrap_or_default();
        if now != case {
            (case, since) = (now, Instant::now());
        } else if since.elapsed() > LONGEST {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
