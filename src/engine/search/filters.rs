//! Filters whose exact answers are counted while verification streams all records: a count and a hash over ids, never a
//! list. Pure; memory is bounded.

use std::collections::{BTreeMap, BTreeSet};

use super::draw::{Share, lot};
use super::quirks;
use crate::model::{Filter, Record, Value};

/// Ids in an answer: what matches more records is not asked for.
pub(super) const MOST: usize = 10_000;
/// Bytes of a key or a text that is asked for.
const LONGEST: usize = 256;
/// Characters at the beginning of a document that pieces are taken from.
const BEGINNING: usize = 1000;
/// Keys of one type that are asked for.
const KEYS: usize = 2;

/// The filters of one collection.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    all: Vec<Counted>,
    /// Records that were counted.
    seen: u64,
    /// Whether a record that was counted has changed in the source since.
    has_moved: bool,
}

/// One filter and its exact answer.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) filter: Filter,
    exact: Sum,
    /// The same where ASCII letters match in either case.
    folded: Sum,
    /// Whether records have values of another type under its key: versions differ in what such a filter means.
    is_mixed: bool,
}

/// How many ids, and the sum of their lots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    lots: u64,
}

impl Sum {
    const fn take(&mut self, lot: u64) {
        self.count += 1;
        self.lots = self.lots.wrapping_add(lot);
    }
}

/// What came of one filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The answer is exact.
    Right,
    /// It is what this version answers on a sound store, and not exact.
    Known,
    /// It is neither.
    Wrong {
        /// Verified records in the answer.
        found: u64,
        /// Verified records that match.
        expected: u64,
    },
    /// An id is in the answer twice.
    Twice,
    /// These ids are in the answer, and neither side holds them.
    Unknown(Vec<String>),
    /// The answer is longer than can be judged.
    Open,
}

impl Said {
    /// Whether a second look is due before this is believed.
    pub(super) const fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong { .. } | Self::Twice | Self::Unknown(_))
    }

    /// What two looks come to: the second one, of unknown ids those that both had.
    pub(super) fn confirmed_by(self, second: Self) -> Self {
        match (self, second) {
            (Self::Unknown(before), Self::Unknown(mut ids)) => {
                ids.retain(|id| before.contains(id));
                if ids.is_empty() { Self::Open } else { Self::Unknown(ids) }
            }
            (_, second) => second,
        }
    }
}

impl Filters {
    /// Draws filters from sampled records.
    pub(super) fn of(records: &[Record], share: Share) -> Self {
        let by_metadata = by_metadata(records).into_iter().take(share.filters);
        let by_document = pieces(records).into_iter().take(share.pieces).map(Filter::Contains);
        let counted = |filter| Counted { filter, exact: Sum::default(), folded: Sum::default(), is_mixed: false };
        Self { all: by_metadata.chain(by_document).map(counted).collect(), ..Self::default() }
    }

    /// Takes a record that was verified for the first time.
    pub(super) fn count(&mut self, record: &Record) {
        if self.all.is_empty() {
            return;
        }
        self.seen += 1;
        let drawn = std::cell::OnceCell::new();
        for counted in &mut self.all {
            counted.take(record, || *drawn.get_or_init(|| lot(&record.id)));
        }
    }

    /// A record that was counted has changed in the source.
    pub(super) const fn moved(&mut self) {
        self.has_moved = true;
    }

    /// Those that can be judged, if exactly these many records are verified and the target holds `others` beside them. An
    /// answer is expected to grow with the others: one that would be too long to be judged is not worth a server's time.
    pub(super) fn judged(&self, verified: u64, others: u64) -> impl Iterator<Item = &Counted> {
        let is_settled = self.seen == verified && !self.has_moved;
        let answered =
            move |exact: u64| u128::from(exact) * u128::from(verified + others) / u128::from(verified.max(1));
        let is_short = move |counted: &&Counted| answered(counted.exact.count) < MOST as u128;
        self.all.iter().filter(move |counted| is_settled && !counted.is_mixed).filter(is_short)
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.all.len()
    }
}

