//! A client that writes while a run is under way, at up to 200 operations a second, and its log: the oracle of what the
//! store must hold. It knows what was acknowledged, and tries nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::campaign::client::Client;
use crate::campaign::memories::{Memories, Memory};
use crate::support::dice::Dice;

/// Clients that write at once, each with ids of its own.
pub(crate) const CLIENTS: usize = 4;

/// One acknowledged change.
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
    /// Writes that were not acknowledged.
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
}

/// Adds, updates, deletes, and deletes and adds again, until `stop` is set; each client at most every 20 ms.
pub(crate) fn change(shelf: &Shelf<'_>, seed: u64, stop: &AtomicBool) -> Log {
    let logs: Vec<Log> = std::thread::scope(|scope| {
        let running: Vec<_> =
            (0..CLIENTS).map(|client| scope.spawn(move || one_client(shelf, seed, client, stop))).collect();
        running.into_iter().map(|client| client.join().unwrap()).collect()
    });
    logs.into_iter().fold(Log::default(), |mut all, one| {
        all.changes.extend(one.changes);
        all.unclear += one.unclear;
        all
    })
}

fn one_client(shelf: &Shelf<'_>, seed: u64, number: usize, stop: &AtomicBool) -> Log {
    let Shelf { url, id, before } = shelf;
    let (client, mut dice) = (Client::new(url), Dice::new(seed + number as u64));
    let mut mine: Vec<String> =
        before.keys().enumerate().filter(|(n, _)| n % CLIENTS == number).map(|(_, id)| id.clone()).collect();
    let mut log = Log::default();
    let mut next = Instant::now();
    for n in 1000.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        next += Duration::from_millis(20);
        let kind = if mine.len() < 20 { 0 } else { dice.below(5) };
        let at = if kind == 0 { mine.len() } else { dice.below(mine.len()) };
        let one = mine.get(at).cloned().unwrap_or_else(|| format!("late-{number}-{n}0"));
        let memory = Memory::new(&one, n, &mut dice);
        let mut put = |what: &str| {
            let began = Instant::now();
            let is_done =
                if what == "delete" { client.delete(id, &one) } else { client.write(id, what, &one, &memory) };
            let now = (what != "delete").then(|| memory.clone());
            log.unclear += usize::from(!is_done);
            log.changes.push(Change { began, ended: Instant::now(), id: one.clone(), now });
        };
        match kind {
            0 => {
                put("add");
                mine.push(one);
            }
            1 | 2 => put("update"),
            3 => {
                put("delete");
                mine.remove(at);
            }
            _ => {
                put("delete");
                put("add");
            }
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    log
}

/// Another client of a target: writes records of its own, changes and deletes them, and takes ids that the source has, too.
pub(crate) fn interfere(shelf: &Shelf<'_>, seed: u64, stop: &AtomicBool) -> Log {
    let Shelf { url, id, before } = shelf;
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
        let is_done = if is_deleted { client.delete(id, &one) } else { client.write(id, "upsert", &one, &memory) };
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
