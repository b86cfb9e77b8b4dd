//! From judged answers to what a report, a verdict and a person are told. Pure.

use std::collections::BTreeSet;

use super::chance::{Chance, Look, of_few};
use super::filters::{Counted, Said};
use super::judge::{Fault, Found};
use super::silence::Silence;
use crate::engine::{Pair, Run, Search, SearchMode};
use crate::model::Distance;
use crate::report;

/// By how much the target's recall may be below the source server's own: an index is built anew, and never the same.
const SPREAD: f64 = 0.05;
/// A server's own recall below this is that of a poor graph: some of its records may be out of reach, in each build others.
const SOUND: f64 = 0.9;
/// How the notes begin that name a first wrong answer, and a first wrong filter.
const FIRST_ANSWER: &str = "the first wrong answer";
const FIRST_FILTER: &str = "the first filter that is answered wrongly is";
/// What to do first about an index that finds too little.
const AGAIN: &str = "restart the target's server and run again; if it stays so";

/// Why a query was not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// More records are equally near than can be told apart.
    Tied,
    /// The records near it are not verified.
    Unverified,
    /// What is not judged took the places in the answer.
    Crowded,
}

/// Why none of a collection's queries was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unjudged {
    pub(super) words: String,
    /// Whether a sound target would have been judged.
    pub(super) is_owed: bool,
}

/// What came of the queries of one collection.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// Of each judged query.
    recalls: Vec<f64>,
    /// How many records found themselves, of how many that should.
    itself: (u32, u32),
    /// Distances that are not what they should be.
    wrong: u64,
    /// Answers that have a record twice, or more records than were asked for.
    faulty: u64,
    /// Answers that have fewer records than were asked for and are there.
    short: u64,
    /// The first of both.
    fault: Option<Fault>,
    /// Queries that could not be judged.
    open: Vec<Open>,
    /// Ids that neither side holds.
    pub(super) unknown: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, found: &Found) {
        let Found { hits, of, itself, wrong } = found;
        self.recalls.push(ratio(*hits, *of));
        if let Some(found) = itself {
            self.itself.0 += u32::from(*found);
            self.itself.1 += 1;
        }
        self.wrong += *wrong as u64;
    }

    pub(super) fn leave(&mut self, why: Open) {
        self.open.push(why);
    }

    pub(super) fn blame(&mut self, fault: Fault) {
        match fault {
            Fault::Twice | Fault::Long => self.faulty += 1,
            Fault::Short(..) => self.short += 1,
        }
        self.fault.get_or_insert(fault);
    }

    /// Why nothing was judged; None where something was.
    pub(super) fn unjudged(&self) -> Option<Unjudged> {
        if !self.recalls.is_empty() {
            return None;
        }
        let of = |wanted: Open| self.open.iter().filter(|why| **why == wanted).count();
        let (all, crowded, tied) = (self.open.len(), of(Open::Crowded), of(Open::Tied));
        let none = format!("none of its {all} queries could be judged");
        let words = if all == 0 {
            "no vector of it can be a query: they are zero, or too long or short to be compared".to_owned()
        } else if crowded > 0 {
            format!("{none}: in the answers to {crowded} the places are taken by other records, or by one many times")
        } else if tied > 0 {
            format!("{none}: more records are equally near than can be told apart")
        } else {
            format!("{none}: no record near them is verified")
        };
        Some(Unjudged { words, is_owed: crowded > 0 })
    }

    /// The share of records that found themselves; None where none should.
    fn share(&self) -> Option<f64> {
        let (found, expected) = self.itself;
        (expected > 0).then(|| rounded(f64::from(found) / f64::from(expected)))
    }

    /// Answers that are not such as were asked for; short ones only where the source's own graph reaches its records.
    fn wrong_answers(&self, source: Option<&Self>) -> u64 {
        let is_as_poor = |source: &Self| match (source.mean(), self.mean()) {
            (Some(own), Some(mean)) => own < SOUND && mean >= own - SPREAD.max(self.chance(Some(source)).recall),
            _ => false,
        };
        self.faulty + if source.is_some_and(|source| source.short > 0 || is_as_poor(source)) { 0 } else { self.short }
    }

    /// The mean recall; None where nothing was judged.
    pub(super) fn mean(&self) -> Option<f64> {
        let count = u32::try_from(self.recalls.len()).ok().filter(|count| *count > 0)?;
        Some(rounded(self.recalls.iter().sum::<f64>() / f64::from(count)))
    }

    /// How far it may be from the source's own server by chance.
    pub(super) fn chance(&self, source: Option<&Self>) -> Chance {
        Chance::between(self.look(), source.map(Self::look))
    }

    fn look(&self) -> Look<'_> {
        Look { recalls: &self.recalls, itself: self.itself }
    }

    /// Whether a second look is due before this is believed.
    pub(super) fn is_suspect(&self, least: f64) -> bool {
        let is_low = |share: Option<f64>| share.is_some_and(|share| share < least);
        self.faults() > 0 || is_low(self.mean()) || is_low(self.share())
    }

    /// Whether this look found more than the other one.
    pub(super) fn is_better_than(&self, other: &Self) -> bool {
        let found = |tally: &Self| (tally.mean().unwrap_or(0.0), tally.share().unwrap_or(0.0));
        let (faults, of_other) = (self.faults(), other.faults());
        faults < of_other || (faults == of_other && found(self) > found(other))
    }

    const fn faults(&self) -> u64 {
        self.wrong + self.unknown.len() as u64 + self.faulty + self.short
    }

    /// As the report has it.
    pub(super) fn report(mut self, source: Option<&Self>) -> report::Search {
        self.recalls.sort_by(f64::total_cmp);
        let wrong_answers = self.wrong_answers(source);
        let first = self.fault.filter(|_| wrong_answers > 0).map(|fault| format!("{FIRST_ANSWER} {}", fault.words()));
        report::Search {
            queries: self.recalls.len() as u64,
            not_judged: self.open.len() as u64,
            recall_mean: self.mean(),
            recall_p5: self.recalls.get(self.recalls.len() / 20).copied(),
            recall_min: self.recalls.first().copied(),
            self_found: self.share(),
            source_recall_mean: source.and_then(Self::mean),
            source_self_found: source.and_then(Self::share),
            wrong_answers,
            wrong_distances: self.wrong,
            unknown_ids: self.unknown.len() as u64,
            filters: report::Filters::default(),
            notes: self.unknown.first().map(|id| named(id)).into_iter().chain(first).collect(),
        }
    }
}

