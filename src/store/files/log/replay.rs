//! What the write-ahead log does to one record, entry by entry, beside what tables and index hold of it.
//! Pure. An entry is explained by its own number; a watermark only says whether it should have been.

use super::queue::Operation;

/// What is known of a record beside the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The `seq_id` of its row, which every change that is applied raises (measured on 0.4.24, 0.5.23, 0.6.3, 1.0.20 and
    /// 1.5.9); None where it has no row.
    pub row: Option<i64>,
    /// Whether the index holds its vector; None where the index cannot tell.
    pub indexed: Option<bool>,
    /// Whether the log still has all that was ever written to the collection.
    pub whole_log: bool,
    /// Whether its row cannot be read, if there is one: then `row` is None.
    pub is_lost: bool,
    /// Whether entries of the log are lost, any of which may have been of this record.
    pub is_torn: bool,
}

impl Known {
    /// Whether the record did not exist before this entry, the log's first one of its id: the index has followed the log up to just
    /// before it, and does not hold it. Up to there the index knows every record.
    const fn begins(&self, first: i64, marks: Watermarks) -> bool {
        !self.is_torn && (self.whole_log || (first > marks.vector && matches!(self.indexed, Some(false))))
    }
}

/// How far tables and index have followed the log, by their own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The tables.
    pub metadata: i64,
    /// The index.
    pub vector: i64,
}

/// Where the newest vector of a record is, if the log says anything about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorAt {
    /// In the entry with this `seq_id`.
    Entry(i64),
    /// In that entry, or in the index, which says that it has applied it: they are compared.
    Either(i64),
    /// Perhaps in that entry: an add, and the log does not say whether the record existed before.
    Doubtful(i64),
    /// Nowhere: the record was deleted.
    Deleted,
}

/// What the log does to a record beside its vector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Whether the record exists after the log.
    pub exists: bool,
    /// Whether the tables' row still counts; false once the log has deleted it.
    pub keeps_row: bool,
    /// The entries to apply, in order.
    pub entries: Vec<i64>,
}

/// What the log does to a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// None where it leaves the tables' content as it is.
    pub changes: Option<Changes>,
    /// None where it says nothing of the vector.
    pub vector: Option<VectorAt>,
}

impl Effect {
    /// Whether the record exists with what its row holds.
    #[must_use]
    pub fn keeps_row(&self) -> bool {
        self.changes.as_ref().is_none_or(|changes| changes.exists && changes.keeps_row)
    }
}

/// What counts although a watermark says that it was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// A change that the tables lack.
    pub change: bool,
    /// A vector that the index lacks.
    pub vector: bool,
    /// A vector that 0.4 lost: an add in the batch of its id's delete reaches the tables and not the index (measured on
    /// 0.4.24).
    pub lost: bool,
}

/// The log of one record, entry by entry.
#[derive(Clone, Debug)]
pub struct Replay {
    known: Known,
    marks: Watermarks,
    exists: bool,
    keeps_row: bool,
    entries: Vec<i64>,
    /// The last delete of the row.
    deleted: Option<i64>,
    vector: Option<At>,
    /// The first entry of all.
    first: Option<i64>,
    /// Whether the record existed before it; None where nothing tells.
    existed: Option<bool>,
    /// Whether a delete of the id was seen.
    reset: bool,
    /// The entry that has the number of the row.
    own: Option<i64>,
}

/// What the number of a record's row says beside the log: whose row it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It is that of an entry of this record: no other collection's row has it.
    Own,
    /// It is later than the first entry of this record, and that of none: a row has the number of the last entry that was applied, and the
    /// log keeps all that came after its first entry of the collection.
    Strange,
    /// Nothing.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Entry(i64),
    /// In that entry, an update, if the record existed before: an add that comes later may have made it.
    Updated(i64),
    Doubtful(i64),
    Deleted(i64),
}

impl Replay {
    /// Before the first entry.
    #[must_use]
    pub fn new(known: Known, marks: Watermarks) -> Self {
        let exists = known.row.is_some();
        let (entries, deleted, vector) = (Vec::new(), None, None);
        let (first, existed, reset, own) = (None, None, false, None);
        Self { known, marks, exists, keeps_row: exists, entries, deleted, vector, first, existed, reset, own }
    }

