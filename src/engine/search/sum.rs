//! From judged answers to what a report, a verdict and a person are told. Pure.

use super::judge::Found;
use crate::engine::{Run, Search, SearchMode};
use crate::model::Distance;
use crate::report;

/// By how much the target's recall may be below the source server's own: an index is built anew, and never the same.
const SPREAD: f64 = 0.05;

/// What came of the queries of one collection.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// Of each judged query.
    recalls: Vec<f64>,
    /// How many records found themselves, of how many that should.
    itself: (u32, u32),
    /// Distances that are not what they should be.
    wrong: u64,
    /// Queries that could not be judged.
    open: u64,
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

    pub(super) const fn leave_open(&mut self) {
        self.open += 1;
    }

    /// The mean recall; None where nothing was judged.
    pub(super) fn mean(&self) -> Option<f64> {
        let count = u32::try_from(self.recalls.len()).ok().filter(|count| *count > 0)?;
        Some(rounded(self.recalls.iter().sum::<f64>() / f64::from(count)))
    }

    /// Whether a second look is due before this is believed.
    pub(super) fn is_suspect(&self, least: f64) -> bool {
        self.wrong > 0 || !self.unknown.is_empty() || self.mean().is_some_and(|mean| mean < least)
    }

    /// Whether this look found more than the other one.
    pub(super) fn is_better_than(&self, other: &Self) -> bool {
        let rank = |tally: &Self| (tally.wrong as usize + tally.unknown.len(), tally.mean().unwrap_or(0.0));
        let ((wrong, mean), (other_wrong, other_mean)) = (rank(self), rank(other));
        wrong < other_wrong || (wrong == other_wrong && mean > other_mean)
    }

    /// As the report has it.
    pub(super) fn report(mut self, source: Option<&Self>) -> report::Search {
        self.recalls.sort_by(f64::total_cmp);
        let (found, expected) = self.itself;
        report::Search {
            queries: self.recalls.len() as u64,
            not_judged: self.open,
            recall_mean: self.mean(),
            recall_p5: self.recalls.get(self.recalls.len() / 20).copied(),
            recall_min: self.recalls.first().copied(),
            self_found: (expected > 0).then(|| rounded(f64::from(found) / f64::from(expected))),
            source_recall_mean: source.and_then(Self::mean),
            wrong_distances: self.wrong,
            unknown_ids: self.unknown.len() as u64,
            notes: self.unknown.first().map(|id| named(id)).into_iter().collect(),
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

/// The mean recall over all queries of a run; None where none was judged.
pub(crate) fn recall(run: &Run) -> Option<f64> {
    let all = run.pairs.iter().filter_map(|pair| {
        let search = pair.search.as_ref()?;
        Some((search.recall_mean?, f64::from(u32::try_from(search.queries).unwrap_or(u32::MAX))))
    });
    let (sum, count) = all.fold((0.0, 0.0), |(sum, count), (mean, queries)| (sum + mean * queries, count + queries));
    (count > 0.0).then(|| rounded(sum / count))
}

/// What is wrong with the target's answers, and what to do; None: nothing. Of inner products only wrong distances and ids
/// count, for the recall of their index is poor by nature.
pub(crate) fn degraded(run: &Run, search: Search) -> Option<String> {
    let of = |pair: &crate::engine::Pair| {
        let found = pair.search.as_ref()?;
        let why = trouble(found, pair.source.distance, search)?;
        Some(format!("collection {}: {why}", pair.target_words()))
    };
    let all: Vec<String> = run.pairs.iter().filter_map(of).collect();
    let first = all.first()?;
    let more = if all.len() > 1 { format!(" (and {} more collections)", all.len() - 1) } else { String::new() };
    Some(format!("{first}{more}"))
}

fn trouble(found: &report::Search, distance: Distance, search: Search) -> Option<String> {
    if found.unknown_ids > 0 {
        return Some(format!(
            "{} ids in its answers are in neither side; check that nothing between here and the server changes answers, and \
             restart the server",
            found.unknown_ids
        ));
    }
    if found.wrong_distances > 0 {
        return Some(format!(
            "{} distances in its answers are not those of its vectors by {distance}; its index has another distance or other \
             vectors: migrate into a new collection",
            found.wrong_distances
        ));
    }
    let least = found.source_recall_mean.map_or(search.min_recall, |own| search.min_recall.min(own - SPREAD));
    match found.recall_mean {
        Some(mean) if mean < least && distance != Distance::Ip => Some(format!(
            "searches find {mean:.2} of the exact nearest records ({least:.2} are expected); restart the target's server and \
             run again; if it stays so, raise ef_search, or migrate into a new collection"
        )),
        // what is required was not shown
        None if found.queries == 0 && search.mode == SearchMode::Require && found.not_judged == 0 => {
            Some(found.notes.first().cloned().unwrap_or_else(|| "its search was not checked".to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: Search = Search { mode: SearchMode::Require, queries: 50, min_recall: 0.9 };

    fn tally(recalls: &[usize]) -> Tally {
        let mut tally = Tally::default();
        for hits in recalls {
            tally.add(&Found { hits: *hits, of: 10, itself: Some(*hits > 5), wrong: 0 });
        }
        tally
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
    fn a_poor_source_lowers_what_is_expected() {
        let told = |hits, own: Option<usize>, distance| {
            let own = own.map(|own| tally(&[own]));
            trouble(&tally(&[hits]).report(own.as_ref()), distance, REQUIRED).is_some()
        };
        assert!(!told(9, None, Distance::L2));
        assert!(told(8, None, Distance::L2));
        assert!(!told(5, Some(5), Distance::L2), "the source's index is as poor");
        assert!(told(4, Some(5), Distance::L2));
        assert!(told(8, Some(10), Distance::L2), "a good source asks for no more than minRecall");
        assert!(!told(1, None, Distance::Ip));
    }

    #[test]
    fn wrong_answers_are_wrong_by_any_distance() {
        for distance in [Distance::L2, Distance::Cosine, Distance::Ip] {
            let mut wrong = tally(&[10]);
            wrong.wrong = 1;
            assert!(trouble(&wrong.report(None), distance, REQUIRED).unwrap().contains("distance"));
            let unknown = Tally { unknown: vec!["x".into()], ..tally(&[10]) };
            assert!(trouble(&unknown.report(None), distance, REQUIRED).unwrap().contains("neither side"));
        }
    }

    #[test]
    fn what_was_required_and_not_shown() {
        let silent = report::Search { notes: vec!["its server says: boom".into()], ..report::Search::default() };
        assert!(trouble(&silent, Distance::L2, REQUIRED).unwrap().contains("boom"));
        let reported = Search { mode: SearchMode::Report, ..REQUIRED };
        assert_eq!(trouble(&silent, Distance::L2, reported), None);
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
