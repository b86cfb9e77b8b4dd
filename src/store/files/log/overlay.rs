//! What the log does to each record of a collection, found in one walk through it, in bounded memory.
//! Keeps ids and numbers of entries only, beyond a bound in scratch space. Reads no table itself.

use std::io;
use std::sync::Arc;

use super::queue::{LogEntry, Operation};
use super::replay::{Changes, Effect, Hidden, History, Known, Replay, Sign, VectorAt, Watermarks};
use crate::scratch::{Builder, Entries, Sorter, Table};

/// How many records something is true of, and which, of many only some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// The first ids.
    pub ids: Vec<String>,
}

impl Tally {
    /// Takes one more.
    pub fn add(&mut self, id: &str) {
        self.count += 1;
        if self.ids.len() < NAMED {
            self.ids.push(id.to_owned());
        }
    }

    /// `3 records ("a", "b", "c")`; None for none.
    #[must_use]
    pub fn named(&self) -> Option<String> {
        named(self.count, "", self.ids.iter())
    }
}

/// Ids that are named.
const NAMED: usize = 20;

/// `over 3 records ("a", "b" and 1 more)`; None for none. `over`: what stands before the number.
pub fn named<'a>(count: u64, over: &str, ids: impl Iterator<Item = &'a String>) -> Option<String> {
    let ids: Vec<String> = ids.take(NAMED).map(|id| format!("{id:?}")).collect();
    let more = count.saturating_sub(ids.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let records = if count == 1 { "record" } else { "records" };
    (count > 0).then(|| format!("{over}{count} {records} ({}{more})", ids.join(", ")))
}

/// What the log does, by id.
#[derive(Debug, Default)]
pub struct Overlay {
    effects: Table,
    /// What entries up to `settled` say of vectors; the newer ones win.
    base: Arc<Table>,
    /// Records with a change that the tables lack although their watermark is past it.
    pub changes: Tally,
    /// Records with a vector that the index lacks although its watermark is past it.
    pub vectors: Tally,
    /// Records whose vector 0.4 lost; the log has it.
    pub lost: Tally,
    /// Records whose last change the tables have, and neither the log nor the index: their vector may be an older one.
    pub unlogged: Tally,
    /// Records whose row has the number of an entry of theirs.
    pub own: u64,
    /// Records whose row has a number that no entry of theirs has, and should be.
    pub strange: Tally,
    /// Some records that the log made, and whose first vector is their last: an index that has the record has this vector.
    pub made: Vec<String>,
    /// What in the log cannot be read.
    pub damage: Vec<String>,
}

/// Records of [`Overlay::made`].
const MADE: usize = 256;

/// What a first walk leaves for later ones.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// Entries up to here were explained, and need not be walked again.
    pub settled: i64,
    vectors: Arc<Table>,
    lost: Tally,
    made: Vec<String>,
}

/// Entries of the log, in any order.
#[derive(Debug, Default)]
pub struct Log {
    sorter: Sorter,
}

/// Bytes of an entry in the sorter: number, operation, whether it has a vector.
const PACKED: usize = 10;

impl Log {
    /// Takes one more entry.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn push(&mut self, entry: &LogEntry) -> io::Result<()> {
        let mut value = [0; PACKED];
        // with the sign turned, numbers sort as bytes
        value[..8].copy_from_slice(&(entry.seq_id.cast_unsigned() ^ (1 << 63)).to_be_bytes());
        value[8] = entry.operation.code();
        value[9] = u8::from(entry.has_vector);
        self.sorter.push(entry.id.as_bytes(), &value)
    }

    /// Replays all entries, record by record. `known` says what tables and index hold of an id.
    ///
    /// Gives what they do, and the base for later walks: of the first one in which all up to `floor` are explained.
    ///
    /// # Errors
    /// When the scratch space fails, and those of `known`.
    pub fn replay<E: From<io::Error>>(
        self,
        base: &Base,
        marks: Watermarks,
        floor: i64,
        mut known: impl FnMut(&str) -> Result<Known, E>,
    ) -> Result<(Overlay, Option<Base>), E> {
        let mut entries = self.sorter.sort()?;
        let overlay = Overlay { lost: base.lost.clone(), made: base.made.clone(), ..Overlay::default() };
        let mut made = Made { overlay, ..Made::default() };
        let mut current: Option<Record> = None;
        while let Some((id, value)) = entries.next()? {
            let (seq_id, operation, has_vector) = unpacked(value)?;
            if current.as_ref().is_none_or(|record| record.id.as_bytes() != id) {
                if let Some(record) = current.take() {
                    made.take(&record)?;
                }
                let id = std::str::from_utf8(id).map_err(io::Error::other)?.to_owned();
                let replay = Replay::new(known(&id)?, marks);
                current = Some(Record { id, replay, settled: None });
            }
            let Some(record) = &mut current else { continue };
            if seq_id > floor && record.settled.is_none() {
                record.settled = Some(record.replay.end().0);
            }
            record.replay.take(seq_id, operation, has_vector);
        }
        if let Some(record) = current {
            made.take(&record)?;
        }
        let Made { effects, settled, tells_content, overlay } = made;
        // only once: a base of a later walk would lack what this one says
        let settles = base.settled == 0 && floor > 0 && !tells_content && overlay.vectors.count == 0;
        let (lost, known) = (overlay.lost.clone(), overlay.made.clone());
        let next = settles.then(|| Base { settled: floor, vectors: Arc::new(settled.finish()), lost, made: known });
        Ok((Overlay { effects: effects.finish(), base: Arc::clone(&base.vectors), ..overlay }, next))
    }
}