impl Counted {
    fn take(&mut self, record: &Record, lot: impl Fn() -> u64) {
        let Filter::Contains(piece) = &self.filter else {
            match matches(&self.filter, record) {
                Some(true) => self.exact.take(lot()),
                Some(false) => {}
                None => self.is_mixed = true,
            }
            return;
        };
        let Some(document) = &record.document else { return };
        let is_in = document.contains(piece);
        if is_in {
            self.exact.take(lot());
        }
        if is_in || document.to_ascii_lowercase().contains(&piece.to_ascii_lowercase()) {
            self.folded.take(lot());
        }
    }

    /// Judges an answer of at most [`MOST`] ids. Ids that `is_verified` does not know are set aside.
    pub(super) fn judge(&self, answer: &[String], engine: &str, is_verified: impl Fn(&str) -> bool) -> Said {
        let ids: BTreeSet<&str> = answer.iter().map(String::as_str).collect();
        if ids.len() < answer.len() {
            return Said::Twice;
        }
        let mut found = Sum::default();
        for id in ids.into_iter().filter(|id| is_verified(id)) {
            found.take(lot(id));
        }
        let wrong = Said::Wrong { found: found.count, expected: self.exact.count };
        if answer.len() >= MOST {
            return if found.count > self.exact.count { wrong } else { Said::Open };
        }
        if found == self.exact {
            return Said::Right;
        }
        let quirks = quirks::of(engine).unwrap_or_default();
        match &self.filter {
            Filter::Contains(_) if quirks.folds && found == self.folded => Said::Known,
            Filter::Contains(piece) if quirks.misses_short && quirks::is_short(piece) && found.count == 0 => {
                Said::Known
            }
            _ => wrong,
        }
    }

    /// The filter in a person's words, without a value.
    pub(super) fn words(&self) -> String {
        match &self.filter {
            Filter::Equal { key, .. } => format!("$eq on metadata key {key:?}"),
            Filter::Among { key, .. } => format!("$in on metadata key {key:?}"),
            Filter::Within { key, .. } => format!("$gte and $lte on metadata key {key:?}"),
            Filter::Contains(piece) => format!("$contains with a piece of {} characters", piece.chars().count()),
        }
    }
}

/// Whether a filter by metadata asks for this record; None where the value has another type.
fn matches(filter: &Filter, record: &Record) -> Option<bool> {
    let Some(value) = filter.key().and_then(|key| record.metadata.get(key)) else { return Some(false) };
    let is = |wanted: &Value| match (wanted, value) {
        (Value::Str(wanted), Value::Str(value)) => Some(wanted == value),
        (Value::Int(wanted), Value::Int(value)) => Some(wanted == value),
        (Value::Bool(wanted), Value::Bool(value)) => Some(wanted == value),
        _ => None,
    };
    match (filter, value) {
        (Filter::Equal { value: wanted, .. }, _) => is(wanted),
        (Filter::Among { values, .. }, _) => values.iter().try_fold(false, |any, wanted| Some(any | is(wanted)?)),
        (Filter::Within { from, to, .. }, Value::Int(value)) => Some((from..=to).contains(&value)),
        _ => None,
    }
}

/// What the sampled records have under one key.
#[derive(Default)]
struct Sampled<'a> {
    texts: BTreeSet<&'a str>,
    numbers: BTreeSet<i64>,
    truths: BTreeSet<bool>,
    has_others: bool,
}

impl<'a> Sampled<'a> {
    fn take(&mut self, value: &'a Value) {
        match value {
            Value::Str(text) if is_plain(text) => drop(self.texts.insert(text)),
            Value::Str(_) => {}
            Value::Int(number) => drop(self.numbers.insert(*number)),
            Value::Bool(truth) => drop(self.truths.insert(*truth)),
            // a double can be answered for an integer that is near it
            Value::Float(_) | Value::List(_) => self.has_others = true,
        }
    }

    fn is_of_one_type(&self) -> bool {
        let types = [!self.texts.is_empty(), !self.numbers.is_empty(), !self.truths.is_empty()];
        !self.has_others && types.into_iter().filter(|is_there| *is_there).count() == 1
    }

