//! Whether searches in the target are checked: `spec.verification.search`. Types, docs, rules and defaults. Pure.

#![expect(unreachable_pub, reason = "the schema derive copies each struct into a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report;

/// Queries of a collection.
const QUERIES: i32 = 50;
/// What searches must find.
const MIN_RECALL: &str = "0.9";

/// Whether searches in the target find what they should.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchCheck {
    /// Report (default): put the result into the report; it never changes the verdict. Require: end with
    /// `SearchDegraded` if searches answer wrongly or find too little. Off: ask nothing.
    #[serde(default)]
    pub mode: SearchMode,
    /// The most queries for one collection; a run asks at most 1,000. Default: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 1000").message("write a number of queries from 1 to 1000; the default is 50"))]
    pub queries: Option<i32>,
    /// With Require: the mean share of the exact nearest ten records that searches must find. If the source's own
    /// server finds less, the target may find 0.05 less than that, or as much less as chance explains. Default: `"0.9"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^(0([.][0-9]{1,6})?|1([.]0{1,6})?)$')").message("write a share from 0 to 1 in quotes, as \"0.9\""))]
    #[schemars(length(min = 1, max = 8))]
    pub min_recall: Option<String>,
}

/// What follows from the search check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SearchMode {
    /// It is told.
    #[default]
    Report,
    /// It can fail a run.
    Require,
    /// It is not made.
    Off,
}

impl SearchCheck {
    /// Queries of a collection, at most.
    #[must_use]
    pub fn queries(&self) -> i32 {
        self.queries.unwrap_or(QUERIES)
    }

    /// What searches must find, as it is written.
    #[must_use]
    pub fn min_recall(&self) -> &str {
        self.min_recall.as_deref().unwrap_or(MIN_RECALL)
    }
}

/// What searches in the target find. The report has the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SearchStatus {
    /// Queries that were judged.
    pub queries: i64,
    /// The mean share of the exact nearest ten records that was found, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall_mean: Option<f64>,
    /// The same for the source's own server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_recall_mean: Option<f64>,
    /// Answers, distances, ids and filters that are wrong.
    pub wrong: i64,
}

impl From<&report::Search> for SearchStatus {
    fn from(search: &report::Search) -> Self {
        let report::Search { queries, recall_mean, source_recall_mean, filters, .. } = search;
        let wrong = search.wrong_answers + search.wrong_distances + search.unknown_ids + filters.wrong;
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Self {
            queries: number(*queries),
            recall_mean: *recall_mean,
            source_recall_mean: *source_recall_mean,
            wrong: number(wrong),
        }
    }
}
