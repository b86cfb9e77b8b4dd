//! A disk is full: under a local target, under a target server, and where the runner keeps its lists. Needs a file system
//! in memory that root may mount; where that cannot be, the row says so and is not tried.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::filled;
use crate::campaign::bench::{Bench, NEW, Pair, Side};
use crate::campaign::memories::Truth;
use crate::campaign::run::{LIMIT, Run};
use crate::campaign::trial::{Outcome, Trial};
use crate::support::dice::Dice;

pub(crate) const FULL: &str = "a file system in memory with too little room left, which then grows";
pub(crate) const FILLING: &str =
    "another file takes all room but 3 MB at most once a new folder is being filled, and goes again";
pub(crate) const SERVER: &str =
    "the same; then the server, 1.5.9, is restarted: it answers no write after a full disk (measured)";
pub(crate) const SCRATCH: &str = "TMPDIR in a file system in memory with too little room, 12,000 records";

/// A file system in memory of so many KiB; None where it cannot be mounted.
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: &Path, kib: usize) -> Option<Self> {
        let size = format!("size={kib}k");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output();
        done.is_ok_and(|output| output.status.success()).then(|| Self(folder.to_owned()))
    }

    fn grow(&self) {
        let done = Command::new("mount").args(["-o", "remount,size=300m"]).arg(&self.0).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // lazily: a server may still have it open; its scratch folder goes next
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Whether this row can be tried here.
pub(crate) fn can_mount() -> bool {
    let folder = tempfile::tempdir().unwrap();
    Disk::mount(folder.path(), 64).is_some()
}

pub(crate) fn folder(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let version = Bench::version(n, 5);
    let pair = bench.pair(version);
    let name = format!("disk-{n}");
    let (_, source) = filled(&pair, &name, 1300 + dice.below(500), dice);
    let scratch = tempfile::tempdir().unwrap();
    let disk = Disk::mount(scratch.path(), 200 + dice.below(1200)).unwrap();
    let target = scratch.path().join("store").to_str().unwrap().to_owned();
    let run = Run { batch: 200, ..Run::new(&pair.source.server.url, &target, (&name, "generated"), version) };
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&source), &target);
    trial.ended(run.ended());
    disk.grow();
    let outcome = trial.recovers();
    super::cleared(bench, pair, &name, outcome)
}

/// A new folder that is filled by its files. Preflight counts the room, so another file comes during the run.
pub(crate) fn filling(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let pair = bench.pair(NEW);
    let name = format!("disk-fill-{n}");
    let (_, source) = filled(&pair, &name, 2500 + dice.below(500), dice);
    let scratch = tempfile::tempdir().unwrap();
    let disk = Disk::mount(scratch.path(), 300 * 1024).unwrap();
    let folder = scratch.path().join("store");
    let target = folder.to_str().unwrap().to_owned();
    let run = Run { fills: true, ..Run::new(&pair.source.server.url, &target, (&name, "generated"), NEW) };
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&source), &target);
    let room = dice.below(3000) as u64 * 1024;
    let mut running = run.start();
    let is_begun = || fs::read_dir(scratch.path()).unwrap().flatten().any(|one| one.path().is_dir());
    while running.is_running() && !is_begun() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let other = scratch.path().join("other");
    let free = || rustix::fs::statvfs(scratch.path()).map(|disk| disk.f_bavail * disk.f_frsize).unwrap();
    let mut file = fs::File::create(&other).unwrap();
    // it may be full at once, for both write
    while free() > room && file.write_all(&[1; 1 << 12]).is_ok() {}
    drop(file);
    trial.outcome.said.push(format!("{room} bytes are left"));
    trial.ended(running.within(LIMIT).into());
    trial.leaves_nothing_or_all();
    let beside = fs::read_dir(scratch.path()).unwrap().flatten().map(|one| one.file_name());
    let importing = beside.filter(|name| name.to_string_lossy().contains("importing")).count();
    assert_eq!(importing, 0, "what was not finished stays beside the target");
    fs::remove_file(other).unwrap();
    let outcome = trial.recovers();
    drop(disk);
    super::cleared(bench, pair, &name, outcome)
}

pub(crate) fn server(bench: &mut Bench, dice: &mut Dice, _: usize) -> Outcome {
    // 0.6.3 leaves its own index cut short on a full disk, and takes no write any more (measured): nobody's run recovers
    let version = NEW;
    let mut disk = None;
    let target = Side::on(version, |folder| disk = Disk::mount(folder, 300 * 1024));
    let disk = disk.unwrap();
    let mut pair = Pair { version, source: Side::start(version), target };
    let (_, source) = filled(&pair, "memories", 1300 + dice.below(500), dice);
    let url = pair.target.server.url.clone();
    let run = Run {
        batch: 100,
        is_in_process: true,
        ..Run::new(&pair.source.server.url, &url, ("memories", "memories"), version)
    };
    // room for so much and no more
    let used = |path: &Path| -> u64 {
        let text = Command::new("du").arg("-sk").arg(path).output().unwrap().stdout;
        String::from_utf8(text).unwrap().split_whitespace().next().unwrap().parse().unwrap()
    };
    let room = 100 + dice.below(1500) as u64;
    let size = format!("remount,size={}k", used(&pair.target.folder) + room);
    assert!(Command::new("mount").args(["-o", &size]).arg(&pair.target.folder).status().unwrap().success());
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&source), &url);
    trial.outcome.said.push(format!("{room} KiB are left"));
    trial.ended(run.ended());
    disk.grow();
    pair.target.server.kill();
    pair.target.server.restart();
    let outcome = trial.recovers();
    drop(pair);
    outcome
}

pub(crate) fn scratch(bench: &mut Bench, dice: &mut Dice, n: usize) -> Outcome {
    let version = Bench::version(n, 5);
    let pair = bench.pair(version);
    let name = format!("scratch-{n}");
    let (_, source) = filled(&pair, &name, 12_000, dice);
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::mount(folder.path(), 16 + dice.below(1500)).unwrap();
    fs::write(folder.path().join("other"), [0; 4096]).unwrap();
    let run = Run {
        batch: 1000,
        scratch: Some(folder.path().to_owned()),
        ..Run::new(&pair.source.server.url, &pair.target.server.url, (&name, &name), version)
    };
    let mut trial = Trial::new(bench, run.clone(), Truth::of(&source), &pair.target.server.url);
    trial.ended(run.ended());
    disk.grow();
    let outcome = trial.recovers();
    super::cleared(bench, pair, &name, outcome)
}