/// The entries that make a record's content from nothing, by id.
#[derive(Debug, Default)]
pub struct Histories(Table);

impl Histories {
    /// The entries of a record, in order; None where the log does not have them all.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn of(&self, id: &str) -> io::Result<Option<Vec<i64>>> {
        let found = self.0.value(id.as_bytes())?;
        Ok(found.map(|bytes| bytes.as_chunks::<8>().0.iter().map(|entry| i64::from_le_bytes(*entry)).collect()))
    }
}

impl Log {
    /// The histories of all records of which the log has them all. `known` and `marks` as in [`Log::replay`].
    ///
    /// # Errors
    /// When the scratch space fails, and those of `known`.
    pub fn histories<E: From<io::Error>>(
        self,
        marks: Watermarks,
        mut known: impl FnMut(&str) -> Result<Known, E>,
    ) -> Result<Histories, E> {
        let mut entries = self.sorter.sort()?;
        let mut made = Builder::default();
        let mut current: Option<(Vec<u8>, History)> = None;
        let mut take = |(id, history): (Vec<u8>, History)| -> io::Result<()> {
            let Some(entries) = history.end() else { return Ok(()) };
            let packed: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
            made.push(&id, &packed).map(drop)
        };
        while let Some((id, value)) = entries.next()? {
            let (seq_id, operation, _) = unpacked(value)?;
            if current.as_ref().is_none_or(|(current, _)| current != id) {
                current.take().map(&mut take).transpose()?;
                let known = known(std::str::from_utf8(id).map_err(io::Error::other)?)?;
                current = Some((id.to_vec(), History::new(known, marks)));
            }
            if let Some((_, history)) = &mut current {
                history.take(seq_id, operation);
            }
        }
        current.map(take).transpose()?;
        Ok(Histories(made.finish()))
    }
}

/// One id's entries while they are walked through.
struct Record {
    id: String,
    replay: Replay,
    /// What the entries up to the floor do; None until one past it comes.
    settled: Option<Effect>,
}

#[derive(Default)]
struct Made {
    effects: Builder,
    settled: Builder,
    /// Whether entries up to the floor tell the content of a record, which a base does not keep: its row lacks them, or is lost.
    tells_content: bool,
    overlay: Overlay,
}

impl Made {
    fn take(&mut self, record: &Record) -> io::Result<()> {
        let Record { id, replay, settled } = record;
        let (effect, Hidden { change, vector, lost }) = replay.end();
        let before = settled.as_ref().unwrap_or(&effect);
        self.tells_content |= before.changes.is_some();
        if before.vector.is_some() {
            self.settled.push(id.as_bytes(), &packed(&Effect { changes: None, vector: before.vector }))?;
        }
        if effect != Effect::default() {
            self.effects.push(id.as_bytes(), &packed(&effect))?;
        }
        let sign = replay.sign();
        self.overlay.own += u64::from(sign == Sign::Own);
        if self.overlay.made.len() < MADE && replay.is_made() {
            self.overlay.made.push(id.clone());
        }
        let Overlay { changes, vectors, lost: lost_ones, strange, .. } = &mut self.overlay;
        let is_strange = sign == Sign::Strange;
        for (is, tally) in [(change, changes), (vector, vectors), (lost, lost_ones), (is_strange, strange)] {
            if is {
                tally.add(id);
            }
        }
        Ok(())
    }
}