fn named(id: &str) -> String {
    let short: String = id.chars().take(100).collect();
    format!("it answers with ids that neither side holds, the first is {short:?}")
}

fn ratio(part: usize, of: usize) -> f64 {
    let float = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    rounded(float(part) / float(of.max(1)))
}

fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

/// What came of the filters of one collection.
#[derive(Debug, Default)]
pub(super) struct FilterTally {
    sum: report::Filters,
    /// The first wrong answer, in words.
    wrong: Option<String>,
    /// The same of a version that was not measured.
    unmeasured: Option<String>,
    /// Ids in answers that neither side holds.
    pub(super) unknown: BTreeSet<String>,
    failure: Option<String>,
}

impl FilterTally {
    pub(super) fn add(&mut self, counted: &Counted, said: Result<Said, Silence>, is_measured: bool) {
        match said {
            Ok(Said::Right) => self.sum.asked += 1,
            Ok(Said::Known) => {
                self.sum.asked += 1;
                self.sum.known += 1;
            }
            Ok(Said::Wrong { found, expected }) => {
                let why = format!("{found} verified records are in its answer, and {expected} match");
                if is_measured {
                    self.wrong(counted, &why);
                } else {
                    self.unmeasured.get_or_insert_with(|| format!("{}: {why}", counted.words()));
                }
            }
            // no version does that by itself
            Ok(Said::Twice) => self.wrong(counted, "an id is in its answer twice"),
            Ok(Said::Unknown(ids)) => {
                self.wrong(counted, "ids are in its answer that neither side holds");
                self.unknown.extend(ids);
            }
            Err(silence) if silence.is_failure() => {
                self.failure.get_or_insert_with(|| format!("{}: {}", counted.words(), silence.words()));
            }
            Ok(Said::Open) | Err(_) => {}
        }
    }

    fn wrong(&mut self, counted: &Counted, why: &str) {
        self.sum.asked += 1;
        self.sum.wrong += 1;
        self.wrong.get_or_insert_with(|| format!("{}: {why}", counted.words()));
    }

