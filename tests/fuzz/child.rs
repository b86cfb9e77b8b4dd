//! The process in which cases run: its address space is limited, each panic on whatever thread is kept, and the case under way
//! stands in a file, so that whoever waits knows which one ended it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::Target;
use super::case::Bench;
use crate::support::dice::Dice;

/// Bytes of address space beside what there is before the first case: no single allocation may ask for as much.
const ROOM: u64 = 2 << 30;

/// What threads have panicked with since the last case.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What a child is to do, in the variable `FUZZ_CHILD`: target, seed, first case, how many, version, file, URL.
pub(crate) const VARIABLE: &str = "FUZZ_CHILD";

/// Runs the cases that the environment names; none where it names none.
pub(crate) fn run() {
    let Ok(told) = std::env::var(VARIABLE) else { return };
    let [name, seed, from, count, version, file, url] = told.split('|').collect::<Vec<_>>().try_into().unwrap();
    let target = Target::ALL.into_iter().find(|one| one.name() == name).unwrap();
    let number = |text: &str| -> u64 { text.parse().unwrap() };
    let (seed, from, count) = (number(seed), number(from), number(count));
    let mut bench = Bench::new(target, version, Some(url).filter(|url| !url.is_empty()));
    set_hook(Box::new(|panic| PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string())));
    let room = Some(status("VmSize") * 1024 + ROOM);
    setrlimit(Resource::As, Rlimit { current: room, maximum: room }).unwrap();
    let before = status("VmHWM");
    let mut most = before + target.bound() * 1024;
    let (mut words, under_way) = (BTreeMap::<&str, u64>::new(), fs::File::create(file).unwrap());
    for n in from..from + count {
        under_way.write_all_at(&n.to_le_bytes(), 0).unwrap();
        let mut dice = Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(n));
        let ended = catch_unwind(AssertUnwindSafe(|| bench.case(&mut dice)));
        let panics = std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = ended.unwrap_or(Ok("panicked"));
        match (ended, panics.is_empty()) {
            (Ok(word), true) => *words.entry(word).or_default() += 1,
            (Err(why), _) => finding(n, &why),
            (_, false) => finding(n, &panics.join("; ")),
        }
        let peak = status("VmHWM");
        if peak > most {
            finding(n, &format!("{} MiB of memory beside {} MiB before the first case", peak / 1024, before / 1024));
            most = peak;
        }
    }
    let words: Vec<String> = words.iter().map(|(word, count)| format!("{word}={count}")).collect();
    println!("\nFUZZ end {} {}", status("VmHWM").saturating_sub(before) / 1024, words.join("|"));
}

fn finding(n: u64, why: &str) {
    let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(2000).collect();
    println!("\nFUZZ finding {n} {why}");
}

/// A line of this process's status, in KiB.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix(" kB"));
    line.unwrap().parse().unwrap()
}