fn unpacked(value: &[u8]) -> io::Result<(i64, Operation, bool)> {
    let fields = || {
        let (number, rest) = value.split_first_chunk::<8>()?;
        let [code, has_vector] = rest else { return None };
        let seq_id = (u64::from_be_bytes(*number) ^ (1 << 63)).cast_signed();
        Some((seq_id, Operation::from_code(i64::from(*code))?, *has_vector == 1))
    };
    fields().ok_or_else(changed)
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a scratch file was changed")
}

/// An effect as bytes: flags, kind and number of the vector's place, entries.
fn packed(effect: &Effect) -> Vec<u8> {
    let (kind, seq_id) = match effect.vector {
        None => (0, 0),
        Some(VectorAt::Entry(seq_id)) => (1, seq_id),
        Some(VectorAt::Either(seq_id)) => (2, seq_id),
        Some(VectorAt::Doubtful(seq_id)) => (3, seq_id),
        Some(VectorAt::Deleted) => (4, 0),
    };
    let changes = effect.changes.as_ref();
    let flags = changes.map_or(0, |c| 1 | (u8::from(c.exists) << 1) | (u8::from(c.keeps_row) << 2));
    let mut bytes = vec![flags, kind];
    bytes.extend(seq_id.to_le_bytes());
    bytes.extend(changes.iter().flat_map(|c| &c.entries).flat_map(|seq_id| seq_id.to_le_bytes()));
    bytes
}

fn effect(bytes: &[u8]) -> Option<Effect> {
    let ([flags, kind], rest) = bytes.split_first_chunk::<2>()?;
    let (seq_id, entries) = rest.split_first_chunk::<8>()?;
    let seq_id = i64::from_le_bytes(*seq_id);
    let vector = match kind {
        0 => None,
        1 => Some(VectorAt::Entry(seq_id)),
        2 => Some(VectorAt::Either(seq_id)),
        3 => Some(VectorAt::Doubtful(seq_id)),
        _ => Some(VectorAt::Deleted),
    };
    let entries = || entries.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
    let changes =
        (flags & 1 != 0).then(|| Changes { exists: flags & 2 != 0, keeps_row: flags & 4 != 0, entries: entries() });
    Some(Effect { changes, vector })
}

impl Overlay {
    /// What the log does to a record.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn of(&self, id: &str) -> io::Result<Effect> {
        let of = |table: &Table| match table.value(id.as_bytes())? {
            Some(bytes) => effect(&bytes).ok_or_else(changed),
            None => Ok(Effect::default()),
        };
        let mut found = if self.effects.is_empty() { Effect::default() } else { of(&self.effects)? };
        if found.vector.is_none() && !self.base.is_empty() {
            found.vector = of(&self.base)?.vector;
        }
        Ok(found)
    }

    /// At most so many ids of records of which the log says something.
    ///
    /// # Errors
    /// When the scratch space fails.
    pub fn some_ids(&self, most: usize) -> io::Result<Vec<String>> {
        let mut ids = Vec::new();
        for table in [&self.effects, &*self.base] {
            let mut entries = table.entries();
            while ids.len() < most
                && let Some((id, _)) = entries.next()?
            {
                ids.push(String::from_utf8_lossy(id).into_owned());
            }
        }
        Ok(ids)
    }

    /// Whether the log leaves the content of every record as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// All records that it changes beside their vector, in the order of their ids.
    #[must_use]
    pub fn changed(&self) -> Changed<'_> {
        Changed { entries: self.effects.entries() }
    }
}

/// A walk through changed records.
#[derive(Debug)]
pub struct Changed<'a> {
    entries: Entries<'a>,
}

