//! The fault campaign: whatever breaks while a run is under way, nothing is lost, nothing is twice, no record of another
//! client is changed, no success is claimed that is none, and a rerun finishes. The official client judges, on real servers,
//! against the log of who wrote; the product's own words count for nothing but the claim of a success. A few rows are tried
//! with a fixed seed; `make faults` tries all, and writes the table of docs/reliability.md.

mod bench;
mod client;
pub(crate) mod judge;
mod memories;
mod page;
mod rows;
mod run;
mod series;
mod trial;
mod watch;

use bench::Bench;
use rows::{ROWS, points};
use series::tried;

/// The same in every run of the suite.
const SEED: u64 = 20;

/// Tries the first trials of these rows, and shows every one that found something.
fn try_some(rows: &[(&str, usize)]) {
    let mut bench = Bench::default();
    let mut bad = Vec::new();
    for (name, trials) in rows {
        let row = ROWS.iter().find(|row| row.name == *name).unwrap_or_else(|| panic!("there is no row {name}"));
        for n in 0..*trials {
            let outcome = tried(&mut bench, row, SEED, n);
            if !outcome.is_good() {
                bad.push(format!("{name} {n}: {outcome:#?}"));
            }
        }
    }
    assert!(bad.is_empty(), "repeat one with make faults SEED={SEED} ROW=… TRIAL=…\n{}", bad.join("\n"));
}

#[test]
fn runners_that_are_killed_lose_nothing() {
    try_some(&[("kill-in", 1), ("kill-out", 1), ("kill-fill", 2), ("memory", 1)]);
}

#[test]
fn servers_that_go_and_come_back_lose_nothing() {
    try_some(&[("target-killed", 1), ("source-older", 1), ("network-cut", 1)]);
}

#[test]
fn clients_that_write_meanwhile_keep_what_is_theirs() {
    try_some(&[("moving-files", 1), ("moving-fill", 1), ("foreign-skip", 1), ("target-collection", 1)]);
}

#[test]
fn proxies_that_fail_and_lie_bring_no_false_success() {
    try_some(&[("proxy-10", 1), ("target-lies", 1)]);
}

/// The calls that write, and one of each kind that reads; `make faults` has all, at both moments and with all three kinds.
#[test]
fn a_call_that_fails_or_kills_loses_nothing() {
    const SOME: [&str; 9] = [
        "source.listing",
        "target.fetch",
        "target.fetch_within",
        "target.restarted",
        "target.open",
        "target.create",
        "target.add",
        "target.update",
        "target.delete",
    ];
    let mut bench = Bench::default();
    let row = ROWS.iter().find(|row| row.name == "fault-points").unwrap();
    let bad: Vec<String> = points::one_of_each()
        .filter(|n| SOME.contains(&points::call(*n)))
        .filter_map(|n| Some(tried(&mut bench, row, SEED, n)).filter(|outcome| !outcome.is_good()))
        .map(|outcome| format!("{outcome:#?}"))
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