    /// As the report has it, of so many filters, with what a person should know, and what was not answered.
    pub(super) fn report(self, of: u64, engine: &str) -> (report::Filters, Vec<String>, Option<String>) {
        let Self { mut sum, wrong, unmeasured, unknown, failure } = self;
        sum.not_judged = of - sum.asked;
        let known = format!("{} filters are answered as by every sound Chroma {engine}, and not exactly", sum.known);
        let mut notes: Vec<String> = (sum.known > 0).then_some(known).into_iter().collect();
        notes.extend(unknown.first().map(|id| named(id)));
        notes.extend(wrong.map(|first| format!("{FIRST_FILTER} {first}")));
        notes.extend(unmeasured.map(|first| {
            let why = format!("Chroma {engine} was not measured, so that this may be its own way: it fails nothing");
            format!("{FIRST_FILTER} {first} ({why})")
        }));
        (sum, notes, failure)
    }
}

/// What a person should know of an index that finds little, where the source's own server finds as little: None otherwise.
pub(super) fn poor(told: &report::Search, min_recall: f64, chance: Chance) -> Option<String> {
    let (own, mean) = (told.source_recall_mean?, told.recall_mean?);
    let is_poor = mean < min_recall && own < min_recall && mean >= own - SPREAD.max(chance.recall);
    is_poor.then(|| {
        format!(
            "searches find {mean:.2} of the exact nearest records, and {own:.2} on the source's own server: the index of \
             both is poor; raise ef_search of both collections"
        )
    })
}

/// The mean recall over all queries of a run; None where none was judged.
pub(crate) fn recall(run: &Run) -> Option<f64> {
    let all = told(run)
        .filter_map(|(_, told)| Some((told.recall_mean?, f64::from(u32::try_from(told.queries).unwrap_or(u32::MAX)))));
    let (sum, count) = all.fold((0.0, 0.0), |(sum, count), (mean, queries)| (sum + mean * queries, count + queries));
    (count > 0.0).then(|| rounded(sum / count))
}

fn told(run: &Run) -> impl Iterator<Item = (&Pair, &report::Search)> {
    run.pairs.iter().filter_map(|pair| Some((pair, pair.search.told()?)))
}

/// What is wrong with the target's answers, and what to do; None: nothing. Of inner products only wrong answers count, for
/// the recall of their index is poor by nature.
pub(crate) fn degraded(run: &Run, search: Search) -> Option<String> {
    let of = |(pair, told): (&Pair, &report::Search)| {
        let is_required = search.mode == SearchMode::Require;
        let silence = || pair.search.failed.clone().filter(|_| is_required);
        let why = trouble(told, pair.source.distance, search.min_recall, pair.search.chance).or_else(silence)?;
        Some(format!("collection {}: {why}", pair.target_words()))
    };
    let all: Vec<String> = told(run).filter_map(of).collect();
    let Some(first) = all.first() else { return unproved(run, search) };
    let more = if all.len() > 1 { format!(" (and {} more collections)", all.len() - 1) } else { String::new() };
    Some(format!("{first}{more}"))
}

/// What is required and was shown of no collection at all.
fn unproved(run: &Run, search: Search) -> Option<String> {
    let is_due = search.mode == SearchMode::Require && run.pairs.iter().any(|pair| pair.to_verify() > 0);
    if !is_due || told(run).any(|(_, told)| told.queries > 0) {
        return None;
    }
    let of = |(pair, _): (&Pair, &report::Search)| {
        pair.search.unjudged.as_ref().map(|why| format!("collection {}: {why}", pair.target_words()))
    };
    let why = told(run).find_map(of).unwrap_or_else(|| "no collection was asked".to_owned());
    Some(format!("nothing could be judged: {why}"))
}

/// Collections that were not asked because a run is bounded, where the check is required: nothing is shown of them.
pub(crate) fn left_out(run: &Run, search: Search) -> Option<String> {
    let due: Vec<&Pair> = run.pairs.iter().filter(|pair| pair.to_verify() > 0).collect();
    let left: Vec<&str> = due.iter().filter_map(|pair| pair.search.unasked).collect();
    (search.mode == SearchMode::Require && !left.is_empty()).then(|| not_asked(&left, due.len()))
}

/// How many of so many collections were not asked, and why.
fn not_asked(left: &[&str], of: usize) -> String {
    let reasons: BTreeSet<&str> = left.iter().copied().collect();
    let count = |reason: &str| left.iter().filter(|why| **why == reason).count();
    let each =
        |reason: &&str| if reasons.len() > 1 { format!("{} {reason}", count(reason)) } else { (*reason).to_owned() };
    let why: Vec<String> = reasons.iter().map(each).collect();
    format!("{} of {of} collections were not asked ({})", left.len(), why.join(", "))
}

