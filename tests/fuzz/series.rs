//! The campaign, as `make fuzz` runs it: each target in turn, each version of Chroma in turn, until the time is up; and the table
//! of docs/reliability.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Target;
use super::parent::{self, Found};
use crate::support::chroma::{VERSIONS, crate_path};

const PAGE: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- fuzz: begin, written by make fuzz -->";
const END: &str = "<!-- fuzz: end -->";

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// `make fuzz`: SEED decides all cases, SECONDS how many there are, ONLY names one target.
#[test]
fn campaign() {
    if std::env::var("FUZZ").as_deref() != Ok("all") {
        println!("not run: the campaign takes an hour; make fuzz runs it");
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = number("SEED").unwrap_or(now);
    let time = Duration::from_secs(number("SECONDS").unwrap_or(3600));
    let only = std::env::var("ONLY").ok().filter(|only| !only.is_empty());
    println!("SEED={seed}");
    let log = crate_path("target").join(format!("fuzz-{seed}.log"));
    let targets = Target::ALL.into_iter().filter(|target| only.as_deref().is_none_or(|only| only == target.name()));
    let targets: Vec<Target> = targets.collect();
    let started = Instant::now();
    let mut all: BTreeMap<&str, Found> = BTreeMap::new();
    let mut round = 0;
    while started.elapsed() < time {
        let version = VERSIONS[usize::try_from(round).unwrap() % VERSIONS.len()];
        for target in &targets {
            let count = target.at_once();
            // the first version of every seed is the one that the tests take
            let found = parent::run(*target, seed, round * count, count, version);
            let mut file = fs::File::options().create(true).append(true).open(&log).unwrap();
            let (name, words) = (target.name(), &found.words);
            writeln!(file, "round {round} {version} {name}: {} cases, {words:?}, {} MiB", found.cases, found.peak)
                .unwrap();
            for finding in &found.findings {
                println!("{finding}");
                writeln!(file, "{finding}").unwrap();
            }
            all.entry(name).or_default().add(found);
            if started.elapsed() >= time {
                break;
            }
        }
        round += 1;
    }
    let findings: usize = all.values().map(|found| found.findings.len()).sum();
    if only.is_none() {
        // a hurried campaign does not come to all of them
        let versions = &VERSIONS[..VERSIONS.len().min(usize::try_from(round).unwrap())];
        write(&page(&all, seed, started.elapsed(), versions));
    }
    println!("SEED={seed}: {findings} findings, in {}", log.display());
    assert_eq!(findings, 0, "see {}", log.display());
}

fn page(all: &BTreeMap<&str, Found>, seed: u64, took: Duration, versions: &[&str]) -> String {
    let minutes = took.as_secs().div_ceil(60);
    let mut text = format!(
        "`make fuzz SEED={seed} SECONDS={}`, {minutes} minutes, debug build, Chroma {}:\n\n\
         | target | what is changed | cases | how they ended | memory, at most | findings |\n|---|---|---|---|---|---|\n",
        took.as_secs(),
        versions.join(", ")
    );
    for target in Target::ALL {
        let Some(found) = all.get(target.name()) else { continue };
        let words: Vec<String> = found.words.iter().map(|(word, count)| format!("{count} {word}")).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} of {} MiB | {} |",
            target.name(),
            target.about(),
            found.cases,
            words.join(", "),
            found.peak,
            target.bound(),
            found.findings.len()
        );
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
