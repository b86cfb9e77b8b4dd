//! All mutants, one by one, and the table of docs/reliability.md. Runs as `make mutants` alone: it takes a quarter of an hour.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::catalogue::{Mutant, SIDES, Side, combinations, drawn};
use super::sides::Bench;
use crate::support::chroma::crate_path;

const PAGE: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- mutants: begin, written by make mutants -->";
const END: &str = "<!-- mutants: end -->";

/// How the mutants of one field fared on each side.
#[derive(Clone, Copy, Default)]
struct Tally {
    tried: usize,
    caught: usize,
    tolerated: usize,
    missed: usize,
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// `make mutants`: SEED decides order and records, MOST how many of each side. What an earlier run of this seed has caught is
/// in its log, and is not tried again: so it goes on where it stopped, and tries once more what it missed.
#[test]
fn campaign() {
    if std::env::var("MUTANTS").as_deref() != Ok("all") {
        println!("not run: all mutants take a quarter of an hour; make mutants runs them");
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = number("SEED").unwrap_or(now);
    let most = number("MOST").map_or(usize::MAX, |most| usize::try_from(most).unwrap());
    println!("SEED={seed}");
    let log = crate_path("target").join(format!("mutants-{seed}.log"));
    let before = fs::read_to_string(&log).unwrap_or_default();
    let known: BTreeSet<&str> = before.lines().collect();
    let tried: Vec<_> = std::thread::scope(|scope| {
        let running = SIDES.map(|side| {
            let (known, log) = (&known, &log);
            scope.spawn(move || one_side(side, seed, most, known, log))
        });
        running.into_iter().flat_map(|side| side.join().unwrap()).collect()
    });
    let missed = tried.iter().filter(|(_, missed)| *missed).count();
    if most == usize::MAX {
        write(&page(&tried, seed));
    }
    println!("SEED={seed}: tried {}, missed {missed}; each one in {}", tried.len(), log.display());
    assert_eq!(missed, 0, "SEED={seed}: see {}", log.display());
}

/// Each mutant of a side, and whether it was missed.
fn one_side(side: Side, seed: u64, most: usize, known: &BTreeSet<&str>, log: &Path) -> Vec<(Mutant, bool)> {
    let mut bench = Bench::start(side);
    let all = drawn(side, seed).into_iter().enumerate().take(most);
    all.map(|(n, mutant)| {
        let is_known = known.contains(format!("caught {n} {mutant}").as_str());
        (mutant, !is_known && is_missed(&mut bench, &mutant, seed, n, log))
    })
    .collect()
}

/// Tries one and writes the outcome into the log. A panic on the way (a server that does not answer) is a miss, too: nothing
/// was proved.
fn is_missed(bench: &mut Bench, mutant: &Mutant, seed: u64, n: usize, log: &Path) -> bool {
    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.tried(mutant, seed, n)));
    let judged = judged.unwrap_or_else(|_| Err("the attempt itself failed; see above".to_owned()));
    let line = match &judged {
        Ok(()) => format!("caught {n} {mutant}\n"),
        Err(why) => format!("MISSED {n} {mutant}: {why}\n"),
    };
    let mut file = fs::File::options().create(true).append(true).open(log).unwrap();
    file.write_all(line.as_bytes()).unwrap();
    if judged.is_err() {
        println!("{line}");
    }
    judged.is_err()
}

/// The table: fields by sides, and why some combinations make no sense.
fn page(tried: &[(Mutant, bool)], seed: u64) -> String {
    let mut tallies: BTreeMap<String, [Tally; 4]> = BTreeMap::new();
    for (mutant, missed) in tried {
        let side = SIDES.iter().position(|side| *side == mutant.side).unwrap();
        let tally = &mut tallies.entry(mutant.field.to_string()).or_default()[side];
        tally.tried += 1;
        match (missed, mutant.is_tolerated()) {
            (true, _) => tally.missed += 1,
            (false, true) => tally.tolerated += 1,
            (false, false) => tally.caught += 1,
        }
    }
    let cell = |tally: &Tally| match tally {
        Tally { tried: 0, .. } => String::new(),
        Tally { tried, caught, tolerated: 0, missed } => format!("{tried} / {caught} / {missed}"),
        Tally { tried, caught, tolerated, missed } => {
            format!("{tried} / {caught} / {missed}, {tolerated} may pass")
        }
    };
    let mut text = format!(
        "`make mutants SEED={seed}`: {} tried, {} missed. In each cell: tried / caught / missed.\n\n\
         | field | target's server | target's files | target's answers | source during the run |\n|---|---|---|---|---|\n",
        tried.len(),
        tried.iter().filter(|(_, missed)| *missed).count()
    );
    for (field, sides) in &tallies {
        let _ = writeln!(text, "| {field} | {} |", sides.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
    text += "\nNot tried, by rule:\n\n";
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    combinations().iter().filter_map(Mutant::unfit).for_each(|why| *reasons.entry(why).or_default() += 1);
    for (why, count) in reasons {
        let _ = writeln!(text, "- {count} combinations: {why}");
    }
    text
}

fn write(text: &str) {
    let path = crate_path(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap_or_else(|| panic!("{PAGE} has no {BEGIN}"));
    let (_, tail) = rest.split_once(END).unwrap_or_else(|| panic!("{PAGE} has no {END}"));
    fs::write(&path, format!("{head}{BEGIN}\n\n{text}\n{END}{tail}")).unwrap();
}