fn trouble(told: &report::Search, distance: Distance, min_recall: f64, chance: Chance) -> Option<String> {
    let is_fair = distance != Distance::Ip;
    wrong(told, distance).or_else(|| too_little(told, min_recall, chance).filter(|_| is_fair)).or_else(|| {
        let (wrong, first) = (Some(told.wrong_answers).filter(|wrong| *wrong > 0)?, noted(told, FIRST_ANSWER));
        Some(format!(
            "{wrong} answers to queries have other than the records asked for ({first}); {AGAIN}, migrate into a new collection"
        ))
    }).or_else(|| not_themselves(told, min_recall, chance).filter(|_| is_fair))
}

/// What no index answers by chance.
fn wrong(told: &report::Search, distance: Distance) -> Option<String> {
    if told.unknown_ids > 0 {
        return Some(format!(
            "{} ids in its answers are in neither side; check that nothing between here and the server changes answers, and \
             restart the server",
            told.unknown_ids
        ));
    }
    if told.wrong_distances > 0 {
        return Some(format!(
            "{} distances in its answers are not those of its vectors by {distance}; its index has another distance or other \
             vectors: migrate into a new collection",
            told.wrong_distances
        ));
    }
    if told.filters.wrong > 0 {
        let report::Filters { asked, wrong, .. } = told.filters;
        let first = noted(told, FIRST_FILTER);
        return Some(format!(
            "{wrong} of {asked} filters are answered wrongly ({first}); migrate into a new collection"
        ));
    }
    None
}

/// Searches that find less than is expected.
fn too_little(told: &report::Search, min_recall: f64, chance: Chance) -> Option<String> {
    let expected =
        told.source_recall_mean.map_or(min_recall, |own| min_recall.min(own - SPREAD.max(chance.recall))).max(0.0);
    let least = expected - of_few(expected, told.queries);
    let mean = told.recall_mean.filter(|mean| *mean < least)?;
    Some(format!(
        "searches find {mean:.2} of the exact nearest records, and {least:.2} are expected; {AGAIN}, raise ef_search, or \
         migrate into a new collection"
    ))
}

/// Records that are not in the answer to their own vector. A single one may be out of reach in any index.
fn not_themselves(told: &report::Search, min_recall: f64, chance: Chance) -> Option<String> {
    let least = told.source_self_found.map_or(min_recall, |own| min_recall.min(own - SPREAD.max(chance.itself)));
    let is_one = |share: f64| (1.0 - share) * f64::from(chance.due) < 1.5;
    let share = told.self_found.filter(|share| *share < least && !is_one(*share))?;
    Some(format!(
        "of the records that are queried for {share:.2} are in the answer to their own vector, and {least:.2} are expected; \
         {AGAIN}, migrate into a new collection"
    ))
}