    /// Takes the next entry of this id.
    pub fn take(&mut self, seq_id: i64, operation: Operation, has_vector: bool) {
        self.own = self.own.or(self.known.row.filter(|row| *row == seq_id));
        if self.first.is_none() && self.known.is_lost && !self.known.begins(seq_id, self.marks) {
            // what its row held is below all that the log says
            (self.known.row, self.exists, self.keeps_row) = (Some(i64::MIN), true, true);
        }
        if self.known.row.is_none_or(|row| row < seq_id) {
            self.change(seq_id, operation);
        }
        if self.first.is_none() {
            (self.first, self.existed) = (Some(seq_id), self.was_there(seq_id, operation));
        }
        self.vector = self.moved(seq_id, operation, has_vector);
        self.reset |= operation == Operation::Delete;
    }

    fn change(&mut self, seq_id: i64, operation: Operation) {
        match operation {
            Operation::Delete => {
                self.deleted = if self.keeps_row { Some(seq_id) } else { self.deleted };
                (self.exists, self.keeps_row) = (false, false);
                self.entries.clear();
            }
            Operation::Add if self.exists => {}
            Operation::Update if !self.exists => {}
            _ => {
                self.exists = true;
                self.entries.push(seq_id);
            }
        }
    }

    /// Whether the record existed before its first entry. Tables and index know it as it was at their watermark.
    fn was_there(&self, first: i64, operation: Operation) -> Option<bool> {
        let Known { row, indexed, whole_log, .. } = self.known;
        match row {
            _ if whole_log => Some(false),
            None => Some(indexed == Some(true)),
            Some(row) if row < first => Some(true),
            Some(row) if row == first => Some(operation != Operation::Add),
            Some(_) if first > self.marks.vector => indexed,
            Some(_) => None,
        }
    }

    /// Where the vector is after an entry.
    fn moved(&self, seq_id: i64, operation: Operation, has_vector: bool) -> Option<At> {
        match (operation, self.vector) {
            (Operation::Delete, _) => Some(At::Deleted(seq_id)),
            (Operation::Add, Some(At::Updated(_))) if has_vector => self.added(seq_id),
            _ if !has_vector || self.ignores(seq_id, operation) => self.vector,
            (Operation::Add, None) if self.known.indexed.is_none() && !self.is_first(seq_id) => {
                Some(At::Doubtful(seq_id))
            }
            (Operation::Update, None | Some(At::Updated(_))) if self.existed != Some(true) => Some(At::Updated(seq_id)),
            _ => Some(At::Entry(seq_id)),
        }
    }

    /// Where the vector is after an add that only updates come before: Chroma ignores the add of a record that exists, and updates
    /// of one that does not (measured on 0.4.24, 0.6.3, 1.0.20 and 1.5.9).
    fn added(&self, seq_id: i64) -> Option<At> {
        let Known { row, indexed, .. } = self.known;
        let existed = self.existed.or(match row {
            Some(row) if row < seq_id => Some(true),
            Some(row) if row == seq_id => Some(false),
            // the index has followed the updates, and not the add
            _ if seq_id > self.marks.vector => indexed,
            _ => None,
        });
        match existed {
            Some(true) => self.vector,
            Some(false) => Some(At::Entry(seq_id)),
            // the index has followed both, and knows
            None if indexed == Some(true) => None,
            None => Some(At::Doubtful(seq_id)),
        }
    }

    /// Whether an add that no entry comes before made the record: the index's vector has to be the add's then.
    fn is_first(&self, seq_id: i64) -> bool {
        self.known.whole_log || self.known.row.is_none_or(|row| row == seq_id)
    }

    /// Whether the index ignores it: an add of a vector that it has by an earlier entry, an update of one that it has not. Where it lacks a
    /// record that the tables have, there was a vector to update.
    fn ignores(&self, seq_id: i64, operation: Operation) -> bool {
        let Known { row, indexed, .. } = self.known;
        match operation {
            Operation::Add => match self.vector {
                Some(at) => !matches!(at, At::Deleted(_)),
                None => indexed == Some(true) && !self.is_first(seq_id),
            },
            Operation::Update => match self.vector {
                Some(at) => matches!(at, At::Deleted(_)),
                None => indexed == Some(false) && row.is_none(),
            },
            Operation::Upsert | Operation::Delete => false,
        }
    }

    /// Whose row it is, as far as its number tells. A row without a number has that of the watermark, which is no sign.
    #[must_use]
    pub fn sign(&self) -> Sign {
        match (self.known.row, self.first) {
            _ if self.own.is_some() => Sign::Own,
            (Some(row), Some(first)) if row > first && row != self.marks.metadata && !self.known.is_torn => {
                Sign::Strange
            }
            _ => Sign::None,
        }
    }

