//! Whether a record that a server fails on is unreadable, or the server is in trouble. Pure: no I/O, no clock.
//!
//! A server that has lost a vector answers 500 for every `get` with that id (measured on 0.4.24, 0.5.23, 0.6.3 and 1.5.9), and
//! so does one that is itself broken. They are told apart by a record that can be read at the same time.

use std::time::Duration;

/// Tries alone before a record is called unreadable.
const TRIES: u32 = 3;
/// Records on end that fail alone and are no longer a matter of single records, unless the server answers for one but for a part
/// of it. A server that lost the index's file, or a range of it, fails on thousands on end.
pub(super) const ON_END: usize = 20;
/// Requests that the search of one collection may take: some three for each record on end that cannot be read.
const REQUESTS: u64 = 2000;
/// How long the search of one collection may take, pauses included.
const TIME: Duration = Duration::from_secs(600);

/// A record of the same collection that was read before, asked for between two tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// None was ever read.
    None,
    /// It came.
    Answered,
    /// None of this collection comes, and one of another collection does.
    Elsewhere,
    /// It failed, too, or did not come.
    Failed,
}

/// What is known of a record that fails alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    /// How often it has failed alone, with a pause between two tries.
    pub(super) tries: u32,
    /// What its neighbour did since the last try.
    pub(super) neighbour: Neighbour,
    /// How many records fail alone without one between them that can be read, in id order.
    pub(super) on_end: usize,
    /// Whether the server answers for one of them, but for its vector or its metadata.
    pub(super) in_part: bool,
}

/// What it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// The record cannot be read.
    Unreadable,
    /// Nothing yet: pause, and ask again.
    Again,
    /// The server is in trouble; nothing is said of the record.
    Server,
}

/// Judges one record.
pub(super) const fn rule(evidence: Evidence) -> Ruling {
    let Evidence { tries, neighbour, on_end, in_part } = evidence;
    match neighbour {
        _ if on_end >= ON_END && !in_part => Ruling::Server,
        Neighbour::None | Neighbour::Failed => Ruling::Server,
        Neighbour::Answered | Neighbour::Elsewhere if tries >= TRIES => Ruling::Unreadable,
        Neighbour::Answered | Neighbour::Elsewhere => Ruling::Again,
    }
}

/// What searches of one collection have taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) requests: u64,
    pub(super) time: Duration,
}

impl Spent {
    /// Counts what one step has taken.
    pub(super) fn add(&mut self, requests: u64, time: Duration) {
        self.requests += requests;
        self.time += time;
    }

    /// Whether a search may go on.
    pub(super) fn allows_more(self) -> bool {
        self.requests < REQUESTS && self.time < TIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        use Neighbour::{Answered, Elsewhere, Failed, None};
        use Ruling::{Again, Server, Unreadable};
        for (tries, neighbour, on_end, in_part, expected) in [
            (1, Answered, 1, false, Again),
            (2, Answered, 1, false, Again),
            (3, Answered, 1, false, Unreadable),
            (4, Answered, 1, false, Unreadable),
            (1, Elsewhere, 1, false, Again),
            (3, Elsewhere, 1, false, Unreadable),
            (1, Elsewhere, 20, false, Server),
            (3, Answered, 19, false, Unreadable),
            (3, Answered, 20, false, Server),
            (1, Answered, 20, false, Server),
            (1, Answered, 20, true, Again),
            (3, Answered, 20, true, Unreadable),
            (3, Answered, 5000, true, Unreadable),
            (1, Failed, 1, false, Server),
            (3, Failed, 1, false, Server),
            (3, None, 1, false, Server),
            (1, None, 1, false, Server),
            (3, Failed, 20, false, Server),
            (3, Failed, 20, true, Server),
            (3, None, 20, true, Server),
        ] {
            let evidence = Evidence { tries, neighbour, on_end, in_part };
            assert_eq!(rule(evidence), expected, "{evidence:?}");
        }
    }

    #[test]
    fn a_search_ends_by_requests_and_by_time() {
        let spent = |requests, seconds| Spent { requests, time: Duration::from_secs(seconds) };
        assert!(spent(1999, 599).allows_more());
        assert!(!spent(2000, 0).allows_more() && !spent(0, 600).allows_more());
    }
}
