//! What to do after one attempt of a request, as a value with its reason.
//! Pure: no I/O, no clock. How long to wait is `transport`'s affair.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// Whether a request can be repeated without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes nothing.
    Read,
    /// Reads records by id: where the server says that it cannot, fewer are asked for, and not the same again.
    Records,
    /// May change the server; is never sent again once the server may have received it.
    Write,
}

/// What came of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An answer with this HTTP status, as corrected by [`true_status`].
    Status(u16),
    /// By [`is_own_error`]: the server is up, received the request and fails on it.
    OwnError,
    /// No whole answer.
    Failed(Failure),
}

/// Why there is no whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request never left: connection refused, no such host, no route.
    Unreached,
    /// No TLS session: unknown authority, wrong name, or no TLS on that port.
    Tls,
    /// No (complete) answer in time.
    TimedOut,
    /// The connection broke before the answer was complete.
    Broken,
    /// The answer's body, or the JSON in it, ends in the middle.
    Short,
    /// A complete answer that no Chroma gives.
    Foreign,
    /// An answer that contradicts what was asked, as a record that nobody asked for.
    Contradictory,
    /// An answer whose columns have different lengths: the server lacks a part of some record.
    Uneven,
    /// An answer beyond its bound.
    TooLong,
}

/// An attempt without a whole answer.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) failure: Failure,
    /// What happened. May quote the answer, so it is shown only after secrets were blanked and it was cut.
    pub(super) detail: String,
    /// The answer's beginning, where that tells who answers.
    pub(super) quoted: Option<String>,
}

impl Failed {
    pub(super) fn new(failure: Failure, detail: impl Into<String>) -> Self {
        Self { failure, detail: detail.into(), quoted: None }
    }
}

/// The status that says what happened. Servers before 1.0 answer 400 for a missing collection, and before 0.5 a 500
/// with the Python exception (measured on 0.4.24, 0.5.23 and 0.6.3).
pub(super) fn true_status(status: u16, text: &str) -> u16 {
    let says = |word: &str| text.contains(word);
    match status {
        400 if says("\"InvalidCollection\"") => 404,
        500 if says("\"NotFoundError(") || says("coroutine raised StopIteration") => 404,
        500 if says("\"InvalidCollectionException(") => 404,
        500 if says("\"UniqueConstraintError(") => 409,
        _ => status,
    }
}

/// Whether the server itself failed on the request, and says so: a 500 with a text, and of records any 500. Servers of 0.5 and 0.6 answer a
/// `TypeError` of their own with 400, as if the request were at fault: 0.6.3 does so for a `get` whose record is deleted
/// between its two reads, of the metadata and of the vector (by its source, and seen while a source changed). Of a write
/// nobody can tell from that whether it was refused or half done, so there it stays what it was.
pub(super) fn is_own_error(kind: Kind, status: u16, text: &str) -> bool {
    let is_type_error = || ["'NoneType' object", "of type 'NoneType'"].iter().any(|words| text.contains(words));
    match status {
        500 => matches!(kind, Kind::Records) || !text.trim().is_empty(),
        400 => !matches!(kind, Kind::Write) && is_type_error(),
        _ => false,
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It worked.
    Done,
    /// Send it again, after a pause and within the deadline.
    Retry(Reason),
    /// Sending it again cannot help, or could harm.
    Stop(Reason),
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The request never left.
    Unreached,
    /// 429: the server wants a pause, and has done nothing.
    Busy,
    /// 408 or 5xx on a read.
    ServerError,
    /// The server's own error, or an uneven or short answer, for these records.
    Failing,
    /// No answer in time, on a read.
    TimedOut,
    /// A broken answer, on a read.
    Broken,
    /// The server may have received a write, and how it ended is unknown.
    MaybeApplied,
    /// TLS failed.
    Tls,
    /// 401 or 403.
    Denied,
    /// 404 or 410.
    Missing,
    /// 413.
    TooLarge,
    /// 3xx. Never followed by a request: a write would turn into a read, and a custom credential header would reach another
    /// host. A server that is opened is looked for by https, if its own host says so.
    Redirected,
    /// Not the answer of a Chroma server.
    Foreign,
    /// An answer that contradicts what was asked, on a read.
    Contradictory,
    /// An answer beyond its bound, on a read.
    TooLong,
    /// Any other 4xx.
    Refused,
}

/// Decides from the kind of request and what came of it.
pub(super) const fn decide(kind: Kind, outcome: Outcome) -> Decision {
    use Decision::{Done, Retry, Stop};
    match (outcome, kind) {
        (Outcome::Status(200..=299), _) => Done,
        (Outcome::Status(300..=399), Kind::Read | Kind::Records) => Retry(Reason::Redirected),
        (Outcome::Status(300..=399), Kind::Write) => Stop(Reason::Redirected),
        (Outcome::Status(401 | 403), _) => Stop(Reason::Denied),
        (Outcome::Status(404 | 410), _) => Stop(Reason::Missing),
        (Outcome::Status(413), _) => Stop(Reason::TooLarge),
        (Outcome::Status(429), _) => Retry(Reason::Busy),
        (Outcome::OwnError | Outcome::Failed(Failure::Uneven | Failure::Short), Kind::Records) => Stop(Reason::Failing),
        (Outcome::OwnError, Kind::Read) | (Outcome::Status(408), Kind::Read | Kind::Records) => {
            Retry(Reason::ServerError)
        }
        (Outcome::Status(408), Kind::Write) => Stop(Reason::MaybeApplied),
        (Outcome::Status(400..=499), Kind::Write | Kind::Records) => Stop(Reason::Refused),
        // 501 says that the server cannot do it at all.
        (Outcome::Status(400..=499), Kind::Read) | (Outcome::Status(501), Kind::Read | Kind::Records) => {
            Retry(Reason::Refused)
        }
        (Outcome::Status(500..=599), Kind::Read | Kind::Records) => Retry(Reason::ServerError),
        (Outcome::Failed(Failure::Unreached), _) => Retry(Reason::Unreached),
        (Outcome::Failed(Failure::Tls), _) => Stop(Reason::Tls),
        (Outcome::Failed(Failure::TimedOut), Kind::Read | Kind::Records) => Retry(Reason::TimedOut),
        (Outcome::Failed(Failure::Broken), Kind::Read | Kind::Records)
        | (Outcome::Failed(Failure::Short), Kind::Read) => Retry(Reason::Broken),
        (Outcome::Failed(Failure::Contradictory | Failure::Uneven), Kind::Read)
        | (Outcome::Failed(Failure::Contradictory), Kind::Records) => Retry(Reason::Contradictory),
        (Outcome::Failed(Failure::TooLong), Kind::Read | Kind::Records) => Stop(Reason::TooLong),
        (Outcome::Failed(Failure::Foreign) | Outcome::Status(_), Kind::Read | Kind::Records) => Retry(Reason::Foreign),
        (Outcome::Failed(_) | Outcome::Status(_) | Outcome::OwnError, Kind::Write) => Stop(Reason::MaybeApplied),
    }
}

/// Pauses between attempts: exponential from 0.2 s up to 10 s, with full jitter, without end.
pub(super) fn pauses() -> impl Iterator<Item = Duration> + Send {
    let steps = || {
        ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(10))
            .without_max_times()
    };
    // backon's jitter adds up to one step to the step; what it added is the full jitter.
    steps().with_jitter().build().zip(steps().build()).map(|(jittered, step)| jittered.saturating_sub(step))
}

