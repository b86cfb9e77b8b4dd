//! What was found out of a server's collections, by UUID, from one call to the next. No I/O.

use std::collections::{BTreeSet, HashMap};

use super::probe::Verdict;
use super::suspect::Spent;
use super::wire::IdAndKey;
use crate::model::Collection;
use crate::store::Remarks;
use crate::store::odd::{self, Odd, Odds};

/// Ids of a kind that are kept of a collection; of more it is only said that there are more.
const KEPT: usize = 1000;

/// What was found out, by UUID.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// A collection's distance never changes, so that it is asked for once.
    pub(super) distances: HashMap<String, Verdict>,
    /// The last list of ids was shorter than the count.
    pub(super) short: HashMap<String, Short>,
    /// What reading its records has shown.
    pub(super) read: HashMap<String, Read>,
    /// The server has no uris, in words.
    pub(super) without_uris: Option<String>,
    /// Bytes of the smallest body of a read that something before the server did not take; None: it took all.
    pub(super) refused: Option<usize>,
    /// A record that was read, of any collection.
    pub(super) last: Option<Last>,
}

/// A list of ids that is shorter than the count.
#[derive(Debug)]
pub(super) struct Short {
    /// Why, in words.
    pub(super) words: String,
    /// Records that the server counts, where it cannot list them all; else 0: more may be listed another time.
    pub(super) counted: u64,
}

/// Where a record is that was read: its collection, and its id.
#[derive(Clone, Debug)]
pub(super) struct Last {
    pub(super) collection: Collection,
    pub(super) id: String,
}

/// What reading the records of one collection has shown.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// An id whose record came.
    pub(super) neighbour: Option<String>,
    /// Ids whose record cannot be read: they are asked for apart from all others.
    pub(super) unreadable: BTreeSet<String>,
    /// Records that failed alone, since one came, in parts of which none came.
    pub(super) on_end: usize,
    /// What searching for such records has taken.
    pub(super) spent: Spent,
    /// Records that were not read, because the search had taken all that it may.
    pub(super) unread: u64,
    /// Metadata values that came as null.
    odd: Odds,
    /// Keys of the collection's own metadata whose value came as null.
    own: Vec<String>,
}

impl Read {
    /// Notes that these records came without a value, each with its key.
    pub(super) fn dropped(&mut self, values: Vec<IdAndKey>) {
        for (id, key) in values {
            self.odd.take(id, key, Odd::null());
        }
    }

    /// Remembers a record that cannot be read.
    pub(super) fn is_unreadable(&mut self, id: &str) {
        if self.unreadable.len() < KEPT {
            self.unreadable.insert(id.to_owned());
        }
    }

    /// What was not read, in words.
    pub(super) fn unread(&self) -> Option<String> {
        let Spent { requests, time } = self.spent;
        (self.unread > 0).then(|| {
            format!(
                "{} records were not read: the search for records that the server fails on was ended after {requests} \
                 requests and {} s",
                self.unread,
                time.as_secs()
            )
        })
    }
}

impl Known {
    /// Learns that a record of this collection was read.
    pub(super) fn was_read(&mut self, collection: &Collection, id: &str) {
        let of = self.of(&collection.id);
        of.neighbour = Some(id.to_owned());
        of.on_end = 0;
        match &mut self.last {
            Some(last) if last.collection.id == collection.id => id.clone_into(&mut last.id),
            last => *last = Some(Last { collection: collection.clone(), id: id.to_owned() }),
        }
    }

    /// Learns which keys of a collection's own metadata came as null.
    pub(super) fn own_nulls(&mut self, collection: &str, keys: Vec<String>) {
        if !keys.is_empty() || self.read.contains_key(collection) {
            self.of(collection).own = keys;
        }
    }

    /// Learns that a body of so many bytes was not taken.
    pub(super) fn too_large(&mut self, bytes: usize) {
        self.refused = Some(self.refused.map_or(bytes, |known| known.min(bytes)));
    }

    /// What reading the records of a collection has shown.
    pub(super) fn of(&mut self, collection: &str) -> &mut Read {
        self.read.entry(collection.to_owned()).or_default()
    }

    /// All that is to be said of a collection.
    pub(super) fn remarks(&self, collection: &str) -> Remarks {
        let (note, refusal) = match self.distances.get(collection) {
            Some(Verdict { note, refusal, .. }) => (note.clone(), refusal.clone()),
            None => (None, None),
        };
        let read = self.read.get(collection);
        let own = read.map_or(&[][..], |read| read.own.as_slice());
        let notes = note.into_iter().chain(self.without_uris.clone());
        let notes = notes.chain(own.iter().map(|key| odd::of_collection(key, &Odd::null())));
        let notes = notes.chain(read.into_iter().flat_map(|read| read.odd.told()));
        Remarks {
            damage: Vec::new(),
            notes: notes.collect(),
            amended: Vec::new(),
            short: self.short.get(collection).map(|short| short.words.clone()),
            counted: self.short.get(collection).map_or(0, |short| short.counted),
            refusal,
            unread: read.and_then(Read::unread),
            partial: !own.is_empty() || read.is_some_and(|read| read.odd.is_lossy()),
        }
    }
}