    /// Its filters, the simplest first.
    fn filters(&self, key: &str) -> Vec<Filter> {
        let numbers = self.numbers.iter().map(|number| Value::Int(*number));
        let truths = self.truths.iter().map(|truth| Value::Bool(*truth));
        let values = self.texts.iter().map(|text| Value::Str((*text).to_owned())).chain(numbers).chain(truths);
        let mut drawn: Vec<Value> = values.collect();
        drawn.sort_by_key(|value| lot(&format!("{value:?}")));
        let key = || key.to_owned();
        let mut filters: Vec<Filter> =
            drawn.first().map(|value| Filter::Equal { key: key(), value: value.clone() }).into_iter().collect();
        // the two that are nearest to each other, so that few records are between them
        let numbers: Vec<i64> = self.numbers.iter().copied().collect();
        let nearest = numbers.windows(2).min_by_key(|pair| pair[1].abs_diff(pair[0]));
        filters.extend(nearest.map(|pair| Filter::Within { key: key(), from: pair[0], to: pair[1] }));
        if self.truths.is_empty() && drawn.len() > 2 {
            filters.push(Filter::Among { key: key(), values: drawn.drain(1..3).collect() });
        }
        filters
    }

    fn len(&self) -> usize {
        self.texts.len() + self.numbers.len() + self.truths.len()
    }
}