    /// Whether the log made the record, and its first vector is its last.
    #[must_use]
    pub fn is_made(&self) -> bool {
        matches!(self.vector, Some(At::Entry(seq_id)) if self.is_made_by(seq_id))
    }

    /// Whether the index has to have this entry's vector if it has the record: the record did not exist before this first entry of it,
    /// whatever the watermark says.
    fn is_made_by(&self, seq_id: i64) -> bool {
        self.first == Some(seq_id) && self.existed == Some(false) && !self.known.is_torn
    }

    /// What all entries together do, and what of it was hidden.
    #[must_use]
    pub fn end(&self) -> (Effect, Hidden) {
        let Known { row, indexed, .. } = self.known;
        let marks = self.marks;
        let any = !self.entries.is_empty() || self.keeps_row != row.is_some();
        let changes =
            any.then(|| Changes { exists: self.exists, keeps_row: self.keeps_row, entries: self.entries.clone() });
        let vector = match self.vector {
            // of a record without a row the watermark is wrong, not the delete
            Some(At::Deleted(seq_id)) if seq_id <= marks.vector && indexed == Some(true) && row.is_some() => None,
            Some(At::Entry(seq_id) | At::Updated(seq_id))
                if indexed == Some(true) && (seq_id <= marks.vector || self.is_made_by(seq_id)) =>
            {
                Some(VectorAt::Either(seq_id))
            }
            Some(At::Entry(seq_id) | At::Updated(seq_id)) => Some(VectorAt::Entry(seq_id)),
            Some(At::Doubtful(seq_id)) => Some(VectorAt::Doubtful(seq_id)),
            Some(At::Deleted(_)) => Some(VectorAt::Deleted),
            None => None,
        };
        let unindexed = match vector {
            Some(VectorAt::Entry(seq_id)) if seq_id <= marks.vector && indexed == Some(false) => Some(seq_id),
            _ => None,
        };
        let lost = unindexed.is_some_and(|seq_id| self.reset && row == Some(seq_id));
        let mut all = self.entries.iter().chain(&self.deleted);
        let change = any && !self.known.is_lost && all.any(|seq_id| *seq_id <= marks.metadata);
        (Effect { changes, vector }, Hidden { change, vector: unindexed.is_some() && !lost, lost })
    }
}

/// The entries that make a record's content from nothing, as the log tells it: for a record whose row or whose values in the tables are
/// lost. None while what was before the log is not known.
#[derive(Clone, Debug)]
pub struct History {
    known: Known,
    marks: Watermarks,
    content: Content,
    is_first: bool,
}

#[derive(Clone, Debug)]
enum Content {
    Unknown,
    /// The record does not exist.
    Nothing,
    Made(Vec<i64>),
}

impl History {
    /// Before the first entry.
    #[must_use]
    pub const fn new(known: Known, marks: Watermarks) -> Self {
        Self { known, marks, content: Content::Unknown, is_first: true }
    }

    /// Takes the next entry of this id.
    pub fn take(&mut self, seq_id: i64, operation: Operation) {
        if std::mem::take(&mut self.is_first) && self.known.begins(seq_id, self.marks) {
            self.content = Content::Nothing;
        }
        // an add that its row has taken has made it: Chroma ignores the add of a record that exists
        let is_made = operation == Operation::Add && self.known.row == Some(seq_id);
        match (&mut self.content, operation) {
            (content, Operation::Delete) => *content = Content::Nothing,
            (content, _) if is_made => *content = Content::Made(vec![seq_id]),
            (content @ Content::Nothing, Operation::Add | Operation::Upsert) => *content = Content::Made(vec![seq_id]),
            (Content::Made(entries), Operation::Update | Operation::Upsert) => entries.push(seq_id),
            (Content::Made(_), Operation::Add) | (Content::Nothing, Operation::Update) | (Content::Unknown, _) => {}
        }
    }

