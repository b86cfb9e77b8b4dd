//! Clients that write while a run is under way, at up to 200 records a second, and their log: the oracle of what the store
//! must hold. It knows what was acknowledged, and tries nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::campaign::client::Client;
use crate::campaign::memories::{Memories, Memory};
use crate::support::dice::Dice;

/// Changes of a record that all clients together make in a second, at most.
const A_SECOND: u32 = 200;
/// Records of one request: a server takes some tens of requests a second, and ten times as many records.
pub(crate) const AT_ONCE: usize = 24;

/// One acknowledged change of one record.
pub(crate) struct Change {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) id: String,
    /// None: deleted.
    pub(crate) now: Option<Memory>,
}

/// What the clients did, by client, each in its order.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) changes: Vec<Change>,
    /// Changes that were not acknowledged.
    pub(crate) unclear: usize,
}

impl Log {
    /// What a store that held `before` holds now.
    pub(crate) fn after(&self, before: &Memories) -> Memories {
        let mut now = before.clone();
        for Change { id, now: one, .. } in &self.changes {
            match one {
                Some(memory) => drop(now.insert(id.clone(), memory.clone())),
                None => drop(now.remove(id)),
            }
        }
        now
    }

    /// What the store held at this moment, but for the ids of `moving`.
    pub(crate) fn at(&self, before: &Memories, moment: Instant) -> Memories {
        let changes = self.changes.iter().filter(|change| change.ended < moment);
        let mut now = before.clone();
        for Change { id, now: one, .. } in changes {
            match one {
                Some(memory) => drop(now.insert(id.clone(), memory.clone())),
                None => drop(now.remove(id)),
            }
        }
        now
    }

    /// Ids that changed between the two moments.
    pub(crate) fn moving(&self, from: Instant, to: Instant) -> BTreeSet<String> {
        let during = self.changes.iter().filter(|change| change.ended >= from && change.began <= to);
        during.map(|change| change.id.clone()).collect()
    }

    /// Ids that were deleted between the two moments.
    pub(crate) fn left(&self, from: Instant, to: Instant) -> BTreeSet<String> {
        let during = self.changes.iter().filter(|change| change.ended >= from && change.began <= to);
        during.filter(|change| change.now.is_none()).map(|change| change.id.clone()).collect()
    }

    /// Every content that a record ever had.
    pub(crate) fn contents(&self, before: &Memories) -> BTreeMap<String, Vec<Memory>> {
        let mut all: BTreeMap<String, Vec<Memory>> =
            before.iter().map(|(id, memory)| (id.clone(), vec![memory.clone()])).collect();
        for Change { id, now, .. } in &self.changes {
            all.entry(id.clone()).or_default().extend(now.clone());
        }
        all
    }
}

/// What is written to.
pub(crate) struct Shelf<'s> {
    pub(crate) url: &'s str,
    /// The collection's id.
    pub(crate) id: &'s str,
    pub(crate) before: &'s Memories,
    /// Clients that write at once, each with ids of its own.
    pub(crate) clients: usize,
    /// Records of one request, at most.
    pub(crate) at_once: usize,
    /// Whether a record is also deleted and added again at once.
    pub(crate) adds_again: bool,
}

/// Adds, updates, deletes, and deletes and adds again, until `stop` is set.
pub(crate) fn change(shelf: &Shelf<'_>, seed: u64, stop: &AtomicBool) -> Log {
    let logs: Vec<Log> = std::thread::scope(|scope| {
        let running: Vec<_> =
            (0..shelf.clients).map(|client| scope.spawn(move || one_client(shelf, seed, client, stop))).collect();
        running.into_iter().map(|client| client.join().unwrap()).collect()
    });
    logs.into_iter().fold(Log::default(), |mut all, one| {
        all.changes.extend(one.changes);
        all.unclear += one.unclear;
        all
    })
}

fn one_client(shelf: &Shelf<'_>, seed: u64, number: usize, stop: &AtomicBool) -> Log {
    let Shelf { url, id, before, clients, at_once, adds_again } = *shelf;
    let (client, mut dice) = (Client::new(url), Dice::new(seed + number as u64));
    let own = before.keys().enumerate().filter(|(n, _)| n % clients == number);
    let mut mine: Vec<String> = own.map(|(_, id)| id.clone()).collect();
    let (mut log, mut next) = (Log::default(), Instant::now());
    for n in 1000.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let kind = if mine.len() < 2 * AT_ONCE { 0 } else { dice.below(if adds_again { 5 } else { 4 }) };
        let count = 1 + dice.below(at_once);
        let ids: Vec<String> =
            (0..count)
                .map(|one| {
                    if kind == 0 {
                        format!("late-{number}-{n}-{one}")
                    } else {
                        mine.swap_remove(dice.below(mine.len()))
                    }
                })
                .collect();
        let records: Vec<(String, Memory)> =
            ids.iter().map(|one| (one.clone(), Memory::new(one, n, &mut dice))).collect();
        let mut put = |what: &str| {
            let began = Instant::now();
            let is_done = if what == "delete" { client.delete(id, &ids) } else { client.write(id, what, &records) };
            log.unclear += if is_done { 0 } else { count };
            let ended = Instant::now();
            log.changes.extend(records.iter().map(|(id, memory)| {
                let now = (what != "delete").then(|| memory.clone());
                Change { began, ended, id: id.clone(), now }
            }));
            next += Duration::from_secs(1) * u32::try_from(count * clients).unwrap() / A_SECOND;
        };
        match kind {
            0 => put("add"),
            1 | 2 => put("update"),
            3 => put("delete"),
            _ => {
                put("delete");
                put("add");
            }
        }
        if kind != 3 {
            mine.extend(ids);
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    log
}

/// Another client of a target: writes records of its own, changes and deletes them, and takes ids that the source has, too.
pub(crate) fn interfere(shelf: &Shelf<'_>, seed: u64, stop: &AtomicBool) -> Log {
    let Shelf { url, id, before, .. } = *shelf;
    let (client, mut dice) = (Client::new(url), Dice::new(seed));
    let theirs: Vec<&String> = before.keys().collect();
    let mut log = Log::default();
    let mut own: Vec<String> = Vec::new();
    for n in 2000.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let kind = if own.is_empty() { 0 } else { dice.below(4) };
        let one = match kind {
            0 => format!("foreign-{n}"),
            1 | 2 => own[dice.below(own.len())].clone(),
            _ => theirs[dice.below(theirs.len())].clone(),
        };
        let mut memory = Memory::new(&one, n, &mut dice);
        // an upsert without one would keep what is there
        memory.uri = Some(format!("file:///foreign/{n}"));
        let began = Instant::now();
        let is_deleted = kind == 2 && one.starts_with("foreign");
        let is_done = if is_deleted {
            client.delete(id, std::slice::from_ref(&one))
        } else {
            client.write(id, "upsert", &[(one.clone(), memory.clone())])
        };
        log.unclear += usize::from(!is_done);
        let now = (!is_deleted).then(|| memory.clone());
        log.changes.push(Change { began, ended: Instant::now(), id: one.clone(), now });
        match kind {
            2 if is_deleted => own.retain(|other| *other != one),
            _ if !own.contains(&one) => own.push(one),
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    log
}
