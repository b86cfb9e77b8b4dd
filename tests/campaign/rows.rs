//! Every row of the table: a fault, how it is produced, how often it is tried. What a row does is in the file of its kind.

pub(crate) mod clients;
pub(crate) mod disks;
pub(crate) mod files;
pub(crate) mod network;
pub(crate) mod points;
pub(crate) mod runner;
pub(crate) mod servers;
pub(crate) mod writer;

use super::bench::{Bench, Pair};
use super::memories::{Memories, memories};
use super::trial::Outcome;
use crate::support::dice::Dice;

/// One trial of a row: the n-th.
pub(crate) type Tried = fn(&mut Bench, &mut Dice, usize) -> Outcome;

/// A row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// For `ROW=` and the log.
    pub(crate) name: &'static str,
    pub(crate) fault: &'static str,
    pub(crate) how: &'static str,
    /// Trials of a whole campaign.
    pub(crate) times: usize,
    pub(crate) tried: Tried,
}

const fn row(name: &'static str, fault: &'static str, how: &'static str, times: usize, tried: Tried) -> Row {
    Row { name, fault, how, times, tried }
}

/// All of them, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    row("kill-in", "runner killed, into a server, fixed pace", runner::KILLED, 25, runner::killed_in),
    row("kill-in-adaptive", "the same, adaptive pace", runner::KILLED, 25, runner::killed_in_adaptive),
    row("kill-out", "runner killed, into a folder, fixed pace", runner::KILLED, 25, runner::killed_out),
    row("kill-out-adaptive", "the same, adaptive pace", runner::KILLED, 25, runner::killed_out_adaptive),
    row("kill-fill", "runner killed while it fills a new folder", runner::FILLING, 50, runner::killed_filling),
    row("term", "runner told to stop", runner::TOLD, 20, runner::told_to_stop),
    row("memory", "runner out of memory", runner::STARVED, 5, runner::out_of_memory),
    row("target-killed", "target server killed", servers::KILLED, 20, servers::target_killed),
    row("target-frozen", "target server frozen", servers::FROZEN, 10, servers::target_frozen),
    row("target-empty", "target server comes back empty", servers::EMPTY, 5, servers::target_empty),
    row("target-older", "target server comes back older", servers::OLDER, 5, servers::target_older),
    row("source-killed", "source server killed", servers::KILLED, 20, servers::source_killed),
    row("source-frozen", "source server frozen", servers::FROZEN, 10, servers::source_frozen),
    row("source-empty", "source server comes back empty", servers::EMPTY, 5, servers::source_empty),
    row("source-older", "source server comes back older", servers::OLDER, 5, servers::source_older),
    row("network-cut", "network cut", network::CUT, 10, network::cut),
    row("proxy-1", "1 % of requests fail", network::FAILS, 10, network::one_percent),
    row("proxy-10", "10 % of requests fail", network::FAILS, 10, network::ten_percent),
    row("proxy-50", "50 % of requests fail", network::FAILS, 10, network::half),
    row("target-lies", "target answers falsely", network::LIES, 20, network::target_lies),
    row("source-lies", "source answers falsely", network::LEAVES_OUT, 20, network::source_lies),
    row("moving-http", "source changes, read over HTTP", clients::MOVES, 10, clients::moving_http),
    row("moving-files", "source changes, read from its files", clients::MOVES, 10, clients::moving_files),
    row("moving-fill", "source changes, a new folder is filled", clients::MOVES, 10, clients::moving_filling),
    row("foreign-skip", "another client writes into the target, Skip", clients::WRITES, 10, clients::foreign_skip),
    row("foreign-overwrite", "the same, Overwrite", clients::WRITES, 10, clients::foreign_overwrite),
    row("foreign-fail", "the same, Fail", clients::WRITES, 10, clients::foreign_fail),
    row("target-collection", "target collection dropped, replaced, renamed", clients::TAKES, 15, clients::target_taken),
    row("source-collection", "source collection dropped, replaced, renamed", clients::TAKES, 15, clients::source_taken),
    row("disk-folder", "disk full under a local target", disks::FULL, 5, disks::folder),
    row("disk-fill", "disk full while a new folder is filled", disks::FILLING, 5, disks::filling),
    row("disk-server", "disk full under a target server", disks::SERVER, 5, disks::server),
    row("disk-scratch", "scratch space full", disks::SCRATCH, 5, disks::scratch),
    row("source-replaced", "source folder replaced", files::REPLACED, 10, files::replaced),
    row("source-torn", "source's index torn", files::TORN, 10, files::torn),
    row("fault-points", "every call of a store fails", points::FAILS, points::ALL, points::one),
    row("source-journal", "source has a hot journal", files::JOURNAL, 5, files::journal),
];

/// A distance, records, and the same records in a new collection of the source.
fn filled(pair: &Pair, name: &str, count: usize, dice: &mut Dice) -> (&'static str, Memories) {
    let space = dice.one_of(&["l2", "cosine", "ip"]);
    let source = memories(count, dice);
    pair.source.client.create(name, space, &source);
    (space, source)
}

/// The collections of a trial go, so that later ones find the servers as it did.
fn cleared(bench: &mut Bench, pair: Pair, name: &str, outcome: Outcome) -> Outcome {
    // what a trial has dropped or renamed itself is not there
    let _ = pair.source.client.drop(name);
    let _ = pair.target.client.drop(name);
    bench.keep(pair);
    outcome
}
