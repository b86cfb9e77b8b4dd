//! Trials one after another: their seeds, the log that a campaign resumes from, and `make faults` itself.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};

use super::bench::Bench;
use super::page;
use super::rows::{ROWS, Row, disks, points};
use super::trial::Outcome;
use crate::support::chroma::crate_path;
use crate::support::dice::Dice;

/// Trials at once, each lane with servers of its own.
const LANES: usize = 2;
/// Of `QUICK=1`: trials of a row, at most.
const QUICK: usize = 2;

/// The n-th trial of a row. Which moments and answers it draws depends on seed, row and number alone; a panic on the way
/// proves nothing, and counts as one that did not end.
pub(crate) fn tried(bench: &mut Bench, row: &Row, seed: u64, n: usize) -> Outcome {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let own = row.name.bytes().chain(n.to_le_bytes()).fold(seed ^ 0xcbf2_9ce4_8422_2325, mix);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| (row.tried)(bench, &mut Dice::new(own), n)));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let said = vec![format!("the attempt itself failed: {}", text.unwrap_or_default())];
        Outcome { is_hung: true, said, ..Outcome::default() }
    })
}

/// The outcomes of a row's trials, by number.
pub(crate) type Tallies = BTreeMap<&'static str, BTreeMap<usize, Outcome>>;

/// A campaign under way.
struct Campaign {
    seed: u64,
    log: PathBuf,
    waiting: Mutex<VecDeque<(&'static Row, usize)>>,
    tallies: Mutex<Tallies>,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn number(name: &str) -> Option<u64> {
    let text = variable(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// `make faults`: SEED decides what is drawn, ROW and TRIAL name some, QUICK=1 tries two of each row, and each call once. What
/// an earlier run of this seed found good is in its log, and is not tried again: so it goes on where it stopped, and repeats
/// what was not good.
#[test]
fn campaign() {
    if variable("FAULTS").as_deref() != Some("all") {
        println!("not run: all faults take an hour; make faults runs them");
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = number("SEED").unwrap_or(now);
    let (row, trial) = (variable("ROW"), number("TRIAL").map(|n| usize::try_from(n).unwrap()));
    let most = if number("QUICK").is_some() { QUICK } else { usize::MAX };
    let is_whole = row.is_none() && trial.is_none() && most == usize::MAX;
    println!("SEED={seed}");
    let known_rows = ROWS.iter().any(|known| row.as_deref().is_none_or(|name| name == known.name));
    assert!(known_rows, "there is no row {row:?}; there are {:?}", ROWS.iter().map(|row| row.name).collect::<Vec<_>>());
    let log = crate_path("target").join(format!("faults-{seed}.log"));
    let good = if row.is_some() { Tallies::default() } else { read(&log) };
    let is_good = |row: &Row, n: usize| good.get(row.name).is_some_and(|trials| trials.contains_key(&n));
    let mut waiting = VecDeque::new();
    for known in ROWS.iter().filter(|known| row.as_deref().is_none_or(|name| name == known.name)) {
        if known.name.starts_with("disk-") && !disks::can_mount() {
            println!("{}: not tried, a small file system cannot be mounted here (not root)", known.name);
            continue;
        }
        let is_of_points = known.name == "fault-points" && most < known.times;
        let numbers: Vec<usize> =
            if is_of_points { points::one_of_each().collect() } else { (0..known.times.min(most)).collect() };
        let all = numbers.into_iter().filter(|n| trial.is_none_or(|one| one == *n));
        waiting.extend(all.filter(|n| !is_good(known, *n)).map(|n| (known, n)));
    }
    let campaign = Campaign { seed, log, waiting: Mutex::new(waiting), tallies: Mutex::new(good) };
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| campaign.lane());
        }
    });
    let tallies = campaign.tallies.into_inner().unwrap();
    if is_whole {
        page::write(&tallies, seed);
    }
    let all = || tallies.values().flat_map(BTreeMap::values);
    let bad = all().filter(|outcome| !outcome.is_good()).count();
    println!("SEED={seed}: tried {}, not good {bad}; each one in {}", all().count(), campaign.log.display());
    assert_eq!(bad, 0, "SEED={seed}: see {}", campaign.log.display());
}

impl Campaign {
    fn lane(&self) {
        let mut bench = Bench::default();
        loop {
            let Some((row, n)) = self.waiting.lock().unwrap().pop_front() else { return };
            let from = std::time::Instant::now();
            let outcome = tried(&mut bench, row, self.seed, n);
            if !outcome.is_good() {
                // what it left may be what the next one would stumble over
                bench = Bench::default();
            }
            let word = if outcome.is_good() { "good" } else { "BAD" };
            println!("{word} {} {n} in {:.1} s: {}", row.name, from.elapsed().as_secs_f64(), outcome.said.join(" | "));
            note(&self.log, row, n, &outcome);
            self.tallies.lock().unwrap().entry(row.name).or_default().insert(n, outcome);
        }
    }
}

/// One line of the log.
fn note(log: &Path, row: &Row, n: usize, outcome: &Outcome) {
    let Outcome { lost, twice, foreign, is_false, is_hung, recovered_in, rate, said } = outcome;
    let line = json!({
        "row": row.name, "trial": n, "lost": lost, "twice": twice, "foreign": foreign, "false": is_false, "hung": is_hung,
        "recovered_ms": u64::try_from(recovered_in.as_millis()).unwrap(), "rate": rate, "said": said,
    });
    let mut file = fs::File::options().create(true).append(true).open(log).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The good trials of an earlier run.
fn read(log: &Path) -> Tallies {
    let mut tallies = Tallies::default();
    for line in fs::read_to_string(log).unwrap_or_default().lines() {
        let Ok(json) = serde_json::from_str::<Json>(line) else { continue };
        let Some(row) = ROWS.iter().find(|row| json["row"] == row.name) else { continue };
        let count = |key: &str| usize::try_from(json[key].as_u64().unwrap()).unwrap();
        let outcome = Outcome {
            lost: count("lost"),
            twice: count("twice"),
            foreign: count("foreign"),
            is_false: json["false"] == true,
            is_hung: json["hung"] == true,
            recovered_in: Duration::from_millis(json["recovered_ms"].as_u64().unwrap()),
            rate: json["rate"].as_u64(),
            said: Vec::new(),
        };
        if outcome.is_good() {
            tallies.entry(row.name).or_default().insert(count("trial"), outcome);
        }
    }
    tallies
}