impl Iterator for Changed<'_> {
    type Item = io::Result<(String, Changes)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (id, bytes) = match self.entries.next() {
                Ok(entry) => entry?,
                Err(e) => return Some(Err(e)),
            };
            let (Ok(id), Some(found)) = (std::str::from_utf8(id), effect(bytes)) else { return Some(Err(changed())) };
            if let Some(changes) = found.changes {
                return Some(Ok((id.to_owned(), changes)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(base: &Base, floor: i64, log: &[(i64, Operation, &str)], known: Known) -> (Overlay, Option<Base>) {
        let mut all = Log::default();
        for (seq_id, operation, id) in log.iter().rev() {
            let entry = LogEntry { seq_id: *seq_id, operation: *operation, id: (*id).to_owned(), has_vector: true };
            all.push(&entry).unwrap();
        }
        let marks = Watermarks { metadata: floor, vector: floor };
        all.replay(base, marks, floor, |_| Ok::<_, io::Error>(known)).unwrap()
    }

    #[test]
    fn an_effect_is_kept_whole() {
        let changes = |exists, keeps_row, entries| Some(Changes { exists, keeps_row, entries });
        for changes in [None, changes(true, false, vec![1, i64::MAX]), changes(false, false, vec![])] {
            for vector in [
                None,
                Some(VectorAt::Entry(-1)),
                Some(VectorAt::Either(7)),
                Some(VectorAt::Doubtful(8)),
                Some(VectorAt::Deleted),
            ] {
                let one = Effect { changes: changes.clone(), vector };
                assert_eq!(effect(&packed(&one)), Some(one));
            }
        }
        assert_eq!(effect(&[1, 2, 3]), None);
    }

    /// What was explained once is not walked again, and what it said of vectors stays.
    #[test]
    fn a_later_walk_begins_where_the_first_one_ended() {
        let known = Known { row: Some(3), indexed: Some(true), whole_log: true, is_lost: false, is_torn: false };
        let log = [(1, Operation::Add, "a"), (2, Operation::Upsert, "a"), (3, Operation::Add, "b")];
        let (first, base) = walk(&Base::default(), 3, &log, known);
        let base = base.unwrap();
        assert_eq!(base.settled, 3);
        let either = Effect { changes: None, vector: Some(VectorAt::Either(2)) };
        assert_eq!(
            (first.of("a").unwrap(), first.of("b").unwrap().vector),
            (either.clone(), Some(VectorAt::Either(3)))
        );
        let known = Known { whole_log: false, ..known };
        let (second, next) = walk(&base, 3, &[(4, Operation::Update, "b")], known);
        assert!(next.is_none());
        assert_eq!(second.of("a").unwrap(), either);
        assert_eq!(second.of("b").unwrap().vector, Some(VectorAt::Entry(4)));
        let changed: Vec<_> = second.changed().map(|one| one.unwrap().0).collect();
        assert_eq!(changed, ["b"]);
    }

    /// Each later walk left a base of its own, without what the one before had said: a vector that only the log has was lost.
    #[test]
    fn what_the_first_base_says_stays_after_a_later_walk_explains_more() {
        let known = Known { row: Some(9), indexed: Some(true), whole_log: true, is_lost: false, is_torn: false };
        let (_, base) = walk(&Base::default(), 2, &[(1, Operation::Add, "a"), (2, Operation::Upsert, "a")], known);
        let base = base.unwrap();
        let (second, next) = walk(&base, 4, &[(3, Operation::Add, "b"), (4, Operation::Upsert, "b")], known);
        let either = Some(VectorAt::Either(2));
        assert_eq!(second.of("a").unwrap().vector, either);
        let (third, _) = walk(next.as_ref().unwrap_or(&base), 5, &[(5, Operation::Update, "c")], known);
        assert_eq!(third.of("a").unwrap().vector, either);
    }

    /// What the log tells of a lost row was forgotten at the next walk, because a base keeps no content.
    #[test]
    fn what_tells_of_a_lost_row_never_settles() {
        let known = Known { row: None, indexed: Some(true), whole_log: true, is_lost: true, is_torn: false };
        let (overlay, base) =
            walk(&Base::default(), 2, &[(1, Operation::Add, "a"), (2, Operation::Update, "a")], known);
        assert!(base.is_none() && overlay.of("a").unwrap().changes.is_some());
    }

    #[test]
    fn what_is_hidden_is_counted_and_never_settles() {
        let known = Known { row: None, indexed: Some(false), whole_log: true, is_lost: false, is_torn: false };
        let log = [(1, Operation::Add, "a"), (2, Operation::Add, "b"), (3, Operation::Delete, "b")];
        let (overlay, base) = walk(&Base::default(), 9, &log, known);
        assert!(base.is_none());
        let one = Tally { count: 1, ids: vec!["a".to_owned()] };
        assert_eq!((&overlay.changes, &overlay.vectors, overlay.lost.count), (&one, &one, 0));
        let changed: Vec<_> = overlay.changed().map(|one| one.unwrap().0).collect();
        assert_eq!(changed, ["a"]);
    }
}