/// Filters by metadata, of each type those keys first that tell records apart best.
fn by_metadata(records: &[Record]) -> Vec<Filter> {
    let mut keys: BTreeMap<&str, Sampled<'_>> = BTreeMap::new();
    let usable = |key: &str| is_plain(key) && !key.starts_with(['#', '$']) && !key.starts_with("chroma:");
    for (key, value) in records.iter().flat_map(|record| &record.metadata).filter(|(key, _)| usable(key)) {
        keys.entry(key).or_default().take(value);
    }
    keys.retain(|_, sampled| sampled.is_of_one_type());
    let mut types: [Vec<(&str, Sampled<'_>)>; 3] = Default::default();
    for (key, sampled) in keys {
        let at = if sampled.texts.is_empty() { 1 + usize::from(sampled.numbers.is_empty()) } else { 0 };
        types[at].push((key, sampled));
    }
    for keys in &mut types {
        keys.sort_by_key(|(_, sampled)| std::cmp::Reverse(sampled.len()));
    }
    let of_rank = |rank: usize| types.iter().filter_map(move |keys| keys.get(rank));
    (0..KEYS).flat_map(of_rank).flat_map(|(key, sampled)| sampled.filters(key)).collect()
}

/// Pieces of documents: of another script and of few characters, too, where documents have such.
fn pieces(records: &[Record]) -> Vec<String> {
    let mut drawn: Vec<&Record> = records.iter().filter(|record| record.document.is_some()).collect();
    drawn.sort_by_key(|record| lot(&record.id));
    let beginning = |record: &Record| -> Vec<char> {
        record.document.iter().flat_map(|document| document.chars()).take(BEGINNING).collect()
    };
    let documents: Vec<Vec<char>> = drawn.into_iter().map(beginning).collect();
    let foreign = |length: usize| {
        let is_foreign = |character: &char| !character.is_ascii() && character.is_alphabetic();
        let from = |document: &Vec<char>| piece(document, document.iter().position(is_foreign)?, length);
        documents.iter().find_map(from)
    };
    let any = |nth: usize, length: usize| {
        documents.iter().skip(nth).find_map(|document| piece(document, document.len() / 2, length))
    };
    let all = [any(0, 12), foreign(4), foreign(2).or_else(|| any(1, 2)), any(2, 5)];
    let distinct: BTreeSet<String> = all.into_iter().flatten().collect();
    distinct.into_iter().collect()
}

/// The first piece of so many characters from `from` on that every version reads alike.
fn piece(document: &[char], from: usize, length: usize) -> Option<String> {
    let plain = |window: &&[char]| {
        let is_plain =
            |character: &char| character.is_alphanumeric() || matches!(character, ' ' | '-' | ':' | '.' | ',');
        let is_text = |character: &char| character.is_alphanumeric();
        window.iter().all(is_plain) && window.first().is_some_and(is_text) && window.last().is_some_and(is_text)
    };
    document.get(from..)?.windows(length).find(plain).map(|window| window.iter().collect())
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Metadata;

    const ALL: Share = Share { queries: 0, filters: 10, pieces: 4 };

    fn record(n: i64, document: &str, metadata: Metadata) -> Record {
        let document = Some(document.to_owned());
        Record { id: format!("r{n}"), embedding: vec![1.0], document, uri: None, metadata }
    }

    fn sample() -> Vec<Record> {
        let of = |n: i64| {
            let values = [
                ("hash", Value::Str(format!("h{n}"))),
                ("kind", Value::Str(if n % 2 == 0 { "note" } else { "plan" }.to_owned())),
                ("year", Value::Int(n * n)),
                ("done", Value::Bool(n % 3 == 0)),
                ("score", Value::Float(0.5)),
                ("#odd", Value::Int(n)),
            ];
            let metadata = values.map(|(key, value)| (key.to_owned(), value)).into();
            record(n, &format!("Record {n} of 東京都庁 is kept"), metadata)
        };
        (0..30).map(of).collect()
    }

    fn counted(filter: Filter) -> Filters {
        let counted = Counted { filter, exact: Sum::default(), folded: Sum::default(), is_mixed: false };
        let mut filters = Filters { all: vec![counted], ..Filters::default() };
        for record in sample() {
            filters.count(&record);
        }
        filters
    }

    fn ids(numbers: impl IntoIterator<Item = i64>) -> Vec<String> {
        numbers.into_iter().map(|n| format!("r{n}")).collect()
    }

    fn said(filter: Filter, answer: &[String], engine: &str) -> Said {
        let filters = counted(filter);
        let known: Vec<String> = ids(0..30);
        filters.judged(30, 0).next().unwrap().judge(answer, engine, |id| known.iter().any(|known| known == id))
    }

    #[test]
    fn an_unknown_id_counts_that_is_in_both_answers() {
        let unknown = |ids: &[&str]| Said::Unknown(ids.iter().map(|id| (*id).to_owned()).collect());
        assert_eq!(unknown(&["a", "b"]).confirmed_by(unknown(&["b", "c"])), unknown(&["b"]));
        assert_eq!(unknown(&["a"]).confirmed_by(unknown(&["c"])), Said::Open);
        assert_eq!(unknown(&["a"]).confirmed_by(Said::Right), Said::Right);
        assert_eq!(Said::Twice.confirmed_by(unknown(&["c"])), unknown(&["c"]));
    }

    #[test]
    fn filters_of_every_type_and_of_no_double() {
        let filters = Filters::of(&sample(), ALL);
        let words: Vec<String> = filters.all.iter().map(Counted::words).collect();
        for wanted in [
            "$eq on metadata key \"hash\"",
            "$in on metadata key \"hash\"",
            "$eq on metadata key \"kind\"",
            "$eq on metadata key \"year\"",
            "$gte and $lte on metadata key \"year\"",
            "$in on metadata key \"year\"",
            "$eq on metadata key \"done\"",
            "$contains with a piece of 2 characters",
            "$contains with a piece of 4 characters",
        ] {
            assert!(words.iter().any(|word| word == wanted), "{wanted} in {words:?}");
        }
        assert!(!words.iter().any(|word| word.contains("score") || word.contains("#odd")), "{words:?}");
        let few = Filters::of(&sample(), Share { queries: 0, filters: 1, pieces: 1 });
        assert_eq!(few.len(), 2);
        assert_eq!(Filters::of(&[], ALL).len(), 0);
    }

    #[test]
    fn texts_that_a_server_may_read_otherwise_are_not_asked_for() {
        let keys = |text: &str| {
            let of = |n: i64| record(n, "", [("key".to_owned(), Value::Str(text.to_owned()))].into());
            Filters::of(&[of(1)], ALL).len()
        };
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(["", "a\nb", &long].map(keys), [0; 3]);
        assert_eq!(["a b", &long[1..]].map(keys), [1; 2]);
    }

    #[test]
    fn an_answer_is_exact_or_wrong() {
        let equal = || Filter::Equal { key: "kind".into(), value: Value::Str("note".into()) };
        let even = ids((0..30).step_by(2));
        assert_eq!(said(equal(), &even, "1.0.0"), Said::Right);
        let with_others: Vec<String> = even.iter().cloned().chain(["stranger".into()]).collect();
        assert_eq!(said(equal(), &with_others, "1.0.0"), Said::Right, "what is not verified is set aside");
        assert_eq!(said(equal(), &even[1..], "1.0.0"), Said::Wrong { found: 14, expected: 15 });
        let twice: Vec<String> = even.iter().cloned().chain(["r0".into()]).collect();
        assert_eq!(said(equal(), &twice, "0.7.0"), Said::Twice);
        let swapped: Vec<String> = even[1..].iter().cloned().chain(["r1".into()]).collect();
        assert_eq!(said(equal(), &swapped, "1.0.0"), Said::Wrong { found: 15, expected: 15 });
        let within = Filter::Within { key: "year".into(), from: 1, to: 16 };
        assert_eq!(said(within, &ids(1..=4), "1.0.0"), Said::Right);
        let among = Filter::Among { key: "year".into(), values: vec![Value::Int(4), Value::Int(5)] };
        assert_eq!(said(among, &ids([2]), "1.0.0"), Said::Right);
    }

    #[test]
    fn what_a_version_answers_by_itself_is_no_fault() {
        let letters = || Filter::Contains("RECORD 1".into());
        let upper = ids([1].into_iter().chain(10..20));
        assert_eq!(said(letters(), &[], "1.0.0"), Said::Right);
        assert_eq!(said(letters(), &upper, "0.4.24"), Said::Known);
        assert!(matches!(said(letters(), &upper, "0.6.3"), Said::Wrong { .. }));
        let short = || Filter::Contains("東京".into());
        assert_eq!(said(short(), &[], "0.6.3"), Said::Known);
        assert!(matches!(said(short(), &ids([1]), "0.6.3"), Said::Wrong { .. }));
        assert!(matches!(said(short(), &[], "1.0.0"), Said::Wrong { .. }));
    }

    #[test]
    fn what_is_not_settled_is_not_judged() {
        let equal = || Filter::Equal { key: "kind".into(), value: Value::Str("note".into()) };
        assert_eq!(counted(equal()).judged(29, 0).count(), 0, "a record is verified no longer");
        let mut moved = counted(equal());
        moved.moved();
        assert_eq!(moved.judged(30, 0).count(), 0);
        let mut mixed = counted(equal());
        mixed.count(&record(30, "", [("kind".to_owned(), Value::Int(1))].into()));
        assert_eq!(mixed.judged(31, 0).count(), 0);
    }

    /// Their answers took a third of the time of verification, and none could be judged.
    #[test]
    fn an_answer_that_others_make_too_long_is_not_asked_for() {
        // it matches half of all verified records
        let filters = counted(Filter::Equal { key: "kind".into(), value: Value::Str("note".into()) });
        let judged = |others| filters.judged(30, others).count();
        assert_eq!((judged(0), judged(19_969), judged(19_970)), (1, 1, 0));
        assert_eq!(judged(u64::MAX - 30), 0);
        assert_eq!(Filters::default().judged(0, 5).count(), 0);
    }

    #[test]
    fn an_answer_that_is_cut_is_wrong_only_if_it_is_too_long() {
        let none = Filter::Equal { key: "kind".into(), value: Value::Str("none".into()) };
        let many = ids(0..10_000);
        assert!(matches!(said(none.clone(), &many, "1.0.0"), Said::Wrong { .. }));
        let strangers: Vec<String> = ids(30..30 + i64::try_from(MOST).unwrap());
        assert_eq!(said(none, &strangers, "1.0.0"), Said::Open);
    }
}