fn noted<'a>(told: &'a report::Search, beginning: &str) -> &'a str {
    told.notes.iter().find(|note| note.starts_with(beginning)).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::draw::Share;
    use super::super::filters::Filters;
    use super::*;
    use crate::model::{Record, Value};

    const LEAST: f64 = 0.9;

    /// What a run would say of a target whose answers are these, beside its source's own.
    fn said(target: &Tally, own: Option<&Tally>, distance: Distance) -> Option<String> {
        trouble(&target.clone().report(own), distance, LEAST, target.chance(own))
    }

    /// Fifty queries that find so many each.
    fn fifty(hits: usize) -> Tally {
        tally(&[hits; 50])
    }

    /// Of two graphs that are equally poor one failed, now and then: 50 queries differ by more than 0.05.
    #[test]
    fn equally_good_indexes_are_no_trouble_by_chance() {
        // recalls of queries as poor graphs have them: near records in reach, or hardly any
        for (levels, queries) in [([0, 2, 5, 9], 50), ([3, 6, 9, 10], 50), ([0, 5, 9, 10], 5), ([7, 9, 10, 10], 3)] {
            let mut dice = 1_u64;
            let mut drawn = || {
                let hits: Vec<usize> = (0..queries)
                    .map(|_| {
                        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        levels[(dice >> 62) as usize]
                    })
                    .collect();
                tally(&hits)
            };
            let failed = (0..3000).filter(|_| said(&drawn(), Some(&drawn()), Distance::L2).is_some()).count();
            assert!(failed <= 9, "{levels:?}, {queries} queries: {failed} of 3000");
        }
    }

    /// One record of three did not find itself, and an index that finds all but one of a hundred failed.
    #[test]
    fn one_record_that_does_not_find_itself_is_chance() {
        let of = |found: usize, due: usize| {
            let mut tally = fifty(10);
            tally.itself = (u32::try_from(found).unwrap(), u32::try_from(due).unwrap());
            said(&tally, None, Distance::L2).is_some()
        };
        assert!(!of(2, 3) && !of(0, 1) && !of(9, 10));
        assert!(of(1, 3) && of(0, 2) && of(8, 10));
    }

    /// Of fifty queries one was judged, the others had too many equal neighbours: it found 8 of 10.
    #[test]
    fn a_few_judged_queries_do_not_decide_alone() {
        assert_eq!(said(&tally(&[8]), None, Distance::L2), None);
        assert_eq!(said(&tally(&[8, 9, 9]), None, Distance::L2), None);
        assert!(said(&tally(&[1, 0, 2]), None, Distance::L2).is_some());
        assert!(said(&tally(&[8; 10]), None, Distance::L2).is_some());
    }

    fn tally(recalls: &[usize]) -> Tally {
        let mut tally = Tally::default();
        for hits in recalls {
            tally.add(&Found { hits: *hits, of: 10, itself: Some(*hits > 4), wrong: 0 });
        }
        tally
    }

    /// The nearest record was missing from every answer, and a recall of 0.9 let it pass.
    #[test]
    fn records_that_do_not_find_themselves_are_told() {
        let of = |found: usize| {
            let mut tally = Tally::default();
            for n in 0..50 {
                tally.add(&Found { hits: 9, of: 10, itself: Some(n < found), wrong: 0 });
            }
            tally
        };
        let told = |found, own: Option<usize>, distance| said(&of(found), own.map(of).as_ref(), distance);
        assert!(told(0, None, Distance::L2).unwrap().contains("0.00 are in the answer to their own vector"));
        assert!(told(44, None, Distance::Cosine).is_some() && told(45, None, Distance::Cosine).is_none());
        assert_eq!(told(0, None, Distance::Ip), None, "by inner products another record can be nearer");
        assert_eq!((told(25, Some(25), Distance::L2), told(18, Some(25), Distance::L2)), (None, None));
        assert!(told(0, Some(25), Distance::L2).is_some() && told(40, Some(50), Distance::L2).is_some());
        assert!(of(0).is_suspect(LEAST) && of(3).is_better_than(&of(2)));
    }

    /// An inner product's recall does not count, and an answer without a record passed.
    #[test]
    fn answers_that_lack_records_or_have_one_twice_are_wrong_by_any_distance() {
        for (fault, words) in
            [(Fault::Twice, "a record twice"), (Fault::Short(0, 10), "has 0 records, and 10 were asked")]
        {
            let mut wrong = tally(&[10]);
            wrong.blame(fault);
            assert!(wrong.is_suspect(LEAST) && tally(&[1]).is_better_than(&wrong));
            for distance in [Distance::L2, Distance::Cosine, Distance::Ip] {
                let told = said(&wrong, None, distance).unwrap();
                assert!(told.contains("1 answers") && told.contains(words), "{told}");
            }
            let own = said(&wrong, Some(&wrong), Distance::Ip);
            assert_eq!(
                own.is_some(),
                fault == Fault::Twice,
                "a graph that reaches too little does so on the source, too"
            );
        }
    }

    /// A graph with two links a record: by chance the source's 50 answers were whole, and 5 of the target's were short.
    #[test]
    fn short_answers_of_a_poor_graph_fail_nothing_where_the_source_is_as_poor() {
        let short_beside = |hits: &[usize], own: &[usize]| {
            let mut target = tally(&hits.repeat(50));
            target.blame(Fault::Short(5, 10));
            said(&target, Some(&tally(&own.repeat(50))), Distance::L2).is_some()
        };
        assert!(!short_beside(&[1, 1, 0], &[1, 0, 1]) && !short_beside(&[8], &[8]));
        assert!(short_beside(&[1, 1, 0], &[9]) && short_beside(&[7], &[8]) && short_beside(&[10], &[10]));
    }

    /// One record in all places of all answers left every query open, and nobody was told.
    #[test]
    fn why_nothing_was_judged() {
        let of = |all: &[Open]| {
            let mut tally = Tally::default();
            for why in all {
                tally.leave(*why);
            }
            tally.unjudged().map(|Unjudged { words, is_owed }| (words, is_owed)).unwrap()
        };
        let said = |all: &[Open], words: &str, is_owed: bool| {
            let (told, owed) = of(all);
            assert!(told.contains(words) && owed == is_owed, "{told}");
        };
        said(&[Open::Crowded, Open::Tied], "none of its 2 queries could be judged: in the answers to 1 ", true);
        said(&[Open::Tied; 3], "none of its 3 queries could be judged: more records are equally near", false);
        said(&[Open::Unverified], "no record near them is verified", false);
        said(&[], "no vector of it can be a query", false);
        let mut one = tally(&[10]);
        one.leave(Open::Crowded);
        assert_eq!(one.unjudged(), None);
    }

    #[test]
    fn what_was_not_asked_is_counted_with_its_reasons() {
        assert_eq!(not_asked(&["time was over"; 4], 17), "4 of 17 collections were not asked (time was over)");
        assert_eq!(not_asked(&["b", "a", "b"], 3), "3 of 3 collections were not asked (1 a, 2 b)");
    }

    /// Ids that are nowhere were set aside in a filter's answer, and it passed.
    #[test]
    fn a_filter_with_an_id_twice_or_of_nowhere_is_wrong_by_any_version() {
        for is_measured in [true, false] {
            let twice = of_one(Ok(Said::Twice), is_measured);
            assert_eq!((twice.0.asked, twice.0.wrong), (1, 1));
            assert!(twice.1[0].contains("twice") && !twice.1[0].contains("fails nothing"), "{twice:?}");
            let unknown = of_one(Ok(Said::Unknown(vec!["x".into()])), is_measured);
            assert_eq!((unknown.0.asked, unknown.0.wrong), (1, 1));
            assert!(unknown.1[0].contains("neither side holds, the first is \"x\""), "{unknown:?}");
        }
    }

    #[test]
    fn mean_lowest_and_the_fifth_percentile() {
        let report = tally(&[10, 10, 8, 4]).report(Some(&tally(&[9])));
        assert_eq!((report.queries, report.recall_mean), (4, Some(0.8)));
        assert_eq!((report.recall_min, report.recall_p5), (Some(0.4), Some(0.4)));
        assert_eq!((report.self_found, report.source_recall_mean), (Some(0.75), Some(0.9)));
        let mut many = vec![10; 39];
        many.push(0);
        assert_eq!(tally(&many).report(None).recall_p5, Some(1.0), "one of forty is below it");
    }

    #[test]
    fn where_no_record_need_find_itself_no_share_is_told() {
        let mut tally = Tally::default();
        tally.add(&Found { hits: 10, of: 10, itself: None, wrong: 0 });
        assert_eq!(tally.share(), None);
        tally.add(&Found { hits: 10, of: 10, itself: Some(false), wrong: 0 });
        assert_eq!(tally.share(), Some(0.0));
    }

    #[test]
    fn a_poor_source_lowers_what_is_expected() {
        let told = |hits, own: Option<usize>, distance| said(&fifty(hits), own.map(fifty).as_ref(), distance).is_some();
        assert!(!told(9, None, Distance::L2));
        assert!(told(8, None, Distance::L2));
        assert!(!told(5, Some(5), Distance::L2), "the source's index is as poor");
        assert!(told(4, Some(5), Distance::L2));
        assert!(told(8, Some(10), Distance::L2), "a good source asks for no more than minRecall");
        assert!(!told(1, None, Distance::Ip));
    }

    #[test]
    fn an_index_as_poor_as_the_sources_is_told_as_such() {
        let told = |hits, own: Option<usize>| {
            let (found, own) = (fifty(hits), own.map(fifty));
            poor(&found.clone().report(own.as_ref()), LEAST, found.chance(own.as_ref()))
        };
        assert!(told(5, Some(5)).unwrap().contains("0.50 on the source's own server"));
        assert!(told(6, Some(5)).is_some());
        assert_eq!(told(4, Some(5)), None, "that is trouble, and said as such");
        assert_eq!((told(9, Some(9)), told(5, Some(9)), told(5, None)), (None, None, None));
    }

    #[test]
    fn wrong_answers_are_wrong_by_any_distance() {
        for distance in [Distance::L2, Distance::Cosine, Distance::Ip] {
            let mut wrong = tally(&[10]);
            wrong.wrong = 1;
            assert!(said(&wrong, None, distance).unwrap().contains("distance"));
            let unknown = Tally { unknown: vec!["x".into()], ..tally(&[10]) };
            assert!(said(&unknown, None, distance).unwrap().contains("neither side"));
        }
    }

    #[test]
    fn a_wrong_filter_is_named_with_its_numbers() {
        let report = report::Search {
            filters: report::Filters { asked: 4, wrong: 1, ..report::Filters::default() },
            notes: vec!["the first filter that is answered wrongly is $eq".to_owned()],
            ..tally(&[10]).report(None)
        };
        assert!(trouble(&report, Distance::L2, LEAST, Chance::default()).unwrap().contains("1 of 4 filters"));
    }

    /// What came of one filter, as the report has it: numbers, notes, and what was not answered.
    fn of_one(said: Result<Said, Silence>, is_measured: bool) -> (report::Filters, Vec<String>, Option<String>) {
        let metadata = [("kind".to_owned(), Value::Str("note".to_owned()))].into();
        let record = Record { id: "a".into(), embedding: vec![1.0], document: None, uri: None, metadata };
        let filters = Filters::of(&[record], Share { queries: 0, filters: 1, pieces: 0 });
        let mut tally = FilterTally::default();
        tally.add(filters.judged(0, 0).next().unwrap(), said, is_measured);
        tally.report(1, "0.7.0")
    }

    #[test]
    fn what_came_of_a_filter() {
        let numbers = |(told, ..): &(report::Filters, Vec<String>, Option<String>)| {
            (told.asked, told.wrong, told.known, told.not_judged)
        };
        assert_eq!(
            of_one(Ok(Said::Right), true),
            (report::Filters { asked: 1, ..report::Filters::default() }, vec![], None)
        );
        let known = of_one(Ok(Said::Known), true);
        assert_eq!(numbers(&known), (1, 0, 1, 0));
        assert!(known.1[0].starts_with("1 filters are answered as by every sound Chroma 0.7.0"), "{known:?}");
        assert_eq!(numbers(&of_one(Ok(Said::Open), true)), (0, 0, 0, 1));
        let wrong = of_one(Ok(Said::Wrong { found: 2, expected: 3 }), true);
        assert_eq!(numbers(&wrong), (1, 1, 0, 0));
        assert!(wrong.1[0].contains("kind\": 2 verified records are in its answer, and 3 match"), "{wrong:?}");
    }

    #[test]
    fn a_version_that_was_not_measured_only_reports() {
        let wrong = of_one(Ok(Said::Wrong { found: 2, expected: 3 }), false);
        assert_eq!((wrong.0.asked, wrong.0.wrong, wrong.0.not_judged), (0, 0, 1));
        assert!(wrong.1[0].contains("Chroma 0.7.0 was not measured"), "{wrong:?}");
        let told = report::Search { filters: wrong.0, notes: wrong.1, ..tally(&[10]).report(None) };
        assert_eq!(trouble(&told, Distance::L2, LEAST, Chance::default()), None);
    }

    #[test]
    fn an_answer_that_was_due_is_named_with_its_filter() {
        for (silence, is_due) in [
            (Silence::Failed("status 500".into()), true),
            (Silence::Slow(Duration::from_secs(9)), true),
            (Silence::Late, false),
        ] {
            let why = silence.words();
            let (told, notes, failure) = of_one(Err(silence), true);
            assert_eq!((told.asked, told.not_judged, notes.len()), (0, 1, 0));
            assert_eq!(failure, is_due.then(|| format!("$eq on metadata key \"kind\": {why}")));
        }
    }

    #[test]
    fn the_better_of_two_looks() {
        assert!(tally(&[9]).is_better_than(&tally(&[8])));
        assert!(!tally(&[9]).is_better_than(&tally(&[9])));
        let wrong = Tally { wrong: 1, ..tally(&[10]) };
        assert!(tally(&[1]).is_better_than(&wrong));
        assert!(wrong.is_suspect(0.1) && tally(&[1]).is_suspect(0.5) && !tally(&[9]).is_suspect(0.5));
    }
}