/// The pause before the next attempt, or None when there is none: it would end past the deadline. `wanted` is the
/// server's `Retry-After`, which is kept to.
///
/// A first timeout is always followed by a second attempt: a server that stood still for longer than one timeout would
/// else have used up the budget of both. An answer that no server gives, or that contradicts what was asked, is asked for once
/// more and not again: what stands before a server may give it once.
pub(super) fn pause(
    reason: Reason,
    attempts: u32,
    jittered: Duration,
    wanted: Option<Duration>,
    left: Duration,
) -> Option<Duration> {
    let pause = jittered.max(wanted.unwrap_or_default());
    match reason {
        Reason::TimedOut if attempts == 1 => Some(pause),
        Reason::Contradictory | Reason::Foreign | Reason::Redirected | Reason::Refused if attempts > 1 => None,
        _ => (pause < left).then_some(pause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::{Done, Retry, Stop};
    use Outcome::{Failed, Status};

    #[test]
    fn the_table_of_decisions() {
        let table = [
            (Status(200), Done, Done),
            (Status(201), Done, Done),
            (Status(307), Retry(Reason::Redirected), Stop(Reason::Redirected)),
            (Status(401), Stop(Reason::Denied), Stop(Reason::Denied)),
            (Status(403), Stop(Reason::Denied), Stop(Reason::Denied)),
            (Status(404), Stop(Reason::Missing), Stop(Reason::Missing)),
            (Status(408), Retry(Reason::ServerError), Stop(Reason::MaybeApplied)),
            (Status(410), Stop(Reason::Missing), Stop(Reason::Missing)),
            (Status(413), Stop(Reason::TooLarge), Stop(Reason::TooLarge)),
            (Status(429), Retry(Reason::Busy), Retry(Reason::Busy)),
            (Status(500), Retry(Reason::ServerError), Stop(Reason::MaybeApplied)),
            (Status(501), Retry(Reason::Refused), Stop(Reason::MaybeApplied)),
            (Status(502), Retry(Reason::ServerError), Stop(Reason::MaybeApplied)),
            (Status(503), Retry(Reason::ServerError), Stop(Reason::MaybeApplied)),
            (Status(504), Retry(Reason::ServerError), Stop(Reason::MaybeApplied)),
            (Status(101), Retry(Reason::Foreign), Stop(Reason::MaybeApplied)),
            (Failed(Failure::Unreached), Retry(Reason::Unreached), Retry(Reason::Unreached)),
            (Failed(Failure::Tls), Stop(Reason::Tls), Stop(Reason::Tls)),
            (Failed(Failure::TimedOut), Retry(Reason::TimedOut), Stop(Reason::MaybeApplied)),
            (Failed(Failure::Broken), Retry(Reason::Broken), Stop(Reason::MaybeApplied)),
            (Failed(Failure::Foreign), Retry(Reason::Foreign), Stop(Reason::MaybeApplied)),
            (Failed(Failure::Contradictory), Retry(Reason::Contradictory), Stop(Reason::MaybeApplied)),
            (Failed(Failure::TooLong), Stop(Reason::TooLong), Stop(Reason::MaybeApplied)),
        ];
        for (outcome, read, write) in table {
            assert_eq!(decide(Kind::Read, outcome), read, "read, {outcome:?}");
            assert_eq!(decide(Kind::Records, outcome), read, "records, {outcome:?}");
            assert_eq!(decide(Kind::Write, outcome), write, "write, {outcome:?}");
        }
        for status in [400, 409, 422, 425] {
            assert_eq!(decide(Kind::Read, Status(status)), Retry(Reason::Refused), "{status}");
            assert_eq!(decide(Kind::Records, Status(status)), Stop(Reason::Refused), "{status}");
            assert_eq!(decide(Kind::Write, Status(status)), Stop(Reason::Refused), "{status}");
        }
        // only these speak at once of the records that were asked for
        for (outcome, read) in [
            (Outcome::OwnError, Retry(Reason::ServerError)),
            (Failed(Failure::Uneven), Retry(Reason::Contradictory)),
            (Failed(Failure::Short), Retry(Reason::Broken)),
        ] {
            assert_eq!(decide(Kind::Read, outcome), read, "read, {outcome:?}");
            assert_eq!(decide(Kind::Records, outcome), Stop(Reason::Failing), "records, {outcome:?}");
            assert_eq!(decide(Kind::Write, outcome), Stop(Reason::MaybeApplied), "write, {outcome:?}");
        }
    }

    #[test]
    fn a_type_error_of_an_old_server_is_its_own() {
        let slip = |text| format!("{{\"error\":\"InvalidArgumentError\",\"message\":\"{text}\"}}");
        for (status, text, of_read, of_write) in [
            (400, slip("'NoneType' object is not subscriptable"), true, false),
            (400, slip("argument of type 'NoneType' is not iterable"), true, false),
            // what 0.4.24 and 0.6.3 say of a value that they do not take
            (400, slip("Expected metadata value to be a str, got None which is a <class 'NoneType'>"), false, false),
            (400, slip("Expected metadata value to be a str, got None which is a NoneType"), false, false),
            (500, slip("'NoneType' object is not subscriptable"), true, true),
            (422, slip("'NoneType' object is not subscriptable"), false, false),
        ] {
            let found = [Kind::Read, Kind::Records, Kind::Write].map(|kind| is_own_error(kind, status, &text));
            assert_eq!(found, [of_read, of_read, of_write], "{status} {text}");
        }
        let found = [Kind::Read, Kind::Records, Kind::Write].map(|kind| is_own_error(kind, 500, " "));
        assert_eq!(found, [false, true, false]);
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let bounds = (0..12).map(|n| Duration::from_millis(200) * 2_u32.pow(n)).map(|b| b.min(Duration::from_secs(10)));
        for (pause, bound) in pauses().zip(bounds) {
            assert!(pause <= bound, "{pause:?} > {bound:?}");
        }
        assert_eq!(pauses().take(1000).count(), 1000);
    }

    #[test]
    fn a_wish_of_the_server_is_kept_within_the_deadline() {
        let seconds = Duration::from_secs;
        let pause = |wanted, left| pause(Reason::Busy, 3, seconds(9), wanted, left);
        assert_eq!(pause(Some(seconds(17)), seconds(60)), Some(seconds(17)));
        assert_eq!(pause(Some(seconds(7)), seconds(60)), Some(seconds(9)));
        assert_eq!(pause(Some(seconds(61)), seconds(60)), None);
    }

    #[test]
    fn one_timeout_never_ends_a_read_and_what_no_server_says_is_asked_once_more() {
        let again = |reason, attempts, left| {
            pause(reason, attempts, Duration::from_secs(1), None, Duration::from_secs(left)).is_some()
        };
        assert!(again(Reason::TimedOut, 1, 0));
        assert!(!again(Reason::TimedOut, 2, 0));
        assert!(again(Reason::TimedOut, 2, 60));
        for reason in [Reason::Contradictory, Reason::Foreign, Reason::Redirected, Reason::Refused] {
            assert!(again(reason, 1, 60) && !again(reason, 2, 60), "{reason:?}");
        }
        assert!(!again(Reason::ServerError, 1, 0));
    }

    #[test]
    fn old_statuses_are_corrected() {
        assert_eq!(true_status(400, r#"{"error":"InvalidCollection","message":"Collection x does not exist."}"#), 404);
        assert_eq!(true_status(500, r#"{"error":"RuntimeError('coroutine raised StopIteration')"}"#), 404);
        assert_eq!(true_status(500, r#"{"error":"NotFoundError('Database nope not found')"}"#), 404);
        assert_eq!(true_status(500, r#"{"error":"UniqueConstraintError('Collection x already exists')"}"#), 409);
        assert_eq!(true_status(500, "boom"), 500);
    }
}