    /// The entries, if they are all: each change that is applied gives its number to the row, so that the last of them has the row's
    /// number. Of a log that is torn only an entry after which the row has taken none is enough.
    #[must_use]
    pub fn end(self) -> Option<Vec<i64>> {
        let (Content::Made(entries), row) = (self.content, self.known.row) else { return None };
        let applied = entries.iter().copied().rfind(|entry| row.is_some_and(|row| *entry <= row));
        let is_whole = row.is_none() || applied == row;
        let is_alone = !self.known.is_torn || (row.is_some() && entries.first().copied() == row);
        (is_whole && is_alone).then_some(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::Operation::{Add, Delete, Update, Upsert};
    use super::*;
    use proptest::prelude::*;

    const FAR: i64 = 1_200_000_000_000_000_000;

    /// A row of another collection has a number that no entry of this record has.
    #[test]
    fn a_number_says_whose_a_row_is() {
        for (row, torn, log, expected) in [
            (Some(1), false, &[Add][..], Sign::Own),
            (Some(2), false, &[Add, Update], Sign::Own),
            (Some(7), false, &[Add, Update], Sign::Strange),
            (Some(7), true, &[Add, Update], Sign::None),
            // before the log began, or of the watermark
            (Some(0), false, &[Add], Sign::None),
            (Some(9), false, &[Add], Sign::None),
            (None, false, &[Add], Sign::None),
        ] {
            let known = Known { row, indexed: None, whole_log: false, is_lost: false, is_torn: torn };
            let mut replay = Replay::new(known, Watermarks { metadata: 9, vector: 9 });
            (1..).zip(log).for_each(|(seq_id, operation)| replay.take(seq_id, *operation, true));
            assert_eq!(replay.sign(), expected, "{row:?} {torn} {log:?}");
        }
    }

    /// Entries are numbered from 1.
    fn replay(row: Option<i64>, indexed: Option<bool>, mark: i64, log: &[(Operation, bool)]) -> (Effect, Hidden) {
        let marks = Watermarks { metadata: mark, vector: mark };
        let mut replay = Replay::new(Known { row, indexed, whole_log: false, is_lost: false, is_torn: false }, marks);
        for (seq_id, (operation, has_vector)) in (1..).zip(log) {
            replay.take(seq_id, *operation, *has_vector);
        }
        replay.end()
    }

    fn changes(exists: bool, keeps_row: bool, entries: &[i64]) -> Changes {
        Changes { exists, keeps_row, entries: entries.to_vec() }
    }

    #[test]
    fn an_add_of_a_known_id_and_an_update_of_an_unknown_one_are_ignored() {
        let (effect, hidden) = replay(Some(0), Some(true), 0, &[(Add, true), (Update, false)]);
        assert_eq!((effect.vector, effect.changes), (None, Some(changes(true, true, &[2]))));
        assert_eq!(hidden, Hidden::default());
        assert_eq!(replay(None, Some(false), 0, &[(Update, true)]), (Effect::default(), Hidden::default()));
    }

    #[test]
    fn an_add_after_a_delete_starts_anew() {
        let (effect, _) = replay(Some(0), Some(true), 0, &[(Update, true), (Delete, false), (Add, true)]);
        assert_eq!((effect.vector, effect.changes), (Some(VectorAt::Entry(3)), Some(changes(true, false, &[3]))));
        let (effect, _) = replay(Some(0), Some(true), 0, &[(Delete, false)]);
        assert_eq!((effect.vector, effect.changes), (Some(VectorAt::Deleted), Some(changes(false, false, &[]))));
        let (effect, _) = replay(None, Some(false), 0, &[(Upsert, true), (Upsert, true), (Add, true)]);
        assert_eq!((effect.vector, effect.changes), (Some(VectorAt::Entry(2)), Some(changes(true, false, &[1, 2]))));
    }

    type Case<'a> = (&'a str, Option<i64>, Option<bool>, &'a [(Operation, bool)], Effect, Hidden);

    fn written() -> [Case<'static>; 5] {
        let hidden = Hidden { change: true, vector: true, lost: false };
        [
            (
                "an add that neither has",
                None,
                Some(false),
                &[(Add, true)],
                Effect { changes: Some(changes(true, false, &[1])), vector: Some(VectorAt::Entry(1)) },
                hidden,
            ),
            (
                "an add that the tables have and the index may have",
                Some(1),
                Some(true),
                &[(Add, true)],
                Effect { changes: None, vector: Some(VectorAt::Either(1)) },
                Hidden::default(),
            ),
            ("an add of an id that existed", Some(0), Some(true), &[(Add, true)], Effect::default(), Hidden::default()),
            (
                "an update that the tables lack",
                Some(0),
                Some(true),
                &[(Update, false)],
                Effect { changes: Some(changes(true, true, &[1])), vector: None },
                Hidden { change: true, ..Hidden::default() },
            ),
            (
                "an upsert that the tables have and the index may have",
                Some(1),
                Some(true),
                &[(Upsert, true)],
                Effect { changes: None, vector: Some(VectorAt::Either(1)) },
                Hidden::default(),
            ),
        ]
    }

    fn deleted() -> [Case<'static>; 4] {
        [
            (
                "a vector that only the index lacks",
                Some(1),
                Some(false),
                &[(Add, true)],
                Effect { changes: None, vector: Some(VectorAt::Entry(1)) },
                Hidden { vector: true, ..Hidden::default() },
            ),
            (
                "a vector that 0.4 lost",
                Some(3),
                Some(false),
                &[(Add, true), (Delete, false), (Add, true)],
                Effect { changes: None, vector: Some(VectorAt::Entry(3)) },
                Hidden { lost: true, ..Hidden::default() },
            ),
            (
                "an add that a later entry deletes",
                None,
                Some(false),
                &[(Add, true), (Delete, false)],
                Effect { changes: None, vector: Some(VectorAt::Deleted) },
                Hidden::default(),
            ),
            (
                "a delete that the tables lack",
                Some(0),
                Some(true),
                &[(Delete, false)],
                Effect { changes: Some(changes(false, false, &[])), vector: None },
                Hidden { change: true, ..Hidden::default() },
            ),
        ]
    }

    #[test]
    fn what_a_watermark_hides_counts_and_what_was_applied_does_not() {
        for (case, row, indexed, log, effect, hidden) in written().into_iter().chain(deleted()) {
            for mark in [i64::try_from(log.len()).unwrap(), FAR] {
                assert_eq!(replay(row, indexed, mark, log), (effect.clone(), hidden), "{case}, watermark {mark}");
            }
        }
    }

    #[test]
    fn without_an_index_an_add_counts_only_if_it_was_the_first() {
        for (row, whole_log, expected) in [
            (Some(1), false, VectorAt::Entry(1)),
            (Some(7), false, VectorAt::Doubtful(1)),
            (Some(7), true, VectorAt::Entry(1)),
        ] {
            let mut replay = Replay::new(
                Known { row, indexed: None, whole_log, is_lost: false, is_torn: false },
                Watermarks { metadata: 9, vector: 9 },
            );
            replay.take(1, Add, true);
            assert_eq!(replay.end().0.vector, Some(expected), "{row:?} {whole_log}");
            replay.take(2, Update, true);
            assert_eq!(replay.end().0.vector, Some(VectorAt::Entry(2)));
        }
    }

    /// What an engine makes of one record's entries, from nothing: whether it exists, its last change, its vector's entry.
    fn engine(log: &[(Operation, bool)]) -> (Option<i64>, Option<i64>) {
        let (mut row, mut vector) = (None, None);
        for (seq_id, (operation, has_vector)) in (1_i64..).zip(log) {
            match operation {
                Delete => (row, vector) = (None, None),
                Add if row.is_some() => {}
                Update if row.is_none() => {}
                _ => {
                    row = Some(seq_id);
                    vector = if *has_vector { Some(seq_id) } else { vector };
                }
            }
        }
        (row, vector)
    }

    /// A tester's finding: an update of an id that did not exist was taken for its vector, and the add after it was ignored.
    #[test]
    fn an_add_after_an_update_of_nothing_is_the_vector() {
        for (row, indexed, mark, log, expected) in [
            (Some(2), Some(false), 0, &[(Update, true), (Add, true)][..], VectorAt::Entry(2)),
            (Some(2), Some(true), 9, &[(Update, true), (Add, true)], VectorAt::Either(2)),
            (Some(3), Some(false), 0, &[(Update, true), (Add, true), (Add, true), (Update, false)], VectorAt::Entry(2)),
            (Some(4), None, 9, &[(Update, true), (Add, true), (Add, true), (Update, false)], VectorAt::Doubtful(2)),
            (Some(1), Some(false), 0, &[(Update, true), (Add, true)], VectorAt::Entry(1)),
            (Some(0), Some(false), 0, &[(Update, true), (Add, true)], VectorAt::Entry(1)),
        ] {
            assert_eq!(replay(row, indexed, mark, log).0.vector, Some(expected), "{row:?} {indexed:?} {mark} {log:?}");
        }
    }

    /// An upsert of a record that existed has a part of its metadata, and the add of one that existed is not its content at all: what is
    /// lost below them was moved without a word.
    #[test]
    fn a_lost_row_is_made_from_the_log_only_where_the_log_begins_it() {
        let lost = |indexed, mark, whole_log, log: &[(Operation, bool)]| {
            let known = Known { row: None, indexed, whole_log, is_lost: true, is_torn: false };
            let mut replay = Replay::new(known, Watermarks { metadata: 9, vector: mark });
            for (seq_id, (operation, has_vector)) in (5..).zip(log) {
                replay.take(seq_id, *operation, *has_vector);
            }
            let (effect, hidden) = replay.end();
            assert!(!hidden.change, "{log:?}");
            effect.changes.map(|changes| (changes.exists, changes.keeps_row, changes.entries))
        };
        let made = Some((true, false, vec![5]));
        for operation in [Add, Upsert] {
            // up to entry 4 the index knows every record
            assert_eq!(lost(Some(false), 4, false, &[(operation, true)]), made);
            assert_eq!(lost(None, 9, true, &[(operation, true)]), made);
        }
        assert_eq!(lost(Some(false), 4, false, &[(Add, true), (Update, false)]), Some((true, false, vec![5, 6])));
        for (indexed, mark) in [(Some(true), 4), (None, 4), (Some(false), 5)] {
            let unknown = |log: &[(Operation, bool)]| lost(indexed, mark, false, log);
            // the row is kept below them, and it cannot be read
            assert_eq!(unknown(&[(Upsert, true)]), Some((true, true, vec![5])), "{indexed:?} {mark}");
            assert_eq!(unknown(&[(Update, true)]), Some((true, true, vec![5])), "{indexed:?} {mark}");
            assert_eq!(unknown(&[(Add, true)]), None, "{indexed:?} {mark}");
            assert_eq!(unknown(&[(Delete, false)]), Some((false, false, vec![])), "{indexed:?} {mark}");
            assert_eq!(unknown(&[(Delete, false), (Add, true)]), Some((true, false, vec![6])), "{indexed:?} {mark}");
        }
        // an entry that is lost may have been of it
        let known = Known { row: None, indexed: Some(false), whole_log: true, is_lost: true, is_torn: true };
        let mut replay = Replay::new(known, Watermarks { metadata: 0, vector: 0 });
        replay.take(5, Add, true);
        assert_eq!(replay.end().0.changes, None);
    }

    #[test]
    fn a_history_is_whole_or_none() {
        let history = |row, indexed, mark, whole_log, torn, log: &[Operation]| {
            let known = Known { row, indexed, whole_log, is_lost: false, is_torn: torn };
            let mut history = History::new(known, Watermarks { metadata: 9, vector: mark });
            for (seq_id, operation) in (5..).zip(log) {
                history.take(seq_id, *operation);
            }
            history.end()
        };
        for (row, indexed, mark, whole_log, log, expected) in [
            // the row has taken the add, so that it made the record
            (Some(5), Some(true), 9, false, &[Add][..], Some(vec![5])),
            (Some(5), Some(true), 9, false, &[Add, Update], Some(vec![5, 6])),
            (Some(6), Some(true), 9, false, &[Add, Update], None),
            (Some(4), Some(true), 9, false, &[Add], None),
            (Some(5), Some(true), 9, false, &[Upsert], None),
            (Some(5), Some(true), 9, false, &[Update], None),
            // before the first entry there was nothing
            (Some(5), Some(false), 4, false, &[Upsert], Some(vec![5])),
            (Some(6), Some(false), 4, false, &[Add, Update], Some(vec![5, 6])),
            (Some(6), None, 0, true, &[Add, Update], Some(vec![5, 6])),
            (Some(6), None, 0, true, &[Update, Add], Some(vec![6])),
            // an add of a record that exists is ignored
            (Some(7), None, 0, true, &[Add, Add, Update], Some(vec![5, 7])),
            // a delete says so, too
            (Some(6), Some(true), 9, false, &[Delete, Upsert], Some(vec![6])),
            (Some(6), Some(true), 9, false, &[Delete, Upsert, Delete], None),
            // the row has taken a later change that the log lacks
            (Some(9), None, 0, true, &[Add, Update], None),
        ] {
            assert_eq!(
                history(row, indexed, mark, whole_log, false, log),
                expected,
                "{row:?} {indexed:?} {mark} {log:?}"
            );
        }
        assert_eq!(history(Some(5), Some(true), 9, false, true, &[Add]), Some(vec![5]));
        assert_eq!(history(Some(6), Some(false), 4, false, true, &[Add, Update]), None);
        assert_eq!(history(Some(6), None, 0, true, true, &[Add, Update]), None);
    }

    proptest! {
        /// Wherever the log was cut, and however far tables and index have followed it: the vector is the engine's.
        #[test]
        fn the_vector_is_that_of_the_whole_log(
            log in proptest::collection::vec((0..4_i64, any::<bool>()), 1..9),
            tables in 0..9_usize, index in 0..9_usize, cut in 0..9_usize, mark in 0..12_i64,
        ) {
            let has = |operation, has| operation == Add || operation == Upsert || (operation == Update && has);
            let log: Vec<_> = log.into_iter().map(|(code, any)| {
                let operation = Operation::from_code(code).unwrap();
                (operation, has(operation, any))
            }).collect();
            // tables are never behind the index, and what the index has not followed is never cut
            let tables = tables.min(log.len());
            let index = index.min(tables);
            let cut = cut.min(index);
            let (row, _) = engine(&log[..tables]);
            let (is_there, indexed) = engine(&log[..index]);
            let marks = Watermarks {
                metadata: i64::try_from(tables).unwrap(), vector: i64::try_from(index).unwrap(),
            };
            let known = Known { row, indexed: Some(is_there.is_some()), whole_log: cut == 0, is_lost: false, is_torn: false };
            let mut replay = Replay::new(known, marks);
            for (seq_id, (operation, has_vector)) in (1..).zip(&log).skip(cut) {
                replay.take(seq_id, *operation, *has_vector);
            }
            let (exists, vector) = engine(&log);
            let (effect, hidden) = replay.end();
            prop_assert_eq!(hidden, Hidden::default());
            prop_assert_ne!(replay.sign(), Sign::Strange, "a sound row is doubted");
            // whatever the watermark says, an index has no other vector of a record that the log has made
            let mut wrong = Replay::new(known, Watermarks { vector: mark, ..marks });
            for (seq_id, (operation, has_vector)) in (1..).zip(&log).skip(cut) {
                wrong.take(seq_id, *operation, *has_vector);
            }
            if wrong.is_made() && is_there.is_some() {
                prop_assert_eq!(wrong.end().0.vector, indexed.map(VectorAt::Either));
            }
            if exists.is_some() {
                let found = match effect.vector {
                    None => indexed,
                    Some(VectorAt::Entry(seq_id)) => Some(seq_id),
                    Some(VectorAt::Either(seq_id)) => {
                        prop_assert_eq!(Some(seq_id), indexed, "a sound index is doubted");
                        Some(seq_id)
                    }
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                };
                prop_assert_eq!(found, vector);
            }
        }

        /// Whatever the engine has applied of a log, and whatever the watermark says, the content after the replay is that
        /// of the whole log.
        #[test]
        fn no_watermark_changes_the_content(
            log in proptest::collection::vec((0..4_i64, any::<bool>()), 0..12), applied in 0..12_usize, mark in 0..20_i64,
        ) {
            let log: Vec<_> = log.into_iter().map(|(code, has)| (Operation::from_code(code).unwrap(), has)).collect();
            // the engine: which entries make the record's content, from nothing
            let content = |log: &[(Operation, bool)]| {
                let (mut exists, mut entries, mut last) = (false, Vec::new(), None);
                for (seq_id, (operation, _)) in (1_i64..).zip(log) {
                    match operation {
                        Delete => (exists, entries, last) = (false, Vec::new(), None),
                        Add if exists => {}
                        Update if !exists => {}
                        _ => {
                            exists = true;
                            entries.push(seq_id);
                            last = Some(seq_id);
                        }
                    }
                }
                (exists, entries, last)
            };
            let (exists, expected, _) = content(&log);
            let (had, mut row, seq_id) = content(&log[..applied.min(log.len())]);
            let (effect, _) = replay(seq_id, Some(had), mark, &log);
            let changes = effect.changes.unwrap_or(Changes { exists: had, keeps_row: had, entries: Vec::new() });
            prop_assert_eq!(changes.exists, exists);
            if !changes.keeps_row {
                row.clear();
            }
            row.extend(changes.entries);
            prop_assert_eq!(row, expected);
        }
    }
}
