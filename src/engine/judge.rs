//! Whose record is it, and what is to be done about it: the one rule of preflight, verification and repair.
//! Pure: no store, no ledger. Its test is a table.
//!
//! A record of the target is this run's own only if this run sent it and the target still holds what was sent. Anything
//! else with other content may be somebody else's, and is a conflict that `onConflict` decides.

use super::OnConflict;
use super::compare::{Comparison, FieldDifference, compare};
use super::seal::Seal;
use crate::model::{Distance, Fetched, Record, Value};

/// What is known of a record from before this look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    #[default]
    Nothing,
    /// It was compared: this was the source's record.
    Compared(Seal),
    /// This run sent it: this was the record.
    Sent(Seal),
}

impl Known {
    /// The source's record as it was compared or sent last.
    #[must_use]
    pub const fn seal(&self) -> Option<&Seal> {
        match self {
            Self::Nothing => None,
            Self::Compared(seal) | Self::Sent(seal) => Some(seal),
        }
    }

    /// Whether this run sent the record.
    #[must_use]
    pub const fn is_sent(&self) -> bool {
        matches!(self, Self::Sent(_))
    }
}

/// What is to be done about one record of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Nothing: the target holds it. The largest distance, in ULP.
    Equal(u32),
    /// Add it: the target has none.
    Add,
    /// Make the target's equal: it is this run's own, or `onConflict` is Overwrite.
    Amend(Vec<FieldDifference>),
    /// Leave the target's alone and list it (`onConflict: Skip`); why it is a conflict.
    Leave(String),
    /// The same of one that cannot be read in the target, why: it was not compared, so it is no conflict, and fails the run.
    Lost(String),
    /// End the run (`onConflict: Fail`); why it is a conflict.
    Refuse(String),
}

/// Judges one record: what this run knew and sent (`known`, and `attempted` where an answer was uncertain), the source's
/// record as it is now, and the target's as it is now.
#[must_use]
pub fn judge(
    known: &Known,
    attempted: &[Seal],
    source: &Record,
    target: Option<&Fetched>,
    distance: Distance,
    policy: OnConflict,
) -> Ruling {
    let Some(target) = target else { return Ruling::Add };
    let (differences, is_own, arrays_only) = match target {
        Fetched::Record { record, .. } => match compare(source, record, distance) {
            Comparison::Equal(ulps) => return Ruling::Equal(ulps),
            Comparison::Different(differences) => {
                let sent = known.seal().filter(|_| known.is_sent());
                let is_own = sent.into_iter().chain(attempted).any(|seal| seal.holds(record, distance));
                let arrays_only = differs_by_more_arrays(&differences, source, record);
                (differences, is_own, arrays_only)
            }
        },
        Fetched::Unreadable { why, .. } if policy == OnConflict::Skip && !known.is_sent() => {
            return Ruling::Lost(format!("in the target: {why}"));
        }
        // what was sent and cannot be read any more is nobody's work
        Fetched::Unreadable { why, .. } => {
            let detail = format!("in the target: {why}");
            (vec![FieldDifference { field: "unreadable".to_owned(), detail }], known.is_sent(), false)
        }
    };
    if is_own || policy == OnConflict::Overwrite {
        return Ruling::Amend(differences);
    }
    let cause = if arrays_only && known.is_sent() { INHERITED } else { cause(known, source, distance) };
    let why = format!("{}{cause}", in_words(&differences));
    if policy == OnConflict::Fail { Ruling::Refuse(why) } else { Ruling::Leave(why) }
}

/// Differing fields in one text.
#[must_use]
pub fn in_words(differences: &[FieldDifference]) -> String {
    let texts: Vec<String> = differences.iter().map(|d| format!("{}: {}", d.field, d.detail)).collect();
    texts.join("; ")
}

/// Why a record that this run wrote can come back with arrays that nobody wrote (measured on 1.5.9).
const INHERITED: &str = " (this run wrote it without that array: another client has added it since, or the server gave the \
                         record an array that a deleted collection left behind, as Chroma 1.5.9 does. If no other client \
                         writes there, onConflict Overwrite removes it)";

/// Whether the target's record is the source's but for arrays under keys that the source's does not have.
fn differs_by_more_arrays(differences: &[FieldDifference], source: &Record, target: &Record) -> bool {
    let more = target.metadata.iter().filter(|(key, _)| !source.metadata.contains_key(*key));
    let (arrays, others): (Vec<_>, Vec<_>) = more.partition(|(_, value)| matches!(value, Value::List(_)));
    others.is_empty() && arrays.len() == differences.len()
}

