//! The proof, tested by mutation: every fault of `catalogue` is put into a real target, its files, its answers, or the
//! source between two reads; `verify` and `migrate` must find it, with the record's id and the field's name. A hundred are
//! drawn with a fixed seed; `make mutants` tries all, and writes the table of docs/reliability.md.

mod answers;
mod campaign;
mod catalogue;
mod described;
mod files;
mod oracle;
mod records;
mod server;
mod sides;

use catalogue::{Side, drawn};
use sides::Bench;

/// The same in every run of the suite.
const SEED: u64 = 19;

/// Tries so many of a side's mutants, and shows every one that was missed.
fn try_some(side: Side, count: usize) {
    let mut bench = Bench::start(side);
    let missed: Vec<String> = drawn(side, SEED)
        .into_iter()
        .take(count)
        .enumerate()
        .filter_map(|(n, mutant)| bench.tried(&mutant, SEED, n).err().map(|why| format!("{n}: {mutant}: {why}")))
        .collect();
    assert!(missed.is_empty(), "missed {} of {count}:\n{}", missed.len(), missed.join("\n\n"));
}

#[test]
fn thirty_of_a_targets_server_are_found() {
    try_some(Side::Server, 30);
}

#[test]
fn fifteen_of_a_targets_files_are_found() {
    try_some(Side::Files, 15);
}

#[test]
fn forty_of_a_targets_answers_are_found() {
    try_some(Side::Answer, 40);
}

#[test]
fn fifteen_of_a_source_that_changes_during_the_run_are_found() {
    try_some(Side::Source, 15);
}
