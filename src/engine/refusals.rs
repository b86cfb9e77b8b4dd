//! Whether a write that the target refuses is a matter of its records, or of the target. Knows the answers only: sends nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::model::Error;
use crate::model::error::{LIMITS, TOO_LARGE};

/// Records on end that are refused alone, after which the next one is tried alone at once: what follows is refused, too, mostly,
/// and halves that fail would double the requests.
const STRETCH: usize = 4;
/// So many records on end that are refused alone are no matter of records.
const ON_END: usize = 20;
/// Records of one collection that may be refused: each takes requests of its own.
const MOST: usize = 1000;

/// A record that the target does not take.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) id: String,
    /// Bytes of its body.
    pub(super) bytes: usize,
    /// In the target's words.
    pub(super) error: Error,
}

impl Refused {
    /// Why, for the report: in the target's words. `taken`: bytes of the largest body that it took.
    pub(super) fn why(&self, taken: usize) -> String {
        let what = match &self.error {
            // what speaks of credentials, or of a limit, is not about this record
            Error::Denied { store, attempt, status, words, .. } => {
                format!("{store} refused {attempt} (status {status}): {words}")
            }
            Error::Rejected { store, attempt, status: TOO_LARGE, body } if self.bytes <= taken => format!(
                "{store} refused {attempt} (status {TOO_LARGE}): {body}. It took larger ones, or as large: this is about what is in \
                 the record, and no limit"
            ),
            // it was sent alone: no smaller batch helps
            Error::Rejected { store, attempt, status: TOO_LARGE, body } => format!(
                "{store} refused {attempt} (status {TOO_LARGE}): {body}. It was sent alone, in a body of {} bytes: a smaller --batch-size \
                 (spec.pacing.batchSize) does not help. If the server, or a proxy before it, has a limit below that, raise the limit \
                 ({LIMITS}). If it has not, this is about what is in the record",
                self.bytes
            ),
            error => error.to_string(),
        };
        format!("the target does not take it: {what}")
    }
}

/// What the target has refused of one collection.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Whether it has taken a write.
    takes: AtomicBool,
    /// Records that were refused alone, since a write was taken.
    on_end: AtomicUsize,
    /// All of them.
    all: AtomicUsize,
}

impl Refusals {
    /// A write was taken.
    pub(super) fn taken(&self) {
        self.takes.store(true, Ordering::Relaxed);
        self.on_end.store(0, Ordering::Relaxed);
    }

    /// A record was refused alone. Whether that may be a matter of this record.
    pub(super) fn refused(&self) -> bool {
        let on_end = self.on_end.fetch_add(1, Ordering::Relaxed) + 1;
        let all = self.all.fetch_add(1, Ordering::Relaxed) + 1;
        on_end < ON_END && all <= MOST
    }

    /// How many records of a batch that was refused are tried first.
    pub(super) fn first_part(&self, records: usize) -> usize {
        if self.on_end.load(Ordering::Relaxed) >= STRETCH { 1 } else { records / 2 }
    }

    /// Whether an answer to each record of a batch is about all of them: about who asks, or a collection that is gone.
    pub(super) fn speaks_of_all(&self, error: &Error) -> bool {
        !matches!(error, Error::Rejected { .. }) && !self.takes.load(Ordering::Relaxed)
    }
}

/// Whether a write that was refused so may be taken without one of its records. A proxy that dislikes a text in it answers 403 or
/// 404. 401 is about who asks.
pub(super) const fn may_be_of_records(error: &Error) -> bool {
    matches!(error, Error::Rejected { .. } | Error::NotFound { .. } | Error::Denied { status: 403, .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_records_are_told_from_a_target_that_takes_none() {
        let refusals = Refusals::default();
        assert_eq!(refusals.first_part(10), 5);
        for on_end in 1..ON_END {
            assert!(refusals.refused(), "{on_end}");
            assert_eq!(refusals.first_part(10), if on_end < STRETCH { 5 } else { 1 }, "{on_end}");
        }
        assert!(!refusals.refused());
        for all in ON_END..MOST {
            refusals.taken();
            assert!(refusals.refused(), "{all}");
        }
        refusals.taken();
        assert!(!refusals.refused());
    }

    #[test]
    fn what_may_be_about_a_record() {
        let (store, attempt) = (String::new, String::new);
        let rejected = |status| Error::Rejected { store: store(), attempt: attempt(), status, body: String::new() };
        let denied = |status| Error::Denied {
            store: store(),
            attempt: attempt(),
            status,
            words: String::new(),
            hint: String::new(),
        };
        let gone = || Error::NotFound { store: store(), what: String::new(), remedy: String::new() };
        let uncertain = Error::Uncertain { store: store(), attempt: attempt(), why: String::new() };
        for (error, of_records, of_all) in [
            (rejected(400), true, false),
            (rejected(413), true, false),
            (denied(403), true, true),
            (denied(401), false, true),
            (gone(), true, true),
            (uncertain, false, true),
        ] {
            let refusals = Refusals::default();
            assert_eq!((may_be_of_records(&error), refusals.speaks_of_all(&error)), (of_records, of_all), "{error}");
            refusals.taken();
            assert!(!refusals.speaks_of_all(&error), "{error}");
        }
    }

    #[test]
    fn a_413_is_a_limit_until_as_much_was_taken() {
        for (taken, status, limit, content) in [
            (0, 413, true, false),
            (99, 413, true, false),
            (100, 413, false, true),
            (0, 400, false, false),
            (100, 400, false, false),
        ] {
            let error = Error::Rejected { store: "s".into(), attempt: "a".into(), status, body: "its words".into() };
            let why = Refused { id: String::new(), bytes: 100, error }.why(taken);
            assert!(why.contains("its words") && why.contains(&format!("status {status}")), "{why}");
            let is = (why.contains("client_max_body_size"), why.contains("no limit"));
            // it was sent alone: no smaller batch helps, and it may be the record
            assert!(!why.contains("make batches smaller"), "{why}");
            let both = [
                "in a body of 100 bytes: a smaller --batch-size",
                "does not help",
                "this is about what is in the record",
            ];
            assert_eq!(both.iter().all(|words| why.contains(words)), limit, "{why}");
            assert_eq!(is, (limit, content), "{taken}, {status}: {why}");
        }
    }
}