/// How it came to a conflict, as far as is known.
fn cause(known: &Known, source: &Record, distance: Distance) -> &'static str {
    match known {
        Known::Sent(_) => " (this run wrote it, and another client has changed it in the target since)",
        Known::Compared(seal) if seal.holds(source, distance) => {
            " (it was equal when the run began, and another client has changed it in the target since)"
        }
        Known::Compared(_) => {
            " (it was equal when the run began, and has changed in the source since; this run did not write it, so it may \
             be another client's: onConflict Overwrite takes the source's)"
        }
        Known::Nothing => {
            " (it may be another client's, or an earlier attempt wrote it before the source changed: onConflict Overwrite \
             takes the source's)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Metadata, Origin};

    fn record(text: &str, at: f64, x: f32) -> Record {
        Record {
            id: "a".into(),
            embedding: vec![x, 1.0 - x, 0.5],
            document: Some(text.into()),
            uri: None,
            metadata: Metadata::from([("at".to_owned(), Value::Float(at))]),
        }
    }

    fn ulps(x: f64, by: u64) -> f64 {
        f64::from_bits(x.to_bits() + by)
    }

    fn ulps32(x: f32, by: u32) -> f32 {
        f32::from_bits(x.to_bits() + by)
    }

    fn fetched(record: Record) -> Fetched {
        Fetched::Record { record, origin: Origin::Server }
    }

    fn word(ruling: &Ruling) -> &'static str {
        match ruling {
            Ruling::Equal(_) => "equal",
            Ruling::Add => "add",
            Ruling::Amend(_) => "amend",
            Ruling::Leave(_) => "leave",
            Ruling::Lost(_) => "lost",
            Ruling::Refuse(_) => "refuse",
        }
    }

    /// One row: what happened, what this run knows, the source now, the target now, and the ruling under Skip, Fail and
    /// Overwrite.
    type Row = (&'static str, Known, Record, Option<Fetched>, [&'static str; 3]);

    #[expect(clippy::too_many_lines, reason = "a table")]
    fn rows() -> Vec<Row> {
        let seal = |record: &Record| Seal::of(record, Distance::Cosine);
        let old = record("old", 1.7e9, 0.25);
        let new = record("new", 1.7e9, 0.25);
        let theirs = record("theirs", 3.0, 0.125);
        let moved = record("old", ulps(1.7e9, 1), 0.25);
        let turned = record("old", 1.7e9, ulps32(0.25, 2));
        let anew = record("old", 1.7e9, 0.75);
        let lost = Some(Fetched::Unreadable { id: "a".into(), why: "no vector".into() });
        let (sent, compared) = (Known::Sent(seal(&old)), Known::Compared(seal(&old)));
        vec![
            ("both sides agree", Known::Nothing, old.clone(), Some(fetched(old.clone())), ["equal"; 3]),
            ("they agree within the drift", sent, old.clone(), Some(fetched(moved.clone())), ["equal"; 3]),
            ("the target has none", Known::Nothing, old.clone(), None, ["add"; 3]),
            ("what was sent is gone", sent, old.clone(), None, ["add"; 3]),
            (
                "the target has another one",
                Known::Nothing,
                old.clone(),
                Some(fetched(theirs.clone())),
                ["leave", "refuse", "amend"],
            ),
            ("the source changed what was sent", sent, new.clone(), Some(fetched(old.clone())), ["amend"; 3]),
            (
                "a timestamp moved by 1 ULP in the target, then the source's document changed",
                sent,
                new.clone(),
                Some(fetched(moved)),
                ["amend"; 3],
            ),
            (
                "the source's own engine moved its vector",
                sent,
                turned.clone(),
                Some(fetched(old.clone())),
                ["equal"; 3],
            ),
            (
                "the target's engine moved its vector, then the source changed",
                sent,
                new.clone(),
                Some(fetched(turned)),
                ["amend"; 3],
            ),
            (
                "a cosine vector was embedded anew in the source",
                sent,
                anew.clone(),
                Some(fetched(old.clone())),
                ["amend"; 3],
            ),
            (
                "a cosine vector was embedded anew in the target",
                sent,
                old.clone(),
                Some(fetched(anew)),
                ["leave", "refuse", "amend"],
            ),
            (
                "another client changed what was sent",
                sent,
                old.clone(),
                Some(fetched(theirs.clone())),
                ["leave", "refuse", "amend"],
            ),
            (
                "both changed what was sent",
                sent,
                new.clone(),
                Some(fetched(theirs.clone())),
                ["leave", "refuse", "amend"],
            ),
            (
                "another client changed a present record",
                compared,
                old.clone(),
                Some(fetched(theirs.clone())),
                ["leave", "refuse", "amend"],
            ),
            (
                "the source changed a present record",
                compared,
                new.clone(),
                Some(fetched(old.clone())),
                ["leave", "refuse", "amend"],
            ),
            (
                "both changed a present record",
                compared,
                new.clone(),
                Some(fetched(theirs)),
                ["leave", "refuse", "amend"],
            ),
            (
                "deleted in the source and added again with other content",
                sent,
                new,
                Some(fetched(old.clone())),
                ["amend"; 3],
            ),
            ("the target lost the vector of what was sent", sent, old.clone(), lost.clone(), ["amend"; 3]),
            (
                "the target lost the vector of another one",
                Known::Nothing,
                old.clone(),
                lost.clone(),
                ["lost", "refuse", "amend"],
            ),
            ("the target lost the vector of a present record", compared, old, lost, ["lost", "refuse", "amend"]),
        ]
    }

    #[test]
    fn the_table() {
        for (what, known, source, target, expected) in rows() {
            let policies = [OnConflict::Skip, OnConflict::Fail, OnConflict::Overwrite];
            let ruled = policies.map(|p| word(&judge(&known, &[], &source, target.as_ref(), Distance::Cosine, p)));
            assert_eq!(ruled, expected, "{what}");
        }
    }

    #[test]
    fn an_uncertain_write_that_was_applied_is_our_own() {
        let (first, second, third) = (record("1", 1.0, 0.25), record("2", 1.0, 0.25), record("3", 1.0, 0.25));
        let known = Known::Sent(Seal::of(&first, Distance::L2));
        let attempted = [Seal::of(&second, Distance::L2)];
        let rule = |attempted: &[Seal]| {
            word(&judge(
                &known,
                attempted,
                &third,
                Some(fetched(second.clone())).as_ref(),
                Distance::L2,
                OnConflict::Skip,
            ))
        };
        assert_eq!((rule(&attempted), rule(&[])), ("amend", "leave"));
    }

    #[test]
    fn a_conflict_says_how_it_came_and_what_takes_the_sources() {
        let (mine, theirs) = (record("mine", 1.0, 0.25), record("theirs", 1.0, 0.25));
        let seal = Seal::of(&mine, Distance::L2);
        let said = |known: Known| match judge(
            &known,
            &[],
            &mine,
            Some(fetched(theirs.clone())).as_ref(),
            Distance::L2,
            OnConflict::Skip,
        ) {
            Ruling::Leave(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(said(Known::Nothing).contains("document: \"mine\" != \"theirs\""));
        assert!(
            said(Known::Nothing).contains("an earlier attempt wrote it") && said(Known::Nothing).contains("Overwrite")
        );
        assert!(said(Known::Sent(seal)).contains("this run wrote it"));
        assert!(said(Known::Compared(seal)).contains("another client has changed it"));
        let before = Seal::of(&record("before", 1.0, 0.25), Distance::L2);
        assert!(said(Known::Compared(before)).contains("has changed in the source since"));
    }

    /// Chroma 1.5.9 gives a record the arrays of a deleted collection's: nobody else need have written them.
    #[test]
    fn arrays_that_this_run_did_not_write_have_two_causes() {
        let mine = record("mine", 1.0, 0.25);
        let with = |key: &str, value: Value| {
            let mut theirs = mine.clone();
            theirs.metadata.insert(key.to_owned(), value);
            theirs
        };
        let array = || Value::List(vec![Value::Bool(true)]);
        let (inherited, number) = (with("tags", array()), with("n", Value::Int(1)));
        let mut both = with("tags", array());
        both.document = Some("theirs".to_owned());
        let sent = Known::Sent(Seal::of(&mine, Distance::L2));
        for (known, target, names_both) in [
            (sent, &inherited, true),
            (Known::Nothing, &inherited, false),
            (sent, &number, false),
            (sent, &both, false),
            (sent, &with("at", array()), false),
        ] {
            let target = fetched(target.clone());
            let ruling = judge(&known, &[], &mine, Some(&target), Distance::L2, OnConflict::Fail);
            let Ruling::Refuse(why) = ruling else { panic!("{ruling:?}") };
            assert_eq!(why.contains("deleted collection"), names_both, "{why}");
        }
    }
}
